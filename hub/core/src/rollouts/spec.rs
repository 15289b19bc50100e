//! What a rollout is asked to do, and whether that can be done at all.

use policy::canary::{Direction, MAX_METRICS, MAX_SAMPLES, NoDataIs};
use serde::{Deserialize, Serialize};

/// A rollout as it was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RolloutSpec {
    /// The image to run.
    pub image: String,
    /// How traffic is divided between old and new.
    #[serde(default)]
    pub traffic: Traffic,
    /// Where traffic is divided, unless it follows replicas.
    #[serde(default)]
    pub route: Option<Route>,
    /// The steps; none: all replicas at once, one after the other, without a canary.
    #[serde(default)]
    pub steps: Vec<Step>,
    /// How the canary is judged in steps that analyse.
    #[serde(default)]
    pub analysis: Analysis,
    /// How long each phase may last.
    #[serde(default)]
    pub deadlines: Deadlines,
}

/// How traffic is divided.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Traffic {
    /// By the number of replicas: a service reaches all of them alike.
    #[default]
    Replicas,
    /// By weights of a route.
    Weights,
    /// All at once, by the selector of a service.
    Selector,
}

/// What divides traffic. Both stand in the workload's namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Route {
    /// Weights of a Gateway API HTTPRoute, in every rule that names both services.
    HttpRoute {
        /// Name of the route.
        name: String,
        /// The service of the workload.
        stable: String,
        /// The service of the canary.
        canary: String,
        /// The service of the baseline: it gets as much as the canary, as far as there is enough. Without one the canary is compared
        /// with the workload.
        #[serde(default)]
        baseline: Option<String>,
    },
    /// The selector of a service: either side gets everything.
    Service {
        /// Name of the service.
        name: String,
    },
}

impl std::fmt::Display for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::HttpRoute { name, .. } => write!(f, "HTTPRoute {name}"),
            Self::Service { name } => write!(f, "service {name}"),
        }
    }
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Step {
    /// So much of the start runs the new image and gets so much of the traffic, in percent.
    Set {
        /// Replicas of the canary, of those at the start; at least one.
        replicas: u8,
        /// Traffic of the canary; where traffic follows replicas it is not looked at.
        weight: u8,
    },
    /// Waits.
    Wait {
        /// How long.
        ms: u64,
    },
    /// Waits until a gate is opened from outside.
    Gate {
        /// Its name.
        name: String,
    },
    /// Waits for a person.
    Pause,
    /// Compares the canary with the baseline.
    Analyse {
        /// For how long.
        ms: u64,
    },
}

/// How the canary is judged: by what these queries give, or without any by the health of its pods.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Analysis {
    /// A fresh group of the old image, of the canary's size, is what the canary is compared with.
    pub fresh_baseline: bool,
    /// How often it is looked at; more often in short steps, so that there are several looks.
    pub check_every_ms: u64,
    /// Lowest health score that passes, in hundredths of a percent. Source: the original's 0.8.
    pub min_health_bp: u32,
    /// Checks of one step that may fail; one more rolls back.
    pub max_failures: u32,
    /// How long missing data is waited for; twice the step without.
    pub no_data_deadline_ms: Option<u64>,
    /// What is compared, asked of the cluster's Prometheus.
    pub metrics: Vec<MetricQuery>,
    /// Failed and all requests, asked the same way.
    pub errors: Option<ErrorQuery>,
}

/// One metric. In its query `$workload` stands for the deployment of the part that is asked about and `$namespace` for its namespace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct MetricQuery {
    /// Its name.
    pub name: String,
    /// PromQL that gives one series.
    pub query: String,
    /// Which way is worse.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub direction: Direction,
    /// A shift up to this part of the baseline's median is too small to matter, in hundredths of a percent.
    #[serde(default)]
    pub tolerated_bp: u32,
    /// A shift up to this is too small to matter, in the metric's own unit.
    #[serde(default)]
    pub tolerated: f64,
    /// Whether its failure alone takes the canary back.
    #[serde(default)]
    pub critical: bool,
    /// How much it counts in the score.
    #[serde(default = "one")]
    pub weight: f64,
    /// A canary whose median is on the wrong side of this is taken back at once.
    #[serde(default)]
    pub hard_limit: Option<f64>,
    /// Fewest independent samples of each side.
    #[serde(default = "thirty")]
    pub min_n: u32,
    /// Distance of two samples, in milliseconds.
    #[serde(default = "five_seconds")]
    pub interval_ms: u64,
    /// How much of the beginning is left out, in milliseconds.
    #[serde(default)]
    pub warm_up_ms: u64,
    /// What missing data means.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub nodata: NoDataIs,
}

/// Queries that count requests since a step began; in them `$range` stands for that long, such as `95s`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ErrorQuery {
    /// Failed requests.
    pub failed: String,
    /// All requests.
    pub total: String,
}

fn one() -> f64 {
    1.0
}

fn thirty() -> u32 {
    30
}

fn five_seconds() -> u64 {
    5_000
}

impl Default for Analysis {
    fn default() -> Self {
        Self {
            fresh_baseline: true,
            check_every_ms: 30_000,
            min_health_bp: 8_000,
            max_failures: 2,
            no_data_deadline_ms: None,
            metrics: Vec::new(),
            errors: None,
        }
    }
}

/// How long a phase may last, in milliseconds. What happens then stands at each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Deadlines {
    /// Until a step is really there; then it is rolled back. Source: `progressDeadline` of others.
    pub set_ms: u64,
    /// Until a gate is opened or a person goes on; then it is rolled back.
    pub pause_ms: u64,
    /// Until a person decides about what statistics could not; then it is rolled back.
    pub hold_ms: u64,
    /// Until all replicas run the new image; then it is rolled back.
    pub promote_ms: u64,
    /// Until what the rollout added is removed; then it has failed, with the new image running.
    pub finish_ms: u64,
    /// Until everything is as it was; then a person is called.
    pub roll_back_ms: u64,
}

impl Default for Deadlines {
    fn default() -> Self {
        const MINUTE: u64 = 60_000;
        Self {
            set_ms: 10 * MINUTE,
            pause_ms: 24 * 60 * MINUTE,
            hold_ms: 4 * 60 * MINUTE,
            promote_ms: 10 * MINUTE,
            finish_ms: 10 * MINUTE,
            roll_back_ms: 10 * MINUTE,
        }
    }
}

/// A rollout that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct SpecError {
    /// The field, such as `steps[2].set.replicas`.
    pub field: String,
    /// What is wrong with it, with the way out.
    pub message: String,
}

/// Longest name of an object in a cluster.
const MAX_NAME: usize = 253;
/// Most steps of one rollout: two for each percent, and some more.
const MAX_STEPS: usize = 256;

impl Step {
    /// The step in few words, such as `20 % of the replicas, 20 % of the traffic`.
    pub fn text(&self) -> String {
        match self {
            Self::Set { replicas, weight } => format!("{replicas} % of the replicas, {weight} % of the traffic"),
            Self::Wait { ms } => format!("wait {} s", ms / 1_000),
            Self::Gate { name } => format!("gate {name}"),
            Self::Pause => "wait for a person".to_owned(),
            Self::Analyse { ms } => format!("compare for {} s", ms / 1_000),
        }
    }
}

impl RolloutSpec {
    /// A canary that grows from `first` percent by `by` points, each step analysed for `analyse_ms`, as the original does.
    pub fn canary(image: impl Into<String>, first: u8, by: u8, analyse_ms: u64) -> Self {
        let mut steps = Vec::new();
        let mut percent = first.clamp(1, 100);
        loop {
            steps.push(Step::Set {
                replicas: percent,
                weight: percent,
            });
            steps.push(Step::Analyse { ms: analyse_ms });
            if percent == 100 {
                break;
            }
            percent = percent.saturating_add(by.max(1)).min(100);
        }
        Self {
            steps,
            ..Self::rolling(image)
        }
    }

    /// A second side of full size, that gets all traffic at once after a preview; the old one stays for `keep_ms`.
    pub fn blue_green(image: impl Into<String>, service: impl Into<String>, keep_ms: u64) -> Self {
        let steps = vec![
            Step::Set {
                replicas: 100,
                weight: 0,
            },
            Step::Pause,
            Step::Set {
                replicas: 100,
                weight: 100,
            },
            Step::Wait { ms: keep_ms },
        ];
        Self {
            steps,
            traffic: Traffic::Selector,
            route: Some(Route::Service { name: service.into() }),
            ..Self::rolling(image)
        }
    }

    /// All replicas, one after the other.
    pub fn rolling(image: impl Into<String>) -> Self {
        Self {
            image: image.into(),
            traffic: Traffic::Replicas,
            route: None,
            steps: Vec::new(),
            analysis: Analysis::default(),
            deadlines: Deadlines::default(),
        }
    }

    /// Whether it can be done.
    pub fn check(&self) -> Result<(), SpecError> {
        if self.image.trim().is_empty() {
            return Err(wrong("image", "it is empty; name the image to run"));
        }
        if self.steps.len() > MAX_STEPS {
            return Err(wrong(
                "steps",
                format!("{} steps; at most {MAX_STEPS}", self.steps.len()),
            ));
        }
        if self.analysis.check_every_ms == 0 {
            return Err(wrong("analysis.check_every_ms", "0 ms; use 1000 or more"));
        }
        if self.analysis.min_health_bp > 10_000 {
            let message = format!("{} is above 10000, which is all", self.analysis.min_health_bp);
            return Err(wrong("analysis.min_health_bp", message));
        }
        self.check_route()?;
        self.check_metrics()?;
        self.check_deadlines()?;
        self.check_steps()
    }

    fn check_route(&self) -> Result<(), SpecError> {
        let names = |names: &[&String]| names.iter().all(|name| !name.is_empty() && name.len() <= MAX_NAME);
        match (self.traffic, &self.route) {
            (Traffic::Replicas, None) => Ok(()),
            (Traffic::Replicas, Some(_)) => Err(wrong(
                "route",
                "traffic follows replicas, so nothing is routed; set `traffic` to `weights` or `selector`",
            )),
            (
                Traffic::Weights,
                Some(Route::HttpRoute {
                    name, stable, canary, ..
                }),
            ) if names(&[name, stable, canary]) => Ok(()),
            (Traffic::Weights, _) => Err(wrong(
                "route",
                "weights stand in a route; name `http_route` with its name and the services `stable` and `canary`",
            )),
            (Traffic::Selector, Some(Route::Service { name })) if names(&[name]) => {
                let between = |step: &Step| matches!(step, Step::Set { weight: 1..=99, .. });
                match self.steps.iter().position(between) {
                    Some(index) => Err(wrong(
                        format!("steps[{index}].set.weight"),
                        "a selector gives everything to one side; use 0 or 100, or weights",
                    )),
                    None => Ok(()),
                }
            }
            (Traffic::Selector, _) => Err(wrong("route", "name the `service` whose selector is switched")),
        }
    }

    fn check_metrics(&self) -> Result<(), SpecError> {
        let metrics = &self.analysis.metrics;
        if metrics.len() > MAX_METRICS {
            let message = format!("{} metrics; at most {MAX_METRICS}", metrics.len());
            return Err(wrong("analysis.metrics", message));
        }
        let longest = self.steps.iter().filter_map(|step| match step {
            Step::Analyse { ms } => Some(*ms),
            _ => None,
        });
        let longest = longest.max().unwrap_or(0);
        for (index, metric) in metrics.iter().enumerate() {
            let at = |field: &str| format!("analysis.metrics[{index}].{field}");
            if metric.name.is_empty() || metrics[..index].iter().any(|other| other.name == metric.name) {
                return Err(wrong(at("name"), "give each metric a name of its own"));
            }
            if !metric.query.contains("$workload") {
                let message = "it asks both sides the same; put `$workload` where the deployment's name belongs";
                return Err(wrong(at("query"), message));
            }
            // Twice the step: it may be extended once, and then data may be waited for.
            let samples = (4 * longest).checked_div(metric.interval_ms);
            if samples.is_none_or(|samples| samples > MAX_SAMPLES as u64) {
                let message = format!(
                    "{} ms gives more than {MAX_SAMPLES} samples in a step of {longest} ms",
                    metric.interval_ms
                );
                return Err(wrong(at("interval_ms"), message));
            }
            if !(metric.tolerated >= 0.0 && metric.weight > 0.0) {
                return Err(wrong(at("tolerated"), "it is 0 or more, and `weight` is above 0"));
            }
        }
        let errors = self
            .analysis
            .errors
            .iter()
            .flat_map(|errors| [&errors.failed, &errors.total]);
        if errors.into_iter().any(|query| !query.contains("$workload")) {
            return Err(wrong(
                "analysis.errors",
                "both queries need `$workload` where the deployment's name belongs",
            ));
        }
        Ok(())
    }

    fn check_deadlines(&self) -> Result<(), SpecError> {
        let Deadlines {
            set_ms,
            pause_ms,
            hold_ms,
            promote_ms,
            finish_ms,
            roll_back_ms,
        } = self.deadlines;
        for (name, ms) in [
            ("set_ms", set_ms),
            ("pause_ms", pause_ms),
            ("hold_ms", hold_ms),
            ("promote_ms", promote_ms),
            ("finish_ms", finish_ms),
            ("roll_back_ms", roll_back_ms),
        ] {
            if ms == 0 {
                return Err(wrong(
                    format!("deadlines.{name}"),
                    "0 ms is over before it begins; leave it out for the default",
                ));
            }
        }
        Ok(())
    }

    fn check_steps(&self) -> Result<(), SpecError> {
        let mut before = 0;
        for (index, step) in self.steps.iter().enumerate() {
            let at = |field: &str| format!("steps[{index}].{field}");
            match step {
                Step::Set { replicas, weight } => {
                    if *replicas == 0 || *replicas > 100 {
                        return Err(wrong(
                            at("set.replicas"),
                            format!("{replicas} is not within 1..=100 percent"),
                        ));
                    }
                    if *weight > 100 {
                        return Err(wrong(
                            at("set.weight"),
                            format!("{weight} is not within 0..=100 percent"),
                        ));
                    }
                    if *replicas < before {
                        let message = format!(
                            "{replicas} is less than the {before} before; a canary only grows, abort takes it back"
                        );
                        return Err(wrong(at("set.replicas"), message));
                    }
                    before = *replicas;
                }
                Step::Analyse { .. } | Step::Wait { .. } | Step::Gate { .. } | Step::Pause if before == 0 => {
                    return Err(wrong(at(""), "there is no canary yet; begin with a step `set`"));
                }
                Step::Analyse { ms: 0 } => return Err(wrong(at("analyse.ms"), "0 ms is over before it begins")),
                Step::Gate { name } if name.is_empty() => {
                    return Err(wrong(at("gate.name"), "it is empty; name the gate"));
                }
                Step::Analyse { .. } | Step::Wait { .. } | Step::Gate { .. } | Step::Pause => {}
            }
        }
        Ok(())
    }
}

fn wrong(field: impl Into<String>, message: impl Into<String>) -> SpecError {
    let field: String = field.into();
    SpecError {
        field: field.trim_end_matches('.').to_owned(),
        message: message.into(),
    }
}

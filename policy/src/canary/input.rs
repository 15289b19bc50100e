//! What is asked of a canary analysis: metrics with the samples of both groups, counts, and how the step stands.
//!
//! Checks that the question can be answered at all; never looks at what the samples say.
//!
//! Read next: `gate.rs`, which decides whether the samples are enough.

use serde::{Deserialize, Serialize};

/// Most samples of one series. Source: all pairs of two series are compared, which is 1 million here.
pub const MAX_SAMPLES: usize = 1_000;
/// Most metrics of one analysis.
pub const MAX_METRICS: usize = 64;

/// One question: is this canary worse than its baseline?
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Canary {
    /// The metrics; their order changes nothing.
    pub metrics: Vec<Metric>,
    /// Failed and all requests of both groups, if requests are counted.
    #[serde(default)]
    pub errors: Option<Errors>,
    /// Whether the fast page of the error budget's burn rate fires on a service that the canary touches.
    #[serde(default)]
    pub page_fast: bool,
    /// How many nodes ran the canary, and how many of them failed.
    #[serde(default)]
    pub nodes: Nodes,
    /// How long a step lasts.
    pub step_ms: u64,
    /// How long this step has lasted.
    pub elapsed_ms: u64,
    /// How long missing data is waited for; twice the step.
    #[serde(default)]
    pub no_data_deadline_ms: Option<u64>,
    /// Whether this step was extended once already.
    #[serde(default)]
    pub extended: bool,
    /// Seed of the randomised ranks. Keep it for the whole step, so that looking again shows the same.
    pub seed: u64,
}

/// One metric of both groups.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metric {
    /// Its name, unique in the question.
    pub name: String,
    /// Which way is worse.
    pub direction: Direction,
    /// What is too small to matter.
    #[serde(default)]
    pub effect: Effect,
    /// Whether its failure alone ends the canary.
    #[serde(default)]
    pub critical: bool,
    /// How much it counts in the score.
    #[serde(default = "one")]
    pub weight: f64,
    /// Fewest independent samples of each group; 30, and 50 are better.
    #[serde(default = "thirty")]
    pub min_n: usize,
    /// What missing data means.
    #[serde(default)]
    pub nodata: NoDataIs,
    /// Whether samples of the same interval belong together: one that is missing removes its partner too.
    #[serde(default)]
    pub paired: bool,
    /// Whether samples are gauges or counts.
    #[serde(default)]
    pub counter: Counter,
    /// Whether each sample is an independent draw, such as one request; else correlation in time is estimated and thinned.
    #[serde(default)]
    pub independent: bool,
    /// No statistics: a canary whose median is on the wrong side of this is aborted.
    #[serde(default)]
    pub hard_limit: Option<f64>,
    /// Distance of two samples.
    pub interval_ms: u64,
    /// How much of the beginning is left out; 2 min.
    #[serde(default = "two_minutes")]
    pub warm_up_ms: u64,
    /// Samples that there should be after the warm-up; as many as the longer series has.
    #[serde(default)]
    pub expected: Option<usize>,
    /// Of the baseline group, oldest first.
    pub baseline: Samples,
    /// Of the canary group, oldest first, in the same intervals.
    pub canary: Samples,
    /// The baseline group before the step, for its correlation in time only.
    #[serde(default)]
    pub history: Samples,
}

/// Samples at equal intervals; `null` where none was taken. Not a number counts as missing.
pub type Samples = Vec<Option<f64>>;

/// Which way is worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// More is worse: latency, errors, temperature.
    Up,
    /// Less is worse: throughput.
    Down,
    /// Any change is worse.
    Both,
}

/// A shift up to the larger of both is too small to matter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Effect {
    /// In hundredths of a percent of the baseline's median.
    pub rel_bp: u32,
    /// In the metric's own unit.
    pub abs: f64,
}

impl Effect {
    /// The shift up to which nothing is said. Relative to the baseline's median, never to the shift itself.
    pub fn floor(&self, baseline_median: f64) -> f64 {
        self.abs.max(f64::from(self.rel_bp) / 10_000.0 * baseline_median.abs())
    }
}

/// What missing data of a metric means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoDataIs {
    /// Wait, and then ask.
    #[default]
    Hold,
    /// A failure: an exporter that is gone is bad news.
    Fail,
}

/// Gauges or counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Counter {
    /// A missing sample is unknown.
    #[default]
    Gauge,
    /// A missing sample is zero, as long as the group was heard of at all.
    Count,
}

/// Failed and all requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Errors {
    /// Failed requests of the canary.
    pub canary_failed: u64,
    /// All requests of the canary.
    pub canary_total: u64,
    /// Failed requests of the baseline.
    pub baseline_failed: u64,
    /// All requests of the baseline.
    pub baseline_total: u64,
}

/// Nodes that ran the canary.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Nodes {
    /// All of them.
    pub total: u32,
    /// Those that failed.
    pub failed: u32,
}

fn one() -> f64 {
    1.0
}

fn thirty() -> usize {
    30
}

fn two_minutes() -> u64 {
    120_000
}

/// A question that has no answer, and what to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CanaryError {
    /// The field, such as `metrics[2].weight`.
    pub field: String,
    /// What is wrong with it, with the way out.
    pub message: String,
}

impl std::fmt::Display for CanaryError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

impl std::error::Error for CanaryError {}

impl Canary {
    /// Reads a question from JSON and checks it.
    pub fn parse(text: &[u8]) -> Result<Self, CanaryError> {
        let canary: Self = serde_json::from_slice(text).map_err(|error| problem("", error.to_string()))?;
        canary.check()?;
        Ok(canary)
    }

    /// Whether it can be answered.
    pub fn check(&self) -> Result<(), CanaryError> {
        if self.metrics.is_empty() || self.metrics.len() > MAX_METRICS {
            let message = format!("{} metrics; give 1 to {MAX_METRICS}", self.metrics.len());
            return Err(problem("metrics", message));
        }
        if self.step_ms == 0 {
            return Err(problem("step_ms", "a step of 0 ms is over before it begins"));
        }
        for (index, metric) in self.metrics.iter().enumerate() {
            let at = |field: &str| format!("metrics[{index}].{field}");
            if self.metrics[..index].iter().any(|other| other.name == metric.name) {
                let message = format!("`{}` is there twice; give each metric a name of its own", metric.name);
                return Err(problem(at("name"), message));
            }
            metric.check(at)?;
        }
        self.check_counts()
    }

    fn check_counts(&self) -> Result<(), CanaryError> {
        if let Some(errors) = &self.errors {
            for (field, failed, total) in [
                ("errors.canary_failed", errors.canary_failed, errors.canary_total),
                ("errors.baseline_failed", errors.baseline_failed, errors.baseline_total),
            ] {
                if failed > total {
                    return Err(problem(
                        field,
                        format!("{failed} of {total} requests; at most all can fail"),
                    ));
                }
            }
        }
        if self.nodes.failed > self.nodes.total {
            let message = format!(
                "{} of {} nodes; at most all can fail",
                self.nodes.failed, self.nodes.total
            );
            return Err(problem("nodes.failed", message));
        }
        Ok(())
    }
}

impl Metric {
    fn check(&self, at: impl Fn(&str) -> String) -> Result<(), CanaryError> {
        for (field, samples) in [
            ("baseline", &self.baseline),
            ("canary", &self.canary),
            ("history", &self.history),
        ] {
            if samples.len() > MAX_SAMPLES {
                let message = format!(
                    "{} samples; at most {MAX_SAMPLES}, so use a longer interval",
                    samples.len()
                );
                return Err(problem(at(field), message));
            }
        }
        if !(self.weight > 0.0 && self.weight <= 1e6) {
            let message = format!("{} is no weight; it is above 0 and at most 1000000", self.weight);
            return Err(problem(at("weight"), message));
        }
        if !(self.effect.abs >= 0.0 && self.effect.abs.is_finite()) {
            let message = format!("{} is no shift; it is 0 or more", self.effect.abs);
            return Err(problem(at("effect.abs"), message));
        }
        if self.hard_limit.is_some_and(|limit| !limit.is_finite()) {
            return Err(problem(at("hard_limit"), "it is not a finite number"));
        }
        if self.hard_limit.is_some() && self.direction == Direction::Both {
            let message = "a limit has one wrong side; set `direction` to `up` or `down`, or leave it out";
            return Err(problem(at("hard_limit"), message));
        }
        if self.interval_ms == 0 {
            return Err(problem(at("interval_ms"), "samples are at least 1 ms apart"));
        }
        Ok(())
    }
}

fn problem(field: impl Into<String>, message: impl Into<String>) -> CanaryError {
    CanaryError {
        field: field.into(),
        message: message.into(),
    }
}

//! What a rollout is asked to do, and whether that can be done at all.

use serde::{Deserialize, Serialize};

/// A rollout as it was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RolloutSpec {
    /// The image to run.
    pub image: String,
    /// How traffic is divided between old and new.
    #[serde(default)]
    pub traffic: Traffic,
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

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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

/// How the canary is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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
}

impl Default for Analysis {
    fn default() -> Self {
        Self {
            fresh_baseline: true,
            check_every_ms: 30_000,
            min_health_bp: 8_000,
            max_failures: 2,
            no_data_deadline_ms: None,
        }
    }
}

/// How long a phase may last, in milliseconds. What happens then stands at each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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

/// Most steps of one rollout: two for each percent, and some more.
const MAX_STEPS: usize = 256;

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
    pub fn blue_green(image: impl Into<String>, keep_ms: u64) -> Self {
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
            ..Self::rolling(image)
        }
    }

    /// All replicas, one after the other.
    pub fn rolling(image: impl Into<String>) -> Self {
        Self {
            image: image.into(),
            traffic: Traffic::Replicas,
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
        self.check_deadlines()?;
        self.check_steps()
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

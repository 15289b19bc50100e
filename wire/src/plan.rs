//! Plans: what a brain or a person wants done over one or more steps, with the effect that they expect of it.
//!
//! A [`Draft`] is what somebody submits; [`Plan::new`] checks every field of it against the bounds below and gives it an id. What is
//! claimed in a plan is kept as a claim: facts that rules judge by come from what was observed, never from here, and the risk
//! class of a step comes from the catalogue of `policy`.
//!
//! Invariants: a plan that [`Plan::new`] returns encodes to less than [`MAX_PLAN_BYTES`]; it ends at [`Plan::not_after`], whatever
//! happens to it; [`Plan::check`] accepts it again.
//!
//! Read next: `plan/state.rs` (how a plan lives), `plan/draft.rs` (how texts become steps), `hub/core/src/plans.rs` (who moves it).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ids::PlanId;
use crate::reading::Series;
use crate::time::Wall;

mod draft;
mod outcome;
mod state;
mod target;
mod verb;

pub use draft::{CLAIMED_PARAMS, Draft, DraftStep, read_step, read_window};
pub use outcome::{Observation, PlanOutcome, StepOutcome};
pub use state::{PlanState, StepState};
pub use target::Target;
pub use verb::{Verb, WORKLOAD_TYPES, node_names};

/// Most steps of one plan: what a person can still read before they approve it.
pub const MAX_STEPS: usize = 16;
/// Longest text that a person reads (reason, message), in bytes: it stands in one line.
pub const MAX_TEXT: usize = 500;
/// Longest name that somebody else chose (source, model, class, tenant, keys), in bytes.
pub const MAX_NAME: usize = 128;
/// Longest encoded plan, in bytes. A document has at most 64 KiB, and the life of the plan stands in it too.
pub const MAX_PLAN_BYTES: usize = 32 * 1024;
/// Shortest and longest validity of a step, and the validity of one that says nothing. Source: `Decision.ttl` of the original
/// schema, 60 to 3,600 s, default 900 s.
pub const STEP_VALID: (Duration, Duration, Duration) = (
    Duration::from_secs(60),
    Duration::from_secs(3_600),
    Duration::from_secs(900),
);
/// A plan that may begin later than this has lost its reason.
pub const LONGEST_VALID: Duration = Duration::from_secs(7 * 24 * 3_600);
/// An effect that is seen later than this is somebody else's.
pub const LONGEST_EFFECT: Duration = Duration::from_secs(24 * 3_600);

/// A field that a plan cannot have so: which, its value, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct PlanProblem {
    /// Path of the field, for example `steps[2].target.node`.
    pub field: String,
    /// What is wrong with it, with the value, and what would be right.
    pub problem: String,
}

impl PlanProblem {
    /// A problem of one field.
    pub fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            problem: problem.into(),
        }
    }

    /// The same problem, of a field inside `outer`.
    #[must_use]
    pub fn within(self, outer: &str) -> Self {
        Self {
            field: format!("{outer}.{}", self.field),
            problem: self.problem,
        }
    }
}

/// Who sent a plan. It follows from how they were authenticated, never from a text in the plan.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A brain: the embedded one or an InfraMind.
    Brain {
        /// Its name, for example `embedded`.
        name: String,
        /// Version of its model; trust is kept for each.
        model: String,
    },
    /// A person or program with a login.
    Person {
        /// Their name.
        name: String,
    },
    /// The hub's own scaling of a deployment.
    Scaler {
        /// Who has set it, and stands behind it.
        name: String,
    },
    /// The hub itself, for a deployment that asks for its drift to be mended.
    Mender {
        /// The cluster.
        name: String,
    },
}

impl Source {
    /// Whether no person stands behind it.
    pub const fn is_brain(&self) -> bool {
        matches!(self, Self::Brain { .. })
    }

    /// The name alone.
    pub fn name(&self) -> &str {
        match self {
            Self::Brain { name, .. } | Self::Person { name } | Self::Scaler { name } | Self::Mender { name } => name,
        }
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Brain { name, model } if model.is_empty() => write!(f, "brain {name}"),
            Self::Brain { name, model } => write!(f, "brain {name} ({model})"),
            Self::Person { name } => f.write_str(name),
            Self::Scaler { name } => write!(f, "scaling set by {name}"),
            Self::Mender { name } => write!(f, "drift at {name}"),
        }
    }
}

/// What a brain says of the future, and how sure it is. Joined to the outcome by its id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Claim {
    /// The brain's id of the prediction; the outcome goes back under it.
    pub prediction: String,
    /// What kind of statement it is, for example `gpu-overheat`; trust is kept for each.
    pub class: String,
    /// The claimed probability that the plan has its effect, in hundredths of a percent, 0..=10,000.
    pub confidence_bp: u16,
    /// How far it looks ahead, in milliseconds.
    pub horizon_ms: u64,
}

/// What a step should change. The plan is undone where it does not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ExpectedEffect {
    /// Which series of the target's node moves.
    pub metric: Series,
    /// By how much, in the unit of the quantity; negative for down. Not 0.
    pub delta: i64,
    /// By when, in milliseconds after the step was carried out.
    pub within_ms: u64,
}

impl ExpectedEffect {
    /// Whether the metric moved by at least half of the expected effect in the expected direction.
    pub fn is_met(&self, before: i64, after: i64) -> bool {
        let moved = i128::from(after) - i128::from(before);
        let wanted = i128::from(self.delta);
        moved.signum() == wanted.signum() && 2 * moved.abs() >= wanted.abs()
    }
}

/// How often steps like this one may run, in addition to what rules say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Safety {
    /// At most this many on the same target …
    pub limit: u32,
    /// … in this span, in milliseconds.
    pub window_ms: u64,
}

/// One thing to do to one target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Step {
    /// What.
    pub verb: Verb,
    /// To what.
    pub target: Target,
    /// What should come of it.
    pub expected: Option<ExpectedEffect>,
    /// How often at most.
    pub safety: Option<Safety>,
    /// How long after the plan was made it may begin, in milliseconds.
    pub valid_for_ms: u64,
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.target, self.verb)
    }
}

/// A checked plan. What becomes of it is not part of it: the hub keeps that beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Plan {
    /// Drawn by the hub.
    pub id: PlanId,
    /// Who sent it.
    pub source: Source,
    /// Whose budget it uses; empty for the house.
    pub tenant: String,
    /// Why, for people.
    pub reason: String,
    /// The sender's own id of it: the same key from the same sender is the same plan. Empty: none.
    pub key: String,
    /// The sender's id of what it belongs to; given back as it came.
    pub correlation: String,
    /// What its sender says of the future.
    pub claim: Option<Claim>,
    /// What is to be done, in this order.
    pub steps: Vec<Step>,
    /// When it was received, by the hub's clock.
    pub created: Wall,
    /// When it ends at the latest, by the hub's clock. No step begins later.
    pub not_after: Wall,
}

impl Plan {
    /// Checks a draft and makes it a plan that was received at `created`.
    ///
    /// Fails with the first field that is out of bounds. A draft without `not_after` ends with the longest validity of its steps.
    pub fn new(id: PlanId, draft: Draft, created: Wall) -> Result<Self, PlanProblem> {
        let longest = draft.steps.iter().map(|step| step.valid_for_ms).max().unwrap_or(0);
        let by_steps = Wall(created.0.saturating_add(i64::try_from(longest).unwrap_or(i64::MAX)));
        let plan = Self {
            id,
            source: draft.source,
            tenant: draft.tenant,
            reason: draft.reason,
            key: draft.key,
            correlation: draft.correlation,
            claim: draft.claim,
            steps: draft.steps,
            created,
            not_after: draft.not_after.unwrap_or(by_steps),
        };
        plan.check()?;
        Ok(plan)
    }

    /// Holds every field against its bounds; the error names the first that is out of them.
    pub fn check(&self) -> Result<(), PlanProblem> {
        self.check_names()?;
        if self.steps.is_empty() {
            return Err(PlanProblem::new("steps", "there is none: a plan does something"));
        }
        if self.steps.len() > MAX_STEPS {
            let problem = format!("there are {}, at most {MAX_STEPS} fit in one plan", self.steps.len());
            return Err(PlanProblem::new("steps", problem));
        }
        for (index, step) in self.steps.iter().enumerate() {
            check_step(step).map_err(|problem| problem.within(&format!("steps[{index}]")))?;
        }
        self.check_times()
    }

    fn check_names(&self) -> Result<(), PlanProblem> {
        check_text("source", self.source.name(), 1, MAX_NAME)?;
        if let Source::Brain { model, .. } = &self.source {
            check_text("model", model, 0, MAX_NAME)?;
        }
        check_text("tenant", &self.tenant, 0, MAX_NAME)?;
        check_text("reason", &self.reason, 1, MAX_TEXT)?;
        check_text("key", &self.key, 0, MAX_NAME)?;
        check_text("correlation", &self.correlation, 0, MAX_NAME)?;
        let Some(claim) = &self.claim else {
            return Ok(());
        };
        check_text("prediction", &claim.prediction, 1, MAX_NAME)?;
        check_text("class", &claim.class, 1, MAX_NAME)?;
        if claim.confidence_bp > 10_000 {
            let problem = format!("{} hundredths of a percent is more than all", claim.confidence_bp);
            return Err(PlanProblem::new("confidence", problem));
        }
        check_span("horizon_ms", claim.horizon_ms, (1, millis(LONGEST_VALID)))
    }

    fn check_times(&self) -> Result<(), PlanProblem> {
        let left = i128::from(self.not_after.0) - i128::from(self.created.0);
        if left <= 0 {
            let problem = format!("{} is over: the plan came at {}", self.not_after, self.created);
            return Err(PlanProblem::new("not_after", problem));
        }
        if left > i128::from(millis(LONGEST_VALID)) {
            let problem = format!("{} is more than 7 days ahead", self.not_after);
            return Err(PlanProblem::new("not_after", problem));
        }
        Ok(())
    }

    /// The last moment at which this step may begin.
    pub fn step_ends(&self, step: usize) -> Wall {
        let valid_for = self.steps.get(step).map_or(0, |step| step.valid_for_ms);
        let ends = self
            .created
            .0
            .saturating_add(i64::try_from(valid_for).unwrap_or(i64::MAX));
        Wall(ends.min(self.not_after.0))
    }

    /// Every target once, in order of its first step.
    pub fn targets(&self) -> Vec<&Target> {
        let mut targets: Vec<&Target> = Vec::new();
        for step in &self.steps {
            if !targets.contains(&&step.target) {
                targets.push(&step.target);
            }
        }
        targets
    }
}

fn check_step(step: &Step) -> Result<(), PlanProblem> {
    step.verb.check()?;
    step.target.check()?;
    step.verb.check_target(&step.target)?;
    let (least, most, _) = STEP_VALID;
    check_span("valid_for_ms", step.valid_for_ms, (millis(least), millis(most)))?;
    if let Some(effect) = &step.expected {
        if effect.delta == 0 {
            return Err(PlanProblem::new("expected.delta", "0 is no effect"));
        }
        check_span("expected.within_ms", effect.within_ms, (1, millis(LONGEST_EFFECT)))?;
    }
    if let Some(safety) = &step.safety {
        if safety.limit == 0 {
            return Err(PlanProblem::new("safety.limit", "0 would never let it run"));
        }
        check_span("safety.window_ms", safety.window_ms, (1_000, millis(LONGEST_VALID)))?;
    }
    Ok(())
}

/// Holds a text against its length in bytes and against control characters, which no log and no terminal should meet.
pub(crate) fn check_text(field: &str, text: &str, least: usize, most: usize) -> Result<(), PlanProblem> {
    if text.len() < least {
        return Err(PlanProblem::new(field, "is empty"));
    }
    if text.len() > most {
        let problem = format!("has {} bytes, at most {most} are kept", text.len());
        return Err(PlanProblem::new(field, problem));
    }
    match text.chars().find(|c| c.is_control()) {
        Some(c) => Err(PlanProblem::new(field, format!("holds the control character {c:?}"))),
        None => Ok(()),
    }
}

fn check_span(field: &str, found: u64, (least, most): (u64, u64)) -> Result<(), PlanProblem> {
    if (least..=most).contains(&found) {
        return Ok(());
    }
    let problem = format!("{found} ms is out of {least}..={most} ms");
    Err(PlanProblem::new(field, problem))
}

/// Whole milliseconds of one of the constants above.
const fn millis(span: Duration) -> u64 {
    span.as_secs() * 1_000
}

#[cfg(test)]
mod tests;

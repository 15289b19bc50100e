//! What came of a plan: told to whoever predicted it, once, under the id of the prediction.

use serde::{Deserialize, Serialize};

use super::{PlanState, StepState};
use crate::ids::PlanId;
use crate::time::Wall;

/// What was seen of an expected effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Observation {
    /// The metric before the step was carried out.
    pub before: i64,
    /// The metric when it was looked at last.
    pub after: i64,
    /// It moved by at least half of the expected effect in the expected direction.
    pub is_met: bool,
}

/// What came of one step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct StepOutcome {
    /// Where it ended.
    pub state: StepState,
    /// What was seen of its effect; `None` if none was expected or nothing could be seen.
    pub observed: Option<Observation>,
    /// For people.
    pub detail: String,
}

/// What came of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PlanOutcome {
    /// Which plan.
    pub plan: PlanId,
    /// The brain's id of the prediction that it rests on; empty if there was none.
    pub prediction: String,
    /// The state that it ended in.
    pub state: PlanState,
    /// Each step's.
    pub steps: Vec<StepOutcome>,
    /// When it ended, by the hub's clock.
    pub at: Wall,
    /// Why it ended so, for people.
    pub detail: String,
    /// Nothing follows from what was seen: another action of ours may have brought it about, or somebody called the plan off.
    pub censored: bool,
}

impl PlanOutcome {
    /// Whether the claim behind the plan came true: 1 if every expected effect was seen and nothing was undone, 0 if one was not.
    ///
    /// `None` where nothing follows for the claim: the plan never ran, expected nothing, nobody could look, or we interfered.
    pub fn label(&self) -> Option<bool> {
        if self.censored {
            return None;
        }
        match self.state {
            PlanState::Completed | PlanState::RolledBack | PlanState::RollbackFailed | PlanState::Failed => {
                let mut seen = self.steps.iter().filter_map(|step| step.observed).peekable();
                seen.peek()?;
                Some(seen.all(|observation| observation.is_met) && self.state == PlanState::Completed)
            }
            _ => None,
        }
    }
}

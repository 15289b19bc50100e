//! What is kept of a plan: the plan as it was sent, where it stands, and each of its steps.
//!
//! Decides what can be read off a record, for example whether a newer plan may take its place; never what follows from anything
//! that happens: that is `machine.rs`.
//!
//! Read next: `v1.rs` (records of an older version), `plans/record.rs` (how it is found in the store).

use std::time::Duration;

use policy_execution::{Ability, Execution, Limits};
use serde::{Deserialize, Serialize};
use wire::ids::{CommandId, DecisionId, PlanId};
use wire::plan::{Observation, Plan, PlanOutcome, PlanState, Step, StepOutcome, StepState, Verb};
use wire::time::{Mono, Now, Wall};

use super::{Judged, v1};
use crate::clusters::Was;
use crate::plans::at_cluster::is_of_clusters;

/// Time to carry a step out on a node: twice what the slowest of the agents' actuators takes.
const ACT: Duration = Duration::from_secs(60);
/// The same for moving work: pods and processes end by themselves first.
const ACT_SLOW: Duration = Duration::from_secs(25 * 60);
/// Time to learn what became of a step when its answer is missing.
const PROBE: Duration = Duration::from_secs(60);
/// Added to the time by which an effect is expected: how old a telemetry frame is when it is here.
const LOOK_SLACK: Duration = Duration::from_secs(15);
/// Time for the pods of a deployment to be as wanted. Kubernetes itself gives up after 10 min without progress
/// (`progressDeadlineSeconds`); a rollout that does make progress may take longer.
const SETTLE: Duration = Duration::from_secs(15 * 60);
/// Time for a node to be empty: disruption budgets let few pods go at a time, and pods end by themselves first.
const EMPTY: Duration = Duration::from_secs(25 * 60);

/// A step and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Where it stands.
    pub execution: Execution,
    /// The command that carries it out.
    pub command: Option<CommandId>,
    /// The command that takes it back.
    pub undo_command: Option<CommandId>,
    /// The node's decision on the first.
    pub decision: Option<DecisionId>,
    /// The metric of its expected effect when it was asked for.
    pub before: Option<i64>,
    /// What was seen of the effect.
    pub observed: Option<Observation>,
    /// For people.
    pub detail: String,
    /// How its target was before the plan, of a step at a cluster.
    pub was: Option<Was>,
}

/// A plan and what became of it so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanRecord {
    /// What was sent.
    pub plan: Plan,
    /// Where it stands.
    pub state: PlanState,
    /// Since when.
    pub since: Wall,
    /// Why, for people.
    pub detail: String,
    /// Its steps.
    pub steps: Vec<StepRecord>,
    /// Who approved it.
    pub approved_by: Vec<String>,
    /// How many must.
    pub approvals_needed: u32,
    /// The plan that it tries again.
    pub retry_of: Option<PlanId>,
    /// When the plan as a whole ends.
    pub(super) ends: Mono,
    /// When the present state ends.
    pub(super) deadline: Option<Mono>,
    /// For a hold: when policy is asked again.
    pub(super) wake: Option<Mono>,
    /// The verdict that `Decided` stands for.
    pub(super) judged: Option<Judged>,
    /// The step that is next, under way, or being taken back.
    pub(super) current: u16,
    pub(super) leases: u8,
    /// Grows with every change that must be stored.
    pub(super) revision: u64,
    /// What it did was taken back for another reason than that a step failed: policy or a person wanted it so.
    pub(super) called_off: bool,
    /// Something else acted on a target while an effect was looked for: what was seen says nothing of the claim.
    pub(super) interfered: Option<DecisionId>,
}

impl PlanRecord {
    /// Reads a record as version 1 wrote it.
    pub(in crate::plans) fn of_version_1(bytes: &[u8]) -> Option<Self> {
        v1::read(bytes)
    }

    /// A plan whose fields were checked, on its way to the store.
    pub fn new(plan: Plan, retry_of: Option<PlanId>, now: Now) -> Self {
        let left = plan.not_after.0.saturating_sub(now.wall.0);
        let steps = plan.steps.iter().map(StepRecord::new).collect();
        let mut record = Self {
            state: PlanState::Validated,
            since: now.wall,
            detail: String::new(),
            steps,
            approved_by: Vec::new(),
            approvals_needed: 0,
            retry_of,
            ends: now.mono + Duration::from_millis(u64::try_from(left).unwrap_or(0)),
            deadline: None,
            wake: None,
            judged: None,
            current: 0,
            leases: 0,
            revision: 1,
            called_off: false,
            interfered: None,
            plan,
        };
        record.deadline = record.limit(PlanState::Validated, now.mono);
        record
    }

    /// The revision that must be stored.
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    /// The step that is next, under way, or being taken back.
    pub fn current(&self) -> usize {
        usize::from(self.current)
    }

    /// When `Event::Due` is wanted next.
    pub fn next_due(&self) -> Option<Mono> {
        self.deadline.into_iter().chain(self.wake).min()
    }

    /// Whether something of it was done, or may have been, and stands.
    pub fn did_something(&self) -> bool {
        let stands = |step: &StepRecord| {
            !matches!(
                step.execution.state(),
                StepState::Waiting | StepState::Failed | StepState::Undone
            )
        };
        self.steps.iter().any(stands)
    }

    /// Whether a newer plan may take its place.
    pub fn may_be_superseded(&self) -> bool {
        self.state.may_become(PlanState::Superseded) && !self.did_something()
    }

    /// The name in which its steps run: its sender's, or its approvers' once there are any.
    pub fn runs_as(&self) -> (bool, String) {
        match self.approved_by.as_slice() {
            [] => (self.plan.source.is_brain(), self.plan.source.name().to_owned()),
            approvers => (false, approvers.join(" and ")),
        }
    }

    /// What came of it, for whoever predicted it. `None` while it is not over.
    pub fn outcome(&self) -> Option<PlanOutcome> {
        self.state.is_final().then(|| PlanOutcome {
            plan: self.plan.id,
            prediction: self
                .plan
                .claim
                .as_ref()
                .map_or_else(String::new, |claim| claim.prediction.clone()),
            state: self.state,
            steps: self.steps.iter().map(StepRecord::outcome).collect(),
            at: self.since,
            detail: self.detail.clone(),
            censored: self.called_off || self.interfered.is_some(),
        })
    }

    /// Whether any step was carried out, whatever became of it.
    pub fn ran(&self) -> bool {
        let ran = |step: &StepRecord| !matches!(step.execution.state(), StepState::Waiting | StepState::Failed);
        self.steps.iter().any(ran)
    }

    /// Until when a step that is probed, or taking it back, may still be asked for, if nobody was. `None` where its node has decided on it,
    /// or where its command would be over by now, or is of a time line that went back: then a missing command proves nothing.
    pub fn may_still_be_asked(&self, index: usize, undo: bool, now: Mono) -> Option<Mono> {
        // Taking back is safe to repeat.
        let step = self.steps.get(index).filter(|step| undo || step.decision.is_none())?;
        let until = step.execution.begins_before()?;
        (now < until && until <= now + step.execution.longest()).then_some(until)
    }

    /// The decision on a target that interfered while an effect was looked for.
    pub const fn interfered(&self) -> Option<&DecisionId> {
        self.interfered.as_ref()
    }
}

impl StepRecord {
    fn new(step: &Step) -> Self {
        let at_cluster = is_of_clusters(step);
        let slow = at_cluster || step.verb == Verb::Drain;
        let within = step.expected.as_ref().map_or(0, |effect| effect.within_ms);
        let ability = Ability {
            // A cluster that accepts a change has not made it yet: its effect is always looked for.
            verifies: at_cluster || step.expected.is_some(),
            reversible: step.verb.undo().is_some() || at_cluster && goes_back(&step.verb),
        };
        let verify_ms = match &step.verb {
            Verb::Drain if at_cluster => milliseconds(EMPTY),
            _ if at_cluster => milliseconds(SETTLE),
            _ => within.saturating_add(milliseconds(LOOK_SLACK)),
        };
        let limits = Limits {
            act_ms: milliseconds(if slow { ACT_SLOW } else { ACT }),
            probe_ms: milliseconds(PROBE),
            verify_ms,
        };
        Self {
            execution: Execution::new(ability, limits),
            command: None,
            undo_command: None,
            decision: None,
            before: None,
            observed: None,
            detail: String::new(),
            was: None,
        }
    }

    fn outcome(&self) -> StepOutcome {
        StepOutcome {
            state: self.execution.state(),
            observed: self.observed,
            detail: self.detail.clone(),
        }
    }
}

/// Whether a deployment can be given back what it was, which is read before the plan begins.
const fn goes_back(verb: &Verb) -> bool {
    matches!(
        verb,
        Verb::Scale { .. }
            | Verb::Update { .. }
            | Verb::Rollback { .. }
            | Verb::Reschedule { .. }
            | Verb::Deploy { .. }
    )
}

const fn milliseconds(span: Duration) -> u64 {
    span.as_secs() * 1_000
}

//! How one plan lives: events in, the next state and what must be done out. It stores nothing, asks nobody, and knows no policy.
//!
//! Whoever keeps a [`PlanRecord`] stores it when [`Reaction::store`] says so, calls [`PlanRecord::stored`] when that is durable, and only then
//! does what comes out of it: nothing leaves before the record that explains it. The verdicts come in as [`Judged`]; the steps
//! themselves are [`Execution`]s.
//!
//! Invariants, walked through in `machine/model.rs`: states follow each other as [`PlanState::successors`] says; every state that is not
//! final has a deadline, and deadlines alone lead to a final one; a plan is completed only if every step is done; no step is asked for
//! twice; a plan that did something it can take back never ends half done.
//!
//! Read next: `policy/execution/src/execution.rs` (one step).

use std::time::Duration;

use policy_execution::{Ability, Answer, Event as StepEvent, Execution, Limits, Reaction as StepReaction, Task};
use serde::{Deserialize, Serialize};
use wire::decision::Verdict;
use wire::ids::{CommandId, DecisionId, PlanId};
use wire::plan::{Observation, Plan, PlanOutcome, PlanState, Source, Step, StepOutcome, StepState, Verb};
use wire::time::{Mono, Now, Wall};

use super::at_cluster::is_of_clusters;
use crate::clusters::Was;

/// How often a plan may go back from `Leased` to `Scheduled` because its step did not start.
const MOST_LEASES: u8 = 3;
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
/// Longest text about a plan's state that is kept, in bytes.
const MOST_DETAIL: usize = 500;

/// What policy says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judged {
    /// The worst verdict.
    pub verdict: Verdict,
    /// The rule that gave it.
    pub rule: String,
    /// Why, for people; says until when where it is known.
    pub because: String,
    /// For a hold: when it is worth asking again.
    pub until: Option<Mono>,
    /// For an approval: by how many people.
    pub approvals: u32,
    /// For a hold: what is done already is taken back instead of waiting.
    pub roll_back: bool,
}

/// What happened to a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Policy has judged the whole plan ([`Want::Judge`]).
    Judged(Judged),
    /// Policy has judged the next step ([`Want::JudgeStep`]).
    StepJudged(Judged),
    /// The way to its targets is open ([`Want::Reach`]).
    Reachable,
    /// A person agrees.
    Approved {
        /// Who.
        who: String,
    },
    /// A person refuses.
    Refused {
        /// Who.
        who: String,
        /// Why.
        reason: String,
    },
    /// Its sender or a person calls it off.
    Cancel {
        /// Who.
        who: String,
        /// Why.
        reason: String,
    },
    /// A newer plan for the same target is here.
    Superseded {
        /// Which.
        by: PlanId,
    },
    /// Something about the present step, or the one that is being taken back.
    Step(StepEvent),
    /// Something else acted on the target of the present step while its effect was looked for.
    Interfered {
        /// The decision behind it.
        by: DecisionId,
    },
    /// The record was read from the store, or a later one was not written.
    Recovered,
    /// Time has passed.
    Due,
}

/// What must be done for a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Want {
    /// Judge the whole plan.
    Judge,
    /// Judge the next step.
    JudgeStep(usize),
    /// Say when its targets can be reached.
    Reach,
    /// Do something about a step.
    Task(usize, Task),
}

/// What the keeper of a record must do now.
#[derive(Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Reaction {
    /// Store the record.
    pub store: bool,
    /// The state changed: an entry says why.
    pub entered: Option<PlanState>,
    /// Do these.
    pub wants: Vec<Want>,
}

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
    ends: Mono,
    /// When the present state ends.
    deadline: Option<Mono>,
    /// For a hold: when policy is asked again.
    wake: Option<Mono>,
    /// The verdict that `Decided` stands for.
    judged: Option<Judged>,
    /// The step that is next, under way, or being taken back.
    current: u16,
    leases: u8,
    /// Grows with every change that must be stored.
    revision: u64,
    /// What it did was taken back for another reason than that a step failed: policy or a person wanted it so.
    called_off: bool,
    /// Something else acted on a target while an effect was looked for: what was seen says nothing of the claim.
    interfered: Option<DecisionId>,
}

impl PlanRecord {
    /// Reads a record as version 1 wrote it.
    pub(super) fn of_version_1(bytes: &[u8]) -> Option<Self> {
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

    /// The decision on a target that interfered while an effect was looked for.
    pub const fn interfered(&self) -> Option<&DecisionId> {
        self.interfered.as_ref()
    }

    /// The revision is durable: what waited for it may be done.
    pub fn stored(&mut self, revision: u64, now: Now) -> Reaction {
        if revision != self.revision {
            return Reaction::default();
        }
        match self.state {
            PlanState::Validated => Reaction::ask(Want::Judge),
            PlanState::Decided => self.place(now),
            PlanState::Scheduled => Reaction::ask(Want::Reach),
            PlanState::Leased => Reaction::ask(Want::JudgeStep(self.current())),
            PlanState::Executing | PlanState::Verifying | PlanState::RollingBack => {
                let Some(step) = self.steps.get(self.current()) else {
                    return Reaction::default();
                };
                let revision = step.execution.revision();
                self.step(StepEvent::Stored { revision }, now)
            }
            _ => Reaction::default(),
        }
    }

    /// Tells it one thing that happened. What does not fit its state changes nothing.
    pub fn handle(&mut self, event: Event, now: Now) -> Reaction {
        use PlanState as S;
        match (self.state, event) {
            (state, _) if state.is_final() => Reaction::default(),
            (_, Event::Recovered) => self.recovered(now),
            (_, Event::Due) => self.due(now),
            (S::Validated, Event::Judged(judged)) => {
                let detail = judged.because.clone();
                self.judged = Some(judged);
                self.enter(S::Decided, detail, now)
            }
            (S::Held | S::AwaitingApproval, Event::Judged(judged)) => self.judged_again(judged, now),
            (S::Scheduled, Event::Reachable) => self.enter(S::Leased, "its targets are free", now),
            (S::Leased, Event::StepJudged(judged)) => self.step_judged(judged, now),
            (S::AwaitingApproval, Event::Approved { who }) => self.approved(who, now),
            (S::AwaitingApproval | S::Held, Event::Refused { who, reason }) => {
                self.give_up(S::Rejected, format!("refused by {who}: {reason}"), now)
            }
            (_, Event::Cancel { who, reason }) => self.cancel(format!("cancelled by {who}: {reason}"), now),
            (_, Event::Superseded { by }) if self.may_be_superseded() => {
                self.enter(S::Superseded, format!("plan {by} took its place"), now)
            }
            (S::Executing | S::Verifying | S::RollingBack, Event::Step(event)) => self.step(event, now),
            (S::Executing | S::Verifying, Event::Interfered { by }) if self.interfered.is_none() => {
                self.interfered = Some(by);
                self.changed_quietly()
            }
            _ => Reaction::default(),
        }
    }

    /// Where the verdict of the whole plan leads.
    fn place(&mut self, now: Now) -> Reaction {
        match self.judged.take() {
            Some(judged) => self.follow(judged, now),
            None => self.enter(PlanState::Expired, "its verdict is lost", now),
        }
    }

    fn follow(&mut self, judged: Judged, now: Now) -> Reaction {
        match judged.verdict {
            Verdict::Allow | Verdict::Clamp => self.enter(PlanState::Scheduled, judged.because, now),
            Verdict::Hold => self.hold(judged, now),
            Verdict::RequireApproval if self.is_approved(judged.approvals) => {
                self.enter(PlanState::Scheduled, judged.because, now)
            }
            Verdict::RequireApproval => {
                self.approvals_needed = judged.approvals.max(1);
                self.enter(PlanState::AwaitingApproval, judged.because, now)
            }
            Verdict::Deny => self.give_up(PlanState::Rejected, judged.because, now),
        }
    }

    fn hold(&mut self, judged: Judged, now: Now) -> Reaction {
        if judged.roll_back && self.can_undo() {
            self.called_off = true;
            return self.roll_back(judged.because, now);
        }
        let reaction = self.enter(PlanState::Held, judged.because, now);
        // Asked again at the latest after a minute: what holds it may be lifted by hand.
        let minute = now.mono + Duration::from_secs(60);
        self.wake = Some(judged.until.map_or(minute, |until| until.min(minute)));
        reaction
    }

    fn judged_again(&mut self, judged: Judged, now: Now) -> Reaction {
        let same = match (self.state, judged.verdict) {
            (PlanState::Held, Verdict::Hold) => !(judged.roll_back && self.can_undo()),
            (PlanState::AwaitingApproval, Verdict::RequireApproval) => !self.is_approved(judged.approvals),
            _ => false,
        };
        if !same {
            return self.follow(judged, now);
        }
        let minute = now.mono + Duration::from_secs(60);
        self.wake = (self.state == PlanState::Held).then(|| judged.until.map_or(minute, |until| until.min(minute)));
        // The same answer again is no news: only the time of the next question changes.
        self.changed_quietly()
    }

    fn step_judged(&mut self, judged: Judged, now: Now) -> Reaction {
        let index = self.current();
        let allowed = match judged.verdict {
            Verdict::Allow | Verdict::Clamp => true,
            Verdict::RequireApproval => self.is_approved(judged.approvals),
            Verdict::Hold | Verdict::Deny => false,
        };
        if !allowed {
            return self.follow(judged, now);
        }
        if now.mono >= self.step_ends(index) {
            let detail = format!("step {} may not begin any more: its time is over", index + 1);
            return self.give_up(PlanState::Expired, detail, now);
        }
        let Some(step) = self.steps.get_mut(index) else {
            return self.enter(PlanState::Failed, "it has no such step", now);
        };
        match step.execution.handle(StepEvent::Begin, now.mono) {
            StepReaction::Store => {
                let detail = format!(
                    "step {} of {}: {}",
                    index + 1,
                    self.plan.steps.len(),
                    self.plan.steps[index]
                );
                self.enter(PlanState::Executing, detail, now)
            }
            StepReaction::Nothing | StepReaction::Do(_) => {
                self.give_up(PlanState::Failed, format!("step {} had begun before", index + 1), now)
            }
        }
    }

    /// Its sender's own consent does not count, and nobody's twice.
    fn approved(&mut self, who: String, now: Now) -> Reaction {
        let by_sender = matches!(&self.plan.source, Source::Person { name } if *name == who);
        if by_sender || self.approved_by.contains(&who) {
            return Reaction::default();
        }
        let detail = format!("approved by {who}");
        self.approved_by.push(who);
        if self.is_approved(self.approvals_needed) {
            return self.enter(PlanState::Scheduled, detail, now);
        }
        self.changed(detail)
    }

    fn is_approved(&self, needed: u32) -> bool {
        u32::try_from(self.approved_by.len()).unwrap_or(u32::MAX) >= needed.max(1)
    }

    fn cancel(&mut self, detail: String, now: Now) -> Reaction {
        match self.state {
            PlanState::Executing | PlanState::Verifying => {
                self.called_off = true;
                let reaction = self.enter(PlanState::RollingBack, detail, now);
                self.take_back_current(now);
                self.after_step(reaction, now)
            }
            PlanState::RollingBack => Reaction::default(),
            _ => self.give_up(PlanState::Cancelled, detail, now),
        }
    }

    /// Ends it as `state` unless something that was done can be taken back first.
    fn give_up(&mut self, state: PlanState, detail: impl Into<String>, now: Now) -> Reaction {
        if self.can_undo() {
            self.called_off |= state != PlanState::Failed;
            return self.roll_back(detail, now);
        }
        self.enter(state, detail, now)
    }

    fn can_undo(&self) -> bool {
        self.steps.iter().any(|step| step.execution.can_undo())
    }

    fn roll_back(&mut self, detail: impl Into<String>, now: Now) -> Reaction {
        let reaction = self.enter(PlanState::RollingBack, detail, now);
        self.after_step(reaction, now)
    }

    fn take_back_current(&mut self, now: Now) {
        let index = self.current();
        if let Some(step) = self.steps.get_mut(index) {
            // Whatever it answers, the record is stored with the plan's new state.
            let _ = step.execution.handle(StepEvent::Undo, now.mono);
        }
    }

    fn recovered(&mut self, now: Now) -> Reaction {
        match self.state {
            PlanState::Executing | PlanState::Verifying | PlanState::RollingBack => {
                self.step(StepEvent::Recovered, now)
            }
            // Asked again; a time line that went back gives no state more than its whole time.
            state => {
                self.deadline = self.deadline.min(self.limit(state, now.mono));
                self.wake = self.wake.map(|wake| wake.min(now.mono + Duration::from_secs(60)));
                self.revision = self.revision.saturating_add(1);
                Reaction::store()
            }
        }
    }

    fn due(&mut self, now: Now) -> Reaction {
        if self.wake.is_some_and(|wake| wake <= now.mono) {
            self.wake = None;
            if self.deadline.is_none_or(|deadline| now.mono < deadline) {
                return Reaction::ask(Want::Judge);
            }
        }
        if self.deadline.is_none_or(|deadline| now.mono < deadline) {
            return Reaction::default();
        }
        match self.state {
            PlanState::Received => self.enter(PlanState::Rejected, "it was not checked in time", now),
            PlanState::Validated => self.enter(PlanState::Rejected, "policy did not judge it in time", now),
            PlanState::Decided => self.enter(PlanState::Expired, "it was not placed in time", now),
            PlanState::Held => self.give_up(PlanState::Expired, "it was held until its time was over", now),
            PlanState::AwaitingApproval => self.give_up(PlanState::Expired, "nobody approved it in time", now),
            PlanState::Scheduled => self.give_up(
                PlanState::Expired,
                "its targets were not reached before its time was over",
                now,
            ),
            PlanState::Leased if self.leases < MOST_LEASES => {
                self.leases += 1;
                self.enter(PlanState::Scheduled, "its step did not start in time", now)
            }
            PlanState::Leased => self.give_up(PlanState::Failed, "its step did not start, three times", now),
            PlanState::Executing | PlanState::Verifying | PlanState::RollingBack => self.step(StepEvent::Due, now),
            _ => Reaction::default(),
        }
    }

    /// Passes something on to the present step, and follows it.
    fn step(&mut self, event: StepEvent, now: Now) -> Reaction {
        let index = self.current();
        let Some(step) = self.steps.get_mut(index) else {
            return self.enter(PlanState::Failed, "it has no such step", now);
        };
        match step.execution.handle(event, now.mono) {
            StepReaction::Nothing => Reaction::default(),
            StepReaction::Store => {
                let reaction = self.changed_quietly();
                self.after_step(reaction, now)
            }
            StepReaction::Do(task) => {
                self.deadline = self.step_deadline();
                let mut reaction = match task {
                    // That it was asked for is stored, too; a crash before that is a probe.
                    Task::Act { .. } | Task::Undo { .. } => self.changed_quietly(),
                    Task::Probe | Task::Look | Task::ProbeUndo => Reaction::default(),
                };
                reaction.wants.push(Want::Task(index, task));
                reaction
            }
        }
    }

    /// The plan's state follows from its present step's. `reaction` is what the step's change asks for already.
    fn after_step(&mut self, reaction: Reaction, now: Now) -> Reaction {
        let index = self.current();
        let state = self
            .steps
            .get(index)
            .map_or(StepState::Waiting, |step| step.execution.state());
        let entered = if self.state == PlanState::RollingBack {
            self.rolling_back(state, now)
        } else {
            self.going_on(state, now)
        };
        self.deadline = match self.state {
            PlanState::Executing | PlanState::Verifying | PlanState::RollingBack => self.step_deadline(),
            _ => self.deadline,
        };
        match entered {
            Some(last) => Reaction {
                entered: last.entered.or(reaction.entered),
                ..last
            },
            None => reaction,
        }
    }

    fn going_on(&mut self, state: StepState, now: Now) -> Option<Reaction> {
        let number = self.current() + 1;
        let detail = self
            .steps
            .get(self.current())
            .map_or("", |step| step.detail.as_str())
            .to_owned();
        match (self.state, state) {
            (PlanState::Executing, StepState::Verifying) => Some(self.enter(
                PlanState::Verifying,
                format!("step {number} is done, its effect is looked for"),
                now,
            )),
            // The states of a plan go over `Verifying` even where nothing is to be seen.
            (PlanState::Executing, StepState::Done) => {
                let _ = self.enter(PlanState::Verifying, format!("step {number} is done"), now);
                Some(self.step_done(now))
            }
            (_, StepState::Done) => Some(self.step_done(now)),
            (_, StepState::Failed) => {
                Some(self.give_up(PlanState::Failed, format!("step {number} failed: {detail}"), now))
            }
            (_, StepState::Stuck) => Some(self.give_up(
                PlanState::Failed,
                format!("step {number} had not its effect and cannot be taken back: {detail}"),
                now,
            )),
            (_, StepState::UndoIntending | StepState::Undoing | StepState::UndoProbing | StepState::Undone) => {
                let detail = format!("step {number} had not its effect, so the plan is taken back: {detail}");
                Some(self.enter(PlanState::RollingBack, detail, now))
            }
            (
                _,
                StepState::Waiting
                | StepState::Intending
                | StepState::Acting
                | StepState::Probing
                | StepState::Verifying,
            ) => None,
        }
    }

    fn step_done(&mut self, now: Now) -> Reaction {
        let done = self.current() + 1;
        if done == self.plan.steps.len() {
            let detail = match done {
                1 => "its step is done".to_owned(),
                _ => format!("all {done} steps are done"),
            };
            return self.enter(PlanState::Completed, detail, now);
        }
        self.current = u16::try_from(done).unwrap_or(u16::MAX);
        self.leases = 0;
        self.enter(PlanState::Leased, format!("step {done} is done"), now)
    }

    /// Takes the next one back, the last first, until there is none.
    fn rolling_back(&mut self, state: StepState, now: Now) -> Option<Reaction> {
        let settled = state.is_settled() && !self.steps[self.current()].execution.can_undo();
        if !settled && !matches!(state, StepState::Done) {
            return None;
        }
        let next = (0..self.steps.len())
            .rev()
            .find(|index| self.steps[*index].execution.can_undo());
        if let Some(index) = next {
            self.current = u16::try_from(index).unwrap_or(u16::MAX);
            self.take_back_current(now);
            return Some(self.changed_quietly());
        }
        let stuck = self
            .steps
            .iter()
            .position(|step| step.execution.state() == StepState::Stuck);
        Some(match stuck {
            Some(index) => {
                let detail = format!(
                    "step {} could not be taken back; before that: {}",
                    index + 1,
                    self.detail
                );
                self.enter(PlanState::RollbackFailed, detail, now)
            }
            None => self.enter(PlanState::RolledBack, self.detail.clone(), now),
        })
    }

    fn step_deadline(&self) -> Option<Mono> {
        self.steps.get(self.current())?.execution.deadline()
    }

    fn enter(&mut self, state: PlanState, detail: impl Into<String>, now: Now) -> Reaction {
        debug_assert!(self.state.may_become(state), "{:?} -> {state:?}", self.state);
        self.state = state;
        self.since = now.wall;
        self.wake = None;
        self.deadline = match state {
            PlanState::Executing | PlanState::Verifying | PlanState::RollingBack => self.step_deadline(),
            _ => self.limit(state, now.mono),
        };
        let mut reaction = self.changed(detail);
        reaction.entered = Some(state);
        reaction
    }

    fn changed(&mut self, detail: impl Into<String>) -> Reaction {
        self.detail = cut(detail.into());
        self.changed_quietly()
    }

    fn changed_quietly(&mut self) -> Reaction {
        self.revision = self.revision.saturating_add(1);
        Reaction::store()
    }

    /// When a state ends at the latest: its own time, and the plan's while no step of it is under way.
    fn limit(&self, state: PlanState, now: Mono) -> Option<Mono> {
        let own = now + state.longest()?;
        let begins_by = self.ends.min(self.step_ends(self.current()));
        Some(match state {
            PlanState::Held | PlanState::AwaitingApproval | PlanState::Scheduled => own.min(begins_by),
            _ => own,
        })
    }

    /// The last moment at which this step may begin.
    pub fn step_ends(&self, step: usize) -> Mono {
        let before_end = self.plan.not_after.0.saturating_sub(self.plan.step_ends(step).0);
        self.ends - Duration::from_millis(u64::try_from(before_end).unwrap_or(0))
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

impl Reaction {
    fn store() -> Self {
        Self {
            store: true,
            ..Self::default()
        }
    }

    fn ask(want: Want) -> Self {
        Self {
            wants: vec![want],
            ..Self::default()
        }
    }
}

impl Event {
    /// The node answers: it was done, it was certainly not, or it cannot say.
    pub const fn answered(answer: Answer, undo: bool) -> Self {
        Self::Step(if undo {
            StepEvent::UndoAnswered(answer)
        } else {
            StepEvent::Answered(answer)
        })
    }
}

/// Whether a deployment can be given back what it was, which is read before the plan begins.
const fn goes_back(verb: &Verb) -> bool {
    matches!(verb, Verb::Scale { .. } | Verb::Update { .. } | Verb::Rollback { .. })
}

const fn milliseconds(span: Duration) -> u64 {
    span.as_secs() * 1_000
}

/// A text that came from elsewhere, as much of it as is kept.
fn cut(mut text: String) -> String {
    if text.len() > MOST_DETAIL {
        let end = (0..=MOST_DETAIL).rev().find(|end| text.is_char_boundary(*end));
        text.truncate(end.unwrap_or(0));
    }
    text
}

mod v1;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

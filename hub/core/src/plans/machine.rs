//! How one plan lives: events in, the next state and what must be done out. It stores nothing, asks nobody, and knows no policy.
//!
//! Whoever keeps a [`PlanRecord`] stores it when [`Reaction::store`] says so, calls [`PlanRecord::stored`] when that is durable, and only then
//! does what comes out of it: nothing leaves before the record that explains it. The verdicts come in as [`Judged`]; the steps
//! themselves are [`policy_execution::Execution`]s.
//!
//! Invariants, walked through in `machine/model.rs`: states follow each other as [`PlanState::successors`] says; every state that is not
//! final has a deadline, and deadlines alone lead to a final one; a plan is completed only if every step is done; no step is asked for
//! twice; a plan that did something it can take back never ends half done.
//!
//! Read next: `machine/kept.rs` (what is kept), `machine/verdict.rs` (where verdicts lead), `machine/steps.rs` (how a plan follows its
//! steps), `policy/execution/src/execution.rs` (one step).

mod kept;
mod steps;
mod v1;
mod verdict;

use std::time::Duration;

use policy_execution::{Answer, Event as StepEvent, Task};
use serde::{Deserialize, Serialize};
use wire::decision::Verdict;
use wire::ids::{DecisionId, PlanId};
use wire::plan::PlanState;
use wire::time::{Mono, Now};

pub use kept::{PlanRecord, StepRecord};

/// How often a plan may go back from `Leased` to `Scheduled` because its step did not start.
const MOST_LEASES: u8 = 3;
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

impl PlanRecord {
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

/// A text that came from elsewhere, as much of it as is kept.
fn cut(mut text: String) -> String {
    if text.len() > MOST_DETAIL {
        let end = (0..=MOST_DETAIL).rev().find(|end| text.is_char_boundary(*end));
        text.truncate(end.unwrap_or(0));
    }
    text
}

#[cfg(test)]
mod golden;
#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

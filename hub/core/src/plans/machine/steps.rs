//! How a plan follows its steps: forward one after the other, and back in the reverse order.
//!
//! Decides what the state of the present step means for the plan; how one step lives is decided in `policy-execution`.
//!
//! Invariant: what was done and can be taken back is taken back before the plan ends as anything but completed.

use policy_execution::{Event as StepEvent, Reaction as StepReaction, Task};
use wire::plan::{PlanState, StepState};
use wire::time::{Mono, Now};

use super::{PlanRecord, Reaction, Want};

impl PlanRecord {
    pub(super) fn cancel(&mut self, detail: String, now: Now) -> Reaction {
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
    pub(super) fn give_up(&mut self, state: PlanState, detail: impl Into<String>, now: Now) -> Reaction {
        if self.can_undo() {
            self.called_off |= state != PlanState::Failed;
            return self.roll_back(detail, now);
        }
        self.enter(state, detail, now)
    }

    pub(super) fn can_undo(&self) -> bool {
        self.steps.iter().any(|step| step.execution.can_undo())
    }

    pub(super) fn roll_back(&mut self, detail: impl Into<String>, now: Now) -> Reaction {
        let reaction = self.enter(PlanState::RollingBack, detail, now);
        self.after_step(reaction, now)
    }

    pub(super) fn take_back_current(&mut self, now: Now) {
        let index = self.current();
        if let Some(step) = self.steps.get_mut(index) {
            // Whatever it answers, the record is stored with the plan's new state.
            let _ = step.execution.handle(StepEvent::Undo, now.mono);
        }
    }

    /// Passes something on to the present step, and follows it.
    pub(super) fn step(&mut self, event: StepEvent, now: Now) -> Reaction {
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
    pub(super) fn after_step(&mut self, reaction: Reaction, now: Now) -> Reaction {
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

    pub(super) fn going_on(&mut self, state: StepState, now: Now) -> Option<Reaction> {
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

    pub(super) fn step_done(&mut self, now: Now) -> Reaction {
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
    pub(super) fn rolling_back(&mut self, state: StepState, now: Now) -> Option<Reaction> {
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

    pub(super) fn step_deadline(&self) -> Option<Mono> {
        self.steps.get(self.current())?.execution.deadline()
    }
}

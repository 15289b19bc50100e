//! What people may tell a rollout.

use super::machine::{Moved, Rollout};
use super::phase::Phase;
use super::spec::{RolloutSpec, Step};

/// A command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Go on with the next step, whatever this one waits for.
    Promote,
    /// Leave out all steps that are left.
    PromoteFully,
    /// Open a gate.
    Open {
        /// Its name.
        gate: String,
    },
    /// Stay where it is.
    Pause,
    /// Go on with the step that was paused, from its beginning.
    Resume,
    /// Take everything back.
    Abort {
        /// Why, for the journal.
        why: String,
    },
    /// Try again to take everything back.
    RetryRollback,
}

/// A command that does not apply now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a rollout that is {phase} cannot be told to {command}; {way_out}")]
pub struct Refused {
    /// What was told.
    pub command: &'static str,
    /// Where the rollout is.
    pub phase: &'static str,
    /// What to do instead.
    pub way_out: String,
}

impl Rollout {
    /// Follows a command, or says why not. A refused command changes nothing.
    pub fn command(&mut self, command: &Command, now_ms: i64) -> Result<Moved, Refused> {
        let from = self.phase.clone();
        match command {
            Command::Promote if self.phase.is_forward() && self.phase != Phase::Setting => {
                self.next_step(now_ms, "a person went on");
            }
            Command::Promote => return Err(self.refused("promote", "wait until its step is there")),
            Command::PromoteFully if self.phase.is_forward() => {
                self.step = self.spec.steps.len();
                self.enter(Phase::Promoting, now_ms, "a person left out the rest of the steps");
            }
            Command::PromoteFully => {
                return Err(self.refused("promote fully", "only what goes forward can be promoted"));
            }
            Command::Open { gate } => {
                let waits_for = match self.spec.steps.get(self.step) {
                    Some(Step::Gate { name }) if self.phase == Phase::Gated => name.clone(),
                    _ => return Err(self.refused("open a gate", "it does not wait for one")),
                };
                if waits_for != *gate {
                    return Err(self.refused("open that gate", &format!("it waits for gate {waits_for}")));
                }
                self.next_step(now_ms, &format!("gate {gate} is open"));
            }
            Command::Pause if self.phase.is_forward() && self.phase != Phase::Paused => {
                self.enter(Phase::Paused, now_ms, "a person paused it");
            }
            Command::Pause => return Err(self.refused("pause", "only what goes forward can be paused")),
            Command::Resume if self.phase == Phase::Paused => {
                // A step that is itself a pause is over when somebody goes on.
                match self.phase_of_step() {
                    Phase::Paused => self.next_step(now_ms, "a person went on"),
                    phase => self.enter(phase, now_ms, "a person went on"),
                }
            }
            Command::Resume => return Err(self.refused("resume", "it is not paused")),
            Command::Abort { why } if self.phase.is_forward() || self.phase == Phase::Promoting => {
                self.roll_back(now_ms, &format!("aborted: {why}"));
            }
            Command::Abort { .. } => return Err(self.refused("abort", "start one with the image that should run")),
            Command::RetryRollback if self.phase == Phase::RollbackFailed => {
                self.roll_back(now_ms, "a person wants it tried again");
            }
            Command::RetryRollback => {
                return Err(self.refused("retry the rollback", "only a failed rollback can be retried"));
            }
        }
        Ok(Moved {
            from,
            to: self.phase.clone(),
            why: self.why.clone(),
        })
    }

    /// The rollout that takes a completed one back, by the same steps.
    pub fn undo(&self) -> Result<RolloutSpec, Refused> {
        match self.phase {
            Phase::Completed => Ok(RolloutSpec {
                image: self.start.image.clone(),
                ..self.spec.clone()
            }),
            _ => Err(self.refused(
                "undo",
                "abort it if it goes forward; otherwise there is nothing to undo",
            )),
        }
    }

    /// The same rollout once more, after it was taken back.
    pub fn again(&self) -> Result<RolloutSpec, Refused> {
        match self.phase {
            Phase::RolledBack => Ok(self.spec.clone()),
            _ => Err(self.refused("try again", "only what was rolled back can be tried again")),
        }
    }

    fn refused(&self, command: &'static str, way_out: &str) -> Refused {
        Refused {
            command,
            phase: self.phase.word(),
            way_out: way_out.to_owned(),
        }
    }
}

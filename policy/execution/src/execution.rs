//! One thing that is done, from its intent to its outcome.
//!
//! The caller stores an [`Execution`] whenever [`Reaction::Store`] says so and reports back with [`Event::Stored`]; only then a [`Task`] may
//! leave. A restart is [`Event::Recovered`] on the stored record: an intent without an answer is probed, never repeated.
//!
//! Invariants, over all orders of events and crashes:
//! - the thing itself is asked for at most once, and never before its intent is durable;
//! - whoever is asked gets the deadline along and refuses later, so that nothing begins after it was given up;
//! - every state that is not settled has a deadline, and deadlines alone lead to a settled one;
//! - taking back is asked for only if the thing may have been done, at most [`MOST_UNDOS`] times: it must be safe to repeat.
//!
//! Read next: [`wire::plan::StepState`] (the words).

use std::time::Duration;

use serde::{Deserialize, Serialize};
use wire::StepState;
use wire::time::Mono;

/// How often taking back is tried: once more than a lost answer costs.
pub const MOST_UNDOS: u8 = 2;

/// What can be expected of the thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ability {
    /// An effect is expected, and looked for.
    pub verifies: bool,
    /// It can be taken back, and taking it back twice is the same as once.
    pub reversible: bool,
}

/// How long each part may last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Carrying it out, and taking it back.
    pub act_ms: u64,
    /// Finding out what is.
    pub probe_ms: u64,
    /// Seeing the effect.
    pub verify_ms: u64,
}

/// What whoever carries it out says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It was done, and reads back as wanted.
    Done,
    /// It was certainly not done.
    NotDone,
    /// It cannot say.
    Unknown,
}

/// What a probe found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    /// The world is as if it was done.
    IsDone,
    /// It is as if it was not, and whoever was asked will not do it any more.
    IsNotDone,
    /// It cannot be told.
    Unknown,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// It is wanted.
    Begin,
    /// The record with this revision is durable.
    Stored {
        /// Which.
        revision: u64,
    },
    /// A process has just read this record from its store, or went back to it because a later one was not written.
    Recovered,
    /// An answer to [`Task::Act`].
    Answered(Answer),
    /// An answer to [`Task::Undo`].
    UndoAnswered(Answer),
    /// An answer to [`Task::Probe`].
    Probed(Probe),
    /// An answer to [`Task::ProbeUndo`].
    UndoProbed(Probe),
    /// An answer to [`Task::Look`]: whether the effect was seen in time.
    Seen(bool),
    /// It is not wanted any more.
    Undo,
    /// Time has passed.
    Due,
}

/// What is to be done outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Carry it out; whoever does refuses after the deadline.
    Act {
        /// The deadline.
        until: Mono,
    },
    /// Find out whether it was done.
    Probe,
    /// Look for its effect.
    Look,
    /// Take it back; whoever does refuses after the deadline.
    Undo {
        /// From 1; names the try.
        attempt: u8,
        /// The deadline.
        until: Mono,
    },
    /// Find out whether it was taken back.
    ProbeUndo,
}

/// What the caller must do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Reaction {
    /// Nothing.
    Nothing,
    /// Store the record, then say [`Event::Stored`] with its revision.
    Store,
    /// Do this.
    Do(Task),
}

/// The record of one thing.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Execution {
    state: StepState,
    /// Grows with every change that must be stored.
    revision: u64,
    /// When the present state ends.
    until: Option<Mono>,
    undos: u8,
    /// It is not wanted any more: as soon as it is known to be done, it is taken back.
    unwanted: bool,
    verifies: bool,
    reversible: bool,
    limits: [u64; 3],
}

impl Execution {
    /// Something that has not begun.
    pub const fn new(ability: Ability, limits: Limits) -> Self {
        Self {
            state: StepState::Waiting,
            revision: 0,
            until: None,
            undos: 0,
            unwanted: false,
            verifies: ability.verifies,
            reversible: ability.reversible,
            limits: [limits.act_ms, limits.probe_ms, limits.verify_ms],
        }
    }

    /// Where it stands.
    pub const fn state(&self) -> StepState {
        self.state
    }

    /// The revision that must be stored.
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    /// When [`Event::Due`] is wanted; `None` if it stands still.
    pub const fn deadline(&self) -> Option<Mono> {
        self.until
    }

    /// While it is probed: when whoever was asked may not begin any more.
    pub fn begins_before(&self) -> Option<Mono> {
        let [_, probe, _] = self.limits;
        let is_probed = matches!(self.state, StepState::Probing | StepState::UndoProbing);
        let until = self.until.filter(|_| is_probed)?;
        Some(Mono(until.0.saturating_sub(probe)))
    }

    /// How long carrying it out, or taking it back, may last.
    pub const fn longest(&self) -> Duration {
        let [act, ..] = self.limits;
        Duration::from_millis(act)
    }

    /// How often taking it back was tried.
    pub const fn undos(&self) -> u8 {
        self.undos
    }

    /// Whether it will be taken back as soon as it is known to be done.
    pub const fn is_unwanted(&self) -> bool {
        self.unwanted
    }

    /// Whether it is done and could be taken back.
    pub const fn can_undo(&self) -> bool {
        self.reversible && matches!(self.state, StepState::Done | StepState::Verifying)
    }

    /// Tells it one thing that happened. Whatever does not fit the present state changes nothing: answers may come late or twice.
    pub fn handle(&mut self, event: Event, now: Mono) -> Reaction {
        match event {
            Event::Stored { revision } if revision == self.revision => self.stored(now),
            Event::Stored { .. } => Reaction::Nothing,
            Event::Recovered => self.recovered(now),
            Event::Undo => self.undo(now),
            Event::Due if self.until.is_none_or(|until| now < until) => Reaction::Nothing,
            Event::Begin
            | Event::Answered(_)
            | Event::UndoAnswered(_)
            | Event::Probed(_)
            | Event::UndoProbed(_)
            | Event::Seen(_)
            | Event::Due => self.step(event, now),
        }
    }

    fn step(&mut self, event: Event, now: Mono) -> Reaction {
        use StepState as S;
        match (self.state, event) {
            (S::Waiting, Event::Begin) => self.enter(S::Intending, now),

            (S::Acting | S::Probing, Event::Answered(Answer::Done)) | (S::Probing, Event::Probed(Probe::IsDone)) => {
                self.done(now)
            }
            (S::Acting | S::Probing, Event::Answered(Answer::NotDone))
            | (S::Probing, Event::Probed(Probe::IsNotDone)) => self.enter(S::Failed, now),
            (S::Acting, Event::Answered(Answer::Unknown) | Event::Due) => self.enter(S::Probing, now),
            // Nobody can say what is: the effect may, and what can be taken back is. Not before the deadline: until then whoever
            // was asked may still begin.
            (S::Probing, Event::Due) if self.verifies && !self.unwanted => self.enter(S::Verifying, now),
            (S::Probing, Event::Due) => self.take_back(now),

            (S::Verifying, Event::Seen(true)) => self.enter(S::Done, now),
            (S::Verifying, Event::Seen(false) | Event::Due) => self.take_back(now),

            (S::Undoing | S::UndoProbing, Event::UndoAnswered(Answer::Done))
            | (S::UndoProbing, Event::UndoProbed(Probe::IsNotDone)) => self.enter(S::Undone, now),
            (S::Undoing, Event::UndoAnswered(Answer::NotDone)) | (S::UndoProbing, Event::UndoProbed(Probe::IsDone)) => {
                self.take_back(now)
            }
            (S::Undoing, Event::UndoAnswered(Answer::Unknown) | Event::Due) => self.enter(S::UndoProbing, now),
            (S::UndoProbing, Event::UndoProbed(Probe::Unknown) | Event::Due) => self.take_back(now),
            _ => Reaction::Nothing,
        }
    }

    /// The present state is durable: what it stands for may be asked for.
    fn stored(&mut self, now: Mono) -> Reaction {
        let until = self.until.unwrap_or(now);
        match self.state {
            // The store was slower than the deadline: nobody was asked.
            StepState::Intending if now >= until => self.enter(StepState::Failed, now),
            StepState::Intending => {
                self.state = StepState::Acting;
                Reaction::Do(Task::Act { until })
            }
            StepState::Probing => Reaction::Do(Task::Probe),
            StepState::Verifying => Reaction::Do(Task::Look),
            StepState::UndoIntending => {
                self.state = StepState::Undoing;
                let until = self.limit(StepState::Undoing, now).unwrap_or(now);
                self.until = Some(until);
                let attempt = self.undos;
                Reaction::Do(Task::Undo { attempt, until })
            }
            StepState::UndoProbing => Reaction::Do(Task::ProbeUndo),
            StepState::Waiting
            | StepState::Acting
            | StepState::Done
            | StepState::Failed
            | StepState::Undoing
            | StepState::Undone
            | StepState::Stuck => Reaction::Nothing,
        }
    }

    /// The process that kept the record is another one: whoever was asked may have done it, may be doing it, or was never asked.
    fn recovered(&mut self, now: Mono) -> Reaction {
        match self.state {
            StepState::Intending | StepState::Acting => self.enter(StepState::Probing, now),
            StepState::UndoIntending | StepState::Undoing => self.enter(StepState::UndoProbing, now),
            // Asked again, with what is left of the time; a time line that went back gives no more than the whole.
            StepState::Probing | StepState::Verifying | StepState::UndoProbing => {
                self.until = self.until.min(self.limit(self.state, now));
                self.revision = self.revision.saturating_add(1);
                Reaction::Store
            }
            StepState::Waiting | StepState::Done | StepState::Failed | StepState::Undone | StepState::Stuck => {
                Reaction::Nothing
            }
        }
    }

    fn undo(&mut self, now: Mono) -> Reaction {
        match self.state {
            StepState::Waiting => self.enter(StepState::Failed, now),
            // Nobody was asked yet.
            StepState::Intending => self.enter(StepState::Failed, now),
            // What is under way is not torn: it is taken back when it is known to be done.
            StepState::Acting | StepState::Probing if !self.unwanted => {
                self.unwanted = true;
                self.revision = self.revision.saturating_add(1);
                Reaction::Store
            }
            StepState::Verifying | StepState::Done if self.reversible => self.take_back(now),
            _ => Reaction::Nothing,
        }
    }

    fn done(&mut self, now: Mono) -> Reaction {
        if self.unwanted && self.reversible {
            self.take_back(now)
        } else if self.verifies {
            self.enter(StepState::Verifying, now)
        } else {
            self.enter(StepState::Done, now)
        }
    }

    fn take_back(&mut self, now: Mono) -> Reaction {
        if !self.reversible || self.undos >= MOST_UNDOS {
            return self.enter(StepState::Stuck, now);
        }
        self.undos += 1;
        self.enter(StepState::UndoIntending, now)
    }

    fn enter(&mut self, state: StepState, now: Mono) -> Reaction {
        // A probe lasts until nobody can begin any more, and its own time beyond.
        let from = match state {
            StepState::Probing => self.until.map_or(now, |until| until.max(now)),
            _ => now,
        };
        self.state = state;
        self.until = self.limit(state, from);
        self.revision = self.revision.saturating_add(1);
        Reaction::Store
    }

    fn limit(&self, state: StepState, now: Mono) -> Option<Mono> {
        let [act, probe, verify] = self.limits;
        let limit = match state {
            StepState::Intending | StepState::Acting | StepState::UndoIntending | StepState::Undoing => act,
            StepState::Probing | StepState::UndoProbing => probe,
            StepState::Verifying => verify,
            StepState::Waiting | StepState::Done | StepState::Failed | StepState::Undone | StepState::Stuck => {
                return None;
            }
        };
        Some(now + Duration::from_millis(limit))
    }
}

#[cfg(test)]
mod model;

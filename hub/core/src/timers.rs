//! What is to happen at which time. A timer that no longer applies fires and does nothing.

use std::collections::BTreeSet;

use wire::ids::{CommandId, PlanId};
use wire::time::Mono;

use crate::fleet::Place;
use crate::input::SessionId;

/// What happens then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// A session should have said hello.
    Hello(SessionId),
    /// Whoever asked for a command has waited long enough.
    Wait(CommandId),
    /// A command is no longer valid.
    Expire(CommandId),
    /// An agent that was slowed may hear how far it is stored.
    Ack(Place),
    /// The next beacon.
    Beacon,
    /// Counts of domains may have changed.
    Domains,
    /// Sessions may have ended, and refusals may have come again.
    Access,
    /// Tokens and identities may be forgotten.
    Agents,
    /// A plan's present state ends, or what holds it may have changed.
    Plan(PlanId),
    /// Watchers may hear of the policy again.
    Policy,
    /// Rollouts are looked at.
    Rollouts,
    /// Loads are measured.
    Scaling,
    /// Nodes are marked in their clusters.
    Clusters,
    /// Leases of tasks may be lost.
    Tasks,
    /// The next checkpoint of the hub's own journal.
    Checkpoint,
}

#[derive(Debug, Default)]
pub(crate) struct Timers(BTreeSet<(Mono, Timer)>);

impl Timers {
    pub(crate) fn set(&mut self, at: Mono, timer: Timer) {
        self.0.insert((at, timer));
    }

    /// What was to happen then does not any more.
    pub(crate) fn cancel(&mut self, at: Mono, timer: Timer) {
        self.0.remove(&(at, timer));
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn next(&self) -> Option<Mono> {
        self.0.first().map(|(at, _)| *at)
    }

    /// The next one whose time has come.
    pub(crate) fn due(&mut self, now: Mono) -> Option<Timer> {
        if self.next()? > now {
            return None;
        }
        self.0.pop_first().map(|(_, timer)| timer)
    }
}

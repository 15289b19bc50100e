//! What others may look at: the status that travels, and the views of the node's own API.
//!
//! Reads only; nothing here changes anything.

use std::time::Duration;

use wire::bundle::BundleRef;
use wire::decision::Authority;
use wire::entry::ChainHead;
use wire::frame::{DeviceInfo, Held, Status};
use wire::ids::{DecisionId, HubEpoch, Seq};
use wire::time::{ClockError, Now};
use wire::{Action, SignedBundle, SignedRoles};

use crate::agent::Agent;
use crate::faults::ladder;
use crate::faults::users::Picture;
use crate::link::Stage;

/// How the node stands with its hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkState {
    /// No session; the next try comes in this time.
    Down {
        /// Until the next try.
        retry_in: Duration,
    },
    /// A try is under way, or the hub has not answered the hello yet.
    Connecting,
    /// The hub has welcomed this agent.
    Up {
        /// For how long.
        lasted: Duration,
        /// The hub's incarnation.
        hub_epoch: HubEpoch,
    },
}

/// An action that is not finished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenAction {
    /// The decision that caused it.
    pub decision: DecisionId,
    /// What it does.
    pub action: Action,
}

/// Which policy an agent goes by, how fresh it is, and what it may still do by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// What it holds of the signed policy.
    pub held: Held,
    /// Milliseconds of running time since the bundle was last proven to be the newest.
    pub policy_age_ms: u64,
    /// The authority step that it believes in.
    pub authority: Authority,
}

impl Agent {
    /// How it stands with its policy; cheaper than [`Agent::status`].
    pub fn standing(&self, now: Now) -> Standing {
        Standing {
            held: self.held(),
            policy_age_ms: self.policy_age_ms(now.mono),
            authority: self.authority.step,
        }
    }

    /// Everything that a person asks first, as of now; the hub gets the same.
    pub fn status(&self, now: Now) -> Status {
        Status {
            at: now,
            head: self.record.made(),
            bundle: self
                .bundle
                .as_ref()
                .map_or(BundleRef::NONE, |(_, reference)| *reference),
            policy_age_ms: self.policy_age_ms(now.mono),
            authority: self.authority.step,
            next_step_ms: self.authority.until.map(|until| until.0.saturating_sub(now.mono.0)),
            held_by: self.marks.held.as_ref().map(|held| held.who.clone()),
            clock: self.clock.state(),
            journal_ok: self.record.takes_entries(),
            journal_bytes: (self.record.used_bytes, self.settings.journal_limit_bytes),
            unrecorded_actions: self.record.unrecorded(),
            telemetry_interval_ms: self.telemetry.interval_ms(),
            devices: self.devices.clone(),
            certificate_ends: self.settings.certificate_ends,
            rejoins: self.settings.rejoins,
        }
    }

    /// How the node stands with its hub.
    pub fn link_state(&self, now: Now) -> LinkState {
        match &self.link.stage {
            Stage::Down { retry_at } => LinkState::Down {
                retry_in: retry_at.since(now.mono),
            },
            Stage::Connecting | Stage::Greeting { .. } | Stage::Closing { .. } => LinkState::Connecting,
            Stage::Welcomed(session) => LinkState::Up {
                lasted: now.mono.since(session.since),
                hub_epoch: session.hub_epoch,
            },
        }
    }

    /// Entries that were made and that no hub has acknowledged, older epochs included.
    pub fn backlog_entries(&self) -> u64 {
        let present = self.record.made().seq.0 - self.marks.acked.0;
        let older = self.older.iter().map(|older| older.last.0 - older.first.0 + 1);
        present + older.sum::<u64>()
    }

    /// By how much the wall clock may differ from the hub's.
    pub fn clock_error(&self, now: Now) -> ClockError {
        self.clock
            .error_ms(now)
            .map_or(ClockError::NotCompared, ClockError::WithinMs)
    }

    /// The active bundle.
    pub fn bundle(&self) -> Option<(&SignedBundle, BundleRef)> {
        self.bundle.as_ref().map(|(signed, reference)| (signed, *reference))
    }

    /// The role documents that are trusted, oldest first.
    pub fn roles(&self) -> &[SignedRoles] {
        &self.marks.roles
    }

    /// The active bundle as it is judged by.
    pub fn policy(&self) -> Option<&policy::Bundle> {
        self.judge.as_ref().map(|judge| judge.bundle().as_ref())
    }

    /// End of the durable chain.
    pub fn head(&self) -> ChainHead {
        self.record.durable()
    }

    /// The last entry of the present epoch that a hub acknowledged.
    pub fn acked(&self) -> Seq {
        self.marks.acked
    }

    /// The highest incarnation of a hub that was seen.
    pub fn hub_epoch(&self) -> HubEpoch {
        self.session_hub_epoch()
            .unwrap_or_default()
            .max(self.marks.floor.hub_epoch)
    }

    /// What the age of the policy still lets this node do.
    pub fn authority(&self) -> Authority {
        self.authority.step
    }

    /// The devices that the shell told of last.
    pub fn devices(&self) -> &[DeviceInfo] {
        &self.devices
    }

    /// Which workloads use which device, as far as it is known.
    pub fn users(&self) -> &Picture {
        self.remedies.users.present()
    }

    /// How the ladder against faults stands.
    pub fn ladder(&self, now: Now) -> Vec<ladder::Standing> {
        self.marks.ladder.standing(now.mono)
    }

    /// Actions that are not finished, oldest first.
    pub fn open_actions(&self) -> Vec<OpenAction> {
        let open = self.marks.open.iter().map(|open| OpenAction {
            decision: open.decision.clone(),
            action: open.action.clone(),
        });
        open.collect()
    }
}

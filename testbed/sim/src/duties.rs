//! What an agent owes to people and to policy, looked at in its durable entries and after every step.
//!
//! Nothing of the agent's own bookkeeping is believed: who holds the node, which bundle is in force and how fresh it is are followed
//! here anew, across crashes.
//!
//! Invariants:
//! H1 a decision knows of a person's hold exactly while the entries before it say that there is one.
//! T4 each bundle that becomes active is newer than the one before, and decisions are made by the one that was told of last.
//! T5 policy becomes fresher by another bundle or a higher-numbered beacon, never by itself and never by a restart.
//! A9 no agent believes in more authority than the age of its policy gives.

use edge_agent_core::Standing;
use wire::BundleRef;
use wire::decision::Authority;
use wire::entry::{Entry, EntryBody, Event};
use wire::frame::Held;
use wire::time::Now;

/// Older than any policy in these worlds.
const NO_PROOF_MS: u64 = 5 * 365 * 24 * 3_600_000;

/// What one agent's life owes.
#[derive(Debug, Clone)]
pub(crate) struct Duties {
    /// Whether a person holds the node; `None` where the journal that said so is lost.
    held: Option<bool>,
    /// The bundle in force, by the entries; `None` where it is not known.
    bundle: Option<BundleRef>,
    fresh: Option<Fresh>,
    /// How often a decision was looked at while a person held the node.
    pub(crate) looked_held: u64,
}

impl Default for Duties {
    fn default() -> Self {
        Self {
            held: Some(false),
            bundle: Some(BundleRef::NONE),
            fresh: None,
            looked_held: 0,
        }
    }
}

/// Since when policy counts as fresh, by the node's running time, and what made it so.
#[derive(Debug, Clone, Copy)]
struct Fresh {
    since: i128,
    held: Held,
}

impl Duties {
    /// The journal was lost, or an older copy of it is used: what only it said is unknown.
    pub(crate) fn forget(&mut self) {
        (self.held, self.bundle) = (None, None);
    }

    /// Looks at one more durable entry.
    pub(crate) fn commit(&mut self, entry: &Entry) -> Result<(), String> {
        match &entry.body {
            EntryBody::Event(Event::Held { .. }) => self.held = Some(true),
            EntryBody::Event(Event::Released { .. }) => self.held = Some(false),
            EntryBody::Event(Event::RolesTrusted { .. }) => self.bundle = None,
            EntryBody::Event(Event::BundleActivated { bundle, before }) => return self.activate(*bundle, *before),
            EntryBody::Decided(decision) => {
                let inputs = &decision.inputs;
                if let Some(held) = self.held.filter(|held| *held != inputs.held_by.is_some()) {
                    return Err(format!(
                        "H1: entry {} was decided as if the node were held: {}; it is: {held}",
                        entry.seq, !held
                    ));
                }
                self.looked_held += u64::from(self.held == Some(true));
                if let Some(bundle) = self.bundle.filter(|bundle| *bundle != inputs.bundle) {
                    return Err(format!(
                        "T4: entry {} was decided by {:?}, and {bundle:?} is in force",
                        entry.seq, inputs.bundle
                    ));
                }
            }
            EntryBody::Event(_) | EntryBody::Acted(_) | EntryBody::Gap(_) | EntryBody::Changed(_) => {}
        }
        Ok(())
    }

    fn activate(&mut self, bundle: BundleRef, before: Option<BundleRef>) -> Result<(), String> {
        let known = self.bundle.replace(bundle);
        let Some(known) = known else { return Ok(()) };
        if before.unwrap_or(BundleRef::NONE) != known {
            return Err(format!(
                "T4: {bundle:?} is told to follow {before:?}, and {known:?} was in force"
            ));
        }
        match bundle.generation > known.generation {
            true => Ok(()),
            false => Err(format!("T4: {bundle:?} follows {known:?}, which is not older")),
        }
    }

    /// A process has started on what the disk holds.
    pub(crate) fn start(&mut self, standing: Standing, now: Now) -> Result<(), String> {
        let fresh = Fresh::of(&standing, now);
        let former = self.fresh.replace(fresh);
        match former {
            Some(former) if fresh.since > former.since && fresh.held.bundle == former.held.bundle => {
                Err(format!("T5: a restart made policy fresher: {former:?}, then {fresh:?}"))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// The process did something.
    pub(crate) fn step(&mut self, standing: Standing, by_age: Option<Authority>, now: Now) -> Result<(), String> {
        let fresh = Fresh::of(&standing, now);
        if let Some(former) = self.fresh.replace(fresh)
            && fresh.since > former.since
            && fresh.held.bundle == former.held.bundle
            && fresh.held.beacon <= former.held.beacon
        {
            return Err(format!("T5: nothing made policy fresher: {former:?}, then {fresh:?}"));
        }
        match by_age {
            Some(by_age) if standing.authority < by_age => Err(format!(
                "A9: authority is {:?} at an age of {} ms, which gives {by_age:?}",
                standing.authority, standing.policy_age_ms
            )),
            Some(_) | None => Ok(()),
        }
    }
}

impl Fresh {
    fn of(standing: &Standing, now: Now) -> Self {
        // An age that nothing proves is a number that does not grow.
        let since = match standing.policy_age_ms >= NO_PROOF_MS {
            true => i128::MIN,
            false => i128::from(now.mono.0) - i128::from(standing.policy_age_ms),
        };
        Self {
            since,
            held: standing.held,
        }
    }
}

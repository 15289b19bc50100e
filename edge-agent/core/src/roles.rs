//! Whose signatures count: the chain of role documents, from what this node was given when it joined.
//!
//! Decides which keys may sign bundles and beacons now. The first document must be the pinned one, or signed by the keys that came
//! with the enrolment; each later one follows its predecessor. A document is in the marks of every batch from then on, so no
//! bundle is activated before the documents that vouch for it are durable.
//!
//! Invariants: the version never falls, not even when the journal is lost (`Floor::roles`); generations count anew only after a
//! rotation that makes former signatures worthless; the end of a role takes authority and never a protective rule.
//!
//! Read next: `wire/src/roles.rs` (what a chain is), `bundles.rs` (what is checked by these keys).

use wire::bundle::KeyRing;
use wire::decision::Authority;
use wire::entry::{EntryBody, Event};
use wire::ids::{Digest, Generation, Seq};
use wire::roles::{Pin, RoleChain, RoleError};
use wire::time::{Now, Wall};
use wire::{RoleName, SignedRoles};

use crate::agent::Agent;
use crate::bundles::AuthorityNow;
use crate::input::Settings;
use crate::marks::Marks;

/// The chain that was trusted before the restart. One that lost its journal has the copy that lies beside it.
pub(crate) fn recovered(settings: &Settings, marks: &mut Marks, copy: Vec<SignedRoles>) -> Option<RoleChain> {
    let open = |documents: &[SignedRoles]| RoleChain::open(&pin(settings), documents, &settings.trust_domain).ok();
    let chains = [open(&marks.roles), open(&copy)];
    let newest = chains.into_iter().flatten().max_by_key(|chain| chain.newest().version);
    let chain = newest.filter(|chain| chain.newest().version >= marks.floor.roles);
    marks.roles = chain.as_ref().map_or_else(Vec::new, |chain| chain.documents().to_vec());
    chain
}

fn pin(settings: &Settings) -> Pin {
    match settings.root_pin {
        Some(digest) => Pin::Document(digest),
        None => Pin::Ring(settings.policy_keys.clone()),
    }
}

impl Agent {
    /// Who signs bundles or beacons now.
    ///
    /// Without any role document that is whoever was named at enrolment, as hubs without role documents do it. A node that once
    /// trusted documents and has lost them trusts nobody until they come again.
    pub(crate) fn ring(&self, role: RoleName) -> Result<&KeyRing, String> {
        match &self.roles {
            Some(chain) => Ok(&chain.newest().role(role).ring),
            None if self.marks.floor.roles == 0 && self.settings.root_pin.is_none() => Ok(&self.settings.policy_keys),
            None if self.marks.floor.roles == 0 => {
                Err("the role documents are not there yet: import them first".to_owned())
            }
            None => Err(format!(
                "the role documents were lost with the journal: import them, from version {} on",
                self.marks.floor.roles
            )),
        }
    }

    /// Whether a role is over. A clock that stands before the build, or before a time that a hub told, must not revive what has ended.
    pub(crate) fn ended(&self, role: RoleName, now: Now) -> Option<Wall> {
        let roles = self.roles.as_ref()?.newest();
        let until = roles.until(role)?;
        (self.clock.best(now) >= until).then_some(until)
    }

    /// The version since which generations count.
    pub(crate) fn policy_since(&self) -> u64 {
        self.marks.floor.policy_since
    }

    /// Role documents arrived. Returns the entry that tells of them, if they are news.
    pub(crate) fn on_roles(&mut self, documents: &[SignedRoles], now: Now) -> Result<Option<Seq>, String> {
        match self.next_chain(documents) {
            Ok(chain) if self.roles.as_ref() == Some(&chain) => Ok(None),
            Ok(chain) => Ok(Some(self.trust(chain, now))),
            Err(error) => {
                let reason = told(&error);
                let digest = documents.last().map_or(Digest::ZERO, SignedRoles::pin);
                if self.refused_bundle != Some(digest) && self.record.has_room() {
                    self.refused_bundle = Some(digest);
                    let reason = reason.clone();
                    self.push(EntryBody::Event(Event::RolesRefused { reason }), now);
                }
                Err(reason)
            }
        }
    }

    pub(crate) fn next_chain(&self, documents: &[SignedRoles]) -> Result<RoleChain, RoleError> {
        let chain = match &self.roles {
            Some(chain) => chain.follow(documents)?,
            None => RoleChain::open(&pin(&self.settings), documents, &self.settings.trust_domain)?,
        };
        let (found, known) = (chain.newest().version, self.marks.floor.roles);
        match found < known {
            true => Err(RoleError::Older { found, known }),
            false => Ok(chain),
        }
    }

    fn trust(&mut self, chain: RoleChain, now: Now) -> Seq {
        let version = chain.newest().version;
        self.marks.roles = chain.documents().to_vec();
        let floor = &mut self.marks.floor;
        // The first documents ever continue what the keys of the enrolment have signed: nothing counts anew.
        let known = match std::mem::replace(&mut floor.roles, version) {
            0 => version,
            known => known,
        };
        if chain.beacon_since() > known {
            self.marks.beacon = 0;
            // What only a beacon has said is forgotten with its key.
            floor.generation = floor.generation.min(self.marks.bundle.generation);
        }
        if chain.policy_since() > known {
            floor.policy_since = chain.policy_since();
            floor.generation = Generation(0);
        }
        self.roles = Some(chain);
        let entry = self.push(EntryBody::Event(Event::RolesTrusted { version }), now);
        self.look_at_authority(now);
        self.link.want_status();
        entry
    }

    /// What the end of a role leaves of a step of the ladder, and until when.
    pub(crate) fn within_roles(&mut self, step: AuthorityNow, now: Now) -> AuthorityNow {
        let Some(until) = self
            .roles
            .as_ref()
            .and_then(|chain| chain.newest().until(RoleName::Policy))
        else {
            return step;
        };
        if self.ended(RoleName::Policy, now).is_some() {
            self.tell_ended(now);
            return AuthorityNow {
                step: step.step.max(Authority::Protective),
                ..step
            };
        }
        let left = u64::try_from(until.0.saturating_sub(self.clock.best(now).0)).unwrap_or(0);
        let ends = wire::Mono(now.mono.0.saturating_add(left.max(1)));
        AuthorityNow {
            until: Some(step.until.map_or(ends, |until| until.min(ends))),
            ..step
        }
    }

    fn tell_ended(&mut self, now: Now) {
        if self.marks.ended_told != self.marks.floor.roles && self.record.has_room() {
            self.marks.ended_told = self.marks.floor.roles;
            let role = RoleName::Policy;
            self.push(EntryBody::Event(Event::RoleEnded { role }), now);
        }
    }
}

/// An error with its cause.
pub(crate) fn told(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests;

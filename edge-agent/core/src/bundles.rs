//! Which bundle is active, how it becomes so, and how old the proof of its freshness is.
//!
//! Order of work on arrival, never another: verify the signatures over the raw bytes, decode, compare with the floor, check the text,
//! make the floor and the bundle durable, activate. What was active stays active until then, and stays if anything fails.
//!
//! Invariants: the active generation never falls while the process lives; no bundle below the floor is ever activated; age is
//! reset only by an activation or by a higher-numbered beacon that names the active bundle.
//!
//! Read next: `wire/src/bundle.rs` (the envelope), `policy` (what is inside).

use std::sync::Arc;
use std::time::Duration;

use wire::decision::Authority;
use wire::entry::{EntryBody, Event};
use wire::ids::Generation;
use wire::time::{Mono, Now};
use wire::{Beacon, BundleRef, Parcel, RoleName, SignedBundle};

use crate::agent::Agent;
use crate::effect::LocalAnswer;
use crate::marks::Staged;
use crate::planted::Planted;
use crate::roles::told;

/// The age of a bundle whose freshness nothing proves: ten years, beyond every step of every authority ladder.
pub(crate) const NO_PROOF_MS: u64 = 10 * 365 * 24 * 3_600_000;

/// A bundle that found no room in the journal is tried again after this: the hub does not offer it again by itself.
const NO_ROOM_RETRY: Duration = Duration::from_secs(20);

/// The authority step in force, and when it has to be looked up again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AuthorityNow {
    pub(crate) step: Authority,
    pub(crate) until: Option<Mono>,
}

impl AuthorityNow {
    /// Without a bundle nothing is granted.
    pub(crate) const NONE: Self = Self {
        step: Authority::Observe,
        until: None,
    };
}

impl Agent {
    /// A bundle arrived, from the hub or from a person with a file (`request`).
    pub(crate) fn on_bundle(&mut self, signed: SignedBundle, request: Option<u64>, now: Now) {
        if self.staged.is_some() || self.next_bundle_at.is_some() {
            return self.queue_bundle(signed, request, now);
        }
        match self.open_bundle(&signed, now) {
            Ok(None) => self.answer(request, LocalAnswer::Done),
            Ok(Some((reference, parsed))) => self.stage(reference, signed, parsed, request),
            Err((generation, reason)) => {
                self.refuse_bundle(&signed, generation, reason, request, now);
            }
        }
    }

    /// A person brought policy in a file: role documents first, because they say whose bundle counts.
    pub(crate) fn on_parcel(&mut self, parcel: Parcel, request: u64, now: Now) {
        let news = match parcel.roles.is_empty() {
            true => None,
            false => match self.on_roles(&parcel.roles, now) {
                Ok(news) => news,
                Err(reason) => return self.refuse(request, reason),
            },
        };
        match (parcel.bundle, news) {
            (Some(bundle), _) => self.on_bundle(bundle, Some(request), now),
            (None, Some(entry)) => self.wait(entry, request, LocalAnswer::Done),
            (None, None) if parcel.roles.is_empty() => self.refuse(request, "the parcel is empty"),
            (None, None) => self.answer(Some(request), LocalAnswer::Done),
        }
        if let Some(beacon) = parcel.beacon {
            self.on_beacon(&beacon, now);
        }
    }

    /// One at a time, so that each activation entry is true: the newest one that comes meanwhile is looked at afterwards.
    fn queue_bundle(&mut self, signed: SignedBundle, request: Option<u64>, now: Now) {
        let reference = match self.open_envelope(&signed) {
            Ok((reference, _)) => reference,
            Err((generation, reason)) => {
                return self.refuse_bundle(&signed, generation, reason, request, now);
            }
        };
        let queued = self.next_bundle.as_ref();
        let queued = queued.and_then(|(queued, _)| self.open_envelope(queued).ok());
        let late = if queued.is_some_and(|(queued, _)| queued.generation >= reference.generation) {
            request
        } else {
            let former = self.next_bundle.replace((signed, request));
            former.and_then(|(_, request)| request)
        };
        let reason = "another bundle is on its way, try again".to_owned();
        self.answer(late, LocalAnswer::Refused { reason });
    }

    fn refuse_bundle(
        &mut self,
        signed: &SignedBundle,
        generation: Generation,
        reason: String,
        request: Option<u64>,
        now: Now,
    ) {
        if self.refused_bundle != Some(signed.digest()) && self.record.has_room() {
            self.refused_bundle = Some(signed.digest());
            let event = Event::BundleRefused {
                generation,
                reason: reason.clone(),
            };
            self.push(EntryBody::Event(event), now);
        }
        self.answer(request, LocalAnswer::Refused { reason });
    }

    /// The batch with the staged bundle is durable.
    pub(crate) fn activate_staged(&mut self, now: Now) {
        let Some(staged) = self.staged.take() else {
            return;
        };
        self.activate(staged.reference, staged.signed, staged.parsed, Some(now.mono));
        self.marks.bundle_since = staged.since;
        self.announce_bundle(now);
        self.answer(staged.request, LocalAnswer::Done);
        self.look_at_authority(now);
        if let Some((signed, request)) = self.next_bundle.take() {
            self.on_bundle(signed, request, now);
        }
    }

    /// The batch with the staged bundle found no room; smaller ones must not wait behind it.
    pub(crate) fn give_staged_up(&mut self, now: Now) {
        let Some(staged) = self.staged.take() else {
            return;
        };
        let reason = "the journal has no room for it".to_owned();
        if self.refused_bundle != Some(staged.reference.digest) {
            self.refused_bundle = Some(staged.reference.digest);
            let event = Event::BundleRefused {
                generation: staged.reference.generation,
                reason: reason.clone(),
            };
            self.push(EntryBody::Event(event), now);
        }
        self.answer(staged.request, LocalAnswer::Refused { reason });
        if self.next_bundle.is_none() {
            self.next_bundle = Some((staged.signed, None));
        }
        self.next_bundle_at = Some(now.mono + NO_ROOM_RETRY);
    }

    /// A bundle that found no room is tried again.
    pub(crate) fn retry_bundle(&mut self, now: Now) {
        if self.next_bundle_at.is_none_or(|at| now.mono < at) || self.staged.is_some() {
            return;
        }
        self.next_bundle_at = None;
        if let Some((signed, request)) = self.next_bundle.take() {
            self.on_bundle(signed, request, now);
        }
    }

    /// Tells of the active bundle, if no entry does yet.
    pub(crate) fn announce_bundle(&mut self, now: Now) {
        let bundle = self.marks.bundle;
        if self.marks.announced == bundle {
            return;
        }
        let before = Some(self.marks.announced).filter(|former| *former != BundleRef::NONE);
        self.marks.announced = bundle;
        self.push(EntryBody::Event(Event::BundleActivated { bundle, before }), now);
    }

    /// Puts a bundle in force. Its floor is durable.
    pub(crate) fn activate(
        &mut self,
        reference: BundleRef,
        signed: SignedBundle,
        parsed: Arc<policy::Bundle>,
        fresh_at: Option<Mono>,
    ) {
        match &mut self.judge {
            Some(judge) => judge.replace_bundle(parsed, reference),
            None => {
                let mut judge = policy::Judge::new(parsed, reference);
                let ledger = self.marks.ledger.take();
                if let Some(ledger) = ledger.filter(|_| !self.has_planted(Planted::ForgetBudgets)) {
                    judge.restore(ledger);
                }
                for device in &self.devices {
                    judge.set_device(device);
                }
                // So that a rule of the fleet's bundle can be meant for one node: `labels: { node: edge-01 }`.
                judge.set_label(None, "node", Some(self.settings.agent.as_str()));
                for (name, value) in &self.settings.labels {
                    judge.set_label(None, name, Some(value));
                }
                self.judge = Some(judge);
            }
        }
        self.marks.bundle = reference;
        self.marks.fresh_at = fresh_at;
        self.bundle = Some((signed, reference));
        self.apply_counts();
        self.judge_is_new();
        self.link.want_status();
    }

    /// A beacon arrived.
    pub(crate) fn on_beacon(&mut self, beacon: &Beacon, now: Now) {
        let Ok(ring) = self.ring(RoleName::Beacon) else { return };
        let Ok(payload) = beacon.open(ring, &self.settings.trust_domain) else {
            return;
        };
        let is_known = payload.number <= self.marks.beacon && !self.has_planted(Planted::OldBeacon);
        if is_known || self.ended(RoleName::Beacon, now).is_some() {
            return;
        }
        // Nothing of a beacon counts, its number included, before all of it was checked: one that names a bundle below the floor
        // is the word of an older hub.
        if payload.bundle.generation < self.marks.floor.generation {
            return;
        }
        self.marks.beacon = payload.number;
        self.mesh.beacon = Some(beacon.clone());
        let floor = &mut self.marks.floor;
        floor.generation = floor.generation.max(payload.bundle.generation);
        if payload.bundle == self.marks.bundle && self.judge.is_some() {
            self.marks.fresh_at = Some(now.mono);
            self.look_at_authority(now);
        }
    }

    /// How long ago the active bundle was last proven to be the newest.
    pub(crate) fn policy_age_ms(&self, now: Mono) -> u64 {
        match self.marks.fresh_at {
            Some(at) => u64::try_from(now.since(at).as_millis()).unwrap_or(NO_PROOF_MS),
            None => NO_PROOF_MS,
        }
    }

    /// Looks the authority step up; a change is an entry.
    pub(crate) fn look_at_authority(&mut self, now: Now) {
        let Some(judge) = &self.judge else { return };
        let policy_age_ms = match self.has_planted(Planted::KeepAuthority) {
            true => 0,
            false => self.policy_age_ms(now.mono),
        };
        let (step, next_ms) = judge.bundle().authority(policy_age_ms);
        let by_age = AuthorityNow {
            step,
            // At least a millisecond, so that a step at this very age cannot spin.
            until: next_ms.map(|ms| Mono(now.mono.0.saturating_add(ms.max(1)))),
        };
        self.authority = self.within_roles(by_age, now);
        let step = self.authority.step;
        let before = std::mem::replace(&mut self.marks.authority, step);
        if step != before {
            let event = Event::AuthorityChanged {
                to: step,
                policy_age_ms,
            };
            self.push(EntryBody::Event(event), now);
            self.link.want_status();
        }
    }

    fn stage(&mut self, reference: BundleRef, signed: SignedBundle, parsed: Arc<policy::Bundle>, request: Option<u64>) {
        let floor = &mut self.marks.floor;
        floor.generation = floor.generation.max(reference.generation);
        self.staged = Some(Staged {
            reference,
            signed,
            parsed,
            since: self.marks.floor.policy_since,
            request,
        });
    }

    /// Verifies, decodes, compares, checks. `Ok(None)`: it is the active one already.
    #[allow(clippy::type_complexity)] // two callers, which want different parts
    pub(crate) fn open_bundle(
        &self,
        signed: &SignedBundle,
        now: Now,
    ) -> Result<Option<(BundleRef, Arc<policy::Bundle>)>, (Generation, String)> {
        let (reference, text) = self.open_envelope(signed)?;
        let refused = |reason: String| (reference.generation, reason);
        if reference == self.marks.bundle && self.judge.is_some() {
            return Ok(None);
        }
        if let Some(until) = self.ended(RoleName::Policy, now) {
            return Err(refused(format!(
                "the policy role ended at {until}: a newer role document is needed before any bundle is accepted"
            )));
        }
        let floor = self.marks.floor.generation;
        // What is active from before a rotation of the policy keys counts as older than all that the new ones sign.
        let comparable = self.marks.bundle_since == self.policy_since();
        let equal = self.has_planted(Planted::EqualGeneration) && reference.generation == self.marks.bundle.generation;
        let is_newer = equal || reference.generation > self.marks.bundle.generation;
        let replaces_other = self.judge.is_some() && comparable && !is_newer;
        let below = reference.generation < floor || replaces_other;
        if below && !self.has_planted(Planted::SkipFloor) {
            return Err(refused(format!(
                "generation {} is not above {} that is active and not below {floor} that is known: it is an older bundle",
                reference.generation, self.marks.bundle.generation
            )));
        }
        match policy::Bundle::parse_signed(&text) {
            Ok(parsed) => Ok(Some((reference, Arc::new(parsed)))),
            Err(problems) => Err(refused(match problems.first() {
                Some(first) => format!("line {}: {}", first.line, first.message),
                None => "its text is not a bundle".to_owned(),
            })),
        }
    }

    /// The reference and the text of a bundle that trusted keys signed for this trust domain.
    pub(crate) fn open_envelope(&self, signed: &SignedBundle) -> Result<(BundleRef, Vec<u8>), (Generation, String)> {
        let refused = |reason| (Generation(0), reason);
        let ring = self.ring(RoleName::Policy).map_err(refused)?;
        let payload = signed
            .open(ring, &self.settings.trust_domain)
            .map_err(|error| refused(told(&error)))?;
        let reference = BundleRef {
            generation: payload.generation,
            digest: signed.digest(),
        };
        Ok((reference, payload.text))
    }
}

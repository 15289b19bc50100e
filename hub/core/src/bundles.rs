//! The newest bundle, its way to the agents, and the beacons that prove that it is still the newest.
//!
//! A text becomes a bundle here: checked, numbered above everything that was ever seen, signed, stored, and only then sent. One
//! that was signed elsewhere is held against the policy role and keeps its number; the hub only adds beacons.
//!
//! Invariant: generations and beacon numbers only grow, over restarts and, as far as any agent can tell, over restores.

use std::sync::Arc;

use wire::bundle::{BeaconPayload, BundlePayload, KeyRing};
use wire::change::{Caller, ChangeRecord};
use wire::frame::{AskBundle, Frame};
use wire::ids::Generation;
use wire::time::{Now, Wall};
use wire::{Beacon, BundleRef, Parcel, SignedBundle};

use crate::cx::Then;
use crate::effect::Answer;
use crate::hub::Hub;
use crate::input::SessionId;
use crate::timers::Timer;
use crate::writer::Meta;

/// Publications that may wait for the store: people publish one at a time.
const MAX_PUBLICATIONS: usize = 16;
/// Beacon numbers that are reserved at once, five minutes of milliseconds, so that the store is not written for each. A restart
/// skips what is left of them, and a copy of the store that nobody can tell from the original is behind by no more.
const RESERVED_BEACONS: u64 = 300_000;

/// A bundle that the policy role has signed.
#[derive(Debug, Clone)]
pub(crate) struct Newest {
    pub(crate) reference: BundleRef,
    pub(crate) signed: SignedBundle,
    pub(crate) payload: BundlePayload,
    /// `None` when a later version of the rules no longer reads it.
    pub(crate) parsed: Option<Arc<policy::Bundle>>,
}

impl Newest {
    /// A bundle that is to be published: its text is known to parse.
    fn sign(payload: BundlePayload, parsed: policy::Bundle, key: &ed25519_dalek::SigningKey) -> Self {
        let signed = SignedBundle::sign(&payload, key);
        Self {
            reference: BundleRef {
                generation: payload.generation,
                digest: signed.digest(),
            },
            signed,
            payload,
            parsed: Some(Arc::new(parsed)),
        }
    }

    /// A bundle that comes from outside.
    fn open(signed: SignedBundle, ring: &KeyRing, trust_domain: &str) -> Option<Self> {
        let payload = signed.open(ring, trust_domain).ok()?;
        Some(Self::read(signed, payload))
    }

    /// A bundle of our own store. It was verified when it came; its keys may have been replaced since.
    fn stored(signed: SignedBundle, trust_domain: &str) -> Option<Self> {
        let payload = signed.peek().ok()?;
        (payload.trust_domain == trust_domain).then(|| Self::read(signed, payload))
    }

    fn read(signed: SignedBundle, payload: BundlePayload) -> Self {
        let parsed = policy::Bundle::parse_signed(&payload.text).ok().map(Arc::new);
        Self {
            reference: BundleRef {
                generation: payload.generation,
                digest: signed.digest(),
            },
            signed,
            payload,
            parsed,
        }
    }
}

/// A bundle on its way to the store.
#[derive(Debug)]
pub(crate) struct Publication {
    /// Who waits for the answer; nobody for a bundle that an agent brought back.
    pub(crate) request: Option<u64>,
    /// Who publishes it; nobody where the hub goes on with what was published before.
    pub(crate) caller: Option<Caller>,
    pub(crate) newest: Newest,
}

#[derive(Debug, Default)]
pub(crate) struct Bundles {
    newest: Option<Newest>,
    /// The highest generation that was given to a publication, stored or not.
    given: Generation,
    /// The last beacon number.
    last_beacon: u64,
    /// The beacon that was sent last.
    beacon: Option<Beacon>,
    beacon_due: bool,
}

impl Bundles {
    pub(crate) fn recovered(bundle: Option<(BundleRef, SignedBundle)>, meta: Meta, trust_domain: &str) -> Self {
        let newest = bundle.and_then(|(_, signed)| Newest::stored(signed, trust_domain));
        Self {
            newest,
            last_beacon: meta.beacon_floor,
            ..Self::default()
        }
    }

    pub(crate) fn newest(&self) -> Option<&Newest> {
        self.newest.as_ref()
    }

    pub(crate) fn newest_reference(&self) -> BundleRef {
        self.newest.as_ref().map_or(BundleRef::NONE, |newest| newest.reference)
    }

    pub(crate) fn newest_generation(&self) -> Generation {
        self.newest_reference().generation
    }

    /// The rules that the hub judges by.
    pub(crate) fn rules(&self) -> Option<&Arc<policy::Bundle>> {
        self.newest.as_ref()?.parsed.as_ref()
    }

    /// Above all that was given, and above `floor`, which counts the newest bundle in.
    pub(crate) fn next_generation(&self, floor: Generation) -> Generation {
        self.given.max(floor).next()
    }

    /// Whether an agent's bundle is newer than ours.
    pub(crate) fn is_newer(&self, theirs: BundleRef) -> bool {
        theirs.generation > self.newest_generation().max(self.given)
    }

    /// Publications were not stored; `waiting` is the highest generation of those that still may be.
    pub(crate) fn not_stored(&mut self, waiting: Option<Generation>) {
        self.given = waiting.unwrap_or_default();
    }

    /// The last beacon may be signed by a key that counts no more.
    pub(crate) fn beacon_again(&mut self, given: Generation) {
        self.given = given;
        self.beacon = None;
        self.beacon_due = true;
    }

    /// The highest generation that was given, stored or not.
    pub(crate) fn given(&self) -> Generation {
        self.given
    }

    /// No beacon number up to this one is used any more, and a new beacon is due.
    pub(crate) fn leap(&mut self, number: u64) {
        self.last_beacon = self.last_beacon.max(number);
        self.beacon = None;
        self.beacon_due = true;
    }
}

impl Hub {
    /// A person publishes a text.
    pub(crate) fn publish(&mut self, request: u64, caller: Caller, text: Vec<u8>, now: Now) {
        let parsed = match policy::Bundle::parse(&text) {
            Ok(parsed) => parsed,
            Err(problems) => return self.reply(request, Answer::Invalid { problems }),
        };
        if self.signing_key().is_none() {
            let reason = self.signs_no_bundles();
            return self.reply(request, Answer::Rejected { reason });
        }
        if self.is_crowded(request) {
            return;
        }
        self.issue(Some((request, caller)), text, parsed, now);
    }

    /// A person publishes a bundle that others have signed: it has its number, which must be above all that agents have heard of.
    pub(crate) fn publish_signed(&mut self, request: u64, caller: Caller, signed: SignedBundle, now: Now) {
        let opened = signed.open(&crate::roles::policy_ring(&self.settings), &self.settings.trust_domain);
        let payload = match opened {
            Ok(payload) => payload,
            Err(error) => {
                let reason = format!("the bundle is not accepted: {}", crate::roles::told(&error));
                return self.reply(request, Answer::Rejected { reason });
            }
        };
        let parsed = match policy::Bundle::parse(&payload.text) {
            Ok(parsed) => parsed,
            Err(problems) => return self.reply(request, Answer::Invalid { problems }),
        };
        let reference = BundleRef {
            generation: payload.generation,
            digest: signed.digest(),
        };
        if reference == self.bundles.newest_reference() {
            let nodes_total = self.nodes_total();
            return self.reply(
                request,
                Answer::Published {
                    bundle: reference,
                    nodes_total,
                },
            );
        }
        let next = self.next_generation();
        if reference.generation < next {
            let reason = format!(
                "generation {} was given before: sign it again with --generation {next} or above",
                reference.generation
            );
            return self.reply(request, Answer::Rejected { reason });
        }
        if self.is_crowded(request) {
            return;
        }
        self.bundles.given = reference.generation;
        self.wanted.generation_floor = self.counted(self.wanted.generation_floor).max(reference.generation);
        let newest = Newest {
            reference,
            signed,
            payload,
            parsed: Some(Arc::new(parsed)),
        };
        self.send_to_store(
            Publication {
                request: Some(request),
                caller: Some(caller),
                newest,
            },
            now,
        );
    }

    fn is_crowded(&mut self, request: u64) -> bool {
        let crowded = self.writer.publications() >= MAX_PUBLICATIONS;
        if crowded {
            let reason = "too many publications wait for the store".to_owned();
            self.reply(request, Answer::Unavailable { reason });
        }
        crowded
    }

    /// Everything that a node without a network needs.
    pub(crate) fn export(&mut self, request: u64, caller: Caller, now: Now) {
        let Some(newest) = self.bundles.newest() else {
            let reason = "no bundle was published yet: there is nothing to export".to_owned();
            return self.reply(request, Answer::Rejected { reason });
        };
        let parcel = Parcel {
            roles: self.documents(),
            bundle: Some(newest.signed.clone()),
            beacon: self.bundles.beacon.clone(),
        };
        let target = format!("policy/{}", newest.reference.generation);
        self.record(ChangeRecord::new(caller, "policy.export", target), now);
        self.journal.open().then(Then::Reply {
            request,
            answer: Box::new(Answer::Parcel(Box::new(parcel))),
        });
    }

    /// Gives a text the next generation, signs it and has it stored.
    fn issue(&mut self, asked: Option<(u64, Caller)>, text: Vec<u8>, parsed: policy::Bundle, now: Now) {
        let generation = self.next_generation();
        self.bundles.given = generation;
        self.wanted.generation_floor = self.wanted.generation_floor.max(generation);
        let payload = BundlePayload {
            generation,
            trust_domain: self.settings.trust_domain.clone(),
            issued_at: now.wall,
            text,
        };
        if let Some(key) = self.signing_key() {
            let newest = Newest::sign(payload, parsed, key);
            let (request, caller) = asked.unzip();
            let publication = Publication {
                request,
                caller,
                newest,
            };
            self.send_to_store(publication, now);
        }
    }

    /// The bundle and the entry that explains it are one batch.
    fn send_to_store(&mut self, publication: Publication, now: Now) {
        let reference = publication.newest.reference;
        let caller = publication.caller.clone().unwrap_or_else(Caller::hub);
        let change = ChangeRecord::new(caller, "policy.publish", format!("policy/{}", reference.generation));
        self.record(change.with("digest", reference.digest), now);
        self.writer.publish(publication);
    }

    /// A bundle is durable: it becomes the newest and goes to everyone who has an older one.
    pub(crate) fn published(&mut self, publication: Publication, now: Now) {
        let Publication { request, newest, .. } = publication;
        let bundle = newest.reference;
        if bundle.generation > self.counted(self.bundles.newest_generation()) {
            self.bundles.newest = Some(newest);
            self.bundles.beacon = None;
            self.policy_changed = true;
            for session in self.sessions.ids() {
                self.push_bundle(session);
            }
            self.beacon_now(now);
            self.recount_domains();
        }
        if let Some(request) = request {
            let nodes_total = self.nodes_total();
            self.reply(request, Answer::Published { bundle, nodes_total });
        }
    }

    /// A session begins with an agent that has this bundle.
    pub(crate) fn offer_bundle(&mut self, session: SessionId, theirs: BundleRef, now: Now) {
        // Before the bundle, on the same stream: it may be signed by keys that they name.
        self.push_roles(session);
        if self.is_below_their_floor(session, theirs) {
            self.publish_again(now);
        } else {
            self.push_bundle(session);
        }
        if let Some(beacon) = self.bundles.beacon.clone() {
            self.send(session, Frame::Beacon(beacon));
        }
    }

    /// An agent has a newer bundle than ours, or another one with its number, of a hub that was restored: it is asked to give it
    /// back, once at a time. Nothing of what it names counts before.
    pub(crate) fn ask_if_newer(&mut self, session: SessionId, theirs: BundleRef) {
        if !self.bundles.is_newer(theirs) && !self.forked(theirs) {
            return;
        }
        if let Some(live) = self.sessions.live_mut(session).filter(|live| !live.asked) {
            live.asked = true;
            self.send(session, Frame::AskBundle(AskBundle { bundle: theirs }));
        }
    }

    /// The agent has lost its bundle and refuses ours, because it has heard of a newer one that we have lost: nobody gives that back,
    /// and an agent without any bundle protects nothing. Only as far as its word was believed.
    fn is_below_their_floor(&self, session: SessionId, theirs: BundleRef) -> bool {
        let told = self
            .sessions
            .place(session)
            .and_then(|place| self.fleet.node(place).record.told.as_ref());
        let heard = told.map_or(Generation(0), |told| told.generation_floor);
        let is_believed = heard <= self.wanted.generation_floor;
        theirs == BundleRef::NONE && is_believed && heard > self.bundles.newest_generation()
    }

    /// Our newest bundle has the number of another one that agents have and will not give up for it: the same text, which is the
    /// last that a person wanted, gets a number above both.
    fn publish_again(&mut self, now: Now) {
        let Some(newest) = self.bundles.newest() else {
            return;
        };
        // One such publication is enough, however many agents show the fork.
        if self.bundles.given > newest.reference.generation || self.signing_key().is_none() {
            return;
        }
        let text = newest.payload.text.clone();
        if let Ok(parsed) = policy::Bundle::parse_signed(&text) {
            self.issue(None, text, parsed, now);
        }
    }

    fn push_bundle(&mut self, session: SessionId) {
        let Some(newest) = self.bundles.newest() else {
            return;
        };
        let Some(place) = self.sessions.place(session) else {
            return;
        };
        let live = self.sessions.live(session).is_some();
        if live && self.counted(self.fleet.node(place).bundle().generation) < newest.reference.generation {
            let frame = Frame::Bundle(newest.signed.clone());
            self.send(session, frame);
        }
    }

    /// An agent gives back a bundle that a restored hub has lost.
    pub(crate) fn offered(&mut self, session: SessionId, signed: SignedBundle, now: Now) {
        let asked = self
            .sessions
            .live_mut(session)
            .is_some_and(|live| std::mem::take(&mut live.asked));
        if !asked {
            return self.broke_protocol(session, "a bundle that nobody asked for", now);
        }
        // Signed by the key of a former hub: of no use to us, and nothing that the agent could do about it.
        let ring = crate::roles::policy_ring(&self.settings);
        let Some(newest) = Newest::open(signed, &ring, &self.settings.trust_domain) else {
            return;
        };
        if self.forked(newest.reference) {
            return self.publish_again(now);
        }
        // Several agents may give back the same one, and a person may have published meanwhile.
        if !self.bundles.is_newer(newest.reference) || newest.parsed.is_none() {
            return;
        }
        let generation = newest.reference.generation;
        self.bundles.given = self.bundles.given.max(generation);
        self.wanted.generation_floor = self.wanted.generation_floor.max(generation);
        let publication = Publication {
            request: None,
            caller: None,
            newest,
        };
        self.send_to_store(publication, now);
    }

    /// It is time for the next beacon.
    pub(crate) fn beacon_time(&mut self, now: Now) {
        self.timers.set(now.mono + self.settings.beacon_every, Timer::Beacon);
        self.beacon_now(now);
    }

    fn beacon_now(&mut self, now: Now) {
        self.bundles.beacon_due = true;
        self.beacon_if_due(now);
    }

    /// Signs and sends a beacon, if one is due and its number is reserved in the store.
    pub(crate) fn beacon_if_due(&mut self, now: Now) {
        let bundle = self.bundles.newest_reference();
        let Some(key) = self.beacon_key().cloned() else { return };
        if !self.bundles.beacon_due || bundle == BundleRef::NONE || self.stopping {
            return;
        }
        let number = self.bundles.last_beacon.saturating_add(1).max(wall_number(now.wall));
        if number > self.meta.beacon_floor {
            self.wanted.beacon_floor = self.wanted.beacon_floor.max(number.saturating_add(RESERVED_BEACONS));
            return;
        }
        let payload = BeaconPayload {
            number,
            bundle,
            trust_domain: self.settings.trust_domain.clone(),
            issued_at: now.wall,
        };
        let beacon = Beacon::sign(&payload, &key);
        self.bundles.last_beacon = number;
        self.bundles.beacon_due = false;
        self.bundles.beacon = Some(beacon.clone());
        for session in self.sessions.ids() {
            if self.sessions.live(session).is_some() {
                self.send(session, Frame::Beacon(beacon.clone()));
            }
        }
    }
}

/// A beacon's number follows the clock where it can, so that a copy of the store is behind by no more than its age. Order never
/// depends on it: a number is always above the last one.
pub(crate) fn wall_number(wall: Wall) -> u64 {
    // A clock in the far future must not use up the numbers: nothing beyond the year 10000.
    u64::try_from(wall.0).unwrap_or(0).min(253_402_300_800_000)
}

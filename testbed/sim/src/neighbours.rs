//! The agents of a rack pass on what a hub has signed, and one of them is in the wrong hands.
//!
//! Frames of neighbours are lost, late and out of order; every other pair of neighbours is cut for a while. The hostile one passes on
//! old bundles, old beacons, forged ones, and ones with a number that was used already. The chance of all this is its own, so that a world without neighbours plays as it did.
//!
//! Invariant (T3): a beacon that is not newer than the newest known makes no policy fresher, whoever passes it on.
//! Read next: `edge-agent/core/src/mesh/shared.rs` (what is passed on, and what it is worth).

use ed25519_dalek::SigningKey;
use edge_agent_core::{Input, Shared};
use wire::bundle::{BeaconPayload, BundlePayload};
use wire::frame::{Frame, Held};
use wire::{Beacon, Digest, Generation, SignedBundle, Wall};

use crate::random::Random;
use crate::trouble::forge;
use crate::world::{Event, TRUST_DOMAIN, World};

/// Beacons that the hostile neighbour remembers.
const MAX_BEACONS: usize = 64;

/// Another bundle of that generation, signed by the hub's own key.
fn again(generation: Generation, key: &SigningKey, number: u64) -> SignedBundle {
    let payload = BundlePayload {
        generation,
        trust_domain: TRUST_DOMAIN.to_owned(),
        issued_at: Wall(0),
        text: format!("bundle: again-{number}\n").into_bytes(),
    };
    SignedBundle::sign(&payload, key)
}

/// Its number, believed; 0 for one that cannot be read.
fn number(beacon: &Beacon) -> u64 {
    wire::codec::decode::<BeaconPayload>(&beacon.payload).map_or(0, |payload| payload.number)
}

/// What there is between neighbours.
#[derive(Debug)]
pub(crate) struct Neighbours {
    random: Random,
    /// What each node may pass on.
    shared: Vec<Shared>,
    /// The bundle that a neighbour passed to each node last.
    given: Vec<Option<Digest>>,
    beacons: Vec<Beacon>,
    /// Things that were passed on and taken: bundles, then beacons.
    pub(crate) taken: (u64, u64),
}

impl Neighbours {
    pub(crate) fn new(seed: u64, nodes: usize) -> Self {
        Self {
            random: Random::new(seed ^ 0x0005_17E5),
            shared: vec![Shared::NOTHING; nodes],
            given: vec![None; nodes],
            beacons: Vec::new(),
            taken: (0, 0),
        }
    }
}

impl World {
    /// A node has something new: its neighbours hear of it, and each side gives what the other lacks.
    pub(crate) fn share(&mut self, n: usize, shared: Shared) {
        if !self.swarm.neighbours {
            return;
        }
        let mesh = &mut self.neighbours;
        mesh.beacons.extend(shared.beacon.clone());
        if mesh.beacons.len() > MAX_BEACONS {
            mesh.beacons.remove(0);
        }
        let is_new = mesh.shared[n].held.bundle != shared.held.bundle;
        if is_new && mesh.given[n] == Some(shared.held.bundle.digest) {
            mesh.taken.0 += 1;
        }
        mesh.shared[n] = shared;
        for other in (n % 2..self.nodes.len()).step_by(2).filter(|other| *other != n) {
            // A pair is cut in one minute of two, each pair in others.
            let is_cut = self.healed_at.is_none() && (self.now_ms / 60_000 + (n ^ other) as u64) % 2 == 1;
            if !is_cut {
                self.give(n, other);
                self.give(other, n);
            }
        }
    }

    fn give(&mut self, from: usize, to: usize) {
        let mut theirs = self.neighbours.shared[to].held;
        // The one in the wrong hands says that it lacks everything, and has others give it all again.
        if to == self.site.hostile && self.healed_at.is_none() {
            theirs = Held::NOTHING;
        }
        for frame in self.neighbours.shared[from].lacking(&theirs) {
            self.pass_on(to, frame);
        }
    }

    fn pass_on(&mut self, n: usize, frame: Frame) {
        let (lost, takes) = (
            self.neighbours.random.chance(100),
            self.neighbours.random.between(1, 400),
        );
        if !lost {
            let (life, frame) = (self.nodes[n].life, Box::new(frame));
            self.after(takes, Event::Passed { n, life, frame });
        }
    }

    /// Something that a neighbour passed on arrives.
    pub(crate) fn passed(&mut self, n: usize, life: u64, frame: Frame) {
        if self.nodes[n].life != life || self.nodes[n].core.is_none() {
            return;
        }
        let (before, age) = (self.held(n), self.policy_age_ms(n));
        let number = match &frame {
            Frame::Beacon(beacon) => number(beacon),
            _ => u64::MAX,
        };
        if let Frame::Bundle(signed) = &frame {
            self.neighbours.given[n] = Some(signed.digest());
        }
        // What is not newer than what is in force, or is signed by nobody, is worth nothing.
        let is_worthless = match &frame {
            Frame::Bundle(signed) => {
                let generation = signed.peek().map_or(Generation(0), |payload| payload.generation);
                generation <= before.bundle.generation || !self.published.contains(signed)
            }
            _ => false,
        };
        if is_worthless {
            // Whatever else is due now happens first.
            self.tell(n, Input::Tick);
        }
        let made = self.made(n);
        self.tell(n, Input::Passed { frame });
        let (after, age_now) = (self.held(n), self.policy_age_ms(n));
        self.neighbours.taken.1 += u64::from(after.beacon > before.beacon);
        if is_worthless {
            let made_now = self.made(n);
            self.site.refused();
            self.invariants.require(made_now == made, || {
                format!("M4: a neighbour's old or forged bundle left entries: {made:?}, then {made_now:?}")
            });
        }
        let is_known = number <= before.beacon;
        self.invariants.require(!is_known || age_now >= age, || {
            format!("T3: beacon {number} of a neighbour, known already, made a policy of {age} ms one of {age_now} ms")
        });
    }

    /// The end of the chain, what is not durable yet included.
    fn made(&self, n: usize) -> Option<wire::entry::ChainHead> {
        let now = self.nodes[n].clock.at(self.now_ms);
        self.nodes[n].core.as_ref().map(|core| core.status(now).head)
    }

    fn held(&self, n: usize) -> Held {
        self.neighbours.shared[n].held
    }

    fn policy_age_ms(&self, n: usize) -> u64 {
        let now = self.nodes[n].clock.at(self.now_ms);
        let core = self.nodes[n].core.as_ref();
        core.map_or(u64::MAX, |core| core.status(now).policy_age_ms)
    }

    /// The neighbour in the wrong hands.
    pub(crate) fn whisper(&mut self) {
        if self.healed_at.is_some() {
            return;
        }
        let next = self.neighbours.random.between(200, 6_000);
        self.after(next, Event::Whisper);
        let Neighbours { random, beacons, .. } = &mut self.neighbours;
        let n = usize::try_from(random.below(self.nodes.len() as u64)).unwrap_or(0);
        let active = self.nodes[n].core.as_ref().and_then(|core| core.bundle());
        let frame = match random.below(4) {
            // A hub that was restored signs a number again that it had signed before.
            0 => active.map(|(_, bundle)| Frame::Bundle(again(bundle.generation, &self.policy_key, random.next()))),
            1 => Some(Frame::Bundle(forge(random.next()))),
            2 => random.pick(&self.published).cloned().map(Frame::Bundle),
            _ => random.pick(beacons).cloned().map(Frame::Beacon),
        };
        if let Some(frame) = frame {
            // Now and then it says the same a hundred times.
            let times = if self.neighbours.random.chance(100) { 100 } else { 1 };
            for _ in 0..times {
                if self.takes_gift(n) {
                    self.pass_on(n, frame.clone());
                }
            }
        }
    }
}

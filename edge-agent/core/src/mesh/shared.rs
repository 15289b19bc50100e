//! What the agents of a site pass on to each other: the newest role documents, bundle and beacon.
//!
//! Whoever receives one checks signatures and floors as if the hub had sent it, so it is worth the same from everybody. What does not
//! pass is forgotten without an entry: a neighbour must not be able to fill a journal.
//!
//! Invariant: nothing is passed on that this node has not accepted itself; freshness comes from beacons alone.
//! Read next: `bundles.rs` and `roles.rs` (the checks), `edge-agent/src/peers.rs` (when it is sent).

use wire::decision::Authority;
use wire::entry::Event;
use wire::frame::{Frame, Held, RoleDocuments};
use wire::time::{Mono, Now};
use wire::{Beacon, SignedBundle, SignedRoles};

use crate::agent::Agent;
use crate::effect::Effect;
use crate::planted::Planted;

/// What the shell was told last; it hears again when this changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Said {
    held: Held,
    fresh_at: Option<Mono>,
    authority: Authority,
    hub_away: bool,
}

impl Said {
    pub(super) const NOTHING: Self = Self {
        held: Held::NOTHING,
        fresh_at: None,
        authority: Authority::Observe,
        hub_away: false,
    };
}

/// What neighbours may be given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shared {
    /// How new it is.
    pub held: Held,
    /// Role documents, the first one ever first.
    pub roles: Vec<SignedRoles>,
    /// The active bundle.
    pub bundle: Option<SignedBundle>,
    /// The newest beacon, if one was heard since this node started.
    pub beacon: Option<Beacon>,
    /// Who the active bundle says are the members of each site.
    pub sites: Vec<policy::Site>,
    /// The newest of it came from a neighbour, which gives it to others too: there is no hurry.
    pub passed: bool,
    /// Since when the policy counts as fresh, by this node's running time; `None`: there is no proof.
    pub fresh_at: Option<Mono>,
    /// What its age still lets this node do.
    pub authority: Authority,
    /// The hub itself is away, as far as this node knows by itself.
    pub hub_away: bool,
}

impl Shared {
    /// Of an agent that holds nothing.
    pub const NOTHING: Self = Self {
        held: Held::NOTHING,
        roles: Vec::new(),
        bundle: None,
        beacon: None,
        sites: Vec::new(),
        passed: false,
        fresh_at: None,
        authority: Authority::Observe,
        hub_away: false,
    };

    /// What a neighbour lacks that holds this much, in the order in which it is checked.
    pub fn lacking(&self, theirs: &Held) -> Vec<Frame> {
        // Newer keys may begin to count anew: then all that they signed is news.
        let keys_are_news = self.held.roles > theirs.roles;
        let roles = keys_are_news.then(|| {
            let documents = self.roles.clone();
            Frame::Roles(RoleDocuments { documents })
        });
        let is_news = keys_are_news || self.held.bundle.generation > theirs.bundle.generation;
        let bundle = self.bundle.as_ref().filter(|_| is_news);
        let is_news = keys_are_news || self.held.beacon > theirs.beacon;
        let beacon = self.beacon.as_ref().filter(|_| is_news);
        let bundle = bundle.map(|bundle| Frame::Bundle(bundle.clone()));
        let beacon = beacon.map(|beacon| Frame::Beacon(beacon.clone()));
        roles.into_iter().chain(bundle).chain(beacon).collect()
    }
}

impl Agent {
    /// A neighbour passed something on.
    pub(crate) fn on_passed(&mut self, frame: Frame, now: Now) {
        match frame {
            Frame::Roles(roles) if self.next_chain(&roles.documents).is_ok() => {
                // It was just found to be good.
                drop(self.on_roles(&roles.documents, now));
            }
            Frame::Bundle(signed) if matches!(self.open_bundle(&signed, now), Ok(Some(_))) => {
                self.mesh.given.0 = Some(signed.digest());
                self.on_bundle(signed, None, now);
            }
            Frame::Beacon(beacon) => {
                let before = self.marks.beacon;
                self.on_beacon(&beacon, now);
                if self.marks.beacon > before {
                    self.mesh.given.1 = self.marks.beacon;
                }
            }
            // Nothing else is worth anything from a neighbour.
            _ if self.has_planted(Planted::NoteStrangers) => {
                let message = "a neighbour passed something on".to_owned();
                self.push_event(Event::Notified { message }, now);
            }
            _ => {}
        }
    }

    /// What this node holds of the signed policy.
    pub(crate) fn held(&self) -> Held {
        Held {
            roles: self.roles.as_ref().map_or(0, |chain| chain.newest().version),
            bundle: self.marks.bundle,
            beacon: self.marks.beacon,
        }
    }

    /// Hands out what neighbours may be given, when it changed.
    pub(super) fn share(&mut self) {
        let held = self.held();
        let said = Said {
            held,
            fresh_at: self.marks.fresh_at,
            authority: self.authority.step,
            hub_away: self.mesh.hub_away,
        };
        if said == self.mesh.shared {
            return;
        }
        let before = std::mem::replace(&mut self.mesh.shared, said).held;
        let (bundle, beacon) = self.mesh.given;
        let passed = match held.bundle == before.bundle {
            true => held.beacon > before.beacon && held.beacon == beacon,
            false => bundle == Some(held.bundle.digest),
        };
        let shared = Shared {
            held,
            passed,
            fresh_at: said.fresh_at,
            authority: said.authority,
            hub_away: said.hub_away,
            roles: self
                .roles
                .as_ref()
                .map_or_else(Vec::new, |chain| chain.documents().to_vec()),
            bundle: self.bundle.as_ref().map(|(signed, _)| signed.clone()),
            beacon: self.mesh.beacon.clone(),
            sites: self
                .judge
                .as_ref()
                .map_or_else(Vec::new, |judge| judge.bundle().sites().to_vec()),
        };
        self.out.push_back(Effect::Share(Box::new(shared)));
    }
}

#[cfg(test)]
mod tests {
    use wire::Wall;
    use wire::bundle::BeaconPayload;
    use wire::frame::Findings;

    use super::*;
    use crate::Input;
    use crate::testing::{self, Rig};

    fn passed(frame: Frame) -> Input {
        Input::Passed { frame }
    }

    fn held(rig: &Rig) -> Held {
        rig.shared.as_ref().expect("something is shared").held
    }

    fn beacon(number: u64, rig: &Rig) -> Frame {
        let payload = BeaconPayload {
            number,
            bundle: held(rig).bundle,
            trust_domain: "test".to_owned(),
            issued_at: Wall(0),
        };
        Frame::Beacon(Beacon::sign(&payload, &testing::key()))
    }

    #[test]
    fn what_one_node_holds_comes_to_another_that_reached_no_hub() {
        let (mut giver, mut taker) = (Rig::under(testing::BUNDLE), Rig::new());
        giver.connect();
        giver.handle(Input::Frame(beacon(5, &giver)));
        assert_eq!((held(&giver).bundle.generation.0, held(&giver).beacon), (2, 5));

        let given = giver.shared.clone().expect("something is shared");
        let lacking = given.lacking(&held(&taker));
        assert_eq!(lacking.len(), 2, "{lacking:?}");
        lacking.into_iter().for_each(|frame| taker.handle(passed(frame)));
        let taken = taker.shared.clone().expect("something is shared");
        assert_eq!(
            (taken.held, &taken.bundle, &taken.beacon),
            (given.held, &given.bundle, &given.beacon)
        );
        assert!(
            taken.passed && !given.passed,
            "only what came from a hub or a person is in a hurry"
        );
        assert_eq!(given.lacking(&held(&taker)), []);
    }

    #[test]
    fn what_is_older_or_of_a_stranger_leaves_no_trace() {
        let mut rig = Rig::under(testing::BUNDLE);
        let before = (rig.log.clone(), held(&rig));
        let mut forged = testing::signed(9, testing::BUNDLE);
        forged.signatures.clear();
        for frame in [
            Frame::Bundle(testing::signed(1, testing::BUNDLE)),
            Frame::Bundle(testing::signed(2, testing::BUNDLE)),
            Frame::Bundle(forged),
            Frame::Findings(Findings::default()),
        ] {
            rig.handle(passed(frame));
        }
        assert_eq!((rig.log.clone(), held(&rig)), before);
    }

    #[test]
    fn age_counts_anew_by_a_newer_beacon_alone() {
        let mut rig = Rig::new();
        let (first, second) = (beacon(5, &rig), beacon(6, &rig));
        rig.handle(passed(first.clone()));
        rig.pass(60_000);
        rig.handle(passed(first));
        assert_eq!(rig.agent.policy_age_ms(rig.now.mono), 60_000);
        rig.handle(passed(second));
        assert_eq!(rig.agent.policy_age_ms(rig.now.mono), 0);
    }
}

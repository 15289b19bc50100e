//! Bundles that others sign, and role documents, at a hub: what is accepted, what is sent, and what it signs itself.

use std::time::Duration;

use ed25519_dalek::SigningKey;
use hub_core::{Answer, Effect, Hub, Input, Recovered, Request, Row, Settings};
use wire::bundle::{BundlePayload, KeyRing};
use wire::roles::{Pin, Role, RoleChain, Roles};
use wire::{Generation, HubEpoch, Mono, Now, Parcel, RoleName, SignedBundle, SignedRoles, Wall};

const TEXT: &str = "bundle: carried\n";

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn role(seeds: &[u8], threshold: u8) -> Role {
    let keys = seeds.iter().map(|seed| key(*seed).verifying_key().to_bytes()).collect();
    Role {
        ring: KeyRing { keys, threshold },
        until: None,
    }
}

/// Root key 1, two of the policy keys 11 to 13, beacon key 21.
fn first() -> Roles {
    Roles {
        version: 1,
        trust_domain: "test".to_owned(),
        issued_at: Wall(0),
        root: role(&[1], 1),
        policy: role(&[11, 12, 13], 2),
        beacon: role(&[21], 1),
    }
}

fn by_root(roles: &Roles) -> SignedRoles {
    SignedRoles::unsigned(roles).signed_by(&key(1))
}

fn chain(documents: &[SignedRoles]) -> RoleChain {
    RoleChain::open(&Pin::Document(documents[0].pin()), documents, "test").expect("in order")
}

fn bundle(generation: u64, signers: &[u8]) -> SignedBundle {
    let payload = BundlePayload {
        generation: Generation(generation),
        trust_domain: "test".to_owned(),
        issued_at: Wall(0),
        text: TEXT.as_bytes().to_vec(),
    };
    let mut signed = SignedBundle::sign(&payload, &key(signers[0]));
    signers[1..].iter().for_each(|signer| signed.countersign(&key(*signer)));
    signed
}

struct Desk {
    hub: Hub,
    now: Now,
    last: u64,
    /// Who published each bundle that was stored.
    published: Vec<Option<String>>,
}

impl Desk {
    fn new(policy_key: Option<u8>) -> Self {
        let now = Now {
            mono: Mono(1_000),
            wall: Wall(1_790_000_000_000),
        };
        let settings = Settings {
            trust_domain: "test".to_owned(),
            policy_key: policy_key.map(key),
            beacon_key: Some(key(21)),
            roles: Some(chain(&[by_root(&first())])),
            seed: 1,
            first_hub_epoch: HubEpoch(1),
            max_handshakes: 4,
            beacon_every: Duration::from_secs(15),
            checkpoints: hub_core::Checkpointing::default(),
            certificates: hub_core::Certificates::default(),
        };
        Self {
            hub: Hub::new(settings, Recovered::default(), now).expect("an empty store"),
            now,
            last: 0,
            published: Vec::new(),
        }
    }

    /// Asks, and lets the store work.
    fn ask(&mut self, what: Request) -> Answer {
        self.last += 1;
        let request = self.last;
        self.hub.handle(Input::Request { request, what }, self.now);
        let mut answers = Vec::new();
        while let Some(effect) = self.hub.poll_effect() {
            match effect {
                Effect::Store(batch) => {
                    let who = |row: &Row| match row {
                        Row::Bundle { who, .. } => Some(who.clone()),
                        _ => None,
                    };
                    self.published.extend(batch.rows.iter().filter_map(who));
                    self.hub.handle(Input::Stored { token: batch.token }, self.now);
                }
                Effect::Reply { answer, .. } => answers.push(answer),
                _ => {}
            }
        }
        answers.pop().expect("an answer")
    }

    fn publish(&mut self, signed: SignedBundle, expected: Result<u64, &str>) {
        let caller = wire::change::Caller::new("ann", wire::change::Via::Api);
        match (self.ask(Request::PublishSigned { caller, signed }), expected) {
            (Answer::Published { bundle, .. }, Ok(generation)) => assert_eq!(bundle.generation, Generation(generation)),
            (Answer::Rejected { reason }, Err(part)) => assert!(reason.contains(part), "{reason}"),
            (answer, expected) => panic!("{answer:?} is not {expected:?}"),
        }
    }

    /// Whether the hub signs beacons from then on.
    fn trust(&mut self, chain: RoleChain, beacon_key: Option<u8>) -> bool {
        self.trust_with(chain, None, beacon_key).0
    }

    /// Whether the hub signs beacons and bundles from then on.
    fn trust_with(&mut self, chain: RoleChain, policy_key: Option<u8>, beacon_key: Option<u8>) -> (bool, bool) {
        let boxed = |seed: Option<u8>| seed.map(|seed| Box::new(key(seed)));
        let expected = chain.newest().version;
        let request = Request::Roles {
            caller: wire::change::Caller::new("ann", wire::change::Via::Api),
            chain,
            policy_key: boxed(policy_key),
            beacon_key: boxed(beacon_key),
        };
        match self.ask(request) {
            Answer::Trusted {
                version,
                signs_beacons,
                signs_bundles,
            } => {
                assert_eq!(version, expected);
                (signs_beacons, signs_bundles)
            }
            other => panic!("{other:?}"),
        }
    }

    /// What becomes of a text that the hub is to sign: the reason why it does not, or nothing.
    fn publish_text(&mut self) -> Option<String> {
        let caller = wire::change::Caller::new("ann", wire::change::Via::Api);
        let text = TEXT.as_bytes().to_vec();
        match self.ask(Request::Publish { caller, text }) {
            Answer::Published { .. } => None,
            Answer::Rejected { reason } => Some(reason),
            other => panic!("{other:?}"),
        }
    }

    fn export(&mut self) -> Parcel {
        match self.ask(Request::Export {
            caller: wire::change::Caller::new("ann", wire::change::Via::Api),
        }) {
            Answer::Parcel(parcel) => *parcel,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_bundle_counts_when_enough_of_the_policy_role_signed_it() {
    let mut desk = Desk::new(None);
    desk.publish(bundle(5, &[11]), Err("1 of 2"));
    desk.publish(bundle(5, &[21, 1]), Err("0 of 2"));
    desk.publish(bundle(5, &[11, 13]), Ok(5));
    desk.publish(bundle(5, &[11, 13]), Ok(5));
    desk.publish(bundle(4, &[12, 13]), Err("sign it again with --generation 6"));
    desk.publish(bundle(6, &[12, 13]), Ok(6));
    // Stored with each of the two that became the newest, and with nothing else.
    assert_eq!(desk.published, [Some("ann".to_owned()), Some("ann".to_owned())]);
}

#[test]
fn a_hub_whose_key_is_not_enough_signs_no_bundle() {
    for policy_key in [None, Some(11), Some(99)] {
        let reason = Desk::new(policy_key).publish_text().expect("it signs nothing");
        assert!(
            reason.contains("2 keys of the policy role have to") && reason.contains("sentinel policy sign"),
            "{reason}"
        );
    }
}

#[test]
fn a_new_policy_key_signs_as_soon_as_the_roles_name_it() {
    let mut desk = Desk::new(Some(11));
    let next = |version, seed| Roles {
        version,
        policy: role(&[seed], 1),
        ..first()
    };
    let documents = [by_root(&first()), by_root(&next(2, 14)), by_root(&next(3, 15))];
    for (known, given, signs) in [
        (2, None, false),
        (2, Some(14), true),
        (2, None, true),
        (3, None, false),
        (3, Some(14), false),
        (3, Some(15), true),
    ] {
        let chain = chain(&documents[..known]);
        let ring = chain.newest().policy.ring.clone();
        assert_eq!(
            desk.trust_with(chain, given, None).1,
            signs,
            "document {known} with {given:?}"
        );
        match desk.publish_text() {
            None => {
                assert!(signs);
                let signed = desk.export().bundle.expect("the newest");
                assert!(signed.open(&ring, "test").is_ok(), "document {known} with {given:?}");
            }
            Some(reason) => {
                let missing = wire::ids::KeyId::of(&ring.keys[0]).to_string();
                assert!(
                    !signs && reason.contains(&missing) && reason.contains("policy*.key"),
                    "{reason}"
                );
            }
        }
    }
}

#[test]
fn what_is_exported_is_what_a_node_needs() {
    let mut desk = Desk::new(None);
    assert!(matches!(
        desk.ask(Request::Export {
            caller: wire::change::Caller::new("ann", wire::change::Via::Api)
        }),
        Answer::Rejected { .. }
    ));
    desk.publish(bundle(5, &[11, 12]), Ok(5));
    let parcel = desk.export();
    let roles = chain(&parcel.roles);
    let signed = parcel.bundle.expect("the newest");
    assert!(signed.open(&roles.newest().policy.ring, "test").is_ok());
    let beacon = parcel.beacon.expect("the last");
    let ring = &roles.newest().role(RoleName::Beacon).ring;
    let payload = beacon.open(ring, "test").expect("by the beacon role");
    assert_eq!(payload.bundle.digest, signed.digest());
}

#[test]
fn a_new_beacon_key_signs_as_soon_as_the_roles_name_it() {
    let mut desk = Desk::new(None);
    desk.publish(bundle(5, &[11, 12]), Ok(5));
    let next = |version, seed| Roles {
        version,
        beacon: role(&[seed], 1),
        ..first()
    };
    let documents = [by_root(&first()), by_root(&next(2, 22)), by_root(&next(3, 23))];
    let last = |desk: &mut Desk| desk.export().beacon;
    for (known, given, expected) in [
        (2, None, None),
        (2, Some(22), Some(22)),
        (3, Some(22), None),
        (3, Some(23), Some(23)),
    ] {
        let chain = chain(&documents[..known]);
        assert_eq!(desk.trust(chain.clone(), given), expected.is_some());
        let beacon = last(&mut desk);
        assert_eq!(beacon.is_some(), expected.is_some(), "document {known} with {given:?}");
        if let Some(beacon) = beacon {
            let ring = &chain.newest().beacon.ring;
            assert!(beacon.open(ring, "test").is_ok(), "document {known} with {given:?}");
        }
    }
}

#[test]
fn generations_that_stolen_keys_used_up_count_no_more_once_they_are_replaced() {
    let mut desk = Desk::new(None);
    desk.publish(bundle(u64::MAX, &[11, 12]), Ok(u64::MAX));
    desk.publish(bundle(7, &[11, 12]), Err("was given before"));
    let second = Roles {
        version: 2,
        policy: role(&[14], 1),
        ..first()
    };
    let documents = [by_root(&first()), by_root(&second)];
    let chain = chain(&documents);
    assert!(desk.trust(chain, None), "the beacon key stays");
    desk.publish(bundle(7, &[11, 12]), Err("0 of 1"));
    desk.publish(bundle(7, &[14]), Ok(7));
    desk.publish(bundle(6, &[14]), Err("--generation 8"));
    assert_eq!(desk.export().roles.len(), 2);
}

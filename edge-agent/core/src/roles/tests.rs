//! Role documents at a node: in order, durable before what they vouch for, and never back.

use ed25519_dalek::SigningKey;
use wire::bundle::{BeaconPayload, BundlePayload};
use wire::roles::{Role, Roles};
use wire::{Beacon, BreakGlass, BreakGlassPayload, BundleRef, Parcel, SignedBundle};

use super::*;
use crate::agent::Agent;
use crate::effect::LocalAnswer;
use crate::input::{Floor, Input, LocalRequest, Recovered};
use crate::testing::{BUNDLE, Rig, key, settings};

fn other(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn single(key: &SigningKey) -> Role {
    Role::single(key.verifying_key().to_bytes())
}

/// Root key is the one that the rig's nodes were given at enrolment; policy and beacon keys by seed.
fn document(version: u64, policy: u8, beacon: u8) -> Roles {
    Roles {
        version,
        trust_domain: "test".to_owned(),
        issued_at: Wall(0),
        root: single(&key()),
        policy: single(&other(policy)),
        beacon: single(&other(beacon)),
    }
}

fn by_root(roles: &Roles) -> SignedRoles {
    SignedRoles::unsigned(roles).signed_by(&key())
}

fn bundle(generation: u64, signer: u8) -> SignedBundle {
    let payload = BundlePayload {
        generation: Generation(generation),
        trust_domain: "test".to_owned(),
        issued_at: Wall(0),
        text: BUNDLE.as_bytes().to_vec(),
    };
    SignedBundle::sign(&payload, &other(signer))
}

fn beacon(number: u64, bundle: BundleRef, signer: u8) -> Beacon {
    let payload = BeaconPayload {
        number,
        bundle,
        trust_domain: "test".to_owned(),
        issued_at: Wall(0),
    };
    Beacon::sign(&payload, &other(signer))
}

/// What a person at the socket is told, and the active generation after it.
fn import(rig: &mut Rig, roles: &[SignedRoles], bundle: Option<SignedBundle>) -> (Result<(), String>, u64) {
    let parcel = Parcel {
        roles: roles.to_vec(),
        bundle,
        beacon: None,
    };
    let what = LocalRequest::Import {
        who: "test".to_owned(),
        parcel,
    };
    rig.replies.clear();
    rig.handle(Input::Local { request: 77, what });
    let answer = match rig.replies.pop() {
        Some(LocalAnswer::Refused { reason }) => Err(reason),
        Some(_) => Ok(()),
        None => Err("no answer".to_owned()),
    };
    (
        answer,
        rig.agent.bundle().map_or(0, |(_, reference)| reference.generation.0),
    )
}

fn check(rig: &mut Rig, roles: &[SignedRoles], bundle: Option<SignedBundle>, expected: Result<u64, &str>) {
    match (import(rig, roles, bundle), expected) {
        ((Ok(()), active), Ok(generation)) => assert_eq!(active, generation),
        ((Err(reason), _), Err(part)) => assert!(reason.contains(part), "{reason}"),
        (found, expected) => panic!("{found:?} is not {expected:?}"),
    }
}

#[test]
fn whoever_the_roles_name_signs_from_then_on() {
    let mut rig = Rig::new();
    check(&mut rig, &[], Some(bundle(2, 50)), Err("0 of 1"));
    check(&mut rig, &[by_root(&document(1, 50, 60))], Some(bundle(2, 50)), Ok(2));
    check(&mut rig, &[], Some(crate::testing::signed(3, BUNDLE)), Err("0 of 1"));
    check(&mut rig, &[], Some(bundle(3, 60)), Err("0 of 1"));
    // The first documents continue what was before them: no generation counts anew.
    check(&mut rig, &[], Some(bundle(1, 50)), Err("older bundle"));
    let stranger = SignedRoles::unsigned(&document(2, 50, 60)).signed_by(&other(50));
    check(&mut rig, &[stranger], None, Err("not signed by the root keys"));
    check(&mut rig, &[by_root(&document(3, 51, 60))], None, Err("2 is next"));
}

#[test]
fn roles_survive_a_restart_and_the_bundle_that_old_keys_signed_still_protects() {
    let mut rig = Rig::new();
    let first = by_root(&document(1, 50, 60));
    check(&mut rig, std::slice::from_ref(&first), Some(bundle(2, 50)), Ok(2));
    check(&mut rig, &[by_root(&document(2, 51, 60))], None, Ok(2));
    rig.crash();
    assert_eq!(rig.agent.roles().len(), 2);
    assert_eq!(
        rig.agent.bundle().map(|(_, active)| active.generation.0),
        Some(2),
        "still in force"
    );
    check(&mut rig, &[], Some(bundle(3, 50)), Err("0 of 1"));
    check(&mut rig, &[first], None, Ok(2));
    assert_eq!(rig.agent.roles().len(), 2, "an older document changes nothing");
}

#[test]
fn generations_count_anew_after_stolen_keys_have_used_them_up() {
    let mut rig = Rig::new();
    check(
        &mut rig,
        &[by_root(&document(1, 50, 60))],
        Some(bundle(u64::MAX, 50)),
        Ok(u64::MAX),
    );
    check(&mut rig, &[], Some(bundle(9, 50)), Err("older bundle"));
    let second = by_root(&document(2, 51, 60));
    check(&mut rig, &[second], Some(bundle(9, 51)), Ok(9));
    check(&mut rig, &[], Some(bundle(8, 51)), Err("older bundle"));
    rig.crash();
    check(&mut rig, &[], Some(bundle(8, 51)), Err("older bundle"));
    check(&mut rig, &[], Some(bundle(10, 51)), Ok(10));
}

#[test]
fn cve_2022_29173_a_lost_journal_does_not_bring_older_roles_back() {
    let mut rig = Rig::new();
    let (first, second) = (by_root(&document(1, 50, 60)), by_root(&document(2, 51, 61)));
    check(&mut rig, &[first.clone(), second.clone()], Some(bundle(4, 51)), Ok(4));
    let floor = rig.journal.floor;
    assert_eq!(floor.map(|floor| (floor.roles, floor.policy_since)), Some((2, 0)));
    rig.agent = Agent::new(
        settings(),
        Recovered {
            floor,
            ..Recovered::default()
        },
        rig.now,
    );
    rig.settle();
    check(&mut rig, &[], Some(bundle(9, 50)), Err("lost with the journal"));
    check(&mut rig, std::slice::from_ref(&first), None, Err("older than 2"));
    check(&mut rig, &[first, second], Some(bundle(4, 51)), Ok(4));
}

#[test]
fn a_lost_journal_leaves_the_protection_that_lies_beside_it() {
    let mut rig = Rig::new();
    check(&mut rig, &[by_root(&document(1, 50, 60))], Some(bundle(4, 50)), Ok(4));
    let recovered = Recovered {
        floor: rig.journal.floor,
        bundle: rig.journal.bundle.clone(),
        roles: rig.journal.roles.clone(),
        ..Recovered::default()
    };
    rig.agent = Agent::new(settings(), recovered, rig.now);
    assert_eq!(rig.agent.bundle().map(|(_, active)| active.generation.0), Some(4));
    assert_eq!(
        rig.agent.authority(),
        Authority::Observe,
        "nothing proves that it is fresh"
    );
    let forged = Recovered {
        floor: Some(Floor::default()),
        bundle: Some(bundle(4, 99)),
        ..Recovered::default()
    };
    assert!(Agent::new(settings(), forged, rig.now).bundle().is_none());
}

#[test]
fn the_end_of_a_role_takes_authority_and_no_protection() {
    let mut rig = Rig::new();
    let ends = Wall(rig.now.wall.0 + 60_000);
    let mut first = document(1, 50, 60);
    first.policy.until = Some(ends);
    check(&mut rig, &[by_root(&first)], Some(bundle(2, 50)), Ok(2));
    assert_eq!(rig.agent.authority(), Authority::Full);
    rig.pass(61_000);
    rig.handle(Input::Tick);
    assert_eq!(rig.agent.authority(), Authority::Protective);
    assert!(rig.agent.bundle().is_some(), "its rules go on");
    check(&mut rig, &[], Some(bundle(3, 50)), Err("the policy role ended at"));
    let mut longer = document(2, 50, 60);
    longer.policy.until = None;
    check(&mut rig, &[by_root(&longer)], Some(bundle(3, 50)), Ok(3));
    assert_eq!(rig.agent.authority(), Authority::Full);
}

#[test]
fn a_pinned_node_that_never_joined_takes_the_pinned_chain_and_no_other() {
    let first = by_root(&document(1, 50, 60));
    let mut settings = settings();
    settings.policy_keys.keys.clear();
    settings.root_pin = Some(first.pin());
    let mut rig = Rig::new();
    rig.journal = crate::testing::Journal::default();
    rig.agent = Agent::new(settings, Recovered::default(), rig.now);
    rig.settle();
    check(&mut rig, &[], Some(bundle(2, 50)), Err("import them first"));
    check(
        &mut rig,
        &[by_root(&document(1, 70, 60))],
        Some(bundle(2, 70)),
        Err("told to trust"),
    );
    check(&mut rig, &[first], Some(bundle(2, 50)), Ok(2));
}

#[test]
fn tough_a_beacon_counts_only_when_all_of_it_was_checked() {
    let mut rig = Rig::new();
    check(&mut rig, &[by_root(&document(1, 50, 60))], Some(bundle(5, 50)), Ok(5));
    let (_, active) = rig.agent.bundle().expect("imported");
    let older = BundleRef {
        generation: Generation(4),
        digest: Digest::of(b"older"),
    };
    rig.pass(5_000);
    rig.agent.on_beacon(&beacon(100, older, 60), rig.now);
    rig.agent.on_beacon(&beacon(101, active, 61), rig.now);
    let age = rig.agent.status(rig.now).policy_age_ms;
    assert!(age >= 5_000, "neither proves anything: {age}");
    // The number of the refused one was not taken: a true one with a lower number still counts.
    rig.agent.on_beacon(&beacon(7, active, 60), rig.now);
    assert_eq!(rig.agent.status(rig.now).policy_age_ms, 0);
}

#[test]
fn break_glass_is_opened_by_the_policy_role_and_by_no_other_key() {
    let mut rig = Rig::new();
    let mut roles = document(1, 50, 60);
    roles.policy.ring.keys.push(other(51).verifying_key().to_bytes());
    check(&mut rig, &[by_root(&roles)], Some(bundle(2, 50)), Ok(2));
    let payload = BreakGlassPayload {
        number: 1,
        trust_domain: "test".to_owned(),
        nodes: Vec::new(),
        targets: Vec::new(),
        kinds: vec!["restart".to_owned()],
        open_for_ms: 60_000,
        issued_at: rig.now.wall,
        reason: "fire".to_owned(),
    };
    let mut by_enrolment = BreakGlass::sign(&payload, &key());
    by_enrolment.countersign(&other(60));
    assert!(
        rig.agent
            .open_glass(&by_enrolment, rig.now)
            .is_err_and(|reason| reason.contains("0 of 2"))
    );
    let mut by_policy = BreakGlass::sign(&payload, &other(50));
    by_policy.countersign(&other(51));
    assert!(rig.agent.open_glass(&by_policy, rig.now).is_ok());
}

//! Each published fault of a TUF client is a test here, by its number.

use ed25519_dalek::SigningKey;
use proptest::prelude::*;

use super::*;

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn role(seeds: &[u8], threshold: u8) -> Role {
    Role {
        ring: KeyRing {
            keys: seeds.iter().map(|seed| key(*seed).verifying_key().to_bytes()).collect(),
            threshold,
        },
        until: None,
    }
}

/// Root keys 1 to 3, two of which must sign; policy keys 11 to 13, two of which must sign; beacon key 21.
fn roles(version: u64) -> Roles {
    Roles {
        version,
        trust_domain: "example".to_owned(),
        issued_at: Wall(0),
        root: role(&[1, 2, 3], 2),
        policy: role(&[11, 12, 13], 2),
        beacon: role(&[21], 1),
    }
}

fn signed(roles: &Roles, seeds: &[u8]) -> SignedRoles {
    seeds.iter().fold(SignedRoles::unsigned(roles), |document, seed| {
        document.signed_by(&key(*seed))
    })
}

fn first() -> SignedRoles {
    signed(&roles(1), &[1, 2])
}

fn chain() -> RoleChain {
    RoleChain::open(&Pin::Document(first().pin()), &[first()], "example").expect("the pinned one")
}

/// What the chain of version 1 says to further documents.
fn check(documents: &[SignedRoles], expected: Result<u64, &str>) {
    let before = chain();
    match (before.follow(documents), expected) {
        (Ok(after), Ok(version)) => assert_eq!(after.newest().version, version),
        (Err(error), Err(part)) => {
            let cause = std::error::Error::source(&error)
                .map(ToString::to_string)
                .unwrap_or_default();
            assert!(format!("{error}: {cause}").contains(part), "{error}: {cause}");
        }
        (found, expected) => panic!("{found:?} is not {expected:?}"),
    }
}

#[test]
fn the_next_document_needs_old_and_new_root_keys() {
    let same = signed(&roles(2), &[2, 3]);
    check(&[same], Ok(2));
    let moved = Roles {
        root: role(&[4, 5], 2),
        ..roles(2)
    };
    check(&[signed(&moved, &[1, 2, 4, 5])], Ok(2));
    check(&[signed(&moved, &[4, 5])], Err("of the one before it"));
    check(&[signed(&moved, &[1, 2, 4])], Err("that it names itself"));
    // After the change the old keys are worth nothing.
    let third = Roles {
        version: 3,
        ..moved.clone()
    };
    check(&[signed(&moved, &[1, 2, 4, 5]), signed(&third, &[4, 5])], Ok(3));
    check(
        &[signed(&moved, &[1, 2, 4, 5]), signed(&roles(3), &[1, 2, 3])],
        Err("of the one before it"),
    );
}

#[test]
fn rustsec_2020_0024_two_signatures_of_one_key_count_once() {
    let mut twice = signed(&roles(2), &[1]);
    let again = sign(&key(1), ROLES_PREFIX, &twice.payload);
    twice.signatures.push(again);
    assert_eq!(twice.signatures.len(), 2);
    check(&[twice], Err("1 of 2"));
    let doubled = Roles {
        root: role(&[1, 1], 2),
        ..roles(2)
    };
    check(&[signed(&doubled, &[1, 2])], Err("stands there twice"));
}

#[test]
fn tough_skipped_sequential_root_every_version_must_be_there() {
    check(&[signed(&roles(3), &[1, 2])], Err("2 is next"));
    check(&[signed(&roles(2), &[1, 2]), signed(&roles(3), &[1, 3])], Ok(3));
    check(
        &[signed(&roles(2), &[1, 2]), signed(&roles(4), &[1, 3])],
        Err("3 is next"),
    );
    check(&[signed(&roles(u64::MAX), &[1, 2])], Err("2 is next"));
}

#[test]
fn cve_2022_29173_an_older_document_never_wins() {
    let second = chain().follow(&[signed(&roles(2), &[1, 2])]).expect("it follows");
    let back = second.follow(&[first()]).expect("a known one is passed over");
    assert_eq!(back.newest().version, 2);
    let fork = Roles {
        beacon: role(&[22], 1),
        ..roles(2)
    };
    let refused = second.follow(&[signed(&fork, &[1, 2])]);
    assert_eq!(refused, Err(RoleError::Fork { version: 2 }));
}

#[test]
fn cve_2026_23992_a_threshold_that_cannot_be_meant_is_refused() {
    for threshold in [0, 4, 255] {
        let bad = Roles {
            policy: role(&[11, 12, 13], threshold),
            ..roles(2)
        };
        check(&[signed(&bad, &[1, 2])], Err("role `policy`: its threshold"));
    }
    let nobody = Roles {
        beacon: role(&[], 1),
        ..roles(2)
    };
    check(&[signed(&nobody, &[1, 2])], Err("role `beacon`: it needs 1 to 16 keys"));
    let no_key = Roles {
        beacon: Role::single([2; 32]),
        ..roles(2)
    };
    check(&[signed(&no_key, &[1, 2])], Err("no Ed25519 public key"));
}

#[test]
fn a_document_is_for_one_trust_domain() {
    let other = Roles {
        trust_domain: "elsewhere".to_owned(),
        ..roles(2)
    };
    check(&[signed(&other, &[1, 2])], Err("signed for trust domain `elsewhere`"));
    assert!(RoleChain::open(&Pin::Document(first().pin()), &[first()], "elsewhere").is_err());
}

#[test]
fn a_pin_begins_the_chain_and_nothing_else_does() {
    let documents = [first(), signed(&roles(2), &[1, 2])];
    let ring = Pin::Ring(roles(1).root.ring);
    assert_eq!(
        RoleChain::open(&ring, &documents, "example")
            .expect("root keys")
            .newest()
            .version,
        2
    );
    let second = Pin::Document(documents[1].pin());
    assert_eq!(
        RoleChain::open(&second, &documents, "example")
            .expect("pinned")
            .documents()
            .len(),
        1
    );
    let stranger = Pin::Ring(role(&[9], 1).ring);
    assert_eq!(
        RoleChain::open(&stranger, &documents, "example"),
        Err(RoleError::NotPinned)
    );
    let unsigned = SignedRoles::unsigned(&roles(1));
    let pinned = RoleChain::open(&Pin::Document(unsigned.pin()), &[unsigned], "example");
    assert!(
        matches!(pinned, Err(RoleError::NotByRoot { .. })),
        "a pin replaces no signature: {pinned:?}"
    );
}

#[test]
fn fast_forward_floors_start_anew_only_when_old_signatures_cannot_pass() {
    let since = |policy: Role| {
        let next = Roles { policy, ..roles(2) };
        chain()
            .follow(&[signed(&next, &[1, 2])])
            .expect("it follows")
            .policy_since()
    };
    assert_eq!(since(role(&[11, 12, 13], 2)), 0, "the same keys");
    assert_eq!(since(role(&[11, 12, 14], 2)), 0, "11 and 12 still suffice");
    assert_eq!(since(role(&[11, 12, 13], 1)), 0, "an old signature suffices");
    assert_eq!(since(role(&[13, 14, 15], 2)), 2, "13 alone does not");
    assert_eq!(since(role(&[14], 1)), 2);
}

#[test]
fn a_role_ends_with_its_root() {
    let ends = Roles {
        root: Role {
            until: Some(Wall(50)),
            ..role(&[1, 2, 3], 2)
        },
        policy: Role {
            until: Some(Wall(90)),
            ..role(&[11, 12, 13], 2)
        },
        ..roles(1)
    };
    assert_eq!(ends.until(RoleName::Policy), Some(Wall(50)));
    assert!(!ends.is_over(RoleName::Beacon, Wall(49)) && ends.is_over(RoleName::Beacon, Wall(50)));
    assert!(!roles(1).is_over(RoleName::Policy, Wall(i64::MAX)));
}

proptest! {
    /// CVE-2026-23991: malformed answers crashed the client.
    #[test]
    fn cve_2026_23991_no_bytes_crash_the_reader(payload in proptest::collection::vec(any::<u8>(), 0..300), cut in 0usize..400) {
        let wild = SignedRoles { payload, signatures: Vec::new() };
        prop_assert!(chain().follow(&[wild]).is_err());
        let mut torn = signed(&roles(2), &[1, 2]);
        let cut = cut.min(torn.payload.len() - 1);
        torn.payload.truncate(cut);
        prop_assert!(chain().follow(&[torn]).is_err());
    }

    #[test]
    fn one_changed_bit_is_refused(at in 0usize..1_000, bit in 0u8..8) {
        let mut changed = signed(&roles(2), &[1, 2]);
        let at = at % changed.payload.len();
        changed.payload[at] ^= 1 << bit;
        prop_assert!(chain().follow(&[changed]).is_err());
    }

    /// Whatever subset of keys signs, a document passes exactly if two old and the new threshold are among them.
    #[test]
    fn a_document_passes_with_both_thresholds_and_only_then(signers in proptest::collection::btree_set(1u8..7, 0..6), threshold in 1u8..3) {
        let next = Roles { root: role(&[3, 4, 5], threshold), ..roles(2) };
        let seeds: Vec<u8> = signers.iter().copied().collect();
        let of = |ring: [u8; 3]| seeds.iter().filter(|seed| ring.contains(seed)).count();
        let passes = of([1, 2, 3]) >= 2 && of([3, 4, 5]) >= usize::from(threshold);
        prop_assert_eq!(chain().follow(&[signed(&next, &seeds)]).is_ok(), passes);
    }
}

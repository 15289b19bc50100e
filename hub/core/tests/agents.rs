//! Who becomes an agent, who stays one, and who is shut out; told as small stories over a store that is a few maps.
#![allow(clippy::unwrap_used)]

mod world;

use std::time::Duration;

use ed25519_dalek::{Signer as _, SigningKey};
use hub_core::{AgentRequest, Answer, Certificates, How, Identity, Joining, NewToken, Rejoining, Renewing, SessionId};
use wire::enroll::Refusal;
use wire::frame::{Frame, GoodbyeReason};
use wire::{AgentId, Digest, Wall};

use world::{World, of_hub};

const HOUR: Duration = Duration::from_secs(3_600);

fn id(name: &str) -> AgentId {
    AgentId::new(name).unwrap()
}

/// A machine that wants to be, or is, an agent.
#[derive(Clone)]
struct Machine {
    key: SigningKey,
    generation: u64,
    leaf: Digest,
}

fn machine(number: u8) -> Machine {
    Machine {
        key: SigningKey::from_bytes(&[number; 32]),
        generation: 0,
        leaf: Digest([number; 32]),
    }
}

impl Machine {
    fn new_leaf_key(&mut self) {
        self.leaf = Digest::of(&self.leaf.0);
    }

    fn joining(&self, token: &str, name: Option<&str>) -> AgentRequest {
        AgentRequest::Join(Joining {
            token: hash(token),
            name: name.map(str::to_owned),
            node_key: self.key.verifying_key().to_bytes(),
            proven: true,
            key: self.leaf,
            program: "test".to_owned(),
            address: None,
        })
    }

    fn renewing(&self, name: &str) -> AgentRequest {
        AgentRequest::Renew(Renewing {
            agent: id(name),
            generation: self.generation,
            key: self.leaf,
        })
    }

    fn rejoining(&self, name: &str, message: &str) -> AgentRequest {
        AgentRequest::Rejoin(Rejoining {
            agent: id(name),
            generation: self.generation,
            key: self.leaf,
            message: message.into(),
            signature: self.key.sign(b"this conversation").to_bytes().to_vec(),
            address: None,
        })
    }
}

fn hash(token: &str) -> Digest {
    Digest::of(token.as_bytes())
}

/// Asks, lets the store work, and gives the answer.
fn ask(world: &mut World, what: AgentRequest) -> Answer {
    let request = world.request(of_hub(what));
    world.settle();
    world.replies[&request].last().cloned().expect("an answer")
}

/// `granted GENERATION`, or the refusal's name.
fn word(answer: &Answer) -> String {
    match answer {
        Answer::Agent(identity) => format!("granted {}", identity.generation),
        Answer::NotEnrolled { refusal, .. } => format!("{refusal:?}"),
        Answer::Rejected { reason } => reason.clone(),
        Answer::Unavailable { .. } => "unavailable".to_owned(),
        other => format!("{other:?}"),
    }
}

#[track_caller]
fn check(world: &mut World, what: AgentRequest, expected: &str) {
    assert_eq!(word(&ask(world, what)), expected);
}

fn new_token(token: &str, name: Option<&str>) -> NewToken {
    NewToken {
        hash: hash(token),
        label: Some("rack 7".to_owned()),
        name: name.map(id),
        site: Some("lab".to_owned()),
        ttl: HOUR,
        takes_over: false,
    }
}

fn token(world: &mut World, token: &str, name: Option<&str>) {
    let answer = ask(world, AgentRequest::CreateToken(new_token(token, name)));
    assert!(matches!(answer, Answer::JoinToken(_)), "{answer:?}");
}

/// A token for another machine to become this node.
fn take_over(world: &mut World, of: &str, name: &str) {
    let new = NewToken {
        site: None,
        takes_over: true,
        ..new_token(of, Some(name))
    };
    let answer = ask(world, AgentRequest::CreateToken(new));
    assert!(matches!(answer, Answer::JoinToken(_)), "{answer:?}");
}

fn joined(world: &mut World, number: u8) -> Machine {
    let mut machine = machine(number);
    let (name, text) = (format!("edge-{number}"), format!("token {number}"));
    token(world, &text, Some(&name));
    check(world, machine.joining(&text, None), "granted 1");
    machine.generation = 1;
    machine.new_leaf_key();
    machine
}

fn identity<'a>(world: &'a World, name: &str) -> &'a Identity {
    world.hub.agents().identity(&id(name)).expect("it is there")
}

fn deny(name: &str) -> AgentRequest {
    let reason = "stolen".to_owned();
    AgentRequest::Deny {
        agent: id(name),
        reason,
    }
}

fn allow(name: &str) -> AgentRequest {
    let reason = "it is ours".to_owned();
    AgentRequest::Allow {
        agent: id(name),
        reason,
    }
}

#[test]
fn a_token_works_once_and_within_its_time() {
    let mut world = World::new(0);
    let (first, second) = (machine(1), machine(2));
    token(&mut world, "good", None);
    check(&mut world, first.joining("none", None), "TokenUnknown");
    check(&mut world, first.joining("good", Some("Bad Name")), "Malformed");
    check(&mut world, first.joining("good", Some("edge-1")), "granted 1");
    check(&mut world, second.joining("good", Some("edge-2")), "TokenUsed");
    token(&mut world, "late", None);
    check(&mut world, second.joining("late", Some("edge-1")), "NameTaken");
    check(&mut world, second.joining("late", None), "granted 1");
    token(&mut world, "ended", None);
    world.advance(2 * 3_600_000);
    check(&mut world, machine(3).joining("ended", None), "TokenExpired");
    assert_eq!(identity(&world, "edge-1").site, "lab");
    assert_eq!(
        identity(&world, "edge-1").ends,
        Wall(world.now.wall.0 - 2 * 3_600_000 + 24 * 3_600_000)
    );
}

#[test]
fn a_used_token_grants_nothing_to_whoever_knows_only_the_public_key() {
    let mut world = World::new(0);
    let machine = machine(1);
    token(&mut world, "good", Some("edge-1"));
    let AgentRequest::Join(joining) = machine.joining("good", None) else {
        unreachable!("made so");
    };
    let unproven = |key| {
        AgentRequest::Join(Joining {
            proven: false,
            key,
            ..joining.clone()
        })
    };
    check(&mut world, unproven(Digest([1; 32])), "granted 1");
    check(&mut world, unproven(Digest([2; 32])), "TokenUsed");
    // The same machine, whose answer was lost.
    check(&mut world, machine.joining("good", None), "granted 2");
    world.advance(2 * 3_600_000);
    check(&mut world, machine.joining("good", None), "TokenUsed");
}

#[test]
fn what_cannot_be_stored_grants_nothing_and_uses_nothing_up() {
    let mut world = World::new(0);
    token(&mut world, "good", Some("edge-1"));
    let request = world.request(of_hub(machine(1).joining("good", None)));
    world.fail();
    assert_eq!(word(world.replies[&request].last().unwrap()), "unavailable");
    assert!(world.hub.agents().identity(&id("edge-1")).is_none());
    world.advance(60_000);
    world.settle();
    check(&mut world, machine(1).joining("good", None), "granted 1");
}

#[test]
fn renewals_count_up_and_a_lost_answer_is_given_again() {
    let mut world = World::new(0);
    let mut machine = joined(&mut world, 1);
    check(&mut world, machine.renewing("edge-1"), "granted 2");
    check(&mut world, machine.renewing("edge-1"), "granted 2");
    machine.generation = 2;
    machine.new_leaf_key();
    check(&mut world, machine.renewing("edge-1"), "granted 3");
    check(&mut world, machine.renewing("edge-9"), "AgentUnknown");
    // A hub that was restored from an older copy: the agent knows better.
    machine.generation = 40;
    check(&mut world, machine.renewing("edge-1"), "granted 41");
}

#[test]
fn a_generation_shown_twice_quarantines_both_until_a_person_allows_it() {
    let mut world = World::new(0);
    let mut machine = joined(&mut world, 1);
    let mut copy = machine.clone();
    copy.leaf = Digest([77; 32]);
    check(&mut world, machine.renewing("edge-1"), "granted 2");
    check(&mut world, copy.renewing("edge-1"), "Cloned");
    machine.generation = 2;
    check(&mut world, machine.renewing("edge-1"), "Denied");
    check(&mut world, copy.renewing("edge-1"), "Denied");
    world.restart(true);
    let shut = identity(&world, "edge-1").shut.clone().unwrap();
    assert_eq!(shut.how, How::Quarantined);
    assert!(shut.reason.starts_with("cloned"), "{shut:?}");
    check(&mut world, allow("edge-1"), "granted 2");
    machine.new_leaf_key();
    check(&mut world, machine.renewing("edge-1"), "granted 3");
    check(&mut world, copy.renewing("edge-1"), "Cloned");
}

#[test]
fn another_machine_takes_a_node_over_and_the_copy_is_shut_out_for_good() {
    let mut world = World::new(0);
    let copy = joined(&mut world, 1);
    check(&mut world, deny("edge-1"), "granted 1");
    take_over(&mut world, "new keys", "edge-1");
    let mut ours = machine(9);
    check(&mut world, ours.joining("new keys", None), "granted 2");
    let after = identity(&world, "edge-1");
    assert_eq!((after.fence, &after.shut, after.site.as_str()), (2, &None, "lab"));
    check(
        &mut world,
        copy.rejoining("edge-1", "this conversation"),
        "AgentUnknown",
    );
    ours.generation = 2;
    check(&mut world, ours.rejoining("edge-1", "this conversation"), "granted 3");
    let nobody = NewToken {
        takes_over: true,
        ..new_token("nobody", Some("edge-9"))
    };
    let answer = ask(&mut world, AgentRequest::CreateToken(nobody));
    assert!(word(&answer).starts_with("there is no such node"), "{answer:?}");
}

#[test]
fn the_node_key_rejoins_for_a_limited_number_of_times() {
    let mut world = World::new(0);
    let mut machine = joined(&mut world, 1);
    for n in 0..24 {
        check(
            &mut world,
            machine.rejoining("edge-1", "this conversation"),
            &format!("granted {}", n + 2),
        );
        machine.generation = n + 2;
        machine.new_leaf_key();
    }
    check(&mut world, machine.rejoining("edge-1", "this conversation"), "TooOften");
    check(&mut world, allow("edge-1"), "granted 25");
    check(
        &mut world,
        machine.rejoining("edge-1", "this conversation"),
        "granted 26",
    );
    assert_eq!(identity(&world, "edge-1").rejoins, 25);
}

#[test]
fn a_rejoin_for_each_life_of_a_certificate_is_allowed() {
    let check = |life_s, rejoins, period_s| {
        let limits = Certificates::for_life(Duration::from_secs(life_s));
        let found = (limits.rejoins, limits.rejoin_period.as_secs());
        assert_eq!(found, (rejoins, period_s), "a life of {life_s} s");
    };
    check(24 * 3600, 24, 24 * 3600);
    check(3600, 24, 24 * 3600);
    check(8, 24, 192);
    check(0, 24, 24);
}

#[test]
fn a_rejoin_needs_this_node_key_and_this_very_conversation() {
    let mut world = World::new(0);
    let machine = joined(&mut world, 1);
    check(&mut world, machine.rejoining("edge-1", "another one"), "AgentUnknown");
    check(
        &mut world,
        machine.rejoining("edge-9", "this conversation"),
        "AgentUnknown",
    );
    let stranger = Machine {
        key: SigningKey::from_bytes(&[2; 32]),
        ..machine.clone()
    };
    check(
        &mut world,
        stranger.rejoining("edge-1", "this conversation"),
        "AgentUnknown",
    );
    check(&mut world, deny("edge-1"), "granted 1");
    check(&mut world, machine.rejoining("edge-1", "this conversation"), "Denied");
    world.restart(true);
    check(&mut world, machine.rejoining("edge-1", "this conversation"), "Denied");
    check(&mut world, allow("edge-1"), "granted 1");
    check(
        &mut world,
        machine.rejoining("edge-1", "this conversation"),
        "granted 2",
    );
}

/// Why a session of agent 0 ends, or that it does not.
fn goodbye(world: &World, session: SessionId) -> Option<(GoodbyeReason, String)> {
    world.heard[&session].frames.iter().find_map(|frame| match frame {
        Frame::Goodbye(goodbye) => Some((goodbye.reason, goodbye.detail.clone())),
        _ => None,
    })
}

#[test]
fn a_denied_node_is_cut_off_at_once_told_why_and_comes_back_when_it_is_allowed() {
    let mut world = World::new(1);
    let session = world.join(0).unwrap();
    let request = world.request(of_hub(deny("edge-0")));
    assert_eq!(
        goodbye(&world, session),
        Some((GoodbyeReason::Denied, "stolen".to_owned()))
    );
    assert!(world.replies[&request].is_empty(), "answered once it is stored");
    world.settle();
    assert!(matches!(world.replies[&request][..], [Answer::Agent(_)]));
    let again = world.open(0);
    assert_eq!(
        goodbye(&world, again),
        Some((GoodbyeReason::Denied, "stolen".to_owned()))
    );
    let view = world.hub.node(&id("edge-0"), world.now).unwrap();
    assert_eq!(view.shut_out.as_deref(), Some("denied: stolen"));
    check(&mut world, allow("edge-0"), "granted 1");
    assert!(world.join(0).is_some());
}

#[test]
fn a_denial_that_could_not_be_stored_is_told_and_the_node_comes_back() {
    let mut world = World::new(1);
    world.join(0).unwrap();
    world.settle();
    let request = world.request(of_hub(deny("edge-0")));
    world.fail();
    assert!(matches!(world.replies[&request][..], [Answer::Unavailable { .. }]));
    world.advance(60_000);
    world.settle();
    assert!(world.join(0).is_some());
}

#[test]
fn a_node_that_was_removed_is_gone_and_its_name_is_free_for_another_machine() {
    let mut world = World::new(0);
    let machine = joined(&mut world, 1);
    let agent = id("edge-1");
    assert_eq!(world.hub.nodes(world.now).len(), 1);
    let reason = "scrapped".to_owned();
    check(
        &mut world,
        AgentRequest::Remove {
            agent: agent.clone(),
            reason: reason.clone(),
        },
        "granted 1",
    );
    world.settle();
    assert!(world.hub.nodes(world.now).is_empty());
    assert!(world.hub.node(&agent, world.now).is_none());
    check(&mut world, machine.rejoining("edge-1", "this conversation"), "Denied");
    let answer = ask(
        &mut world,
        AgentRequest::Remove {
            agent: agent.clone(),
            reason,
        },
    );
    assert!(matches!(answer, Answer::UnknownAgent), "{answer:?}");
    world.restart(true);
    assert!(world.hub.nodes(world.now).is_empty());
    token(&mut world, "again", Some("edge-1"));
    let mut next = machine.clone();
    next.key = SigningKey::from_bytes(&[3; 32]);
    check(&mut world, next.joining("again", None), "granted 2");
    world.settle();
    assert_eq!(identity(&world, "edge-1").fence, 2);
    assert_eq!(world.hub.nodes(world.now).len(), 1);
}

#[test]
fn a_renamed_node_is_given_its_new_name_with_its_next_certificate() {
    let mut world = World::new(0);
    let mut machine = joined(&mut world, 1);
    joined(&mut world, 2);
    let rename = |to: &str| AgentRequest::Rename {
        agent: id("edge-1"),
        to: id(to),
        reason: "moved to rack 7".to_owned(),
    };
    let answer = ask(&mut world, rename("edge-2"));
    assert!(word(&answer).contains("there is a node `edge-2` already"), "{answer:?}");
    check(&mut world, rename("rack-7"), "granted 1");
    world.settle();
    let names: Vec<String> = world
        .hub
        .nodes(world.now)
        .iter()
        .map(|node| node.name.to_string())
        .collect();
    assert_eq!(names, ["edge-2", "rack-7"]);
    let Answer::Agent(granted) = ask(&mut world, machine.rejoining("edge-1", "this conversation")) else {
        panic!("granted");
    };
    assert_eq!((granted.agent.as_str(), granted.generation), ("rack-7", 2));
    machine.generation = 2;
    check(&mut world, machine.renewing("rack-7"), "granted 3");
    // What is left of the former name goes once nobody can show a certificate of it.
    world.advance(3 * 24 * 3_600_000);
    world.settle();
    assert!(world.hub.agents().identity(&id("edge-1")).is_none());
    assert!(world.hub.agents().identity(&id("rack-7")).is_some());
}

#[test]
fn tokens_are_listed_by_their_hash_revoked_by_its_beginning_and_forgotten_after_a_week() {
    let mut world = World::new(0);
    token(&mut world, "one", None);
    token(&mut world, "two", None);
    let ids: Vec<String> = world
        .hub
        .agents()
        .tokens()
        .map(|token| token.hash.to_string())
        .collect();
    assert_eq!(ids.len(), 2);
    let revoke = |id: &str| AgentRequest::RevokeToken { id: id.to_owned() };
    let answer = ask(&mut world, revoke(""));
    assert!(word(&answer).contains("there is no join token"), "{answer:?}");
    let one = hash("one").to_string();
    assert!(matches!(ask(&mut world, revoke(&one[..12])), Answer::JoinToken(_)));
    check(&mut world, machine(1).joining("one", None), "TokenUnknown");
    world.advance(9 * 24 * 3_600_000);
    world.settle();
    assert_eq!(world.hub.agents().tokens().count(), 0);
}

#[test]
fn a_history_that_goes_on_in_two_places_is_a_finding_until_a_person_has_looked() {
    let mut world = World::new(1);
    world.join(0).unwrap();
    world.agents[0].make(3);
    world.send_next(0, 3);
    world.settle();
    world.close(0, "cut");
    let owner = world.agents[0].clone();
    // A copy of its folder runs elsewhere while it is off.
    world.agents[0].process = 2;
    world.join(0).unwrap();
    world.agents[0].make(2);
    world.send_next(0, 2);
    world.settle();
    world.close(0, "cut");
    let findings = |world: &World| world.hub.node(&id("edge-0"), world.now).unwrap().findings;
    assert!(findings(&world).is_empty());
    // The owner comes back, and knows nothing of these two entries.
    world.agents[0] = owner;
    world.agents[0].process = 3;
    let mut hello = world.agents[0].hello();
    hello.last_session = 1;
    let session = world.open(0);
    world.frame(session, Frame::Hello(hello));
    world.settle();
    let found = findings(&world);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].starts_with("two histories: the hub holds entry 5 of epoch 1"),
        "{found:?}"
    );
    world.restart(true);
    assert_eq!(findings(&world).len(), 1);
    check(&mut world, allow("edge-0"), "granted 1");
    assert!(findings(&world).is_empty());
}

#[test]
fn what_nobody_knows_is_neither_renewed_nor_denied() {
    let mut world = World::new(0);
    let refusal = |refusal: Refusal| format!("{refusal:?}");
    check(
        &mut world,
        machine(1).renewing("edge-1"),
        &refusal(Refusal::AgentUnknown),
    );
    let answer = ask(&mut world, deny("edge-1"));
    assert!(matches!(answer, Answer::UnknownAgent), "{answer:?}");
}

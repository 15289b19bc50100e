//! The hub's own journal and its documents: what is written together, what a failure takes back, and how a chain goes on.
#![allow(clippy::unwrap_used)]

mod world;

use hub_core::{AccessRequest, Answer, Input, NewUser, Request};
use wire::change::{Caller, ChangeResult, Via};
use wire::entry::{EntryBody, Gap};
use wire::{AgentId, Epoch, Role};

use world::World;

fn new_user(name: &str, role: Role) -> NewUser {
    NewUser {
        id: format!("id-of-{name}"),
        name: name.to_owned(),
        role,
        tenant: None,
        password: Some("$argon2id$hash".to_owned()),
        invite: None,
    }
}

/// Asks for something of people's accounts and answers with the word of the answer, once the store has worked.
fn ask(world: &mut World, what: AccessRequest) -> String {
    let request = start(world, what);
    world.settle();
    answer(world, request)
}

/// A hub without agents whose first record is stored.
fn begun() -> World {
    let mut world = World::new(0);
    world.tell(Input::Tick);
    world.settle();
    world
}

fn start(world: &mut World, what: AccessRequest) -> u64 {
    let caller = Caller::new("ann", Via::Api);
    world.request(Request::Access { caller, what })
}

fn answer(world: &World, request: u64) -> String {
    match world.replies.get(&request).map(Vec::as_slice) {
        Some([Answer::User(user)]) => format!("{} is {}", user.name, user.role),
        Some([Answer::Rejected { reason } | Answer::Unavailable { reason }]) => reason.clone(),
        Some([]) | None => "no answer".to_owned(),
        other => panic!("{other:?}"),
    }
}

/// The hub's own entries, as (verb or kind, target, documents).
fn told(world: &World) -> Vec<(String, String, usize)> {
    let entries = world.store.entries.iter().filter(|((of, _), _)| of.is_hub());
    let bytes = entries.flat_map(|(_, entries)| entries.values());
    bytes
        .map(|bytes| match wire::codec::decode::<wire::Entry>(bytes).unwrap().body {
            EntryBody::Changed(change) => (change.verb, change.target, change.documents.len()),
            other => (other.kind().to_owned(), String::new(), 0),
        })
        .collect()
}

#[test]
fn a_document_and_the_entry_that_explains_it_are_one_batch() {
    let mut world = begun();
    let request = start(&mut world, AccessRequest::First(new_user("ann", Role::Viewer)));
    assert_eq!(answer(&world, request), "no answer", "not stored yet");
    assert!(
        world.hub.access().user("ann").is_none(),
        "permissions are read from what is stored"
    );
    world.commit();
    assert_eq!(answer(&world, request), "ann is admin");
    assert_eq!(told(&world), [("user.create".to_owned(), "user/ann".to_owned(), 1)]);
    assert!(
        world.hub.access().user("ANN").is_some(),
        "case does not make another person"
    );
    let second = ask(&mut world, AccessRequest::First(new_user("eve", Role::Admin)));
    assert!(second.contains("somebody is there already"), "{second}");
}

#[test]
fn a_store_that_fails_takes_back_the_person_and_frees_the_name() {
    let mut world = begun();
    let first = start(&mut world, AccessRequest::First(new_user("ann", Role::Admin)));
    world.fail();
    assert_eq!(answer(&world, first), "disk full");
    world.advance(60_000);
    assert_eq!(
        ask(&mut world, AccessRequest::First(new_user("ann", Role::Admin))),
        "ann is admin"
    );
    assert_eq!(told(&world).len(), 1, "no hole and no double");
}

#[test]
fn people_change_before_there_is_an_administrator_among_them() {
    let mut world = World::new(0);
    ask(&mut world, AccessRequest::Create(new_user("bob", Role::Viewer)));
    let promote = AccessRequest::Change {
        name: "bob".to_owned(),
        role: Some(Role::Operator),
        password: None,
        disabled: None,
    };
    assert_eq!(ask(&mut world, promote), "bob is operator");
    let name = "bob".to_owned();
    assert_eq!(ask(&mut world, AccessRequest::Remove { name }), "bob is operator");
}

#[test]
fn somebody_is_always_left_who_may_manage_users() {
    let mut world = World::new(0);
    ask(&mut world, AccessRequest::First(new_user("ann", Role::Admin)));
    ask(&mut world, AccessRequest::Create(new_user("bob", Role::Viewer)));
    let disable = |name: &str| AccessRequest::Change {
        name: name.to_owned(),
        role: None,
        password: None,
        disabled: Some(true),
    };
    let refused = ask(&mut world, disable("ann"));
    assert!(refused.contains("nobody would be left"), "{refused}");
    assert_eq!(ask(&mut world, disable("bob")), "bob is viewer");
    let name = "ann".to_owned();
    assert!(ask(&mut world, AccessRequest::Remove { name }).contains("nobody would be left"));
    let name = "bob".to_owned();
    assert_eq!(ask(&mut world, AccessRequest::Remove { name }), "bob is viewer");
    assert!(world.hub.access().user("bob").is_none());
}

#[test]
fn people_and_the_chain_survive_a_restart_and_a_restored_hub_begins_a_new_epoch_that_names_the_old_one() {
    let mut world = World::new(1);
    ask(&mut world, AccessRequest::First(new_user("ann", Role::Admin)));
    let copy = world.store.clone();
    world.restart(true);
    assert!(world.hub.access().user("ann").is_some());
    ask(&mut world, AccessRequest::Create(new_user("bob", Role::Viewer)));
    // An agent hears an acknowledgement that the copy does not know.
    world.join(0).unwrap();
    world.agents[0].make(3);
    world.send_next(0, 3);
    world.settle();
    world.close(0, "a cut");
    world.join(0).unwrap();
    world.close(0, "the hub is restored");
    world.restore(copy);
    world.join(0).unwrap();
    world.settle();
    assert!(world.hub.access().user("bob").is_none(), "the copy is older");
    ask(&mut world, AccessRequest::Create(new_user("eve", Role::Viewer)));
    let epochs: Vec<Epoch> = world
        .store
        .entries
        .keys()
        .filter(|(of, _)| of.is_hub())
        .map(|(_, epoch)| *epoch)
        .collect();
    assert_eq!(epochs.len(), 2, "{epochs:?}");
    let first = &world.store.entries[&(AgentId::hub(), epochs[1])][&wire::Seq(1)];
    let EntryBody::Gap(Gap::Epoch { epoch, .. }) = wire::codec::decode::<wire::Entry>(first).unwrap().body else {
        panic!("the new epoch begins with a gap");
    };
    assert_eq!(epoch, epochs[0]);
}

#[test]
fn a_published_bundle_is_explained_by_who_published_it() {
    let mut world = World::new(0);
    world.publish(policy::DEMO_BUNDLE);
    world.settle();
    let told = told(&world);
    assert_eq!(told[0].0, "policy.publish");
    let bytes = &world.store.entries.iter().find(|((of, _), _)| of.is_hub()).unwrap().1[&wire::Seq(1)];
    let EntryBody::Changed(change) = wire::codec::decode::<wire::Entry>(bytes).unwrap().body else {
        panic!("a change");
    };
    assert_eq!(change.result, ChangeResult::Done);
    assert!(world.hub.is_settled());
    world.tell(Input::Tick);
}

//! Checkpoints of the hub's own journal: signed when they are durable, kept by agents, and given back to a hub that may not be the
//! same any more.
#![allow(clippy::unwrap_used)]

mod world;

use hub_core::{AccessRequest, Answer, Checkpointing, Held, Input, JournalBreak, NewUser, Recovered, Request};
use wire::change::{Caller, Via};
use wire::entry::EntryBody;
use wire::frame::Frame;
use wire::{AgentId, Checkpoint, Role, Seq, SignedCheckpoint};

use world::World;

const MINUTE_MS: u64 = 60_000;

/// A person is added: an entry of the hub's own journal.
fn add(world: &mut World, name: &str) {
    let caller = Caller::new("ann", Via::Api);
    let what = AccessRequest::Create(NewUser {
        id: format!("id-of-{name}"),
        name: name.to_owned(),
        role: Role::Viewer,
        tenant: None,
        password: None,
        invite: None,
    });
    world.request(Request::Access { caller, what });
    world.settle();
}

/// The newest checkpoint that an agent was sent in its present session.
fn kept(world: &World, agent: usize) -> SignedCheckpoint {
    let session = world.agents[agent].session.unwrap();
    let frames = world.heard[&session].frames.iter().rev();
    let mut kept = frames.filter_map(|frame| match frame {
        Frame::Checkpoint(signed) => Some(signed.clone()),
        _ => None,
    });
    kept.next().expect("a checkpoint was sent")
}

fn give_back(world: &mut World, agent: usize, signed: &SignedCheckpoint) {
    let session = world.agents[agent].session.unwrap();
    world.frame(session, Frame::Checkpoint(signed.clone()));
}

/// The shell looks at every place that it was asked to look at, and the store works.
fn compare(world: &mut World) -> Vec<Held> {
    let asked = std::mem::take(&mut world.compares);
    let held: Vec<Held> = asked
        .iter()
        .map(|head| {
            let chain = world.store.entries.get(&(AgentId::hub(), head.epoch));
            let last = chain
                .and_then(|chain| chain.last_key_value())
                .map_or(Seq(0), |(seq, _)| *seq);
            match chain.and_then(|chain| chain.get(&head.seq)) {
                Some(bytes) if wire::Digest::of(bytes) == head.digest => Held::Same,
                Some(_) => Held::Other,
                None => Held::Ends(last),
            }
        })
        .collect();
    for (head, held) in asked.into_iter().zip(&held) {
        world.tell(Input::Compared { head, held: *held });
    }
    world.settle();
    held
}

fn breaks(world: &World) -> Vec<JournalBreak> {
    world.hub.journal_breaks().cloned().collect()
}

/// Verbs of the hub's own entries.
fn verbs(world: &World) -> Vec<String> {
    let entries = world.store.entries.iter().filter(|((of, _), _)| of.is_hub());
    let bytes = entries.flat_map(|(_, entries)| entries.values());
    let bodies = bytes.map(|bytes| wire::codec::decode::<wire::Entry>(bytes).unwrap().body);
    bodies
        .map(|body| match body {
            EntryBody::Changed(change) => change.verb,
            other => other.kind().to_owned(),
        })
        .collect()
}

/// A fleet whose hub made an entry, was copied, and made two more that it signed.
fn copied() -> (World, world::Store, SignedCheckpoint) {
    let mut world = World::new(2);
    add(&mut world, "bob");
    world.join(0).unwrap();
    world.join(1).unwrap();
    let copy = world.store.clone();
    add(&mut world, "cleo");
    add(&mut world, "dora");
    world.advance(MINUTE_MS);
    let signed = kept(&world, 0);
    assert_eq!(signed, kept(&world, 1), "everybody keeps the same one");
    (world, copy, signed)
}

#[test]
fn the_end_of_the_journal_is_signed_each_minute_and_only_when_it_moved() {
    let mut world = World::new(1);
    world.join(0).unwrap();
    add(&mut world, "bob");
    world.advance(MINUTE_MS);
    let first = kept(&world, 0).peek().unwrap();
    let epoch = wire::Epoch(world.hub.hub_epoch().0);
    assert_eq!(first.head, world.store.head(&AgentId::hub(), epoch));
    world.advance(MINUTE_MS);
    let count = |world: &World| {
        let heard = world.heard.values().flat_map(|heard| &heard.frames);
        heard.filter(|frame| matches!(frame, Frame::Checkpoint(_))).count()
    };
    let sent = count(&world);
    world.advance(MINUTE_MS);
    assert_eq!(count(&world), sent, "nothing is new");
    add(&mut world, "cleo");
    world.advance(MINUTE_MS);
    assert_eq!(count(&world), sent + 1);
    assert!(kept(&world, 0).peek().unwrap().head.seq > first.head.seq);
}

#[test]
fn a_fleet_that_comes_back_to_the_same_hub_finds_nothing() {
    let (mut world, _, signed) = copied();
    add(&mut world, "eve");
    world.restart(true);
    for agent in [0, 1] {
        world.join(agent).unwrap();
        give_back(&mut world, agent, &signed);
    }
    assert_eq!(world.compares.len(), 1, "two agents ask for one look");
    assert_eq!(compare(&mut world), [Held::Same]);
    give_back(&mut world, 0, &signed);
    assert!(world.compares.is_empty(), "known by now");
    assert!(breaks(&world).is_empty());
}

#[test]
fn a_restored_hub_is_found_out_once_and_goes_on_in_a_new_epoch() {
    let (mut world, copy, signed) = copied();
    let before = world.hub.hub_epoch();
    world.restore(copy);
    for agent in [0, 1] {
        world.join(agent).unwrap();
        give_back(&mut world, agent, &signed);
        compare(&mut world);
    }
    let claimed = signed.peek().unwrap().head;
    let [found] = &breaks(&world)[..] else {
        panic!("{:?}", breaks(&world));
    };
    assert_eq!(
        (found.claimed, found.is_cut, found.first_bad),
        (claimed, true, Seq(claimed.seq.0 - 1))
    );
    assert_eq!(found.witness, world.agents[0].id);
    assert!(found.text().contains("restored from an older copy"), "{}", found.text());
    let told = verbs(&world);
    assert_eq!(
        told.iter().filter(|verb| *verb == "audit.contradict").count(),
        1,
        "{told:?}"
    );
    assert!(world.hub.hub_epoch() > before, "commands of the former self are fenced");
    add(&mut world, "eve");
    assert!(
        world
            .store
            .entries
            .contains_key(&(AgentId::hub(), wire::Epoch(world.hub.hub_epoch().0)))
    );
    // The next process knows it, too.
    world.restart(true);
    assert_eq!(breaks(&world).len(), 1);
}

#[test]
fn a_restored_hub_that_has_gone_on_is_found_out_by_the_entry_that_stands_there_now() {
    let (mut world, copy, signed) = copied();
    world.restore(copy);
    for name in ["eve", "fay", "gus"] {
        add(&mut world, name);
    }
    world.join(0).unwrap();
    give_back(&mut world, 0, &signed);
    assert_eq!(compare(&mut world), [Held::Other]);
    let found = breaks(&world).remove(0);
    assert!(
        !found.is_cut && found.text().contains("not the one that was signed"),
        "{}",
        found.text()
    );
}

#[test]
fn a_break_is_accepted_with_a_reason_and_not_forgotten() {
    let (mut world, copy, signed) = copied();
    let accept = |world: &mut World| {
        let caller = Caller::new("ann", Via::Api);
        let reason = "restored after the disk died".to_owned();
        let request = world.request(Request::AcceptBreaks { caller, reason });
        world.settle();
        world.replies[&request][0].clone()
    };
    let told = accept(&mut world);
    assert!(
        matches!(&told, Answer::Rejected { reason } if reason.contains("no break")),
        "{told:?}"
    );
    world.restore(copy);
    world.join(0).unwrap();
    give_back(&mut world, 0, &signed);
    compare(&mut world);
    assert!(matches!(accept(&mut world), Answer::Noted));
    let found = breaks(&world).remove(0);
    let (who, why, _) = found.accepted.expect("accepted");
    assert_eq!((who.as_str(), why.as_str()), ("ann", "restored after the disk died"));
    assert!(verbs(&world).contains(&"audit.accept".to_owned()));
}

#[test]
fn a_word_that_this_hub_did_not_sign_proves_nothing() {
    let (mut world, _, signed) = copied();
    let checkpoint = signed.peek().unwrap();
    let far = Checkpoint {
        head: wire::entry::ChainHead {
            seq: Seq(u64::MAX),
            ..checkpoint.head
        },
        ..checkpoint
    };
    let foreign = SignedCheckpoint::sign(&far, &ed25519_dalek::SigningKey::from_bytes(&[6; 32]));
    let mut forged = signed.clone();
    forged.payload = foreign.payload.clone();
    let epoch = world.hub.hub_epoch();
    for bad in [&foreign, &forged] {
        give_back(&mut world, 0, bad);
        assert!(compare(&mut world).is_empty());
    }
    // A word of the shell that nobody asked for.
    world.tell(Input::Compared {
        head: far.head,
        held: Held::Other,
    });
    assert!(breaks(&world).is_empty());
    assert_eq!(world.hub.hub_epoch(), epoch);
}

#[test]
fn a_hub_without_a_key_signs_nothing_and_believes_nothing() {
    let (mut world, copy, signed) = copied();
    world.settings.checkpoints = Checkpointing::default();
    world.restore(copy);
    let session = world.join(0).unwrap();
    give_back(&mut world, 0, &signed);
    world.advance(MINUTE_MS);
    assert!(world.compares.is_empty());
    assert!(
        !world.heard[&session]
            .frames
            .iter()
            .any(|frame| matches!(frame, Frame::Checkpoint(_)))
    );
}

#[test]
fn a_break_that_the_store_does_not_take_is_found_again() {
    let (mut world, copy, signed) = copied();
    world.restore(copy);
    world.join(0).unwrap();
    give_back(&mut world, 0, &signed);
    let head = world.compares.remove(0);
    let held = Held::Ends(Seq(head.seq.0 - 2));
    world.tell(Input::Compared { head, held });
    world.fail();
    assert!(breaks(&world).is_empty());
    world.advance(MINUTE_MS);
    world.join(0).unwrap();
    give_back(&mut world, 0, &signed);
    assert_eq!(world.compares, [head]);
    compare(&mut world);
    assert_eq!(breaks(&world).len(), 1);
}

#[test]
fn an_empty_store_under_the_same_key_is_found_out() {
    let (mut world, _, signed) = copied();
    world.restore(world::Store::default());
    let settings = world.settings.clone();
    assert!(hub_core::Hub::new(settings, Recovered::default(), world.now).is_ok());
    for what in world::enrol(&world.agents[0].id.clone(), "paris") {
        world.request(what);
    }
    world.settle();
    world.join(0).unwrap();
    give_back(&mut world, 0, &signed);
    compare(&mut world);
    assert_eq!(breaks(&world).len(), 1);
}

//! The hub against a dumb model: whatever happens, what is visible is stored, what is stored is what the agents made, and when
//! everything works again nothing is missing.
//!
//! The judgements of single effects are in `world/mod.rs`; here is the chance, and the end.
#![allow(clippy::unwrap_used)]

mod world;

use proptest::collection::vec;
use proptest::prelude::*;
use wire::entry::{EntryBody, Event};
use wire::frame::{Frame, Order, TelemetryBlock};
use wire::telemetry::Encoder;
use wire::{Now, Seq};

use world::{Store, World};

#[derive(Debug, Clone)]
enum Step {
    Make(usize, usize),
    Greet(usize),
    Join(usize),
    Send(usize, usize),
    /// Sends again what was just sent.
    Repeat(usize, u64),
    Telemetry(usize),
    Status(usize),
    Close(usize),
    NewEpoch(usize),
    NewProcess(usize),
    /// Forgets acknowledged entries.
    Trim(usize),
    Commit,
    Fail,
    Doubt,
    Advance(u64),
    Restart(bool),
    Copy,
    Restore,
    Publish,
    Hold(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let agent = 0usize..3;
    prop_oneof![
        4 => (agent.clone(), 1usize..6).prop_map(|(a, n)| Step::Make(a, n)),
        2 => agent.clone().prop_map(Step::Greet),
        4 => agent.clone().prop_map(Step::Join),
        8 => (agent.clone(), 1usize..8).prop_map(|(a, n)| Step::Send(a, n)),
        1 => (agent.clone(), 1u64..5).prop_map(|(a, n)| Step::Repeat(a, n)),
        2 => agent.clone().prop_map(Step::Telemetry),
        1 => agent.clone().prop_map(Step::Status),
        1 => agent.clone().prop_map(Step::Close),
        1 => agent.clone().prop_map(Step::NewEpoch),
        1 => agent.clone().prop_map(Step::NewProcess),
        1 => agent.clone().prop_map(Step::Trim),
        6 => Just(Step::Commit),
        2 => Just(Step::Fail),
        2 => Just(Step::Doubt),
        2 => (1u64..20_000).prop_map(Step::Advance),
        1 => any::<bool>().prop_map(Step::Restart),
        1 => Just(Step::Copy),
        1 => Just(Step::Restore),
        1 => Just(Step::Publish),
        1 => agent.prop_map(Step::Hold),
    ]
}

fn run(world: &mut World, copy: &mut Store, step: Step) {
    match step {
        Step::Make(a, count) => world.agents[a].make(count),
        Step::Greet(a) => {
            world.greet(a);
        }
        Step::Join(a) => {
            world.join(a);
        }
        Step::Send(a, count) => {
            world.send_next(a, count);
        }
        Step::Repeat(a, back) => {
            let epoch = world.agents[a].epoch();
            let next = world.agents[a].next.get(&epoch).copied().unwrap_or(Seq(1));
            let first = Seq(next.0.saturating_sub(back).max(1));
            let frame = world.agents[a].frame(epoch, first, (next.0 - first.0) as usize);
            if let (Some(session), Some(frame)) = (world.agents[a].session, frame) {
                world.frame(session, frame);
            }
        }
        Step::Telemetry(a) => {
            let agent = &mut world.agents[a];
            agent.blocks += 1;
            let mut encoder = Encoder::new();
            encoder.sample(Now::default());
            let block = TelemetryBlock {
                epoch: agent.epoch(),
                seq: Seq(agent.blocks),
                block: encoder.take_block().unwrap(),
            };
            if let Some(session) = agent.session {
                world.frame(session, Frame::Telemetry(block));
            }
        }
        Step::Status(a) => {
            if let Some(session) = world.agents[a].session {
                let status = world.agents[a].status();
                world.frame(session, Frame::Status(status));
            }
        }
        Step::Close(a) => world.close(a, "cut"),
        Step::NewEpoch(a) => {
            world.close(a, "lost its journal");
            world.agents[a].new_epoch();
        }
        Step::NewProcess(a) => {
            world.close(a, "died");
            world.agents[a].process += 1;
        }
        Step::Trim(a) => {
            world.close(a, "trims");
            let agent = &mut world.agents[a];
            for (epoch, acked) in agent.acked.clone() {
                if acked.0 > 0 {
                    agent.oldest.insert(epoch, acked.next());
                }
            }
        }
        Step::Commit => world.commit(),
        Step::Fail => world.fail(),
        Step::Doubt => world.doubt(),
        Step::Advance(milliseconds) => world.advance(milliseconds),
        Step::Restart(written) => world.restart(written),
        Step::Copy => *copy = world.store.clone(),
        Step::Restore => world.restore(copy.clone()),
        Step::Publish => {
            world.publish(policy::DEMO_BUNDLE);
        }
        Step::Hold(a) => {
            world.order(a, Order::Hold, 30_000, 10_000);
        }
    }
    // What agents learn from acknowledgements.
    for index in 0..world.agents.len() {
        if let Some(session) = world.agents[index].session
            && let Some(acked) = world.heard[&session].acked()
        {
            let agent = &mut world.agents[index];
            let epoch = agent.epoch();
            let head = agent.head().seq;
            let before = agent.acked.get(&epoch).copied().unwrap_or_default();
            if agent.next.contains_key(&epoch) && acked <= head {
                agent.acked.insert(epoch, before.max(acked));
            }
        }
    }
}

/// Everything works again: every agent comes, sends all it has, and the hub has it.
fn heal(world: &mut World) {
    world.advance(60_000);
    world.settle();
    for index in 0..world.agents.len() {
        world.close(index, "heals");
        // An agent may be told to begin a new epoch, or to come again.
        for attempt in 0..8 {
            world.advance(60_000);
            world.settle();
            if world.agents[index].session.is_none() && world.join(index).is_none() {
                assert!(attempt < 7, "{:?}", world.heard.last_key_value());
                continue;
            }
            while world.send_next(index, 5) {}
            world.settle();
            if world.agents[index].session.is_some() {
                break;
            }
        }
        let agent = &world.agents[index];
        assert!(agent.session.is_some(), "{:?}", world.heard.last_key_value());
        // Entries at the end of an epoch that a restored hub lost and the agent had trimmed: nobody has them.
        let mut lost = 0;
        for (epoch, raw) in &agent.epochs {
            lost += raw.len() as u64 - world.store.head(&agent.id, *epoch).seq.0;
            let stored = world.store.entries.get(&(agent.id.clone(), *epoch));
            for entry in raw {
                let kept = entry.seq >= agent.oldest[epoch];
                match stored.and_then(|stored| stored.get(&entry.seq)) {
                    Some(bytes) => assert_eq!(*bytes, entry.bytes),
                    None => assert!(!kept, "{} {epoch} {} is missing", agent.id, entry.seq),
                }
            }
        }
        let view = world.hub.node(&agent.id, world.now).unwrap();
        assert_eq!(view.backlog_entries, lost);
        assert_eq!(view.state.name(), "connected");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn what_is_visible_is_stored_and_nothing_is_lost(steps in vec(step(), 1..120)) {
        let mut world = World::new(3);
        let mut copy = Store::default();
        for step in steps {
            run(&mut world, &mut copy, step);
        }
        heal(&mut world);
        world.advance(600_000);
        world.settle();
        for (request, answers) in &world.replies {
            // A hub that died took its questions with it.
            prop_assert!(answers.len() <= 1, "{} got {:?}", request, answers);
        }
    }

    #[test]
    fn without_crashes_every_request_gets_one_answer(steps in vec(step(), 1..80)) {
        let mut world = World::new(3);
        let mut copy = Store::default();
        for step in steps {
            if !matches!(step, Step::Restart(_) | Step::Restore) {
                run(&mut world, &mut copy, step);
            }
        }
        world.settle();
        world.advance(600_000);
        world.settle();
        for (request, answers) in &world.replies {
            prop_assert_eq!(answers.len(), 1, "{} got {:?}", request, answers);
        }
    }

    #[test]
    fn entries_of_no_kind_are_ever_lost_to_their_content(bodies in vec(any::<u8>(), 0..200)) {
        let mut world = World::new(1);
        world.join(0).unwrap();
        for body in bodies {
            let message = String::from_utf8_lossy(&[body; 3]).into_owned();
            world.agents[0].push(EntryBody::Event(Event::Notified { message }));
            world.send_next(0, 1);
        }
        world.settle();
        prop_assert_eq!(world.store.head(&world.agents[0].id, wire::Epoch(1)), world.agents[0].head());
    }
}

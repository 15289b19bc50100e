//! What becomes of commits that nobody knows of, of agents that send more than they may, and of the hub's time while one node changes.
#![allow(clippy::unwrap_used)]

mod world;

use hub_core::{Answer, Input};
use wire::domains::NodeFacts;
use wire::entry::{EntryBody, Event};
use wire::frame::{Frame, GoodbyeReason, Order};
use wire::{Epoch, Seq};

use world::World;

fn acked(world: &World, index: usize) -> Option<Seq> {
    let session = world.agents[index].session?;
    world.heard[&session].acked()
}

#[test]
fn a_commit_that_nobody_knows_of_is_told_neither_as_stored_nor_as_failed() {
    for is_there in [true, false] {
        let mut world = World::new(2);
        let session = world.join(0).unwrap();
        world.settle();
        world.agents[0].make(3);
        world.send_next(0, 3);
        world.doubt();
        assert_eq!(world.heard[&session].acked(), None);
        assert!(!world.heard[&session].closed, "its agent goes on waiting");
        // More comes, and nothing else is written.
        world.agents[0].make(2);
        world.send_next(0, 2);
        let early = world.greet(1);
        assert_eq!(world.heard[&early].goodbye(), Some(GoodbyeReason::Busy));
        let order = world.order(0, Order::Hold, 30_000, 10_000);
        assert!(matches!(world.replies[&order][..], [Answer::Unavailable { .. }]));
        world.advance(30_000);
        assert_eq!(world.heard[&session].acked(), None);

        if is_there {
            world.settle();
            assert_eq!(acked(&world, 0), Some(Seq(5)));
        } else {
            world.fail();
            assert_eq!(world.heard[&session].goodbye(), Some(GoodbyeReason::Busy));
            world.advance(2_000);
            world.settle();
            world.join(0).unwrap();
            world.send_next(0, 5);
            world.settle();
            assert_eq!(acked(&world, 0), Some(Seq(5)), "it is not locked out");
        }
        world.join(1).unwrap();
    }
}

/// Makes and sends so many entries of 64 KiB; each is stored.
fn pour(world: &mut World, index: usize, entries: usize) {
    for _ in 0..entries {
        let message = "x".repeat(64 * 1024);
        world.agents[index].push(EntryBody::Event(Event::Notified { message }));
        world.send_next(index, 1);
        world.settle();
    }
}

fn findings(world: &World, index: usize) -> Vec<String> {
    world.hub.node(&world.agents[index].id, world.now).unwrap().findings
}

#[test]
fn an_agent_that_floods_waits_for_its_acknowledgements_and_nobody_else_does() {
    let mut world = World::new(2);
    let session = world.join(0).unwrap();
    world.join(1).unwrap();
    world.settle();
    pour(&mut world, 0, 1_000);
    assert_eq!(acked(&world, 0), Some(Seq(1_000)), "the backlog of a whole journal");
    assert_eq!(findings(&world, 0), Vec::<String>::new());
    pour(&mut world, 0, 40);
    let late = acked(&world, 0).unwrap();
    assert!(late < Seq(1_040), "{late}");
    let held = world.store.head(&world.agents[0].id, Epoch(1)).seq;
    assert_eq!(held, Seq(1_040), "it is stored all the same: nothing is dropped");
    assert!(!world.heard[&session].closed, "and its session goes on");
    assert!(
        findings(&world, 0)[0].starts_with("floods"),
        "{:?}",
        findings(&world, 0)
    );
    world.agents[1].make(3);
    world.send_next(1, 3);
    world.settle();
    assert_eq!(acked(&world, 1), Some(Seq(3)));
    assert_eq!(findings(&world, 1), Vec::<String>::new());
    for _ in 0..20 {
        world.advance(1_000);
        world.settle();
    }
    assert_eq!(acked(&world, 0), Some(Seq(1_040)), "in time it hears");
    world.advance(600_000);
    assert_eq!(findings(&world, 0), Vec::<String>::new(), "that is over");
}

#[test]
fn an_agent_that_does_not_wait_is_kept_away_for_as_long_as_it_is_ahead() {
    let mut world = World::new(1);
    let session = world.join(0).unwrap();
    world.settle();
    for _ in 0..1_200 {
        if world.heard[&session].closed {
            break;
        }
        pour(&mut world, 0, 1);
    }
    assert_eq!(world.heard[&session].goodbye(), Some(GoodbyeReason::Busy));
    let held = world.store.head(&world.agents[0].id, Epoch(1)).seq.0;
    assert!(
        (1_080..1_110).contains(&held),
        "68 MiB and a frame: {held} entries of 64 KiB"
    );
    let early = world.greet(0);
    assert_eq!(world.heard[&early].goodbye(), Some(GoodbyeReason::Busy));
    world.advance(30_000);
    world.join(0).unwrap();
}

#[test]
fn whoever_has_more_than_its_share_is_told_that_its_history_is_cut() {
    let mut world = World::new(2);
    for index in 0..2 {
        world.join(index).unwrap();
    }
    world.settle();
    let ids = [0, 1].map(|index: usize| world.agents[index].id.clone());
    world.tell(Input::Pruned {
        owners: vec![(ids[0].clone(), 40, true), (ids[1].clone(), 7, false)],
    });
    world.tell(Input::Pruned {
        owners: vec![(ids[0].clone(), 2, true)],
    });
    let told = findings(&world, 0);
    assert!(told[0].contains("42 of its oldest entries"), "{told:?}");
    assert_eq!(findings(&world, 1), Vec::<String>::new(), "old entries go everywhere");
}

const ONE_OF_A_RACK: &str = "
bundle: test
rules:
  - id: one-of-a-rack
    kind: blast_radius
    domain: rack
    max_concurrent: { n: 1 }
    selector: { kinds: [restart] }
";

/// How many nodes are looked at while one of so many says a hundred times that it is another way now.
fn looks(agents: usize) -> u64 {
    let mut world = World::new(agents);
    world.publish(ONE_OF_A_RACK);
    world.settle();
    let say = |world: &mut World, index: usize, rack: &str, is_well: bool| {
        let facts = NodeFacts {
            labels: vec![("rack".to_owned(), rack.to_owned())],
            unhealthy: (!is_well).then(|| "fan".to_owned()),
            ..NodeFacts::default()
        };
        let session = world.agents[index].session.unwrap();
        world.frame(session, Frame::NodeFacts(facts));
        world.settle();
    };
    for index in 0..agents {
        // One after the other: a hub lets only so many in at once.
        world.advance(1_000);
        world.join(index).unwrap();
        say(&mut world, index, "r7", true);
    }
    for _ in 0..200 {
        world.advance(100);
        world.settle();
    }
    let before = world.hub.looks_at_nodes();
    for n in 0..100 {
        say(&mut world, 0, if n % 4 < 2 { "r7" } else { "r8" }, n % 2 == 0);
        world.advance(50);
        world.settle();
    }
    world.hub.looks_at_nodes() - before
}

#[test]
fn a_node_that_changes_costs_the_same_however_many_there_are() {
    let (few, many) = (looks(10), looks(200));
    assert!((90..=300).contains(&few), "{few} looks");
    assert_eq!(few, many);
}

#[test]
fn a_command_that_is_over_leaves_nothing_that_waits_for_its_time() {
    let mut world = World::new(1);
    world.join(0).unwrap();
    world.settle();
    world.advance(20_000);
    world.settle();
    let before = world.hub.timers();
    for _ in 0..50 {
        let day_ms = 24 * 3_600_000;
        world.order(0, Order::Hold, day_ms, 10_000);
        world.settle();
        let (who, reason) = ("ann".to_owned(), "test".to_owned());
        world.agents[0].push(EntryBody::Event(Event::Held { who, reason }));
        world.send_next(0, 1);
        world.settle();
    }
    assert_eq!(world.hub.timers(), before);
}

#[test]
fn a_node_that_changes_all_the_time_leaves_one_time_to_mark_it_again() {
    let mut world = World::new(1);
    world.join(0).unwrap();
    world.settle();
    let caller = wire::change::Caller::new("ann", wire::change::Via::Api);
    let cluster = hub_core::Cluster::new("edge", Some("/etc/kube/edge.yaml".to_owned()));
    let what = hub_core::ClusterRequest::Register(cluster);
    world.request(hub_core::Request::Clusters { caller, what });
    world.settle();
    let say = |world: &mut World, n: u64| {
        let facts = NodeFacts {
            unhealthy: Some(format!("fault {n}")),
            ..NodeFacts::default()
        };
        let session = world.agents[0].session.unwrap();
        world.frame(session, Frame::NodeFacts(facts));
        world.advance(50);
        world.settle();
    };
    (0..20).for_each(|n| say(&mut world, n));
    let before = world.hub.timers();
    // The cluster answers nothing, so the mark is made again and again.
    (20..1_200).for_each(|n| say(&mut world, n));
    assert!(
        world.hub.timers() <= before + 2,
        "{} after {before}",
        world.hub.timers()
    );
}

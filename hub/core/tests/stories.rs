//! Small stories of one hub and a few agents, told step by step; what each must lead to stands beside it.
#![allow(clippy::unwrap_used)]

mod world;

use std::time::Duration;

use hub_core::{AgentRequest, Answer, Change, Input, STOPPED, SessionId};
use wire::api::NodeState;
use wire::entry::{EntryBody, Event};
use wire::frame::{Entries, Frame, GoodbyeReason, Order, TelemetryBlock};
use wire::reading::{DeviceId, Quantity, Reading, Series};
use wire::telemetry::Encoder;
use wire::{Action, ActionKind, CommandId, Epoch, Generation, HubEpoch, Now, Seq, Wall};

use world::{World, of_hub};

fn state(world: &World, index: usize) -> NodeState {
    let agent = &world.agents[index].id;
    world.hub.node(agent, world.now).unwrap().state
}

/// What session `session` of the story was told at its end.
fn check_goodbye(world: &World, session: SessionId, expected: GoodbyeReason) {
    let heard = &world.heard[&session];
    assert_eq!(heard.goodbye(), Some(expected), "{heard:?}");
    assert!(heard.closed);
}

#[test]
fn an_entry_is_acknowledged_when_it_is_durable_and_not_before() {
    let mut world = World::new(1);
    let session = world.join(0).unwrap();
    world.settle();
    world.agents[0].make(3);
    world.send_next(0, 3);
    assert_eq!(world.heard[&session].acked(), None);
    world.commit();
    assert_eq!(world.heard[&session].acked(), Some(Seq(3)));
}

#[test]
fn what_comes_while_the_store_works_is_one_batch_and_one_acknowledgement() {
    let mut world = World::new(1);
    let session = world.join(0).unwrap();
    world.settle();
    world.agents[0].make(20);
    for _ in 0..20 {
        world.send_next(0, 1);
    }
    world.commit();
    world.commit();
    assert!(world.batch.is_none(), "the other 19 were one batch");
    let acks = world.heard[&session].frames.iter();
    assert_eq!(acks.filter(|frame| matches!(frame, Frame::Ack(_))).count(), 2);
    assert_eq!(world.heard[&session].acked(), Some(Seq(20)));
}

#[test]
fn a_store_that_fails_acknowledges_nothing_and_everything_comes_again() {
    let mut world = World::new(2);
    let session = world.join(0).unwrap();
    let other = world.join(1).unwrap();
    world.settle();
    world.agents[0].make(3);
    world.send_next(0, 3);
    world.fail();
    check_goodbye(&world, session, GoodbyeReason::Busy);
    assert!(!world.heard[&other].closed, "nothing of it was in the batch");
    assert!(world.batch.is_none(), "the store is left alone for a while");
    let early = world.greet(0);
    check_goodbye(&world, early, GoodbyeReason::Busy);
    world.advance(2_000);
    world.settle();
    let again = world.join(0).unwrap();
    world.send_next(0, 3);
    world.settle();
    assert_eq!(world.heard[&again].acked(), Some(Seq(3)));
}

#[test]
fn an_agent_whose_entries_contradict_ours_is_told_to_begin_a_new_epoch() {
    let mut world = World::new(1);
    world.join(0).unwrap();
    world.agents[0].make(3);
    world.send_next(0, 3);
    world.settle();
    // Its disk goes back to two entries, and another third one is made.
    let mut copy = world.agents[0].clone();
    copy.epochs.get_mut(&Epoch(1)).unwrap().truncate(2);
    copy.process = 2;
    copy.make(2);
    world.agents[0] = copy;
    let session = world.greet(0);
    world.settle();
    let frame = world.agents[0].frame(Epoch(1), Seq(4), 1).unwrap();
    world.frame(session, frame);
    check_goodbye(&world, session, GoodbyeReason::Diverged);
}

#[test]
fn entries_out_of_order_or_before_the_welcome_break_the_protocol() {
    let mut world = World::new(1);
    world.agents[0].make(5);
    let session = world.open(0);
    let frame = world.agents[0].frame(Epoch(1), Seq(1), 1).unwrap();
    world.frame(session, frame);
    check_goodbye(&world, session, GoodbyeReason::Protocol);
    for (epoch, first) in [(1, 3), (9, 2), (0, 1)] {
        let session = world.join(0).unwrap();
        let raw = vec![world.agents[0].epochs[&Epoch(1)][first as usize - 1].bytes.clone()];
        let entries = Entries {
            epoch: Epoch(epoch),
            first: Seq(first),
            raw,
        };
        world.frame(session, Frame::Entries(entries));
        check_goodbye(&world, session, GoodbyeReason::Protocol);
    }
    let session = world.join(0).unwrap();
    let entries = Entries {
        epoch: Epoch(1),
        first: Seq(1),
        raw: vec![vec![1, 2]],
    };
    world.frame(session, Frame::Entries(entries));
    check_goodbye(&world, session, GoodbyeReason::Protocol);
}

#[test]
fn a_range_that_the_agent_no_longer_has_becomes_a_hole() {
    let mut world = World::new(1);
    world.settle();
    let copy = world.store.clone();
    world.join(0).unwrap();
    world.agents[0].make(6);
    world.send_next(0, 6);
    world.settle();
    world.close(0, "cut");
    world.agents[0].acked.insert(Epoch(1), Seq(6));
    world.agents[0].oldest.insert(Epoch(1), Seq(5));
    world.restore(copy);
    world.join(0).unwrap();
    world.send_next(0, 6);
    world.settle();
    let reported = world.hub.reported(&world.agents[0].id).unwrap();
    let [hole] = reported.holes.as_slice() else {
        panic!("{:?}", reported.holes)
    };
    assert_eq!((hole.epoch, hole.from, hole.to), (Epoch(1), Seq(1), Seq(4)));
    assert_eq!(world.store.head(&world.agents[0].id, Epoch(1)).seq, Seq(6));
}

#[test]
fn the_newest_session_of_an_identity_counts() {
    let mut world = World::new(1);
    let first = world.join(0).unwrap();
    let second = world.join(0).unwrap();
    check_goodbye(&world, first, GoodbyeReason::Replaced);
    assert!(!world.heard[&second].closed);
    assert_eq!(world.hub.connected(), 1);
}

#[test]
fn two_processes_that_take_turns_are_quarantined_until_a_person_decides() {
    let mut world = World::new(1);
    let first = world.join(0).unwrap();
    world.agents[0].process = 2;
    let second = world.join(0).unwrap();
    check_goodbye(&world, first, GoodbyeReason::Replaced);
    world.agents[0].process = 1;
    let third = world.greet(0);
    check_goodbye(&world, second, GoodbyeReason::Cloned);
    check_goodbye(&world, third, GoodbyeReason::Cloned);
    world.settle();
    world.restart(false);
    let fourth = world.open(0);
    check_goodbye(&world, fourth, GoodbyeReason::Cloned);
    let view = world.hub.node(&world.agents[0].id, world.now).unwrap();
    assert!(view.quarantined.unwrap().contains("two processes"));
    let agent = world.agents[0].id.clone();
    let reason = "the copy is gone".to_owned();
    world.request(of_hub(AgentRequest::Allow { agent, reason }));
    assert!(world.join(0).is_some());
}

#[test]
fn an_agent_that_restarts_is_no_clone() {
    let mut world = World::new(1);
    for process in 1..10 {
        world.agents[0].process = process;
        assert!(world.join(0).is_some());
        world.advance(2_000);
    }
}

#[test]
fn a_denied_identity_is_cut_at_once_and_not_let_in() {
    let mut world = World::new(1);
    let session = world.join(0).unwrap();
    let agent = world.agents[0].id.clone();
    let reason = "stolen".to_owned();
    world.request(of_hub(AgentRequest::Deny { agent, reason }));
    check_goodbye(&world, session, GoodbyeReason::Denied);
    assert_eq!(state(&world, 0), NodeState::Down);
    let again = world.open(0);
    check_goodbye(&world, again, GoodbyeReason::Denied);
}

#[test]
fn versions_without_a_common_one_part() {
    for (oldest, newest, expected) in [(1, 1, None), (1, 9, None), (2, 9, Some(GoodbyeReason::Version))] {
        let mut world = World::new(1);
        world.settle();
        let session = world.open(0);
        let mut hello = world.agents[0].hello();
        hello.oldest_version = oldest;
        hello.version = newest;
        world.frame(session, Frame::Hello(hello));
        world.settle();
        assert_eq!(world.heard[&session].goodbye(), expected);
        let version = world.heard[&session].welcome().map(|welcome| welcome.version);
        assert_eq!(version, expected.is_none().then_some(1));
    }
}

#[test]
fn a_session_that_says_nothing_is_ended() {
    let mut world = World::new(1);
    world.settle();
    let session = world.open(0);
    world.advance(9_000);
    assert!(!world.heard[&session].closed);
    world.advance(2_000);
    check_goodbye(&world, session, GoodbyeReason::Protocol);
}

#[test]
fn a_crowd_gets_slots_and_comes_in_one_after_the_other() {
    let mut world = World::new(200);
    world.settle();
    let sessions: Vec<SessionId> = (0..200).map(|index| world.greet(index)).collect();
    let turned_away = sessions
        .iter()
        .filter(|id| world.heard[id].goodbye() == Some(GoodbyeReason::Busy));
    assert!(
        turned_away.count() > 50,
        "64 at once, and some more as those are welcomed"
    );
    for round in 0..20 {
        world.advance(500);
        for index in 0..200 {
            if world.agents[index].session.is_none() {
                world.join(index);
            }
        }
        if world.hub.connected() == 200 {
            assert!(round < 8);
            return;
        }
    }
    panic!("only {} are connected", world.hub.connected());
}

#[test]
fn a_restored_hub_raises_its_epoch_once_and_takes_the_newer_bundle_back() {
    let mut world = World::new(3);
    world.settle();
    let copy = world.store.clone();
    for index in 0..3 {
        world.join(index).unwrap();
        world.agents[index].make(2);
        world.send_next(index, 2);
    }
    world.publish(policy::DEMO_BUNDLE);
    world.settle();
    assert_eq!(world.hub.hub_epoch(), HubEpoch(10));
    assert_eq!(world.agents[2].floor, Generation(1));
    world.restore(copy);
    assert_eq!(world.hub.next_generation(), Generation(1));
    for index in 0..3 {
        let acked = world.agents[index].head().seq;
        world.agents[index].acked.insert(Epoch(1), acked);
        world.join(index).unwrap();
        assert_eq!(world.hub.hub_epoch(), HubEpoch(11), "once is enough");
    }
    world.settle();
    let policy = world.hub.policy(world.now).unwrap();
    assert_eq!(
        (policy.generation, policy.nodes, policy.nodes_total),
        (Generation(1), 3, 3)
    );
    assert_eq!(world.hub.next_generation(), Generation(2));
    let answers = world.publish(policy::DEMO_STRICT_BUNDLE);
    world.settle();
    let [Answer::Published { bundle, nodes_total: 3 }] = world.replies[&answers].as_slice() else {
        panic!("{:?}", world.replies[&answers])
    };
    assert_eq!(bundle.generation, Generation(2));
}

#[test]
fn a_bundle_with_the_number_of_another_one_is_published_again_above_both() {
    let mut world = World::new(2);
    world.settle();
    let copy = world.store.clone();
    world.join(0).unwrap();
    world.publish(policy::DEMO_BUNDLE);
    world.settle();
    world.restore(copy);
    world.publish(policy::DEMO_STRICT_BUNDLE);
    world.settle();
    world.join(0).unwrap();
    world.settle();
    let policy = world.hub.policy(world.now).unwrap();
    assert_eq!(policy.generation, Generation(2));
    assert_eq!(policy.text, policy::DEMO_STRICT_BUNDLE);
    assert_eq!(world.agents[0].floor, Generation(2));
}

#[test]
fn a_text_that_is_no_bundle_is_answered_with_its_problems() {
    let mut world = World::new(1);
    let request = world.publish("rules: 7");
    assert!(matches!(world.replies[&request].as_slice(), [Answer::Invalid { .. }]));
    assert_eq!(world.hub.next_generation(), Generation(1));
}

#[test]
fn a_bundle_is_sent_when_it_is_durable_and_to_whoever_comes_later() {
    let mut world = World::new(2);
    let early = world.join(0).unwrap();
    world.settle();
    let request = world.publish(policy::DEMO_BUNDLE);
    assert_eq!(world.heard[&early].bundles(), 0);
    world.fail();
    assert!(matches!(
        world.replies[&request].as_slice(),
        [Answer::Unavailable { .. }]
    ));
    world.advance(2_000);
    world.settle();
    world.publish(policy::DEMO_BUNDLE);
    world.settle();
    assert_eq!(world.heard[&early].bundles(), 1);
    let late = world.join(1).unwrap();
    assert_eq!(world.heard[&late].bundles(), 1);
    let again = world.join(1).unwrap();
    assert_eq!(world.heard[&again].bundles(), 0, "it has it");
}

fn restart_of(target: &str) -> Order {
    Order::Act(Action {
        target: DeviceId::new(target).unwrap(),
        kind: ActionKind::Restart,
    })
}

#[test]
fn an_order_that_the_rules_deny_is_not_sent() {
    let mut world = World::new(1);
    let session = world.join(0).unwrap();
    world.publish(policy::DEMO_BUNDLE);
    world.settle();
    let request = world.order(0, restart_of("gpu0"), 60_000, 30_000);
    let [Answer::Vetoed { judgement }] = world.replies[&request].as_slice() else {
        panic!("{:?}", world.replies[&request])
    };
    assert!(!judgement.verdict.runs());
    world.settle();
    assert!(world.heard[&session].commands().is_empty());
}

#[test]
fn a_command_waits_for_its_agent_and_is_sent_with_what_is_left_of_its_time() {
    let mut world = World::new(1);
    world.settle();
    let request = world.order(0, Order::Hold, 60_000, 30_000);
    world.settle();
    world.advance(10_000);
    let session = world.join(0).unwrap();
    let left: Vec<u64> = world.heard[&session]
        .commands()
        .iter()
        .map(|c| c.valid_for_ms)
        .collect();
    assert_eq!(left, [50_000]);
    world.restart(false);
    world.advance(5_000);
    let again = world.join(0).unwrap();
    assert_eq!(world.heard[&again].commands().len(), 1, "nothing was heard of it");
    let held = Event::Held {
        who: "ann".to_owned(),
        reason: "test".to_owned(),
    };
    world.agents[0].push(EntryBody::Event(held));
    world.send_next(0, 1);
    world.settle();
    let third = world.join(0).unwrap();
    assert!(world.heard[&third].commands().is_empty(), "it was heard of");
    assert!(world.replies[&request].is_empty(), "the hub that was asked is gone");
    assert!(world.store.commands.is_empty());
}

fn command_of(request: u64) -> CommandId {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&request.to_le_bytes());
    CommandId(id)
}

#[test]
fn a_command_for_a_node_that_is_away_is_told_to_wait_once_it_is_durable() {
    let mut world = World::new(1);
    world.join(0).unwrap();
    world.settle();
    world.close(0, "cut");
    let hold = world.order(0, Order::Hold, 3_600_000, 0);
    assert!(
        world.replies.get(&hold).is_none_or(Vec::is_empty),
        "it is not durable yet"
    );
    world.settle();
    let Some([Answer::Waiting { left, .. }]) = world.replies.get(&hold).map(Vec::as_slice) else {
        panic!("{:?}", world.replies.get(&hold));
    };
    assert!(*left > Duration::from_secs(3_500), "{left:?}");
    // Whoever comes later waits for the same command, and hears what became of it.
    let wait = Duration::from_secs(60);
    let later = world.request(hub_core::Request::Await {
        id: command_of(hold),
        wait,
    });
    let session = world.join(0).unwrap();
    world.settle();
    assert_eq!(world.heard[&session].commands().len(), 1);
    let (who, reason) = ("ann".to_owned(), "test".to_owned());
    world.agents[0].push(EntryBody::Event(Event::Held { who, reason }));
    world.send_next(0, 1);
    world.settle();
    assert!(matches!(world.replies[&later].as_slice(), [Answer::Done { .. }]));
    let over = world.request(hub_core::Request::Await {
        id: command_of(hold),
        wait,
    });
    assert!(matches!(world.replies[&over].as_slice(), [Answer::UnknownCommand]));
}

#[test]
fn a_command_that_is_called_off_is_not_sent_and_says_whether_it_ever_was() {
    let mut world = World::new(1);
    world.join(0).unwrap();
    world.settle();
    let cancel = |world: &mut World, order: u64| {
        let caller = wire::change::Caller::new("bob", wire::change::Via::Api);
        let reason = "not needed".to_owned();
        let request = world.request(hub_core::Request::Cancel {
            caller,
            id: command_of(order),
            reason,
        });
        world.settle();
        world.replies[&request].clone()
    };
    let sent = world.order(0, Order::Hold, 3_600_000, 30_000);
    world.settle();
    assert!(matches!(
        cancel(&mut world, sent).as_slice(),
        [Answer::Cancelled { sent: true, .. }]
    ));
    assert!(
        matches!(world.replies[&sent].as_slice(), [Answer::Refused { .. }]),
        "whoever waited is told"
    );
    world.close(0, "cut");
    let unsent = world.order(0, Order::Hold, 3_600_000, 0);
    world.settle();
    assert!(matches!(
        cancel(&mut world, unsent).as_slice(),
        [Answer::Cancelled { sent: false, .. }]
    ));
    assert!(matches!(
        cancel(&mut world, unsent).as_slice(),
        [Answer::UnknownCommand]
    ));
    let session = world.join(0).unwrap();
    world.settle();
    assert!(world.heard[&session].commands().is_empty(), "none of them is sent now");
    assert!(world.store.commands.is_empty());
}

#[test]
fn every_end_of_a_command_is_one_answer() {
    let ask = |world: &mut World| {
        let request = world.order(0, Order::Hold, 60_000, 30_000);
        world.settle();
        request
    };
    let id = |request: u64| {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&request.to_le_bytes());
        CommandId(id)
    };
    let hear = |world: &mut World, event| {
        world.agents[0].push(EntryBody::Event(event));
        world.send_next(0, 1);
        world.settle();
    };
    let mut world = World::new(1);
    world.join(0).unwrap();
    let held = ask(&mut world);
    let (who, reason) = ("ann".to_owned(), "test".to_owned());
    hear(&mut world, Event::Held { who, reason });
    assert!(matches!(
        world.replies[&held].as_slice(),
        [Answer::Done { decision: None, .. }]
    ));
    let refused = ask(&mut world);
    let reason = "fenced".to_owned();
    hear(
        &mut world,
        Event::CommandRefused {
            id: id(refused),
            reason,
        },
    );
    assert!(matches!(world.replies[&refused].as_slice(), [Answer::Refused { .. }]));
    let waiting = ask(&mut world);
    world.advance(31_000);
    assert!(matches!(
        world.replies[&waiting].as_slice(),
        [Answer::Waiting { decision: None, .. }]
    ));
    assert_eq!(world.store.commands.len(), 1, "it is still valid");
    world.advance(30_000);
    world.settle();
    assert!(world.store.commands.is_empty(), "it is no longer valid");
    world.close(0, "cut");
    let unreached = world.order(0, Order::Hold, 5_000, 30_000);
    world.settle();
    world.advance(6_000);
    assert!(matches!(world.replies[&unreached].as_slice(), [Answer::Refused { .. }]));
    let unknown = world.request(hub_core::Request::Order {
        id: id(99),
        agent: wire::AgentId::new("nobody").unwrap(),
        caller: wire::change::Caller::new("ann", wire::change::Via::Api),
        reason: String::new(),
        what: Order::Hold,
        valid_for: std::time::Duration::from_secs(1),
        wait: std::time::Duration::from_secs(1),
    });
    assert!(matches!(world.replies[&unknown].as_slice(), [Answer::UnknownAgent]));
    world.settle();
    for answers in world.replies.values() {
        assert_eq!(answers.len(), 1);
    }
}

#[test]
fn a_command_that_is_over_leaves_no_timer_behind() {
    let mut world = World::new(1);
    world.join(0).unwrap();
    world.advance(15_000);
    let before = world.hub.poll_timeout(world.now);
    let asked = world.order(0, Order::Hold, 9_000, 4_000);
    world.settle();
    assert_eq!(world.hub.poll_timeout(world.now), Some(Duration::from_secs(4)));
    let (who, reason) = ("ann".to_owned(), "test".to_owned());
    world.agents[0].push(EntryBody::Event(Event::Held { who, reason }));
    world.send_next(0, 1);
    world.settle();
    assert!(matches!(world.replies[&asked].as_slice(), [Answer::Done { .. }]));
    assert_eq!(world.hub.poll_timeout(world.now), before);
}

#[test]
fn however_often_a_node_comes_and_goes_watchers_hear_of_the_policy_at_a_measured_pace() {
    let mut world = World::new(1);
    world.publish(policy::DEMO_BUNDLE);
    world.settle();
    world.changes.clear();
    for _ in 0..20 {
        world.join(0).unwrap();
        world.close(0, "cut");
        world.advance(50);
    }
    let told = world.changes.iter().filter(|change| **change == Change::Policy).count();
    assert!((2..=6).contains(&told), "told {told} times in a second");
    world.advance(1_000);
    world.changes.clear();
    world.advance(1_000);
    assert!(!world.changes.contains(&Change::Policy), "and no more when it is quiet");
}

#[test]
fn what_break_glass_could_lift_is_for_the_agent_to_say() {
    let frozen = "bundle: frozen\npermits: [{ kinds: [restart], targets: [workload] }]\nrules:\n  - { id: sale, kind: change_freeze, \
                  selector: { kinds: [restart] }, on_violation: deny, spans: [{ local_start: 1970-01-01, local_end: 2999-01-01 }] }\n";
    let mut world = World::new(1);
    let session = world.join(0).unwrap();
    world.publish(frozen);
    world.settle();
    let frozen = world.order(0, restart_of("workload:train"), 60_000, 30_000);
    let never = world.order(0, restart_of("gpu0"), 60_000, 30_000);
    world.settle();
    assert!(world.replies[&frozen].is_empty(), "a token may be open there");
    assert!(matches!(world.replies[&never].as_slice(), [Answer::Vetoed { .. }]));
    assert_eq!(world.heard[&session].commands().len(), 1);
}

#[test]
fn a_break_glass_token_is_sent_as_it_is_and_its_opening_is_heard() {
    let payload = wire::BreakGlassPayload {
        number: 7,
        trust_domain: "test".to_owned(),
        nodes: Vec::new(),
        targets: Vec::new(),
        kinds: vec!["restart".to_owned()],
        open_for_ms: 60_000,
        issued_at: wire::Wall(0),
        reason: "fire".to_owned(),
    };
    let token = wire::BreakGlass {
        payload: wire::codec::encode(&payload),
        signatures: Vec::new(),
    };
    let mut world = World::new(1);
    let session = world.join(0).unwrap();
    let request = world.order(0, Order::BreakGlass(token.clone()), 60_000, 30_000);
    world.settle();
    let sent: Vec<Order> = world.heard[&session]
        .commands()
        .iter()
        .map(|c| c.what.clone())
        .collect();
    assert_eq!(
        sent,
        [Order::BreakGlass(token)],
        "whose signatures count is for the node to say"
    );
    let mut hear = |number| {
        let opened = Event::BreakGlassOpened {
            number,
            approvers: vec!["key a".to_owned(), "key b".to_owned()],
            kinds: payload.kinds.clone(),
            targets: Vec::new(),
            left_ms: 60_000,
            reason: "fire".to_owned(),
        };
        world.agents[0].push(EntryBody::Event(opened));
        world.send_next(0, 1);
        world.settle();
        world.replies[&request].len()
    };
    assert_eq!(hear(6), 0, "another one");
    assert_eq!(hear(7), 1);
    assert!(matches!(
        world.replies[&request].as_slice(),
        [Answer::Done { decision: None, .. }]
    ));
    assert!(world.store.commands.is_empty());
}

#[test]
fn four_words_for_a_node() {
    let mut world = World::new(1);
    world.settle();
    assert_eq!(state(&world, 0), NodeState::Unknown, "never heard");
    world.join(0).unwrap();
    assert_eq!(state(&world, 0), NodeState::Connected);
    world.close(0, "idle timeout");
    assert_eq!(state(&world, 0), NodeState::WorkingAlone);
    world.settle();
    world.restart(true);
    assert_eq!(
        state(&world, 0),
        NodeState::WorkingAlone,
        "also after a restart of the hub"
    );
    world.advance(40 * 86_400_000);
    world.join(0).unwrap();
    world.close(0, STOPPED);
    assert_eq!(state(&world, 0), NodeState::Down);
    world.join(0).unwrap();
    assert_eq!(state(&world, 0), NodeState::Connected);
}

#[test]
fn authority_that_has_run_out_makes_a_lonely_node_unknown() {
    let mut world = World::new(1);
    world.publish(policy::DEMO_BUNDLE);
    world.settle();
    let session = world.join(0).unwrap();
    // It says that it has it.
    let status = world.agents[0].status();
    world.frame(session, Frame::Status(status));
    world.close(0, "cut");
    for (days, expected) in [
        (1, NodeState::WorkingAlone),
        (20, NodeState::WorkingAlone),
        (20, NodeState::Unknown),
    ] {
        world.advance(days * 86_400_000);
        assert_eq!(state(&world, 0), expected);
    }
}

#[test]
fn a_hub_that_stops_says_so_and_gives_everyone_another_slot() {
    let mut world = World::new(20);
    let sessions: Vec<SessionId> = (0..20).map(|index| world.join(index).unwrap()).collect();
    world.tell(Input::Stop);
    world.settle();
    assert!(world.hub.is_settled());
    let mut slots = std::collections::BTreeSet::new();
    for session in sessions {
        check_goodbye(&world, session, GoodbyeReason::Stopping);
        let goodbye = world.heard[&session].frames.last();
        if let Some(Frame::Goodbye(goodbye)) = goodbye {
            slots.insert(goodbye.retry_after_ms);
        }
    }
    assert!(slots.len() > 10, "{slots:?}");
}

#[test]
fn samples_are_shown_when_they_are_durable() {
    let mut world = World::new(1);
    let session = world.join(0).unwrap();
    let mut encoder = Encoder::new();
    let temperature = || Series::new(DeviceId::gpu(0), Quantity::GpuTemperature);
    for second in 1..=3u64 {
        encoder.observe(&[
            Reading {
                series: temperature(),
                value: Some(50_000 + 100 * second as i64),
            },
            Reading {
                series: Series::new(DeviceId::node(), Quantity::Load1),
                value: Some(7),
            },
        ]);
        encoder.sample(Now {
            mono: wire::Mono(second),
            wall: Wall(second as i64 * 1_000),
        });
        let block = TelemetryBlock {
            epoch: Epoch(1),
            seq: Seq(second),
            block: encoder.take_block().unwrap(),
        };
        world.frame(session, Frame::Telemetry(block));
    }
    assert!(
        !world
            .changes
            .iter()
            .any(|change| matches!(change, Change::Samples { .. })),
        "not durable yet"
    );
    world.settle();
    let shown: Vec<(i64, Option<i64>)> = world
        .changes
        .iter()
        .filter_map(|change| match change {
            Change::Samples { samples, .. } => Some(samples),
            _ => None,
        })
        .flatten()
        .flat_map(|(at, values)| values.iter().map(|(_, value)| (*at, *value)))
        .collect();
    assert_eq!(
        shown,
        [(1_000, Some(50_100)), (2_000, Some(50_200)), (3_000, Some(50_300))]
    );
    let agent = world.agents[0].id.clone();
    let latest = world.hub.latest_telemetry(&agent).unwrap();
    assert_eq!(latest.values[0], (temperature(), Some(50_300)));
}

//! Whose turn it is: stories of racks, and a model fleet in which at no time more nodes act than the rule allows.
#![allow(clippy::unwrap_used)]

mod world;

use std::collections::BTreeSet;

use proptest::prelude::*;
use wire::action::RiskClass;
use wire::api::DomainView;
use wire::domains::{Ask, FleetFacts, NodeFacts, Opened};
use wire::frame::Frame;
use wire::{Epoch, Seq};

use world::World;

const ONE_OF_A_RACK: &str = "
bundle: test
rules:
  - id: one-of-a-rack
    kind: blast_radius
    domain: rack
    max_concurrent: { n: 1 }
    selector: { kinds: [restart] }
";

fn bundle(n: usize) -> String {
    ONE_OF_A_RACK.replace("n: 1", &format!("n: {n}"))
}

/// A fleet of one rack, connected, healthy, with the bundle.
fn rack(agents: usize, text: &str) -> World {
    let mut world = World::new(agents);
    world.publish(text);
    world.settle();
    for index in 0..agents {
        world.join(index).unwrap();
        say(&mut world, index, &healthy());
    }
    wait(&mut world, 3_000);
    world
}

fn healthy() -> NodeFacts {
    NodeFacts {
        labels: vec![("rack".to_owned(), "r7".to_owned())],
        ..NodeFacts::default()
    }
}

fn asks(seq: u64) -> NodeFacts {
    let decision = (Epoch(1), Seq(seq));
    NodeFacts {
        asks: Some(Ask {
            decision,
            rules: vec!["one-of-a-rack".to_owned()],
            class: RiskClass::Low,
        }),
        ..healthy()
    }
}

fn acts() -> NodeFacts {
    NodeFacts { acting: 1, ..healthy() }
}

fn say(world: &mut World, index: usize, facts: &NodeFacts) {
    if let Some(session) = world.agents[index].session {
        world.frame(session, Frame::NodeFacts(facts.clone()));
        world.settle();
    }
}

fn wait(world: &mut World, milliseconds: u64) {
    for _ in 0..milliseconds.div_ceil(100) {
        world.advance(100);
        world.settle();
    }
}

fn heard(world: &World, index: usize) -> Option<&FleetFacts> {
    let session = world.agents[index].session?;
    let frames = world.heard[&session].frames.iter().rev();
    frames.into_iter().find_map(|frame| match frame {
        Frame::FleetFacts(facts) => Some(facts),
        _ => None,
    })
}

fn turn(world: &World, index: usize) -> Option<u64> {
    heard(world, index)?.turn.map(|(_, seq)| seq.0)
}

fn number(world: &World, index: usize, name: &str) -> Option<i64> {
    let values = &heard(world, index)?.values;
    values.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
}

#[test]
fn turns_come_one_after_the_other_in_the_order_of_asking() {
    let mut world = rack(3, ONE_OF_A_RACK);
    assert_eq!(number(&world, 0, "rack.members"), Some(3));
    assert_eq!(number(&world, 0, "rack.unhealthy"), Some(0));
    say(&mut world, 2, &asks(7));
    say(&mut world, 0, &asks(9));
    wait(&mut world, 100);
    assert_eq!((turn(&world, 2), turn(&world, 0)), (Some(7), None));

    // It acts, and then is done.
    say(&mut world, 2, &acts());
    wait(&mut world, 2_100);
    assert_eq!(turn(&world, 0), None);
    assert_eq!(number(&world, 0, "rack.in_flight"), Some(1));
    let [view] = &world.hub.domains(world.now)[..] else {
        panic!("one rack")
    };
    let DomainView { turns, waiting, .. } = view;
    assert_eq!((turns.len(), turns[0].acts, waiting.len()), (1, true, 1));
    say(&mut world, 2, &healthy());
    wait(&mut world, 100);
    assert_eq!(turn(&world, 0), Some(9));
    // Withdrawn: it is nobody's turn.
    say(&mut world, 0, &healthy());
    wait(&mut world, 2_100);
    assert_eq!(turn(&world, 0), None);
    assert_eq!(world.hub.domains(world.now)[0].in_flight, 0);
}

#[test]
fn a_member_that_is_sick_or_away_leaves_less_room() {
    let mut world = rack(3, &bundle(2));
    let sick = NodeFacts {
        unhealthy: Some("the GPU probe does not answer".to_owned()),
        ..healthy()
    };
    say(&mut world, 0, &sick);
    world.close(1, "lost");
    let mut risky = asks(1);
    risky.asks.as_mut().unwrap().class = RiskClass::Medium;
    say(&mut world, 2, &risky);
    wait(&mut world, 2_100);
    assert_eq!(turn(&world, 2), None);
    assert_eq!(number(&world, 2, "rack.unhealthy"), Some(2));
    assert_eq!(number(&world, 2, "rack.newly_faulty"), Some(2));
    // The breaker: two of three are newly faulty, so being healthy again is not enough before they are.
    say(&mut world, 0, &healthy());
    wait(&mut world, 100);
    assert_eq!(turn(&world, 2), None, "a third is newly faulty");
    say(&mut world, 2, &asks(1));
    wait(&mut world, 100);
    assert_eq!(turn(&world, 2), Some(1), "the breaker is no matter of small changes");
    say(&mut world, 2, &healthy());
    risky.asks.as_mut().unwrap().decision.1 = Seq(2);
    say(&mut world, 2, &risky);
    wait(&mut world, 301_000);
    assert_eq!(turn(&world, 2), Some(2), "one is away, and there is room for one more");
}

#[test]
fn a_turn_outlives_the_session_and_a_new_hub_counts_whoever_has_not_said() {
    let mut world = rack(2, ONE_OF_A_RACK);
    say(&mut world, 0, &asks(1));
    wait(&mut world, 100);
    assert_eq!(turn(&world, 0), Some(1));
    world.close(0, "stopping");
    say(&mut world, 1, &asks(2));
    wait(&mut world, 3_000);
    assert_eq!(turn(&world, 1), None, "its turn, and it is away");
    world.join(0).unwrap();
    wait(&mut world, 3_000);
    assert_eq!(turn(&world, 1), None, "it has not said that it is done");
    say(&mut world, 0, &healthy());
    wait(&mut world, 100);
    assert_eq!(turn(&world, 1), Some(2));

    // The labels are in the store: who does not come back is missed.
    world.restart(true);
    world.settle();
    world.join(1).unwrap();
    say(&mut world, 1, &asks(3));
    wait(&mut world, 3_000);
    assert_eq!(turn(&world, 1), None);
    assert_eq!(number(&world, 1, "rack.members"), Some(2));
    world.join(0).unwrap();
    wait(&mut world, 3_000);
    assert_eq!(turn(&world, 1), None, "it may be acting");
    say(&mut world, 0, &healthy());
    wait(&mut world, 100);
    assert_eq!(turn(&world, 1), Some(3));
}

#[test]
fn a_window_is_counted_over_the_whole_domain() {
    let text = format!("{ONE_OF_A_RACK}    max_per_window: {{ n: 1, window: 10 min }}\n");
    let mut world = rack(2, &text);
    say(&mut world, 0, &asks(1));
    wait(&mut world, 100);
    say(&mut world, 0, &acts());
    say(&mut world, 0, &healthy());
    say(&mut world, 1, &asks(2));
    wait(&mut world, 500_000);
    assert_eq!(turn(&world, 1), None);
    say(&mut world, 1, &asks(3));
    wait(&mut world, 110_000);
    assert_eq!(turn(&world, 1), Some(3));
}

#[test]
fn who_waits_for_a_window_has_its_turn_when_it_has_slid() {
    let text = format!("{ONE_OF_A_RACK}    max_per_window: {{ n: 1, window: 10 min }}\n");
    let mut world = rack(2, &text);
    say(&mut world, 0, &asks(1));
    wait(&mut world, 100);
    say(&mut world, 0, &healthy());
    say(&mut world, 1, &asks(2));
    wait(&mut world, 599_000);
    assert_eq!(turn(&world, 1), None);
    wait(&mut world, 1_500);
    assert_eq!(turn(&world, 1), Some(2), "nobody said anything meanwhile");
}

#[test]
fn a_turn_that_a_window_counts_is_stored_before_its_node_hears_of_it() {
    let text = format!("{ONE_OF_A_RACK}    max_per_window: {{ n: 1, window: 10 min }}\n");
    let mut world = rack(2, &text);
    let session = world.agents[0].session.unwrap();
    world.frame(session, Frame::NodeFacts(asks(1)));
    for _ in 0..30 {
        world.advance(100);
    }
    assert!(world.store.turns.is_empty());
    assert_eq!(turn(&world, 0), None, "the store is slow");
    assert!(world.hub.domains(world.now)[0].turns.is_empty());
    // A disk that is full gives no turns, and the node keeps its place.
    world.fail();
    wait(&mut world, 3_000);
    assert_eq!(turn(&world, 0), Some(1));
    assert_eq!(world.store.turns.len(), 1);

    // The next hub knows of it, and of nothing else.
    world.restart(false);
    world.settle();
    for (index, facts) in [(0, healthy()), (1, asks(2))] {
        world.join(index).unwrap();
        say(&mut world, index, &facts);
    }
    wait(&mut world, 590_000);
    assert_eq!(turn(&world, 1), None);
    wait(&mut world, 75_000);
    assert_eq!(turn(&world, 1), Some(2));
}

#[test]
fn rules_of_one_domain_count_their_own_turns() {
    let other = ONE_OF_A_RACK.split_once("rules:\n").unwrap().1;
    let other = other.replace("one-of-a-rack", "other").replace("restart", "drain");
    let window = "    max_per_window: { n: 1, window: 10 min }\n";
    let mut world = rack(
        2,
        &format!("{ONE_OF_A_RACK}{window}{}{window}", other.trim_start_matches('\n')),
    );
    say(&mut world, 0, &asks(1));
    wait(&mut world, 100);
    say(&mut world, 0, &healthy());
    let mut facts = asks(2);
    facts.asks.as_mut().unwrap().rules = vec!["other".to_owned()];
    say(&mut world, 1, &facts);
    wait(&mut world, 100);
    assert_eq!(turn(&world, 1), Some(2));
    // A rule that is gone is forgotten when its window has passed.
    say(&mut world, 1, &healthy());
    world.publish(ONE_OF_A_RACK);
    wait(&mut world, 3_000);
    assert_eq!(world.store.turns.len(), 2);
    wait(&mut world, 600_000);
    say(&mut world, 1, &asks(3));
    wait(&mut world, 3_000);
    assert_eq!(world.store.turns.len(), 0);
}

#[test]
fn who_asks_by_a_rule_that_gives_no_turns_waits() {
    let mut world = rack(2, ONE_OF_A_RACK);
    let mut facts = asks(1);
    facts.asks.as_mut().unwrap().rules.push("unheard-of".to_owned());
    say(&mut world, 0, &facts);
    say(&mut world, 1, &asks(2));
    wait(&mut world, 100);
    assert_eq!(
        (turn(&world, 0), turn(&world, 1)),
        (None, Some(2)),
        "and holds up nobody"
    );
}

#[test]
fn people_see_which_break_glass_token_is_open_and_for_how_long() {
    let mut world = rack(1, ONE_OF_A_RACK);
    let opened = Opened {
        number: 7,
        kinds: vec!["restart".to_owned()],
        targets: Vec::new(),
        left_ms: 60_000,
        approvers: vec!["key a".to_owned(), "key b".to_owned()],
    };
    let facts = NodeFacts {
        opened: Some(opened),
        ..healthy()
    };
    say(&mut world, 0, &facts);
    wait(&mut world, 20_000);
    let seen = |world: &World| world.hub.node(&world.agents[0].id, world.now).unwrap().break_glass;
    assert_eq!(seen(&world).map(|open| (open.number, open.left_ms)), Some((7, 40_000)));
    wait(&mut world, 40_000);
    assert_eq!(seen(&world), None);
}

#[test]
fn too_many_labels_or_rules_break_the_protocol() {
    let mut world = rack(1, ONE_OF_A_RACK);
    let session = world.agents[0].session.unwrap();
    let labels = (0..33).map(|n| (format!("l{n}"), "x".to_owned())).collect();
    say(&mut world, 0, &NodeFacts { labels, ..healthy() });
    assert!(world.heard[&session].closed);

    let session = world.join(0).unwrap();
    let mut facts = asks(1);
    facts.asks.as_mut().unwrap().rules = vec!["one-of-a-rack".to_owned(); 257];
    say(&mut world, 0, &facts);
    assert!(world.heard[&session].closed);

    let session = world.join(0).unwrap();
    let mut facts = asks(1);
    facts.more = vec![facts.asks.clone().unwrap(); 8];
    say(&mut world, 0, &facts);
    assert!(world.heard[&session].closed);
}

const TWO_A_MINUTE: &str = "
bundle: test
rules:
  - { id: two-a-minute, kind: rate_limit, limit: 2, window: 1 min, key: global }
";

/// A node of a cluster, or of none, asks by a rate over nodes.
fn asks_rate(cluster: Option<&str>, seq: u64) -> NodeFacts {
    let mut facts = asks(seq);
    facts
        .labels
        .extend(cluster.map(|name| ("cluster".to_owned(), name.to_owned())));
    facts.asks.as_mut().unwrap().rules = vec!["two-a-minute".to_owned()];
    facts
}

#[test]
fn a_rate_counts_the_turns_of_all_nodes_and_tells_when_there_is_room_again() {
    let mut world = rack(4, TWO_A_MINUTE);
    assert_eq!(number(&world, 0, "rate:two-a-minute.given"), Some(0));
    for n in 0..4 {
        say(&mut world, n, &asks_rate(None, 10 + n as u64));
    }
    wait(&mut world, 100);
    let turns = |world: &World| (0..4).map(|n| turn(world, n)).collect::<Vec<_>>();
    assert_eq!(turns(&world), [Some(10), Some(11), None, None]);
    // Who may do something that stops no work is not touched.
    let [view] = &world.hub.domains(world.now)[..] else {
        panic!("the fleet")
    };
    assert_eq!((view.domain.as_str(), view.members, view.in_flight), ("fleet", 4, 0));
    assert_eq!((view.turns.len(), view.waiting.len(), view.gives_turns), (2, 2, true));
    for n in 0..2 {
        say(&mut world, n, &healthy());
    }
    wait(&mut world, 2_500);
    assert_eq!(number(&world, 2, "rate:two-a-minute.given"), Some(2));
    assert!(number(&world, 2, "rate:two-a-minute.free_in_ms").is_some_and(|ms| (50_000..=60_000).contains(&ms)));
    let view = &world.hub.domains(world.now)[0];
    assert!(view.turns.is_empty());
    let window = &view.windows[0];
    assert_eq!((window.given, window.limit, window.window_ms), (2, 2, 60_000));
    assert!(window.free_in_ms.is_some_and(|ms| ms < 58_000));
    wait(&mut world, 60_000);
    assert_eq!(turns(&world)[2..], [Some(12), Some(13)]);
    say(&mut world, 2, &healthy());
    say(&mut world, 3, &healthy());
    wait(&mut world, 62_000);
    assert_eq!(number(&world, 0, "rate:two-a-minute.given"), Some(0));
}

#[test]
fn a_rate_of_a_cluster_counts_its_nodes_and_those_without_one_together() {
    let mut world = rack(
        4,
        &TWO_A_MINUTE
            .replace("limit: 2", "limit: 1")
            .replace("global", "cluster"),
    );
    for (n, cluster) in [(0, Some("a")), (1, Some("a")), (2, None), (3, None)] {
        say(&mut world, n, &asks_rate(cluster, 10 + n as u64));
    }
    wait(&mut world, 100);
    let turns: Vec<_> = (0..4).map(|n| turn(&world, n)).collect();
    assert_eq!(turns, [Some(10), None, Some(12), None]);
    let names: Vec<_> = world
        .hub
        .domains(world.now)
        .into_iter()
        .map(|view| (view.domain, view.value, view.members))
        .collect();
    assert_eq!(
        names,
        [
            ("cluster".to_owned(), String::new(), 2),
            ("cluster".to_owned(), "a".to_owned(), 2)
        ]
    );
}

#[test]
fn a_wish_by_a_rate_does_not_wait_for_one_that_finds_no_room() {
    let both = format!("{ONE_OF_A_RACK}{}", TWO_A_MINUTE.split_once("rules:\n").unwrap().1);
    let mut world = rack(2, &both);
    say(&mut world, 0, &acts());
    let mut facts = asks(1);
    facts.more = asks_rate(None, 2).asks.into_iter().collect();
    say(&mut world, 1, &facts);
    wait(&mut world, 100);
    assert_eq!(turn(&world, 1), Some(2));
    // It has used this one, and goes on waiting for the other.
    say(&mut world, 1, &asks(1));
    wait(&mut world, 2_100);
    assert_eq!(turn(&world, 1), None);
    say(&mut world, 0, &healthy());
    wait(&mut world, 100);
    assert_eq!(turn(&world, 1), Some(1));
}

#[test]
fn a_rate_that_is_only_tried_out_gives_no_turns() {
    let mut world = rack(1, &TWO_A_MINUTE.replace("limit: 2", "mode: shadow, limit: 2"));
    say(&mut world, 0, &asks_rate(None, 1));
    wait(&mut world, 3_000);
    assert_eq!(turn(&world, 0), None);
    assert!(world.hub.domains(world.now).is_empty());
}

/// A node that keeps the rules of `edge-agent/core/src/domains.rs`.
#[derive(Debug, Clone, Default)]
struct Model {
    ask: Option<u64>,
    acting: bool,
    sick: bool,
}

impl Model {
    fn facts(&self) -> NodeFacts {
        let base = self.ask.map_or_else(healthy, asks);
        NodeFacts {
            acting: u32::from(self.acting),
            unhealthy: self.sick.then(|| "test".to_owned()),
            ..base
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Want(usize),
    Use(usize),
    Done(usize),
    Withdraw(usize),
    Sick(usize),
    Cut(usize),
    Join(usize),
    Say(usize),
    Wait(u64),
    Restart(bool),
}

fn step() -> impl Strategy<Value = Step> {
    let node = || 0..4usize;
    prop_oneof![
        4 => node().prop_map(Step::Want),
        6 => node().prop_map(Step::Use),
        3 => node().prop_map(Step::Done),
        1 => node().prop_map(Step::Withdraw),
        1 => node().prop_map(Step::Sick),
        2 => node().prop_map(Step::Cut),
        3 => node().prop_map(Step::Join),
        6 => node().prop_map(Step::Say),
        4 => (50u64..5_000).prop_map(Step::Wait),
        1 => any::<bool>().prop_map(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    /// Nodes say late what changed, are cut, come back; the hub dies. Whoever acts had its turn, and never more than two do.
    #[test]
    fn never_more_act_than_the_rule_allows(steps in proptest::collection::vec(step(), 1..150)) {
        let mut world = rack(4, &bundle(2));
        let mut models = vec![Model::default(); 4];
        let mut next = 1;
        let mut acted = 0;
        for step in steps {
            match step {
                Step::Want(n) => if models[n].ask.is_none() && !models[n].acting && world.agents[n].session.is_some() {
                    models[n].ask = Some(next);
                    next += 1;
                },
                Step::Use(n) => if models[n].ask.is_some() && turn(&world, n) == models[n].ask {
                    (models[n].ask, models[n].acting) = (None, true);
                    acted += 1;
                },
                Step::Done(n) => models[n].acting = false,
                Step::Withdraw(n) => models[n].ask = None,
                Step::Sick(n) => models[n].sick = !models[n].sick,
                Step::Cut(n) => {
                    world.close(n, "lost");
                    models[n].ask = None;
                }
                Step::Join(n) => if world.agents[n].session.is_none() {
                    let _ = world.join(n);
                },
                Step::Say(n) => say(&mut world, n, &models[n].facts()),
                Step::Wait(ms) => wait(&mut world, ms),
                Step::Restart(written) => {
                    world.restart(written);
                    world.settle();
                    for model in &mut models {
                        model.ask = None;
                    }
                }
            }
            let acting: BTreeSet<usize> = (0..4).filter(|n| models[*n].acting).collect();
            prop_assert!(acting.len() <= 2, "{acting:?}");
        }
        // Healed: everyone who asks has its turn in the end.
        for (n, model) in models.iter_mut().enumerate() {
            *model = Model::default();
            if world.agents[n].session.is_none() {
                prop_assert!(world.join(n).is_some());
            }
            say(&mut world, n, &model.facts());
        }
        wait(&mut world, 302_000);
        for (n, model) in models.iter_mut().enumerate() {
            model.ask = Some(1_000 + n as u64);
            say(&mut world, n, &model.facts());
            wait(&mut world, 200);
            prop_assert_eq!(turn(&world, n), model.ask, "{} acted before", acted);
            say(&mut world, n, &acts());
            say(&mut world, n, &healthy());
        }
    }
}

/// A node that may use its turn for 30 s, and for up to 25 s after its session was lost without its notice.
#[derive(Debug, Clone, Default)]
struct Late {
    ask: Option<u64>,
    session: Option<hub_core::SessionId>,
    heard_at: Option<u64>,
    lost_at: Option<u64>,
}

#[derive(Debug, Clone)]
enum Move {
    Want(usize),
    Use(usize),
    Withdraw(usize),
    Say(usize),
    Cut(usize),
    Join(usize),
    Wait(u64),
    Commit,
    Fail,
    Restart(bool),
}

fn a_move() -> impl Strategy<Value = Move> {
    let node = || 0..4usize;
    prop_oneof![
        6 => node().prop_map(Move::Want),
        8 => node().prop_map(Move::Use),
        1 => node().prop_map(Move::Withdraw),
        8 => node().prop_map(Move::Say),
        1 => node().prop_map(Move::Cut),
        4 => node().prop_map(Move::Join),
        6 => (50u64..3_000).prop_map(Move::Wait),
        2 => (3_000u64..40_000).prop_map(Move::Wait),
        8 => Just(Move::Commit),
        1 => Just(Move::Fail),
        1 => any::<bool>().prop_map(Move::Restart),
    ]
}

const WINDOW_MS: u64 = 60_000;

/// No window holds more than the limit.
fn within(times: &[u64], limit: usize) -> bool {
    let held = |from: &u64| times.iter().filter(|at| (*from..from + WINDOW_MS).contains(at)).count();
    times.iter().all(|from| held(from) <= limit)
}

/// Lets a fleet live through these moves. `ask` makes what a node says when it asks.
/// Returns when each turn was heard of, and when each was used.
fn live(text: &str, ask: impl Fn(usize, u64) -> NodeFacts, moves: Vec<Move>) -> (Vec<u64>, Vec<u64>) {
    let mut world = rack(4, text);
    let mut nodes = vec![Late::default(); 4];
    for (n, node) in nodes.iter_mut().enumerate() {
        node.session = world.agents[n].session;
    }
    let (mut next, mut heard, mut used) = (1, Vec::new(), Vec::new());
    for step in moves {
        match step {
            Move::Want(n) => {
                if nodes[n].ask.is_none() && world.agents[n].session.is_some() {
                    (nodes[n].ask, nodes[n].heard_at) = (Some(next), None);
                    next += 1;
                }
            }
            Move::Use(n) => {
                if nodes[n].heard_at.is_some() && nodes[n].ask.take().is_some() {
                    used.push(world.now.mono.0);
                }
            }
            Move::Withdraw(n) => nodes[n].ask = None,
            Move::Say(n) => {
                if let Some(session) = world.agents[n].session {
                    let facts = nodes[n].ask.map_or_else(healthy, |seq| ask(n, seq));
                    world.frame(session, Frame::NodeFacts(facts));
                }
            }
            Move::Cut(n) => world.close(n, "lost"),
            Move::Join(n) => {
                if world.agents[n].session.is_none() && world.join(n).is_some() {
                    // Nothing of a session outlives it.
                    nodes[n] = Late::default();
                    nodes[n].session = world.agents[n].session;
                }
            }
            Move::Wait(ms) => world.advance(ms),
            Move::Commit => world.commit(),
            Move::Fail => world.fail(),
            Move::Restart(written) => world.restart(written),
        }
        let now = world.now.mono.0;
        for (n, node) in nodes.iter_mut().enumerate() {
            if node.session != world.agents[n].session {
                node.session = None;
                node.lost_at.get_or_insert(now);
            } else if node.ask.is_some() && node.heard_at.is_none() && turn(&world, n) == node.ask {
                node.heard_at = Some(now);
                heard.push(now);
            }
            let is_late = node.heard_at.is_some_and(|at| now > at + 30_000);
            if is_late || node.lost_at.is_some_and(|at| now > at + 25_000) {
                node.ask = None;
            }
        }
    }
    (heard, used)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    /// The disk is slow or full, hubs and sessions die at any point, nodes say late what they did and use a turn when its hub is
    /// gone already.
    #[test]
    fn no_window_holds_more_turns_than_its_limit(moves in proptest::collection::vec(a_move(), 1..250)) {
        let text = format!("{}    max_per_window: {{ n: 2, window: 1 min }}\n", bundle(3));
        let (heard, used) = live(&text, |_, seq| asks(seq), moves);
        prop_assert!(within(&heard, 2), "heard of at {:?}", heard);
        prop_assert!(within(&used, 2), "used at {:?}", used);
    }

    #[test]
    fn no_window_holds_more_of_a_rate_over_all_nodes_than_its_limit(
        key in prop_oneof![Just("global"), Just("site"), Just("cluster")],
        moves in proptest::collection::vec(a_move(), 1..250),
    ) {
        let text = TWO_A_MINUTE.replace("global", key);
        let (heard, used) = live(&text, |_, seq| asks_rate(None, seq), moves);
        prop_assert!(within(&heard, 2), "heard of at {:?}", heard);
        prop_assert!(within(&used, 2), "used at {:?}", used);
    }
}

#[test]
fn what_a_node_finds_is_shown_also_while_it_is_away_and_more_than_it_may_tell_ends_the_session() {
    let mut world = rack(2, &bundle(2));
    let findings = |world: &World, index: usize| world.hub.node(&world.agents[index].id, world.now).unwrap().findings;
    let tell = |world: &mut World, index: usize, list: Vec<String>| {
        let session = world.agents[index].session.unwrap();
        world.frame(session, Frame::Findings(wire::frame::Findings { list }));
        world.settle();
    };
    let hot = vec!["hot-gpu: gpu.temperature of gpu0 is above 80 °C".to_owned()];
    tell(&mut world, 0, hot.clone());
    assert_eq!((findings(&world, 0), findings(&world, 1)), (hot.clone(), Vec::new()));
    world.close(0, "lost");
    assert_eq!(findings(&world, 0), hot);
    let too_long = "x".repeat(wire::frame::MAX_FINDING_BYTES + 1);
    let session = world.agents[1].session.unwrap();
    world.frame(session, Frame::Findings(wire::frame::Findings { list: vec![too_long] }));
    world.settle();
    assert_eq!(findings(&world, 1), Vec::<String>::new());
}

#[test]
fn a_neighbour_that_carries_is_shown_until_it_does_no_more_or_the_session_ends() {
    let mut world = rack(2, &bundle(2));
    let via = |world: &World| world.hub.node(&world.agents[0].id, world.now).unwrap().via;
    let neighbour = world.agents[1].id.clone();
    let tell = |world: &mut World, via: Option<wire::AgentId>| {
        let session = world.agents[0].session.unwrap();
        world.frame(session, Frame::NodePath(wire::frame::NodePath { via }));
        world.settle();
    };
    assert_eq!(via(&world), None);
    tell(&mut world, Some(neighbour.clone()));
    assert_eq!(via(&world), Some(neighbour.clone()));
    tell(&mut world, None);
    assert_eq!(via(&world), None);
    tell(&mut world, Some(neighbour));
    world.close(0, "lost");
    assert_eq!(via(&world), None);
}

#[test]
fn two_neighbours_that_carry_in_a_row_are_shown_and_a_circle_of_words_ends() {
    let mut world = rack(3, &bundle(2));
    let names: Vec<wire::AgentId> = world.agents.iter().map(|agent| agent.id.clone()).collect();
    let path = |world: &World, n: usize| world.hub.node(&names[n], world.now).unwrap().path;
    let tell = |world: &mut World, n: usize, via: Option<usize>| {
        let session = world.agents[n].session.unwrap();
        let via = via.map(|via| names[via].clone());
        world.frame(session, Frame::NodePath(wire::frame::NodePath { via }));
        world.settle();
    };
    tell(&mut world, 0, Some(1));
    assert_eq!(path(&world, 0), [names[1].clone()]);
    tell(&mut world, 1, Some(2));
    assert_eq!(path(&world, 0), [names[1].clone(), names[2].clone()]);
    tell(&mut world, 1, Some(0));
    assert_eq!(
        path(&world, 0).len(),
        2,
        "what nodes say while they move may be a circle"
    );
    tell(&mut world, 0, None);
    assert_eq!(path(&world, 0), []);
}

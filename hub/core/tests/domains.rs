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
    say(&mut world, 1, &asks(4));
    wait(&mut world, 3_000);
    assert_eq!(turn(&world, 1), Some(4));
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

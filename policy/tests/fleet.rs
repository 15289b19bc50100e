//! The sentences in the header of `fleet.rs`.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use policy::{Answer, Bundle, Decider, Fleet, FleetNode, KINDS, Question};
use proptest::collection::vec;
use proptest::prelude::*;
use wire::{Mono, Now, Wall};

const BUNDLE: &str = "bundle: fleet
rules:
  - { id: rack, kind: blast_radius, domain: rack, max_concurrent: { bp: 2000 }, min_healthy: { n: 3 } }
  - { id: cost, kind: cost_ceiling, scope: team, ceiling_micros: 1000000, window: 7 d }
  - { id: slo, kind: slo_burn, sli: web }
  - { id: own, kind: cel, require: 'facts.members > 3 && facts[\"rack.unhealthy\"] < 7' }
  - { id: tried, kind: cel, mode: shadow, require: 'facts.members > 100' }
  - { id: rest, kind: change_freeze, selector: { kinds: [reboot] }, rrule: 'FREQ=WEEKLY;BYDAY=SA,SU' }
";

fn question<'a>(kind: &str, target: &'a str) -> Question<'a> {
    Question {
        kind: KINDS.iter().position(|known| known.name == kind).unwrap(),
        source: 1,
        target,
        amount: None,
        now: Now {
            mono: Mono(1_000),
            wall: Wall(1_795_521_667_000),
        },
    }
}

/// Each node alone, by a decider that was told its facts.
fn one_by_one(names: &[String], facts: &[Vec<Option<i64>>], plan: &[&str]) -> Vec<Answer> {
    let bundle = Arc::new(Bundle::parse(BUNDLE.as_bytes()).unwrap());
    let of_node = |facts: &Vec<Option<i64>>| {
        let mut decider = Decider::new(bundle.clone());
        for (name, value) in names.iter().zip(facts) {
            decider.set_fact(name, *value);
        }
        let answers = plan.iter().map(|kind| decider.ask(&question(kind, "gpu0")));
        answers
            .reduce(|worst, next| if next.verdict > worst.verdict { next } else { worst })
            .unwrap()
    };
    facts.iter().map(of_node).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_node_is_answered_as_if_it_were_asked_alone(
        facts in vec(vec(proptest::option::weighted(0.9, -2i64..60), 24), 1..20),
        single in any::<bool>()
    ) {
        let mut fleet = Fleet::new(&Decider::new(Arc::new(Bundle::parse(BUNDLE.as_bytes()).unwrap())));
        let names = fleet.names().to_vec();
        let plan: &[&str] = if single { &["drain"] } else { &["scale", "drain", "reboot"] };
        let questions: Vec<_> = plan.iter().map(|kind| question(kind, "")).collect();
        let nodes = facts.iter().map(|facts| FleetNode { target: "gpu0", facts });
        let mut found = Vec::new();
        fleet.ask(&questions, nodes, |place, answer| found.push((place, answer)));
        let expected: Vec<_> = one_by_one(&names, &facts, plan).into_iter().enumerate().collect();
        prop_assert_eq!(found, expected);
    }
}

#[test]
fn a_fleet_names_each_number_once() {
    let fleet = Fleet::new(&Decider::new(Arc::new(Bundle::parse(BUNDLE.as_bytes()).unwrap())));
    let names = fleet.names();
    assert!(names.contains(&"rack.unhealthy".to_owned()) && names.contains(&"members".to_owned()));
    assert_eq!(names.iter().filter(|name| *name == "rack.unhealthy").count(), 1);
    assert!(names.len() <= 24);
}

//! A rollout begins with one usual node, and reaches all of them spread over failure domains.
#![allow(clippy::unwrap_used)]

use policy::canary::{Candidate, clean_nodes_for, failure_bound, plan_steps, rule_of_three};
use proptest::prelude::*;

fn node(name: usize, domain: usize, health_bp: Option<u16>) -> Candidate {
    Candidate {
        node: format!("n{name:03}"),
        domain: format!("rack-{domain}"),
        health_bp,
    }
}

#[test]
fn steps_are_one_node_then_a_twentieth_a_quarter_half_and_all() {
    for (fleet, expected) in [
        (0, vec![]),
        (1, vec![1]),
        (3, vec![1, 2, 3]),
        (20, vec![1, 5, 10, 20]),
        (100, vec![1, 5, 25, 50, 100]),
        (1_001, vec![1, 51, 251, 501, 1_001]),
    ] {
        let nodes: Vec<_> = (0..fleet).map(|n| node(n, n % 7, Some(9_000))).collect();
        let totals: Vec<_> = plan_steps(&nodes).iter().map(|step| step.total).collect();
        assert_eq!(totals, expected, "{fleet} nodes");
    }
}

#[test]
fn the_first_node_is_neither_a_lemon_nor_the_best_nor_unknown() {
    let health = [Some(3_000), Some(9_000), Some(9_100), Some(9_200), Some(10_000), None];
    let nodes: Vec<_> = health.iter().enumerate().map(|(n, h)| node(n, 0, *h)).collect();
    let steps = plan_steps(&nodes);
    assert_eq!(steps[0].nodes, ["n002"]);
    assert_eq!(steps.last().unwrap().nodes.last().unwrap(), "n005", "{steps:?}");
}

#[test]
fn every_rack_has_one_before_any_has_two() {
    let nodes: Vec<_> = (0..100).map(|n| node(n, n / 25, Some(9_000 + n as u16))).collect();
    let rack = |name: &String| name[1..].parse::<usize>().unwrap() / 25;
    let first_five: Vec<_> = plan_steps(&nodes)
        .iter()
        .take(2)
        .flat_map(|step| step.nodes.clone())
        .collect();
    let mut racks: Vec<_> = first_five[..4].iter().map(rack).collect();
    racks.sort_unstable();
    assert_eq!(racks, [0, 1, 2, 3], "{first_five:?}");
}

#[test]
fn clean_nodes_bound_the_failure_rate() {
    for (share, nodes) in [(0.90, 29), (0.95, 59), (0.99, 299)] {
        assert_eq!(clean_nodes_for(share), Some(nodes));
        assert!(failure_bound(nodes) <= 1.0 - share && failure_bound(nodes - 1) > 1.0 - share);
        assert!(
            rule_of_three(nodes) >= failure_bound(nodes),
            "3/n never promises more than is known"
        );
    }
    for share in [0.0, 1.0, f64::NAN, -1.0] {
        assert_eq!(clean_nodes_for(share), None);
    }
    assert_eq!((rule_of_three(0), rule_of_three(2), failure_bound(0)), (1.0, 1.0, 1.0));
}

proptest! {
    #[test]
    fn all_are_reached_once_in_any_order_of_the_candidates(
        nodes in prop::collection::vec((0usize..6, prop::option::of(0u16..10_001)), 0..80),
        turn in 0usize..80,
    ) {
        let nodes: Vec<_> = nodes.iter().enumerate().map(|(n, (domain, health))| node(n, *domain, *health)).collect();
        let steps = plan_steps(&nodes);
        let mut turned = nodes.clone();
        turned.reverse();
        turned.rotate_left(turn % nodes.len().max(1));
        prop_assert_eq!(&plan_steps(&turned), &steps);
        let mut all: Vec<_> = steps.iter().flat_map(|step| step.nodes.clone()).collect();
        prop_assert_eq!(steps.last().map_or(0, |step| step.total), nodes.len());
        prop_assert!(steps.iter().all(|step| !step.nodes.is_empty()));
        all.sort();
        all.dedup();
        prop_assert_eq!(all.len(), nodes.len());
    }
}

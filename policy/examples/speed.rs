//! How long one decision takes, with 1, 50 and 256 rules: `cargo run --profile dist -p policy --example speed`.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use policy::{Bundle, Decider, Fleet, FleetNode, Question};
use wire::reading::Unit;
use wire::{Mono, Now, Wall};

fn text(rules: usize, only: Option<usize>) -> String {
    let kinds = [
        "kind: rate_limit, selector: { kinds: [scale] }, limit: 1000, window: 1 h, key: target",
        "kind: cooldown, selector: { kinds: [restart] }, after_success: 1 s",
        "kind: budget, selector: { kinds: [scale], sources: [brain] }, limit: 1000, window: 1 h, key: node",
        "kind: envelope, selector: { kinds: [power_cap] }, min: 100 W, max: 350 W",
        "kind: blast_radius, selector: { kinds: [scale, drain] }, domain: rack, max_concurrent: { bp: 2000 }",
        "kind: quota, selector: { kinds: [scale] }, scope: team, nominal: { replicas: 100 }",
        "kind: change_freeze, selector: { kinds: [reboot, scale] }, spans: [{ local_start: 2030-01-01, local_end: 2030-01-02 }]",
        "kind: mutex, selector: { kinds: [reboot, driver_change] }",
    ];
    let mut text = "bundle: speed\nrules:\n".to_owned();
    for index in 0..rules {
        text.push_str(&format!(
            "  - {{ id: r{index}, {} }}\n",
            kinds[only.unwrap_or(index % kinds.len())]
        ));
    }
    text
}

/// 10,000 nodes by 50 mixed rules.
fn what_if() {
    let bundle = Bundle::parse(text(50, None).as_bytes()).unwrap();
    let mut fleet = Fleet::new(&Decider::new(Arc::new(bundle)));
    let facts: Vec<Vec<Option<i64>>> = (0..10_000)
        .map(|node| {
            let of_rack = |name: &String| match name.as_str() {
                "rack.members" => Some(50),
                "rack.unhealthy" => Some(node % 12),
                _ => Some(1),
            };
            fleet.names().iter().map(of_rack).collect()
        })
        .collect();
    let nodes = || facts.iter().map(|facts| FleetNode { target: "web", facts });
    for kind in ["scale", "drain"] {
        let kind = policy::KINDS.iter().position(|known| known.name == kind).unwrap();
        let question = Question {
            kind,
            source: 1,
            target: "",
            amount: Some((5, Unit::Count)),
            now: Now {
                mono: Mono(1_000),
                wall: Wall(1_795_000_000_000),
            },
        };
        let mut allowed = 0;
        let mut batch = || {
            allowed = 0;
            let started = Instant::now();
            fleet.ask(&[question], nodes(), |_, answer| {
                allowed += u32::from(black_box(answer).verdict.runs())
            });
            started.elapsed()
        };
        let each = (0..7).map(|_| batch()).min().unwrap();
        println!(
            "what if {}: 10,000 nodes x 50 rules in {each:?}, {allowed} would run",
            policy::KINDS[kind].name
        );
    }
}

fn main() {
    let single = (0..8).map(|kind| (50, Some(kind)));
    for (rules, only) in [(1, None), (50, None), (256, None)].into_iter().chain(single) {
        let text = text(rules, only);
        let parse = Instant::now();
        let bundle = Bundle::parse(text.as_bytes()).unwrap();
        let parsed = parse.elapsed();
        let mut decider = Decider::new(Arc::new(bundle));
        decider.set_fact("rack.members", Some(50));
        decider.set_fact("rack.unhealthy", Some(1));
        let question = Question {
            kind: policy::KINDS.iter().position(|kind| kind.name == "scale").unwrap(),
            source: 1,
            target: "web",
            amount: Some((5, Unit::Count)),
            now: Now {
                mono: Mono(1_000),
                wall: Wall(1_795_000_000_000),
            },
        };
        decider.run(&question);
        // The best of many short runs: neighbours on the machine make the others longer, none makes one shorter.
        const ROUNDS: u32 = 20_000;
        let batch = || {
            let started = Instant::now();
            for _ in 0..ROUNDS {
                black_box(decider.ask(black_box(&question)));
            }
            started.elapsed() / ROUNDS
        };
        let each = (0..15).map(|_| batch()).min().unwrap();
        println!(
            "{rules} rules: {each:?} a decision ({:?}), parsed in {parsed:?}",
            decider.ask(&question).verdict
        );
    }
    what_if();
    let started = Instant::now();
    let hostile = format!("bundle: x\nrules:\n{}", "  - id: a\n".repeat(100_000));
    assert!(Bundle::parse(hostile.as_bytes()).is_err());
    println!("a hostile bundle of 1 MB is refused in {:?}", started.elapsed());
}

//! `what-if`: milliseconds to ask what 50 rules say to one action on each of 10,000 nodes, on one core.
//!
//! Each node has numbers of its own. The peer is `cel`, the fastest of those in `decide`, with every node's input converted
//! beforehand; the limit is the bare table. All must let the action run on the same number of nodes.

use std::hint::black_box;
use std::time::Instant;

use policy::{Fleet, FleetNode, Question};

use crate::decide::rules::{self, CASES, Case, FACTS, Facts, Rule, Table};
use crate::decide::{decider, known, question};
use crate::report::{Figure, Goal};

const NODES: usize = 10_000;
const RULES: usize = 50;
/// A drain by the brain, which both the racks and the forecasts of the nodes decide.
const CASE: Case = CASES[4];
/// The best of so many runs.
const RUNS: usize = 7;

/// Runs it.
pub fn run() -> Result<Vec<Figure>, String> {
    let rules = rules::rules(RULES);
    let nodes: Vec<Facts> = (0..NODES).map(facts_of).collect();
    let table = Table::new(&rules);
    let mut fleet = Fleet::new(&decider(&rules, &FACTS[0])?);
    let rows = rows(&fleet, &nodes);
    let (ours, allowed) = best(|| Ok(ask(&mut fleet, question(&CASE), &rows)))?;
    let (limit, expected) = best(|| {
        let broken = |facts: &&Facts| table.broken(rules::bit(CASE.kind), true, &CASE, facts).1 == 0;
        Ok(nodes.iter().filter(broken).count())
    })?;
    if allowed != expected || allowed == 0 || allowed == NODES {
        return Err(format!(
            "{allowed} of {NODES} nodes may run it, and {expected} by the table"
        ));
    }
    let figure = Figure::new("what-if", "ms", ours, Goal::AtMost(10.0)).limit("bare table", limit);
    Ok(vec![match peer(&rules, &nodes, expected)? {
        Some((name, value)) => figure.peer(name, value),
        None => figure,
    }])
}

/// A fifth of the nodes stand in sick racks, and another share has a poor forecast.
fn facts_of(node: usize) -> Facts {
    let node = node as i64;
    Facts {
        unhealthy: node * 7 % 23,
        p_lo_bp: 7_000 + node * 13 % 3_000,
        ..FACTS[0]
    }
}

/// The nodes' numbers in the order in which the fleet wants them.
fn rows(fleet: &Fleet, nodes: &[Facts]) -> Vec<Vec<Option<i64>>> {
    let row = |facts: &Facts| {
        let known = known(facts);
        let find = |name: &String| known.iter().find(|(known, _)| known == name).map(|(_, value)| *value);
        fleet.names().iter().map(find).collect()
    };
    nodes.iter().map(row).collect()
}

/// On how many nodes the action may run.
fn ask(fleet: &mut Fleet, question: Question<'_>, rows: &[Vec<Option<i64>>]) -> usize {
    let mut allowed = 0;
    let nodes = rows.iter().map(|facts| FleetNode { target: "web", facts });
    fleet.ask(&[question], nodes, |_, answer| {
        allowed += usize::from(black_box(answer).verdict.runs())
    });
    allowed
}

#[cfg(feature = "peers")]
fn peer(rules: &[Rule], nodes: &[Facts], expected: usize) -> Result<Option<(&'static str, f64)>, String> {
    use crate::decide::peers::Cel;

    let mut cel = Cel::of_inputs(rules, nodes.iter().map(|facts| (CASE, *facts)))?;
    let (value, allowed) = best(|| {
        let mut allowed = 0;
        for node in 0..NODES {
            allowed += usize::from(cel.count(node)? == 0);
        }
        Ok(allowed)
    })?;
    if allowed != expected {
        return Err(format!(
            "cel lets it run on {allowed} nodes, and the table on {expected}"
        ));
    }
    Ok(Some(("cel 0.15", value)))
}

#[cfg(not(feature = "peers"))]
fn peer(_: &[Rule], _: &[Facts], _: usize) -> Result<Option<(&'static str, f64)>, String> {
    Ok(None)
}

/// Milliseconds of the fastest run, and what the last one returned.
fn best(mut call: impl FnMut() -> Result<usize, String>) -> Result<(f64, usize), String> {
    let (mut least, mut found) = (f64::INFINITY, 0);
    for _ in 0..RUNS {
        let started = Instant::now();
        found = black_box(call()?);
        least = least.min(started.elapsed().as_secs_f64() * 1_000.0);
    }
    Ok((least, found))
}

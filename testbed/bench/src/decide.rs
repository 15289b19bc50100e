//! `decide`: nanoseconds of one decision with 1, 50 and 256 rules, verdict, rule and reason recorded, beside three other engines.
//!
//! The same rules and the same decisions for all of them (`decide/rules.rs`), and a run counts only if all give the same verdicts.
//! The limit is a bare table of comparisons in this language. A second figure is the refusal of a hostile bundle of 1 MB.

#[cfg(feature = "peers")]
mod languages;
#[cfg(feature = "peers")]
pub mod peers;
pub mod rules;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use policy::{Bundle, Decider, KINDS, Question};
use wire::reading::Unit;
use wire::{Mono, Now, Wall};

use crate::report::{Figure, Goal};
use rules::{CASES, Case, FACTS, Facts, MEMBERS, Rule, TIMED, Table};

/// Rules, and the most nanoseconds that a decision may take.
const SIZES: [(usize, f64); 3] = [(1, 100.0), (50, 500.0), (256, 2_000.0)];
/// The best of so many short runs: neighbours on the machine make some longer, none makes one shorter.
const RUNS: usize = 15;
/// How long a short run should last.
const RUN_NS: u128 = 2_000_000;

/// Runs it.
pub fn run() -> Result<Vec<Figure>, String> {
    let mut figures = Vec::new();
    for (count, goal_ns) in SIZES {
        let rules = rules::rules(count);
        let deciders = [decider(&rules, &FACTS[0])?, decider(&rules, &FACTS[1])?];
        compare(&rules, &deciders)?;
        let ours = timed(|case| {
            black_box(deciders[0].ask(black_box(&question(&CASES[case]))));
            Ok(())
        })?;
        let table = Table::new(&rules);
        let keys = CASES.map(|case| (rules::bit(case.kind), case.source == "brain"));
        let limit = timed(|case| {
            let (kind, brain) = keys[case];
            black_box(black_box(&table).broken(kind, brain, &CASES[case], &FACTS[0]));
            Ok(())
        })?;
        let name = format!("decide-{count}");
        let figure = |name: &str, goal| Figure::new(name, "ns", ours, goal).limit("bare table", limit);
        let beside = beside(&rules)?;
        if beside.is_empty() {
            figures.push(figure(&name, Goal::AtMost(goal_ns)));
        }
        for (place, (peer, value)) in beside.into_iter().enumerate() {
            let short = peer.split(' ').next().unwrap_or(peer);
            let goal = if place == 0 { Goal::AtMost(goal_ns) } else { Goal::Known };
            figures.push(figure(&format!("{name}-{short}"), goal).peer(peer, value));
        }
    }
    figures.push(hostile()?);
    Ok(figures)
}

/// A decider that was told these facts.
pub fn decider(rules: &[Rule], facts: &Facts) -> Result<Decider, String> {
    let bundle = Bundle::parse(rules::bundle(rules).as_bytes()).map_err(|problems| format!("{problems:?}"))?;
    let mut decider = Decider::new(Arc::new(bundle));
    for (name, value) in known(facts) {
        decider.set_fact(name, Some(value));
    }
    Ok(decider)
}

/// The names by which our rules know the facts.
pub fn known(facts: &Facts) -> [(&'static str, i64); 7] {
    [
        ("rack.members", MEMBERS),
        ("rack.unhealthy", facts.unhealthy),
        ("rack.in_flight", facts.in_flight),
        ("prediction.p_lo_bp", facts.p_lo_bp),
        ("prediction.n", facts.n),
        ("web.burn_5m", facts.burn_5m),
        ("web.burn_1h", facts.burn_1h),
    ]
}

/// A case as our question.
pub fn question(case: &Case) -> Question<'static> {
    const SOURCES: [&str; 3] = ["reflex", "brain", "human"];
    let kind = KINDS.iter().position(|kind| kind.name == case.kind);
    Question {
        kind: kind.expect("the cases name kinds that there are"),
        source: SOURCES.iter().position(|name| *name == case.source).unwrap_or(1),
        target: "web",
        amount: Some((case.amount, Unit::Count)),
        now: Now {
            mono: Mono(1_000),
            wall: Wall(case.at_ms),
        },
    }
}

/// Whether everybody says the same, and whether the cases tell the rules apart.
fn compare(rules: &[Rule], deciders: &[Decider; 2]) -> Result<(), String> {
    let table = Table::new(rules);
    let broken = |case: &Case| {
        table
            .broken(rules::bit(case.kind), case.source == "brain", case, &FACTS[case.facts])
            .1
    };
    let expected: Vec<u32> = CASES.iter().map(broken).collect();
    if expected.iter().all(|broken| *broken == 0) || expected.iter().all(|broken| *broken > 0) {
        return Err(format!("with {} rules all cases have the same verdict", rules.len()));
    }
    for (case, broken) in CASES.iter().zip(&expected) {
        let answer = deciders[case.facts].ask(&question(case));
        if answer.verdict.runs() != (*broken == 0) || answer.rule.is_some() != (*broken > 0) {
            let (kind, source) = (case.kind, case.source);
            return Err(format!(
                "{kind} by {source}: {answer:?}, and the table breaks {broken} rules"
            ));
        }
    }
    #[cfg(feature = "peers")]
    for mut peer in peers::all(rules, &CASES)? {
        for (case, broken) in expected.iter().enumerate() {
            let found = peer.broken(case)?;
            if found != *broken {
                let name = peer.name();
                return Err(format!(
                    "{name} breaks {found} rules in case {case}, and the table {broken}"
                ));
            }
        }
    }
    Ok(())
}

#[cfg(feature = "peers")]
fn beside(rules: &[Rule]) -> Result<Vec<(&'static str, f64)>, String> {
    let all = peers::all(rules, &CASES)?;
    all.into_iter()
        .map(|mut peer| {
            Ok((
                peer.name(),
                timed(|case| {
                    peer.broken(case).map(|found| {
                        black_box(found);
                    })
                })?,
            ))
        })
        .collect()
}

#[cfg(not(feature = "peers"))]
fn beside(_: &[Rule]) -> Result<Vec<(&'static str, f64)>, String> {
    Ok(Vec::new())
}

/// Nanoseconds of one call, over the timed cases in turn.
fn timed(mut call: impl FnMut(usize) -> Result<(), String>) -> Result<f64, String> {
    let mut batch = |rounds: u32| -> Result<u128, String> {
        let started = Instant::now();
        for _ in 0..rounds {
            for case in 0..TIMED {
                call(case)?;
            }
        }
        Ok(started.elapsed().as_nanos())
    };
    batch(10)?;
    let rounds = u32::try_from((RUN_NS * 10 / batch(10)?.max(1)).clamp(1, 100_000)).unwrap_or(1);
    let mut best = u128::MAX;
    for _ in 0..RUNS {
        best = best.min(batch(rounds)?);
    }
    Ok(best as f64 / f64::from(rounds) / TIMED as f64)
}

/// Milliseconds until a bundle of 1 MB that means harm is refused: the slowest of several.
fn hostile() -> Result<Figure, String> {
    let big = 1024 * 1024 - 64;
    let texts = [
        format!("bundle: x\nrules: [{}]", "{},".repeat(big / 3)),
        format!("bundle: x\nrules:\n{}", "  - id: a\n".repeat(big / 10)),
        "[".repeat(big),
        "{a: ".repeat(big / 4),
        format!("bundle: \"{}\"\nx: y", "\\u0041".repeat(big / 6)),
        format!(
            "bundle: x\n{}",
            (0..60_000).map(|n| format!("k{n}: 1\n")).collect::<String>()
        ),
        "- ".repeat(big / 2),
        format!("a: &a [{}]", "*a,".repeat(big / 3)),
        format!("bundle = \"x\"\n{}", "[[rules]]\n".repeat(big / 10)),
        format!(
            "bundle: x\nrules:\n  - {{ id: a, kind: cel, require: '{}1{}' }}\n",
            "(".repeat(big / 2),
            ")".repeat(big / 2)
        ),
    ];
    let mut slowest: f64 = 0.0;
    for text in texts {
        let started = Instant::now();
        if Bundle::parse(black_box(text.as_bytes())).is_ok() {
            return Err("a hostile bundle was accepted".to_owned());
        }
        slowest = slowest.max(started.elapsed().as_secs_f64() * 1_000.0);
    }
    Ok(Figure::new("hostile-bundle", "ms", slowest, Goal::AtMost(50.0)))
}

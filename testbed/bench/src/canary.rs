//! `canary`: how often the canary analysis is wrong and what it finds, on canaries of which the truth is known.
//!
//! The peer is what others do, on the same samples: looking after every interval with Kayenta's rule, a Mann-Whitney test at 0.02
//! that is made for one look. Everything follows from seeds, so two runs give the same figures.

#[allow(dead_code)]
#[path = "../../../policy/tests/worlds/canary.rs"]
mod worlds;

use policy::canary::{Side, judge_canary, mann_whitney};
use worlds::{Truth, World, first_abort, question, world};

use crate::report::{Figure, Goal};

/// Canaries of each figure.
const TRIALS: u64 = 250;
/// Looks at each of them.
const INTERVALS: usize = 240;
/// Samples of the time before, from which correlation is estimated.
const HISTORY: usize = 240;
const PEEKING: &str = "Mann-Whitney at every look";
const ONE_TEST: &str = "Mann-Whitney";

/// Runs it.
pub fn run() -> Result<Vec<Figure>, String> {
    let mut figures = Vec::new();
    // Among like canaries, the share that is aborted at any of the looks.
    for (name, lag_one, history) in [
        ("canary-false", 0.0, HISTORY),
        ("canary-false-0.5", 0.5, HISTORY),
        ("canary-false-0.8", 0.8, HISTORY),
        ("canary-false-0.8-new", 0.8, 20),
    ] {
        let (ours, peer) = looks(Truth::Alike, history, lag_one);
        let goal = if history == HISTORY {
            Goal::AtMost(2.0)
        } else {
            Goal::Known
        };
        figures.push(Figure::new(name, "%", found(&ours), goal).peer(PEEKING, found(&peer)));
    }
    for (name, factor, most) in [
        ("canary-+100%", 2.0, 12.0),
        ("canary-+50%", 1.5, 15.0),
        ("canary-+20%", 1.2, 40.0),
    ] {
        let (ours, peer) = looks(Truth::Slower(factor), 0, 0.0);
        figures.push(Figure::new(name, "looks", median(ours), Goal::AtMost(most)).peer(PEEKING, median(peer)));
    }
    let (ours, peer) = looks(Truth::Wider(3.0), 0, 0.0);
    figures
        .push(Figure::new("canary-spread-early", "%", found(&ours), Goal::AtLeast(80.0)).peer(PEEKING, found(&peer)));
    for (name, truth, n, goal) in [
        ("canary-spread-50", Truth::Wider(3.0), 50, Goal::AtLeast(90.0)),
        ("canary-spread-100", Truth::Wider(3.0), 100, Goal::AtLeast(99.0)),
        ("canary-stuck-100", Truth::Stuck(0.1), 100, Goal::AtLeast(75.0)),
        ("canary-tail-false", Truth::Alike, 50, Goal::AtMost(2.0)),
    ] {
        let (ours, peer) = at_the_end(truth, n)?;
        figures.push(Figure::new(name, "%", ours, goal).peer(ONE_TEST, peer));
    }
    Ok(figures)
}

/// The first looks that abort, ours and the peer's.
fn looks(truth: Truth, history: usize, lag_one: f64) -> (Vec<Option<usize>>, Vec<Option<usize>>) {
    (0..TRIALS)
        .map(|seed| {
            let world = world(seed, truth, INTERVALS, history, lag_one);
            (first_abort(&world, seed), first_peek(&world))
        })
        .unzip()
}

/// The first look at which one test of all samples so far says that the canary is slower.
fn first_peek(world: &World) -> Option<usize> {
    (5..=INTERVALS).find(|looks| {
        let (canary, baseline) = (&world.canary[..*looks], &world.baseline[..*looks]);
        let test = mann_whitney(canary, baseline, Side::Both);
        test.p < 0.02 && test.u > (looks * looks) as f64 / 2.0
    })
}

fn found(looks: &[Option<usize>]) -> f64 {
    100.0 * looks.iter().flatten().count() as f64 / looks.len() as f64
}

/// The median look; beyond all looks if fewer than half abort.
fn median(mut looks: Vec<Option<usize>>) -> f64 {
    looks.sort_unstable_by_key(|look| look.unwrap_or(usize::MAX));
    looks[looks.len() / 2].map_or(f64::INFINITY, |look| look as f64)
}

/// Of steps with `n` samples, the share that the tail test fails, and the share that the location test alone would.
fn at_the_end(truth: Truth, n: usize) -> Result<(f64, f64), String> {
    let (mut tail, mut location) = (0, 0);
    for seed in 0..TRIALS {
        let asked = question(&world(seed, truth, n, 0, 0.0), n, 30);
        let report = judge_canary(&asked).map_err(|problem| problem.to_string())?;
        let metric = &report.metrics[0];
        tail += u32::from(metric.tails.iter().any(|found| found.is_worse));
        location += u32::from(metric.location.is_some_and(|found| found.is_worse));
    }
    let share = |count: u32| 100.0 * f64::from(count) / TRIALS as f64;
    Ok((share(tail), share(location)))
}

//! How often a canary analysis is wrong, and what it finds: a small version of the bench `canary`, the same on every run.
//!
//! Each bound lies three standard deviations of so many trials from what the bench measures, so a change that breaks the analysis
//! crosses it and chance does not: the seeds are fixed.
#![allow(clippy::unwrap_used)]

#[path = "worlds/canary.rs"]
#[allow(dead_code)]
mod worlds;

use policy::canary::judge_canary;
use worlds::{Truth, first_abort, question, world};

const TRIALS: u64 = 200;

/// Intervals until the early abort, sorted; 999 if there was none in 120.
fn aborts(truth: Truth, history: usize, lag_one: f64) -> Vec<usize> {
    let mut found: Vec<usize> = (0..TRIALS)
        .map(|seed| first_abort(&world(seed, truth, 120, history, lag_one), seed).unwrap_or(999))
        .collect();
    found.sort_unstable();
    found
}

fn share(found: &[usize]) -> f64 {
    found.iter().filter(|at| **at < 999).count() as f64 / TRIALS as f64
}

#[test]
fn like_canaries_are_rarely_aborted_however_often_one_looks() {
    for (history, lag_one) in [(0, 0.0), (240, 0.5), (240, 0.8), (20, 0.8)] {
        let wrong = share(&aborts(Truth::Alike, history, lag_one));
        assert!(wrong <= 0.03, "{wrong} at lag-1 {lag_one} after {history} samples");
    }
}

#[test]
fn worse_canaries_are_found_early() {
    for (factor, slowest) in [(2.0, 12), (1.5, 16), (1.2, 45)] {
        let found = aborts(Truth::Slower(factor), 0, 0.0);
        let median = found[found.len() / 2];
        assert!((5..=slowest).contains(&median), "x{factor} after {median} intervals");
    }
}

/// Share of steps whose location test, and whose tail test, fails.
fn at_the_end(truth: Truth, n: usize) -> (f64, f64) {
    let (mut location, mut tail) = (0, 0);
    for seed in 0..TRIALS {
        let report = judge_canary(&question(&world(seed, truth, n, 0, 0.0), n, 30)).unwrap();
        location += u32::from(report.metrics[0].location.unwrap().is_worse);
        tail += u32::from(report.metrics[0].tails.iter().any(|found| found.is_worse));
    }
    (f64::from(location) / TRIALS as f64, f64::from(tail) / TRIALS as f64)
}

#[test]
fn tails_show_what_the_middle_hides() {
    let (location, tail) = at_the_end(Truth::Alike, 50);
    assert!(
        location <= 0.03 && tail <= 0.03,
        "{location} and {tail} of like canaries fail"
    );
    let (location, tail) = at_the_end(Truth::Wider(3.0), 50);
    assert!(
        tail >= 0.85 && location <= 0.06,
        "three times the spread: {tail} by the tail, {location} by the middle"
    );
    let (_, tail) = at_the_end(Truth::Stuck(0.1), 100);
    assert!(tail >= 0.74, "a tenth of the requests stuck: {tail}");
}

//! What one metric says: the data gate, then the middle, the tails and the early abort.
//!
//! Never looks at another metric; what several together mean is for `verdict.rs`.
//!
//! Invariant: without enough data the outcome is [`Outcome::NoData`], unless the early abort, which needs no fixed number of
//! samples, has found it worse.

use super::early::{EarlyAbort, straight_worse};
use super::gate::{self, Gated};
use super::input::{Direction, Metric, NoDataIs};
use super::number::median;
use super::rank::{Side, mann_whitney};
use super::report::{EarlyReport, LocationReport, MetricReport, Outcome, TailReport};
use super::shift::hodges_lehmann;
use super::tail::tail_test;

/// Two-sided error of the location test, and the error of the early abort.
const ALPHA: f64 = 0.02;
/// One-sided error of each tail test.
const TAIL_ALPHA: f64 = 0.01;
/// Pooled percentiles, with the samples of each group that they need.
const TAILS: [(u32, usize); 2] = [(90, 50), (95, 100)];

/// Judges one metric.
pub(super) fn judge(metric: &Metric, seed: u64) -> MetricReport {
    let gated = gate::gate(metric);
    let early = early(metric, &gated, seed);
    let mut report = MetricReport {
        name: metric.name.clone(),
        outcome: Outcome::Pass,
        why: String::new(),
        critical: metric.critical,
        weight: metric.weight,
        baseline: gated.reports.0,
        canary: gated.reports.1,
        lag_one: gated.lag_one,
        every: gated.every,
        location: None,
        tails: Vec::new(),
        early,
        p: None,
    };
    if let Some(reason) = gated.reason {
        let failed = metric.nodata == NoDataIs::Fail;
        report.outcome = if failed { Outcome::Fail } else { Outcome::NoData };
        report.why = reason;
    } else if all_equal(&gated) {
        report.why = "all samples of both groups are equal".to_owned();
    } else {
        test(metric, &gated, &mut report);
    }
    // Bad news needs no fixed number of samples.
    if let Some(after) = report.early.and_then(|early| early.aborted_after) {
        report.outcome = Outcome::Fail;
        report.why = format!("worse beyond doubt after {after} intervals");
    }
    report
}

fn all_equal(gated: &Gated) -> bool {
    let mut values = gated.baseline.iter().chain(&gated.canary);
    let first = values.next();
    values.all(|value| Some(value) == first)
}

fn test(metric: &Metric, gated: &Gated, report: &mut MetricReport) {
    let location = location(metric, gated);
    report.tails = tails(metric, gated);
    let tests = report.tails.len() as f64 + 1.0;
    let lowest = report.tails.iter().map(|tail| tail.p).fold(location.p, f64::min);
    report.p = Some((lowest * tests).min(1.0));
    report.why = if location.is_worse {
        report.outcome = Outcome::Fail;
        format!(
            "shifted by {:.4} (98 % interval {:.4} to {:.4}), more than the {:.4} that do not matter",
            location.shift, location.low, location.high, location.floor
        )
    } else if let Some(tail) = report.tails.iter().find(|tail| tail.is_worse) {
        report.outcome = Outcome::Fail;
        format!(
            "{} of the {} samples beyond the pooled p{} are the canary's",
            tail.canary,
            tail.canary + tail.baseline,
            tail.percentile
        )
    } else {
        format!(
            "no shift beyond {:.4} is certain (98 % interval {:.4} to {:.4}), nor a heavier tail",
            location.floor, location.low, location.high
        )
    };
    report.location = Some(location);
}

/// The shift up to which the canary is taken as alike, in every test: what its owner does not mind must not fail it as a tail.
fn floor(metric: &Metric, gated: &Gated) -> f64 {
    metric.effect.floor(median(&gated.baseline))
}

fn location(metric: &Metric, gated: &Gated) -> LocationReport {
    let test = mann_whitney(&gated.canary, &gated.baseline, Side::Both);
    let shift = hodges_lehmann(&gated.canary, &gated.baseline, ALPHA).expect("the gate lets no empty group pass");
    let floor = floor(metric, gated);
    let (up, down) = (shift.low > floor, shift.high < -floor);
    let is_beyond = match metric.direction {
        Direction::Up => up,
        Direction::Down => down,
        Direction::Both => up || down,
    };
    LocationReport {
        u: test.u,
        p: test.p,
        method: test.method,
        baseline_median: median(&gated.baseline),
        shift: shift.estimate,
        low: shift.low,
        high: shift.high,
        floor,
        is_worse: test.p < ALPHA && is_beyond,
    }
}

/// The tail tests of the ways that are worse.
fn tails(metric: &Metric, gated: &Gated) -> Vec<TailReport> {
    let (signs, alpha): (&[f64], f64) = match metric.direction {
        Direction::Up => (&[1.0], TAIL_ALPHA),
        Direction::Down => (&[-1.0], TAIL_ALPHA),
        Direction::Both => (&[1.0, -1.0], TAIL_ALPHA / 2.0),
    };
    let n = gated.baseline.len().min(gated.canary.len());
    let floor = floor(metric, gated);
    let mut found = Vec::new();
    for (percentile, _) in TAILS.iter().filter(|(_, needed)| n >= *needed) {
        for sign in signs {
            let mirrored = |values: &[f64]| values.iter().map(|value| sign * value).collect::<Vec<f64>>();
            let (baseline, mut canary) = (mirrored(&gated.baseline), mirrored(&gated.canary));
            canary.iter_mut().for_each(|value| *value -= floor);
            let tail = tail_test(&baseline, &canary, f64::from(*percentile) / 100.0);
            found.extend(tail.map(|tail| TailReport {
                percentile: *percentile,
                threshold: tail.threshold,
                canary: tail.canary,
                baseline: tail.baseline,
                p: tail.p,
                is_worse: tail.p < alpha,
            }));
        }
    }
    found
}

/// Bets on every thinned pair; `None` while the correlation is not known.
fn early(metric: &Metric, gated: &Gated, seed: u64) -> Option<EarlyReport> {
    if gated.lag_one.is_none() && !metric.independent {
        return None;
    }
    let pairs: Vec<(f64, f64)> = gated.pairs.iter().map(|(_, b, c)| (*b, *c)).collect();
    let mut report = EarlyReport {
        pairs: 0,
        wealth: 1.0,
        abort_at: 1.0 / ALPHA,
        straight_worse: straight_worse(metric.direction, &pairs),
        aborted_after: None,
    };
    let mut game = EarlyAbort::new(metric.direction, floor(metric, gated), seed);
    let mut next = 0;
    for (index, baseline, canary) in &gated.pairs {
        if *index < next {
            continue;
        }
        next = index + gated.every;
        game.push(*baseline, *canary);
        report.wealth = report.wealth.max(game.wealth().mean);
        if report.wealth >= report.abort_at && report.aborted_after.is_none() {
            report.aborted_after = Some(index + 1 + gated.reports.0.warm_up);
        }
    }
    report.pairs = game.pairs();
    Some(report)
}

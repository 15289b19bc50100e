//! What all metrics and guards together mean, and what may be done next.
//!
//! Never lets missing data pass: with any metric of which nothing is known the best verdict is [`Verdict::Inconclusive`], which
//! waits for data until the deadline and then rolls back if that metric is critical, or asks a person.
//!
//! Invariant: one more failing metric or guard never makes the verdict better.

use super::input::{Canary, CanaryError, Direction, Errors, Metric};
use super::number::{binomial_tail, median};
use super::report::{GuardReport, MetricReport, Next, Outcome, Report, Verdict};
use super::steps::rule_of_three;
use super::{gate, metric};

/// Error of all metrics that are not critical together.
const FAMILY_ALPHA: f64 = 0.05;
/// One-sided error of the comparison of failed requests.
const ERRORS_ALPHA: f64 = 0.01;
/// From this score on a canary passes, and below the other it is aborted.
const PASS_SCORE: f64 = 95.0;
const ABORT_SCORE: f64 = 75.0;
/// With more than this share of the weight unknown, the score says nothing.
const MAX_UNKNOWN: f64 = 50.0;
/// Fewest samples that make a median worth holding against a hard limit: one or two may be a hiccup.
const LIMIT_NEEDS: usize = 3;

/// Analyses a canary. An error names the field that cannot be.
pub fn judge_canary(canary: &Canary) -> Result<Report, CanaryError> {
    canary.check()?;
    let mut metrics: Vec<_> = canary
        .metrics
        .iter()
        .map(|one| metric::judge(one, canary.seed ^ name_hash(&one.name)))
        .collect();
    forgive_chance(&mut metrics);
    let guards = guards(canary);
    let weight = |outcome: Option<Outcome>| -> f64 {
        let counted = metrics.iter().filter(|one| outcome.is_none_or(|o| one.outcome == o));
        counted.fold(0.0, |sum, one| sum + one.weight)
    };
    let (all, passed, unknown) = (weight(None), weight(Some(Outcome::Pass)), weight(Some(Outcome::NoData)));
    let known = passed + weight(Some(Outcome::Fail));
    let score = (known > 0.0).then(|| 100.0 * passed / known);
    let no_data_share = 100.0 * unknown / all;
    let clean_nodes = Some(canary.nodes.total).filter(|total| *total > 0 && canary.nodes.failed == 0);
    let (verdict, next, why) = conclude(canary, &metrics, &guards, score, no_data_share);
    Ok(Report {
        verdict,
        next,
        why,
        score,
        no_data_share,
        clean_nodes,
        failure_rate_below: clean_nodes.map(rule_of_three),
        guards,
        metrics,
    })
}

fn conclude(
    canary: &Canary,
    metrics: &[MetricReport],
    guards: &[GuardReport],
    score: Option<f64>,
    no_data_share: f64,
) -> (Verdict, Next, String) {
    let abort = |why: String| (Verdict::Abort, Next::RollBack, why);
    if let Some(guard) = guards.first() {
        return abort(guard.why.clone());
    }
    let find = |outcome: Outcome, critical: bool| {
        metrics
            .iter()
            .filter(|one| one.outcome == outcome && one.critical >= critical)
            .map(|one| format!("{}: {}", one.name, one.why))
            .next()
    };
    if let Some(failed) = find(Outcome::Fail, true) {
        return abort(failed);
    }
    if let Some(score) = score.filter(|score| *score < ABORT_SCORE && no_data_share <= MAX_UNKNOWN) {
        return abort(format!("{score:.1} of 100 pass, below {ABORT_SCORE}"));
    }
    if let Some(unknown) = find(Outcome::NoData, true).or_else(|| find(Outcome::NoData, false)) {
        return (Verdict::Inconclusive, without_data(canary, metrics), unknown);
    }
    let is_over = canary.elapsed_ms >= canary.step_ms;
    let score = score.unwrap_or(0.0);
    if score >= PASS_SCORE {
        let next = if is_over { Next::Advance } else { Next::Wait };
        return (
            Verdict::Pass,
            next,
            format!("{score:.1} of 100 pass; {}", bound(canary)),
        );
    }
    let next = match (is_over, canary.extended) {
        (false, _) => Next::Wait,
        (true, false) => Next::Extend,
        (true, true) => Next::Hold,
    };
    (
        Verdict::Inconclusive,
        next,
        format!("{score:.1} of 100 pass, below {PASS_SCORE}"),
    )
}

/// What a pass is worth.
fn bound(canary: &Canary) -> String {
    match (canary.nodes.total, canary.nodes.failed) {
        (0, _) => "no nodes were counted, so nothing bounds their failure rate".to_owned(),
        (total, 0) => format!(
            "{total} nodes without a failure bound the failure rate by {:.2} %",
            100.0 * rule_of_three(total)
        ),
        (total, failed) => format!("{failed} of {total} nodes failed, so their failure rate has no bound of 3/n"),
    }
}

fn without_data(canary: &Canary, metrics: &[MetricReport]) -> Next {
    let deadline = canary.no_data_deadline_ms.unwrap_or(canary.step_ms.saturating_mul(2));
    let is_critical = metrics.iter().any(|one| one.outcome == Outcome::NoData && one.critical);
    match canary.elapsed_ms >= deadline {
        false => Next::Wait,
        true if is_critical => Next::RollBack,
        true => Next::Hold,
    }
}

/// Holm's correction: several metrics that are not critical fail together at 0.05, so that many metrics do not mean many false alarms.
fn forgive_chance(metrics: &mut [MetricReport]) {
    let mut tested: Vec<(f64, usize)> = metrics
        .iter()
        .enumerate()
        .filter(|(_, one)| !one.critical)
        .filter_map(|(index, one)| Some((one.p?, index)))
        .collect();
    // By name where equal, so that the order of the question decides nothing.
    tested.sort_by(|a, b| {
        a.0.total_cmp(&b.0)
            .then_with(|| metrics[a.1].name.cmp(&metrics[b.1].name))
    });
    let count = tested.len();
    let rejected = tested
        .iter()
        .enumerate()
        .take_while(|(place, (p, _))| p * (count - place) as f64 <= FAMILY_ALPHA)
        .count();
    for (p, index) in tested.into_iter().skip(rejected) {
        let one = &mut metrics[index];
        let is_early = one.early.is_some_and(|early| early.aborted_after.is_some());
        if one.outcome == Outcome::Fail && !is_early {
            one.outcome = Outcome::Pass;
            one.why = format!("{}; p = {p:.4}, which among {count} metrics is chance (Holm)", one.why);
        }
    }
}

fn guards(canary: &Canary) -> Vec<GuardReport> {
    let mut found: Vec<_> = canary.metrics.iter().filter_map(hard_limit).collect();
    found.extend(canary.errors.as_ref().and_then(errors));
    if canary.page_fast {
        found.push(guard(
            "page_fast",
            "the error budget burns at the rate of a fast page".to_owned(),
        ));
    }
    found
}

fn guard(name: &str, why: String) -> GuardReport {
    GuardReport {
        guard: name.to_owned(),
        why,
    }
}

fn hard_limit(metric: &Metric) -> Option<GuardReport> {
    let limit = metric.hard_limit?;
    let values = gate::gate(metric).canary_all;
    let middle = median(&values);
    let is_beyond = match metric.direction {
        Direction::Up => middle > limit,
        Direction::Down => middle < limit,
        Direction::Both => false,
    };
    let why = || {
        format!(
            "{}: the canary's median {middle:.4} is beyond the limit {limit:.4}",
            metric.name
        )
    };
    (values.len() >= LIMIT_NEEDS && is_beyond).then(|| guard("hard_limit", why()))
}

/// Given how many requests failed in both groups, the canary's share of them is binomial.
fn errors(errors: &Errors) -> Option<GuardReport> {
    let failed = errors.canary_failed.saturating_add(errors.baseline_failed);
    let share = errors.canary_total as f64 / (errors.canary_total as f64 + errors.baseline_total as f64);
    let p = binomial_tail(errors.canary_failed, failed, share);
    let why = || {
        format!(
            "{} of {} requests of the canary failed, {} of {} of the baseline (p = {p:.2e})",
            errors.canary_failed, errors.canary_total, errors.baseline_failed, errors.baseline_total
        )
    };
    (failed > 0 && p < ERRORS_ALPHA).then(|| guard("errors", why()))
}

/// FNV-1a, so that each metric has random numbers of its own whatever its place.
fn name_hash(name: &str) -> u64 {
    name.bytes().fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3)
    })
}

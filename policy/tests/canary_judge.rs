//! What a canary analysis concludes: missing data never passes, and worse never looks better.
#![allow(clippy::unwrap_used)]

#[path = "worlds/canary.rs"]
#[allow(dead_code)]
mod worlds;

use policy::canary::{
    Canary, Counter, Direction, Effect, Errors, Metric, Next, NoDataIs, Nodes, Outcome, Report, Verdict, judge_canary,
    lag_one, straight_worse, thinning,
};
use worlds::{Truth, question, world};

/// A question about 60 samples a group, changed by `change`.
fn asked(truth: Truth, change: impl Fn(&mut Canary)) -> Report {
    let mut canary = question(&world(7, truth, 60, 0, 0.0), 60, 30);
    change(&mut canary);
    judge_canary(&canary).unwrap()
}

fn check(report: &Report, verdict: Verdict, next: Next, why: &str) {
    assert_eq!((report.verdict, report.next), (verdict, next), "{report}");
    assert!(report.to_string().contains(why), "{report}\nexpected {why}");
}

/// A second metric that is as good as its baseline.
fn quiet(name: &str, weight: f64) -> Metric {
    let metric = question(&world(11, Truth::Alike, 60, 0, 0.0), 60, 30).metrics.remove(0);
    Metric {
        name: name.to_owned(),
        weight,
        critical: false,
        ..metric
    }
}

#[test]
fn a_canary_like_its_baseline_passes_with_its_bound() {
    let report = asked(Truth::Alike, |_| {});
    check(
        &report,
        Verdict::Pass,
        Next::Advance,
        "10 nodes without a failure bound the failure rate by 30.00 %",
    );
    assert_eq!(report.failure_rate_below, Some(0.3));
    check(
        &asked(Truth::Alike, |c| c.step_ms *= 2),
        Verdict::Pass,
        Next::Wait,
        "PASS",
    );
    let report = asked(Truth::Alike, |c| c.nodes.failed = 1);
    check(&report, Verdict::Pass, Next::Advance, "1 of 10 nodes failed");
    assert_eq!(report.failure_rate_below, None);
}

#[test]
fn a_slower_one_is_rolled_back_by_its_early_abort_and_its_shift() {
    let report = asked(Truth::Slower(1.5), |_| {});
    check(&report, Verdict::Abort, Next::RollBack, "worse beyond doubt after");
    let location = report.metrics[0].location.unwrap();
    assert!(
        location.is_worse && location.low > 20.0 && location.high < 80.0,
        "{location:?}"
    );
    // What the owner says does not matter is no failure, relative to the baseline's median or absolute.
    let report = asked(Truth::Slower(1.5), |c| c.metrics[0].effect.rel_bp = 9_000);
    check(&report, Verdict::Pass, Next::Advance, "no shift beyond");
    let report = asked(Truth::Slower(1.5), |c| c.metrics[0].effect.abs = 90.0);
    check(&report, Verdict::Pass, Next::Advance, "no shift beyond 90.0");
    // Slower is better where less is worse.
    check(
        &asked(Truth::Slower(1.5), |c| c.metrics[0].direction = Direction::Down),
        Verdict::Pass,
        Next::Advance,
        "no shift",
    );
    check(
        &asked(Truth::Slower(1.5), |c| c.metrics[0].direction = Direction::Both),
        Verdict::Abort,
        Next::RollBack,
        "worse",
    );
}

#[test]
fn a_wider_one_has_its_middle_in_place_and_a_heavy_tail() {
    let report = asked(Truth::Wider(4.0), |_| {});
    check(
        &report,
        Verdict::Abort,
        Next::RollBack,
        "beyond the pooled p90 are the canary's",
    );
    assert!(!report.metrics[0].location.unwrap().is_worse);
}

#[test]
fn missing_data_waits_until_its_deadline_and_never_passes() {
    let none = |c: &mut Canary| c.metrics[0].canary.clear();
    check(
        &asked(Truth::Alike, none),
        Verdict::Inconclusive,
        Next::Wait,
        "nothing was heard of the canary",
    );
    let late = |c: &mut Canary| {
        none(c);
        c.elapsed_ms = 2 * c.step_ms;
    };
    check(
        &asked(Truth::Alike, late),
        Verdict::Inconclusive,
        Next::RollBack,
        "NODATA",
    );
    let not_critical = |c: &mut Canary| {
        late(c);
        c.metrics[0].critical = false;
    };
    check(
        &asked(Truth::Alike, not_critical),
        Verdict::Inconclusive,
        Next::Hold,
        "NODATA",
    );
    let own_deadline = |c: &mut Canary| {
        none(c);
        c.no_data_deadline_ms = Some(1);
    };
    check(
        &asked(Truth::Alike, own_deadline),
        Verdict::Inconclusive,
        Next::RollBack,
        "NODATA",
    );
    let is_failure = |c: &mut Canary| {
        none(c);
        c.metrics[0].nodata = NoDataIs::Fail;
    };
    check(
        &asked(Truth::Alike, is_failure),
        Verdict::Abort,
        Next::RollBack,
        "nothing was heard",
    );
    let beside_a_good_one = |c: &mut Canary| {
        not_critical(c);
        c.metrics.push(quiet("errors", 9.0));
    };
    let report = asked(Truth::Alike, beside_a_good_one);
    check(&report, Verdict::Inconclusive, Next::Hold, "nothing was heard");
    assert_eq!((report.score, report.no_data_share), (Some(100.0), 10.0));
}

#[test]
fn the_gate_counts_what_is_missing_and_says_what_is_needed() {
    let gap = |from: usize, to: usize| move |c: &mut Canary| c.metrics[0].canary[from..to].fill(None);
    check(
        &asked(Truth::Alike, gap(0, 13)),
        Verdict::Inconclusive,
        Next::Wait,
        "the canary has 47 of 60 samples (78 %), at least 80 % are needed",
    );
    let report = asked(Truth::Alike, gap(0, 12));
    check(&report, Verdict::Pass, Next::Advance, "n 60 / 48");
    assert_eq!(report.metrics[0].canary.missing, 12);
    let report = asked(Truth::Alike, |c| c.metrics[0].canary[3] = Some(f64::NAN));
    assert_eq!(report.metrics[0].canary.missing, 1);
    let report = asked(Truth::Alike, |c| c.metrics[0].warm_up_ms = 31 * 30_000);
    check(&report, Verdict::Inconclusive, Next::Wait, "29 samples, 30 are needed");
    let report = asked(Truth::Alike, |c| {
        c.metrics[0].min_n = 1;
        c.metrics[0].warm_up_ms = 56 * 30_000;
    });
    check(&report, Verdict::Inconclusive, Next::Wait, "4 samples, 5 are needed");
    let report = asked(Truth::Alike, |c| {
        c.metrics[0].independent = false;
        c.metrics[0].warm_up_ms = 41 * 30_000;
        c.metrics[0].min_n = 5;
    });
    check(
        &report,
        Verdict::Inconclusive,
        Next::Wait,
        "19 samples, 20 are needed to see how much neighbours resemble",
    );
    let report = asked(Truth::Alike, |c| c.metrics[0].expected = Some(100));
    check(&report, Verdict::Inconclusive, Next::Wait, "60 of 100 samples");
}

#[test]
fn counts_are_filled_with_zeros_only_where_something_was_heard() {
    let sparse = |c: &mut Canary| {
        c.metrics[0].counter = Counter::Count;
        c.metrics[0].canary[1..].fill(None);
        c.metrics[0].baseline[1..].fill(None);
    };
    check(&asked(Truth::Alike, sparse), Verdict::Pass, Next::Advance, "n 60 / 60");
    let silent = |c: &mut Canary| {
        sparse(c);
        c.metrics[0].canary[0] = None;
    };
    check(
        &asked(Truth::Alike, silent),
        Verdict::Inconclusive,
        Next::Wait,
        "nothing was heard of the canary",
    );
    let equal = |c: &mut Canary| {
        c.metrics[0].canary.fill(Some(3.0));
        c.metrics[0].baseline.fill(Some(3.0));
    };
    check(
        &asked(Truth::Alike, equal),
        Verdict::Pass,
        Next::Advance,
        "all samples of both groups are equal",
    );
}

#[test]
fn a_missing_sample_takes_its_partner_along_where_intervals_belong_together() {
    let report = asked(Truth::Alike, |c| {
        c.metrics[0].paired = true;
        c.metrics[0].canary[..5].fill(None);
        c.metrics[0].baseline[5..8].fill(None);
    });
    let metric = &report.metrics[0];
    assert_eq!((metric.baseline.used, metric.canary.used), (52, 52), "{report}");
    assert_eq!((metric.baseline.missing, metric.canary.missing), (3, 5));
}

#[test]
fn guards_need_no_statistics() {
    let limit = |limit: f64, direction| {
        move |c: &mut Canary| (c.metrics[0].hard_limit, c.metrics[0].direction) = (Some(limit), direction)
    };
    check(
        &asked(Truth::Alike, limit(80.0, Direction::Up)),
        Verdict::Abort,
        Next::RollBack,
        "guard hard_limit",
    );
    check(
        &asked(Truth::Alike, limit(120.0, Direction::Up)),
        Verdict::Pass,
        Next::Advance,
        "",
    );
    check(
        &asked(Truth::Alike, limit(120.0, Direction::Down)),
        Verdict::Abort,
        Next::RollBack,
        "guard hard_limit",
    );
    check(
        &asked(Truth::Alike, |c| c.page_fast = true),
        Verdict::Abort,
        Next::RollBack,
        "fast page",
    );
    let errors = |canary_failed, canary_total, baseline_failed, baseline_total| {
        move |c: &mut Canary| {
            c.errors = Some(Errors {
                canary_failed,
                canary_total,
                baseline_failed,
                baseline_total,
            });
        }
    };
    check(
        &asked(Truth::Alike, errors(20, 1_000, 5, 1_000)),
        Verdict::Abort,
        Next::RollBack,
        "guard errors",
    );
    check(
        &asked(Truth::Alike, errors(7, 1_000, 5, 1_000)),
        Verdict::Pass,
        Next::Advance,
        "",
    );
    check(
        &asked(Truth::Alike, errors(20, 1_000, 500, 100_000)),
        Verdict::Abort,
        Next::RollBack,
        "p = ",
    );
    check(
        &asked(Truth::Alike, errors(0, 0, 0, 0)),
        Verdict::Pass,
        Next::Advance,
        "",
    );
    check(
        &asked(Truth::Alike, errors(1 << 60, u64::MAX, 1, u64::MAX)),
        Verdict::Abort,
        Next::RollBack,
        "errors",
    );
}

#[test]
fn the_score_decides_where_nothing_critical_fails() {
    let failing = |weight: f64| {
        move |c: &mut Canary| {
            c.metrics[0].critical = false;
            c.metrics[0].weight = weight;
            c.metrics.push(quiet("errors", 10.0 - weight));
        }
    };
    let extended = |c: &mut Canary| {
        failing(2.0)(c);
        c.extended = true;
    };
    check(
        &asked(Truth::Slower(1.5), failing(0.4)),
        Verdict::Pass,
        Next::Advance,
        "96.0 of 100 pass",
    );
    check(
        &asked(Truth::Slower(1.5), failing(2.0)),
        Verdict::Inconclusive,
        Next::Extend,
        "80.0 of 100",
    );
    check(
        &asked(Truth::Slower(1.5), extended),
        Verdict::Inconclusive,
        Next::Hold,
        "80.0 of 100",
    );
    check(
        &asked(Truth::Slower(1.5), failing(4.0)),
        Verdict::Abort,
        Next::RollBack,
        "60.0 of 100 pass, below 75",
    );
}

#[test]
fn chance_among_many_metrics_is_forgiven() {
    // A shift by a fifth of the range, in 30 samples: enough for one metric alone, and chance among many.
    let weak = |critical: bool, others: usize| {
        let mut canary = question(&world(7, Truth::Alike, 30, 0, 0.0), 30, 30);
        let shifted = (0..30).map(|n| Some(f64::from(n * 11 % 30) + 6.5)).collect::<Vec<_>>();
        let metric = &mut canary.metrics[0];
        (metric.canary, metric.critical) = (shifted, critical);
        metric.baseline = (0..30).map(|n| Some(f64::from(n * 7 % 30))).collect();
        let quiet: Vec<_> = (0..others).map(|n| quiet(&format!("other-{n}"), 0.01)).collect();
        canary.metrics.extend(quiet);
        judge_canary(&canary).unwrap().metrics.remove(0)
    };
    let alone = weak(false, 0);
    let p = alone.p.unwrap();
    assert!(p < 0.02 && p > 0.0001, "{p}");
    let early = alone.early.unwrap().aborted_after;
    assert_eq!((alone.outcome, early), (Outcome::Fail, None), "{alone}");
    let many = usize::try_from((0.05 / p) as u64).unwrap() + 1;
    let among_many = weak(false, many.min(60));
    assert_eq!(among_many.outcome, Outcome::Pass, "{among_many}");
    assert!(among_many.why.contains("Holm"), "{among_many}");
    assert_eq!(weak(true, many.min(60)).outcome, Outcome::Fail);
}

#[test]
fn questions_that_cannot_be_answered_name_their_field() {
    let refused = |change: fn(&mut Canary), expected: &str| {
        let mut canary = question(&world(7, Truth::Alike, 60, 0, 0.0), 60, 30);
        change(&mut canary);
        let found = judge_canary(&canary).unwrap_err().to_string();
        assert!(found.contains(expected), "{found}");
    };
    refused(|c| c.metrics.clear(), "metrics: 0 metrics; give 1 to 64");
    refused(
        |c| c.metrics.push(c.metrics[0].clone()),
        "metrics[1].name: `latency_ms` is there twice",
    );
    refused(|c| c.metrics[0].weight = 0.0, "metrics[0].weight: 0 is no weight");
    refused(|c| c.metrics[0].weight = f64::NAN, "metrics[0].weight");
    refused(
        |c| c.metrics[0].effect = Effect { rel_bp: 0, abs: -1.0 },
        "metrics[0].effect.abs",
    );
    refused(|c| c.metrics[0].interval_ms = 0, "metrics[0].interval_ms");
    refused(
        |c| c.metrics[0].history = vec![None; 1_001],
        "metrics[0].history: 1001 samples; at most 1000",
    );
    refused(|c| c.step_ms = 0, "step_ms");
    refused(|c| c.nodes = Nodes { total: 1, failed: 2 }, "nodes.failed: 2 of 1");
    let typo = Canary::parse(br#"{"metrics": [], "step_ms": 1, "elapsed_ms": 1, "sead": 1}"#).unwrap_err();
    assert!(typo.to_string().contains("unknown field `sead`"), "{typo}");
}

#[test]
fn a_report_is_read_back_as_it_was_written() {
    let report = asked(Truth::Slower(1.5), |c| c.metrics.push(quiet("errors", 1.0)));
    let text = serde_json::to_string(&report).unwrap();
    let read: Report = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (read.verdict, read.next, &read.why),
        (report.verdict, report.next, &report.why)
    );
    assert_eq!(
        read.metrics[0].early,
        report.metrics[0].early.map(|early| policy::canary::EarlyReport {
            wealth: read.metrics[0].early.unwrap().wealth,
            ..early
        })
    );
    assert_eq!(read.to_string(), report.to_string());
    assert!(
        text.starts_with(r#"{"verdict":"abort","next":"roll_back","why":"latency_ms: "#),
        "{text}"
    );
}

#[test]
fn correlation_is_estimated_and_thinned_away() {
    for (lag_one, every) in [
        (-0.5, 1),
        (0.0, 1),
        (0.1, 1),
        (0.11, 2),
        (0.5, 4),
        (0.8, 11),
        (0.9, 22),
        (2.0, 230),
    ] {
        assert_eq!(thinning(lag_one), every, "{lag_one}");
    }
    let mut noise = worlds::Noise::new(3);
    for truth in [0.0, 0.5, 0.8] {
        let series: Vec<_> = noise.correlated(900, truth).into_iter().map(Some).collect();
        let found = lag_one(&series).unwrap();
        assert!((found - truth).abs() < 0.1, "{found} is not {truth}");
    }
    assert_eq!(lag_one(&[Some(1.0); 19]), None);
    let still = lag_one(&[Some(1.0); 20]).unwrap();
    assert!(still < 0.1, "a series that never moves has no correlation: {still}");
    let report = asked(Truth::Alike, |c| {
        c.metrics[0].independent = false;
        c.metrics[0].min_n = 5;
        let slow: Vec<_> = (0..60).map(|n| Some(f64::from(n / 10 * 7 % 5))).collect();
        c.metrics[0].baseline = slow;
    });
    let metric = &report.metrics[0];
    assert!(metric.every >= 5 && metric.baseline.effective <= 12, "{report}");
}

#[test]
fn straight_worse_intervals_are_counted_from_the_newest() {
    let pairs = [(1.0, 2.0), (2.0, 1.0), (1.0, 2.0), (1.0, 3.0)];
    assert_eq!(straight_worse(Direction::Up, &pairs), 2);
    assert_eq!(straight_worse(Direction::Down, &pairs), 0);
    assert_eq!(straight_worse(Direction::Both, &pairs), 4);
}

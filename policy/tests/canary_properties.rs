//! What holds of every canary analysis: mirrors, units and order change nothing, worse never looks better, missing data never passes.
#![allow(clippy::unwrap_used)]

#[path = "worlds/canary.rs"]
#[allow(dead_code)]
mod worlds;

use policy::canary::{
    Canary, Direction, Metric, Next, Outcome, Report, Side, Verdict, hodges_lehmann, judge_canary, mann_whitney,
};
use proptest::prelude::*;
use worlds::{Truth, question, world};

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

fn samples() -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec(-100.0..100.0f64, 5..40)
}

fn rank(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Pass => 0,
        Verdict::Inconclusive => 1,
        Verdict::Abort => 2,
    }
}

/// A question about any two series.
fn any_question(baseline: &[f64], canary: &[f64]) -> Canary {
    let mut question = question(&world(1, Truth::Alike, 1, 0, 0.0), 1, 5);
    question.elapsed_ms = question.step_ms;
    let some = |values: &[f64]| values.iter().copied().map(Some).collect();
    (question.metrics[0].baseline, question.metrics[0].canary) = (some(baseline), some(canary));
    question
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn exchanging_the_groups_mirrors_the_tests(x in samples(), y in samples()) {
        let (there, back) = (mann_whitney(&x, &y, Side::Both), mann_whitney(&y, &x, Side::Both));
        prop_assert!((there.p - back.p).abs() < 1e-12);
        prop_assert_eq!(there.u + back.u, (x.len() * y.len()) as f64);
        let one_sided = (mann_whitney(&x, &y, Side::Greater).p, mann_whitney(&y, &x, Side::Less).p);
        prop_assert!((one_sided.0 - one_sided.1).abs() < 1e-12);
        let (there, back) = (hodges_lehmann(&x, &y, 0.02).unwrap(), hodges_lehmann(&y, &x, 0.02).unwrap());
        prop_assert_eq!((there.low, there.estimate, there.high), (-back.high, -back.estimate, -back.low));
        prop_assert!(there.low <= there.estimate && there.estimate <= there.high);
    }

    #[test]
    fn the_order_within_a_group_changes_no_test(x in samples(), y in samples(), turn in 0usize..40) {
        let mut turned = x.clone();
        turned.rotate_left(turn % x.len());
        turned.reverse();
        prop_assert_eq!(mann_whitney(&x, &y, Side::Both), mann_whitney(&turned, &y, Side::Both));
        prop_assert_eq!(hodges_lehmann(&x, &y, 0.02), hodges_lehmann(&turned, &y, 0.02));
    }

    #[test]
    fn the_test_rejects_exactly_where_the_interval_leaves_zero_out(x in samples(), y in samples()) {
        let shift = hodges_lehmann(&x, &y, 0.02).unwrap();
        let p = mann_whitney(&x, &y, Side::Both).p;
        // Groups too small to reject have the widest interval there is, and may leave zero out with it.
        prop_assume!(x.len().min(y.len()) >= 5);
        prop_assert_eq!(p <= 0.02, shift.low > 0.0 || shift.high < 0.0, "p {}, {:?}", p, shift);
    }

    #[test]
    fn neither_units_nor_mirrors_nor_order_change_a_verdict(x in samples(), y in samples(), power in -8i32..8) {
        let plain = judge_canary(&any_question(&x, &y)).unwrap();
        let scale = |values: &[f64], by: f64| values.iter().map(|value| value * by).collect::<Vec<_>>();
        let unit = 2f64.powi(power);
        let scaled = judge_canary(&any_question(&scale(&x, unit), &scale(&y, unit))).unwrap();
        prop_assert_eq!((plain.verdict, plain.next, plain.score), (scaled.verdict, scaled.next, scaled.score));
        let mut mirrored = any_question(&scale(&x, -1.0), &scale(&y, -1.0));
        mirrored.metrics[0].direction = Direction::Down;
        let tests = |report: &Report| (report.metrics[0].location.map(|l| l.is_worse), report.metrics[0].p);
        prop_assert_eq!(tests(&plain).0, tests(&judge_canary(&mirrored).unwrap()).0);
        let (mut one, mut two) = (any_question(&x, &y), any_question(&x, &y));
        one.metrics.push(quiet("a", 1.0));
        two.metrics.insert(0, quiet("a", 1.0));
        let (one, two) = (judge_canary(&one).unwrap(), judge_canary(&two).unwrap());
        prop_assert_eq!((one.verdict, one.next, one.score), (two.verdict, two.next, two.score));
        prop_assert_eq!(&one.metrics[0], &two.metrics[1]);
    }

    #[test]
    fn a_worse_canary_never_has_a_better_verdict(x in samples(), y in samples(), worse in 0.0..50.0f64, seed: u64) {
        let (mut before, mut after) = (any_question(&x, &y), any_question(&x, &y.iter().map(|value| value + worse).collect::<Vec<_>>()));
        (before.seed, after.seed) = (seed, seed);
        let (before, after) = (judge_canary(&before).unwrap(), judge_canary(&after).unwrap());
        prop_assert!(rank(after.verdict) >= rank(before.verdict), "{}\n{}", before, after);
    }

    #[test]
    fn missing_data_never_passes(x in samples(), y in samples(), holes in prop::collection::vec(any_hole(), 0..40), late: bool) {
        let mut question = any_question(&x, &y);
        question.metrics.push(quiet("other", 1.0));
        question.metrics[0].critical = holes.len() % 2 == 0;
        for (of_canary, at, value) in holes {
            let metric = &mut question.metrics[0];
            let side = if of_canary { &mut metric.canary } else { &mut metric.baseline };
            if let Some(sample) = side.get_mut(at) {
                *sample = value;
            }
        }
        question.elapsed_ms = if late { 10 * question.step_ms } else { question.step_ms };
        let report = judge_canary(&question).unwrap();
        let unknown = report.metrics.iter().any(|metric| metric.outcome == Outcome::NoData);
        prop_assert!(!unknown || report.verdict != Verdict::Pass && report.next != Next::Advance, "{}", report);
        let guarded = judge_canary(&Canary { page_fast: true, ..question }).unwrap();
        prop_assert_eq!(guarded.verdict, Verdict::Abort);
    }
}

fn any_hole() -> impl Strategy<Value = (bool, usize, Option<f64>)> {
    let value = prop_oneof![
        Just(None),
        Just(Some(f64::NAN)),
        Just(Some(f64::INFINITY)),
        Just(Some(1e308)),
        Just(Some(-0.0))
    ];
    (any::<bool>(), 0usize..40, value)
}

//! The tests of a canary analysis say what SciPy says, to 1e-9. `golden-scipy/make.py` wrote the vectors and names the version.
#![allow(clippy::unwrap_used)]

use policy::canary::{
    Method, Side, binomial_tail, hodges_lehmann, hypergeometric_tail, mann_whitney, normal_quantile, normal_tail,
    tail_test,
};
use serde_json::Value;

fn vectors() -> Value {
    serde_json::from_str(include_str!("golden-scipy/vectors.json")).unwrap()
}

fn cases(name: &str) -> Vec<Value> {
    let list = vectors()[name].as_array().unwrap().clone();
    assert!(list.len() >= 6, "{name} has too few vectors to mean anything");
    list
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

fn count(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(number).collect()
}

/// Equal to 1e-9, absolutely and, for what is not next to nothing, of the value itself.
fn check(found: f64, expected: &Value, what: &str) {
    let expected = number(expected);
    let scale = if expected.abs() < 1e-200 {
        1.0
    } else {
        expected.abs().min(1.0)
    };
    assert!(
        (found - expected).abs() <= 1e-9 * scale,
        "{what}: found {found:e}, SciPy says {expected:e}"
    );
}

#[test]
fn ranks_are_as_likely_as_scipy_says() {
    for case in cases("ranks") {
        let (x, y) = (numbers(&case["x"]), numbers(&case["y"]));
        let what = format!("{} against {}, {}", x.len(), y.len(), case["method"]);
        for (side, name) in [
            (Side::Both, "two-sided"),
            (Side::Greater, "greater"),
            (Side::Less, "less"),
        ] {
            let found = mann_whitney(&x, &y, side);
            check(found.p, &case["p"][name], &format!("{what} {name}"));
            check(found.u, &case["u"], &what);
            assert_eq!(found.method == Method::Exact, case["method"] == "exact", "{what}");
        }
    }
}

#[test]
fn the_interval_holds_the_shifts_that_scipys_test_does_not_reject() {
    for case in cases("shifts") {
        let (x, y) = (numbers(&case["x"]), numbers(&case["y"]));
        let what = format!("{} against {}", x.len(), y.len());
        let found = hodges_lehmann(&x, &y, number(&case["alpha"])).unwrap();
        check(found.estimate, &case["estimate"], &what);
        check(found.low, &case["low"], &what);
        check(found.high, &case["high"], &what);
    }
}

#[test]
fn tails_of_distributions_are_scipys() {
    for case in cases("hypergeometric") {
        let (hits, all, marked) = (count(&case["hits"]), count(&case["all"]), count(&case["marked"]));
        let found = hypergeometric_tail(hits, all, marked, count(&case["drawn"]));
        check(found, &case["p"], &case.to_string());
    }
    for case in cases("binomial") {
        let found = binomial_tail(count(&case["hits"]), count(&case["n"]), number(&case["q"]));
        check(found, &case["p"], &case.to_string());
    }
    for case in cases("normal_tail") {
        check(normal_tail(number(&case[0])), &case[1], &case.to_string());
    }
    for case in cases("normal_quantile") {
        check(normal_quantile(number(&case[0])), &case[1], &case.to_string());
    }
}

#[test]
fn exceedances_of_the_pooled_quantile_are_fishers_test() {
    for case in cases("tails") {
        let (baseline, canary) = (numbers(&case["baseline"]), numbers(&case["canary"]));
        let found = tail_test(&baseline, &canary, number(&case["share"])).unwrap();
        check(found.threshold, &case["threshold"], "threshold");
        assert_eq!(
            (found.canary as u64, found.baseline as u64),
            (count(&case["beyond"][0]), count(&case["beyond"][1]))
        );
        check(found.p, &case["p"], "tail");
    }
}

#[test]
fn four_against_four_can_never_be_significant() {
    let (low, high) = ([1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]);
    assert!(mann_whitney(&high, &low, Side::Both).p > 0.028);
    let (low, high) = ([1.0, 2.0, 3.0, 4.0, 5.0], [6.0, 7.0, 8.0, 9.0, 10.0]);
    assert!((mann_whitney(&high, &low, Side::Both).p - 2.0 / 252.0).abs() < 1e-12);
}

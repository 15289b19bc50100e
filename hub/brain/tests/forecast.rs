//! The forecaster on generated series: what it must get right, and what must never break.

use hub_brain::forecast::{Forecaster, Method, Refused};
use proptest::collection::vec;
use proptest::prelude::*;

const STEP_MS: u64 = 300_000;
const DAY: u64 = 288;

#[test]
fn a_daily_wave_is_forecast_better_than_by_yesterday() {
    let series = |step: u64| 50.0 + 20.0 * wave(step, DAY) + 3.0 * noise(step);
    let (ours, naive, covered) = rolling(series, 14);
    assert!(ours < 0.85 * naive, "{ours} against {naive}");
    assert!((0.85..=0.95).contains(&covered), "{covered}");
}

#[test]
fn a_weekend_is_told_from_a_working_day() {
    let week = |step: u64| if step / DAY % 7 < 5 { 1.0 } else { 0.3 };
    let series = |step: u64| 100.0 * week(step) * (1.0 + wave(step, DAY)) + 3.0 * noise(step);
    let (ours, naive, _) = rolling(series, 42);
    assert!(ours < 0.8 * naive, "{ours} against {naive}");
}

#[test]
fn a_series_without_a_season_is_not_given_one() {
    let mut level = 0.0;
    let values: Vec<f64> = (0..14 * DAY)
        .map(|step| {
            level += noise(step);
            level
        })
        .collect();
    let (ours, naive, covered) = rolling(|step| values[step as usize], 14);
    assert!(ours < 0.6 * naive, "{ours} against {naive}");
    assert!((0.80..=0.97).contains(&covered), "{covered}");
}

#[test]
fn where_the_mixture_is_worse_yesterday_is_the_forecast() {
    // The same noise every day: only a copy of yesterday knows it, and a mixture blurs it.
    let mut forecaster = Forecaster::new(STEP_MS);
    for step in 0..10 * DAY {
        let value = 100.0 * noise(step % DAY) + 0.1 * noise(step);
        forecaster.observe(step * STEP_MS, value).expect("in order");
    }
    forecaster.close();
    let forecast = forecaster.forecast(60).expect("ten days were seen");
    let error: f64 = (0..60)
        .map(|ahead| (forecast.points[ahead as usize].middle - 100.0 * noise(ahead)).abs())
        .sum();
    assert!(error / 60.0 < 5.0, "{:?}: {}", forecast.method, error / 60.0);
}

#[test]
fn values_that_are_none_or_too_late_are_refused_and_change_nothing() {
    let mut forecaster = Forecaster::new(STEP_MS);
    forecaster.observe(10 * STEP_MS, 1.0).expect("the first value");
    let before = forecaster.clone();
    assert!(matches!(
        forecaster.observe(10 * STEP_MS, f64::NAN),
        Err(Refused::Value { .. })
    ));
    assert!(matches!(
        forecaster.observe(11 * STEP_MS, f64::INFINITY),
        Err(Refused::Value { .. })
    ));
    let late = forecaster.observe(9 * STEP_MS, 1.0);
    assert_eq!(
        late,
        Err(Refused::Late {
            at_ms: 9 * STEP_MS,
            late_ms: STEP_MS
        })
    );
    assert!(forecaster == before, "a refused value changed the state");
}

#[test]
fn nothing_is_forecast_before_a_step_is_over() {
    let mut forecaster = Forecaster::new(STEP_MS);
    assert_eq!(forecaster.forecast(12), None);
    forecaster.observe(0, 1.0).expect("the first value");
    assert_eq!(forecaster.forecast(12), None);
    forecaster.observe(STEP_MS, 1.0).expect("the second value");
    let forecast = forecaster.forecast(12).expect("one step is over");
    assert_eq!((forecast.at_ms, forecast.points.len()), (STEP_MS, 12));
    assert_eq!(forecast.method, Method::Mixture);
}

#[test]
fn a_stored_state_goes_on_where_it_stopped() {
    let mut one = Forecaster::new(STEP_MS);
    feed(&mut one, 0..3 * DAY);
    let bytes = postcard::to_allocvec(&one).expect("plain data");
    assert!(bytes.len() <= Forecaster::MOST_BYTES, "{} bytes", bytes.len());
    let mut other: Forecaster = postcard::from_bytes(&bytes).expect("the bytes just written");
    feed(&mut one, 3 * DAY..5 * DAY);
    feed(&mut other, 3 * DAY..5 * DAY);
    assert!(one == other, "the stored state went another way");
}

#[test]
fn memory_does_not_grow_with_time() {
    let size = |days: u64| {
        let mut forecaster = Forecaster::new(STEP_MS);
        feed(&mut forecaster, 0..days * DAY);
        postcard::to_allocvec(&forecaster).expect("plain data").len()
    };
    let (early, late) = (size(10), size(100));
    assert!(
        late <= early + 64,
        "{early} bytes after ten days, {late} after a hundred"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn quantiles_are_finite_and_in_order_whatever_comes(
        values in vec((0..20u64, prop_oneof![-1e18..1e18f64, -1.0..1.0f64, Just(0.0), Just(f64::NAN), Just(1e18)]), 1..400),
        step_ms in prop_oneof![Just(1_000u64), Just(300_000), Just(86_400_000), 0..u64::MAX],
        steps in 0..400u32,
    ) {
        let mut forecaster = Forecaster::new(step_ms);
        let mut at = 1_700_000_000_000u64;
        for (gap, value) in values {
            at += gap * step_ms.clamp(1_000, 86_400_000) / 2;
            // A refusal is an answer here: what is refused must not matter.
            let _ = forecaster.observe(at, value);
        }
        forecaster.close();
        if let Some(forecast) = forecaster.forecast(steps) {
            for point in &forecast.points {
                prop_assert!(point.low.is_finite() && point.middle.is_finite() && point.high.is_finite());
                prop_assert!(point.low <= point.middle && point.middle <= point.high, "{point:?}");
            }
        }
        prop_assert!((0.0..=1.0).contains(&forecaster.coverage()));
    }
}

/// Mean error of ours and of yesterday's values, and the share inside the band, over origins of the second half.
fn rolling(series: impl Fn(u64) -> f64, days: u64) -> (f64, f64, f64) {
    let mut forecaster = Forecaster::new(STEP_MS);
    let (mut ours, mut naive, mut inside, mut count) = (0.0, 0.0, 0.0, 0.0);
    for step in 0..days * DAY - 60 {
        forecaster.observe(step * STEP_MS, series(step)).expect("in order");
        if step < days * DAY / 2 || step % 37 != 0 {
            continue;
        }
        forecaster.close();
        let forecast = forecaster.forecast(60).expect("half of the days were seen");
        for (ahead, point) in (1..).zip(&forecast.points) {
            let value = series(step + ahead);
            ours += (value - point.middle).abs();
            naive += (value - series(step + ahead - DAY)).abs();
            inside += f64::from(u8::from((point.low..=point.high).contains(&value)));
            count += 1.0;
        }
    }
    (ours / count, naive / count, inside / count)
}

fn feed(forecaster: &mut Forecaster, steps: std::ops::Range<u64>) {
    for step in steps {
        let value = 50.0 + 20.0 * wave(step, DAY) + noise(step);
        forecaster.observe(step * STEP_MS, value).expect("in order");
    }
}

fn wave(step: u64, period: u64) -> f64 {
    (step as f64 / period as f64 * std::f64::consts::TAU).sin()
}

/// Between -1 and 1, the same for the same step.
fn noise(step: u64) -> f64 {
    let mut x = step.wrapping_add(0x9e37_79b9_7f4a_7c15);
    for _ in 0..3 {
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x ^= x >> 27;
    }
    (x >> 11) as f64 / (1u64 << 52) as f64 - 1.0
}

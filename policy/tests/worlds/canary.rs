//! Canaries of which the truth is known: latencies around 100 ms with log-normal noise, alike or worse in one chosen way.
//!
//! Shared by the small version that tests run and by the bench `canary`. Everything follows from a seed.

use policy::canary::{Canary, Counter, Direction, Effect, Metric, NoDataIs, Nodes, Samples};

/// Noise of one sample, in log units: a third of the samples are more than 20 % off.
pub const SIGMA: f64 = 0.2;
/// Distance of two samples.
const INTERVAL_MS: u64 = 30_000;

/// Uniform and normal numbers from a seed.
pub struct Noise(u64);

impl Noise {
    /// A stream of its own for each seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0xD134_2543_DE82_EF95) ^ 0x5851_F42D_4C95_7F2D)
    }

    /// Above 0 and below 1.
    pub fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^= bits >> 31;
        ((bits >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    /// Standard normal.
    pub fn normal(&mut self) -> f64 {
        let (a, b) = (self.uniform(), self.uniform());
        (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()
    }

    /// Standard normal, each resembling its neighbour by `lag_one`.
    pub fn correlated(&mut self, n: usize, lag_one: f64) -> Vec<f64> {
        let mut state = self.normal();
        let fresh = (1.0 - lag_one * lag_one).sqrt();
        (0..n)
            .map(|_| {
                state = lag_one * state + fresh * self.normal();
                state
            })
            .collect()
    }
}

/// How a canary differs.
#[derive(Clone, Copy)]
pub enum Truth {
    /// Not at all.
    Alike,
    /// Slower by this factor.
    Slower(f64),
    /// Noise of this many times the standard deviation about the same median.
    Wider(f64),
    /// This share of its requests takes 100 times as long.
    Stuck(f64),
}

/// Samples of both groups and of the time before.
pub struct World {
    /// Of the baseline before the step.
    pub history: Vec<f64>,
    /// Of the baseline.
    pub baseline: Vec<f64>,
    /// Of the canary.
    pub canary: Vec<f64>,
}

/// Makes one.
pub fn world(seed: u64, truth: Truth, intervals: usize, history: usize, lag_one: f64) -> World {
    let mut noise = Noise::new(seed);
    let value = |z: &f64| 100.0 * (SIGMA * z).exp();
    // One series that the step divides, so that the history is the baseline's own.
    let old = noise.correlated(history + intervals, lag_one);
    let new = noise.correlated(intervals, lag_one);
    let canary = new.iter().map(|z| match truth {
        Truth::Alike => value(z),
        Truth::Slower(factor) => value(z) * factor,
        Truth::Wider(times) => value(&(z * times)),
        Truth::Stuck(share) => value(z) * if noise.uniform() < share { 100.0 } else { 1.0 },
    });
    World {
        canary: canary.collect(),
        history: old[..history].iter().map(value).collect(),
        baseline: old[history..].iter().map(value).collect(),
    }
}

/// The question that a look after `intervals` asks: one critical metric without warm-up, so that interval 1 is sample 1.
pub fn question(world: &World, intervals: usize, min_n: usize) -> Canary {
    let some = |values: &[f64]| -> Samples { values.iter().copied().map(Some).collect() };
    Canary {
        metrics: vec![Metric {
            name: "latency_ms".to_owned(),
            direction: Direction::Up,
            effect: Effect::default(),
            critical: true,
            weight: 1.0,
            min_n,
            nodata: NoDataIs::Hold,
            paired: false,
            counter: Counter::Gauge,
            independent: world.history.is_empty(),
            hard_limit: None,
            interval_ms: INTERVAL_MS,
            warm_up_ms: 0,
            expected: None,
            baseline: some(&world.baseline[..intervals]),
            canary: some(&world.canary[..intervals]),
            history: some(&world.history),
        }],
        errors: None,
        page_fast: false,
        nodes: Nodes { total: 10, failed: 0 },
        step_ms: 60 * INTERVAL_MS,
        elapsed_ms: intervals as u64 * INTERVAL_MS,
        no_data_deadline_ms: None,
        extended: false,
        seed: 1,
    }
}

/// The first look, one after every interval, that aborts early; `None` if none does. The step's own tests are kept out of it.
pub fn first_abort(world: &World, seed: u64) -> Option<usize> {
    (1..=world.canary.len()).find(|intervals| {
        let mut question = question(world, *intervals, usize::MAX);
        question.seed = seed;
        let report = policy::canary::judge_canary(&question).expect("the question is in order");
        report.metrics[0]
            .early
            .is_some_and(|early| early.aborted_after.is_some())
    })
}

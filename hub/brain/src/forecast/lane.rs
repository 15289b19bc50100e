//! One distance ahead: which forecaster is believed how much there, and how wrong the mixture has been.
//!
//! At every step each forecaster's word for this distance is kept until its time has come; its error then moves its weight. The
//! errors of the mixture itself become the band around the next forecast (split conformal prediction), and each end of the band
//! moves outward or inward as more or fewer values fall beyond it than should (adaptive conformal inference, Gibbs and Candès 2021).
//!
//! Invariants: weights are positive and add up to 1; memory is fixed at construction.

use serde::{Deserialize, Serialize};

use super::errors::Errors;

/// How much more a forecaster that errs half as much is believed: 2 to this power.
const SHARPNESS: i32 = 6;
/// What an error counts for in a forecaster's record, per step: about the last 125 steps.
const RECENT: f64 = 0.008;
/// The mixture is given up when it errs this much more than the reference, and taken back at no more than the reference.
const GIVE_UP: f64 = 1.1;
/// The share of values that may fall beyond either end of the band.
const TAIL: f64 = 0.05;
/// How fast an end of the band moves, per step.
const ADAPT: f64 = 0.002;

/// What waits to come true at one distance, and the record of what did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lane {
    experts: usize,
    reference: usize,
    said: Vec<f32>,
    points: Vec<Point>,
    next: usize,
    waiting: usize,
    record: Vec<f64>,
    weights: Vec<f64>,
    mixed_error: f64,
    scored: u32,
    refers: bool,
    errors: Errors,
    tails: [f64; 2],
    covered: f64,
}

/// A point forecast and its band.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Below this lie 5 % of values.
    pub low: f64,
    /// Below this lies half of them.
    pub middle: f64,
    /// Above this lie 5 % of values.
    pub high: f64,
}

impl Lane {
    /// A lane `ahead` steps long for so many forecasters, of which `reference` is the one that the mixture must not be worse than.
    ///
    /// The errors that make the band lie at most `spacing` steps apart.
    pub fn new(ahead: u32, experts: usize, reference: usize, spacing: u32) -> Self {
        let ahead = ahead.max(1) as usize;
        Self {
            experts,
            reference,
            said: vec![0.0; ahead * experts],
            points: vec![Point::default(); ahead],
            next: 0,
            waiting: 0,
            record: vec![0.0; experts],
            weights: vec![1.0 / experts as f64; experts],
            mixed_error: 0.0,
            scored: 0,
            refers: false,
            errors: Errors::new(spacing),
            tails: [TAIL; 2],
            covered: 1.0 - 2.0 * TAIL,
        }
    }

    /// Steps between a forecast and its value.
    pub fn steps(&self) -> u32 {
        self.points.len() as u32
    }

    /// How many forecasts have been held against their values.
    pub fn scored(&self) -> u32 {
        self.scored
    }

    /// The measured errors, value less forecast.
    pub fn errors(&self) -> &Errors {
        &self.errors
    }

    /// The share of recent values that lay inside the band.
    pub fn coverage(&self) -> f64 {
        self.covered
    }

    /// Whether the reference forecasts in place of the mixture, which has been worse.
    pub fn refers(&self) -> bool {
        self.refers
    }

    /// The mean error of the mixture and of the reference over the recent steps.
    pub fn mean_errors(&self) -> (f64, f64) {
        (self.mixed_error, self.record[self.reference])
    }

    /// One step has passed, with its value if there was one: scores what was said of it `steps` ago.
    pub fn arrive(&mut self, value: Option<f64>) {
        if self.waiting < self.points.len() {
            return;
        }
        self.waiting -= 1;
        if let Some(value) = value {
            self.score(value);
        }
    }

    fn score(&mut self, value: f64) {
        self.scored = self.scored.saturating_add(1);
        let rate = RECENT.max(1.0 / f64::from(self.scored));
        let said = &self.said[self.next * self.experts..][..self.experts];
        let mixed: f64 = said
            .iter()
            .zip(&self.weights)
            .map(|(said, weight)| f64::from(*said) * weight)
            .sum();
        for (record, said) in self.record.iter_mut().zip(said) {
            *record += rate * ((value - f64::from(*said)).abs() - *record);
        }
        self.mixed_error += rate * ((value - mixed).abs() - self.mixed_error);
        let point = self.points[self.next];
        self.errors.push(value - point.middle);
        self.widen(value, point);
        self.weigh();
    }

    /// Moves each end of the band by whether the value lay beyond it.
    fn widen(&mut self, value: f64, point: Point) {
        let beyond = [value < point.low, value > point.high];
        for (tail, beyond) in self.tails.iter_mut().zip(beyond) {
            let missed = if beyond { 1.0 } else { 0.0 };
            *tail = (*tail + ADAPT * (TAIL - missed)).clamp(TAIL / 10.0, 3.0 * TAIL);
        }
        let inside = if beyond == [false; 2] { 1.0 } else { 0.0 };
        self.covered += RECENT * (inside - self.covered);
    }

    fn weigh(&mut self) {
        let best = self
            .record
            .iter()
            .copied()
            .fold(f64::INFINITY, f64::min)
            .max(f64::MIN_POSITIVE);
        for (weight, record) in self.weights.iter_mut().zip(&self.record) {
            *weight = (best / record.max(best)).powi(SHARPNESS);
        }
        let sum: f64 = self.weights.iter().sum();
        self.weights.iter_mut().for_each(|weight| *weight /= sum);
        let reference = self.record[self.reference];
        let bound = if self.refers { reference } else { GIVE_UP * reference };
        self.refers = self.mixed_error > bound;
    }

    /// Keeps what is said now until its time has come.
    pub fn issue(&mut self, said: &[f64]) {
        self.points[self.next] = self.point(said);
        for (kept, said) in self.said[self.next * self.experts..][..self.experts]
            .iter_mut()
            .zip(said)
        {
            *kept = *said as f32;
        }
        self.next = (self.next + 1) % self.points.len();
        self.waiting = (self.waiting + 1).min(self.points.len());
    }

    /// Forgets what waits, as after a long gap; the record stays.
    pub fn skip(&mut self) {
        self.waiting = 0;
    }

    /// What these of the forecasters say together, by their weights among each other.
    pub fn point_of(&self, said: &[f64], these: std::ops::Range<usize>) -> f64 {
        let weights = &self.weights[these.clone()];
        let sum: f64 = weights.iter().sum();
        said[these]
            .iter()
            .zip(weights)
            .map(|(said, weight)| said * weight / sum)
            .sum()
    }

    /// The forecast that these words make, with its band.
    pub fn point(&self, said: &[f64]) -> Point {
        let middle = if self.refers {
            said[self.reference]
        } else {
            said.iter().zip(&self.weights).map(|(said, weight)| said * weight).sum()
        };
        Point {
            low: middle + self.errors.quantile(self.tails[0]).min(0.0),
            middle,
            high: middle + self.errors.quantile(1.0 - self.tails[1]).max(0.0),
        }
    }
}

//! What a season looks like: the mean value of each part of a day or a week, and what yesterday measured.
//!
//! Bounded: a season has at most as many parts as it was given, however many steps it lasts; several steps then share a part.

use serde::{Deserialize, Serialize};

/// The mean deviation of each part of a season from the level, learned online.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    period: u32,
    parts: Vec<f32>,
    rounds: Vec<u8>,
}

/// How fast an old season is forgotten: the newest counts this much at least.
const FRESH: f32 = 0.25;

impl Profile {
    /// A season of `period` steps in at most `most` parts.
    pub fn new(period: u32, most: u32) -> Self {
        let parts = period.clamp(1, most) as usize;
        Self {
            period: period.max(1),
            parts: vec![0.0; parts],
            rounds: vec![0; parts],
        }
    }

    fn place(&self, step: u64) -> usize {
        let phase = step % u64::from(self.period);
        (phase * self.parts.len() as u64 / u64::from(self.period)) as usize
    }

    /// The deviation expected at this step: smoothed over its neighbours, 0 where no season has been seen yet.
    pub fn at(&self, step: u64) -> f64 {
        const WEIGHTS: [f32; 5] = [1.0, 2.0, 3.0, 2.0, 1.0];
        let (here, many) = (self.place(step), self.parts.len());
        if self.rounds[here] == 0 {
            return 0.0;
        }
        let (mut sum, mut weights) = (0.0, 0.0);
        for (offset, weight) in WEIGHTS.iter().enumerate() {
            let near = (here + 2 * many + offset - 2) % many;
            if self.rounds[near] > 0 {
                sum += weight * self.parts[near];
                weights += weight;
            }
        }
        f64::from(sum / weights)
    }

    /// Learns the deviation measured at this step.
    pub fn learn(&mut self, step: u64, deviation: f64) {
        let here = self.place(step);
        self.rounds[here] = self.rounds[here].saturating_add(1);
        let rate = FRESH.max(1.0 / f32::from(self.rounds[here]));
        self.parts[here] += rate * (deviation as f32 - self.parts[here]);
    }
}

/// What was measured one day ago.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Yesterday {
    period: u32,
    values: Vec<Option<f32>>,
}

impl Yesterday {
    /// A day of `period` steps, of which at most 288 parts are kept.
    pub fn new(period: u32) -> Self {
        Self {
            period: period.max(1),
            values: vec![None; period.clamp(1, 288) as usize],
        }
    }

    fn place(&self, step: u64) -> usize {
        let phase = step % u64::from(self.period);
        (phase * self.values.len() as u64 / u64::from(self.period)) as usize
    }

    /// The last value measured at this time of the day.
    pub fn at(&self, step: u64) -> Option<f64> {
        self.values[self.place(step)].map(f64::from)
    }

    /// Keeps the value of this step.
    pub fn learn(&mut self, step: u64, value: f64) {
        let place = self.place(step);
        self.values[place] = Some(value as f32);
    }

    /// Whether each part of a day has a value.
    pub fn full(&self) -> bool {
        self.values.iter().all(Option::is_some)
    }
}

//! The last errors of a forecast, kept in order of size: what a band is made of and a chance is counted in.
//!
//! Neighbouring errors are nearly the same, so once the ring is full every second one leaves and later ones are taken at twice the
//! distance, up to a greatest distance: a short history is used whole, and a long one spans days.
//!
//! Invariant: at most [`KEPT`] errors, all finite.

use serde::{Deserialize, Serialize};

/// How many errors are kept: enough for a 5 % tail of six.
pub const KEPT: usize = 128;

/// A bounded history of errors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Errors {
    ring: Vec<f32>,
    sorted: Vec<f32>,
    oldest: usize,
    spacing: u32,
    widest: u32,
    passed: u32,
}

impl Errors {
    /// No errors yet. `widest` is the greatest distance between two that are kept.
    pub fn new(widest: u32) -> Self {
        Self {
            ring: Vec::new(),
            sorted: Vec::new(),
            oldest: 0,
            spacing: 1,
            widest: widest.max(1),
            passed: 0,
        }
    }

    /// How many are kept.
    pub fn len(&self) -> usize {
        self.ring.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    /// Takes this error, unless it is too near to the last one that was taken.
    pub fn push(&mut self, error: f64) {
        self.passed += 1;
        if self.passed < self.spacing {
            return;
        }
        self.passed = 0;
        let error = error as f32;
        if self.ring.len() == KEPT && self.spacing < self.widest {
            self.thin();
        }
        if self.ring.len() < KEPT {
            self.ring.push(error);
        } else {
            let gone = std::mem::replace(&mut self.ring[self.oldest], error);
            self.oldest = (self.oldest + 1) % KEPT;
            let place = self.sorted.partition_point(|kept| kept.total_cmp(&gone).is_lt());
            self.sorted.remove(place);
        }
        let place = self.sorted.partition_point(|kept| kept.total_cmp(&error).is_lt());
        self.sorted.insert(place, error);
    }

    /// Lets every second one go. The ring has not wrapped round yet, so it stays in order of time.
    fn thin(&mut self) {
        self.spacing = (self.spacing * 2).min(self.widest);
        self.ring = self.ring.iter().copied().skip(1).step_by(2).collect();
        self.sorted = self.ring.clone();
        self.sorted.sort_by(f32::total_cmp);
    }

    /// The error below which this share of them lies, between the nearest two; 0 when there are none.
    ///
    /// A share that lies beyond the outermost errors gives the outermost one.
    pub fn quantile(&self, share: f64) -> f64 {
        let Some(last) = self.sorted.len().checked_sub(1) else {
            return 0.0;
        };
        let place = (share * (self.sorted.len() + 1) as f64 - 1.0).clamp(0.0, last as f64);
        let (below, part) = (place as usize, place - libm::floor(place));
        let (low, high) = (
            f64::from(self.sorted[below]),
            f64::from(self.sorted[(below + 1).min(last)]),
        );
        low + (high - low) * part
    }

    /// The chance that the next error is at least this large, counted from the past ones (Krichevsky and Trofimov's half each way).
    pub fn chance_of_at_least(&self, error: f64) -> f64 {
        let larger = self.sorted.len() - self.sorted.partition_point(|kept| f64::from(*kept) < error);
        (larger as f64 + 0.5) / (self.sorted.len() as f64 + 1.0)
    }
}

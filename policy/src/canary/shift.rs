//! How much larger one group's values are: the Hodges-Lehmann estimate with its confidence interval.
//!
//! The estimate is the median of all differences between the groups; the interval is the set of shifts that the Mann-Whitney test
//! would not reject, so both always agree. Ties make the interval wider than promised, never narrower.

use super::number::normal_quantile;
use super::rank::{is_exact, lower_count};

/// A shift between two groups.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shift {
    /// The median of all differences.
    pub estimate: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
}

/// How much larger `first` is than `second`, with an interval that misses the truth with probability `alpha` at most.
///
/// `None` if a group is empty. Groups too small for `alpha` have the widest interval that their values allow.
pub fn hodges_lehmann(first: &[f64], second: &[f64], alpha: f64) -> Option<Shift> {
    if first.is_empty() || second.is_empty() {
        return None;
    }
    let (n, m) = (first.len(), second.len());
    let mut differences: Vec<f64> = first.iter().flat_map(|a| second.iter().map(move |b| a - b)).collect();
    let skipped = skipped(n, m, alpha).min((n * m - 1) / 2);
    let mut at = |place: usize| *differences.select_nth_unstable_by(place, f64::total_cmp).1;
    Some(Shift {
        estimate: (at((n * m - 1) / 2) + at(n * m / 2)) / 2.0,
        low: at(skipped),
        high: at(n * m - 1 - skipped),
    })
}

/// How many of the smallest differences lie outside the interval.
fn skipped(n: usize, m: usize, alpha: f64) -> usize {
    let count = if is_exact(n, m) {
        lower_count(n, m, alpha / 2.0) as f64
    } else {
        let (n, m) = (n as f64, m as f64);
        let spread = libm::sqrt(n * m * (n + m + 1.0) / 12.0);
        // With the continuity of the test: a split with `k` below rejects when (nm/2 - k - 0.5) / spread reaches the quantile.
        n * m / 2.0 - 0.5 + normal_quantile(alpha / 2.0) * spread + 1.0
    };
    // A test that can never reject skips nothing, and the ends are then the extreme differences.
    count.max(1.0) as usize - 1
}

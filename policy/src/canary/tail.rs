//! The tail test: are too many of the worst values the canary's?
//!
//! Finds a wider spread or a few very slow requests, which leave the middle where it was. Exact: given how many pooled values
//! lie beyond the pooled quantile, the canary's share of them is hypergeometric (Fisher's test, one-sided).

use super::number::hypergeometric_tail;

/// One tail.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tail {
    /// The pooled quantile: values beyond it are counted.
    pub threshold: f64,
    /// The canary's values beyond it.
    pub canary: usize,
    /// The baseline's values beyond it.
    pub baseline: usize,
    /// Probability of so many or more of the canary, if both groups are alike.
    pub p: f64,
}

/// Counts what exceeds the pooled quantile `share`, upwards. `None` if a group is empty.
///
/// The quantile is the smallest pooled value that at least `share` of all do not exceed.
pub fn tail_test(baseline: &[f64], canary: &[f64], share: f64) -> Option<Tail> {
    if baseline.is_empty() || canary.is_empty() {
        return None;
    }
    let mut pooled: Vec<f64> = baseline.iter().chain(canary).copied().collect();
    pooled.sort_by(f64::total_cmp);
    let place = libm::ceil(share * pooled.len() as f64 - 1e-9).max(1.0) as usize - 1;
    let threshold = pooled[place.min(pooled.len() - 1)];
    let beyond = |values: &[f64]| values.iter().filter(|value| **value > threshold).count();
    let (of_canary, of_baseline) = (beyond(canary), beyond(baseline));
    let p = hypergeometric_tail(
        of_canary as u64,
        pooled.len() as u64,
        (of_canary + of_baseline) as u64,
        canary.len() as u64,
    );
    Some(Tail {
        threshold,
        canary: of_canary,
        baseline: of_baseline,
        p,
    })
}

//! Decides whether there are samples enough to say anything, and thins away what repeats itself.
//!
//! Drops the warm-up, counts what is missing, and looks at coverage and balance. Consecutive samples of one series resemble each
//! other, and tests that take them for independent cry wolf: 12 % false aborts at a correlation of 0.5, 37 % at 0.8. So only every
//! m-th sample is used, and what is reported is the number that is left. Never fills a gap, but for counts (`Counter::Count`).
//!
//! Invariant: whatever is missing makes the answer [`Gated::reason`] and never a pass.

use super::input::{Counter, Metric};
use super::report::SeriesReport;

/// Fewer per group can never be significant at 0.02: 4 against 4 has p = 0.029 at best.
const FEWEST: usize = 5;
/// Least share of the expected samples.
const MIN_COVERAGE: f64 = 0.8;
/// Largest difference of the two counts, of the larger one.
const MAX_IMBALANCE: f64 = 0.2;
/// Fewest samples from which a correlation is estimated.
pub(super) const CORRELATION_NEEDS: usize = 20;
/// What may be left of the correlation after thinning.
const CORRELATION_LEFT: f64 = 0.1;
/// No correlation is taken to be closer to 1: a series that hardly moves is thinned by 230 and then has too few samples.
const MAX_CORRELATION: f64 = 0.99;

/// The samples of a metric that count.
pub(super) struct Gated {
    /// Finite and thinned, in order of time.
    pub baseline: Vec<f64>,
    /// The same of the canary.
    pub canary: Vec<f64>,
    /// Every interval that has both, before thinning.
    pub pairs: Vec<(usize, f64, f64)>,
    /// All finite values of the canary after the warm-up.
    pub canary_all: Vec<f64>,
    /// Counts, for the report.
    pub reports: (SeriesReport, SeriesReport),
    /// Correlation of neighbours, if it could be estimated or is known to be none.
    pub lag_one: Option<f64>,
    /// Every how many samples one is used.
    pub every: usize,
    /// Why nothing can be said.
    pub reason: Option<String>,
}

/// One group after the warm-up.
struct Group {
    values: Vec<Option<f64>>,
    warm_up: usize,
    missing: usize,
    heard: bool,
}

impl Group {
    fn of(samples: &[Option<f64>], warm_up: usize, until: usize, counter: Counter) -> Self {
        let warm_up = warm_up.min(samples.len());
        let kept = &samples[warm_up..];
        let mut values: Vec<_> = kept
            .iter()
            .map(|value| value.filter(|value| value.is_finite()))
            .collect();
        values.resize(until.max(values.len()), None);
        let found = values.iter().flatten().count();
        let missing = values.len() - found;
        if counter == Counter::Count && found > 0 {
            values.iter_mut().for_each(|value| *value = value.or(Some(0.0)));
        }
        Self {
            values,
            warm_up,
            missing,
            heard: found > 0,
        }
    }

    fn count(&self) -> usize {
        self.values.iter().flatten().count()
    }

    fn report(&self, effective: usize) -> SeriesReport {
        SeriesReport {
            samples: self.values.len() + self.warm_up,
            warm_up: self.warm_up,
            missing: self.missing,
            used: self.count(),
            effective,
        }
    }
}

/// Looks at one metric.
pub(super) fn gate(metric: &Metric) -> Gated {
    let warm_up = usize::try_from(metric.warm_up_ms.div_ceil(metric.interval_ms)).unwrap_or(usize::MAX);
    let longer = metric.baseline.len().max(metric.canary.len()).saturating_sub(warm_up);
    let group = |samples| Group::of(samples, warm_up, longer, metric.counter);
    let (mut baseline, mut canary) = (group(&metric.baseline), group(&metric.canary));
    if metric.paired {
        drop_partners(&mut baseline, &mut canary);
    }
    let (lag_one, every) = correlation(metric, &baseline.values);
    let thin = |group: &Group| thinned(&group.values, every.unwrap_or(1));
    let (thin_baseline, thin_canary) = (thin(&baseline), thin(&canary));
    let reports = (baseline.report(thin_baseline.len()), canary.report(thin_canary.len()));
    let reason = why_not(metric, &baseline, &canary, longer, every, &reports);
    let both = baseline.values.iter().zip(&canary.values).enumerate();
    Gated {
        pairs: both.filter_map(|(index, (b, c))| Some((index, (*b)?, (*c)?))).collect(),
        canary_all: canary.values.iter().flatten().copied().collect(),
        baseline: thin_baseline,
        canary: thin_canary,
        reports,
        lag_one,
        every: every.unwrap_or(1),
        reason,
    }
}

fn drop_partners(baseline: &mut Group, canary: &mut Group) {
    for (b, c) in baseline.values.iter_mut().zip(&mut canary.values) {
        if b.is_none() || c.is_none() {
            (*b, *c) = (None, None);
        }
    }
}

/// The correlation of neighbours, and the thinning that it needs; no thinning is known without enough samples.
///
/// The time before the step and the step itself are one series with a gap. A short series may show too little of its correlation,
/// so that thinning goes by one standard error more than the estimate.
fn correlation(metric: &Metric, baseline: &[Option<f64>]) -> (Option<f64>, Option<usize>) {
    if metric.independent {
        return (None, Some(1));
    }
    let mut all: Vec<_> = metric.history.iter().map(|v| v.filter(|v| v.is_finite())).collect();
    all.push(None);
    all.extend_from_slice(baseline);
    let Some(estimate) = lag_one(&all) else {
        return (None, None);
    };
    let count = all.iter().flatten().count() as f64;
    let doubt = libm::sqrt((1.0 - estimate * estimate) / count);
    (Some(estimate), Some(thinning(estimate + doubt)))
}

fn why_not(
    metric: &Metric,
    baseline: &Group,
    canary: &Group,
    longer: usize,
    every: Option<usize>,
    reports: &(SeriesReport, SeriesReport),
) -> Option<String> {
    for (name, group) in [("baseline", baseline), ("canary", canary)] {
        if !group.heard {
            return Some(format!("nothing was heard of the {name}"));
        }
    }
    let expected = metric.expected.unwrap_or(longer).max(longer);
    for (name, group) in [("baseline", baseline), ("canary", canary)] {
        let share = group.count() as f64 / expected as f64;
        if share < MIN_COVERAGE {
            let (count, percent) = (group.count(), share * 100.0);
            return Some(format!(
                "the {name} has {count} of {expected} samples ({percent:.0} %), at least 80 % are needed"
            ));
        }
    }
    let (b, c) = (baseline.count(), canary.count());
    if b.abs_diff(c) as f64 > MAX_IMBALANCE * b.max(c) as f64 {
        return Some(format!("{b} samples against {c} differ by more than 20 %"));
    }
    if every.is_none() {
        return Some(format!(
            "the baseline has {b} samples, {CORRELATION_NEEDS} are needed to see how much neighbours resemble each other"
        ));
    }
    let needed = metric.min_n.max(FEWEST);
    let fewest = reports.0.effective.min(reports.1.effective);
    (fewest < needed).then(|| match every {
        Some(every) if every > 1 => {
            format!(
                "{fewest} independent samples (each {every}th of {}), {needed} are needed",
                b.min(c)
            )
        }
        _ => format!("{fewest} samples, {needed} are needed"),
    })
}

/// Correlation of neighbouring samples, at least 20 of them, corrected for the bias of a short series; `None` if there are fewer.
///
/// The larger of the values' own and of their ranks': a few extreme values hide the first, and the tests use ranks.
pub fn lag_one(samples: &[Option<f64>]) -> Option<f64> {
    let count = samples.iter().flatten().count();
    if count < CORRELATION_NEEDS {
        return None;
    }
    let raw = plain_lag_one(samples).max(plain_lag_one(&ranks(samples)));
    // Marriott and Pope (1954): the estimate falls short by (1 + 3 r) / n.
    let corrected = raw + (1.0 + 3.0 * raw) / count as f64;
    Some(corrected.clamp(-MAX_CORRELATION, MAX_CORRELATION))
}

fn plain_lag_one(samples: &[Option<f64>]) -> f64 {
    let found: Vec<f64> = samples.iter().flatten().copied().collect();
    let mean = found.iter().sum::<f64>() / found.len() as f64;
    let power: f64 = found.iter().map(|value| (value - mean) * (value - mean)).sum();
    let neighbours = samples.windows(2).filter_map(|pair| Some((pair[0]?, pair[1]?)));
    let (mut common, mut count) = (0.0, 0usize);
    for (a, b) in neighbours {
        common += (a - mean) * (b - mean);
        count += 1;
    }
    let gaps = if count == 0 {
        0.0
    } else {
        (found.len() - 1) as f64 / count as f64
    };
    let correlation = common / power * gaps;
    // A series that never moves, or whose squares overflow, says nothing of itself.
    if correlation.is_finite() { correlation } else { 0.0 }
}

/// The midrank of each sample.
fn ranks(samples: &[Option<f64>]) -> Vec<Option<f64>> {
    let mut sorted: Vec<f64> = samples.iter().flatten().copied().collect();
    sorted.sort_by(f64::total_cmp);
    let rank = |value: f64| {
        let below = sorted.partition_point(|other| *other < value);
        let not_above = sorted.partition_point(|other| *other <= value);
        (below + not_above) as f64 / 2.0
    };
    samples.iter().map(|value| value.map(rank)).collect()
}

/// The smallest `m` that leaves of this correlation of neighbours at most 0.1 between every m-th sample.
pub fn thinning(lag_one: f64) -> usize {
    let (mut left, mut every) = (lag_one.min(MAX_CORRELATION), 1);
    while left > CORRELATION_LEFT {
        left *= lag_one.min(MAX_CORRELATION);
        every += 1;
    }
    every
}

/// Samples that are at least `every` intervals apart.
fn thinned(values: &[Option<f64>], every: usize) -> Vec<f64> {
    let mut next = 0;
    let mut kept = Vec::new();
    for (index, value) in values.iter().enumerate() {
        if let Some(value) = value.filter(|_| index >= next) {
            kept.push(value);
            next = index + every;
        }
    }
    kept
}

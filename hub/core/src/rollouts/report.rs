//! What a comparison of a canary with its baseline said, as people and programs read it: both distributions, the effect, and what is
//! still missing.

use policy::canary::{MetricReport, Next, Outcome, Report, Verdict};
use wire::kube::{AnalysisView, Distribution, MetricView};
use wire::time::Wall;

use super::spec::Analysis;
use super::verdict::Measured;

/// Quantiles that are kept of each side: every twentieth part, with both ends.
const QUANTILES: usize = 21;

/// What was measured of both sides, by metric, before it is judged.
#[derive(Debug, Default)]
pub(super) struct Groups(Vec<(String, Distribution, Distribution)>);

impl Groups {
    pub(super) fn of(measured: Option<&Measured>) -> Self {
        let Some(Measured::Series { metrics, .. }) = measured else {
            return Self::default();
        };
        let groups = metrics.iter().map(|metric| {
            let left_out = usize::try_from(metric.warm_up_ms / metric.interval_ms.max(1)).unwrap_or(usize::MAX);
            let of = |samples: &[Option<f64>]| distribution(samples.get(left_out..).unwrap_or_default());
            (metric.name.clone(), of(&metric.baseline), of(&metric.canary))
        });
        Self(groups.collect())
    }
}

/// The view of a report.
pub(super) fn view(report: &Report, groups: &Groups, asked: &Analysis, at: Wall) -> AnalysisView {
    let verdict = match report.verdict {
        Verdict::Pass => "pass",
        Verdict::Inconclusive => "inconclusive",
        Verdict::Abort => "abort",
    };
    let next = match report.next {
        Next::Advance => "advance",
        Next::Extend => "extend",
        Next::Wait => "wait",
        Next::Hold => "hold",
        Next::RollBack => "roll_back",
    };
    AnalysisView {
        at,
        verdict: verdict.to_owned(),
        next: next.to_owned(),
        why: report.why.clone(),
        score: report.score,
        guards: report
            .guards
            .iter()
            .map(|guard| format!("{}: {}", guard.guard, guard.why))
            .collect(),
        metrics: report
            .metrics
            .iter()
            .map(|metric| metric_view(metric, groups, asked))
            .collect(),
    }
}

fn metric_view(metric: &MetricReport, Groups(groups): &Groups, asked: &Analysis) -> MetricView {
    let group = groups.iter().find(|(name, ..)| *name == metric.name);
    let needed = asked
        .metrics
        .iter()
        .find(|query| query.name == metric.name)
        .map_or(0, |query| query.min_n);
    let fewest = metric.baseline.effective.min(metric.canary.effective);
    let outcome = match metric.outcome {
        Outcome::Pass => "pass",
        Outcome::Fail => "fail",
        Outcome::NoData => "no_data",
    };
    MetricView {
        name: metric.name.clone(),
        outcome: outcome.to_owned(),
        why: metric.why.clone(),
        critical: metric.critical,
        baseline: group.map(|(_, baseline, _)| baseline.clone()).unwrap_or_default(),
        canary: group.map(|(.., canary)| canary.clone()).unwrap_or_default(),
        effective: (metric.baseline.effective, metric.canary.effective),
        still_needed: usize::try_from(needed).unwrap_or(usize::MAX).saturating_sub(fewest),
        shift: metric.location.map(|location| location.shift),
        interval: metric.location.map(|location| (location.low, location.high)),
        tolerated: metric.location.map(|location| location.floor),
        p: metric.p,
        wealth: metric.early.map(|early| (early.wealth, early.abort_at)),
    }
}

fn distribution(samples: &[Option<f64>]) -> Distribution {
    let mut values: Vec<f64> = samples
        .iter()
        .flatten()
        .copied()
        .filter(|value| value.is_finite())
        .collect();
    values.sort_by(f64::total_cmp);
    let Some(last) = values.len().checked_sub(1) else {
        return Distribution::default();
    };
    let at = |part: usize| values[part * last / (QUANTILES - 1)];
    Distribution {
        samples: values.len(),
        quantiles: (0..QUANTILES).map(at).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distribution_has_both_ends_and_its_middle() {
        let samples: Vec<Option<f64>> = (0..=100)
            .map(|value| Some(f64::from(value)))
            .chain([None, Some(f64::NAN)])
            .collect();
        let found = distribution(&samples);
        assert_eq!((found.samples, found.quantiles.len()), (101, QUANTILES));
        assert_eq!([0, 10, 20].map(|at| found.quantiles[at]), [0.0, 50.0, 100.0]);
        assert_eq!(distribution(&[None]), Distribution::default());
    }
}

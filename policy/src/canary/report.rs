//! What a canary analysis answers: a verdict, what may be done next, and each number behind them.
//!
//! Plain data that people script against; [`Report`] prints as sentences. Read next: `verdict.rs`, which makes it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::rank::Method;

/// The answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Whether the canary is as good as its baseline.
    pub verdict: Verdict,
    /// What may be done now.
    pub next: Next,
    /// Why, in one sentence.
    pub why: String,
    /// Share of the known weight that passes, of 100; `null` if nothing is known.
    pub score: Option<f64>,
    /// Share of the weight of which nothing is known, of 100.
    pub no_data_share: f64,
    /// Nodes that ran it without a failure; `null` if one failed, or none ran.
    pub clean_nodes: Option<u32>,
    /// What is then known of the share of nodes that would fail: it is below this, with 95 % confidence (3 / n, never above 1).
    pub failure_rate_below: Option<f64>,
    /// Guards that fired; any of them ends the canary.
    pub guards: Vec<GuardReport>,
    /// The metrics, in the order in which they were given.
    pub metrics: Vec<MetricReport>,
}

/// Whether a canary is as good as its baseline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As good.
    Pass,
    /// Not known yet, or not clear.
    Inconclusive,
    /// Worse.
    Abort,
}

/// What may be done after an analysis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Next {
    /// Go on with the next step.
    Advance,
    /// Let this step last longer, once.
    Extend,
    /// Wait for data, until the deadline.
    Wait,
    /// Stay, and ask a person.
    Hold,
    /// Take the change back.
    RollBack,
}

/// A guard that fired.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GuardReport {
    /// `hard_limit`, `errors` or `page_fast`.
    pub guard: String,
    /// What it saw.
    pub why: String,
}

/// What one metric says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// No worse, as far as so many samples can tell.
    Pass,
    /// Worse.
    Fail,
    /// Too little is known.
    NoData,
}

/// One metric, with all that was computed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricReport {
    /// Its name.
    pub name: String,
    /// What it says.
    pub outcome: Outcome,
    /// Why, in one sentence.
    pub why: String,
    /// Whether its failure alone ends the canary.
    pub critical: bool,
    /// How much it counts.
    pub weight: f64,
    /// What was there of the baseline.
    pub baseline: SeriesReport,
    /// And of the canary.
    pub canary: SeriesReport,
    /// Correlation of neighbouring samples of the baseline; `null` if not known, or if samples are independent.
    pub lag_one: Option<f64>,
    /// Each how manyth sample was used.
    pub every: usize,
    /// The middle.
    pub location: Option<LocationReport>,
    /// The tails: beyond the pooled p90, and p95 with 100 samples.
    pub tails: Vec<TailReport>,
    /// The early abort.
    pub early: Option<EarlyReport>,
    /// The smallest probability of its tests, times their number; what Holm's correction orders by.
    pub p: Option<f64>,
}

/// What there was of one series.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeriesReport {
    /// Intervals, whether they have a sample or not.
    pub samples: usize,
    /// Of those, left out at the beginning.
    pub warm_up: usize,
    /// Of the rest, missing or not a number.
    pub missing: usize,
    /// Left, with counts filled up by zeros, and pairs whose partner is missing left out.
    pub used: usize,
    /// Independent ones among them: the n of every test here.
    pub effective: usize,
}

/// The Mann-Whitney test with the Hodges-Lehmann interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LocationReport {
    /// Pairs in which the canary is larger.
    pub u: f64,
    /// Two-sided probability.
    pub p: f64,
    /// How it was found.
    pub method: Method,
    /// The baseline's median.
    pub baseline_median: f64,
    /// How much larger the canary is.
    pub shift: f64,
    /// Lower end of the 98 % interval of the shift.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Up to which shift nothing is said.
    pub floor: f64,
    /// Whether it is worse: significant, and the whole interval beyond the floor.
    pub is_worse: bool,
}

/// One tail test.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TailReport {
    /// Which pooled quantile, in percent.
    pub percentile: u32,
    /// Its value; of mirrored values where less is worse.
    pub threshold: f64,
    /// Samples of the canary beyond it.
    pub canary: usize,
    /// And of the baseline.
    pub baseline: usize,
    /// One-sided probability.
    pub p: f64,
    /// Whether it is below 0.01, or 0.005 on each side where any change is worse.
    pub is_worse: bool,
}

/// The early abort.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct EarlyReport {
    /// Pairs of samples that were bet on.
    pub pairs: usize,
    /// What the bets have made of 1, at its highest.
    pub wealth: f64,
    /// From which wealth on the canary is aborted: 1 / 0.02.
    pub abort_at: f64,
    /// Intervals in a row, up to now, in which the canary was worse; 8 are the fallback's sign on devices without memory for ranks.
    pub straight_worse: usize,
    /// After how many intervals, with the warm-up, it was reached.
    pub aborted_after: Option<usize>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.verdict {
            Verdict::Pass => "PASS",
            Verdict::Inconclusive => "INCONCLUSIVE",
            Verdict::Abort => "ABORT",
        };
        let next = match self.next {
            Next::Advance => "go on with the next step",
            Next::Extend => "extend this step once",
            Next::Wait => "wait for data",
            Next::Hold => "hold, and ask a person",
            Next::RollBack => "roll back",
        };
        write!(f, "{verdict}: {}; {next}", self.why)?;
        if let Some(score) = self.score {
            write!(f, "\n  score {score:.1} of 100")?;
        }
        if let (Some(nodes), Some(bound)) = (self.clean_nodes, self.failure_rate_below) {
            let percent = bound * 100.0;
            write!(
                f,
                "\n  no failure on {nodes} nodes: fewer than {percent:.2} % would fail, with 95 % confidence (3/n)"
            )?;
        }
        for guard in &self.guards {
            write!(f, "\n  guard {}: {}", guard.guard, guard.why)?;
        }
        for metric in &self.metrics {
            write!(f, "\n  {metric}")?;
        }
        Ok(())
    }
}

impl fmt::Display for MetricReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outcome = match self.outcome {
            Outcome::Pass => "pass",
            Outcome::Fail => "FAIL",
            Outcome::NoData => "NODATA",
        };
        let critical = if self.critical { " (critical)" } else { "" };
        write!(f, "{outcome} {}{critical}: {}", self.name, self.why)?;
        let (b, c) = (&self.baseline, &self.canary);
        write!(
            f,
            "; n {} / {} of {} / {} samples",
            b.effective, c.effective, b.samples, c.samples
        )?;
        if let Some(lag_one) = self.lag_one {
            write!(f, ", neighbours correlate {lag_one:.2}")?;
        }
        Ok(())
    }
}

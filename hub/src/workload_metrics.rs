//! What workloads tell of themselves by OTLP: latencies, errors, queues; an hour of it, in memory.
//!
//! Decides what is kept and how much. Every sum and histogram is kept as what was added since the point before, whichever temporality
//! it came with, so that a restarted workload never looks like a drop. Never decides whether a canary is healthy: that is
//! `policy/canary`.
//!
//! Invariant: at most `MOST_SERIES` series and `MOST_CELLS` numbers are kept, whatever is sent; what is refused is counted and told.
//! Source: OpenTelemetry data model for metrics, opentelemetry-proto 1.x.
//! Read next: `workload_metrics/query.rs` (how a rollout asks), `http/otlp.rs` (how it comes in).

mod points;
mod query;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use wire::api::WorkloadMetricView;
use wire::time::Wall;

use points::{Kind, Told, read};

pub use query::{Query, QueryError};

/// Series that are kept: some metrics of some hundred workloads.
const MOST_SERIES: usize = 8_192;
/// Numbers that are kept over all series, 8 MiB of them: a histogram's point has one for each bucket.
const MOST_CELLS: usize = 1 << 20;
/// How long points are kept: a step of a rollout with its warm-up.
const KEPT_MS: i64 = 60 * 60 * 1_000;
/// A clock that is ahead by more than this is not believed.
const MOST_AHEAD_MS: i64 = 60 * 1_000;
/// Labels of one series, and bytes of one name or value.
const MOST_LABELS: usize = 32;
const MOST_TEXT_BYTES: usize = 256;
/// Buckets of one histogram.
const MOST_BUCKETS: usize = 160;

/// What a series is about: its labels, those of its resource with them.
type Labels = BTreeMap<String, String>;

/// One point: when, and what it says.
#[derive(Debug, Clone, PartialEq)]
struct Point {
    at_ms: i64,
    sample: Sample,
}

/// What a point says.
#[derive(Debug, Clone, PartialEq)]
enum Sample {
    /// The present value.
    Gauge(f64),
    /// What was added since the point before.
    Added(f64),
    /// Measurements since the point before: how many, their sum, and how many in each bucket.
    Measured { count: f64, sum: f64, buckets: Vec<f64> },
}

impl Sample {
    /// Numbers that it takes.
    fn cells(&self) -> usize {
        match self {
            Self::Gauge(_) | Self::Added(_) => 2,
            Self::Measured { buckets, .. } => 3 + buckets.len(),
        }
    }
}

/// One series.
#[derive(Debug)]
struct Series {
    unit: String,
    kind: Kind,
    /// Upper bounds of a histogram's buckets but the last.
    bounds: Vec<f64>,
    points: VecDeque<Point>,
    /// The last cumulative value that was told, to make what was added of the next one.
    before: Option<Told>,
}

/// Everything that is kept.
#[derive(Debug, Default)]
struct Inside {
    series: BTreeMap<(String, Labels), Series>,
    cells: usize,
    refused: u64,
    accepted: u64,
}

/// What became of one request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Taken {
    /// Points that are kept.
    pub accepted: u64,
    /// Points that are not.
    pub refused: u64,
    /// Why the first of them is not.
    pub why: Option<&'static str>,
}

/// The store.
#[derive(Debug, Default)]
pub struct WorkloadMetrics(Mutex<Inside>);

impl WorkloadMetrics {
    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what a workload or a Collector has sent.
    pub fn take(&self, request: ExportMetricsServiceRequest, now: Wall) -> Taken {
        let mut taken = Taken::default();
        let mut inside = self.inside();
        inside.forget_before(now.0.saturating_sub(KEPT_MS));
        read(request, |told| match told.and_then(|told| inside.add(told, now)) {
            Ok(()) => taken.accepted += 1,
            Err(why) => {
                taken.refused += 1;
                taken.why = taken.why.or(Some(why));
            }
        });
        inside.accepted = inside.accepted.saturating_add(taken.accepted);
        inside.refused = inside.refused.saturating_add(taken.refused);
        taken
    }

    /// Points that were taken and refused since the start, and series that are kept.
    pub fn counts(&self) -> (u64, u64, usize) {
        let inside = self.inside();
        (inside.accepted, inside.refused, inside.series.len())
    }

    /// The newest of every series of a metric, or of all; by name.
    pub fn newest(&self, metric: Option<&str>, most: usize) -> Vec<WorkloadMetricView> {
        let inside = self.inside();
        let series = inside.series.iter();
        let asked = series.filter(|((name, _), _)| metric.is_none_or(|metric| metric == name));
        let view = |((name, labels), series): (&(String, Labels), &Series)| {
            let last = series.points.back()?;
            Some(WorkloadMetricView {
                metric: name.clone(),
                unit: series.unit.clone(),
                kind: series.kind.name().to_owned(),
                labels: labels.clone(),
                at: Wall(last.at_ms),
                value: match &last.sample {
                    Sample::Gauge(value) | Sample::Added(value) => *value,
                    Sample::Measured { count, sum, .. } => sum / count.max(1.0),
                },
            })
        };
        asked.filter_map(view).take(most).collect()
    }
}

impl Inside {
    fn add(&mut self, told: Told, now: Wall) -> Result<(), &'static str> {
        if told.at_ms > now.0.saturating_add(MOST_AHEAD_MS) {
            return Err("a point is of the future");
        }
        if told.at_ms <= now.0.saturating_sub(KEPT_MS) {
            return Err("a point is more than an hour old");
        }
        let key = (told.metric.clone(), told.labels.clone());
        if !self.series.contains_key(&key) && self.series.len() >= MOST_SERIES {
            return Err("too many series are kept");
        }
        if self.cells >= MOST_CELLS {
            return Err("too many points are kept");
        }
        let series = self.series.entry(key).or_insert_with(|| Series {
            unit: told.unit.clone(),
            kind: told.kind,
            bounds: told.bounds.clone(),
            points: VecDeque::new(),
            before: None,
        });
        if series.kind != told.kind || series.bounds != told.bounds {
            // The workload was replaced by one that measures otherwise: what was before says nothing about it.
            self.cells -= series.points.iter().map(|point| point.sample.cells()).sum::<usize>();
            series.points.clear();
            (series.kind, series.bounds, series.before) = (told.kind, told.bounds.clone(), None);
        }
        let last = series.points.back().map(|point| point.at_ms);
        let last = last.max(series.before.as_ref().map(|before| before.at_ms));
        if last.is_some_and(|last| told.at_ms <= last) {
            return Err("a point is not newer than the one before it");
        }
        if let Some(sample) = told.since(series.before.as_ref()) {
            self.cells += sample.cells();
            series.points.push_back(Point {
                at_ms: told.at_ms,
                sample,
            });
        }
        series.before = Some(told);
        Ok(())
    }

    fn forget_before(&mut self, ms: i64) {
        let cells = &mut self.cells;
        self.series.retain(|_, series| {
            while let Some(old) = series.points.pop_front_if(|point| point.at_ms < ms) {
                *cells -= old.sample.cells();
            }
            let told = series.before.as_ref().is_some_and(|before| before.at_ms >= ms);
            told || !series.points.is_empty()
        });
    }
}

#[cfg(test)]
mod tests;

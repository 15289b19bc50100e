//! How a rollout asks for what workloads told: `otlp:p99(http.server.request.duration{service.name="$workload"})`.
//!
//! One function, one metric, labels that must be equal; nothing else, so that a query says at a glance what it compares. An interval
//! in which nothing was told is a gap, never a zero.

use std::collections::BTreeMap;

use super::{Sample, Series, WorkloadMetrics};

/// How a query begins that is asked here and not of Prometheus.
const PREFIX: &str = "otlp:";

/// What is made of the points of an interval.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Function {
    /// Mean of all values: of a gauge its level, of a histogram a measurement.
    Mean,
    /// The least and the greatest value of a gauge.
    Min,
    Max,
    /// Everything that was added, or measured.
    Sum,
    /// The same by second.
    Rate,
    /// A quantile of a histogram's measurements.
    Quantile(f64),
}

const FUNCTIONS: [(&str, Function); 10] = [
    ("mean", Function::Mean),
    ("min", Function::Min),
    ("max", Function::Max),
    ("sum", Function::Sum),
    ("rate", Function::Rate),
    ("p50", Function::Quantile(0.5)),
    ("p90", Function::Quantile(0.9)),
    ("p95", Function::Quantile(0.95)),
    ("p99", Function::Quantile(0.99)),
    ("p999", Function::Quantile(0.999)),
];

/// Why a text is no query.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is no query of OTLP metrics: {why}; for example otlp:p99(http.server.request.duration{{service.name=\"$workload\"}})"
)]
pub struct QueryError {
    text: String,
    why: String,
}

/// One question.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    function: Function,
    metric: String,
    labels: BTreeMap<String, String>,
}

impl Query {
    /// Whether a text is meant to be asked here.
    pub fn is_one(text: &str) -> bool {
        text.trim_start().starts_with(PREFIX)
    }

    /// Reads a query.
    pub fn parse(text: &str) -> Result<Self, QueryError> {
        parse(text).map_err(|why| QueryError {
            text: text.to_owned(),
            why,
        })
    }

    fn is_of(&self, metric: &str, labels: &BTreeMap<String, String>) -> bool {
        metric == self.metric && self.labels.iter().all(|(name, value)| labels.get(name) == Some(value))
    }

    /// The value over all series that are asked for, after `from` and up to `to`; `None` where nothing was told.
    fn value<'a>(&self, series: impl Iterator<Item = &'a Series>, (from, to): (i64, i64)) -> Option<f64> {
        let mut found = Found::default();
        for one in series {
            let within = one
                .points
                .iter()
                .filter(|point| point.at_ms > from && point.at_ms <= to);
            within.for_each(|point| found.add(&point.sample, &one.bounds));
        }
        if found.points == 0 {
            return None;
        }
        let seconds = (to - from).max(1) as f64 / 1_000.0;
        match self.function {
            Function::Mean => found.mean(),
            Function::Min => found.least,
            Function::Max => found.greatest,
            Function::Sum => Some(found.added),
            Function::Rate => Some(found.added / seconds),
            Function::Quantile(quantile) => found.quantile(quantile),
        }
    }
}

/// What stands in an interval, over all series.
#[derive(Debug, Default)]
struct Found {
    points: usize,
    added: f64,
    /// Sum and number of gauges' values.
    level: (f64, f64),
    least: Option<f64>,
    greatest: Option<f64>,
    /// Sum and number of measurements.
    measured: (f64, f64),
    /// Measurements up to each bound, the last bucket at infinity; by the bound's bits, so that histograms of different buckets add up.
    buckets: BTreeMap<u64, (f64, f64)>,
}

impl Found {
    fn add(&mut self, sample: &Sample, bounds: &[f64]) {
        self.points += 1;
        match sample {
            Sample::Gauge(value) => {
                self.level = (self.level.0 + value, self.level.1 + 1.0);
                self.least = Some(self.least.map_or(*value, |least| least.min(*value)));
                self.greatest = Some(self.greatest.map_or(*value, |greatest| greatest.max(*value)));
            }
            Sample::Added(value) => self.added += value,
            Sample::Measured { count, sum, buckets } => {
                self.added += count;
                self.measured = (self.measured.0 + sum, self.measured.1 + count);
                for (at, count) in buckets.iter().enumerate() {
                    let upper = bounds.get(at).copied().unwrap_or(f64::INFINITY);
                    let kept = self.buckets.entry(ordered(upper)).or_insert((upper, 0.0));
                    kept.1 += count;
                }
            }
        }
    }

    fn mean(&self) -> Option<f64> {
        let (sum, count) = if self.measured.1 > 0.0 {
            self.measured
        } else {
            self.level
        };
        (count > 0.0).then(|| sum / count)
    }

    /// As Prometheus does: evenly spread within a bucket, and the last bound for what lies beyond it.
    fn quantile(&self, quantile: f64) -> Option<f64> {
        let total: f64 = self.buckets.values().map(|(_, count)| count).sum();
        if total <= 0.0 {
            return None;
        }
        let rank = quantile * total;
        let (mut below, mut lower) = (0.0, 0.0_f64);
        for (upper, count) in self.buckets.values() {
            if below + count >= rank && *count > 0.0 {
                if upper.is_infinite() {
                    return Some(lower);
                }
                // Measurements below zero have no lower bound.
                let from = if *upper <= 0.0 { *upper } else { lower };
                return Some(from + (upper - from) * (rank - below) / count);
            }
            below += count;
            lower = if upper.is_finite() { *upper } else { lower };
        }
        Some(lower)
    }
}

/// Bits in the order of the numbers.
fn ordered(value: f64) -> u64 {
    let bits = value.to_bits();
    if bits >> 63 == 0 { bits | 1 << 63 } else { !bits }
}

impl WorkloadMetrics {
    /// One value for each interval from `since_ms` on; the value of a moment is that of the interval that ends there.
    pub fn series(&self, query: &Query, since_ms: i64, interval_ms: u64, intervals: usize) -> Vec<Option<f64>> {
        let inside = self.inside();
        let asked = inside
            .series
            .iter()
            .filter(|((metric, labels), _)| query.is_of(metric, labels));
        let asked: Vec<&Series> = asked.map(|(_, series)| series).collect();
        let interval = i64::try_from(interval_ms.max(1)).unwrap_or(i64::MAX);
        let end = |at: usize| since_ms.saturating_add(interval.saturating_mul(i64::try_from(at).unwrap_or(i64::MAX)));
        let value = |at| query.value(asked.iter().copied(), (end(at).saturating_sub(interval), end(at)));
        (0..intervals).map(value).collect()
    }

    /// One value over a whole span.
    pub fn value(&self, query: &Query, since_ms: i64, until_ms: i64) -> Option<f64> {
        let inside = self.inside();
        let asked = inside
            .series
            .iter()
            .filter(|((metric, labels), _)| query.is_of(metric, labels));
        query.value(asked.map(|(_, series)| series), (since_ms, until_ms))
    }
}

fn parse(text: &str) -> Result<Query, String> {
    let rest = text.trim().strip_prefix(PREFIX).ok_or("it does not begin with otlp:")?;
    let (name, rest) = rest.split_once('(').ok_or("a function is missing")?;
    let function = FUNCTIONS.iter().find(|(known, _)| *known == name.trim());
    let Some((_, function)) = function else {
        let names: Vec<&str> = FUNCTIONS.iter().map(|(name, _)| *name).collect();
        return Err(format!("`{name}` is none of {}", names.join(", ")));
    };
    let inner = rest
        .trim_end()
        .strip_suffix(')')
        .ok_or("the last `)` is missing")?
        .trim();
    let (metric, labels) = match inner.split_once('{') {
        None => (inner, ""),
        Some((metric, rest)) => (metric, rest.strip_suffix('}').ok_or("a `}` is missing")?),
    };
    let metric = metric.trim();
    if metric.is_empty() || metric.contains(|c: char| c.is_whitespace() || "\"=,".contains(c)) {
        return Err("the metric's name is missing".to_owned());
    }
    Ok(Query {
        function: *function,
        metric: metric.to_owned(),
        labels: read_labels(labels)?,
    })
}

fn read_labels(mut text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut labels = BTreeMap::new();
    loop {
        text = text.trim_start();
        if text.is_empty() {
            return Ok(labels);
        }
        let (name, rest) = text.split_once('=').ok_or("a label needs NAME=\"VALUE\"")?;
        let quoted = rest
            .trim_start()
            .strip_prefix('"')
            .ok_or("a label's value stands in quotes")?;
        let (value, rest) = quoted.split_once('"').ok_or("a quote is missing")?;
        labels.insert(name.trim().to_owned(), value.to_owned());
        text = match rest.trim_start() {
            "" => "",
            rest => rest.strip_prefix(',').ok_or("labels are parted by commas")?,
        };
    }
}

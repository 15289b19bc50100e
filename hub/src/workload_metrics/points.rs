//! Reads OTLP points, and makes of each what was added since the one before it.
//!
//! Never keeps anything. A point that cannot be used is an error for people, and hides no other.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, HistogramDataPoint, Metric, NumberDataPoint, number_data_point,
};

use super::{Labels, MOST_BUCKETS, MOST_LABELS, MOST_TEXT_BYTES, Sample};

/// What a series is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A value that goes up and down.
    Gauge,
    /// A count that only grows.
    Counter,
    /// Measurements in buckets.
    Histogram,
}

impl Kind {
    /// In one word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Counter => "counter",
            Self::Histogram => "histogram",
        }
    }
}

/// One point as it was told.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    pub metric: String,
    pub unit: String,
    pub labels: Labels,
    pub kind: Kind,
    pub bounds: Vec<f64>,
    pub at_ms: i64,
    /// Since when the workload counts.
    pub start_ns: u64,
    /// It counts from there; else from the point before.
    pub is_cumulative: bool,
    pub value: Sample,
}

impl Told {
    /// What the point adds to the one before it; `None` for a first cumulative one, of which nobody knows when it was added.
    pub fn since(&self, before: Option<&Self>) -> Option<Sample> {
        if self.kind == Kind::Gauge || !self.is_cumulative {
            return Some(self.value.clone());
        }
        let before = before?;
        // It began anew: all that it counts was added since.
        if before.start_ns != self.start_ns {
            return Some(self.value.clone());
        }
        Some(match (&self.value, &before.value) {
            (Sample::Added(now), Sample::Added(was)) if now >= was => Sample::Added(now - was),
            (
                Sample::Measured { count, sum, buckets },
                Sample::Measured {
                    count: was,
                    sum: sum_was,
                    buckets: in_buckets,
                },
            ) if count >= was && buckets.len() == in_buckets.len() => Sample::Measured {
                count: count - was,
                sum: sum - sum_was,
                buckets: buckets
                    .iter()
                    .zip(in_buckets)
                    .map(|(now, was)| (now - was).max(0.0))
                    .collect(),
            },
            _ => self.value.clone(),
        })
    }
}

/// Reads every point of a request.
pub fn read(request: ExportMetricsServiceRequest, mut each: impl FnMut(Result<Told, &'static str>)) {
    for of_resource in request.resource_metrics {
        let resource = of_resource
            .resource
            .map(|resource| resource.attributes)
            .unwrap_or_default();
        for metric in of_resource.scope_metrics.into_iter().flat_map(|scope| scope.metrics) {
            points(&resource, metric, &mut each);
        }
    }
}

fn points(resource: &[KeyValue], metric: Metric, each: &mut impl FnMut(Result<Told, &'static str>)) {
    let Metric { name, unit, data, .. } = metric;
    if name.is_empty() || name.len() > MOST_TEXT_BYTES || unit.len() > MOST_TEXT_BYTES {
        return each(Err("a metric has no name, or a name or unit of more than 256 bytes"));
    }
    let cumulative = |temporality: i32| temporality == AggregationTemporality::Cumulative as i32;
    let told =
        |labels: Result<Labels, &'static str>, kind, at_ns: u64, start_ns, is_cumulative, value: Option<Sample>| {
            Ok(Told {
                metric: name.clone(),
                unit: unit.clone(),
                labels: labels?,
                kind,
                bounds: Vec::new(),
                at_ms: i64::try_from(at_ns / 1_000_000).unwrap_or(i64::MAX),
                start_ns,
                is_cumulative,
                value: value.ok_or("a point has no finite value")?,
            })
        };
    let number = |point: NumberDataPoint, kind, is_cumulative| {
        let value = match point.value {
            Some(number_data_point::Value::AsDouble(value)) => Some(value),
            Some(number_data_point::Value::AsInt(value)) => Some(value as f64),
            None => None,
        };
        let value = value.filter(|value| value.is_finite());
        let value = value.map(|value| {
            if kind == Kind::Gauge {
                Sample::Gauge(value)
            } else {
                Sample::Added(value)
            }
        });
        let labels = labels(resource, &point.attributes);
        told(
            labels,
            kind,
            point.time_unix_nano,
            point.start_time_unix_nano,
            is_cumulative,
            value,
        )
    };
    match data {
        Some(Data::Gauge(gauge)) => {
            for point in gauge.data_points {
                each(number(point, Kind::Gauge, false));
            }
        }
        Some(Data::Sum(sum)) => {
            // A sum that also falls is a level, a queue for example.
            let kind = if sum.is_monotonic { Kind::Counter } else { Kind::Gauge };
            if kind == Kind::Gauge && !cumulative(sum.aggregation_temporality) {
                return each(Err("a sum that falls must be cumulative"));
            }
            for point in sum.data_points {
                each(number(point, kind, cumulative(sum.aggregation_temporality)));
            }
        }
        Some(Data::Histogram(histogram)) => {
            for point in histogram.data_points {
                let (bounds, value) = (point.explicit_bounds.clone(), measured(&point));
                let labels = labels(resource, &point.attributes);
                let is_cumulative = cumulative(histogram.aggregation_temporality);
                let (at, start) = (point.time_unix_nano, point.start_time_unix_nano);
                let read = told(labels, Kind::Histogram, at, start, is_cumulative, value);
                each(read.map(|read| Told { bounds, ..read }));
            }
        }
        Some(Data::ExponentialHistogram(_)) => each(Err("exponential histograms are not read: send explicit buckets")),
        Some(Data::Summary(_)) => each(Err(
            "summaries are not read: quantiles of several replicas cannot be added",
        )),
        None => each(Err("a metric has no data")),
    }
}

fn measured(point: &HistogramDataPoint) -> Option<Sample> {
    let bounds = &point.explicit_bounds;
    let is_ordered = bounds.is_sorted_by(|left, right| left < right) && bounds.iter().all(|bound| bound.is_finite());
    let buckets: Vec<f64> = point.bucket_counts.iter().map(|count| *count as f64).collect();
    let fits = buckets.is_empty() && bounds.is_empty() || buckets.len() == bounds.len() + 1;
    let sum = point.sum.unwrap_or_default();
    (is_ordered && fits && buckets.len() <= MOST_BUCKETS && sum.is_finite()).then_some(Sample::Measured {
        count: point.count as f64,
        sum,
        buckets,
    })
}

/// Labels of a point, with those of its resource behind them.
fn labels(resource: &[KeyValue], own: &[KeyValue]) -> Result<Labels, &'static str> {
    let mut labels = BTreeMap::new();
    for pair in own.iter().chain(resource) {
        if let Some(value) = pair.value.as_ref().and_then(text) {
            if pair.key.len() > MOST_TEXT_BYTES || value.len() > MOST_TEXT_BYTES {
                return Err("a label has more than 256 bytes");
            }
            labels.entry(pair.key.clone()).or_insert(value);
        }
    }
    match labels.len() {
        0..=MOST_LABELS => Ok(labels),
        _ => Err("a point has more than 32 labels"),
    }
}

/// A label's value; lists and maps are none.
fn text(value: &AnyValue) -> Option<String> {
    match value.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::BoolValue(value) => Some(value.to_string()),
        Value::IntValue(value) => Some(value.to_string()),
        Value::DoubleValue(value) => Some(value.to_string()),
        _ => None,
    }
}

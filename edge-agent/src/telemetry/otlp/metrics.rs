//! Samples as OTLP metrics. What could not be sent waits in memory with its own times.
//!
//! Invariant: at most [`WAITING`] batches wait, the oldest goes first.

use std::collections::VecDeque;
use std::time::Duration;

use hyper::body::Bytes;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Metric as OtlpMetric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric,
    number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use wire::Wall;

use super::{Failure, Settings, Signal, Told, nanoseconds, scope, send, text};
use crate::telemetry::samples::{Kind, Sample};

/// Batches that wait for a Collector: an hour at the usual minute, about 2 MiB of a node with 300 series.
pub(super) const WAITING: usize = 60;

/// The export, with what waits for it.
pub struct Exporter {
    signal: Signal,
    every: Duration,
    resource: Resource,
    pub(super) waiting: VecDeque<Bytes>,
    told: Told,
}

impl Exporter {
    /// An export in the name of this node; `None`: no metrics are wanted.
    pub fn new(settings: &Settings, resource: Resource) -> Option<Self> {
        Some(Self {
            signal: settings.metrics.clone()?,
            every: settings.every,
            resource,
            waiting: VecDeque::new(),
            told: Told::default(),
        })
    }

    /// Time between two exports.
    pub const fn every(&self) -> Duration {
        self.every
    }

    /// Batches that were given up.
    #[cfg(test)]
    pub(super) const fn dropped(&self) -> u64 {
        self.told.dropped
    }

    /// Takes one round of samples, to be sent with its own time.
    pub fn take(&mut self, at: Wall, samples: &[Sample]) {
        if self.waiting.len() == WAITING {
            self.waiting.pop_front();
            self.told.dropped += 1;
        }
        self.waiting
            .push_back(request(&self.resource, at, samples).encode_to_vec().into());
    }

    /// Sends what waits, oldest first, until something fails. Waits for the Collector, within the timeout for each batch.
    pub async fn send(&mut self) {
        while let Some(batch) = self.waiting.front().cloned() {
            match send(&self.signal, batch).await {
                Ok(()) => self.told.works(super::Kind::Metrics, &self.signal),
                Err(Failure::Never(reason)) => {
                    self.told.dropped += 1;
                    self.told.fails(super::Kind::Metrics, &self.signal, &reason);
                }
                Err(Failure::Later(reason)) => return self.told.fails(super::Kind::Metrics, &self.signal, &reason),
            }
            self.waiting.pop_front();
        }
    }
}

fn request(resource: &Resource, at: Wall, samples: &[Sample]) -> ExportMetricsServiceRequest {
    let nanoseconds = nanoseconds(at);
    let mut metrics: Vec<OtlpMetric> = Vec::new();
    let mut sorted: Vec<&Sample> = samples.iter().collect();
    sorted.sort_by_key(|sample| sample.metric);
    for same in sorted.chunk_by(|one, next| one.metric == next.metric) {
        let first = same[0].metric;
        let points = same.iter().map(|sample| point(sample, nanoseconds)).collect();
        metrics.push(OtlpMetric {
            name: first.dotted(),
            unit: ucum(first.unit).to_owned(),
            data: Some(match first.kind {
                Kind::Gauge => metric::Data::Gauge(Gauge { data_points: points }),
                Kind::Counter => metric::Data::Sum(Sum {
                    data_points: points,
                    aggregation_temporality: AggregationTemporality::Cumulative as i32,
                    is_monotonic: true,
                }),
            }),
            ..OtlpMetric::default()
        });
    }
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(resource.clone()),
            scope_metrics: vec![ScopeMetrics {
                scope: Some(scope()),
                metrics,
                ..ScopeMetrics::default()
            }],
            ..ResourceMetrics::default()
        }],
    }
}

/// OTLP writes units as UCUM does.
fn ucum(unit: &'static str) -> &'static str {
    match unit {
        "bytes" => "By",
        "bytes_per_second" => "By/s",
        "per_second" => "1/s",
        "celsius" => "Cel",
        "watts" => "W",
        "joules" => "J",
        "seconds" => "s",
        "hertz" => "Hz",
        "ratio" => "1",
        other => other,
    }
}

fn point(sample: &Sample, nanoseconds: u64) -> NumberDataPoint {
    NumberDataPoint {
        attributes: sample.labels.iter().map(|(name, value)| text(name, value)).collect(),
        time_unix_nano: nanoseconds,
        value: Some(number_data_point::Value::AsDouble(sample.value)),
        ..NumberDataPoint::default()
    }
}

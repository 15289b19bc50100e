//! What `/metrics` says, through OpenTelemetry's meters, at intervals.
//!
//! Gauges and counters are read from one page of numbers at each export; waits are recorded where they are measured, because a
//! histogram of the SDK cannot be set. Nothing is kept while the Collector is away: the next export says more than the lost one.
//!
//! Invariant: one instrument for each family, however often it is exported.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Histogram, Meter, MeterProvider as _};
use opentelemetry_otlp::MetricExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::reader::MetricReader;
use opentelemetry_sdk::metrics::{InstrumentKind, ManualReader, Pipeline, SdkMeterProvider, Temporality};
use tokio_util::sync::CancellationToken;
use wire::exposition::{Family, Kind, Page, Value};

use super::SCOPE;
use crate::consumers::Link;
use crate::http::{App, metrics::measured};
use crate::metrics::{BOUNDS, Meters, Wait};

/// The values of each family as they were last read.
type Values = Arc<Mutex<BTreeMap<String, Vec<(Vec<KeyValue>, f64)>>>>;

/// The hub's meters.
pub struct Metrics {
    reader: Arc<ManualReader>,
    provider: SdkMeterProvider,
    meter: Meter,
    values: Values,
    known: BTreeSet<String>,
}

/// The same reader for the provider and for whoever exports.
#[derive(Debug, Clone)]
struct Shared(Arc<ManualReader>);

impl MetricReader for Shared {
    fn register_pipeline(&self, pipeline: std::sync::Weak<Pipeline>) {
        self.0.register_pipeline(pipeline);
    }

    fn collect(&self, into: &mut ResourceMetrics) -> OTelSdkResult {
        self.0.collect(into)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn temporality(&self, kind: InstrumentKind) -> Temporality {
        self.0.temporality(kind)
    }
}

impl Metrics {
    /// Meters of this hub; from here on its waits are recorded.
    pub fn new(resource: &Resource, meters: &Meters) -> Self {
        let reader = Arc::new(ManualReader::builder().build());
        let provider = SdkMeterProvider::builder()
            .with_resource(resource.clone())
            .with_reader(Shared(Arc::clone(&reader)))
            .build();
        let meter = provider.meter(SCOPE);
        let waits = |name: &'static str| -> Histogram<f64> {
            let histogram = meter.f64_histogram(name).with_unit("s");
            histogram.with_boundaries(BOUNDS.to_vec()).build()
        };
        let (requests, commits) = (
            waits("http_request_duration_seconds"),
            waits("sentinel_hub_store_batch_duration_seconds"),
        );
        meters.listen(Box::new(move |wait| match wait {
            Wait::Request { method, route, span } => {
                let labels = [
                    KeyValue::new("method", method),
                    KeyValue::new("endpoint", route.to_owned()),
                ];
                requests.record(span.as_secs_f64(), &labels);
            }
            Wait::Commit { span } => commits.record(span.as_secs_f64(), &[]),
        }));
        Self {
            reader,
            provider,
            meter,
            values: Values::default(),
            known: BTreeSet::new(),
        }
    }

    /// Exports at intervals until it is told to stop.
    pub async fn run(
        mut self,
        app: App,
        exporter: MetricExporter,
        link: Arc<Link>,
        every: Duration,
        stop: CancellationToken,
    ) {
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let rounds = async {
            loop {
                ticks.tick().await;
                // A hub that stops answers no more.
                let Ok(page) = measured(&app).await else {
                    continue;
                };
                self.take(&page);
                match self.export(&exporter).await {
                    Ok(()) => link.delivered(1),
                    Err(error) => link.failed(&error.to_string()),
                }
            }
        };
        stop.run_until_cancelled(rounds).await;
        // It has nothing of its own to send.
        let _ = self.provider.shutdown();
    }

    async fn export(&self, exporter: &MetricExporter) -> OTelSdkResult {
        let mut metrics = ResourceMetrics::default();
        self.reader.collect(&mut metrics)?;
        exporter.export(&metrics).await
    }

    /// Takes in a page: new families get their instrument, and every instrument reads its values from here on.
    pub fn take(&mut self, page: &Page) {
        let mut values = BTreeMap::new();
        for family in page.families() {
            if family.kind == Kind::Histogram {
                continue;
            }
            values.insert(family.name.clone(), family.samples.iter().filter_map(point).collect());
        }
        *self.values.lock().unwrap_or_else(PoisonError::into_inner) = values;
        for family in page.families() {
            if family.kind != Kind::Histogram && self.known.insert(family.name.clone()) {
                self.instrument(family);
            }
        }
    }

    fn instrument(&self, family: &Family) {
        let (values, name) = (Arc::clone(&self.values), family.name.clone());
        let read = move |observe: &dyn Fn(f64, &[KeyValue])| {
            let values = values.lock().unwrap_or_else(PoisonError::into_inner);
            for (labels, value) in values.get(&name).into_iter().flatten() {
                observe(*value, labels);
            }
        };
        let (name, help, unit) = (family.name.clone(), family.help.clone(), ucum(family.unit()));
        match family.kind {
            Kind::Counter => {
                let counter = self.meter.f64_observable_counter(name);
                let counter = counter.with_description(help).with_unit(unit);
                counter
                    .with_callback(move |into| read(&|value, labels| into.observe(value, labels)))
                    .build();
            }
            Kind::Gauge | Kind::Info | Kind::Histogram => {
                let gauge = self.meter.f64_observable_gauge(name);
                let gauge = gauge.with_description(help).with_unit(unit);
                gauge
                    .with_callback(move |into| read(&|value, labels| into.observe(value, labels)))
                    .build();
            }
        }
    }
}

fn point(sample: &wire::exposition::Sample) -> Option<(Vec<KeyValue>, f64)> {
    let labels = sample.labels.iter().cloned();
    let labels = labels.map(|(name, value)| KeyValue::new(name, value)).collect();
    match sample.value {
        Value::Number(value) => Some((labels, value)),
        Value::Histogram { .. } => None,
    }
}

/// OpenTelemetry writes units as UCUM does.
fn ucum(unit: Option<&str>) -> &'static str {
    match unit {
        Some("bytes") => "By",
        Some("celsius") => "Cel",
        Some("watts") => "W",
        Some("joules") => "J",
        Some("seconds") => "s",
        Some("hertz") => "Hz",
        Some("volts") => "V",
        Some("amperes") => "A",
        _ => "1",
    }
}

//! OpenTelemetry out of the hub: logs, metrics and traces, by the standard environment variables alone.
//!
//! Logs and traces are consumers of the order of arrival: audit entries and agents' decisions with their own times, so that a Collector
//! that was away, or a hub that was killed, loses nothing. Metrics are what `/metrics` says, sent at intervals; while the Collector is
//! away nothing of them is kept, because the next ones say more.
//!
//! Read next: `telemetry/settings.rs` (the variables), `telemetry/logs.rs`, `telemetry/traces.rs`, `telemetry/metrics.rs`.

mod exporters;
mod logs;
mod metrics;
mod settings;
mod traces;

use std::sync::Arc;

use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::consumers::{self, Source};
use crate::http::App;
use exporters::{log_exporter, metric_exporter, span_exporter};

pub use settings::{OtlpError, Settings};

/// Name of everything that this hub makes.
const SCOPE: &str = "sentinel-hub";

/// Starts what the settings ask for. The error says which variable is wrong; nothing runs then.
pub fn start(
    settings: &Settings,
    app: &App,
    trust_domain: &str,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> Result<(), OtlpError> {
    let resource = resource(settings, app, trust_domain);
    let source = Source {
        store: Arc::clone(&app.store),
        arrivals: app.feed.arrivals(),
    };
    if let Some(signal) = &settings.logs {
        let sink = logs::Logs::new(log_exporter(signal, &resource)?, trust_domain);
        let link = app.consumers.follower("otlp-logs", &signal.endpoint);
        tasks.spawn(consumers::follow(source.clone(), link, sink, stop.clone()));
    }
    if let Some(signal) = &settings.traces {
        let sink = traces::Traces::new(span_exporter(signal, &resource)?, trust_domain);
        let link = app.consumers.follower("otlp-traces", &signal.endpoint);
        tasks.spawn(consumers::follow(source, link, sink, stop.clone()));
    }
    if let Some(signal) = &settings.metrics {
        let link = app.consumers.link("otlp-metrics", &signal.endpoint);
        let exporter = metric_exporter(signal)?;
        let metrics = metrics::Metrics::new(&resource, &app.meters);
        let run = metrics.run(app.clone(), exporter, link, settings.every, stop.clone());
        tasks.spawn(run);
    }
    Ok(())
}

/// Who speaks. The environment has the last word.
fn resource(settings: &Settings, app: &App, trust_domain: &str) -> Resource {
    let own = [
        ("service.name", SCOPE.to_owned()),
        ("service.version", env!("CARGO_PKG_VERSION").to_owned()),
        ("service.namespace", trust_domain.to_owned()),
        ("service.instance.id", app.public.to_string()),
        ("host.name", hostname()),
    ];
    let own = own.map(|(name, value)| KeyValue::new(name, value));
    let given = settings.attributes.iter().cloned();
    let given = given.map(|(name, value)| KeyValue::new(name, value));
    Resource::builder_empty()
        .with_attributes(own)
        .with_attributes(given)
        .build()
}

fn hostname() -> String {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().into_owned()
}

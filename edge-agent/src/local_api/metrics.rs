//! `/metrics` for who scrapes, and the round of samples that the OTLP export takes.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};

use super::App;
use crate::telemetry::openmetrics::{Format, text};
use crate::telemetry::otlp::metrics::Exporter;
use crate::telemetry::samples::samples;

/// Everything as of now, in the format that is asked for.
pub(super) async fn scrape(State(app): State<App>, headers: HeaderMap) -> Response {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
    let format = Format::accepted(accept.unwrap_or_default());
    let compat = app.compat.borrow().clone();
    let (_, samples) = samples(&app.now(), &app.faults.names(), &compat);
    ([(CONTENT_TYPE, format.content_type())], text(&samples, format)).into_response()
}

/// Sends a round each period, for as long as the agent runs.
pub(super) async fn export(app: App, mut exporter: Exporter) {
    let mut ticks = tokio::time::interval(exporter.every());
    // A Collector that was slow gets the next round in a whole period, not all at once.
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let (at, samples) = samples(&app.now(), &app.faults.names(), &[]);
        exporter.take(at, &samples);
        exporter.send().await;
    }
}

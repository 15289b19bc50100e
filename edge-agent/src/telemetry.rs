//! What the node tells monitoring systems: the same samples as OpenMetrics for who asks, and as OTLP to where the environment says, with
//! what happened as logs and traces.
//!
//! A sample is made from what the turn loop last saw; making one judges nothing and waits for nothing.
//!
//! Read next: `telemetry/samples.rs` (which names), `telemetry/openmetrics.rs` (the text), `telemetry/otlp.rs` (the export).

pub mod openmetrics;
pub mod otlp;
pub mod samples;

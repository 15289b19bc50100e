//! Entries as log records of OpenTelemetry.
//!
//! A record is the same event that everybody else hears of ([`crate::events`]): one line for people as its body, its id, type and source
//! as CloudEvents' attributes, and the whole of its data below `sentinel.data`. Its time is the entry's own; the time at which it was
//! observed is the moment when it became durable here.

use opentelemetry::logs::{AnyValue, LogRecord as _, Logger as _, LoggerProvider as _, Severity};
use opentelemetry::{InstrumentationScope, TraceFlags};
use opentelemetry_otlp::LogExporter;
use opentelemetry_sdk::logs::{LogBatch, LogExporter as _, SdkLogRecord, SdkLogger, SdkLoggerProvider};
use serde_json::Value;
use std::time::{Duration, SystemTime};
use wire::time::Wall;

use super::SCOPE;
use super::traces::TraceIds;
use crate::consumers::Sink;
use crate::events::{CloudEvent, event};
use crate::store::Arrived;

/// Sends entries as log records.
pub struct Logs {
    exporter: LogExporter,
    /// Makes empty records: it sends nothing itself.
    blank: SdkLogger,
    scope: InstrumentationScope,
    ids: TraceIds,
}

impl Logs {
    /// Sends by this exporter.
    pub fn new(exporter: LogExporter, trust_domain: &str) -> Self {
        Self {
            exporter,
            blank: SdkLoggerProvider::builder().build().logger(SCOPE),
            scope: super::traces::scope(),
            ids: TraceIds::new(trust_domain),
        }
    }

    fn record(&self, arrived: &Arrived) -> Option<SdkLogRecord> {
        let event = event(arrived)?;
        let mut record = self.blank.create_log_record();
        let severity = severity(&event);
        record.set_timestamp(time(event.time));
        record.set_observed_timestamp(time(arrived.at.unwrap_or(event.time)));
        record.set_severity_number(severity);
        record.set_severity_text(severity.name());
        record.set_body(AnyValue::from(line(&event)));
        record.set_target(SCOPE);
        record.add_attribute("cloudevents.event_id", event.id.clone());
        record.add_attribute("cloudevents.event_source", event.source.clone());
        record.add_attribute("cloudevents.event_type", event.kind.clone());
        record.add_attribute("cloudevents.event_subject", event.subject.clone());
        record.add_attribute("cloudevents.event_spec_version", event.specversion);
        if !arrived.owner.is_hub() {
            record.add_attribute("sentinel.node", arrived.owner.to_string());
        }
        for name in ["who", "verb", "target", "result", "verdict", "rule"] {
            if let Some(Value::String(value)) = event.data.get(name) {
                record.add_attribute(format!("sentinel.{name}"), value.clone());
            }
        }
        record.add_attribute("sentinel.data", any_value(event.data));
        if let Some((trace, span)) = self.ids.of_entry(arrived) {
            record.set_trace_context(trace, span, Some(TraceFlags::SAMPLED));
        }
        Some(record)
    }
}

impl Sink for Logs {
    async fn deliver(&mut self, page: &[Arrived]) -> Result<(), String> {
        // Bytes that are no entry are a hostile agent's, and are told to nobody.
        let records: Vec<SdkLogRecord> = page.iter().filter_map(|arrived| self.record(arrived)).collect();
        if records.is_empty() {
            return Ok(());
        }
        let batch: Vec<_> = records.iter().map(|record| (record, &self.scope)).collect();
        let sent = self.exporter.export(LogBatch::new(&batch)).await;
        sent.map_err(|error| error.to_string())
    }
}

/// A refusal and a denial are what somebody looks for.
fn severity(event: &CloudEvent) -> Severity {
    let is = |field: &str, value: &str| event.data.get(field).is_some_and(|found| found == value);
    match is("result", "refused") || is("verdict", "deny") {
        true => Severity::Warn,
        false => Severity::Info,
    }
}

/// One line for people: `ann user.create user/bob: done`.
fn line(event: &CloudEvent) -> String {
    let text = |field: &str| event.data.get(field).and_then(Value::as_str);
    if let (Some(who), Some(verb), Some(target), Some(result)) =
        (text("who"), text("verb"), text("target"), text("result"))
    {
        return format!("{who} {verb} {target}: {result}");
    }
    if let (Some(rule), Some(verdict)) = (text("rule"), text("verdict")) {
        return format!("{} {rule}: {verdict}", event.subject);
    }
    format!("{} {}", event.subject, event.kind)
}

/// The same value in OpenTelemetry's words.
fn any_value(value: Value) -> AnyValue {
    match value {
        Value::Null => AnyValue::from(""),
        Value::Bool(value) => AnyValue::Boolean(value),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => AnyValue::Int(integer),
            (None, Some(float)) => AnyValue::Double(float),
            (None, None) => AnyValue::from(number.to_string()),
        },
        Value::String(text) => AnyValue::from(text),
        Value::Array(values) => AnyValue::ListAny(Box::new(values.into_iter().map(any_value).collect())),
        Value::Object(fields) => {
            let fields = fields.into_iter().filter(|(_, value)| !value.is_null());
            AnyValue::Map(Box::new(
                fields.map(|(name, value)| (name.into(), any_value(value))).collect(),
            ))
        }
    }
}

/// A wall time as the SDK has it.
pub fn time(at: Wall) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(at.0).unwrap_or(0))
}

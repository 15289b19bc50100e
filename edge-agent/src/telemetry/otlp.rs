//! Sends what the agent tells to an OpenTelemetry Collector: OTLP over HTTP with protobuf, set up by the standard environment variables alone.
//!
//! `OTEL_EXPORTER_OTLP_ENDPOINT` switches metrics, logs and traces on, `OTEL_EXPORTER_OTLP_{METRICS,LOGS,TRACES}_ENDPOINT` (with the whole
//! path) one of them; `OTEL_{METRICS,LOGS,TRACES}_EXPORTER=none` switches one off. `OTEL_METRIC_EXPORT_INTERVAL`, the timeouts and headers
//! (general or of one signal), `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES` and `OTEL_SDK_DISABLED` mean what the specification says.
//!
//! The messages are those of `opentelemetry-proto`, sent by the agent's own HTTP client: the SDK would be a tenth of the program, and its
//! queues forget what the journal keeps.
//!
//! Invariant: a Collector that is slow or gone costs nothing else any time, and what could not be sent waits with its own times.
//! Source: the OTLP specification 1.9 (paths, status codes) and OpenTelemetry's environment variable specification.
//! Read next: `otlp/metrics.rs` (samples), `otlp/entries.rs` (what happened, as logs and traces), `otlp/forward.rs` (from the journal).

pub mod entries;
pub mod forward;
pub mod metrics;

use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use tokio::net::TcpStream;

/// Why the export cannot be set up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OtlpError {
    /// A variable says something that this agent cannot do.
    #[error("{variable} is `{value}`: {rule}")]
    Variable {
        /// Which variable.
        variable: String,
        /// Its value.
        value: String,
        /// What it must be.
        rule: &'static str,
    },
}

/// One kind of telemetry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Samples, each minute.
    Metrics,
    /// Entries of the journal.
    Logs,
    /// Decisions and what came of them.
    Traces,
}

impl Kind {
    /// As variables spell it.
    const fn variable(self) -> &'static str {
        match self {
            Self::Metrics => "METRICS",
            Self::Logs => "LOGS",
            Self::Traces => "TRACES",
        }
    }

    /// As paths spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::Logs => "logs",
            Self::Traces => "traces",
        }
    }
}

/// Where one kind of telemetry goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signal {
    /// `HOST:PORT`.
    authority: String,
    path: String,
    timeout: Duration,
    headers: Vec<(String, String)>,
}

/// What is sent, where to, and how often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where metrics go.
    pub metrics: Option<Signal>,
    /// Where logs go.
    pub logs: Option<Signal>,
    /// Where traces go.
    pub traces: Option<Signal>,
    /// Time between two exports of metrics.
    every: Duration,
    /// Of the resource, beside the node's own.
    attributes: Vec<(String, String)>,
}

impl Settings {
    /// Reads the environment through `variable`. `None`: no export is wanted.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, OtlpError> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        if set("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Ok(None);
        }
        let mut attributes = pairs(&set("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default());
        if let Some(service) = set("OTEL_SERVICE_NAME") {
            attributes.retain(|(name, _)| name != "service.name");
            attributes.push(("service.name".to_owned(), service));
        }
        let read = Self {
            metrics: signal(Kind::Metrics, &set)?,
            logs: signal(Kind::Logs, &set)?,
            traces: signal(Kind::Traces, &set)?,
            every: milliseconds(set("OTEL_METRIC_EXPORT_INTERVAL"), 60_000),
            attributes,
        };
        let any = read.metrics.is_some() || read.logs.is_some() || read.traces.is_some();
        Ok(any.then_some(read))
    }

    /// Who sends: the node, as far as the environment does not say otherwise.
    pub fn resource(&self, node: &str, site: &str) -> Resource {
        let own = [
            ("service.name", "sentinel-agent"),
            ("service.version", env!("CARGO_PKG_VERSION")),
            ("service.instance.id", node),
            ("host.name", node),
            ("sentinel.site", site),
        ];
        let given = self
            .attributes
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        let mut attributes: Vec<(&str, &str)> = own.into_iter().chain(given).collect();
        // The environment has the last word.
        attributes.reverse();
        let mut seen = std::collections::BTreeSet::new();
        attributes.retain(|(name, _)| seen.insert(*name));
        Resource {
            attributes: attributes.into_iter().map(|(name, value)| text(name, value)).collect(),
            ..Resource::default()
        }
    }
}

fn signal(kind: Kind, set: &impl Fn(&str) -> Option<String>) -> Result<Option<Signal>, OtlpError> {
    const GENERAL: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
    let own = |what: &str| format!("OTEL_EXPORTER_OTLP_{}_{what}", kind.variable());
    let is_off = set(&format!("OTEL_{}_EXPORTER", kind.variable()));
    if is_off.is_some_and(|value| value.eq_ignore_ascii_case("none")) {
        return Ok(None);
    }
    let (name, value, suffix) = match (set(&own("ENDPOINT")), set(GENERAL)) {
        (Some(value), _) => (own("ENDPOINT"), value, String::new()),
        (None, Some(value)) => (GENERAL.to_owned(), value, format!("/v1/{}", kind.name())),
        (None, None) => return Ok(None),
    };
    for variable in [own("PROTOCOL"), "OTEL_EXPORTER_OTLP_PROTOCOL".to_owned()] {
        if let Some(value) = set(&variable) {
            if value != "http/protobuf" {
                let rule = "this agent speaks http/protobuf, at a Collector's port 4318";
                return Err(OtlpError::Variable { variable, value, rule });
            }
            break;
        }
    }
    let (authority, base) = address(&name, &value)?;
    let either = |what: &str| set(&own(what)).or_else(|| set(&format!("OTEL_EXPORTER_OTLP_{what}")));
    Ok(Some(Signal {
        authority,
        path: match suffix.is_empty() {
            true if base.is_empty() => "/".to_owned(),
            true => base,
            false => format!("{}{suffix}", base.trim_end_matches('/')),
        },
        timeout: milliseconds(either("TIMEOUT"), 10_000),
        headers: pairs(&either("HEADERS").unwrap_or_default()),
    }))
}

fn milliseconds(set: Option<String>, default: u64) -> Duration {
    let set = set.and_then(|value| value.parse().ok()).filter(|ms| *ms > 0);
    Duration::from_millis(set.unwrap_or(default))
}

fn address(variable: &str, value: &str) -> Result<(String, String), OtlpError> {
    let wrong = |rule| OtlpError::Variable {
        variable: variable.to_owned(),
        value: value.to_owned(),
        rule,
    };
    let rest = value.strip_prefix("http://").ok_or_else(|| {
        wrong("only http:// to a Collector on this machine or in its network; let that one speak TLS to the outside")
    })?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    if authority.is_empty() || authority.contains('@') {
        return Err(wrong("write http://HOST:PORT"));
    }
    let has_port = authority
        .rsplit(':')
        .next()
        .is_some_and(|port| port.parse::<u16>().is_ok());
    let authority = match has_port {
        true => authority.to_owned(),
        false => format!("{authority}:4318"),
    };
    Ok((authority, path.to_owned()))
}

/// `a=b,c=d`.
fn pairs(text: &str) -> Vec<(String, String)> {
    text.split(',')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
        .collect()
}

/// Why a batch was not taken.
#[derive(Debug)]
enum Failure {
    /// It may be later.
    Later(String),
    /// It never will be: sending it again would not help.
    Never(String),
}

/// Sends one batch, within the timeout.
async fn send(signal: &Signal, batch: Bytes) -> Result<(), Failure> {
    let sent = tokio::time::timeout(signal.timeout, post(signal, batch)).await;
    sent.unwrap_or_else(|_| Err(Failure::Later("it does not answer in time".to_owned())))
}

async fn post(signal: &Signal, body: Bytes) -> Result<(), Failure> {
    let later = |error: &dyn std::fmt::Display| Failure::Later(error.to_string());
    let stream = TcpStream::connect(&signal.authority)
        .await
        .map_err(|error| later(&error))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| later(&error))?;
    let mut request = Request::post(&signal.path)
        .header(HOST, &signal.authority)
        .header(CONTENT_TYPE, "application/x-protobuf");
    for (name, value) in &signal.headers {
        request = request.header(name, value);
    }
    let request = request
        .body(Full::new(body))
        .map_err(|error| Failure::Never(error.to_string()))?;
    let answer = async move {
        let response = sender.send_request(request).await.map_err(|error| later(&error))?;
        Ok(response.status())
    };
    // The sender is gone with the answer, and the connection with the sender: one each minute is not worth keeping. How a connection
    // ends says nothing that the answer does not.
    let (status, _) = tokio::join!(answer, connection);
    let status: StatusCode = status?;
    match status {
        status if status.is_success() => Ok(()),
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Err(Failure::Later(format!("it answers {status}"))),
        status => Err(Failure::Never(format!("it answers {status}"))),
    }
}

/// Tells once that a Collector does not take what it gets, and once that it does again.
#[derive(Debug, Default)]
struct Told {
    failing: bool,
    dropped: u64,
}

impl Told {
    fn works(&mut self, kind: Kind, signal: &Signal) {
        if std::mem::take(&mut self.failing) {
            let (collector, dropped) = (&signal.authority, self.dropped);
            tracing::info!(signal = kind.name(), collector, dropped, "OTLP export goes on");
        }
    }

    fn fails(&mut self, kind: Kind, signal: &Signal, reason: &str) {
        if !std::mem::replace(&mut self.failing, true) {
            let collector = &signal.authority;
            tracing::warn!(
                signal = kind.name(),
                collector,
                reason,
                "OTLP export waits for its Collector"
            );
        }
    }
}

/// Which part of the agent made it.
fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: "sentinel-agent".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    }
}

/// An attribute of text.
fn text(name: &str, value: &str) -> KeyValue {
    KeyValue {
        key: name.to_owned(),
        value: Some(AnyValue {
            value: Some(any_value::Value::StringValue(value.to_owned())),
        }),
        ..KeyValue::default()
    }
}

/// A wall time as the protocol has it.
fn nanoseconds(at: wire::Wall) -> u64 {
    u64::try_from(at.0).unwrap_or(0).saturating_mul(1_000_000)
}

#[cfg(test)]
mod tests;

//! Sends samples to an OpenTelemetry Collector: OTLP over HTTP with protobuf, set up by the standard environment variables alone.
//!
//! `OTEL_EXPORTER_OTLP_ENDPOINT` (or `OTEL_EXPORTER_OTLP_METRICS_ENDPOINT` with the whole path) switches it on;
//! `OTEL_METRIC_EXPORT_INTERVAL`, `OTEL_EXPORTER_OTLP_TIMEOUT`, `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_SERVICE_NAME`,
//! `OTEL_RESOURCE_ATTRIBUTES` and `OTEL_SDK_DISABLED` mean what the specification says. What could not be sent waits with its own times.
//!
//! Invariant: at most [`WAITING`] batches wait, the oldest goes first; a Collector that is slow or gone costs nothing else any time.
//! Source: the OTLP specification 1.9 (paths, status codes) and OpenTelemetry's environment variable specification.

use std::collections::VecDeque;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Metric as OtlpMetric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric,
    number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use tokio::net::TcpStream;
use wire::Wall;

use super::samples::{Kind, Sample};

/// Batches that wait for a Collector: an hour at the usual minute, about 2 MiB of a node with 300 series.
const WAITING: usize = 60;

/// Why the export cannot be set up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OtlpError {
    /// The endpoint is none that can be spoken to.
    #[error("{variable} is `{value}`: {rule}")]
    Endpoint {
        /// Which variable.
        variable: &'static str,
        /// Its value.
        value: String,
        /// What it must be.
        rule: &'static str,
    },
}

/// Where to send, and how often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `HOST:PORT`.
    authority: String,
    path: String,
    every: Duration,
    timeout: Duration,
    headers: Vec<(String, String)>,
    /// Of the resource, beside the node's own.
    attributes: Vec<(String, String)>,
}

impl Settings {
    /// Reads the environment through `variable`. `None`: the export is not wanted.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, OtlpError> {
        const GENERAL: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
        const METRICS: &str = "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT";
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let is = |name: &str, wanted: &str| set(name).is_some_and(|value| value.eq_ignore_ascii_case(wanted));
        if is("OTEL_SDK_DISABLED", "true") || is("OTEL_METRICS_EXPORTER", "none") {
            return Ok(None);
        }
        let (name, value, suffix) = match (set(METRICS), set(GENERAL)) {
            (Some(value), _) => (METRICS, value, ""),
            (None, Some(value)) => (GENERAL, value, "/v1/metrics"),
            (None, None) => return Ok(None),
        };
        let (authority, base) = address(name, &value)?;
        let milliseconds = |name: &str, default: u64| {
            let set = set(name).and_then(|value| value.parse().ok()).filter(|ms| *ms > 0);
            Duration::from_millis(set.unwrap_or(default))
        };
        let mut attributes = pairs(&set("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default());
        if let Some(service) = set("OTEL_SERVICE_NAME") {
            attributes.retain(|(name, _)| name != "service.name");
            attributes.push(("service.name".to_owned(), service));
        }
        let headers = set("OTEL_EXPORTER_OTLP_METRICS_HEADERS").or_else(|| set("OTEL_EXPORTER_OTLP_HEADERS"));
        Ok(Some(Self {
            authority,
            path: format!("{}{suffix}", base.trim_end_matches('/')),
            every: milliseconds("OTEL_METRIC_EXPORT_INTERVAL", 60_000),
            timeout: milliseconds("OTEL_EXPORTER_OTLP_TIMEOUT", 10_000),
            headers: pairs(&headers.unwrap_or_default()),
            attributes,
        }))
    }

    /// Time between two exports.
    pub const fn every(&self) -> Duration {
        self.every
    }
}

fn address(variable: &'static str, value: &str) -> Result<(String, String), OtlpError> {
    let wrong = |rule| OtlpError::Endpoint {
        variable,
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

/// The export, with what waits for it.
pub struct Exporter {
    settings: Settings,
    resource: Resource,
    waiting: VecDeque<Bytes>,
    dropped: u64,
    failing: bool,
}

impl Exporter {
    /// An export in the name of this node.
    pub fn new(settings: Settings, node: &str, site: &str) -> Self {
        let own = [
            ("service.name", "sentinel-agent"),
            ("service.version", env!("CARGO_PKG_VERSION")),
            ("service.instance.id", node),
            ("host.name", node),
            ("sentinel.site", site),
        ];
        let given = settings
            .attributes
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        let mut attributes: Vec<(&str, &str)> = own.into_iter().chain(given).collect();
        // The environment has the last word.
        attributes.reverse();
        let mut seen = std::collections::BTreeSet::new();
        attributes.retain(|(name, _)| seen.insert(*name));
        let attributes = attributes
            .into_iter()
            .map(|(name, value)| attribute(name, value))
            .collect();
        Self {
            resource: Resource {
                attributes,
                ..Resource::default()
            },
            settings,
            waiting: VecDeque::new(),
            dropped: 0,
            failing: false,
        }
    }

    /// Time between two exports.
    pub const fn every(&self) -> Duration {
        self.settings.every()
    }

    /// Takes one round of samples, to be sent with its own time.
    pub fn take(&mut self, at: Wall, samples: &[Sample]) {
        if self.waiting.len() == WAITING {
            self.waiting.pop_front();
            self.dropped += 1;
        }
        self.waiting
            .push_back(request(&self.resource, at, samples).encode_to_vec().into());
    }

    /// Sends what waits, oldest first, until something fails. Waits for the Collector, within the timeout for each batch.
    pub async fn send(&mut self) {
        while let Some(batch) = self.waiting.front().cloned() {
            let sent = tokio::time::timeout(self.settings.timeout, post(&self.settings, batch)).await;
            let result = sent.unwrap_or_else(|_| Err(Failure::Later("it does not answer in time".to_owned())));
            match result {
                Ok(()) => self.works(),
                // Sending it again would not help.
                Err(Failure::Never(reason)) => {
                    self.dropped += 1;
                    self.fails(&reason);
                }
                Err(Failure::Later(reason)) => return self.fails(&reason),
            }
            self.waiting.pop_front();
        }
    }

    fn works(&mut self) {
        if std::mem::take(&mut self.failing) {
            tracing::info!(
                collector = self.settings.authority,
                dropped = self.dropped,
                "OTLP export goes on"
            );
        }
    }

    fn fails(&mut self, reason: &str) {
        if !std::mem::replace(&mut self.failing, true) {
            tracing::warn!(
                collector = self.settings.authority,
                reason,
                "OTLP export waits for its Collector"
            );
        }
    }
}

enum Failure {
    Later(String),
    Never(String),
}

async fn post(settings: &Settings, body: Bytes) -> Result<(), Failure> {
    let later = |error: &dyn std::fmt::Display| Failure::Later(error.to_string());
    let stream = TcpStream::connect(&settings.authority)
        .await
        .map_err(|error| later(&error))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| later(&error))?;
    let mut request = Request::post(&settings.path)
        .header(HOST, &settings.authority)
        .header(CONTENT_TYPE, "application/x-protobuf");
    for (name, value) in &settings.headers {
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

fn request(resource: &Resource, at: Wall, samples: &[Sample]) -> ExportMetricsServiceRequest {
    let nanoseconds = u64::try_from(at.0).unwrap_or(0).saturating_mul(1_000_000);
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
                scope: Some(InstrumentationScope {
                    name: "sentinel-agent".to_owned(),
                    version: env!("CARGO_PKG_VERSION").to_owned(),
                    ..InstrumentationScope::default()
                }),
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
        attributes: sample
            .labels
            .iter()
            .map(|(name, value)| attribute(name, value))
            .collect(),
        time_unix_nano: nanoseconds,
        value: Some(number_data_point::Value::AsDouble(sample.value)),
        ..NumberDataPoint::default()
    }
}

fn attribute(name: &str, value: &str) -> KeyValue {
    KeyValue {
        key: name.to_owned(),
        value: Some(AnyValue {
            value: Some(any_value::Value::StringValue(value.to_owned())),
        }),
        ..KeyValue::default()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::Router;
    use axum::extract::State;
    use axum::routing::post;
    use tokio::net::TcpListener;

    use super::*;
    use crate::telemetry::samples::Metric;

    fn read(pairs: &[(&str, &str)]) -> Result<Option<Settings>, OtlpError> {
        let pairs: Vec<(String, String)> = pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        Settings::read(move |name| {
            pairs
                .iter()
                .find(|(known, _)| known == name)
                .map(|(_, value)| value.clone())
        })
    }

    #[test]
    fn the_standard_variables_say_where_and_how_often() {
        assert_eq!(read(&[]), Ok(None));
        let general = read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318/")]);
        let general = general.expect("valid").expect("wanted");
        assert_eq!(
            (general.authority.as_str(), general.path.as_str()),
            ("localhost:4318", "/v1/metrics")
        );
        assert_eq!(general.every, Duration::from_secs(60));
        let own = read(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://elsewhere"),
            ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://collector/otlp/in"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "5000"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=1, x-more=a"),
        ]);
        let own = own.expect("valid").expect("wanted");
        assert_eq!(
            (own.authority.as_str(), own.path.as_str()),
            ("collector:4318", "/otlp/in")
        );
        assert_eq!((own.every, own.headers.len()), (Duration::from_secs(5), 2));
        let disabled = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://x"),
            ("OTEL_SDK_DISABLED", "true"),
        ];
        assert_eq!(read(&disabled), Ok(None));
        for value in ["https://collector:4318", "collector:4318", "http://"] {
            let error = read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", value)]).expect_err(value);
            assert!(
                error.to_string().starts_with("OTEL_EXPORTER_OTLP_ENDPOINT is"),
                "{error}"
            );
        }
    }

    type Heard = Arc<Mutex<(Vec<StatusCode>, Vec<ExportMetricsServiceRequest>)>>;

    async fn collect(State(heard): State<Heard>, body: Bytes) -> StatusCode {
        let mut heard = heard.lock().expect("whole");
        match heard.0.pop() {
            Some(status) => status,
            None => {
                let request = ExportMetricsServiceRequest::decode(body).expect("protobuf");
                heard.1.push(request);
                StatusCode::OK
            }
        }
    }

    fn sample(value: f64) -> Sample {
        Sample {
            metric: Metric {
                name: "hw.temperature",
                unit: "celsius",
                kind: Kind::Gauge,
            },
            labels: vec![("hw.id", "GPU-a".to_owned())],
            value,
        }
    }

    fn times(requests: &[ExportMetricsServiceRequest]) -> Vec<u64> {
        let metric =
            |request: &ExportMetricsServiceRequest| request.resource_metrics[0].scope_metrics[0].metrics[0].clone();
        requests
            .iter()
            .map(|request| match metric(request).data {
                Some(metric::Data::Gauge(gauge)) => gauge.data_points[0].time_unix_nano / 1_000_000,
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[tokio::test]
    async fn what_waited_for_a_collector_arrives_in_order_with_its_own_times() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("bound"));
        let settings = read(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name=other,deployment=lab"),
        ]);
        let mut exporter = Exporter::new(settings.expect("valid").expect("wanted"), "edge-01", "berlin");
        let heard = Heard::default();
        heard.lock().expect("whole").0 = vec![StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS];
        let app = Router::new()
            .route("/v1/metrics", post(collect))
            .with_state(heard.clone());
        let served = tokio::spawn(async move { axum::serve(listener, app).await });

        for (at, rounds) in [(1_000, 1), (2_000, 2), (3_000, 3)] {
            exporter.take(Wall(at), &[sample(41.0)]);
            assert_eq!(exporter.waiting.len(), rounds);
            exporter.send().await;
        }
        assert_eq!(exporter.waiting.len(), 0);
        let requests = heard.lock().expect("whole").1.clone();
        assert_eq!(times(&requests), [1_000, 2_000, 3_000]);
        let resource = requests[0].resource_metrics[0].resource.clone().expect("one");
        let mut attributes: Vec<String> = resource
            .attributes
            .iter()
            .map(
                |attribute| match attribute.value.as_ref().and_then(|value| value.value.clone()) {
                    Some(any_value::Value::StringValue(value)) => format!("{}={value}", attribute.key),
                    other => panic!("{other:?}"),
                },
            )
            .collect();
        attributes.sort();
        assert!(attributes.contains(&"service.name=other".to_owned()), "{attributes:?}");
        assert!(
            attributes.contains(&"service.instance.id=edge-01".to_owned()),
            "{attributes:?}"
        );
        assert_eq!(
            attributes
                .iter()
                .filter(|text| text.starts_with("service.name"))
                .count(),
            1
        );

        // What a Collector refuses for good is not sent for ever.
        heard.lock().expect("whole").0 = vec![StatusCode::BAD_REQUEST];
        exporter.take(Wall(4_000), &[sample(42.0)]);
        exporter.take(Wall(5_000), &[sample(43.0)]);
        exporter.send().await;
        assert_eq!(times(&heard.lock().expect("whole").1), [1_000, 2_000, 3_000, 5_000]);
        assert_eq!(exporter.dropped, 1);
        served.abort();
    }

    #[test]
    fn a_collector_that_stays_away_costs_the_oldest_batches() {
        let settings = read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")]);
        let mut exporter = Exporter::new(settings.expect("valid").expect("wanted"), "edge-01", "berlin");
        for at in 0..WAITING as i64 + 3 {
            exporter.take(Wall(at), &[sample(41.0)]);
        }
        assert_eq!((exporter.waiting.len(), exporter.dropped), (WAITING, 3));
    }
}

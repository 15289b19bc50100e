//! A Collector that answers as it is told, and what arrives at it.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::metric;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode as SpanStatus;
use prost::Message as _;
use tokio::net::TcpListener;
use wire::decision::{Authority, Decision, Inputs, Judgement, Observed, Verdict};
use wire::entry::{Entry, EntryBody, Event};
use wire::fault::{NextStep, Severity};
use wire::time::{ClockState, Mono, Now};
use wire::{
    Action, ActionKind, AgentId, BundleRef, DecisionId, DeviceId, Digest, Epoch, HubEpoch, Outcome, OutcomeState,
    RawEntry, Seq, Wall,
};

use super::entries::Origin;
use super::metrics::{Exporter, WAITING};
use super::*;
use crate::telemetry::samples::{Kind as MetricKind, Metric, Sample};

fn place(signal: &Option<Signal>) -> String {
    let signal = signal.as_ref().expect("wanted");
    format!("{}{}", signal.authority, signal.path)
}

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
        [&general.metrics, &general.logs, &general.traces].map(place),
        ["metrics", "logs", "traces"].map(|name| format!("localhost:4318/v1/{name}"))
    );
    assert_eq!(general.every, Duration::from_secs(60));
    let own = read(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://elsewhere"),
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://collector/otlp/in"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "5000"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=1, x-more=a"),
    ]);
    let own = own.expect("valid").expect("wanted");
    assert_eq!(place(&own.metrics), "collector:4318/otlp/in");
    assert_eq!(place(&own.logs), "elsewhere:4318/v1/logs");
    let headers = own.metrics.map_or(0, |signal| signal.headers.len());
    assert_eq!((own.every, headers), (Duration::from_secs(5), 2));
    let one = read(&[
        ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://loki"),
        ("OTEL_EXPORTER_OTLP_LOGS_TIMEOUT", "700"),
    ]);
    let one = one.expect("valid").expect("wanted");
    assert_eq!(
        (place(&one.logs), one.metrics, one.traces),
        ("loki:4318/".to_owned(), None, None)
    );
    assert_eq!(one.logs.map(|signal| signal.timeout), Some(Duration::from_millis(700)));
    let but = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://x"),
        ("OTEL_TRACES_EXPORTER", "none"),
    ];
    assert_eq!(read(&but).expect("valid").expect("wanted").traces, None);
    let grpc = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://x:4317"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
    ];
    let error = read(&grpc).expect_err("another protocol").to_string();
    assert!(
        error.contains("OTEL_EXPORTER_OTLP_PROTOCOL is `grpc`: this agent speaks http/protobuf"),
        "{error}"
    );
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

fn exporter(settings: &Settings) -> Exporter {
    Exporter::new(settings, settings.resource("edge-01", "berlin")).expect("metrics are wanted")
}

fn sample(value: f64) -> Sample {
    Sample {
        metric: Metric {
            name: "hw.temperature",
            unit: "celsius",
            kind: MetricKind::Gauge,
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
    let mut exporter = exporter(&settings.expect("valid").expect("wanted"));
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
    assert_eq!(exporter.dropped(), 1);
    served.abort();
}

#[test]
fn a_collector_that_stays_away_costs_the_oldest_batches() {
    let settings = read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")]);
    let mut exporter = exporter(&settings.expect("valid").expect("wanted"));
    for at in 0..WAITING as i64 + 3 {
        exporter.take(Wall(at), &[sample(41.0)]);
    }
    assert_eq!((exporter.waiting.len(), exporter.dropped()), (WAITING, 3));
}

fn entry(seq: u64, at: i64, body: EntryBody) -> (Epoch, RawEntry) {
    let entry = Entry {
        seq: Seq(seq),
        at: Now {
            mono: Mono(seq),
            wall: Wall(at),
        },
        prev: Digest::ZERO,
        body,
    };
    (Epoch(2), entry.encode())
}

fn origin() -> Origin {
    let settings = read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://x")]);
    Origin {
        agent: AgentId::new("edge-01").expect("a name"),
        trust_domain: "lab".to_owned(),
        resource: settings.expect("valid").expect("wanted").resource("edge-01", "berlin"),
    }
}

/// A fault, a decision about it, what came of it, and that this helped.
fn story() -> Vec<(Epoch, RawEntry)> {
    let wanted = Action {
        target: DeviceId::gpu(0),
        kind: ActionKind::PowerCap { milliwatts: 200_000 },
    };
    let decision = Decision {
        inputs: Inputs {
            at: Now::default(),
            origin: wire::Origin::Rule { rule: "hot".to_owned() },
            wanted: wanted.clone(),
            bundle: BundleRef::NONE,
            policy_age_ms: 0,
            connected: false,
            clock: ClockState::Steady,
            journal_ok: true,
            held_by: None,
            hub_epoch: HubEpoch(1),
            readings: vec![Observed {
                series: wire::Series::new(DeviceId::gpu(0), wire::Quantity::GpuTemperature),
                value: Some(91_000),
                age_ms: Some(1_500),
                held_ms: 0,
            }],
            facts: Vec::new(),
        },
        judgement: Judgement {
            verdict: Verdict::Allow,
            rule: "hot".to_owned(),
            granted: Some(wanted),
            retry_after_ms: None,
            valid_for_ms: 1,
            authority: Authority::Full,
            clauses: Vec::new(),
            rejected: Vec::new(),
        },
    };
    let outcome = |state| {
        EntryBody::Acted(Outcome {
            decision: DecisionId {
                agent: AgentId::new("edge-01").expect("a name"),
                epoch: Epoch(2),
                seq: Seq(8),
            },
            state,
            before: None,
            after: None,
            probed: false,
            detail: "it is still hot".to_owned(),
        })
    };
    let fault = Event::Fault {
        device: DeviceId::gpu(0),
        code: "xid 79".to_owned(),
        severity: Severity::Critical,
        meaning: "the GPU has fallen off the bus".to_owned(),
        next: NextStep::DrainAndReboot,
        evidence: "NVRM: Xid (PCI:0000:17:00): 79".to_owned(),
        count: 1,
    };
    vec![
        entry(7, 10_000, EntryBody::Event(fault)),
        entry(8, 20_000, EntryBody::Decided(Box::new(decision))),
        entry(9, 21_000, outcome(OutcomeState::Applied)),
        entry(10, 30_000, outcome(OutcomeState::NotVerified)),
    ]
}

/// As it goes over the wire and comes out of it.
fn through<M: prost::Message + Default>(message: &M) -> M {
    M::decode(message.encode_to_vec().as_slice()).expect("protobuf")
}

fn attributes(list: &[KeyValue]) -> Vec<String> {
    let text = |one: &KeyValue| match one.value.as_ref().and_then(|value| value.value.clone()) {
        Some(any_value::Value::StringValue(value)) => format!("{}={value}", one.key),
        other => panic!("{other:?}"),
    };
    list.iter().map(text).collect()
}

#[test]
fn every_entry_is_a_log_record_with_its_own_time_and_a_fault_says_everything() {
    let sent: ExportLogsServiceRequest = through(&origin().logs(&story()).expect("records"));
    let records = &sent.resource_logs[0].scope_logs[0].log_records;
    let rows: Vec<(u64, &str)> = records
        .iter()
        .map(|record| (record.time_unix_nano / 1_000_000, record.severity_text.as_str()))
        .collect();
    assert_eq!(
        rows,
        [(10_000, "ERROR"), (20_000, "INFO"), (21_000, "INFO"), (30_000, "WARN")]
    );
    let fault = attributes(&records[0].attributes);
    for wanted in [
        "sentinel.entry=edge-01.2.7",
        "hw.name=gpu0",
        "sentinel.fault.code=xid 79",
        "sentinel.fault.meaning=the GPU has fallen off the bus",
        "sentinel.fault.next=drain_and_reboot",
        "sentinel.fault.evidence=NVRM: Xid (PCI:0000:17:00): 79",
    ] {
        assert!(fault.iter().any(|found| found == wanted), "{wanted}: {fault:?}");
    }
    assert!(records[0].trace_id.is_empty());
    assert_eq!(records[1].trace_id.len(), 16);
    assert_eq!(records[1].trace_id, records[3].trace_id, "one decision, one trace");
    let garbage = RawEntry {
        seq: Seq(1),
        bytes: vec![1, 2, 3],
        digest: Digest::ZERO,
    };
    assert!(origin().logs(&[(Epoch(1), garbage)]).is_none());
}

#[test]
fn a_decision_is_one_trace_from_the_first_reading_to_what_came_of_it() {
    let sent: ExportTraceServiceRequest = through(&origin().traces(&story()).expect("spans"));
    let spans = &sent.resource_spans[0].scope_spans[0].spans;
    let rows: Vec<(&str, u64, u64)> = spans
        .iter()
        .map(|span| {
            let ms = |ns: u64| ns / 1_000_000;
            (
                span.name.as_str(),
                ms(span.start_time_unix_nano),
                ms(span.end_time_unix_nano),
            )
        })
        .collect();
    assert_eq!(
        rows,
        [
            ("decision", 18_500, 20_000),
            ("observe", 18_500, 20_000),
            ("judge", 20_000, 20_000),
            ("act", 21_000, 21_000),
            ("verify", 30_000, 30_000),
        ]
    );
    let root = &spans[0];
    assert!(root.parent_span_id.is_empty());
    for child in &spans[1..] {
        assert_eq!(
            (&child.trace_id, &child.parent_span_id),
            (&root.trace_id, &root.span_id)
        );
    }
    let status = spans[4].status.clone().expect("it did not help");
    assert_eq!(
        (status.code, status.message.as_str()),
        (SpanStatus::Error as i32, "it is still hot")
    );
    // As the hub derives it: both tell of one trace.
    let expected = blake3::hash(b"lab\0edge-01.2.8\0trace\x000");
    assert_eq!(root.trace_id, expected.as_bytes()[..16]);
    assert_eq!(
        origin().traces(&story()),
        origin().traces(&story()),
        "sent again, it is the same"
    );
    assert!(origin().traces(&story()[..1]).is_none());
}

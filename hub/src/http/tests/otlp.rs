//! What a Collector receives is what was stored: every entry once, with its own time, also over an absence of the Collector.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::metrics::v1::{metric, number_data_point};
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio_util::sync::CancellationToken;
use wire::decision::Observed;
use wire::ids::DecisionId;
use wire::reading::{DeviceId, Quantity, Series};
use wire::{ActionKind, Outcome, OutcomeState};

use super::collector::{Collector, Received, body, text};
use super::*;
use crate::telemetry::{self, Settings as Otlp};

struct Export {
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Export {
    fn start(hub: &TestHub, variables: &[(&str, String)]) -> Self {
        let read = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| value.clone())
        };
        let settings = Otlp::read(read).expect("valid").expect("something is exported");
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        telemetry::start(&settings, &hub.app, "test.internal", &tasks, &stop).expect("it starts");
        Self { tasks, stop }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        tokio::time::timeout(PATIENCE, self.tasks.wait())
            .await
            .expect("it ends");
    }
}

fn variables(protocol: &str, address: std::net::SocketAddr) -> Vec<(&'static str, String)> {
    vec![
        ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{address}")),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol.to_owned()),
        ("OTEL_METRIC_EXPORT_INTERVAL", "50".to_owned()),
        ("OTEL_RESOURCE_ATTRIBUTES", "sentinel.site=lab".to_owned()),
    ]
}

/// Every stored entry as the API tells it, by id.
async fn told(hub: &TestHub) -> BTreeMap<String, Value> {
    let page = hub.admin("GET", "/api/v1/events?limit=500", "", 200).await;
    let items = page["items"].as_array().expect("a page").clone();
    let by_id = |event: Value| (event["id"].as_str().expect("an id").to_owned(), event);
    items.into_iter().map(by_id).collect()
}

fn nanoseconds(time: &Value) -> u64 {
    let at: Wall = serde_json::from_value(time.clone()).expect("a time");
    at.0.unsigned_abs() * 1_000_000
}

/// Compares records with the API's events; each comes exactly once.
fn same(received: &Received, told: &BTreeMap<String, Value>) {
    assert_eq!(received.logs.len(), told.len(), "each once");
    for (resource, record) in &received.logs {
        let event = &told[&text(&record.attributes, "cloudevents.event_id")];
        assert_eq!(text(&record.attributes, "cloudevents.event_type"), event["type"]);
        assert_eq!(text(&record.attributes, "cloudevents.event_source"), event["source"]);
        assert_eq!(record.time_unix_nano, nanoseconds(&event["time"]), "its own time");
        let resource = resource.as_ref().expect("somebody speaks");
        assert_eq!(text(&resource.attributes, "service.name"), "sentinel-hub");
        assert_eq!(text(&resource.attributes, "sentinel.site"), "lab");
    }
}

async fn create_user(hub: &TestHub, name: &str) {
    let body = format!("{{\"name\":\"{name}\",\"role\":\"viewer\"}}");
    hub.admin("POST", "/api/v1/users", &body, 200).await;
}

async fn audit_arrives_by(protocol: &str, port: fn(&Collector) -> std::net::SocketAddr) {
    let hub = TestHub::start().await;
    let collector = Collector::start().await;
    let export = Export::start(&hub, &variables(protocol, port(&collector)));
    create_user(&hub, "ann").await;
    let bob = hub
        .admin("POST", "/api/v1/users", "{\"name\":\"b\",\"role\":\"viewer\"}", 409)
        .await;
    assert_eq!(bob["code"], "conflict");
    create_user(&hub, "bob").await;
    let told = told(&hub).await;
    let received = collector
        .when("every entry", |received| received.logs.len() >= told.len())
        .await;
    same(&received, &told);
    let lines: Vec<String> = received.logs.iter().map(|(_, record)| body(record)).collect();
    assert!(
        lines.contains(&"administrator user.create user/ann: done".to_owned()),
        "{lines:?}"
    );
    export.stop().await;
    hub.stop().await;
}

#[tokio::test]
async fn a_collector_receives_the_audit_by_http() {
    audit_arrives_by("http/protobuf", |collector| collector.http).await;
}

#[tokio::test]
async fn a_collector_receives_the_audit_by_grpc() {
    audit_arrives_by("grpc", |collector| collector.grpc).await;
}

#[tokio::test]
async fn a_collector_that_was_away_misses_nothing_and_gets_nothing_twice() {
    let hub = TestHub::start().await;
    let first = Collector::start().await;
    let ports = [first.grpc.port(), first.http.port()];
    let variables = variables("http/protobuf", first.http);
    let export = Export::start(&hub, &variables);
    create_user(&hub, "ann").await;
    first.when("ann", |received| !received.logs.is_empty()).await;
    first.go_away();
    for n in 0..20 {
        create_user(&hub, &format!("user-{n}")).await;
    }
    let link = &hub.app.consumers.links()[0];
    let standing = || link.standing(hub.app.store.arrivals().expect("readable").count, hub.app.now());
    let begun = std::time::Instant::now();
    // Each look is a request, which is pause enough.
    let is_down = "sentinel_hub_consumer_up{consumer=\"otlp-logs\"} 0\n";
    while !hub.ask("GET", "/metrics", &[], "").await.text().contains(is_down) {
        assert!(begun.elapsed() < PATIENCE, "{:?}", standing());
    }
    assert!(
        standing().up == Some(false) && standing().lag_entries >= Some(20),
        "{:?}",
        standing()
    );
    // Another process of the hub goes on where this one was.
    export.stop().await;
    let before = first.received();
    let second = Collector::start_at(ports).await;
    let export = Export::start(&hub, &variables);
    let told = told(&hub).await;
    let after = second
        .when("the rest", |received| {
            before.logs.len() + received.logs.len() >= told.len()
        })
        .await;
    let mut all = before.clone();
    all.logs.extend(after.logs);
    same(&all, &told);
    export.stop().await;
    hub.stop().await;
}

#[tokio::test]
async fn the_hubs_own_metrics_arrive_as_they_are_scraped() {
    let hub = TestHub::start().await;
    let collector = Collector::start().await;
    let export = Export::start(&hub, &variables("grpc", collector.grpc));
    create_user(&hub, "ann").await;
    let value = |received: &Received, name: &str| {
        let newest = received.metrics.iter().rev().find(|(_, metric)| metric.name == name);
        let points = match newest.and_then(|(_, metric)| metric.data.clone()) {
            Some(metric::Data::Sum(sum)) => sum.data_points,
            Some(metric::Data::Gauge(gauge)) => gauge.data_points,
            _ => Vec::new(),
        };
        let own = points.into_iter().find(|point| {
            let journal = point.attributes.iter().find(|label| label.key == "journal");
            journal.is_none_or(|_| text(&point.attributes, "journal") == "hub")
        });
        match own.and_then(|point| point.value) {
            Some(number_data_point::Value::AsDouble(value)) => Some(value),
            _ => None,
        }
    };
    let own = "sentinel_hub_entries_stored";
    let stored = hub.app.store.arrivals().expect("readable").count;
    let received = collector
        .when("the counter", |received| {
            value(received, own).is_some_and(|count| count >= 1.0)
        })
        .await;
    assert!(value(&received, own).is_some_and(|count| count <= stored as f64));
    assert_eq!(value(&received, "sentinel_hub_nodes_quarantined"), Some(0.0));
    let waits = |received: &Received| {
        let histograms = received.metrics.iter().filter_map(|(_, metric)| match &metric.data {
            Some(metric::Data::Histogram(histogram)) => Some((metric.name.clone(), histogram.clone())),
            _ => None,
        });
        histograms
            .filter(|(name, _)| name == "http_request_duration_seconds")
            .flat_map(|(_, histogram)| histogram.data_points)
            .any(|point| text(&point.attributes, "endpoint") == "/api/v1/users" && point.count >= 1)
    };
    collector.when("a wait", waits).await;
    export.stop().await;
    hub.stop().await;
}

fn cap(milliwatts: u32) -> Action {
    Action {
        target: DeviceId::gpu(0),
        kind: ActionKind::PowerCap { milliwatts },
    }
}

/// A decision about a hot GPU and its outcome, told an hour later.
async fn heat(hub: &mut TestHub) -> (DecisionId, i64) {
    let bundle = hub.publish().await;
    let mut agent = TestAgent::connect(hub, "edge-03", 1, bundle).await;
    let an_hour_ago = Now {
        mono: Mono(9_000),
        wall: Wall(now().wall.0 - 3_600_000),
    };
    let wanted = cap(250_000);
    let mut decision = agent.decide(
        Origin::Rule {
            rule: "gpu-hot".to_owned(),
        },
        wanted,
    );
    decision.inputs.readings = vec![Observed {
        series: Series::new(DeviceId::gpu(0), Quantity::GpuTemperature),
        value: Some(91_000),
        age_ms: Some(700),
        held_ms: 3_000,
    }];
    let made = agent.entry_at(an_hour_ago, EntryBody::Decided(Box::new(decision)));
    let id = DecisionId {
        agent: agent.name.clone(),
        epoch: Epoch(1),
        seq: made.seq,
    };
    let outcome = Outcome {
        decision: id.clone(),
        state: OutcomeState::Applied,
        before: Some(350_000),
        after: Some(250_000),
        probed: false,
        detail: String::new(),
    };
    let later = Now {
        mono: Mono(9_040),
        wall: Wall(an_hour_ago.wall.0 + 40),
    };
    let done = agent.entry_at(later, EntryBody::Acted(outcome));
    agent.send(hub, vec![made, done]).await;
    (id, an_hour_ago.wall.0)
}

#[tokio::test]
async fn one_trace_goes_from_the_reading_to_the_hubs_commit_over_an_hour_of_partition() {
    let mut hub = TestHub::start().await;
    let collector = Collector::start().await;
    let export = Export::start(&hub, &variables("grpc", collector.grpc));
    let (id, decided_ms) = heat(&mut hub).await;
    let received = collector.when("the spans", |received| received.spans.len() >= 6).await;
    let spans: BTreeMap<&str, &Span> = received.spans.iter().map(|span| (span.name.as_str(), span)).collect();
    let mut names: Vec<&str> = received.spans.iter().map(|span| span.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["act", "decision", "judge", "observe", "sync", "sync"]);
    let trace = &spans["decision"].trace_id;
    for span in &received.spans {
        assert_eq!(&span.trace_id, trace, "one trace");
        assert_eq!(text(&span.attributes, "sentinel.decision"), id.to_string());
        assert!(span.end_time_unix_nano >= span.start_time_unix_nano);
    }
    let milliseconds = |nanoseconds: u64| i64::try_from(nanoseconds / 1_000_000).expect("after 1970");
    let span = |name: &str| {
        let span = spans[name];
        (
            milliseconds(span.start_time_unix_nano),
            milliseconds(span.end_time_unix_nano),
        )
    };
    assert_eq!(
        span("observe"),
        (decided_ms - 700, decided_ms),
        "from the oldest reading on"
    );
    assert_eq!(span("act").1, decided_ms + 40);
    assert!(spans["decision"].parent_span_id.is_empty());
    for child in ["observe", "judge", "act"] {
        assert_eq!(spans[child].parent_span_id, spans["decision"].span_id, "{child}");
    }
    let commits = received.spans.iter().filter(|span| span.name == "sync");
    for sync in commits {
        let waited_ms = milliseconds(sync.end_time_unix_nano) - milliseconds(sync.start_time_unix_nano);
        assert!(
            (3_590_000..3_700_000).contains(&waited_ms),
            "an hour until the hub had it: {waited_ms}"
        );
        let parents = [&spans["decision"].span_id, &spans["act"].span_id];
        assert!(parents.contains(&&sync.parent_span_id));
    }
    let logs = collector
        .when("the records", |received| received.logs.len() >= 3)
        .await
        .logs;
    let with_trace = logs.iter().filter(|(_, record)| &record.trace_id == trace).count();
    assert_eq!(with_trace, 2, "the decision and its outcome");
    export.stop().await;
    hub.stop().await;
}

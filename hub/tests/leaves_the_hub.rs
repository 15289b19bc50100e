//! What leaves the hub arrives outside: the shipping program, a real Kafka broker read by Kafka's own console consumer, and a receiver of
//! OTLP. Everybody is killed in the middle.

mod collector;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use collector::{Collector, body};
use serde_json::{Value, json};
use testbed_services::{Kafka, Record, to_stderr};
use wire::api::Context;

const TOPIC: &str = "sentinel.events";
/// How long a test waits for something to arrive.
const PATIENCE: Duration = Duration::from_secs(90);

/// A hub in a process of its own, which is killed when this is dropped.
struct Hub {
    child: Child,
    /// Open for as long as it runs: a hub that cannot print its link ends.
    _out: BufReader<ChildStdout>,
    context: Context,
    client: reqwest::Client,
}

impl Drop for Hub {
    fn drop(&mut self) {
        let _may_be_gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Hub {
    fn start(state: &Path, flags: &[&str], environment: &[(&str, String)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_sentinel-hub"))
            .args(["run", "--listen", "127.0.0.1:0", "--brain", "none", "--state"])
            .arg(state)
            .args(flags)
            .envs(environment.iter().cloned())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the hub starts");
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().expect("piped"));
        out.read_line(&mut line).expect("it says something");
        assert!(line.starts_with("ready https://"), "{line}");
        let context = std::fs::read(state.join("admin.json")).expect("an administrator's context");
        let context: Context = serde_json::from_slice(&context).expect("JSON");
        let ca = reqwest::Certificate::from_pem_bundle(context.ca_pem.as_bytes()).expect("PEM");
        let client = reqwest::Client::builder().tls_certs_only(ca).build().expect("a client");
        Self {
            child,
            _out: out,
            context,
            client,
        }
    }

    async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        let method = method.parse().expect("a method");
        let request = self.client.request(method, format!("{}{path}", self.context.hub));
        let request = request.bearer_auth(&self.context.token);
        let request = match body {
            Some(body) => request.json(&body),
            None => request,
        };
        let answer = request.send().await.expect("an answer");
        assert!(answer.status().is_success(), "{path}: {answer:?}");
        answer.json().await.unwrap_or(Value::Null)
    }

    async fn create_user(&self, name: &str) {
        let user = json!({ "name": name, "role": "viewer" });
        self.ask("POST", "/api/v1/users", Some(user)).await;
    }

    /// Ids of all events with their cursors, as the hub's API tells them.
    async fn told(&self) -> BTreeMap<String, String> {
        let mut all = BTreeMap::new();
        let mut after = String::new();
        loop {
            let page = self.ask("GET", &format!("/api/v1/events?limit=500{after}"), None).await;
            for event in page["items"].as_array().expect("a page") {
                let text = |name: &str| event[name].as_str().expect("text").to_owned();
                all.insert(text("id"), text("sentinelcursor"));
            }
            match page["next_cursor"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => return all,
            }
        }
    }

    async fn metric(&self, row: &str) -> Option<f64> {
        let page = self.client.get(format!("{}/metrics", self.context.hub)).send().await;
        let page = page.expect("an answer").text().await.expect("text");
        let found = page.lines().find_map(|line| line.strip_prefix(row)?.strip_prefix(' '));
        found.and_then(|value| value.parse().ok())
    }

    async fn until(&self, row: &str, holds: impl Fn(f64) -> bool) {
        let begun = Instant::now();
        loop {
            let value = self.metric(row).await;
            if value.is_some_and(&holds) {
                return;
            }
            // Each look is a request, which is pause enough.
            assert!(begun.elapsed() < PATIENCE, "{row} is {value:?}");
        }
    }

    async fn until_all_is_there(&self) {
        self.until("sentinel_hub_consumer_lag_entries{consumer=\"kafka\"}", |lag| {
            lag == 0.0
        })
        .await;
    }
}

fn event(record: &Record) -> Value {
    serde_json::from_str(&record.value).expect("a CloudEvent")
}

fn cursor(text: &str) -> (u64, u32) {
    let (arrival, index) = text.split_once('.').expect("a cursor");
    (arrival.parse().expect("a number"), index.parse().expect("a number"))
}

/// Every event once, and in order within each partition.
fn same(records: &[Record], told: &BTreeMap<String, String>) {
    let mut seen = BTreeSet::new();
    let mut last: BTreeMap<u32, (u64, u32)> = BTreeMap::new();
    for record in records {
        let event = event(record);
        let id = event["id"].as_str().expect("an id").to_owned();
        assert!(record.headers.contains(&format!("ce_id:{id}")), "{record:?}");
        assert!(seen.insert(id.clone()), "`{id}` is there twice");
        let at = cursor(event["sentinelcursor"].as_str().expect("a cursor"));
        let former = last.insert(record.partition, at);
        assert!(
            former.is_none_or(|former| former < at),
            "out of order: {former:?}, {at:?}"
        );
    }
    let told: BTreeSet<String> = told.keys().cloned().collect();
    let missing: Vec<_> = told.difference(&seen).collect();
    assert!(missing.is_empty(), "missing in the topic: {missing:?}");
    assert_eq!(seen, told);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_line_arrives_on_a_real_topic_and_as_an_otlp_log() {
    let kafka = Kafka::start("leaves-first-light", &to_stderr).expect("a broker");
    let collector = Collector::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let flag = format!("{}/{TOPIC}", kafka.brokers());
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{}", collector.http));
    let hub = Hub::start(folder.path(), &["--kafka", &flag], &[endpoint]);
    hub.create_user("bob").await;
    let line = "administrator user.create user/bob: done";
    let is_it = |received: &collector::Received| received.logs.iter().any(|(_, record)| body(record) == line);
    collector.when("the audit line", is_it).await;
    hub.until_all_is_there().await;
    let told = hub.told().await;
    let records = kafka.records(TOPIC, told.len()).expect("readable");
    same(&records, &told);
    let created = records
        .iter()
        .find(|record| event(record)["data"]["target"] == "user/bob");
    let created = created.expect("the audit line");
    assert_eq!(created.key, "@hub");
    assert_eq!(event(created)["type"], "dev.sentinel.hub.user.create.v1");
    assert!(
        created.headers.contains("ce_type:dev.sentinel.hub.user.create.v1"),
        "{created:?}"
    );
    assert!(created.headers.contains("application/cloudevents+json"), "{created:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn hub_and_broker_are_killed_and_the_topic_has_every_event_once() {
    let mut kafka = Kafka::start("leaves-killed", &to_stderr).expect("a broker");
    let folder = tempfile::tempdir().expect("a folder");
    let flag = format!("{}/{TOPIC}", kafka.brokers());
    let flags = ["--kafka", flag.as_str()];
    let mut hub = Hub::start(folder.path(), &flags, &[]);
    for round in 0..3 {
        // The hub dies while events are on their way: what it acknowledged to nobody yet is read back from the topic.
        for n in 0..20 {
            hub.create_user(&format!("hub-{round}-{n}")).await;
        }
        drop(hub);
        hub = Hub::start(folder.path(), &flags, &[]);
    }
    // The broker dies; events cost lag only.
    kafka.kill();
    for n in 0..30 {
        hub.create_user(&format!("broker-{n}")).await;
    }
    hub.until("sentinel_hub_consumer_up{consumer=\"kafka\"}", |up| up == 0.0)
        .await;
    hub.until("sentinel_hub_consumer_lag_entries{consumer=\"kafka\"}", |lag| {
        lag >= 30.0
    })
    .await;
    // And the hub dies while the broker is away.
    drop(hub);
    let hub = Hub::start(folder.path(), &flags, &[]);
    kafka.restart().expect("it starts again");
    hub.create_user("after").await;
    hub.until_all_is_there().await;
    let told = hub.told().await;
    same(&kafka.records(TOPIC, told.len()).expect("readable"), &told);
}

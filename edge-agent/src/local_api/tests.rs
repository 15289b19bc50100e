//! Request and answer over the real socket and page, with a real journal in a temporary folder; the core is played.

use std::time::Duration;

use edge_agent_core::faults::ladder::{Left, Phase, Rung, Standing};
use edge_agent_core::{Batch, Log, Token};
use serde_json::Value;
use tokio::net::{TcpStream, UnixStream};
use wire::bundle::BundlePayload;
use wire::decision::{Authority, Decision, Inputs};
use wire::entry::{ChainHead, Entry, EntryBody, Event};
use wire::frame::Order;
use wire::reading::{DeviceId, Quantity};
use wire::telemetry::Encoder;
use wire::time::{ClockError, ClockState, Mono, Now};
use wire::{
    Action, ActionKind, BreakGlass, BreakGlassPayload, DecisionId, Digest, Generation, Origin, Outcome, OutcomeState,
};

use super::*;
use crate::journal::{Done, Journal, Opened};

/// Longest wait for something that happens in another task.
const PATIENCE: Duration = Duration::from_secs(20);
/// The demo's bundle: whatever judges here is what ships.
const BUNDLE: &str = include_str!("../../../policy/bundles/demo.yaml");
/// When everything here happens: in 2023, so that it is no small number.
const START_MS: i64 = 1_700_000_000_000;

#[tokio::test]
async fn the_node_is_told_and_another_one_is_not() {
    let node = Node::start().await;
    let list = node.read("/api/v1/nodes").await;
    assert_eq!(list["items"][0]["name"], "edge-03");
    assert_eq!(list["items"][0]["state"], "working_alone");
    let one = node.read("/api/v1/nodes/edge-03").await;
    assert_eq!(one["last_decision"]["id"], "edge-03.1.2", "{one}");
    for path in [
        "/api/v1/nodes/edge-04",
        "/api/v1/decisions?node=edge-04",
        "/api/v1/entries?node=edge-04",
        "/api/v1/decisions/edge-04.1.2",
        "/api/v1/decisions/edge-03.1.99",
    ] {
        let answer = node.ask("GET", path, "").await;
        assert_eq!(answer.status, 404, "{path}");
        assert_eq!(answer.json()["code"], "not_found", "{path}");
    }
    let refused = node.ask("GET", "/api/v1/decisions?nodes=edge-03", "").await;
    assert_eq!(refused.status, 400, "an unknown name in the query");
    node.stop();
}

#[tokio::test]
async fn a_decision_is_listed_with_its_outcome_explained_and_replayed() {
    let node = Node::start().await;
    let list = node.read("/api/v1/decisions?node=edge-03&limit=1").await;
    let row = &list["items"][0];
    assert_eq!(
        (&row["id"], &row["outcome"]),
        (&"edge-03.1.2".into(), &"verified".into()),
        "{row}"
    );
    let next = list["next_cursor"]
        .as_str()
        .expect("a page that is full may have another");
    let rest = node.read(&format!("/api/v1/decisions?before={next}")).await;
    assert_eq!(rest["items"], Value::Array(Vec::new()));

    let detail = node.read("/api/v1/decisions/edge-03.1.2").await;
    assert_eq!(detail["outcomes"].as_array().map(Vec::len), Some(2), "{detail}");
    let text = node.ask("GET", "/api/v1/decisions/edge-03.1.2/explanation", "").await;
    assert!(text.head.contains("text/plain; charset=utf-8"), "{}", text.head);
    assert_eq!(detail["explanation"], text.body);
    for part in ["edge-03.1.2", "outcome verified  its effect was seen", "350 W → 220 W"] {
        assert!(text.body.contains(part), "no `{part}` in {}", text.body);
    }
    let replay = node.read("/api/v1/decisions/edge-03.1.2/replay").await;
    assert_eq!(replay["identical"], true, "{replay}");
    node.stop();
}

#[tokio::test]
async fn entries_come_page_by_page_and_the_chain_is_checked() {
    let node = Node::start().await;
    let (mut kinds, mut after) = (Vec::new(), String::new());
    for _ in 0..4 {
        let page = node.read(&format!("/api/v1/entries?limit=1{after}")).await;
        kinds.push(page["items"][0]["kind"].as_str().unwrap_or_default().to_owned());
        after = format!("&after={}", page["next_cursor"].as_str().expect("a full page"));
    }
    assert_eq!(kinds, ["event", "decision", "outcome", "outcome"]);
    let mut kinds = Vec::new();
    let mut before = String::new();
    for _ in 0..4 {
        let page = node.read(&format!("/api/v1/entries?limit=1&order=desc{before}")).await;
        kinds.push(page["items"][0]["kind"].as_str().unwrap_or_default().to_owned());
        before = format!("&before={}", page["next_cursor"].as_str().expect("a full page"));
    }
    assert_eq!(kinds, ["outcome", "outcome", "decision", "event"], "newest first");
    let last = node.read(&format!("/api/v1/entries?limit=1{after}")).await;
    assert_eq!(last["items"], Value::Array(Vec::new()));

    let verify = node.read("/api/v1/verify").await;
    let row = &verify["items"][0];
    let counts = ["produced", "stored", "missing", "double"].map(|name| row[name].as_u64());
    assert_eq!(counts, [Some(4), Some(4), Some(0), Some(0)], "{row}");
    assert_eq!(row["chain_ok"], true, "{row}");
    node.stop();
}

#[tokio::test]
async fn a_chart_shows_what_was_acknowledged_long_ago() {
    let node = Node::start().await;
    let series = node.read(&format!("/api/v1/series?since_ms={START_MS}")).await;
    let times = series["at_ms"].as_array().expect("an axis");
    assert_eq!(times.len(), 300, "five minutes at one sample a second");
    assert_eq!(series["lines"][0]["values"].as_array().map(Vec::len), Some(300));
    assert_eq!(series["decisions"][0]["id"], "edge-03.1.2");
    node.stop();
}

#[tokio::test]
async fn metrics_are_told_with_the_names_that_others_know() {
    let node = Node::start().await;
    let series = |device: DeviceId, quantity| wire::reading::Series::new(device, quantity);
    let mut now = node.snapshot.clone();
    now.status.devices = vec![wire::frame::DeviceInfo {
        id: DeviceId::gpu(0),
        model: String::new(),
        simulated: false,
        power_cap_range_mw: None,
    }];
    now.ladder = vec![Standing {
        device: DeviceId::gpu(0),
        case: Some(("xid 95".to_owned(), Rung::Reset, Phase::Quarantined)),
        left: Left::ALL,
        taken: vec![(Rung::Reset, 2)],
    }];
    now.latest = Arc::new(std::collections::BTreeMap::from([
        (series(DeviceId::gpu(0), Quantity::GpuMemoryUsed), Some(1 << 30)),
        (series(DeviceId::gpu(0), Quantity::GpuMemoryTotal), Some(4 << 30)),
        (series(DeviceId::gpu(0), Quantity::GpuTemperature), Some(41_500)),
        (series(DeviceId::gpu(0), Quantity::GpuUsed), Some(9_000)),
        (series(DeviceId::gpu(0), Quantity::GpuThrottleReasons), Some(0b100)),
        (series(DeviceId::gpu(0), Quantity::GpuMemoryTemperature), None),
        (series(DeviceId::node(), Quantity::MemoryUsedShare), Some(5_050)),
        (
            series(DeviceId::new("fs:/var").expect("valid"), Quantity::FsFree),
            Some(1 << 30),
        ),
    ]));
    node.feed.snapshot(now);
    let answer = node.ask("GET", "/metrics", "").await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    for line in [
        "hw_temperature_celsius{hw_id=\"gpu0\",hw_model=\"\",hw_name=\"gpu0\",hw_sensor_location=\"core\",hw_type=\"gpu\"} 41.5",
        "system_memory_utilization_ratio{system_memory_state=\"used\"} 0.505",
        "sentinel_fs_free_bytes{system_filesystem_mountpoint=\"/var\"} 1073741824",
        "DCGM_FI_DEV_GPU_UTIL{UUID=\"\",device=\"nvidia0\",gpu=\"0\",modelName=\"\"} 90",
        "DCGM_FI_DEV_FB_FREE{UUID=\"\",device=\"nvidia0\",gpu=\"0\",modelName=\"\"} 3072",
        "DCGM_FI_DEV_XID_ERRORS{UUID=\"\",device=\"nvidia0\",gpu=\"0\",modelName=\"\"} 0",
        "sentinel_fault_rung{fault=\"xid 95\",hw_id=\"gpu0\",hw_model=\"\",hw_name=\"gpu0\",hw_type=\"gpu\",phase=\"quarantined\",rung=\"reset\"} 2",
        "sentinel_fault_steps_left{hw_id=\"gpu0\",hw_model=\"\",hw_name=\"gpu0\",hw_type=\"gpu\",step=\"any\"} 5",
        "sentinel_fault_steps_in_week{hw_id=\"gpu0\",hw_model=\"\",hw_name=\"gpu0\",hw_type=\"gpu\",rung=\"reset\"} 2",
        "gpu_utilization_percent{gpu=\"0\"} 90",
        "memory_percent 50.5",
        "sentinel_journal_ok 1",
        "sentinel_connected 0",
    ] {
        assert!(
            answer.body.lines().any(|found| found == line),
            "{line}\n{}",
            answer.body
        );
    }
    let throttle = |reason| format!("reason=\"{reason}\"}} 1");
    assert!(answer.body.contains(&throttle("sw_power_cap")) && !answer.body.contains(&throttle("hw_thermal")));
    assert!(
        !answer.body.contains("hw_sensor_location=\"memory\""),
        "what is missing is not 0"
    );
    let stream = TcpStream::connect(node.api.metrics.expect("an address of its own"))
        .await
        .expect("it listens");
    let alone = Client::Page(stream).ask("GET", "/api/v1/nodes", "localhost", "").await;
    assert_eq!(alone.status, 404, "there is nothing but metrics");
    node.stop();
}

#[tokio::test]
async fn a_person_at_the_socket_is_known_and_asked_for_a_reason() {
    let node = Node::start().await;
    let held = node
        .ask("POST", "/api/v1/nodes/edge-03/hold", r#"{"reason":"repair"}"#)
        .await;
    assert_eq!(
        (held.status, &held.json()["status"]),
        (200, &"done".into()),
        "{}",
        held.body
    );
    let silent = node
        .ask("POST", "/api/v1/nodes/edge-03/hold", r#"{"reason":" "}"#)
        .await;
    assert_eq!(silent.status, 400);
    let wish = r#"{"node":"edge-03","device":"gpu0","action":"power_cap","params":{"to":"220 W"},"reason":"r","wait_seconds":0}"#;
    let done = node.ask("POST", "/api/v1/actions", wish).await;
    assert_eq!(done.json()["decision"]["id"], "edge-03.1.2", "{}", done.body);
    let told = node.told.await.expect("the core lived");
    let uid = rustix::process::getuid().as_raw();
    assert!(told.iter().all(|who| who.contains(&format!("uid {uid}"))), "{told:?}");
    assert_eq!(told.len(), 2, "the empty reason never reached the core");
}

#[tokio::test]
async fn a_break_glass_token_goes_to_the_core_and_what_it_opened_comes_back() {
    let node = Node::start().await;
    for (body, expected) in [
        (Vec::new(), "not a break-glass token"),
        (b"generation".to_vec(), "not a break-glass token"),
        (token().encode()[..60].to_vec(), "copy it again"),
        (wire::Parcel::default().encode(), "not a break-glass token"),
    ] {
        let foreign = node.ask("POST", "/api/v1/break-glass", body).await;
        assert_eq!(foreign.status, 400, "{}", foreign.body);
        assert!(foreign.body.contains(expected), "{}", foreign.body);
    }
    let large = node
        .ask("POST", "/api/v1/break-glass", vec![0; MAX_TOKEN_BYTES + 1])
        .await;
    assert_eq!(large.status, 413, "{}", large.body);
    let open = node.ask("POST", "/api/v1/break-glass", token().encode()).await;
    let view = open.json();
    assert_eq!(
        (open.status, &view["until"]),
        (200, &"2023-11-14T22:14:20.000Z".into()),
        "{view}"
    );
    assert_eq!(
        (&view["number"], &view["reason"]),
        (&7.into(), &"fire".into()),
        "{view}"
    );
    for path in ["/api/v1/break-glass", "/api/v1/break-glass?why=x"] {
        assert_eq!(node.ask("DELETE", path, "").await.status, 400, "{path}");
    }
    let closed = node.ask("DELETE", "/api/v1/break-glass?reason=out", "").await;
    assert_eq!(closed.status, 409);
    assert!(closed.body.contains("nothing is open, and out"), "{}", closed.body);
    assert_eq!(
        node.browse("POST", "/api/v1/break-glass", "127.0.0.1").await.status,
        403
    );
    let told = node.told.await.expect("the core lived");
    assert_eq!(told[0], "1 signed");
    assert!(told[1].contains("uid"), "{told:?}");
}

#[tokio::test]
async fn an_open_token_is_in_the_nodes_row() {
    let node = Node::start().await;
    let row = node.read("/api/v1/nodes/edge-03").await;
    assert!(row.get("break_glass").is_none(), "{row}");
    let mut now = node.snapshot.clone();
    let LocalAnswer::Glass { view } = opened(&token()) else {
        panic!("it opens");
    };
    now.glass = Some(view);
    node.feed.snapshot(now);
    let row = node.read("/api/v1/nodes/edge-03").await;
    assert_eq!(row["break_glass"]["kinds"], serde_json::json!(["restart"]), "{row}");
    node.stop();
}

#[tokio::test]
async fn the_site_stands_behind_the_nodes_own_row_and_in_the_metrics() {
    let node = Node::start().await;
    let mut now = node.snapshot.clone();
    let name = |text: &str| AgentId::new(text).expect("a name");
    let fourth = NeighbourView {
        in_touch: true,
        age_ms: Some(400),
        reach: wire::frame::Reach::Carried,
        via: Some(name("edge-05")),
        hops: 1,
        generation: 7,
        carried_bytes: 2_048,
        ..NeighbourView::unheard(name("edge-04"))
    };
    now.neighbours = Arc::from([fourth, NeighbourView::unheard(name("edge-05"))]);
    now.isolation = Some(Isolation::Site);
    node.feed.snapshot(now);
    let list = node.read("/api/v1/nodes").await;
    let told: Vec<(&str, &str, &serde_json::Value)> = list["items"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|row| {
            let text = |field: &str| row[field].as_str().unwrap_or_default();
            (text("name"), text("state"), &row["told_by"])
        })
        .collect();
    let us = serde_json::json!("edge-03");
    assert_eq!(
        told,
        [
            ("edge-03", "working_alone", &serde_json::Value::Null),
            ("edge-04", "connected", &us),
            ("edge-05", "unknown", &us)
        ]
    );
    let row = node.read("/api/v1/nodes/edge-04").await;
    assert_eq!(
        (&row["via"], &row["age_seconds"]),
        (&"edge-05".into(), &0.4.into()),
        "{row}"
    );
    let metrics = node.ask("GET", "/metrics", "").await;
    for line in [
        "sentinel_isolated{scope=\"site\"} 1",
        "sentinel_isolated{scope=\"hub\"} 0",
        "sentinel_neighbour_in_touch{neighbour=\"edge-05\"} 0",
        "sentinel_carried_bytes_total{neighbour=\"edge-04\"} 2048",
    ] {
        assert!(metrics.body.contains(line), "{line} is not in\n{}", metrics.body);
    }
    node.stop();
}

#[tokio::test]
async fn the_socket_is_this_users_alone() {
    let node = Node::start().await;
    let mode = std::fs::metadata(&node.socket)
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let socket = node.socket.clone();
    node.stop();
    assert!(!socket.exists(), "taken away at the end");
}

#[tokio::test]
async fn the_page_shows_and_never_acts() {
    let node = Node::start().await;
    let page = node.browse("GET", "/", "127.0.0.1").await;
    assert_eq!(page.status, 200);
    assert!(page.head.contains("content-security-policy"), "{}", page.head);
    for (path, status) in [
        ("/api/v1/nodes", 200),
        ("/decisions/edge-03.1.2", 200),
        ("/old.js", 404),
        ("/icons/old.svg", 404),
        ("/api/v1/nothing", 404),
    ] {
        assert_eq!(node.browse("GET", path, "localhost").await.status, status, "{path}");
    }
    for path in ["/api/v1/actions", "/api/v1/nodes/edge-03/hold", "/api/v1/nodes", "/"] {
        assert_eq!(node.browse("POST", path, "127.0.0.1").await.status, 403, "{path}");
    }
    for host in ["evil.example", "edge-03", ""] {
        let foreign = node.browse("GET", "/api/v1/nodes", host).await;
        assert_eq!(
            (foreign.status, &foreign.json()["code"]),
            (403, &"denied".into()),
            "{host}"
        );
    }
    node.stop();
}

#[tokio::test]
async fn a_watcher_is_greeted_and_told_of_decisions_and_their_outcomes() {
    let node = Node::start().await;
    let mut watcher = Client::Socket(UnixStream::connect(&node.socket).await.expect("it listens"));
    watcher.say("GET", "/api/v1/stream", "node", "").await;
    let mut seen = String::new();
    watcher
        .until(&mut seen, |seen| seen.contains(r#""event":"hello""#))
        .await;
    assert!(seen.contains("text/event-stream"), "{seen}");
    assert!(seen.contains(r#""hub_epoch":7"#), "{seen}");
    node.feed.durable(Epoch(1), &node.entries[1]);
    watcher
        .until(&mut seen, |seen| seen.contains(r#""outcome":"pending""#))
        .await;
    node.feed.durable(Epoch(1), &node.entries[3]);
    watcher
        .until(&mut seen, |seen| seen.contains(r#""outcome":"verified""#))
        .await;
    node.feed.sampled(&agent(), Wall(START_MS), &[temperature(91_000)]);
    watcher
        .until(&mut seen, |seen| seen.contains(r#""event":"sample""#))
        .await;
    drop(watcher);
    node.stop();
}

/// A node that is served: one event, one decision with two outcomes, five minutes of telemetry, all of it acknowledged.
struct Node {
    api: LocalApi,
    feed: Feed,
    snapshot: Snapshot,
    socket: PathBuf,
    entries: Vec<RawEntry>,
    /// Who wanted the two things that the played core answers.
    told: tokio::task::JoinHandle<Vec<String>>,
    _journal: Journal,
    _folder: tempfile::TempDir,
}

impl Node {
    async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (sender, mut done) = mpsc::channel(64);
        let opened = Journal::open(folder.path(), 64 << 20, sender);
        let Opened { mut journal, .. } = opened.unwrap_or_else(|error| panic!("{error}"));
        let payload = BundlePayload {
            generation: Generation(3),
            trust_domain: "test.internal".to_owned(),
            issued_at: Wall(START_MS),
            text: BUNDLE.as_bytes().to_vec(),
        };
        let signed = SignedBundle::sign(&payload, &ed25519_dalek::SigningKey::from_bytes(&[7; 32]));
        let reference = BundleRef {
            generation: payload.generation,
            digest: signed.digest(),
        };
        let entries = entries(reference);
        let mut first = batch(1, entries.clone());
        first.bundle = Some((reference, signed.clone()));
        journal.append(first);
        for (number, block) in blocks().into_iter().enumerate() {
            let seq = Seq(number as u64 + 1);
            let mut one = batch(seq.0 + 1, Vec::new());
            one.telemetry = Some((seq, block));
            journal.append(one);
            journal.release(Log::Telemetry, Epoch(1), seq);
        }
        journal.release(Log::Entries, Epoch(1), Seq(4));
        let mut end = batch(1_000, Vec::new());
        end.urgent = true;
        journal.append(end);
        loop {
            match tokio::time::timeout(PATIENCE, done.recv())
                .await
                .expect("in time")
                .expect("it lives")
            {
                Done::Appended {
                    token: Token(1_000), ..
                } => break,
                Done::Appended { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        let socket = folder.path().join("agent.sock");
        let settings = Settings {
            socket: socket.clone(),
            page: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
            agent: agent(),
            site: "lab".to_owned(),
            labels: std::collections::BTreeMap::from([("rack".to_owned(), "r7".to_owned())]),
            profiles: firmware_profiles::Catalogue::default(),
            telemetry: Telemetry {
                metrics: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
                compat: vec![Compat::Dcgm, Compat::V1],
                otlp: None,
                faults: Faults::new(mpsc::channel(4).0),
            },
        };
        let (asks, asked) = mpsc::channel(4);
        let first = snapshot(&entries, (reference, Arc::new(signed)));
        let (api, feed) = LocalApi::start(&settings, first.clone(), journal.reader(), asks)
            .await
            .expect("it is served");
        Self {
            api,
            feed,
            snapshot: first,
            socket,
            entries,
            told: tokio::spawn(play_core(asked)),
            _journal: journal,
            _folder: folder,
        }
    }

    /// Over the socket.
    async fn ask(&self, method: &str, path: &str, body: impl AsRef<[u8]>) -> Answer {
        let stream = UnixStream::connect(&self.socket).await.expect("it listens");
        Client::Socket(stream).ask(method, path, "node", body).await
    }

    /// What must be there, over the socket.
    async fn read(&self, path: &str) -> Value {
        let answer = self.ask("GET", path, "").await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.json()
    }

    /// On the page, asked for by this host's name.
    async fn browse(&self, method: &str, path: &str, host: &str) -> Answer {
        let stream = TcpStream::connect(self.api.page.expect("there is a page"))
            .await
            .expect("it listens");
        Client::Page(stream).ask(method, path, host, "").await
    }

    fn stop(self) {
        self.told.abort();
        self.api.stop();
    }
}

/// Answers two requests as the core would, and returns who wanted them; a token says so by its signatures alone.
async fn play_core(mut asked: mpsc::Receiver<Ask>) -> Vec<String> {
    let mut told = Vec::new();
    while told.len() < 2 {
        let Some(Ask { what, answer }) = asked.recv().await else {
            break;
        };
        let (who, answered) = match what {
            LocalRequest::Order { who, what, .. } => match what {
                Order::Act(_) => (who, LocalAnswer::Decided { decision: id() }),
                Order::Hold | Order::Release => (who, LocalAnswer::Done),
                Order::BreakGlass(token) => (who, opened(&token)),
            },
            LocalRequest::BreakGlass { token } => (format!("{} signed", token.signatures.len()), opened(&token)),
            LocalRequest::CloseGlass { who, reason } => {
                let reason = format!("nothing is open, and {reason}");
                (who, LocalAnswer::Refused { reason })
            }
            LocalRequest::Import { .. } => panic!("nobody imports here"),
        };
        told.push(who);
        // Whoever asked may be gone.
        drop(answer.send(answered));
    }
    told
}

enum Client {
    Socket(UnixStream),
    Page(TcpStream),
}

fn opened(token: &BreakGlass) -> LocalAnswer {
    let payload = token.peek().expect("our own bytes");
    LocalAnswer::Glass {
        view: GlassView {
            node: agent(),
            number: payload.number,
            kinds: payload.kinds,
            targets: payload.targets,
            until: Wall(START_MS + 60_000),
            left_ms: 60_000,
            approvers: vec!["key a".to_owned(), "key b".to_owned()],
            reason: Some(payload.reason),
        },
    }
}

fn token() -> BreakGlass {
    let payload = BreakGlassPayload {
        number: 7,
        trust_domain: "test.internal".to_owned(),
        nodes: vec!["edge-03".to_owned()],
        targets: Vec::new(),
        kinds: vec!["restart".to_owned()],
        open_for_ms: 60_000,
        issued_at: Wall(START_MS),
        reason: "fire".to_owned(),
    };
    BreakGlass::sign(&payload, &ed25519_dalek::SigningKey::from_bytes(&[7; 32]))
}

impl Client {
    async fn ask(mut self, method: &str, path: &str, host: &str, body: impl AsRef<[u8]>) -> Answer {
        self.say(method, path, host, body).await;
        let mut text = String::new();
        while self.more(&mut text).await {}
        let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .expect("a status");
        Answer {
            status,
            head: head.to_ascii_lowercase(),
            body: body.to_owned(),
        }
    }

    async fn say(&self, method: &str, path: &str, host: &str, body: impl AsRef<[u8]>) {
        let length = body.as_ref().len();
        // HTTP/1.0: the answer ends with the connection, and is not cut into chunks.
        let text = format!("{method} {path} HTTP/1.0\r\nhost: {host}\r\ncontent-length: {length}\r\n\r\n");
        let text = [text.as_bytes(), body.as_ref()].concat();
        let written = match self {
            Self::Socket(stream) => {
                stream.writable().await.expect("open");
                stream.try_write(&text)
            }
            Self::Page(stream) => {
                stream.writable().await.expect("open");
                stream.try_write(&text)
            }
        };
        assert_eq!(written.expect("an empty buffer takes a request"), text.len());
    }

    /// Reads what has come; `false` at the end.
    async fn more(&mut self, text: &mut String) -> bool {
        let mut bytes = [0; 16_384];
        let read = tokio::time::timeout(PATIENCE, async {
            match self {
                Self::Socket(stream) => {
                    stream.readable().await.expect("open");
                    stream.try_read(&mut bytes)
                }
                Self::Page(stream) => {
                    stream.readable().await.expect("open");
                    stream.try_read(&mut bytes)
                }
            }
        });
        match read.await.expect("an answer in time") {
            Ok(0) => false,
            Ok(read) => {
                text.push_str(&String::from_utf8_lossy(&bytes[..read]));
                true
            }
            // It was woken for nothing.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => true,
            Err(error) => panic!("{error}"),
        }
    }

    async fn until(&mut self, text: &mut String, enough: impl Fn(&str) -> bool) {
        while !enough(text) {
            assert!(self.more(text).await, "the stream ended: {text}");
        }
    }
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

fn agent() -> AgentId {
    AgentId::new("edge-03").expect("valid")
}

/// The decision that is the second entry.
fn id() -> DecisionId {
    DecisionId {
        agent: agent(),
        epoch: Epoch(1),
        seq: Seq(2),
    }
}

fn at(second: i64) -> Now {
    Now {
        mono: Mono(second.unsigned_abs() * 1_000),
        wall: Wall(START_MS + second * 1_000),
    }
}

fn temperature(value: i64) -> Reading {
    Reading {
        series: Series::new(DeviceId::gpu(0), Quantity::GpuTemperature),
        value: Some(value),
    }
}

fn batch(number: u64, entries: Vec<RawEntry>) -> Batch {
    Batch {
        token: Token(number),
        epoch: Epoch(1),
        entries,
        telemetry: None,
        bundle: None,
        roles: None,
        marks: vec![1],
        floor: None,
        urgent: false,
    }
}

/// Five minutes in blocks of ten seconds, with a key block at each minute.
fn blocks() -> Vec<Vec<u8>> {
    let mut encoder = Encoder::new();
    let mut blocks = Vec::new();
    for second in 0..300 {
        if second % 60 == 0 {
            encoder.require_key();
        }
        encoder.observe(&[temperature(60_000 + second)]);
        encoder.sample(at(second));
        if second % 10 == 9 {
            blocks.push(encoder.take_block().expect("it has samples"));
        }
    }
    blocks
}

fn entries(bundle: BundleRef) -> Vec<RawEntry> {
    let outcome = |state, before, after, detail: &str| {
        let detail = detail.to_owned();
        EntryBody::Acted(Outcome {
            decision: id(),
            state,
            before,
            after,
            probed: false,
            detail,
        })
    };
    let bodies = [
        EntryBody::Event(Event::Started {
            version: "1".to_owned(),
            clean: true,
        }),
        EntryBody::Decided(Box::new(decide(bundle))),
        outcome(OutcomeState::Applied, Some(350_000), Some(220_000), ""),
        outcome(
            OutcomeState::Verified,
            None,
            None,
            "its effect was seen: gpu.temperature of gpu0 is 79.6 °C",
        ),
    ];
    let mut prev = Digest::ZERO;
    let chained = bodies.into_iter().zip(1..).map(|(body, seq)| {
        let raw = Entry {
            seq: Seq(seq),
            at: at(seq.cast_signed()),
            prev,
            body,
        }
        .encode();
        prev = raw.digest;
        raw
    });
    chained.collect()
}

/// What the real judge says of a person's wish.
fn decide(bundle: BundleRef) -> Decision {
    let parsed = policy::Bundle::parse(BUNDLE.as_bytes()).unwrap_or_else(|problems| panic!("{problems:?}"));
    let inputs = Inputs {
        at: at(2),
        origin: Origin::Local {
            who: "ann".to_owned(),
            reason: "too loud".to_owned(),
        },
        wanted: Action {
            target: DeviceId::gpu(0),
            kind: ActionKind::PowerCap { milliwatts: 220_000 },
        },
        bundle,
        policy_age_ms: 10,
        connected: false,
        clock: ClockState::Steady,
        journal_ok: true,
        held_by: None,
        hub_epoch: HubEpoch(7),
        readings: Vec::new(),
        facts: Vec::new(),
    };
    let judgement = policy::judge(&parsed, &inputs);
    assert!(judgement.verdict.runs(), "{judgement:?}");
    Decision { inputs, judgement }
}

fn snapshot(entries: &[RawEntry], bundle: (BundleRef, Arc<SignedBundle>)) -> Snapshot {
    let last = entries.last().expect("there are four");
    Snapshot {
        status: Status {
            at: at(300),
            head: ChainHead {
                epoch: Epoch(1),
                seq: last.seq,
                digest: last.digest,
            },
            bundle: bundle.0,
            policy_age_ms: 10,
            authority: Authority::Full,
            next_step_ms: None,
            held_by: None,
            clock: ClockState::Steady,
            journal_ok: true,
            journal_bytes: (0, 64 << 20),
            unrecorded_actions: 0,
            telemetry_interval_ms: 1_000,
            devices: Vec::new(),
            certificate_ends: Wall(0),
            rejoins: 0,
        },
        connected: false,
        since: Some(Wall(START_MS)),
        hub_epoch: HubEpoch(7),
        backlog_entries: 0,
        acked: last.seq,
        bundle: Some(bundle),
        roles: Arc::from([]),
        clock_error: ClockError::NotCompared,
        unhealthy: None,
        findings: Vec::new(),
        path: Vec::new(),
        isolation: None,
        neighbours: Arc::from([]),
        waits_for_turn: false,
        glass: None,
        users: std::collections::BTreeMap::new(),
        ladder: Vec::new(),
        disagreements: 0,
        latest: Arc::default(),
    }
}

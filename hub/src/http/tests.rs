//! Request and answer on an in-process hub: the real router, core and store; agents are played frame by frame.

mod access;
mod agents;
mod brains;
#[path = "../../tests/collector/mod.rs"]
mod collector;
mod door;
mod front;
mod identities;
mod kube;
mod loop_closed;
mod metrics;
mod once;
mod otlp;
mod plans;
mod policies;
mod readings;
mod reference;
mod requests;
mod roles;
mod scaled;
mod sizing;
mod tenants;
mod trouble;
mod webhooks;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use ed25519_dalek::SigningKey;
use http_body_util::BodyExt;
use hub_core::{AgentRequest, Hub, Input, Joining, NewToken, SessionId, Settings};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;
use wire::bundle::KeyRing;
use wire::decision::{Authority, Decision, Inputs};
use wire::entry::{ChainHead, Entry, EntryBody, RawEntry};
use wire::frame::{Entries, Frame, Hello, Status};
use wire::ids::{AgentId, Digest, Epoch, HubEpoch, Seq};
use wire::time::{ClockState, Mono, Now, Wall};
use wire::{Action, BundleRef, Origin};

use super::auth::Auth;
use super::jwt::Signer;
use super::{App, nodes, router};
use crate::ca::Ca;
use crate::config::Public;
use crate::deliveries::{Hooks, Secrets};
use crate::enroll::{Bars, Enrollment};
use crate::feed::Feed;
use crate::hub::{Outlet, Parts, Stop, Turn};
use crate::people::People;
use crate::store::{DurableStore, Store, StoreSettings};

/// The administrator's token of these hubs.
pub const TOKEN: &str = "sat_test";
/// Longest wait for something that happens in another task.
const PATIENCE: Duration = Duration::from_secs(20);

struct Sent(mpsc::Sender<(SessionId, Frame)>);

impl Outlet for Sent {
    fn send(&self, session: SessionId, frame: &Frame) {
        self.0
            .try_send((session, frame.clone()))
            .expect("a test reads its frames");
    }

    fn close(&self, _session: SessionId, _reason: &str) {}
}

/// A hub in this process.
pub struct TestHub {
    pub app: App,
    router: Router,
    inputs: mpsc::Sender<Input>,
    frames: mpsc::Receiver<(SessionId, Frame)>,
    stop: Stop,
    tasks: TaskTracker,
    folder: tempfile::TempDir,
}

impl TestHub {
    pub async fn start() -> Self {
        Self::start_in(tempfile::tempdir().expect("a folder")).await
    }

    /// Another process over the same store: whatever only this one had in memory is gone.
    pub async fn restart(self) -> Self {
        let folder = self.end().await;
        Self::start_in(folder).await
    }

    async fn start_in(folder: tempfile::TempDir) -> Self {
        let (done, completions) = mpsc::channel(16);
        let redb = DurableStore::open(StoreSettings::new(folder.path().join("store")), done).expect("a new store");
        let clock = redb.clock();
        let store: Arc<dyn Store> = Arc::new(redb);
        let key = SigningKey::from_bytes(&[7; 32]);
        let ring = KeyRing::single(key.verifying_key().to_bytes());
        let ca = Arc::new(Ca::open_or_create(&folder.path().join("pki"), "test.internal").expect("a new CA"));
        let signer = Signer::new("test.internal", &SigningKey::from_bytes(&[9; 32]), &[]);
        let settings = Settings {
            trust_domain: "test.internal".to_owned(),
            policy_key: Some(key.clone()),
            beacon_key: Some(key),
            roles: None,
            seed: 1,
            first_hub_epoch: HubEpoch(1),
            max_handshakes: 16,
            beacon_every: Duration::from_secs(3_600),
            checkpoints: hub_core::Checkpointing {
                key: Some(SigningKey::from_bytes(&[5; 32])),
                every: Duration::from_millis(20),
            },
            certificates: hub_core::Certificates::default(),
        };
        let core =
            Hub::new(settings, store.recover().expect("readable"), clock.now()).expect("documents of this version");
        let people = Arc::new(People::of(core.access()));
        let bars = Arc::new(Bars::of(core.agents()));
        let hooks = Arc::new(Hooks::of(core.webhooks()));
        let (feed, stories) = Feed::new(Arc::clone(&store));
        let (inputs, told) = mpsc::channel(64);
        let (sent, frames) = mpsc::channel(1_024);
        let meters = Arc::new(crate::metrics::Meters::default());
        let (orders, kube) = crate::kube::Kube::new();
        let (compare, to_compare) = mpsc::channel(crate::checkpoints::WAITING);
        let clusters = kube.clusters();
        let (turn, hub) = Turn::new(Parts {
            core,
            clock,
            store: Arc::clone(&store),
            done: completions,
            inputs: told,
            outlet: Arc::new(Sent(sent)),
            kube: orders,
            feed: feed.clone(),
            people: Arc::clone(&people),
            bars: Arc::clone(&bars),
            hooks: Arc::clone(&hooks),
            meters: Arc::clone(&meters),
            publish: mpsc::channel(4).0,
            compare,
        });
        let enrollment = Enrollment::new(Arc::clone(&ca), hub.clone(), bars, Arc::clone(&meters), ring);
        let stop = Stop::default();
        let tasks = TaskTracker::new();
        tasks.spawn(turn.run(stop.clone()));
        tasks.spawn(stories.run());
        tasks.spawn(kube.run(hub.clone(), stop.begin.clone()));
        tasks.spawn(crate::checkpoints::compare(Arc::clone(&store), hub.clone(), to_compare));
        let app = App {
            hub,
            clusters,
            store,
            enrollment: Arc::new(enrollment),
            ca,
            roles: Arc::new(crate::keys::RoleFile::at(folder.path().join("roles.parcel"))),
            auth: Arc::new(Auth::new(Digest::of(TOKEN.as_bytes()), signer)),
            people,
            feed,
            public: Public {
                host: "hub.test".to_owned(),
                port: 7443,
            },
            fleet: nodes::empty(),
            meters,
            consumers: Arc::default(),
            limits: Arc::new(crate::http::limits::Limits::new(0)),
            hooks,
            secrets: Secrets::new([5; 32]),
            webhooks_to_local: true,
            metrics_page: Arc::default(),
            forges: Arc::default(),
            artifacts: crate::artifacts::Artifacts::open(folder.path()).expect("a folder"),
            remediation_token: Digest::of(b"remediation"),
            foresight: Arc::default(),
            sizing: None,
            work: Arc::default(),
            orders: mpsc::channel(4).0,
        };
        Self {
            router: router(app.clone()),
            app,
            inputs,
            frames,
            stop,
            tasks,
            folder,
        }
    }

    /// Asks as somebody, and reads the whole answer.
    pub async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answered {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body.to_owned())).expect("a request");
        let response = self.router.clone().oneshot(request).await.expect("handlers never fail");
        let (head, body) = response.into_parts();
        // A stream never ends: its head is all that most tests want.
        let streams = head
            .headers
            .get("content-type")
            .is_some_and(|kind| kind == "text/event-stream");
        let bytes = if streams {
            Vec::new()
        } else {
            body.collect().await.expect("a body").to_bytes().to_vec()
        };
        Answered {
            status: head.status,
            headers: head.headers,
            bytes,
        }
    }

    /// Asks as the administrator, and expects this status.
    pub async fn admin(&self, method: &str, path: &str, body: &str, status: u16) -> Value {
        let bearer = format!("Bearer {TOKEN}");
        let answer = self.ask(method, path, &[("authorization", &bearer)], body).await;
        assert_eq!(answer.status.as_u16(), status, "{method} {path}: {}", answer.text());
        answer.json()
    }

    /// Asks as the administrator again and again, until the answer is what is waited for.
    pub async fn until(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let look = async {
            loop {
                let found = self.admin("GET", path, "", 200).await;
                if wanted(&found) {
                    return found;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, look).await.expect("it comes to that")
    }

    /// The events of a stream, one at a time.
    pub async fn watch(&self) -> Body {
        let request = Request::builder()
            .uri("/api/v1/stream")
            .header("authorization", format!("Bearer {TOKEN}"))
            .body(Body::empty())
            .expect("a request");
        let response = self.router.clone().oneshot(request).await.expect("handlers never fail");
        assert_eq!(response.status(), StatusCode::OK);
        response.into_body()
    }

    pub async fn tell(&self, input: Input) {
        self.inputs.send(input).await.expect("the hub runs");
    }

    /// Waits for a frame.
    pub async fn frame<T>(&mut self, wanted: impl Fn(Frame) -> Option<T>) -> T {
        let search = async {
            loop {
                let (_, frame) = self.frames.recv().await.expect("the hub runs");
                if let Some(found) = wanted(frame) {
                    return found;
                }
            }
        };
        tokio::time::timeout(PATIENCE, search)
            .await
            .expect("the frame was sent in time")
    }

    /// Publishes the demo's bundle.
    pub async fn publish(&self) -> BundleRef {
        self.publish_text(policy::DEMO_BUNDLE).await
    }

    /// Publishes a bundle.
    pub async fn publish_text(&self, text: &str) -> BundleRef {
        let view = self.admin("POST", "/api/v1/policies", text, 200).await;
        serde_json::from_value(view["bundle"].clone()).expect("a bundle")
    }

    pub async fn stop(self) {
        self.end().await;
    }

    async fn end(self) -> tempfile::TempDir {
        self.stop.begin.cancel();
        self.stop.end.cancel();
        let Self {
            app,
            router,
            tasks,
            folder,
            ..
        } = self;
        let store = Arc::clone(&app.store);
        drop((app, router));
        tasks.close();
        tokio::time::timeout(PATIENCE, tasks.wait())
            .await
            .expect("the loop ends");
        store.close().expect("the store closes");
        folder
    }
}

/// The next event of a stream.
pub async fn event(body: &mut Body) -> Value {
    let frame = tokio::time::timeout(PATIENCE, body.frame())
        .await
        .expect("an event in time");
    let bytes = frame
        .expect("the stream goes on")
        .expect("never fails")
        .into_data()
        .expect("data");
    let text = String::from_utf8(bytes.to_vec()).expect("text");
    let json = text.strip_prefix("data: ").expect("an event").trim_end();
    serde_json::from_str(json).expect("JSON")
}

/// An answer.
pub struct Answered {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub bytes: Vec<u8>,
}

impl Answered {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or(Value::Null)
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }
}

impl TestHub {
    /// A person makes a token for a machine, and it becomes an agent with it.
    pub async fn enrol(&self, name: &AgentId, site: &str) {
        let hash = Digest::of(name.as_str().as_bytes());
        let token = AgentRequest::CreateToken(NewToken {
            hash,
            label: None,
            name: Some(name.clone()),
            site: Some(site.to_owned()),
            ttl: Duration::from_secs(3_600),
            takes_over: false,
        });
        let joining = AgentRequest::Join(Joining {
            token: hash,
            name: None,
            node_key: hash.0,
            proven: true,
            key: hash,
            program: "test".to_owned(),
            address: None,
        });
        for what in [token, joining] {
            let caller = wire::change::Caller::hub();
            let answer = self.app.hub.request(hub_core::Request::Agents { caller, what }).await;
            assert!(answer.is_ok(), "{answer:?}");
        }
    }
}

/// An agent that says what it is told to say.
pub struct TestAgent {
    pub name: AgentId,
    session: SessionId,
    head: ChainHead,
    bundle: BundleRef,
}

impl TestAgent {
    /// Enrols and connects.
    pub async fn connect(hub: &mut TestHub, name: &str, session: u64, bundle: BundleRef) -> Self {
        let name = AgentId::new(name).expect("valid");
        let session = SessionId(session);
        let agent = Self {
            name: name.clone(),
            session,
            head: ChainHead::empty(Epoch(1)),
            bundle,
        };
        hub.enrol(&name, "lab").await;
        hub.tell(Input::SessionOpened { session, agent: name }).await;
        agent.say(hub, Frame::Hello(agent.hello())).await;
        hub.frame(|frame| matches!(frame, Frame::Welcome(_)).then_some(()))
            .await;
        agent.say(hub, Frame::Status(agent.status())).await;
        agent
    }

    fn hello(&self) -> Hello {
        Hello {
            version: wire::frame::VERSION,
            oldest_version: wire::frame::OLDEST_VERSION,
            program: "test".to_owned(),
            head: self.head,
            oldest_entry: Seq(1),
            acked: Seq(0),
            older: Vec::new(),
            telemetry: Seq(0),
            bundle: self.bundle,
            generation_floor: self.bundle.generation,
            hub_epoch: HubEpoch(0),
            process: 1,
            last_session: 0,
            now: now(),
        }
    }

    fn status(&self) -> Status {
        Status {
            at: now(),
            head: self.head,
            bundle: self.bundle,
            policy_age_ms: 0,
            authority: Authority::Full,
            next_step_ms: None,
            held_by: None,
            clock: ClockState::Steady,
            journal_ok: true,
            journal_bytes: (1, 2),
            unrecorded_actions: 0,
            telemetry_interval_ms: 1_000,
            devices: Vec::new(),
            certificate_ends: Wall(0),
            rejoins: 0,
        }
    }

    pub async fn say(&self, hub: &TestHub, frame: Frame) {
        hub.tell(Input::Frame {
            session: self.session,
            frame,
        })
        .await;
    }

    pub fn entry(&mut self, body: EntryBody) -> RawEntry {
        self.entry_at(now(), body)
    }

    pub fn entry_at(&mut self, at: Now, body: EntryBody) -> RawEntry {
        let raw = Entry {
            seq: self.head.seq.next(),
            at,
            prev: self.head.digest,
            body,
        }
        .encode();
        self.head = self.head.link(&raw).expect("made in order");
        raw
    }

    /// Sends entries and waits until the hub has acknowledged them.
    pub async fn send(&self, hub: &mut TestHub, raw: Vec<RawEntry>) {
        let first = raw[0].seq;
        let last = raw[raw.len() - 1].seq;
        let raw = raw.into_iter().map(|entry| entry.bytes).collect();
        self.say(
            hub,
            Frame::Entries(Entries {
                epoch: Epoch(1),
                first,
                raw,
            }),
        )
        .await;
        self.say(hub, Frame::Status(self.status())).await;
        hub.frame(|frame| match frame {
            Frame::Ack(ack) if ack.entries >= Some(last) => Some(()),
            _ => None,
        })
        .await;
    }

    /// What the real judge says of this wish, by the demo's bundle.
    pub fn decide(&self, origin: Origin, wanted: Action) -> Decision {
        let bundle = policy::Bundle::parse(policy::DEMO_BUNDLE.as_bytes()).expect("the demo's bundle is valid");
        let inputs = Inputs {
            at: now(),
            origin,
            wanted,
            bundle: self.bundle,
            policy_age_ms: 10,
            connected: false,
            clock: ClockState::Steady,
            journal_ok: true,
            held_by: None,
            hub_epoch: HubEpoch(1),
            readings: Vec::new(),
            facts: Vec::new(),
        };
        let judgement = policy::judge(&bundle, &inputs);
        Decision { inputs, judgement }
    }
}

fn now() -> Now {
    Now {
        mono: Mono(5),
        wall: crate::clock::wall(),
    }
}

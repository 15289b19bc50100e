//! Outgoing webhooks, to a receiver that answers as it is told: signed, tried again, given up, sent again.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::consumers::Source;
use crate::deliveries::{Deliveries, client, signature};

/// What came, and what is answered next; 200 if nothing is said.
#[derive(Default)]
struct Inbox {
    came: Mutex<Vec<(HeaderMap, Bytes)>>,
    answers: Mutex<VecDeque<u16>>,
}

struct Receiver {
    url: String,
    inbox: Arc<Inbox>,
    stop: CancellationToken,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn take(State(inbox): State<Arc<Inbox>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let mut answers = inbox.answers.lock().unwrap_or_else(PoisonError::into_inner);
    let status = answers.pop_front().unwrap_or(200);
    inbox
        .came
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push((headers, body));
    StatusCode::from_u16(status).expect("a status")
}

impl Receiver {
    async fn start(answers: &[u16]) -> Self {
        let inbox = Arc::new(Inbox {
            came: Mutex::default(),
            answers: Mutex::new(answers.iter().copied().collect()),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/in?key=hidden", listener.local_addr().expect("bound"));
        let router = Router::new().route("/in", post(take)).with_state(Arc::clone(&inbox));
        let stop = CancellationToken::new();
        let ended = stop.clone().cancelled_owned();
        tokio::spawn(async move {
            let served = axum::serve(listener, router).with_graceful_shutdown(ended);
            served.await.expect("it serves");
        });
        Self { url, inbox, stop }
    }

    fn came(&self) -> Vec<(HeaderMap, Bytes)> {
        self.inbox.came.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn answer(&self, status: u16) {
        let mut answers = self.inbox.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.push_back(status);
    }
}

/// A hub that sends.
struct Sending {
    hub: TestHub,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Sending {
    async fn start() -> Self {
        let hub = TestHub::start().await;
        let deliveries = Deliveries {
            hub: hub.app.hub.clone(),
            source: Source {
                store: Arc::clone(&hub.app.store),
                arrivals: hub.app.feed.arrivals(),
            },
            hooks: Arc::clone(&hub.app.hooks),
            consumers: Arc::clone(&hub.app.consumers),
            secrets: hub.app.secrets.clone(),
            client: client(true).expect("a client"),
        };
        let stop = CancellationToken::new();
        let task = tokio::spawn(deliveries.run(stop.clone()));
        Self { hub, stop, task }
    }

    async fn add(&self, url: &str, types: &str) -> Value {
        let body = format!("{{\"name\":\"siem\",\"url\":\"{url}\",\"types\":{types}}}");
        self.hub.admin("POST", "/api/v1/webhooks", &body, 200).await
    }

    async fn create_user(&self, name: &str) {
        let body = format!("{{\"name\":\"{name}\",\"role\":\"viewer\"}}");
        self.hub.admin("POST", "/api/v1/users", &body, 200).await;
    }

    /// The deliveries as soon as they are in these states, newest first within each.
    async fn when(&self, states: &[&str]) -> Vec<Value> {
        let mut changes = self.hub.app.hooks.changes();
        loop {
            changes.mark_unchanged();
            let page = self.hub.admin("GET", "/api/v1/webhooks/siem/deliveries", "", 200).await;
            let items = page["items"].as_array().expect("a list").clone();
            if items
                .iter()
                .map(|item| item["state"].as_str().expect("text"))
                .eq(states.iter().copied())
            {
                return items;
            }
            let changed = tokio::time::timeout(PATIENCE, changes.changed()).await;
            changed
                .unwrap_or_else(|_| panic!("{states:?}: {items:?}"))
                .expect("the hub runs");
        }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.expect("it ends");
        self.hub.stop().await;
    }
}

const USERS: &str = "[\"dev.sentinel.hub.user.*\"]";

#[tokio::test]
async fn an_event_is_sent_signed_to_who_wants_its_type() {
    let receiver = Receiver::start(&[]).await;
    let sending = Sending::start().await;
    sending.create_user("before").await;
    let hook = sending.add(&receiver.url, USERS).await;
    assert!(!hook["url"].as_str().expect("text").contains("hidden"), "{hook}");
    let secret = hook["secret"].as_str().expect("shown once").to_owned();
    let listed = sending.hub.admin("GET", "/api/v1/webhooks", "", 200).await;
    assert!(!listed.to_string().contains("whsec_"), "{listed}");
    sending.create_user("bob").await;
    let items = sending.when(&["delivered"]).await;
    let came = receiver.came();
    assert_eq!(came.len(), 1, "neither what was before nor another type");
    let (headers, body) = &came[0];
    let header = |name: &str| headers[name].to_str().expect("text").to_owned();
    let event: Value = serde_json::from_slice(body).expect("JSON");
    assert_eq!(event["type"], "dev.sentinel.hub.user.create.v1");
    assert_eq!(event["data"]["target"], "user/bob");
    assert_eq!(header("webhook-id"), event["id"]);
    assert_eq!(items[0]["event"], event["id"]);
    let key = secret.strip_prefix("whsec_").expect("as the standard writes it");
    let key = STANDARD.decode(key).expect("base64");
    let seconds = header("webhook-timestamp").parse().expect("seconds");
    assert_eq!(
        header("webhook-signature"),
        signature(&key, &header("webhook-id"), seconds, body)
    );
    let consumers = sending.hub.admin("GET", "/api/v1/consumers", "", 200).await;
    assert_eq!(consumers["items"][0]["name"], "webhook:siem");
    assert_eq!(consumers["items"][0]["up"], true);
    sending.stop().await;
}

#[tokio::test]
async fn what_failed_is_tried_again_as_soon_as_the_receiver_is_back() {
    let receiver = Receiver::start(&[503, 503]).await;
    let sending = Sending::start().await;
    sending.add(&receiver.url, USERS).await;
    sending.create_user("one").await;
    let items = sending.when(&["pending"]).await;
    assert_eq!(
        (&items[0]["status"], &items[0]["attempts"]),
        (&Value::from(503), &Value::from(1))
    );
    sending.create_user("two").await;
    sending.when(&["pending", "pending"]).await;
    sending.create_user("three").await;
    let items = sending.when(&["delivered", "delivered", "delivered"]).await;
    let mut events: Vec<&str> = items.iter().map(|item| item["event"].as_str().expect("text")).collect();
    events.sort_unstable();
    events.dedup();
    assert_eq!(events.len(), 3, "each once");
    sending.stop().await;
}

#[tokio::test]
async fn a_dead_letter_is_kept_and_sent_again_when_somebody_asks() {
    let receiver = Receiver::start(&[410]).await;
    let sending = Sending::start().await;
    sending.add(&receiver.url, USERS).await;
    sending.create_user("bob").await;
    let items = sending.when(&["dead"]).await;
    assert_eq!(items[0]["error"], "the receiver answered 410");
    let nothing = "{\"event\":\"other\"}";
    sending
        .hub
        .admin("POST", "/api/v1/webhooks/siem/resend", nothing, 409)
        .await;
    receiver.answer(200);
    sending
        .hub
        .admin("POST", "/api/v1/webhooks/siem/resend", "{}", 200)
        .await;
    sending.when(&["delivered"]).await;
    let came = receiver.came();
    assert_eq!(came[0].1, came[1].1, "the same event");
    let audits = sending.hub.admin("GET", "/api/v1/audits", "", 200).await.to_string();
    assert!(
        audits.contains("webhook.add") && audits.contains("webhook.resend"),
        "{audits}"
    );
    sending.hub.admin("DELETE", "/api/v1/webhooks/siem", "", 200).await;
    sending
        .hub
        .admin("GET", "/api/v1/webhooks/siem/deliveries", "", 404)
        .await;
    sending.stop().await;
}

#[tokio::test]
async fn a_replaced_secret_signs_beside_the_former_one() {
    let receiver = Receiver::start(&[]).await;
    let sending = Sending::start().await;
    let first = sending.add(&receiver.url, USERS).await;
    let second = sending.hub.admin("POST", "/api/v1/webhooks/siem/rotate", "", 200).await;
    assert_ne!(first["secret"], second["secret"]);
    sending.create_user("bob").await;
    sending.when(&["delivered"]).await;
    let (headers, _) = &receiver.came()[0];
    let signatures = headers["webhook-signature"].to_str().expect("text");
    assert_eq!(signatures.split(' ').count(), 2, "{signatures}");
    sending.stop().await;
}

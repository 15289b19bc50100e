//! Sends events to outgoing webhooks: one task for each, which follows the order of arrival and tries again what failed.
//!
//! Has no opinions: what becomes of a delivery, and when it is tried again, is decided in `hub_core::webhooks`. This reads the events,
//! signs them (`sign`), sends them, and reports what happened together with how far it has read.
//!
//! Invariant: what is reported as delivered was answered with 2xx; after a crash an event may be sent again under the same id.
//! Read next: `deliveries/sign.rs`, `deliveries/target.rs` (where they may go).

mod hooks;
mod sign;
mod target;

use std::sync::Arc;
use std::time::Duration;

use hub_core::webhooks::{Attempted, Delivery, DeliveryLog, Place, Webhook, WebhookRequest};
use hub_core::{Answer, Request};
use reqwest::header::{CONTENT_TYPE, USER_AGENT};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use wire::change::Caller;

use crate::consumers::{Consumers, Link, Source};
use crate::events::{CloudEvent, event};
use crate::hub::Handle;
use crate::store::{Arrived, Cursor, Store};

pub use hooks::Hooks;
pub use sign::{Secrets, signature};
pub use target::{Address, check_url, client};

/// Entries looked through at once.
const ENTRIES: usize = 256;
/// Deliveries on their way at once, of one webhook.
const AT_ONCE: usize = 4;
/// Longest wait for a receiver's answer. Source: Standard Webhooks 1.0 recommends 15 to 30 s.
const PATIENCE: Duration = Duration::from_secs(15);
/// Pause after trouble with the store or the core.
const PAUSE: Duration = Duration::from_secs(1);

/// What every webhook's task works with.
#[derive(Clone)]
pub struct Deliveries {
    /// The core.
    pub hub: Handle,
    /// What is followed.
    pub source: Source,
    /// The webhooks as they are stored.
    pub hooks: Arc<Hooks>,
    /// How far each is.
    pub consumers: Arc<Consumers>,
    /// What signs.
    pub secrets: Secrets,
    /// Who sends.
    pub client: reqwest::Client,
}

impl Deliveries {
    /// Runs until it is told to stop: each webhook has a task from the moment that it is stored until it is gone.
    pub async fn run(self, stop: CancellationToken) {
        let mut changes = self.hooks.changes();
        let tasks = TaskTracker::new();
        let mut known = std::collections::BTreeSet::new();
        loop {
            changes.mark_unchanged();
            let ids = self.hooks.ids();
            known.retain(|id| ids.contains(id));
            for id in ids {
                if known.insert(id.clone()) {
                    let (all, stop) = (self.clone(), stop.clone());
                    tasks.spawn(async move { stop.run_until_cancelled(all.follow(id)).await });
                }
            }
            let changed = stop.run_until_cancelled(changes.changed()).await;
            if !matches!(changed, Some(Ok(()))) {
                break;
            }
        }
        tasks.close();
        tasks.wait().await;
    }

    /// One webhook, until it is removed.
    async fn follow(self, id: String) {
        let mut arrivals = self.source.arrivals.clone();
        let mut changes = self.hooks.changes();
        let mut name = None;
        loop {
            arrivals.mark_unchanged();
            changes.mark_unchanged();
            let Some(state) = self.hooks.get(&id) else {
                return name.iter().for_each(|name: &String| self.consumers.forget(name));
            };
            let (hook, log) = &*state;
            let name = name.get_or_insert_with(|| format!("webhook:{}", hook.name));
            let link = self.consumers.link(name, &shown(&hook.url));
            link.reached(log.reached.map_or(0, |place| place.number));
            match self.turn(hook, log, &link).await {
                Ok(true) => {}
                Ok(false) => wait(log, &mut arrivals, &mut changes).await,
                Err(reason) => {
                    tracing::debug!(webhook = hook.name, reason, "cannot go on; it tries again");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Does what there is to do now; `false` if there is nothing.
    async fn turn(&self, hook: &Webhook, log: &DeliveryLog, link: &Link) -> Result<bool, String> {
        let now = crate::clock::wall();
        let is_due = |delivery: &&Delivery| delivery.next.is_some_and(|next| next <= now);
        let due: Vec<&Delivery> = log.pending.iter().filter(is_due).take(AT_ONCE).collect();
        if !due.is_empty() {
            let (mut events, mut gone) = (Vec::new(), Vec::new());
            for delivery in due {
                let found = self.read(before(delivery.place), 1).await?.into_iter().filter_map(told);
                let found: Vec<(Place, CloudEvent)> = found.filter(|(place, _)| *place == delivery.place).collect();
                if found.is_empty() {
                    gone.push(removed(delivery));
                }
                events.extend(found);
            }
            let mut attempts = self.attempt(hook, &events, link).await;
            attempts.extend(gone);
            return self.report(hook, None, attempts).await.map(|()| true);
        }
        if !log.has_room() {
            return Ok(false);
        }
        let after = log.reached.map(|place| cursor(&place));
        let page = self.read(after, ENTRIES).await?;
        let Some(last) = page.last() else {
            return Ok(false);
        };
        link.waits(&page);
        let mut reached = place(last);
        let told = page.into_iter().filter_map(told);
        let mut wanted: Vec<(Place, CloudEvent)> = told.filter(|(_, event)| hook.wants(&event.kind)).collect();
        if wanted.len() > AT_ONCE {
            wanted.truncate(AT_ONCE);
            reached = wanted[AT_ONCE - 1].0;
        }
        let attempts = self.attempt(hook, &wanted, link).await;
        self.report(hook, Some(reached), attempts).await.map(|()| true)
    }

    async fn read(&self, after: Option<Cursor>, limit: usize) -> Result<Vec<Arrived>, String> {
        let store = Arc::clone(&self.source.store);
        let read = tokio::task::spawn_blocking(move || store.arrived(after, limit)).await;
        let read = read.map_err(|error| error.to_string())?;
        read.map_err(|error| error.chain())
    }

    async fn report(&self, hook: &Webhook, reached: Option<Place>, attempts: Vec<Attempted>) -> Result<(), String> {
        let (caller, id) = (Caller::hub(), hook.id.clone());
        let what = WebhookRequest::Report { id, reached, attempts };
        match self.hub.request(Request::Webhooks { caller, what }).await {
            Ok(Answer::Noted) => Ok(()),
            Ok(Answer::Rejected { reason } | Answer::Unavailable { reason }) => Err(reason),
            Ok(other) => Err(format!("the core answered {other:?} to a report")),
            Err(stopped) => Err(stopped.to_string()),
        }
    }

    /// Sends some events beside each other.
    async fn attempt(&self, hook: &Webhook, events: &[(Place, CloudEvent)], link: &Link) -> Vec<Attempted> {
        let mut sending = tokio::task::JoinSet::new();
        for (at, event) in events {
            let (this, hook, at, event) = (self.clone(), hook.clone(), *at, event.clone());
            sending.spawn(async move { this.send(&hook, at, &event).await });
        }
        let attempts = sending.join_all().await;
        for attempt in &attempts {
            match &attempt.error {
                None => link.delivered(1),
                Some(reason) => link.failed(reason),
            }
        }
        attempts
    }

    async fn send(&self, hook: &Webhook, at: Place, event: &CloudEvent) -> Attempted {
        let (status, error) = match self.post(hook, event).await {
            Ok(status) if (200..300).contains(&status) => (Some(status), None),
            Ok(status) => (Some(status), Some(format!("the receiver answered {status}"))),
            Err(reason) => (None, Some(reason)),
        };
        Attempted {
            event: event.id.clone(),
            place: at,
            kind: event.kind.clone(),
            status,
            error,
            // Source: Standard Webhooks 1.0: 410 says that the receiver does not want to be asked again.
            is_final: status == Some(410),
        }
    }

    async fn post(&self, hook: &Webhook, event: &CloudEvent) -> Result<u16, String> {
        let body = serde_json::to_vec(event).map_err(|error| error.to_string())?;
        let seconds = crate::clock::wall().0 / 1_000;
        let signature = self.secrets.signatures(hook, &event.id, seconds, &body);
        let request = self
            .client
            .post(&hook.url)
            .timeout(PATIENCE)
            .header(CONTENT_TYPE, "application/cloudevents+json; charset=UTF-8")
            .header(USER_AGENT, concat!("sentinel-hub/", env!("CARGO_PKG_VERSION")))
            .header("webhook-id", &event.id)
            .header("webhook-timestamp", seconds)
            .header("webhook-signature", signature)
            .body(body);
        // The answer's body is nobody's business: it is not read.
        let answer = request.send().await.map_err(|error| target::failure(&error))?;
        Ok(answer.status().as_u16())
    }
}

/// A delivery whose entry was removed from the store: nothing is left to send.
fn removed(delivery: &Delivery) -> Attempted {
    Attempted {
        event: delivery.event.clone(),
        place: delivery.place,
        kind: delivery.kind.clone(),
        status: None,
        error: Some(
            "its entry had to make room in the store, or was too old to stay: nothing is left to send".to_owned(),
        ),
        is_final: true,
    }
}

/// Waits until something arrives that there is room for, a delivery is due, or the webhook has changed.
async fn wait(log: &DeliveryLog, arrivals: &mut watch::Receiver<u64>, changes: &mut watch::Receiver<u64>) {
    let due = async {
        match log.next_try() {
            Some(next) => {
                let wait_ms = next.0.saturating_sub(crate::clock::wall().0);
                tokio::time::sleep(Duration::from_millis(u64::try_from(wait_ms).unwrap_or(0))).await;
            }
            None => std::future::pending().await,
        }
    };
    let arrived = async {
        if !log.has_room() || arrivals.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = due => {}
        () = arrived => {}
        // An error says that the hub stops, and so will this task.
        _ = changes.changed() => {}
    }
}

fn told(arrived: Arrived) -> Option<(Place, CloudEvent)> {
    Some((place(&arrived), event(&arrived)?))
}

fn place(arrived: &Arrived) -> Place {
    Place {
        arrival: arrived.cursor.arrival,
        index: arrived.cursor.index,
        number: arrived.number,
    }
}

fn cursor(place: &Place) -> Cursor {
    Cursor {
        arrival: place.arrival,
        index: place.index,
    }
}

/// The cursor after which this place is the next.
fn before(place: Place) -> Option<Cursor> {
    let (arrival, index) = match place.index.checked_sub(1) {
        Some(index) => (place.arrival, index),
        None => (place.arrival.checked_sub(1)?, u32::MAX),
    };
    Some(Cursor { arrival, index })
}

/// An address without its query and without who logs in: either may hold a secret.
pub fn shown(url: &str) -> String {
    match reqwest::Url::parse(url) {
        Ok(mut url) => {
            url.set_query(None);
            url.set_fragment(None);
            // Neither can fail for an address with a host.
            let _ = url.set_username("");
            let _ = url.set_password(None);
            url.to_string()
        }
        Err(_) => "an address that cannot be read".to_owned(),
    }
}

/// Where the order of arrival stands now: a new webhook begins there.
pub fn end(store: &dyn Store) -> Result<Option<Place>, crate::store::StoreError> {
    let arrivals = store.arrivals()?;
    Ok(arrivals.last.map(|last| Place {
        arrival: last.arrival,
        index: last.index,
        number: arrivals.count,
    }))
}

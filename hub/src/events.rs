//! Everything that arrives in any journal, as CloudEvents 1.0 in the order of arrival, for programs outside.
//!
//! Decides how an entry is told, and nothing about who hears it: the same entry is the same event, with the same id, whenever and to
//! whomever it is told. So a consumer that was cut off asks again from the cursor that it knows, and drops what it has seen by id.
//!
//! Invariant: an event is told only after its entry is durable.
//! Read next: `store.rs` (the order of arrival), `http/events.rs` (who hears it by HTTP).

pub mod kinds;

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::watch;
use wire::api::AuditView;
use wire::entry::{Entry, EntryBody};
use wire::ids::{DecisionId, Digest};
use wire::time::Wall;
use wire::view::{Story, outcome_view};

use crate::store::{Arrived, Cursor, Store, StoreError};

/// What every type begins with.
const PREFIX: &str = "dev.sentinel";

/// One event (CloudEvents 1.0, JSON format). `sentinelcursor` is its place in the order of arrival.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CloudEvent {
    /// Always `1.0`.
    pub specversion: &'static str,
    /// The same for the same entry: a UUIDv7 of its time and its digest.
    pub id: String,
    /// Whose journal: `/nodes/NAME`, or `/hub`.
    pub source: String,
    /// What kind of thing, with a version.
    #[serde(rename = "type")]
    pub kind: String,
    /// The entry.
    pub subject: String,
    /// When, by the clock of whoever made the entry.
    pub time: Wall,
    /// Always `application/json`.
    pub datacontenttype: &'static str,
    /// Where to go on after it.
    pub sentinelcursor: String,
    /// What the entry says.
    pub data: Value,
}

/// An entry as an event; `None` for one whose bytes are no entry, which only a hostile agent makes.
pub fn event(arrived: &Arrived) -> Option<CloudEvent> {
    let entry = arrived.entry.decode().ok()?;
    let id = DecisionId {
        agent: arrived.owner.clone(),
        epoch: arrived.epoch,
        seq: entry.seq,
    };
    let (kind, data) = told(arrived, &id, &entry)?;
    Some(CloudEvent {
        specversion: "1.0",
        id: event_id(entry.at.wall, &arrived.entry.digest),
        source: match arrived.owner.is_hub() {
            true => "/hub".to_owned(),
            false => format!("/nodes/{}", arrived.owner),
        },
        kind: format!("{PREFIX}.{kind}.v1"),
        subject: id.to_string(),
        time: entry.at.wall,
        datacontenttype: "application/json",
        sentinelcursor: cursor_text(arrived.cursor),
        data,
    })
}

/// The kind of an entry, and its content.
fn told(arrived: &Arrived, id: &DecisionId, entry: &Entry) -> Option<(String, Value)> {
    Some(match &entry.body {
        EntryBody::Decided(_) => {
            let story = Story::read(&id.agent, id.epoch, &arrived.entry, []).ok()?;
            ("decision.made".to_owned(), json(&story.view())?)
        }
        EntryBody::Acted(outcome) => {
            let view = json(&outcome_view(entry.at, outcome))?;
            let data = json!({ "decision": outcome.decision, "outcome": view });
            ("action.finished".to_owned(), data)
        }
        EntryBody::Event(event) => tagged("agent", json(event)?),
        EntryBody::Gap(gap) => tagged("journal.gap", json(gap)?),
        EntryBody::Changed(change) => {
            let view = AuditView::new(id.clone(), entry.at.wall, (**change).clone());
            (change_kind(&view), json(&view)?)
        }
    })
}

fn json<T: Serialize>(value: &T) -> Option<Value> {
    serde_json::to_value(value).ok()
}

/// `hub.policy.publish`; a refusal is `hub.refused`, because its verb may be a route.
fn change_kind(view: &AuditView) -> String {
    match view.code {
        None => format!("hub.{}", view.verb),
        Some(_) => "hub.refused".to_owned(),
    }
}

/// A variant's name goes into the type, what it holds into the data.
fn tagged(of: &str, value: Value) -> (String, Value) {
    match value {
        Value::Object(fields) if fields.len() == 1 => {
            let (name, data) = fields.into_iter().next().unwrap_or_default();
            (format!("{of}.{name}"), data)
        }
        Value::String(name) => (format!("{of}.{name}"), json!({})),
        other => (of.to_owned(), other),
    }
}

/// A UUIDv7 (RFC 9562): the entry's time, and of its digest what else there is room for.
fn event_id(at: Wall, digest: &Digest) -> String {
    let milliseconds = u64::try_from(at.0).unwrap_or(0);
    let mut random = [0; 10];
    random.copy_from_slice(&digest.0[..10]);
    uuid::Builder::from_unix_timestamp_millis(milliseconds, &random)
        .into_uuid()
        .to_string()
}

/// A cursor as programs keep it.
pub fn cursor_text(cursor: Cursor) -> String {
    format!("{}.{}", cursor.arrival, cursor.index)
}

/// Reads a cursor; the error is for people.
pub fn read_cursor(text: &str) -> Result<Cursor, String> {
    let parts = text.split_once('.');
    let parsed = parts.and_then(|(arrival, index)| Some((arrival.parse().ok()?, index.parse().ok()?)));
    let (arrival, index) =
        parsed.ok_or_else(|| format!("`{text}` is not a cursor of events: give the `sentinelcursor` of an event"))?;
    Ok(Cursor { arrival, index })
}

/// Reads the order of arrival from a cursor on, and waits for more at its end.
pub struct Reader {
    store: Arc<dyn Store>,
    arrivals: watch::Receiver<u64>,
    after: Option<Cursor>,
}

impl Reader {
    /// Reads what arrived after a cursor; `None` begins with the oldest. `arrivals` changes with each stored batch.
    pub fn new(store: Arc<dyn Store>, arrivals: watch::Receiver<u64>, after: Option<Cursor>) -> Self {
        Self { store, arrivals, after }
    }

    /// The next ones, at most `limit`; waits while there are none. `None`: the hub stops.
    pub async fn next(&mut self, limit: usize) -> Option<Result<Vec<CloudEvent>, StoreError>> {
        loop {
            // Marked as seen before the look, so that what arrives during the look is not slept through.
            self.arrivals.mark_unchanged();
            let (store, after) = (Arc::clone(&self.store), self.after);
            let read = tokio::task::spawn_blocking(move || store.arrived(after, limit)).await;
            match read.ok()? {
                Ok(arrived) if arrived.is_empty() => self.arrivals.changed().await.ok()?,
                Ok(arrived) => {
                    self.after = arrived.last().map(|last| last.cursor);
                    return Some(Ok(arrived.iter().filter_map(event).collect()));
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use wire::change::{Caller, ChangeRecord, Via};
    use wire::entry::Event;
    use wire::ids::{AgentId, Epoch, Seq};
    use wire::time::{Mono, Now};

    use super::*;

    fn arrived(owner: AgentId, body: EntryBody) -> Arrived {
        let entry = Entry {
            seq: Seq(4),
            at: Now {
                mono: Mono(1),
                wall: Wall(1_800_000_000_000),
            },
            prev: Digest::ZERO,
            body,
        };
        Arrived {
            cursor: Cursor { arrival: 7, index: 2 },
            owner,
            epoch: Epoch(1),
            entry: entry.encode(),
            at: None,
            number: 1,
        }
    }

    #[test]
    fn an_entry_is_always_the_same_event() {
        let change = ChangeRecord::new(Caller::new("ann", Via::Api), "policy.publish", "policy/1");
        let told = event(&arrived(AgentId::hub(), change.into_body())).expect("an event");
        let again = ChangeRecord::new(Caller::new("ann", Via::Api), "policy.publish", "policy/1");
        assert_eq!(Some(&told), event(&arrived(AgentId::hub(), again.into_body())).as_ref());
        assert_eq!(told.kind, "dev.sentinel.hub.policy.publish.v1");
        assert_eq!((told.source.as_str(), told.sentinelcursor.as_str()), ("/hub", "7.2"));
        assert_eq!(told.data["who"], "ann");
        let id: uuid::Uuid = told.id.parse().expect("a UUID");
        assert_eq!(id.get_version_num(), 7);
        let other = ChangeRecord::new(Caller::new("bob", Via::Api), "policy.publish", "policy/1");
        let other = event(&arrived(AgentId::hub(), other.into_body())).expect("an event");
        assert_ne!(other.id, told.id);
    }

    #[test]
    fn the_type_names_what_happened() {
        let node = AgentId::new("edge-03").expect("valid");
        let event_of = |body| event(&arrived(node.clone(), body)).expect("an event");
        let held = event_of(EntryBody::Event(Event::Held {
            who: "ann".to_owned(),
            reason: "hands".to_owned(),
        }));
        assert_eq!(held.kind, "dev.sentinel.agent.held.v1");
        assert_eq!(
            (held.source.as_str(), &held.data["who"]),
            ("/nodes/edge-03", &json!("ann"))
        );
        let refused = ChangeRecord::new(Caller::new("bob", Via::Api), "POST /x", "/x").refused("forbidden", "no");
        assert_eq!(event_of(refused.into_body()).kind, "dev.sentinel.hub.refused.v1");
    }

    #[test]
    fn a_cursor_is_read_back() {
        let cursor = Cursor { arrival: 7, index: 2 };
        assert_eq!(read_cursor(&cursor_text(cursor)), Ok(cursor));
        for wrong in ["", "7", "7.", "a.b", "7.2.1", "-1.0"] {
            assert!(read_cursor(wrong).is_err(), "{wrong}");
        }
    }
}

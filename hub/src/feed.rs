//! What watchers see live: each change once, as the text of one server-sent event, for all of them.
//!
//! Bounded for each watcher: one that does not keep up gets `reset` and reads its lists again. With nobody watching it costs nothing.
//!
//! Read next: `http/stream.rs` (one watcher).

use std::sync::Arc;

use hub_core::{Change, Hub};
use tokio::sync::{broadcast, mpsc, watch};
use wire::api::StreamEvent;
use wire::ids::DecisionId;
use wire::time::Now;
use wire_http::event_text;

use crate::store::Store;

/// Events that a watcher may be behind: some seconds of a busy fleet of 50.
const BEHIND: usize = 512;
/// Decisions that wait for their rows to be read; more than that and watchers read their lists again.
const STORIES: usize = 256;

/// The sending side.
#[derive(Debug, Clone)]
pub struct Feed {
    events: broadcast::Sender<Arc<str>>,
    stories: mpsc::Sender<DecisionId>,
    arrivals: watch::Sender<u64>,
}

impl Feed {
    /// A feed and the task that reads decisions for it.
    pub fn new(store: Arc<dyn Store>) -> (Self, Stories) {
        let (events, _) = broadcast::channel(BEHIND);
        let (stories, ids) = mpsc::channel(STORIES);
        let reader = Stories {
            ids,
            store,
            events: events.clone(),
        };
        let arrivals = watch::Sender::new(0);
        let feed = Self {
            events,
            stories,
            arrivals,
        };
        (feed, reader)
    }

    /// How many watch.
    pub fn watchers(&self) -> usize {
        self.events.receiver_count()
    }

    /// One more watcher.
    pub fn watch(&self) -> broadcast::Receiver<Arc<str>> {
        self.events.subscribe()
    }

    /// Something is durable: whoever follows the order of arrival looks again.
    pub fn arrived(&self) {
        self.arrivals.send_modify(|batches| *batches = batches.wrapping_add(1));
    }

    /// Changes whenever something has arrived.
    pub fn arrivals(&self) -> watch::Receiver<u64> {
        self.arrivals.subscribe()
    }

    /// How many follow the order of arrival.
    pub fn followers(&self) -> usize {
        self.arrivals.receiver_count()
    }

    /// Passes a change on to those who watch. Never blocks.
    pub fn changed(&self, change: Change, core: &Hub, now: Now) {
        if self.events.receiver_count() == 0 {
            return;
        }
        match change {
            Change::Node(agent) => {
                if let Some(node) = core.node(&agent, now) {
                    self.send(&StreamEvent::Node(Box::new(node)));
                }
            }
            Change::Decision(id) => {
                if self.stories.try_send(id).is_err() {
                    self.send(&StreamEvent::Reset);
                }
            }
            Change::Samples { agent, samples } => {
                for (at_ms, values) in samples {
                    let values = values
                        .into_iter()
                        .map(|(series, value)| (series.to_string(), value))
                        .collect();
                    self.send(&StreamEvent::Sample {
                        node: agent.clone(),
                        at_ms,
                        values,
                    });
                }
            }
            // Whoever watches the fleet does not watch people, nor what leaves the hub.
            Change::Access { .. } | Change::Identity(_) | Change::Webhook { .. } => {}
            Change::Policy => {
                if let Some(policy) = core.policy(now) {
                    self.send(&StreamEvent::Policy(Box::new(policy)));
                }
            }
        }
    }

    fn send(&self, event: &StreamEvent) {
        send(&self.events, event);
    }
}

fn send(events: &broadcast::Sender<Arc<str>>, event: &StreamEvent) {
    // An error says that the last watcher has just gone.
    let _ = events.send(event_text(event).into());
}

/// Reads the decisions that watchers are to see.
pub struct Stories {
    ids: mpsc::Receiver<DecisionId>,
    store: Arc<dyn Store>,
    events: broadcast::Sender<Arc<str>>,
}

impl Stories {
    /// Runs until the feed is gone.
    pub async fn run(mut self) {
        let mut ids = Vec::new();
        while self.ids.recv_many(&mut ids, STORIES).await > 0 {
            let (store, events) = (Arc::clone(&self.store), self.events.clone());
            let batch = std::mem::take(&mut ids);
            let read = tokio::task::spawn_blocking(move || {
                for id in batch {
                    match store.decision(&id).map(|found| found.map(|row| row.story())) {
                        Ok(Some(Ok(story))) => send(&events, &StreamEvent::Decision(Box::new(story.view()))),
                        Ok(Some(Err(error))) => tracing::debug!(%id, %error, "not shown"),
                        Ok(None) => {}
                        Err(_) => send(&events, &StreamEvent::Reset),
                    }
                }
            });
            if read.await.is_err() {
                tracing::error!("reading decisions for watchers failed badly");
            }
        }
    }
}

//! Makes room in the store: while there are more entries than may stay, or old ones, it has the oldest removed, a piece at a time.
//!
//! Decides nothing: the core says what work under way needs, consumers say what they have not read, and the store removes the rest by
//! its quota. Between two pieces the store commits what agents send.
//!
//! Read next: `hub/core/src/retention.rs` (whose entries go), `store/prune.rs` (how they go).

use std::sync::Arc;
use std::time::Duration;

use hub_core::Input;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::consumers::Consumers;
use crate::deliveries::Hooks;
use crate::hub::Handle;
use crate::store::{Pruned, Store};

/// How often it looks when nothing arrives: entries grow old also then.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// What is asked before anything goes.
pub struct Room {
    /// The core.
    pub hub: Handle,
    /// The store.
    pub store: Arc<dyn Store>,
    /// Who follows the entries.
    pub consumers: Arc<Consumers>,
    /// Webhooks follow them too.
    pub hooks: Arc<Hooks>,
    /// Changes whenever something has arrived.
    pub arrivals: watch::Receiver<u64>,
}

impl Room {
    /// Runs until it is told to stop.
    pub async fn run(mut self, stop: CancellationToken) {
        while stop.run_until_cancelled(self.turn()).await.is_some() {}
    }

    async fn turn(&mut self) {
        self.arrivals.mark_unchanged();
        if !self.store.wants_room() {
            // An error says that the hub stops, and so will this task.
            if let Ok(Err(_)) = tokio::time::timeout(LOOK_EVERY, self.arrivals.changed()).await {
                std::future::pending::<()>().await;
            }
            return;
        }
        if let Err(reason) = self.make().await {
            tracing::debug!(reason, "cannot make room in the store; it tries again");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Removes one piece.
    pub async fn make(&self) -> Result<Pruned, String> {
        let mut spared = self.hub.spared().await.map_err(|stopped| stopped.to_string())?;
        spared.unread = [self.consumers.unread(), self.hooks.unread()]
            .into_iter()
            .flatten()
            .min();
        let store = Arc::clone(&self.store);
        let pruned = tokio::task::spawn_blocking(move || store.prune(spared)).await;
        let pruned = pruned
            .map_err(|error| error.to_string())?
            .map_err(|error| error.chain())?;
        if pruned.unread {
            tracing::warn!("entries were removed that a consumer had not read: it is too far behind, and finds a gap");
        }
        for (node, entries, is_share) in &pruned.owners {
            let reason = if *is_share {
                "it uses more than its share"
            } else {
                "they are too old"
            };
            tracing::info!(%node, entries, reason, "entries were removed");
        }
        let owners = pruned.owners.clone();
        self.hub
            .tell(Input::Pruned { owners })
            .await
            .map_err(|stopped| stopped.to_string())?;
        Ok(pruned)
    }
}

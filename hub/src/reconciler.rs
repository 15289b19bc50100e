//! Asks each forge for failed checks that no webhook told of, and how our open pull requests stand: forges do not send again what was
//! lost.
//!
//! What it finds goes the way of a delivery: one task for each failing check of each commit, so what a webhook told of already is known.
//! The time from which it asks moves on only when everything was listed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hub_core::tasks::forge;
use hub_core::{Answer, Request, TaskRequest};
use tokio::sync::Notify;
use wire::time::Wall;

use crate::clock::Clock;
use crate::forges::{ForgeError, Forges};
use crate::http::new_task;
use crate::hub::Handle;
use crate::metrics::Meters;

/// Time between two rounds. Each asks one or two calls of a repository, far below what forges allow in an hour.
const EVERY: Duration = Duration::from_secs(300);
/// The first round asks so far back: a hub that was away for longer is told of new failures, not of old ones.
const FIRST_MS: i64 = 60 * 60_000;
/// Rounds overlap by so much, since forges list late.
const OVERLAP_MS: i64 = 10 * 60_000;

/// What it works with.
#[derive(Debug, Clone)]
pub struct Reconciler {
    /// The forges.
    pub forges: Arc<Forges>,
    /// The core.
    pub hub: Handle,
    /// Told when a task may be waiting.
    pub work: Arc<Notify>,
    /// What time it is.
    pub clock: Clock,
    /// What is counted.
    pub meters: Arc<Meters>,
}

impl Reconciler {
    /// Works until the core is gone. The first round comes after one period: webhooks of a start are on their way.
    pub async fn run(self, stop: tokio_util::sync::CancellationToken) {
        let ids: Vec<String> = self.forges.sources().map(|source| source.id.clone()).collect();
        let mut since: Vec<Wall> = vec![Wall(self.clock.now().wall.0 - FIRST_MS); ids.len()];
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(EVERY) => {}
            }
            for (id, since) in ids.iter().zip(&mut since) {
                let what = TaskRequest::Look { source: id.clone() };
                // A hub that stops looks again after its next start.
                let _ = self
                    .hub
                    .request(Request::Tasks {
                        caller: forge(id),
                        what,
                    })
                    .await;
                let begun = self.clock.now().wall;
                match self.round(id, *since).await {
                    Ok(found) => {
                        *since = Wall(begun.0 - OVERLAP_MS);
                        if found > 0 {
                            tracing::info!(source = %id, found, "failed checks that no webhook told of became tasks");
                        }
                    }
                    Err(error) => {
                        tracing::warn!(source = %id, code = error.code, reason = %error.reason, "cannot ask the forge for failed checks")
                    }
                }
            }
        }
    }

    /// Asks one source; gives how many tasks came of it.
    pub async fn round(&self, source: &str, since: Wall) -> Result<u64, ForgeError> {
        let mut found = 0;
        for repository in self.forges.repositories(source).await? {
            for (delivery, failed) in self.forges.failed(source, &repository, &since.to_string()).await? {
                if failed.commit.is_empty() || failed.check.is_empty() {
                    continue;
                }
                let what = TaskRequest::Received(Box::new(new_task(source, delivery, failed)));
                let caller = forge(source);
                if let Ok(Answer::Task(_)) = self.hub.request(Request::Tasks { caller, what }).await {
                    found += 1;
                    self.work.notify_one();
                }
            }
        }
        self.meters.recovered.fetch_add(found, Ordering::Relaxed);
        Ok(found)
    }
}

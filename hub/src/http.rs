//! The API and the console, over HTTPS: one table of routes, one door before all of them.
//!
//! Decides who may come in and how answers look; what they say is read from the core and the store.
//!
//! Invariant: a request without a valid token or cookie reaches no handler, except the few routes that the table marks as open; one
//! without the route's permission reaches none either.
//! Read next: `http/routes.rs` (the table), `http/door.rs` (who comes), `http/guard.rs` (what they may), `wire::api` (the words).

use std::sync::Arc;

use hub_core::{Answer, Request};
use wire::ids::Digest;
use wire::time::Wall;

use crate::artifacts::Artifacts;
use crate::ca::Ca;
use crate::config::Public;
use crate::consumers::Consumers;
use crate::deliveries::{Hooks, Secrets};
use crate::enroll::Enrollment;
use crate::feed::Feed;
use crate::forges::Forges;
use crate::hub::Handle;
use crate::inframind::Foresight;
use crate::keys::RoleFile;
use crate::metrics::Meters;
use crate::people::People;
use crate::store::{Store, StoreError};

mod actions;
mod agents;
mod answer;
mod api_tokens;
mod assets;
mod audits;
pub mod auth;
mod brains;
pub mod certificate;
mod clusters;
mod compress;
mod decisions;
mod door;
mod events;
mod facade;
mod glass;
mod guard;
mod handbook;
mod health;
mod hooks;
mod identities;
mod identity;
mod integrations;
pub mod jwt;
pub mod limits;
mod login;
pub mod metrics;
pub mod nodes;
mod once;
mod openapi;
mod otlp;
mod parcels;
mod password;
mod placement;
mod places;
mod plans;
mod policies;
pub mod problems;
mod remediation;
mod rollouts;
mod routes;
mod scaling;
mod series;
mod server;
mod sizing;
mod story;
mod stream;
mod tasks;
mod tenants;
#[cfg(test)]
mod tests;
mod throttle;
pub mod token_keys;
mod tokens;
mod users;
mod verify;

pub use answer::{Failure, chained};
pub use hooks::new_task;
pub use login::CONSOLE_SESSIONS;
pub use routes::{Need, ROUTES, Route, router};
pub use server::{Server, ServerError};

/// What handlers work with.
#[derive(Clone)]
pub struct App {
    /// The core.
    pub hub: Handle,
    /// The store.
    pub store: Arc<dyn Store>,
    /// Clients of the registered clusters.
    pub clusters: crate::kube::Clusters,
    /// Tokens and identities of agents.
    pub enrollment: Arc<Enrollment>,
    /// The role documents, which people extend.
    pub roles: Arc<RoleFile>,
    /// The CA, for join lines.
    pub ca: Arc<Ca>,
    /// Ways in that are no person's.
    pub auth: Arc<auth::Auth>,
    /// People whom the door knows.
    pub people: Arc<People>,
    /// Live events.
    pub feed: Feed,
    /// How others reach this hub.
    pub public: Public,
    /// Fleet table as it was last written out.
    pub fleet: Arc<nodes::FleetPage>,
    /// What is counted.
    pub meters: Arc<Meters>,
    /// Who hears of everything that arrives.
    pub consumers: Arc<Consumers>,
    /// How often each identity may ask.
    pub limits: Arc<limits::Limits>,
    /// To whom events are sent.
    pub hooks: Arc<Hooks>,
    /// What signs what they are sent.
    pub secrets: Secrets,
    /// They may be on this machine.
    pub webhooks_to_local: bool,
    /// The metrics as they were last written out.
    pub metrics_page: Arc<metrics::Written>,
    /// The forges.
    pub forges: Arc<Forges>,
    /// Patches with their certificates.
    pub artifacts: Artifacts,
    /// Hash of the token of remediation agents.
    pub remediation_token: Digest,
    /// The embedded brain.
    pub foresight: Arc<Foresight>,
    /// An InfraMind that sizes builds, if there is one.
    pub sizing: Option<Arc<crate::inframind::sizing::Sizing>>,
    /// Told when a task may be waiting.
    pub work: Arc<tokio::sync::Notify>,
    /// Told of orders in comments at a forge.
    pub orders: tokio::sync::mpsc::Sender<crate::orders::Ordered>,
}

/// A link for somebody who sets their password with it. The code stands behind `#`, so that it is in no server's log and no referrer.
pub fn setup_link(public: &Public, code: &str) -> String {
    format!("https://{public}/setup#code={code}")
}

impl App {
    /// Reads from the store on a thread that may wait for the disk.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&dyn Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Failure> {
        self.blocking(move |app| read(&*app.store).map_err(Failure::from)).await
    }

    /// Does something that may wait for the disk.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let app = self.clone();
        tokio::task::spawn_blocking(move || work(&app))
            .await
            .unwrap_or_else(|_| Err(Failure::internal("this request failed badly; the log says where")))
    }

    /// Asks the core for a change, and says in HTTP why it refuses.
    async fn change(&self, what: Request) -> Result<Answer, Failure> {
        match self.hub.request(what).await? {
            Answer::Rejected { reason } => Err(Failure::conflict(reason)),
            Answer::Unavailable { reason } => Err(Failure::unavailable(reason)),
            answer => Ok(answer),
        }
    }

    fn now(&self) -> Wall {
        crate::clock::wall()
    }
}

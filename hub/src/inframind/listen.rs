//! Brains that dial in: plans up, telemetry and outcomes down, over mutual TLS.
//!
//! Who a brain is follows from the common name of its certificate, which our authority for brains has signed. What it sends is a plan
//! like any other: judged by policy, gated by its tier. A brain that floods is read more slowly, one that is slow waits for itself
//! alone, and one that speaks nonsense is answered so; the operator reads of it in the log and in `/metrics`.
//!
//! Invariants: at most `ON_THE_WAY` batches and outcomes are held for a stream of a brain, however it behaves; nobody comes in under
//! the name of the embedded brain or of the one that the hub calls itself.
//! Read next: `wire/inframind/src/server.rs` (bounds and pace), `remote.rs` (a brain that the hub calls).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use wire_inframind::server::{Door, Told};
use wire_inframind::{Batch, Received, Taken};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::remote::{ENTRIES, OUTCOMES_EVERY, TELEMETRY_EVERY, Telemetry, ended, simulated};
use super::send;
use crate::hub::Handle;
use crate::metrics::Meters;
use crate::store::{Cursor, Store, StoreError};

/// Batches and outcomes that wait for a slow brain; the reading of the store waits for them.
const ON_THE_WAY: usize = 4;
/// Longest name of a brain: it stands in rows and keys.
const MOST_NAME: usize = 64;
/// A brain that sends too fast is named in the log this often at most.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// What brains meet at the door.
pub struct DialIn {
    hub: Handle,
    store: Arc<dyn Store>,
    meters: Arc<Meters>,
    /// Names that belong to brains which do not dial in.
    reserved: Vec<String>,
    /// When the log last named a brain that sends too fast.
    slowed: Mutex<BTreeMap<String, Instant>>,
}

impl DialIn {
    /// A door in front of this hub.
    pub fn new(hub: Handle, store: Arc<dyn Store>, meters: Arc<Meters>, reserved: Vec<String>) -> Self {
        Self {
            hub,
            store,
            meters,
            reserved,
            slowed: Mutex::default(),
        }
    }
}

impl Door for DialIn {
    fn admit(&self, certificates: &[Vec<u8>]) -> Result<String, String> {
        let own = certificates.first().ok_or("a brain comes in with a certificate")?;
        let name = common_name(own)?;
        if self.reserved.contains(&name) {
            return Err(format!(
                "`{name}` is the name of another brain of this hub: give the certificate another one"
            ));
        }
        Ok(name)
    }

    async fn plan(&self, brain: &str, received: Received) -> Taken {
        let result = match received.draft {
            Ok(draft) => send(&self.hub, brain, draft).await,
            Err(problem) => Err(problem.to_string()),
        };
        match &result {
            Ok(id) => tracing::info!(plan = %id, brain, key = received.plan_id, "plan sent"),
            Err(reason) => {
                self.meters.brain_plan_refused();
                tracing::debug!(brain, key = received.plan_id, reason, "plan not taken");
            }
        }
        Taken {
            plan_id: received.plan_id,
            result,
            at: crate::clock::wall(),
        }
    }

    async fn telemetry(&self, brain: &str, cursor: &str) -> Result<mpsc::Receiver<Batch>, String> {
        let store = Arc::clone(&self.store);
        let newest = tokio::task::spawn_blocking(move || store.newest_block());
        let newest = newest.await.map_err(|error| error.to_string())?;
        let newest = newest.map_err(|error| error.chain())?;
        let after = match cursor {
            "" => newest,
            text => text.parse().ok().filter(|after| *after <= newest).ok_or_else(|| {
                format!(
                    "cursor: `{}` was never given here: leave it empty to begin with what comes from now on",
                    text.escape_default()
                )
            })?,
        };
        let (batches, waiting) = mpsc::channel(ON_THE_WAY);
        let (hub, store, brain) = (self.hub.clone(), Arc::clone(&self.store), brain.to_owned());
        // Ends when the brain hangs up: its channel is closed then, and whoever waits for room in it is told.
        tokio::spawn(async move {
            let relayed = relay(&hub, &store, Telemetry::after(after), &batches);
            tokio::select! {
                () = batches.closed() => {}
                result = relayed => if let Err(error) = result {
                    tracing::warn!(brain, error, "no telemetry for the brain any more; it may come again");
                },
            }
        });
        Ok(waiting)
    }

    async fn outcomes(&self, brain: &str, after: &str) -> Result<mpsc::Receiver<Told>, String> {
        let after = match after {
            "" => None,
            text => Some(read_cursor(text).ok_or_else(|| {
                format!(
                    "after: `{}` is no id of an outcome: leave it empty to begin with the oldest",
                    text.escape_default()
                )
            })?),
        };
        let (told, waiting) = mpsc::channel(ON_THE_WAY);
        let (store, brain) = (Arc::clone(&self.store), brain.to_owned());
        tokio::spawn(async move {
            let closed = told.clone();
            tokio::select! {
                () = closed.closed() => {}
                result = outcomes(&store, &brain, after, &told) => if let Err(error) = result {
                    tracing::warn!(brain, error = error.chain(), "no outcomes for the brain any more; it may come again");
                },
            }
        });
        Ok(waiting)
    }

    fn slowed(&self, brain: &str) {
        self.meters.brain_slowed();
        let now = Instant::now();
        let mut slowed = self.slowed.lock().unwrap_or_else(PoisonError::into_inner);
        let is_told = slowed
            .get(brain)
            .is_some_and(|told| now.duration_since(*told) < TOLD_EVERY);
        if !is_told {
            slowed.insert(brain.to_owned(), now);
            tracing::warn!(
                brain,
                "the brain sends plans faster than it may, so they are read more slowly"
            );
        }
    }
}

/// Hands batches over as the store gets blocks.
async fn relay(
    hub: &Handle,
    store: &Arc<dyn Store>,
    mut telemetry: Telemetry,
    batches: &mpsc::Sender<Batch>,
) -> Result<(), String> {
    loop {
        let simulated = simulated(hub).await.map_err(|error| error.to_string())?;
        let of = Arc::clone(store);
        let read = tokio::task::spawn_blocking(move || {
            let result = telemetry.read(&*of, &simulated);
            (telemetry, result)
        });
        let result;
        (telemetry, result) = read.await.map_err(|error| error.to_string())?;
        result.map_err(|error| error.chain())?;
        let found = telemetry.take();
        if found.is_empty() {
            tokio::time::sleep(TELEMETRY_EVERY).await;
        }
        for batch in found {
            // The brain has hung up.
            let Ok(()) = batches.send(batch).await else {
                return Ok(());
            };
        }
    }
}

/// Hands outcomes over as plans of this brain end.
async fn outcomes(
    store: &Arc<dyn Store>,
    brain: &str,
    mut after: Option<Cursor>,
    told: &mpsc::Sender<Told>,
) -> Result<(), StoreError> {
    loop {
        let (of, who) = (Arc::clone(store), brain.to_owned());
        let found = tokio::task::spawn_blocking(move || ended(&*of, &who, after)).await;
        let Ok(found) = found else {
            return Ok(());
        };
        let found = found?;
        let is_all = found.read < ENTRIES;
        for (cursor, _, key, outcome) in found.outcomes {
            let id = cursor_text(cursor);
            let Ok(()) = told.send(Told { id, key, outcome }).await else {
                return Ok(());
            };
        }
        after = found.last;
        if is_all {
            tokio::time::sleep(OUTCOMES_EVERY).await;
        }
    }
}

/// The id of an outcome for brains that dial in: its place in the order of arrival.
fn cursor_text(cursor: Cursor) -> String {
    format!("{}.{}", cursor.arrival, cursor.index)
}

fn read_cursor(text: &str) -> Option<Cursor> {
    let (arrival, index) = text.split_once('.')?;
    Some(Cursor {
        arrival: arrival.parse().ok()?,
        index: index.parse().ok()?,
    })
}

/// The name in a certificate.
fn common_name(der: &[u8]) -> Result<String, String> {
    let (_, certificate) =
        X509Certificate::from_der(der).map_err(|error| format!("the certificate cannot be read: {error}"))?;
    let mut names = certificate.subject().iter_common_name();
    let name = names.next().and_then(|name| name.as_str().ok());
    let name = name.ok_or("the certificate has no common name: it is the brain's name here")?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > MOST_NAME || !name.chars().all(is_plain) {
        return Err(format!(
            "common name `{}`: a brain's name has 1 to {MOST_NAME} letters, digits, `-`, `_` or `.`",
            name.escape_default()
        ));
    }
    Ok(name.to_owned())
}

//! Who hears of everything that arrives: each consumer follows the order of arrival behind a cursor of its own that survives restarts.
//!
//! Decides how far a consumer is, and when what failed is tried again; what is sent, and when it counts as delivered, is the
//! [`Sink`]'s affair. A consumer that is away costs its own task and one page of entries, however long it stays away; how far it is
//! behind is a metric.
//!
//! Invariant: a cursor moves only over entries that their sink has accepted, so nothing is skipped; after a crash a sink may be given
//! again what it accepted within [`STORED_EVERY`].
//!
//! Read next: `store.rs` (the order of arrival), `telemetry/` (OTLP), `kafka.rs`.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;
use wire::codec;
use wire::time::Wall;

use crate::store::{Arrived, Cursor, Store, StoreError};

/// Most entries that a sink is given at once.
const PAGE_ENTRIES: usize = 256;
/// Most bytes of them, as they are stored: a receiver of OTLP takes 4 MiB in one message, and JSON is some four times as long.
const PAGE_BYTES: usize = 512 * 1024;
/// How often a cursor that has moved is stored: each time is a commit, and what is delivered again after a crash is this much.
pub const STORED_EVERY: Duration = Duration::from_secs(2);
/// Pauses between two tries: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// Where entries go.
pub trait Sink: Send {
    /// Delivers a page, oldest first, and returns when all of it is safe there. The error is for people; the same page comes again.
    fn deliver(&mut self, page: &[Arrived]) -> impl Future<Output = Result<(), String>> + Send;

    /// Makes itself ready. `true`: its position has changed, and must be durable before it is given anything.
    fn prepare(&mut self) -> impl Future<Output = Result<bool, String>> + Send {
        std::future::ready(Ok(false))
    }

    /// What it needs to know besides the cursor to go on after a restart.
    fn position(&self) -> Vec<u8> {
        Vec::new()
    }

    /// Takes that back, before the first page.
    fn resume(&mut self, _position: &[u8]) {}
}

/// Every consumer of this hub.
#[derive(Debug, Default)]
pub struct Consumers(Mutex<BTreeMap<String, Arc<Link>>>);

impl Consumers {
    /// One more, or the one of this name.
    pub fn link(&self, name: &str, target: &str) -> Arc<Link> {
        let link = || Arc::new(Link::new(name, target));
        Arc::clone(self.lock().entry(name.to_owned()).or_insert_with(link))
    }

    /// One more that follows the order of arrival behind a cursor: what it has not read holds entries in the store.
    pub fn follower(&self, name: &str, target: &str) -> Arc<Link> {
        let link = self.link(name, target);
        // Until its cursor was read back, it may need any entry.
        link.lock().needs.get_or_insert(0);
        link
    }

    /// The first place in the order of arrival that one of them may still need; `None` where nobody follows it.
    pub fn unread(&self) -> Option<u64> {
        self.lock().values().filter_map(|link| link.lock().needs).min()
    }

    /// One less.
    pub fn forget(&self, name: &str) {
        self.lock().remove(name);
    }

    /// All of them, by name.
    pub fn links(&self) -> Vec<Arc<Link>> {
        self.lock().values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Link>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How one consumer stands.
#[derive(Debug)]
pub struct Link {
    name: String,
    target: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    up: Option<bool>,
    /// Number of the last entry that was delivered; `None` for one that follows no journal.
    number: Option<u64>,
    /// The first place in the order of arrival that it may still need; `None` for one that holds no entries.
    needs: Option<u64>,
    /// Entries that were removed before it had read them.
    missed: u64,
    /// When the oldest entry of the page on its way became durable here.
    waits_since: Option<Wall>,
    delivered: u64,
    failures: u64,
    error: Option<String>,
}

/// How a consumer stands now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Whether what is sent arrives; `None` before the first try.
    pub up: Option<bool>,
    /// Entries that are durable here and not there; `None` for one that follows no journal.
    pub lag_entries: Option<u64>,
    /// How long the oldest of them has been durable here, in milliseconds.
    pub lag_ms: Option<u64>,
    /// Entries delivered by this process.
    pub delivered: u64,
    /// Tries that failed.
    pub failures: u64,
    /// Entries that were removed before it had read them.
    pub missed: u64,
    /// Why the last try failed; `None` after one that did not.
    pub error: Option<String>,
}

impl Link {
    fn new(name: &str, target: &str) -> Self {
        Self {
            name: name.to_owned(),
            target: target.to_owned(),
            state: Mutex::default(),
        }
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where what it is sent goes, for people.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// How it stands, when so many entries have arrived.
    pub fn standing(&self, total: u64, now: Wall) -> Standing {
        let state = self.lock();
        let lag_entries = state.number.map(|number| total.saturating_sub(number));
        let waits_ms = state
            .waits_since
            .and_then(|since| u64::try_from(now.0.saturating_sub(since.0)).ok());
        Standing {
            up: state.up,
            lag_entries,
            lag_ms: lag_entries.map(|_| waits_ms.unwrap_or(0)),
            delivered: state.delivered,
            failures: state.failures,
            missed: state.missed,
            error: state.error.clone(),
        }
    }

    /// So many more have arrived there.
    pub fn delivered(&self, count: u64) {
        let mut state = self.lock();
        if state.up == Some(false) {
            tracing::info!(consumer = self.name, target = self.target, "the consumer is back");
        }
        state.up = Some(true);
        state.delivered += count;
        state.waits_since = None;
        state.error = None;
    }

    /// A try failed.
    pub fn failed(&self, reason: &str) {
        let mut state = self.lock();
        if state.up != Some(false) {
            tracing::warn!(
                consumer = self.name,
                target = self.target,
                reason,
                "the consumer is away"
            );
        }
        state.up = Some(false);
        state.failures += 1;
        state.error = Some(reason.to_owned());
    }

    /// How far it is.
    pub fn reached(&self, number: u64) {
        self.lock().number = Some(number);
    }

    /// How far it is, durably: what lies before that it never needs again.
    fn keeps(&self, mark: &Mark) {
        let mut state = self.lock();
        state.needs = state.needs.map(|_| mark.cursor.map_or(0, |cursor| cursor.arrival));
    }

    /// So many entries were removed before it had read them.
    fn missed(&self, count: u64) {
        self.lock().missed += count;
        tracing::warn!(
            consumer = self.name,
            count,
            "entries were removed before the consumer had read them: it was away for too long"
        );
    }

    /// This is on its way, or waits for another try.
    pub fn waits(&self, page: &[Arrived]) {
        self.lock().waits_since = page.first().and_then(|first| first.at);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is followed.
#[derive(Clone)]
pub struct Source {
    /// The store.
    pub store: Arc<dyn Store>,
    /// Changes whenever something has arrived.
    pub arrivals: watch::Receiver<u64>,
}

/// How far a consumer is, as it is stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct Mark {
    cursor: Option<Cursor>,
    number: u64,
    position: Vec<u8>,
}

/// Delivers everything that arrives to a sink until it is told to stop, beginning where it was the last time, or with the oldest.
pub async fn follow<S: Sink>(mut source: Source, link: Arc<Link>, mut sink: S, stop: CancellationToken) {
    let Some(mut mark) = stop.run_until_cancelled(recall(&source, &link)).await else {
        return;
    };
    sink.resume(&mark.position);
    link.reached(mark.number);
    link.keeps(&mark);
    let mut moved_at: Option<Instant> = None;
    loop {
        let turn = turn(&mut source, &link, &mut sink, &mark, moved_at);
        match stop.run_until_cancelled(turn).await {
            None => break,
            Some(Turn::Delivered(cursor, number)) => {
                (mark.cursor, mark.number) = (Some(cursor), number);
                mark.position = sink.position();
                moved_at = moved_at.or_else(|| Some(Instant::now()));
            }
            Some(Turn::Ready) => {
                mark.position = sink.position();
                while !keep(&source, &link, &mark).await {
                    let mut pause = PAUSES.0;
                    if stop.run_until_cancelled(rest(&mut pause)).await.is_none() {
                        return;
                    }
                }
            }
            Some(Turn::Idle) => {}
        }
        if moved_at.is_some_and(|at| at.elapsed() >= STORED_EVERY) && keep(&source, &link, &mark).await {
            moved_at = None;
        }
    }
    if moved_at.is_some() {
        keep(&source, &link, &mark).await;
    }
}

enum Turn {
    Delivered(Cursor, u64),
    /// The sink is ready, at a position that is to be stored.
    Ready,
    /// Nothing has arrived until the cursor had to be stored.
    Idle,
}

/// Delivers the next page, however often that takes; waits while there is none, but not for longer than a moved cursor may wait.
async fn turn<S: Sink>(source: &mut Source, link: &Link, sink: &mut S, mark: &Mark, moved_at: Option<Instant>) -> Turn {
    let (mut pause, mut is_told) = (PAUSES.0, false);
    loop {
        // Marked as seen before the look, so that what arrives during the look is not slept through.
        source.arrivals.mark_unchanged();
        let page = match read(source, mark.cursor).await {
            Ok(page) => page,
            Err(reason) => {
                tracing::debug!(
                    consumer = link.name,
                    reason,
                    "cannot read for the consumer; it tries again"
                );
                rest(&mut pause).await;
                continue;
            }
        };
        let Some(last) = page.last() else {
            let gone = match moved_at {
                None => source.arrivals.changed().await.is_err(),
                Some(at) => match timeout_at(at + STORED_EVERY, source.arrivals.changed()).await {
                    Ok(changed) => changed.is_err(),
                    Err(_) => return Turn::Idle,
                },
            };
            if gone {
                // The hub stops, and so will this task.
                std::future::pending::<()>().await;
            }
            continue;
        };
        link.waits(&page);
        let gap = page
            .first()
            .map_or(0, |first| first.number.saturating_sub(mark.number + 1));
        if gap > 0 && mark.cursor.is_some() && !is_told {
            is_told = true;
            link.missed(gap);
        }
        let delivered = match sink.prepare().await {
            Ok(true) => return Turn::Ready,
            Ok(false) => sink.deliver(&page).await,
            Err(reason) => Err(reason),
        };
        match delivered {
            Ok(()) => {
                link.delivered(page.len() as u64);
                link.reached(last.number);
                return Turn::Delivered(last.cursor, last.number);
            }
            Err(reason) => {
                link.failed(&reason);
                rest(&mut pause).await;
            }
        }
    }
}

async fn rest(pause: &mut Duration) {
    sleep_until(Instant::now() + *pause).await;
    *pause = (*pause * 2).min(PAUSES.1);
}

async fn read(source: &Source, after: Option<Cursor>) -> Result<Vec<Arrived>, String> {
    let store = Arc::clone(&source.store);
    let read = tokio::task::spawn_blocking(move || store.arrived(after, PAGE_ENTRIES)).await;
    let mut page = read
        .map_err(|error| error.to_string())?
        .map_err(|error| error.chain())?;
    let mut bytes = 0;
    let fits = page.iter().take_while(|one| {
        bytes += one.entry.bytes.len();
        bytes <= PAGE_BYTES
    });
    let fits = fits.count().max(1);
    page.truncate(fits);
    Ok(page)
}

fn setting(link: &Link) -> String {
    format!("consumer:{}", link.name)
}

async fn recall(source: &Source, link: &Link) -> Mark {
    let mut pause = PAUSES.0;
    loop {
        let (store, name) = (Arc::clone(&source.store), setting(link));
        match tokio::task::spawn_blocking(move || store.setting(&name)).await {
            Ok(Ok(Some(bytes))) => match codec::decode(&bytes) {
                Ok(mark) => return mark,
                Err(error) => {
                    tracing::error!(consumer = link.name, %error, "its cursor cannot be read: it begins with the oldest entry");
                    return Mark::default();
                }
            },
            Ok(Ok(None)) => return Mark::default(),
            Ok(Err(_)) | Err(_) => rest(&mut pause).await,
        }
    }
}

/// Stores how far it is; `false` if that has to be tried again.
async fn keep(source: &Source, link: &Link, mark: &Mark) -> bool {
    let (store, name, bytes) = (Arc::clone(&source.store), setting(link), codec::encode(mark));
    let stored: Result<Result<(), StoreError>, _> =
        tokio::task::spawn_blocking(move || store.put_setting(&name, &bytes)).await;
    let is_stored = matches!(stored, Ok(Ok(())));
    if is_stored {
        link.keeps(mark);
    } else {
        tracing::debug!(
            consumer = link.name,
            "its cursor could not be stored; after a crash it gets the last entries again"
        );
    }
    is_stored
}

#[cfg(test)]
mod tests;

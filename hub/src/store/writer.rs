//! The one thread that writes: it takes everything that waits, makes one transaction of it, and tells each batch how it went.
//!
//! No artificial delay: while one commit waits for the disk, the next group gathers by itself.
//!
//! After a fault of the disk nothing more is written through that handle: it is closed, opened again with every page checked (a server:
//! connected again under the store's lock), and only then are batches accepted again. A failed sync is never retried. A commit that failed may be on the disk all the same, so
//! its number is read back before anything else is written, and only then is its group told what became of it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use hub_core::{Batch, Row};
use tokio::sync::mpsc;

use super::engine::{Database, Fault as DatabaseFault};
use super::group::{COMMIT, CommitId, Fault, Group, Moment, Verdicts, Written, write_group};
use super::open::{Place, StoreSettings};
use super::read;
use super::tables::{ApplyError, Counters, Tables, decode};
use super::{Completion, StoreError};
use crate::clock::Clock;

/// Batches in one transaction: 1,024 nodes that send at once are one sync of the disk.
const GROUP_BATCHES: usize = 1_024;
/// Bytes in one transaction: more does not make a commit cheaper for each byte, only later for each batch.
const GROUP_BYTES: usize = 8 * 1024 * 1024;
/// Free bytes that a commit leaves on the disk, so that other programs and a check of the file still find room.
const RESERVE_BYTES: u64 = 4 * 1024 * 1024;
/// Time between two attempts to open a store again that failed.
const REOPEN_EVERY: Duration = Duration::from_secs(1);
/// How often the clock is written, with a commit that happens anyway.
const CLOCK_EVERY_MS: u64 = 10_000;

/// A change that is not a batch of the core's. Returns whether it was done.
pub type Edit = Box<dyn FnOnce(&mut Tables<'_>) -> Result<bool, ApplyError> + Send>;

/// Work for the thread.
pub enum Job {
    /// A batch of the core's, and its size.
    Batch(Batch, usize),
    /// A change of somebody who waits for it.
    Edit(Edit, SyncSender<Result<bool, StoreError>>),
}

/// How a database is opened again after a fault: a file with every page checked, a server under the store's lock.
pub type Reopen = Box<dyn Fn() -> Result<Database, StoreError> + Send + Sync>;

/// What the thread and the readers share.
pub struct Shared {
    /// Where it is.
    pub settings: StoreSettings,
    /// How it is opened again.
    pub reopen: Reopen,
    /// The database; `None` after a fault, until it is open again, and after the end.
    pub database: RwLock<Option<Database>>,
    /// Why nothing can be written now.
    pub trouble: Mutex<Option<String>>,
    /// Bytes that wait.
    pub queued_bytes: AtomicUsize,
    /// What is taken of the room that there is.
    pub room: Mutex<Room>,
    /// The hub's time line.
    pub clock: Clock,
}

/// What is taken of the room that there is, and when to look again.
#[derive(Debug, Clone, Copy, Default)]
pub struct Room {
    /// As of the last commit.
    pub counters: Counters,
    /// Not before this, because what is too much could not go the last time; on the hub's time line.
    pub again_ms: u64,
    /// When to look for what is too old.
    pub sweep_ms: u64,
}

impl Shared {
    fn set_trouble(&self, trouble: Option<String>) {
        let mut shown = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        match (&*shown, &trouble) {
            (None, Some(reason)) => tracing::error!(%reason, "the store does not accept anything"),
            (Some(_), None) => tracing::info!("the store accepts entries again"),
            _ => {}
        }
        *shown = trouble;
    }
}

/// How many bytes a batch will take, about.
pub fn batch_bytes(batch: &Batch) -> usize {
    let row_bytes = |row: &Row| match row {
        Row::Entries { raw, .. } => raw.iter().map(|entry| entry.bytes.len() + 4).sum(),
        Row::Telemetry { block, .. } => block.len() + 64,
        Row::Agent { record, .. } | Row::Meta(record) => record.len(),
        Row::Bundle { signed, who, .. } => signed.payload.len() + who.as_ref().map_or(0, String::len) + 128,
        Row::Put(put) => put.bytes(),
        Row::Command { record, .. } | Row::Turns { record, .. } => record.as_ref().map_or(0, Vec::len),
    };
    // Keys, heads and indexes.
    batch.rows.iter().map(|row| row_bytes(row) + 128).sum()
}

/// The thread.
pub struct Writer {
    shared: Arc<Shared>,
    jobs: Receiver<Job>,
    done: mpsc::Sender<Vec<Completion>>,
    /// When to try again to open it, and why the last attempt failed.
    next_reopen: Option<(Instant, Option<String>)>,
    clock_written_ms: Option<u64>,
    /// The last transaction that is known to be durable.
    durable: CommitId,
    /// The number that the last one had which was tried.
    tried: CommitId,
    doubt: Option<Doubt>,
}

/// A transaction whose commit failed.
struct Doubt {
    commit: CommitId,
    verdicts: Verdicts,
}

impl Writer {
    /// A writer that takes `jobs` and reports batches to `done`. `durable`: the last transaction in the store.
    pub fn new(
        shared: Arc<Shared>,
        jobs: Receiver<Job>,
        done: mpsc::Sender<Vec<Completion>>,
        durable: CommitId,
    ) -> Self {
        Self {
            shared,
            jobs,
            done,
            next_reopen: None,
            clock_written_ms: None,
            durable,
            tried: CommitId {
                writer: durable.writer + 1,
                number: 0,
            },
            doubt: None,
        }
    }

    /// Runs until nobody can give it work any more, and then has done all of it.
    pub fn run(mut self) {
        loop {
            let job = match &self.doubt {
                None => self.jobs.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(_) => self.jobs.recv_timeout(REOPEN_EVERY),
            };
            let is_over = matches!(job, Err(RecvTimeoutError::Disconnected));
            self.resolve();
            if let Ok(first) = job {
                let group = self.gather(first);
                self.serve(group);
            }
            if is_over {
                return;
            }
        }
    }

    /// Reads what became of the transaction whose commit failed, if there is one and the store can be read again.
    fn resolve(&mut self) {
        if self.doubt.is_none() {
            return;
        }
        let found = self.ready().and_then(|()| self.last_commit());
        let Some(Doubt { commit, verdicts }) = self.doubt.take() else {
            return;
        };
        let (completions, trouble) = match found {
            Ok((found, counters)) if found == commit => {
                tracing::warn!(number = commit.number, "a commit that failed is there all the same");
                self.durable = commit;
                self.shared.room.lock().unwrap_or_else(PoisonError::into_inner).counters = counters;
                (verdicts.stored(), None)
            }
            Ok((found, _)) if found == self.durable => {
                let reason = "its commit failed, and nothing of it is on the disk";
                (verdicts.failed(reason), None)
            }
            Ok((found, _)) => {
                self.doubt = Some(Doubt { commit, verdicts });
                let reason = format!(
                    "another program has written to it: found {found:?} after {:?}",
                    self.durable
                );
                (Vec::new(), Some(reason))
            }
            Err(error) => {
                self.doubt = Some(Doubt { commit, verdicts });
                (Vec::new(), Some(error.chain()))
            }
        };
        self.shared.set_trouble(trouble);
        self.tell(completions);
    }

    /// Number of the last transaction in the store, with its counters.
    fn last_commit(&self) -> Result<(CommitId, Counters), StoreError> {
        let database = self.shared.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = database.as_ref().ok_or_else(|| StoreError::Unavailable {
            reason: "it is closed".to_owned(),
        })?;
        let unreadable = |cause: DatabaseFault| StoreError::from(read::ReadError::Database(cause));
        let read = database.begin_read().map_err(unreadable)?;
        let commit = match read::setting(&read, COMMIT)? {
            Some(bytes) => decode("meta", &bytes)?,
            None => CommitId::default(),
        };
        let meta = read.open_table(super::rows::META).map_err(unreadable)?;
        Ok((commit, Counters::read(&meta).map_err(unreadable)?))
    }

    fn tell(&self, completions: Vec<Completion>) {
        if !completions.is_empty() {
            // Nobody listens any more when the hub ends.
            let _ = self.done.blocking_send(completions);
        }
    }

    fn gather(&self, first: Job) -> Group {
        let mut group = Group::default();
        group.push(first);
        while group.batches.len() < GROUP_BATCHES && group.bytes < GROUP_BYTES {
            match self.jobs.try_recv() {
                Ok(job) => group.push(job),
                Err(_) => break,
            }
        }
        group
    }

    fn serve(&mut self, group: Group) {
        let bytes = group.bytes;
        let result = self
            .undoubted()
            .and_then(|()| self.room(bytes))
            .and_then(|()| self.ready());
        let (completions, fault) = match result {
            Ok(()) => self.commit(group),
            Err(error) => (group.failed(&error.chain()), Some(error.chain())),
        };
        self.shared.queued_bytes.fetch_sub(bytes, Ordering::AcqRel);
        self.shared.set_trouble(fault);
        self.tell(completions);
    }

    /// While nobody knows what became of a commit, nothing is written.
    fn undoubted(&self) -> Result<(), StoreError> {
        match &self.doubt {
            None => Ok(()),
            Some(doubt) => Err(StoreError::Unavailable {
                reason: format!("nobody knows yet whether commit {} is on the disk", doubt.commit.number),
            }),
        }
    }

    /// Refuses before the database notices that the disk is full: its handle then need not be opened again.
    fn room(&self, bytes: usize) -> Result<(), StoreError> {
        // Another machine's disk says itself that it is full.
        let Place::Folder(folder) = &self.shared.settings.place else {
            return Ok(());
        };
        let Ok(disk) = rustix::fs::statvfs(folder) else {
            return Ok(());
        };
        let free_bytes = disk.f_bavail.saturating_mul(disk.f_frsize);
        // Copies of inner pages come on top of the rows.
        let needed_bytes = RESERVE_BYTES + 2 * bytes as u64;
        if free_bytes >= needed_bytes {
            return Ok(());
        }
        Err(StoreError::Full {
            path: self.shared.settings.file(),
            free_bytes,
            needed_bytes,
        })
    }

    fn ready(&mut self) -> Result<(), StoreError> {
        let unavailable = |reason: &str| StoreError::Unavailable {
            reason: reason.to_owned(),
        };
        let is_ready = match &*self
            .shared
            .database
            .read()
            .map_err(|_| unavailable("a reader failed badly"))?
        {
            Some(Database::Postgres(server)) => server.is_connected(),
            Some(Database::Redb(_)) => true,
            None => false,
        };
        if is_ready {
            return Ok(());
        }
        if let Some((at, reason)) = &self.next_reopen
            && Instant::now() < *at
        {
            return Err(unavailable(reason.as_deref().unwrap_or("it was closed after a fault")));
        }
        let next = Instant::now() + REOPEN_EVERY;
        self.next_reopen = Some((next, None));
        let again = (self.shared.reopen)().inspect_err(|error| {
            self.next_reopen = Some((next, Some(error.chain())));
        })?;
        match again {
            Database::Redb(_) => tracing::warn!("the store is open again, every page was checked"),
            Database::Postgres(_) => tracing::warn!("the store is connected again"),
        }
        let mut database = self
            .shared
            .database
            .write()
            .map_err(|_| unavailable("a reader failed badly"))?;
        *database = Some(again);
        Ok(())
    }

    fn commit(&mut self, group: Group) -> (Vec<Completion>, Option<String>) {
        let now = self.shared.clock.now();
        let (now_ms, wall) = (now.mono.0, now.wall);
        let clock = match self.clock_written_ms {
            Some(then) if now_ms < then + CLOCK_EVERY_MS => None,
            _ => Some(self.shared.clock.record()),
        };
        self.tried = self.tried.next();
        let commit = self.tried;
        let written = {
            let database = self.shared.database.read().unwrap_or_else(PoisonError::into_inner);
            let Some(database) = &*database else {
                let reason = "it is closed".to_owned();
                return (group.failed(&reason), Some(reason));
            };
            let clock = clock.as_deref();
            let keep = self.shared.settings.retention;
            write_group(
                database,
                group,
                Moment {
                    commit,
                    now_ms,
                    wall,
                    clock,
                    keep,
                },
            )
        };
        match written {
            Ok(Written { verdicts, counters }) => {
                if clock.is_some() {
                    self.clock_written_ms = Some(now_ms);
                }
                self.shared.room.lock().unwrap_or_else(PoisonError::into_inner).counters = counters;
                self.durable = commit;
                (verdicts.stored(), None)
            }
            Err(Fault::Failed(completions, reason)) => {
                self.abandon(&reason);
                (completions, Some(reason))
            }
            Err(Fault::Unknown(verdicts, reason)) => {
                self.abandon(&reason);
                let unknown = verdicts.unknown(&reason);
                self.doubt = Some(Doubt { commit, verdicts });
                // Mostly the disk answers again at once, and then nobody need hear of the doubt.
                self.resolve();
                match self.doubt {
                    Some(_) => (unknown, Some(reason)),
                    None => (Vec::new(), None),
                }
            }
        }
    }

    fn abandon(&mut self, reason: &str) {
        tracing::error!(reason, "a commit failed, the store will be opened again");
        let mut database = self.shared.database.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(Database::Postgres(server)) = &*database {
            // Readers have connections of their own.
            return server.abandon();
        }
        // Closing reports the same fault once more; the file is checked when it is opened.
        if let Some(Database::Redb(database)) = database.take() {
            let _ = database.close();
        }
    }
}

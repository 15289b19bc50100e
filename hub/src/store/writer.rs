//! The one thread that writes: it takes everything that waits, makes one transaction of it, and tells each batch how it went.
//!
//! No artificial delay: while one commit waits for the disk, the next group gathers by itself.
//!
//! After a fault of the disk nothing more is written through that handle: it is closed, opened again with every page checked,
//! and only then are batches accepted again. A failed sync is never retried.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use hub_core::{Batch, Row};
use redb::Database;
use tokio::sync::mpsc;

use super::group::{Group, Moment, write_group};
use super::open::{self, StoreSettings};
use super::tables::{ApplyError, Tables};
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

/// What the thread and the readers share.
pub struct Shared {
    /// Where it is.
    pub settings: StoreSettings,
    /// The database; `None` after a fault, until it is open again, and after the end.
    pub database: RwLock<Option<Database>>,
    /// Why nothing can be written now.
    pub trouble: Mutex<Option<String>>,
    /// Bytes that wait.
    pub queued_bytes: AtomicUsize,
    /// The hub's time line.
    pub clock: Clock,
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
    next_reopen: Option<Instant>,
    clock_written_ms: Option<u64>,
}

impl Writer {
    /// A writer that takes `jobs` and reports batches to `done`.
    pub fn new(shared: Arc<Shared>, jobs: Receiver<Job>, done: mpsc::Sender<Vec<Completion>>) -> Self {
        Self {
            shared,
            jobs,
            done,
            next_reopen: None,
            clock_written_ms: None,
        }
    }

    /// Runs until nobody can give it work any more, and then has done all of it.
    pub fn run(mut self) {
        while let Ok(first) = self.jobs.recv() {
            let group = self.gather(first);
            self.serve(group);
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
        let result = self.room(bytes).and_then(|()| self.ready());
        let (completions, fault) = match result {
            Ok(()) => self.commit(group),
            Err(error) => (group.failed(&error.chain()), Some(error.chain())),
        };
        self.shared.queued_bytes.fetch_sub(bytes, Ordering::AcqRel);
        self.shared.set_trouble(fault);
        if !completions.is_empty() {
            // Nobody listens any more when the hub ends.
            let _ = self.done.blocking_send(completions);
        }
    }

    /// Refuses before the database notices that the disk is full: its handle then need not be opened again.
    fn room(&self, bytes: usize) -> Result<(), StoreError> {
        let folder = &self.shared.settings.folder;
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
        let mut database = self
            .shared
            .database
            .write()
            .map_err(|_| unavailable("a reader failed badly"))?;
        if database.is_some() {
            return Ok(());
        }
        if self.next_reopen.is_some_and(|at| Instant::now() < at) {
            return Err(unavailable("it was closed after a fault of the disk"));
        }
        self.next_reopen = Some(Instant::now() + REOPEN_EVERY);
        *database = Some(open::reopen(&self.shared.settings)?);
        tracing::warn!("the store is open again, every page was checked");
        Ok(())
    }

    fn commit(&mut self, group: Group) -> (Vec<Completion>, Option<String>) {
        let now = self.shared.clock.now();
        let (now_ms, wall) = (now.mono.0, now.wall);
        let clock = match self.clock_written_ms {
            Some(then) if now_ms < then + CLOCK_EVERY_MS => None,
            _ => Some(self.shared.clock.record()),
        };
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
                    now_ms,
                    wall,
                    clock,
                    keep,
                },
            )
        };
        match written {
            Ok(completions) => {
                if clock.is_some() {
                    self.clock_written_ms = Some(now_ms);
                }
                (completions, None)
            }
            Err((completions, reason)) => {
                self.abandon(&reason);
                (completions, Some(reason))
            }
        }
    }

    fn abandon(&mut self, reason: &str) {
        tracing::error!(reason, "a commit failed, the store is closed and will be opened again");
        let mut database = self.shared.database.write().unwrap_or_else(PoisonError::into_inner);
        // Closing reports the same fault once more; the file is checked when it is opened.
        if let Some(database) = database.take() {
            let _ = database.close();
        }
    }
}

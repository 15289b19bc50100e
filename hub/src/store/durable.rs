//! The store, in one redb file or in a PostgreSQL: one thread writes, readers see the last commit.
//!
//! Never blocks the turn loop: [`Store::write`] only queues.
//! Read next: `writer.rs` (group commit), `apply.rs` (rows), `read.rs` (what is read back).

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;

use hub_core::{Batch, Recovered, Spared, StoredDocument};
use tokio::sync::mpsc;
use wire::entry::RawEntry;
use wire::ids::{AgentId, DecisionId, Epoch, Seq};
use wire::{BundleRef, SignedBundle};

use super::documents;
use super::engine::{Database, Snapshot};
use super::group::{COMMIT, CommitId};
use super::lists;
use super::open;
use super::prune::SWEEP_EVERY_MS;
use super::read;
use super::rows;
use super::tables::{Counters, decode, put};
use super::verify::{self, Scan};
use super::writer::{Edit, Job, Reopen, Room, Shared, Writer, batch_bytes};
use super::{
    Arrivals, Arrived, ArrivedBlock, Completion, Cursor, DecisionPage, DocumentPage, Floor, Occupied, Pruned, Store,
    StoreError, StoreSettings, StoredDecision, Walk,
};
use crate::clock::Clock;

/// Jobs that may wait. A group takes as many at once.
const QUEUE_JOBS: usize = 1_024;
/// Bytes that may wait: four full transactions, so that the disk always has the next one ready.
const QUEUE_BYTES: usize = 32 * 1024 * 1024;
/// Time until what could not be removed is looked at again: something under way ends, or a consumer goes on.
const STUCK_MS: u64 = 10_000;

/// The store.
pub struct DurableStore {
    shared: Arc<Shared>,
    jobs: Mutex<Option<SyncSender<Job>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl DurableStore {
    /// Opens or makes the store. Completions of batches go to `done`, one message for each transaction. Blocks.
    pub fn open(settings: StoreSettings, done: mpsc::Sender<Vec<Completion>>) -> Result<Self, StoreError> {
        let database = open::open(&settings)?;
        let reopen: Reopen = match &database {
            Database::Redb(_) => {
                let again = settings.clone();
                Box::new(move || open::reopen(&again))
            }
            Database::Postgres(server) => {
                let again = server.clone();
                Box::new(move || open::reopen_server(&again))
            }
        };
        Self::with(settings, database, reopen, done)
    }

    /// A store in an open database, and how that is opened again after a fault.
    pub(super) fn with(
        settings: StoreSettings,
        database: Database,
        reopen: Reopen,
        done: mpsc::Sender<Vec<Completion>>,
    ) -> Result<Self, StoreError> {
        let clock = Clock::resume(read_setting(&database, "clock")?.as_deref());
        let counters = read_from(&database, |read| Ok(Counters::read(&read.open_table(rows::META)?)?))?;
        let durable = match read_setting(&database, COMMIT)? {
            Some(bytes) => decode("meta", &bytes)?,
            None => CommitId::default(),
        };
        let shared = Arc::new(Shared {
            settings,
            reopen,
            database: RwLock::new(Some(database)),
            trouble: Mutex::new(None),
            queued_bytes: AtomicUsize::new(0),
            room: Mutex::new(Room {
                counters,
                ..Room::default()
            }),
            clock,
        });
        let (jobs, queue) = sync_channel(QUEUE_JOBS);
        let writer = Writer::new(Arc::clone(&shared), queue, done, durable);
        let thread = std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || writer.run())
            .map_err(|cause| StoreError::Io {
                action: "start the writer of",
                path: shared.settings.file(),
                cause,
            })?;
        Ok(Self {
            shared,
            jobs: Mutex::new(Some(jobs)),
            thread: Mutex::new(Some(thread)),
        })
    }

    /// The hub's time line, which the store carries over restarts.
    pub fn clock(&self) -> Clock {
        self.shared.clock.clone()
    }

    /// Where it is, as people may see it.
    pub(super) fn place(&self) -> String {
        self.shared.settings.file().display().to_string()
    }

    /// Runs a change in the next transaction and waits until it is durable.
    pub(super) fn edit(&self, edit: Edit) -> Result<bool, StoreError> {
        let closed = || StoreError::Unavailable {
            reason: "it is closed".to_owned(),
        };
        let jobs = self
            .jobs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
            .ok_or_else(closed)?;
        let (answer, wait) = sync_channel(1);
        jobs.send(Job::Edit(edit, answer)).map_err(|_| closed())?;
        drop(jobs);
        wait.recv().map_err(|_| closed())?
    }

    fn room(&self) -> std::sync::MutexGuard<'_, Room> {
        self.shared.room.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads from the last commit.
    pub(super) fn read<T>(&self, read: impl FnOnce(&Snapshot) -> Result<T, read::ReadError>) -> Result<T, StoreError> {
        let database = self.shared.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = database.as_ref().ok_or_else(|| StoreError::Unavailable {
            reason: "it was closed after a fault, or the hub stops".to_owned(),
        })?;
        read_from(database, read)
    }
}

fn read_from<T>(
    database: &Database,
    read: impl FnOnce(&Snapshot) -> Result<T, read::ReadError>,
) -> Result<T, StoreError> {
    let transaction = database.begin_read().map_err(|cause| StoreError::Database {
        action: "be read",
        cause: Box::new(cause),
    })?;
    read(&transaction).map_err(StoreError::from)
}

fn read_setting(database: &Database, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
    read_from(database, |read| read::setting(read, name))
}

impl Store for DurableStore {
    fn recover(&self) -> Result<Recovered, StoreError> {
        self.read(read::recover)
    }

    fn write(&self, batch: Batch) -> Result<(), Batch> {
        let bytes = batch_bytes(&batch);
        let queued = &self.shared.queued_bytes;
        // A lone batch is taken however large it is.
        if queued.load(Ordering::Acquire) > 0 && queued.load(Ordering::Acquire) + bytes > QUEUE_BYTES {
            return Err(batch);
        }
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(jobs) = &*jobs else {
            return Err(batch);
        };
        queued.fetch_add(bytes, Ordering::AcqRel);
        match jobs.try_send(Job::Batch(batch, bytes)) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(Job::Batch(batch, _)) | TrySendError::Disconnected(Job::Batch(batch, _))) => {
                queued.fetch_sub(bytes, Ordering::AcqRel);
                Err(batch)
            }
            Err(_) => unreachable!("a batch was sent, so a batch comes back"),
        }
    }

    fn setting(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(|read| read::setting(read, &format!("set:{name}")))
    }

    fn put_setting(&self, name: &str, value: &[u8]) -> Result<(), StoreError> {
        let (name, value) = (format!("set:{name}"), value.to_vec());
        self.edit(Box::new(move |tables| {
            put(&mut tables.meta, "meta", name.as_bytes(), &value).map(|()| true)
        }))
        .map(|_| ())
    }

    fn decision(&self, id: &DecisionId) -> Result<Option<StoredDecision>, StoreError> {
        self.read(|read| read::decision(read, id))
    }

    fn decisions(
        &self,
        node: Option<&AgentId>,
        before: Option<&str>,
        limit: usize,
    ) -> Result<DecisionPage, StoreError> {
        self.read(|read| match node {
            Some(node) => lists::decisions_of(read, node, before, limit),
            None => lists::decisions_of_all(read, before, limit),
        })
    }

    fn entries(&self, node: &AgentId, after: (Epoch, Seq), limit: usize) -> Result<Vec<(Epoch, RawEntry)>, StoreError> {
        self.read(|read| read::entries(read, node, after, limit))
    }

    fn newest_entries(
        &self,
        node: &AgentId,
        before: Option<(Epoch, Seq)>,
        limit: usize,
    ) -> Result<Vec<(Epoch, RawEntry)>, StoreError> {
        self.read(|read| read::newest_entries(read, node, before, limit))
    }

    fn walk_back(&self, node: &AgentId, each: &mut dyn FnMut(Epoch, &RawEntry) -> Walk) -> Result<(), StoreError> {
        self.read(|read| read::walk_back(read, node, each))
    }

    fn blocks(&self, node: &AgentId, since_ms: i64, limit: usize) -> Result<Vec<(Epoch, Seq, Vec<u8>)>, StoreError> {
        let mut found = Vec::new();
        self.walk_blocks(node, since_ms, limit, &mut |epoch, seq, block| {
            found.push((epoch, seq, block.to_vec()));
            Walk::Continue(())
        })?;
        Ok(found)
    }

    fn walk_blocks(
        &self,
        node: &AgentId,
        since_ms: i64,
        limit: usize,
        each: &mut dyn FnMut(Epoch, Seq, &[u8]) -> Walk,
    ) -> Result<(), StoreError> {
        self.read(|read| read::walk_blocks(read, node, since_ms, limit, each))
    }

    fn bundle(&self, bundle: &BundleRef) -> Result<Option<SignedBundle>, StoreError> {
        self.read(|read| read::bundle(read, bundle))
    }

    fn published_by(&self, bundle: &BundleRef) -> Result<Option<String>, StoreError> {
        let name = self.read(|read| read::setting(read, &rows::publisher_name(bundle)))?;
        Ok(name.map(|name| String::from_utf8_lossy(&name).into_owned()))
    }

    fn document(&self, kind: &str, id: &str) -> Result<Option<StoredDocument>, StoreError> {
        self.read(|read| documents::document(read, kind, id))
    }

    fn documents(
        &self,
        kind: &str,
        index: Option<(&str, &str)>,
        before: Option<&str>,
        limit: usize,
    ) -> Result<DocumentPage, StoreError> {
        self.read(|read| documents::page(read, kind, index, before, limit))
    }

    fn document_by_key(&self, kind: &str, key: &str) -> Result<Option<String>, StoreError> {
        self.read(|read| documents::by_key(read, kind, key))
    }

    fn arrived(&self, after: Option<Cursor>, limit: usize) -> Result<Vec<Arrived>, StoreError> {
        self.read(|read| read::arrived(read, after, limit))
    }

    fn arrivals(&self) -> Result<Arrivals, StoreError> {
        self.read(read::arrivals)
    }

    fn blocks_arrived(&self, after: u64, limit: usize) -> Result<Vec<ArrivedBlock>, StoreError> {
        self.read(|read| read::blocks_arrived(read, after, limit))
    }

    fn newest_block(&self) -> Result<u64, StoreError> {
        self.read(read::newest_block)
    }

    fn bundles(&self, limit: usize) -> Result<Vec<(BundleRef, SignedBundle)>, StoreError> {
        self.read(|read| read::bundles(read, limit))
    }

    fn verify(&self, node: &AgentId) -> Result<Scan, StoreError> {
        self.read(|read| verify::scan(read, node))
    }

    fn wants_room(&self) -> bool {
        let room = *self.room();
        let now_ms = self.shared.clock.now().mono.0;
        let quota = self.shared.settings.retention.entries;
        let is_exceeded = quota.is_exceeded(room.counters.entry_bytes) && now_ms >= room.again_ms;
        is_exceeded || now_ms >= room.sweep_ms
    }

    fn prune(&self, spared: Spared) -> Result<Pruned, StoreError> {
        let (quota, clock) = (self.shared.settings.retention.entries, self.shared.clock.clone());
        let report = Arc::new(Mutex::new(Pruned::default()));
        let told = Arc::clone(&report);
        self.edit(Box::new(move |tables| {
            let now = clock.now();
            let pruned = tables.prune(quota, &spared, (now.mono.0, now.wall))?;
            *told.lock().unwrap_or_else(PoisonError::into_inner) = pruned;
            Ok(true)
        }))?;
        let pruned = std::mem::take(&mut *report.lock().unwrap_or_else(PoisonError::into_inner));
        let now_ms = self.shared.clock.now().mono.0;
        let mut room = self.room();
        if !pruned.is_behind {
            room.sweep_ms = now_ms.saturating_add(SWEEP_EVERY_MS);
            // What could not go now cannot in a moment either.
            let is_stuck = pruned.owners.is_empty() && quota.is_exceeded(room.counters.entry_bytes);
            room.again_ms = now_ms.saturating_add(if is_stuck { STUCK_MS } else { 0 });
        }
        Ok(pruned)
    }

    fn occupied(&self) -> Occupied {
        let counters = self.room().counters;
        let database = self.shared.database.read().unwrap_or_else(PoisonError::into_inner);
        let file = match &*database {
            Some(Database::Postgres(server)) => server.bytes(),
            _ => std::fs::metadata(self.shared.settings.file()).map_or(0, |file| file.len()),
        };
        drop(database);
        Occupied {
            entries: counters.entry_bytes,
            own_entries: counters.own_bytes,
            telemetry: counters.block_bytes,
            file,
            pruned_entries: counters.pruned,
            quota: self.shared.settings.retention,
        }
    }

    fn floors(&self, node: &AgentId) -> Result<Vec<(Epoch, Floor)>, StoreError> {
        self.read(|read| read::floors(read, node))
    }

    fn trouble(&self) -> Option<String> {
        self.shared
            .trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn close(&self) -> Result<(), StoreError> {
        drop(self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take());
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the store's writer failed badly");
        }
        let database = self
            .shared
            .database
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        match database {
            Some(database) => open::close(&self.shared.settings, database),
            None => Ok(()),
        }
    }
}

impl Drop for DurableStore {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::error!(error = error.chain(), "the store could not be closed");
        }
    }
}

#[cfg(test)]
mod tests {
    use hub_core::{Row, Token};

    use super::*;

    #[test]
    fn a_store_that_a_fault_has_closed_opens_again_by_itself() {
        let folder = tempfile::tempdir().expect("a folder");
        let (done, mut completions) = mpsc::channel(4);
        let store = DurableStore::open(StoreSettings::new(folder.path()), done).expect("a new store");
        drop(store.shared.database.write().expect("no reader failed").take());
        assert!(store.recover().is_err(), "nothing is read from a closed store");
        let batch = Batch {
            token: Token(1),
            rows: vec![Row::Meta(b"core".to_vec())],
        };
        store.write(batch).expect("the queue is empty");
        let completed = completions.blocking_recv().expect("the writer lives");
        assert!(completed[0].outcome.is_stored());
        assert_eq!(store.recover().expect("whole").meta.as_deref(), Some(&b"core"[..]));
    }
}

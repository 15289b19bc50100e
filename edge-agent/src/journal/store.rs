//! The journal's tables: one transaction per group of batches, quota, trimming, and the way back after a failed write.
//!
//! Blocks on the disk, so it lives on the journal's thread. Never decides what to shed: it removes only what was released, oldest
//! first, telemetry before entries, and only when it needs the space.
//!
//! Invariant: entries of one epoch are consecutive on the disk, and the marks are those of the last durable batch.
//! Read next: `segment.rs` (rows), `disk.rs` (the file behind it).

use std::collections::BTreeMap;
use std::sync::Arc;

use edge_agent_core::{AppendError, Batch, Log};
use redb::{Database, ReadableDatabase, ReadableTable, Table, TableDefinition, TableError};
use serde::{Deserialize, Serialize};
use wire::{BundleRef, Epoch, Seq, codec};

use super::segment;
use crate::clock::SavedClock;

pub(super) type Rows = TableDefinition<'static, &'static [u8], &'static [u8]>;
pub(super) const ENTRIES: Rows = TableDefinition::new("entries");
pub(super) const TELEMETRY: Rows = TableDefinition::new("telemetry");
pub(super) const STATE: Rows = TableDefinition::new("state");
pub(super) const BUNDLES: Rows = TableDefinition::new("bundles");

const STATE_KEY: &[u8] = b"state";
/// What a row costs besides its value: key, lengths, its share of the pages above it.
const ROW_BYTES: u64 = 64;
/// Bundles that are kept, so that their decisions can be replayed on the node.
const BUNDLES_KEPT: usize = 8;
/// Epochs whose release is noted; a node with more has lost its journal more often than it can be released.
const EPOCHS_NOTED: usize = 128;

/// The one row that every transaction replaces. Its layout goes by its key: another layout gets another key, and a start that does not
/// find that one reads this one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Counts transactions, so that a doubtful one can be recognised.
    pub number: u64,
    /// The core's own state.
    pub marks: Option<Vec<u8>>,
    /// Where the clock stood.
    pub clock: Option<SavedClock>,
    /// The bundle that was given last.
    pub active: Option<BundleRef>,
    /// The order in which bundles came, oldest first.
    bundles: Vec<BundleRef>,
    /// Bytes of all rows, and of those that are released: entries, telemetry.
    held: [u64; 2],
    released: [u64; 2],
    /// How far each epoch's log is released: (0 entries or 1 telemetry, epoch) -> through.
    through: BTreeMap<(u8, u64), u64>,
}

impl State {
    /// Bytes that cannot be removed.
    pub fn needed_bytes(&self) -> u64 {
        self.held_bytes() - self.released.iter().sum::<u64>().min(self.held_bytes())
    }

    fn held_bytes(&self) -> u64 {
        self.held.iter().sum::<u64>() + self.marks.as_ref().map_or(0, |marks| marks.len() as u64)
    }
}

/// Something that was removed: this is the oldest that is left of that epoch.
pub type Trimmed = (Log, Epoch, Seq);

/// Why a transaction was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// No space on the disk.
    #[error("the disk is full")]
    Full,
    /// No space within the journal's bound.
    #[error("the journal is full: {needed_bytes} bytes are needed, {limit_bytes} are allowed")]
    OverLimit {
        /// What it would have to hold.
        needed_bytes: u64,
        /// What it may hold.
        limit_bytes: u64,
    },
    /// The disk failed.
    #[error("the disk failed: {0}")]
    Io(String),
    /// What is on the disk is not what was written.
    #[error("the journal is damaged: {0}")]
    Damaged(String),
    /// The batch does not follow what is on the disk, because one before it failed.
    #[error("a batch before this one failed")]
    Unordered,
}

impl StoreError {
    /// As the core is told.
    pub fn told(&self) -> AppendError {
        match self {
            Self::Full | Self::OverLimit { .. } => AppendError::Full,
            Self::Io(_) | Self::Damaged(_) | Self::Unordered => AppendError::Io(self.to_string()),
        }
    }
}

impl From<redb::Error> for StoreError {
    fn from(error: redb::Error) -> Self {
        match error {
            redb::Error::Io(cause) if full(&cause) => Self::Full,
            redb::Error::Corrupted(what) => Self::Damaged(what),
            other => Self::Io(other.to_string()),
        }
    }
}

/// Whether an I/O error says that there is no space (or no quota) left.
pub fn full(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded | std::io::ErrorKind::FileTooLarge
    )
}

macro_rules! from_redb {
    ($($kind:ty),*) => { $(impl From<$kind> for StoreError {
        fn from(error: $kind) -> Self { redb::Error::from(error).into() }
    })* };
}
from_redb!(
    redb::TransactionError,
    redb::CommitError,
    redb::StorageError,
    redb::TableError,
    redb::DatabaseError
);

/// The tables, open.
pub struct Store {
    /// Shared with readers; absent between a failed write and the next opening.
    db: Option<Arc<Database>>,
    state: State,
    limit_bytes: u64,
    /// The last entry of each epoch that is there.
    heads: BTreeMap<Epoch, Seq>,
    /// Keys of the rows of a transaction whose end is not known.
    doubtful: Vec<(Rows, [u8; 16])>,
    /// What holds if that transaction is on the disk after all.
    doubt: Option<Doubt>,
}

/// What a transaction makes of the store.
struct Doubt {
    state: State,
    heads: BTreeMap<Epoch, Seq>,
    trimmed: Vec<Trimmed>,
}

impl Store {
    /// Reads the state row and the spans of the epochs. `None` where there is no state row: an empty journal.
    pub fn read(db: Arc<Database>, limit_bytes: u64) -> Result<Self, StoreError> {
        let state = read_state(&db)?.unwrap_or_default();
        let heads = spans(&db)?.into_iter().map(|(epoch, _, last)| (epoch, last)).collect();
        Ok(Self {
            db: Some(db),
            state,
            limit_bytes,
            heads,
            doubtful: Vec::new(),
            doubt: None,
        })
    }

    /// The database, while it is open.
    pub fn database(&self) -> Result<Arc<Database>, StoreError> {
        self.db
            .clone()
            .ok_or_else(|| StoreError::Io("the journal is closed".to_owned()))
    }

    /// Lets go of the database, so that it can be opened again.
    pub fn detach(&mut self) {
        self.db = None;
    }

    /// Closes the database, if nobody else holds it.
    pub fn close(&mut self) -> Result<(), StoreError> {
        if let Some(db) = self.db.take().and_then(Arc::into_inner) {
            db.close()?;
        }
        Ok(())
    }

    /// The state as of the last durable transaction.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Makes a group of batches durable in one transaction. On an error nothing of it counts; after [`StoreError::Io`] and
    /// [`StoreError::Full`] the handle is used up: call [`Store::resolve`], or [`Store::resume`] once the error was reported, with a
    /// fresh one.
    pub fn commit(
        &mut self,
        group: &[Batch],
        releases: &[(Log, Epoch, Seq)],
        clock: SavedClock,
    ) -> Result<Vec<Trimmed>, StoreError> {
        let mut next = self.state.clone();
        next.number += 1;
        next.clock = Some(clock);
        let mut heads = self.heads.clone();
        self.doubtful.clear();
        self.doubt = None;
        let transaction = self.database()?.begin_write()?;
        let trimmed = {
            let mut entries = transaction.open_table(ENTRIES)?;
            let mut telemetry = transaction.open_table(TELEMETRY)?;
            for (log, epoch, through) in releases {
                let table = match log {
                    Log::Entries => &entries,
                    Log::Telemetry => &telemetry,
                };
                release(table, &mut next, *log, *epoch, *through)?;
            }
            for batch in group {
                append(
                    batch,
                    &mut entries,
                    &mut telemetry,
                    &mut next,
                    &mut heads,
                    &mut self.doubtful,
                )?;
                if let Some((reference, bundle)) = &batch.bundle {
                    let mut bundles = transaction.open_table(BUNDLES)?;
                    keep_bundle(&mut bundles, &mut next, *reference, &codec::encode(bundle))?;
                }
            }
            // Telemetry leaves a sixteenth free, so that the gap entry that must come before shedding always fits.
            let limit_bytes = if group.iter().any(|batch| batch.telemetry.is_some()) {
                self.limit_bytes - self.limit_bytes / 16
            } else {
                self.limit_bytes
            };
            let trimmed = trim(&mut entries, &mut telemetry, &mut next, limit_bytes)?;
            if next.held_bytes() > limit_bytes {
                let needed_bytes = next.held_bytes();
                return Err(StoreError::OverLimit {
                    needed_bytes,
                    limit_bytes,
                });
            }
            let mut state = transaction.open_table(STATE)?;
            let sealed = segment::seal("state", STATE_KEY, &codec::encode(&next));
            state.insert(STATE_KEY, sealed.as_slice())?;
            trimmed
        };
        let doubt = self.doubt.insert(Doubt {
            state: next,
            heads,
            trimmed,
        });
        transaction.commit()?;
        let trimmed = std::mem::take(&mut doubt.trimmed);
        self.adopt();
        Ok(trimmed)
    }

    /// The last transaction is durable.
    fn adopt(&mut self) {
        self.doubtful.clear();
        if let Some(doubt) = self.doubt.take() {
            self.state = doubt.state;
            self.heads = doubt.heads;
        }
    }

    /// Looks what became of the transaction that failed, before anybody was told: its last sync may have failed after the fact. `Some`:
    /// it is durable, and this was trimmed by it; `None`: nothing of it is there.
    pub fn resolve(&mut self, db: Arc<Database>) -> Result<Option<Vec<Trimmed>>, StoreError> {
        let found = read_state(&db)?.unwrap_or_default();
        match &mut self.doubt {
            Some(doubt) if doubt.state == found => {
                let trimmed = std::mem::take(&mut doubt.trimmed);
                self.adopt();
                self.db = Some(db);
                Ok(Some(trimmed))
            }
            _ => self.resume(db).map(|()| None),
        }
    }

    /// Removes telemetry up to `through`, released or not.
    pub fn shed(&mut self, epoch: Epoch, through: Seq, clock: SavedClock) -> Result<(), StoreError> {
        let mut next = self.state.clone();
        next.number += 1;
        next.clock = Some(clock);
        self.doubtful.clear();
        self.doubt = None;
        let transaction = self.database()?.begin_write()?;
        {
            let mut telemetry = transaction.open_table(TELEMETRY)?;
            while let Some((key, bytes)) = oldest(&telemetry, Some(epoch))? {
                match segment::unkey(&key) {
                    Some((_, seq)) if seq <= through => {
                        remove(&mut telemetry, &key, bytes, Log::Telemetry, &mut next)?;
                    }
                    _ => break,
                }
            }
            let mut state = transaction.open_table(STATE)?;
            let sealed = segment::seal("state", STATE_KEY, &codec::encode(&next));
            state.insert(STATE_KEY, sealed.as_slice())?;
        }
        transaction.commit()?;
        self.state = next;
        Ok(())
    }

    /// Goes on with a freshly opened database after a failed write.
    ///
    /// The failed transaction was reported as not written. If the disk holds it all the same (its last sync failed after the fact), it
    /// is taken back here, so that nothing contradicts what was reported.
    pub fn resume(&mut self, db: Arc<Database>) -> Result<(), StoreError> {
        let found = read_state(&db)?.unwrap_or_default();
        if found.number < self.state.number || found.number > self.state.number + 1 {
            return Err(StoreError::Damaged(format!(
                "transaction {} was durable, the disk has {}",
                self.state.number, found.number
            )));
        }
        if found.number == self.state.number + 1 {
            let mut before = self.state.clone();
            before.number += 2;
            let transaction = db.begin_write()?;
            for (rows, key) in &self.doubtful {
                transaction.open_table(*rows)?.remove(key.as_slice())?;
            }
            {
                let mut state = transaction.open_table(STATE)?;
                let sealed = segment::seal("state", STATE_KEY, &codec::encode(&before));
                state.insert(STATE_KEY, sealed.as_slice())?;
            }
            transaction.commit()?;
            self.state = before;
        }
        self.doubtful.clear();
        self.doubt = None;
        self.db = Some(db);
        Ok(())
    }
}

/// Makes all tables, so that no later read meets a missing one.
pub fn create_tables(db: &Database) -> Result<(), StoreError> {
    let transaction = db.begin_write()?;
    for rows in [ENTRIES, TELEMETRY, STATE, BUNDLES] {
        transaction.open_table(rows)?;
    }
    transaction.commit()?;
    Ok(())
}

fn read_state(db: &Database) -> Result<Option<State>, StoreError> {
    let table = match db.begin_read()?.open_table(STATE) {
        Ok(table) => table,
        Err(TableError::TableDoesNotExist(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let Some(value) = table.get(STATE_KEY)? else {
        return Ok(None);
    };
    segment::open("state", STATE_KEY, value.value())
        .and_then(|bytes| codec::decode(bytes).ok())
        .map(Some)
        .ok_or_else(|| StoreError::Damaged("the state row cannot be read".to_owned()))
}

/// First and last entry of every epoch that is there, oldest first.
pub fn spans(db: &Database) -> Result<Vec<(Epoch, Seq, Seq)>, StoreError> {
    let table = match db.begin_read()?.open_table(ENTRIES) {
        Ok(table) => table,
        Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let mut found = Vec::new();
    let mut from = segment::key(Epoch(0), Seq(0));
    loop {
        let Some(first) = table.range(from.as_slice()..)?.next() else {
            return Ok(found);
        };
        let broken = || StoreError::Damaged("an entries row has no valid key or length".to_owned());
        let (epoch, start) = segment::unkey(first?.0.value()).ok_or_else(broken)?;
        let end = segment::key(epoch, Seq(u64::MAX));
        let Some(last) = table.range(from.as_slice()..=end.as_slice())?.next_back() else {
            return Err(broken());
        };
        let (key, value) = last?;
        let (_, begin) = segment::unkey(key.value()).ok_or_else(broken)?;
        let count = segment::open("entries", key.value(), value.value())
            .and_then(segment::count)
            .ok_or_else(broken)?;
        found.push((epoch, start, Seq(begin.0 + count - 1)));
        let Some(next) = epoch.0.checked_add(1) else {
            return Ok(found);
        };
        from = segment::key(Epoch(next), Seq(0));
    }
}

type Writable<'t> = Table<'t, &'static [u8], &'static [u8]>;

fn append(
    batch: &Batch,
    entries: &mut Writable<'_>,
    telemetry: &mut Writable<'_>,
    next: &mut State,
    heads: &mut BTreeMap<Epoch, Seq>,
    doubtful: &mut Vec<(Rows, [u8; 16])>,
) -> Result<(), StoreError> {
    if let (Some(first), Some(last)) = (batch.entries.first(), batch.entries.last()) {
        if heads.get(&batch.epoch).is_some_and(|head| head.next() != first.seq) {
            return Err(StoreError::Unordered);
        }
        let key = segment::key(batch.epoch, first.seq);
        let sealed = segment::seal("entries", &key, &segment::pack(&batch.entries));
        entries.insert(key.as_slice(), sealed.as_slice())?;
        next.held[0] += ROW_BYTES + sealed.len() as u64;
        heads.insert(batch.epoch, last.seq);
        doubtful.push((ENTRIES, key));
    }
    if let Some((seq, block)) = &batch.telemetry {
        let key = segment::key(batch.epoch, *seq);
        let sealed = segment::seal("telemetry", &key, block);
        let replaced = telemetry
            .insert(key.as_slice(), sealed.as_slice())?
            .map_or(0, |old| ROW_BYTES + old.value().len() as u64);
        next.held[1] = (next.held[1] + ROW_BYTES + sealed.len() as u64).saturating_sub(replaced);
        doubtful.push((TELEMETRY, key));
    }
    next.marks = Some(batch.marks.clone());
    Ok(())
}

fn keep_bundle(
    bundles: &mut Writable<'_>,
    next: &mut State,
    reference: BundleRef,
    bytes: &[u8],
) -> Result<(), StoreError> {
    let sealed = segment::seal("bundles", &reference.digest.0, bytes);
    bundles.insert(reference.digest.0.as_slice(), sealed.as_slice())?;
    next.active = Some(reference);
    next.bundles.retain(|kept| *kept != reference);
    next.bundles.push(reference);
    while next.bundles.len() > BUNDLES_KEPT {
        let oldest = next.bundles.remove(0);
        bundles.remove(oldest.digest.0.as_slice())?;
    }
    Ok(())
}

/// Notes that rows up to `through` may be removed. Rows that reach beyond it stay needed.
fn release(
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    next: &mut State,
    log: Log,
    epoch: Epoch,
    through: Seq,
) -> Result<(), StoreError> {
    let index = place(log);
    let before = next.through.get(&(index as u8, epoch.0)).copied().unwrap_or(0);
    if through.0 <= before {
        return Ok(());
    }
    // The row that held `before` may have reached beyond it and may be wholly released only now.
    let from = segment::key(epoch, Seq(0));
    let to = segment::key(epoch, through);
    let mut bytes = 0;
    let mut reached = before;
    for row in table.range(from.as_slice()..=to.as_slice())?.rev() {
        let (key, value) = row?;
        let Some((last, size)) = extent(log, key.value(), value.value()) else {
            return Err(StoreError::Damaged("a row to be released cannot be read".to_owned()));
        };
        if last.0 <= before {
            break;
        }
        if last <= through {
            bytes += size;
            reached = reached.max(last.0);
        }
    }
    next.released[index] += bytes;
    next.through.insert((index as u8, epoch.0), reached);
    if next.through.len() > EPOCHS_NOTED {
        next.through.pop_first();
    }
    Ok(())
}

/// The last item of a row, and what the row costs.
fn extent(log: Log, key: &[u8], value: &[u8]) -> Option<(Seq, u64)> {
    let (_, first) = segment::unkey(key)?;
    let last = match log {
        Log::Telemetry => first,
        Log::Entries => {
            let payload = segment::open("entries", key, value)?;
            Seq(first.0.checked_add(segment::count(payload)? - 1)?)
        }
    };
    Some((last, ROW_BYTES + value.len() as u64))
}

/// Removes released rows, oldest first, telemetry before entries, until a sixteenth of the bound is free.
fn trim<'t>(
    entries: &mut Writable<'t>,
    telemetry: &mut Writable<'t>,
    next: &mut State,
    limit_bytes: u64,
) -> Result<Vec<Trimmed>, StoreError> {
    let mut trimmed = BTreeMap::new();
    if next.held_bytes() <= limit_bytes {
        return Ok(Vec::new());
    }
    let target = limit_bytes - limit_bytes / 16;
    for log in [Log::Telemetry, Log::Entries] {
        let table = match log {
            Log::Entries => &mut *entries,
            Log::Telemetry => &mut *telemetry,
        };
        while next.held_bytes() > target {
            let Some((key, bytes)) = oldest(table, None)? else {
                break;
            };
            let last = {
                let value = table.get(key.as_slice())?;
                value.and_then(|value| extent(log, &key, value.value()))
            };
            let (Some((epoch, _)), Some((last, _))) = (segment::unkey(&key), last) else {
                return Err(StoreError::Damaged("a row to be trimmed cannot be read".to_owned()));
            };
            let through = next.through.get(&(place(log) as u8, epoch.0)).copied().unwrap_or(0);
            if last.0 > through {
                break;
            }
            remove(table, &key, bytes, log, next)?;
            trimmed.insert((log, epoch), last.next());
        }
    }
    Ok(trimmed
        .into_iter()
        .map(|((log, epoch), oldest)| (log, epoch, oldest))
        .collect())
}

fn oldest(table: &Writable<'_>, epoch: Option<Epoch>) -> Result<Option<([u8; 16], u64)>, StoreError> {
    let row = match epoch {
        None => table.first()?,
        Some(epoch) => {
            let from = segment::key(epoch, Seq(0));
            let to = segment::key(epoch, Seq(u64::MAX));
            table.range(from.as_slice()..=to.as_slice())?.next().transpose()?
        }
    };
    row.map(|(key, value)| {
        let key = <[u8; 16]>::try_from(key.value())
            .map_err(|_| StoreError::Damaged("a row's key is not 16 bytes".to_owned()))?;
        Ok((key, ROW_BYTES + value.value().len() as u64))
    })
    .transpose()
}

fn remove(table: &mut Writable<'_>, key: &[u8; 16], bytes: u64, log: Log, next: &mut State) -> Result<(), StoreError> {
    table.remove(key.as_slice())?;
    let index = place(log);
    next.held[index] = next.held[index].saturating_sub(bytes);
    let Some((epoch, first)) = segment::unkey(key) else {
        return Ok(());
    };
    if next
        .through
        .get(&(index as u8, epoch.0))
        .is_some_and(|through| first.0 <= *through)
    {
        next.released[index] = next.released[index].saturating_sub(bytes);
    }
    Ok(())
}

const fn place(log: Log) -> usize {
    match log {
        Log::Entries => 0,
        Log::Telemetry => 1,
    }
}

//! Reads from the journal, from any thread, while the journal's own thread writes.
//!
//! Every call is one read transaction: it sees whole groups only. Blocks on the disk. Never writes.
//!
//! Invariant: what is returned was checked against its own checksum; damage is an error, never data.

use std::ops::ControlFlow;
use std::sync::{Arc, PoisonError, RwLock};

use redb::{Database, ReadableDatabase, ReadableTable};
use wire::{BundleRef, Epoch, RawEntry, Seq, SignedBundle, codec};

use super::segment;
use super::store::{self, BUNDLES, ENTRIES, StoreError, TELEMETRY};

/// Rows that one slice of the scrub reads.
const SLICE_ROWS: usize = 512;

/// Why something cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The journal is being opened again after a failed write, or is closed.
    #[error("the journal is not open at the moment: try again")]
    Closed,
    /// The disk failed, or what is on it is damaged.
    #[error(transparent)]
    Store(#[from] StoreError),
}

macro_rules! from_redb {
    ($($kind:ty),*) => { $(impl From<$kind> for ReadError {
        fn from(error: $kind) -> Self { Self::Store(error.into()) }
    })* };
}
from_redb!(redb::TransactionError, redb::StorageError, redb::TableError);

/// A handle that can be cloned and sent.
#[derive(Clone)]
pub struct Reader {
    db: Arc<RwLock<Option<Arc<Database>>>>,
}

impl Reader {
    pub(super) fn new(db: Arc<Database>) -> Self {
        Self {
            db: Arc::new(RwLock::new(Some(db))),
        }
    }

    pub(super) fn detach(&self) {
        *self.db.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(super) fn attach(&self, db: Arc<Database>) {
        *self.db.write().unwrap_or_else(PoisonError::into_inner) = Some(db);
    }

    /// Runs with the database held open; the journal's thread waits for it before it opens the file again.
    fn with<T>(&self, read: impl FnOnce(&Database) -> Result<T, ReadError>) -> Result<T, ReadError> {
        let held = self.db.read().unwrap_or_else(PoisonError::into_inner);
        read(held.as_ref().ok_or(ReadError::Closed)?)
    }

    /// Consecutive entries from `from` on, at most `max_bytes` but at least one; empty if that place is gone or not there yet.
    pub fn entries(&self, epoch: Epoch, from: Seq, max_bytes: usize) -> Result<Vec<RawEntry>, ReadError> {
        let mut found: Vec<RawEntry> = Vec::new();
        let mut bytes = 0;
        self.forward(epoch, from, |entry| {
            let expected = found.last().map_or(from, |last| last.seq.next());
            bytes += entry.bytes.len();
            if entry.seq != expected || (bytes > max_bytes && !found.is_empty()) {
                return ControlFlow::Break(());
            }
            found.push(entry);
            ControlFlow::Continue(())
        })?;
        Ok(found)
    }

    /// Calls `each` for the entries of an epoch from `from` on, oldest first, until it breaks.
    pub fn forward(
        &self,
        epoch: Epoch,
        from: Seq,
        mut each: impl FnMut(RawEntry) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        self.with(|db| {
            let table = db.begin_read()?.open_table(ENTRIES)?;
            // The row that holds `from` may begin before it.
            let key = segment::key(epoch, from);
            let row = table.range(..=key.as_slice())?.next_back().transpose()?;
            let begin = row
                .and_then(|(key, _)| segment::unkey(key.value()))
                .filter(|(found, _)| *found == epoch)
                .map_or(from, |(_, first)| first);
            let lower = segment::key(epoch, begin);
            let upper = segment::key(epoch, Seq(u64::MAX));
            for row in table.range(lower.as_slice()..=upper.as_slice())? {
                let (key, value) = row?;
                let (_, entries) = unpack(key.value(), value.value())?;
                for entry in entries.into_iter().filter(|entry| entry.seq >= from) {
                    if each(entry).is_break() {
                        return Ok(());
                    }
                }
            }
            Ok(())
        })
    }

    /// Calls `each` for entries of all epochs, newest first, beginning before `before` (or at the end), until it breaks.
    pub fn backward(
        &self,
        before: Option<(Epoch, Seq)>,
        mut each: impl FnMut(Epoch, RawEntry) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let before = before.unwrap_or((Epoch(u64::MAX), Seq(u64::MAX)));
        self.with(|db| {
            let table = db.begin_read()?.open_table(ENTRIES)?;
            let upper = segment::key(before.0, before.1);
            for row in table.range(..upper.as_slice())?.rev() {
                let (key, value) = row?;
                let (epoch, entries) = unpack(key.value(), value.value())?;
                for entry in entries.into_iter().rev().filter(|entry| (epoch, entry.seq) < before) {
                    if each(epoch, entry).is_break() {
                        return Ok(());
                    }
                }
            }
            Ok(())
        })
    }

    /// First and last entry of every epoch that is there, oldest first.
    pub fn epochs(&self) -> Result<Vec<(Epoch, Seq, Seq)>, ReadError> {
        self.with(|db| Ok(store::spans(db)?))
    }

    /// Consecutive telemetry blocks from `from` on, at most `max_bytes` but at least one; empty if that place is gone or not there yet.
    pub fn telemetry(&self, epoch: Epoch, from: Seq, max_bytes: usize) -> Result<Vec<(Seq, Vec<u8>)>, ReadError> {
        let mut found: Vec<(Seq, Vec<u8>)> = Vec::new();
        let mut bytes = 0;
        self.blocks(Some((epoch, from)), |(found_epoch, seq), block| {
            let expected = found.last().map_or(from, |(last, _)| last.next());
            bytes += block.len();
            let fits = bytes <= max_bytes || found.is_empty();
            if found_epoch != epoch || seq != expected || !fits {
                return ControlFlow::Break(());
            }
            found.push((seq, block.to_vec()));
            ControlFlow::Continue(())
        })?;
        Ok(found)
    }

    /// Calls `each` for telemetry blocks of all epochs from `from` (or the oldest) on, oldest first, until it breaks.
    pub fn blocks(
        &self,
        from: Option<(Epoch, Seq)>,
        mut each: impl FnMut((Epoch, Seq), &[u8]) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let (epoch, seq) = from.unwrap_or_default();
        self.with(|db| {
            let table = db.begin_read()?.open_table(TELEMETRY)?;
            let lower = segment::key(epoch, seq);
            for row in table.range(lower.as_slice()..)? {
                let (key, value) = row?;
                let block = segment::open("telemetry", key.value(), value.value());
                let (Some(place), Some(block)) = (segment::unkey(key.value()), block) else {
                    return Err(damaged("telemetry", key.value()));
                };
                if each(place, block).is_break() {
                    return Ok(());
                }
            }
            Ok(())
        })
    }

    /// The last telemetry block that is there.
    pub fn newest_block(&self) -> Result<Option<(Epoch, Seq)>, ReadError> {
        self.with(|db| {
            let table = db.begin_read()?.open_table(TELEMETRY)?;
            Ok(table.last()?.and_then(|(key, _)| segment::unkey(key.value())))
        })
    }

    /// A bundle that was active on this node, if it is still kept.
    pub fn bundle(&self, reference: &BundleRef) -> Result<Option<SignedBundle>, ReadError> {
        self.with(|db| {
            let table = db.begin_read()?.open_table(BUNDLES)?;
            let key = reference.digest.0.as_slice();
            let Some(value) = table.get(key)? else {
                return Ok(None);
            };
            segment::open("bundles", key, value.value())
                .and_then(|bytes| codec::decode(bytes).ok())
                .map(Some)
                .ok_or_else(|| damaged("bundles", key))
        })
    }

    /// Checks a slice of all rows, and moves the cursor on; at the end it starts anew.
    pub(super) fn scrub(&self, cursor: &mut Vec<u8>) -> Result<(), ReadError> {
        self.with(|db| {
            let transaction = db.begin_read()?;
            let table = transaction.open_table(ENTRIES)?;
            let mut last = None;
            for row in table.range(cursor.as_slice()..)?.take(SLICE_ROWS) {
                let (key, value) = row?;
                unpack(key.value(), value.value())?;
                last = Some(key.value().to_vec());
            }
            match last {
                Some(mut next) => {
                    // The smallest key after it.
                    next.push(0);
                    *cursor = next;
                }
                None => cursor.clear(),
            }
            Ok(())
        })
    }
}

fn unpack(key: &[u8], value: &[u8]) -> Result<(Epoch, Vec<RawEntry>), ReadError> {
    segment::unkey(key)
        .and_then(|(epoch, first)| {
            let payload = segment::open("entries", key, value)?;
            Some((epoch, segment::unpack(first, payload)?))
        })
        .ok_or_else(|| damaged("entries", key))
}

fn damaged(table: &str, key: &[u8]) -> ReadError {
    let place = segment::unkey(key).map_or_else(String::new, |(epoch, seq)| format!(" at {epoch}.{seq}"));
    ReadError::Store(StoreError::Damaged(format!(
        "a row of {table}{place} has a wrong checksum"
    )))
}

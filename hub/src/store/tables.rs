//! A write transaction with its tables open, and how a row gets into one.

use redb::{ReadableTable, WriteTransaction};
use wire::codec;

use super::StoreError;
use super::rows::{self, seal, unseal};

/// A table that can be written.
pub type Open<'t> = redb::Table<'t, &'static [u8], &'static [u8]>;

/// What else a decision's arrival number, the pruning and the clock need.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// The last arrival number that a segment or a block got.
    pub arrival: u64,
    /// Bytes of all telemetry blocks.
    pub block_bytes: u64,
    /// Entries of all journals that have arrived.
    pub entries: u64,
    /// Bytes that entries of agents take.
    pub entry_bytes: u64,
    /// Bytes that the hub's own entries take.
    pub own_bytes: u64,
    /// Entries of agents that were removed.
    pub pruned: u64,
}

impl Counters {
    /// Reads them.
    pub fn read(meta: &impl ReadableTable<&'static [u8], &'static [u8]>) -> Result<Self, redb::Error> {
        Ok(Self {
            arrival: counter(meta, "arrival")?,
            block_bytes: counter(meta, "block-bytes")?,
            entries: counter(meta, "entries")?,
            entry_bytes: counter(meta, "entry-bytes")?,
            own_bytes: counter(meta, "own-bytes")?,
            pruned: counter(meta, "pruned")?,
        })
    }
}

/// A write transaction with its tables open.
pub struct Tables<'t> {
    pub(super) entries: Open<'t>,
    pub(super) heads: Open<'t>,
    pub(super) decisions: Open<'t>,
    pub(super) arrivals: Open<'t>,
    pub(super) outcomes: Open<'t>,
    pub(super) blocks: Open<'t>,
    pub(super) block_order: Open<'t>,
    pub(super) block_heads: Open<'t>,
    pub(super) agents: Open<'t>,
    pub(super) bundles: Open<'t>,
    pub(super) commands: Open<'t>,
    /// For the shell's settings.
    pub meta: Open<'t>,
    pub(super) documents: Open<'t>,
    pub(super) document_keys: Open<'t>,
    pub(super) document_index: Open<'t>,
    pub(super) feed: Open<'t>,
    pub(super) segments: Open<'t>,
    pub(super) floors: Open<'t>,
    pub(super) usage: Open<'t>,
    /// As they will be after the commit.
    pub counters: Counters,
}

impl<'t> Tables<'t> {
    /// Opens all tables of a transaction, and makes those that are not there.
    pub fn open(transaction: &'t WriteTransaction) -> Result<Self, redb::Error> {
        let open = |table| transaction.open_table(table);
        let meta = open(rows::META)?;
        let counters = Counters::read(&meta)?;
        Ok(Self {
            entries: open(rows::ENTRIES)?,
            heads: open(rows::HEADS)?,
            decisions: open(rows::DECISIONS)?,
            arrivals: open(rows::ARRIVALS)?,
            outcomes: open(rows::OUTCOMES)?,
            blocks: open(rows::BLOCKS)?,
            block_order: open(rows::BLOCK_ORDER)?,
            block_heads: open(rows::BLOCK_HEADS)?,
            agents: open(rows::AGENTS)?,
            bundles: open(rows::BUNDLES)?,
            commands: open(rows::COMMANDS)?,
            meta,
            documents: open(rows::DOCUMENTS)?,
            document_keys: open(rows::DOCUMENT_KEYS)?,
            document_index: open(rows::DOCUMENT_INDEX)?,
            feed: open(rows::FEED)?,
            segments: open(rows::SEGMENTS)?,
            floors: open(rows::FLOORS)?,
            usage: open(rows::USAGE)?,
            counters,
        })
    }
}

/// Writes a sealed row.
pub fn put(table: &mut Open<'_>, name: &str, key: &[u8], value: &[u8]) -> Result<(), ApplyError> {
    table.insert(key, &seal(name, key, value)[..])?;
    Ok(())
}

/// Decodes a row's value.
pub fn decode<T: serde::de::DeserializeOwned>(table: &'static str, value: &[u8]) -> Result<T, StoreError> {
    codec::decode(value).map_err(|_| StoreError::DamagedRow { table })
}

fn counter(meta: &impl ReadableTable<&'static [u8], &'static [u8]>, name: &str) -> Result<u64, redb::Error> {
    let damaged = || redb::Error::Corrupted(format!("counter `{name}`"));
    match meta.get(name.as_bytes())? {
        Some(sealed) => unseal("meta", name.as_bytes(), sealed.value())
            .ok()
            .and_then(|value| value.try_into().ok())
            .map(u64::from_be_bytes)
            .ok_or_else(damaged),
        None => Ok(0),
    }
}

/// Why rows could not be put into a transaction.
#[derive(Debug)]
pub enum ApplyError {
    /// This batch does not fit; nothing of it was written, and the transaction is whole.
    Refused(StoreError),
    /// The database failed: the transaction is spoilt.
    Spoilt(redb::Error),
}

impl From<StoreError> for ApplyError {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

impl From<redb::StorageError> for ApplyError {
    fn from(error: redb::StorageError) -> Self {
        Self::Spoilt(error.into())
    }
}

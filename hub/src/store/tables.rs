//! A write transaction with its tables open, and how a row gets into one.

use wire::codec;

use super::StoreError;
use super::engine::{Fault, Open, Sorted, Transaction};
use super::rows::{self, seal, unseal};

/// Names of the counters.
pub const COUNTERS: [&str; 6] = [
    "arrival",
    "block-bytes",
    "entries",
    "entry-bytes",
    "own-bytes",
    "pruned",
];

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
    pub fn read(meta: &impl Sorted) -> Result<Self, Fault> {
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
    pub fn open(transaction: &'t Transaction) -> Result<Self, Fault> {
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
    Ok(table.insert(key, &seal(name, key, value))?)
}

/// Writes a sealed row whose key no row has.
pub fn append(table: &mut Open<'_>, name: &str, key: &[u8], value: &[u8]) -> Result<(), ApplyError> {
    Ok(table.append(key, &seal(name, key, value))?)
}

/// Decodes a row's value.
pub fn decode<T: serde::de::DeserializeOwned>(table: &'static str, value: &[u8]) -> Result<T, StoreError> {
    codec::decode(value).map_err(|_| StoreError::DamagedRow { table })
}

fn counter(meta: &impl Sorted, name: &str) -> Result<u64, Fault> {
    let damaged = || Fault::Corrupted(format!("counter `{name}`"));
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
    Spoilt(Fault),
}

impl From<StoreError> for ApplyError {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

impl From<Fault> for ApplyError {
    fn from(error: Fault) -> Self {
        Self::Spoilt(error)
    }
}

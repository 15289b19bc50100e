//! What the hub keeps, and what every back end of it must do: [`Store`].
//!
//! Decides nothing about agents. It makes batches durable, several agents' in one commit, and reads them back.
//!
//! Invariant: a batch is reported as stored only after it is on the disk whole, and a batch that is reported as failed left nothing. A
//! commit of which neither is known is reported as unknown, and resolved by reading before anything else is written.
//! Read next: `store/engine.rs` (the two databases), `store/writer.rs` and `store/group.rs` (group commit), `store/suite.rs` (what both
//! must do).

use std::path::PathBuf;

use hub_core::{Batch, Recovered, Spared, StoredDocument, Token};
use wire::entry::RawEntry;
use wire::ids::{AgentId, DecisionId, Epoch, Seq};
use wire::time::Wall;
use wire::view::{Story, ViewError};
use wire::{BundleRef, SignedBundle};

mod apply;
mod check;
#[cfg(test)]
mod crash;
mod documents;
#[cfg(test)]
mod doubt;
mod durable;
mod engine;
mod format_2;
mod group;
mod lists;
mod open;
mod postgres;
mod prune;
mod read;
mod rows;
#[cfg(test)]
mod suite;
#[cfg(test)]
mod suite_postgres;
#[cfg(test)]
mod suite_room;
mod tables;
mod verify;
mod writer;

pub use self::check::{Checked, CheckedJournal, CheckedTable};
pub use self::durable::DurableStore;
pub use self::engine::Fault;
pub use self::open::{Place, Retention, StoreSettings};
pub use self::postgres::{PgFault, PostgresAddress};
pub use self::prune::{Floor, Pruned};
pub use self::verify::{Scan, ScannedEpoch};

/// A batch came back from the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completion {
    /// Which.
    pub token: Token,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is durable.
    Stored,
    /// Nothing of it was written, and why.
    Failed(String),
    /// Its commit failed, and may be on the disk all the same. Another completion of the same token follows once that was read; nothing
    /// else is written until then.
    Unknown(String),
}

impl Outcome {
    /// It is durable.
    pub fn is_stored(&self) -> bool {
        *self == Self::Stored
    }
}

impl From<Result<(), String>> for Outcome {
    fn from(result: Result<(), String>) -> Self {
        result.map_or_else(Self::Failed, |()| Self::Stored)
    }
}

/// A page of decisions, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecisionPage {
    /// The decisions.
    pub rows: Vec<StoredDecision>,
    /// Where the next page begins, if there is one.
    pub next: Option<String>,
}

/// A decision's entry with the entries of its outcomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredDecision {
    /// Which.
    pub id: DecisionId,
    /// Its entry.
    pub entry: RawEntry,
    /// Its outcomes' entries, oldest first.
    pub outcomes: Vec<RawEntry>,
}

impl StoredDecision {
    /// Decodes it. Fails only on entries that a faulty or hostile agent made: their bytes are stored as they came.
    pub fn story(&self) -> Result<Story, ViewError> {
        Story::read(&self.id.agent, self.id.epoch, &self.entry, &self.outcomes)
    }
}

/// A page of documents, newest id first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DocumentPage {
    /// The documents.
    pub rows: Vec<StoredDocument>,
    /// Id to give as `before` for the next page, if there is one.
    pub next: Option<String>,
}

/// A stored entry in the order of arrival, of any journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrived {
    /// Its place in the order; a consumer's cursor is the last one that it has done with.
    pub cursor: Cursor,
    /// Whose journal.
    pub owner: AgentId,
    /// Which epoch of it.
    pub epoch: Epoch,
    /// The entry.
    pub entry: RawEntry,
    /// When it became durable here; `None` for what older hubs stored.
    pub at: Option<Wall>,
    /// Its number in the order of arrival, from 1.
    pub number: u64,
}

/// A telemetry block in the order of arrival: its number, from 1, whose it is, which epoch of its journal, its bytes.
pub type ArrivedBlock = (u64, AgentId, Epoch, Vec<u8>);

/// A place in the order of arrival: a segment's number, and an entry of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Cursor {
    /// Arrival number of the segment.
    pub arrival: u64,
    /// Which entry of it, from 0.
    pub index: u32,
}

/// Where the order of arrival ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Arrivals {
    /// A cursor behind everything; `None` while nothing has arrived.
    pub last: Option<Cursor>,
    /// Entries that have arrived, of all journals: the number of the last one.
    pub count: u64,
}

/// What a store takes of the disk, by what it is, and how much of it may stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Occupied {
    /// Bytes of agents' entries, with all that points to them, about.
    pub entries: u64,
    /// Bytes of the hub's own entries, likewise.
    pub own_entries: u64,
    /// Bytes of telemetry blocks.
    pub telemetry: u64,
    /// Bytes of the file, which never shrinks: what is removed makes room in it.
    pub file: u64,
    /// Entries of agents that were removed, ever.
    pub pruned_entries: u64,
    /// How much may stay.
    pub quota: Retention,
}

/// Where a walk over entries goes on.
pub type Walk = std::ops::ControlFlow<()>;

/// What the hub needs of a store. All calls but [`Store::write`] may block for as long as the disk does.
pub trait Store: Send + Sync + 'static {
    /// What the core must know to go on.
    fn recover(&self) -> Result<Recovered, StoreError>;

    /// Queues a batch; its [`Completion`] follows. Gives the batch back when the queue is full: try again after the next
    /// completion. Never blocks.
    fn write(&self, batch: Batch) -> Result<(), Batch>;

    /// A small durable setting of the shell.
    fn setting(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError>;

    /// Makes a setting durable.
    fn put_setting(&self, name: &str, value: &[u8]) -> Result<(), StoreError>;

    /// One decision with its outcomes; `None` if the hub holds no such entry. The entry may be of another kind.
    fn decision(&self, id: &DecisionId) -> Result<Option<StoredDecision>, StoreError>;

    /// Decisions of one node or of all, newest first: by their place in a node's journal, or by their arrival at the hub.
    fn decisions(&self, node: Option<&AgentId>, before: Option<&str>, limit: usize)
    -> Result<DecisionPage, StoreError>;

    /// Entries after this place, oldest first.
    fn entries(&self, node: &AgentId, after: (Epoch, Seq), limit: usize) -> Result<Vec<(Epoch, RawEntry)>, StoreError>;

    /// Entries before this place, newest first; without a place, the newest ones.
    fn newest_entries(
        &self,
        node: &AgentId,
        before: Option<(Epoch, Seq)>,
        limit: usize,
    ) -> Result<Vec<(Epoch, RawEntry)>, StoreError>;

    /// Walks a node's entries from the newest back, until told to stop.
    fn walk_back(&self, node: &AgentId, each: &mut dyn FnMut(Epoch, &RawEntry) -> Walk) -> Result<(), StoreError>;

    /// Telemetry blocks that are needed to know a node's samples since this wall time (milliseconds), oldest first, beginning
    /// with a key block; at most `limit`, the newest ones.
    fn blocks(&self, node: &AgentId, since_ms: i64, limit: usize) -> Result<Vec<(Epoch, Seq, Vec<u8>)>, StoreError>;

    /// Walks the same blocks without holding more than one of them, until told to stop.
    fn walk_blocks(
        &self,
        node: &AgentId,
        since_ms: i64,
        limit: usize,
        each: &mut dyn FnMut(Epoch, Seq, &[u8]) -> Walk,
    ) -> Result<(), StoreError>;

    /// A document in its newest stored revision; `None` if there is none.
    fn document(&self, kind: &str, id: &str) -> Result<Option<StoredDocument>, StoreError>;

    /// Documents of a kind before this id, newest id first; with `index`, those with this value of this list index.
    fn documents(
        &self,
        kind: &str,
        index: Option<(&str, &str)>,
        before: Option<&str>,
        limit: usize,
    ) -> Result<DocumentPage, StoreError>;

    /// Id of the document that has this unique key.
    fn document_by_key(&self, kind: &str, key: &str) -> Result<Option<String>, StoreError>;

    /// Entries of all journals that arrived after a cursor, in the order of their arrival; `None` begins with the oldest.
    fn arrived(&self, after: Option<Cursor>, limit: usize) -> Result<Vec<Arrived>, StoreError>;

    /// Where the order of arrival ends.
    fn arrivals(&self) -> Result<Arrivals, StoreError>;

    /// Telemetry blocks that arrived after this number, oldest first: (number, agent, epoch, block).
    fn blocks_arrived(&self, after: u64, limit: usize) -> Result<Vec<ArrivedBlock>, StoreError>;

    /// Number of the newest telemetry block, 0 if there is none.
    fn newest_block(&self) -> Result<u64, StoreError>;

    /// One bundle.
    fn bundle(&self, bundle: &BundleRef) -> Result<Option<SignedBundle>, StoreError>;

    /// Who published a bundle; `None` if that is not known.
    fn published_by(&self, bundle: &BundleRef) -> Result<Option<String>, StoreError>;

    /// The newest bundles, newest first.
    fn bundles(&self, limit: usize) -> Result<Vec<(BundleRef, SignedBundle)>, StoreError>;

    /// Whether entries should be removed now: there are more than there is room for, or it is time to look for old ones.
    fn wants_room(&self) -> bool;

    /// Removes entries that are too many or too old, a bounded number of them, and never what must stay; returns once that is durable.
    fn prune(&self, spared: Spared) -> Result<Pruned, StoreError>;

    /// What it takes, and how much it may take.
    fn occupied(&self) -> Occupied;

    /// What of a node's journal was removed, by epoch.
    fn floors(&self, node: &AgentId) -> Result<Vec<(Epoch, Floor)>, StoreError>;

    /// Reads every stored entry of a node again: counts it, checks its link, finds holes and doubles.
    fn verify(&self, node: &AgentId) -> Result<Scan, StoreError>;

    /// Why nothing can be written now, if so.
    fn trouble(&self) -> Option<String>;

    /// Writes what is queued, then ends. Later calls fail.
    fn close(&self) -> Result<(), StoreError>;
}

/// Why the store cannot do something.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has it.
    #[error(
        "`{path}` is in use by another hub: stop that one, or give this one another --state folder or another --store"
    )]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// The file is not what was written.
    #[error(
        "the store `{path}` is damaged ({detail}). It was left as it is, and the identities in `pki` are not affected. \
         To go on: stop the hub, move it away, put the newest backup in its place, and start again; \
         agents send again what the backup lacks and they still have"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// A row's bytes are not what was written.
    #[error(
        "a row of table `{table}` is damaged (its checksum does not match): stop the hub and restore the store from a backup"
    )]
    DamagedRow {
        /// Which table.
        table: &'static str,
    },
    /// The file was made by a program that this one does not understand.
    #[error("the store `{path}` has format {found}, this program reads format {known}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What it says.
        found: String,
        /// What this program reads.
        known: u32,
    },
    /// The operating system refused.
    #[error("cannot {action} `{path}`")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: std::io::Error,
    },
    /// The database refused.
    #[error("the store cannot {action}")]
    Database {
        /// What was tried.
        action: &'static str,
        /// Why not.
        #[source]
        cause: Box<Fault>,
    },
    /// The database server cannot be used.
    #[error("cannot use the database `{place}`")]
    Server {
        /// Where it is.
        place: String,
        /// Why not.
        #[source]
        cause: Box<PgFault>,
    },
    /// It is closed, or was closed after a fault and could not be opened again yet.
    #[error("the store is not available: {reason}")]
    Unavailable {
        /// Why.
        reason: String,
    },
    /// A page's cursor is not one of ours.
    #[error("`{cursor}` is not a cursor of this list: use `next_cursor` of the page before")]
    Cursor {
        /// What was given.
        cursor: String,
    },
    /// A document's row does not follow what is stored.
    #[error("revision {revision} of {kind} `{id}` does not follow {stored}, the stored one")]
    Revision {
        /// Which kind.
        kind: &'static str,
        /// Which.
        id: String,
        /// The row's revision.
        revision: u64,
        /// The stored revision; 0 for none.
        stored: u64,
    },
    /// A unique key is another document's.
    #[error("key `{key}` of {kind} `{id}` belongs to `{holder}`")]
    Taken {
        /// Which kind.
        kind: &'static str,
        /// Which.
        id: String,
        /// The key.
        key: String,
        /// Whose it is.
        holder: String,
    },
    /// A batch does not follow what is stored.
    #[error("entries {first} and on of {agent} epoch {epoch} do not follow {stored}, the last one stored")]
    Order {
        /// Whose.
        agent: AgentId,
        /// Which epoch.
        epoch: Epoch,
        /// The batch's first entry.
        first: Seq,
        /// The last entry stored.
        stored: Seq,
    },
    /// The disk has too little room for another commit.
    #[error(
        "the disk of `{path}` is full: {free_bytes} bytes are free, {needed_bytes} are needed; what is stored stays readable, and writing goes on by itself once there is room"
    )]
    Full {
        /// The file.
        path: PathBuf,
        /// What is free.
        free_bytes: u64,
        /// What is needed.
        needed_bytes: u64,
    },
}

impl StoreError {
    /// The whole chain of causes on one line.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(inner) = cause {
            text.push_str(": ");
            text.push_str(&inner.to_string());
            cause = inner.source();
        }
        text
    }
}

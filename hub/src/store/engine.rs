//! The two databases that a store can lie in, behind the same few words: tables of bytes in the order of their keys, one writer, and
//! readers who see the last commit.
//!
//! Decides nothing and knows no row. Everything above it (rows, checks, indexes, pruning, verification) is the same code for both.
//!
//! Invariant: a [`Transaction`] is durable whole once its commit has answered, and nothing of it is there if it never came so far.
//! Read next: `postgres.rs` (the one that needs more than a line here).

use std::ops::{Bound, RangeBounds};

use redb::{ReadableDatabase, ReadableTable, TableHandle as _};

use super::postgres::{self, Pg};
use super::rows::Table;

/// Plain bytes on both sides.
type Plain = &'static [u8];

/// Why a database did not do something.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The file's.
    #[error(transparent)]
    Redb(#[from] redb::Error),
    /// The server's.
    #[error(transparent)]
    Postgres(#[from] postgres::PgFault),
    /// What is in it is not what was written.
    #[error("it is damaged: {0}")]
    Corrupted(String),
}

macro_rules! from_redb {
    ($($kind:ident),*) => {
        $(impl From<redb::$kind> for Fault {
            fn from(error: redb::$kind) -> Self {
                Self::Redb(error.into())
            }
        })*
    };
}

from_redb!(StorageError, TableError, TransactionError, CommitError, CompactionError);

/// An open database.
pub enum Database {
    /// One file.
    Redb(redb::Database),
    /// A schema of a server.
    Postgres(Pg),
}

impl Database {
    /// Everything as of the last commit.
    pub fn begin_read(&self) -> Result<Snapshot, Fault> {
        match self {
            Self::Redb(database) => Ok(Snapshot::Redb(database.begin_read()?)),
            Self::Postgres(database) => Ok(Snapshot::Postgres(database.snapshot()?)),
        }
    }

    /// The one transaction that writes.
    pub fn begin_write(&self) -> Result<Transaction, Fault> {
        match self {
            Self::Redb(database) => Ok(Transaction::Redb(Box::new(database.begin_write()?))),
            Self::Postgres(database) => Ok(Transaction::Postgres(database.begin()?)),
        }
    }
}

/// Everything as of one commit.
pub enum Snapshot {
    /// Of a file.
    Redb(redb::ReadTransaction),
    /// Of a server.
    Postgres(postgres::Snapshot),
}

impl Snapshot {
    /// Opens a table; one that is not there is an error.
    pub fn open_table(&self, table: Table) -> Result<Rows<'_>, Fault> {
        match self {
            Self::Redb(read) => Ok(Rows::Redb(read.open_table(table)?)),
            Self::Postgres(read) => Ok(Rows::Postgres(read.view(table.name())?)),
        }
    }

    /// Says which rows of a table will be asked for, once each, so that a distant database is asked once and not for each.
    pub fn expect(&self, table: Table, keys: Vec<Vec<u8>>) -> Result<(), Fault> {
        match self {
            Self::Redb(_) => Ok(()),
            Self::Postgres(read) => Ok(read.expect(table.name(), keys)?),
        }
    }
}

/// A table that is read.
pub enum Rows<'s> {
    /// Of a file.
    Redb(redb::ReadOnlyTable<Plain, Plain>),
    /// Of a server.
    Postgres(postgres::View<'s>),
}

/// The one transaction that writes. Dropped without a commit it leaves nothing.
pub enum Transaction {
    /// Of a file.
    Redb(Box<redb::WriteTransaction>),
    /// Of a server.
    Postgres(postgres::Pending),
}

impl Transaction {
    /// Opens a table, and makes it if it is not there.
    pub fn open_table(&self, table: Table) -> Result<Open<'_>, Fault> {
        match self {
            Self::Redb(write) => Ok(Open::Redb(write.open_table(table)?)),
            Self::Postgres(write) => Ok(Open::Postgres(write.draft(table.name())?)),
        }
    }

    /// Removes a table with everything in it. Returns whether it was there.
    pub fn delete_table(&self, table: Table) -> Result<bool, Fault> {
        match self {
            Self::Redb(write) => Ok(write.delete_table(table)?),
            Self::Postgres(write) => Ok(write.drop_table(table.name())?),
        }
    }

    /// Says which rows will be asked for, so that a distant database is asked once and not for each.
    pub fn expect(&self, wanted: Vec<(Table, Vec<Vec<u8>>)>) -> Result<(), Fault> {
        match self {
            Self::Redb(_) => Ok(()),
            Self::Postgres(write) => {
                let wanted = wanted.into_iter().map(|(table, keys)| (table.name().to_owned(), keys));
                Ok(write.expect(wanted.collect())?)
            }
        }
    }

    /// Brings everything to the database. What fails until here has left nothing.
    pub fn flush(&self) -> Result<(), Fault> {
        match self {
            Self::Redb(_) => Ok(()),
            Self::Postgres(write) => Ok(write.flush()?),
        }
    }

    /// Makes it durable. After an error nobody knows whether it is.
    pub fn commit(self) -> Result<(), Fault> {
        match self {
            Self::Redb(write) => Ok(write.commit()?),
            Self::Postgres(write) => Ok(write.commit()?),
        }
    }
}

/// A table that is written.
pub enum Open<'t> {
    /// Of a file.
    Redb(redb::Table<'t, Plain, Plain>),
    /// Of a server.
    Postgres(postgres::Draft<'t>),
}

impl Open<'_> {
    /// Writes a row, in the place of the one that has this key.
    pub fn insert(&mut self, key: &[u8], value: &[u8]) -> Result<(), Fault> {
        match self {
            Self::Redb(table) => drop(table.insert(key, value)?),
            Self::Postgres(table) => table.put(key, value.to_vec(), false),
        }
        Ok(())
    }

    /// Writes a row whose key no row has.
    pub fn append(&mut self, key: &[u8], value: &[u8]) -> Result<(), Fault> {
        match self {
            Self::Redb(table) => drop(table.insert(key, value)?),
            Self::Postgres(table) => table.put(key, value.to_vec(), true),
        }
        Ok(())
    }

    /// Writes a row of so many bytes whose key no row has, where it will lie.
    pub fn append_with(&mut self, key: &[u8], bytes: usize, fill: impl FnOnce(&mut [u8])) -> Result<(), Fault> {
        match self {
            Self::Redb(table) => fill(table.insert_reserve(key, bytes)?.as_mut()),
            Self::Postgres(table) => {
                let mut value = vec![0; bytes];
                fill(&mut value);
                table.put(key, value, true);
            }
        }
        Ok(())
    }

    /// Removes a row, if it is there.
    pub fn remove(&mut self, key: &[u8]) -> Result<(), Fault> {
        match self {
            Self::Redb(table) => drop(table.remove(key)?),
            Self::Postgres(table) => table.remove(key),
        }
        Ok(())
    }

    /// Removes every row from the first key up to the second, which stays.
    pub fn remove_span(&mut self, start: &[u8], end: &[u8]) -> Result<(), Fault> {
        match self {
            Self::Redb(table) => Ok(table.retain_in(start..end, |_, _| false)?),
            Self::Postgres(table) => Ok(table.remove_span(start, end)?),
        }
    }
}

/// Rows in the order of their keys.
pub trait Sorted {
    /// One row's value.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes<'_>>, Fault>;

    /// Rows whose keys are in a span, from both ends.
    fn range<'k>(&self, span: impl RangeBounds<&'k [u8]>) -> Result<Range<'_>, Fault>;

    /// All rows.
    fn iter(&self) -> Result<Range<'_>, Fault> {
        self.range(..)
    }

    /// The last row.
    fn last(&self) -> Result<Option<(Bytes<'_>, Bytes<'_>)>, Fault> {
        self.iter()?.next_back().transpose()
    }
}

fn bounds<'k>(span: &impl RangeBounds<&'k [u8]>) -> (Bound<&'k [u8]>, Bound<&'k [u8]>) {
    (span.start_bound().cloned(), span.end_bound().cloned())
}

macro_rules! sorted {
    ($table:ident) => {
        impl Sorted for $table<'_> {
            fn get(&self, key: &[u8]) -> Result<Option<Bytes<'_>>, Fault> {
                match self {
                    Self::Redb(table) => Ok(ReadableTable::get(table, key)?.map(Bytes::Page)),
                    Self::Postgres(table) => Ok(table.get(key)?.map(Bytes::Row)),
                }
            }

            fn range<'k>(&self, span: impl RangeBounds<&'k [u8]>) -> Result<Range<'_>, Fault> {
                let span = bounds(&span);
                match self {
                    Self::Redb(table) => Ok(Range::Redb(ReadableTable::range::<&[u8]>(table, span)?)),
                    Self::Postgres(table) => Ok(Range::Postgres(table.span(span))),
                }
            }
        }
    };
}

sorted!(Rows);
sorted!(Open);

/// Bytes of a row.
pub enum Bytes<'a> {
    /// Where they lie.
    Page(redb::AccessGuard<'a, Plain>),
    /// As they came.
    Row(Vec<u8>),
}

impl Bytes<'_> {
    /// Them.
    pub fn value(&self) -> &[u8] {
        match self {
            Self::Page(page) => page.value(),
            Self::Row(bytes) => bytes,
        }
    }
}

/// Rows of a span, from both ends.
pub enum Range<'a> {
    /// Of a file.
    Redb(redb::Range<'a, Plain, Plain>),
    /// Of a server.
    Postgres(postgres::Span<'a>),
}

type Pair<'a> = Result<(Bytes<'a>, Bytes<'a>), Fault>;

fn page<'a>(row: Result<(redb::AccessGuard<'a, Plain>, redb::AccessGuard<'a, Plain>), redb::StorageError>) -> Pair<'a> {
    let (key, value) = row?;
    Ok((Bytes::Page(key), Bytes::Page(value)))
}

fn row<'a>(row: Result<(Vec<u8>, Vec<u8>), postgres::PgFault>) -> Pair<'a> {
    let (key, value) = row?;
    Ok((Bytes::Row(key), Bytes::Row(value)))
}

impl<'a> Iterator for Range<'a> {
    type Item = Pair<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Redb(range) => range.next().map(page),
            Self::Postgres(span) => span.next().map(row),
        }
    }
}

impl DoubleEndedIterator for Range<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        match self {
            Self::Redb(range) => range.next_back().map(page),
            Self::Postgres(span) => span.next_back().map(row),
        }
    }
}

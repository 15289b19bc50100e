//! What writes: changes are gathered here, seen by whoever reads in the same transaction, and brought over at its end.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::pin::pin;
use std::sync::{Arc, PoisonError};

use futures::future::{BoxFuture, try_join_all};
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::Type;

use super::server::{Server, Session};
use super::span::{Fetch, Fetched, Piece, Row, Span, ask, rows, some};
use super::{PgFault, value};
use crate::store::group::COMMIT;

/// New rows from which on a table is copied into: fewer cost less as one statement.
const COPY_ROWS: usize = 16;

const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";

/// A transaction that has not been brought over yet. Dropped before its commit it ends the connection, and the server undoes it.
pub struct Pending {
    server: Arc<Server>,
    session: Arc<Session>,
    has_begun: Cell<bool>,
    is_done: Cell<bool>,
    tables: RefCell<BTreeMap<String, Changes>>,
}

/// What happens to a table.
#[derive(Default)]
struct Changes {
    rows: BTreeMap<Vec<u8>, Change>,
    /// Rows as they are on the server; `None`: there is none.
    known: HashMap<Vec<u8>, Option<Vec<u8>>>,
}

struct Change {
    /// `None`: it is removed.
    value: Option<Vec<u8>>,
    /// The server has no row with this key.
    is_new: bool,
}

impl Pending {
    pub(super) fn begin(server: Arc<Server>) -> Result<Self, PgFault> {
        Ok(Self {
            session: server.writer()?,
            server,
            has_begun: Cell::new(false),
            is_done: Cell::new(false),
            tables: RefCell::default(),
        })
    }

    fn ask<T, W, F>(&self, work: W) -> Result<T, PgFault>
    where
        T: Send + 'static,
        W: FnOnce(Arc<Session>) -> F,
        F: Future<Output = Result<T, tokio_postgres::Error>> + Send + 'static,
    {
        ask(&self.server, &self.session, (&self.has_begun, BEGIN), work)
    }

    fn is_there(&self, table: &str) -> bool {
        let tables = self.server.tables.lock().unwrap_or_else(PoisonError::into_inner);
        tables.contains(table)
    }

    /// A table to write to, made if it is not there.
    pub fn draft(&self, table: &str) -> Result<Draft<'_>, PgFault> {
        let sql_name = self.server.sql_name(table);
        if !self.is_there(table) {
            // Values are not worth compressing: segments are packed, documents are small.
            let text = format!(
                "CREATE TABLE {sql_name} (k bytea PRIMARY KEY, v bytea NOT NULL); \
                 ALTER TABLE {sql_name} ALTER COLUMN v SET STORAGE EXTERNAL"
            );
            self.ask(|session| async move { session.client.batch_execute(&text).await })?;
            let mut tables = self.server.tables.lock().unwrap_or_else(PoisonError::into_inner);
            tables.insert(table.to_owned());
        }
        self.tables.borrow_mut().entry(table.to_owned()).or_default();
        Ok(Draft {
            pending: self,
            table: table.to_owned(),
            sql_name,
        })
    }

    /// Removes a table. Returns whether it was there.
    pub fn drop_table(&self, table: &str) -> Result<bool, PgFault> {
        if !self.is_there(table) {
            return Ok(false);
        }
        let text = format!("DROP TABLE {}", self.server.sql_name(table));
        self.ask(|session| async move { session.client.batch_execute(&text).await })?;
        self.tables.borrow_mut().remove(table);
        let mut tables = self.server.tables.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(tables.remove(table))
    }

    /// Reads rows that will be asked for, all at once.
    pub fn expect(&self, wanted: Vec<(String, Vec<Vec<u8>>)>) -> Result<(), PgFault> {
        let is_wanted = |(table, keys): &(String, Vec<Vec<u8>>)| !keys.is_empty() && self.is_there(table);
        let wanted: Vec<_> = wanted.into_iter().filter(is_wanted).collect();
        let mut questions = Vec::new();
        for (table, keys) in &wanted {
            questions.push((self.server.sql_name(table), keys.clone()));
        }
        let found = self.ask(|session| async move {
            let ask = |(table, keys): (String, Vec<Vec<u8>>)| {
                let session = Arc::clone(&session);
                async move { some(&session, &table, &keys).await }
            };
            try_join_all(questions.into_iter().map(ask)).await
        })?;
        let mut tables = self.tables.borrow_mut();
        for ((table, keys), rows) in wanted.into_iter().zip(found) {
            let known = &mut tables.entry(table).or_default().known;
            known.extend(keys.into_iter().map(|key| (key, None)));
            known.extend(rows.into_iter().map(|(key, value)| (key, Some(value))));
        }
        Ok(())
    }

    /// Brings the changes to the server, where they are seen by nobody yet.
    pub fn flush(&self) -> Result<(), PgFault> {
        let tables = std::mem::take(&mut *self.tables.borrow_mut());
        let mut work: Vec<BoxFuture<'static, Result<bool, tokio_postgres::Error>>> = Vec::new();
        for (table, changes) in tables {
            let sql_name = self.server.sql_name(&table);
            let mut rows = changes.rows;
            if table == "meta"
                && let Some(Change {
                    value: Some(commit), ..
                }) = rows.remove(COMMIT.as_bytes())
            {
                let known = self.begin_commit(&commit);
                let (session, sql_name) = (Arc::clone(&self.session), sql_name.clone());
                work.push(Box::pin(
                    async move { number(&session, &sql_name, known, commit).await },
                ));
            }
            let (mut fresh, mut put, mut removed) = (Vec::new(), (Vec::new(), Vec::new()), Vec::new());
            for (key, change) in rows {
                match (change.value, change.is_new) {
                    (Some(value), true) => fresh.push((key, value)),
                    (Some(value), false) => {
                        put.0.push(key);
                        put.1.push(value);
                    }
                    (None, true) => {}
                    (None, false) => removed.push(key),
                }
            }
            let (session, name) = (Arc::clone(&self.session), sql_name.clone());
            if fresh.len() >= COPY_ROWS {
                work.push(Box::pin(
                    async move { copy(&session, &name, fresh).await.map(|()| true) },
                ));
            } else if !fresh.is_empty() {
                let text = format!("INSERT INTO {name} (k, v) SELECT * FROM unnest($1::bytea[], $2::bytea[])");
                let (keys, values): (Vec<_>, Vec<_>) = fresh.into_iter().unzip();
                work.push(Box::pin(
                    async move { write(&session, &text, keys, Some(values)).await },
                ));
            }
            let (session, name) = (Arc::clone(&self.session), sql_name);
            if !put.0.is_empty() {
                let text = format!(
                    "INSERT INTO {name} (k, v) SELECT * FROM unnest($1::bytea[], $2::bytea[]) ON CONFLICT (k) DO UPDATE SET v = excluded.v"
                );
                let session = Arc::clone(&session);
                work.push(Box::pin(
                    async move { write(&session, &text, put.0, Some(put.1)).await },
                ));
            }
            if !removed.is_empty() {
                let text = format!("DELETE FROM {name} WHERE k = ANY($1)");
                work.push(Box::pin(async move { write(&session, &text, removed, None).await }));
            }
        }
        let done = self.ask(|_| try_join_all(work))?;
        match done.iter().all(|is_done| *is_done) {
            true => Ok(()),
            false => Err(PgFault::Overtaken),
        }
    }

    /// Remembers which commit is tried. Returns the row that it follows.
    fn begin_commit(&self, commit: &[u8]) -> Option<Vec<u8>> {
        let mut commits = self.server.commits.lock().unwrap_or_else(PoisonError::into_inner);
        commits.tried = Some(commit.to_vec());
        commits.known.clone()
    }

    /// Makes it durable. After an error nobody knows whether it is.
    pub fn commit(self) -> Result<(), PgFault> {
        self.ask(|session| async move { session.client.batch_execute("COMMIT").await })?;
        self.is_done.set(true);
        let mut commits = self.server.commits.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tried) = commits.tried.take() {
            commits.known = Some(tried);
        }
        Ok(())
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if self.has_begun.get() && !self.is_done.get() {
            self.server.abandon();
        }
    }
}

/// Replaces the row of the last commit. Returns whether it was the expected one.
async fn number(
    session: &Session,
    table: &str,
    known: Option<Vec<u8>>,
    commit: Vec<u8>,
) -> Result<bool, tokio_postgres::Error> {
    let key = COMMIT.as_bytes();
    let written = match known {
        Some(known) => {
            let text = format!("UPDATE {table} SET v = $3 WHERE k = $1 AND v = $2");
            let statement = session.prepared(&text).await?;
            session.client.execute(&statement, &[&key, &known, &commit]).await?
        }
        None => {
            let text = format!("INSERT INTO {table} (k, v) VALUES ($1, $2) ON CONFLICT DO NOTHING");
            let statement = session.prepared(&text).await?;
            session.client.execute(&statement, &[&key, &commit]).await?
        }
    };
    Ok(written == 1)
}

async fn write(
    session: &Session,
    text: &str,
    keys: Vec<Vec<u8>>,
    values: Option<Vec<Vec<u8>>>,
) -> Result<bool, tokio_postgres::Error> {
    let statement = session.prepared(text).await?;
    match values {
        Some(values) => session.client.execute(&statement, &[&keys, &values]).await?,
        None => session.client.execute(&statement, &[&keys]).await?,
    };
    Ok(true)
}

/// Rows that no other one is in the way of.
async fn copy(session: &Session, table: &str, rows: Vec<Row>) -> Result<(), tokio_postgres::Error> {
    let text = format!("COPY {table} (k, v) FROM STDIN (FORMAT BINARY)");
    let statement = session.prepared(&text).await?;
    let sink = session.client.copy_in(&statement).await?;
    let mut writer = pin!(BinaryCopyInWriter::new(sink, &[Type::BYTEA, Type::BYTEA]));
    for (key, value) in &rows {
        writer.as_mut().write(&[key, value]).await?;
    }
    writer.finish().await.map(drop)
}

/// A table in a transaction.
pub struct Draft<'t> {
    pending: &'t Pending,
    table: String,
    sql_name: String,
}

impl Draft<'_> {
    fn with<T>(&self, look: impl FnOnce(&mut Changes) -> T) -> T {
        let mut tables = self.pending.tables.borrow_mut();
        look(tables.entry(self.table.clone()).or_default())
    }

    /// Writes a row. `is_new`: no row has this key.
    pub fn put(&mut self, key: &[u8], value: Vec<u8>, is_new: bool) {
        self.with(|changes| {
            // What was on the server before is still there until this is brought over.
            let is_new = match changes.rows.get(key) {
                Some(before) => before.is_new,
                None => is_new,
            };
            let value = Some(value);
            changes.rows.insert(key.to_vec(), Change { value, is_new });
        });
    }

    /// Removes a row, if it is there.
    pub fn remove(&mut self, key: &[u8]) {
        self.with(|changes| {
            let is_new = changes.rows.get(key).is_some_and(|before| before.is_new);
            changes.rows.insert(key.to_vec(), Change { value: None, is_new });
        });
    }

    /// Removes rows of a span.
    pub fn remove_span(&mut self, start: &[u8], end: &[u8]) -> Result<(), PgFault> {
        let span = self.span((Bound::Included(start), Bound::Excluded(end)));
        let keys: Result<Vec<Vec<u8>>, PgFault> = span.map(|row| row.map(|(key, _)| key)).collect();
        for key in keys? {
            self.remove(&key);
        }
        Ok(())
    }

    /// One row's value.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, PgFault> {
        let found = self.with(|changes| match changes.rows.get(key) {
            Some(change) => Some(change.value.clone()),
            None => changes.known.get(key).cloned(),
        });
        if let Some(found) = found {
            return Ok(found);
        }
        let (table, wanted) = (self.sql_name.clone(), key.to_vec());
        let found = self
            .pending
            .ask(|session| async move { value(&session, &table, wanted).await })?;
        self.with(|changes| changes.known.insert(key.to_vec(), found.clone()));
        Ok(found)
    }

    /// Rows of a span.
    pub fn span(&self, (start, end): (Bound<&[u8]>, Bound<&[u8]>)) -> Span<'_> {
        Span::new(self, start, end)
    }
}

impl Fetch for Draft<'_> {
    fn fetch(&self, piece: Piece) -> Result<Fetched, PgFault> {
        let (table, asked) = (self.sql_name.clone(), piece.clone());
        let there = self
            .pending
            .ask(|session| async move { rows(&session, &table, asked).await })?;
        let there = Fetched::of(there, piece.limit);
        Ok(self.with(|changes| merge(there, &changes.rows, &piece)))
    }
}

/// What a transaction sees: rows of the server with its changes, as far as the server's rows reach.
fn merge(there: Fetched, changes: &BTreeMap<Vec<u8>, Change>, piece: &Piece) -> Fetched {
    let Fetched { rows, reached } = there;
    let start = match (&reached, piece.is_back) {
        (Some(reached), true) => Bound::Included(reached.as_slice()),
        _ => Bound::Included(piece.start.as_slice()),
    };
    let end = match (&reached, piece.is_back, &piece.end) {
        (Some(reached), false, _) => Bound::Included(reached.as_slice()),
        (_, _, Some(end)) => Bound::Excluded(end.as_slice()),
        (_, _, None) => Bound::Unbounded,
    };
    let mut merged: BTreeMap<Vec<u8>, Vec<u8>> = rows.into_iter().collect();
    let is_empty = piece.end.as_ref().is_some_and(|end| *end <= piece.start);
    if !is_empty {
        for (key, change) in changes.range::<[u8], _>((start, end)) {
            match &change.value {
                Some(value) => drop(merged.insert(key.clone(), value.clone())),
                None => drop(merged.remove(key)),
            }
        }
    }
    let rows: Vec<Row> = match piece.is_back {
        true => merged.into_iter().rev().collect(),
        false => merged.into_iter().collect(),
    };
    Fetched { rows, reached }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(letter: char) -> Vec<u8> {
        letter.to_string().into_bytes()
    }

    /// Letters of a merge: `rows` are the server's, upper case is written, `-` in front is removed.
    fn merged(rows: &str, reached: Option<char>, changes: &str, (start, end, is_back): (char, char, bool)) -> String {
        let there = Fetched {
            rows: rows.chars().map(|letter| (key(letter), key(letter))).collect(),
            reached: reached.map(key),
        };
        let mut map = BTreeMap::new();
        let mut is_removal = false;
        for letter in changes.chars() {
            if letter == '-' {
                is_removal = true;
                continue;
            }
            let value = (!is_removal).then(|| key(letter.to_ascii_uppercase()));
            map.insert(key(letter), Change { value, is_new: false });
            is_removal = false;
        }
        let piece = Piece {
            start: key(start),
            end: Some(key(end)),
            is_back,
            limit: 3,
        };
        let found = merge(there, &map, &piece);
        found.rows.iter().map(|(_, value)| char::from(value[0])).collect()
    }

    #[test]
    fn a_transaction_sees_its_own_changes_and_no_row_too_early() {
        assert_eq!(merged("ace", None, "bf", ('a', 'z', false)), "aBceF");
        assert_eq!(
            merged("ace", Some('e'), "bf", ('a', 'z', false)),
            "aBce",
            "f may follow what was not fetched"
        );
        assert_eq!(merged("ace", None, "-cb", ('a', 'z', false)), "aBe");
        assert_eq!(merged("zyx", Some('x'), "bw-y", ('a', '{', true)), "zx");
        assert_eq!(merged("zyx", None, "bw-y", ('a', '{', true)), "zxWB");
        assert_eq!(
            merged("", None, "m", ('p', 'c', false)),
            "",
            "an empty span has nothing"
        );
        assert_eq!(merged("c", None, "c", ('a', 'z', false)), "C");
    }
}

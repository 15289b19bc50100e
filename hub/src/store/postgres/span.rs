//! What reads: everything as of one commit, and rows in the order of their keys, fetched in growing pieces.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::ops::Bound;
use std::sync::{Arc, PoisonError};

use super::server::{Server, Session};
use super::{PgFault, value};

/// The first piece of rows that are read from their end: mostly the last row is all that is wanted.
const FIRST_BACK: i64 = 1;
/// The first piece of rows that are read from their beginning.
const FIRST: i64 = 4;
/// The longest piece: 128 of the longest segments are 8 MiB.
const LONGEST: i64 = 128;
/// How much longer each piece is than the one before.
const GROWTH: i64 = 4;

const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// A key and its value.
pub type Row = (Vec<u8>, Vec<u8>);

/// Everything as of one commit. Its connection goes back when it is dropped.
pub struct Snapshot {
    server: Arc<Server>,
    session: Arc<Session>,
    has_begun: Cell<bool>,
    has_failed: Cell<bool>,
    /// Rows that were fetched ahead, by the table's SQL name and key; `None`: there is none.
    ahead: RefCell<Ahead>,
}

type Ahead = HashMap<(String, Vec<u8>), Option<Vec<u8>>>;

impl Snapshot {
    pub(super) fn begin(server: Arc<Server>) -> Result<Self, PgFault> {
        Ok(Self {
            session: server.reader()?,
            server,
            has_begun: Cell::new(false),
            has_failed: Cell::new(false),
            ahead: RefCell::default(),
        })
    }

    /// Fetches rows that will be asked for, all at once.
    pub fn expect(&self, table: &str, keys: Vec<Vec<u8>>) -> Result<(), PgFault> {
        if keys.is_empty() {
            return Ok(());
        }
        let name = self.view(table)?.table;
        let (asked, wanted) = (name.clone(), keys.clone());
        let found = self.ask(|session| async move { some(&session, &asked, &wanted).await })?;
        let mut ahead = self.ahead.borrow_mut();
        ahead.extend(keys.into_iter().map(|key| ((name.clone(), key), None)));
        ahead.extend(found.into_iter().map(|(key, value)| ((name.clone(), key), Some(value))));
        Ok(())
    }

    /// A table.
    pub fn view(&self, table: &str) -> Result<View<'_>, PgFault> {
        let tables = self.server.tables.lock().unwrap_or_else(PoisonError::into_inner);
        if !tables.contains(table) {
            return Err(PgFault::Missing(table.to_owned()));
        }
        Ok(View {
            snapshot: self,
            table: self.server.sql_name(table),
        })
    }

    /// Asks something in this transaction, which begins with the first question.
    fn ask<T, W, F>(&self, work: W) -> Result<T, PgFault>
    where
        T: Send + 'static,
        W: FnOnce(Arc<Session>) -> F,
        F: Future<Output = Result<T, tokio_postgres::Error>> + Send + 'static,
    {
        let result = ask(&self.server, &self.session, (&self.has_begun, BEGIN), work);
        self.has_failed.set(self.has_failed.get() || result.is_err());
        result
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        let (server, session) = (Arc::downgrade(&self.server), Arc::clone(&self.session));
        if self.has_failed.get() {
            return;
        }
        if !self.has_begun.get() {
            return self.server.give_back(session);
        }
        self.server.later(async move {
            let ended = session.client.batch_execute("COMMIT").await;
            if let (Ok(()), Some(server)) = (ended, server.upgrade()) {
                server.give_back(session);
            }
        });
    }
}

/// Asks something in a transaction; the words that begin it go ahead of the first question without waiting for their answer.
pub(super) fn ask<T, W, F>(
    server: &Server,
    session: &Arc<Session>,
    (has_begun, begin): (&Cell<bool>, &'static str),
    work: W,
) -> Result<T, PgFault>
where
    T: Send + 'static,
    W: FnOnce(Arc<Session>) -> F,
    F: Future<Output = Result<T, tokio_postgres::Error>> + Send + 'static,
{
    let work = work(Arc::clone(session));
    if has_begun.replace(true) {
        return server.wait(work);
    }
    let session = Arc::clone(session);
    server.wait(async move {
        let (begun, result) = tokio::join!(biased; session.client.batch_execute(begin), work);
        begun?;
        result
    })
}

/// A table as of one commit.
pub struct View<'s> {
    snapshot: &'s Snapshot,
    table: String,
}

impl View<'_> {
    /// One row's value.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, PgFault> {
        let place = (self.table.clone(), key.to_vec());
        let found = self.snapshot.ahead.borrow_mut().remove(&place);
        if let Some(found) = found {
            return Ok(found);
        }
        let (table, key) = place;
        self.snapshot
            .ask(|session| async move { value(&session, &table, key).await })
    }

    /// Rows of a span.
    pub fn span(&self, (start, end): (Bound<&[u8]>, Bound<&[u8]>)) -> Span<'_> {
        Span::new(self, start, end)
    }
}

impl Fetch for View<'_> {
    fn fetch(&self, piece: Piece) -> Result<Fetched, PgFault> {
        let table = self.table.clone();
        let limit = piece.limit;
        let rows = self
            .snapshot
            .ask(|session| async move { rows(&session, &table, piece).await })?;
        Ok(Fetched::of(rows, limit))
    }
}

/// Which rows are wanted.
#[derive(Debug, Clone)]
pub struct Piece {
    /// The first key that may be among them.
    pub start: Vec<u8>,
    /// The first key behind them.
    pub end: Option<Vec<u8>>,
    /// From the end.
    pub is_back: bool,
    /// How many.
    pub limit: i64,
}

/// Rows that were fetched, in the order in which they are wanted.
#[derive(Debug)]
pub struct Fetched {
    /// Them.
    pub rows: Vec<Row>,
    /// The last key that was looked at; `None`: there are no more.
    pub reached: Option<Vec<u8>>,
}

impl Fetched {
    /// Of as many as were asked for, there may be more.
    pub fn of(rows: Vec<Row>, limit: i64) -> Self {
        let is_full = i64::try_from(rows.len()).unwrap_or(i64::MAX) >= limit;
        let reached = rows.last().filter(|_| is_full).map(|(key, _)| key.clone());
        Self { rows, reached }
    }
}

/// Whatever has rows in order.
pub trait Fetch {
    /// Some of them.
    fn fetch(&self, piece: Piece) -> Result<Fetched, PgFault>;
}

/// Asks the server for those rows of a table that are there.
pub async fn some(session: &Session, table: &str, keys: &[Vec<u8>]) -> Result<Vec<Row>, tokio_postgres::Error> {
    let text = format!("SELECT k, v FROM {table} WHERE k = ANY($1)");
    let statement = session.prepared(&text).await?;
    let rows = session.client.query(&statement, &[&keys]).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// Asks the server for rows of a table.
pub async fn rows(session: &Session, table: &str, piece: Piece) -> Result<Vec<Row>, tokio_postgres::Error> {
    let order = if piece.is_back { " DESC" } else { "" };
    let rows = match &piece.end {
        Some(end) => {
            let text = format!("SELECT k, v FROM {table} WHERE k >= $1 AND k < $2 ORDER BY k{order} LIMIT $3");
            let statement = session.prepared(&text).await?;
            session
                .client
                .query(&statement, &[&piece.start, end, &piece.limit])
                .await?
        }
        None => {
            let text = format!("SELECT k, v FROM {table} WHERE k >= $1 ORDER BY k{order} LIMIT $2");
            let statement = session.prepared(&text).await?;
            session.client.query(&statement, &[&piece.start, &piece.limit]).await?
        }
    };
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// The first key after this one.
fn after(mut key: Vec<u8>) -> Vec<u8> {
    key.push(0);
    key
}

/// Rows of a span, from both ends.
pub struct Span<'a> {
    source: &'a dyn Fetch,
    start: Vec<u8>,
    end: Option<Vec<u8>>,
    front: VecDeque<Row>,
    back: VecDeque<Row>,
    is_whole: bool,
    pieces: u32,
}

impl<'a> Span<'a> {
    pub(super) fn new(source: &'a dyn Fetch, start: Bound<&[u8]>, end: Bound<&[u8]>) -> Self {
        Self {
            source,
            start: match start {
                Bound::Included(key) => key.to_vec(),
                Bound::Excluded(key) => after(key.to_vec()),
                Bound::Unbounded => Vec::new(),
            },
            end: match end {
                Bound::Included(key) => Some(after(key.to_vec())),
                Bound::Excluded(key) => Some(key.to_vec()),
                Bound::Unbounded => None,
            },
            front: VecDeque::new(),
            back: VecDeque::new(),
            is_whole: false,
            pieces: 0,
        }
    }

    fn fetch(&mut self, is_back: bool) -> Result<(), PgFault> {
        let first = if is_back { FIRST_BACK } else { FIRST };
        let limit = first.saturating_mul(GROWTH.saturating_pow(self.pieces)).min(LONGEST);
        self.pieces += 1;
        let piece = Piece {
            start: self.start.clone(),
            end: self.end.clone(),
            is_back,
            limit,
        };
        let fetched = self.source.fetch(piece)?;
        match (fetched.reached, is_back) {
            (None, _) => self.is_whole = true,
            (Some(reached), true) => self.end = Some(reached),
            (Some(reached), false) => self.start = after(reached),
        }
        let rows = fetched.rows;
        match is_back {
            true => self.back.extend(rows),
            false => self.front.extend(rows),
        }
        Ok(())
    }

    fn pull(&mut self, is_back: bool) -> Option<Result<Row, PgFault>> {
        loop {
            let own = if is_back { &mut self.back } else { &mut self.front };
            if let Some(row) = own.pop_front() {
                return Some(Ok(row));
            }
            if self.is_whole {
                // What the other end has fetched and not taken, from its far side.
                let other = if is_back { &mut self.front } else { &mut self.back };
                return other.pop_back().map(Ok);
            }
            if let Err(error) = self.fetch(is_back) {
                self.is_whole = true;
                return Some(Err(error));
            }
        }
    }
}

impl Iterator for Span<'_> {
    type Item = Result<Row, PgFault>;

    fn next(&mut self) -> Option<Self::Item> {
        self.pull(false)
    }
}

impl DoubleEndedIterator for Span<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.pull(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Letters;

    impl Fetch for Letters {
        fn fetch(&self, piece: Piece) -> Result<Fetched, PgFault> {
            let in_span = |key: &u8| {
                let key = &[*key][..];
                key >= &piece.start[..] && piece.end.as_ref().is_none_or(|end| key < &end[..])
            };
            let mut keys: Vec<u8> = (b'a'..=b'z').filter(in_span).collect();
            if piece.is_back {
                keys.reverse();
            }
            let limit = usize::try_from(piece.limit).expect("small");
            let rows = keys.into_iter().take(limit).map(|key| (vec![key], Vec::new()));
            Ok(Fetched::of(rows.collect(), piece.limit))
        }
    }

    fn letters(rows: impl Iterator<Item = Result<Row, PgFault>>) -> String {
        rows.map(|row| char::from(row.expect("a letter").0[0])).collect()
    }

    #[test]
    fn rows_come_in_order_from_either_end_and_each_once() {
        let all = || Span::new(&Letters, Bound::Unbounded, Bound::Unbounded);
        let alphabet: String = ('a'..='z').collect();
        assert_eq!(letters(all()), alphabet);
        assert_eq!(letters(all().rev()), alphabet.chars().rev().collect::<String>());
        let some = Span::new(&Letters, Bound::Excluded(b"c"), Bound::Included(b"f"));
        assert_eq!(letters(some), "def");
        let none = Span::new(&Letters, Bound::Included(b"f"), Bound::Excluded(b"f"));
        assert_eq!(letters(none), "");
        for front in 0..=26 {
            let mut both = all();
            let first = letters(both.by_ref().take(front));
            let rest = letters(both.rev());
            let back: String = rest.chars().rev().collect();
            assert_eq!(format!("{first}{back}"), alphabet, "{front} from the front");
        }
    }
}

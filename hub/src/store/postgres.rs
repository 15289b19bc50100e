//! The store in a schema of a PostgreSQL: the same tables of bytes as in the file, one connection that writes, and a few that read.
//!
//! Decides nothing about rows. A transaction gathers its changes here and brings them over at its end, in a few statements for each
//! table, so that a distant server costs a commit some round trips and not some for each row.
//!
//! Invariants: each commit replaces the row of the commit before it, and only that one, so that a hub that another one has followed
//! writes nothing any more; a commit whose answer was lost is looked up under the store's lock, which is free only once the server is
//! done with it.
//! Read next: `postgres/server.rs` (connections, the lock), `postgres/pending.rs` (what writes), `postgres/span.rs` (rows in order).

mod address;
mod pending;
mod server;
mod span;
mod tls;

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

pub use self::address::PostgresAddress;
pub use self::pending::{Draft, Pending};
use self::server::{Server, Session};
pub use self::span::{Snapshot, Span, View};
pub use self::tls::TlsError;
use super::group::COMMIT;

/// How often the server is asked how much room the tables take.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Why a PostgreSQL did not do something.
#[derive(Debug, thiserror::Error)]
pub enum PgFault {
    /// It said so, or the connection broke.
    #[error(transparent)]
    Postgres(#[from] tokio_postgres::Error),
    /// It says nothing.
    #[error("it has not answered for {0:?}")]
    Late(Duration),
    /// There is no connection.
    #[error("there is no connection to it")]
    Closed,
    /// Another session has the store's lock.
    #[error("another hub has its lock")]
    Locked,
    /// Another hub has written since.
    #[error("another hub has written to it, or it was set back to an older state: start this hub again")]
    Overtaken,
    /// A table is missing.
    #[error("its table `{0}` is missing")]
    Missing(String),
    /// There is no password for it.
    #[error("there is no password for it: {0}")]
    Password(String),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The system gives no thread for it.
    #[error("cannot start the thread of its connections")]
    Thread(#[source] std::io::Error),
}

/// A schema of a server.
#[derive(Clone)]
pub struct Pg(Arc<Server>);

impl Pg {
    /// Connects, takes the store's lock, and makes the schema if it is not there. Blocks.
    pub fn open(address: PostgresAddress) -> Result<Self, PgFault> {
        let server = Arc::new(Server::new(address)?);
        server.take_over()?;
        let pg = Self(server);
        pg.make_schema()?;
        let known = pg.look()?;
        pg.commits().known = known;
        Ok(pg)
    }

    /// Connects again after a fault. Fails if the last commit is neither the one that this process knows nor the one that it tried last.
    pub fn reopen(&self) -> Result<Self, PgFault> {
        self.0.take_over()?;
        let found = self.look()?;
        let mut commits = self.commits();
        if found != commits.known && found != commits.tried {
            drop(commits);
            self.0.abandon();
            return Err(PgFault::Overtaken);
        }
        commits.known = found;
        commits.tried = None;
        drop(commits);
        Ok(self.clone())
    }

    /// Whether it holds nothing yet.
    pub fn is_empty(&self) -> bool {
        self.0.tables.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Whether the connection that writes is there.
    pub fn is_connected(&self) -> bool {
        self.0.writer().is_ok()
    }

    /// As people may see it.
    pub fn place(&self) -> String {
        self.0.place()
    }

    /// Everything as of the last commit.
    pub fn snapshot(&self) -> Result<Snapshot, PgFault> {
        Snapshot::begin(Arc::clone(&self.0))
    }

    /// The one transaction that writes.
    pub fn begin(&self) -> Result<Pending, PgFault> {
        Pending::begin(Arc::clone(&self.0))
    }

    /// Ends the connection that writes; readers go on.
    pub fn abandon(&self) {
        self.0.abandon();
    }

    /// Ends every connection.
    pub fn close(&self) {
        self.0.close();
    }

    /// Bytes of all tables with what belongs to them, as of the last minute; while the server does not answer as it was then.
    pub fn bytes(&self) -> u64 {
        let mut seen = self.0.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let is_old = seen.0.is_none_or(|at| at.elapsed() >= LOOK_EVERY);
        if is_old && self.is_connected() {
            seen.0 = Some(Instant::now());
            seen.1 = self.measure().unwrap_or(seen.1);
        }
        seen.1
    }

    fn measure(&self) -> Result<u64, PgFault> {
        let (session, schema) = (self.0.reader()?, self.0.schema().to_owned());
        let asked = Arc::clone(&session);
        let bytes = self.0.wait(async move {
            let text = "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::int8 FROM pg_class c \
                        JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relkind = 'r'";
            let statement = asked.prepared(text).await?;
            let row = asked.client.query_one(&statement, &[&schema]).await?;
            Ok(row.get::<_, i64>(0))
        })?;
        self.0.give_back(session);
        Ok(u64::try_from(bytes).unwrap_or(0))
    }

    fn commits(&self) -> std::sync::MutexGuard<'_, server::Commits> {
        self.0.commits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn make_schema(&self) -> Result<(), PgFault> {
        let (session, schema) = (self.0.writer()?, self.0.schema().to_owned());
        self.0.wait(async move {
            // Not `IF NOT EXISTS` alone: that asks for the right to make schemas where one is there already.
            let text = "SELECT 1 FROM pg_namespace WHERE nspname = $1";
            if session.client.query_opt(text, &[&schema]).await?.is_none() {
                let text = format!("CREATE SCHEMA IF NOT EXISTS \"{schema}\"");
                session.client.batch_execute(&text).await?;
            }
            Ok(())
        })
    }

    /// Reads which tables there are, and the row of the last commit.
    fn look(&self) -> Result<Option<Vec<u8>>, PgFault> {
        let (session, schema) = (self.0.writer()?, self.0.schema().to_owned());
        let meta = self.0.sql_name("meta");
        let (tables, commit) = self.0.wait(async move {
            let text = "SELECT tablename::text FROM pg_tables WHERE schemaname = $1";
            let rows = session.client.query(text, &[&schema]).await?;
            let tables: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
            let commit = match tables.iter().any(|table| table == "meta") {
                true => value(&session, &meta, COMMIT.as_bytes().to_vec()).await?,
                false => None,
            };
            Ok((tables, commit))
        })?;
        let names = tables.into_iter().map(|table| table.replace('_', "-"));
        *self.0.tables.lock().unwrap_or_else(PoisonError::into_inner) = names.collect();
        Ok(commit)
    }
}

/// One row's value.
async fn value(session: &Session, table: &str, key: Vec<u8>) -> Result<Option<Vec<u8>>, tokio_postgres::Error> {
    let statement = session.prepared(&format!("SELECT v FROM {table} WHERE k = $1")).await?;
    let row = session.client.query_opt(&statement, &[&key]).await?;
    Ok(row.map(|row| row.get(0)))
}

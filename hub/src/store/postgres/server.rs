//! Connections to the server: one that writes and holds the store's lock, and a few that read.
//!
//! Everything here may be called from any thread: the connections live on a thread of their own, and whoever asks waits for the answer.
//!
//! Invariant: whoever writes holds the session's advisory lock. It is free only once the session that held it has ended on the server,
//! so a connection that is made after one broke reads what became of its last commit, and not what is still becoming of it.
//!
//! Source: PostgreSQL's manual, "Explicit Locking", section "Advisory Locks".

use std::collections::{BTreeSet, HashMap};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Handle, Runtime};
use tokio_postgres::Statement;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::PgFault;
use super::address::PostgresAddress;
use super::tls::connector;

/// Longest time to a connection; the next attempt is a second later.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// Longest time to an answer: more than a server under load takes, less than people wait.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// How long a network may swallow what is sent before the connection counts as broken.
const SILENT_FOR: Duration = Duration::from_secs(15);
/// How long a new process waits for the lock of one that was killed: its server process notices within moments.
const LOCK_WITHIN: Duration = Duration::from_secs(5);
/// Every question is one for a key or a span of keys: the server need not think each time, nor of other ways than the index.
const PLANS: &str = "SET client_min_messages = warning; SET jit = off; SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan";
/// Time between two attempts at the lock.
const LOCK_AGAIN: Duration = Duration::from_millis(100);
/// Readers that are kept open: more at once are made and closed again.
const IDLE_READERS: usize = 8;

/// One connection, and what it has prepared.
pub struct Session {
    pub(super) client: tokio_postgres::Client,
    statements: Mutex<HashMap<String, Statement>>,
}

impl Session {
    /// A statement, prepared once for each connection.
    pub async fn prepared(&self, text: &str) -> Result<Statement, tokio_postgres::Error> {
        let known = held(&self.statements).get(text).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let statement = self.client.prepare(text).await?;
        held(&self.statements).insert(text.to_owned(), statement.clone());
        Ok(statement)
    }
}

/// Which process of the server serves a session: its number, and since when, because numbers come again.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Backend {
    pid: i32,
    since: String,
}

/// A server and a schema of it.
pub struct Server {
    runtime: Option<Runtime>,
    handle: Handle,
    address: PostgresAddress,
    tls: MakeRustlsConnect,
    idle: Mutex<Vec<Arc<Session>>>,
    writer: Mutex<Option<Arc<Session>>>,
    /// Who served the last session that wrote.
    backend: Mutex<Option<Backend>>,
    /// Bytes of all tables, and when that was asked.
    pub(super) bytes: Mutex<(Option<Instant>, u64)>,
    /// Tables that are there.
    pub(super) tables: Mutex<BTreeSet<String>>,
    /// The row of the last commit that this process knows of, and that of the one that it tried after it.
    pub(super) commits: Mutex<Commits>,
}

/// Rows of the last commits, sealed.
#[derive(Debug, Default)]
pub struct Commits {
    /// Known to be durable; `None` before the first one.
    pub known: Option<Vec<u8>>,
    /// Its answer is not there yet.
    pub tried: Option<Vec<u8>>,
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Server {
    /// Knows how to connect; does not yet.
    pub fn new(address: PostgresAddress) -> Result<Self, PgFault> {
        let tls = connector(&address)?;
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("store-postgres")
            .enable_all()
            .build()
            .map_err(PgFault::Thread)?;
        let mut address = address;
        let config = &mut address.config;
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_WITHIN);
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(SILENT_FOR);
        }
        config.keepalives_idle(SILENT_FOR).keepalives_interval(CONNECT_WITHIN);
        Ok(Self {
            handle: runtime.handle().clone(),
            runtime: Some(runtime),
            address,
            tls,
            idle: Mutex::default(),
            writer: Mutex::default(),
            backend: Mutex::default(),
            bytes: Mutex::default(),
            tables: Mutex::default(),
            commits: Mutex::default(),
        })
    }

    /// As people may see it.
    pub fn place(&self) -> String {
        self.address.place()
    }

    /// Its schema.
    pub fn schema(&self) -> &str {
        &self.address.schema
    }

    /// A table as SQL names it. Neither name holds a character that would need escaping.
    pub fn sql_name(&self, table: &str) -> String {
        format!("\"{}\".\"{}\"", self.schema(), table.replace('-', "_"))
    }

    /// Waits for what is to be done on the connections' own thread.
    pub fn wait<T, F>(&self, work: F) -> Result<T, PgFault>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, tokio_postgres::Error>> + Send + 'static,
    {
        let (answer, told) = std::sync::mpsc::sync_channel(1);
        self.handle.spawn(async move {
            // Whoever asked waits below.
            let _ = answer.send(tokio::time::timeout(ANSWER_WITHIN, work).await);
        });
        match told.recv() {
            Ok(Ok(result)) => Ok(result?),
            Ok(Err(_)) => Err(PgFault::Late(ANSWER_WITHIN)),
            Err(_) => Err(PgFault::Closed),
        }
    }

    /// Does something that nobody waits for.
    pub fn later(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.handle.spawn(work);
    }

    fn connect(&self) -> Result<Arc<Session>, PgFault> {
        let (mut config, tls) = (self.address.config.clone(), self.tls.clone());
        if let Some(password) = &self.address.password {
            config.password(password().map_err(PgFault::Password)?);
        }
        let client = self.wait(async move {
            let (client, connection) = config.connect(tls).await?;
            tokio::spawn(async move {
                // Whoever uses the client hears of it too.
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "a connection to PostgreSQL ended");
                }
            });
            client.batch_execute(PLANS).await?;
            Ok(client)
        })?;
        Ok(Arc::new(Session {
            client,
            statements: Mutex::default(),
        }))
    }

    /// A connection to read with.
    pub fn reader(&self) -> Result<Arc<Session>, PgFault> {
        while let Some(session) = held(&self.idle).pop() {
            if !session.client.is_closed() {
                return Ok(session);
            }
        }
        self.connect()
    }

    /// Takes a connection back that is between two transactions.
    pub fn give_back(&self, session: Arc<Session>) {
        let mut idle = held(&self.idle);
        if idle.len() < IDLE_READERS && !session.client.is_closed() {
            idle.push(session);
        }
    }

    /// The connection that writes, if it is there.
    pub fn writer(&self) -> Result<Arc<Session>, PgFault> {
        let writer = held(&self.writer).clone();
        writer
            .filter(|writer| !writer.client.is_closed())
            .ok_or(PgFault::Closed)
    }

    /// Ends the connection that writes: what it has begun is undone by the server.
    pub fn abandon(&self) {
        drop(held(&self.writer).take());
    }

    /// Makes the connection that writes, and takes the store's lock with it.
    pub fn take_over(&self) -> Result<(), PgFault> {
        self.abandon();
        let session = self.connect()?;
        let key = self.lock_key();
        let former = held(&self.backend).clone();
        let begun = Instant::now();
        loop {
            let (asked, former) = (Arc::clone(&session), former.clone());
            let is_ours = self.wait(async move { try_lock(&asked, key, former).await })?;
            if is_ours {
                break;
            }
            if begun.elapsed() >= LOCK_WITHIN {
                return Err(PgFault::Locked);
            }
            std::thread::sleep(LOCK_AGAIN);
        }
        let asked = Arc::clone(&session);
        let backend = self.wait(async move { prepare_session(&asked).await })?;
        *held(&self.backend) = Some(backend);
        *held(&self.writer) = Some(session);
        Ok(())
    }

    /// The number of the store's lock, one for each schema of a database.
    fn lock_key(&self) -> i64 {
        let digest = blake3::hash(format!("sentinel-hub store {}", self.schema()).as_bytes());
        let bytes = digest.as_bytes().first_chunk::<8>().copied().unwrap_or_default();
        i64::from_be_bytes(bytes)
    }

    /// Ends every connection.
    pub fn close(&self) {
        self.abandon();
        held(&self.idle).clear();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Also from within another runtime, where waiting is not allowed.
            runtime.shutdown_background();
        }
    }
}

/// Tries the lock. A session of this process that the server still serves is ended: nobody hears of it any more.
async fn try_lock(session: &Session, key: i64, former: Option<Backend>) -> Result<bool, tokio_postgres::Error> {
    let row = session
        .client
        .query_one("SELECT pg_try_advisory_lock($1)", &[&key])
        .await?;
    if row.get(0) {
        return Ok(true);
    }
    if let Some(former) = former {
        let text = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = $1 AND backend_start::text = $2";
        session.client.query(text, &[&former.pid, &former.since]).await?;
    }
    Ok(false)
}

/// Says how this session commits, and who serves it.
async fn prepare_session(session: &Session) -> Result<Backend, tokio_postgres::Error> {
    let client = &session.client;
    // What was acknowledged is on the disk: `off` would lose the last moments with the server.
    let setting = client.query_one(
        "SELECT current_setting('synchronous_commit'), current_setting('fsync')",
        &[],
    );
    let setting = setting.await?;
    if setting.get::<_, &str>(0) == "off" {
        client.batch_execute("SET synchronous_commit = on").await?;
    }
    if setting.get::<_, &str>(1) == "off" {
        tracing::warn!(
            "this PostgreSQL runs with fsync = off: a power cut there loses what agents have already forgotten"
        );
    }
    // A hub that hangs in the middle of a transaction must not hold others up for ever.
    client
        .batch_execute("SET idle_in_transaction_session_timeout = '5min'")
        .await?;
    let text = "SELECT pid, backend_start::text FROM pg_stat_activity WHERE pid = pg_backend_pid()";
    let row = client.query_one(text, &[]).await?;
    Ok(Backend {
        pid: row.get(0),
        since: row.get(1),
    })
}

//! `postgres`: entries that the hub's store makes durable in a PostgreSQL in a second, against `COPY` of the same rows.
//!
//! A store in a schema of a real server, without a network or a core: batches of two hundred nodes, checked, linked, indexed and counted as
//! in a hub. The limit copies the very rows that came of it, of every table, into tables of the same shape, in binary and in as many transactions, over
//! one connection to the same server. Rounds alternate, each in schemas of its own, and the middle one counts.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use hub::store::{Completion, DurableStore, Outcome, Place, PostgresAddress, Store, StoreSettings};
use hub_core::{Batch, Row, Token};
use testbed_services::Postgres;
use tokio::sync::mpsc;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, NoTls};
use wire::entry::{ChainHead, Entry, EntryBody, Event};
use wire::ids::{AgentId, Epoch, Seq};
use wire::time::{Mono, Now, Wall};

use crate::report::{Figure, Goal, quantile};

const NODES: u64 = 200;
/// Batches of each node in a round.
const BATCHES: u64 = 8;
/// Entries of a batch: what a node sends after some minutes away.
const ENTRIES: u64 = 100;
const ROUNDS: usize = 5;
/// Tables that entries fill.
const TABLES: [&str; 8] = [
    "entries",
    "feed",
    "segments",
    "decisions",
    "arrivals",
    "outcomes",
    "heads",
    "usage",
];

type Rows = Vec<(Vec<u8>, Vec<u8>)>;

/// Runs it.
pub fn run(runtime: &tokio::runtime::Runtime) -> Result<Vec<Figure>, String> {
    let server = Postgres::start("bench-postgres", None).map_err(|cause| cause.with_causes())?;
    let config = format!("{} password={}", key_values(&server), server.password());
    let (client, connection) = runtime
        .block_on(tokio_postgres::connect(&config, NoTls))
        .map_err(text)?;
    runtime.spawn(connection);
    let (mut ours, mut limit) = (Vec::new(), Vec::new());
    let entries = (NODES * BATCHES * ENTRIES) as f64;
    for round in 0..ROUNDS {
        let (seconds, commits) = store(&server, round)?;
        ours.push(entries / seconds);
        let seconds = runtime.block_on(copy(&client, round, commits)).map_err(text)?;
        limit.push(entries / seconds);
    }
    let goal = Goal::OfLimit(0.5);
    Ok(vec![
        Figure::new("postgres", "entries/s", quantile(&mut ours, 0.5), goal)
            .limit("COPY of the same rows", quantile(&mut limit, 0.5))
            .against(goal),
    ])
}

fn text(cause: tokio_postgres::Error) -> String {
    match cause.as_db_error() {
        Some(error) => error.to_string(),
        None => cause.to_string(),
    }
}

fn key_values(server: &Postgres) -> String {
    format!("host=127.0.0.1 port={} user=sentinel dbname=postgres", server.port())
}

/// Everything that the nodes send, made before the clock runs, in the order in which it arrives.
fn batches() -> Result<VecDeque<Batch>, String> {
    let mut batches = Vec::new();
    for node in 0..NODES {
        let agent = AgentId::new(format!("bench-{node}")).map_err(|cause| cause.to_string())?;
        let mut head = ChainHead::empty(Epoch(1));
        for number in 0..BATCHES {
            let mut raw = Vec::new();
            for _ in 0..ENTRIES {
                let seq = head.seq.next();
                let entry = Entry {
                    seq,
                    at: Now {
                        mono: Mono(seq.0 * 1_000),
                        wall: Wall(1_790_000_000_000 + i64::try_from(seq.0).unwrap_or(0) * 1_000),
                    },
                    prev: head.digest,
                    body: EntryBody::Event(Event::Notified {
                        message: format!(
                            "GPU {} of {agent} is at {} W and within what it may take",
                            seq.0 % 8,
                            200 + seq.0 % 90
                        ),
                    }),
                }
                .encode();
                head = head.link(&entry).map_err(|cause| format!("{cause:?}"))?;
                raw.push(entry);
            }
            let first = raw[0].seq;
            let decisions: Vec<Seq> = (0..ENTRIES).step_by(10).map(|n| Seq(first.0 + n)).collect();
            let outcomes = decisions.iter().map(|seq| (*seq, seq.next())).collect();
            let row = Row::Entries {
                agent: agent.clone(),
                epoch: Epoch(1),
                raw,
                decisions,
                outcomes,
            };
            let token = Token(number * NODES + node);
            batches.push(Batch { token, rows: vec![row] });
        }
    }
    batches.sort_by_key(|batch| batch.token);
    Ok(batches.into())
}

/// Seconds until everything is durable, and in how many transactions.
fn store(server: &Postgres, round: usize) -> Result<(f64, usize), String> {
    let address: PostgresAddress = format!("{}?schema=ours_{round}", server.address()).parse()?;
    let password = server.password().to_owned();
    let address = address.with_password(Arc::new(move || Ok(password.clone())));
    let (send, mut done) = mpsc::channel(64);
    let store = DurableStore::open(StoreSettings::at(Place::Postgres(Box::new(address))), send)
        .map_err(|cause| cause.chain())?;
    let mut waiting = batches()?;
    let total = waiting.len();
    let (mut stored, mut commits) = (0, 0);
    let started = Instant::now();
    while stored < total {
        while let Some(batch) = waiting.pop_front() {
            if let Err(batch) = store.write(batch) {
                waiting.push_front(batch);
                break;
            }
        }
        let completions = done.blocking_recv().ok_or("the store has ended")?;
        commits += 1;
        for Completion { outcome, .. } in completions {
            match outcome {
                Outcome::Stored => stored += 1,
                Outcome::Failed(reason) | Outcome::Unknown(reason) => {
                    return Err(format!("the store wrote nothing: {reason}"));
                }
            }
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    let checked = store.check().map_err(|cause| cause.chain())?;
    if !checked.ok {
        return Err(format!("what was stored is not whole: {:?}", checked.problems));
    }
    store.close().map_err(|cause| cause.chain())?;
    Ok((seconds, commits))
}

/// Seconds that copying the rows of that round takes, in as many transactions.
async fn copy(client: &Client, round: usize, commits: usize) -> Result<f64, tokio_postgres::Error> {
    client.batch_execute(&format!("CREATE SCHEMA limit_{round}")).await?;
    let mut tables: Vec<(String, Vec<Rows>)> = Vec::new();
    for table in TABLES {
        let name = format!("limit_{round}.{table}");
        client
            .batch_execute(&format!(
                "CREATE TABLE {name} (k bytea PRIMARY KEY, v bytea NOT NULL); ALTER TABLE {name} ALTER COLUMN v SET STORAGE EXTERNAL"
            ))
            .await?;
        let rows = client
            .query(&format!("SELECT k, v FROM ours_{round}.{table} ORDER BY k"), &[])
            .await?;
        let rows: Rows = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        let part = rows.len().div_ceil(commits.max(1)).max(1);
        tables.push((name, rows.chunks(part).map(<[_]>::to_vec).collect()));
    }
    let started = Instant::now();
    for commit in 0..commits {
        client.batch_execute("BEGIN").await?;
        for (name, parts) in &tables {
            let Some(rows) = parts.get(commit) else {
                continue;
            };
            let sink = client
                .copy_in(&format!("COPY {name} (k, v) FROM STDIN (FORMAT BINARY)"))
                .await?;
            let mut writer = pin!(BinaryCopyInWriter::new(sink, &[Type::BYTEA, Type::BYTEA]));
            for (key, value) in rows {
                writer.as_mut().write(&[key, value]).await?;
            }
            writer.finish().await?;
        }
        client.batch_execute("COMMIT").await?;
    }
    Ok(started.elapsed().as_secs_f64())
}

//! Reads rows back from the last commit, with every checksum checked.
//!
//! Invariant: what is returned was committed together; a row that does not match its checksum is an error, never data.

use hub_core::{Recovered, StoredAgent};
use wire::api::DecisionView;
use wire::codec::{take_varint, unzigzag};
use wire::entry::{ChainHead, RawEntry};
use wire::ids::{AgentId, DecisionId, Digest, Epoch, Generation, Seq};
use wire::telemetry::is_key;
use wire::time::Wall;
use wire::{BundleRef, SignedBundle};

use super::documents;
use super::engine::{Fault, Rows, Snapshot, Sorted};
use super::lists;
use super::rows::{self, Table, open_segment, raw_entry, unseal};
use super::tables::decode;
use super::{Arrivals, Arrived, ArrivedBlock, Cursor, Floor, StoreError, StoredDecision, Walk};

/// Why a read failed.
#[derive(Debug)]
pub enum ReadError {
    /// An answer of ours.
    Store(StoreError),
    /// The database's.
    Database(Fault),
}

impl From<StoreError> for ReadError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Fault> for ReadError {
    fn from(error: Fault) -> Self {
        Self::Database(error)
    }
}

impl From<ReadError> for StoreError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Store(error) => error,
            ReadError::Database(cause) => Self::Database {
                action: "be read",
                cause: Box::new(cause),
            },
        }
    }
}

/// What a read gives.
pub type Read<T> = Result<T, ReadError>;

/// One row of a table by its key.
pub fn value(read: &Snapshot, table: Table, name: &'static str, key: &[u8]) -> Read<Option<Vec<u8>>> {
    match read.open_table(table)?.get(key)? {
        Some(sealed) => Ok(Some(unseal(name, key, sealed.value())?.to_vec())),
        None => Ok(None),
    }
}

/// A value of [`rows::META`].
pub fn setting(read: &Snapshot, name: &str) -> Read<Option<Vec<u8>>> {
    value(read, rows::META, "meta", name.as_bytes())
}

/// What the core must know to go on.
pub fn recover(read: &Snapshot) -> Read<Recovered> {
    let mut agents = Vec::new();
    for row in read.open_table(rows::AGENTS)?.iter()? {
        let (key, sealed) = row?;
        let record = unseal("agents", key.value(), sealed.value())?.to_vec();
        let agent = agent_name("agents", key.value())?;
        agents.push(StoredAgent {
            agent: agent.clone(),
            record,
            heads: heads(read, &agent)?,
            telemetry: match value(read, rows::BLOCK_HEADS, "block-heads", key.value())? {
                Some(head) => decode("block-heads", &head)?,
                None => (Epoch(0), Seq(0)),
            },
            last_decision: last_decision(read, &agent),
        });
    }
    let mut commands = Vec::new();
    for row in read.open_table(rows::COMMANDS)?.iter()? {
        let (key, sealed) = row?;
        commands.push(unseal("commands", key.value(), sealed.value())?.to_vec());
    }
    let mut turns = Vec::new();
    let (start, end) = rows::turns_span();
    for row in read.open_table(rows::META)?.range(start..end)? {
        let (name, sealed) = row?;
        let (rule, value) = rows::read_turns_name(name.value())?;
        turns.push((rule, value, unseal("meta", name.value(), sealed.value())?.to_vec()));
    }
    Ok(Recovered {
        meta: setting(read, "core")?,
        agents,
        bundle: bundles(read, 1)?.pop(),
        commands,
        turns,
        journal: heads(read, &AgentId::hub())?,
        documents: documents::live(read)?,
        document_keys: documents::keys(read)?,
    })
}

/// A row of the fleet table, which is no reason not to start: one that cannot be read is left out.
fn last_decision(read: &Snapshot, agent: &AgentId) -> Option<Box<DecisionView>> {
    let page = match lists::decisions_of(read, agent, None, 1) {
        Ok(page) => page,
        Err(error) => {
            tracing::error!(%agent, error = %StoreError::from(error), "the last decision cannot be read");
            return None;
        }
    };
    let story = page.rows.first()?.story().ok()?;
    Some(Box::new(story.view()))
}

fn agent_name(table: &'static str, key: &[u8]) -> Result<AgentId, StoreError> {
    std::str::from_utf8(key)
        .ok()
        .and_then(|name| AgentId::new(name).ok())
        .ok_or(StoreError::DamagedRow { table })
}

/// The ends of a node's chains, oldest epoch first.
pub fn heads(read: &Snapshot, agent: &AgentId) -> Read<Vec<ChainHead>> {
    let (start, end) = (rows::agent_key(agent), rows::agent_end(agent));
    let mut heads = Vec::new();
    for row in read.open_table(rows::HEADS)?.range(&start[..]..&end[..])? {
        let (key, sealed) = row?;
        heads.push(decode("heads", unseal("heads", key.value(), sealed.value())?)?);
    }
    Ok(heads)
}

/// What of a node's journal was removed, oldest epoch first.
pub fn floors(read: &Snapshot, agent: &AgentId) -> Read<Vec<(Epoch, Floor)>> {
    let (start, end) = (rows::agent_key(agent), rows::agent_end(agent));
    let mut floors = Vec::new();
    for row in read.open_table(rows::FLOORS)?.range(&start[..]..&end[..])? {
        let (key, sealed) = row?;
        let (_, epoch) = rows::read_epoch("floors", key.value())?;
        floors.push((epoch, decode("floors", unseal("floors", key.value(), sealed.value())?)?));
    }
    Ok(floors)
}

/// The entry at one place.
pub fn entry(table: &Rows<'_>, agent: &AgentId, epoch: Epoch, seq: Seq) -> Read<Option<RawEntry>> {
    let (start, end) = (rows::epoch_key(agent, epoch), rows::place_key(agent, epoch, seq));
    let Some(row) = table.range(&start[..]..=&end[..])?.next_back() else {
        return Ok(None);
    };
    let (key, sealed) = row?;
    let (_, _, first) = rows::read_place("entries", key.value())?;
    let index = usize::try_from(seq.0 - first.0).unwrap_or(usize::MAX);
    match open_segment(key.value(), sealed.value())?.get(index) {
        Some(bytes) => Ok(Some(raw_entry(bytes)?)),
        None => Ok(None),
    }
}

/// One decision with its outcomes.
pub fn decision(read: &Snapshot, id: &DecisionId) -> Read<Option<StoredDecision>> {
    let table = read.open_table(rows::ENTRIES)?;
    let Some(found) = entry(&table, &id.agent, id.epoch, id.seq)? else {
        return Ok(None);
    };
    with_outcomes(read, &table, &id.agent, id.epoch, found).map(Some)
}

/// Adds a decision's outcomes to its entry.
pub fn with_outcomes(
    read: &Snapshot,
    table: &Rows<'_>,
    agent: &AgentId,
    epoch: Epoch,
    decision: RawEntry,
) -> Read<StoredDecision> {
    let key = rows::outcome_key(agent, epoch, decision.seq);
    let pairs: Vec<(Seq, Seq)> = match value(read, rows::OUTCOMES, "outcomes", &key)? {
        Some(pairs) => decode("outcomes", &pairs)?,
        None => Vec::new(),
    };
    let mut outcomes = Vec::new();
    for (_, outcome) in pairs.iter().filter(|(of, _)| *of == decision.seq) {
        outcomes.extend(entry(table, agent, epoch, *outcome)?);
    }
    Ok(StoredDecision {
        id: DecisionId {
            agent: agent.clone(),
            epoch,
            seq: decision.seq,
        },
        entry: decision,
        outcomes,
    })
}

/// Entries after a place, oldest first.
pub fn entries(read: &Snapshot, agent: &AgentId, after: (Epoch, Seq), limit: usize) -> Read<Vec<(Epoch, RawEntry)>> {
    let table = read.open_table(rows::ENTRIES)?;
    // The place may lie inside a segment, which then begins before it.
    let low = rows::agent_key(agent);
    let place = rows::place_key(agent, after.0, after.1);
    let start = match table.range(&low[..]..=&place[..])?.next_back() {
        Some(row) => row?.0.value().to_vec(),
        None => low,
    };
    let end = rows::agent_end(agent);
    let mut found = Vec::new();
    for row in table.range(&start[..]..&end[..])? {
        let (key, sealed) = row?;
        let (_, epoch, first) = rows::read_place("entries", key.value())?;
        for (bytes, seq) in open_segment(key.value(), sealed.value())?.into_iter().zip(first.0..) {
            if (epoch, Seq(seq)) <= after {
                continue;
            }
            if found.len() >= limit {
                return Ok(found);
            }
            found.push((epoch, raw_entry(bytes)?));
        }
    }
    Ok(found)
}

/// Entries before a place, newest first; only the segments that are needed are opened.
pub fn newest_entries(
    read: &Snapshot,
    agent: &AgentId,
    before: Option<(Epoch, Seq)>,
    limit: usize,
) -> Read<Vec<(Epoch, RawEntry)>> {
    let start = rows::agent_key(agent);
    // A segment that begins at the place or behind it holds nothing before it.
    let end = match before {
        Some((epoch, seq)) => rows::place_key(agent, epoch, seq),
        None => rows::agent_end(agent),
    };
    let mut found = Vec::new();
    for row in read.open_table(rows::ENTRIES)?.range(&start[..]..&end[..])?.rev() {
        let (key, sealed) = row?;
        let (_, epoch, first) = rows::read_place("entries", key.value())?;
        let segment = open_segment(key.value(), sealed.value())?;
        for (index, bytes) in segment.into_iter().enumerate().rev() {
            if found.len() >= limit {
                return Ok(found);
            }
            let seq = Seq(first.0.saturating_add(index as u64));
            if before.is_none_or(|before| (epoch, seq) < before) {
                found.push((epoch, raw_entry(bytes)?));
            }
        }
    }
    Ok(found)
}

/// Entries of all journals after a cursor, in the order of their arrival.
pub fn arrived(read: &Snapshot, after: Option<Cursor>, limit: usize) -> Read<Vec<Arrived>> {
    let entries = read.open_table(rows::ENTRIES)?;
    let from = after.map_or(0, |cursor| cursor.arrival).to_be_bytes();
    let mut found = Vec::new();
    for row in read.open_table(rows::FEED)?.range(&from[..]..)? {
        let (arrival, sealed) = row?;
        let rows::Arrival { key, at_ms, before } =
            rows::Arrival::read(unseal("feed", arrival.value(), sealed.value())?)?;
        let arrival = number(arrival.value())?;
        let (owner, epoch, _) = rows::read_place("feed", key)?;
        let at = (at_ms != 0).then_some(Wall(at_ms));
        let Some(segment) = entries.get(key)? else {
            continue;
        };
        for (bytes, index) in open_segment(key, segment.value())?.into_iter().zip(0..) {
            let cursor = Cursor { arrival, index };
            if after.is_some_and(|after| cursor <= after) {
                continue;
            }
            if found.len() >= limit {
                return Ok(found);
            }
            let (owner, entry) = (owner.clone(), raw_entry(bytes)?);
            found.push(Arrived {
                cursor,
                owner,
                epoch,
                entry,
                at,
                number: before + u64::from(index) + 1,
            });
        }
    }
    Ok(found)
}

/// Where the order of arrival ends.
pub fn arrivals(read: &Snapshot) -> Read<Arrivals> {
    let counter = setting(read, "entries")?;
    let last = match read.open_table(rows::FEED)?.last()? {
        Some((arrival, _)) => Some(Cursor {
            arrival: number(arrival.value())?,
            index: u32::MAX,
        }),
        None => None,
    };
    let count = counter.map_or(Ok(0), |bytes| number(&bytes))?;
    Ok(Arrivals { last, count })
}

/// A number that is a key or a value.
pub fn number(key: &[u8]) -> Result<u64, StoreError> {
    let bytes = key.try_into().map_err(|_| StoreError::DamagedRow { table: "feed" })?;
    Ok(u64::from_be_bytes(bytes))
}

/// Blocks of all agents after an arrival number, oldest first.
pub fn blocks_arrived(read: &Snapshot, after: u64, limit: usize) -> Read<Vec<ArrivedBlock>> {
    let blocks = read.open_table(rows::BLOCKS)?;
    let from = after.saturating_add(1).to_be_bytes();
    let mut found = Vec::new();
    for row in read.open_table(rows::BLOCK_ORDER)?.range(&from[..]..)?.take(limit) {
        let (arrival, sealed) = row?;
        let parts = unseal("block-order", arrival.value(), sealed.value())?;
        let (_, _, key): (u64, u64, Vec<u8>) = decode("block-order", parts)?;
        let (agent, epoch, _) = rows::read_place("blocks", &key)?;
        if let Some(block) = blocks.get(&key[..])? {
            let block = unseal("blocks", &key, block.value())?.to_vec();
            found.push((number(arrival.value())?, agent, epoch, block));
        }
    }
    Ok(found)
}

/// Arrival number of the newest block.
pub fn newest_block(read: &Snapshot) -> Read<u64> {
    match read.open_table(rows::BLOCK_ORDER)?.last()? {
        Some((arrival, _)) => Ok(number(arrival.value())?),
        None => Ok(0),
    }
}

/// Walks entries from the newest back.
pub fn walk_back(read: &Snapshot, agent: &AgentId, each: &mut dyn FnMut(Epoch, &RawEntry) -> Walk) -> Read<()> {
    let (start, end) = (rows::agent_key(agent), rows::agent_end(agent));
    for row in read.open_table(rows::ENTRIES)?.range(&start[..]..&end[..])?.rev() {
        let (key, sealed) = row?;
        let (_, epoch, _) = rows::read_place("entries", key.value())?;
        for bytes in open_segment(key.value(), sealed.value())?.into_iter().rev() {
            if each(epoch, &raw_entry(bytes)?).is_break() {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Walks the blocks that are needed to know the samples since `since_ms`, oldest first; at most `most`, the newest ones.
pub fn walk_blocks(
    read: &Snapshot,
    agent: &AgentId,
    since_ms: i64,
    most: usize,
    each: &mut dyn FnMut(Epoch, Seq, &[u8]) -> Walk,
) -> Read<()> {
    let table = read.open_table(rows::BLOCKS)?;
    let (start, end) = (rows::agent_key(agent), rows::agent_end(agent));
    let mut from = end.clone();
    for row in table.range(&start[..]..&end[..])?.rev().take(most) {
        let (key, sealed) = row?;
        let block = unseal("blocks", key.value(), sealed.value())?;
        from = key.value().to_vec();
        // A key block needs nothing before it.
        if is_key(block) && block_start_ms(block).is_some_and(|at| at <= since_ms) {
            break;
        }
    }
    for row in table.range(&from[..]..&end[..])? {
        let (key, sealed) = row?;
        let (_, epoch, seq) = rows::read_place("blocks", key.value())?;
        if each(epoch, seq, unseal("blocks", key.value(), sealed.value())?).is_break() {
            break;
        }
    }
    Ok(())
}

/// When a block's first sample was taken, from its head alone.
fn block_start_ms(block: &[u8]) -> Option<i64> {
    let mut rest = block.get(1..)?;
    take_varint(&mut rest).ok()?;
    take_varint(&mut rest).ok().map(unzigzag)
}

/// One bundle.
pub fn bundle(read: &Snapshot, wanted: &BundleRef) -> Read<Option<SignedBundle>> {
    let mut key = wanted.generation.0.to_be_bytes().to_vec();
    key.extend_from_slice(&wanted.digest.0);
    match value(read, rows::BUNDLES, "bundles", &key)? {
        Some(bytes) => Ok(Some(decode("bundles", &bytes)?)),
        None => Ok(None),
    }
}

/// The newest bundles, newest first.
pub fn bundles(read: &Snapshot, limit: usize) -> Read<Vec<(BundleRef, SignedBundle)>> {
    let damaged = || StoreError::DamagedRow { table: "bundles" };
    let mut found = Vec::new();
    for row in read.open_table(rows::BUNDLES)?.iter()?.rev().take(limit) {
        let (key, sealed) = row?;
        let (generation, digest) = key.value().split_first_chunk::<8>().ok_or_else(damaged)?;
        let reference = BundleRef {
            generation: Generation(u64::from_be_bytes(*generation)),
            digest: Digest(digest.try_into().map_err(|_| damaged())?),
        };
        found.push((
            reference,
            decode("bundles", unseal("bundles", key.value(), sealed.value())?)?,
        ));
    }
    Ok(found)
}

//! Pages of decisions, newest first, by a node's journal or by arrival at the hub.

use wire::ids::{AgentId, Epoch, Seq};

use super::engine::{Rows, Snapshot, Sorted};
use super::read::{Read, entry, with_outcomes};
use super::rows::{self, unseal};
use super::tables::decode;
use super::{DecisionPage, StoreError};

/// A page of one node's decisions; cursors are `EPOCH.SEQ`.
pub fn decisions_of(read: &Snapshot, agent: &AgentId, before: Option<&str>, limit: usize) -> Read<DecisionPage> {
    let (epoch, seq) = match before {
        Some(cursor) => read_cursor(cursor)?,
        None => (u64::MAX, u64::MAX),
    };
    let (start, end) = (rows::agent_key(agent), rows::place_key(agent, Epoch(epoch), Seq(seq)));
    let table = read.open_table(rows::ENTRIES)?;
    let mut page = DecisionPage {
        rows: Vec::new(),
        next: None,
    };
    for row in read.open_table(rows::DECISIONS)?.range(&start[..]..&end[..])?.rev() {
        let (key, sealed) = row?;
        let (_, here, _) = rows::read_place("decisions", key.value())?;
        let upper = if here.0 == epoch { seq } else { u64::MAX };
        let full = add_segment(read, &table, key.value(), sealed.value(), Seq(upper), limit, &mut page)?;
        if full {
            page.next = page
                .rows
                .last()
                .map(|last| format!("{}.{}", last.id.epoch, last.id.seq));
            break;
        }
    }
    Ok(page)
}

/// A page of all decisions by arrival; cursors are `ARRIVAL.SEQ`.
pub fn decisions_of_all(read: &Snapshot, before: Option<&str>, limit: usize) -> Read<DecisionPage> {
    let (arrival, seq) = match before {
        Some(cursor) => read_cursor(cursor)?,
        None => (u64::MAX, u64::MAX),
    };
    let table = read.open_table(rows::ENTRIES)?;
    let decisions = read.open_table(rows::DECISIONS)?;
    let mut page = DecisionPage {
        rows: Vec::new(),
        next: None,
    };
    let end = arrival.to_be_bytes();
    for row in read.open_table(rows::ARRIVALS)?.range(..=&end[..])?.rev() {
        let (number, sealed) = row?;
        let key = unseal("arrivals", number.value(), sealed.value())?;
        let upper = if number.value() == end { seq } else { u64::MAX };
        let damaged = StoreError::DamagedRow { table: "decisions" };
        let places = decisions.get(key)?.ok_or(damaged)?;
        if add_segment(read, &table, key, places.value(), Seq(upper), limit, &mut page)? {
            let arrival = number
                .value()
                .iter()
                .fold(0, |all: u64, byte| all << 8 | u64::from(*byte));
            page.next = page.rows.last().map(|last| format!("{arrival}.{}", last.id.seq));
            break;
        }
    }
    Ok(page)
}

/// Adds a segment's decisions below `upper`, newest first. Returns whether the page is full.
fn add_segment(
    read: &Snapshot,
    table: &Rows<'_>,
    key: &[u8],
    sealed: &[u8],
    upper: Seq,
    limit: usize,
    page: &mut DecisionPage,
) -> Read<bool> {
    let (agent, epoch, _) = rows::read_place("decisions", key)?;
    let places: Vec<Seq> = decode("decisions", unseal("decisions", key, sealed)?)?;
    for seq in places.into_iter().rev().filter(|seq| *seq < upper) {
        if page.rows.len() >= limit {
            return Ok(true);
        }
        let damaged = StoreError::DamagedRow { table: "decisions" };
        let found = entry(table, &agent, epoch, seq)?.ok_or(damaged)?;
        page.rows.push(with_outcomes(read, table, &agent, epoch, found)?);
    }
    Ok(page.rows.len() >= limit)
}

fn read_cursor(cursor: &str) -> Result<(u64, u64), StoreError> {
    cursor
        .split_once('.')
        .and_then(|(left, right)| Some((left.parse().ok()?, right.parse().ok()?)))
        .ok_or_else(|| StoreError::Cursor {
            cursor: cursor.to_owned(),
        })
}

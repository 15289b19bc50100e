//! Reads every row of a store, whichever database it lies in, and says what is damaged or does not fit together.
//!
//! Never repairs and never writes. Nothing is believed: seals, links, and whatever is written down twice are compared.
//! Read next: `verify.rs` (one journal), `rows.rs` (what a seal covers).

use std::fmt;

use redb::TableHandle as _;
use serde::Serialize;
use wire::ids::AgentId;

use super::engine::{Snapshot, Sorted};
use super::prune::Segment;
use super::read::Read;
use super::rows::{self, Table, open_segment, read_parts, unseal};
use super::tables::{Counters, decode};
use super::{DurableStore, StoreError, verify};

/// Problems that are told: the first ones say what happened.
const MOST_PROBLEMS: usize = 100;

/// What a check has found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// The file, or the address of the database.
    pub store: String,
    /// Nothing is wrong.
    pub ok: bool,
    /// Each table.
    pub tables: Vec<CheckedTable>,
    /// Each journal that has entries.
    pub journals: Vec<CheckedJournal>,
    /// What is wrong, the first hundred.
    pub problems: Vec<String>,
}

/// One table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckedTable {
    /// Its name.
    pub table: String,
    /// Rows that are whole.
    pub rows: u64,
    /// Bytes of their keys and values.
    pub stored_bytes: u64,
    /// Rows that are not what was written.
    pub damaged: u64,
}

/// One journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckedJournal {
    /// Whose.
    pub owner: String,
    /// Entries that are there.
    pub entries: u64,
    /// Entries that were removed to make room, ever.
    pub pruned: u64,
    /// Every link holds, and nothing is missing or there twice.
    pub ok: bool,
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "store {}", self.store)?;
        for table in self.tables.iter().filter(|table| table.rows + table.damaged > 0) {
            let damaged = match table.damaged {
                0 => String::new(),
                damaged => format!(", {damaged} DAMAGED"),
            };
            writeln!(
                f,
                "  {:<16}{:>10} rows{:>14} bytes{damaged}",
                table.table, table.rows, table.stored_bytes
            )?;
        }
        for journal in &self.journals {
            let state = if journal.ok { "whole" } else { "NOT WHOLE" };
            let (owner, entries, pruned) = (&journal.owner, journal.entries, journal.pruned);
            writeln!(f, "  journal {owner}: {entries} entries, {pruned} pruned, {state}")?;
        }
        for problem in &self.problems {
            writeln!(f, "problem: {problem}")?;
        }
        writeln!(f, "{}", if self.ok { "whole" } else { "NOT WHOLE" })
    }
}

impl DurableStore {
    /// Reads everything and compares it. Blocks for as long as reading the whole store takes.
    pub fn check(&self) -> Result<Checked, StoreError> {
        let store = self.place();
        self.read(|read| Ok(check(read, store)))
    }
}

struct Findings {
    tables: Vec<CheckedTable>,
    journals: Vec<CheckedJournal>,
    problems: Vec<String>,
}

impl Findings {
    fn wrong(&mut self, problem: String) {
        if self.problems.len() < MOST_PROBLEMS {
            self.problems.push(problem);
        }
    }
}

fn check(read: &Snapshot, store: String) -> Checked {
    let mut found = Findings {
        tables: Vec::new(),
        journals: Vec::new(),
        problems: Vec::new(),
    };
    for table in rows::ALL {
        if let Err(error) = seals(read, table, &mut found) {
            found.wrong(format!(
                "table `{}` cannot be read: {}",
                table.name(),
                StoreError::from(error).chain()
            ));
        }
    }
    // What does not read is known by now; what follows would only say it again.
    if found.problems.is_empty() {
        for compare in [journals, segments, documents] {
            if let Err(error) = compare(read, &mut found) {
                found.wrong(StoreError::from(error).chain());
            }
        }
    }
    Checked {
        store,
        ok: found.problems.is_empty(),
        tables: found.tables,
        journals: found.journals,
        problems: found.problems,
    }
}

/// Reads every row of a table, and compares its seal.
fn seals(read: &Snapshot, table: Table, found: &mut Findings) -> Read<()> {
    let name = table.name();
    let mut checked = CheckedTable {
        table: name.to_owned(),
        rows: 0,
        stored_bytes: 0,
        damaged: 0,
    };
    let is_entries = table.name() == rows::ENTRIES.name();
    for row in read.open_table(table)?.iter()? {
        let (key, sealed) = row?;
        let is_whole = match is_entries {
            true => open_segment(key.value(), sealed.value()).is_ok(),
            false => rows::is_sealed(name, key.value(), sealed.value()),
        };
        match is_whole {
            true => {
                checked.rows += 1;
                checked.stored_bytes += (key.value().len() + sealed.value().len()) as u64;
            }
            false => {
                checked.damaged += 1;
                let key = key.value().escape_ascii();
                found.wrong(format!("table `{name}`: the row `{key}` is not what was written"));
            }
        }
    }
    found.tables.push(checked);
    Ok(())
}

/// Follows every journal from its beginning to its end.
fn journals(read: &Snapshot, found: &mut Findings) -> Read<()> {
    let mut owners: Vec<AgentId> = Vec::new();
    for row in read.open_table(rows::HEADS)?.iter()? {
        let (owner, _) = rows::read_epoch("heads", row?.0.value())?;
        if owners.last() != Some(&owner) {
            owners.push(owner);
        }
    }
    for owner in owners {
        let scan = verify::scan(read, &owner)?;
        let mut journal = CheckedJournal {
            owner: owner.to_string(),
            entries: 0,
            pruned: 0,
            ok: true,
        };
        for epoch in &scan.epochs {
            journal.entries += epoch.count;
            journal.pruned += epoch.floor.map_or(0, |floor| floor.entries);
            let number = epoch.epoch;
            let mut say = |problem: String| {
                journal.ok = false;
                found.wrong(format!("journal {owner}, epoch {number}: {problem}"));
            };
            if let Some(seq) = epoch.broken {
                say(format!("entry {seq} does not continue the one before it"));
            }
            if epoch.head_differs {
                say("its end is another one than the last entry".to_owned());
            }
            for (first, last) in &epoch.holes {
                say(format!("entries {first} to {last} are missing"));
            }
            if epoch.double > 0 {
                say(format!("{} entries are there twice", epoch.double));
            }
        }
        found.journals.push(journal);
    }
    Ok(())
}

/// Compares segments with what is written down about them.
fn segments(read: &Snapshot, found: &mut Findings) -> Read<()> {
    let (entries, feed) = (read.open_table(rows::ENTRIES)?, read.open_table(rows::FEED)?);
    let (mut segments, mut agents_bytes, mut own_bytes) = (0, 0, 0);
    for row in read.open_table(rows::SEGMENTS)?.iter()? {
        let (key, sealed) = row?;
        let about: Segment = decode("segments", unseal("segments", key.value(), sealed.value())?)?;
        let (owner, epoch, seq) = rows::read_place("segments", key.value())?;
        let arrival = feed.get(&about.arrival.to_be_bytes())?;
        let points_here = match &arrival {
            Some(sealed) => {
                let row = unseal("feed", &about.arrival.to_be_bytes(), sealed.value())?;
                rows::Arrival::read(row)?.key == key.value()
            }
            None => false,
        };
        if entries.get(key.value())?.is_none() || !points_here {
            found.wrong(format!(
                "the segment {owner} {epoch}.{seq} and the order of arrival do not agree"
            ));
        }
        segments += 1;
        match owner.is_hub() {
            true => own_bytes += about.bytes,
            false => agents_bytes += about.bytes,
        }
    }
    let rows_of = |found: &Findings, table: Table| {
        let of = found.tables.iter().find(|one| one.table == table.name());
        of.map_or(0, |one| one.rows)
    };
    for table in [rows::ENTRIES, rows::FEED] {
        let there = rows_of(found, table);
        if there != segments {
            found.wrong(format!(
                "table `{}` has {there} rows for {segments} segments",
                table.name()
            ));
        }
    }
    let (decisions, arrivals) = (rows_of(found, rows::DECISIONS), rows_of(found, rows::ARRIVALS));
    if decisions != arrivals {
        found.wrong(format!("{decisions} segments have decisions, {arrivals} are listed"));
    }
    let counters = Counters::read(&read.open_table(rows::META)?)?;
    for (what, counted, there) in [
        ("entries of agents", counters.entry_bytes, agents_bytes),
        ("the hub's own entries", counters.own_bytes, own_bytes),
    ] {
        if counted != there {
            found.wrong(format!("{what} take {there} bytes, {counted} are counted"));
        }
    }
    Ok(())
}

/// Compares documents with their keys and indexes.
fn documents(read: &Snapshot, found: &mut Findings) -> Read<()> {
    let documents = read.open_table(rows::DOCUMENTS)?;
    let is_there = |kind: &str, id: &str| -> Read<bool> { Ok(documents.get(&rows::parts_key(&[kind, id]))?.is_some()) };
    for row in read.open_table(rows::DOCUMENT_KEYS)?.iter()? {
        let (key, sealed) = row?;
        let id = String::from_utf8_lossy(unseal("document-keys", key.value(), sealed.value())?).into_owned();
        let parts = read_parts("document-keys", key.value())?;
        let kind = parts.first().copied().unwrap_or_default();
        if !is_there(kind, &id)? {
            found.wrong(format!("a key of {kind} `{id}` is there, and the document is not"));
        }
    }
    for row in read.open_table(rows::DOCUMENT_INDEX)?.iter()? {
        let (key, _) = row?;
        let parts = read_parts("document-index", key.value())?;
        let (kind, id) = (
            parts.first().copied().unwrap_or_default(),
            parts.last().copied().unwrap_or_default(),
        );
        if !is_there(kind, id)? {
            found.wrong(format!("an index lists {kind} `{id}`, and the document is not there"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::suite::{Bench, Chain, Kind, stories};
    use super::*;

    stories!(a_store_is_whole_until_a_row_of_it_changes_or_is_lost);

    fn a_store_is_whole_until_a_row_of_it_changes_or_is_lost(kind: Kind) {
        let mut bench = Bench::new(kind);
        let mut chain = Chain::new("edge-03", 1);
        for _ in 0..4 {
            let raw = chain.notes(20);
            let first = raw[0].seq.0;
            bench.put(vec![chain.marked(raw, &[first], &[])]).expect("stored");
        }
        bench
            .put(vec![hub_core::Row::Put(super::super::suite::document("a", 1, "red"))])
            .expect("stored");
        bench.store.close().expect("closes");
        let settings = bench.home.settings(super::super::Retention::default());
        let check = || {
            let (done, _told) = tokio::sync::mpsc::channel(1);
            let store = DurableStore::open(settings.clone(), done).expect("it opens");
            store.check().expect("it is read")
        };
        let whole = check();
        assert!(whole.ok, "{whole}");
        assert_eq!(whole.journals.len(), 1);
        assert_eq!((whole.journals[0].entries, whole.journals[0].ok), (80, true));
        assert!(whole.to_string().ends_with("\nwhole\n"), "{whole}");

        // Whoever has a hand on the database may do anything to it.
        let meddle = |change: &dyn Fn(&mut super::super::engine::Open<'_>)| {
            let database = super::super::open::open(&settings).expect("it opens");
            let transaction = database.begin_write().expect("open");
            let mut table = transaction.open_table(rows::ENTRIES).expect("there");
            change(&mut table);
            drop(table);
            transaction.flush().expect("room");
            transaction.commit().expect("room");
            super::super::open::close(&settings, database).expect("closes");
        };
        let third = rows::place_key(
            &AgentId::new("edge-03").expect("valid"),
            wire::ids::Epoch(1),
            wire::ids::Seq(41),
        );
        let kept = std::cell::RefCell::new(Vec::new());
        meddle(&|table| {
            let value = table.get(&third).expect("read").expect("there").value().to_vec();
            let mut other = value.clone();
            other[20] ^= 1;
            *kept.borrow_mut() = value;
            table.insert(&third, &other).expect("room");
        });
        let damaged = check();
        assert!(
            !damaged.ok && damaged.problems[0].contains("table `entries`"),
            "{damaged}"
        );
        meddle(&|table| table.remove(&third).expect("room"));
        let lost = check();
        assert!(
            lost.problems
                .iter()
                .any(|problem| problem.contains("41 to 60 are missing")),
            "{lost}"
        );
        assert!(!lost.journals[0].ok);
        meddle(&|table| table.insert(&third, &kept.borrow()).expect("room"));
        assert!(check().ok);
    }
}

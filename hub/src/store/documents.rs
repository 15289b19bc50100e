//! Rows of documents: the newest revision of each, its unique keys and its list indexes, always written together.
//!
//! Decides nothing about documents; refuses a revision that does not follow the stored one and a unique key that is another's, so
//! that a mistake in the core is found before it is durable.
//!
//! Invariant: every key and index row belongs to the stored revision of its document.

use std::collections::{BTreeMap, BTreeSet};

use hub_core::{Put, StoredDocument};
use serde::{Deserialize, Serialize};
use wire::codec;

use super::engine::{Snapshot, Sorted};
use super::read::{Read, value};
use super::rows::{self, LIVE, parts_key, parts_span, read_parts, unseal};
use super::tables::{ApplyError, Tables, decode, put};
use super::{DocumentPage, StoreError};

/// Documents that are read at once: at 64 KiB at most 32 MiB, and mostly one.
const AT_ONCE: usize = 512;

/// The newest row of each document in the part of a batch that was checked.
pub(super) type Earlier<'a> = BTreeMap<(&'static str, &'a str), &'a Put>;

/// A row of the table of documents.
#[derive(Debug, Serialize, Deserialize)]
struct Row {
    revision: u64,
    live: bool,
    unique: Vec<String>,
    indexes: Vec<(String, String)>,
    record: Vec<u8>,
}

impl Tables<'_> {
    fn document(&self, kind: &str, id: &str) -> Result<Option<Row>, ApplyError> {
        let key = parts_key(&[kind, id]);
        match self.documents.get(&key[..])? {
            Some(sealed) => Ok(Some(decode("documents", unseal("documents", &key, sealed.value())?)?)),
            None => Ok(None),
        }
    }

    /// Whether a document's row follows what is stored.
    ///
    /// `earlier` has the rows of the same batch that stand before it.
    pub(super) fn check_put<'a>(
        &self,
        row: &'a Put,
        (earlier, batch): (&mut Earlier<'a>, &[hub_core::Row]),
    ) -> Result<(), ApplyError> {
        let key = (row.kind, row.id.as_str());
        let former = match earlier.get(&key) {
            Some(_) => None,
            None => self.document(row.kind, &row.id)?,
        };
        let stored = match earlier.get(&key) {
            Some(earlier) => earlier.revision,
            None => former.as_ref().map_or(0, |row| row.revision),
        };
        if row.revision != stored + 1 {
            return Err(ApplyError::Refused(StoreError::Revision {
                kind: row.kind,
                id: row.id.clone(),
                revision: row.revision,
                stored,
            }));
        }
        let its = match earlier.get(&key) {
            Some(earlier) => &earlier.unique[..],
            None => former.as_ref().map_or(&[][..], |row| &row.unique[..]),
        };
        // What it had in the revision before is its own.
        for unique in row.unique.iter().filter(|unique| !its.contains(unique)) {
            let key = parts_key(&[row.kind, unique]);
            let Some(sealed) = self.document_keys.get(&key[..])? else {
                continue;
            };
            let holder = String::from_utf8_lossy(unseal("document-keys", &key, sealed.value())?).into_owned();
            // A document of the same batch may give its key up before this row is written.
            let given_up = batch.iter().any(|other| {
                matches!(other, hub_core::Row::Put(put) if put.kind == row.kind && put.id == holder && !put.unique.contains(unique))
            });
            if holder != row.id && !given_up {
                return Err(ApplyError::Refused(StoreError::Taken {
                    kind: row.kind,
                    id: row.id.clone(),
                    key: unique.clone(),
                    holder,
                }));
            }
        }
        earlier.insert(key, row);
        Ok(())
    }

    /// Writes a document's row, its keys and its indexes, and removes those of the former revision that it has no more. What both have
    /// stays as it is: most revisions change neither keys nor indexes.
    pub(super) fn put_document(&mut self, row: &Put) -> Result<(), ApplyError> {
        let (kind, id) = (row.kind, row.id.as_str());
        let former = self.document(kind, id)?;
        let of_former = former.as_ref().map(|row| Lists::of(kind, id, row));
        let (before, key) = (of_former.unwrap_or_default(), parts_key(&[kind, id]));
        let Some(record) = &row.record else {
            self.documents.remove(&key[..])?;
            return self.relist(id, &before, &Lists::default());
        };
        let stored = Row {
            revision: row.revision,
            live: row.live,
            unique: row.unique.clone(),
            indexes: row
                .indexes
                .iter()
                .map(|(index, of)| ((*index).to_owned(), of.clone()))
                .collect(),
            record: record.clone(),
        };
        put(&mut self.documents, "documents", &key, &codec::encode(&stored))?;
        self.relist(id, &before, &Lists::of(kind, id, &stored))
    }

    fn relist(&mut self, id: &str, before: &Lists, after: &Lists) -> Result<(), ApplyError> {
        for key in before.unique.difference(&after.unique) {
            self.document_keys.remove(&key[..])?;
        }
        for key in before.indexes.difference(&after.indexes) {
            self.document_index.remove(&key[..])?;
        }
        for key in after.unique.difference(&before.unique) {
            put(&mut self.document_keys, "document-keys", key, id.as_bytes())?;
        }
        for key in after.indexes.difference(&before.indexes) {
            put(&mut self.document_index, "document-index", key, &[])?;
        }
        Ok(())
    }
}

/// Under which keys a document is found, besides its own.
#[derive(Default)]
struct Lists {
    unique: BTreeSet<Vec<u8>>,
    indexes: BTreeSet<Vec<u8>>,
}

impl Lists {
    fn of(kind: &str, id: &str, row: &Row) -> Self {
        let unique = row.unique.iter().map(|unique| parts_key(&[kind, unique]));
        let indexes = row.indexes.iter().map(|(index, of)| parts_key(&[kind, index, of, id]));
        let live = row.live.then(|| parts_key(&[kind, LIVE, "", id]));
        Self {
            unique: unique.collect(),
            indexes: indexes.chain(live).collect(),
        }
    }
}

/// One document.
pub fn document(read: &Snapshot, kind: &str, id: &str) -> Read<Option<StoredDocument>> {
    let key = parts_key(&[kind, id]);
    match value(read, rows::DOCUMENTS, "documents", &key)? {
        Some(bytes) => Ok(Some(stored(kind, id, decode("documents", &bytes)?))),
        None => Ok(None),
    }
}

fn stored(kind: &str, id: &str, row: Row) -> StoredDocument {
    StoredDocument {
        kind: kind.to_owned(),
        id: id.to_owned(),
        revision: row.revision,
        record: row.record,
    }
}

/// Id of the document with a unique key.
pub fn by_key(read: &Snapshot, kind: &str, key: &str) -> Read<Option<String>> {
    let found = value(read, rows::DOCUMENT_KEYS, "document-keys", &parts_key(&[kind, key]))?;
    Ok(found.map(|id| String::from_utf8_lossy(&id).into_owned()))
}

/// A page of a kind, or of what has one value of a list index, newest id first.
pub fn page(
    read: &Snapshot,
    kind: &str,
    index: Option<(&str, &str)>,
    before: Option<&str>,
    limit: usize,
) -> Read<DocumentPage> {
    let (table, name, prefix) = match index {
        Some((index, of)) => (rows::DOCUMENT_INDEX, "document-index", vec![kind, index, of]),
        None => (rows::DOCUMENTS, "documents", vec![kind]),
    };
    let (start, mut end) = parts_span(&prefix);
    if let Some(before) = before {
        let parts: Vec<&str> = prefix.iter().copied().chain([before]).collect();
        end = parts_key(&parts);
    }
    let mut ids = Vec::new();
    let mut is_more = false;
    for row in read.open_table(table)?.range(&start[..]..&end[..])?.rev() {
        let (key, _) = row?;
        is_more = ids.len() >= limit;
        if is_more {
            break;
        }
        let parts = read_parts(name, key.value())?;
        ids.push(parts.last().copied().unwrap_or_default().to_owned());
    }
    read.expect(rows::DOCUMENTS, ids.iter().map(|id| parts_key(&[kind, id])).collect())?;
    let mut found = DocumentPage::default();
    for id in &ids {
        let document = document(read, kind, id)?.ok_or(StoreError::DamagedRow { table: name })?;
        found.rows.push(document);
    }
    if is_more {
        found.next = ids.pop();
    }
    Ok(found)
}

/// Every live document, of every kind.
pub fn live(read: &Snapshot) -> Read<Vec<StoredDocument>> {
    let mut places = Vec::new();
    for row in read.open_table(rows::DOCUMENT_INDEX)?.iter()? {
        let (key, _) = row?;
        if let [kind, LIVE, "", id] = read_parts("document-index", key.value())?[..] {
            places.push((kind.to_owned(), id.to_owned()));
        }
    }
    let mut found = Vec::new();
    for places in places.chunks(AT_ONCE) {
        read.expect(
            rows::DOCUMENTS,
            places.iter().map(|(kind, id)| parts_key(&[kind, id])).collect(),
        )?;
        for (kind, id) in places {
            let damaged = StoreError::DamagedRow {
                table: "document-index",
            };
            found.push(document(read, kind, id)?.ok_or(damaged)?);
        }
    }
    Ok(found)
}

/// Unique keys of all documents: kind, key, id.
pub fn keys(read: &Snapshot) -> Read<Vec<(String, String, String)>> {
    let mut found = Vec::new();
    for row in read.open_table(rows::DOCUMENT_KEYS)?.iter()? {
        let (key, sealed) = row?;
        let id = unseal("document-keys", key.value(), sealed.value())?;
        if let [kind, unique] = read_parts("document-keys", key.value())?[..] {
            found.push((
                kind.to_owned(),
                unique.to_owned(),
                String::from_utf8_lossy(id).into_owned(),
            ));
        }
    }
    Ok(found)
}

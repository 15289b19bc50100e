//! Documents: the latest state of a thing that the hub keeps, one kind of row for all of them.
//!
//! Decides which revision is the newest and which one is stored; never what a document means. A kind is a type that implements
//! [`Document`]: codec, version, migration, unique keys and list indexes in one file of its subject.
//!
//! A subject changes [`Documents`] at once and the row follows in the journal's next batch. Until that came back, [`Documents::get`]
//! gives the new revision and [`Documents::stored`] the former one: limits count the first, permissions and whatever leaves the hub
//! read the second. A batch that fails takes back what it held and every later revision of the same documents.
//!
//! Invariants: revisions of one document are consecutive; a unique key belongs to at most one document; only live documents stay in
//! memory once they are stored; bounded by [`Document::MOST_LIVE`] and [`MAX_RECORD_BYTES`].
//!
//! Read next: `journal.rs` (changes and batches), `cx.rs` (how a subject writes).

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;
use serde::de::DeserializeOwned;
use wire::codec;
use wire::ids::Digest;

/// Longest record of a document, in bytes: larger things are blobs that a document names by digest.
pub const MAX_RECORD_BYTES: usize = 64 * 1024;
/// Longest id or unique key of a document, in bytes: they are keys of the store.
pub const MAX_KEY_BYTES: usize = 200;

/// A kind of document.
pub trait Document: Serialize + DeserializeOwned + Clone {
    /// Its name in rows, entries and the API, for example `plan`.
    const KIND: &'static str;
    /// Version of its encoding; older ones are read by [`Document::migrate`].
    const VERSION: u8;
    /// Documents that may be live at once.
    const MOST_LIVE: usize;

    /// Its id within the kind. UUIDv7 sorts by time.
    fn id(&self) -> String;

    /// Whether something may still happen to it: only live documents are loaded at the start.
    fn is_live(&self) -> bool;

    /// What no other document of the kind may have, for example `target:edge-03/gpu0` of a live plan.
    fn unique(&self) -> Vec<String> {
        Vec::new()
    }

    /// At most three (index, value) pairs by which lists are filtered.
    fn indexes(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// Reads a record of an older version; `None` if there was no such version.
    fn migrate(_version: u8, _bytes: &[u8]) -> Option<Self> {
        None
    }
}

/// A row of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Put {
    /// Its kind.
    pub kind: &'static str,
    /// Its id.
    pub id: String,
    /// Its revision: one more than the stored one.
    pub revision: u64,
    /// Whether it is loaded at the start.
    pub live: bool,
    /// Its bytes; `None` removes it.
    pub record: Option<Vec<u8>>,
    /// Its unique keys, all of them.
    pub unique: Vec<String>,
    /// Its list indexes, all of them.
    pub indexes: Vec<(&'static str, String)>,
}

impl Put {
    /// Digest of its record, as entries name it.
    pub fn digest(&self) -> Digest {
        self.record.as_deref().map_or(Digest::ZERO, Digest::of)
    }

    /// Bytes that it takes in a batch, about.
    pub fn bytes(&self) -> usize {
        let keys: usize = self.unique.iter().map(String::len).sum();
        let indexes: usize = self.indexes.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.record.as_ref().map_or(0, Vec::len) + self.id.len() + keys + indexes + 128
    }
}

/// A document as the store holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredDocument {
    /// Its kind.
    pub kind: String,
    /// Its id.
    pub id: String,
    /// Its revision.
    pub revision: u64,
    /// Its bytes.
    pub record: Vec<u8>,
}

/// Why a document cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// Too many are live.
    #[error("{most} documents of kind `{kind}` are live, which is the most: wait until one is finished, or remove one")]
    Full {
        /// Which kind.
        kind: &'static str,
        /// How many.
        most: usize,
    },
    /// A unique key is taken.
    #[error("`{key}` belongs to {kind} `{id}`")]
    Taken {
        /// Which kind.
        kind: &'static str,
        /// The key.
        key: String,
        /// Whose it is.
        id: String,
    },
    /// It is too long.
    #[error("{kind} `{id}` takes {bytes} bytes, the most is {most}")]
    TooLong {
        /// Which kind.
        kind: &'static str,
        /// Which.
        id: String,
        /// How long.
        bytes: usize,
        /// How long it may be.
        most: usize,
    },
}

/// A record that this program cannot read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{kind} `{id}` is stored in version {version:?}, this program reads up to {known}: start the newer program, or restore a backup"
)]
pub struct Unreadable {
    /// Which kind.
    pub kind: &'static str,
    /// Which.
    pub id: String,
    /// Its version; `None` for an empty record.
    pub version: Option<u8>,
    /// What is known.
    pub known: u8,
}

/// Encodes a document: its version, then its bytes.
pub fn encode<D: Document>(document: &D) -> Vec<u8> {
    let mut bytes = vec![D::VERSION];
    bytes.extend(codec::encode(document));
    bytes
}

/// Reads a stored record, of this version or an older one.
pub fn decode<D: Document>(id: &str, record: &[u8]) -> Result<D, Unreadable> {
    let unreadable = |version| Unreadable {
        kind: D::KIND,
        id: id.to_owned(),
        version,
        known: D::VERSION,
    };
    let Some((&version, rest)) = record.split_first() else {
        return Err(unreadable(None));
    };
    let document = match version {
        version if version == D::VERSION => codec::decode(rest).ok(),
        version => D::migrate(version, rest),
    };
    document.ok_or_else(|| unreadable(Some(version)))
}

/// The live documents of one kind.
#[derive(Debug)]
pub struct Documents<D> {
    rows: BTreeMap<String, Versions<D>>,
    /// Unique keys of every document, also of finished ones that the store still has.
    keys: BTreeMap<String, String>,
}

/// One document: what is stored, and what is on its way.
#[derive(Debug)]
struct Versions<D> {
    stored: Option<(u64, D)>,
    /// Revision of the newest one, stored or not.
    revision: u64,
    /// Newest last; `None` is a removal.
    pending: VecDeque<(u64, Option<D>)>,
    /// Unique keys of the newest one.
    unique: Vec<String>,
}

impl<D> Default for Documents<D> {
    fn default() -> Self {
        Self {
            rows: BTreeMap::new(),
            keys: BTreeMap::new(),
        }
    }
}

impl<D: Document> Documents<D> {
    /// The documents that the store holds: the live ones, and the unique keys of all.
    pub fn recovered(
        documents: impl IntoIterator<Item = StoredDocument>,
        keys: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Unreadable> {
        let mut all = Self::default();
        all.keys.extend(keys);
        for document in documents {
            let value: D = decode(&document.id, &document.record)?;
            let unique = value.unique();
            all.keys
                .extend(unique.iter().map(|key| (key.clone(), document.id.clone())));
            let versions = Versions {
                stored: Some((document.revision, value)),
                revision: document.revision,
                pending: VecDeque::new(),
                unique,
            };
            all.rows.insert(document.id, versions);
        }
        Ok(all)
    }

    /// The newest revision of a live document.
    pub fn get(&self, id: &str) -> Option<&D> {
        self.rows.get(id)?.newest()
    }

    /// The newest revision of a live document, to note what needs no row: it is gone with this process, or with a failure.
    pub fn newest_mut(&mut self, id: &str) -> Option<&mut D> {
        let versions = self.rows.get_mut(id)?;
        match versions.pending.back_mut() {
            Some((_, value)) => value.as_mut(),
            None => versions.stored.as_mut().map(|(_, value)| value),
        }
    }

    /// The stored revision of a live document.
    pub fn stored(&self, id: &str) -> Option<&D> {
        self.rows.get(id)?.stored.as_ref().map(|(_, value)| value)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Every live document in its newest revision, by id.
    pub fn iter(&self) -> impl Iterator<Item = &D> + Clone {
        self.rows.values().filter_map(Versions::newest)
    }

    /// Every live document as it is stored, by id.
    pub fn iter_stored(&self) -> impl Iterator<Item = &D> {
        self.rows
            .values()
            .filter_map(|row| row.stored.as_ref().map(|(_, value)| value))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Whose a unique key is, live or finished.
    pub fn holder(&self, key: &str) -> Option<&str> {
        self.keys.get(key).map(String::as_str)
    }

    /// Makes this the newest revision and returns its row for the journal. Nothing is changed when it is refused.
    ///
    /// `base`: for a document that is finished and so not in memory, its stored revision.
    pub fn put(&mut self, document: D, base: u64) -> Result<Put, DocumentError> {
        let id = document.id();
        let record = encode(&document);
        let unique = document.unique();
        self.admit(&id, &record, &unique)?;
        let versions = self.rows.entry(id.clone()).or_insert_with(|| Versions {
            stored: None,
            revision: base,
            pending: VecDeque::new(),
            unique: Vec::new(),
        });
        versions.revision += 1;
        let revision = versions.revision;
        let (live, indexes) = (document.is_live(), document.indexes());
        versions.pending.push_back((revision, Some(document)));
        // Most revisions change no key.
        if versions.unique != unique {
            let former = std::mem::replace(&mut versions.unique, unique.clone());
            former.iter().for_each(|key| drop(self.keys.remove(key)));
            self.keys.extend(unique.iter().map(|key| (key.clone(), id.clone())));
        }
        Ok(Put {
            kind: D::KIND,
            id,
            revision,
            live,
            record: Some(record),
            unique,
            indexes,
        })
    }

    /// Removes a document and returns the row for the journal; `None` if it is not in memory.
    pub fn remove(&mut self, id: &str) -> Option<Put> {
        let versions = self.rows.get_mut(id)?;
        versions.newest()?;
        let unique = std::mem::take(&mut versions.unique);
        versions.revision += 1;
        let revision = versions.revision;
        versions.pending.push_back((revision, None));
        unique.iter().for_each(|key| drop(self.keys.remove(key)));
        Some(Put {
            kind: D::KIND,
            id: id.to_owned(),
            revision,
            live: false,
            record: None,
            unique: Vec::new(),
            indexes: Vec::new(),
        })
    }

    fn admit(&self, id: &str, record: &[u8], unique: &[String]) -> Result<(), DocumentError> {
        let longest = unique.iter().map(String::len).chain([id.len()]).max().unwrap_or(0);
        for (bytes, most) in [(record.len(), MAX_RECORD_BYTES), (longest, MAX_KEY_BYTES)] {
            if bytes > most {
                let (kind, id) = (D::KIND, id.to_owned());
                return Err(DocumentError::TooLong { kind, id, bytes, most });
            }
        }
        if !self.rows.contains_key(id) && self.rows.len() >= D::MOST_LIVE {
            return Err(DocumentError::Full {
                kind: D::KIND,
                most: D::MOST_LIVE,
            });
        }
        let taken = unique.iter().find_map(|key| Some((key, self.keys.get(key)?)));
        match taken.filter(|(_, of)| *of != id) {
            Some((key, of)) => Err(DocumentError::Taken {
                kind: D::KIND,
                key: key.clone(),
                id: of.clone(),
            }),
            None => Ok(()),
        }
    }

    /// A row came back: it is stored, or it and what followed it was not written.
    pub fn settle(&mut self, id: &str, revision: u64, is_stored: bool) {
        let Some(versions) = self.rows.get_mut(id) else {
            return;
        };
        if is_stored {
            while versions
                .pending
                .front()
                .is_some_and(|(pending, _)| *pending <= revision)
            {
                let settled = versions.pending.pop_front();
                versions.stored = settled.and_then(|(revision, value)| Some((revision, value?)));
            }
        } else {
            let kept = versions
                .pending
                .iter()
                .take_while(|(pending, _)| *pending < revision)
                .count();
            let lost = versions.pending.split_off(kept);
            // What it had taken may be with its former owner again, whose own loss came first.
            for key in lost
                .into_iter()
                .filter_map(|(_, value)| value)
                .flat_map(|document| document.unique())
            {
                if self.keys.get(&key).is_some_and(|holder| holder == id) {
                    self.keys.remove(&key);
                }
            }
            let last = versions.pending.back().map(|(revision, _)| *revision);
            let stored = versions.stored.as_ref().map(|(revision, _)| *revision);
            versions.revision = last.or(stored).unwrap_or(revision - 1);
            versions.unique = versions.newest().map(Document::unique).unwrap_or_default();
            self.keys
                .extend(versions.unique.iter().map(|key| (key.clone(), id.to_owned())));
        }
        if let Some(versions) = self.rows.get(id)
            && versions.pending.is_empty()
            && versions.stored.as_ref().is_none_or(|(_, value)| !value.is_live())
        {
            self.rows.remove(id);
        }
    }
}

impl<D> Versions<D> {
    fn newest(&self) -> Option<&D> {
        match self.pending.back() {
            Some((_, value)) => value.as_ref(),
            None => self.stored.as_ref().map(|(_, value)| value),
        }
    }
}

#[cfg(test)]
mod tests;

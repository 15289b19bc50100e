//! The hub's own journal: changes that subjects make, as entries of a chain with the documents that they explain.
//!
//! Decides in which batch a change is written and what becomes of the others when one fails; never what a change means. Owner of
//! the chain is `@hub` ([`AgentId::hub`]), its entries are those of any agent: same type, digest, `why` and `verify`.
//!
//! A [`Change`] is indivisible: everything that one input caused, in all subjects, is one change, and either all of it is stored or
//! nothing. Entries get their places when their batch is made, so a batch that fails leaves no hole: its changes, and those waiting
//! ones that may build on them, are taken back, and the rest follows in the next batch. A change builds on another that touches the
//! same document, or that may have given up a unique key which it claims.
//!
//! Invariant: every stored entry is the next link after the one before it; what a change waits to tell ([`Then`]) is told once, as
//! stored or as failed.
//!
//! Read next: `documents.rs` (rows), `cx.rs` (how a subject writes), `writer.rs` (the batch that carries it).

use std::collections::{BTreeSet, VecDeque};

use wire::change::{ChangeRecord, DocumentRef};
use wire::entry::{ChainHead, Entry, EntryBody, Gap};
use wire::ids::{AgentId, Epoch, Seq};
use wire::time::Now;

use crate::cx::Then;
use crate::documents::Put;
use crate::effect::Row;

/// Changes that wait for the store: people and programs act some times a second, and beyond this they are told to come again.
const MAX_WAITING: usize = 8_192;

/// Everything that one input caused.
#[derive(Debug, Default)]
pub(crate) struct Change {
    entries: Vec<(Now, EntryBody)>,
    puts: Vec<Put>,
    /// Kind, id and revision of those that are in the batch in flight.
    written: Vec<(&'static str, String, u64)>,
    /// Told when it is stored, or when it was not.
    thens: Vec<Then>,
}

impl Change {
    fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.puts.is_empty() && self.thens.is_empty()
    }

    fn keys(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let written = self.written.iter().map(|(kind, id, _)| (*kind, id.as_str()));
        self.puts.iter().map(|put| (put.kind, put.id.as_str())).chain(written)
    }

    pub(crate) fn record(&mut self, now: Now, body: EntryBody) {
        self.entries.push((now, body));
    }

    pub(crate) fn put(&mut self, put: Put) {
        self.puts.push(put);
    }

    pub(crate) fn then(&mut self, then: Then) {
        self.thens.push(then);
    }
}

/// What became of a change: its documents, and who is to be told.
#[derive(Debug)]
pub(crate) struct Settled {
    pub(crate) documents: Vec<(&'static str, String, u64)>,
    pub(crate) thens: Vec<Then>,
}

/// The chain, and what waits for the store.
#[derive(Debug)]
pub(crate) struct Journal {
    /// The last stored entry.
    head: ChainHead,
    /// The change of the present input.
    open: Change,
    waiting: VecDeque<Change>,
    flight: Option<Flight>,
}

/// What the batch in flight holds of the journal.
#[derive(Debug)]
struct Flight {
    head: ChainHead,
    changes: Vec<Change>,
}

impl Journal {
    /// The chain as the store holds it; `epoch` is that of the hub. A store that is older than its hub's epoch goes on in a new
    /// epoch of the chain, whose first entry names the one before.
    pub(crate) fn recovered(heads: &[ChainHead], epoch: Epoch, now: Now) -> Self {
        let last = heads.iter().max_by_key(|head| head.epoch).copied();
        let mut journal = Self {
            head: last.unwrap_or(ChainHead::empty(epoch)),
            open: Change::default(),
            waiting: VecDeque::new(),
            flight: None,
        };
        journal.carry_on(epoch, now);
        journal
    }

    /// The hub's epoch rose: it was restored from an older copy, so its own chain may have gone on elsewhere.
    pub(crate) fn carry_on(&mut self, epoch: Epoch, now: Now) {
        if epoch <= self.head.epoch || self.flight.is_some() {
            return;
        }
        let gap = Gap::Epoch {
            epoch: self.head.epoch,
            last_known: self.head.seq,
            acked: Seq(0),
            reason: "restored from a copy".to_owned(),
        };
        let mut change = Change::default();
        change.record(now, EntryBody::Gap(gap));
        self.waiting.push_front(change);
        self.head = ChainHead::empty(epoch);
    }

    /// The last stored entry; with place 0 where the present epoch has none.
    pub(crate) fn stored_head(&self) -> ChainHead {
        self.head
    }

    /// The change of the present input.
    pub(crate) fn open(&mut self) -> &mut Change {
        &mut self.open
    }

    /// The input is over: what it caused is one change. Returns what is to be told at once: an input that writes nothing only waits
    /// for what was written before it, if that is still on its way.
    pub(crate) fn seal(&mut self) -> Vec<Then> {
        let change = std::mem::take(&mut self.open);
        if !change.entries.is_empty() || !change.puts.is_empty() {
            self.waiting.push_back(change);
            return Vec::new();
        }
        let flying = self.flight.as_mut().and_then(|flight| flight.changes.last_mut());
        let last = self.waiting.back_mut().or(flying);
        match last {
            Some(last) => {
                last.thens.extend(change.thens);
                Vec::new()
            }
            None => change.thens,
        }
    }

    /// Whether so much waits that people must come again.
    pub(crate) fn is_crowded(&self) -> bool {
        self.waiting.len() >= MAX_WAITING
    }

    /// Whether changes wait for a batch.
    pub(crate) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Nothing waits and nothing is being written.
    pub(crate) fn is_settled(&self) -> bool {
        self.waiting.is_empty() && self.flight.is_none() && self.open.is_empty()
    }

    /// The rows of everything that waits, for the batch that is made now. `most` bounds them in bytes; one change always goes.
    pub(crate) fn take_rows(&mut self, most: usize) -> Vec<Row> {
        if self.waiting.is_empty() || self.flight.is_some() {
            return Vec::new();
        }
        let mut head = self.head;
        let (mut raw, mut decisions, mut outcomes, mut rows) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let (mut changes, mut bytes) = (Vec::new(), 0);
        while bytes < most
            && let Some(mut change) = self.waiting.pop_front()
        {
            let documents = change.puts.iter().map(document_ref).collect::<Vec<_>>();
            let mut documents = Some(documents);
            for (at, body) in change.entries.drain(..) {
                let seq = head.seq.next();
                let body = with_documents(body, documents.take().unwrap_or_default());
                note_kind(&body, seq, head.epoch, &mut decisions, &mut outcomes);
                let entry = Entry {
                    seq,
                    at,
                    prev: head.digest,
                    body,
                };
                let entry = entry.encode();
                bytes += entry.bytes.len();
                head = ChainHead {
                    epoch: head.epoch,
                    seq,
                    digest: entry.digest,
                };
                raw.push(entry);
            }
            for put in change.puts.drain(..) {
                bytes += put.bytes();
                change.written.push((put.kind, put.id.clone(), put.revision));
                rows.push(Row::Put(put));
            }
            changes.push(change);
        }
        if !raw.is_empty() {
            rows.push(Row::Entries {
                agent: AgentId::hub(),
                epoch: head.epoch,
                raw,
                decisions,
                outcomes,
            });
        }
        self.flight = Some(Flight { head, changes });
        rows
    }

    /// The batch is durable: what its changes wait to tell, in order.
    pub(crate) fn stored(&mut self) -> Vec<Settled> {
        let Some(flight) = self.flight.take() else {
            return Vec::new();
        };
        self.head = flight.head;
        flight.changes.into_iter().map(settle).collect()
    }

    /// The batch was not written: its changes and those that build on their documents are taken back, the latest first.
    pub(crate) fn failed(&mut self) -> Vec<Settled> {
        let Some(flight) = self.flight.take() else {
            return Vec::new();
        };
        let mut lost = flight.changes;
        let mut touched: BTreeSet<(&'static str, String)> = BTreeSet::new();
        for change in &lost {
            touched.extend(change.keys().map(|(kind, id)| (kind, id.to_owned())));
        }
        for change in std::mem::take(&mut self.waiting) {
            let of_kind = |kind| {
                touched
                    .range((kind, String::new())..)
                    .next()
                    .is_some_and(|(of, _)| *of == kind)
            };
            let claims = |put: &Put| !put.unique.is_empty() && of_kind(put.kind);
            let touches = change.keys().any(|(kind, id)| touched.contains(&(kind, id.to_owned())));
            if touches || change.puts.iter().any(claims) {
                touched.extend(change.keys().map(|(kind, id)| (kind, id.to_owned())));
                lost.push(change);
            } else {
                self.waiting.push_back(change);
            }
        }
        lost.into_iter().rev().map(settle).collect()
    }
}

fn settle(change: Change) -> Settled {
    let waiting = change.puts.into_iter().map(|put| (put.kind, put.id, put.revision));
    Settled {
        documents: change.written.into_iter().chain(waiting).collect(),
        thens: change.thens,
    }
}

fn document_ref(put: &Put) -> DocumentRef {
    DocumentRef {
        kind: put.kind.to_owned(),
        id: put.id.clone(),
        revision: put.revision,
        digest: put.digest(),
    }
}

/// The first entry of a change names every document of it.
fn with_documents(body: EntryBody, documents: Vec<DocumentRef>) -> EntryBody {
    match body {
        EntryBody::Changed(change) if !documents.is_empty() => {
            EntryBody::Changed(Box::new(ChangeRecord { documents, ..*change }))
        }
        other => other,
    }
}

fn note_kind(body: &EntryBody, seq: Seq, epoch: Epoch, decisions: &mut Vec<Seq>, outcomes: &mut Vec<(Seq, Seq)>) {
    match body {
        EntryBody::Decided(_) => decisions.push(seq),
        EntryBody::Acted(outcome) if outcome.decision.agent.is_hub() && outcome.decision.epoch == epoch => {
            outcomes.push((outcome.decision.seq, seq));
        }
        EntryBody::Acted(_) | EntryBody::Event(_) | EntryBody::Gap(_) | EntryBody::Changed(_) => {}
    }
}

//! One epoch of one agent: what is durable, what was accepted after it, and what may come next.
//!
//! Decides whether entries are the next links. Never acknowledges: that follows [`Chain::stored`].
//!
//! Invariant: `durable` <= `accepted`, the entries between them are exactly those that are queued or being written, and
//! whatever happens to the store, the next entry that is accepted is the next link after everything accepted before it, or
//! begins a hole that the agent itself declared.

use std::collections::VecDeque;

use wire::RawEntry;
use wire::entry::{ChainHead, MAX_ENTRY_BYTES};
use wire::ids::{Digest, Epoch, Seq};

use crate::peek::{self, Kind};

/// Digests of the last accepted entries, to tell a repetition from a contradiction. A repeated frame ends within them.
const RECENT: usize = 32;

/// The last place that is believed: an agent that makes a million entries a second needs nine years for it, and sums of such
/// numbers stay far from the end of theirs.
pub(crate) const FARTHEST_SEQ: Seq = Seq(1 << 48);

/// One chain.
#[derive(Debug, Clone)]
pub(crate) struct Chain {
    pub(crate) durable: ChainHead,
    pub(crate) accepted: ChainHead,
    recent: VecDeque<Digest>,
    /// Accepted and not yet handed to the store.
    pub(crate) queued: Queued,
}

/// Entries on their way to the store.
#[derive(Debug, Clone, Default)]
pub(crate) struct Queued {
    pub(crate) raw: Vec<RawEntry>,
    pub(crate) bytes: usize,
    pub(crate) decisions: Vec<Seq>,
    /// (decision, outcome), both of this epoch.
    pub(crate) outcomes: Vec<(Seq, Seq)>,
}

/// A range of entries that the hub will never get.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Hole {
    /// Of which epoch.
    pub epoch: Epoch,
    /// The first that is missing.
    pub from: Seq,
    /// The last that is missing.
    pub to: Seq,
}

/// What became of a frame of entries.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    /// How many are new.
    pub(crate) fresh: usize,
    /// How many were there already.
    pub(crate) repeated: usize,
    /// A hole that begins here.
    pub(crate) hole: Option<Hole>,
}

/// Why the rest of a frame was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("entry {found} came where {expected} was expected")]
    OutOfOrder { expected: Seq, found: Seq },
    #[error("entry {seq} is not the one that the hub holds or does not follow it")]
    Diverged { seq: Seq },
    #[error("entry {seq} cannot be read")]
    Unreadable { seq: Seq },
}

impl Chain {
    /// A chain as the store holds it.
    pub(crate) fn new(head: ChainHead) -> Self {
        Self {
            durable: head,
            accepted: head,
            recent: VecDeque::from_iter((head.seq.0 > 0).then_some(head.digest)),
            queued: Queued::default(),
        }
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.durable.epoch
    }

    /// Nothing is queued or being written.
    pub(crate) fn settled(&self) -> bool {
        self.durable == self.accepted
    }

    /// Takes consecutive entries, the first at `first`. `oldest`: the agent says that it has none of this epoch before that.
    /// `each` sees every new entry. What comes before a refused entry stays accepted.
    pub(crate) fn accept(
        &mut self,
        first: Seq,
        entries: Vec<Vec<u8>>,
        oldest: Option<Seq>,
        mut each: impl FnMut(&RawEntry, Kind, &[u8], &mut Queued),
    ) -> (Taken, Result<(), Refusal>) {
        let mut taken = Taken::default();
        self.queued.raw.reserve(entries.len());
        for (offset, bytes) in (0..).zip(entries) {
            let seq = Seq(first.0.saturating_add(offset));
            if seq <= self.accepted.seq {
                match self.repeats(seq, &bytes) {
                    Ok(()) => taken.repeated += 1,
                    Err(refusal) => return (taken, Err(refusal)),
                }
                continue;
            }
            match self.next(seq, bytes, oldest, &mut each) {
                Ok(hole) => {
                    taken.fresh += 1;
                    taken.hole = taken.hole.or(hole);
                }
                Err(refusal) => return (taken, Err(refusal)),
            }
        }
        (taken, Ok(()))
    }

    /// An entry that is there already is the same one. Older ones than the last few cannot be compared, and need not be:
    /// nobody who follows our `Welcome` sends them, and they change nothing.
    fn repeats(&self, seq: Seq, bytes: &[u8]) -> Result<(), Refusal> {
        let back = usize::try_from(self.accepted.seq.0 - seq.0).unwrap_or(usize::MAX);
        let known = self.recent.len().checked_sub(back.saturating_add(1));
        match known.and_then(|index| self.recent.get(index)) {
            Some(digest) if *digest != Digest::of(bytes) => Err(Refusal::Diverged { seq }),
            _ => Ok(()),
        }
    }

    fn next(
        &mut self,
        seq: Seq,
        bytes: Vec<u8>,
        oldest: Option<Seq>,
        each: &mut impl FnMut(&RawEntry, Kind, &[u8], &mut Queued),
    ) -> Result<Option<Hole>, Refusal> {
        let expected = self.accepted.seq.next();
        let declared = oldest == Some(seq);
        if seq != expected && !declared {
            return Err(Refusal::OutOfOrder { expected, found: seq });
        }
        if bytes.len() > MAX_ENTRY_BYTES || seq > FARTHEST_SEQ {
            return Err(Refusal::Unreadable { seq });
        }
        let digest = Digest::of(&bytes);
        let raw = RawEntry { seq, digest, bytes };
        let peek = peek::peek(&raw.bytes).map_err(|_| Refusal::Unreadable { seq })?;
        if peek.seq != seq {
            return Err(Refusal::Unreadable { seq });
        }
        let hole = (seq != expected).then(|| Hole {
            epoch: self.accepted.epoch,
            from: expected,
            to: Seq(seq.0.saturating_sub(1)),
        });
        if hole.is_none() && peek.prev != self.accepted.digest {
            return Err(Refusal::Diverged { seq });
        }
        each(&raw, peek.kind, peek.body, &mut self.queued);
        self.accepted.seq = seq;
        self.accepted.digest = digest;
        if hole.is_some() {
            self.recent.clear();
        } else if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(digest);
        self.queued.bytes += raw.bytes.len();
        self.queued.raw.push(raw);
        Ok(hole)
    }

    /// What is to be stored next; the chain forgets it.
    pub(crate) fn take_queued(&mut self) -> Queued {
        std::mem::take(&mut self.queued)
    }

    /// Everything up to `head` is durable.
    pub(crate) fn stored(&mut self, head: ChainHead) {
        self.durable = head;
    }

    /// Nothing after the durable end was written: it is expected again.
    pub(crate) fn roll_back(&mut self) {
        let lost = self.accepted.seq.0 - self.durable.seq.0;
        let keep = self
            .recent
            .len()
            .saturating_sub(usize::try_from(lost).unwrap_or(usize::MAX));
        self.recent.truncate(keep);
        if self.recent.back() != Some(&self.durable.digest) {
            self.recent = VecDeque::from_iter((self.durable.seq.0 > 0).then_some(self.durable.digest));
        }
        self.accepted = self.durable;
        self.queued = Queued::default();
    }
}

#[cfg(test)]
mod tests {
    use wire::Now;
    use wire::entry::{Entry, EntryBody, Event};

    use super::*;

    /// Entries 1 to 9; those from `fork` on are of another history.
    fn entries(fork: u64) -> Vec<Vec<u8>> {
        let mut prev = Digest::ZERO;
        let made = (1..=9).map(|place| {
            let message = if place < fork { "ours" } else { "theirs" }.to_owned();
            let raw = Entry {
                seq: Seq(place),
                at: Now::default(),
                prev,
                body: EntryBody::Event(Event::Notified { message }),
            }
            .encode();
            prev = raw.digest;
            raw.bytes
        });
        made.collect()
    }

    /// Each step is `FIRST-LAST` of our entries, the same with `'` for a history that forked at 4, `>N` when the agent says that
    /// it has nothing before N, `stored`, or `failed`. The result says how each frame ended.
    fn check(steps: &str, expected: &str) {
        let mut chain = Chain::new(ChainHead::empty(Epoch(1)));
        let mut oldest = None;
        let mut results = Vec::new();
        for step in steps.split_whitespace() {
            if step == "stored" {
                chain.take_queued();
                chain.stored(chain.accepted);
            } else if step == "failed" {
                chain.take_queued();
                chain.roll_back();
            } else if let Some(place) = step.strip_prefix('>') {
                oldest = Some(Seq(place.parse().expect("a place")));
            } else {
                let source = entries(if step.ends_with('\'') { 4 } else { 99 });
                let (first, last) = step.trim_end_matches('\'').split_once('-').expect("a range");
                let (first, last): (usize, usize) = (first.parse().expect("first"), last.parse().expect("last"));
                let frame = source[first - 1..last].to_vec();
                let (taken, result) = chain.accept(Seq(first as u64), frame, oldest, |_, _, _, _| {});
                let hole = if taken.hole.is_some() { " hole" } else { "" };
                results.push(match result {
                    Ok(()) => format!("{}+{}{hole}", taken.fresh, taken.repeated),
                    Err(Refusal::Diverged { seq }) => format!("diverged at {seq}"),
                    Err(Refusal::OutOfOrder { expected, .. }) => format!("wants {expected}"),
                    Err(Refusal::Unreadable { seq }) => format!("unreadable {seq}"),
                });
            }
        }
        assert_eq!(results.join(" | "), expected, "{steps}");
        assert!(chain.durable.seq <= chain.accepted.seq);
        let waiting = (chain.accepted.seq.0 - chain.durable.seq.0) as usize;
        assert!(chain.queued.raw.len() <= waiting);
    }

    #[test]
    fn only_the_next_links_are_taken() {
        check("1-3 4-5", "3+0 | 2+0");
        check("1-3 5-6", "3+0 | wants 4");
        check("2-3", "wants 1");
        check("1-3 stored 2-5", "3+0 | 2+2");
    }

    #[test]
    fn another_history_is_told_from_a_repetition() {
        check("1-6 2-6", "6+0 | 0+5");
        check("1-6 2-6'", "6+0 | diverged at 4");
        check("1-4 stored 5-6'", "4+0 | diverged at 5");
        check("1-3 stored 4-6'", "3+0 | 3+0");
    }

    #[test]
    fn what_was_not_stored_is_expected_again() {
        check("1-3 stored 4-6 failed 7-8 4-5", "3+0 | 3+0 | wants 4 | 2+0");
        check("1-3 failed 1-3", "3+0 | 3+0");
        check("1-3 stored 4-6 failed 2-3 4-4'", "3+0 | 3+0 | 0+2 | 1+0");
    }

    #[test]
    fn a_hole_begins_only_where_the_agent_has_nothing_before() {
        check("1-2 >5 5-6", "2+0 | 2+0 hole");
        check("1-2 >5 6-7", "2+0 | wants 3");
        check("1-2 >2 3-4", "2+0 | 2+0");
        check("1-2 >5 5-6 failed 1-1", "2+0 | 2+0 hole | 1+0");
    }
}

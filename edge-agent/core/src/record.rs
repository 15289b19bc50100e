//! The end of the journal as the core sees it: entries that were made, the one batch that is on its way, what is durable.
//!
//! Decides what goes into the next batch and whether the journal is to be trusted at the moment; it never decides what an entry says.
//!
//! Invariants: at most one batch is on its way; entries become durable in the order in which they were made, each with the
//! bytes it was made with, however often its batch fails; [`Record::recent`] hands out durable entries only.
//!
//! Read next: `agent.rs` (who asks for batches), `actions.rs` (who waits for them).

use std::collections::VecDeque;
use std::time::Duration;

use wire::entry::{ChainHead, Entry, EntryBody, RawEntry};
use wire::ids::{Epoch, Seq};
use wire::time::{Mono, Now};

use crate::effect::Token;
use crate::input::Floor;

/// Durable entries kept in memory for the link: a minute of a busy node. Older ones are read back from the journal.
const RECENT_BYTES: usize = 64 * 1024;
/// Entries that may wait in memory while the journal fails: some hundred decisions. Beyond it they are only counted.
const TAIL_BYTES: usize = 512 * 1024;
/// The tail must still fit into the journal when that is back, so it is at most this part of the journal's bound.
const TAIL_SHARE: u64 = 4;
/// First delay before a failed batch is tried again, doubling up to [`LONGEST_RETRY`].
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// A disk that was full for an hour should not need another hour to be noticed as free.
const LONGEST_RETRY: Duration = Duration::from_secs(30);
/// The floor's own file is renewed this often when only its marks moved; epochs and generations are written at once.
const FLOOR_EVERY: Duration = Duration::from_secs(60);
/// Names of unrecorded actions that the later entry spells out.
const NAMED: usize = 8;

/// A batch that was handed to the shell.
#[derive(Debug, Clone)]
pub(crate) struct InFlight {
    token: Token,
    pub(crate) through: Seq,
    entries: usize,
    started: Mono,
    pub(crate) block: Option<(Seq, Vec<u8>)>,
    pub(crate) bundle: bool,
    floor: Option<Floor>,
    noted: u64,
}

/// What goes into a batch.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) entries: Vec<RawEntry>,
    /// Something waits for it.
    pub(crate) urgent: bool,
    /// If the floor's own file needs it.
    pub(crate) floor: Option<Floor>,
}

#[derive(Debug)]
struct Trouble {
    retry_at: Mono,
    delay: Duration,
}

/// Protective actions that ran without a record before them.
#[derive(Debug, Default)]
struct Unrecorded {
    actions: u64,
    /// How many of them an entry in the tail already names.
    noted: u64,
    names: Vec<String>,
}

#[derive(Debug)]
pub(crate) struct Record {
    made: ChainHead,
    durable: ChainHead,
    tail: VecDeque<RawEntry>,
    tail_bytes: usize,
    tail_limit: usize,
    urgent: bool,
    in_flight: Option<InFlight>,
    late: bool,
    trouble: Option<Trouble>,
    recent: VecDeque<RawEntry>,
    recent_bytes: usize,
    unrecorded: Unrecorded,
    floor: Floor,
    floor_at: Mono,
    pub(crate) used_bytes: u64,
}

impl Record {
    /// Carries on from a durable head; `floor` is what its own file holds.
    pub(crate) fn new(head: ChainHead, floor: Floor, used_bytes: u64, journal_limit_bytes: u64, now: Mono) -> Self {
        let share = usize::try_from(journal_limit_bytes / TAIL_SHARE).unwrap_or(usize::MAX);
        Self {
            made: head,
            durable: head,
            tail: VecDeque::new(),
            tail_bytes: 0,
            tail_limit: TAIL_BYTES.min(share),
            urgent: false,
            in_flight: None,
            late: false,
            trouble: None,
            recent: VecDeque::new(),
            recent_bytes: 0,
            unrecorded: Unrecorded::default(),
            floor,
            floor_at: now,
            used_bytes,
        }
    }

    /// Where the chain ends, with what is not durable yet.
    pub(crate) fn made(&self) -> ChainHead {
        self.made
    }

    /// Where the durable part of the chain ends.
    pub(crate) fn durable(&self) -> ChainHead {
        self.durable
    }

    pub(crate) fn is_durable(&self, epoch: Epoch, seq: Seq) -> bool {
        // An older epoch ends only when its tail is empty, so all of it is durable.
        epoch < self.durable.epoch || (epoch == self.durable.epoch && seq <= self.durable.seq)
    }

    /// Makes the next entry.
    pub(crate) fn push(&mut self, at: Now, body: EntryBody) -> Seq {
        self.urgent |= matches!(body, EntryBody::Decided(_));
        let raw = Entry {
            seq: self.made.seq.next(),
            at,
            prev: self.made.digest,
            body,
        }
        .encode();
        self.made = ChainHead {
            epoch: self.made.epoch,
            seq: raw.seq,
            digest: raw.digest,
        };
        self.tail_bytes += raw.bytes.len();
        self.tail.push_back(raw);
        self.made.seq
    }

    /// Whether memory is left for entries that have to wait.
    pub(crate) fn has_room(&self) -> bool {
        self.tail_bytes < self.tail_limit
    }

    /// Whether entries become durable in time at the moment.
    pub(crate) fn ok(&self) -> bool {
        self.trouble.is_none() && !self.late
    }

    /// Whether an action may count on being recorded.
    pub(crate) fn takes_entries(&self) -> bool {
        self.ok() && self.has_room()
    }

    /// Whether everything that was made is durable.
    pub(crate) fn is_settled(&self) -> bool {
        self.in_flight.is_none() && self.tail.is_empty()
    }

    pub(crate) fn has_tail(&self) -> bool {
        !self.tail.is_empty()
    }

    /// Whether a batch may be handed over now.
    pub(crate) fn may_begin(&self, now: Mono) -> bool {
        self.in_flight.is_none() && self.trouble.as_ref().is_none_or(|trouble| now >= trouble.retry_at)
    }

    /// Counts a protective action that starts without a durable record.
    pub(crate) fn count_unrecorded(&mut self, name: String) {
        self.unrecorded.actions += 1;
        if self.unrecorded.names.len() < NAMED {
            self.unrecorded.names.push(name);
        }
    }

    pub(crate) fn unrecorded(&self) -> u64 {
        self.unrecorded.actions
    }

    /// What the entry about unrecorded actions has to say, if there are any that none tells of yet.
    pub(crate) fn note_unrecorded(&mut self) -> Option<(u64, String)> {
        let actions = self.unrecorded.actions - self.unrecorded.noted;
        if actions == 0 {
            return None;
        }
        self.unrecorded.noted = self.unrecorded.actions;
        Some((actions, std::mem::take(&mut self.unrecorded.names).join("; ")))
    }

    /// Takes all that was made into a batch.
    pub(crate) fn begin(
        &mut self,
        token: Token,
        block: Option<(Seq, Vec<u8>)>,
        bundle: bool,
        floor: Floor,
        now: Mono,
    ) -> Part {
        let moved = (floor.last, floor.acked) != (self.floor.last, self.floor.acked);
        let raised = Floor {
            last: self.floor.last,
            acked: self.floor.acked,
            ..floor
        } != self.floor;
        let due = moved && now.since(self.floor_at) >= FLOOR_EVERY;
        let floor = (raised || due).then_some(floor);
        let entries: Vec<RawEntry> = self.tail.iter().cloned().collect();
        self.in_flight = Some(InFlight {
            token,
            through: self.made.seq,
            entries: entries.len(),
            started: now,
            block,
            bundle,
            floor,
            noted: self.unrecorded.noted,
        });
        Part {
            entries,
            urgent: std::mem::take(&mut self.urgent),
            floor,
        }
    }

    /// The batch is durable. `None` for a token that is not on its way.
    pub(crate) fn appended(&mut self, token: Token, used_bytes: u64, now: Mono) -> Option<InFlight> {
        let done = self.take(token)?;
        self.trouble = None;
        self.used_bytes = used_bytes;
        self.unrecorded.actions -= done.noted;
        self.unrecorded.noted -= done.noted;
        if let Some(floor) = done.floor {
            self.floor = floor;
            self.floor_at = now;
        }
        for raw in self.tail.drain(..done.entries) {
            self.tail_bytes -= raw.bytes.len();
            self.durable.seq = raw.seq;
            self.durable.digest = raw.digest;
            self.recent_bytes += raw.bytes.len();
            self.recent.push_back(raw);
        }
        while self.recent_bytes > RECENT_BYTES {
            self.forget_oldest();
        }
        Some(done)
    }

    /// The batch is not durable; its entries wait for the next one.
    ///
    /// `smaller`: the next one will leave something out, so it is worth trying at once and nothing is wrong yet.
    pub(crate) fn failed(
        &mut self,
        token: Token,
        smaller: impl FnOnce(&InFlight) -> bool,
        now: Mono,
    ) -> Option<InFlight> {
        let failed = self.take(token)?;
        if self.trouble.is_none() && smaller(&failed) {
            return Some(failed);
        }
        let delay = match &self.trouble {
            Some(trouble) => (trouble.delay * 2).min(LONGEST_RETRY),
            None => FIRST_RETRY,
        };
        self.trouble = Some(Trouble {
            retry_at: now + delay,
            delay,
        });
        Some(failed)
    }

    /// Looks whether the batch on its way has missed its deadline. `true` once for each batch.
    pub(crate) fn look(&mut self, now: Mono, deadline: Duration) -> bool {
        let missed = self
            .in_flight
            .as_ref()
            .is_some_and(|batch| now.since(batch.started) >= deadline);
        let new = missed && !self.late;
        self.late = missed;
        new
    }

    /// When [`Record::look`] or a retry is due.
    pub(crate) fn due(&self, deadline: Duration) -> Option<Mono> {
        match (&self.in_flight, &self.trouble) {
            (Some(batch), _) => (!self.late).then(|| batch.started + deadline),
            (None, Some(trouble)) => Some(trouble.retry_at),
            (None, None) => None,
        }
    }

    /// Durable entries from `seq` on that are still in memory, at most `max_bytes` but at least one; `None`: read the journal.
    pub(crate) fn recent(&self, seq: Seq, max_bytes: usize) -> Option<Vec<Vec<u8>>> {
        let first = self.recent.front()?.seq;
        let skip = usize::try_from(seq.0.checked_sub(first.0)?).ok()?;
        if skip >= self.recent.len() {
            return None;
        }
        let mut bytes = 0;
        let entries = self.recent.iter().skip(skip).take_while(|raw| {
            bytes += raw.bytes.len();
            bytes <= max_bytes || bytes == raw.bytes.len()
        });
        Some(entries.map(|raw| raw.bytes.clone()).collect())
    }

    /// A hub has these: nobody will ask for them from memory.
    pub(crate) fn forget_through(&mut self, seq: Seq) {
        while self.recent.front().is_some_and(|raw| raw.seq <= seq) {
            self.forget_oldest();
        }
    }

    /// Starts a new epoch. Only when [`Record::is_settled`].
    pub(crate) fn start_epoch(&mut self, epoch: Epoch) {
        self.made = ChainHead::empty(epoch);
        self.durable = self.made;
        self.recent.clear();
        self.recent_bytes = 0;
    }

    fn take(&mut self, token: Token) -> Option<InFlight> {
        if self.in_flight.as_ref().is_none_or(|batch| batch.token != token) {
            return None;
        }
        self.late = false;
        self.in_flight.take()
    }

    fn forget_oldest(&mut self) {
        if let Some(raw) = self.recent.pop_front() {
            self.recent_bytes -= raw.bytes.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use wire::entry::Event;

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(2);

    fn event(n: usize) -> EntryBody {
        EntryBody::Event(Event::Notified { message: "x".repeat(n) })
    }

    fn record() -> Record {
        Record::new(ChainHead::empty(Epoch(1)), Floor::default(), 0, 1 << 20, Mono(0))
    }

    fn begin(record: &mut Record, token: u64, now: u64) -> Vec<RawEntry> {
        record
            .begin(Token(token), None, false, Floor::default(), Mono(now))
            .entries
    }

    #[test]
    fn what_failed_comes_again_byte_for_byte_and_with_what_followed() {
        let mut record = record();
        record.push(Now::default(), event(1));
        let first = begin(&mut record, 1, 0);
        assert!(!record.may_begin(Mono(0)), "one batch at a time");
        record.push(Now::default(), event(2));
        record.failed(Token(1), |_| false, Mono(10)).expect("on its way");
        assert!(!record.ok());
        assert!(!record.may_begin(Mono(1_009)));
        assert!(record.may_begin(Mono(1_010)));
        let second = begin(&mut record, 2, 1_010);
        assert_eq!(second.len(), 2);
        assert_eq!(second[0], first[0]);
        record.appended(Token(2), 7, Mono(1_011)).expect("on its way");
        assert!(record.ok());
        assert_eq!(record.durable().seq, Seq(2));
        assert_eq!(record.used_bytes, 7);
    }

    #[test]
    fn a_missed_deadline_is_noticed_once_and_ends_with_the_batch() {
        let mut record = record();
        record.push(Now::default(), event(1));
        begin(&mut record, 1, 0);
        assert!(!record.look(Mono(1_999), DEADLINE));
        assert!(record.look(Mono(2_000), DEADLINE));
        assert!(!record.look(Mono(3_000), DEADLINE));
        assert!(!record.ok());
        assert!(record.appended(Token(9), 0, Mono(3_000)).is_none());
        record.appended(Token(1), 0, Mono(3_000)).expect("on its way");
        assert!(record.ok());
    }

    #[test]
    fn unrecorded_actions_count_until_the_entry_that_names_them_is_durable() {
        let mut record = record();
        record.count_unrecorded("cap gpu0".to_owned());
        assert_eq!(record.note_unrecorded(), Some((1, "cap gpu0".to_owned())));
        assert_eq!(record.note_unrecorded(), None);
        record.push(Now::default(), event(1));
        begin(&mut record, 1, 0);
        record.count_unrecorded("cap gpu1".to_owned());
        record.appended(Token(1), 0, Mono(1)).expect("on its way");
        assert_eq!(record.unrecorded(), 1);
        assert_eq!(record.note_unrecorded(), Some((1, "cap gpu1".to_owned())));
    }

    #[test]
    fn the_floor_is_written_when_it_rises_and_each_minute_when_it_moves() {
        let mut record = record();
        let mut write = |last: u64, generation: u64, now: u64| {
            let floor = Floor {
                last: Seq(last),
                generation: wire::Generation(generation),
                ..Floor::default()
            };
            record.push(Now::default(), event(1));
            let written = record.begin(Token(now), None, false, floor, Mono(now)).floor.is_some();
            record.appended(Token(now), 0, Mono(now)).expect("on its way");
            written
        };
        assert!(!write(1, 0, 1_000));
        assert!(write(2, 1, 2_000));
        assert!(!write(3, 1, 61_999));
        assert!(write(4, 1, 62_000));
    }

    proptest! {
        #[test]
        fn entries_become_durable_in_order_with_their_first_bytes(
            steps in proptest::collection::vec((0usize..4, 1usize..40), 1..120)
        ) {
            let mut record = record();
            let (mut made, mut durable, mut token, mut now) = (Vec::new(), Vec::new(), 0, 0u64);
            let mut flying: Vec<RawEntry> = Vec::new();
            for (step, size) in steps {
                now += 700;
                match step {
                    0 => {
                        record.push(Now::default(), event(size));
                        made.push(record.tail.back().expect("just pushed").clone());
                    }
                    1 if record.may_begin(Mono(now)) && record.has_tail() => {
                        token += 1;
                        flying = begin(&mut record, token, now);
                    }
                    2 if record.appended(Token(token), 0, Mono(now)).is_some() => durable.append(&mut flying),
                    3 if record.failed(Token(token), |_| false, Mono(now)).is_some() => flying.clear(),
                    _ => {}
                }
                prop_assert_eq!(&durable[..], &made[..durable.len()]);
                prop_assert_eq!(record.durable().seq, Seq(durable.len() as u64));
                prop_assert_eq!(record.made().seq, Seq(made.len() as u64));
                if let Some(raw) = record.recent(Seq(1), usize::MAX) {
                    prop_assert_eq!(raw.len(), durable.len());
                }
            }
        }
    }
}

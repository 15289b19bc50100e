//! Reads every stored entry of one node again: counts it, checks its link, finds holes and doubles.
//!
//! Trusts no index and no counter: only the entries' bytes, and the heads to compare the ends with.

use wire::entry::{ChainHead, EntryBody, Gap};
use wire::ids::{AgentId, Digest, Epoch, Seq};

use super::engine::{Snapshot, Sorted};
use super::prune::Floor;
use super::read::{ReadError, floors, heads};
use super::rows::{self, open_segment, raw_entry};

/// What was found of one node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scan {
    /// One for each epoch, oldest first.
    pub epochs: Vec<ScannedEpoch>,
    /// Ends of epochs that later entries tell of: (epoch, last entry that is known to have existed).
    pub told: Vec<(Epoch, Seq)>,
}

/// What was found of one epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScannedEpoch {
    /// Which.
    pub epoch: Epoch,
    /// The first entry.
    pub first: Seq,
    /// The last entry.
    pub last: Seq,
    /// Distinct entries that are there.
    pub count: u64,
    /// What was removed before them.
    pub floor: Option<Floor>,
    /// Entries that are there a second time.
    pub double: u64,
    /// Entries that are not there between the floor, or 1, and `last`, as spans.
    pub holes: Vec<(Seq, Seq)>,
    /// Digest of the last entry.
    pub head: Digest,
    /// The first entry whose link does not hold, if any; the first after a hole has none to check.
    pub broken: Option<Seq>,
    /// The stored end is another one than the last entry.
    pub head_differs: bool,
}

impl ScannedEpoch {
    fn new(epoch: Epoch, first: Seq) -> Self {
        let holes = if first.0 > 1 {
            vec![(Seq(1), before(first))]
        } else {
            Vec::new()
        };
        Self {
            epoch,
            first,
            last: before(first),
            count: 0,
            floor: None,
            double: 0,
            holes,
            head: Digest::ZERO,
            broken: None,
            head_differs: false,
        }
    }

    /// An epoch whose beginning was removed: what is left must continue it.
    fn above(epoch: Epoch, floor: Floor) -> Self {
        Self {
            first: floor.through.next(),
            last: floor.through,
            head: floor.digest,
            floor: Some(floor),
            broken: floor.broken,
            holes: Vec::new(),
            ..Self::new(epoch, Seq(1))
        }
    }

    /// Entries that are there and that were removed.
    pub fn ever(&self) -> u64 {
        self.count.saturating_add(self.floor.map_or(0, |floor| floor.entries))
    }

    /// Whether every link holds and the end is the end that was stored.
    pub fn chain_ok(&self) -> bool {
        self.broken.is_none() && !self.head_differs
    }

    fn see(&mut self, seq: Seq, prev: Option<Digest>, digest: Digest) {
        if seq <= self.last {
            self.double += 1;
            return;
        }
        if seq > self.last.next() {
            self.holes.push((self.last.next(), before(seq)));
        } else if seq.0 == 1 || self.count > 0 || self.floor.is_some() {
            let expected = if seq.0 == 1 { Digest::ZERO } else { self.head };
            if prev != Some(expected) {
                self.broken = self.broken.or(Some(seq));
            }
        }
        self.count += 1;
        self.last = seq;
        self.head = digest;
    }
}

/// Scans one node.
pub fn scan(read: &Snapshot, agent: &AgentId) -> Result<Scan, ReadError> {
    let mut scan = Scan::default();
    let mut floors = floors(read, agent)?.into_iter().peekable();
    let mut above = |upto: Epoch, epochs: &mut Vec<ScannedEpoch>| {
        while let Some((epoch, floor)) = floors.next_if(|(epoch, _)| *epoch <= upto) {
            epochs.push(ScannedEpoch::above(epoch, floor));
        }
    };
    let (start, end) = (rows::agent_key(agent), rows::agent_end(agent));
    for row in read.open_table(rows::ENTRIES)?.range(&start[..]..&end[..])? {
        let (key, sealed) = row?;
        let (_, epoch, first) = rows::read_place("entries", key.value())?;
        above(epoch, &mut scan.epochs);
        if scan.epochs.last().is_none_or(|last| last.epoch != epoch) {
            scan.epochs.push(ScannedEpoch::new(epoch, first));
        }
        for bytes in open_segment(key.value(), sealed.value())? {
            let raw = raw_entry(bytes)?;
            if let Some(last) = scan.epochs.last_mut() {
                last.see(raw.seq, raw.prev().ok(), raw.digest);
            }
            if let Ok(entry) = raw.decode()
                && let EntryBody::Gap(Gap::Epoch { epoch, last_known, .. }) = entry.body
            {
                scan.told.push((epoch, last_known));
            }
        }
    }
    above(Epoch(u64::MAX), &mut scan.epochs);
    for head in heads(read, agent)? {
        compare(&mut scan, &head);
    }
    Ok(scan)
}

fn before(seq: Seq) -> Seq {
    Seq(seq.0.saturating_sub(1))
}

fn compare(scan: &mut Scan, head: &ChainHead) {
    match scan.epochs.iter_mut().find(|found| found.epoch == head.epoch) {
        Some(found) => found.head_differs = (found.last, found.head) != (head.seq, head.digest),
        None if head.seq.0 > 0 => {
            let mut lost = ScannedEpoch::new(head.epoch, head.seq.next());
            lost.head_differs = true;
            scan.epochs.push(lost);
        }
        None => {}
    }
}

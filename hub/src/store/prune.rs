//! Removes the oldest entries of whoever takes more room than is theirs, and those that are too old.
//!
//! Decides nothing about fairness: the core says what an owner's share is and what must stay (`hub_core::retention`). A piece of a
//! history leaves as whole segments from its beginning, in one transaction with everything that points to them, and its end stays
//! written down: the place, the digest that the next entry continues, and how many there were. So what is left can be checked as
//! before, and a history that was cut never looks like one that was lost.
//!
//! Invariants: the newest segment of an owner stays; the hub's own journal stays; links are checked before they go, and one that did
//! not hold is remembered.
//! Read next: `verify.rs` (who reads floors), `apply.rs` (how segments got there).

use std::collections::BTreeMap;

use hub_core::{Quota, Spared, fair_share};
use serde::{Deserialize, Serialize};
use wire::codec;
use wire::ids::{AgentId, Digest, Epoch, Seq};
use wire::time::Wall;

use super::StoreError;
use super::engine::Sorted;
use super::read::number;
use super::rows::{self, open_segment, raw_entry, unseal};
use super::tables::{ApplyError, Tables, decode, put};

/// Segments that one transaction removes at most: twice what one of 1,024 batches brings in.
const MOST_SEGMENTS: usize = 2_048;
/// Bytes of them: they are read before they go, and whoever waits for the next commit waits for that.
const MOST_BYTES: u64 = 16 * 1024 * 1024;
/// How often entries are looked at for their age.
pub const SWEEP_EVERY_MS: u64 = 3_600_000;

/// What else there is of a segment of entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// Its number in the order of arrival.
    pub arrival: u64,
    /// The number under which its decisions are listed, if it has some.
    pub listed: Option<u64>,
    /// When it was stored, on the hub's own time line; 0 where that was not kept.
    pub at_ms: u64,
    /// What it takes on the disk, about.
    pub bytes: u64,
}

/// What was removed of one epoch of a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Floor {
    /// The last entry that was removed.
    pub through: Seq,
    /// Its digest, which the next one continues.
    pub digest: Digest,
    /// How many were removed.
    pub entries: u64,
    /// The first of them whose link did not hold, if any.
    pub broken: Option<Seq>,
    /// When the last one was removed.
    pub at: Wall,
}

impl Floor {
    const NOTHING: Self = Self {
        through: Seq(0),
        digest: Digest::ZERO,
        entries: 0,
        broken: None,
        at: Wall(0),
    };

    /// One more entry is removed.
    fn rise(&mut self, seq: Seq, prev: Option<Digest>, digest: Digest) {
        let continues = seq != self.through.next() || prev == Some(self.digest);
        if !continues {
            self.broken = self.broken.or(Some(seq));
        }
        self.entries += u64::from(seq > self.through);
        (self.through, self.digest) = (seq, digest);
    }
}

/// What an owner's entries take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Bytes that are there.
    pub bytes: u64,
    /// Entries that were removed, ever.
    pub pruned: u64,
}

/// What one round of making room has removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Whose, how many entries, and whether for want of room; the rest was too old.
    pub owners: Vec<(AgentId, u64, bool)>,
    /// There is more to remove.
    pub is_behind: bool,
    /// Entries went that a consumer had not read.
    pub unread: bool,
}

impl Pruned {
    /// Entries in all.
    pub fn entries(&self) -> u64 {
        self.owners.iter().map(|(_, entries, _)| entries).sum()
    }
}

/// Why segments of an owner go.
#[derive(Debug, Clone, Copy)]
enum Reason {
    /// It has more bytes than this.
    Share(u64),
    /// They were stored before this, on the hub's time line; those of which it is not known as if they had been at `unknown_ms`.
    Age { before_ms: u64, unknown_ms: u64 },
}

/// What is left of the room for one transaction, and what holds.
struct Round<'a> {
    spared: &'a Spared,
    /// Consumers hold nothing any more.
    is_strict: bool,
    segments: usize,
    bytes: u64,
    wall: Wall,
    done: Pruned,
}

impl Round<'_> {
    fn is_over(&self) -> bool {
        self.segments >= MOST_SEGMENTS || self.bytes >= MOST_BYTES
    }
}

impl Tables<'_> {
    /// An owner's entries take so much more.
    pub(super) fn uses_more(&mut self, owner: &AgentId, bytes: u64) -> Result<(), ApplyError> {
        let mut usage = self.usage_of(owner)?;
        usage.bytes += bytes;
        let total = match owner.is_hub() {
            true => &mut self.counters.own_bytes,
            false => &mut self.counters.entry_bytes,
        };
        *total += bytes;
        self.put_usage(owner, usage)
    }

    /// Removes what is too much or too old, a bounded number of segments. `now_ms`: the hub's time line.
    pub fn prune(&mut self, quota: Quota, spared: &Spared, (now_ms, wall): (u64, Wall)) -> Result<Pruned, ApplyError> {
        let held = self.counters.entry_bytes;
        let mut round = Round {
            spared,
            is_strict: held > quota.patience(),
            segments: 0,
            bytes: 0,
            wall,
            done: Pruned::default(),
        };
        if quota.is_exceeded(held) {
            let mut owners = self.owners()?;
            let share = fair_share(owners.iter().map(|(_, usage)| usage.bytes), quota.goal());
            owners.retain(|(_, usage)| usage.bytes > share);
            owners.sort_by_key(|(_, usage)| std::cmp::Reverse(usage.bytes));
            for (owner, usage) in owners {
                self.cut(&owner, usage, Reason::Share(share), &mut round)?;
            }
        }
        if self.sweep_is_due(now_ms)? {
            let unknown_ms = self.ages_since(now_ms)?;
            let before_ms = now_ms.saturating_sub(quota.age_ms);
            let reason = Reason::Age { before_ms, unknown_ms };
            for (owner, usage) in self.owners()? {
                if round.is_over() {
                    break;
                }
                self.cut(&owner, usage, reason, &mut round)?;
            }
            if !round.is_over() {
                put(&mut self.meta, "meta", b"swept", &now_ms.to_be_bytes())?;
            }
        }
        round.done.is_behind = round.is_over();
        self.counters.pruned += round.done.entries();
        Ok(round.done)
    }

    /// Whether entries are to be looked at for their age.
    fn sweep_is_due(&self, now_ms: u64) -> Result<bool, ApplyError> {
        let swept_ms = self.time("swept")?;
        Ok(swept_ms.is_none_or(|swept_ms| now_ms.saturating_sub(swept_ms) >= SWEEP_EVERY_MS))
    }

    /// From when on the age of segments is kept: the first look at them.
    fn ages_since(&mut self, now_ms: u64) -> Result<u64, ApplyError> {
        if let Some(since_ms) = self.time("ages-since")? {
            return Ok(since_ms);
        }
        put(&mut self.meta, "meta", b"ages-since", &now_ms.to_be_bytes())?;
        Ok(now_ms)
    }

    fn time(&self, name: &str) -> Result<Option<u64>, ApplyError> {
        match self.meta.get(name.as_bytes())? {
            Some(sealed) => Ok(Some(number(unseal("meta", name.as_bytes(), sealed.value())?)?)),
            None => Ok(None),
        }
    }

    /// Every agent that has entries, with what they take.
    fn owners(&self) -> Result<Vec<(AgentId, Usage)>, ApplyError> {
        let mut owners = Vec::new();
        for row in self.usage.iter()? {
            let (name, sealed) = row?;
            let usage = decode("usage", unseal("usage", name.value(), sealed.value())?)?;
            let damaged = || StoreError::DamagedRow { table: "usage" };
            let text = std::str::from_utf8(name.value()).map_err(|_| damaged())?;
            let owner = AgentId::owner(text).map_err(|_| damaged())?;
            if !owner.is_hub() {
                owners.push((owner, usage));
            }
        }
        Ok(owners)
    }

    fn usage_of(&self, owner: &AgentId) -> Result<Usage, ApplyError> {
        let name = owner.as_str().as_bytes();
        match self.usage.get(name)? {
            Some(sealed) => Ok(decode("usage", unseal("usage", name, sealed.value())?)?),
            None => Ok(Usage::default()),
        }
    }

    fn put_usage(&mut self, owner: &AgentId, usage: Usage) -> Result<(), ApplyError> {
        let name = owner.as_str().as_bytes();
        put(&mut self.usage, "usage", name, &codec::encode(&usage))
    }

    /// Removes the oldest segments of one owner for as long as the reason holds.
    fn cut(
        &mut self,
        owner: &AgentId,
        mut usage: Usage,
        reason: Reason,
        round: &mut Round<'_>,
    ) -> Result<(), ApplyError> {
        let before = usage;
        let end = rows::agent_end(owner);
        let newest = match self.segments.range(&rows::agent_key(owner)[..]..&end[..])?.next_back() {
            Some(row) => row?.0.value().to_vec(),
            None => return Ok(()),
        };
        let mut floor: Option<(Epoch, Floor)> = None;
        let mut from = rows::agent_key(owner);
        while !round.is_over() {
            let Some((key, about)) = self.oldest_segment(&from, &end)? else {
                break;
            };
            let goes = match reason {
                Reason::Share(share) => usage.bytes > share,
                Reason::Age { before_ms, unknown_ms } => match about.at_ms {
                    0 => unknown_ms < before_ms,
                    at_ms => at_ms < before_ms,
                },
            };
            if !goes || key == newest {
                break;
            }
            let is_unread = round.spared.unread.is_some_and(|unread| about.arrival >= unread);
            if is_unread && !round.is_strict {
                break;
            }
            let (_, epoch, _) = rows::read_place("segments", &key)?;
            let mut risen = match floor {
                Some((of, floor)) if of == epoch => floor,
                _ => self.floor_of(owner, epoch)?,
            };
            self.rise_over(&key, &mut risen)?;
            if !round.spared.frees(owner, (epoch, risen.through)) {
                break;
            }
            if let Some((of, whole)) = floor.filter(|(of, _)| *of != epoch) {
                self.put_floor(owner, of, whole, round.wall)?;
            }
            floor = Some((epoch, risen));
            self.remove_segment(&key, &about)?;
            // Behind what was removed, so that nobody looks at it again.
            from = key;
            round.segments += 1;
            round.bytes += about.bytes;
            round.done.unread |= is_unread;
            usage.bytes = usage.bytes.saturating_sub(about.bytes);
            self.counters.entry_bytes = self.counters.entry_bytes.saturating_sub(about.bytes);
        }
        let Some((epoch, whole)) = floor else {
            return Ok(());
        };
        self.put_floor(owner, epoch, whole, round.wall)?;
        let total = self.pruned_of(owner)?;
        let entries = total.saturating_sub(before.pruned);
        usage.pruned = total;
        self.put_usage(owner, usage)?;
        let is_share = matches!(reason, Reason::Share(_));
        round.done.owners.push((owner.clone(), entries, is_share));
        Ok(())
    }

    /// The oldest one behind a key and before another.
    fn oldest_segment(&self, after: &[u8], end: &[u8]) -> Result<Option<(Vec<u8>, Segment)>, ApplyError> {
        let span = (std::ops::Bound::Excluded(after), std::ops::Bound::Excluded(end));
        let Some(row) = self.segments.range(span)?.next() else {
            return Ok(None);
        };
        let (key, sealed) = row?;
        let about = decode("segments", unseal("segments", key.value(), sealed.value())?)?;
        Ok(Some((key.value().to_vec(), about)))
    }

    /// A floor as it is once this segment is gone.
    fn rise_over(&self, key: &[u8], floor: &mut Floor) -> Result<(), ApplyError> {
        let damaged = StoreError::DamagedRow { table: "entries" };
        let sealed = self.entries.get(key)?.ok_or(damaged)?;
        for bytes in open_segment(key, sealed.value())? {
            let raw = raw_entry(bytes)?;
            floor.rise(raw.seq, raw.prev().ok(), raw.digest);
        }
        Ok(())
    }

    fn remove_segment(&mut self, key: &[u8], about: &Segment) -> Result<(), ApplyError> {
        self.entries.remove(key)?;
        self.segments.remove(key)?;
        self.feed.remove(&about.arrival.to_be_bytes())?;
        if let Some(listed) = about.listed {
            self.decisions.remove(key)?;
            self.arrivals.remove(&listed.to_be_bytes())?;
        }
        Ok(())
    }

    fn floor_of(&self, owner: &AgentId, epoch: Epoch) -> Result<Floor, ApplyError> {
        let key = rows::epoch_key(owner, epoch);
        match self.floors.get(&key[..])? {
            Some(sealed) => Ok(decode("floors", unseal("floors", &key, sealed.value())?)?),
            None => Ok(Floor::NOTHING),
        }
    }

    /// Writes a floor down, and forgets outcomes of decisions below it.
    fn put_floor(&mut self, owner: &AgentId, epoch: Epoch, floor: Floor, at: Wall) -> Result<(), ApplyError> {
        let key = rows::epoch_key(owner, epoch);
        put(&mut self.floors, "floors", &key, &codec::encode(&Floor { at, ..floor }))?;
        let (start, end) = rows::outcome_span(owner, epoch, floor.through);
        Ok(self.outcomes.remove_span(&start, &end)?)
    }

    /// Entries of an owner that were removed, over all epochs.
    fn pruned_of(&self, owner: &AgentId) -> Result<u64, ApplyError> {
        let (start, end) = (rows::agent_key(owner), rows::agent_end(owner));
        let mut entries: u64 = 0;
        for row in self.floors.range(&start[..]..&end[..])? {
            let (key, sealed) = row?;
            let floor: Floor = decode("floors", unseal("floors", key.value(), sealed.value())?)?;
            entries = entries.saturating_add(floor.entries);
        }
        Ok(entries)
    }

    /// Counts what segments of a store of an older format take. Their age counts from the first sweep on.
    pub(super) fn count_segments(&mut self) -> Result<(), ApplyError> {
        let mut listed = BTreeMap::new();
        for row in self.arrivals.iter()? {
            let (arrival, sealed) = row?;
            let key = unseal("arrivals", arrival.value(), sealed.value())?.to_vec();
            listed.insert(key, number(arrival.value())?);
        }
        let mut used: BTreeMap<AgentId, u64> = BTreeMap::new();
        for row in self.feed.iter()? {
            let (arrival, sealed) = row?;
            let key = rows::Arrival::read(unseal("feed", arrival.value(), sealed.value())?)?.key;
            let Some(segment) = self.entries.get(key)? else {
                continue;
            };
            let about = Segment {
                arrival: number(arrival.value())?,
                listed: listed.get(key).copied(),
                at_ms: 0,
                bytes: rows::segment_cost(key, segment.value().len()),
            };
            put(&mut self.segments, "segments", key, &codec::encode(&about))?;
            let (owner, _, _) = rows::read_place("feed", key)?;
            *used.entry(owner).or_default() += about.bytes;
        }
        for (owner, bytes) in used {
            self.uses_more(&owner, bytes)?;
        }
        Ok(())
    }
}

//! The model of an agent's disk: what is on it is durable, what is on its way may be lost, kept or torn.
//!
//! It behaves as the real journal promises: a batch is all or nothing, except that the floor's own file is written first; released
//! items go when the space is needed; a reserve is kept for entries.

use std::collections::BTreeMap;

use edge_agent_core::{AppendError, Batch, Floor, Loaded, Log, Recovered};
use wire::entry::RawEntry;
use wire::ids::{Epoch, Seq};
use wire::{SignedBundle, SignedRoles};

type Place = (Epoch, Seq);

/// Everything in one state folder.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disk {
    pub(crate) entries: BTreeMap<Place, RawEntry>,
    pub(crate) blocks: BTreeMap<Place, Vec<u8>>,
    pub(crate) marks: Option<Vec<u8>>,
    pub(crate) floor: Option<Floor>,
    pub(crate) bundle: Option<SignedBundle>,
    pub(crate) roles: Vec<SignedRoles>,
    released: BTreeMap<(Log, Epoch), Seq>,
    /// The last block that was removed after its release, by epoch.
    pub(crate) trimmed_blocks: BTreeMap<Epoch, Seq>,
    bytes: u64,
    releasable: u64,
    damage: Option<&'static str>,
}

/// What was removed to make room.
pub(crate) struct Trimmed {
    pub(crate) log: Log,
    pub(crate) epoch: Epoch,
    pub(crate) oldest: Seq,
}

impl Disk {
    /// Bytes that the journal needs.
    pub(crate) fn used_bytes(&self) -> u64 {
        self.bytes - self.releasable
    }

    /// Whether there is room. Entries alone may use a reserve of a quarter.
    pub(crate) fn check_room(&self, batch: &Batch, limit: u64) -> Result<(), AppendError> {
        let size = batch_bytes(batch);
        let bound = if batch.telemetry.is_none() && batch.bundle.is_none() {
            limit + limit / 4
        } else {
            limit
        };
        if self.used_bytes() + size > bound {
            Err(AppendError::Full)
        } else {
            Ok(())
        }
    }

    /// Makes a batch durable, and makes room for it by removing what was released.
    pub(crate) fn commit(&mut self, batch: &Batch, limit: u64) -> Vec<Trimmed> {
        self.write_floor(batch);
        self.marks = Some(batch.marks.clone());
        if let Some((_, signed)) = &batch.bundle {
            self.bundle = Some(signed.clone());
        }
        if let Some(roles) = &batch.roles {
            self.roles.clone_from(roles);
        }
        for raw in &batch.entries {
            self.bytes += raw.bytes.len() as u64;
            self.entries.insert((batch.epoch, raw.seq), raw.clone());
        }
        if let Some((seq, block)) = &batch.telemetry {
            self.bytes += block.len() as u64;
            self.blocks.insert((batch.epoch, *seq), block.clone());
        }
        self.trim(limit)
    }

    /// The first part of a commit, which a crash can cut off from the rest.
    pub(crate) fn write_floor(&mut self, batch: &Batch) {
        if let Some(floor) = batch.floor {
            self.floor = Some(floor);
        }
    }

    pub(crate) fn release(&mut self, log: Log, epoch: Epoch, through: Seq) {
        let former = self.released.get(&(log, epoch)).copied().unwrap_or(Seq(0));
        if through <= former {
            return;
        }
        self.released.insert((log, epoch), through);
        let range = (epoch, former.next())..=(epoch, through);
        let freed: u64 = match log {
            Log::Entries => {
                let found = self.entries.range(range);
                found.map(|(_, raw)| raw.bytes.len() as u64).sum()
            }
            Log::Telemetry => {
                let found = self.blocks.range(range);
                found.map(|(_, block)| block.len() as u64).sum()
            }
        };
        self.releasable += freed;
    }

    /// Removes blocks at once.
    pub(crate) fn shed(&mut self, epoch: Epoch, through: Seq) {
        let released = self.released.get(&(Log::Telemetry, epoch)).copied().unwrap_or(Seq(0));
        let range = (epoch, Seq(0))..=(epoch, through);
        let gone: Vec<Place> = self.blocks.range(range).map(|(at, _)| *at).collect();
        for at in gone {
            let Some(block) = self.blocks.remove(&at) else {
                continue;
            };
            self.bytes -= block.len() as u64;
            if at.1 <= released {
                self.trimmed_blocks.insert(epoch, at.1);
                self.releasable -= block.len() as u64;
            }
        }
    }

    /// Whether a hub has this block, so that it may go without a word.
    pub(crate) fn is_released_block(&self, epoch: Epoch, seq: Seq) -> bool {
        let released = self.released.get(&(Log::Telemetry, epoch));
        released.is_some_and(|through| seq <= *through)
    }

    pub(crate) fn load(&self, log: Log, epoch: Epoch, from: Seq, max_bytes: usize) -> Loaded {
        let range = (epoch, from)..=(epoch, Seq(u64::MAX));
        let mut next = from;
        let mut bytes = 0;
        let mut fits = |seq: Seq, size: usize| {
            let consecutive = seq == next;
            next = seq.next();
            bytes += size;
            consecutive && (bytes <= max_bytes || bytes == size)
        };
        match log {
            Log::Entries => Loaded::Entries(
                self.entries
                    .range(range)
                    .take_while(|(at, raw)| fits(at.1, raw.bytes.len()))
                    .map(|(_, raw)| raw.clone())
                    .collect(),
            ),
            Log::Telemetry => Loaded::Telemetry(
                self.blocks
                    .range(range)
                    .take_while(|(at, block)| fits(at.1, block.len()))
                    .map(|(at, block)| (at.1, block.clone()))
                    .collect(),
            ),
        }
    }

    /// The journal is gone; the floor's own file is not.
    pub(crate) fn lose_journal(&mut self, damage: Option<&'static str>) {
        *self = Self {
            floor: self.floor,
            damage,
            ..Self::default()
        };
    }

    pub(crate) fn recover(&mut self) -> Recovered {
        let mut epochs: Vec<(Epoch, Seq, Seq)> = Vec::new();
        for (epoch, seq) in self.entries.keys() {
            match epochs.last_mut() {
                Some(last) if last.0 == *epoch => last.2 = *seq,
                _ => epochs.push((*epoch, *seq, *seq)),
            }
        }
        Recovered {
            marks: self.marks.clone(),
            floor: self.floor,
            bundle: self.bundle.clone(),
            roles: self.roles.clone(),
            epochs,
            damage: self.damage.take().map(str::to_owned),
            used_bytes: self.used_bytes(),
        }
    }

    fn trim(&mut self, limit: u64) -> Vec<Trimmed> {
        let mut trimmed = Vec::new();
        if self.bytes <= limit || self.releasable == 0 {
            return trimmed;
        }
        for ((log, epoch), through) in self.released.clone() {
            let mut last = None;
            while self.bytes > limit {
                let range = (epoch, Seq(0))..=(epoch, through);
                let size = match log {
                    Log::Entries => {
                        let Some(at) = self.entries.range(range).next().map(|(at, _)| *at) else {
                            break;
                        };
                        last = Some(at.1);
                        self.entries.remove(&at).map_or(0, |raw| raw.bytes.len())
                    }
                    Log::Telemetry => {
                        let Some(at) = self.blocks.range(range).next().map(|(at, _)| *at) else {
                            break;
                        };
                        last = Some(at.1);
                        self.trimmed_blocks.insert(epoch, at.1);
                        self.blocks.remove(&at).map_or(0, |block| block.len())
                    }
                };
                self.bytes -= size as u64;
                self.releasable -= size as u64;
            }
            if let Some(last) = last {
                trimmed.push(Trimmed {
                    log,
                    epoch,
                    oldest: last.next(),
                });
            }
        }
        trimmed
    }
}

fn batch_bytes(batch: &Batch) -> u64 {
    let entries: usize = batch.entries.iter().map(|raw| raw.bytes.len()).sum();
    let block = batch.telemetry.as_ref().map_or(0, |(_, block)| block.len());
    (entries + block) as u64
}

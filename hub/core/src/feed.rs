//! Telemetry of one agent: the next block, and the latest values. Charts are read from the stored blocks, by the shell.
//!
//! Every block is stored as it came; blocks that cannot be read (after a hole) show nothing until the next key block.
//! Values are kept once per agent, dictionaries once per kind of machine.
//!
//! Invariant: a block is shown only after it is durable, and each block at most once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use wire::ids::{Epoch, Seq};
use wire::reading::{DeviceId, Quantity, Series};
use wire::telemetry::Decoder;
use wire::time::Wall;

use crate::effect::Samples;

/// Charted series of one node: 16 GPUs and a hundred workloads have half as many.
const MOST_CHARTED: usize = 1_024;
/// Changes of one block that watchers see one by one: 120 samples of a busy machine. A small block can hold many more; of those only
/// what came out of them is shown.
const MOST_CHANGES: usize = 16 * 1_024;

/// One agent's blocks.
#[derive(Debug, Default)]
pub(crate) struct Feed {
    pub(crate) epoch: Epoch,
    pub(crate) durable: Seq,
    pub(crate) accepted: Seq,
    /// Accepted and not yet handed to the store.
    pub(crate) queued: Vec<Block>,
    pub(crate) queued_bytes: usize,
    decoder: Decoder,
    /// The last block that the decoder read.
    read: Option<(Epoch, Seq)>,
    layout: Arc<Layout>,
    /// The latest values of the charted series, in the layout's order.
    values: Option<Vec<Option<i64>>>,
    pub(crate) latest_at: Option<Wall>,
}

/// One block with its place.
#[derive(Debug, Clone)]
pub(crate) struct Block {
    pub(crate) epoch: Epoch,
    pub(crate) seq: Seq,
    pub(crate) bytes: Vec<u8>,
}

/// Where the interesting series stand in a dictionary; shared by all agents with an equal dictionary.
#[derive(Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Layout {
    names: Arc<Vec<Series>>,
    /// Indices of the series that charts show.
    charted: Vec<u32>,
    /// Indices by device, for the fleet's rows.
    devices: BTreeMap<DeviceId, Vec<(Quantity, u32)>>,
}

impl Layout {
    fn new(names: Arc<Vec<Series>>) -> Self {
        let mut charted = Vec::new();
        let mut devices: BTreeMap<DeviceId, Vec<(Quantity, u32)>> = BTreeMap::new();
        for (index, series) in (0u32..).zip(names.iter()) {
            if is_charted(series) && charted.len() < MOST_CHARTED {
                charted.push(index);
                let of_device = devices.entry(series.device.clone()).or_default();
                of_device.push((series.quantity, index));
            }
        }
        Self {
            names,
            charted,
            devices,
        }
    }

    /// The charted series that differ from `last`, which becomes what they are now.
    fn changed(&self, now: &[Option<i64>], last: &mut [Option<i64>]) -> Vec<(Series, Option<i64>)> {
        let mut changed = Vec::new();
        for (index, before) in self.charted.iter().zip(last) {
            let value = now.get(*index as usize).copied().flatten();
            if value != *before {
                *before = value;
                changed.push((self.names[*index as usize].clone(), value));
            }
        }
        changed
    }
}

/// The series that live charts and the fleet's rows show.
pub fn is_charted(series: &Series) -> bool {
    use Quantity as Q;
    match series.quantity {
        Q::GpuTemperature | Q::GpuPower | Q::GpuPowerCap | Q::GpuUsed | Q::GpuMemoryUsed => true,
        Q::GpuProbe => true,
        Q::WorkloadMemory | Q::WorkloadCpu | Q::WorkloadPid | Q::WorkloadRestarts => true,
        Q::CpuUsed | Q::MemoryUsedShare => series.device.as_str() == "node",
        Q::PressureCpuSome | Q::PressureMemorySome | Q::PressureIoSome => true,
        _ => false,
    }
}

/// Layouts in use, each once.
#[derive(Debug, Default)]
pub(crate) struct Layouts(BTreeSet<Arc<Layout>>);

impl Layouts {
    /// The shared layout of this dictionary.
    fn of(&mut self, names: &Arc<Vec<Series>>) -> Arc<Layout> {
        let wanted = Layout::new(Arc::clone(names));
        if let Some(known) = self.0.get(&wanted) {
            return Arc::clone(known);
        }
        // Dictionaries that no agent uses any more; there are few, and a new one is rare.
        self.0.retain(|layout| Arc::strong_count(layout) > 1);
        let layout = Arc::new(wanted);
        self.0.insert(Arc::clone(&layout));
        layout
    }
}

impl Feed {
    /// A feed as the store holds it.
    pub(crate) fn new((epoch, seq): (Epoch, Seq)) -> Self {
        Self {
            epoch,
            durable: seq,
            accepted: seq,
            ..Self::default()
        }
    }

    pub(crate) fn settled(&self) -> bool {
        self.durable == self.accepted && self.queued.is_empty()
    }

    /// Queues a block unless it was there already. Blocks of an epoch that ended are queued as well: writing one twice
    /// writes the same bytes to the same place.
    pub(crate) fn accept(&mut self, block: Block) -> bool {
        if block.epoch > self.epoch {
            self.epoch = block.epoch;
            self.durable = Seq(0);
            self.accepted = Seq(0);
        }
        if block.epoch == self.epoch {
            if block.seq <= self.accepted {
                return false;
            }
            self.accepted = block.seq;
        }
        self.queued_bytes += block.bytes.len();
        self.queued.push(block);
        true
    }

    pub(crate) fn take_queued(&mut self) -> Vec<Block> {
        self.queued_bytes = 0;
        std::mem::take(&mut self.queued)
    }

    pub(crate) fn roll_back(&mut self) {
        self.accepted = self.durable;
        self.queued.clear();
        self.queued_bytes = 0;
    }

    /// A block is durable: reads it, and returns what changed in the charted series. Nobody watches an epoch that ended.
    pub(crate) fn stored(&mut self, block: &Block, layouts: &mut Layouts) -> Samples {
        if block.epoch != self.epoch {
            return Samples::new();
        }
        self.durable = self.durable.max(block.seq);
        let previous = Seq(block.seq.0.saturating_sub(1));
        if self.read != Some((block.epoch, previous)) {
            self.decoder = Decoder::new();
        }
        self.show(block, layouts)
    }

    fn show(&mut self, block: &Block, layouts: &mut Layouts) -> Samples {
        let mut samples = Samples::new();
        let mut layout = Arc::clone(&self.layout);
        let mut last = self.values.take().unwrap_or_default();
        let (mut changes, mut ends) = (0, None);
        let result = self.decoder.read(&block.bytes, |decoder, now| {
            if decoder.series() != layout.names.as_slice() {
                layout = layouts.of(decoder.dictionary());
                last.clear();
            }
            last.resize(layout.charted.len(), None);
            ends = Some(now.wall.0);
            if changes < MOST_CHANGES {
                let changed = layout.changed(decoder.latest(), &mut last);
                changes += changed.len();
                samples.push((now.wall.0, changed));
            }
        });
        if result.is_err() {
            self.read = None;
            return Samples::new();
        }
        if let Some(end) = ends.filter(|_| changes >= MOST_CHANGES) {
            samples.push((end, layout.changed(self.decoder.latest(), &mut last)));
        }
        self.decoder.share(&layout.names);
        self.read = Some((block.epoch, block.seq));
        self.latest_at = samples.last().map(|(at, _)| Wall(*at)).or(self.latest_at);
        self.layout = layout;
        self.values = Some(last);
        samples
    }

    /// The latest values of everything.
    pub(crate) fn latest(&self) -> impl Iterator<Item = (&Series, Option<i64>)> {
        let values = self.decoder.latest().iter().copied();
        self.decoder.series().iter().zip(values)
    }

    /// The latest value of a charted series.
    pub(crate) fn value(&self, device: &DeviceId, quantity: Quantity) -> Option<i64> {
        let of_device = self.layout.devices.get(device)?;
        let (_, index) = of_device.iter().find(|(found, _)| *found == quantity)?;
        *self.decoder.latest().get(*index as usize)?
    }

    /// Devices that have charted series.
    pub(crate) fn devices(&self) -> impl Iterator<Item = &DeviceId> {
        self.layout.devices.keys()
    }
}

#[cfg(test)]
mod tests {
    use wire::telemetry::Encoder;
    use wire::{Mono, Now, Reading};

    use super::*;

    /// Blocks of one sample each; `key` makes a block a key block.
    fn blocks(values: &[(i64, bool)]) -> Vec<Block> {
        let mut encoder = Encoder::new();
        (1u64..)
            .zip(values)
            .map(|(seq, (value, key))| {
                if *key {
                    encoder.require_key();
                }
                encoder.observe(&[Reading {
                    series: Series::new(DeviceId::gpu(0), Quantity::GpuTemperature),
                    // Telemetry keeps tenths of a degree.
                    value: Some(*value * 100),
                }]);
                encoder.sample(Now {
                    mono: Mono(seq * 1_000),
                    wall: Wall(seq as i64 * 1_000),
                });
                Block {
                    epoch: Epoch(1),
                    seq: Seq(seq),
                    bytes: encoder.take_block().expect("one sample"),
                }
            })
            .collect()
    }

    /// Feeds the blocks with these places and returns the values that became visible.
    fn check(values: &[(i64, bool)], order: &[usize], expected: &[i64]) -> Feed {
        let all = blocks(values);
        let mut feed = Feed::default();
        let mut layouts = Layouts::default();
        let mut seen = Vec::new();
        for place in order {
            let block = all[*place].clone();
            if !feed.accept(block) {
                continue;
            }
            for block in feed.take_queued() {
                for (_, values) in feed.stored(&block, &mut layouts) {
                    seen.extend(values.into_iter().filter_map(|(_, value)| Some(value? / 100)));
                }
            }
        }
        assert_eq!(seen, expected);
        feed
    }

    #[test]
    fn blocks_show_what_changed() {
        let feed = check(
            &[(5, true), (6, false), (6, false), (7, false)],
            &[0, 1, 2, 3],
            &[5, 6, 7],
        );
        assert_eq!(feed.value(&DeviceId::gpu(0), Quantity::GpuTemperature), Some(700));
        assert_eq!(feed.latest_at, Some(Wall(4_000)));
    }

    #[test]
    fn after_a_hole_nothing_is_shown_until_the_next_key_block() {
        let values = [(5, true), (6, false), (7, false), (8, true), (9, false)];
        check(&values, &[0, 2, 3, 4], &[5, 8, 9]);
    }

    #[test]
    fn a_repeated_block_is_taken_once() {
        check(&[(5, true), (6, false)], &[0, 0, 1, 1, 0], &[5, 6]);
    }

    #[test]
    fn a_small_block_that_expands_shows_a_bounded_part_and_how_it_ends() {
        let mut encoder = Encoder::new();
        let mut value_of = |value: Option<i64>, samples: u64| {
            for sample in 0..samples {
                let readings = (0..4_096u32).map(|index| Reading {
                    series: Series::new(DeviceId::gpu(index), Quantity::GpuTemperature),
                    value: value.filter(|_| sample % 2 == 0),
                });
                encoder.observe(&readings.collect::<Vec<_>>());
                encoder.sample(Now {
                    mono: Mono(sample),
                    wall: Wall(sample as i64),
                });
            }
            encoder.take_block().expect("samples")
        };
        let bytes = value_of(Some(50_000), 120);
        let block = Block {
            epoch: Epoch(1),
            seq: Seq(1),
            bytes,
        };
        let mut feed = Feed::default();
        feed.accept(block.clone());
        let samples = feed.stored(&block, &mut Layouts::default());
        let changes: usize = samples.iter().map(|(_, changed)| changed.len()).sum();
        assert!(changes <= MOST_CHANGES + 2 * MOST_CHARTED, "{changes}");
        assert_eq!(samples.last().map(|(at, _)| *at), Some(119));
        assert_eq!(feed.latest_at, Some(Wall(119)));
    }

    #[test]
    fn equal_machines_share_one_layout() {
        let mut layouts = Layouts::default();
        let mut feeds = [Feed::default(), Feed::default()];
        for feed in &mut feeds {
            let block = blocks(&[(1, true)]).remove(0);
            feed.accept(block.clone());
            feed.stored(&block, &mut layouts);
        }
        assert!(Arc::ptr_eq(&feeds[0].layout, &feeds[1].layout));
        assert_eq!(layouts.0.len(), 1);
    }
}

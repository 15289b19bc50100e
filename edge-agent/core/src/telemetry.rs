//! Turns readings into telemetry blocks, and gives way when the journal fills.
//!
//! Decides how often a sample is kept (1 s, 10 s, 60 s), when a block closes, and which blocks are shed. It never touches entries:
//! decisions, outcomes, events and gaps are not its to drop.
//!
//! Invariants: a block's number is used once; whatever number is not in the journal any more is named by a gap entry that was
//! durable before; a sample is kept at most once in an interval.
//!
//! Read next: `wire/src/telemetry.rs` (the bytes of a block).

use std::collections::VecDeque;
use std::time::Duration;

use wire::ids::Seq;
use wire::reading::Reading;
use wire::telemetry::{Encoder, MAX_SAMPLES};
use wire::time::{Mono, Now};

use crate::marks::BlockMarks;

/// Intervals between samples: at ease, under pressure, under high pressure.
const INTERVALS_MS: [u32; 3] = [1_000, 10_000, 60_000];
/// Share of the journal's bound, in percent, from which each next interval is used.
const COARSER_FROM: [u64; 2] = [50, 75];
/// So far below must the share fall before the finer interval comes back, so that it does not flap.
const EASE: u64 = 10;
/// Share of the journal's bound from which blocks are shed.
const SHED_FROM: u64 = 90;
/// How often a block needs nothing before it, so that old ones can be shed and charts can begin. A session begins with one anyway.
const KEY_EVERY: Duration = Duration::from_secs(300);
/// Blocks kept in memory for the link; older ones are read back from the journal.
const RECENT: usize = 4;
/// Places of key blocks remembered, to end a shed range right before one: some hours' worth.
const KEYS: usize = 256;
/// A sample that comes so early counts as in time: the sampler's own jitter must not halve the rate.
const EARLY: Duration = Duration::from_millis(100);
/// A coarse block holds at least this many samples before it closes.
const LEAST_SAMPLES: u32 = 5;

#[derive(Debug)]
pub(crate) struct Telemetry {
    encoder: Encoder,
    block_every: Duration,
    interval_ms: u32,
    sampled_at: Option<Mono>,
    block_since: Option<Mono>,
    key_wanted: bool,
    key_at: Option<Mono>,
    open_is_key: bool,
    keys: VecDeque<Seq>,
    /// A closed block that no batch has taken yet.
    ready: Option<(Seq, Vec<u8>)>,
    /// Numbers that were given and then lost before they could be written.
    lost: Option<(Seq, Seq)>,
    recent: VecDeque<(Seq, Vec<u8>)>,
    durable: Seq,
    shedding: bool,
}

impl Telemetry {
    pub(crate) fn new(block_every: Duration, interval_ms: u32, durable: Seq) -> Self {
        Self {
            encoder: Encoder::new(),
            block_every,
            interval_ms,
            sampled_at: None,
            block_since: None,
            key_wanted: true,
            key_at: None,
            open_is_key: true,
            keys: VecDeque::new(),
            ready: None,
            lost: None,
            recent: VecDeque::new(),
            durable,
            shedding: false,
        }
    }

    /// The block that is open already ends by the new span.
    pub(crate) fn retime(&mut self, block_every: Duration) {
        self.block_every = block_every;
    }

    pub(crate) fn interval_ms(&self) -> u32 {
        self.interval_ms
    }

    /// The last block that is durable.
    pub(crate) fn durable(&self) -> Seq {
        self.durable
    }

    /// Takes one round of readings; closes a sample and a block when they are due.
    pub(crate) fn observe(&mut self, readings: &[Reading], now: Now, marks: &mut BlockMarks) {
        self.encoder.observe(readings);
        let least = Duration::from_millis(u64::from(self.interval_ms)) - EARLY;
        if self.sampled_at.is_some_and(|at| now.mono.since(at) < least) {
            return;
        }
        if self.encoder.samples() == 0 {
            self.open_is_key = self.key_wanted || self.key_at.is_none_or(|at| now.mono.since(at) >= KEY_EVERY);
            if self.open_is_key {
                self.encoder.require_key();
                self.key_wanted = false;
                self.key_at = Some(now.mono);
            }
            self.block_since = Some(now.mono);
        }
        self.encoder.sample(now);
        self.sampled_at = Some(now.mono);
        let coarse = Duration::from_millis(u64::from(self.interval_ms * LEAST_SAMPLES));
        let span = if self.interval_ms == INTERVALS_MS[0] {
            self.block_every
        } else {
            self.block_every.max(coarse)
        };
        let interval = Duration::from_millis(u64::from(self.interval_ms));
        let full = self.encoder.samples() >= MAX_SAMPLES;
        let due = self
            .block_since
            .is_some_and(|since| now.mono.since(since) + interval >= span);
        if full || due {
            self.close(marks);
        }
    }

    /// Closes the open block, if it holds a sample.
    pub(crate) fn close(&mut self, marks: &mut BlockMarks) {
        let Some(block) = self.encoder.take_block() else {
            return;
        };
        marks.made = marks.made.next();
        if self.ready.is_some() || self.lost.is_some() {
            // The journal has not taken the one before: this one is lost, and will be said to be.
            self.lose(marks.made);
            return;
        }
        if self.open_is_key {
            if self.keys.len() == KEYS {
                self.keys.pop_front();
            }
            self.keys.push_back(marks.made);
        }
        self.ready = Some((marks.made, block));
    }

    /// The next block is to need nothing before it.
    pub(crate) fn want_key(&mut self) {
        self.key_wanted = true;
    }

    pub(crate) fn has_ready(&self) -> bool {
        self.ready.is_some()
    }

    /// Whether a gap has to be told of.
    pub(crate) fn has_lost(&self) -> bool {
        self.lost.is_some()
    }

    /// The closed block, for a batch. It comes back by [`Telemetry::failed`] or is durable by [`Telemetry::appended`].
    pub(crate) fn take_ready(&mut self) -> Option<(Seq, Vec<u8>)> {
        self.ready.take()
    }

    pub(crate) fn appended(&mut self, block: Option<(Seq, Vec<u8>)>) {
        if let Some(block) = block {
            self.durable = block.0;
            if self.recent.len() == RECENT {
                self.recent.pop_front();
            }
            self.recent.push_back(block);
        }
    }

    /// The journal was told to remove what was shed.
    pub(crate) fn shed_done(&mut self) {
        self.shedding = false;
    }

    /// A batch failed: its block waits for the next one, or is lost if the journal is full.
    pub(crate) fn failed(&mut self, block: Option<(Seq, Vec<u8>)>, full: bool) {
        let Some(block) = block else { return };
        // What is lost is always a run of the newest numbers, so that one range names it.
        let newer = self.ready.take();
        if full {
            self.lose(block.0);
        } else {
            self.ready = Some(block);
        }
        if let Some((seq, _)) = newer {
            self.lose(seq);
        }
    }

    /// The range that a gap entry has to name before anything else of telemetry is written.
    pub(crate) fn take_lost(&mut self) -> Option<(Seq, Seq)> {
        self.lost.take()
    }

    /// The interval that fits how full the journal is, if it is another one than now.
    pub(crate) fn adapt(&mut self, used_bytes: u64, limit_bytes: u64) -> Option<u32> {
        let share = share_percent(used_bytes, limit_bytes);
        let now = INTERVALS_MS
            .iter()
            .position(|interval| *interval == self.interval_ms)
            .unwrap_or(0);
        let mut level = now;
        while level < COARSER_FROM.len() && share >= COARSER_FROM[level] {
            level += 1;
        }
        while level > 0 && share + EASE < COARSER_FROM[level - 1] {
            level -= 1;
        }
        if level == now {
            return None;
        }
        self.interval_ms = INTERVALS_MS[level];
        Some(self.interval_ms)
    }

    /// The blocks to shed now, if the journal is too full: the older half of those that no hub has, up to before a key block.
    ///
    /// The caller appends the gap entry, and sheds when it is durable; meanwhile this answers `None`.
    pub(crate) fn shed(&mut self, used_bytes: u64, limit_bytes: u64, marks: &mut BlockMarks) -> Option<(Seq, Seq)> {
        if self.shedding || share_percent(used_bytes, limit_bytes) < SHED_FROM {
            return None;
        }
        let from = marks.acked.max(marks.shed).next();
        if from > self.durable {
            return None;
        }
        let middle = Seq(from.0 + (self.durable.0 - from.0) / 2);
        let key = self.keys.iter().find(|key| **key > middle);
        let to = key.map_or(middle, |key| Seq(key.0 - 1)).min(self.durable);
        marks.shed = to;
        self.shedding = true;
        self.key_wanted = true;
        self.recent.retain(|(seq, _)| *seq > to);
        Some((from, to))
    }

    /// Durable blocks from `seq` on that are still in memory; `None`: read the journal.
    pub(crate) fn recent(&self, seq: Seq) -> Option<&[u8]> {
        let (_, block) = self.recent.iter().find(|(number, _)| *number == seq)?;
        Some(block)
    }

    pub(crate) fn forget_through(&mut self, seq: Seq) {
        while self.recent.front().is_some_and(|(number, _)| *number <= seq) {
            self.recent.pop_front();
        }
    }

    /// Numbers start anew; what is in memory belongs to the former epoch. The open block goes on.
    pub(crate) fn start_epoch(&mut self) {
        self.ready = None;
        self.lost = None;
        self.recent.clear();
        self.keys.clear();
        self.durable = Seq(0);
        self.key_wanted = true;
        self.shedding = false;
    }

    fn lose(&mut self, seq: Seq) {
        self.key_wanted = true;
        self.lost = Some(match self.lost {
            Some((from, to)) => (from.min(seq), to.max(seq)),
            None => (seq, seq),
        });
    }
}

fn share_percent(used_bytes: u64, limit_bytes: u64) -> u64 {
    used_bytes.saturating_mul(100) / limit_bytes.max(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use wire::reading::{DeviceId, Quantity, Series};
    use wire::telemetry::Decoder;
    use wire::time::Wall;

    use super::*;

    fn readings(value: i64) -> Vec<Reading> {
        vec![Reading {
            series: Series::new(DeviceId::gpu(0), Quantity::GpuTemperature),
            value: Some(value),
        }]
    }

    fn telemetry() -> Telemetry {
        Telemetry::new(Duration::from_secs(10), 1_000, Seq(0))
    }

    fn at(second: u64) -> Now {
        Now {
            mono: Mono(second * 1_000),
            wall: Wall(0),
        }
    }

    /// Runs for some seconds and returns the samples in each block that was durable at once.
    fn blocks(telemetry: &mut Telemetry, marks: &mut BlockMarks, seconds: u64) -> Vec<usize> {
        let mut decoder = Decoder::new();
        let mut found = Vec::new();
        for second in 0..seconds {
            telemetry.observe(&readings(second as i64), at(second), marks);
            if let Some(block) = telemetry.take_ready() {
                let mut samples = 0;
                decoder.read(&block.1, |_, _| samples += 1).expect("in order");
                telemetry.appended(Some(block));
                found.push(samples);
            }
        }
        found
    }

    #[test]
    fn ten_seconds_are_one_block() {
        let (mut telemetry, mut marks) = (telemetry(), BlockMarks::default());
        assert_eq!(blocks(&mut telemetry, &mut marks, 31), [10, 10, 10]);
        assert_eq!(marks.made, Seq(3));
    }

    #[test]
    fn under_pressure_samples_get_rarer_and_come_back() {
        let mut telemetry = telemetry();
        let steps = [
            (49, None),
            (50, Some(10_000)),
            (74, None),
            (80, Some(60_000)),
            (66, None),
            (60, Some(10_000)),
            (41, None),
            (5, Some(1_000)),
            (99, Some(60_000)),
        ];
        for (share, expected) in steps {
            assert_eq!(telemetry.adapt(share, 100), expected, "at {share} %");
        }
    }

    #[test]
    fn coarse_blocks_hold_few_samples() {
        let (mut telemetry, mut marks) = (telemetry(), BlockMarks::default());
        telemetry.adapt(60, 100);
        assert_eq!(blocks(&mut telemetry, &mut marks, 120), [5, 5]);
    }

    #[test]
    fn the_older_half_is_shed_once_for_each_batch() {
        let (mut telemetry, mut marks) = (telemetry(), BlockMarks::default());
        blocks(&mut telemetry, &mut marks, 101);
        marks.acked = Seq(2);
        assert_eq!(telemetry.shed(89, 100, &mut marks), None);
        assert_eq!(
            telemetry.shed(95, 100, &mut marks),
            Some((Seq(3), Seq(6))),
            "block 7 is the key block after a minute"
        );
        assert_eq!(telemetry.shed(95, 100, &mut marks), None, "on its way");
        telemetry.shed_done();
        assert_eq!(telemetry.shed(95, 100, &mut marks), Some((Seq(7), Seq(8))));
    }

    #[test]
    fn a_full_journal_loses_blocks_and_says_which() {
        let (mut telemetry, mut marks) = (telemetry(), BlockMarks::default());
        for second in 0..41 {
            telemetry.observe(&readings(1), at(second), &mut marks);
        }
        assert_eq!(marks.made, Seq(4));
        let waiting = telemetry.take_ready();
        assert_eq!(waiting.as_ref().map(|block| block.0), Some(Seq(1)));
        telemetry.failed(waiting, true);
        assert_eq!(telemetry.take_lost(), Some((Seq(1), Seq(4))));
        assert_eq!(telemetry.take_lost(), None);
    }

    proptest! {
        #[test]
        fn every_number_is_durable_lost_or_waiting(steps in proptest::collection::vec(0u8..6, 1..300)) {
            let (mut telemetry, mut marks) = (telemetry(), BlockMarks::default());
            let mut durable = std::collections::BTreeSet::new();
            let mut named = std::collections::BTreeSet::new();
            let mut flying = None;
            for (second, step) in steps.into_iter().enumerate() {
                telemetry.observe(&readings(second as i64), at(4 * second as u64), &mut marks);
                match step {
                    0 | 1 if flying.is_none() => flying = telemetry.take_ready(),
                    2 | 3 => if let Some(block) = flying.take() {
                        prop_assert!(durable.insert(block.0), "{} twice", block.0);
                        telemetry.appended(Some(block));
                    },
                    4 => telemetry.failed(flying.take(), second % 2 == 0),
                    5 if flying.is_none() => if let Some((from, to)) = telemetry.take_lost() {
                        named.extend((from.0..=to.0).map(Seq));
                    },
                    _ => {}
                }
            }
            durable.extend(flying.map(|block| block.0));
            durable.extend(telemetry.take_ready().map(|block| block.0));
            if let Some((from, to)) = telemetry.take_lost() {
                named.extend((from.0..=to.0).map(Seq));
            }
            prop_assert!(durable.is_disjoint(&named), "what is there is not said to be lost");
            named.extend(durable);
            prop_assert_eq!(named.len() as u64, marks.made.0);
        }
    }
}

//! Telemetry blocks: some seconds of samples as changes against the sample before, so that a quiet node costs next to nothing.
//!
//! A block is made by an [`Encoder`] and read by a [`Decoder`] that saw the blocks before it. Blocks are a log of their own:
//! (epoch, seq), in order, exactly once. A *key block* carries the dictionary and absolute values, needs nothing before it,
//! and is sent first after every gap and every reconnect; other blocks carry only new dictionary entries and differences.
//!
//! Layout: flags, epoch-relative start, then for each sample: time step, bitmap of changed series (run-length varints), zigzag
//! varint differences. Missing values are one reserved difference. Measured elsewhere: 110 bytes for 200 series at 1 Hz before
//! compression (`performance.md` 5).
//!
//! Invariant: for any samples, `decode(encode(samples)) == samples`; no bytes make the decoder panic.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::codec::{self, DecodeError, put_varint, take_varint, unzigzag, zigzag};
use crate::reading::{Reading, Series};
use crate::time::{Mono, Now, Wall};

/// Longest encoded block, in bytes: 60 samples of 4,096 changing series still fit.
pub const MAX_BLOCK_BYTES: usize = 1024 * 1024;
/// Most series of one agent. A node with 8 GPUs and 256 cores has about 1,600.
pub const MAX_SERIES: usize = 4096;
/// Most samples in one block.
pub const MAX_SAMPLES: usize = 120;

/// All values that were known at one moment. Index = series id in the dictionary; `None` = missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// When it was taken.
    pub at: Now,
    /// One value for each series of the dictionary at that time.
    pub values: Vec<Option<i64>>,
}

/// Collects readings and turns them into blocks.
#[derive(Debug, Clone, Default)]
pub struct Encoder {
    ids: BTreeMap<Series, u32>,
    names: Vec<Series>,
    /// Values as the last encoded sample left them.
    last: Vec<Option<i64>>,
    /// Values as the readings since then left them.
    current: Vec<Option<i64>>,
    /// Dictionary entries that no block has carried yet start here.
    announced: usize,
    body: Vec<u8>,
    samples: usize,
    start: Now,
    last_mono: Mono,
    key: bool,
    /// Series that were dropped because the dictionary is full.
    refused: u64,
}

impl Encoder {
    /// An encoder whose first block is a key block.
    pub fn new() -> Self {
        Self {
            key: true,
            ..Self::default()
        }
    }

    /// Makes the next block a key block: after a gap, and after every reconnect. Samples already taken stay in it.
    pub fn require_key(&mut self) {
        if self.samples == 0 {
            self.key = true;
        }
    }

    /// How many samples wait in the open block.
    pub fn samples(&self) -> usize {
        self.samples
    }

    /// How many readings were dropped because there are [`MAX_SERIES`] series already.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Notes readings; they are part of the next [`Encoder::sample`].
    pub fn observe(&mut self, readings: &[Reading]) {
        for reading in readings {
            let id = match self.ids.get(&reading.series) {
                Some(id) => *id as usize,
                None if self.names.len() >= MAX_SERIES => {
                    self.refused += 1;
                    continue;
                }
                None => {
                    let id = self.names.len();
                    self.ids.insert(reading.series.clone(), id as u32);
                    self.names.push(reading.series.clone());
                    self.current.push(None);
                    id
                }
            };
            self.current[id] = reading.value;
        }
    }

    /// Closes one sample: what has changed since the last one goes into the open block.
    pub fn sample(&mut self, now: Now) {
        if self.samples == 0 {
            self.start = now;
            self.last_mono = now.mono;
            if self.key {
                self.last.clear();
                self.announced = 0;
            }
        }
        self.last.resize(self.names.len(), None);
        put_varint(&mut self.body, now.mono.0.saturating_sub(self.last_mono.0));
        self.last_mono = now.mono;
        let changed = self
            .current
            .iter()
            .zip(&self.last)
            .filter(|(new, old)| new != old)
            .count();
        put_varint(&mut self.body, changed as u64);
        let mut next = 0usize;
        for index in 0..self.current.len() {
            let (new, old) = (self.current[index], self.last[index]);
            if new == old {
                continue;
            }
            put_varint(&mut self.body, (index - next) as u64);
            next = index + 1;
            match new {
                // 0 cannot be the difference of a changed value unless it was missing, so differences are shifted by one.
                None => put_varint(&mut self.body, 0),
                Some(value) => {
                    let difference = zigzag(value.wrapping_sub(old.unwrap_or(0)));
                    put_varint(&mut self.body, difference.wrapping_add(1));
                    if difference == u64::MAX {
                        // wrapped to 0 above: mark it by an explicit byte after the missing sign
                        put_varint(&mut self.body, 1);
                    }
                }
            }
            if new.is_none() {
                put_varint(&mut self.body, 0);
            }
            self.last[index] = new;
        }
        self.samples += 1;
    }

    /// Takes the open block, or `None` when it holds no sample.
    pub fn take_block(&mut self) -> Option<Vec<u8>> {
        if self.samples == 0 {
            return None;
        }
        let mut out = Vec::with_capacity(self.body.len() + 64);
        out.push(u8::from(self.key));
        put_varint(&mut out, self.start.mono.0);
        put_varint(&mut out, zigzag(self.start.wall.0));
        let new_names = &self.names[self.announced..];
        put_varint(&mut out, self.announced as u64);
        put_varint(&mut out, new_names.len() as u64);
        for series in new_names {
            out.extend_from_slice(&codec::encode(series));
        }
        put_varint(&mut out, self.samples as u64);
        out.append(&mut self.body);
        self.announced = self.names.len();
        self.samples = 0;
        self.key = false;
        Some(out)
    }
}

/// Reads blocks in order and knows the latest value of every series.
#[derive(Debug, Clone, Default)]
pub struct Decoder {
    names: Arc<Vec<Series>>,
    last: Vec<Option<i64>>,
    ready: bool,
}

impl Decoder {
    /// A decoder that waits for a key block.
    pub fn new() -> Self {
        Self::default()
    }

    /// The dictionary: index = series id.
    pub fn series(&self) -> &[Series] {
        &self.names
    }

    /// The dictionary, to be shared with decoders of other nodes that have the same one.
    pub fn dictionary(&self) -> &Arc<Vec<Series>> {
        &self.names
    }

    /// Gives up its own dictionary for an equal one, so that a fleet of equal machines holds it once; ignores another one.
    pub fn share(&mut self, same: &Arc<Vec<Series>>) {
        if *self.names == **same {
            self.names = Arc::clone(same);
            self.last.shrink_to_fit();
        }
    }

    /// The latest value of each series, in dictionary order.
    pub fn latest(&self) -> &[Option<i64>] {
        &self.last
    }

    /// Reads one block and calls `each` for every sample, in order.
    ///
    /// A block that is not a key block and does not follow what was read before it is [`DecodeError::Malformed`]; the decoder
    /// then waits for the next key block. After an error the decoder holds no half-applied state that could be mistaken for data.
    pub fn read(&mut self, bytes: &[u8], mut each: impl FnMut(&Decoder, Now)) -> Result<(), DecodeError> {
        let result = self.try_read(bytes, &mut each);
        if result.is_err() {
            self.ready = false;
        }
        result
    }

    fn try_read(&mut self, bytes: &[u8], each: &mut impl FnMut(&Decoder, Now)) -> Result<(), DecodeError> {
        let malformed = |reason: &str| DecodeError::Malformed {
            reason: reason.to_owned(),
        };
        if bytes.len() > MAX_BLOCK_BYTES {
            return Err(DecodeError::TooLong {
                length: bytes.len(),
                limit: MAX_BLOCK_BYTES,
            });
        }
        let (&flags, mut rest) = bytes.split_first().ok_or(DecodeError::Short)?;
        let rest = &mut rest;
        match flags {
            1 => {
                self.names = Arc::default();
                self.last.clear();
                self.ready = true;
            }
            0 if self.ready => {}
            0 => {
                return Err(malformed("a difference block without the key block before it"));
            }
            _ => return Err(malformed("unknown flags")),
        }
        let start_mono = take_varint(rest)?;
        let start_wall = unzigzag(take_varint(rest)?);
        if take_varint(rest)? != self.names.len() as u64 {
            return Err(malformed("the dictionary does not continue the one before"));
        }
        let new_names = take_varint(rest)?;
        if new_names > (MAX_SERIES - self.names.len()) as u64 {
            return Err(malformed("too many series"));
        }
        for _ in 0..new_names {
            let (series, after) = codec::decode_prefix::<Series>(rest)?;
            *rest = after;
            Arc::make_mut(&mut self.names).push(series);
            self.last.push(None);
        }
        let samples = take_varint(rest)?;
        if samples > MAX_SAMPLES as u64 {
            return Err(malformed("too many samples"));
        }
        let mut mono = start_mono;
        for _ in 0..samples {
            mono = mono
                .checked_add(take_varint(rest)?)
                .ok_or_else(|| malformed("time overflows"))?;
            let mut next = 0u64;
            for _ in 0..take_varint(rest)? {
                let index = next
                    .checked_add(take_varint(rest)?)
                    .filter(|index| *index < self.last.len() as u64);
                let index = index.ok_or_else(|| malformed("unknown series"))?;
                next = index + 1;
                let slot = &mut self.last[index as usize];
                *slot = match take_varint(rest)? {
                    0 => match take_varint(rest)? {
                        0 => None,
                        1 => Some(slot.unwrap_or(0).wrapping_add(unzigzag(u64::MAX))),
                        _ => return Err(malformed("unknown sign after a missing value")),
                    },
                    shifted => Some(slot.unwrap_or(0).wrapping_add(unzigzag(shifted - 1))),
                };
            }
            let wall = start_wall.saturating_add(i64::try_from(mono - start_mono).unwrap_or(i64::MAX));
            each(
                self,
                Now {
                    mono: Mono(mono),
                    wall: Wall(wall),
                },
            );
        }
        match rest.len() {
            0 => Ok(()),
            count => Err(DecodeError::Trailing { count }),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::reading::{DeviceId, Quantity};

    fn reading(index: u32, value: Option<i64>) -> Reading {
        Reading {
            series: Series::new(DeviceId::gpu(index), Quantity::GpuTemperature),
            value,
        }
    }

    /// Time and values of each sample.
    type Samples = Vec<(u64, Vec<Option<i64>>)>;

    fn read_all(decoder: &mut Decoder, block: &[u8]) -> Result<Samples, DecodeError> {
        let mut seen = Vec::new();
        decoder.read(block, |state, now| seen.push((now.mono.0, state.latest().to_vec())))?;
        Ok(seen)
    }

    #[test]
    fn a_difference_block_needs_the_blocks_before_it() {
        let mut encoder = Encoder::new();
        let mut blocks = Vec::new();
        for second in 0..3u64 {
            encoder.observe(&[reading(0, Some(50_000 + second as i64))]);
            encoder.sample(Now {
                mono: Mono(second * 1_000),
                wall: Wall(0),
            });
            blocks.push(encoder.take_block().expect("one sample"));
        }
        let mut decoder = Decoder::new();
        assert!(read_all(&mut decoder, &blocks[1]).is_err());
        assert_eq!(read_all(&mut decoder, &blocks[0]), Ok(vec![(0, vec![Some(50_000)])]));
        assert_eq!(
            read_all(&mut decoder, &blocks[1]),
            Ok(vec![(1_000, vec![Some(50_001)])])
        );
        assert!(
            blocks[1].len() < 12,
            "a difference block of one small change is {} bytes",
            blocks[1].len()
        );
    }

    #[test]
    fn a_key_block_starts_anew_with_the_whole_dictionary() {
        let mut encoder = Encoder::new();
        encoder.observe(&[reading(0, Some(1)), reading(1, Some(2))]);
        encoder.sample(Now::default());
        let lost = encoder.take_block().expect("one sample");
        drop(lost);
        encoder.require_key();
        encoder.observe(&[reading(1, None)]);
        encoder.sample(Now::default());
        let block = encoder.take_block().expect("one sample");
        let mut decoder = Decoder::new();
        assert_eq!(read_all(&mut decoder, &block), Ok(vec![(0, vec![Some(1), None])]));
        assert_eq!(decoder.series().len(), 2);
    }

    proptest! {
        #[test]
        fn whatever_is_sampled_comes_back(
            rounds in vec((vec((0u32..6, proptest::option::of(any::<i64>())), 0..8), 1u64..5_000, any::<bool>()), 1..40)
        ) {
            let mut encoder = Encoder::new();
            let mut decoder = Decoder::new();
            let mut expected = Vec::new();
            let mut seen = Vec::new();
            let mut model: Vec<Option<i64>> = Vec::new();
            let mut order: Vec<u32> = Vec::new();
            let mut mono = 0;
            for (readings, step, close) in rounds {
                let readings: Vec<Reading> = readings.into_iter().map(|(index, value)| {
                    if !order.contains(&index) { order.push(index); model.push(None); }
                    let place = order.iter().position(|i| *i == index).expect("just pushed");
                    model[place] = value;
                    reading(index, value)
                }).collect();
                encoder.observe(&readings);
                mono += step;
                encoder.sample(Now { mono: Mono(mono), wall: Wall(7) });
                expected.push((mono, model.clone()));
                if close {
                    let block = encoder.take_block().expect("a sample was taken");
                    seen.extend(read_all(&mut decoder, &block).expect("our own block"));
                }
            }
            if let Some(block) = encoder.take_block() {
                seen.extend(read_all(&mut decoder, &block).expect("our own block"));
            }
            prop_assert_eq!(seen.len(), expected.len());
            for ((seen_at, mut seen_values), (at, values)) in seen.into_iter().zip(expected) {
                prop_assert_eq!(seen_at, at);
                // A block announces its dictionary up front, so early samples show later series as missing.
                while seen_values.len() > values.len() { prop_assert_eq!(seen_values.pop(), Some(None)); }
                prop_assert_eq!(seen_values, values);
            }
        }

        #[test]
        fn no_bytes_panic_the_decoder(bytes in vec(any::<u8>(), 0..300)) {
            let mut decoder = Decoder::new();
            let _ = read_all(&mut decoder, &bytes);
            let mut keyed = vec![1u8];
            keyed.extend(bytes);
            let _ = read_all(&mut decoder, &keyed);
        }
    }
}

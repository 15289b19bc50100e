//! Blocks to samples.

use std::sync::Arc;

use super::kept::{steps, value};
use super::{DIFFERENCE, HAS_MISSING, KEY, MAX_BLOCK_BYTES, MAX_SAMPLES, MAX_SERIES};
use crate::codec::{self, DecodeError, take_varint, unzigzag};
use crate::reading::Series;
use crate::time::{Mono, Now, Wall};

/// Largest power of ten in an `i64`.
const MAX_POWER: u32 = 18;

/// Reads blocks in order and knows the latest value of every series.
#[derive(Debug, Clone, Default)]
pub struct Decoder {
    names: Arc<Vec<Series>>,
    last: Vec<Option<i64>>,
    ready: bool,
}

/// A series that changes in a block, with one value for each sample.
type Column = (usize, Vec<Option<i64>>);

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
    /// then waits for the next key block. A block that is refused has called `each` for nothing.
    pub fn read(&mut self, bytes: &[u8], mut each: impl FnMut(&Decoder, Now)) -> Result<(), DecodeError> {
        let result = self.try_read(bytes, &mut each);
        if result.is_err() {
            self.ready = false;
        }
        result
    }

    /// How many values a block will expand to, at the cost of its head alone: a short block can hold [`MAX_SERIES`] x
    /// [`MAX_SAMPLES`] of them.
    pub fn values_in(&self, bytes: &[u8]) -> Result<usize, DecodeError> {
        let (&flags, mut rest) = bytes.split_first().ok_or(DecodeError::Short)?;
        let rest = &mut rest;
        let known = if flags == KEY { 0 } else { self.names.len() as u64 };
        let start_mono = take_varint(rest)?;
        take_varint(rest)?;
        if take_varint(rest)? != known {
            return Err(malformed("the dictionary does not continue the one before"));
        }
        let count = take_varint(rest)?;
        if known.saturating_add(count) > MAX_SERIES as u64 {
            return Err(malformed("too many series"));
        }
        for _ in 0..count {
            *rest = codec::decode_prefix::<Series>(rest)?.1;
        }
        let samples = take_times(rest, start_mono)?.len();
        let names = usize::try_from(known + count).unwrap_or(MAX_SERIES);
        let bitmap = take_bytes(rest, names.div_ceil(8))?;
        let changed: u32 = bitmap.iter().map(|byte| byte.count_ones()).sum();
        Ok(changed as usize * samples)
    }

    fn try_read(&mut self, bytes: &[u8], each: &mut impl FnMut(&Decoder, Now)) -> Result<(), DecodeError> {
        if bytes.len() > MAX_BLOCK_BYTES {
            return Err(DecodeError::TooLong {
                length: bytes.len(),
                limit: MAX_BLOCK_BYTES,
            });
        }
        let (&flags, mut rest) = bytes.split_first().ok_or(DecodeError::Short)?;
        let rest = &mut rest;
        match flags {
            KEY => {
                self.names = Arc::default();
                self.last.clear();
                self.ready = true;
            }
            DIFFERENCE if self.ready => {}
            DIFFERENCE => return Err(malformed("a difference block without the key block before it")),
            _ => return Err(malformed("unknown flags")),
        }
        let start_mono = take_varint(rest)?;
        let start_wall = unzigzag(take_varint(rest)?);
        self.learn_names(rest)?;
        let times = take_times(rest, start_mono)?;
        let columns = self.take_columns(rest, times.len())?;
        if !rest.is_empty() {
            return Err(DecodeError::Trailing { count: rest.len() });
        }
        for (place, mono) in times.into_iter().enumerate() {
            for (index, values) in &columns {
                self.last[*index] = values[place];
            }
            let wall = start_wall.saturating_add(i64::try_from(mono - start_mono).unwrap_or(i64::MAX));
            let at = Now {
                mono: Mono(mono),
                wall: Wall(wall),
            };
            each(self, at);
        }
        Ok(())
    }

    fn learn_names(&mut self, rest: &mut &[u8]) -> Result<(), DecodeError> {
        if take_varint(rest)? != self.names.len() as u64 {
            return Err(malformed("the dictionary does not continue the one before"));
        }
        let count = take_varint(rest)?;
        if count > (MAX_SERIES - self.names.len()) as u64 {
            return Err(malformed("too many series"));
        }
        for _ in 0..count {
            let (series, after) = codec::decode_prefix::<Series>(rest)?;
            *rest = after;
            Arc::make_mut(&mut self.names).push(series);
            self.last.push(None);
        }
        Ok(())
    }

    fn take_columns(&self, rest: &mut &[u8], samples: usize) -> Result<Vec<Column>, DecodeError> {
        let bitmap = take_bytes(rest, self.last.len().div_ceil(8))?;
        let changed: Vec<usize> = (0..bitmap.len() * 8).filter(|index| has_bit(bitmap, *index)).collect();
        if changed.last().is_some_and(|index| *index >= self.last.len()) {
            return Err(malformed("unknown series"));
        }
        let forms = take_bytes(rest, changed.len())?;
        let mut masks = Vec::with_capacity(changed.len());
        for form in forms {
            let has_missing = form & HAS_MISSING != 0;
            masks.push(match has_missing {
                true => Some(take_bytes(rest, samples.div_ceil(8))?),
                false => None,
            });
        }
        let mut columns = Vec::with_capacity(changed.len());
        for ((index, form), mask) in changed.into_iter().zip(forms).zip(masks) {
            let power = u32::from(form & !HAS_MISSING);
            if power > MAX_POWER {
                return Err(malformed("a form that this version does not know"));
            }
            let mut before = steps(self.last[index].unwrap_or(0), power);
            let mut values = Vec::with_capacity(samples);
            for place in 0..samples {
                if mask.is_some_and(|mask| !has_bit(mask, place)) {
                    values.push(None);
                    continue;
                }
                before = before.wrapping_add(unzigzag(take_varint(rest)?));
                values.push(Some(value(before, power)));
            }
            columns.push((index, values));
        }
        Ok(columns)
    }
}

/// When the samples were taken.
fn take_times(rest: &mut &[u8], start: u64) -> Result<Vec<u64>, DecodeError> {
    let samples = take_varint(rest)?;
    if samples > MAX_SAMPLES as u64 {
        return Err(malformed("too many samples"));
    }
    let mut mono = start;
    let mut times = Vec::new();
    for _ in 0..samples {
        mono = mono
            .checked_add(take_varint(rest)?)
            .ok_or_else(|| malformed("time overflows"))?;
        times.push(mono);
    }
    Ok(times)
}

fn take_bytes<'a>(rest: &mut &'a [u8], count: usize) -> Result<&'a [u8], DecodeError> {
    let (taken, after) = rest.split_at_checked(count).ok_or(DecodeError::Short)?;
    *rest = after;
    Ok(taken)
}

fn has_bit(bytes: &[u8], index: usize) -> bool {
    bytes[index / 8] & 1 << (index % 8) != 0
}

fn malformed(reason: &str) -> DecodeError {
    DecodeError::Malformed {
        reason: reason.to_owned(),
    }
}

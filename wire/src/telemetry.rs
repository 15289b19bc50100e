//! Telemetry blocks: some seconds of samples as changes against what came before, so that a quiet node costs next to nothing.
//!
//! A block is made by an [`Encoder`] and read by a [`Decoder`] that saw the blocks before it. Blocks are a log of their own:
//! (epoch, seq), in order, exactly once. A *key block* carries the dictionary and absolute values, needs nothing before it,
//! and is sent first after every gap and every reconnect; other blocks carry only new dictionary entries and differences.
//!
//! Layout: flags, start, new dictionary entries, time steps, bitmap of the series that change, one form byte for each of them, which
//! samples of them are missing, then their differences, series by series (zigzag varints). Series by series, because a value is
//! like the one a second before, not like its neighbour; and rounded ([`kept()`]), because the digits beyond are noise that does not
//! pack. 303 series of a quiet machine at 1 Hz take 650 bytes in 10 s after zstd; exact and by sample it was 1,440.
//!
//! Invariant: for any samples, `decode(encode(samples))` are the samples, rounded; no bytes make the decoder panic.
//!
//! Read next: `telemetry/kept.rs` (how exact), `telemetry/encode.rs`, `telemetry/decode.rs`.

mod decode;
mod encode;
mod kept;

pub use decode::Decoder;
pub use encode::Encoder;
pub use kept::{Kept, kept};

/// Longest encoded block, in bytes.
pub const MAX_BLOCK_BYTES: usize = 1024 * 1024;
/// Most series of one agent. A node with 8 GPUs and 256 cores has about 1,600.
pub const MAX_SERIES: usize = 4096;
/// Most samples in one block.
pub const MAX_SAMPLES: usize = 120;

/// Flags of a block that needs nothing before it, and of one that does.
const KEY: u8 = 3;
const DIFFERENCE: u8 = 2;
/// Whether a block needs nothing before it, from its head alone.
pub fn is_key(block: &[u8]) -> bool {
    block.first() == Some(&KEY)
}

/// Part of a form byte: some samples of the series are missing.
const HAS_MISSING: u8 = 0x20;

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::kept::{steps, value};
    use super::*;
    use crate::codec::DecodeError;
    use crate::reading::{DeviceId, Quantity, Reading, Series};
    use crate::time::{Mono, Now, Wall};

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
            encoder.observe(&[reading(0, Some(50_000 + 100 * second as i64))]);
            encoder.sample(Now {
                mono: Mono(second * 1_000),
                wall: Wall(0),
            });
            blocks.push(encoder.take_block().expect("one sample"));
        }
        let mut decoder = Decoder::new();
        assert!(read_all(&mut decoder, &blocks[1]).is_err());
        assert_eq!(
            blocks.iter().map(|block| is_key(block)).collect::<Vec<_>>(),
            [true, false, false]
        );
        assert_eq!(read_all(&mut decoder, &blocks[0]), Ok(vec![(0, vec![Some(50_000)])]));
        assert_eq!(
            read_all(&mut decoder, &blocks[1]),
            Ok(vec![(1_000, vec![Some(50_100)])])
        );
        assert!(
            blocks[1].len() < 12,
            "a difference block of one small change is {} bytes",
            blocks[1].len()
        );
    }

    #[test]
    fn what_a_block_expands_to_is_known_before() {
        let mut encoder = Encoder::new();
        for second in 0..4 {
            encoder.observe(&[reading(0, Some(50_000 + 100 * second)), reading(1, Some(1_000))]);
            encoder.sample(Now::default());
        }
        let key = encoder.take_block().expect("samples");
        let mut decoder = Decoder::new();
        assert_eq!(decoder.values_in(&key), Ok(8));
        decoder.read(&key, |_, _| {}).expect("a key block");
        encoder.observe(&[reading(0, Some(60_000))]);
        encoder.sample(Now::default());
        let difference = encoder.take_block().expect("a sample");
        assert_eq!(decoder.values_in(&difference), Ok(1), "the other one did not change");
        assert!(Decoder::new().values_in(&difference).is_err());
    }

    #[test]
    fn a_key_block_starts_anew_with_the_whole_dictionary() {
        let mut encoder = Encoder::new();
        encoder.observe(&[reading(0, Some(100)), reading(1, Some(200))]);
        encoder.sample(Now::default());
        let lost = encoder.take_block().expect("one sample");
        drop(lost);
        encoder.require_key();
        encoder.observe(&[reading(1, None)]);
        encoder.sample(Now::default());
        let block = encoder.take_block().expect("one sample");
        let mut decoder = Decoder::new();
        assert_eq!(read_all(&mut decoder, &block), Ok(vec![(0, vec![Some(100), None])]));
        assert_eq!(decoder.series().len(), 2);
    }

    const QUANTITIES: [Quantity; 6] = [
        Quantity::GpuTemperature,
        Quantity::MemoryAvailable,
        Quantity::NetSent,
        Quantity::WorkloadPid,
        Quantity::CpuUsed,
        Quantity::Uptime,
    ];

    /// What a reader is to find in a block of these samples. A block announces its dictionary up front, so that early samples show
    /// later series as missing.
    fn rounded(order: &[usize], block: &mut Samples) -> Samples {
        let mut rows = std::mem::take(block);
        for (place, quantity) in order.iter().map(|index| QUANTITIES[*index]).enumerate() {
            let mut most = 0;
            for (_, values) in &mut rows {
                values.resize(order.len(), None);
                most = most.max(values[place].unwrap_or(0).unsigned_abs());
            }
            let power = kept(quantity).power(most);
            for (_, values) in &mut rows {
                values[place] = values[place].map(|found| value(steps(found, power), power));
            }
        }
        rows
    }

    proptest! {
        #[test]
        fn whatever_is_sampled_comes_back(
            rounds in vec((vec((0usize..6, proptest::option::of(any::<i64>())), 0..8), 1u64..5_000, any::<bool>()), 1..40)
        ) {
            let mut encoder = Encoder::new();
            let mut decoder = Decoder::new();
            let mut open = Samples::new();
            let mut model: Vec<Option<i64>> = Vec::new();
            let mut order: Vec<usize> = Vec::new();
            let mut mono = 0;
            let last = rounds.len() - 1;
            for (number, (readings, step, close)) in rounds.into_iter().enumerate() {
                let readings: Vec<Reading> = readings.into_iter().map(|(index, value)| {
                    if !order.contains(&index) { order.push(index); model.push(None); }
                    let place = order.iter().position(|i| *i == index).expect("just pushed");
                    model[place] = value;
                    Reading { series: Series::new(DeviceId::node(), QUANTITIES[index]), value }
                }).collect();
                encoder.observe(&readings);
                mono += step;
                encoder.sample(Now { mono: Mono(mono), wall: Wall(7) });
                open.push((mono, model.clone()));
                if close || number == last {
                    let block = encoder.take_block().expect("a sample was taken");
                    let seen = read_all(&mut decoder, &block).expect("our own block");
                    prop_assert_eq!(seen, rounded(&order, &mut open));
                }
            }
        }

        #[test]
        fn no_bytes_panic_the_decoder(bytes in vec(any::<u8>(), 0..300)) {
            let mut decoder = Decoder::new();
            let _ = read_all(&mut decoder, &bytes);
            for flags in [KEY, DIFFERENCE] {
                let mut flagged = vec![flags];
                flagged.extend(&bytes);
                let _ = read_all(&mut decoder, &flagged);
            }
        }
    }
}

//! Decides how a frame is laid on a stream: as it is, or packed with zstd.
//!
//! Telemetry and bundles are packed, frame by frame, so that a lost session costs no dictionary; control frames are too small
//! and entries must be taken in as fast as the store can commit them. On a packed stream each frame is
//! `u8` form + `u32` length (little endian, of what follows) + body; the body of form 1 is `u32` plain length + a zstd frame.
//!
//! Invariant: no input of any length makes [`Unpacker`] panic, or hold more than one frame of its class and what was fed.

use std::cell::RefCell;

use wire::codec::DecodeError;
use wire::frame::{Class, Frame, FrameReader, HEADER_BYTES};
use zstd::bulk::Decompressor;

const PLAIN: u8 = 0;
const ZSTD: u8 = 1;
/// Form and length.
const CHUNK_HEADER_BYTES: usize = 5;
/// zstd's own default: a 10-s block of 200 series packs in about 0.1 ms.
const LEVEL: i32 = 3;
/// Below this there is nothing to gain.
const WORTH_PACKING_BYTES: usize = 128;
/// A buffer that grew beyond this is given back as soon as it is empty: an idle session holds no frame.
const KEEP_BYTES: usize = 2 * 1024;

/// Whether frames of this class are packed.
pub(crate) const fn is_packed(class: Class) -> bool {
    matches!(class, Class::Telemetry | Class::Bundle)
}

/// Lays an encoded frame out for its stream.
pub(crate) fn pack(class: Class, frame: Vec<u8>) -> Vec<u8> {
    if !is_packed(class) {
        return frame;
    }
    if frame.len() >= WORTH_PACKING_BYTES
        && let Ok(body) = zstd::bulk::compress(&frame, LEVEL)
        && body.len() + 4 < frame.len()
    {
        let mut out = header(ZSTD, body.len() + 4);
        out.extend_from_slice(&(frame.len() as u32).to_le_bytes());
        out.extend_from_slice(&body);
        return out;
    }
    let mut out = header(PLAIN, frame.len());
    out.extend_from_slice(&frame);
    out
}

fn header(form: u8, length: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(CHUNK_HEADER_BYTES + length);
    out.push(form);
    out.extend_from_slice(&(length as u32).to_le_bytes());
    out
}

/// Takes frames from the bytes of one stream. A decode error ends the stream.
#[derive(Debug)]
pub(crate) enum Unpacker {
    Plain(FrameReader),
    Packed(Chunks),
}

impl Unpacker {
    pub(crate) fn new(class: Class) -> Self {
        if is_packed(class) {
            Self::Packed(Chunks {
                class,
                buffer: Vec::new(),
            })
        } else {
            Self::Plain(FrameReader::new(class))
        }
    }

    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        match self {
            Self::Plain(reader) => reader.extend(bytes),
            Self::Packed(chunks) => chunks.buffer.extend_from_slice(bytes),
        }
    }

    pub(crate) fn next_frame(&mut self) -> Result<Option<Frame>, DecodeError> {
        match self {
            Self::Plain(reader) => {
                let frame = reader.next_frame()?;
                if frame.is_none() {
                    reader.release(KEEP_BYTES);
                }
                Ok(frame)
            }
            Self::Packed(chunks) => chunks.next_frame(),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Chunks {
    class: Class,
    buffer: Vec<u8>,
}

impl Chunks {
    fn next_frame(&mut self) -> Result<Option<Frame>, DecodeError> {
        loop {
            let Some((form, length)) = self.chunk_header()? else {
                return Ok(None);
            };
            let end = CHUNK_HEADER_BYTES + length;
            if self.buffer.len() < end {
                return Ok(None);
            }
            let body = &self.buffer[CHUNK_HEADER_BYTES..end];
            let frame = if form == ZSTD {
                one_frame(self.class, &unpack(self.class, body)?)?
            } else {
                one_frame(self.class, body)?
            };
            self.buffer.drain(..end);
            if self.buffer.is_empty() && self.buffer.capacity() > KEEP_BYTES {
                self.buffer = Vec::new();
            }
            // `None` is a frame of a kind that this build does not know.
            if frame.is_some() {
                return Ok(frame);
            }
        }
    }

    fn chunk_header(&self) -> Result<Option<(u8, usize)>, DecodeError> {
        let Some(&[form, a, b, c, d]) = self.buffer.first_chunk::<CHUNK_HEADER_BYTES>() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes([a, b, c, d]) as usize;
        let limit = plain_limit(self.class) + 4;
        if length > limit {
            return Err(DecodeError::TooLong { length, limit });
        }
        if form > ZSTD {
            return Err(malformed(format!("a chunk of unknown form {form}")));
        }
        Ok(Some((form, length)))
    }
}

/// Longest encoded frame of a class.
const fn plain_limit(class: Class) -> usize {
    class.max_frame_bytes() + HEADER_BYTES
}

fn unpack(class: Class, body: &[u8]) -> Result<Vec<u8>, DecodeError> {
    thread_local! {
        // One for each thread: a decompressor is 100 KiB, far too much for each of ten thousand sessions.
        static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
    }
    let (length, packed) = body.split_first_chunk::<4>().ok_or(DecodeError::Short)?;
    let length = u32::from_le_bytes(*length) as usize;
    let limit = plain_limit(class);
    if length > limit {
        return Err(DecodeError::TooLong { length, limit });
    }
    let plain = DECOMPRESSOR.with_borrow_mut(|slot| {
        if slot.is_none() {
            *slot = Some(Decompressor::new()?);
        }
        match slot {
            Some(decompressor) => decompressor.decompress(packed, length),
            None => Ok(Vec::new()),
        }
    });
    match plain {
        Ok(plain) if plain.len() == length => Ok(plain),
        Ok(plain) => Err(malformed(format!(
            "a packed frame of {} bytes that was announced with {length}",
            plain.len()
        ))),
        Err(cause) => Err(malformed(format!("zstd: {cause}"))),
    }
}

/// Exactly one frame, or one of unknown kind.
fn one_frame(class: Class, plain: &[u8]) -> Result<Option<Frame>, DecodeError> {
    let mut reader = FrameReader::new(class);
    reader.extend(plain);
    let frame = reader.next_frame()?;
    if frame.is_none() && reader.skipped != 1 {
        return Err(DecodeError::Short);
    }
    if reader.is_empty() {
        Ok(frame)
    } else {
        Err(malformed("a chunk with more than one frame".to_owned()))
    }
}

fn malformed(reason: String) -> DecodeError {
    DecodeError::Malformed { reason }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use wire::frame::TelemetryBlock;
    use wire::ids::{Epoch, Seq};

    use super::*;

    fn telemetry(block: Vec<u8>) -> Frame {
        Frame::Telemetry(TelemetryBlock {
            epoch: Epoch(1),
            seq: Seq(7),
            block,
        })
    }

    fn read(bytes: &[u8], step: usize) -> Result<Vec<Frame>, DecodeError> {
        let mut unpacker = Unpacker::new(Class::Telemetry);
        let mut frames = Vec::new();
        for part in bytes.chunks(step.max(1)) {
            unpacker.extend(part);
            while let Some(frame) = unpacker.next_frame()? {
                frames.push(frame);
            }
        }
        Ok(frames)
    }

    #[test]
    fn a_frame_that_says_the_same_again_and_again_becomes_short() {
        let frame = telemetry(vec![5; 50_000]);
        let packed = pack(Class::Telemetry, frame.encode());
        assert!(packed.len() < 200, "{}", packed.len());
        assert_eq!(read(&packed, 7), Ok(vec![frame]));
    }

    #[test]
    fn a_bomb_is_refused_by_its_announced_length() {
        let mut bytes = header(ZSTD, 8);
        bytes.extend_from_slice(&u32::MAX.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        assert!(matches!(read(&bytes, 100), Err(DecodeError::TooLong { .. })));
    }

    #[test]
    fn a_frame_that_unpacks_to_more_than_was_announced_is_refused() {
        let body = zstd::bulk::compress(&vec![0; 900_000], LEVEL).expect("compresses");
        let mut bytes = header(ZSTD, body.len() + 4);
        bytes.extend_from_slice(&100u32.to_le_bytes());
        bytes.extend_from_slice(&body);
        assert!(matches!(read(&bytes, 100), Err(DecodeError::Malformed { .. })));
    }

    #[test]
    fn two_frames_in_one_chunk_are_refused() {
        let frame = telemetry(vec![1]).encode();
        let mut bytes = header(PLAIN, frame.len() * 2);
        bytes.extend_from_slice(&frame);
        bytes.extend_from_slice(&frame);
        assert!(read(&bytes, 100).is_err());
    }

    #[test]
    fn frames_of_unknown_kind_are_skipped() {
        let unknown = [2 + 3, 0, 0, 0, 0xff, 0xff, 1, 2, 3];
        let mut bytes = header(PLAIN, unknown.len());
        bytes.extend_from_slice(&unknown);
        bytes.extend(pack(Class::Telemetry, telemetry(vec![2]).encode()));
        assert_eq!(read(&bytes, 3), Ok(vec![telemetry(vec![2])]));
    }

    proptest! {
        #[test]
        fn whatever_is_packed_comes_back(
            blocks in proptest::collection::vec(proptest::collection::vec(0..4u8, 0..600), 0..6),
            step in 1..400usize,
        ) {
            let frames: Vec<Frame> = blocks.into_iter().map(telemetry).collect();
            let bytes: Vec<u8> = frames
                .iter()
                .flat_map(|frame| pack(Class::Telemetry, frame.encode()))
                .collect();
            prop_assert_eq!(read(&bytes, step), Ok(frames));
        }

        #[test]
        fn no_bytes_panic_the_unpacker(bytes in proptest::collection::vec(any::<u8>(), 0..300), step in 1..50usize) {
            let _ = read(&bytes, step);
        }
    }
}

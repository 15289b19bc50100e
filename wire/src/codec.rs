//! Bytes in and out: postcard with the two checks that postcard does not make (length, trailing bytes), and the frame header.
//!
//! Invariant: `decode(&encode(x)) == x`; no input of any length makes `decode` panic or allocate more than a small multiple of it.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Bytes that are not what they should be. The peer that sent them is at fault: count it and close the stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// postcard could not read the type.
    #[error("not a valid encoding: {reason}")]
    Malformed {
        /// What postcard says.
        reason: String,
    },
    /// Bytes were left over, which postcard alone would accept.
    #[error("{count} bytes follow the end of the value")]
    Trailing {
        /// How many.
        count: usize,
    },
    /// Longer than the bound for its type.
    #[error("{length} bytes, at most {limit} are allowed")]
    TooLong {
        /// Its length.
        length: usize,
        /// The bound.
        limit: usize,
    },
    /// Not enough bytes yet for a whole value.
    #[error("ends in the middle of a value")]
    Short,
}

/// Encodes a value of a wire type.
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    postcard::to_stdvec(value)
        .expect("wire types have no unsized maps or unsupported shapes, so encoding to memory cannot fail")
}

/// Decodes a whole value; left-over bytes are an error.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    match decode_prefix(bytes)? {
        (value, []) => Ok(value),
        (_, rest) => Err(DecodeError::Trailing { count: rest.len() }),
    }
}

/// Decodes a value from the start of `bytes` and returns what follows it.
pub fn decode_prefix<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, &[u8]), DecodeError> {
    postcard::take_from_bytes(bytes).map_err(|cause| DecodeError::Malformed {
        reason: cause.to_string(),
    })
}

/// Appends a LEB128 varint.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Takes a LEB128 varint from the front of `bytes`; refuses more than 64 bits and needless zero groups.
pub fn take_varint(bytes: &mut &[u8]) -> Result<u64, DecodeError> {
    let malformed = || DecodeError::Malformed {
        reason: "varint is too long or not minimal".to_owned(),
    };
    let mut value = 0u64;
    for shift in (0..70).step_by(7) {
        let (&byte, rest) = bytes.split_first().ok_or(DecodeError::Short)?;
        *bytes = rest;
        let group = u64::from(byte & 0x7f);
        if shift == 63 && group > 1 {
            return Err(malformed());
        }
        value |= group << shift;
        if byte & 0x80 == 0 {
            return if byte == 0 && shift > 0 {
                Err(malformed())
            } else {
                Ok(value)
            };
        }
    }
    Err(malformed())
}

/// Maps small negative and positive numbers to small unsigned ones.
pub const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// The inverse of [`zigzag`].
pub const fn unzigzag(value: u64) -> i64 {
    ((value >> 1) as i64) ^ -((value & 1) as i64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn varints_come_back(value: u64, signed: i64) {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            let mut rest = &bytes[..];
            prop_assert_eq!(take_varint(&mut rest), Ok(value));
            prop_assert!(rest.is_empty());
            prop_assert_eq!(unzigzag(zigzag(signed)), signed);
        }

        #[test]
        fn no_bytes_panic_the_varint_reader(bytes in proptest::collection::vec(any::<u8>(), 0..16)) {
            let mut rest = &bytes[..];
            let before = rest.len();
            if let Ok(value) = take_varint(&mut rest) {
                let mut again = Vec::new();
                put_varint(&mut again, value);
                prop_assert_eq!(again.len(), before - rest.len(), "one value has one spelling");
            }
        }
    }

    #[test]
    fn left_over_bytes_are_an_error() {
        let mut bytes = encode(&7u32);
        bytes.push(0);
        assert_eq!(decode::<u32>(&bytes), Err(DecodeError::Trailing { count: 1 }));
    }
}

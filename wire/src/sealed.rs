//! The frame of a file that people carry: what it is, its version, its length, its bytes, and a checksum that finds a torn copy.
//!
//! Layout: magic, version (`u16`), length (`u32`), both little endian, the body, BLAKE3 of all before it. Never decides whether
//! anybody trusts what is inside: that comes from signatures alone.
//!
//! Read next: `parcel.rs` and `breakglass.rs` (what is carried).

const HEADER_BYTES: usize = 14;
const CHECKSUM_BYTES: usize = 32;

/// One kind of file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sealed {
    pub magic: &'static [u8; 8],
    pub version: u16,
    /// Longest file.
    pub most_bytes: usize,
}

/// Why bytes are no such file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Torn {
    /// Something else.
    Other,
    /// Of another version.
    Version { found: u16 },
    /// Bytes are missing or follow, or there are more than such a file has.
    Length { found: usize, needed: usize },
    /// A byte is wrong.
    Checksum,
}

impl Sealed {
    /// Whether bytes begin like such a file.
    pub fn is_one(&self, bytes: &[u8]) -> bool {
        bytes.starts_with(self.magic)
    }

    /// The file's bytes.
    pub fn seal(&self, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len()).expect("what is carried is far below 4 GiB: its parts are bounded");
        let mut out = Vec::with_capacity(HEADER_BYTES + body.len() + CHECKSUM_BYTES);
        out.extend_from_slice(self.magic);
        out.extend_from_slice(&self.version.to_le_bytes());
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(body);
        let checksum = blake3::hash(&out);
        out.extend_from_slice(checksum.as_bytes());
        out
    }

    /// The body of a file's bytes.
    pub fn open<'a>(&self, bytes: &'a [u8]) -> Result<&'a [u8], Torn> {
        let (Some(header), true) = (bytes.first_chunk::<HEADER_BYTES>(), self.is_one(bytes)) else {
            return Err(Torn::Other);
        };
        let found = u16::from_le_bytes([header[8], header[9]]);
        if found != self.version {
            return Err(Torn::Version { found });
        }
        let length = u32::from_le_bytes([header[10], header[11], header[12], header[13]]) as usize;
        let needed = HEADER_BYTES + length + CHECKSUM_BYTES;
        if bytes.len() != needed || needed > self.most_bytes {
            let found = bytes.len();
            return Err(Torn::Length { found, needed });
        }
        let (body, checksum) = bytes.split_at(HEADER_BYTES + length);
        match blake3::hash(body).as_bytes() == checksum {
            true => Ok(&body[HEADER_BYTES..]),
            false => Err(Torn::Checksum),
        }
    }
}

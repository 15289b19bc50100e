//! Policy in one file: role documents, a bundle, a beacon, for nodes that no network reaches.
//!
//! The file's frame finds a torn copy; trust comes from the signatures inside alone. Never decides whether any of it is accepted.
//!
//! Read next: `sealed.rs` (the frame), `roles.rs` and `bundle.rs` (what is inside), `edge-agent/core/src/bundles.rs` (who accepts it).

use serde::{Deserialize, Serialize};

use crate::bundle::{Beacon, MAX_BUNDLE_BYTES, SignedBundle};
use crate::codec::{self, DecodeError};
use crate::roles::{MAX_ROLE_DOCUMENTS, MAX_ROLES_BYTES, SignedRoles};
use crate::sealed::{Sealed, Torn};

const FILE: Sealed = Sealed {
    magic: b"SNTLPRCL",
    version: 1,
    most_bytes: MAX_PARCEL_BYTES,
};
/// Longest parcel: a full chain of roles, a full bundle, and their signatures.
pub const MAX_PARCEL_BYTES: usize = MAX_BUNDLE_BYTES + MAX_ROLE_DOCUMENTS * (MAX_ROLES_BYTES + 2 * 1024) + 64 * 1024;

/// What people carry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parcel {
    /// Role documents, oldest first.
    pub roles: Vec<SignedRoles>,
    /// A bundle.
    pub bundle: Option<SignedBundle>,
    /// The proof that the bundle was the newest when the parcel was made.
    pub beacon: Option<Beacon>,
}

/// Why bytes are no parcel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParcelError {
    /// Something else.
    #[error("not a parcel of Sentinel: `sentinel policy sign` and `sentinel policy export` make them")]
    Other,
    /// Of a later version.
    #[error("a parcel of version {found}, this program reads {}: use the `sentinel` that made it", FILE.version)]
    Version {
        /// Its version.
        found: u16,
    },
    /// Bytes are missing or follow.
    #[error("{found} bytes, the parcel needs {needed}: copy it again")]
    Length {
        /// How many there are.
        found: usize,
        /// How many there should be.
        needed: usize,
    },
    /// A byte is wrong.
    #[error("the checksum does not fit: copy it again")]
    Checksum,
    /// Whole, and not what it should be.
    #[error("the parcel cannot be read")]
    Unreadable {
        /// How it fails.
        #[source]
        cause: DecodeError,
    },
}

impl Parcel {
    /// Whether bytes begin like a parcel; no bundle's text does.
    pub fn is_one(bytes: &[u8]) -> bool {
        FILE.is_one(bytes)
    }

    /// The file's bytes.
    pub fn encode(&self) -> Vec<u8> {
        FILE.seal(&codec::encode(self))
    }

    /// Reads a file's bytes. Trusts nothing in it.
    pub fn decode(bytes: &[u8]) -> Result<Self, ParcelError> {
        let body = FILE.open(bytes).map_err(|torn| match torn {
            Torn::Other => ParcelError::Other,
            Torn::Version { found } => ParcelError::Version { found },
            Torn::Length { found, needed } => ParcelError::Length { found, needed },
            Torn::Checksum => ParcelError::Checksum,
        })?;
        codec::decode(body).map_err(|cause| ParcelError::Unreadable { cause })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parcel() -> Parcel {
        Parcel {
            bundle: Some(SignedBundle {
                payload: b"rules".to_vec(),
                signatures: Vec::new(),
            }),
            ..Parcel::default()
        }
    }

    fn check(change: impl Fn(&mut Vec<u8>), expected: &str) {
        let mut bytes = parcel().encode();
        change(&mut bytes);
        let error = Parcel::decode(&bytes).expect_err("not as it was");
        assert!(error.to_string().contains(expected), "{error}");
    }

    #[test]
    fn what_is_wrong_with_a_file_is_told() {
        assert_eq!(Parcel::decode(&parcel().encode()), Ok(parcel()));
        check(|bytes| bytes.clear(), "not a parcel");
        check(|bytes| bytes[0] = b'X', "not a parcel");
        check(|bytes| bytes[8] = 9, "version 9");
        check(|bytes| bytes.truncate(40), "copy it again");
        check(|bytes| bytes.push(0), "copy it again");
        check(|bytes| bytes[20] ^= 1, "checksum");
    }

    proptest! {
        #[test]
        fn no_bytes_crash_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..200), at in 0usize..200) {
            prop_assert!(Parcel::decode(&bytes).is_err());
            let mut whole = parcel().encode();
            let at = at % whole.len();
            whole[at] ^= 0x55;
            prop_assert!(Parcel::decode(&whole).is_err());
        }
    }
}

//! Break-glass: two people open what rules hold back, for hours, on named nodes, for named kinds of action.
//!
//! The envelope only: what an open token lifts, and what it never lifts, is decided in `policy`. A signature is Ed25519 over the
//! exact payload bytes with a role prefix of its own, so no signature of a bundle or a beacon is worth anything here.
//!
//! Invariant: a token counts only with signatures by two distinct trusted keys, whatever the ring's own threshold is.

use std::fmt;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};

use crate::bundle::{KeyRing, KeySignature, MAX_SIGNATURES, SignatureError};
use crate::codec::{self, DecodeError};
use crate::ids::KeyId;
use crate::sealed::{Sealed, Torn};
use crate::time::Wall;

/// The longest that a token can be open, in milliseconds: 4 hours.
pub const MAX_OPEN_MS: u64 = 4 * 3_600_000;
/// How many distinct people must have signed.
pub const APPROVERS: usize = 2;
/// Largest payload: a page of names.
const MAX_PAYLOAD_BYTES: usize = 16 * 1024;
/// Longest token file: the largest payload, its signatures, and the frame.
pub const MAX_TOKEN_BYTES: usize = MAX_PAYLOAD_BYTES + MAX_SIGNATURES * 128 + 256;

const FILE: Sealed = Sealed {
    magic: b"SNTLGLAS",
    version: 1,
    most_bytes: MAX_TOKEN_BYTES,
};

const PREFIX: &[u8] = b"sentinel break-glass v1\0";

/// What is signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakGlassPayload {
    /// Grows with every token of a trust domain; a node takes none twice and none that is older.
    pub number: u64,
    /// The trust domain that it is for.
    pub trust_domain: String,
    /// The nodes that it is for, by name; all if empty.
    pub nodes: Vec<String>,
    /// Devices or classes of devices that it is for; all if empty.
    pub targets: Vec<String>,
    /// The kinds of action that it is for, by name; at least one.
    pub kinds: Vec<String>,
    /// How long it is open, in milliseconds, from when it was signed; at most [`MAX_OPEN_MS`].
    pub open_for_ms: u64,
    /// When it was signed, by the signer's clock.
    pub issued_at: Wall,
    /// Why, for the record.
    pub reason: String,
}

/// A token with its signatures, as it travels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakGlass {
    /// An encoded [`BreakGlassPayload`], kept as the bytes that were signed.
    pub payload: Vec<u8>,
    /// Signatures by distinct keys.
    pub signatures: Vec<KeySignature>,
}

/// Why a token opens nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BreakGlassError {
    /// It is not signed as it must be.
    Signature(SignatureError),
    /// It is signed, and asks for more than a token can give.
    Scope {
        /// What, and the way out.
        problem: String,
    },
}

impl fmt::Display for BreakGlassError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signature(_) => f.write_str("the break-glass token is not signed as it must be"),
            Self::Scope { problem } => write!(f, "the break-glass token is refused: {problem}"),
        }
    }
}

impl std::error::Error for BreakGlassError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Signature(cause) => Some(cause),
            Self::Scope { .. } => None,
        }
    }
}

/// Why bytes are no token file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Something else.
    #[error("not a break-glass token of Sentinel: `sentinel policy break-glass make` makes them")]
    Other,
    /// Of a later version.
    #[error("a break-glass token of version {found}, this program reads {}: use the `sentinel` that made it", FILE.version)]
    Version {
        /// Its version.
        found: u16,
    },
    /// Bytes are missing or follow.
    #[error("{found} bytes, the token needs {needed} and has at most {MAX_TOKEN_BYTES}: copy it again")]
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
    #[error("the break-glass token cannot be read")]
    Unreadable {
        /// How it fails.
        #[source]
        cause: DecodeError,
    },
}

impl BreakGlass {
    /// The file's bytes.
    pub fn encode(&self) -> Vec<u8> {
        FILE.seal(&codec::encode(self))
    }

    /// Reads a file's bytes. Trusts nothing in it.
    pub fn decode(bytes: &[u8]) -> Result<Self, TokenError> {
        let body = FILE.open(bytes).map_err(|torn| match torn {
            Torn::Other => TokenError::Other,
            Torn::Version { found } => TokenError::Version { found },
            Torn::Length { found, needed } => TokenError::Length { found, needed },
            Torn::Checksum => TokenError::Checksum,
        })?;
        codec::decode(body).map_err(|cause| TokenError::Unreadable { cause })
    }

    /// What it says, whoever signed it: to show it, and never to act by it.
    pub fn peek(&self) -> Result<BreakGlassPayload, DecodeError> {
        codec::decode(&self.payload)
    }

    /// The keys that are named beside a signature, each once, whether or not they count.
    pub fn named(&self) -> Vec<KeyId> {
        let mut named: Vec<KeyId> = Vec::new();
        for signature in &self.signatures {
            if !named.contains(&signature.key) {
                named.push(signature.key);
            }
        }
        named
    }

    /// A token with the first person's signature.
    pub fn sign(payload: &BreakGlassPayload, key: &SigningKey) -> Self {
        let mut token = Self {
            payload: codec::encode(payload),
            signatures: Vec::new(),
        };
        token.countersign(key);
        token
    }

    /// Adds another person's signature.
    pub fn countersign(&mut self, key: &SigningKey) {
        let message = [PREFIX, &self.payload].concat();
        self.signatures.push(KeySignature {
            key: KeyId::of(key.verifying_key().as_bytes()),
            signature: key.sign(&message).to_bytes().to_vec(),
        });
    }

    /// Verifies the signatures over the raw bytes, then reads them. Returns what was signed and the keys that did, in the ring's
    /// order. Does not look at the number or at clocks: that is the caller's duty.
    pub fn open(
        &self,
        ring: &KeyRing,
        trust_domain: &str,
        node: &str,
    ) -> Result<(BreakGlassPayload, Vec<KeyId>), BreakGlassError> {
        if self.payload.len() > MAX_PAYLOAD_BYTES || self.signatures.len() > MAX_SIGNATURES {
            let what = "a break-glass token of more than 16 KiB, or with more than 16 signatures";
            return Err(BreakGlassError::Signature(SignatureError::TooLarge { what }));
        }
        let signers = self.signers(ring);
        let needed = usize::from(ring.threshold).max(APPROVERS);
        if signers.len() < needed {
            let valid = signers.len();
            return Err(BreakGlassError::Signature(SignatureError::TooFew { valid, needed }));
        }
        let payload: BreakGlassPayload = codec::decode(&self.payload)
            .map_err(|cause| BreakGlassError::Signature(SignatureError::Unreadable { cause }))?;
        if payload.trust_domain != trust_domain {
            return Err(BreakGlassError::Signature(SignatureError::OtherDomain {
                found: payload.trust_domain,
                expected: trust_domain.to_owned(),
            }));
        }
        match payload.problem().or_else(|| payload.other_node(node)) {
            Some(problem) => Err(BreakGlassError::Scope { problem }),
            None => Ok((payload, signers)),
        }
    }

    /// The distinct keys of the ring that signed these exact bytes.
    pub fn signers(&self, ring: &KeyRing) -> Vec<KeyId> {
        let message = [PREFIX, &self.payload].concat();
        let mut signers: Vec<KeyId> = Vec::new();
        for key in &ring.keys {
            let id = KeyId::of(key);
            let Ok(verifier) = VerifyingKey::from_bytes(key) else {
                continue;
            };
            let has_signed = self.signatures.iter().any(|candidate| {
                candidate.key == id
                    && Signature::from_slice(&candidate.signature)
                        .is_ok_and(|signature| verifier.verify_strict(&message, &signature).is_ok())
            });
            // Count people, not signatures: the same key twice is one.
            if has_signed && !signers.contains(&id) {
                signers.push(id);
            }
        }
        signers
    }
}

impl BreakGlassPayload {
    /// What every node refuses about it, and the way out.
    pub fn problem(&self) -> Option<String> {
        if self.open_for_ms == 0 || self.open_for_ms > MAX_OPEN_MS {
            return Some(format!(
                "open_for_ms is {}; a token is open for 1..={MAX_OPEN_MS} ms",
                self.open_for_ms
            ));
        }
        if self.kinds.is_empty() {
            return Some("kinds is empty; name each kind of action that it is for".to_owned());
        }
        None
    }

    fn other_node(&self, node: &str) -> Option<String> {
        if !self.nodes.is_empty() && !self.nodes.iter().any(|name| name == node) {
            return Some(format!("it is for {}, and this is `{node}`", self.nodes.join(", ")));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::bundle::{BundlePayload, SignedBundle};
    use crate::ids::Generation;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_bytes(&[seed; 32])
    }

    fn payload() -> BreakGlassPayload {
        BreakGlassPayload {
            number: 1,
            trust_domain: "example".to_owned(),
            nodes: vec!["box-1".to_owned()],
            targets: Vec::new(),
            kinds: vec!["restart".to_owned()],
            open_for_ms: 3_600_000,
            issued_at: Wall(0),
            reason: "fire".to_owned(),
        }
    }

    fn ring(trusted: &[u8], threshold: u8) -> KeyRing {
        KeyRing {
            keys: trusted.iter().map(|k| key(*k).verifying_key().to_bytes()).collect(),
            threshold,
        }
    }

    fn token(payload: &BreakGlassPayload, signers: &[u8]) -> BreakGlass {
        let mut token = BreakGlass::sign(payload, &key(signers[0]));
        for signer in &signers[1..] {
            token.countersign(&key(*signer));
        }
        token
    }

    fn check(signers: &[u8], trusted: &[u8], threshold: u8, expected: Result<usize, &str>) {
        let found = token(&payload(), signers).open(&ring(trusted, threshold), "example", "box-1");
        match (found, expected) {
            (Ok((found, who)), Ok(count)) => assert_eq!((found, who.len()), (payload(), count)),
            (Err(error), Err(part)) => {
                let cause = std::error::Error::source(&error).map_or(String::new(), ToString::to_string);
                assert!(format!("{error}: {cause}").contains(part), "{error}: {cause}");
            }
            (found, expected) => panic!("{found:?} is not {expected:?}"),
        }
    }

    #[test]
    fn two_distinct_people_are_needed_whatever_the_ring_says() {
        check(&[1, 2], &[1, 2, 3], 1, Ok(2));
        check(&[1, 2, 3], &[1, 2, 3], 3, Ok(3));
        check(&[1], &[1, 2], 1, Err("1 of 2"));
        check(&[1, 1], &[1, 2], 0, Err("1 of 2"));
        check(&[1, 4], &[1, 2], 1, Err("1 of 2"));
        check(&[1, 2], &[1, 2, 3], 3, Err("2 of 3"));
        check(&[1, 1], &[1, 1], 1, Err("1 of 2"));
    }

    #[test]
    fn a_token_gives_no_more_than_it_may() {
        type Change = fn(&mut BreakGlassPayload);
        let cases: [(Change, &str); 5] = [
            (|p| p.open_for_ms = MAX_OPEN_MS + 1, "open_for_ms is 14400001"),
            (|p| p.open_for_ms = 0, "open_for_ms is 0"),
            (|p| p.kinds.clear(), "kinds is empty"),
            (
                |p| p.nodes = vec!["box-2".to_owned()],
                "it is for box-2, and this is `box-1`",
            ),
            (|p| p.reason = "x".repeat(20_000), "not signed as it must be"),
        ];
        for (change, expected) in cases {
            let mut payload = payload();
            change(&mut payload);
            let found = token(&payload, &[1, 2]).open(&ring(&[1, 2], 1), "example", "box-1");
            let text = found.expect_err("refused").to_string();
            assert!(text.contains(expected), "{text}");
        }
        let other = token(&payload(), &[1, 2]).open(&ring(&[1, 2], 1), "elsewhere", "box-1");
        assert!(matches!(
            other,
            Err(BreakGlassError::Signature(SignatureError::OtherDomain { .. }))
        ));
    }

    #[test]
    fn what_is_wrong_with_a_file_is_told() {
        let good = token(&payload(), &[1, 2]);
        assert_eq!(BreakGlass::decode(&good.encode()), Ok(good.clone()));
        let parcel = crate::Parcel::default().encode();
        type Change = fn(&mut Vec<u8>);
        let cases: [(Change, &str); 6] = [
            (Vec::clear, "not a break-glass token"),
            (|bytes| bytes[0] = b'X', "not a break-glass token"),
            (|bytes| bytes[8] = 9, "version 9"),
            (|bytes| bytes.truncate(40), "copy it again"),
            (|bytes| bytes.push(0), "copy it again"),
            (|bytes| bytes[20] ^= 1, "checksum"),
        ];
        for (change, expected) in cases {
            let mut bytes = good.encode();
            change(&mut bytes);
            let error = BreakGlass::decode(&bytes).expect_err("not as it was");
            assert!(error.to_string().contains(expected), "{error}");
        }
        assert_eq!(BreakGlass::decode(&parcel), Err(TokenError::Other));
        let mut large = payload();
        large.reason = "x".repeat(MAX_TOKEN_BYTES);
        let large = BreakGlass::decode(&token(&large, &[1]).encode());
        assert!(matches!(large, Err(TokenError::Length { .. })), "{large:?}");
    }

    proptest! {
        #[test]
        fn no_bytes_crash_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..200), at in any::<usize>()) {
            prop_assert!(BreakGlass::decode(&bytes).is_err());
            let mut whole = token(&payload(), &[1, 2]).encode();
            let at = at % whole.len();
            whole[at] ^= 0x55;
            prop_assert!(BreakGlass::decode(&whole).is_err());
        }
    }

    #[test]
    fn one_changed_bit_is_refused_and_another_role_is_worth_nothing() {
        let ring = ring(&[1, 2], 1);
        let good = token(&payload(), &[1, 2]);
        for index in 0..good.payload.len() {
            let mut bad = good.clone();
            bad.payload[index] ^= 1;
            assert!(bad.open(&ring, "example", "box-1").is_err(), "byte {index}");
        }
        let text = BundlePayload {
            generation: Generation(1),
            trust_domain: "example".to_owned(),
            issued_at: Wall(0),
            text: Vec::new(),
        };
        let mut bundle = SignedBundle::sign(&text, &key(1));
        bundle.countersign(&key(2));
        let disguised = BreakGlass {
            payload: bundle.payload,
            signatures: bundle.signatures,
        };
        assert!(matches!(
            disguised.open(&ring, "example", "box-1"),
            Err(BreakGlassError::Signature(SignatureError::TooFew { valid: 0, .. }))
        ));
    }
}

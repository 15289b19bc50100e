//! Signed bundles and beacons: the envelope, not what is inside (that is `policy`).
//!
//! A signature is Ed25519 over the exact payload bytes with a role prefix, so that a signature made for one purpose is worth
//! nothing for another. Order of work on arrival: verify the signature over raw bytes, decode, check generation against the
//! floor, persist the floor, activate.

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};

use crate::codec::{self, DecodeError};
use crate::ids::{Digest, Generation, KeyId};
use crate::time::Wall;

/// Longest bundle text, in bytes.
pub const MAX_BUNDLE_BYTES: usize = 1024 * 1024;
/// Most signatures on one bundle.
pub const MAX_SIGNATURES: usize = 16;

const BUNDLE_PREFIX: &[u8] = b"sentinel bundle v1\0";
const BEACON_PREFIX: &[u8] = b"sentinel beacon v1\0";

/// Names one bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BundleRef {
    /// Its number.
    pub generation: Generation,
    /// BLAKE3 of the payload bytes.
    pub digest: Digest,
}

impl BundleRef {
    /// Before any bundle: generation 0, zero digest.
    pub const NONE: Self = Self {
        generation: Generation(0),
        digest: Digest::ZERO,
    };
}

/// What is signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundlePayload {
    /// Its number; only ever grows within a trust domain.
    pub generation: Generation,
    /// The trust domain that it is for.
    pub trust_domain: String,
    /// When it was signed, by the signer's clock. For people.
    pub issued_at: Wall,
    /// The text as a person wrote it (YAML or TOML), byte for byte.
    pub text: Vec<u8>,
}

/// One key's signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeySignature {
    /// Which key.
    pub key: KeyId,
    /// 64 bytes.
    pub signature: Vec<u8>,
}

/// A bundle with its signatures, as it travels and is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedBundle {
    /// An encoded [`BundlePayload`], kept as the bytes that were signed.
    pub payload: Vec<u8>,
    /// Signatures by distinct keys.
    pub signatures: Vec<KeySignature>,
}

/// Why a signed thing is not accepted. What was active before stays active.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// Too few distinct trusted keys signed these exact bytes.
    #[error("{valid} of {needed} needed signatures by trusted keys are valid")]
    TooFew {
        /// How many distinct trusted keys' signatures verified.
        valid: usize,
        /// How many are needed.
        needed: usize,
    },
    /// The payload is larger than [`MAX_BUNDLE_BYTES`] or has more than [`MAX_SIGNATURES`] signatures.
    #[error("too large: {what}")]
    TooLarge {
        /// Which bound.
        what: &'static str,
    },
    /// The payload is signed, but is not what it should be.
    #[error("the signed payload cannot be read")]
    Unreadable {
        /// How it fails.
        #[source]
        cause: DecodeError,
    },
    /// Signed for somebody else.
    #[error("signed for trust domain `{found}`, this is `{expected}`")]
    OtherDomain {
        /// The domain in the payload.
        found: String,
        /// Ours.
        expected: String,
    },
}

/// The public keys that may sign, and how many of them must.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRing {
    /// Ed25519 public keys.
    pub keys: Vec<[u8; 32]>,
    /// How many distinct ones must have signed, at least 1.
    pub threshold: u8,
}

impl KeyRing {
    /// A ring of one key.
    pub fn single(key: [u8; 32]) -> Self {
        Self {
            keys: vec![key],
            threshold: 1,
        }
    }

    /// Whether every key is an Ed25519 public key.
    pub fn is_usable(&self) -> bool {
        self.keys.iter().all(|key| VerifyingKey::from_bytes(key).is_ok())
    }

    pub(crate) fn check(
        &self,
        prefix: &[u8],
        payload: &[u8],
        signatures: &[KeySignature],
    ) -> Result<(), SignatureError> {
        if signatures.len() > MAX_SIGNATURES {
            return Err(SignatureError::TooLarge {
                what: "more than 16 signatures",
            });
        }
        let message = [prefix, payload].concat();
        // Count keys, not signatures: the same key twice is one (RUSTSEC-2020-0024).
        let valid = self
            .keys
            .iter()
            .filter(|key| {
                let Ok(verifier) = VerifyingKey::from_bytes(key) else {
                    return false;
                };
                signatures.iter().any(|candidate| {
                    candidate.key == KeyId::of(key)
                        && Signature::from_slice(&candidate.signature)
                            .is_ok_and(|signature| verifier.verify_strict(&message, &signature).is_ok())
                })
            })
            .count();
        let needed = usize::from(self.threshold.max(1));
        if valid >= needed {
            Ok(())
        } else {
            Err(SignatureError::TooFew { valid, needed })
        }
    }
}

pub(crate) fn sign(key: &SigningKey, prefix: &[u8], payload: &[u8]) -> KeySignature {
    let message = [prefix, payload].concat();
    KeySignature {
        key: KeyId::of(key.verifying_key().as_bytes()),
        signature: key.sign(&message).to_bytes().to_vec(),
    }
}

impl SignedBundle {
    /// Signs a payload with one key.
    pub fn sign(payload: &BundlePayload, key: &SigningKey) -> Self {
        let payload = codec::encode(payload);
        let signatures = vec![sign(key, BUNDLE_PREFIX, &payload)];
        Self { payload, signatures }
    }

    /// Adds another key's signature; a second one of the same key changes nothing.
    pub fn countersign(&mut self, key: &SigningKey) {
        let signature = sign(key, BUNDLE_PREFIX, &self.payload);
        if self.signatures.iter().all(|known| known.key != signature.key) {
            self.signatures.push(signature);
        }
    }

    /// Reads the payload without trusting it, for people who ask what is in it.
    pub fn peek(&self) -> Result<BundlePayload, SignatureError> {
        codec::decode(&self.payload).map_err(|cause| SignatureError::Unreadable { cause })
    }

    /// Which of these keys have signed exactly these bytes, by index.
    pub fn signers(&self, ring: &KeyRing) -> Vec<usize> {
        let alone = |key: &[u8; 32]| KeyRing::single(*key).check(BUNDLE_PREFIX, &self.payload, &self.signatures);
        let keys = ring.keys.iter().enumerate();
        keys.filter(|(_, key)| alone(key).is_ok())
            .map(|(index, _)| index)
            .collect()
    }

    /// Digest of the payload bytes.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.payload)
    }

    /// Verifies the signatures over the raw bytes, then reads them. Does not look at floors: that is the caller's duty.
    pub fn open(&self, ring: &KeyRing, trust_domain: &str) -> Result<BundlePayload, SignatureError> {
        if self.payload.len() > MAX_BUNDLE_BYTES + 1024 {
            return Err(SignatureError::TooLarge {
                what: "more than 1 MiB of text",
            });
        }
        ring.check(BUNDLE_PREFIX, &self.payload, &self.signatures)?;
        let payload: BundlePayload =
            codec::decode(&self.payload).map_err(|cause| SignatureError::Unreadable { cause })?;
        if payload.trust_domain != trust_domain {
            return Err(SignatureError::OtherDomain {
                found: payload.trust_domain,
                expected: trust_domain.to_owned(),
            });
        }
        Ok(payload)
    }
}

/// A small proof that a bundle is still the newest: an agent that holds that bundle counts its policy age from here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BeaconPayload {
    /// Grows with every beacon of a trust domain; an older one is ignored.
    pub number: u64,
    /// The newest bundle.
    pub bundle: BundleRef,
    /// The trust domain that it is for.
    pub trust_domain: String,
    /// When it was signed, by the signer's clock. For people.
    pub issued_at: Wall,
}

/// A beacon with its signature, as it travels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beacon {
    /// An encoded [`BeaconPayload`].
    pub payload: Vec<u8>,
    /// Its signature.
    pub signature: KeySignature,
}

impl Beacon {
    /// Signs a beacon.
    pub fn sign(payload: &BeaconPayload, key: &SigningKey) -> Self {
        let payload = codec::encode(payload);
        let signature = sign(key, BEACON_PREFIX, &payload);
        Self { payload, signature }
    }

    /// Verifies the signature over the raw bytes, then reads them.
    pub fn open(&self, ring: &KeyRing, trust_domain: &str) -> Result<BeaconPayload, SignatureError> {
        if self.payload.len() > 1024 {
            return Err(SignatureError::TooLarge {
                what: "a beacon of more than 1 KiB",
            });
        }
        let one_of = KeyRing {
            keys: ring.keys.clone(),
            threshold: 1,
        };
        one_of.check(BEACON_PREFIX, &self.payload, std::slice::from_ref(&self.signature))?;
        let payload: BeaconPayload =
            codec::decode(&self.payload).map_err(|cause| SignatureError::Unreadable { cause })?;
        if payload.trust_domain != trust_domain {
            return Err(SignatureError::OtherDomain {
                found: payload.trust_domain,
                expected: trust_domain.to_owned(),
            });
        }
        Ok(payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_bytes(&[seed; 32])
    }

    fn payload() -> BundlePayload {
        BundlePayload {
            generation: Generation(7),
            trust_domain: "example".to_owned(),
            issued_at: Wall(0),
            text: b"rules: []".to_vec(),
        }
    }

    fn check(signers: &[u8], trusted: &[u8], threshold: u8, expected: Result<(), &str>) {
        let mut bundle = SignedBundle::sign(&payload(), &key(signers[0]));
        for signer in &signers[1..] {
            let signature = sign(&key(*signer), BUNDLE_PREFIX, &bundle.payload);
            bundle.signatures.push(signature);
        }
        let ring = KeyRing {
            keys: trusted.iter().map(|k| key(*k).verifying_key().to_bytes()).collect(),
            threshold,
        };
        match (bundle.open(&ring, "example"), expected) {
            (Ok(found), Ok(())) => assert_eq!(found, payload()),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
            (result, expected) => panic!("{result:?} is not {expected:?}"),
        }
    }

    #[test]
    fn distinct_trusted_keys_are_counted() {
        check(&[1], &[1], 1, Ok(()));
        check(&[1, 2], &[1, 2, 3], 2, Ok(()));
        check(&[2], &[1], 1, Err("0 of 1"));
        check(&[1, 1], &[1, 2], 2, Err("1 of 2"));
        check(&[1], &[1], 0, Ok(()));
        check(&[2], &[1], 0, Err("0 of 1"));
    }

    #[test]
    fn one_changed_bit_is_refused() {
        let ring = KeyRing::single(key(1).verifying_key().to_bytes());
        let good = SignedBundle::sign(&payload(), &key(1));
        for index in 0..good.payload.len() {
            let mut bad = good.clone();
            bad.payload[index] ^= 1;
            assert!(bad.open(&ring, "example").is_err(), "byte {index}");
        }
        assert!(matches!(
            good.open(&ring, "elsewhere"),
            Err(SignatureError::OtherDomain { .. })
        ));
    }

    #[test]
    fn a_beacon_is_not_a_bundle() {
        let beacon = BeaconPayload {
            number: 1,
            bundle: BundleRef::NONE,
            trust_domain: "example".to_owned(),
            issued_at: Wall(0),
        };
        let signed = Beacon::sign(&beacon, &key(1));
        let ring = KeyRing::single(key(1).verifying_key().to_bytes());
        assert_eq!(signed.open(&ring, "example"), Ok(beacon));
        let disguised = SignedBundle {
            payload: signed.payload.clone(),
            signatures: vec![signed.signature.clone()],
        };
        assert!(matches!(
            disguised.open(&ring, "example"),
            Err(SignatureError::TooFew { .. })
        ));
    }
}

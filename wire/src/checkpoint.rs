//! Checkpoints: the end of the hub's own journal as the hub signed it, kept by the agents.
//!
//! A hash chain shows by itself that nothing in it was changed, but not that its end was cut off, or that all of it was made anew. An
//! agent therefore keeps the newest checkpoint that it was sent and gives it back when it connects. A hub whose journal does not hold
//! what it once signed was restored from an older copy, or rewritten. The signature is what makes an agent's word a proof.
//!
//! Read next: `hub/core/src/checkpoints.rs` (who signs and compares), `edge-agent/core/src/sync.rs` (who keeps).

use ed25519_dalek::SigningKey;
use serde::{Deserialize, Serialize};

use crate::bundle::{KeyRing, KeySignature, SignatureError, sign};
use crate::codec;
use crate::entry::ChainHead;
use crate::time::Wall;

/// What stands before the signed bytes, so that no other signature can be taken for one of these.
const PREFIX: &[u8] = b"sentinel checkpoint v1\0";
/// Longest payload: three numbers, a digest and a trust domain.
const MAX_PAYLOAD_BYTES: usize = 1024;

/// Where the hub's own journal ended at some time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Its last entry, which was durable.
    pub head: ChainHead,
    /// When it was signed, by the hub's clock.
    pub at: Wall,
    /// The hub's trust domain.
    pub trust_domain: String,
}

/// A checkpoint with its signature, as it travels and is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedCheckpoint {
    /// An encoded [`Checkpoint`], kept as the bytes that were signed.
    pub payload: Vec<u8>,
    /// Its signature by the hub's checkpoint key.
    pub signature: KeySignature,
}

impl SignedCheckpoint {
    /// Signs a checkpoint.
    pub fn sign(checkpoint: &Checkpoint, key: &SigningKey) -> Self {
        let payload = codec::encode(checkpoint);
        let signature = sign(key, PREFIX, &payload);
        Self { payload, signature }
    }

    /// Reads the payload without trusting it: an agent keeps checkpoints and does not judge them.
    pub fn peek(&self) -> Result<Checkpoint, SignatureError> {
        if self.payload.len() > MAX_PAYLOAD_BYTES {
            return Err(SignatureError::TooLarge {
                what: "a checkpoint of more than 1 KiB",
            });
        }
        codec::decode(&self.payload).map_err(|cause| SignatureError::Unreadable { cause })
    }

    /// Verifies the signature over the raw bytes, then reads them.
    pub fn open(&self, ring: &KeyRing, trust_domain: &str) -> Result<Checkpoint, SignatureError> {
        let checkpoint = self.peek()?;
        ring.check(PREFIX, &self.payload, std::slice::from_ref(&self.signature))?;
        if checkpoint.trust_domain != trust_domain {
            return Err(SignatureError::OtherDomain {
                found: checkpoint.trust_domain,
                expected: trust_domain.to_owned(),
            });
        }
        Ok(checkpoint)
    }

    /// Whether this one is of a later end than another: a higher epoch, or a later entry of the same.
    pub fn is_newer_than(&self, other: &Self) -> bool {
        let place = |signed: &Self| signed.peek().map(|found| (found.head.epoch, found.head.seq)).ok();
        place(self) > place(other)
    }
}

#[cfg(test)]
mod tests {
    use crate::ids::{Digest, Epoch, Seq};

    use super::*;

    fn checkpoint(epoch: u64, seq: u64) -> Checkpoint {
        Checkpoint {
            head: ChainHead {
                epoch: Epoch(epoch),
                seq: Seq(seq),
                digest: Digest::of(b"entry"),
            },
            at: Wall(1_800_000_000_000),
            trust_domain: "test.internal".to_owned(),
        }
    }

    fn key() -> SigningKey {
        SigningKey::from_bytes(&[7; 32])
    }

    #[test]
    fn only_the_exact_bytes_of_the_right_key_and_domain_are_accepted() {
        let ring = KeyRing::single(key().verifying_key().to_bytes());
        let signed = SignedCheckpoint::sign(&checkpoint(1, 5), &key());
        assert_eq!(signed.open(&ring, "test.internal"), Ok(checkpoint(1, 5)));
        assert!(signed.open(&ring, "other.internal").is_err());
        let foreign = SignedCheckpoint::sign(&checkpoint(1, 5), &SigningKey::from_bytes(&[8; 32]));
        assert!(foreign.open(&ring, "test.internal").is_err());
        for at in 0..signed.payload.len() {
            let mut changed = signed.clone();
            changed.payload[at] ^= 1;
            assert!(changed.open(&ring, "test.internal").is_err(), "byte {at}");
        }
        let long = SignedCheckpoint {
            payload: vec![0; MAX_PAYLOAD_BYTES + 1],
            ..signed
        };
        assert!(matches!(
            long.open(&ring, "test.internal"),
            Err(SignatureError::TooLarge { .. })
        ));
    }

    #[test]
    fn a_later_end_is_newer_and_an_unreadable_one_never_is() {
        let signed = |epoch, seq| SignedCheckpoint::sign(&checkpoint(epoch, seq), &key());
        assert!(signed(1, 6).is_newer_than(&signed(1, 5)));
        assert!(signed(2, 1).is_newer_than(&signed(1, 9)));
        assert!(!signed(1, 5).is_newer_than(&signed(1, 5)));
        let damaged = SignedCheckpoint {
            payload: vec![255; 3],
            ..signed(9, 9)
        };
        assert!(!damaged.is_newer_than(&signed(1, 5)) && signed(1, 5).is_newer_than(&damaged));
    }
}

//! What happened, as one link of an agent's chain.
//!
//! An entry's bytes never change after they were made: the agent journals them, the wire carries them and the hub stores
//! them as they are, and the digest of the bytes is the `prev` of the next entry.
//!
//! Invariant: in one epoch, entry `n + 1` has `prev` = BLAKE3 of the bytes of entry `n`; entry 1 has [`Digest::ZERO`].

use serde::{Deserialize, Serialize};

use crate::action::Outcome;
use crate::bundle::BundleRef;
use crate::change::ChangeRecord;
use crate::codec::{self, DecodeError};
use crate::decision::Decision;
use crate::ids::{Digest, Epoch, Generation, HubEpoch, Seq};
use crate::time::Now;

/// Longest encoded entry, in bytes. A decision with 256 rules in its trace stays below half of it.
pub const MAX_ENTRY_BYTES: usize = 128 * 1024;

/// One link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its place in the epoch.
    pub seq: Seq,
    /// When it was made.
    pub at: Now,
    /// Digest of the entry before it.
    pub prev: Digest,
    /// What happened.
    pub body: EntryBody,
}

/// What can happen. The order is part of the wire format: add at the end only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryBody {
    /// Something was judged. If the verdict runs, this is also the intent, durable before the action starts.
    Decided(Box<Decision>),
    /// Something came of it.
    Acted(Outcome),
    /// Something else that a person would ask about.
    Event(Event),
    /// Data is missing here, and why.
    Gap(Gap),
    /// Somebody caused something at the hub; in its own journal only.
    Changed(Box<ChangeRecord>),
}

impl EntryBody {
    /// The word in JSON.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Decided(_) => "decision",
            Self::Acted(_) => "outcome",
            Self::Event(_) => "event",
            Self::Gap(_) => "gap",
            Self::Changed(_) => "change",
        }
    }
}

/// Events. The order is part of the wire format: add at the end only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The agent started.
    Started {
        /// Version of the program.
        version: String,
        /// Whether it had been stopped in an orderly way.
        clean: bool,
    },
    /// A session with the hub came up.
    Connected {
        /// The hub's incarnation.
        hub_epoch: HubEpoch,
        /// For how long there was none, in milliseconds; `None` for the first ever.
        away_ms: Option<u64>,
    },
    /// The session went away.
    Disconnected {
        /// Why, as the transport says.
        reason: String,
    },
    /// A bundle became active.
    BundleActivated {
        /// Which.
        bundle: BundleRef,
        /// Which before; `None` for the first.
        before: Option<BundleRef>,
    },
    /// A bundle was refused.
    BundleRefused {
        /// Its claimed generation.
        generation: Generation,
        /// Why.
        reason: String,
    },
    /// A person took the node into their own hands: only protective rules act.
    Held {
        /// Who.
        who: String,
        /// Why.
        reason: String,
    },
    /// They gave it back.
    Released {
        /// Who.
        who: String,
        /// Why.
        reason: String,
    },
    /// A command was not applied.
    CommandRefused {
        /// Which.
        id: crate::ids::CommandId,
        /// Why: `expired`, `fenced`, `repeated`.
        reason: String,
    },
    /// The GPU probe stopped answering, or answers again.
    Probe {
        /// Whether it answers.
        answering: bool,
        /// What was seen.
        detail: String,
    },
    /// The wall clock stepped against the monotonic one.
    ClockStepped {
        /// By how much, in milliseconds; negative is back.
        by_ms: i64,
    },
    /// The authority step changed with the age of the policy.
    AuthorityChanged {
        /// To what.
        to: crate::decision::Authority,
        /// The policy's age, in milliseconds.
        policy_age_ms: u64,
    },
    /// The hub knows less than it once acknowledged: it was restored from an older copy. What it lacks is sent again.
    HubRestored {
        /// Its incarnation.
        hub_epoch: HubEpoch,
        /// The highest entry it once acknowledged.
        acked: Seq,
        /// The highest entry it holds now.
        holds: Seq,
    },
    /// The journal failed for a while; these protective actions ran without a record before them.
    Unrecorded {
        /// How many.
        actions: u64,
        /// What they were, for people, the first few.
        detail: String,
    },
    /// A supervised process started or ended.
    Workload {
        /// Its name.
        name: String,
        /// Its process id, when it started.
        pid: Option<u32>,
        /// Why or how, for people.
        detail: String,
    },
    /// What a `notify` action told.
    Notified {
        /// The message.
        message: String,
    },
    /// Role documents were accepted: from here on their keys count.
    RolesTrusted {
        /// Version of the newest.
        version: u64,
    },
    /// Role documents were refused; the former ones count on.
    RolesRefused {
        /// Why.
        reason: String,
    },
    /// A role has ended: it authorises nothing more. Protective rules go on.
    RoleEnded {
        /// Which.
        role: crate::roles::RoleName,
    },
    /// A break-glass token was opened: what rules hold back may run while it lasts.
    BreakGlassOpened {
        /// Its number.
        number: u64,
        /// Who signed it, for people.
        approvers: Vec<String>,
        /// The kinds of action that it is for, by name.
        kinds: Vec<String>,
        /// Devices or classes of devices that it is for; all if empty.
        targets: Vec<String>,
        /// For how much longer it is open, in milliseconds.
        left_ms: u64,
        /// Why.
        reason: String,
    },
    /// It was closed before its time.
    BreakGlassClosed {
        /// Its number.
        number: u64,
        /// Who.
        who: String,
        /// Why.
        reason: String,
    },
    /// A part of the node is not as it should be, or is again.
    Finding {
        /// Which part: `sampler`, `gpu0`, `fs:/mnt/data`.
        part: String,
        /// What is wrong, for people; `None`: nothing any more.
        why: Option<String>,
    },
    /// A device or the machine has a fault. Many alike are one entry with their number.
    Fault {
        /// Which device.
        device: crate::reading::DeviceId,
        /// Short name of the fault: `xid 79`, `oom`, `fs error`.
        code: String,
        /// How bad.
        severity: crate::fault::Severity,
        /// What it means, for people.
        meaning: String,
        /// What should be done.
        next: crate::fault::NextStep,
        /// The line or value that shows it.
        evidence: String,
        /// How often it was seen since the entry before about it.
        count: u64,
    },
    /// The device is well again: it answers, and its driver wants nothing done.
    FaultOver {
        /// Which device.
        device: crate::reading::DeviceId,
    },
}

/// Which data is missing. The order is part of the wire format: add at the end only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gap {
    /// Telemetry blocks were shed.
    Telemetry {
        /// The first block that is gone.
        from: Seq,
        /// The last block that is gone.
        to: Seq,
        /// Why: `journal pressure`, `disk full`.
        reason: String,
    },
    /// Telemetry was coarsened: from here on a sample stands for this many milliseconds.
    Coarsened {
        /// Milliseconds between two samples.
        interval_ms: u32,
    },
    /// An older epoch of this journal cannot be read any more.
    Epoch {
        /// The epoch that ended.
        epoch: Epoch,
        /// The last entry that is known to have existed in it; unknown ones may have followed.
        last_known: Seq,
        /// The last entry of it that a hub acknowledged.
        acked: Seq,
        /// Why: `corrupt`, `emptied`, `restored from a copy`.
        reason: String,
    },
}

impl Entry {
    /// The bytes that are journaled, sent, stored and hashed.
    pub fn encode(&self) -> RawEntry {
        let bytes = codec::encode(self);
        RawEntry {
            seq: self.seq,
            digest: Digest::of(&bytes),
            bytes,
        }
    }
}

/// An entry's bytes with what is needed to place them, so that nobody on the way has to decode the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawEntry {
    /// Its place in the epoch.
    pub seq: Seq,
    /// Digest of the bytes.
    pub digest: Digest,
    /// The bytes.
    pub bytes: Vec<u8>,
}

impl RawEntry {
    /// Reads place and link of an entry from its bytes, without decoding its body.
    ///
    /// Fails on bytes that do not start as an entry does, or on more than [`MAX_ENTRY_BYTES`].
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, DecodeError> {
        if bytes.len() > MAX_ENTRY_BYTES {
            return Err(DecodeError::TooLong {
                length: bytes.len(),
                limit: MAX_ENTRY_BYTES,
            });
        }
        let (seq, _rest) = codec::decode_prefix::<Seq>(&bytes)?;
        Ok(Self {
            seq,
            digest: Digest::of(&bytes),
            bytes,
        })
    }

    /// The digest of the entry before it, as it claims.
    pub fn prev(&self) -> Result<Digest, DecodeError> {
        let ((_, _, prev), _rest) = codec::decode_prefix::<(Seq, Now, Digest)>(&self.bytes)?;
        Ok(prev)
    }

    /// Decodes the whole entry. Trailing bytes are an error.
    pub fn decode(&self) -> Result<Entry, DecodeError> {
        codec::decode(&self.bytes)
    }
}

/// The end of a chain: where it stands and the digest that the next entry must name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainHead {
    /// Which epoch.
    pub epoch: Epoch,
    /// Its last entry; 0 for none.
    pub seq: Seq,
    /// Digest of its last entry; zero for none.
    pub digest: Digest,
}

impl ChainHead {
    /// A chain with no entry yet.
    pub const fn empty(epoch: Epoch) -> Self {
        Self {
            epoch,
            seq: Seq(0),
            digest: Digest::ZERO,
        }
    }

    /// Whether `entry` is the next link, and if so the new head.
    pub fn link(self, entry: &RawEntry) -> Result<Self, ChainError> {
        let expected = self.seq.next();
        if entry.seq != expected {
            return Err(ChainError::OutOfOrder {
                expected,
                found: entry.seq,
            });
        }
        let prev = entry.prev().map_err(|_| ChainError::Unreadable { seq: entry.seq })?;
        if prev != self.digest {
            return Err(ChainError::Broken {
                seq: entry.seq,
                expected: self.digest,
                found: prev,
            });
        }
        Ok(Self {
            epoch: self.epoch,
            seq: entry.seq,
            digest: entry.digest,
        })
    }
}

/// Why an entry is not the next link of a chain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// A hole or a repetition.
    #[error("expected entry {expected}, found {found}")]
    OutOfOrder {
        /// The next place.
        expected: Seq,
        /// The place it claims.
        found: Seq,
    },
    /// The entry was made for another predecessor.
    #[error("entry {seq} names {found} as its predecessor, the chain ends with {expected}")]
    Broken {
        /// Which entry.
        seq: Seq,
        /// The chain's last digest.
        expected: Digest,
        /// The digest it names.
        found: Digest,
    },
    /// The entry's first bytes cannot be read.
    #[error("entry {seq} cannot be read")]
    Unreadable {
        /// Which entry.
        seq: Seq,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{Mono, Wall};

    fn chain(length: u64) -> Vec<RawEntry> {
        let mut head = ChainHead::empty(Epoch(1));
        (1..=length)
            .map(|n| {
                let entry = Entry {
                    seq: Seq(n),
                    at: Now {
                        mono: Mono(n * 1_000),
                        wall: Wall(-5),
                    },
                    prev: head.digest,
                    body: EntryBody::Event(Event::Notified {
                        message: format!("number {n}"),
                    }),
                };
                let raw = entry.encode();
                head = head.link(&raw).expect("made in order");
                raw
            })
            .collect()
    }

    fn check(order: &[usize], expected: Result<u64, &str>) {
        let entries = chain(5);
        let result = order
            .iter()
            .try_fold(ChainHead::empty(Epoch(1)), |head, index| head.link(&entries[*index]));
        match (result, expected) {
            (Ok(head), Ok(seq)) => assert_eq!(head.seq, Seq(seq)),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
            (result, expected) => panic!("{result:?} is not {expected:?}"),
        }
    }

    #[test]
    fn a_chain_accepts_only_its_next_link() {
        check(&[0, 1, 2, 3, 4], Ok(5));
        check(&[0, 2], Err("expected entry 2, found 3"));
        check(&[0, 0], Err("expected entry 2, found 1"));
        check(&[1], Err("expected entry 1, found 2"));
    }

    #[test]
    fn a_changed_byte_breaks_the_chain() {
        let mut entries = chain(3);
        let last = entries[1].bytes.len() - 1;
        entries[1].bytes[last] ^= 1;
        entries[1] = RawEntry::from_bytes(entries[1].bytes.clone()).expect("still starts as an entry");
        let head = ChainHead::empty(Epoch(1))
            .link(&entries[0])
            .expect("first")
            .link(&entries[1])
            .expect("its own link is whole");
        assert!(matches!(
            head.link(&entries[2]),
            Err(ChainError::Broken { seq: Seq(3), .. })
        ));
    }

    #[test]
    fn raw_bytes_decode_to_what_was_encoded() {
        for raw in chain(3) {
            let again = RawEntry::from_bytes(raw.bytes.clone()).expect("whole");
            assert_eq!(again, raw);
            assert_eq!(again.decode().expect("whole").encode(), raw);
        }
    }
}

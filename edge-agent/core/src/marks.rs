//! The core's own state that must survive a crash: it becomes durable with every batch, together with the entries that it explains.
//!
//! Recovery is decoding this. Nothing here is written by anyone else, so the encoding is private to this crate.
//!
//! Read next: `recover.rs` (what becomes of it at start).

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use wire::codec;
use wire::decision::Authority;
use wire::entry::ChainHead;
use wire::ids::{CommandId, Epoch, Seq};
use wire::time::Mono;
use wire::{BundleRef, SignedBundle, SignedCheckpoint, SignedRoles};

use crate::actions::Open;
use crate::faults::ladder::Ladder;
use crate::input::Floor;

/// First byte of the encoding; a build that finds another one treats the marks as damaged.
const LAYOUT: u8 = 8;
/// The layout before it: the same without `checkpoint`, the last field.
const BEFORE_CHECKPOINT: u8 = 7;
/// The layout before that: without `ladder` too, which stands before it.
const BEFORE_LADDER: u8 = 6;
/// The layout before that: without `calms` too, which stands before it.
const BEFORE_CALMS: u8 = 5;

/// Commands whose ids are remembered. A command expires in minutes, and a hub sends some per second at most.
const MAX_COMMANDS: usize = 1024;

/// A person has the node in their own hands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Held {
    pub(crate) who: String,
    pub(crate) reason: String,
}

/// Where the log of telemetry blocks stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BlockMarks {
    /// The last block that was made.
    pub(crate) made: Seq,
    /// The last one that a hub acknowledged.
    pub(crate) acked: Seq,
    /// The last one that was shed.
    pub(crate) shed: Seq,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Marks {
    /// End of the chain, this batch included.
    pub(crate) head: ChainHead,
    /// The last entry of this epoch that a hub acknowledged.
    pub(crate) acked: Seq,
    pub(crate) blocks: BlockMarks,
    /// Older epochs that no hub can take any more entries of.
    pub(crate) settled: Vec<Epoch>,
    pub(crate) floor: Floor,
    /// The active bundle.
    pub(crate) bundle: BundleRef,
    /// The bundle that the last `BundleActivated` entry names.
    pub(crate) announced: BundleRef,
    /// Since when the bundle is known to be fresh; `None`: no proof that counts.
    pub(crate) fresh_at: Option<Mono>,
    /// The authority step that the last `AuthorityChanged` entry names.
    pub(crate) authority: Authority,
    /// The highest beacon seen.
    pub(crate) beacon: u64,
    pub(crate) held: Option<Held>,
    pub(crate) commands: VecDeque<CommandId>,
    /// Decisions whose action is not finished.
    pub(crate) open: Vec<Open>,
    pub(crate) ledger: Option<policy::Ledger>,
    /// The number of the last session, as the hub gave it.
    pub(crate) session: u64,
    /// When a hub was last heard.
    pub(crate) hub_heard: Option<Mono>,
    /// Milliseconds between telemetry samples.
    pub(crate) interval_ms: u32,
    /// Written by an orderly stop.
    pub(crate) clean: bool,
    /// Trusted role documents, oldest first.
    pub(crate) roles: Vec<SignedRoles>,
    /// The version of them since which generations counted when the active bundle was accepted.
    pub(crate) bundle_since: u64,
    /// The version of the role document whose end an entry tells of.
    pub(crate) ended_told: u64,
    /// What the encoding of the floor leaves out: its `roles` and `policy_since`.
    pub(crate) roles_floor: (u64, u64),
    /// What the encoding of the ledger leaves out.
    pub(crate) calms: policy::Calms,
    /// What was done about faults, and how often.
    pub(crate) ladder: Ladder,
    /// Where the hub's own journal ended when it last said so: given back at the next session.
    pub(crate) checkpoint: Option<SignedCheckpoint>,
}

impl Marks {
    /// Before anything ever happened.
    pub(crate) fn fresh(epoch: Epoch) -> Self {
        Self {
            head: ChainHead::empty(epoch),
            acked: Seq(0),
            blocks: BlockMarks::default(),
            settled: Vec::new(),
            floor: Floor {
                epoch,
                ..Floor::default()
            },
            bundle: BundleRef::NONE,
            announced: BundleRef::NONE,
            fresh_at: None,
            authority: Authority::Observe,
            beacon: 0,
            held: None,
            commands: VecDeque::new(),
            open: Vec::new(),
            ledger: None,
            session: 0,
            hub_heard: None,
            interval_ms: 1_000,
            clean: true,
            roles: Vec::new(),
            bundle_since: 0,
            ended_told: 0,
            roles_floor: (0, 0),
            calms: policy::Calms::default(),
            ladder: Ladder::default(),
            checkpoint: None,
        }
    }

    pub(crate) fn encode(&mut self) -> Vec<u8> {
        self.roles_floor = (self.floor.roles, self.floor.policy_since);
        self.calms = self.ledger.as_ref().map(policy::Ledger::calms).unwrap_or_default();
        let mut bytes = vec![LAYOUT];
        bytes.extend(codec::encode(self));
        bytes
    }

    /// `None` for bytes that this build did not write.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut marks: Self = match bytes.split_first() {
            Some((&LAYOUT, rest)) => codec::decode(rest).ok(),
            // Nothing and an empty list are one zero each; a ladder has two.
            Some((&BEFORE_CHECKPOINT, rest)) => codec::decode(&[rest, &[0]].concat()).ok(),
            Some((&BEFORE_LADDER, rest)) => codec::decode(&[rest, &[0, 0, 0]].concat()).ok(),
            Some((&BEFORE_CALMS, rest)) => codec::decode(&[rest, &[0, 0, 0, 0]].concat()).ok(),
            _ => None,
        }?;
        (marks.floor.roles, marks.floor.policy_since) = marks.roles_floor;
        if let Some(ledger) = &mut marks.ledger {
            ledger.set_calms(marks.calms.clone());
        }
        Some(marks)
    }

    /// Remembers a command; `false` if it is known already.
    pub(crate) fn remember(&mut self, id: CommandId) -> bool {
        if self.commands.contains(&id) {
            return false;
        }
        if self.commands.len() == MAX_COMMANDS {
            self.commands.pop_front();
        }
        self.commands.push_back(id);
        true
    }

    /// A command was not applied after all.
    pub(crate) fn forget_command(&mut self, id: CommandId) {
        self.commands.retain(|known| *known != id);
    }
}

/// A bundle on its way to become active: its batch is not durable yet.
#[derive(Debug, Clone)]
pub(crate) struct Staged {
    pub(crate) reference: BundleRef,
    pub(crate) signed: SignedBundle,
    pub(crate) parsed: std::sync::Arc<policy::Bundle>,
    /// Since which role document generations counted when it was verified: the roles may change before it is durable.
    pub(crate) since: u64,
    /// The person at the socket who waits for it.
    pub(crate) request: Option<u64>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn marks_come_back_as_they_were() {
        let mut marks = Marks::fresh(Epoch(7));
        marks.remember(CommandId([3; 16]));
        marks.held = Some(Held {
            who: "ana".to_owned(),
            reason: "fan".to_owned(),
        });
        marks.floor.roles = 3;
        marks.floor.policy_since = 2;
        let bytes = marks.encode();
        assert_eq!(Marks::decode(&bytes), Some(marks));
    }

    #[test]
    fn marks_of_the_layouts_before_are_read() {
        let mut marks = Marks::fresh(Epoch(7));
        marks.remember(CommandId([3; 16]));
        let mut bytes = marks.encode();
        assert_eq!(
            (bytes[0], bytes.pop()),
            (LAYOUT, Some(0)),
            "the new field is the last, and empty"
        );
        bytes[0] = BEFORE_CHECKPOINT;
        assert_eq!(Marks::decode(&bytes), Some(marks.clone()));
        assert_eq!((bytes.pop(), bytes.pop()), (Some(0), Some(0)), "a ladder is empty too");
        bytes[0] = BEFORE_LADDER;
        assert_eq!(Marks::decode(&bytes), Some(marks.clone()));
        assert_eq!(bytes.pop(), Some(0), "the one before is empty too");
        bytes[0] = BEFORE_CALMS;
        assert_eq!(Marks::decode(&bytes), Some(marks));
    }

    #[test]
    fn a_command_is_new_once_and_the_oldest_is_forgotten_first() {
        let id = |n: u16| {
            let mut bytes = [0; 16];
            bytes[..2].copy_from_slice(&n.to_le_bytes());
            CommandId(bytes)
        };
        let mut marks = Marks::fresh(Epoch(1));
        for n in 0..=1024 {
            assert!(marks.remember(id(n)));
            assert!(!marks.remember(id(n)));
        }
        assert!(!marks.remember(id(1)), "still remembered");
        assert!(marks.remember(id(0)), "forgotten: 1,024 came after it");
    }

    proptest! {
        #[test]
        fn no_bytes_panic_the_decoder(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Marks::decode(&bytes);
            let mut marked = vec![LAYOUT];
            marked.extend(bytes);
            let _ = Marks::decode(&marked);
        }
    }
}

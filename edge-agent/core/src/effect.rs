//! What the agent's core asks for.

use std::time::Duration;

use wire::api::GlassView;
use wire::entry::RawEntry;
use wire::frame::Frame;
use wire::ids::{DecisionId, Epoch, Seq};
use wire::{BundleRef, SignedBundle, SignedRoles};

use crate::input::{Floor, Run};
use crate::mesh::Shared;

/// Pairs a request to the shell with its completion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// One thing to do. The shell may carry effects out in any order and at any speed.
#[derive(Debug, Clone)]
pub enum Effect {
    /// Make this durable as one transaction, then tell [`crate::Input::Appended`].
    Append(Batch),
    /// Carry this out, read it back, then tell [`crate::Input::ActionDone`].
    Act(Run),
    /// Find out whether this was carried out, without doing anything, then tell [`crate::Input::Probed`].
    ProbeAction(Run),
    /// Read from the journal, then tell [`crate::Input::Loaded`].
    Load {
        /// Repeated in the answer.
        token: Token,
        /// Which log.
        log: Log,
        /// Of which epoch.
        epoch: Epoch,
        /// From which place.
        from: Seq,
        /// At most this many bytes, but at least one item if there is one.
        max_bytes: usize,
    },
    /// These are acknowledged: they may be removed, oldest first, when the journal needs the space, and not before.
    Release {
        /// Which log.
        log: Log,
        /// Of which epoch.
        epoch: Epoch,
        /// Up to here.
        through: Seq,
    },
    /// Remove these telemetry blocks now; a gap entry that names them is already durable.
    Shed {
        /// Of which epoch.
        epoch: Epoch,
        /// Up to here.
        through: Seq,
    },
    /// Send this on the session that is up; forget it if none is.
    Send(Frame),
    /// Try to make a session with the hub. At most one try is under way; it ends in `LinkUp` or `LinkDown`.
    Connect,
    /// End the session that is up, then tell `LinkDown`.
    Disconnect {
        /// For people.
        reason: String,
    },
    /// Answer a person at the node's own socket.
    Reply {
        /// Their request.
        request: u64,
        /// The answer.
        answer: LocalAnswer,
    },
    /// Neighbours may be given this from now on.
    Share(Box<Shared>),
    /// Everything is appended; the process may end.
    Stopped,
}

/// One transaction of the journal.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Repeated in the completion.
    pub token: Token,
    /// Epoch of its entries and its telemetry.
    pub epoch: Epoch,
    /// Entries, consecutive to the ones before.
    pub entries: Vec<RawEntry>,
    /// A telemetry block.
    pub telemetry: Option<(Seq, Vec<u8>)>,
    /// A bundle to keep: the one that becomes active, and its predecessor stays.
    pub bundle: Option<(BundleRef, SignedBundle)>,
    /// Role documents to copy beside the journal, with the active bundle: what vouches for it must survive with it.
    pub roles: Option<Vec<SignedRoles>>,
    /// The core's own state after this batch; replaces the former.
    pub marks: Vec<u8>,
    /// If it changed: written to its own file before the rest.
    pub floor: Option<Floor>,
    /// Contains a decision that something waits for: do not hold it back to gather more.
    pub urgent: bool,
}

/// The two logs of a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Log {
    /// Decisions, outcomes, events, gaps: never dropped.
    Entries,
    /// Samples: coarsened and shed under pressure.
    Telemetry,
}

/// What a person at the node's own socket is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocalAnswer {
    /// It was judged, and is durable. If it runs, the outcome follows as an entry.
    Decided {
        /// Which decision.
        decision: DecisionId,
    },
    /// Done, and durable.
    Done,
    /// A break-glass token was opened or closed, and that is durable.
    Glass {
        /// What is open, or was.
        view: GlassView,
    },
    /// It cannot be done.
    Refused {
        /// Why, and what to do.
        reason: String,
    },
}

/// How long the shell waits before it gathers no more and commits a batch that is not urgent.
pub const GATHER: Duration = Duration::from_millis(20);

//! What the agent's core is told.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use wire::api::NeighbourView;
use wire::entry::RawEntry;
use wire::frame::{DeviceInfo, Frame, Order};
use wire::ids::{DecisionId, Epoch, Generation, HubEpoch, Seq};
use wire::reading::Reading;
use wire::time::Wall;
use wire::{Action, AgentId, BreakGlass, Digest, Parcel, SignedBundle, SignedRoles};

use crate::effect::{Log, Token};

/// One thing that happened outside the core.
#[derive(Debug, Clone)]
pub enum Input {
    /// One round of the sampler. Readings that could not be taken are there with no value.
    Readings(Vec<Reading>),
    /// What the node consists of, when it changed.
    Devices(Vec<DeviceInfo>),
    /// The GPU probe stopped or started answering.
    Probe {
        /// Whether it answers.
        answering: bool,
        /// For people.
        detail: String,
    },
    /// A part of the node is not as it should be, or is again.
    Finding {
        /// Which part: `sampler`, `gpu0`, `fs:/mnt/data`. What is said of a part replaces what was said of it before.
        part: String,
        /// What is wrong, for people; `None`: nothing any more.
        why: Option<String>,
    },
    /// A fault was seen, once or many times.
    Fault(crate::faults::Fault),
    /// A device answers and its driver wants nothing done.
    DeviceWell(wire::DeviceId),
    /// Which workloads use which device, when it changed.
    Users(crate::faults::users::Picture),
    /// Settings that count from now on.
    Retimed {
        /// As [`Settings::block_every`].
        block_every: Duration,
        /// As [`Settings::append_deadline`].
        append_deadline: Duration,
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
    /// A batch is durable.
    Appended {
        /// Which.
        token: Token,
        /// Bytes that the journal now needs: what it holds, without what was released and it may remove.
        used_bytes: u64,
    },
    /// The journal removed what was released; this is the oldest item that is left of that epoch.
    Trimmed {
        /// Which log.
        log: Log,
        /// Of which epoch.
        epoch: Epoch,
        /// The first one that can still be read.
        oldest: Seq,
    },
    /// A batch is not durable, and will not become so. Nothing of it was written.
    AppendFailed {
        /// Which.
        token: Token,
        /// Why.
        reason: AppendError,
    },
    /// An action was carried out, or could not be.
    ActionDone {
        /// Its decision.
        decision: DecisionId,
        /// How it went.
        result: ActionResult,
    },
    /// The answer to [`crate::Effect::ProbeAction`].
    Probed {
        /// Its decision.
        decision: DecisionId,
        /// What the device says now.
        result: ProbeResult,
    },
    /// A session with the hub is up: authenticated, with its streams open.
    LinkUp,
    /// The session is gone, or could not be made.
    LinkDown {
        /// For people.
        reason: String,
    },
    /// The session that is up, or comes up next, goes by way of a neighbour, or over a path of its own.
    Path {
        /// Who carries it, if somebody does.
        via: Option<AgentId>,
        /// Each byte costs at the end of that way.
        metered: bool,
    },
    /// The other members of the site, when one of them comes, goes, or stands otherwise.
    Neighbours(Vec<NeighbourView>),
    /// The hub did not answer, and its machine was asked whether anybody listens there.
    HubAsked {
        /// It says that nobody does.
        refused: bool,
    },
    /// A frame from the hub, on the session that is up.
    Frame(Frame),
    /// A neighbour passed something on that the hub has signed.
    Passed {
        /// Role documents, a bundle or a beacon; anything else is ignored.
        frame: Frame,
    },
    /// The answer to [`crate::Effect::Load`].
    Loaded {
        /// Which.
        token: Token,
        /// What was there: consecutive, starting at the asked place; empty if that place is gone or not there yet.
        found: Loaded,
    },
    /// A person at the node's own socket.
    Local {
        /// Repeated in [`crate::Effect::Reply`].
        request: u64,
        /// What they want.
        what: LocalRequest,
    },
    /// The link has a new certificate.
    Certificate {
        /// When it ends.
        ends: Wall,
        /// How often the node key had to be used.
        rejoins: u32,
    },
    /// The process stops in an orderly way: what is open is closed and appended.
    Stop,
    /// Time passed: the timeout that the core asked for is over.
    Tick,
}

/// Why a batch could not be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AppendError {
    /// No space, on the disk or within the journal's bound.
    Full,
    /// The disk failed, or did not answer within its deadline.
    Io(String),
}

/// How an action went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ActionResult {
    /// Carried out and read back.
    Applied {
        /// The value before (milliwatts, pid, basis points).
        before: Option<i64>,
        /// The value read back.
        after: Option<i64>,
        /// For people.
        detail: String,
    },
    /// Not carried out, or reads back something else.
    Failed {
        /// For people.
        reason: String,
    },
}

/// What a device says about an action whose outcome was lost in a crash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeResult {
    /// It was done: the device reads as it should after it.
    Done {
        /// The value read.
        value: Option<i64>,
    },
    /// It was not done.
    NotDone {
        /// The value read.
        value: Option<i64>,
    },
    /// The device cannot tell.
    Unknown {
        /// For people.
        reason: String,
    },
}

/// What was read from the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loaded {
    /// Entries.
    Entries(Vec<RawEntry>),
    /// Telemetry blocks.
    Telemetry(Vec<(Seq, Vec<u8>)>),
}

/// What a person at the node's own socket wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocalRequest {
    /// Take the node into their own hands, give it back, or act.
    Order {
        /// Who, as the socket's peer credentials say.
        who: String,
        /// Why.
        reason: String,
        /// What.
        what: Order,
    },
    /// Policy from a file.
    Import {
        /// Who.
        who: String,
        /// What it holds.
        parcel: Parcel,
    },
    /// Open what rules hold back, with a token of two people.
    BreakGlass {
        /// The token.
        token: BreakGlass,
    },
    /// Close it before its time.
    CloseGlass {
        /// Who.
        who: String,
        /// Why.
        reason: String,
    },
}

/// What an actuator is to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// The decision that it carries out.
    pub decision: DecisionId,
    /// What.
    pub action: Action,
}

/// What must survive even the loss of the journal: kept in a small file pair of its own, written before the batch it comes with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Floor {
    /// The present epoch; a lost journal begins at the next one.
    pub epoch: Epoch,
    /// An entry of that epoch that is known to exist.
    pub last: Seq,
    /// The last entry of that epoch that a hub acknowledged.
    pub acked: Seq,
    /// No bundle below this is ever activated.
    pub generation: Generation,
    /// No command under a hub epoch below this is ever applied.
    pub hub_epoch: HubEpoch,
    /// The oldest epoch whose end no durable entry tells of yet: epoch, last entry known, last one acknowledged. A crash in the
    /// middle of a recovery must not forget what the recovery was about.
    pub untold: Option<(Epoch, Seq, Seq)>,
    /// No role document below this version is ever trusted; 0 before the first. Not part of this type's own encoding, which is
    /// older: whoever stores a floor stores this and the next two behind it.
    #[serde(skip)]
    pub roles: u64,
    /// Since which role document generations count; 0 before the first rotation that made them count anew.
    #[serde(skip)]
    pub policy_since: u64,
    /// Whether a person holds the node. Not part of this type's own encoding either.
    #[serde(skip)]
    pub held: bool,
}

/// What the shell found on the disk at start.
#[derive(Debug, Clone, Default)]
pub struct Recovered {
    /// The marks of the last durable batch; `None` for an empty or quarantined journal.
    pub marks: Option<Vec<u8>>,
    /// The floor from its own file; `None` on a machine that never ran.
    pub floor: Option<Floor>,
    /// The bundle that the marks name as active, if the disk still has it.
    pub bundle: Option<SignedBundle>,
    /// The role documents that vouch for it, from the copy beside the journal.
    pub roles: Vec<SignedRoles>,
    /// Epochs that entries are left of: (epoch, first, last), oldest first, the present one included.
    pub epochs: Vec<(Epoch, Seq, Seq)>,
    /// Why the former journal was put aside, if it was: `corrupt`, `emptied`.
    pub damage: Option<String>,
    /// Bytes that the journal needs, as in [`Input::Appended`].
    pub used_bytes: u64,
}

/// What never changes while the process lives.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its name.
    pub agent: wire::AgentId,
    /// Its site; empty for a node that never joined.
    pub site: String,
    /// The trust domain that bundles must be signed for.
    pub trust_domain: String,
    /// Labels of the node, for rules that select by them and for the domains that it shares with others; at most
    /// [`wire::domains::MAX_LABELS`], in the order of their names.
    pub labels: Vec<(String, String)>,
    /// Who signs the first role document; where there is none, who signs bundles and beacons.
    pub policy_keys: wire::bundle::KeyRing,
    /// Digest of the first role document, for a node that never joined: it comes before `policy_keys`.
    pub root_pin: Option<Digest>,
    /// Version of the program.
    pub version: String,
    /// Drawn by the shell at start; also seeds the jitter.
    pub process: u64,
    /// Drives everything that is random in the core: the jitter of reconnects.
    pub seed: u64,
    /// Bytes that the journal may occupy.
    pub journal_limit_bytes: u64,
    /// Time between two telemetry blocks.
    pub block_every: Duration,
    /// How long the journal may take before protective actions go on without it.
    pub append_deadline: Duration,
    /// Whether the ladder against faults acts by itself, as far as policy permits it.
    pub climbs: bool,
    /// What may be asked of which model.
    pub profiles: firmware_profiles::Catalogue,
    /// When the certificate ends; 1970 for a node that has none.
    pub certificate_ends: Wall,
    /// How often the node key had to be used.
    pub rejoins: u32,
    /// The wall clock is certainly wrong if it stands before this (build time, a time that a hub told).
    pub wall_floor: Wall,
}

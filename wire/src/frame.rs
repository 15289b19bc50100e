//! What travels between an agent and a hub, and how it is laid out.
//!
//! One frame = `u32` length (little endian, of what follows) + `u16` kind + postcard payload. A receiver checks the length
//! against the kind's bound before it reads on; it counts and skips kinds that it does not know. Each [`Class`] has a stream of
//! its own in each direction, so that loss in one never holds another.
//!
//! Read next: `edge-agent/core/src/sync.rs` and `hub/core/src/sessions.rs`, the two ends of the conversation.

use serde::{Deserialize, Serialize};

use crate::action::Action;
use crate::bundle::{Beacon, BundleRef, SignedBundle};
use crate::checkpoint::SignedCheckpoint;
use crate::codec::{self, DecodeError};
use crate::decision::Authority;
use crate::domains::{FleetFacts, NodeFacts};
use crate::entry::{ChainHead, MAX_ENTRY_BYTES};
use crate::ids::{AgentId, CommandId, Epoch, Generation, HubEpoch, PlanId, Seq};
use crate::roles::SignedRoles;
use crate::telemetry::MAX_BLOCK_BYTES;
use crate::time::{ClockState, Mono, Now};

/// The newest version of this protocol. A hub speaks to agents one year older.
pub const VERSION: u16 = 1;
/// The oldest version that this build still speaks.
pub const OLDEST_VERSION: u16 = 1;
/// Length of the header in bytes.
pub const HEADER_BYTES: usize = 6;
/// Most bytes of entries in one frame: large enough to amortise a commit, small enough to not hold a 64 kbit/s link for long.
pub const MAX_ENTRIES_BYTES: usize = 256 * 1024;
/// The reason with which an agent that stops in an orderly way closes its connection: the hub shows it as down at once.
pub const STOPPED: &str = "stopping";

/// Streams: loss in one never holds another, and a slow one never fills another's window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Hello, status, acks, commands, beacons: small and urgent.
    Control,
    /// Entries: decisions, outcomes, events, gaps.
    Journal,
    /// Telemetry blocks.
    Telemetry,
    /// Bundles.
    Bundle,
}

impl Class {
    /// All of them, most urgent first.
    pub const ALL: [Self; 4] = [Self::Control, Self::Journal, Self::Telemetry, Self::Bundle];

    /// The byte that opens a stream of this class.
    pub const fn tag(self) -> u8 {
        match self {
            Self::Control => 1,
            Self::Journal => 2,
            Self::Telemetry => 3,
            Self::Bundle => 4,
        }
    }

    /// The class that a tag opens.
    pub fn from_tag(tag: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.tag() == tag)
    }

    /// Longest frame on such a stream, without the header.
    pub const fn max_frame_bytes(self) -> usize {
        match self {
            Self::Control => 64 * 1024,
            // One entry may be alone in a frame and longer than the frame's usual bound.
            Self::Journal => MAX_ENTRIES_BYTES + MAX_ENTRY_BYTES,
            Self::Telemetry => MAX_BLOCK_BYTES + 64,
            Self::Bundle => 1024 * 1024 + 8 * 1024,
        }
    }
}

macro_rules! frames {
    ($($(#[$doc:meta])* $variant:ident($body:ty) = $kind:literal, $class:ident;)*) => {
        /// Everything that travels.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Frame { $($(#[$doc])* $variant($body),)* }

        impl Frame {
            /// The number in the header.
            pub const fn kind(&self) -> u16 {
                match self { $(Self::$variant(_) => $kind,)* }
            }

            /// The stream that it belongs on.
            pub const fn class(&self) -> Class {
                match self { $(Self::$variant(_) => Class::$class,)* }
            }

            /// Header and payload.
            pub fn encode(&self) -> Vec<u8> {
                let body = match self { $(Self::$variant(body) => codec::encode(body),)* };
                let mut out = Vec::with_capacity(HEADER_BYTES + body.len());
                out.extend_from_slice(&((body.len() + 2) as u32).to_le_bytes());
                out.extend_from_slice(&self.kind().to_le_bytes());
                out.extend_from_slice(&body);
                out
            }

            /// Reads a payload of this kind. `Ok(None)`: this build does not know the kind; count it and go on.
            pub fn decode(kind: u16, payload: &[u8]) -> Result<Option<Self>, DecodeError> {
                Ok(Some(match kind {
                    $($kind => Self::$variant(codec::decode(payload)?),)*
                    _ => return Ok(None),
                }))
            }
        }
    };
}

frames! {
    /// Agent: the first frame of a session.
    Hello(Hello) = 1, Control;
    /// Hub: the answer to it.
    Welcome(Welcome) = 2, Control;
    /// Agent: its present state; only the latest counts.
    Status(Status) = 3, Control;
    /// Hub: how far an agent's logs are durably stored.
    Ack(Ack) = 4, Control;
    /// Hub: do this.
    Command(Command) = 5, Control;
    /// Hub: the newest bundle is still this one.
    Beacon(Beacon) = 6, Control;
    /// Hub: this session ends, and why.
    Goodbye(Goodbye) = 7, Control;
    /// Hub: send me your active bundle, mine is older.
    AskBundle(AskBundle) = 8, Control;
    /// Agent: what a hub must know to count it among the members of its domains; only the latest counts.
    NodeFacts(NodeFacts) = 9, Control;
    /// Hub: what it counted of the domains that the agent is in, and whether it is the agent's turn.
    FleetFacts(FleetFacts) = 10, Control;
    /// Agent: what time is it? Only the latest counts.
    AskTime(AskTime) = 11, Control;
    /// Hub: the answer, at once.
    HubTime(HubTime) = 12, Control;
    /// Hub: do this step of a plan. An agent that does not know the frame passes over it, and the step gets no answer.
    PlanCommand(PlanCommand) = 13, Control;
    /// Agent: what is not as it should be; only the latest counts.
    Findings(Findings) = 14, Control;
    /// Agent: by which way it reaches the hub; only the latest counts.
    NodePath(NodePath) = 15, Control;
    /// Agent: entries, in order.
    Entries(Entries) = 16, Journal;
    /// Agent: one telemetry block.
    Telemetry(TelemetryBlock) = 24, Telemetry;
    /// Hub, an agent that was asked, and an agent to its neighbours: a whole bundle.
    Bundle(SignedBundle) = 32, Bundle;
    /// Hub: who may sign bundles and beacons. On the stream of bundles, before the bundle that needs it.
    Roles(RoleDocuments) = 33, Bundle;
    /// Hub: where its own journal ends, to be kept; agent, once after the welcome: the newest one that it was sent.
    Checkpoint(SignedCheckpoint) = 34, Control;
    /// Agent to agent of one site: how the sender stands with the hub; only the latest counts.
    PeerState(PeerState) = 40, Control;
    /// Agent to agent of one site: by which way the sender reaches the hub, and how far it can judge a cut; only the latest counts. Comes
    /// before the [`PeerState`] that it belongs to.
    PeerPath(PeerPath) = 41, Control;
    /// Agent to agent of one site: the sender's permanent key, and that it has it. The first word of a session.
    PeerKey(PeerKey) = 42, Control;
}

/// Where an agent stands when a session begins. Together with [`Welcome`] this is the one resync handshake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Newest protocol version that it speaks.
    pub version: u16,
    /// Oldest protocol version that it speaks.
    pub oldest_version: u16,
    /// Version of its program, for people.
    pub program: String,
    /// End of its journal: epoch, last entry, digest of it.
    pub head: ChainHead,
    /// The first entry of this epoch that it still has.
    pub oldest_entry: Seq,
    /// The last entry of this epoch that a hub acknowledged.
    pub acked: Seq,
    /// Epochs before this one that it still has entries of: (epoch, first, last), oldest first, at most 16.
    pub older: Vec<(Epoch, Seq, Seq)>,
    /// The last telemetry block that it made in this epoch.
    pub telemetry: Seq,
    /// Its active bundle.
    pub bundle: BundleRef,
    /// The highest generation that it ever heard of.
    pub generation_floor: Generation,
    /// The highest hub epoch that it has seen.
    pub hub_epoch: HubEpoch,
    /// Drawn when its process started: two sessions of one identity with different values are two processes.
    pub process: u64,
    /// The `process` of the session that the hub welcomed last, as this agent remembers it: a copied state folder shows here.
    pub last_session: u64,
    /// Its clocks.
    pub now: Now,
}

/// Where the hub stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The version that both will speak.
    pub version: u16,
    /// The hub's incarnation; the agent follows the highest and refuses commands under a lower one.
    pub hub_epoch: HubEpoch,
    /// The last entry that the hub holds, for each epoch that it knows of this agent, oldest first, at most 17.
    pub holds: Vec<ChainHead>,
    /// The last telemetry block of the agent's present epoch that it holds.
    pub telemetry: Seq,
    /// The newest bundle.
    pub bundle: BundleRef,
    /// A number for this session; the agent keeps it and shows it at the next hello.
    pub session: u64,
    /// The hub's clocks: the agent learns by how much its wall clock may be off.
    pub now: Now,
}

/// The present state of an agent. Never queued: a newer one replaces an unsent older one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// As of when.
    pub at: Now,
    /// End of its journal: what it has produced.
    pub head: ChainHead,
    /// Its active bundle.
    pub bundle: BundleRef,
    /// Age of the proof of that bundle's freshness, in milliseconds.
    pub policy_age_ms: u64,
    /// The authority step in force.
    pub authority: Authority,
    /// When the next step comes if nothing fresh arrives, in milliseconds; `None` at the last one.
    pub next_step_ms: Option<u64>,
    /// Who holds the node, if somebody does.
    pub held_by: Option<String>,
    /// What it believes of its wall clock.
    pub clock: ClockState,
    /// Whether its journal accepts entries.
    pub journal_ok: bool,
    /// Bytes that its journal occupies, and may occupy.
    pub journal_bytes: (u64, u64),
    /// Protective actions that ran without a record before them and are not yet written.
    pub unrecorded_actions: u64,
    /// Milliseconds between two telemetry samples.
    pub telemetry_interval_ms: u32,
    /// What the node consists of.
    pub devices: Vec<DeviceInfo>,
    /// When its certificate ends, by its own words.
    pub certificate_ends: crate::time::Wall,
    /// How often it had to rejoin by its node key.
    pub rejoins: u32,
}

/// A device as a person wants to see it named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DeviceInfo {
    /// Its id.
    pub id: crate::reading::DeviceId,
    /// What it is, for example `NVIDIA L4`.
    pub model: String,
    /// A program plays it; there is no such hardware.
    pub simulated: bool,
    /// The range of power caps it accepts, in milliwatts.
    pub power_cap_range_mw: Option<(u32, u32)>,
}

/// Most findings of one node that are told.
pub const MAX_FINDINGS: usize = 32;
/// Longest finding in bytes; what is longer is cut.
pub const MAX_FINDING_BYTES: usize = 512;

/// What is not as it should be on a node, for people: a broken limit, protection that is held back, a part that does not work.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Findings {
    /// One sentence each, at most [`MAX_FINDINGS`] of [`MAX_FINDING_BYTES`].
    pub list: Vec<String>,
}

/// By which way an agent reaches its hub. An agent that says nothing is on its own path.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodePath {
    /// The neighbour that carries its packets, if one does.
    pub via: Option<AgentId>,
}

/// What an agent tells the neighbours of its site. It is the sender's word about itself and proves nothing about anybody else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerState {
    /// The sender's site.
    pub site: String,
    /// How it stands with the hub.
    pub reach: Reach,
    /// What it holds of the signed policy: a neighbour that holds newer passes it on.
    pub held: Held,
}

/// What a neighbour must know of the sender's way to the hub to go through it, or to tell how far a cut goes. An agent that never says
/// it carries over a path of its own, or not at all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerPath {
    /// The neighbour that carries the sender, if one does.
    pub via: Option<AgentId>,
    /// How many neighbours stand between the sender and the hub.
    pub hops: u8,
    /// What traffic to the hub costs at the end of that way.
    pub uplink: Uplink,
    /// The round trip of the sender's session with the hub, in microseconds; 0 without one.
    pub hub_rtt_us: u64,
    /// The sender knows that the hub itself is away: it took its leave, or its machine says that nobody listens there.
    pub hub_away: bool,
    /// Age of the proof that the sender's policy is fresh, in milliseconds.
    pub policy_age_ms: u64,
    /// What that age still lets the sender do.
    pub authority: Authority,
}

/// What traffic to the hub costs. Ordered: the cheaper way is taken. The order is part of the wire format: add at the end only.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Uplink {
    /// Nothing by the byte.
    #[default]
    Unmetered,
    /// Each byte: decisions and policy pass, telemetry waits.
    Metered,
}

/// An agent's permanent key, shown to a neighbour. A neighbour whose certificate was good remembers it, and knows its owner by it when
/// the certificate's time is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerKey {
    /// Ed25519.
    pub key: [u8; 32],
    /// Over [`PEER_KEY_PREFIX`], the session's binding, and the signer's name: 64 bytes.
    pub signature: Vec<u8>,
}

/// What a [`PeerKey`]'s signature begins with, so that it is worth nothing anywhere else.
pub const PEER_KEY_PREFIX: &[u8] = b"sentinel-peer-key/1";

/// How new the signed policy is that an agent holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Version of the newest role document; 0: none.
    pub roles: u64,
    /// The active bundle.
    pub bundle: BundleRef,
    /// Number of the newest beacon; 0: none.
    pub beacon: u64,
}

impl Held {
    /// Of an agent that holds nothing.
    pub const NOTHING: Self = Self {
        roles: 0,
        bundle: BundleRef::NONE,
        beacon: 0,
    };
}

/// How an agent stands with the hub. The order is part of the wire format: add at the end only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// It has a session over a path of its own, and carries others.
    Direct,
    /// A neighbour carries its session; it carries nobody.
    Carried,
    /// It has no session.
    Alone,
}

/// How far a log is durable at the hub. Sent only after the commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// Which epoch.
    pub epoch: Epoch,
    /// Entries up to here, if this acknowledges entries.
    pub entries: Option<Seq>,
    /// Telemetry blocks up to here, if this acknowledges telemetry.
    pub telemetry: Option<Seq>,
}

/// What a person or program wants an agent to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// Applied at most once.
    pub id: CommandId,
    /// The hub's incarnation; refused if the agent has seen a higher one.
    pub hub_epoch: HubEpoch,
    /// How long it still may wait, in milliseconds from arrival.
    pub valid_for_ms: u64,
    /// Who asked.
    pub who: String,
    /// Why.
    pub reason: String,
    /// What.
    pub what: Order,
}

/// A command that is a step of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanCommand {
    /// Which plan.
    pub plan: PlanId,
    /// Which of its steps, from 0.
    pub step: u16,
    /// It takes back what the step did.
    pub undo: bool,
    /// No person sent the plan.
    pub brain: bool,
    /// The command: fenced, taken once and judged like any other.
    pub command: Command,
}

/// What can be ordered. The order is part of the wire format: add at the end only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// Judge this action and, if it may run, run it.
    Act(Action),
    /// A person takes the node into their own hands.
    Hold,
    /// They give it back.
    Release,
    /// Open what rules hold back, with a token of two people; the agent verifies both signatures itself.
    BreakGlass(crate::BreakGlass),
}

/// The hub ends a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Goodbye {
    /// Why.
    pub reason: GoodbyeReason,
    /// When to come back, in milliseconds: the hub's slot for this agent.
    pub retry_after_ms: u64,
    /// For people.
    pub detail: String,
}

/// Why a hub ends a session. The order is part of the wire format: add at the end only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum GoodbyeReason {
    /// The hub stops; nothing is wrong.
    Stopping,
    /// Too many come at once; this is the slot.
    Busy,
    /// A newer session of the same identity took over.
    Replaced,
    /// Two processes use this identity: both are quarantined until a person clears it.
    Cloned,
    /// This identity is denied.
    Denied,
    /// No common protocol version.
    Version,
    /// The agent broke the protocol.
    Protocol,
    /// The agent's entries contradict what the hub holds; a new epoch is needed.
    Diverged,
}

/// The hub wants the agent's active bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskBundle {
    /// Which.
    pub bundle: BundleRef,
}

/// An agent wants to compare its wall clock with the hub's. A hub that does not know the question passes over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskTime {
    /// When it asks, on its own time line: the answer brings it back.
    pub asked: Mono,
    /// By how much its wall clock may differ from the hub's by what it knows already, in milliseconds.
    pub error_ms: u64,
}

/// The hub's clocks as the question came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HubTime {
    /// As the question says.
    pub asked: Mono,
    /// The hub's clocks.
    pub now: Now,
}

/// Role documents, oldest first; those that the agent knows are passed over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleDocuments {
    /// At most [`crate::roles::MAX_ROLE_DOCUMENTS`].
    pub documents: Vec<SignedRoles>,
}

/// Consecutive entries of one epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entries {
    /// Which epoch.
    pub epoch: Epoch,
    /// Place of the first one.
    pub first: Seq,
    /// Their bytes, at most [`MAX_ENTRIES_BYTES`] in all unless it is a single one.
    pub raw: Vec<Vec<u8>>,
}

/// One telemetry block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TelemetryBlock {
    /// Which epoch.
    pub epoch: Epoch,
    /// Its place.
    pub seq: Seq,
    /// As `telemetry::Encoder` made it.
    pub block: Vec<u8>,
}

/// Splits a byte stream into frames.
///
/// Feed it with [`FrameReader::extend`] and take frames with [`FrameReader::next_frame`]. It never holds more than one frame
/// and what was fed; a length beyond the class's bound is an error before anything is stored.
#[derive(Debug)]
pub struct FrameReader {
    class: Class,
    buffer: Vec<u8>,
    start: usize,
    /// Frames of unknown kind that were skipped.
    pub skipped: u64,
}

impl FrameReader {
    /// A reader for a stream of this class.
    pub fn new(class: Class) -> Self {
        Self {
            class,
            buffer: Vec::new(),
            start: 0,
            skipped: 0,
        }
    }

    /// Adds received bytes.
    pub fn extend(&mut self, bytes: &[u8]) {
        if self.start > 0 && self.start == self.buffer.len() {
            self.buffer.clear();
            self.start = 0;
        } else if self.start > 64 * 1024 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// Whether nothing is held: every byte that was fed belonged to a frame that was taken or skipped.
    pub fn is_empty(&self) -> bool {
        self.start == self.buffer.len()
    }

    /// Gives the buffer back if it is empty and has grown beyond `keep_bytes`, so that an idle stream holds none.
    pub fn release(&mut self, keep_bytes: usize) {
        if self.is_empty() && self.buffer.capacity() > keep_bytes {
            self.buffer = Vec::new();
            self.start = 0;
        }
    }

    /// The next whole frame; `Ok(None)` when more bytes are needed. An error ends the stream.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, DecodeError> {
        loop {
            let rest = &self.buffer[self.start..];
            if rest.len() < 4 {
                return Ok(None);
            }
            let length = u32::from_le_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
            let limit = self.class.max_frame_bytes() + 2;
            if length > limit {
                return Err(DecodeError::TooLong { length, limit });
            }
            if length < 2 {
                return Err(DecodeError::Malformed {
                    reason: "a frame without a kind".to_owned(),
                });
            }
            if rest.len() < 4 + length {
                return Ok(None);
            }
            let kind = u16::from_le_bytes([rest[4], rest[5]]);
            let frame = Frame::decode(kind, &rest[HEADER_BYTES..4 + length])?;
            self.start += 4 + length;
            match frame {
                Some(frame) if frame.class() != self.class => {
                    return Err(DecodeError::Malformed {
                        reason: format!("frame kind {kind} on the wrong stream"),
                    });
                }
                Some(frame) => return Ok(Some(frame)),
                None => self.skipped += 1,
            }
        }
    }
}

//! Views of nodes: how they stand with the hub, what they consist of and what that measures now.
//!
//! Read next: `hub/core/src/views.rs` and `edge-agent/src/local_api/live.rs` (who fill them).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{DecisionView, FaultView, GlassView};
use crate::decision::Authority;
use crate::frame::{DeviceInfo, Reach, Uplink};
use crate::ids::{AgentId, Digest, Epoch, Generation, Seq};
use crate::reading::{DeviceId, Quantity};
use crate::time::{ClockError, ClockState, Wall};

/// The four words for a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// A session is up.
    Connected,
    /// No session, and the node is known to decide on: it was healthy when last heard and its authority has not run out.
    WorkingAlone,
    /// Never heard, or its last state says nothing about now.
    Unknown,
    /// It said that it stops, or was removed.
    Down,
}

impl NodeState {
    /// The word in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::WorkingAlone => "working_alone",
            Self::Unknown => "unknown",
            Self::Down => "down",
        }
    }
}

/// A node, as of `last_seen`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct NodeView {
    /// Its name.
    pub name: AgentId,
    /// Its site.
    pub site: String,
    /// The node that tells of it, if neither it nor the hub does: what a neighbour says of another is what it heard of it, and the rest is
    /// not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told_by: Option<AgentId>,
    /// How it stands with the hub.
    pub state: NodeState,
    /// Since when.
    pub state_since: Option<Wall>,
    /// The last frame of it that the hub received; on the node itself, now.
    pub last_seen: Option<Wall>,
    /// How long ago that was, by the answering process's own clock.
    #[cfg_attr(feature = "schema", schemars(with = "Option<f64>"))]
    #[serde(rename = "age_seconds", with = "super::unit::thousandths", default)]
    pub age_ms: Option<u64>,
    /// Generation of its active bundle.
    pub policy_generation: Generation,
    /// Digest of its active bundle.
    pub policy_digest: Digest,
    /// Age of the proof that this bundle is fresh.
    #[cfg_attr(feature = "schema", schemars(with = "f64"))]
    #[serde(rename = "policy_age_seconds", with = "super::unit::thousandths")]
    pub policy_age_ms: u64,
    /// Entries that it has made and the hub has not stored.
    pub backlog_entries: u64,
    /// What it has in common with others, for rules that select by it and domains that are counted by it.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Why it is not healthy by its own word.
    #[serde(default)]
    pub unhealthy: Option<String>,
    /// What is not as it should be, one sentence each: broken limits, protection that is held back, parts that do not work. Of a node
    /// that is away, what it said last.
    #[serde(default)]
    pub findings: Vec<String>,
    /// The neighbour of its site that carries its session with the hub, while its own path does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<AgentId>,
    /// The same, and who carries that one: from the node to the hub, two at most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub path: Vec<AgentId>,
    /// How far a cut goes, as the node sees it; only the node itself says so, and only while its own path does not work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolation: Option<Isolation>,
    /// The other members of its site as it last heard of them; only the node itself says so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub neighbours: Vec<NeighbourView>,
    /// An action of it waits until it is its turn in a domain.
    #[serde(default)]
    pub waits_for_turn: bool,
    /// What the age of its policy still lets it do.
    pub authority: Authority,
    /// When the next, lower step comes if nothing fresh arrives.
    #[cfg_attr(feature = "schema", schemars(with = "Option<f64>"))]
    #[serde(rename = "next_authority_in_seconds", with = "super::unit::thousandths", default)]
    pub next_authority_in_ms: Option<u64>,
    /// End of its certificate.
    pub certificate_ends: Option<Wall>,
    /// How often it had to rejoin by its node key.
    pub rejoins: u32,
    /// What it believes of its wall clock.
    pub clock: ClockState,
    /// By how much that clock may differ from the hub's; `None`: it has not told since the hub's start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_error: Option<ClockError>,
    /// The person who holds it.
    pub held_by: Option<String>,
    /// The break-glass token that is open on it; a hub knows it of connected nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub break_glass: Option<GlassView>,
    /// Quarantined by the hub itself, and why.
    pub quarantined: Option<String>,
    /// Shut out by a person, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shut_out: Option<String>,
    /// Present epoch of its journal.
    pub epoch: Epoch,
    /// Last entry that it is known to have made.
    pub produced: Seq,
    /// Last entry of that epoch that the hub holds.
    pub stored: Seq,
    /// Bytes that its journal occupies.
    pub journal_bytes: u64,
    /// Bytes that it may occupy.
    pub journal_limit_bytes: u64,
    /// Whether the journal accepts entries.
    pub journal_ok: bool,
    /// Protective actions not yet recorded.
    pub unrecorded_actions: u64,
    /// Milliseconds between telemetry samples.
    #[cfg_attr(feature = "schema", schemars(with = "f64"))]
    #[serde(rename = "telemetry_interval_seconds", with = "super::unit::thousandths")]
    pub telemetry_interval_ms: u32,
    /// Version of its program.
    pub version: String,
    /// GPUs, with their latest values.
    pub gpus: Vec<GpuView>,
    /// Supervised processes, with their latest values.
    pub workloads: Vec<WorkloadView>,
    /// Node-wide CPU use.
    #[cfg_attr(feature = "schema", schemars(with = "Option<f64>"))]
    #[serde(rename = "cpu_used_ratio", with = "super::unit::ratio", default)]
    pub cpu_used_bp: Option<i64>,
    /// Node-wide memory use.
    #[cfg_attr(feature = "schema", schemars(with = "Option<f64>"))]
    #[serde(rename = "memory_used_ratio", with = "super::unit::ratio", default)]
    pub memory_used_bp: Option<i64>,
    /// Its last decision, for the fleet table.
    pub last_decision: Option<DecisionView>,
    /// Its last five, newest first; only in the answer for a single node.
    #[serde(default)]
    pub last_decisions: Vec<DecisionView>,
    /// Faults of its devices in the recent past, open ones first; only in the answer for a single node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<FaultView>,
}

impl NodeView {
    /// Whether nothing about it needs a look: it has a session, may do everything, records all that it does, and nobody found
    /// anything. A person's hold is no trouble.
    pub fn is_well(&self) -> bool {
        self.state == NodeState::Connected
            && self.quarantined.is_none()
            && self.shut_out.is_none()
            && self.findings.is_empty()
            && self.unhealthy.is_none()
            && self.authority == Authority::Full
            && self.journal_ok
            && self.unrecorded_actions == 0
            && self.clock != ClockState::BehindFloor
    }

    /// What a node knows of a neighbour, as of `now` by its own clock.
    pub fn told(neighbour: &NeighbourView, by: &AgentId, site: &str, now: Wall) -> Self {
        let age_ms = neighbour.age_ms.and_then(|age| i64::try_from(age).ok());
        Self {
            name: neighbour.name.clone(),
            site: if neighbour.site.is_empty() {
                site
            } else {
                &neighbour.site
            }
            .to_owned(),
            told_by: Some(by.clone()),
            state: match (neighbour.in_touch, neighbour.reach) {
                (false, _) => NodeState::Unknown,
                (true, Reach::Direct | Reach::Carried) => NodeState::Connected,
                (true, Reach::Alone) => NodeState::WorkingAlone,
            },
            state_since: None,
            last_seen: age_ms.map(|age| Wall(now.0.saturating_sub(age))),
            age_ms: neighbour.age_ms,
            policy_generation: Generation(neighbour.generation),
            policy_digest: Digest::ZERO,
            policy_age_ms: neighbour.policy_age_ms.unwrap_or(0),
            backlog_entries: 0,
            labels: BTreeMap::new(),
            unhealthy: None,
            findings: Vec::new(),
            via: neighbour.via.clone(),
            path: neighbour.via.clone().into_iter().collect(),
            isolation: None,
            neighbours: Vec::new(),
            waits_for_turn: false,
            authority: neighbour.authority.unwrap_or(Authority::Observe),
            next_authority_in_ms: None,
            certificate_ends: None,
            rejoins: 0,
            clock: ClockState::Steady,
            clock_error: None,
            held_by: None,
            break_glass: None,
            quarantined: None,
            shut_out: None,
            epoch: Epoch(0),
            produced: Seq(0),
            stored: Seq(0),
            journal_bytes: 0,
            journal_limit_bytes: 0,
            journal_ok: true,
            unrecorded_actions: 0,
            telemetry_interval_ms: 0,
            version: String::new(),
            gpus: Vec::new(),
            workloads: Vec::new(),
            cpu_used_bp: None,
            memory_used_bp: None,
            last_decision: None,
            last_decisions: Vec::new(),
            faults: Vec::new(),
        }
    }

    /// What people are told who name a GPU or a workload that the node does not have, with those that it has; `None`: it has this one,
    /// or it has not told its devices yet, or it is another kind of thing.
    pub fn unknown_device(&self, device: &DeviceId) -> Option<String> {
        let gpus: Vec<&DeviceId> = self.gpus.iter().map(|gpu| &gpu.id).collect();
        let workloads: Vec<&DeviceId> = self.workloads.iter().map(|workload| &workload.id).collect();
        // A workload is told with its first reading, so that a list without any is not yet a list.
        let kind = match device.class() {
            "gpu" => &gpus,
            "workload" => &workloads,
            _ => return None,
        };
        if kind.is_empty() || kind.contains(&device) {
            return None;
        }
        let names: Vec<&str> = gpus.iter().chain(&workloads).map(|id| id.as_str()).collect();
        Some(format!("{} has no `{device}`; it has {}", self.name, names.join(", ")))
    }
}

/// How far a cut goes, by what a node and its neighbours see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// Only this node's own path is cut: a neighbour still reaches the hub.
    Node,
    /// No neighbour of this site reaches the hub over a path of its own: the site is cut off.
    Site,
    /// Nobody is in touch: how far it goes cannot be told.
    Unknown,
    /// The hub is away for all: it took its leave, its machine says that nobody listens there, or other sites do not reach it either.
    Hub,
}

impl Isolation {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Node, Self::Site, Self::Hub, Self::Unknown];

    /// The word in JSON, in metrics and in the names of facts.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Site => "site",
            Self::Hub => "hub",
            Self::Unknown => "unknown",
        }
    }
}

/// A neighbour, as a node sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct NeighbourView {
    /// Its name.
    pub name: AgentId,
    /// Its site; empty before it has said so.
    #[serde(default)]
    pub site: String,
    /// Whether there is a session with it. What else is said of one that is out of touch is what it said last.
    #[serde(default)]
    pub in_touch: bool,
    /// How long ago something came from it; `None`: never.
    #[cfg_attr(feature = "schema", schemars(with = "Option<f64>"))]
    #[serde(rename = "age_seconds", with = "super::unit::thousandths", default)]
    pub age_ms: Option<u64>,
    /// How it says that it stands with the hub.
    pub reach: Reach,
    /// The round trip to it, in microseconds.
    #[cfg_attr(feature = "schema", schemars(with = "f64"))]
    #[serde(rename = "rtt_seconds", with = "super::unit::millionths")]
    pub rtt_us: u64,
    /// Packets to it that were lost, of a thousand.
    #[cfg_attr(feature = "schema", schemars(with = "f64"))]
    #[serde(rename = "lost_ratio", with = "super::unit::thousandths", default)]
    pub lost_per_mille: u16,
    /// The generation of the policy that it says it holds; 0: none.
    pub generation: u64,
    /// The neighbour that carries it, if one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<AgentId>,
    /// How many neighbours stand between it and the hub.
    #[serde(default)]
    pub hops: u8,
    /// What traffic to the hub costs at the end of its way.
    #[serde(default)]
    pub uplink: Uplink,
    /// The round trip of its own session with the hub, in microseconds; 0 without one.
    #[cfg_attr(feature = "schema", schemars(with = "f64"))]
    #[serde(rename = "hub_rtt_seconds", with = "super::unit::millionths", default)]
    pub hub_rtt_us: u64,
    /// It knows that the hub itself is away.
    #[serde(default)]
    pub hub_away: bool,
    /// Age of its policy's proof of freshness; told of one that has no session with the hub.
    #[cfg_attr(feature = "schema", schemars(with = "Option<f64>"))]
    #[serde(
        rename = "policy_age_seconds",
        with = "super::unit::thousandths",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub policy_age_ms: Option<u64>,
    /// What that age still lets it do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority: Option<Authority>,
    /// Carried packets of full size do not fit into the local path to it: neither carries the other.
    #[serde(default)]
    pub too_narrow: bool,
    /// A session by way of it was lost although the hub had answered by way of it: it is tried last for a while.
    #[serde(default)]
    pub doubted: bool,
    /// Packets that were carried for it since this node's start.
    #[serde(default)]
    pub carried_packets: u64,
    /// Bytes of those.
    #[serde(default)]
    pub carried_bytes: u64,
    /// Packets of it that were dropped, because it had its share, was not known well enough, or is behind too small a path.
    #[serde(default)]
    pub dropped_packets: u64,
}

impl NeighbourView {
    /// A member that nothing was heard of.
    pub fn unheard(name: AgentId) -> Self {
        Self {
            name,
            site: String::new(),
            in_touch: false,
            age_ms: None,
            reach: Reach::Alone,
            rtt_us: 0,
            lost_per_mille: 0,
            generation: 0,
            via: None,
            hops: 0,
            uplink: Uplink::Unmetered,
            hub_rtt_us: 0,
            hub_away: false,
            policy_age_ms: None,
            authority: None,
            too_narrow: false,
            doubted: false,
            carried_packets: 0,
            carried_bytes: 0,
            dropped_packets: 0,
        }
    }
}

/// A GPU's latest values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct GpuView {
    /// Its id on the node.
    pub id: DeviceId,
    /// What it is.
    pub model: String,
    /// A program plays it.
    pub simulated: bool,
    /// Core temperature.
    #[cfg_attr(feature = "schema", schemars(with = "Option<f64>"))]
    #[serde(rename = "temperature_celsius", with = "super::unit::thousandths", default)]
    pub temperature_mc: Option<i64>,
    /// Power.
    #[cfg_attr(feature = "schema", schemars(with = "Option<f64>"))]
    #[serde(rename = "power_watts", with = "super::unit::thousandths", default)]
    pub power_mw: Option<i64>,
    /// Power cap in force.
    #[cfg_attr(feature = "schema", schemars(with = "Option<f64>"))]
    #[serde(rename = "power_cap_watts", with = "super::unit::thousandths", default)]
    pub power_cap_mw: Option<i64>,
    /// Utilisation.
    #[cfg_attr(feature = "schema", schemars(with = "Option<f64>"))]
    #[serde(rename = "used_ratio", with = "super::unit::ratio", default)]
    pub used_bp: Option<i64>,
    /// The power caps that it may be asked for, least and greatest.
    #[cfg_attr(feature = "schema", schemars(with = "Option<(f64, f64)>"))]
    #[serde(rename = "power_caps_watts", with = "super::unit::thousandths", default)]
    pub power_caps_mw: Option<(u32, u32)>,
    /// The profile that bounds it, for example `nvidia-l40s`; none if there is none of its model.
    #[serde(default)]
    pub profile: Option<String>,
}

impl GpuView {
    /// What a device says of itself, with the latest values of its quantities and the id of its profile.
    pub fn of(info: &DeviceInfo, profile: Option<&str>, value: impl Fn(Quantity) -> Option<i64>) -> Self {
        Self {
            id: info.id.clone(),
            model: info.model.clone(),
            simulated: info.simulated,
            temperature_mc: value(Quantity::GpuTemperature),
            power_mw: value(Quantity::GpuPower),
            power_cap_mw: value(Quantity::GpuPowerCap),
            used_bp: value(Quantity::GpuUsed),
            power_caps_mw: info.power_cap_range_mw,
            profile: profile.map(str::to_owned),
        }
    }
}

/// A supervised process's latest values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct WorkloadView {
    /// Its id on the node.
    pub id: DeviceId,
    /// Its process id, if it runs.
    pub pid: Option<i64>,
    /// Resident memory in bytes.
    pub memory_bytes: Option<i64>,
    /// CPU as a share of one core.
    #[cfg_attr(feature = "schema", schemars(with = "Option<f64>"))]
    #[serde(rename = "cpu_ratio", with = "super::unit::ratio", default)]
    pub cpu_bp: Option<i64>,
    /// Restarts.
    pub restarts: Option<i64>,
}

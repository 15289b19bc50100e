//! Views of nodes: how they stand with the hub, what they consist of and what that measures now.
//!
//! Read next: `hub/core/src/views.rs` and `edge-agent/src/local_api/live.rs` (who fill them).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{DecisionView, GlassView};
use crate::decision::Authority;
use crate::frame::{DeviceInfo, Reach};
use crate::ids::{AgentId, Digest, Epoch, Generation, Seq};
use crate::reading::{DeviceId, Quantity};
use crate::time::{ClockError, ClockState, Wall};

/// The four words for a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
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
pub struct NodeView {
    /// Its name.
    pub name: AgentId,
    /// Its site.
    pub site: String,
    /// How it stands with the hub.
    pub state: NodeState,
    /// Since when.
    pub state_since: Option<Wall>,
    /// The last frame of it that the hub received; on the node itself, now.
    pub last_seen: Option<Wall>,
    /// How long ago that was, by the answering process's own clock.
    pub age_ms: Option<u64>,
    /// Generation of its active bundle.
    pub policy_generation: Generation,
    /// Digest of its active bundle.
    pub policy_digest: Digest,
    /// Age of the proof that this bundle is fresh.
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
    /// How far a cut goes, as the node sees it; only the node itself says so, and only while its own path does not work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolation: Option<Isolation>,
    /// The neighbours of its site that it is in touch with; only the node itself says so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub neighbours: Vec<NeighbourView>,
    /// An action of it waits until it is its turn in a domain.
    #[serde(default)]
    pub waits_for_turn: bool,
    /// What the age of its policy still lets it do.
    pub authority: Authority,
    /// When the next, lower step comes if nothing fresh arrives.
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
    /// Quarantined, and why.
    pub quarantined: Option<String>,
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
    pub telemetry_interval_ms: u32,
    /// Version of its program.
    pub version: String,
    /// GPUs, with their latest values.
    pub gpus: Vec<GpuView>,
    /// Supervised processes, with their latest values.
    pub workloads: Vec<WorkloadView>,
    /// Node-wide CPU use in hundredths of a percent.
    pub cpu_used_bp: Option<i64>,
    /// Node-wide memory use in hundredths of a percent.
    pub memory_used_bp: Option<i64>,
    /// Its last decision, for the fleet table.
    pub last_decision: Option<DecisionView>,
    /// Its last five, newest first; only in the answer for a single node.
    #[serde(default)]
    pub last_decisions: Vec<DecisionView>,
}

impl NodeView {
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
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// Only this node's own path is cut: a neighbour still reaches the hub.
    Node,
    /// No neighbour in touch reaches the hub: the site is cut off, or the hub is away.
    Site,
    /// Nobody is in touch: how far it goes cannot be told.
    Unknown,
}

/// A neighbour, as a node sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeighbourView {
    /// Its name.
    pub name: AgentId,
    /// How it says that it stands with the hub.
    pub reach: Reach,
    /// The round trip to it, in microseconds.
    pub rtt_us: u64,
    /// The generation of the policy that it says it holds; 0: none.
    pub generation: u64,
}

/// A GPU's latest values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuView {
    /// Its id on the node.
    pub id: DeviceId,
    /// What it is.
    pub model: String,
    /// A program plays it.
    pub simulated: bool,
    /// Core temperature, thousandths of a degree Celsius.
    pub temperature_mc: Option<i64>,
    /// Power, milliwatts.
    pub power_mw: Option<i64>,
    /// Power cap in force, milliwatts.
    pub power_cap_mw: Option<i64>,
    /// Utilisation, hundredths of a percent.
    pub used_bp: Option<i64>,
    /// The power caps that it may be asked for, least and greatest, in milliwatts.
    #[serde(default)]
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
pub struct WorkloadView {
    /// Its id on the node.
    pub id: DeviceId,
    /// Its process id, if it runs.
    pub pid: Option<i64>,
    /// Resident memory in bytes.
    pub memory_bytes: Option<i64>,
    /// CPU in hundredths of a percent of one core.
    pub cpu_bp: Option<i64>,
    /// Restarts.
    pub restarts: Option<i64>,
}

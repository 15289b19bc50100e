//! JSON that people and scripts read: the views that a hub's HTTP API, an agent's local socket, the CLI and the console share.
//!
//! These are views, made for reading: they are not what travels between agent and hub and not what is stored. Field names are
//! stable; new fields are added, none is renamed or removed. Times are RFC 3339, spans are milliseconds named `_ms`.
//!
//! Routes (hub over TLS with a bearer token or the console's cookie; agent over its Unix socket and loopback, the same paths
//! for its own node). A request by cookie that is not `GET` needs the header `x-sentinel-csrf: 1`.
//!
//! | method and path | answer |
//! |---|---|
//! | `GET /api/v1/nodes`, `/nodes/{name}` | [`List`]<[`NodeView`]>, [`NodeView`] with `last_decisions` |
//! | `GET /api/v1/domains` (hub only) | [`List`]<[`DomainView`]> |
//! | `GET /api/v1/decisions?node=&before=&limit=` | [`List`]<[`DecisionView`]>, newest first |
//! | `GET /api/v1/decisions/{id}` | [`DecisionDetail`] |
//! | `GET /api/v1/decisions/{id}/explanation` | `text/plain`, the same bytes from hub and node |
//! | `GET /api/v1/decisions/{id}/replay` | [`ReplayView`] |
//! | `GET /api/v1/entries?node=&after=&limit=` | [`List`]<[`EntryView`]>, oldest first |
//! | `GET /api/v1/series?node=&since_ms=` | [`SeriesView`]; `since_ms` is absolute: milliseconds since 1970, 10 minutes ago if absent |
//! | `GET /api/v1/policies` | [`List`]<[`PolicyView`]> |
//! | `GET /api/v1/policies/{generation}` (hub only) | [`PolicyDetailView`] |
//! | `GET /api/v1/policies/{generation}/calendar?from=&to=` (hub only) | [`CalendarView`]; RFC 3339, a week from now if absent, at most 400 days |
//! | `POST /api/v1/policies/simulate?since=` (a draft's text; hub only) | [`SimulateView`]; `since` is `7d`, `12h`, `30m`, or RFC 3339; 7 days if absent |
//! | `POST /api/v1/policies/check` (the text) | [`CheckView`] |
//! | `POST /api/v1/policies` (the text; hub only) | [`PublishView`] |
//! | `GET /api/v1/verify?node=` | [`List`]<[`VerifyView`]>; on an agent what its own journal holds |
//! | `POST /api/v1/actions` | [`ActRequest`] -> [`ActView`]; waits until the outcome or `wait_ms` |
//! | `POST /api/v1/nodes/{name}/hold`, `/release` | [`ReasonRequest`] -> [`ActView`] |
//! | `POST /api/v1/break-glass` (a token file's bytes; agent's socket) | [`GlassView`]; 409 with the reason if it opens nothing |
//! | the same at a hub | [`List`]<[`GlassSentView`]>: each node that the token names, or each connected one if it names none |
//! | `DELETE /api/v1/break-glass?reason=` (agent's socket) | [`GlassView`]: what was open; 409 if nothing is |
//! | `POST /api/v1/tokens` (hub only) | [`TokenRequest`] -> [`TokenView`] |
//! | `GET /api/v1/stream` | server-sent events, each `data:` a [`StreamEvent`] |
//! | `POST /api/v1/login` (hub only) | [`LoginRequest`]: a one-time link's code -> 204 with the session cookie |
//! | `POST /api/v1/login-links` (hub only) | [`LoginLinkView`] |
//! | `GET /livez`, `/readyz` | `ok`, or 503 with the reason |
//!
//! Errors are [`Problem`] (`application/problem+json`, RFC 9457).

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use crate::bundle::BundleRef;
use crate::decision::{Authority, Clause, Decision, Verdict};
use crate::frame::DeviceInfo;
use crate::ids::{AgentId, CommandId, DecisionId, Digest, Epoch, Generation, HubEpoch, Seq};
use crate::reading::{DeviceId, Quantity, Unit};
use crate::time::{ClockError, ClockState, Wall};

mod domains;
mod glass;
mod policies;

pub use domains::{DomainView, TurnView, WindowView};
pub use glass::{GlassSentView, GlassView};
pub use policies::{
    CalendarRuleView, CalendarView, OnlyDraftView, PolicyCountsView, PolicyDetailView, PolicyNodeView, RuleCountsView,
    SimulateView, SimulatedReadingsView, SimulatedView, VerdictCountsView,
};

/// Whether a path outside `/api` is a place within the console, which the console's one page shows, rather than one of its files.
///
/// Names below the console's folders may hold dots (`/decisions/edge-03.1.42`); elsewhere a dot in the last part means a file.
pub fn is_console_place(path: &str) -> bool {
    let mut parts = path.trim_matches('/').split('/');
    let folder = parts.next().unwrap_or_default();
    let last = parts.next_back().unwrap_or(folder);
    matches!(folder, "nodes" | "decisions" | "policies") || !last.contains('.')
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct List<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Give this back as `before` or `after` for the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next_cursor: Option<String>,
}

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

/// A decision in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecisionView {
    /// `node.epoch.seq`.
    pub id: DecisionId,
    /// Whose.
    pub node: AgentId,
    /// Epoch of its entry.
    pub epoch: Epoch,
    /// Place of its entry.
    pub seq: Seq,
    /// When, by the node's wall clock.
    pub at: Wall,
    /// Name of the wanted action, for example `power_cap`.
    pub action: String,
    /// On what.
    pub target: DeviceId,
    /// What runs (or was wanted, if nothing runs), in words: `gpu0 power_cap to 220 W`.
    pub summary: String,
    /// The answer.
    pub verdict: Verdict,
    /// The rule that determined it.
    pub rule: String,
    /// Whether the node had a session with the hub.
    pub connected: bool,
    /// Digest of the entry's bytes.
    pub digest: Digest,
    /// The latest outcome's word, `pending` while none has come, `none` if nothing runs.
    pub outcome: String,
    /// The latest outcome's detail.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub outcome_detail: Option<String>,
}

/// Everything about one decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecisionDetail {
    /// As in the list.
    pub summary: DecisionView,
    /// The entry before it in the chain.
    pub prev: Digest,
    /// Inputs and judgement.
    pub decision: Decision,
    /// What came of it, oldest first.
    pub outcomes: Vec<OutcomeView>,
    /// The explanation that `why` prints.
    pub explanation: String,
}

/// One outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutcomeView {
    /// When.
    pub at: Wall,
    /// The word.
    pub state: String,
    /// Before.
    pub before: Option<i64>,
    /// Read back after.
    pub after: Option<i64>,
    /// Found by a probe after a crash.
    pub probed: bool,
    /// For people.
    pub detail: String,
}

/// An entry in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryView {
    /// Whose.
    pub node: AgentId,
    /// Epoch.
    pub epoch: Epoch,
    /// Place.
    pub seq: Seq,
    /// When, by the node's wall clock.
    pub at: Wall,
    /// `decision`, `outcome`, `event` or `gap`.
    pub kind: String,
    /// One line for people.
    pub text: String,
    /// Digest of its bytes.
    pub digest: Digest,
    /// Digest of the entry before it.
    pub prev: Digest,
}

/// The result of recomputing a decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayView {
    /// Which.
    pub id: DecisionId,
    /// The recomputed judgement has the same bytes.
    pub identical: bool,
    /// The bundle it was recomputed with.
    pub bundle: BundleRef,
    /// Digest of the recorded judgement.
    pub recorded: Digest,
    /// Digest of the recomputed one.
    pub recomputed: Digest,
    /// Where they differ, for people; empty when identical.
    pub differences: Vec<String>,
}

/// Values over time, one axis for all of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeriesView {
    /// Whose.
    pub node: AgentId,
    /// Wall times of the samples, milliseconds since 1970, ascending.
    pub at_ms: Vec<i64>,
    /// The lines.
    pub lines: Vec<LineView>,
    /// Decisions in that time, oldest first.
    pub decisions: Vec<DecisionView>,
    /// Spans in which the node was cut off: (from, to) in milliseconds since 1970; `to` is `None` while it lasts.
    pub cuts: Vec<(i64, Option<i64>)>,
}

/// One line of a chart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineView {
    /// Of which device.
    pub device: DeviceId,
    /// What.
    pub quantity: Quantity,
    /// In what unit.
    pub unit: Unit,
    /// A program plays the device.
    pub simulated: bool,
    /// One value for each time; `None` is a gap.
    pub values: Vec<Option<i64>>,
}

/// The active bundle, and how far it has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyView {
    /// Its number.
    pub generation: Generation,
    /// Its digest.
    pub digest: Digest,
    /// Its name, from the text.
    pub name: String,
    /// When it was signed.
    pub issued_at: Wall,
    /// It is the newest.
    pub active: bool,
    /// Nodes on which it is active.
    pub nodes: u64,
    /// All nodes.
    pub nodes_total: u64,
    /// Its rules.
    pub rules: Vec<RuleView>,
    /// The text as a person wrote it.
    pub text: String,
}

/// A rule in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleView {
    /// Its id.
    pub id: String,
    /// Its kind.
    pub kind: String,
    /// `enforce`, `shadow` or `off`.
    pub mode: String,
    /// One line for people.
    pub text: String,
}

/// What is wrong with a bundle's text, or nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckView {
    /// It can be published.
    pub ok: bool,
    /// What is wrong.
    pub errors: Vec<BundleProblem>,
    /// Its rules, if it can be read.
    pub rules: Vec<RuleView>,
    /// Its indicators, one line for people each; absent from older hubs.
    #[serde(default)]
    pub indicators: Vec<String>,
    /// Its meters, the same.
    #[serde(default)]
    pub meters: Vec<String>,
}

/// One thing that is wrong with a bundle's text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundleProblem {
    /// Line, from 1; 0 if it has no place.
    pub line: u32,
    /// Column, from 1; 0 if it has no place.
    pub column: u32,
    /// The field, for example `rules[2].for`.
    pub field: String,
    /// What is wrong, and what would be right.
    pub message: String,
}

/// Role documents were accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolesView {
    /// Version of the newest.
    pub version: u64,
    /// The hub has a key of the beacon role in force; absent from older hubs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signs_beacons: Option<bool>,
    /// The hub has a key that alone may sign bundles; absent from older hubs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signs_bundles: Option<bool>,
}

/// A node has imported a parcel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportView {
    /// Which node.
    pub node: AgentId,
    /// Its active bundle.
    pub bundle: BundleRef,
    /// Its newest role document; 0 if it has none.
    pub roles_version: u64,
}

/// A bundle was published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishView {
    /// What it is now.
    pub bundle: BundleRef,
    /// All nodes that should get it.
    pub nodes_total: u64,
}

/// A node's journal against the hub's store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyView {
    /// Whose.
    pub node: AgentId,
    /// Entries that the node says it made, over all epochs that it knows of.
    pub produced: u64,
    /// Entries of it that are stored, counted one by one.
    pub stored: u64,
    /// Entries that it made and that are not stored.
    pub missing: u64,
    /// Entries that are stored twice.
    pub double: u64,
    /// Every link of every epoch's chain holds, and its end is the end that the node reports.
    pub chain_ok: bool,
    /// What is not right, for people.
    pub detail: String,
    /// As of when the node's numbers are.
    pub as_of: Option<Wall>,
    /// One row for each epoch.
    pub epochs: Vec<EpochView>,
}

/// One epoch of a node's journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochView {
    /// Which.
    pub epoch: Epoch,
    /// The first entry that is there.
    pub first: Seq,
    /// The last entry that is there.
    pub last: Seq,
    /// How many are there.
    pub count: u64,
    /// Digest of the last one.
    pub head: Digest,
    /// Its chain holds.
    pub chain_ok: bool,
}

/// A person or program wants something done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActRequest {
    /// Where.
    pub node: AgentId,
    /// To what; `node` if absent.
    #[serde(default = "DeviceId::node")]
    pub device: DeviceId,
    /// Which action, by name.
    pub action: String,
    /// Its parameters as text, for example `to` = `220 W`.
    #[serde(default)]
    pub params: BTreeMap<String, String>,
    /// Why. Not empty.
    pub reason: String,
    /// How long the command may wait for the node, in milliseconds.
    #[serde(default = "default_valid_for_ms")]
    pub valid_for_ms: u64,
    /// How long the answer may wait for the outcome, in milliseconds.
    #[serde(default = "default_wait_ms")]
    pub wait_ms: u64,
}

/// One minute: a person waits for it.
const fn default_valid_for_ms() -> u64 {
    60_000
}

/// Half a minute: longer than any action here takes, shorter than most proxies' patience.
const fn default_wait_ms() -> u64 {
    30_000
}

/// A reason, and nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReasonRequest {
    /// Why. Not empty.
    pub reason: String,
}

/// What came of a request to act.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActView {
    /// The command; absent at a node's own socket.
    pub command: Option<CommandId>,
    /// `done`, `denied` (by the node or already by the hub), `waiting` (nothing heard within `wait_ms`), `refused` (expired, fenced).
    pub status: String,
    /// The decision, once the node has made it.
    pub decision: Option<DecisionView>,
    /// For a denial: the clauses that determined it.
    #[serde(default)]
    pub clauses: Vec<Clause>,
    /// For people.
    pub detail: String,
}

/// Make a join token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// The node's name; made by the hub if absent.
    #[serde(default)]
    pub name: Option<String>,
    /// The node's site.
    #[serde(default = "default_site")]
    pub site: String,
    /// How long it can be used, in milliseconds.
    #[serde(default = "default_token_ttl_ms")]
    pub ttl_ms: u64,
}

fn default_site() -> String {
    "default".to_owned()
}

/// One hour: long enough to walk to a box.
const fn default_token_ttl_ms() -> u64 {
    3_600_000
}

/// A join token. It is shown once and not kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenView {
    /// The token.
    pub token: String,
    /// Pin of the hub's CA.
    pub ca_pin: String,
    /// Where agents reach the hub: `HOST:PORT`, UDP.
    pub address: String,
    /// When it ends.
    pub ends: Wall,
    /// The whole line to type on the new node.
    pub join_line: String,
}

/// A one-time link's code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoginRequest {
    /// The code after `#login=`.
    pub code: String,
}

/// A one-time link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginLinkView {
    /// The whole link.
    pub url: String,
    /// When it ends if nobody opens it.
    pub ends: Wall,
}

/// What the stream sends. The first event is always `hello`; a client that missed events gets `reset` and reads its lists again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event", content = "data")]
pub enum StreamEvent {
    /// The stream begins.
    Hello {
        /// `hub` or `node`.
        from: String,
        /// Version of the program.
        version: String,
        /// The hub's incarnation; 0 on a node.
        hub_epoch: HubEpoch,
        /// Its wall clock.
        now: Wall,
    },
    /// A node's row changed.
    Node(Box<NodeView>),
    /// A decision was made, or has a new outcome.
    Decision(Box<DecisionView>),
    /// One telemetry sample of one node: the lines that changed.
    Sample {
        /// Whose.
        node: AgentId,
        /// When, milliseconds since 1970.
        at_ms: i64,
        /// `device/quantity` and the value.
        values: Vec<(String, Option<i64>)>,
    },
    /// A bundle was published, or has reached another node.
    Policy(Box<PolicyView>),
    /// Events were dropped because this client is slow.
    Reset,
    /// Nothing happened for a while.
    Tick {
        /// The sender's wall clock.
        now: Wall,
    },
}

/// An error (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// `about:blank`, or a page that explains it.
    #[serde(rename = "type")]
    pub kind: String,
    /// The class of error, always the same words for the same `code`.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// What happened this time, with the values, and the way out.
    pub detail: String,
    /// A stable code: `not_found`, `bad_request`, `unauthorized`, `denied`, `conflict`, `unavailable`, `too_large`, `internal`.
    pub code: String,
    /// The fields at fault.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldProblem>,
    /// The decision that refused it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision_id: Option<DecisionId>,
}

/// One field at fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldProblem {
    /// JSON pointer.
    pub pointer: String,
    /// What is wrong with it, with the value, and what would be right.
    pub detail: String,
}

/// Where a CLI finds a hub and nodes: the context file, mode 0600.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Context {
    /// `https://HOST:PORT` of the hub's API.
    pub hub: String,
    /// The administrator's token.
    pub token: String,
    /// The hub's CA certificate, PEM.
    pub ca_pem: String,
    /// Local sockets of nodes on this machine.
    #[serde(default)]
    pub nodes: BTreeMap<AgentId, NodeContext>,
    /// The running demo's control socket, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub demo_socket: Option<String>,
}

/// A node of this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeContext {
    /// Path of its Unix socket.
    pub socket: String,
    /// Address of its own page on loopback, if it serves one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_dots_are_places_and_missing_files_are_not() {
        let check = |path, expected| assert_eq!(is_console_place(path), expected, "{path}");
        check("/", true);
        check("/decisions/edge-03.1.42", true);
        check("/nodes/rack1.lab", true);
        check("/policies", true);
        check("/nowhere", true);
        check("/console.js", false);
        check("/assets/old.css", false);
        check("/favicon.svg", false);
    }
}

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
//! | `GET /api/v1/nodes`, `/nodes/{name}` | [`List`]<[`NodeView`]>, [`NodeView`] with `last_decisions` and `faults` |
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
//! | `POST /api/v1/action-plans` (hub only) | [`PlanRequest`] -> [`PlanView`] with status 201 |
//! | `GET /api/v1/action-plans?state=&before=&limit=` (hub only) | [`List`]<[`PlanView`]>, newest first |
//! | `GET /api/v1/action-plans/{id}`, `/status` (hub only) | [`PlanView`] |
//! | `GET /api/v1/action-plans/{id}/explanation` (hub only) | `text/plain`: its life, from the hub's journal and its nodes' decisions |
//! | `POST /api/v1/action-plans/{id}/shadow` (hub only) | [`ShadowView`]: what policy would say now; the plan stays as it is |
//! | `POST /api/v1/action-plans/{id}/approve`, `/execute`, `/retry` (hub only) | [`PlanView`] |
//! | `POST /api/v1/action-plans/{id}/deny`, `/cancel` (hub only) | [`ReasonRequest`] -> [`PlanView`] |
//! | `GET /api/v1/brains` (hub only) | [`List`]<[`BrainView`]>: a row for each brain and verb |
//! | `POST /api/v1/brains/{brain}/{verb}/tier` (hub only) | [`GrantRequest`] -> [`BrainView`] |
//! | `GET /api/v1/forecast?node=&device=` (hub only) | [`ForecastView`] of the embedded brain |
//! | `POST /api/v1/sizing` (hub only) | [`SizeRequest`] -> [`SizeView`] of an InfraMind that sizes builds; 404 where there is none |
//! | `POST /api/v1/sizing/runs` (hub only) | [`RunRequest`] -> [`RunView`] with status 201 |
//! | `POST /api/v1/actions` | [`ActRequest`] -> [`ActView`]; waits until the outcome or `wait_ms` |
//! | `POST /api/v1/nodes/{name}/hold`, `/release` | [`ReasonRequest`] -> [`ActView`] |
//! | `POST /api/v1/break-glass` (a token file's bytes; agent's socket) | [`GlassView`]; 409 with the reason if it opens nothing |
//! | the same at a hub | [`List`]<[`GlassSentView`]>: each node that the token names, or each connected one if it names none |
//! | `DELETE /api/v1/break-glass?reason=` (agent's socket) | [`GlassView`]: what was open; 409 if nothing is |
//! | `GET`, `POST /api/v1/tokens` (hub only) | [`List`]<[`JoinTokenView`]>; [`TokenRequest`] -> [`TokenView`] |
//! | `DELETE /api/v1/tokens/{id}` (hub only) | [`JoinTokenView`] |
//! | `POST /api/v1/nodes/{name}/deny`, `/allow`, `/remove` (hub only) | [`ReasonRequest`] -> [`IdentityView`] |
//! | `POST /api/v1/nodes/{name}/rename` (hub only) | [`RenameRequest`] -> [`IdentityView`] |
//! | `POST /api/v1/nodes/{name}/rejoin` (hub only) | [`RejoinNodeRequest`] -> [`TokenView`] |
//! | `GET /api/v1/stream` | server-sent events, each `data:` a [`StreamEvent`] |
//! | `POST /api/v1/login` (hub only) | [`LoginRequest`]: a one-time link's code, or a name and a password -> 204 with the session cookie |
//! | `POST /api/v1/auth/setup` (hub only) | [`SetupRequest`] -> [`UserView`], and the session cookie |
//! | `POST /api/v1/auth/login`, `/auth/refresh` (hub only) | [`PasswordRequest`], [`RefreshRequest`] -> [`TokensView`] |
//! | `POST /api/v1/auth/logout` (hub only) | 204; the session that asks is over |
//! | `GET /api/v1/auth/me` (hub only) | [`MeView`] |
//! | `GET`, `POST /api/v1/users` (hub only) | [`List`]<[`UserView`]>; [`NewUserRequest`] -> [`InviteView`] |
//! | `GET`, `PATCH`, `DELETE /api/v1/users/{name}` (hub only) | [`UserView`]; [`ChangeUserRequest`] -> [`UserView`] |
//! | `POST /api/v1/users/{name}/invite` (hub only) | [`InviteView`]: a link with which they choose a password |
//! | `GET /api/v1/roles`, `/api/v1/access` (hub only) | [`List`]<[`RoleView`]>, [`List`]<[`RouteView`]> |
//! | `GET`, `POST /api/v1/api-tokens` (hub only) | [`List`]<[`ApiTokenView`]>; [`ApiTokenRequest`] -> [`NewApiTokenView`] |
//! | `DELETE /api/v1/api-tokens/{id}` (hub only) | [`ApiTokenView`] |
//! | `GET /api/v1/events?after=&limit=&watch=` (hub only) | CloudEvents 1.0, oldest first; with `watch=true` server-sent events |
//! | `POST /v1/metrics` OTLP (hub only) | metrics of workloads, as protobuf |
//! | `GET /api/v1/workload-metrics?metric&limit` (hub only) | [`List`] of [`WorkloadMetricView`] |
//! | `GET /api/v1/token-keys` (hub only) | [`List`] of [`TokenKeyView`] |
//! | `POST /api/v1/token-keys/rotate` [`RotateKeysRequest`] (hub only) | [`List`] of [`TokenKeyView`]: a new key signs access tokens |
//! | `GET /api/v1/audits/verify` (hub only) | [`AuditCheckView`] |
//! | `POST /api/v1/audits/accept` [`ReasonRequest`] (hub only) | [`AuditCheckView`]: a person knows why it is not whole |
//! | `GET /api/v1/audits?who=&verb=&target=&result=&since=&before=&limit=` (hub only) | [`List`]<[`AuditView`]>, newest first |
//! | `POST /api/v1/login-links` (hub only) | [`LoginLinkView`] |
//! | `GET /livez`, `/readyz` | `ok`, or 503 with the reason |
//!
//! Errors are [`Problem`] (`application/problem+json`, RFC 9457).

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use crate::bundle::BundleRef;
use crate::ids::{AgentId, DecisionId, Digest, Epoch, Generation, HubEpoch, Seq};
use crate::reading::{DeviceId, Quantity, Unit};
use crate::time::Wall;

mod access;
mod brains;
mod decisions;
mod domains;
mod faults;
mod glass;
mod integrations;
mod nodes;
mod placement;
mod plans;
mod policies;
mod requests;
mod sizing;
mod unit;

pub use access::{
    ApiTokenRequest, ApiTokenView, AuditCheckView, AuditView, ChangeUserRequest, CheckpointView, InviteView,
    JournalBreakView, MeView, NewApiTokenView, NewUserRequest, PasswordRequest, RefreshRequest, RoleView,
    RotateKeysRequest, RouteView, SetupRequest, TokenKeyView, TokensView, UserView,
};
pub use brains::{
    BrainScoresView, BrainView, ForecastPointView, ForecastView, ForeseenView, GrantRequest, ReliabilityBinView,
    TierChangeView,
};
pub use decisions::{DecisionDetail, DecisionView, EntryOrder, EntryView, OutcomeView, ReplayView};
pub use domains::{DomainView, TurnView, WindowView};
pub use faults::{FaultView, Faults};
pub use glass::{GlassSentView, GlassView};
pub use integrations::{
    ConsumerView, DeliveryState, DeliveryView, NewWebhook, ResendRequest, WebhookView, WorkloadMetricView,
};
pub use nodes::{GpuView, Isolation, NeighbourView, NodeState, NodeView, WorkloadView};
pub use placement::{
    ClusterPlacementView, GpuRequest, NewWorkload, NodePlacementView, PlacementView, ResourcesRequest, quantity_milli,
};
pub use plans::{
    ClaimView, EffectView, ObservationView, Param, PlanRequest, PlanStepRequest, PlanStepView, PlanView, SafetyRequest,
    ShadowStepView, ShadowView,
};
pub use policies::{
    CalendarRuleView, CalendarView, OnlyDraftView, PolicyCountsView, PolicyDetailView, PolicyNodeView, RuleCountsView,
    SimulateView, SimulatedReadingsView, SimulatedView, VerdictCountsView,
};
pub use requests::{
    ActRequest, ActView, HandRequest, IdentityView, JoinTokenView, LoginLinkView, LoginRequest, ReasonRequest,
    RejoinNodeRequest, RenameRequest, TokenRequest, TokenView,
};
pub use sizing::{BuildSize, BuildStep, RunRequest, RunView, SizeRequest, SizeView};

/// The first parts of the console's own addresses: `hub/console/src/state/route.ts` reads them. The front page has none.
const CONSOLE_PAGES: [&str; 20] = [
    "nodes",
    "decisions",
    "policies",
    "plans",
    "brains",
    "tasks",
    "agents",
    "clusters",
    "workloads",
    "rollouts",
    "integrations",
    "events",
    "domains",
    "calendar",
    "access",
    "audit",
    "login",
    "setup",
    "status",
    "support",
];

/// Whether a path outside `/api` is a place within the console, which the console's one page shows. Whatever else is no file is told
/// to be unknown: a probe that asks for `/healthz` must not take a page for an answer.
pub fn is_console_place(path: &str) -> bool {
    let folder = path.trim_matches('/').split('/').next().unwrap_or_default();
    folder.is_empty() || CONSOLE_PAGES.contains(&folder)
}

/// Whether whoever asks, by their `Accept`, is a browser that shows a page to a person.
pub fn wants_page(accept: Option<&str>) -> bool {
    accept.is_some_and(|accept| accept.contains("text/html"))
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct List<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Give this back as `before` or `after` for the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next_cursor: Option<String>,
}

/// Values over time, one axis for all of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LineView {
    /// Of which device.
    pub device: DeviceId,
    /// What.
    pub quantity: Quantity,
    /// In what unit.
    pub unit: Unit,
    /// A program plays the device.
    pub simulated: bool,
    /// One value for each time; `None` is a gap. Where a time stands for several samples, the highest of them.
    pub values: Vec<Option<i64>>,
    /// The lowest of the samples of each time; absent where each time is one sample.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub low: Vec<Option<i64>>,
}

/// The active bundle, and how far it has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PublishView {
    /// What it is now.
    pub bundle: BundleRef,
    /// All nodes that should get it.
    pub nodes_total: u64,
}

/// A node's journal against the hub's store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct VerifyView {
    /// Whose.
    pub node: AgentId,
    /// Entries that the node says it made, over all epochs that it knows of.
    pub produced: u64,
    /// Entries of it that are stored, counted one by one.
    pub stored: u64,
    /// Entries of it that were stored, and were removed to make room or because they were old.
    #[serde(default)]
    pub removed: u64,
    /// Entries that it made and that were never stored.
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct EpochView {
    /// Which.
    pub epoch: Epoch,
    /// The first entry that is there.
    pub first: Seq,
    /// The last entry that is there.
    pub last: Seq,
    /// How many are there.
    pub count: u64,
    /// How many were there before the first one, and were removed.
    #[serde(default)]
    pub removed: u64,
    /// Digest of the last one.
    pub head: Digest,
    /// Its chain holds.
    pub chain_ok: bool,
}

/// What the stream sends. The first event is always `hello`; a client that missed events gets `reset` and reads its lists again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
    /// The permission that is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permission: Option<crate::access::Permission>,
    /// How long to wait before trying again, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "retry_after_seconds")]
    pub retry_after: Option<u64>,
}

/// One field at fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FieldProblem {
    /// JSON pointer.
    pub pointer: String,
    /// What is wrong with it, with the value, and what would be right.
    pub detail: String,
}

/// Where a CLI finds a hub and nodes: the context file, mode 0600.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Context {
    /// `https://HOST:PORT` of the hub's API.
    pub hub: String,
    /// The administrator's token, an API token, or a person's access token.
    pub token: String,
    /// Gives the next access token, once; absent where the token lasts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<String>,
    /// Until when the access token is good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_ends: Option<Wall>,
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
        check("/policies/8", true);
        check("/plans/0198f.x", true);
        check("/nowhere", false);
        check("/healthz", false);
        check("/metrics", false);
        check("/console.js", false);
        check("/assets/old.css", false);
        check("/favicon.svg", false);
    }
}

//! What people and programs ask for by HTTP, and what they are told of it.
//!
//! Read next: `hub/src/http/actions.rs`, `hub/src/http/login.rs`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::DecisionView;
use crate::decision::Clause;
use crate::ids::{AgentId, CommandId};
use crate::reading::DeviceId;
use crate::time::Wall;

/// A person or program wants something done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
    /// How long the command may wait for the node.
    #[cfg_attr(feature = "schema", schemars(with = "f64", extend("default" = 60.0)))]
    #[serde(
        rename = "valid_for_seconds",
        with = "super::unit::thousandths",
        default = "default_valid_for_ms"
    )]
    pub valid_for_ms: u64,
    /// How long the answer may wait for the outcome.
    #[cfg_attr(feature = "schema", schemars(with = "f64", extend("default" = 30.0)))]
    #[serde(
        rename = "wait_seconds",
        with = "super::unit::thousandths",
        default = "default_wait_ms"
    )]
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ReasonRequest {
    /// Why. Not empty.
    pub reason: String,
}

/// A person takes a node into their own hands, or gives it back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct HandRequest {
    /// Why. Not empty.
    pub reason: String,
    /// How long it may wait for a node that is away; an hour if absent.
    #[cfg_attr(feature = "schema", schemars(with = "Option<f64>"))]
    #[serde(
        rename = "valid_for_seconds",
        with = "super::unit::thousandths",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub valid_for_ms: Option<u64>,
    /// How long the answer may wait for the node; if absent half a minute for a connected node, and not at all for
    /// another.
    #[cfg_attr(feature = "schema", schemars(with = "Option<f64>"))]
    #[serde(
        rename = "wait_seconds",
        with = "super::unit::thousandths",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub wait_ms: Option<u64>,
}

/// What came of a request to act.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ActView {
    /// The command; absent at a node's own socket.
    pub command: Option<CommandId>,
    /// `done`, `denied` (by the node or already by the hub), `waiting` (nothing heard within `wait_ms`), `refused` (expired, fenced,
    /// called off), `cancelled`.
    pub status: String,
    /// While it waits: until when it may be brought to its node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Wall>,
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// The node's name; made by the hub if absent.
    #[serde(default)]
    pub name: Option<String>,
    /// The node's site.
    #[serde(default = "default_site")]
    pub site: String,
    /// How long it can be used.
    #[cfg_attr(feature = "schema", schemars(with = "f64", extend("default" = 3600.0)))]
    #[serde(
        rename = "ttl_seconds",
        with = "super::unit::thousandths",
        default = "default_token_ttl_ms"
    )]
    pub ttl_ms: u64,
    /// What it is for, in a few words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

/// A join token as it is listed: never the token itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct JoinTokenView {
    /// The beginning of its hash, by which it is revoked.
    pub id: String,
    /// What it is for.
    pub label: Option<String>,
    /// The node's name that it is for; the joining node's wish if absent.
    pub name: Option<AgentId>,
    /// The site that it is for.
    pub site: String,
    /// Who made it.
    pub by: String,
    /// When it was made.
    pub made: Wall,
    /// When it ends.
    pub ends: Wall,
    /// `open`, `used` or `ended`.
    pub state: String,
    /// Uses that are left: one or none.
    pub uses_left: u32,
    /// Who used it.
    pub used_by: Option<AgentId>,
    /// Whoever joins with it becomes the node of that name, which is there.
    pub takes_over: bool,
}

/// Give a node another name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RenameRequest {
    /// The new name.
    pub to: AgentId,
    /// Why. Not empty.
    pub reason: String,
}

/// Give a node's name and history to a machine with other keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RejoinNodeRequest {
    /// Why. Not empty.
    pub reason: String,
    /// How long the token can be used.
    #[cfg_attr(feature = "schema", schemars(with = "f64", extend("default" = 3600.0)))]
    #[serde(
        rename = "ttl_seconds",
        with = "super::unit::thousandths",
        default = "default_token_ttl_ms"
    )]
    pub ttl_ms: u64,
}

/// How a node stands at the door, after somebody has changed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct IdentityView {
    /// Its name.
    pub name: AgentId,
    /// Its site.
    pub site: String,
    /// `open`, `denied`, `quarantined`, `removed` or `renamed`.
    pub state: String,
    /// Its new name, if it was renamed.
    pub renamed_to: Option<AgentId>,
    /// Why it is shut out.
    pub reason: Option<String>,
    /// Who decided it.
    pub by: Option<String>,
    /// When.
    pub since: Option<Wall>,
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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

/// The console's way in: a one-time link's code, or a name and a password.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(untagged)]
pub enum LoginRequest {
    /// A link.
    Link {
        /// The code after `#login=`.
        code: String,
    },
    /// A person.
    Person(super::PasswordRequest),
}

/// A one-time link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LoginLinkView {
    /// The whole link.
    pub url: String,
    /// When it ends if nobody opens it.
    pub ends: Wall,
}

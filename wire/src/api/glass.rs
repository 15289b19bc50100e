//! Views of break-glass: what is open on a node, and what became of a token on its way there.

use serde::{Deserialize, Serialize};

use crate::ids::{AgentId, CommandId};
use crate::time::Wall;

/// A break-glass token that is open on a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct GlassView {
    /// Which node.
    pub node: AgentId,
    /// Its number.
    pub number: u64,
    /// The kinds of action that it is for, by name.
    pub kinds: Vec<String>,
    /// Devices or classes of devices that it is for; all if empty.
    pub targets: Vec<String>,
    /// When it is over, by the node's wall clock; it counts down by running time.
    pub until: Wall,
    /// For how much longer it is open.
    #[cfg_attr(feature = "schema", schemars(with = "f64"))]
    #[serde(rename = "left_seconds", with = "super::unit::thousandths")]
    pub left_ms: u64,
    /// Who signed it.
    pub approvers: Vec<String>,
    /// Why; only in the answer to its opening: later the journal tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What became of a break-glass token on one of the nodes that a hub sent it to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct GlassSentView {
    /// Which node.
    pub node: AgentId,
    /// The command that carried it, for the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<CommandId>,
    /// `done`, `refused`, `waiting`, or `unreached`: it was not sent.
    pub status: String,
    /// For people.
    pub detail: String,
}

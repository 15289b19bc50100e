//! Views of what nodes have in common, and of who may be touched next.

use serde::{Deserialize, Serialize};

use crate::ids::AgentId;

/// What nodes have in common, as rules of kind `blast_radius` and rates over nodes count it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DomainView {
    /// The domain as rules name it: `rack`, `site`, or one by name, `rack:r7`.
    pub domain: String,
    /// Which: the label's value that its members share.
    pub value: String,
    /// Nodes that share it and are not denied.
    pub members: i64,
    /// Members that are away, or say that they are not healthy.
    pub unhealthy: i64,
    /// Healthy members that are being touched, have their turn, or have not yet said how they stand.
    pub in_flight: i64,
    /// Members that became unhealthy in the last five minutes.
    pub newly_faulty: i64,
    /// Whether a rule in mode enforce counts it, so that its members need a turn.
    pub gives_turns: bool,
    /// Members that have their turn or act without one.
    pub turns: Vec<TurnView>,
    /// Members that wait for their turn, in the order of waiting.
    pub waiting: Vec<AgentId>,
    /// How many turns rules have given in their windows.
    #[serde(default)]
    pub windows: Vec<WindowView>,
}

/// What one rule has given in its window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct WindowView {
    /// The rule.
    pub rule: String,
    /// Turns given in the window that ends now.
    pub given: u32,
    /// At most so many.
    pub limit: u32,
    /// The window's length.
    #[cfg_attr(feature = "schema", schemars(with = "f64"))]
    #[serde(rename = "window_seconds", with = "super::unit::thousandths")]
    pub window_ms: u64,
    /// In how long there is room for one more; `None` if there is now, or if that depends on who has a turn.
    #[cfg_attr(feature = "schema", schemars(with = "Option<f64>"))]
    #[serde(rename = "free_in_seconds", with = "super::unit::thousandths", default)]
    pub free_in_ms: Option<u64>,
}

/// A member of a domain that may touch it, or does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TurnView {
    /// Which.
    pub node: AgentId,
    /// An action that stops somebody's work is under way.
    pub acts: bool,
    /// For how long it has had its turn; `None` if it acts without one.
    #[cfg_attr(feature = "schema", schemars(with = "Option<f64>"))]
    #[serde(rename = "for_seconds", with = "super::unit::thousandths", default)]
    pub for_ms: Option<u64>,
}

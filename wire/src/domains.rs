//! What agent and hub tell each other so that only few nodes of a domain are touched at once.
//!
//! A domain is what nodes have in common: a rack, a site, a driver version; its name is that of a label. The hub counts its members
//! and lets those that ask begin one after the other. A node that holds its turn keeps it until it says that it is done, so a turn
//! is never in two hands, whatever is lost on the way.
//!
//! Decides nothing. Read next: `hub/core/src/domains.rs` (who gets the turn), `edge-agent/core/src/domains.rs` (who asks).

use serde::{Deserialize, Serialize};

use crate::action::RiskClass;
use crate::ids::{Epoch, HubEpoch, Seq};

/// Most labels that one node tells its hub.
pub const MAX_LABELS: usize = 32;
/// Longest name or value of a label, in bytes.
pub const MAX_LABEL_BYTES: usize = 128;

/// Most wishes that one node asks turns for at the same time.
pub const MAX_ASKS: usize = 8;

/// What a hub must know of an agent to count it. Only the latest counts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct NodeFacts {
    /// Labels of the node, by name; at most [`MAX_LABELS`].
    pub labels: Vec<(String, String)>,
    /// Why the node is not healthy by its own word.
    pub unhealthy: Option<String>,
    /// The decision that waits for its turn, or may use the turn that it has.
    pub asks: Option<Ask>,
    /// Actions under way that stop somebody's work.
    pub acting: u32,
    /// The break-glass token that is open, for people who look at the fleet.
    pub opened: Option<Opened>,
    /// Other decisions that wait for their turn, each by rules of its own; at most [`MAX_ASKS`] in all.
    pub more: Vec<Ask>,
}

impl NodeFacts {
    /// Every decision that it asks a turn for, in the order of asking.
    pub fn all_asks(&self) -> impl Iterator<Item = &Ask> {
        self.asks.iter().chain(&self.more)
    }
}

/// A break-glass token that is open on a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Opened {
    /// Its number.
    pub number: u64,
    /// The kinds of action that it is for, by name.
    pub kinds: Vec<String>,
    /// Devices or classes of devices that it is for; all if empty.
    pub targets: Vec<String>,
    /// For how much longer it is open, in milliseconds from when this is told.
    pub left_ms: u64,
    /// Who signed it.
    pub approvers: Vec<String>,
}

/// A decision that is held until few enough members of a domain are touched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Ask {
    /// Its place in the agent's journal, which names this wish.
    pub decision: (Epoch, Seq),
    /// Ids of the rules that hold it: `blast_radius`, or a rate that is counted over nodes.
    pub rules: Vec<String>,
    /// How dangerous it is: what makes a domain's breaker open stops nothing below medium.
    pub class: RiskClass,
}

/// What a hub counted of the domains that an agent is in. Replaces the former.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FleetFacts {
    /// The hub's incarnation; ignored if the agent has seen a higher one.
    pub hub_epoch: HubEpoch,
    /// Numbers by full name, for example `rack.members`, or `rate:one-an-hour.given`.
    pub values: Vec<(String, i64)>,
    /// Whose turn it is: the decision that the agent asked for.
    pub turn: Option<(Epoch, Seq)>,
}

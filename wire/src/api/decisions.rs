//! Views of what a journal holds: decisions, their outcomes, and entries of every kind.
//!
//! Read next: `view.rs` (how an entry becomes one).

use serde::{Deserialize, Serialize};

use crate::bundle::BundleRef;
use crate::decision::{Decision, Verdict};
use crate::ids::{AgentId, DecisionId, Digest, Epoch, Seq};
use crate::reading::DeviceId;
use crate::time::Wall;

/// A decision in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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

/// In which order entries are listed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum EntryOrder {
    /// Oldest first, after a cursor.
    #[default]
    Asc,
    /// Newest first, before a cursor.
    Desc,
}

/// An entry in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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

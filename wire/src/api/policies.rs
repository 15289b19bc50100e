//! Views of one policy: how far it has come, what its rules decided, when changes are frozen, and what a draft would change.
//!
//! Read next: `hub/src/http/policies.rs` (who fills them), `policy/src/rehearse.rs` (what a draft would have done).

use serde::{Deserialize, Serialize};

use super::{NodeState, PolicyView};
use crate::decision::{Authority, Observed, Verdict};
use crate::ids::{AgentId, DecisionId, Generation};
use crate::reading::DeviceId;
use crate::time::Wall;

/// One policy in full.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PolicyDetailView {
    /// As in the list.
    pub policy: PolicyView,
    /// Who published it at this hub; absent if that is not known.
    #[serde(default)]
    pub published_by: Option<String>,
    /// Every node that should have it, by name.
    pub nodes: Vec<PolicyNodeView>,
    /// What stored decisions say of it.
    pub decisions: PolicyCountsView,
    /// Its rules in the order of the text, with what they decided.
    pub rules: Vec<RuleCountsView>,
}

/// How one node stands to a policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PolicyNodeView {
    /// Which node.
    pub node: AgentId,
    /// How it stands with the hub.
    pub state: NodeState,
    /// It judges by this policy.
    pub has_it: bool,
    /// Generation that it judges by.
    pub generation: Generation,
    /// Age of the proof that this one is fresh.
    #[cfg_attr(feature = "schema", schemars(with = "f64"))]
    #[serde(rename = "policy_age_seconds", with = "super::unit::thousandths")]
    pub policy_age_ms: u64,
    /// What the age of its policy still lets it do.
    pub authority: Authority,
}

/// Decisions that were made by one policy and are stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PolicyCountsView {
    /// The oldest of them.
    pub since: Option<Wall>,
    /// The newest of them.
    pub until: Option<Wall>,
    /// How many.
    pub considered: u64,
    /// Older ones are stored and were not counted.
    pub cut: bool,
    /// By verdict.
    pub verdicts: VerdictCountsView,
    /// What a rule that is only tried out would have refused, and ran.
    pub shadow_would_refuse: u64,
}

/// How often each verdict was given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct VerdictCountsView {
    /// As wanted.
    pub allow: u64,
    /// Within narrower limits.
    pub clamp: u64,
    /// Not now.
    pub hold: u64,
    /// Not without a person.
    pub require_approval: u64,
    /// No.
    pub deny: u64,
}

impl VerdictCountsView {
    /// Counts one more.
    pub fn add(&mut self, verdict: Verdict) {
        let count = match verdict {
            Verdict::Allow => &mut self.allow,
            Verdict::Clamp => &mut self.clamp,
            Verdict::Hold => &mut self.hold,
            Verdict::RequireApproval => &mut self.require_approval,
            Verdict::Deny => &mut self.deny,
        };
        *count += 1;
    }
}

/// A rule, and what it decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RuleCountsView {
    /// Its id.
    pub id: String,
    /// Its kind.
    pub kind: String,
    /// `enforce`, `shadow` or `off`.
    pub mode: String,
    /// One line for people.
    pub text: String,
    /// The reason that its author gave.
    pub why: String,
    /// Who answers for it.
    pub owner: String,
    /// Decisions that it determined, or wanted when none objected, by verdict.
    pub decided: VerdictCountsView,
    /// For a rule that is only tried out: what it said of the decisions that it saw, by its own count of what it would have let run.
    pub would: VerdictCountsView,
}

/// When changes are frozen, and when they may run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CalendarView {
    /// Of which policy.
    pub generation: Generation,
    /// Beginning of the time that is shown.
    pub from: Wall,
    /// Its end.
    pub to: Wall,
    /// As of when `active_until`, `next_start` and `next_open` are.
    pub now: Wall,
    /// Every freeze and maintenance window, in the order of the rules.
    pub rules: Vec<CalendarRuleView>,
    /// When no freeze that counts covers the present any more; absent if none does now.
    pub next_open: Option<Wall>,
}

/// The windows of one rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CalendarRuleView {
    /// The rule.
    pub rule: String,
    /// `change_freeze` or `maintenance_window`.
    pub kind: String,
    /// `enforce`, `shadow` or `off`.
    pub mode: String,
    /// One line for people.
    pub text: String,
    /// IANA name of the zone in which its times were written.
    pub zone: String,
    /// Windows that touch the time that is shown: `[from, to)`, ascending, those that touch joined.
    pub windows: Vec<(Wall, Wall)>,
    /// More windows lie in that time than are listed.
    pub cut: bool,
    /// When the window that covers the present ends.
    pub active_until: Option<Wall>,
    /// When the next one begins, if one does within 400 days.
    pub next_start: Option<Wall>,
}

/// What a draft would have decided otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SimulateView {
    /// From when on decisions were compared.
    pub since: Wall,
    /// The decisions that would come out otherwise, oldest first; at most 500.
    pub items: Vec<SimulatedView>,
    /// Decisions that were compared.
    pub considered: u64,
    /// How many of them would come out otherwise.
    pub differ: u64,
    /// How many more could not be compared: unreadable, or the draft asks for a number that was not recorded with them.
    pub not_replayable: u64,
    /// What the draft would have wanted of the stored readings, and the policy in force would not, oldest first; at most 500.
    #[serde(default)]
    pub only_draft: Vec<OnlyDraftView>,
    /// How many of them there are.
    #[serde(default)]
    pub only_draft_total: u64,
    /// Which readings that is about.
    #[serde(default)]
    pub readings: SimulatedReadingsView,
    /// Why not everything since then was looked at, and the way out; absent if everything was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut: Option<String>,
}

/// Stored readings that a draft and the policy in force were shown, each with a count of its own of what had run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SimulatedReadingsView {
    /// Nodes with stored readings.
    pub nodes: u64,
    /// Samples.
    pub samples: u64,
    /// Gaps between them; what had held before one begins anew after it.
    pub gaps: u64,
    /// Samples 10 s or more after the one before: rules that ask how long something held see nothing there.
    pub sparse: u64,
    /// Generations of the policies that were in force at the nodes, which the draft was compared with; 0 where there was none.
    pub compared_with: Vec<Generation>,
    /// Which of them this hub does not have, and what stood for them; absent if it has all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced: Option<String>,
}

/// Something that only a draft would have wanted, once or again and again.
///
/// The readings are those of the day: what the draft's action would have changed, they do not show.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OnlyDraftView {
    /// Where.
    pub node: AgentId,
    /// When for the first time, by the node's wall clock.
    pub at: Wall,
    /// When for the last time; the same if it was wanted once.
    pub until: Wall,
    /// How often.
    pub times: u64,
    /// The draft's rule that would have wanted it.
    pub rule: String,
    /// The rule would have taken back what it had done.
    pub undo: bool,
    /// Name of the wanted action.
    pub action: String,
    /// The action in full, for people.
    pub wanted: String,
    /// On what.
    pub target: DeviceId,
    /// The first reading that it came from.
    pub reading: Option<Observed>,
    /// What the draft would have said; absent where it asks for a number that was not recorded.
    pub verdict: Option<Verdict>,
    /// The rule that determines the verdict, or whose number is not known.
    pub by: String,
    /// Why, for people.
    pub text: String,
}

/// One stored decision that a draft would have made otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SimulatedView {
    /// Which.
    pub id: DecisionId,
    /// Whose.
    pub node: AgentId,
    /// When, by the node's wall clock.
    pub at: Wall,
    /// Name of the wanted action.
    pub action: String,
    /// On what.
    pub target: DeviceId,
    /// As it was decided.
    pub old: Verdict,
    /// As the draft decides it.
    pub new: Verdict,
    /// The rule that determined the draft's verdict.
    pub rule: String,
    /// What differs, for people.
    pub text: String,
}

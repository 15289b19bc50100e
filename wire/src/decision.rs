//! One judgement, with everything that it was made from: a [`Decision`] is [`Inputs`] plus the [`Judgement`] of them.
//!
//! Invariant: `policy::judge(bundle, &inputs) == judgement`, bit for bit, for the bundle whose digest the inputs name.
//! That is all that `replay` does. No floats, no maps, no clock.

use serde::{Deserialize, Serialize};

use crate::action::{Action, Origin};
use crate::bundle::BundleRef;
use crate::ids::HubEpoch;
use crate::reading::{Series, Unit};
use crate::time::{ClockState, Now};

/// How a question was answered. Ordered: the worst of all rules wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It may run as wanted.
    Allow,
    /// It may run within narrower limits than wanted.
    Clamp,
    /// Not now.
    Hold,
    /// Not without a person.
    RequireApproval,
    /// No.
    Deny,
}

impl Verdict {
    /// The word in JSON and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Clamp => "clamp",
            Self::Hold => "hold",
            Self::RequireApproval => "require_approval",
            Self::Deny => "deny",
        }
    }

    /// Whether an action runs.
    pub const fn runs(self) -> bool {
        matches!(self, Self::Allow | Self::Clamp)
    }
}

/// What an agent may still do at the age of its policy. Ordered from everything to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Authority {
    /// Whatever the bundle grants.
    Full,
    /// Nothing irreversible or disruptive.
    Reversible,
    /// Protective actions only.
    Protective,
    /// Rules marked `never_expires`, and nothing else.
    Observe,
}

impl Authority {
    /// The word in JSON and in bundles.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Reversible => "reversible",
            Self::Protective => "protective",
            Self::Observe => "observe",
        }
    }
}

/// A reading as a decision saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Observed {
    /// What was measured.
    pub series: Series,
    /// The value, or `None` when the sensor could not say.
    pub value: Option<i64>,
    /// How old it was, in milliseconds; `None` when there never was one.
    pub age_ms: Option<u64>,
    /// For how long the rule's condition had held, in milliseconds.
    pub held_ms: u64,
}

/// One number that a rule judged besides readings: a count in a window, a time since, a limit of the device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Fact {
    /// The rule that asked for it, or `device` for what a device reports of itself.
    pub rule: String,
    /// Which of the rule's numbers, for example `count`, `since_ms`, `failures`.
    pub name: String,
    /// The number.
    pub value: i64,
}

/// Everything that a judgement depends on besides the bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Inputs {
    /// When.
    pub at: Now,
    /// Who wants it.
    pub origin: Origin,
    /// What is wanted.
    pub wanted: Action,
    /// The bundle it was judged by.
    pub bundle: BundleRef,
    /// How old the proof of the bundle's freshness was, in milliseconds of running time.
    pub policy_age_ms: u64,
    /// Whether a session with a hub was up.
    pub connected: bool,
    /// What the agent believed of its wall clock.
    pub clock: ClockState,
    /// Whether the journal accepted entries.
    pub journal_ok: bool,
    /// The person who holds the node, if one does.
    pub held_by: Option<String>,
    /// The highest hub epoch the agent had seen.
    pub hub_epoch: HubEpoch,
    /// The readings that the origin's rule looked at.
    pub readings: Vec<Observed>,
    /// The other numbers, in the order of the bundle's rules.
    pub facts: Vec<Fact>,
}

/// One compared pair of the trace: what was seen, against what limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Clause {
    /// The rule it belongs to; `authority`, `hold`, `journal` and `device` are the built-in ones.
    pub rule: String,
    /// The rule's kind, for example `threshold`, `cooldown`, `rate_limit`.
    pub kind: String,
    /// What was compared, for people: `gpu.temperature of gpu0`, `restarts in 1 h`.
    pub what: String,
    /// How it was compared: `>`, `<`, `<=`, `>=`, `=`, `in`.
    pub op: String,
    /// What was seen; `None` for missing data.
    pub observed: Option<i64>,
    /// Against what.
    pub limit: Option<i64>,
    /// The unit of both.
    pub unit: Unit,
    /// How old what was seen was, in milliseconds.
    pub age_ms: Option<u64>,
    /// Whether the comparison is true.
    pub holds: bool,
    /// What this clause alone says of the wanted action.
    pub verdict: Verdict,
    /// The rule is only tried out: its verdict did not count.
    pub shadow: bool,
    /// What would have to be different, for people, found by this same comparison; empty when it passed.
    pub counterfactual: String,
}

/// Something that was considered and not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Alternative {
    /// What.
    pub action: Action,
    /// Why not.
    pub because: String,
}

/// The answer to [`Inputs`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Judgement {
    /// The worst verdict of all enforcing rules.
    pub verdict: Verdict,
    /// The rule that gave it, or the rule that wanted the action when all allow.
    pub rule: String,
    /// What runs: the wanted action, or a clamped one. `None` unless the verdict runs.
    pub granted: Option<Action>,
    /// For a hold, how long until it is worth asking again, in milliseconds.
    pub retry_after_ms: Option<u64>,
    /// How long the grant may wait for its turn, in milliseconds from [`Inputs::at`]. Later it must be judged again.
    pub valid_for_ms: u64,
    /// The step of the authority ladder in force.
    pub authority: Authority,
    /// Every comparison made, in order.
    pub clauses: Vec<Clause>,
    /// What else was considered.
    pub rejected: Vec<Alternative>,
}

/// One judgement and everything it was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Decision {
    /// What was known.
    pub inputs: Inputs,
    /// What followed.
    pub judgement: Judgement,
}

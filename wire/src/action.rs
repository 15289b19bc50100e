//! What an agent can do to its node, and what came of it.
//!
//! An action is caused by exactly one decision entry and carries that entry's id; its outcome names it again.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::{CommandId, DecisionId, PlanId};
use crate::reading::DeviceId;

/// What to do. The order is part of the wire format: add at the end only.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ActionKind {
    /// Limit a GPU's power.
    PowerCap {
        /// The limit, in thousandths of a watt.
        milliwatts: u32,
    },
    /// Give a GPU its default power limit back; the undo of `PowerCap`.
    ReleasePowerCap,
    /// Stop a supervised process and start it again.
    Restart,
    /// Leave a process only this share of one core (cgroup `cpu.max` where there is one, else a lower priority).
    Throttle {
        /// Share of one core in hundredths of a percent, 100..=10,000.
        share_bp: u16,
    },
    /// Give a throttled process its full share back; the undo of `Throttle`.
    Unthrottle,
    /// Tell people, and change nothing.
    Notify {
        /// What to tell them.
        message: String,
    },
    /// Keep a GPU's SM clock at or below this.
    LockClocks {
        /// The greatest clock, MHz.
        max_mhz: u32,
    },
    /// Let a GPU's clock go; the undo of `LockClocks`.
    UnlockClocks,
    /// Let no new work onto the node.
    Cordon,
    /// Let work onto it again; the undo of `Cordon` and `Drain`.
    Uncordon,
    /// Move the work off the node, and let no new work onto it.
    Drain,
    /// Reset a GPU that nobody uses.
    ResetGpu,
    /// Restart the machine.
    Reboot,
}

/// How dangerous an action is. Computed here, never taken from whoever asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum RiskClass {
    /// Safety reflex: can only make things calmer.
    Safety,
    /// Low: one application feels it.
    Low,
    /// Medium: a GPU or several applications feel it.
    Medium,
    /// High: the node feels it.
    High,
    /// Cannot be taken back.
    Irreversible,
}

impl ActionKind {
    /// The names of all kinds, as bundles and the command line spell them.
    pub const NAMES: &'static [&'static str] = &[
        "power_cap",
        "release_power_cap",
        "restart",
        "throttle",
        "unthrottle",
        "notify",
        "lock_clocks",
        "unlock_clocks",
        "cordon",
        "uncordon",
        "drain",
        "reset_gpu",
        "reboot",
    ];

    /// The name as bundles and the command line spell it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::PowerCap { .. } => "power_cap",
            Self::ReleasePowerCap => "release_power_cap",
            Self::Restart => "restart",
            Self::Throttle { .. } => "throttle",
            Self::Unthrottle => "unthrottle",
            Self::Notify { .. } => "notify",
            Self::LockClocks { .. } => "lock_clocks",
            Self::UnlockClocks => "unlock_clocks",
            Self::Cordon => "cordon",
            Self::Uncordon => "uncordon",
            Self::Drain => "drain",
            Self::ResetGpu => "reset_gpu",
            Self::Reboot => "reboot",
        }
    }

    /// Whether it lowers power, stops or throttles work, or only tells: what may run when nothing can be recorded.
    pub const fn protective(&self) -> bool {
        match self {
            Self::PowerCap { .. } | Self::Throttle { .. } | Self::Notify { .. } => true,
            Self::LockClocks { .. } | Self::Cordon => true,
            Self::ReleasePowerCap | Self::Restart | Self::Unthrottle | Self::UnlockClocks | Self::Uncordon => false,
            Self::Drain | Self::ResetGpu | Self::Reboot => false,
        }
    }

    /// Whether an [`ActionKind::undo`] brings the former state back.
    pub const fn reversible(&self) -> bool {
        match self {
            Self::PowerCap { .. } | Self::ReleasePowerCap | Self::Throttle { .. } | Self::Unthrottle => true,
            Self::LockClocks { .. } | Self::UnlockClocks | Self::Cordon | Self::Uncordon | Self::Drain => true,
            Self::Notify { .. } | Self::Restart | Self::ResetGpu | Self::Reboot => false,
        }
    }

    /// Whether doing it twice is the same as doing it once.
    pub const fn idempotent(&self) -> bool {
        match self {
            Self::PowerCap { .. } | Self::ReleasePowerCap | Self::Throttle { .. } | Self::Unthrottle => true,
            Self::LockClocks { .. } | Self::UnlockClocks | Self::Cordon | Self::Uncordon | Self::Drain => true,
            Self::Restart | Self::Notify { .. } | Self::ResetGpu | Self::Reboot => false,
        }
    }

    /// Whether somebody's work stops.
    pub const fn disruptive(&self) -> bool {
        matches!(self, Self::Restart | Self::Drain | Self::ResetGpu | Self::Reboot)
    }

    /// How dangerous it is.
    pub const fn risk(&self) -> RiskClass {
        match self {
            Self::PowerCap { .. } | Self::Throttle { .. } | Self::Notify { .. } => RiskClass::Safety,
            Self::LockClocks { .. } | Self::Cordon => RiskClass::Safety,
            Self::ReleasePowerCap | Self::Unthrottle | Self::Restart | Self::UnlockClocks | Self::Uncordon => {
                RiskClass::Low
            }
            Self::Drain | Self::ResetGpu => RiskClass::Medium,
            Self::Reboot => RiskClass::High,
        }
    }

    /// The action that takes this one back, where there is one.
    pub const fn undo(&self) -> Option<ActionKind> {
        match self {
            Self::PowerCap { .. } => Some(Self::ReleasePowerCap),
            Self::Throttle { .. } => Some(Self::Unthrottle),
            Self::LockClocks { .. } => Some(Self::UnlockClocks),
            Self::Cordon | Self::Drain => Some(Self::Uncordon),
            Self::ReleasePowerCap | Self::Restart | Self::Unthrottle | Self::Notify { .. } => None,
            Self::UnlockClocks | Self::Uncordon | Self::ResetGpu | Self::Reboot => None,
        }
    }

    /// The class of device that it can be done to: `gpu`, `workload`, `node`, or any for `notify`.
    pub const fn target_class(&self) -> Option<&'static str> {
        match self {
            Self::PowerCap { .. } | Self::ReleasePowerCap => Some("gpu"),
            Self::LockClocks { .. } | Self::UnlockClocks | Self::ResetGpu => Some("gpu"),
            Self::Cordon | Self::Uncordon | Self::Drain | Self::Reboot => Some("node"),
            Self::Restart | Self::Throttle { .. } | Self::Unthrottle => Some("workload"),
            Self::Notify { .. } => None,
        }
    }
}

impl fmt::Display for ActionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use crate::reading::{Unit, human};
        match self {
            Self::PowerCap { milliwatts } => {
                write!(f, "power_cap to {}", human(i64::from(*milliwatts), Unit::Milliwatt))
            }
            Self::Throttle { share_bp } => {
                write!(
                    f,
                    "throttle to {} of a core",
                    human(i64::from(*share_bp), Unit::BasisPoints)
                )
            }
            Self::Notify { message } => write!(f, "notify \"{message}\""),
            Self::LockClocks { max_mhz } => {
                write!(f, "lock_clocks to {}", human(i64::from(*max_mhz), Unit::Megahertz))
            }
            Self::ReleasePowerCap | Self::Restart | Self::Unthrottle | Self::UnlockClocks => f.write_str(self.name()),
            Self::Cordon | Self::Uncordon | Self::Drain | Self::ResetGpu | Self::Reboot => f.write_str(self.name()),
        }
    }
}

/// What to do, to what.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Action {
    /// To which part of the node.
    pub target: DeviceId,
    /// What.
    pub kind: ActionKind,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.target, self.kind)
    }
}

/// Who wants an action. The order is part of the wire format: add at the end only.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// A rule of the active bundle.
    Rule {
        /// The rule's id.
        rule: String,
    },
    /// The same rule, after its condition cleared: the undo of what it did.
    Cleared {
        /// The rule's id.
        rule: String,
    },
    /// A person or program, through the hub.
    Command {
        /// The command's id.
        id: CommandId,
        /// Who asked.
        who: String,
        /// Why, in their words.
        reason: String,
    },
    /// A person at the node's own socket.
    Local {
        /// Who asked, as the socket's peer credentials say.
        who: String,
        /// Why, in their words.
        reason: String,
    },
    /// A step of a plan, through the hub: taken and judged like any command.
    Plan {
        /// The command's id.
        id: CommandId,
        /// Which plan.
        plan: PlanId,
        /// Which of its steps, from 0.
        step: u16,
        /// It takes back what the step did.
        undo: bool,
        /// No person sent the plan.
        brain: bool,
        /// Who sent it.
        who: String,
        /// Why, in the plan's words.
        reason: String,
    },
    /// The agent's own ladder against faults.
    Fault {
        /// Which fault: `xid 79`.
        code: String,
    },
}

impl Origin {
    /// The command that brought the action here, if one did.
    pub const fn command(&self) -> Option<CommandId> {
        match self {
            Self::Command { id, .. } | Self::Plan { id, .. } => Some(*id),
            Self::Rule { .. } | Self::Cleared { .. } | Self::Local { .. } | Self::Fault { .. } => None,
        }
    }
}

/// Where an action stands. The order is part of the wire format: add at the end only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum OutcomeState {
    /// Carried out, and read back as wanted.
    Applied,
    /// The effect that the rule wanted was seen (the temperature fell, the new process lives).
    Verified,
    /// Carried out, but the effect was not seen in time.
    NotVerified,
    /// The device or process refused, or reads back something else.
    Failed,
    /// The agent died in the middle and the probe cannot tell whether it was done.
    Unknown,
    /// Not started: it was no longer valid, held, or allowed when its turn came.
    Dropped,
}

impl OutcomeState {
    /// The word in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Verified => "verified",
            Self::NotVerified => "not_verified",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
            Self::Dropped => "dropped",
        }
    }

    /// Whether a later outcome of the same action may still follow.
    pub const fn is_final(self) -> bool {
        !matches!(self, Self::Applied)
    }
}

/// What came of an action. One action can have two: `Applied` when it was carried out, then `Verified` or `NotVerified`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Outcome {
    /// The decision that caused the action.
    pub decision: DecisionId,
    /// Where it stands.
    pub state: OutcomeState,
    /// The value before, in the unit of the action (milliwatts, pid, basis points), where there is one.
    pub before: Option<i64>,
    /// The value read back after it, in the same unit; none for a verification, whose `detail` tells what was seen.
    pub after: Option<i64>,
    /// Found by probing after a crash, not by carrying it out.
    pub probed: bool,
    /// What went wrong or what was seen, for people.
    pub detail: String,
}

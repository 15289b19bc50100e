//! The words for where a plan and each of its steps stand, which may follow which, and how long each may last.
//!
//! Who moves a plan, and why, is decided in `hub/core/src/plans`.
//!
//! Invariants: a final state has no successor; every other state has a deadline and a way to a final one.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Where a plan stands. The order is part of the stored format: add at the end only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum PlanState {
    /// Stored as it came.
    Received,
    /// Every field is within its bounds, and its targets exist.
    Validated,
    /// Policy has judged it.
    Decided,
    /// Policy holds it, or the way to its target is cut.
    Held,
    /// It waits for a person, or for two.
    AwaitingApproval,
    /// It may run as soon as its targets are free.
    Scheduled,
    /// Its targets are taken; the next step is judged anew.
    Leased,
    /// A step's intent is stored, and it is carried out.
    Executing,
    /// A step is done, and its effect is looked for.
    Verifying,
    /// Steps are taken back, the last first.
    RollingBack,
    /// Every step is done, and its effect was seen.
    Completed,
    /// Every step that could be taken back was.
    RolledBack,
    /// A step could not be taken back: a person is called.
    RollbackFailed,
    /// Policy or a person said no, or it was no valid plan.
    Rejected,
    /// Its time was over before it could run.
    Expired,
    /// Its sender or a person called it off before it ran.
    Cancelled,
    /// A newer plan for the same target took its place.
    Superseded,
    /// A step failed, and nothing could be or had to be taken back.
    Failed,
}

impl PlanState {
    /// All of them, in wire order.
    pub const ALL: [Self; 18] = [
        Self::Received,
        Self::Validated,
        Self::Decided,
        Self::Held,
        Self::AwaitingApproval,
        Self::Scheduled,
        Self::Leased,
        Self::Executing,
        Self::Verifying,
        Self::RollingBack,
        Self::Completed,
        Self::RolledBack,
        Self::RollbackFailed,
        Self::Rejected,
        Self::Expired,
        Self::Cancelled,
        Self::Superseded,
        Self::Failed,
    ];

    /// The word in JSON and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Validated => "validated",
            Self::Decided => "decided",
            Self::Held => "held",
            Self::AwaitingApproval => "awaiting_approval",
            Self::Scheduled => "scheduled",
            Self::Leased => "leased",
            Self::Executing => "executing",
            Self::Verifying => "verifying",
            Self::RollingBack => "rolling_back",
            Self::Completed => "completed",
            Self::RolledBack => "rolled_back",
            Self::RollbackFailed => "rollback_failed",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
            Self::Superseded => "superseded",
            Self::Failed => "failed",
        }
    }

    /// The state with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// The nearest of the seven words of the original API: pending, validating, approved, executing, completed, failed, rejected.
    pub const fn original_name(self) -> &'static str {
        match self {
            Self::Received | Self::Validated | Self::Decided => "validating",
            Self::Held | Self::AwaitingApproval => "pending",
            Self::Scheduled | Self::Leased => "approved",
            Self::Executing | Self::Verifying | Self::RollingBack => "executing",
            Self::Completed => "completed",
            Self::Rejected | Self::Expired | Self::Cancelled | Self::Superseded => "rejected",
            Self::RolledBack | Self::RollbackFailed | Self::Failed => "failed",
        }
    }

    /// Whether nothing follows.
    pub const fn is_final(self) -> bool {
        matches!(
            self,
            Self::Completed
                | Self::RolledBack
                | Self::RollbackFailed
                | Self::Rejected
                | Self::Expired
                | Self::Cancelled
                | Self::Superseded
                | Self::Failed
        )
    }

    /// How long it may last where nothing about the plan says otherwise; `None` for a final state.
    pub const fn longest(self) -> Option<Duration> {
        let seconds = match self {
            Self::Received | Self::Validated | Self::Decided => 5,
            Self::Held => 24 * 3_600,
            Self::AwaitingApproval => 4 * 3_600,
            // Bounded by the plan's own end, which is at most this far away.
            Self::Scheduled => super::LONGEST_VALID.as_secs(),
            Self::Leased => 30,
            Self::Executing | Self::RollingBack => 25 * 60,
            Self::Verifying => 5 * 60,
            Self::Completed
            | Self::RolledBack
            | Self::RollbackFailed
            | Self::Rejected
            | Self::Expired
            | Self::Cancelled
            | Self::Superseded
            | Self::Failed => return None,
        };
        Some(Duration::from_secs(seconds))
    }

    /// Whether `next` may follow.
    pub fn may_become(self, next: Self) -> bool {
        self.successors().contains(&next)
    }

    /// Every state that may follow, none for a final one.
    pub const fn successors(self) -> &'static [Self] {
        match self {
            Self::Received => &[Self::Validated, Self::Rejected],
            Self::Validated => &[Self::Decided, Self::Rejected, Self::Cancelled, Self::Superseded],
            Self::Decided => &[
                Self::Held,
                Self::AwaitingApproval,
                Self::Scheduled,
                Self::Rejected,
                Self::Expired,
                Self::Cancelled,
                Self::Superseded,
            ],
            // A plan that has done steps is held between two of them, too: then it resumes or is undone.
            Self::Held => &[
                Self::AwaitingApproval,
                Self::Scheduled,
                Self::RollingBack,
                Self::Rejected,
                Self::Expired,
                Self::Cancelled,
                Self::Superseded,
            ],
            Self::AwaitingApproval => &[
                Self::Held,
                Self::Scheduled,
                Self::RollingBack,
                Self::Rejected,
                Self::Expired,
                Self::Cancelled,
                Self::Superseded,
            ],
            Self::Scheduled => &[
                Self::Leased,
                Self::RollingBack,
                Self::Expired,
                Self::Cancelled,
                Self::Superseded,
                Self::Failed,
            ],
            Self::Leased => &[
                Self::Executing,
                Self::Scheduled,
                Self::Held,
                Self::AwaitingApproval,
                Self::RollingBack,
                Self::Rejected,
                Self::Expired,
                Self::Cancelled,
                Self::Failed,
            ],
            Self::Executing => &[Self::Verifying, Self::RollingBack, Self::Failed],
            Self::Verifying => &[Self::Leased, Self::Completed, Self::RollingBack, Self::Failed],
            Self::RollingBack => &[Self::RolledBack, Self::RollbackFailed],
            Self::Completed
            | Self::RolledBack
            | Self::RollbackFailed
            | Self::Rejected
            | Self::Expired
            | Self::Cancelled
            | Self::Superseded
            | Self::Failed => &[],
        }
    }
}

/// Where one step stands. The order is part of the stored format: add at the end only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// Nothing of it has begun.
    #[default]
    Waiting,
    /// What will be done is on its way to the store; nobody has been asked to do it.
    Intending,
    /// Whoever carries it out was asked to.
    Acting,
    /// Nobody knows whether it was done: whoever carries it out is asked for what is.
    Probing,
    /// It is done, and its effect is looked for.
    Verifying,
    /// It is done, and its effect was seen or none was expected.
    Done,
    /// It was not done.
    Failed,
    /// That it is taken back is on its way to the store.
    UndoIntending,
    /// It is being taken back.
    Undoing,
    /// Nobody knows whether it was taken back.
    UndoProbing,
    /// It was taken back.
    Undone,
    /// It was done and could not be taken back, or nobody knows what is.
    Stuck,
}

impl StepState {
    /// All of them, in wire order.
    pub const ALL: [Self; 12] = [
        Self::Waiting,
        Self::Intending,
        Self::Acting,
        Self::Probing,
        Self::Verifying,
        Self::Done,
        Self::Failed,
        Self::UndoIntending,
        Self::Undoing,
        Self::UndoProbing,
        Self::Undone,
        Self::Stuck,
    ];

    /// The word in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Intending => "intending",
            Self::Acting => "acting",
            Self::Probing => "probing",
            Self::Verifying => "verifying",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::UndoIntending => "undo_intending",
            Self::Undoing => "undoing",
            Self::UndoProbing => "undo_probing",
            Self::Undone => "undone",
            Self::Stuck => "stuck",
        }
    }

    /// Whether nothing goes on by itself. A `Done` step may still be taken back.
    pub const fn is_settled(self) -> bool {
        matches!(
            self,
            Self::Waiting | Self::Done | Self::Failed | Self::Undone | Self::Stuck
        )
    }
}

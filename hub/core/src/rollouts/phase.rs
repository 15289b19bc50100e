//! Where a rollout is.

use serde::{Deserialize, Serialize};

/// A phase. Every one but the ends has a deadline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The current step's sizes and weights are being made so.
    Setting,
    /// It waits as the step says.
    Waiting,
    /// The canary is compared with the baseline.
    Analysing,
    /// A gate has to be opened.
    Gated,
    /// A person has to go on: a step says so, or somebody paused it.
    Paused,
    /// Statistics could not decide; a person has to.
    Holding,
    /// All replicas get the new image.
    Promoting,
    /// What the rollout added is removed.
    Finishing,
    /// Everything is made as it was.
    RollingBack,
    /// The new image runs on all replicas. An end.
    Completed,
    /// Everything is as it was. An end.
    RolledBack,
    /// The new image runs, but something of the rollout could not be removed. An end; people are called.
    Failed,
    /// Not everything is as it was. An end; people are called.
    RollbackFailed,
}

impl Phase {
    /// Whether nothing happens any more by itself.
    pub fn is_end(&self) -> bool {
        match self {
            Self::Completed | Self::RolledBack | Self::Failed | Self::RollbackFailed => true,
            Self::Setting
            | Self::Waiting
            | Self::Analysing
            | Self::Gated
            | Self::Paused
            | Self::Holding
            | Self::Promoting
            | Self::Finishing
            | Self::RollingBack => false,
        }
    }

    /// Whether it still goes forward, so that it can be paused and aborted.
    pub fn is_forward(&self) -> bool {
        matches!(
            self,
            Self::Setting | Self::Waiting | Self::Analysing | Self::Gated | Self::Paused | Self::Holding
        )
    }

    /// The word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Setting => "setting",
            Self::Waiting => "waiting",
            Self::Analysing => "analysing",
            Self::Gated => "gated",
            Self::Paused => "paused",
            Self::Holding => "holding",
            Self::Promoting => "promoting",
            Self::Finishing => "finishing",
            Self::RollingBack => "rolling_back",
            Self::Completed => "completed",
            Self::RolledBack => "rolled_back",
            Self::Failed => "failed",
            Self::RollbackFailed => "rollback_failed",
        }
    }
}

//! Words for faults: how bad one is and what should be done. What is known of each code stands in `edge-agent/core/src/faults/`.

use serde::{Deserialize, Serialize};

/// How bad a fault is. The order is part of the wire format: add at the end only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// One application feels it.
    Low,
    /// It may come again; new work is better placed elsewhere.
    Medium,
    /// The device cannot be used as it is.
    High,
    /// The device is gone, or the machine may not be trusted.
    Critical,
}

impl Severity {
    /// The word in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

/// What should be done about a fault. The order is part of the wire format: add at the end only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum NextStep {
    /// Nothing but to know it.
    Record,
    /// Start the work again.
    RestartWork,
    /// Take work away and reset the GPU.
    DrainAndReset,
    /// Take work away and restart the machine.
    DrainAndReboot,
    /// Reset the GPU when nobody uses it.
    ResetWhenIdle,
    /// Look at links and cables.
    CheckLink,
    /// Another version of driver or firmware.
    UpdateSoftware,
    /// Keep work away and look at the hardware.
    Inspect,
    /// A person must decide.
    AskPerson,
    /// The driver names the action itself.
    FollowDriver,
}

impl NextStep {
    /// The word in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Record => "record",
            Self::RestartWork => "restart_work",
            Self::DrainAndReset => "drain_and_reset",
            Self::DrainAndReboot => "drain_and_reboot",
            Self::ResetWhenIdle => "reset_when_idle",
            Self::CheckLink => "check_link",
            Self::UpdateSoftware => "update_software",
            Self::Inspect => "inspect",
            Self::AskPerson => "ask_person",
            Self::FollowDriver => "follow_driver",
        }
    }

    /// What a person should do, as a sentence's end.
    pub const fn advice(self) -> &'static str {
        match self {
            Self::Record => "nothing needs to be done",
            Self::RestartWork => "start the application again",
            Self::DrainAndReset => "move its work away, then reset the GPU",
            Self::DrainAndReboot => "move the node's work away, then restart the machine",
            Self::ResetWhenIdle => "reset the GPU when nobody uses it, within a day",
            Self::CheckLink => "check links and cables, reset if one link stays down",
            Self::UpdateSoftware => "update driver or firmware",
            Self::Inspect => "keep work away and look at the hardware",
            Self::AskPerson => "keep new work away until somebody has looked at it",
            Self::FollowDriver => "do what the driver asks for",
        }
    }
}

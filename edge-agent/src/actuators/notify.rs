//! Tells people: the message goes to the log; the entry that carries it to the hub is the core's.

use edge_agent_core::{ActionResult, ProbeResult, Run};
use wire::{Action, ActionKind};

use super::Actuator;

/// The log as an actuator.
pub struct Notify;

impl Actuator for Notify {
    fn handles(&self, action: &Action) -> bool {
        matches!(action.kind, ActionKind::Notify { .. })
    }

    fn apply(&self, run: &Run) -> ActionResult {
        let ActionKind::Notify { message } = &run.action.kind else {
            return ActionResult::Failed {
                reason: "not a notification".to_owned(),
            };
        };
        tracing::warn!(target = %run.action.target, decision = %run.decision, message, "notification");
        ActionResult::Applied {
            before: None,
            after: None,
            detail: message.clone(),
        }
    }

    fn probe(&self, _run: &Run) -> ProbeResult {
        ProbeResult::Unknown {
            reason: "a message leaves no trace on the node".to_owned(),
        }
    }
}

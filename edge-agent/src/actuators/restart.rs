//! Restarts a supervised process: SIGTERM to its group, after the grace SIGKILL, then a new process.
//!
//! The supervisor remembers the decision before it sends the first signal, so a crash in between never leads to a second restart.

use edge_agent_core::{ActionResult, ProbeResult, Run};
use wire::{Action, ActionKind};

use super::Actuator;
use crate::supervisor::Orders;

/// The supervisor as an actuator.
pub struct Restart {
    orders: Orders,
}

impl Restart {
    /// Asks this supervisor.
    pub fn new(orders: Orders) -> Self {
        Self { orders }
    }
}

impl Actuator for Restart {
    fn handles(&self, action: &Action) -> bool {
        matches!(action.kind, ActionKind::Restart)
    }

    fn apply(&self, run: &Run) -> ActionResult {
        let name = run.action.target.name();
        if let ProbeResult::Done { value } = self.orders.probe(name, &run.decision) {
            return ActionResult::Applied {
                before: None,
                after: value,
                detail: "was already restarted for this decision".to_owned(),
            };
        }
        match self.orders.restart(name, &run.decision) {
            Ok((before, after)) => ActionResult::Applied {
                before: before.map(i64::from),
                after: Some(i64::from(after)),
                detail: match before {
                    Some(before) => format!("process {before} ended, process {after} runs"),
                    None => format!("process {after} runs"),
                },
            },
            Err(reason) => ActionResult::Failed { reason },
        }
    }

    fn probe(&self, run: &Run) -> ProbeResult {
        self.orders.probe(run.action.target.name(), &run.decision)
    }
}

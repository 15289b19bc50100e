//! The list of actuators: each carries one kind of action out, reads it back, and can say later whether it was done.
//!
//! They block on devices and processes, so each run has a blocking task of its own, never more than the core has under way (one for
//! each target). Nothing here judges: what arrives was granted and is durable. To add one: a file here, one line in [`Actuators::new`].
//!
//! Invariant: every run is answered exactly once, by `Input::ActionDone` or `Input::Probed`.

pub mod notify;
pub mod power_cap;
pub mod restart;
pub mod throttle;

use std::sync::Arc;

use edge_agent_core::{ActionResult, Input, ProbeResult, Run};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use wire::{Action, ActionKind};

use crate::probe::Probe;
use crate::supervisor::Orders;

/// Carries out one kind of action.
pub trait Actuator: Send + Sync {
    /// Whether this is its kind.
    fn handles(&self, kind: &ActionKind) -> bool;
    /// Does it and reads it back. Doing it twice is the same as doing it once, or the actuator knows the decision.
    fn apply(&self, run: &Run) -> ActionResult;
    /// Says whether it was done, and does nothing.
    fn probe(&self, run: &Run) -> ProbeResult;
}

/// All of them.
pub struct Actuators {
    list: Vec<Arc<dyn Actuator>>,
    running: JoinSet<()>,
    inputs: mpsc::Sender<Input>,
}

impl Actuators {
    /// The list.
    pub fn new(
        probe: Option<Probe>,
        orders: Orders,
        shares: Arc<throttle::Shares>,
        inputs: mpsc::Sender<Input>,
    ) -> Self {
        Self {
            list: vec![
                Arc::new(power_cap::PowerCap::new(probe)),
                Arc::new(restart::Restart::new(orders)),
                Arc::new(throttle::Throttle::new(shares)),
                Arc::new(notify::Notify),
            ],
            running: JoinSet::new(),
            inputs,
        }
    }

    /// Starts an action; its result comes as an input.
    pub fn start(&mut self, run: Run) {
        self.begin(run, |actuator, run| Input::ActionDone {
            decision: run.decision.clone(),
            result: match actuator {
                Some(actuator) => actuator.apply(run),
                None => ActionResult::Failed {
                    reason: unknown(&run.action),
                },
            },
        });
    }

    /// Starts finding out whether an action was done.
    pub fn probe(&mut self, run: Run) {
        self.begin(run, |actuator, run| Input::Probed {
            decision: run.decision.clone(),
            result: match actuator {
                Some(actuator) => actuator.probe(run),
                None => ProbeResult::Unknown {
                    reason: unknown(&run.action),
                },
            },
        });
    }

    fn begin(&mut self, run: Run, work: fn(Option<&dyn Actuator>, &Run) -> Input) {
        while self.running.try_join_next().is_some() {}
        let found = self.list.iter().find(|one| one.handles(&run.action.kind)).cloned();
        let inputs = self.inputs.clone();
        self.running.spawn_blocking(move || {
            let input = work(found.as_deref(), &run);
            // Fails only when the loop has ended; the next process probes what was begun.
            let _ = inputs.blocking_send(input);
        });
    }
}

fn unknown(action: &Action) -> String {
    format!("this agent has no actuator for `{}`", action.kind.name())
}

//! The list of actuators: each carries one kind of action out, reads it back, and can say later whether it was done.
//!
//! They block on devices and processes, so each run has a thread of its own (one for each target is under way at most), which waits for
//! no file system and no resolver. Nothing here judges: what arrives was granted and is durable. To add one: a file here, one line in [`Actuators::new`].
//!
//! Invariant: every run is answered exactly once, by `Input::ActionDone` or `Input::Probed`.

pub mod clocks;
pub mod hooks;
pub mod notify;
pub mod power_cap;
pub mod restart;
pub mod throttle;
pub mod units;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use edge_agent_core::{ActionResult, Input, ProbeResult, Run};
use firmware_profiles::Catalogue;
use tokio::sync::mpsc;
use wire::Action;

use crate::config::Hooks;
use crate::probe::Probe;
use crate::supervisor::Orders;
use crate::units::UnitSettings;

/// Carries out one kind of action.
pub trait Actuator: Send + Sync {
    /// Whether it is its kind, and its kind of target.
    fn handles(&self, action: &Action) -> bool;
    /// Does it and reads it back. Doing it twice is the same as doing it once, or the actuator knows the decision.
    fn apply(&self, run: &Run) -> ActionResult;
    /// Says whether it was done, and does nothing.
    fn probe(&self, run: &Run) -> ProbeResult;
}

/// All of them.
pub struct Actuators {
    list: Vec<Arc<dyn Actuator>>,
    inputs: mpsc::Sender<Input>,
}

impl Actuators {
    /// The list.
    pub fn new(
        (probe, profiles): (Option<Probe>, Catalogue),
        hooks: (Hooks, &Path),
        orders: Orders,
        shares: Arc<throttle::Shares>,
        units: Vec<UnitSettings>,
        inputs: mpsc::Sender<Input>,
    ) -> Self {
        Self {
            list: vec![
                Arc::new(power_cap::PowerCap::new(probe.clone(), profiles)),
                Arc::new(clocks::Clocks::new(probe.clone())),
                Arc::new(hooks::Hooks::new(hooks.0, hooks.1, probe)),
                // Before those that know no units.
                Arc::new(units::Units::new(units, hooks.1)),
                Arc::new(restart::Restart::new(orders)),
                Arc::new(throttle::Throttle::new(shares)),
                Arc::new(notify::Notify),
            ],
            inputs,
        }
    }

    /// Starts an action; its result comes as an input.
    pub fn start(&self, run: Run) {
        let failed = |run: &Run, reason| Input::ActionDone {
            decision: run.decision.clone(),
            result: ActionResult::Failed { reason },
        };
        let apply = |actuator: &dyn Actuator, run: &Run| Input::ActionDone {
            decision: run.decision.clone(),
            result: actuator.apply(run),
        };
        self.begin(run, apply, failed);
    }

    /// Starts finding out whether an action was done.
    pub fn probe(&self, run: Run) {
        let unknown = |run: &Run, reason| Input::Probed {
            decision: run.decision.clone(),
            result: ProbeResult::Unknown { reason },
        };
        let probe = |actuator: &dyn Actuator, run: &Run| Input::Probed {
            decision: run.decision.clone(),
            result: actuator.probe(run),
        };
        self.begin(run, probe, unknown);
    }

    fn begin(&self, run: Run, work: fn(&dyn Actuator, &Run) -> Input, failed: fn(&Run, String) -> Input) {
        let found = self.list.iter().find(|one| one.handles(&run.action)).cloned();
        let inputs = self.inputs.clone();
        let work = move || {
            let input = match found {
                Some(actuator) => catch_unwind(AssertUnwindSafe(|| work(&*actuator, &run)))
                    .unwrap_or_else(|_| failed(&run, "its actuator failed: the log says why".to_owned())),
                None => failed(&run, unknown(&run.action)),
            };
            // Fails only when the loop has ended; the next process probes what was begun.
            let _ = inputs.blocking_send(input);
        };
        if let Err(error) = std::thread::Builder::new().name("actuator".to_owned()).spawn(work) {
            // What was granted and cannot start is lost after a while, and judged anew.
            tracing::error!(%error, "an action cannot be started");
        }
    }
}

fn unknown(action: &Action) -> String {
    format!("this agent has no actuator for `{}`", action.kind.name())
}

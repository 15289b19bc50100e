//! Keeps a GPU's SM clock at or below a value, or lets it go, through the GPU probe.
//!
//! A driver tells the present clock and not whether it is locked: a clock above the limit right after it was set is a failure, one below
//! it proves nothing after a crash.

use edge_agent_core::{ActionResult, ProbeResult, Run};
use wire::probe::{Ask, Reply, Write};
use wire::{Action, ActionKind};

use super::Actuator;
use crate::probe::Probe;

/// The least clock of a lock: a GPU may always be slower.
const LEAST_MHZ: u32 = 0;

/// The probe as an actuator; `None` on a node without one.
pub struct Clocks {
    probe: Option<Probe>,
}

impl Clocks {
    /// Sets through this probe.
    pub fn new(probe: Option<Probe>) -> Self {
        Self { probe }
    }

    fn try_apply(&self, run: &Run) -> Result<ActionResult, String> {
        let probe = self.probe.as_ref().ok_or("this node has no GPU probe")?;
        let uuid = probe
            .uuid(&run.action.target)
            .ok_or_else(|| format!("the probe knows no {}", run.action.target))?;
        let (write, most) = match run.action.kind {
            ActionKind::LockClocks { max_mhz } => (
                Write::ClockLock {
                    min_mhz: LEAST_MHZ,
                    max_mhz,
                },
                Some(i64::from(max_mhz)),
            ),
            _ => (Write::ResetClockLock, None),
        };
        let reply = probe
            .call(Ask::Write { uuid, write })
            .map_err(|error| error.to_string())?;
        let Reply::Written { before, after } = reply else {
            return Err(format!("the probe answered something else: {reply:?}"));
        };
        match (most, after) {
            (Some(most), Some(after)) if after > most => Err(format!(
                "the clock reads back as {after} MHz, wanted was at most {most} MHz"
            )),
            (most, after) => Ok(ActionResult::Applied {
                before,
                after,
                detail: match (most, after) {
                    (Some(most), Some(after)) => format!("locked to at most {most} MHz, runs at {after} MHz"),
                    (Some(most), None) => format!("locked to at most {most} MHz; the driver does not tell the clock"),
                    (None, _) => "the clock is free".to_owned(),
                },
            }),
        }
    }
}

impl Actuator for Clocks {
    fn handles(&self, action: &Action) -> bool {
        matches!(action.kind, ActionKind::LockClocks { .. } | ActionKind::UnlockClocks)
    }

    fn apply(&self, run: &Run) -> ActionResult {
        self.try_apply(run)
            .unwrap_or_else(|reason| ActionResult::Failed { reason })
    }

    fn probe(&self, _run: &Run) -> ProbeResult {
        ProbeResult::Unknown {
            reason: "a driver does not tell whether a clock is locked; setting it again does no harm".to_owned(),
        }
    }
}

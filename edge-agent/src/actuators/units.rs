//! Restart, throttle and unthrottle of workloads that systemd keeps.
//!
//! Before anything is asked of systemd it is on the disk what was there before: the run of the unit, so that after a crash another run
//! proves that the restart happened, and the unit's own share of a core, so that it gets that one back and not more.
//!
//! Invariants: one restart for each decision; a share reads back as it was set, or the action has failed.
//! Read next: `units/manager.rs` (what is asked of systemd).

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use edge_agent_core::{ActionResult, ProbeResult, Run};
use serde::{Deserialize, Serialize};
use wire::{Action, ActionKind, DecisionId};

use super::Actuator;
use crate::units::{BusError, Manager, State, UnitSettings, chain};

/// systemd kills a unit that does not stop after 90 seconds, and gives it as long to start.
const PATIENCE: Duration = Duration::from_secs(200);

/// systemd as an actuator.
pub struct Units {
    units: Vec<UnitSettings>,
    folder: PathBuf,
}

/// What was there before.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    /// For which decision it was started again, and which run it was then.
    restart: Option<(DecisionId, Vec<u8>)>,
    /// Its own share, while it is throttled.
    own: Option<Share>,
}

/// A share of the processors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Share {
    /// Microseconds a second; `None`: all there is.
    quota_us: Option<u64>,
}

impl Units {
    /// Acts on these, and keeps its records in the state folder.
    pub fn new(units: Vec<UnitSettings>, state_dir: &Path) -> Self {
        Self {
            units,
            folder: state_dir.join("units"),
        }
    }

    fn unit(&self, action: &Action) -> Option<&UnitSettings> {
        self.units.iter().find(|unit| unit.device == action.target)
    }

    fn file(&self, unit: &UnitSettings) -> PathBuf {
        self.folder.join(format!("{}.json", unit.device.name()))
    }

    fn record(&self, unit: &UnitSettings) -> Record {
        let bytes = fs::read(self.file(unit)).unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or_default()
    }

    fn remember(&self, unit: &UnitSettings, record: &Record) -> Result<(), String> {
        let file = self.file(unit);
        let fresh = file.with_extension("new");
        let write = || -> io::Result<()> {
            fs::create_dir_all(&self.folder)?;
            fs::write(&fresh, serde_json::to_vec(record)?)?;
            File::open(&fresh)?.sync_all()?;
            fs::rename(&fresh, &file)
        };
        write().map_err(|error| format!("`{}` cannot be written: {error}", file.display()))
    }

    fn try_apply(&self, run: &Run) -> Result<ActionResult, String> {
        let unit = self.unit(&run.action).ok_or("no unit of systemd is called so")?;
        let deadline = Instant::now() + PATIENCE;
        let mut manager = Manager::connect(deadline).map_err(|error| chain(&error))?;
        let before = manager.state(&unit.unit, deadline).map_err(|error| chain(&error))?;
        if before.load != "loaded" {
            return Err(format!("systemd says that {} is {}", unit.unit, before.load));
        }
        match run.action.kind {
            ActionKind::Throttle { share_bp } => self.set_share(&mut manager, unit, &before, Some(share_bp), deadline),
            ActionKind::Unthrottle => self.set_share(&mut manager, unit, &before, None, deadline),
            _ => self.restart(&mut manager, unit, &before, run, deadline),
        }
    }

    fn restart(
        &self,
        manager: &mut Manager,
        unit: &UnitSettings,
        before: &State,
        run: &Run,
        deadline: Instant,
    ) -> Result<ActionResult, String> {
        let mut record = self.record(unit);
        if restarted(&record, &run.decision, before) == Some(true) {
            return Ok(applied(
                None,
                before,
                "was already restarted for this decision".to_owned(),
            ));
        }
        record.restart = Some((run.decision.clone(), before.invocation.clone()));
        self.remember(unit, &record)?;
        let done = manager.restart(&unit.unit, deadline).map_err(|error| chain(&error))?;
        done.map_err(|result| format!("systemd could not start {} again: {result}", unit.unit))?;
        let after = manager.state(&unit.unit, deadline).map_err(|error| chain(&error))?;
        if after.active != "active" {
            return Err(format!("{} was started again and is {}", unit.unit, after.active));
        }
        let detail = format!("{} runs anew, {}", unit.unit, processes(before.pid, after.pid));
        Ok(applied(before.pid, &after, detail))
    }

    /// Sets a share of a core, or gives the unit its own one back.
    fn set_share(
        &self,
        manager: &mut Manager,
        unit: &UnitSettings,
        before: &State,
        share_bp: Option<u16>,
        deadline: Instant,
    ) -> Result<ActionResult, String> {
        let mut record = self.record(unit);
        let wanted = match share_bp {
            Some(share_bp) => {
                if record.own.is_none() {
                    record.own = Some(Share {
                        quota_us: before.quota_us,
                    });
                    self.remember(unit, &record)?;
                }
                Some(u64::from(share_bp) * US_PER_BP)
            }
            None => record.own.map_or(before.quota_us, |own| own.quota_us),
        };
        let set = |error: BusError| chain(&error);
        manager.set_quota(&unit.unit, wanted, deadline).map_err(set)?;
        let after = manager.state(&unit.unit, deadline).map_err(set)?;
        if after.quota_us != wanted {
            return Err(format!(
                "the share of {} reads back as {}, wanted was {}",
                unit.unit,
                words(after.quota_us),
                words(wanted)
            ));
        }
        if share_bp.is_none() && record.own.take().is_some() {
            self.remember(unit, &record)?;
        }
        Ok(ActionResult::Applied {
            before: before.quota_us.and_then(basis_points),
            after: after.quota_us.and_then(basis_points),
            detail: format!("{} may use {}", unit.unit, words(after.quota_us)),
        })
    }

    fn try_probe(&self, run: &Run) -> Result<ProbeResult, String> {
        let unit = self.unit(&run.action).ok_or("no unit of systemd is called so")?;
        let deadline = Instant::now() + PATIENCE;
        let mut manager = Manager::connect(deadline).map_err(|error| chain(&error))?;
        let state = manager.state(&unit.unit, deadline).map_err(|error| chain(&error))?;
        let is_done = match run.action.kind {
            ActionKind::Throttle { share_bp } => state.quota_us == Some(u64::from(share_bp) * US_PER_BP),
            ActionKind::Unthrottle => self.record(unit).own.is_none(),
            _ => restarted(&self.record(unit), &run.decision, &state) == Some(true),
        };
        let value = match run.action.kind {
            ActionKind::Restart => state.pid.map(i64::from),
            _ => state.quota_us.and_then(basis_points),
        };
        Ok(match is_done {
            true => ProbeResult::Done { value },
            false => ProbeResult::NotDone { value },
        })
    }
}

/// Microseconds a second of a hundredth of a percent of a core.
const US_PER_BP: u64 = 100;

fn basis_points(quota_us: u64) -> Option<i64> {
    i64::try_from(quota_us / US_PER_BP).ok()
}

/// Whether the unit was started again for a decision; `None`: nobody began that.
fn restarted(record: &Record, decision: &DecisionId, state: &State) -> Option<bool> {
    let (of, invocation) = record.restart.as_ref()?;
    (of == decision).then_some(*invocation != state.invocation)
}

fn applied(before: Option<u32>, after: &State, detail: String) -> ActionResult {
    ActionResult::Applied {
        before: before.map(i64::from),
        after: after.pid.map(i64::from),
        detail,
    }
}

fn processes(before: Option<u32>, after: Option<u32>) -> String {
    let word = |pid: Option<u32>| pid.map_or_else(|| "no process".to_owned(), |pid| format!("process {pid}"));
    format!("{} ended, {} runs", word(before), word(after))
}

fn words(quota_us: Option<u64>) -> String {
    match quota_us {
        Some(quota_us) => format!("{}.{:02} % of a core", quota_us / 10_000, quota_us / 100 % 100),
        None => "all cores".to_owned(),
    }
}

impl Actuator for Units {
    fn handles(&self, action: &Action) -> bool {
        let is_ours = matches!(
            action.kind,
            ActionKind::Restart | ActionKind::Throttle { .. } | ActionKind::Unthrottle
        );
        is_ours && self.unit(action).is_some()
    }

    fn apply(&self, run: &Run) -> ActionResult {
        self.try_apply(run)
            .unwrap_or_else(|reason| ActionResult::Failed { reason })
    }

    fn probe(&self, run: &Run) -> ProbeResult {
        self.try_probe(run)
            .unwrap_or_else(|reason| ProbeResult::Unknown { reason })
    }
}

#[cfg(test)]
mod tests {
    use wire::{AgentId, Epoch, Seq};

    use super::*;

    fn decision(seq: u64) -> DecisionId {
        DecisionId {
            agent: AgentId::new("a").expect("valid"),
            epoch: Epoch(1),
            seq: Seq(seq),
        }
    }

    #[test]
    fn another_run_of_the_unit_proves_that_it_was_started_again() {
        let state = |run: u8| State {
            active: "active".to_owned(),
            load: "loaded".to_owned(),
            pid: Some(7),
            invocation: vec![run; 16],
            restarts: 0,
            quota_us: None,
        };
        let record = Record {
            restart: Some((decision(3), vec![1; 16])),
            own: None,
        };
        assert_eq!(restarted(&record, &decision(3), &state(1)), Some(false));
        assert_eq!(restarted(&record, &decision(3), &state(2)), Some(true));
        assert_eq!(restarted(&record, &decision(4), &state(2)), None);
        assert_eq!(restarted(&Record::default(), &decision(3), &state(2)), None);
    }

    #[test]
    fn what_was_before_outlives_a_crash() {
        let folder = tempfile::tempdir().expect("a folder");
        let unit = UnitSettings {
            device: wire::DeviceId::workload("train").expect("a name"),
            unit: "train.service".to_owned(),
        };
        let units = Units::new(vec![unit.clone()], folder.path());
        assert_eq!(units.record(&unit), Record::default());
        let record = Record {
            restart: Some((decision(3), vec![1; 16])),
            own: Some(Share { quota_us: None }),
        };
        for quota_us in [None, Some(2_000_000)] {
            let record = Record {
                own: Some(Share { quota_us }),
                ..record.clone()
            };
            units.remember(&unit, &record).expect("written");
            assert_eq!(Units::new(vec![unit.clone()], folder.path()).record(&unit), record);
        }
        let restart = |target| Action {
            target,
            kind: ActionKind::Restart,
        };
        assert!(units.handles(&restart(unit.device)));
        assert!(!units.handles(&restart(wire::DeviceId::workload("other").expect("a name"))));
        assert_eq!(words(Some(1_505_000)), "150.50 % of a core");
    }
}

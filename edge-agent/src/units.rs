//! Workloads that systemd keeps: this agent watches them, and acts on them through the system's D-Bus.
//!
//! A thread of its own looks every few seconds how the units stand, tells the core when one starts or ends, and lists their processes for
//! the sampler. Never starts or stops anything: `actuators/units.rs` does, when an action was granted.
//!
//! Invariant: a bus that hangs or is gone holds up nothing else; it is a finding.
//! Read next: `units/manager.rs` (what is asked of systemd).

mod bus;
mod manager;
mod message;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Thread;
use std::time::{Duration, Instant};

use edge_agent_core::Input;
use tokio::sync::mpsc;
use wire::DeviceId;

use crate::sensors::process::{WatchList, Watched, listed};
use crate::watch::Watch;
pub use bus::BusError;
pub use manager::{Manager, State};

/// Between two looks.
const EVERY: Duration = Duration::from_secs(5);
/// For one look at all units. systemd answers in a millisecond, except while it is reloading.
const PATIENCE: Duration = Duration::from_secs(10);
/// A finding is told under this name.
const PART: &str = "units";

/// One unit that is a workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitSettings {
    /// `workload:NAME`.
    pub device: DeviceId,
    /// `NAME.service`.
    pub unit: String,
}

/// The thread, where there is something to watch.
pub struct Units {
    stop: Arc<AtomicBool>,
    thread: Option<Thread>,
}

impl Units {
    /// Watches these units; of none there is no thread.
    pub fn start(
        units: Vec<UnitSettings>,
        watched: WatchList,
        inputs: mpsc::Sender<Input>,
        watch: &Watch,
    ) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        if units.is_empty() {
            return Ok(Self { stop, thread: None });
        }
        let stopped = stop.clone();
        let mut look = Look {
            units,
            watched,
            inputs,
            told: BTreeMap::new(),
            failing: None,
        };
        let handle = watch.thread("units", move || {
            let mut manager = None;
            while !stopped.load(Ordering::Relaxed) {
                if look.at_all(&mut manager).is_err() {
                    return;
                }
                std::thread::park_timeout(EVERY);
            }
        })?;
        Ok(Self {
            stop,
            thread: Some(handle.thread().clone()),
        })
    }

    /// Asks the thread to end.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = &self.thread {
            thread.unpark();
        }
    }
}

/// The turn loop has ended.
struct Ended;

struct Look {
    units: Vec<UnitSettings>,
    watched: WatchList,
    inputs: mpsc::Sender<Input>,
    /// Of each unit, what was told last: its process.
    told: BTreeMap<DeviceId, Option<u32>>,
    failing: Option<String>,
}

impl Look {
    fn at_all(&mut self, manager: &mut Option<Manager>) -> Result<(), Ended> {
        let deadline = Instant::now() + PATIENCE;
        let states = ask(manager, &self.units, deadline);
        let why = match &states {
            Ok(_) => None,
            Err(error) => {
                *manager = None;
                Some(format!("systemd cannot be asked how its units stand: {}", chain(error)))
            }
        };
        if why != self.failing {
            self.failing.clone_from(&why);
            let part = PART.to_owned();
            self.tell(Input::Finding { part, why })?;
        }
        let Ok(states) = states else { return Ok(()) };
        let rows: Vec<Watched> = self.units.iter().zip(&states).map(row).collect();
        {
            let mut list = listed(&self.watched);
            list.retain(|one| one.unit.is_none());
            list.extend(rows);
        }
        for (unit, state) in self.units.clone().iter().zip(&states) {
            let before = self.told.insert(unit.device.clone(), state.pid);
            if before == Some(state.pid) {
                continue;
            }
            let detail = match state.load.as_str() {
                "loaded" => format!("{} is {}", unit.unit, state.active),
                load => format!("{} is {load}", unit.unit),
            };
            let name = unit.device.name().to_owned();
            let pid = state.pid;
            self.tell(Input::Workload { name, pid, detail })?;
        }
        Ok(())
    }

    fn tell(&self, input: Input) -> Result<(), Ended> {
        self.inputs.blocking_send(input).map_err(|_| Ended)
    }
}

fn row((unit, state): (&UnitSettings, &State)) -> Watched {
    Watched {
        device: unit.device.clone(),
        pid: state.pid,
        restarts: state.restarts,
        unit: Some(unit.unit.clone()),
    }
}

fn ask(manager: &mut Option<Manager>, units: &[UnitSettings], deadline: Instant) -> Result<Vec<State>, BusError> {
    let manager = match manager {
        Some(manager) => manager,
        none => none.insert(Manager::connect(deadline)?),
    };
    units.iter().map(|unit| manager.state(&unit.unit, deadline)).collect()
}

/// An error with its causes, on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

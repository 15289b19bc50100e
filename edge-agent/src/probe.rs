//! The agent's end of the pipe to a GPU probe: a child process with a deadline for every call.
//!
//! A thread of its own speaks `wire::probe` with the child. A call that is not answered in time is given up; after two in a row the
//! child is abandoned (killed, never waited for) and another is started with backoff, but never while an abandoned one still
//! lingers in the kernel. Never blocks the turn loop, and never decides what a value means.
//!
//! Invariants: a call returns within its deadline, whatever the child does; at most one abandoned child exists; outside of this file a GPU's
//! number is its name for good, whatever place the driver gives it (`probe/names.rs`).
//! Read next: `probe/keeper.rs` (the thread), `probe/round.rs` (what an answer says), `probe/pipe.rs` (one call), `wire::probe` (the protocol), `actuators/power_cap.rs` (who sets).

mod builtin;
mod keeper;
mod names;
mod pipe;
mod round;
mod users;

pub use builtin::{Builtin, command as builtin_command, find_library};

use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use edge_agent_core::Input;
use tokio::sync::mpsc;
use wire::frame::DeviceInfo;
use wire::probe::{self, Ask, GpuValues, Reply};
use wire::{DeviceId, Quantity};

use crate::faults::Faults;
use crate::sensors::Round;
use crate::sensors::process::WatchList;
use crate::watch::Watch;
use keeper::Keeper;
use round::{Known, measured, missing, note};

/// Calls that may wait: the sampler's, and one actuator's for each of a few GPUs.
const WAITING: usize = 8;

/// How to start a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeSettings {
    /// Program and arguments.
    pub command: Vec<String>,
    /// Keeps the program alive as a file while the command names it.
    pub builtin: Option<Builtin>,
    /// For each call.
    pub deadline: Duration,
    /// Where the names of GPUs are kept; `None`: for as long as the process lives.
    pub names: Option<PathBuf>,
}

/// Why a call has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    /// The probe does not answer at the moment.
    #[error("the GPU probe does not answer")]
    Silent,
    /// It answered with an error.
    #[error("{0}")]
    Refused(String),
}

struct Call {
    ask: Ask,
    answer: SyncSender<Result<Reply, ProbeError>>,
}

/// A handle to the probe's thread.
#[derive(Clone)]
pub struct Probe {
    calls: SyncSender<Call>,
    known: Arc<Mutex<Known>>,
    deadline: Duration,
    faults: Faults,
}

impl Probe {
    /// Starts the thread, which starts the child. `others` are the devices that are not GPUs: whenever the GPUs are known anew, the core
    /// is told of all of them.
    pub fn start(
        settings: ProbeSettings,
        others: Vec<DeviceInfo>,
        inputs: mpsc::Sender<Input>,
        (faults, watched, watch): (Faults, WatchList, &Watch),
    ) -> io::Result<Self> {
        let (calls, waiting) = sync_channel(WAITING);
        let known = Arc::new(Mutex::new(Known::default()));
        let deadline = settings.deadline;
        let keeper = Keeper::new(settings, others, inputs, known.clone(), (faults.clone(), watched))?;
        watch.thread("gpu-probe", move || keeper.work(&waiting))?;
        Ok(Self {
            calls,
            known,
            deadline,
            faults,
        })
    }

    /// Makes one call. Blocks for a few deadlines at most, so it is for the sampler's and the actuators' threads.
    pub fn call(&self, ask: Ask) -> Result<Reply, ProbeError> {
        // Others' calls may come first, each with its own deadline.
        self.call_within(ask, self.deadline * (WAITING as u32 + 1))
    }

    fn call_within(&self, ask: Ask, patience: Duration) -> Result<Reply, ProbeError> {
        let (answer, answered) = sync_channel(1);
        self.calls
            .try_send(Call { ask, answer })
            .map_err(|_| ProbeError::Silent)?;
        match answered.recv_timeout(patience) {
            Ok(Ok(Reply::Failed { reason })) => Err(ProbeError::Refused(reason)),
            Ok(result) => result,
            Err(_) => Err(ProbeError::Silent),
        }
    }

    /// The UUID of a GPU of this node, once the driver has told it.
    pub fn uuid(&self, device: &DeviceId) -> Option<String> {
        let known = self.known();
        let mut all = known.uuids.iter();
        let found = all.find(|(_, number)| DeviceId::gpu(**number) == *device);
        found.map(|(uuid, _)| uuid.clone())
    }

    /// Adds one round of GPU readings. Without an answer within `patience` they are missing in this round.
    pub fn sample(&self, round: &mut Round, patience: Duration) {
        let version = self.known().version;
        // What waits here needs a little of the patience to hear of the answer.
        let patience_ms = u32::try_from(patience.as_millis() * 4 / 5).unwrap_or(u32::MAX);
        let ask = match version {
            0 | probe::OLDEST => Ask::Read,
            _ => Ask::Measure { patience_ms },
        };
        let reply = self.call_within(ask, patience);
        let mut known = self.known();
        round.note(&DeviceId::node(), Quantity::GpuProbe, Some(i64::from(known.answering)));
        match &reply {
            Ok(Reply::Measured { gpus, events }) => {
                let seen = measured(&mut known, round, gpus, events);
                drop(known);
                seen.sightings
                    .into_iter()
                    .for_each(|sighting| self.faults.saw(sighting));
                seen.well.into_iter().for_each(|device| self.faults.well(device));
            }
            _ if version > probe::OLDEST => missing(&known, round),
            reply => {
                let read = match reply {
                    Ok(Reply::Read(gpus)) => gpus.as_slice(),
                    Ok(_) | Err(_) => &[],
                };
                for number in &known.gpus {
                    let values = read.get(*number as usize).and_then(|gpu| gpu.as_ref().ok());
                    note(round, *number, values.unwrap_or(&GpuValues::default()));
                }
            }
        }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    struct Running {
        probe: Probe,
        inputs: mpsc::Receiver<Input>,
    }

    fn start(script: &str) -> Running {
        let (sender, inputs) = mpsc::channel(64);
        let settings = ProbeSettings {
            command: ["sh", "-c", script].map(str::to_owned).to_vec(),
            builtin: None,
            deadline: Duration::from_millis(60),
            names: None,
        };
        let faults = Faults::new(sender.clone());
        let watch = Watch::new().0;
        let probe =
            Probe::start(settings, Vec::new(), sender, (faults, WatchList::default(), &watch)).expect("a thread");
        Running { probe, inputs }
    }

    fn finding(running: &mut Running) -> String {
        match running.inputs.blocking_recv() {
            Some(Input::Probe {
                answering: false,
                detail,
            }) => detail,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_probe_that_hangs_is_a_finding_and_no_call_waits_for_it() {
        let mut running = start("exec sleep 100");
        let began = Instant::now();
        assert_eq!(running.probe.call(Ask::Read), Err(ProbeError::Silent));
        assert!(began.elapsed() < Duration::from_secs(5));
        assert!(finding(&mut running).contains("hung"));
    }

    #[test]
    fn garbage_and_an_early_end_are_findings() {
        let mut garbage = start("yes; sleep 100");
        assert!(finding(&mut garbage).contains("bytes"), "a length beyond the bound");
        let mut ended = start("exit 3");
        assert!(finding(&mut ended).contains("ended"));
        let (sender, inputs) = mpsc::channel(4);
        let settings = ProbeSettings {
            command: vec!["/nonexistent/probe".to_owned()],
            builtin: None,
            deadline: Duration::from_millis(50),
            names: None,
        };
        let faults = Faults::new(sender.clone());
        let watch = Watch::new().0;
        let probe =
            Probe::start(settings, Vec::new(), sender, (faults, WatchList::default(), &watch)).expect("a thread");
        assert!(finding(&mut Running { probe, inputs }).contains("cannot start"));
    }

    #[test]
    fn readings_of_a_silent_probe_are_missing() {
        let running = start("exec sleep 100");
        running.probe.known.lock().expect("whole").gpus.insert(0);
        let mut round = Round::default();
        running.probe.sample(&mut round, Duration::from_millis(1));
        assert_eq!(round.readings[0].value, Some(0), "gpu.probe");
        assert!(round.readings[1..].iter().all(|reading| reading.value.is_none()));
        assert_eq!(round.readings.len(), 12);
    }
}

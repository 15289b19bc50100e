//! The agent's end of the pipe to a GPU probe: a child process with a deadline for every call.
//!
//! A thread of its own speaks `wire::probe` with the child. A call that is not answered in time is given up; after two in a row the
//! child is abandoned (killed, never waited for) and another is started with backoff, but never while an abandoned one still
//! lingers in the kernel. Never blocks the turn loop, and never decides what a value means.
//!
//! Invariants: a call returns within its deadline, whatever the child does; at most one abandoned child exists; outside of this file a GPU's
//! number is its name for good, whatever place the driver gives it (`probe/names.rs`).
//! Read next: `probe/pipe.rs` (one call), `wire::probe` (the protocol), `actuators/power_cap.rs` (who sets).

mod names;
mod pipe;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use edge_agent_core::Input;
use tokio::sync::mpsc;
use wire::frame::DeviceInfo;
use wire::probe::{self, Ask, GpuInfo, GpuValues, Reply};
use wire::{DeviceId, Quantity};

use crate::sensors::Round;
use crate::watch::Watch;
use names::Names;
use pipe::{CallError, Pipe};

/// Calls that may wait: the sampler's, and one actuator's for each of a few GPUs.
const WAITING: usize = 8;
/// A driver may take seconds to come up: so many deadlines for the first call.
const HELLO_DEADLINES: u32 = 5;
/// Deadlines in a row after which the child is abandoned.
const MISSES: u32 = 2;
const FIRST_RESTART: Duration = Duration::from_secs(1);
/// A driver that does not come back is asked once a minute.
const LAST_RESTART: Duration = Duration::from_secs(60);

/// Reads after which the GPUs are listed anew.
const LIST_EVERY: u32 = 60;
/// Reads in a row that must fail before a GPU is said to be unreadable.
const UNREAD: u32 = 3;

/// How to start a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeSettings {
    /// Program and arguments.
    pub command: Vec<String>,
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

#[derive(Debug, Default)]
struct Known {
    /// Numbers of all GPUs that were there since the start.
    gpus: BTreeSet<u32>,
    answering: bool,
}

/// A handle to the probe's thread.
#[derive(Clone)]
pub struct Probe {
    calls: SyncSender<Call>,
    known: Arc<Mutex<Known>>,
    deadline: Duration,
}

impl Probe {
    /// Starts the thread, which starts the child. `others` are the devices that are not GPUs: whenever the GPUs are known anew, the core
    /// is told of all of them.
    pub fn start(
        settings: ProbeSettings,
        others: Vec<DeviceInfo>,
        inputs: mpsc::Sender<Input>,
        watch: &Watch,
    ) -> io::Result<Self> {
        let (calls, waiting) = sync_channel(WAITING);
        let known = Arc::new(Mutex::new(Known::default()));
        let deadline = settings.deadline;
        let names = Names::open(settings.names.clone())?;
        let keeper = Keeper {
            settings,
            names,
            listed: Vec::new(),
            reads: 0,
            unread: BTreeMap::new(),
            others,
            inputs,
            known: known.clone(),
            running: None,
            abandoned: None,
            restart_at: Instant::now(),
            backoff: FIRST_RESTART,
            misses: 0,
            told: None,
        };
        watch.thread("gpu-probe", move || keeper.work(&waiting))?;
        Ok(Self { calls, known, deadline })
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

    /// Adds one round of GPU readings. Without an answer within `patience` they are missing in this round.
    pub fn sample(&self, round: &mut Round, patience: Duration) {
        let reply = self.call_within(Ask::Read, patience);
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        round.note(&DeviceId::node(), Quantity::GpuProbe, Some(i64::from(known.answering)));
        let read = match &reply {
            Ok(Reply::Read(gpus)) => gpus.as_slice(),
            Ok(_) | Err(_) => &[],
        };
        for number in &known.gpus {
            let values = read.get(*number as usize).and_then(|gpu| gpu.as_ref().ok());
            note(round, *number, values.unwrap_or(&GpuValues::default()));
        }
    }
}

fn note(round: &mut Round, number: u32, values: &GpuValues) {
    let device = DeviceId::gpu(number);
    for (quantity, value) in [
        (Quantity::GpuTemperature, values.temperature_mc),
        (Quantity::GpuMemoryTemperature, values.memory_temperature_mc),
        (Quantity::GpuPower, values.power_mw),
        (Quantity::GpuPowerCap, values.power_cap_mw),
        (Quantity::GpuUsed, values.used_bp),
        (Quantity::GpuMemoryUsed, values.memory_used),
        (Quantity::GpuMemoryTotal, values.memory_total),
        (Quantity::GpuClock, values.clock_mhz),
        (Quantity::GpuFan, values.fan_bp),
        (Quantity::GpuEccUncorrected, values.ecc_uncorrected),
        (Quantity::GpuThrottleReasons, values.throttle_reasons),
    ] {
        round.note(&device, quantity, value);
    }
}

/// Stands in a list for a GPU that is not there: nothing can be asked of it.
fn nobody() -> GpuInfo {
    GpuInfo {
        uuid: String::new(),
        model: String::new(),
        min_power_cap_mw: 0,
        max_power_cap_mw: 0,
        default_power_cap_mw: 0,
    }
}

type ChildPipe = Pipe<std::process::ChildStdout, std::process::ChildStdin>;

struct Keeper {
    settings: ProbeSettings,
    others: Vec<DeviceInfo>,
    inputs: mpsc::Sender<Input>,
    known: Arc<Mutex<Known>>,
    running: Option<(Child, ChildPipe)>,
    /// Killed, and perhaps stuck in the driver for ever.
    abandoned: Option<Child>,
    restart_at: Instant,
    backoff: Duration,
    misses: u32,
    /// What the core was told last.
    told: Option<bool>,
    names: Names,
    /// What the driver listed last.
    listed: Vec<GpuInfo>,
    reads: u32,
    /// How often in a row a GPU could not be read.
    unread: BTreeMap<u32, u32>,
}

impl Keeper {
    fn work(mut self, calls: &Receiver<Call>) {
        loop {
            if self.running.is_none() && Instant::now() >= self.restart_at {
                self.restart();
            }
            let call = if self.running.is_some() {
                calls.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                let wait = self.restart_at.saturating_duration_since(Instant::now());
                calls.recv_timeout(wait.max(Duration::from_millis(10)))
            };
            match call {
                Ok(call) => {
                    let result = self.answer(&call.ask);
                    // Whoever asked may have given up.
                    let _ = call.answer.try_send(result);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        if let Some((mut child, pipe)) = self.running.take() {
            // An orderly end: a probe whose pipe closes goes by itself.
            drop(pipe);
            let _ = child.kill();
            let _ = child.try_wait();
        }
    }

    /// Answers in the node's own numbers: GPUs are asked for, and listed, by name.
    fn answer(&mut self, ask: &Ask) -> Result<Reply, ProbeError> {
        if self.running.is_none() {
            return Err(ProbeError::Silent);
        }
        let place = |number| self.names.place(number).map_err(ProbeError::Refused);
        let asked = match *ask {
            Ask::SetPowerCap { gpu, milliwatts } => Ask::SetPowerCap {
                gpu: place(gpu)?,
                milliwatts,
            },
            Ask::ResetPowerCap { gpu } => Ask::ResetPowerCap { gpu: place(gpu)? },
            // A UUID names the same GPU everywhere.
            Ask::Hello | Ask::Read | Ask::Describe | Ask::Measure { .. } | Ask::Write { .. } => ask.clone(),
        };
        match self.call(&asked)? {
            Reply::Hello {
                version,
                driver,
                simulated,
                gpus,
            } => {
                self.list(simulated, gpus.clone());
                Ok(Reply::Hello {
                    version,
                    driver,
                    simulated,
                    gpus: self.names.by_number(gpus, |_| nobody()),
                })
            }
            Reply::Read(gpus) => {
                let gpus = self.names.by_number(gpus, Err);
                self.note_unread(&gpus);
                self.look_for_others();
                Ok(Reply::Read(gpus))
            }
            reply @ (Reply::PowerCap { .. }
            | Reply::Failed { .. }
            | Reply::Described(_)
            | Reply::Measured { .. }
            | Reply::Written { .. }) => Ok(reply),
        }
    }

    /// Lists the GPUs anew from time to time: one may have come.
    fn look_for_others(&mut self) {
        self.reads = self.reads.wrapping_add(1);
        let Some((_, pipe)) = self.running.as_mut().filter(|_| self.reads.is_multiple_of(LIST_EVERY)) else {
            return;
        };
        // A driver that lists slowly is not one that hangs.
        let reply = pipe.call(&Ask::Hello, Instant::now() + self.settings.deadline);
        if let Ok(Reply::Hello { simulated, gpus, .. }) = reply {
            self.list(simulated, gpus);
        }
    }

    /// A GPU that cannot be read again and again is a finding.
    fn note_unread(&mut self, gpus: &[Result<GpuValues, String>]) {
        for (number, read) in (0..).zip(gpus) {
            if !self.names.present().contains(&number) {
                continue;
            }
            let count = self.unread.entry(number).or_default();
            let before = *count;
            *count = match read {
                Ok(_) => 0,
                Err(_) => count.saturating_add(1),
            };
            match read {
                Err(why) if before + 1 == UNREAD => {
                    self.find(number, Some(format!("gpu{number} cannot be read: {why}")));
                }
                Ok(_) if before >= UNREAD => self.find(number, None),
                Ok(_) | Err(_) => {}
            }
        }
    }

    fn find(&self, number: u32, why: Option<String>) {
        let part = DeviceId::gpu(number).as_str().to_owned();
        self.tell(Input::Finding { part, why });
    }

    fn call(&mut self, ask: &Ask) -> Result<Reply, ProbeError> {
        let Some((_, pipe)) = &mut self.running else {
            return Err(ProbeError::Silent);
        };
        match pipe.call(ask, Instant::now() + self.settings.deadline) {
            Ok(reply) => {
                self.misses = 0;
                Ok(reply)
            }
            Err(CallError::Late) => {
                self.misses += 1;
                if self.misses >= MISSES {
                    let deadline = self.settings.deadline;
                    self.abandon(&format!(
                        "hung: {MISSES} calls in a row were not answered within {deadline:?}"
                    ));
                }
                Err(ProbeError::Silent)
            }
            Err(CallError::Broken(what)) => {
                self.abandon(&what);
                Err(ProbeError::Silent)
            }
        }
    }

    /// Starts a child and greets it; after a failure the next try comes later.
    fn restart(&mut self) {
        if let Some(child) = &mut self.abandoned {
            match child.try_wait() {
                Ok(None) => {
                    self.later();
                    return;
                }
                Ok(Some(_)) | Err(_) => self.abandoned = None,
            }
        }
        match self.begin() {
            Ok(()) => {}
            Err(what) => self.abandon(&what),
        }
    }

    fn begin(&mut self) -> Result<(), String> {
        let (program, arguments) = self.settings.command.split_first().ok_or("the command is empty")?;
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // A Ctrl-C at the agent's terminal is the agent's to handle.
            .process_group(0)
            .spawn()
            .map_err(|error| format!("cannot start `{program}`: {error}"))?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("the child has no pipes".to_owned());
        };
        let (_, pipe) = self.running.insert((child, Pipe::new(output, input)));
        let patience = self.settings.deadline * HELLO_DEADLINES;
        match pipe.call(&Ask::Hello, Instant::now() + patience) {
            Ok(Reply::Hello {
                version,
                driver,
                simulated,
                gpus,
            }) if version == probe::VERSION => {
                self.greeted(&driver, simulated, gpus);
                Ok(())
            }
            Ok(Reply::Hello { version, .. }) => Err(format!(
                "it speaks version {version} of the protocol, this agent {}",
                probe::VERSION
            )),
            Ok(_) => Err("it did not answer the greeting with one".to_owned()),
            Err(CallError::Late) => Err(format!("hung: no greeting within {patience:?}")),
            Err(CallError::Broken(what)) => Err(what),
        }
    }

    fn greeted(&mut self, driver: &str, simulated: bool, gpus: Vec<GpuInfo>) {
        self.misses = 0;
        self.backoff = FIRST_RESTART;
        let count = gpus.len();
        self.known.lock().unwrap_or_else(PoisonError::into_inner).answering = true;
        self.list(simulated, gpus);
        tracing::info!(driver, simulated, gpus = count, "GPU probe answers");
        self.report(true, format!("{driver}, {count} GPUs"));
    }

    /// The driver lists these GPUs: if they are others than before, the core is told, and which are not there.
    fn list(&mut self, simulated: bool, gpus: Vec<GpuInfo>) {
        if self.listed == gpus && self.names.present().len() == gpus.len() {
            return;
        }
        if let Err(error) = self.names.list(&gpus) {
            tracing::error!(%error, "the numbers of new GPUs cannot be kept; after a restart they may have others");
        }
        let numbers = self.names.present();
        let mut devices = self.others.clone();
        devices.extend(numbers.iter().zip(&gpus).map(|(number, gpu)| DeviceInfo {
            id: DeviceId::gpu(*number),
            model: gpu.model.clone(),
            simulated,
            power_cap_range_mw: Some((gpu.min_power_cap_mw, gpu.max_power_cap_mw)),
        }));
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .gpus
            .extend(numbers);
        self.listed = gpus;
        self.tell(Input::Devices(devices));
        let file = self.settings.names.as_ref().map_or_else(String::new, |path| {
            format!(
                "; if it was taken out for good, take its line out of {} and start the agent again",
                path.display()
            )
        });
        let lost: Vec<(u32, String)> = self
            .names
            .missing()
            .map(|(number, uuid)| (number, uuid.to_owned()))
            .collect();
        for (number, uuid) in &lost {
            self.find(*number, Some(format!("gpu{number} ({uuid}) is not there{file}")));
        }
    }

    /// Gives a child up without waiting for it.
    fn abandon(&mut self, why: &str) {
        tracing::warn!(why, "GPU probe given up");
        self.known.lock().unwrap_or_else(PoisonError::into_inner).answering = false;
        self.misses = 0;
        if let Some((mut child, _)) = self.running.take() {
            // A child that hangs inside a driver takes the signal when it comes out, perhaps never.
            let _ = child.kill();
            if !matches!(child.try_wait(), Ok(Some(_))) {
                self.abandoned = Some(child);
            }
        }
        self.report(false, why.to_owned());
        self.later();
    }

    fn later(&mut self) {
        self.restart_at = Instant::now() + self.backoff;
        self.backoff = (self.backoff * 2).min(LAST_RESTART);
    }

    /// Tells the core when answering turns into silence or back.
    fn report(&mut self, answering: bool, detail: String) {
        if self.told.replace(answering) != Some(answering) {
            self.tell(Input::Probe { answering, detail });
        }
    }

    fn tell(&self, input: Input) {
        // Fails only when the loop has ended.
        let _ = self.inputs.blocking_send(input);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Running {
        probe: Probe,
        inputs: mpsc::Receiver<Input>,
    }

    fn start(script: &str) -> Running {
        let (sender, inputs) = mpsc::channel(64);
        let settings = ProbeSettings {
            command: ["sh", "-c", script].map(str::to_owned).to_vec(),
            deadline: Duration::from_millis(60),
            names: None,
        };
        let probe = Probe::start(settings, Vec::new(), sender, &Watch::new().0).expect("a thread");
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
            deadline: Duration::from_millis(50),
            names: None,
        };
        let probe = Probe::start(settings, Vec::new(), sender, &Watch::new().0).expect("a thread");
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

//! The agent's end of the pipe to a GPU probe: a child process with a deadline for every call.
//!
//! A thread of its own speaks `wire::probe` with the child. A call that is not answered in time is given up; after two in a row the
//! child is abandoned (killed, never waited for) and another is started with backoff, but never while an abandoned one still
//! lingers in the kernel. Never blocks the turn loop, and never decides what a value means.
//!
//! Invariants: a call returns within its deadline, whatever the child does; at most one abandoned child exists; outside of this file a GPU's
//! number is its name for good, whatever place the driver gives it (`probe/names.rs`).
//! Read next: `probe/pipe.rs` (one call), `wire::probe` (the protocol), `actuators/power_cap.rs` (who sets).

mod builtin;
mod names;
mod pipe;

pub use builtin::{Builtin, command as builtin_command, find_library};

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use edge_agent_core::Input;
use edge_agent_core::faults::{Place, Sighting, evidence, gpu, xid};
use tokio::sync::mpsc;
use wire::frame::DeviceInfo;
use wire::probe::{self, Ask, GpuDetails, GpuEvent, GpuEventKind, GpuInfo, GpuReport, GpuState, GpuValues, Reply};
use wire::{DeviceId, Quantity};

use crate::faults::Faults;
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

#[derive(Debug, Default)]
struct Known {
    /// Numbers of all GPUs that were there since the start.
    gpus: BTreeSet<u32>,
    /// The number of each of them.
    uuids: BTreeMap<String, u32>,
    answering: bool,
    version: u16,
    /// Of each GPU, what it was last seen to have, so that values that are gone are missing and not forgotten.
    quantities: BTreeMap<DeviceId, BTreeSet<Quantity>>,
    /// Of each GPU, calls in a row that it did not answer.
    missed: BTreeMap<DeviceId, u32>,
    /// What was wrong with each GPU in the last round.
    ill: BTreeMap<DeviceId, Vec<&'static str>>,
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
        (faults, watch): (Faults, &Watch),
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
            faults: faults.clone(),
            running: None,
            abandoned: None,
            restart_at: Instant::now(),
            backoff: FIRST_RESTART,
            misses: 0,
            told: None,
        };
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

/// What a round says of faults.
#[derive(Default)]
struct Seen {
    sightings: Vec<Sighting>,
    well: Vec<DeviceId>,
}

/// Notes a round of version 2, and compares what is wrong now with what was.
fn measured(known: &mut Known, round: &mut Round, gpus: &[GpuReport], events: &[GpuEvent]) -> Seen {
    let mut seen = Seen::default();
    let hung = |report: &GpuReport| matches!(report.state, GpuState::Hung { .. });
    let place = |uuid: &str| known.uuids.get(uuid).map(|number| DeviceId::gpu(*number));
    let placed: Vec<(DeviceId, &GpuReport)> = gpus
        .iter()
        .filter_map(|report| Some((place(&report.uuid)?, report)))
        .collect();
    for event in events {
        if let (Some(device), GpuEventKind::Xid(code)) = (place(&event.uuid), event.what) {
            seen.sightings.push(told(device, code));
        }
    }
    for (device, report) in placed {
        let quantities = known.quantities.entry(device.clone()).or_default();
        let mut left = quantities.clone();
        for (number, value) in &report.values {
            if let Some(quantity) = Quantity::from_number(*number) {
                round.note(&device, quantity, *value);
                quantities.insert(quantity);
                left.remove(&quantity);
            }
        }
        left.into_iter()
            .for_each(|quantity| round.note(&device, quantity, None));
        let missed = known.missed.entry(device.clone()).or_default();
        *missed = if hung(report) { *missed + 1 } else { 0 };
        let ills = gpu::ills(report, *missed);
        let before = known.ill.get(&device).cloned().unwrap_or_default();
        if ills.is_empty() && report.state != GpuState::Answers {
            // Nothing is known of it just now: what was wrong may still be.
            continue;
        }
        if ills.is_empty() && !before.is_empty() {
            seen.well.push(device.clone());
        }
        known
            .ill
            .insert(device.clone(), ills.iter().map(|ill| ill.code).collect());
        for ill in ills.into_iter().filter(|ill| !before.contains(&ill.code)) {
            seen.sightings.push(Sighting {
                place: Place::Device(device.clone()),
                code: ill.code.to_owned(),
                severity: ill.severity,
                meaning: ill.meaning,
                next: ill.next,
                evidence: evidence(&format!("the driver says so of {}", report.uuid)),
            });
        }
    }
    seen
}

/// A critical error that the driver told of by itself. The kernel log has the same one: both are counted as one kind.
fn told(device: DeviceId, code: u64) -> Sighting {
    let code = u32::try_from(code).unwrap_or(u32::MAX);
    let known = xid::xid(code);
    Sighting {
        place: Place::Device(device),
        code: format!("xid {code}"),
        severity: known.severity,
        meaning: known.meaning,
        next: known.next,
        evidence: "the driver told of it".to_owned(),
    }
}

/// Every value that is known to exist is missing in this round.
fn missing(known: &Known, round: &mut Round) {
    for (device, quantities) in &known.quantities {
        quantities
            .iter()
            .for_each(|quantity| round.note(device, *quantity, None));
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
    faults: Faults,
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
            reply @ Reply::Measured { .. } => {
                self.look_for_others();
                Ok(reply)
            }
            reply @ (Reply::PowerCap { .. } | Reply::Failed { .. } | Reply::Described(_) | Reply::Written { .. }) => {
                Ok(reply)
            }
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
            }) if (probe::OLDEST..=probe::VERSION).contains(&version) => {
                let details = match version {
                    probe::OLDEST => Vec::new(),
                    _ => match pipe.call(&Ask::Describe, Instant::now() + patience) {
                        Ok(Reply::Described(details)) => details,
                        Ok(_) => return Err("it did not describe its GPUs when asked to".to_owned()),
                        Err(CallError::Late) => return Err(format!("hung: no description within {patience:?}")),
                        Err(CallError::Broken(what)) => return Err(what),
                    },
                };
                self.greeted(version, &driver, simulated, gpus);
                self.describe(&details);
                Ok(())
            }
            Ok(Reply::Hello { version, .. }) => Err(format!(
                "it speaks version {version} of the protocol, this agent {} to {}",
                probe::OLDEST,
                probe::VERSION
            )),
            Ok(Reply::Failed { reason }) => Err(reason),
            Ok(_) => Err("it did not answer the greeting with one".to_owned()),
            Err(CallError::Late) => Err(format!("hung: no greeting within {patience:?}")),
            Err(CallError::Broken(what)) => Err(what),
        }
    }

    /// Says which GPU stands at which address of the PCI bus, and under which UUID.
    fn describe(&self, details: &[GpuDetails]) {
        let uuids = self.known.lock().unwrap_or_else(PoisonError::into_inner).uuids.clone();
        let device = |uuid: &str| uuids.get(uuid).map(|number| DeviceId::gpu(*number));
        let known = details
            .iter()
            .filter(|details| !details.pci.is_empty())
            .filter_map(|details| Some((details.pci.clone(), device(&details.uuid)?)));
        let named = uuids
            .iter()
            .map(|(uuid, number)| (DeviceId::gpu(*number), uuid.clone()));
        self.faults.know(known.collect(), named.collect());
    }

    fn greeted(&mut self, version: u16, driver: &str, simulated: bool, gpus: Vec<GpuInfo>) {
        self.misses = 0;
        self.backoff = FIRST_RESTART;
        let count = gpus.len();
        {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            (known.answering, known.version) = (true, version);
        }
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
        {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.gpus.extend(numbers);
            let uuids = gpus.iter().map(|gpu| gpu.uuid.clone());
            known.uuids.extend(uuids.zip(numbers.iter().copied()));
        }
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
            builtin: None,
            deadline: Duration::from_millis(60),
            names: None,
        };
        let faults = Faults::new(sender.clone());
        let watch = Watch::new().0;
        let probe = Probe::start(settings, Vec::new(), sender, (faults, &watch)).expect("a thread");
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
        let probe = Probe::start(settings, Vec::new(), sender, (faults, &watch)).expect("a thread");
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

    #[test]
    fn what_is_wrong_is_told_once_and_that_it_is_over_once() {
        let mut known = Known {
            uuids: ["GPU-a", "GPU-b"].map(str::to_owned).into_iter().zip(0..).collect(),
            ..Known::default()
        };
        let report = |uuid: &str, state, values: &[(Quantity, i64)]| GpuReport {
            uuid: uuid.to_owned(),
            state,
            values: values
                .iter()
                .map(|(quantity, value)| (*quantity as u16, Some(*value)))
                .collect(),
        };
        let well = |uuid: &str| report(uuid, GpuState::Answers, &[(Quantity::GpuTemperature, 41_000)]);
        let mut take = |gpus: &[GpuReport], events: &[GpuEvent]| {
            let mut round = Round::default();
            let seen = measured(&mut known, &mut round, gpus, events);
            let sightings = seen.sightings.into_iter().map(|sighting| sighting.code);
            let words: Vec<String> = sightings
                .chain(seen.well.iter().map(|device| format!("{device} well")))
                .collect();
            (round.readings, words.join(", "))
        };
        assert_eq!(take(&[well("GPU-a"), well("GPU-b")], &[]).1, "");
        let lost = report("GPU-a", GpuState::Lost, &[]);
        let (readings, words) = take(&[lost.clone(), well("GPU-b")], &[]);
        assert_eq!(words, "gpu lost");
        let values: Vec<_> = readings
            .iter()
            .map(|reading| (reading.series.to_string(), reading.value))
            .collect();
        assert_eq!(
            values,
            [
                ("gpu0/gpu.temperature".to_owned(), None),
                ("gpu1/gpu.temperature".to_owned(), Some(41_000))
            ],
            "a value that is gone is missing"
        );
        assert_eq!(take(&[lost, well("GPU-b")], &[]).1, "", "once");
        let unreadable = report(
            "GPU-a",
            GpuState::Unreadable {
                reason: "no data".to_owned(),
            },
            &[],
        );
        assert_eq!(
            take(&[unreadable, well("GPU-b")], &[]).1,
            "",
            "what cannot be read is not well"
        );
        let event = GpuEvent {
            uuid: "GPU-b".to_owned(),
            what: GpuEventKind::Xid(31),
        };
        assert_eq!(take(&[well("GPU-a"), well("GPU-b")], &[event]).1, "xid 31, gpu0 well");
    }
}

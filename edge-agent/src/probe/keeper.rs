//! The probe's thread: starts the child, puts calls through, gives it up when it hangs, and lists what it finds.
//!
//! A child that hangs inside a driver is killed and never waited for; another is started with backoff, but never while an abandoned one
//! still lingers in the kernel.
//!
//! Invariant: at most one abandoned child exists.
//! Read next: `pipe.rs` (one call), `names.rs` (which GPU has which number), `users.rs` (who works on them).

use std::collections::BTreeMap;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use edge_agent_core::Input;
use tokio::sync::mpsc;
use wire::DeviceId;
use wire::frame::DeviceInfo;
use wire::probe::{self, Ask, GpuDetails, GpuInfo, GpuValues, Reply};

use super::names::Names;
use super::pipe::{CallError, Pipe};
use super::round::Known;
use super::users::Users;
use super::{Call, ProbeError, ProbeSettings};
use crate::faults::Faults;
use crate::sensors::process::WatchList;

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
/// Reads after which it is asked who works on the GPUs.
const USERS_EVERY: u32 = 5;

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

/// What the thread owns.
pub(super) struct Keeper {
    settings: ProbeSettings,
    others: Vec<DeviceInfo>,
    inputs: mpsc::Sender<Input>,
    known: Arc<Mutex<Known>>,
    faults: Faults,
    users: Users,
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
    /// What the child speaks.
    version: u16,
    /// How often in a row a GPU could not be read.
    unread: BTreeMap<u32, u32>,
}

impl Keeper {
    /// A thread that has started nothing yet.
    pub(super) fn new(
        settings: ProbeSettings,
        others: Vec<DeviceInfo>,
        inputs: mpsc::Sender<Input>,
        known: Arc<Mutex<Known>>,
        (faults, watched): (Faults, WatchList),
    ) -> io::Result<Self> {
        Ok(Self {
            names: Names::open(settings.names.clone())?,
            settings,
            listed: Vec::new(),
            reads: 0,
            version: 0,
            unread: BTreeMap::new(),
            others,
            users: Users::new(watched, inputs.clone()),
            inputs,
            known,
            faults,
            running: None,
            abandoned: None,
            restart_at: Instant::now(),
            backoff: FIRST_RESTART,
            misses: 0,
            told: None,
        })
    }

    /// Works until nobody can call any more.
    pub(super) fn work(mut self, calls: &Receiver<Call>) {
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
            Ask::Hello | Ask::Read | Ask::Describe | Ask::Measure { .. } => ask.clone(),
            Ask::Write { .. } | Ask::Clients { .. } => ask.clone(),
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
                self.look_for_users();
                Ok(reply)
            }
            reply @ (Reply::PowerCap { .. } | Reply::Failed { .. } | Reply::Described(_)) => Ok(reply),
            reply @ (Reply::Written { .. } | Reply::Clients(_)) => Ok(reply),
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

    /// Asks from time to time who works on which GPU, where this node runs anything that could.
    fn look_for_users(&mut self) {
        let asks = self.version >= probe::CLIENTS && self.reads % USERS_EVERY == 1 && self.users.has_workloads();
        let Some((_, pipe)) = self.running.as_mut().filter(|_| asks) else {
            return;
        };
        let patience_ms = u32::try_from(self.settings.deadline.as_millis() / 2).unwrap_or(u32::MAX);
        let reply = pipe.call(&Ask::Clients { patience_ms }, Instant::now() + self.settings.deadline);
        if let Ok(Reply::Clients(clients)) = reply {
            let uuids = self.known().uuids.clone();
            self.users
                .look(&clients, |uuid| uuids.get(uuid).map(|number| DeviceId::gpu(*number)));
        }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
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
        let uuids = self.known().uuids.clone();
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
        self.version = version;
        let count = gpus.len();
        {
            let mut known = self.known();
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
            let mut known = self.known();
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
        self.known().answering = false;
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

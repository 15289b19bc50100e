//! The supervisor's thread: waits for processes to end and for orders, and does what is due.
//!
//! Never restarts by its own wish while a process runs; one that ended by itself is started again, with backoff.
//!
//! Invariant: a restart is remembered before its first signal, so it is never begun twice for one decision.

use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use edge_agent_core::{Input, ProbeResult};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use tokio::sync::mpsc;
use wire::DecisionId;

use super::record::{self, Record};
use super::{Order, Restarted, WorkloadSettings};
use crate::actuators::throttle::Shares;
use crate::sensors::process::{WatchList, Watched, listed};

const FIRST_RESTART: Duration = Duration::from_secs(1);
/// A process that ends at once is tried once a minute.
const LAST_RESTART: Duration = Duration::from_secs(60);
/// After this a process counts as well, and the backoff begins anew.
const WELL_AFTER: Duration = Duration::from_secs(60);
/// How long a process may take to end by itself.
const GRACE: Duration = Duration::from_secs(5);
/// The agent itself is given five seconds to stop by most who start it.
const LAST_GRACE: Duration = Duration::from_secs(2);
/// A log begins anew when it has grown to this.
const LOG_BYTES: u64 = 1 << 20;

struct Process {
    pid: u32,
    pidfd: OwnedFd,
    /// Absent for an adopted one, which is not our child.
    child: Option<Child>,
    since: Instant,
}

struct Stopping {
    kill_at: Instant,
    decision: Option<DecisionId>,
    before: Option<u32>,
    answer: Option<Restarted>,
}

struct Workload {
    settings: WorkloadSettings,
    record: Record,
    process: Option<Process>,
    stopping: Option<Stopping>,
    restart_at: Option<Instant>,
    backoff: Duration,
}

impl Workload {
    fn new(settings: WorkloadSettings) -> Self {
        Self {
            settings,
            record: Record::default(),
            process: None,
            stopping: None,
            restart_at: Some(Instant::now()),
            backoff: FIRST_RESTART,
        }
    }

    fn name(&self) -> &str {
        self.settings.device.name()
    }

    fn due(&self) -> Option<Instant> {
        match (&self.process, &self.stopping) {
            (Some(_), Some(stopping)) => Some(stopping.kill_at),
            (Some(_), None) => None,
            (None, _) => self.restart_at,
        }
    }

    fn signal(&self, signal: Signal) {
        let group = self
            .process
            .as_ref()
            .and_then(|process| Pid::from_raw(process.pid as i32));
        if let Some(group) = group {
            // Fails only when the group is already gone.
            let _ = kill_process_group(group, signal);
        }
    }
}

/// What the thread owns.
pub(super) struct Keeper {
    folder: PathBuf,
    boot: String,
    workloads: Vec<Workload>,
    shares: Arc<Shares>,
    watched: WatchList,
    inputs: mpsc::Sender<Input>,
}

impl Keeper {
    /// Knows nothing of any process yet.
    pub(super) fn new(
        folder: &Path,
        workloads: Vec<WorkloadSettings>,
        shares: Arc<Shares>,
        watched: WatchList,
        inputs: mpsc::Sender<Input>,
    ) -> Self {
        Self {
            folder: folder.to_owned(),
            boot: record::boot_id(),
            workloads: workloads.into_iter().map(Workload::new).collect(),
            shares,
            watched,
            inputs,
        }
    }

    /// Works until it is told to stop.
    pub(super) fn work(&mut self, orders: &Receiver<Order>, woken: &UnixStream) {
        for index in 0..self.workloads.len() {
            self.adopt(index);
        }
        self.publish();
        loop {
            self.wait(woken);
            while let Ok(order) = orders.try_recv() {
                match order {
                    Order::Restart { name, decision, answer } => self.restart(&name, decision, answer),
                    Order::Probe { name, decision, answer } => {
                        let _ = answer.try_send(self.probe(&name, &decision));
                    }
                    Order::Stop => return self.end(),
                }
            }
            let now = Instant::now();
            for index in 0..self.workloads.len() {
                self.look(index);
                if self.workloads[index].due().is_some_and(|due| due <= now) {
                    self.advance(index);
                }
            }
        }
    }

    /// Waits for an order, the end of a process, or the next thing that is due.
    fn wait(&self, woken: &UnixStream) {
        let due = self.workloads.iter().filter_map(Workload::due).min();
        let timeout = due.map(|due| {
            let left = due.saturating_duration_since(Instant::now());
            Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            }
        });
        let mut wanted = vec![PollFd::new(woken, PollFlags::IN)];
        wanted.extend(
            self.workloads
                .iter()
                .filter_map(|workload| workload.process.as_ref())
                .map(|process| PollFd::new(&process.pidfd, PollFlags::IN)),
        );
        if poll(&mut wanted, timeout.as_ref()).is_ok() {
            let mut bytes = [0; 64];
            while (&mut &*woken).read(&mut bytes).is_ok_and(|read| read > 0) {}
        }
    }

    /// Notices that a process has ended.
    fn look(&mut self, index: usize) {
        let workload = &mut self.workloads[index];
        let Some(process) = &mut workload.process else {
            return;
        };
        let mut wanted = [PollFd::new(&process.pidfd, PollFlags::IN)];
        let at_once = Timespec::default();
        if !matches!(poll(&mut wanted, Some(&at_once)), Ok(1)) {
            return;
        }
        let status = process.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
        let detail = status.map_or_else(|| "its process is gone".to_owned(), |status| status.to_string());
        // Whatever it left behind in its group must not live beside its successor.
        workload.signal(Signal::KILL);
        let lasted = workload
            .process
            .take()
            .map_or(Duration::ZERO, |process| process.since.elapsed());
        if lasted >= WELL_AFTER {
            workload.backoff = FIRST_RESTART;
        }
        if workload.stopping.is_some() {
            workload.restart_at = Some(Instant::now());
        } else {
            tracing::warn!(workload = workload.name(), detail, "workload ended");
            workload.restart_at = Some(Instant::now() + workload.backoff);
            workload.backoff = (workload.backoff * 2).min(LAST_RESTART);
        }
        let name = workload.name().to_owned();
        self.publish();
        self.tell(Input::Workload {
            name,
            pid: None,
            detail,
        });
    }

    /// Does what is due: kills what did not end by itself, or starts.
    fn advance(&mut self, index: usize) {
        let workload = &mut self.workloads[index];
        if workload.process.is_some() {
            if let Some(stopping) = &mut workload.stopping {
                stopping.kill_at += GRACE;
            }
            workload.signal(Signal::KILL);
            return;
        }
        workload.restart_at = None;
        let first = workload.record.pid.is_none();
        match self.spawn(index) {
            Ok(pid) => self.started(index, pid, first),
            Err(error) => {
                let workload = &mut self.workloads[index];
                let detail = format!("cannot start `{}`: {error}", workload.settings.command.join(" "));
                tracing::error!(workload = workload.name(), detail, "workload not started");
                workload.restart_at = Some(Instant::now() + workload.backoff);
                workload.backoff = (workload.backoff * 2).min(LAST_RESTART);
                if let Some(answer) = workload.stopping.take().and_then(|stopping| stopping.answer) {
                    let _ = answer.try_send(Err(detail.clone()));
                }
                let name = workload.name().to_owned();
                self.tell(Input::Workload {
                    name,
                    pid: None,
                    detail,
                });
            }
        }
    }

    fn spawn(&mut self, index: usize) -> io::Result<u32> {
        let workload = &mut self.workloads[index];
        let path = self.folder.join(format!("{}.log", workload.name()));
        let full = fs::metadata(&path).is_ok_and(|found| found.len() > LOG_BYTES);
        let log = OpenOptions::new()
            .create(true)
            .write(true)
            .append(!full)
            .truncate(full)
            .mode(0o600)
            .open(path)?;
        let (program, arguments) = workload
            .settings
            .command
            .split_first()
            .ok_or_else(|| io::Error::other("the command is empty"))?;
        let child = Command::new(program)
            .args(arguments)
            .envs(workload.settings.env.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()?;
        let pid = child.id();
        self.shares.join(workload.settings.device.name(), pid);
        workload.process = Some(Process {
            pid,
            pidfd: open_pidfd(pid)?,
            child: Some(child),
            since: Instant::now(),
        });
        Ok(pid)
    }

    fn started(&mut self, index: usize, pid: u32, first: bool) {
        let workload = &mut self.workloads[index];
        let stopping = workload.stopping.take();
        workload.record.pid = Some(pid);
        workload.record.start_ticks = record::start_ticks(pid).unwrap_or(0);
        workload.record.boot.clone_from(&self.boot);
        if !first {
            workload.record.restarts += 1;
        }
        let mut detail = if first {
            "for the first time"
        } else {
            "after it had ended"
        }
        .to_owned();
        if let Some(stopping) = stopping {
            detail = "by a restart".to_owned();
            workload.record.restarting = None;
            workload.record.restarted = stopping.decision;
            if let Some(answer) = stopping.answer {
                let _ = answer.try_send(Ok((stopping.before, pid)));
            }
        }
        self.remember(index);
        self.publish();
        let name = self.workloads[index].name().to_owned();
        tracing::info!(workload = name, pid, detail, "workload runs");
        self.tell(Input::Workload {
            name,
            pid: Some(pid),
            detail,
        });
    }

    /// Takes over the process of a former agent, if it still lives.
    fn adopt(&mut self, index: usize) {
        let workload = &mut self.workloads[index];
        workload.record = Record::read(&self.folder, workload.settings.device.name());
        let alive = workload.record.pid.filter(|pid| {
            workload.record.boot == self.boot && record::start_ticks(*pid) == Some(workload.record.start_ticks)
        });
        // A restart that was under way goes on: the old process is asked to end again, which is no second restart.
        if let Some(decision) = workload.record.restarting.clone() {
            workload.stopping = Some(Stopping {
                kill_at: Instant::now() + GRACE,
                decision: Some(decision),
                before: workload.record.pid,
                answer: None,
            });
        }
        let Some((pid, pidfd)) = alive.and_then(|pid| Some((pid, open_pidfd(pid).ok()?))) else {
            return;
        };
        workload.process = Some(Process {
            pid,
            pidfd,
            child: None,
            since: Instant::now(),
        });
        workload.restart_at = None;
        if workload.stopping.is_some() {
            workload.signal(Signal::TERM);
        }
        self.shares.join(workload.settings.device.name(), pid);
        let name = workload.name().to_owned();
        tracing::info!(workload = name, pid, "workload adopted");
        let detail = "still runs, taken over from a former agent process".to_owned();
        self.tell(Input::Workload {
            name,
            pid: Some(pid),
            detail,
        });
    }

    fn restart(&mut self, name: &str, decision: DecisionId, answer: Restarted) {
        let Some(index) = self.workloads.iter().position(|workload| workload.name() == name) else {
            let _ = answer.try_send(Err(format!("there is no workload `{name}`")));
            return;
        };
        let workload = &mut self.workloads[index];
        let before = workload.process.as_ref().map(|process| process.pid);
        workload.record.restarting = Some(decision.clone());
        workload.stopping = Some(Stopping {
            kill_at: Instant::now() + GRACE,
            decision: Some(decision),
            before,
            answer: Some(answer),
        });
        if before.is_none() {
            workload.restart_at = Some(Instant::now());
        }
        // Before the signal: after a crash in between, the record says what was meant.
        self.remember(index);
        self.workloads[index].signal(Signal::TERM);
    }

    fn probe(&self, name: &str, decision: &DecisionId) -> ProbeResult {
        let Some(workload) = self.workloads.iter().find(|workload| workload.name() == name) else {
            return ProbeResult::Unknown {
                reason: format!("there is no workload `{name}` any more"),
            };
        };
        let value = workload.process.as_ref().map(|process| i64::from(process.pid));
        if workload.record.restarted.as_ref() == Some(decision) || workload.record.restarting.as_ref() == Some(decision)
        {
            // Begun counts as done: it is carried on, and never begun a second time.
            ProbeResult::Done { value }
        } else {
            ProbeResult::NotDone { value }
        }
    }

    fn remember(&self, index: usize) {
        let workload = &self.workloads[index];
        if let Err(error) = workload.record.write(&self.folder, workload.name()) {
            tracing::warn!(workload = workload.name(), %error, "cannot remember the process: the next agent will not adopt it");
        }
    }

    fn publish(&self) {
        let now = self.workloads.iter().map(|workload| Watched {
            device: workload.settings.device.clone(),
            pid: workload.process.as_ref().map(|process| process.pid),
            restarts: workload.record.restarts,
            unit: None,
        });
        let mut list = listed(&self.watched);
        list.retain(|one| one.unit.is_some());
        list.extend(now);
    }

    fn tell(&self, input: Input) {
        // Fails only when the loop has ended.
        let _ = self.inputs.blocking_send(input);
    }

    /// Ends what ends with the agent; the others live on.
    fn end(&mut self) {
        let mut ending: Vec<&mut Workload> = self
            .workloads
            .iter_mut()
            .filter(|workload| workload.settings.stop_with_agent && workload.process.is_some())
            .collect();
        for workload in &ending {
            workload.signal(Signal::TERM);
        }
        let deadline = Instant::now() + LAST_GRACE;
        for workload in &mut ending {
            let Some(process) = &mut workload.process else {
                continue;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(0),
                tv_nsec: left.subsec_nanos().into(),
            };
            let _ = poll(&mut [PollFd::new(&process.pidfd, PollFlags::IN)], Some(&timeout));
            workload.signal(Signal::KILL);
            if let Some(child) = workload.process.as_mut().and_then(|process| process.child.as_mut()) {
                let _ = child.wait();
            }
            self.shares.leave(workload.settings.device.name());
        }
    }
}

fn open_pidfd(pid: u32) -> io::Result<OwnedFd> {
    let pid = Pid::from_raw(pid as i32).ok_or_else(|| io::Error::other("process id 0"))?;
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}

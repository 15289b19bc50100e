//! The turn loop: one task owns the core, tells it what happened, and starts what it asks for.
//!
//! Nothing here waits for a disk, a device or a peer: each effect completes later as an input, from the journal's thread, an actuator's
//! or the link's task. The shell has no opinions; an `if` about policy belongs into `edge-agent-core`.
//!
//! Invariant: inputs reach the core one at a time, and every effect of one input is started before the next input.
//! Read next: `edge-agent/core/src/agent.rs` (the core's turn), `agent/start.rs` (what is built before the first turn).

mod owner;
mod reload;
mod start;

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use edge_agent_core::{Agent, Effect, Input, LinkState, LocalAnswer, LocalRequest, Token};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use wire::api::NeighbourView;
use wire::frame::{Frame, HubTime, Welcome};
use wire::reading::{Reading, Series};
use wire::{AgentId, BundleRef, Epoch, Parcel, RawEntry, SignedBundle, Wall};

use crate::actuators::Actuators;
use crate::carried;
use crate::ceilings::{self, Ceilings, Look};
use crate::clock::Clock;
use crate::config::{Config, ConfigError};
use crate::journal::{Done, Journal};
use crate::link::Link;
use crate::local_api::{Ask, Feed, Snapshot};
use crate::sampler::Pulse;
use crate::service::Service;

/// Inputs that may wait: a burst of finished actions and frames. Whoever sends more waits, which slows the sender and loses nothing.
const INPUTS: usize = 256;
/// Completions of the journal that may wait; it has at most one append and two loads under way.
const COMPLETIONS: usize = 64;
/// Questions of people that may wait.
const ASKS: usize = 16;
/// An orderly end takes one commit; a disk that needs longer is left to the next start.
const STOP_WITHIN: Duration = Duration::from_secs(3);
/// Ages of neighbours are told in whole seconds.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// How often it is looked whether readings still come.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Why the agent cannot run, or does not go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The journal cannot be opened.
    #[error(transparent)]
    Journal(#[from] crate::journal::JournalError),
    /// The identity cannot be read.
    #[error(transparent)]
    Identity(#[from] crate::identity::IdentityError),
    /// The local API cannot be served.
    #[error(transparent)]
    Serve(#[from] crate::local_api::ServeError),
    /// A thread, a signal or a file.
    #[error("cannot {what}")]
    System {
        /// What was tried.
        what: &'static str,
        /// How it fails.
        #[source]
        cause: std::io::Error,
    },
    /// The export of telemetry cannot be set up.
    #[error(transparent)]
    Otlp(#[from] crate::telemetry::otlp::OtlpError),
    /// The firmware profiles cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The parcel that the settings name cannot be read.
    #[error(transparent)]
    Carried(#[from] crate::carried::CarryError),
    /// A thread or task of the agent has panicked.
    #[error("the {name} thread has died; the lines before say why. Whoever started the agent starts it again")]
    Died {
        /// Which.
        name: &'static str,
    },
    /// It took more of its machine than it may.
    #[error(
        "the agent ends because {why}: whoever started it starts it anew; `ceilings.memory` in the settings is the bound"
    )]
    Beyond {
        /// What it took.
        why: String,
    },
    /// The journal was found damaged while it was open.
    #[error("the journal is damaged ({detail}); start the agent again, it puts the file aside and begins a new epoch")]
    Damaged {
        /// What was found.
        detail: String,
    },
}

/// Reads the settings again, from the same files.
pub type Reread = Arc<dyn Fn() -> Result<Config, ConfigError> + Send + Sync>;

/// Why an agent has ended that nothing is wrong with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// It was told to.
    Stopped,
    /// The hub has given it another name, under which it starts again.
    Renamed {
        /// Which.
        to: AgentId,
    },
}

/// Runs the agent until it is told to stop, or has another name.
pub async fn run(config: Config, reread: Reread) -> Result<Ended, RunError> {
    let (mut shell, ears, house) = start::start(&config).await?;
    let result = shell.work(ears, &reread).await;
    house.end(shell).await;
    result
}

/// Where inputs come from.
pub(super) struct Ears {
    inputs: mpsc::Receiver<Input>,
    done: mpsc::Receiver<Done>,
    asks: mpsc::Receiver<Ask>,
    died: mpsc::Receiver<&'static str>,
    renamed: mpsc::Receiver<AgentId>,
    signals: Signals,
}

/// What tells a process to stop, or to read its settings anew. Listened to before anyone is told that the agent is ready.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

/// What a signal asks for.
enum Told {
    Stop,
    Reload,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Option<Told> {
        tokio::select! {
            found = self.interrupt.recv() => found.map(|()| Told::Stop),
            found = self.terminate.recv() => found.map(|()| Told::Stop),
            found = self.hangup.recv() => found.map(|()| Told::Reload),
        }
    }
}

/// The core, and everything that carries its effects out.
pub(super) struct Shell {
    core: Agent,
    config: Config,
    agent: AgentId,
    clock: Arc<Clock>,
    pulse: Pulse,
    journal: Journal,
    link: Option<Link>,
    actuators: Actuators,
    feed: Feed,
    /// Inputs that arose while effects were started.
    waiting: VecDeque<Input>,
    /// Entries that are being made durable, to be shown once they are.
    appending: VecDeque<(Token, Epoch, Vec<RawEntry>)>,
    replies: BTreeMap<u64, oneshot::Sender<LocalAnswer>>,
    requests: u64,
    /// The other members of the site, and when they were looked at.
    neighbours: (Option<Instant>, Arc<[NeighbourView]>),
    latest: Arc<BTreeMap<Series, Option<i64>>>,
    bundle: Option<(BundleRef, Arc<SignedBundle>)>,
    connected: bool,
    since: Option<Wall>,
    stopped: bool,
    damage: Option<String>,
    ceilings: Ceilings,
    /// It takes too much, and has to end.
    beyond: Option<String>,
    /// Whose the journal is, until that is noted.
    owner: Option<owner::Owner>,
    service: Service,
}

impl Shell {
    /// Turns until the core has stopped.
    async fn work(&mut self, mut ears: Ears, reread: &Reread) -> Result<Ended, RunError> {
        let mut ended = Ended::Stopped;
        let mut stop_by: Option<tokio::time::Instant> = None;
        let mut look_at = Instant::now() + LOOK_EVERY;
        // One is enough: who asks while the files are read gets what they say by then, or asks again.
        let (read, mut settings) = mpsc::channel(1);
        self.carry_out();
        self.settle();
        self.service.ready();
        while !self.stopped {
            let due = self.core.poll_timeout(self.clock.now());
            let look = look_at.saturating_duration_since(Instant::now());
            tokio::select! {
                biased;
                done = ears.done.recv() => match done {
                    Some(done) => self.on_done(done),
                    // Only its thread can tell.
                    None => return Err(RunError::Died { name: "journal" }),
                },
                Some(input) = ears.inputs.recv() => self.turn(input),
                Some(ask) = ears.asks.recv() => self.on_ask(ask),
                Some(read) = settings.recv() => self.reload(read),
                Some(told) = ears.signals.next() => {
                    if matches!(told, Told::Reload) {
                        self.service.reloading();
                        reload::begin(reread.clone(), read.clone());
                        continue;
                    }
                    if stop_by.is_some() {
                        tracing::warn!("told to stop a second time, stopping at once");
                        break;
                    }
                    tracing::info!("stopping");
                    self.service.stopping();
                    stop_by = Some(tokio::time::Instant::now() + STOP_WITHIN);
                    self.turn(Input::Stop);
                }
                Some(to) = ears.renamed.recv(), if stop_by.is_none() => {
                    ended = Ended::Renamed { to };
                    stop_by = Some(tokio::time::Instant::now() + STOP_WITHIN);
                    self.turn(Input::Stop);
                }
                () = until(stop_by) => {
                    tracing::warn!("the journal did not finish in time; the next start takes up what is missing");
                    break;
                }
                Some(name) = ears.died.recv() => return Err(RunError::Died { name }),
                () = tokio::time::sleep(look) => {
                    look_at = Instant::now() + LOOK_EVERY;
                    if let Some(late) = self.pulse.look(Instant::now()) {
                        self.turn(late);
                    }
                }
                () = sleep(due) => self.turn(Input::Tick),
            }
            self.settle();
            if stop_by.is_none() && self.beyond.is_some() {
                stop_by = Some(tokio::time::Instant::now() + STOP_WITHIN);
                self.turn(Input::Stop);
            }
            if let Some(detail) = self.damage.take() {
                return Err(RunError::Damaged { detail });
            }
        }
        match self.beyond.take() {
            Some(why) => Err(RunError::Beyond { why }),
            None => Ok(ended),
        }
    }

    /// One turn: feeds one input to the core, then starts its effects. Nothing here waits.
    fn turn(&mut self, input: Input) {
        let now = self.clock.now();
        if let Input::Readings(readings) = &input {
            self.note(now.wall, readings);
            match self.ceilings.look(readings, Instant::now()) {
                Look::Same => {}
                Look::Tell(why) => self.waiting.push_back(Input::Finding {
                    part: ceilings::PART.to_owned(),
                    why,
                }),
                Look::End(why) => self.beyond = Some(why),
            }
        }
        if let Input::Frame(Frame::Welcome(Welcome { now: hub, .. }) | Frame::HubTime(HubTime { now: hub, .. })) =
            &input
        {
            self.clock.heard(hub.wall);
        }
        self.core.handle(input, now);
        self.carry_out();
    }

    fn carry_out(&mut self) {
        while let Some(effect) = self.core.poll_effect() {
            match effect {
                Effect::Append(batch) => {
                    self.appending
                        .push_back((batch.token, batch.epoch, batch.entries.clone()));
                    self.journal.append(batch);
                }
                Effect::Act(run) => self.actuators.start(run),
                Effect::ProbeAction(run) => self.actuators.probe(run),
                Effect::Load {
                    token,
                    log,
                    epoch,
                    from,
                    max_bytes,
                } => {
                    self.journal.load(token, log, epoch, from, max_bytes);
                }
                Effect::Release { log, epoch, through } => self.journal.release(log, epoch, through),
                Effect::Shed { epoch, through } => self.journal.shed(epoch, through),
                Effect::Send(frame) => {
                    if let Some(link) = &self.link {
                        link.send(&frame);
                    }
                }
                Effect::Connect => match &self.link {
                    Some(link) => link.connect(),
                    None => self.waiting.push_back(Input::LinkDown {
                        reason: "this node has not joined a hub".to_owned(),
                    }),
                },
                Effect::Disconnect { reason } => {
                    if let Some(link) = &self.link {
                        link.disconnect(&reason);
                    }
                }
                Effect::Reply { request, answer } => {
                    if let Some(reply) = self.replies.remove(&request) {
                        // Whoever asked may be gone.
                        let _ = reply.send(answer);
                    }
                }
                Effect::Share(shared) => {
                    if let Some(peers) = self.link.as_ref().and_then(Link::peers) {
                        peers.share(*shared);
                    }
                }
                Effect::Stopped => self.stopped = true,
            }
        }
    }

    /// Turns what arose meanwhile, then shows the node as it is now.
    fn settle(&mut self) {
        loop {
            if let Some(done) = self.journal.refused() {
                self.on_done(done);
            } else if let Some(input) = self.waiting.pop_front() {
                self.turn(input);
            } else {
                break;
            }
        }
        let snapshot = self.snapshot();
        self.service.alive(Instant::now(), || standing(&snapshot));
        self.feed.snapshot(snapshot);
    }

    fn on_done(&mut self, done: Done) {
        match &done {
            Done::Appended { token, .. } => {
                if let Some(owner) = self.owner.take() {
                    // A slow disk must not hold up the first readings.
                    tokio::task::spawn_blocking(move || {
                        if let Err(cause) = owner.note() {
                            tracing::warn!(%cause, "under which name the journal was made is not noted");
                        }
                    });
                }
                while let Some((_, epoch, entries)) = self.appending.pop_front_if(|(known, _, _)| *known <= *token) {
                    entries.iter().for_each(|entry| self.feed.durable(epoch, entry));
                }
            }
            Done::Failed { token, .. } => self.appending.retain(|(known, _, _)| known != token),
            Done::Damaged { detail } => self.damage = Some(detail.clone()),
            Done::Trimmed { .. } | Done::Loaded { .. } => {}
        }
        if let Some(input) = self.journal.told(done) {
            self.turn(input);
        }
    }

    fn on_ask(&mut self, ask: Ask) {
        self.requests += 1;
        self.replies.insert(self.requests, ask.answer);
        self.turn(Input::Local {
            request: self.requests,
            what: ask.what,
        });
    }

    /// A parcel from the settings or the state folder, as if a person had brought it. `lies_at`: where to put it aside.
    fn import(&mut self, parcel: Parcel, lies_at: Option<PathBuf>) {
        self.requests += 1;
        if let Some(path) = lies_at {
            let (answer, answered) = oneshot::channel();
            self.replies.insert(self.requests, answer);
            tokio::spawn(async move {
                match answered.await {
                    Ok(LocalAnswer::Refused { reason }) => carried::judged(&path, Some(&reason)),
                    Ok(_) => carried::judged(&path, None),
                    // The agent stops: it is judged at the next start.
                    Err(_) => {}
                }
            });
        }
        self.waiting.push_back(Input::Local {
            request: self.requests,
            what: LocalRequest::Import {
                who: "settings".to_owned(),
                parcel,
            },
        });
    }

    fn note(&mut self, at: Wall, readings: &[Reading]) {
        let latest = Arc::make_mut(&mut self.latest);
        for reading in readings {
            match latest.get_mut(&reading.series) {
                Some(value) => *value = reading.value,
                None => {
                    latest.insert(reading.series.clone(), reading.value);
                }
            }
        }
        if latest.len() > readings.len() {
            // A thing that is gone takes its readings with it.
            let listed: HashSet<&Series> = readings.iter().map(|reading| &reading.series).collect();
            latest.retain(|series, _| listed.contains(series));
        }
        self.feed.sampled(&self.agent, at, readings);
    }

    /// The members of the site with their ages, which the core is not told each second.
    fn neighbours(&mut self) -> Arc<[NeighbourView]> {
        let Some(peers) = self.link.as_ref().and_then(Link::peers) else {
            return Arc::from([]);
        };
        let (looked_at, known) = &mut self.neighbours;
        if looked_at.is_none_or(|at| at.elapsed() >= LOOK_AGAIN) {
            (*looked_at, *known) = (Some(Instant::now()), peers.views().into());
        }
        known.clone()
    }

    fn snapshot(&mut self) -> Snapshot {
        let now = self.clock.now();
        let connected = matches!(self.core.link_state(now), LinkState::Up { .. });
        if connected != self.connected {
            self.connected = connected;
            self.since = Some(now.wall);
        }
        match (self.core.bundle(), &self.bundle) {
            (Some((_, reference)), Some((known, _))) if reference == *known => {}
            (Some((signed, reference)), _) => self.bundle = Some((reference, Arc::new(signed.clone()))),
            (None, _) => self.bundle = None,
        }
        Snapshot {
            status: self.core.status(now),
            connected,
            since: self.since,
            hub_epoch: self.core.hub_epoch(),
            backlog_entries: self.core.backlog_entries(),
            acked: self.core.acked(),
            bundle: self.bundle.clone(),
            roles: self.core.roles().into(),
            clock_error: self.core.clock_error(now),
            unhealthy: self.core.unhealthy().map(str::to_owned),
            findings: self.core.findings(),
            path: self.core.path(),
            isolation: self.core.isolation(),
            neighbours: self.neighbours(),
            waits_for_turn: self.core.waits_for_turn(),
            glass: self.core.glass(now),
            users: self.core.users().clone(),
            ladder: self.core.ladder(now),
            disagreements: self.core.disagreements(),
            latest: self.latest.clone(),
        }
    }
}

/// How the node stands, in a line for `systemctl status`.
fn standing(now: &Snapshot) -> String {
    let hub = match now.connected {
        true => "connected".to_owned(),
        false => format!("alone, {} entries wait", now.backlog_entries),
    };
    let health = now.unhealthy.as_deref().unwrap_or("healthy");
    format!("{hub}, policy generation {}, {health}", now.status.bundle.generation)
}

async fn sleep(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending::<()>().await,
    }
}

async fn until(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending::<()>().await,
    }
}

/// Keeps the future's size out of `main`'s stack.
pub fn boxed(config: Config, reread: Reread) -> std::pin::Pin<Box<dyn Future<Output = Result<Ended, RunError>>>> {
    Box::pin(run(config, reread))
}

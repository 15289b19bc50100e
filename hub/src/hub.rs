//! The turn loop: one task owns the core, feeds it one input after another, and starts the effects.
//!
//! Nothing here waits for a disk or a peer: batches are queued to the store's thread, frames to the sessions' queues. While the
//! store's queue is full no new frames are taken, so that what agents send stays in their journals and not in this memory.
//!
//! Has no opinions: an `if` about agents or policy belongs into `hub-core`.
//! Read next: `hub/core/src/hub.rs` (the turn), `store/writer.rs`, `quic.rs`.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use hub_core::plans::PlanRecord;
use hub_core::tasks::Explained;
use hub_core::tasks::agents::RemediationAgent;
use hub_core::{
    Answer, Batch, Change, Cluster, Effect, Hub, Input, JoinToken, JournalBreak, PlacementAsk, Reported, Request,
    SessionId, Spared, Task,
};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use wire::Checkpoint;
use wire::api::{BrainView, DomainView, NodeView, PlacementView, PolicyView, ShadowView};
use wire::entry::ChainHead;
use wire::frame::Frame;
use wire::ids::{AgentId, HubEpoch};
use wire::kube::{RolloutView, ScalingView};
use wire::time::Now;

use crate::clock::Clock;
use crate::deliveries::Hooks;
use crate::enroll::Bars;
use crate::feed::Feed;
use crate::kube::Orders;
use crate::metrics::{Meter, Meters, Queues};
use crate::people::People;
use crate::store::{Completion, Outcome, Store};

/// Questions of people that wait for the loop: more than the API serves at once.
const ASKS: usize = 256;
/// Inputs taken in one wake-up.
const INPUTS_AT_ONCE: usize = 64;
/// At the end, time for the last batches to reach the disk.
const LAST_WRITES: Duration = Duration::from_secs(5);

/// Where frames go.
pub trait Outlet: Send + Sync + 'static {
    /// Queues a frame; never blocks.
    fn send(&self, session: SessionId, frame: &Frame);
    /// Ends a session after what was sent on it; never blocks.
    fn close(&self, session: SessionId, reason: &str);
}

/// A question to the loop.
#[derive(Debug)]
enum Ask {
    Request(Box<Request>, oneshot::Sender<Answer>),
    Nodes(oneshot::Sender<Vec<NodeView>>),
    Node(AgentId, oneshot::Sender<Option<NodeView>>),
    Reported(AgentId, oneshot::Sender<Option<Reported>>),
    Policy(oneshot::Sender<Option<PolicyView>>),
    Domains(oneshot::Sender<Vec<DomainView>>),
    Clusters(oneshot::Sender<Vec<Cluster>>),
    Rollouts(oneshot::Sender<Vec<RolloutView>>),
    Scaling(oneshot::Sender<Vec<ScalingView>>),
    Placement(Box<PlacementAsk>, oneshot::Sender<Result<PlacementView, String>>),
    Tasks(oneshot::Sender<Vec<Task>>),
    ExplainFixes(String, oneshot::Sender<Explained>),
    RemediationAgents(oneshot::Sender<Vec<RemediationAgent>>),
    Task(String, oneshot::Sender<Option<Task>>),
    Tokens(oneshot::Sender<Vec<JoinToken>>),
    Epoch(oneshot::Sender<HubEpoch>),
    Checkpoints(oneshot::Sender<(Option<Checkpoint>, Vec<JournalBreak>)>),
    Now(oneshot::Sender<Now>),
    Shadow(Box<PlanRecord>, oneshot::Sender<Option<ShadowView>>),
    Brains(oneshot::Sender<Vec<BrainView>>),
    GpuLimit(oneshot::Sender<Option<i64>>),
    Spared(oneshot::Sender<Spared>),
    Input(Box<Input>),
}

/// The loop's other side, for everyone who wants something of the core.
#[derive(Debug, Clone)]
pub struct Handle {
    asks: mpsc::Sender<Ask>,
}

/// The loop has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the hub stops")]
pub struct Stopped;

/// Why the loop ends without having been told to: the hub must not go on without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    /// Nothing becomes durable any more.
    #[error("the store's thread is gone")]
    Store,
}

impl Handle {
    /// Asks for something and waits for the answer.
    pub async fn request(&self, what: Request) -> Result<Answer, Stopped> {
        self.ask(|answer| Ask::Request(Box::new(what), answer)).await
    }

    /// All nodes, by name.
    pub async fn nodes(&self) -> Result<Vec<NodeView>, Stopped> {
        self.ask(Ask::Nodes).await
    }

    /// One node.
    pub async fn node(&self, agent: AgentId) -> Result<Option<NodeView>, Stopped> {
        self.ask(|answer| Ask::Node(agent, answer)).await
    }

    /// What a node last said of its journal.
    pub async fn reported(&self, agent: AgentId) -> Result<Option<Reported>, Stopped> {
        self.ask(|answer| Ask::Reported(agent, answer)).await
    }

    /// The newest bundle.
    pub async fn policy(&self) -> Result<Option<PolicyView>, Stopped> {
        self.ask(Ask::Policy).await
    }

    /// Every domain that the newest bundle counts.
    pub async fn domains(&self) -> Result<Vec<DomainView>, Stopped> {
        self.ask(Ask::Domains).await
    }

    /// Every registered cluster, by name.
    pub async fn clusters(&self) -> Result<Vec<Cluster>, Stopped> {
        self.ask(Ask::Clusters).await
    }

    /// Every rollout that is not finished.
    pub async fn rollouts(&self) -> Result<Vec<RolloutView>, Stopped> {
        self.ask(Ask::Rollouts).await
    }

    /// Every deployment that the hub scales.
    pub async fn scaling(&self) -> Result<Vec<ScalingView>, Stopped> {
        self.ask(Ask::Scaling).await
    }

    /// Where something would go now, and what every node says to it.
    pub async fn placement(&self, ask: PlacementAsk) -> Result<Result<PlacementView, String>, Stopped> {
        self.ask(|answer| Ask::Placement(Box::new(ask), answer)).await
    }

    /// All tasks, oldest first.
    pub async fn tasks(&self) -> Result<Vec<Task>, Stopped> {
        self.ask(Ask::Tasks).await
    }

    /// What policy says of repairs in a repository now.
    pub async fn explain_fixes(&self, repository: String) -> Result<Explained, Stopped> {
        self.ask(|answer| Ask::ExplainFixes(repository, answer)).await
    }

    /// All remediation agents.
    pub async fn remediation_agents(&self) -> Result<Vec<RemediationAgent>, Stopped> {
        self.ask(Ask::RemediationAgents).await
    }

    /// One task.
    pub async fn task(&self, id: String) -> Result<Option<Task>, Stopped> {
        self.ask(|answer| Ask::Task(id, answer)).await
    }

    /// Every stored join token.
    pub async fn join_tokens(&self) -> Result<Vec<JoinToken>, Stopped> {
        self.ask(Ask::Tokens).await
    }

    /// The hub's incarnation.
    pub async fn epoch(&self) -> Result<HubEpoch, Stopped> {
        self.ask(Ask::Epoch).await
    }

    /// The newest checkpoint of the hub's own journal, and every break of it that agents have proven.
    pub async fn checkpoints(&self) -> Result<(Option<Checkpoint>, Vec<JournalBreak>), Stopped> {
        self.ask(Ask::Checkpoints).await
    }

    /// The hub's clocks, by which deadlines stand.
    pub async fn now(&self) -> Result<Now, Stopped> {
        self.ask(Ask::Now).await
    }

    /// What policy would say of a plan now; `None` while no bundle was published.
    pub async fn shadow(&self, record: PlanRecord) -> Result<Option<ShadowView>, Stopped> {
        self.ask(|answer| Ask::Shadow(Box::new(record), answer)).await
    }

    /// Every brain that was graded, with every verb.
    pub async fn brains(&self) -> Result<Vec<BrainView>, Stopped> {
        self.ask(Ask::Brains).await
    }

    /// The temperature at which the rules in force act on a GPU, in thousandths of a degree; `None` where none does.
    pub async fn gpu_limit(&self) -> Result<Option<i64>, Stopped> {
        self.ask(Ask::GpuLimit).await
    }

    /// Entries that work under way refers to.
    pub async fn spared(&self) -> Result<Spared, Stopped> {
        self.ask(Ask::Spared).await
    }

    /// Tells the core something that happened in the shell.
    pub async fn tell(&self, input: Input) -> Result<(), Stopped> {
        self.asks.send(Ask::Input(Box::new(input))).await.map_err(|_| Stopped)
    }

    async fn ask<T>(&self, ask: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Result<T, Stopped> {
        let (answer, wait) = oneshot::channel();
        self.asks.send(ask(answer)).await.map_err(|_| Stopped)?;
        wait.await.map_err(|_| Stopped)
    }
}

/// What the loop works with.
pub struct Parts {
    /// The core.
    pub core: Hub,
    /// Its clock.
    pub clock: Clock,
    /// Its store.
    pub store: Arc<dyn Store>,
    /// Batches that came back.
    pub done: mpsc::Receiver<Vec<Completion>>,
    /// Frames and sessions.
    pub inputs: mpsc::Receiver<Input>,
    /// Where frames go.
    pub outlet: Arc<dyn Outlet>,
    /// Where clusters' work goes.
    pub kube: Orders,
    /// Who watches.
    pub feed: Feed,
    /// Whom the door knows.
    pub people: Arc<People>,
    /// Whom the agents' door keeps out.
    pub bars: Arc<Bars>,
    /// To whom events are sent.
    pub hooks: Arc<Hooks>,
    /// What is counted.
    pub meters: Arc<Meters>,
    /// Who opens pull requests.
    pub publish: mpsc::Sender<Task>,
    /// Who compares checkpoints with the store.
    pub compare: mpsc::Sender<ChainHead>,
}

/// When to stop.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    /// Say goodbye to the agents.
    pub begin: CancellationToken,
    /// They have heard it: finish what is queued and end.
    pub end: CancellationToken,
}

/// The loop.
pub struct Turn {
    core: Hub,
    clock: Clock,
    store: Arc<dyn Store>,
    done: mpsc::Receiver<Vec<Completion>>,
    inputs: mpsc::Receiver<Input>,
    outlet: Arc<dyn Outlet>,
    kube: Orders,
    feed: Feed,
    people: Arc<People>,
    bars: Arc<Bars>,
    hooks: Arc<Hooks>,
    meter: Meter,
    publish: mpsc::Sender<Task>,
    compare: mpsc::Sender<ChainHead>,
    asks: mpsc::Receiver<Ask>,
    /// Batches that found the store's queue full.
    waiting: VecDeque<Batch>,
    requests: BTreeMap<u64, oneshot::Sender<Answer>>,
    next_request: u64,
}

impl Turn {
    /// A loop and the handle to ask it.
    pub fn new(parts: Parts) -> (Self, Handle) {
        let (asks, questions) = mpsc::channel(ASKS);
        let Parts {
            core,
            clock,
            store,
            done,
            inputs,
            outlet,
            kube,
            feed,
            people,
            bars,
            hooks,
            meters,
            publish,
            compare,
        } = parts;
        let turn = Self {
            core,
            clock,
            store,
            done,
            inputs,
            outlet,
            kube,
            feed,
            people,
            bars,
            hooks,
            meter: Meter::new(meters),
            publish,
            compare,
            asks: questions,
            waiting: VecDeque::new(),
            requests: BTreeMap::new(),
            next_request: 0,
        };
        (turn, Handle { asks })
    }

    /// Runs until it is told to stop, or the store's thread is gone. A dropped loop loses nothing that anyone was promised.
    pub async fn run(mut self, stop: Stop) -> Result<(), Lost> {
        let mut frames = Vec::with_capacity(INPUTS_AT_ONCE);
        let mut stopping = false;
        self.effects();
        loop {
            self.meter.queues(Queues {
                inputs: self.inputs.len(),
                asks: self.asks.len(),
                batches: self.waiting.len(),
            });
            let timeout = self.core.poll_timeout(self.clock.now());
            let tick = async {
                match timeout {
                    Some(span) => tokio::time::sleep(span).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.end.cancelled() => break,
                () = stop.begin.cancelled(), if !stopping => {
                    stopping = true;
                    self.turn(Input::Stop);
                }
                completions = self.done.recv() => self.completed(completions.ok_or(Lost::Store)?),
                Some(ask) = self.asks.recv() => self.asked(ask),
                _count = self.inputs.recv_many(&mut frames, INPUTS_AT_ONCE), if self.waiting.is_empty() && !self.inputs.is_closed() => {
                    for input in frames.drain(..) {
                        self.turn(input);
                    }
                }
                () = tick => self.turn(Input::Tick),
            }
        }
        self.finish().await;
        Ok(())
    }

    /// One turn: feeds one input to the core, then starts its effects.
    fn turn(&mut self, input: Input) {
        self.meter.told(&input);
        self.core.handle(input, self.clock.now());
        self.effects();
    }

    fn effects(&mut self) {
        while let Some(effect) = self.core.poll_effect() {
            match effect {
                Effect::Store(batch) => self.store(batch),
                Effect::Send { session, frame } => self.outlet.send(session, &frame),
                Effect::Close { session, reason } => self.outlet.close(session, &reason),
                Effect::Reply { request, answer } => self.reply(request, answer),
                Effect::Changed(Change::Access { kind, id }) => self.people.changed(self.core.access(), kind, &id),
                Effect::Changed(Change::Identity(agent)) => self.bars.changed(self.core.agents(), &agent),
                Effect::Changed(Change::Webhook { id }) => self.hooks.changed(self.core.webhooks(), &id),
                Effect::Kube(effect) => {
                    if let Some(refused) = self.kube.start(effect) {
                        self.core.handle(refused, self.clock.now());
                    }
                }
                Effect::Publish(task) => {
                    if self.publish.try_send(*task).is_err() {
                        tracing::warn!("too many pull requests wait: the rest is asked for after the next start");
                    }
                }
                // There is room for more than the core asks for at once.
                Effect::Compare { head } => drop(self.compare.try_send(head)),
                Effect::Changed(change) => {
                    let now = self.clock.now();
                    self.feed.changed(change, &self.core, now);
                }
            }
        }
    }

    fn store(&mut self, batch: Batch) {
        self.meter.begins(&batch);
        if !self.waiting.is_empty() {
            self.waiting.push_back(batch);
            return;
        }
        if let Err(batch) = self.store.write(batch) {
            self.waiting.push_back(batch);
        }
    }

    fn completed(&mut self, completions: Vec<Completion>) {
        while let Some(batch) = self.waiting.pop_front() {
            if let Err(batch) = self.store.write(batch) {
                self.waiting.push_front(batch);
                break;
            }
        }
        for Completion { token, outcome } in completions {
            if outcome.is_stored() {
                self.feed.arrived();
            }
            if !matches!(outcome, Outcome::Unknown(_)) {
                self.meter.ended(token, outcome.is_stored());
            }
            self.turn(match outcome {
                Outcome::Stored => Input::Stored { token },
                Outcome::Failed(reason) => Input::StoreFailed { token, reason },
                Outcome::Unknown(reason) => Input::StoreUnknown { token, reason },
            });
        }
    }

    fn asked(&mut self, ask: Ask) {
        let now = self.clock.now();
        // Whoever asked may have gone: then nobody hears the answer.
        match ask {
            Ask::Request(what, answer) => {
                self.requests.retain(|_, waiting| !waiting.is_closed());
                let request = self.next_request;
                self.next_request += 1;
                self.requests.insert(request, answer);
                self.turn(Input::Request { request, what: *what });
            }
            Ask::Nodes(answer) => drop(answer.send(self.core.nodes(now))),
            Ask::Node(agent, answer) => drop(answer.send(self.core.node(&agent, now))),
            Ask::Reported(agent, answer) => drop(answer.send(self.core.reported(&agent))),
            Ask::Policy(answer) => drop(answer.send(self.core.policy(now))),
            Ask::Domains(answer) => drop(answer.send(self.core.domains(now))),
            Ask::Clusters(answer) => drop(answer.send(self.core.clusters())),
            Ask::Rollouts(answer) => drop(answer.send(self.core.rollouts())),
            Ask::Scaling(answer) => drop(answer.send(self.core.scaling())),
            Ask::Placement(ask, answer) => drop(answer.send(self.core.placement(&ask, now))),
            Ask::Tasks(answer) => drop(answer.send(self.core.tasks())),
            Ask::ExplainFixes(repository, answer) => drop(answer.send(self.core.explain_fixes(&repository, now))),
            Ask::RemediationAgents(answer) => drop(answer.send(self.core.remediation_agents())),
            Ask::Task(id, answer) => drop(answer.send(self.core.task(&id).cloned())),
            Ask::Tokens(answer) => drop(answer.send(self.core.agents().tokens().cloned().collect())),
            Ask::Epoch(answer) => drop(answer.send(self.core.hub_epoch())),
            Ask::Checkpoints(answer) => {
                let breaks = self.core.journal_breaks().cloned().collect();
                drop(answer.send((self.core.checkpoint().cloned(), breaks)));
            }
            Ask::Now(answer) => drop(answer.send(now)),
            Ask::Shadow(record, answer) => drop(answer.send(self.core.shadow_plan(&record, now))),
            Ask::GpuLimit(answer) => drop(answer.send(self.core.gpu_limit())),
            Ask::Brains(answer) => drop(answer.send(self.core.brains(now))),
            Ask::Spared(answer) => drop(answer.send(self.core.spared())),
            Ask::Input(input) => self.turn(*input),
        }
    }

    fn reply(&mut self, request: u64, answer: Answer) {
        if let Some(waiting) = self.requests.remove(&request) {
            // Whoever asked may have gone.
            let _ = waiting.send(answer);
        }
    }

    async fn finish(mut self) {
        let last = tokio::time::timeout(LAST_WRITES, async {
            while !self.core.is_settled() {
                match self.done.recv().await {
                    Some(completions) => self.completed(completions),
                    None => break,
                }
            }
        });
        if last.await.is_err() {
            tracing::warn!("the disk did not take the last batches in time; agents send them again");
        }
    }
}

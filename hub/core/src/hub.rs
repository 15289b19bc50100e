//! The turn: one input in, effects out.
//!
//! Each kind of input is carried on by the module that owns its subject; what they share is the [`Hub`]. After every input the
//! queued rows go out as one batch, unless one is in flight already.
//!
//! Read next: `sessions.rs` (the conversation with one agent), `ingest.rs` (what agents send), `writer.rs` (when it counts).

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use wire::Quantity;
use wire::api::{BrainView, PlacementView, ShadowView};
use wire::change::ChangeRecord;
use wire::frame::{Frame, GoodbyeReason};
use wire::ids::{AgentId, Epoch, Generation};
use wire::plan::{Target, Verb};
use wire::time::{Mono, Now};

use crate::access::{Access, ApiToken, Session, User};
use crate::admission::Admission;
use crate::agents::{Agents, How, Identity, JoinToken};
use crate::bundles::Bundles;
use crate::checkpoints::{Checkpoints, JournalBreak};
use crate::clusters::{Attempt, Cluster, Clusters, KubeEffect, KubeInput};
use crate::commands::Commands;
use crate::cx::{Ask, Cx, Then};
use crate::documents::{Document, StoredDocument, Unreadable};
use crate::domains::Domains;
use crate::effect::{Answer, Change, Effect};
use crate::fleet::{Fleet, Place};
use crate::idempotency::{Keys, Remembered};
use crate::input::{Input, Recovered, Request, SessionId, Settings};
use crate::journal::{Journal, Settled};
use crate::plans::{BrainRecord, Interference, PaceRecord, PlanAsk, PlanRecord, Plans, StepAnswer, brain_view};
use crate::planted::Planted;
use crate::random::Random;
use crate::restore::Trust;
use crate::rollouts::{RolloutRecord, Rollouts};
use crate::rooms::PlacementAsk;
use crate::scaling::{Scaling, ScalingRecord};
use crate::sessions::Sessions;
use crate::tasks::agents::RemediationAgent;
use crate::tasks::{Task, Tasks};
use crate::timers::{Timer, Timers};
use crate::webhooks::{DeliveryLog, Webhook, Webhooks};
use crate::writer::{Meta, Writer};

/// Watchers hear of the policy, and how many nodes have it, at most this often.
const POLICY_TOLD_EVERY: Duration = Duration::from_millis(200);
/// And less often for each node of the fleet: a fiftieth of the time that looking at one takes.
const POLICY_TOLD_EACH: Duration = Duration::from_micros(50);

/// What a subject works with in this turn: everything of the hub but the subjects themselves.
macro_rules! cx {
    ($hub:ident, $now:expr) => {
        Cx::new(
            $now,
            $hub.bundles.rules(),
            &$hub.fleet,
            &mut $hub.asks,
            (&mut $hub.journal, &mut $hub.effects, &mut $hub.timers),
        )
    };
}

/// The hub's state.
#[derive(Debug)]
pub struct Hub {
    pub(crate) settings: Settings,
    pub(crate) random: Random,
    pub(crate) admission: Admission,
    pub(crate) trust: Trust,
    pub(crate) fleet: Fleet,
    pub(crate) sessions: Sessions,
    pub(crate) bundles: Bundles,
    pub(crate) commands: Commands,
    pub(crate) domains: Domains,
    pub(crate) writer: Writer,
    pub(crate) journal: Journal,
    pub(crate) access: Access,
    pub(crate) agents: Agents,
    pub(crate) checkpoints: Checkpoints,
    pub(crate) tasks: Tasks,
    pub(crate) plans: Plans,
    /// What nodes said of steps, for their plans.
    pub(crate) step_answers: VecDeque<StepAnswer>,
    /// What acted on nodes that plans look at, and is no plan's step.
    pub(crate) interferences: VecDeque<Interference>,
    /// Nodes with new stored readings.
    pub(crate) fresh_readings: BTreeSet<Place>,
    /// Nodes whose session was just welcomed.
    pub(crate) came: BTreeSet<Place>,
    clusters: Clusters,
    rollouts: Rollouts,
    scaling: Scaling,
    webhooks: Webhooks,
    keys: Keys,
    asks: VecDeque<Ask>,
    pub(crate) timers: Timers,
    /// As the store holds it: only this is shown to anyone.
    pub(crate) meta: Meta,
    /// As it is to be stored next.
    pub(crate) wanted: Meta,
    pub(crate) stopping: bool,
    pub(crate) effects: VecDeque<Effect>,
    changed_nodes: BTreeSet<Place>,
    pub(crate) policy_changed: bool,
    /// Watchers hear of the policy again from then on.
    policy_told_until: Mono,
}

impl Hub {
    /// A hub that carries on from what its store holds.
    ///
    /// Fails on a document that this program cannot read: then it is older than the one that wrote the store, and starting anyway
    /// would forget people and plans.
    pub fn new(settings: Settings, recovered: Recovered, now: Now) -> Result<Self, Unreadable> {
        Self::start(settings, recovered, now, Planted::Nothing)
    }

    /// As [`Hub::new`], with a bug that is there from the start.
    #[cfg(feature = "planted")]
    #[doc(hidden)]
    pub fn new_planted(
        settings: Settings,
        recovered: Recovered,
        now: Now,
        planted: Planted,
    ) -> Result<Self, Unreadable> {
        Self::start(settings, recovered, now, planted)
    }

    fn start(settings: Settings, mut recovered: Recovered, now: Now, planted: Planted) -> Result<Self, Unreadable> {
        let stored = recovered.meta.as_deref().and_then(Meta::decode);
        let meta = stored.unwrap_or_default();
        let mut wanted = meta;
        let (fleet, was_shut) = Fleet::recovered(std::mem::take(&mut recovered.agents))?;
        if meta.hub_epoch.0 == 0 {
            wanted.hub_epoch = settings.first_hub_epoch;
            wanted.hub_epoch.0 = wanted.hub_epoch.0.max(1);
        }
        let bundles = Bundles::recovered(recovered.bundle.take(), meta, &settings.trust_domain);
        wanted.generation_floor = wanted.generation_floor.max(bundles.newest_generation());
        let mut hub = Self {
            access: Access::recovered(&mut recovered)?,
            agents: Agents::recovered(&mut recovered, settings.certificates)?,
            checkpoints: Checkpoints::recovered(&mut recovered)?,
            tasks: {
                let tasks = taken::<Task>(&mut recovered);
                Tasks::recovered(tasks, taken::<RemediationAgent>(&mut recovered))?
            },
            plans: {
                let plans = taken::<PlanRecord>(&mut recovered);
                let brains = taken::<BrainRecord>(&mut recovered);
                Plans::recovered(plans, brains, taken::<PaceRecord>(&mut recovered), planted)?
            },
            step_answers: VecDeque::new(),
            interferences: VecDeque::new(),
            fresh_readings: BTreeSet::new(),
            came: BTreeSet::new(),
            clusters: {
                let clusters = taken::<Cluster>(&mut recovered);
                Clusters::recovered(clusters, taken::<Attempt>(&mut recovered))?
            },
            rollouts: recover::<RolloutRecord, _>(&mut recovered, Rollouts::recovered)?,
            scaling: recover::<ScalingRecord, _>(&mut recovered, Scaling::recovered)?,
            webhooks: Webhooks::recovered(&mut recovered)?,
            keys: Keys::recovered(&mut recovered)?,
            random: Random::new(settings.seed),
            admission: Admission::new(settings.max_handshakes),
            trust: Trust::default(),
            fleet,
            sessions: Sessions::default(),
            bundles,
            commands: Commands::default(),
            domains: Domains::recovered(recovered.turns, now.mono),
            writer: Writer::default(),
            journal: Journal::recovered(&recovered.journal, Epoch(wanted.hub_epoch.0), now),
            asks: VecDeque::new(),
            timers: Timers::default(),
            meta,
            wanted,
            stopping: false,
            effects: VecDeque::new(),
            changed_nodes: BTreeSet::new(),
            policy_changed: false,
            policy_told_until: Mono::default(),
            settings,
        };
        hub.carry_over_shut(was_shut, now);
        hub.recover_commands(&recovered.commands, now);
        hub.with_plans(now, |plans, cx| plans.carry_on(cx));
        hub.pass_on(now);
        hub.journal.seal();
        hub.timers.set(now.mono, Timer::Beacon);
        hub.timers.set(now.mono, Timer::Access);
        hub.timers.set(now.mono, Timer::Agents);
        hub.timers.set(now.mono, Timer::Checkpoint);
        let (clusters, _, mut cx) = hub.kube_cx(now);
        clusters.start(&mut cx);
        let (_, rollouts, mut cx) = hub.kube_cx(now);
        rollouts.start(&mut cx);
        let mut cx = cx!(hub, now);
        hub.scaling.start(&mut cx);
        let (tasks, mut cx) = hub.tasks_cx(now);
        tasks.resume(&mut cx);
        hub.journal.seal();
        hub.flush(now);
        Ok(hub)
    }

    /// Tells it one thing that happened.
    pub fn handle(&mut self, input: Input, now: Now) {
        match input {
            Input::SessionOpened { session, agent } => self.opened(session, &agent, now),
            Input::SessionClosed { session, reason } => self.closed(session, &reason, now),
            Input::Frame { session, frame } => self.frame(session, frame, now),
            Input::Stored { token } => self.stored(token, now),
            Input::StoreUnknown { token, reason } => self.store_unknown(token, &reason, now),
            Input::StoreFailed { token, reason } => self.store_failed(token, &reason, now),
            Input::Pruned { owners } => self.pruned(owners, now),
            Input::Kube(told) => self.kube(told, now),
            Input::Compared { head, held } => self.compared(head, held, now),
            Input::Request { request, what } => self.request(request, what, now),
            Input::Stop => self.stop(now),
            Input::Tick => {}
        }
        self.run_timers(now);
        self.turn_domains(now);
        self.pass_on(now);
        for then in self.journal.seal() {
            self.told_stored(then, now);
        }
        self.journal.carry_on(Epoch(self.meta.hub_epoch.0), now);
        self.flush(now);
        self.announce(now);
    }

    /// Changes of the hub's own journal are durable: their documents stand, and whoever waited for them is told.
    pub(crate) fn changes_stored(&mut self, now: Now) {
        for settled in self.journal.stored() {
            self.settle_documents(&settled, true);
            for then in settled.thens {
                self.told_stored(then, now);
            }
        }
    }

    /// Changes were not written: memory goes back to what the store holds, the latest first.
    pub(crate) fn changes_failed(&mut self, reason: &str, now: Now) {
        let lost = self.journal.failed();
        // All of it first: whoever hears that a change is lost goes on from what is stored, not from another one that is lost too.
        for settled in &lost {
            self.settle_documents(settled, false);
        }
        for then in lost.into_iter().flat_map(|settled| settled.thens.into_iter().rev()) {
            self.told_failed(then, reason, now);
        }
    }

    /// Each kind of document belongs to one subject.
    fn settle_documents(&mut self, settled: &Settled, is_stored: bool) {
        for (kind, id, revision) in &settled.documents {
            match *kind {
                User::KIND | Session::KIND | ApiToken::KIND => {
                    self.access.settle(kind, id, *revision, is_stored);
                    if is_stored {
                        let id = id.clone();
                        self.effects.push_back(Effect::Changed(Change::Access { kind, id }));
                    }
                }
                Identity::KIND | JoinToken::KIND => {
                    self.agents.settle(kind, id, *revision, is_stored);
                    if *kind == Identity::KIND
                        && let Ok(agent) = AgentId::new(id.as_str())
                    {
                        self.effects.push_back(Effect::Changed(Change::Identity(agent)));
                    }
                }
                Task::KIND | RemediationAgent::KIND => self.tasks.settle(kind, id, *revision, is_stored),
                PlanRecord::KIND | BrainRecord::KIND | PaceRecord::KIND => {
                    self.plans.settle(kind, id, *revision, is_stored)
                }
                Cluster::KIND | Attempt::KIND => self.clusters.settle(kind, id, *revision, is_stored),
                RolloutRecord::KIND => self.rollouts.settle(id, *revision, is_stored),
                ScalingRecord::KIND => self.scaling.settle(id, *revision, is_stored),
                JournalBreak::KIND => self.checkpoints.settle(id, *revision, is_stored),
                Remembered::KIND => self.keys.settle(id, *revision, is_stored),
                Webhook::KIND | DeliveryLog::KIND => {
                    self.webhooks.settle(kind, id, *revision, is_stored);
                    if is_stored {
                        self.effects.push_back(Webhooks::changed(id));
                    }
                }
                other => unreachable!("no subject writes documents of kind `{other}`"),
            }
        }
    }

    fn told_stored(&mut self, then: Then, now: Now) {
        match then {
            Then::Plan { id, revision } => self.with_plans(now, |plans, cx| plans.stored(id, revision, cx)),
            Then::Reply { request, answer } => self.reply(request, *answer),
            Then::Joined { agent, site } => self.joined(&agent, site),
            Then::Gone { agent } => self.gone(&agent),
            Then::Kube(effect) | Then::KubeFor { effect, .. } => {
                if let KubeEffect::Close { name } = &*effect {
                    self.fleet.rooms.forget(name);
                }
                self.effects.push_back(Effect::Kube(*effect));
            }
            Then::Publish { task } => {
                let (tasks, mut cx) = self.tasks_cx(now);
                tasks.may_publish(&task, &mut cx);
            }
        }
    }

    fn told_failed(&mut self, then: Then, reason: &str, now: Now) {
        match then {
            Then::Plan { id, .. } => self.with_plans(now, |plans, cx| plans.not_stored(id, cx)),
            Then::Reply { request, .. } => {
                let reason = reason.to_owned();
                self.reply(request, Answer::Unavailable { reason });
            }
            // What was not recorded is not done; a rollout is looked at again in a moment.
            Then::Kube(_) | Then::Joined { .. } | Then::Gone { .. } => {}
            Then::KubeFor { request, id, .. } => {
                self.clusters.dropped(&id);
                let reason = reason.to_owned();
                self.reply(request, Answer::Unavailable { reason });
            }
            // What was to be published is not stored, so it is not published.
            Then::Publish { .. } => {}
        }
    }

    /// The next thing to do.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When to tell it [`Input::Tick`] if nothing else happens before; zero when that is due.
    pub fn poll_timeout(&self, now: Now) -> Option<Duration> {
        let paused = self.writer.paused_until();
        let next = self.timers.next().into_iter().chain(paused).min()?;
        Some(next.since(now.mono))
    }

    /// How many things wait for their time.
    pub fn timers(&self) -> usize {
        self.timers.len()
    }

    /// The generation that the next published bundle gets.
    pub fn next_generation(&self) -> Generation {
        let newest = self.bundles.newest_generation();
        let floor = self.counted(self.wanted.generation_floor).max(self.counted(newest));
        self.bundles.next_generation(floor)
    }

    fn request(&mut self, request: u64, what: Request, now: Now) {
        if self.stopping {
            let reason = "the hub stops".to_owned();
            return self.reply(request, Answer::Unavailable { reason });
        }
        if self.journal.is_crowded() {
            let reason = "too many changes wait for the store".to_owned();
            return self.reply(request, Answer::Unavailable { reason });
        }
        match what {
            Request::Publish { caller, text } => self.publish(request, caller, text, now),
            Request::PublishSigned { caller, signed } => self.publish_signed(request, caller, signed, now),
            Request::Roles {
                caller,
                chain,
                policy_key,
                beacon_key,
            } => {
                let version = chain.newest().version;
                let target = format!("roles/{version}");
                self.record(ChangeRecord::new(caller, "roles.trust", target), now);
                self.use_keys(policy_key, beacon_key);
                self.trust(request, chain, now);
            }
            Request::Access { caller, what } => {
                let mut cx = cx!(self, now);
                self.access.handle(request, caller, what, &mut cx);
            }
            Request::Agents { caller, what } => {
                let mut cx = cx!(self, now);
                self.agents.handle(request, caller, what, &mut cx);
            }
            Request::Plan { caller, what } => {
                if let Some(reason) = self.unknown_cluster(&what) {
                    return self.reply(request, Answer::Rejected { reason });
                }
                self.with_plans(now, |plans, cx| plans.handle(request, caller, what, cx));
            }
            Request::Clusters { caller, what } => {
                let (clusters, _, mut cx) = self.kube_cx(now);
                clusters.handle(request, caller, what, &mut cx);
            }
            Request::Scaling { caller, what } => {
                let clusters = &self.clusters;
                let mut cx = cx!(self, now);
                let knows = |name: &str| clusters.knows(name);
                self.scaling.handle(request, caller, what, knows, &mut cx);
            }
            Request::Rollouts { caller, what } => {
                let (_, rollouts, mut cx) = self.kube_cx(now);
                rollouts.handle(request, caller, what, &mut cx);
            }
            Request::Tasks { caller, what } => {
                let (tasks, mut cx) = self.tasks_cx(now);
                tasks.handle(request, caller, what, &mut cx);
            }
            Request::Keys { what } => {
                let mut cx = cx!(self, now);
                self.keys.handle(request, what, &mut cx);
            }
            Request::Webhooks { caller, what } => {
                let mut cx = cx!(self, now);
                self.webhooks.handle(request, caller, what, &mut cx);
            }
            Request::Note { change } => {
                let mut cx = cx!(self, now);
                cx.record(change);
                cx.reply_when_stored(request, Answer::Noted);
            }
            Request::Refused { change } => {
                let mut cx = cx!(self, now);
                self.access.refused(change, &mut cx);
                cx.reply(request, Answer::Noted);
            }
            Request::AcceptBreaks { caller, reason } => {
                let (checkpoints, mut cx) = self.checkpoints_cx(now);
                checkpoints.accept(request, caller, &reason, &mut cx);
            }
            Request::Export { caller } => self.export(request, caller, now),
            Request::Await { id, wait } => self.await_command(request, &id, wait, now),
            Request::Cancel { caller, id, reason } => self.cancel_command(request, caller, &id, &reason, now),
            Request::Order {
                id,
                agent,
                caller,
                reason,
                what,
                valid_for,
                wait,
            } => {
                let Some(place) = self.fleet.place(&agent) else {
                    return self.reply(request, Answer::UnknownAgent);
                };
                let order = crate::commands::Asked {
                    id,
                    caller,
                    reason,
                    what,
                    valid_for,
                };
                self.order(request, place, order, wait, now);
            }
        }
    }

    fn with_plans(&mut self, now: Now, turn: impl FnOnce(&mut Plans, &mut Cx<'_>)) {
        let mut cx = cx!(self, now);
        turn(&mut self.plans, &mut cx);
    }

    /// A plan names a cluster that nobody has registered.
    fn unknown_cluster(&self, what: &PlanAsk) -> Option<String> {
        let PlanAsk::Submit { draft, .. } = what else {
            return None;
        };
        // Where the hub chooses the cluster, it chooses one that it knows.
        let is_open = |step: &wire::plan::Step| {
            let is_placed = matches!(step.verb, Verb::Deploy { .. });
            is_placed && step.target.cluster() == Some(Target::ANY_CLUSTER)
        };
        let named = draft.steps.iter().filter(|step| !is_open(step));
        let mut names = named.filter_map(|step| step.target.cluster());
        let name = names.find(|name| !self.clusters.knows(name))?;
        Some(format!("target.cluster: {}", crate::clusters::unknown(name)))
    }

    /// Carries on what subjects ask of each other, until nobody asks for more. The graph of asks:
    ///
    /// | who | asks | for |
    /// |---|---|---|
    /// | plans | commands | a step to be brought to its node |
    /// | plans | clusters | a deployment or a node of a cluster to be changed |
    /// | scaling | plans | a deployment to have another number of replicas |
    /// | clusters | plans | nothing: they tell what came of a change |
    /// | agents | fleet | sessions of one that is shut out to be cut |
    /// | commands, fleet | plans | nothing: they tell what came of a step, which node came, what was read |
    fn pass_on(&mut self, now: Now) {
        loop {
            while let Some(place) = self.came.pop_first() {
                let node = self.fleet.node(place).id().clone();
                self.with_plans(now, |plans, cx| plans.node_came(&node, cx));
            }
            while let Some(found) = self.interferences.pop_front() {
                self.with_plans(now, |plans, cx| plans.interfered(&found, cx));
            }
            while let Some(place) = self.fresh_readings.pop_first() {
                let node = self.fleet.node(place).id().clone();
                if self.plans.looks_at(&node) {
                    self.with_plans(now, |plans, cx| plans.readings(&node, cx));
                }
            }
            while let Some(answer) = self.step_answers.pop_front() {
                self.with_plans(now, |plans, cx| plans.answered(answer, cx));
            }
            match self.asks.pop_front() {
                Some(Ask::StepUnlessKnown(order)) if self.knows_command(&order.command) => {}
                Some(Ask::Step(order) | Ask::StepUnlessKnown(order)) => self.order_step(*order, now),
                Some(Ask::Cluster(order)) => {
                    let (clusters, _, mut cx) = self.kube_cx(now);
                    clusters.step(*order, &mut cx);
                }
                Some(Ask::Scale(asked)) => self.with_plans(now, |plans, cx| plans.scale(asked.0, asked.1, cx)),
                Some(Ask::Answered(answer)) => self.step_answers.push_back(*answer),
                Some(Ask::Shut { agent }) => self.cut(&agent, now),
                Some(Ask::Opened { agent }) => self.let_in_again(&agent, now),
                None if self.step_answers.is_empty() => break,
                None => {}
            }
        }
    }

    pub(crate) fn kube_cx(&mut self, now: Now) -> (&mut Clusters, &mut Rollouts, Cx<'_>) {
        let rules = self.bundles.rules();
        let tools = (&mut self.journal, &mut self.effects, &mut self.timers);
        let cx = Cx::new(now, rules, &self.fleet, &mut self.asks, tools);
        (&mut self.clusters, &mut self.rollouts, cx)
    }

    /// A cluster has done or told something.
    fn kube(&mut self, told: KubeInput, now: Now) {
        let (clusters, rollouts, mut cx) = self.kube_cx(now);
        match told {
            KubeInput::Looked { plan, step, standing } => {
                self.with_plans(now, |plans, cx| plans.looked(plan, step, &standing, cx));
            }
            KubeInput::Nodes { cluster, facts } => {
                let nodes = facts.nodes.iter().map(|node| (node.name.clone(), node.agent.clone()));
                let nodes: Vec<(String, AgentId)> = nodes.collect();
                clusters.nodes_told(&nodes, &mut cx);
                self.fleet.join(&cluster, nodes);
                let known = self.clusters.clusters().find(|one| one.name == cluster);
                let told = known.map(|cluster| self.fleet.rooms.told(cluster, *facts, now.mono));
                let told = told.unwrap_or_default();
                for (target, drift, mends) in told.drifted {
                    self.record(crate::clusters::drifted(&target, &drift, mends), now);
                }
                for mend in told.mends {
                    self.asks.push_back(Ask::Scale(Box::new(mend)));
                }
            }
            KubeInput::Changed { id, outcome } => clusters.changed(&id, outcome, &mut cx),
            KubeInput::Marked {
                node,
                fault,
                changed,
                failed,
            } => {
                clusters.marked(&node, &fault, &changed, failed, &mut cx);
            }
            KubeInput::Load { target, plan, seen } => {
                let mut cx = cx!(self, now);
                self.scaling.seen(&target, plan, *seen, &mut cx);
            }
            KubeInput::Observed {
                rollout,
                facts,
                measured,
            } => rollouts.observed(&rollout, &facts, measured, &mut cx),
        }
    }

    /// Every stored cluster, by name.
    pub fn clusters(&self) -> Vec<Cluster> {
        self.clusters.clusters().cloned().collect()
    }

    /// Every deployment that the hub scales.
    pub fn scaling(&self) -> Vec<wire::kube::ScalingView> {
        self.scaling.views().collect()
    }

    /// Where something would go now, and why not elsewhere.
    pub fn placement(&self, ask: &PlacementAsk, now: Now) -> Result<PlacementView, String> {
        let promises = self.plans.promises();
        self.fleet.rooms.explain(ask, &promises, &self.fleet, now.mono)
    }

    /// Every stored rollout that is not finished.
    pub fn rollouts(&self) -> Vec<wire::kube::RolloutView> {
        self.rollouts.views().collect()
    }

    fn tasks_cx(&mut self, now: Now) -> (&mut Tasks, Cx<'_>) {
        let rules = self.bundles.rules();
        let tools = (&mut self.journal, &mut self.effects, &mut self.timers);
        let cx = Cx::new(now, rules, &self.fleet, &mut self.asks, tools);
        (&mut self.tasks, cx)
    }

    pub(crate) fn checkpoints_cx(&mut self, now: Now) -> (&mut Checkpoints, Cx<'_>) {
        let cx = cx!(self, now);
        (&mut self.checkpoints, cx)
    }

    /// A stored task by id.
    pub fn task(&self, id: &str) -> Option<&Task> {
        self.tasks.task(id)
    }

    /// What policy says of repairs in a repository now.
    pub fn explain_fixes(&self, repository: &str, now: Now) -> crate::tasks::Explained {
        self.tasks.explain(repository, self.bundles.rules(), now)
    }

    /// Every stored remediation agent.
    pub fn remediation_agents(&self) -> Vec<RemediationAgent> {
        self.tasks.agents().cloned().collect()
    }

    /// Every stored task, oldest first.
    pub fn tasks(&self) -> Vec<Task> {
        self.tasks.all().cloned().collect()
    }

    /// What policy would say of each step of this plan now; `None` while no bundle was published.
    pub fn shadow_plan(&self, record: &PlanRecord, now: Now) -> Option<ShadowView> {
        self.plans.shadow(record, self.bundles.rules(), &self.fleet, now)
    }

    /// The temperature at which the rules in force act on a GPU, in thousandths of a degree: what a brain foresees comes before it.
    pub fn gpu_limit(&self) -> Option<i64> {
        self.bundles.rules()?.lowest_limit(Quantity::GpuTemperature)
    }

    /// Every brain that was graded, with every verb, as it is stored.
    pub fn brains(&self, now: Now) -> Vec<BrainView> {
        self.plans.brains().map(|found| brain_view(found, now)).collect()
    }

    /// Identities and join tokens, as they are stored.
    pub fn agents(&self) -> &Agents {
        &self.agents
    }

    /// Outgoing webhooks and their deliveries, as they are stored.
    pub fn webhooks(&self) -> &Webhooks {
        &self.webhooks
    }

    /// People, their sessions and their tokens, as they are stored.
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// A machine is an agent, or one that was has another site.
    fn joined(&mut self, agent: &AgentId, site: String) {
        let place = self.fleet.place_or_new(agent, &site);
        let node = self.fleet.node_mut(place);
        node.record.site = site;
        node.record.removed = false;
        node.record_changed = true;
        // Whoever held the identity before was another machine, or this one before it joined.
        node.forget_processes();
        self.enqueue(place);
        self.touch(place);
        self.recount(place);
        self.policy_changed = true;
    }

    /// An agent is not of this fleet any more; what it has recorded stays.
    fn gone(&mut self, agent: &AgentId) {
        let Some(place) = self.fleet.place(agent) else {
            return;
        };
        let node = self.fleet.node_mut(place);
        node.record.removed = true;
        node.record_changed = true;
        self.enqueue(place);
        self.touch(place);
        self.recount(place);
        self.policy_changed = true;
    }

    /// An agent is shut out: its sessions end, and it is told why.
    pub(crate) fn cut(&mut self, agent: &AgentId, now: Now) {
        let taken = || {
            let detail = "another machine has taken the place of this one".to_owned();
            (GoodbyeReason::Denied, crate::sessions::DENIED_RETRY, detail)
        };
        let (goodbye, wait, detail) = self.shut_out(agent).unwrap_or_else(taken);
        let Some(place) = self.fleet.place(agent) else {
            return;
        };
        let node = self.fleet.node_mut(place);
        node.record.since = Some(now.wall);
        node.record_changed = true;
        for session in [node.session, node.greeting].into_iter().flatten() {
            self.dismiss(session, goodbye, wait, &detail, now);
        }
        self.enqueue(place);
        self.touch(place);
        self.recount(place);
    }

    /// An agent may come in again.
    fn let_in_again(&mut self, agent: &AgentId, now: Now) {
        let Some(place) = self.fleet.place(agent) else {
            return;
        };
        let node = self.fleet.node_mut(place);
        node.record.since = Some(now.wall);
        node.record_changed = true;
        node.forget_processes();
        self.enqueue(place);
        self.touch(place);
        self.recount(place);
    }

    /// Nodes that a hub before this one had shut out in their own records.
    fn carry_over_shut(&mut self, was_shut: Vec<(Place, How, String)>, now: Now) {
        for (place, how, reason) in was_shut {
            let record = &self.fleet.node(place).record;
            let (agent, site) = (record.agent.clone(), record.site.clone());
            self.fleet.node_mut(place).record_changed = true;
            let mut cx = cx!(self, now);
            self.agents.was_shut(&agent, &site, how, reason, &mut cx);
            self.enqueue(place);
        }
    }

    /// Two processes use one identity.
    pub(crate) fn quarantine_agent(&mut self, place: Place, reason: &str, now: Now) {
        let record = &self.fleet.node(place).record;
        let (agent, site) = (record.agent.clone(), record.site.clone());
        let mut cx = cx!(self, now);
        self.agents.quarantine(&agent, &site, reason, &mut cx);
    }

    /// The hub holds of this agent what the agent itself does not know of.
    pub(crate) fn note_fork(&mut self, place: Place, detail: String, now: Now) {
        let record = &self.fleet.node(place).record;
        let (agent, site) = (record.agent.clone(), record.site.clone());
        let mut cx = cx!(self, now);
        self.agents.note_fork(&agent, &site, detail, &mut cx);
        self.touch(place);
    }

    fn stop(&mut self, now: Now) {
        self.stopping = true;
        for session in self.sessions.ids() {
            let wait = self.admission.slot(now.mono) + self.random.below(Duration::from_secs(1));
            self.dismiss(session, GoodbyeReason::Stopping, wait, "the hub stops", now);
        }
        self.stop_commands(now);
    }

    fn run_timers(&mut self, now: Now) {
        while let Some(timer) = self.timers.due(now.mono) {
            match timer {
                Timer::Hello(session) => self.hello_overdue(session, now),
                Timer::Wait(id) => self.wait_over(&id, now),
                Timer::Expire(id) => self.expire(&id),
                Timer::Ack(place) => self.ack_time(place, now),
                Timer::Beacon => self.beacon_time(now),
                Timer::Domains => self.count_domains(now),
                Timer::Tasks => {
                    let (tasks, mut cx) = self.tasks_cx(now);
                    tasks.due(&mut cx);
                }
                Timer::Agents => {
                    let mut cx = cx!(self, now);
                    self.agents.time(&mut cx);
                }
                Timer::Access => {
                    let mut cx = cx!(self, now);
                    self.access.time(&mut cx);
                    self.keys.sweep(&mut cx);
                }
                Timer::Checkpoint => self.checkpoint_time(now),
                Timer::Plan(id) => self.with_plans(now, |plans, cx| plans.due(id, cx)),
                Timer::Clusters => {
                    let (clusters, _, mut cx) = self.kube_cx(now);
                    clusters.due(&mut cx);
                }
                Timer::Scaling => {
                    let mut cx = cx!(self, now);
                    self.scaling.due(&mut cx);
                }
                Timer::Rollouts => {
                    let (_, rollouts, mut cx) = self.kube_cx(now);
                    rollouts.due(&mut cx);
                }
                // What it is for stands in `policy_changed`, which is looked at after every input.
                Timer::Policy => {}
            }
        }
    }

    /// Notes that a node's row changed.
    pub(crate) fn touch(&mut self, place: Place) {
        self.changed_nodes.insert(place);
    }

    fn announce(&mut self, now: Now) {
        while let Some(place) = self.changed_nodes.pop_first() {
            let agent = self.fleet.node(place).id().clone();
            self.effects.push_back(Effect::Changed(Change::Node(agent)));
        }
        if self.policy_changed {
            self.announce_policy(now);
        }
    }

    /// Records in the hub's own journal why something changes, as a part of this input's change.
    pub(crate) fn record(&mut self, change: ChangeRecord, now: Now) {
        self.journal.open().record(now, change.into_body());
    }

    /// At once if nobody was told lately, else a little later: counting who has the bundle looks at every node.
    fn announce_policy(&mut self, now: Now) {
        if now.mono < self.policy_told_until {
            return self.timers.set(self.policy_told_until, Timer::Policy);
        }
        let nodes = u32::try_from(self.fleet.count()).unwrap_or(u32::MAX);
        self.policy_told_until = now.mono + POLICY_TOLD_EVERY + POLICY_TOLD_EACH.saturating_mul(nodes);
        self.policy_changed = false;
        self.effects.push_back(Effect::Changed(Change::Policy));
    }

    pub(crate) fn send(&mut self, session: SessionId, frame: Frame) {
        self.effects.push_back(Effect::Send { session, frame });
    }

    pub(crate) fn reply(&mut self, request: u64, answer: Answer) {
        self.effects.push_back(Effect::Reply { request, answer });
    }
}

/// Takes the documents of one kind, with the unique keys of all of them.
fn taken<D: Document>(recovered: &mut Recovered) -> (Vec<StoredDocument>, Vec<(String, String)>) {
    let documents = recovered
        .documents
        .extract_if(.., |document| document.kind == D::KIND)
        .collect();
    let keys = recovered.document_keys.extract_if(.., |(kind, ..)| kind == D::KIND);
    (documents, keys.map(|(_, key, id)| (key, id)).collect())
}

/// Takes the documents of one kind, and makes their subject.
pub(crate) fn recover<D: Document, S>(
    recovered: &mut Recovered,
    subject: impl FnOnce(Vec<StoredDocument>, Vec<(String, String)>) -> Result<S, Unreadable>,
) -> Result<S, Unreadable> {
    let (documents, keys) = taken::<D>(recovered);
    subject(documents, keys)
}

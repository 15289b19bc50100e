//! The turn: one input in, effects out.
//!
//! Each kind of input is carried on by the module that owns its subject; what they share is the [`Hub`]. After every input the
//! queued rows go out as one batch, unless one is in flight already.
//!
//! Read next: `sessions.rs` (the conversation with one agent), `ingest.rs` (what agents send), `writer.rs` (when it counts).

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use wire::api::ShadowView;
use wire::change::{Caller, ChangeRecord};
use wire::frame::{Frame, GoodbyeReason};
use wire::ids::{AgentId, Epoch, Generation};
use wire::time::{Mono, Now};

use crate::access::{Access, ApiToken, Session, User};
use crate::admission::Admission;
use crate::bundles::Bundles;
use crate::clusters::{Attempt, Cluster, Clusters, KubeInput};
use crate::commands::Commands;
use crate::cx::{Ask, Cx, Then};
use crate::documents::{Document, StoredDocument, Unreadable};
use crate::domains::Domains;
use crate::effect::{Answer, Change, Effect};
use crate::fleet::{Fleet, Place};
use crate::input::{Input, Recovered, Request, SessionId, Settings};
use crate::journal::{Journal, Settled};
use crate::plans::{PlanAsk, PlanRecord, Plans, StepAnswer, shadow_view};
use crate::random::Random;
use crate::restore::Trust;
use crate::rollouts::{RolloutRecord, Rollouts};
use crate::sessions::Sessions;
use crate::tasks::agents::RemediationAgent;
use crate::tasks::{Task, Tasks};
use crate::timers::{Timer, Timers};
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
    pub(crate) tasks: Tasks,
    plans: Plans,
    /// What nodes said of steps, for their plans.
    pub(crate) step_answers: VecDeque<StepAnswer>,
    /// Nodes with new stored readings.
    pub(crate) fresh_readings: BTreeSet<Place>,
    /// Nodes whose session was just welcomed.
    pub(crate) came: BTreeSet<Place>,
    clusters: Clusters,
    rollouts: Rollouts,
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
    pub fn new(settings: Settings, mut recovered: Recovered, now: Now) -> Result<Self, Unreadable> {
        let stored = recovered.meta.as_deref().and_then(Meta::decode);
        let meta = stored.unwrap_or_default();
        let mut wanted = meta;
        if meta.hub_epoch.0 == 0 {
            wanted.hub_epoch = settings.first_hub_epoch;
            wanted.hub_epoch.0 = wanted.hub_epoch.0.max(1);
        }
        let bundles = Bundles::recovered(recovered.bundle.take(), meta, &settings.trust_domain);
        wanted.generation_floor = wanted.generation_floor.max(bundles.newest_generation());
        let mut hub = Self {
            access: Access::recovered(&mut recovered)?,
            tasks: {
                let tasks = taken::<Task>(&mut recovered);
                Tasks::recovered(tasks, taken::<RemediationAgent>(&mut recovered))?
            },
            plans: recover::<PlanRecord, _>(&mut recovered, Plans::recovered)?,
            step_answers: VecDeque::new(),
            fresh_readings: BTreeSet::new(),
            came: BTreeSet::new(),
            clusters: {
                let clusters = taken::<Cluster>(&mut recovered);
                Clusters::recovered(clusters, taken::<Attempt>(&mut recovered))?
            },
            rollouts: recover::<RolloutRecord, _>(&mut recovered, Rollouts::recovered)?,
            random: Random::new(settings.seed),
            admission: Admission::new(settings.max_handshakes),
            trust: Trust::default(),
            fleet: Fleet::recovered(recovered.agents),
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
        hub.recover_commands(&recovered.commands, now);
        hub.with_plans(now, |plans, cx| plans.carry_on(cx));
        hub.pass_on(now);
        hub.journal.seal();
        hub.timers.set(now.mono, Timer::Beacon);
        hub.timers.set(now.mono, Timer::Access);
        let (clusters, _, mut cx) = hub.kube_cx(now);
        clusters.start(&mut cx);
        let (_, rollouts, mut cx) = hub.kube_cx(now);
        rollouts.start(&mut cx);
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
            Input::StoreFailed { token, reason } => self.store_failed(token, &reason, now),
            Input::Enrolled { agent, site } => self.enrolled(&agent, site, now),
            Input::Denied { agent, reason } => self.denied(&agent, reason, now),
            Input::Kube(told) => self.kube(told, now),
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
        for settled in self.journal.failed() {
            self.settle_documents(&settled, false);
            for then in settled.thens.into_iter().rev() {
                self.told_failed(then, reason, now);
            }
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
                Task::KIND | RemediationAgent::KIND => self.tasks.settle(kind, id, *revision, is_stored),
                PlanRecord::KIND => self.plans.settle(id, *revision, is_stored),
                Cluster::KIND | Attempt::KIND => self.clusters.settle(kind, id, *revision, is_stored),
                RolloutRecord::KIND => self.rollouts.settle(id, *revision, is_stored),
                other => unreachable!("no subject writes documents of kind `{other}`"),
            }
        }
    }

    fn told_stored(&mut self, then: Then, now: Now) {
        match then {
            Then::Plan { id, revision } => self.with_plans(now, |plans, cx| plans.stored(id, revision, cx)),
            Then::Reply { request, answer } => self.reply(request, *answer),
            Then::Kube(effect) | Then::KubeFor { effect, .. } => self.effects.push_back(Effect::Kube(*effect)),
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
            Then::Kube(_) => {}
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
            Request::Rollouts { caller, what } => {
                let (_, rollouts, mut cx) = self.kube_cx(now);
                rollouts.handle(request, caller, what, &mut cx);
            }
            Request::Tasks { caller, what } => {
                let (tasks, mut cx) = self.tasks_cx(now);
                tasks.handle(request, caller, what, &mut cx);
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
            Request::Export { caller } => self.export(request, caller, now),
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
        let mut names = draft.steps.iter().filter_map(|step| step.target.cluster());
        let name = names.find(|name| !self.clusters.knows(name))?;
        Some(format!("target.cluster: {}", crate::clusters::unknown(name)))
    }

    /// Carries on what subjects ask of each other, until nobody asks for more. The graph of asks:
    ///
    /// | who | asks | for |
    /// |---|---|---|
    /// | plans | commands | a step to be brought to its node |
    /// | plans | clusters | a deployment to be changed |
    /// | clusters | plans | nothing: they tell what came of a change |
    /// | commands, fleet | plans | nothing: they tell what came of a step, which node came, what was read |
    fn pass_on(&mut self, now: Now) {
        loop {
            while let Some(place) = self.came.pop_first() {
                let node = self.fleet.node(place).id().clone();
                self.with_plans(now, |plans, cx| plans.node_came(&node, cx));
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
                Some(Ask::Step(order)) => self.order_step(*order, now),
                Some(Ask::Deployment(order)) => {
                    let (clusters, _, mut cx) = self.kube_cx(now);
                    clusters.step(*order, &mut cx);
                }
                Some(Ask::Answered(answer)) => self.step_answers.push_back(*answer),
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
            KubeInput::Changed { id, outcome } => clusters.changed(&id, outcome, &mut cx),
            KubeInput::Marked {
                node,
                fault,
                changed,
                failed,
            } => {
                clusters.marked(&node, &fault, &changed, failed, &mut cx);
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
        shadow_view(record, self.bundles.rules().map(|rules| &**rules), now)
    }

    /// People, their sessions and their tokens, as they are stored.
    pub fn access(&self) -> &Access {
        &self.access
    }

    fn enrolled(&mut self, agent: &AgentId, site: String, now: Now) {
        let is_new = self.fleet.find(agent).is_none_or(|node| node.record.site != site);
        let place = self.fleet.place_or_new(agent, &site);
        let node = self.fleet.node_mut(place);
        node.record.site.clone_from(&site);
        node.record_changed = true;
        self.enqueue(place);
        self.touch(place);
        self.recount_domains();
        self.policy_changed = true;
        if is_new {
            let change = ChangeRecord::new(Caller::hub(), "node.enrol", format!("node/{agent}"));
            self.record(change.with("site", site), now);
        }
    }

    fn denied(&mut self, agent: &AgentId, reason: Option<String>, now: Now) {
        let place = self.fleet.place_or_new(agent, crate::sessions::UNKNOWN_SITE);
        let node = self.fleet.node_mut(place);
        node.record.since = Some(now.wall);
        if reason.is_none() {
            node.record.quarantined = None;
            node.forget_processes();
        }
        let sessions = [node.session, node.greeting];
        let verb = if reason.is_some() { "node.deny" } else { "node.allow" };
        let change = ChangeRecord::new(Caller::hub(), verb, format!("node/{agent}"));
        let change = change.because(reason.clone().unwrap_or_default());
        node.record.denied = reason;
        node.record_changed = true;
        if let Some(reason) = node.record.denied.clone() {
            for session in sessions.into_iter().flatten() {
                let wait = crate::sessions::DENIED_RETRY;
                self.dismiss(session, GoodbyeReason::Denied, wait, &reason, now);
            }
        }
        self.enqueue(place);
        self.touch(place);
        self.recount_domains();
        self.record(change, now);
    }

    fn stop(&mut self, now: Now) {
        self.stopping = true;
        for session in self.sessions.ids() {
            let wait = self.admission.slot(now.mono) + self.random.below(Duration::from_secs(1));
            self.dismiss(session, GoodbyeReason::Stopping, wait, "the hub stops", now);
        }
        self.stop_commands();
    }

    fn run_timers(&mut self, now: Now) {
        while let Some(timer) = self.timers.due(now.mono) {
            match timer {
                Timer::Hello(session) => self.hello_overdue(session, now),
                Timer::Wait(id) => self.wait_over(&id),
                Timer::Expire(id) => self.expire(&id),
                Timer::Beacon => self.beacon_time(now),
                Timer::Domains => self.count_domains(now),
                Timer::Tasks => {
                    let (tasks, mut cx) = self.tasks_cx(now);
                    tasks.due(&mut cx);
                }
                Timer::Access => {
                    let mut cx = cx!(self, now);
                    self.access.time(&mut cx);
                }
                Timer::Plan(id) => self.with_plans(now, |plans, cx| plans.due(id, cx)),
                Timer::Clusters => {
                    let (clusters, _, mut cx) = self.kube_cx(now);
                    clusters.due(&mut cx);
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

//! Plans: who may send one, what policy says of it, and how its steps reach nodes and come back as outcomes.
//!
//! Decides what a verdict, an answer and a reading mean for a plan; how a plan lives is in `machine.rs`, which knows neither store
//! nor policy. A plan is a document; every state that it enters is an entry of the hub's own journal, written with it, so `why` and
//! `plan show` tell its whole life from there alone. A step leaves as a command of a node, whose agent judges it again.
//!
//! Invariants: one live plan for each target; a plan's key from one sender names one plan, however often it is sent; nothing is
//! asked of a node before the intent is stored, and a step's command has one id for ever, so a node takes it once.
//!
//! Read next: `machine.rs` (how one plan lives), `plans/judge.rs` (verdicts), `commands.rs` (the way to a node), `plans/at_cluster.rs`
//! (steps that clusters carry out).

mod at_cluster;
mod brains;
mod judge;
mod machine;
mod pace;
mod record;
mod view;

use std::collections::BTreeSet;
use std::sync::Arc;

use policy_execution::{Answer as Carried, Event as StepEvent, Task};
use wire::api::ShadowView;
use wire::change::{Caller, ChangeRecord, Via};
use wire::frame::Order;
use wire::ids::{AgentId, CommandId, Digest, PlanId};
use wire::plan::{Draft, Observation, Plan, PlanState, Source, Target};
use wire::time::{Mono, Now};
use wire::{Action, DecisionId, DeviceId, Origin};

pub use brains::BrainRecord;
pub use machine::{PlanRecord, StepRecord};
pub use pace::PaceRecord;
pub use policy_trust::Tier;
pub use view::{PlanClock, brain_view, plan_view};

use crate::cx::{Ask, Cx, StepOrder, Then};
use crate::documents::{Document, Documents, StoredDocument, Unreadable};
use crate::effect::Answer;
use crate::fleet::Fleet;
use crate::timers::Timer;
use at_cluster::Looks;
use brains::Brains;
use judge::Situation;
use machine::{Event, Reaction, Want};
use pace::Pace;

/// What somebody wants of plans.
#[derive(Debug, Clone)]
pub enum PlanAsk {
    /// Take this one in.
    Submit {
        /// Its id, drawn by the shell: UUIDv7 bytes.
        id: PlanId,
        /// What is sent.
        draft: Box<Draft>,
    },
    /// Agree to it.
    Approve {
        /// Which.
        id: PlanId,
    },
    /// Do not agree to it.
    Refuse {
        /// Which.
        id: PlanId,
        /// Why.
        reason: String,
    },
    /// Call it off; what is done and can be taken back is.
    Cancel {
        /// Which.
        id: PlanId,
        /// Why.
        reason: String,
    },
    /// Do the same again as a new plan. For one that is over.
    Retry {
        /// Which; as it is stored.
        of: Box<PlanRecord>,
        /// Id of the new one.
        id: PlanId,
    },
    /// Set what a brain may do with a verb without a person.
    Grant {
        /// The brain's name.
        brain: String,
        /// The verb's name.
        verb: String,
        /// The tier that it has from now on.
        tier: Tier,
        /// Why.
        reason: String,
    },
}

/// What a node, or the hub in its place, says of a step.
#[derive(Debug, Clone)]
pub(crate) struct StepAnswer {
    pub(crate) plan: PlanId,
    pub(crate) step: usize,
    pub(crate) undo: bool,
    pub(crate) answer: Carried,
    pub(crate) decision: Option<wire::DecisionId>,
    pub(crate) detail: String,
}

/// Something that a node did to a device and that is no step of a plan.
#[derive(Debug, Clone)]
pub(crate) struct Interference {
    /// The node's decision.
    pub(crate) by: DecisionId,
    /// What it was done to.
    pub(crate) device: DeviceId,
}

/// Documents of one kind as they are stored, and the unique keys of all of them.
pub(crate) type Rows = (Vec<StoredDocument>, Vec<(String, String)>);

/// All plans that are not over.
#[derive(Debug, Default)]
pub(crate) struct Plans {
    documents: Documents<PlanRecord>,
    /// What is known of those who send them.
    brains: Brains,
    /// How often steps that limit themselves have begun.
    pace: Pace,
    /// Plans that look for an effect on a node.
    looking: BTreeSet<(AgentId, PlanId)>,
    /// Plans that wait for a node to come.
    reaching: BTreeSet<(AgentId, PlanId)>,
    /// What they wait to see at clusters.
    looks: Looks,
}

impl Plans {
    pub(crate) fn recovered(
        (documents, keys): Rows,
        (brains, brain_keys): Rows,
        (pace, pace_keys): Rows,
    ) -> Result<Self, Unreadable> {
        Ok(Self {
            documents: Documents::recovered(documents, keys)?,
            brains: Brains::recovered(brains, brain_keys)?,
            pace: Pace::recovered(pace, pace_keys)?,
            ..Self::default()
        })
    }

    /// The process is another one: what was under way is probed, never repeated.
    pub(crate) fn carry_on(&mut self, cx: &mut Cx<'_>) {
        let ids: Vec<PlanId> = self.documents.iter().map(|record| record.plan.id).collect();
        for id in ids {
            self.tell(id, Event::Recovered, &Caller::hub(), cx);
        }
    }

    /// A row came back from the store, or did not.
    pub(crate) fn settle(&mut self, kind: &str, id: &str, revision: u64, is_stored: bool) {
        match kind {
            BrainRecord::KIND => self.brains.settle(id, revision, is_stored),
            PaceRecord::KIND => self.pace.settle(id, revision, is_stored),
            _ => self.documents.settle(id, revision, is_stored),
        }
    }

    /// What is known of brains, as it is stored, by brain and verb.
    pub(crate) fn brains(&self) -> impl Iterator<Item = &BrainRecord> {
        self.brains.stored()
    }

    /// What policy would say of each step now; `None` while no bundle was published.
    pub(crate) fn shadow(
        &self,
        record: &PlanRecord,
        rules: Option<&Arc<policy::Bundle>>,
        fleet: &Fleet,
        now: Now,
    ) -> Option<ShadowView> {
        view::shadow_view(record, self.situation(record, rules, fleet, now))
    }

    fn situation<'a>(
        &'a self,
        record: &PlanRecord,
        rules: Option<&'a Arc<policy::Bundle>>,
        fleet: &Fleet,
        now: Now,
    ) -> Situation<'a> {
        let nodes = record.plan.targets().into_iter().filter_map(Target::node);
        let sites: BTreeSet<&str> = nodes.filter_map(|node| fleet.site(node)).collect();
        Situation {
            rules,
            brains: &self.brains,
            pace: &self.pace,
            sites: sites.len(),
            blind: blind(record, fleet),
            now,
        }
    }

    /// Carries a request out, or says why not.
    pub(crate) fn handle(&mut self, request: u64, caller: Caller, what: PlanAsk, cx: &mut Cx<'_>) {
        let result = match what {
            PlanAsk::Grant {
                brain,
                verb,
                tier,
                reason,
            } => {
                return match self.brains.grant((&brain, &verb), tier, (caller, &reason), cx) {
                    Ok(found) => cx.reply_when_stored(request, Answer::Brain(Box::new(brain_view(&found, cx.now)))),
                    Err(reason) => cx.reply(request, Answer::Rejected { reason }),
                };
            }
            PlanAsk::Submit { id, draft } => self.submit(id, *draft, None, &caller, cx),
            PlanAsk::Retry { of, id } => self.retry(&of, id, &caller, cx),
            PlanAsk::Approve { id } => {
                let who = caller.name.clone();
                self.asked(id, Event::Approved { who }, &caller, cx)
            }
            PlanAsk::Refuse { id, reason } => {
                let who = caller.name.clone();
                self.asked(id, Event::Refused { who, reason }, &caller, cx)
            }
            PlanAsk::Cancel { id, reason } => {
                let who = caller.name.clone();
                self.asked(id, Event::Cancel { who, reason }, &caller, cx)
            }
        };
        match result {
            Ok(record) => cx.reply_when_stored(request, Answer::Plan(Box::new(record))),
            Err(reason) => cx.reply(request, Answer::Rejected { reason }),
        }
    }

    fn submit(
        &mut self,
        id: PlanId,
        draft: Draft,
        retry_of: Option<PlanId>,
        caller: &Caller,
        cx: &mut Cx<'_>,
    ) -> Result<PlanRecord, String> {
        if cx.is_crowded() {
            return Err("too much waits for the store: send it again in some seconds".to_owned());
        }
        let plan = Plan::new(id, draft, cx.now.wall).map_err(|problem| problem.to_string())?;
        if let Some(known) = record::sender_key(&plan).and_then(|key| self.documents.holder(&key)) {
            let known = known.to_owned();
            return match self.documents.get(&known) {
                Some(record) => Ok(record.clone()),
                None => Err(format!(
                    "key: `{}` was plan {known}, which is over: give another key",
                    plan.key
                )),
            };
        }
        if let Some(known) = record::prediction_key(&plan).and_then(|key| self.documents.holder(&key)) {
            return Err(format!(
                "prediction: `{}` belongs to plan {known}: each prediction has an id of its own",
                plan.claim.as_ref().map_or("", |claim| claim.prediction.as_str())
            ));
        }
        for (index, step) in plan.steps.iter().enumerate() {
            reachable_target(step, cx).map_err(|problem| format!("steps[{index}].{problem}"))?;
        }
        self.make_room(&plan, cx)?;
        let record = PlanRecord::new(plan, retry_of, cx.now);
        let change = submitted(&record, caller);
        self.write(&record, Some(change), cx)?;
        self.brains.predicted(&record.plan, cx);
        Ok(record)
    }

    /// Earlier plans of the same targets that did nothing yet give way; one that did is finished first.
    fn make_room(&mut self, plan: &Plan, cx: &mut Cx<'_>) -> Result<(), String> {
        let mut earlier: Vec<PlanId> = Vec::new();
        for target in plan.targets() {
            let Some(holder) = self.documents.holder(&record::target_key(target)) else {
                continue;
            };
            let Some(found) = self.documents.get(holder).filter(|found| found.may_be_superseded()) else {
                return Err(format!(
                    "target: {target} has plan {holder} under way: wait for it, or cancel it with `sentinel plan cancel {holder}`"
                ));
            };
            earlier.push(found.plan.id);
        }
        earlier.sort_unstable();
        earlier.dedup();
        for id in earlier {
            self.tell(id, Event::Superseded { by: plan.id }, &Caller::hub(), cx);
        }
        Ok(())
    }

    fn retry(&mut self, of: &PlanRecord, id: PlanId, caller: &Caller, cx: &mut Cx<'_>) -> Result<PlanRecord, String> {
        if !of.state.is_final() {
            return Err(format!(
                "plan {} is {}: only one that is over is tried again",
                of.plan.id,
                of.state.name()
            ));
        }
        let plan = &of.plan;
        let draft = Draft {
            source: Source::Person {
                name: caller.name.clone(),
            },
            tenant: plan.tenant.clone(),
            reason: plan.reason.clone(),
            key: String::new(),
            correlation: plan.correlation.clone(),
            claim: None,
            steps: plan.steps.clone(),
            not_after: None,
        };
        self.submit(id, draft, Some(plan.id), caller, cx)
    }

    /// A person wants something of a live plan.
    fn asked(&mut self, id: PlanId, event: Event, caller: &Caller, cx: &mut Cx<'_>) -> Result<PlanRecord, String> {
        let Some(before) = self.documents.get(&id.to_string()) else {
            return Err(format!(
                "there is no live plan {id}: `sentinel plan list` shows them, and how others ended"
            ));
        };
        let (state, approvals) = (before.state, before.approved_by.len());
        if !self.tell(id, event.clone(), caller, cx) {
            return Err(match event {
                Event::Approved { .. } if state != PlanState::AwaitingApproval => {
                    format!("plan {id} is {}: it waits for nobody's approval", state.name())
                }
                Event::Approved { .. } => {
                    format!(
                        "{} has sent plan {id} or approved it already ({approvals} so far): another person must",
                        caller.name
                    )
                }
                _ => format!("plan {id} is {}: that changes nothing any more", state.name()),
            });
        }
        let found = self.documents.get(&id.to_string()).cloned();
        found.ok_or_else(|| format!("plan {id} is over"))
    }

    /// A plan's record is stored: what waited for it happens now.
    pub(crate) fn stored(&mut self, id: PlanId, revision: u64, cx: &mut Cx<'_>) {
        let Some(mut record) = self.documents.get(&id.to_string()).cloned() else {
            return;
        };
        let reaction = record.stored(revision, cx.now);
        self.follow(record, reaction, &Caller::hub(), cx);
    }

    /// It was not stored: what is in memory now is what the store holds.
    pub(crate) fn not_stored(&mut self, id: PlanId, cx: &mut Cx<'_>) {
        self.tell(id, Event::Recovered, &Caller::hub(), cx);
    }

    /// A plan's time has come.
    pub(crate) fn due(&mut self, id: PlanId, cx: &mut Cx<'_>) {
        self.tell(id, Event::Due, &Caller::hub(), cx);
        self.look_again(id, cx);
    }

    /// A node's session is up: plans that wait for it go on.
    pub(crate) fn node_came(&mut self, node: &AgentId, cx: &mut Cx<'_>) {
        for id in of_node(&self.reaching, node) {
            self.reach(id, cx);
        }
    }

    /// What came of a step.
    pub(crate) fn answered(&mut self, answer: StepAnswer, cx: &mut Cx<'_>) {
        if let Some(record) = self.documents.newest_mut(&answer.plan.to_string())
            && let Some(step) = record.steps.get_mut(answer.step)
        {
            step.detail = answer.detail;
            if !answer.undo && answer.decision.is_some() {
                step.decision = answer.decision;
            }
            // A cluster that accepts is believed when it is seen, here as on the way there.
            if answer.undo && answer.answer == Carried::Done && self.undoes_at_cluster(answer.plan, answer.step, cx) {
                return;
            }
        }
        self.tell(
            answer.plan,
            Event::answered(answer.answer, answer.undo),
            &Caller::hub(),
            cx,
        );
    }

    /// New readings of a node are stored: plans look whether their effect is there.
    pub(crate) fn readings(&mut self, node: &AgentId, cx: &mut Cx<'_>) {
        for id in of_node(&self.looking, node) {
            self.look(id, cx);
        }
    }

    /// Whether any plan looks at this node's readings.
    pub(crate) fn looks_at(&self, node: &AgentId) -> bool {
        !of_node(&self.looking, node).is_empty()
    }

    /// Something else than a plan acted on a device: what plans see there now may be its doing.
    pub(crate) fn interfered(&mut self, found: &Interference, cx: &mut Cx<'_>) {
        for id in of_node(&self.looking, &found.by.agent) {
            let record = self.documents.get(&id.to_string());
            let step = record.and_then(|record| record.plan.steps.get(record.current()));
            if step.and_then(|step| step.target.device()) == Some(&found.device) {
                let by = found.by.clone();
                self.tell(id, Event::Interfered { by }, &Caller::hub(), cx);
            }
        }
    }

    fn look(&mut self, id: PlanId, cx: &mut Cx<'_>) {
        let Some(record) = self.documents.newest_mut(&id.to_string()) else {
            self.looking.retain(|(_, looking)| *looking != id);
            return;
        };
        let index = record.current();
        let Some(expected) = record.plan.steps.get(index).and_then(|step| step.expected.clone()) else {
            return;
        };
        let node = record.plan.steps[index].target.node().cloned();
        let after = node.and_then(|node| cx.latest(&node, &expected.metric));
        let (Some(before), Some(after)) = (record.steps[index].before, after) else {
            return;
        };
        let is_met = expected.is_met(before, after);
        record.steps[index].observed = Some(Observation { before, after, is_met });
        if is_met {
            self.looking.retain(|(_, looking)| *looking != id);
            self.tell(id, Event::Step(StepEvent::Seen(true)), &Caller::hub(), cx);
        }
    }

    /// Tells a plan one thing. Returns whether anything followed.
    fn tell(&mut self, id: PlanId, event: Event, caller: &Caller, cx: &mut Cx<'_>) -> bool {
        let Some(mut record) = self.documents.get(&id.to_string()).cloned() else {
            return false;
        };
        let reaction = record.handle(event, cx.now);
        let followed = reaction.store || !reaction.wants.is_empty();
        self.follow(record, reaction, caller, cx);
        followed
    }

    /// Keeps what became of a plan and does what it asks for: first its record, then what needs no record before it.
    fn follow(&mut self, mut record: PlanRecord, reaction: Reaction, caller: &Caller, cx: &mut Cx<'_>) {
        let id = record.plan.id;
        if reaction.store {
            if note_begin(&mut record, cx)
                && let Some(step) = record.plan.steps.get(record.current())
            {
                self.pace.begins(step, cx);
            }
            let change = reaction.entered.map(|state| entered(&record, state, caller));
            // What was admitted once fits again: its keys are its own and its bounds are the plan's.
            if let Err(problem) = self.write(&record, change, cx) {
                cx.record(ChangeRecord::new(Caller::hub(), "plan.unwritten", target(id)).because(problem));
            }
            self.brains.outcome(&record, cx);
        } else if let Some(newest) = self.documents.newest_mut(&id.to_string()) {
            *newest = record;
        }
        for want in reaction.wants {
            self.want(id, want, cx);
        }
        if let Some(due) = self.documents.get(&id.to_string()).and_then(PlanRecord::next_due) {
            cx.at(due, Timer::Plan(id));
        }
    }

    fn write(&mut self, record: &PlanRecord, change: Option<ChangeRecord>, cx: &mut Cx<'_>) -> Result<(), String> {
        let put = self
            .documents
            .put(record.clone(), 0)
            .map_err(|error| error.to_string())?;
        if let Some(change) = change {
            cx.record(change);
        }
        cx.put(put);
        cx.then(Then::Plan {
            id: record.plan.id,
            revision: record.revision(),
        });
        if let Some(due) = record.next_due() {
            cx.at(due, Timer::Plan(record.plan.id));
        }
        if record.state.is_final() {
            self.looking.retain(|(_, looking)| *looking != record.plan.id);
            self.reaching.retain(|(_, reaching)| *reaching != record.plan.id);
            self.looks.forget(record.plan.id);
        }
        Ok(())
    }

    fn want(&mut self, id: PlanId, want: Want, cx: &mut Cx<'_>) {
        let Some(record) = self.documents.get(&id.to_string()).cloned() else {
            return;
        };
        match want {
            Want::Judge => {
                let judged = judge::whole(&record, self.situation(&record, cx.rules, cx.fleet(), cx.now));
                self.tell(id, Event::Judged(judged), &Caller::hub(), cx);
            }
            Want::JudgeStep(step) => {
                let judged = judge::step(&record, step, self.situation(&record, cx.rules, cx.fleet(), cx.now));
                self.tell(id, Event::StepJudged(judged), &Caller::hub(), cx);
            }
            Want::Reach => self.reach(id, cx),
            Want::Task(step, task) => self.task(&record, step, task, cx),
        }
    }

    /// The way to every node that it is about is open and what clusters change was read, or it waits for the first that is missing.
    fn reach(&mut self, id: PlanId, cx: &mut Cx<'_>) {
        self.reaching.retain(|(_, reaching)| *reaching != id);
        let Some(record) = self.documents.get(&id.to_string()).cloned() else {
            return;
        };
        let of_agents = record
            .plan
            .steps
            .iter()
            .filter(|step| !at_cluster::is_of_clusters(step));
        let missing = of_agents
            .filter_map(|step| step.target.node())
            .find(|node| !cx.is_connected(node));
        if let Some(node) = missing {
            self.reaching.insert((node.clone(), id));
        } else if !self.look_before(&record, cx) {
            self.tell(id, Event::Reachable, &Caller::hub(), cx);
        }
    }

    fn task(&mut self, record: &PlanRecord, step: usize, task: Task, cx: &mut Cx<'_>) {
        let id = record.plan.id;
        let node = record.plan.steps.get(step).and_then(|step| step.target.node().cloned());
        if record.plan.steps.get(step).is_some_and(at_cluster::is_of_clusters) {
            return match task {
                Task::Act { .. } => self.order_cluster(record, step, 0, cx),
                Task::Undo { attempt, .. } => self.order_cluster(record, step, attempt, cx),
                Task::Look | Task::Probe | Task::ProbeUndo => self.look_at(record, step, cx),
            };
        }
        match task {
            Task::Act { until } => self.order(record, step, (0, until), cx),
            Task::Undo { attempt, until } => self.order(record, step, (attempt, until), cx),
            Task::Look => {
                self.looking.extend(node.map(|node| (node, id)));
                self.look(id, cx);
            }
            // Its command is sent again when the node comes, and the node takes it once: what it answers is the probe.
            Task::Probe | Task::ProbeUndo => {}
        }
    }

    /// Sends a step, or what takes it back (`attempt` from 1), to its node.
    fn order(&mut self, record: &PlanRecord, index: usize, (attempt, until): (u8, Mono), cx: &mut Cx<'_>) {
        let id = record.plan.id;
        let command = command_id(id, index, attempt);
        let undo = attempt > 0;
        let Some(order) = step_order(record, index, undo) else {
            let detail = "no node can do that".to_owned();
            return self.answered(not_done(id, index, undo, detail), cx);
        };
        if undo && let Some(record) = self.documents.newest_mut(&id.to_string()) {
            record.steps[index].undo_command = Some(command);
        }
        cx.asks.push_back(Ask::Step(Box::new(StepOrder {
            command,
            until,
            ..order
        })));
    }
}

/// With the intent of a step its record keeps how the world was before, and the command that will carry it out. Returns whether a
/// step begins with this.
fn note_begin(record: &mut PlanRecord, cx: &Cx<'_>) -> bool {
    let index = record.current();
    let (id, step) = (record.plan.id, record.plan.steps.get(index));
    let expected = step.and_then(|step| Some((step.target.node()?, step.expected.as_ref()?)));
    let before = expected.and_then(|(node, expected)| cx.latest(node, &expected.metric));
    let step = record.steps.get_mut(index);
    let begins =
        |step: &&mut StepRecord| step.execution.state() == wire::StepState::Intending && step.command.is_none();
    let Some(step) = step.filter(begins) else {
        return false;
    };
    step.command = Some(command_id(id, index, 0));
    step.before = before;
    true
}

/// The first step still to come that expects an effect on something of which the hub has no reading.
fn blind(record: &PlanRecord, fleet: &Fleet) -> Option<usize> {
    (record.current()..record.plan.steps.len()).find(|index| {
        let step = &record.plan.steps[*index];
        let expected = step.target.node().zip(step.expected.as_ref());
        expected.is_some_and(|(node, effect)| fleet.latest(node, &effect.metric).is_none())
    })
}

/// Plans of a set that are about this node.
fn of_node(set: &BTreeSet<(AgentId, PlanId)>, node: &AgentId) -> Vec<PlanId> {
    let (first, last) = (PlanId([0; 16]), PlanId([u8::MAX; 16]));
    let found = set.range((node.clone(), first)..=(node.clone(), last));
    found.map(|(_, id)| *id).collect()
}

/// A step that this hub can carry out: a cluster does it, or the node is known and its agents do that.
fn reachable_target(step: &wire::plan::Step, cx: &Cx<'_>) -> Result<(), String> {
    if at_cluster::is_of_clusters(step) {
        return at_cluster::check(step, cx);
    }
    let Some(node) = step.target.node() else {
        return Err(format!("verb: no plan does `{}` to {}", step.verb.name(), step.target));
    };
    if !cx.knows(node) {
        return Err(format!(
            "target.node: there is no node `{node}`: `sentinel get nodes` lists them"
        ));
    }
    if step.verb.action().is_none() {
        return Err(format!(
            "verb: no agent does `{}`: that is for clusters",
            step.verb.name()
        ));
    }
    Ok(())
}

fn not_done(plan: PlanId, step: usize, undo: bool, detail: String) -> StepAnswer {
    StepAnswer {
        plan,
        step,
        undo,
        answer: Carried::NotDone,
        decision: None,
        detail,
    }
}

/// The command of a step: the same for ever, so that a node that hears it twice does it once.
fn command_id(plan: PlanId, step: usize, attempt: u8) -> CommandId {
    let digest = Digest::of(format!("{plan}/{step}/{attempt}").as_bytes());
    let mut id = [0; 16];
    id.copy_from_slice(&digest.0[..16]);
    CommandId(id)
}

fn step_order(record: &PlanRecord, index: usize, undo: bool) -> Option<StepOrder> {
    let step = record.plan.steps.get(index)?;
    let verb = if undo { step.verb.undo()? } else { step.verb.clone() };
    let (brain, who) = record.runs_as();
    Some(StepOrder {
        plan: record.plan.id,
        step: u16::try_from(index).unwrap_or(u16::MAX),
        undo,
        brain,
        command: CommandId([0; 16]),
        node: step.target.node()?.clone(),
        order: Order::Act(Action {
            target: step.target.device()?.clone(),
            kind: verb.action()?,
        }),
        who,
        reason: record.plan.reason.clone(),
        until: Mono(0),
    })
}

/// The origin of a step, as its node will see it.
fn origin(record: &PlanRecord, index: usize) -> Origin {
    let (brain, who) = record.runs_as();
    Origin::Plan {
        id: command_id(record.plan.id, index, 0),
        plan: record.plan.id,
        step: u16::try_from(index).unwrap_or(u16::MAX),
        undo: false,
        brain,
        who,
        reason: record.plan.reason.clone(),
    }
}

fn target(id: PlanId) -> String {
    format!("{}/{id}", PlanRecord::KIND)
}

fn submitted(record: &PlanRecord, caller: &Caller) -> ChangeRecord {
    let plan = &record.plan;
    let mut change = ChangeRecord::new(caller.clone(), "plan.submit", target(plan.id)).because(&plan.reason);
    for (step, number) in plan.steps.iter().zip(1..) {
        change = change.with(&format!("step {number}"), step);
    }
    if let Some(claim) = &plan.claim {
        let sure = format!("{}.{:02} %", claim.confidence_bp / 100, claim.confidence_bp % 100);
        change = change.with("prediction", &claim.prediction).with("confidence", sure);
    }
    change
}

/// The entry of a state that a plan enters.
fn entered(record: &PlanRecord, state: PlanState, caller: &Caller) -> ChangeRecord {
    let verb = format!("plan.{}", state.name());
    let mut change = ChangeRecord::new(caller.clone(), &verb, target(record.plan.id)).because(&record.detail);
    let step = record.steps.get(record.current());
    if let Some(decision) = step.and_then(|step| step.decision.as_ref()) {
        change = change.with("decision", decision);
    }
    let at_cluster = step.filter(|step| step.was.is_some() && !step.detail.is_empty());
    if let Some(step) = at_cluster {
        change = change.with("seen", &step.detail);
    }
    if let Some(observed) = step.and_then(|step| step.observed) {
        change = change.with("before", observed.before).with("after", observed.after);
    }
    if let (Some(claim), Some(seen)) = (&record.plan.claim, brains::seen(record)) {
        change = change
            .with("prediction", &claim.prediction)
            .with("came true", seen.name());
    }
    if let Some(by) = record.interfered().filter(|_| state.is_final()) {
        change = change.with("interfered", by);
    }
    change
}

/// Whoever sends plans through a brain's link.
pub fn brain_caller(name: &str) -> Caller {
    Caller::new(name, Via::Brain)
}

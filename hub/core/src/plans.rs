//! Plans: who may send one, what policy says of it, and how its steps reach nodes and come back as outcomes.
//!
//! Decides what a verdict, an answer and a reading mean for a plan; how a plan lives is in `machine.rs`, which knows neither store
//! nor policy. A plan is a document; every state that it enters is an entry of the hub's own journal, written with it, so `why` and
//! `plan show` tell its whole life from there alone. A step leaves as a command of a node, whose agent judges it again.
//!
//! Invariants: one live plan for each target; a plan's key from one sender names one plan, however often it is sent; nothing is
//! asked of a node before the intent is stored, and a step's command has one id for ever, so a node takes it once.
//!
//! Read next: `plans/asks.rs` (what is asked of plans), `plans/machine.rs` (how one plan lives), `plans/judge.rs` (verdicts),
//! `plans/orders.rs` (the way of a step to its node), `plans/at_cluster.rs` (steps that clusters carry out).

mod asks;
mod at_cluster;
mod brains;
mod judge;
mod machine;
mod orders;
mod pace;
mod placed;
mod record;
mod told;
mod view;

use std::collections::BTreeSet;
use std::sync::Arc;

use wire::api::ShadowView;
use wire::change::{Caller, ChangeRecord, Via};
use wire::ids::{AgentId, DecisionId, PlanId};
use wire::plan::Target;
use wire::time::Now;

pub use asks::PlanAsk;
pub use brains::BrainRecord;
pub use machine::{PlanRecord, StepRecord};
pub(crate) use orders::{Interference, StepAnswer};
pub use pace::PaceRecord;
pub use policy_trust::Tier;
pub use view::{PlanClock, brain_view, plan_view};

use crate::cx::{Cx, Then};
use crate::documents::{Document, Documents, StoredDocument, Unreadable};
use crate::fleet::Fleet;
use crate::planted::Planted;
use crate::timers::Timer;
use at_cluster::Looks;
use brains::Brains;
use judge::Situation;
use machine::{Event, Reaction, Want};
use orders::{blind, command_id, not_done, of_node, origin};
use pace::Pace;

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
    planted: Planted,
}

impl Plans {
    pub(crate) fn recovered(
        (documents, keys): Rows,
        (brains, brain_keys): Rows,
        (pace, pace_keys): Rows,
        planted: Planted,
    ) -> Result<Self, Unreadable> {
        Ok(Self {
            documents: Documents::recovered(documents, keys)?,
            brains: Brains::recovered(brains, brain_keys)?,
            pace: Pace::recovered(pace, pace_keys)?,
            planted,
            ..Self::default()
        })
    }

    /// The process is another one: what was under way is probed, never repeated.
    pub(crate) fn carry_on(&mut self, cx: &mut Cx<'_>) {
        if self.planted.is(Planted::LeavePlans) {
            return;
        }
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

    /// Decisions that plans which are not over refer to.
    pub(crate) fn decisions_under_way(&self) -> impl Iterator<Item = &DecisionId> {
        let plans = self.documents.iter();
        plans.flat_map(|record| record.steps.iter().filter_map(|step| step.decision.as_ref()))
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
        fleet: &'a Fleet,
        now: Now,
    ) -> Situation<'a> {
        let nodes = record.plan.targets().into_iter().filter_map(Target::node);
        let sites: BTreeSet<&str> = nodes.filter_map(|node| fleet.site(node)).collect();
        Situation {
            rules,
            brains: &self.brains,
            pace: &self.pace,
            plans: &self.documents,
            fleet,
            sites: sites.len(),
            blind: blind(record, fleet),
            now,
        }
    }

    /// A plan's record is stored: what waited for it happens now.
    pub(crate) fn stored(&mut self, id: PlanId, revision: u64, cx: &mut Cx<'_>) {
        let newest = self.documents.get(&id.to_string());
        let Some(mut record) = newest.filter(|record| record.revision() == revision).cloned() else {
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
            let change = reaction.entered.map(|state| told::entered(&record, state, caller));
            // What was admitted once fits again: its keys are its own and its bounds are the plan's.
            if let Err(problem) = self.write(record, change, cx) {
                cx.record(ChangeRecord::new(Caller::hub(), "plan.unwritten", told::target(id)).because(problem));
            }
            let times = if self.planted.is(Planted::CountTwice) { 2 } else { 1 };
            for record in self.documents.get(&id.to_string()).into_iter().cycle().take(times) {
                self.brains.outcome(record, cx);
            }
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

    fn write(&mut self, record: PlanRecord, change: Option<ChangeRecord>, cx: &mut Cx<'_>) -> Result<(), String> {
        let (id, revision, due) = (record.plan.id, record.revision(), record.next_due());
        let is_final = record.state.is_final();
        let put = self.documents.put(record, 0).map_err(|error| error.to_string())?;
        if let Some(change) = change {
            cx.record(change);
        }
        cx.put(put);
        cx.then(Then::Plan { id, revision });
        if let Some(due) = due {
            cx.at(due, Timer::Plan(id));
        }
        if is_final {
            self.looking.retain(|(_, looking)| *looking != id);
            self.reaching.retain(|(_, reaching)| *reaching != id);
            self.looks.forget(id);
        }
        Ok(())
    }

    fn want(&mut self, id: PlanId, want: Want, cx: &mut Cx<'_>) {
        let Some(record) = self.documents.get(&id.to_string()) else {
            return;
        };
        match want {
            Want::Judge => {
                let judged = judge::whole(record, self.situation(record, cx.rules, cx.fleet(), cx.now));
                self.tell(id, Event::Judged(judged), &Caller::hub(), cx);
            }
            Want::JudgeStep(step) => {
                let judged = judge::step(record, step, self.situation(record, cx.rules, cx.fleet(), cx.now));
                self.tell(id, Event::StepJudged(judged), &Caller::hub(), cx);
            }
            Want::Reach => self.reach(id, cx),
            Want::Task(step, task) => {
                let record = record.clone();
                self.task(&record, step, task, cx);
            }
        }
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

/// Whoever sends plans through a brain's link.
pub fn brain_caller(name: &str) -> Caller {
    Caller::new(name, Via::Brain)
}

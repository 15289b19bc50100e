//! How steps reach their nodes, and what nodes say of them.
//!
//! Decides which command carries a step out and which readings show its effect; the same for steps at clusters is in `at_cluster.rs`.
//!
//! Invariant: the command of a step has one id for ever, so that a node which hears it twice does it once.

use std::collections::BTreeSet;

use policy_execution::{Answer as Carried, Event as StepEvent, Task};
use wire::change::Caller;
use wire::frame::Order;
use wire::ids::{AgentId, CommandId, Digest, PlanId};
use wire::plan::Observation;
use wire::time::Mono;
use wire::{Action, DecisionId, DeviceId, Origin};

use super::machine::{Event, PlanRecord};
use super::{Plans, at_cluster};
use crate::cx::{Ask, Cx, StepOrder};
use crate::fleet::Fleet;
use crate::planted::Planted;

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

impl Plans {
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

    /// The way to every node that it is about is open and what clusters change was read, or it waits for the first that is missing.
    pub(super) fn reach(&mut self, id: PlanId, cx: &mut Cx<'_>) {
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

    pub(super) fn task(&mut self, record: &PlanRecord, step: usize, task: Task, cx: &mut Cx<'_>) {
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
            Task::Probe => self.order_unless_asked(record, step, 0, cx),
            Task::ProbeUndo => {
                let attempt = record.steps.get(step).map_or(0, |step| step.execution.undos());
                self.order_unless_asked(record, step, attempt, cx);
            }
        }
    }

    /// An intent is stored before its command: a crash between the two leaves a step that nobody was asked for, and no command. It is
    /// asked for now, while it still may be. Otherwise its deadlines decide.
    fn order_unless_asked(&mut self, record: &PlanRecord, index: usize, attempt: u8, cx: &mut Cx<'_>) {
        if self.planted.is(Planted::RepeatSteps)
            && let Some(order) = step_order(record, index, attempt > 0)
        {
            // No try has this number: its node takes it for another command.
            let command = command_id(record.plan.id, index, attempt + 100);
            let until = cx.now.mono + record.steps[index].execution.longest();
            return cx.asks.push_back(Ask::Step(Box::new(StepOrder {
                command,
                until,
                ..order
            })));
        }
        let Some(until) = record.may_still_be_asked(index, attempt > 0, cx.now.mono) else {
            return;
        };
        if let Some(order) = step_order(record, index, attempt > 0) {
            let command = command_id(record.plan.id, index, attempt);
            cx.asks.push_back(Ask::StepUnlessKnown(Box::new(StepOrder {
                command,
                until,
                ..order
            })));
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

/// The first step still to come that expects an effect on something of which the hub has no reading.
pub(super) fn blind(record: &PlanRecord, fleet: &Fleet) -> Option<usize> {
    (record.current()..record.plan.steps.len()).find(|index| {
        let step = &record.plan.steps[*index];
        let expected = step.target.node().zip(step.expected.as_ref());
        expected.is_some_and(|(node, effect)| fleet.latest(node, &effect.metric).is_none())
    })
}

/// Plans of a set that are about this node.
pub(super) fn of_node(set: &BTreeSet<(AgentId, PlanId)>, node: &AgentId) -> Vec<PlanId> {
    let (first, last) = (PlanId([0; 16]), PlanId([u8::MAX; 16]));
    let found = set.range((node.clone(), first)..=(node.clone(), last));
    found.map(|(_, id)| *id).collect()
}

pub(super) fn not_done(plan: PlanId, step: usize, undo: bool, detail: String) -> StepAnswer {
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
pub(super) fn command_id(plan: PlanId, step: usize, attempt: u8) -> CommandId {
    let digest = Digest::of(format!("{plan}/{step}/{attempt}").as_bytes());
    let mut id = [0; 16];
    id.copy_from_slice(&digest.0[..16]);
    CommandId(id)
}

pub(super) fn step_order(record: &PlanRecord, index: usize, undo: bool) -> Option<StepOrder> {
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
pub(super) fn origin(record: &PlanRecord, index: usize) -> Origin {
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

//! Steps of plans that clusters carry out: what they are there, how things were before them, and whether their effect is there.
//!
//! An API server that accepts a change has promised nothing. So a step at a cluster always looks for its effect: it is done when the
//! pods are ready, or gone, and it is taken back when they are not by its deadline. How the target was is read before the plan is
//! leased, and kept: what takes a step back must not depend on what is left after it. After a lost answer or a restart the mark on the
//! target tells whether the change reached it; a change is never made twice to find out.
//!
//! Read next: `clusters/change.rs` (what a look says), `machine.rs` (what follows).

use std::time::Duration;

use policy_execution::{Answer as Carried, Event as StepEvent, Probe};
use wire::StepState;
use wire::change::Caller;
use wire::ids::{CommandId, PlanId};
use wire::kube::{DeploymentChange, DeploymentRef, NodeChange, NodeRef};
use wire::plan::{PlanState, Step, Target, Verb, node_names};

use super::machine::{Event, PlanRecord};
use super::{Plans, command_id, not_done};
use crate::clusters::{ChangeEffect, ClusterChange, KubeEffect, Standing};
use crate::cx::{Ask, ClusterOrder, Cx};
use crate::effect::Effect;
use crate::timers::Timer;

/// How often a target is looked at: pods take seconds to become ready.
const LOOK: Duration = Duration::from_secs(1);
/// A look that has not come back by then is made again: clusters answer within 15 s or are unreachable.
const OVERDUE: Duration = Duration::from_secs(30);
/// How long a target has to be without a step's mark before the step counts as not done. A request whose answer was lost is over by
/// then: the hub gives up after 15 s, and an API server drops what nobody waits for.
const ABSENT: Duration = Duration::from_secs(20);

/// What plans wait to see at clusters. Of this process only: after a start each plan asks again.
#[derive(Debug, Default)]
pub(super) struct Looks {
    /// When each is looked at next.
    next: std::collections::BTreeMap<PlanId, wire::Mono>,
    /// Since when a target is without the mark that was looked for.
    absent: std::collections::BTreeMap<PlanId, wire::Mono>,
}

impl Looks {
    /// A plan is over.
    pub(super) fn forget(&mut self, id: PlanId) {
        self.next.remove(&id);
        self.absent.remove(&id);
    }

    fn set(&mut self, id: PlanId, after: Duration, cx: &mut Cx<'_>) {
        self.next.insert(id, cx.now.mono + after);
        cx.at(cx.now.mono + after, Timer::Plan(id));
    }

    /// Whether a target was without its mark for long enough. Asked at each look that finds none.
    fn is_absent(&mut self, id: PlanId, cx: &Cx<'_>) -> bool {
        cx.now.mono >= *self.absent.entry(id).or_insert(cx.now.mono) + ABSENT
    }
}

/// What a step is at a cluster; `None` if no cluster carries it out, or not any more.
pub(super) fn change_of(step: &Step, command: CommandId, cx: &Cx<'_>) -> Option<ClusterChange> {
    let of_node = |target: NodeRef| {
        let change = match step.verb {
            Verb::Cordon => NodeChange::Cordon,
            Verb::Uncordon => NodeChange::Uncordon,
            Verb::Drain => NodeChange::Drain,
            _ => return None,
        };
        Some(ClusterChange::Node { target, change })
    };
    match &step.target {
        Target::Deployment {
            cluster,
            namespace,
            name,
        } => {
            let (cluster, namespace, name) = (cluster.clone(), namespace.clone(), name.clone());
            Some(ClusterChange::Deployment {
                change: deployment_change(step, &command.to_string(), cx)?,
                target: DeploymentRef {
                    cluster,
                    namespace,
                    name,
                },
            })
        }
        Target::ClusterNode { cluster, name } => of_node(NodeRef {
            cluster: cluster.clone(),
            name: name.clone(),
        }),
        // A node of the mesh that a cluster has, too: what agents do not do, its API server does.
        Target::Device { node, .. } if is_of_clusters(step) => of_node(cx.in_clusters(node).first()?.clone()),
        Target::Device { .. } => None,
    }
}

/// Whether this is a step of clusters, known or not.
pub(super) fn is_of_clusters(step: &Step) -> bool {
    let of_node = matches!(step.verb, Verb::Cordon | Verb::Uncordon | Verb::Drain);
    step.target.cluster().is_some() || of_node
}

/// Whether a cluster can carry this step out; if not, why not.
pub(super) fn check(step: &Step, cx: &Cx<'_>) -> Result<(), String> {
    if let Target::Device { node, .. } = &step.target
        && cx.in_clusters(node).is_empty()
    {
        return Err(format!(
            "target.node: no registered cluster has node `{node}`, and agents do not `{}`: name `cluster` and `node` of a cluster, or \
             label the cluster's node sentinel.dev/agent={node}",
            step.verb.name()
        ));
    }
    match change_of(step, CommandId([0; 16]), cx) {
        Some(_) => Ok(()),
        None if matches!(step.verb, Verb::Deploy { .. }) => Err(format!(
            "target.cluster: `{}` has not told its nodes yet: send it again in some seconds",
            step.target.cluster().unwrap_or_default()
        )),
        None => Err(format!("verb: no plan does `{}` to {}", step.verb.name(), step.target)),
    }
}

/// What a verb means for a deployment; `mark` makes a restart the same one however often it is asked for.
fn deployment_change(step: &Step, mark: &str, cx: &Cx<'_>) -> Option<DeploymentChange> {
    match &step.verb {
        Verb::Scale { replicas } => Some(DeploymentChange::Scale { replicas: *replicas }),
        Verb::Restart => Some(DeploymentChange::Restart { mark: mark.to_owned() }),
        Verb::Update { image } => Some(DeploymentChange::SetImage { image: image.clone() }),
        Verb::Rollback { revision } if revision.is_empty() => Some(DeploymentChange::RollBack { revision: 0 }),
        Verb::Rollback { revision } => {
            let revision = revision.parse().ok()?;
            Some(DeploymentChange::RollBack { revision })
        }
        Verb::Deploy {
            image,
            replicas,
            demand,
            nodes,
            kind,
        } => {
            let nodes = node_names(nodes);
            let gpu_resource = match demand.wants_gpus() {
                true => {
                    let cluster = step.target.cluster()?;
                    cx.fleet().rooms.gpu_resource(cluster, &nodes, demand.gpu_share > 0)?
                }
                false => String::new(),
            };
            Some(DeploymentChange::Deploy {
                image: image.clone(),
                replicas: *replicas,
                demand: Box::new(demand.clone()),
                nodes,
                gpu_resource,
                kind: kind.clone(),
            })
        }
        Verb::Reschedule { node } => Some(DeploymentChange::Pin {
            nodes: node_names(node),
        }),
        _ => None,
    }
}

impl Plans {
    /// The first step whose target was not read yet. It is looked at; the plan goes on when all were.
    pub(super) fn look_before(&mut self, record: &PlanRecord, cx: &mut Cx<'_>) -> bool {
        let unread = |(step, kept): &(&Step, &super::StepRecord)| is_of_clusters(step) && kept.was.is_none();
        match record
            .plan
            .steps
            .iter()
            .zip(&record.steps)
            .position(|pair| unread(&pair))
        {
            Some(index) => {
                self.look_at(record, index, cx);
                true
            }
            None => false,
        }
    }

    /// Has the target of a step looked at.
    pub(super) fn look_at(&mut self, record: &PlanRecord, index: usize, cx: &mut Cx<'_>) {
        let id = record.plan.id;
        let Some(step) = record.plan.steps.get(index) else {
            return;
        };
        let Some(what) = change_of(step, command_id(id, index, 0), cx) else {
            // Its cluster has not told its nodes yet.
            return self.looks.set(id, LOOK, cx);
        };
        self.looks.set(id, OVERDUE, cx);
        let begun = record
            .steps
            .get(index)
            .is_some_and(|kept| kept.execution.state() == StepState::Verifying);
        cx.effect(Effect::Kube(KubeEffect::Look {
            plan: id,
            step: index,
            what,
            begun,
        }));
    }

    /// A plan's time has come: perhaps to look again.
    pub(super) fn look_again(&mut self, id: PlanId, cx: &mut Cx<'_>) {
        if self.looks.next.get(&id).is_none_or(|next| *next > cx.now.mono) {
            return;
        }
        self.looks.next.remove(&id);
        let Some(record) = self.documents.get(&id.to_string()).cloned() else {
            return;
        };
        match record.state {
            PlanState::Scheduled => self.reach(id, cx),
            PlanState::Executing | PlanState::Verifying | PlanState::RollingBack => {
                self.look_at(&record, record.current(), cx);
            }
            _ => {}
        }
    }

    /// How the target of a step is now.
    pub(crate) fn looked(&mut self, id: PlanId, index: usize, standing: &Standing, cx: &mut Cx<'_>) {
        self.looks.next.remove(&id);
        let Some(record) = self.documents.get(&id.to_string()).cloned() else {
            return;
        };
        if record.state == PlanState::Scheduled {
            return self.seen_before(&record, index, standing, cx);
        }
        let is_present = index == record.current();
        let Some(kept) = record.steps.get(index).filter(|_| is_present) else {
            return;
        };
        let Some(what) = change_of(&record.plan.steps[index], command_id(id, index, 0), cx) else {
            return self.looks.set(id, LOOK, cx);
        };
        let (state, undos) = (kept.execution.state(), kept.execution.undos());
        let event = match state {
            StepState::Probing => self.probed(id, standing.is_made(&what, &command_id(id, index, 0).to_string()), cx),
            StepState::Verifying => self.told_effect(id, index, standing.effect(&what)).map(StepEvent::Seen),
            StepState::Undoing | StepState::UndoProbing => {
                let undo = kept.was.as_ref().and_then(|was| what.undo(was));
                let mark = command_id(id, index, undos).to_string();
                undo.and_then(|undo| self.undo_seen((id, index, state), standing, (&undo, &mark), cx))
            }
            _ => return,
        };
        match event {
            Some(event) => {
                self.looks.absent.remove(&id);
                self.tell(id, Event::Step(event), &Caller::hub(), cx);
            }
            None => self.looks.set(id, LOOK, cx),
        }
    }

    /// What a look says of a step that is being taken back.
    fn undo_seen(
        &mut self,
        (id, index, state): (PlanId, usize, StepState),
        standing: &Standing,
        (undo, mark): (&ClusterChange, &str),
        cx: &Cx<'_>,
    ) -> Option<StepEvent> {
        let is_probed = state == StepState::UndoProbing;
        if is_probed && !standing.is_made(undo, mark)? {
            return self
                .looks
                .is_absent(id, cx)
                .then_some(StepEvent::UndoProbed(Probe::IsDone));
        }
        let is_back = self.told_effect(id, index, standing.effect(undo))?;
        Some(match (is_probed, is_back) {
            (true, true) => StepEvent::UndoProbed(Probe::IsNotDone),
            (true, false) => StepEvent::UndoProbed(Probe::IsDone),
            (false, true) => StepEvent::UndoAnswered(Carried::Done),
            (false, false) => StepEvent::UndoAnswered(Carried::NotDone),
        })
    }

    /// How a target was before the plan, for going back. One that is not there is left to the step, whose answer says so.
    fn seen_before(&mut self, record: &PlanRecord, index: usize, standing: &Standing, cx: &mut Cx<'_>) {
        let id = record.plan.id;
        let Some(was) = standing.was() else {
            if let (Some(newest), Standing::Unread { why }) = (self.documents.newest_mut(&id.to_string()), standing) {
                why.clone_into(&mut newest.steps[index].detail);
            }
            return self.looks.set(id, LOOK, cx);
        };
        let target = record.plan.steps.get(index).map(|step| &step.target);
        if let Some(newest) = self.documents.newest_mut(&id.to_string()) {
            for (step, kept) in newest.plan.steps.iter().zip(&mut newest.steps) {
                if Some(&step.target) == target {
                    kept.was = Some(was.clone());
                    kept.detail.clear();
                }
            }
        }
        self.reach(id, cx);
    }

    /// Whether a change whose answer is missing reached its target.
    fn probed(&mut self, id: PlanId, is_made: Option<bool>, cx: &Cx<'_>) -> Option<StepEvent> {
        match is_made {
            Some(true) => Some(StepEvent::Probed(Probe::IsDone)),
            Some(false) if self.looks.is_absent(id, cx) => Some(StepEvent::Probed(Probe::IsNotDone)),
            Some(false) | None => None,
        }
    }

    /// Notes for people how far an effect is. Whether it is there or will not be; `None`: not yet.
    fn told_effect(&mut self, id: PlanId, index: usize, effect: ChangeEffect) -> Option<bool> {
        let (is_there, detail) = match effect {
            ChangeEffect::Reached(detail) => (Some(true), detail),
            ChangeEffect::Failed(detail) => (Some(false), detail),
            ChangeEffect::Coming(detail) => (None, detail),
        };
        if let Some(newest) = self.documents.newest_mut(&id.to_string()) {
            newest.steps[index].detail = detail;
        }
        is_there
    }

    /// Whether this step is being taken back at a cluster that has just accepted that: then it is looked at until it is so.
    pub(super) fn undoes_at_cluster(&mut self, id: PlanId, index: usize, cx: &mut Cx<'_>) -> bool {
        let Some(record) = self.documents.get(&id.to_string()).cloned() else {
            return false;
        };
        let Some(step) = record.plan.steps.get(index).filter(|step| is_of_clusters(step)) else {
            return false;
        };
        let was = record.steps[index].was.as_ref();
        let undo = change_of(step, command_id(id, index, 0), cx).and_then(|what| what.undo(was?));
        if undo.is_some() {
            self.look_at(&record, index, cx);
        }
        undo.is_some()
    }

    /// Brings a step, or what takes it back, to its cluster.
    pub(super) fn order_cluster(&mut self, record: &PlanRecord, index: usize, attempt: u8, cx: &mut Cx<'_>) {
        let id = record.plan.id;
        let (command, undo) = (command_id(id, index, attempt), attempt > 0);
        let kept = &record.steps[index];
        let step = change_of(&record.plan.steps[index], command_id(id, index, 0), cx);
        let what = match (&step, undo) {
            (Some(step), true) => kept.was.as_ref().and_then(|was| step.undo(was)),
            (step, _) => step.clone(),
        };
        let Some(what) = what else {
            let (detail, answer) = if undo && step.is_some() {
                ("it was so before the plan, so nothing is taken back", Carried::Done)
            } else {
                ("its cluster does not have it any more", Carried::NotDone)
            };
            let mut answered = not_done(id, index, undo, detail.to_owned());
            answered.answer = answer;
            return cx.asks.push_back(Ask::Answered(Box::new(answered)));
        };
        if undo && let Some(newest) = self.documents.newest_mut(&id.to_string()) {
            newest.steps[index].undo_command = Some(command);
        }
        cx.asks.push_back(Ask::Cluster(Box::new(ClusterOrder {
            plan: id,
            step: index,
            undo,
            command,
            what,
            takes_back: step.filter(|_| undo),
            who: record.runs_as().1,
            reason: record.plan.reason.clone(),
        })));
    }
}

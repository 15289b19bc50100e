//! Clusters that the hub knows, and single changes of their deployments and nodes.
//!
//! Decides that a change is recorded before the cluster hears of it, and what is said when its answer is lost; never how a cluster
//! does it. A change whose outcome is not known when the hub starts again is not made again: it is recorded as unknown.
//!
//! Invariant: every change that a cluster was asked for has an entry before it and an outcome after it.
//! Read next: `clusters/change.rs` (what a change is), `clusters/record.rs` (the documents), `rollouts/subject.rs` (changes in steps), `hub/src/kube.rs` (who carries them out).

mod change;
mod record;

use std::collections::BTreeMap;
use std::time::Duration;

use policy_execution::Answer as Carried;
use wire::change::{Caller, ChangeRecord, Via};
use wire::ids::{AgentId, PlanId};
use wire::kube::{ChangeOutcome, DeploymentChange, DeploymentRef};
use wire::plan::Target;
use wire::time::{Mono, Wall};

pub use change::{ClusterChange, DeploymentStanding, Effect as ChangeEffect, NodeStanding, Standing, Was};
pub use record::{Attempt, Cluster};

use crate::cx::{Ask, ClusterOrder, Cx, Then};
use crate::documents::{Document, Documents, StoredDocument, Unreadable};
use crate::effect::{Answer, Effect};
use crate::plans::StepAnswer;
use crate::rollouts::{Change, Facts, Look, Measured, Route};
use crate::rooms::KubeFacts;
use crate::scaling::{LoadSeen, ScalingRule};
use crate::timers::Timer;

/// How long after a mark that did not come through it is made again.
const MARK_AGAIN: Duration = Duration::from_secs(15);
/// How often clusters tell their nodes: one that was added is joined to its agent within that, and marks that somebody took away are
/// back.
const NODES_EVERY: Duration = Duration::from_secs(30);

/// What somebody wants of clusters.
#[derive(Debug, Clone)]
pub enum ClusterRequest {
    /// Know this one from now on; replaces one of the same name.
    Register(Cluster),
    /// Forget it. What runs there stays.
    Remove {
        /// Its name.
        name: String,
    },
    /// Change a deployment.
    Change {
        /// Id of this change, drawn by the shell: a UUIDv7.
        id: String,
        /// Which.
        target: DeploymentRef,
        /// What.
        change: DeploymentChange,
        /// Why.
        reason: String,
    },
}

/// What a cluster is to do, or to tell.
#[derive(Debug, Clone)]
pub enum KubeEffect {
    /// Be ready to reach this cluster.
    Open(Cluster),
    /// It is not needed any more.
    Close {
        /// Its name.
        name: String,
    },
    /// Make a change once, and say what came of it.
    Change {
        /// Repeated in [`KubeInput::Changed`]; the changed thing is marked with it.
        id: String,
        /// What, and of what.
        what: ClusterChange,
        /// The change that it takes back: refused unless that still stands as it was made.
        takes_back: Option<ClusterChange>,
    },
    /// Look at the target of a plan's step. Looking at a drain goes on with it: pods that a budget holds are asked for again.
    Look {
        /// Repeated in [`KubeInput::Looked`].
        plan: PlanId,
        /// The same.
        step: usize,
        /// What the step is.
        what: ClusterChange,
        /// Its intent is stored: a drain may go on.
        begun: bool,
    },
    /// Look at the parts of a rollout.
    Observe {
        /// Repeated in [`KubeInput::Observed`].
        rollout: String,
        /// Of which deployment.
        target: DeploymentRef,
        /// What else is looked at.
        look: Box<Look>,
    },
    /// Measure the load of a deployment that is scaled.
    Load {
        /// Which.
        target: DeploymentRef,
        /// How.
        rule: Box<ScalingRule>,
    },
    /// Tell which nodes a cluster has.
    Nodes {
        /// Which cluster.
        cluster: String,
    },
    /// Mark the node of this agent in every cluster that has one: as faulty, or as well again.
    Mark {
        /// The agent on it: the node has its name, or a label that names it.
        node: AgentId,
        /// What is wrong with it; `None`: nothing.
        fault: Option<String>,
    },
    /// Make these changes of a rollout, in this order.
    Carry {
        /// Which rollout.
        rollout: String,
        /// Of which deployment.
        target: DeploymentRef,
        /// Where traffic is divided.
        route: Option<Route>,
        /// The changes.
        changes: Vec<Change>,
    },
}

/// What came of it.
#[derive(Debug, Clone)]
pub enum KubeInput {
    /// A change was made, refused, or its answer lost.
    Changed {
        /// Which.
        id: String,
        /// What came of it.
        outcome: ChangeOutcome,
    },
    /// How the target of a plan's step is now.
    Looked {
        /// Which plan.
        plan: PlanId,
        /// Which step.
        step: usize,
        /// How it is.
        standing: Standing,
    },
    /// Everything that a cluster tells of its nodes, pods and deployments.
    Nodes {
        /// Which cluster.
        cluster: String,
        /// What it tells.
        facts: Box<KubeFacts>,
    },
    /// A node was marked in these clusters, or could not be in all that have it.
    Marked {
        /// Which.
        node: AgentId,
        /// As what.
        fault: Option<String>,
        /// Clusters in which its mark changed.
        changed: Vec<String>,
        /// Why it is not marked everywhere.
        failed: Option<String>,
    },
    /// What was seen of a deployment that is scaled.
    Load {
        /// Which.
        target: DeploymentRef,
        /// Id of the plan that may follow.
        plan: PlanId,
        /// What was seen.
        seen: Box<LoadSeen>,
    },
    /// The parts of a rollout as they are now.
    Observed {
        /// Which rollout.
        rollout: String,
        /// The parts.
        facts: Box<Facts>,
        /// What was measured, if that was asked.
        measured: Option<Measured>,
    },
}

/// All clusters, and the changes that are under way.
#[derive(Debug, Default)]
pub(crate) struct Clusters {
    clusters: Documents<Cluster>,
    attempts: Documents<Attempt>,
    /// Who waits for which change.
    waiting: BTreeMap<String, u64>,
    /// Which steps of plans wait for which change, and whether it takes the step back.
    steps: BTreeMap<String, (PlanId, usize, bool)>,
    /// What nodes last said of themselves, and whether the clusters show it. Not stored: they say it again after a restart.
    faults: BTreeMap<AgentId, Fault>,
    /// When clusters tell their nodes next.
    nodes_at: Mono,
    /// When marks that are not shown are made again, if some may not be.
    marks_at: Option<Mono>,
}

#[derive(Debug)]
struct Fault {
    wanted: Option<String>,
    is_shown: bool,
}

impl Clusters {
    pub(crate) fn recovered(
        clusters: (Vec<StoredDocument>, Vec<(String, String)>),
        attempts: (Vec<StoredDocument>, Vec<(String, String)>),
    ) -> Result<Self, Unreadable> {
        Ok(Self {
            clusters: Documents::recovered(clusters.0, clusters.1)?,
            attempts: Documents::recovered(attempts.0, attempts.1)?,
            waiting: BTreeMap::new(),
            steps: BTreeMap::new(),
            faults: BTreeMap::new(),
            nodes_at: Mono::default(),
            marks_at: None,
        })
    }

    /// Carries on after a start: clusters are reached again, and changes without an outcome are said to be unknown.
    pub(crate) fn start(&mut self, cx: &mut Cx<'_>) {
        for cluster in self.clusters.iter_stored() {
            cx.effect(Effect::Kube(KubeEffect::Open(cluster.clone())));
        }
        if !self.clusters.is_empty() {
            cx.at(cx.now.mono, Timer::Clusters);
        }
        let open: Vec<String> = self.attempts.iter_stored().map(|attempt| attempt.id.clone()).collect();
        for id in open {
            let reason = "the hub was started again before the answer came; read what it was to change".to_owned();
            self.changed(&id, ChangeOutcome::Unknown { reason }, cx);
        }
    }

    /// Every stored cluster, by name.
    pub(crate) fn clusters(&self) -> impl Iterator<Item = &Cluster> {
        self.clusters.iter_stored()
    }

    /// Whether a cluster of this name is registered.
    pub(crate) fn knows(&self, name: &str) -> bool {
        self.clusters.get(name).is_some()
    }

    /// A row came back from the store, or did not.
    pub(crate) fn settle(&mut self, kind: &str, id: &str, revision: u64, is_stored: bool) {
        match kind {
            Attempt::KIND => self.attempts.settle(id, revision, is_stored),
            _ => self.clusters.settle(id, revision, is_stored),
        }
    }

    /// Carries a request out, or says why not.
    pub(crate) fn handle(&mut self, request: u64, caller: Caller, what: ClusterRequest, cx: &mut Cx<'_>) {
        if cx.is_crowded() {
            let reason = "the hub has too much to store; ask again".to_owned();
            return cx.reply(request, Answer::Unavailable { reason });
        }
        let result = match what {
            ClusterRequest::Register(cluster) => self.register(request, caller, cluster, cx),
            ClusterRequest::Remove { name } => self.remove(request, caller, &name, cx),
            ClusterRequest::Change {
                id,
                target,
                change,
                reason,
            } => {
                let attempt = Attempt {
                    id,
                    what: ClusterChange::Deployment { target, change },
                    caller: caller.name.clone(),
                    asked_at: cx.now.wall,
                    ended: false,
                };
                self.change(request, caller, attempt, reason, cx)
            }
        };
        if let Err(reason) = result {
            cx.reply(request, Answer::Rejected { reason });
        }
    }

    /// What came of a change.
    pub(crate) fn changed(&mut self, id: &str, outcome: ChangeOutcome, cx: &mut Cx<'_>) {
        let waiting = self.waiting.remove(id);
        let Some(attempt) = self.attempts.get(id).filter(|attempt| !attempt.ended).cloned() else {
            return;
        };
        let caller = Caller::new(attempt.what.cluster(), Via::Cluster);
        let record = ChangeRecord::new(caller, attempt.what.verb(), attempt.what.to_string());
        let record = record.with("change", id);
        let attempt_cluster = attempt.what.cluster().to_owned();
        cx.record(match &outcome {
            ChangeOutcome::Accepted { detail } => record.with("outcome", "accepted").with("detail", detail),
            ChangeOutcome::Refused { reason } => record.refused("cluster", reason.clone()),
            ChangeOutcome::Unknown { reason } => record.with("outcome", "unknown").with("detail", reason),
        });
        if let Ok(put) = self.attempts.put(Attempt { ended: true, ..attempt }, 0) {
            cx.put(put);
        }
        // What it wants now is what the next plan is judged by.
        if matches!(outcome, ChangeOutcome::Accepted { .. }) {
            let cluster = attempt_cluster;
            cx.effect(Effect::Kube(KubeEffect::Nodes { cluster }));
        }
        if let Some(step) = self.steps.remove(id) {
            cx.asks.push_back(Ask::Answered(Box::new(step_answer(step, &outcome))));
        }
        if let Some(request) = waiting {
            cx.reply_when_stored(request, Answer::Changed(outcome));
        }
    }

    /// A plan asks for a change: its intent is stored with the plan's, and only then the cluster hears of it.
    pub(crate) fn step(&mut self, order: ClusterOrder, cx: &mut Cx<'_>) {
        let step = (order.plan, order.step, order.undo);
        let attempt = Attempt {
            id: order.command.to_string(),
            what: order.what,
            caller: order.who.clone(),
            asked_at: cx.now.wall,
            ended: false,
        };
        let id = attempt.id.clone();
        let effect = KubeEffect::Change {
            id: id.clone(),
            what: attempt.what.clone(),
            takes_back: order.takes_back,
        };
        let caller = Caller::new(order.who, Via::Hub);
        let reason = format!("plan {}: {}", order.plan, order.reason);
        match self.begin(caller, attempt, reason, cx) {
            Ok(()) => {
                self.steps.insert(id, step);
                cx.then(Then::Kube(Box::new(effect)));
            }
            Err(reason) => {
                let outcome = ChangeOutcome::Refused { reason };
                cx.asks.push_back(Ask::Answered(Box::new(step_answer(step, &outcome))));
            }
        }
    }

    /// A node says how it is. Its fault becomes a taint and a condition in every cluster that has a node of its name; a node that is not
    /// heard keeps the mark that it has.
    pub(crate) fn node_says(&mut self, node: &AgentId, fault: Option<String>, cx: &mut Cx<'_>) {
        let before = self.faults.get(node);
        if before.is_some_and(|before| before.wanted == fault) {
            return;
        }
        let was_faulty = before.is_some_and(|before| before.wanted.is_some());
        let known = Fault {
            wanted: fault.clone(),
            is_shown: false,
        };
        self.faults.insert(node.clone(), known);
        if self.clusters.is_empty() {
            return;
        }
        if fault.is_some() || was_faulty {
            show(node, fault, cx);
        } else {
            // A mark from before the hub's last start is taken away; there is none mostly.
            let node = node.clone();
            cx.effect(Effect::Kube(KubeEffect::Mark { node, fault }));
        }
        self.mark_again(cx);
    }

    /// Marks are looked at again in a while. However many nodes say something, there is one time for all.
    fn mark_again(&mut self, cx: &mut Cx<'_>) {
        if self.marks_at.is_none() {
            let at = cx.now.mono + MARK_AGAIN;
            self.marks_at = Some(at);
            cx.at(at, Timer::Clusters);
        }
    }

    /// A node was marked.
    pub(crate) fn marked(
        &mut self,
        node: &AgentId,
        fault: &Option<String>,
        changed: &[String],
        failed: Option<String>,
        cx: &mut Cx<'_>,
    ) {
        if let Some(known) = self.faults.get_mut(node).filter(|known| known.wanted == *fault) {
            known.is_shown = failed.is_none();
        }
        if !changed.is_empty() {
            let verb = if fault.is_some() { "node.taint" } else { "node.untaint" };
            let record = ChangeRecord::new(Caller::hub(), verb, format!("node/{node}"));
            let record = record.because(fault.clone().unwrap_or_default());
            cx.record(record.with("clusters", changed.join(", ")));
        }
    }

    /// A cluster has told its nodes: faults are shown there, whatever became of the marks meanwhile.
    pub(crate) fn nodes_told(&mut self, nodes: &[(String, AgentId)], cx: &mut Cx<'_>) {
        for (_, agent) in nodes {
            let Some(fault) = self.faults.get(agent).and_then(|fault| fault.wanted.clone()) else {
                continue;
            };
            cx.effect(Effect::Kube(KubeEffect::Mark {
                node: agent.clone(),
                fault: Some(fault),
            }));
        }
    }

    /// Marks that did not come through are made again, and clusters tell their nodes.
    pub(crate) fn due(&mut self, cx: &mut Cx<'_>) {
        if !self.clusters.is_empty() && cx.now.mono >= self.nodes_at {
            for cluster in self.clusters.iter_stored() {
                let cluster = cluster.name.clone();
                cx.effect(Effect::Kube(KubeEffect::Nodes { cluster }));
            }
            self.nodes_at = cx.now.mono + NODES_EVERY;
            cx.at(self.nodes_at, Timer::Clusters);
        }
        if self.marks_at.take_if(|at| cx.now.mono >= *at).is_none() {
            return;
        }
        let mut open = false;
        for (node, fault) in self.faults.iter().filter(|(_, fault)| !fault.is_shown) {
            open = true;
            cx.effect(Effect::Kube(KubeEffect::Mark {
                node: node.clone(),
                fault: fault.wanted.clone(),
            }));
        }
        if open {
            self.mark_again(cx);
        }
    }

    fn register(&mut self, request: u64, caller: Caller, cluster: Cluster, cx: &mut Cx<'_>) -> Result<(), String> {
        cluster.check()?;
        let cluster = Cluster {
            registered_at: cx.now.wall,
            ..cluster
        };
        let record = ChangeRecord::new(caller, "cluster.register", format!("cluster/{}", cluster.name));
        let put = self
            .clusters
            .put(cluster.clone(), 0)
            .map_err(|error| error.to_string())?;
        cx.record(
            record
                .with("kubeconfig", cluster.source())
                .with("context", &cluster.context),
        );
        cx.put(put);
        let name = cluster.name.clone();
        cx.then(Then::Kube(Box::new(KubeEffect::Open(cluster))));
        cx.then(Then::Kube(Box::new(KubeEffect::Nodes { cluster: name })));
        // It has to show what nodes have said before it was known.
        for (node, fault) in self.faults.iter_mut().filter(|(_, fault)| fault.wanted.is_some()) {
            fault.is_shown = false;
            show(node, fault.wanted.clone(), cx);
        }
        self.nodes_at = cx.now.mono + NODES_EVERY;
        cx.at(self.nodes_at, Timer::Clusters);
        self.mark_again(cx);
        cx.reply_when_stored(request, Answer::Accepted);
        Ok(())
    }

    fn remove(&mut self, request: u64, caller: Caller, name: &str, cx: &mut Cx<'_>) -> Result<(), String> {
        let put = self.clusters.remove(name).ok_or_else(|| unknown(name))?;
        cx.record(ChangeRecord::new(caller, "cluster.remove", format!("cluster/{name}")));
        cx.put(put);
        cx.then(Then::Kube(Box::new(KubeEffect::Close { name: name.to_owned() })));
        cx.reply_when_stored(request, Answer::Accepted);
        Ok(())
    }

    fn change(
        &mut self,
        request: u64,
        caller: Caller,
        attempt: Attempt,
        reason: String,
        cx: &mut Cx<'_>,
    ) -> Result<(), String> {
        self.begin(caller, attempt.clone(), reason, cx)?;
        let Attempt { id, what, .. } = attempt;
        self.waiting.insert(id.clone(), request);
        let takes_back = None;
        cx.then(Then::KubeFor {
            request,
            id: id.clone(),
            effect: Box::new(KubeEffect::Change { id, what, takes_back }),
        });
        Ok(())
    }

    /// Writes the intent of a change and why it is made.
    fn begin(&mut self, caller: Caller, attempt: Attempt, reason: String, cx: &mut Cx<'_>) -> Result<(), String> {
        attempt.what.check().map_err(|problem| problem.to_string())?;
        if !self.knows(attempt.what.cluster()) {
            return Err(unknown(attempt.what.cluster()));
        }
        let put = self
            .attempts
            .put(attempt.clone(), 0)
            .map_err(|error| error.to_string())?;
        let record = ChangeRecord::new(caller, attempt.what.verb(), attempt.what.to_string());
        let record = record.because(reason).with("change", &attempt.id);
        cx.record(
            details(&attempt.what)
                .into_iter()
                .fold(record, |record, (name, value)| record.with(name, value)),
        );
        cx.put(put);
        Ok(())
    }

    /// A change was not stored, so it is not made: nobody waits for it any more.
    pub(crate) fn dropped(&mut self, id: &str) {
        self.waiting.remove(id);
    }
}

fn step_answer((plan, step, undo): (PlanId, usize, bool), outcome: &ChangeOutcome) -> StepAnswer {
    let (answer, detail) = match outcome {
        ChangeOutcome::Accepted { detail } => (Carried::Done, detail),
        ChangeOutcome::Refused { reason } => (Carried::NotDone, reason),
        ChangeOutcome::Unknown { reason } => (Carried::Unknown, reason),
    };
    StepAnswer {
        plan,
        step,
        undo,
        answer,
        decision: None,
        detail: detail.clone(),
    }
}

/// Records how a node is, and has the clusters show it when that is stored.
fn show(node: &AgentId, fault: Option<String>, cx: &mut Cx<'_>) {
    let verb = if fault.is_some() { "node.fault" } else { "node.well" };
    let record = ChangeRecord::new(Caller::new(node.to_string(), Via::Agent), verb, format!("node/{node}"));
    cx.record(record.because(fault.clone().unwrap_or_default()));
    let node = node.clone();
    cx.then(Then::Kube(Box::new(KubeEffect::Mark { node, fault })));
}

fn details(what: &ClusterChange) -> Vec<(&'static str, String)> {
    let change = match what {
        ClusterChange::Deployment { change, .. } => change,
        ClusterChange::Node { target, .. } => return vec![("cluster", target.cluster.clone())],
    };
    match change {
        DeploymentChange::Create { image, replicas } => {
            vec![("image", image.clone()), ("replicas", replicas.to_string())]
        }
        DeploymentChange::Scale { replicas } => vec![("replicas", replicas.to_string())],
        DeploymentChange::Restart { mark } => vec![("mark", mark.clone())],
        DeploymentChange::RollBack { revision: 0 } => vec![("revision", "the one before".to_owned())],
        DeploymentChange::RollBack { revision } => vec![("revision", revision.to_string())],
        DeploymentChange::SetImage { image } => vec![("image", image.clone())],
        DeploymentChange::Delete => Vec::new(),
        DeploymentChange::Deploy {
            image,
            replicas,
            demand,
            nodes,
            ..
        } => vec![
            ("image", image.clone()),
            ("replicas", replicas.to_string()),
            ("demand", demand.to_string()),
            ("nodes", nodes.join(", ")),
        ],
        DeploymentChange::Pin { nodes } => vec![("nodes", nodes.join(", "))],
    }
}

/// The entry of a deployment that somebody else has changed, or changed back.
pub(crate) fn drifted(target: &DeploymentRef, drift: &[String], mends: bool) -> ChangeRecord {
    let caller = Caller::new(&target.cluster, Via::Cluster);
    let record = ChangeRecord::new(caller, "deployment.drift", format!("deployment/{target}"));
    match drift {
        [] => record.because("it is as the hub's last change left it again"),
        drift if mends => record.because(format!("{}; if it stays so, a plan is to mend it", drift.join("; "))),
        drift => record.because(format!("{}; it is left as it is", drift.join("; "))),
    }
}

pub(crate) fn unknown(name: &str) -> String {
    format!("cluster `{name}` is not registered: `sentinel get clusters` lists those that are")
}

impl Cluster {
    fn check(&self) -> Result<(), String> {
        let target = DeploymentRef {
            cluster: self.name.clone(),
            namespace: "default".to_owned(),
            name: "x".to_owned(),
        };
        target.check().map_err(|problem| problem.to_string())?;
        if self.name == Target::ANY_CLUSTER {
            return Err("name: `any` stands for whichever cluster suits best: choose another".to_owned());
        }
        if let Some(url) = &self.prometheus
            && !(url.starts_with("http://") || url.starts_with("https://"))
        {
            return Err(format!(
                "prometheus: `{url}` is not an address that begins with http:// or https://"
            ));
        }
        match &self.kubeconfig {
            Some(path) if !path.starts_with('/') => Err(format!(
                "kubeconfig: `{path}` is not an absolute path of a file on the hub's machine"
            )),
            _ => Ok(()),
        }
    }

    /// Where its credentials come from, for people.
    pub fn source(&self) -> &str {
        self.kubeconfig.as_deref().unwrap_or("in-cluster")
    }

    /// A cluster that is about to be registered.
    pub fn new(name: impl Into<String>, kubeconfig: Option<String>) -> Self {
        Self {
            name: name.into(),
            kubeconfig,
            context: String::new(),
            namespace: String::new(),
            labels: Vec::new(),
            registered_at: Wall(0),
            prometheus: None,
            prices: BTreeMap::new(),
        }
    }
}

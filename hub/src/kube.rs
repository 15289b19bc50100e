//! The clusters' side of the shell: carries out what the core wants of them, and tells it what came of it.
//!
//! Has no opinions: each effect becomes calls of `hub-kube`, each answer an input. Effects of different rollouts and deployments run
//! side by side; a cluster that does not answer holds up nobody else. Nothing here is kept but open clients.
//!
//! Read next: `hub/core/src/clusters.rs` (what is wanted), `kube/rollout.rs` (the parts of a rollout), `kube/marks.rs` (faulty nodes),
//! `kube/looks.rs` (plans' steps), `hub/kube/src/lib.rs`.

mod facts;
mod load;
mod looks;
mod marks;
mod measure;
mod rollout;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use hub_core::{ClusterChange, Input, KubeEffect, KubeInput};
use hub_kube::{Cluster, ClusterSettings, Gpus, KubeError, Kubeconfig, WorkloadKind, WorkloadRef, WorkloadSpec};
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use wire::ids::PlanId;
use wire::kube::{ChangeOutcome, DeploymentChange, DeploymentRef, NodeChange, NodeRef};

use crate::hub::Handle;
use crate::workload_metrics::WorkloadMetrics;

pub use facts::drift_line;
use load::Loads;
pub use rollout::observe;

/// Effects that wait: more than all rollouts ask for in one look.
const WAITING: usize = 2_048;
/// Effects that are carried out at the same time, over all clusters.
const AT_ONCE: usize = 64;

/// Clients of the registered clusters, by name. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Clusters(Arc<RwLock<BTreeMap<String, Known>>>, Arc<Notify>, Arc<WorkloadMetrics>);

/// What is needed to reach a cluster.
#[derive(Debug)]
struct Known {
    client: Result<Cluster, String>,
    prometheus: Option<String>,
}

impl Clusters {
    /// The client of a cluster, or why there is none.
    pub fn get(&self, name: &str) -> Result<Cluster, String> {
        let clusters = self.0.read().unwrap_or_else(PoisonError::into_inner);
        match clusters.get(name) {
            Some(known) => known.client.clone(),
            None => Err(format!("cluster `{name}` is not registered")),
        }
    }

    /// What workloads told of themselves, in whichever cluster they run.
    pub fn workload_metrics(&self) -> &WorkloadMetrics {
        &self.2
    }

    /// Address of a cluster's Prometheus.
    pub fn prometheus(&self, name: &str) -> Option<String> {
        let clusters = self.0.read().unwrap_or_else(PoisonError::into_inner);
        clusters.get(name)?.prometheus.clone()
    }

    /// All clients that there are, by the names of their clusters.
    pub fn all(&self) -> Vec<(String, Result<Cluster, String>)> {
        let clusters = self.0.read().unwrap_or_else(PoisonError::into_inner);
        clusters
            .iter()
            .map(|(name, known)| (name.clone(), known.client.clone()))
            .collect()
    }

    async fn open(&self, cluster: hub_core::Cluster) {
        let kubeconfig = match &cluster.kubeconfig {
            Some(path) => Kubeconfig::File(PathBuf::from(path)),
            None => Kubeconfig::InCluster,
        };
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let settings = ClusterSettings {
            context: given(&cluster.context),
            namespace: given(&cluster.namespace),
            ..ClusterSettings::new(cluster.name.clone(), kubeconfig)
        };
        let client = Cluster::open(settings).await.map_err(|error| line(&error));
        if let Err(reason) = &client {
            tracing::warn!(cluster = cluster.name, reason, "cluster cannot be reached");
        }
        let known = Known {
            client,
            prometheus: cluster.prometheus,
        };
        self.0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(cluster.name, known);
        self.1.notify_waiters();
    }

    /// Waits until a cluster that was just registered has its client, or the reason why it has none.
    pub async fn opened(&self, name: &str) {
        loop {
            let changed = self.1.notified();
            if self.0.read().unwrap_or_else(PoisonError::into_inner).contains_key(name) {
                return;
            }
            changed.await;
        }
    }

    fn close(&self, name: &str) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(name);
    }
}

/// Where the loop leaves effects.
#[derive(Debug, Clone)]
pub struct Orders(mpsc::Sender<KubeEffect>);

/// The side that takes them.
#[derive(Debug)]
pub struct Kube {
    orders: mpsc::Receiver<KubeEffect>,
    clusters: Clusters,
}

impl Kube {
    /// Both sides. Nothing is carried out before [`Kube::run`].
    pub fn new() -> (Orders, Self) {
        let (orders, inbox) = mpsc::channel(WAITING);
        (
            Orders(orders),
            Self {
                orders: inbox,
                clusters: Clusters::default(),
            },
        )
    }

    /// The clients, for those who only read.
    pub fn clusters(&self) -> Clusters {
        self.clusters.clone()
    }

    /// Carries effects out until it is stopped.
    pub async fn run(mut self, hub: Handle, stop: CancellationToken) {
        let tasks = TaskTracker::new();
        let places = Arc::new(Semaphore::new(AT_ONCE));
        let loads = Arc::new(Loads::default());
        loop {
            let effect = tokio::select! {
                () = stop.cancelled() => break,
                effect = self.orders.recv() => effect,
            };
            let Some(effect) = effect else { break };
            // Clusters are there before anything is asked of them.
            match effect {
                KubeEffect::Open(cluster) => self.clusters.open(cluster).await,
                KubeEffect::Close { name } => self.clusters.close(&name),
                effect @ (KubeEffect::Change { .. }
                | KubeEffect::Look { .. }
                | KubeEffect::Nodes { .. }
                | KubeEffect::Load { .. }
                | KubeEffect::Observe { .. }
                | KubeEffect::Mark { .. }
                | KubeEffect::Carry { .. }) => {
                    let (clusters, hub, places) = (self.clusters.clone(), hub.clone(), Arc::clone(&places));
                    let loads = Arc::clone(&loads);
                    let stop = stop.clone();
                    tasks.spawn(async move {
                        let Ok(_place) = places.acquire_owned().await else {
                            return;
                        };
                        tokio::select! {
                            // A change whose answer is not waited for is said to be unknown at the next start.
                            () = stop.cancelled() => {}
                            () = carry_out(&clusters, &loads, &hub, effect) => {}
                        }
                    });
                }
            }
        }
        tasks.close();
        tasks.wait().await;
    }
}

impl Orders {
    /// Leaves an effect; never blocks. What finds no room is given back as the input that says so.
    pub fn start(&self, effect: KubeEffect) -> Option<Input> {
        match self.0.try_send(effect) {
            Ok(()) => None,
            Err(error) => match error.into_inner() {
                KubeEffect::Change { id, .. } => {
                    let reason = "the hub has too much to do with clusters; ask again".to_owned();
                    Some(Input::Kube(KubeInput::Changed {
                        id,
                        outcome: ChangeOutcome::Refused { reason },
                    }))
                }
                // These are asked for again.
                KubeEffect::Look { .. }
                | KubeEffect::Nodes { .. }
                | KubeEffect::Load { .. }
                | KubeEffect::Observe { .. }
                | KubeEffect::Mark { .. }
                | KubeEffect::Carry { .. } => None,
                KubeEffect::Open(_) | KubeEffect::Close { .. } => {
                    tracing::error!(
                        "a cluster was registered or removed, but the hub has too much to do; start it again"
                    );
                    None
                }
            },
        }
    }
}

async fn carry_out(clusters: &Clusters, loads: &Loads, hub: &Handle, effect: KubeEffect) {
    let told = match effect {
        KubeEffect::Change { id, what, takes_back } => {
            let outcome = change(clusters, &id, &what, takes_back.as_ref()).await;
            KubeInput::Changed { id, outcome }
        }
        KubeEffect::Look {
            plan,
            step,
            what,
            begun,
        } => {
            let standing = looks::look(clusters, &what, begun).await;
            KubeInput::Looked { plan, step, standing }
        }
        KubeEffect::Nodes { cluster } => match facts::read(clusters, &cluster).await {
            Some(facts) => KubeInput::Nodes {
                cluster,
                facts: Box::new(facts),
            },
            None => return,
        },
        KubeEffect::Load { target, rule } => {
            let seen = loads.see(clusters, &target, &rule).await;
            KubeInput::Load {
                target,
                plan: PlanId(*uuid::Uuid::now_v7().as_bytes()),
                seen: Box::new(seen),
            }
        }
        KubeEffect::Observe { rollout, target, look } => {
            let (facts, measured) = rollout::observe_and_measure(clusters, &target, &look).await;
            KubeInput::Observed {
                rollout,
                facts: Box::new(facts),
                measured,
            }
        }
        KubeEffect::Carry {
            rollout,
            target,
            route,
            changes,
        } => {
            if let Err(error) = rollout::carry(clusters, &target, route.as_ref(), &changes).await {
                tracing::warn!(rollout, %target, error, "a change of a rollout was not made; it is looked at again");
            }
            return;
        }
        KubeEffect::Mark { node, fault } => {
            let (changed, failed) = marks::mark(clusters, node.as_str(), fault.as_deref()).await;
            KubeInput::Marked {
                node,
                fault,
                changed,
                failed,
            }
        }
        KubeEffect::Open(_) | KubeEffect::Close { .. } => return,
    };
    // An error says that the hub stops.
    let _ = hub.tell(Input::Kube(told)).await;
}

/// Makes one change. One that takes another back is refused if that one does not stand any more: somebody else has decided meanwhile.
async fn change(
    clusters: &Clusters,
    id: &str,
    what: &ClusterChange,
    takes_back: Option<&ClusterChange>,
) -> ChangeOutcome {
    let cluster = match clusters.get(what.cluster()) {
        Ok(cluster) => cluster.marking(id),
        Err(reason) => return ChangeOutcome::Refused { reason },
    };
    if let Some(before) = takes_back
        && !looks::look(clusters, before, false).await.holds(before)
    {
        let reason = "it is not as the plan left it any more, so it is not taken back".to_owned();
        return ChangeOutcome::Refused { reason };
    }
    let done = match what {
        ClusterChange::Deployment { target, change } => change_deployment(&cluster, target, change).await,
        ClusterChange::Node { target, change } => change_node(&cluster, target, *change).await,
    };
    match done {
        Ok(detail) => ChangeOutcome::Accepted { detail },
        Err(error) if error.may_have_happened() => ChangeOutcome::Unknown { reason: line(&error) },
        Err(error) => ChangeOutcome::Refused { reason: line(&error) },
    }
}

async fn change_node(cluster: &Cluster, target: &NodeRef, change: NodeChange) -> Result<String, KubeError> {
    match change {
        NodeChange::Cordon => cluster.cordon(&target.name).await?,
        NodeChange::Uncordon => {
            cluster.uncordon(&target.name).await?;
            return Ok("it takes pods again".to_owned());
        }
        // Its pods are asked to go by whoever looks whether they have gone.
        NodeChange::Drain => cluster.cordon(&target.name).await?,
    }
    Ok("it takes no new pods".to_owned())
}

async fn change_deployment(
    cluster: &Cluster,
    target: &DeploymentRef,
    change: &DeploymentChange,
) -> Result<String, KubeError> {
    let id = deployment(target);
    match change {
        DeploymentChange::Create { image, replicas } => {
            let spec = WorkloadSpec {
                replicas: Some(*replicas),
                ..WorkloadSpec::new(id, image)
            };
            cluster
                .create(&spec)
                .await
                .map(|_| format!("{replicas} replicas of {image}"))
        }
        DeploymentChange::Scale { replicas } => cluster
            .scale(&id, *replicas)
            .await
            .map(|now| format!("{} replicas are wanted", now.wanted)),
        DeploymentChange::Restart { mark } => cluster
            .restart(&id, mark)
            .await
            .map(|_| "its pods are replaced one after the other".to_owned()),
        DeploymentChange::RollBack { revision } => {
            let back = cluster.roll_back(&id, (*revision > 0).then_some(*revision)).await;
            back.map(|back| format!("revision {} with image {}", back.to, back.image))
        }
        DeploymentChange::SetImage { image } => cluster
            .set_image_without_loss(&id, image)
            .await
            .map(|_| format!("image {image}")),
        DeploymentChange::Delete => match cluster.delete(&id).await {
            Ok(true) => Ok("it is removed".to_owned()),
            Ok(false) => Ok("it was not there".to_owned()),
            Err(error) => Err(error),
        },
        DeploymentChange::Deploy {
            image,
            replicas,
            demand,
            nodes,
            gpu_resource,
            kind,
        } => {
            let said = |number: u64| (number > 0).then_some(number);
            let count = if demand.gpu_share > 0 { 1 } else { demand.gpus };
            let spec = WorkloadSpec {
                replicas: Some(*replicas),
                cpu_milli: said(demand.cpu_milli),
                memory_mib: said(demand.memory_mib),
                gpus: (count > 0).then(|| Gpus {
                    count,
                    resource: gpu_resource.clone(),
                }),
                node_selector: demand.labels.iter().cloned().collect(),
                nodes: nodes.clone(),
                labels: said_kind(kind),
                ..WorkloadSpec::new(id, image)
            };
            let made = cluster.create(&spec).await;
            made.map(|_| format!("{replicas} replicas of {image} on {}", or_any(nodes)))
        }
        DeploymentChange::Pin { nodes } => {
            let pinned = cluster.pin(&id, nodes).await;
            pinned.map(|_| format!("its pods move to {}", or_any(nodes)))
        }
    }
}

/// Label of a deployment that says what kind of work it is.
pub const KIND: &str = "sentinel.dev/workload-type";

fn said_kind(kind: &str) -> BTreeMap<String, String> {
    let label = (KIND.to_owned(), kind.to_owned());
    std::iter::once(label).filter(|(_, kind)| !kind.is_empty()).collect()
}

fn or_any(nodes: &[String]) -> String {
    match nodes {
        [] => "any node".to_owned(),
        nodes => nodes.join(", "),
    }
}

/// A deployment in the driver's words.
pub fn deployment(target: &DeploymentRef) -> WorkloadRef {
    WorkloadRef::new(WorkloadKind::Deployment, target.namespace.clone(), target.name.clone())
}

/// An error and its causes in one line.
pub fn line(error: &KubeError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text.replace('\n', " ")
}

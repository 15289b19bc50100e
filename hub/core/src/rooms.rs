//! What clusters last told of their nodes, pods and deployments: the room that placement divides, and the facts that policy judges by.
//!
//! Decides nothing about clusters by itself. What was not told, or was told too long ago, is not known: nothing is placed there, and
//! rules that need it say what a missing number means. Not stored: clusters tell it again after a start.
//!
//! Read next: `rooms/place.rs` (where work goes), `rooms/facts.rs` (what policy is told), `hub/src/kube/facts.rs` (who tells).

mod facts;
mod mend;
mod place;

use std::collections::BTreeMap;
use std::time::Duration;

use wire::ids::{AgentId, PlanId};
use wire::kube::DeploymentRef;
use wire::plan::Draft;
use wire::time::Mono;

use crate::clusters::Cluster;

#[cfg(test)]
use facts::StepFacts;
pub use mend::Mend;
use mend::Mended;
pub use place::PlacementAsk;
pub(crate) use place::{Placed, Promise};

/// What was told longer ago is not relied on: clusters tell it every 30 s, and may miss two times.
const FRESH: Duration = Duration::from_secs(90);

/// What something takes, or has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amount {
    /// CPU in thousandths of a core.
    pub cpu_milli: u64,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Whole GPUs.
    pub gpus: u64,
    /// Parts of GPUs that are shared.
    pub shared: u64,
}

/// A node of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KubeNode {
    /// Its name.
    pub name: String,
    /// The agent on it, if there is one of that name.
    pub agent: AgentId,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its kubelet says that it is ready.
    pub is_ready: bool,
    /// Its kubelet says that memory, disk or processes run out.
    pub is_pressed: bool,
    /// It is closed for new pods.
    pub is_cordoned: bool,
    /// Keys of its taints that keep new pods away.
    pub taints: Vec<String>,
    /// What pods may have.
    pub has: Amount,
    /// What its pods have asked for.
    pub used: Amount,
    /// Model of its GPUs; empty without.
    pub model: String,
    /// The extended resource that counts whole GPUs; empty without.
    pub gpu_resource: String,
    /// In how many parts each shared GPU is divided; 0: none is shared.
    pub parts: u64,
}

/// A deployment of a cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KubeDeployment {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Replicas that are wanted.
    pub replicas: u64,
    /// What each asks for.
    pub each: Amount,
    /// Labels that its nodes must carry.
    pub labels: BTreeMap<String, String>,
    /// The only nodes that it may run on; empty for any.
    pub nodes: Vec<String>,
    /// What of it is not as our last change left it, each in words.
    pub drift: Vec<String>,
    /// What would bring that back, where the deployment asks for it.
    pub mend: Option<Mend>,
}

/// What the pods of a namespace have asked for, on GPUs of one model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KubeUse {
    /// The namespace.
    pub namespace: String,
    /// GPU model of the nodes that they run on.
    pub model: String,
    /// What they have asked for.
    pub used: Amount,
}

/// Everything that a cluster tells of itself at one time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KubeFacts {
    /// All of its nodes.
    pub nodes: Vec<KubeNode>,
    /// All of its deployments.
    pub deployments: Vec<KubeDeployment>,
    /// What pods have asked for.
    pub used: Vec<KubeUse>,
}

impl KubeFacts {
    fn deployment(&self, namespace: &str, name: &str) -> Option<&KubeDeployment> {
        let mut all = self.deployments.iter();
        all.find(|one| one.namespace == namespace && one.name == name)
    }
}

/// What is known of all clusters.
#[derive(Debug, Default)]
pub(crate) struct Rooms(BTreeMap<String, Room>);

#[derive(Debug)]
struct Room {
    labels: BTreeMap<String, String>,
    prices: BTreeMap<String, u64>,
    facts: KubeFacts,
    told_at: Mono,
    mended: Mended,
}

/// What a telling brings up.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// Deployments whose drift is another now, with that drift, and whether it is mended if it stays.
    pub(crate) drifted: Vec<(DeploymentRef, Vec<String>, bool)>,
    /// Plans that mend what stayed.
    pub(crate) mends: Vec<(PlanId, Draft)>,
}

impl Rooms {
    /// A cluster has told everything. Replaces what it told before.
    pub(crate) fn told(&mut self, cluster: &Cluster, facts: KubeFacts, now: Mono) -> Told {
        let mut before = self.0.remove(&cluster.name);
        let mut mended = before
            .as_mut()
            .map(|room| std::mem::take(&mut room.mended))
            .unwrap_or_default();
        let mends = mended.plans(&cluster.name, before.as_ref().map(|room| &room.facts), &facts, now);
        let drifted = facts.deployments.iter().filter(|one| {
            let known = before
                .as_ref()
                .and_then(|room| room.facts.deployment(&one.namespace, &one.name));
            known.map_or(!one.drift.is_empty(), |known| known.drift != one.drift)
        });
        let drifted = drifted.map(|one| {
            let target = DeploymentRef {
                cluster: cluster.name.clone(),
                namespace: one.namespace.clone(),
                name: one.name.clone(),
            };
            (target, one.drift.clone(), one.mend.is_some())
        });
        let drifted = drifted.collect();
        let room = Room {
            labels: cluster.labels.iter().cloned().collect(),
            prices: cluster.prices.clone(),
            facts,
            told_at: now,
            mended,
        };
        self.0.insert(cluster.name.clone(), room);
        Told { drifted, mends }
    }

    /// A cluster is not known any more.
    pub(crate) fn forget(&mut self, cluster: &str) {
        self.0.remove(cluster);
    }

    /// A cluster that told itself lately.
    fn fresh(&self, cluster: &str, now: Mono) -> Option<&Room> {
        self.0.get(cluster).filter(|room| room.is_fresh(now))
    }

    /// The extended resource that counts GPUs on these nodes, or on any; `None` while nothing is known of the cluster.
    pub(crate) fn gpu_resource(&self, cluster: &str, nodes: &[String], is_share: bool) -> Option<String> {
        let room = self.0.get(cluster)?;
        let named = |node: &&KubeNode| nodes.is_empty() || nodes.contains(&node.name);
        let mut with_gpus = room
            .facts
            .nodes
            .iter()
            .filter(named)
            .filter(|node| !node.gpu_resource.is_empty());
        let resource = with_gpus.next().map_or(NVIDIA, |node| node.gpu_resource.as_str());
        Some(if is_share {
            format!("{resource}{SHARED}")
        } else {
            resource.to_owned()
        })
    }
}

/// What GPUs are counted by where no node says otherwise.
const NVIDIA: &str = "nvidia.com/gpu";
/// What the device plugin adds to the resource's name where GPUs are shared.
const SHARED: &str = ".shared";

impl Room {
    fn is_fresh(&self, now: Mono) -> bool {
        now < self.told_at + FRESH
    }

    fn deployment(&self, namespace: &str, name: &str) -> Option<&KubeDeployment> {
        self.facts.deployment(namespace, name)
    }

    fn node(&self, name: &str) -> Option<&KubeNode> {
        self.facts.nodes.iter().find(|node| node.name == name)
    }

    /// The GPU model that these nodes have, if it is one.
    fn model_of(&self, nodes: &[String], labels: &BTreeMap<String, String>) -> Option<&str> {
        let suits = |node: &&KubeNode| {
            (nodes.is_empty() || nodes.contains(&node.name))
                && labels.iter().all(|(key, value)| node.labels.get(key) == Some(value))
        };
        let mut models = self.facts.nodes.iter().filter(suits).map(|node| node.model.as_str());
        let first = models.find(|model| !model.is_empty())?;
        models.all(|model| model.is_empty() || model == first).then_some(first)
    }

    /// What `amount` costs in an hour on GPUs of this model, in millionths of the currency. `None` if nobody has said what such GPUs
    /// cost; CPU and memory cost what was said, or nothing.
    fn price(&self, amount: Amount, model: Option<&str>) -> Option<u64> {
        if self.prices.is_empty() {
            return None;
        }
        let priced = |key: &str| self.prices.get(key).copied().unwrap_or(0);
        let gpu_milli = amount.gpu_milli(self.parts());
        let of_gpus = match gpu_milli {
            0 => 0,
            // One whose model has no price counts as the dearest.
            milli => {
                let known = self
                    .prices
                    .iter()
                    .filter(|(key, _)| !matches!(key.as_str(), CPU | MEMORY));
                let dearest = known.map(|(_, price)| *price).max();
                let price = model.and_then(|model| self.prices.get(model).copied()).or(dearest)?;
                milli.saturating_mul(price) / 1_000
            }
        };
        let of_cpu = amount.cpu_milli.saturating_mul(priced(CPU)) / 1_000;
        let of_memory = amount.memory_mib.saturating_mul(priced(MEMORY)) / 1_024;
        Some(of_gpus.saturating_add(of_cpu).saturating_add(of_memory))
    }

    /// In how many parts GPUs are shared here, as most nodes have it.
    fn parts(&self) -> u64 {
        self.facts.nodes.iter().map(|node| node.parts).max().unwrap_or(0)
    }
}

/// Prices that are of no GPU model.
const CPU: &str = "cpu";
const MEMORY: &str = "memory";

impl Amount {
    /// The sum.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            cpu_milli: self.cpu_milli.saturating_add(other.cpu_milli),
            memory_mib: self.memory_mib.saturating_add(other.memory_mib),
            gpus: self.gpus.saturating_add(other.gpus),
            shared: self.shared.saturating_add(other.shared),
        }
    }

    /// The larger of each.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self {
            cpu_milli: self.cpu_milli.max(other.cpu_milli),
            memory_mib: self.memory_mib.max(other.memory_mib),
            gpus: self.gpus.max(other.gpus),
            shared: self.shared.max(other.shared),
        }
    }

    /// So many times this.
    #[must_use]
    pub fn times(self, count: u64) -> Self {
        Self {
            cpu_milli: self.cpu_milli.saturating_mul(count),
            memory_mib: self.memory_mib.saturating_mul(count),
            gpus: self.gpus.saturating_mul(count),
            shared: self.shared.saturating_mul(count),
        }
    }

    /// Its GPUs in thousandths, where shared ones are divided in so many parts.
    fn gpu_milli(self, parts: u64) -> u64 {
        let of_parts = (self.shared * 1_000).checked_div(parts).unwrap_or(0);
        self.gpus.saturating_mul(1_000).saturating_add(of_parts)
    }
}

#[cfg(test)]
mod tests;

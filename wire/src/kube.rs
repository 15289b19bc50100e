//! Clusters, their deployments and rollouts, as people and programs name and read them.
//!
//! Plain words; what they mean is decided in the hub's core, and what a cluster makes of them in `hub/kube`.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::demand::Demand;
use crate::plan::{PlanProblem, Target};
use crate::time::Wall;

/// A deployment of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DeploymentRef {
    /// Which cluster.
    pub cluster: String,
    /// In which namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl DeploymentRef {
    /// Holds its names against their lengths and grammar.
    pub fn check(&self) -> Result<(), PlanProblem> {
        let Self {
            cluster,
            namespace,
            name,
        } = self.clone();
        Target::Deployment {
            cluster,
            namespace,
            name,
        }
        .check()
    }
}

impl fmt::Display for DeploymentRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}/deployment/{}", self.cluster, self.namespace, self.name)
    }
}

impl FromStr for DeploymentRef {
    type Err = PlanProblem;

    /// From `CLUSTER/NAMESPACE/NAME`, or as it is shown.
    fn from_str(text: &str) -> Result<Self, PlanProblem> {
        let parts: Vec<&str> = match text.split_once(':') {
            Some((cluster, rest)) => std::iter::once(cluster).chain(rest.split("/deployment/")).collect(),
            None => text.split('/').collect(),
        };
        let [cluster, namespace, name] = parts[..] else {
            let problem = format!("`{text}` is not CLUSTER/NAMESPACE/NAME, for example demo/default/web");
            return Err(PlanProblem::new("deployment", problem));
        };
        let [cluster, namespace, name] = [cluster, namespace, name].map(str::to_owned);
        let deployment = Self {
            cluster,
            namespace,
            name,
        };
        deployment.check().map(|()| deployment)
    }
}

/// One change of a deployment. Each says how it should be, so that twice is once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum DeploymentChange {
    /// Make it.
    Create {
        /// Its image.
        image: String,
        /// Its replicas.
        replicas: u32,
    },
    /// Another number of replicas; 0 is a number.
    Scale {
        /// How many.
        replicas: u32,
    },
    /// Replace all pods.
    Restart {
        /// Marks this restart: the same mark again does nothing.
        mark: String,
    },
    /// Go back to a revision.
    RollBack {
        /// Its number; 0 for the one before the newest.
        revision: u64,
    },
    /// Another image.
    SetImage {
        /// The image.
        image: String,
    },
    /// Remove it.
    Delete,
    /// Make it where it was placed.
    Deploy {
        /// Its image.
        image: String,
        /// Its replicas.
        replicas: u32,
        /// What each takes and demands of its node.
        demand: Box<Demand>,
        /// The only nodes that will do; empty for any.
        nodes: Vec<String>,
        /// The extended resource that counts its GPUs there; empty without GPUs.
        gpu_resource: String,
        /// What kind of work it is; empty: not said.
        kind: String,
    },
    /// Let its pods run on these nodes only.
    Pin {
        /// Their names; empty for any.
        nodes: Vec<String>,
    },
}

impl DeploymentChange {
    /// The verb in the journal, such as `deployment.scale`.
    pub const fn verb(&self) -> &'static str {
        match self {
            Self::Create { .. } => "deployment.create",
            Self::Scale { .. } => "deployment.scale",
            Self::Restart { .. } => "deployment.restart",
            Self::RollBack { .. } => "deployment.rollback",
            Self::SetImage { .. } => "deployment.image",
            Self::Delete => "deployment.delete",
            Self::Deploy { .. } => "deployment.deploy",
            Self::Pin { .. } => "deployment.pin",
        }
    }
}

/// A node of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct NodeRef {
    /// Which cluster.
    pub cluster: String,
    /// Its name there.
    pub name: String,
}

impl NodeRef {
    /// Holds its names against their lengths and grammar.
    pub fn check(&self) -> Result<(), PlanProblem> {
        let Self { cluster, name } = self.clone();
        Target::ClusterNode { cluster, name }.check()
    }
}

impl fmt::Display for NodeRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:node/{}", self.cluster, self.name)
    }
}

/// One change of a node. Each says how it should be, so that twice is once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum NodeChange {
    /// Let no new pods onto it.
    Cordon,
    /// Let pods onto it again.
    Uncordon,
    /// Let no new pods onto it, and move those that are there, as their disruption budgets allow.
    Drain,
}

impl NodeChange {
    /// The verb in the journal, such as `node.drain`.
    pub const fn verb(&self) -> &'static str {
        match self {
            Self::Cordon => "node.cordon",
            Self::Uncordon => "node.uncordon",
            Self::Drain => "node.drain",
        }
    }
}

/// What came of a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ChangeOutcome {
    /// The cluster has taken it; its pods follow.
    Accepted {
        /// For people.
        detail: String,
    },
    /// The cluster did not do it.
    Refused {
        /// For people, with the way out.
        reason: String,
    },
    /// The answer was lost: it may have happened. Read the deployment before anything else.
    Unknown {
        /// For people.
        reason: String,
    },
}

/// A cluster, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ClusterView {
    /// Its name.
    pub name: String,
    /// Where its credentials come from: a file on the hub, or `in-cluster`.
    pub kubeconfig: String,
    /// The context of that file; the current one if empty.
    pub context: String,
    /// Namespace of deployments that name none.
    pub namespace: String,
    /// Its labels: (name, value).
    pub labels: Vec<(String, String)>,
    /// Address of its Prometheus.
    pub prometheus: Option<String>,
    /// What an hour costs there, in millionths of the currency: of a GPU of a model, of a core (`cpu`), of a GiB (`memory`).
    #[serde(default)]
    pub prices: BTreeMap<String, u64>,
    /// Since when it is registered.
    pub registered_at: Wall,
    /// `ready`, `not_ready`, `forbidden` or `unreachable`.
    pub status: String,
    /// Its version; empty while it was not reached.
    pub version: String,
    /// Verbs that its credentials do not allow and the hub needs.
    pub missing_permissions: Vec<String>,
    /// What is wrong; empty if nothing is.
    pub detail: String,
}

/// A deployment, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DeploymentView {
    /// Which.
    #[serde(flatten)]
    pub id: DeploymentRef,
    /// `running`, `scaling`, `updating`, `pending`, `failed` or `unknown`.
    pub status: String,
    /// Replicas that are wanted.
    pub wanted: u32,
    /// Replicas that are ready.
    pub ready: u32,
    /// Replicas of the newest revision.
    pub updated: u32,
    /// Image of its first container.
    pub image: String,
    /// Its revision.
    pub revision: Option<u64>,
    /// `training`, `inference` or `batch`; empty where nobody has said.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// What of it is not as the hub's last change left it, each with the field manager that changed it.
    #[serde(default)]
    pub drift: Vec<String>,
}

/// What a comparison of a canary with its baseline said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AnalysisView {
    /// When.
    pub at: Wall,
    /// `pass`, `inconclusive` or `abort`.
    pub verdict: String,
    /// What may be done next: `advance`, `extend`, `wait`, `hold` or `roll_back`.
    pub next: String,
    /// Why, in one sentence.
    pub why: String,
    /// Share of the known weight that passes, of 100.
    pub score: Option<f64>,
    /// Guards that fired.
    pub guards: Vec<String>,
    /// Metric by metric.
    pub metrics: Vec<MetricView>,
}

/// What one metric says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MetricView {
    /// Its name.
    pub name: String,
    /// `pass`, `fail` or `no_data`.
    pub outcome: String,
    /// Why, in one sentence.
    pub why: String,
    /// Whether its failure alone takes the canary back.
    pub critical: bool,
    /// What was measured of the baseline.
    pub baseline: Distribution,
    /// And of the canary.
    pub canary: Distribution,
    /// Independent samples of both.
    pub effective: (usize, usize),
    /// Samples of each side that are missing before anything can be said.
    pub still_needed: usize,
    /// How much larger the canary is.
    pub shift: Option<f64>,
    /// The 98 % interval of that.
    pub interval: Option<(f64, f64)>,
    /// Up to which shift nothing is said.
    pub tolerated: Option<f64>,
    /// Probability of so much by chance.
    pub p: Option<f64>,
    /// What bets against the canary have made of 1, and from which on it is taken back at any time.
    pub wealth: Option<(f64, f64)>,
}

/// What was measured of one side.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Distribution {
    /// How many values.
    pub samples: usize,
    /// Smallest to largest in 20 equal parts: 21 values, or none.
    pub quantiles: Vec<f64>,
}

/// A rollout, for people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RolloutView {
    /// Its id.
    pub id: String,
    /// Of which deployment.
    pub target: DeploymentRef,
    /// The image that it brings.
    pub image: String,
    /// The image that was there before.
    pub from_image: String,
    /// Where it is, such as `analysing`, `completed` or `rolled_back`.
    pub phase: String,
    /// The step, from 1.
    pub step: usize,
    /// How many steps there are.
    pub steps: usize,
    /// Why it is where it is.
    pub why: String,
    /// Ready replicas of all its parts, as last observed.
    pub ready: u32,
    /// Replicas at its start: there are never fewer ready ones.
    pub start_replicas: u32,
    /// When the phase is left at the latest.
    pub deadline: Option<Wall>,
    /// Nothing more happens to it.
    pub finished: bool,
    /// When it was started.
    pub started_at: Wall,
    /// Who started it.
    pub started_by: String,
    /// Traffic that the canary should have, in percent; absent where traffic follows replicas.
    pub weight: Option<u8>,
    /// Its steps in few words.
    pub plan: Vec<String>,
    /// What the last comparison said.
    pub analysis: Option<AnalysisView>,
}

/// A deployment that the hub scales, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ScalingView {
    /// Which.
    pub target: DeploymentRef,
    /// Fewest replicas.
    pub min: u32,
    /// Most replicas.
    pub max: u32,
    /// Load that one replica should have, in thousandths.
    pub target_milli: u64,
    /// What its Prometheus is asked.
    pub query: String,
    /// A forecast is a floor.
    pub forecast: bool,
    /// Replicas that are wanted now; absent while that is not known.
    pub present: Option<u32>,
    /// Replicas that there should be.
    pub desired: Option<u32>,
    /// Replicas that the measured load needs by itself, whatever the bounds are.
    #[serde(default)]
    pub reactive: Option<u32>,
    /// Replicas that the expected load needs, whatever the bounds are: a floor, never a reason for fewer.
    #[serde(default)]
    pub floor: Option<u32>,
    /// Why so many.
    pub why: String,
    /// The measured load, in thousandths.
    pub load_milli: Option<u64>,
    /// The load that is expected by the time when new replicas are ready.
    pub expected_milli: Option<u64>,
    /// The cluster's own autoscaler, to which it is left.
    pub autoscaler: Option<String>,
    /// What could not be read; empty if all was.
    pub detail: String,
    /// When it was measured last.
    pub measured_at: Option<Wall>,
    /// Who has set it.
    pub set_by: String,
}

/// What registers a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RegisterCluster {
    /// Our name for it.
    pub name: String,
    /// A kubeconfig file on the hub's machine; absent for the service account of the pod that the hub runs in.
    #[serde(default)]
    pub kubeconfig: Option<String>,
    /// Which context of it.
    #[serde(default)]
    pub context: String,
    /// Namespace of deployments that name none.
    #[serde(default)]
    pub namespace: String,
    /// Its labels.
    #[serde(default)]
    pub labels: Vec<(String, String)>,
    /// Address of the Prometheus that knows its workloads, such as `http://prometheus.internal:9090`.
    #[serde(default)]
    pub prometheus: Option<String>,
    /// What an hour costs there, in millionths of the currency: of a GPU of a model, of a core (`cpu`), of a GiB (`memory`).
    #[serde(default)]
    pub prices: BTreeMap<String, u64>,
}

/// A change of a deployment as it is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ChangeDeployment {
    /// What.
    pub change: DeploymentChange,
    /// Why; it is journaled.
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deployment_is_read_as_it_is_shown_and_as_people_type_it() {
        let typed: DeploymentRef = "demo/default/web".parse().expect("three names");
        assert_eq!(typed.to_string(), "demo:default/deployment/web");
        assert_eq!(typed.to_string().parse(), Ok(typed));
        for wrong in ["web", "demo/web", "demo/default/Web", "a/b/c/d", "demo:default/web"] {
            assert!(wrong.parse::<DeploymentRef>().is_err(), "{wrong}");
        }
    }
}

//! What pods ask for: of each node and namespace together, and of one replica of each deployment. And where pods may run.
//!
//! Pods are added up page by page: no more than one page of them is held, however many there are.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, PodSpec, ResourceRequirements};
use kube::api::Api;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::drift::{Drift, asks_to_be_mended, drift};
use crate::error::KubeError;
use crate::manifest::{WorkloadKind, WorkloadRef};
use crate::nodes::milli;
use crate::status::Workload;

/// The label by which pods are kept to single nodes.
const HOSTNAME: &str = "kubernetes.io/hostname";

/// What something asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    /// CPU in thousandths of a core.
    pub cpu_milli: u64,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Extended resources, such as `nvidia.com/gpu`.
    pub extended: BTreeMap<String, u64>,
}

/// What a deployment asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeploymentAsk {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Replicas that are wanted.
    pub replicas: u64,
    /// What each asks for.
    pub each: Asked,
    /// Labels that its nodes must have.
    pub node_selector: BTreeMap<String, String>,
    /// The only nodes that it may run on; empty for any.
    pub nodes: Vec<String>,
    /// What of it is not as our last change left it.
    pub drift: Vec<Drift>,
    /// It asks for its drift to be mended.
    pub is_to_be_mended: bool,
}

impl Cluster {
    /// What all pods that have not ended ask for, by namespace and node; the node is empty while they have none.
    pub async fn asked_by_pods(&self) -> Result<BTreeMap<(String, String), Asked>, KubeError> {
        let mut all: BTreeMap<(String, String), Asked> = BTreeMap::new();
        let add = |pod: &Pod| {
            let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
            let Some(spec) = pod
                .spec
                .as_ref()
                .filter(|_| !matches!(phase, Some("Succeeded" | "Failed")))
            else {
                return;
            };
            let place = (
                pod.metadata.namespace.clone().unwrap_or_default(),
                spec.node_name.clone().unwrap_or_default(),
            );
            all.entry(place).or_default().add(&Asked::of(spec));
        };
        self.list_each(&self.pods_api(None), "what pods ask for", add).await?;
        Ok(all)
    }

    /// What all deployments ask for.
    pub async fn asked_by_deployments(&self) -> Result<Vec<DeploymentAsk>, KubeError> {
        let api: Api<Deployment> = Api::all(self.client.clone());
        let mut all = Vec::new();
        self.list_each(&api, "what deployments ask for", |one| {
            all.extend(DeploymentAsk::of(one))
        })
        .await?;
        Ok(all)
    }

    /// Lets the pods of a workload run on these nodes only; on any without. What else it demands of its nodes stays.
    pub async fn pin(&self, id: &WorkloadRef, nodes: &[String]) -> Result<Workload, KubeError> {
        if id.kind == WorkloadKind::Job {
            let message = "a job cannot be moved; create another one".to_owned();
            return Err(KubeError::Invalid {
                cluster: self.name().to_owned(),
                what: id.to_string(),
                message,
            });
        }
        self.change(id, |live, ours| {
            let affinity = &live["spec"]["template"]["spec"]["affinity"]["nodeAffinity"];
            let terms = pinned(&affinity["requiredDuringSchedulingIgnoredDuringExecution"], nodes);
            let ours = &mut ours["spec"]["template"]["spec"]["affinity"]["nodeAffinity"];
            ours["requiredDuringSchedulingIgnoredDuringExecution"] = terms;
        })
        .await
    }
}

/// The required terms with other nodes in each; terms are alternatives, so each of them is narrowed.
fn pinned(required: &Value, nodes: &[String]) -> Value {
    let is_hostname = |one: &Value| one["key"] == HOSTNAME;
    let mut terms = required["nodeSelectorTerms"].as_array().cloned().unwrap_or_default();
    if terms.is_empty() {
        terms.push(json!({}));
    }
    for term in &mut terms {
        let mut expressions = term["matchExpressions"].as_array().cloned().unwrap_or_default();
        expressions.retain(|one| !is_hostname(one));
        expressions.push(match nodes {
            [] => json!({ "key": HOSTNAME, "operator": "Exists" }),
            nodes => json!({ "key": HOSTNAME, "operator": "In", "values": nodes }),
        });
        term["matchExpressions"] = json!(expressions);
    }
    json!({ "nodeSelectorTerms": terms })
}

impl Asked {
    /// Of one pod: its containers together, or the largest of those that run before them, and what its runtime adds.
    fn of(spec: &PodSpec) -> Self {
        let sum = |all: &mut Self, resources: &Option<ResourceRequirements>| all.add(&Self::requested(resources));
        let mut asked = Self::default();
        for container in &spec.containers {
            sum(&mut asked, &container.resources);
        }
        for container in spec.init_containers.iter().flatten() {
            match container.restart_policy.as_deref() {
                // It goes on beside the others.
                Some("Always") => sum(&mut asked, &container.resources),
                _ => asked.raise(&Self::requested(&container.resources)),
            }
        }
        let overhead = spec.overhead.clone().map(|requests| ResourceRequirements {
            requests: Some(requests),
            ..ResourceRequirements::default()
        });
        sum(&mut asked, &overhead);
        asked
    }

    /// What is requested; where only a limit is said, that is requested.
    fn requested(resources: &Option<ResourceRequirements>) -> Self {
        let mut asked = Self::default();
        let Some(resources) = resources else {
            return asked;
        };
        let mut all = resources.limits.clone().unwrap_or_default();
        all.extend(resources.requests.clone().unwrap_or_default());
        for (name, quantity) in all {
            let Some(milli) = milli(&quantity) else { continue };
            match name.as_str() {
                "cpu" => asked.cpu_milli = milli,
                "memory" => asked.memory_mib = milli.div_ceil(1_000 << 20),
                name if name.contains('/') => drop(asked.extended.insert(name.to_owned(), milli / 1_000)),
                _ => {}
            }
        }
        asked
    }

    fn add(&mut self, other: &Self) {
        self.cpu_milli = self.cpu_milli.saturating_add(other.cpu_milli);
        self.memory_mib = self.memory_mib.saturating_add(other.memory_mib);
        for (name, count) in &other.extended {
            let sum = self.extended.entry(name.clone()).or_default();
            *sum = sum.saturating_add(*count);
        }
    }

    fn raise(&mut self, other: &Self) {
        self.cpu_milli = self.cpu_milli.max(other.cpu_milli);
        self.memory_mib = self.memory_mib.max(other.memory_mib);
        for (name, count) in &other.extended {
            let most = self.extended.entry(name.clone()).or_default();
            *most = (*most).max(*count);
        }
    }
}

impl DeploymentAsk {
    fn of(deployment: &Deployment) -> Option<Self> {
        let spec = deployment.spec.as_ref()?;
        let pod = spec.template.spec.as_ref()?;
        let live = serde_json::to_value(deployment).unwrap_or_default();
        Some(Self {
            namespace: deployment.metadata.namespace.clone().unwrap_or_default(),
            name: deployment.metadata.name.clone()?,
            replicas: u64::try_from(spec.replicas.unwrap_or(1)).unwrap_or(0),
            each: Asked::of(pod),
            node_selector: pod.node_selector.clone().unwrap_or_default(),
            nodes: only_nodes(pod),
            drift: drift(&live),
            is_to_be_mended: asks_to_be_mended(&live),
        })
    }
}

/// The nodes that a pod is kept to by name.
fn only_nodes(pod: &PodSpec) -> Vec<String> {
    let required = pod.affinity.as_ref().and_then(|affinity| {
        affinity
            .node_affinity
            .as_ref()?
            .required_during_scheduling_ignored_during_execution
            .as_ref()
    });
    let terms = required
        .map(|required| required.node_selector_terms.as_slice())
        .unwrap_or_default();
    let named = |term: &k8s_openapi::api::core::v1::NodeSelectorTerm| {
        let mut all = term.match_expressions.iter().flatten();
        all.find(|one| one.key == HOSTNAME && one.operator == "In")
            .and_then(|one| one.values.clone())
    };
    // Terms are alternatives: one that names no node allows any.
    let named: Option<Vec<Vec<String>>> = terms.iter().map(named).collect();
    named.into_iter().flatten().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(spec: Value) -> PodSpec {
        serde_json::from_value(spec).expect("a pod")
    }

    #[test]
    fn a_pod_asks_for_its_containers_or_for_what_runs_before_them() {
        let container = |name: &str, requests: Value| json!({ "name": name, "resources": { "requests": requests } });
        let spec = pod(json!({
            "containers": [
                container("a", json!({ "cpu": "500m", "memory": "1Gi" })),
                { "name": "b", "resources": { "limits": { "nvidia.com/gpu": "2", "cpu": "1" } } },
            ],
            "initContainers": [container("i", json!({ "memory": "3Gi" }))],
            "overhead": { "memory": "64Mi" },
        }));
        let asked = Asked::of(&spec);
        assert_eq!((asked.cpu_milli, asked.memory_mib), (1_500, 3_136));
        assert_eq!(asked.extended, BTreeMap::from([("nvidia.com/gpu".to_owned(), 2)]));
    }

    #[test]
    fn other_demands_on_nodes_stay_when_pods_are_pinned() {
        let rack = json!({ "key": "rack", "operator": "In", "values": ["r7"] });
        let before = json!({ "nodeSelectorTerms": [
            { "matchExpressions": [rack, { "key": HOSTNAME, "operator": "In", "values": ["old"] }] }] });
        let now = pinned(&before, &["new".to_owned()]);
        let expressions = &now["nodeSelectorTerms"][0]["matchExpressions"];
        assert_eq!(expressions[0], rack);
        assert_eq!(expressions[1]["values"], json!(["new"]));
        assert_eq!(expressions.as_array().map(Vec::len), Some(2));
    }

    #[test]
    fn a_term_that_names_no_node_allows_any() {
        let only = |terms: Value| {
            only_nodes(&pod(json!({ "containers": [], "affinity": { "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": terms } } } })))
        };
        let named = json!({ "matchExpressions": [{ "key": HOSTNAME, "operator": "In", "values": ["a", "b"] }] });
        let racks = json!({ "matchExpressions": [{ "key": "rack", "operator": "Exists" }] });
        assert_eq!(only(json!([named])), ["a", "b"]);
        assert!(only(json!([named, racks])).is_empty());
        assert!(only_nodes(&pod(json!({ "containers": [] }))).is_empty());
    }
}

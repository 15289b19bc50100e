//! Everything that a cluster tells of its nodes, pods and deployments, in the core's words.

use hub_core::{Amount, KubeDeployment, KubeFacts, KubeNode, KubeUse, Mend};
use hub_kube::{Asked, DeploymentAsk, Drift, KubeError, NodeView, TaintEffect};
use std::collections::BTreeMap;
use wire::ids::{AgentId, PlanId};

use super::marks::AGENT;
use super::{Clusters, line};

/// Resources that count whole GPUs. Sources: the device plugins of NVIDIA, AMD and Intel.
const GPUS: [&str; 4] = [
    "nvidia.com/gpu",
    "amd.com/gpu",
    "gpu.intel.com/i915",
    "gpu.intel.com/xe",
];
/// The resource that counts parts of GPUs that are shared in time, where the plugin names it apart, and the label with their number.
const SHARED: &str = "nvidia.com/gpu.shared";
const PARTS: &str = "nvidia.com/gpu.replicas";
/// Labels that name a node's GPU model. Sources: NVIDIA's GPU feature discovery, AMD's node labeller.
const MODELS: [&str; 3] = [
    "sentinel.dev/gpu-model",
    "nvidia.com/gpu.product",
    "amd.com/gpu.product-name",
];
/// What a kubelet says when something runs out.
const PRESSED: [&str; 3] = ["MemoryPressure", "DiskPressure", "PIDPressure"];

/// Reads all of it. `None`: something could not be read, and half of it would pass for the whole.
pub async fn read(clusters: &Clusters, cluster: &str) -> Option<KubeFacts> {
    let client = clusters.get(cluster).ok()?;
    let read = async {
        let (nodes, pods, deployments) =
            tokio::try_join!(client.nodes(), client.asked_by_pods(), client.asked_by_deployments())?;
        Ok::<_, KubeError>(facts(nodes, pods, deployments))
    };
    let read = read.await;
    read.inspect_err(|error| tracing::debug!(cluster, reason = line(error), "what it has cannot be read"))
        .ok()
}

fn facts(nodes: Vec<NodeView>, pods: BTreeMap<(String, String), Asked>, deployments: Vec<DeploymentAsk>) -> KubeFacts {
    let mut on_nodes: BTreeMap<&str, Amount> = BTreeMap::new();
    for ((_, node), asked) in &pods {
        let sum = on_nodes.entry(node).or_default();
        *sum = sum.and(amount(asked));
    }
    let nodes: Vec<KubeNode> = nodes
        .into_iter()
        .filter_map(|node| {
            let used = on_nodes.get(node.name.as_str()).copied().unwrap_or_default();
            kube_node(node, used)
        })
        .collect();
    let model = |name: &str| {
        nodes
            .iter()
            .find(|node| node.name == name)
            .map_or("", |node| &node.model)
    };
    let models: BTreeMap<&str, &str> = pods.keys().map(|(_, node)| (node.as_str(), model(node))).collect();
    let mut used: BTreeMap<(&str, &str), Amount> = BTreeMap::new();
    for ((namespace, node), asked) in &pods {
        let sum = used.entry((namespace, models[node.as_str()])).or_default();
        *sum = sum.and(amount(asked));
    }
    let used = used.into_iter().map(|((namespace, model), used)| KubeUse {
        namespace: namespace.to_owned(),
        model: model.to_owned(),
        used,
    });
    let used = used.collect();
    let deployments = deployments.into_iter().map(|one| KubeDeployment {
        each: amount(&one.each),
        namespace: one.namespace,
        name: one.name,
        replicas: one.replicas,
        labels: one.node_selector,
        nodes: one.nodes,
        drift: one.drift.iter().map(drift_line).collect(),
        mend: one.is_to_be_mended.then(|| mend(&one.drift)),
    });
    KubeFacts {
        deployments: deployments.collect(),
        nodes,
        used,
    }
}

/// What would bring it back. The replicas that an autoscaler of the cluster set are left to it.
fn mend(drift: &[Drift]) -> Mend {
    let wanted = |field: &str| {
        let mut of = drift.iter().filter(|one| one.field == field && !one.is_autoscaled());
        of.next().map(|one| one.wanted.clone())
    };
    Mend {
        plan: PlanId(*uuid::Uuid::now_v7().as_bytes()),
        replicas: wanted("replicas").and_then(|text| text.parse().ok()),
        image: wanted("image"),
    }
}

/// `replicas: 7 wanted, 3 by kubectl`.
pub fn drift_line(drift: &Drift) -> String {
    let by = match drift.by.as_slice() {
        [] => "somebody".to_owned(),
        names => names.join(" and "),
    };
    format!("{}: {} wanted, {} by {by}", drift.field, drift.wanted, drift.now)
}

fn kube_node(node: NodeView, used: Amount) -> Option<KubeNode> {
    let agent = AgentId::new(node.labels.get(AGENT).unwrap_or(&node.name)).ok()?;
    let gpu_resource = GPUS.iter().find(|resource| node.extended.contains_key(**resource));
    let shared = node.extended.get(SHARED).copied().unwrap_or(0);
    let parts = node.labels.get(PARTS).and_then(|text| text.parse().ok());
    let taints = node
        .taints
        .iter()
        .filter(|taint| taint.effect != TaintEffect::PreferNoSchedule);
    let is_pressed = PRESSED
        .iter()
        .any(|kind| node.conditions.get(*kind) == Some(&Some(true)));
    Some(KubeNode {
        agent,
        is_ready: node.ready,
        is_pressed,
        is_cordoned: node.cordoned,
        // A cordon is a taint as well, and is said by itself.
        taints: taints
            .map(|taint| taint.key.clone())
            .filter(|key| key != "node.kubernetes.io/unschedulable")
            .collect(),
        has: Amount {
            cpu_milli: node.cpu_milli,
            memory_mib: node.memory_mib,
            gpus: gpu_resource
                .and_then(|resource| node.extended.get(*resource))
                .copied()
                .unwrap_or(0),
            shared,
        },
        used,
        model: MODELS
            .iter()
            .find_map(|key| node.labels.get(*key))
            .cloned()
            .unwrap_or_default(),
        gpu_resource: gpu_resource.map(|resource| (*resource).to_owned()).unwrap_or_default(),
        // Parts that nobody has counted are one of a GPU each.
        parts: if shared > 0 { parts.unwrap_or(1).max(1) } else { 0 },
        labels: node.labels,
        name: node.name,
    })
}

fn amount(asked: &Asked) -> Amount {
    Amount {
        cpu_milli: asked.cpu_milli,
        memory_mib: asked.memory_mib,
        gpus: GPUS.iter().filter_map(|resource| asked.extended.get(*resource)).sum(),
        shared: asked.extended.get(SHARED).copied().unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, labels: &[(&str, &str)], extended: &[(&str, u64)]) -> NodeView {
        NodeView {
            name: name.to_owned(),
            version: "1".to_owned(),
            ready: true,
            cordoned: false,
            taints: Vec::new(),
            conditions: BTreeMap::new(),
            cpu_milli: 64_000,
            memory_mib: 1_024,
            extended: extended
                .iter()
                .map(|(name, count)| ((*name).to_owned(), *count))
                .collect(),
            labels: labels
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
        }
    }

    #[test]
    fn pods_are_added_up_by_node_and_by_namespace() {
        let gpu = |count: u64| Asked {
            cpu_milli: 1_000,
            memory_mib: 10,
            extended: BTreeMap::from([("nvidia.com/gpu".to_owned(), count)]),
        };
        let at = |namespace: &str, node: &str| (namespace.to_owned(), node.to_owned());
        let pods = BTreeMap::from([(at("a", "n1"), gpu(2)), (at("b", "n1"), gpu(1)), (at("b", ""), gpu(4))]);
        let labels = [("nvidia.com/gpu.product", "A100"), (AGENT, "edge-03")];
        let facts = facts(vec![node("n1", &labels, &[("nvidia.com/gpu", 8)])], pods, Vec::new());
        let n1 = &facts.nodes[0];
        assert_eq!(
            (n1.model.as_str(), n1.agent.as_str(), n1.used.gpus),
            ("A100", "edge-03", 3)
        );
        let of = |namespace: &str, model: &str| {
            let mut all = facts.used.iter();
            all.find(|one| one.namespace == namespace && one.model == model)
                .map(|one| one.used.gpus)
        };
        assert_eq!(
            (of("a", "A100"), of("b", "A100"), of("b", "")),
            (Some(2), Some(1), Some(4))
        );
    }

    #[test]
    fn shared_gpus_are_counted_in_their_parts() {
        let shared = node("n", &[(PARTS, "4")], &[(SHARED, 8)]);
        let read = kube_node(shared, Amount::default()).expect("a name");
        assert_eq!((read.has.gpus, read.has.shared, read.parts), (0, 8, 4));
    }
}

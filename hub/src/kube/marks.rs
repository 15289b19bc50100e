//! Marks of faulty nodes in clusters: a taint that keeps new pods away, and a condition that says why.

use hub_kube::{Cluster, KubeError, NodeCondition, NodeView, Taint, TaintEffect};

use super::{Clusters, line};

/// Key of the taint.
const TAINT: &str = "sentinel.dev/fault";
/// Kind of the condition.
const CONDITION: &str = "SentinelFault";

/// Label of a cluster's node that names the agent on it, where that has another name.
pub const AGENT: &str = "sentinel.dev/agent";

/// Marks the node of this agent in every cluster that has one, as faulty or as well. Which clusters' marks changed, and why not all
/// could be reached.
pub async fn mark(clusters: &Clusters, node: &str, fault: Option<&str>) -> (Vec<String>, Option<String>) {
    let (mut changed, mut failed) = (Vec::new(), None);
    for (name, client) in clusters.all() {
        let done = match client {
            Ok(cluster) => mark_in(&cluster, node, fault).await.map_err(|error| line(&error)),
            Err(reason) => Err(reason),
        };
        match done {
            Ok(true) => changed.push(name),
            Ok(false) => {}
            Err(reason) => failed = Some(format!("{name}: {reason}")),
        }
    }
    (changed, failed)
}

/// Whether a mark changed. False if the cluster has no node of this agent.
async fn mark_in(cluster: &Cluster, agent: &str, fault: Option<&str>) -> Result<bool, KubeError> {
    let mut changed = false;
    for node in nodes_of(cluster, agent).await? {
        changed |= mark_node(cluster, &node, fault).await?;
    }
    Ok(changed)
}

/// Nodes that are labelled with the agent's name; without any, the node of its name unless that is labelled with another's.
async fn nodes_of(cluster: &Cluster, agent: &str) -> Result<Vec<NodeView>, KubeError> {
    let labelled = cluster.nodes_with(AGENT, agent).await?;
    if !labelled.is_empty() {
        return Ok(labelled);
    }
    let named = cluster.node(agent).await?;
    Ok(named
        .into_iter()
        .filter(|node| !node.labels.contains_key(AGENT))
        .collect())
}

async fn mark_node(cluster: &Cluster, node: &NodeView, fault: Option<&str>) -> Result<bool, KubeError> {
    let is_tainted = node.taints.iter().any(|taint| taint.key == TAINT);
    let holds = node.conditions.get(CONDITION).copied().flatten().unwrap_or(false);
    if is_tainted == fault.is_some() && holds == fault.is_some() {
        return Ok(false);
    }
    match fault {
        Some(_) => {
            let (key, value, effect) = (TAINT.to_owned(), String::new(), TaintEffect::NoSchedule);
            cluster.taint(&node.name, &Taint { key, value, effect }).await?;
        }
        None => cluster.untaint(&node.name, TAINT).await?,
    }
    let reason = if fault.is_some() {
        "AgentReportsFault"
    } else {
        "AgentReportsHealth"
    };
    let condition = NodeCondition {
        kind: CONDITION.to_owned(),
        holds: Some(fault.is_some()),
        reason: reason.to_owned(),
        message: fault.unwrap_or("the agent on this node is well").to_owned(),
    };
    cluster.set_condition(&node.name, &condition).await?;
    Ok(true)
}

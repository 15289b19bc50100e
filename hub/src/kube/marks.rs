//! Marks of faulty nodes in clusters: a taint that keeps new pods away, and a condition that says why.

use hub_kube::{Cluster, KubeError, NodeCondition, Taint, TaintEffect};

use super::{Clusters, line};

/// Key of the taint.
const TAINT: &str = "sentinel.dev/fault";
/// Kind of the condition.
const CONDITION: &str = "SentinelFault";

/// Marks the node of this name in every cluster that has one, as faulty or as well. Which clusters' marks changed, and why not all
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

/// Whether the mark changed. False if the cluster has no such node.
async fn mark_in(cluster: &Cluster, name: &str, fault: Option<&str>) -> Result<bool, KubeError> {
    let Some(node) = cluster.node(name).await? else {
        return Ok(false);
    };
    let is_tainted = node.taints.iter().any(|taint| taint.key == TAINT);
    let holds = node.conditions.get(CONDITION).copied().flatten().unwrap_or(false);
    if is_tainted == fault.is_some() && holds == fault.is_some() {
        return Ok(false);
    }
    match fault {
        Some(_) => {
            let (key, value, effect) = (TAINT.to_owned(), String::new(), TaintEffect::NoSchedule);
            cluster.taint(name, &Taint { key, value, effect }).await?;
        }
        None => cluster.untaint(name, TAINT).await?,
    }
    let condition = NodeCondition {
        kind: CONDITION.to_owned(),
        holds: Some(fault.is_some()),
        reason: if fault.is_some() {
            "AgentReportsFault"
        } else {
            "AgentReportsHealth"
        }
        .to_owned(),
        message: fault.unwrap_or("the agent on this node is well").to_owned(),
    };
    cluster.set_condition(name, &condition).await?;
    Ok(true)
}

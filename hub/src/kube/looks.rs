//! How the targets of plans' steps are, in the core's words.

use hub_core::{ClusterChange, DeploymentStanding, NodeStanding, Standing};
use hub_kube::{Cluster, KubeError, StatusWord};
use wire::kube::NodeChange;

use super::{Clusters, deployment, line};

/// Looks at the target of a step. A drain that has begun goes on: every pod that is left is asked to go once more.
pub async fn look(clusters: &Clusters, what: &ClusterChange, begun: bool) -> Standing {
    let cluster = match clusters.get(what.cluster()) {
        Ok(cluster) => cluster,
        Err(why) => return Standing::Unread { why },
    };
    standing(&cluster, what, begun)
        .await
        .unwrap_or_else(|error| Standing::Unread { why: line(&error) })
}

async fn standing(cluster: &Cluster, what: &ClusterChange, begun: bool) -> Result<Standing, KubeError> {
    match what {
        ClusterChange::Deployment { target, .. } => {
            let Some(now) = cluster.workload(&deployment(target)).await? else {
                return Ok(Standing::Missing);
            };
            Ok(Standing::Deployment(DeploymentStanding {
                is_settled: now.is_settled(),
                has_failed: now.status == StatusWord::Failed,
                image: now.image,
                wanted: now.wanted,
                ready: now.ready,
                revision: now.revision,
                mark: now.mark,
            }))
        }
        ClusterChange::Node { target, change } => {
            let Some(node) = cluster.node(&target.name).await? else {
                return Ok(Standing::Missing);
            };
            let left = match change {
                NodeChange::Drain if begun && node.cordoned => cluster.evict_from(&node.name).await?,
                NodeChange::Drain | NodeChange::Cordon | NodeChange::Uncordon => Vec::new(),
            };
            Ok(Standing::Node(NodeStanding {
                is_cordoned: node.cordoned,
                left: left.into_iter().map(|(pod, why)| format!("{pod}: {why}")).collect(),
            }))
        }
    }
}

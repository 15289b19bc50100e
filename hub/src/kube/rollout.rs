//! The parts of a rollout in a cluster: observed, measured and changed.
//!
//! The canary and the baseline are deployments beside the workload; traffic follows replicas, because a service selects all of them.

use std::collections::BTreeMap;

use hub_core::rollouts::{Change, Facts, Measured, Role, RoleFacts, Seen};
use hub_kube::{Cluster, KubeError, TRACK, Workload};
use policy::health::{Pod, deployment as health};
use wire::kube::DeploymentRef;

use super::{Clusters, deployment, line};

const CANARY: &str = "canary";
const BASELINE: &str = "baseline";

/// The parts as they are now. What could not be read is said to be unread, never to be missing.
pub async fn observe(clusters: &Clusters, target: &DeploymentRef) -> Facts {
    let cluster = match clusters.get(&target.cluster) {
        Ok(cluster) => cluster,
        Err(reason) => return unread(&reason),
    };
    let id = deployment(target);
    let (canary_id, baseline_id) = (id.variant(CANARY), id.variant(BASELINE));
    let (stable, canary, baseline, autoscaler) = tokio::join!(
        cluster.workload(&id),
        cluster.workload(&canary_id),
        cluster.workload(&baseline_id),
        cluster.autoscaler(&id),
    );
    // An autoscaler that cannot be read may be there: then nothing is known of the number of replicas.
    let stable = match (&autoscaler, stable) {
        (Err(error), _) => Seen::Unread(line(error)),
        (Ok(_), stable) => seen(stable),
    };
    Facts {
        stable,
        canary: seen(canary),
        baseline: seen(baseline),
        weight: Some(0),
        autoscaler: autoscaler.ok().flatten().map(|autoscaler| autoscaler.name),
    }
}

/// The parts, and the health of the canary if that is wanted.
pub async fn observe_and_measure(
    clusters: &Clusters,
    target: &DeploymentRef,
    measure: bool,
) -> (Facts, Option<Measured>) {
    let facts = observe(clusters, target).await;
    if !measure {
        return (facts, None);
    }
    let measured = match clusters.get(&target.cluster) {
        Ok(cluster) => canary_health(&cluster, target, &facts).await,
        Err(why) => Measured::Nothing { why },
    };
    (facts, Some(measured))
}

/// Makes changes in their order. The first that fails ends it: the rest may depend on it, and is decided anew.
pub async fn carry(clusters: &Clusters, target: &DeploymentRef, changes: &[Change]) -> Result<(), String> {
    let cluster = clusters.get(&target.cluster)?;
    let id = deployment(target);
    for change in changes {
        let done: Result<(), KubeError> = match change {
            Change::Ensure { role, image, replicas } => match variant(*role) {
                Some(variant) => cluster.ensure_variant(&id, variant, image, *replicas).await.map(drop),
                None => cluster.scale(&id, *replicas).await.map(drop),
            },
            Change::Scale { role, replicas } => {
                let part = variant(*role).map_or_else(|| id.clone(), |variant| id.variant(variant));
                cluster.scale(&part, *replicas).await.map(drop)
            }
            Change::SetImage { image } => cluster.set_image_without_loss(&id, image).await.map(drop),
            Change::Remove { role } => match variant(*role) {
                Some(variant) => cluster.remove_variant(&id, variant).await.map(drop),
                None => Ok(()),
            },
            Change::Weight { .. } => Ok(()),
        };
        done.map_err(|error| line(&error))?;
    }
    Ok(())
}

async fn canary_health(cluster: &Cluster, target: &DeploymentRef, facts: &Facts) -> Measured {
    let canary = match &facts.canary {
        Seen::There(canary) => canary,
        Seen::Missing => {
            return Measured::Nothing {
                why: "the canary is not there".to_owned(),
            };
        }
        Seen::Unread(why) => return Measured::Nothing { why: why.clone() },
    };
    let labels = BTreeMap::from([(TRACK.to_owned(), CANARY.to_owned())]);
    let pods = match cluster.pods(Some(&target.namespace), &labels).await {
        Ok(pods) => pods,
        Err(error) => return Measured::Nothing { why: line(&error) },
    };
    let mine = format!("{}-{CANARY}-", target.name);
    let pods: Vec<Pod<'_>> = pods
        .iter()
        .filter(|pod| pod.name.starts_with(&mine) && !pod.deleting)
        .map(|pod| Pod {
            phase: &pod.phase,
            restarts: pod.restarts,
            waiting: (!pod.waiting.is_empty()).then_some(pod.waiting.as_str()),
            ready: pod.ready,
        })
        .collect();
    match health(Some((canary.wanted, canary.ready, canary.ready, &pods))) {
        // Thousandths become hundredths of a percent.
        Some(score) => Measured::Health(u32::from(score) * 10),
        None => Measured::Nothing {
            why: "the canary's health is not known".to_owned(),
        },
    }
}

fn variant(role: Role) -> Option<&'static str> {
    match role {
        Role::Stable => None,
        Role::Canary => Some(CANARY),
        Role::Baseline => Some(BASELINE),
    }
}

fn seen(found: Result<Option<Workload>, KubeError>) -> Seen {
    match found {
        Ok(Some(workload)) => Seen::There(RoleFacts {
            image: workload.image,
            wanted: workload.wanted,
            ready: workload.ready,
            updated: workload.updated,
            existing: workload.existing,
            seen_by_controller: workload.seen_by_controller && !workload.deleting,
        }),
        Ok(None) => Seen::Missing,
        Err(error) => Seen::Unread(line(&error)),
    }
}

fn unread(reason: &str) -> Facts {
    let unread = || Seen::Unread(reason.to_owned());
    Facts {
        stable: unread(),
        canary: unread(),
        baseline: unread(),
        weight: None,
        autoscaler: None,
    }
}

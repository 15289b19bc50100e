//! The parts of a rollout in a cluster: observed, measured and changed.
//!
//! The canary and the baseline are deployments beside the workload. Traffic follows replicas, because the workload's services select all
//! of them; or it is divided by a route or a service's selector, and then the canary's pods stand apart.
//!
//! Read next: `kube/measure.rs` (what a canary is judged by), `hub/kube/src/traffic.rs`.

use std::collections::BTreeMap;

use hub_core::rollouts::{Change, Facts, Look, Measured, Role, RoleFacts, Route, Seen};
use hub_kube::{Cluster, KubeError, RouteRef, TRACK, Workload};
use policy::health::{Pod, deployment as health};
use wire::kube::DeploymentRef;

use super::{Clusters, deployment, line, measure};

pub(super) const CANARY: &str = "canary";
pub(super) const BASELINE: &str = "baseline";

/// The parts as they are now. What could not be read is said to be unread, never to be missing.
pub async fn observe(clusters: &Clusters, target: &DeploymentRef, route: Option<&Route>) -> Facts {
    let cluster = match clusters.get(&target.cluster) {
        Ok(cluster) => cluster,
        Err(reason) => return unread(&reason),
    };
    let id = deployment(target);
    let (canary_id, baseline_id) = (id.variant(CANARY), id.variant(BASELINE));
    let (stable, canary, baseline, autoscaler, weight) = tokio::join!(
        cluster.workload(&id),
        cluster.workload(&canary_id),
        cluster.workload(&baseline_id),
        cluster.autoscaler(&id),
        weight(&cluster, target, route),
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
        weight,
        autoscaler: autoscaler.ok().flatten().map(|autoscaler| autoscaler.name),
    }
}

/// The parts, and the health of the canary if that is wanted.
pub async fn observe_and_measure(
    clusters: &Clusters,
    target: &DeploymentRef,
    look: &Look,
) -> (Facts, Option<Measured>) {
    let facts = observe(clusters, target, look.route.as_ref()).await;
    let Some(measure) = &look.measure else {
        return (facts, None);
    };
    let measured = match clusters.get(&target.cluster) {
        Ok(_) if !measure.analysis.metrics.is_empty() => measure::series(clusters, target, measure, &facts).await,
        Ok(cluster) => canary_health(&cluster, target, &facts).await,
        Err(why) => Measured::Nothing { why },
    };
    (facts, Some(measured))
}

/// Traffic of the canary, in percent; `None` if it cannot be read. Zero where nothing divides it.
async fn weight(cluster: &Cluster, target: &DeploymentRef, route: Option<&Route>) -> Option<u8> {
    let read = match route {
        None => return Some(0),
        Some(Route::HttpRoute { .. }) => cluster.route_weight(&route_ref(target, route?)?).await,
        Some(Route::Service { name }) => {
            let selected = cluster.selected_variant(&target.namespace, name).await;
            selected.map(|variant| Some(if variant.as_deref() == Some(CANARY) { 100 } else { 0 }))
        }
    };
    read.inspect_err(|error| tracing::debug!(%target, reason = line(error), "its traffic cannot be read"))
        .ok()?
}

async fn set_weight(
    cluster: &Cluster,
    target: &DeploymentRef,
    route: Option<&Route>,
    percent: u8,
) -> Result<(), KubeError> {
    match route {
        None => Ok(()),
        Some(Route::Service { name }) => {
            let variant = (percent > 0).then_some(CANARY);
            cluster.select_variant(&target.namespace, name, variant).await
        }
        Some(route) => match route_ref(target, route) {
            Some(route) => cluster.set_route_weight(&route, percent).await,
            None => Ok(()),
        },
    }
}

fn route_ref(target: &DeploymentRef, route: &Route) -> Option<RouteRef> {
    let Route::HttpRoute {
        name,
        stable,
        canary,
        baseline,
    } = route
    else {
        return None;
    };
    Some(RouteRef {
        namespace: target.namespace.clone(),
        name: name.clone(),
        stable: stable.clone(),
        canary: canary.clone(),
        baseline: baseline.clone(),
    })
}

/// The service that a part's pods stand apart from, and the service that is theirs, if traffic is divided between services.
fn services(route: Option<&Route>, role: Role) -> (Option<&str>, Option<&str>) {
    match route {
        None => (None, None),
        Some(Route::Service { name }) => (Some(name), None),
        Some(Route::HttpRoute {
            stable,
            canary,
            baseline,
            ..
        }) => {
            let theirs = match role {
                Role::Stable => None,
                Role::Canary => Some(canary.as_str()),
                Role::Baseline => baseline.as_deref(),
            };
            (Some(stable), theirs)
        }
    }
}

/// Makes changes in their order. The first that fails ends it: the rest may depend on it, and is decided anew.
pub async fn carry(
    clusters: &Clusters,
    target: &DeploymentRef,
    route: Option<&Route>,
    changes: &[Change],
) -> Result<(), String> {
    let cluster = clusters.get(&target.cluster)?;
    let id = deployment(target);
    for change in changes {
        let done: Result<(), KubeError> = match change {
            Change::Ensure { role, image, replicas } => match variant(*role) {
                Some(variant) => {
                    let (apart_from, theirs) = services(route, *role);
                    if let Some(service) = theirs {
                        let pointed = cluster.select_variant(&target.namespace, service, Some(variant));
                        pointed.await.map_err(|error| line(&error))?;
                    }
                    let part = (image.as_str(), *replicas);
                    cluster.ensure_variant(&id, variant, part, apart_from).await.map(drop)
                }
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
            Change::Weight { percent } => set_weight(&cluster, target, route, *percent).await,
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

//! Clusters, their deployments, and single changes of those.

use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Extension, Path, Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use hub_core::{Answer, Cluster, ClusterRequest, Request};
use hub_kube::{KubeError, Workload, WorkloadKind};
use serde::Deserialize;
use tokio::task::JoinSet;
use tokio::time::timeout;
use wire::Permission;
use wire::api::List;
use wire::change::Caller;
use wire::kube::{
    ChangeDeployment, ChangeOutcome, ClusterView, DeploymentChange, DeploymentRef, DeploymentView, RegisterCluster,
};

use super::answer::{json, query, read_json};
use super::identity::Identity;
use super::{App, Failure, guard, tenants};
use crate::kube::{KIND, deployment, drift_line, line};

/// How long a list waits for one cluster: it is shown as unreachable after that, and the others are shown all the same.
const ONE_CLUSTER: Duration = Duration::from_secs(5);

/// All clusters, each asked how it is.
pub async fn list(
    State(app): State<App>,
    Extension(who): Extension<Identity>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let mut clusters = app.hub.clusters().await?;
    clusters.retain(|cluster| who.sees(tenants::of_cluster(cluster)));
    // All at the same time: one that does not answer holds up no other.
    let mut asked = JoinSet::new();
    for cluster in clusters {
        let app = app.clone();
        asked.spawn(async move { view(&app, cluster).await });
    }
    let mut items = asked.join_all().await;
    items.sort_by(|left, right| left.name.cmp(&right.name));
    Ok(json(
        &headers,
        &List {
            items,
            next_cursor: None,
        },
    ))
}

/// Registers a cluster.
pub async fn register(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<ClusterView>, Failure> {
    let asked: RegisterCluster = read_json(body)?;
    let cluster = Cluster {
        context: asked.context,
        namespace: asked.namespace,
        labels: asked.labels,
        prometheus: asked.prometheus,
        prices: asked.prices,
        ..Cluster::new(asked.name.clone(), asked.kubeconfig)
    };
    request(&app, caller, ClusterRequest::Register(cluster)).await?;
    // One that takes longer is shown as it is by then.
    let _ = timeout(ONE_CLUSTER, app.clusters.opened(&asked.name)).await;
    let stored = app
        .hub
        .clusters()
        .await?
        .into_iter()
        .find(|cluster| cluster.name == asked.name);
    let stored = stored.ok_or_else(|| Failure::internal("the cluster was stored and is not there"))?;
    Ok(Json(view(&app, stored).await))
}

/// Forgets a cluster. What runs there stays.
pub async fn remove(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<Json<serde_json::Value>, Failure> {
    request(&app, caller, ClusterRequest::Remove { name: name.clone() }).await?;
    Ok(Json(serde_json::json!({ "removed": name })))
}

/// Which deployments are listed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Which {
    cluster: Option<String>,
    namespace: Option<String>,
}

/// Deployments of all clusters, or of one. A cluster that cannot be read fails the list: half a list would pass for the whole.
pub async fn deployments(
    State(app): State<App>,
    Extension(who): Extension<Identity>,
    which: Result<Query<Which>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let which = query(which)?;
    let mut items = Vec::new();
    for cluster in app.hub.clusters().await? {
        let is_other = which.cluster.as_ref().is_some_and(|name| *name != cluster.name);
        if is_other || !who.sees(tenants::of_cluster(&cluster)) {
            continue;
        }
        let client = app.clusters.get(&cluster.name).map_err(Failure::unavailable)?;
        let none = std::collections::BTreeMap::new();
        let found = client
            .workloads(WorkloadKind::Deployment, which.namespace.as_deref(), &none)
            .await;
        items.extend(
            found
                .map_err(failure)?
                .iter()
                .map(|workload| deployment_view(&cluster.name, workload)),
        );
    }
    Ok(json(
        &headers,
        &List {
            items,
            next_cursor: None,
        },
    ))
}

/// One deployment.
pub async fn one(
    State(app): State<App>,
    Path((cluster, namespace, name)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let target = DeploymentRef {
        cluster,
        namespace,
        name,
    };
    Ok(json(&headers, &read(&app, &target).await?))
}

/// Changes a deployment, and says what the cluster made of it.
pub async fn change(
    State(app): State<App>,
    Extension(who): Extension<Identity>,
    Path((cluster, namespace, name)): Path<(String, String, String)>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<ChangeOutcome>, Failure> {
    let asked: ChangeDeployment = read_json(body)?;
    let target = format!("deployment/{cluster}/{namespace}/{name}");
    guard::require(&app, &who, needed(&asked.change), (asked.change.verb(), &target)).await?;
    let caller = who.caller;
    let target = DeploymentRef {
        cluster,
        namespace,
        name,
    };
    Ok(Json(ask_for(&app, caller, target, asked).await?))
}

/// What each change of a deployment needs, whichever route it comes by.
const fn needed(change: &DeploymentChange) -> Permission {
    match change {
        DeploymentChange::Create { .. } | DeploymentChange::SetImage { .. } | DeploymentChange::Restart { .. } => {
            Permission::DeploymentsCreate
        }
        DeploymentChange::Deploy { .. } | DeploymentChange::Pin { .. } => Permission::DeploymentsCreate,
        DeploymentChange::Scale { .. } => Permission::DeploymentsScale,
        DeploymentChange::RollBack { .. } => Permission::DeploymentsRollback,
        DeploymentChange::Delete => Permission::DeploymentsDelete,
    }
}

/// What scales a deployment.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scale {
    replicas: u32,
    reason: String,
}

/// Scales a deployment.
pub async fn scale(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path((cluster, namespace, name)): Path<(String, String, String)>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<ChangeOutcome>, Failure> {
    let Scale { replicas, reason } = read_json(body)?;
    let target = DeploymentRef {
        cluster,
        namespace,
        name,
    };
    let asked = ChangeDeployment {
        change: DeploymentChange::Scale { replicas },
        reason,
    };
    Ok(Json(ask_for(&app, caller, target, asked).await?))
}

/// What takes a deployment back.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RollBack {
    /// The revision before the newest without.
    revision: Option<u64>,
    reason: String,
}

/// Takes a deployment back to a revision.
pub async fn rollback(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path((cluster, namespace, name)): Path<(String, String, String)>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<ChangeOutcome>, Failure> {
    let RollBack { revision, reason } = read_json(body)?;
    let target = DeploymentRef {
        cluster,
        namespace,
        name,
    };
    // The number is found before anything is recorded: "the one before" means something else after it was done.
    let revision = match revision {
        Some(revision) => revision,
        None => {
            let client = reached(&app, &target.cluster).await?;
            let revisions = client.revisions(&deployment(&target)).await.map_err(failure)?;
            let before = revisions.iter().rev().nth(1).map(|revision| revision.number);
            before.ok_or_else(|| Failure::conflict("there is no revision before the newest"))?
        }
    };
    let asked = ChangeDeployment {
        change: DeploymentChange::RollBack { revision },
        reason,
    };
    Ok(Json(ask_for(&app, caller, target, asked).await?))
}

async fn ask_for(
    app: &App,
    caller: Caller,
    target: DeploymentRef,
    asked: ChangeDeployment,
) -> Result<ChangeOutcome, Failure> {
    let ChangeDeployment { change, reason } = asked;
    if reason.trim().is_empty() {
        return Err(Failure::field(
            "/reason",
            "the reason is empty: it is kept with the change, so that others understand it",
        ));
    }
    let id = uuid::Uuid::now_v7().to_string();
    match request(
        app,
        caller,
        ClusterRequest::Change {
            id,
            target,
            change,
            reason,
        },
    )
    .await?
    {
        Answer::Changed(outcome) => Ok(outcome),
        other => Err(Failure::internal(format!("the core answered {other:?} to a change"))),
    }
}

async fn request(app: &App, caller: Caller, what: ClusterRequest) -> Result<Answer, Failure> {
    match app.hub.request(Request::Clusters { caller, what }).await? {
        Answer::Rejected { reason } => Err(Failure::conflict(reason)),
        Answer::Unavailable { reason } => Err(Failure::unavailable(reason)),
        answer => Ok(answer),
    }
}

/// The client of a cluster: 404 for one that is not registered, 503 for one whose credentials cannot be used.
async fn reached(app: &App, name: &str) -> Result<hub_kube::Cluster, Failure> {
    let why = match app.clusters.get(name) {
        Ok(client) => return Ok(client),
        Err(why) => why,
    };
    let is_registered = app.hub.clusters().await?.iter().any(|cluster| cluster.name == name);
    Err(if is_registered {
        Failure::unavailable(why)
    } else {
        unknown(name)
    })
}

/// There is no such cluster, or none that may be seen.
pub fn unknown(name: &str) -> Failure {
    Failure::not_found(format!("cluster `{name}` is not registered"))
}

async fn read(app: &App, target: &DeploymentRef) -> Result<DeploymentView, Failure> {
    let client = reached(app, &target.cluster).await?;
    let found = client.workload(&deployment(target)).await.map_err(failure)?;
    let found = found.ok_or_else(|| Failure::not_found(format!("there is no {target}")))?;
    Ok(deployment_view(&target.cluster, &found))
}

pub fn deployment_view(cluster: &str, workload: &Workload) -> DeploymentView {
    DeploymentView {
        id: DeploymentRef {
            cluster: cluster.to_owned(),
            namespace: workload.id.namespace.clone(),
            name: workload.id.name.clone(),
        },
        status: workload.status.word().to_owned(),
        wanted: workload.wanted,
        ready: workload.ready,
        updated: workload.updated,
        image: workload.image.clone(),
        revision: workload.revision,
        drift: workload.drift.iter().map(drift_line).collect(),
        kind: workload.labels.get(KIND).cloned().unwrap_or_default(),
    }
}

async fn view(app: &App, cluster: Cluster) -> ClusterView {
    let mut view = ClusterView {
        kubeconfig: cluster.source().to_owned(),
        context: cluster.context,
        namespace: cluster.namespace,
        labels: cluster.labels,
        prometheus: cluster.prometheus,
        prices: cluster.prices,
        registered_at: cluster.registered_at,
        status: "unreachable".to_owned(),
        version: String::new(),
        missing_permissions: Vec::new(),
        detail: String::new(),
        name: cluster.name,
    };
    match timeout(ONE_CLUSTER, health(app, &mut view)).await {
        Ok(Ok(())) => {}
        Ok(Err(reason)) => view.detail = reason,
        Err(_) => view.detail = format!("no answer within {} s", ONE_CLUSTER.as_secs()),
    }
    view
}

async fn health(app: &App, view: &mut ClusterView) -> Result<(), String> {
    let client = app.clusters.get(&view.name)?;
    let health = client.health().await.map_err(|error| line(&error))?;
    view.version = health.version;
    view.status = if health.failing.is_empty() {
        "ready"
    } else {
        "not_ready"
    }
    .to_owned();
    view.detail = health.failing.join(", ");
    let missing = client.missing_permissions().await.map_err(|error| line(&error))?;
    if !missing.is_empty() {
        view.status = "forbidden".to_owned();
        view.missing_permissions = missing.iter().map(ToString::to_string).collect();
        view.detail = format!("{} verbs are missing", missing.len());
    }
    Ok(())
}

/// What a cluster's error is for people.
pub fn failure(error: KubeError) -> Failure {
    let text = line(&error);
    match error {
        KubeError::NotFound { .. } => Failure::not_found(text),
        KubeError::Conflict { .. } | KubeError::Invalid { .. } => Failure::conflict(text),
        KubeError::Forbidden { .. } => Failure::forbidden(text),
        KubeError::Kubeconfig { .. }
        | KubeError::Unreachable { .. }
        | KubeError::TimedOut { .. }
        | KubeError::Unauthorized { .. }
        | KubeError::Busy { .. }
        | KubeError::Expired { .. }
        | KubeError::Server { .. }
        | KubeError::Answer { .. } => Failure::unavailable(text),
    }
}

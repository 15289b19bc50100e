//! Deployments that the hub scales by their load: listed, set, and left alone again.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Extension, Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use hub_core::scaling::{ScalingRequest, ScalingRule, Spec};
use hub_core::{Answer, Request};
use serde::Deserialize;
use wire::api::{List, ReasonRequest};
use wire::change::Caller;
use wire::kube::{DeploymentRef, ScalingView};

use super::actions::checked_reason;
use super::answer::{json, read_json};
use super::identity::Identity;
use super::{App, Failure, tenants};

/// How a deployment is to be scaled.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Set {
    spec: Spec,
    /// The load of all replicas together; `$workload` and `$namespace` are filled in.
    query: String,
    /// Above 0 while something is wrong.
    #[serde(default)]
    trouble: String,
    /// Scale ahead of the load, too.
    #[serde(default = "yes")]
    forecast: bool,
    /// How long a new replica takes to be ready.
    #[serde(default = "minute")]
    start_ms: u64,
    reason: String,
}

const fn yes() -> bool {
    true
}

const fn minute() -> u64 {
    60_000
}

/// All of them.
pub async fn list(
    State(app): State<App>,
    Extension(who): Extension<Identity>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let mut items = app.hub.scaling().await?;
    let hidden = tenants::hidden_clusters(&app, &who).await?;
    items.retain(|item| !hidden.contains(&item.target.cluster));
    let next_cursor = None;
    Ok(json(&headers, &List { items, next_cursor }))
}

/// Scales a deployment from now on.
pub async fn set(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path((cluster, namespace, name)): Path<(String, String, String)>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<ScalingView>, Failure> {
    let asked: Set = read_json(body)?;
    let rule = ScalingRule {
        spec: asked.spec,
        query: asked.query,
        trouble: asked.trouble,
        forecast: asked.forecast,
        start_ms: asked.start_ms,
    };
    rule.check().map_err(|problem| {
        let field = problem.split(':').next().unwrap_or_default().replace('.', "/");
        Failure::field(&format!("/{field}"), problem)
    })?;
    let what = ScalingRequest::Set {
        target: DeploymentRef {
            cluster,
            namespace,
            name,
        },
        rule: Box::new(rule),
        reason: checked_reason(&asked.reason)?,
    };
    request(&app, caller, what).await
}

/// Does not scale it any more. It keeps the replicas that it has.
pub async fn remove(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path((cluster, namespace, name)): Path<(String, String, String)>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<ScalingView>, Failure> {
    let asked: ReasonRequest = read_json(body)?;
    let what = ScalingRequest::Remove {
        target: DeploymentRef {
            cluster,
            namespace,
            name,
        },
        reason: checked_reason(&asked.reason)?,
    };
    request(&app, caller, what).await
}

async fn request(app: &App, caller: Caller, what: ScalingRequest) -> Result<Json<ScalingView>, Failure> {
    match app.hub.request(Request::Scaling { caller, what }).await? {
        Answer::Scaling(view) => Ok(Json(*view)),
        Answer::Rejected { reason } => Err(Failure::conflict(reason)),
        Answer::Unavailable { reason } => Err(Failure::unavailable(reason)),
        other => Err(Failure::internal(format!("the core answered {other:?} to scaling"))),
    }
}

//! Brains over HTTP: how far each is trusted and what that rests on, and a person's word that changes it.
//!
//! Read next: `hub/core/src/plans/brains.rs` (what a tier lets a brain do), `policy/trust` (how it is earned and lost).

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Extension, Path, Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use hub_core::plans::{PlanAsk, Tier};
use hub_core::{Answer, Request};
use serde::Deserialize;
use wire::api::{BrainView, ForecastView, GrantRequest, List};
use wire::change::Caller;
use wire::reading::DeviceId;

use super::actions::checked_reason;
use super::answer::{json, node_name, query, read_json};
use super::{App, Failure, nodes};

/// Every brain with every verb that it is graded for.
pub async fn list(State(app): State<App>, headers: HeaderMap) -> Result<Response, Failure> {
    let items = app.hub.brains().await?;
    let next_cursor = None;
    Ok(json(&headers, &List { items, next_cursor }))
}

/// Query of `forecast`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForecastQuery {
    node: Option<String>,
    device: Option<String>,
}

/// How the embedded brain expects a device to go on.
pub async fn forecast(
    State(app): State<App>,
    asked: Result<Query<ForecastQuery>, QueryRejection>,
) -> Result<Json<ForecastView>, Failure> {
    let asked = query(asked)?;
    let name = asked.node.ok_or_else(|| Failure::field("/node", "name the node"))?;
    let node = nodes::known(&app, &node_name(&name)?).await?.name;
    let device = asked.device.unwrap_or_default();
    let device = DeviceId::new(device).map_err(|error| Failure::field("/device", error.to_string()))?;
    let (of, what) = (node.clone(), device.clone());
    let view = app.blocking(move |app| Ok(app.foresight.forecast(&of, &what))).await?;
    view.map(Json).ok_or_else(|| {
        Failure::not_found(format!(
            "the embedded brain knows too little of {node}/{device} yet: it watches GPUs and file systems, and needs minutes of readings"
        ))
    })
}

/// A person sets what a brain may do with a verb without a person.
pub async fn grant(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path((brain, verb)): Path<(String, String)>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<BrainView>, Failure> {
    let request: GrantRequest = read_json(body)?;
    let reason = checked_reason(&request.reason)?;
    let Some(tier) = Tier::from_name(&request.tier) else {
        let detail = format!(
            "`{}` is no tier; these are: T0, T1, T2, T3",
            request.tier.escape_default()
        );
        return Err(Failure::field("/tier", detail));
    };
    let what = PlanAsk::Grant {
        brain,
        verb,
        tier,
        reason,
    };
    match app.hub.request(Request::Plan { caller, what }).await? {
        Answer::Brain(view) => Ok(Json(*view)),
        Answer::Rejected { reason } => Err(Failure::conflict(reason)),
        Answer::Unavailable { reason } => Err(Failure::unavailable(reason)),
        other => Err(Failure::internal(format!("the core answered {other:?} to a grant"))),
    }
}

//! Rollouts: started, looked at, and told what to do.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Extension, Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use hub_core::rollouts::{Command, RolloutRecord, RolloutRequest, RolloutSpec};
use hub_core::{Answer, Document, Request, decode_document};
use serde::Deserialize;
use wire::api::List;
use wire::change::Caller;
use wire::kube::{DeploymentRef, RolloutView};

use super::answer::{json, read_json};
use super::identity::Identity;
use super::{App, Failure, tenants};
use crate::kube::observe;

/// Finished rollouts that are listed beside those under way, newest first.
const FINISHED: usize = 100;

/// What starts a rollout: an image with a strategy in few words, or every step.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Start {
    target: DeploymentRef,
    reason: String,
    /// The image; with `spec` it stands there.
    image: Option<String>,
    /// `canary` (the default), `rolling` or `blue_green`.
    strategy: Option<String>,
    /// First size of a canary, in percent; 10 without.
    first_percent: Option<u8>,
    /// How much a canary grows, in points; 10 without.
    step_percent: Option<u8>,
    /// How long each size is analysed, in milliseconds; 3 minutes without.
    analyse_ms: Option<u64>,
    /// Of `blue_green`: the service whose selector is switched.
    service: Option<String>,
    /// Everything at once, instead of the words above.
    spec: Option<RolloutSpec>,
}

impl Start {
    fn spec(self) -> Result<RolloutSpec, Failure> {
        let image = self.image.unwrap_or_default();
        match (self.spec, self.strategy.as_deref()) {
            (Some(spec), _) => Ok(spec),
            (None, None | Some("canary")) => Ok(RolloutSpec::canary(
                image,
                self.first_percent.unwrap_or(10),
                self.step_percent.unwrap_or(10),
                self.analyse_ms.unwrap_or(180_000),
            )),
            (None, Some("rolling")) => Ok(RolloutSpec::rolling(image)),
            (None, Some("blue_green")) => Ok(RolloutSpec::blue_green(
                image,
                self.service.unwrap_or_default(),
                self.analyse_ms.unwrap_or(180_000),
            )),
            (None, Some(other)) => Err(Failure::field(
                "/strategy",
                format!("`{other}` is not canary, rolling or blue_green"),
            )),
        }
    }
}

/// Rollouts that are under way, and the last finished ones.
pub async fn list(
    State(app): State<App>,
    Extension(who): Extension<Identity>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let mut items = app.hub.rollouts().await?;
    let finished = app
        .read(|store| store.documents(RolloutRecord::KIND, None, None, FINISHED))
        .await?;
    for document in finished.rows {
        let found = decode_document::<RolloutRecord>(&document.id, &document.record);
        let view = found.map_err(|error| Failure::internal(error.to_string()))?.view();
        if view.finished && !items.iter().any(|item| item.id == view.id) {
            items.push(view);
        }
    }
    let hidden = tenants::hidden_clusters(&app, &who).await?;
    items.retain(|item| !hidden.contains(&item.target.cluster));
    items.sort_by(|left, right| right.id.cmp(&left.id));
    Ok(json(
        &headers,
        &List {
            items,
            next_cursor: None,
        },
    ))
}

/// One rollout.
pub async fn one(State(app): State<App>, Path(id): Path<String>, headers: HeaderMap) -> Result<Response, Failure> {
    Ok(json(&headers, &read(&app, &id).await?))
}

/// Starts a rollout.
pub async fn start(
    State(app): State<App>,
    Extension(who): Extension<Identity>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<RolloutView>, Failure> {
    let asked: Start = read_json(body)?;
    tenants::cluster_is_seen(&app, &who, &asked.target.cluster).await?;
    let caller = who.caller;
    let reason = given(asked.reason.clone())?;
    let target = asked.target.clone();
    let spec = asked.spec()?;
    let facts = Box::new(observe(&app.clusters, &target, spec.route.as_ref()).await);
    let spec = Box::new(spec);
    let id = uuid::Uuid::now_v7().to_string();
    tell(
        &app,
        caller,
        RolloutRequest::Start {
            id,
            target,
            spec,
            facts,
            reason,
        },
    )
    .await
}

/// Something that a rollout is told.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Told {
    reason: String,
    /// Of `open`: which gate.
    #[serde(default)]
    gate: String,
}

/// Tells a rollout something.
pub async fn command(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path((id, verb)): Path<(String, String)>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<RolloutView>, Failure> {
    let Told { reason, gate } = read_json(body)?;
    let reason = given(reason)?;
    let command = match verb.as_str() {
        "promote" => Command::Promote,
        "promote-fully" => Command::PromoteFully,
        "open" => Command::Open { gate },
        "pause" => Command::Pause,
        "resume" => Command::Resume,
        "abort" => Command::Abort { why: reason.clone() },
        "retry" => Command::RetryRollback,
        "undo" => return undo(&app, caller, &id, reason).await,
        other => {
            let words = "promote, promote-fully, open, pause, resume, abort, retry or undo";
            return Err(Failure::not_found(format!(
                "a rollout cannot be told to `{other}`; it can be told to {words}"
            )));
        }
    };
    tell(&app, caller, RolloutRequest::Command { id, command, reason }).await
}

/// A completed rollout taken back, by the same steps.
async fn undo(app: &App, caller: Caller, id: &str, reason: String) -> Result<Json<RolloutView>, Failure> {
    let record = stored(app, id).await?;
    let spec = record
        .rollout
        .undo()
        .map_err(|refused| Failure::conflict(refused.to_string()))?;
    let facts = Box::new(observe(&app.clusters, &record.target, spec.route.as_ref()).await);
    let spec = Box::new(spec);
    let id = uuid::Uuid::now_v7().to_string();
    tell(
        app,
        caller,
        RolloutRequest::Start {
            id,
            target: record.target,
            spec,
            facts,
            reason,
        },
    )
    .await
}

async fn tell(app: &App, caller: Caller, what: RolloutRequest) -> Result<Json<RolloutView>, Failure> {
    match app.hub.request(Request::Rollouts { caller, what }).await? {
        Answer::Rollout(view) => Ok(Json(*view)),
        Answer::Rejected { reason } => Err(Failure::conflict(reason)),
        Answer::Unavailable { reason } => Err(Failure::unavailable(reason)),
        other => Err(Failure::internal(format!("the core answered {other:?} to a rollout"))),
    }
}

/// Refuses a rollout at a cluster of another tenant as one that is not there.
pub async fn is_seen(app: &App, who: &Identity, id: &str) -> Result<(), Failure> {
    let Ok(view) = read(app, id).await else { return Ok(()) };
    match tenants::cluster_is_seen(app, who, &view.target.cluster).await {
        Ok(()) => Ok(()),
        Err(_) => Err(unknown(id)),
    }
}

fn unknown(id: &str) -> Failure {
    Failure::not_found(format!("there is no rollout `{id}`"))
}

async fn read(app: &App, id: &str) -> Result<RolloutView, Failure> {
    let live = app.hub.rollouts().await?.into_iter().find(|view| view.id == id);
    match live {
        Some(view) => Ok(view),
        None => Ok(stored(app, id).await?.view()),
    }
}

async fn stored(app: &App, id: &str) -> Result<RolloutRecord, Failure> {
    let wanted = id.to_owned();
    let found = app
        .read(move |store| store.document(RolloutRecord::KIND, &wanted))
        .await?;
    let found = found.ok_or_else(|| unknown(id))?;
    decode_document(&found.id, &found.record).map_err(|error| Failure::internal(error.to_string()))
}

fn given(reason: String) -> Result<String, Failure> {
    match reason.trim() {
        "" => Err(Failure::field(
            "/reason",
            "the reason is empty: it is kept in the journal, so that others understand it",
        )),
        _ => Ok(reason),
    }
}

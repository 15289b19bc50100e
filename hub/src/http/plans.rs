//! Plans over HTTP: the original's routes (submit, read, execute, status, shadow) and ours (approve, deny, cancel, retry, explanation).
//!
//! Who sends a plan follows from the login, never from a text in it. A plan runs by itself once policy allows it, so `execute` is the
//! original's word for the consent that a plan still waits for.
//!
//! Read next: `hub/core/src/plans.rs` (what becomes of them), `wire::api::PlanRequest`.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Extension, Path, Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use hub_core::plans::{PlanAsk, PlanClock, PlanRecord, plan_view};
use hub_core::{Answer, Document, Request, StoredDocument, decode_document};
use serde::Deserialize;
use wire::PlanState;
use wire::api::{List, PlanRequest, PlanView, ReasonRequest, ShadowView};
use wire::change::Caller;
use wire::ids::{DecisionId, PlanId};
use wire::plan::{PlanProblem, Source};

use super::actions::checked_reason;
use super::answer::{json, limit, query, read_json};
use super::identity::Identity;
use super::{App, Failure};
use crate::store::{Store, StoreError};

/// Query of the list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListQuery {
    state: Option<String>,
    before: Option<String>,
    limit: Option<usize>,
}

/// Plans, newest first.
pub async fn list(
    State(app): State<App>,
    Extension(who): Extension<Identity>,
    asked: Result<Query<ListQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let asked = query(asked)?;
    let limit = limit(asked.limit, 50, 500)?;
    if let Some(state) = asked
        .state
        .as_deref()
        .filter(|name| PlanState::from_name(name).is_none())
    {
        let known: Vec<&str> = PlanState::ALL.into_iter().map(PlanState::name).collect();
        let detail = format!("`{state}` is no state of a plan; these are: {}", known.join(", "));
        return Err(Failure::field("/state", detail));
    }
    let page = app
        .read(move |store| {
            let index = asked.state.as_deref().map(|state| ("state", state));
            store.documents(PlanRecord::KIND, index, asked.before.as_deref(), limit)
        })
        .await?;
    let clock = PlanClock(app.hub.now().await?);
    let rows = page.rows.iter().map(|row| Ok(plan_view(&decoded(row)?, clock)));
    let mut items = rows.collect::<Result<Vec<PlanView>, Failure>>()?;
    items.retain(|view| who.sees(&view.tenant));
    Ok(json(
        &headers,
        &List {
            items,
            next_cursor: page.next,
        },
    ))
}

/// One plan.
pub async fn one(State(app): State<App>, Path(id): Path<String>, headers: HeaderMap) -> Result<Response, Failure> {
    let record = found(&app, plan_id(&id)?).await?;
    Ok(json(&headers, &plan_view(&record, PlanClock(app.hub.now().await?))))
}

/// Takes a plan in. 201 with the plan; the same key again is the same plan.
pub async fn submit(
    State(app): State<App>,
    Extension(who): Extension<Identity>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Failure> {
    let mut request: PlanRequest = read_json(body)?;
    request.tenant = who.tenant_for(request.tenant)?;
    let who = who.caller;
    let source = Source::Person { name: who.name.clone() };
    let draft = Box::new(request.draft(source).map_err(|problem| at(&problem))?);
    let id = PlanId(*uuid::Uuid::now_v7().as_bytes());
    let view = ask(&app, who, PlanAsk::Submit { id, draft }).await?;
    Ok((StatusCode::CREATED, view).into_response())
}

/// A person agrees.
pub async fn approve(
    State(app): State<App>,
    Extension(who): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Json<PlanView>, Failure> {
    let id = plan_id(&id)?;
    found(&app, id).await?;
    ask(&app, who, PlanAsk::Approve { id }).await
}

/// The original's word: consents where consent is missing, and shows the plan where it runs by itself.
pub async fn execute(
    State(app): State<App>,
    Extension(who): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Json<PlanView>, Failure> {
    let id = plan_id(&id)?;
    let record = found(&app, id).await?;
    match record.state {
        PlanState::AwaitingApproval => ask(&app, who, PlanAsk::Approve { id }).await,
        state if state.is_final() => Err(Failure::conflict(format!(
            "plan {id} is {}: {}; `retry` does the same again as a new plan",
            state.name(),
            record.detail
        ))),
        _ => Ok(Json(plan_view(&record, PlanClock(app.hub.now().await?)))),
    }
}

/// A person does not agree.
pub async fn deny(
    State(app): State<App>,
    Extension(who): Extension<Caller>,
    Path(id): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<PlanView>, Failure> {
    let (id, reason) = (plan_id(&id)?, reason(body)?);
    found(&app, id).await?;
    ask(&app, who, PlanAsk::Refuse { id, reason }).await
}

/// A person calls it off.
pub async fn cancel(
    State(app): State<App>,
    Extension(who): Extension<Caller>,
    Path(id): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<PlanView>, Failure> {
    let (id, reason) = (plan_id(&id)?, reason(body)?);
    found(&app, id).await?;
    ask(&app, who, PlanAsk::Cancel { id, reason }).await
}

/// Does the same again, as a new plan of whoever asks.
pub async fn retry(
    State(app): State<App>,
    Extension(who): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Response, Failure> {
    let of = Box::new(found(&app, plan_id(&id)?).await?);
    let id = PlanId(*uuid::Uuid::now_v7().as_bytes());
    let view = ask(&app, who, PlanAsk::Retry { of, id }).await?;
    Ok((StatusCode::CREATED, view).into_response())
}

/// What policy would say of each step now.
pub async fn shadow(State(app): State<App>, Path(id): Path<String>) -> Result<Json<ShadowView>, Failure> {
    let record = found(&app, plan_id(&id)?).await?;
    let view = app.hub.shadow(record).await?;
    view.map(Json)
        .ok_or_else(|| Failure::conflict("no bundle was published yet, so nothing may run: `sentinel policy publish`"))
}

/// Its life, from the hub's journal, and what its nodes decided.
pub async fn explanation(State(app): State<App>, Path(id): Path<String>) -> Result<Response, Failure> {
    let id = plan_id(&id)?;
    let record = found(&app, id).await?;
    let text = app.read(move |store| explained(store, &record)).await?;
    Ok(([(CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response())
}

fn explained(store: &dyn Store, record: &PlanRecord) -> Result<String, StoreError> {
    let id = record.plan.id;
    let target = format!("{}/{id}", PlanRecord::KIND);
    let lines = super::story::lines(store, &target, "plan.submit")?;
    let mut text = format!("plan {id} by {}: {}\n", record.plan.source, record.state.name());
    text.push_str(&format!("  {}\n\n", record.plan.reason));
    for line in lines {
        text.push_str(&line);
        text.push('\n');
    }
    for decision in record.steps.iter().filter_map(|step| step.decision.as_ref()) {
        text.push('\n');
        text.push_str(&decided(store, decision)?);
    }
    Ok(text)
}

fn decided(store: &dyn Store, id: &DecisionId) -> Result<String, StoreError> {
    let story = store.decision(id)?.and_then(|row| row.story().ok());
    Ok(match story {
        Some(story) => policy::explain(&story.id, story.at, &story.decision, &story.outcomes()),
        None => format!("decision {id} is not here any more: ask its node (`sentinel why {id} --local`)\n"),
    })
}

pub(super) async fn ask(app: &App, caller: Caller, what: PlanAsk) -> Result<Json<PlanView>, Failure> {
    match app.hub.request(Request::Plan { caller, what }).await? {
        Answer::Plan(record) => Ok(Json(plan_view(&record, PlanClock(app.hub.now().await?)))),
        Answer::Rejected { reason } => Err(rejected(reason)),
        Answer::Unavailable { reason } => Err(Failure::unavailable(reason)),
        other => Err(Failure::internal(format!("the core answered {other:?} to a plan"))),
    }
}

/// A reason that begins with the field at fault points at it; everything else is the present state.
fn rejected(reason: String) -> Failure {
    let field = reason.split_once(": ").map(|(field, _)| field.to_owned());
    let is_field = |field: &String| field.starts_with("steps[") || field.starts_with("not_after");
    match field.filter(is_field) {
        Some(field) => at(&PlanProblem::new(
            field.replacen("steps[", "decisions[", 1),
            reason.split_once(": ").map_or("", |(_, problem)| problem),
        )),
        None => Failure::conflict(reason),
    }
}

pub(super) fn at(problem: &PlanProblem) -> Failure {
    Failure::field(&super::answer::pointer(&problem.field), problem.to_string())
}

/// Refuses a plan of another tenant as one that is not there.
pub async fn is_seen(app: &App, who: &Identity, id: &str) -> Result<(), Failure> {
    let Ok(id) = plan_id(id) else { return Ok(()) };
    match found(app, id).await {
        Ok(record) if !who.sees(&record.plan.tenant) => Err(unknown(id)),
        _ => Ok(()),
    }
}

fn unknown(id: PlanId) -> Failure {
    Failure::not_found(format!("there is no plan {id}: `sentinel plan list` shows all"))
}

async fn found(app: &App, id: PlanId) -> Result<PlanRecord, Failure> {
    let row = app
        .read(move |store| store.document(PlanRecord::KIND, &id.to_string()))
        .await?;
    match row {
        Some(row) => decoded(&row),
        None => Err(unknown(id)),
    }
}

fn decoded(row: &StoredDocument) -> Result<PlanRecord, Failure> {
    decode_document(&row.id, &row.record).map_err(|error| Failure::internal(error.to_string()))
}

/// A plan's id, with or without the dashes of a UUID.
fn plan_id(text: &str) -> Result<PlanId, Failure> {
    let digits = text.replace('-', "");
    digits
        .parse()
        .map_err(|error: wire::ids::IdError| Failure::field("/id", error.to_string()))
}

fn reason(body: Result<Bytes, BytesRejection>) -> Result<String, Failure> {
    let request: ReasonRequest = read_json(body)?;
    checked_reason(&request.reason)
}

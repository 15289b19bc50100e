//! Tasks for people and programs: the list, one, cancel, retry. The paths and members are those of the system before this one, with
//! ours beside them.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Extension, Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use hub_core::{Answer, Request, Task, TaskRequest, TaskState};
use serde::Deserialize;
use serde_json::{Value, json};
use wire::change::Caller;

use super::{App, Failure};
use crate::store::{Store, StoreError};

/// Longest page.
const MOST: usize = 1_000;

/// What of the list is wanted.
#[derive(Debug, Deserialize)]
pub struct Page {
    status: Option<String>,
    repository: Option<String>,
    limit: Option<usize>,
    offset: Option<usize>,
}

/// `GET /api/v1/tasks`: newest first.
pub async fn list(State(app): State<App>, Query(page): Query<Page>) -> Result<Json<Value>, Failure> {
    let limit = page.limit.unwrap_or(100);
    if limit == 0 || limit > MOST {
        return Err(Failure::field(
            "/limit",
            format!("limit is {limit}, it must be 1 to {MOST}"),
        ));
    }
    let wanted = |task: &&Task| {
        page.status
            .as_ref()
            .is_none_or(|status| task.state.name() == status || original_status(task.state) == status)
            && page
                .repository
                .as_ref()
                .is_none_or(|repository| task.repository == *repository)
    };
    let mut tasks = app.hub.tasks().await?;
    tasks.reverse();
    let shown: Vec<Value> = tasks
        .iter()
        .filter(wanted)
        .skip(page.offset.unwrap_or(0))
        .take(limit)
        .map(view)
        .collect();
    Ok(Json(Value::Array(shown)))
}

/// `GET /api/v1/tasks/{id}`.
pub async fn one(State(app): State<App>, Path(id): Path<String>) -> Result<Json<Value>, Failure> {
    let task = app.hub.task(id.clone()).await?.ok_or_else(|| unknown(&id))?;
    Ok(Json(view(&task)))
}

/// `GET /api/v1/tasks/{id}/explanation`: why it is as it is, for people.
pub async fn explanation(State(app): State<App>, Path(id): Path<String>) -> Result<Response, Failure> {
    let task = app.hub.task(id.clone()).await?.ok_or_else(|| unknown(&id))?;
    let text = app.read(move |store| explained(store, &task)).await?;
    Ok(([("content-type", "text/plain; charset=utf-8")], text).into_response())
}

fn explained(store: &dyn Store, task: &Task) -> Result<String, StoreError> {
    let mut text = format!("task {} of {}: {}\n", task.id, task.repository, task.state.name());
    text.push_str(&format!("  check `{}` failed on {}\n", task.check, task.commit));
    if let Some(proposal) = &task.proposal {
        text.push_str(&format!(
            "  {} found by {}, repaired by {}\n",
            proposal.category, proposal.tool, proposal.fixer
        ));
        for file in &proposal.files {
            text.push_str(&format!("    {} +{} -{}\n", file.path, file.added, file.removed));
        }
        text.push_str(&format!("  proof: sentinel task certificate {}\n", task.id));
    }
    if !task.codes.is_empty() {
        text.push_str(&format!("  codes: {}\n", task.codes.join(" ")));
    }
    if !task.reason.is_empty() {
        text.push_str(&format!("  because {}\n", task.reason));
    }
    if let Some(url) = &task.pull_request {
        text.push_str(&format!("  pull request {url}\n"));
    }
    text.push('\n');
    for line in super::story::lines(store, &format!("task/{}", task.id), "task.create")? {
        text.push_str(&line);
        text.push('\n');
    }
    Ok(text)
}

/// `GET /api/v1/tasks/{id}/certificate`.
pub async fn certificate(State(app): State<App>, Path(id): Path<String>) -> Result<Response, Failure> {
    let task = app.hub.task(id.clone()).await?.ok_or_else(|| unknown(&id))?;
    let Some(proposal) = task.proposal else {
        return Err(Failure::not_found(format!(
            "task `{id}` has no certificate: nothing was proposed"
        )));
    };
    let read = move |app: &App| {
        app.artifacts
            .read(&proposal.certificate)
            .map_err(|cause| Failure::not_found(format!("its certificate is gone: {cause}")))
    };
    let bytes = app.blocking(read).await?;
    Ok(([("content-type", "application/json")], bytes).into_response())
}

/// `POST /api/v1/tasks/{id}/cancel`.
pub async fn cancel(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Failure> {
    let reason = body.ok().and_then(|body| serde_json::from_slice::<Value>(&body).ok());
    let reason = reason
        .and_then(|value| value["reason"].as_str().map(str::to_owned))
        .unwrap_or_default();
    change(&app, caller, TaskRequest::Cancel { id, reason }).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `POST /api/v1/tasks/{id}/retry`.
pub async fn retry(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Failure> {
    let task = change(&app, caller, TaskRequest::Retry { id }).await?;
    app.work.notify_one();
    Ok(Json(view(&task)))
}

async fn change(app: &App, caller: Caller, what: TaskRequest) -> Result<Task, Failure> {
    match app.hub.request(Request::Tasks { caller, what }).await? {
        Answer::Task(task) => Ok(*task),
        Answer::Rejected { reason } => Err(Failure::field("/id", reason)),
        Answer::Unavailable { reason } => Err(Failure::unavailable(reason)),
        other => Err(Failure::internal(format!("the core answered {other:?}"))),
    }
}

fn unknown(id: &str) -> Failure {
    Failure::not_found(format!("there is no task `{id}`: `sentinel get tasks` lists them"))
}

/// The states of the system before this one.
fn original_status(state: TaskState) -> &'static str {
    match state {
        TaskState::Queued => "queued",
        TaskState::Leased | TaskState::Publishing => "running",
        TaskState::Proposed | TaskState::Merged | TaskState::Closed => "completed",
        TaskState::NoFix | TaskState::Refused | TaskState::Dead => "failed",
        TaskState::Cancelled => "cancelled",
    }
}

fn view(task: &Task) -> Value {
    let time = |wall: wire::time::Wall| wall.to_string();
    json!({
        "id": task.id,
        "task_type": "ci_failure_fix",
        "status": original_status(task.state),
        "state": task.state.name(),
        "source": task.source,
        "repository": task.repository,
        "commit": task.commit,
        "check": task.check,
        "branch": task.branch,
        "log_url": task.log_url,
        "priority": task.priority,
        "attempts": task.attempts,
        "retry_count": task.attempts.saturating_sub(1),
        "agent_name": task.lease.as_ref().map(|lease| &lease.agent),
        "phase": task.phase,
        "progress": f64::from(task.progress) / 1000.0,
        "codes": task.codes,
        "error_message": (!task.reason.is_empty()).then_some(&task.reason),
        "proposal": task.proposal,
        "pull_request": task.pull_request,
        "correlation_id": task.correlation_id,
        "delivery": task.delivery,
        "context": {"repository": task.repository, "branch": task.branch, "commit_sha": task.commit, "build_url": task.log_url},
        "created_at": time(task.created_at),
        "updated_at": time(task.updated_at),
    })
}

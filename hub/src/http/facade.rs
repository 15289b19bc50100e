//! The original's verbs on tasks: work of any kind for a registered agent, its next task, how it goes, to whom else it goes.
//!
//! Read next: `hub/core/src/tasks/facade.rs` (what they do), `tasks.rs` (what a task looks like).

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Extension, Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use hub_core::tasks::{OtherTask, Priority, Report, Reported};
use hub_core::{Answer, Request, Task, TaskRequest, TaskState};
use serde::Deserialize;
use serde_json::{Value, json};
use wire::change::Caller;

use super::agents::{refused, text, thousandths};
use super::answer::{if_match, query, read_json};
use super::tasks::{original_status, view, whole};
use super::{App, Failure};

type Body = Result<Bytes, BytesRejection>;

#[derive(Debug, Deserialize, schemars::JsonSchema)]
pub(super) struct Wanted {
    task_type: String,
    #[serde(default)]
    context: Value,
    timeout_seconds: Option<i64>,
    correlation_id: Option<String>,
}

#[derive(Debug, Deserialize, schemars::JsonSchema)]
pub(super) struct Told {
    status: Option<String>,
    progress: Option<f64>,
    result: Option<Value>,
    artifacts: Option<Value>,
    metrics: Option<Value>,
    error_message: Option<String>,
}

/// To whom.
#[derive(Debug, Deserialize)]
pub struct To {
    new_agent_id: Option<String>,
}

/// Whose.
#[derive(Debug, Deserialize)]
pub struct Whose {
    agent_id: Option<String>,
}

/// `POST /api/v1/tasks`.
pub async fn create(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    body: Body,
) -> Result<Response, Failure> {
    let wanted: Wanted = read_json(body)?;
    let letters = wanted.task_type.chars().count();
    if !(3..=50).contains(&letters) {
        let detail = format!("task_type `{}` must have 3 to 50 letters", wanted.task_type);
        return Err(Failure::unprocessable("/task_type", detail));
    }
    // The original's usual time.
    let seconds = wanted.timeout_seconds.unwrap_or(600);
    if !(60..=3_600).contains(&seconds) {
        let detail = format!("timeout_seconds is {seconds}, it must be 60 to 3600");
        return Err(Failure::unprocessable("/timeout_seconds", detail));
    }
    let new = OtherTask {
        id: uuid::Uuid::now_v7().to_string(),
        kind: wanted.task_type,
        context: text(&wanted.context),
        timeout_ms: seconds * 1_000,
        correlation_id: wanted.correlation_id,
    };
    match ask(&app, caller, TaskRequest::Create(Box::new(new))).await? {
        Answer::Task(task) => Ok((StatusCode::CREATED, Json(named(&app, &task).await?)).into_response()),
        Answer::NoAgent { reason } => Err(Failure::unavailable(reason)),
        other => Err(refused(other)),
    }
}

/// `PATCH /api/v1/tasks/{id}`.
pub async fn report(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, Failure> {
    let told: Told = read_json(body)?;
    if let Ok(present) = whole(&app, id.clone()).await {
        if_match(&headers, &present)?;
    }
    let status = match told.status.as_deref() {
        None => None,
        Some("running") => Some(Reported::Running),
        Some("completed") => Some(Reported::Completed),
        Some("failed") => Some(Reported::Failed),
        Some(other) => {
            let detail = format!("status `{other}` cannot be reported, it must be running, completed or failed");
            return Err(Failure::unprocessable("/status", detail));
        }
    };
    let report = Report {
        status,
        progress: told
            .progress
            .map(|progress| thousandths("progress", progress))
            .transpose()?,
        result: told.result.as_ref().map(text),
        artifacts: told.artifacts.as_ref().map(text),
        metrics: told.metrics.as_ref().map(text),
        error: told.error_message,
    };
    let report = Box::new(report);
    let task = changed(&app, caller, TaskRequest::Report { id, report }).await?;
    Ok(Json(named(&app, &task).await?))
}

/// `POST /api/v1/tasks/{id}/reassign`.
pub async fn reassign(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    to: Result<Query<To>, QueryRejection>,
) -> Result<Json<Value>, Failure> {
    let agent = query(to)?.new_agent_id;
    let task = changed(&app, caller, TaskRequest::Reassign { id, agent }).await?;
    Ok(Json(named(&app, &task).await?))
}

/// `GET /api/v1/tasks/correlation/{id}`: newest first.
pub async fn correlated(State(app): State<App>, Path(id): Path<String>) -> Result<Json<Value>, Failure> {
    let tasks = app.hub.tasks().await?;
    let its = tasks
        .iter()
        .rev()
        .filter(|task| task.correlation_id.as_deref() == Some(id.as_str()));
    Ok(Json(Value::Array(its.map(view).collect())))
}

/// `GET /api/v1/tasks/statistics/summary`.
pub async fn statistics(
    State(app): State<App>,
    whose: Result<Query<Whose>, QueryRejection>,
) -> Result<Json<Value>, Failure> {
    let whose = query(whose)?;
    let tasks = app.hub.tasks().await?;
    let its: Vec<&Task> = tasks
        .iter()
        .filter(|task| whose.agent_id.is_none() || task.agent == whose.agent_id)
        .collect();
    let among = |status: &str| its.iter().filter(|task| original_status(task.state) == status).count();
    let (completed, failed) = (among("completed"), among("failed"));
    let took: Vec<i64> = its.iter().filter_map(|task| took_ms(task)).collect();
    let average = took.iter().sum::<i64>() / i64::try_from(took.len().max(1)).unwrap_or(1);
    let ended = completed + failed;
    // Counts of tasks are far below what a double holds exactly.
    let rate = if ended == 0 {
        0.0
    } else {
        completed as f64 / ended as f64
    };
    let reliability = hub_core::tasks::calibration::reliability(tasks.iter(), app.now());
    Ok(Json(json!({
        "total": its.len(),
        "pending": 0,
        "queued": among("queued"),
        "assigned": 0,
        "running": among("running"),
        "completed": completed,
        "failed": failed,
        "cancelled": among("cancelled"),
        "avg_duration_ms": average,
        "success_rate": rate,
        "calibration": reliability.map(|scores| json!({
            "outcomes": scores.count, "merged": scores.base_rate, "brier": scores.brier,
            "calibration_error": scores.calibration_error, "log_loss": scores.log_loss,
        })),
    })))
}

fn took_ms(task: &Task) -> Option<i64> {
    Some(task.completed_at?.0.saturating_sub(task.started_at?.0))
}

/// `GET /api/v1/tasks/agent/{id}/queue`: how many wait for an agent, and which it works on. When it works on none, its next one begins:
/// asking for work is how the original's agents get it.
pub async fn queue(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Failure> {
    let lease = super::auth::random_text().map_err(|cause| Failure::internal(cause.to_string()))?;
    let is_at_work = |task: &Task| task.agent.as_deref() == Some(id.as_str()) && task.state == TaskState::Leased;
    if !app.hub.tasks().await?.iter().any(is_at_work) {
        let agent = id.clone();
        match ask(&app, caller, TaskRequest::Dequeue { agent, lease }).await? {
            Answer::Task(_) | Answer::NoTask => {}
            other => return Err(refused(other)),
        }
    }
    let tasks = app.hub.tasks().await?;
    let waits = |priority: Option<Priority>| {
        let is_waiting = |task: &&Task| {
            task.agent.as_deref() == Some(id.as_str())
                && task.state == TaskState::Queued
                && priority.is_none_or(|priority| task.priority == priority)
        };
        tasks.iter().filter(is_waiting).count()
    };
    let active: Vec<&str> = tasks
        .iter()
        .filter(|task| is_at_work(task))
        .map(|task| task.id.as_str())
        .collect();
    Ok(Json(json!({
        "queue_depth": {
            "high": waits(Some(Priority::High)), "normal": waits(Some(Priority::Normal)), "low": waits(Some(Priority::Low)),
            "total": waits(None),
        },
        "active_tasks": active.len(),
        "active_task_ids": active,
    })))
}

/// A task with its agent's name.
async fn named(app: &App, task: &Task) -> Result<Value, Failure> {
    let mut shown = view(task);
    if let Some(id) = &task.agent {
        let agents = app.hub.remediation_agents().await?;
        let name = agents
            .iter()
            .find(|agent| agent.id == *id)
            .map(|agent| agent.name.clone());
        shown["agent_name"] = json!(name);
    }
    Ok(shown)
}

async fn ask(app: &App, caller: Caller, what: TaskRequest) -> Result<Answer, Failure> {
    Ok(app.hub.request(Request::Tasks { caller, what }).await?)
}

async fn changed(app: &App, caller: Caller, what: TaskRequest) -> Result<Task, Failure> {
    match ask(app, caller, what).await? {
        Answer::Task(task) => Ok(*task),
        other => Err(refused(other)),
    }
}

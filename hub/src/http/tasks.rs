//! Tasks for people and programs: the list, one, cancel, retry. The paths and members are those of the system before this one, with
//! ours beside them.

use std::collections::BTreeMap;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Extension, Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use hub_core::tasks::wishes::{FILE, Freeze};
use hub_core::{Answer, Request, Task, TaskRequest, TaskState};
use serde::Deserialize;
use serde_json::{Value, json};
use wire::change::Caller;

use super::answer::{json, query};
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
pub async fn list(State(app): State<App>, page: Result<Query<Page>, QueryRejection>) -> Result<Json<Value>, Failure> {
    let page = query(page)?;
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
pub async fn one(State(app): State<App>, Path(id): Path<String>, headers: HeaderMap) -> Result<Response, Failure> {
    Ok(json(&headers, &whole(&app, id).await?))
}

/// A task with its history.
pub(super) async fn whole(app: &App, id: String) -> Result<Value, Failure> {
    let task = app.hub.task(id.clone()).await?.ok_or_else(|| unknown(&id))?;
    let mut shown = view(&task);
    let history = app
        .read(move |store| super::story::changes(store, &format!("task/{id}"), "task.create"))
        .await?;
    shown["history"] = json!(history);
    Ok(shown)
}

/// Of which repository.
#[derive(Debug, Deserialize)]
pub struct Of {
    repository: String,
}

/// `GET /api/v1/tasks/policy?repository=owner/name`: what policy says of repairs there now.
pub async fn policy(State(app): State<App>, of: Result<Query<Of>, QueryRejection>) -> Result<Json<Value>, Failure> {
    let of = query(of)?;
    let explained = app.hub.explain_fixes(of.repository.clone()).await?;
    let steps: Vec<Value> = explained
        .steps
        .iter()
        .map(|(step, judged)| {
            json!({"step": step.name(), "verdict": judged.verdict.name(), "rule": judged.rule, "code": judged.code})
        })
        .collect();
    let chances: Vec<Value> = explained
        .chances
        .iter()
        .map(|(category, chance)| {
            let share = |bp: u16| f64::from(bp) / 10_000.0;
            json!({"category": category, "at_least": share(chance.at_least_bp), "mean": share(chance.mean_bp), "outcomes": chance.outcomes})
        })
        .collect();
    let wishes = wished(&app, &of.repository).await?;
    Ok(Json(json!({
        "repository": of.repository, "steps": steps, "chances": chances, "open_pull_requests": explained.open,
        "propose_from": 0.7, "merge_from": 0.9, "wishes": wishes,
    })))
}

/// What the repository's own file says, asked of its forge now; `null` where no source has the repository.
async fn wished(app: &App, repository: &str) -> Result<Value, Failure> {
    let tasks = app.hub.tasks().await?;
    let known = tasks.iter().rev().find(|task| task.repository == repository);
    let mut sources = app.forges.sources();
    let only = sources
        .next()
        .filter(|_| sources.next().is_none())
        .map(|source| source.id.clone());
    let Some(source) = known.map(|task| task.source.clone()).or(only) else {
        return Ok(Value::Null);
    };
    Ok(match app.forges.wishes(&source, repository).await {
        Ok(wishes) => {
            let of = |category: &&str| {
                let least = f64::from(wishes.least_bp(category)) / 10_000.0;
                json!({"category": category, "mode": wishes.mode(category).name(), "min_confidence": least})
            };
            let categories: Vec<Value> = ["format", "lint", "lockfile", "snapshot"].iter().map(of).collect();
            let objection = wishes.objects_to(None, false).map(|(_, reason)| reason);
            let pause = wishes.pause(repository, tasks.iter(), app.now());
            let freeze = |freeze: &Freeze| json!({"windows": freeze.windows.to_string(), "reason": freeze.reason});
            json!({
                "file": FILE, "source": source, "categories": categories, "objection": objection, "problems": wishes.problems,
                "target": wishes.target(), "labels": wishes.labels, "reviewers": wishes.reviewers,
                "freeze": wishes.freezes.iter().map(freeze).collect::<Vec<_>>(),
                "pause": pause.map(|pause| json!({"code": pause.code, "reason": pause.reason, "until": pause.until.to_string()})),
                "budgets": {"open": wishes.budgets.open, "per_day": wishes.budgets.per_day},
                "fixer_versions": wishes.fixer_versions().collect::<BTreeMap<_, _>>(),
                "paths": {"allow": wishes.allowed_paths(), "protect": wishes.protected_paths()},
            })
        }
        Err(error) => json!({"file": FILE, "source": source, "unread": error.reason}),
    })
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
    if let Some(chance) = &task.chance {
        let percent = |bp: u16| f64::from(bp) / 100.0;
        text.push_str(&format!(
            "  {:.0} % such repairs are merged, at least {:.0} % ({} outcomes)\n",
            percent(chance.mean_bp),
            percent(chance.at_least_bp),
            chance.outcomes
        ));
    }
    if !task.codes.is_empty() {
        text.push_str(&format!("  codes: {}\n", task.codes.join(" ")));
    }
    if !task.reason.is_empty() {
        text.push_str(&format!("  because {}\n", task.reason));
    }
    if let Some(url) = &task.pull_request {
        text.push_str(&format!(
            "  pull request {url}, its checks {}\n",
            task.review.checks.name()
        ));
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

/// `POST /api/v1/tasks/{id}/approve`: consent to what policy wants a person for.
pub async fn approve(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, Failure> {
    let reason = reason(body);
    let task = change(&app, caller, TaskRequest::Approve { id, reason }).await?;
    Ok(Json(view(&task)))
}

/// The reason in a body, if there is one.
fn reason(body: Result<Bytes, BytesRejection>) -> String {
    let value = body.ok().and_then(|body| serde_json::from_slice::<Value>(&body).ok());
    value
        .and_then(|value| value["reason"].as_str().map(str::to_owned))
        .unwrap_or_default()
}

/// `POST /api/v1/tasks/{id}/cancel`.
pub async fn cancel(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Failure> {
    let reason = reason(body);
    change(&app, caller, TaskRequest::Cancel { id, reason }).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `POST /api/v1/tasks/{id}/retry`.
pub async fn retry(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, Failure> {
    let reason = reason(body);
    let task = change(&app, caller, TaskRequest::Retry { id, reason }).await?;
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
pub(super) fn original_status(state: TaskState) -> &'static str {
    match state {
        TaskState::Queued => "queued",
        TaskState::Leased | TaskState::Publishing | TaskState::Held => "running",
        TaskState::Proposed | TaskState::Merged | TaskState::Closed | TaskState::Completed => "completed",
        TaskState::NoFix | TaskState::Refused | TaskState::Dead => "failed",
        TaskState::Cancelled => "cancelled",
    }
}

/// What the original calls context: what a task was made with, or where a check failed.
fn context(task: &Task) -> Value {
    if task.context.is_empty() {
        return json!({"repository": task.repository, "branch": task.branch, "commit_sha": task.commit, "build_url": task.log_url});
    }
    super::agents::parsed(&task.context)
}

/// How its pull request stands; `null` before it is open.
fn review(task: &Task) -> Value {
    let review = &task.review;
    match task.pull_request {
        None => Value::Null,
        Some(_) => json!({
            "checks": review.checks.name(), "is_draft": !review.is_ready && task.state == TaskState::Proposed,
            "merge_wanted": review.merge_wanted, "stopped_by": review.stopped_by,
        }),
    }
}

pub(super) fn view(task: &Task) -> Value {
    let time = |wall: wire::time::Wall| wall.to_string();
    json!({
        "id": task.id,
        "task_type": task.kind,
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
        "retry_count": task.retries,
        "agent_id": task.agent,
        "agent_name": task.lease.as_ref().map(|lease| &lease.agent),
        "phase": task.phase,
        "progress": f64::from(task.progress) / 1000.0,
        "codes": task.codes,
        "error_message": (!task.reason.is_empty()).then_some(&task.reason),
        "proposal": task.proposal,
        "pull_request": task.pull_request,
        "correlation_id": task.correlation_id,
        "delivery": task.delivery,
        "context": context(task),
        "message": task.message,
        "chance": task.chance.map(|chance| json!({
            "at_least": f64::from(chance.at_least_bp) / 10_000.0, "mean": f64::from(chance.mean_bp) / 10_000.0, "outcomes": chance.outcomes,
        })),
        "outcome": task.label.map(hub_core::tasks::Label::name),
        "review": review(task),
        "result": super::agents::parsed(&task.told.result),
        "artifacts": super::agents::parsed(&task.told.artifacts),
        "metrics": super::agents::parsed(&task.told.metrics),
        "timeout_seconds": task.timeout_ms / 1_000,
        "started_at": task.started_at.map(time),
        "completed_at": task.completed_at.map(time),
        "duration_ms": task.completed_at.zip(task.started_at).map(|(end, start)| end.0.saturating_sub(start.0)),
        "created_at": time(task.created_at),
        "updated_at": time(task.updated_at),
    })
}

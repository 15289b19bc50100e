//! Webhooks of forges come in here: signature first, then one change in the core, then the answer.
//!
//! Nothing is parsed or logged before the signature is good. Nothing is asked of the forge while it waits. Everything authentic is
//! answered with 2xx, because forges switch hooks off that answer otherwise; a store that takes nothing is 503.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use hub_core::tasks::{Ended, Label, Priority, forge};
use hub_core::{Answer, NewTask, Request, TaskRequest};
use serde_json::json;

use super::places::Place;
use super::{App, Failure};
use crate::forges::Source;
use crate::orders::Ordered;
use crate::webhooks::event::{self, Event, Failed};
use crate::webhooks::{self, Provider};

/// `POST /hooks/v1/{source}`.
pub async fn source(
    State(app): State<App>,
    Path(id): Path<String>,
    place: Option<Extension<Place>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    match app.forges.source(&id).cloned() {
        Some(source) => take(&app, &source, place, &headers, body).await,
        None => unauthorized(),
    }
}

/// `POST /webhooks/{provider}` and, as the system before this one had them, `/webhooks/{provider}/{event}`: the one source of that kind.
pub async fn provider(
    State(app): State<App>,
    Path(path): Path<String>,
    place: Option<Extension<Place>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let kinds: &[Provider] = match path.split('/').next().unwrap_or_default() {
        "github" => &[Provider::Github],
        "gitlab" => &[Provider::Gitlab],
        "gitea" | "forgejo" => &[Provider::Gitea, Provider::Forgejo],
        _ => &[],
    };
    match app.forges.only(kinds).cloned() {
        Some(source) => take(&app, &source, place, &headers, body).await,
        None => unauthorized(),
    }
}

/// `GET /webhooks/{provider}/health`.
pub async fn health(State(app): State<App>, Path(path): Path<String>) -> Response {
    let Some(name) = path.strip_suffix("/health") else {
        return Failure::not_found("webhooks are sent with POST").into_response();
    };
    let kinds = match name {
        "github" => &[Provider::Github][..],
        "gitlab" => &[Provider::Gitlab],
        "gitea" => &[Provider::Gitea, Provider::Forgejo],
        _ => return Failure::not_found(format!("there is no kind of forge `{name}`")).into_response(),
    };
    axum::Json(json!({"status": "healthy", "enabled": app.forges.only(kinds).is_some()})).into_response()
}

/// No source and no good signature look alike: a stranger learns nothing.
fn unauthorized() -> Response {
    Failure::unauthorized("no source of this name has signed this").into_response()
}

async fn take(
    app: &App,
    source: &Source,
    place: Option<Extension<Place>>,
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let body = match body {
        Ok(body) => body,
        Err(rejection) => return rejection.into_response(),
    };
    let now_s = app.now().0.div_euclid(1_000);
    let secrets: Vec<&str> = [Some(source.secret.as_str()), source.previous_secret.as_deref()]
        .into_iter()
        .flatten()
        .collect();
    if let Err(refusal) = webhooks::verify(source.provider, headers, &body, &secrets, now_s) {
        app.meters.delivered(&source.id, "refused");
        tracing::debug!(source = %source.id, %refusal, bytes = body.len(), "a delivery was refused");
        return unauthorized();
    }
    // Forges keep connections open between deliveries: one on which a good signature came is no stranger's, and is not cut off in the
    // middle of the next. Where no place is left it stays as it is, and the delivery is taken all the same.
    if let Some(Extension(place)) = place {
        place.is_known();
    }
    let name = webhooks::event_name(source.provider, headers);
    let delivery = webhooks::delivery_id(source.provider, headers, &body);
    match event::read(source.provider, &name, &body) {
        Ok(Event::Failed(failed)) => failure(app, source, delivery, failed).await,
        Ok(Event::PullRequestEnded {
            repository,
            number,
            merged,
            merged_as,
            rejected,
        }) => {
            let source_id = source.id.clone();
            let ended = Ended::PullRequest {
                source: source_id,
                repository,
                number,
                merged,
                merged_as,
                rejected,
            };
            outcome(app, source, ended).await
        }
        Ok(Event::Reverted { repository, commit }) => {
            let ended = Ended::Reverted {
                source: source.id.clone(),
                repository,
                commit,
            };
            outcome(app, source, ended).await
        }
        Ok(Event::Passed {
            repository,
            commit,
            check,
        }) => {
            let what = TaskRequest::Passed {
                source: source.id.clone(),
                repository,
                commit,
                check,
            };
            told(app, source, what).await
        }
        Ok(Event::Ordered {
            repository,
            number,
            who,
            order,
        }) => {
            let ordered = Ordered {
                source: source.id.clone(),
                repository,
                number,
                who,
                order,
            };
            // Whoever wrote it sees that nothing came of it, and writes it again.
            let taken = app.orders.try_send(ordered).is_ok();
            app.meters
                .delivered(&source.id, if taken { "order" } else { "ignored" });
            let status = if taken { "order" } else { "ignored" };
            answered(StatusCode::OK, json!({"status": status}))
        }
        Ok(Event::Ignored(reason)) => {
            app.meters.delivered(&source.id, "ignored");
            answered(StatusCode::OK, json!({"status": "ignored", "reason": reason}))
        }
        Err(refusal) => Failure::field("", refusal.to_string()).into_response(),
    }
}

async fn outcome(app: &App, source: &Source, ended: Ended) -> Response {
    told(app, source, TaskRequest::Ended(Box::new(ended))).await
}

/// Tells the core something that may matter to a task.
async fn told(app: &App, source: &Source, what: TaskRequest) -> Response {
    let caller = forge(&source.id);
    match app.hub.request(Request::Tasks { caller, what }).await {
        Ok(Answer::Task(task)) => answered(
            StatusCode::OK,
            json!({"status": "outcome", "task_id": task.id, "outcome": task.label.map(Label::name)}),
        ),
        Ok(Answer::Unavailable { reason }) => Failure::unavailable(reason).into_response(),
        _ => answered(StatusCode::OK, json!({"status": "ignored", "reason": "not ours"})),
    }
}

/// A failed check as the core takes it.
pub fn new_task(source: &str, delivery: String, failed: Failed) -> NewTask {
    let is_default = !failed.default_branch.is_empty() && failed.branch == failed.default_branch;
    NewTask {
        id: uuid::Uuid::now_v7().to_string(),
        source: source.to_owned(),
        repository: failed.repository,
        commit: failed.commit,
        check: failed.check,
        branch: failed.branch,
        log_url: failed.log_url,
        delivery,
        correlation_id: None,
        from_fork: failed.from_fork,
        priority: if is_default { Priority::High } else { Priority::Normal },
    }
}

async fn failure(app: &App, source: &Source, delivery: String, failed: Failed) -> Response {
    let repository = failed.repository.clone();
    let new = new_task(&source.id, delivery, failed);
    let id = new.id.clone();
    let what = TaskRequest::Received(Box::new(new));
    match app
        .hub
        .request(Request::Tasks {
            caller: forge(&source.id),
            what,
        })
        .await
    {
        Ok(Answer::Task(task)) if task.id != id => answered(
            StatusCode::OK,
            json!({"status": "outcome", "task_id": task.id, "outcome": task.label.map(Label::name)}),
        ),
        Ok(Answer::Task(task)) => {
            app.meters.delivered(&source.id, "task");
            app.work.notify_one();
            answered(
                StatusCode::OK,
                json!({"status": "task_created", "task_id": task.id, "repository": repository, "failure_type": "unknown"}),
            )
        }
        Ok(Answer::NoTask) => {
            app.meters.delivered(&source.id, "ignored");
            answered(StatusCode::OK, json!({"status": "ignored", "reason": "bot_loop"}))
        }
        Ok(Answer::KnownTask { id }) => {
            app.meters.delivered(&source.id, "duplicate");
            answered(StatusCode::OK, json!({"status": "duplicate", "task_id": id}))
        }
        Ok(Answer::Rejected { reason } | Answer::Unavailable { reason }) => {
            Failure::unavailable(reason).into_response()
        }
        Ok(other) => Failure::internal(format!("the core answered {other:?}")).into_response(),
        Err(stopped) => Failure::unavailable(stopped.to_string()).into_response(),
    }
}

fn answered(status: StatusCode, body: serde_json::Value) -> Response {
    (status, axum::Json(body)).into_response()
}

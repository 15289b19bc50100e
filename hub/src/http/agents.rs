//! Remediation agents: the list and one for people, and the original's registry (register, heartbeat, discover, statistics) for programs.
//!
//! Paths and members are those of the system before this one. Who registers an agent is its owner; nobody else works in its name.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Extension, Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use hub_core::tasks::agents::{AgentChange, AgentStatus, Capabilities, HEARTBEAT_MS, Registration, RemediationAgent};
use hub_core::{Answer, Request, TaskRequest};
use serde::Deserialize;
use serde_json::{Value, json};
use wire::change::Caller;
use wire::time::Wall;

use super::answer::{if_match, json, query, read_json};
use super::{App, Failure};

/// Longest page.
const MOST: usize = 1_000;

type Body = Result<Bytes, BytesRejection>;

/// What of the list is wanted.
#[derive(Debug, Deserialize)]
pub struct Page {
    status: Option<String>,
    limit: Option<usize>,
    offset: Option<usize>,
}

#[derive(Debug, Clone, Deserialize, schemars::JsonSchema)]
struct WantedCapabilities {
    supported_tasks: Vec<String>,
    #[serde(default = "usual_concurrency")]
    max_concurrent_tasks: u32,
    supported_failure_types: Option<Vec<String>>,
    #[serde(default = "usual_timeout")]
    timeout_seconds: u32,
}

/// The original's defaults.
const fn usual_concurrency() -> u32 {
    5
}

const fn usual_timeout() -> u32 {
    600
}

#[derive(Debug, Deserialize, schemars::JsonSchema)]
pub(super) struct Wanted {
    name: String,
    version: String,
    #[serde(default)]
    description: Option<String>,
    capabilities: WantedCapabilities,
    #[serde(default)]
    configuration: Value,
}

#[derive(Debug, Deserialize, schemars::JsonSchema)]
pub(super) struct Change {
    version: Option<String>,
    description: Option<String>,
    capabilities: Option<WantedCapabilities>,
    configuration: Option<Value>,
    status: Option<String>,
    trust_key: Option<String>,
}

#[derive(Debug, Deserialize, schemars::JsonSchema)]
pub(super) struct Beat {
    health_score: f64,
    #[serde(default)]
    active_tasks: i64,
}

/// `GET /api/v1/agents`: newest first.
pub async fn list(State(app): State<App>, page: Result<Query<Page>, QueryRejection>) -> Result<Json<Value>, Failure> {
    let page = query(page)?;
    let now = app.now();
    let mut agents = app.hub.remediation_agents().await?;
    agents.sort_by_key(|agent| (std::cmp::Reverse(agent.created_at), agent.id.clone()));
    let wanted = |agent: &&RemediationAgent| {
        page.status
            .as_ref()
            .is_none_or(|status| standing(agent, now).name() == status)
    };
    let limit = page.limit.unwrap_or(100).min(MOST);
    let shown = agents.iter().filter(wanted).skip(page.offset.unwrap_or(0)).take(limit);
    Ok(Json(Value::Array(shown.map(|agent| view(agent, now)).collect())))
}

/// `GET /api/v1/agents/{id}`.
pub async fn one(State(app): State<App>, Path(id): Path<String>, headers: HeaderMap) -> Result<Response, Failure> {
    let Json(view) = found(&app, |agent| agent.id == id, &id).await?;
    Ok(json(&headers, &view))
}

/// Refuses a change of an agent that is not what the caller read.
async fn unchanged(app: &App, id: &str, headers: &HeaderMap) -> Result<(), Failure> {
    match found(app, |agent| agent.id == id, id).await {
        Ok(Json(present)) => if_match(headers, &present),
        // That there is none is told by what is asked of it.
        Err(_) => Ok(()),
    }
}

/// `GET /api/v1/agents/name/{name}`.
pub async fn by_name(State(app): State<App>, Path(name): Path<String>) -> Result<Json<Value>, Failure> {
    found(&app, |agent| agent.name == name, &name).await
}

async fn found(app: &App, is_it: impl Fn(&RemediationAgent) -> bool, named: &str) -> Result<Json<Value>, Failure> {
    let agents = app.hub.remediation_agents().await?;
    let agent = agents.iter().find(|agent| is_it(agent));
    agent
        .map(|agent| Json(view(agent, app.now())))
        .ok_or_else(|| Failure::not_found(format!("there is no agent `{named}`: `sentinel get agents` lists them")))
}

/// `GET /api/v1/agents/discover/{task_type}`: active agents that do such tasks.
pub async fn discover(State(app): State<App>, Path(kind): Path<String>) -> Result<Json<Value>, Failure> {
    let now = app.now();
    let agents = app.hub.remediation_agents().await?;
    let fit = agents
        .iter()
        .filter(|agent| standing(agent, now) == AgentStatus::Active && agent.supports(&kind));
    Ok(Json(Value::Array(fit.map(|agent| view(agent, now)).collect())))
}

/// `GET /api/v1/agents/statistics/summary`.
pub async fn statistics(State(app): State<App>) -> Result<Json<Value>, Failure> {
    let now = app.now();
    let agents = app.hub.remediation_agents().await?;
    let mut summary = json!({"total": agents.len()});
    for status in AgentStatus::ALL {
        summary[status.name()] = json!(agents.iter().filter(|agent| standing(agent, now) == status).count());
    }
    Ok(Json(summary))
}

/// `POST /api/v1/agents`: 201 for a new name, 200 for one that its owner registers again.
pub async fn register(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    body: Body,
) -> Result<Response, Failure> {
    let wanted: Wanted = read_json(body)?;
    let id = uuid::Uuid::now_v7().to_string();
    if !(3..=100).contains(&wanted.name.chars().count()) {
        return Err(Failure::unprocessable(
            "/name",
            format!("name `{}` must have 3 to 100 letters", wanted.name),
        ));
    }
    let registration = Registration {
        id: id.clone(),
        name: wanted.name,
        version: version(wanted.version)?,
        description: description(wanted.description.unwrap_or_default())?,
        capabilities: capabilities(wanted.capabilities)?,
        configuration: text(&wanted.configuration),
        key: None,
        sandbox: String::new(),
    };
    let agent = ask(&app, caller, TaskRequest::Register(Box::new(registration))).await?;
    let status = if agent.id == id {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok((status, Json(view(&agent, app.now()))).into_response())
}

/// `PATCH /api/v1/agents/{id}`.
pub async fn change(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, Failure> {
    let wanted: Change = read_json(body)?;
    unchanged(&app, &id, &headers).await?;
    let status = match wanted.status.as_deref() {
        None => None,
        Some("active") => Some(AgentStatus::Active),
        Some("paused") => Some(AgentStatus::Paused),
        Some("offline") => Some(AgentStatus::Offline),
        Some(other) => {
            let detail = format!("status `{other}` cannot be set, it must be active, paused or offline");
            return Err(Failure::unprocessable("/status", detail));
        }
    };
    let change = AgentChange {
        version: wanted.version.map(version).transpose()?,
        description: wanted.description.map(description).transpose()?,
        capabilities: wanted.capabilities.map(capabilities).transpose()?,
        configuration: wanted.configuration.as_ref().map(text),
        status,
        trust_key: wanted.trust_key.map(key).transpose()?,
    };
    let change = Box::new(change);
    let agent = ask(&app, caller, TaskRequest::ChangeAgent { id, change }).await?;
    Ok(Json(view(&agent, app.now())))
}

/// `DELETE /api/v1/agents/{id}`: its tasks stay.
pub async fn remove(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Failure> {
    unchanged(&app, &id, &headers).await?;
    ask(&app, caller, TaskRequest::RemoveAgent { id }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /api/v1/agents/{id}/heartbeat`.
pub async fn heartbeat(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    body: Body,
) -> Result<StatusCode, Failure> {
    let beat: Beat = read_json(body)?;
    if beat.active_tasks < 0 {
        let detail = format!("active_tasks is {}, it must be at least 0", beat.active_tasks);
        return Err(Failure::unprocessable("/active_tasks", detail));
    }
    let health = thousandths("health_score", beat.health_score)?;
    ask(&app, caller, TaskRequest::Heartbeat { id, health }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A share of 0 to 1 in thousandths.
pub fn thousandths(field: &str, share: f64) -> Result<u16, Failure> {
    if (0.0..=1.0).contains(&share) {
        // 0..=1000 after the check.
        return Ok((share * 1_000.0).round() as u16);
    }
    let detail = format!("{field} is {share}, it must be 0 to 1");
    Err(Failure::unprocessable(&format!("/{field}"), detail))
}

/// JSON as text; nothing for null.
pub fn text(value: &Value) -> String {
    if value.is_null() {
        String::new()
    } else {
        value.to_string()
    }
}

/// The JSON of a text that [`text`] made.
pub fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or(Value::Null)
}

fn version(text: String) -> Result<String, Failure> {
    let parts: Vec<&str> = text.split('.').collect();
    let is_number = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if parts.len() == 3 && parts.iter().all(is_number) && text.len() <= 50 {
        return Ok(text);
    }
    let detail = format!("version `{text}` must be three numbers, for example 1.0.0");
    Err(Failure::unprocessable("/version", detail))
}

fn description(text: String) -> Result<String, Failure> {
    let letters = text.chars().count();
    if letters <= 500 {
        return Ok(text);
    }
    let detail = format!("description has {letters} letters, the most is 500");
    Err(Failure::unprocessable("/description", detail))
}

fn capabilities(wanted: WantedCapabilities) -> Result<Capabilities, Failure> {
    if !(1..=50).contains(&wanted.max_concurrent_tasks) {
        let detail = format!(
            "max_concurrent_tasks is {}, it must be 1 to 50",
            wanted.max_concurrent_tasks
        );
        return Err(Failure::unprocessable("/capabilities/max_concurrent_tasks", detail));
    }
    if !(60..=3_600).contains(&wanted.timeout_seconds) {
        let detail = format!("timeout_seconds is {}, it must be 60 to 3600", wanted.timeout_seconds);
        return Err(Failure::unprocessable("/capabilities/timeout_seconds", detail));
    }
    Ok(Capabilities {
        supported_tasks: wanted.supported_tasks,
        max_concurrent_tasks: wanted.max_concurrent_tasks,
        supported_failure_types: wanted.supported_failure_types,
        timeout_seconds: wanted.timeout_seconds,
    })
}

fn key(text: String) -> Result<String, Failure> {
    if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(text.to_ascii_lowercase());
    }
    let detail = format!("trust_key `{text}` must be 64 hexadecimal digits");
    Err(Failure::unprocessable("/trust_key", detail))
}

/// How an agent stands now: what leases by the remediation contract tells of itself with each question for work, and nothing else.
fn standing(agent: &RemediationAgent, now: Wall) -> AgentStatus {
    let is_silent = now.0.saturating_sub(agent.heard_at.0) > 3 * HEARTBEAT_MS;
    match agent.status {
        AgentStatus::Active if is_silent => AgentStatus::Offline,
        other => other,
    }
}

fn view(agent: &RemediationAgent, now: Wall) -> Value {
    json!({
        "id": agent.id,
        "name": agent.name,
        "version": agent.version,
        "description": agent.description,
        "capabilities": {
            "supported_tasks": agent.capabilities.supported_tasks,
            "max_concurrent_tasks": agent.capabilities.max_concurrent_tasks,
            "supported_failure_types": agent.capabilities.supported_failure_types,
            "timeout_seconds": agent.capabilities.timeout_seconds,
        },
        "configuration": parsed(&agent.configuration),
        "status": standing(agent, now).name(),
        "health_score": f64::from(agent.health) / 1_000.0,
        "last_heartbeat": agent.heard_at.to_string(),
        "total_tasks": agent.total,
        "successful_tasks": agent.successful,
        "failed_tasks": agent.failed,
        "owner": agent.owner,
        "keys": agent.keys,
        "sandbox": agent.sandbox,
        "created_at": agent.created_at.to_string(),
        "updated_at": agent.updated_at.to_string(),
    })
}

async fn ask(app: &App, caller: Caller, what: TaskRequest) -> Result<RemediationAgent, Failure> {
    match app.hub.request(Request::Tasks { caller, what }).await? {
        Answer::Remediator(agent) => Ok(*agent),
        other => Err(refused(other)),
    }
}

/// Why the core did not do it.
pub fn refused(answer: Answer) -> Failure {
    match answer {
        Answer::NoAgent { reason } => Failure::not_found(reason),
        Answer::NotYours { reason } => Failure::forbidden(reason),
        Answer::Rejected { reason } => Failure::field("/id", reason),
        Answer::Unavailable { reason } => Failure::unavailable(reason),
        other => Failure::internal(format!("the core answered {other:?}")),
    }
}

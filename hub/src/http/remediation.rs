//! The remediation agents' side of the contract (`hub-remediation-sdk`): register, lease, extend, read, propose, finish.
//!
//! An agent shows the remediation token, which lets it work on tasks and nothing else. The forge's credential stays here: the agent gets
//! log and tree through the hub. Before the core hears of a patch, its certificate is checked (signature, rules), its texts are held
//! against the digests in it, every gate is evaluated, and the patch is on the disk.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use hub_core::tasks::gates::{PatchFile, changed_lines, refusals};
use hub_core::tasks::wishes::{Mode, Pause, Wishes};
use hub_core::tasks::{CI_FAILURE, ChangedFile, Proposal, TIMEOUT_MS, agents, queue};
use hub_core::{Answer, Request, Right, Task, TaskRequest};
use hub_remediation_sdk::contract::{
    Extend, Extended, Finish, LeaseRequest, Leased, Propose, Proposed, Registered, Registration,
};
use serde_json::json;
use wire::change::{Caller, Via};
use wire::ids::Digest;
use wire::time::Wall;

use super::answer::read_json;
use super::places::Place;
use super::{App, Failure};

/// Version of the contract.
const PROTOCOL: u32 = 1;
/// Owner of agents that come with the remediation token.
const OWNER: &str = "remediation";
/// Longest wait for work.
const LONGEST_WAIT: Duration = Duration::from_secs(20);

type Body = Result<Bytes, BytesRejection>;

/// A remediation agent: whoever shows the remediation token. Its connection is no stranger's, so it may stay.
pub struct Remediator;

impl FromRequestParts<App> for Remediator {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        let bearer = parts
            .headers
            .get("authorization")
            .and_then(|value| value.to_str().ok())
            .and_then(|text| text.strip_prefix("Bearer "));
        let is_ours =
            bearer.is_some_and(|token| super::auth::same(&Digest::of(token.trim().as_bytes()), &app.remediation_token));
        if !is_ours {
            return Err(Failure::unauthorized(
                "the remediation token is not this hub's: the file remediation.token of its state folder has it",
            ));
        }
        match parts.extensions.get::<Place>() {
            Some(place) if !place.is_known() => Err(Failure::unavailable(
                "too many connections are open: close some, or come again",
            )),
            _ => Ok(Self),
        }
    }
}

/// `POST /agent/v1/register`.
pub async fn register(State(app): State<App>, _: Remediator, body: Body) -> Result<Response, Failure> {
    let registration: Registration = read_json(body)?;
    if !registration.protocol.contains(&PROTOCOL) {
        return Err(Failure::field(
            "/protocol",
            format!(
                "{:?} does not hold {PROTOCOL}, which this hub speaks",
                registration.protocol
            ),
        ));
    }
    let sandbox = format!("{:?}", registration.sandbox);
    let agent = agents::Registration {
        id: uuid::Uuid::now_v7().to_string(),
        name: registration.name.clone(),
        version: registration.version.clone(),
        description: format!("fixers: {}", registration.fixers.join(" ")),
        capabilities: agents::Capabilities {
            supported_tasks: vec![CI_FAILURE.to_owned()],
            // One at a time for each instance; several instances may share the name.
            max_concurrent_tasks: 1,
            supported_failure_types: None,
            timeout_seconds: u32::try_from(TIMEOUT_MS / 1_000).unwrap_or(u32::MAX),
        },
        configuration: String::new(),
        key: Some(registration.public_key.clone()),
        sandbox,
    };
    let caller = Caller::new(OWNER, Via::Remediation);
    let what = TaskRequest::Register(Box::new(agent));
    match app.hub.request(Request::Tasks { caller, what }).await? {
        Answer::Remediator(_) => {}
        Answer::NotYours { reason } => return Err(Failure::forbidden(reason)),
        other => return Err(unexpected(other)),
    }
    tracing::info!(agent = %registration.name, version = %registration.version, sandbox = ?registration.sandbox, "a remediation agent is here");
    let registered = Registered {
        protocol: PROTOCOL,
        lease_ms: queue::LEASE_MS.unsigned_abs(),
        deadline_ms: TIMEOUT_MS.unsigned_abs(),
    };
    Ok(Json(registered).into_response())
}

/// `POST /agent/v1/lease`.
pub async fn lease(State(app): State<App>, _: Remediator, body: Body) -> Result<Response, Failure> {
    let wanted: LeaseRequest = read_json(body)?;
    let until = tokio::time::Instant::now() + Duration::from_millis(wanted.wait_ms).min(LONGEST_WAIT);
    loop {
        let lease = super::auth::random_text().map_err(|cause| Failure::internal(cause.to_string()))?;
        let what = TaskRequest::Lease {
            agent: wanted.agent.clone(),
            lease,
        };
        match ask(&app, &wanted.agent, what).await? {
            Answer::Task(task) => match may_begin(&app, &task).await {
                Ok(wishes) => return Ok(Json(leased(&task, &wishes)?).into_response()),
                // Its owner does not want it, or nobody can say: the next one.
                Err(finish) => {
                    ask(&app, &wanted.agent, finish).await?;
                    continue;
                }
            },
            Answer::NoTask => {}
            other => return Err(unexpected(other)),
        }
        if tokio::time::timeout_at(until, app.work.notified()).await.is_err() {
            return Ok(StatusCode::NO_CONTENT.into_response());
        }
    }
}

/// How long a task waits for a forge that is away.
const FORGE_AWAY_MS: i64 = 60_000;

/// What the repository's owner wishes, or the end of the lease that nothing comes of.
async fn may_begin(app: &App, task: &Task) -> Result<Wishes, TaskRequest> {
    let right = Right {
        task: task.id.clone(),
        lease: task.lease.as_ref().map(|lease| lease.id.clone()).unwrap_or_default(),
        epoch: task.epoch,
    };
    let end = |right: Right, code: &str, reason: String| TaskRequest::Finish {
        right,
        code: code.to_owned(),
        reason,
        retry: false,
    };
    let off = |right: Right, pause: Pause| TaskRequest::PutOff {
        right,
        pause: Box::new(pause),
    };
    let wishes = match app.forges.wishes(&task.source, &task.repository).await {
        Ok(wishes) => wishes,
        Err(error) if error.may_pass => {
            let pause = Pause {
                code: error.code.to_owned(),
                reason: error.reason,
                until: Wall(app.now().0.saturating_add(FORGE_AWAY_MS)),
            };
            return Err(off(right, pause));
        }
        Err(error) => return Err(end(right, error.code, error.reason)),
    };
    if let Some((code, reason)) = wishes.objects_to(Some(&task.branch), task.from_fork) {
        return Err(end(right, code, reason));
    }
    // A hub that stops answers nobody; after its next start the lease is given anew.
    let tasks = app.hub.tasks().await.unwrap_or_default();
    match wishes.pause(&task.repository, tasks.iter(), app.now()) {
        Some(pause) => Err(off(right, pause)),
        None => Ok(wishes),
    }
}

/// What the owner wishes of a patch.
struct Wished {
    /// Codes that speak against it.
    codes: Vec<String>,
    /// The lowest chance at which it is wanted.
    least_bp: u16,
    /// Nothing is opened now.
    frozen: Option<Pause>,
}

/// Asks the owner's file about a patch. A forge that does not tell is asked again by the agent, which keeps its lease for so long.
async fn wished(app: &App, task: &str, files: &[PatchFile], wanted: &Propose) -> Result<Wished, Failure> {
    let task = stored(app, task).await?;
    let certificate = &wanted.certificate;
    match app.forges.wishes(&task.source, &task.repository).await {
        Ok(wishes) => Ok(Wished {
            codes: wishes.refusals(
                files,
                &wanted.category,
                (&certificate.fixer, &certificate.fixer_version),
            ),
            least_bp: wishes.least_bp(&wanted.category),
            frozen: wishes.frozen(app.now()),
        }),
        Err(error) if error.may_pass => Err(Failure::unavailable(error.reason)),
        Err(error) => Ok(Wished {
            codes: vec![error.code.to_owned()],
            least_bp: 0,
            frozen: None,
        }),
    }
}

/// `POST /agent/v1/tasks/{id}/extend`.
pub async fn extend(
    State(app): State<App>,
    Path(id): Path<String>,
    _: Remediator,
    body: Body,
) -> Result<Response, Failure> {
    let Extend {
        lease,
        epoch,
        phase,
        progress,
    } = read_json(body)?;
    let right = Right { task: id, lease, epoch };
    match ask(&app, "agent", TaskRequest::Extend { right, phase, progress }).await? {
        Answer::Task(_) => Ok(Json(Extended {
            lease_ms: queue::LEASE_MS.unsigned_abs(),
        })
        .into_response()),
        other => stand(other),
    }
}

/// `GET /agent/v1/tasks/{id}/log`.
pub async fn log(State(app): State<App>, Path(id): Path<String>, _: Remediator) -> Result<Response, Failure> {
    let task = stored(&app, &id).await?;
    let log = app.forges.log(&task.source, &task.repository, &task.log_url).await;
    log.map(IntoResponse::into_response)
        .or_else(|error| Ok(forge_problem(&error)))
}

/// `GET /agent/v1/tasks/{id}/source`.
pub async fn source(State(app): State<App>, Path(id): Path<String>, _: Remediator) -> Result<Response, Failure> {
    let task = stored(&app, &id).await?;
    let tree = app.forges.tree(&task.source, &task.repository, &task.commit).await;
    tree.map(IntoResponse::into_response)
        .or_else(|error| Ok(forge_problem(&error)))
}

/// `POST /agent/v1/tasks/{id}/finish`.
pub async fn finish(
    State(app): State<App>,
    Path(id): Path<String>,
    _: Remediator,
    body: Body,
) -> Result<Response, Failure> {
    let Finish {
        lease,
        epoch,
        code,
        reason,
        retry,
    } = read_json(body)?;
    let right = Right { task: id, lease, epoch };
    stand(
        ask(
            &app,
            "agent",
            TaskRequest::Finish {
                right,
                code,
                reason,
                retry,
            },
        )
        .await?,
    )
}

/// `POST /agent/v1/tasks/{id}/propose`.
pub async fn propose(
    State(app): State<App>,
    Path(id): Path<String>,
    _: Remediator,
    body: Body,
) -> Result<Response, Failure> {
    let wanted: Propose = read_json(body)?;
    let mut codes = proof(&id, &wanted);
    if !is_pinned(&app, &wanted).await? {
        codes.push("unknown_key".to_owned());
    }
    let files = patch(&wanted);
    codes.extend(refusals(&files, &wanted.category));
    let wished = wished(&app, &id, &files, &wanted).await?;
    codes.extend(wished.codes);
    let right = Right {
        task: id,
        lease: wanted.lease.clone(),
        epoch: wanted.epoch,
    };
    // What is refused is refused in a freeze, too; what is not is made anew after it, since the branch may have moved by then.
    if let Some(pause) = wished.frozen.filter(|_| codes.is_empty()) {
        let pause = Box::new(pause);
        return stand(ask(&app, &wanted.certificate.agent, TaskRequest::PutOff { right, pause }).await?);
    }
    let bytes = serde_json::to_vec(&wanted.certificate).map_err(|cause| Failure::internal(cause.to_string()))?;
    let keep = move |app: &App| {
        app.artifacts
            .keep(&bytes)
            .map_err(|cause| Failure::unavailable(format!("cannot keep the patch: {cause}")))
    };
    let certificate = app.blocking(keep).await?;
    let fingerprint = wanted.certificate.fingerprint.clone();
    let proposal = Proposal {
        certificate,
        fixer: format!("{} {}", wanted.certificate.fixer, wanted.certificate.fixer_version),
        files: files.iter().map(counted).collect(),
        branch: branch(&wanted.category, &fingerprint),
        category: wanted.category,
        tool: wanted.tool,
        fingerprint,
    };
    stand(
        ask(
            &app,
            &wanted.certificate.agent,
            TaskRequest::Propose {
                right,
                proposal: Box::new(proposal),
                message: wanted.message,
                refusals: codes,
                least_bp: wished.least_bp,
            },
        )
        .await?,
    )
}

/// Whether the certificate was signed with a key of the agent that signs: another key proves nothing about who ran what.
async fn is_pinned(app: &App, wanted: &Propose) -> Result<bool, Failure> {
    let name = wanted.certificate.agent.split('/').next().unwrap_or_default();
    let agents = app.hub.remediation_agents().await?;
    let agent = agents.iter().find(|agent| agent.name == name);
    Ok(agent.is_some_and(|agent| agent.keys.contains(&wanted.certificate.public_key)))
}

/// What is wrong with the proof.
fn proof(task: &str, wanted: &Propose) -> Vec<String> {
    let certificate = &wanted.certificate;
    let mut codes = Vec::new();
    if !certificate.problems().is_empty() {
        codes.push("vacuous_pass".to_owned());
    }
    let before: BTreeMap<&str, &str> = wanted
        .before
        .iter()
        .map(|(path, text)| (path.as_str(), text.as_str()))
        .collect();
    let fits = certificate.files.iter().all(|file| {
        let text = before.get(file.path.as_str());
        text.is_some_and(|text| blake3::hash(text.as_bytes()).to_hex().as_str() == file.base)
    });
    if certificate.task != task || !fits {
        codes.push("tree_mismatch".to_owned());
    }
    codes
}

fn patch(wanted: &Propose) -> Vec<PatchFile> {
    let before: BTreeMap<&str, &str> = wanted
        .before
        .iter()
        .map(|(path, text)| (path.as_str(), text.as_str()))
        .collect();
    let file = |change: &hub_remediation_sdk::certificate::Change| PatchFile {
        path: change.path.clone(),
        mode: change.mode.clone(),
        before: before.get(change.path.as_str()).copied().unwrap_or_default().to_owned(),
        after: change.text.clone(),
    };
    wanted.certificate.files.iter().map(file).collect()
}

fn counted(file: &PatchFile) -> ChangedFile {
    let (added, removed) = changed_lines(file);
    let narrow = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    ChangedFile {
        path: file.path.clone(),
        added: narrow(added),
        removed: narrow(removed),
    }
}

/// One branch for each failure: its name is the key by which publishing is idempotent.
fn branch(category: &str, fingerprint: &str) -> String {
    let word = |text: &str, most: usize| {
        text.chars()
            .filter(char::is_ascii_alphanumeric)
            .take(most)
            .collect::<String>()
    };
    format!("patchbot/{}/{}", word(category, 20), word(fingerprint, 10))
}

fn leased(task: &Task, wishes: &Wishes) -> Result<Leased, Failure> {
    let lease = task
        .lease
        .as_ref()
        .ok_or_else(|| Failure::internal("a leased task has no lease"))?;
    Ok(Leased {
        task: task.id.clone(),
        lease: lease.id.clone(),
        epoch: task.epoch,
        repository: task.repository.clone(),
        commit: task.commit.clone(),
        check: task.check.clone(),
        from_fork: task.from_fork,
        attempt: task.attempts,
        snapshots: wishes.mode("snapshot") >= Mode::Propose,
    })
}

async fn ask(app: &App, agent: &str, what: TaskRequest) -> Result<Answer, Failure> {
    let caller = Caller::new(agent.chars().take(100).collect::<String>(), Via::Remediation);
    Ok(app.hub.request(Request::Tasks { caller, what }).await?)
}

async fn stored(app: &App, id: &str) -> Result<Task, Failure> {
    app.hub
        .task(id.to_owned())
        .await?
        .ok_or_else(|| Failure::not_found(format!("there is no task `{id}`")))
}

/// How a task stands, as the answer to an agent.
fn stand(answer: Answer) -> Result<Response, Failure> {
    match answer {
        Answer::Task(task) => Ok(Json(Proposed {
            state: task.state.name().to_owned(),
            codes: task.codes,
        })
        .into_response()),
        Answer::Fenced => Ok((
            StatusCode::CONFLICT,
            Json(json!({"code": "fenced", "detail": "another lease has this task: drop the work"})),
        )
            .into_response()),
        other => Err(unexpected(other)),
    }
}

fn unexpected(answer: Answer) -> Failure {
    match answer {
        Answer::Rejected { reason } => Failure::not_found(reason),
        Answer::Unavailable { reason } => Failure::unavailable(reason),
        other => Failure::internal(format!("the core answered {other:?}")),
    }
}

/// A forge that may answer later is asked again by the agent, as a hub is that cannot answer now; another answer is one.
fn forge_problem(error: &crate::forges::ForgeError) -> Response {
    let status = match error.may_pass {
        true => StatusCode::SERVICE_UNAVAILABLE,
        false => StatusCode::BAD_GATEWAY,
    };
    (status, Json(json!({"code": error.code, "detail": error.reason}))).into_response()
}

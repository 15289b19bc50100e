//! What people want done: an action, a hold, a release. The hub vets, the agent has the last word.

use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Extension, Path, State};
use hub_core::{Answer, Request};
use wire::api::{ActRequest, ActView, ReasonRequest};
use wire::change::Caller;
use wire::decision::{Clause, Judgement};
use wire::frame::Order;
use wire::ids::{AgentId, CommandId, DecisionId};
use wire::view::Story;

use super::answer::{node_name, read_json};
use super::{App, Failure};

/// Longest time that an answer may wait for an outcome: most proxies cut a silent request after two minutes.
pub const MOST_WAIT_MS: u64 = 110_000;
/// Longest time that a command may wait for its node: a day, after which the reason for it is old.
const MOST_VALID_MS: u64 = 24 * 3_600_000;
/// Longest reason, in bytes: it stands in one line.
const MOST_REASON: usize = 500;

/// Has a node do something.
pub async fn act(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<ActView>, Failure> {
    let request: ActRequest = read_json(body)?;
    let reason = checked_reason(&request.reason)?;
    let wait = span("/wait_ms", request.wait_ms, 0, MOST_WAIT_MS)?;
    let valid_for = span("/valid_for_ms", request.valid_for_ms, 1, MOST_VALID_MS)?;
    let action = policy::parse_action(&request.device, &request.action, &request.params)
        .map_err(|detail| Failure::field("/action", detail))?;
    let order = Ordered {
        node: request.node,
        reason,
        what: Order::Act(action),
        valid_for,
        wait,
    };
    order.give(&app, caller).await
}

/// A person takes a node into their own hands.
pub async fn hold(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<ActView>, Failure> {
    by_hand(&app, caller, &name, body, Order::Hold).await
}

/// They give it back.
pub async fn release(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<ActView>, Failure> {
    by_hand(&app, caller, &name, body, Order::Release).await
}

async fn by_hand(
    app: &App,
    caller: Caller,
    name: &str,
    body: Result<Bytes, BytesRejection>,
    what: Order,
) -> Result<Json<ActView>, Failure> {
    let request: ReasonRequest = read_json(body)?;
    let order = Ordered {
        node: node_name(name)?,
        reason: checked_reason(&request.reason)?,
        what,
        // As for an action that says nothing else: a person waits for it.
        valid_for: Duration::from_secs(60),
        wait: Duration::from_secs(30),
    };
    order.give(app, caller).await
}

pub(super) fn checked_reason(reason: &str) -> Result<String, Failure> {
    match reason.trim() {
        "" => Err(Failure::field(
            "/reason",
            "the reason is empty: it is kept with the decision, so that others understand it",
        )),
        long if long.len() > MOST_REASON => Err(Failure::field(
            "/reason",
            format!("the reason has {} bytes, at most {MOST_REASON} are kept", long.len()),
        )),
        reason => Ok(reason.to_owned()),
    }
}

fn span(pointer: &str, milliseconds: u64, least: u64, most: u64) -> Result<Duration, Failure> {
    if (least..=most).contains(&milliseconds) {
        return Ok(Duration::from_millis(milliseconds));
    }
    let detail = format!(
        "{} is {milliseconds}, it must be {least} to {most}",
        pointer.trim_start_matches('/')
    );
    Err(Failure::field(pointer, detail))
}

/// An order for one node.
pub struct Ordered {
    /// Which node.
    pub node: AgentId,
    /// Why.
    pub reason: String,
    /// What.
    pub what: Order,
    /// For how long it may be sent.
    pub valid_for: Duration,
    /// How long its outcome is waited for.
    pub wait: Duration,
}

impl Ordered {
    /// Gives it, and waits for its outcome.
    pub async fn give(self, app: &App, caller: Caller) -> Result<Json<ActView>, Failure> {
        let id = CommandId(*uuid::Uuid::now_v7().as_bytes());
        let node = self.node.clone();
        let request = Request::Order {
            id,
            agent: self.node,
            caller,
            reason: self.reason,
            what: self.what,
            valid_for: self.valid_for,
            wait: self.wait,
        };
        let view = match app.hub.request(request).await? {
            Answer::Done { id, decision: None } => bare(Some(id), "done", "the node has it"),
            Answer::Done {
                id,
                decision: Some(decision),
            } => decided(app, id, decision).await?,
            Answer::Vetoed { judgement } => vetoed(&judgement),
            Answer::Refused { id, reason } => {
                bare(Some(id), "refused", &format!("the node refused the command: {reason}"))
            }
            Answer::Waiting { id, decision } => waiting(app, id, decision).await?,
            Answer::UnknownAgent => return Err(Failure::unknown_node(&node)),
            Answer::Unavailable { reason } => return Err(Failure::unavailable(reason)),
            other => {
                return Err(Failure::internal(format!("the core answered {other:?} to an order")));
            }
        };
        Ok(Json(view))
    }
}

fn bare(command: Option<CommandId>, status: &str, detail: &str) -> ActView {
    ActView {
        command,
        status: status.to_owned(),
        decision: None,
        clauses: Vec::new(),
        detail: detail.to_owned(),
    }
}

fn vetoed(judgement: &Judgement) -> ActView {
    ActView {
        clauses: determining(judgement),
        ..bare(
            None,
            "denied",
            &format!(
                "the hub did not send it: {} by rule {}",
                judgement.verdict.name(),
                judgement.rule
            ),
        )
    }
}

/// The clauses that said what the whole says.
fn determining(judgement: &Judgement) -> Vec<Clause> {
    judgement
        .clauses
        .iter()
        .filter(|clause| !clause.shadow && clause.verdict == judgement.verdict)
        .cloned()
        .collect()
}

async fn story(app: &App, id: &DecisionId) -> Result<Option<Story>, Failure> {
    let id = id.clone();
    let found = app.read(move |store| store.decision(&id)).await?;
    Ok(found.and_then(|row| row.story().ok()))
}

async fn decided(app: &App, command: CommandId, id: DecisionId) -> Result<ActView, Failure> {
    let Some(story) = story(app, &id).await? else {
        return Ok(bare(Some(command), "done", &format!("decision {id} was made")));
    };
    let judgement = &story.decision.judgement;
    let view = story.view();
    let (status, detail) = if judgement.verdict.runs() {
        ("done", format!("{}: {}", view.summary, view.outcome))
    } else {
        (
            "denied",
            format!("{} by rule {}", judgement.verdict.name(), judgement.rule),
        )
    };
    let clauses = if status == "denied" {
        determining(judgement)
    } else {
        Vec::new()
    };
    Ok(ActView {
        decision: Some(view),
        clauses,
        ..bare(Some(command), status, &detail)
    })
}

async fn waiting(app: &App, command: CommandId, id: Option<DecisionId>) -> Result<ActView, Failure> {
    let story = match &id {
        Some(id) => story(app, id).await?,
        None => None,
    };
    let detail = match &id {
        Some(id) => format!("decision {id} was made, its outcome has not been heard yet"),
        None => "the node has not answered yet; the command stays valid until it expires".to_owned(),
    };
    let decision = story.map(|story| story.view());
    Ok(ActView {
        decision,
        ..bare(Some(command), "waiting", &detail)
    })
}

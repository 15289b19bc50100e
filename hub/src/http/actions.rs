//! What people want done: an action, a hold, a release. The hub vets, the agent has the last word.

use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Extension, Path, Query, State};
use hub_core::{Answer, Request};
use serde::Deserialize;
use wire::api::{ActRequest, ActView, HandRequest, NodeState, ReasonRequest};
use wire::change::Caller;
use wire::decision::{Clause, Judgement};
use wire::frame::Order;
use wire::ids::{AgentId, CommandId, DecisionId};
use wire::time::Wall;
use wire::view::Story;

use super::answer::{node_name, query, read_json};
use super::{App, Failure, nodes};

/// Longest time that an answer may wait for an outcome: most proxies cut a silent request after two minutes.
pub const MOST_WAIT_MS: u64 = 110_000;
/// Longest time that a command may wait for its node: a day, after which the reason for it is old.
const MOST_VALID_MS: u64 = 24 * 3_600_000;
/// How long a hold or a release waits for a node that is away where nothing else is said: an outage, not a forgotten order.
const HAND_VALID_MS: u64 = 3_600_000;
/// How long a person waits for a connected node to be held: many times its round trip and its disk.
const HAND_WAIT_MS: u64 = 30_000;
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
    let wait = span("/wait_seconds", request.wait_ms, 0, MOST_WAIT_MS)?;
    let valid_for = span("/valid_for_seconds", request.valid_for_ms, 1, MOST_VALID_MS)?;
    let action = policy::parse_action(&request.device, &request.action, &request.params)
        .map_err(|detail| Failure::field("/action", detail))?;
    let node = nodes::known(&app, &request.node).await?;
    if let Some(detail) = node.unknown_device(&request.device) {
        return Err(Failure::not_found(detail));
    }
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
    let request: HandRequest = read_json(body)?;
    let reason = checked_reason(&request.reason)?;
    let node = nodes::known(app, &node_name(name)?).await?;
    // Whoever takes a node that is away is told at once that it waits.
    let wait = match node.state {
        NodeState::Connected => HAND_WAIT_MS,
        NodeState::WorkingAlone | NodeState::Unknown | NodeState::Down => 0,
    };
    let order = Ordered {
        node: node.name,
        reason,
        what,
        valid_for: span(
            "/valid_for_seconds",
            request.valid_for_ms.unwrap_or(HAND_VALID_MS),
            1,
            MOST_VALID_MS,
        )?,
        wait: span("/wait_seconds", request.wait_ms.unwrap_or(wait), 0, MOST_WAIT_MS)?,
    };
    order.give(app, caller).await
}

/// Query of a command's answer.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AwaitQuery {
    wait_seconds: Option<f64>,
}

/// Waits for what comes of a command that is under way.
pub async fn outcome(
    State(app): State<App>,
    Path(id): Path<String>,
    asked: Result<Query<AwaitQuery>, QueryRejection>,
) -> Result<Json<ActView>, Failure> {
    let wait = span(
        "/wait_seconds",
        milliseconds(query(asked)?.wait_seconds.unwrap_or(0.0)),
        0,
        MOST_WAIT_MS,
    )?;
    let request = Request::Await {
        id: command_id(&id)?,
        wait,
    };
    answered(&app, request, &id).await.map(Json)
}

/// Calls a command off.
pub async fn cancel(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<ActView>, Failure> {
    let request: ReasonRequest = read_json(body)?;
    let request = Request::Cancel {
        caller,
        id: command_id(&id)?,
        reason: checked_reason(&request.reason)?,
    };
    answered(&app, request, &id).await.map(Json)
}

fn command_id(id: &str) -> Result<CommandId, Failure> {
    id.parse()
        .map_err(|error: wire::ids::IdError| Failure::field("/id", error.to_string()))
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
    let [value, least, most] = [milliseconds, least, most].map(|milliseconds| milliseconds as f64 / 1e3);
    let detail = format!(
        "{} is {value}, it must be {least} to {most}",
        pointer.trim_start_matches('/')
    );
    Err(Failure::field(pointer, detail))
}

/// Of seconds; what is no span becomes one that is refused.
fn milliseconds(seconds: f64) -> u64 {
    if seconds >= 0.0 {
        (seconds * 1e3).round() as u64
    } else {
        u64::MAX
    }
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
        answered(app, request, node.as_str()).await.map(Json)
    }
}

/// Asks the core, and says what its answer means; `named` is the node or command that the request names.
async fn answered(app: &App, request: Request, named: &str) -> Result<ActView, Failure> {
    Ok(match app.hub.request(request).await? {
        Answer::Done { id, decision: None } => bare(Some(id), "done", "the node has it"),
        Answer::Done {
            id,
            decision: Some(decision),
        } => decided(app, id, decision).await?,
        Answer::Vetoed { judgement } => vetoed(&judgement),
        Answer::Refused { id, reason } => bare(Some(id), "refused", &format!("the command ended: {reason}")),
        Answer::Waiting {
            id,
            agent,
            decision,
            left,
        } => waiting(app, id, agent, decision, left).await?,
        Answer::Cancelled { id, agent, sent } => bare(
            Some(id),
            "cancelled",
            &match sent {
                true => format!("it is not sent again; {agent} was sent it once and may have it"),
                false => format!("it never left for {agent}"),
            },
        ),
        Answer::UnknownAgent => {
            return Err(Failure::not_found(format!(
                "there is no node `{named}`: `sentinel get nodes` lists all"
            )));
        }
        Answer::UnknownCommand => {
            return Err(Failure::not_found(format!(
                "no command `{named}` is under way: it never was, or it is over; `sentinel audit list` has them all"
            )));
        }
        Answer::Rejected { reason } => return Err(Failure::conflict(reason)),
        Answer::Unavailable { reason } => return Err(Failure::unavailable(reason)),
        other => return Err(Failure::internal(format!("the core answered {other:?} to an order"))),
    })
}

fn bare(command: Option<CommandId>, status: &str, detail: &str) -> ActView {
    ActView {
        command,
        status: status.to_owned(),
        until: None,
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

async fn waiting(
    app: &App,
    command: CommandId,
    node: AgentId,
    id: Option<DecisionId>,
    left: Duration,
) -> Result<ActView, Failure> {
    let story = match &id {
        Some(id) => story(app, id).await?,
        None => None,
    };
    let state = app.hub.node(node.clone()).await?.map(|node| node.state);
    let detail = match (&id, state) {
        (Some(id), _) => format!("decision {id} was made, its outcome has not been heard yet"),
        (None, None | Some(NodeState::Connected)) => format!("{node} has not answered yet"),
        (None, Some(state)) => format!(
            "{node} is {}: it gets this when it is back",
            state.name().replace('_', " ")
        ),
    };
    let decision = story.map(|story| story.view());
    let left = i64::try_from(left.as_millis()).unwrap_or(i64::MAX);
    Ok(ActView {
        until: id.is_none().then(|| Wall(app.now().0.saturating_add(left))),
        decision,
        ..bare(Some(command), "waiting", &detail)
    })
}

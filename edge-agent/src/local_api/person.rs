//! What a person at the box wants: an action, a hold, a release. The core judges it like everything else.

use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use edge_agent_core::{LocalAnswer, LocalRequest};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::oneshot;
use tokio::time::Instant;
use wire::api::{ActRequest, ActView, CheckView, HandRequest};
use wire::frame::Order;
use wire::ids::DecisionId;
use wire::parcel::MAX_PARCEL_BYTES;
use wire::view::Story;

use super::answer::{Failure, body as whole, read_json};
use super::record::{only_this, story};
use super::{App, Ask, Who};

/// How long the core may take to make a decision durable: the wait for the node's turn (10 s), its own deadline for a slow disk, and
/// some.
const PATIENCE: Duration = Duration::from_secs(20);
/// Longest wait for an outcome.
const MOST_WAIT: Duration = Duration::from_secs(110);
/// Longest reason, in bytes: it stands in one line.
const MOST_REASON: usize = 500;

/// The name of a user, with the number that the kernel vouches for.
pub(super) fn name_of(uid: u32) -> String {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    });
    match name {
        Some(name) => format!("{name} (uid {uid})"),
        None => format!("uid {uid}"),
    }
}

/// Has the node do something.
pub(super) async fn act(
    State(app): State<App>,
    who: Who,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<ActView>, Failure> {
    let request: ActRequest = read_json(body)?;
    only_this(&app, Some(request.node.as_str()))?;
    let reason = checked(&request.reason)?;
    let action = policy::parse_action(&request.device, &request.action, &request.params)
        .map_err(|detail| Failure::field("/action", detail))?;
    let known = super::live::view(&app.now(), &app);
    if let Some(detail) = known.unknown_device(&request.device) {
        return Err(Failure::not_found(detail));
    }
    let wait = Duration::from_millis(request.wait_ms).min(MOST_WAIT);
    // Before the order, so that no outcome is missed.
    let mut durable = app.durable.subscribe();
    let decision = match order(&app, &who, reason, Order::Act(action)).await? {
        LocalAnswer::Decided { decision } => decision,
        LocalAnswer::Done | LocalAnswer::Glass { .. } => return Ok(Json(view("done", None, "done"))),
        LocalAnswer::Refused { reason } => return Err(Failure::conflict(reason)),
    };
    let deadline = Instant::now() + wait;
    loop {
        let found = look(&app, &decision).await?;
        if let Some(story) = &found
            && (!story.decision.judgement.verdict.runs() || !story.outcomes.is_empty())
        {
            return Ok(Json(settled(story)));
        }
        match tokio::time::timeout_at(deadline, durable.recv()).await {
            Ok(Ok(_) | Err(RecvError::Lagged(_))) => {}
            Ok(Err(RecvError::Closed)) => return Err(Failure::unavailable("the agent stops")),
            Err(_) => {
                return Ok(Json(view(
                    "waiting",
                    found.as_ref(),
                    "decided; its outcome has not come yet",
                )));
            }
        }
    }
}

async fn look(app: &App, decision: &DecisionId) -> Result<Option<Story>, Failure> {
    let id = decision.clone();
    app.read(move |reader| story(reader, &id)).await
}

fn settled(story: &Story) -> ActView {
    let judgement = &story.decision.judgement;
    if !judgement.verdict.runs() {
        let mut denied = view("denied", Some(story), &format!("denied by rule `{}`", judgement.rule));
        denied.clauses = judgement.clauses.clone();
        return denied;
    }
    let detail = story
        .outcomes
        .last()
        .map(|(_, outcome)| format!("{}: {}", outcome.state.name(), outcome.detail));
    view("done", Some(story), &detail.unwrap_or_default())
}

fn view(status: &str, story: Option<&Story>, detail: &str) -> ActView {
    ActView {
        command: None,
        status: status.to_owned(),
        until: None,
        decision: story.map(Story::view),
        clauses: Vec::new(),
        detail: detail.to_owned(),
    }
}

/// A person takes the node into their own hands.
pub(super) async fn hold(
    State(app): State<App>,
    who: Who,
    Path(name): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<ActView>, Failure> {
    by_hand(&app, &who, &name, body, Order::Hold).await
}

/// They give it back.
pub(super) async fn release(
    State(app): State<App>,
    who: Who,
    Path(name): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<ActView>, Failure> {
    by_hand(&app, &who, &name, body, Order::Release).await
}

async fn by_hand(
    app: &App,
    who: &Who,
    name: &str,
    body: Result<Bytes, BytesRejection>,
    what: Order,
) -> Result<Json<ActView>, Failure> {
    only_this(app, Some(name))?;
    let request: HandRequest = read_json(body)?;
    let done = match what {
        Order::Hold => "held: only protective rules act until it is released",
        Order::Release | Order::Act(_) | Order::BreakGlass(_) => "released: the bundle's rules act again",
    };
    match order(app, who, checked(&request.reason)?, what).await? {
        LocalAnswer::Done | LocalAnswer::Decided { .. } | LocalAnswer::Glass { .. } => {
            Ok(Json(view("done", None, done)))
        }
        LocalAnswer::Refused { reason } => Err(Failure::conflict(reason)),
    }
}

async fn order(app: &App, who: &Who, reason: String, what: Order) -> Result<LocalAnswer, Failure> {
    let who = who.0.0.to_string();
    ask(app, LocalRequest::Order { who, reason, what }).await
}

/// Asks the core, and waits until its answer is durable.
pub(super) async fn ask(app: &App, what: LocalRequest) -> Result<LocalAnswer, Failure> {
    let (answer, answered) = oneshot::channel();
    let busy = || Failure::unavailable("the agent is busy with other requests: try again");
    app.asks.try_send(Ask { what, answer }).map_err(|_| busy())?;
    match tokio::time::timeout(PATIENCE, answered).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(_)) => Err(Failure::unavailable("the agent stops")),
        Err(_) => Err(Failure::unavailable(
            "the journal has not taken the decision in time: `sentinel describe node` shows its state",
        )),
    }
}

/// A reason as it is journaled.
pub(super) fn checked(reason: &str) -> Result<String, Failure> {
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

/// Checks a bundle's text; changes nothing.
pub(super) async fn check(body: Result<Bytes, BytesRejection>) -> Result<Json<CheckView>, Failure> {
    Ok(Json(policy::Bundle::check(&whole(body, MAX_PARCEL_BYTES)?)))
}

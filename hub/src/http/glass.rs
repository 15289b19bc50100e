//! Break-glass through the hub: a token of two people, sent to the nodes that it names.
//!
//! Decides nothing about it and cannot forge one: each node verifies both signatures itself, and says what became of it.

use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Extension, State};
use tokio::task::JoinSet;
use wire::api::{GlassSentView, List, NodeState, NodeView};
use wire::breakglass::MAX_TOKEN_BYTES;
use wire::change::Caller;
use wire::frame::Order;
use wire::{AgentId, BreakGlass, BreakGlassPayload};

use super::actions::Ordered;
use super::answer::{self, chained};
use super::{App, Failure};

/// As for a hold: a person waits for it.
const VALID_FOR: Duration = Duration::from_secs(60);
const WAIT: Duration = Duration::from_secs(30);
/// Most nodes that one request sends to: a site in trouble, and far below what the core takes.
const MOST_NODES: usize = 256;

/// Sends a token to each node that it names.
pub async fn open(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<List<GlassSentView>>, Failure> {
    let bytes = answer::body(body)?;
    if bytes.len() > MAX_TOKEN_BYTES {
        let detail = format!(
            "{} bytes; a break-glass token has at most {MAX_TOKEN_BYTES}",
            bytes.len()
        );
        return Err(Failure::field("", detail));
    }
    let token = BreakGlass::decode(&bytes).map_err(|error| Failure::field("", chained(&error)))?;
    let payload = token.peek().map_err(|error| Failure::field("", chained(&error)))?;
    if let Some(problem) = policy::glass_problem(&payload) {
        return Err(Failure::field("", problem));
    }
    let nodes = named(&payload, &app.hub.nodes().await?)?;
    let mut sent = JoinSet::new();
    for node in nodes {
        let (app, caller) = (app.clone(), caller.clone());
        let order = Ordered {
            node,
            reason: payload.reason.clone(),
            what: Order::BreakGlass(token.clone()),
            valid_for: VALID_FOR,
            wait: WAIT,
        };
        sent.spawn(async move { send(&app, caller, order).await });
    }
    let mut items = Vec::new();
    while let Some(told) = sent.join_next().await {
        items.extend(told);
    }
    items.sort_by(|left: &GlassSentView, right| left.node.cmp(&right.node));
    Ok(Json(List {
        items,
        next_cursor: None,
    }))
}

/// The nodes that a token names, each once; the connected ones if it is for all.
fn named(payload: &BreakGlassPayload, known: &[NodeView]) -> Result<Vec<AgentId>, Failure> {
    let mut nodes = Vec::new();
    if payload.nodes.is_empty() {
        let connected = known.iter().filter(|node| node.state == NodeState::Connected);
        nodes.extend(connected.map(|node| node.name.clone()));
    }
    for name in &payload.nodes {
        nodes.push(answer::node_name(name)?);
    }
    nodes.sort();
    nodes.dedup();
    match nodes.len() {
        0 => Err(Failure::conflict(
            "no node is connected: bring the token to a node's own socket",
        )),
        many if many > MOST_NODES => Err(Failure::field(
            "/nodes",
            format!("the token is for {many} nodes; one request sends to at most {MOST_NODES}: make one for each site"),
        )),
        _ => Ok(nodes),
    }
}

async fn send(app: &App, caller: Caller, order: Ordered) -> GlassSentView {
    let node = order.node.clone();
    match order.give(app, caller).await {
        Ok(Json(view)) => GlassSentView {
            node,
            command: view.command,
            status: view.status,
            detail: view.detail,
        },
        Err(failure) => GlassSentView {
            node,
            command: None,
            status: "unreached".to_owned(),
            detail: failure.detail().to_owned(),
        },
    }
}

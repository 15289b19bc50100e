//! What people decide about who a node is: deny, allow, remove, rename, and give its name to a machine with other keys.
//!
//! Each is a change of the node's identity with its reason in the hub's own journal, and is answered once that is stored.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Extension, Path, State};
use hub_core::{AgentRequest, Answer, How, Identity, Request};
use wire::api::{IdentityView, ReasonRequest, RejoinNodeRequest, RenameRequest, TokenView};
use wire::change::Caller;
use wire::ids::AgentId;

use super::answer::{node_name, read_json};
use super::tokens::{self, Wanted};
use super::{App, Failure};

type Body = Result<Bytes, BytesRejection>;

/// No session and no certificate from here on.
pub async fn deny(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    body: Body,
) -> Result<Json<IdentityView>, Failure> {
    let (agent, reason) = asked(&name, body)?;
    change(&app, caller, agent.clone(), AgentRequest::Deny { agent, reason }).await
}

/// Whoever was denied or quarantined comes in again.
pub async fn allow(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    body: Body,
) -> Result<Json<IdentityView>, Failure> {
    let (agent, reason) = asked(&name, body)?;
    change(&app, caller, agent.clone(), AgentRequest::Allow { agent, reason }).await
}

/// It is not of this fleet any more.
pub async fn remove(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    body: Body,
) -> Result<Json<IdentityView>, Failure> {
    let (agent, reason) = asked(&name, body)?;
    change(&app, caller, agent.clone(), AgentRequest::Remove { agent, reason }).await
}

/// It gets another name with its next certificate, for which it comes at once.
pub async fn rename(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    body: Body,
) -> Result<Json<IdentityView>, Failure> {
    let agent = node_name(&name)?;
    let RenameRequest { to, reason } = read_json(body)?;
    let reason = not_empty(reason)?;
    change(&app, caller, agent.clone(), AgentRequest::Rename { agent, to, reason }).await
}

/// A token with which a machine with other keys becomes this node.
pub async fn rejoin(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    body: Body,
) -> Result<Json<TokenView>, Failure> {
    let agent = node_name(&name)?;
    let RejoinNodeRequest { reason, ttl_ms } = read_json(body)?;
    let wanted = Wanted {
        name: Some(agent),
        site: None,
        label: Some(not_empty(reason)?),
        ttl_ms,
        takes_over: true,
    };
    tokens::make(&app, caller, wanted).await
}

fn asked(name: &str, body: Body) -> Result<(AgentId, String), Failure> {
    let agent = node_name(name)?;
    let ReasonRequest { reason } = read_json(body)?;
    Ok((agent, not_empty(reason)?))
}

fn not_empty(reason: String) -> Result<String, Failure> {
    match reason.trim().is_empty() {
        true => Err(Failure::field("/reason", "reason is empty: say why, it is journaled")),
        false => Ok(reason),
    }
}

async fn change(app: &App, caller: Caller, agent: AgentId, what: AgentRequest) -> Result<Json<IdentityView>, Failure> {
    match app.change(Request::Agents { caller, what }).await? {
        Answer::Agent(identity) => Ok(Json(view(&identity))),
        Answer::UnknownAgent => Err(Failure::unknown_node(&agent)),
        other => Err(Failure::internal(format!("the core answered {other:?} about a node"))),
    }
}

fn view(identity: &Identity) -> IdentityView {
    let shut = identity.shut.as_ref();
    let (state, renamed_to) = match shut.map(|shut| &shut.how) {
        None => ("open", None),
        Some(How::Denied) => ("denied", None),
        Some(How::Quarantined) => ("quarantined", None),
        Some(How::Removed) => ("removed", None),
        Some(How::Renamed { to }) => ("renamed", Some(to.clone())),
    };
    IdentityView {
        name: identity.agent.clone(),
        site: identity.site.clone(),
        state: state.to_owned(),
        renamed_to,
        reason: shut.map(|shut| shut.reason.clone()),
        by: shut.map(|shut| shut.by.clone()),
        since: shut.map(|shut| shut.at),
    }
}

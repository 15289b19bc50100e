//! Join tokens: shown once, with the whole line to type; listed by the beginning of their hash. Who asked for one is recorded with it.

use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Extension, Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use hub_core::{AgentRequest, Answer, JoinToken, NewToken, Request};
use wire::api::{JoinTokenView, List, TokenRequest, TokenView};
use wire::change::Caller;
use wire::enroll::JoinToken as Secret;
use wire::ids::AgentId;
use wire::time::Wall;

use super::answer::{if_match, json, read_json};
use super::{App, Failure};
use crate::ca::random;

/// Longest life of a token: a parts shipment.
const MOST_TTL_MS: u64 = 30 * 24 * 3_600_000;
/// Longest label, in bytes: a few words.
const MOST_LABEL_BYTES: usize = 200;
/// As much of a hash as tells it from all others.
const ID_DIGITS: usize = 16;

/// Makes a token.
pub async fn create(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<TokenView>, Failure> {
    let request: TokenRequest = read_json(body)?;
    let name = match &request.name {
        Some(name) => Some(AgentId::new(name.as_str()).map_err(|error| Failure::field("/name", error.to_string()))?),
        None => None,
    };
    AgentId::new(request.site.as_str()).map_err(|_| {
        Failure::field(
            "/site",
            format!("`{}` is not a valid site: 1 to 63 of a-z, 0-9 and -", request.site),
        )
    })?;
    if request
        .label
        .as_ref()
        .is_some_and(|label| label.len() > MOST_LABEL_BYTES)
    {
        let detail = format!("label is longer than {MOST_LABEL_BYTES} bytes");
        return Err(Failure::field("/label", detail));
    }
    let wanted = Wanted {
        name,
        site: Some(request.site),
        label: request.label,
        ttl_ms: request.ttl_ms,
        takes_over: false,
    };
    make(&app, caller, wanted).await
}

/// What a token is wanted for.
pub struct Wanted {
    /// The name that it is for.
    pub name: Option<AgentId>,
    /// The site that it is for; `None` for that of the node which is taken over.
    pub site: Option<String>,
    /// What it is for, in a few words.
    pub label: Option<String>,
    /// How long it can be used.
    pub ttl_ms: u64,
    /// Whoever joins with it becomes the node of that name.
    pub takes_over: bool,
}

/// Makes a token, and the line that it is used in.
pub async fn make(app: &App, caller: Caller, wanted: Wanted) -> Result<Json<TokenView>, Failure> {
    if !(1_000..=MOST_TTL_MS).contains(&wanted.ttl_ms) {
        let detail = format!(
            "ttl_seconds is {}, it must be 1 to {} (30 days)",
            wanted.ttl_ms as f64 / 1e3,
            MOST_TTL_MS / 1_000
        );
        return Err(Failure::field("/ttl_seconds", detail));
    }
    let token = Secret(random());
    let what = AgentRequest::CreateToken(NewToken {
        hash: token.hash(),
        label: wanted.label,
        name: wanted.name,
        site: wanted.site,
        ttl: Duration::from_millis(wanted.ttl_ms),
        takes_over: wanted.takes_over,
    });
    let kept = kept(app.change(Request::Agents { caller, what }).await?)?;
    let address = app.public.to_string();
    Ok(Json(TokenView {
        token: token.to_string(),
        ca_pin: app.ca.pin().to_string(),
        join_line: app.enrollment.join_line(&address, &token),
        address,
        ends: kept.ends,
    }))
}

/// Every token that is known still, the newest first.
pub async fn list(State(app): State<App>) -> Result<Json<List<JoinTokenView>>, Failure> {
    let now = app.now();
    let mut tokens = app.hub.join_tokens().await?;
    tokens.sort_by_key(|token| std::cmp::Reverse((token.made, token.hash)));
    Ok(Json(List {
        items: tokens.iter().map(|token| view(token, now)).collect(),
        next_cursor: None,
    }))
}

/// One token.
pub async fn one(State(app): State<App>, Path(id): Path<String>, headers: HeaderMap) -> Result<Response, Failure> {
    let known = known(&app, &id).await?;
    let detail = || format!("there is no join token `{id}`: `sentinel token list` shows all");
    Ok(json(&headers, &known.ok_or_else(|| Failure::not_found(detail()))?))
}

async fn known(app: &App, id: &str) -> Result<Option<JoinTokenView>, Failure> {
    let now = app.now();
    let tokens = app.hub.join_tokens().await?;
    Ok(tokens.iter().map(|token| view(token, now)).find(|view| view.id == id))
}

/// Makes one worthless.
pub async fn revoke(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<JoinTokenView>, Failure> {
    if let Some(present) = known(&app, &id).await? {
        if_match(&headers, &present)?;
    }
    let what = AgentRequest::RevokeToken { id };
    let gone = kept(app.change(Request::Agents { caller, what }).await?)?;
    Ok(Json(view(&gone, app.now())))
}

fn kept(answer: Answer) -> Result<JoinToken, Failure> {
    match answer {
        Answer::JoinToken(token) => Ok(*token),
        other => Err(Failure::internal(format!("the core answered {other:?} about a token"))),
    }
}

fn view(token: &JoinToken, now: Wall) -> JoinTokenView {
    let state = match &token.used_by {
        Some(_) => "used",
        None if token.ends < now => "ended",
        None => "open",
    };
    JoinTokenView {
        id: token.hash.to_string()[..ID_DIGITS].to_owned(),
        label: token.label.clone(),
        name: token.name.clone(),
        site: token.site.clone(),
        by: token.by.clone(),
        made: token.made,
        ends: token.ends,
        state: state.to_owned(),
        uses_left: u32::from(state == "open"),
        used_by: token.used_by.clone(),
        takes_over: token.takes_over,
    }
}

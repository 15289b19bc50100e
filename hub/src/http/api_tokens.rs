//! Tokens of programs: made by a person for a program, shown once, with a role and a scope of their own.
//!
//! Everybody who is known may make tokens that can do at most what they can themselves; a token makes no tokens.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Extension, Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use hub_core::{AccessRequest, Answer, ApiToken, Request};
use wire::Permission;
use wire::api::{ApiTokenRequest, ApiTokenView, List, NewApiTokenView};
use wire::ids::{AgentId, Digest};

use super::answer::{if_match, json, read_json};
use super::auth::random_text;
use super::door::API_TOKEN_PREFIX;
use super::identity::Identity;
use super::login::later;
use super::{App, Failure};

/// Longest life of a token, in days.
const MOST_DAYS: u32 = 365;

fn view(token: &ApiToken) -> ApiTokenView {
    ApiTokenView {
        id: token.id.clone(),
        name: token.name.clone(),
        owner: token.owner.clone(),
        role: token.role,
        scope: token.scope.clone(),
        created_at: token.created_at,
        ends: token.ends,
        used_at: token.used_at,
    }
}

/// One's own tokens; everybody's for those who manage users.
pub async fn list(State(app): State<App>, Extension(who): Extension<Identity>) -> Json<List<ApiTokenView>> {
    let tokens = app.people.tokens();
    let seen = tokens.iter().filter(|token| is_theirs(&who, token));
    Json(List {
        items: seen.map(|token| view(token)).collect(),
        next_cursor: None,
    })
}

/// Makes one.
pub async fn create(
    State(app): State<App>,
    Extension(who): Extension<Identity>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<NewApiTokenView>, Failure> {
    let asked: ApiTokenRequest = read_json(body)?;
    check(&who, &asked)?;
    let id = uuid::Uuid::now_v7().to_string();
    let random =
        random_text().map_err(|cause| Failure::internal(format!("the system gives no random bytes: {cause}")))?;
    let secret = format!("{id}.{random}");
    let now = app.now();
    let token = ApiToken {
        id,
        name: asked.name,
        user: who.user,
        owner: who.caller.name.clone(),
        role: asked.role,
        scope: asked.scope,
        secret: Digest::of(secret.as_bytes()),
        created_at: now,
        ends: later(now, Duration::from_secs(u64::from(asked.days) * 24 * 3_600)),
        used_at: None,
    };
    let view = view(&token);
    let what = AccessRequest::CreateToken(token);
    let caller = who.caller;
    app.change(Request::Access { caller, what }).await?;
    let token = format!("{API_TOKEN_PREFIX}{secret}");
    Ok(Json(NewApiTokenView { token, view }))
}

fn check(who: &Identity, asked: &ApiTokenRequest) -> Result<(), Failure> {
    if who.token.is_some() {
        return Err(Failure::forbidden(
            "an API token makes no other tokens: log in as yourself",
        ));
    }
    if AgentId::new(asked.name.as_str()).is_err() {
        let detail = format!("`{}` is not a token's name: 1 to 63 of a-z, 0-9 and -", asked.name);
        return Err(Failure::field("/name", detail));
    }
    if !(1..=MOST_DAYS).contains(&asked.days) {
        let detail = format!("days is {}, it must be 1 to {MOST_DAYS}", asked.days);
        return Err(Failure::field("/days", detail));
    }
    if asked.role > who.role {
        let detail = format!("the role {} is above yours, which is {}", asked.role, who.role);
        return Err(Failure::forbidden(detail));
    }
    let beyond = asked.scope.iter().find(|permission| !asked.role.may(**permission));
    match beyond {
        Some(permission) => Err(Failure::field(
            "/scope",
            format!("the role {} does not hold `{permission}`", asked.role),
        )),
        None => Ok(()),
    }
}

/// One token.
pub async fn one(
    State(app): State<App>,
    Extension(who): Extension<Identity>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    Ok(json(&headers, &view(&*known(&app, &who, &id)?)))
}

fn known(app: &App, who: &Identity, id: &str) -> Result<Arc<ApiToken>, Failure> {
    let known = app.people.token(id).filter(|token| is_theirs(who, token));
    known.ok_or_else(|| {
        Failure::not_found(format!(
            "there is no API token `{id}`: `sentinel get tokens` lists them"
        ))
    })
}

/// Takes one back.
pub async fn revoke(
    State(app): State<App>,
    Extension(who): Extension<Identity>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<ApiTokenView>, Failure> {
    if_match(&headers, &view(&*known(&app, &who, &id)?))?;
    let what = AccessRequest::RevokeToken { id };
    let caller = who.caller;
    match app.change(Request::Access { caller, what }).await? {
        Answer::ApiToken(token) => Ok(Json(view(&token))),
        other => Err(Failure::internal(format!("the core answered {other:?} about a token"))),
    }
}

/// A program sees no token but its own, whatever its person may see.
fn is_theirs(who: &Identity, token: &ApiToken) -> bool {
    let own = match &who.token {
        Some(id) => *id == token.id,
        None => who.user.is_some() && who.user == token.user,
    };
    own || who.may(Permission::UsersManage)
}

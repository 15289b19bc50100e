//! People: who there are, what they may do, and links for those who are to come.

use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Extension, Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use hub_core::{AccessRequest, Answer, Invite, NewUser, Request, User};
use wire::Role;
use wire::api::{ChangeUserRequest, InviteView, List, NewUserRequest, RoleView, RouteView, UserView};
use wire::change::Caller;
use wire::ids::Digest;

use super::answer::{if_match, json, read_json};
use super::auth::random_text;
use super::identity::Identity;
use super::login::later;
use super::{App, Failure, routes, setup_link};

/// How long an invitation waits: over a long weekend.
const INVITE_LIFE: Duration = Duration::from_secs(4 * 24 * 3_600);

/// A person as they are shown.
pub fn view(app: &App, user: &User) -> UserView {
    let now = app.now();
    let invite = user.invite.as_ref().filter(|invite| invite.ends > now);
    UserView {
        name: user.name.clone(),
        role: user.role,
        tenant: user.tenant.clone(),
        disabled: user.disabled,
        has_password: user.password.is_some(),
        invited_until: invite.map(|invite| invite.ends),
        sessions: app.people.sessions_of(&user.id) as u64,
        created_at: user.created_at,
    }
}

/// The person in an answer of the core.
pub fn stored(answer: Answer) -> Result<User, Failure> {
    match answer {
        Answer::User(user) => Ok(*user),
        other => Err(Failure::internal(format!("the core answered {other:?} about a person"))),
    }
}

/// Everybody, by name.
pub async fn list(State(app): State<App>) -> Json<List<UserView>> {
    let users = app.people.users();
    Json(List {
        items: users.iter().map(|user| view(&app, user)).collect(),
        next_cursor: None,
    })
}

/// One person.
pub async fn one(State(app): State<App>, Path(name): Path<String>, headers: HeaderMap) -> Result<Response, Failure> {
    Ok(json(&headers, &view(&app, &*known(&app, &name)?)))
}

/// One more person: with a password, or with a link by which they choose one.
pub async fn create(
    State(app): State<App>,
    Extension(who): Extension<Identity>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<InviteView>, Failure> {
    let NewUserRequest {
        name,
        role,
        tenant,
        password,
    } = read_json(body)?;
    may_give(&who, role)?;
    let (password, code) = match password {
        Some(password) => (Some(app.auth.passwords.hash(password).await?), None),
        None => (None, Some(code()?)),
    };
    let what = AccessRequest::Create(NewUser {
        id: uuid::Uuid::now_v7().to_string(),
        name,
        role,
        tenant,
        password,
        invite: code.as_deref().map(|code| invitation(&app, code)),
    });
    let user = changed(&app, who.caller, what).await?;
    Ok(invited(&app, &user, code))
}

/// A new link for somebody: they set their password with it.
pub async fn invite(
    State(app): State<App>,
    Extension(who): Extension<Identity>,
    Path(name): Path<String>,
) -> Result<Json<InviteView>, Failure> {
    // Whoever sets a person's password can be that person.
    may_give(&who, known(&app, &name)?.role)?;
    let code = code()?;
    let invite = invitation(&app, &code);
    let user = changed(&app, who.caller, AccessRequest::Invite { name, invite }).await?;
    Ok(invited(&app, &user, Some(code)))
}

/// Another role, password or state.
pub async fn change(
    State(app): State<App>,
    Extension(who): Extension<Identity>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<UserView>, Failure> {
    let ChangeUserRequest {
        role,
        disabled,
        password,
    } = read_json(body)?;
    let present = known(&app, &name)?;
    may_give(&who, present.role)?;
    if_match(&headers, &view(&app, &present))?;
    if let Some(role) = role {
        may_give(&who, role)?;
    }
    let password = match password {
        Some(password) => Some(app.auth.passwords.hash(password).await?),
        None => None,
    };
    let what = AccessRequest::Change {
        name,
        role,
        password,
        disabled,
    };
    let user = changed(&app, who.caller, what).await?;
    Ok(Json(view(&app, &user)))
}

/// One person less: what they had open ends.
pub async fn remove(
    State(app): State<App>,
    Extension(who): Extension<Identity>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Json<UserView>, Failure> {
    let present = known(&app, &name)?;
    may_give(&who, present.role)?;
    if_match(&headers, &view(&app, &present))?;
    let user = changed(&app, who.caller, AccessRequest::Remove { name }).await?;
    Ok(Json(view(&app, &user)))
}

/// Every role with what it may do.
pub async fn roles() -> Json<List<RoleView>> {
    let view = |name: Role| RoleView {
        name,
        permissions: name.permissions().collect(),
    };
    Json(List {
        items: Role::ALL.map(view).into(),
        next_cursor: None,
    })
}

/// Every route with who may use it.
pub async fn matrix() -> Json<List<RouteView>> {
    Json(List {
        items: routes::rows(),
        next_cursor: None,
    })
}

fn known(app: &App, name: &str) -> Result<std::sync::Arc<User>, Failure> {
    let missing = || Failure::not_found(format!("there is no user `{name}`: `sentinel get users` lists all"));
    app.people.named(name).ok_or_else(missing)
}

/// Nobody gives, changes or takes away a role above their own.
fn may_give(who: &Identity, role: Role) -> Result<(), Failure> {
    if role <= who.role {
        return Ok(());
    }
    Err(Failure::forbidden(format!(
        "the role {role} is above yours, which is {}",
        who.role
    )))
}

fn code() -> Result<String, Failure> {
    random_text().map_err(|cause| Failure::internal(format!("the system gives no random bytes: {cause}")))
}

fn invitation(app: &App, code: &str) -> Invite {
    Invite {
        code: Digest::of(code.as_bytes()),
        ends: later(app.now(), INVITE_LIFE),
    }
}

async fn changed(app: &App, caller: Caller, what: AccessRequest) -> Result<User, Failure> {
    stored(app.change(Request::Access { caller, what }).await?)
}

fn invited(app: &App, user: &User, code: Option<String>) -> Json<InviteView> {
    Json(InviteView {
        user: view(app, user),
        url: code.map(|code| setup_link(&app.public, &code)),
    })
}

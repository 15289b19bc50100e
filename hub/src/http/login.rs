//! The ways in: one-time links, names with passwords, and what they become - a cookie of the console, or a pair of tokens.
//!
//! Decides who is told what: a wrong name and a wrong password look the same and take the same time; whoever fails often waits.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, SET_COOKIE};
use axum::response::{IntoResponse, Response};
use hub_core::{AccessRequest, Answer, NewUser, Request, Session, User};
use wire::Role;
use wire::api::{LoginLinkView, LoginRequest, MeView, PasswordRequest, RefreshRequest, SetupRequest, TokensView};
use wire::change::{Caller, ChangeRecord, Via};
use wire::ids::Digest;
use wire::time::Wall;

use super::answer::read_json;
use super::auth::{LINK_LIFE, SESSION_LIFE, random_text};
use super::door::{COOKIE_NAME, Peer};
use super::identity::Identity;
use super::jwt::ACCESS_LIFE;
use super::throttle::Key;
use super::{App, Failure, password, users};

/// How long a program's login lasts, each refresh included: a week, as people expect of a command line.
const LOGIN_LIFE: Duration = Duration::from_secs(7 * 24 * 3_600);

type Body = Result<Bytes, BytesRejection>;

/// Makes a one-time link.
pub async fn link(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
) -> Result<axum::Json<LoginLinkView>, Failure> {
    let code = app.auth.new_link().map_err(random)?;
    let change = ChangeRecord::new(caller, "login-link.create", "console");
    app.change(Request::Note { change }).await?;
    Ok(axum::Json(LoginLinkView {
        // Behind `#`, so that it is in no server's log and no referrer.
        url: format!("https://{}/#login={code}", app.public),
        ends: later(app.now(), LINK_LIFE),
    }))
}

/// Name of the setting that holds the sessions that one-time links opened.
pub const CONSOLE_SESSIONS: &str = "console-sessions";

/// The console's way in.
pub async fn login(State(app): State<App>, Extension(from): Extension<Peer>, body: Body) -> Result<Response, Failure> {
    let cookie = match read_json(body)? {
        LoginRequest::Link { code } => by_link(&app, from, &code).await?,
        LoginRequest::Person(asked) => {
            let user = person(&app, from, asked).await?;
            open(&app, from, &user, Via::Console, SESSION_LIFE).await?.1
        }
    };
    Ok((StatusCode::NO_CONTENT, [(SET_COOKIE, cookie_header(&cookie))]).into_response())
}

async fn by_link(app: &App, from: Peer, code: &str) -> Result<String, Failure> {
    let keys = keys(from, None);
    may_try(app, &keys)?;
    let Some(cookie) = app.auth.open(code, app.now()) else {
        app.auth.failed(&keys);
        return Err(Failure::unauthorized(
            "this link was used before, or is older than 10 minutes: `sentinel login` prints a new one",
        ));
    };
    let caller = from.caller(super::identity::ADMINISTRATOR, Via::Console);
    let change = ChangeRecord::new(caller, "session.open", "console");
    app.change(Request::Note { change }).await?;
    app.blocking(|app| {
        let kept = app.auth.kept_sessions();
        app.store.put_setting(CONSOLE_SESSIONS, &kept).map_err(Failure::from)
    })
    .await?;
    cookie.map_err(random)
}

/// A program's way in.
pub async fn tokens(State(app): State<App>, Extension(from): Extension<Peer>, body: Body) -> Result<Response, Failure> {
    let user = person(&app, from, read_json(body)?).await?;
    let (session, refresh) = open(&app, from, &user, Via::Api, LOGIN_LIFE).await?;
    pair(&app, &session, refresh)
}

/// The next pair of tokens.
pub async fn refresh(
    State(app): State<App>,
    Extension(from): Extension<Peer>,
    body: Body,
) -> Result<Response, Failure> {
    let RefreshRequest { refresh_token } = read_json(body)?;
    let ended = || Failure::unauthorized("this refresh token is not known, was used, or has ended: log in again");
    let keys = keys(from, None);
    may_try(&app, &keys)?;
    let found = refresh_token
        .split_once('.')
        .and_then(|(id, _)| app.people.session(id, app.now()));
    let Some((session, user)) = found.filter(|(session, _)| session.via == Via::Api) else {
        app.auth.failed(&keys);
        return Err(ended());
    };
    let next = format!("{}.{}", session.id, random_text().map_err(random)?);
    let what = AccessRequest::Refresh {
        session: session.id.clone(),
        given: Digest::of(refresh_token.as_bytes()),
        next: Digest::of(next.as_bytes()),
    };
    let caller = from.caller(&user.name, Via::Api);
    match app.hub.request(Request::Access { caller, what }).await? {
        Answer::Session(session) => pair(&app, &session, next),
        Answer::Unavailable { reason } => Err(Failure::unavailable(reason)),
        _ => Err(ended()),
    }
}

fn pair(app: &App, session: &Session, refresh_token: String) -> Result<Response, Failure> {
    let access_token = app.auth.signer.sign(&session.name, &session.id, app.now());
    let view = TokensView {
        access_token: access_token.map_err(|error| Failure::internal(error.to_string()))?,
        refresh_token,
        token_type: "bearer".to_owned(),
        expires_in: ACCESS_LIFE.as_secs(),
    };
    Ok(([(CACHE_CONTROL, "no-store")], axum::Json(view)).into_response())
}

/// The session that asks is over.
pub async fn logout(State(app): State<App>, Extension(who): Extension<Identity>) -> Result<Response, Failure> {
    let Some(session) = who.session else {
        return Err(Failure::conflict("this is no session: an API token is revoked instead"));
    };
    let what = AccessRequest::Close { session };
    let caller = who.caller;
    app.change(Request::Access { caller, what }).await?;
    let gone = format!("{COOKIE_NAME}=; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=0");
    Ok((StatusCode::NO_CONTENT, [(SET_COOKIE, gone)]).into_response())
}

/// Who asks.
pub async fn me(Extension(who): Extension<Identity>) -> axum::Json<MeView> {
    let permissions = who.permissions();
    axum::Json(MeView {
        username: who.caller.name,
        role: who.role,
        tenant: who.tenant,
        via: who.caller.via,
        permissions,
    })
}

/// The first person, or an invited one, sets their password and is in.
pub async fn setup(State(app): State<App>, Extension(from): Extension<Peer>, body: Body) -> Result<Response, Failure> {
    let SetupRequest { code, name, password } = read_json(body)?;
    password::checked(&password)?;
    let keys = keys(from, None);
    may_try(&app, &keys)?;
    let code = Digest::of(code.as_bytes());
    let is_first = app.auth.is_setup(&code);
    if !is_first && app.people.invited(&code, app.now()).is_none() {
        app.auth.failed(&keys);
        return Err(Failure::unauthorized(
            "this link was used before, or has ended: ask an administrator for another; the first one stands in what \
             sentinel-hub printed at its last start",
        ));
    }
    let password = app.auth.passwords.hash(password).await?;
    let (caller, what) = if is_first {
        let name = name.ok_or_else(|| Failure::field("/name", "the first person needs a name"))?;
        let caller = from.caller(&name, Via::Console);
        (caller, AccessRequest::First(first(name, password)))
    } else {
        (
            from.caller("invited", Via::Console),
            AccessRequest::Accept { code, password },
        )
    };
    let user = users::stored(app.change(Request::Access { caller, what }).await?)?;
    if is_first {
        app.auth.end_setup();
    }
    let (_, cookie) = open(&app, from, &user, Via::Console, SESSION_LIFE).await?;
    let view = axum::Json(users::view(&app, &user));
    Ok(([(SET_COOKIE, cookie_header(&cookie))], view).into_response())
}

fn first(name: String, password: String) -> NewUser {
    NewUser {
        id: uuid::Uuid::now_v7().to_string(),
        name,
        role: Role::Admin,
        tenant: None,
        password: Some(password),
        invite: None,
    }
}

/// The person whose name and password these are.
async fn person(app: &App, from: Peer, asked: PasswordRequest) -> Result<User, Failure> {
    let keys = keys(from, Some(&asked.username));
    may_try(app, &keys)?;
    let user = app.people.named(&asked.username);
    let hash = user.as_ref().and_then(|user| user.password.clone());
    let right = app.auth.passwords.verify(asked.password, hash).await?;
    match user.filter(|user| right && !user.disabled) {
        Some(user) => {
            keys.first().into_iter().for_each(|name| app.auth.succeeded(name));
            Ok(User::clone(&user))
        }
        None => {
            app.auth.failed(&keys);
            note_failure(app, from, &asked.username).await?;
            Err(Failure::unauthorized("the name or the password is not right"))
        }
    }
}

/// A failed login of a name that somebody has is recorded; strangers' names are not, they are only slowed down.
async fn note_failure(app: &App, from: Peer, name: &str) -> Result<(), Failure> {
    let Some(user) = app.people.named(name) else {
        return Ok(());
    };
    let why = match user.disabled {
        true => "the account is closed",
        false => "the password was wrong",
    };
    let caller = from.caller(&user.name, Via::Api);
    let change = ChangeRecord::new(caller, "session.open", format!("user/{}", user.name));
    let change = change.refused("unauthorized", why);
    app.change(Request::Refused { change }).await.map(drop)
}

/// Opens a session: the session, and the secret that opens it.
async fn open(app: &App, from: Peer, user: &User, via: Via, life: Duration) -> Result<(Session, String), Failure> {
    let id = uuid::Uuid::now_v7().to_string();
    let secret = format!("{id}.{}", random_text().map_err(random)?);
    let now = app.now();
    let session = Session {
        id,
        user: user.id.clone(),
        name: user.name.clone(),
        via,
        secret: Digest::of(secret.as_bytes()),
        opened_at: now,
        ends: later(now, life),
    };
    let caller = from.caller(&user.name, via);
    let what = AccessRequest::Open(session.clone());
    app.change(Request::Access { caller, what }).await?;
    Ok((session, secret))
}

fn keys(from: Peer, name: Option<&str>) -> Vec<Key> {
    let name = name.map(|name| Key::Name(name.to_lowercase()));
    name.into_iter().chain(from.0.map(Key::Address)).collect()
}

fn may_try(app: &App, keys: &[Key]) -> Result<(), Failure> {
    match app.auth.wait(keys) {
        Some(wait) => Err(Failure::too_often(wait)),
        None => Ok(()),
    }
}

fn cookie_header(cookie: &str) -> String {
    let life_s = SESSION_LIFE.as_secs();
    format!("{COOKIE_NAME}={cookie}; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age={life_s}")
}

/// A moment so much later.
pub fn later(now: Wall, span: Duration) -> Wall {
    Wall(
        now.0
            .saturating_add(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)),
    )
}

fn random(cause: getrandom::Error) -> Failure {
    Failure::internal(format!("the system gives no random bytes: {cause}"))
}

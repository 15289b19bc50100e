//! The one door before all routes: who asks, how large and how long it may be, and the headers that every answer carries.
//!
//! What somebody known may do is the route's affair: `guard.rs`.

use std::net::IpAddr;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, COOKIE, HeaderName};
use axum::http::{HeaderMap, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use hub_core::{AccessRequest, Request as CoreRequest};
use wire::change::{Caller, Via};
use wire::ids::Digest;

use super::auth::same;
use super::identity::Identity;
use super::limits::Allowed;
use super::places::Place;
use super::routes::{is_guarded_elsewhere, is_open_route};
use super::{App, Failure};

/// Name of the session cookie. The prefix makes browsers refuse it without `Secure`, for another path, or from a subdomain.
pub const COOKIE_NAME: &str = "__Host-sentinel";
/// A page of another origin cannot send this header without being asked first, which nobody answers.
pub const CSRF_HEADER: &str = "x-sentinel-csrf";
/// Most bytes of a request's body: a bundle, and what its transport adds.
pub const BODY_BYTES: usize = wire::bundle::MAX_BUNDLE_BYTES + 64 * 1024;
/// Time for one request. An action waits for its outcome, for as long as its caller may ask, and a little longer.
const PATIENCE: Duration = Duration::from_secs(30);
const ACTION_PATIENCE: Duration = Duration::from_secs(super::actions::MOST_WAIT_MS / 1_000 + 15);

/// What every API token begins with.
pub const API_TOKEN_PREFIX: &str = "sap_";
/// How exactly it is kept when a token was last used.
const USED_EVERY_MS: i64 = 5 * 60_000;

const HEADERS: [(&str, &str); 5] = [
    (
        "content-security-policy",
        "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
];

/// Lets a request in, or answers it here.
pub async fn door(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let place = request.extensions().get::<Place>().cloned();
    let from = Peer(place.as_ref().map(Place::address));
    let entry = admit(&app, request.method(), &path, request.headers());
    let mut allowed = None;
    let mut response = match entry {
        Err(failure) => failure.into_response(),
        Ok(identity) => {
            if let Some(mut identity) = identity {
                if place.is_some_and(|place| !place.is_known()) {
                    return Failure::unavailable("too many people are connected: close a page and try again")
                        .into_response();
                }
                match app.limits.take(&identity.caller.name, std::time::Instant::now()) {
                    Ok(left) => allowed = left,
                    Err(wait) => return headed(Failure::too_many(wait).into_response()),
                }
                identity.caller.address = from.text();
                request.extensions_mut().insert(identity.caller.clone());
                request.extensions_mut().insert(identity);
            }
            request.extensions_mut().insert(from);
            let patience = if may_wait(&path) { ACTION_PATIENCE } else { PATIENCE };
            match tokio::time::timeout(patience, next.run(request)).await {
                Ok(response) => response,
                Err(_) => Failure::too_slow().into_response(),
            }
        }
    };
    if let Some(Allowed { most, left }) = allowed {
        let headers = response.headers_mut();
        headers.insert("ratelimit-limit", HeaderValue::from(most));
        headers.insert("ratelimit-remaining", HeaderValue::from(left));
    }
    headed(response)
}

/// With the headers that every answer carries.
fn headed(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    // Answers of the API may be kept only to ask whether they have changed.
    headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("private, no-cache"));
    response
}

fn may_wait(path: &str) -> bool {
    path == "/api/v1/actions" || path.ends_with("/hold") || path.ends_with("/release")
}

/// From which network address a request comes, where that is known.
#[derive(Debug, Clone, Copy, Default)]
pub struct Peer(pub Option<IpAddr>);

impl Peer {
    /// As entries have it.
    pub fn text(self) -> Option<String> {
        self.0.map(|address| address.to_string())
    }

    /// Somebody of this name from here, who has not come in yet.
    pub fn caller(self, name: &str, via: Via) -> Caller {
        Caller {
            address: self.text(),
            ..Caller::new(name, via)
        }
    }
}

/// Whether a path can be asked for by anyone: the console's files, health, and the ways in.
fn is_open(method: &Method, path: &str) -> bool {
    let api = path == "/api" || path.starts_with("/api/") || is_guarded_elsewhere(path);
    !api || is_open_route(method.as_str(), path)
}

fn admit(app: &App, method: &Method, path: &str, headers: &HeaderMap) -> Result<Option<Identity>, Failure> {
    if is_open(method, path) {
        return Ok(None);
    }
    if let Some(token) = bearer(headers) {
        return by_token(app, token).map(Some);
    }
    let Some(cookie) = cookie(headers) else {
        return Err(Failure::unauthorized(
            "no token: send `Authorization: Bearer …`, log in at the console, or open a link that `sentinel login` prints",
        ));
    };
    let identity = by_cookie(app, cookie)?;
    let changes = !matches!(*method, Method::GET | Method::HEAD);
    let from_console = headers.get(CSRF_HEADER).is_some_and(|value| value == "1");
    if changes && !from_console {
        return Err(Failure::forbidden(format!(
            "a request that changes something needs the header `{CSRF_HEADER}: 1`"
        )));
    }
    Ok(Some(identity))
}

fn by_token(app: &App, token: &str) -> Result<Identity, Failure> {
    if app.auth.is_token(token) {
        return Ok(Identity::administrator(Via::Api));
    }
    if let Some(rest) = token.strip_prefix(API_TOKEN_PREFIX) {
        return by_api_token(app, rest);
    }
    if token.contains('.') {
        let now = app.now();
        let claims = app.auth.signer.verify(token, now).map_err(Failure::unauthorized)?;
        let found = app.people.session(&claims.sid, now);
        return found
            .map(|(session, user)| Identity::person(&user, &session))
            .ok_or_else(|| Failure::unauthorized("this session has ended: log in again"));
    }
    Err(Failure::unauthorized(
        "the bearer token is not this hub's: the context file that the hub wrote at its start has it",
    ))
}

fn by_api_token(app: &App, token: &str) -> Result<Identity, Failure> {
    let unknown = || Failure::unauthorized("this API token is not known, or was revoked: make another");
    let (id, _) = token.split_once('.').ok_or_else(unknown)?;
    let known = app.people.token(id).ok_or_else(unknown)?;
    if !same(&known.secret, &Digest::of(token.as_bytes())) {
        return Err(unknown());
    }
    if known.ends <= app.now() {
        let detail = format!(
            "the API token `{}` has ended at {}: make another",
            known.name, known.ends
        );
        return Err(Failure::unauthorized(detail));
    }
    let owner = match &known.user {
        Some(id) => Some(app.people.user(id).filter(|user| !user.disabled).ok_or_else(unknown)?),
        None => None,
    };
    note_use(app, &known);
    Ok(Identity::program(&known, owner.as_deref()))
}

/// Keeps when a token was last used, to within [`USED_EVERY_MS`]: a program that asks often costs no writes.
fn note_use(app: &App, token: &hub_core::ApiToken) {
    let now = app.now();
    if token
        .used_at
        .is_some_and(|used| now.0.saturating_sub(used.0) < USED_EVERY_MS)
    {
        return;
    }
    let (hub, id) = (app.hub.clone(), token.id.clone());
    tokio::spawn(async move {
        let what = AccessRequest::TokenUsed { id };
        let caller = Caller::hub();
        // A hub that stops forgets a few minutes of use.
        drop(hub.request(CoreRequest::Access { caller, what }).await);
    });
}

fn by_cookie(app: &App, cookie: &str) -> Result<Identity, Failure> {
    if app.auth.is_session(cookie, app.now()) {
        return Ok(Identity::administrator(Via::Console));
    }
    let found = cookie
        .split_once('.')
        .and_then(|(id, _)| app.people.session(id, app.now()));
    match found {
        Some((session, user))
            if same(&session.secret, &Digest::of(cookie.as_bytes())) && session.via == Via::Console =>
        {
            Ok(Identity::person(&user, &session))
        }
        _ => Err(Failure::unauthorized(
            "this console session has ended: log in again, or open a link that `sentinel login` prints",
        )),
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| *name == COOKIE_NAME)
        .map(|(_, value)| value)
}

//! The one door before all routes: who asks, how large and how long it may be, and the headers that every answer carries.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, COOKIE, HeaderName};
use axum::http::{HeaderMap, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::auth::{Auth, Who};
use super::places::Place;
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
    let entry = admit(&app.auth, request.method(), &path, request.headers());
    let mut response = match entry {
        Err(failure) => failure.into_response(),
        Ok(who) => {
            if let Some(who) = who {
                let place = request.extensions().get::<Place>();
                if place.is_some_and(|place| !place.is_known()) {
                    return Failure::unavailable("too many people are connected: close a page and try again")
                        .into_response();
                }
                request.extensions_mut().insert(who);
            }
            let patience = if may_wait(&path) { ACTION_PATIENCE } else { PATIENCE };
            match tokio::time::timeout(patience, next.run(request)).await {
                Ok(response) => response,
                Err(_) => Failure::too_slow().into_response(),
            }
        }
    };
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

/// Whether a path can be asked for by anyone: the console's files, health, and the way in.
fn is_open(method: &Method, path: &str) -> bool {
    let api = path == "/api" || path.starts_with("/api/");
    !api || (method == Method::POST && path == "/api/v1/login")
}

fn admit(auth: &Auth, method: &Method, path: &str, headers: &HeaderMap) -> Result<Option<Who>, Failure> {
    if is_open(method, path) {
        return Ok(None);
    }
    if let Some(token) = bearer(headers) {
        return if auth.is_token(token) {
            Ok(Some(Who::Token))
        } else {
            Err(Failure::unauthorized(
                "the bearer token is not this hub's: the context file that the hub wrote at its start has it",
            ))
        };
    }
    match cookie(headers) {
        Some(cookie) if auth.is_session(cookie) => {
            let changes = !matches!(*method, Method::GET | Method::HEAD);
            let from_console = headers.get(CSRF_HEADER).is_some_and(|value| value == "1");
            if changes && !from_console {
                return Err(Failure::forbidden(format!(
                    "a request that changes something needs the header `{CSRF_HEADER}: 1`"
                )));
            }
            Ok(Some(Who::Console))
        }
        Some(_) => Err(Failure::unauthorized(
            "this console session has ended: `sentinel login` prints a new link",
        )),
        None => Err(Failure::unauthorized(
            "no token: send `Authorization: Bearer …`, or open a link that `sentinel login` prints",
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

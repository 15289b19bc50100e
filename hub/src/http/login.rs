//! One-time links and what they become: a session cookie of the console.

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use axum::http::header::SET_COOKIE;
use axum::response::{IntoResponse, Response};
use wire::api::{LoginLinkView, LoginRequest};
use wire::time::Wall;

use super::answer::read_json;
use super::auth::{LINK_LIFE, SESSION_LIFE};
use super::door::COOKIE_NAME;
use super::{App, Failure};

/// Makes a one-time link.
pub async fn link(State(app): State<App>) -> Result<axum::Json<LoginLinkView>, Failure> {
    let code = app
        .auth
        .new_link()
        .map_err(|error| Failure::internal(error.to_string()))?;
    let life_ms = i64::try_from(LINK_LIFE.as_millis()).unwrap_or(i64::MAX);
    Ok(axum::Json(LoginLinkView {
        // Behind `#`, so that it is in no server's log and no referrer.
        url: format!("https://{}/#login={code}", app.public),
        ends: Wall(app.now().0.saturating_add(life_ms)),
    }))
}

/// Turns a link's code into a session.
pub async fn login(State(app): State<App>, body: Result<Bytes, BytesRejection>) -> Result<Response, Failure> {
    let LoginRequest { code } = read_json(body)?;
    let cookie = app
        .auth
        .open(&code)
        .ok_or_else(|| {
            Failure::unauthorized(
                "this link was used before, or is older than 10 minutes: `sentinel login` prints a new one",
            )
        })?
        .map_err(|error| Failure::internal(error.to_string()))?;
    let life_s = SESSION_LIFE.as_secs();
    let header = format!("{COOKIE_NAME}={cookie}; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age={life_s}");
    Ok((StatusCode::NO_CONTENT, [(SET_COOKIE, header)]).into_response())
}

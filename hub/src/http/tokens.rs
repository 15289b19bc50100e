//! Join tokens: shown once, with the whole line to type. Who asked for one is recorded before there is one.

use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Extension, State};
use hub_core::Request;
use wire::api::{TokenRequest, TokenView};
use wire::change::{Caller, ChangeRecord};
use wire::ids::AgentId;
use wire::time::Wall;

use super::answer::read_json;
use super::{App, Failure};

/// Longest life of a token: a parts shipment.
const MOST_TTL_MS: u64 = 30 * 24 * 3_600_000;

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
    if !(1_000..=MOST_TTL_MS).contains(&request.ttl_ms) {
        let detail = format!(
            "ttl_ms is {}, it must be 1000 to {MOST_TTL_MS} (30 days)",
            request.ttl_ms
        );
        return Err(Failure::field("/ttl_ms", detail));
    }
    let target = match &name {
        Some(name) => format!("node/{name}"),
        None => "node".to_owned(),
    };
    let change = ChangeRecord::new(caller, "enrolment-token.create", target).with("site", &request.site);
    app.change(Request::Note { change }).await?;
    app.blocking(move |app| {
        let now = app.now();
        let ttl = Duration::from_millis(request.ttl_ms);
        let token = app
            .enrollment
            .create_token(name, &request.site, ttl, now)
            .map_err(|error| Failure::unavailable(error.to_string()))?;
        let address = app.public.to_string();
        Ok(Json(TokenView {
            token: token.to_string(),
            ca_pin: app.ca.pin().to_string(),
            join_line: app.enrollment.join_line(&address, &token),
            address,
            ends: Wall(now.0.saturating_add(i64::try_from(request.ttl_ms).unwrap_or(i64::MAX))),
        }))
    })
    .await
}

//! Break-glass at the box: a token of two people, in; closed again before its time.
//!
//! Decides nothing: the core checks who signed it and for which node, and answers when it is durable.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Query, State};
use edge_agent_core::{LocalAnswer, LocalRequest};
use serde::Deserialize;
use wire::BreakGlass;
use wire::api::GlassView;
use wire::breakglass::MAX_TOKEN_BYTES;

use super::answer::{Failure, body as whole, query};
use super::{App, Who, person, told};

/// Opens a token.
pub(super) async fn open(
    State(app): State<App>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<GlassView>, Failure> {
    let token = BreakGlass::decode(&whole(body, MAX_TOKEN_BYTES)?).map_err(|error| Failure::field("", told(&error)))?;
    answered(person::ask(&app, LocalRequest::BreakGlass { token }).await?)
}

/// Query of [`close`].
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Closing {
    #[serde(default)]
    reason: String,
}

/// Closes what is open.
pub(super) async fn close(
    State(app): State<App>,
    who: Who,
    asked: Result<Query<Closing>, QueryRejection>,
) -> Result<Json<GlassView>, Failure> {
    let what = LocalRequest::CloseGlass {
        who: who.0.0.to_string(),
        reason: person::checked(&query(asked)?.reason)?,
    };
    answered(person::ask(&app, what).await?)
}

fn answered(answer: LocalAnswer) -> Result<Json<GlassView>, Failure> {
    match answer {
        LocalAnswer::Glass { view } => Ok(Json(view)),
        LocalAnswer::Refused { reason } => Err(Failure::conflict(reason)),
        LocalAnswer::Done | LocalAnswer::Decided { .. } => Err(Failure::internal(
            "the core answered something else to a break-glass token",
        )),
    }
}

//! Policy that comes and goes in a file: the whole of what this node trusts, out; a parcel that somebody carried, in.
//!
//! Decides nothing: the core judges a parcel like one of the hub, and answers when it is durable and active.

use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use edge_agent_core::{LocalAnswer, LocalRequest};
use wire::Parcel;
use wire::api::ImportView;
use wire::parcel::MAX_PARCEL_BYTES;

use super::answer::{Failure, body as whole};
use super::{App, Who, person, told};

/// How long the turn loop may take to show what it has answered.
const SHOWN_WITHIN: Duration = Duration::from_secs(2);

/// Role documents and active bundle. Without the beacon, which is the hub's to give.
pub(super) async fn export(State(app): State<App>) -> Result<Response, Failure> {
    let now = app.now();
    let Some((_, signed)) = &now.bundle else {
        return Err(Failure::not_found(
            "this node has no bundle yet: there is nothing to export",
        ));
    };
    let parcel = Parcel {
        roles: now.roles.to_vec(),
        bundle: Some(signed.as_ref().clone()),
        beacon: None,
    };
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], parcel.encode()).into_response())
}

/// Takes a parcel in.
pub(super) async fn import(
    State(app): State<App>,
    who: Who,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<ImportView>, Failure> {
    let body = whole(body, MAX_PARCEL_BYTES)?;
    let parcel = Parcel::decode(&body).map_err(|error| Failure::field("", told(&error)))?;
    let digest = parcel.bundle.as_ref().map(wire::SignedBundle::digest);
    let what = LocalRequest::Import {
        who: who.0.0.to_string(),
        parcel,
    };
    match person::ask(&app, what).await? {
        LocalAnswer::Refused { reason } => return Err(Failure::conflict(reason)),
        LocalAnswer::Done | LocalAnswer::Decided { .. } | LocalAnswer::Glass { .. } => {}
    }
    let mut seen = app.snapshot.clone();
    let shown = seen.wait_for(|now| digest.is_none_or(|digest| now.status.bundle.digest == digest));
    // It is active whether the snapshot shows it yet or not.
    drop(tokio::time::timeout(SHOWN_WITHIN, shown).await);
    let now = app.now();
    let newest = now.roles.last().and_then(|document| document.read().ok());
    Ok(Json(ImportView {
        node: app.agent.clone(),
        bundle: now.status.bundle,
        roles_version: newest.map_or(0, |roles| roles.version),
    }))
}

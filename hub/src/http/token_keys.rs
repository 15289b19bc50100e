//! The keys that sign access tokens: which there are, and a new one.

use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Extension, State};
use hub_core::Request;
use tokio_util::sync::CancellationToken;
use wire::api::{List, RotateKeysRequest, TokenKeyView};
use wire::change::{Caller, ChangeRecord};

use super::answer::{chained, read_json};
use super::{App, Failure};

/// How often the age of the present key is looked at: it lives for a month.
const LOOK_EVERY: Duration = Duration::from_secs(3_600);

/// The keys whose tokens are accepted.
pub async fn list(State(app): State<App>) -> Json<List<TokenKeyView>> {
    Json(List {
        items: app.auth.signer.keys(app.now()),
        next_cursor: None,
    })
}

/// A new key signs from here on.
pub async fn rotate(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<List<TokenKeyView>>, Failure> {
    let RotateKeysRequest { reason, stolen } = read_json(body)?;
    if reason.trim().is_empty() {
        return Err(Failure::field("/reason", "reason is empty: say why, it is journaled"));
    }
    let rotated = app.blocking(move |app| {
        let rotated = app.auth.signer.rotate(app.now(), stolen);
        rotated.map_err(|error| Failure::unavailable(chained(&error)))
    });
    let id = rotated.await?;
    note(&app, caller, &id, &reason, stolen).await?;
    Ok(list(State(app)).await)
}

async fn note(app: &App, caller: Caller, id: &str, reason: &str, stolen: bool) -> Result<(), Failure> {
    let change = ChangeRecord::new(caller, "token-key.rotate", format!("token-key/{id}")).because(reason);
    let change = change.with("stolen", stolen);
    app.change(Request::Note { change }).await.map(drop)
}

/// Replaces the key once a month, until the hub stops.
pub async fn keep(app: App, stop: CancellationToken) {
    let mut every = tokio::time::interval(LOOK_EVERY);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = every.tick() => {}
        }
        let looked = app.blocking(|app| {
            let rotated = app.auth.signer.rotate_if_old(app.now());
            rotated.map_err(|error| Failure::unavailable(chained(&error)))
        });
        let noted = match looked.await {
            Ok(None) => continue,
            Ok(Some(id)) => note(&app, Caller::hub(), &id, "it has signed for a month", false).await,
            Err(failure) => Err(failure),
        };
        if let Err(failure) = noted {
            tracing::warn!(detail = failure.detail(), "the key of access tokens cannot be replaced");
        }
    }
}

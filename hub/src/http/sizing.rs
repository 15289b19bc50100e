//! The size of builds over HTTP: what an InfraMind that sizes them says, within bounds, and what it is told of builds that ran.
//!
//! The hub holds the credential, so that no CI job needs it, and each size that it gave is an entry of its journal.
//!
//! Read next: `inframind/sizing.rs` (who is asked), `wire_inframind::sizing` (what an answer means).

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use hub_core::Request;
use wire::api::{RunRequest, RunView, SizeRequest, SizeView};
use wire::change::{Caller, ChangeRecord};
use wire_inframind::sizing::{Sized, SizingError};

use super::answer::read_json;
use super::{App, Failure};
use crate::inframind::sizing::{Sizing, Trouble};

/// The size that a build should have.
pub async fn size(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<SizeView>, Failure> {
    let request: SizeRequest = read_json(body)?;
    let sizing = asked(&app)?;
    let id = uuid::Uuid::now_v7().to_string();
    let Sized {
        size,
        cache_gib,
        rationale,
        claimed_bp,
        adjusted,
    } = sizing.size(&request, &id).await.map_err(failure)?;
    let mut change = ChangeRecord::new(caller, "build.size", format!("build/{id}"))
        .because(&rationale)
        .with("pipeline", &request.pipeline)
        .with("concurrency", size.concurrency)
        .with("cpus", size.cpus)
        .with("memory_gib", size.memory_gib);
    for text in &adjusted {
        change = change.with("adjusted", text);
    }
    app.change(Request::Note { change }).await?;
    Ok(Json(SizeView {
        pipeline: request.pipeline,
        id,
        size,
        cache_gib,
        rationale,
        claimed_bp,
        adjusted,
    }))
}

/// A build ran.
pub async fn ran(
    State(app): State<App>,
    body: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<RunView>), Failure> {
    let run: RunRequest = read_json(body)?;
    let id = asked(&app)?.ran(&run).await.map_err(failure)?;
    Ok((StatusCode::CREATED, Json(RunView { id })))
}

fn asked(app: &App) -> Result<Arc<Sizing>, Failure> {
    app.sizing.clone().ok_or_else(|| {
        Failure::not_found(
            "nobody sizes builds here: start the hub with --sizing URL and --sizing-token, of an InfraMind 2.1",
        )
    })
}

fn failure(trouble: Trouble) -> Failure {
    match trouble {
        Trouble::Asked(SizingError::Field { field, problem }) => {
            Failure::field(&format!("/{}", field.replace('.', "/")), problem)
        }
        Trouble::Asked(error) => Failure::internal(error.to_string()),
        Trouble::Brain(reason) => Failure::unavailable(format!("the InfraMind that sizes builds: {reason}")),
    }
}

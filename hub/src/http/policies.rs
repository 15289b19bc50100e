//! Bundles: the ones that are stored, a check of a text, and publishing one.
//!
//! Read next: `policies/detail.rs` (one in full, its calendar), `policies/simulate.rs` (what a draft would have decided).

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Extension, State};
use axum::http::HeaderMap;
use axum::response::Response;
use hub_core::{Answer, Request};
use wire::api::{CheckView, List, PolicyView, PublishView};
use wire::bundle::BundlePayload;
use wire::change::Caller;
use wire::{BundleRef, SignedBundle, codec};

use super::answer::{self, json};
use super::{App, Failure};

mod detail;
mod simulate;

pub use detail::{calendar, detail};
pub use simulate::simulate;

/// Bundles in the list: the present one and those that people compare it with.
const LISTED: usize = 20;

/// The newest bundles, newest first; the first is the active one.
pub async fn list(State(app): State<App>, headers: HeaderMap) -> Result<Response, Failure> {
    let active = app.hub.policy().await?;
    let nodes = app.hub.nodes().await?;
    let stored = app.read(|store| store.bundles(LISTED)).await?;
    let items = stored
        .into_iter()
        .filter_map(|(reference, signed)| match &active {
            Some(active) if (active.generation, active.digest) == (reference.generation, reference.digest) => {
                Some(active.clone())
            }
            _ => view(reference, &signed, &nodes),
        })
        .collect();
    Ok(json(
        &headers,
        &List::<PolicyView> {
            items,
            next_cursor: None,
        },
    ))
}

fn view(reference: BundleRef, signed: &SignedBundle, nodes: &[wire::api::NodeView]) -> Option<PolicyView> {
    let payload: BundlePayload = codec::decode(&signed.payload).ok()?;
    let parsed = policy::Bundle::parse_signed(&payload.text).ok();
    let has_it = |node: &&wire::api::NodeView| {
        (node.policy_generation, node.policy_digest) == (reference.generation, reference.digest)
    };
    Some(PolicyView {
        generation: reference.generation,
        digest: reference.digest,
        name: parsed
            .as_ref()
            .map(|bundle| bundle.name().to_owned())
            .unwrap_or_default(),
        issued_at: payload.issued_at,
        active: false,
        nodes: nodes.iter().filter(has_it).count() as u64,
        nodes_total: nodes.len() as u64,
        rules: parsed.map(|bundle| bundle.rules()).unwrap_or_default(),
        text: String::from_utf8_lossy(&payload.text).into_owned(),
    })
}

/// Checks a text and publishes nothing.
pub async fn check(State(app): State<App>, body: Result<Bytes, BytesRejection>) -> Result<Json<CheckView>, Failure> {
    let text = answer::body(body)?;
    app.blocking(move |_| Ok(Json(policy::Bundle::check(&text)))).await
}

/// Notes in the log what was published and by whom; the store keeps both.
pub(super) fn log_published(bundle: BundleRef, who: &str) {
    tracing::info!(generation = %bundle.generation, digest = %bundle.digest.short(), who, "policy published");
}

/// Publishes a text.
pub async fn publish(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<PublishView>, Failure> {
    let text = answer::body(body)?.to_vec();
    let who = caller.name.clone();
    let request = Request::Publish { caller, text };
    match app.hub.request(request).await? {
        Answer::Published { bundle, nodes_total } => {
            log_published(bundle, &who);
            Ok(Json(PublishView { bundle, nodes_total }))
        }
        Answer::Invalid { problems } => Err(Failure::bundle(&problems)),
        Answer::Unavailable { reason } => Err(Failure::unavailable(reason)),
        Answer::Rejected { reason } => Err(Failure::conflict(reason)),
        other => Err(Failure::internal(format!("the core answered {other:?} to a bundle"))),
    }
}

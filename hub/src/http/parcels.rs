//! Policy that was signed elsewhere, and policy for nodes that no network reaches: parcels in, parcels out.
//!
//! Decides nothing: signatures, versions and generations are judged by the role documents and by the core.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Extension, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use hub_core::{Answer, Request};
use wire::api::{PublishView, RolesView};
use wire::change::Caller;
use wire::{Parcel, RoleName};

use super::answer::{self, chained};
use super::policies::log_published;
use super::{App, Failure};
use crate::keys::RoleFileError;

/// Role documents, the newest bundle and the last beacon.
pub async fn export(State(app): State<App>, Extension(caller): Extension<Caller>) -> Result<Response, Failure> {
    match app.hub.request(Request::Export { caller }).await? {
        Answer::Parcel(parcel) => {
            Ok(([(header::CONTENT_TYPE, "application/octet-stream")], parcel.encode()).into_response())
        }
        Answer::Rejected { reason } => Err(Failure::conflict(reason)),
        Answer::Unavailable { reason } => Err(Failure::unavailable(reason)),
        other => Err(Failure::internal(format!("the core answered {other:?} to an export"))),
    }
}

/// Publishes the bundle of a parcel as it is.
pub async fn publish(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<PublishView>, Failure> {
    let Some(signed) = read(body)?.bundle else {
        return Err(Failure::field("", "the parcel holds no bundle"));
    };
    let who = caller.name.clone();
    match app.hub.request(Request::PublishSigned { caller, signed }).await? {
        Answer::Published { bundle, nodes_total } => {
            log_published(bundle, &who);
            Ok(Json(PublishView { bundle, nodes_total }))
        }
        Answer::Invalid { problems } => Err(Failure::bundle(&problems)),
        Answer::Rejected { reason } => Err(Failure::conflict(reason)),
        Answer::Unavailable { reason } => Err(Failure::unavailable(reason)),
        other => Err(Failure::internal(format!(
            "the core answered {other:?} to a signed bundle"
        ))),
    }
}

/// Trusts the role documents of a parcel, as far as they follow the present ones.
pub async fn roles(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<RolesView>, Failure> {
    let documents = read(body)?.roles;
    let request = app
        .blocking(move |app| {
            let chain = app.roles.extend(&documents, app.ca.trust_domain()).map_err(refused)?;
            // The documents count whatever the keys are; what the hub does not sign is told.
            let key_of = |role: RoleName| {
                let found = app.roles.key_of(role, &chain).unwrap_or_else(|error| {
                    tracing::error!(role = role.name(), error = chained(&error), "a key cannot be read");
                    None
                });
                found.map(Box::new)
            };
            let (policy_key, beacon_key) = (key_of(RoleName::Policy), key_of(RoleName::Beacon));
            // Whoever joins from here on begins at the newest root keys.
            app.enrollment.trust(chain.newest().root.ring.clone());
            Ok(Request::Roles {
                caller,
                chain,
                policy_key,
                beacon_key,
            })
        })
        .await?;
    match app.hub.request(request).await? {
        Answer::Trusted {
            version,
            signs_beacons,
            signs_bundles,
        } => Ok(Json(RolesView {
            version,
            signs_beacons: Some(signs_beacons),
            signs_bundles: Some(signs_bundles),
        })),
        Answer::Unavailable { reason } => Err(Failure::unavailable(reason)),
        other => Err(Failure::internal(format!(
            "the core answered {other:?} to role documents"
        ))),
    }
}

fn read(body: Result<Bytes, BytesRejection>) -> Result<Parcel, Failure> {
    Parcel::decode(&answer::body(body)?).map_err(|error| Failure::field("", chained(&error)))
}

fn refused(error: RoleFileError) -> Failure {
    match error {
        RoleFileError::Chain(cause) => {
            Failure::conflict(format!("the role documents are not accepted: {}", chained(&cause)))
        }
        other => Failure::internal(chained(&other)),
    }
}

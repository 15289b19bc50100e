//! What somebody known may do: each route names a permission, and this is the one place that asks for it.
//!
//! A refusal names the missing permission, and is recorded in the hub's own journal: the first at once, repeated ones counted.

use axum::extract::{Request as HttpRequest, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hub_core::Request;
use wire::change::ChangeRecord;

use super::identity::Identity;
use super::routes::{Need, Route};
use super::{App, Failure};

/// Lets a request through to its handler, or refuses it.
pub async fn guard(State((app, route)): State<(App, &'static Route)>, request: HttpRequest, next: Next) -> Response {
    let identity = request.extensions().get::<Identity>();
    let (permission, identity) = match (route.need, identity) {
        (Need::Nothing, _) | (Need::Known, Some(_)) => return next.run(request).await,
        (Need::Permission(permission), Some(identity)) if identity.may(permission) => return next.run(request).await,
        (Need::Permission(permission), Some(identity)) => (permission, identity),
        (_, None) => return Failure::unauthorized("no token").into_response(),
    };
    let failure = Failure::missing(permission, identity.role);
    let change = ChangeRecord::new(
        identity.caller.clone(),
        &format!("{} {}", route.method, route.path),
        request.uri().path(),
    );
    let change = change
        .refused("forbidden", failure.detail())
        .with("permission", permission);
    if let Err(stopped) = app.hub.request(Request::Refused { change }).await {
        return Failure::from(stopped).into_response();
    }
    failure.into_response()
}

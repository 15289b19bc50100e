//! What somebody known may do: each route names a permission, and this is the one place that asks for it.
//!
//! A refusal names the missing permission, and is recorded in the hub's own journal: the first at once, repeated ones counted.

use axum::extract::{Request as HttpRequest, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hub_core::Request;
use wire::Permission;
use wire::change::ChangeRecord;

use super::identity::Identity;
use super::once::once;
use super::routes::{Need, Route};
use super::{App, Failure, tenants};

/// Lets a request through to its handler, or refuses it.
pub async fn guard(State((app, route)): State<(App, &'static Route)>, request: HttpRequest, next: Next) -> Response {
    let identity = request.extensions().get::<Identity>();
    let (permission, identity) = match (route.need, identity) {
        (Need::Nothing | Need::Own, _) => return next.run(request).await,
        (Need::Known, Some(identity)) => {
            let identity = identity.clone();
            return carried_out(app, route, &identity, request, next).await;
        }
        (Need::Permission(permission), Some(identity)) => (permission, identity.clone()),
        (_, None) => return Failure::unauthorized("no token").into_response(),
    };
    let verb = format!("{} {}", route.method, route.path);
    let target = request.uri().path().to_owned();
    match require(&app, &identity, permission, (&verb, &target)).await {
        Ok(()) => carried_out(app, route, &identity, request, next).await,
        Err(failure) => failure.into_response(),
    }
}

async fn carried_out(app: App, route: &'static Route, who: &Identity, request: HttpRequest, next: Next) -> Response {
    let request = match route.owned() {
        None => request,
        Some(owned) => match tenants::check(&app, who, owned, request).await {
            Ok(request) => request,
            Err(failure) => return failure.into_response(),
        },
    };
    match route.is_once() {
        true => once(app, route, who, request, next).await,
        false => next.run(request).await,
    }
}

/// For what a body asks beyond its route: refuses whoever lacks the permission, and records the refusal of this verb on this target.
pub async fn require(
    app: &App,
    who: &Identity,
    permission: Permission,
    (verb, target): (&str, &str),
) -> Result<(), Failure> {
    if who.may(permission) {
        return Ok(());
    }
    let failure = Failure::missing(permission, who.role);
    let change = ChangeRecord::new(who.caller.clone(), verb, target);
    let change = change
        .refused("forbidden", failure.detail())
        .with("permission", permission);
    app.hub.request(Request::Refused { change }).await?;
    Err(failure)
}

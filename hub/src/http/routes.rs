//! The table of routes. What is not in it does not exist; what is not marked open is behind the door.

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, get, post};

use super::{
    App, Failure, actions, assets, clusters, decisions, door, glass, handbook, health, hooks, login, metrics, nodes,
    parcels, plans, policies, remediation, rollouts, series, stream, tasks, tokens, verify,
};

/// One route.
#[derive(Clone, Copy)]
pub struct Route {
    /// Method.
    pub method: &'static str,
    /// Path, with names in braces.
    pub path: &'static str,
    /// Anyone may ask.
    pub open: bool,
    /// Open at the door, because its handler asks for a signature or a token of its own.
    pub has_own_door: bool,
    handler: fn() -> MethodRouter<App>,
}

impl std::fmt::Debug for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

const fn read(path: &'static str, handler: fn() -> MethodRouter<App>) -> Route {
    Route {
        method: "GET",
        path,
        open: false,
        has_own_door: false,
        handler,
    }
}

const fn act(path: &'static str, handler: fn() -> MethodRouter<App>) -> Route {
    Route {
        method: "POST",
        path,
        open: false,
        has_own_door: false,
        handler,
    }
}

/// Signed by a forge, or let in by the remediation token.
const fn own_door(route: Route) -> Route {
    Route {
        open: true,
        has_own_door: true,
        ..route
    }
}

const fn open(route: Route) -> Route {
    Route { open: true, ..route }
}

/// All routes but the console's files.
pub const ROUTES: &[Route] = &[
    read("/api/v1/nodes", || get(nodes::list)),
    read("/api/v1/nodes/{name}", || get(nodes::one)),
    read("/api/v1/domains", || get(nodes::domains)),
    read("/api/v1/decisions", || get(decisions::list)),
    read("/api/v1/decisions/{id}", || get(decisions::detail)),
    read("/api/v1/decisions/{id}/explanation", || get(decisions::explanation)),
    read("/api/v1/decisions/{id}/replay", || get(decisions::replay)),
    read("/api/v1/entries", || get(decisions::entries)),
    read("/api/v1/series", || get(series::series)),
    read("/api/v1/policies", || get(policies::list)),
    act("/api/v1/policies", || post(policies::publish)),
    act("/api/v1/policies/check", || post(policies::check)),
    act("/api/v1/policies/simulate", || post(policies::simulate)),
    read("/api/v1/policies/{generation}", || get(policies::detail)),
    read("/api/v1/policies/{generation}/calendar", || get(policies::calendar)),
    act("/api/v1/policies/signed", || post(parcels::publish)),
    act("/api/v1/policies/roles", || post(parcels::roles)),
    read("/api/v1/policies/export", || get(parcels::export)),
    read("/api/v1/action-plans", || get(plans::list)),
    act("/api/v1/action-plans", || post(plans::submit)),
    read("/api/v1/action-plans/{id}", || get(plans::one)),
    read("/api/v1/action-plans/{id}/status", || get(plans::one)),
    read("/api/v1/action-plans/{id}/explanation", || get(plans::explanation)),
    act("/api/v1/action-plans/{id}/shadow", || post(plans::shadow)),
    act("/api/v1/action-plans/{id}/execute", || post(plans::execute)),
    act("/api/v1/action-plans/{id}/approve", || post(plans::approve)),
    act("/api/v1/action-plans/{id}/deny", || post(plans::deny)),
    act("/api/v1/action-plans/{id}/cancel", || post(plans::cancel)),
    act("/api/v1/action-plans/{id}/retry", || post(plans::retry)),
    read("/api/v1/verify", || get(verify::list)),
    act("/api/v1/break-glass", || post(glass::open)),
    act("/api/v1/actions", || post(actions::act)),
    act("/api/v1/nodes/{name}/hold", || post(actions::hold)),
    act("/api/v1/nodes/{name}/release", || post(actions::release)),
    act("/api/v1/tokens", || post(tokens::create)),
    read("/api/v1/clusters", || get(clusters::list)),
    act("/api/v1/clusters", || post(clusters::register)),
    act("/api/v1/clusters/{name}/remove", || post(clusters::remove)),
    read("/api/v1/deployments", || get(clusters::deployments)),
    read("/api/v1/deployments/{cluster}/{namespace}/{name}", || {
        get(clusters::one)
    }),
    act("/api/v1/deployments/{cluster}/{namespace}/{name}", || {
        post(clusters::change)
    }),
    act("/api/v1/deployments/{cluster}/{namespace}/{name}/scale", || {
        post(clusters::scale)
    }),
    act("/api/v1/deployments/{cluster}/{namespace}/{name}/rollback", || {
        post(clusters::rollback)
    }),
    read("/api/v1/rollouts", || get(rollouts::list)),
    act("/api/v1/rollouts", || post(rollouts::start)),
    read("/api/v1/rollouts/{id}", || get(rollouts::one)),
    act("/api/v1/rollouts/{id}/{verb}", || post(rollouts::command)),
    read("/api/v1/stream", || get(stream::stream)),
    open(act("/api/v1/login", || post(login::login))),
    act("/api/v1/login-links", || post(login::link)),
    open(read("/livez", || get(health::live))),
    open(read("/readyz", || get(health::ready))),
    open(read("/metrics", || get(metrics::page))),
    open(read("/handbook", || get(handbook::first))),
    open(read("/handbook/{*page}", || get(handbook::page))),
    read("/api/v1/metrics", || get(metrics::fleet)),
    read("/api/v1/tasks", || get(tasks::list)),
    read("/api/v1/tasks/{id}", || get(tasks::one)),
    read("/api/v1/tasks/{id}/certificate", || get(tasks::certificate)),
    act("/api/v1/tasks/{id}/cancel", || post(tasks::cancel)),
    act("/api/v1/tasks/{id}/retry", || post(tasks::retry)),
    // Signed by a forge instead of let in by the door.
    own_door(act("/hooks/v1/{source}", || large(post(hooks::source)))),
    own_door(act("/webhooks/{*path}", || {
        large(post(hooks::provider).get(hooks::health))
    })),
    // Let in by the remediation token.
    own_door(act("/agent/v1/register", || post(remediation::register))),
    own_door(act("/agent/v1/lease", || post(remediation::lease))),
    own_door(act("/agent/v1/tasks/{id}/extend", || post(remediation::extend))),
    own_door(read("/agent/v1/tasks/{id}/log", || get(remediation::log))),
    own_door(read("/agent/v1/tasks/{id}/source", || get(remediation::source))),
    own_door(act("/agent/v1/tasks/{id}/propose", || {
        large(post(remediation::propose))
    })),
    own_door(act("/agent/v1/tasks/{id}/finish", || post(remediation::finish))),
];

/// For bodies as large as forges send them.
fn large(route: MethodRouter<App>) -> MethodRouter<App> {
    route.layer(DefaultBodyLimit::max(crate::webhooks::BODY_BYTES))
}

/// The whole service.
pub fn router(app: App) -> Router {
    ROUTES
        .iter()
        .fold(Router::new(), |router, route| {
            router.route(route.path, (route.handler)())
        })
        .method_not_allowed_fallback(async || {
            Failure::not_found("this path has no such method: the API's routes are in the reference")
        })
        .fallback(assets::file)
        .layer(DefaultBodyLimit::max(door::BODY_BYTES))
        .layer(from_fn_with_state(app.clone(), door::door))
        .layer(from_fn_with_state(app.clone(), metrics::count))
        .with_state(app)
}

//! The table of routes. What is not in it does not exist; each row says what it asks of whoever comes, and nothing else does.

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{MethodRouter, delete, get, patch, post};
use wire::api::RouteView;
use wire::{Permission as P, Role};

use super::tenants::Owned;
use super::{
    App, Failure, actions, agents, api_tokens, assets, audits, brains, clusters, compress, decisions, door, events,
    facade, glass, guard, handbook, health, hooks, identities, integrations, login, metrics, nodes, openapi, otlp,
    parcels, placement, plans, policies, problems, remediation, rollouts, scaling, series, sizing, stream, tasks,
    token_keys, tokens, users, verify,
};

/// What a route asks of whoever comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Nothing: anyone may ask.
    Nothing,
    /// A signature or a token of its own, which its handler asks for.
    Own,
    /// To be known.
    Known,
    /// This permission.
    Permission(P),
}

impl Need {
    /// In one word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "open",
            Self::Own => "own",
            Self::Known => "known",
            Self::Permission(permission) => permission.name(),
        }
    }

    /// Whether a role may, with nothing that narrows it.
    pub fn is_met_by(self, role: Role) -> bool {
        match self {
            Self::Nothing | Self::Known => true,
            Self::Own => false,
            Self::Permission(permission) => role.may(permission),
        }
    }
}

/// One route.
#[derive(Clone, Copy)]
pub struct Route {
    /// Method.
    pub method: &'static str,
    /// Path, with names in braces.
    pub path: &'static str,
    /// What it asks of whoever comes.
    pub need: Need,
    /// Its answer holds a secret, which is kept nowhere.
    pub has_secret: bool,
    handler: fn() -> MethodRouter<App>,
}

impl Route {
    /// Its answer holds a secret.
    const fn with_secret(self) -> Self {
        Self {
            has_secret: true,
            ..self
        }
    }

    /// Whether a request may come with a key so that it is done at most once.
    pub fn is_once(&self) -> bool {
        self.method == "POST" && matches!(self.need, Need::Known | Need::Permission(_))
    }

    /// What its path names, if that may belong to a tenant.
    pub fn owned(&self) -> Option<Owned> {
        Owned::of(self.path)
    }

    /// Most bytes of its body.
    pub const fn body_bytes(&self) -> usize {
        door::BODY_BYTES
    }
}

impl std::fmt::Debug for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

const fn route(method: &'static str, path: &'static str, permission: P, handler: fn() -> MethodRouter<App>) -> Route {
    Route {
        method,
        path,
        need: Need::Permission(permission),
        has_secret: false,
        handler,
    }
}

const fn read(path: &'static str, permission: P, handler: fn() -> MethodRouter<App>) -> Route {
    route("GET", path, permission, handler)
}

const fn act(path: &'static str, permission: P, handler: fn() -> MethodRouter<App>) -> Route {
    route("POST", path, permission, handler)
}

const fn open(method: &'static str, path: &'static str, handler: fn() -> MethodRouter<App>) -> Route {
    Route {
        method,
        path,
        need: Need::Nothing,
        has_secret: false,
        handler,
    }
}

/// Signed by a forge, or let in by the remediation token.
const fn own(method: &'static str, path: &'static str, handler: fn() -> MethodRouter<App>) -> Route {
    Route {
        method,
        path,
        need: Need::Own,
        has_secret: false,
        handler,
    }
}

const fn known(method: &'static str, path: &'static str, handler: fn() -> MethodRouter<App>) -> Route {
    Route {
        method,
        path,
        need: Need::Known,
        has_secret: false,
        handler,
    }
}

/// All routes but the console's files.
pub const ROUTES: &[Route] = &[
    read("/api/v1/nodes", P::NodesRead, || get(nodes::list)),
    read("/api/v1/nodes/{name}", P::NodesRead, || get(nodes::one)),
    read("/api/v1/domains", P::NodesRead, || get(nodes::domains)),
    read("/api/v1/decisions", P::NodesRead, || get(decisions::list)),
    read("/api/v1/decisions/{id}", P::NodesRead, || get(decisions::detail)),
    read("/api/v1/decisions/{id}/explanation", P::NodesRead, || {
        get(decisions::explanation)
    }),
    read("/api/v1/decisions/{id}/replay", P::NodesRead, || get(decisions::replay)),
    read("/api/v1/entries", P::NodesRead, || get(decisions::entries)),
    read("/api/v1/series", P::NodesRead, || get(series::series)),
    read("/api/v1/policies", P::PoliciesRead, || get(policies::list)),
    act("/api/v1/policies", P::PoliciesWrite, || post(policies::publish)),
    act("/api/v1/policies/check", P::PoliciesRead, || post(policies::check)),
    act("/api/v1/policies/simulate", P::PoliciesRead, || {
        post(policies::simulate)
    }),
    read("/api/v1/policies/{generation}", P::PoliciesRead, || {
        get(policies::detail)
    }),
    read("/api/v1/policies/{generation}/calendar", P::PoliciesRead, || {
        get(policies::calendar)
    }),
    act("/api/v1/policies/signed", P::PoliciesWrite, || post(parcels::publish)),
    act("/api/v1/policies/roles", P::RolesManage, || post(parcels::roles)),
    read("/api/v1/policies/export", P::PoliciesRead, || get(parcels::export)),
    read("/api/v1/action-plans", P::PlansRead, || get(plans::list)),
    act("/api/v1/action-plans", P::PlansExecute, || post(plans::submit)),
    read("/api/v1/action-plans/{id}", P::PlansRead, || get(plans::one)),
    read("/api/v1/action-plans/{id}/status", P::PlansRead, || get(plans::one)),
    read("/api/v1/action-plans/{id}/explanation", P::PlansRead, || {
        get(plans::explanation)
    }),
    act("/api/v1/action-plans/{id}/shadow", P::PlansRead, || post(plans::shadow)),
    act("/api/v1/action-plans/{id}/execute", P::PlansExecute, || {
        post(plans::execute)
    }),
    act("/api/v1/action-plans/{id}/approve", P::PlansApprove, || {
        post(plans::approve)
    }),
    act("/api/v1/action-plans/{id}/deny", P::PlansApprove, || post(plans::deny)),
    act("/api/v1/action-plans/{id}/cancel", P::PlansExecute, || {
        post(plans::cancel)
    }),
    act("/api/v1/action-plans/{id}/retry", P::PlansExecute, || {
        post(plans::retry)
    }),
    read("/api/v1/brains", P::PlansRead, || get(brains::list)),
    read("/api/v1/forecast", P::NodesRead, || get(brains::forecast)),
    act("/api/v1/brains/{brain}/{verb}/tier", P::PlansApprove, || {
        post(brains::grant)
    }),
    act("/api/v1/sizing", P::PlansExecute, || post(sizing::size)),
    act("/api/v1/sizing/runs", P::PlansExecute, || post(sizing::ran)),
    read("/api/v1/tasks", P::TasksRead, || get(tasks::list)),
    read("/api/v1/tasks/{id}", P::TasksRead, || get(tasks::one)),
    read("/api/v1/tasks/{id}/explanation", P::TasksRead, || {
        get(tasks::explanation)
    }),
    read("/api/v1/tasks/{id}/certificate", P::TasksRead, || {
        get(tasks::certificate)
    }),
    act("/api/v1/tasks", P::TasksManage, || post(facade::create)),
    route("PATCH", "/api/v1/tasks/{id}", P::TasksManage, || patch(facade::report)),
    act("/api/v1/tasks/{id}/reassign", P::TasksManage, || post(facade::reassign)),
    act("/api/v1/tasks/{id}/approve", P::TasksManage, || post(tasks::approve)),
    read("/api/v1/tasks/correlation/{id}", P::TasksRead, || {
        get(facade::correlated)
    }),
    read("/api/v1/tasks/statistics/summary", P::TasksRead, || {
        get(facade::statistics)
    }),
    read("/api/v1/tasks/policy", P::TasksRead, || get(tasks::policy)),
    read("/api/v1/tasks/agent/{id}/queue", P::TasksManage, || get(facade::queue)),
    read("/api/v1/agents", P::TasksRead, || get(agents::list)),
    act("/api/v1/agents", P::TasksManage, || post(agents::register)),
    read("/api/v1/agents/{id}", P::TasksRead, || get(agents::one)),
    route("PATCH", "/api/v1/agents/{id}", P::TasksManage, || patch(agents::change)),
    route("DELETE", "/api/v1/agents/{id}", P::TasksManage, || {
        delete(agents::remove)
    }),
    act("/api/v1/agents/{id}/heartbeat", P::TasksManage, || {
        post(agents::heartbeat)
    }),
    read("/api/v1/agents/name/{name}", P::TasksRead, || get(agents::by_name)),
    read("/api/v1/agents/statistics/summary", P::TasksRead, || {
        get(agents::statistics)
    }),
    read("/api/v1/agents/discover/{kind}", P::TasksRead, || get(agents::discover)),
    act("/api/v1/tasks/{id}/cancel", P::TasksManage, || post(tasks::cancel)),
    act("/api/v1/tasks/{id}/retry", P::TasksManage, || post(tasks::retry)),
    own("POST", "/hooks/v1/{source}", || large(post(hooks::source))),
    own("POST", "/webhooks/{*path}", || {
        large(post(hooks::provider).get(hooks::health))
    }),
    own("POST", "/agent/v1/register", || post(remediation::register)),
    own("POST", "/agent/v1/lease", || post(remediation::lease)),
    own("POST", "/agent/v1/tasks/{id}/extend", || post(remediation::extend)),
    own("GET", "/agent/v1/tasks/{id}/log", || get(remediation::log)),
    own("GET", "/agent/v1/tasks/{id}/source", || get(remediation::source)),
    own("POST", "/agent/v1/tasks/{id}/propose", || {
        large(post(remediation::propose))
    }),
    own("POST", "/agent/v1/tasks/{id}/finish", || post(remediation::finish)),
    read("/api/v1/verify", P::AuditsRead, || get(verify::list)),
    act("/api/v1/break-glass", P::NodesManage, || post(glass::open)),
    act("/api/v1/actions", P::NodesAct, || post(actions::act)),
    read("/api/v1/commands/{id}", P::NodesRead, || get(actions::outcome)),
    act("/api/v1/commands/{id}/cancel", P::NodesAct, || post(actions::cancel)),
    act("/api/v1/nodes/{name}/hold", P::NodesAct, || post(actions::hold)),
    act("/api/v1/nodes/{name}/release", P::NodesAct, || post(actions::release)),
    act("/api/v1/nodes/{name}/deny", P::NodesManage, || post(identities::deny)),
    act("/api/v1/nodes/{name}/allow", P::NodesManage, || post(identities::allow)),
    act("/api/v1/nodes/{name}/remove", P::NodesManage, || {
        post(identities::remove)
    }),
    act("/api/v1/nodes/{name}/rename", P::NodesManage, || {
        post(identities::rename)
    }),
    act("/api/v1/nodes/{name}/rejoin", P::NodesManage, || {
        post(identities::rejoin)
    }),
    read("/api/v1/tokens", P::NodesManage, || get(tokens::list)),
    act("/api/v1/tokens", P::NodesManage, || post(tokens::create)).with_secret(),
    read("/api/v1/tokens/{id}", P::NodesManage, || get(tokens::one)),
    route("DELETE", "/api/v1/tokens/{id}", P::NodesManage, || {
        delete(tokens::revoke)
    }),
    read("/api/v1/clusters", P::ClustersRead, || get(clusters::list)),
    act("/api/v1/clusters", P::ClustersManage, || post(clusters::register)),
    act("/api/v1/clusters/{name}/remove", P::ClustersManage, || {
        post(clusters::remove)
    }),
    read("/api/v1/placement", P::DeploymentsRead, || get(placement::explain)),
    read("/api/v1/workloads", P::DeploymentsRead, || get(clusters::deployments)),
    act("/api/v1/workloads", P::PlansExecute, || post(placement::create)),
    read(
        "/api/v1/workloads/{cluster}/{namespace}/{name}",
        P::DeploymentsRead,
        || get(clusters::one),
    ),
    read("/api/v1/deployments", P::DeploymentsRead, || get(clusters::deployments)),
    read(
        "/api/v1/deployments/{cluster}/{namespace}/{name}",
        P::DeploymentsRead,
        || get(clusters::one),
    ),
    act(
        "/api/v1/deployments/{cluster}/{namespace}/{name}",
        P::DeploymentsCreate,
        || post(clusters::change),
    ),
    act(
        "/api/v1/deployments/{cluster}/{namespace}/{name}/scale",
        P::DeploymentsScale,
        || post(clusters::scale),
    ),
    act(
        "/api/v1/deployments/{cluster}/{namespace}/{name}/rollback",
        P::DeploymentsRollback,
        || post(clusters::rollback),
    ),
    read("/api/v1/scaling", P::DeploymentsRead, || get(scaling::list)),
    act(
        "/api/v1/scaling/{cluster}/{namespace}/{name}",
        P::DeploymentsScale,
        || post(scaling::set),
    ),
    act(
        "/api/v1/scaling/{cluster}/{namespace}/{name}/remove",
        P::DeploymentsScale,
        || post(scaling::remove),
    ),
    read("/api/v1/rollouts", P::DeploymentsRead, || get(rollouts::list)),
    act("/api/v1/rollouts", P::DeploymentsCreate, || post(rollouts::start)),
    read("/api/v1/rollouts/{id}", P::DeploymentsRead, || get(rollouts::one)),
    act("/api/v1/rollouts/{id}/{verb}", P::DeploymentsRollback, || {
        post(rollouts::command)
    }),
    read("/api/v1/stream", P::NodesRead, || get(stream::stream)),
    open("POST", "/api/v1/login", || post(login::login)),
    act("/api/v1/login-links", P::SystemAdmin, || post(login::link)).with_secret(),
    open("POST", "/api/v1/auth/setup", || post(login::setup)),
    open("POST", "/api/v1/auth/login", || post(login::tokens)),
    open("POST", "/api/v1/auth/refresh", || post(login::refresh)),
    known("POST", "/api/v1/auth/logout", || post(login::logout)),
    known("GET", "/api/v1/auth/me", || get(login::me)),
    read("/api/v1/users", P::UsersManage, || get(users::list)),
    act("/api/v1/users", P::UsersManage, || post(users::create)).with_secret(),
    read("/api/v1/users/{name}", P::UsersManage, || get(users::one)),
    route("PATCH", "/api/v1/users/{name}", P::UsersManage, || patch(users::change)),
    route("DELETE", "/api/v1/users/{name}", P::UsersManage, || {
        delete(users::remove)
    }),
    act("/api/v1/users/{name}/invite", P::UsersManage, || post(users::invite)).with_secret(),
    known("GET", "/api/v1/roles", || get(users::roles)),
    known("GET", "/api/v1/access", || get(users::matrix)),
    known("GET", "/api/v1/api-tokens", || get(api_tokens::list)),
    known("POST", "/api/v1/api-tokens", || post(api_tokens::create)).with_secret(),
    known("GET", "/api/v1/api-tokens/{id}", || get(api_tokens::one)),
    known("DELETE", "/api/v1/api-tokens/{id}", || delete(api_tokens::revoke)),
    read("/api/v1/token-keys", P::UsersManage, || get(token_keys::list)),
    act("/api/v1/token-keys/rotate", P::UsersManage, || post(token_keys::rotate)),
    read("/api/v1/consumers", P::IntegrationsRead, || {
        get(integrations::consumers)
    }),
    read("/api/v1/webhooks", P::IntegrationsRead, || get(integrations::list)),
    act("/api/v1/webhooks", P::IntegrationsManage, || post(integrations::add)).with_secret(),
    read("/api/v1/webhooks/{name}", P::IntegrationsRead, || {
        get(integrations::one)
    }),
    route("DELETE", "/api/v1/webhooks/{name}", P::IntegrationsManage, || {
        delete(integrations::remove)
    }),
    act("/api/v1/webhooks/{name}/rotate", P::IntegrationsManage, || {
        post(integrations::rotate)
    })
    .with_secret(),
    read("/api/v1/webhooks/{name}/deliveries", P::IntegrationsRead, || {
        get(integrations::deliveries)
    }),
    act("/api/v1/webhooks/{name}/resend", P::IntegrationsManage, || {
        post(integrations::resend)
    }),
    read("/api/v1/audits", P::AuditsRead, || get(audits::list)),
    read("/api/v1/audits/verify", P::AuditsRead, || get(verify::own)),
    act("/api/v1/audits/accept", P::RolesManage, || post(verify::accept)),
    read("/api/v1/events", P::AuditsRead, || get(events::list)),
    act("/v1/metrics", P::WorkloadsWrite, || post(otlp::metrics)),
    read("/api/v1/workload-metrics", P::WorkloadsRead, || get(otlp::list)),
    open("GET", "/api/v1/health", || get(health::live)),
    open("GET", "/api/v1/ready", || get(health::ready)),
    open("GET", "/livez", || get(health::live)),
    open("GET", "/readyz", || get(health::ready)),
    open("GET", "/metrics", || get(metrics::page)),
    open("GET", "/problems/{code}", || get(problems::page)),
    open("GET", "/docs", || get(openapi::reader)),
    open("GET", "/api/openapi.json", || get(openapi::document)),
    open("GET", "/handbook", || get(handbook::first)),
    open("GET", "/handbook/{*page}", || get(handbook::page)),
    read("/api/v1/metrics", P::NodesRead, || get(metrics::fleet)),
];

/// For bodies as large as forges send them.
fn large(route: MethodRouter<App>) -> MethodRouter<App> {
    route.layer(DefaultBodyLimit::max(crate::webhooks::BODY_BYTES))
}

/// Whether anyone may ask for this path of the API.
pub fn is_open_route(method: &str, path: &str) -> bool {
    let mut open = ROUTES.iter().filter(|route| route.need == Need::Nothing);
    open.any(|route| route.path == path && (route.method == method || (route.method == "GET" && method == "HEAD")))
}

/// Whether a path outside `/api` asks who comes: other standards name such paths.
pub fn is_guarded_elsewhere(path: &str) -> bool {
    let mut guarded = ROUTES
        .iter()
        .filter(|route| !matches!(route.need, Need::Nothing | Need::Own));
    guarded.any(|route| route.path == path)
}

/// Every route with who may use it.
pub fn rows() -> Vec<RouteView> {
    let row = |route: &Route| RouteView {
        method: route.method.to_owned(),
        path: route.path.to_owned(),
        permission: route.need.name().to_owned(),
        viewer: route.need.is_met_by(Role::Viewer),
        operator: route.need.is_met_by(Role::Operator),
        admin: route.need.is_met_by(Role::Admin),
        system: route.need.is_met_by(Role::System),
    };
    ROUTES.iter().map(row).collect()
}

/// Paths that clients of the system before this one end with a slash.
const SLASHED: [(&str, &str); 2] = [
    ("/api/v1/agents", "/api/v1/agents/"),
    ("/api/v1/tasks", "/api/v1/tasks/"),
];

/// The whole service.
pub fn router(app: App) -> Router {
    ROUTES
        .iter()
        .fold(Router::new(), |router, route| {
            let guarded = || (route.handler)().layer(from_fn_with_state((app.clone(), route), guard::guard));
            let router = router.route(route.path, guarded());
            match SLASHED.iter().find(|(path, _)| *path == route.path) {
                Some((_, slashed)) => router.route(slashed, guarded()),
                None => router,
            }
        })
        .method_not_allowed_fallback(async || {
            Failure::not_found("this path has no such method: the API's routes are in the reference")
        })
        .fallback(assets::file)
        .layer(DefaultBodyLimit::max(door::BODY_BYTES))
        .layer(from_fn_with_state(app.clone(), door::door))
        .layer(from_fn_with_state(app.clone(), metrics::count))
        .layer(from_fn(compress::compress))
        .with_state(app)
}

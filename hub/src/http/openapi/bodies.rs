//! What each route takes and gives, as types: the schemas of the document come from the types that are read and written.
//!
//! A test asks for a row of every route whose body is JSON. The facade of tasks and agents is written by hand, as its answers are.
//! Read next: `openapi/facade.rs` (those), `openapi/words.rs` (what each route is for).

use hub_remediation_sdk::contract;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use wire::api::{
    ActRequest, ActView, ApiTokenRequest, ApiTokenView, AuditCheckView, AuditView, BrainView, CalendarView,
    ChangeUserRequest, CheckView, ConsumerView, DecisionDetail, DecisionView, DeliveryView, DomainView, EntryView,
    ForecastView, GlassSentView, GrantRequest, HandRequest, IdentityView, InviteView, JoinTokenView, List,
    LoginLinkView, LoginRequest, MeView, NewApiTokenView, NewUserRequest, NewWebhook, NewWorkload, NodeView,
    PasswordRequest, PlacementView, PlanRequest, PlanView, PolicyDetailView, PolicyView, PublishView, ReasonRequest,
    RefreshRequest, RejoinNodeRequest, RenameRequest, ReplayView, ResendRequest, RoleView, RolesView,
    RotateKeysRequest, RouteView, RunRequest, RunView, SeriesView, SetupRequest, ShadowView, SimulateView, SizeRequest,
    SizeView, TokenKeyView, TokenRequest, TokenView, TokensView, UserView, VerifyView, WebhookView, WorkloadMetricView,
};
use wire::kube::{
    ChangeDeployment, ChangeOutcome, ClusterView, DeploymentView, RegisterCluster, RolloutView, ScalingView,
};

use super::facade;
use crate::http::{agents, clusters, facade as tasks, rollouts};

/// Makes a schema; definitions of the types within it go into the generator.
pub type Make = fn(&mut SchemaGenerator) -> Schema;

/// The bodies of one route.
#[derive(Debug, Clone, Copy)]
pub struct Bodies {
    /// Its method.
    pub method: &'static str,
    /// Its path, as in the table of routes.
    pub path: &'static str,
    /// What it reads.
    pub takes: Option<Make>,
    /// What it answers with when it is done.
    pub gives: Option<Make>,
}

/// No body at all.
struct Nothing;

/// Any JSON object.
struct Object;

trait Body {
    const MAKE: Option<Make>;
}

impl Body for Nothing {
    const MAKE: Option<Make> = None;
}

impl Body for Object {
    const MAKE: Option<Make> = Some(|_| json_schema!({ "type": "object" }));
}

impl<T: JsonSchema> Body for T {
    const MAKE: Option<Make> = Some(|generator| generator.subschema_for::<T>());
}

const fn get<G: Body>(path: &'static str) -> Bodies {
    Bodies {
        method: "GET",
        path,
        takes: None,
        gives: G::MAKE,
    }
}

const fn post<T: Body, G: Body>(path: &'static str) -> Bodies {
    Bodies {
        method: "POST",
        path,
        takes: T::MAKE,
        gives: G::MAKE,
    }
}

const fn patch<T: Body, G: Body>(path: &'static str) -> Bodies {
    Bodies {
        method: "PATCH",
        path,
        takes: T::MAKE,
        gives: G::MAKE,
    }
}

const fn delete<G: Body>(path: &'static str) -> Bodies {
    Bodies {
        method: "DELETE",
        path,
        takes: None,
        gives: G::MAKE,
    }
}

/// By hand.
const fn facade(method: &'static str, path: &'static str, takes: Option<Make>, gives: Option<Make>) -> Bodies {
    Bodies {
        method,
        path,
        takes,
        gives,
    }
}

/// Every route whose body is JSON.
pub const BODIES: &[Bodies] = &[
    get::<List<NodeView>>("/api/v1/nodes"),
    get::<NodeView>("/api/v1/nodes/{name}"),
    get::<List<DomainView>>("/api/v1/domains"),
    get::<List<DecisionView>>("/api/v1/decisions"),
    get::<DecisionDetail>("/api/v1/decisions/{id}"),
    get::<ReplayView>("/api/v1/decisions/{id}/replay"),
    get::<List<EntryView>>("/api/v1/entries"),
    get::<SeriesView>("/api/v1/series"),
    get::<List<PolicyView>>("/api/v1/policies"),
    get::<PolicyDetailView>("/api/v1/policies/{generation}"),
    get::<CalendarView>("/api/v1/policies/{generation}/calendar"),
    post::<Nothing, PublishView>("/api/v1/policies"),
    post::<Nothing, CheckView>("/api/v1/policies/check"),
    post::<Nothing, SimulateView>("/api/v1/policies/simulate"),
    post::<Nothing, PublishView>("/api/v1/policies/signed"),
    post::<Nothing, RolesView>("/api/v1/policies/roles"),
    get::<List<PlanView>>("/api/v1/action-plans"),
    post::<PlanRequest, PlanView>("/api/v1/action-plans"),
    get::<PlanView>("/api/v1/action-plans/{id}"),
    get::<PlanView>("/api/v1/action-plans/{id}/status"),
    post::<Nothing, ShadowView>("/api/v1/action-plans/{id}/shadow"),
    post::<Nothing, PlanView>("/api/v1/action-plans/{id}/execute"),
    post::<Nothing, PlanView>("/api/v1/action-plans/{id}/approve"),
    post::<ReasonRequest, PlanView>("/api/v1/action-plans/{id}/deny"),
    post::<ReasonRequest, PlanView>("/api/v1/action-plans/{id}/cancel"),
    post::<Nothing, PlanView>("/api/v1/action-plans/{id}/retry"),
    get::<List<BrainView>>("/api/v1/brains"),
    get::<ForecastView>("/api/v1/forecast"),
    post::<GrantRequest, BrainView>("/api/v1/brains/{brain}/{verb}/tier"),
    facade("GET", "/api/v1/tasks", None, Some(facade::tasks)),
    facade(
        "POST",
        "/api/v1/tasks",
        <tasks::Wanted as Body>::MAKE,
        Some(facade::task),
    ),
    facade("GET", "/api/v1/tasks/{id}", None, Some(facade::task)),
    facade(
        "PATCH",
        "/api/v1/tasks/{id}",
        <tasks::Told as Body>::MAKE,
        Some(facade::task),
    ),
    facade("POST", "/api/v1/tasks/{id}/reassign", None, Some(facade::task)),
    facade(
        "POST",
        "/api/v1/tasks/{id}/approve",
        Some(facade::reason),
        Some(facade::task),
    ),
    facade("POST", "/api/v1/tasks/{id}/retry", None, Some(facade::task)),
    facade(
        "GET",
        "/api/v1/tasks/{id}/certificate",
        None,
        <hub_remediation_sdk::certificate::Certificate as Body>::MAKE,
    ),
    facade("GET", "/api/v1/tasks/correlation/{id}", None, Some(facade::tasks)),
    facade(
        "GET",
        "/api/v1/tasks/statistics/summary",
        None,
        Some(facade::task_statistics),
    ),
    facade("GET", "/api/v1/tasks/policy", None, Some(facade::task_policy)),
    facade("GET", "/api/v1/tasks/agent/{id}/queue", None, Some(facade::queue)),
    facade("GET", "/api/v1/agents", None, Some(facade::agents)),
    facade(
        "POST",
        "/api/v1/agents",
        <agents::Wanted as Body>::MAKE,
        Some(facade::agent),
    ),
    facade("GET", "/api/v1/agents/{id}", None, Some(facade::agent)),
    facade(
        "PATCH",
        "/api/v1/agents/{id}",
        <agents::Change as Body>::MAKE,
        Some(facade::agent),
    ),
    facade("GET", "/api/v1/agents/name/{name}", None, Some(facade::agent)),
    facade(
        "GET",
        "/api/v1/agents/statistics/summary",
        None,
        Some(facade::agent_statistics),
    ),
    facade("GET", "/api/v1/agents/discover/{kind}", None, Some(facade::agents)),
    post::<agents::Beat, Nothing>("/api/v1/agents/{id}/heartbeat"),
    post::<Object, Object>("/hooks/v1/{source}"),
    post::<Object, Object>("/webhooks/{*path}"),
    post::<contract::Registration, contract::Registered>("/agent/v1/register"),
    post::<contract::LeaseRequest, contract::Leased>("/agent/v1/lease"),
    post::<contract::Extend, contract::Extended>("/agent/v1/tasks/{id}/extend"),
    post::<contract::Propose, contract::Proposed>("/agent/v1/tasks/{id}/propose"),
    post::<contract::Finish, contract::Proposed>("/agent/v1/tasks/{id}/finish"),
    get::<List<VerifyView>>("/api/v1/verify"),
    post::<Nothing, List<GlassSentView>>("/api/v1/break-glass"),
    post::<ActRequest, ActView>("/api/v1/actions"),
    get::<ActView>("/api/v1/commands/{id}"),
    post::<ReasonRequest, ActView>("/api/v1/commands/{id}/cancel"),
    post::<HandRequest, ActView>("/api/v1/nodes/{name}/hold"),
    post::<HandRequest, ActView>("/api/v1/nodes/{name}/release"),
    post::<ReasonRequest, IdentityView>("/api/v1/nodes/{name}/deny"),
    post::<ReasonRequest, IdentityView>("/api/v1/nodes/{name}/allow"),
    post::<ReasonRequest, IdentityView>("/api/v1/nodes/{name}/remove"),
    post::<RenameRequest, IdentityView>("/api/v1/nodes/{name}/rename"),
    post::<RejoinNodeRequest, TokenView>("/api/v1/nodes/{name}/rejoin"),
    get::<List<JoinTokenView>>("/api/v1/tokens"),
    post::<TokenRequest, TokenView>("/api/v1/tokens"),
    get::<JoinTokenView>("/api/v1/tokens/{id}"),
    delete::<JoinTokenView>("/api/v1/tokens/{id}"),
    get::<List<ClusterView>>("/api/v1/clusters"),
    post::<RegisterCluster, ClusterView>("/api/v1/clusters"),
    post::<Nothing, Object>("/api/v1/clusters/{name}/remove"),
    get::<List<DeploymentView>>("/api/v1/deployments"),
    get::<DeploymentView>("/api/v1/deployments/{cluster}/{namespace}/{name}"),
    post::<ChangeDeployment, ChangeOutcome>("/api/v1/deployments/{cluster}/{namespace}/{name}"),
    post::<clusters::Scale, ChangeOutcome>("/api/v1/deployments/{cluster}/{namespace}/{name}/scale"),
    post::<clusters::RollBack, ChangeOutcome>("/api/v1/deployments/{cluster}/{namespace}/{name}/rollback"),
    get::<List<RolloutView>>("/api/v1/rollouts"),
    post::<rollouts::Start, RolloutView>("/api/v1/rollouts"),
    get::<RolloutView>("/api/v1/rollouts/{id}"),
    post::<rollouts::Told, RolloutView>("/api/v1/rollouts/{id}/{verb}"),
    post::<LoginRequest, Nothing>("/api/v1/login"),
    post::<Nothing, LoginLinkView>("/api/v1/login-links"),
    post::<SetupRequest, UserView>("/api/v1/auth/setup"),
    post::<PasswordRequest, TokensView>("/api/v1/auth/login"),
    post::<RefreshRequest, TokensView>("/api/v1/auth/refresh"),
    get::<MeView>("/api/v1/auth/me"),
    get::<List<UserView>>("/api/v1/users"),
    post::<NewUserRequest, InviteView>("/api/v1/users"),
    get::<UserView>("/api/v1/users/{name}"),
    patch::<ChangeUserRequest, UserView>("/api/v1/users/{name}"),
    delete::<UserView>("/api/v1/users/{name}"),
    post::<Nothing, InviteView>("/api/v1/users/{name}/invite"),
    get::<List<RoleView>>("/api/v1/roles"),
    get::<List<RouteView>>("/api/v1/access"),
    get::<List<ApiTokenView>>("/api/v1/api-tokens"),
    post::<ApiTokenRequest, NewApiTokenView>("/api/v1/api-tokens"),
    get::<ApiTokenView>("/api/v1/api-tokens/{id}"),
    delete::<ApiTokenView>("/api/v1/api-tokens/{id}"),
    get::<List<ConsumerView>>("/api/v1/consumers"),
    get::<List<WebhookView>>("/api/v1/webhooks"),
    post::<NewWebhook, WebhookView>("/api/v1/webhooks"),
    get::<WebhookView>("/api/v1/webhooks/{name}"),
    delete::<WebhookView>("/api/v1/webhooks/{name}"),
    post::<Nothing, WebhookView>("/api/v1/webhooks/{name}/rotate"),
    get::<List<DeliveryView>>("/api/v1/webhooks/{name}/deliveries"),
    post::<ResendRequest, WebhookView>("/api/v1/webhooks/{name}/resend"),
    get::<List<AuditView>>("/api/v1/audits"),
    get::<AuditCheckView>("/api/v1/audits/verify"),
    post::<ReasonRequest, AuditCheckView>("/api/v1/audits/accept"),
    get::<List<TokenKeyView>>("/api/v1/token-keys"),
    post::<RotateKeysRequest, List<TokenKeyView>>("/api/v1/token-keys/rotate"),
    get::<List<WorkloadMetricView>>("/api/v1/workload-metrics"),
    get::<PlacementView>("/api/v1/placement"),
    post::<SizeRequest, SizeView>("/api/v1/sizing"),
    post::<RunRequest, RunView>("/api/v1/sizing/runs"),
    get::<List<DeploymentView>>("/api/v1/workloads"),
    facade(
        "POST",
        "/api/v1/workloads",
        <NewWorkload as Body>::MAKE,
        Some(facade::workload),
    ),
    get::<DeploymentView>("/api/v1/workloads/{cluster}/{namespace}/{name}"),
    get::<List<ScalingView>>("/api/v1/scaling"),
    facade(
        "POST",
        "/api/v1/scaling/{cluster}/{namespace}/{name}",
        Some(facade::scaling),
        <ScalingView as Body>::MAKE,
    ),
    post::<ReasonRequest, ScalingView>("/api/v1/scaling/{cluster}/{namespace}/{name}/remove"),
    facade("GET", "/api/v1/events", None, Some(facade::events)),
    facade("GET", "/api/openapi.json", None, <Object as Body>::MAKE),
];

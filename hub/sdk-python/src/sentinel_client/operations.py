"""Every route of the hub's API as a function that returns a `Call`, for `Sentinel.send` and `AsyncSentinel.send`."""

# Written by `generate.py` from the hub's OpenAPI document: change that, not this.

from __future__ import annotations

from typing import Any

from . import models as m
from ._model import Page
from ._wire import Call, as_it_is, fresh_key, given, nothing, page, part, rows, text


def get_access() -> Call[Page[m.RouteView]]:
    """Every route, its permission, and the roles that hold it. Needs `known`."""
    return Call("GET", "/api/v1/access", page(m.RouteView))


def get_action_plans(*, state: str | None = None, before: str | None = None, limit: int | None = None) -> Call[Page[m.PlanView]]:
    """Plans, newest first. Needs `plans:read`."""
    return Call("GET", "/api/v1/action-plans", page(m.PlanView), params=given(("state", state), ("before", before), ("limit", limit)))


def post_action_plans(body: m.PostActionPlansBody, *, key: str | None = None) -> Call[m.PlanView]:
    """Submit a plan. Needs `plans:execute`."""
    return Call("POST", "/api/v1/action-plans", m.PlanView.of, json=body, key=key or fresh_key())


def get_action_plans_id(id: str) -> Call[m.PlanView]:
    """One plan. Needs `plans:read`."""
    return Call("GET", f"/api/v1/action-plans/{part(id)}", m.PlanView.of)


def post_action_plans_id_approve(id: str, *, key: str | None = None) -> Call[m.PlanView]:
    """Approve what policy holds back. Needs `plans:approve`."""
    return Call("POST", f"/api/v1/action-plans/{part(id)}/approve", m.PlanView.of, key=key or fresh_key())


def post_action_plans_id_cancel(id: str, body: m.PostActionPlansIdCancelBody, *, key: str | None = None) -> Call[m.PlanView]:
    """Stop a plan before its next step. Needs `plans:execute`."""
    return Call("POST", f"/api/v1/action-plans/{part(id)}/cancel", m.PlanView.of, json=body, key=key or fresh_key())


def post_action_plans_id_deny(id: str, body: m.PostActionPlansIdDenyBody, *, key: str | None = None) -> Call[m.PlanView]:
    """Refuse a plan. Needs `plans:approve`."""
    return Call("POST", f"/api/v1/action-plans/{part(id)}/deny", m.PlanView.of, json=body, key=key or fresh_key())


def post_action_plans_id_execute(id: str, *, key: str | None = None) -> Call[m.PlanView]:
    """Have a plan carried out. Needs `plans:execute`."""
    return Call("POST", f"/api/v1/action-plans/{part(id)}/execute", m.PlanView.of, key=key or fresh_key())


def get_action_plans_id_explanation(id: str) -> Call[str]:
    """Why a plan stands where it does, in sentences. Needs `plans:read`."""
    return Call("GET", f"/api/v1/action-plans/{part(id)}/explanation", text)


def post_action_plans_id_retry(id: str, *, key: str | None = None) -> Call[m.PlanView]:
    """Submit a plan again. Needs `plans:execute`."""
    return Call("POST", f"/api/v1/action-plans/{part(id)}/retry", m.PlanView.of, key=key or fresh_key())


def post_action_plans_id_shadow(id: str, *, key: str | None = None) -> Call[m.ShadowView]:
    """What policy would say of each step now. Needs `plans:read`."""
    return Call("POST", f"/api/v1/action-plans/{part(id)}/shadow", m.ShadowView.of, key=key or fresh_key())


def get_action_plans_id_status(id: str) -> Call[m.PlanView]:
    """One plan, under the name that older clients know. Needs `plans:read`."""
    return Call("GET", f"/api/v1/action-plans/{part(id)}/status", m.PlanView.of)


def post_actions(body: m.PostActionsBody, *, key: str | None = None) -> Call[m.ActView]:
    """Have a node do something. Needs `nodes:act`."""
    return Call("POST", "/api/v1/actions", m.ActView.of, json=body, key=key or fresh_key())


def get_agents(*, status: str | None = None, limit: int | None = None, offset: str | None = None) -> Call[list[m.RemediationAgent]]:
    """Remediation agents, newest first. Needs `tasks:read`."""
    return Call("GET", "/api/v1/agents", rows(m.RemediationAgent), params=given(("status", status), ("limit", limit), ("offset", offset)))


def post_agents(body: m.PostAgentsBody, *, key: str | None = None) -> Call[m.RemediationAgent]:
    """Register an agent, or register it again. Needs `tasks:manage`."""
    return Call("POST", "/api/v1/agents", m.RemediationAgent.of, json=body, key=key or fresh_key())


def get_agents_discover_kind(kind: str) -> Call[list[m.RemediationAgent]]:
    """Active agents that do such tasks. Needs `tasks:read`."""
    return Call("GET", f"/api/v1/agents/discover/{part(kind)}", rows(m.RemediationAgent))


def get_agents_name_name(name: str) -> Call[m.RemediationAgent]:
    """One remediation agent by its name. Needs `tasks:read`."""
    return Call("GET", f"/api/v1/agents/name/{part(name)}", m.RemediationAgent.of)


def get_agents_statistics_summary() -> Call[dict[str, int]]:
    """Agents by how they stand. Needs `tasks:read`."""
    return Call("GET", "/api/v1/agents/statistics/summary", as_it_is)


def delete_agents_id(id: str) -> Call[None]:
    """Forget an agent; its tasks stay. Needs `tasks:manage`."""
    return Call("DELETE", f"/api/v1/agents/{part(id)}", nothing)


def get_agents_id(id: str) -> Call[m.RemediationAgent]:
    """One remediation agent. Needs `tasks:read`."""
    return Call("GET", f"/api/v1/agents/{part(id)}", m.RemediationAgent.of)


def patch_agents_id(id: str, body: m.PatchAgentsIdBody) -> Call[m.RemediationAgent]:
    """Pause, resume or change an agent, or trust a key of it. Needs `tasks:manage`."""
    return Call("PATCH", f"/api/v1/agents/{part(id)}", m.RemediationAgent.of, json=body)


def post_agents_id_heartbeat(id: str, body: m.PostAgentsIdHeartbeatBody, *, key: str | None = None) -> Call[None]:
    """How an agent is, by its own word. Needs `tasks:manage`."""
    return Call("POST", f"/api/v1/agents/{part(id)}/heartbeat", nothing, json=body, key=key or fresh_key())


def get_api_tokens() -> Call[Page[m.ApiTokenView]]:
    """Tokens of programs. Needs `known`."""
    return Call("GET", "/api/v1/api-tokens", page(m.ApiTokenView))


def post_api_tokens(body: m.PostApiTokensBody, *, key: str | None = None) -> Call[m.NewApiTokenView]:
    """Make a token for a program. Needs `known`."""
    return Call("POST", "/api/v1/api-tokens", m.NewApiTokenView.of, json=body, key=key or fresh_key())


def delete_api_tokens_id(id: str) -> Call[m.ApiTokenView]:
    """Make a token worthless. Needs `known`."""
    return Call("DELETE", f"/api/v1/api-tokens/{part(id)}", m.ApiTokenView.of)


def get_api_tokens_id(id: str) -> Call[m.ApiTokenView]:
    """One API token. Needs `known`."""
    return Call("GET", f"/api/v1/api-tokens/{part(id)}", m.ApiTokenView.of)


def get_audits(
    *,
    who: str | None = None,
    verb: str | None = None,
    target: str | None = None,
    result: str | None = None,
    since: str | None = None,
    before: str | None = None,
    limit: int | None = None,
) -> Call[Page[m.AuditView]]:
    """What people and programs caused, or were refused, newest first. Needs `audits:read`."""
    return Call(
        "GET",
        "/api/v1/audits",
        page(m.AuditView),
        params=given(("who", who), ("verb", verb), ("target", target), ("result", result), ("since", since), ("before", before), ("limit", limit)),
    )


def post_audits_accept(body: m.PostAuditsAcceptBody, *, key: str | None = None) -> Call[m.AuditCheckView]:
    """Accept that the hub's own journal is not the one that was signed. Needs `roles:manage`."""
    return Call("POST", "/api/v1/audits/accept", m.AuditCheckView.of, json=body, key=key or fresh_key())


def get_audits_verify() -> Call[m.AuditCheckView]:
    """The hub's own journal read again and checked. Needs `audits:read`."""
    return Call("GET", "/api/v1/audits/verify", m.AuditCheckView.of)


def post_auth_login(body: m.PostAuthLoginBody) -> Call[m.TokensView]:
    """Log in and get tokens. Needs `open`."""
    return Call("POST", "/api/v1/auth/login", m.TokensView.of, json=body)


def post_auth_logout(*, key: str | None = None) -> Call[None]:
    """End the session. Needs `known`."""
    return Call("POST", "/api/v1/auth/logout", nothing, key=key or fresh_key())


def get_auth_me() -> Call[m.MeView]:
    """Who asks, and what they may do. Needs `known`."""
    return Call("GET", "/api/v1/auth/me", m.MeView.of)


def post_auth_refresh(body: m.PostAuthRefreshBody) -> Call[m.TokensView]:
    """Get the next tokens. Needs `open`."""
    return Call("POST", "/api/v1/auth/refresh", m.TokensView.of, json=body)


def post_auth_setup(body: m.PostAuthSetupBody) -> Call[m.UserView]:
    """Set a password by a one-time link. Needs `open`."""
    return Call("POST", "/api/v1/auth/setup", m.UserView.of, json=body)


def get_brains() -> Call[Page[m.BrainView]]:
    """How far each brain is trusted with each verb, and what that rests on. Needs `plans:read`."""
    return Call("GET", "/api/v1/brains", page(m.BrainView))


def post_brains_brain_verb_tier(brain: str, verb: str, body: m.PostBrainsBrainVerbTierBody, *, key: str | None = None) -> Call[m.BrainView]:
    """Set what a brain may do with a verb without a person. Needs `plans:approve`."""
    return Call("POST", f"/api/v1/brains/{part(brain)}/{part(verb)}/tier", m.BrainView.of, json=body, key=key or fresh_key())


def post_break_glass(content: bytes, *, key: str | None = None) -> Call[Page[m.GlassSentView]]:
    """Open the glass: one action that a rule holds back. Needs `nodes:manage`."""
    return Call("POST", "/api/v1/break-glass", page(m.GlassSentView), content=content, key=key or fresh_key())


def get_clusters() -> Call[Page[m.ClusterView]]:
    """Clusters that the hub knows. Needs `clusters:read`."""
    return Call("GET", "/api/v1/clusters", page(m.ClusterView))


def post_clusters(body: m.PostClustersBody, *, key: str | None = None) -> Call[m.ClusterView]:
    """Register a cluster. Needs `clusters:manage`."""
    return Call("POST", "/api/v1/clusters", m.ClusterView.of, json=body, key=key or fresh_key())


def post_clusters_name_remove(name: str, *, key: str | None = None) -> Call[dict[str, Any]]:
    """Forget a cluster. Needs `clusters:manage`."""
    return Call("POST", f"/api/v1/clusters/{part(name)}/remove", as_it_is, key=key or fresh_key())


def get_commands_id(id: str) -> Call[m.ActView]:
    """What became of an order. Needs `nodes:read`."""
    return Call("GET", f"/api/v1/commands/{part(id)}", m.ActView.of)


def post_commands_id_cancel(id: str, body: m.PostCommandsIdCancelBody, *, key: str | None = None) -> Call[m.ActView]:
    """Call an order off that no node has yet. Needs `nodes:act`."""
    return Call("POST", f"/api/v1/commands/{part(id)}/cancel", m.ActView.of, json=body, key=key or fresh_key())


def get_consumers() -> Call[Page[m.ConsumerView]]:
    """Who hears of everything that arrives, and how far each is. Needs `integrations:read`."""
    return Call("GET", "/api/v1/consumers", page(m.ConsumerView))


def get_decisions(*, node: str | None = None, before: str | None = None, limit: int | None = None) -> Call[Page[m.DecisionView]]:
    """Decisions, newest first. Needs `nodes:read`."""
    return Call("GET", "/api/v1/decisions", page(m.DecisionView), params=given(("node", node), ("before", before), ("limit", limit)))


def get_decisions_id(id: str) -> Call[m.DecisionDetail]:
    """One decision with its inputs and outcomes. Needs `nodes:read`."""
    return Call("GET", f"/api/v1/decisions/{part(id)}", m.DecisionDetail.of)


def get_decisions_id_explanation(id: str) -> Call[str]:
    """Why, in sentences. Needs `nodes:read`."""
    return Call("GET", f"/api/v1/decisions/{part(id)}/explanation", text)


def get_decisions_id_replay(id: str) -> Call[m.ReplayView]:
    """The decision made again from its inputs. Needs `nodes:read`."""
    return Call("GET", f"/api/v1/decisions/{part(id)}/replay", m.ReplayView.of)


def get_deployments() -> Call[Page[m.DeploymentView]]:
    """Deployments of all clusters. Needs `deployments:read`."""
    return Call("GET", "/api/v1/deployments", page(m.DeploymentView))


def get_deployments_cluster_namespace_name(cluster: str, namespace: str, name: str) -> Call[m.DeploymentView]:
    """One deployment. Needs `deployments:read`."""
    return Call("GET", f"/api/v1/deployments/{part(cluster)}/{part(namespace)}/{part(name)}", m.DeploymentView.of)


def post_deployments_cluster_namespace_name(
    cluster: str, namespace: str, name: str, body: m.PostDeploymentsClusterNamespaceNameBody, *, key: str | None = None
) -> Call[m.ChangeOutcome]:
    """Change a deployment. Needs `deployments:create`."""
    return Call("POST", f"/api/v1/deployments/{part(cluster)}/{part(namespace)}/{part(name)}", as_it_is, json=body, key=key or fresh_key())


def post_deployments_cluster_namespace_name_rollback(
    cluster: str, namespace: str, name: str, body: m.PostDeploymentsClusterNamespaceNameRollbackBody, *, key: str | None = None
) -> Call[m.ChangeOutcome]:
    """Go back to an earlier revision. Needs `deployments:rollback`."""
    return Call("POST", f"/api/v1/deployments/{part(cluster)}/{part(namespace)}/{part(name)}/rollback", as_it_is, json=body, key=key or fresh_key())


def post_deployments_cluster_namespace_name_scale(
    cluster: str, namespace: str, name: str, body: m.PostDeploymentsClusterNamespaceNameScaleBody, *, key: str | None = None
) -> Call[m.ChangeOutcome]:
    """Change how many replicas there are. Needs `deployments:scale`."""
    return Call("POST", f"/api/v1/deployments/{part(cluster)}/{part(namespace)}/{part(name)}/scale", as_it_is, json=body, key=key or fresh_key())


def get_domains() -> Call[Page[m.DomainView]]:
    """What rules count together, whose turn it is, who waits. Needs `nodes:read`."""
    return Call("GET", "/api/v1/domains", page(m.DomainView))


def get_entries(*, node: str | None = None, after: str | None = None, limit: int | None = None) -> Call[Page[m.EntryView]]:
    """Entries of journals, oldest first. Needs `nodes:read`."""
    return Call("GET", "/api/v1/entries", page(m.EntryView), params=given(("node", node), ("after", after), ("limit", limit)))


def get_events(*, after: str | None = None, watch: bool | None = None, limit: int | None = None) -> Call[Page[m.CloudEvent]]:
    """Everything that arrives, as CloudEvents, oldest first; with `watch` as a stream. Needs `audits:read`."""
    return Call("GET", "/api/v1/events", page(m.CloudEvent), params=given(("after", after), ("watch", watch), ("limit", limit)))


def get_forecast(*, node: str | None = None, device: str | None = None) -> Call[m.ForecastView]:
    """How the embedded brain expects a device to go on. Needs `nodes:read`."""
    return Call("GET", "/api/v1/forecast", m.ForecastView.of, params=given(("node", node), ("device", device)))


def get_health() -> Call[str]:
    """The hub runs. Needs `open`."""
    return Call("GET", "/api/v1/health", text)


def post_login(body: m.PostLoginBodyCode | m.PostLoginBody) -> Call[None]:
    """Open a console session by a one-time code, or by name and password. Needs `open`."""
    return Call("POST", "/api/v1/login", nothing, json=body)


def post_login_links(*, key: str | None = None) -> Call[m.LoginLinkView]:
    """Make a link that opens the console once. Needs `system:admin`."""
    return Call("POST", "/api/v1/login-links", m.LoginLinkView.of, key=key or fresh_key())


def get_metrics() -> Call[str]:
    """Every node's latest values. Needs `nodes:read`."""
    return Call("GET", "/api/v1/metrics", text)


def get_nodes() -> Call[Page[m.NodeView]]:
    """Every node, by name. Needs `nodes:read`."""
    return Call("GET", "/api/v1/nodes", page(m.NodeView))


def get_nodes_name(name: str) -> Call[m.NodeView]:
    """One node. Needs `nodes:read`."""
    return Call("GET", f"/api/v1/nodes/{part(name)}", m.NodeView.of)


def post_nodes_name_allow(name: str, body: m.PostNodesNameAllowBody, *, key: str | None = None) -> Call[m.IdentityView]:
    """Let a denied node in again. Needs `nodes:manage`."""
    return Call("POST", f"/api/v1/nodes/{part(name)}/allow", m.IdentityView.of, json=body, key=key or fresh_key())


def post_nodes_name_deny(name: str, body: m.PostNodesNameDenyBody, *, key: str | None = None) -> Call[m.IdentityView]:
    """Keep a node out. Needs `nodes:manage`."""
    return Call("POST", f"/api/v1/nodes/{part(name)}/deny", m.IdentityView.of, json=body, key=key or fresh_key())


def post_nodes_name_hold(name: str, body: m.PostNodesNameHoldBody, *, key: str | None = None) -> Call[m.ActView]:
    """Hold a node: it acts on its own no more. Needs `nodes:act`."""
    return Call("POST", f"/api/v1/nodes/{part(name)}/hold", m.ActView.of, json=body, key=key or fresh_key())


def post_nodes_name_rejoin(name: str, body: m.PostNodesNameRejoinBody, *, key: str | None = None) -> Call[m.TokenView]:
    """Make a token with which a machine takes a node's name over. Needs `nodes:manage`."""
    return Call("POST", f"/api/v1/nodes/{part(name)}/rejoin", m.TokenView.of, json=body, key=key or fresh_key())


def post_nodes_name_release(name: str, body: m.PostNodesNameReleaseBody, *, key: str | None = None) -> Call[m.ActView]:
    """Let a node act again. Needs `nodes:act`."""
    return Call("POST", f"/api/v1/nodes/{part(name)}/release", m.ActView.of, json=body, key=key or fresh_key())


def post_nodes_name_remove(name: str, body: m.PostNodesNameRemoveBody, *, key: str | None = None) -> Call[m.IdentityView]:
    """Forget a node. Needs `nodes:manage`."""
    return Call("POST", f"/api/v1/nodes/{part(name)}/remove", m.IdentityView.of, json=body, key=key or fresh_key())


def post_nodes_name_rename(name: str, body: m.PostNodesNameRenameBody, *, key: str | None = None) -> Call[m.IdentityView]:
    """Give a node another name. Needs `nodes:manage`."""
    return Call("POST", f"/api/v1/nodes/{part(name)}/rename", m.IdentityView.of, json=body, key=key or fresh_key())


def get_placement(
    *,
    deployment: str | None = None,
    cluster: str | None = None,
    cluster_labels: str | None = None,
    replicas: str | None = None,
    cpu_milli: str | None = None,
    memory_mib: str | None = None,
    gpus: str | None = None,
    gpu_share: str | None = None,
    models: str | None = None,
    labels: str | None = None,
    gang: str | None = None,
) -> Call[m.PlacementView]:
    """Where work would go, and what every node says to it. Needs `deployments:read`."""
    return Call(
        "GET",
        "/api/v1/placement",
        m.PlacementView.of,
        params=given(("deployment", deployment),
            ("cluster", cluster),
            ("cluster_labels", cluster_labels),
            ("replicas", replicas),
            ("cpu_milli", cpu_milli),
            ("memory_mib", memory_mib),
            ("gpus", gpus),
            ("gpu_share", gpu_share),
            ("models", models),
            ("labels", labels),
            ("gang", gang)),
    )


def get_policies() -> Call[Page[m.PolicyView]]:
    """Published bundles, newest first. Needs `policies:read`."""
    return Call("GET", "/api/v1/policies", page(m.PolicyView))


def post_policies(text: str, *, key: str | None = None) -> Call[m.PublishView]:
    """Publish a bundle. Needs `policies:write`."""
    return Call("POST", "/api/v1/policies", m.PublishView.of, text=text, key=key or fresh_key())


def post_policies_check(text: str, *, key: str | None = None) -> Call[m.CheckView]:
    """Whether a text is a bundle. Needs `policies:read`."""
    return Call("POST", "/api/v1/policies/check", m.CheckView.of, text=text, key=key or fresh_key())


def get_policies_export() -> Call[str]:
    """Everything that a node without a network needs. Needs `policies:read`."""
    return Call("GET", "/api/v1/policies/export", text)


def post_policies_roles(content: bytes, *, key: str | None = None) -> Call[m.RolesView]:
    """Trust newer role documents. Needs `roles:manage`."""
    return Call("POST", "/api/v1/policies/roles", m.RolesView.of, content=content, key=key or fresh_key())


def post_policies_signed(content: bytes, *, key: str | None = None) -> Call[m.PublishView]:
    """Publish a bundle that others have signed. Needs `policies:write`."""
    return Call("POST", "/api/v1/policies/signed", m.PublishView.of, content=content, key=key or fresh_key())


def post_policies_simulate(text: str, *, since: str | None = None, key: str | None = None) -> Call[m.SimulateView]:
    """What a bundle would have decided. Needs `policies:read`."""
    return Call("POST", "/api/v1/policies/simulate", m.SimulateView.of, text=text, params=given(("since", since)), key=key or fresh_key())


def get_policies_generation(generation: str) -> Call[m.PolicyDetailView]:
    """One bundle with its text and what its rules decided. Needs `policies:read`."""
    return Call("GET", f"/api/v1/policies/{part(generation)}", m.PolicyDetailView.of)


def get_policies_generation_calendar(generation: str, *, from_: str | None = None, to: str | None = None) -> Call[m.CalendarView]:
    """When a bundle's freezes are. Needs `policies:read`."""
    return Call("GET", f"/api/v1/policies/{part(generation)}/calendar", m.CalendarView.of, params=given(("from", from_), ("to", to)))


def get_ready() -> Call[str]:
    """The hub serves. Needs `open`."""
    return Call("GET", "/api/v1/ready", text)


def get_roles() -> Call[Page[m.RoleView]]:
    """Roles with what they may do. Needs `known`."""
    return Call("GET", "/api/v1/roles", page(m.RoleView))


def get_rollouts() -> Call[Page[m.RolloutView]]:
    """Rollouts under way and the last finished ones. Needs `deployments:read`."""
    return Call("GET", "/api/v1/rollouts", page(m.RolloutView))


def post_rollouts(body: m.PostRolloutsBody, *, key: str | None = None) -> Call[m.RolloutView]:
    """Start a rollout. Needs `deployments:create`."""
    return Call("POST", "/api/v1/rollouts", m.RolloutView.of, json=body, key=key or fresh_key())


def get_rollouts_id(id: str) -> Call[m.RolloutView]:
    """One rollout. Needs `deployments:read`."""
    return Call("GET", f"/api/v1/rollouts/{part(id)}", m.RolloutView.of)


def post_rollouts_id_verb(id: str, verb: str, body: m.PostRolloutsIdVerbBody, *, key: str | None = None) -> Call[m.RolloutView]:
    """Promote, pause, resume or abort a rollout. Needs `deployments:rollback`."""
    return Call("POST", f"/api/v1/rollouts/{part(id)}/{part(verb)}", m.RolloutView.of, json=body, key=key or fresh_key())


def get_scaling() -> Call[Page[m.ScalingView]]:
    """Deployments that the hub scales. Needs `deployments:read`."""
    return Call("GET", "/api/v1/scaling", page(m.ScalingView))


def post_scaling_cluster_namespace_name(
    cluster: str, namespace: str, name: str, body: m.PostScalingClusterNamespaceNameBody, *, key: str | None = None
) -> Call[m.ScalingView]:
    """Scale a deployment by its load. Needs `deployments:scale`."""
    return Call("POST", f"/api/v1/scaling/{part(cluster)}/{part(namespace)}/{part(name)}", m.ScalingView.of, json=body, key=key or fresh_key())


def post_scaling_cluster_namespace_name_remove(
    cluster: str, namespace: str, name: str, body: m.PostScalingClusterNamespaceNameRemoveBody, *, key: str | None = None
) -> Call[m.ScalingView]:
    """Do not scale a deployment any more. Needs `deployments:scale`."""
    return Call("POST", f"/api/v1/scaling/{part(cluster)}/{part(namespace)}/{part(name)}/remove", m.ScalingView.of, json=body, key=key or fresh_key())


def get_series(*, node: str | None = None, since_ms: int | None = None) -> Call[m.SeriesView]:
    """A node's values over time. Needs `nodes:read`."""
    return Call("GET", "/api/v1/series", m.SeriesView.of, params=given(("node", node), ("since_ms", since_ms)))


def post_sizing(body: m.PostSizingBody, *, key: str | None = None) -> Call[m.SizeView]:
    """The size that a build should have, from an InfraMind, within bounds. Needs `plans:execute`."""
    return Call("POST", "/api/v1/sizing", m.SizeView.of, json=body, key=key or fresh_key())


def post_sizing_runs(body: m.PostSizingRunsBody, *, key: str | None = None) -> Call[m.RunView]:
    """Tell the InfraMind that sizes builds of one that ran. Needs `plans:execute`."""
    return Call("POST", "/api/v1/sizing/runs", m.RunView.of, json=body, key=key or fresh_key())


def get_tasks(*, status: str | None = None, repository: str | None = None, limit: int | None = None, offset: str | None = None) -> Call[list[m.Task]]:
    """Failed checks that became tasks. Needs `tasks:read`."""
    return Call(
        "GET", "/api/v1/tasks", rows(m.Task), params=given(("status", status), ("repository", repository), ("limit", limit), ("offset", offset))
    )


def post_tasks(body: m.PostTasksBody, *, key: str | None = None) -> Call[m.Task]:
    """Work of any kind, for the healthiest agent that does it. Needs `tasks:manage`."""
    return Call("POST", "/api/v1/tasks", m.Task.of, json=body, key=key or fresh_key())


def get_tasks_agent_id_queue(id: str) -> Call[m.GetTasksAgentIdQueueAnswer]:
    """What waits for an agent; its next task begins. Needs `tasks:manage`."""
    return Call("GET", f"/api/v1/tasks/agent/{part(id)}/queue", m.GetTasksAgentIdQueueAnswer.of)


def get_tasks_correlation_id(id: str) -> Call[list[m.Task]]:
    """Tasks that a prediction is joined with. Needs `tasks:read`."""
    return Call("GET", f"/api/v1/tasks/correlation/{part(id)}", rows(m.Task))


def get_tasks_policy(*, repository: str | None = None) -> Call[m.GetTasksPolicyAnswer]:
    """What policy says of repairs in a repository now. Needs `tasks:read`."""
    return Call("GET", "/api/v1/tasks/policy", m.GetTasksPolicyAnswer.of, params=given(("repository", repository)))


def get_tasks_statistics_summary(*, agent_id: str | None = None) -> Call[dict[str, int | float | dict[str, Any] | None]]:
    """Tasks in counts, and how well chances agree with outcomes. Needs `tasks:read`."""
    return Call("GET", "/api/v1/tasks/statistics/summary", as_it_is, params=given(("agent_id", agent_id)))


def get_tasks_id(id: str) -> Call[m.Task]:
    """One task. Needs `tasks:read`."""
    return Call("GET", f"/api/v1/tasks/{part(id)}", m.Task.of)


def patch_tasks_id(id: str, body: m.PatchTasksIdBody) -> Call[m.Task]:
    """How a task goes, by its own agent. Needs `tasks:manage`."""
    return Call("PATCH", f"/api/v1/tasks/{part(id)}", m.Task.of, json=body)


def post_tasks_id_approve(id: str, body: m.PostTasksIdApproveBody, *, key: str | None = None) -> Call[m.Task]:
    """Agree to what policy wants a person for. Needs `tasks:manage`."""
    return Call("POST", f"/api/v1/tasks/{part(id)}/approve", m.Task.of, json=body, key=key or fresh_key())


def post_tasks_id_cancel(id: str, *, key: str | None = None) -> Call[None]:
    """Give a task up. Needs `tasks:manage`."""
    return Call("POST", f"/api/v1/tasks/{part(id)}/cancel", nothing, key=key or fresh_key())


def get_tasks_id_certificate(id: str) -> Call[m.Certificate]:
    """What was proved of a task's patch. Needs `tasks:read`."""
    return Call("GET", f"/api/v1/tasks/{part(id)}/certificate", m.Certificate.of)


def get_tasks_id_explanation(id: str) -> Call[str]:
    """Why a task is as it is, for people. Needs `tasks:read`."""
    return Call("GET", f"/api/v1/tasks/{part(id)}/explanation", text)


def post_tasks_id_reassign(id: str, *, new_agent_id: str | None = None, key: str | None = None) -> Call[m.Task]:
    """Give a task to another agent. Needs `tasks:manage`."""
    return Call("POST", f"/api/v1/tasks/{part(id)}/reassign", m.Task.of, params=given(("new_agent_id", new_agent_id)), key=key or fresh_key())


def post_tasks_id_retry(id: str, *, key: str | None = None) -> Call[m.Task]:
    """Have a task tried again. Needs `tasks:manage`."""
    return Call("POST", f"/api/v1/tasks/{part(id)}/retry", m.Task.of, key=key or fresh_key())


def get_token_keys() -> Call[Page[m.TokenKeyView]]:
    """The keys whose access tokens are accepted, the one that signs first. Needs `users:manage`."""
    return Call("GET", "/api/v1/token-keys", page(m.TokenKeyView))


def post_token_keys_rotate(body: m.PostTokenKeysRotateBody, *, key: str | None = None) -> Call[Page[m.TokenKeyView]]:
    """Let a new key sign access tokens. Needs `users:manage`."""
    return Call("POST", "/api/v1/token-keys/rotate", page(m.TokenKeyView), json=body, key=key or fresh_key())


def get_tokens() -> Call[Page[m.JoinTokenView]]:
    """Tokens with which nodes join. Needs `nodes:manage`."""
    return Call("GET", "/api/v1/tokens", page(m.JoinTokenView))


def post_tokens(body: m.PostTokensBody, *, key: str | None = None) -> Call[m.TokenView]:
    """Make a token with which a node joins. Needs `nodes:manage`."""
    return Call("POST", "/api/v1/tokens", m.TokenView.of, json=body, key=key or fresh_key())


def delete_tokens_id(id: str) -> Call[m.JoinTokenView]:
    """Make a join token worthless. Needs `nodes:manage`."""
    return Call("DELETE", f"/api/v1/tokens/{part(id)}", m.JoinTokenView.of)


def get_tokens_id(id: str) -> Call[m.JoinTokenView]:
    """One join token. Needs `nodes:manage`."""
    return Call("GET", f"/api/v1/tokens/{part(id)}", m.JoinTokenView.of)


def get_users() -> Call[Page[m.UserView]]:
    """People. Needs `users:manage`."""
    return Call("GET", "/api/v1/users", page(m.UserView))


def post_users(body: m.PostUsersBody, *, key: str | None = None) -> Call[m.InviteView]:
    """Add a person. Needs `users:manage`."""
    return Call("POST", "/api/v1/users", m.InviteView.of, json=body, key=key or fresh_key())


def delete_users_name(name: str) -> Call[m.UserView]:
    """Remove a person. Needs `users:manage`."""
    return Call("DELETE", f"/api/v1/users/{part(name)}", m.UserView.of)


def get_users_name(name: str) -> Call[m.UserView]:
    """One person. Needs `users:manage`."""
    return Call("GET", f"/api/v1/users/{part(name)}", m.UserView.of)


def patch_users_name(name: str, body: m.PatchUsersNameBody) -> Call[m.UserView]:
    """Change a person's role, password or state. Needs `users:manage`."""
    return Call("PATCH", f"/api/v1/users/{part(name)}", m.UserView.of, json=body)


def post_users_name_invite(name: str, *, key: str | None = None) -> Call[m.InviteView]:
    """Make a link with which a person sets their password. Needs `users:manage`."""
    return Call("POST", f"/api/v1/users/{part(name)}/invite", m.InviteView.of, key=key or fresh_key())


def get_verify(*, node: str | None = None) -> Call[Page[m.VerifyView]]:
    """Every node's stored journal read again and checked. Needs `audits:read`."""
    return Call("GET", "/api/v1/verify", page(m.VerifyView), params=given(("node", node)))


def get_webhooks() -> Call[Page[m.WebhookView]]:
    """Where events are sent. Needs `integrations:read`."""
    return Call("GET", "/api/v1/webhooks", page(m.WebhookView))


def post_webhooks(body: m.PostWebhooksBody, *, key: str | None = None) -> Call[m.WebhookView]:
    """Send events somewhere from now on. Needs `integrations:manage`."""
    return Call("POST", "/api/v1/webhooks", m.WebhookView.of, json=body, key=key or fresh_key())


def delete_webhooks_name(name: str) -> Call[m.WebhookView]:
    """Send nothing there any more. Needs `integrations:manage`."""
    return Call("DELETE", f"/api/v1/webhooks/{part(name)}", m.WebhookView.of)


def get_webhooks_name(name: str) -> Call[m.WebhookView]:
    """One outgoing webhook. Needs `integrations:read`."""
    return Call("GET", f"/api/v1/webhooks/{part(name)}", m.WebhookView.of)


def get_webhooks_name_deliveries(name: str) -> Call[Page[m.DeliveryView]]:
    """What waits, what was given up, what came through. Needs `integrations:read`."""
    return Call("GET", f"/api/v1/webhooks/{part(name)}/deliveries", page(m.DeliveryView))


def post_webhooks_name_resend(name: str, body: m.PostWebhooksNameResendBody, *, key: str | None = None) -> Call[m.WebhookView]:
    """Send what was given up again. Needs `integrations:manage`."""
    return Call("POST", f"/api/v1/webhooks/{part(name)}/resend", m.WebhookView.of, json=body, key=key or fresh_key())


def post_webhooks_name_rotate(name: str, *, key: str | None = None) -> Call[m.WebhookView]:
    """Sign with another secret from now on. Needs `integrations:manage`."""
    return Call("POST", f"/api/v1/webhooks/{part(name)}/rotate", m.WebhookView.of, key=key or fresh_key())


def get_workload_metrics(*, metric: str | None = None, limit: int | None = None) -> Call[Page[m.WorkloadMetricView]]:
    """The newest that workloads told by OTLP. Needs `workloads:read`."""
    return Call("GET", "/api/v1/workload-metrics", page(m.WorkloadMetricView), params=given(("metric", metric), ("limit", limit)))


def get_workloads(*, cluster: str | None = None, namespace: str | None = None) -> Call[Page[m.DeploymentView]]:
    """Workloads of all clusters. Needs `deployments:read`."""
    return Call("GET", "/api/v1/workloads", page(m.DeploymentView), params=given(("cluster", cluster), ("namespace", namespace)))


def post_workloads(body: m.PostWorkloadsBody, *, key: str | None = None) -> Call[m.PostWorkloadsAnswer]:
    """Create a workload where there is room for it, by a plan. Needs `plans:execute`."""
    return Call("POST", "/api/v1/workloads", m.PostWorkloadsAnswer.of, json=body, key=key or fresh_key())


def get_workloads_cluster_namespace_name(cluster: str, namespace: str, name: str) -> Call[m.DeploymentView]:
    """One workload. Needs `deployments:read`."""
    return Call("GET", f"/api/v1/workloads/{part(cluster)}/{part(namespace)}/{part(name)}", m.DeploymentView.of)

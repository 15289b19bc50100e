//! What each route is for, in one line, with what it is asked with: beside the table of routes, so that the table stays one.

/// What a request's body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// There is none.
    None,
    /// A JSON object.
    Json,
    /// Text: a bundle.
    Text,
    /// Bytes: signed documents.
    Bytes,
    /// A protobuf message: OTLP.
    Protobuf,
}

/// The words of one route.
#[derive(Debug)]
pub struct Words {
    /// Its method.
    pub method: &'static str,
    /// Its path, as in the table.
    pub path: &'static str,
    /// What it is for.
    pub summary: &'static str,
    /// What may stand in its query.
    pub query: &'static [&'static str],
    /// What its body is.
    pub body: Body,
    /// Its status when it is done.
    pub status: u16,
    /// The type of its answer; empty for none.
    pub answers: &'static str,
    /// Another status of an answer that is no problem, and what it means. One of 204 has no body, any other has the same.
    pub also: Option<(u16, &'static str)>,
    /// Problems that it may answer with besides those that follow from what it is.
    pub refuses: &'static [u16],
}

/// Answers with JSON.
const fn json(
    method: &'static str,
    path: &'static str,
    summary: &'static str,
    query: &'static [&'static str],
    body: Body,
) -> Words {
    Words {
        method,
        path,
        summary,
        query,
        body,
        status: 200,
        answers: "application/json",
        also: None,
        refuses: &[],
    }
}

impl Words {
    /// Answers with something else.
    const fn with(self, status: u16, answers: &'static str) -> Self {
        Self {
            status,
            answers,
            ..self
        }
    }

    /// May answer with these problems, too.
    const fn refusing(self, refuses: &'static [u16]) -> Self {
        Self { refuses, ..self }
    }

    /// Answers in another way, too.
    const fn also(self, status: u16, meaning: &'static str) -> Self {
        Self {
            also: Some((status, meaning)),
            ..self
        }
    }
}

/// Every route.
pub const WORDS: &[Words] = &[
    json("GET", "/api/v1/nodes", "Every node, by name", &[], Body::None),
    json("GET", "/api/v1/nodes/{name}", "One node", &[], Body::None),
    json(
        "GET",
        "/api/v1/domains",
        "What rules count together, whose turn it is, who waits",
        &[],
        Body::None,
    ),
    json(
        "GET",
        "/api/v1/decisions",
        "Decisions, newest first",
        &["node", "before", "limit"],
        Body::None,
    ),
    json(
        "GET",
        "/api/v1/decisions/{id}",
        "One decision with its inputs and outcomes",
        &[],
        Body::None,
    ),
    json(
        "GET",
        "/api/v1/decisions/{id}/explanation",
        "Why, in sentences",
        &[],
        Body::None,
    )
    .with(200, "text/plain"),
    json(
        "GET",
        "/api/v1/decisions/{id}/replay",
        "The decision made again from its inputs",
        &[],
        Body::None,
    ),
    json(
        "GET",
        "/api/v1/entries",
        "Entries of journals, oldest first",
        &["node", "after", "limit"],
        Body::None,
    ),
    json(
        "GET",
        "/api/v1/series",
        "A node's values over time",
        &["node", "since_ms"],
        Body::None,
    ),
    json(
        "GET",
        "/api/v1/policies",
        "Published bundles, newest first",
        &[],
        Body::None,
    ),
    json("POST", "/api/v1/policies", "Publish a bundle", &[], Body::Text),
    json(
        "POST",
        "/api/v1/policies/check",
        "Whether a text is a bundle",
        &[],
        Body::Text,
    ),
    json(
        "POST",
        "/api/v1/policies/simulate",
        "What a bundle would have decided",
        &["since"],
        Body::Text,
    ),
    json(
        "GET",
        "/api/v1/policies/{generation}",
        "One bundle with its text and what its rules decided",
        &[],
        Body::None,
    ),
    json(
        "GET",
        "/api/v1/policies/{generation}/calendar",
        "When a bundle's freezes are",
        &["from", "to"],
        Body::None,
    ),
    json(
        "POST",
        "/api/v1/policies/signed",
        "Publish a bundle that others have signed",
        &[],
        Body::Bytes,
    ),
    json(
        "POST",
        "/api/v1/policies/roles",
        "Trust newer role documents",
        &[],
        Body::Bytes,
    ),
    json(
        "GET",
        "/api/v1/policies/export",
        "Everything that a node without a network needs",
        &[],
        Body::None,
    )
    .with(200, "application/octet-stream")
    .refusing(&[409]),
    json(
        "GET",
        "/api/v1/action-plans",
        "Plans, newest first",
        &["state", "before", "limit"],
        Body::None,
    ),
    json("POST", "/api/v1/action-plans", "Submit a plan", &[], Body::Json),
    json("GET", "/api/v1/action-plans/{id}", "One plan", &[], Body::None),
    json(
        "GET",
        "/api/v1/action-plans/{id}/status",
        "One plan, under the name that older clients know",
        &[],
        Body::None,
    ),
    json(
        "GET",
        "/api/v1/action-plans/{id}/explanation",
        "Why a plan stands where it does, in sentences",
        &[],
        Body::None,
    )
    .with(200, "text/plain"),
    json(
        "POST",
        "/api/v1/action-plans/{id}/shadow",
        "What policy would say of each step now",
        &[],
        Body::None,
    ),
    json(
        "POST",
        "/api/v1/action-plans/{id}/execute",
        "Have a plan carried out",
        &[],
        Body::None,
    ),
    json(
        "POST",
        "/api/v1/action-plans/{id}/approve",
        "Approve what policy holds back",
        &[],
        Body::None,
    ),
    json(
        "POST",
        "/api/v1/action-plans/{id}/deny",
        "Refuse a plan",
        &[],
        Body::Json,
    ),
    json(
        "POST",
        "/api/v1/action-plans/{id}/cancel",
        "Stop a plan before its next step",
        &[],
        Body::Json,
    ),
    json(
        "POST",
        "/api/v1/action-plans/{id}/retry",
        "Submit a plan again",
        &[],
        Body::None,
    )
    .with(201, "application/json"),
    json(
        "GET",
        "/api/v1/brains",
        "How far each brain is trusted with each verb, and what that rests on",
        &[],
        Body::None,
    ),
    json(
        "GET",
        "/api/v1/forecast",
        "How the embedded brain expects a device to go on",
        &["node", "device"],
        Body::None,
    ),
    json(
        "POST",
        "/api/v1/brains/{brain}/{verb}/tier",
        "Set what a brain may do with a verb without a person",
        &[],
        Body::Json,
    ),
    json(
        "POST",
        "/api/v1/sizing",
        "The size that a build should have, from an InfraMind, within bounds",
        &[],
        Body::Json,
    )
    .refusing(&[404]),
    json(
        "POST",
        "/api/v1/sizing/runs",
        "Tell the InfraMind that sizes builds of one that ran",
        &[],
        Body::Json,
    )
    .with(201, "application/json")
    .refusing(&[404]),
    json(
        "GET",
        "/api/v1/tasks",
        "Failed checks that became tasks",
        &["status", "repository", "limit", "offset"],
        Body::None,
    ),
    json("GET", "/api/v1/tasks/{id}", "One task", &[], Body::None),
    json(
        "POST",
        "/api/v1/tasks",
        "Work of any kind, for the healthiest agent that does it",
        &[],
        Body::Json,
    )
    .with(201, "application/json"),
    json(
        "PATCH",
        "/api/v1/tasks/{id}",
        "How a task goes, by its own agent",
        &[],
        Body::Json,
    ),
    json(
        "POST",
        "/api/v1/tasks/{id}/reassign",
        "Give a task to another agent",
        &["new_agent_id"],
        Body::None,
    ),
    json(
        "POST",
        "/api/v1/tasks/{id}/approve",
        "Agree to what policy wants a person for",
        &[],
        Body::Json,
    ),
    json(
        "GET",
        "/api/v1/tasks/{id}/explanation",
        "Why a task is as it is, for people",
        &[],
        Body::None,
    )
    .with(200, "text/plain"),
    json(
        "GET",
        "/api/v1/tasks/correlation/{id}",
        "Tasks that a prediction is joined with",
        &[],
        Body::None,
    ),
    json(
        "GET",
        "/api/v1/tasks/statistics/summary",
        "Tasks in counts, and how well chances agree with outcomes",
        &["agent_id"],
        Body::None,
    ),
    json(
        "GET",
        "/api/v1/tasks/policy",
        "What policy says of repairs in a repository now",
        &["repository"],
        Body::None,
    ),
    json(
        "GET",
        "/api/v1/tasks/agent/{id}/queue",
        "What waits for an agent; its next task begins",
        &[],
        Body::None,
    ),
    json(
        "GET",
        "/api/v1/agents",
        "Remediation agents, newest first",
        &["status", "limit", "offset"],
        Body::None,
    ),
    json(
        "POST",
        "/api/v1/agents",
        "Register an agent, or register it again",
        &[],
        Body::Json,
    )
    .with(201, "application/json")
    .also(200, "it was registered before"),
    json("GET", "/api/v1/agents/{id}", "One remediation agent", &[], Body::None),
    json(
        "PATCH",
        "/api/v1/agents/{id}",
        "Pause, resume or change an agent, or trust a key of it",
        &[],
        Body::Json,
    ),
    json(
        "DELETE",
        "/api/v1/agents/{id}",
        "Forget an agent; its tasks stay",
        &[],
        Body::None,
    )
    .with(204, ""),
    json(
        "POST",
        "/api/v1/agents/{id}/heartbeat",
        "How an agent is, by its own word",
        &[],
        Body::Json,
    )
    .with(204, ""),
    json(
        "GET",
        "/api/v1/agents/name/{name}",
        "One remediation agent by its name",
        &[],
        Body::None,
    ),
    json(
        "GET",
        "/api/v1/agents/statistics/summary",
        "Agents by how they stand",
        &[],
        Body::None,
    ),
    json(
        "GET",
        "/api/v1/agents/discover/{kind}",
        "Active agents that do such tasks",
        &[],
        Body::None,
    ),
    json(
        "GET",
        "/api/v1/tasks/{id}/certificate",
        "What was proved of a task's patch",
        &[],
        Body::None,
    ),
    json("POST", "/api/v1/tasks/{id}/cancel", "Give a task up", &[], Body::None).with(204, ""),
    json(
        "POST",
        "/api/v1/tasks/{id}/retry",
        "Have a task tried again",
        &[],
        Body::None,
    ),
    json(
        "POST",
        "/hooks/v1/{source}",
        "A forge tells of a check, signed",
        &[],
        Body::Json,
    ),
    json(
        "POST",
        "/webhooks/{*path}",
        "The same, at the addresses of older forges",
        &[],
        Body::Json,
    ),
    json(
        "POST",
        "/agent/v1/register",
        "A remediation agent says who it is",
        &[],
        Body::Json,
    ),
    json("POST", "/agent/v1/lease", "Take the next task", &[], Body::Json).also(204, "there is none"),
    json(
        "POST",
        "/agent/v1/tasks/{id}/extend",
        "Keep a task for longer",
        &[],
        Body::Json,
    ),
    json(
        "GET",
        "/agent/v1/tasks/{id}/log",
        "The failed check's log",
        &[],
        Body::None,
    )
    .with(200, "text/plain"),
    json(
        "GET",
        "/agent/v1/tasks/{id}/source",
        "The source that failed",
        &[],
        Body::None,
    )
    .with(200, "application/octet-stream"),
    json(
        "POST",
        "/agent/v1/tasks/{id}/propose",
        "Hand a patch in",
        &[],
        Body::Json,
    ),
    json(
        "POST",
        "/agent/v1/tasks/{id}/finish",
        "Say that there is no patch",
        &[],
        Body::Json,
    ),
    json(
        "GET",
        "/api/v1/verify",
        "Every node's stored journal read again and checked",
        &["node"],
        Body::None,
    ),
    json(
        "POST",
        "/api/v1/break-glass",
        "Open the glass: one action that a rule holds back",
        &[],
        Body::Bytes,
    ),
    json("POST", "/api/v1/actions", "Have a node do something", &[], Body::Json),
    json(
        "POST",
        "/api/v1/nodes/{name}/hold",
        "Hold a node: it acts on its own no more",
        &[],
        Body::Json,
    ),
    json(
        "POST",
        "/api/v1/nodes/{name}/release",
        "Let a node act again",
        &[],
        Body::Json,
    ),
    json(
        "POST",
        "/api/v1/tokens",
        "Make a token with which a node joins",
        &[],
        Body::Json,
    ),
    json(
        "GET",
        "/api/v1/clusters",
        "Clusters that the hub knows",
        &[],
        Body::None,
    ),
    json("POST", "/api/v1/clusters", "Register a cluster", &[], Body::Json),
    json(
        "POST",
        "/api/v1/clusters/{name}/remove",
        "Forget a cluster",
        &[],
        Body::None,
    ),
    json(
        "GET",
        "/api/v1/placement",
        "Where work would go, and what every node says to it",
        &[
            "deployment",
            "cluster",
            "cluster_labels",
            "replicas",
            "cpu_milli",
            "memory_mib",
            "gpus",
            "gpu_share",
            "models",
            "labels",
            "gang",
        ],
        Body::None,
    ),
    json(
        "GET",
        "/api/v1/workloads",
        "Workloads of all clusters",
        &["cluster", "namespace"],
        Body::None,
    ),
    json(
        "POST",
        "/api/v1/workloads",
        "Create a workload where there is room for it, by a plan",
        &[],
        Body::Json,
    )
    .with(201, "application/json"),
    json(
        "GET",
        "/api/v1/workloads/{cluster}/{namespace}/{name}",
        "One workload",
        &[],
        Body::None,
    ),
    json(
        "GET",
        "/api/v1/deployments",
        "Deployments of all clusters",
        &[],
        Body::None,
    ),
    json(
        "GET",
        "/api/v1/deployments/{cluster}/{namespace}/{name}",
        "One deployment",
        &[],
        Body::None,
    ),
    json(
        "POST",
        "/api/v1/deployments/{cluster}/{namespace}/{name}",
        "Change a deployment",
        &[],
        Body::Json,
    ),
    json(
        "POST",
        "/api/v1/deployments/{cluster}/{namespace}/{name}/scale",
        "Change how many replicas there are",
        &[],
        Body::Json,
    ),
    json(
        "POST",
        "/api/v1/deployments/{cluster}/{namespace}/{name}/rollback",
        "Go back to an earlier revision",
        &[],
        Body::Json,
    ),
    json(
        "GET",
        "/api/v1/scaling",
        "Deployments that the hub scales",
        &[],
        Body::None,
    ),
    json(
        "POST",
        "/api/v1/scaling/{cluster}/{namespace}/{name}",
        "Scale a deployment by its load",
        &[],
        Body::Json,
    ),
    json(
        "POST",
        "/api/v1/scaling/{cluster}/{namespace}/{name}/remove",
        "Do not scale a deployment any more",
        &[],
        Body::Json,
    ),
    json(
        "GET",
        "/api/v1/rollouts",
        "Rollouts under way and the last finished ones",
        &[],
        Body::None,
    ),
    json("POST", "/api/v1/rollouts", "Start a rollout", &[], Body::Json),
    json("GET", "/api/v1/rollouts/{id}", "One rollout", &[], Body::None),
    json(
        "POST",
        "/api/v1/rollouts/{id}/{verb}",
        "Promote, pause, resume or abort a rollout",
        &[],
        Body::Json,
    ),
    json(
        "GET",
        "/api/v1/stream",
        "What changes, as server-sent events",
        &[],
        Body::None,
    )
    .with(200, "text/event-stream"),
    json(
        "POST",
        "/api/v1/login",
        "Open a console session by a one-time code, or by name and password",
        &[],
        Body::Json,
    )
    .with(204, "")
    .refusing(&[401, 429]),
    json(
        "POST",
        "/api/v1/login-links",
        "Make a link that opens the console once",
        &[],
        Body::None,
    ),
    json(
        "POST",
        "/api/v1/auth/setup",
        "Set a password by a one-time link",
        &[],
        Body::Json,
    )
    .refusing(&[401, 429]),
    json("POST", "/api/v1/auth/login", "Log in and get tokens", &[], Body::Json).refusing(&[401, 429]),
    json("POST", "/api/v1/auth/refresh", "Get the next tokens", &[], Body::Json).refusing(&[401, 429]),
    json("POST", "/api/v1/auth/logout", "End the session", &[], Body::None).with(204, ""),
    json(
        "GET",
        "/api/v1/auth/me",
        "Who asks, and what they may do",
        &[],
        Body::None,
    ),
    json("GET", "/api/v1/users", "People", &[], Body::None),
    json("POST", "/api/v1/users", "Add a person", &[], Body::Json),
    json("GET", "/api/v1/users/{name}", "One person", &[], Body::None),
    json(
        "PATCH",
        "/api/v1/users/{name}",
        "Change a person's role, password or state",
        &[],
        Body::Json,
    ),
    json("DELETE", "/api/v1/users/{name}", "Remove a person", &[], Body::None),
    json(
        "POST",
        "/api/v1/users/{name}/invite",
        "Make a link with which a person sets their password",
        &[],
        Body::None,
    ),
    json("GET", "/api/v1/roles", "Roles with what they may do", &[], Body::None),
    json(
        "GET",
        "/api/v1/access",
        "Every route, its permission, and the roles that hold it",
        &[],
        Body::None,
    ),
    json("GET", "/api/v1/api-tokens", "Tokens of programs", &[], Body::None),
    json(
        "POST",
        "/api/v1/api-tokens",
        "Make a token for a program",
        &[],
        Body::Json,
    ),
    json(
        "DELETE",
        "/api/v1/api-tokens/{id}",
        "Make a token worthless",
        &[],
        Body::None,
    ),
    json(
        "GET",
        "/api/v1/consumers",
        "Who hears of everything that arrives, and how far each is",
        &[],
        Body::None,
    ),
    json("GET", "/api/v1/webhooks", "Where events are sent", &[], Body::None),
    json(
        "POST",
        "/api/v1/webhooks",
        "Send events somewhere from now on",
        &[],
        Body::Json,
    ),
    json(
        "DELETE",
        "/api/v1/webhooks/{name}",
        "Send nothing there any more",
        &[],
        Body::None,
    ),
    json(
        "POST",
        "/api/v1/webhooks/{name}/rotate",
        "Sign with another secret from now on",
        &[],
        Body::None,
    ),
    json(
        "GET",
        "/api/v1/webhooks/{name}/deliveries",
        "What waits, what was given up, what came through",
        &[],
        Body::None,
    ),
    json(
        "POST",
        "/api/v1/webhooks/{name}/resend",
        "Send what was given up again",
        &[],
        Body::Json,
    ),
    json(
        "GET",
        "/api/v1/audits",
        "What people and programs caused, or were refused, newest first",
        &["who", "verb", "target", "result", "since", "before", "limit"],
        Body::None,
    ),
    json(
        "GET",
        "/api/v1/token-keys",
        "The keys whose access tokens are accepted, the one that signs first",
        &[],
        Body::None,
    ),
    json(
        "POST",
        "/api/v1/token-keys/rotate",
        "Let a new key sign access tokens",
        &[],
        Body::Json,
    ),
    json(
        "GET",
        "/api/v1/audits/verify",
        "The hub's own journal read again and checked",
        &[],
        Body::None,
    ),
    json(
        "POST",
        "/api/v1/audits/accept",
        "Accept that the hub's own journal is not the one that was signed",
        &[],
        Body::Json,
    ),
    json(
        "GET",
        "/api/v1/events",
        "Everything that arrives, as CloudEvents, oldest first; with `watch` as a stream",
        &["after", "watch", "limit"],
        Body::None,
    ),
    json(
        "POST",
        "/v1/metrics",
        "Take in metrics of workloads by OTLP",
        &[],
        Body::Protobuf,
    )
    .with(200, "application/x-protobuf"),
    json(
        "GET",
        "/api/v1/workload-metrics",
        "The newest that workloads told by OTLP",
        &["metric", "limit"],
        Body::None,
    ),
    json("GET", "/api/v1/health", "The hub runs", &[], Body::None).with(200, "text/plain"),
    json("GET", "/api/v1/ready", "The hub serves", &[], Body::None).with(200, "text/plain"),
    json("GET", "/livez", "The hub runs", &[], Body::None).with(200, "text/plain"),
    json("GET", "/readyz", "The hub serves", &[], Body::None).with(200, "text/plain"),
    json("GET", "/metrics", "The hub and its fleet in numbers", &[], Body::None).with(200, "text/plain"),
    json("GET", "/handbook", "The handbook's first page", &[], Body::None).with(303, ""),
    json("GET", "/handbook/{*page}", "A page of the handbook", &[], Body::None).with(200, "text/html"),
    json("GET", "/problems/{code}", "What a problem means", &[], Body::None).with(200, "text/html"),
    json("GET", "/docs", "This API for people", &[], Body::None).with(200, "text/html"),
    json("GET", "/api/openapi.json", "This API for programs", &[], Body::None),
    json("GET", "/api/v1/metrics", "Every node's latest values", &[], Body::None).with(200, "text/plain"),
    json("POST", "/api/v1/nodes/{name}/deny", "Keep a node out", &[], Body::Json),
    json(
        "POST",
        "/api/v1/nodes/{name}/allow",
        "Let a denied node in again",
        &[],
        Body::Json,
    ),
    json("POST", "/api/v1/nodes/{name}/remove", "Forget a node", &[], Body::Json),
    json(
        "POST",
        "/api/v1/nodes/{name}/rename",
        "Give a node another name",
        &[],
        Body::Json,
    ),
    json(
        "POST",
        "/api/v1/nodes/{name}/rejoin",
        "Make a token with which a machine takes a node's name over",
        &[],
        Body::Json,
    ),
    json("GET", "/api/v1/tokens", "Tokens with which nodes join", &[], Body::None),
    json("GET", "/api/v1/tokens/{id}", "One join token", &[], Body::None),
    json("GET", "/api/v1/api-tokens/{id}", "One API token", &[], Body::None),
    json(
        "GET",
        "/api/v1/webhooks/{name}",
        "One outgoing webhook",
        &[],
        Body::None,
    ),
    json(
        "DELETE",
        "/api/v1/tokens/{id}",
        "Make a join token worthless",
        &[],
        Body::None,
    ),
    json(
        "GET",
        "/api/v1/commands/{id}",
        "What became of an order",
        &[],
        Body::None,
    ),
    json(
        "POST",
        "/api/v1/commands/{id}/cancel",
        "Call an order off that no node has yet",
        &[],
        Body::Json,
    ),
];

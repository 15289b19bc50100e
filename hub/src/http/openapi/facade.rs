//! Schemas of answers that are written by hand: tasks and remediation agents, as the system before this one had them, and CloudEvents.
//!
//! Each names what is always there; a client takes no harm from more.

use schemars::{Schema, SchemaGenerator, json_schema};

/// One task.
pub fn task(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "title": "Task",
        "required": ["id", "task_type", "status", "state", "source", "repository", "commit", "check", "priority", "attempts",
            "retry_count", "progress", "codes", "context", "timeout_seconds", "created_at", "updated_at"],
        "properties": {
            "id": { "type": "string" },
            "task_type": { "type": "string" },
            "status": { "type": "string", "enum": ["queued", "running", "completed", "failed", "cancelled"] },
            "state": { "type": "string" },
            "source": { "type": "string" },
            "repository": { "type": "string" },
            "commit": { "type": "string" },
            "check": { "type": "string" },
            "branch": { "type": ["string", "null"] },
            "log_url": { "type": ["string", "null"] },
            "attempts": { "type": "integer" },
            "retry_count": { "type": "integer" },
            "agent_id": { "type": ["string", "null"] },
            "agent_name": { "type": ["string", "null"] },
            "progress": { "type": "number", "minimum": 0, "maximum": 1 },
            "codes": { "type": "array" },
            "error_message": { "type": ["string", "null"] },
            "pull_request": {},
            "timeout_seconds": { "type": "integer" },
            "started_at": { "type": ["string", "null"] },
            "completed_at": { "type": ["string", "null"] },
            "duration_ms": { "type": ["integer", "null"] },
            "created_at": { "type": "string" },
            "updated_at": { "type": "string" },
        },
    })
}

/// Why somebody wants it.
pub fn reason(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "properties": { "reason": { "type": "string" } } })
}

/// A workload that was asked for, with the plan that makes it.
pub fn workload(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "required": ["name", "type", "image", "resources", "plan"],
        "properties": {
            "name": { "type": "string" },
            "type": { "type": "string" },
            "image": { "type": "string" },
            "resources": { "type": "object" },
            "plan": { "type": "object", "required": ["id", "state"] },
        },
    })
}

/// How a deployment is to be scaled.
pub fn scaling(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "required": ["spec", "query", "reason"],
        "additionalProperties": false,
        "properties": {
            "spec": { "type": "object" },
            "query": { "type": "string" },
            "trouble": { "type": "string" },
            "forecast": { "type": "boolean", "default": true },
            "start_ms": { "type": "integer", "default": 60000 },
            "reason": { "type": "string" },
        },
    })
}

/// Tasks.
pub fn tasks(generator: &mut SchemaGenerator) -> Schema {
    let one = task(generator);
    json_schema!({ "type": "array", "items": one })
}

/// Counts of tasks.
pub fn task_statistics(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "required": ["total", "pending", "queued", "assigned", "running", "completed", "failed", "cancelled", "avg_duration_ms", "success_rate"],
        "additionalProperties": { "type": ["integer", "number", "object", "null"] },
    })
}

/// What policy says of repairs in a repository.
pub fn task_policy(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "required": ["repository", "steps", "chances", "open_pull_requests", "propose_from", "merge_from"],
        "properties": {
            "repository": { "type": "string" },
            "steps": { "type": "array", "items": { "type": "object", "required": ["step", "verdict"] } },
            "chances": { "type": "array", "items": { "type": "object", "required": ["category", "at_least", "mean", "outcomes"] } },
            "open_pull_requests": { "type": "integer" },
            "wishes": {
                "type": ["object", "null"],
                "description": "What .patchbot.toml of the default branch says; null where no forge is known that has the repository.",
                "required": ["file", "source"],
            },
        },
    })
}

/// What waits for an agent.
pub fn queue(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "required": ["queue_depth", "active_tasks", "active_task_ids"],
        "properties": {
            "queue_depth": { "type": "object", "additionalProperties": { "type": "integer" } },
            "active_tasks": { "type": "integer" },
            "active_task_ids": { "type": "array", "items": { "type": "string" } },
        },
    })
}

/// One remediation agent.
pub fn agent(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "title": "RemediationAgent",
        "required": ["id", "name", "version", "capabilities", "status", "health_score", "last_heartbeat", "total_tasks",
            "successful_tasks", "failed_tasks", "created_at", "updated_at"],
        "properties": {
            "id": { "type": "string" },
            "name": { "type": "string" },
            "version": { "type": "string" },
            "description": { "type": ["string", "null"] },
            "capabilities": {
                "type": "object",
                "required": ["supported_tasks", "max_concurrent_tasks", "timeout_seconds"],
                "properties": {
                    "supported_tasks": { "type": "array", "items": { "type": "string" } },
                    "max_concurrent_tasks": { "type": "integer" },
                    "supported_failure_types": { "type": ["array", "null"], "items": { "type": "string" } },
                    "timeout_seconds": { "type": "integer" },
                },
            },
            "status": { "type": "string" },
            "health_score": { "type": "number" },
            "last_heartbeat": { "type": "string" },
            "total_tasks": { "type": "integer" },
            "successful_tasks": { "type": "integer" },
            "failed_tasks": { "type": "integer" },
            "created_at": { "type": "string" },
            "updated_at": { "type": "string" },
        },
    })
}

/// Remediation agents.
pub fn agents(generator: &mut SchemaGenerator) -> Schema {
    let one = agent(generator);
    json_schema!({ "type": "array", "items": one })
}

/// Counts of agents.
pub fn agent_statistics(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "required": ["total"], "additionalProperties": { "type": "integer" } })
}

/// A page of CloudEvents.
pub fn events(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "required": ["items"],
        "properties": {
            "items": {
                "type": "array",
                "items": {
                    "title": "CloudEvent",
                    "description": "Something that arrived (CloudEvents 1.0).",
                    "type": "object",
                    "required": [
                        "specversion", "id", "source", "type", "subject", "time", "datacontenttype", "sentinelcursor", "data",
                    ],
                    "properties": {
                        "specversion": { "type": "string", "const": "1.0" },
                        "id": { "type": "string", "description": "The same for the same entry, whoever delivers it." },
                        "source": { "type": "string", "description": "Whose journal: `/nodes/NAME`, or `/hub`." },
                        "type": { "type": "string", "description": "What kind of thing, with a version." },
                        "subject": { "type": "string", "description": "The entry." },
                        "time": { "type": "string", "description": "When, by the clock of whoever made the entry: RFC 3339." },
                        "datacontenttype": { "type": "string", "const": "application/json" },
                        "sentinelcursor": { "type": "string", "description": "Where to go on after it." },
                        "data": { "description": "What the entry says." },
                    },
                },
            },
            "next_cursor": { "type": ["string", "null"] },
        },
    })
}

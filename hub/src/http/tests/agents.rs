//! The original's API of agents and tasks, decided as its cases demand; what time decides is in `hub/core/tests/tasks.rs`.

use serde_json::json;

use super::*;

/// Registers an agent and gives its id.
async fn register(hub: &TestHub, name: &str, tasks: &[&str]) -> String {
    let body = json!({"name": name, "version": "1.0.0", "capabilities": {"supported_tasks": tasks}});
    let agent = hub.admin("POST", "/api/v1/agents/", &body.to_string(), 201).await;
    agent["id"].as_str().expect("an id").to_owned()
}

/// Makes a task and gives its id.
async fn create(hub: &TestHub, kind: &str) -> String {
    let body = json!({"task_type": kind, "context": {"a": 1}});
    let task = hub.admin("POST", "/api/v1/tasks/", &body.to_string(), 201).await;
    task["id"].as_str().expect("an id").to_owned()
}

fn names(list: &Value) -> Vec<&str> {
    let rows = list.as_array().expect("a list");
    rows.iter().map(|row| row["name"].as_str().expect("a name")).collect()
}

#[tokio::test]
async fn registrations_outside_the_limits_are_refused_with_their_field() {
    let hub = TestHub::start().await;
    let body = |version: &str, capabilities: Value| {
        let mut all = json!({"supported_tasks": ["a"]});
        for (name, value) in capabilities.as_object().expect("an object") {
            all[name] = value.clone();
        }
        json!({"name": "patchbot", "version": version, "capabilities": all}).to_string()
    };
    for (version, capabilities, status) in [
        ("v1.0.0", json!({}), 422),
        ("1.0.0-rc1", json!({}), 422),
        ("1.0.0", json!({"timeout_seconds": 59}), 422),
        ("1.0.0", json!({"timeout_seconds": 3_601}), 422),
        ("1.0.0", json!({"max_concurrent_tasks": 0}), 422),
        ("1.0.0", json!({"max_concurrent_tasks": 51}), 422),
        (
            "1.0.0",
            json!({"timeout_seconds": 3_600, "max_concurrent_tasks": 50}),
            201,
        ),
        ("1.0.1", json!({"max_concurrent_tasks": 1}), 200),
    ] {
        hub.admin("POST", "/api/v1/agents", &body(version, capabilities), status)
            .await;
    }
    hub.stop().await;
}

#[tokio::test]
async fn a_name_that_registers_again_keeps_its_id_and_is_found_by_each_of_its_tasks() {
    let hub = TestHub::start().await;
    let id = register(&hub, "multi", &["code_review", "docs"]).await;
    register(&hub, "patchbot", &["ci_failure_fix"]).await;
    let again =
        json!({"name": "multi", "version": "1.1.0", "capabilities": {"supported_tasks": ["code_review", "docs"]}});
    let agent = hub.admin("POST", "/api/v1/agents", &again.to_string(), 200).await;
    assert_eq!((&agent["id"], &agent["version"]), (&json!(id), &json!("1.1.0")));
    for (kind, expected) in [
        ("ci_failure_fix", ["patchbot"]),
        ("code_review", ["multi"]),
        ("docs", ["multi"]),
    ] {
        let found = hub
            .admin("GET", &format!("/api/v1/agents/discover/{kind}"), "", 200)
            .await;
        assert_eq!(names(&found), expected);
    }
    let path = format!("/api/v1/agents/{id}");
    for (status, expected) in [
        ("paused", 200),
        ("offline", 200),
        ("active", 200),
        ("failed", 422),
        ("paused", 200),
    ] {
        let change = json!({ "status": status }).to_string();
        hub.admin("PATCH", &path, &change, expected).await;
    }
    let found = hub.admin("GET", "/api/v1/agents/discover/docs", "", 200).await;
    assert!(names(&found).is_empty(), "a paused agent is found");
    let summary = hub.admin("GET", "/api/v1/agents/statistics/summary", "", 200).await;
    assert_eq!(
        summary,
        json!({"total": 2, "active": 1, "paused": 1, "failed": 0, "offline": 0})
    );
    hub.stop().await;
}

#[tokio::test]
async fn a_paused_agent_stays_paused_whatever_its_health() {
    let hub = TestHub::start().await;
    let id = register(&hub, "patchbot", &["ci_failure_fix"]).await;
    let path = format!("/api/v1/agents/{id}");
    let beat = |health: f64| json!({ "health_score": health }).to_string();
    let status = async || hub.admin("GET", &path, "", 200).await["status"].clone();
    for (health, expected) in [(0.2, "failed"), (0.5, "failed"), (0.8, "active")] {
        hub.admin("POST", &format!("{path}/heartbeat"), &beat(health), 204)
            .await;
        assert_eq!(status().await, expected, "after {health}");
    }
    hub.admin("PATCH", &path, r#"{"status": "paused"}"#, 200).await;
    for health in [0.1, 0.9] {
        hub.admin("POST", &format!("{path}/heartbeat"), &beat(health), 204)
            .await;
        assert_eq!(status().await, "paused", "after {health}");
    }
    hub.admin("POST", &format!("{path}/heartbeat"), &beat(1.1), 422).await;
    hub.stop().await;
}

#[tokio::test]
async fn a_task_goes_from_creation_over_the_queue_to_one_end() {
    let hub = TestHub::start().await;
    let nobody = r#"{"task_type": "docs"}"#;
    hub.admin("POST", "/api/v1/tasks", nobody, 503).await;
    let agent = register(&hub, "writer", &["docs"]).await;
    for (seconds, status) in [(59, 422), (3_601, 422), (60, 201)] {
        let body = json!({"task_type": "docs", "timeout_seconds": seconds}).to_string();
        hub.admin("POST", "/api/v1/tasks", &body, status).await;
    }
    let second = create(&hub, "docs").await;
    let queue = format!("/api/v1/tasks/agent/{agent}/queue");
    let waiting = hub.admin("GET", &queue, "", 200).await;
    let first = waiting["active_task_ids"][0]
        .as_str()
        .expect("it gets a task")
        .to_owned();
    assert_eq!(
        waiting["queue_depth"],
        json!({"high": 0, "normal": 1, "low": 0, "total": 1})
    );
    let again = hub.admin("GET", &queue, "", 200).await;
    assert_eq!(
        again["active_task_ids"],
        json!([first]),
        "asking twice hands nothing out twice"
    );

    let path = format!("/api/v1/tasks/{first}");
    let shown = hub.admin("GET", &path, "", 200).await;
    assert_eq!(
        (&shown["status"], &shown["agent_id"]),
        (&json!("running"), &json!(agent))
    );
    for progress in [-0.1, 1.01] {
        let body = json!({ "progress": progress }).to_string();
        hub.admin("PATCH", &path, &body, 422).await;
    }
    let done = r#"{"status": "completed", "result": {"pages": 3}, "artifacts": [{"type": "commit"}]}"#;
    for _ in 0..2 {
        let task = hub.admin("PATCH", &path, done, 200).await;
        assert_eq!(
            (
                &task["status"],
                &task["result"],
                &task["artifacts"][0]["type"],
                &task["agent_name"]
            ),
            (
                &json!("completed"),
                &json!({"pages": 3}),
                &json!("commit"),
                &json!("writer")
            )
        );
    }
    let counted = hub.admin("GET", &format!("/api/v1/agents/{agent}"), "", 200).await;
    assert_eq!(
        (&counted["total_tasks"], &counted["successful_tasks"]),
        (&json!(1), &json!(1))
    );

    hub.admin("POST", &format!("/api/v1/tasks/{second}/cancel"), "", 204)
        .await;
    let left = hub.admin("GET", &queue, "", 200).await;
    assert_eq!(
        (&left["queue_depth"]["total"], &left["active_tasks"]),
        (&json!(0), &json!(0))
    );
    let summary = hub.admin("GET", "/api/v1/tasks/statistics/summary", "", 200).await;
    assert_eq!(
        (
            &summary["total"],
            &summary["completed"],
            &summary["cancelled"],
            &summary["success_rate"]
        ),
        (&json!(2), &json!(1), &json!(1), &json!(1.0))
    );
    hub.admin("DELETE", &format!("/api/v1/agents/{agent}"), "", 204).await;
    let kept = hub.admin("GET", "/api/v1/tasks", "", 200).await;
    assert_eq!(kept.as_array().map(Vec::len), Some(2), "its tasks went with it");
    hub.stop().await;
}

#[tokio::test]
async fn a_full_agent_gets_low_priority_and_another_one_takes_over() {
    let hub = TestHub::start().await;
    let one = json!({"name": "one", "version": "1.0.0", "capabilities": {"supported_tasks": ["docs"], "max_concurrent_tasks": 1}});
    let agent = hub.admin("POST", "/api/v1/agents", &one.to_string(), 201).await;
    let agent = agent["id"].as_str().expect("an id");
    let first = create(&hub, "docs").await;
    hub.admin("GET", &format!("/api/v1/tasks/agent/{agent}/queue"), "", 200)
        .await;
    let body = r#"{"task_type": "docs", "correlation_id": "prediction-1"}"#;
    let low = hub.admin("POST", "/api/v1/tasks", body, 201).await;
    assert_eq!((&low["priority"], &low["status"]), (&json!("low"), &json!("queued")));
    let joined = hub
        .admin("GET", "/api/v1/tasks/correlation/prediction-1", "", 200)
        .await;
    assert_eq!(joined[0]["id"], low["id"]);

    let path = format!("/api/v1/tasks/{first}/reassign");
    hub.admin("POST", &path, "", 400).await;
    let other = register(&hub, "two", &["docs"]).await;
    let task = hub.admin("POST", &path, "", 200).await;
    assert_eq!(
        (&task["agent_id"], &task["retry_count"], &task["status"]),
        (&json!(other), &json!(1), &json!("queued"))
    );
    hub.stop().await;
}

#[tokio::test]
async fn an_agent_may_touch_its_own_tasks_only() {
    let hub = TestHub::start().await;
    let agent = register(&hub, "writer", &["docs"]).await;
    let task = create(&hub, "docs").await;
    let token = hub
        .admin(
            "POST",
            "/api/v1/api-tokens",
            r#"{"name": "other", "role": "operator"}"#,
            200,
        )
        .await;
    let bearer = format!("Bearer {}", token["token"].as_str().expect("a token"));
    let as_other = [("authorization", bearer.as_str())];
    for (method, path, body) in [
        ("PATCH", format!("/api/v1/tasks/{task}"), r#"{"status": "completed"}"#),
        ("GET", format!("/api/v1/tasks/agent/{agent}/queue"), ""),
        (
            "POST",
            format!("/api/v1/agents/{agent}/heartbeat"),
            r#"{"health_score": 0.1}"#,
        ),
    ] {
        let answer = hub.ask(method, &path, &as_other, body).await;
        assert_eq!(answer.status.as_u16(), 403, "{method} {path}: {}", answer.text());
    }
    let again =
        json!({"name": "writer", "version": "1.0.0", "capabilities": {"supported_tasks": ["docs"]}}).to_string();
    assert_eq!(
        hub.ask("POST", "/api/v1/agents", &as_other, &again)
            .await
            .status
            .as_u16(),
        403
    );
    hub.stop().await;
}

/// Who signs is known by name and key: another key under a known name is refused until a person trusts it.
#[tokio::test]
async fn the_first_key_of_a_name_is_pinned() {
    let hub = TestHub::start().await;
    let bearer = [("authorization", "Bearer remediation")];
    let body = |key: &str| {
        json!({"name": "patchbot", "version": "0.1.0", "instance": "patchbot/0.1.0/1", "public_key": key.repeat(32),
            "sandbox": "L3", "fixers": ["ruff-check"], "protocol": [1]})
        .to_string()
    };
    let status = async |key: &str| {
        hub.ask("POST", "/agent/v1/register", &bearer, &body(key))
            .await
            .status
            .as_u16()
    };
    assert_eq!(
        (status("0a").await, status("0a").await, status("0b").await),
        (200, 200, 403)
    );
    let agent = hub.admin("GET", "/api/v1/agents/name/patchbot", "", 200).await;
    assert_eq!(
        (&agent["sandbox"], &agent["keys"]),
        (&json!("L3"), &json!(["0a".repeat(32)]))
    );
    let path = format!("/api/v1/agents/{}", agent["id"].as_str().expect("an id"));
    let trust = json!({"trust_key": "0b".repeat(32)}).to_string();
    hub.admin("PATCH", &path, &trust, 200).await;
    assert_eq!(status("0b").await, 200);
    hub.stop().await;
}

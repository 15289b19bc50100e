//! What belongs to a tenant is not there for others, and nothing is overwritten that somebody else has changed.

use super::*;
use crate::http::ROUTES;
use crate::http::tenants::Owned;

const PLAN: &str = r#"{"decisions": [{"verb": "power_cap", "target": {"node": "edge-03", "device": "gpu0"},
    "params": {"watts": 220}, "ttl": 900}], "reason": "it grows hot"}"#;

/// An access token of a person of this role and tenant.
async fn person(hub: &TestHub, name: &str, role: &str, tenant: Option<&str>) -> String {
    let tenant = serde_json::to_string(&tenant).expect("a text or nothing");
    let body = format!(r#"{{"name":"{name}","role":"{role}","tenant":{tenant},"password":"correct horse"}}"#);
    hub.admin("POST", "/api/v1/users", &body, 200).await;
    let body = format!(r#"{{"username":"{name}","password":"correct horse"}}"#);
    let pair = hub.ask("POST", "/api/v1/auth/login", &[], &body).await.json();
    pair["access_token"].as_str().expect("a token").to_owned()
}

async fn by(hub: &TestHub, token: &str, method: &str, path: &str, body: &str) -> Answered {
    let bearer = format!("Bearer {token}");
    hub.ask(method, path, &[("authorization", &bearer)], body).await
}

/// Submits a plan of a tenant, and returns the answer's status and the plan's id.
async fn submit(hub: &TestHub, token: &str, tenant: &str) -> (u16, String) {
    let plan = PLAN.replace("\"reason\"", &format!("\"tenant\": \"{tenant}\", \"reason\""));
    let answer = by(hub, token, "POST", "/api/v1/action-plans", &plan).await;
    let id = answer.json()["id"].as_str().unwrap_or_default().to_owned();
    (answer.status.as_u16(), id)
}

async fn ids(hub: &TestHub, token: &str) -> Vec<String> {
    let list = by(hub, token, "GET", "/api/v1/action-plans", "").await.json();
    let items = list["items"].as_array().expect("a list").iter();
    items
        .map(|plan| plan["id"].as_str().expect("an id").to_owned())
        .collect()
}

#[tokio::test]
async fn a_plan_of_another_tenant_is_not_there() {
    let mut hub = TestHub::start().await;
    let bundle = hub.publish().await;
    TestAgent::connect(&mut hub, "edge-03", 1, bundle).await;
    let red = person(&hub, "red", "operator", Some("red")).await;
    let blue = person(&hub, "blue", "operator", Some("blue")).await;
    let none = person(&hub, "none", "operator", None).await;
    let admin = person(&hub, "root-admin", "admin", Some("blue")).await;

    let (status, id) = submit(&hub, &red, "").await;
    assert_eq!(status, 201);
    assert_eq!(submit(&hub, &blue, "red").await.0, 403, "in another's name");
    let path = format!("/api/v1/action-plans/{id}");
    let plan = by(&hub, &red, "GET", &path, "").await;
    assert_eq!(plan.json()["tenant"], "red", "it is its maker's");
    assert_eq!(by(&hub, &admin, "GET", &path, "").await.status, 200, "admins see all");
    let nobody = format!("/api/v1/action-plans/{}", "07".repeat(16));
    for (name, token) in [("blue", &blue), ("none", &none)] {
        let hidden = by(&hub, token, "GET", &path, "").await;
        let missing = by(&hub, token, "GET", &nobody, "").await;
        assert_eq!(
            (hidden.status, missing.status),
            (StatusCode::NOT_FOUND, StatusCode::NOT_FOUND),
            "{name}"
        );
        let same = |answer: &Answered| answer.text().replace(&id, "ID").replace(&"07".repeat(16), "ID");
        assert_eq!(same(&hidden), same(&missing), "told in the same words");
        assert!(ids(&hub, token).await.is_empty(), "{name}");
        let cancel = by(&hub, token, "POST", &format!("{path}/cancel"), r#"{"reason":"mine"}"#).await;
        assert_eq!(cancel.status, 404, "{name}");
    }
    assert_eq!(ids(&hub, &red).await, std::slice::from_ref(&id));
    assert_eq!(ids(&hub, &admin).await, [id]);
    hub.stop().await;
}

#[tokio::test]
async fn a_cluster_of_another_tenant_and_what_runs_there_is_not_there() {
    let hub = TestHub::start().await;
    let body = r#"{"name":"red-cluster","kubeconfig":"/nowhere","labels":[["tenant","red"]]}"#;
    hub.admin("POST", "/api/v1/clusters", body, 200).await;
    let red = person(&hub, "red", "operator", Some("red")).await;
    let blue = person(&hub, "blue", "operator", Some("blue")).await;
    let names = async |token: &str| {
        let list = by(&hub, token, "GET", "/api/v1/clusters", "").await.json();
        list["items"].as_array().map(Vec::len)
    };
    assert_eq!((names(&red).await, names(&blue).await), (Some(1), Some(0)));
    let target = r#""target":{"cluster":"red-cluster","namespace":"default","name":"web"}"#;
    let start = format!(r#"{{{target},"reason":"newer","image":"web:2"}}"#);
    for (method, path, body) in [
        ("GET", "/api/v1/deployments/red-cluster/default/web", ""),
        (
            "POST",
            "/api/v1/deployments/red-cluster/default/web/scale",
            r#"{"replicas":1,"reason":"x"}"#,
        ),
        ("POST", "/api/v1/rollouts", start.as_str()),
    ] {
        let hidden = by(&hub, &blue, method, path, body).await;
        assert_eq!(hidden.status, 404, "{method} {path}: {}", hidden.text());
        assert!(hidden.text().contains("is not registered"), "{}", hidden.text());
        let own = by(&hub, &red, method, path, body).await;
        assert_ne!(own.status, 404, "{method} {path}: {}", own.text());
    }
    hub.stop().await;
}

#[test]
fn every_route_that_names_what_a_tenant_may_own_asks_whose_it_is() {
    for route in ROUTES {
        let kinds = [
            "action-plans",
            "clusters",
            "deployments",
            "workloads",
            "scaling",
            "rollouts",
        ];
        let names = kinds
            .iter()
            .any(|kind| route.path.starts_with(&format!("/api/v1/{kind}/{{")));
        assert_eq!(Owned::of(route.path).is_some(), names, "{route:?}");
    }
}

#[tokio::test]
async fn nothing_is_changed_or_removed_that_is_not_what_the_caller_read() {
    let hub = TestHub::start().await;
    let bearer = format!("Bearer {TOKEN}");
    let made = hub.admin("POST", "/api/v1/tokens", r#"{"site":"lab"}"#, 200).await;
    assert!(made["token"].is_string());
    let tokens = hub.admin("GET", "/api/v1/tokens", "", 200).await;
    let join = tokens["items"][0]["id"].as_str().expect("an id").to_owned();
    let api = hub
        .admin("POST", "/api/v1/api-tokens", r#"{"name":"ci","role":"viewer"}"#, 200)
        .await;
    let api = api["id"].as_str().expect("an id").to_owned();
    hub.admin(
        "POST",
        "/api/v1/webhooks",
        r#"{"name":"hook","url":"http://127.0.0.1:9/x"}"#,
        200,
    )
    .await;
    for user in [r#"{"name":"ann","role":"admin"}"#, r#"{"name":"bob","role":"viewer"}"#] {
        hub.admin("POST", "/api/v1/users", user, 200).await;
    }
    let agent = r#"{"name":"fixer","version":"1.0.0","capabilities":{"supported_tasks":["lint"]}}"#;
    let agent = hub.admin("POST", "/api/v1/agents", agent, 201).await;
    let agent = agent["id"].as_str().expect("an id").to_owned();
    for path in [
        format!("/api/v1/tokens/{join}"),
        format!("/api/v1/api-tokens/{api}"),
        "/api/v1/webhooks/hook".to_owned(),
        "/api/v1/users/bob".to_owned(),
        format!("/api/v1/agents/{agent}"),
    ] {
        let read = hub.ask("GET", &path, &[("authorization", &bearer)], "").await;
        assert_eq!(read.status, 200, "{path}: {}", read.text());
        let tag = read.header("etag").to_owned();
        let stale = [("authorization", bearer.as_str()), ("if-match", "\"0000000000000000\"")];
        let refused = hub.ask("DELETE", &path, &stale, "").await;
        assert_eq!(refused.status, 412, "{path}: {}", refused.text());
        let fresh = [("authorization", bearer.as_str()), ("if-match", tag.as_str())];
        let removed = hub.ask("DELETE", &path, &fresh, "").await;
        assert!(removed.status.is_success(), "{path}: {}", removed.text());
        let again = hub.ask("DELETE", &path, &fresh, "").await;
        assert!(again.status.is_client_error(), "{path}: {}", again.text());
    }
    hub.stop().await;
}

//! Deployments and rollouts of a real cluster, through the API of an in-process hub.
//!
//! Pods run no containers (kwok); those of an image with the tag `bad` become ready and crash some seconds later.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testbed_services::{API_USERS, ControlPlane, KubeApi, to_stderr};

use super::TestHub;

/// Longest wait for pods and rollouts, which take seconds on an idle machine.
const WITHIN: Duration = Duration::from_secs(180);
const DEPLOYMENT: &str = "/api/v1/deployments/edge/default/web";

#[tokio::test]
async fn a_deployment_is_created_scaled_and_rolled_out_and_a_bad_image_is_taken_back() {
    let plane = ControlPlane::start("hub-api", &to_stderr).expect("a control plane");
    plane.add_nodes("node", 2, &json!({})).expect("nodes");
    let hub = TestHub::start().await;
    let cluster = json!({ "name": "edge", "kubeconfig": plane.kubeconfig(API_USERS[0]) });
    hub.admin("POST", "/api/v1/clusters", &cluster.to_string(), 200).await;
    let listed = until(&hub, "/api/v1/clusters", |list| list["items"][0]["status"] == "ready").await;
    assert_eq!(listed["items"][0]["version"], json!("v1.36.3"));

    let create = json!({ "change": { "create": { "image": "web:1", "replicas": 4 } }, "reason": "first" });
    let outcome = hub.admin("POST", DEPLOYMENT, &create.to_string(), 200).await;
    assert!(outcome["accepted"].is_object(), "{outcome}");
    until(&hub, DEPLOYMENT, |one| one["ready"] == 4 && one["status"] == "running").await;
    let again = hub.admin("POST", DEPLOYMENT, &create.to_string(), 200).await;
    assert!(
        again["refused"]["reason"]
            .as_str()
            .is_some_and(|reason| reason.contains("exists already")),
        "{again}"
    );
    let scale = format!("{DEPLOYMENT}/scale");
    hub.admin(
        "POST",
        &scale,
        &json!({ "replicas": 7, "reason": "more people" }).to_string(),
        200,
    )
    .await;
    until(&hub, DEPLOYMENT, |one| one["ready"] == 7 && one["status"] == "running").await;

    // A bad image: found by its canary, taken back, and never fewer than 7 are ready.
    let rollout = start(&hub, "web:bad").await;
    let end = watched_to_the_end(&hub, &rollout, &plane.api().expect("a client")).await;
    assert_eq!(end["phase"], json!("rolled_back"), "{end}");
    assert!(end["why"].as_str().is_some_and(|why| why.contains("health")), "{end}");
    until(&hub, DEPLOYMENT, |one| one["ready"] == 7 && one["image"] == "web:1").await;

    // A good one: it runs on all replicas, and nothing of the rollout is left.
    let rollout = start(&hub, "web:2").await;
    let end = watched_to_the_end(&hub, &rollout, &plane.api().expect("a client")).await;
    assert_eq!(end["phase"], json!("completed"), "{end}");
    let left = hub.admin("GET", "/api/v1/deployments?cluster=edge", "", 200).await;
    assert_eq!(left["items"].as_array().map(Vec::len), Some(1), "{left}");
    assert_eq!(
        (&left["items"][0]["image"], &left["items"][0]["ready"]),
        (&json!("web:2"), &json!(7))
    );

    let refused = json!({ "target": target(), "image": "web:2", "reason": "again" });
    hub.admin("POST", "/api/v1/rollouts", &refused.to_string(), 409).await;
    let unknown = json!({ "replicas": 1, "reason": "x" });
    hub.admin(
        "POST",
        "/api/v1/deployments/nowhere/default/web/scale",
        &unknown.to_string(),
        409,
    )
    .await;
    hub.stop().await;
}

fn target() -> Value {
    json!({ "cluster": "edge", "namespace": "default", "name": "web" })
}

async fn start(hub: &TestHub, image: &str) -> String {
    let percent = |percent: u8| json!({ "set": { "replicas": percent, "weight": percent } });
    let spec = json!({
        "image": image,
        "steps": [percent(20), { "analyse": { "ms": 15_000 } }, percent(100)],
        "analysis": { "check_every_ms": 1_000 },
    });
    let asked = json!({ "target": target(), "spec": spec, "reason": "a newer image" });
    let view = hub.admin("POST", "/api/v1/rollouts", &asked.to_string(), 200).await;
    view["id"].as_str().expect("an id").to_owned()
}

/// Follows a rollout to its end while counting ready replicas of the deployment and all its parts.
async fn watched_to_the_end(hub: &TestHub, rollout: &str, api: &KubeApi) -> Value {
    let started = Instant::now();
    loop {
        let list = api
            .get("/apis/apps/v1/namespaces/default/deployments")
            .expect("the deployments");
        let parts = list["items"].as_array().into_iter().flatten();
        let ready: u64 = parts.filter_map(|part| part["status"]["readyReplicas"].as_u64()).sum();
        assert!(ready >= 7, "only {ready} replicas were ready: {list}");
        let view = hub.admin("GET", &format!("/api/v1/rollouts/{rollout}"), "", 200).await;
        if view["finished"] == json!(true) {
            return view;
        }
        assert!(started.elapsed() < WITHIN, "it does not end: {view}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Asks until the answer is as wanted.
async fn until(hub: &TestHub, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let started = Instant::now();
    loop {
        let answer = hub.admin("GET", path, "", 200).await;
        if wanted(&answer) {
            return answer;
        }
        assert!(started.elapsed() < WITHIN, "{path}: {answer}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

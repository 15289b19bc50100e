//! Deployments, rollouts, plans and nodes of a real cluster, through the API of an in-process hub.
//!
//! Pods run no containers (kwok); those of an image with the tag `bad` become ready and crash some seconds later.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use testbed_services::{API_USERS, ControlPlane, KubeApi, to_stderr};
use tokio::time::{Instant, timeout_at};
use wire::domains::NodeFacts;
use wire::frame::Frame;

use super::{TestAgent, TestHub};

/// Longest wait for pods and rollouts, which take seconds on an idle machine.
const WITHIN: Duration = Duration::from_secs(180);
const DEPLOYMENT: &str = "/api/v1/deployments/edge/default/web";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const BUDGETS: &str = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
/// The label of a node that names the agent on it.
const AGENT: &str = "sentinel.dev/agent";
const RULES: &str = "bundle: clusters\npermits: [{ kinds: [scale, update, cordon, uncordon, drain] }]\nrules:\n  - { id: most, kind: envelope, selector: { kinds: [scale] }, max: 20 }\n";

/// A hub that knows a cluster of its own with three nodes, and the rules that its plans are judged by.
async fn begun(name: &str) -> (ControlPlane, TestHub) {
    let plane = ControlPlane::start(name, &to_stderr).expect("a control plane");
    plane.add_nodes("node", 3, &json!({})).expect("nodes");
    let hub = TestHub::start().await;
    let cluster = json!({ "name": "edge", "kubeconfig": plane.kubeconfig(API_USERS[0]) });
    let view = hub.admin("POST", "/api/v1/clusters", &cluster.to_string(), 200).await;
    assert_eq!(
        (&view["status"], &view["version"]),
        (&json!("ready"), &json!("v1.36.3"))
    );
    hub.admin("POST", "/api/v1/policies", RULES, 200).await;
    (plane, hub)
}

#[tokio::test]
async fn a_workload_is_scaled_by_a_plan_and_a_bad_image_is_taken_back_without_losing_a_replica() {
    let (plane, hub) = begun("hub-api").await;
    let create = json!({ "change": { "create": { "image": "web:1", "replicas": 4 } }, "reason": "first" });
    let outcome = hub.admin("POST", DEPLOYMENT, &create.to_string(), 200).await;
    assert!(outcome["accepted"].is_object(), "{outcome}");
    web(&plane, |one| one["status"]["readyReplicas"] == 4).await;
    let again = hub.admin("POST", DEPLOYMENT, &create.to_string(), 200).await;
    let refused = again["refused"]["reason"].as_str().unwrap_or_default();
    assert!(refused.contains("exists already"), "{again}");

    // The plan is over exactly when 7 pods are ready, also if the hub starts again in between.
    let plan = submit(
        &hub,
        &json!([{ "verb": "scale", "target": web_target(), "params": { "replicas": 7 } }]),
    )
    .await;
    let hub = hub.restart().await;
    let end = finished(&hub, &plan).await;
    let ready = hub.admin("GET", DEPLOYMENT, "", 200).await;
    assert_eq!(
        (&end["state"], &ready["ready"]),
        (&json!("completed"), &json!(7)),
        "{end}"
    );
    assert_eq!(end["steps"][0]["detail"], json!("7 of 7 replicas are ready"));
    let bearer = format!("Bearer {}", super::TOKEN);
    let why = format!("/api/v1/action-plans/{plan}/explanation");
    let why = hub.ask("GET", &why, &[("authorization", &bearer)], "").await.text();
    assert!(why.contains("7 of 7 replicas are ready"), "{why}");

    // A bad image: found by its canary, taken back, and never fewer than 7 are ready.
    let capacity = Capacity::watch(&plane, 7);
    let rollout = start(&hub, "web:bad").await;
    let end = until(&hub, &format!("/api/v1/rollouts/{rollout}"), |view| {
        view["finished"] == true
    })
    .await;
    assert_eq!(end["phase"], json!("rolled_back"), "{end}");
    assert!(end["why"].as_str().is_some_and(|why| why.contains("health")), "{end}");
    let now = hub.admin("GET", DEPLOYMENT, "", 200).await;
    assert_eq!((&now["image"], &now["ready"]), (&json!("web:1"), &json!(7)));

    // A good one: it runs on all replicas, and nothing of the rollout is left.
    let rollout = start(&hub, "web:2").await;
    let end = until(&hub, &format!("/api/v1/rollouts/{rollout}"), |view| {
        view["finished"] == true
    })
    .await;
    assert_eq!(end["phase"], json!("completed"), "{end}");
    capacity.was_kept().await;
    let left = hub.admin("GET", "/api/v1/deployments?cluster=edge", "", 200).await;
    assert_eq!(left["items"].as_array().map(Vec::len), Some(1), "{left}");
    let only = &left["items"][0];
    assert_eq!((&only["image"], &only["ready"]), (&json!("web:2"), &json!(7)));

    let refused = json!({ "target": target(), "image": "web:2", "reason": "again" });
    hub.admin("POST", "/api/v1/rollouts", &refused.to_string(), 409).await;
    let unknown = json!({ "replicas": 1, "reason": "x" });
    let nowhere = "/api/v1/deployments/nowhere/default/web/scale";
    hub.admin("POST", nowhere, &unknown.to_string(), 409).await;
    hub.stop().await;
}

#[tokio::test]
async fn a_fault_of_an_agent_is_a_taint_and_its_node_is_drained_as_the_budget_allows() {
    let (plane, mut hub) = begun("hub-nodes").await;
    let api = plane.api().expect("a client");
    let create = json!({ "change": { "create": { "image": "web:1", "replicas": 6 } }, "reason": "first" });
    hub.admin("POST", DEPLOYMENT, &create.to_string(), 200).await;
    web(&plane, |one| one["status"]["readyReplicas"] == 6).await;
    // The agent's name and the node's differ: a label joins them.
    let label = json!({ "metadata": { "labels": { AGENT: "edge-03" } } });
    api.patch("/api/v1/nodes/node-1", &label).expect("labelled");
    let bundle = hub.publish_text(RULES).await;
    let agent = TestAgent::connect(&mut hub, "edge-03", 1, bundle).await;

    agent.say(&hub, facts(Some("gpu0 fell off the bus"))).await;
    node(&plane, "node-1", |one| {
        let conditions = one["status"]["conditions"].as_array().into_iter().flatten();
        let mut ours = conditions.filter(|one| one["type"] == "SentinelFault" && one["status"] == "True");
        is_tainted(one) && ours.any(|one| one["message"] == "gpu0 fell off the bus")
    })
    .await;
    // Somebody takes the taint away while the fault is there: it comes back.
    api.patch("/api/v1/nodes/node-1", &json!({ "spec": { "taints": null } }))
        .expect("patched");
    node(&plane, "node-1", is_tainted).await;

    // Drained by the API server's evictions: nothing goes while the budget holds it, everything once it does not.
    let all = json!({ "metadata": { "name": "all" }, "spec": { "minAvailable": 6, "selector": { "matchLabels": { "workload": "web" } } } });
    api.post(BUDGETS, &all).expect("a budget");
    waited(&plane, BUDGETS, |one| one["status"]["currentHealthy"] == 6).await;
    let drain = json!([{ "verb": "drain", "target": { "node": "edge-03", "device": "node" } }]);
    let plan = submit(&hub, &drain).await;
    node(&plane, "node-1", |one| one["spec"]["unschedulable"] == true).await;
    until(&hub, &format!("/api/v1/action-plans/{plan}"), |view| {
        view["state"] == "verifying"
    })
    .await;
    api.delete(&format!("{BUDGETS}/all")).expect("removed");
    let end = finished(&hub, &plan).await;
    assert_eq!(end["state"], json!("completed"), "{end}");
    let on_node = "/api/v1/namespaces/default/pods?fieldSelector=spec.nodeName%3Dnode-1";
    let pods = api.get(on_node).expect("pods");
    assert_eq!(pods["items"], json!([]));

    // Repaired: the marks go, and the node is opened again.
    agent.say(&hub, facts(None)).await;
    node(&plane, "node-1", |one| !is_tainted(one)).await;
    let open = json!([{ "verb": "uncordon", "target": { "cluster": "edge", "node": "node-1" } }]);
    let plan = submit(&hub, &open).await;
    assert_eq!(finished(&hub, &plan).await["state"], json!("completed"));
    node(&plane, "node-1", |one| one["spec"]["unschedulable"].is_null()).await;
    // The hub's own journal tells all of it.
    let told = hub.admin("GET", "/api/v1/audits?target=node/edge-03", "", 200).await;
    let verbs: Vec<&str> = told["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|one| one["verb"].as_str())
        .collect();
    for verb in ["node.fault", "node.taint", "node.well", "node.untaint"] {
        assert!(verbs.contains(&verb), "{verb} is not among {verbs:?}");
    }
    hub.stop().await;
}

fn facts(unhealthy: Option<&str>) -> Frame {
    Frame::NodeFacts(NodeFacts {
        labels: Vec::new(),
        unhealthy: unhealthy.map(str::to_owned),
        asks: None,
        acting: 0,
        opened: None,
        more: Vec::new(),
    })
}

fn is_tainted(node: &Value) -> bool {
    let taints = node["spec"]["taints"].as_array().into_iter().flatten();
    taints.into_iter().any(|taint| taint["key"] == "sentinel.dev/fault")
}

fn target() -> Value {
    json!({ "cluster": "edge", "namespace": "default", "name": "web" })
}

fn web_target() -> Value {
    json!({ "cluster": "edge", "namespace": "default", "deployment": "web" })
}

/// Sends a plan of these steps. Its id.
async fn submit(hub: &TestHub, steps: &Value) -> String {
    let plan = json!({ "decisions": steps, "reason": "a test wants it" });
    let view = hub.admin("POST", "/api/v1/action-plans", &plan.to_string(), 201).await;
    view["id"].as_str().expect("an id").to_owned()
}

/// A plan when it is over.
async fn finished(hub: &TestHub, plan: &str) -> Value {
    const ENDS: &[&str] = &[
        "completed",
        "failed",
        "rolled_back",
        "rollback_failed",
        "rejected",
        "expired",
    ];
    let is_over = |view: &Value| view["state"].as_str().is_some_and(|state| ENDS.contains(&state));
    until(hub, &format!("/api/v1/action-plans/{plan}"), is_over).await
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

/// Asks each time that the hub has stored something, until the answer is as wanted.
async fn until(hub: &TestHub, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + WITHIN;
    let mut stored = hub.app.feed.arrivals();
    loop {
        let answer = hub.admin("GET", path, "", 200).await;
        if wanted(&answer) {
            return answer;
        }
        let more = timeout_at(deadline, stored.changed()).await;
        assert!(more.is_ok(), "{path}: {answer}");
    }
}

/// The first object of a collection that is as wanted.
async fn waited(plane: &ControlPlane, collection: &str, wanted: impl Fn(&Value) -> bool + Send + 'static) -> Value {
    let (api, collection) = (plane.api().expect("a client"), collection.to_owned());
    let watch = move || api.watch(&collection, WITHIN, |_, object| wanted(object).then(|| object.clone()));
    let seen = tokio::task::spawn_blocking(watch).await.expect("no panic");
    seen.expect("it became as wanted")
}

async fn web(plane: &ControlPlane, wanted: impl Fn(&Value) -> bool + Send + 'static) -> Value {
    waited(plane, DEPLOYMENTS, move |one| {
        one["metadata"]["name"] == "web" && wanted(one)
    })
    .await
}

async fn node(plane: &ControlPlane, name: &'static str, wanted: impl Fn(&Value) -> bool + Send + 'static) -> Value {
    waited(plane, "/api/v1/nodes", move |one| {
        one["metadata"]["name"] == name && wanted(one)
    })
    .await
}

/// Counts the ready replicas of all deployments at each of their changes, as the API server tells them.
struct Capacity {
    api: KubeApi,
    counted: tokio::task::JoinHandle<Result<(), String>>,
}

impl Capacity {
    /// Begins to count; there are never fewer than `least`.
    fn watch(plane: &ControlPlane, least: u64) -> Self {
        let (api, watching) = (plane.api().expect("a client"), plane.api().expect("a client"));
        let counted = tokio::task::spawn_blocking(move || {
            let mut ready: BTreeMap<String, u64> = BTreeMap::new();
            let ended = watching.watch(DEPLOYMENTS, WITHIN * 2, |kind, one| {
                let name = one["metadata"]["name"].as_str().unwrap_or_default().to_owned();
                match kind {
                    "DELETED" => ready.remove(&name),
                    _ => ready.insert(name, one["status"]["readyReplicas"].as_u64().unwrap_or(0)),
                };
                if ready.values().sum::<u64>() < least {
                    return Some(Err(format!("fewer than {least} replicas were ready: {ready:?}")));
                }
                (one["metadata"]["annotations"]["test/over"] == "yes").then_some(Ok(()))
            });
            ended.map_err(|error| error.to_string())?
        });
        Self { api, counted }
    }

    /// Ends the count: an annotation is its last change.
    async fn was_kept(self) {
        let over = json!({ "metadata": { "annotations": { "test/over": "yes" } } });
        self.api.patch(&format!("{DEPLOYMENTS}/web"), &over).expect("annotated");
        self.counted.await.expect("no panic").expect("the capacity was kept");
    }
}

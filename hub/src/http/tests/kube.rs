//! Deployments, rollouts, plans and nodes of a real cluster, through the API of an in-process hub.
//!
//! Pods run no containers (kwok); those of an image with the tag `bad` become ready and crash some seconds later.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use testbed_services::{API_USERS, ControlPlane, Gateway, KubeApi, Prometheus, Scraped, Shop, to_stderr};
use tokio::time::{Instant, timeout_at};
use wire::domains::NodeFacts;
use wire::frame::Frame;

use super::{TestAgent, TestHub};

/// Longest wait for pods and rollouts, which take seconds on an idle machine.
pub(super) const WITHIN: Duration = Duration::from_secs(180);
pub(super) const DEPLOYMENT: &str = "/api/v1/deployments/edge/default/web";
pub(super) const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const BUDGETS: &str = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
/// The label of a node that names the agent on it.
const AGENT: &str = "sentinel.dev/agent";
const RULES: &str = "bundle: clusters\npermits: [{ kinds: [scale, update, cordon, uncordon, drain] }]\nrules:\n  - { id: most, kind: envelope, selector: { kinds: [scale] }, max: 20 }\n";

/// A hub that knows a cluster of its own with three nodes, and the rules that its plans are judged by.
pub(super) async fn begun(name: &str) -> (ControlPlane, TestHub) {
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

#[tokio::test]
async fn a_canary_is_judged_by_what_a_prometheus_measured_of_real_traffic() {
    let plane = ControlPlane::start("hub-canary", &to_stderr).expect("a control plane");
    plane.add_nodes("node", 2, &json!({})).expect("nodes");
    plane.install_routes().expect("HTTPRoutes");
    let hub = TestHub::start().await;
    hub.admin("POST", "/api/v1/policies", RULES, 200).await;
    register(&hub, &plane, "http://127.0.0.1:9").await;
    let create = json!({ "change": { "create": { "image": "web:1", "replicas": 4 } }, "reason": "first" });
    hub.admin("POST", DEPLOYMENT, &create.to_string(), 200).await;
    web(&plane, |one| one["status"]["readyReplicas"] == 4).await;
    let api = plane.api().expect("a client");
    for name in ["web", "web-canary", "web-baseline"] {
        let spec = json!({ "selector": { "workload": "web" }, "ports": [{ "port": 80 }] });
        let service = json!({ "metadata": { "name": name }, "spec": spec });
        api.post("/api/v1/namespaces/default/services", &service)
            .expect("a service");
    }
    let backend = |name: &str, weight: u8| json!({ "name": name, "port": 80, "weight": weight });
    let backends = json!([
        backend("web", 100),
        backend("web-canary", 0),
        backend("web-baseline", 0)
    ]);
    let route = json!({ "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": { "name": "web" },
        "spec": { "rules": [{ "backendRefs": backends }] } });
    api.post(ROUTES, &route).expect("a route");

    // No numbers at all: it holds by its own deadline, is never taken for success, and a person ends it.
    let blind = measured(&hub, "web:2", 60_000, 3_000).await;
    until(&hub, &rollout_path(&blind), |view| view["phase"] == "holding").await;
    let abort = json!({ "reason": "nothing is measured" });
    hub.admin(
        "POST",
        &format!("{}/abort", rollout_path(&blind)),
        &abort.to_string(),
        200,
    )
    .await;
    let end = until(&hub, &rollout_path(&blind), |view| view["finished"] == true).await;
    assert_eq!(end["phase"], json!("rolled_back"), "{end}");

    // A canary that is three times as slow is taken back long before its step is over, and its traffic with it.
    let traffic = Traffic::of(&plane, 36);
    register(&hub, &plane, &traffic.prometheus.url()).await;
    let slow = measured(&hub, "web:slow", 120_000, 120_000).await;
    let end = until(&hub, &rollout_path(&slow), |view| view["finished"] == true).await;
    assert_eq!(end["phase"], json!("rolled_back"), "{end}");
    let analysis = &end["analysis"];
    let metric = &analysis["metrics"][0];
    assert_eq!(
        (&analysis["verdict"], &metric["name"]),
        (&json!("abort"), &json!("latency")),
        "{end}"
    );
    let median = |side: &str| metric[side]["quantiles"][10].as_f64().unwrap_or_default();
    assert!(
        median("canary") > 2.0 * median("baseline") && median("baseline") > 0.010,
        "{metric}"
    );
    assert_eq!(weights(&api), [100, 0, 0]);
    assert!(traffic.served("web-canary") > 0 && traffic.served("web-baseline") > 0);
    let now = hub.admin("GET", DEPLOYMENT, "", 200).await;
    assert_eq!((&now["image"], &now["ready"]), (&json!("web:1"), &json!(4)));
    drop(traffic);

    // One that is as fast gets all of the traffic, then the workload has the image and the traffic back.
    let traffic = Traffic::of(&plane, 12);
    register(&hub, &plane, &traffic.prometheus.url()).await;
    let good = measured(&hub, "web:3", 20_000, 60_000).await;
    let end = until(&hub, &rollout_path(&good), |view| view["finished"] == true).await;
    assert_eq!(end["phase"], json!("completed"), "{end}");
    assert_eq!(weights(&api), [100, 0, 0]);
    let now = hub.admin("GET", DEPLOYMENT, "", 200).await;
    assert_eq!((&now["image"], &now["ready"]), (&json!("web:3"), &json!(4)));
    hub.stop().await;
}

const ROUTES: &str = "/apis/gateway.networking.k8s.io/v1/namespaces/default/httproutes";

pub(super) async fn register(hub: &TestHub, plane: &ControlPlane, prometheus: &str) {
    let cluster = json!({ "name": "edge", "kubeconfig": plane.kubeconfig(API_USERS[0]), "prometheus": prometheus });
    hub.admin("POST", "/api/v1/clusters", &cluster.to_string(), 200).await;
}

fn rollout_path(id: &str) -> String {
    format!("/api/v1/rollouts/{id}")
}

/// Weights of the route: of the workload, the canary and the baseline.
fn weights(api: &KubeApi) -> [u64; 3] {
    let route = api.get(&format!("{ROUTES}/web")).expect("the route");
    [0, 1, 2].map(|at| {
        route["spec"]["rules"][0]["backendRefs"][at]["weight"]
            .as_u64()
            .unwrap_or(0)
    })
}

/// Starts a rollout that is judged by latency, with a fifth of the traffic. Its id.
async fn measured(hub: &TestHub, image: &str, analyse_ms: u64, no_data_deadline_ms: u64) -> String {
    let part = r#"{workload="$workload"}[1s]"#;
    let query = format!("rate(shop_request_seconds_sum{part}) / rate(shop_request_seconds_count{part})");
    let metric = json!({ "name": "latency", "query": query, "direction": "up", "tolerated_bp": 5_000, "critical": true,
        "min_n": 10, "interval_ms": 1_000, "warm_up_ms": 3_000 });
    let spec = json!({
        "image": image,
        "traffic": "weights",
        "route": { "http_route": { "name": "web", "stable": "web", "canary": "web-canary", "baseline": "web-baseline" } },
        "steps": [{ "set": { "replicas": 25, "weight": 20 } }, { "analyse": { "ms": analyse_ms } }],
        "analysis": { "check_every_ms": 2_000, "no_data_deadline_ms": no_data_deadline_ms, "metrics": [metric] },
    });
    let asked = json!({ "target": target(), "spec": spec, "reason": "a newer image" });
    let view = hub.admin("POST", "/api/v1/rollouts", &asked.to_string(), 200).await;
    view["id"].as_str().expect("an id").to_owned()
}

/// A server for each part of a rollout, visitors who reach them as the route says, and a Prometheus that asks the servers.
struct Traffic {
    gateway: Gateway,
    prometheus: Prometheus,
    _shops: Vec<Shop>,
}

impl Traffic {
    /// The workload and its baseline take 12 ms for a request, the canary so many.
    fn of(plane: &ControlPlane, canary_ms: u64) -> Self {
        let parts = [("web", 12), ("web-canary", canary_ms), ("web-baseline", 12)];
        let shops = parts.map(|(name, ms)| (name, Shop::start(ms, 30, 0).expect("a server")));
        let every = Duration::from_millis(200);
        let scraped = shops.each_ref().map(|(workload, shop)| Scraped {
            workload: (*workload).to_owned(),
            port: shop.port,
        });
        let ports = scraped.iter().map(|one| (one.workload.clone(), one.port)).collect();
        let api = plane.api().expect("a client");
        Self {
            gateway: Gateway::start(api, "web", ports, 4).expect("a proxy"),
            prometheus: Prometheus::start("canary", &scraped, every, &to_stderr).expect("a Prometheus"),
            _shops: shops.into_iter().map(|(_, shop)| shop).collect(),
        }
    }

    fn served(&self, service: &str) -> u64 {
        let served = self.gateway.served.lock().expect("no panic");
        served.get(service).copied().unwrap_or(0)
    }
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

pub(super) fn web_target() -> Value {
    json!({ "cluster": "edge", "namespace": "default", "deployment": "web" })
}

/// Sends a plan of these steps. Its id.
pub(super) async fn submit(hub: &TestHub, steps: &Value) -> String {
    let plan = json!({ "decisions": steps, "reason": "a test wants it" });
    let view = hub.admin("POST", "/api/v1/action-plans", &plan.to_string(), 201).await;
    view["id"].as_str().expect("an id").to_owned()
}

/// A plan when it is over.
pub(super) async fn finished(hub: &TestHub, plan: &str) -> Value {
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

pub(super) async fn start(hub: &TestHub, image: &str) -> String {
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
pub(super) async fn until(hub: &TestHub, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
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
pub(super) async fn waited(
    plane: &ControlPlane,
    collection: &str,
    wanted: impl Fn(&Value) -> bool + Send + 'static,
) -> Value {
    let (api, collection) = (plane.api().expect("a client"), collection.to_owned());
    let watch = move || api.watch(&collection, WITHIN, |_, object| wanted(object).then(|| object.clone()));
    let seen = tokio::task::spawn_blocking(watch).await.expect("no panic");
    seen.expect("it became as wanted")
}

pub(super) async fn web(plane: &ControlPlane, wanted: impl Fn(&Value) -> bool + Send + 'static) -> Value {
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
pub(super) struct Capacity {
    api: KubeApi,
    counted: tokio::task::JoinHandle<Result<(), String>>,
}

impl Capacity {
    /// Begins to count; there are never fewer than `least`.
    pub(super) fn watch(plane: &ControlPlane, least: u64) -> Self {
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
    pub(super) async fn was_kept(self) {
        let over = json!({ "metadata": { "annotations": { "test/over": "yes" } } });
        self.api.patch(&format!("{DEPLOYMENTS}/web"), &over).expect("annotated");
        self.counted.await.expect("no panic").expect("the capacity was kept");
    }
}

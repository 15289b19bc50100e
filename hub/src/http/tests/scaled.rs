//! Work that is placed, and deployments that are scaled, on a real cluster.

use std::time::Duration;

use serde_json::{Value, json};
use testbed_services::{API_USERS, ControlPlane, Prometheus, to_stderr};

use super::TestHub;
use super::kube::{DEPLOYMENT, begun, finished, register, submit, until, waited, web, web_target};
use super::trouble::polled;

const MODEL: &str = "nvidia.com/gpu.product";
const PODS: &str = "/api/v1/namespaces/default/pods";
const TRAIN: &str = "/api/v1/workloads/edge/default/train";
/// A namespace has 12 GPUs, an hour of a cluster costs 100, and no node is drained at all.
const RULES: &str = "bundle: places
permits: [{ kinds: [deploy, scale, reschedule, cordon, drain] }]
rules:
  - { id: gpus, kind: quota, scope: namespace, nominal: { gpu: 12 } }
  - { id: money, kind: cost_ceiling, scope: cluster, ceiling_micros: 100000000, window: 1 h, soft_bp: 10000 }
  - { id: nodes, kind: blast_radius, domain: cluster, selector: { kinds: [drain] }, max_concurrent: { n: 0 } }
";

#[tokio::test]
async fn a_workload_is_placed_where_its_gpus_are_and_moved_when_its_node_closes() {
    let plane = ControlPlane::start("hub-places", &to_stderr).expect("a control plane");
    plane.add_nodes("a100", 2, &json!({ MODEL: "A100" })).expect("nodes");
    plane.add_nodes("t4", 1, &json!({ MODEL: "T4" })).expect("nodes");
    let hub = TestHub::start().await;
    hub.admin("POST", "/api/v1/policies", RULES, 200).await;
    let prices = json!({ "A100": 2_000_000, "T4": 500_000 });
    let cluster = json!({ "name": "edge", "kubeconfig": plane.kubeconfig(API_USERS[0]), "prices": prices });
    hub.admin("POST", "/api/v1/clusters", &cluster.to_string(), 200).await;

    // What every node says, before anything is there.
    let path = "/api/v1/placement?gpus=4&models=A100&replicas=2";
    // A node that has just come is tainted until the cluster has heard that it is ready.
    let is_ready = |view: &Value| !view.to_string().contains("node.kubernetes.io/not-ready");
    let view = polled(&hub, path, |view| view["cluster"] == "edge" && is_ready(view)).await;
    let says = |view: &Value, name: &str| {
        let nodes = view["clusters"][0]["nodes"].as_array().expect("nodes").clone();
        nodes.into_iter().find(|node| node["name"] == name).expect("the node")
    };
    assert_eq!(says(&view, "t4-0")["why_not"], json!(["GPU model: it has T4"]));
    assert_eq!(view["price_micros_per_h"], json!(16_000_000));

    // Made by a plan, on the cluster and the node that suit it.
    let wanted = json!({ "name": "train", "type": "training", "image": "train:1", "replicas": 2,
        "resources": { "cpu": "2", "memory": "4Gi", "gpu": { "count": 4, "sku": "A100" } } });
    let made = hub.admin("POST", "/api/v1/workloads", &wanted.to_string(), 201).await;
    assert_eq!((&made["type"], &made["env"]), (&json!("training"), &Value::Null));
    let plan = made["plan"]["id"].as_str().expect("a plan").to_owned();
    let end = finished(&hub, &plan).await;
    assert_eq!(end["state"], json!("completed"), "{end}");
    let workload = hub.admin("GET", TRAIN, "", 200).await;
    assert_eq!((&workload["ready"], &workload["type"]), (&json!(2), &json!("training")));
    let first = end["steps"][0]["params"]["nodes"].as_str().expect("a node").to_owned();
    assert!(first.starts_with("a100-"), "{end}");
    assert_eq!(nodes_of_pods(&plane), [first.clone(), first.clone()]);
    hub.admin("POST", "/api/v1/workloads", &wanted.to_string(), 409).await;

    // More GPUs than the namespace may have: said with numbers.
    polled(&hub, path, |view| says(view, &first)["free_gpus"] == 0).await;
    let more = json!([{ "verb": "scale", "target": of_train(), "params": { "replicas": 4 } }]);
    let end = finished(&hub, &submit(&hub, &more).await).await;
    let why = end["detail"].as_str().unwrap_or_default();
    assert!(
        end["state"] == "rejected" && why.contains("gpus") && why.contains("16 against a limit of 12"),
        "{end}"
    );
    // And one node more than may be touched.
    let drain = json!([{ "verb": "drain", "target": { "cluster": "edge", "node": "t4-0" } }]);
    let drain = submit(&hub, &drain).await;
    let held = until(&hub, &format!("/api/v1/action-plans/{drain}"), |view| {
        view["state"] == "held"
    })
    .await;
    assert!(
        held["detail"]
            .as_str()
            .is_some_and(|why| why.contains("1 against a limit of 0")),
        "{held}"
    );

    // Its node closes: the hub finds the other one.
    let cordon = json!([{ "verb": "cordon", "target": { "cluster": "edge", "node": first } }]);
    assert_eq!(
        finished(&hub, &submit(&hub, &cordon).await).await["state"],
        json!("completed")
    );
    polled(&hub, path, |view| {
        says(view, &first)["why_not"] == json!(["it is cordoned", "whole GPUs: 4 asked, 0 free"])
    })
    .await;
    let moved = json!([{ "verb": "reschedule", "target": of_train() }]);
    let end = finished(&hub, &submit(&hub, &moved).await).await;
    assert_eq!(end["state"], json!("completed"), "{end}");
    let second = end["steps"][0]["params"]["node"].as_str().expect("a node").to_owned();
    assert!(second.starts_with("a100-") && second != first, "{end}");
    waited(&plane, PODS, {
        let second = second.clone();
        move |pod| pod["spec"]["nodeName"] == second.as_str()
    })
    .await;
    // Nowhere is said, too.
    let nowhere = hub.admin("GET", "/api/v1/placement?gpus=9", "", 200).await;
    assert!(nowhere["cluster"].is_null() && nowhere["why"].as_str().is_some_and(|why| why.contains("whole GPUs")));
    hub.stop().await;
}

#[tokio::test]
async fn a_load_scales_a_deployment_and_a_foreign_autoscaler_has_it_alone() {
    let (plane, hub) = begun("hub-scales").await;
    let create = json!({ "change": { "create": { "image": "web:1", "replicas": 2 } }, "reason": "first" });
    hub.admin("POST", DEPLOYMENT, &create.to_string(), 200).await;
    web(&plane, |one| one["status"]["readyReplicas"] == 2).await;
    let prometheus = Prometheus::start("scales", &[], Duration::from_secs(1), &to_stderr).expect("a Prometheus");
    register(&hub, &plane, &prometheus.url()).await;

    // 45 of 10 each are 5 replicas: brought by a plan, under the same rules as any.
    scale_by(&hub, "vector(45)", 20).await;
    web(&plane, |one| one["status"]["readyReplicas"] == 5).await;
    let plans = until(&hub, "/api/v1/action-plans?state=completed", |page| {
        page["items"] != json!([])
    })
    .await;
    assert!(
        plans["items"][0]["source"]
            .as_str()
            .is_some_and(|source| source.contains("scaling")),
        "{plans}"
    );

    // A load that cannot be measured takes nothing away.
    scale_by(&hub, "absent_series", 20).await;
    let blind = scaled(&hub, |one| {
        one["why"]
            .as_str()
            .is_some_and(|why| why.contains("nothing is measured"))
    })
    .await;
    assert_eq!((&blind["present"], &blind["desired"]), (&json!(5), &json!(5)));

    // Somebody else's autoscaler: the hub leaves the deployment alone, and says so.
    let autoscaler = json!({ "metadata": { "name": "theirs" }, "spec": { "minReplicas": 1, "maxReplicas": 9,
        "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "web" },
        "metrics": [{ "type": "Resource", "resource": { "name": "cpu", "target": { "type": "Utilization", "averageUtilization": 50 } } }] } });
    let api = plane.api().expect("a client");
    api.post(
        "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers",
        &autoscaler,
    )
    .expect("an autoscaler");
    scale_by(&hub, "vector(95)", 20).await;
    let left = scaled(&hub, |one| one["load_milli"] == 95_000).await;
    assert_eq!(
        (&left["autoscaler"], &left["desired"]),
        (&json!("theirs"), &Value::Null),
        "{left}"
    );
    let told = hub
        .admin(
            "GET",
            "/api/v1/audits?target=deployment/edge:default/deployment/web",
            "",
            200,
        )
        .await;
    assert!(told.to_string().contains("autoscaler theirs scales it"), "{told}");
    assert_eq!(hub.admin("GET", DEPLOYMENT, "", 200).await["wanted"], json!(5));
    // A plan of a person is refused for the same reason.
    let plan = json!([{ "verb": "scale", "target": web_target(), "params": { "replicas": 7 } }]);
    let end = finished(&hub, &submit(&hub, &plan).await).await;
    assert!(
        end["state"] != "completed" && end.to_string().contains("theirs"),
        "{end}"
    );
    hub.stop().await;
}

async fn scale_by(hub: &TestHub, query: &str, max: u32) {
    let rule = json!({ "spec": { "min": 1, "max": max, "target_milli": 10_000, "scale_in_after_ms": 60_000 },
        "query": query, "reason": "it has a load" });
    hub.admin("POST", "/api/v1/scaling/edge/default/web", &rule.to_string(), 200)
        .await;
}

fn of_train() -> Value {
    json!({ "cluster": "edge", "namespace": "default", "deployment": "train" })
}

fn nodes_of_pods(plane: &ControlPlane) -> Vec<String> {
    let pods = plane.api().expect("a client").get(PODS).expect("pods");
    let node = |pod: &Value| pod["spec"]["nodeName"].as_str().unwrap_or_default().to_owned();
    pods["items"].as_array().into_iter().flatten().map(node).collect()
}

/// Asks until the only deployment that is scaled is as wanted. What is measured is stored nowhere, so nothing tells when.
async fn scaled(hub: &TestHub, wanted: impl Fn(&Value) -> bool) -> Value {
    let page = polled(hub, "/api/v1/scaling", |page| wanted(&page["items"][0])).await;
    page["items"][0].clone()
}

//! Clusters in trouble: an API server that is away, a hub that starts again, an image that crashes in forty replicas, two clusters, and
//! a switch from blue to green.

use std::time::Duration;

use serde_json::{Value, json};
use testbed_services::{API_USERS, ControlPlane, to_stderr};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::TestHub;
use super::kube::{
    Capacity, DEPLOYMENT, DEPLOYMENTS, WITHIN, begun, finished, start, submit, until, waited, web, web_target,
};

const ROUTE: &str = "/api/v1/namespaces/default/services";

#[tokio::test]
async fn a_plan_outlives_an_api_server_that_is_away_and_changes_everything_once() {
    let (mut plane, hub) = begun("hub-outage").await;
    create(&hub, DEPLOYMENT, 4).await;
    web(&plane, |one| one["status"]["readyReplicas"] == 4).await;
    plane.stop_server();
    let plan = submit(
        &hub,
        &json!([{ "verb": "scale", "target": web_target(), "params": { "replicas": 9 } }]),
    )
    .await;
    let path = format!("/api/v1/action-plans/{plan}");
    // It cannot even be read how things are: nothing is done, and nothing is said to be done.
    until(&hub, &path, |view| view["state"] == "scheduled").await;
    let hub = hub.restart().await;
    let still = hub.admin("GET", &path, "", 200).await;
    assert_eq!(still["state"], json!("scheduled"), "{still}");
    plane.start_server().expect("it starts again");
    let end = finished(&hub, &plan).await;
    assert_eq!(end["state"], json!("completed"), "{end}");
    let now = hub.admin("GET", DEPLOYMENT, "", 200).await;
    assert_eq!((&now["wanted"], &now["ready"]), (&json!(9), &json!(9)));
    // One scale, however often it was asked whether it had come through.
    let told = hub
        .admin(
            "GET",
            "/api/v1/audits?target=deployment/edge:default/deployment/web",
            "",
            200,
        )
        .await;
    let scales = told["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|one| one["verb"] == "deployment.scale");
    let intents = scales.filter(|one| one["reason"] != "").count();
    assert_eq!(intents, 1, "{told}");

    // Somebody else scales it: that is said with their name, and a plan of ours brings it back.
    let theirs = json!({ "spec": { "replicas": 2 } });
    plane
        .api()
        .expect("a client")
        .patch(&format!("{DEPLOYMENTS}/web"), &theirs)
        .expect("patched");
    let drifted = polled(&hub, DEPLOYMENT, |view| view["drift"] != json!([])).await;
    assert!(
        drifted["drift"][0]
            .as_str()
            .is_some_and(|text| text.starts_with("replicas: 9 wanted, 2 by ")),
        "{drifted}"
    );
    let back = submit(
        &hub,
        &json!([{ "verb": "scale", "target": web_target(), "params": { "replicas": 9 } }]),
    )
    .await;
    assert_eq!(finished(&hub, &back).await["state"], json!("completed"));
    assert_eq!(hub.admin("GET", DEPLOYMENT, "", 200).await["drift"], json!([]));
    hub.stop().await;
}

#[tokio::test]
async fn forty_replicas_lose_none_to_a_bad_image_though_the_hub_starts_again_in_the_middle() {
    let (plane, hub) = begun("hub-forty").await;
    create(&hub, DEPLOYMENT, 40).await;
    web(&plane, |one| one["status"]["readyReplicas"] == 40).await;
    let capacity = Capacity::watch(&plane, 40);
    let rollout = start(&hub, "web:bad").await;
    let path = format!("/api/v1/rollouts/{rollout}");
    until(&hub, &path, |view| view["phase"] == "analysing").await;
    let hub = hub.restart().await;
    let end = until(&hub, &path, |view| view["finished"] == true).await;
    assert_eq!(end["phase"], json!("rolled_back"), "{end}");
    let now = hub.admin("GET", DEPLOYMENT, "", 200).await;
    assert_eq!((&now["image"], &now["ready"]), (&json!("web:1"), &json!(40)));
    capacity.was_kept().await;
    hub.stop().await;
}

#[tokio::test]
async fn blue_becomes_green_when_a_person_says_so_and_the_service_follows() {
    let (plane, hub) = begun("hub-green").await;
    create(&hub, DEPLOYMENT, 3).await;
    web(&plane, |one| one["status"]["readyReplicas"] == 3).await;
    let api = plane.api().expect("a client");
    let service = json!({ "metadata": { "name": "web" }, "spec": { "selector": { "workload": "web" }, "ports": [{ "port": 80 }] } });
    api.post(ROUTE, &service).expect("a service");
    let capacity = Capacity::watch(&plane, 3);
    let selected = || api.get(&format!("{ROUTE}/web")).expect("the service")["spec"]["selector"].clone();
    let asked = |image: &str| {
        json!({ "target": { "cluster": "edge", "namespace": "default", "name": "web" }, "image": image,
            "strategy": "blue_green", "service": "web", "analyse_ms": 2_000, "reason": "a newer image" })
    };

    // Green stands beside blue, whole and without traffic, until a person says go.
    let view = hub
        .admin("POST", "/api/v1/rollouts", &asked("web:2").to_string(), 200)
        .await;
    let path = format!("/api/v1/rollouts/{}", view["id"].as_str().expect("an id"));
    until(&hub, &path, |view| view["phase"] == "paused").await;
    assert_eq!(selected(), json!({ "workload": "web" }));
    let green = hub
        .admin("GET", "/api/v1/deployments/edge/default/web-canary", "", 200)
        .await;
    assert_eq!((&green["image"], &green["ready"]), (&json!("web:2"), &json!(3)));
    let go = json!({ "reason": "it looks good" });
    hub.admin("POST", &format!("{path}/promote"), &go.to_string(), 200)
        .await;
    let switched = waited(&plane, ROUTE, |one| {
        one["metadata"]["name"] == "web" && one["spec"]["selector"]["sentinel.dev/track"] == "canary"
    });
    switched.await;
    let end = until(&hub, &path, |view| view["finished"] == true).await;
    assert_eq!(end["phase"], json!("completed"), "{end}");
    let now = hub.admin("GET", DEPLOYMENT, "", 200).await;
    assert_eq!((&now["image"], &now["ready"]), (&json!("web:2"), &json!(3)));
    assert_eq!(selected(), json!({ "workload": "web" }));

    // And one that is not wanted after all: blue has had the traffic all the time.
    let view = hub
        .admin("POST", "/api/v1/rollouts", &asked("web:3").to_string(), 200)
        .await;
    let path = format!("/api/v1/rollouts/{}", view["id"].as_str().expect("an id"));
    until(&hub, &path, |view| view["phase"] == "paused").await;
    hub.admin("POST", &format!("{path}/abort"), &go.to_string(), 200).await;
    let end = until(&hub, &path, |view| view["finished"] == true).await;
    assert_eq!(
        (&end["phase"], selected()),
        (&json!("rolled_back"), json!({ "workload": "web" }))
    );
    assert_eq!(hub.admin("GET", DEPLOYMENT, "", 200).await["image"], json!("web:2"));
    capacity.was_kept().await;
    hub.stop().await;
}

#[tokio::test]
async fn of_two_clusters_the_cheaper_one_gets_the_work_and_one_that_is_away_holds_up_no_other() {
    let planes = ["hub-near", "hub-far"].map(|name| {
        let plane = ControlPlane::start(name, &to_stderr).expect("a control plane");
        plane
            .add_nodes("node", 1, &json!({ "nvidia.com/gpu.product": "L4" }))
            .expect("nodes");
        plane
    });
    let [near, mut far] = planes;
    let hub = TestHub::start().await;
    let rules = "bundle: two\npermits: [{ kinds: [deploy, scale] }]\n";
    hub.admin("POST", "/api/v1/policies", rules, 200).await;
    for (name, plane, price) in [("near", &near, 3_000_000), ("far", &far, 1_000_000)] {
        let cluster = json!({ "name": name, "kubeconfig": plane.kubeconfig(API_USERS[0]), "prices": { "L4": price } });
        hub.admin("POST", "/api/v1/clusters", &cluster.to_string(), 200).await;
    }
    let both = |view: &Value| view["clusters"].as_array().is_some_and(|all| all.len() == 2);
    let view = polled(&hub, "/api/v1/placement?gpus=2", |view| both(view)).await;
    assert_eq!(
        (&view["cluster"], &view["price_micros_per_h"]),
        (&json!("far"), &json!(2_000_000))
    );
    let workload = |name: &str, gpus: u32| json!({ "name": name, "type": "inference", "image": "serve:1", "resources": { "gpu": { "count": gpus } } });
    let made = hub
        .admin("POST", "/api/v1/workloads", &workload("one", 6).to_string(), 201)
        .await;
    let end = finished(&hub, made["plan"]["id"].as_str().expect("a plan")).await;
    assert_eq!(
        (&end["state"], &end["steps"][0]["target"]),
        (&json!("completed"), &json!("far:default/deployment/one"))
    );
    // What is left there is too little: the dearer one takes it.
    polled(&hub, "/api/v1/placement?gpus=4", |view| view["cluster"] == "near").await;

    far.stop_server();
    let plan = json!([{ "verb": "deploy", "target": { "cluster": "near", "namespace": "default", "deployment": "two" },
        "params": { "image": "serve:1", "replicas": 1, "gpus": 4 } }]);
    let end = finished(&hub, &submit(&hub, &plan).await).await;
    assert_eq!(end["state"], json!("completed"), "{end}");
    let clusters = hub.admin("GET", "/api/v1/clusters", "", 200).await;
    let status = |name: &str| {
        let all = clusters["items"].as_array().into_iter().flatten();
        all.clone()
            .find(|one| one["name"] == name)
            .map(|one| one["status"].clone())
    };
    assert_eq!(
        (status("near"), status("far")),
        (Some(json!("ready")), Some(json!("unreachable")))
    );
    hub.stop().await;
}

async fn create(hub: &TestHub, path: &str, replicas: u32) {
    let create = json!({ "change": { "create": { "image": "web:1", "replicas": replicas } }, "reason": "first" });
    hub.admin("POST", path, &create.to_string(), 200).await;
}

/// Asks until the answer is as wanted: for what is read from a cluster, or known in memory only, so that nothing tells when it changes.
pub(super) async fn polled(hub: &TestHub, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + WITHIN;
    let mut ticks = interval(Duration::from_millis(200));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let answer = hub.admin("GET", path, "", 200).await;
        if wanted(&answer) {
            return answer;
        }
        assert!(Instant::now() < deadline, "{path}: {answer}");
    }
}

//! The control plane is a real one, seen through its own API.

use std::time::Duration;

use serde_json::json;
use testbed_services::{ControlPlane, to_stderr, wait_until};

#[test]
fn a_deployment_gets_its_pods_on_nodes_that_kwok_keeps() {
    let mut plane = ControlPlane::start("services-test", &to_stderr).expect("a control plane");
    plane.add_nodes("node", 2, &json!({ "gpu": "h100" })).expect("nodes");
    let api = plane.api().expect("a client");
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web" },
        "spec": {
            "replicas": 3,
            "selector": { "matchLabels": { "app": "web" } },
            "template": {
                "metadata": { "labels": { "app": "web" } },
                "spec": { "containers": [{ "name": "web", "image": "web:1" }] },
            },
        },
    });
    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    api.post(deployments, &deployment).expect("created");
    let ready = |wanted: u64| {
        wait_until("the pods", Duration::from_secs(60), || {
            let seen = api.get(&format!("{deployments}/web"))?["status"]["readyReplicas"].clone();
            Ok((seen != json!(wanted)).then(|| format!("{seen} of {wanted} are ready")))
        })
        .expect("ready pods");
    };
    ready(3);
    plane.stop_server();
    assert!(api.get(&format!("{deployments}/web")).is_err());
    plane.start_server().expect("a server again");
    api.patch(&format!("{deployments}/web"), &json!({ "spec": { "replicas": 5 } }))
        .expect("patched");
    ready(5);
    plane.alive().expect("everything runs");
}

//! Nodes are closed, tainted, marked and emptied, and disruption budgets are kept to.

use std::time::Duration;

use hub_kube::{NodeCondition, Owner, Taint, TaintEffect};
use serde_json::json;

use crate::plane::{api, cluster, deployment, namespace, object, plane, settled};

#[tokio::test]
async fn a_fault_becomes_a_taint_and_a_condition_and_goes_again() {
    plane()
        .add_nodes("faulty", 1, &json!({ "pool": "faulty" }))
        .expect("a node");
    let cluster = cluster().await;
    let theirs = json!({ "spec": { "taints": [{ "key": "dedicated", "value": "ml", "effect": "NoSchedule" }] } });
    api()
        .patch("/api/v1/nodes/faulty-0", &theirs)
        .expect("a taint of others");
    let taint = |value: &str| Taint {
        key: "sentinel.dev/fault".to_owned(),
        value: value.to_owned(),
        effect: TaintEffect::NoSchedule,
    };
    cluster.taint("faulty-0", &taint("xid-79")).await.expect("tainted");
    cluster
        .taint("faulty-0", &taint("xid-48"))
        .await
        .expect("tainted again");
    cluster.cordon("faulty-0").await.expect("closed");
    let condition = |holds: bool| NodeCondition {
        kind: "SentinelFault".to_owned(),
        holds: Some(holds),
        reason: "GpuFellOff".to_owned(),
        message: "GPU 3 is gone from the bus".to_owned(),
    };
    cluster
        .set_condition("faulty-0", &condition(true))
        .await
        .expect("marked");
    let node = cluster.node("faulty-0").await.expect("an answer").expect("the node");
    let keys: Vec<(&str, &str)> = node
        .taints
        .iter()
        .map(|one| (one.key.as_str(), one.value.as_str()))
        .collect();
    assert!(
        keys.contains(&("dedicated", "ml")) && keys.contains(&("sentinel.dev/fault", "xid-48")),
        "{keys:?}"
    );
    assert!(!keys.contains(&("sentinel.dev/fault", "xid-79")), "{keys:?}");
    assert!(node.cordoned && node.ready);
    assert_eq!(node.conditions.get("SentinelFault"), Some(&Some(true)));
    assert_eq!(
        (node.cpu_milli, node.memory_mib, node.extended.get("nvidia.com/gpu")),
        (64_000, 524_288, Some(&8))
    );

    cluster
        .untaint("faulty-0", "sentinel.dev/fault")
        .await
        .expect("untainted");
    cluster
        .set_condition("faulty-0", &condition(false))
        .await
        .expect("marked");
    cluster.uncordon("faulty-0").await.expect("opened");
    let node = cluster.node("faulty-0").await.expect("an answer").expect("the node");
    assert_eq!(
        node.taints
            .iter()
            .map(|one| one.key.as_str())
            .filter(|key| key.starts_with("sentinel"))
            .count(),
        0
    );
    assert!(node.taints.iter().any(|one| one.key == "dedicated") && !node.cordoned);
    assert_eq!(node.conditions.get("SentinelFault"), Some(&Some(false)));
    assert_eq!(
        node.conditions.get("Ready"),
        Some(&Some(true)),
        "the kubelet's own conditions stay"
    );
}

#[tokio::test]
async fn a_node_is_emptied_only_as_far_as_the_budget_allows() {
    plane()
        .add_nodes("drained", 2, &json!({ "pool": "drained" }))
        .expect("nodes");
    let (cluster, space) = (cluster().await, namespace("drain"));
    let mut spec = deployment(&space, "web", 4);
    spec.node_selector = [("pool".to_owned(), "drained".to_owned())].into();
    cluster.create(&spec).await.expect("created");
    settled(&cluster, &spec.id, 4).await;
    let budgets = format!("/apis/policy/v1/namespaces/{space}/poddisruptionbudgets");
    let budget = json!({ "metadata": { "name": "all" }, "spec": { "minAvailable": 4, "selector": { "matchLabels": { "workload": "web" } } } });
    api().post(&budgets, &budget).expect("a budget");
    object(&budgets, |one| one["status"]["currentHealthy"] == 4).await;
    let pods = cluster.pods_on("drained-0").await.expect("pods");
    assert!(!pods.is_empty());
    let report = cluster
        .drain("drained-0", Duration::from_secs(2))
        .await
        .expect("a report");
    assert_eq!(report.left.len(), pods.len());
    assert!(
        report.left.iter().all(|(_, why)| why.contains("disruption budget")),
        "{report:?}"
    );
    assert_eq!(settled(&cluster, &spec.id, 4).await.ready, 4, "nothing was lost");

    api().delete(&format!("{budgets}/all")).expect("removed");
    let report = cluster
        .drain("drained-0", Duration::from_secs(60))
        .await
        .expect("a report");
    assert!(report.is_empty_now(), "{report:?}");
    assert_eq!(report.evicted.len(), pods.len());
    settled(&cluster, &spec.id, 4).await;
    assert!(cluster.pods_on("drained-0").await.expect("pods").is_empty());
    cluster.uncordon("drained-0").await.expect("opened");
    cluster.apply(&spec, Owner::Yield).await.expect("still ours");
}

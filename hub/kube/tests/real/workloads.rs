//! Workloads really come, grow, shrink, go back and go away.

use std::collections::{BTreeMap, BTreeSet};

use hub_kube::{Gpus, KubeError, NEEDED, Owner, StatusWord, WatchWhat, WorkloadKind, WorkloadRef, WorkloadSpec};
use serde_json::json;

use crate::plane::{api, asked_until, cluster, cluster_of, deployment, eventually, namespace, settled};

#[tokio::test]
async fn the_cluster_tells_its_version_and_that_it_is_well() {
    let health = cluster().await.health().await.expect("health");
    assert_eq!(health.version, "v1.36.3");
    assert!(health.failing.is_empty(), "{:?}", health.failing);
}

#[tokio::test]
async fn a_user_without_rights_is_told_every_missing_verb() {
    assert!(cluster().await.missing_permissions().await.expect("answers").is_empty());
    let nobody = cluster_of("nobody").await;
    assert_eq!(nobody.missing_permissions().await.expect("answers"), NEEDED);
    let role = json!({ "metadata": { "name": "some-rights" }, "rules": [
        { "apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["*"] },
    ] });
    let binding = json!({ "metadata": { "name": "some-rights" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "some-rights" },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "nobody" }] });
    api()
        .post("/apis/rbac.authorization.k8s.io/v1/clusterroles", &role)
        .expect("a role");
    api()
        .post("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", &binding)
        .expect("a binding");
    let missing = asked_until("fewer missing verbs", || async {
        let missing = nobody.missing_permissions().await.map_err(|error| error.to_string())?;
        let texts: Vec<String> = missing.iter().map(ToString::to_string).collect();
        if texts.iter().any(|text| text.contains("deployments")) {
            Err(texts.join(", "))
        } else {
            Ok(texts)
        }
    })
    .await;
    assert!(
        missing.contains(&"create pods/eviction".to_owned()) && missing.contains(&"patch statefulsets.apps".to_owned())
    );
    let refused = nobody.nodes().await.expect_err("not allowed");
    assert!(
        matches!(&refused, KubeError::Forbidden { message, .. } if message.contains("nodes")),
        "{refused}"
    );
}

#[tokio::test]
async fn a_deployment_lives() {
    let (cluster, space) = (cluster().await, namespace("life"));
    let mut spec = deployment(&space, "web", 4);
    spec.labels.insert("team".to_owned(), "ml".to_owned());
    spec.gpus = Some(Gpus {
        count: 1,
        resource: "nvidia.com/gpu".to_owned(),
    });
    let id = spec.id.clone();
    assert!(cluster.workload(&id).await.expect("an answer").is_none());
    cluster.create(&spec).await.expect("created");
    settled(&cluster, &id, 4).await;
    let again = cluster.create(&spec).await.expect_err("it is there");
    assert!(matches!(again, KubeError::Conflict { .. }), "{again}");

    for replicas in [7, 0, 3] {
        cluster.scale(&id, replicas).await.expect("scaled");
        let now = settled(&cluster, &id, replicas).await;
        assert_eq!((now.status, now.ready), (StatusWord::Running, replicas));
    }
    let live = api()
        .get(&format!("/apis/apps/v1/namespaces/{space}/deployments/web"))
        .expect("the object");
    let container = &live["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(
        (&container["image"], &container["resources"]["limits"]["nvidia.com/gpu"]),
        (&json!("web:1"), &json!("1"))
    );
    let managers: BTreeSet<&str> = live["metadata"]["managedFields"]
        .as_array()
        .expect("managers")
        .iter()
        .filter_map(|one| one["manager"].as_str())
        .collect();
    assert!(
        managers.contains("sentinel-hub") && !managers.contains("unknown"),
        "{managers:?}"
    );

    let team = BTreeMap::from([("team".to_owned(), "ml".to_owned())]);
    let listed = cluster
        .workloads(WorkloadKind::Deployment, Some(&space), &team)
        .await
        .expect("a list");
    assert_eq!(
        listed.iter().map(|one| one.id.name.as_str()).collect::<Vec<_>>(),
        ["web"]
    );
    let events = cluster.events(&id).await.expect("events");
    assert!(
        events.iter().any(|event| event.reason == "ScalingReplicaSet"),
        "{events:?}"
    );

    assert!(cluster.delete(&id).await.expect("deleted"));
    eventually("no workload", &WatchWhat::Workloads(id.kind), || async {
        let seen = cluster.workload(&id).await.map_err(|error| error.to_string())?;
        seen.map_or(Ok(()), |seen| Err(format!("{seen:?}")))
    })
    .await;
    assert!(!cluster.delete(&id).await.expect("an answer"));
}

#[tokio::test]
async fn an_intent_without_a_number_keeps_the_number_that_there_is() {
    let (cluster, space) = (cluster().await, namespace("unsaid"));
    let mut spec = deployment(&space, "web", 5);
    cluster.apply(&spec, Owner::Yield).await.expect("created");
    spec.replicas = None;
    spec.image = "web:2".to_owned();
    let updated = cluster.apply(&spec, Owner::Yield).await.expect("updated");
    assert_eq!((updated.wanted, updated.image.as_str()), (5, "web:2"));
    // And what the intent no longer holds is gone.
    spec.labels.insert("extra".to_owned(), "1".to_owned());
    assert!(
        cluster
            .apply(&spec, Owner::Yield)
            .await
            .expect("updated")
            .labels
            .contains_key("extra")
    );
    spec.labels.clear();
    assert!(
        !cluster
            .apply(&spec, Owner::Yield)
            .await
            .expect("updated")
            .labels
            .contains_key("extra")
    );
}

#[tokio::test]
async fn a_rollback_really_restores_the_revision() {
    let (cluster, space) = (cluster().await, namespace("back"));
    let mut spec = deployment(&space, "web", 3);
    let id = spec.id.clone();
    for version in 1..=3 {
        spec.image = format!("web:{version}");
        spec.environment.insert("VERSION".to_owned(), version.to_string());
        cluster.apply(&spec, Owner::Yield).await.expect("applied");
        settled(&cluster, &id, 3).await;
    }
    let numbers: Vec<u64> = cluster
        .revisions(&id)
        .await
        .expect("revisions")
        .iter()
        .map(|one| one.number)
        .collect();
    assert_eq!(numbers, [1, 2, 3]);
    let back = cluster.roll_back(&id, None).await.expect("rolled back");
    assert_eq!((back.to, back.image.as_str()), (2, "web:2"));
    settled(&cluster, &id, 3).await;
    cluster.roll_back(&id, Some(1)).await.expect("rolled back");
    let now = settled(&cluster, &id, 3).await;
    assert_eq!(now.image, "web:1");
    let pods = cluster.pods(Some(&space), &BTreeMap::new()).await.expect("pods");
    assert!(
        pods.iter().filter(|pod| !pod.deleting).all(|pod| pod.image == "web:1"),
        "{pods:?}"
    );
    let missing = cluster
        .roll_back(&id, Some(99))
        .await
        .expect_err("never was")
        .to_string();
    assert!(missing.contains("99 is not there; the cluster has"), "{missing}");
}

#[tokio::test]
async fn a_restart_replaces_every_pod_once() {
    let (cluster, space) = (cluster().await, namespace("again"));
    let spec = deployment(&space, "web", 3);
    cluster.apply(&spec, Owner::Yield).await.expect("created");
    settled(&cluster, &spec.id, 3).await;
    let uids = || async {
        let pods = cluster.pods(Some(&space), &BTreeMap::new()).await.expect("pods");
        pods.into_iter()
            .filter(|pod| !pod.deleting)
            .map(|pod| pod.uid)
            .collect::<BTreeSet<String>>()
    };
    let before = uids().await;
    cluster.restart(&spec.id, "plan-1").await.expect("restarted");
    let generation = settled(&cluster, &spec.id, 3).await.revision;
    eventually("new pods", &WatchWhat::Pods(String::new()), || async {
        let now = uids().await;
        if now.len() == 3 && now.is_disjoint(&before) {
            Ok(())
        } else {
            Err(format!("{now:?}"))
        }
    })
    .await;
    cluster.restart(&spec.id, "plan-1").await.expect("the same restart");
    assert_eq!(
        settled(&cluster, &spec.id, 3).await.revision,
        generation,
        "the same mark does nothing"
    );
}

#[tokio::test]
async fn what_others_own_stays_theirs_and_they_are_named() {
    let (cluster, space) = (cluster().await, namespace("theirs"));
    let path = format!("/apis/apps/v1/namespaces/{space}/deployments?fieldManager=helm");
    let theirs = json!({ "metadata": { "name": "web" }, "spec": { "replicas": 2,
        "selector": { "matchLabels": { "workload": "web" } },
        "template": { "metadata": { "labels": { "workload": "web" } }, "spec": {
            "nodeSelector": { "pool": "general" },
            "containers": [{ "name": "main", "image": "web:1", "env": [{ "name": "A", "value": "1" }] }] } } } });
    api().post(&path, &theirs).expect("created by others");
    let id = WorkloadRef::new(WorkloadKind::Deployment, space.clone(), "web");
    let scaled = cluster.scale(&id, 3).await.expect("scaled");
    assert_eq!(scaled.image, "web:1");
    settled(&cluster, &id, 3).await;
    let live = api()
        .get(&format!("/apis/apps/v1/namespaces/{space}/deployments/web"))
        .expect("the object");
    assert_eq!(
        live["spec"]["template"]["spec"]["containers"][0]["env"][0]["name"],
        json!("A")
    );
    let mut spec = deployment(&space, "web", 3);
    spec.image = "web:9".to_owned();
    let conflict = cluster
        .apply(&spec, Owner::Yield)
        .await
        .expect_err("theirs")
        .to_string();
    assert!(conflict.contains("helm") && conflict.contains("image"), "{conflict}");
    assert_eq!(cluster.apply(&spec, Owner::Take).await.expect("taken").image, "web:9");
}

#[tokio::test]
async fn an_autoscalers_workload_is_not_scaled_by_us() {
    let (cluster, space) = (cluster().await, namespace("auto"));
    let spec = deployment(&space, "web", 2);
    cluster.apply(&spec, Owner::Yield).await.expect("created");
    let autoscaler = json!({ "metadata": { "name": "grow" }, "spec": { "minReplicas": 2, "maxReplicas": 9,
        "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "web" },
        "metrics": [{ "type": "Resource", "resource": { "name": "cpu", "target": { "type": "Utilization", "averageUtilization": 50 } } }] } });
    api()
        .post(
            &format!("/apis/autoscaling/v2/namespaces/{space}/horizontalpodautoscalers"),
            &autoscaler,
        )
        .expect("created");
    let refused = cluster
        .scale(&spec.id, 5)
        .await
        .expect_err("an autoscaler does")
        .to_string();
    assert!(
        refused.contains("autoscaler grow scales it between 2 and 9"),
        "{refused}"
    );
    assert_eq!(
        cluster
            .workload(&spec.id)
            .await
            .expect("an answer")
            .map(|now| now.wanted),
        Some(2)
    );
}

#[tokio::test]
async fn stateful_sets_and_jobs_live_too() {
    let (cluster, space) = (cluster().await, namespace("kinds"));
    let stateful = WorkloadSpec {
        id: WorkloadRef::new(WorkloadKind::StatefulSet, space.clone(), "store"),
        ..deployment(&space, "store", 2)
    };
    cluster.create(&stateful).await.expect("created");
    settled(&cluster, &stateful.id, 2).await;
    cluster.set_image(&stateful.id, "store:2").await.expect("updated");
    settled(&cluster, &stateful.id, 2).await;
    let back = cluster.roll_back(&stateful.id, None).await.expect("rolled back");
    assert_eq!(back.image, "store:1");
    settled(&cluster, &stateful.id, 2).await;

    let mut job = WorkloadSpec::new(WorkloadRef::new(WorkloadKind::Job, space.clone(), "once"), "busybox");
    job.node_selector.insert("pool".to_owned(), "general".to_owned());
    cluster.create(&job).await.expect("created");
    assert_eq!(settled(&cluster, &job.id, 1).await.status, StatusWord::Completed);
    assert!(cluster.scale(&job.id, 2).await.is_err());
    assert!(cluster.delete(&job.id).await.expect("deleted"));
}

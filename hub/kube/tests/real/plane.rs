//! The control plane, and what all tests need of it.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use hub_kube::{Cluster, ClusterSettings, Kubeconfig, StatusWord, Workload, WorkloadKind, WorkloadRef, WorkloadSpec};
use serde_json::json;
use testbed_services::{ControlPlane, KubeApi, to_stderr};
use tokio::time::{Instant, sleep};

/// How long a condition may take to become true; it is seconds on an idle machine.
const WITHIN: Duration = Duration::from_secs(90);

/// The control plane of all tests. It ends with this process.
pub fn plane() -> &'static ControlPlane {
    static PLANE: OnceLock<ControlPlane> = OnceLock::new();
    PLANE.get_or_init(|| {
        let plane = ControlPlane::start("hub-kube", &to_stderr).expect("a control plane");
        plane
            .add_nodes("node", 3, &json!({ "pool": "general" }))
            .expect("nodes");
        plane
    })
}

pub fn api() -> KubeApi {
    plane().api().expect("a client")
}

pub fn kubeconfig(user: &str) -> PathBuf {
    plane().kubeconfig(user)
}

pub async fn cluster() -> Cluster {
    cluster_of("admin").await
}

pub async fn cluster_of(user: &str) -> Cluster {
    let settings = ClusterSettings::new("testbed", Kubeconfig::File(kubeconfig(user)));
    Cluster::open(settings).await.expect("a usable kubeconfig")
}

/// A namespace of its own for each test, so that tests run beside each other.
pub fn namespace(name: &str) -> String {
    api()
        .post("/api/v1/namespaces", &json!({ "metadata": { "name": name } }))
        .expect("a namespace");
    name.to_owned()
}

pub fn deployment(namespace: &str, name: &str, replicas: u32) -> WorkloadSpec {
    let mut spec = WorkloadSpec::new(
        WorkloadRef::new(WorkloadKind::Deployment, namespace, name),
        format!("{name}:1"),
    );
    spec.replicas = Some(replicas);
    spec.node_selector.insert("pool".to_owned(), "general".to_owned());
    spec
}

/// Looks until `look` gives something, and fails with what `seen` says after the deadline.
pub async fn eventually<T, F>(what: &str, mut look: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T, String>>,
{
    let deadline = Instant::now() + WITHIN;
    loop {
        match look().await {
            Ok(found) => return found,
            Err(seen) => assert!(Instant::now() < deadline, "{what}: {seen}"),
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// Waits until the workload is as wanted, with this many replicas.
pub async fn settled(cluster: &Cluster, id: &WorkloadRef, replicas: u32) -> Workload {
    eventually(&format!("{id} with {replicas} replicas"), || async {
        let seen = cluster.workload(id).await.map_err(|error| error.to_string())?;
        let done = |one: &Workload| {
            let end = matches!(one.status, StatusWord::Running | StatusWord::Completed);
            end && one.is_settled() && one.wanted == replicas && one.ready == replicas
        };
        seen.clone().filter(done).ok_or_else(|| format!("{seen:?}"))
    })
    .await
}

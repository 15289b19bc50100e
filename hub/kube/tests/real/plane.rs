//! The control plane, and what all tests need of it.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use hub_kube::{
    Cluster, ClusterSettings, Kubeconfig, StatusWord, WatchLimits, WatchWhat, Workload, WorkloadKind, WorkloadRef,
    WorkloadSpec,
};
use serde_json::{Value, json};
use testbed_services::{ControlPlane, KubeApi, to_stderr};
use tokio::time::{Instant, timeout_at};

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

/// Looks each time that `watch` sees something, until `look` gives something; fails with what it saw last after the deadline.
pub async fn eventually<T, F>(what: &str, watch: &WatchWhat, mut look: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T, String>>,
{
    let mut changes = cluster().await.watch(watch, WatchLimits::default());
    let deadline = Instant::now() + WITHIN;
    loop {
        let seen = match look().await {
            Ok(found) => return found,
            Err(seen) => seen,
        };
        let more = timeout_at(deadline, changes.next()).await;
        assert!(more.is_ok(), "{what}: {seen}");
    }
}

/// Asks again and again, for what nobody tells when it changes: each question is some dozen calls, so that it is no busy loop.
pub async fn asked_until<T, F>(what: &str, mut ask: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T, String>>,
{
    let deadline = Instant::now() + WITHIN;
    loop {
        match ask().await {
            Ok(found) => return found,
            Err(seen) => assert!(Instant::now() < deadline, "{what}: {seen}"),
        }
    }
}

/// The first object of a collection, such as `/api/v1/nodes`, that is as wanted.
pub async fn object(collection: &str, wanted: impl Fn(&Value) -> bool + Send + 'static) -> Value {
    let (api, collection) = (api(), collection.to_owned());
    let watch = move || api.watch(&collection, WITHIN, |_, object| wanted(object).then(|| object.clone()));
    let seen = tokio::task::spawn_blocking(watch).await.expect("no panic");
    seen.expect("it became as wanted")
}

/// Waits until the workload is as wanted, with this many replicas.
pub async fn settled(cluster: &Cluster, id: &WorkloadRef, replicas: u32) -> Workload {
    let watch = WatchWhat::Workloads(id.kind);
    eventually(&format!("{id} with {replicas} replicas"), &watch, || async {
        let seen = cluster.workload(id).await.map_err(|error| error.to_string())?;
        let done = |one: &Workload| {
            let end = matches!(one.status, StatusWord::Running | StatusWord::Completed);
            end && one.is_settled() && one.wanted == replicas && one.ready == replicas
        };
        seen.clone().filter(done).ok_or_else(|| format!("{seen:?}"))
    })
    .await
}

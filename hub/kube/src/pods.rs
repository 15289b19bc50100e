//! Pods, what they log, and what the cluster says happened to a workload.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{Api, LogParams};

use crate::cluster::Cluster;
use crate::error::KubeError;
use crate::manifest::WorkloadRef;
use crate::workloads::selector;

/// A pod in few words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodView {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Identity of this pod.
    pub uid: String,
    /// Version of the object.
    pub version: String,
    /// The node that it runs on; empty while it has none.
    pub node: String,
    /// `Pending`, `Running`, `Succeeded`, `Failed` or `Unknown`.
    pub phase: String,
    /// All of its containers are ready.
    pub ready: bool,
    /// Restarts of all of its containers.
    pub restarts: u32,
    /// Why a container waits, such as `CrashLoopBackOff`; empty when none does.
    pub waiting: String,
    /// Image of its first container.
    pub image: String,
    /// The label `workload`; empty for pods of others.
    pub workload: String,
    /// A daemon set made it, which makes it again whatever happens.
    pub of_daemon_set: bool,
    /// The node made it by itself; the API server only shows it.
    pub is_mirror: bool,
    /// It is being deleted.
    pub deleting: bool,
}

/// Something that happened to an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventView {
    /// When it was last seen, RFC 3339; empty when not said.
    pub at: String,
    /// `Normal` or `Warning`.
    pub kind: String,
    /// One word, such as `ScalingReplicaSet`.
    pub reason: String,
    /// A sentence.
    pub message: String,
    /// How often.
    pub count: u32,
}

impl Cluster {
    /// All pods with these labels, of one namespace or of all.
    pub async fn pods(
        &self,
        namespace: Option<&str>,
        labels: &BTreeMap<String, String>,
    ) -> Result<Vec<PodView>, KubeError> {
        let pods = self
            .list_all(&self.pods_api(namespace), "the list of pods", &selector(labels), "")
            .await?;
        Ok(pods.iter().map(PodView::read).collect())
    }

    /// All pods on a node.
    pub async fn pods_on(&self, node: &str) -> Result<Vec<PodView>, KubeError> {
        let fields = format!("spec.nodeName={node}");
        let pods = self
            .list_all(&self.pods_api(None), &format!("the pods on {node}"), "", &fields)
            .await?;
        Ok(pods.iter().map(PodView::read).collect())
    }

    /// The last `lines` that a pod printed.
    pub async fn logs(&self, namespace: &str, pod: &str, lines: u32) -> Result<String, KubeError> {
        let parameters = LogParams {
            tail_lines: Some(i64::from(lines)),
            ..LogParams::default()
        };
        let api = self.pods_api(Some(namespace));
        self.call(&format!("the log of pod {namespace}/{pod}"), || {
            api.logs(pod, &parameters)
        })
        .await
    }

    /// What happened to a workload, oldest first. The cluster forgets after an hour or so.
    pub async fn events(&self, id: &WorkloadRef) -> Result<Vec<EventView>, KubeError> {
        let api: Api<Event> = Api::namespaced(self.client.clone(), &id.namespace);
        let fields = format!("involvedObject.kind={},involvedObject.name={}", id.kind.name(), id.name);
        let events = self.list_all(&api, &format!("events of {id}"), "", &fields).await?;
        let mut views: Vec<EventView> = events.into_iter().map(EventView::read).collect();
        views.sort_by(|left, right| left.at.cmp(&right.at));
        Ok(views)
    }

    pub(crate) fn pods_api(&self, namespace: Option<&str>) -> Api<Pod> {
        match namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        }
    }
}

impl PodView {
    pub(crate) fn read(pod: &Pod) -> Self {
        let metadata = &pod.metadata;
        let status = pod.status.clone().unwrap_or_default();
        let containers = status.container_statuses.unwrap_or_default();
        let waiting = containers
            .iter()
            .find_map(|one| one.state.as_ref()?.waiting.as_ref()?.reason.clone());
        let spec = pod.spec.as_ref();
        let owners = metadata.owner_references.iter().flatten();
        let annotation = |key: &str| metadata.annotations.as_ref().is_some_and(|all| all.contains_key(key));
        let label = |key: &str| {
            metadata
                .labels
                .as_ref()
                .and_then(|all| all.get(key))
                .cloned()
                .unwrap_or_default()
        };
        let ready = status
            .conditions
            .iter()
            .flatten()
            .any(|one| one.type_ == "Ready" && one.status == "True");
        Self {
            namespace: metadata.namespace.clone().unwrap_or_default(),
            name: metadata.name.clone().unwrap_or_default(),
            uid: metadata.uid.clone().unwrap_or_default(),
            version: metadata.resource_version.clone().unwrap_or_default(),
            node: spec.and_then(|spec| spec.node_name.clone()).unwrap_or_default(),
            phase: status.phase.unwrap_or_default(),
            ready,
            restarts: containers
                .iter()
                .map(|one| u32::try_from(one.restart_count).unwrap_or(0))
                .sum(),
            waiting: waiting.unwrap_or_default(),
            image: spec
                .and_then(|spec| spec.containers.first()?.image.clone())
                .unwrap_or_default(),
            workload: label("workload"),
            of_daemon_set: owners.into_iter().any(|owner| owner.kind == "DaemonSet"),
            is_mirror: annotation("kubernetes.io/config.mirror"),
            deleting: metadata.deletion_timestamp.is_some(),
        }
    }

    /// Whether it has ended, well or not.
    pub fn has_ended(&self) -> bool {
        matches!(self.phase.as_str(), "Succeeded" | "Failed")
    }
}

impl EventView {
    fn read(event: Event) -> Self {
        let at = event
            .last_timestamp
            .map(|time| time.0)
            .or(event.event_time.map(|time| time.0));
        Self {
            at: at.map(|at| at.to_string()).unwrap_or_default(),
            kind: event.type_.unwrap_or_default(),
            reason: event.reason.unwrap_or_default(),
            message: event.message.unwrap_or_default(),
            count: event.count.and_then(|count| u32::try_from(count).ok()).unwrap_or(1),
        }
    }
}

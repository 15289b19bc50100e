//! From a workload in our words to the intent that is applied.

use std::collections::BTreeMap;

use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Map, Value, json};

/// Which kind of workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WorkloadKind {
    /// Replaceable replicas.
    Deployment,
    /// Replicas with names and storage of their own.
    StatefulSet,
    /// Work that ends.
    Job,
}

impl WorkloadKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Deployment, Self::StatefulSet, Self::Job];

    /// Its name, such as `Deployment`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Deployment => "Deployment",
            Self::StatefulSet => "StatefulSet",
            Self::Job => "Job",
        }
    }

    /// From a name of either case, such as `deployment`.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name().eq_ignore_ascii_case(text))
    }

    pub(crate) fn api_version(self) -> &'static str {
        match self {
            Self::Deployment | Self::StatefulSet => "apps/v1",
            Self::Job => "batch/v1",
        }
    }

    pub(crate) fn resource(self) -> ApiResource {
        let group = self.api_version().split('/').next().unwrap_or_default();
        ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", self.name()))
    }
}

/// Which workload.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkloadRef {
    /// Its kind.
    pub kind: WorkloadKind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl WorkloadRef {
    /// A reference.
    pub fn new(kind: WorkloadKind, namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            kind,
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl std::fmt::Display for WorkloadRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}/{}", self.kind.name(), self.namespace, self.name)
    }
}

/// GPUs of one replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gpus {
    /// How many.
    pub count: u32,
    /// The extended resource that counts them, such as `nvidia.com/gpu`.
    pub resource: String,
}

/// A workload as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkloadSpec {
    /// Which.
    pub id: WorkloadRef,
    /// Container image.
    pub image: String,
    /// How many replicas; `None` leaves the number to whoever scales it. Of a job, how many have to complete.
    pub replicas: Option<u32>,
    /// Labels; those that we need ourselves win.
    pub labels: BTreeMap<String, String>,
    /// Command and arguments; empty for the image's own.
    pub command: Vec<String>,
    /// Environment.
    pub environment: BTreeMap<String, String>,
    /// CPU of one replica in thousandths of a core.
    pub cpu_milli: Option<u64>,
    /// Memory of one replica in MiB.
    pub memory_mib: Option<u64>,
    /// GPUs of one replica.
    pub gpus: Option<Gpus>,
    /// Labels that a node must have, such as its GPU model.
    pub node_selector: BTreeMap<String, String>,
    /// Names of the only nodes that will do; empty for any.
    pub nodes: Vec<String>,
    /// Ports that it listens on.
    pub ports: Vec<u16>,
}

/// Failed pods of a job before it has failed.
const BACKOFF_LIMIT: u32 = 3;

impl WorkloadSpec {
    /// A workload with an image and nothing else said.
    pub fn new(id: WorkloadRef, image: impl Into<String>) -> Self {
        Self {
            id,
            image: image.into(),
            replicas: None,
            labels: BTreeMap::new(),
            command: Vec::new(),
            environment: BTreeMap::new(),
            cpu_milli: None,
            memory_mib: None,
            gpus: None,
            node_selector: BTreeMap::new(),
            nodes: Vec::new(),
            ports: Vec::new(),
        }
    }

    /// The intent that is applied.
    pub(crate) fn manifest(&self) -> Value {
        let labels = self.all_labels();
        let selector = json!({ "workload": self.id.name });
        let pod = json!({ "metadata": { "labels": labels }, "spec": self.pod() });
        let mut spec = match self.id.kind {
            WorkloadKind::Deployment => json!({ "selector": { "matchLabels": selector }, "template": pod }),
            WorkloadKind::StatefulSet => {
                json!({ "serviceName": self.id.name, "selector": { "matchLabels": selector }, "template": pod })
            }
            WorkloadKind::Job => {
                json!({ "backoffLimit": BACKOFF_LIMIT, "parallelism": 1, "completions": self.replicas.unwrap_or(1), "template": pod })
            }
        };
        if let (Some(replicas), WorkloadKind::Deployment | WorkloadKind::StatefulSet) = (self.replicas, self.id.kind) {
            spec["replicas"] = json!(replicas);
        }
        json!({
            "apiVersion": self.id.kind.api_version(),
            "kind": self.id.kind.name(),
            "metadata": { "name": self.id.name, "namespace": self.id.namespace, "labels": labels },
            "spec": spec,
        })
    }

    fn all_labels(&self) -> BTreeMap<String, String> {
        let mut labels = self.labels.clone();
        for (key, value) in [
            ("app", "sentinel"),
            ("managed-by", "sentinel"),
            ("workload", self.id.name.as_str()),
            ("app.kubernetes.io/name", self.id.name.as_str()),
            ("app.kubernetes.io/managed-by", crate::FIELD_MANAGER),
        ] {
            labels.insert(key.to_owned(), value.to_owned());
        }
        labels
    }

    fn pod(&self) -> Value {
        let mut container = json!({ "name": "main", "image": self.image });
        if !self.command.is_empty() {
            container["command"] = json!(self.command);
        }
        if !self.environment.is_empty() {
            let variables = self
                .environment
                .iter()
                .map(|(name, value)| json!({ "name": name, "value": value }));
            container["env"] = variables.collect();
        }
        if !self.ports.is_empty() {
            container["ports"] = self
                .ports
                .iter()
                .map(|port| json!({ "containerPort": port, "protocol": "TCP" }))
                .collect();
        }
        let mut room = Map::new();
        if let Some(cpu) = self.cpu_milli {
            room.insert("cpu".to_owned(), json!(format!("{cpu}m")));
        }
        if let Some(memory) = self.memory_mib {
            room.insert("memory".to_owned(), json!(format!("{memory}Mi")));
        }
        if let Some(gpus) = &self.gpus {
            room.insert(gpus.resource.clone(), json!(gpus.count.to_string()));
        }
        if !room.is_empty() {
            // Requests and limits are the same: neighbours cannot take what was promised.
            container["resources"] = json!({ "requests": room, "limits": room });
        }
        let mut pod = json!({ "containers": [container] });
        if self.id.kind == WorkloadKind::Job {
            pod["restartPolicy"] = json!("OnFailure");
        }
        if !self.node_selector.is_empty() {
            pod["nodeSelector"] = json!(self.node_selector);
        }
        if !self.nodes.is_empty() {
            let only = json!({ "key": "kubernetes.io/hostname", "operator": "In", "values": self.nodes });
            pod["affinity"] = json!({ "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{ "matchExpressions": [only] }] } } });
        }
        pod
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(kind: WorkloadKind) -> WorkloadSpec {
        WorkloadSpec::new(WorkloadRef::new(kind, "default", "web"), "web:1")
    }

    #[test]
    fn a_users_label_never_replaces_one_of_ours() {
        let mut asked = spec(WorkloadKind::Deployment);
        asked.labels = BTreeMap::from([("app".into(), "test".into()), ("team".into(), "ml".into())]);
        let labels = &asked.manifest()["metadata"]["labels"];
        assert_eq!((&labels["app"], &labels["team"]), (&json!("sentinel"), &json!("ml")));
    }

    #[test]
    fn no_replicas_is_a_number_and_unsaid_is_not() {
        let mut asked = spec(WorkloadKind::Deployment);
        assert!(asked.manifest()["spec"].get("replicas").is_none());
        asked.replicas = Some(0);
        assert_eq!(asked.manifest()["spec"]["replicas"], json!(0));
    }

    #[test]
    fn gpus_reach_the_pod() {
        let mut asked = spec(WorkloadKind::StatefulSet);
        asked.gpus = Some(Gpus {
            count: 2,
            resource: "nvidia.com/gpu".into(),
        });
        let container = &asked.manifest()["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(container["resources"]["limits"]["nvidia.com/gpu"], json!("2"));
    }

    #[test]
    fn a_job_runs_once_unless_more_is_said() {
        let job = spec(WorkloadKind::Job).manifest();
        let (spec, pod) = (&job["spec"], &job["spec"]["template"]["spec"]);
        assert_eq!(
            (&spec["backoffLimit"], &spec["parallelism"], &spec["completions"]),
            (&json!(3), &json!(1), &json!(1))
        );
        assert_eq!(pod["restartPolicy"], json!("OnFailure"));
    }
}

//! What a workload looks like, and the one word for it.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::drift::{Drift, drift};
use crate::manifest::{WorkloadKind, WorkloadRef};
use crate::owned::others_owning;
use crate::workloads::MARK;

/// A workload as the cluster tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// Which.
    pub id: WorkloadRef,
    /// Identity of this object: another one of the same name has another.
    pub uid: String,
    /// Version of the object.
    pub version: String,
    /// Replicas that are wanted; of a job, completions.
    pub wanted: u32,
    /// Replicas that are ready; of a job, completed.
    pub ready: u32,
    /// Replicas that count as available.
    pub available: u32,
    /// Replicas of the newest revision.
    pub updated: u32,
    /// Replicas that there are.
    pub existing: u32,
    /// Whether its controller has seen the newest intent.
    pub seen_by_controller: bool,
    /// The word for all that.
    pub status: StatusWord,
    /// Image of the first container.
    pub image: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its revision, of a deployment.
    pub revision: Option<u64>,
    /// The mark of the last change that was made with one ([`crate::Cluster::marking`]); empty without.
    pub mark: String,
    /// It is being deleted.
    pub deleting: bool,
    /// Field managers other than us that own the number of replicas.
    pub replicas_owned_by: Vec<String>,
    /// What is not as our last change left it.
    pub drift: Vec<Drift>,
}

/// One word for the state of a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StatusWord {
    /// As wanted: all replicas of the newest revision are ready. Zero of zero is as wanted.
    Running,
    /// Nothing has happened yet.
    Pending,
    /// Some replicas are ready.
    Scaling,
    /// Replicas of an older revision are being replaced.
    Updating,
    /// A job that has done all.
    Completed,
    /// A job that has given up, or a rollout that passed its deadline.
    Failed,
    /// There are replicas, and nothing is said of them.
    Unknown,
}

impl StatusWord {
    /// The word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Pending => "pending",
            Self::Scaling => "scaling",
            Self::Updating => "updating",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }
}

impl Workload {
    /// Whether everything is as wanted, and its controller knows what is wanted.
    pub fn is_settled(&self) -> bool {
        !self.deleting && matches!(self.status, StatusWord::Running | StatusWord::Completed)
    }

    /// From the object. `None` if it has no name.
    pub(crate) fn read(kind: WorkloadKind, live: &Value) -> Option<Self> {
        let metadata = &live["metadata"];
        let name = metadata["name"].as_str()?;
        let namespace = metadata["namespace"].as_str().unwrap_or_default();
        let count = |value: &Value| value.as_u64().and_then(|count| u32::try_from(count).ok()).unwrap_or(0);
        let (spec, status) = (&live["spec"], &live["status"]);
        let is_job = kind == WorkloadKind::Job;
        // One replica is what the API server means when nothing is said.
        let said = if is_job {
            &spec["completions"]
        } else {
            &spec["replicas"]
        };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let labels = metadata["labels"].as_object().into_iter().flatten();
        let mut workload = Self {
            id: WorkloadRef::new(kind, namespace, name),
            uid: text(&metadata["uid"]),
            version: text(&metadata["resourceVersion"]),
            wanted: if said.is_null() { 1 } else { count(said) },
            ready: count(if is_job {
                &status["succeeded"]
            } else {
                &status["readyReplicas"]
            }),
            available: count(if is_job {
                &status["active"]
            } else {
                &status["availableReplicas"]
            }),
            updated: count(&status["updatedReplicas"]),
            existing: count(&status["replicas"]),
            seen_by_controller: is_job || status["observedGeneration"].as_i64() >= metadata["generation"].as_i64(),
            status: StatusWord::Unknown,
            image: text(&spec["template"]["spec"]["containers"][0]["image"]),
            labels: labels.map(|(key, value)| (key.clone(), text(value))).collect(),
            revision: metadata["annotations"]["deployment.kubernetes.io/revision"]
                .as_str()
                .and_then(|text| text.parse().ok()),
            mark: text(&metadata["annotations"][MARK]),
            deleting: !metadata["deletionTimestamp"].is_null(),
            replicas_owned_by: others_owning(live, &["spec", "replicas"]),
            drift: drift(live),
        };
        workload.status = match kind {
            WorkloadKind::Deployment | WorkloadKind::StatefulSet => workload.service_word(status),
            WorkloadKind::Job => job_word(spec, status, workload.wanted),
        };
        Some(workload)
    }

    fn service_word(&self, status: &Value) -> StatusWord {
        let late = condition(status, "Progressing", "False", Some("ProgressDeadlineExceeded"));
        if !self.seen_by_controller {
            return StatusWord::Pending;
        }
        if self.ready == self.wanted && self.existing == self.wanted && (self.updated == self.wanted) {
            return StatusWord::Running;
        }
        if late {
            return StatusWord::Failed;
        }
        if self.updated < self.existing || self.updated < self.ready {
            return StatusWord::Updating;
        }
        match (self.ready, self.existing) {
            (1.., _) => StatusWord::Scaling,
            (0, 0) => StatusWord::Pending,
            (0, _) => StatusWord::Unknown,
        }
    }
}

fn job_word(spec: &Value, status: &Value, wanted: u32) -> StatusWord {
    let count = |value: &Value| value.as_u64().unwrap_or(0);
    let limit = spec["backoffLimit"].as_u64().unwrap_or(6);
    if condition(status, "Complete", "True", None) || count(&status["succeeded"]) >= u64::from(wanted.max(1)) {
        StatusWord::Completed
    } else if condition(status, "Failed", "True", None) || (count(&status["failed"]) >= limit && limit > 0) {
        StatusWord::Failed
    } else if count(&status["active"]) > 0 {
        StatusWord::Running
    } else {
        StatusWord::Pending
    }
}

fn condition(status: &Value, kind: &str, value: &str, reason: Option<&str>) -> bool {
    let mut conditions = status["conditions"].as_array().into_iter().flatten();
    conditions
        .any(|one| one["type"] == kind && one["status"] == value && reason.is_none_or(|reason| one["reason"] == reason))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn deployment(spec: Value, status: Value) -> &'static str {
        let live = json!({ "metadata": { "name": "w", "namespace": "d" }, "spec": spec, "status": status });
        Workload::read(WorkloadKind::Deployment, &live)
            .expect("it has a name")
            .status
            .word()
    }

    fn job(succeeded: u64, failed: u64, active: u64, completions: u64) -> &'static str {
        let live = json!({
            "metadata": { "name": "j", "namespace": "d" },
            "spec": { "backoffLimit": 3, "completions": completions },
            "status": { "succeeded": succeeded, "failed": failed, "active": active },
        });
        Workload::read(WorkloadKind::Job, &live)
            .expect("it has a name")
            .status
            .word()
    }

    #[test]
    fn words_of_a_deployment() {
        let all = |ready: u64| json!({ "replicas": 3, "readyReplicas": ready, "updatedReplicas": 3 });
        assert_eq!(deployment(json!({ "replicas": 3 }), all(3)), "running");
        assert_eq!(deployment(json!({ "replicas": 3 }), all(2)), "scaling");
        assert_eq!(deployment(json!({ "replicas": 3 }), all(0)), "unknown");
        assert_eq!(deployment(json!({ "replicas": 3 }), json!({})), "pending");
        assert_eq!(deployment(json!({ "replicas": 0 }), json!({})), "running");
        let old = json!({ "replicas": 4, "readyReplicas": 4, "updatedReplicas": 1 });
        assert_eq!(deployment(json!({ "replicas": 4 }), old), "updating");
    }

    #[test]
    fn what_the_controller_has_not_seen_is_not_done() {
        let live = json!({
            "metadata": { "name": "w", "namespace": "d", "generation": 2 },
            "spec": { "replicas": 3 },
            "status": { "observedGeneration": 1, "replicas": 3, "readyReplicas": 3, "updatedReplicas": 3 },
        });
        let workload = Workload::read(WorkloadKind::Deployment, &live).expect("it has a name");
        assert!(!workload.is_settled());
    }

    #[test]
    fn words_of_a_job() {
        assert_eq!(job(1, 0, 0, 1), "completed");
        assert_eq!(job(1, 0, 0, 5), "pending", "one of five is not all");
        assert_eq!(job(0, 3, 0, 1), "failed");
        assert_eq!(job(0, 2, 0, 1), "pending");
        assert_eq!(job(0, 0, 1, 1), "running");
    }
}

//! Revisions of a workload, and going back to one.

use k8s_openapi::api::apps::v1::{ControllerRevision, ReplicaSet};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::Api;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::error::KubeError;
use crate::manifest::{WorkloadKind, WorkloadRef};
use crate::status::Workload;

/// Where a deployment's replica sets carry their revision.
const REVISION: &str = "deployment.kubernetes.io/revision";
/// The label that a deployment adds to the pods of each replica set.
const POD_HASH: &str = "pod-template-hash";

/// One revision that the cluster still has.
#[derive(Debug, Clone, PartialEq)]
pub struct Revision {
    /// Its number; higher is newer.
    pub number: u64,
    /// Image of its first container.
    pub image: String,
    /// The pods that it makes.
    pub(crate) template: Value,
}

/// What going back came to.
#[derive(Debug, Clone, PartialEq)]
pub struct RolledBack {
    /// The revision that was asked for, by its old number; the cluster gives it a new one.
    pub to: u64,
    /// Its image.
    pub image: String,
    /// The workload right after the change; its pods follow.
    pub workload: Workload,
}

impl Cluster {
    /// The revisions that the cluster still has, oldest first. A job has none.
    pub async fn revisions(&self, id: &WorkloadRef) -> Result<Vec<Revision>, KubeError> {
        let live = self.live_or_missing(id).await?;
        self.revisions_of(id, &live).await
    }

    /// Makes the workload what it was in revision `to`; without, in the one before the newest.
    ///
    /// The answer is checked: if fields that others own keep it from being the same, that is a [`KubeError::Conflict`] naming them.
    pub async fn roll_back(&self, id: &WorkloadRef, to: Option<u64>) -> Result<RolledBack, KubeError> {
        let live = self.live_or_missing(id).await?;
        let revisions = self.revisions_of(id, &live).await?;
        let target = match to {
            Some(number) => revisions.iter().find(|revision| revision.number == number),
            None => revisions.iter().rev().nth(1),
        };
        let Some(target) = target else {
            let numbers: Vec<String> = revisions.iter().map(|revision| revision.number.to_string()).collect();
            let asked = to.map_or_else(
                || "there is none before the newest".to_owned(),
                |to| format!("{to} is not there"),
            );
            let message = format!("revision: {asked}; the cluster has {}", numbers.join(", "));
            return Err(KubeError::Invalid {
                cluster: self.name().to_owned(),
                what: id.to_string(),
                message,
            });
        };
        self.change(id, |_, ours| ours["spec"]["template"] = target.template.clone())
            .await?;
        let now = self.live_or_missing(id).await?;
        let kept = differences(&target.template, &now["spec"]["template"], "spec.template");
        if !kept.is_empty() {
            let message = format!(
                "not as in revision {}, because others own: {}",
                target.number,
                kept.join(", ")
            );
            return Err(KubeError::Conflict {
                cluster: self.name().to_owned(),
                what: id.to_string(),
                message,
            });
        }
        let workload = self.workload_of(id.kind, &now)?;
        Ok(RolledBack {
            to: target.number,
            image: target.image.clone(),
            workload,
        })
    }

    async fn live_or_missing(&self, id: &WorkloadRef) -> Result<Value, KubeError> {
        let live = self
            .live(&id.kind.resource(), Some(&id.namespace), &id.name, &id.to_string())
            .await?;
        live.ok_or_else(|| KubeError::NotFound {
            cluster: self.name().to_owned(),
            what: id.to_string(),
        })
    }

    async fn revisions_of(&self, id: &WorkloadRef, live: &Value) -> Result<Vec<Revision>, KubeError> {
        let uid = live["metadata"]["uid"].as_str().unwrap_or_default();
        let labels = live["spec"]["selector"]["matchLabels"]
            .as_object()
            .into_iter()
            .flatten();
        let labels: Vec<String> = labels
            .filter_map(|(key, value)| Some(format!("{key}={}", value.as_str()?)))
            .collect();
        let labels = labels.join(",");
        let what = format!("revisions of {id}");
        let mut revisions: Vec<Revision> = match id.kind {
            WorkloadKind::Deployment => {
                let api: Api<ReplicaSet> = Api::namespaced(self.client.clone(), &id.namespace);
                let sets = self.list_all(&api, &what, &labels, "").await?;
                sets.iter()
                    .filter(|set| is_owned_by(&set.metadata, uid))
                    .filter_map(of_replica_set)
                    .collect()
            }
            WorkloadKind::StatefulSet => {
                let api: Api<ControllerRevision> = Api::namespaced(self.client.clone(), &id.namespace);
                let all = self.list_all(&api, &what, &labels, "").await?;
                all.iter()
                    .filter(|one| is_owned_by(&one.metadata, uid))
                    .filter_map(of_controller_revision)
                    .collect()
            }
            WorkloadKind::Job => Vec::new(),
        };
        revisions.sort_by_key(|revision| revision.number);
        Ok(revisions)
    }
}

fn is_owned_by(metadata: &ObjectMeta, uid: &str) -> bool {
    metadata.owner_references.iter().flatten().any(|owner| owner.uid == uid)
}

fn of_replica_set(set: &ReplicaSet) -> Option<Revision> {
    let number = set.metadata.annotations.as_ref()?.get(REVISION)?.parse().ok()?;
    let template = serde_json::to_value(set.spec.as_ref()?.template.as_ref()?).ok()?;
    Some(Revision::new(number, template))
}

fn of_controller_revision(revision: &ControllerRevision) -> Option<Revision> {
    let data = serde_json::to_value(revision.data.as_ref()?).ok()?;
    let template = data["spec"].get("template")?.clone();
    Some(Revision::new(u64::try_from(revision.revision).ok()?, template))
}

impl Revision {
    fn new(number: u64, mut template: Value) -> Self {
        if let Some(labels) = template["metadata"]["labels"].as_object_mut() {
            labels.remove(POD_HASH);
        }
        if let Some(object) = template.as_object_mut() {
            // How a stateful set says that its patch replaces everything.
            object.remove("$patch");
        }
        drop_nulls(&mut template);
        let image = template["spec"]["containers"][0]["image"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        Self {
            number,
            image,
            template,
        }
    }
}

/// Removes what is null: `creationTimestamp` of a template is, and an apply does not want it.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(object) => {
            object.retain(|_, inner| !inner.is_null());
            object.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Paths at which `now` is not as `wanted`.
fn differences(wanted: &Value, now: &Value, path: &str) -> Vec<String> {
    let null = json!(null);
    match (wanted, now) {
        (Value::Object(left), Value::Object(right)) => {
            let names: std::collections::BTreeSet<&String> = left.keys().chain(right.keys()).collect();
            let each = |name: &&String| {
                let inner =
                    |object: &serde_json::Map<String, Value>| object.get(*name).cloned().unwrap_or(null.clone());
                differences(&inner(left), &inner(right), &format!("{path}.{name}"))
            };
            names.iter().flat_map(each).collect()
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            let pairs = left.iter().zip(right).enumerate();
            pairs
                .flat_map(|(index, (left, right))| differences(left, right, &format!("{path}[{index}]")))
                .collect()
        }
        (left, right) if left == right => Vec::new(),
        // Nothing and an empty thing are the same.
        (Value::Null, Value::Object(empty)) | (Value::Object(empty), Value::Null) if empty.is_empty() => Vec::new(),
        _ => vec![path.to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_name_their_place() {
        let old = json!({ "spec": { "containers": [{ "name": "main", "image": "web:1" }] }, "metadata": {} });
        let mut new = old.clone();
        assert!(differences(&old, &new, "t").is_empty());
        new["spec"]["containers"][0]["env"] = json!([{ "name": "A" }]);
        new["spec"]["containers"][0]["image"] = json!("web:2");
        assert_eq!(
            differences(&old, &new, "t"),
            ["t.spec.containers[0].env", "t.spec.containers[0].image"]
        );
    }

    #[test]
    fn a_revision_is_without_what_its_controller_added() {
        let template = json!({ "metadata": { "creationTimestamp": null, "labels": { POD_HASH: "1", "app": "web" } },
            "spec": { "containers": [{ "image": "web:1" }] }, "$patch": "replace" });
        let revision = Revision::new(3, template);
        assert_eq!(revision.template["metadata"], json!({ "labels": { "app": "web" } }));
        assert_eq!(
            (revision.image.as_str(), revision.template.get("$patch")),
            ("web:1", None)
        );
    }
}

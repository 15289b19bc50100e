//! Nodes: what they have, and closing, tainting and marking them.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};

use wire::api::quantity_milli;

use crate::FIELD_MANAGER;
use crate::cluster::Cluster;
use crate::error::KubeError;
use crate::owned::{others_owning, owned};

/// A node in few words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeView {
    /// Its name.
    pub name: String,
    /// Version of the object.
    pub version: String,
    /// Its kubelet says that it is ready.
    pub ready: bool,
    /// It is closed for new pods.
    pub cordoned: bool,
    /// Its taints.
    pub taints: Vec<Taint>,
    /// Its conditions: kind, and whether it is true; `None` when not known.
    pub conditions: BTreeMap<String, Option<bool>>,
    /// CPU that pods may have, in thousandths of a core.
    pub cpu_milli: u64,
    /// Memory that pods may have, in MiB.
    pub memory_mib: u64,
    /// Extended resources that pods may have, such as `nvidia.com/gpu`.
    pub extended: BTreeMap<String, u64>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// A taint.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Taint {
    /// Its key, such as `sentinel.dev/fault`.
    pub key: String,
    /// Its value.
    pub value: String,
    /// What it does.
    pub effect: TaintEffect,
}

/// What a taint does to pods that do not tolerate it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TaintEffect {
    /// New ones do not come.
    NoSchedule,
    /// New ones come last.
    PreferNoSchedule,
    /// Those that are there go, too.
    NoExecute,
}

impl TaintEffect {
    fn name(self) -> &'static str {
        match self {
            Self::NoSchedule => "NoSchedule",
            Self::PreferNoSchedule => "PreferNoSchedule",
            Self::NoExecute => "NoExecute",
        }
    }

    fn parse(text: &str) -> Self {
        match text {
            "NoExecute" => Self::NoExecute,
            "PreferNoSchedule" => Self::PreferNoSchedule,
            _ => Self::NoSchedule,
        }
    }
}

/// A condition of a node that we keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeCondition {
    /// Its kind, such as `SentinelFault`.
    pub kind: String,
    /// Whether it is true; `None` when not known.
    pub holds: Option<bool>,
    /// One word.
    pub reason: String,
    /// A sentence.
    pub message: String,
}

impl Cluster {
    /// All nodes.
    pub async fn nodes(&self) -> Result<Vec<NodeView>, KubeError> {
        let api: Api<Node> = Api::all(self.client.clone());
        Ok(self
            .list_all(&api, "the list of nodes", "", "")
            .await?
            .iter()
            .map(NodeView::read)
            .collect())
    }

    /// All nodes with a label.
    pub async fn nodes_with(&self, label: &str, value: &str) -> Result<Vec<NodeView>, KubeError> {
        let api: Api<Node> = Api::all(self.client.clone());
        let labels = format!("{label}={value}");
        let nodes = self.list_all(&api, "the list of nodes", &labels, "");
        Ok(nodes.await?.iter().map(NodeView::read).collect())
    }

    /// One node; `None` if there is none.
    pub async fn node(&self, name: &str) -> Result<Option<NodeView>, KubeError> {
        let api: Api<Node> = Api::all(self.client.clone());
        let node = self.call(&format!("node {name}"), || api.get_opt(name)).await?;
        Ok(node.as_ref().map(NodeView::read))
    }

    /// Closes a node for new pods.
    pub async fn cordon(&self, name: &str) -> Result<(), KubeError> {
        self.change_node(name, |_, ours| ours["spec"]["unschedulable"] = json!(true))
            .await
            .map(drop)
    }

    /// Opens a node again. A [`KubeError::Conflict`] if somebody else keeps it closed.
    pub async fn uncordon(&self, name: &str) -> Result<(), KubeError> {
        let node = self
            .change_node(name, |_, ours| {
                if let Some(spec) = ours["spec"].as_object_mut() {
                    spec.remove("unschedulable");
                }
            })
            .await?;
        if node["spec"]["unschedulable"] != json!(true) {
            return Ok(());
        }
        let others = others_owning(&node, &["spec", "unschedulable"]).join(", ");
        let message = format!("closed by {others} as well; open it there");
        Err(KubeError::Conflict {
            cluster: self.name().to_owned(),
            what: format!("node {name}"),
            message,
        })
    }

    /// Puts a taint on a node, instead of one with the same key and effect.
    pub async fn taint(&self, name: &str, taint: &Taint) -> Result<(), KubeError> {
        let mut put = json!({ "key": taint.key, "effect": taint.effect.name() });
        if !taint.value.is_empty() {
            put["value"] = json!(taint.value);
        }
        let kept = |other: &Value| other["key"] != put["key"] || other["effect"] != put["effect"];
        self.change_taints(name, |taints| {
            let mut taints: Vec<Value> = taints.iter().filter(|other| kept(other)).cloned().collect();
            taints.push(put.clone());
            taints
        })
        .await
    }

    /// Takes all taints with this key from a node.
    pub async fn untaint(&self, name: &str, key: &str) -> Result<(), KubeError> {
        self.change_taints(name, |taints| {
            taints.iter().filter(|taint| taint["key"] != key).cloned().collect()
        })
        .await
    }

    /// Sets a condition of a node, beside those that we set before.
    pub async fn set_condition(&self, name: &str, condition: &NodeCondition) -> Result<(), KubeError> {
        let what = format!("conditions of node {name}");
        let resource = node_resource();
        let Some(live) = self.live(&resource, None, name, &what).await? else {
            return Err(KubeError::NotFound {
                cluster: self.name().to_owned(),
                what: format!("node {name}"),
            });
        };
        let mut ours = owned(&live, Some("status"));
        // The kubelet writes the status every few seconds: our conditions are items of their own, so nothing races with it.
        if let Some(metadata) = ours["metadata"].as_object_mut() {
            metadata.remove("resourceVersion");
        }
        let value = json!(match condition.holds {
            Some(true) => "True",
            Some(false) => "False",
            None => "Unknown",
        });
        let now = json!(Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
        let mut conditions = ours["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let before = conditions
            .iter()
            .position(|one| one["type"] == condition.kind)
            .map(|at| conditions.remove(at));
        let since = before
            .filter(|before| before["status"] == value)
            .map(|before| before["lastTransitionTime"].clone());
        conditions.push(json!({
            "type": condition.kind,
            "status": value,
            "reason": condition.reason,
            "message": condition.message,
            "lastHeartbeatTime": now,
            "lastTransitionTime": since.unwrap_or_else(|| now.clone()),
        }));
        ours["status"] = json!({ "conditions": conditions });
        let api = self.dynamic(&resource, None);
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        let patch = Patch::Apply(&ours);
        self.call(&what, || api.patch_status(name, &parameters, &patch))
            .await
            .map(drop)
    }

    async fn change_taints(&self, name: &str, change: impl Fn(&[Value]) -> Vec<Value>) -> Result<(), KubeError> {
        self.change_node(name, |live, ours| {
            // The list of taints has one owner as a whole, so those of others are carried on as they are.
            let taints = live["spec"]["taints"].as_array().map(Vec::as_slice).unwrap_or_default();
            match (change(taints), ours["spec"].as_object_mut()) {
                (none, Some(spec)) if none.is_empty() => drop(spec.remove("taints")),
                (some, _) => ours["spec"]["taints"] = json!(some),
            }
        })
        .await
        .map(drop)
    }

    async fn change_node(&self, name: &str, change: impl Fn(&Value, &mut Value)) -> Result<Value, KubeError> {
        self.change_value(&node_resource(), None, name, &format!("node {name}"), change)
            .await
    }
}

fn node_resource() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Node"))
}

impl NodeView {
    pub(crate) fn read(node: &Node) -> Self {
        let spec = node.spec.clone().unwrap_or_default();
        let status = node.status.clone().unwrap_or_default();
        let conditions: BTreeMap<String, Option<bool>> = status
            .conditions
            .into_iter()
            .flatten()
            .map(|one| {
                let holds = match one.status.as_str() {
                    "True" => Some(true),
                    "False" => Some(false),
                    _ => None,
                };
                (one.type_, holds)
            })
            .collect();
        let room = status.allocatable.unwrap_or_default();
        let amount = |key: &str| room.get(key).and_then(milli).unwrap_or(0);
        let extended = room
            .iter()
            .filter(|(key, _)| key.contains('/') && !key.starts_with("hugepages"));
        let taint = |taint: k8s_openapi::api::core::v1::Taint| Taint {
            key: taint.key,
            value: taint.value.unwrap_or_default(),
            effect: TaintEffect::parse(&taint.effect),
        };
        Self {
            name: node.metadata.name.clone().unwrap_or_default(),
            version: node.metadata.resource_version.clone().unwrap_or_default(),
            ready: conditions.get("Ready") == Some(&Some(true)),
            cordoned: spec.unschedulable.unwrap_or(false),
            taints: spec.taints.into_iter().flatten().map(taint).collect(),
            conditions,
            cpu_milli: amount("cpu"),
            memory_mib: amount("memory") / 1_000 / (1 << 20),
            extended: extended
                .filter_map(|(key, value)| Some((key.clone(), milli(value)? / 1_000)))
                .collect(),
            labels: node.metadata.labels.clone().unwrap_or_default(),
        }
    }
}

/// A quantity in thousandths. `None` if it is none.
pub(crate) fn milli(quantity: &Quantity) -> Option<u64> {
    quantity_milli(&quantity.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_as_the_api_writes_them() {
        for (text, expected) in [
            ("500m", Some(500)),
            ("64", Some(64_000)),
            ("1.5", Some(1_500)),
            ("1Ki", Some(1_024_000)),
            ("2k", Some(2_000_000)),
            ("512Gi", Some((512 * 1_000) << 30)),
            ("", None),
            ("9999999999999999999Ti", None),
            ("5x", None),
        ] {
            assert_eq!(milli(&Quantity(text.to_owned())), expected, "{text}");
        }
    }
}

//! What a step is done to: a schema instead of free text.
//!
//! Three things can be named: a part of a node of the mesh, a deployment of a cluster, and a node of a cluster. The spellings of the
//! original (`deployment_id`, `deploymentId`, `deployment`, `workload`, `cluster`, `namespace`, `node`) are read as these.
//!
//! Invariant: two targets are the same thing exactly when their texts are the same.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{MAX_NAME, PlanProblem, check_text};
use crate::ids::AgentId;
use crate::reading::DeviceId;

/// The cluster and the namespace of a target that names none, as in the original.
const DEFAULT: &str = "default";
/// What a target may name.
const KEYS: &[&str] = &[
    "node",
    "device",
    "workload",
    "cluster",
    "namespace",
    "deployment",
    "deployment_id",
    "deploymentId",
];

/// What a step is done to. The order is part of the stored format: add at the end only.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// A part of a node of the mesh: `gpu0`, `workload:train`, or `node` for all of it.
    Device {
        /// Which node.
        node: AgentId,
        /// Which part.
        device: DeviceId,
    },
    /// A deployment of a cluster.
    Deployment {
        /// Which cluster.
        cluster: String,
        /// In which namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// A node of a cluster.
    ClusterNode {
        /// Which cluster.
        cluster: String,
        /// Its name there.
        name: String,
    },
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device { node, device } => write!(f, "{node}/{device}"),
            Self::Deployment {
                cluster,
                namespace,
                name,
            } => write!(f, "{cluster}:{namespace}/deployment/{name}"),
            Self::ClusterNode { cluster, name } => write!(f, "{cluster}:node/{name}"),
        }
    }
}

impl Target {
    /// Stands for a cluster where the hub chooses one: a new deployment that is placed goes to the cluster that suits it best.
    pub const ANY_CLUSTER: &'static str = "any";

    /// The node of the mesh that it is on, if it is on one.
    pub const fn node(&self) -> Option<&AgentId> {
        match self {
            Self::Device { node, .. } => Some(node),
            Self::Deployment { .. } | Self::ClusterNode { .. } => None,
        }
    }

    /// The part of a node of the mesh that it is.
    pub const fn device(&self) -> Option<&DeviceId> {
        match self {
            Self::Device { device, .. } => Some(device),
            Self::Deployment { .. } | Self::ClusterNode { .. } => None,
        }
    }

    /// The cluster that it is in, if it is in one.
    pub fn cluster(&self) -> Option<&str> {
        match self {
            Self::Device { .. } => None,
            Self::Deployment { cluster, .. } | Self::ClusterNode { cluster, .. } => Some(cluster),
        }
    }

    /// Holds its names against their lengths and grammar.
    pub fn check(&self) -> Result<(), PlanProblem> {
        match self {
            Self::Device { .. } => Ok(()),
            Self::Deployment {
                cluster,
                namespace,
                name,
            } => {
                check_name("target.cluster", cluster)?;
                check_name("target.namespace", namespace)?;
                check_name("target.deployment", name)
            }
            Self::ClusterNode { cluster, name } => {
                check_name("target.cluster", cluster)?;
                check_name("target.node", name)
            }
        }
    }

    /// Reads a target from names and texts, in our spelling or the original's.
    ///
    /// `node` (with `device` or `workload`) is a part of a node of the mesh; with `cluster` it is a node of that cluster; a deployment
    /// without `cluster` or `namespace` is in those named `default`.
    pub fn read(fields: &BTreeMap<String, String>) -> Result<Self, PlanProblem> {
        for key in fields.keys() {
            known(key)?;
        }
        let text = |key: &str| fields.get(key).map(String::as_str);
        let or_default = |key: &str| text(key).unwrap_or(DEFAULT).to_owned();
        let target = match (text("node"), text("cluster"), deployment(fields)?) {
            (Some(node), None, None) => on_node(node, text("device"), text("workload"))?,
            (Some(node), Some(cluster), None) => Self::ClusterNode {
                cluster: cluster.to_owned(),
                name: node.to_owned(),
            },
            (Some(_), _, Some((key, name))) => {
                let problem = format!("`{name}` is in a cluster, and `node` names a node: give one of the two");
                return Err(PlanProblem::new(format!("target.{key}"), problem));
            }
            (None, _, Some((_, name))) => Self::Deployment {
                cluster: or_default("cluster"),
                namespace: or_default("namespace"),
                name: name.to_owned(),
            },
            (None, _, None) => {
                let problem = "names nothing: give `node` (with `device` or `workload`), or `deployment` (with `cluster` and `namespace`)";
                return Err(PlanProblem::new("target", problem));
            }
        };
        target.check()?;
        Ok(target)
    }

    /// Names and texts that [`Target::read`] reads as this target.
    pub fn fields(&self) -> BTreeMap<String, String> {
        let pairs: Vec<(&str, &str)> = match self {
            Self::Device { node, device } => vec![("node", node.as_str()), ("device", device.as_str())],
            Self::Deployment {
                cluster,
                namespace,
                name,
            } => vec![("cluster", cluster), ("namespace", namespace), ("deployment", name)],
            Self::ClusterNode { cluster, name } => vec![("cluster", cluster), ("node", name)],
        };
        let owned = pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned()));
        owned.collect()
    }
}

fn known(key: &str) -> Result<(), PlanProblem> {
    if KEYS.contains(&key) {
        return Ok(());
    }
    let problem = match key {
        // Not ignored: a plan for one environment must not reach another because nobody looked.
        "environment" => "names no single thing: give `cluster` and `namespace`".to_owned(),
        _ => format!("is no part of a target; these are: {}", KEYS.join(", ")),
    };
    Err(PlanProblem::new(format!("target.{key}"), problem))
}

/// The deployment that is named, under any of its spellings; `workload` beside `node` is a process there instead.
fn deployment(fields: &BTreeMap<String, String>) -> Result<Option<(&str, &str)>, PlanProblem> {
    let mut found: Option<(&str, &str)> = None;
    for key in ["deployment", "deployment_id", "deploymentId", "workload"] {
        let Some(name) = fields.get(key) else {
            continue;
        };
        if key == "workload" && fields.contains_key("node") && !fields.contains_key("cluster") {
            continue;
        }
        match found {
            Some((before, other)) if other != name => {
                let problem = format!("`{name}` is not `{other}`, which `{before}` names");
                return Err(PlanProblem::new(format!("target.{key}"), problem));
            }
            _ => found = Some((key, name)),
        }
    }
    Ok(found)
}

fn on_node(node: &str, device: Option<&str>, workload: Option<&str>) -> Result<Target, PlanProblem> {
    let node = AgentId::new(node).map_err(|error| PlanProblem::new("target.node", error.to_string()))?;
    let device = match (device, workload) {
        (None, None) => Ok(DeviceId::node()),
        (Some(device), None) => DeviceId::new(device),
        (None, Some(name)) => DeviceId::workload(name),
        (Some(device), Some(name)) => {
            let problem = format!("`{device}` and the workload `{name}` are two things: give one of them");
            return Err(PlanProblem::new("target.device", problem));
        }
    };
    let device = device.map_err(|error| PlanProblem::new("target.device", error.to_string()))?;
    Ok(Target::Device { node, device })
}

/// A name in a cluster (RFC 1123 subdomain, as Kubernetes has them). Upper case is refused there, too.
fn check_name(field: &str, name: &str) -> Result<(), PlanProblem> {
    check_text(field, name, 1, MAX_NAME)?;
    let inside = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.');
    let at_end = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let bytes = name.as_bytes();
    if bytes.iter().all(|b| inside(*b)) && at_end(bytes.first()) && at_end(bytes.last()) {
        return Ok(());
    }
    let problem = format!("`{name}` is not a name of a-z, 0-9, - and ., with a letter or digit at both ends");
    Err(PlanProblem::new(field, problem))
}

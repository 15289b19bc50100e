//! Clusters and changes of deployments as documents: codec version 1.

use serde::{Deserialize, Serialize};
use wire::kube::{DeploymentChange, DeploymentRef};
use wire::time::Wall;

use crate::documents::Document;

/// A cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// Our name for it.
    pub name: String,
    /// Absolute path of its kubeconfig on the hub's machine; `None` for the pod's own service account. Never the credentials.
    pub kubeconfig: Option<String>,
    /// Which context of it; the current one if empty.
    pub context: String,
    /// Namespace of deployments that name none; that of the context if empty.
    pub namespace: String,
    /// Its labels: (name, value).
    pub labels: Vec<(String, String)>,
    /// When it was registered.
    pub registered_at: Wall,
}

/// A change of a deployment that a cluster was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Its id, a UUIDv7.
    pub id: String,
    /// Which deployment.
    pub target: DeploymentRef,
    /// What.
    pub change: DeploymentChange,
    /// Who asked.
    pub caller: String,
    /// When.
    pub asked_at: Wall,
    /// Its outcome is known, or known to be unknown.
    pub ended: bool,
}

impl Document for Cluster {
    const KIND: &'static str = "cluster";
    const VERSION: u8 = 1;
    /// Each is watched over connections of its own.
    const MOST_LIVE: usize = 1_000;

    fn id(&self) -> String {
        self.name.clone()
    }

    fn is_live(&self) -> bool {
        true
    }
}

impl Document for Attempt {
    const KIND: &'static str = "deployment_change";
    const VERSION: u8 = 1;
    /// Changes that clusters work on at the same time: each takes milliseconds, and people and programs ask for some a second.
    const MOST_LIVE: usize = 10_000;

    fn id(&self) -> String {
        self.id.clone()
    }

    fn is_live(&self) -> bool {
        !self.ended
    }

    fn indexes(&self) -> Vec<(&'static str, String)> {
        vec![("target", self.target.to_string())]
    }
}

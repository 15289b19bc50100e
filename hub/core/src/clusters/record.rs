//! Clusters and changes in them as documents: codec versions 3 and 2. Version 1 knew no Prometheus of a cluster, and changes of deployments
//! only; version 2 of a cluster knew no prices.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wire::codec;
use wire::kube::{DeploymentChange, DeploymentRef};
use wire::time::Wall;

use super::change::ClusterChange;
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
    /// Address of the Prometheus that knows its workloads.
    pub prometheus: Option<String>,
    /// What an hour costs, in millionths of the currency: of a GPU of a model, of a core (`cpu`), of a GiB (`memory`).
    pub prices: BTreeMap<String, u64>,
}

/// A change that a cluster was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Its id: a UUIDv7, or the command of a plan's step.
    pub id: String,
    /// What, and of what.
    pub what: ClusterChange,
    /// Who asked.
    pub caller: String,
    /// When.
    pub asked_at: Wall,
    /// Its outcome is known, or known to be unknown.
    pub ended: bool,
}

impl Document for Cluster {
    const KIND: &'static str = "cluster";
    const VERSION: u8 = 3;
    /// Each is watched over connections of its own.
    const MOST_LIVE: usize = 1_000;

    fn id(&self) -> String {
        self.name.clone()
    }

    fn is_live(&self) -> bool {
        true
    }

    fn migrate(version: u8, bytes: &[u8]) -> Option<Self> {
        let (before, prometheus) = match version {
            1 => (codec::decode::<Unmeasured>(bytes).ok()?, None),
            2 => codec::decode::<Unpriced>(bytes)
                .ok()
                .map(|before| (before.cluster, before.prometheus))?,
            _ => return None,
        };
        Some(Self {
            context: before.context,
            namespace: before.namespace,
            labels: before.labels,
            registered_at: before.registered_at,
            prometheus,
            ..Self::new(before.name, before.kubeconfig)
        })
    }
}

/// A cluster as version 1 wrote it.
#[derive(Serialize, Deserialize)]
struct Unmeasured {
    name: String,
    kubeconfig: Option<String>,
    context: String,
    namespace: String,
    labels: Vec<(String, String)>,
    registered_at: Wall,
}

/// A cluster as version 2 wrote it: the same, and then its Prometheus.
#[derive(Serialize, Deserialize)]
struct Unpriced {
    cluster: Unmeasured,
    prometheus: Option<String>,
}

/// A change as version 1 wrote it.
#[derive(Serialize, Deserialize)]
struct OfDeployment {
    id: String,
    target: DeploymentRef,
    change: DeploymentChange,
    caller: String,
    asked_at: Wall,
    ended: bool,
}

impl Document for Attempt {
    const KIND: &'static str = "deployment_change";
    const VERSION: u8 = 2;
    /// Changes that clusters work on at the same time: each takes milliseconds, and people and programs ask for some a second.
    const MOST_LIVE: usize = 10_000;

    fn id(&self) -> String {
        self.id.clone()
    }

    fn is_live(&self) -> bool {
        !self.ended
    }

    fn indexes(&self) -> Vec<(&'static str, String)> {
        vec![("target", self.what.to_string())]
    }

    fn migrate(version: u8, bytes: &[u8]) -> Option<Self> {
        let before: OfDeployment = (version == 1).then(|| codec::decode(bytes).ok())??;
        let OfDeployment {
            id,
            target,
            change,
            caller,
            asked_at,
            ended,
        } = before;
        let what = ClusterChange::Deployment { target, change };
        Some(Self {
            id,
            what,
            caller,
            asked_at,
            ended,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters_of_version_1_are_read() {
        let before = Unmeasured {
            name: "edge".to_owned(),
            kubeconfig: Some("/etc/kube".to_owned()),
            context: "c".to_owned(),
            namespace: "n".to_owned(),
            labels: vec![("a".to_owned(), "b".to_owned())],
            registered_at: Wall(5),
        };
        let read = Cluster::migrate(1, &codec::encode(&before)).expect("it is of version 1");
        assert_eq!(
            (read.name.as_str(), read.context.as_str(), read.prometheus),
            ("edge", "c", None)
        );
    }

    #[test]
    fn clusters_of_version_2_keep_their_prometheus() {
        let cluster = Unmeasured {
            name: "edge".to_owned(),
            kubeconfig: None,
            context: String::new(),
            namespace: "n".to_owned(),
            labels: Vec::new(),
            registered_at: Wall(5),
        };
        let prometheus = Some("http://p".to_owned());
        let before = Unpriced { cluster, prometheus };
        let read = Cluster::migrate(2, &codec::encode(&before)).expect("it is of version 2");
        assert_eq!(
            (read.namespace.as_str(), read.prometheus.as_deref()),
            ("n", Some("http://p"))
        );
        assert!(read.prices.is_empty());
    }

    #[test]
    fn changes_of_version_1_are_read() {
        let before = OfDeployment {
            id: "c1".to_owned(),
            target: "demo/default/web".parse().expect("three names"),
            change: DeploymentChange::Scale { replicas: 7 },
            caller: "ann".to_owned(),
            asked_at: Wall(5),
            ended: false,
        };
        let read = Attempt::migrate(1, &codec::encode(&before)).expect("it is of version 1");
        assert_eq!(read.what.to_string(), "deployment/demo:default/deployment/web");
        assert_eq!(Attempt::migrate(9, &codec::encode(&before)), None);
    }
}

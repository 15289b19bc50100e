//! One cluster: how it is reached, what it is, and whether it is well.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use kube::api::{Api, DynamicObject};
use kube::client::ClientBuilder;
use kube::config::{KubeConfigOptions, Kubeconfig as KubeconfigFile};
use kube::core::ApiResource;
use kube::{Client, Config};

use crate::call::call;
use crate::error::KubeError;
use crate::retry_after::KeepRetryAfter;

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a call may take, with its repeats.
const CALL: Duration = Duration::from_secs(15);

/// Where the credentials of a cluster come from.
#[derive(Clone)]
pub enum Kubeconfig {
    /// A file.
    File(PathBuf),
    /// Its text, YAML or JSON.
    Text(String),
    /// The service account of the pod that this runs in.
    InCluster,
}

impl fmt::Debug for Kubeconfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "File({})", path.display()),
            Self::Text(_) => write!(f, "Text(..)"),
            Self::InCluster => write!(f, "InCluster"),
        }
    }
}

/// How to reach a cluster.
#[derive(Debug, Clone)]
pub struct ClusterSettings {
    /// Our name for it.
    pub name: String,
    /// Its credentials.
    pub kubeconfig: Kubeconfig,
    /// Which context of the kubeconfig; the current one without.
    pub context: Option<String>,
    /// Namespace of workloads that name none; that of the context without.
    pub namespace: Option<String>,
    /// How long a call may take, with its repeats; 15 s without.
    pub call_within: Option<Duration>,
}

impl ClusterSettings {
    /// A cluster with what its kubeconfig says.
    pub fn new(name: impl Into<String>, kubeconfig: Kubeconfig) -> Self {
        Self {
            name: name.into(),
            kubeconfig,
            context: None,
            namespace: None,
            call_within: None,
        }
    }
}

/// What a cluster says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthReport {
    /// Its version, such as `v1.36.3`.
    pub version: String,
    /// Its checks that fail; empty: it is ready.
    pub failing: Vec<String>,
}

/// A cluster that is reached. Cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    pub(crate) client: Client,
    name: Arc<str>,
    namespace: Arc<str>,
    within: Duration,
    /// What changes of workloads are marked with.
    pub(crate) mark: Option<Arc<str>>,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cluster({})", self.name)
    }
}

impl Cluster {
    /// Reads the credentials. Nothing is sent yet, so a cluster that is down can be registered; a kubeconfig that cannot be used is an
    /// error that says what to change.
    pub async fn open(settings: ClusterSettings) -> Result<Self, KubeError> {
        let unusable = |reason: String| KubeError::Kubeconfig {
            cluster: settings.name.clone(),
            reason,
        };
        let options = KubeConfigOptions {
            context: settings.context.clone(),
            ..KubeConfigOptions::default()
        };
        let mut config = match &settings.kubeconfig {
            Kubeconfig::InCluster => Config::incluster().map_err(|cause| unusable(cause.to_string()))?,
            Kubeconfig::File(path) => {
                let file = KubeconfigFile::read_from(path).map_err(|cause| unusable(cause.to_string()))?;
                Config::from_custom_kubeconfig(file, &options)
                    .await
                    .map_err(|cause| unusable(cause.to_string()))?
            }
            Kubeconfig::Text(text) => {
                let file = KubeconfigFile::from_yaml(text).map_err(|cause| unusable(cause.to_string()))?;
                Config::from_custom_kubeconfig(file, &options)
                    .await
                    .map_err(|cause| unusable(cause.to_string()))?
            }
        };
        config.connect_timeout = Some(CONNECT);
        // The client would also repeat what must not happen twice.
        config.default_retry = false;
        let namespace = settings
            .namespace
            .clone()
            .unwrap_or_else(|| config.default_namespace.clone());
        let builder =
            ClientBuilder::try_from(config).map_err(|cause| KubeError::sort(&settings.name, "a client", cause))?;
        Ok(Self {
            client: builder.with_layer(&KeepRetryAfter).build(),
            name: settings.name.into(),
            namespace: namespace.into(),
            within: settings.call_within.unwrap_or(CALL),
            mark: None,
        })
    }

    /// The same cluster, for one change: the workload that it reaches carries `mark` ([`crate::Workload::mark`]). Whoever lost the
    /// answer can read there whether it arrived.
    #[must_use]
    pub fn marking(&self, mark: &str) -> Self {
        Self {
            mark: Some(mark.into()),
            ..self.clone()
        }
    }

    /// Our name for it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Namespace of workloads that name none.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Its version and which of its own checks fail.
    pub async fn health(&self) -> Result<HealthReport, KubeError> {
        let version = self.call("its version", || self.client.apiserver_version()).await?;
        let ready = Request::get("/readyz?verbose").body(Vec::new());
        let ready = ready.map_err(|cause| self.unreadable("its health", cause.to_string()))?;
        // A server that is not ready answers 500 with the same text.
        let text = match self
            .call("its health", || self.client.request_text(ready.clone()))
            .await
        {
            Ok(text) => text,
            Err(KubeError::Server { message, .. }) => message,
            Err(error) => return Err(error),
        };
        let failing = text.lines().filter_map(|line| line.strip_prefix("[-]"));
        let failing = failing
            .map(|line| line.split_whitespace().next().unwrap_or(line).to_owned())
            .collect();
        Ok(HealthReport {
            version: version.git_version,
            failing,
        })
    }

    /// A call that may be made twice, repeated within the deadline: reading, applying a whole intent, deleting by identity.
    pub(crate) async fn call<T, F>(&self, what: &str, make: impl FnMut() -> F) -> Result<T, KubeError>
    where
        F: Future<Output = Result<T, kube::Error>>,
    {
        call(&self.name, what, self.within, make).await
    }

    pub(crate) fn unreadable(&self, what: &str, reason: String) -> KubeError {
        KubeError::Answer {
            cluster: self.name.to_string(),
            what: what.to_owned(),
            reason,
        }
    }

    pub(crate) fn dynamic(&self, resource: &ApiResource, namespace: Option<&str>) -> Api<DynamicObject> {
        match namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, resource),
            None => Api::all_with(self.client.clone(), resource),
        }
    }
}

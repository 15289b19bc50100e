//! A real Kubernetes control plane on loopback: etcd, API server, controllers and scheduler; kwok stands in for every kubelet.
//!
//! What is real: the API with its admission, RBAC, server-side apply, watches, evictions with disruption budgets, controllers and the
//! scheduler. What kwok only pretends: pods on its nodes become Ready although no container runs, so nothing can be measured in
//! them, their logs cannot be read, and probes always pass.
//!
//! Read next: `kubernetes/programs.rs` (what is built), `kubernetes/api.rs` (a client for tests that shares no code with the product).

mod api;
mod identity;
mod programs;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

pub use api::KubeApi;
use identity::Identity;
use programs::Programs;

use crate::{Cache, Process, Progress, RunFolder, ServiceError, free_port, wait_until};

/// How long one part may take until it answers; it is about 4 s together on an idle machine.
const READY: Duration = Duration::from_secs(120);
/// Where HTTPRoutes are defined. 1.7 wants a newer Go only to be downloaded.
const GATEWAY_API: &str = "sigs.k8s.io/gateway-api@v1.6.0";
/// Users that the API server knows: the first may do everything, the second nothing until somebody grants it something.
pub const API_USERS: [&str; 2] = ["admin", "nobody"];

/// A running control plane. Everything ends when this is dropped.
#[derive(Debug)]
pub struct ControlPlane {
    // In this order they are stopped: who depends on others goes first.
    kwok: Process,
    scheduler: Process,
    controllers: Process,
    server: Option<Process>,
    etcd: Process,
    programs: Programs,
    identity: Identity,
    ports: Ports,
    folder: RunFolder,
}

#[derive(Debug, Clone, Copy)]
struct Ports {
    etcd: u16,
    peer: u16,
    api: u16,
}

impl ControlPlane {
    /// Builds what is not built yet, then starts everything and waits until the API server and its controllers answer.
    ///
    /// A first build takes about five minutes on two cores and 4 GiB below `target` and Go's caches; it is announced on `progress`.
    pub fn start(name: &str, progress: Progress<'_>) -> Result<Self, ServiceError> {
        let programs = Programs::ready(&Cache::of_this_checkout(), progress)?;
        let folder = RunFolder::make(name)?;
        let at = folder.path();
        let identity = Identity::make(at)?;
        let ports = Ports {
            etcd: free_port()?,
            peer: free_port()?,
            api: free_port()?,
        };
        for user in API_USERS {
            write(
                &kubeconfig_path(at, user),
                &kubeconfig(&identity, ports, user).to_string(),
            )?;
        }
        let admin = kubeconfig_path(at, API_USERS[0]).display().to_string();
        let etcd = start_etcd(&programs, ports, at)?;
        let mut server = start_server(&programs, ports, at)?;
        let api = KubeApi::new(ports.api, &identity, API_USERS[0])?;
        wait_for_server(&api, &mut server)?;
        let kubeconfig = format!("--kubeconfig={admin}");
        let controllers = Process::start(
            "kube-controller-manager",
            &programs.controllers,
            [
                kubeconfig.as_str(),
                "--service-account-private-key-file=accounts.key",
                "--secure-port=0",
                "--leader-elect=false",
                "--use-service-account-credentials=false",
                "--controllers=*",
                "--kube-api-qps=200",
                "--kube-api-burst=400",
            ],
            &[],
            at,
        )?;
        let scheduler = Process::start(
            "kube-scheduler",
            &programs.scheduler,
            [
                &kubeconfig,
                "--secure-port=0",
                "--leader-elect=false",
                "--kube-api-qps=200",
                "--kube-api-burst=400",
            ],
            &[],
            at,
        )?;
        let stages = format!("--config={}", programs.stages.display());
        let kwok = Process::start(
            "kwok",
            &programs.kwok,
            [
                &kubeconfig,
                "--manage-all-nodes=true",
                // Without leases every node is lost after 40 s.
                "--node-lease-duration-seconds=40",
                "--node-ip=127.0.0.1",
                &stages,
            ],
            &[],
            at,
        )?;
        let server = Some(server);
        let mut plane = Self {
            kwok,
            scheduler,
            controllers,
            server,
            etcd,
            programs,
            identity,
            ports,
            folder,
        };
        plane.wait_for_controllers(&api)?;
        Ok(plane)
    }

    /// A kubeconfig of one of [`API_USERS`].
    pub fn kubeconfig(&self, user: &str) -> PathBuf {
        kubeconfig_path(self.folder.path(), user)
    }

    /// A client of the administrator, for tests that want to see with other eyes than the product's.
    pub fn api(&self) -> Result<KubeApi, ServiceError> {
        KubeApi::new(self.ports.api, &self.identity, API_USERS[0])
    }

    /// The port of the API server on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.ports.api
    }

    /// Adds nodes `PREFIX-0`, `PREFIX-1`, … as [`ControlPlane::add_named_nodes`] does.
    pub fn add_nodes(&self, prefix: &str, count: usize, labels: &Value) -> Result<(), ServiceError> {
        let names: Vec<String> = (0..count).map(|number| format!("{prefix}-{number}")).collect();
        self.add_named_nodes(&names, labels)
    }

    /// Adds nodes that kwok keeps ready, each with 64 CPUs, 512 GiB and 8 GPUs, and waits until they are.
    pub fn add_named_nodes(&self, names: &[String], labels: &Value) -> Result<(), ServiceError> {
        let api = self.api()?;
        for name in names {
            api.post("/api/v1/nodes", &node(name, labels))?;
        }
        wait_until("the nodes", READY, || {
            let nodes = api.get("/api/v1/nodes")?;
            let ready = |name: &&String| items(&nodes).any(|node| name_of(node) == name.as_str() && is_ready(node));
            let ready = names.iter().filter(ready).count();
            Ok((ready < names.len()).then(|| format!("{ready} of {} are ready", names.len())))
        })
    }

    /// Teaches the API server HTTPRoutes of the Gateway API, and waits until it serves them.
    pub fn install_routes(&self) -> Result<(), ServiceError> {
        const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        let folder = crate::go::downloaded(GATEWAY_API)?;
        let path = folder.join("config/crd/standard/gateway.networking.k8s.io_httproutes.yaml");
        let text = fs::read_to_string(&path).map_err(ServiceError::file("read", &path))?;
        let api = self.api()?;
        api.post_yaml(DEFINITIONS, &text)?;
        wait_until("HTTPRoutes", READY, || {
            let routes = api.get("/apis/gateway.networking.k8s.io/v1/httproutes");
            Ok(routes.err().map(|error| error.to_string()))
        })
    }

    /// Stops the API server alone, as an outage.
    pub fn stop_server(&mut self) {
        self.server = None;
    }

    /// Starts it again on the same port and waits until it answers.
    pub fn start_server(&mut self) -> Result<(), ServiceError> {
        let server = match &mut self.server {
            Some(server) => server,
            stopped => stopped.insert(start_server(&self.programs, self.ports, self.folder.path())?),
        };
        wait_for_server(&KubeApi::new(self.ports.api, &self.identity, API_USERS[0])?, server)
    }

    /// Whether every part still runs; an error with the end of its log otherwise.
    pub fn alive(&mut self) -> Result<(), ServiceError> {
        [
            &mut self.etcd,
            &mut self.controllers,
            &mut self.scheduler,
            &mut self.kwok,
        ]
        .into_iter()
        .chain(&mut self.server)
        .try_for_each(Process::alive)
    }

    /// Waits until the controllers work: they give the namespace `default` its service account.
    fn wait_for_controllers(&mut self, api: &KubeApi) -> Result<(), ServiceError> {
        wait_until("kube-controller-manager", READY, || {
            self.alive()?;
            let account = api.get("/api/v1/namespaces/default/serviceaccounts/default");
            Ok(account.err().map(|error| error.to_string()))
        })
    }
}

fn start_etcd(programs: &Programs, ports: Ports, folder: &Path) -> Result<Process, ServiceError> {
    let (client, peer) = (
        format!("http://127.0.0.1:{}", ports.etcd),
        format!("http://127.0.0.1:{}", ports.peer),
    );
    let arguments = [
        "--data-dir=etcd".to_owned(),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=default={peer}"),
        // What a test writes need not outlive a power cut.
        "--unsafe-no-fsync".to_owned(),
    ];
    Process::start("etcd", &programs.etcd, arguments, &[], folder)
}

fn start_server(programs: &Programs, ports: Ports, folder: &Path) -> Result<Process, ServiceError> {
    let arguments = [
        format!("--etcd-servers=http://127.0.0.1:{}", ports.etcd),
        format!("--secure-port={}", ports.api),
        "--bind-address=127.0.0.1".to_owned(),
        "--tls-cert-file=server.crt".to_owned(),
        "--tls-private-key-file=server.key".to_owned(),
        "--service-account-key-file=accounts.pub".to_owned(),
        "--service-account-signing-key-file=accounts.key".to_owned(),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        "--authorization-mode=RBAC".to_owned(),
        "--token-auth-file=tokens.csv".to_owned(),
        "--service-cluster-ip-range=10.0.0.0/24".to_owned(),
        // Pods of tests name no service account, and kwok mounts nothing.
        "--disable-admission-plugins=ServiceAccount".to_owned(),
    ];
    Process::start("kube-apiserver", &programs.server, arguments, &[], folder)
}

fn wait_for_server(api: &KubeApi, server: &mut Process) -> Result<(), ServiceError> {
    wait_until("kube-apiserver", READY, || {
        server.alive()?;
        Ok(api.text("/readyz").err().map(|error| error.to_string()))
    })
}

fn kubeconfig_path(folder: &Path, user: &str) -> PathBuf {
    folder.join(format!("{user}.kubeconfig"))
}

/// A kubeconfig; JSON is YAML.
fn kubeconfig(identity: &Identity, ports: Ports, user: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "testbed", "cluster": {
            "server": format!("https://127.0.0.1:{}", ports.api),
            "certificate-authority-data": identity.authority_base64(),
        }}],
        "users": [{ "name": user, "user": { "token": identity.token(user) } }],
        "contexts": [{ "name": "testbed", "context": { "cluster": "testbed", "user": user } }],
        "current-context": "testbed",
    })
}

fn node(name: &str, labels: &Value) -> Value {
    let room = json!({ "cpu": "64", "memory": "512Gi", "pods": "256", "nvidia.com/gpu": "8" });
    let mut node = json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": { "name": name, "labels": { "kubernetes.io/hostname": name }, "annotations": { "kwok.x-k8s.io/node": "fake" } },
        "status": { "capacity": room, "allocatable": room },
    });
    for (key, value) in labels.as_object().into_iter().flatten() {
        node["metadata"]["labels"][key] = value.clone();
    }
    node
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list["items"].as_array().into_iter().flatten()
}

fn name_of(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

/// Its kubelet says so, and the control plane has heard it: until then nothing is scheduled there.
fn is_ready(node: &Value) -> bool {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let says_so = list(&node["status"]["conditions"])
        .iter()
        .any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
    let is_tainted = list(&node["spec"]["taints"])
        .iter()
        .any(|taint| taint["key"] == "node.kubernetes.io/not-ready");
    says_so && !is_tainted
}

fn write(path: &Path, text: &str) -> Result<(), ServiceError> {
    fs::write(path, text).map_err(ServiceError::file("write", path))
}

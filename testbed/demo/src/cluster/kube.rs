//! A real Kubernetes control plane beside the demo: built once, started, registered with the hub, and given a deployment.
//!
//! kwok stands in for the kubelets, so pods become ready and run no containers; those of an image with the tag `bad` crash.

use std::path::PathBuf;
use std::time::Duration;

use super::Cluster;
use crate::keeper::{Keeper, Recipe};
use crate::screen::Screen;
use crate::sentinel::Sentinel;

/// Name of the cluster in the hub.
const NAME: &str = "demo";
/// How long the first build may take: it is about five minutes on two cores.
const READY: Duration = Duration::from_secs(1_800);
/// How long the deployment may take: seconds.
const SETTLED: Duration = Duration::from_secs(120);
/// The deployment.
pub const DEPLOYMENT: &str = "demo/default/web";
const REPLICAS: u64 = 4;

impl Cluster {
    /// Starts it and waits until its deployment is ready.
    pub(super) fn start_kube(&mut self, program: PathBuf, screen: &Screen) -> Result<(), String> {
        let log = self.log("control-plane");
        screen.note("  a Kubernetes control plane: built from Go modules the first time (about 5 minutes on two cores), then 5 s");
        screen.note(&format!("  what it builds stands in {}", log.display()));
        let recipe = Recipe {
            name: "control-plane".to_owned(),
            program,
            // The cluster has a node for each agent, so that an agent's fault is seen there.
            arguments: std::iter::once(NAME).chain(self.names()).map(str::to_owned).collect(),
            environment: Vec::new(),
            log,
        };
        let sentinel = self.sentinel.clone();
        // Each start has its own port and credentials, so each is registered.
        let keeper = Keeper::start(recipe, Box::new(move |kubeconfig| register(&sentinel, kubeconfig)))?;
        let ready = keeper.ready(&self.stop, READY);
        self.kube = Some(keeper);
        ready?;
        self.stop.until(SETTLED, || self.is_registered())?;
        let create = format!("deploy {DEPLOYMENT} --image web:1 --replicas {REPLICAS} --reason demo");
        let said = self.sentinel.say(&create)?;
        // A demo that goes on with its state may find it there.
        if said.code != 0 && !said.err.contains("exists already") {
            return Err(said.err.trim().to_owned());
        }
        self.stop.until(SETTLED, || self.has_settled())?;
        screen.happened(
            "kubernetes",
            &format!("cluster {NAME} with a node for each agent; deployment web runs with {REPLICAS} replicas"),
        );
        screen.more(
            "its API, controllers and scheduler are real; kwok plays the kubelets, so no container runs in a pod",
        );
        Ok(())
    }

    fn is_registered(&self) -> Result<(), String> {
        let clusters = self.sentinel.items("get clusters")?;
        let ready = clusters
            .iter()
            .any(|cluster| cluster["name"] == NAME && cluster["status"] == "ready");
        if ready {
            Ok(())
        } else {
            Err(format!("cluster {NAME} is not ready: {clusters:?}"))
        }
    }

    fn has_settled(&self) -> Result<(), String> {
        let workloads = self.sentinel.items("get workloads")?;
        let settled = workloads
            .iter()
            .any(|one| one["name"] == "web" && one["status"] == "running");
        if settled {
            Ok(())
        } else {
            Err(format!("deployment web does not run: {workloads:?}"))
        }
    }
}

fn register(sentinel: &Sentinel, kubeconfig: &str) {
    let line = ["cluster", "add", NAME, "--kubeconfig", kubeconfig];
    match sentinel.run(line) {
        // 8: it is registered, and not ready yet.
        Ok(said) if matches!(said.code, 0 | 8) => {}
        Ok(said) => eprintln!("sentinel-demo: cluster {NAME} is not registered: {}", said.err.trim()),
        Err(reason) => eprintln!("sentinel-demo: {reason}"),
    }
}

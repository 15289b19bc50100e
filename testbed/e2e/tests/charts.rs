//! The charts on a real Kubernetes control plane: admitted, what they promise, upgraded, rolled back, removed.
//!
//! kwok stands in for every kubelet, so pods are scheduled and reported ready and no container runs; what `helm test` would run in one is
//! run here as a process against a real hub.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testbed_e2e::{Cluster, program};
use testbed_services::{ControlPlane, KubeApi, to_stderr, wait_until};

const PATIENCE: Duration = Duration::from_secs(90);
const CORE: &str = "/apis/apps/v1/namespaces/sentinel/statefulsets/hub-sentinel-core";
const AGENTS: &str = "/apis/apps/v1/namespaces/agents/daemonsets/agents-sentinel-agent";

#[test]
fn the_charts_are_admitted_upgraded_rolled_back_and_removed() {
    let plane = ControlPlane::start("charts", &to_stderr).expect("a control plane");
    plane.add_nodes("gpu", 3, &json!({})).expect("nodes");
    let api = plane.api().expect("a client");
    namespace(&api, "sentinel", "restricted");
    namespace(&api, "agents", "privileged");
    volume(&api);
    let helm = Helm {
        kubeconfig: plane.kubeconfig(testbed_services::API_USERS[0]),
    };

    helm.must(&["install", "hub", "sentinel-core", "-n", "sentinel"]);
    ready(&api, CORE, "readyReplicas", 1);
    for path in [
        "/api/v1/namespaces/sentinel/services/hub-sentinel-core",
        "/apis/policy/v1/namespaces/sentinel/poddisruptionbudgets/hub-sentinel-core",
        "/apis/networking.k8s.io/v1/namespaces/sentinel/networkpolicies/hub-sentinel-core",
        "/api/v1/namespaces/sentinel/serviceaccounts/hub-sentinel-core",
    ] {
        let labels = api.get(path).expect("installed")["metadata"]["labels"].clone();
        let wanted = ["app", "component", "tenant"].map(|label| labels[label].as_str().unwrap_or_default().to_owned());
        assert_eq!(wanted, ["sentinel", "hub", "default"], "{path}");
    }
    assert_eq!(log_level(&api), "info");

    helm.must(&[
        "upgrade",
        "hub",
        "sentinel-core",
        "-n",
        "sentinel",
        "--set",
        "hub.log=debug",
    ]);
    assert_eq!(log_level(&api), "debug");
    ready(&api, CORE, "updatedReplicas", 1);
    helm.must(&["rollback", "hub", "1", "-n", "sentinel"]);
    assert_eq!(log_level(&api), "info");
    let refused = helm.run(&[
        "upgrade",
        "hub",
        "sentinel-core",
        "-n",
        "sentinel",
        "--set",
        "hub.trustDomain=A_B",
    ]);
    assert!(refused.is_err_and(|said| said.contains("trustDomain")));

    let pin = format!("hub.caPin=sha256:{}", "0".repeat(64));
    let with = [
        "--set",
        "hub.address=hub:7443",
        "--set",
        &pin,
        "--set",
        "join.existingSecret=tokens",
    ];
    let install = [&["install", "agents", "sentinel-agent", "-n", "agents"][..], &with].concat();
    helm.must(&install);
    ready(&api, AGENTS, "numberReady", 3);

    // `restricted` holds: the agent's pods use the host, and a namespace that forbids that gets none.
    let elsewhere = [&["install", "agents", "sentinel-agent", "-n", "sentinel"][..], &with].concat();
    helm.must(&elsewhere);
    wait_until("the refusal of a pod", PATIENCE, || {
        let events = api.get("/api/v1/namespaces/sentinel/events")?;
        let refusal = |event: &Value| {
            event["reason"] == "FailedCreate" && event["message"].to_string().contains("violates PodSecurity")
        };
        let seen = events["items"]
            .as_array()
            .is_some_and(|items| items.iter().any(refusal));
        Ok((!seen).then(|| "no pod was refused".to_owned()))
    })
    .expect("a refusal");

    helm.must(&["uninstall", "hub", "-n", "sentinel"]);
    assert!(api.get(CORE).is_err(), "the hub is gone");
    let claim = "/api/v1/namespaces/sentinel/persistentvolumeclaims/state-hub-sentinel-core-0";
    assert!(api.get(claim).is_ok(), "its state is not");
}

#[test]
fn what_helm_test_runs_succeeds_at_a_real_hub() {
    let cluster = Cluster::start(1, &[]);
    let helm = Helm {
        kubeconfig: PathBuf::from("/nonexistent"),
    };
    let rendered = helm.must(&["template", "hub", "sentinel-core", "-s", "templates/tests/nodes.yaml"]);
    let line = rendered
        .lines()
        .find_map(|line| line.trim().strip_prefix("command: ["))
        .expect("the test's command");
    let words: Vec<&str> = line.trim_end_matches(']').split(", ").collect();
    assert_eq!(
        words[..3],
        ["/usr/bin/sentinel", "--context", "/var/lib/sentinel-hub/admin.json"]
    );
    let output = Command::new(program("sentinel"))
        .arg("--context")
        .arg(cluster.state("hub").join("admin.json"))
        .args(&words[3..])
        .output()
        .expect("it starts");
    assert!(output.status.success(), "{output:?}");
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("edge-01"),
        "{output:?}"
    );
}

struct Helm {
    kubeconfig: PathBuf,
}

impl Helm {
    /// Runs Helm in the folder of the charts; its output, or what it said instead.
    fn run(&self, arguments: &[&str]) -> Result<String, String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let helm = root.join("target/go-bin/v4.3.1/helm");
        assert!(helm.is_file(), "Helm is not built: run `cargo xtask charts` first");
        let state = tempfile::tempdir().expect("a folder");
        let output = Command::new(helm.canonicalize().expect("a path"))
            .current_dir(root.join("charts"))
            .args(arguments)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("HELM_CACHE_HOME", state.path())
            .env("HELM_CONFIG_HOME", state.path())
            .env("HELM_DATA_HOME", state.path())
            .output()
            .expect("Helm starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() {
            Ok(text(&output.stdout))
        } else {
            Err(text(&output.stderr))
        }
    }

    /// Runs it, and says how long that took: past the test's own capture, because it is a figure and not a trace.
    fn must(&self, arguments: &[&str]) -> String {
        let begun = Instant::now();
        let said = self
            .run(arguments)
            .unwrap_or_else(|said| panic!("helm {}: {said}", arguments.join(" ")));
        let took = begun.elapsed().as_secs_f64();
        writeln!(std::io::stderr(), "  helm {}: {took:.1} s", arguments.join(" ")).expect("stderr is open");
        said
    }
}

fn namespace(api: &KubeApi, name: &str, security: &str) {
    let labels = json!({ "pod-security.kubernetes.io/enforce": security });
    let object = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name, "labels": labels } });
    api.post("/api/v1/namespaces", &object).expect("a namespace");
}

/// A volume for the hub's claim: nothing here makes one when asked.
fn volume(api: &KubeApi) {
    let object = json!({
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": { "name": "state" },
        "spec": { "capacity": { "storage": "10Gi" }, "accessModes": ["ReadWriteOnce"], "hostPath": { "path": "/nowhere" } },
    });
    api.post("/api/v1/persistentvolumes", &object).expect("a volume");
}

fn ready(api: &KubeApi, path: &str, field: &str, wanted: u64) {
    wait_until(path, PATIENCE, || {
        let status = api.get(path)?["status"].clone();
        Ok((status[field] != json!(wanted)).then(|| status.to_string()))
    })
    .expect("its pods are ready");
}

fn log_level(api: &KubeApi) -> String {
    let object = api.get(CORE).expect("the hub");
    let value = &object["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"];
    value.as_str().unwrap_or_default().to_owned()
}

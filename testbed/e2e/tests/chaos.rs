//! Chaos between real processes and on a real control plane: pods die, networks part, a machine has too little of everything. Each
//! scenario ends with what must hold. `cargo xtask chaos [SCENARIO…]` runs them alone.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::json;
use testbed_e2e::Cluster;
use testbed_services::{API_USERS, ControlPlane, to_stderr, wait_until};

const PATIENCE: Duration = Duration::from_secs(120);
const PODS: &str = "/api/v1/namespaces/default/pods";

/// Half of a workload's pods die while a plan scales it. The plan ends done, once; every pod that was asked for is ready; nothing of it
/// was done to another workload.
#[test]
fn pod_failure() {
    let mut cluster = Cluster::start(1, &[]);
    let plane = ControlPlane::start("chaos", &to_stderr).expect("a control plane");
    plane.add_nodes("worker", 3, &json!({})).expect("nodes");
    let api = plane.api().expect("a client");
    let kubeconfig = plane.kubeconfig(API_USERS[0]);
    let kubeconfig = kubeconfig.to_str().expect("a path of our own");
    cluster.must(&["cluster", "add", "edge", "--kubeconfig", kubeconfig]);
    for name in ["web", "other"] {
        let target = format!("edge/default/{name}");
        let deploy = [
            "deploy",
            &target,
            "--image",
            "web:1",
            "--replicas",
            "6",
            "--reason",
            "chaos",
        ];
        cluster.until(&format!("{name} is taken by the cluster"), |cluster| {
            cluster.sentinel(&deploy).code == 0
        });
        cluster.until(&format!("{name} has its 6 pods"), |cluster| {
            ready(cluster, name) == Some(6)
        });
    }

    let kill = |of: &str, count: usize| {
        let pods = api
            .get(&format!("{PODS}?labelSelector=app.kubernetes.io/name%3D{of}"))
            .expect("pods");
        let names = pods["items"].as_array().into_iter().flatten();
        let names: Vec<String> = names
            .filter_map(|pod| pod["metadata"]["name"].as_str().map(str::to_owned))
            .collect();
        assert!(names.len() >= count, "{of} has {} pods", names.len());
        for name in names.iter().take(count) {
            // One that the cluster took away meanwhile has failed as well.
            drop(api.delete(&format!("{PODS}/{name}")));
        }
    };
    kill("web", 3);
    cluster.must(&["scale", "edge/default/web", "9", "--reason", "more people"]);
    kill("web", 3);
    cluster.until("every pod that was asked for is ready", |cluster| {
        ready(cluster, "web") == Some(9)
    });
    assert_eq!(ready(&cluster, "other"), Some(6));
    let web = api
        .get("/apis/apps/v1/namespaces/default/deployments/web")
        .expect("a deployment");
    assert_eq!(web["metadata"]["generation"], 2, "made once and scaled once: {web}");
}

/// Every path between hub and nodes goes up and down while GPUs get hot, and the hub is killed in the middle. Each node protects its
/// GPU by itself, and afterwards the hub has every entry once.
#[test]
fn network_partition() {
    let nodes = ["edge-01", "edge-02", "edge-03"];
    let mut cluster = Cluster::start(nodes.len(), &[]);
    for round in 0..3 {
        for node in nodes {
            cluster.demo("cut", node);
        }
        cluster.until("the hub hears nobody", |cluster| cluster.connected() == 0);
        for node in nodes {
            cluster.demo("heat", &format!("{node}/gpu0"));
        }
        if round == 1 {
            cluster.demo("kill", "hub");
        }
        for node in nodes {
            cluster.until(&format!("{node} protects its GPU by itself"), |cluster| {
                is_capped(cluster, node)
            });
            cluster.demo("cool", &format!("{node}/gpu0"));
        }
        for node in nodes {
            cluster.demo("heal", node);
        }
        cluster.until("all are back", |cluster| cluster.connected() == nodes.len());
    }
    cluster.must_be_whole();
    for node in nodes {
        assert_eq!(cluster.decisions(node, true), cluster.decisions(node, false), "{node}");
    }
}

/// Every core is busy four times over and memory is written round and round. A hot GPU is capped all the same, the hub answers, nothing
/// is lost, and a stressed node says nothing that is not so.
#[test]
fn resource_stress() {
    let mut cluster = Cluster::start(2, &[]);
    let stress = Stress::start();
    cluster.demo("heat", "edge-01/gpu0");
    cluster.until("the GPU is capped under stress", |cluster| {
        is_capped(cluster, "edge-01")
    });
    cluster.demo("cool", "edge-01/gpu0");
    for _ in 0..20 {
        cluster.must(&["get", "nodes"]);
        cluster.must(&["get", "decisions"]);
    }
    drop(stress);
    cluster.until("both are connected", |cluster| cluster.connected() == 2);
    cluster.must_be_whole();
    for node in ["edge-01", "edge-02"] {
        let row = cluster.node(node).expect("a node");
        let all_well = row["journal_ok"] == true && row["unrecorded_actions"] == 0 && row["quarantined"].is_null();
        assert!(all_well, "{row}");
    }
}

/// Ready pods of a workload, as the hub knows it.
fn ready(cluster: &Cluster, name: &str) -> Option<u64> {
    let said = cluster.sentinel(&["get", "workloads", "-o", "json"]);
    if said.code != 0 {
        return None;
    }
    let found = said.items().into_iter().find(|row| row["name"] == name)?;
    found["ready"].as_u64()
}

/// Whether a node's first GPU is held below what it may draw, by the node's own word.
fn is_capped(cluster: &Cluster, node: &str) -> bool {
    let said = cluster.sentinel(&["describe", "node", node, "--local", "-o", "json"]);
    if said.code != 0 {
        return false;
    }
    let gpu = said.json()["gpus"][0].clone();
    let (cap, most) = (gpu["power_cap_watts"].as_f64(), gpu["power_caps_watts"][1].as_f64());
    matches!((cap, most), (Some(cap), Some(most)) if cap < most)
}

/// Busy loops, and one process that writes memory; all of them end with this.
struct Stress(Vec<Child>);

impl Stress {
    fn start() -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let shell = |script: &str| {
            Command::new("sh")
                .args(["-c", script])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .spawn()
                .expect("a shell")
        };
        let mut children: Vec<Child> = (0..4 * cores).map(|_| shell("while :; do :; done")).collect();
        children.push(shell("while :; do head -c 268435456 /dev/zero | tail -c 1; done"));
        // They have to be at it before anything is asked.
        wait_until("the load is there", PATIENCE, || {
            let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
            let running = text.split_whitespace().nth(3).and_then(|part| part.split('/').next());
            let running = running.and_then(|number| number.parse::<usize>().ok());
            Ok(running.is_none_or(|running| running <= cores).then_some(text))
        })
        .expect("busy loops are busy");
        Self(children)
    }
}

impl Drop for Stress {
    fn drop(&mut self) {
        for child in &mut self.0 {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

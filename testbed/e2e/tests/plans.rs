//! The hub is killed with signal 9 in the states of a plan: nothing fires twice, and every plan ends.
//!
//! What lasts is met where it stands: a plan that waits for its node, is held, is carried out by an agent that stands still, is looked at,
//! or is taken back by one. What passes within milliseconds is met by the simulation (`testbed/sim`), which kills the hub there by the
//! hundred. Effects are counted at the device itself. A plan that waits for an approval is killed in `loop_closed.rs`.

use std::path::PathBuf;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use testbed_e2e::Cluster;

/// Anything may be capped as often as one likes: what is counted here is what plans do.
const FREE: &str = "bundle: free\npermits:\n  - kinds: [power_cap, release_power_cap]\nrules:\n  - { id: range, kind: envelope, \
                    selector: { kinds: [power_cap] }, min: 100 W, max: 350 W }\n";
const TARGET: &str = "edge-01/gpu0";
/// States that a plan never leaves.
const ENDS: [&str; 8] = [
    "completed",
    "failed",
    "rolled_back",
    "rollback_failed",
    "rejected",
    "cancelled",
    "superseded",
    "expired",
];

/// One node, and what is counted at its device.
struct Rig {
    cluster: Cluster,
    caps: u64,
}

impl Rig {
    fn new() -> Self {
        let cluster = Cluster::start(1, &[]);
        let bundle = cluster.folder().join("free.yaml");
        std::fs::write(&bundle, FREE).expect("a file");
        cluster.must(&["policy", "publish", &bundle.display().to_string(), "--wait", "all"]);
        let mut rig = Self { cluster, caps: 0 };
        rig.caps = rig.caps_set();
        rig
    }

    /// How often the limit of its first GPU was ever set, by the device's own count.
    fn caps_set(&self) -> u64 {
        let file = self.cluster.folder().join("run/edge-01-gpu.sock.state");
        let text = std::fs::read_to_string(&file).expect("the fake keeps its state");
        let state: Value = serde_json::from_str(&text).expect("JSON");
        state["gpus"][0]["caps_set"].as_u64().expect("a count")
    }

    /// Its limit was set so often since the last look.
    fn must_have_set(&mut self, times: u64, when: &str) {
        let now = self.caps_set();
        assert_eq!(now - self.caps, times, "the device was set so often: {when}");
        self.caps = now;
    }

    fn submit(&self, watts: u32, more: &[&str]) -> String {
        let to = format!("to={watts} W");
        let mut words = vec![
            "plan",
            "submit",
            TARGET,
            "power_cap",
            &to,
            "--reason",
            "test",
            "-o",
            "json",
        ];
        words.extend(more);
        id(&self.cluster.must(&words).json())
    }

    fn until(&mut self, plan: &str, wanted: &str) {
        let what = format!("plan {plan} to be {wanted}");
        self.cluster.until(&what, |cluster| {
            let said = cluster.sentinel(&["plan", "show", plan, "-o", "json"]);
            let state = (said.code == 0).then(|| said.json()["state"].as_str().unwrap_or_default().to_owned());
            let is_elsewhere = state
                .as_deref()
                .is_some_and(|state| state != wanted && ENDS.contains(&state));
            assert!(!is_elsewhere, "{what}, and it is over: {}", said.out);
            state.as_deref() == Some(wanted)
        });
    }

    /// Kills the hub in this state, and waits until one is there again that knows the plan.
    fn kill_hub_while(&mut self, plan: &str, state: &str) {
        self.until(plan, state);
        self.kill_hub();
        let known = self.cluster.until_some("the plan is known again", |cluster| {
            let said = cluster.sentinel(&["plan", "show", plan, "-o", "json"]);
            (said.code == 0).then(|| said.json())
        });
        println!("killed while {state}, then {}: {}", known["state"], known["detail"]);
    }

    /// Kills the hub; returns when another process has its place.
    fn kill_hub(&mut self) {
        let before = process("sentinel-hub", self.cluster.folder().join("hub"));
        self.cluster.demo("kill", "hub");
        let folder = self.cluster.folder().join("hub");
        self.cluster.until("another hub", |cluster| {
            let now = process("sentinel-hub", folder.clone());
            now.is_some() && now != before && cluster.sentinel(&["get", "nodes", "-o", "json"]).code == 0
        });
    }

    fn agent(&self, signal: Signal) {
        let pid = process("sentinel-agent", self.cluster.folder().join("edge-01")).expect("the agent runs");
        kill_process(pid, signal).expect("it is ours");
    }

    /// Its beginning and its end are told once each.
    fn must_be_told_once(&self, plan: &str, end: &str) {
        for verb in ["plan.submit", &format!("plan.{end}")] {
            let said = self
                .cluster
                .must(&["audit", "list", "--verb", verb, "--limit", "500", "-o", "json"]);
            let target = format!("plan/{plan}");
            let told = said.items().into_iter().filter(|row| row["target"] == *target);
            assert_eq!(told.count(), 1, "{verb} of {plan}");
        }
    }
}

fn id(view: &Value) -> String {
    view["id"].as_str().expect("an id").to_owned()
}

/// The process of this program that was told of this folder.
fn process(name: &str, folder: PathBuf) -> Option<Pid> {
    let folder = folder.display().to_string();
    let mine = |pid: &i32| {
        let Ok(words) = std::fs::read(format!("/proc/{pid}/cmdline")) else {
            return false;
        };
        let words: Vec<String> = words
            .split(|byte| *byte == 0)
            .map(|word| String::from_utf8_lossy(word).into_owned())
            .collect();
        words.first().is_some_and(|word| word.ends_with(name)) && words.iter().any(|word| word.contains(&folder))
    };
    let all = std::fs::read_dir("/proc").expect("this is Linux");
    let mut pids = all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.find(mine).and_then(Pid::from_raw)
}

#[test]
fn a_hub_that_is_killed_in_any_state_of_a_plan_fires_nothing_twice_and_ends_it() {
    let mut rig = Rig::new();

    // It waits for its node.
    rig.cluster.demo("stop", "edge-01");
    rig.cluster
        .until("the node is away", |cluster| cluster.connected() == 0);
    let plan = rig.submit(250, &[]);
    rig.kill_hub_while(&plan, "scheduled");
    rig.cluster.demo("start", "edge-01");
    rig.until(&plan, "completed");
    rig.must_have_set(1, "scheduled");
    rig.must_be_told_once(&plan, "completed");

    // Its step was asked for, and its agent stands still.
    rig.agent(Signal::STOP);
    let plan = rig.submit(240, &[]);
    rig.kill_hub_while(&plan, "executing");
    rig.agent(Signal::CONT);
    rig.until(&plan, "completed");
    rig.must_have_set(1, "executing");
    rig.must_be_told_once(&plan, "completed");

    // What was expected of it does not come: it is taken back, after the kill.
    rig.cluster
        .until("the node is back", |cluster| cluster.connected() == 1);
    let plan = rig.submit(230, &["--expect", "gpu.temperature:-40000:20s"]);
    rig.kill_hub_while(&plan, "verifying");
    rig.until(&plan, "rolled_back");
    rig.must_have_set(2, "verifying: a cap, and its way back");
    rig.must_be_told_once(&plan, "rolled_back");

    // It is called off, and its agent stands still when the way back is asked for.
    rig.cluster
        .until("the node is back", |cluster| cluster.connected() == 1);
    let plan = rig.submit(220, &["--expect", "gpu.temperature:-40000:10m"]);
    rig.until(&plan, "verifying");
    rig.agent(Signal::STOP);
    rig.cluster.must(&["plan", "cancel", &plan, "--reason", "too late"]);
    rig.kill_hub_while(&plan, "rolling_back");
    rig.agent(Signal::CONT);
    rig.until(&plan, "rolled_back");
    rig.must_have_set(2, "rolling back: a cap, and its way back");
    rig.must_be_told_once(&plan, "rolled_back");

    // Its own limit holds it.
    rig.cluster
        .until("the node is back", |cluster| cluster.connected() == 1);
    let file = rig.cluster.folder().join("limited.json");
    let step = json!({
        "verb": "power_cap",
        "target": { "node": "edge-01", "device": "gpu0" },
        "params": { "to": "210 W" },
        "safety": { "rate_limit": 1, "window": "30s" },
    });
    let text = json!({ "decisions": [step], "reason": "test" }).to_string();
    std::fs::write(&file, text).expect("a file");
    let file = file.display().to_string();
    let limited = |rig: &Rig| {
        id(&rig
            .cluster
            .must(&["plan", "submit", "--file", &file, "-o", "json"])
            .json())
    };
    let first = limited(&rig);
    rig.until(&first, "completed");
    let second = limited(&rig);
    rig.kill_hub_while(&second, "held");
    rig.until(&second, "completed");
    rig.must_have_set(2, "held: two plans, a cap of each");

    rig.cluster.must_be_whole();
}

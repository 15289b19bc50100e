//! The loop closed with real processes: an InfraMind in another language sees telemetry over gRPC and sends a plan, policy and trust judge
//! it, a node's agent caps a GPU, and the outcome goes back under the prediction's id.
//!
//! The first run makes a Python environment in the target folder.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};

use serde_json::Value;
use testbed_e2e::{Cluster, PATIENCE};

/// The reference InfraMind, in a process that ends with the test.
struct Reference {
    process: Child,
    url: String,
    lines: Receiver<String>,
}

impl Reference {
    fn start(more: &[&str]) -> Self {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let folder = repository.join("testbed/fakes/inframind");
        let mut process = Command::new(python(&folder))
            .arg(folder.join("inframind.py"))
            .arg("--proto")
            .arg(repository.join("wire/inframind/proto"))
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python starts");
        let out = BufReader::new(process.stdout.take().expect("it is piped"));
        // A line for each batch of telemetry: a minute of them fits many times.
        let (send, lines) = sync_channel(4096);
        std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| send.send(line)));
        let ready = lines.recv_timeout(PATIENCE).expect("it gets ready");
        let url = ready.replacen("ready ", "http://", 1);
        Self { process, url, lines }
    }

    /// The next thing that it heard, of this kind.
    fn heard(&self, what: &str) -> Value {
        loop {
            let line = self.lines.recv_timeout(PATIENCE).expect("it hears it");
            let value: Value = serde_json::from_str(&line).expect("it prints JSON");
            if value["heard"] == what {
                return value;
            }
        }
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Python with grpcio, made once.
fn python(folder: &Path) -> PathBuf {
    let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).join("inframind-python");
    let python = venv.join("bin/python");
    let is_ready = Command::new(&python)
        .args(["-c", "import grpc, grpc_tools"])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !is_ready {
        run(Command::new("python3").args(["-m", "venv"]).arg(&venv));
        let list = folder.join("requirements.txt");
        run(Command::new(&python)
            .args(["-m", "pip", "install", "--quiet", "-r"])
            .arg(list));
    }
    python
}

fn run(command: &mut Command) {
    let status = command.status().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(status.success(), "{command:?}: {status}");
}

/// The newest plan of the brain elsewhere, in this state.
fn plan(cluster: &Cluster, state: &str) -> Option<Value> {
    let said = cluster.sentinel(&["plan", "list", "-o", "json"]);
    let plans = if said.code == 0 { said.items() } else { Vec::new() };
    let is_its = |row: &Value| {
        row["source"]
            .as_str()
            .is_some_and(|source| source.starts_with("brain inframind"))
    };
    plans.into_iter().find(|row| is_its(row) && row["state"] == state)
}

#[test]
fn an_inframind_in_another_language_sends_a_plan_and_hears_what_came_of_it() {
    let reference = Reference::start(&["--hot", "58", "--watts", "110"]);
    let mut cluster = Cluster::start(1, &["--inframind", &reference.url]);
    let batch = reference.heard("batch");
    assert!(batch["points"].as_u64() > Some(0), "{batch}");

    // Nobody trusts it yet: its first plan waits, and says why.
    cluster.demo("grow", "edge-01/gpu0");
    let waiting = cluster.until_some("its plan waits for a person", |cluster| {
        plan(cluster, "awaiting_approval")
    });
    let detail = waiting["detail"].as_str().expect("a text");
    assert!(detail.contains("inframind has tier T0 shadow"), "{detail}");
    assert_eq!(reference.heard("ack")["success"], true);

    // A hub that is killed forgets neither the plan nor what it waits for.
    let id = waiting["id"].as_str().expect("an id").to_owned();
    cluster.demo("kill", "hub");
    cluster.until("the hub is back with its node", |cluster| cluster.connected() == 1);

    // A person stands behind it: the node caps, the GPU cools, and the prediction came true.
    cluster.must(&["plan", "approve", &id]);
    let done = cluster.until_some("the plan is completed", |cluster| plan(cluster, "completed"));
    assert_eq!(
        (&done["id"], &done["came_true"]),
        (&waiting["id"], &"true".into()),
        "{done}"
    );
    let outcome = reference.heard("outcome");
    assert_eq!(
        (&outcome["prediction"], &outcome["label"], &outcome["again"]),
        (&"edge-01/gpu0/1".into(), &"LABEL_TRUE".into(), &false.into())
    );
    cluster.demo("kill", "hub");
    let row = cluster.until_some("its record is there after another kill", |cluster| {
        let said = cluster.sentinel(&["get", "brains", "-o", "json"]);
        let rows = if said.code == 0 { said.items() } else { Vec::new() };
        rows.into_iter().find(|row| row["brain"] == "inframind")
    });
    assert_eq!(
        (&row["verb"], &row["predictions"]),
        (&"power_cap".into(), &1.into()),
        "{row}"
    );
    let why = cluster.must(&["why", &id]);
    for part in [
        "brain inframind (reference-1)",
        "plan.awaiting_approval",
        "came true true",
        "edge-01.1.",
    ] {
        assert!(why.out.contains(part), "`{part}` is missing in:\n{}", why.out);
    }
    let caps = cluster.decisions("edge-01", true);
    let caps = caps
        .iter()
        .filter(|row| row["action"] == "power_cap" && row["target"] == "gpu0");
    assert_eq!(caps.count(), 1, "nothing fires twice");
    cluster.must_be_whole();
}

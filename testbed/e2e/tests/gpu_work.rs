//! Whose work a GPU fault meets: the real agent and its real probe, processes that use a GPU, and workloads that systemd keeps.
//!
//! The bus is a real one; behind it stands `sentinel-fake-systemd`, a stand-in for systemd's manager that speaks its published interface.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use nvidia_ml_fake::scenario::{self, Gpu, Machine, Model};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use testbed_e2e::{PATIENCE, program};

const PERMITS: &str =
    "bundle: work\npermits:\n  - kinds: [cordon, uncordon, drain, restart, throttle, unthrottle, notify]\nrules: []\n";

/// A process that ends with the test.
struct Running(Child);

impl Running {
    /// Starts it, and returns the first line that it prints.
    fn start(command: &mut Command) -> (Self, String) {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}; `cargo xtask test setup` installs what is missing"));
        let stdout = child.stdout.take().expect("it was asked for a pipe");
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        (Self(child), line.trim().to_owned())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // An orderly end takes along what it has started. It may have ended by itself.
        let _ = kill_process(Pid::from_child(&self.0), Signal::INT);
        let deadline = Instant::now() + PATIENCE;
        while matches!(self.0.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::yield_now();
        }
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A GPU box: `train` is kept by the agent, `serve` by systemd.
struct Server {
    _agent: Option<Running>,
    _systemd: Running,
    _bus: Running,
    bus: String,
    folder: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (bus, address) =
            Running::start(Command::new("dbus-daemon").args(["--session", "--nofork", "--print-address"]));
        let (systemd, _) = Running::start(
            Command::new(program("sentinel-fake-systemd"))
                .arg(&address)
                .args(["serve.service=sleep 1000", "broken.service=/nonexistent/program"]),
        );
        let mut server = Self {
            _agent: None,
            _systemd: systemd,
            _bus: bus,
            bus: address,
            folder,
        };
        std::fs::write(server.path("kmsg"), "").expect("written");
        server.use_gpus(&[], &[]);
        let settings = format!(
            "metrics = \"127.0.0.1:0\"\nkernel_log = \"kmsg\"\n{}\n[gpu_probe]\nlibrary = {:?}\n[faults]\nact = true\n\
             [[workload]]\nname = \"train\"\ncommand = [\"sleep\", \"1001\"]\nstop_with_agent = true\n\
             [[workload]]\nname = \"serve\"\nunit = \"serve.service\"\n\
             [[workload]]\nname = \"broken\"\nunit = \"broken.service\"\n\
             [[workload]]\nname = \"gone\"\nunit = \"gone.service\"\n",
            policy(server.folder.path()),
            program("libnvidia_ml_fake.so"),
        );
        std::fs::write(server.path("agent.toml"), settings).expect("written");
        server.run();
        server
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&mut self) {
        let (agent, ready) = Running::start(
            Command::new(program("sentinel-agent"))
                .args(["run", "--state"])
                .arg(self.folder.path())
                .env(scenario::VARIABLE, self.path("machine.json"))
                .env("DBUS_SYSTEM_BUS_ADDRESS", &self.bus),
        );
        assert!(ready.starts_with("ready "), "{ready}");
        self._agent = Some(agent);
    }

    /// Which processes use the first and the second GPU.
    fn use_gpus(&self, first: &[u32], second: &[u32]) {
        let gpu = |name: &str, bus, pids: &[u32]| Gpu {
            model: Model::L40s,
            uuid: format!("GPU-{name}"),
            pci_bus: bus,
            recovery_action: Some(0),
            processes: pids.to_vec(),
            ..Gpu::default()
        };
        let machine = Machine {
            gpus: vec![gpu("a", 0x17, first), gpu("b", 0x65, second)],
            ..Machine::default()
        };
        machine.write(&self.path("machine.json")).expect("written");
    }

    fn log(&self, record: &str) {
        let file = std::fs::OpenOptions::new().append(true).open(self.path("kmsg"));
        writeln!(file.expect("it is there"), "{record}").expect("written");
    }

    /// A request to the agent's own API.
    fn ask(&self, method: &str, path: &str, body: &str) -> String {
        let mut socket = UnixStream::connect(self.path("agent.sock")).expect("it listens");
        let length = body.len();
        write!(
            socket,
            "{method} {path} HTTP/1.0\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        )
        .expect("sent");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).expect("answered");
        answer
            .split_once("\r\n\r\n")
            .map_or(answer.clone(), |(_, body)| body.to_owned())
    }

    /// A person has it do something; what came of it.
    fn act(&self, workload: &str, action: &str, params: Value) -> String {
        let node: Value = serde_json::from_str(&self.ask("GET", "/api/v1/nodes", "")).expect("JSON");
        let request = json!({
            "node": node["items"][0]["name"], "device": format!("workload:{workload}"), "action": action,
            "params": params, "reason": "a test", "wait_seconds": 60,
        });
        self.ask("POST", "/api/v1/actions", &request.to_string())
    }

    fn entries(&self) -> String {
        self.ask("GET", "/api/v1/entries?limit=500", "")
    }

    fn until(&self, what: &str, mut check: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !check(self) {
            assert!(Instant::now() < deadline, "not in time: {what}: {}", self.entries());
            std::thread::yield_now();
        }
    }

    /// The newest process of a workload, by the agent's own entries.
    fn pid(&self, workload: &str) -> Option<u32> {
        let entries = self.entries();
        let begin = format!("workload {workload} started, pid ");
        let rest = &entries[entries.rfind(&begin)? + begin.len()..];
        let end = rest.find(|character: char| !character.is_ascii_digit())?;
        rest[..end].parse().ok()
    }
}

/// Signs the bundle, and returns the settings that make an agent take it.
fn policy(folder: &Path) -> String {
    let key = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
    let payload = wire::bundle::BundlePayload {
        generation: wire::Generation(1),
        trust_domain: "sentinel".to_owned(),
        issued_at: wire::Wall(0),
        text: PERMITS.as_bytes().to_vec(),
    };
    let file = folder.join("bundle.signed");
    let signed = wire::SignedBundle::sign(&payload, &key);
    std::fs::write(&file, wire::codec::encode(&signed)).expect("written");
    let public: String = key
        .verifying_key()
        .as_bytes()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("bundle = {file:?}\npolicy_keys = [\"{public}\"]")
}

/// The share of a core that systemd's stand-in has for a unit, asked as an operator would: by another program on the bus.
fn quota(bus: &str) -> String {
    let output = Command::new("gdbus")
        .args(["call", "--address", bus, "--dest", "org.freedesktop.systemd1"])
        .args(["--object-path", "/org/freedesktop/systemd1/unit/serve_2eservice"])
        .args(["--method", "org.freedesktop.DBus.Properties.Get"])
        .args(["org.freedesktop.systemd1.Service", "CPUQuotaPerSecUSec"])
        .output()
        .expect("`cargo xtask test setup` installs it");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn a_fault_starts_the_work_again_that_uses_the_gpu_whoever_keeps_it() {
    let server = Server::start();
    server.until("both workloads run", |server| {
        server.pid("train").is_some() && server.pid("serve").is_some()
    });
    let (train, serve) = (
        server.pid("train").expect("it runs"),
        server.pid("serve").expect("it runs"),
    );
    server.use_gpus(&[train], &[serve]);
    server.until("the agent knows who works where", |server| {
        let metrics = server.ask("GET", "/metrics", "");
        metrics.contains("workload=\"train\"") && metrics.contains("workload=\"serve\"")
    });
    server.log("3,8,9120031,-;NVRM: Xid (PCI:0000:65:00): 31, pid=1, name=serve, MMU Fault");
    server.until("the unit on the second GPU runs anew", |server| {
        server.pid("serve").is_some_and(|pid| pid != serve)
    });
    assert_eq!(server.pid("train"), Some(train), "its neighbour was left alone");
    assert!(
        server.entries().contains("serve.service runs anew"),
        "{}",
        server.entries()
    );

    // Two steps that stop work are never under way at once: a person ends the first case by letting work in again.
    let node: Value = serde_json::from_str(&server.ask("GET", "/api/v1/nodes", "")).expect("JSON");
    let uncordon =
        json!({ "node": node["items"][0]["name"], "action": "uncordon", "reason": "it is well", "wait_seconds": 60 });
    let done = server.ask("POST", "/api/v1/actions", &uncordon.to_string());
    assert!(done.contains("applied"), "{done}");
    server.log("3,9,9120032,-;NVRM: Xid (PCI:0000:17:00): 31, pid=1, name=train, MMU Fault");
    server.until("the work on the first GPU runs anew", |server| {
        server.pid("train").is_some_and(|pid| pid != train)
    });
}

#[test]
fn a_unit_is_restarted_throttled_and_given_its_share_back_by_people_too() {
    let server = Server::start();
    server.until("all units are seen", |server| {
        let row = server.ask("GET", "/api/v1/nodes", "");
        let rows = ["serve", "broken", "gone"].map(|name| format!("workload:{name}"));
        server.pid("serve").is_some() && rows.iter().all(|name| row.contains(name))
    });
    let first = server.pid("serve").expect("it runs");
    let done = server.act("serve", "restart", json!({}));
    assert!(done.contains("applied: serve.service runs anew"), "{done}");
    server.until("the new process is seen", |server| server.pid("serve") != Some(first));

    let none = "(<uint64 18446744073709551615>,)";
    assert_eq!(quota(&server.bus), none);
    let done = server.act("serve", "throttle", json!({ "to": "25 %" }));
    assert!(done.contains("serve.service may use 25.00 % of a core"), "{done}");
    assert_eq!(quota(&server.bus), "(<uint64 250000>,)");
    let done = server.act("serve", "unthrottle", json!({}));
    assert!(done.contains("serve.service may use all cores"), "{done}");
    assert_eq!(quota(&server.bus), none);

    let failed = server.act("broken", "restart", json!({}));
    assert!(
        failed.contains("failed: systemd could not start broken.service again: failed"),
        "{failed}"
    );
    let failed = server.act("gone", "restart", json!({}));
    assert!(
        failed.contains("failed: systemd says that gone.service is not-found"),
        "{failed}"
    );
}

//! The agent as a process on a machine without a hub: what it says, and how it takes new settings.

use std::io::{BufRead as _, BufReader};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_sentinel-agent");
/// How long anything may take on a slow, shared machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// An agent that ends with the test.
struct Agent {
    child: Child,
    folder: tempfile::TempDir,
    /// Where it says `/metrics` is.
    metrics: String,
}

/// What every test sets: no port that another process could have, and no log but the test's own.
const BASE: &str = "metrics = \"127.0.0.1:0\"\nkernel_log = \"kmsg\"\n";

impl Agent {
    fn start(settings: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("kmsg"), "").expect("written");
        write(folder.path(), settings);
        let mut child = Command::new(PROGRAM)
            .args(["run", "--state"])
            .arg(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let stdout = child.stdout.take().expect("it was asked for a pipe");
        let mut ready = String::new();
        BufReader::new(stdout).read_line(&mut ready).expect("a line");
        let metrics = ready
            .split("metrics http://")
            .nth(1)
            .unwrap_or_default()
            .trim()
            .to_owned();
        Self { child, folder, metrics }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it lives");
    }

    /// The node's row, as its socket tells it.
    fn row(&self) -> Value {
        let mut socket = UnixStream::connect(self.folder.path().join("agent.sock")).expect("it listens");
        let answer = get(&mut socket, "/api/v1/nodes");
        let json: Value = serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer}"));
        json["items"][0].clone()
    }

    fn findings(&self) -> String {
        self.row()["findings"].to_string()
    }

    fn scrape(&self) -> String {
        let (address, path) = self.metrics.split_once('/').expect("an address and a path");
        let mut socket = std::net::TcpStream::connect(address).expect("it listens");
        get(&mut socket, &format!("/{path}"))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn write(folder: &Path, settings: &str) {
    std::fs::write(folder.join("agent.toml"), format!("{BASE}{settings}")).expect("written");
}

/// One request, and the answer's body.
fn get(socket: &mut (impl std::io::Read + std::io::Write), path: &str) -> String {
    write!(socket, "GET {path} HTTP/1.0\r\nhost: localhost\r\n\r\n").expect("sent");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("answered");
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("no answer: {answer}"));
    assert!(head.contains(" 200 "), "{answer}");
    body.to_owned()
}

/// Looks until it holds; each look is a request, which is pause enough.
fn until(what: &str, mut check: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !check() {
        assert!(Instant::now() < deadline, "not in time: {what}");
    }
}

#[test]
fn new_settings_count_without_a_restart_and_what_needs_one_is_named() {
    let agent = Agent::start("sample_every = \"60s\"\n");
    let folder = agent.folder.path().to_owned();
    let reload = |settings: &str| {
        write(&folder, settings);
        agent.signal(Signal::HUP);
    };
    until("the first round of readings is shown", || {
        agent.scrape().contains("\nsystem_memory_limit_bytes")
    });
    assert!(!agent.scrape().contains("memory_percent"));

    reload("sample_every = \"60s\"\nmetrics_compat = [\"v1\"]\n");
    until("another system's names are told", || {
        agent.scrape().contains("\nmemory_percent")
    });
    assert_eq!(agent.findings(), "[]");

    reload("sample_evry = \"1s\"\n");
    until("what is not valid is a finding", || {
        agent.findings().contains("unknown field `sample_evry`")
    });
    assert!(agent.row()["unhealthy"].is_null(), "the node itself is well");

    reload("sample_every = \"100ms\"\njournal_limit = \"8 MiB\"\n[mesh]\nlisten = \"127.0.0.1:0\"\npeers = {}\n");
    until("what needs a restart is named", || {
        agent.findings().contains("`journal_limit`, `mesh` have new values")
    });
    // A round each minute would not be seen by this test.
    let uptime = || {
        agent
            .scrape()
            .lines()
            .find(|line| line.starts_with("system_uptime"))
            .map(str::to_owned)
    };
    let first = uptime();
    assert!(first.is_some());
    until("rounds come faster", || uptime() != first);

    reload("sample_every = \"100ms\"\n");
    until("what was taken back is no finding any more", || {
        agent.findings() == "[]"
    });
}

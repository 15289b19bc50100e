//! A whole cluster of real processes for one test, driven as a person would: by the demo's verbs and the command line.
//!
//! The programs are the ones in the target folder that this test program was built into; `cargo xtask test` builds them first.
//! Nothing here sleeps: every wait is for something to become true, with a deadline that is an error when it passes.
//!
//! Read next: `tests/*.rs`, one file for each kind of trouble.

pub mod browser;
pub mod forge;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long anything may take on a slow, shared machine before the test says that it does not happen.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// One cluster at a time: each has a dozen processes, and two on two cores would only measure each other.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A hub, its nodes and their fakes, started by `sentinel-demo`.
pub struct Cluster {
    demo: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
    folder: tempfile::TempDir,
    _alone: MutexGuard<'static, ()>,
}

/// What a command printed, and how it ended.
#[derive(Debug)]
pub struct Said {
    /// Its exit status.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Said {
    /// Its standard output as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|cause| panic!("not JSON ({cause}): {self:?}"))
    }

    /// The rows of a list.
    pub fn items(&self) -> Vec<Value> {
        self.json()["items"]
            .as_array()
            .unwrap_or_else(|| panic!("no `items`: {self:?}"))
            .clone()
    }
}

/// Panics unless a program ended with this exit status and said each of these, on whichever stream.
pub fn check(said: &Said, code: i32, parts: &[&str]) {
    assert_eq!(said.code, code, "{said:?}");
    for part in parts {
        assert!(
            said.out.contains(part) || said.err.contains(part),
            "`{part}` is not said: {said:?}"
        );
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Runs `sentinel` in a folder with no context at all.
pub fn offline(folder: &Path, arguments: &[&str]) -> Said {
    Command::new(program("sentinel"))
        .args(arguments)
        .current_dir(folder)
        .env_remove("SENTINEL_CONTEXT")
        .env("HOME", "/nonexistent")
        .env("XDG_RUNTIME_DIR", "/nonexistent")
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .output()
        .expect("it starts")
        .into()
}

/// Path of a program that lies beside this test program.
pub fn program(name: &str) -> PathBuf {
    let mut folder = std::env::current_exe().expect("a running program has a path");
    folder.pop();
    if folder.ends_with("deps") {
        folder.pop();
    }
    let path = folder.join(name);
    assert!(
        path.is_file(),
        "`{}` is not built: run `cargo xtask test build` first",
        path.display()
    );
    path
}

impl Cluster {
    /// Starts a hub and this many nodes, and waits until all of them are connected.
    pub fn start(nodes: usize, more: &[&str]) -> Self {
        Self::start_with(nodes, more, &[])
    }

    /// The same, with variables in the environment of all programs.
    pub fn start_with(nodes: usize, more: &[&str], environment: &[(&str, &str)]) -> Self {
        let alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut demo = Command::new(program("sentinel-demo"))
            .args(["--no-tour", "--no-build", "--nodes", &nodes.to_string(), "--state"])
            .arg(folder.path())
            .args(more)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("the demo starts");
        let stdout = demo.stdout.take().expect("it was asked for a pipe");
        // A few thousand lines: more than any test makes the demo print, and the reader ends with the pipe.
        let (sender, lines) = sync_channel(4096);
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let mut cluster = Self {
            demo,
            lines,
            seen: Vec::new(),
            folder,
            _alone: alone,
        };
        cluster.until("all nodes are connected", |cluster| cluster.connected() == nodes);
        cluster
    }

    /// The cluster's folder: `hub/` and one folder for each node.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A node's state folder, or the hub's.
    pub fn state(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    /// The context file.
    pub fn context(&self) -> PathBuf {
        self.folder().join("context.json")
    }

    /// Runs `sentinel` against this cluster.
    pub fn sentinel(&self, arguments: &[&str]) -> Said {
        Command::new(program("sentinel"))
            .arg("--context")
            .arg(self.context())
            .args(arguments)
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .output()
            .expect("`sentinel` starts")
            .into()
    }

    /// The same, and it must succeed.
    pub fn must(&self, arguments: &[&str]) -> Said {
        let said = self.sentinel(arguments);
        assert_eq!(said.code, 0, "sentinel {}: {said:?}", arguments.join(" "));
        said
    }

    /// One of the demo's verbs: `cut edge-01`, `heat edge-01/gpu0`, `kill hub`.
    pub fn demo(&self, verb: &str, whom: &str) {
        self.must(&["demo", verb, whom]);
    }

    /// The row of a node, as the hub knows it.
    pub fn node(&self, name: &str) -> Option<Value> {
        let said = self.sentinel(&["get", "nodes", "-o", "json"]);
        if said.code != 0 {
            return None;
        }
        said.items().into_iter().find(|row| row["name"] == name)
    }

    /// How many nodes the hub says are connected and under a policy; 0 while there is no hub.
    pub fn connected(&self) -> usize {
        let said = self.sentinel(&["get", "nodes", "-o", "json"]);
        if said.code != 0 {
            return 0;
        }
        let works = |row: &&Value| row["state"] == "connected" && row["policy_generation"].as_u64() >= Some(1);
        said.items().iter().filter(works).count()
    }

    /// The decisions of a node, newest first: from the hub, or from the node's own socket.
    pub fn decisions(&self, node: &str, local: bool) -> Vec<Value> {
        let mut arguments = vec!["get", "decisions", "--node", node, "-o", "json", "--limit", "500"];
        if local {
            arguments.push("--local");
        }
        let said = self.sentinel(&arguments);
        if said.code == 0 { said.items() } else { Vec::new() }
    }

    /// Waits until something is true. Between two looks it waits for the demo's next line, for a tenth of a second at most.
    pub fn until(&mut self, what: &str, mut check: impl FnMut(&Self) -> bool) {
        self.until_some(what, |cluster| check(cluster).then_some(()));
    }

    /// Waits until there is something, and returns it.
    pub fn until_some<T>(&mut self, what: &str, mut check: impl FnMut(&Self) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = check(self) {
                return found;
            }
            if let Some(status) = self.demo.try_wait().expect("our own child") {
                panic!("the demo ended ({status}) before: {what}\n{}", self.seen.join("\n"));
            }
            assert!(
                Instant::now() < deadline,
                "not within {} s: {what}\nnodes: {:?}\ndemo:\n{}",
                PATIENCE.as_secs(),
                self.sentinel(&["get", "nodes"]),
                self.seen.join("\n")
            );
            match self.lines.recv_timeout(Duration::from_millis(100)) {
                Ok(line) => self.seen.push(line),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    // Its output ended: the next look at the child says how.
                    let status = self.demo.wait().expect("our own child");
                    panic!("the demo ended ({status}) before: {what}\n{}", self.seen.join("\n"));
                }
            }
        }
    }

    /// Waits until every entry of every node is at the hub, and checks that `verify` agrees.
    pub fn must_be_whole(&mut self) {
        let said = self.until_some("verify finds every journal whole", |cluster| {
            let said = cluster.sentinel(&["verify", "-o", "json"]);
            (said.code == 0).then_some(said)
        });
        for row in said.items() {
            assert_eq!(row["missing"], 0, "{row}");
            assert_eq!(row["double"], 0, "{row}");
            assert_eq!(row["produced"], row["stored"], "{row}");
            assert_eq!(row["chain_ok"], true, "{row}");
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.demo);
        // The demo stops its children when asked; a demo that is gone already needs no asking.
        if rustix::process::kill_process(pid, rustix::process::Signal::TERM).is_ok() {
            drop(self.demo.wait());
        }
    }
}

//! The demo's own life, with shell scripts in the place of hub, agent and command line: starting, keeping, stopping, dying.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(30);

const HUB: &str = r#"#!/bin/sh
mkdir -p "$3"
echo $$ > "$3/pid"
echo '{"hub":"https://127.0.0.1:9","token":"t","ca_pem":"pem"}' > "$3/admin.json"
echo "ready https://127.0.0.1:9"
exec sleep 600
"#;

const AGENT: &str = r#"#!/bin/sh
case "$1" in
join) for word; do last="$word"; done; mkdir -p "$last/identity"; exit 0 ;;
esac
state=$(sed -n 's/^state_dir = "\(.*\)"$/\1/p' "$3")
echo $$ > "$state/pid"
echo "ready $state/agent.sock page http://127.0.0.1:5/"
exec sleep 600
"#;

const SENTINEL: &str = r#"#!/bin/sh
case "$*" in
*"token create"*) echo '{"token":"sjt_1","ca_pin":"sha256:00"}' ;;
*"get nodes"*) echo '{"items":[{"state":"connected"},{"state":"connected"}]}' ;;
*login*) echo "https://127.0.0.1:9/#login=1" ;;
esac
"#;

/// A folder with the demo and its scripts, and one that it keeps its state in.
struct Stage {
    folder: tempfile::TempDir,
}

impl Stage {
    fn new(hub: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bin = folder.path().join("bin");
        fs::create_dir(&bin).unwrap();
        fs::copy(env!("CARGO_BIN_EXE_sentinel-demo"), bin.join("sentinel-demo")).unwrap();
        for (name, text) in [
            ("sentinel-hub", hub),
            ("sentinel-agent", AGENT),
            ("sentinel", SENTINEL),
            ("sentinel-fake-gpu", "#!/bin/sh\n"),
            ("sentinel-fake-workload", "#!/bin/sh\n"),
        ] {
            let path = bin.join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        }
        Self { folder }
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.folder.path().join("bin/sentinel-demo"));
        command
            .args(["--no-build", "--no-tour", "--nodes", "2", "--state"])
            .arg(self.state())
            .env("XDG_RUNTIME_DIR", self.folder.path().join("runtime"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Starts the demo. A process that another test forks at this moment holds the fresh copy of the program open for writing
    /// until it has become another one; the kernel refuses to run a program in that time.
    fn spawn(&self) -> Child {
        loop {
            match self.command().spawn() {
                Err(cause) if cause.kind() == std::io::ErrorKind::ExecutableFileBusy => std::thread::yield_now(),
                spawned => return spawned.unwrap(),
            }
        }
    }

    /// Starts the demo and reads its output until it says how to stop it.
    fn start(&self) -> (Child, Vec<String>) {
        let mut demo = self.spawn();
        let mut lines = Vec::new();
        let mut reader = BufReader::new(demo.stdout.as_mut().unwrap());
        while lines.last().is_none_or(|line: &String| !line.starts_with("  stop")) {
            let mut line = String::new();
            assert_ne!(reader.read_line(&mut line).unwrap(), 0, "{lines:?}");
            lines.push(line.trim_end().to_owned());
        }
        (demo, lines)
    }

    fn context(&self) -> Value {
        serde_json::from_slice(&fs::read(self.state().join("context.json")).unwrap()).unwrap()
    }

    fn order(&self, order: &Value) -> Value {
        let socket = self.context()["demo_socket"].as_str().unwrap().to_owned();
        let mut stream = UnixStream::connect(socket).unwrap();
        stream.write_all(format!("{order}\n").as_bytes()).unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    fn must(&self, verb: &str, node: &str) {
        let answer = self.order(&json!({ "do": verb, "node": node }));
        assert_eq!(answer["ok"], true, "{answer}");
    }

    /// The process that last wrote its number into a state folder.
    fn pid(&self, node: &str) -> i32 {
        let path = self.state().join(node).join("pid");
        until(&format!("{node} has a number"), || {
            fs::read_to_string(&path).ok()?.trim().parse().ok()
        })
    }

    fn pids(&self) -> Vec<i32> {
        ["hub", "edge-01", "edge-02"].map(|name| self.pid(name)).to_vec()
    }
}

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::yield_now();
    }
}

/// A zombie that nobody waits for yet has ended too.
fn runs(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().starts_with(" Z"))
}

fn signal(demo: &Child, signal: Signal) {
    kill_process(Pid::from_child(demo), signal).unwrap();
}

fn end(demo: Child) -> Output {
    demo.wait_with_output().unwrap()
}

#[test]
fn it_starts_everything_tells_where_and_stops_everything() {
    let stage = Stage::new(HUB);
    let (demo, lines) = stage.start();
    let told = lines.join("\n");
    assert!(lines[0].starts_with("sentinel demo: "), "{told}");
    for part in [
        "https://127.0.0.1:9",
        "2 (edge-01 to edge-02) enrolled",
        "(sim)",
        "#login=1",
        "demo cut",
    ] {
        assert!(told.contains(part), "`{part}` is not told:\n{told}");
    }
    // The context is what `sentinel` reads, for its owner alone, and found without being named.
    let path = stage.state().join("context.json");
    let context: wire::api::Context = serde_json::from_value(stage.context()).unwrap();
    assert_eq!(context.nodes.len(), 2);
    assert!(
        context
            .nodes
            .values()
            .all(|node| node.page.as_deref() == Some("http://127.0.0.1:5/"))
    );
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let pointer = stage.folder.path().join("runtime/sentinel-demo/context.json");
    assert_eq!(fs::canonicalize(&pointer).unwrap(), fs::canonicalize(&path).unwrap());
    // A second one on the same state is refused, and says how to reach the first.
    let second = stage.command().output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    let told = String::from_utf8(second.stderr).unwrap();
    assert!(
        told.contains("a demo runs already") && told.contains("context.json"),
        "{told}"
    );

    let pids = stage.pids();
    signal(&demo, Signal::TERM);
    let output = end(demo);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(pids.iter().all(|pid| !runs(*pid)), "{pids:?}");
    assert!(!pointer.exists() && stage.state().join("hub").is_dir());
}

#[test]
fn a_killed_process_comes_back_and_a_stopped_one_does_not() {
    let stage = Stage::new(HUB);
    let (demo, _) = stage.start();
    for name in ["edge-01", "hub"] {
        let old = stage.pid(name);
        stage.must("kill", name);
        let new = until("it is back", || Some(stage.pid(name)).filter(|new| *new != old));
        assert!(runs(new) && !runs(old));
    }
    let old = stage.pid("edge-02");
    stage.must("stop", "edge-02");
    assert!(!runs(old));
    assert_eq!(stage.order(&json!({"do": "stop", "node": "edge-02"}))["ok"], false);
    assert_eq!(stage.order(&json!({"do": "kill", "node": "edge-02"}))["ok"], false);
    stage.must("start", "edge-02");
    until("it runs again", || Some(stage.pid("edge-02")).filter(|new| *new != old));

    stage.must("cut", "edge-01");
    assert_eq!(stage.order(&json!({"do": "cut", "node": "edge-01"}))["ok"], false);
    stage.must("heal", "edge-01");
    let answer = stage.order(&json!({"do": "cut", "node": "edge-77"}));
    assert!(
        answer["text"].as_str().unwrap().contains("hub, edge-01, edge-02"),
        "{answer}"
    );
    signal(&demo, Signal::INT);
    assert_eq!(end(demo).status.code(), Some(0));
}

#[test]
fn nothing_outlives_a_demo_that_is_killed() {
    let stage = Stage::new(HUB);
    let (demo, _) = stage.start();
    let pids = stage.pids();
    assert!(pids.iter().all(|pid| runs(*pid)));
    signal(&demo, Signal::KILL);
    end(demo);
    until("every process has ended", || {
        (!pids.iter().any(|pid| runs(*pid))).then_some(())
    });
    // What it left behind is gone on with.
    let (demo, _) = stage.start();
    signal(&demo, Signal::TERM);
    assert_eq!(end(demo).status.code(), Some(0));
}

#[test]
fn a_hub_that_does_not_start_is_told_with_its_own_words() {
    let stage = Stage::new("#!/bin/sh\necho 'port 7443 is in use' >&2\nexit 1\n");
    let output = stage.spawn().wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(
        told.contains("hub ended before it was ready") && told.contains("port 7443 is in use"),
        "{told}"
    );
    let missing = Stage::new(HUB);
    fs::remove_file(missing.folder.path().join("bin/sentinel-agent")).unwrap();
    let output = missing.spawn().wait_with_output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("cargo build --release -p hub"), "{told}");
    assert!(!Path::new(&missing.state()).join("hub").exists());
}

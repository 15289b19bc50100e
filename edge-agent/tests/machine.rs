//! The agent as a process on a machine without a hub: what it says, and how it takes new settings.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use prost::Message as _;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_sentinel-agent");
/// How long anything may take on a slow, shared machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// An agent that ends with the test.
struct Agent {
    child: Child,
    /// There as long as it runs.
    folder: Option<tempfile::TempDir>,
    /// Where it says `/metrics` is.
    metrics: String,
}

/// What every test sets: no port that another process could have, and no log but the test's own.
const BASE: &str = "metrics = \"127.0.0.1:0\"\nkernel_log = \"kmsg\"\n";

impl Agent {
    fn start(settings: &str) -> Self {
        Self::start_with(settings, &[])
    }

    fn start_with(settings: &str, environment: &[(&str, String)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("kmsg"), "").expect("written");
        write(folder.path(), settings);
        Self::start_in(folder, environment)
    }

    /// On what a former one left.
    fn start_in(folder: tempfile::TempDir, environment: &[(&str, String)]) -> Self {
        let mut child = Command::new(PROGRAM)
            .args(["run", "--state"])
            .arg(folder.path())
            .envs(environment.iter().map(|(name, value)| (*name, value)))
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
        Self {
            child,
            folder: Some(folder),
            metrics,
        }
    }

    fn path(&self) -> &Path {
        self.folder.as_ref().expect("it runs").path()
    }

    /// Kills it as a power cut would, and starts another on the same disk.
    fn crash(self) -> Self {
        self.crash_with(&[])
    }

    fn crash_with(mut self, environment: &[(&str, String)]) -> Self {
        self.signal(Signal::KILL);
        drop(self.child.wait());
        Self::start_in(self.folder.take().expect("it ran"), environment)
    }

    /// The kernel logs this.
    fn log(&self, record: &str) {
        let file = std::fs::OpenOptions::new().append(true).open(self.path().join("kmsg"));
        writeln!(file.expect("it is there"), "{record}").expect("written");
    }

    fn command(&self, words: &[&str]) -> (Option<i32>, String) {
        let mut command = Command::new(PROGRAM);
        command.args(words).arg("--state").arg(self.path());
        let output = command.output().expect("it starts");
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&said).into_owned())
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it lives");
    }

    /// The node's row, as its socket tells it.
    fn row(&self) -> Value {
        let mut socket = UnixStream::connect(self.path().join("agent.sock")).expect("it listens");
        let answer = get(&mut socket, "/api/v1/nodes");
        let json: Value = serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer}"));
        json["items"][0].clone()
    }

    fn findings(&self) -> String {
        self.row()["findings"].to_string()
    }

    /// An answer of its own API.
    fn told(&self, path: &str) -> String {
        let mut socket = UnixStream::connect(self.path().join("agent.sock")).expect("it listens");
        get(&mut socket, path)
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
        std::thread::yield_now();
    }
}

#[test]
fn new_settings_count_without_a_restart_and_what_needs_one_is_named() {
    let agent = Agent::start("sample_every = \"60s\"\n");
    let folder = agent.path().to_owned();
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

/// Signs a bundle, and returns the settings that make an agent take it.
fn policy(folder: &Path, text: &str) -> String {
    let key = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
    let payload = wire::bundle::BundlePayload {
        generation: wire::Generation(1),
        trust_domain: "sentinel".to_owned(),
        issued_at: wire::Wall(0),
        text: text.as_bytes().to_vec(),
    };
    let signed = wire::SignedBundle::sign(&payload, &key);
    let file = folder.join("bundle.signed");
    std::fs::write(&file, wire::codec::encode(&signed)).expect("written");
    let key: String = key
        .verifying_key()
        .as_bytes()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("bundle = {file:?}\npolicy_keys = [\"{key}\"]\n")
}

const LADDER: &str =
    "bundle: ladder\npermits:\n  - kinds: [cordon, uncordon, drain, reset_gpu, reboot, notify]\nrules: []\n";

#[test]
fn a_grave_fault_drains_and_restarts_the_machine_once_whatever_crashes() {
    let given = tempfile::tempdir().expect("a folder");
    let ran = given.path().join("ran");
    let hook = |name: &str| {
        let script = format!("echo $SENTINEL_ACTION >> {}; echo done", ran.display());
        format!("{name} = [\"sh\", \"-c\", {script:?}]\n")
    };
    let settings = format!(
        "{}[faults]\nact = true\n[hooks]\n{}{}",
        policy(given.path(), LADDER),
        hook("drain"),
        hook("reboot")
    );
    let agent = Agent::start(&settings);
    until("the policy is in force", || {
        agent.told("/api/v1/policies").contains("ladder")
    });
    let ran = || std::fs::read_to_string(&ran).unwrap_or_default();
    agent.log(
        "3,8,9120031,-;NVRM: Xid (PCI:0000:65:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.",
    );
    until("the node is drained, then restarted", || ran() == "drain\nreboot\n");
    assert!(agent.path().join("cordoned").exists(), "local schedulers see it");
    let (code, said) = agent.command(&["status"]);
    assert_eq!(code, Some(8), "{said}");
    assert!(said.contains("xid 79 on pci:0000:65:00"), "{said}");

    let agent = agent.crash();
    agent.log("3,9,9120032,-;NVRM: Xid (PCI:0000:65:00): 13, Graphics Exception");
    until("the log is read on", || agent.scrape().contains("xid=\"13\"} 1"));
    assert_eq!(ran(), "drain\nreboot\n", "nothing is repeated");
}

/// Receives OTLP over HTTP, and refuses everything until it is open.
struct Collector {
    address: std::net::SocketAddr,
    is_open: Arc<AtomicBool>,
    refused: Arc<AtomicUsize>,
    records: Arc<Mutex<Vec<LogRecord>>>,
}

impl Collector {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let collector = Self {
            address: listener.local_addr().expect("bound"),
            is_open: Arc::default(),
            refused: Arc::default(),
            records: Arc::default(),
        };
        let (is_open, refused) = (collector.is_open.clone(), collector.refused.clone());
        let records = collector.records.clone();
        // Ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let mut reader = BufReader::new(&stream);
                let (mut length, mut path, mut line) = (0, String::new(), String::new());
                while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
                    if path.is_empty() {
                        path.clone_from(&line);
                    }
                    if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                        length = value.trim().parse().expect("a number");
                    }
                    line.clear();
                }
                let mut body = vec![0; length];
                if reader.read_exact(&mut body).is_err() {
                    continue;
                }
                assert!(path.starts_with("POST /v1/logs "), "{path}");
                let status = if is_open.load(Ordering::SeqCst) {
                    let request = ExportLogsServiceRequest::decode(body.as_slice()).expect("protobuf");
                    let scopes = request
                        .resource_logs
                        .into_iter()
                        .flat_map(|resource| resource.scope_logs);
                    records
                        .lock()
                        .expect("whole")
                        .extend(scopes.flat_map(|scope| scope.log_records));
                    "200 OK"
                } else {
                    refused.fetch_add(1, Ordering::SeqCst);
                    "503 Service Unavailable"
                };
                drop(write!(&stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n"));
            }
        });
        collector
    }

    /// The numbers of the entries that have come, in the order in which they came.
    fn entries(&self) -> Vec<u64> {
        let number = |record: &LogRecord| {
            let id = attribute(record, "sentinel.entry")?;
            id.rsplit('.').next()?.parse().ok()
        };
        self.records.lock().expect("whole").iter().filter_map(number).collect()
    }
}

fn attribute(record: &LogRecord, name: &str) -> Option<String> {
    let found = record.attributes.iter().find(|one| one.key == name)?;
    match found.value.as_ref()?.value.as_ref()? {
        any_value::Value::StringValue(text) => Some(text.clone()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_happened_while_the_collector_was_away_arrives_whole_after_a_crash_with_its_own_times() {
    let collector = Collector::start();
    let environment = [
        (
            "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT",
            format!("http://{}/v1/logs", collector.address),
        ),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf".to_owned()),
    ];
    let agent = Agent::start_with("", &environment);
    agent.log("3,8,9120031,-;NVRM: Xid (PCI:0000:65:00): 79, GPU has fallen off the bus.");
    until("the fault is an entry", || {
        agent.told("/api/v1/entries").contains("xid 79")
    });
    until("the Collector was asked", || {
        collector.refused.load(Ordering::SeqCst) > 0
    });
    let agent = agent.crash_with(&environment);
    until("its second start is an entry", || {
        agent.told("/api/v1/entries").contains("after an unclean stop")
    });
    let opened = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    collector.is_open.store(true, Ordering::SeqCst);
    let entries = || agent.told("/api/v1/entries").matches("\"seq\":").count();
    until("everything has come", || collector.entries().len() >= entries());
    let came = collector.entries();
    assert_eq!(came, (1..=came.len() as u64).collect::<Vec<_>>(), "in order, each once");
    let records = collector.records.lock().expect("whole").clone();
    let fault = records
        .iter()
        .find(|record| attribute(record, "sentinel.fault.code").is_some());
    let fault = fault.expect("the fault is among them");
    assert_eq!(
        attribute(fault, "sentinel.fault.next").as_deref(),
        Some("drain_and_reboot")
    );
    assert!(u128::from(fault.time_unix_nano) < opened.expect("after 1970").as_nanos());
    // How far it came is kept: another crash sends nothing again.
    let kept = || std::fs::read_to_string(agent.path().join("otlp-logs")).unwrap_or_default();
    until("how far it is stands on the disk", || {
        kept()
            .trim_end()
            .ends_with(&format!(" {}", collector.entries().len() + 1))
    });
    let before = collector.entries().len();
    let agent = agent.crash_with(&environment);
    until("the third start has come", || collector.entries().len() > before);
    let came = collector.entries();
    assert_eq!(came, (1..=came.len() as u64).collect::<Vec<_>>());
    drop(agent);
}

#[test]
fn doctor_and_support_bundle_work_without_a_hub() {
    let agent = Agent::start("");
    until("its start is recorded", || {
        agent.told("/api/v1/entries").contains("started, version ")
    });
    let (_, said) = agent.command(&["doctor"]);
    for part in [
        "state folder: ",
        "disk: ",
        "clock: ",
        "✓ kernel log: ",
        "GPU driver: ",
        "! hub: ",
        "✓ agent: ",
        "sentinel token create",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let out = agent.path().join("bundle.tar");
    let (code, said) = agent.command(&["support-bundle", "--out", &out.display().to_string()]);
    assert_eq!(code, Some(0), "{said}");
    let bytes = std::fs::read(&out).expect("there");
    let whole = String::from_utf8_lossy(&bytes);
    assert!(whole.contains("started, version "), "it has the agent's own entries");
    let (code, said) = agent.command(&["support-bundle", "--out", &out.display().to_string()]);
    assert_eq!(code, Some(1), "nothing is overwritten: {said}");
}

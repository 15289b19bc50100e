//! A GPU server: the real agent and its real probe, through a library that speaks NVML's C ABI, with a kernel log, a Prometheus that
//! scrapes and a Collector that receives.
//!
//! With the feature `dist` the same story runs with the one file that ships, in roots of Debian 11, 12 and 13, and that file starts in a
//! root that holds nothing else. `cargo xtask dist --check` builds what that needs and says where it lies.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use nvidia_ml_fake::scenario::{self, Fault, Gpu, Machine, Model};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use serde_json::Value;
use testbed_e2e::{Cluster, Said, check, program};

const BOX: &str = "gpu-box";

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Two GPUs, of which the first is hot.
fn machine() -> Machine {
    let gpu = |name: &str, bus| Gpu {
        model: Model::L40s,
        uuid: format!("GPU-{name}"),
        pci_bus: bus,
        recovery_action: Some(0),
        ..Gpu::default()
    };
    Machine {
        gpus: vec![
            Gpu {
                temperature_c: 91,
                used_percent: 100,
                ..gpu("a", 0x17)
            },
            gpu("b", 0x65),
        ],
        ..Machine::default()
    }
}

/// Where the agent runs.
enum Place {
    /// On this machine, as it was built beside this test.
    Here,
    /// The file that ships, in a root of its own: a Debian's, or an empty one.
    #[cfg(feature = "dist")]
    Root(Option<PathBuf>),
}

/// Where the state folder is in a root.
#[cfg(feature = "dist")]
const STATE: &str = "/var/lib/sentinel-agent";
/// Where the container of NVIDIA's GPU operator puts the driver's library.
#[cfg(feature = "dist")]
const LIBRARY: &str = "/run/nvidia/driver/usr/lib64/libnvidia-ml.so.1";

impl Place {
    /// The agent's program, in sight of its state folder.
    #[cfg_attr(not(feature = "dist"), expect(unused_variables, reason = "only a root needs it"))]
    fn agent(&self, state: &Path) -> Command {
        match self {
            Self::Here => Command::new(program("sentinel-agent")),
            #[cfg(feature = "dist")]
            Self::Root(debian) => {
                let mut inside = Command::new("bwrap");
                inside.args(["--die-with-parent", "--unshare-pid", "--proc", "/proc", "--dev", "/dev"]);
                if let Some(debian) = debian {
                    for folder in ["usr", "etc"] {
                        let path = debian.join(folder);
                        inside.arg("--ro-bind").arg(path).arg(Path::new("/").join(folder));
                    }
                    for (to, link) in [("usr/lib", "/lib"), ("usr/lib64", "/lib64")] {
                        inside.args(["--symlink", to, link]);
                    }
                    let library = dist("libnvidia_ml_fake.so");
                    inside
                        .args(["--ro-bind", "/sys", "/sys", "--ro-bind"])
                        .arg(library)
                        .arg(LIBRARY);
                }
                let agent = dist("sentinel-agent");
                inside.arg("--ro-bind").arg(agent).arg("/opt/sentinel-agent");
                inside.arg("--bind").arg(state).args([STATE, "/opt/sentinel-agent"]);
                inside
            }
        }
    }

    /// The state folder as the agent sees it.
    fn state(&self, state: &Path) -> PathBuf {
        match self {
            Self::Here => state.to_owned(),
            #[cfg(feature = "dist")]
            Self::Root(_) => STATE.into(),
        }
    }

    /// The settings that say where the driver is, if it is not where drivers are.
    fn driver(&self) -> String {
        match self {
            Self::Here => format!("[gpu_probe]\nlibrary = {:?}\n", program("libnvidia_ml_fake.so")),
            #[cfg(feature = "dist")]
            Self::Root(_) => String::new(),
        }
    }
}

/// Path of a file that `cargo xtask dist --check` built.
#[cfg(feature = "dist")]
fn dist(name: &str) -> PathBuf {
    let folder = std::env::var_os("SENTINEL_DIST").expect("`cargo xtask dist --check` sets it");
    Path::new(&folder).join(name)
}

struct Server {
    _agent: Running,
    place: Place,
    metrics: String,
    state: PathBuf,
}

impl Server {
    /// Joins the cluster's hub and runs.
    fn start(cluster: &Cluster, collector: SocketAddr, place: Place) -> Self {
        let state = cluster.folder().join(BOX);
        std::fs::create_dir_all(&state).expect("a folder");
        machine().write(&state.join("machine.json")).expect("written");
        std::fs::write(state.join("kmsg"), "").expect("written");
        let line = cluster.must(&["token", "create", "--site", "lab", "--name", BOX]);
        let line = line
            .out
            .lines()
            .find(|line| line.contains(" join "))
            .expect("the join line")
            .to_owned();
        let words: Vec<&str> = line.split_whitespace().skip_while(|word| *word != "join").collect();
        let joined = place
            .agent(&state)
            .args(&words)
            .arg("--state")
            .arg(place.state(&state))
            .output()
            .expect("it starts");
        check(&joined.into(), 0, &["joined"]);
        let settings = format!(
            "kernel_log = \"kmsg\"\nmetrics = \"127.0.0.1:0\"\nmetrics_compat = [\"dcgm\"]\n{}",
            place.driver()
        );
        std::fs::write(state.join("agent.toml"), settings).expect("written");
        let mut agent = place
            .agent(&state)
            .args(["run", "--state"])
            .arg(place.state(&state))
            .env(scenario::VARIABLE, place.state(&state).join("machine.json"))
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{collector}"))
            .env("OTEL_METRIC_EXPORT_INTERVAL", "1000")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let stdout = agent.stdout.take().expect("it was asked for a pipe");
        let agent = Running(agent);
        let mut ready = String::new();
        BufReader::new(stdout).read_line(&mut ready).expect("a line");
        let metrics = ready.split_whitespace().skip_while(|word| *word != "metrics").nth(1);
        Self {
            _agent: agent,
            place,
            metrics: metrics.unwrap_or_else(|| panic!("{ready}")).to_owned(),
            state,
        }
    }

    fn log(&self, record: &str) {
        let file = std::fs::OpenOptions::new().append(true).open(self.state.join("kmsg"));
        writeln!(file.expect("it is there"), "{record}").expect("written");
    }

    /// One look without the service.
    fn scan(&self) -> Said {
        let state = self.place.state(&self.state);
        let mut scan = self.place.agent(&self.state);
        scan.args(["scan", "--state"]).arg(&state);
        scan.env(scenario::VARIABLE, state.join("machine.json"));
        scan.output().expect("it starts").into()
    }

    /// What a caller has set of the GPUs.
    fn set(&self) -> Option<Value> {
        let bytes = std::fs::read(self.state.join("machine.json.set")).ok()?;
        serde_json::from_slice(&bytes).ok()
    }
}

/// What a Collector was sent.
#[derive(Default)]
struct Heard {
    metrics: Vec<ExportMetricsServiceRequest>,
    logs: Vec<LogRecord>,
    spans: Vec<Span>,
}

impl Heard {
    fn take(&mut self, path: &str, body: &[u8]) {
        match path {
            "/v1/metrics" => {
                let request = ExportMetricsServiceRequest::decode(body).expect("protobuf");
                self.metrics.push(request);
            }
            "/v1/logs" => {
                let request = ExportLogsServiceRequest::decode(body).expect("protobuf");
                let scopes = request
                    .resource_logs
                    .into_iter()
                    .flat_map(|resource| resource.scope_logs);
                self.logs.extend(scopes.flat_map(|scope| scope.log_records));
            }
            "/v1/traces" => {
                let request = ExportTraceServiceRequest::decode(body).expect("protobuf");
                let scopes = request
                    .resource_spans
                    .into_iter()
                    .flat_map(|resource| resource.scope_spans);
                self.spans.extend(scopes.flat_map(|scope| scope.spans));
            }
            other => panic!("nothing of OTLP goes to {other}"),
        }
    }
}

/// Receives OTLP over HTTP, one request for each connection, as the agent makes them.
fn collector() -> (SocketAddr, Arc<Mutex<Heard>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    let heard = Arc::new(Mutex::new(Heard::default()));
    let kept = heard.clone();
    // Ends with the test's process; nobody connects after the agent has ended.
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
            let path = path.strip_prefix("POST ").and_then(|rest| rest.split(' ').next());
            kept.lock().expect("whole").take(path.unwrap_or_default(), &body);
            drop((&stream).write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"));
        }
    });
    (address, heard)
}

/// A real Prometheus that scrapes this address each second.
struct Prometheus {
    _process: Running,
    address: String,
}

impl Prometheus {
    fn start(folder: &Path, target: &str) -> Self {
        // It cannot say which port it got, so it is given one that was free just now.
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let address = free.expect("a port").to_string();
        let target = target.trim_start_matches("http://").trim_end_matches("/metrics");
        let settings = format!(
            "global: {{ scrape_interval: 1s }}\nscrape_configs:\n  - job_name: sentinel\n    static_configs: [ {{ targets: ['{target}'] }} ]\n"
        );
        let config = folder.join("prometheus.yml");
        std::fs::write(&config, settings).expect("written");
        let process = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("tsdb").display()))
            .arg(format!("--web.listen-address={address}"))
            .stderr(Stdio::null())
            .spawn()
            .expect("`cargo xtask test setup` installs it");
        Self {
            _process: Running(process),
            address,
        }
    }

    /// The value of a query's only series, once it has one.
    fn value(&self, query: &str) -> Option<f64> {
        let url = format!("http://{}/api/v1/query", self.address);
        let text = ureq::get(&url)
            .query("query", query)
            .call()
            .ok()?
            .body_mut()
            .read_to_string()
            .ok()?;
        let answer: Value = serde_json::from_str(&text).ok()?;
        answer["data"]["result"][0]["value"][1].as_str()?.parse().ok()
    }
}

#[test]
fn a_gpu_server_is_read_capped_watched_and_told_of() {
    story(Place::Here);
}

#[cfg(feature = "dist")]
#[test]
fn the_file_that_ships_does_the_same_in_roots_of_other_debians() {
    let roots = std::env::var("SENTINEL_ROOTS").expect("`cargo xtask dist --check` sets it");
    for root in roots.split(':') {
        let begun = std::time::Instant::now();
        story(Place::Root(Some(root.into())));
        println!("{root}: {} s", begun.elapsed().as_secs());
    }
}

#[cfg(feature = "dist")]
#[test]
fn the_file_that_ships_runs_where_there_is_nothing_else() {
    let mut cluster = Cluster::start(1, &[]);
    let (collector, heard) = collector();
    let server = Server::start(&cluster, collector, Place::Root(None));
    cluster.until("the server is connected", |cluster| cluster.connected() == 2);
    let prometheus = Prometheus::start(cluster.folder(), &server.metrics);
    let up = cluster.until_some("it is scraped", |_| prometheus.value("up"));
    assert!((up - 1.0).abs() < 0.001);
    cluster.until("OTLP has something", |_| {
        !heard.lock().expect("whole").metrics.is_empty()
    });
    check(&server.scan(), 0, &["no GPU driver on this machine"]);
}

fn story(place: Place) {
    let mut cluster = Cluster::start(1, &[]);
    let (collector, heard) = collector();
    let server = Server::start(&cluster, collector, place);
    cluster.until("the server is connected", |cluster| cluster.connected() == 2);

    // Read, and capped by policy: the library has the limit, and the agent read it back.
    cluster.until("the hot GPU is capped and the cool one is not", |_| {
        let Some(set) = server.set() else { return false };
        set["GPU-a"]["limit_mw"] == 220_000 && set["GPU-b"].is_null()
    });
    cluster.until("the hub knows that it was applied", |cluster| {
        let applied = |row: &Value| {
            row["action"]
                .as_str()
                .is_some_and(|action| action.contains("power_cap"))
        };
        cluster.decisions(BOX, false).iter().any(applied)
    });

    // An XID in the kernel's log is a fault of the GPU at that address, with what it means and what to do; a program's own line is none.
    server.log("14,7,9000000,-;NVRM: Xid (PCI:0000:17:00): 48, pretended by a program");
    server.log(
        "3,8,9120031,-;NVRM: Xid (PCI:0000:65:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.",
    );
    let story = cluster.until_some("the hub tells of the fault", |cluster| {
        let said = cluster.sentinel(&["describe", "node", BOX]);
        said.out
            .contains("xid 79 on gpu1: the GPU has fallen off the bus")
            .then_some(said)
    });
    assert!(!story.out.contains("xid 48"), "{}", story.out);
    let entries = cluster.until_some("the entry is stored", |cluster| {
        let said = cluster.sentinel(&["get", "entries", "--node", BOX, "-o", "json", "--limit", "500"]);
        let fault = |row: &&Value| row["text"].as_str().is_some_and(|text| text.contains("xid 79"));
        said.items().iter().find(fault).cloned()
    });
    let text = entries["text"].as_str().unwrap_or_default();
    assert!(text.contains("critical fault on gpu1"), "{text}");
    assert!(
        text.contains("next: move the node's work away, then restart the machine"),
        "{text}"
    );

    // The same as a row of its own: meaning, evidence and next step.
    let told = cluster.must(&["describe", "node", BOX, "-o", "json"]).json();
    let faults = told["faults"].as_array().cloned().unwrap_or_default();
    let fallen = faults
        .iter()
        .find(|fault| fault["code"] == "xid 79")
        .expect("it is listed");
    assert_eq!(
        (&fallen["device"], &fallen["next"], fallen.get("over_at")),
        (&"gpu1".into(), &"drain_and_reboot".into(), None),
        "{fallen}"
    );
    let evidence = fallen["evidence"].as_str().unwrap_or_default();
    assert!(evidence.contains("Xid (PCI:0000:65:00): 79"), "{fallen}");
    assert!(
        story
            .out
            .contains("next: move the node's work away, then restart the machine"),
        "{}",
        story.out
    );

    // What the driver itself says is told once, and is over when it says so.
    let mut now = machine();
    now.gpus[0].fault = Some(Fault::ResetRequired);
    now.write(&server.state.join("machine.json")).expect("written");
    let trouble = |cluster: &Cluster| {
        cluster
            .sentinel(&["describe", "node", BOX])
            .out
            .contains("reset required on gpu0:")
    };
    cluster.until("the driver wants a reset", trouble);
    machine().write(&server.state.join("machine.json")).expect("written");
    cluster.until("it was reset", |cluster| !trouble(cluster));

    // A real Prometheus understands what is served.
    let prometheus = Prometheus::start(cluster.folder(), &server.metrics);
    for (query, expected) in [
        (
            "hw_temperature_celsius{hw_id=\"GPU-a\",hw_sensor_location=\"core\"}",
            91.0,
        ),
        ("sentinel_gpu_power_cap_watts{hw_name=\"gpu0\"}", 220.0),
        ("sentinel_gpu_xid_total{xid=\"79\"}", 1.0),
        ("sentinel_gpu_throttle{hw_name=\"gpu0\",reason=\"sw_power_cap\"}", 1.0),
        ("DCGM_FI_DEV_GPU_UTIL{gpu=\"0\"}", 100.0),
        ("sentinel_gpu_probe_hung", 0.0),
        ("up", 1.0),
    ] {
        let found = cluster.until_some(query, |_| prometheus.value(query));
        assert!((found - expected).abs() < 0.001, "{query} is {found}");
    }

    // One look without the service says the same, and ends with the code for `degraded`.
    check(
        &server.scan(),
        8,
        &[
            "with 2 GPUs",
            "NVIDIA L40S GPU-a: 91 °C",
            "xid 79 on pci:0000:65:00",
            "restart the machine",
        ],
    );

    // And a Collector hears the same.
    cluster.until("OTLP has the GPU's temperature", |_| {
        let heard = heard.lock().expect("whole");
        let metrics = heard.metrics.iter().flat_map(|request| &request.resource_metrics);
        let metrics = metrics
            .flat_map(|resource| &resource.scope_metrics)
            .flat_map(|scope| &scope.metrics);
        let mut names = metrics.map(|metric| (metric.name.as_str(), metric.unit.as_str()));
        names.any(|name| name == ("hw.temperature", "Cel"))
    });
    cluster.until("OTLP has the fault with its next step", |_| {
        let heard = heard.lock().expect("whole");
        let mut attributes = heard.logs.iter().flat_map(|record| &record.attributes);
        attributes.any(|one| one.key == "sentinel.fault.next")
    });
    cluster.until("OTLP has the cap as one trace of decision and action", |_| {
        let heard = heard.lock().expect("whole");
        let mut acts = heard.spans.iter().filter(|span| span.name == "act");
        acts.any(|act| {
            let is_root = |span: &&Span| span.trace_id == act.trace_id && span.span_id == act.parent_span_id;
            heard
                .spans
                .iter()
                .find(is_root)
                .is_some_and(|root| root.name == "decision")
        })
    });
}

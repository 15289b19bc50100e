//! `gpu-box`: an agent on a server with eight GPUs, through its own probe and a library that speaks NVML's C ABI.
//!
//! From a line of the kernel's log to work that is stopped: the line comes through a pipe, as `/dev/kmsg` hands out records, and the end is the
//! file at which local schedulers look, written after the decision was durable. The limit is a shell that greps and touches, which remembers
//! and judges nothing. CPU is that of agent and probe together beside prometheus-node-exporter scraped once a second, which reads no GPU. A GPU
//! that hangs is timed from the moment at which the library stops answering about it to the node's row that tells of it.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use ed25519_dalek::SigningKey;
use nvidia_ml_fake::scenario::{self, Fault, Gpu, Machine, Model};
use serde_json::json;

use crate::agent::Exporter;
use crate::lab::{Place, Running};
use crate::machine::{cpu_time, pause};
use crate::report::{Figure, Goal, quantile};

const GPUS: u8 = 8;
/// Fewer kinds of faults than an agent tells apart in a minute.
const LINES: u64 = 30;
const HANGS: u8 = 5;
const WARM: Duration = Duration::from_secs(10);
const MEASURED: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks: well below what is measured.
const LOOK: Duration = Duration::from_micros(200);
const BUNDLE: &str = "bundle: gpu-box
permits:
  - kinds: [cordon, uncordon, drain, reboot, notify]
rules: []
";

/// Runs it.
pub fn run(place: &Place) -> Result<Vec<Figure>, String> {
    let server = Server::start(place)?;
    let exporter = Exporter::start()?;
    pause(WARM);
    let begun = (server.cpu()?, Instant::now());
    let peer_cpu = crate::machine::cpu_percent(exporter.pid(), MEASURED, || exporter.scrape())?;
    let spent = server.cpu()?.saturating_sub(begun.0);
    let ours_cpu = spent.as_secs_f64() / begun.1.elapsed().as_secs_f64() * 100.0;
    let mut hangs = (0..HANGS).map(|gpu| server.hang(gpu)).collect::<Result<Vec<_>, _>>()?;
    let mut stops = (0..LINES)
        .map(|line| server.stop_work(line))
        .collect::<Result<Vec<_>, _>>()?;
    let mut greps = (0..LINES)
        .map(|line| grep(place, line))
        .collect::<Result<Vec<_>, _>>()?;
    let limit = quantile(&mut greps, 0.99);
    Ok(vec![
        Figure::new("agent and probe with 8 GPUs", "% core", ours_cpu, Goal::AtMost(1.0))
            .peer("node_exporter at 1 Hz, no GPU", peer_cpu),
        Figure::new(
            "kernel line to work stopped, p50",
            "ms",
            quantile(&mut stops, 0.5),
            Goal::AtMost(50.0),
        ),
        Figure::new(
            "kernel line to work stopped, p99",
            "ms",
            quantile(&mut stops, 0.99),
            Goal::AtMost(50.0),
        )
        .limit("grep and touch", limit),
        // Its deadline and one interval, a second each.
        Figure::new(
            "hung GPU to the node's row, worst",
            "ms",
            quantile(&mut hangs, 1.0),
            Goal::AtMost(2_000.0),
        ),
    ])
}

fn gpu(number: u8) -> Gpu {
    Gpu {
        model: Model::H100,
        uuid: format!("GPU-{number}"),
        pci_bus: 0x10 + number,
        used_percent: 90,
        recovery_action: Some(0),
        ..Gpu::default()
    }
}

struct Server {
    agent: Running,
    state: PathBuf,
    log: fs::File,
}

impl Server {
    fn start(place: &Place) -> Result<Self, String> {
        let library = place.programs.join("libnvidia_ml_fake.so");
        if !library.is_file() {
            return Err(format!(
                "`{}` is not there: run this through `cargo xtask bench`",
                library.display()
            ));
        }
        let state = place.work.join("gpu-box");
        drop(fs::remove_dir_all(&state));
        let failed = |what: &str| {
            let what = what.to_owned();
            move |cause: std::io::Error| format!("cannot {what}: {cause}")
        };
        fs::create_dir_all(&state).map_err(failed("make the state folder"))?;
        machine(None)
            .write(&state.join("machine.json"))
            .map_err(failed("write the GPUs"))?;
        let log = pipe(&state.join("kmsg"))?;
        let settings = format!(
            "metrics = \"127.0.0.1:0\"\nkernel_log = \"kmsg\"\n{}\n[gpu_probe]\nlibrary = {library:?}\n[faults]\nact = true\n\
             [hooks]\ndrain = [\"true\"]\nreboot = [\"true\"]\n",
            policy(&state)?
        );
        fs::write(state.join("agent.toml"), settings).map_err(failed("write the settings"))?;
        let mut command = Command::new(place.programs.join("sentinel-agent"));
        command
            .args(["run", "--state"])
            .arg(&state)
            .env(scenario::VARIABLE, state.join("machine.json"));
        let agent = Running::start(&mut command, &state.join("log"))?;
        Ok(Self { agent, state, log })
    }

    /// What agent and probe have spent.
    fn cpu(&self) -> Result<Duration, String> {
        let threads = fs::read_dir(format!("/proc/{}/task", self.agent.pid())).map_err(|cause| cause.to_string())?;
        let children = threads
            .flatten()
            .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
        let children: Vec<u32> = children
            .flat_map(|text| {
                text.split_whitespace()
                    .filter_map(|word| word.parse().ok())
                    .collect::<Vec<_>>()
            })
            .collect();
        if children.is_empty() {
            return Err("the agent runs no probe: it does not measure what it should".to_owned());
        }
        children
            .into_iter()
            .try_fold(cpu_time(self.agent.pid())?, |sum, child| Ok(sum + cpu_time(child)?))
    }

    /// Logs a GPU that has fallen off the bus; the milliseconds until new work is stopped.
    fn stop_work(&self, line: u64) -> Result<f64, String> {
        // Another device each time: the same fault of one is told once a minute.
        let record = format!(
            "3,{},{},-;NVRM: Xid (PCI:{:04x}:01:00): 79, GPU has fallen off the bus.",
            line + 1,
            line + 1,
            line + 1
        );
        let cordoned = self.state.join("cordoned");
        let begun = Instant::now();
        writeln!(&self.log, "{record}").map_err(|cause| format!("cannot log: {cause}"))?;
        until("new work is stopped", LOOK, || Ok(cordoned.exists()))?;
        let took = begun.elapsed();
        // A person lets work in again, which forgets what was done.
        let node = name(&self.ask("GET", "/api/v1/nodes", "")?)?;
        let uncordon = json!({ "node": node, "action": "uncordon", "reason": "bench", "wait_seconds": 20 });
        until("work is let in", LOOK * 100, || {
            let said = self.ask("POST", "/api/v1/actions", &uncordon.to_string())?;
            Ok(said.contains("applied") && !cordoned.exists())
        })?;
        Ok(took.as_secs_f64() * 1e3)
    }

    /// Lets a GPU hang; the milliseconds until the node's row tells of it. It is well again afterwards. Another one each time, because the same
    /// fault of one is told once a minute.
    fn hang(&self, gpu: u8) -> Result<f64, String> {
        let write = |hung| {
            machine(hung)
                .write(&self.state.join("machine.json"))
                .map_err(|cause| cause.to_string())
        };
        let told = format!("gpu hung on gpu{gpu}");
        let ill = || Ok(self.ask("GET", "/api/v1/nodes", "")?.contains(&told));
        let begun = Instant::now();
        write(Some(gpu))?;
        until("the GPU that hangs is told", LOOK, ill)?;
        let took = begun.elapsed();
        write(None)?;
        until("it is well again", LOOK * 100, || Ok(!ill()?))?;
        Ok(took.as_secs_f64() * 1e3)
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> Result<String, String> {
        let stream = UnixStream::connect(self.state.join("agent.sock")).map_err(|cause| cause.to_string())?;
        exchange(stream, method, path, body)
    }
}

/// All GPUs, of which one may hang.
fn machine(hung: Option<u8>) -> Machine {
    let mut gpus: Vec<Gpu> = (0..GPUS).map(gpu).collect();
    if let Some(hung) = hung {
        gpus[usize::from(hung)].fault = Some(Fault::Hang);
    }
    Machine {
        gpus,
        ..Machine::default()
    }
}

/// A pipe that stays open, as a kernel's log does; what is written to it is there at once.
fn pipe(path: &Path) -> Result<fs::File, String> {
    let made = rustix::fs::mknodat(
        rustix::fs::CWD,
        path,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    );
    made.map_err(|cause| format!("cannot make a pipe at `{}`: {cause}", path.display()))?;
    let opened = fs::OpenOptions::new().read(true).write(true).open(path);
    opened.map_err(|cause| format!("cannot open `{}`: {cause}", path.display()))
}

/// What people script: the milliseconds from a line to the file.
fn grep(place: &Place, line: u64) -> Result<f64, String> {
    let folder = place.work.join("gpu-box-grep");
    drop(fs::remove_dir_all(&folder));
    fs::create_dir_all(&folder).map_err(|cause| cause.to_string())?;
    let (log, stopped) = (folder.join("kmsg"), folder.join("cordoned"));
    let writer = pipe(&log)?;
    let script = format!(
        "echo ready; grep -m1 'NVRM: Xid' {} && touch {}",
        log.display(),
        stopped.display()
    );
    let _shell = Running::start(Command::new("sh").args(["-c", &script]), &folder.join("log"))?;
    let begun = Instant::now();
    writeln!(&writer, "3,{line},1,-;NVRM: Xid (PCI:0000:01:00): 79").map_err(|cause| cause.to_string())?;
    until("the shell has touched its file", LOOK, || Ok(stopped.exists()))?;
    Ok(begun.elapsed().as_secs_f64() * 1e3)
}

/// Signs the bundle, and returns the settings that make an agent take it.
fn policy(folder: &Path) -> Result<String, String> {
    let key = SigningKey::from_bytes(&[7; 32]);
    let payload = wire::bundle::BundlePayload {
        generation: wire::Generation(1),
        trust_domain: "sentinel".to_owned(),
        issued_at: wire::Wall(0),
        text: BUNDLE.as_bytes().to_vec(),
    };
    let file = folder.join("bundle.signed");
    let signed = wire::SignedBundle::sign(&payload, &key);
    fs::write(&file, wire::codec::encode(&signed)).map_err(|cause| cause.to_string())?;
    let public: String = key
        .verifying_key()
        .as_bytes()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Ok(format!("bundle = {file:?}\npolicy_keys = [\"{public}\"]"))
}

fn name(nodes: &str) -> Result<String, String> {
    let nodes: serde_json::Value = serde_json::from_str(nodes).map_err(|cause| format!("{cause}: {nodes}"))?;
    let name = nodes["items"][0]["name"].as_str();
    name.map(str::to_owned).ok_or_else(|| format!("no node in {nodes}"))
}

/// One request and the body of its answer, over a stream of its own.
pub fn exchange(mut stream: impl Read + Write, method: &str, path: &str, body: &str) -> Result<String, String> {
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.0\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    );
    let mut answer = String::new();
    stream
        .write_all((head + body).as_bytes())
        .and_then(|()| stream.read_to_string(&mut answer))
        .map_err(|cause| format!("{path}: {cause}"))?;
    Ok(answer
        .split_once("\r\n\r\n")
        .map_or(String::new(), |(_, body)| body.to_owned()))
}

fn until(what: &str, look: Duration, mut check: impl FnMut() -> Result<bool, String>) -> Result<(), String> {
    let begun = Instant::now();
    while !check()? {
        if begun.elapsed() > PATIENCE {
            return Err(format!("not within {PATIENCE:?}: {what}"));
        }
        pause(look);
    }
    Ok(())
}

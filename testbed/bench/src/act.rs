//! `act`: from a fault to an action that was carried out and read back, on a real agent that samples once a second.
//!
//! The fault is a GPU that is fully loaded from one moment to the next; the rule has no hold time. The end is the outcome entry in
//! the node's journal, which is written after the power limit was read back. The peer is what people build today: Prometheus that
//! scrapes once a second, evaluates once a second, and calls a webhook; its clock stops when the call arrives, before anything is
//! done about it. The limit is the probe's pipe alone: one set with its read-back.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use testbed_fakes::control::{Order, order};
use wire::probe::{self, Answer, Ask, Request};

use crate::lab::{Lab, Node, Place};
use crate::machine::pause;
use crate::report::{Figure, Goal, quantile};

const ROUNDS: usize = 40;
const PEER_ROUNDS: usize = 20;

/// No hold time: what is measured is the path, not the patience of a rule. The limit is just above the idle load, because the
/// simulated load needs most of a second to rise to its top. More reflexes an hour than usual: each round is one cap and its release.
const BUNDLE: &str = "bundle: bench-act
reflexes_per_hour: 200
permits:
  - kinds: [power_cap, release_power_cap]
rules:
  - id: loaded-gpu
    kind: threshold
    quantity: gpu.used
    above: 30 %
    for: 0s
    clear_below: 25 %
    then: { action: power_cap, to: 200 W }
    undo_on_clear: true
    never_expires: true
";

/// Runs it.
pub fn run(place: &Place) -> Result<Vec<Figure>, String> {
    let bundle = place.work.join("act.yaml");
    std::fs::create_dir_all(&place.work).map_err(|cause| cause.to_string())?;
    std::fs::write(&bundle, BUNDLE).map_err(|cause| cause.to_string())?;
    let lab = Lab::new(place, "act", &bundle)?;
    let node = lab.agent("act-1", lab.address)?;
    until("the agent has the bundle", || {
        Ok(lab
            .items(&["get", "nodes"])?
            .iter()
            .any(|row| row["policy_generation"].as_u64() >= Some(1)))
    })?;
    let mut ours = Vec::new();
    for round in 0..ROUNDS {
        // Off the beat of the sampler, so that every phase of it is met.
        pause(Duration::from_millis(137 * (round as u64 % 7)));
        ours.push(once(&lab, &node)?);
    }
    let limit = pipe(place)?;
    let mut peer = prometheus(place)?;
    let p99 = quantile(&mut ours, 0.99);
    let p50 = quantile(&mut ours, 0.5);
    let (peer99, peer50) = (quantile(&mut peer, 0.99), quantile(&mut peer, 0.5));
    Ok(vec![
        Figure::new("act p50", "ms", p50, Goal::AtMost(1_000.0))
            .peer("Prometheus 1 s to webhook", peer50)
            .limit("probe pipe", limit),
        Figure::new("act p99", "ms", p99, Goal::AtMost(1_500.0))
            .peer("Prometheus 1 s to webhook", peer99)
            .limit("probe pipe", limit),
    ])
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn until(what: &str, mut check: impl FnMut() -> Result<bool, String>) -> Result<(), String> {
    let started = Instant::now();
    while !check()? {
        if started.elapsed() > Duration::from_secs(60) {
            return Err(format!("not within 60 s: {what}"));
        }
        pause(Duration::from_millis(50));
    }
    Ok(())
}

fn tell(node: &Node, verb: &str) -> Result<(), String> {
    let told = order(
        &node.control,
        &Order {
            verb: verb.to_owned(),
            gpu: Some(0),
            sticky: false,
        },
    )
    .map_err(|cause| format!("the simulated GPU does not answer: {cause}"))?;
    if told.ok { Ok(()) } else { Err(told.text) }
}

/// One fault, and the milliseconds until the outcome that followed it was written.
fn once(lab: &Lab, node: &Node) -> Result<f64, String> {
    let fault = now_ms();
    tell(node, "heat")?;
    let mut found = None;
    until("the GPU is capped", || {
        found = outcome_after(lab, "power_cap", fault)?;
        Ok(found.is_some())
    })?;
    let cooled = now_ms();
    tell(node, "cool")?;
    until("the cap is released", || {
        Ok(outcome_after(lab, "release_power_cap", cooled)?.is_some())
    })?;
    Ok((found.unwrap_or(fault) - fault) as f64)
}

/// When the first outcome of this action after a moment was written, by the node's clock (which is this machine's).
fn outcome_after(lab: &Lab, action: &str, after: i64) -> Result<Option<i64>, String> {
    let at = |row: &serde_json::Value| row["at"].as_str().and_then(|at| at.parse::<wire::Wall>().ok());
    for row in lab.items(&["get", "decisions", "--node", "act-1", "--limit", "4"])? {
        let settled = matches!(row["outcome"].as_str(), Some("applied" | "verified" | "not_verified"));
        if at(&row).is_none_or(|at| at.0 < after) || row["action"] != action || !settled {
            continue;
        }
        // One workload, one GPU under load, one action at a time: the outcome after this decision is its own.
        let entries = lab.items(&["get", "entries", "--node", "act-1", "--limit", "2000"])?;
        let outcome = entries
            .iter()
            .rev()
            .find(|entry| entry["kind"] == "outcome" && entry["seq"].as_u64() > row["seq"].as_u64());
        return Ok(outcome.and_then(at).map(|wall| wall.0));
    }
    Ok(None)
}

/// Milliseconds of one set with read-back over the probe's pipe, the middle of many.
fn pipe(place: &Place) -> Result<f64, String> {
    let mut child = Command::new(place.programs.join("sentinel-fake-gpu"))
        .args(["--gpus", "1", "--control"])
        .arg(place.work.join("pipe.sock"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|cause| cause.to_string())?;
    let (mut to, mut from) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
    let mut times = Vec::new();
    for number in 0..200 {
        let started = Instant::now();
        let ask = Ask::SetPowerCap {
            gpu: 0,
            milliwatts: 200_000 + number as u32,
        };
        to.write_all(&probe::encode_message(&Request { number, ask }))
            .map_err(|cause| cause.to_string())?;
        to.flush().map_err(|cause| cause.to_string())?;
        let mut header = [0; 4];
        from.read_exact(&mut header).map_err(|cause| cause.to_string())?;
        let mut body = vec![0; probe::message_length(header).map_err(|cause| cause.to_string())?];
        from.read_exact(&mut body).map_err(|cause| cause.to_string())?;
        wire::codec::decode::<Answer>(&body).map_err(|cause| cause.to_string())?;
        times.push(started.elapsed().as_secs_f64() * 1_000.0);
    }
    drop(to);
    child.wait().map_err(|cause| cause.to_string())?;
    Ok(quantile(&mut times, 0.5))
}

/// A process that is killed with its handle.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Milliseconds from a changed metric to the arriving alert, for each round.
fn prometheus(place: &Place) -> Result<Vec<f64>, String> {
    let folder = place.work.join("prometheus");
    drop(std::fs::remove_dir_all(&folder));
    std::fs::create_dir_all(&folder).map_err(|cause| cause.to_string())?;
    let value = Arc::new(AtomicU64::new(0));
    let (alerts, address) = serve(value.clone())?;
    let port = TcpListener::bind("127.0.0.1:0")
        .and_then(|socket| socket.local_addr())
        .map_err(|cause| cause.to_string())?
        .port();
    let config = format!(
        "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\nrule_files: [rules.yml]\n\
         alerting: {{ alertmanagers: [ {{ static_configs: [ {{ targets: ['{address}'] }} ] }} ] }}\n\
         scrape_configs: [ {{ job_name: gpu, static_configs: [ {{ targets: ['{address}'] }} ] }} ]\n"
    );
    let rules = "groups:\n- name: gpu\n  rules:\n  - alert: Loaded\n    expr: gpu_used > 90\n";
    for (name, text) in [("prometheus.yml", config.as_str()), ("rules.yml", rules)] {
        std::fs::write(folder.join(name), text).map_err(|cause| cause.to_string())?;
    }
    let child = Command::new("prometheus")
        .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|cause| format!("cannot start prometheus (cargo xtask setup installs it): {cause}"))?;
    let _running = Killed(child);
    let mut times = Vec::new();
    for round in 0..PEER_ROUNDS {
        // Long enough for the alert to resolve, and off the beat.
        pause(Duration::from_millis(3_000 + 137 * (round as u64 % 7)));
        while alerts.try_recv().is_ok() {}
        let started = Instant::now();
        value.store(100, Ordering::SeqCst);
        // A resolved alert is sent for a while too; only a firing one counts.
        loop {
            let firing = alerts
                .recv_timeout(Duration::from_secs(30))
                .map_err(|_| "Prometheus sent no alert within 30 s".to_owned())?;
            if firing {
                break;
            }
        }
        times.push(started.elapsed().as_secs_f64() * 1_000.0);
        value.store(0, Ordering::SeqCst);
    }
    Ok(times)
}

/// Serves the metric and takes alerts; each alert says whether it fires.
fn serve(value: Arc<AtomicU64>) -> Result<(Receiver<bool>, String), String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|cause| cause.to_string())?;
    let address = listener.local_addr().map_err(|cause| cause.to_string())?.to_string();
    // More alerts than Prometheus repeats in one round.
    let (sender, receiver) = sync_channel(1024);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (value, sender) = (value.clone(), sender.clone());
            std::thread::spawn(move || drop(converse(stream, &value, &sender)));
        }
    });
    Ok((receiver, address))
}

fn converse(
    mut stream: TcpStream,
    value: &AtomicU64,
    alerts: &std::sync::mpsc::SyncSender<bool>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let (mut length, mut first, mut line) = (0, String::new(), String::new());
        if reader.read_line(&mut first)? == 0 {
            return Ok(());
        }
        loop {
            line.clear();
            reader.read_line(&mut line)?;
            if line.trim().is_empty() {
                break;
            }
            if let Some(number) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = number.trim().parse().unwrap_or(0);
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let answer = if first.starts_with("GET") {
            format!("gpu_used {}\n", value.load(Ordering::SeqCst))
        } else {
            let sent: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
            let now = wire::Wall(now_ms());
            for alert in sent.as_array().into_iter().flatten() {
                let ends = alert["endsAt"]
                    .as_str()
                    .and_then(|text| text.parse::<wire::Wall>().ok());
                // A full queue only means that this round is decided already.
                let _ = alerts.try_send(ends.is_none_or(|ends| ends > now));
            }
            String::new()
        };
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{answer}",
            answer.len()
        )?;
    }
}

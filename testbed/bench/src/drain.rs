//! `drain`: the memory of an agent that comes back after a week alone and brings its hub all that it decided.
//!
//! The week is one decision a minute with its outcome, made by people at the node's own socket while its path is cut, because only time makes a
//! week of telemetry; that of the minutes which it takes comes on top. Peak memory is sampled until the hub has stored everything; it stands
//! beside what the same agent used before the cut.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::gpu_box::exchange;
use crate::lab::{Lab, Place};
use crate::machine::{pause, resident_bytes};
use crate::report::{Figure, Goal};
use crate::tap::Tap;

const NODE: &str = "drain-1";
/// One a minute for a week.
const DECISIONS: u64 = 7 * 24 * 60;
/// People at once: the journal commits what they ask for together.
const PEOPLE: u64 = 8;
const WARM: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(300);
/// Between two looks at the memory: shorter than a batch takes.
const LOOK: Duration = Duration::from_millis(10);
/// Looks at the memory for each question how far it is: the question is work for the agent, too.
const LOOKS: u32 = 50;

/// Runs it.
pub fn run(place: &Place) -> Result<Vec<Figure>, String> {
    std::fs::create_dir_all(&place.work).map_err(|cause| cause.to_string())?;
    let bundle = place.work.join("drain.yaml");
    std::fs::write(&bundle, "bundle: drain\npermits: [{ kinds: [notify] }]\n").map_err(|cause| cause.to_string())?;
    let lab = Lab::new(place, "drain", &bundle)?;
    let tap = Tap::new(lab.address).map_err(|cause| cause.to_string())?;
    let node = lab.plain_agent(NODE, tap.address(), "silence = \"3s\"\n---\n")?;
    let socket = lab.folder().join(NODE).join("agent.sock");
    until(&socket, "it is connected and has its policy", |row| {
        row["state"] == "connected" && row["policy_generation"].as_u64() >= Some(1)
    })?;
    pause(WARM);
    let pid = node.running.pid();
    let before = resident_bytes(pid)?;
    tap.cut(true);
    until(&socket, "it works alone", |row| row["state"] != "connected")?;
    decide(&socket)?;
    let backlog = row(&socket)?["backlog_entries"].as_u64().unwrap_or(0);
    if backlog < 2 * DECISIONS {
        return Err(format!(
            "{backlog} entries wait for the hub, and {} were to be made",
            2 * DECISIONS
        ));
    }
    tap.cut(false);
    let (mut peak, begun) = (resident_bytes(pid)?, Instant::now());
    let mut first = None;
    loop {
        for _ in 0..LOOKS {
            peak = peak.max(resident_bytes(pid)?);
            pause(LOOK);
        }
        let left = row(&socket)?["backlog_entries"].as_u64().unwrap_or(u64::MAX);
        if left < backlog {
            first.get_or_insert((Instant::now(), left));
        }
        if left <= 2 {
            break;
        }
        if begun.elapsed() > PATIENCE {
            return Err(format!("{left} of {backlog} entries are not stored after {PATIENCE:?}"));
        }
    }
    let took = first.map_or(begun, |(at, _)| at).elapsed().as_secs_f64();
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    let drained = first.map_or(backlog, |(_, left)| left) as f64;
    Ok(vec![
        Figure::new(
            "agent rss while draining a week",
            "MB",
            megabytes(peak),
            Goal::AtMost(16.0),
        )
        .limit("the same agent before", megabytes(before)),
        Figure::new("entries drained", "entries/s", drained / took.max(0.001), Goal::Known),
    ])
}

/// Has people decide at the node's socket.
fn decide(socket: &Path) -> Result<(), String> {
    let next = AtomicU64::new(0);
    let person = || -> Result<(), String> {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= DECISIONS {
                return Ok(());
            }
            let params = json!({ "message": format!("minute {number} of the week") });
            let body =
                json!({ "node": NODE, "action": "notify", "params": params, "reason": "bench", "wait_seconds": 20 });
            let said = ask(socket, "POST", "/api/v1/actions", &body.to_string())?;
            if !said.contains("\"applied\"") {
                return Err(format!("decision {number}: {said}"));
            }
        }
    };
    std::thread::scope(|scope| {
        let people: Vec<_> = (0..PEOPLE).map(|_| scope.spawn(person)).collect();
        people
            .into_iter()
            .try_for_each(|one| one.join().unwrap_or_else(|_| Err("a thread panicked".to_owned())))
    })
}

fn ask(socket: &Path, method: &str, path: &str, body: &str) -> Result<String, String> {
    let stream = UnixStream::connect(socket).map_err(|cause| cause.to_string())?;
    exchange(stream, method, path, body)
}

/// The node's row, as it tells it itself.
fn row(socket: &Path) -> Result<Value, String> {
    let text = ask(socket, "GET", "/api/v1/nodes", "")?;
    let list: Value = serde_json::from_str(&text).map_err(|cause| format!("{cause}: {text}"))?;
    Ok(list["items"][0].clone())
}

fn until(socket: &Path, what: &str, is_so: impl Fn(&Value) -> bool) -> Result<(), String> {
    let begun = Instant::now();
    while !is_so(&row(socket)?) {
        if begun.elapsed() > PATIENCE {
            return Err(format!("not within {PATIENCE:?}: {what}"));
        }
        pause(Duration::from_millis(100));
    }
    Ok(())
}

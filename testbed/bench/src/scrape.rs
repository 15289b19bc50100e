//! `scrape`: how soon an agent is up, and what it costs to ask it for `/metrics`, beside prometheus-node-exporter on the same machine.
//!
//! Up is when a scrape is answered that has a sample of this machine, for both; the agent has opened its journal by then. What is scraped is
//! everything that each tells of this machine.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::agent::Exporter;
use crate::lab::{Place, Running};
use crate::machine::pause;
use crate::report::{Figure, Goal};

const STARTS: usize = 20;
const SCRAPES: usize = 500;
/// Both have taken their first readings by then.
const WARM: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs it.
pub fn run(place: &Place) -> Result<Vec<Figure>, String> {
    let folder = place.work.join("scrape");
    drop(fs::remove_dir_all(&folder));
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for index in 0..STARTS {
        let begun = Instant::now();
        let (agent, address) = agent(place, &folder.join(index.to_string()))?;
        sampled(address)?;
        ours.push(begun.elapsed());
        drop(agent);
        let begun = Instant::now();
        let exporter = Exporter::start()?;
        sampled(exporter.address())?;
        theirs.push(begun.elapsed());
    }
    let (agent, address) = agent(place, &folder.join("scraped"))?;
    let exporter = Exporter::start()?;
    answers(exporter.address())?;
    pause(WARM);
    let series = scrape(address)?.lines().filter(|line| !line.starts_with('#')).count();
    let (mut asked, mut peer) = (Vec::new(), Vec::new());
    // By turns, so that what else the machine does meets both.
    for _ in 0..SCRAPES {
        asked.push(timed(address)?);
        peer.push(timed(exporter.address())?);
    }
    drop(agent);
    let millis = |mut spans: Vec<Duration>, share: f64| {
        spans.sort();
        let place = ((spans.len() - 1) as f64 * share) as usize;
        spans[place].as_secs_f64() * 1e3
    };
    Ok(vec![
        Figure::new(
            "agent start to first sample, p50",
            "ms",
            millis(ours, 0.5),
            Goal::AtMost(20.0),
        )
        .peer("node_exporter", millis(theirs, 0.5)),
        Figure::new(
            &format!("scrape of {series} series, p99"),
            "ms",
            millis(asked, 0.99),
            Goal::AtMost(5.0),
        )
        .peer("node_exporter", millis(peer, 0.99)),
    ])
}

/// An agent that has joined no hub, in a folder of its own, and where it serves its metrics.
fn agent(place: &Place, state: &Path) -> Result<(Running, SocketAddr), String> {
    fs::create_dir_all(state).map_err(|cause| format!("cannot make `{}`: {cause}", state.display()))?;
    let settings = "metrics = \"127.0.0.1:0\"\nkernel_log = \"kernel.log\"\n[gpu_probe]\nenabled = false\n";
    fs::write(state.join("agent.toml"), settings).map_err(|cause| format!("cannot write its settings: {cause}"))?;
    let mut command = Command::new(place.programs.join("sentinel-agent"));
    command.args(["run", "--state"]).arg(state);
    let running = Running::start(&mut command, &state.join("log"))?;
    let address = running.ready.split("metrics http://").nth(1);
    let address = address.and_then(|rest| rest.split('/').next()?.parse().ok());
    let address = address.ok_or_else(|| format!("no metrics in `{}`", running.ready))?;
    Ok((running, address))
}

/// Asks until it answers.
fn answers(address: SocketAddr) -> Result<(), String> {
    let deadline = Instant::now() + PATIENCE;
    while let Err(reason) = scrape(address) {
        if Instant::now() >= deadline {
            return Err(reason);
        }
    }
    Ok(())
}

/// Asks until there is a sample of the machine's memory, by the name that either of them gives it.
fn sampled(address: SocketAddr) -> Result<(), String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = scrape(address);
        let has = |text: &String| {
            text.contains("\nsystem_memory_limit_bytes") || text.contains("\nnode_memory_MemTotal_bytes")
        };
        match found {
            Ok(text) if has(&text) => return Ok(()),
            Ok(_) | Err(_) if Instant::now() < deadline => {}
            Ok(_) => return Err(format!("{address} tells nothing of this machine")),
            Err(reason) => return Err(reason),
        }
    }
}

fn timed(address: SocketAddr) -> Result<Duration, String> {
    let begun = Instant::now();
    scrape(address).map(|_| begun.elapsed())
}

fn scrape(address: SocketAddr) -> Result<String, String> {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(address)?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().map_err(|cause| format!("{address}: {cause}"))
}

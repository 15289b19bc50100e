//! `cargo xtask soak [HOURS]`: whether hub and agents grow, as megabytes an hour over a run of the demo.
//!
//! Not part of `test`: two hours are needed to tell a leak of a megabyte an hour from what a process needs to come to rest. All
//! the while the demo works: each minute another node has a hot GPU for half of it, and each fifth minute one is cut off for as long.
//!
//! The slope is the least-squares line through the resident memory of each process, without the first fifth of the run. What was
//! measured lies in `target/soak.json`, sample by sample.

use std::collections::BTreeMap;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::demo::{Asked, Demo, rounded};
use crate::shell::root;

const HOURS: f64 = 2.0;
const NODES: u32 = 6;
/// Between two samples.
const SAMPLE_EVERY: Duration = Duration::from_secs(5);
/// The share of the run in which caches fill and pools grow.
const WARMING: f64 = 0.2;
/// What a process may grow by, in megabytes an hour.
const LIMIT_MB_H: f64 = 1.0;
/// A run that is shorter shows what happens, and proves nothing.
const TELLS_AFTER_H: f64 = 1.0;
const MB: f64 = 1_048_576.0;

/// Resident memory of one process: (hours since the start, megabytes).
type Samples = Vec<(f64, f64)>;

/// Runs it and says whether anything grows too fast.
pub fn run(arguments: &[String]) -> Result<(), String> {
    let asked = Asked::read(arguments, HOURS, NODES)?;
    let demo = Demo::start("soak", &asked)?;
    let watched = watch(&demo, &asked)?;
    drop(demo);
    let report = report(&watched, asked.span, asked.nodes);
    let path = root().join("target/soak.json");
    std::fs::write(&path, format!("{report:#}\n"))
        .map_err(|cause| format!("cannot write {}: {cause}", path.display()))?;
    match asked.json {
        true => println!("{report:#}"),
        false => print(&report, &path),
    }
    let grows: Vec<&str> = processes(&report)
        .filter(|process| process["held"] == false)
        .filter_map(|process| process["name"].as_str())
        .collect();
    match grows.is_empty() {
        true => Ok(()),
        false => Err(format!("more than {LIMIT_MB_H} MB/h: {}", grows.join(", "))),
    }
}

/// Samples until the time is over, and keeps the nodes busy.
fn watch(demo: &Demo, asked: &Asked) -> Result<BTreeMap<String, Samples>, String> {
    let begun = Instant::now();
    let until = Duration::from_secs_f64(asked.span * 3600.0);
    let mut watched: BTreeMap<String, Samples> = BTreeMap::new();
    let mut told = 0;
    while begun.elapsed() < until {
        let hours = begun.elapsed().as_secs_f64() / 3600.0;
        for (name, mb) in resident(demo.folder()) {
            watched.entry(name).or_default().push((hours, mb));
        }
        let half_minute = begun.elapsed().as_secs() / 30;
        if half_minute >= told {
            told = half_minute + 1;
            // A node that is cut or restarting does not take an order; the next one comes in half a minute.
            for (verb, whom) in work(half_minute, asked.nodes) {
                if let Err(reason) = demo.do_to(verb, &whom) {
                    eprintln!("soak: {verb} {whom}: {reason}");
                }
            }
        }
        sleep(SAMPLE_EVERY.min(until.saturating_sub(begun.elapsed())));
    }
    match watched.is_empty() {
        true => Err("no process of the demo was found".to_owned()),
        false => Ok(watched),
    }
}

/// What is done to whom in a half minute.
fn work(half_minute: u64, nodes: u32) -> Vec<(&'static str, String)> {
    let minute = half_minute / 2;
    let node = |number: u64| format!("edge-{:02}", number % u64::from(nodes) + 1);
    let is_first = half_minute.is_multiple_of(2);
    let mut work = vec![(if is_first { "heat" } else { "cool" }, format!("{}/gpu0", node(minute)))];
    if minute % 5 == 4 {
        work.push((if is_first { "cut" } else { "heal" }, node(minute / 5)));
    }
    work
}

/// Resident memory of the hub and the agents whose state folder lies in this one, in megabytes, by folder.
fn resident(folder: &Path) -> BTreeMap<String, f64> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    let measured = processes.filter_map(|process| {
        let place = process.path();
        let name = name_of(&std::fs::read(place.join("cmdline")).ok()?, folder)?;
        Some((name, resident_mb(&std::fs::read_to_string(place.join("status")).ok()?)?))
    });
    measured.collect()
}

/// `hub` or a node's name, of a hub or an agent that runs on a folder in this one.
fn name_of(command_line: &[u8], folder: &Path) -> Option<String> {
    let words: Vec<_> = command_line
        .split(|byte| *byte == 0)
        .map(String::from_utf8_lossy)
        .collect();
    let program = Path::new(words.first()?.as_ref()).file_name()?.to_str()?;
    if !["sentinel-hub", "sentinel-agent"].contains(&program) {
        return None;
    }
    let state = words
        .iter()
        .map(|word| Path::new(word.as_ref()))
        .find_map(|word| word.strip_prefix(folder).ok())?;
    Some(state.iter().next()?.to_string_lossy().into_owned())
}

/// Source: proc_pid_status(5): `VmRSS:     1234 kB`.
fn resident_mb(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024.0 / MB)
}

fn report(watched: &BTreeMap<String, Samples>, hours: f64, nodes: u32) -> Value {
    let tells = hours * (1.0 - WARMING) >= TELLS_AFTER_H;
    let processes: Vec<Value> = watched
        .iter()
        .map(|(name, samples)| {
            let from = hours * WARMING;
            let settled: Samples = samples.iter().copied().filter(|(at, _)| *at >= from).collect();
            let slope = slope(&settled);
            let most = samples.iter().map(|(_, mb)| *mb).fold(0.0, f64::max);
            json!({
                "name": name,
                "first_mb": samples.first().map(|(_, mb)| rounded(*mb, 1)),
                "last_mb": samples.last().map(|(_, mb)| rounded(*mb, 1)),
                "most_mb": rounded(most, 1),
                "mb_per_hour": slope.map(|slope| rounded(slope, 2)),
                "held": slope.filter(|_| tells).map(|slope| slope <= LIMIT_MB_H),
                "samples": samples.iter().map(|(at, mb)| json!([rounded(at * 3600.0, 0), rounded(*mb, 2)])).collect::<Vec<_>>(),
            })
        })
        .collect();
    json!({
        "hours": hours,
        "nodes": nodes,
        "limit_mb_per_hour": LIMIT_MB_H,
        "processes": processes,
    })
}

fn processes(report: &Value) -> impl Iterator<Item = &Value> {
    report["processes"].as_array().into_iter().flatten()
}

fn print(report: &Value, path: &Path) {
    println!(
        "{:<10} {:>9} {:>9} {:>9} {:>10}",
        "process", "first MB", "last MB", "most MB", "MB/h"
    );
    for process in processes(report) {
        let number = |name: &str| {
            process[name]
                .as_f64()
                .map_or("-".to_owned(), |value| format!("{value:.2}"))
        };
        let held = match process["held"].as_bool() {
            Some(true) => "",
            Some(false) => "  above the limit",
            None => "  the run is too short to tell",
        };
        println!(
            "{:<10} {:>9} {:>9} {:>9} {:>10}{held}",
            process["name"].as_str().unwrap_or_default(),
            number("first_mb"),
            number("last_mb"),
            number("most_mb"),
            number("mb_per_hour"),
        );
    }
    println!("limit {LIMIT_MB_H} MB/h; every sample: {}", path.display());
}

/// Of the least-squares line; `None` for less than two different times.
fn slope(samples: &[(f64, f64)]) -> Option<f64> {
    let count = samples.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| samples.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|sample| sample.0), mean(|sample| sample.1));
    let square: f64 = samples.iter().map(|sample| (sample.0 - x).powi(2)).sum();
    let product: f64 = samples.iter().map(|sample| (sample.0 - x) * (sample.1 - y)).sum();
    (square > 0.0).then(|| product / square)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slope_is_that_of_the_line_and_noise_does_not_move_it() {
        assert_eq!(slope(&[]), None);
        assert_eq!(slope(&[(1.0, 5.0)]), None);
        let line: Samples = (0..100)
            .map(|at| (f64::from(at) / 100.0, 20.0 + 7.7 * f64::from(at) / 100.0))
            .collect();
        assert!((slope(&line).expect("many times") - 7.7).abs() < 1e-9);
        let flat: Samples = (0..100)
            .map(|at| (f64::from(at) / 100.0, 20.0 + f64::from(at % 2)))
            .collect();
        assert!(slope(&flat).expect("many times").abs() < 0.1);
    }

    #[test]
    fn what_a_process_needs_to_come_to_rest_is_not_growth() {
        let samples: Samples = (0..200)
            .map(|at| f64::from(at) / 100.0)
            .map(|at| (at, if at < 0.2 { 10.0 + 100.0 * at } else { 30.0 }))
            .collect();
        let long = report(&BTreeMap::from([("hub".to_owned(), samples.clone())]), 2.0, 6);
        assert_eq!(long["processes"][0]["held"], true, "{long}");
        assert_eq!(long["processes"][0]["mb_per_hour"], 0.0);
        let growing = samples.iter().map(|(at, mb)| (*at, mb + 1.2 * at)).collect();
        let long = report(&BTreeMap::from([("hub".to_owned(), growing)]), 2.0, 6);
        assert_eq!(long["processes"][0]["held"], false, "{long}");
        let short = report(&BTreeMap::from([("hub".to_owned(), samples)]), 0.1, 6);
        assert!(short["processes"][0]["held"].is_null(), "{short}");
    }

    #[test]
    fn only_hub_and_agents_of_this_demo_are_measured() {
        let folder = Path::new("/tmp/soak");
        let of = |line: &str| name_of(line.replace(' ', "\0").as_bytes(), folder);
        assert_eq!(
            of("/t/sentinel-hub run --state /tmp/soak/hub --listen x").as_deref(),
            Some("hub")
        );
        assert_eq!(
            of("/t/sentinel-agent run --config /tmp/soak/edge-01/agent.toml").as_deref(),
            Some("edge-01")
        );
        assert_eq!(of("/t/sentinel-agent run --state /tmp/other/edge-01"), None);
        assert_eq!(of("/t/sentinel-fake-gpu /tmp/soak/edge-01"), None);
        assert_eq!(of(""), None);
        assert_eq!(resident_mb("Name:\tx\nVmRSS:\t    2048 kB\n"), Some(2.0));
        assert_eq!(resident_mb("Name:\tkthreadd\n"), None);
    }

    #[test]
    fn every_node_has_its_turn_and_what_is_heated_or_cut_is_let_go() {
        let mut open: Vec<String> = Vec::new();
        let mut seen = std::collections::BTreeSet::new();
        for half_minute in 0..120 {
            for (verb, whom) in work(half_minute, 6) {
                match verb {
                    "heat" | "cut" => open.push(whom.clone()),
                    _ => open.retain(|other| *other != whom),
                }
                seen.insert(whom);
            }
            assert!(half_minute.is_multiple_of(2) || open.is_empty(), "{open:?}");
        }
        assert_eq!(seen.len(), 12, "six GPUs, six nodes");
    }
}

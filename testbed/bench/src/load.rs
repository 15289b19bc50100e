//! `sentinel-bench load`: what a hub does under as much as it can take, and how long each of its users waits meanwhile.
//!
//! A load is not a benchmark: it has no goal and no peer. It says how much was asked, how long the answers took, what failed, and what it
//! cost the hub; `agents` sends entries as nodes do, `api` asks what the console and scripts ask, `webhooks` delivers what a forge does. All at
//! once show whether people wait for nodes.

mod agents;
mod api;
mod web;
mod webhooks;

use std::time::Duration;

use serde::Serialize;

use crate::lab::{Lab, Place};
use crate::machine::{cpu_time, resident_bytes};
use crate::report::quantile;

/// What may be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Bare agents, each with a session of its own; 0 is none.
    pub agents: usize,
    /// Entries of each agent a second.
    pub rate: u32,
    /// Connections of people and scripts, each of which asks again as soon as it is answered; 0 is none.
    pub clients: usize,
    /// Deliveries of a forge a second; 0 is none.
    pub deliveries: u32,
    /// For how long.
    pub span: Duration,
    /// One JSON object a line instead of a table.
    pub json: bool,
}

impl Options {
    /// Reads `[agents] [api] [webhooks] [--agents N] [--rate N] [--clients N] [--deliveries N] [--seconds N] [--json]`.
    pub fn read(words: &[String]) -> Result<Self, String> {
        let mut options = Self {
            agents: 200,
            rate: 10,
            clients: 8,
            deliveries: 100,
            span: Duration::from_secs(30),
            json: false,
        };
        let (mut of_agents, mut of_api, mut of_webhooks) = (false, false, false);
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut number = || {
                let value = words
                    .next()
                    .ok_or_else(|| format!("`{word}` wants a number after it"))?;
                let number: u32 = value
                    .parse()
                    .map_err(|_| format!("`{word} {value}`: that is no number"))?;
                match number {
                    1..=100_000 => Ok(number),
                    _ => Err(format!("`{word} {value}`: it must be from 1 to 100000")),
                }
            };
            match word.as_str() {
                "agents" => of_agents = true,
                "api" => of_api = true,
                "webhooks" => of_webhooks = true,
                "--agents" => options.agents = number()? as usize,
                "--rate" => options.rate = number()?,
                "--clients" => options.clients = number()? as usize,
                "--deliveries" => options.deliveries = number()?,
                "--seconds" => options.span = Duration::from_secs(number()?.into()),
                "--json" => options.json = true,
                other => {
                    return Err(format!(
                        "`{other}` is no load: there are agents, api and webhooks, with --agents N, --rate N, --clients N, --deliveries N, --seconds N, --json"
                    ));
                }
            }
        }
        // None is named: all.
        if of_agents || of_api || of_webhooks {
            options.agents *= usize::from(of_agents);
            options.clients *= usize::from(of_api);
            options.deliveries *= u32::from(of_webhooks);
        }
        Ok(options)
    }
}

/// What came of one kind of request.
#[derive(Debug, Default)]
pub struct Told {
    /// How long each took, in milliseconds.
    pub took_ms: Vec<f64>,
    /// What failed, and how often.
    pub failed: Vec<String>,
}

/// One line of the report.
#[derive(Debug, Serialize)]
struct Line {
    load: String,
    done: usize,
    failed: usize,
    per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    most_ms: f64,
}

impl Line {
    fn new(load: &str, told: &mut Told, span: Duration) -> Self {
        Self {
            load: load.to_owned(),
            done: told.took_ms.len(),
            failed: told.failed.len(),
            per_second: told.took_ms.len() as f64 / span.as_secs_f64(),
            p50_ms: quantile(&mut told.took_ms, 0.5),
            p99_ms: quantile(&mut told.took_ms, 0.99),
            most_ms: quantile(&mut told.took_ms, 1.0),
        }
    }
}

/// Runs it against a hub of its own; fails when anything that was asked failed.
pub async fn run(place: &Place, options: &Options) -> Result<(), String> {
    let bundle = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policy/bundles/demo.yaml");
    // What one identity may ask a second is a setting: here the hub's own limit is looked for.
    let forges = crate::intake::forges(place, "load")?.display().to_string();
    let lab = Lab::with(
        place,
        "load",
        &bundle,
        &["--requests-per-second", "0", "--forges", &forges],
    )?;
    let fleet = agents::Fleet::enrol(&lab, options.agents).await?;
    let before = cpu_time(lab.hub.pid())?;
    let (sent, asked, delivered) = tokio::join!(
        fleet.send(&lab, options),
        api::ask(&lab, options),
        webhooks::send(&lab, options)
    );
    let (mut sent, asked, mut delivered) = (sent?, asked?, delivered?);
    let used = cpu_time(lab.hub.pid())?.saturating_sub(before);

    let mut lines = Vec::new();
    if options.agents > 0 {
        lines.push(Line::new("entries of agents", &mut sent, options.span));
    }
    if options.deliveries > 0 {
        lines.push(Line::new("deliveries of a forge", &mut delivered, options.span));
    }
    let mut failed = sent.failed;
    failed.append(&mut delivered.failed);
    for (path, mut told) in asked {
        lines.push(Line::new(path, &mut told, options.span));
        failed.append(&mut told.failed);
    }
    let hub = HubCost {
        cpu_percent: used.as_secs_f64() / options.span.as_secs_f64() * 100.0,
        resident_megabytes: resident_bytes(lab.hub.pid())? as f64 / 1e6,
    };
    print(&lines, &hub, options);
    match failed.first() {
        None => Ok(()),
        Some(first) => Err(format!("{} failed, the first with: {first}", failed.len())),
    }
}

/// What it cost the hub.
#[derive(Debug, Serialize)]
struct HubCost {
    cpu_percent: f64,
    resident_megabytes: f64,
}

fn print(lines: &[Line], hub: &HubCost, options: &Options) {
    if options.json {
        for line in lines {
            println!("{}", serde_json::to_string(line).expect("a line is plain data"));
        }
        println!("{}", serde_json::json!({ "hub": hub }));
        return;
    }
    println!(
        "{:<28} {:>9} {:>7} {:>10} {:>9} {:>9} {:>9}",
        "load", "done", "failed", "a second", "p50 ms", "p99 ms", "most ms"
    );
    for line in lines {
        println!(
            "{:<28} {:>9} {:>7} {:>10.1} {:>9.2} {:>9.2} {:>9.2}",
            line.load, line.done, line.failed, line.per_second, line.p50_ms, line.p99_ms, line.most_ms
        );
    }
    println!(
        "the hub: {:.0} % of a core, {:.1} MB resident; {} agents, {} clients, {} s",
        hub.cpu_percent,
        hub.resident_megabytes,
        options.agents,
        options.clients,
        options.span.as_secs()
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Options, String> {
        Options::read(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn one_load_that_is_named_runs_alone() {
        let all = read("").expect("nothing is all");
        assert!(all.agents > 0 && all.clients > 0 && all.deliveries > 0);
        let agents = read("agents --agents 5 --rate 2 --seconds 3").expect("valid");
        assert_eq!(
            (agents.agents, agents.rate, agents.clients, agents.deliveries),
            (5, 2, 0, 0)
        );
        assert_eq!(agents.span, Duration::from_secs(3));
        let api = read("api --json").expect("valid");
        assert!(api.agents == 0 && api.deliveries == 0 && api.json);
        let two = read("api webhooks --deliveries 7").expect("valid");
        assert_eq!((two.agents, two.deliveries), (0, 7));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (line, named) in [
            ("sessions", "`sessions` is no load"),
            ("--agents", "`--agents` wants a number"),
            ("--agents many", "`--agents many`: that is no number"),
            ("--seconds 0", "from 1 to 100000"),
        ] {
            assert!(read(line).is_err_and(|why| why.contains(named)), "{line}");
        }
    }
}

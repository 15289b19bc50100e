//! `sentinel-sim`: runs seeds and prints what happened.
//!
//! `sentinel-sim --seeds 0..200 --agents 8 --minutes 10 [--verbose] [--planted NAME] [--watch NODE] [--fleet] [--neighbours] [--flood]`
//!
//! Exits 1 if a seed fails, or if over 100 seeds or more a class of fault never happened or a kind of rule never spoke.

use std::process::ExitCode;
use std::time::Instant;

use testbed_sim::{CI_SEEDS, CI_WORLD, Fault, MeshCounts, Planted, Swarm, Tally, run, watch};

struct Arguments {
    from: u64,
    to: u64,
    agents: usize,
    minutes: u64,
    verbose: bool,
    fleet: bool,
    neighbours: bool,
    flood: bool,
    watched: Option<usize>,
    planted: Option<(&'static str, Planted)>,
}

const USAGE: &str = "usage: sentinel-sim [--seeds A..B] [--agents N] [--minutes N] [--fleet] [--neighbours] [--flood] [--verbose] [--planted NAME] [--watch NODE]";

fn arguments() -> Result<Arguments, String> {
    let mut parsed = Arguments {
        from: 0,
        to: CI_SEEDS,
        agents: CI_WORLD.0,
        minutes: CI_WORLD.1,
        verbose: false,
        fleet: false,
        neighbours: false,
        flood: false,
        watched: None,
        planted: None,
    };
    let mut rest = std::env::args().skip(1);
    while let Some(name) = rest.next() {
        let mut value = || rest.next().ok_or(format!("{name} needs a value"));
        let number = |text: String| text.parse::<u64>().map_err(|e| format!("`{text}`: {e}"));
        match name.as_str() {
            "--seeds" => {
                let text = value()?;
                let (from, to) = text.split_once("..").ok_or("--seeds is A..B")?;
                parsed.from = number(from.to_owned())?;
                parsed.to = number(to.to_owned())?;
            }
            "--agents" => parsed.agents = usize::try_from(number(value()?)?).unwrap_or(1).max(1),
            "--minutes" => parsed.minutes = number(value()?)?,
            "--watch" => parsed.watched = usize::try_from(number(value()?)?).ok(),
            "--verbose" => parsed.verbose = true,
            "--fleet" => parsed.fleet = true,
            "--neighbours" => parsed.neighbours = true,
            "--flood" => parsed.flood = true,
            "--planted" => {
                let text = value()?;
                let known = Planted::ALL.into_iter().find(|(name, _)| *name == text);
                let names: Vec<_> = Planted::ALL.iter().map(|(name, _)| *name).collect();
                parsed.planted = Some(known.ok_or(format!("no planted bug `{text}`; there are {}", names.join(", ")))?);
            }
            other => return Err(format!("unknown argument `{other}`")),
        }
    }
    Ok(parsed)
}

fn main() -> ExitCode {
    let arguments = match arguments() {
        Ok(arguments) => arguments,
        Err(wrong) => {
            eprintln!("{wrong}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    if arguments.watched.is_some() {
        return observe(&arguments);
    }
    match arguments.planted {
        Some((name, planted)) => hunt(&arguments, name, planted),
        None => survey(&arguments),
    }
}

fn swarm(arguments: &Arguments, seed: u64) -> Swarm {
    let swarm = match arguments.fleet {
        true => Swarm::fleet(arguments.agents, arguments.minutes),
        false => Swarm::of_seed(seed, arguments.agents, arguments.minutes),
    };
    let swarm = match arguments.neighbours {
        true => swarm.with_neighbours(),
        false => swarm,
    };
    match arguments.flood {
        true => swarm.with_flood(),
        false => swarm,
    }
}

/// Runs one seed and tells what happens to one node.
fn observe(arguments: &Arguments) -> ExitCode {
    let planted = arguments.planted.map_or(Planted::Nothing, |(_, bug)| bug);
    let swarm = swarm(arguments, arguments.from);
    println!("{swarm:?}");
    match watch(arguments.from, swarm, planted, arguments.watched) {
        Ok(_) => ExitCode::SUCCESS,
        Err(wrong) => {
            println!("seed {}: {wrong}", arguments.from);
            ExitCode::FAILURE
        }
    }
}

/// Looks for a planted bug; finding it is the success.
fn hunt(arguments: &Arguments, name: &str, planted: Planted) -> ExitCode {
    let mut found = 0;
    for seed in arguments.from..arguments.to {
        if let Err(wrong) = run(seed, swarm(arguments, seed), planted) {
            found += 1;
            if arguments.verbose || found == 1 {
                println!("seed {seed}: {wrong}");
            }
        }
    }
    let seeds = arguments.to - arguments.from;
    println!("{name}: found by {found} of {seeds} seeds");
    if found > 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn survey(arguments: &Arguments) -> ExitCode {
    let begun = Instant::now();
    let mut tally = Tally::default();
    for seed in arguments.from..arguments.to {
        let failed = tally.failures.len();
        let before = tally.events;
        tally.add(seed, &swarm(arguments, seed));
        if let Some((seed, wrong)) = tally.failures.get(failed) {
            println!("seed {seed} FAILED: {wrong}");
            println!("  swarm: {:?}", swarm(arguments, *seed));
        } else if arguments.verbose {
            println!("seed {seed}: {} events", tally.events - before);
        }
    }
    print(&tally, begun.elapsed().as_secs_f64());
    let mut missing = tally.faults.missing();
    missing.extend(tally.kinds.missing());
    let plans = tally.plans.missing();
    missing.extend(plans.iter().map(String::as_str));
    let complete = arguments.fleet || tally.seeds < 100 || missing.is_empty();
    if !complete {
        println!("never happened: {}", missing.join(", "));
    }
    if tally.failures.is_empty() && complete {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn print(tally: &Tally, seconds: f64) {
    for fault in Fault::ALL {
        println!("  {:>9}  {}", tally.faults.of(*fault), fault.name());
    }
    for (kind, in_force, spoke) in tally.kinds.all() {
        println!("  {in_force:>9}  decisions under {kind}, which spoke in {spoke}");
    }
    for what in MeshCounts::ALL.into_iter().filter(|what| tally.mesh.of(what) > 0) {
        println!("  {:>9}  {what}", tally.mesh.of(what));
    }
    for (what, count) in tally.plans.all() {
        println!("  {count:>9}  {what}");
    }
    let hours = tally.agent_ms as f64 / 3_600_000.0;
    println!(
        "{} seeds, each twice: {} failed; {:.0} agent-hours, {} events, {} checks, healed within {} s; {seconds:.1} s, {:.0} agent-hours/min",
        tally.seeds,
        tally.failures.len(),
        hours,
        tally.events,
        tally.checks,
        tally.healed_ms / 1_000,
        2.0 * hours / (seconds / 60.0),
    );
}

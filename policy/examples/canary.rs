//! What the canary analysis finds, and how often it is wrong: `cargo run --release -p policy --example canary [TRIALS]`.
//!
//! With a file, analyses that question instead: `… --example canary -- FILE.json`.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

#[path = "../tests/worlds/canary.rs"]
mod worlds;

use policy::canary::{Canary, judge_canary};
use worlds::{Truth, first_abort, world};

fn main() {
    let argument = std::env::args().nth(1);
    let trials = argument.as_ref().map_or(Ok(500), |text| text.parse::<u64>());
    match (argument, trials) {
        (_, Ok(trials)) => figures(trials),
        (path, Err(_)) => {
            let text = std::fs::read(path.unwrap()).unwrap();
            match Canary::parse(&text).and_then(|canary| judge_canary(&canary)) {
                Ok(report) => println!("{report}"),
                Err(problem) => println!("{problem}"),
            }
        }
    }
}

fn figures(trials: u64) {
    println!("early abort: share by 60 and 240 intervals, median interval");
    for (name, truth, history, lag_one) in [
        ("alike", Truth::Alike, 0, 0.0),
        ("alike, lag 0.0 estimated", Truth::Alike, 240, 0.0),
        ("alike, lag 0.0, history 20", Truth::Alike, 20, 0.0),
        ("+100 %, history 240", Truth::Slower(2.0), 240, 0.0),
        ("+100 %, history 20", Truth::Slower(2.0), 20, 0.0),
        ("alike, lag 0.5, history 240", Truth::Alike, 240, 0.5),
        ("alike, lag 0.8, history 240", Truth::Alike, 240, 0.8),
        ("alike, lag 0.8, history 60", Truth::Alike, 60, 0.8),
        ("alike, lag 0.8, history 20", Truth::Alike, 20, 0.8),
        ("alike, lag 0.8, history 1", Truth::Alike, 1, 0.8),
        ("+100 %", Truth::Slower(2.0), 0, 0.0),
        ("+50 %", Truth::Slower(1.5), 0, 0.0),
        ("+20 %", Truth::Slower(1.2), 0, 0.0),
        ("spread x3", Truth::Wider(3.0), 0, 0.0),
        ("variance x3", Truth::Wider(3f64.sqrt()), 0, 0.0),
    ] {
        let mut found: Vec<usize> = (0..trials)
            .map(|seed| first_abort(&world(seed, truth, 240, history, lag_one), seed).unwrap_or(999))
            .collect();
        found.sort_unstable();
        let by = |limit: usize| 100.0 * found.iter().filter(|at| **at <= limit).count() as f64 / trials as f64;
        println!(
            "{name:30} {:5.1} % {:5.1} % {:4}",
            by(60),
            by(240),
            found[found.len() / 2]
        );
    }
    println!("tests at the end of a step: share that fails");
    for (name, truth, n) in [
        ("alike, n 50", Truth::Alike, 50),
        ("alike, n 100", Truth::Alike, 100),
        ("spread x3, n 50", Truth::Wider(3.0), 50),
        ("variance x3, n 50", Truth::Wider(3f64.sqrt()), 50),
        ("spread x3, n 100", Truth::Wider(3.0), 100),
        ("variance x3, n 100", Truth::Wider(3f64.sqrt()), 100),
        ("10 % x100, n 50", Truth::Stuck(0.1), 50),
        ("10 % x100, n 100", Truth::Stuck(0.1), 100),
    ] {
        let (mut location, mut tail) = (0, 0);
        for seed in 0..trials * 4 {
            let report = judge_canary(&worlds::question(&world(seed, truth, n, 0, 0.0), n, 30)).unwrap();
            let metric = &report.metrics[0];
            location += u64::from(metric.location.is_some_and(|found| found.is_worse));
            tail += u64::from(metric.tails.iter().any(|found| found.is_worse));
        }
        let share = |count: u64| 100.0 * count as f64 / (trials * 4) as f64;
        println!(
            "{name:30} location {:5.1} %, tail {:5.1} %",
            share(location),
            share(tail)
        );
    }
}

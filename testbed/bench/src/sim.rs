//! `sim`: simulated agent-hours for each minute of wall time, with a thousand agents that live through ten minutes.
//!
//! The world is the fleet of `testbed/sim`: both cores as they ship, sampling, telemetry, sync and beacons, invariants looked at, and
//! nothing that goes wrong. One run of one seed on one thread. It has no peer: nobody else runs these cores.

use std::time::Instant;

use testbed_sim::{Planted, Swarm};

use crate::report::{Figure, Goal};

const AGENTS: usize = 1_000;
const MINUTES: u64 = 10;
const SEED: u64 = 1;

/// Runs it.
pub fn run() -> Result<Vec<Figure>, String> {
    let started = Instant::now();
    let course = testbed_sim::run(SEED, Swarm::fleet(AGENTS, MINUTES), Planted::Nothing)
        .map_err(|wrong| format!("seed {SEED} of the fleet failed: {wrong}"))?;
    let minutes = started.elapsed().as_secs_f64() / 60.0;
    let hours = course.agent_ms as f64 / 3_600_000.0;
    Ok(vec![Figure::new(
        "sim",
        "agent-h/min",
        hours / minutes,
        Goal::AtLeast(2_000.0),
    )])
}

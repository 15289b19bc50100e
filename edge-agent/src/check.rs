//! `sentinel-agent check`: says what this machine offers, before anything runs.
//!
//! Changes nothing: it opens no journal, starts no workload, and ends the GPU probe that it asked.

use std::io::Write;
use std::time::Duration;

use tokio::sync::mpsc;
use wire::probe::{Ask, Reply};

use crate::agent::RunError;
use crate::config::Config;
use crate::faults::Faults;
use crate::identity::Identity;
use crate::probe::Probe;
use crate::sensors::{self, Round};
use crate::watch::Watch;

/// Prints one line for each part. Blocks for the probe's deadline at most.
pub fn check(config: &Config) -> Result<(), RunError> {
    let failed = |cause| RunError::System {
        what: "write to standard output",
        cause,
    };
    let mut out = std::io::stdout().lock();
    writeln!(out, "state     {}", config.state_dir.display()).map_err(failed)?;
    let identity = match Identity::load(&config.state_dir)? {
        Some(identity) => format!(
            "{} of {}, certificate until {}",
            identity.agent(),
            identity.hub(),
            identity.certificate_ends()
        ),
        None => "none: this node has not joined a hub".to_owned(),
    };
    writeln!(out, "identity  {identity}").map_err(failed)?;
    writeln!(out, "sensors   {} series", series()).map_err(failed)?;
    writeln!(out, "gpus      {}", gpus(config)).map_err(failed)?;
    writeln!(out, "workloads {}", config.workload.len()).map_err(failed)
}

fn series() -> usize {
    let mut round = Round::default();
    sensors::host().iter_mut().for_each(|sensor| sensor.sample(&mut round));
    round.readings.len()
}

fn gpus(config: &Config) -> String {
    let mut settings = match config.probe() {
        Ok(Some(settings)) => settings,
        Ok(None) => return "none: no GPU driver's library is found, and no probe is set".to_owned(),
        Err(error) => return format!("the probe cannot be started: {error}"),
    };
    // Nobody listens to what it tells; the room is enough for what it may say until it is dropped.
    let (inputs, _heard) = mpsc::channel(16);
    // A check leaves no trace.
    settings.names = None;
    let (watch, _died) = Watch::new();
    let deadline = settings.deadline;
    let faults = Faults::new(inputs.clone());
    let probe = match Probe::start(settings, Vec::new(), inputs, (faults, &watch)) {
        Ok(probe) => probe,
        Err(error) => return format!("the probe's thread cannot start: {error}"),
    };
    match probe.call(Ask::Hello) {
        Ok(Reply::Hello { driver, gpus, .. }) => format!("{} by {driver}", gpus.len()),
        Ok(_) => "the probe does not answer a greeting with one".to_owned(),
        Err(error) => format!(
            "{error} (deadline {:?})",
            Duration::max(deadline, Duration::from_millis(1))
        ),
    }
}

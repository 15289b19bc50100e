//! `sentinel-agent scan`: one look at this machine, without a service and without a hub. Says what is well, what is not, and what to do.
//!
//! Changes nothing and remembers nothing: every fault that the kernel log of this boot tells of is named, however old.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;

use edge_agent_core::faults::{Sighting, device_of, gpu};
use tokio::sync::mpsc;
use wire::Quantity;
use wire::fault::{NextStep, Severity};
use wire::probe::{Ask, GpuInfo, GpuReport, GpuState, Reply};
use wire::reading::human;

use crate::agent::RunError;
use crate::config::Config;
use crate::faults::{Faults, log};
use crate::probe::Probe;
use crate::sensors::process::WatchList;

/// Prints the look, and returns whether nothing grave was found. Blocks for a few of the probe's deadlines at most.
pub fn scan(config: &Config) -> Result<bool, RunError> {
    let (text, is_well) = look(config);
    std::io::stdout()
        .write_all(text.as_bytes())
        .map_err(|cause| RunError::System {
            what: "write to standard output",
            cause,
        })?;
    Ok(is_well)
}

/// The look as text, and whether nothing grave was found. Blocks as [`scan`] does.
pub fn look(config: &Config) -> (String, bool) {
    let mut look = Look::default();
    gpus(config, &mut look);
    kernel_log(config, &mut look);
    (look.text, !look.grave)
}

#[derive(Default)]
struct Look {
    text: String,
    grave: bool,
}

impl Look {
    fn well(&mut self, what: &str) {
        // Writing to a string does not fail.
        let _ = writeln!(self.text, "✓ {what}");
    }

    fn unknown(&mut self, what: &str) {
        let _ = writeln!(self.text, "? {what}");
    }

    fn ill(&mut self, what: &str, severity: Severity, meaning: &str, next: NextStep) {
        self.grave |= severity >= Severity::High;
        let sign = if severity >= Severity::High { '✕' } else { '!' };
        let _ = writeln!(
            self.text,
            "{sign} {what}: {meaning} ({}); {}",
            severity.name(),
            next.advice()
        );
    }
}

fn gpus(config: &Config, look: &mut Look) {
    let mut settings = match config.probe() {
        Ok(Some(settings)) => settings,
        Ok(None) => return look.well("no GPU driver on this machine"),
        Err(error) => return look.unknown(&format!("GPUs cannot be read: {error}")),
    };
    // A look leaves no trace.
    settings.names = None;
    // Nobody listens to what it tells; the room is enough for what it may say until it is dropped.
    let (inputs, _heard) = mpsc::channel(64);
    let patience_ms = u32::try_from(settings.deadline.as_millis() / 2).unwrap_or(u32::MAX);
    let faults = Faults::new(inputs.clone());
    let (watch, _died) = crate::watch::Watch::new();
    let probe = match Probe::start(settings, Vec::new(), inputs, (faults, WatchList::default(), &watch)) {
        Ok(probe) => probe,
        Err(error) => return look.unknown(&format!("GPUs cannot be read: {error}")),
    };
    let infos = match probe.call(Ask::Hello) {
        Ok(Reply::Hello { driver, gpus, .. }) => {
            look.well(&format!("{driver} with {} GPUs", gpus.len()));
            gpus
        }
        Ok(other) => return look.unknown(&format!("the GPU probe answers something else: {other:?}")),
        Err(error) => return look.unknown(&format!("GPUs cannot be read: {error}")),
    };
    match probe.call(Ask::Measure { patience_ms }) {
        Ok(Reply::Measured { gpus, .. }) => {
            infos
                .iter()
                .zip(&gpus)
                .for_each(|(info, report)| one_gpu(info, report, look));
        }
        Ok(_) | Err(_) => look.unknown("the GPUs' values cannot be read through this probe"),
    }
}

fn one_gpu(info: &GpuInfo, report: &GpuReport, look: &mut Look) {
    let name = format!("{} {}", info.model, info.uuid);
    // One look cannot tell a driver that is busy from one that hangs: it counts as one that missed often enough.
    let ills = gpu::ills(report, gpu::MISSES);
    for ill in &ills {
        look.ill(&format!("{name}: {}", ill.code), ill.severity, ill.meaning, ill.next);
    }
    match &report.state {
        GpuState::Unreadable { reason } => look.unknown(&format!("{name}: {reason}")),
        GpuState::Answers if ills.is_empty() => {
            let value = |quantity: Quantity| {
                let found = report.values.iter().find(|(number, _)| *number == quantity as u16);
                let value = found.and_then(|(_, value)| *value);
                value.map_or_else(|| "—".to_owned(), |value| human(value, quantity.unit()))
            };
            look.well(&format!(
                "{name}: {}, {} of {}, {} used",
                value(Quantity::GpuTemperature),
                value(Quantity::GpuPower),
                value(Quantity::GpuPowerCap),
                value(Quantity::GpuUsed)
            ));
        }
        GpuState::Answers | GpuState::Lost | GpuState::ResetRequired | GpuState::Hung { .. } => {}
    }
}

fn kernel_log(config: &Config, look: &mut Look) {
    let sightings = match log::past(&config.kernel_log) {
        Ok(sightings) => sightings,
        Err(error) => {
            let path = config.kernel_log.display();
            return look.unknown(&format!("kernel log {path} cannot be read: {error}"));
        }
    };
    if sightings.is_empty() {
        return look.well("the kernel log of this boot tells of no fault");
    }
    let mut kinds: BTreeMap<(String, String), (u64, Sighting)> = BTreeMap::new();
    for sighting in sightings {
        let key = (device_of(&sighting.place).to_string(), sighting.code.clone());
        let (count, last) = kinds.entry(key).or_insert_with(|| (0, sighting.clone()));
        *count += 1;
        *last = sighting;
    }
    for ((device, code), (count, last)) in kinds {
        let what = format!("kernel log: {code} on {device}, {count} times, last {}", last.evidence);
        look.ill(&what, last.severity, last.meaning, last.next);
    }
}

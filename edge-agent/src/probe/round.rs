//! What one answer of the probe says: readings for the round, and what is wrong with which GPU.
//!
//! Decides nothing: what a state means is `edge_agent_core::faults::gpu`. A value that was there once and is gone is missing, not forgotten.

use std::collections::{BTreeMap, BTreeSet};

use edge_agent_core::faults::{Place, Sighting, evidence, gpu, xid};
use wire::probe::{GpuEvent, GpuEventKind, GpuReport, GpuState, GpuValues};
use wire::{DeviceId, Quantity};

use crate::sensors::Round;

/// What is known of the GPUs, as last heard.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Numbers of all GPUs that were there since the start.
    pub(super) gpus: BTreeSet<u32>,
    /// The number of each of them.
    pub(super) uuids: BTreeMap<String, u32>,
    pub(super) answering: bool,
    pub(super) version: u16,
    /// Of each GPU, what it was last seen to have, so that values that are gone are missing and not forgotten.
    pub(super) quantities: BTreeMap<DeviceId, BTreeSet<Quantity>>,
    /// Of each GPU, calls in a row that it did not answer.
    pub(super) missed: BTreeMap<DeviceId, u32>,
    /// What was wrong with each GPU in the last round.
    pub(super) ill: BTreeMap<DeviceId, Vec<&'static str>>,
}

/// What a round says of faults.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) sightings: Vec<Sighting>,
    pub(super) well: Vec<DeviceId>,
}

/// Notes a round of version 2, and compares what is wrong now with what was.
pub(super) fn measured(known: &mut Known, round: &mut Round, gpus: &[GpuReport], events: &[GpuEvent]) -> Seen {
    let mut seen = Seen::default();
    let hung = |report: &GpuReport| matches!(report.state, GpuState::Hung { .. });
    let place = |uuid: &str| known.uuids.get(uuid).map(|number| DeviceId::gpu(*number));
    let placed: Vec<(DeviceId, &GpuReport)> = gpus
        .iter()
        .filter_map(|report| Some((place(&report.uuid)?, report)))
        .collect();
    for event in events {
        if let (Some(device), GpuEventKind::Xid(code)) = (place(&event.uuid), event.what) {
            seen.sightings.push(told(device, code));
        }
    }
    for (device, report) in placed {
        let quantities = known.quantities.entry(device.clone()).or_default();
        let mut left = quantities.clone();
        for (number, value) in &report.values {
            if let Some(quantity) = Quantity::from_number(*number) {
                round.note(&device, quantity, *value);
                quantities.insert(quantity);
                left.remove(&quantity);
            }
        }
        left.into_iter()
            .for_each(|quantity| round.note(&device, quantity, None));
        let missed = known.missed.entry(device.clone()).or_default();
        *missed = if hung(report) { *missed + 1 } else { 0 };
        let ills = gpu::ills(report, *missed);
        let before = known.ill.get(&device).cloned().unwrap_or_default();
        if ills.is_empty() && report.state != GpuState::Answers {
            // Nothing is known of it just now: what was wrong may still be.
            continue;
        }
        if ills.is_empty() && !before.is_empty() {
            seen.well.push(device.clone());
        }
        known
            .ill
            .insert(device.clone(), ills.iter().map(|ill| ill.code).collect());
        for ill in ills.into_iter().filter(|ill| !before.contains(&ill.code)) {
            seen.sightings.push(Sighting {
                place: Place::Device(device.clone()),
                code: ill.code.to_owned(),
                severity: ill.severity,
                meaning: ill.meaning,
                next: ill.next,
                evidence: evidence(&format!("the driver says so of {}", report.uuid)),
            });
        }
    }
    seen
}

/// A critical error that the driver told of by itself. The kernel log has the same one: both are counted as one kind.
fn told(device: DeviceId, code: u64) -> Sighting {
    let code = u32::try_from(code).unwrap_or(u32::MAX);
    let known = xid::xid(code);
    Sighting {
        place: Place::Device(device),
        code: format!("xid {code}"),
        severity: known.severity,
        meaning: known.meaning,
        next: known.next,
        evidence: "the driver told of it".to_owned(),
    }
}

/// Every value that is known to exist is missing in this round.
pub(super) fn missing(known: &Known, round: &mut Round) {
    for (device, quantities) in &known.quantities {
        quantities
            .iter()
            .for_each(|quantity| round.note(device, *quantity, None));
    }
}

pub(super) fn note(round: &mut Round, number: u32, values: &GpuValues) {
    let device = DeviceId::gpu(number);
    for (quantity, value) in [
        (Quantity::GpuTemperature, values.temperature_mc),
        (Quantity::GpuMemoryTemperature, values.memory_temperature_mc),
        (Quantity::GpuPower, values.power_mw),
        (Quantity::GpuPowerCap, values.power_cap_mw),
        (Quantity::GpuUsed, values.used_bp),
        (Quantity::GpuMemoryUsed, values.memory_used),
        (Quantity::GpuMemoryTotal, values.memory_total),
        (Quantity::GpuClock, values.clock_mhz),
        (Quantity::GpuFan, values.fan_bp),
        (Quantity::GpuEccUncorrected, values.ecc_uncorrected),
        (Quantity::GpuThrottleReasons, values.throttle_reasons),
    ] {
        round.note(&device, quantity, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_told_once_and_that_it_is_over_once() {
        let mut known = Known {
            uuids: ["GPU-a", "GPU-b"].map(str::to_owned).into_iter().zip(0..).collect(),
            ..Known::default()
        };
        let report = |uuid: &str, state, values: &[(Quantity, i64)]| GpuReport {
            uuid: uuid.to_owned(),
            state,
            values: values
                .iter()
                .map(|(quantity, value)| (*quantity as u16, Some(*value)))
                .collect(),
        };
        let well = |uuid: &str| report(uuid, GpuState::Answers, &[(Quantity::GpuTemperature, 41_000)]);
        let mut take = |gpus: &[GpuReport], events: &[GpuEvent]| {
            let mut round = Round::default();
            let seen = measured(&mut known, &mut round, gpus, events);
            let sightings = seen.sightings.into_iter().map(|sighting| sighting.code);
            let words: Vec<String> = sightings
                .chain(seen.well.iter().map(|device| format!("{device} well")))
                .collect();
            (round.readings, words.join(", "))
        };
        assert_eq!(take(&[well("GPU-a"), well("GPU-b")], &[]).1, "");
        let lost = report("GPU-a", GpuState::Lost, &[]);
        let (readings, words) = take(&[lost.clone(), well("GPU-b")], &[]);
        assert_eq!(words, "gpu lost");
        let values: Vec<_> = readings
            .iter()
            .map(|reading| (reading.series.to_string(), reading.value))
            .collect();
        assert_eq!(
            values,
            [
                ("gpu0/gpu.temperature".to_owned(), None),
                ("gpu1/gpu.temperature".to_owned(), Some(41_000))
            ],
            "a value that is gone is missing"
        );
        assert_eq!(take(&[lost, well("GPU-b")], &[]).1, "", "once");
        let unreadable = report(
            "GPU-a",
            GpuState::Unreadable {
                reason: "no data".to_owned(),
            },
            &[],
        );
        assert_eq!(
            take(&[unreadable, well("GPU-b")], &[]).1,
            "",
            "what cannot be read is not well"
        );
        let event = GpuEvent {
            uuid: "GPU-b".to_owned(),
            what: GpuEventKind::Xid(31),
        };
        assert_eq!(take(&[well("GPU-a"), well("GPU-b")], &[event]).1, "xid 31, gpu0 well");
    }
}

//! Names, units and labels of everything that the node tells, from the readings that it has.
//!
//! Hardware and system names are OpenTelemetry's semantic conventions where they have one (schema 1.42.0, `hw.*` and `system.*`);
//! the rest begins with `sentinel.`. Values are in base units: seconds, bytes, watts, ratios from 0 to 1.
//!
//! Invariant: a reading that is missing is in no sample; no label has unbounded values.

use std::collections::BTreeMap;

use edge_agent_core::faults::ladder::{Left, Phase};
use wire::reading::{Quantity as Q, Series, Unit};
use wire::{DeviceId, Wall};

use crate::local_api::Snapshot;

/// How a metric behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Goes up and down.
    Gauge,
    /// Only grows, until the process or the device starts anew.
    Counter,
}

/// A metric's name and what is the same for all its samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Metric {
    /// In OpenTelemetry's spelling, with dots; a name with underscores only is told in this spelling everywhere.
    pub name: &'static str,
    /// Base unit as OpenMetrics writes it: `bytes`, `celsius`, `ratio`; empty for counts.
    pub unit: &'static str,
    /// How it behaves.
    pub kind: Kind,
}

impl Metric {
    /// The name in OpenTelemetry's spelling. What has no conventional name is told under its own: `gpu.row_remap_pending` becomes
    /// `sentinel.gpu.row_remap_pending`.
    pub fn dotted(&self) -> String {
        const CONVENTIONAL: &[&str] = &["hw.", "system.", "sentinel."];
        let conventional = CONVENTIONAL.iter().any(|start| self.name.starts_with(start));
        match conventional || !self.name.contains('.') {
            true => self.name.to_owned(),
            false => format!("sentinel.{}", self.name),
        }
    }
}

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Which metric.
    pub metric: Metric,
    /// Labels, in OpenTelemetry's spelling.
    pub labels: Vec<(&'static str, String)>,
    /// The value, in the metric's unit.
    pub value: f64,
}

/// Sets of names that other systems' dashboards already use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compat {
    /// NVIDIA's DCGM exporter: `DCGM_FI_DEV_…`.
    Dcgm,
    /// The first version of this agent: `gpu_utilization_percent` and so on.
    V1,
}

/// What is known besides the readings.
#[derive(Debug, Clone, Default)]
pub struct Names {
    /// UUIDs of GPUs.
    pub uuids: BTreeMap<DeviceId, String>,
    /// How often each fault was seen: device, code, count.
    pub faults: Vec<(DeviceId, String, u64)>,
    /// The last critical error of each GPU.
    pub last_xids: BTreeMap<DeviceId, u32>,
}

/// Everything as of now, and when that was.
pub fn samples(now: &Snapshot, names: &Names, compat: &[Compat]) -> (Wall, Vec<Sample>) {
    let mut made = Vec::with_capacity(now.latest.len() + 32);
    for (series, value) in now.latest.iter() {
        let Some(value) = value else { continue };
        let labels = || device_labels(&series.device, now, names);
        reading(series, *value, &labels, &mut made);
        for compat in compat {
            match compat {
                Compat::Dcgm => dcgm(series, *value, now, names, &mut made),
                Compat::V1 => v1(series, *value, &mut made),
            }
        }
    }
    if compat.contains(&Compat::Dcgm) {
        dcgm_xids(now, names, &mut made);
    }
    agent(now, names, &mut made);
    (now.status.at.wall, made)
}

const fn gauge(name: &'static str, unit: &'static str) -> Metric {
    Metric {
        name,
        unit,
        kind: Kind::Gauge,
    }
}

const fn counter(name: &'static str, unit: &'static str) -> Metric {
    Metric {
        name,
        unit,
        kind: Kind::Counter,
    }
}

/// A quantity, its metric, the metric's own labels, and what one unit of the reading is worth.
type Convention = (Q, Metric, &'static [(&'static str, &'static str)], f64);

/// Quantities that have a conventional name.
const CONVENTIONAL: &[Convention] = &[
    (
        Q::GpuUsed,
        gauge("hw.gpu.utilization", "ratio"),
        &[("hw.gpu.task", "general")],
        1e-4,
    ),
    (
        Q::GpuEncoderUsed,
        gauge("hw.gpu.utilization", "ratio"),
        &[("hw.gpu.task", "encoder")],
        1e-4,
    ),
    (
        Q::GpuDecoderUsed,
        gauge("hw.gpu.utilization", "ratio"),
        &[("hw.gpu.task", "decoder")],
        1e-4,
    ),
    (Q::GpuMemoryUsed, gauge("hw.gpu.memory.usage", "bytes"), &[], 1.0),
    (Q::GpuMemoryTotal, gauge("hw.gpu.memory.limit", "bytes"), &[], 1.0),
    (
        Q::GpuTemperature,
        gauge("hw.temperature", "celsius"),
        &[("hw.sensor_location", "core")],
        1e-3,
    ),
    (
        Q::GpuMemoryTemperature,
        gauge("hw.temperature", "celsius"),
        &[("hw.sensor_location", "memory")],
        1e-3,
    ),
    (
        Q::Temperature,
        gauge("hw.temperature", "celsius"),
        &[("hw.sensor_location", "board")],
        1e-3,
    ),
    (Q::GpuPower, gauge("hw.power", "watts"), &[], 1e-3),
    (Q::GpuEnergy, counter("hw.energy", "joules"), &[], 1e-3),
    (Q::GpuFan, gauge("hw.fan.speed_ratio", ""), &[], 1e-4),
    (
        Q::GpuEccCorrected,
        counter("hw.errors", ""),
        &[("error.type", "ecc_corrected")],
        1.0,
    ),
    (
        Q::GpuEccUncorrected,
        counter("hw.errors", ""),
        &[("error.type", "ecc_uncorrected")],
        1.0,
    ),
    (
        Q::GpuPcieReplays,
        counter("hw.errors", ""),
        &[("error.type", "pcie_replay")],
        1.0,
    ),
    (
        Q::GpuNvlinkErrors,
        counter("hw.errors", ""),
        &[("error.type", "nvlink")],
        1.0,
    ),
    (
        Q::GpuClock,
        gauge("sentinel.gpu.clock", "hertz"),
        &[("domain", "sm")],
        1e6,
    ),
    (
        Q::GpuMemoryClock,
        gauge("sentinel.gpu.clock", "hertz"),
        &[("domain", "memory")],
        1e6,
    ),
    (
        Q::CpuUser,
        gauge("system.cpu.utilization", "ratio"),
        &[("cpu.mode", "user")],
        1e-4,
    ),
    (
        Q::CpuSystem,
        gauge("system.cpu.utilization", "ratio"),
        &[("cpu.mode", "system")],
        1e-4,
    ),
    (
        Q::CpuNice,
        gauge("system.cpu.utilization", "ratio"),
        &[("cpu.mode", "nice")],
        1e-4,
    ),
    (
        Q::CpuIoWait,
        gauge("system.cpu.utilization", "ratio"),
        &[("cpu.mode", "iowait")],
        1e-4,
    ),
    (
        Q::CpuIrq,
        gauge("system.cpu.utilization", "ratio"),
        &[("cpu.mode", "interrupt")],
        1e-4,
    ),
    (
        Q::CpuSteal,
        gauge("system.cpu.utilization", "ratio"),
        &[("cpu.mode", "steal")],
        1e-4,
    ),
    (Q::MemoryTotal, gauge("system.memory.limit", "bytes"), &[], 1.0),
    (
        Q::MemoryUsedShare,
        gauge("system.memory.utilization", "ratio"),
        &[("system.memory.state", "used")],
        1e-4,
    ),
    (Q::FsTotal, gauge("system.filesystem.limit", "bytes"), &[], 1.0),
    (
        Q::FsAvailable,
        gauge("system.filesystem.usage", "bytes"),
        &[("system.filesystem.state", "free")],
        1.0,
    ),
    (
        Q::FsUsedShare,
        gauge("system.filesystem.utilization", "ratio"),
        &[("system.filesystem.state", "used")],
        1e-4,
    ),
    (Q::Uptime, gauge("system.uptime", "seconds"), &[], 1e-3),
    (Q::AgentMemory, gauge("process_resident_memory", "bytes"), &[], 1.0),
    (Q::AgentFiles, gauge("process_open_fds", ""), &[], 1.0),
    (Q::AgentThreads, gauge("process_threads", ""), &[], 1.0),
];

/// NVML's bits of why clocks are held down, by the names of `nvidia-smi`.
const REASONS: &[(u32, &str)] = &[
    (0, "idle"),
    (1, "applications_clocks"),
    (2, "sw_power_cap"),
    (3, "hw_slowdown"),
    (4, "sync_boost"),
    (5, "sw_thermal"),
    (6, "hw_thermal"),
    (7, "hw_power_brake"),
    (8, "display_clocks"),
];

fn reading(series: &Series, value: i64, labels: &dyn Fn() -> Vec<(&'static str, String)>, made: &mut Vec<Sample>) {
    if series.quantity == Q::GpuThrottleReasons {
        for (bit, reason) in REASONS {
            let mut labels = labels();
            labels.push(("reason", (*reason).to_owned()));
            let value = ((value >> bit) & 1) as f64;
            made.push(Sample {
                metric: gauge("sentinel.gpu.throttle", ""),
                labels,
                value,
            });
        }
        return;
    }
    if series.quantity == Q::GpuProbe {
        let metric = gauge("sentinel.gpu.probe_hung", "");
        let value = if value == 0 { 1.0 } else { 0.0 };
        made.push(Sample {
            metric,
            labels: Vec::new(),
            value,
        });
        return;
    }
    let mut labels = labels();
    let known = CONVENTIONAL.iter().find(|(quantity, ..)| *quantity == series.quantity);
    let (metric, factor) = match known {
        Some((_, metric, own, factor)) => {
            labels.extend(own.iter().map(|(name, value)| (*name, (*value).to_owned())));
            (*metric, *factor)
        }
        None => own(series.quantity),
    };
    made.push(Sample {
        metric,
        labels,
        value: value as f64 * factor,
    });
}

/// A quantity without a conventional name, and what one unit of its readings is worth.
fn own(quantity: Q) -> (Metric, f64) {
    let (unit, factor) = match quantity.unit() {
        Unit::MilliCelsius => ("celsius", 1e-3),
        Unit::Milliwatt => ("watts", 1e-3),
        Unit::BasisPoints => ("ratio", 1e-4),
        Unit::Milli => ("", 1e-3),
        Unit::Bytes => ("bytes", 1.0),
        Unit::BytesPerSecond => ("bytes_per_second", 1.0),
        Unit::MilliPerSecond => ("per_second", 1e-3),
        Unit::Milliseconds => ("seconds", 1e-3),
        Unit::Megahertz => ("hertz", 1e6),
        Unit::Count | Unit::Flag => ("", 1.0),
    };
    (gauge(quantity.name(), unit), factor)
}

/// Which part of the node a value is about.
fn device_labels(device: &DeviceId, now: &Snapshot, names: &Names) -> Vec<(&'static str, String)> {
    match device.class() {
        "node" => Vec::new(),
        "gpu" => {
            let id = names.uuids.get(device).map_or(device.as_str(), String::as_str);
            let info = now.status.devices.iter().find(|info| info.id == *device);
            let model = info.map_or("", |info| info.model.as_str());
            vec![
                ("hw.id", id.to_owned()),
                ("hw.model", model.to_owned()),
                ("hw.name", device.as_str().to_owned()),
                ("hw.type", "gpu".to_owned()),
            ]
        }
        "cpu" => vec![("cpu.logical_number", device.name().to_owned())],
        "fs" => vec![("system.filesystem.mountpoint", device.name().to_owned())],
        "disk" => vec![("system.device", device.name().to_owned())],
        "net" => vec![("network.interface.name", device.name().to_owned())],
        _ => vec![("device", device.as_str().to_owned())],
    }
}

/// What the agent says of itself.
fn agent(now: &Snapshot, names: &Names, made: &mut Vec<Sample>) {
    let status = &now.status;
    let mut one = |metric, labels, value| made.push(Sample { metric, labels, value });
    let version = env!("CARGO_PKG_VERSION").to_owned();
    one(gauge("sentinel.build_info", ""), vec![("version", version)], 1.0);
    one(
        gauge("sentinel.connected", ""),
        Vec::new(),
        f64::from(u8::from(now.connected)),
    );
    one(
        gauge("sentinel.policy_generation", ""),
        Vec::new(),
        status.bundle.generation.0 as f64,
    );
    one(
        gauge("sentinel.policy_age", "seconds"),
        Vec::new(),
        status.policy_age_ms as f64 / 1e3,
    );
    one(
        gauge("sentinel.authority", ""),
        vec![("step", status.authority.name().to_owned())],
        1.0,
    );
    one(
        gauge("sentinel.sync_backlog_entries", ""),
        Vec::new(),
        now.backlog_entries as f64,
    );
    one(
        gauge("sentinel.journal", "bytes"),
        Vec::new(),
        status.journal_bytes.0 as f64,
    );
    one(
        gauge("sentinel.journal_ok", ""),
        Vec::new(),
        f64::from(u8::from(status.journal_ok)),
    );
    one(
        gauge("sentinel.healthy", ""),
        Vec::new(),
        f64::from(u8::from(now.unhealthy.is_none())),
    );
    one(
        gauge("sentinel.unrecorded_actions", ""),
        Vec::new(),
        status.unrecorded_actions as f64,
    );
    if let wire::time::ClockError::WithinMs(ms) = now.clock_error {
        one(gauge("sentinel.clock_offset", "seconds"), Vec::new(), ms as f64 / 1e3);
    }
    for scope in wire::api::Isolation::ALL {
        let is_so = now.isolation == Some(scope);
        one(
            gauge("sentinel.isolated", ""),
            vec![("scope", scope.name().to_owned())],
            f64::from(u8::from(is_so)),
        );
    }
    one(gauge("sentinel.path_hops", ""), Vec::new(), now.path.len() as f64);
    for neighbour in now.neighbours.iter() {
        let labels = || vec![("neighbour", neighbour.name.to_string())];
        let flag = |is_so: bool| f64::from(u8::from(is_so));
        let reaches = neighbour.in_touch && neighbour.reach != wire::frame::Reach::Alone;
        one(
            gauge("sentinel.neighbour_in_touch", ""),
            labels(),
            flag(neighbour.in_touch),
        );
        one(gauge("sentinel.neighbour_reaches_hub", ""), labels(), flag(reaches));
        if neighbour.in_touch {
            one(
                gauge("sentinel.neighbour_rtt", "seconds"),
                labels(),
                neighbour.rtt_us as f64 / 1e6,
            );
            one(
                gauge("sentinel.neighbour_loss", "ratio"),
                labels(),
                f64::from(neighbour.lost_per_mille) / 1e3,
            );
        }
        one(
            counter("sentinel.carried", "bytes"),
            labels(),
            neighbour.carried_bytes as f64,
        );
        one(
            counter("sentinel.carried_packets", ""),
            labels(),
            neighbour.carried_packets as f64,
        );
        one(
            counter("sentinel.carried_dropped_packets", ""),
            labels(),
            neighbour.dropped_packets as f64,
        );
    }
    ladder(now, names, made);
    let mut one = |metric, labels, value| made.push(Sample { metric, labels, value });
    for (device, code, count) in &names.faults {
        let mut labels = device_labels(device, now, names);
        match code.strip_prefix("xid ") {
            Some(xid) => {
                labels.push(("xid", xid.to_owned()));
                one(counter("sentinel.gpu.xid", ""), labels, *count as f64);
            }
            None => {
                labels.push(("fault", code.clone()));
                one(counter("sentinel.faults", ""), labels, *count as f64);
            }
        }
    }
}

/// Whose work faults would meet, what is being done about them, and what still may be.
fn ladder(now: &Snapshot, names: &Names, made: &mut Vec<Sample>) {
    let mut one = |name, unit, labels, value: f64| {
        let metric = gauge(name, unit);
        made.push(Sample { metric, labels, value });
    };
    for (device, workloads) in &now.users {
        for workload in workloads {
            let mut labels = device_labels(device, now, names);
            labels.push(("workload", workload.name().to_owned()));
            one("sentinel.gpu.workload", "", labels, 1.0);
        }
    }
    let known = |device: &DeviceId| now.ladder.iter().find(|standing| standing.device == *device);
    let gpus = now
        .status
        .devices
        .iter()
        .map(|info| &info.id)
        .filter(|id| id.class() == "gpu");
    let others = now
        .ladder
        .iter()
        .map(|standing| &standing.device)
        .filter(|id| id.class() != "gpu");
    for device in gpus.chain(others) {
        let left = known(device).map_or(Left::ALL, |standing| standing.left);
        for (step, count) in [("reset", left.resets), ("reboot", left.reboots), ("any", left.steps)] {
            let mut labels = device_labels(device, now, names);
            labels.push(("step", step.to_owned()));
            one("sentinel.fault.steps_left", "", labels, count as f64);
        }
        let Some(standing) = known(device) else { continue };
        for (rung, count) in &standing.taken {
            let mut labels = device_labels(device, now, names);
            labels.push(("rung", rung.label().to_owned()));
            one("sentinel.fault.steps_in_week", "", labels, *count as f64);
        }
        let Some((code, rung, phase)) = &standing.case else {
            continue;
        };
        let mut labels = device_labels(device, now, names);
        labels.push(("fault", code.clone()));
        labels.push(("rung", rung.label().to_owned()));
        labels.push(("phase", phase.name().to_owned()));
        one("sentinel.fault.rung", "", labels, f64::from(rung.number()));
        if let Phase::Probation(until) = phase {
            let left = until.since(now.status.at.mono).as_secs_f64();
            one(
                "sentinel.fault.probation_left",
                "seconds",
                device_labels(device, now, names),
                left,
            );
        }
    }
    one("sentinel.fault.disagreements", "", Vec::new(), now.disagreements as f64);
}

/// The names of NVIDIA's exporter, in its units.
fn dcgm(series: &Series, value: i64, now: &Snapshot, names: &Names, made: &mut Vec<Sample>) {
    const TABLE: &[(Q, &str, Kind, f64)] = &[
        (Q::GpuClock, "DCGM_FI_DEV_SM_CLOCK", Kind::Gauge, 1.0),
        (Q::GpuMemoryClock, "DCGM_FI_DEV_MEM_CLOCK", Kind::Gauge, 1.0),
        (Q::GpuTemperature, "DCGM_FI_DEV_GPU_TEMP", Kind::Gauge, 1e-3),
        (Q::GpuMemoryTemperature, "DCGM_FI_DEV_MEMORY_TEMP", Kind::Gauge, 1e-3),
        (Q::GpuPower, "DCGM_FI_DEV_POWER_USAGE", Kind::Gauge, 1e-3),
        (Q::GpuPowerCap, "DCGM_FI_DEV_POWER_MGMT_LIMIT", Kind::Gauge, 1e-3),
        (Q::GpuUsed, "DCGM_FI_DEV_GPU_UTIL", Kind::Gauge, 1e-2),
        (Q::GpuMemoryBusy, "DCGM_FI_DEV_MEM_COPY_UTIL", Kind::Gauge, 1e-2),
        (Q::GpuEncoderUsed, "DCGM_FI_DEV_ENC_UTIL", Kind::Gauge, 1e-2),
        (Q::GpuDecoderUsed, "DCGM_FI_DEV_DEC_UTIL", Kind::Gauge, 1e-2),
        (Q::GpuMemoryUsed, "DCGM_FI_DEV_FB_USED", Kind::Gauge, 1.0 / 1_048_576.0),
        // Millijoules, as read.
        (Q::GpuEnergy, "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", Kind::Gauge, 1.0),
        (Q::GpuPcieReplays, "DCGM_FI_DEV_PCIE_REPLAY_COUNTER", Kind::Gauge, 1.0),
        (
            Q::GpuRowsRemappedCorrected,
            "DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS",
            Kind::Gauge,
            1.0,
        ),
        (
            Q::GpuRowsRemappedUncorrected,
            "DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS",
            Kind::Gauge,
            1.0,
        ),
        (Q::GpuRowRemapFailed, "DCGM_FI_DEV_ROW_REMAP_FAILURE", Kind::Gauge, 1.0),
    ];
    let Some((_, name, kind, factor)) = TABLE.iter().find(|(quantity, ..)| *quantity == series.quantity) else {
        return;
    };
    made.push(Sample {
        metric: Metric {
            name,
            unit: "",
            kind: *kind,
        },
        labels: dcgm_labels(&series.device, now, names),
        value: value as f64 * factor,
    });
    if let (Q::GpuMemoryUsed, Some(Some(total))) = (series.quantity, now.latest.get(&total_of(&series.device))) {
        made.push(Sample {
            metric: gauge("DCGM_FI_DEV_FB_FREE", ""),
            labels: dcgm_labels(&series.device, now, names),
            value: (total - value) as f64 / 1_048_576.0,
        });
    }
}

fn total_of(device: &DeviceId) -> Series {
    Series::new(device.clone(), Q::GpuMemoryTotal)
}

/// NVIDIA's exporter tells of each GPU the number of the last critical error, and 0 of one that had none.
fn dcgm_xids(now: &Snapshot, names: &Names, made: &mut Vec<Sample>) {
    let gpus = now
        .status
        .devices
        .iter()
        .map(|info| &info.id)
        .filter(|id| id.class() == "gpu");
    made.extend(gpus.map(|device| Sample {
        metric: gauge("DCGM_FI_DEV_XID_ERRORS", ""),
        labels: dcgm_labels(device, now, names),
        value: names.last_xids.get(device).copied().unwrap_or_default().into(),
    }));
}

fn dcgm_labels(device: &DeviceId, now: &Snapshot, names: &Names) -> Vec<(&'static str, String)> {
    let info = now.status.devices.iter().find(|info| info.id == *device);
    vec![
        ("UUID", names.uuids.get(device).cloned().unwrap_or_default()),
        ("device", format!("nvidia{}", device.name())),
        ("gpu", device.name().to_owned()),
        ("modelName", info.map_or_else(String::new, |info| info.model.clone())),
    ]
}

/// The names of the first version of this agent.
fn v1(series: &Series, value: i64, made: &mut Vec<Sample>) {
    const TABLE: &[(Q, &str, f64)] = &[
        (Q::GpuUsed, "gpu_utilization_percent", 1e-2),
        (Q::GpuTemperature, "gpu_temperature_celsius", 1e-3),
        (Q::GpuPower, "gpu_power_watts", 1e-3),
        (Q::GpuMemoryUsed, "gpu_memory_bytes_used", 1.0),
        (Q::CpuUsed, "cpu_percent", 1e-2),
        (Q::MemoryUsedShare, "memory_percent", 1e-2),
        (Q::FsUsedShare, "disk_percent", 1e-2),
    ];
    let Some((_, name, factor)) = TABLE.iter().find(|(quantity, ..)| *quantity == series.quantity) else {
        return;
    };
    let labels = match series.device.class() {
        "node" => Vec::new(),
        "gpu" => vec![("gpu", series.device.name().to_owned())],
        "fs" => vec![("mountpoint", series.device.name().to_owned())],
        // The first version knew the processor as a whole.
        _ => return,
    };
    made.push(Sample {
        metric: gauge(name, ""),
        labels,
        value: value as f64 * factor,
    });
}

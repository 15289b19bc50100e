//! What the fake plays: a JSON file with GPUs, their readings and their faults, and the models that fill in the rest.
//!
//! The file is named by `SENTINEL_FAKE_NVML` and read anew whenever it has changed, so that a test changes a running machine by
//! replacing it. What a caller sets (limits, clocks, persistence) is kept beside it in `FILE.set`, as a driver keeps it while
//! processes come and go.
//!
//! Invariant: a value that a model does not support is never in the answer, whatever the file says.
//! Read next: `lib.rs` (how it becomes C).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

/// Names the file.
pub const VARIABLE: &str = "SENTINEL_FAKE_NVML";

/// What the file says.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Machine {
    /// The driver's version.
    pub driver: String,
    /// How `nvmlInit` goes.
    pub init: Startup,
    /// The GPUs, in index order.
    pub gpus: Vec<Gpu>,
    /// What happens to them, in order; each is delivered once to each process.
    pub events: Vec<Event>,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            driver: "570.86.15".to_owned(),
            init: Startup::Ok,
            gpus: Vec::new(),
            events: Vec::new(),
        }
    }
}

/// How the library starts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Startup {
    /// It does.
    #[default]
    Ok,
    /// There is no kernel module.
    DriverNotLoaded,
    /// The driver was updated under a running kernel module.
    VersionMismatch,
    /// The device nodes are not ours to open.
    NoPermission,
    /// It never returns.
    Hang,
    /// The process ends.
    Crash,
}

/// What is wrong with a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// No call about it returns.
    Hang,
    /// A call about it ends the process.
    Crash,
    /// It fell off the bus.
    Lost,
    /// It needs a reset.
    ResetRequired,
    /// So many corrected errors that each call takes `storm_delay_ms`.
    EccStorm,
    /// Its power sensor shows what it showed long ago, above what the card can draw.
    FrozenPower,
    /// It accepts limits and does not apply them.
    StuckLimit,
    /// It can be read and not be set.
    NoPermission,
}

/// One thing that happens.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// To which GPU.
    pub gpu: u32,
    /// A critical error of this number; without it, the recovery action changed.
    #[serde(default)]
    pub xid: Option<u64>,
}

/// A model of GPU.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Model {
    /// NVIDIA L40S: ECC, no MIG, no fan.
    #[default]
    L40s,
    /// NVIDIA H100 80GB HBM3: ECC, MIG, NVLink, margins instead of thresholds.
    H100,
    /// NVIDIA GeForce RTX 3080: neither ECC nor MIG, a fan.
    Rtx3080,
}

/// What a model is. Source of the numbers: the profiles in `firmware-profiles`, which name theirs.
#[derive(Debug)]
#[expect(missing_docs, reason = "the names are NVML's words with their units")]
pub struct Card {
    pub name: &'static str,
    pub least_mw: u32,
    pub most_mw: u32,
    pub default_mw: u32,
    pub clock_mhz: u32,
    pub memory_clock_mhz: u32,
    pub memory_bytes: u64,
    pub slowdown_c: Option<u32>,
    pub shutdown_c: Option<u32>,
    /// Slowdown as a distance from the greatest operating temperature, where a model has that instead of thresholds.
    pub slowdown_margin_c: Option<i64>,
    pub ecc: bool,
    pub mig: bool,
    pub fan: bool,
    pub nvlinks: u32,
}

impl Model {
    /// Its data.
    pub const fn card(self) -> &'static Card {
        match self {
            Self::L40s => &Card {
                name: "NVIDIA L40S",
                least_mw: 100_000,
                most_mw: 350_000,
                default_mw: 350_000,
                clock_mhz: 2_520,
                memory_clock_mhz: 9_001,
                memory_bytes: 46_068 << 20,
                slowdown_c: None,
                shutdown_c: None,
                slowdown_margin_c: Some(-2),
                ecc: true,
                mig: false,
                fan: false,
                nvlinks: 0,
            },
            Self::H100 => &Card {
                name: "NVIDIA H100 80GB HBM3",
                least_mw: 200_000,
                most_mw: 700_000,
                default_mw: 700_000,
                clock_mhz: 1_980,
                memory_clock_mhz: 2_619,
                memory_bytes: 81_559 << 20,
                slowdown_c: None,
                shutdown_c: None,
                slowdown_margin_c: Some(-2),
                ecc: true,
                mig: true,
                fan: false,
                nvlinks: 18,
            },
            Self::Rtx3080 => &Card {
                name: "NVIDIA GeForce RTX 3080",
                least_mw: 100_000,
                most_mw: 336_000,
                default_mw: 320_000,
                clock_mhz: 2_100,
                memory_clock_mhz: 9_501,
                memory_bytes: 10_240 << 20,
                slowdown_c: Some(95),
                shutdown_c: Some(98),
                slowdown_margin_c: None,
                ecc: false,
                mig: false,
                fan: true,
                nvlinks: 0,
            },
        }
    }
}

/// One GPU.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(missing_docs, reason = "the names are NVML's words with their units")]
pub struct Gpu {
    pub model: Model,
    pub uuid: String,
    pub pci_bus: u8,
    pub fault: Option<Fault>,
    pub temperature_c: u32,
    pub used_percent: u32,
    pub fan_percent: u32,
    pub memory_used_bytes: u64,
    pub energy_mj: u64,
    pub ecc_corrected: u64,
    pub ecc_uncorrected: u64,
    pub rows_remapped_corrected: u32,
    pub rows_remapped_uncorrected: u32,
    pub row_remap_pending: bool,
    pub row_remap_failed: bool,
    pub pcie_replays: u32,
    pub pcie_generation: Option<u32>,
    pub pcie_width: Option<u32>,
    pub nvlink_errors: u32,
    /// NVML's `nvmlDeviceGpuRecoveryAction_t`; absent on a driver that does not tell.
    pub recovery_action: Option<u32>,
    pub mig: bool,
    pub processes: Vec<u32>,
    pub storm_delay_ms: u32,
    // What callers set.
    pub limit_mw: Option<u32>,
    pub locked_mhz: Option<(u32, u32)>,
    pub persistence: bool,
}

impl Default for Gpu {
    fn default() -> Self {
        Self {
            model: Model::default(),
            uuid: "GPU-00000000-0000-0000-0000-000000000000".to_owned(),
            pci_bus: 0x17,
            fault: None,
            temperature_c: 41,
            used_percent: 0,
            fan_percent: 30,
            memory_used_bytes: 512 << 20,
            energy_mj: 0,
            ecc_corrected: 0,
            ecc_uncorrected: 0,
            rows_remapped_corrected: 0,
            rows_remapped_uncorrected: 0,
            row_remap_pending: false,
            row_remap_failed: false,
            pcie_replays: 0,
            pcie_generation: None,
            pcie_width: None,
            nvlink_errors: 0,
            recovery_action: None,
            mig: false,
            processes: Vec::new(),
            storm_delay_ms: 50,
            limit_mw: None,
            locked_mhz: None,
            persistence: true,
        }
    }
}

impl Gpu {
    /// The limit in force.
    pub fn limit_mw(&self) -> u32 {
        self.limit_mw.unwrap_or(self.model.card().default_mw)
    }

    /// What it draws: idle power and its share of the rest, never above the limit; a frozen sensor shows twice the card's most.
    pub fn power_mw(&self) -> u32 {
        let card = self.model.card();
        if self.fault == Some(Fault::FrozenPower) {
            return card.most_mw * 2;
        }
        let idle = card.most_mw / 10;
        (idle + (card.most_mw - idle) / 100 * self.used_percent.min(100)).min(self.limit_mw())
    }

    /// The SM clock: the greatest, or what it is locked to.
    pub fn clock_mhz(&self) -> u32 {
        let most = self.model.card().clock_mhz;
        self.locked_mhz.map_or(most, |(_, locked)| locked.min(most))
    }

    /// `nvmlClocksEventReasons`: idle, power cap, locked clocks.
    pub fn throttle_reasons(&self) -> u64 {
        let idle = u64::from(self.used_percent == 0);
        let capped = u64::from(self.power_mw() >= self.limit_mw() && self.used_percent > 0) << 2;
        let locked = u64::from(self.locked_mhz.is_some()) << 1;
        idle | capped | locked
    }

    /// A value of `nvmlDeviceGetFieldValues`, by the header's field ids.
    pub fn field(&self, id: u32) -> Option<i64> {
        let card = self.model.card();
        let linked = card.nvlinks > 0;
        match id {
            82 => card.ecc.then_some(i64::from(self.temperature_c) + 5),
            38 => linked.then_some(self.nvlink_errors.into()),
            45 | 52 | 59 => linked.then_some(0),
            91 => linked.then_some(card.nvlinks.into()),
            142 => card.ecc.then_some(self.rows_remapped_corrected.into()),
            143 => card.ecc.then_some(self.rows_remapped_uncorrected.into()),
            144 => card.ecc.then_some(self.row_remap_pending.into()),
            145 => card.ecc.then_some(self.row_remap_failed.into()),
            194 => card.slowdown_margin_c,
            230 => self.recovery_action.map(i64::from),
            _ => None,
        }
    }
}

/// What callers set of one GPU.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Set {
    limit_mw: Option<u32>,
    locked_mhz: Option<(u32, u32)>,
    persistence: bool,
}

#[derive(Default)]
struct Loaded {
    stamp: Option<(PathBuf, SystemTime, u64)>,
    machine: Machine,
    set: BTreeMap<String, Set>,
}

static LOADED: Mutex<Option<Loaded>> = Mutex::new(None);

impl Machine {
    /// The machine as the file has it now. A file that is absent or cannot be understood is a machine without GPUs.
    pub fn now() -> Self {
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        let loaded = loaded.get_or_insert_default();
        let Some(path) = std::env::var_os(VARIABLE).map(PathBuf::from) else {
            return Self::default();
        };
        let stamp = std::fs::metadata(&path)
            .and_then(|data| Ok((path.clone(), data.modified()?, data.len())))
            .ok();
        if stamp.is_none() || stamp != loaded.stamp {
            loaded.machine = read(&path).unwrap_or_default();
            loaded.set = read(&set_path(&path)).unwrap_or_default();
            loaded.stamp = stamp;
        }
        let mut machine = loaded.machine.clone();
        for gpu in &mut machine.gpus {
            if let Some(set) = loaded.set.get(&gpu.uuid) {
                gpu.limit_mw = set.limit_mw;
                gpu.locked_mhz = set.locked_mhz;
                gpu.persistence = set.persistence;
            }
        }
        machine
    }

    /// Keeps what a caller set.
    pub fn keep(index: usize, gpu: &Gpu) {
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        let loaded = loaded.get_or_insert_default();
        let known = loaded.machine.gpus.get(index);
        if known.is_none_or(|known| known.uuid != gpu.uuid) {
            return;
        }
        let set = Set {
            limit_mw: gpu.limit_mw,
            locked_mhz: gpu.locked_mhz,
            persistence: gpu.persistence,
        };
        loaded.set.insert(gpu.uuid.clone(), set);
        if let Some((path, ..)) = &loaded.stamp
            && let Ok(bytes) = serde_json::to_vec(&loaded.set)
            && let Err(error) = std::fs::write(set_path(path), bytes)
        {
            eprintln!("fake NVML: cannot keep what was set: {error}");
        }
    }

    /// Writes the file so that no reader sees half of it.
    pub fn write(&self, path: &Path) -> std::io::Result<()> {
        let fresh = path.with_extension("new");
        std::fs::write(&fresh, serde_json::to_vec_pretty(self)?)?;
        std::fs::rename(fresh, path)
    }
}

fn set_path(path: &Path) -> PathBuf {
    let mut text = path.as_os_str().to_owned();
    text.push(".set");
    PathBuf::from(text)
}

fn read<T: for<'de> Deserialize<'de>>(path: &Path) -> Option<T> {
    let bytes = std::fs::read(path).ok()?;
    serde_json::from_slice(&bytes)
        .inspect_err(|error| eprintln!("fake NVML: `{}` is not a scenario: {error}", path.display()))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_answers_nothing_that_it_does_not_support() {
        let game = Gpu {
            model: Model::Rtx3080,
            row_remap_pending: true,
            nvlink_errors: 7,
            ..Gpu::default()
        };
        for id in [38, 82, 142, 144, 194, 230] {
            assert_eq!(game.field(id), None, "field {id}");
        }
    }

    #[test]
    fn power_stays_below_the_limit_unless_its_sensor_is_frozen() {
        let mut gpu = Gpu {
            used_percent: 100,
            limit_mw: Some(220_000),
            ..Gpu::default()
        };
        assert_eq!(gpu.power_mw(), 220_000);
        gpu.fault = Some(Fault::FrozenPower);
        assert_eq!(gpu.power_mw(), 700_000);
    }

    #[test]
    fn a_scenario_says_only_what_differs() {
        let text = r#"{ "gpus": [ { "model": "h100", "uuid": "GPU-a", "fault": "lost" } ], "events": [ { "gpu": 0, "xid": 79 } ] }"#;
        let machine: Machine = serde_json::from_str(text).expect("a scenario");
        assert_eq!(machine.gpus[0].fault, Some(Fault::Lost));
        assert_eq!(machine.gpus[0].temperature_c, 41);
        assert!(
            serde_json::from_str::<Machine>(r#"{ "gpu": [] }"#).is_err(),
            "a misspelt word"
        );
    }
}

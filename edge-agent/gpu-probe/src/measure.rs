//! What is read of a GPU, quantity by quantity.
//!
//! A value that the device does not support is left out, one that could not be read this time is missing, and neither is ever 0.
//! A device that is lost or wants a reset says so at the first call, and the rest is not asked.
//!
//! To add a quantity: a line in `wire/src/reading.rs`, a line here. Read next: `devices.rs` (who asks).

use std::collections::BTreeSet;

use nvml_wrapper::Device;
use nvml_wrapper::enum_wrappers::device::{
    Clock, EccCounter, MemoryError, PcieUtilCounter, TemperatureSensor, TemperatureThreshold,
};
use nvml_wrapper::error::NvmlError;
use nvml_wrapper_sys::bindings::field_id::{
    NVML_FI_DEV_GET_GPU_RECOVERY_ACTION, NVML_FI_DEV_MEMORY_TEMP, NVML_FI_DEV_NVLINK_CRC_DATA_ERROR_COUNT_TOTAL,
    NVML_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL, NVML_FI_DEV_NVLINK_LINK_COUNT,
    NVML_FI_DEV_NVLINK_RECOVERY_ERROR_COUNT_TOTAL, NVML_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_TOTAL,
    NVML_FI_DEV_REMAPPED_COR, NVML_FI_DEV_REMAPPED_FAILURE, NVML_FI_DEV_REMAPPED_PENDING, NVML_FI_DEV_REMAPPED_UNC,
    NVML_FI_DEV_RETIRED_DBE, NVML_FI_DEV_RETIRED_PENDING, NVML_FI_DEV_RETIRED_SBE,
    NVML_FI_DEV_TEMPERATURE_SLOWDOWN_TLIMIT,
};
use wire::Quantity as Q;
use wire::probe::GpuState;

use crate::fields;

/// One round of values.
#[derive(Debug, Default)]
pub struct Values(Vec<(Q, Option<i64>)>);

/// What this device was found not to support, so that it is not asked again each second.
#[derive(Debug, Default)]
pub struct Supported {
    not: BTreeSet<Q>,
}

impl Values {
    /// With the quantities' numbers.
    pub fn numbered(self) -> Vec<(u16, Option<i64>)> {
        self.0
            .into_iter()
            .map(|(quantity, value)| (quantity as u16, value))
            .collect()
    }
}

/// Reads everything. Blocks for as long as the driver does: a few milliseconds, and 40 ms for the two PCIe windows.
pub fn measure(device: &Device<'_>, supported: &mut Supported) -> Result<Values, GpuState> {
    // Told first and asked of every model: whether the device is there at all.
    device
        .temperature(TemperatureSensor::Gpu)
        .map(drop)
        .or_else(|error| match error {
            NvmlError::GpuLost | NvmlError::ResetRequired => Err(state(&error)),
            _ => Ok(()),
        })?;
    let mut round = Round {
        values: Values::default(),
        supported,
        gone: None,
    };
    sensors(device, &mut round);
    rates(device, &mut round);
    memory(device, &mut round);
    bus(device, &mut round);
    modes(device, &mut round);
    read_fields(device, &mut round);
    match round.gone {
        Some(state) => Err(state),
        None => Ok(round.values),
    }
}

/// What an error says about the device.
pub fn state(error: &NvmlError) -> GpuState {
    match error {
        NvmlError::GpuLost => GpuState::Lost,
        NvmlError::ResetRequired => GpuState::ResetRequired,
        other => GpuState::Unreadable {
            reason: other.to_string(),
        },
    }
}

struct Round<'a> {
    values: Values,
    supported: &'a mut Supported,
    /// It went away in the middle.
    gone: Option<GpuState>,
}

impl Round<'_> {
    fn note<T: TryInto<i64>>(&mut self, quantity: Q, read: impl FnOnce() -> Result<T, NvmlError>) {
        if self.gone.is_some() || self.supported.not.contains(&quantity) {
            return;
        }
        match read() {
            Ok(value) => self.values.0.push((quantity, value.try_into().ok())),
            // An older driver lacks the function: as good as a device that does not support it.
            Err(NvmlError::NotSupported | NvmlError::FailedToLoadSymbol(_) | NvmlError::FunctionNotFound) => {
                self.supported.not.insert(quantity);
            }
            Err(error @ (NvmlError::GpuLost | NvmlError::ResetRequired)) => self.gone = Some(state(&error)),
            Err(_) => self.values.0.push((quantity, None)),
        }
    }
}

fn sensors(device: &Device<'_>, round: &mut Round<'_>) {
    round.note(Q::GpuTemperature, || {
        device
            .temperature(TemperatureSensor::Gpu)
            .map(|degrees| degrees * 1_000)
    });
    round.note(Q::GpuTemperatureSlowdown, || {
        let threshold = device.temperature_threshold(TemperatureThreshold::Slowdown);
        threshold.map(|degrees| degrees * 1_000)
    });
    round.note(Q::GpuPower, || device.power_usage());
    round.note(Q::GpuPowerCap, || device.power_management_limit());
    round.note(Q::GpuPowerEnforced, || device.enforced_power_limit());
    round.note(Q::GpuEnergy, || device.total_energy_consumption());
    // The first fan stands for all: they are driven together on every board with several.
    round.note(Q::GpuFan, || match device.num_fans()? {
        0 => Err(NvmlError::NotSupported),
        _ => device.fan_speed(0).map(|percent| percent * 100),
    });
}

fn rates(device: &Device<'_>, round: &mut Round<'_>) {
    // One call for two values, made twice: it reads a counter of the driver.
    round.note(Q::GpuUsed, || device.utilization_rates().map(|used| used.gpu * 100));
    round.note(Q::GpuMemoryBusy, || {
        device.utilization_rates().map(|used| used.memory * 100)
    });
    round.note(Q::GpuEncoderUsed, || {
        device.encoder_utilization().map(|used| used.utilization * 100)
    });
    round.note(Q::GpuDecoderUsed, || {
        device.decoder_utilization().map(|used| used.utilization * 100)
    });
    round.note(Q::GpuClock, || device.clock_info(Clock::SM));
    round.note(Q::GpuClockMax, || device.max_clock_info(Clock::SM));
    round.note(Q::GpuMemoryClock, || device.clock_info(Clock::Memory));
    round.note(Q::GpuThrottleReasons, || {
        device.current_throttle_reasons().map(|reasons| reasons.bits())
    });
}

fn memory(device: &Device<'_>, round: &mut Round<'_>) {
    round.note(Q::GpuMemoryUsed, || device.memory_info().map(|memory| memory.used));
    round.note(Q::GpuMemoryTotal, || device.memory_info().map(|memory| memory.total));
    round.note(Q::GpuEccCorrected, || {
        device.total_ecc_errors(MemoryError::Corrected, EccCounter::Volatile)
    });
    round.note(Q::GpuEccUncorrected, || {
        device.total_ecc_errors(MemoryError::Uncorrected, EccCounter::Volatile)
    });
}

fn bus(device: &Device<'_>, round: &mut Round<'_>) {
    // NVML gives KB/s; its header says 1,024.
    let bytes = |counter| {
        device
            .pcie_throughput(counter)
            .map(|kilobytes| u64::from(kilobytes) * 1_024)
    };
    round.note(Q::GpuPcieSent, || bytes(PcieUtilCounter::Send));
    round.note(Q::GpuPcieReceived, || bytes(PcieUtilCounter::Receive));
    round.note(Q::GpuPcieReplays, || device.pcie_replay_counter());
    round.note(Q::GpuPcieGeneration, || device.current_pcie_link_gen());
    round.note(Q::GpuPcieGenerationMax, || device.max_pcie_link_gen());
    round.note(Q::GpuPcieWidth, || device.current_pcie_link_width());
    round.note(Q::GpuPcieWidthMax, || device.max_pcie_link_width());
}

fn modes(device: &Device<'_>, round: &mut Round<'_>) {
    round.note(Q::GpuPersistence, || device.is_in_persistent_mode().map(i64::from));
    round.note(Q::GpuMig, || device.mig_mode().map(|mode| i64::from(mode.current)));
    round.note(Q::GpuProcesses, || device.running_compute_processes_count());
    round.note(Q::GpuPerformanceState, || {
        device.performance_state().map(|state| state.as_c())
    });
}

/// The fields that stand for one quantity, or add up to it.
const FIELDS: &[(Q, &[u32], i64)] = &[
    (Q::GpuMemoryTemperature, &[NVML_FI_DEV_MEMORY_TEMP], 1_000),
    (
        Q::GpuTemperatureSlowdownMargin,
        &[NVML_FI_DEV_TEMPERATURE_SLOWDOWN_TLIMIT],
        1_000,
    ),
    (Q::GpuRowsRemappedCorrected, &[NVML_FI_DEV_REMAPPED_COR], 1),
    (Q::GpuRowsRemappedUncorrected, &[NVML_FI_DEV_REMAPPED_UNC], 1),
    (Q::GpuRowRemapPending, &[NVML_FI_DEV_REMAPPED_PENDING], 1),
    (Q::GpuRowRemapFailed, &[NVML_FI_DEV_REMAPPED_FAILURE], 1),
    (
        Q::GpuPagesRetired,
        &[NVML_FI_DEV_RETIRED_SBE, NVML_FI_DEV_RETIRED_DBE],
        1,
    ),
    (Q::GpuPagesPending, &[NVML_FI_DEV_RETIRED_PENDING], 1),
    (Q::GpuNvlinks, &[NVML_FI_DEV_NVLINK_LINK_COUNT], 1),
    (
        Q::GpuNvlinkErrors,
        &[
            NVML_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL,
            NVML_FI_DEV_NVLINK_CRC_DATA_ERROR_COUNT_TOTAL,
            NVML_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_TOTAL,
            NVML_FI_DEV_NVLINK_RECOVERY_ERROR_COUNT_TOTAL,
        ],
        1,
    ),
    (Q::GpuRecoveryAction, &[NVML_FI_DEV_GET_GPU_RECOVERY_ACTION], 1),
];

/// All fields in one call of the driver.
fn read_fields(device: &Device<'_>, round: &mut Round<'_>) {
    let wanted: Vec<(Q, &[u32], i64)> = FIELDS
        .iter()
        .filter(|(quantity, ..)| !round.supported.not.contains(quantity))
        .copied()
        .collect();
    let ids: Vec<u32> = wanted.iter().flat_map(|(_, ids, _)| *ids).copied().collect();
    if ids.is_empty() {
        return;
    }
    let mut samples = match fields::read(device, &ids) {
        Ok(samples) => samples.into_iter(),
        Err(code) => {
            for (quantity, ..) in wanted {
                round.note(quantity, || Err::<i64, _>(NvmlError::from(code)));
            }
            return;
        }
    };
    for (quantity, ids, factor) in wanted {
        let mut sum = Ok(0i64);
        for sample in samples.by_ref().take(ids.len()) {
            sum = sum.and_then(|sum| sample.map(|value| sum.saturating_add(value)));
        }
        round.note(quantity, || {
            sum.map(|sum| sum.saturating_mul(factor)).map_err(NvmlError::from)
        });
    }
}

//! What may be set of a GPU: a typed allow-list, each within the range that the device names, each read back.
//!
//! Never decides whether it should be: that was judged, and is durable, before the agent asks. A value that reads back as another
//! is told as it is; whether that is a failure is the actuator's to say.
//!
//! Read next: `wire::probe::Write` (the list), the agent's `actuators/` (who asks).

use nvml_wrapper::Device;
use nvml_wrapper::enum_wrappers::device::Clock;
use nvml_wrapper::enums::device::GpuLockedClocksSetting;
use nvml_wrapper::error::NvmlError;
use wire::probe::Write;

/// What was read before and after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Before.
    pub before: Option<i64>,
    /// After.
    pub after: Option<i64>,
}

/// Sets it and reads it back. Blocks for as long as the driver does.
pub fn write(device: &mut Device<'_>, write: Write) -> Result<Written, String> {
    within(device, write)?;
    let before = value(device, write);
    apply(device, write).map_err(|error| refusal(&error))?;
    Ok(Written {
        before,
        after: value(device, write),
    })
}

/// Refuses what lies outside the device's own range, so that no driver has to be trusted with it.
fn within(device: &Device<'_>, write: Write) -> Result<(), String> {
    match write {
        Write::PowerCap { milliwatts } => {
            let range = device
                .power_management_limit_constraints()
                .map_err(|error| format!("the device does not tell its range of power limits: {error}"))?;
            if !(range.min_limit..=range.max_limit).contains(&milliwatts) {
                return Err(format!(
                    "{milliwatts} mW is outside what the device accepts, {} to {} mW",
                    range.min_limit, range.max_limit
                ));
            }
            Ok(())
        }
        Write::ClockLock { min_mhz, max_mhz } => {
            let most = device
                .max_clock_info(Clock::SM)
                .map_err(|error| format!("the device does not tell its greatest clock: {error}"))?;
            if min_mhz > max_mhz || max_mhz > most {
                return Err(format!(
                    "{min_mhz} to {max_mhz} MHz is outside what the device accepts, up to {most} MHz"
                ));
            }
            Ok(())
        }
        Write::ResetPowerCap | Write::ResetClockLock | Write::Persistence { .. } => Ok(()),
    }
}

fn apply(device: &mut Device<'_>, write: Write) -> Result<(), NvmlError> {
    match write {
        Write::PowerCap { milliwatts } => device.set_power_management_limit(milliwatts),
        Write::ResetPowerCap => {
            let default = device.power_management_limit_default()?;
            device.set_power_management_limit(default)
        }
        Write::ClockLock { min_mhz, max_mhz } => device.set_gpu_locked_clocks(GpuLockedClocksSetting::Numeric {
            min_clock_mhz: min_mhz,
            max_clock_mhz: max_mhz,
        }),
        Write::ResetClockLock => device.reset_gpu_locked_clocks(),
        Write::Persistence { on } => device.set_persistent(on),
    }
}

/// What a write is about, as it reads now.
fn value(device: &Device<'_>, write: Write) -> Option<i64> {
    match write {
        Write::PowerCap { .. } | Write::ResetPowerCap => device.power_management_limit().map(i64::from).ok(),
        Write::ClockLock { .. } | Write::ResetClockLock => device.clock_info(Clock::SM).map(i64::from).ok(),
        Write::Persistence { .. } => device.is_in_persistent_mode().map(i64::from).ok(),
    }
}

fn refusal(error: &NvmlError) -> String {
    match error {
        NvmlError::NoPermission => "the driver does not permit it: setting devices needs root on the host".to_owned(),
        other => format!("the driver refuses: {other}"),
    }
}

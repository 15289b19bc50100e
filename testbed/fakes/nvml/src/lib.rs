//! A fake `libnvidia-ml.so.1`: NVML's C ABI over GPUs that a file describes, with faults that the file scripts.
//!
//! It holds no opinion about GPUs: what a device reads, refuses or suffers is in the scenario (`scenario.rs`), and this file only
//! translates between that and C. Layouts and numbers are those of NVIDIA's public header `nvml.h` (CUDA 12 and 13).
//!
//! Invariant: a function writes through a pointer only after it has checked that it is not null, and only what the header says.
//! Read next: `scenario.rs` (the file and the device models), `abi.rs` (the C types).

// Every function below is called by C conventions with pointers of the caller; each says why what it does with them is sound.
#![allow(unsafe_code, non_snake_case)]

pub mod abi;
pub mod scenario;

use std::ffi::{CStr, c_char, c_int, c_uint, c_ulonglong, c_void};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use abi::{EventData, FieldValue, Memory, PciInfo, ProcessInfo, Utilization, code};
use scenario::{Fault, Gpu, Machine, Startup};

/// A device, as a pointer that is never followed: its place in the scenario plus one.
type Device = *mut c_void;
/// An event set; there is one.
type EventSet = *mut c_void;
type Code = c_uint;

/// How long a scripted hang sleeps before it looks whether the scenario still has it.
const HANG_LOOK: Duration = Duration::from_millis(5);
/// Events of the scenario that were delivered.
static DELIVERED: AtomicU64 = AtomicU64::new(0);
/// The only event set.
const THE_SET: usize = 1;

/// Writes `value` where the caller wants it.
///
/// # Safety
/// `to` is null, or valid for a write of a `T`, as the header asks of every caller.
unsafe fn put<T>(to: *mut T, value: T) -> Code {
    if to.is_null() {
        return code::INVALID_ARGUMENT;
    }
    // SAFETY: not null, and the caller promises that it may be written.
    unsafe { to.write(value) };
    code::SUCCESS
}

/// Writes a string with its closing zero into a buffer of `length` bytes.
///
/// # Safety
/// `to` is null, or valid for writes of `length` bytes.
unsafe fn put_text(to: *mut c_char, length: c_uint, text: &str) -> Code {
    if to.is_null() {
        return code::INVALID_ARGUMENT;
    }
    if text.len() + 1 > length as usize {
        return code::INSUFFICIENT_SIZE;
    }
    // SAFETY: the text and its zero fit into `length` bytes, which the caller promises may be written.
    unsafe {
        std::ptr::copy_nonoverlapping(text.as_ptr().cast(), to, text.len());
        to.add(text.len()).write(0);
    }
    code::SUCCESS
}

/// The device's GPU as the scenario has it now, after its fault had its say.
fn gpu(device: Device) -> Result<(usize, Gpu), Code> {
    let index = (device as usize).checked_sub(1).ok_or(code::INVALID_ARGUMENT)?;
    let began = Instant::now();
    loop {
        let machine = Machine::now();
        let gpu = machine.gpus.get(index).cloned().ok_or(code::INVALID_ARGUMENT)?;
        match gpu.fault {
            Some(Fault::Hang) => std::thread::sleep(HANG_LOOK),
            Some(Fault::Crash) => std::process::abort(),
            Some(Fault::Lost) => return Err(code::GPU_IS_LOST),
            Some(Fault::ResetRequired) => return Err(code::RESET_REQUIRED),
            // Each call waits its turn behind the handling of the errors.
            Some(Fault::EccStorm) if began.elapsed() < Duration::from_millis(u64::from(gpu.storm_delay_ms)) => {
                std::thread::sleep(HANG_LOOK);
            }
            Some(Fault::EccStorm | Fault::FrozenPower | Fault::StuckLimit | Fault::NoPermission) | None => {
                return Ok((index, gpu));
            }
        }
    }
}

/// Reads something of a GPU; `None` is what its model does not support.
///
/// # Safety
/// As for [`put`].
unsafe fn read<T>(device: Device, to: *mut T, what: impl FnOnce(&Gpu) -> Option<T>) -> Code {
    match gpu(device) {
        Ok((_, gpu)) => match what(&gpu) {
            // SAFETY: the caller's promise is passed on.
            Some(value) => unsafe { put(to, value) },
            None => code::NOT_SUPPORTED,
        },
        Err(code) => code,
    }
}

/// Changes something of a GPU that lasts.
fn change(device: Device, what: impl FnOnce(&mut Gpu) -> Code) -> Code {
    match gpu(device) {
        Ok((_, gpu)) if gpu.fault == Some(Fault::NoPermission) => code::NO_PERMISSION,
        Ok((index, mut gpu)) => {
            let code = what(&mut gpu);
            if code == code::SUCCESS {
                Machine::keep(index, &gpu);
            }
            code
        }
        Err(code) => code,
    }
}

macro_rules! readings {
    ($($(#[$doc:meta])* $name:ident($to:ty) = $what:expr;)*) => {$(
        $(#[$doc])*
        ///
        /// # Safety
        /// `to` is null or may be written.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(device: Device, to: *mut $to) -> Code {
            // SAFETY: the caller's promise is passed on.
            unsafe { read(device, to, $what) }
        }
    )*};
}

/// Starts the library, or fails as the scenario says.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlInit_v2() -> Code {
    loop {
        return match Machine::now().init {
            Startup::Ok => code::SUCCESS,
            Startup::DriverNotLoaded => code::DRIVER_NOT_LOADED,
            Startup::VersionMismatch => code::LIB_RM_VERSION_MISMATCH,
            Startup::NoPermission => code::NO_PERMISSION,
            Startup::Crash => std::process::abort(),
            Startup::Hang => {
                std::thread::sleep(HANG_LOOK);
                continue;
            }
        };
    }
}

/// As [`nvmlInit_v2`].
#[unsafe(no_mangle)]
pub extern "C" fn nvmlInitWithFlags(_flags: c_uint) -> Code {
    nvmlInit_v2()
}

/// Ends the library.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlShutdown() -> Code {
    code::SUCCESS
}

/// The kernel driver's version.
///
/// # Safety
/// `to` is null or has `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlSystemGetDriverVersion(to: *mut c_char, length: c_uint) -> Code {
    // SAFETY: the caller's promise is passed on.
    unsafe { put_text(to, length, &Machine::now().driver) }
}

/// The library's version.
///
/// # Safety
/// `to` is null or has `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlSystemGetNVMLVersion(to: *mut c_char, length: c_uint) -> Code {
    // SAFETY: the caller's promise is passed on.
    unsafe { put_text(to, length, &format!("12.{} fake", Machine::now().driver)) }
}

/// How many GPUs there are.
///
/// # Safety
/// `to` is null or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetCount_v2(to: *mut c_uint) -> Code {
    // SAFETY: the caller's promise is passed on.
    unsafe { put(to, Machine::now().gpus.len() as c_uint) }
}

/// The GPU at this place.
///
/// # Safety
/// `to` is null or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetHandleByIndex_v2(index: c_uint, to: *mut Device) -> Code {
    if index as usize >= Machine::now().gpus.len() {
        return code::INVALID_ARGUMENT;
    }
    // SAFETY: the caller's promise is passed on.
    unsafe { put(to, std::ptr::without_provenance_mut(index as usize + 1)) }
}

/// The GPU with this UUID.
///
/// # Safety
/// `uuid` is null or a C string; `to` is null or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetHandleByUUID(uuid: *const c_char, to: *mut Device) -> Code {
    if uuid.is_null() {
        return code::INVALID_ARGUMENT;
    }
    // SAFETY: not null, and the caller promises a C string.
    let wanted = unsafe { CStr::from_ptr(uuid) }.to_bytes();
    let found = Machine::now().gpus.iter().position(|gpu| gpu.uuid.as_bytes() == wanted);
    match found {
        // SAFETY: the caller's promise is passed on.
        Some(index) => unsafe { put(to, std::ptr::without_provenance_mut(index + 1)) },
        None => code::NOT_FOUND,
    }
}

/// The model's name.
///
/// # Safety
/// `to` is null or has `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetName(device: Device, to: *mut c_char, length: c_uint) -> Code {
    match gpu(device) {
        // SAFETY: the caller's promise is passed on.
        Ok((_, gpu)) => unsafe { put_text(to, length, gpu.model.card().name) },
        Err(code) => code,
    }
}

/// The UUID.
///
/// # Safety
/// `to` is null or has `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetUUID(device: Device, to: *mut c_char, length: c_uint) -> Code {
    match gpu(device) {
        // SAFETY: the caller's promise is passed on.
        Ok((_, gpu)) => unsafe { put_text(to, length, &gpu.uuid) },
        Err(code) => code,
    }
}

/// The board's serial number.
///
/// # Safety
/// `to` is null or has `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetSerial(device: Device, to: *mut c_char, length: c_uint) -> Code {
    match gpu(device) {
        // SAFETY: the caller's promise is passed on.
        Ok((index, _)) => unsafe { put_text(to, length, &format!("16501230{index:05}")) },
        Err(code) => code,
    }
}

/// The VBIOS version.
///
/// # Safety
/// `to` is null or has `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetVbiosVersion(device: Device, to: *mut c_char, length: c_uint) -> Code {
    match gpu(device) {
        // SAFETY: the caller's promise is passed on.
        Ok(_) => unsafe { put_text(to, length, "96.00.74.00.01") },
        Err(code) => code,
    }
}

readings! {
    /// Where it is on the PCI bus.
    nvmlDeviceGetPciInfo_v3(PciInfo) = |gpu| Some(PciInfo::at(gpu.pci_bus));
    /// Power that it draws, milliwatts.
    nvmlDeviceGetPowerUsage(c_uint) = |gpu| Some(gpu.power_mw());
    /// Energy since the driver was loaded, millijoules.
    nvmlDeviceGetTotalEnergyConsumption(c_ulonglong) = |gpu| Some(gpu.energy_mj);
    /// The limit that was set, milliwatts.
    nvmlDeviceGetPowerManagementLimit(c_uint) = |gpu| Some(gpu.limit_mw());
    /// The limit that a new driver sets, milliwatts.
    nvmlDeviceGetPowerManagementDefaultLimit(c_uint) = |gpu| Some(gpu.model.card().default_mw);
    /// The least of all limits on it, milliwatts.
    nvmlDeviceGetEnforcedPowerLimit(c_uint) = |gpu| Some(gpu.limit_mw());
    /// Shares of time that kernels ran and memory was busy, percent.
    nvmlDeviceGetUtilizationRates(Utilization) =
        |gpu| Some(Utilization { gpu: gpu.used_percent, memory: gpu.used_percent / 2 });
    /// Why clocks are held down, bit mask.
    nvmlDeviceGetCurrentClocksThrottleReasons(c_ulonglong) = |gpu| Some(gpu.throttle_reasons());
    /// Generation of the PCIe link.
    nvmlDeviceGetCurrPcieLinkGeneration(c_uint) = |gpu| Some(gpu.pcie_generation.unwrap_or(4));
    /// Width of the PCIe link, lanes.
    nvmlDeviceGetCurrPcieLinkWidth(c_uint) = |gpu| Some(gpu.pcie_width.unwrap_or(16));
    /// Greatest generation of the PCIe link.
    nvmlDeviceGetMaxPcieLinkGeneration(c_uint) = |_| Some(4);
    /// Greatest width of the PCIe link, lanes.
    nvmlDeviceGetMaxPcieLinkWidth(c_uint) = |_| Some(16);
    /// PCIe packets sent again.
    nvmlDeviceGetPcieReplayCounter(c_uint) = |gpu| Some(gpu.pcie_replays);
    /// How many fans.
    nvmlDeviceGetNumFans(c_uint) = |gpu| Some(u32::from(gpu.model.card().fan));
    /// 1 while the driver stays loaded without clients.
    nvmlDeviceGetPersistenceMode(c_uint) = |gpu| Some(u32::from(gpu.persistence));
    /// Performance state, 0 is the fastest.
    nvmlDeviceGetPerformanceState(c_uint) = |gpu| Some(if gpu.used_percent > 0 { 0 } else { 8 });
    /// Which events can be waited for: XIDs and the recovery action.
    nvmlDeviceGetSupportedEventTypes(c_ulonglong) = |_| Some(abi::EVENT_XID | abi::EVENT_RECOVERY_ACTION);
}

/// Least and greatest limit that can be set, milliwatts.
///
/// # Safety
/// `least` and `most` are null or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetPowerManagementLimitConstraints(
    device: Device,
    least: *mut c_uint,
    most: *mut c_uint,
) -> Code {
    // SAFETY: the caller's promise is passed on.
    let code = unsafe { read(device, least, |gpu| Some(gpu.model.card().least_mw)) };
    if code != code::SUCCESS {
        return code;
    }
    // SAFETY: as above.
    unsafe { read(device, most, |gpu| Some(gpu.model.card().most_mw)) }
}

/// Sets the power limit. A stuck one says that it did.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceSetPowerManagementLimit(device: Device, milliwatts: c_uint) -> Code {
    change(device, |gpu| {
        let card = gpu.model.card();
        if !(card.least_mw..=card.most_mw).contains(&milliwatts) {
            return code::INVALID_ARGUMENT;
        }
        if gpu.fault != Some(Fault::StuckLimit) {
            gpu.limit_mw = Some(milliwatts);
        }
        code::SUCCESS
    })
}

/// Keeps the SM clock between two values, MHz.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceSetGpuLockedClocks(device: Device, least: c_uint, most: c_uint) -> Code {
    change(device, |gpu| {
        if least > most || most > gpu.model.card().clock_mhz {
            return code::INVALID_ARGUMENT;
        }
        if gpu.fault != Some(Fault::StuckLimit) {
            gpu.locked_mhz = Some((least, most));
        }
        code::SUCCESS
    })
}

/// Lets the SM clock go.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceResetGpuLockedClocks(device: Device) -> Code {
    change(device, |gpu| {
        gpu.locked_mhz = None;
        code::SUCCESS
    })
}

/// Keeps the driver loaded without clients, or not.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceSetPersistenceMode(device: Device, on: c_uint) -> Code {
    change(device, |gpu| {
        gpu.persistence = on == 1;
        code::SUCCESS
    })
}

/// Core temperature, degrees Celsius.
///
/// # Safety
/// `to` is null or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetTemperature(device: Device, sensor: c_uint, to: *mut c_uint) -> Code {
    // SAFETY: the caller's promise is passed on.
    unsafe { read(device, to, |gpu| (sensor == 0).then_some(gpu.temperature_c)) }
}

/// A temperature threshold, degrees Celsius: 0 shutdown, 1 slowdown.
///
/// # Safety
/// `to` is null or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetTemperatureThreshold(device: Device, which: c_uint, to: *mut c_uint) -> Code {
    // SAFETY: the caller's promise is passed on.
    unsafe {
        read(device, to, |gpu| match which {
            0 => gpu.model.card().shutdown_c,
            1 => gpu.model.card().slowdown_c,
            _ => None,
        })
    }
}

/// Memory in all, free and used, bytes.
///
/// # Safety
/// `to` is null, or may be read and written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetMemoryInfo_v2(device: Device, to: *mut Memory) -> Code {
    if to.is_null() {
        return code::INVALID_ARGUMENT;
    }
    // SAFETY: not null, and the caller promises that it may be read.
    let version = unsafe { (*to).version };
    // SAFETY: the caller's promise is passed on.
    unsafe {
        read(device, to, |gpu| {
            let total = gpu.model.card().memory_bytes;
            let used = gpu.memory_used_bytes.min(total);
            Some(Memory {
                version,
                total,
                reserved: 0,
                free: total - used,
                used,
            })
        })
    }
}

/// A clock, MHz: 1 is the SM's, 2 the memory's.
///
/// # Safety
/// `to` is null or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetClockInfo(device: Device, which: c_uint, to: *mut c_uint) -> Code {
    // SAFETY: the caller's promise is passed on.
    unsafe {
        read(device, to, |gpu| match which {
            0 | 1 => Some(gpu.clock_mhz()),
            2 => Some(gpu.model.card().memory_clock_mhz),
            _ => None,
        })
    }
}

/// The greatest clock, MHz.
///
/// # Safety
/// `to` is null or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetMaxClockInfo(device: Device, which: c_uint, to: *mut c_uint) -> Code {
    // SAFETY: the caller's promise is passed on.
    unsafe {
        read(device, to, |gpu| match which {
            0 | 1 => Some(gpu.model.card().clock_mhz),
            2 => Some(gpu.model.card().memory_clock_mhz),
            _ => None,
        })
    }
}

/// PCIe throughput of the last 20 ms, KB/s: 0 sent, 1 received.
///
/// # Safety
/// `to` is null or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetPcieThroughput(device: Device, which: c_uint, to: *mut c_uint) -> Code {
    // SAFETY: the caller's promise is passed on.
    unsafe {
        read(device, to, |gpu| {
            Some(gpu.used_percent * if which == 0 { 1_000 } else { 2_000 })
        })
    }
}

/// Fan speed, percent.
///
/// # Safety
/// `to` is null or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetFanSpeed_v2(device: Device, fan: c_uint, to: *mut c_uint) -> Code {
    // SAFETY: the caller's promise is passed on.
    unsafe {
        read(device, to, |gpu| {
            (gpu.model.card().fan && fan == 0).then_some(gpu.fan_percent)
        })
    }
}

/// ECC errors: `kind` 0 corrected, 1 uncorrected.
///
/// # Safety
/// `to` is null or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetTotalEccErrors(
    device: Device,
    kind: c_uint,
    _counter: c_uint,
    to: *mut c_ulonglong,
) -> Code {
    // SAFETY: the caller's promise is passed on.
    unsafe {
        read(device, to, |gpu| {
            gpu.model.card().ecc.then_some(match kind {
                0 => gpu.ecc_corrected,
                _ => gpu.ecc_uncorrected,
            })
        })
    }
}

/// Share of time that the encoder was busy, percent.
///
/// # Safety
/// `to` and `period` are null or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetEncoderUtilization(device: Device, to: *mut c_uint, period: *mut c_uint) -> Code {
    // SAFETY: the caller's promise is passed on.
    let code = unsafe { read(device, to, |_| Some(0)) };
    if code != code::SUCCESS {
        return code;
    }
    // SAFETY: as above.
    unsafe { put(period, 167_000) }
}

/// Share of time that the decoder was busy, percent.
///
/// # Safety
/// `to` and `period` are null or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetDecoderUtilization(device: Device, to: *mut c_uint, period: *mut c_uint) -> Code {
    // SAFETY: the caller's promise is passed on.
    unsafe { nvmlDeviceGetEncoderUtilization(device, to, period) }
}

/// Whether the GPU is cut into instances, now and after a reset.
///
/// # Safety
/// `now` and `later` are null or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetMigMode(device: Device, now: *mut c_uint, later: *mut c_uint) -> Code {
    let mode = |gpu: &Gpu| gpu.model.card().mig.then_some(u32::from(gpu.mig));
    // SAFETY: the caller's promise is passed on.
    let code = unsafe { read(device, now, mode) };
    if code != code::SUCCESS {
        return code;
    }
    // SAFETY: as above.
    unsafe { read(device, later, mode) }
}

/// Processes with a compute context.
///
/// # Safety
/// `count` is null or may be read and written; `to` is null or has `*count` places.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetComputeRunningProcesses_v3(
    device: Device,
    count: *mut c_uint,
    to: *mut ProcessInfo,
) -> Code {
    let processes = match gpu(device) {
        Ok((_, gpu)) => gpu.processes,
        Err(code) => return code,
    };
    if count.is_null() {
        return code::INVALID_ARGUMENT;
    }
    // SAFETY: not null, and the caller promises that it may be read and written.
    let room = unsafe { count.replace(processes.len() as c_uint) } as usize;
    if room < processes.len() || (to.is_null() && !processes.is_empty()) {
        return code::INSUFFICIENT_SIZE;
    }
    for (place, pid) in processes.iter().enumerate() {
        // SAFETY: `place` is below the `*count` places that the caller promises.
        unsafe { to.add(place).write(ProcessInfo::of(*pid)) };
    }
    code::SUCCESS
}

/// Many values in one call, each with its own return code.
///
/// # Safety
/// `to` is null or has `count` places that may be read and written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetFieldValues(device: Device, count: c_int, to: *mut FieldValue) -> Code {
    let gpu = match gpu(device) {
        Ok((_, gpu)) => gpu,
        Err(code) => return code,
    };
    if to.is_null() || count <= 0 {
        return code::INVALID_ARGUMENT;
    }
    for place in 0..count as usize {
        // SAFETY: `place` is below `count`, and the caller promises so many places.
        let field = unsafe { &mut *to.add(place) };
        field.set(gpu.field(field.id));
    }
    code::SUCCESS
}

/// Makes the event set.
///
/// # Safety
/// `to` is null or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlEventSetCreate(to: *mut EventSet) -> Code {
    // SAFETY: the caller's promise is passed on.
    unsafe { put(to, std::ptr::without_provenance_mut(THE_SET)) }
}

/// Gives the event set back.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlEventSetFree(_set: EventSet) -> Code {
    code::SUCCESS
}

/// Wants events of a GPU.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceRegisterEvents(device: Device, types: c_ulonglong, _set: EventSet) -> Code {
    if types & !(abi::EVENT_XID | abi::EVENT_RECOVERY_ACTION) != 0 {
        return code::NOT_SUPPORTED;
    }
    match gpu(device) {
        Ok(_) => code::SUCCESS,
        Err(code) => code,
    }
}

/// Waits for the scenario's next event.
///
/// # Safety
/// `to` is null or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlEventSetWait_v2(_set: EventSet, to: *mut EventData, timeout_ms: c_uint) -> Code {
    let began = Instant::now();
    loop {
        let delivered = DELIVERED.load(Ordering::Acquire);
        let machine = Machine::now();
        if let Some(event) = machine.events.get(delivered as usize) {
            DELIVERED.store(delivered + 1, Ordering::Release);
            let (kind, data) = match event.xid {
                Some(xid) => (abi::EVENT_XID, xid),
                None => (abi::EVENT_RECOVERY_ACTION, 0),
            };
            let device = std::ptr::without_provenance_mut(event.gpu as usize + 1);
            // SAFETY: the caller's promise is passed on.
            return unsafe { put(to, EventData::new(device, kind, data)) };
        }
        if began.elapsed() >= Duration::from_millis(timeout_ms.into()) {
            return code::TIMEOUT;
        }
        std::thread::sleep(HANG_LOOK);
    }
}

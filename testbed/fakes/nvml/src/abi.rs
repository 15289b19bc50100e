//! The C types of `nvml.h` that the fake fills, with the header's layouts and numbers.

use std::ffi::{c_char, c_longlong, c_uint, c_ulonglong, c_void};

/// `nvmlReturn_t`.
pub mod code {
    /// It worked.
    pub const SUCCESS: u32 = 0;
    /// A null pointer, a wrong device, a value out of range.
    pub const INVALID_ARGUMENT: u32 = 2;
    /// This model cannot.
    pub const NOT_SUPPORTED: u32 = 3;
    /// Not as this user.
    pub const NO_PERMISSION: u32 = 4;
    /// No such thing.
    pub const NOT_FOUND: u32 = 6;
    /// The buffer is too small.
    pub const INSUFFICIENT_SIZE: u32 = 7;
    /// There is no kernel driver.
    pub const DRIVER_NOT_LOADED: u32 = 9;
    /// Nothing came in time.
    pub const TIMEOUT: u32 = 10;
    /// The GPU fell off the bus.
    pub const GPU_IS_LOST: u32 = 15;
    /// The GPU needs a reset.
    pub const RESET_REQUIRED: u32 = 16;
    /// Library and kernel driver are of different versions.
    pub const LIB_RM_VERSION_MISMATCH: u32 = 18;
}

/// `nvmlEventTypeXidCriticalError`.
pub const EVENT_XID: c_ulonglong = 8;
/// `nvmlEventTypeGpuRecoveryAction`.
pub const EVENT_RECOVERY_ACTION: c_ulonglong = 0x8000;
/// `NVML_VALUE_TYPE_UNSIGNED_LONG_LONG`.
const UNSIGNED_LONG_LONG: c_uint = 3;
/// `NVML_VALUE_TYPE_SIGNED_INT`, for margins below zero.
const SIGNED_INT: c_uint = 5;

/// `nvmlUtilization_t`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Utilization {
    /// Percent.
    pub gpu: c_uint,
    /// Percent.
    pub memory: c_uint,
}

/// `nvmlMemory_v2_t`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Memory {
    /// Size and version of the structure, which the caller sets.
    pub version: c_uint,
    /// Bytes.
    pub total: c_ulonglong,
    /// Bytes.
    pub reserved: c_ulonglong,
    /// Bytes.
    pub free: c_ulonglong,
    /// Bytes.
    pub used: c_ulonglong,
}

/// `nvmlPciInfo_t`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct PciInfo {
    bus_id_legacy: [c_char; 16],
    domain: c_uint,
    bus: c_uint,
    device: c_uint,
    device_id: c_uint,
    subsystem_id: c_uint,
    bus_id: [c_char; 32],
}

impl PciInfo {
    /// Function 0 of device 0 on this bus.
    pub fn at(bus: u8) -> Self {
        Self {
            bus_id_legacy: text(&format!("0000:{bus:02X}:00.0")),
            domain: 0,
            bus: bus.into(),
            device: 0,
            device_id: 0x26b9_10de,
            subsystem_id: 0,
            bus_id: text(&format!("00000000:{bus:02X}:00.0")),
        }
    }
}

fn text<const N: usize>(value: &str) -> [c_char; N] {
    let mut out = [0; N];
    for (to, byte) in out.iter_mut().zip(value.bytes().take(N - 1)) {
        *to = byte as c_char;
    }
    out
}

/// `nvmlProcessInfo_t` of version 3.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct ProcessInfo {
    pid: c_uint,
    used_memory: c_ulonglong,
    gpu_instance: c_uint,
    compute_instance: c_uint,
}

impl ProcessInfo {
    /// A process outside any instance.
    pub const fn of(pid: u32) -> Self {
        Self {
            pid,
            used_memory: 1 << 30,
            gpu_instance: u32::MAX,
            compute_instance: u32::MAX,
        }
    }
}

/// `nvmlEventData_t`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct EventData {
    device: *mut c_void,
    kind: c_ulonglong,
    data: c_ulonglong,
    gpu_instance: c_uint,
    compute_instance: c_uint,
}

impl EventData {
    /// An event of a whole GPU.
    pub const fn new(device: *mut c_void, kind: c_ulonglong, data: c_ulonglong) -> Self {
        Self {
            device,
            kind,
            data,
            gpu_instance: u32::MAX,
            compute_instance: u32::MAX,
        }
    }
}

/// `nvmlValue_t`: the two of its members that are used here.
#[derive(Clone, Copy)]
#[repr(C)]
union Value {
    unsigned: c_ulonglong,
    signed: std::ffi::c_int,
}

/// `nvmlFieldValue_t`.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct FieldValue {
    /// Which field.
    pub id: c_uint,
    scope: c_uint,
    timestamp: c_longlong,
    latency: c_longlong,
    kind: c_uint,
    code: c_uint,
    value: Value,
}

impl FieldValue {
    /// Fills in a value, or that the field is not supported.
    pub fn set(&mut self, value: Option<i64>) {
        match value {
            Some(value) if value < 0 => {
                self.kind = SIGNED_INT;
                self.value = Value { signed: value as i32 };
                self.code = code::SUCCESS;
            }
            Some(value) => {
                self.kind = UNSIGNED_LONG_LONG;
                self.value = Value { unsigned: value as u64 };
                self.code = code::SUCCESS;
            }
            None => self.code = code::NOT_SUPPORTED,
        }
    }
}

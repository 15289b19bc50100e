//! The agent's pipe to a GPU probe: a child process that reads and sets devices, so that a hung driver never hangs the agent.
//!
//! Requests go to the child's standard input, answers come from its standard output, both as `u32` little-endian length +
//! postcard. One answer per request, in order, with the request's number. The child writes nothing else to standard output;
//! its standard error goes to the agent's log. A request that is not answered within its deadline is given up; after two the
//! agent reports `gpu.probe = 0`, abandons the child and starts another with backoff.

use serde::{Deserialize, Serialize};

use crate::codec::{self, DecodeError};

/// Version of this protocol. Version 2 added [`Ask::Describe`], [`Ask::Measure`] and [`Ask::Write`], version 3 [`Ask::Clients`].
pub const VERSION: u16 = 3;
/// The first version that knows [`Ask::Clients`].
pub const CLIENTS: u16 = 3;
/// The oldest version that an agent still speaks with a probe; it asks such a probe nothing newer.
pub const OLDEST: u16 = 1;
/// Longest message in bytes: 64 GPUs with all their values fit many times.
pub const MAX_MESSAGE_BYTES: usize = 64 * 1024;

/// What the agent asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Repeated in the answer.
    pub number: u64,
    /// What.
    pub ask: Ask,
}

/// What can be asked. The order is part of the protocol: add at the end only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask {
    /// Who are you, and what is there? The first request.
    Hello,
    /// Read every GPU.
    Read,
    /// Limit a GPU's power; the answer carries the value read back.
    SetPowerCap {
        /// Index of the GPU.
        gpu: u32,
        /// The limit in milliwatts.
        milliwatts: u32,
    },
    /// Give a GPU its default limit back; the answer carries the value read back.
    ResetPowerCap {
        /// Index of the GPU.
        gpu: u32,
    },
    /// Say more about each GPU than `Hello` does.
    Describe,
    /// Read every value of every GPU, and what happened to them since the last time.
    Measure {
        /// For how long to wait for a GPU, in milliseconds; one that has not answered by then is [`GpuState::Hung`].
        patience_ms: u32,
    },
    /// Set something of a GPU; the answer carries what was read before and after.
    Write {
        /// Which: its UUID, because an index may mean another GPU after a driver was loaded anew.
        uuid: String,
        /// What.
        write: Write,
    },
    /// Say which processes use each GPU.
    Clients {
        /// For how long to wait for a GPU, in milliseconds; one that has not answered by then is left out.
        patience_ms: u32,
    },
}

/// What can be set. A probe sets nothing else, whoever asks. The order is part of the protocol: add at the end only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Write {
    /// Limit the power, within the range that the device names; read back in milliwatts.
    PowerCap {
        /// The limit in milliwatts.
        milliwatts: u32,
    },
    /// Give the default limit back; read back in milliwatts.
    ResetPowerCap,
    /// Keep the SM clock between two values, at most the device's greatest; read back is the present clock in MHz.
    ClockLock {
        /// Least, MHz.
        min_mhz: u32,
        /// Greatest, MHz.
        max_mhz: u32,
    },
    /// Let the SM clock go; read back is the present clock in MHz.
    ResetClockLock,
    /// Keep the driver loaded while nobody uses the GPU; read back is 0 or 1.
    Persistence {
        /// Whether.
        on: bool,
    },
}

/// What the probe answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The request's number.
    pub number: u64,
    /// What.
    pub reply: Reply,
}

/// Answers. The order is part of the protocol: add at the end only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// To `Hello`.
    Hello {
        /// Protocol version.
        version: u16,
        /// What is behind it, for example `NVML 13.580` or `simulated GPUs`.
        driver: String,
        /// The devices are played by a program.
        simulated: bool,
        /// One for each GPU, in index order.
        gpus: Vec<GpuInfo>,
    },
    /// To `Read`: one for each GPU, in index order. A GPU that cannot be read yields its error and does not hide its neighbours.
    Read(Vec<Result<GpuValues, String>>),
    /// To a set or reset: the power limit before it and read back after it, in milliwatts.
    PowerCap {
        /// Before.
        before: u32,
        /// After.
        after: u32,
    },
    /// The request could not be carried out.
    Failed {
        /// Why.
        reason: String,
    },
    /// To `Describe`: one for each GPU, in index order.
    Described(Vec<GpuDetails>),
    /// To `Measure`.
    Measured {
        /// One for each GPU, in index order.
        gpus: Vec<GpuReport>,
        /// What happened since the last time, oldest first; at most [`MAX_EVENTS`].
        events: Vec<GpuEvent>,
    },
    /// To `Write`: what was read before and after, in the unit of the [`Write`]; `None` where it cannot be read.
    Written {
        /// Before.
        before: Option<i64>,
        /// After.
        after: Option<i64>,
    },
    /// To `Clients`: one for each GPU that answered, in index order.
    Clients(Vec<GpuClients>),
}

/// Events in one answer; a storm beyond it shows in the kernel log and in the counters.
pub const MAX_EVENTS: usize = 64;

/// Processes of one GPU in one answer; a job has a few on each.
pub const MAX_CLIENTS: usize = 128;

/// Who uses a GPU.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuClients {
    /// As in [`GpuInfo`].
    pub uuid: String,
    /// Ids of processes, each once; at most [`MAX_CLIENTS`].
    pub pids: Vec<u32>,
}

/// More of what does not change while a GPU is there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuDetails {
    /// As in [`GpuInfo`].
    pub uuid: String,
    /// Place on the PCI bus as the kernel log writes it: `0000:17:00`; empty if unknown.
    pub pci: String,
    /// Serial number of the board.
    pub serial: Option<String>,
    /// Version of its firmware.
    pub vbios: Option<String>,
    /// Greatest SM clock, MHz.
    pub max_clock_mhz: Option<u32>,
}

/// One GPU as it was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuReport {
    /// As in [`GpuInfo`].
    pub uuid: String,
    /// Whether it could be read.
    pub state: GpuState,
    /// Number of the quantity, and its value; `None` is "could not be read this time". A quantity that the device does not support
    /// is not in the list, and neither is any of a device that could not be read.
    pub values: Vec<(u16, Option<i64>)>,
}

/// Whether a GPU could be read. The order is part of the protocol: add at the end only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum GpuState {
    /// It was.
    Answers,
    /// It fell off the bus.
    Lost,
    /// The driver wants it reset before anything else.
    ResetRequired,
    /// A call about it has not returned for so long.
    Hung {
        /// Milliseconds.
        for_ms: u64,
    },
    /// Anything else.
    Unreadable {
        /// What the driver says.
        reason: String,
    },
}

/// Something that the driver told of a GPU by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuEvent {
    /// As in [`GpuInfo`].
    pub uuid: String,
    /// What.
    pub what: GpuEventKind,
}

/// What the driver tells. The order is part of the protocol: add at the end only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum GpuEventKind {
    /// A critical error of this number.
    Xid(u64),
    /// It wants another recovery action than before; the action itself is among the values.
    RecoveryAction,
}

/// What does not change while a GPU is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuInfo {
    /// Stable id, for example NVML's `GPU-…` UUID.
    pub uuid: String,
    /// For example `NVIDIA L4`.
    pub model: String,
    /// Least power limit it accepts, in milliwatts.
    pub min_power_cap_mw: u32,
    /// Greatest.
    pub max_power_cap_mw: u32,
    /// Its default.
    pub default_power_cap_mw: u32,
}

/// What is read of a GPU. `None` is "not supported or not readable", never 0.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuValues {
    /// Core temperature, thousandths of a degree Celsius.
    pub temperature_mc: Option<i64>,
    /// Memory temperature, thousandths of a degree Celsius.
    pub memory_temperature_mc: Option<i64>,
    /// Power drawn, milliwatts.
    pub power_mw: Option<i64>,
    /// Power limit in force, milliwatts.
    pub power_cap_mw: Option<i64>,
    /// Utilisation, hundredths of a percent.
    pub used_bp: Option<i64>,
    /// Device memory in use, bytes.
    pub memory_used: Option<i64>,
    /// Device memory in all, bytes.
    pub memory_total: Option<i64>,
    /// SM clock, MHz.
    pub clock_mhz: Option<i64>,
    /// Fan speed, hundredths of a percent.
    pub fan_bp: Option<i64>,
    /// Uncorrected ECC errors.
    pub ecc_uncorrected: Option<i64>,
    /// NVML clocks-event reasons, bit mask.
    pub throttle_reasons: Option<i64>,
}

/// Length and payload of one message, ready to be written.
pub fn encode_message<T: Serialize>(message: &T) -> Vec<u8> {
    let body = codec::encode(message);
    let mut out = Vec::with_capacity(4 + body.len());
    out.extend_from_slice(&(body.len() as u32).to_le_bytes());
    out.extend_from_slice(&body);
    out
}

/// The payload length that a header announces, or an error when it is beyond [`MAX_MESSAGE_BYTES`].
pub fn message_length(header: [u8; 4]) -> Result<usize, DecodeError> {
    let length = u32::from_le_bytes(header) as usize;
    if length > MAX_MESSAGE_BYTES {
        return Err(DecodeError::TooLong {
            length,
            limit: MAX_MESSAGE_BYTES,
        });
    }
    Ok(length)
}

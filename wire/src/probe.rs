//! The agent's pipe to a GPU probe: a child process that reads and sets devices, so that a hung driver never hangs the agent.
//!
//! Requests go to the child's standard input, answers come from its standard output, both as `u32` little-endian length +
//! postcard. One answer per request, in order, with the request's number. The child writes nothing else to standard output;
//! its standard error goes to the agent's log. A request that is not answered within its deadline is given up; after two the
//! agent reports `gpu.probe = 0`, abandons the child and starts another with backoff.

use serde::{Deserialize, Serialize};

use crate::codec::{self, DecodeError};

/// Version of this protocol.
pub const VERSION: u16 = 1;
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

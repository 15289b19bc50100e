//! One piece of work that needs a place: what it takes, and what it demands of its node.

use std::collections::BTreeMap;

use super::node::DEVICE;

/// Work to place.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Work {
    /// Whose quota it counts against; empty for none.
    pub owner: String,
    /// CPU in thousandths of a core.
    pub cpu_milli: u64,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// GPUs.
    pub gpus: Gpus,
    /// GPU models (SKUs) of which one will do, sorted; none: any will do.
    pub models: Vec<String>,
    /// Labels that the node must carry.
    pub labels: BTreeMap<String, String>,
    /// It is one of a gang, which is useless unless all of it runs: only a node of known health will do.
    pub gang: bool,
}

/// GPUs that work takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gpus {
    /// None.
    #[default]
    None,
    /// A share of one device, in thousandths: 1 to 999.
    Share(u32),
    /// Whole devices: 1 or more.
    Whole(u32),
}

/// Work that cannot be placed anywhere, ever.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WorkError {
    /// A share that is none.
    #[error("gpu share {0} is not within 1..=999 thousandths; ask for whole devices, or for none")]
    Share(u32),
    /// No device is asked for as if it were some.
    #[error("0 whole GPUs were asked for; leave the GPUs out instead")]
    NoDevices,
}

impl Gpus {
    /// What is taken of all devices together, in thousandths of a device.
    pub fn milli(self) -> u64 {
        match self {
            Self::None => 0,
            Self::Share(milli) => u64::from(milli),
            Self::Whole(count) => u64::from(count) * u64::from(DEVICE),
        }
    }

    /// From a count of devices and thousandths of each, as pods of schedulers write it: a share is of one device.
    pub fn from_count(count: u32, milli_each: u32) -> Result<Self, WorkError> {
        match (count, milli_each) {
            (0, _) => Ok(Self::None),
            (1, 1..DEVICE) => Ok(Self::Share(milli_each)),
            (_, DEVICE) => Ok(Self::Whole(count)),
            (_, other) => Err(WorkError::Share(other)),
        }
    }
}

impl Work {
    /// Whether any node could ever run it.
    pub fn check(&self) -> Result<(), WorkError> {
        match self.gpus {
            Gpus::Share(milli) if milli == 0 || milli >= DEVICE => Err(WorkError::Share(milli)),
            Gpus::Whole(0) => Err(WorkError::NoDevices),
            Gpus::None | Gpus::Share(_) | Gpus::Whole(_) => Ok(()),
        }
    }
}

//! What a node has left, and why work does not fit on it.

use std::collections::BTreeMap;
use std::fmt;

use super::work::{Gpus, Work};

/// Thousandths of a whole device.
pub const DEVICE: u32 = 1_000;
/// Health below which nothing new is placed, in hundredths of a percent. Source: the band Suspect begins below 60.
const SUSPECT_BP: u16 = 6_000;
/// Health from which on a node is as good as any other.
const HEALTHY_BP: u16 = 8_500;

/// A node with what it has left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRoom {
    /// Its name, unique in its cluster.
    pub name: String,
    /// Free CPU in thousandths of a core.
    pub cpu_milli: u64,
    /// Free memory in MiB.
    pub memory_mib: u64,
    /// What is free of each device, in thousandths.
    pub devices: Vec<u32>,
    /// GPU model (SKU) of its devices; empty without devices.
    pub model: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// What fails together with it or is near to it: its rack, its switch.
    pub domain: String,
    /// Whether new work may come, and how gladly.
    pub health: Health,
    /// What keeps work away that does not say that it bears it.
    pub taints: Vec<String>,
}

/// What is known of a node's condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// A score, in hundredths of a percent.
    Known(u16),
    /// Too little is known to say; never healthy, and never failed either.
    Unknown,
    /// Somebody closed it for new work.
    Cordoned,
    /// A fault closed it, until it is verified or a person opens it.
    Quarantined,
    /// It does not say that it can run anything.
    NotReady,
}

/// One reason why work does not fit on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Too little CPU: asked, free.
    Cpu(u64, u64),
    /// Too little memory: asked, free.
    Memory(u64, u64),
    /// Another GPU model: what it has.
    Model(String),
    /// No device has so much free: asked, the most that one has.
    Share(u32, u32),
    /// Too few devices are wholly free: asked, free.
    Devices(u32, u32),
    /// A label is missing or has another value.
    Label(String, String),
    /// Its health.
    Health(Health),
    /// A taint that the work does not bear.
    Taint(String),
    /// Its GPUs are given out the other way: in parts, or whole.
    Sharing {
        /// A part was asked for.
        of_part: bool,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu(asked, free) => write!(f, "CPU: {asked} m asked, {free} m free"),
            Self::Memory(asked, free) => write!(f, "memory: {asked} MiB asked, {free} MiB free"),
            Self::Model(has) if has.is_empty() => write!(f, "it has no GPU"),
            Self::Model(has) => write!(f, "GPU model: it has {has}"),
            Self::Share(asked, most) => write!(
                f,
                "GPU share: {asked}/1000 asked, no device has more than {most}/1000 free"
            ),
            Self::Devices(asked, free) => write!(f, "whole GPUs: {asked} asked, {free} free"),
            Self::Label(key, value) => write!(f, "label {key}={value} is missing"),
            Self::Health(Health::Known(bp)) => write!(f, "health: {} of 100, at least 60 is needed", bp / 100),
            Self::Health(Health::Unknown) => write!(
                f,
                "health is not known, and a gang needs nodes that are known to be well"
            ),
            Self::Health(Health::Cordoned) => write!(f, "it is cordoned"),
            Self::Health(Health::Quarantined) => write!(f, "it is quarantined"),
            Self::Health(Health::NotReady) => write!(f, "it is not ready"),
            Self::Taint(key) => write!(f, "taint: {key}"),
            Self::Sharing { of_part: true } => write!(f, "GPU share: none of its GPUs is shared"),
            Self::Sharing { of_part: false } => write!(f, "whole GPUs: all of its GPUs are shared"),
        }
    }
}

impl NodeRoom {
    /// What is free of all devices together, in thousandths.
    pub fn idle_milli(&self) -> u64 {
        self.devices.iter().map(|free| u64::from(*free)).sum()
    }

    /// Devices of which nothing is taken.
    pub fn whole_devices(&self) -> u32 {
        self.devices.iter().filter(|free| **free == DEVICE).count() as u32
    }

    /// Every reason why `work` cannot run here now; none: it can.
    pub fn refusals(&self, work: &Work) -> Vec<Refusal> {
        let mut reasons = Vec::new();
        match self.health {
            Health::Known(bp) if bp >= SUSPECT_BP => {}
            Health::Unknown if !work.gang => {}
            health => reasons.push(Refusal::Health(health)),
        }
        reasons.extend(self.taints.iter().cloned().map(Refusal::Taint));
        for (key, value) in &work.labels {
            if self.labels.get(key) != Some(value) {
                reasons.push(Refusal::Label(key.clone(), value.clone()));
            }
        }
        if work.cpu_milli > self.cpu_milli {
            reasons.push(Refusal::Cpu(work.cpu_milli, self.cpu_milli));
        }
        if work.memory_mib > self.memory_mib {
            reasons.push(Refusal::Memory(work.memory_mib, self.memory_mib));
        }
        self.refuse_gpus(work, &mut reasons);
        reasons
    }

    /// Whether `work` can run here now.
    pub fn fits(&self, work: &Work) -> bool {
        // The cheap questions first: this is asked of every node.
        let gpus = match work.gpus {
            Gpus::None => true,
            Gpus::Share(asked) => self.devices.iter().any(|free| *free >= asked),
            Gpus::Whole(asked) => self.whole_devices() >= asked,
        };
        gpus && work.cpu_milli <= self.cpu_milli && self.refusals(work).is_empty()
    }

    /// How gladly work is placed here: 0 is best. Fewer than all GPU hours are worth a node that may fail.
    pub fn health_class(&self) -> u8 {
        match self.health {
            Health::Known(bp) if bp >= HEALTHY_BP => 0,
            Health::Known(_) => 1,
            Health::Unknown => 2,
            Health::Cordoned | Health::Quarantined | Health::NotReady => 3,
        }
    }

    /// Takes what `work` needs, a share from `device`; which devices it took. The caller has checked that it fits.
    pub fn take(&mut self, work: &Work, device: usize) -> Vec<usize> {
        self.cpu_milli = self.cpu_milli.saturating_sub(work.cpu_milli);
        self.memory_mib = self.memory_mib.saturating_sub(work.memory_mib);
        let (taken, each) = match work.gpus {
            Gpus::None => (Vec::new(), 0),
            Gpus::Share(milli) => (vec![device], milli),
            Gpus::Whole(count) => {
                let whole = self.devices.iter().enumerate().filter(|(_, free)| **free == DEVICE);
                (whole.map(|(index, _)| index).take(count as usize).collect(), DEVICE)
            }
        };
        for index in &taken {
            self.devices[*index] = self.devices[*index].saturating_sub(each);
        }
        taken
    }

    /// Gives back what `work` took from `devices`.
    pub fn give_back(&mut self, work: &Work, devices: &[usize]) {
        self.cpu_milli += work.cpu_milli;
        self.memory_mib += work.memory_mib;
        let each = match work.gpus {
            Gpus::None => 0,
            Gpus::Share(milli) => milli,
            Gpus::Whole(_) => DEVICE,
        };
        for index in devices {
            if let Some(free) = self.devices.get_mut(*index) {
                *free = (*free + each).min(DEVICE);
            }
        }
    }

    fn refuse_gpus(&self, work: &Work, reasons: &mut Vec<Refusal>) {
        if work.gpus == Gpus::None {
            return;
        }
        if self.devices.is_empty() && !self.model.is_empty() {
            let of_part = matches!(work.gpus, Gpus::Share(_));
            reasons.push(Refusal::Sharing { of_part });
            return;
        }
        if self.devices.is_empty() || !(work.models.is_empty() || work.models.contains(&self.model)) {
            reasons.push(Refusal::Model(self.model.clone()));
            return;
        }
        match work.gpus {
            Gpus::None => {}
            Gpus::Share(asked) => {
                let most = self.devices.iter().max().copied().unwrap_or(0);
                if most < asked {
                    reasons.push(Refusal::Share(asked, most));
                }
            }
            Gpus::Whole(asked) => {
                let whole = self.whole_devices();
                if whole < asked {
                    reasons.push(Refusal::Devices(asked, whole));
                }
            }
        }
    }
}

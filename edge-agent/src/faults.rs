//! Brings what the kernel log and the GPUs say of faults to the core: few inputs, however many lines there are.
//!
//! Decides nothing: what a line means is `edge_agent_core::faults`. Keeps which PCI address is which GPU, so that a line of the log
//! and the driver's own word name one device.
//!
//! Invariant: nobody who reports a fault waits longer than the turn loop needs for one input.
//! Read next: `faults/log.rs` (the thread that reads the log), `edge-agent/core/src/faults.rs` (what it all means).

pub mod log;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use edge_agent_core::Input;
use edge_agent_core::faults::storm::Storm;
use edge_agent_core::faults::{Fault, Place, Sighting, device_of};
use tokio::sync::mpsc;
use wire::{DeviceId, Mono};

use crate::clock;
use crate::telemetry::samples::Names;

/// Kinds of faults that are counted for telemetry; a line of the log can name any device.
const MOST_COUNTED: usize = 256;

/// Where faults are reported.
#[derive(Debug, Clone)]
pub struct Faults {
    shared: Arc<Mutex<Shared>>,
    inputs: mpsc::Sender<Input>,
}

#[derive(Debug, Default)]
struct Shared {
    storm: Storm,
    gpus: BTreeMap<String, DeviceId>,
    uuids: BTreeMap<DeviceId, String>,
    counts: BTreeMap<(DeviceId, String), u64>,
    /// The last critical error of each device.
    last_xids: BTreeMap<DeviceId, u32>,
}

impl Shared {
    fn count(&mut self, sighting: &Sighting) {
        let key = (device_of(&sighting.place), sighting.code.clone());
        if self.counts.len() < MOST_COUNTED || self.counts.contains_key(&key) {
            *self.counts.entry(key.clone()).or_default() += 1;
        }
        let xid = sighting.code.strip_prefix("xid ").and_then(|code| code.parse().ok());
        if let Some(xid) = xid.filter(|_| self.last_xids.len() < MOST_COUNTED) {
            self.last_xids.insert(key.0, xid);
        }
    }
}

impl Faults {
    /// Nothing has been seen yet.
    pub fn new(inputs: mpsc::Sender<Input>) -> Self {
        Self {
            shared: Arc::default(),
            inputs,
        }
    }

    /// These GPUs stand at these addresses, and have these UUIDs.
    pub fn know(&self, gpus: BTreeMap<String, DeviceId>, uuids: BTreeMap<DeviceId, String>) {
        let mut shared = self.shared();
        shared.gpus = gpus;
        shared.uuids = uuids;
    }

    /// Takes one sighting: the first of its kind goes to the core at once. For threads, not for the turn loop.
    pub fn saw(&self, mut sighting: Sighting) {
        let report = {
            let mut shared = self.shared();
            if let Place::Pci(address) = &sighting.place
                && let Some(gpu) = shared.gpus.get(address)
            {
                sighting.place = Place::Device(gpu.clone());
            }
            shared.count(&sighting);
            shared.storm.saw(sighting, now())
        };
        report.into_iter().for_each(|report| self.tell(report));
    }

    /// A device answers, and nothing is wrong with it any more.
    pub fn well(&self, device: DeviceId) {
        self.send(Input::DeviceWell(device));
    }

    /// Tells the summaries that are due. To be called about once a second.
    pub fn look(&self) {
        let reports = {
            let mut shared = self.shared();
            if shared.storm.is_quiet() {
                return;
            }
            shared.storm.due(now())
        };
        reports.into_iter().for_each(|report| self.tell(report));
    }

    /// What telemetry needs to name things: UUIDs, and how often each fault was seen since the agent started.
    pub fn names(&self) -> Names {
        let shared = self.shared();
        let counts = shared.counts.iter();
        Names {
            uuids: shared.uuids.clone(),
            last_xids: shared.last_xids.clone(),
            faults: counts
                .map(|((device, code), count)| (device.clone(), code.clone(), *count))
                .collect(),
        }
    }

    fn tell(&self, (sighting, count): (Sighting, u64)) {
        let device = device_of(&sighting.place);
        tracing::warn!(%device, code = sighting.code, count, meaning = sighting.meaning, evidence = sighting.evidence, "fault");
        self.send(Input::Fault(Fault {
            sighting,
            device,
            count,
        }));
    }

    fn send(&self, input: Input) {
        // Fails only when the loop has ended.
        let _ = self.inputs.blocking_send(input);
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn now() -> Mono {
    Mono(clock::boot_ms())
}

//! Events that the driver tells by itself: critical errors (XIDs) and a changed recovery action.
//!
//! A thread of its own waits for them, so that waiting holds up no reading. What came is kept until it is asked for.
//!
//! Invariant: at most `MAX_EVENTS` wait; more are dropped oldest first, because the kernel log has every one of them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nvml_wrapper::Nvml;
use nvml_wrapper::bitmasks::event::EventTypes;
use nvml_wrapper::enums::event::XidError;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::struct_wrappers::event::EventData;
use wire::probe::{GpuEvent, GpuEventKind, MAX_EVENTS};

use crate::devices::Devices;

/// `nvmlEventTypeGpuRecoveryAction` of newer headers than the wrapper's.
const RECOVERY_ACTION: u64 = 0x8000;
/// How long one wait in the driver takes when nothing happens.
const WAIT_MS: u32 = 5_000;
/// After an error of the event set itself.
const PAUSE: Duration = Duration::from_secs(1);

/// What has come and was not asked for yet.
pub struct Events(Arc<Mutex<VecDeque<GpuEvent>>>);

impl Events {
    /// Starts to listen, where the driver has events.
    pub fn listen(nvml: &'static Nvml, devices: &Devices) -> Self {
        let kept = Arc::new(Mutex::new(VecDeque::new()));
        let uuids: Vec<String> = devices.infos().into_iter().map(|info| info.uuid).collect();
        let sink = kept.clone();
        let started = std::thread::Builder::new()
            .name("events".to_owned())
            .spawn(move || listen(nvml, &uuids, &sink));
        if let Err(error) = started {
            eprintln!("sentinel-gpu-probe: no thread for events: {error}");
        }
        Self(kept)
    }

    /// Takes what has come.
    pub fn take(&self) -> Vec<GpuEvent> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.drain(..).collect()
    }
}

fn listen(nvml: &'static Nvml, uuids: &[String], sink: &Mutex<VecDeque<GpuEvent>>) {
    let Ok(mut set) = nvml.create_event_set() else {
        return;
    };
    for uuid in uuids {
        let Ok(device) = nvml.device_by_uuid(uuid.as_str()) else {
            continue;
        };
        let wanted = EventTypes::CRITICAL_XID_ERROR | EventTypes::from_bits_retain(RECOVERY_ACTION);
        let has = device.supported_event_types().map_or(0, |types| types.bits())
            // The wrapper drops the bit that it does not know; the driver refuses a set that it does not support.
            | RECOVERY_ACTION;
        let both = wanted & EventTypes::from_bits_retain(has);
        set = match device.register_events(both, set) {
            Ok(set) => set,
            // The wrapper freed the set: an older driver without recovery actions. Begin again with XIDs alone.
            Err(_) => match again(nvml, uuids) {
                Some(set) => return wait(&set, sink),
                None => return,
            },
        };
    }
    wait(&set, sink);
}

/// A set with the XIDs of all GPUs that have them.
fn again(nvml: &'static Nvml, uuids: &[String]) -> Option<nvml_wrapper::EventSet<'static>> {
    let mut set = nvml.create_event_set().ok()?;
    for uuid in uuids {
        let device = nvml.device_by_uuid(uuid.as_str());
        let has = |types: EventTypes| types.contains(EventTypes::CRITICAL_XID_ERROR);
        if let Ok(device) = device
            && device.supported_event_types().is_ok_and(has)
        {
            set = device.register_events(EventTypes::CRITICAL_XID_ERROR, set).ok()?;
        }
    }
    Some(set)
}

fn wait(set: &nvml_wrapper::EventSet<'static>, sink: &Mutex<VecDeque<GpuEvent>>) {
    loop {
        match set.wait(WAIT_MS) {
            Ok(event) => keep(&event, sink),
            Err(NvmlError::Timeout) => {}
            Err(NvmlError::Uninitialized | NvmlError::InvalidArg | NvmlError::NotSupported) => return,
            // A lost GPU makes the wait fail at once, again and again.
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}

fn keep(event: &EventData<'_>, sink: &Mutex<VecDeque<GpuEvent>>) {
    let Ok(uuid) = event.device.uuid() else {
        return;
    };
    let what = match event.event_data {
        Some(XidError::Value(xid)) => GpuEventKind::Xid(xid),
        Some(XidError::Unknown) => return,
        None => GpuEventKind::RecoveryAction,
    };
    let mut kept = sink.lock().unwrap_or_else(PoisonError::into_inner);
    if kept.len() == MAX_EVENTS {
        kept.pop_front();
    }
    kept.push_back(GpuEvent { uuid, what });
}

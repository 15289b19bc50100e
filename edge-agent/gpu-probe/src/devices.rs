//! The GPUs, each with a thread of its own, so that a call that hangs in the driver holds up nobody who asks about another GPU.
//!
//! A GPU is named by its UUID. What has not answered within the asker's patience is *hung* until its thread comes back, and is
//! asked nothing meanwhile. NVML allows calls from several threads at once.
//!
//! Invariant: a request returns within its patience, whatever the driver does; at most one call is under way in each thread.
//! Read next: `measure.rs`, `write.rs` (what a thread does).

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nvml_wrapper::enum_wrappers::device::Clock;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};
use wire::Quantity;
use wire::probe::{GpuClients, GpuDetails, GpuInfo, GpuReport, GpuState, GpuValues, MAX_CLIENTS, Write};

use crate::measure::{self, Values};
use crate::write::{self, Written};

/// For how long the GPUs may take to open, all at once: a cold driver needs a second or two for each.
const OPENING: Duration = Duration::from_secs(3);

/// All GPUs that were there at the start, in index order.
pub struct Devices(Vec<Gpu>);

struct Gpu {
    info: GpuInfo,
    details: GpuDetails,
    /// Why it has no thread: it could not be opened.
    broken: Option<GpuState>,
    thread: Mutex<Thread>,
}

type Opened = Result<(GpuInfo, GpuDetails), GpuState>;

enum Order {
    Measure,
    Clients,
    Write(Write),
}

enum Done {
    Measured(Result<Values, GpuState>),
    /// `None`: the driver does not say.
    Clients(Option<Vec<u32>>),
    Written(Result<Written, String>),
}

/// What became of a request.
enum Begun {
    /// The thread works on it.
    Now(u64),
    /// Here are values that came late.
    Late(Result<Values, GpuState>),
}

/// Our end of a GPU's thread. Requests are numbered, so that a late answer is not taken for the next one.
struct Thread {
    orders: SyncSender<(u64, Order)>,
    done: Receiver<(u64, Done)>,
    number: u64,
    /// The request that has no answer yet, and since when.
    busy: Option<(u64, Instant)>,
}

impl Devices {
    /// Finds the GPUs. One that cannot be opened keeps its place, so that it does not hide its neighbours.
    pub fn find(nvml: &'static Nvml) -> Result<Self, String> {
        let count = nvml
            .device_count()
            .map_err(|error| format!("the driver does not say how many GPUs there are: {error}"))?;
        let deadline = Instant::now() + OPENING;
        let started: Vec<_> = (0..count)
            .map(|index| Ok((index, Gpu::start(nvml, index)?)))
            .collect::<Result<_, String>>()?;
        let opened = started
            .into_iter()
            .map(|(index, (opened, thread))| Gpu::wait(index, &opened, thread, deadline));
        Ok(Self(opened.collect()))
    }

    /// What `Hello` tells.
    pub fn infos(&self) -> Vec<GpuInfo> {
        self.0.iter().map(|gpu| gpu.info.clone()).collect()
    }

    /// What `Describe` tells.
    pub fn details(&self) -> Vec<GpuDetails> {
        self.0.iter().map(|gpu| gpu.details.clone()).collect()
    }

    /// The UUID at this place.
    pub fn uuid(&self, index: u32) -> Option<String> {
        self.0.get(index as usize).map(|gpu| gpu.info.uuid.clone())
    }

    /// Reads every GPU at once, each for as long as `patience`.
    pub fn measure(&self, patience: Duration) -> Vec<GpuReport> {
        let deadline = Instant::now() + patience;
        let asked: Vec<_> = self.0.iter().map(|gpu| (gpu, gpu.begin(Order::Measure))).collect();
        asked
            .into_iter()
            .map(|(gpu, begun)| {
                let done = match begun {
                    Ok(Begun::Late(values)) => values,
                    Ok(Begun::Now(number)) => match gpu.end(number, deadline) {
                        Ok(Done::Measured(values)) => values,
                        Ok(Done::Written(_) | Done::Clients(_)) => {
                            Err(unreadable("the thread answered another request"))
                        }
                        Err(state) => Err(state),
                    },
                    Err(state) => Err(state),
                };
                let (state, values) = match done {
                    Ok(values) => (GpuState::Answers, values.numbered()),
                    Err(state) => (state, Vec::new()),
                };
                GpuReport {
                    uuid: gpu.info.uuid.clone(),
                    state,
                    values,
                }
            })
            .collect()
    }

    /// The same for version 1 of the protocol.
    pub fn read(&self, patience: Duration) -> Vec<Result<GpuValues, String>> {
        self.measure(patience)
            .iter()
            .map(|report| match &report.state {
                GpuState::Answers => Ok(values(report)),
                state => Err(words(state)),
            })
            .collect()
    }

    /// Sets something of one GPU, and reads it back.
    pub fn write(&self, uuid: &str, write: Write, patience: Duration) -> Result<Written, String> {
        let gpu = self
            .0
            .iter()
            .find(|gpu| gpu.info.uuid == uuid)
            .ok_or_else(|| format!("there is no GPU {uuid}"))?;
        let deadline = Instant::now() + patience;
        let begun = gpu.begin(Order::Write(write)).map_err(|state| words(&state))?;
        let done = match begun {
            Begun::Now(number) => gpu.end(number, deadline).map_err(|state| words(&state))?,
            Begun::Late(_) => return Err("the thread answered another request".to_owned()),
        };
        match done {
            Done::Written(result) => result,
            Done::Measured(_) | Done::Clients(_) => Err("the thread answered another request".to_owned()),
        }
    }

    /// Says who uses each GPU. One that does not answer within `patience`, or does not know, is left out.
    pub fn clients(&self, patience: Duration) -> Vec<GpuClients> {
        let deadline = Instant::now() + patience;
        let asked: Vec<_> = self.0.iter().map(|gpu| (gpu, gpu.begin(Order::Clients))).collect();
        let answered = asked.into_iter().filter_map(|(gpu, begun)| match begun {
            Ok(Begun::Now(number)) => match gpu.end(number, deadline) {
                Ok(Done::Clients(pids)) => Some(GpuClients {
                    uuid: gpu.info.uuid.clone(),
                    pids: pids?,
                }),
                Ok(Done::Measured(_) | Done::Written(_)) | Err(_) => None,
            },
            Ok(Begun::Late(_)) | Err(_) => None,
        });
        answered.collect()
    }
}

impl Gpu {
    /// Starts the thread, which opens the device first.
    fn start(nvml: &'static Nvml, index: u32) -> Result<(Receiver<Opened>, Thread), String> {
        let (orders, waiting) = sync_channel(1);
        let (answers, done) = sync_channel(1);
        let (opener, opened) = sync_channel(1);
        std::thread::Builder::new()
            .name(format!("gpu{index}"))
            .spawn(move || {
                let found = nvml
                    .device_by_index(index)
                    .and_then(|device| Ok((info(&device)?, details(&device), device)));
                match found {
                    Ok((info, details, device)) => {
                        // Fails only when nobody waited: the GPU hung at the start and counts as such.
                        if opener.send(Ok((info, details))).is_ok() {
                            work(device, &waiting, &answers);
                        }
                    }
                    Err(error) => drop(opener.send(Err(measure::state(&error)))),
                }
            })
            .map_err(|error| format!("no thread for gpu{index}: {error}"))?;
        let thread = Thread {
            orders,
            done,
            number: 0,
            busy: None,
        };
        Ok((opened, thread))
    }

    /// The GPU as its thread has opened it; one that could not be keeps its place under a name that says so.
    fn wait(index: u32, opened: &Receiver<Opened>, thread: Thread, deadline: Instant) -> Self {
        let began = Instant::now();
        let left = deadline.saturating_duration_since(began);
        let found = opened.recv_timeout(left).unwrap_or_else(|_| Err(hung(began)));
        let (info, details, broken) = match found {
            Ok((info, details)) => (info, details, None),
            Err(state) => {
                let nameless = GpuInfo {
                    uuid: format!("unreadable-{index}"),
                    model: "unreadable GPU".to_owned(),
                    min_power_cap_mw: 0,
                    max_power_cap_mw: 0,
                    default_power_cap_mw: 0,
                };
                (nameless, GpuDetails::default(), Some(state))
            }
        };
        Self {
            info,
            details,
            broken,
            thread: Mutex::new(thread),
        }
    }

    /// Gives the thread something to do, unless it still does something else. A round of values that came after its asker had
    /// given up is the answer to the next one, so that a GPU that is always a little late still has values.
    fn begin(&self, order: Order) -> Result<Begun, GpuState> {
        if let Some(state) = &self.broken {
            return Err(state.clone());
        }
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        let mut late = None;
        while let Ok((number, done)) = thread.done.try_recv() {
            if thread.busy.is_some_and(|(busy, _)| busy == number) {
                thread.busy = None;
            }
            if let Done::Measured(values) = done {
                late = Some(values);
            }
        }
        if let Some((_, since)) = thread.busy {
            return Err(hung(since));
        }
        if let (Order::Measure, Some(values)) = (&order, late) {
            return Ok(Begun::Late(values));
        }
        thread.number += 1;
        let number = thread.number;
        if thread.orders.try_send((number, order)).is_err() {
            return Err(unreadable("its thread has ended"));
        }
        thread.busy = Some((number, Instant::now()));
        Ok(Begun::Now(number))
    }

    /// Waits for that.
    fn end(&self, number: u64, deadline: Instant) -> Result<Done, GpuState> {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        let since = thread.busy.map_or_else(Instant::now, |(_, since)| since);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match thread.done.recv_timeout(left) {
                Ok((found, done)) if found == number => {
                    thread.busy = None;
                    return Ok(done);
                }
                Ok(_) => {}
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) => return Err(hung(since)),
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => {
                    return Err(unreadable("its thread has ended"));
                }
            }
        }
    }
}

/// A GPU's thread. It ends when nobody gives it anything to do any more.
fn work(mut device: Device<'_>, orders: &Receiver<(u64, Order)>, answers: &SyncSender<(u64, Done)>) {
    let mut supported = measure::Supported::default();
    while let Ok((number, order)) = orders.recv() {
        let done = match order {
            Order::Measure => Done::Measured(measure::measure(&device, &mut supported)),
            Order::Clients => Done::Clients(clients(&device)),
            Order::Write(write) => Done::Written(write::write(&mut device, write)),
        };
        // Holds one answer; whoever did not wait for the last one takes it before the next order.
        if answers.send((number, done)).is_err() {
            return;
        }
    }
}

fn info(device: &Device<'_>) -> Result<GpuInfo, NvmlError> {
    // A laptop's GPU has no limit that can be set: a range from 0 to 0, in which nothing fits.
    let range = device.power_management_limit_constraints().ok();
    Ok(GpuInfo {
        uuid: device.uuid()?,
        model: device.name()?,
        min_power_cap_mw: range.as_ref().map_or(0, |range| range.min_limit),
        max_power_cap_mw: range.as_ref().map_or(0, |range| range.max_limit),
        default_power_cap_mw: device.power_management_limit_default().unwrap_or(0),
    })
}

fn details(device: &Device<'_>) -> GpuDetails {
    GpuDetails {
        uuid: device.uuid().unwrap_or_default(),
        pci: device.pci_info().map_or_else(
            |_| String::new(),
            |pci| format!("{:04x}:{:02x}:{:02x}", pci.domain, pci.bus, pci.device),
        ),
        serial: device.serial().ok(),
        vbios: device.vbios_version().ok(),
        max_clock_mhz: device.max_clock_info(Clock::SM).ok(),
    }
}

/// Processes that compute or draw on a device; `None` where the driver tells of neither.
fn clients(device: &Device<'_>) -> Option<Vec<u32>> {
    let (compute, graphics) = (device.running_compute_processes(), device.running_graphics_processes());
    if compute.is_err() && graphics.is_err() {
        return None;
    }
    let all = compute.into_iter().chain(graphics).flatten();
    let mut pids: Vec<u32> = all.map(|process| process.pid).collect();
    pids.sort_unstable();
    pids.dedup();
    pids.truncate(MAX_CLIENTS);
    Some(pids)
}

fn hung(since: Instant) -> GpuState {
    GpuState::Hung {
        for_ms: since.elapsed().as_millis() as u64,
    }
}

fn unreadable(reason: &str) -> GpuState {
    GpuState::Unreadable {
        reason: reason.to_owned(),
    }
}

fn words(state: &GpuState) -> String {
    match state {
        GpuState::Answers => "it answers".to_owned(),
        GpuState::Lost => "it fell off the bus".to_owned(),
        GpuState::ResetRequired => "it needs a reset".to_owned(),
        GpuState::Hung { for_ms } => format!("a call about it has not returned for {for_ms} ms"),
        GpuState::Unreadable { reason } => reason.clone(),
    }
}

/// What version 1 of the protocol has places for.
fn values(report: &GpuReport) -> GpuValues {
    let find = |quantity: Quantity| {
        let found = report.values.iter().find(|(number, _)| *number == quantity as u16);
        found.and_then(|(_, value)| *value)
    };
    GpuValues {
        temperature_mc: find(Quantity::GpuTemperature),
        memory_temperature_mc: find(Quantity::GpuMemoryTemperature),
        power_mw: find(Quantity::GpuPower),
        power_cap_mw: find(Quantity::GpuPowerCap),
        used_bp: find(Quantity::GpuUsed),
        memory_used: find(Quantity::GpuMemoryUsed),
        memory_total: find(Quantity::GpuMemoryTotal),
        clock_mhz: find(Quantity::GpuClock),
        fan_bp: find(Quantity::GpuFan),
        ecc_uncorrected: find(Quantity::GpuEccUncorrected),
        throttle_reasons: find(Quantity::GpuThrottleReasons),
    }
}

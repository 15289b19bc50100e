//! A GPU and a workload with just enough physics to close the loop: a cap cools, a restart frees memory.

use wire::reading::{DeviceId, Quantity, Reading, Series};

use crate::random::Random;

/// Range of caps that the device accepts, in milliwatts.
pub(crate) const RANGE_MW: (u32, u32) = (100_000, 350_000);
const IDLE_MW: u32 = 80_000;
const BUSY_MW: u32 = 345_000;
/// Share of the way to its steady temperature that a second brings.
const PACE: i64 = 6;

#[derive(Debug, Clone)]
pub(crate) struct Gpu {
    temperature: Series,
    power: Series,
    /// Its power cap, if it tells it.
    cap: Option<Series>,
    milli_celsius: i64,
    pub(crate) cap_mw: u32,
    pub(crate) busy: bool,
}

impl Gpu {
    pub(crate) fn new(index: u32, tells_cap: bool) -> Self {
        let device = DeviceId::gpu(index);
        Self {
            temperature: Series::new(device.clone(), Quantity::GpuTemperature),
            power: Series::new(device.clone(), Quantity::GpuPower),
            cap: tells_cap.then(|| Series::new(device, Quantity::GpuPowerCap)),
            milli_celsius: 46_000,
            cap_mw: RANGE_MW.1,
            busy: false,
        }
    }

    pub(crate) fn id(&self) -> &DeviceId {
        &self.temperature.device
    }

    /// One second: 345 W would settle at 99 °C, 220 W at 74 °C, idle at 46 °C.
    pub(crate) fn step(&mut self, random: &mut Random, readings: &mut Vec<Reading>) {
        let wanted = if self.busy { BUSY_MW } else { IDLE_MW };
        let power_mw = i64::from(wanted.min(self.cap_mw));
        let steady = 30_000 + power_mw / 5;
        self.milli_celsius += (steady - self.milli_celsius) / PACE;
        let degrees = self.milli_celsius / 1_000 * 1_000;
        let noise = i64::try_from(random.below(3)).unwrap_or(0) * 500;
        let mut read = |series: &Series, value| {
            readings.push(Reading {
                series: series.clone(),
                value: Some(value),
            });
        };
        read(&self.temperature, degrees);
        read(&self.power, power_mw + noise);
        if let Some(series) = &self.cap {
            read(series, i64::from(self.cap_mw));
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Workload {
    memory: Series,
    bytes: i64,
    pub(crate) leaking: bool,
    pub(crate) starts: u64,
}

impl Workload {
    pub(crate) fn new() -> Self {
        let device = DeviceId::workload("job").expect("a valid name");
        Self {
            memory: Series::new(device, Quantity::WorkloadMemory),
            bytes: 100 << 20,
            leaking: false,
            starts: 1,
        }
    }

    pub(crate) fn id(&self) -> &DeviceId {
        &self.memory.device
    }

    pub(crate) fn step(&mut self, readings: &mut Vec<Reading>) {
        if self.leaking {
            self.bytes = (self.bytes + (15 << 20)).min(1 << 30);
        }
        readings.push(Reading {
            series: self.memory.clone(),
            value: Some(self.bytes),
        });
    }

    pub(crate) fn restart(&mut self) {
        self.bytes = 100 << 20;
        self.leaking = false;
        self.starts += 1;
    }
}

//! GPUs as a first-order thermal circuit: power flows into a heat capacity and out through a resistance to the air.
//!
//! `C dT/dt = P - (T - ambient) / R`. The power drawn is what the load wants, at most the cap. Numbers are chosen so that an idle
//! GPU (80 W) rests at 45 °C, a hot one passes 90 °C within five seconds, and a cap of 220 W brings it below 75 °C.
//! Deterministic: the same seed, orders and times give the same values. Never says that it is real.
//!
//! Invariant: a GPU never draws more than its cap, and its cap never leaves the range that it reports.

use serde::{Deserialize, Serialize};
use wire::probe::{GpuInfo, GpuValues};

/// Least power limit in milliwatts.
pub const MIN_CAP_MW: u32 = 100_000;
/// Greatest power limit, and the default.
pub const MAX_CAP_MW: u32 = 350_000;
/// What the board draws with nothing to do.
const IDLE_MW: f64 = 80_000.0;
/// What a fully loaded board wants.
const BUSY_MW: f64 = 350_000.0;
/// Degrees per watt: (74 - 45) °C / (220 - 80) W.
const RESISTANCE_C_PER_W: f64 = 0.207;
/// The air around the heat sink, so that 80 W rests at 45 °C.
const AMBIENT_C: f64 = 45.0 - 80.0 * RESISTANCE_C_PER_W;
/// R times C: from 45 °C to 90 °C in less than five seconds at 350 W.
const TIME_CONSTANT_S: f64 = 3.0;
/// A growing load wants all there is after this time: slow enough to be foreseen.
const GROWS_FOR_S: f64 = 150.0;
const MEMORY_TOTAL: i64 = 48 << 30;

/// What is wrong with a GPU at the moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Faults {
    /// A load that wants all the power there is.
    pub hot: bool,
    /// A load that grows, and for how many seconds it has.
    #[serde(default)]
    pub growing_s: Option<f64>,
    /// It has fallen off the bus: it cannot be read or set.
    pub lost: bool,
    /// It refuses every change of its power limit.
    pub refuses_cap: bool,
}

/// One simulated GPU.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Gpu {
    index: u32,
    temperature_c: f64,
    load: f64,
    cap_mw: u32,
    /// How often its limit was set, ever.
    #[serde(default)]
    caps_set: u64,
    /// Seconds that it has lived, for the slow wave of its ordinary load.
    age_s: f64,
    /// What is wrong with it.
    pub faults: Faults,
}

impl Gpu {
    /// An idle GPU at rest.
    pub fn new(index: u32) -> Self {
        Self {
            index,
            temperature_c: 45.0,
            load: 0.0,
            cap_mw: MAX_CAP_MW,
            caps_set: 0,
            age_s: f64::from(index) * 37.0,
            faults: Faults::default(),
        }
    }

    /// What it says of itself. The model name starts with `Sim`.
    pub fn info(&self) -> GpuInfo {
        GpuInfo {
            uuid: format!("SIM-{:08x}", 0x5e17_1e10 + self.index),
            model: "Sim L40S".to_owned(),
            min_power_cap_mw: MIN_CAP_MW,
            max_power_cap_mw: MAX_CAP_MW,
            default_power_cap_mw: MAX_CAP_MW,
        }
    }

    /// Lets time pass.
    pub fn step(&mut self, seconds: f64) {
        self.age_s += seconds;
        let wave = (self.age_s / 41.0).sin() * 0.06 + (self.age_s / 13.0).sin() * 0.03;
        let grown = self.faults.growing_s.as_mut().map_or(0.0, |seconds_so_far| {
            *seconds_so_far += seconds;
            (*seconds_so_far / GROWS_FOR_S).min(1.0)
        });
        let wanted = if self.faults.hot {
            1.0
        } else {
            0.10 + wave + 0.9 * grown
        };
        // Work ramps up within a second.
        self.load += (wanted - self.load) * (1.0 - (-seconds / 0.4).exp());
        let rest = AMBIENT_C + self.power_mw() / 1_000.0 * RESISTANCE_C_PER_W;
        self.temperature_c += (rest - self.temperature_c) * (1.0 - (-seconds / TIME_CONSTANT_S).exp());
    }

    fn power_mw(&self) -> f64 {
        (IDLE_MW + (BUSY_MW - IDLE_MW) * self.load.clamp(0.0, 1.0)).min(f64::from(self.cap_mw))
    }

    /// What a probe reads now, or why it cannot.
    pub fn read(&self) -> Result<GpuValues, String> {
        if self.faults.lost {
            return Err("GPU is lost: it has fallen off the bus (simulated)".to_owned());
        }
        let throttled = IDLE_MW + (BUSY_MW - IDLE_MW) * self.load > f64::from(self.cap_mw) + 500.0;
        let noise = |salt: u64, span: i64| self.noise(salt).rem_euclid(2 * span + 1) - span;
        let power = (self.power_mw() as i64 + noise(1, 900)).min(i64::from(self.cap_mw));
        Ok(GpuValues {
            temperature_mc: Some((self.temperature_c * 1_000.0) as i64 + noise(2, 120)),
            memory_temperature_mc: Some((self.temperature_c * 1_000.0) as i64 + 6_000 + noise(3, 200)),
            power_mw: Some(power),
            power_cap_mw: Some(i64::from(self.cap_mw)),
            used_bp: Some(((self.load * 10_000.0) as i64 + noise(4, 60)).clamp(0, 10_000)),
            memory_used: Some(((0.08 + 0.7 * self.load.clamp(0.0, 1.0)) * MEMORY_TOTAL as f64) as i64),
            memory_total: Some(MEMORY_TOTAL),
            clock_mhz: Some(if throttled { 1_410 } else { 2_520 }),
            fan_bp: None,
            ecc_uncorrected: Some(0),
            // NVML: 0x1 idle, 0x4 software power cap.
            throttle_reasons: Some(if throttled { 0x4 } else { i64::from(self.load < 0.02) }),
        })
    }

    /// A small number that depends on GPU, time and `salt` only.
    fn noise(&self, salt: u64) -> i64 {
        let mut x = (self.age_s * 1_000.0) as u64 ^ (u64::from(self.index) << 48) ^ (salt << 56);
        for _ in 0..3 {
            x ^= x >> 30;
            x = x.wrapping_mul(0xbf58_476d_1ce4_e5b9);
            x ^= x >> 27;
        }
        (x >> 2) as i64
    }

    /// Limits its power. Returns the limit before and read back after.
    pub fn set_cap(&mut self, milliwatts: u32) -> Result<(u32, u32), String> {
        if self.faults.lost {
            return Err("GPU is lost: it has fallen off the bus (simulated)".to_owned());
        }
        if self.faults.refuses_cap {
            return Err("insufficient permissions to change the power limit (simulated)".to_owned());
        }
        if !(MIN_CAP_MW..=MAX_CAP_MW).contains(&milliwatts) {
            return Err(format!("{milliwatts} mW is outside {MIN_CAP_MW}..={MAX_CAP_MW} mW"));
        }
        let before = self.cap_mw;
        self.cap_mw = milliwatts;
        self.caps_set += 1;
        Ok((before, self.cap_mw))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(gpu: &mut Gpu, seconds: u32) -> i64 {
        for _ in 0..seconds * 10 {
            gpu.step(0.1);
        }
        temperature(gpu)
    }

    fn temperature(gpu: &Gpu) -> i64 {
        gpu.read().expect("not lost").temperature_mc.expect("always read")
    }

    #[test]
    fn an_idle_gpu_stays_cool() {
        let mut gpu = Gpu::new(0);
        for _ in 0..600 {
            let now = run(&mut gpu, 1);
            assert!((40_000..60_000).contains(&now), "{now}");
        }
    }

    #[test]
    fn heat_passes_ninety_within_five_seconds_and_a_cap_brings_it_down() {
        let mut gpu = Gpu::new(1);
        gpu.faults.hot = true;
        assert!(run(&mut gpu, 5) > 88_000);
        assert!(run(&mut gpu, 1) > 90_000);
        assert_eq!(gpu.set_cap(220_000), Ok((350_000, 220_000)));
        assert!(run(&mut gpu, 5) < 80_000);
        assert!(run(&mut gpu, 10) < 76_000);
        assert_eq!(gpu.read().expect("not lost").power_cap_mw, Some(220_000));
        assert_eq!(gpu.read().expect("not lost").throttle_reasons, Some(4));
    }

    #[test]
    fn it_never_draws_more_than_its_cap() {
        let mut gpu = Gpu::new(0);
        gpu.faults.hot = true;
        gpu.set_cap(150_000).expect("in range");
        for _ in 0..300 {
            gpu.step(0.1);
            assert!(gpu.read().expect("not lost").power_mw <= Some(150_000));
        }
    }

    #[test]
    fn faults_are_told_and_not_invented() {
        let mut gpu = Gpu::new(0);
        assert!(gpu.set_cap(90_000).is_err() && gpu.set_cap(351_000).is_err());
        gpu.faults.refuses_cap = true;
        assert!(gpu.set_cap(200_000).expect_err("refused").contains("permissions"));
        gpu.faults.lost = true;
        assert!(gpu.read().expect_err("lost").contains("bus"));
        assert!(gpu.info().model.starts_with("Sim"));
    }

    #[test]
    fn it_accepts_what_the_card_that_it_plays_accepts() {
        let info = Gpu::new(0).info();
        let profile = firmware_profiles::of(&info.model).expect("a profile of the card");
        let accepts = (info.min_power_cap_mw, info.max_power_cap_mw);
        assert_eq!(accepts, profile.power.range_mw());
        let default = profile.power.default.as_ref().map(|watts| watts.value * 1_000);
        assert_eq!(default, Some(i64::from(info.default_power_cap_mw)));
    }

    #[test]
    fn the_same_orders_give_the_same_values() {
        let mut two = [Gpu::new(0), Gpu::new(0)];
        for gpu in &mut two {
            gpu.faults.hot = true;
            run(gpu, 7);
        }
        assert_eq!(two[0].read(), two[1].read());
    }
}

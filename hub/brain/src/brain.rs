//! The embedded InfraMind as a whole: readings in, suggestions and forecasts out.
//!
//! It watches the temperature of each GPU and the use of each file system, and keeps a seasonal forecast of what people look at. Asked
//! for suggestions, it names the devices that are about to reach a limit, what would help, by how much, and how sure it may be: a
//! chance counted from its own past errors at that distance.
//!
//! Never judges and never grades itself: `policy` decides whether a suggestion may run, `policy-trust` what it is worth.
//!
//! Invariants: the same readings and questions give the same suggestions; a device is not suggested again before the last suggestion
//! for it has run out; memory is bounded by [`Settings::most_devices`] and [`Settings::most_series`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wire::action::ActionKind;
use wire::ids::AgentId;
use wire::reading::{DeviceId, Quantity, Series, Unit, human};

use crate::forecast::{Forecast, Forecaster};
use crate::watch::{Foreseen, LEAST_ERRORS, Watch};

/// Steps of the seasonal forecasts.
const SEASON_STEP_MS: u64 = 300_000;
/// Caps are whole multiples of this.
const CAP_STEP_W: f64 = 5.0;
/// A cap whose effect is less than this is no effect that could be seen, in degrees and watts.
const LEAST_EFFECT_C: f64 = 1.0;
const LEAST_EFFECT_W: f64 = 3.0;

/// What a working sensor of a board can show; anything else is a fault of the sensor and no reading.
const CELSIUS: std::ops::RangeInclusive<f64> = -100.0..=300.0;
const WATTS: std::ops::RangeInclusive<f64> = 0.0..=100_000.0;

/// What the brain goes by.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// The temperature that a GPU must not reach, in thousandths of a degree.
    pub gpu_limit_mc: i64,
    /// The share of a file system that must not be reached, in hundredths of a percent.
    pub fs_limit_bp: i64,
    /// Nothing is suggested below this chance of reaching a limit.
    pub least_chance: f64,
    /// No cap is suggested whose effect is less sure than this.
    pub least_confidence: f64,
    /// A cap is suggested this long before the limit at the latest: time for judgement, approval and the node.
    pub lead_ms: u64,
    /// A cap is never below this share of the greatest power limit seen, in percent.
    pub least_cap_percent: u8,
    /// Devices that are watched; more are counted and ignored. One takes about 20 KiB.
    pub most_devices: usize,
    /// Series with a seasonal forecast; more are counted and ignored. One takes up to 24 KiB.
    pub most_series: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            gpu_limit_mc: 90_000,
            fs_limit_bp: 9_500,
            least_chance: 0.8,
            least_confidence: 0.6,
            lead_ms: 30_000,
            least_cap_percent: 40,
            most_devices: 4_000,
            most_series: 2_000,
        }
    }
}

/// What ought to be done about a device, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Suggestion {
    /// Its own id, and that of the prediction in it.
    pub id: String,
    /// The node.
    pub node: AgentId,
    /// The part of the node.
    pub device: DeviceId,
    /// What to do.
    pub verb: ActionKind,
    /// What it will do, where that can be seen.
    pub effect: Option<Effect>,
    /// The chance that the effect is seen (without one: that the limit is reached), counted from past errors.
    pub confidence: f64,
    /// The limit as it is foreseen without the suggestion.
    pub foreseen: Foreseen,
    /// The effect, or the limit, is seen by then, from the last readings on.
    pub horizon_ms: u64,
    /// After this it is of no use, in milliseconds since 1970 by the readings' own clock.
    pub not_after_ms: u64,
    /// For people.
    pub reason: String,
}

/// By how much a metric will move, from its value now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effect {
    /// Which.
    pub metric: Series,
    /// By how much, in the quantity's own unit.
    pub delta: i64,
    /// By when, from the start of the action.
    pub within_ms: u64,
}

/// The embedded brain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Brain {
    settings: Settings,
    devices: BTreeMap<(AgentId, DeviceId), Device>,
    seasons: BTreeMap<(AgentId, Series), Forecaster>,
    ignored: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Device {
    watch: Watch,
    greatest_cap: f64,
    quiet_until_ms: u64,
}

impl Brain {
    /// The version of the stored form; a store keeps it beside the bytes.
    pub const VERSION: u16 = 1;
    /// Its name and the version of its model, as plans and the trust in them name it.
    pub const NAME: &'static str = "embedded";
    /// See [`Brain::NAME`].
    pub const MODEL: &'static str = "embedded-1";

    /// A brain that has seen nothing yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            devices: BTreeMap::new(),
            seasons: BTreeMap::new(),
            ignored: 0,
        }
    }

    /// Sets the temperature that a GPU must not reach, in thousandths of a degree: where rules would act by themselves. `None` is the
    /// default.
    pub fn set_gpu_limit(&mut self, limit_mc: Option<i64>) {
        self.settings.gpu_limit_mc = limit_mc.unwrap_or(Settings::default().gpu_limit_mc);
    }

    /// Takes one reading with its own time. Readings that nothing is made of are let go.
    pub fn observe(&mut self, node: &AgentId, series: &Series, wall_ms: u64, value: i64) {
        self.watch(node, series, wall_ms, value);
        if seasonal(series) {
            self.season(node, series, wall_ms, value);
        }
    }

    fn watch(&mut self, node: &AgentId, series: &Series, wall_ms: u64, value: i64) {
        let thousandths = value as f64 / 1_000.0;
        let (new, plausible): (fn() -> Watch, _) = match series.quantity {
            Quantity::GpuTemperature => (Watch::gpu, CELSIUS.contains(&thousandths)),
            Quantity::GpuPower | Quantity::GpuPowerCap => (Watch::gpu, WATTS.contains(&thousandths)),
            Quantity::FsUsedShare => (Watch::disk, (0..=10_000).contains(&value)),
            _ => return,
        };
        if !plausible {
            self.ignored = self.ignored.saturating_add(1);
            return;
        }
        let Some(device) = self.device(node, &series.device, new) else {
            return;
        };
        match series.quantity {
            Quantity::GpuTemperature => device.watch.value(wall_ms, thousandths),
            Quantity::GpuPower => device.watch.power(wall_ms, thousandths),
            Quantity::GpuPowerCap => {
                device.watch.cap(thousandths);
                device.greatest_cap = device.greatest_cap.max(thousandths);
            }
            _ => device.watch.value(wall_ms, value as f64),
        }
    }

    fn device(&mut self, node: &AgentId, device: &DeviceId, new: fn() -> Watch) -> Option<&mut Device> {
        let key = (node.clone(), device.clone());
        if !self.devices.contains_key(&key) && self.devices.len() >= self.settings.most_devices {
            self.ignored = self.ignored.saturating_add(1);
            return None;
        }
        Some(self.devices.entry(key).or_insert_with(|| Device {
            watch: new(),
            greatest_cap: 0.0,
            quiet_until_ms: 0,
        }))
    }

    fn season(&mut self, node: &AgentId, series: &Series, wall_ms: u64, value: i64) {
        let key = (node.clone(), series.clone());
        if !self.seasons.contains_key(&key) && self.seasons.len() >= self.settings.most_series {
            self.ignored = self.ignored.saturating_add(1);
            return;
        }
        let forecaster = self
            .seasons
            .entry(key)
            .or_insert_with(|| Forecaster::new(SEASON_STEP_MS));
        if forecaster.observe(wall_ms, value as f64).is_err() {
            self.ignored = self.ignored.saturating_add(1);
        }
    }

    /// Readings that found no room, came too late or are none that a working sensor shows.
    pub fn ignored(&self) -> u64 {
        self.ignored
    }

    /// Forgets a node that has left.
    pub fn forget(&mut self, node: &AgentId) {
        self.devices.retain(|(of, _), _| of != node);
        self.seasons.retain(|(of, _), _| of != node);
    }

    /// How a series goes on over the next 5-minute steps; `None` before its first step is over.
    pub fn forecast(&self, node: &AgentId, series: &Series, steps: u32) -> Option<Forecast> {
        self.seasons.get(&(node.clone(), series.clone()))?.forecast(steps)
    }

    /// The watch on a GPU or a file system, for its band and what it rests on.
    pub fn watched(&self, node: &AgentId, device: &DeviceId) -> Option<&Watch> {
        self.devices
            .get(&(node.clone(), device.clone()))
            .map(|device| &device.watch)
    }

    /// When this device reaches its limit, if it does within minutes (a GPU) or hours (a file system).
    pub fn time_to_limit(&self, node: &AgentId, device: &DeviceId) -> Option<Foreseen> {
        let limit = self.limit(device);
        self.watched(node, device)?.foresee(limit)
    }

    /// What a device of this class must not reach: degrees Celsius for a GPU, hundredths of a percent for a file system.
    pub fn limit(&self, device: &DeviceId) -> f64 {
        match device.class() {
            "gpu" => self.settings.gpu_limit_mc as f64 / 1_000.0,
            _ => self.settings.fs_limit_bp as f64,
        }
    }

    /// What ought to be done now. Call it after each batch of readings, or every few seconds.
    pub fn suggest(&mut self) -> Vec<Suggestion> {
        let settings = self.settings;
        let limits: Vec<f64> = self.devices.keys().map(|(_, device)| self.limit(device)).collect();
        let mut suggestions = Vec::new();
        for (((node, id), device), limit) in self.devices.iter_mut().zip(limits) {
            let Some(foreseen) = device.watch.foresee(limit) else {
                continue;
            };
            if foreseen.chance < settings.least_chance || foreseen.at_ms < device.quiet_until_ms {
                continue;
            }
            let suggestion = match id.class() {
                "gpu" => cap(&settings, node, id, device, foreseen, limit),
                _ => Some(tell(&settings, node, id, foreseen)),
            };
            if let Some(suggestion) = suggestion {
                device.quiet_until_ms = suggestion.not_after_ms;
                suggestions.push(suggestion);
            }
        }
        suggestions
    }
}

/// Whether people look at this series over days.
fn seasonal(series: &Series) -> bool {
    match series.quantity {
        Quantity::CpuUsed => series.device == DeviceId::node(),
        Quantity::MemoryUsedShare | Quantity::FsUsedShare | Quantity::GpuTemperature | Quantity::GpuPower => true,
        _ => false,
    }
}

/// The highest cap that keeps the GPU below its limit by what the forecast usually errs, once it is time for one.
fn cap(
    settings: &Settings,
    node: &AgentId,
    id: &DeviceId,
    device: &Device,
    foreseen: Foreseen,
    limit: f64,
) -> Option<Suggestion> {
    let watch = &device.watch;
    let [now, power] = watch.last();
    let errors = watch.heat().errors();
    let safe = watch.heat().line()?.power_for(limit - errors.quantile(0.95).max(1.0));
    if power < safe + LEAST_EFFECT_W && foreseen.in_ms > settings.lead_ms {
        return None;
    }
    let least = device.greatest_cap * f64::from(settings.least_cap_percent) / 100.0;
    let watts = libm::floor(safe.min(power - LEAST_EFFECT_W) / CAP_STEP_W) * CAP_STEP_W;
    let watts = watts.max(libm::ceil(least / CAP_STEP_W) * CAP_STEP_W);
    if watts >= watch.cap_in_force().unwrap_or(f64::INFINITY) || watts <= 0.0 {
        return None;
    }
    let relief = watch.relief(watts, foreseen.by_ms.clamp(30_000, 60_000))?;
    let (quantity, delta, room) = if now - relief.with >= LEAST_EFFECT_C {
        (Quantity::GpuTemperature, relief.with - now, (now - relief.with) / 2.0)
    } else if power - watts >= LEAST_EFFECT_W {
        (Quantity::GpuPower, watts - power, f64::INFINITY)
    } else {
        return None;
    };
    // A cap holds power by itself; what may err is how the temperature follows.
    let confidence = 1.0 - errors.chance_of_at_least(room.min(limit - relief.with));
    if errors.len() < LEAST_ERRORS || confidence < settings.least_confidence {
        return None;
    }
    let words = |value: f64, unit| human((value * 1_000.0) as i64, unit);
    let reason = format!(
        "{id} will reach {} in about {} s (chance {:.0} %, from {} past errors): it is at {} and draws {}; capped to {} it is expected at {} instead of {} after {} s",
        words(limit, Unit::MilliCelsius),
        foreseen.in_ms / 1_000,
        foreseen.chance * 100.0,
        foreseen.errors,
        words(now, Unit::MilliCelsius),
        words(power, Unit::Milliwatt),
        words(watts, Unit::Milliwatt),
        words(relief.with, Unit::MilliCelsius),
        words(relief.without, Unit::MilliCelsius),
        relief.by_ms / 1_000,
    );
    Some(Suggestion {
        id: name(node, id, &foreseen),
        node: node.clone(),
        device: id.clone(),
        verb: ActionKind::PowerCap {
            milliwatts: (watts * 1_000.0) as u32,
        },
        effect: Some(Effect {
            metric: Series::new(id.clone(), quantity),
            delta: (delta * 1_000.0) as i64,
            within_ms: relief.by_ms,
        }),
        confidence,
        foreseen,
        horizon_ms: relief.by_ms,
        not_after_ms: foreseen.at_ms + foreseen.by_ms.max(120_000),
        reason,
    })
}

/// A file system that fills up is told to people: nothing that the brain could do makes room.
fn tell(settings: &Settings, node: &AgentId, id: &DeviceId, foreseen: Foreseen) -> Suggestion {
    let minutes = foreseen.in_ms / 60_000;
    let reason = format!(
        "{id} will be {} full in about {minutes} min (chance {:.0} %, from {} past errors)",
        human(settings.fs_limit_bp, Unit::BasisPoints),
        foreseen.chance * 100.0,
        foreseen.errors,
    );
    Suggestion {
        id: name(node, id, &foreseen),
        node: node.clone(),
        device: id.clone(),
        verb: ActionKind::Notify {
            message: reason.clone(),
        },
        effect: None,
        confidence: foreseen.chance,
        foreseen,
        horizon_ms: foreseen.by_ms,
        not_after_ms: foreseen.at_ms + foreseen.by_ms,
        reason,
    }
}

/// The id of a suggestion: what it is about and the time of the readings that it rests on, at most 128 bytes.
fn name(node: &AgentId, device: &DeviceId, foreseen: &Foreseen) -> String {
    let mut about = format!("{node}-{device}");
    about.truncate(96);
    format!("embedded-{about}-{}", foreseen.at_ms)
}

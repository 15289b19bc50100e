//! What is about to reach a limit: one GPU's temperature, one file system's use.
//!
//! Values are joined in short steps by their own times. A few ways to go on are followed for some distances ahead, and how wrong the
//! mixture of them has been at a distance says how sure it may be of a limit there ([`Watch::foresee`]).
//!
//! Invariants: a chance is counted from measured errors, at least [`LEAST_ERRORS`] of them; memory is bounded.
//! Read next: `forecast/lane.rs` (how errors are measured), `heat.rs` (temperature from power).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::forecast::{Forecast, Lane, Method, Point};
use crate::heat::{Heat, Line};

/// Steps that wait for the other series' values of the same time: a node tells one series after the other, ten seconds at a time.
const MOST_WAITING: usize = 16;
/// Errors at a distance before anything is claimed about it.
pub const LEAST_ERRORS: usize = 12;
/// Errors are kept this many steps apart at most.
const SPACING: u32 = 4;
const EXPERTS: usize = 7;
/// Where the last value stands: what the mixture must not be worse than.
const LAST_VALUE: usize = 0;
/// Speeds of the straight lines, per step.
const SPEEDS: [f64; 3] = [0.3, 0.1, 0.04];

/// A series that may reach a limit, with the power behind it where there is one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Watch {
    step_ms: u64,
    with_power: bool,
    waiting: BTreeMap<u64, Slot>,
    last_step: Option<u64>,
    newest: [u64; 2],
    value: [Straight; 3],
    power: [Straight; 3],
    last: [f64; 2],
    cap: Option<f64>,
    heat: Heat,
    lanes: Vec<Lane>,
}

/// The values of one step that have come so far: of the series itself, and of the power behind it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Slot {
    sums: [f64; 2],
    counts: [u32; 2],
}

/// A limit that is foreseen.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Foreseen {
    /// Time of the last values, by their own clock.
    pub at_ms: u64,
    /// The value is expected to reach the limit after this time.
    pub in_ms: u64,
    /// It will have reached the limit by then with this chance ...
    pub by_ms: u64,
    /// ... counted from past errors at that distance.
    pub chance: f64,
    /// How many those are.
    pub errors: usize,
}

/// What a power cap would do.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Relief {
    /// The value now.
    pub now: f64,
    /// The value at `by_ms` under the cap.
    pub with: f64,
    /// The value at `by_ms` without it.
    pub without: f64,
    /// From the last values on.
    pub by_ms: u64,
}

impl Watch {
    /// A GPU's temperature in degrees, with its power in watts: steps of 2 s, up to 5 minutes ahead.
    pub fn gpu() -> Self {
        Self::new(2_000, true, &[5, 15, 30, 60, 150])
    }

    /// A file system's use: steps of a minute, up to 4 hours ahead.
    pub fn disk() -> Self {
        Self::new(60_000, false, &[5, 15, 60, 240])
    }

    fn new(step_ms: u64, with_power: bool, distances: &[u32]) -> Self {
        let lane = |ahead: &u32| Lane::new(*ahead, EXPERTS, LAST_VALUE, SPACING);
        Self {
            step_ms,
            with_power,
            waiting: BTreeMap::new(),
            last_step: None,
            newest: [0; 2],
            value: SPEEDS.map(Straight::new),
            power: SPEEDS.map(Straight::new),
            last: [0.0; 2],
            cap: None,
            heat: Heat::default(),
            lanes: distances.iter().map(lane).collect(),
        }
    }

    /// Takes a value of the watched series. Values of steps that are over change nothing.
    pub fn value(&mut self, at_ms: u64, value: f64) {
        self.take(0, at_ms, value);
    }

    /// Takes the power behind it, in watts.
    pub fn power(&mut self, at_ms: u64, watts: f64) {
        self.take(1, at_ms, watts);
    }

    /// Takes the power limit in force, in watts.
    pub fn cap(&mut self, watts: f64) {
        self.cap = watts.is_finite().then_some(watts);
    }

    fn take(&mut self, which: usize, at_ms: u64, value: f64) {
        let step = at_ms / self.step_ms;
        if value.is_nan() || value.abs() > 1e15 || self.last_step.is_some_and(|last| step <= last) {
            return;
        }
        let slot = self.waiting.entry(step).or_default();
        slot.sums[which] += value;
        slot.counts[which] = slot.counts[which].saturating_add(1);
        self.newest[which] = self.newest[which].max(step);
        while let Some(step) = self.ready() {
            let slot = self.waiting.remove(&step).unwrap_or_default();
            self.learn(step, slot);
        }
    }

    /// The oldest step that waits, if all its values are there or it has waited long enough.
    fn ready(&self) -> Option<u64> {
        let step = *self.waiting.keys().next()?;
        let over = step < self.newest[0] && (!self.with_power || step < self.newest[1]);
        (over || self.waiting.len() > MOST_WAITING).then_some(step)
    }

    fn learn(&mut self, step: u64, slot: Slot) {
        let mean = |which: usize| (slot.counts[which] > 0).then(|| slot.sums[which] / f64::from(slot.counts[which]));
        let (value, power) = (mean(0), mean(1));
        self.pass_gap(step);
        if let Some(power) = power {
            self.last[1] = power;
            self.power.iter_mut().for_each(|line| line.learn(power));
        }
        self.lanes.iter_mut().for_each(|lane| lane.arrive(value));
        if let Some(value) = value {
            self.last[0] = value;
            self.value.iter_mut().for_each(|line| line.learn(value));
        }
        if let (Some(value), Some(power)) = (value, power) {
            self.heat.learn(power, value);
        }
        self.last_step = Some(step);
        self.issue();
    }

    fn pass_gap(&mut self, step: u64) {
        let Some(last) = self.last_step else { return };
        let longest = self.lanes.last().map_or(0, |lane| u64::from(lane.steps()));
        if step - last > longest {
            self.lanes.iter_mut().for_each(Lane::skip);
            let forget = |line: &mut Straight| *line = Straight::new(line.speed);
            self.value.iter_mut().chain(&mut self.power).for_each(forget);
            return;
        }
        for _ in last + 1..step {
            self.lanes.iter_mut().for_each(|lane| lane.arrive(None));
            self.issue();
        }
    }

    fn issue(&mut self) {
        let said = self.ahead(None);
        for (lane, said) in self.lanes.iter_mut().zip(&said) {
            lane.issue(said);
        }
    }

    /// What each way to go on says at each lane's distance, under a power limit where one is asked about.
    fn ahead(&self, cap: Option<f64>) -> Vec<[f64; EXPERTS]> {
        let distances: Vec<u32> = self.lanes.iter().map(Lane::steps).collect();
        let heat = if self.with_power { self.heat.line() } else { None };
        let most = cap
            .or(self.cap)
            .unwrap_or(f64::INFINITY)
            .min(self.cap.unwrap_or(f64::INFINITY));
        let heated = heat.map(|line| self.heated(line, most, &distances));
        let say = |(place, steps): (usize, &u32)| {
            let mut said = [self.last[0]; EXPERTS];
            for (said, line) in said[1..4].iter_mut().zip(&self.value) {
                *said = line.ahead(f64::from(*steps));
            }
            for which in 0..3 {
                said[4 + which] = heated.as_ref().map_or(said[1 + which], |heated| heated[which][place]);
            }
            said
        };
        distances.iter().enumerate().map(say).collect()
    }

    /// The temperature that follows from power going on straight, by each line, within 0 and the limit.
    fn heated(&self, line: Line, most: f64, distances: &[u32]) -> [Vec<f64>; 3] {
        // The line is an average: it goes on from where the temperature is.
        let offset = self.last[0] - line.rest(line.felt);
        self.power.map(|power| {
            let (mut line, mut passed, mut fading) = (line, 0, offset);
            let mut found = Vec::with_capacity(distances.len());
            for distance in distances {
                let mut temperature = self.last[0];
                while passed < *distance {
                    passed += 1;
                    fading *= 0.98;
                    temperature = line.step(power.ahead(f64::from(passed)).clamp(0.0, most)) + fading;
                }
                found.push(temperature);
            }
            found
        })
    }

    /// When the value will reach `limit`, if it will within the distances that are measured and enough of them is known.
    pub fn foresee(&self, limit: f64) -> Option<Foreseen> {
        let last = self.last_step?;
        let (mut before, mut value_before) = (0, self.last[0]);
        for (lane, said) in self.lanes.iter().zip(self.ahead(None)) {
            let middle = lane.point(&said).middle;
            if middle >= limit && measured(lane) {
                let part = ((limit - value_before) / (middle - value_before)).clamp(0.0, 1.0);
                let steps = f64::from(before) + part * f64::from(lane.steps() - before);
                return Some(Foreseen {
                    at_ms: (last + 1) * self.step_ms,
                    in_ms: (steps * self.step_ms as f64) as u64,
                    by_ms: u64::from(lane.steps()) * self.step_ms,
                    chance: lane.errors().chance_of_at_least(limit - middle),
                    errors: lane.errors().len(),
                });
            }
            (before, value_before) = (lane.steps(), middle);
        }
        None
    }

    /// What a limit of `watts` would do, once it is known how temperature follows power.
    pub fn relief(&self, watts: f64, by_ms: u64) -> Option<Relief> {
        self.heat.line()?;
        let place = self.lane_for(by_ms)?;
        let lane = &self.lanes[place];
        let (with, without) = (self.ahead(Some(watts)), self.ahead(None));
        // Only what follows from power tells anything of a cap: the mixture of those three, by their own weights.
        Some(Relief {
            now: self.last[0],
            with: lane.point_of(&with[place], 4..EXPERTS),
            without: lane.point_of(&without[place], 4..EXPERTS),
            by_ms: u64::from(lane.steps()) * self.step_ms,
        })
    }

    /// How temperature has followed power, for what a cap may err by.
    pub fn heat(&self) -> &Heat {
        &self.heat
    }

    /// The first lane at least this long, or the longest.
    fn lane_for(&self, by_ms: u64) -> Option<usize> {
        let place = self
            .lanes
            .iter()
            .position(|lane| u64::from(lane.steps()) * self.step_ms >= by_ms);
        place.or(self.lanes.len().checked_sub(1))
    }

    /// The last value and power.
    pub fn last(&self) -> [f64; 2] {
        self.last
    }

    /// The power limit in force, in watts, if it was told.
    pub fn cap_in_force(&self) -> Option<f64> {
        self.cap
    }

    /// The forecast at the measured distances, each with its band: a step of it is one distance, in [`Watch::distances_ms`].
    pub fn band(&self) -> Option<Forecast> {
        let last = self.last_step?;
        let points: Vec<Point> = self
            .lanes
            .iter()
            .zip(self.ahead(None))
            .map(|(lane, said)| lane.point(&said))
            .collect();
        Some(Forecast {
            at_ms: (last + 1) * self.step_ms,
            step_ms: self.step_ms,
            method: Method::Mixture,
            points,
        })
    }

    /// The forecast at the distances of which enough errors are known for a band, each in milliseconds from the last values on.
    pub fn measured_band(&self) -> Vec<(u64, Point)> {
        let ahead = self.ahead(None);
        let lanes = self.lanes.iter().zip(&ahead).filter(|(lane, _)| measured(lane));
        lanes
            .map(|(lane, said)| (u64::from(lane.steps()) * self.step_ms, lane.point(said)))
            .collect()
    }

    /// The distances of [`Watch::band`], in milliseconds.
    pub fn distances_ms(&self) -> impl Iterator<Item = u64> {
        self.lanes.iter().map(|lane| u64::from(lane.steps()) * self.step_ms)
    }
}

/// Whether enough is known of a distance: neighbouring errors are much alike, so they have to span it several times.
fn measured(lane: &Lane) -> bool {
    lane.errors().len() >= LEAST_ERRORS && lane.scored() >= 2 * lane.steps()
}

/// A straight line followed at one speed (Brown's double smoothing).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Straight {
    speed: f64,
    once: f64,
    twice: f64,
    seen: u32,
}

impl Straight {
    fn new(speed: f64) -> Self {
        Self {
            speed,
            once: 0.0,
            twice: 0.0,
            seen: 0,
        }
    }

    fn learn(&mut self, value: f64) {
        if self.seen == 0 {
            (self.once, self.twice) = (value, value);
        }
        self.seen = self.seen.saturating_add(1);
        self.once += self.speed * (value - self.once);
        self.twice += self.speed * (self.once - self.twice);
    }

    fn ahead(&self, steps: f64) -> f64 {
        let slope = self.speed / (1.0 - self.speed) * (self.once - self.twice);
        2.0 * self.once - self.twice + slope * steps
    }
}

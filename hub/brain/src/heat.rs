//! How a GPU's temperature follows its power: learned from its own readings, and what a power cap would change.
//!
//! A board is close to a first-order circuit: its temperature is a straight line of its power, smoothed over a time constant. The line
//! is fitted by least squares that forget, one for each of a few time constants, and the one that predicts best is used.
//!
//! Invariant: nothing is said of power before the readings have shown how the temperature follows it ([`Heat::line`]).

use serde::{Deserialize, Serialize};

use crate::forecast::Errors;

/// Time constants that are tried, in steps of 2 s: 2 s to 3 minutes.
const TIME_CONSTANTS: [f64; 6] = [1.0, 2.5, 6.0, 15.0, 40.0, 90.0];
/// What an observation still weighs one step later: half after about five minutes.
const KEEP: f64 = 0.9955;
/// Power must have varied by this much, in watts (one standard deviation), before a line through it means anything.
const LEAST_SPREAD_W: f64 = 3.0;
/// What boards show, in degrees per watt; a line outside is an accident of the readings.
const SLOPES: std::ops::RangeInclusive<f64> = 0.02..=2.0;

/// The learned relation of power and temperature.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Heat {
    fits: [Fit; TIME_CONSTANTS.len()],
    seen: u32,
    errors: Errors,
}

impl Default for Heat {
    fn default() -> Self {
        Self {
            fits: Default::default(),
            seen: 0,
            errors: Errors::new(4),
        }
    }
}

/// A least-squares line through smoothed power and temperature.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Fit {
    power: f64,
    weight: f64,
    mean_power: f64,
    mean_temperature: f64,
    spread: f64,
    joint: f64,
    error: f64,
}

/// The relation in use: at rest, `base + slope * watts` degrees, approached with a time constant.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Degrees Celsius at no power.
    pub base: f64,
    /// Degrees per watt.
    pub slope: f64,
    /// Power as the temperature feels it now, in watts.
    pub felt: f64,
    /// The share of a new power that is felt after one step.
    pub share: f64,
}

impl Heat {
    /// Learns one step: its mean power in watts and temperature in degrees.
    pub fn learn(&mut self, power: f64, temperature: f64) {
        self.seen = self.seen.saturating_add(1);
        if let Some(mut line) = self.line() {
            self.errors.push(temperature - line.step(power));
        }
        for (fit, steps) in self.fits.iter_mut().zip(TIME_CONSTANTS) {
            if self.seen == 1 {
                fit.power = power;
            }
            fit.power += share(steps) * (power - fit.power);
            fit.learn(temperature);
        }
    }

    /// How far temperatures lay from what the power really drawn let expect: what a cap's effect may err by.
    pub fn errors(&self) -> &Errors {
        &self.errors
    }

    /// The relation that has predicted best, once the power has varied enough to show one.
    pub fn line(&self) -> Option<Line> {
        let usable = |(fit, steps): (&Fit, f64)| fit.line(steps).map(|line| (fit.error, line));
        let lines = self.fits.iter().zip(TIME_CONSTANTS).filter_map(usable);
        lines.min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, line)| line)
    }
}

/// The share of a change that is felt after one step.
fn share(time_constant: f64) -> f64 {
    1.0 - libm::exp(-1.0 / time_constant)
}

impl Fit {
    fn learn(&mut self, temperature: f64) {
        if let Some((base, slope)) = self.through() {
            let error = (temperature - base - slope * self.power).abs();
            self.error += (1.0 - KEEP) * 4.0 * (error - self.error);
        }
        self.weight = KEEP * self.weight + 1.0;
        let rate = 1.0 / self.weight;
        let (off_power, off_temperature) = (self.power - self.mean_power, temperature - self.mean_temperature);
        self.mean_power += rate * off_power;
        self.mean_temperature += rate * off_temperature;
        // Welford's update with weights, as means per observation.
        self.spread = (1.0 - rate) * (self.spread + rate * off_power * off_power);
        self.joint = (1.0 - rate) * (self.joint + rate * off_power * off_temperature);
    }

    fn through(&self) -> Option<(f64, f64)> {
        if self.weight < 10.0 || self.spread < LEAST_SPREAD_W * LEAST_SPREAD_W {
            return None;
        }
        let slope = self.joint / self.spread;
        Some((self.mean_temperature - slope * self.mean_power, slope))
    }

    fn line(&self, steps: f64) -> Option<Line> {
        let (base, slope) = self.through()?;
        SLOPES.contains(&slope).then(|| Line {
            base,
            slope,
            felt: self.power,
            share: share(steps),
        })
    }
}

impl Line {
    /// The temperature at rest under this power.
    pub fn rest(&self, watts: f64) -> f64 {
        self.base + self.slope * watts
    }

    /// The power that rests at this temperature.
    pub fn power_for(&self, temperature: f64) -> f64 {
        (temperature - self.base) / self.slope
    }

    /// One step under this power; returns the temperature after it.
    pub fn step(&mut self, watts: f64) -> f64 {
        self.felt += self.share * (watts - self.felt);
        self.rest(self.felt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_relation_of_a_board_is_found_from_its_readings() {
        let mut heat = Heat::default();
        let (mut temperature, mut felt) = (45.0, 80.0);
        for step in 0..400 {
            let watts = 80.0 + 0.6 * f64::from(step) + if step % 7 < 3 { 4.0 } else { 0.0 };
            heat.learn(watts, temperature);
            felt += share(6.0) * (watts - felt);
            temperature = 28.0 + 0.2 * felt;
        }
        let line = heat.line().expect("power varied");
        assert!(
            (line.slope - 0.2).abs() < 0.01 && (line.base - 28.0).abs() < 3.0,
            "{line:?}"
        );
        assert!((line.power_for(line.rest(250.0)) - 250.0).abs() < 1e-9);
    }

    #[test]
    fn steady_power_says_nothing_of_how_temperature_follows_it() {
        let mut heat = Heat::default();
        for step in 0..400 {
            heat.learn(200.0 + f64::from(step % 2), 70.0);
        }
        assert_eq!(heat.line(), None);
    }
}

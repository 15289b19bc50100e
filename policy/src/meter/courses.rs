//! The meters of one agent's bundle while readings come: who meters what, and what it costs.
//!
//! Never decides, and allocates nothing in a round in which no series begins to speak.
//!
//! Read next: `course.rs` (one meter), `engine.rs` (the caller).

use wire::{DeviceId, Mono};

use super::course::Course;
use super::{Meter, Metered};

/// A meter's past as the ledger keeps it: its id, what was metered, and how much.
pub(crate) type Kept = (String, Metered, Course);

/// One course for each meter of a bundle, in its order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Courses(Vec<Course>);

impl Courses {
    /// Goes on with what was kept of the same meters, whatever the price; those that are new, or meter something else now, begin anew.
    pub fn of(meters: &[Meter], mut kept: Vec<Kept>) -> Self {
        let course = |meter: &Meter| {
            let is_it = |(id, metered, _): &Kept| *id == meter.id && *metered == meter.metered;
            let found = kept.iter().position(is_it);
            found.map(|index| kept.swap_remove(index).2).unwrap_or_default()
        };
        Self(meters.iter().map(course).collect())
    }

    /// What of it is to be kept.
    pub fn kept(&self, meters: &[Meter]) -> Vec<Kept> {
        let pairs = meters.iter().zip(&self.0).filter(|(_, course)| !course.is_empty());
        pairs
            .map(|(meter, course)| (meter.id.clone(), meter.metered.clone(), course.clone()))
            .collect()
    }

    /// A round begins: time passes.
    pub fn begin(&mut self, now: Mono) {
        for course in &mut self.0 {
            course.pass(now);
        }
    }

    /// A reading of a series that the meters with these bits meter.
    pub fn take(&mut self, meters: &[Meter], mut bits: u8, device: &DeviceId, milliwatts: i64) {
        while bits != 0 {
            let index = bits.trailing_zeros() as usize;
            bits &= bits - 1;
            let (Some(course), Some(meter)) = (self.0.get_mut(index), meters.get(index)) else {
                return;
            };
            course.take(device, milliwatts, meter.stale_after_ms());
        }
    }

    /// What the meter with this name spent in the time up to `now`, and what it spends in an hour as things stand, in millionths of the
    /// currency; each unknown when nothing speaks any more. `None`: there is no such meter.
    pub fn spent(&self, meters: &[Meter], name: &str, now: Mono, window_ms: u64) -> Option<(Option<i64>, Option<i64>)> {
        let index = meters.iter().position(|meter| meter.id == name)?;
        let (meter, course) = (meters.get(index)?, self.0.get(index)?);
        let used = course.used(now, window_ms);
        let power = course.power(now);
        Some((
            used.map(|energy| meter.price.of_energy(energy)),
            power.map(|milliwatts| meter.price.of_power(milliwatts)),
        ))
    }
}

//! Temperatures of hwmon sensors and thermal zones, by `sysinfo`, which knows their many shapes.
//!
//! Some sensors are slow (an embedded controller takes milliseconds), so they are asked every tenth round; a virtual machine has none.

use sysinfo::Components;
use wire::{DeviceId, Quantity};

use super::{Round, Sensor, device};

const ASK_EVERY: u64 = 10;

/// All components that have a temperature.
pub struct Temperatures {
    components: Components,
    known: Vec<(DeviceId, Option<i64>)>,
}

impl Temperatures {
    /// Looks for components; `None` where there are none.
    pub fn open() -> Option<Self> {
        let components = Components::new_with_refreshed_list().ok()?;
        (!components.is_empty()).then(|| Self {
            components,
            known: Vec::new(),
        })
    }
}

impl Sensor for Temperatures {
    fn sample(&mut self, round: &mut Round) {
        if round.number.is_multiple_of(ASK_EVERY) {
            // A sensor that fails keeps its place and has no value.
            self.components.refresh(false);
            self.known.clear();
            for component in &self.components {
                let device = device("sensor", component.label().as_bytes());
                if self.known.iter().all(|(known, _)| *known != device) {
                    self.known.push((device, millicelsius(component.temperature())));
                }
            }
        }
        for (device, value) in &self.known {
            round.note(device, Quantity::Temperature, *value);
        }
    }
}

fn millicelsius(degrees: Option<f32>) -> Option<i64> {
    degrees
        .filter(|degrees| (-100.0..1_000.0).contains(degrees))
        .map(|degrees| (degrees * 1_000.0).round() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_temperatures_are_missing() {
        assert_eq!(millicelsius(Some(45.5)), Some(45_500));
        assert_eq!(millicelsius(Some(f32::NAN)), None);
        assert_eq!(millicelsius(Some(-274.0)), None);
        assert_eq!(millicelsius(None), None);
    }
}

//! How exactly telemetry keeps a quantity.
//!
//! Telemetry is for charts, trends and models; decisions are made from readings as they were taken, and their entries carry
//! those. What is dropped here is below what the sensor, or the person who looks, can tell apart.

use crate::reading::{Quantity, Unit};

/// How exactly a quantity is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// As it is: counts, states, process ids.
    Exact,
    /// In steps of ten to this power of its unit.
    Step(u32),
    /// This many leading digits of the largest value within a block.
    Digits(u32),
}

/// How exactly telemetry keeps this quantity.
pub const fn kept(quantity: Quantity) -> Kept {
    match quantity {
        // It grows as fast as the clock; its thousandths are the sampler's own jitter.
        Quantity::Uptime => Kept::Step(3),
        // Less than a percent, and looked at closely.
        Quantity::AgentCpu => Kept::Exact,
        _ => match quantity.unit() {
            Unit::Count | Unit::Flag | Unit::Milliseconds => Kept::Exact,
            // A tenth of a degree: NVML says whole ones. A tenth of a percent.
            Unit::MilliCelsius => Kept::Step(2),
            Unit::BasisPoints => Kept::Step(1),
            // A leak of a thousandth is seen.
            Unit::Bytes | Unit::Megahertz => Kept::Digits(4),
            Unit::Milliwatt | Unit::Milli | Unit::BytesPerSecond | Unit::MilliPerSecond => Kept::Digits(3),
        },
    }
}

impl Kept {
    /// The power of ten in whose steps values up to `most` are kept; 0 to 18.
    pub(super) fn power(self, most: u64) -> u32 {
        match self {
            Self::Exact => 0,
            Self::Step(power) => power,
            Self::Digits(digits) => (most.checked_ilog10().unwrap_or(0) + 1).saturating_sub(digits),
        }
    }
}

/// How many steps of ten to the `power` come nearest to a value; a half is rounded away from zero.
pub(super) fn steps(value: i64, power: u32) -> i64 {
    let step = 10_i64.pow(power);
    let (whole, rest) = (value / step, value % step);
    match rest.abs() * 2 >= step {
        true if step > 1 => whole + rest.signum(),
        _ => whole,
    }
}

/// The value of so many steps.
pub(super) fn value(steps: i64, power: u32) -> i64 {
    steps.saturating_mul(10_i64.pow(power))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_rounded_to_what_can_be_told_apart() {
        let check = |quantity: Quantity, most: i64, found: i64, expected: i64| {
            let power = kept(quantity).power(most.unsigned_abs());
            assert_eq!(
                value(steps(found, power), power),
                expected,
                "{quantity:?} {found} of {most}"
            );
        };
        check(Quantity::GpuTemperature, 61_234, 61_234, 61_200);
        check(Quantity::GpuTemperature, -61_250, -61_250, -61_300);
        check(Quantity::CpuUsed, 10_000, 1_234, 1_230);
        check(
            Quantity::MemoryAvailable,
            16_123_456_789,
            16_123_456_789,
            16_120_000_000,
        );
        check(Quantity::MemoryAvailable, 999, 999, 999);
        check(Quantity::NetSent, 123_456, 1_499, 1_000);
        check(Quantity::NetSent, 0, 0, 0);
        check(Quantity::WorkloadPid, 4_194_303, 4_194_303, 4_194_303);
        check(Quantity::Uptime, 1_499, 1_499, 1_000);
        check(Quantity::MemoryTotal, i64::MAX, i64::MAX, 9_223_000_000_000_000_000);
        check(Quantity::MemoryTotal, i64::MIN, i64::MIN, -9_223_000_000_000_000_000);
    }
}

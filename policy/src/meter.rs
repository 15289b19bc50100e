//! Meters: what energy costs, so that an agent observes by itself how much it spends.
//!
//! A meter selects series of power (a quantity of a device, or of a class of devices) and says what a kilowatt-hour costs. The latest
//! value of each series speaks until the next one; energies of several series are summed. From what was metered come the numbers that a
//! `cost_ceiling` asks for whose `scope` is the meter's name: what was spent in the rule's own window, and the run rate of now.
//!
//! All money is in whole millionths of the currency, rounded up. Never decides, and needs no network.
//! Read next: `meter/course.rs` (what is kept of the past), `kind/cost.rs` (who asks), `engine/power.rs` (what an action changes).

pub(crate) mod course;
pub(crate) mod courses;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use wire::reading::Unit;
use wire::{Quantity, Series};

use crate::indicator::{MAX_STALE_MS, STALE_AFTER_MS, within};
use crate::kind::threshold::read_series;
use crate::rule::names_device;
use crate::text::fields::Fields;
use crate::text::units::show_duration;

/// Most meters of one bundle. Each takes some 5 kB of what is stored with every batch of entries once it is a month old.
pub(crate) const MAX_METERS: usize = 4;
/// A million for a kilowatt-hour: enough for any currency.
const MAX_PRICE: i64 = 1_000_000_000_000;

/// Milliwatts of a kilowatt.
const MW_PER_KW: u128 = 1_000_000;
/// Millionths of a joule in a kilowatt-hour.
const UJ_PER_KWH: u128 = 3_600_000_000_000;

/// What a meter measures. As long as this stays the same, what was metered still means the same; the price is no part of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Metered {
    quantity: Quantity,
    /// A device or a class of devices.
    device: String,
    /// A reading speaks for the time until the next one of its series, and for this long at most.
    stale_after_ms: u64,
}

/// What energy costs, in millionths of the currency for a kilowatt-hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Price(u64);

/// A name, what is metered under it, and what that costs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Meter {
    pub id: String,
    pub metered: Metered,
    pub price: Price,
}

impl Meter {
    /// Reads one meter; problems go into the fields' list.
    pub fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let id = fields.need_text(
            "id",
            "a short name, unique among meters; `scope` of cost_ceiling refers to it",
        );
        crate::rule::check_id(fields, &id, "a meter");
        let (quantity, device) = read_series(fields);
        if let Some(quantity) = quantity.filter(|quantity| quantity.unit() != Unit::Milliwatt) {
            let powers = Quantity::ALL.iter().filter(|known| known.unit() == Unit::Milliwatt);
            let names: Vec<_> = powers.map(|known| known.name()).collect();
            fields.problem(
                "quantity",
                format!("`{quantity}` is no power; a meter takes {}", names.join(" or ")),
            );
        }
        let price = fields.need_number(
            "price_micros_per_kwh",
            1,
            MAX_PRICE,
            "what a kilowatt-hour costs, in millionths of the currency: 300000 is 0.30",
        );
        let stale_after_ms = within(
            fields,
            "stale_after",
            "a reading speaks until the next one of its series, and for this long at most; 30 s. After it nothing is known",
            (1_000, MAX_STALE_MS),
        );
        Some(Self {
            id,
            metered: Metered {
                quantity: quantity?,
                device,
                stale_after_ms: stale_after_ms.unwrap_or(STALE_AFTER_MS),
            },
            price: Price(price.unsigned_abs()),
        })
    }

    /// Whether it meters the readings of this series.
    pub fn watches(&self, series: &Series) -> bool {
        self.metered.quantity == series.quantity && self.covers(series.device.as_str())
    }

    /// Whether it meters the power of this device.
    pub fn covers(&self, device: &str) -> bool {
        names_device(&self.metered.device, device)
    }

    /// How long a reading speaks at most.
    pub fn stale_after_ms(&self) -> u64 {
        self.metered.stale_after_ms
    }

    /// One line for people.
    pub fn text(&self) -> String {
        format!("{}: {}", self.id, self.what())
    }

    /// What it meters, for people.
    pub fn what(&self) -> String {
        let Metered {
            quantity,
            device,
            stale_after_ms,
        } = &self.metered;
        let stale = match *stale_after_ms {
            STALE_AFTER_MS => String::new(),
            ms => format!(", stale after {}", show_duration(ms)),
        };
        format!("{quantity} of {device} at {}{stale}", self.price.text(""))
    }
}

impl Price {
    /// What so many millionths of a joule cost.
    pub fn of_energy(self, microjoules: u128) -> i64 {
        let cost = microjoules.saturating_mul(u128::from(self.0)).div_ceil(UJ_PER_KWH);
        i64::try_from(cost).unwrap_or(i64::MAX)
    }

    /// What so much power costs in an hour, or saves: never less than that, and never nothing.
    pub fn of_power(self, milliwatts: i64) -> i64 {
        let cost = u128::from(milliwatts.unsigned_abs()) * u128::from(self.0);
        let micros = i64::try_from(cost.div_ceil(MW_PER_KW)).unwrap_or(i64::MAX);
        if milliwatts < 0 { -micros } else { micros }
    }

    /// For people: `0.30 EUR per kWh`; without a currency, `0.30 per kWh`.
    pub fn text(self, currency: &str) -> String {
        let space = if currency.is_empty() { "" } else { " " };
        let (whole, micros) = (self.0 / 1_000_000, self.0 % 1_000_000);
        let digits = format!("{micros:06}");
        let kept = digits.trim_end_matches('0').len().max(2);
        format!("{whole}.{}{space}{currency} per kWh", &digits[..kept])
    }
}

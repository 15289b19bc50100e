//! Indicators: which readings are good, so that an agent observes by itself how its promises stand.
//!
//! An indicator selects series (a quantity of a device, or of a class of devices), says which of their readings are good, and which
//! share of them is promised. Each reading is one event, good or bad; a reading without a value is none. From what was seen come the
//! numbers that `slo_burn` and `sla` ask for, under the indicator's name: `gpu-cool.burn_1h`, `gpu-cool.outage_ms`.
//!
//! Never decides, and needs no network. Read next: `indicator/course.rs` (what is kept of the past), `indicator/courses.rs` (who tells
//! the rules), `kind/objective.rs` (who asks).

pub(crate) mod course;
pub(crate) mod courses;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use wire::reading::Unit;
use wire::{Quantity, Series};

use crate::kind::objective::BURNS;
use crate::kind::threshold::read_series;
use crate::rule::{names_device, show};
use crate::text::fields::Fields;
use crate::text::units::show_duration;

/// Most indicators of one bundle: a bit each.
pub(crate) const MAX_INDICATORS: usize = 8;
/// The longest time that an indicator answers for: a calendar month.
pub(crate) const MAX_PERIOD_MS: u64 = 31 * 86_400_000;
/// The longest time that one reading can speak for.
pub(crate) const MAX_STALE_MS: u64 = 3_600_000;

pub(crate) const HOUR_MS: u64 = 3_600_000;
/// As the objective's own default.
const PERIOD_MS: u64 = 30 * 86_400_000;
/// Sensors are read once a second; thirty missed rounds are no hiccup.
pub(crate) const STALE_AFTER_MS: u64 = 30_000;

/// Every number that an indicator gives; each is called `ID.NAME`.
pub(crate) const NUMBERS: [&str; 10] = [
    BURNS[0],
    BURNS[1],
    BURNS[2],
    BURNS[3],
    BURNS[4],
    BURNS[5],
    BURNS[6],
    BURNS[7],
    BURNS[8],
    "outage_ms",
];
/// The place of `outage_ms` among them.
pub(crate) const OUTAGE: usize = 9;

/// Which readings are good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Good {
    Below(i64),
    Above(i64),
}

/// What an indicator counts. As long as this stays the same, what was counted still means the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counted {
    quantity: Quantity,
    /// A device or a class of devices.
    device: String,
    good: Good,
    /// A reading speaks for the time until the next one of its series, and for this long at most.
    stale_after_ms: u64,
}

/// A name, what is counted under it, and what is promised of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Indicator {
    pub id: String,
    pub counted: Counted,
    /// The promised share of good readings, below all of them.
    pub target_bp: u16,
    /// Over which time the error budget is counted.
    pub period_ms: u64,
    /// Full names of its numbers, in the order of [`NUMBERS`].
    names: Vec<String>,
}

impl Indicator {
    /// Reads one indicator; problems go into the fields' list.
    pub fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let id = fields.need_text(
            "id",
            "a short name, unique among indicators; `sli` of slo_burn and `service` of sla refer to it",
        );
        crate::rule::check_id(fields, &id, "an indicator");
        let (quantity, device) = read_series(fields);
        let unit = quantity.map(Quantity::unit);
        let good = fields.map("good", true, "which readings are good; all others are bad", |f| {
            Good::read(f, unit)
        });
        let target_bp = fields.need_amount(
            "target",
            Some(Unit::BasisPoints),
            "the share of good readings that is promised, below 100 %; 99.9 %",
        );
        if !(0..10_000).contains(&target_bp) {
            fields.problem(
                "target",
                "is outside 0 %..=99.99 %: with nothing allowed to be bad, no budget can burn",
            );
        }
        let period_ms = within(
            fields,
            "period",
            "over this time the error budget is counted; 30 d",
            (HOUR_MS, MAX_PERIOD_MS),
        );
        let stale_after_ms = within(
            fields,
            "stale_after",
            "a reading speaks until the next one of its series, and for this long at most; 30 s. After it nothing is known",
            (1_000, MAX_STALE_MS),
        );
        Some(Self {
            names: NUMBERS.iter().map(|number| format!("{id}.{number}")).collect(),
            id,
            counted: Counted {
                quantity: quantity?,
                device,
                good: good??,
                stale_after_ms: stale_after_ms.unwrap_or(STALE_AFTER_MS),
            },
            target_bp: u16::try_from(target_bp).unwrap_or(0),
            period_ms: period_ms.unwrap_or(PERIOD_MS),
        })
    }

    /// Full names of its numbers, in the order of [`NUMBERS`].
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Whether it counts the readings of this series.
    pub fn watches(&self, series: &Series) -> bool {
        self.counted.quantity == series.quantity && names_device(&self.counted.device, series.device.as_str())
    }

    /// Whether a reading is good.
    pub fn is_good(&self, value: i64) -> bool {
        match self.counted.good {
            Good::Below(limit) => value < limit,
            Good::Above(limit) => value > limit,
        }
    }

    /// How long a reading speaks at most.
    pub fn stale_after_ms(&self) -> u64 {
        self.counted.stale_after_ms
    }

    /// One line for people.
    pub fn text(&self) -> String {
        let Counted { quantity, device, .. } = &self.counted;
        let unit = quantity.unit();
        let good = match self.counted.good {
            Good::Below(limit) => format!("< {}", show(limit, unit)),
            Good::Above(limit) => format!("> {}", show(limit, unit)),
        };
        format!(
            "{}: {quantity} of {device} {good} in {} of {}",
            self.id,
            show(i64::from(self.target_bp), Unit::BasisPoints),
            show_duration(self.period_ms)
        )
    }
}

impl Good {
    fn read(fields: &mut Fields<'_>, unit: Option<Unit>) -> Option<Self> {
        let below = fields.amount("below", unit, "a reading is good while it is below this");
        let above = fields.amount("above", unit, "a reading is good while it is above this");
        match (fields.has("below"), fields.has("above")) {
            (true, true) => {
                fields.problem(
                    "above",
                    "`good` has one limit, `below` or `above`; write two indicators",
                );
                None
            }
            (false, false) => {
                fields.problem("below", "`below` or `above` is missing: the limit, with its unit");
                None
            }
            _ => below.map(Self::Below).or(above.map(Self::Above)),
        }
    }
}

/// A duration that lies between two others.
pub(crate) fn within(
    fields: &mut Fields<'_>,
    name: &'static str,
    doc: &'static str,
    (low, high): (u64, u64),
) -> Option<u64> {
    let ms = fields.duration(name, doc)?;
    if !(low..=high).contains(&ms) {
        let range = format!("{}..={}", show_duration(low), show_duration(high));
        fields.problem(name, format!("{} is outside {range}", show_duration(ms)));
    }
    Some(ms.clamp(low, high))
}

//! `envelope` and `step_size`: the range that an action's number must lie in, and how far one decision may move it.
//!
//! Both narrow what was wanted instead of refusing it; several of them intersect, and an empty intersection is a denial.

use wire::decision::Verdict;
use wire::reading::Unit;

use super::scope::OnUnknown;
use crate::actions::{KINDS, amount_unit};
use crate::ledger::Numbers;
use crate::rule::{Asked, Finding, Selector, show};
use crate::text::fields::Fields;

/// What `on_missing` is for in both.
const NO_NUMBER: &str = "what it means that the action has no number, or the present value is not known; by class: safety allow, low and \
                         medium hold, above deny";

/// The unit that all selected kinds' numbers share.
fn shared_unit(fields: &Fields<'_>, selector: &Selector) -> Option<Unit> {
    if fields.is_describing() {
        return None;
    }
    let named = selector.kind_bits() != u64::MAX;
    let mut units = selector.kinds().map(amount_unit);
    let first = units.next().flatten();
    if !named || first.is_none() || units.any(|unit| unit != first) {
        let with: Vec<_> = (0..KINDS.len())
            .filter(|index| amount_unit(*index).is_some())
            .map(|index| KINDS[index].name)
            .collect();
        fields.problem(
            "selector",
            format!(
                "`selector.kinds` must name one kind of action that has a number: {}",
                with.join(", ")
            ),
        );
        return None;
    }
    first
}

/// The range of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Envelope {
    unit: Unit,
    min: i64,
    max: i64,
    on_missing: OnUnknown,
}

impl Envelope {
    pub fn read(fields: &mut Fields<'_>, selector: &Selector) -> Option<Self> {
        let unit = shared_unit(fields, selector);
        let min = fields.amount("min", unit, "the smallest allowed value");
        let max = fields.amount("max", unit, "the largest allowed value");
        if !fields.is_describing() && !fields.has("min") && !fields.has("max") {
            fields.problem("min", "`min` or `max` is missing");
        }
        let (min, max) = (min.unwrap_or(i64::MIN), max.unwrap_or(i64::MAX));
        if min > max {
            fields.problem("max", "lies below `min`: nothing could ever pass");
        }
        let on_missing = OnUnknown::read_as(fields, NO_NUMBER);
        unit.map(|unit| Self {
            unit,
            min,
            max,
            on_missing,
        })
    }

    pub fn assess(&self, asked: &Asked<'_>, push: &mut impl FnMut(Finding)) {
        let value = asked.amount.filter(|(_, unit)| *unit == self.unit);
        push(match value {
            Some((value, unit)) => within(value, self.min, self.max, unit),
            None => {
                let limit = if self.max == i64::MAX { self.min } else { self.max };
                let op = if self.max == i64::MAX { ">=" } else { "<=" };
                self.on_missing.finding(asked, 0, op, Some(limit), self.unit)
            }
        });
    }

    pub fn text(&self) -> String {
        match (self.min, self.max) {
            (i64::MIN, max) => format!("at most {}", show(max, self.unit)),
            (min, i64::MAX) => format!("at least {}", show(min, self.unit)),
            (min, max) => format!("{}..={}", show(min, self.unit), show(max, self.unit)),
        }
    }
}

/// Compares a value with the end of the range that it is nearer to breaking.
pub(crate) fn within(value: i64, min: i64, max: i64, unit: Unit) -> Finding {
    let below = value < min;
    let (op, limit) = if below || max == i64::MAX {
        (">=", min)
    } else {
        ("<=", max)
    };
    let mut finding = Finding::pass(0, op, Some(value), Some(limit), unit);
    finding.bounds = Some((min, max));
    if below || value > max {
        finding = finding.fails(Verdict::Clamp, None);
        finding.bounds = Some((min, max));
    }
    finding
}

/// How far one decision may move a value: in its unit, or as a share of the present value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    unit: Unit,
    max: Option<i64>,
    max_bp: Option<i64>,
    on_missing: OnUnknown,
}

impl Step {
    pub fn read(fields: &mut Fields<'_>, selector: &Selector) -> Option<Self> {
        let unit = shared_unit(fields, selector);
        let max = fields.amount("max", unit, "the largest change, in the action's unit");
        let max_bp = fields.amount(
            "max_change",
            Some(Unit::BasisPoints),
            "the largest change, as a share of the present value: 15 %",
        );
        if !fields.is_describing() {
            match (fields.has("max"), fields.has("max_change")) {
                (true, true) => fields.problem("max", "either `max` or `max_change`"),
                (false, false) => fields.problem("max", "`max` (50 W) or `max_change` (15 %) is missing"),
                _ => {}
            }
            if max.is_some_and(|v| v <= 0) || max_bp.is_some_and(|v| v <= 0) {
                fields.problem("max", "must be above 0");
            }
        }
        let on_missing = OnUnknown::read_as(fields, NO_NUMBER);
        unit.map(|unit| Self {
            unit,
            max,
            max_bp,
            on_missing,
        })
    }

    pub fn assess(&self, asked: &Asked<'_>, numbers: &Numbers, push: &mut impl FnMut(Finding)) {
        let (Some((value, unit)), Some(present)) = (asked.amount, numbers.get(0)) else {
            return push(self.on_missing.finding(asked, 0, "<=", self.max, self.unit));
        };
        let share = |bp: i64| (i128::from(present.unsigned_abs()) * i128::from(bp) / 10_000) as i64;
        let step = self.max.or(self.max_bp.map(share)).unwrap_or(i64::MAX).max(1);
        let change = value.abs_diff(present);
        let finding = Finding::pass(0, "<=", i64::try_from(change).ok(), Some(step), unit);
        let bounds = Some((present.saturating_sub(step), present.saturating_add(step)));
        push(if change <= step.unsigned_abs() {
            Finding { bounds, ..finding }
        } else {
            Finding {
                bounds,
                ..finding.fails(Verdict::Clamp, None)
            }
        });
    }

    pub fn text(&self) -> String {
        match (self.max, self.max_bp) {
            (_, Some(bp)) => format!("at most {} of the present value at a time", show(bp, Unit::BasisPoints)),
            (Some(max), None) => format!("at most {max} at a time"),
            (None, None) => String::new(),
        }
    }
}

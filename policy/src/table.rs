//! Which rule looks at which series: resolved once per series, then found by place.
//!
//! Sensors report in the same order each round, so the n-th reading is nearly always the n-th of the round before.
//!
//! Invariant: at most [`MAX_SERIES`] series are ever kept; readings of further ones are not looked at.

use std::collections::BTreeMap;

use wire::{DeviceId, Mono, Quantity, Series};

use crate::bundle::Bundle;
use crate::indicator::Indicator;
use crate::ledger::Standing;
use crate::rule::{Mode, Rule};

/// As many as one telemetry dictionary holds.
const MAX_SERIES: usize = 4_096;

/// One rule on one device.
#[derive(Debug, Clone)]
pub(crate) struct Instance {
    /// Index of the rule in the bundle.
    pub rule: usize,
    /// Index of the series that it reads.
    pub slot: usize,
    pub standing: Standing,
}

/// The latest of one series, and who looks at it.
#[derive(Debug, Clone)]
pub(crate) struct Slot {
    pub series: Series,
    /// The latest real value and when it came.
    pub last: Option<(i64, Mono)>,
    /// A bit for each indicator that counts it.
    pub indicators: u8,
    /// A bit for each meter that meters it.
    pub meters: u8,
    /// Instances `first..end` of the table.
    first: usize,
    end: usize,
}

impl Slot {
    /// The instances that look at it.
    pub fn instances(&self) -> std::ops::Range<usize> {
        self.first..self.end
    }
}

/// All series of one agent.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    pub slots: Vec<Slot>,
    pub instances: Vec<Instance>,
    index: BTreeMap<Series, usize>,
    /// The slot of the n-th reading of the last round.
    order: Vec<usize>,
}

impl Table {
    /// The slot of a series that was reported in this place of a round; `None` if there are too many series.
    pub fn slot(
        &mut self,
        position: usize,
        series: &Series,
        bundle: &Bundle,
        stored: &mut Vec<(String, DeviceId, Standing)>,
    ) -> Option<usize> {
        if let Some(slot) = self.order.get(position)
            && self.slots[*slot].series == *series
        {
            return Some(*slot);
        }
        let slot = match self.index.get(series) {
            Some(slot) => *slot,
            None if self.slots.len() >= MAX_SERIES => return None,
            None => self.add(series, bundle, stored),
        };
        if position >= self.order.len() && position < MAX_SERIES {
            self.order.resize(position + 1, slot);
        }
        if let Some(place) = self.order.get_mut(position) {
            *place = slot;
        }
        Some(slot)
    }

    /// Makes a slot for a series and the instances of every rule that looks at it.
    pub fn add(&mut self, series: &Series, bundle: &Bundle, stored: &mut Vec<(String, DeviceId, Standing)>) -> usize {
        if let Some(slot) = self.index.get(series) {
            return *slot;
        }
        let slot = self.slots.len();
        let first = self.instances.len();
        for (index, rule) in bundle.rules.iter().enumerate() {
            if looks_at(rule, series) {
                self.instances.push(Instance {
                    rule: index,
                    slot,
                    standing: take_stored(stored, &rule.id, &series.device),
                });
            }
        }
        self.slots.push(Slot {
            series: series.clone(),
            last: None,
            indicators: (0..).zip(&bundle.indicators).fold(0, |bits, (index, indicator)| {
                bits | u8::from(indicator.watches(series)) << index
            }),
            meters: (0..).zip(&bundle.meters).fold(0, |bits, (index, meter)| {
                bits | u8::from(meter.watches(series)) << index
            }),
            first,
            end: self.instances.len(),
        });
        self.index.insert(series.clone(), slot);
        slot
    }

    /// The latest value of a series.
    pub fn latest(&self, device: &DeviceId, quantity: Quantity) -> Option<i64> {
        let series = Series::new(device.clone(), quantity);
        self.slots[*self.index.get(&series)?].last.map(|(value, _)| value)
    }

    /// Until when the latest values of the series that an indicator counts, given its place, speak of something bad; 0 if they do not.
    pub fn bad_until(&self, index: usize, indicator: &Indicator) -> u64 {
        let counted = self.slots.iter().filter(|slot| slot.indicators & (1 << index) != 0);
        let bad = counted
            .filter_map(|slot| slot.last)
            .filter(|(value, _)| !indicator.is_good(*value));
        let until = bad.map(|(_, at)| at.0.saturating_add(indicator.stale_after_ms()));
        until.max().unwrap_or(0)
    }

    /// How old the latest value of a series is.
    pub fn age_ms(&self, device: &DeviceId, quantity: Quantity, now: Mono) -> Option<i64> {
        let series = Series::new(device.clone(), quantity);
        let (_, at) = self.slots[*self.index.get(&series)?].last?;
        i64::try_from(now.0.saturating_sub(at.0)).ok()
    }
}

fn looks_at(rule: &Rule, series: &Series) -> bool {
    rule.mode != Mode::Off
        && rule
            .kind
            .condition()
            .is_some_and(|condition| condition.quantity == series.quantity && condition.watches(&series.device))
}

fn take_stored(stored: &mut Vec<(String, DeviceId, Standing)>, rule: &str, device: &DeviceId) -> Standing {
    match stored.iter().position(|(id, on, _)| id == rule && on == device) {
        Some(index) => stored.swap_remove(index).2,
        None => Standing::default(),
    }
}

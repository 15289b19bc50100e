//! What one node has metered, and what it costs.
//!
//! Power times the time for which it speaks is energy, kept by the hour in whole thousandths of a joule; what does not fill one is
//! carried on, so that nothing is lost however often it is looked at. A window is its hours and what has begun of the present one: the
//! hour in which it begins counts in full, so a window never tells less than what was used in it, and at most an hour more.
//!
//! A reading speaks for the time until the next one of its series, and for `stale_after` at most, over a restart too. What comes after
//! it is a gap: nothing is metered, and once nothing speaks any more, nothing is known. Power below 0 is none.
//!
//! Invariants: time is [`Mono`], in which a node that is off does not age, so a calendar window reaches back over at least its time so
//! far; no time is metered twice for one series; what is too large to count counts as the largest there is. Never decides.

use serde::{Deserialize, Serialize};
use wire::{DeviceId, Mono};

use crate::indicator::{HOUR_MS, MAX_STALE_MS};
use crate::ring::Ring;

/// 32 days: a calendar month, and the hour in which it begins.
const HOURS: usize = 768;
/// More series than any node has.
const MAX_SAID: usize = 4_096;

/// What one series said last. Kept for a while after it fell silent: it may speak again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Said {
    device: DeviceId,
    milliwatts: u64,
    until: u64,
}

/// What was metered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Course {
    /// Energy by the hour, in thousandths of a joule.
    hours: Ring<u64, HOURS>,
    /// What does not fill a thousandth yet, in millionths.
    rest: u16,
    /// Up to when energy was taken.
    at: u64,
    /// Of each series that spoke lately, sorted by its device.
    said: Vec<Said>,
}

impl Course {
    /// Lets time pass. A past that lies ahead of the clock is none: the clock is stored with it and never goes back.
    pub fn pass(&mut self, now: Mono) {
        let now = now.0;
        if now < self.at {
            *self = Self::default();
        }
        self.hours.advance(now / HOUR_MS);
        let mut rest = u128::from(self.rest);
        for said in &self.said {
            let (mut from, end) = (self.at, now.min(said.until));
            while from < end {
                let hour = from / HOUR_MS;
                let to = end.min(hour.saturating_add(1).saturating_mul(HOUR_MS));
                let energy = rest + u128::from(said.milliwatts) * u128::from(to - from);
                if let Some(slot) = self.hours.at_mut(hour) {
                    *slot = slot.saturating_add(u64::try_from(energy / 1_000).unwrap_or(u64::MAX));
                }
                rest = energy % 1_000;
                from = to;
            }
        }
        self.rest = u16::try_from(rest).unwrap_or(0);
        self.said.retain(|said| now <= said.until.saturating_add(MAX_STALE_MS));
        self.at = now;
    }

    /// A reading that comes now and speaks for so long at most.
    pub fn take(&mut self, device: &DeviceId, milliwatts: i64, stale_after_ms: u64) {
        let milliwatts = u64::try_from(milliwatts).unwrap_or(0);
        let until = self.at.saturating_add(stale_after_ms);
        match self.said.binary_search_by(|said| said.device.cmp(device)) {
            Ok(index) => {
                self.said[index].milliwatts = milliwatts;
                self.said[index].until = until;
            }
            Err(index) if self.said.len() < MAX_SAID => self.said.insert(
                index,
                Said {
                    device: device.clone(),
                    milliwatts,
                    until,
                },
            ),
            Err(_) => {}
        }
    }

    /// Whether nothing was ever metered.
    pub fn is_empty(&self) -> bool {
        self.said.is_empty() && self.rest == 0 && self.hours.since(0).all(|(_, energy)| energy == 0)
    }

    /// What was used in the time up to `now`, which may lie a little ahead of the latest readings, in millionths of a joule; `None` when
    /// nothing speaks any more.
    pub fn used(&self, now: Mono, window_ms: u64) -> Option<u128> {
        self.power(now)?;
        let from = now.0.saturating_sub(window_ms) / HOUR_MS;
        let kept: u128 = self.hours.since(from).map(|(_, energy)| u128::from(energy)).sum();
        let open = self.said.iter().map(|said| {
            let lasted = now.0.min(said.until).saturating_sub(self.at);
            u128::from(said.milliwatts) * u128::from(lasted)
        });
        Some(open.fold(kept * 1_000 + u128::from(self.rest), u128::saturating_add))
    }

    /// What all series that speak say together, in milliwatts; `None` when none does any more.
    pub fn power(&self, now: Mono) -> Option<i64> {
        let speaking = self.said.iter().filter(|said| said.until > now.0);
        let sum = speaking.map(|said| said.milliwatts).reduce(u64::saturating_add)?;
        Some(i64::try_from(sum).unwrap_or(i64::MAX))
    }

    /// Whether it could have been written by this program.
    pub fn is_sound(&self) -> bool {
        let latest = self.at.saturating_add(MAX_STALE_MS);
        self.hours.newest() == self.at / HOUR_MS
            && self.rest < 1_000
            && self.said.len() <= MAX_SAID
            && self.said.is_sorted_by(|a, b| a.device < b.device)
            && self.said.iter().all(|said| said.until <= latest)
    }
}

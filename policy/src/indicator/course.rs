//! What one node has seen of one indicator, and the numbers that follow from it.
//!
//! Events are counted by the minute for windows of up to 6 h, and by the hour for longer ones: hours
//! are enough for the windows of 1 d and 3 d, whose beginning is then off by at most 4 % of the window, and reach back over a
//! whole month in a quarter of the room. A window is its whole minutes (or hours) and what has begun of the present one.
//!
//! A reading speaks for the time until the next one of its series, and for `stale_after` at most. The indicator is in outage while the
//! latest reading of *any* of its series is bad: outages are merged, not summed. What comes after `stale_after` is a gap: no events,
//! no outage, and once nothing speaks any more, no numbers. A restart forgets which series was bad; until the first reading after it
//! an outage that was on goes on.
//!
//! Invariants: time is [`Mono`], in which a node that is off does not age; no window counts an event twice; an outage is never longer
//! than the time that passed, and what is counted over a window is never less than what was lost in it. Never decides.

use serde::{Deserialize, Serialize};
use wire::Mono;

use super::{Indicator, MAX_STALE_MS, NUMBERS};
use crate::kind::objective::burn_milli;
use crate::ring::Ring;

const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 3_600_000;
/// 6 h and the present minute.
const MINUTES: usize = 361;
/// 32 days.
const HOURS: usize = 768;

/// Events of one stretch of time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Count {
    bad: u32,
    total: u32,
}

/// One hour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Hour {
    count: Count,
    /// How long it was in outage.
    bad_ms: u32,
}

/// From what one of [`NUMBERS`] is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Number {
    /// The burn rate over so many minutes, or hours.
    Minutes(u64),
    Hours(u64),
    BudgetLeft,
    /// Events in the shortest window.
    Events,
    Outage,
}

/// In the order of [`NUMBERS`].
const MADE_FROM: [Number; NUMBERS.len()] = [
    Number::Minutes(5),
    Number::Minutes(60),
    Number::Minutes(30),
    Number::Minutes(360),
    Number::Minutes(120),
    Number::Hours(24),
    Number::BudgetLeft,
    Number::Events,
    Number::Hours(72),
    Number::Outage,
];
const SHORTEST_MIN: u64 = 5;

/// What was seen of one indicator.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Course {
    minutes: Ring<Count, MINUTES>,
    hours: Ring<Hour, HOURS>,
    /// Up to when time was taken.
    at: u64,
    /// The first and the latest event.
    first: Option<u64>,
    last: Option<u64>,
    /// Until when it is in outage if nothing is heard.
    bad_until: u64,
}

impl Course {
    /// Lets time pass. A past that lies ahead of the clock is none: the clock is stored with it and never goes back.
    pub fn pass(&mut self, now: Mono) {
        let now = now.0;
        if now < self.at {
            *self = Self::default();
        }
        self.minutes.advance(now / MINUTE_MS);
        self.hours.advance(now / HOUR_MS);
        let end = now.min(self.bad_until);
        while self.at < end {
            let hour = self.at / HOUR_MS;
            let to = end.min(hour.saturating_add(1).saturating_mul(HOUR_MS));
            let lost = u32::try_from(to - self.at).unwrap_or(u32::MAX);
            if let Some(slot) = self.hours.at_mut(hour) {
                slot.bad_ms = slot.bad_ms.saturating_add(lost);
            }
            self.at = to;
        }
        self.at = now;
    }

    /// Counts an event that happens now.
    pub fn take(&mut self, is_good: bool) {
        let minute = self.minutes.at_mut(self.at / MINUTE_MS);
        let hour = self.hours.at_mut(self.at / HOUR_MS).map(|hour| &mut hour.count);
        for count in minute.into_iter().chain(hour) {
            // Full: the share of bad ones stays as it is.
            if count.total < u32::MAX {
                count.total += 1;
                count.bad += u32::from(!is_good);
            }
        }
        self.first.get_or_insert(self.at);
        self.last = Some(self.at);
    }

    /// Whether nothing was ever heard.
    pub fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// Says until when it is in outage if nothing more is heard.
    pub fn set_bad_until(&mut self, until: u64) {
        self.bad_until = until;
    }

    /// Whether it is in outage.
    pub fn is_bad(&self) -> bool {
        self.bad_until > self.at
    }

    /// Until when its numbers are known if nothing more is heard; `None` if nothing ever was.
    pub fn known_until(&self, indicator: &Indicator) -> Option<u64> {
        Some(self.last?.saturating_add(indicator.stale_after_ms()))
    }

    /// Whether its numbers are known.
    pub fn is_known(&self, indicator: &Indicator) -> bool {
        self.known_until(indicator).is_some_and(|until| self.at < until)
    }

    /// One of [`NUMBERS`], by its place.
    pub fn number(&self, place: usize, indicator: &Indicator) -> Option<i64> {
        let target = indicator.target_bp;
        match MADE_FROM.get(place)? {
            Number::Minutes(minutes) => burn(self.over_minutes(*minutes), target),
            Number::Hours(hours) => burn(self.over_hours(*hours), target),
            Number::Events => i64::try_from(self.over_minutes(SHORTEST_MIN).1).ok(),
            Number::BudgetLeft => self.budget_left_bp(indicator),
            Number::Outage => Some(self.lost_ms(Mono(self.at), indicator.period_ms)),
        }
    }

    /// How long it was in outage in the time up to `now`, which may lie a little ahead of the latest readings; `None` when nothing
    /// speaks any more. Counts the hour in which that time begins in full, so it is never less than what was lost.
    pub fn outage_ms(&self, now: Mono, window_ms: u64, indicator: &Indicator) -> Option<i64> {
        let is_known = self.known_until(indicator).is_some_and(|until| now.0 < until);
        is_known.then(|| self.lost_ms(now, window_ms))
    }

    fn lost_ms(&self, now: Mono, window_ms: u64) -> i64 {
        let from = now.0.saturating_sub(window_ms);
        let kept = self.hours.since(from / HOUR_MS).map(|(_, hour)| u64::from(hour.bad_ms));
        let open = now.0.min(self.bad_until).saturating_sub(self.at.max(from));
        i64::try_from(kept.sum::<u64>().saturating_add(open)).unwrap_or(i64::MAX)
    }

    /// What is left of the error budget of the whole period, in hundredths of a percent; below 0 if more was used.
    ///
    /// A burn rate that lasted for a part of the period has used up that part of the budget times the rate, as burn rates are
    /// commonly tabled: an indicator that is an hour old has not lived through a month.
    fn budget_left_bp(&self, indicator: &Indicator) -> Option<i64> {
        let hours = indicator.period_ms.div_ceil(HOUR_MS);
        let rate = burn(self.over_hours(hours), indicator.target_bp)?;
        let covered = self.covered_ms(hours).clamp(1, indicator.period_ms);
        let period = i128::from(indicator.period_ms);
        // Thousandths to hundredths of a percent, rounded up: never more is left than there is.
        let used = (i128::from(rate) * 10 * i128::from(covered) + period - 1) / period;
        Some(i64::try_from(10_000 - used).unwrap_or(i64::MIN))
    }

    /// How much of the latest hours has events: what lies before the first one, and hours without any, were not lived through.
    fn covered_ms(&self, hours: u64) -> u64 {
        let first = self.first.unwrap_or(self.at);
        let spans = self.hours.since(self.hours.newest().saturating_sub(hours));
        let spans = spans.filter(|(_, hour)| hour.count.total > 0).map(|(number, _)| {
            let start = number.saturating_mul(HOUR_MS);
            let end = start.saturating_add(HOUR_MS).min(self.at);
            end.saturating_sub(start.max(first))
        });
        spans.sum()
    }

    /// Bad events and all of them, over whole minutes and the present one.
    fn over_minutes(&self, minutes: u64) -> (u64, u64) {
        let from = self.minutes.newest().saturating_sub(minutes);
        sum(self.minutes.since(from).map(|(_, count)| count))
    }

    /// The same, over whole hours and the present one.
    fn over_hours(&self, hours: u64) -> (u64, u64) {
        let from = self.hours.newest().saturating_sub(hours);
        sum(self.hours.since(from).map(|(_, hour)| hour.count))
    }

    /// Whether it could have been written by this program.
    pub fn is_sound(&self) -> bool {
        let is_count = |count: Count| count.bad <= count.total;
        self.minutes.newest() == self.at / MINUTE_MS
            && self.hours.newest() == self.at / HOUR_MS
            && self.last.is_none_or(|last| last <= self.at)
            && self.bad_until <= self.at.saturating_add(MAX_STALE_MS)
            && self.minutes.since(0).all(|(_, count)| is_count(count))
            && self
                .hours
                .since(0)
                .all(|(_, hour)| is_count(hour.count) && u64::from(hour.bad_ms) <= HOUR_MS)
    }
}

fn sum(counts: impl Iterator<Item = Count>) -> (u64, u64) {
    counts.fold((0, 0), |(bad, total), count| {
        (bad + u64::from(count.bad), total + u64::from(count.total))
    })
}

fn burn((bad, total): (u64, u64), target_bp: u16) -> Option<i64> {
    burn_milli(total.saturating_sub(bad), total, target_bp)
}

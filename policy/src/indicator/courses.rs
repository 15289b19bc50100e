//! The indicators of one agent's bundle while readings come: who counts what, and when the rules are told.
//!
//! Numbers are set once a minute, and when they become known or unknown; how long an outage has lasted is set in every round of it.
//! Never decides, and allocates nothing in a round in which no number becomes known.
//!
//! Read next: `course.rs` (one indicator), `engine.rs` (the caller).

use wire::Mono;

use super::course::Course;
use super::{Counted, Indicator, OUTAGE};
use crate::ledger::Known;
use crate::table::Table;

const MINUTE_MS: u64 = 60_000;

/// An indicator's past as the ledger keeps it: its id, what was counted, and what was seen.
pub(crate) type Kept = (String, Counted, Course);

/// What was heard of an indicator in the present round; the worst counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Heard {
    #[default]
    Nothing,
    Good,
    Bad,
}

#[derive(Debug, Clone, Default)]
struct Followed {
    course: Course,
    heard: Heard,
    /// It was in outage before the present round.
    was_bad: bool,
    /// Its numbers are among the known ones.
    is_told: bool,
}

/// One course for each indicator of a bundle, in its order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Courses {
    all: Vec<Followed>,
    /// When the numbers are set next.
    look_at: u64,
}

impl Courses {
    /// Goes on with what was kept of the same indicators; those that are new, or count something else now, begin anew.
    pub fn of(indicators: &[Indicator], mut kept: Vec<Kept>) -> Self {
        let follow = |indicator: &Indicator| {
            let is_it = |(id, counted, _): &Kept| *id == indicator.id && *counted == indicator.counted;
            let found = kept.iter().position(is_it);
            Followed {
                course: found.map(|index| kept.swap_remove(index).2).unwrap_or_default(),
                ..Followed::default()
            }
        };
        Self {
            all: indicators.iter().map(follow).collect(),
            look_at: 0,
        }
    }

    /// What of it is to be kept.
    pub fn kept(&self, indicators: &[Indicator]) -> Vec<Kept> {
        let pairs = indicators.iter().zip(&self.all);
        let seen = pairs.filter(|(_, followed)| !followed.course.is_empty());
        seen.map(|(indicator, followed)| (indicator.id.clone(), indicator.counted.clone(), followed.course.clone()))
            .collect()
    }

    /// A round begins: time passes.
    pub fn begin(&mut self, now: Mono) {
        for followed in &mut self.all {
            followed.was_bad = followed.course.is_bad();
            followed.course.pass(now);
            followed.heard = Heard::Nothing;
        }
    }

    /// A reading of a series that the indicators with these bits count.
    pub fn take(&mut self, indicators: &[Indicator], mut bits: u8, value: i64) {
        while bits != 0 {
            let index = bits.trailing_zeros() as usize;
            bits &= bits - 1;
            let (Some(followed), Some(indicator)) = (self.all.get_mut(index), indicators.get(index)) else {
                return;
            };
            let is_good = indicator.is_good(value);
            followed.course.take(is_good);
            followed.heard = followed.heard.max(if is_good { Heard::Good } else { Heard::Bad });
        }
    }

    /// A round ends: finds out what is in outage, and tells the rules' numbers.
    pub fn end(&mut self, indicators: &[Indicator], table: &Table, known: &mut Known, now: Mono) {
        let is_due = now.0 >= self.look_at;
        if is_due {
            self.look_at = (now.0 / MINUTE_MS).saturating_add(1).saturating_mul(MINUTE_MS);
        }
        for (index, (followed, indicator)) in self.all.iter_mut().zip(indicators).enumerate() {
            let course = &mut followed.course;
            match followed.heard {
                Heard::Nothing => {}
                Heard::Bad => course.set_bad_until(now.0.saturating_add(indicator.stale_after_ms())),
                // Another series may still be bad, of which nothing was heard in this round.
                Heard::Good if followed.was_bad => course.set_bad_until(table.bad_until(index, indicator)),
                Heard::Good => {}
            }
            let is_known = course.is_known(indicator);
            if is_known != followed.is_told || is_known && is_due {
                followed.tell(indicator, known);
            } else if is_known && (followed.was_bad || followed.course.is_bad()) {
                let lost = followed.course.number(OUTAGE, indicator);
                known.set(&indicator.names()[OUTAGE], lost);
            }
        }
    }

    /// Tells the numbers of all that are known as of their latest round.
    pub fn tell(&mut self, indicators: &[Indicator], known: &mut Known) {
        for (followed, indicator) in self.all.iter_mut().zip(indicators) {
            followed.tell(indicator, known);
        }
    }

    /// When a round is wanted even without readings: numbers are to be set, or become unknown.
    pub fn due(&self, indicators: &[Indicator]) -> Option<Mono> {
        let told = self.all.iter().zip(indicators).filter(|(followed, _)| followed.is_told);
        let until = told.filter_map(|(followed, indicator)| followed.course.known_until(indicator));
        until.min().map(|until| Mono(until.min(self.look_at)))
    }

    /// How long the indicator with this name was in outage in the time up to `now`. The outer `None`: there is no such indicator.
    pub fn outage_ms(&self, indicators: &[Indicator], name: &str, now: Mono, window_ms: u64) -> Option<Option<i64>> {
        let index = indicators.iter().position(|indicator| indicator.id == name)?;
        let course = &self.all.get(index)?.course;
        Some(course.outage_ms(now, window_ms, &indicators[index]))
    }
}

impl Followed {
    fn tell(&mut self, indicator: &Indicator, known: &mut Known) {
        self.is_told = self.course.is_known(indicator);
        for (place, name) in indicator.names().iter().enumerate() {
            let number = self.course.number(place, indicator).filter(|_| self.is_told);
            known.set(name, number);
        }
    }
}

//! `rate_limit` and `budget`: at most so many in any interval of a window's length.
//!
//! Counts what ran, never what was refused. A true sliding window: an event exactly one window old is out.
//!
//! Invariant: no interval of length `window` ever holds more than `limit` granted actions of one key.

use wire::Verdict;
use wire::reading::Unit;

use crate::ledger::{Counters, Key, MAX_WINDOW, Numbers};
use crate::rule::{Asked, Finding};
use crate::text::fields::Fields;
use crate::text::units::show_duration;

use super::threshold::as_number;

/// How many in how long, counted per what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rate {
    limit: u32,
    window_ms: u64,
    key: Key,
}

impl Rate {
    pub fn read(fields: &mut Fields<'_>) -> Self {
        let limit = fields.need_number("limit", 0, MAX_WINDOW as i64, "at most so many");
        let window_ms = fields.need_duration("window", "in any interval of this length");
        let key = fields.choice(
            "key",
            Key::NAMES,
            "counted per target (default), per kind, per target_kind, or for the whole node",
        );
        Self {
            limit: u32::try_from(limit).unwrap_or(0),
            window_ms,
            key: key.map_or(Key::Target, Key::from_index),
        }
    }

    pub fn gather(&self, counters: &Counters, asked: &Asked<'_>) -> Numbers {
        let (count, free_in_ms) = counters.window(self.key, asked, self.window_ms, self.limit);
        Numbers::of([Some(i64::from(count)), free_in_ms.map(as_number)])
    }

    pub fn assess(&self, verdict: Verdict, numbers: &Numbers, push: &mut impl FnMut(Finding)) {
        // Without a count nothing is known of what ran: the hub's own copy does not ask at all.
        let Some(count) = numbers.get(0) else { return };
        let limit = i64::from(self.limit);
        let finding = Finding::pass(0, "<", Some(count), Some(limit), Unit::Count);
        push(if count < limit {
            finding
        } else {
            finding.fails(verdict, numbers.get(1).and_then(|ms| u64::try_from(ms).ok()))
        });
    }

    /// Whether no key can have reached the limit.
    pub fn is_idle(&self, counters: &Counters) -> bool {
        counters.busiest() < self.limit as usize
    }

    pub fn debit(&self, counters: &mut Counters, asked: &Asked<'_>) {
        counters.debit(self.key, asked, self.window_ms, self.limit);
    }

    pub fn what(&self, asked: &Asked<'_>) -> String {
        let of = match self.key {
            Key::Node => "actions of this node".to_owned(),
            Key::Target => format!("actions on {}", asked.target),
            Key::Kind => format!("{} actions", asked.info().name),
            Key::TargetKind => format!("{} actions on {}", asked.info().name, asked.target),
        };
        format!("{of} in {}", show_duration(self.window_ms))
    }

    pub fn text(&self) -> String {
        let per = match self.key {
            Key::Node => "",
            Key::Target => ", per target",
            Key::Kind => ", per kind",
            Key::TargetKind => ", per target and kind",
        };
        format!("at most {} in any {}{per}", self.limit, show_duration(self.window_ms))
    }
}

//! `cooldown`: time that must pass after a completed action before the same kind runs on the same target again.
//!
//! Counted from completion, not from the start. Each failure in a row multiplies the wait, up to the cap.
//!
//! Invariant: two grants on one target are at least the wait after the first one's completion apart.

use wire::decision::Verdict;
use wire::reading::Unit;

use super::rate::{NO_ROOM_MS, no_room_finding};
use super::threshold::as_number;
use crate::counters::{Counter, Counters, Mark, target_and_kind};
use crate::ledger::Numbers;
use crate::rule::{Asked, Finding};
use crate::text::fields::Fields;
use crate::text::units::show_duration;
use wire::Mono;

/// A day: after that a person has looked.
const CAP_MS: u64 = 86_400_000;

/// The place of the number that says that there is no room for one more target.
const NO_ROOM: usize = 2;
/// Names of its numbers.
pub(crate) const NUMBERS: [&str; 3] = ["since_ms", "wait_ms", NO_ROOM_MS];

/// More suppressions than these in a day mean that the fault is stuck.
const STUCK_AFTER: u8 = 5;

/// The waits of one rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cooldown {
    after_success_ms: u64,
    after_failure_ms: u64,
    factor: u64,
    cap_ms: u64,
}

impl Cooldown {
    pub fn read(fields: &mut Fields<'_>) -> Self {
        let after_success_ms = fields.need_duration("after_success", "how long to wait after it worked");
        let after_failure_ms = fields.duration("after_failure", "how long to wait after it failed; as after_success");
        let factor = fields.number(
            "factor",
            1,
            10,
            "each further failure in a row multiplies the wait by this; 2",
        );
        let cap_ms = fields.duration("cap", "the longest wait; 24 h, or the longer of the two above");
        let after_failure_ms = after_failure_ms.unwrap_or(after_success_ms);
        let longest = after_success_ms.max(after_failure_ms);
        if cap_ms.is_some_and(|cap_ms| cap_ms < longest) {
            let message = format!(
                "is shorter than a wait of {} that the rule asks for",
                show_duration(longest)
            );
            fields.doubt("cap", message);
        }
        Self {
            after_success_ms,
            after_failure_ms,
            factor: factor.and_then(|factor| u64::try_from(factor).ok()).unwrap_or(2),
            cap_ms: cap_ms.unwrap_or(CAP_MS.max(longest)),
        }
    }

    fn wait_ms(&self, failures: u8) -> u64 {
        match failures {
            0 => self.after_success_ms,
            n => (1..n).fold(self.after_failure_ms, |wait, _| wait.saturating_mul(self.factor)),
        }
        .min(self.cap_ms.max(self.after_success_ms))
    }

    /// Until when a mark makes anything wait.
    fn waits_until(&self, mark: Mark) -> u64 {
        match mark.finished {
            Mono(0) => 0,
            finished => finished.0.saturating_add(self.wait_ms(mark.failures)),
        }
    }

    pub fn gather(&self, counters: &Counters, asked: &Asked<'_>) -> Numbers {
        let (place, now) = (target_and_kind(asked), asked.now.mono);
        let waits = |counter: &Counter| counter.mark().map_or(0, |mark| self.waits_until(mark));
        match counters.mark(place) {
            Some(mark) => Numbers::of([
                Some(as_number(asked.now.mono.0.saturating_sub(mark.finished.0))),
                Some(as_number(self.wait_ms(mark.failures))),
            ]),
            None => Numbers::of([
                None,
                Some(as_number(self.after_success_ms)),
                counters.no_room(place, now, waits).map(as_number),
            ]),
        }
    }

    pub fn assess(&self, asked: &Asked<'_>, numbers: &Numbers, push: &mut impl FnMut(Finding)) {
        if let Some(no_room_ms) = numbers.get(NO_ROOM) {
            return push(no_room_finding(asked, no_room_ms));
        }
        let (since, wait) = (numbers.get(0), numbers.get(1));
        let finding = Finding::pass(0, ">=", since, wait, Unit::Milliseconds);
        push(match (since, wait) {
            (Some(since), Some(wait)) if since < wait => {
                finding.fails(Verdict::Hold, u64::try_from(wait.saturating_sub(since)).ok())
            }
            _ => finding,
        });
    }

    pub fn finished(&self, counters: &mut Counters, asked: &Asked<'_>, failed: bool) {
        let now = asked.now.mono;
        counters.change_mark(
            target_and_kind(asked),
            now,
            |mark| self.waits_until(mark),
            |mark| {
                mark.finished = now;
                mark.failures = if failed { mark.failures.saturating_add(1) } else { 0 };
            },
        );
    }

    /// Notes that it held an action back. `true` when that is once too often: waiting does not help, the fault is stuck.
    pub fn suppressed(&self, counters: &mut Counters, asked: &Asked<'_>) -> bool {
        let now = asked.now.mono;
        let mut suppressed = 0;
        counters.change_mark(
            target_and_kind(asked),
            now,
            |mark| self.waits_until(mark),
            |mark| {
                if now.0.saturating_sub(mark.suppressed_since.0) >= CAP_MS {
                    (mark.suppressed, mark.suppressed_since) = (0, now);
                }
                mark.suppressed = mark.suppressed.saturating_add(1);
                suppressed = mark.suppressed;
            },
        );
        suppressed == STUCK_AFTER + 1
    }

    pub fn text(&self) -> String {
        format!(
            "at least {} after the last one, {} after a failure, x{} up to {}",
            show_duration(self.after_success_ms),
            show_duration(self.after_failure_ms),
            self.factor,
            show_duration(self.cap_ms)
        )
    }
}

//! The change freeze that the tour publishes: a weekly window that covers the hour in which the tour is played.
//!
//! Invariant: the window began before now and lasts for an hour at least, on every day and across midnight.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const HOUR_MS: i64 = 3_600_000;
const DAYS: [&str; 7] = ["TH", "FR", "SA", "SU", "MO", "TU", "WE"];

/// Milliseconds since 1970 by this machine's clock.
pub(super) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// The bundle with one rule more, which freezes what people change: from the beginning of this hour, for two hours, every week.
pub(super) fn with_freeze(bundle: &[u8], now_ms: i64) -> Vec<u8> {
    let hours = now_ms.div_euclid(HOUR_MS);
    // 1970 began on a Thursday.
    let day = DAYS[usize::try_from(hours.div_euclid(24).rem_euclid(7)).unwrap_or(0)];
    let (from, to) = (hours.rem_euclid(24), (hours + 2).rem_euclid(24));
    let rule = format!(
        "
  - id: launch-freeze
    kind: change_freeze
    why: what people change by hand during a launch, others must find out
    reason: the launch
    selector: {{ kinds: [restart, unthrottle], sources: [human, local] }}
    tz: UTC
    rrule: FREQ=WEEKLY;BYDAY={day}
    from: \"{from:02}:00\"
    to: \"{to:02}:00\"
"
    );
    [bundle, rule.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::super::STRICT_BUNDLE;
    use super::*;

    #[test]
    fn the_freeze_covers_the_moment_at_which_it_is_published() {
        for now in [
            "1970-01-01T00:00:00.000Z",
            "2026-11-24T20:59:59.999Z",
            "2026-11-28T22:00:00.000Z",
            "2026-12-31T23:30:00.000Z",
        ] {
            let at: wire::Wall = now.parse().expect("a time");
            let bundle = policy::Bundle::parse(&with_freeze(STRICT_BUNDLE, at.0)).expect("a bundle");
            let freezes = bundle.freezes(at);
            let ours = freezes.iter().find(|freeze| freeze.rule == "launch-freeze");
            let until = ours.and_then(|freeze| freeze.active_until).expect("it is active");
            assert!(
                (HOUR_MS..=2 * HOUR_MS).contains(&(until.0 - at.0)),
                "{now}: until {until}"
            );
        }
    }
}

//! Times as the demo shows them: minutes, seconds and milliseconds since it was started.
//!
//! A node journals its wall clock; on one machine that is the demo's own, so a journaled time can be told on the same line.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The moment that the demo was started, on both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Started {
    at: Instant,
    wall_ms: i64,
}

impl Started {
    /// Now.
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self {
            at: Instant::now(),
            wall_ms: i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        }
    }

    /// `00:07.123`, now.
    pub fn elapsed(&self) -> String {
        shown(i64::try_from(self.at.elapsed().as_millis()).unwrap_or(i64::MAX))
    }

    /// The same for a time that a node journaled, in RFC 3339; `None` if it is not such a time.
    pub fn at(&self, journaled: &str) -> Option<String> {
        unix_ms(journaled).map(|ms| shown(ms - self.wall_ms))
    }
}

fn shown(ms: i64) -> String {
    let ms = ms.max(0);
    format!("{:02}:{:02}.{:03}", ms / 60_000, ms / 1_000 % 60, ms % 1_000)
}

/// Milliseconds since 1970 of `2026-11-24T12:01:07.250Z`, the one form that Sentinel writes.
fn unix_ms(text: &str) -> Option<i64> {
    let digits = |range: std::ops::Range<usize>| text.get(range)?.parse::<i64>().ok();
    if text.len() != 24 || !text.ends_with('Z') {
        return None;
    }
    let (year, month, day) = (digits(0..4)?, digits(5..7)?, digits(8..10)?);
    let (hour, minute, second, ms) = (digits(11..13)?, digits(14..16)?, digits(17..19)?, digits(20..23)?);
    // Days from the civil date, with years that begin in March: the leap day is then the last one.
    let (year, month) = match month {
        1 | 2 => (year - 1, month + 9),
        _ => (year, month - 3),
    };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    let since_1970 = days - 719_468;
    Some((((since_1970 * 24 + hour) * 60 + minute) * 60 + second) * 1_000 + ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn journaled_times_are_read() {
        for (text, ms) in [
            ("1970-01-01T00:00:00.000Z", 0),
            ("2000-02-29T12:00:00.000Z", 951_825_600_000),
            ("2026-11-24T12:01:07.250Z", 1_795_521_667_250),
        ] {
            assert_eq!(unix_ms(text), Some(ms), "{text}");
            let wire: wire::Wall = text.parse().expect("a time");
            assert_eq!(wire.0, ms);
        }
        assert_eq!(unix_ms("unix-ms:12"), None);
    }

    #[test]
    fn times_are_minutes_seconds_and_milliseconds() {
        assert_eq!(shown(67_123), "01:07.123");
        assert_eq!(shown(-4), "00:00.000");
    }
}

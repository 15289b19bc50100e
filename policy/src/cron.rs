//! Windows that begin by a cron line and last for a time, in any IANA zone: how people write freezes beside their code.
//!
//! The five fields of `crontab(5)`: minute, hour, day of the month, month, day of the week; `*`, lists, ranges and steps; names of months and
//! of days. As there, a day that either of both day fields names counts if both are given.
//!
//! Invariant: a window begins at the first instant that has its local time. One that the clock skips begins after the gap, one that it
//! shows twice the first time. Half-open: the end is outside.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::calendar::{find_zone, unknown_zone};
use crate::text::units::{duration_ms, show_duration};

/// The longest window.
const LONGEST_MS: u64 = 31 * 86_400_000;
/// The most windows that are joined to find the end of a closed time.
const MAX_JOINED: usize = 64;

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// Windows that come again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recurring {
    text: String,
    zone: TimeZone,
    minutes: u64,
    hours: u64,
    month_days: Option<u64>,
    months: u64,
    week_days: Option<u64>,
    lasts_ms: i64,
}

impl Recurring {
    /// Reads a cron line, for how long each window lasts (`62 h`), and the zone. The error names the part and what may stand there.
    pub fn parse(cron: &str, duration: &str, zone_name: &str) -> Result<Self, String> {
        let zone = find_zone(zone_name).ok_or_else(|| format!("tz: {}", unknown_zone(zone_name)))?;
        let fields: Vec<&str> = cron.split_whitespace().collect();
        let [minute, hour, month_day, month, week_day] = fields[..] else {
            return Err(format!(
                "cron: `{cron}` has {} fields, it must have 5: minute, hour, day of the month, month, day of the week",
                fields.len()
            ));
        };
        let lasts = duration_ms(duration).map_err(|reason| format!("duration: {reason}"))?;
        if lasts == 0 || lasts > LONGEST_MS {
            let longest = show_duration(LONGEST_MS);
            return Err(format!("duration: `{duration}` must be above 0 and at most {longest}"));
        }
        let read = |name: &str, text: &str, range: (u8, u8), names: &[&str]| {
            set(text, range, names).map_err(|reason| format!("cron: {name} `{text}`: {reason}"))
        };
        let week = read("day of the week", week_day, (0, 7), &DAYS)?;
        Ok(Self {
            text: format!("`{}` for {} in {zone_name}", fields.join(" "), show_duration(lasts)),
            zone,
            minutes: read("minute", minute, (0, 59), &[])?,
            hours: read("hour", hour, (0, 23), &[])?,
            month_days: given(month_day, read("day of the month", month_day, (1, 31), &[])?),
            months: read("month", month, (1, 12), &MONTHS)?,
            // Sunday is 0 and 7.
            week_days: given(week_day, (week | week >> 7) & 0x7f),
            lasts_ms: i64::try_from(lasts).unwrap_or(i64::MAX),
        })
    }

    /// When the time that covers `at` ends, windows that touch joined, in milliseconds; `None` if no window covers it.
    pub fn covers(&self, at: i64) -> Option<i64> {
        let mut end = self.window_at(at)?;
        for _ in 0..MAX_JOINED {
            match self.window_at(end) {
                Some(next) if next > end => end = next,
                _ => break,
            }
        }
        Some(end)
    }

    /// When the last window ends that has begun by `at` and not ended.
    fn window_at(&self, at: i64) -> Option<i64> {
        // A day more: the oldest may have begun late in it.
        let mut day = self.local_date(at)?;
        let first = self.local_date(at.saturating_sub(self.lasts_ms))?;
        while day >= first {
            if let Some(start) = self.last_start(day, at) {
                let end = start.saturating_add(self.lasts_ms);
                return (end > at).then_some(end);
            }
            day = day.yesterday().ok()?;
        }
        None
    }

    /// The last start of a local day that is not after `at`.
    fn last_start(&self, day: Date, at: i64) -> Option<i64> {
        if !self.names(day) {
            return None;
        }
        let times = (0..24_i8)
            .rev()
            .filter(|hour| holds(self.hours, *hour))
            .flat_map(|hour| (0..60_i8).rev().map(move |minute| (hour, minute)))
            .filter(|(_, minute)| holds(self.minutes, *minute));
        times
            .filter_map(|(hour, minute)| {
                let local = day.at(hour, minute, 0, 0);
                let instant = self.zone.to_ambiguous_timestamp(local).compatible();
                instant.ok().map(Timestamp::as_millisecond)
            })
            .find(|start| *start <= at)
    }

    fn names(&self, day: Date) -> bool {
        let week_day = day.weekday().to_sunday_zero_offset();
        let by_month = self.month_days.map(|days| holds(days, day.day()));
        let by_week = self.week_days.map(|days| holds(days, week_day));
        let is_day = match (by_month, by_week) {
            (Some(one), Some(other)) => one || other,
            (Some(only), None) | (None, Some(only)) => only,
            (None, None) => true,
        };
        is_day && holds(self.months, day.month())
    }

    fn local_date(&self, at: i64) -> Option<Date> {
        let at = at.clamp(Timestamp::MIN.as_millisecond(), Timestamp::MAX.as_millisecond());
        let timestamp = Timestamp::from_millisecond(at).ok()?;
        Some(self.zone.to_datetime(timestamp).date())
    }
}

impl std::fmt::Display for Recurring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

fn holds(set: u64, number: i8) -> bool {
    u32::try_from(number).is_ok_and(|number| set >> number & 1 == 1)
}

/// A day field that is `*` says nothing where the other one does.
fn given(text: &str, set: u64) -> Option<u64> {
    (text != "*").then_some(set)
}

/// The numbers that a field names, as bits.
fn set(text: &str, (least, most): (u8, u8), names: &[&str]) -> Result<u64, String> {
    let number = |word: &str| -> Result<u8, String> {
        let lower = word.to_ascii_lowercase();
        // Months count from 1, days of the week from 0: as their field does.
        if let Some(place) = names.iter().position(|name| *name == lower) {
            return Ok(least + u8::try_from(place).unwrap_or(u8::MAX));
        }
        let found = word.parse::<u8>().ok().filter(|number| (least..=most).contains(number));
        found.ok_or_else(|| format!("`{word}` is not {least} to {most}"))
    };
    let mut set = 0_u64;
    for part in text.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => {
                let wrong = || format!("`{step}` is no step above 0");
                let step = step.parse::<u8>().ok().filter(|step| *step > 0).ok_or_else(wrong)?;
                (range, step)
            }
            None => (part, 1),
        };
        let (from, to) = match range.split_once('-') {
            _ if range == "*" => (least, most),
            Some((from, to)) => (number(from)?, number(to)?),
            None if step > 1 => (number(range)?, most),
            None => (number(range)?, number(range)?),
        };
        if from > to {
            return Err(format!("`{range}` ends before it begins"));
        }
        for one in (from..=to).step_by(usize::from(step)) {
            set |= 1 << one;
        }
    }
    Ok(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(text: &str) -> i64 {
        text.parse::<Timestamp>().expect("a time").as_millisecond()
    }

    fn check(cron: &str, duration: &str, zone: &str, cases: &[(&str, Option<&str>)]) {
        let windows = Recurring::parse(cron, duration, zone).expect("windows");
        for (at, end) in cases {
            let found = windows
                .covers(ms(at))
                .map(|end| Timestamp::from_millisecond(end).expect("a time").to_string());
            assert_eq!(found.as_deref(), *end, "{windows} at {at}");
        }
    }

    #[test]
    fn a_weekend_is_closed_from_friday_evening_to_monday_morning() {
        check(
            "0 18 * * fri",
            "62 h",
            "Europe/Berlin",
            &[
                ("2026-12-04T16:59:59Z", None),
                ("2026-12-04T17:00:00Z", Some("2026-12-07T07:00:00Z")),
                ("2026-12-06T12:00:00Z", Some("2026-12-07T07:00:00Z")),
                ("2026-12-07T07:00:00Z", None),
                // In summer 18:00 is an hour earlier in UTC.
                ("2026-07-03T16:00:00Z", Some("2026-07-06T06:00:00Z")),
                ("2026-07-03T15:59:59Z", None),
            ],
        );
    }

    #[test]
    fn windows_that_touch_are_one_and_both_day_fields_count() {
        check(
            "0 0 1 * mon",
            "24 h",
            "UTC",
            &[
                ("2026-06-01T10:00:00Z", Some("2026-06-02T00:00:00Z")),
                ("2026-07-01T10:00:00Z", Some("2026-07-02T00:00:00Z")),
                ("2026-07-02T10:00:00Z", None),
            ],
        );
        check(
            "0 0 20-31 12 *",
            "24 h",
            "UTC",
            &[("2026-12-22T01:00:00Z", Some("2027-01-01T00:00:00Z"))],
        );
        check(
            "*/30 9-17 * * 1-5",
            "5 min",
            "UTC",
            &[
                ("2026-12-02T09:34:59Z", Some("2026-12-02T09:35:00Z")),
                ("2026-12-02T09:35:00Z", None),
                ("2026-12-06T09:31:00Z", None),
            ],
        );
    }

    #[test]
    fn what_the_clock_skips_begins_after_the_gap() {
        // On 2026-03-29 Berlin goes from 02:00 to 03:00.
        check(
            "30 2 29 3 *",
            "1 h",
            "Europe/Berlin",
            &[
                ("2026-03-29T01:00:00Z", None),
                ("2026-03-29T01:30:00Z", Some("2026-03-29T02:30:00Z")),
            ],
        );
    }

    #[test]
    fn what_cannot_be_read_is_named_with_what_may_stand_there() {
        for (cron, duration, zone, said) in [
            ("0 18 * *", "1 h", "UTC", "has 4 fields, it must have 5"),
            ("60 18 * * *", "1 h", "UTC", "minute `60`: `60` is not 0 to 59"),
            ("0 18 * * fry", "1 h", "UTC", "`fry` is not 0 to 7"),
            ("0 5-2 * * *", "1 h", "UTC", "`5-2` ends before it begins"),
            ("0 */0 * * *", "1 h", "UTC", "`0` is no step above 0"),
            ("0 18 * * *", "a while", "UTC", "duration: "),
            ("0 18 * * *", "60 d", "UTC", "at most"),
            ("0 18 * * *", "1 h", "Europe/Berlim", "did you mean `Europe/Berlin`?"),
        ] {
            let reason = Recurring::parse(cron, duration, zone).expect_err(cron);
            assert!(reason.contains(said), "{reason}");
        }
    }
}

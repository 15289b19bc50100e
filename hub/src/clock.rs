//! The hub's own time line, carried over restarts.
//!
//! [`Mono`] counts milliseconds of `CLOCK_BOOTTIME`, which no one can set, plus what was counted before this boot. Within one boot the
//! time in which the hub did not run counts; over a reboot at least the time since the boot does. The wall clock never enters.
//!
//! A machine without a battery starts in 1970. Certificates of then would be over before they begin, so that a wall clock which
//! stands before the build of this program is not shown: the time of the build is, carried on by the boot clock.
//!
//! Invariant: a clock that resumes from a record never reads less than the clock that made the record.

use std::time::SystemTime;

use rustix::time::{ClockId, clock_gettime};
use wire::codec;
use wire::time::{BUILD_FLOOR, Mono, Now, Wall};

/// The time line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clock {
    boot: String,
    /// Added to the boot clock.
    offset_ms: u64,
}

impl Clock {
    /// Goes on from a record, or begins.
    pub fn resume(record: Option<&[u8]>) -> Self {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Self::resume_at(record, boot, boot_ms())
    }

    fn resume_at(record: Option<&[u8]>, boot: String, boot_ms: u64) -> Self {
        let offset_ms = match record.and_then(|bytes| codec::decode::<(String, u64, u64)>(bytes).ok()) {
            Some((then, then_ms, mono_ms)) if then == boot && then_ms <= boot_ms => mono_ms.saturating_sub(then_ms),
            Some((_, _, mono_ms)) => mono_ms,
            None => 0,
        };
        Self { boot, offset_ms }
    }

    /// Both times.
    pub fn now(&self) -> Now {
        Now {
            mono: Mono(self.at(boot_ms())),
            wall: wall(),
        }
    }

    /// What a later process needs to go on from here.
    pub fn record(&self) -> Vec<u8> {
        self.record_at(boot_ms())
    }

    fn record_at(&self, boot_ms: u64) -> Vec<u8> {
        codec::encode(&(&self.boot, boot_ms, self.at(boot_ms)))
    }

    fn at(&self, boot_ms: u64) -> u64 {
        self.offset_ms.saturating_add(boot_ms)
    }
}

fn boot_ms() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let part = u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000_000;
    u64::try_from(now.tv_sec)
        .unwrap_or(0)
        .saturating_mul(1_000)
        .saturating_add(part)
}

/// The wall clock, or a later time that is certainly past.
pub fn wall() -> Wall {
    at_least_built(machine_wall(), boot_ms())
}

fn at_least_built(wall: Wall, boot_ms: u64) -> Wall {
    match wall >= BUILD_FLOOR {
        true => wall,
        false => Wall(BUILD_FLOOR.0.saturating_add(i64::try_from(boot_ms).unwrap_or(0))),
    }
}

/// The wall clock as this machine has it.
pub fn machine_wall() -> Wall {
    let milliseconds = |span: std::time::Duration| i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
    Wall(match SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => milliseconds(after),
        Err(before) => -milliseconds(before.duration()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(record: Option<(&str, u64)>, boot: &str, boot_ms: u64, expected: u64) {
        let bytes = record.map(|(name, ms)| {
            Clock {
                boot: name.to_owned(),
                offset_ms: 1_000,
            }
            .record_at(ms)
        });
        let clock = Clock::resume_at(bytes.as_deref(), boot.to_owned(), boot_ms);
        assert_eq!(clock.at(boot_ms), expected);
    }

    #[test]
    fn a_clock_that_stands_before_the_build_is_not_believed() {
        assert_eq!(at_least_built(Wall(7_000), 500), Wall(BUILD_FLOOR.0 + 500));
        assert_eq!(at_least_built(BUILD_FLOOR, 500), BUILD_FLOOR);
        let ahead = Wall(BUILD_FLOOR.0 * 2);
        assert_eq!(at_least_built(ahead, 500), ahead);
    }

    #[test]
    fn time_goes_on_over_restarts_and_reboots() {
        check(None, "a", 50, 50);
        check(Some(("a", 500)), "a", 700, 1_700);
        check(Some(("a", 500)), "b", 20, 1_520);
        check(Some(("a", 500)), "a", 400, 1_900);
    }
}

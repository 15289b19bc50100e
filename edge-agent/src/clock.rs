//! The agent's two clocks: a monotonic time line that outlives restarts, and the wall clock as it stands.
//!
//! The time line is the kernel's boot clock plus an offset that travels with the journal: within one boot it goes on through a
//! crash of the process, after a reboot it goes on from where the journal last saw it. It counts running time only.
//! Never decides anything, and never trusts the wall clock for order.
//!
//! Invariant: a clock resumed from a [`SavedClock`] never stands before it.
//! Read next: `journal.rs`, which saves it with every commit.

use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::ClockId;
use serde::{Deserialize, Serialize};
use wire::{Mono, Now, Wall};

/// 2026-11-01T00:00:00Z: this program is not older, so a wall clock before it is certainly wrong.
pub const BUILD_FLOOR: Wall = Wall(1_793_491_200_000);

/// Where the time line stood, and on which boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedClock {
    /// The time line.
    pub mono: Mono,
    /// The boot clock at that moment, in milliseconds.
    pub boot_ms: u64,
    /// Which boot that was; empty where the kernel does not say.
    pub boot: String,
    /// The wall clock at that moment.
    pub wall: Wall,
}

/// Both clocks.
#[derive(Debug, Clone)]
pub struct Clock {
    boot: String,
    offset_ms: u64,
}

impl Clock {
    /// Goes on from where a former process left off; `None` begins at zero.
    pub fn resume(saved: Option<&SavedClock>) -> Self {
        Self::resume_at(saved, boot_id(), boot_ms())
    }

    fn resume_at(saved: Option<&SavedClock>, boot: String, boot_ms: u64) -> Self {
        let start = match saved {
            None => 0,
            Some(saved) if saved.boot == boot && !boot.is_empty() => {
                saved.mono.0.saturating_add(boot_ms.saturating_sub(saved.boot_ms))
            }
            Some(saved) => saved.mono.0,
        };
        // A boot clock below the saved one would make the difference negative: wrapping keeps the sum right.
        Self {
            boot,
            offset_ms: start.wrapping_sub(boot_ms),
        }
    }

    /// Both times, now.
    pub fn now(&self) -> Now {
        Now {
            mono: Mono(boot_ms().wrapping_add(self.offset_ms)),
            wall: wall(),
        }
    }

    /// What the next process needs to go on.
    pub fn save(&self) -> SavedClock {
        let boot_ms = boot_ms();
        SavedClock {
            mono: Mono(boot_ms.wrapping_add(self.offset_ms)),
            boot_ms,
            boot: self.boot.clone(),
            wall: wall(),
        }
    }
}

/// The wall clock must not stand before this: the build, or the last moment that was journaled.
pub fn wall_floor(saved: Option<&SavedClock>) -> Wall {
    saved.map_or(BUILD_FLOOR, |saved| saved.wall.max(BUILD_FLOOR))
}

/// The boot clock in milliseconds; it goes on while the machine sleeps.
pub fn boot_ms() -> u64 {
    let time = rustix::time::clock_gettime(ClockId::Boottime);
    (time.tv_sec as u64) * 1_000 + (time.tv_nsec as u64) / 1_000_000
}

/// The wall clock.
pub fn wall() -> Wall {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(span) => Wall(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)),
        Err(before) => Wall(i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms)),
    }
}

/// Which boot this is; empty where the kernel does not say.
pub fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|text| text.trim().to_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(saved: Option<(u64, u64, &str)>, boot: &str, boot_ms: u64, expected: u64) {
        let saved = saved.map(|(mono, boot_ms, boot)| SavedClock {
            mono: Mono(mono),
            boot_ms,
            boot: boot.to_owned(),
            wall: Wall(0),
        });
        let clock = Clock::resume_at(saved.as_ref(), boot.to_owned(), boot_ms);
        assert_eq!(boot_ms.wrapping_add(clock.offset_ms), expected);
    }

    #[test]
    fn the_time_line_goes_on() {
        check(None, "a", 5_000, 0);
        check(Some((700, 1_000, "a")), "a", 1_500, 1_200);
        check(Some((700, 90_000, "a")), "b", 20, 700);
        // A boot clock that went back on the same boot is impossible; it must still not go back.
        check(Some((700, 1_000, "a")), "a", 400, 700);
        check(Some((700, 1_000, "")), "", 1_500, 700);
    }

    #[test]
    fn a_resumed_clock_stands_where_it_was_saved_or_later() {
        let first = Clock::resume(None);
        let saved = first.save();
        assert!(Clock::resume(Some(&saved)).now().mono >= saved.mono);
        assert!(wall_floor(Some(&saved)) >= BUILD_FLOOR);
    }
}

//! The agent's two clocks: a monotonic time line that outlives restarts, and the wall clock as it stands.
//!
//! The time line is the kernel's boot clock plus an offset that travels with the journal: within one boot it goes on through a
//! crash of the process, after a reboot it goes on from where the journal last saw it. It counts running time only.
//! Never decides anything, and never trusts the wall clock for order.
//!
//! Beside them stands a floor, a time that is certainly past: that of the build, or what a hub told last, carried on by the time
//! line. This machine's own wall clock never raises it: one that ran ahead once would be believed for ever.
//!
//! Invariant: a clock resumed from a [`SavedClock`] never stands before it.
//! Read next: `journal.rs`, which saves it with every commit.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::ClockId;
use serde::{Deserialize, Serialize};
use wire::time::BUILD_FLOOR;
use wire::{Mono, Now, Wall};

/// How much a floor lies behind what the hub told: clocks of one fleet are less apart.
const SLACK_MS: i64 = 3_600_000;
/// A floor is carried on by this much less than the time line, which may be fast: no quartz is off by a thousandth.
const CARRIED_LESS: i64 = 1_000;

/// Where the time line stood, and on which boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedClock {
    /// The time line.
    pub mono: Mono,
    /// The boot clock at that moment, in milliseconds.
    pub boot_ms: u64,
    /// Which boot that was; empty where the kernel does not say.
    pub boot: String,
    /// The floor at that moment. Agents of before kept their wall clock here, which the next word of a hub corrects.
    pub floor: Wall,
}

/// Both clocks, and the floor.
#[derive(Debug)]
pub struct Clock {
    boot: String,
    offset_ms: u64,
    /// A time that was certainly past at that moment of the time line.
    floor: Mutex<(Wall, Mono)>,
}

impl Clock {
    /// Goes on from where a former process left off; `None` begins at zero.
    pub fn resume(saved: Option<&SavedClock>) -> Self {
        Self::resume_at(saved, boot_id(), boot_ms())
    }

    fn resume_at(saved: Option<&SavedClock>, boot: String, boot_ms: u64) -> Self {
        let start = match saved {
            None => 0,
            // Within one boot the clock has gone on meanwhile.
            Some(saved) if saved.boot == boot && !boot.is_empty() => {
                saved.mono.0.saturating_add(boot_ms.saturating_sub(saved.boot_ms))
            }
            Some(saved) => saved.mono.0,
        };
        // A boot clock below the saved one would make the difference negative: wrapping keeps the sum right.
        Self {
            boot,
            offset_ms: start.wrapping_sub(boot_ms),
            floor: Mutex::new(saved.map_or((BUILD_FLOOR, Mono(0)), |saved| {
                (saved.floor.max(BUILD_FLOOR), saved.mono)
            })),
        }
    }

    /// A hub told its time. It counts instead of what one told before: that one's clock may have run ahead.
    pub fn heard(&self, hub: Wall) {
        let floor = Wall(hub.0.saturating_sub(SLACK_MS)).max(BUILD_FLOOR);
        *self.lock() = (floor, self.now().mono);
    }

    /// The wall clock is certainly wrong if it stands before this.
    pub fn floor(&self) -> Wall {
        self.floor_at(self.now().mono)
    }

    fn floor_at(&self, now: Mono) -> Wall {
        let (floor, then) = *self.lock();
        let passed = i64::try_from(now.0.saturating_sub(then.0)).unwrap_or(0);
        Wall(floor.0.saturating_add(passed - passed / CARRIED_LESS))
    }

    fn lock(&self) -> MutexGuard<'_, (Wall, Mono)> {
        self.floor.lock().unwrap_or_else(PoisonError::into_inner)
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
        let mono = Mono(boot_ms.wrapping_add(self.offset_ms));
        SavedClock {
            mono,
            boot_ms,
            boot: self.boot.clone(),
            floor: self.floor_at(mono),
        }
    }
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
            floor: Wall(0),
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
    }

    /// Years after the build.
    const TOLD: Wall = Wall(BUILD_FLOOR.0 + 4 * 365 * 86_400_000);

    #[test]
    fn only_a_hub_raises_the_floor_and_the_next_one_corrects_it() {
        let clock = Clock::resume(None);
        assert!(clock.floor() < TOLD, "this machine's clock says nothing");
        clock.heard(TOLD);
        assert!(clock.floor() >= Wall(TOLD.0 - SLACK_MS) && clock.floor() < TOLD);
        let clock = Clock::resume(Some(&clock.save()));
        assert!(
            clock.floor() >= Wall(TOLD.0 - SLACK_MS) && clock.floor() < TOLD,
            "kept over a restart"
        );
        clock.heard(Wall(BUILD_FLOOR.0 + SLACK_MS));
        assert!(
            clock.floor() < Wall(BUILD_FLOOR.0 + SLACK_MS),
            "the hub ran ahead before"
        );
        clock.heard(Wall(0));
        assert!(clock.floor() >= BUILD_FLOOR);
    }

    #[test]
    fn a_floor_is_carried_on_and_stays_behind_what_a_fast_quartz_counts() {
        let clock = Clock::resume(None);
        clock.heard(TOLD);
        let (floor, then) = *clock.lock();
        let day = 86_400_000;
        let later = clock.floor_at(Mono(then.0 + day));
        assert!(later > floor && later.0 < floor.0 + day as i64 * 9_995 / 10_000);
        assert_eq!(clock.floor_at(Mono(0)), floor);
    }
}

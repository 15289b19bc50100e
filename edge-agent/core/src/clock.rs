//! Watches the wall clock against the monotonic one.
//!
//! Decides only what to call it. Nothing is ordered, budgeted or expired by the wall clock, here or elsewhere.
//!
//! Invariant: a step is reported if and only if the two clocks moved apart by more than [`STEP_MS`] between two looks.

use wire::time::{ClockState, Now, Wall};

/// Apart by more than this between two looks is a step; less is what NTP slews and what a busy machine delays.
pub(crate) const STEP_MS: i64 = 2_000;

#[derive(Debug)]
pub(crate) struct Clock {
    /// Wall minus mono, at the last look.
    offset_ms: i64,
    floor: Wall,
    stepped: bool,
    behind: bool,
}

impl Clock {
    pub(crate) fn new(now: Now, floor: Wall) -> Self {
        Self {
            offset_ms: offset(now),
            floor,
            stepped: false,
            behind: now.wall < floor,
        }
    }

    /// Looks at the clocks. Returns by how much the wall clock stepped since the last look, if it did.
    pub(crate) fn look(&mut self, now: Now) -> Option<i64> {
        let offset_ms = offset(now);
        let by_ms = offset_ms.saturating_sub(self.offset_ms);
        self.offset_ms = offset_ms;
        self.behind = now.wall < self.floor;
        if by_ms.unsigned_abs() <= STEP_MS.unsigned_abs() {
            return None;
        }
        self.stepped = true;
        Some(by_ms)
    }

    pub(crate) fn state(&self) -> ClockState {
        match (self.behind, self.stepped) {
            (true, _) => ClockState::BehindFloor,
            (false, true) => ClockState::Stepped,
            (false, false) => ClockState::Steady,
        }
    }
}

fn offset(now: Now) -> i64 {
    now.wall.0.saturating_sub(i64::try_from(now.mono.0).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use wire::time::Mono;

    use super::*;

    fn check(looks: &[(u64, i64)], expected: &[Option<i64>], state: ClockState) {
        let at = |&(mono, wall): &(u64, i64)| Now {
            mono: Mono(mono),
            wall: Wall(wall),
        };
        let mut clock = Clock::new(at(&looks[0]), Wall(500));
        let found: Vec<_> = looks[1..].iter().map(|look| clock.look(at(look))).collect();
        assert_eq!(found, expected);
        assert_eq!(clock.state(), state);
    }

    #[test]
    fn a_clock_that_keeps_pace_is_steady() {
        check(
            &[(0, 1_000), (1_000, 2_000), (2_000, 5_000)],
            &[None, None],
            ClockState::Steady,
        );
    }

    #[test]
    fn a_jump_of_years_is_one_step_either_way() {
        let year = 31_536_000_000;
        check(
            &[(0, 1_000), (1_000, year), (2_000, year + 1_000)],
            &[Some(year - 2_000), None],
            ClockState::Stepped,
        );
        check(&[(0, 100_000), (1_000, 50_000)], &[Some(-51_000)], ClockState::Stepped);
    }

    #[test]
    fn before_the_floor_it_is_certainly_wrong_until_it_is_not() {
        check(&[(0, 0), (100, 100)], &[None], ClockState::BehindFloor);
        check(&[(0, 0), (600, 600)], &[None], ClockState::Steady);
    }

    #[test]
    fn clocks_at_the_end_of_their_range_do_not_overflow() {
        check(
            &[(u64::MAX, i64::MIN), (u64::MAX, i64::MAX)],
            &[Some(i64::MAX)],
            ClockState::Stepped,
        );
    }
}

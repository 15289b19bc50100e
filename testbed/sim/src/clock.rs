//! A node's two clocks: one that only moves forward, and one that anybody may set.

use wire::time::{Mono, Now, Wall};

use crate::random::Random;

/// 2026-01-01, where every world begins.
const BEGINNING_MS: i64 = 1_767_225_600_000;
const YEAR_MS: u64 = 31_536_000_000;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    mono_offset_ms: u64,
    wall_offset_ms: i64,
}

impl Clock {
    pub(crate) fn new(random: &mut Random) -> Self {
        Self {
            mono_offset_ms: random.below(1 << 32),
            wall_offset_ms: 0,
        }
    }

    /// Both times at a moment of the world.
    pub(crate) fn at(&self, world_ms: u64) -> Now {
        let wall = BEGINNING_MS + i64::try_from(world_ms).unwrap_or(i64::MAX);
        Now {
            mono: Mono(self.mono_offset_ms + world_ms),
            wall: Wall(wall.saturating_add(self.wall_offset_ms)),
        }
    }

    /// Moves the wall clock, by seconds or by decades, either way.
    pub(crate) fn step(&mut self, random: &mut Random) {
        let reach = [10_000, 86_400_000, 30 * YEAR_MS];
        let reach = random.pick(&reach).copied().unwrap_or(10_000);
        let by = i64::try_from(random.between(2_500, reach)).unwrap_or(0);
        self.wall_offset_ms = if random.chance(500) { by } else { -by };
    }
}

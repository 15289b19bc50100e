//! When a node that is carried goes back to its own path.
//!
//! A path that answers once may be gone a second later, so it has to answer several times in a row; and each time that it was taken
//! back too early, it has to hold for twice as long.
//!
//! Invariant: between two moves to a path that never holds, the time doubles up to [`MOST`] answers.

use std::time::Duration;

use wire::time::Mono;

/// Between two questions while answers come.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// Between two questions while none comes: a packet of 1,200 bytes each.
const ASK_SELDOM: Duration = Duration::from_secs(5);
/// Answers in a row that the first return takes.
const FIRST: u32 = 3;
/// Answers in a row that any return takes at most: five minutes.
const MOST: u32 = 300;
/// A path that lasted this long has held.
const HELD: Duration = Duration::from_secs(60);

/// What the own path has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Homing {
    answers: u32,
    needed: u32,
    moved_at: Option<Mono>,
}

impl Default for Homing {
    fn default() -> Self {
        Self {
            answers: 0,
            needed: FIRST,
            moved_at: None,
        }
    }
}

impl Homing {
    /// The node has to be carried, again or for the first time.
    pub fn carried(&mut self, now: Mono) {
        self.answers = 0;
        self.needed = match self.moved_at.take() {
            Some(moved_at) if now.since(moved_at) < HELD => (self.needed * 2).min(MOST),
            _ => FIRST,
        };
    }

    /// The own path was asked, and answered or not. True: it is taken back now.
    pub fn asked(&mut self, answered: bool, now: Mono) -> bool {
        self.answers = if answered { self.answers + 1 } else { 0 };
        let holds = self.answers >= self.needed;
        if holds {
            (self.answers, self.moved_at) = (0, Some(now));
        }
        holds
    }

    /// When to ask next.
    pub fn next_in(&self) -> Duration {
        if self.answers > 0 { ASK_EVERY } else { ASK_SELDOM }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers in a row until the path is taken back.
    fn needed(homing: &mut Homing, now: Mono) -> usize {
        (1..1_000).find(|_| homing.asked(true, now)).expect("at most 300")
    }

    #[test]
    fn a_path_that_never_holds_is_taken_back_ever_later_and_one_that_held_is_not() {
        let mut homing = Homing::default();
        homing.carried(Mono(0));
        assert!(!homing.asked(true, Mono(0)) && !homing.asked(true, Mono(0)) && !homing.asked(false, Mono(0)));
        assert_eq!(homing.next_in(), ASK_SELDOM);
        let mut found = Vec::new();
        for round in 0..9 {
            found.push(needed(&mut homing, Mono(round * 1_000)));
            homing.carried(Mono(round * 1_000 + 500));
        }
        assert_eq!(found, [3, 6, 12, 24, 48, 96, 192, 300, 300]);
        assert_eq!(needed(&mut homing, Mono(20_000)), 300);
        homing.carried(Mono(80_000));
        assert_eq!(needed(&mut homing, Mono(81_000)), 3);
    }
}

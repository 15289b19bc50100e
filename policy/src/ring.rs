//! The latest `N` stretches of time, each with what was counted in it.
//!
//! Stretches have numbers that only grow; a stretch that was passed over is empty. Written down as runs of equal stretches from the
//! newest back, so that hours of the same, and time in which nothing was counted, take a few bytes.
//!
//! Invariant: only the stretches `newest - N + 1 ..= newest` are ever seen.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What is kept of each stretch; the default is nothing.
pub(crate) trait Slot: Copy + Default + PartialEq {}

impl<T: Copy + Default + PartialEq> Slot for T {}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ring<T, const N: usize> {
    slots: Box<[T]>,
    newest: u64,
}

impl<T: Slot, const N: usize> Default for Ring<T, N> {
    fn default() -> Self {
        Self {
            slots: vec![T::default(); N].into(),
            newest: 0,
        }
    }
}

impl<T: Slot, const N: usize> Ring<T, N> {
    /// The newest stretch.
    pub fn newest(&self) -> u64 {
        self.newest
    }

    /// Goes on to a later stretch; an earlier one changes nothing.
    pub fn advance(&mut self, to: u64) {
        let passed = to.saturating_sub(self.newest).min(N as u64);
        for back in 0..passed {
            self.slots[place::<N>(to - back)] = T::default();
        }
        self.newest = self.newest.max(to);
    }

    /// The slot of a stretch, if it is still kept.
    pub fn at_mut(&mut self, number: u64) -> Option<&mut T> {
        let is_kept = number <= self.newest && self.newest - number < N as u64;
        is_kept.then(|| &mut self.slots[place::<N>(number)])
    }

    /// From a stretch on, or from the oldest that is kept, through the newest: its number and what was counted.
    pub fn since(&self, from: u64) -> impl Iterator<Item = (u64, T)> + '_ {
        let oldest = self.newest.saturating_sub(N as u64 - 1);
        (from.max(oldest)..=self.newest).map(|number| (number, self.slots[place::<N>(number)]))
    }

    /// Runs of equal stretches, from the newest back; empty ones at the end are left out.
    fn runs(&self) -> Vec<(u16, T)> {
        let mut runs: Vec<(u16, T)> = Vec::new();
        let numbers = (0..N as u64).map_while(|back| self.newest.checked_sub(back));
        for number in numbers {
            let value = self.slots[place::<N>(number)];
            match runs.last_mut() {
                Some((count, same)) if *same == value && *count < u16::MAX => *count += 1,
                _ => runs.push((1, value)),
            }
        }
        while runs.last().is_some_and(|(_, value)| *value == T::default()) {
            runs.pop();
        }
        runs
    }

    /// The same, read back; what goes beyond `N` stretches is dropped.
    fn of_runs(newest: u64, runs: &[(u16, T)]) -> Self {
        let mut ring = Self {
            newest,
            ..Self::default()
        };
        let values = runs
            .iter()
            .flat_map(|(count, value)| std::iter::repeat_n(*value, usize::from(*count)));
        let numbers = (0..N as u64).map_while(|back| newest.checked_sub(back));
        for (number, value) in numbers.zip(values) {
            ring.slots[place::<N>(number)] = value;
        }
        ring
    }
}

/// Where a stretch is kept.
fn place<const N: usize>(number: u64) -> usize {
    (number % N as u64) as usize
}

impl<T: Slot + Serialize, const N: usize> Serialize for Ring<T, N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.newest, self.runs()).serialize(serializer)
    }
}

impl<'de, T: Slot + Deserialize<'de>, const N: usize> Deserialize<'de> for Ring<T, N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (newest, runs) = <(u64, Vec<(u16, T)>)>::deserialize(deserializer)?;
        Ok(Self::of_runs(newest, &runs))
    }
}

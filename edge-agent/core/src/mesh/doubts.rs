//! Carriers by way of which sessions did not hold: they are tried last for a while.
//!
//! That a neighbour says that it carries, and that the hub answers a packet by way of it, is no proof: it may pass small packets and drop
//! full ones, pass one direction alone, or only pass what a question looks like. What counts is whether a session through it holds.
//!
//! Invariants: a doubt ends by itself, [`MOST`] after the last failure at the latest; it changes the order of ways, never whether there is one.

use std::collections::BTreeMap;
use std::time::Duration;

use wire::AgentId;
use wire::time::Mono;

/// How long the first failure counts: another way is tried, and holds, within that time.
const FIRST: Duration = Duration::from_secs(30);
/// How long any failure counts at most.
const MOST: Duration = Duration::from_secs(600);
/// A session that lasted so long has shown that the way was good once: what ended it begins a new count.
const HELD: Duration = Duration::from_secs(60);
/// Carriers that are remembered; the doubt that ends first makes room.
const MAX_DOUBTS: usize = 256;

/// What did not hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Doubts(BTreeMap<AgentId, Doubt>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Doubt {
    /// How often in a row.
    failures: u32,
    until: Mono,
}

impl Doubts {
    /// A session by way of that neighbour was lost, or never made, although the hub had answered by way of it.
    pub fn failed(&mut self, carrier: &AgentId, lasted: Duration, now: Mono) {
        let before = self.0.get(carrier).map_or(0, |doubt| doubt.failures);
        let failures = if lasted >= HELD { 1 } else { before.saturating_add(1) };
        let span = (FIRST * (1 << (failures - 1).min(8))).min(MOST);
        if self.0.len() >= MAX_DOUBTS && !self.0.contains_key(carrier) {
            let first = self.0.iter().min_by_key(|(_, doubt)| doubt.until);
            if let Some(name) = first.map(|(name, _)| name.clone()) {
                self.0.remove(&name);
            }
        }
        let until = Mono(
            now.0
                .saturating_add(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)),
        );
        self.0.insert(carrier.clone(), Doubt { failures, until });
    }

    /// Whether that neighbour is tried last.
    pub fn of(&self, carrier: &AgentId, now: Mono) -> bool {
        self.0.get(carrier).is_some_and(|doubt| now < doubt.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> AgentId {
        AgentId::new(text).expect("a name")
    }

    #[test]
    fn each_failure_in_a_row_counts_for_longer_and_one_after_a_good_session_for_half_a_minute() {
        let (mut doubts, brief) = (Doubts::default(), Duration::from_secs(5));
        let lasts = |doubts: &Doubts, from: u64| {
            let last = (0..700)
                .rev()
                .find(|after| doubts.of(&name("a"), Mono(from + after * 1_000)));
            last.map(|seconds| seconds + 1)
        };
        assert_eq!(lasts(&doubts, 0), None);
        let mut now = 0;
        for expected in [30, 60, 120, 240, 480, 600, 600] {
            doubts.failed(&name("a"), brief, Mono(now));
            assert_eq!(lasts(&doubts, now), Some(expected));
            now += 1_000_000;
        }
        doubts.failed(&name("a"), HELD, Mono(now));
        assert_eq!(lasts(&doubts, now), Some(30));
        assert!(!doubts.of(&name("b"), Mono(now)));
    }

    #[test]
    fn at_its_bound_the_doubt_that_ends_first_makes_room() {
        let mut doubts = Doubts::default();
        for n in 0..=MAX_DOUBTS as u64 {
            doubts.failed(&name(&format!("n-{n}")), Duration::ZERO, Mono(n));
        }
        assert_eq!(doubts.0.len(), MAX_DOUBTS);
        assert!(!doubts.of(&name("n-0"), Mono(300)) && doubts.of(&name("n-256"), Mono(300)));
    }
}

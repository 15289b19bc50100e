//! Decides how much is carried for one neighbour: so many bytes a second with a burst, so many bytes and packets a day.
//!
//! Invariant: what a neighbour has left of its day does not depend on how often it makes a new session.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use wire::ids::AgentId;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// What a small packet costs at least: a flood of empty ones costs the carrier as much work as one of full ones.
const LEAST_BYTES: u64 = 128;

/// How much is carried for each neighbour, both ways together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes in one second, on average and at once.
    pub bytes_per_second: u64,
    /// Bytes in 24 hours from the first one.
    pub bytes_per_day: u64,
    /// Packets in the same 24 hours.
    pub packets_per_day: u64,
}

impl Default for Limits {
    /// A node's decisions are kilobytes a minute; a backlog of a long night is tens of megabytes and should pass within a minute.
    fn default() -> Self {
        Self {
            bytes_per_second: 8 << 20,
            bytes_per_day: 2 << 30,
            // Half as many as if each were full; most packets of an idle session are small.
            packets_per_day: 4 << 20,
        }
    }
}

/// What is left of it, for one neighbour in all its sessions.
pub type Share = Arc<Mutex<Allowance>>;

/// The shares of all neighbours, by name. Who was ever a neighbour stays: the list of members bounds it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ledger(Arc<Mutex<BTreeMap<AgentId, Share>>>);

impl Ledger {
    /// The share of a neighbour, begun or gone on with.
    pub(crate) fn share(&self, agent: &AgentId, limits: Limits, now: Instant) -> Share {
        let mut shares = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = || Arc::new(Mutex::new(Allowance::new(limits, now)));
        shares.entry(agent.clone()).or_insert_with(fresh).clone()
    }
}

/// What is left of it.
#[derive(Debug)]
pub struct Allowance {
    limits: Limits,
    /// What may be carried at once.
    left: u64,
    filled: Instant,
    today: u64,
    packets: u64,
    day: Instant,
}

impl Allowance {
    /// All of it.
    pub fn new(limits: Limits, now: Instant) -> Self {
        Self {
            limits,
            left: limits.bytes_per_second,
            filled: now,
            today: 0,
            packets: 0,
            day: now,
        }
    }

    /// Takes a packet's bytes; false: it is too much, and is dropped.
    pub fn take(&mut self, bytes: usize, now: Instant) -> bool {
        let cost = (bytes as u64).max(LEAST_BYTES);
        if now.saturating_duration_since(self.day) >= DAY {
            (self.today, self.packets, self.day) = (0, 0, now);
        }
        let micros = now.saturating_duration_since(self.filled).as_micros().min(1_000_000) as u64;
        let fresh = self.limits.bytes_per_second.saturating_mul(micros) / 1_000_000;
        if fresh > 0 {
            self.left = self.left.saturating_add(fresh).min(self.limits.bytes_per_second);
            self.filled = now;
        }
        let of_day = self.today.saturating_add(cost) <= self.limits.bytes_per_day;
        let is_within = cost <= self.left && of_day && self.packets < self.limits.packets_per_day;
        if is_within {
            self.packets += 1;
            self.left -= cost;
            self.today += cost;
        }
        is_within
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_ends_fills_again_and_the_day_ends_it_for_good() {
        let limits = Limits {
            bytes_per_second: 10_000,
            bytes_per_day: 25_000,
            ..Limits::default()
        };
        let start = Instant::now();
        let mut allowance = Allowance::new(limits, start);
        let carried =
            |allowance: &mut Allowance, bytes, at| (0..100).take_while(|_| allowance.take(bytes, start + at)).count();
        assert_eq!(carried(&mut allowance, 1_000, Duration::ZERO), 10);
        assert_eq!(carried(&mut allowance, 1_000, Duration::from_millis(500)), 5);
        assert_eq!(
            carried(&mut allowance, 1_000, Duration::from_secs(60)),
            10,
            "one burst, however long"
        );
        assert_eq!(
            carried(&mut allowance, 1_000, Duration::from_secs(120)),
            0,
            "the day's bytes are used"
        );
        assert_eq!(carried(&mut allowance, 0, DAY), 78, "an empty packet is not free");
    }

    #[test]
    fn packets_are_counted_too_and_a_new_session_renews_nothing() {
        let limits = Limits {
            packets_per_day: 3,
            ..Limits::default()
        };
        let (start, ledger) = (Instant::now(), Ledger::default());
        let carried = |name: &str, at| {
            let share = ledger.share(&AgentId::new(name).expect("a name"), limits, start + at);
            let mut allowance = share.lock().expect("nobody panicked");
            (0..10).filter(|_| allowance.take(1, start + at)).count()
        };
        let second = Duration::from_secs(1);
        assert_eq!(carried("edge-03", second), 3);
        assert_eq!(carried("edge-03", 2 * second), 0, "each call is a session of its own");
        assert_eq!(carried("edge-04", 2 * second), 3, "another's share is another");
        assert_eq!(carried("edge-03", DAY + second), 3);
    }
}

//! Decides how much is carried for one neighbour: so many bytes a second with a burst, so many bytes and packets a day.
//!
//! Whoever keeps what is used over a crash stores it ahead, a slice of the day at a time ([`Kept`]), and nothing beyond that is carried
//! before it is stored. A process that dies has then used no more than its file says, at the price of a slice at most, and a neighbour
//! that uses its whole day costs twice [`SLICES`] writes.
//!
//! Invariants: what a neighbour has left of its day does not depend on how often it makes a new session; where the day is kept, nor on how
//! often this process starts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use wire::ids::AgentId;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// What a small packet costs at least: a flood of empty ones costs the carrier as much work as one of full ones.
const LEAST_BYTES: u64 = 128;

/// Parts of a day; one is stored ahead, and the next when half of it is used.
const SLICES: u64 = 64;
/// The least that is: a session and some minutes of it.
const LEAST_SLICE: Used = Used {
    bytes: 256 * 1024,
    packets: 1_024,
};

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

/// Bytes and packets of a day.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Used {
    /// Bytes; a small packet counts for 128.
    pub bytes: u64,
    /// Packets.
    pub packets: u64,
}

/// What counts as used of a neighbour's day, as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// How much.
    pub used: Used,
    /// When that day began.
    pub began: Instant,
}

/// What is left of it, for one neighbour in all its sessions.
pub type Share = Arc<Mutex<Allowance>>;

/// The shares of all neighbours, by name. Who was ever a neighbour stays: the list of members bounds it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ledger(Arc<Shares>);

#[derive(Debug, Default)]
struct Shares {
    all: Mutex<BTreeMap<AgentId, Share>>,
    /// Of earlier processes, until the neighbour is met; `None`: nobody keeps what is used.
    kept: Option<Mutex<BTreeMap<AgentId, Kept>>>,
    /// Some share has little left that is stored.
    low: Arc<Notify>,
}

impl Ledger {
    /// Of whoever stores what is used, with what was stored before.
    pub(crate) fn keeping(kept: BTreeMap<AgentId, Kept>) -> Self {
        Self(Arc::new(Shares {
            kept: Some(Mutex::new(kept)),
            ..Shares::default()
        }))
    }

    /// The share of a neighbour, begun or gone on with.
    pub(crate) fn share(&self, agent: &AgentId, limits: Limits, now: Instant) -> Share {
        let mut shares = lock(&self.0.all);
        let fresh = || {
            let mut allowance = match &self.0.kept {
                Some(kept) => Allowance::keeping(limits, lock(kept).get(agent).copied(), now),
                None => Allowance::new(limits, now),
            };
            allowance.low = Some(self.0.low.clone());
            allowance.ask();
            Arc::new(Mutex::new(allowance))
        };
        shares.entry(agent.clone()).or_insert_with(fresh).clone()
    }

    /// Waits until something has to be stored so that carrying goes on.
    pub(crate) async fn is_low(&self) {
        self.0.low.notified().await;
    }

    /// What has to be stored, of all neighbours that are not forgotten.
    pub(crate) fn to_keep(&self, now: Instant) -> BTreeMap<AgentId, Kept> {
        self.each(|allowance| allowance.to_keep(now))
    }

    /// That is stored now.
    pub(crate) fn kept(&self, kept: &BTreeMap<AgentId, Kept>) {
        let shares = lock(&self.0.all);
        for (agent, kept) in kept {
            if let Some(share) = shares.get(agent) {
                lock(share).kept(*kept);
            }
        }
    }

    /// Carries nothing more, and tells what was used in truth.
    pub(crate) fn settle(&self) -> BTreeMap<AgentId, Kept> {
        self.each(|allowance| {
            allowance.stored = Some(allowance.used);
            allowance.low = None;
            allowance.now_kept()
        })
    }

    fn each(&self, mut of: impl FnMut(&mut Allowance) -> Kept) -> BTreeMap<AgentId, Kept> {
        // Of those that were not met since the start the earlier word counts on.
        let earlier = self.0.kept.as_ref().map(|kept| lock(kept).clone());
        let mut all = earlier.unwrap_or_default();
        let shares = lock(&self.0.all);
        all.extend(
            shares
                .iter()
                .map(|(agent, share)| (agent.clone(), of(&mut lock(share)))),
        );
        all
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is left of it.
#[derive(Debug)]
pub struct Allowance {
    limits: Limits,
    /// What may be carried at once.
    left: u64,
    filled: Instant,
    used: Used,
    day: Instant,
    /// What a crash would leave as used; `None`: nobody keeps it.
    stored: Option<Used>,
    /// Whom to wake when little of that is left.
    low: Option<Arc<Notify>>,
}

impl Allowance {
    /// All of it, and nobody keeps what is used.
    pub fn new(limits: Limits, now: Instant) -> Self {
        Self {
            limits,
            left: limits.bytes_per_second,
            filled: now,
            used: Used::default(),
            day: now,
            stored: None,
            low: None,
        }
    }

    /// What an earlier process left of it. Nothing is taken beyond what was stored by [`Allowance::kept`].
    pub fn keeping(limits: Limits, before: Option<Kept>, now: Instant) -> Self {
        let before = before.unwrap_or(Kept {
            used: Used::default(),
            began: now,
        });
        Self {
            used: before.used,
            day: before.began,
            stored: Some(before.used),
            ..Self::new(limits, now)
        }
    }

    /// Whether so little is stored ahead that more should be. Never where nobody keeps it, and where the day is used up.
    pub fn is_low(&self) -> bool {
        let (slice, limits) = (self.slice(), self.limits);
        self.stored.is_some_and(|stored| {
            let low = |stored: u64, used: u64, slice: u64, most: u64| stored < most && stored - used < slice / 2;
            low(stored.bytes, self.used.bytes, slice.bytes, limits.bytes_per_day)
                || low(stored.packets, self.used.packets, slice.packets, limits.packets_per_day)
        })
    }

    /// What has to be stored so that a slice more may be taken.
    pub fn to_keep(&mut self, now: Instant) -> Kept {
        self.turn_day(now);
        if !self.is_low() {
            return self.now_kept();
        }
        let (slice, limits, stored) = (self.slice(), self.limits, self.now_kept().used);
        Kept {
            used: Used {
                bytes: (self.used.bytes + slice.bytes).clamp(stored.bytes, limits.bytes_per_day.max(stored.bytes)),
                packets: (self.used.packets + slice.packets)
                    .clamp(stored.packets, limits.packets_per_day.max(stored.packets)),
            },
            began: self.day,
        }
    }

    /// That is stored now. It counts for nothing if another day has begun meanwhile.
    pub fn kept(&mut self, kept: Kept) {
        if let Some(stored) = self.stored.as_mut().filter(|_| kept.began == self.day) {
            stored.bytes = stored.bytes.max(kept.used.bytes);
            stored.packets = stored.packets.max(kept.used.packets);
        }
    }

    fn now_kept(&self) -> Kept {
        Kept {
            used: self.stored.unwrap_or(self.used),
            began: self.day,
        }
    }

    fn slice(&self) -> Used {
        // Of a very small day an eighth at most.
        let slice = |day: u64, least: u64| (day / SLICES).max(least.min(day / 8));
        Used {
            bytes: slice(self.limits.bytes_per_day, LEAST_SLICE.bytes),
            packets: slice(self.limits.packets_per_day, LEAST_SLICE.packets),
        }
    }

    fn turn_day(&mut self, now: Instant) {
        if now.saturating_duration_since(self.day) >= DAY {
            (self.used, self.day) = (Used::default(), now);
            self.stored = self.stored.map(|_| Used::default());
        }
    }

    fn ask(&self) {
        if let Some(low) = self.low.as_ref().filter(|_| self.is_low()) {
            low.notify_one();
        }
    }

    /// Takes a packet's bytes; false: it is too much, or not stored ahead, and is dropped.
    pub fn take(&mut self, bytes: usize, now: Instant) -> bool {
        let cost = (bytes as u64).max(LEAST_BYTES);
        self.turn_day(now);
        let micros = now.saturating_duration_since(self.filled).as_micros().min(1_000_000) as u64;
        let fresh = self.limits.bytes_per_second.saturating_mul(micros) / 1_000_000;
        if fresh > 0 {
            self.left = self.left.saturating_add(fresh).min(self.limits.bytes_per_second);
            self.filled = now;
        }
        let limits = &self.limits;
        let most = self.stored.unwrap_or(Used {
            bytes: limits.bytes_per_day,
            packets: limits.packets_per_day,
        });
        let bytes = self.used.bytes.saturating_add(cost);
        let of_day = bytes <= most.bytes.min(limits.bytes_per_day)
            && self.used.packets < most.packets.min(limits.packets_per_day);
        let is_within = cost <= self.left && of_day;
        if is_within {
            self.used.packets += 1;
            self.used.bytes = bytes;
            self.left -= cost;
        }
        self.ask();
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

    #[test]
    fn a_process_that_dies_has_used_no_more_than_is_stored_and_each_slice_is_one_write() {
        let limits = Limits {
            bytes_per_second: 1 << 40,
            bytes_per_day: 64 << 20,
            packets_per_day: 1 << 40,
        };
        let start = Instant::now();
        let (mut stored, mut writes, mut carried) = (None, 0, 0);
        for life in 0..5 {
            let mut allowance = Allowance::keeping(limits, stored, start);
            assert!(!allowance.take(1_000, start), "nothing is stored ahead in life {life}");
            for _ in 0..11_000 {
                if allowance.is_low() {
                    let kept = allowance.to_keep(start);
                    allowance.kept(kept);
                    (stored, writes) = (Some(kept), writes + 1);
                }
                carried += u64::from(allowance.take(1_000, start)) * 1_000;
            }
            // It dies here, and what it had stored and not used is lost.
            let stored = stored.expect("something is stored").used.bytes;
            assert!(
                (carried..=limits.bytes_per_day).contains(&stored),
                "{carried} of {stored}"
            );
        }
        assert!((54_000_000..=64 << 20).contains(&carried), "{carried}");
        assert!(writes <= 2 * SLICES, "{writes}");
        let mut spent = Allowance::keeping(limits, stored, start);
        let all = spent.to_keep(start);
        spent.kept(all);
        let rest = (0..20_000).filter(|_| spent.take(1_000, start)).count();
        assert!(rest as u64 * 1_000 + carried <= limits.bytes_per_day, "{rest}");
    }

    #[test]
    fn a_day_that_began_while_the_last_one_was_stored_is_not_opened_by_that() {
        let start = Instant::now();
        let limits = Limits::default();
        let mut allowance = Allowance::keeping(limits, None, start);
        let old = allowance.to_keep(start);
        assert!(
            !allowance.take(1, start + DAY),
            "another day, of which nothing is stored"
        );
        allowance.kept(old);
        assert!(!allowance.take(1, start + DAY));
        let new = allowance.to_keep(start + DAY);
        allowance.kept(new);
        assert!(allowance.take(1, start + DAY));
    }

    #[tokio::test]
    async fn a_ledger_wakes_whoever_stores_and_remembers_those_it_has_not_met() {
        let (start, limits) = (Instant::now(), Limits::default());
        let name = |text| AgentId::new(text).expect("a name");
        let used = Used { bytes: 5, packets: 6 };
        let ledger = Ledger::keeping([(name("edge-09"), Kept { used, began: start })].into());
        let share = ledger.share(&name("edge-03"), limits, start);
        ledger.is_low().await;
        let kept = ledger.to_keep(start);
        assert_eq!(kept[&name("edge-09")].used, used);
        ledger.kept(&kept);
        assert!(lock(&share).take(1_200, start));
        let settled = ledger.settle();
        let used = Used {
            bytes: 1_200,
            packets: 1,
        };
        assert_eq!(settled[&name("edge-03")].used, used, "what was used in truth");
        assert!(!lock(&share).take(1_200, start), "nothing more is carried");
    }
}

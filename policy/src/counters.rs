//! What one rule counts, by key: grants in a window, the end of the last action, what is set aside.
//!
//! Never decides. Times are [`Mono`] only, so no step of the wall clock refills a budget. Counting one key costs the same however many
//! there are.
//!
//! Invariants: bounded, [`Counters::MAX_KEYS`] keys a rule and [`MAX_WINDOW`] times a key; a key that still matters is never forgotten for
//! a new one. Where all keys matter a new one has no room, for as long as none has become free ([`Counters::no_room`]): the rule holds
//! it back until then, and never for ever.
//!
//! Read next: `kind/rate.rs` and `kind/cooldown.rs` (what matters for how long), `ledger.rs` (what is stored).

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};
use wire::Mono;

use crate::actions::KINDS;
use crate::rule::Asked;

/// Most grants that one window remembers, and so the largest limit of a rate.
pub(crate) const MAX_WINDOW: usize = 1_024;

/// What a rule counts together: a kind of action (0 for any, else its index + 1) and a text (empty for any).
pub(crate) type Place<'a> = (u8, &'a str);

/// Everything on this node, together.
pub(crate) const NODE: Place<'static> = (0, "");

/// This kind of action on this target.
pub(crate) fn target_and_kind<'a>(asked: &Asked<'a>) -> Place<'a> {
    (asked.kind as u8 + 1, asked.target)
}

/// When the last action ended, and how many failed in a row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    pub finished: Mono,
    pub failures: u8,
    /// How often it was held back, and since when that is counted.
    pub suppressed: u8,
    pub suppressed_since: Mono,
}

/// What is counted under one key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Counter {
    /// Times of grants, ascending; of a limit that keeps no log, the one time up to which it is used.
    grants: VecDeque<u64>,
    mark: Option<Mark>,
    /// What is set aside, and until when.
    reserved: VecDeque<(u64, i64)>,
}

impl Counter {
    /// The end of its last action.
    pub fn mark(&self) -> Option<Mark> {
        self.mark
    }

    /// Until when its newest grant lies in a window of this length.
    pub fn in_window_until(&self, window_ms: u64) -> u64 {
        self.grants.back().map_or(0, |at| at.saturating_add(window_ms))
    }

    /// Until when a limit that keeps no log is used.
    fn used_until(&self) -> u64 {
        self.grants.back().map_or(0, |us| us.div_ceil(1_000))
    }

    fn reserved_until(&self) -> u64 {
        self.reserved.iter().map(|(until, _)| *until).max().unwrap_or(0)
    }

    fn is_sound(&self) -> bool {
        self.grants.len().max(self.reserved.len()) <= MAX_WINDOW
    }
}

/// One key as a ledger stores it.
#[derive(Serialize, Deserialize)]
struct Stored {
    kind: u8,
    target: String,
    grants: VecDeque<u64>,
    mark: Option<Mark>,
    reserved: VecDeque<(u64, i64)>,
}

type Keys = BTreeMap<u8, BTreeMap<Box<str>, Counter>>;
type Before = BTreeMap<(u8, Box<str>), Option<Counter>>;

/// What one rule remembers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(from = "Vec<Stored>", into = "Vec<Stored>")]
pub(crate) struct Counters {
    keys: Keys,
    count: usize,
    max_keys: usize,
    /// At so many keys the ones that do not matter any more are looked for.
    look_at: usize,
    /// While all places are taken: no key stops to matter before this.
    full_until: u64,
    /// No key remembers more grants than this.
    most_grants: usize,
    /// While something is tried out: how its keys were before.
    before: Option<Before>,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            keys: Keys::new(),
            count: 0,
            max_keys: Self::MAX_KEYS,
            look_at: Self::MAX_KEYS,
            full_until: 0,
            most_grants: 0,
            before: None,
        }
    }
}

impl PartialEq for Counters {
    fn eq(&self, other: &Self) -> bool {
        self.keys == other.keys
    }
}

impl Eq for Counters {}

impl Counters {
    /// Most keys of one rule on a node: more devices than any node has.
    pub const MAX_KEYS: usize = 1_024;
    /// Most keys of one rule where a stream of questions is judged: targets of a whole fleet.
    const MAX_KEYS_OF_A_STREAM: usize = 131_072;

    /// For a stream of questions about a fleet, not for one node.
    pub fn of_a_stream() -> Self {
        Self {
            max_keys: Self::MAX_KEYS_OF_A_STREAM,
            ..Self::default()
        }
    }

    /// Whether it remembers nothing.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether no key can remember so many grants, in or out of its window, and a new one has room.
    pub fn is_below(&self, grants: usize) -> bool {
        self.most_grants < grants && self.count < self.max_keys
    }

    /// The end of the last action of this place.
    pub fn mark(&self, place: Place<'_>) -> Option<Mark> {
        self.find(place)?.mark
    }

    /// The same, to write. `until` says how long a mark matters.
    pub fn change_mark(
        &mut self,
        place: Place<'_>,
        now: Mono,
        until: impl Fn(Mark) -> u64,
        change: impl FnOnce(&mut Mark),
    ) {
        let matters = |counter: &Counter| counter.mark.map_or(0, &until);
        self.change(place, now, &matters, |counter| {
            change(counter.mark.get_or_insert_default())
        });
    }

    /// How many grants lie in the window that ends now, and in how long there is room for one more.
    pub fn window(&self, place: Place<'_>, now: Mono, window_ms: u64, limit: u32) -> (u32, Option<u64>) {
        let Some(Counter { grants, .. }) = self.find(place) else {
            return (0, None);
        };
        let now = now.0;
        // Exactly one window old is out; a time ahead of now (which only a bug could write) counts.
        let old = grants.partition_point(|at| now.saturating_sub(*at) >= window_ms && *at <= now);
        let count = grants.len() - old;
        let limit = limit as usize;
        let free_in = (count >= limit && limit > 0).then(|| {
            let at = grants[grants.len() - limit];
            at.saturating_add(window_ms).saturating_sub(now)
        });
        (u32::try_from(count).unwrap_or(u32::MAX), free_in)
    }

    /// In how many milliseconds there is room for a key that is not counted yet; `None` if it is, or there is.
    ///
    /// `until` says how long a key matters.
    pub fn no_room(&self, place: Place<'_>, now: Mono, until: impl Fn(&Counter) -> u64) -> Option<u64> {
        if self.count < self.max_keys || self.find(place).is_some() {
            return None;
        }
        let soonest = match now.0 < self.full_until {
            true => self.full_until,
            false => self.counters().map(until).min()?,
        };
        soonest.checked_sub(now.0).filter(|left| *left > 0)
    }

    /// Notes a grant.
    pub fn debit(&mut self, place: Place<'_>, now: Mono, window_ms: u64, limit: u32) {
        let matters = |counter: &Counter| counter.in_window_until(window_ms);
        let mut grants = 0;
        self.change(place, now, &matters, |counter| {
            let now = now.0;
            let at = counter.grants.back().map_or(now, |last| now.max(*last));
            counter.grants.push_back(at);
            let is_old = |at: &u64| now.saturating_sub(*at) >= window_ms;
            while counter.grants.len() > MAX_WINDOW
                || counter.grants.len() > limit as usize && counter.grants.front().is_some_and(is_old)
            {
                counter.grants.pop_front();
            }
            grants = counter.grants.len();
        });
        self.most_grants = self.most_grants.max(grants);
    }

    /// Up to which time, in microseconds, a limit without a log is used; `None` before its first grant.
    pub fn used_until_us(&self, place: Place<'_>) -> Option<u64> {
        self.find(place)?.grants.back().copied()
    }

    /// In how many milliseconds a limit without a log has room for a key that is not counted yet.
    pub fn no_room_to_use(&self, place: Place<'_>, now: Mono) -> Option<u64> {
        self.no_room(place, now, Counter::used_until)
    }

    /// Notes a grant of a limit without a log, which uses so many microseconds more.
    pub fn use_up(&mut self, place: Place<'_>, now: Mono, each_us: u64) {
        self.change(place, now, &Counter::used_until, |counter| {
            let from = counter.grants.pop_back().unwrap_or(0).max(now.0.saturating_mul(1_000));
            counter.grants.clear();
            counter.grants.push_back(from.saturating_add(each_us));
        });
        self.most_grants = self.most_grants.max(1);
    }

    /// How much is set aside now, in all places of this number.
    pub fn reserved(&self, kind: u8, now: Mono) -> i64 {
        let places = self.keys.get(&kind).into_iter().flat_map(BTreeMap::values);
        let open = places
            .flat_map(|counter| &counter.reserved)
            .filter(|(until, _)| *until > now.0);
        open.fold(0, |sum, (_, amount)| sum.saturating_add(*amount))
    }

    /// What a place has set aside is set aside until then at most.
    pub fn reserve_until(&mut self, place: Place<'_>, now: Mono, latest: u64) {
        if self.find(place).is_none() {
            return;
        }
        self.change(place, now, &Counter::reserved_until, |counter| {
            for (until, _) in &mut counter.reserved {
                *until = latest.min(*until);
            }
        });
    }

    /// Sets an amount aside until a time.
    pub fn reserve(&mut self, place: Place<'_>, now: Mono, until: u64, amount: i64) {
        self.change(place, now, &Counter::reserved_until, |counter| {
            let reserved = &mut counter.reserved;
            reserved.retain(|(until, _)| *until > now.0);
            let is_full = reserved.len() >= MAX_WINDOW;
            match reserved.back_mut().filter(|_| is_full) {
                Some(last) => *last = (last.0.max(until), last.1.saturating_add(amount)),
                None => reserved.push_back((until, amount)),
            }
        });
    }

    /// From here on changes can be taken back.
    pub fn try_out(&mut self) {
        self.before = Some(BTreeMap::new());
    }

    /// Ends what was tried out: it stays, or everything is as it was before.
    pub fn settle(&mut self, stays: bool) {
        let before = self.before.take().filter(|_| !stays);
        for ((kind, key), counter) in before.into_iter().flatten() {
            match counter {
                Some(counter) => self.put(kind, key, counter),
                None => self.remove(kind, &key),
            }
        }
    }

    /// Whether it could have been written by this program.
    pub fn is_sound(&self) -> bool {
        // An older program kept one key more.
        let is_kind = |kind: &u8| usize::from(*kind) <= KINDS.len();
        self.count <= self.max_keys + 1 && self.keys.keys().all(is_kind) && self.counters().all(Counter::is_sound)
    }

    fn counters(&self) -> impl Iterator<Item = &Counter> {
        self.keys.values().flat_map(BTreeMap::values)
    }

    fn find(&self, (kind, key): Place<'_>) -> Option<&Counter> {
        self.keys.get(&kind)?.get(key)
    }

    fn put(&mut self, kind: u8, key: Box<str>, counter: Counter) {
        let replaced = self.keys.entry(kind).or_default().insert(key, counter);
        self.count += usize::from(replaced.is_none());
    }

    fn remove(&mut self, kind: u8, key: &str) {
        let removed = self.keys.get_mut(&kind).and_then(|keys| keys.remove(key));
        self.count -= usize::from(removed.is_some());
    }

    /// Changes the counter of a place, which is made if it is not there. `until` says how long a counter matters.
    fn change(
        &mut self,
        (kind, key): Place<'_>,
        now: Mono,
        until: &dyn Fn(&Counter) -> u64,
        change: impl FnOnce(&mut Counter),
    ) {
        self.remember(kind, key);
        if let Some(counter) = self.keys.get_mut(&kind).and_then(|keys| keys.get_mut(key)) {
            change(counter);
            self.full_until = self.full_until.min(until(counter));
            return;
        }
        self.make_room(now, until);
        let mut counter = Counter::default();
        change(&mut counter);
        self.put(kind, key.into(), counter);
        if self.count >= self.max_keys {
            self.full_until = self.counters().map(until).min().unwrap_or(0);
        }
    }

    /// Keeps in mind how a place was before something is tried out.
    fn remember(&mut self, kind: u8, key: &str) {
        if let Some(mut before) = self.before.take() {
            before
                .entry((kind, key.into()))
                .or_insert_with(|| self.find((kind, key)).cloned());
            self.before = Some(before);
        }
    }

    /// Makes room for one more key, if there are many: first of what does not matter any more, and if all does of what does not for
    /// long. The latter happens only to rules that cannot hold back what runs.
    fn make_room(&mut self, now: Mono, until: &dyn Fn(&Counter) -> u64) {
        if self.count < self.look_at {
            return;
        }
        self.forget(|counter| until(counter) <= now.0);
        self.look_at = (2 * self.count).clamp(Self::MAX_KEYS.min(self.max_keys), self.max_keys);
        if self.count >= self.max_keys {
            let soonest = self.counters().map(until).min().unwrap_or(0);
            let mut is_first = true;
            self.forget(|counter| until(counter) == soonest && std::mem::take(&mut is_first));
        }
    }

    fn forget(&mut self, mut is_over: impl FnMut(&Counter) -> bool) {
        let mut before = self.before.take();
        for (kind, keys) in &mut self.keys {
            keys.retain(|key, counter| {
                let goes = is_over(counter);
                if goes && let Some(before) = &mut before {
                    before
                        .entry((*kind, key.clone()))
                        .or_insert_with(|| Some(counter.clone()));
                }
                !goes
            });
        }
        self.before = before;
        self.count = self.keys.values().map(BTreeMap::len).sum();
        self.most_grants = self.counters().map(|counter| counter.grants.len()).max().unwrap_or(0);
    }
}

impl From<Vec<Stored>> for Counters {
    fn from(stored: Vec<Stored>) -> Self {
        let mut counters = Self::default();
        for one in stored {
            let counter = Counter {
                grants: one.grants,
                mark: one.mark,
                reserved: one.reserved,
            };
            counters.most_grants = counters.most_grants.max(counter.grants.len());
            counters.put(one.kind, one.target.into(), counter);
        }
        counters
    }
}

impl From<Counters> for Vec<Stored> {
    fn from(counters: Counters) -> Self {
        let keys = counters.keys.into_iter();
        let mut stored: Self = keys
            .flat_map(|(kind, keys)| {
                keys.into_iter().map(move |(key, counter)| Stored {
                    kind,
                    target: key.into(),
                    grants: counter.grants,
                    mark: counter.mark,
                    reserved: counter.reserved,
                })
            })
            .collect();
        // Older programs look keys up in this order.
        stored.sort_by(|a, b| (a.kind, a.target.len(), &a.target).cmp(&(b.kind, b.target.len(), &b.target)));
        stored
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use wire::codec;

    fn key(number: usize) -> String {
        format!("w{number}")
    }

    /// A window of one minute that has seen so many keys, one a millisecond.
    fn counted(keys: usize) -> Counters {
        let mut counters = Counters::default();
        for number in 0..keys {
            counters.debit((0, &key(number)), Mono(number as u64), 60_000, 1);
        }
        counters
    }

    fn no_room(counters: &Counters, key: &str, at: u64) -> Option<u64> {
        counters.no_room((0, key), Mono(at), |counter| counter.in_window_until(60_000))
    }

    #[test]
    fn a_new_key_has_room_as_soon_as_one_does_not_matter_any_more() {
        let counters = counted(Counters::MAX_KEYS);
        assert_eq!(no_room(&counters, "new", 2_000), Some(58_000));
        assert_eq!(no_room(&counters, "w7", 2_000), None, "it is counted already");
        assert_eq!(no_room(&counters, "new", 60_000), None);
        assert_eq!(no_room(&counted(Counters::MAX_KEYS - 1), "new", 2_000), None);
    }

    #[test]
    fn what_still_matters_is_not_forgotten_for_a_new_key() {
        let mut counters = counted(Counters::MAX_KEYS);
        counters.debit((0, "new"), Mono(60_001), 60_000, 1);
        let count = |key: &str| counters.window((0, key), Mono(60_001), 60_000, 1).0;
        assert_eq!((count("w0"), count("w1"), count("w2"), count("new")), (0, 0, 1, 1));
        assert!(no_room(&counters, "newer", 60_001).is_none(), "w0 and w1 are gone");
    }

    #[test]
    fn a_key_that_is_used_again_frees_no_room_at_its_old_time() {
        let mut counters = counted(Counters::MAX_KEYS);
        counters.debit((0, "w0"), Mono(50_000), 60_000, 1);
        assert_eq!(no_room(&counters, "new", 60_000), Some(1), "w1 is the next");
        let long_ago = codec::encode(&counters);
        let restored: Counters = codec::decode(&long_ago).unwrap();
        assert_eq!(no_room(&restored, "new", 60_000), Some(1), "after a restart, too");
    }

    #[test]
    fn rules_that_hold_nothing_back_stay_within_their_bound() {
        let mut counters = counted(3 * Counters::MAX_KEYS);
        assert_eq!(counters.count, Counters::MAX_KEYS);
        counters.try_out();
        counters.debit((0, "new"), Mono(4_000), 60_000, 1);
        assert_eq!(counters.count, Counters::MAX_KEYS);
        counters.settle(false);
        assert_eq!(counters.window((0, "new"), Mono(4_000), 60_000, 1).0, 0);
    }

    #[test]
    fn what_was_tried_out_leaves_no_trace() {
        let mut counters = counted(5);
        counters.change_mark((3, "w1"), Mono(9), |_| u64::MAX, |mark| mark.failures = 2);
        let before = codec::encode(&counters);
        for stays in [false, true] {
            counters.try_out();
            counters.debit((0, "w1"), Mono(10), 60_000, 5);
            counters.debit((0, "new"), Mono(10), 60_000, 5);
            counters.reserve((1, "reserved"), Mono(10), 70, 4);
            counters.change_mark((3, "w1"), Mono(10), |_| u64::MAX, |mark| mark.failures = 3);
            counters.settle(stays);
            assert_eq!(codec::encode(&counters) == before, !stays);
        }
        assert_eq!(counters.window((0, "w1"), Mono(10), 60_000, 5).0, 2);
    }

    #[test]
    fn many_keys_cost_no_more_than_few() {
        // A walk over all keys for each would be 10^10 steps, which no test waits for.
        let mut counters = Counters::of_a_stream();
        for number in 0..100_000u64 {
            let key = format!("{}", number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            counters.debit((0, &key), Mono(number), 3_600_000, 1);
            assert!(!counters.is_below(1));
        }
        assert_eq!(counters.count, 100_000);
        let mut counters = Counters::of_a_stream();
        for number in 0..100_000u64 {
            counters.debit((0, &format!("k{number}")), Mono(number), 100, 1);
        }
        assert!(counters.count <= 2 * Counters::MAX_KEYS, "{} keys", counters.count);
    }
}

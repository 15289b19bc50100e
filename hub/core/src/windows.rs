//! Turns that were given, as windows count them: by rule and by what its members share.
//!
//! Decides how many of a window are taken and when one is free again; never who is next. A turn counts from before its row is
//! stored, and its node hears of it only after that, so a hub that dies has counted every turn that anybody knows of. It counts as
//! given now for as long as its node may use it, and from the moment on at which the hub knows that this is over. What a dead hub
//! left open is over when the node's session with it has surely ended.
//!
//! Times are those of the hub's own time line, which no wall clock moves and which counts too little over a reboot rather than too
//! much; a stored time that lies far ahead of it is drawn near, so whatever happens to a clock can only tighten. A hub that was
//! restored from an older copy (its hub epoch rises) has forgotten the turns that were given since: until a window has passed, as
//! many again may be given.
//!
//! Invariants: in no interval of a window's length are more turns given, or used by nodes that keep the rules, than the limit says,
//! whatever crashes; bounded by [`MAX_KEYS`] and [`MAX_STARTS`], where full means that no turn is given.
//!
//! Read next: `domains.rs` (who gives turns), `writer.rs` (when a row is stored).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wire::codec;
use wire::ids::{Epoch, Seq};
use wire::time::Mono;

use crate::fleet::Place;

/// A rule's id, and what its members share.
pub(crate) type Key = (String, String);
/// Whose turn, and the decision that it is for.
pub(crate) type Given = (Place, (Epoch, Seq));

/// For how long a node that the hub does not hear may still use its turn: the 30 s for which a turn lasts there, and as long again
/// until its end of the session is closed too.
pub(crate) const USABLE_FOR: Duration = Duration::from_secs(60);
/// Turns of one key: the largest limit of a window.
const MAX_STARTS: usize = 1_024;
/// Keys: every rule of a bundle in 64 racks, or one rule in as many as a fleet has.
const MAX_KEYS: usize = 16_384;
/// Keys of one rule that one node has turns of at once: whoever carries a node to another rack does so less often than this in a
/// window, and a node whose labels change all the time takes no room from the others.
const VALUES_EACH: usize = 4;
/// Version of a row's encoding, its first byte.
const VERSION: u8 = 1;

/// Every key with its turns, and what of it is not stored.
#[derive(Debug, Default)]
pub(crate) struct Windows {
    keys: BTreeMap<Key, Turns>,
    unstored: BTreeSet<Key>,
    /// What each node has turns of, by rule, as far as this process gave them.
    of_nodes: BTreeMap<(Place, String), BTreeSet<String>>,
}

/// The turns of one key.
#[derive(Debug, Default)]
struct Turns {
    starts: Vec<Start>,
    /// The longest window that has counted them: older ones are of no use to anybody.
    longest_ms: u64,
}

/// One turn.
#[derive(Debug, Clone, Copy)]
struct Start {
    /// Whose; `None` for one that another process gave.
    node: Option<Place>,
    /// From when on it grows old.
    at: Mono,
    /// It may be used at any time, and so counts as given now.
    open: bool,
}

impl Start {
    fn counts(&self, window_ms: u64, now: Mono) -> bool {
        self.open || now.0.saturating_sub(self.at.0) < window_ms
    }
}

/// A key's row: the longest window, and for each turn from when on it grows old and whether it was open.
#[derive(Serialize, Deserialize)]
struct Row {
    longest_ms: u64,
    starts: Vec<(Mono, bool)>,
}

impl Windows {
    /// What rows hold. One that cannot be read is left out.
    pub(crate) fn recovered(rows: Vec<(String, String, Vec<u8>)>, now: Mono) -> Self {
        let mut windows = Self::default();
        for (rule, value, bytes) in rows {
            let row: Option<Row> = match bytes.split_first() {
                Some((&VERSION, rest)) => codec::decode(rest).ok(),
                _ => None,
            };
            let Some(row) = row else { continue };
            let key = (rule, value);
            if row.starts.iter().any(|(_, open)| *open) {
                windows.unstored.insert(key.clone());
            }
            let usable_until = now + USABLE_FOR;
            let starts = row.starts.into_iter().map(|(at, open)| Start {
                node: None,
                at: if open { usable_until } else { at.min(usable_until) },
                open: false,
            });
            let turns = Turns {
                starts: starts.collect(),
                longest_ms: row.longest_ms,
            };
            windows.keys.insert(key, turns);
        }
        windows
    }

    /// How many turns a window holds that ends now.
    pub(crate) fn count(&self, key: &Key, window_ms: u64, now: Mono) -> u32 {
        let starts = self.keys.get(key).map_or(&[][..], |turns| &turns.starts);
        let count = starts.iter().filter(|start| start.counts(window_ms, now)).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// In how long there is room for one more; `None` if there is, or if that depends on a node.
    pub(crate) fn free_in(&self, key: &Key, limit: u32, window_ms: u64, now: Mono) -> Option<Duration> {
        let starts = &self.keys.get(key)?.starts;
        let mut counting: Vec<&Start> = starts.iter().filter(|start| start.counts(window_ms, now)).collect();
        counting.sort_by_key(|start| (start.open, start.at));
        let last = counting.len().checked_sub(limit as usize)?;
        let start = counting.get(last).filter(|start| !start.open)?;
        Some((start.at + Duration::from_millis(window_ms)).since(now))
    }

    /// What has turns of a rule, each with its key.
    pub(crate) fn values<'a>(&'a self, rule: &'a str) -> impl Iterator<Item = &'a Key> {
        let from = (rule.to_owned(), String::new());
        self.keys
            .range(from..)
            .map(|(key, _)| key)
            .take_while(move |key| key.0 == rule)
    }

    /// Whether one more turn can be remembered.
    pub(crate) fn has_place(&self, key: &Key, node: Place) -> bool {
        let of_node = self.of_nodes.get(&(node, key.0.clone()));
        if of_node.is_some_and(|values| values.len() >= VALUES_EACH && !values.contains(&key.1)) {
            return false;
        }
        match self.keys.get(key) {
            Some(turns) => turns.starts.len() < MAX_STARTS,
            None => self.keys.len() < MAX_KEYS,
        }
    }

    /// Counts a turn that is about to be given.
    pub(crate) fn give(&mut self, key: &Key, node: Place, window_ms: u64, now: Mono) {
        let turns = self.keys.entry(key.clone()).or_default();
        turns.longest_ms = turns.longest_ms.max(window_ms);
        turns.starts.push(Start {
            node: Some(node),
            at: now,
            open: true,
        });
        let of_node = self.of_nodes.entry((node, key.0.clone())).or_default();
        of_node.insert(key.1.clone());
        self.unstored.insert(key.clone());
    }

    /// A node's turn can last have been used at this time.
    pub(crate) fn ends(&mut self, keys: &[Key], node: Place, at: Mono) {
        for key in keys {
            let Some(turns) = self.keys.get_mut(key) else { continue };
            let ended = |start: &&mut Start| start.node == Some(node) && (start.open || start.at > at);
            for start in turns.starts.iter_mut().filter(ended) {
                (start.at, start.open) = (at, false);
                self.unstored.insert(key.clone());
            }
        }
    }

    /// A node's turn was never given: its row could not be stored, and nobody has heard of it.
    pub(crate) fn withdraw(&mut self, keys: &[Key], node: Place) {
        for key in keys {
            let Some(turns) = self.keys.get_mut(key) else { continue };
            turns.starts.retain(|start| !(start.open && start.node == Some(node)));
            self.unstored.insert(key.clone());
        }
    }

    /// Forgets what no window reaches any more, also of rules that left the bundle. `window` gives a rule's own.
    pub(crate) fn prune(&mut self, window: impl Fn(&str) -> Option<u64>, now: Mono) {
        for (key, turns) in &mut self.keys {
            let before = turns.starts.len();
            turns.longest_ms = turns.longest_ms.max(window(&key.0).unwrap_or(0));
            let longest_ms = turns.longest_ms;
            turns.starts.retain(|start| start.counts(longest_ms, now));
            if turns.starts.len() != before {
                self.unstored.insert(key.clone());
            }
        }
        self.keys.retain(|_, turns| !turns.starts.is_empty());
        let keys = &self.keys;
        self.of_nodes.retain(|(node, rule), values| {
            values.retain(|value| {
                let turns = keys.get(&(rule.clone(), value.clone()));
                turns.is_some_and(|turns| turns.starts.iter().any(|start| start.node == Some(*node)))
            });
            !values.is_empty()
        });
    }

    /// Whether something is not on its way to the store.
    pub(crate) fn is_unstored(&self) -> bool {
        !self.unstored.is_empty()
    }

    /// Keys whose rows are to be written now.
    pub(crate) fn take_unstored(&mut self) -> BTreeSet<Key> {
        std::mem::take(&mut self.unstored)
    }

    /// Rows that were not written after all.
    pub(crate) fn not_stored(&mut self, keys: BTreeSet<Key>) {
        self.unstored.extend(keys);
    }

    /// A key's row; `None` if nothing is left of it.
    pub(crate) fn row(&self, key: &Key) -> Option<Vec<u8>> {
        let turns = self.keys.get(key)?;
        let mut bytes = vec![VERSION];
        bytes.extend(codec::encode(&Row {
            longest_ms: turns.longest_ms,
            starts: turns.starts.iter().map(|start| (start.at, start.open)).collect(),
        }));
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        ("one".to_owned(), "r7".to_owned())
    }

    #[test]
    fn an_open_turn_counts_as_given_now_and_a_dead_hubs_one_for_as_long_as_it_may_be_used() {
        let mut windows = Windows::default();
        windows.give(&key(), 3, 1_000, Mono(0));
        assert_eq!(windows.count(&key(), 1_000, Mono(9_000_000)), 1);
        assert_eq!(
            windows.free_in(&key(), 1, 1_000, Mono(9_000_000)),
            None,
            "only its node knows"
        );
        let row = windows.row(&key()).map(|row| vec![(key().0, key().1, row)]);
        let next = Windows::recovered(row.unwrap_or_default(), Mono(500));
        assert_eq!(next.count(&key(), 1_000, Mono(61_499)), 1);
        assert_eq!(next.count(&key(), 1_000, Mono(61_500)), 0);

        windows.ends(&[key()], 3, Mono(9_000_000));
        assert_eq!(windows.count(&key(), 1_000, Mono(9_000_999)), 1);
        let free = windows.free_in(&key(), 1, 1_000, Mono(9_000_400));
        assert_eq!(free, Some(Duration::from_millis(600)));
        assert_eq!(windows.count(&key(), 1_000, Mono(9_001_000)), 0);
        // A clock that begins anew only tightens.
        let row = windows.row(&key()).map(|row| vec![(key().0, key().1, row)]);
        let next = Windows::recovered(row.unwrap_or_default(), Mono(5));
        assert_eq!(next.count(&key(), 1_000, Mono(61_004)), 1);
        assert_eq!(next.count(&key(), 1_000, Mono(61_005)), 0);
    }

    #[test]
    fn a_node_whose_labels_change_takes_little_of_the_room() {
        let mut windows = Windows::default();
        let rack = |n: usize| ("one".to_owned(), format!("r{n}"));
        for n in 0..100 {
            if windows.has_place(&rack(n), 3) {
                windows.give(&rack(n), 3, 1_000, Mono(0));
                windows.ends(&[rack(n)], 3, Mono(0));
            }
        }
        assert_eq!(windows.keys.len(), VALUES_EACH);
        assert!(windows.has_place(&rack(0), 3), "where it was it may be again");
        assert!(windows.has_place(&rack(50), 4), "and another one anywhere");
        windows.prune(|_| None, Mono(1_000));
        assert!(windows.has_place(&rack(50), 3));
        assert!(windows.of_nodes.is_empty());
    }

    #[test]
    fn what_no_window_reaches_is_forgotten_also_of_a_rule_that_is_gone() {
        let mut windows = Windows::default();
        windows.give(&key(), 3, 1_000, Mono(0));
        windows.ends(&[key()], 3, Mono(0));
        windows.prune(|_| None, Mono(999));
        assert!(windows.row(&key()).is_some(), "it may come back");
        windows.prune(|_| Some(2_000), Mono(1_500));
        assert!(windows.row(&key()).is_some(), "the rule's window is longer now");
        windows.take_unstored();
        windows.prune(|_| None, Mono(2_000));
        assert_eq!(windows.row(&key()), None);
        assert!(windows.is_unstored(), "its row is to be removed");
    }
}

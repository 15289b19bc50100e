//! Whose entries give way when there are more than a hub has room for, and what must stay whatever happens.
//!
//! Decides how much of each agent's history stays; never removes anything, and never looks into an entry. Room is shared as water
//! finds its level: whoever needs less than the share keeps everything, and the rest is cut to the same length. So an agent that
//! floods its hub pays with its own history.
//!
//! Invariant: nobody loses an entry for want of room while somebody else holds more than they do.
//! Read next: the shell's store (who removes), `writer.rs` (how entries got there).

use std::collections::BTreeMap;

use wire::ids::{AgentId, DecisionId, Epoch, Seq};

use crate::hub::Hub;

/// How much of all agents' entries stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Bytes of all entries together.
    pub bytes: u64,
    /// Age of an entry on the hub's own time line: a stepped wall clock removes nothing.
    pub age_ms: u64,
}

impl Quota {
    /// Whether room must be made.
    pub const fn is_exceeded(&self, held: u64) -> bool {
        held > self.bytes
    }

    /// What is left once room was made: a sixteenth less, so that it is made seldom.
    pub const fn goal(&self) -> u64 {
        self.bytes - self.bytes / 16
    }

    /// Beyond this whoever follows the entries and has fallen behind holds them no longer: it finds a gap and is told of it.
    pub const fn patience(&self) -> u64 {
        self.bytes.saturating_add(self.bytes / 2)
    }
}

/// The most bytes that one owner may keep, so that all together keep at most `room`. `held`: what each has.
pub fn fair_share(held: impl IntoIterator<Item = u64>, room: u64) -> u64 {
    let mut held: Vec<u64> = held.into_iter().collect();
    held.sort_unstable();
    let mut left = room;
    let mut owners = held.len() as u64;
    for bytes in held {
        let share = left / owners;
        if bytes > share {
            return share;
        }
        left -= bytes;
        owners -= 1;
    }
    u64::MAX
}

/// What must stay, however little room there is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spared {
    oldest: BTreeMap<AgentId, (Epoch, Seq)>,
    /// The first place in the order of arrival that a consumer may still need; `None` where nobody follows it.
    pub unread: Option<u64>,
}

impl Spared {
    /// This entry must stay, and with it those after it: a history has no holes.
    pub fn entry(&mut self, id: &DecisionId) {
        let place = (id.epoch, id.seq);
        let oldest = self.oldest.entry(id.agent.clone()).or_insert(place);
        *oldest = place.min(*oldest);
    }

    /// Whether an owner's entries up to this one may go.
    pub fn frees(&self, owner: &AgentId, through: (Epoch, Seq)) -> bool {
        self.oldest.get(owner).is_none_or(|oldest| through < *oldest)
    }
}

impl Hub {
    /// Entries that work under way refers to: decisions behind commands and behind steps of plans that are not over.
    pub fn spared(&self) -> Spared {
        let mut spared = Spared::default();
        for id in self.decisions_under_way() {
            spared.entry(&id);
        }
        for id in self.plans.decisions_under_way() {
            spared.entry(id);
        }
        spared
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn whoever_has_most_gives_most() {
        assert_eq!(fair_share([10, 10, 1_000], 100), 80);
        assert_eq!(fair_share([10, 400, 1_000], 100), 45);
        assert_eq!(fair_share([50, 50], 100), u64::MAX, "there is room for all");
        assert_eq!(fair_share([50, 51], 100), 50);
        assert_eq!(fair_share([7], 0), 0);
        assert_eq!(fair_share([], 5), u64::MAX);
    }

    proptest! {
        #[test]
        fn what_is_left_fits_and_nobody_gives_more_than_they_must(
            held in proptest::collection::vec(0u64..1_000, 0..20), room in 0u64..10_000
        ) {
            let share = fair_share(held.clone(), room);
            let left: u64 = held.iter().map(|bytes| share.min(*bytes)).sum();
            prop_assert!(left <= room);
            // Less than one byte each could be shared out still.
            let is_cut = held.iter().any(|bytes| *bytes > share);
            prop_assert!(!is_cut || room - left < held.len() as u64);
        }
    }

    #[test]
    fn what_is_referred_to_stays_with_everything_after_it() {
        let agent = |name: &str| AgentId::new(name).expect("valid");
        let id = |name: &str, epoch, seq| DecisionId {
            agent: agent(name),
            epoch: Epoch(epoch),
            seq: Seq(seq),
        };
        let mut spared = Spared::default();
        spared.entry(&id("edge-01", 2, 7));
        spared.entry(&id("edge-01", 1, 9));
        spared.entry(&id("edge-01", 3, 1));
        assert!(spared.frees(&agent("edge-01"), (Epoch(1), Seq(8))));
        assert!(!spared.frees(&agent("edge-01"), (Epoch(1), Seq(9))));
        assert!(!spared.frees(&agent("edge-01"), (Epoch(2), Seq(1))));
        assert!(spared.frees(&agent("edge-02"), (Epoch(9), Seq(9))));
    }
}

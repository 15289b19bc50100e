//! What becomes of the disk's contents at start: carry on, or begin a new epoch and say what is missing.
//!
//! Decides the epoch. It never refuses to start: whatever was lost, the agent protects its node again at once.
//!
//! Invariants: an epoch that was ever used is never used for new entries unless the journal still holds all of it that the floor
//! knows of; the floor never falls; a bundle below the floor gets no authority (its `never_expires` rules still protect); a node that
//! a person holds stays held.
//!
//! Read next: `marks.rs` (what survives), `input.rs` (`Recovered`, `Floor`).

use wire::entry::Gap;
use wire::ids::{Epoch, Seq};

use crate::input::{Floor, Recovered};
use crate::marks::{Held, Marks};
use crate::sync::Older;

/// Recoveries in a row that were cut off: each costs one epoch.
const MAX_GAPS: usize = 64;

/// Who holds a node whose journal was lost while somebody held it.
const UNKNOWN_HOLDER: &str = "somebody";

/// How to go on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Start {
    pub(crate) marks: Marks,
    /// The gaps to record first, if a new epoch begins.
    pub(crate) gaps: Vec<Gap>,
    /// Epochs that are left to send, oldest first.
    pub(crate) older: Vec<Older>,
    /// The first entry of the present epoch that is still there.
    pub(crate) oldest_entry: Seq,
    /// The state is older than the floor: its bundle proves nothing.
    pub(crate) stale: bool,
    /// Whether the process before this one stopped in an orderly way.
    pub(crate) clean: bool,
}

pub(crate) fn start(recovered: &Recovered, reuse_epoch: bool) -> Start {
    let floor = recovered.floor.unwrap_or_default();
    let decoded = recovered.marks.as_deref().map(Marks::decode);
    let known = decoded.clone().flatten();
    let damaged = recovered.damage.is_some() || decoded == Some(None);
    let behind = known.as_ref().is_some_and(|marks| {
        floor.epoch > marks.head.epoch || (floor.epoch == marks.head.epoch && floor.last > marks.head.seq)
    });
    let lost = known.is_none() && (recovered.floor.is_some() || !recovered.epochs.is_empty());
    let clean = known.as_ref().map_or(!damaged && !lost, |marks| marks.clean);
    let lost_hold = known.is_none();
    let first_ever = known.is_none() && !damaged && !lost;
    let mut marks = known.unwrap_or_else(|| Marks::fresh(Epoch(1)));
    if floor.held && (lost_hold || behind) {
        // By whom was lost with the journal; that nobody else is to act was not.
        marks.held.get_or_insert_with(|| Held {
            who: UNKNOWN_HOLDER.to_owned(),
            reason: "somebody held this node when its journal was lost".to_owned(),
        });
    }
    let mut gaps = Vec::new();
    let mut untold = None;
    if !first_ever && (damaged || behind || lost) && !reuse_epoch {
        let newest = recovered.epochs.iter().map(|(epoch, _, _)| *epoch).max();
        let ended = ended(&marks, floor, recovered);
        let reason = reason(recovered, behind);
        untold = floor.untold.or(Some(ended));
        gaps = untold_gaps(floor.untold, ended, &reason);
        let above = floor.epoch.max(marks.head.epoch).max(newest.unwrap_or_default());
        marks = next_epoch(marks, above);
    }
    marks.floor = highest(marks.floor, floor);
    marks.floor.epoch = marks.head.epoch;
    marks.floor.untold = untold;
    let (older, oldest_entry) = epochs(recovered, &marks);
    marks
        .settled
        .retain(|epoch| recovered.epochs.iter().any(|(held, _, _)| held == epoch));
    Start {
        marks,
        gaps,
        older,
        oldest_entry,
        stale: behind,
        clean,
    }
}

/// The ended epoch, its last entry and the last acknowledged one, as far as anybody knows.
fn ended(marks: &Marks, floor: Floor, recovered: &Recovered) -> (Epoch, Seq, Seq) {
    let (epoch, last_known, acked) = if floor.epoch >= marks.head.epoch {
        (floor.epoch, floor.last, floor.acked)
    } else {
        (marks.head.epoch, marks.head.seq, marks.acked)
    };
    let found = recovered.epochs.iter().find(|(held, _, _)| *held == epoch);
    let last_found = found.map_or(Seq(0), |(_, _, last)| *last);
    (epoch, last_known.max(last_found), acked)
}

fn reason(recovered: &Recovered, behind: bool) -> String {
    match &recovered.damage {
        Some(damage) => damage.clone(),
        None if behind => "restored from a copy".to_owned(),
        None if recovered.marks.is_some() => "corrupt".to_owned(),
        None => "emptied".to_owned(),
    }
}

/// One gap for each ended epoch that no entry tells of; of those in between nothing more is known.
fn untold_gaps(oldest: Option<(Epoch, Seq, Seq)>, ended: (Epoch, Seq, Seq), reason: &str) -> Vec<Gap> {
    let before = oldest.filter(|(epoch, _, _)| *epoch < ended.0);
    let between = before.map_or(0..0, |(epoch, _, _)| epoch.0 + 1..ended.0.0);
    let between = between.map(|epoch| (Epoch(epoch), Seq(0), Seq(0)));
    let all = before.into_iter().chain(between.take(MAX_GAPS)).chain([ended]);
    all.map(|(epoch, last_known, acked)| Gap::Epoch {
        epoch,
        last_known,
        acked,
        reason: reason.to_owned(),
    })
    .collect()
}

/// The marks at the beginning of a new epoch: chains and numbers start anew, all else is kept.
pub(crate) fn next_epoch(marks: Marks, above: Epoch) -> Marks {
    let fresh = Marks::fresh(above.next());
    Marks {
        head: fresh.head,
        acked: fresh.acked,
        blocks: fresh.blocks,
        ..marks
    }
}

fn highest(one: Floor, other: Floor) -> Floor {
    Floor {
        epoch: one.epoch.max(other.epoch),
        last: one.last,
        acked: one.acked,
        generation: match one.policy_since.cmp(&other.policy_since) {
            // Generations of before a rotation say nothing about those after it.
            std::cmp::Ordering::Less => other.generation,
            std::cmp::Ordering::Equal => one.generation.max(other.generation),
            std::cmp::Ordering::Greater => one.generation,
        },
        hub_epoch: one.hub_epoch.max(other.hub_epoch),
        untold: None,
        roles: one.roles.max(other.roles),
        policy_since: one.policy_since.max(other.policy_since),
        held: other.held,
    }
}

fn epochs(recovered: &Recovered, marks: &Marks) -> (Vec<Older>, Seq) {
    let present = marks.head.epoch;
    let older = recovered
        .epochs
        .iter()
        .filter(|(epoch, _, _)| *epoch < present && !marks.settled.contains(epoch))
        .map(|&(epoch, first, last)| Older { epoch, first, last })
        .collect();
    let first = recovered
        .epochs
        .iter()
        .find(|(epoch, _, _)| *epoch == present)
        .map_or(Seq(1), |(_, first, _)| *first);
    (older, first.max(Seq(1)))
}

#[cfg(test)]
mod tests {
    use wire::entry::ChainHead;
    use wire::{Digest, Generation, HubEpoch};

    use super::*;

    fn marks(epoch: u64, seq: u64) -> Option<Vec<u8>> {
        let mut marks = Marks::fresh(Epoch(epoch));
        marks.head = ChainHead {
            epoch: Epoch(epoch),
            seq: Seq(seq),
            digest: Digest::of(b"entry"),
        };
        marks.clean = false;
        Some(marks.encode())
    }

    fn floor(epoch: u64, last: u64) -> Option<Floor> {
        Some(Floor {
            epoch: Epoch(epoch),
            last: Seq(last),
            acked: Seq(last / 2),
            generation: Generation(9),
            hub_epoch: HubEpoch(4),
            ..Floor::default()
        })
    }

    /// Expects an epoch, and of the gap the ended epoch, its last known entry and the reason.
    fn check(recovered: Recovered, epoch: u64, gap: Option<(u64, u64, &str)>) {
        let start = start(&recovered, false);
        assert_eq!(start.marks.head.epoch, Epoch(epoch));
        assert_eq!(start.marks.floor.epoch, Epoch(epoch));
        let found = start.gaps.last().map(|found| match found {
            Gap::Epoch {
                epoch,
                last_known,
                reason,
                ..
            } => (epoch.0, last_known.0, reason.as_str()),
            other => panic!("{other:?}"),
        });
        assert_eq!(found, gap);
        if let Some(floor) = recovered.floor {
            assert_eq!(start.marks.floor.generation, floor.generation);
            assert_eq!(start.marks.floor.hub_epoch, floor.hub_epoch);
        }
    }

    #[test]
    fn a_machine_that_never_ran_begins_at_one() {
        check(Recovered::default(), 1, None);
    }

    #[test]
    fn a_whole_journal_is_carried_on() {
        let recovered = Recovered {
            marks: marks(3, 50),
            floor: floor(3, 50),
            epochs: vec![(Epoch(2), Seq(1), Seq(7)), (Epoch(3), Seq(5), Seq(50))],
            ..Recovered::default()
        };
        let start = start(&recovered, false);
        assert_eq!(start.oldest_entry, Seq(5));
        assert_eq!(
            start.older,
            [Older {
                epoch: Epoch(2),
                first: Seq(1),
                last: Seq(7)
            }]
        );
        assert!(!start.clean && !start.stale);
        check(recovered, 3, None);
    }

    #[test]
    fn a_lost_journal_begins_above_the_floor() {
        let lost = |damage: Option<&str>| Recovered {
            floor: floor(3, 50),
            damage: damage.map(str::to_owned),
            ..Recovered::default()
        };
        check(lost(None), 4, Some((3, 50, "emptied")));
        check(lost(Some("corrupt")), 4, Some((3, 50, "corrupt")));
        let unreadable = Recovered {
            marks: Some(vec![9, 9]),
            epochs: vec![(Epoch(3), Seq(1), Seq(60))],
            ..lost(None)
        };
        check(unreadable, 4, Some((3, 60, "corrupt")));
    }

    #[test]
    fn a_journal_behind_its_floor_is_an_old_copy() {
        let old = |floor| Recovered {
            marks: marks(3, 50),
            floor,
            epochs: vec![(Epoch(3), Seq(1), Seq(50))],
            ..Recovered::default()
        };
        check(old(floor(3, 51)), 4, Some((3, 51, "restored from a copy")));
        check(old(floor(5, 2)), 6, Some((5, 2, "restored from a copy")));
        assert!(start(&old(floor(3, 51)), false).stale);
        check(old(floor(2, 99)), 3, None);
    }

    #[test]
    fn a_node_that_a_person_holds_stays_held_whatever_is_lost() {
        let held = |held: bool| floor(3, 51).map(|floor| Floor { held, ..floor });
        let holder = |marks: Option<Vec<u8>>, held| {
            let recovered = Recovered {
                marks,
                floor: held,
                epochs: vec![(Epoch(3), Seq(1), Seq(50))],
                ..Recovered::default()
            };
            start(&recovered, false).marks.held.map(|held| held.who)
        };
        let somebody = Some(UNKNOWN_HOLDER.to_owned());
        assert_eq!(holder(None, held(true)), somebody, "the journal is gone");
        assert_eq!(
            holder(Some(vec![250, 1, 2]), held(true)),
            somebody,
            "a later build wrote it"
        );
        assert_eq!(holder(marks(3, 50), held(true)), somebody, "an older copy of it");
        assert_eq!(
            holder(marks(3, 51), held(true)),
            None,
            "it is whole, and says that the hold never became durable"
        );
        assert_eq!(holder(None, held(false)), None);
    }

    #[test]
    fn a_recovery_that_was_cut_off_is_not_forgotten() {
        let floor = floor(6, 0).map(|floor| Floor {
            untold: Some((Epoch(4), Seq(9), Seq(3))),
            ..floor
        });
        let recovered = Recovered {
            floor,
            ..Recovered::default()
        };
        let start = start(&recovered, false);
        let named: Vec<u64> = start
            .gaps
            .iter()
            .map(|gap| match gap {
                Gap::Epoch { epoch, .. } => epoch.0,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(named, [4, 5, 6]);
        assert_eq!(start.marks.floor.untold, Some((Epoch(4), Seq(9), Seq(3))));
    }

    #[test]
    fn entries_without_marks_still_end_their_epoch() {
        let recovered = Recovered {
            epochs: vec![(Epoch(1), Seq(1), Seq(9))],
            ..Recovered::default()
        };
        check(recovered, 2, Some((1, 9, "emptied")));
    }
}

//! Makes few reports of many sightings: the first of its kind at once, then one summary a minute with their number.
//!
//! Pure: `now` is an argument. Kinds beyond the bound are counted together, so that nothing that was seen goes unsaid.
//!
//! Invariants: in any minute at most [`MOST_KINDS`] kinds are reported, and the counts of all reports add up to what was seen; that lines
//! were lost ([`LOG_GAP`]) always has a place among them.

use std::collections::BTreeMap;
use std::time::Duration;

use wire::fault::{NextStep, Severity};
use wire::time::Mono;

use super::{Place, Sighting};

/// Time between two reports of the same kind.
pub const EVERY: Duration = Duration::from_secs(60);
/// Kinds that are told apart in a minute. A machine that has more than this has one trouble, not fifty.
pub const MOST_KINDS: usize = 50;
/// The code of a gap in what is seen.
pub const LOG_GAP: &str = "log gap";

#[derive(Debug)]
struct Kind {
    reported: Mono,
    since: u64,
    last: Option<Sighting>,
}

/// What was seen of late.
#[derive(Debug, Default)]
pub struct Storm {
    kinds: BTreeMap<(Place, String), Kind>,
    /// Sightings of kinds that found no room.
    beyond: u64,
    beyond_reported: Option<Mono>,
}

impl Storm {
    /// Takes one sighting; returns it if it is to be reported now.
    pub fn saw(&mut self, sighting: Sighting, now: Mono) -> Option<(Sighting, u64)> {
        let key = (sighting.place.clone(), sighting.code.clone());
        if let Some(kind) = self.kinds.get_mut(&key) {
            kind.since += 1;
            kind.last = Some(sighting);
            return None;
        }
        // The last place is kept for the gap that a storm brings.
        let is_gap = sighting.code == LOG_GAP;
        let has_gap = self.kinds.keys().any(|(_, code)| code == LOG_GAP);
        let room = MOST_KINDS - usize::from(!is_gap && !has_gap);
        if self.kinds.len() >= room {
            self.beyond += 1;
            return None;
        }
        let kind = Kind {
            reported: now,
            since: 0,
            last: None,
        };
        self.kinds.insert(key, kind);
        Some((sighting, 1))
    }

    /// The summaries that are due: kinds that were seen again since their last report. Kinds that were not are forgotten.
    pub fn due(&mut self, now: Mono) -> Vec<(Sighting, u64)> {
        let mut reports = Vec::new();
        self.kinds.retain(|_, kind| {
            if now.since(kind.reported) < EVERY {
                return true;
            }
            let Some(last) = kind.last.take() else {
                return false;
            };
            reports.push((last, kind.since));
            kind.reported = now;
            kind.since = 0;
            true
        });
        let rested = self.beyond_reported.is_none_or(|at| now.since(at) >= EVERY);
        if self.beyond > 0 && rested {
            reports.push((beyond(), std::mem::take(&mut self.beyond)));
            self.beyond_reported = Some(now);
        }
        reports
    }

    /// Whether a later [`Storm::due`] may have something to say.
    pub fn is_quiet(&self) -> bool {
        self.kinds.is_empty() && self.beyond == 0
    }
}

fn beyond() -> Sighting {
    Sighting {
        place: Place::Node,
        code: "storm".to_owned(),
        severity: Severity::Medium,
        meaning: "more kinds of faults than are told apart",
        next: NextStep::AskPerson,
        evidence: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sighting(code: u32) -> Sighting {
        Sighting {
            code: format!("xid {code}"),
            ..beyond()
        }
    }

    fn at(seconds: u64) -> Mono {
        Mono(seconds * 1_000)
    }

    #[test]
    fn the_first_is_told_at_once_and_the_rest_once_a_minute() {
        let mut storm = Storm::default();
        assert_eq!(storm.saw(sighting(95), at(0)), Some((sighting(95), 1)));
        for second in 0..60 {
            assert_eq!(storm.saw(sighting(95), at(second)), None);
        }
        assert_eq!(storm.due(at(59)), []);
        assert_eq!(storm.due(at(60)), [(sighting(95), 60)]);
        assert_eq!(storm.due(at(120)), [], "it was not seen again");
        assert!(storm.is_quiet());
        assert!(storm.saw(sighting(95), at(130)).is_some(), "and is new after that");
    }

    #[test]
    fn a_gap_has_a_place_in_every_storm() {
        let mut storm = Storm::default();
        let told = (0..500)
            .filter(|code| storm.saw(sighting(*code), at(0)).is_some())
            .count();
        assert_eq!(told, MOST_KINDS - 1);
        let gap = Sighting {
            code: LOG_GAP.to_owned(),
            ..beyond()
        };
        assert_eq!(storm.saw(gap.clone(), at(1)), Some((gap, 1)));
        assert_eq!(storm.saw(sighting(600), at(2)), None, "all places are taken");
    }

    proptest! {
        #[test]
        fn nothing_that_was_seen_goes_unsaid(codes in proptest::collection::vec((0u32..80, 0u64..3), 0..400)) {
            let mut storm = Storm::default();
            let (mut now, mut said, mut seen) = (0, 0, 0);
            let mut in_minute = Vec::new();
            for (code, later) in codes {
                now += later;
                seen += 1;
                let reports: Vec<_> = storm.saw(sighting(code), at(now)).into_iter().chain(storm.due(at(now))).collect();
                in_minute.retain(|(_, when)| now - when < 60);
                for (report, count) in reports {
                    said += count;
                    in_minute.push((report.code, now));
                }
                let mut kinds: Vec<_> = in_minute.iter().map(|(code, _)| code).collect();
                kinds.sort();
                kinds.dedup();
                prop_assert!(kinds.len() <= 2 * MOST_KINDS + 1);
            }
            for _ in 0..3 {
                now += 60;
                said += storm.due(at(now)).iter().map(|(_, count)| count).sum::<u64>();
            }
            prop_assert_eq!(said, seen);
            prop_assert!(storm.is_quiet());
        }
    }
}

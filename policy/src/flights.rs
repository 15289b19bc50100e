//! Actions that were granted and have not ended, by what they are done to.
//!
//! Never decides. Starting, ending and counting cost the same however many are under way. What never ends is taken as lost in the end,
//! so that it blocks nothing for ever. Telling people is under way too, and in nobody's way: only a rule that names it counts it.
//!
//! Invariant: of two actions of one kind on one target the older one ends first.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wire::{DeviceId, Mono};

use crate::actions::{KINDS, NOTIFY};

/// Most actions that are under way at once, where a stream of questions is judged. Beyond it the oldest is taken as lost.
const MAX_FLIGHTS: usize = 131_072;

/// Rules of one bundle, by place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RuleSet([u64; 4]);

impl RuleSet {
    /// Every rule.
    pub const ALL: Self = Self([u64::MAX; 4]);

    /// Whether a rule is among them. A bundle has at most 256.
    pub fn has(&self, place: usize) -> bool {
        self.0
            .get(place / 64)
            .is_some_and(|bits| bits & (1 << (place % 64)) != 0)
    }

    /// Leaves a rule out.
    pub fn remove(&mut self, place: usize) {
        if let Some(bits) = self.0.get_mut(place / 64) {
            *bits &= !(1 << (place % 64));
        }
    }
}

/// An action as a ledger stores it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Flight {
    target: DeviceId,
    /// Index into [`KINDS`].
    kind: u8,
    until: Mono,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct UnderWay {
    number: u64,
    kind: u8,
    until: Mono,
    counted_by: RuleSet,
}

/// What is under way.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<Flight>", into = "Vec<Flight>")]
pub(crate) struct Flights {
    by_target: BTreeMap<Box<str>, Vec<UnderWay>>,
    /// When each is taken as lost, its kind and target.
    by_end: BTreeMap<(Mono, u64), (u8, Box<str>)>,
    by_kind: [u32; 32],
    next: u64,
}

impl Flights {
    /// An action begins. `counted_by` are the rules that will count its end. Returns its number.
    pub fn start(&mut self, target: &str, kind: usize, until: Mono, counted_by: RuleSet) -> u64 {
        if self.by_end.len() >= MAX_FLIGHTS
            && let Some((&(_, number), (_, target))) = self.by_end.first_key_value()
        {
            let target = target.clone();
            self.take_back(&target, number);
        }
        let (number, kind) = (self.next, kind as u8);
        self.next += 1;
        self.by_end.insert((until, number), (kind, target.into()));
        self.by_kind[usize::from(kind) % 32] += 1;
        let of_target = self.by_target.entry(target.into()).or_default();
        of_target.push(UnderWay {
            number,
            kind,
            until,
            counted_by,
        });
        number
    }

    /// The oldest action of this kind on this target has ended. Returns the rules that count that; `None` if none was under way.
    pub fn end(&mut self, target: &str, kind: usize) -> Option<RuleSet> {
        let of_target = self.by_target.get(target)?;
        let oldest = of_target.iter().find(|one| usize::from(one.kind) == kind)?;
        let (number, counted_by) = (oldest.number, oldest.counted_by);
        self.take_back(target, number);
        Some(counted_by)
    }

    /// An action has not begun after all.
    pub fn take_back(&mut self, target: &str, number: u64) {
        let Some(of_target) = self.by_target.get_mut(target) else {
            return;
        };
        let Some(place) = of_target.iter().position(|one| one.number == number) else {
            return;
        };
        let gone = of_target.remove(place);
        if of_target.is_empty() {
            self.by_target.remove(target);
        }
        self.by_end.remove(&(gone.until, gone.number));
        self.by_kind[usize::from(gone.kind) % 32] -= 1;
    }

    /// Takes as lost what has not ended by now.
    pub fn expire(&mut self, now: Mono) {
        while let Some((&(until, number), (_, target))) = self.by_end.first_key_value()
            && until <= now
        {
            let target = target.clone();
            self.take_back(&target, number);
        }
    }

    /// How many are under way on a target.
    pub fn on(&self, target: &str, now: Mono) -> usize {
        let of_target = self.by_target.get(target).into_iter().flatten();
        of_target
            .filter(|one| one.until > now && usize::from(one.kind) != NOTIFY)
            .count()
    }

    /// How many of these kinds are under way, on one target or anywhere.
    pub fn count(&self, kinds: u64, target: Option<&str>, now: Mono) -> usize {
        let is_counted = |kind: u8| {
            let is_selected = kinds & (1 << kind) != 0;
            is_selected && (usize::from(kind) != NOTIFY || kinds != u64::MAX)
        };
        if let Some(target) = target {
            let of_target = self.by_target.get(target).into_iter().flatten();
            return of_target.filter(|one| one.until > now && is_counted(one.kind)).count();
        }
        let all = (0..KINDS.len() as u8).filter(|kind| is_counted(*kind));
        let all: u32 = all.map(|kind| self.by_kind[usize::from(kind)]).sum();
        let lost = self.by_end.range(..=(now, u64::MAX));
        let lost = lost.filter(|(_, (kind, _))| is_counted(*kind)).count();
        (all as usize).saturating_sub(lost)
    }

    /// Drops what no program of ours could have written.
    pub fn sound(self) -> Self {
        let mut stored: Vec<Flight> = self.into();
        stored.retain(|flight| usize::from(flight.kind) < KINDS.len());
        stored.into()
    }
}

impl From<Vec<Flight>> for Flights {
    fn from(stored: Vec<Flight>) -> Self {
        let mut flights = Self::default();
        for Flight { target, kind, until } in stored {
            flights.start(target.as_str(), usize::from(kind), until, RuleSet::ALL);
        }
        flights
    }
}

impl From<Flights> for Vec<Flight> {
    fn from(flights: Flights) -> Self {
        let stored = flights.by_end.into_iter().filter_map(|((until, _), (kind, target))| {
            // Only an agent stores what is under way, and it names devices.
            let target = DeviceId::new(target.into_string()).ok()?;
            Some(Flight { target, kind, until })
        });
        stored.filter(|flight| usize::from(flight.kind) != NOTIFY).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESTART: usize = 2;
    const SCALE: usize = 11;

    #[test]
    fn the_older_of_two_equal_actions_ends_first() {
        let mut flights = Flights::default();
        let mut first = RuleSet::ALL;
        first.remove(70);
        flights.start("a", RESTART, Mono(100), first);
        flights.start("a", RESTART, Mono(100), RuleSet::ALL);
        assert_eq!(flights.count(1 << RESTART, None, Mono(5)), 2);
        assert_eq!(flights.end("a", RESTART), Some(first));
        assert!(!first.has(70) && first.has(69));
        assert_eq!(flights.end("a", SCALE), None);
        assert_eq!(flights.end("a", RESTART), Some(RuleSet::ALL));
        assert_eq!(
            flights,
            Flights {
                next: 2,
                ..Flights::default()
            }
        );
    }

    #[test]
    fn what_never_ends_blocks_nothing_for_ever() {
        let mut flights = Flights::default();
        flights.start("a", RESTART, Mono(100), RuleSet::ALL);
        flights.start("b", SCALE, Mono(200), RuleSet::ALL);
        let count = |flights: &Flights, now| (flights.count(u64::MAX, None, Mono(now)), flights.on("a", Mono(now)));
        assert_eq!(count(&flights, 99), (2, 1));
        assert_eq!(count(&flights, 100), (1, 0));
        flights.expire(Mono(100));
        assert_eq!(count(&flights, 99), (1, 0));
    }

    #[test]
    fn telling_people_is_in_nobodys_way() {
        let mut flights = Flights::default();
        flights.start("gpu0", NOTIFY, Mono(100), RuleSet::ALL);
        assert_eq!(
            (flights.on("gpu0", Mono(0)), flights.count(u64::MAX, None, Mono(0))),
            (0, 0)
        );
        assert_eq!(flights.count(1 << NOTIFY, Some("gpu0"), Mono(0)), 1);
        let stored: Vec<Flight> = flights.into();
        assert_eq!(stored, []);
    }
}

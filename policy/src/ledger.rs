//! What rules remember of one agent: what ran when, what failed, what is engaged. It survives restarts inside the journal.
//!
//! Never decides. Times are [`Mono`] only, so no step of the wall clock refills a budget.
//!
//! Invariant: bounded. At most [`MAX_KEYS`] keys a rule, [`MAX_WINDOW`] times a key.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use wire::{Action, DeviceId, Mono};

use crate::actions::KINDS;
use crate::glass::Glass;
use crate::indicator::courses::{Courses, Kept};
use crate::indicator::{Indicator, MAX_INDICATORS};
use crate::meter::{self, MAX_METERS, Meter};
use crate::rule::Asked;
use crate::table::Table;

/// Most grants that one window remembers, and so the largest limit of a rate. Source: `control.md` 9.4.
pub(crate) const MAX_WINDOW: usize = 1_024;
/// Most keys of one rule: more devices than any node has.
pub(crate) const MAX_KEYS: usize = 1_024;

/// Most numbers of one rule.
pub(crate) const MAX_NUMBERS: usize = 10;

/// What a rule counts together: a kind of action (0 for any, else its index + 1) and a text (empty for any).
pub(crate) type Place<'a> = (u8, &'a str);

/// Everything on this node, together.
pub(crate) const NODE: Place<'static> = (0, "");

/// This kind of action on this target.
pub(crate) fn target_and_kind<'a>(asked: &Asked<'a>) -> Place<'a> {
    (asked.kind as u8 + 1, asked.target)
}

/// A few numbers that a rule compares; any of them may be unknown.
///
/// Kept small: a bundle's worth of them is walked for every decision.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Numbers {
    /// 0 where unknown.
    values: [i64; MAX_NUMBERS],
    /// A bit for each known one.
    known: u16,
}

impl Numbers {
    #[inline]
    pub fn of<const N: usize>(values: [Option<i64>; N]) -> Self {
        let mut numbers = Self::default();
        for (index, value) in values.into_iter().enumerate() {
            numbers.set(index, value);
        }
        numbers
    }

    #[inline]
    pub fn get(&self, index: usize) -> Option<i64> {
        let value = *self.values.get(index)?;
        (self.known & (1 << index) != 0).then_some(value)
    }

    #[inline]
    pub fn set(&mut self, index: usize, value: Option<i64>) {
        if let Some(slot) = self.values.get_mut(index) {
            *slot = value.unwrap_or(0);
            let bit = 1 << index;
            self.known = if value.is_some() {
                self.known | bit
            } else {
                self.known & !bit
            };
        }
    }
}

/// Numbers that we observed of scopes, by full name, sorted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known {
    numbers: Vec<(String, i64)>,
    changes: u64,
}

impl Known {
    /// Most names: what 256 rules can ask for.
    const MAX_NAMES: usize = 2_048;

    pub fn get(&self, name: &str) -> Option<i64> {
        let index = self.find(name).ok()?;
        Some(self.numbers[index].1)
    }

    /// How often a number has changed: as long as this stays the same, so does every number.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Sets or, with `None`, forgets a number. Ignored when there are too many names.
    pub fn set(&mut self, name: &str, value: Option<i64>) {
        match (self.find(name), value) {
            (Ok(index), Some(value)) if self.numbers[index].1 == value => return,
            (Ok(index), Some(value)) => self.numbers[index].1 = value,
            (Ok(index), None) => drop(self.numbers.remove(index)),
            (Err(index), Some(value)) if self.numbers.len() < Self::MAX_NAMES => {
                self.numbers.insert(index, (name.to_owned(), value));
            }
            (Err(_), _) => return,
        }
        self.changes += 1;
    }

    fn find(&self, name: &str) -> Result<usize, usize> {
        self.numbers.binary_search_by(|(known, _)| known.as_str().cmp(name))
    }
}

/// What a hub says of one rule that needs turns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// The rule's id.
    pub rule: String,
    /// It is this node's turn.
    pub mine: bool,
    /// How many turns the rule has given in its window, if it counts them.
    pub given: Option<i64>,
    /// When the window has room again, if it has none.
    pub free_at: Option<Mono>,
}

/// Who gives turns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Turns {
    /// Nobody: whoever judges sees everything that is counted.
    #[default]
    Nobody,
    /// A hub, of which nothing is heard now.
    Unheard,
    /// A hub, and what it says of every rule that needs turns.
    Heard(Vec<Turn>),
}

/// What is known of one rule's turn.
#[derive(Debug, Clone, Copy)]
pub(crate) enum TurnOf<'a> {
    /// It needs none here.
    NotNeeded,
    /// No hub says anything.
    Unheard,
    Heard(&'a Turn),
}

impl Turns {
    /// What is known of the turn of a rule that needs one.
    pub(crate) fn of(&self, rule: &str) -> TurnOf<'_> {
        match self {
            Self::Nobody => TurnOf::NotNeeded,
            Self::Unheard => TurnOf::Unheard,
            Self::Heard(turns) => {
                let turn = turns.iter().find(|turn| turn.rule == rule);
                turn.map_or(TurnOf::Unheard, TurnOf::Heard)
            }
        }
    }
}

/// What rules take their numbers from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct World<'a> {
    pub known: &'a Known,
    pub flights: &'a [Flight],
    /// The present value of what is to be changed.
    pub present: Option<i64>,
    /// The latest readings, and the device that is asked about; `None` where readings are told by name.
    pub readings: Option<(&'a Table, &'a DeviceId)>,
    /// What the agent observes by itself; `None` where there are no readings to observe.
    pub indicators: Option<(&'a [Indicator], &'a Courses)>,
    pub meters: Option<(&'a [Meter], &'a meter::courses::Courses)>,
    /// What the power limits of all GPUs of the node add up to, if it is known; the outer `None` where nobody observes that.
    pub power_limits_mw: Option<Option<i64>>,
    /// What a hub says of the turn of the rule that gathers.
    pub turn: TurnOf<'a>,
    pub now: Mono,
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

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Counter {
    kind: u8,
    target: String,
    /// Times of grants, ascending; of a limit that keeps no log, the one time up to which it is used.
    grants: VecDeque<u64>,
    mark: Option<Mark>,
    /// What is set aside, and until when.
    reserved: VecDeque<(u64, i64)>,
}

/// What one rule remembers, sorted by key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counters(Vec<Counter>);

impl Counters {
    /// Whether it remembers nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The most grants that any key remembers, in or out of its window.
    pub fn busiest(&self) -> usize {
        self.0.iter().map(|counter| counter.grants.len()).max().unwrap_or(0)
    }

    /// The end of the last action of this place.
    pub fn mark(&self, place: Place<'_>) -> Option<Mark> {
        self.find(place).ok().and_then(|index| self.0[index].mark)
    }

    /// The same, to write.
    pub fn mark_mut(&mut self, place: Place<'_>, now: Mono) -> &mut Mark {
        self.entry(place, now, u64::MAX).mark.get_or_insert_default()
    }

    /// How many grants lie in the window that ends now, and in how long there is room for one more.
    pub fn window(&self, place: Place<'_>, now: Mono, window_ms: u64, limit: u32) -> (u32, Option<u64>) {
        let Ok(index) = self.find(place) else {
            // No room for another key: nothing more can be counted, so nothing more may run.
            let full = self.0.len() >= MAX_KEYS;
            return if full { (limit, Some(window_ms)) } else { (0, None) };
        };
        let now = now.0;
        let grants = &self.0[index].grants;
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

    /// Notes a grant.
    pub fn debit(&mut self, place: Place<'_>, now: Mono, window_ms: u64, limit: u32) {
        let counter = self.entry(place, now, window_ms);
        let now = now.0;
        let at = counter.grants.back().map_or(now, |last| now.max(*last));
        counter.grants.push_back(at);
        while counter.grants.len() > MAX_WINDOW
            || counter
                .grants
                .front()
                .is_some_and(|at| now.saturating_sub(*at) >= window_ms)
                && counter.grants.len() > limit as usize
        {
            counter.grants.pop_front();
        }
    }

    /// Up to which time, in microseconds, a limit without a log is used; `None` before its first grant.
    pub fn used_until_us(&self, place: Place<'_>) -> Option<u64> {
        let index = self.find(place).ok()?;
        self.0[index].grants.back().copied()
    }

    /// Notes a grant of a limit without a log, which uses so many microseconds more.
    pub fn use_up(&mut self, place: Place<'_>, now: Mono, each_us: u64) {
        let counter = self.entry(place, now, u64::MAX);
        let from = counter.grants.pop_back().unwrap_or(0).max(now.0.saturating_mul(1_000));
        counter.grants.clear();
        counter.grants.push_back(from.saturating_add(each_us));
    }

    /// How much is set aside now, in all places of this number.
    pub fn reserved(&self, kind: u8, now: Mono) -> i64 {
        let places = self.0.iter().filter(|counter| counter.kind == kind);
        let open = places
            .flat_map(|counter| &counter.reserved)
            .filter(|(until, _)| *until > now.0);
        open.fold(0, |sum, (_, amount)| sum.saturating_add(*amount))
    }

    /// What a place has set aside is set aside until then at most.
    pub fn reserve_until(&mut self, place: Place<'_>, latest: u64) {
        if let Ok(index) = self.find(place) {
            for (until, _) in &mut self.0[index].reserved {
                *until = latest.min(*until);
            }
        }
    }

    /// Sets an amount aside until a time.
    pub fn reserve(&mut self, place: Place<'_>, now: Mono, until: u64, amount: i64) {
        let reserved = &mut self.entry(place, now, u64::MAX).reserved;
        reserved.retain(|(until, _)| *until > now.0);
        let is_full = reserved.len() >= MAX_WINDOW;
        match reserved.back_mut().filter(|_| is_full) {
            Some(last) => *last = (last.0.max(until), last.1.saturating_add(amount)),
            None => reserved.push_back((until, amount)),
        }
    }

    fn find(&self, key: Place<'_>) -> Result<usize, usize> {
        self.0.binary_search_by(|entry| order((entry.kind, &entry.target), key))
    }

    fn entry(&mut self, key: Place<'_>, now: Mono, window_ms: u64) -> &mut Counter {
        let index = match self.find(key) {
            Ok(index) => index,
            Err(_) => {
                if self.0.len() >= MAX_KEYS {
                    self.0.retain(|entry| {
                        entry
                            .grants
                            .back()
                            .is_some_and(|at| now.0.saturating_sub(*at) < window_ms)
                    });
                }
                let index = self.find(key).unwrap_or_else(|index| index);
                self.0.insert(
                    index,
                    Counter {
                        kind: key.0,
                        target: key.1.to_owned(),
                        grants: VecDeque::new(),
                        mark: None,
                        reserved: VecDeque::new(),
                    },
                );
                index
            }
        };
        &mut self.0[index]
    }

    /// Whether it could have been written by this program.
    fn is_sound(&self) -> bool {
        self.0.len() <= MAX_KEYS + 1
            && self.0.iter().all(|entry| {
                usize::from(entry.kind) <= KINDS.len() && entry.grants.len().max(entry.reserved.len()) <= MAX_WINDOW
            })
            && self
                .0
                .is_sorted_by(|a, b| order((a.kind, &a.target), (b.kind, &b.target)).is_lt())
    }
}

/// The order of keys. Short texts first, so that most differences are found without looking at bytes; the empty one, which
/// has no bytes, is never looked at.
fn order(a: Place<'_>, b: Place<'_>) -> std::cmp::Ordering {
    let lengths = (a.0, a.1.len()).cmp(&(b.0, b.1.len()));
    lengths.then_with(|| {
        if a.1.is_empty() {
            std::cmp::Ordering::Equal
        } else {
            a.1.cmp(b.1)
        }
    })
}

/// An action that was granted and has not ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Flight {
    pub target: DeviceId,
    /// Index into [`KINDS`].
    pub kind: u8,
    pub until: Mono,
}

/// What a rule has brought about on one device and can take back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Engaged {
    pub action: Action,
    pub undo: bool,
}

/// What keeps a rule's protection of one device from flapping and from lapsing in silence. Not part of the encoding of
/// [`Standing`], which is older: whoever stores a ledger stores [`Ledger::calms`] behind it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Calm {
    /// How often in a row the condition came back soon after the action had been taken back.
    pub relapses: u8,
    /// When the action was taken back last.
    pub given_back_at: Option<Mono>,
    /// People were told that the rule's own choice is held back; not again before this.
    pub told_until: Mono,
    /// The alternative that tells people, to be asked for while the rule's own choice is held back.
    #[serde(skip)]
    pub tell: Option<u8>,
    /// Which rule held the rule's own choice back.
    #[serde(skip)]
    pub refused_by: Option<String>,
    /// What readings say of the engaged limit.
    #[serde(skip)]
    pub effect: Effect,
}

impl Calm {
    /// Whether there is anything to remember.
    pub fn is_idle(&self) -> bool {
        self.relapses == 0 && self.given_back_at.is_none() && self.told_until == Mono(0)
    }
}

/// What readings say of a limit that an action set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Not seen yet.
    #[default]
    Unseen,
    /// One reading came without it: it may have been taken before the action.
    Doubted,
    /// Seen.
    InForce,
    /// No longer there: the device has this value instead.
    Lost(i64),
}

/// How one rule stands with one device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Standing {
    /// Since when the condition holds, and since when it is clear.
    pub since: Option<Mono>,
    pub clear_since: Option<Mono>,
    /// What is under way, and when it is given up as lost.
    pub acting: Option<(Action, Mono)>,
    /// What took effect, oldest first.
    pub engaged: Vec<Engaged>,
    /// Not wanted again before this.
    pub again_at: Mono,
    /// Refused: not asked again before this.
    pub blocked_until: Mono,
    pub refusals: u8,
    /// Which of the rule's alternatives is next.
    pub alternative: u8,
    /// People were told that readings are missing; not again before this.
    pub alarmed_until: Mono,
    #[serde(skip)]
    pub calm: Calm,
}

impl Standing {
    /// Whether there is anything to remember.
    pub fn is_idle(&self) -> bool {
        self.acting.is_none()
            && self.engaged.is_empty()
            && self.refusals == 0
            && self.alternative == 0
            && self.blocked_until == Mono(0)
            && self.again_at == Mono(0)
            && self.alarmed_until == Mono(0)
    }

    /// Whether nothing of it needs to be stored.
    pub fn is_forgotten(&self) -> bool {
        self.is_idle() && self.calm.is_idle()
    }

    /// The condition has cleared: everything begins anew.
    pub fn reset(&mut self) {
        *self = Self {
            clear_since: self.clear_since,
            calm: Calm {
                tell: None,
                refused_by: None,
                effect: Effect::Unseen,
                ..std::mem::take(&mut self.calm)
            },
            ..Self::default()
        };
    }
}

/// What is stored behind a [`Ledger`]: relapses, and whom people were told of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calms(Vec<Calm>);

/// Everything that the rules of one agent remember, to be stored with every decision and given back after a restart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    pub(crate) rules: Vec<(String, Counters)>,
    pub(crate) reflexes: Counters,
    pub(crate) flights: Vec<Flight>,
    pub(crate) standings: Vec<(String, DeviceId, Standing)>,
    /// The latest break-glass token.
    pub(crate) glass: Option<Glass>,
    /// What was seen of the bundle's indicators.
    pub(crate) indicators: Vec<Kept>,
    /// What the bundle's meters metered.
    pub(crate) meters: Vec<meter::courses::Kept>,
}

impl Ledger {
    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What the encoding of a ledger leaves out, in the order of its standings: to be stored behind it.
    pub fn calms(&self) -> Calms {
        Calms(
            self.standings
                .iter()
                .map(|(_, _, standing)| standing.calm.clone())
                .collect(),
        )
    }

    /// Takes back what was stored behind it. What does not fit to its standings is ignored.
    pub fn set_calms(&mut self, calms: Calms) {
        if calms.0.len() == self.standings.len() {
            for ((_, _, standing), calm) in self.standings.iter_mut().zip(calms.0) {
                standing.calm = calm;
            }
        }
    }

    /// Drops what no program of ours could have written; a torn ledger must not panic the judge.
    pub(crate) fn sound(mut self) -> Self {
        self.rules.retain(|(_, counters)| counters.is_sound());
        self.flights.retain(|flight| usize::from(flight.kind) < KINDS.len());
        if !self.reflexes.is_sound() {
            self.reflexes = Counters::default();
        }
        self.glass = self.glass.filter(Glass::is_sound);
        self.indicators.retain(|(_, _, course)| course.is_sound());
        self.indicators.truncate(MAX_INDICATORS);
        self.meters.retain(|(_, _, course)| course.is_sound());
        self.meters.truncate(MAX_METERS);
        self
    }
}

//! What rules remember of one agent: what ran when, what failed, what is engaged. It survives restarts inside the journal.
//!
//! Never decides. Times are [`Mono`] only, so no step of the wall clock refills a budget. Read next: `counters.rs`.

use serde::{Deserialize, Serialize};
use wire::{Action, DeviceId, Mono};

use crate::counters::Counters;
use crate::flights::Flights;
use crate::glass::Glass;
use crate::indicator::courses::{Courses, Kept};
use crate::indicator::{Indicator, MAX_INDICATORS};
use crate::meter::{self, MAX_METERS, Meter};
use crate::table::Table;

/// Most numbers of one rule.
pub(crate) const MAX_NUMBERS: usize = 10;

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
    pub flights: &'a Flights,
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
    pub(crate) flights: Flights,
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
        self.flights = self.flights.sound();
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

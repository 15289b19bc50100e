//! The kinds of rule. To add one: a file here, an arm in each `match` below, cases in `tests/cases`.
//!
//! A kind has three verbs. `gather` takes its numbers from the ledger and from what was observed, `assess` compares them, `debit`
//! writes what ran back into the ledger. Only `assess` decides, and it sees nothing but what was asked and the numbers, so a
//! stored decision can be judged again.

pub(crate) mod blast;
pub(crate) mod cel;
pub(crate) mod confidence;
pub(crate) mod cooldown;
pub(crate) mod cost;
pub(crate) mod envelope;
pub(crate) mod freeze;
pub(crate) mod mutex;
pub(crate) mod objective;
pub(crate) mod quota;
pub(crate) mod rate;
pub(crate) mod scope;
pub(crate) mod threshold;

use wire::action::RiskClass;

use crate::actions::KindInfo;
use crate::counters::Counters;
use crate::ledger::{Known, MAX_NUMBERS, Numbers, World};
use crate::rule::{Asked, Finding, Selector};
use crate::text::fields::Fields;

use blast::Blast;
use cel::Cel;
use confidence::{Confidence, PREDICTION};
use cooldown::Cooldown;
use cost::Cost;
use envelope::{Envelope, Step};
pub(crate) use freeze::FREEZE_HELP;
use freeze::{Opening, Windows};
use mutex::Mutex;
use objective::{SLO, Sla, Slo};
use quota::Quota;
use rate::Rate;
use threshold::Threshold;

/// Numbers of a blast radius: five that were observed, three of the ledger.
const BLAST: [&str; 8] = [
    "members",
    "unhealthy",
    "in_flight",
    "newly_faulty",
    "turn",
    "window_count",
    "free_in_ms",
    "breaker_open",
];

/// What a rule does. The order is that of [`Kind::NAMES`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Threshold(Box<Threshold>),
    Stale(Box<Threshold>),
    Cooldown(Cooldown),
    RateLimit(Rate),
    Budget(Rate),
    Envelope(Envelope),
    Step(Step),
    ChangeFreeze(Box<Windows>),
    Maintenance(Box<Windows>),
    CostCeiling(Box<Cost>),
    Quota(Box<Quota>),
    Sla(Box<Sla>),
    SloBurn(Box<Slo>),
    BlastRadius(Box<Blast>),
    Confidence(Box<Confidence>),
    Mutex(Mutex),
    Cel(Box<Cel>),
}

impl Kind {
    /// Names in bundles; the index is what [`Kind::read`] takes.
    pub const NAMES: &'static [&'static str] = &[
        "threshold",
        "stale",
        "cooldown",
        "rate_limit",
        "budget",
        "envelope",
        "step_size",
        "change_freeze",
        "maintenance_window",
        "cost_ceiling",
        "quota",
        "sla",
        "slo_burn",
        "blast_radius",
        "confidence",
        "mutex",
        "cel",
    ];

    /// One sentence on each, in the order of [`Kind::NAMES`].
    pub const DOCS: &'static [&'static str] = &[
        "wants an action when a reading has been above or below a limit for a while, and takes it back when the reading has cleared",
        "wants an action when a reading has not come for a while",
        "lets time pass after a completed action before the same one runs again on the same target; doubles after failures",
        "lets at most `limit` actions run in any interval of `window`; further ones are held until the window has slid",
        "lets at most `limit` actions run in any interval of `window`; further ones are denied",
        "keeps the number of an action (watts, share of a core) within a range, besides that of the device and its firmware profile; clamps what lies outside",
        "keeps one decision from changing a value by more than a step; clamps larger changes",
        "holds changes while a window covers now, or would before they are over; safety reflexes and rollbacks are exempt",
        "holds changes outside the union of all maintenance windows; a change freeze beats it",
        "holds or denies what would take a scope's projected cost above its ceiling; what lowers cost is exempt",
        "denies what would take a scope's use of a resource above what it may have",
        "keeps interruptions within what is left of a promised availability",
        "holds risky changes while an objective burns its error budget too fast, over two windows at once",
        "holds changes that would take down more of a domain than it can bear; sick members count",
        "asks people when a prediction is not sure enough for the risk of the action",
        "never lets two of the selected kinds be under way at once",
        "denies what a condition of your own, in CEL, does not hold for: action.*, labels, facts, readings, ages, resources, now",
    ];

    /// Its name.
    pub fn name(&self) -> &'static str {
        Self::NAMES[self.index()]
    }

    fn index(&self) -> usize {
        match self {
            Self::Threshold(_) => 0,
            Self::Stale(_) => 1,
            Self::Cooldown(_) => 2,
            Self::RateLimit(_) => 3,
            Self::Budget(_) => 4,
            Self::Envelope(_) => 5,
            Self::Step(_) => 6,
            Self::ChangeFreeze(_) => 7,
            Self::Maintenance(_) => 8,
            Self::CostCeiling(_) => 9,
            Self::Quota(_) => 10,
            Self::Sla(_) => 11,
            Self::SloBurn(_) => 12,
            Self::BlastRadius(_) => 13,
            Self::Confidence(_) => 14,
            Self::Mutex(_) => 15,
            Self::Cel(_) => 16,
        }
    }

    /// Whether a rule of this kind selects actions; the others cause them.
    pub fn wants_selector(index: usize) -> bool {
        index > 1
    }

    /// Reads the fields that only this kind has.
    pub fn read(index: usize, fields: &mut Fields<'_>, selector: &Selector) -> Option<Self> {
        match index {
            0 => Threshold::read(fields).map(Box::new).map(Self::Threshold),
            1 => Threshold::read_stale(fields).map(Box::new).map(Self::Stale),
            2 => Some(Self::Cooldown(Cooldown::read(fields))),
            3 => Some(Self::RateLimit(Rate::read(fields))),
            4 => Some(Self::Budget(Rate::read(fields))),
            5 => Envelope::read(fields, selector).map(Self::Envelope),
            6 => Step::read(fields, selector).map(Self::Step),
            7 => Windows::read(fields, true).map(Box::new).map(Self::ChangeFreeze),
            8 => Windows::read(fields, false).map(Box::new).map(Self::Maintenance),
            9 => Cost::read(fields).map(Box::new).map(Self::CostCeiling),
            10 => Quota::read(fields).map(Box::new).map(Self::Quota),
            11 => Sla::read(fields).map(Box::new).map(Self::Sla),
            12 => Slo::read(fields).map(Box::new).map(Self::SloBurn),
            13 => Blast::read(fields).map(Box::new).map(Self::BlastRadius),
            14 => Confidence::read(fields).map(Box::new).map(Self::Confidence),
            15 => Some(Self::Mutex(Mutex::read(fields, selector.kind_bits()))),
            _ => Cel::read(fields).map(Box::new).map(Self::Cel),
        }
    }

    /// The condition, if this kind causes actions.
    pub fn condition(&self) -> Option<&Threshold> {
        match self {
            Self::Threshold(threshold) | Self::Stale(threshold) => Some(threshold),
            _ => None,
        }
    }

    /// Whether safety reflexes and rollbacks need not ask.
    pub fn exempts_remedies(&self) -> bool {
        matches!(
            self,
            Self::RateLimit(_) | Self::ChangeFreeze(_) | Self::Maintenance(_) | Self::CostCeiling(_)
        )
    }

    /// The names of its numbers, as facts of a decision.
    pub fn numbers(&self) -> &'static [&'static str] {
        match self {
            Self::Threshold(_) | Self::Stale(_) | Self::Envelope(_) | Self::ChangeFreeze(_) | Self::Maintenance(_) => {
                &[]
            }
            Self::Cooldown(_) => &cooldown::NUMBERS,
            Self::RateLimit(rate) | Self::Budget(rate) => rate.numbers(),
            Self::Step(_) => &["present"],
            Self::CostCeiling(_) => &["spent_micros", "committed_micros", "rate_micros_per_h", "lease_micros"],
            Self::Quota(_) => &["used_0", "used_1", "used_2", "used_3"],
            Self::Sla(_) => &["outage_ms", "prevents_loss_ms"],
            Self::SloBurn(_) => &SLO,
            Self::BlastRadius(_) => &BLAST,
            Self::Confidence(_) => &PREDICTION,
            Self::Mutex(_) => &["under_way"],
            Self::Cel(cel) => cel.numbers(),
        }
    }

    /// Whether it cannot be evaluated without its first number.
    pub fn needs_count(&self) -> bool {
        matches!(self, Self::RateLimit(_) | Self::Budget(_) | Self::Mutex(_))
    }

    /// Whether it judges by what a claim is worth, which only whoever grades brains knows.
    pub fn is_about_claims(&self) -> bool {
        matches!(self, Self::Confidence(_))
    }

    /// Whether its numbers are known only where the action would run.
    pub fn needs_world(&self) -> bool {
        match self {
            Self::Cel(cel) => cel.needs_world(),
            _ => !self.numbers().is_empty(),
        }
    }

    /// Whether it looks at labels of the target, besides its selector.
    pub fn uses_labels(&self) -> bool {
        match self {
            Self::Cel(cel) => cel.uses_labels(),
            Self::RateLimit(rate) | Self::Budget(rate) => rate.uses_labels(),
            _ => false,
        }
    }

    /// Whether a meter tells what it asks for.
    pub fn is_metered(&self) -> bool {
        matches!(self, Self::CostCeiling(cost) if cost.is_metered())
    }

    /// Whether it looks at what an action changes of the power that devices may draw.
    pub fn uses_power(&self) -> bool {
        match self {
            Self::CostCeiling(_) => self.is_metered(),
            Self::Quota(quota) => quota.is_about_power(),
            Self::Cel(cel) => cel.uses_resources(),
            _ => false,
        }
    }

    /// Whether it is a maintenance window.
    pub fn is_maintenance(&self) -> bool {
        matches!(self, Self::Maintenance(_))
    }

    /// Says from when on and until when its rule counts.
    pub fn set_counts(&mut self, from: i64, until: i64) {
        let is_freeze = self.is_freeze();
        if let Self::ChangeFreeze(windows) | Self::Maintenance(windows) = self {
            windows.set_counts(from, until, is_freeze);
        }
    }

    /// Its windows, if it is about times.
    pub fn windows(&self) -> Option<&Windows> {
        match self {
            Self::ChangeFreeze(windows) | Self::Maintenance(windows) => Some(windows),
            _ => None,
        }
    }

    /// Whether it is a change freeze.
    pub fn is_freeze(&self) -> bool {
        matches!(self, Self::ChangeFreeze(_))
    }

    /// Whether the error of the wall clock changes what it says.
    pub fn uses_clock_error(&self) -> bool {
        matches!(self, Self::ChangeFreeze(_) | Self::Maintenance(_))
    }

    /// If it is a freeze that is not active: how long it is certain that it stays so, if that is less than `far_ms`.
    pub fn quiet_for(&self, asked: &Asked<'_>, far_ms: i64) -> Option<u64> {
        match self {
            Self::ChangeFreeze(windows) => windows.quiet_for(asked, far_ms),
            _ => None,
        }
    }

    /// If it is a freeze: a stretch of time from `at` on in which it is not active.
    pub fn quiet_from(&self, at: i64) -> Option<(i64, i64)> {
        match self {
            Self::ChangeFreeze(windows) => windows.quiet_from(at),
            _ => None,
        }
    }

    /// Whether its ledger says without a look at what is asked that it will pass.
    pub fn is_idle(&self, counters: &Counters) -> bool {
        match self {
            Self::RateLimit(rate) | Self::Budget(rate) => rate.is_idle(counters),
            Self::Cooldown(_) => counters.is_empty(),
            _ => false,
        }
    }

    /// Whether its numbers are observed ones, which depend on nothing that is asked.
    pub fn is_looked_up(&self) -> bool {
        matches!(
            self,
            Self::CostCeiling(_)
                | Self::Quota(_)
                | Self::Sla(_)
                | Self::SloBurn(_)
                | Self::BlastRadius(_)
                | Self::Confidence(_)
                | Self::Cel(_)
        )
    }

    /// The full name of its n-th observed number, if it has so many.
    pub fn observed_name(&self, index: usize) -> Option<&str> {
        let names = match self {
            Self::CostCeiling(cost) => cost.names(),
            Self::Quota(quota) => return quota.name(index),
            Self::Sla(sla) => sla.names(),
            Self::SloBurn(slo) => slo.names(),
            Self::BlastRadius(blast) => blast.names(),
            Self::Confidence(confidence) => confidence.names(),
            Self::Cel(cel) => return cel.name(index),
            _ => return None,
        };
        names.get(index).map(String::as_str)
    }

    /// Takes the numbers that were observed, each by its name.
    pub fn look_up(&self, known: &Known) -> Numbers {
        let mut numbers = Numbers::default();
        for index in 0..MAX_NUMBERS {
            let Some(name) = self.observed_name(index) else { break };
            numbers.set(index, known.get(name));
        }
        numbers
    }

    /// Whether it can object to actions of this kind at all, whatever the numbers and the selector.
    pub fn can_object(&self, info: &KindInfo) -> bool {
        match self {
            Self::BlastRadius(_) => info.class != RiskClass::Safety,
            Self::Sla(_) => info.disruptive && !info.is_remedy(),
            Self::SloBurn(slo) => slo.can_object(info.class) && !info.is_remedy(),
            Self::Confidence(_) => info.class != RiskClass::Safety,
            _ => true,
        }
    }

    /// Whether it can object to an action of this kind that is not the way back from one.
    pub fn can_hold_back(&self, info: &KindInfo) -> bool {
        self.can_object(info) && !(self.exempts_remedies() && info.is_remedy())
    }

    /// Takes its numbers.
    pub fn gather(&self, counters: &Counters, world: &World<'_>, asked: &Asked<'_>) -> Numbers {
        match self {
            Self::Cooldown(cooldown) => cooldown.gather(counters, asked),
            Self::RateLimit(rate) | Self::Budget(rate) => rate.gather(counters, world.turn, asked),
            Self::Step(_) => Numbers::of([world.present]),
            Self::Mutex(mutex) => mutex.gather(world, asked),
            Self::Cel(cel) => cel.gather(world),
            Self::Sla(sla) => {
                let mut numbers = self.look_up(world.known);
                sla.recall(world, asked, &mut numbers);
                numbers
            }
            Self::CostCeiling(cost) => {
                let mut numbers = self.look_up(world.known);
                cost.recall(world, asked, &mut numbers);
                numbers
            }
            Self::Quota(quota) => {
                let mut numbers = self.look_up(world.known);
                quota.observe(world, &mut numbers);
                quota.recall(counters, asked, &mut numbers);
                numbers
            }
            _ => {
                let mut numbers = self.look_up(world.known);
                self.recall(counters, asked, &mut numbers);
                if let Self::BlastRadius(blast) = self {
                    blast.hear(world.turn, &mut numbers);
                }
                numbers
            }
        }
    }

    /// Whether nodes of a hub need a turn to do what it selects.
    pub fn needs_turn(&self) -> bool {
        match self {
            Self::BlastRadius(_) => true,
            Self::RateLimit(rate) | Self::Budget(rate) => rate.scope().is_some(),
            _ => false,
        }
    }

    /// Adds to numbers that were observed what the ledger knows besides.
    pub fn recall(&self, counters: &Counters, asked: &Asked<'_>, numbers: &mut Numbers) {
        match self {
            Self::Quota(quota) => quota.recall(counters, asked, numbers),
            Self::BlastRadius(blast) => blast.recall(counters, asked, numbers),
            Self::SloBurn(slo) => slo.recall(counters, numbers),
            _ => {}
        }
    }

    /// Whether it must be told how time passes.
    pub fn watches_time(&self) -> bool {
        matches!(self, Self::BlastRadius(_) | Self::SloBurn(_))
    }

    /// Lets time pass, for breakers and for alarms that clear only after a calm while.
    pub fn observe(&self, counters: &mut Counters, numbers: &Numbers, now: wire::Mono) {
        match self {
            Self::BlastRadius(blast) => blast.observe(counters, numbers, now),
            Self::SloBurn(slo) => slo.observe(counters, numbers, now),
            _ => {}
        }
    }

    /// Compares. `opening` is what all maintenance windows say together.
    pub fn assess(&self, asked: &Asked<'_>, numbers: &Numbers, opening: &Opening, push: &mut impl FnMut(Finding)) {
        match self {
            // A condition is judged where its readings are, in `judge.rs`.
            Self::Threshold(_) | Self::Stale(_) => {}
            Self::Cooldown(cooldown) => cooldown.assess(asked, numbers, push),
            Self::RateLimit(rate) => rate.assess(asked, wire::Verdict::Hold, numbers, push),
            Self::Budget(rate) => rate.assess(asked, wire::Verdict::Deny, numbers, push),
            Self::Envelope(envelope) => envelope.assess(asked, push),
            Self::Step(step) => step.assess(asked, numbers, push),
            Self::ChangeFreeze(windows) => windows.assess_freeze(asked, push),
            Self::Maintenance(windows) => windows.assess_maintenance(asked, opening, push),
            Self::CostCeiling(cost) => cost.assess(asked, numbers, push),
            Self::Quota(quota) => quota.assess(asked, numbers, push),
            Self::Sla(sla) => sla.assess(asked, numbers, push),
            Self::SloBurn(slo) => slo.assess(asked, numbers, push),
            Self::BlastRadius(blast) => blast.assess(asked, numbers, push),
            Self::Confidence(confidence) => confidence.assess(asked, numbers, push),
            Self::Mutex(mutex) => mutex.assess(numbers, push),
            Self::Cel(cel) => cel.assess(asked, numbers, push),
        }
    }

    /// Writes into the ledger that an action runs.
    pub fn debit(&self, counters: &mut Counters, asked: &Asked<'_>) {
        match self {
            Self::RateLimit(rate) | Self::Budget(rate) => rate.debit(counters, asked),
            Self::Quota(quota) => quota.debit(counters, asked),
            Self::BlastRadius(blast) => blast.debit(counters, asked),
            _ => {}
        }
    }

    /// Writes into the ledger that it held an action back; `true` if that was once too often.
    pub fn suppressed(&self, counters: &mut Counters, asked: &Asked<'_>) -> bool {
        match self {
            Self::Cooldown(cooldown) => cooldown.suppressed(counters, asked),
            _ => false,
        }
    }

    /// Writes into the ledger that an action is under way no more, whatever became of it.
    pub fn ended(&self, counters: &mut Counters, target: &str, now: wire::Mono) {
        if let Self::Quota(quota) = self {
            quota.ended(counters, target, now);
        }
    }

    /// Writes into the ledger that an action was carried out, or failed.
    pub fn finished(&self, counters: &mut Counters, asked: &Asked<'_>, failed: bool) {
        if let Self::Cooldown(cooldown) = self {
            cooldown.finished(counters, asked, failed);
        }
    }

    /// What one of its comparisons compares, for people.
    pub fn what(&self, part: u8, asked: &Asked<'_>) -> String {
        match self {
            Self::Threshold(threshold) | Self::Stale(threshold) => threshold.what(part, asked.target),
            Self::Cooldown(_) if part == rate::KEYS_PART => rate::no_room_text(),
            Self::Cooldown(_) => {
                format!("time since the last {} of {}", asked.info().name, asked.target)
            }
            Self::RateLimit(rate) | Self::Budget(rate) => rate.what(part, asked),
            Self::Envelope(_) => format!("{} of {}", asked.info().name, asked.target),
            Self::Step(_) => format!("change by {} of {}", asked.info().name, asked.target),
            Self::ChangeFreeze(windows) => windows.what(part, true),
            Self::Maintenance(windows) => windows.what(part, false),
            Self::CostCeiling(cost) => cost.what(part),
            Self::Quota(quota) => quota.what(part),
            Self::Sla(sla) => sla.what(part),
            Self::SloBurn(slo) => slo.what(part),
            Self::BlastRadius(blast) => blast.what(part),
            Self::Confidence(confidence) => confidence.what(part),
            Self::Mutex(_) => "actions under way that must not meet this one".to_owned(),
            Self::Cel(cel) => cel.what(part),
        }
    }

    /// One line for people.
    pub fn text(&self, selector: &Selector) -> String {
        let of = match selector.text() {
            text if text.is_empty() => "every action".to_owned(),
            text => text,
        };
        let text = match self {
            Self::Threshold(threshold) | Self::Stale(threshold) => return threshold.text(),
            Self::Cooldown(cooldown) => cooldown.text(),
            Self::RateLimit(rate) | Self::Budget(rate) => rate.text(),
            Self::Envelope(envelope) => envelope.text(),
            Self::Step(step) => step.text(),
            Self::ChangeFreeze(windows) => windows.text(true),
            Self::Maintenance(windows) => windows.text(false),
            Self::CostCeiling(cost) => cost.text(),
            Self::Quota(quota) => quota.text(),
            Self::Sla(sla) => sla.text(),
            Self::SloBurn(slo) => slo.text(),
            Self::BlastRadius(blast) => blast.text(),
            Self::Confidence(confidence) => confidence.text(),
            Self::Mutex(_) => "never two at once".to_owned(),
            Self::Cel(cel) => cel.text(),
        };
        format!("{of}: {text}")
    }
}

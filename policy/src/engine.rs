//! One agent's judge: readings in, wants out, and the ledger of what became of them.
//!
//! Decides when something is wanted. Whether it may run is [`crate::judge()`], which sees only the facts gathered here, so that
//! every decision can be made again from what was journaled.
//!
//! Invariants: a round in which nothing is wanted allocates nothing; a rule has at most one action under way per device; what a
//! rule engaged it takes back at most once; no limit keeps a reflex from what is not in force.
//!
//! Read next: `engine/facts.rs` (what a decision keeps), `engine/power.rs` (what an action changes), `engine/standing.rs` (when a
//! rule wants something), `engine/calm.rs` (what keeps it from flapping), `engine/settle.rs` (what an outcome means), `table.rs` (series), `ledger.rs` (memory), `kind/threshold.rs` (conditions).

mod calm;
mod facts;
mod power;
mod settle;
mod standing;

pub(crate) use facts::{ClockError, labels_in};
pub(crate) use power::{details_in, is_limit};

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wire::decision::{Alternative, Clause, Inputs, Judgement, Observed, Verdict};
use wire::frame::DeviceInfo;
use wire::time::ClockState;
use wire::{
    Action, ActionKind, BundleRef, DecisionId, DeviceId, HubEpoch, Mono, Now, Origin, OutcomeState, Reading, Series,
};

use crate::bundle::Bundle;
use crate::counters::{Counters, NODE};
use crate::flights::{Flights, RuleSet};
use crate::glass::Glass;
use crate::indicator::courses::Courses;
use crate::ledger::{Known, Ledger, Numbers, Standing, Turns};
use crate::meter;
use crate::rule::{Asked, Mode, Rule};
use crate::table::Table;
use calm::is_stand_in;
use settle::{settle, settle_undo};

/// How the message ends that tells of a fault on which waiting does not help.
const STUCK: &str = "the fault is stuck";

fn tells_of_stuck_fault(action: &Action) -> bool {
    matches!(&action.kind, ActionKind::Notify { message } if message.ends_with(STUCK))
}

/// An action whose outcome has not come in this time has been lost.
const LOST_AFTER: Duration = Duration::from_secs(120);
/// First and longest wait after a refusal that names no time.
const REFUSED_MS: (u64, u64) = (10_000, 600_000);
/// The window of the limit on safety reflexes.
pub(crate) const REFLEX_WINDOW_MS: u64 = 3_600_000;
/// How often a reading that does not come is looked at again.
const SILENCE_CHECK: Duration = Duration::from_secs(1);
/// Counters of rules that left the bundle are kept, so that publishing it twice refills no budget.
const MAX_PARKED: usize = 256;

/// An action that somebody wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Want {
    /// Who.
    pub origin: Origin,
    /// What.
    pub action: Action,
    /// The readings that the origin's rule looked at.
    pub readings: Vec<Observed>,
    /// What else the rule could have wanted.
    pub rejected: Vec<Alternative>,
    /// The effect that must be seen after the action; `None` if being applied is all.
    pub verify: Option<Verify>,
}

/// The effect that an action must have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verify {
    /// Where it is seen.
    pub series: Series,
    /// It is seen once a reading is below this, in the quantity's unit.
    pub falls_below: i64,
    /// It must be seen within this time after the action was applied.
    pub within: Duration,
}

/// What an agent knows of itself when it asks.
#[derive(Debug, Clone, Copy)]
pub struct Situation<'a> {
    /// When.
    pub now: Now,
    /// How old the proof of the bundle's freshness is, in milliseconds.
    pub policy_age_ms: u64,
    /// Whether a session with a hub is up.
    pub connected: bool,
    /// What it believes of its wall clock.
    pub clock: ClockState,
    /// By how much that clock may be off, in milliseconds; `None`: it was compared with no hub since the start.
    pub clock_error_ms: Option<u64>,
    /// Whether the journal accepts entries.
    pub journal_ok: bool,
    /// The person who holds the node.
    pub held_by: Option<&'a str>,
    /// The highest hub epoch seen.
    pub hub_epoch: HubEpoch,
}

/// Engine, guard and ledger of one agent.
#[derive(Debug, Clone)]
pub struct Judge {
    bundle: Arc<Bundle>,
    reference: BundleRef,
    table: Table,
    /// Counters, one per rule of the bundle.
    counters: Vec<Counters>,
    /// Counters of rules that are not in this bundle.
    parked: Vec<(String, Counters)>,
    reflexes: Counters,
    flights: Flights,
    /// Standings of rules and devices whose series has not been reported yet, or whose rule is gone.
    stored: Vec<(String, DeviceId, Standing)>,
    ranges: Vec<(DeviceId, (u32, u32))>,
    pub(crate) known: Known,
    /// What is known of the numbers of each rule that watches them, in the order of the bundle's watchers, and as of which change.
    looked_up: Vec<Numbers>,
    looked_up_at: Option<u64>,
    turns: Turns,
    /// What was seen of the bundle's indicators.
    pub(crate) courses: Courses,
    /// What the bundle's meters metered.
    pub(crate) metered: meter::courses::Courses,
    /// Labels of a device, or of the whole node: which, name, value.
    labels: Vec<(Option<DeviceId>, String, String)>,
    /// The latest break-glass token, open or over.
    glass: Option<Glass>,
    /// When the first readings came, for devices that never report.
    started: Option<Mono>,
    /// When to look for readings that did not come; `None` if no rule asks.
    next_silence: Option<Mono>,
    /// Rules that left the bundle and have something to take back.
    orphans: bool,
    /// People are to be told that waiting does not help.
    stuck: Vec<Want>,
    /// Who ordered the last change of a device besides rules.
    ordered: Vec<(DeviceId, String)>,
}

impl Judge {
    /// A judge that remembers nothing.
    pub fn new(bundle: Arc<Bundle>, reference: BundleRef) -> Self {
        let mut judge = Self {
            counters: vec![Counters::default(); bundle.rules.len()],
            courses: Courses::of(&bundle.indicators, Vec::new()),
            metered: meter::courses::Courses::of(&bundle.meters, Vec::new()),
            bundle,
            reference,
            table: Table::default(),
            parked: Vec::new(),
            reflexes: Counters::default(),
            flights: Flights::default(),
            stored: Vec::new(),
            ranges: Vec::new(),
            known: Known::default(),
            looked_up: Vec::new(),
            looked_up_at: None,
            turns: Turns::Nobody,
            labels: Vec::new(),
            glass: None,
            started: None,
            next_silence: None,
            orphans: false,
            stuck: Vec::new(),
            ordered: Vec::new(),
        };
        judge.watch_named_devices();
        judge
    }

    /// Judges by another bundle from now on. Budgets, cooldowns and what is engaged stay, and so does what was seen of indicators and
    /// meters that count the same; what the new bundle no longer has a rule for is taken back.
    pub fn replace_bundle(&mut self, bundle: Arc<Bundle>, reference: BundleRef) {
        let ledger = self.ledger();
        let table = std::mem::take(&mut self.table);
        self.counters = vec![Counters::default(); bundle.rules.len()];
        for name in self.bundle.indicators.iter().flat_map(|indicator| indicator.names()) {
            self.known.set(name, None);
        }
        self.bundle = bundle;
        self.reference = reference;
        self.looked_up_at = None;
        self.adopt(ledger);
        self.courses.tell(&self.bundle.indicators, &mut self.known);
        for slot in table.slots {
            let index = self.table.add(&slot.series, &self.bundle, &mut self.stored);
            self.table.slots[index].last = slot.last;
        }
        for instance in &mut self.table.instances {
            // What was refused under the old rules may be allowed under the new ones.
            instance.standing.blocked_until = Mono(0);
            instance.standing.refusals = 0;
            instance.standing.alternative = 0;
            instance.standing.since = None;
        }
        self.watch_named_devices();
        self.next_silence = self.started.filter(|_| self.next_silence.is_some());
        self.find_orphans();
    }

    /// The bundle that it judges by.
    pub fn bundle(&self) -> &Arc<Bundle> {
        &self.bundle
    }

    /// The bundle's number and digest.
    pub fn reference(&self) -> BundleRef {
        self.reference
    }

    /// Takes note of what the node consists of now: what is not among it has no range any more.
    pub fn set_devices(&mut self, devices: &[DeviceInfo]) {
        self.ranges.clear();
        for device in devices {
            self.set_device(device);
        }
    }

    /// Takes note of what a device says of itself.
    pub fn set_device(&mut self, info: &DeviceInfo) {
        self.ranges.retain(|(device, _)| *device != info.id);
        if let Some(range) = info.power_cap_range_mw {
            self.ranges.push((info.id.clone(), range));
        }
    }

    /// Asks again at the next round for everything that was refused: a hold was released, the journal is back.
    pub fn reconsider(&mut self) {
        for instance in &mut self.table.instances {
            instance.standing.blocked_until = Mono(0);
            instance.standing.refusals = 0;
        }
    }

    /// Takes one round of readings and pushes what rules want of it.
    ///
    /// Pushed are rules whose condition newly holds for its hold time, still holds after an attempt has ended, or has cleared.
    pub fn observe(&mut self, readings: &[Reading], now: Mono, wants: &mut Vec<Want>) {
        if self.started.is_none() {
            self.started = Some(now);
            self.next_silence = self.next_silence.map(|_| now);
        }
        self.look_at_effects(readings, now);
        self.courses.begin(now);
        self.metered.begin(now);
        for (position, reading) in readings.iter().enumerate() {
            let Some(slot) = self
                .table
                .slot(position, &reading.series, &self.bundle, &mut self.stored)
            else {
                continue;
            };
            let Some(value) = reading.value else { continue };
            let before = self.table.slots[slot].last.replace((value, now));
            let (indicators, meters) = (self.table.slots[slot].indicators, self.table.slots[slot].meters);
            self.courses.take(&self.bundle.indicators, indicators, value);
            self.metered
                .take(&self.bundle.meters, meters, &reading.series.device, value);
            for index in self.table.slots[slot].instances() {
                self.step(index, value, before, now, wants);
            }
        }
        let bundle = &self.bundle;
        self.courses.end(&bundle.indicators, &self.table, &mut self.known, now);
        if self.looked_up_at != Some(self.known.changes()) {
            let watchers = bundle.watchers.iter();
            let numbers = watchers.map(|place| bundle.rules[usize::from(*place)].kind.look_up(&self.known));
            self.looked_up.clear();
            self.looked_up.extend(numbers);
            self.looked_up_at = Some(self.known.changes());
        }
        for (place, numbers) in bundle.watchers.iter().zip(&self.looked_up) {
            let place = usize::from(*place);
            let kind = &bundle.rules[place].kind;
            kind.observe(&mut self.counters[place], numbers, now);
        }
        if !self.stuck.is_empty() {
            wants.append(&mut self.stuck);
        }
        if self.next_silence.is_some_and(|at| now >= at) {
            self.look_for_silence(now, wants);
        }
        if self.orphans {
            self.take_back_orphans(now, wants);
        }
    }

    /// Nobody saw the readings until now: nothing was missing meanwhile, and what had held begins anew.
    pub(crate) fn unseen_until(&mut self, now: Mono) {
        self.started = self.started.map(|_| now);
        for slot in &mut self.table.slots {
            slot.last = slot.last.map(|(value, _)| (value, now));
        }
        for instance in &mut self.table.instances {
            instance.standing.since = None;
            instance.standing.clear_since = None;
        }
    }

    /// How long until [`Judge::observe`] should be called even without readings.
    pub fn poll_timeout(&self, now: Mono) -> Option<Duration> {
        self.started?;
        let due = self.courses.due(&self.bundle.indicators);
        let next = self.next_silence.into_iter().chain(due).min();
        next.map(|at| at.since(now))
    }

    /// Gathers everything that a judgement of `want` depends on.
    pub fn inputs(&self, want: &Want, situation: &Situation<'_>) -> Inputs {
        let labels = self.labels_of(&want.action.target);
        let asked = Asked {
            labels: &labels,
            clock_wrong: situation.clock == ClockState::BehindFloor,
            ..Asked::of(&want.action, &want.origin, situation.now)
        };
        let mut facts = self.facts(&asked, &want.action, situation.clock_error_ms);
        self.calm_facts(want, &asked, &mut facts);
        Inputs {
            at: situation.now,
            origin: want.origin.clone(),
            wanted: want.action.clone(),
            bundle: self.reference,
            policy_age_ms: situation.policy_age_ms,
            connected: situation.connected,
            clock: situation.clock,
            journal_ok: situation.journal_ok,
            held_by: situation.held_by.map(str::to_owned),
            hub_epoch: situation.hub_epoch,
            readings: want.readings.clone(),
            facts,
        }
    }

    /// The verdict runs: debits budgets and notes that the action is under way. Call it before the decision is journaled.
    pub fn granted(&mut self, inputs: &Inputs, judgement: &Judgement, _decision: &DecisionId) {
        let Some(action) = &judgement.granted else {
            return;
        };
        let labels = labels_in(&inputs.facts);
        let details = details_in(&inputs.facts, action);
        let asked = Asked {
            labels: &labels,
            details: &details,
            ..Asked::of(action, &inputs.origin, inputs.at)
        };
        let mut counted_by = RuleSet::ALL;
        for (place, (rule, counters)) in self.bundle.rules.iter().zip(&mut self.counters).enumerate() {
            if !would_pass(rule, judgement) {
                counted_by.remove(place);
            } else if rule.applies(&asked) {
                rule.kind.debit(counters, &asked);
            }
        }
        if asked.is_reflex() {
            self.reflexes
                .debit(NODE, asked.now.mono, REFLEX_WINDOW_MS, self.bundle.reflexes_per_hour);
        }
        let now = inputs.at.mono;
        self.flights.expire(now);
        self.flights
            .start(action.target.as_str(), asked.kind, now + LOST_AFTER, counted_by);
        if tells_of_stuck_fault(action) {
            // Beside the rule's own action, which still waits.
            return;
        }
        let device = inputs.readings.first().map(|seen| seen.series.device.clone());
        if let Some((_, standing)) = self.standing_of(inputs, device.as_ref()) {
            standing.acting = Some((action.clone(), now + LOST_AFTER));
            calm::granted(standing, action);
        }
    }

    /// The verdict does not run: the same want is not pushed again before its time, and then as the rule's next alternative if
    /// there is one.
    pub fn denied(&mut self, inputs: &Inputs, judgement: &Judgement) {
        if tells_of_stuck_fault(&inputs.wanted) {
            return;
        }
        self.count_suppressed(inputs, judgement);
        let now = inputs.at.mono;
        let device = inputs.readings.first().map(|seen| seen.series.device.clone());
        let Some((rule, standing)) = self.standing_of(inputs, device.as_ref()) else {
            return;
        };
        let condition = rule.as_ref().and_then(|rule| rule.kind.condition());
        if condition.is_some_and(|condition| is_stand_in(condition, standing, &inputs.wanted)) {
            let again = condition.map_or(0, |condition| condition.again_after_ms);
            (standing.calm.tell, standing.calm.told_until) = (None, now + Duration::from_millis(again));
            return;
        }
        if matches!(inputs.origin, Origin::Rule { .. }) {
            standing.calm.refused_by = Some(judgement.rule.clone());
        }
        let alternatives = condition.map_or(0, |condition| condition.then.len());
        let next = usize::from(standing.alternative) + 1;
        if rule.as_ref().is_some_and(|rule| rule.mode == Mode::Shadow) {
            // Tried out: one record of what it would have done, until it clears.
            standing.again_at = now + Duration::from_millis(condition.map_or(0, |c| c.again_after_ms));
            standing.refusals = 1;
        } else if judgement.verdict == Verdict::Hold && judgement.retry_after_ms.is_some() {
            let wait = judgement.retry_after_ms.unwrap_or(REFUSED_MS.0);
            standing.blocked_until = now + Duration::from_millis(wait);
            calm::held_back(condition, standing, inputs, wait, now);
        } else if judgement.verdict != Verdict::Hold
            && matches!(inputs.origin, Origin::Rule { .. })
            && next < alternatives
        {
            standing.alternative = u8::try_from(next).unwrap_or(0);
        } else {
            let doubled = REFUSED_MS.0 << standing.refusals.min(10);
            let wait = judgement.retry_after_ms.unwrap_or(0).max(doubled.min(REFUSED_MS.1));
            standing.blocked_until = now + Duration::from_millis(wait);
            standing.refusals = standing.refusals.saturating_add(1);
            standing.alternative = 0;
            if judgement.verdict == Verdict::Hold {
                calm::held_back(condition, standing, inputs, wait, now);
            }
        }
    }

    /// Counts what a cooldown held back. Once too often is told to people: the fault is stuck, and waiting does not help.
    fn count_suppressed(&mut self, inputs: &Inputs, judgement: &Judgement) {
        let Origin::Rule { rule: wanted_by } = &inputs.origin else {
            return;
        };
        let asked = Asked::of(&inputs.wanted, &inputs.origin, inputs.at);
        for (rule, counters) in self.bundle.rules.iter().zip(&mut self.counters) {
            let holds_back = |clause: &Clause| clause.rule == rule.id && !clause.holds && !clause.shadow;
            if !judgement.clauses.iter().any(holds_back) || !rule.kind.suppressed(counters, &asked) {
                continue;
            }
            let message = format!(
                "{} of {} is wanted by {wanted_by} again and again, and held back by {}: {STUCK}",
                asked.info().name,
                asked.target,
                rule.id
            );
            self.stuck.push(Want {
                origin: inputs.origin.clone(),
                action: Action {
                    target: inputs.wanted.target.clone(),
                    kind: ActionKind::Notify { message },
                },
                readings: inputs.readings.clone(),
                rejected: Vec::new(),
                verify: None,
            });
        }
    }

    /// An outcome of a granted action came. Cooldowns count from here; the rule may try again, the next alternative if this one
    /// did not help.
    pub fn finished(&mut self, action: &Action, origin: &Origin, state: OutcomeState, now: Mono) {
        let kind = crate::actions::wire_index(&action.kind);
        let counted_by = self.flights.end(action.target.as_str(), kind);
        for (rule, counters) in self.bundle.rules.iter().zip(&mut self.counters) {
            rule.kind.ended(counters, action.target.as_str(), now);
        }
        let failed = match state {
            OutcomeState::Applied | OutcomeState::Verified => false,
            OutcomeState::NotVerified | OutcomeState::Failed | OutcomeState::Unknown => true,
            OutcomeState::Dropped => {
                self.with_acting(origin, action, |_, standing| standing.acting = None);
                return;
            }
        };
        let at = Now {
            mono: now,
            ..Now::default()
        };
        let labels = self.labels_of(&action.target);
        let asked = Asked {
            labels: &labels,
            ..Asked::of(action, origin, at)
        };
        let counted_by = counted_by.unwrap_or(RuleSet::ALL);
        for (place, (rule, counters)) in self.bundle.rules.iter().zip(&mut self.counters).enumerate() {
            if rule.mode != Mode::Off && rule.selector.matches(&asked) && counted_by.has(place) {
                rule.kind.finished(counters, &asked, failed);
            }
        }
        self.note_order(action, origin, failed);
        match origin {
            Origin::Rule { .. } => self.with_acting(origin, action, |rule, standing| {
                settle(rule, standing, action, state, now);
            }),
            Origin::Cleared { .. } => {
                self.with_acting(origin, action, |_, standing| settle_undo(standing, failed, now));
                self.find_orphans();
            }
            Origin::Command { .. } | Origin::Local { .. } | Origin::Plan { .. } | Origin::Fault { .. } => {}
        }
    }

    /// Everything that is remembered, to be stored with the next batch of entries.
    pub fn ledger(&self) -> Ledger {
        let rules = self.bundle.rules.iter().zip(&self.counters);
        let own = rules
            .filter(|(_, c)| !c.is_empty())
            .map(|(rule, c)| (rule.id.clone(), c.clone()));
        let standings = self
            .table
            .instances
            .iter()
            .filter(|i| !i.standing.is_forgotten())
            .map(|i| {
                let device = self.table.slots[i.slot].series.device.clone();
                (self.bundle.rules[i.rule].id.clone(), device, i.standing.clone())
            });
        Ledger {
            rules: own.chain(self.parked.iter().cloned()).collect(),
            reflexes: self.reflexes.clone(),
            flights: self.flights.clone(),
            standings: standings.chain(self.stored.iter().cloned()).collect(),
            glass: self.glass.clone(),
            indicators: self.courses.kept(&self.bundle.indicators),
            meters: self.metered.kept(&self.bundle.meters),
        }
    }

    /// Takes up a ledger that was stored before.
    pub fn restore(&mut self, ledger: Ledger) {
        self.counters = vec![Counters::default(); self.bundle.rules.len()];
        for instance in &mut self.table.instances {
            instance.standing = Standing::default();
        }
        self.adopt(ledger);
        for instance in &mut self.table.instances {
            let device = &self.table.slots[instance.slot].series.device;
            let id = &self.bundle.rules[instance.rule].id;
            if let Some(index) = self.stored.iter().position(|(rule, on, _)| rule == id && on == device) {
                instance.standing = self.stored.swap_remove(index).2;
            }
        }
        self.find_orphans();
    }

    fn adopt(&mut self, ledger: Ledger) {
        let ledger = ledger.sound();
        self.parked.clear();
        for (id, counters) in ledger.rules {
            match self.bundle.rules.iter().position(|rule| rule.id == id) {
                Some(index) => self.counters[index] = counters,
                None if self.parked.len() < MAX_PARKED => self.parked.push((id, counters)),
                None => {}
            }
        }
        self.reflexes = ledger.reflexes;
        self.flights = ledger.flights;
        self.stored = ledger.standings;
        self.glass = ledger.glass;
        self.courses = Courses::of(&self.bundle.indicators, ledger.indicators);
        self.metered = meter::courses::Courses::of(&self.bundle.meters, ledger.meters);
    }

    /// Series that rules name in full are watched from the start, so that one which never reports is missed.
    fn watch_named_devices(&mut self) {
        let bundle = self.bundle.clone();
        let mut silence = false;
        for rule in bundle.rules.iter().filter(|rule| rule.mode != Mode::Off) {
            let Some(condition) = rule.kind.condition().filter(|c| c.watches_silence()) else {
                continue;
            };
            silence = true;
            let is_class = !condition.device.contains(|c: char| c == ':' || c.is_ascii_digit());
            if let Ok(device) = DeviceId::new(condition.device.clone())
                && (!is_class || condition.device == "node")
            {
                let series = Series::new(device, condition.quantity);
                self.table.add(&series, &bundle, &mut self.stored);
            }
        }
        self.next_silence = silence.then(|| self.started.unwrap_or(Mono(0)));
    }
}

/// A shadow rule's counters follow the world in which it counts: only what it would have let run is debited, and its end counted.
fn would_pass(rule: &Rule, judgement: &Judgement) -> bool {
    rule.mode != Mode::Shadow
        || judgement
            .clauses
            .iter()
            .all(|clause| clause.rule != rule.id || clause.verdict.runs())
}

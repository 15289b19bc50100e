//! Decides actions of any kind in a stream: what `sentinel policy decide` runs, and the fast way to ask what a bundle would say.
//!
//! One [`Decider`] carries the rules' state forward from question to question. The evaluation is that of `walk.rs`, as for an agent's
//! decision; here nothing is journaled and an action is taken as carried out as soon as it may run.
//!
//! Invariants: asking allocates nothing ([`Decider::ask`]); only what runs is counted; a shadow rule counts what it would have
//! let run. Read next: `jsonl.rs` (lines in, lines out).

use std::collections::BTreeMap;
use std::sync::Arc;

use wire::Now;
use wire::decision::Verdict;
use wire::reading::Unit;

use crate::actions::{KINDS, undone_by};
use crate::bundle::Bundle;
use crate::counters::{Counters, NODE};
use crate::engine::REFLEX_WINDOW_MS;
use crate::flights::{Flights, RuleSet};
use crate::glass::Glass;
use crate::ledger::{Known, Numbers, TurnOf, World};
use crate::rule::{Asked, Details, Finding, Mode, Rule, Source};
use crate::walk::{AUTHORITY, Case, Facts, PERMITS, REFLEXES, Tally, Who};

/// Who asks for what, of a [`Decider`].
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// Index into [`KINDS`].
    pub kind: usize,
    /// `reflex`, `brain`, `human`, `hub`, `autoscaler` or `local`, by index of that order.
    pub source: usize,
    /// The device or resource.
    pub target: &'a str,
    /// The number of the action, such as milliwatts, with its unit.
    pub amount: Option<(i64, Unit)>,
    /// When.
    pub now: Now,
}

/// What is said of a change before it begins, by whoever has looked at what it changes, never by who asks.
#[derive(Debug, Clone, Copy, Default)]
pub struct Stated<'a> {
    /// Labels of the target, for selectors and conditions.
    pub labels: &'a [(String, String)],
    /// By how much the cost per hour changes, in millionths of a unit of money; `None` if nobody knows.
    pub cost_delta_micros_per_h: Option<i64>,
    /// By how much each resource's use changes; `None` if nobody knows. One that is not in the list does not change.
    pub resources: &'a [(String, Option<i64>)],
}

/// A short answer: what runs, and who says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// The worst verdict of all enforcing rules.
    pub verdict: Verdict,
    /// Index of the rule in the bundle that gave it; `None` when all allow, or a built-in check gave it.
    pub rule: Option<u16>,
    /// What that comparison saw, and against what limit.
    pub observed: Option<i64>,
    /// The limit.
    pub limit: Option<i64>,
    /// How long until it is worth asking again.
    pub retry_after_ms: Option<u64>,
    /// For a clamp, the number that may run.
    pub clamp: Option<i64>,
}

/// Most devices of which is remembered that a reflex of theirs is in force.
const MAX_ENGAGED: usize = 131_072;

/// No stretch of time.
const NEVER: (i64, i64) = (i64::MAX, i64::MIN);

/// A rule that can apply to a kind of action, with what is cheap to check first.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    pub index: u16,
    sources: u8,
    /// Nothing but kind, class and source decides whether it applies.
    is_plain: bool,
}

/// What is tried out, to be taken back.
#[derive(Debug, Clone, Default)]
struct Trial {
    /// What it started, by target and number.
    started: Vec<(Box<str>, u64)>,
    /// What was in force before, by kind and target.
    engaged: Vec<(u8, Box<str>, Option<Option<i64>>)>,
}

/// A bundle with the state that its rules carry from one question to the next.
#[derive(Debug, Clone)]
pub struct Decider {
    pub(crate) bundle: Arc<Bundle>,
    /// Rules that can apply to a kind of action, by kind.
    by_kind: Vec<Vec<Entry>>,
    counters: Vec<Counters>,
    known: Known,
    /// Observed numbers of each rule, looked up by name when they are set and not when they are asked for.
    looked_up: Vec<Numbers>,
    /// Rules whose ledger says that they will pass, whatever is asked.
    idle: Vec<bool>,
    /// Change freezes, and for each rule a stretch of time in which it is known not to be active.
    freezes: Vec<u16>,
    quiet: Vec<(i64, i64)>,
    /// The present value of what is to be changed.
    present: Option<i64>,
    flights: Flights,
    /// Safety reflexes of the last hour, and what of them is in force: kind and target, and the number.
    reflexes: Counters,
    engaged: BTreeMap<u8, BTreeMap<Box<str>, Option<i64>>>,
    /// How to take back what is tried out.
    trial: Option<Trial>,
    /// An open break-glass token.
    pub(crate) glass: Option<Glass>,
    pub(crate) policy_age_ms: u64,
    pub(crate) clock_wrong: bool,
    pub(crate) clock_unknown: bool,
    pub(crate) clock_error_ms: i64,
    /// When the latest line was.
    pub(crate) latest: Option<wire::Wall>,
}

impl Decider {
    /// No state yet.
    pub fn new(bundle: Arc<Bundle>) -> Self {
        let for_kind = |kind: usize| {
            let rules = bundle.rules.iter().enumerate();
            let is_remedy = KINDS[kind].is_remedy();
            let applies = rules.filter(|(_, rule)| {
                let exempt = is_remedy && rule.kind.exempts_remedies();
                let asks = rule.mode != Mode::Off && rule.kind.condition().is_none();
                asks && !exempt && rule.selector.can_match_kind(kind) && rule.kind.can_object(&KINDS[kind])
            });
            applies
                .filter_map(|(index, rule)| {
                    Some(Entry {
                        index: u16::try_from(index).ok()?,
                        sources: rule.selector.source_bits(),
                        is_plain: rule.is_plain(),
                    })
                })
                .collect()
        };
        Self {
            by_kind: (0..KINDS.len()).map(for_kind).collect(),
            counters: vec![Counters::of_a_stream(); bundle.rules.len()],
            looked_up: vec![Numbers::default(); bundle.rules.len()],
            idle: bundle
                .rules
                .iter()
                .map(|rule| rule.kind.is_idle(&Counters::default()))
                .collect(),
            freezes: (0u16..)
                .zip(&bundle.rules)
                .filter(|(_, rule)| rule.kind.is_freeze())
                .map(|(index, _)| index)
                .collect(),
            quiet: vec![NEVER; bundle.rules.len()],
            present: None,
            bundle,
            known: Known::default(),
            flights: Flights::default(),
            reflexes: Counters::default(),
            engaged: BTreeMap::new(),
            trial: None,
            glass: None,
            policy_age_ms: 0,
            clock_wrong: false,
            clock_unknown: false,
            clock_error_ms: 0,
            latest: None,
        }
    }

    /// Sets, or with `None` forgets, an observed number of a scope.
    pub fn set_fact(&mut self, name: &str, value: Option<i64>) {
        self.known.set(name, value);
        self.look_up();
    }

    /// Sets several observed numbers.
    pub fn set_facts(&mut self, facts: &[(&str, Option<i64>)]) {
        for (name, value) in facts {
            self.known.set(name, *value);
        }
        if !facts.is_empty() {
            self.look_up();
        }
    }

    fn look_up(&mut self) {
        self.present = self.known.get("present");
        for (rule, numbers) in self.bundle.rules.iter().zip(&mut self.looked_up) {
            *numbers = rule.kind.look_up(&self.known);
        }
    }

    /// What the bundle says now. Changes nothing and allocates nothing.
    pub fn ask(&self, question: &Question<'_>) -> Answer {
        let asked = self.asked(question);
        self.answer(&asked)
    }

    /// The same for a change of which more is known.
    pub fn ask_about(&self, question: &Question<'_>, stated: &Stated<'_>) -> Answer {
        let details = Details {
            cost_delta_micros_per_h: stated.cost_delta_micros_per_h,
            resources: stated.resources.to_vec(),
            ..Details::default()
        };
        let asked = Asked {
            labels: stated.labels,
            details: &details,
            ..self.asked(question)
        };
        self.answer(&asked)
    }

    /// Lets time pass: for breakers, and for freezes, of which it finds out how long each stays inactive, so that questions need
    /// not look into their calendars.
    pub(crate) fn catch_up(&mut self, now: Now) {
        self.flights.expire(now.mono);
        for index in &self.bundle.watchers {
            let place = usize::from(*index);
            let kind = &self.bundle.rules[place].kind;
            kind.observe(&mut self.counters[place], &self.looked_up[place], now.mono);
        }
        for index in &self.freezes {
            let place = usize::from(*index);
            let (from, until) = self.quiet[place];
            if !(from..until).contains(&now.wall.0) {
                let stretch = self.bundle.rules[place].kind.quiet_from(now.wall.0);
                self.quiet[place] = stretch.unwrap_or(NEVER);
            }
        }
    }

    /// Asks, and if the action runs counts it as carried out.
    pub fn run(&mut self, question: &Question<'_>) -> Answer {
        self.catch_up(question.now);
        let asked = self.asked(question);
        let answer = self.answer(&asked);
        if answer.verdict.runs() {
            self.settle(&asked, true);
        }
        answer
    }

    /// Places of the rules that can say something about such an action.
    pub(crate) fn places(&self, kind: usize) -> impl Iterator<Item = usize> {
        let entries = self.by_kind.get(kind.min(KINDS.len() - 1));
        entries.into_iter().flatten().map(|entry| usize::from(entry.index))
    }

    pub(crate) fn asked<'a>(&self, question: &Question<'a>) -> Asked<'a> {
        Asked {
            kind: question.kind.min(KINDS.len() - 1),
            source: Source::ALL.get(question.source).copied().unwrap_or(Source::Brain),
            target: question.target,
            labels: &[],
            amount: question.amount,
            details: Details::NONE,
            earlier: 0,
            is_undo: false,
            clock_wrong: self.clock_wrong,
            clock_unknown: self.clock_unknown,
            clock_error_ms: self.clock_error_ms,
            now: question.now,
        }
    }

    pub(crate) fn answer(&self, asked: &Asked<'_>) -> Answer {
        self.answer_with(asked, |place| &self.looked_up[place])
    }

    /// The same, with observed numbers from elsewhere, by place of the rule.
    pub(crate) fn answer_with<'n>(&self, asked: &Asked<'_>, observed: impl Fn(usize) -> &'n Numbers) -> Answer {
        let mut tally = Tally::default();
        self.hear_with(&self.bundle, asked, observed, |who, _, finding| {
            tally.count(who, &finding)
        });
        tally.answer(asked.amount)
    }

    /// Every comparison that need not pass, in the order of the bundle, which is this one's own.
    pub(crate) fn hear<'b>(
        &self,
        bundle: &'b Bundle,
        asked: &Asked<'_>,
        sink: impl FnMut(Who<'b>, &Asked<'_>, Finding),
    ) {
        self.hear_with(bundle, asked, |place| &self.looked_up[place], sink);
    }

    fn hear_with<'b, 'n>(
        &self,
        bundle: &'b Bundle,
        asked: &Asked<'_>,
        observed: impl Fn(usize) -> &'n Numbers,
        mut sink: impl FnMut(Who<'b>, &Asked<'_>, Finding),
    ) {
        let case = Case {
            bundle,
            asked: *asked,
            policy_age_ms: self.policy_age_ms,
            is_glass_open: self.glass.as_ref().is_some_and(|glass| glass.covers(asked).is_some()),
        };
        let live = Live {
            decider: self,
            observed,
        };
        let authority = case.authority();
        if !authority.holds {
            sink(Who::Named(AUTHORITY), asked, authority);
        }
        if let Some(finding) = case.permit() {
            sink(Who::Named(PERMITS), asked, finding);
        }
        if let Some(finding) = self.reflexes_of(&case) {
            sink(Who::Named(REFLEXES), asked, finding);
        }
        let source = 1u8 << asked.source as u8;
        // By reference and in one loop: entries that are packed into an iterator's tuple cost more than most rules.
        for entry in &self.by_kind[asked.kind] {
            let place = usize::from(entry.index);
            if entry.sources & source == 0 || self.idle[place] || self.is_quiet(place, asked) {
                continue;
            }
            let rule = &bundle.rules[place];
            if (!entry.is_plain || asked.is_undo) && !rule.applies(asked) {
                continue;
            }
            case.rule((place, rule), asked, &live, &mut |who, asked, finding| {
                if !finding.holds || finding.bounds.is_some() {
                    sink(who, asked, finding);
                }
            });
        }
    }

    /// Whether it is a freeze that is known not to be active while the action and its way back take.
    fn is_quiet(&self, place: usize, asked: &Asked<'_>) -> bool {
        let (from, until) = self.quiet[place];
        let now = asked.now.wall.0;
        let needs = asked.details.needs_ms().unwrap_or(0);
        let error = asked.clock_error_ms;
        from <= now.saturating_sub(error)
            // One that begins exactly so far ahead may have begun.
            && now.saturating_add(error) < until
            && !asked.clock_wrong
            && !asked.clock_unknown
            && needs.saturating_add(error) <= until.saturating_sub(now)
    }

    /// What the limit on safety reflexes says.
    fn reflexes_of(&self, case: &Case<'_, '_>) -> Option<Finding> {
        let asked = &case.asked;
        if !asked.is_reflex() {
            return None;
        }
        let limit = self.bundle.reflexes_per_hour;
        let (count, free_in_ms) = self.reflexes.window(NODE, asked.now.mono, REFLEX_WINDOW_MS, limit);
        let of_kind = self.engaged.get(&(asked.kind as u8));
        let engaged = of_kind.and_then(|engaged| engaged.get(asked.target));
        let is_in_force = engaged.is_some_and(|engaged| match (asked.amount, engaged) {
            (Some((wanted, _)), Some(engaged)) => wanted >= *engaged,
            _ => true,
        });
        case.reflexes(i64::from(count), free_in_ms, is_in_force)
    }

    fn world(&self, now: Now) -> World<'_> {
        World {
            known: &self.known,
            flights: &self.flights,
            present: self.present,
            readings: None,
            indicators: None,
            meters: None,
            power_limits_mw: None,
            turn: TurnOf::NotNeeded,
            now: now.mono,
        }
    }

    /// Counts an action that runs; `ended` says that it is over at once, else it stays under way until [`Decider::end`].
    pub(crate) fn settle(&mut self, asked: &Asked<'_>, ended: bool) {
        let bundle = self.bundle.clone();
        let mut counted_by = RuleSet::ALL;
        self.hear(&bundle, asked, |who, _, finding| {
            if let Who::Rule(place, rule) = who
                && rule.mode == Mode::Shadow
                && !finding.verdict.runs()
            {
                // A shadow rule counts what it would have let run.
                counted_by.remove(place);
            }
        });
        for Entry { index, .. } in &self.by_kind[asked.kind] {
            let place = usize::from(*index);
            let rule = &bundle.rules[place];
            if !rule.selector.matches(asked) {
                counted_by.remove(place);
            } else if counted_by.has(place) && rule.applies(asked) {
                let counters = &mut self.counters[place];
                rule.kind.debit(counters, asked);
                self.idle[place] = rule.kind.is_idle(counters);
            }
        }
        self.note_reflex(asked);
        if ended {
            self.count_end(asked, false, counted_by);
        } else {
            // A lost end blocks no mutex for longer than this.
            const LOST_AFTER: std::time::Duration = std::time::Duration::from_secs(86_400);
            let until = asked.now.mono + LOST_AFTER;
            let number = self.flights.start(asked.target, asked.kind, until, counted_by);
            if let Some(trial) = &mut self.trial {
                trial.started.push((asked.target.into(), number));
            }
        }
    }

    /// Counts a reflex, and notes what is in force because of it, or no more.
    fn note_reflex(&mut self, asked: &Asked<'_>) {
        if let Some(kind) = undone_by(asked.kind) {
            self.engage(kind as u8, asked.target, None);
        }
        if !asked.is_reflex() {
            return;
        }
        let limit = self.bundle.reflexes_per_hour;
        self.reflexes.debit(NODE, asked.now.mono, REFLEX_WINDOW_MS, limit);
        let amount = asked.amount.map(|(value, _)| value);
        self.engage(asked.kind as u8, asked.target, Some(amount));
    }

    fn engage(&mut self, kind: u8, target: &str, amount: Option<Option<i64>>) {
        let of_kind = self.engaged.entry(kind).or_default();
        let before = match amount {
            Some(amount) if of_kind.len() < MAX_ENGAGED => of_kind.insert(target.into(), amount),
            Some(_) => return,
            None => of_kind.remove(target),
        };
        if let Some(trial) = &mut self.trial {
            trial.engaged.push((kind, target.into(), before));
        }
    }

    /// From here on what questions change can be given back.
    pub(crate) fn try_out(&mut self) {
        self.counters.iter_mut().for_each(Counters::try_out);
        self.reflexes.try_out();
        self.trial = Some(Trial::default());
    }

    /// Ends what was tried out: it stays, or everything is as it was before.
    pub(crate) fn end_trial(&mut self, stays: bool) {
        for (place, counters) in self.counters.iter_mut().enumerate() {
            counters.settle(stays);
            self.idle[place] = self.bundle.rules[place].kind.is_idle(counters);
        }
        self.reflexes.settle(stays);
        let Some(trial) = self.trial.take().filter(|_| !stays) else {
            return;
        };
        for (target, number) in trial.started {
            self.flights.take_back(&target, number);
        }
        for (kind, target, before) in trial.engaged.into_iter().rev() {
            self.engage(kind, &target, before);
        }
    }

    /// An action has ended. Who asked for it is known if it was under way; else every rule counts it that may have selected it.
    pub(crate) fn end(&mut self, asked: &Asked<'_>, failed: bool) {
        let counted_by = self.flights.end(asked.target, asked.kind).unwrap_or_else(|| {
            let mut counted_by = RuleSet::ALL;
            for Entry { index, .. } in &self.by_kind[asked.kind] {
                let place = usize::from(*index);
                if !self.bundle.rules[place].selector.may_match(asked) {
                    counted_by.remove(place);
                }
            }
            counted_by
        });
        self.count_end(asked, failed, counted_by);
    }

    fn count_end(&mut self, asked: &Asked<'_>, failed: bool, counted_by: RuleSet) {
        for Entry { index, .. } in &self.by_kind[asked.kind] {
            let place = usize::from(*index);
            if counted_by.has(place) {
                let counters = &mut self.counters[place];
                let kind = &self.bundle.rules[place].kind;
                kind.finished(counters, asked, failed);
                self.idle[place] = kind.is_idle(counters);
            }
        }
    }
}

/// The numbers that a decider has at the moment.
struct Live<'d, O> {
    decider: &'d Decider,
    /// Observed numbers, by place of the rule.
    observed: O,
}

impl<'n, O: Fn(usize) -> &'n Numbers> Facts for Live<'_, O> {
    #[inline]
    fn lend(&self, place: usize, rule: &Rule, asked: &Asked<'_>, to: impl FnOnce(&Numbers)) {
        let decider = self.decider;
        let counters = &decider.counters[place];
        if !rule.kind.is_looked_up() {
            return to(&rule.kind.gather(counters, &decider.world(asked.now), asked));
        }
        let numbers = (self.observed)(place);
        if counters.is_empty() {
            return to(numbers);
        }
        let mut both = *numbers;
        rule.kind.recall(counters, asked, &mut both);
        to(&both);
    }
}

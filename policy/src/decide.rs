//! Decides actions of any kind in a stream: what `sentinel policy decide` runs, and the fast way to ask what a bundle would say.
//!
//! One [`Decider`] carries the rules' state forward from question to question. The comparisons are those of `judge.rs`, made by the
//! same code; here nothing is journaled and an action is taken as carried out as soon as it may run.
//!
//! Invariants: asking allocates nothing ([`Decider::ask`]); only what runs is counted; a shadow rule counts what it would have
//! let run. Read next: `jsonl.rs` (lines in, lines out).

use std::sync::Arc;

use wire::Now;
use wire::decision::Verdict;
use wire::reading::Unit;

use crate::actions::KINDS;
use crate::bundle::Bundle;
use crate::glass::{Glass, lift};
use crate::kind::threshold::as_number;
use crate::ledger::{Counters, Flight, Known, Numbers, TurnOf, World};
use crate::rule::{Asked, Details, Finding, Mode, Rule, Source};

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

/// No stretch of time.
const NEVER: (i64, i64) = (i64::MAX, i64::MIN);

/// A rule that can apply to a kind of action, with what is cheap to check first.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    pub index: u16,
    sources: u8,
    /// Nothing but kind, class and source decides whether it applies.
    is_plain: bool,
    is_shadow: bool,
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
    flights: Vec<Flight>,
    /// An open break-glass token.
    pub(crate) glass: Option<Glass>,
    pub(crate) policy_age_ms: u64,
    pub(crate) clock_wrong: bool,
    pub(crate) clock_unknown: bool,
    pub(crate) clock_error_ms: i64,
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
                        is_shadow: rule.mode == Mode::Shadow,
                    })
                })
                .collect()
        };
        Self {
            by_kind: (0..KINDS.len()).map(for_kind).collect(),
            counters: vec![Counters::default(); bundle.rules.len()],
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
            flights: Vec::new(),
            glass: None,
            policy_age_ms: 0,
            clock_wrong: false,
            clock_unknown: false,
            clock_error_ms: 0,
        }
    }

    /// Sets, or with `None` forgets, an observed number of a scope.
    pub fn set_fact(&mut self, name: &str, value: Option<i64>) {
        self.known.set(name, value);
        self.look_up();
    }

    /// Sets several observed numbers.
    pub(crate) fn set_facts(&mut self, facts: &[(&str, Option<i64>)]) {
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

    /// Lets time pass: for breakers, and for freezes, of which it finds out how long each stays inactive, so that questions need
    /// not look into their calendars.
    pub(crate) fn catch_up(&mut self, now: Now) {
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
        self.settle(&asked, answer.verdict.runs(), true);
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
        let mut answer = Answer {
            verdict: Verdict::Allow,
            rule: None,
            observed: None,
            limit: None,
            retry_after_ms: None,
            clamp: None,
        };
        let mut bounds = (i64::MIN, i64::MAX);
        let mut is_final = false;
        self.hear_with(asked, observed, |rule, finding| {
            if rule.is_some_and(|entry| entry.is_shadow) {
                return;
            }
            if let Some((low, high)) = finding.bounds
                && (finding.holds || finding.verdict != Verdict::Allow)
            {
                bounds = (bounds.0.max(low), bounds.1.min(high));
            }
            if finding.verdict > answer.verdict {
                answer.verdict = finding.verdict;
                answer.rule = rule.map(|entry| entry.index);
                answer.observed = finding.observed;
                answer.limit = finding.limit;
            }
            if !finding.verdict.runs() {
                answer.retry_after_ms = answer.retry_after_ms.max(finding.retry_after_ms);
                is_final |= finding.retry_after_ms.is_none();
            }
        });
        if is_final {
            answer.retry_after_ms = None;
        }
        if answer.verdict == Verdict::Clamp {
            match asked.amount.filter(|_| bounds.0 <= bounds.1) {
                Some((value, _)) => answer.clamp = Some(value.clamp(bounds.0, bounds.1)),
                None => answer.verdict = Verdict::Deny,
            }
        }
        answer
    }

    /// Every comparison that need not pass, in the order of the bundle; built-in ones have no rule.
    pub(crate) fn hear(&self, asked: &Asked<'_>, push: impl FnMut(Option<&Entry>, Finding)) {
        self.hear_with(asked, |place| &self.looked_up[place], push);
    }

    fn hear_with<'n>(
        &self,
        asked: &Asked<'_>,
        observed: impl Fn(usize) -> &'n Numbers,
        mut push: impl FnMut(Option<&Entry>, Finding),
    ) {
        if !self.bundle.permits(asked) {
            let finding = Finding::pass(0, "=", Some(0), Some(1), Unit::Flag);
            push(None, finding.fails(Verdict::Deny, None));
        }
        self.hear_authority(asked, &mut push);
        let world = World {
            known: &self.known,
            flights: &self.flights,
            present: self.present,
            readings: None,
            indicators: None,
            meters: None,
            power_limits_mw: None,
            turn: TurnOf::NotNeeded,
            now: asked.now.mono,
        };
        let open = |mode| {
            let rules = self.by_kind[asked.kind].iter().map(|entry| self.rule(entry));
            let mut open = rules.filter(|rule| rule.mode == mode && rule.kind.is_open_maintenance(asked));
            open.any(|rule| rule.applies(asked))
        };
        let source = 1u8 << asked.source as u8;
        // By reference and in one loop: entries that are packed into an iterator's tuple cost more than most rules.
        for entry in &self.by_kind[asked.kind] {
            let place = usize::from(entry.index);
            if entry.sources & source == 0 || self.idle[place] || self.is_quiet(place, asked) {
                continue;
            }
            let rule = self.rule(entry);
            if (!entry.is_plain || asked.is_undo) && !rule.applies(asked) {
                continue;
            }
            let counted;
            let numbers = if rule.kind.is_looked_up() {
                let numbers = observed(place);
                if self.counters[place].is_empty() {
                    numbers
                } else {
                    let mut both = *numbers;
                    rule.kind.recall(&self.counters[place], asked, &mut both);
                    counted = both;
                    &counted
                }
            } else {
                counted = rule.kind.gather(&self.counters[place], &world, asked);
                &counted
            };
            let open = rule.kind.is_maintenance() && open(rule.mode);
            rule.kind.assess(asked, numbers, open, &mut |finding| {
                if finding.holds && finding.bounds.is_none() {
                    return;
                }
                let weighed = rule.weigh(finding, asked);
                let is_lifted = self.glass.is_some() && self.is_open_for(asked);
                push(
                    Some(entry),
                    if is_lifted {
                        lift(weighed, rule.kind.is_freeze())
                    } else {
                        weighed
                    },
                );
            });
        }
    }

    /// Whether it is a freeze that is known not to be active while the action and its way back take.
    fn is_quiet(&self, place: usize, asked: &Asked<'_>) -> bool {
        let (from, until) = self.quiet[place];
        let now = asked.now.wall.0;
        let needs = asked
            .details
            .lasts_ms
            .map_or(0, |lasts| lasts.saturating_add(asked.details.rollback_ms));
        let error = asked.clock_error_ms;
        from <= now.saturating_sub(error)
            && now < until
            && !asked.clock_wrong
            && !asked.clock_unknown
            && needs.saturating_add(error) <= until.saturating_sub(now)
    }

    /// Whether a break-glass token is open for this action.
    fn is_open_for(&self, asked: &Asked<'_>) -> bool {
        self.glass.as_ref().is_some_and(|glass| glass.covers(asked).is_some())
    }

    fn hear_authority(&self, asked: &Asked<'_>, push: &mut impl FnMut(Option<&Entry>, Finding)) {
        let ladder = &self.bundle.ladder;
        let info = asked.info();
        let limit = if info.protective {
            ladder.protective_for_ms
        } else if info.reversible && !info.disruptive {
            ladder.reversible_for_ms
        } else {
            ladder.full_for_ms
        };
        if self.policy_age_ms >= limit {
            let (age, limit) = (as_number(self.policy_age_ms), as_number(limit));
            let finding = Finding::pass(1, "<", Some(age), Some(limit), Unit::Milliseconds);
            push(None, finding.fails(Verdict::Deny, None));
        }
    }

    fn rule(&self, entry: &Entry) -> &Rule {
        &self.bundle.rules[usize::from(entry.index)]
    }

    /// Counts an action that runs; `ended` says that it is over at once, else it stays under way until [`Decider::end`].
    pub(crate) fn settle(&mut self, asked: &Asked<'_>, runs: bool, ended: bool) {
        if !runs {
            return;
        }
        let bundle = self.bundle.clone();
        let mut shadow_denies = Vec::new();
        self.hear(asked, |rule, finding| {
            let shadow = rule.filter(|entry| entry.is_shadow);
            if !finding.verdict.runs() {
                shadow_denies.extend(shadow.map(|entry| entry.index));
            }
        });
        for Entry { index, .. } in &self.by_kind[asked.kind] {
            let rule = &bundle.rules[usize::from(*index)];
            if rule.applies(asked) && !shadow_denies.contains(index) {
                let counters = &mut self.counters[usize::from(*index)];
                rule.kind.debit(counters, asked);
                self.idle[usize::from(*index)] = rule.kind.is_idle(counters);
            }
        }
        if ended {
            self.end(asked, false);
        } else if let Ok(target) = wire::DeviceId::new(asked.target) {
            // A lost end blocks no mutex for longer than this.
            const LOST_AFTER: std::time::Duration = std::time::Duration::from_secs(86_400);
            let now = asked.now.mono;
            self.flights.retain(|flight| flight.until > now);
            self.flights.push(Flight {
                target,
                kind: asked.kind as u8,
                until: now + LOST_AFTER,
            });
        }
    }

    /// What questions change, to be given back if they should have changed nothing.
    pub(crate) fn state(&self) -> (Vec<Counters>, Vec<Flight>) {
        (self.counters.clone(), self.flights.clone())
    }

    /// Gives back [`Decider::state`].
    pub(crate) fn set_state(&mut self, state: (Vec<Counters>, Vec<Flight>)) {
        (self.counters, self.flights) = state;
        for (index, rule) in self.bundle.rules.iter().enumerate() {
            self.idle[index] = rule.kind.is_idle(&self.counters[index]);
        }
    }

    /// An action has ended.
    pub(crate) fn end(&mut self, asked: &Asked<'_>, failed: bool) {
        self.flights
            .retain(|flight| flight.target.as_str() != asked.target || usize::from(flight.kind) != asked.kind);
        for Entry { index, .. } in &self.by_kind[asked.kind] {
            let rule = &self.bundle.rules[usize::from(*index)];
            if rule.selector.matches(asked) {
                let counters = &mut self.counters[usize::from(*index)];
                rule.kind.finished(counters, asked, failed);
                self.idle[usize::from(*index)] = rule.kind.is_idle(counters);
            }
        }
    }
}

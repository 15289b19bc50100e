//! What a draft would have decided: stored decisions of one node, judged again in their order.
//!
//! The readings of each decision, and the numbers that were observed with it, are those of its day; what rules count (rates,
//! budgets, cooldowns, what is under way) is counted anew from what the draft itself would have let run. Outcomes are the stored
//! ones; what only the draft would have run is taken as done at once. Wishes that only the draft would have had are not invented.
//!
//! Never says the same by guessing: where the draft asks for a number that was not recorded, the decision is [`Rehearsed::Unknown`].
//!
//! Invariant: the bundle that made the decisions, rehearsed from the first of them on, makes every one of them again.
//! Read next: `engine.rs` ([`Judge`], whose ledger is used), `replay.rs` (one decision, bit for bit).

pub(crate) mod readings;
pub(crate) mod wishes;

use std::collections::BTreeMap;
use std::sync::Arc;

use wire::decision::{Clause, Fact, Inputs, Judgement, Verdict};
use wire::view::Story;
use wire::{Action, ActionKind, BundleRef, DeviceId, Epoch, Mono, Origin, OutcomeState};

use crate::bundle::Bundle;
use crate::engine::{ClockError, Judge, Situation, Want, details_in, is_limit, labels_in};
use crate::glass::BREAK_GLASS;
use crate::judge::judge;
use crate::kind::Kind;
use crate::rule::{Asked, Details, Finding, Mode, Rule};

/// Comparisons of one rule that can be told apart: a condition in CEL has at most so many parts.
const MAX_PARTS: u8 = 64;

/// One node's past by a draft.
#[derive(Debug, Clone)]
pub struct Rehearsal {
    draft: Arc<Bundle>,
    judge: Judge,
    epoch: Epoch,
    now: Mono,
    /// Outcomes that come before the next decision, perhaps: when, of which action, and which.
    pending: Vec<(Mono, Action, Origin, OutcomeState)>,
    /// The power cap of each device, as it was last read back.
    present: BTreeMap<DeviceId, i64>,
}

/// How a draft decides what was decided before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rehearsed {
    /// The same comes out, and the same runs.
    Same,
    /// Something else comes out.
    Differs {
        /// What the draft says.
        judgement: Box<Judgement>,
        /// What differs, in one line for people.
        text: String,
    },
    /// The draft's rule asks for a number that was not recorded.
    Unknown {
        /// The rule.
        rule: String,
    },
}

impl Rehearsal {
    /// Nothing has happened yet.
    pub fn new(draft: Arc<Bundle>) -> Self {
        Self {
            judge: Judge::new(Arc::clone(&draft), BundleRef::NONE),
            draft,
            epoch: Epoch(0),
            now: Mono(0),
            pending: Vec::new(),
            present: BTreeMap::new(),
        }
    }

    /// Judges the next decision of the node; call it in the order of the node's journal.
    pub fn next(&mut self, story: &Story) -> Rehearsed {
        let inputs = &story.decision.inputs;
        self.go_to(story.id.epoch, inputs.at.mono);
        for (name, value) in &labels_in(&inputs.facts) {
            self.judge.set_label(Some(&inputs.wanted.target), name, Some(value));
        }
        let inputs = self.inputs(story);
        let (stored, again) = (&story.decision.judgement, judge(&self.draft, &inputs));
        // A denial stays one, whatever the number would have been.
        let unknown = self.missing(&inputs, stored).filter(|_| again.verdict != Verdict::Deny);
        if let Some(rule) = unknown {
            self.settle(story, &inputs, stored);
            return Rehearsed::Unknown { rule };
        }
        self.settle(story, &inputs, &again);
        match stored.verdict == again.verdict && stored.granted == again.granted {
            true => Rehearsed::Same,
            false => Rehearsed::Differs {
                text: text(&inputs.wanted, stored, &again),
                judgement: Box::new(again),
            },
        }
    }

    /// Lets everything happen that came before this time.
    fn go_to(&mut self, epoch: Epoch, now: Mono) {
        if now < self.now {
            // A wiped node counts its time from the beginning, and remembers nothing.
            *self = Self::new(Arc::clone(&self.draft));
        }
        // What a former incarnation left under way has ended.
        let all = epoch != self.epoch;
        (self.epoch, self.now) = (epoch, now);
        let mut due: Vec<_> = self.pending.extract_if(.., |(at, ..)| all || *at <= now).collect();
        due.sort_by_key(|(at, ..)| *at);
        for (at, action, origin, state) in due {
            self.judge.finished(&action, &origin, state, at);
        }
    }

    /// The decision's inputs, with the draft's own counts.
    fn inputs(&self, story: &Story) -> Inputs {
        let stored = &story.decision.inputs;
        let want = Want {
            origin: stored.origin.clone(),
            action: stored.wanted.clone(),
            readings: stored.readings.clone(),
            rejected: Vec::new(),
            verify: None,
        };
        let situation = Situation {
            now: stored.at,
            policy_age_ms: stored.policy_age_ms,
            connected: stored.connected,
            clock: stored.clock,
            clock_error_ms: ClockError::of(&stored.facts).told(),
            journal_ok: stored.journal_ok,
            held_by: stored.held_by.as_deref(),
            hub_epoch: stored.hub_epoch,
        };
        let mut inputs = self.judge.inputs(&want, &situation);
        // What was so then, whoever judges: the device's limits, and a token of people that lifted rules.
        let given = |fact: &&Fact| is_limit(fact) || fact.rule == BREAK_GLASS;
        inputs.facts.extend(stored.facts.iter().filter(given).cloned());
        let (labels, details) = told(&inputs);
        let asked = asked(&inputs, &labels, &details);
        let observed = self
            .draft
            .rules
            .iter()
            .filter(|rule| is_observed(rule) && rule.applies(&asked));
        let mut facts = Vec::new();
        for rule in observed {
            let judgement = &story.decision.judgement;
            let is_same = matches!(rule.kind, Kind::Step(_)) || was_judged(rule, &asked, judgement);
            if !is_same {
                continue;
            }
            let numbers = rule.kind.numbers().iter().filter_map(|name| {
                let value = match &rule.kind {
                    Kind::Step(_) => self.present(story),
                    _ => stored_number(stored, &rule.id, name),
                };
                Some(Fact {
                    rule: rule.id.clone(),
                    name: (*name).to_owned(),
                    value: value?,
                })
            });
            facts.extend(numbers);
        }
        // After those of the draft's own ledger: of two facts with one name the first counts.
        inputs.facts.extend(facts);
        inputs
    }

    /// The value that the action was to change: as some rule noted it, as it was read before the action ran, as it was last read.
    fn present(&self, story: &Story) -> Option<i64> {
        let inputs = &story.decision.inputs;
        if !matches!(inputs.wanted.kind, ActionKind::PowerCap { .. }) {
            return None;
        }
        let noted = inputs.facts.iter().find(|fact| fact.name == "present");
        let read = story.outcomes.iter().find_map(|(_, outcome)| outcome.before);
        let last = self.present.get(&inputs.wanted.target).copied();
        noted.map(|fact| fact.value).or(read).or(last)
    }

    /// A rule that counts and whose numbers are not there, although they were not missing when the decision was made.
    fn missing(&self, inputs: &Inputs, stored: &Judgement) -> Option<String> {
        let (labels, details) = told(inputs);
        let asked = asked(inputs, &labels, &details);
        let is_known = |rule: &Rule| match rule.kind {
            Kind::Step(_) => inputs.facts.iter().any(|fact| fact.rule == rule.id),
            _ => was_judged(rule, &asked, stored),
        };
        let lacks = |rule: &&Rule| {
            rule.mode == Mode::Enforce
                && is_observed(rule)
                && rule.applies(&asked)
                && !is_known(rule)
                && says_something(rule, &asked)
        };
        self.draft.rules.iter().find(lacks).map(|rule| rule.id.clone())
    }

    /// Counts what the draft lets run, and takes note of what came of it.
    fn settle(&mut self, story: &Story, inputs: &Inputs, again: &Judgement) {
        for (_, outcome) in &story.outcomes {
            if let (ActionKind::PowerCap { .. } | ActionKind::ReleasePowerCap, Some(after)) =
                (&inputs.wanted.kind, outcome.after)
            {
                self.present.insert(inputs.wanted.target.clone(), after);
            }
        }
        let Some(action) = &again.granted else {
            return;
        };
        self.judge.granted(inputs, again, &story.id);
        let origin = &inputs.origin;
        let ran = story.decision.judgement.verdict.runs();
        if !ran {
            self.judge
                .finished(action, origin, OutcomeState::Applied, inputs.at.mono);
        }
        let outcomes = story.outcomes.iter().filter(|_| ran);
        self.pending
            .extend(outcomes.map(|(at, outcome)| (at.mono, action.clone(), origin.clone(), outcome.state)));
    }
}

/// What a decision was made with, besides the numbers of its rules.
fn told(inputs: &Inputs) -> (Vec<(String, String)>, Details) {
    (labels_in(&inputs.facts), details_in(&inputs.facts, &inputs.wanted))
}

/// What is asked, with what the decision was made with.
fn asked<'a>(inputs: &'a Inputs, labels: &'a [(String, String)], details: &'a Details) -> Asked<'a> {
    Asked {
        labels,
        details,
        ..Asked::of(&inputs.wanted, &inputs.origin, inputs.at)
    }
}

/// Whether a rule's numbers come from outside its own ledger.
fn is_observed(rule: &Rule) -> bool {
    !rule.kind.numbers().is_empty()
        && (rule.kind.is_looked_up() || rule.kind.needs_turn() || matches!(rule.kind, Kind::Step(_)))
}

/// Whether the stored trace has a comparison of this rule that compares the same thing: then the numbers with it are this rule's,
/// and one that is not there was not known then either. A rule that kept its name and looks at another scope is another rule.
fn was_judged(rule: &Rule, asked: &Asked<'_>, stored: &Judgement) -> bool {
    let compares = |clause: &Clause| (0..MAX_PARTS).any(|part| rule.kind.what(part, asked) == clause.what);
    let is_it = |clause: &&Clause| clause.rule == rule.id && clause.kind == rule.kind.name();
    stored.clauses.iter().filter(is_it).any(compares)
}

/// Whether the rule compares anything for this action when its numbers are missing, or would if they were there.
fn says_something(rule: &Rule, asked: &Asked<'_>) -> bool {
    match rule.kind {
        Kind::Step(_) => asked.amount.is_some(),
        _ => {
            let mut any = false;
            rule.kind
                .assess(asked, &Default::default(), &Default::default(), &mut |_: Finding| {
                    any = true
                });
            any
        }
    }
}

fn stored_number(inputs: &Inputs, rule: &str, name: &str) -> Option<i64> {
    let is_it = |fact: &&Fact| fact.rule == rule && fact.name == name;
    inputs.facts.iter().find(is_it).map(|fact| fact.value)
}

/// What differs, in one line for people.
fn text(wanted: &Action, stored: &Judgement, again: &Judgement) -> String {
    let runs = |judgement: &Judgement| match &judgement.granted {
        Some(action) => action.kind.to_string(),
        None => "nothing".to_owned(),
    };
    let mut text = match &again.granted {
        _ if stored.granted == again.granted => format!("{wanted}: the same runs"),
        Some(_) => format!("{wanted}: {} would run instead of {}", runs(again), runs(stored)),
        None => format!("{wanted}: would not run"),
    };
    let objects = |clause: &&Clause| !clause.shadow && !clause.holds && clause.rule == again.rule;
    if let Some(clause) = again.clauses.iter().find(objects) {
        text.push_str("; ");
        text.push_str(&clause.counterfactual);
    }
    text
}

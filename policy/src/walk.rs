//! The one evaluation: an action held against everything that a bundle says, comparison by comparison.
//!
//! Where numbers come from is for [`Facts`] to say, and what becomes of a comparison is for the sink that is given: an explanation
//! writes each down (`judge.rs`, `jsonl.rs`), a [`Tally`] keeps only what they come to. Agents and hubs, `decide`, `simulate`, `vet`,
//! `replay` and the benchmarks run this and nothing else, so none of them can answer otherwise than the others.
//!
//! Invariants: nothing is allocated; which rule is named depends on no order; a rule that is only tried out never counts.
//! Read next: `kind.rs` (the comparisons), `judge.rs` (what only one decision of an agent asks besides).

use wire::action::RiskClass;
use wire::decision::Verdict;
use wire::reading::Unit;

use crate::bundle::Bundle;
use crate::decide::Answer;
use crate::glass::lift;
use crate::kind::freeze::{Opening, opening};
use crate::kind::threshold::as_number;
use crate::ledger::Numbers;
use crate::rule::{Asked, Finding, Mode, Rule};

/// Names of comparisons that no rule makes.
pub(crate) const AUTHORITY: &str = "authority";
pub(crate) const PERMITS: &str = "permits";
pub(crate) const REFLEXES: &str = "reflexes";

/// Who makes a comparison.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Who<'a> {
    /// What is built in, or a rule whose own condition is looked at: its name.
    Named(&'a str),
    /// A rule and its place in the bundle.
    Rule(usize, &'a Rule),
}

impl<'a> Who<'a> {
    /// Its name in a trace.
    pub fn id(self) -> &'a str {
        match self {
            Self::Named(id) => id,
            Self::Rule(_, rule) => &rule.id,
        }
    }

    /// Whether it is only tried out.
    pub fn is_shadow(self) -> bool {
        matches!(self, Self::Rule(_, rule) if rule.mode == Mode::Shadow)
    }
}

/// Where rules have their numbers from.
pub(crate) trait Facts {
    /// Lends the numbers of a rule to `to`, or does nothing where nobody can know them.
    fn lend(&self, place: usize, rule: &Rule, asked: &Asked<'_>, to: impl FnOnce(&Numbers));
}

/// One action that is held against one bundle.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case<'b, 'a> {
    pub bundle: &'b Bundle,
    pub asked: Asked<'a>,
    pub policy_age_ms: u64,
    /// A break-glass token for this action is open.
    pub is_glass_open: bool,
}

impl<'b> Case<'b, '_> {
    /// The step of the authority ladder that this action needs.
    pub fn authority(&self) -> Finding {
        let ladder = &self.bundle.ladder;
        let info = self.asked.info();
        let limit = if info.protective {
            ladder.protective_for_ms
        } else if info.reversible && !info.disruptive {
            ladder.reversible_for_ms
        } else {
            ladder.full_for_ms
        };
        let age = self.policy_age_ms;
        let finding = Finding::pass(0, "<", Some(as_number(age)), Some(as_number(limit)), Unit::Milliseconds);
        finding.fails_unless(age < limit, Verdict::Deny, None)
    }

    /// Whether the bundle lets this kind of action run at all; `None` if it does.
    pub fn permit(&self) -> Option<Finding> {
        let finding = Finding::pass(0, "=", Some(0), Some(1), Unit::Flag);
        (!self.bundle.permits(&self.asked)).then(|| finding.fails(Verdict::Deny, None))
    }

    /// Safety reflexes are exempt from much, so they have a limit of their own: it holds back what is in force already, and the way
    /// back. `None` if so many as `count` are below it.
    pub fn reflexes(&self, count: i64, free_in_ms: Option<u64>, is_in_force: bool) -> Option<Finding> {
        let limit = i64::from(self.bundle.reflexes_per_hour);
        let finding = Finding::pass(0, "<", Some(count), Some(limit), Unit::Count);
        // Protection that is not in force comes first. What is in force is neither set again nor taken back.
        let is_needed = self.asked.is_reflex() && !is_in_force;
        let finding = match is_needed {
            true => finding.fails(Verdict::Allow, None),
            false => finding.fails(Verdict::Hold, free_in_ms),
        };
        (count >= limit).then_some(finding)
    }

    /// The finding, unless an open token lifts it.
    pub fn lifted(&self, finding: Finding, is_freeze: bool) -> Finding {
        match self.is_glass_open {
            true => lift(finding, is_freeze),
            false => finding,
        }
    }

    /// What one rule says, as it counts. `asked` is what the rule is asked about: [`Rule::counted_as`].
    #[inline]
    pub fn rule(
        &self,
        (place, rule): (usize, &'b Rule),
        asked: &Asked<'_>,
        facts: &impl Facts,
        sink: &mut impl FnMut(Who<'b>, &Asked<'_>, Finding),
    ) {
        // What takes a reflex back must leave room for doing it again.
        let keeps = asked.is_undo != self.asked.is_undo;
        let mut weighed = |finding: Finding| {
            let finding = match keeps && !finding.holds {
                true => finding.fails(Verdict::Hold, finding.retry_after_ms),
                false => rule.weigh(finding, asked),
            };
            sink(
                Who::Rule(place, rule),
                asked,
                self.lifted(finding, rule.kind.is_freeze()),
            );
        };
        facts.lend(place, rule, asked, |numbers| {
            if rule.kind.needs_count() && numbers.get(0).is_none() {
                return weighed(uncounted(asked));
            }
            let opening = match rule.kind.is_maintenance() {
                true => opening(&self.bundle.rules, rule.mode, &self.asked),
                false => Opening::default(),
            };
            rule.kind.assess(asked, numbers, &opening, &mut weighed);
        });
    }
}

/// A rule whose count is not there cannot be evaluated: that denies, except for what only makes things calmer.
fn uncounted(asked: &Asked<'_>) -> Finding {
    let verdict = match asked.info().class {
        RiskClass::Safety => Verdict::Allow,
        _ => Verdict::Deny,
    };
    let finding = Finding::pass(0, "<", None, None, Unit::Count);
    Finding {
        unknown: true,
        ..finding.fails(verdict, None)
    }
}

/// What all comparisons come to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tally<'a> {
    verdict: Verdict,
    /// Who is named, and whether that comparison could not be made.
    by: Option<(bool, Who<'a>)>,
    observed: Option<i64>,
    limit: Option<i64>,
    retry_after_ms: Option<u64>,
    /// A refusal that time alone does not lift.
    is_final: bool,
    bounds: (i64, i64),
}

impl Default for Tally<'_> {
    fn default() -> Self {
        Self {
            verdict: Verdict::Allow,
            by: None,
            observed: None,
            limit: None,
            retry_after_ms: None,
            is_final: false,
            bounds: (i64::MIN, i64::MAX),
        }
    }
}

impl<'a> Tally<'a> {
    /// Lets one comparison count, unless it is only tried out.
    #[inline]
    pub fn count(&mut self, who: Who<'a>, finding: &Finding) {
        if who.is_shadow() {
            return;
        }
        // A range narrows what is wanted, except where it only warns.
        if let Some((low, high)) = finding.bounds
            && (finding.holds || finding.verdict != Verdict::Allow)
        {
            self.bounds = (self.bounds.0.max(low), self.bounds.1.min(high));
        }
        if self.is_named(who, finding) {
            self.verdict = finding.verdict;
            self.by = Some((finding.unknown, who));
            (self.observed, self.limit) = (finding.observed, finding.limit);
        }
        if !finding.verdict.runs() {
            self.retry_after_ms = self.retry_after_ms.max(finding.retry_after_ms);
            self.is_final |= finding.retry_after_ms.is_none();
        }
    }

    /// Of several with the same verdict, what was compared is named before what is not known, or waits for its turn; and which one
    /// does not depend on their order.
    fn is_named(&self, who: Who<'a>, finding: &Finding) -> bool {
        match &self.by {
            Some((is_unknown, by)) if finding.verdict == self.verdict => {
                (finding.unknown, who.id()) < (*is_unknown, by.id())
            }
            _ => finding.verdict > self.verdict,
        }
    }

    /// The worst verdict so far. Rules that leave no common value are not among it yet.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// Who gave it, if anybody objected.
    pub fn by(&self) -> Option<&'a str> {
        self.by.map(|(_, who)| who.id())
    }

    /// The range that all rules together leave.
    pub fn bounds(&self) -> (i64, i64) {
        self.bounds
    }

    /// In how long it is worth asking again, if time alone helps.
    pub fn retry_after_ms(&self) -> Option<u64> {
        self.retry_after_ms.filter(|_| !self.is_final)
    }

    /// What of an action's number the rules let run; `None` if they leave no common value.
    pub fn clamped(&self, value: i64) -> Option<i64> {
        let (low, high) = self.bounds;
        (low <= high).then(|| value.clamp(low, high))
    }

    /// The answer for an action of this number.
    pub fn answer(&self, amount: Option<(i64, Unit)>) -> Answer {
        let clamp = amount.filter(|_| self.verdict == Verdict::Clamp);
        let clamp = clamp.and_then(|(value, _)| self.clamped(value));
        Answer {
            verdict: match (self.verdict, clamp) {
                // Rules that leave no common value deny.
                (Verdict::Clamp, None) => Verdict::Deny,
                (verdict, _) => verdict,
            },
            rule: match self.by {
                Some((_, Who::Rule(place, _))) => u16::try_from(place).ok(),
                _ => None,
            },
            observed: self.observed,
            limit: self.limit,
            retry_after_ms: self.retry_after_ms(),
            clamp,
        }
    }
}

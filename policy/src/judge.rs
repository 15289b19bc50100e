//! The pure decision: [`Inputs`] in, [`Judgement`] out, the same bytes every time.
//!
//! All rules are evaluated and the worst verdict wins: Deny > RequireApproval > Hold > Clamp > Allow. Clamps intersect. The trace
//! is the evaluation itself: a clause is written where its comparison is made.
//!
//! Never reads a ledger: what rules remember came in as facts. Read next: `walk.rs` (the evaluation, which streams of questions run
//! too), `engine.rs` (who gathers).
//!
//! Invariants: adding a rule never makes a verdict better; the order of rules changes neither verdict nor what is granted; a
//! shadow rule changes no verdict.

use wire::action::{ActionKind, Origin};
use wire::decision::{Alternative, Clause, Fact, Inputs, Judgement, Verdict};
use wire::reading::Unit;
use wire::time::ClockState;
use wire::{Action, BundleRef, HubEpoch, Now};

use crate::actions;
use crate::bundle::Bundle;
use crate::engine::{ClockError, details_in, labels_in};
use crate::glass::BREAK_GLASS;
use crate::kind::envelope::within;
use crate::kind::freeze::{VALID_FOR_MS, until_held};
use crate::kind::threshold::as_number;
use crate::ledger::Numbers;
use crate::rule::{Asked, Details, Finding, Mode, Rule};
use crate::walk::{AUTHORITY, Case, Facts, PERMITS, REFLEXES, Tally, Who};

/// When it is worth asking again while another action is under way on the same target.
const BUSY_RETRY_MS: u64 = 1_000;

/// Judges what is wanted by the bundle. Pure: replaying a decision is calling this again.
pub fn judge(bundle: &Bundle, inputs: &Inputs) -> Judgement {
    let labels = labels_in(&inputs.facts);
    let details = details_in(&inputs.facts, &inputs.wanted);
    Explanation::new(bundle, inputs, (&labels, &details), true).judge()
}

/// The hub's own copy: everything that needs no agent's ledger (permits, envelopes, modes, the action itself).
///
/// What it allows may still be denied by the agent, which has the last word.
pub fn vet(bundle: &Bundle, action: &Action, origin: &Origin, now: Now) -> Judgement {
    vet_by(bundle, action, origin, now, Vec::new())
}

/// What the claim behind a plan is worth: counted by the hub from what came of earlier ones, never said by the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClaimWorth {
    /// It comes true with at least this chance, in hundredths of a percent.
    pub at_least_bp: i64,
    /// Outcomes that this rests on.
    pub outcomes: i64,
    /// How old the claim is, in milliseconds.
    pub age_ms: i64,
    /// How far it looks ahead, in milliseconds.
    pub horizon_ms: i64,
}

impl ClaimWorth {
    /// Its numbers by the names under which rules ask for them.
    pub fn numbers(&self) -> [(&'static str, i64); 4] {
        [
            ("p_lo_bp", self.at_least_bp),
            ("n", self.outcomes),
            ("age_ms", self.age_ms),
            ("horizon_ms", self.horizon_ms),
        ]
    }
}

/// [`vet`] for a step of a plan, with what the claim behind it is worth, if there is one.
pub fn vet_claim(bundle: &Bundle, action: &Action, origin: &Origin, now: Now, worth: Option<ClaimWorth>) -> Judgement {
    let asks = bundle.rules.iter().filter(|rule| rule.kind.is_about_claims());
    let facts = asks.flat_map(|rule| {
        let numbers = worth.into_iter().flat_map(|worth| worth.numbers());
        numbers.map(|(name, value)| Fact {
            rule: rule.id.clone(),
            name: name.to_owned(),
            value,
        })
    });
    vet_by(bundle, action, origin, now, facts.collect())
}

/// Whether the agent could still allow it: if nothing denies it but what an open break-glass token lifts.
///
/// Which tokens are open is in the agent's ledger alone, so the hub leaves it to the agent.
pub fn may_be_lifted(bundle: &Bundle, action: &Action, origin: &Origin, now: Now) -> bool {
    let open = Fact {
        rule: BREAK_GLASS.to_owned(),
        name: "a token that may be open".to_owned(),
        value: 1,
    };
    vet_by(bundle, action, origin, now, vec![open]).verdict.runs()
}

fn vet_by(bundle: &Bundle, action: &Action, origin: &Origin, now: Now, facts: Vec<Fact>) -> Judgement {
    let inputs = Inputs {
        at: now,
        origin: origin.clone(),
        wanted: action.clone(),
        bundle: BundleRef::NONE,
        policy_age_ms: 0,
        connected: true,
        clock: ClockState::Steady,
        journal_ok: true,
        held_by: None,
        hub_epoch: HubEpoch(0),
        readings: Vec::new(),
        facts,
    };
    Explanation::new(bundle, &inputs, (&[], Details::NONE), false).judge()
}

/// What else a rule could have wanted, and why it did not. For [`Judgement::rejected`].
pub(crate) fn rejected(bundle: &Bundle, origin: &Origin, wanted: &Action) -> Vec<Alternative> {
    let Origin::Rule { rule } = origin else {
        return Vec::new();
    };
    let Some(condition) = bundle.rule(rule).and_then(|rule| rule.kind.condition()) else {
        return Vec::new();
    };
    let Some(chosen) = condition.then.iter().position(|then| then.kind == wanted.kind) else {
        return Vec::new();
    };
    condition
        .then
        .iter()
        .enumerate()
        .filter(|(index, _)| *index != chosen)
        .map(|(index, then)| Alternative {
            action: Action {
                target: then.target.clone().unwrap_or_else(|| wanted.target.clone()),
                kind: then.kind.clone(),
            },
            because: if index < chosen {
                format!("`{rule}` prefers it, and it was not admitted or did not help")
            } else {
                format!("`{rule}` prefers {}", wanted.kind)
            },
        })
        .collect()
}

/// One judgement in the making: every comparison is written down, and counts.
struct Explanation<'a> {
    case: Case<'a, 'a>,
    inputs: &'a Inputs,
    /// Whether the facts are there; without them rules that count are skipped.
    has_ledger: bool,
    tally: Tally<'a>,
    /// How long an open break-glass token for this action lasts.
    glass_left_ms: Option<i64>,
    clauses: Vec<Clause>,
}

/// The numbers that a decision keeps.
struct Stored<'a> {
    inputs: &'a Inputs,
    has_ledger: bool,
}

impl Facts for Stored<'_> {
    fn lend(&self, _: usize, rule: &Rule, _: &Asked<'_>, to: impl FnOnce(&Numbers)) {
        if rule.kind.needs_world() && !self.has_ledger {
            return;
        }
        let mut numbers = Numbers::default();
        for (index, name) in rule.kind.numbers().iter().enumerate() {
            numbers.set(index, fact(self.inputs, &rule.id, name));
        }
        to(&numbers);
    }
}

fn fact(inputs: &Inputs, rule: &str, name: &str) -> Option<i64> {
    let is_it = |fact: &&Fact| fact.rule == rule && fact.name == name;
    inputs.facts.iter().find(is_it).map(|fact| fact.value)
}

impl<'a> Explanation<'a> {
    fn new(
        bundle: &'a Bundle,
        inputs: &'a Inputs,
        (labels, details): (&'a [(String, String)], &'a Details),
        has_ledger: bool,
    ) -> Self {
        let error = ClockError::of(&inputs.facts);
        let glass = inputs.facts.iter().find(|fact| fact.rule == BREAK_GLASS);
        let glass_left_ms = glass.map(|token| token.value).filter(|left| *left > 0);
        Self {
            case: Case {
                bundle,
                asked: Asked {
                    labels,
                    details,
                    clock_wrong: inputs.clock == ClockState::BehindFloor,
                    clock_unknown: error.is_unknown,
                    clock_error_ms: error.ms,
                    ..Asked::of(&inputs.wanted, &inputs.origin, inputs.at)
                },
                policy_age_ms: inputs.policy_age_ms,
                is_glass_open: glass_left_ms.is_some(),
            },
            inputs,
            has_ledger,
            tally: Tally::default(),
            glass_left_ms,
            clauses: Vec::new(),
        }
    }

    fn judge(mut self) -> Judgement {
        self.hear_glass();
        self.hear_origin();
        self.hear_authority();
        self.hear_hold();
        self.hear_journal();
        self.hear_permits();
        self.hear_device();
        self.hear_reflexes();
        self.hear_relapses();
        let bundle = self.case.bundle;
        for (place, rule) in bundle.rules.iter().enumerate() {
            self.hear_rule(place, rule);
        }
        self.close()
    }

    /// An open break-glass token, and who opened it.
    fn hear_glass(&mut self) {
        let token = self.inputs.facts.iter().find(|fact| fact.rule == BREAK_GLASS);
        let Some((token, left)) = token.zip(self.glass_left_ms) else {
            return;
        };
        let finding = Finding::pass(0, ">", Some(left), Some(0), Unit::Milliseconds);
        let what = format!("break-glass of {}", token.name);
        self.note(BREAK_GLASS, BREAK_GLASS, &what, finding);
    }

    /// The rule that wants the action: does its condition really hold?
    fn hear_origin(&mut self) {
        let (id, cleared) = match &self.inputs.origin {
            Origin::Rule { rule } => (rule, false),
            Origin::Cleared { rule } => (rule, true),
            Origin::Command { .. } | Origin::Local { .. } | Origin::Plan { .. } | Origin::Fault { .. } => return,
        };
        let is_not = Finding::pass(0, "=", Some(0), Some(1), Unit::Flag).fails(Verdict::Deny, None);
        let rule = self.case.bundle.rule(id);
        let Some((rule, condition)) = rule.and_then(|rule| Some((rule, rule.kind.condition()?))) else {
            if !cleared {
                self.note(id, "threshold", "rule of this bundle", is_not);
            }
            return;
        };
        let seen = self.inputs.readings.first();
        let device = seen.map_or(self.case.asked.target, |seen| seen.series.device.as_str());
        let notify = matches!(self.inputs.wanted.kind, ActionKind::Notify { .. });
        condition.assess(seen, cleared, notify, &mut |finding| {
            let what = condition.what(finding.part, device);
            self.note(&rule.id, rule.kind.name(), &what, finding);
        });
        if rule.mode != Mode::Enforce && !cleared {
            let what = format!("mode enforce (it is {})", rule.mode.name());
            self.note(&rule.id, rule.kind.name(), &what, is_not);
        }
    }

    /// Whether a protective rule that outlives everything wants this.
    fn never_expires(&self) -> bool {
        let Origin::Rule { rule } = &self.inputs.origin else {
            return false;
        };
        self.case.asked.info().protective
            && self
                .case
                .bundle
                .rule(rule)
                .and_then(|rule| rule.kind.condition())
                .is_some_and(|condition| condition.never_expires)
    }

    fn hear_authority(&mut self) {
        if !self.never_expires() {
            let finding = self.case.authority();
            self.note(AUTHORITY, "authority", "age of the policy", finding);
        }
    }

    fn hear_hold(&mut self) {
        let Some(who) = &self.inputs.held_by else {
            return;
        };
        let finding = Finding::pass(0, "=", Some(1), Some(0), Unit::Flag);
        let finding = if self.never_expires() {
            return;
        } else {
            finding.fails(Verdict::Hold, None)
        };
        let what = format!("held by {who}");
        let finding = self.case.lifted(finding, false);
        self.note("hold", "hold", &what, finding);
    }

    fn hear_journal(&mut self) {
        if self.inputs.journal_ok {
            return;
        }
        let finding = Finding::pass(0, "=", Some(0), Some(1), Unit::Flag);
        let finding = if self.case.asked.info().protective {
            finding.fails(Verdict::Allow, None)
        } else {
            finding.fails(Verdict::Deny, None)
        };
        self.note("journal", "journal", "journal accepts entries", finding);
    }

    fn hear_permits(&mut self) {
        if let Some(finding) = self.case.permit() {
            let what = format!("permit for {}", self.case.asked.info().name);
            self.note(PERMITS, "permit", &what, finding);
        }
    }

    /// What the device itself accepts, and whether something else is being done to it.
    fn hear_device(&mut self) {
        let wanted = &self.inputs.wanted;
        if let Some(needed) = wanted.kind.target_class()
            && needed != wanted.target.class()
        {
            let finding = Finding::pass(0, "=", Some(0), Some(1), Unit::Flag);
            let what = format!("{} being a {needed}", wanted.target);
            self.note("device", "device", &what, finding.fails(Verdict::Deny, None));
        }
        if let (Some(min), Some(max)) = (self.fact("device", "min"), self.fact("device", "max"))
            && let Some((value, unit)) = self.case.asked.amount
        {
            let what = format!("range of {}", wanted.target);
            self.note("device", "device", &what, within(value, min, max, unit));
        }
        if let Some(flights) = self.fact("device", "in_flight").filter(|n| *n > 0) {
            let finding = Finding::pass(0, "=", Some(flights), Some(0), Unit::Count);
            let what = format!("actions under way on {}", wanted.target);
            self.note(
                "device",
                "device",
                &what,
                finding.fails(Verdict::Hold, Some(BUSY_RETRY_MS)),
            );
        }
    }

    fn hear_reflexes(&mut self) {
        let Some(count) = self.fact(REFLEXES, "count") else {
            return;
        };
        let free_in_ms = self.fact(REFLEXES, "free_in_ms").and_then(|ms| u64::try_from(ms).ok());
        let is_in_force = self.fact(REFLEXES, "engaged").is_some();
        if let Some(finding) = self.case.reflexes(count, free_in_ms, is_in_force) {
            self.note(REFLEXES, "rate_limit", "safety reflexes of this node in 1 h", finding);
        }
    }

    /// What was needed again soon after it had been taken back is kept for longer.
    fn hear_relapses(&mut self) {
        let Some(wait) = self.fact("relapses", "wait_ms") else {
            return;
        };
        let held = self.inputs.readings.first().map_or(0, |seen| seen.held_ms);
        let left = u64::try_from(wait).unwrap_or(0).saturating_sub(held);
        let finding = Finding::pass(0, ">=", Some(as_number(held)), Some(wait), Unit::Milliseconds);
        let finding = finding.fails_unless(left == 0, Verdict::Hold, Some(left));
        self.note("relapses", "cooldown", "clear since the last relapse for", finding);
    }

    fn hear_rule(&mut self, place: usize, rule: &'a Rule) {
        if rule.kind.condition().is_some() {
            return;
        }
        let case = self.case;
        let Some(asked) = rule.counted_as(&case.asked) else {
            return;
        };
        // What a claim is worth is judged by the hub, which grades brains; a node takes its word for it, as for approvals.
        let by_claim = rule.kind.is_about_claims() && matches!(self.inputs.origin, Origin::Plan { .. });
        let is_judged_here = match by_claim {
            true => !self.has_ledger,
            false => self.has_ledger || !rule.kind.needs_world(),
        };
        if !is_judged_here {
            return;
        }
        let is_approved = self.is_approved(rule);
        let stored = Stored {
            inputs: self.inputs,
            has_ledger: self.has_ledger || by_claim,
        };
        case.rule((place, rule), &asked, &stored, &mut |who, asked, finding| {
            let mut what = rule.kind.what(finding.part, asked);
            let finding = match is_approved && finding.verdict == Verdict::RequireApproval {
                true => {
                    what.push_str(", which people have approved at the hub");
                    finding.fails(Verdict::Allow, None)
                }
                false => finding,
            };
            self.write(who, rule.kind.name(), &what, finding);
        });
    }

    /// Whether the hub has seen to it that people approve what this rule wants approved: it judges every step of a plan by the rules that
    /// need no node, and sends none that lacks consent.
    fn is_approved(&self, rule: &Rule) -> bool {
        let is_plan = matches!(self.inputs.origin, Origin::Plan { .. });
        is_plan && self.has_ledger && !rule.kind.needs_world()
    }

    fn note(&mut self, id: &'a str, kind: &str, what: &str, finding: Finding) {
        self.write(Who::Named(id), kind, what, finding);
    }

    /// Writes one comparison into the trace and lets it count.
    fn write(&mut self, who: Who<'a>, kind: &str, what: &str, finding: Finding) {
        self.tally.count(who, &finding);
        self.clauses.push(Clause {
            rule: who.id().to_owned(),
            kind: kind.to_owned(),
            what: what.to_owned(),
            op: finding.op.to_owned(),
            observed: finding.observed,
            limit: finding.limit,
            unit: finding.unit,
            age_ms: finding.age_ms,
            holds: finding.holds,
            verdict: finding.verdict,
            shadow: who.is_shadow(),
            counterfactual: finding.counterfactual(what),
        });
    }

    fn fact(&self, rule: &str, name: &str) -> Option<i64> {
        fact(self.inputs, rule, name)
    }

    fn close(mut self) -> Judgement {
        let wanted = &self.inputs.wanted;
        let mut rejected = rejected(self.case.bundle, &self.inputs.origin, wanted);
        let mut granted = self.tally.verdict().runs().then(|| wanted.clone());
        if self.tally.verdict() == Verdict::Clamp {
            granted = self.clamped();
            match &granted {
                Some(action) => rejected.insert(
                    0,
                    Alternative {
                        action: wanted.clone(),
                        because: format!(
                            "`{}` allows {} at most here",
                            self.tally.by().unwrap_or_default(),
                            action.kind
                        ),
                    },
                ),
                None => self.refuse_empty_range(),
            }
        }
        let (authority, _) = self.case.bundle.authority(self.inputs.policy_age_ms);
        let until_step = self.until_next_step();
        let left = self.glass_left_ms.and_then(|ms| u64::try_from(ms).ok());
        let until_glass = left.unwrap_or(u64::MAX);
        let until_held = self.until_held();
        Judgement {
            verdict: self.tally.verdict(),
            rule: self
                .tally
                .by()
                .map_or_else(|| asker(&self.inputs.origin), str::to_owned),
            granted,
            retry_after_ms: self.tally.retry_after_ms(),
            valid_for_ms: VALID_FOR_MS
                .unsigned_abs()
                .min(until_step)
                .min(until_glass)
                .min(until_held),
            authority,
            clauses: self.clauses,
            rejected,
        }
    }

    fn until_next_step(&self) -> u64 {
        match self.case.bundle.authority(self.inputs.policy_age_ms).1 {
            Some(left) if !self.never_expires() => left,
            _ => u64::MAX,
        }
    }

    /// How long the action may wait before a freeze or the end of a maintenance window would hold it back.
    fn until_held(&self) -> u64 {
        // An open break-glass token lifts both.
        if !self.tally.verdict().runs() || self.glass_left_ms.is_some() {
            return u64::MAX;
        }
        until_held(&self.case.bundle.rules, &self.case.asked).unwrap_or(u64::MAX)
    }

    fn clamped(&self) -> Option<Action> {
        let (value, _) = self.case.asked.amount?;
        Some(Action {
            target: self.inputs.wanted.target.clone(),
            kind: actions::with_amount(&self.inputs.wanted.kind, self.tally.clamped(value)?)?,
        })
    }

    /// Rules that leave no common value deny.
    fn refuse_empty_range(&mut self) {
        let unit = self.case.asked.amount.map_or(Unit::Count, |(_, unit)| unit);
        let (low, high) = self.tally.bounds();
        let rule = self.tally.by().unwrap_or_default();
        let finding = Finding::pass(0, "<=", Some(low), Some(high), unit).fails(Verdict::Deny, None);
        self.note(rule, "envelope", "smallest value that all rules allow", finding);
    }
}

/// Who is named when nothing objected.
fn asker(origin: &Origin) -> String {
    match origin {
        Origin::Rule { rule } | Origin::Cleared { rule } => rule.clone(),
        Origin::Command { .. } => "command".to_owned(),
        Origin::Local { .. } => "local".to_owned(),
        Origin::Fault { .. } => "fault".to_owned(),
        Origin::Plan { .. } => "plan".to_owned(),
    }
}

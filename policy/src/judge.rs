//! The pure decision: [`Inputs`] in, [`Judgement`] out, the same bytes every time.
//!
//! All rules are evaluated and the worst verdict wins: Deny > RequireApproval > Hold > Clamp > Allow. Clamps intersect. The trace
//! is the evaluation itself: a clause is written where its comparison is made.
//!
//! Never reads a ledger: what rules remember came in as facts. Read next: `rule.rs` ([`Finding`]), `engine.rs` (who gathers).
//!
//! Invariants: adding a rule never makes a verdict better; the order of rules changes neither verdict nor what is granted; a
//! shadow rule changes no verdict.

use wire::action::{ActionKind, Origin, RiskClass};
use wire::decision::{Alternative, Clause, Fact, Inputs, Judgement, Verdict};
use wire::reading::Unit;
use wire::time::ClockState;
use wire::{Action, BundleRef, HubEpoch, Now};

use crate::actions;
use crate::bundle::Bundle;
use crate::engine::{ClockError, details_in, labels_in};
use crate::glass::{BREAK_GLASS, lift};
use crate::kind::envelope::within;
use crate::kind::freeze::{Opening, VALID_FOR_MS, opening, until_held};
use crate::kind::threshold::as_number;
use crate::ledger::Numbers;
use crate::rule::{Asked, Details, Finding, Mode, Rule};

/// When it is worth asking again while another action is under way on the same target.
const BUSY_RETRY_MS: u64 = 1_000;

/// Judges what is wanted by the bundle. Pure: replaying a decision is calling this again.
pub fn judge(bundle: &Bundle, inputs: &Inputs) -> Judgement {
    let labels = labels_in(&inputs.facts);
    let details = details_in(&inputs.facts, &inputs.wanted);
    Court::new(bundle, inputs, (&labels, &details), true).judge()
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
    Court::new(bundle, &inputs, (&[], Details::NONE), false).judge()
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

/// One judgement in the making.
struct Court<'a> {
    bundle: &'a Bundle,
    inputs: &'a Inputs,
    asked: Asked<'a>,
    /// Whether the facts are there; without them rules that count are skipped.
    has_ledger: bool,
    worst: Verdict,
    /// The rule that is named, and whether its comparison could not be made.
    by: Option<(bool, String)>,
    retry_after_ms: Option<u64>,
    /// How long an open break-glass token for this action lasts.
    glass_left_ms: Option<i64>,
    /// A refusal that time alone does not lift.
    is_final: bool,
    bounds: (i64, i64),
    clauses: Vec<Clause>,
}

impl<'a> Court<'a> {
    fn new(
        bundle: &'a Bundle,
        inputs: &'a Inputs,
        (labels, details): (&'a [(String, String)], &'a Details),
        has_ledger: bool,
    ) -> Self {
        let error = ClockError::of(&inputs.facts);
        Self {
            bundle,
            inputs,
            asked: Asked {
                labels,
                details,
                clock_wrong: inputs.clock == ClockState::BehindFloor,
                clock_unknown: error.is_unknown,
                clock_error_ms: error.ms,
                ..Asked::of(&inputs.wanted, &inputs.origin, inputs.at)
            },
            has_ledger,
            worst: Verdict::Allow,
            by: None,
            retry_after_ms: None,
            glass_left_ms: None,
            is_final: false,
            bounds: (i64::MIN, i64::MAX),
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
        let bundle = self.bundle;
        for rule in &bundle.rules {
            self.hear_rule(rule);
        }
        self.close()
    }

    /// An open break-glass token, and who opened it.
    fn hear_glass(&mut self) {
        let token = self.inputs.facts.iter().find(|fact| fact.rule == BREAK_GLASS);
        let Some(token) = token.filter(|token| token.value > 0) else {
            return;
        };
        self.glass_left_ms = Some(token.value);
        let finding = Finding::pass(0, ">", Some(token.value), Some(0), Unit::Milliseconds);
        let what = format!("break-glass of {}", token.name);
        self.note(BREAK_GLASS, BREAK_GLASS, &what, finding, false);
    }

    /// The finding, unless an open token lifts it.
    fn lifted(&self, finding: Finding, is_freeze: bool) -> Finding {
        match self.glass_left_ms {
            Some(_) => lift(finding, is_freeze),
            None => finding,
        }
    }

    /// The rule that wants the action: does its condition really hold?
    fn hear_origin(&mut self) {
        let (id, cleared) = match &self.inputs.origin {
            Origin::Rule { rule } => (rule, false),
            Origin::Cleared { rule } => (rule, true),
            Origin::Command { .. } | Origin::Local { .. } | Origin::Plan { .. } | Origin::Fault { .. } => return,
        };
        let bundle = self.bundle;
        let rule = bundle.rule(id);
        let Some((rule, condition)) = rule.and_then(|rule| Some((rule, rule.kind.condition()?))) else {
            if !cleared {
                let finding = Finding::pass(0, "=", Some(0), Some(1), Unit::Flag);
                self.note(
                    id,
                    "threshold",
                    "rule of this bundle",
                    finding.fails(Verdict::Deny, None),
                    false,
                );
            }
            return;
        };
        let mut findings = Findings::default();
        let notify = matches!(self.inputs.wanted.kind, ActionKind::Notify { .. });
        condition.assess(self.inputs.readings.first(), cleared, notify, &mut |finding| {
            findings.push(finding)
        });
        let device = self
            .inputs
            .readings
            .first()
            .map_or(self.asked.target, |seen| seen.series.device.as_str());
        for finding in findings.iter() {
            let what = condition.what(finding.part, device);
            self.note(&rule.id, rule.kind.name(), &what, finding, false);
        }
        if rule.mode != Mode::Enforce && !cleared {
            let finding = Finding::pass(0, "=", Some(0), Some(1), Unit::Flag);
            let what = format!("mode enforce (it is {})", rule.mode.name());
            self.note(
                &rule.id,
                rule.kind.name(),
                &what,
                finding.fails(Verdict::Deny, None),
                false,
            );
        }
    }

    /// Whether a protective rule that outlives everything wants this.
    fn never_expires(&self) -> bool {
        let Origin::Rule { rule } = &self.inputs.origin else {
            return false;
        };
        self.asked.info().protective
            && self
                .bundle
                .rule(rule)
                .and_then(|rule| rule.kind.condition())
                .is_some_and(|condition| condition.never_expires)
    }

    fn hear_authority(&mut self) {
        if self.never_expires() {
            return;
        }
        let ladder = &self.bundle.ladder;
        let info = self.asked.info();
        let limit = if info.protective {
            ladder.protective_for_ms
        } else if info.reversible && !info.disruptive {
            ladder.reversible_for_ms
        } else {
            ladder.full_for_ms
        };
        let age = self.inputs.policy_age_ms;
        let finding = Finding::pass(0, "<", Some(as_number(age)), Some(as_number(limit)), Unit::Milliseconds);
        let finding = if age < limit {
            finding
        } else {
            finding.fails(Verdict::Deny, None)
        };
        self.note("authority", "authority", "age of the policy", finding, false);
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
        let finding = self.lifted(finding, false);
        self.note("hold", "hold", &what, finding, false);
    }

    fn hear_journal(&mut self) {
        if self.inputs.journal_ok {
            return;
        }
        let finding = Finding::pass(0, "=", Some(0), Some(1), Unit::Flag);
        let finding = if self.asked.info().protective {
            finding.fails(Verdict::Allow, None)
        } else {
            finding.fails(Verdict::Deny, None)
        };
        self.note("journal", "journal", "journal accepts entries", finding, false);
    }

    fn hear_permits(&mut self) {
        if self.bundle.permits(&self.asked) {
            return;
        }
        let finding = Finding::pass(0, "=", Some(0), Some(1), Unit::Flag);
        let what = format!("permit for {}", self.asked.info().name);
        self.note("permits", "permit", &what, finding.fails(Verdict::Deny, None), false);
    }

    /// What the device itself accepts, and whether something else is being done to it.
    fn hear_device(&mut self) {
        let wanted = &self.inputs.wanted;
        if let Some(needed) = wanted.kind.target_class()
            && needed != wanted.target.class()
        {
            let finding = Finding::pass(0, "=", Some(0), Some(1), Unit::Flag);
            let what = format!("{} being a {needed}", wanted.target);
            self.note("device", "device", &what, finding.fails(Verdict::Deny, None), false);
        }
        if let (Some(min), Some(max)) = (self.fact("device", "min"), self.fact("device", "max"))
            && let Some((value, unit)) = self.asked.amount
        {
            let what = format!("range of {}", wanted.target);
            self.note("device", "device", &what, within(value, min, max, unit), false);
        }
        if let Some(flights) = self.fact("device", "in_flight").filter(|n| *n > 0) {
            let finding = Finding::pass(0, "=", Some(flights), Some(0), Unit::Count);
            let what = format!("actions under way on {}", wanted.target);
            self.note(
                "device",
                "device",
                &what,
                finding.fails(Verdict::Hold, Some(BUSY_RETRY_MS)),
                false,
            );
        }
    }

    /// Safety reflexes are exempt from much, so they have a limit of their own: it holds back what is in force already, and the way back.
    fn hear_reflexes(&mut self) {
        let Some(count) = self.fact("reflexes", "count") else {
            return;
        };
        let limit = i64::from(self.bundle.reflexes_per_hour);
        if count < limit {
            return;
        }
        let retry = self
            .fact("reflexes", "free_in_ms")
            .and_then(|ms| u64::try_from(ms).ok());
        let finding = Finding::pass(0, "<", Some(count), Some(limit), Unit::Count);
        // Protection that is not in force comes first. What is in force is neither set again nor taken back.
        let needed = self.asked.is_reflex() && self.fact("reflexes", "engaged").is_none();
        let finding = match needed {
            true => finding.fails(Verdict::Allow, None),
            false => finding.fails(Verdict::Hold, retry),
        };
        self.note(
            "reflexes",
            "rate_limit",
            "safety reflexes of this node in 1 h",
            finding,
            false,
        );
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
        self.note(
            "relapses",
            "cooldown",
            "clear since the last relapse for",
            finding,
            false,
        );
    }

    fn hear_rule(&mut self, rule: &Rule) {
        if rule.kind.condition().is_some() {
            return;
        }
        let Some(asked) = rule.counted_as(&self.asked) else {
            return;
        };
        let keeps = asked.is_undo != self.asked.is_undo;
        // What a claim is worth is judged by the hub, which grades brains; a node takes its word for it, as for approvals.
        let by_claim = rule.kind.is_about_claims() && matches!(self.inputs.origin, Origin::Plan { .. });
        let is_judged_here = match by_claim {
            true => !self.has_ledger,
            false => self.has_ledger || !rule.kind.needs_world(),
        };
        if !is_judged_here {
            return;
        }
        let names = rule.kind.numbers();
        let mut numbers = Numbers::default();
        for (index, name) in names.iter().enumerate() {
            numbers.set(index, self.fact(&rule.id, name));
        }
        if rule.kind.needs_count() && numbers.get(0).is_none() {
            if self.has_ledger {
                // The rule cannot be evaluated: that denies, except for what only makes things calmer.
                let finding = Finding::pass(0, "<", None, None, Unit::Count);
                let verdict = if self.asked.info().class == RiskClass::Safety {
                    Verdict::Allow
                } else {
                    Verdict::Deny
                };
                self.note_rule(rule, &asked, finding.fails(verdict, None));
            }
            return;
        }
        let mut findings = Findings::default();
        let opening = match rule.kind.is_maintenance() {
            true => opening(&self.bundle.rules, rule.mode, &self.asked),
            false => Opening::default(),
        };
        rule.kind
            .assess(&asked, &numbers, &opening, &mut |finding| findings.push(finding));
        for finding in findings.iter() {
            let finding = match keeps && !finding.holds {
                true => finding.fails(Verdict::Hold, finding.retry_after_ms),
                false => rule.weigh(finding, &asked),
            };
            self.note_rule(rule, &asked, finding);
        }
    }

    /// Whether the hub has seen to it that people approve what this rule wants approved: it judges every step of a plan by the rules that
    /// need no node, and sends none that lacks consent.
    fn is_approved(&self, rule: &Rule) -> bool {
        let is_plan = matches!(self.inputs.origin, Origin::Plan { .. });
        is_plan && self.has_ledger && !rule.kind.needs_world()
    }

    fn note_rule(&mut self, rule: &Rule, asked: &Asked<'_>, finding: Finding) {
        let mut what = rule.kind.what(finding.part, asked);
        let finding = if finding.verdict == Verdict::RequireApproval && self.is_approved(rule) {
            what.push_str(", which people have approved at the hub");
            finding.fails(Verdict::Allow, None)
        } else {
            finding
        };
        let finding = self.lifted(finding, rule.kind.is_freeze());
        self.note(&rule.id, rule.kind.name(), &what, finding, rule.mode == Mode::Shadow);
    }

    /// Writes one comparison into the trace and lets it count.
    fn note(&mut self, rule: &str, kind: &str, what: &str, finding: Finding, shadow: bool) {
        if !shadow {
            self.count(rule, &finding);
        }
        self.clauses.push(Clause {
            rule: rule.to_owned(),
            kind: kind.to_owned(),
            what: what.to_owned(),
            op: finding.op.to_owned(),
            observed: finding.observed,
            limit: finding.limit,
            unit: finding.unit,
            age_ms: finding.age_ms,
            holds: finding.holds,
            verdict: finding.verdict,
            shadow,
            counterfactual: finding.counterfactual(what),
        });
    }

    fn count(&mut self, rule: &str, finding: &Finding) {
        if let Some((low, high)) = finding.bounds {
            let warns = !finding.holds && finding.verdict == Verdict::Allow;
            if !warns {
                self.bounds = (self.bounds.0.max(low), self.bounds.1.min(high));
            }
        }
        // Of several rules with the same verdict, what was compared is named before what is not known, or waits for its turn; and
        // which one does not depend on their order.
        let is_named = match &self.by {
            Some((is_unknown, by)) if finding.verdict == self.worst => {
                (finding.unknown, rule) < (*is_unknown, by.as_str())
            }
            _ => finding.verdict > self.worst,
        };
        if is_named {
            self.worst = finding.verdict;
            self.by = Some((finding.unknown, rule.to_owned()));
        }
        if !finding.verdict.runs() {
            match finding.retry_after_ms {
                Some(ms) => self.retry_after_ms = Some(self.retry_after_ms.map_or(ms, |now| now.max(ms))),
                None => self.is_final = true,
            }
        }
    }

    fn fact(&self, rule: &str, name: &str) -> Option<i64> {
        let is_it = |fact: &&Fact| fact.rule == rule && fact.name == name;
        self.inputs.facts.iter().find(is_it).map(|fact| fact.value)
    }

    fn close(mut self) -> Judgement {
        let wanted = &self.inputs.wanted;
        let mut rejected = rejected(self.bundle, &self.inputs.origin, wanted);
        let mut granted = self.worst.runs().then(|| wanted.clone());
        if self.worst == Verdict::Clamp {
            granted = self.clamped();
            match &granted {
                Some(action) => rejected.insert(
                    0,
                    Alternative {
                        action: wanted.clone(),
                        because: format!(
                            "`{}` allows {} at most here",
                            self.by.as_ref().map_or("", |(_, rule)| rule.as_str()),
                            action.kind
                        ),
                    },
                ),
                None => self.refuse_empty_range(),
            }
        }
        let (authority, _) = self.bundle.authority(self.inputs.policy_age_ms);
        let until_step = self.until_next_step();
        let left = self.glass_left_ms.and_then(|ms| u64::try_from(ms).ok());
        let until_glass = left.unwrap_or(u64::MAX);
        let until_held = self.until_held();
        Judgement {
            verdict: self.worst,
            rule: self.by.map_or_else(|| asker(&self.inputs.origin), |(_, rule)| rule),
            granted,
            retry_after_ms: if self.is_final { None } else { self.retry_after_ms },
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
        match self.bundle.authority(self.inputs.policy_age_ms).1 {
            Some(left) if !self.never_expires() => left,
            _ => u64::MAX,
        }
    }

    /// How long the action may wait before a freeze or the end of a maintenance window would hold it back.
    fn until_held(&self) -> u64 {
        // An open break-glass token lifts both.
        if !self.worst.runs() || self.glass_left_ms.is_some() {
            return u64::MAX;
        }
        until_held(&self.bundle.rules, &self.asked).unwrap_or(u64::MAX)
    }

    fn clamped(&self) -> Option<Action> {
        let (low, high) = self.bounds;
        let (value, _) = self.asked.amount?;
        if low > high {
            return None;
        }
        Some(Action {
            target: self.inputs.wanted.target.clone(),
            kind: actions::with_amount(&self.inputs.wanted.kind, value.clamp(low, high))?,
        })
    }

    /// Rules that leave no common value deny.
    fn refuse_empty_range(&mut self) {
        let unit = self.asked.amount.map_or(Unit::Count, |(_, unit)| unit);
        let (low, high) = self.bounds;
        let rule = self.by.clone().map_or_else(String::new, |(_, rule)| rule);
        let finding = Finding::pass(0, "<=", Some(low), Some(high), unit).fails(Verdict::Deny, None);
        self.note(&rule, "envelope", "smallest value that all rules allow", finding, false);
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

/// The findings of one rule; no kind makes more than eight.
#[derive(Default)]
struct Findings([Option<Finding>; 8]);

impl Findings {
    fn push(&mut self, finding: Finding) {
        if let Some(free) = self.0.iter_mut().find(|slot| slot.is_none()) {
            *free = Some(finding);
        }
    }

    fn iter(&self) -> impl Iterator<Item = Finding> + '_ {
        self.0.iter().copied().flatten()
    }
}

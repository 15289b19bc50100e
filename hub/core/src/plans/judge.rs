//! What policy says of a plan: the judge of every action, asked for each step as its node's agent will be.
//!
//! Decides nothing that the agent would not decide again: facts that only a node has (budgets, cooldowns, readings) are judged there.
//! Here count permits, envelopes, freezes, windows, and who stands behind the plan.

use std::sync::Arc;
use std::time::Duration;

use policy::{Bundle, Decider, Question};
use wire::Action;
use wire::decision::{Authority, Judgement, Verdict};
use wire::plan::Verb;
use wire::reading::Unit;
use wire::time::Now;

use super::machine::{Judged, PlanRecord};
use super::origin;

/// What policy says of one step now; without a bundle nothing may run.
pub(crate) fn judgement(record: &PlanRecord, index: usize, rules: &Bundle, now: Now) -> Option<Judgement> {
    let step = record.plan.steps.get(index)?;
    let action = Action {
        target: step.target.device()?.clone(),
        kind: step.verb.action()?,
    };
    Some(policy::vet(rules, &action, &origin(record, index), now))
}

/// What policy says of a change of a cluster. What rules count over time (rates, cooldowns) begins with each question here: no node
/// keeps such a ledger for a cluster.
fn of_cluster(record: &PlanRecord, index: usize, rules: &Arc<Bundle>, now: Now) -> Option<Judged> {
    let step = record.plan.steps.get(index)?;
    let kind = policy::KINDS.iter().position(|kind| kind.name == step.verb.name())?;
    let (brain, _) = record.runs_as();
    let target = step.target.to_string();
    let amount = match step.verb {
        Verb::Scale { replicas } => Some((i64::from(replicas), Unit::Count)),
        _ => None,
    };
    // `reflex`, `brain`, `human`: the order of the question.
    let source = if brain { 1 } else { 2 };
    let answer = Decider::new(Arc::clone(rules)).ask(&Question {
        kind,
        source,
        target: &target,
        amount,
        now,
    });
    let all = rules.rules();
    let rule = answer.rule.and_then(|place| all.get(usize::from(place)));
    // Nothing narrower than what was asked for is done to a cluster: whoever sent the plan asks for less.
    let verdict = match answer.verdict {
        Verdict::Clamp => Verdict::Deny,
        verdict => verdict,
    };
    let judgement = Judgement {
        verdict,
        rule: rule.map_or_else(|| "permits".to_owned(), |rule| rule.id.clone()),
        granted: None,
        retry_after_ms: answer.retry_after_ms,
        valid_for_ms: 0,
        authority: Authority::Full,
        clauses: Vec::new(),
        rejected: Vec::new(),
    };
    Some(judged(&judgement, index, rules, now))
}

/// The verdict of the next step.
pub(super) fn step(record: &PlanRecord, index: usize, rules: Option<&Arc<Bundle>>, now: Now) -> Judged {
    let Some(rules) = rules else {
        return denied("no bundle was published yet: `sentinel policy publish` brings one");
    };
    if let Some(judgement) = judgement(record, index, rules, now) {
        return judged(&judgement, index, rules, now);
    }
    of_cluster(record, index, rules, now).unwrap_or_else(|| denied("neither agents nor clusters do that"))
}

/// The worst verdict of all steps that are still to come.
pub(super) fn whole(record: &PlanRecord, rules: Option<&Arc<Bundle>>, now: Now) -> Judged {
    let rest = record.current()..record.plan.steps.len();
    let verdicts = rest.map(|index| step(record, index, rules, now));
    let worst = verdicts.max_by_key(|judged| judged.verdict);
    worst.unwrap_or_else(|| denied("it has no step"))
}

fn denied(because: &str) -> Judged {
    Judged {
        verdict: Verdict::Deny,
        rule: String::new(),
        because: because.to_owned(),
        until: None,
        approvals: 0,
        roll_back: false,
    }
}

fn judged(judgement: &Judgement, index: usize, rules: &Bundle, now: Now) -> Judged {
    let until = judgement
        .retry_after_ms
        .map(|wait_ms| now.mono + Duration::from_millis(wait_ms));
    Judged {
        verdict: judgement.verdict,
        rule: judgement.rule.clone(),
        because: because(judgement, index, now),
        until,
        approvals: 1,
        roll_back: rolls_back(rules, &judgement.rule, now),
    }
}

/// `step 2: hold by rule launch-freeze: …`, in the words of the comparison that gave the verdict.
fn because(judgement: &Judgement, index: usize, now: Now) -> String {
    let number = index + 1;
    let (verdict, rule) = (judgement.verdict.name(), &judgement.rule);
    let clause = judgement
        .clauses
        .iter()
        .find(|clause| clause.rule == *rule && clause.verdict == judgement.verdict && !clause.shadow);
    let why = clause
        .map(|clause| clause.counterfactual.as_str())
        .filter(|why| !why.is_empty());
    let mut text = format!("step {number}: {verdict} by rule {rule}");
    if let Some(why) = why {
        text.push_str(&format!(": would pass if {why}"));
    }
    if let Some(wait_ms) = judgement.retry_after_ms {
        let until = now.wall.0.saturating_add(i64::try_from(wait_ms).unwrap_or(i64::MAX));
        text.push_str(&format!("; until {}", wire::Wall(until)));
    }
    text
}

/// Whether the rule that holds is a freeze that wants changes under way taken back.
fn rolls_back(rules: &Bundle, rule: &str, now: Now) -> bool {
    let freezes = rules.freezes(now.wall);
    freezes
        .iter()
        .any(|freeze| freeze.rule == rule && freeze.in_flight == "rollback")
}

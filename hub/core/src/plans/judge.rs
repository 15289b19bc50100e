//! What policy says of a plan: the judge of every action, asked for each step as its node's agent will be, and how far its sender is
//! trusted.
//!
//! Decides nothing that the agent would not decide again, but for two things that only the hub knows: what a brain's claim is worth,
//! and its tier. Facts that only a node has (budgets, cooldowns, readings) are judged there. Here count permits, envelopes, freezes,
//! windows, and who stands behind the plan.

use std::sync::Arc;
use std::time::Duration;

use policy::{Bundle, Decider, Question, Stated};
use wire::Action;
use wire::decision::{Authority, Judgement, Verdict};
use wire::plan::{Source, Verb};
use wire::reading::Unit;
use wire::time::Now;

use super::brains::Brains;
use super::machine::{Judged, PlanRecord};
use super::origin;
use super::pace::Pace;
use super::placed::busy_nodes;
use crate::documents::Documents;
use crate::fleet::Fleet;

/// A reading comes with the next telemetry of its node, every 5 to 10 s.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// What a plan is judged by.
#[derive(Clone, Copy)]
pub(super) struct Situation<'a> {
    /// The rules; without a bundle nothing may run.
    pub(super) rules: Option<&'a Arc<Bundle>>,
    /// How far brains are trusted.
    pub(super) brains: &'a Brains,
    /// How often steps that limit themselves have begun.
    pub(super) pace: &'a Pace,
    /// All live plans.
    pub(super) plans: &'a Documents<PlanRecord>,
    /// The nodes, and what clusters told of themselves.
    pub(super) fleet: &'a Fleet,
    /// In how many sites the plan's nodes stand.
    pub(super) sites: usize,
    /// The first step that expects an effect of which nothing can be seen yet.
    pub(super) blind: Option<usize>,
    /// When.
    pub(super) now: Now,
}

/// What policy says of one step on a node now, with every comparison.
pub(super) fn judgement(record: &PlanRecord, index: usize, rules: &Bundle, by: Situation<'_>) -> Option<Judgement> {
    let step = record.plan.steps.get(index)?;
    let action = Action {
        target: step.target.device()?.clone(),
        kind: step.verb.action()?,
    };
    let asked = rules.judges_claims();
    let worth = asked
        .then(|| by.brains.worth(&record.plan, &step.verb, by.now))
        .flatten();
    let origin = origin(record, index);
    Some(policy::vet_claim(rules, &action, &origin, by.now, worth))
}

/// What policy says of a change of a cluster. What rules count over time (rates, cooldowns) begins with each question here: no node
/// keeps such a ledger for a cluster.
fn of_cluster(record: &PlanRecord, index: usize, rules: &Arc<Bundle>, by: Situation<'_>) -> Option<Judged> {
    let now = by.now;
    let step = record.plan.steps.get(index)?;
    let kind = policy::KINDS.iter().position(|kind| kind.name == step.verb.name())?;
    let (brain, _) = record.runs_as();
    let target = step.target.to_string();
    let amount = match step.verb {
        Verb::Scale { replicas } => Some((i64::from(replicas), Unit::Count)),
        _ => None,
    };
    // `reflex`, `brain`, `human`, `hub`, `autoscaler`: the order of the question.
    let source = match (&record.plan.source, brain) {
        (_, true) => 1,
        (Source::Scaler { .. }, false) if record.approved_by.is_empty() => 4,
        (Source::Mender { .. }, false) if record.approved_by.is_empty() => 3,
        (_, false) => 2,
    };
    let mut decider = Decider::new(Arc::clone(rules));
    for (name, value) in by
        .brains
        .worth(&record.plan, &step.verb, now)
        .iter()
        .flat_map(|worth| worth.numbers())
    {
        decider.set_fact(&format!("prediction.{name}"), Some(value));
    }
    let told = by
        .fleet
        .rooms
        .step_facts(step, &busy_nodes(by.plans, record, by.fleet), by.fleet, now.mono);
    let facts: Vec<(&str, Option<i64>)> = told
        .facts
        .iter()
        .map(|(name, value)| (name.as_str(), Some(*value)))
        .collect();
    decider.set_facts(&facts);
    let question = Question {
        kind,
        source,
        target: &target,
        amount,
        now,
    };
    let stated = Stated {
        labels: &told.labels,
        cost_delta_micros_per_h: told.cost_micros_per_h,
        resources: &told.resources,
    };
    let answer = decider.ask_about(&question, &stated);
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
    let judged = judged(&judgement, index, rules, now);
    Some(Judged {
        because: format!("{}{}", judged.because, compared(&answer)),
        // A number that is not known comes with what clusters tell next.
        until: judged.until.or(is_unknown(&answer).then(|| now.mono + LOOK_AGAIN)),
        ..judged
    })
}

/// What the comparison that gave the verdict saw.
fn compared(answer: &policy::Answer) -> String {
    match (answer.observed, answer.limit) {
        (Some(observed), Some(limit)) => format!(": {observed} against a limit of {limit}"),
        (None, Some(limit)) => format!(": what it compares with {limit} is not known"),
        (_, None) => String::new(),
    }
}

fn is_unknown(answer: &policy::Answer) -> bool {
    answer.verdict == Verdict::Hold && answer.rule.is_some() && answer.observed.is_none()
}

/// The verdict of the next step: the worst one of what policy says, what its sender's tier lets it do, and the step's own limit.
pub(super) fn step(record: &PlanRecord, index: usize, by: Situation<'_>) -> Judged {
    let Some(rules) = by.rules else {
        return denied("no bundle was published yet: `sentinel policy publish` brings one");
    };
    let by_policy = match judgement(record, index, rules, by) {
        Some(judgement) => judged(&judgement, index, rules, by.now),
        None => of_cluster(record, index, rules, by).unwrap_or_else(|| denied("neither agents nor clusters do that")),
    };
    let others = [
        by_trust(record, index, by),
        by_pace(record, index, by),
        by_sight(record, index, by),
    ];
    let others = others.into_iter().flatten();
    others.fold(
        by_policy,
        |worst, other| if other.verdict > worst.verdict { other } else { worst },
    )
}

/// A step waits where its own limit is used up.
fn by_pace(record: &PlanRecord, index: usize, by: Situation<'_>) -> Option<Judged> {
    let step = record.plan.steps.get(index)?;
    let percent = match record.runs_as() {
        (true, brain) => by.brains.tier(&brain, step.verb.name()).rate_percent().max(1),
        _ => 100,
    };
    let until = by.pace.free_at(step, percent, by.now.mono)?;
    let wait_ms = i64::try_from(until.since(by.now.mono).as_millis()).unwrap_or(i64::MAX);
    let free = wire::Wall(by.now.wall.0.saturating_add(wait_ms));
    Some(Judged {
        verdict: Verdict::Hold,
        rule: "safety".to_owned(),
        because: format!(
            "step {}: its own limit on how often it runs is used up; until {free}",
            index + 1
        ),
        until: Some(until),
        approvals: 1,
        roll_back: false,
    })
}

/// A step waits until there is a reading of what it should change: without one nobody could tell what came of it.
fn by_sight(record: &PlanRecord, index: usize, by: Situation<'_>) -> Option<Judged> {
    let step = record.plan.steps.get(index).filter(|_| by.blind == Some(index))?;
    let metric = &step.expected.as_ref()?.metric;
    Some(Judged {
        verdict: Verdict::Hold,
        rule: "sight".to_owned(),
        because: format!(
            "step {}: no reading of {metric} of {} is here yet, so nobody could see what comes of it",
            index + 1,
            step.target
        ),
        until: Some(by.now.mono + LOOK_AGAIN),
        approvals: 1,
        roll_back: false,
    })
}

/// A person is asked where the brain that sent the plan is not trusted so far.
fn by_trust(record: &PlanRecord, index: usize, by: Situation<'_>) -> Option<Judged> {
    let step = record.plan.steps.get(index)?;
    let untrusted = by.brains.objects(record, &step.verb, by.sites, by.now)?;
    let (number, brain, rule) = (index + 1, record.plan.source.name(), untrusted.rule);
    Some(Judged {
        verdict: Verdict::RequireApproval,
        because: format!("step {number}: {brain} has {rule}: {}", untrusted.because),
        rule,
        until: None,
        approvals: 1,
        roll_back: false,
    })
}

/// The worst verdict of all steps that are still to come, with the most approvals that any of them asks for.
pub(super) fn whole(record: &PlanRecord, by: Situation<'_>) -> Judged {
    let rest = record.current()..record.plan.steps.len();
    let verdicts: Vec<Judged> = rest.map(|index| step(record, index, by)).collect();
    let approvals = verdicts
        .iter()
        .filter(|judged| judged.verdict == Verdict::RequireApproval);
    let approvals = approvals.map(|judged| judged.approvals).max().unwrap_or(1);
    let worst = verdicts.into_iter().max_by_key(|judged| judged.verdict);
    let worst = worst.unwrap_or_else(|| denied("it has no step"));
    Judged { approvals, ..worst }
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
        approvals: rules.approvals(&judgement.rule),
        roll_back: judgement.verdict == Verdict::Hold && rolls_back(rules, &judgement.rule, now),
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
        text.push_str(&format!(": {why}"));
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

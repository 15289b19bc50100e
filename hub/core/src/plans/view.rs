//! A plan as people and scripts read it, and what policy would say of it now.

use policy_trust::{Scores, Standing, Tier};
use wire::api::{
    BrainScoresView, BrainView, EffectView, ObservationView, PlanStepView, PlanView, ReliabilityBinView,
    ShadowStepView, ShadowView, TierChangeView,
};
use wire::plan::Source;
use wire::time::{Mono, Now, Wall};

use super::brains::{BrainRecord, seen, wall};
use super::judge::{self, Situation};
use super::machine::PlanRecord;

/// By what clock a deadline is shown.
#[derive(Debug, Clone, Copy)]
pub struct PlanClock(pub Now);

impl PlanClock {
    fn wall(self, at: Mono) -> Wall {
        let Self(now) = self;
        let ahead = i128::from(at.0) - i128::from(now.mono.0);
        let wall = i128::from(now.wall.0) + ahead;
        Wall(i64::try_from(wall).unwrap_or(i64::MAX))
    }
}

/// A plan's view.
pub fn plan_view(record: &PlanRecord, clock: PlanClock) -> PlanView {
    let plan = &record.plan;
    PlanView {
        id: plan.id,
        state: record.state,
        status: record.state.original_name().to_owned(),
        source: plan.source.to_string(),
        by_brain: matches!(plan.source, Source::Brain { .. }),
        tenant: plan.tenant.clone(),
        reason: plan.reason.clone(),
        key: plan.key.clone(),
        correlation_id: plan.correlation.clone(),
        claim: plan.claim.as_ref().map(Into::into),
        created: plan.created,
        not_after: plan.not_after,
        since: record.since,
        deadline: record
            .next_due()
            .filter(|_| !record.state.is_final())
            .map(|at| clock.wall(at)),
        detail: record.detail.clone(),
        came_true: plan
            .claim
            .as_ref()
            .and_then(|_| seen(record))
            .map_or_else(String::new, |seen| seen.name().to_owned()),
        interfered: record.interfered().cloned(),
        retry_of: record.retry_of,
        approved_by: record.approved_by.clone(),
        approvals_needed: record.approvals_needed,
        steps: plan
            .steps
            .iter()
            .zip(&record.steps)
            .map(|(step, record)| step_view(step, record))
            .collect(),
    }
}

fn step_view(step: &wire::plan::Step, record: &super::machine::StepRecord) -> PlanStepView {
    PlanStepView {
        summary: step.to_string(),
        verb: step.verb.name().to_owned(),
        target: step.target.to_string(),
        params: step.verb.params(),
        state: record.execution.state(),
        expected: step.expected.as_ref().map(EffectView::from),
        observed: record.observed.map(|seen| ObservationView {
            before: seen.before,
            after: seen.after,
            is_met: seen.is_met,
        }),
        command: record.command,
        decision: record.decision.clone(),
        detail: record.detail.clone(),
    }
}

/// What policy would say of each step now. Nothing changes by asking; `None` while no bundle was published.
pub(super) fn shadow_view(record: &PlanRecord, by: Situation<'_>) -> Option<ShadowView> {
    let rules = by.rules?;
    let step = |index: usize| {
        let judged = judge::step(record, index, by);
        let clauses = judge::judgement(record, index, rules, by).map_or_else(Vec::new, |judgement| judgement.clauses);
        ShadowStepView {
            summary: record.plan.steps[index].to_string(),
            verdict: judged.verdict,
            rule: judged.rule,
            because: judged.because,
            until: judged.until.map(|at| PlanClock(by.now).wall(at)),
            clauses,
        }
    };
    let steps: Vec<ShadowStepView> = (0..record.plan.steps.len()).map(step).collect();
    Some(ShadowView {
        id: record.plan.id,
        runs: steps.iter().all(|step| step.verdict.runs()),
        steps,
    })
}

/// One brain with one verb, as people and scripts read it.
pub fn brain_view(found: &BrainRecord, now: Now) -> BrainView {
    let Standing {
        model,
        tier,
        since_ms,
        scores,
        evidence_over,
        evidence_under,
        predictions,
        censored,
        next_tier_lacks,
        changes,
    } = found.record.standing(u64::try_from(now.wall.0).unwrap_or(0));
    let change = |change: &policy_trust::Change| TierChangeView {
        at: wall(change.at_ms),
        from: change.from.name().to_owned(),
        to: change.to.name().to_owned(),
        why: change.why.to_string(),
    };
    BrainView {
        brain: found.brain.clone(),
        verb: found.verb.clone(),
        model,
        tier: tier.name().to_owned(),
        tier_name: word(tier).to_owned(),
        since: wall(since_ms),
        predictions,
        censored,
        next_tier_lacks,
        evidence_over: hundredths(evidence_over),
        evidence_under: hundredths(evidence_under),
        scores: scores.map(|scores| scores_view(&scores)),
        changes: changes.iter().map(change).collect(),
    }
}

const fn word(tier: Tier) -> &'static str {
    match tier {
        Tier::T0 => "shadow",
        Tier::T1 => "advise",
        Tier::T2 => "bounded",
        Tier::T3 => "full",
    }
}

fn scores_view(scores: &Scores) -> BrainScoresView {
    let bin = |bin: &policy_trust::Bin| ReliabilityBinView {
        claimed_bp: basis_points(bin.claimed),
        came_true_bp: basis_points(bin.came_true),
        weight: hundredths(bin.weight),
    };
    BrainScoresView {
        outcomes: u64::try_from(scores.count).unwrap_or(u64::MAX),
        effective: hundredths(scores.effective),
        base_rate_bp: basis_points(scores.base_rate),
        brier_bp: basis_points(scores.brier),
        skill_bp: scores.skill.map(basis_points),
        calibration_error_bp: basis_points(scores.calibration_error),
        bins: scores.bins.iter().map(bin).collect(),
    }
}

/// A share in hundredths of a percent, to the nearest.
fn basis_points(share: f64) -> i64 {
    (share * 10_000.0 + if share < 0.0 { -0.5 } else { 0.5 }) as i64
}

fn hundredths(value: f64) -> u64 {
    (value * 100.0 + 0.5) as u64
}

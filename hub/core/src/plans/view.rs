//! A plan as people and scripts read it, and what policy would say of it now.

use policy::Bundle;
use wire::api::{EffectView, ObservationView, PlanStepView, PlanView, ShadowStepView, ShadowView};
use wire::plan::Source;
use wire::time::{Mono, Now, Wall};

use super::judge;
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
pub(crate) fn shadow_view(record: &PlanRecord, rules: Option<&Bundle>, now: Now) -> Option<ShadowView> {
    let rules = rules?;
    let steps: Vec<ShadowStepView> = (0..record.plan.steps.len())
        .filter_map(|index| {
            let judgement = judge::judgement(record, index, rules, now)?;
            let until = judgement
                .retry_after_ms
                .map(|wait_ms| Wall(now.wall.0.saturating_add(i64::try_from(wait_ms).unwrap_or(i64::MAX))));
            Some(ShadowStepView {
                summary: record.plan.steps[index].to_string(),
                verdict: judgement.verdict,
                rule: judgement.rule,
                until,
                clauses: judgement.clauses,
            })
        })
        .collect();
    Some(ShadowView {
        id: record.plan.id,
        runs: steps.len() == record.plan.steps.len() && steps.iter().all(|step| step.verdict.runs()),
        steps,
    })
}

//! A plan as people and scripts read it.

use wire::api::{EffectView, ObservationView, PlanStepView, PlanView};
use wire::plan::Source;
use wire::time::{Mono, Now, Wall};

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

//! The entries of a plan's life in the hub's journal, in words for people.

use wire::change::{Caller, ChangeRecord};
use wire::ids::PlanId;
use wire::plan::PlanState;

use super::brains;
use super::machine::PlanRecord;
use crate::documents::Document;

pub(super) fn submitted(record: &PlanRecord, caller: &Caller) -> ChangeRecord {
    let plan = &record.plan;
    let mut change = ChangeRecord::new(caller.clone(), "plan.submit", target(plan.id)).because(&plan.reason);
    for (step, number) in plan.steps.iter().zip(1..) {
        change = change.with(&format!("step {number}"), step);
    }
    if let Some(claim) = &plan.claim {
        let sure = format!("{}.{:02} %", claim.confidence_bp / 100, claim.confidence_bp % 100);
        change = change.with("prediction", &claim.prediction).with("confidence", sure);
    }
    change
}

/// The entry of a plan of the hub itself that could not be taken in.
pub(super) fn refused(id: PlanId, problem: String) -> ChangeRecord {
    ChangeRecord::new(Caller::hub(), "plan.refused", target(id)).because(problem)
}

/// The entry of a state that a plan enters.
pub(super) fn entered(record: &PlanRecord, state: PlanState, caller: &Caller) -> ChangeRecord {
    let verb = format!("plan.{}", state.name());
    let mut change = ChangeRecord::new(caller.clone(), &verb, target(record.plan.id)).because(&record.detail);
    let step = record.steps.get(record.current());
    if let Some(decision) = step.and_then(|step| step.decision.as_ref()) {
        change = change.with("decision", decision);
    }
    let at_cluster = step.filter(|step| step.was.is_some() && !step.detail.is_empty());
    if let Some(step) = at_cluster {
        change = change.with("seen", &step.detail);
    }
    if let Some(observed) = step.and_then(|step| step.observed) {
        change = change.with("before", observed.before).with("after", observed.after);
    }
    if let (Some(claim), Some(seen)) = (&record.plan.claim, brains::seen(record)) {
        change = change
            .with("prediction", &claim.prediction)
            .with("came true", seen.name());
    }
    if let Some(by) = record.interfered().filter(|_| state.is_final()) {
        change = change.with("interfered", by);
    }
    change
}

pub(super) fn target(id: PlanId) -> String {
    format!("{}/{id}", PlanRecord::KIND)
}

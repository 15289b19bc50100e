//! Plans as version 1 of their documents had them: before steps kept how their targets were. Its bytes are in `golden/plan-1.hex`.

use policy_execution::Execution;
use serde::Deserialize;
use wire::ids::{CommandId, DecisionId, PlanId};
use wire::plan::{Observation, Plan, PlanState};
use wire::time::{Mono, Wall};

use super::{Judged, PlanRecord, StepRecord};

#[derive(Deserialize)]
struct Step1 {
    execution: Execution,
    command: Option<CommandId>,
    undo_command: Option<CommandId>,
    decision: Option<DecisionId>,
    before: Option<i64>,
    observed: Option<Observation>,
    detail: String,
}

#[derive(Deserialize)]
struct Record1 {
    plan: Plan,
    state: PlanState,
    since: Wall,
    detail: String,
    steps: Vec<Step1>,
    approved_by: Vec<String>,
    approvals_needed: u32,
    retry_of: Option<PlanId>,
    ends: Mono,
    deadline: Option<Mono>,
    wake: Option<Mono>,
    judged: Option<Judged>,
    current: u16,
    leases: u8,
    revision: u64,
}

/// Reads one; `None` for bytes that are none.
pub(super) fn read(bytes: &[u8]) -> Option<PlanRecord> {
    let record: Record1 = wire::codec::decode(bytes).ok()?;
    let step = |step: Step1| StepRecord {
        execution: step.execution,
        command: step.command,
        undo_command: step.undo_command,
        decision: step.decision,
        before: step.before,
        observed: step.observed,
        detail: step.detail,
        was: None,
    };
    Some(PlanRecord {
        plan: record.plan,
        state: record.state,
        since: record.since,
        detail: record.detail,
        steps: record.steps.into_iter().map(step).collect(),
        approved_by: record.approved_by,
        approvals_needed: record.approvals_needed,
        retry_of: record.retry_of,
        ends: record.ends,
        deadline: record.deadline,
        wake: record.wake,
        judged: record.judged,
        current: record.current,
        leases: record.leases,
        revision: record.revision,
        called_off: false,
        interfered: None,
    })
}

//! Tasks, webhooks and remediation agents in counts.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use hub_core::tasks::Label;
use hub_core::tasks::agents::AgentStatus;
use hub_core::{Task, TaskState};
use wire::exposition::{Kind, Page};

use super::super::{App, Failure};
use crate::metrics::Counted;

/// The states of a task, so that each has its row also when no task is in it.
const STATES: [TaskState; 12] = [
    TaskState::Queued,
    TaskState::Leased,
    TaskState::Held,
    TaskState::Publishing,
    TaskState::Proposed,
    TaskState::Merged,
    TaskState::Closed,
    TaskState::NoFix,
    TaskState::Refused,
    TaskState::Dead,
    TaskState::Cancelled,
    TaskState::Completed,
];

/// What may become of a pull request.
const LABELS: [Label; 5] = [
    Label::Merged,
    Label::Red,
    Label::Reverted,
    Label::Rejected,
    Label::Closed,
];

/// Writes them.
pub async fn write(page: &mut Page, app: &App, counted: &Counted) -> Result<(), Failure> {
    let tasks = app.hub.tasks().await?;
    let among = |is: &dyn Fn(&Task) -> bool| tasks.iter().filter(|task| is(task)).count() as u64;
    let states = page.family("sentinel_tasks", Kind::Gauge, "Tasks by state.");
    for state in STATES {
        states.count(&[("state", state.name())], among(&|task| task.state == state));
    }
    let mut codes: BTreeMap<&str, u64> = BTreeMap::new();
    for code in tasks.iter().flat_map(|task| &task.codes) {
        // Without what stands in brackets, so that nobody who makes codes makes rows.
        *codes.entry(code.split('(').next().unwrap_or(code)).or_default() += 1;
    }
    let rows = page.family("sentinel_task_codes", Kind::Gauge, "Tasks by why they are no fix.");
    for (code, count) in codes {
        rows.count(&[("code", code)], count);
    }
    let outcomes = page.family(
        "sentinel_pull_request_outcomes",
        Kind::Gauge,
        "Pull requests of tasks by what became of them.",
    );
    for label in LABELS {
        outcomes.count(&[("outcome", label.name())], among(&|task| task.label == Some(label)));
    }
    let agents = app.hub.remediation_agents().await?;
    let stand = page.family(
        "sentinel_remediation_agents",
        Kind::Gauge,
        "Remediation agents by how they stand.",
    );
    for status in AgentStatus::ALL {
        let count = agents.iter().filter(|agent| agent.status == status).count() as u64;
        stand.count(&[("status", status.name())], count);
    }
    let deliveries = page.family(
        "sentinel_webhook_deliveries",
        Kind::Counter,
        "Webhook deliveries by source and by what became of them.",
    );
    for ((source, result), count) in &counted.deliveries {
        deliveries.count(&[("source", source), ("result", result)], *count);
    }
    page.family(
        "sentinel_webhook_recovered",
        Kind::Counter,
        "Failed checks that no webhook told of and the forge did when asked.",
    )
    .count(&[], app.meters.recovered.load(Ordering::Relaxed));
    Ok(())
}

//! What somebody submits, and how names and texts become a step.
//!
//! The gRPC contract, the HTTP API and the command line all say a step as a verb, a target and parameters in text: it is read here,
//! once.

use std::collections::BTreeMap;

use super::{Claim, ExpectedEffect, PlanProblem, STEP_VALID, Safety, Source, Step, Target, Verb, millis};
use crate::reading::{DeviceId, Quantity, Series};
use crate::time::Wall;

/// Statements of the caller about the world that the original took as facts. They are accepted, and nothing is decided by them.
pub const CLAIMED_PARAMS: &[&str] = &[
    "estimated_cost_per_hour",
    "total_cpu_cores",
    "total_memory_gi",
    "total_gpus",
    "current_uptime_percent",
    "current_p99_latency_ms",
    "current_success_rate_percent",
    "source",
];

/// A plan as it was submitted: not yet checked, and without an id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// Who sent it, from how they were authenticated.
    pub source: Source,
    /// Whose budget; empty for the house.
    pub tenant: String,
    /// Why.
    pub reason: String,
    /// The sender's own id of it; empty for none.
    pub key: String,
    /// What it belongs to; empty for nothing.
    pub correlation: String,
    /// What its sender says of the future.
    pub claim: Option<Claim>,
    /// What is to be done.
    pub steps: Vec<Step>,
    /// When it ends; by its steps if absent.
    pub not_after: Option<Wall>,
}

/// One step as names and texts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DraftStep {
    /// The verb's name.
    pub verb: String,
    /// What it is done to.
    pub target: BTreeMap<String, String>,
    /// The verb's parameters.
    pub params: BTreeMap<String, String>,
    /// How long after the plan was made it may begin, in milliseconds; 0 for the default.
    pub valid_for_ms: u64,
    /// How often at most.
    pub safety: Option<Safety>,
    /// Name of the quantity that should move, for example `gpu.temperature`; empty for no expectation.
    pub metric: String,
    /// Of which device; the target's own if empty.
    pub metric_device: String,
    /// By how much, in the unit of the quantity.
    pub delta: i64,
    /// By when, in milliseconds after it was carried out.
    pub within_ms: u64,
}

/// Reads one step. The error names the field inside the step.
pub fn read_step(draft: &DraftStep) -> Result<Step, PlanProblem> {
    let verb = Verb::read(&draft.verb, &draft.params)?;
    let target = Target::read(&draft.target)?;
    verb.check_target(&target)?;
    let expected = read_effect(draft, &target)?;
    let valid_for_ms = match draft.valid_for_ms {
        0 => millis(STEP_VALID.2),
        given => given,
    };
    Ok(Step {
        verb,
        target,
        expected,
        safety: draft.safety,
        valid_for_ms,
    })
}

/// Reads the span of a rate limit, in milliseconds: `30s`, `5m`, `1h`, `1d`.
pub fn read_window(text: &str) -> Result<u64, PlanProblem> {
    let (digits, unit) = text.split_at(text.len() - text.chars().next_back().map_or(0, char::len_utf8));
    let unit = match unit {
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => 0,
    };
    let span = digits
        .trim()
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(unit));
    match span {
        Some(span) if span > 0 => Ok(span),
        _ => Err(PlanProblem::new(
            "safety.window",
            format!("`{text}` is no span; it is written 30s, 5m, 1h or 1d"),
        )),
    }
}

fn read_effect(draft: &DraftStep, target: &Target) -> Result<Option<ExpectedEffect>, PlanProblem> {
    if draft.metric.is_empty() {
        return match draft.delta {
            0 => Ok(None),
            _ => Err(PlanProblem::new("expected.metric", "is empty, and `delta` is not 0")),
        };
    }
    let Some(quantity) = Quantity::ALL.iter().find(|known| known.name() == draft.metric) else {
        let problem = format!(
            "`{}` is no quantity that nodes measure, for example `gpu.temperature`",
            draft.metric
        );
        return Err(PlanProblem::new("expected.metric", problem));
    };
    let device = match (draft.metric_device.as_str(), target.device()) {
        ("", Some(device)) => device.clone(),
        ("", None) => {
            let problem = "is empty, and the target is no part of a node";
            return Err(PlanProblem::new("expected.device", problem));
        }
        (text, _) => DeviceId::new(text).map_err(|error| PlanProblem::new("expected.device", error.to_string()))?,
    };
    Ok(Some(ExpectedEffect {
        metric: Series {
            device,
            quantity: *quantity,
        },
        delta: draft.delta,
        within_ms: draft.within_ms,
    }))
}

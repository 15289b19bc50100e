//! Between the contract's messages and the words of `wire`, both ways.
//!
//! Everything that a brain sends is checked here field by field: numbers that are none, ids that are too long, verbs that nobody knows.
//!
//! Invariants: what cannot be read is an error that names the field, never a default; a missing reading is left out of a batch, never 0.

use std::collections::BTreeMap;

use wire::ids::{AgentId, PlanId};
use wire::plan::{
    Claim, Draft, DraftStep, MAX_STEPS, Plan, PlanOutcome, PlanProblem, Safety, Source, Step, read_step, read_window,
};
use wire::reading::{DeviceId, Quantity, Series};
use wire::time::Wall;

use crate::proto;

/// One value of one series of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Point {
    /// Whose.
    pub node: AgentId,
    /// What.
    pub series: Series,
    /// When, by the node's wall clock.
    pub at: Wall,
    /// The value; `None` when the sensor could not say.
    pub value: Option<i64>,
    /// A program plays the device.
    pub simulated: bool,
}

/// Some points that travel and are acknowledged together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// Names it; the same batch has the same id whenever it is sent.
    pub id: String,
    /// The points; at most [`crate::MAX_POINTS`].
    pub points: Vec<Point>,
    /// Where telemetry goes on after it.
    pub cursor: String,
    /// Telemetry was dropped before it.
    pub gap_before: bool,
}

/// What a brain says of the future, as it came.
pub type Prediction = Claim;

/// A plan that a brain sent: its own id of it, and the plan if it can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The brain's id.
    pub plan_id: String,
    /// The plan, or the first field at fault.
    pub draft: Result<Draft, PlanProblem>,
}

/// Whether a plan was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// The brain's id.
    pub plan_id: String,
    /// The hub's id, or why it was not taken.
    pub result: Result<PlanId, String>,
    /// When.
    pub at: Wall,
}

/// Reads a plan of the brain with this name.
pub fn receive(plan: proto::ActionPlan, brain: &str) -> Received {
    let plan_id = cut(&plan.plan_id);
    let draft = draft(plan, brain);
    Received { plan_id, draft }
}

fn draft(plan: proto::ActionPlan, brain: &str) -> Result<Draft, PlanProblem> {
    let count = plan.decisions.len();
    if count > MAX_STEPS {
        let problem = format!("there are {count}, at most {MAX_STEPS} fit in one plan");
        return Err(PlanProblem::new("decisions", problem));
    }
    let mut steps = Vec::with_capacity(count);
    for (index, decision) in plan.decisions.into_iter().enumerate() {
        let step = step(decision).map_err(|problem| problem.within(&format!("decisions[{index}]")))?;
        steps.push(step);
    }
    let model = plan
        .prediction
        .as_ref()
        .map_or("", |prediction| &prediction.model_version);
    let source = Source::Brain {
        name: brain.to_owned(),
        model: model.to_owned(),
    };
    let key = if plan.idempotency_key.is_empty() {
        plan.plan_id
    } else {
        plan.idempotency_key
    };
    // A brain of the first version gives no reason; its plan says what it does.
    let reason = match (plan.reason.is_empty(), steps.first()) {
        (true, Some(step)) => format!("{brain} wants {step}"),
        _ => plan.reason,
    };
    Ok(Draft {
        source,
        tenant: plan.tenant,
        reason,
        key,
        correlation: plan.correlation_id,
        claim: plan.prediction.map(claim).transpose()?,
        steps,
        not_after: (plan.not_after != 0).then_some(Wall(plan.not_after)),
    })
}

fn claim(prediction: proto::Prediction) -> Result<Claim, PlanProblem> {
    Ok(Claim {
        prediction: prediction.prediction_id,
        class: prediction.class,
        confidence_bp: basis_points("prediction.confidence", prediction.confidence)?,
        horizon_ms: prediction.horizon_ms,
    })
}

/// A share between 0 and 1 in hundredths of a percent. A NaN is none.
fn basis_points(field: &str, share: f64) -> Result<u16, PlanProblem> {
    if (0.0..=1.0).contains(&share) {
        // In range by the line above; rounded to the nearest.
        return Ok((share * 10_000.0).round() as u16);
    }
    Err(PlanProblem::new(
        field,
        format!("{share} is no probability between 0 and 1"),
    ))
}

fn step(decision: proto::Decision) -> Result<Step, PlanProblem> {
    let expected = decision.expected.unwrap_or_default();
    let valid_for_ms = match u64::try_from(decision.ttl) {
        Ok(seconds) => seconds.saturating_mul(1_000),
        Err(_) => return Err(PlanProblem::new("ttl", format!("{} s is negative", decision.ttl))),
    };
    read_step(&DraftStep {
        verb: decision.verb,
        target: decision.target,
        params: decision.params,
        valid_for_ms,
        safety: decision.safety.map(safety).transpose()?,
        metric: expected.metric,
        metric_device: expected.device,
        delta: expected.delta,
        within_ms: expected.within_ms,
    })
}

fn safety(safety: proto::Safety) -> Result<Safety, PlanProblem> {
    let limit = u32::try_from(safety.rate_limit);
    let wrong = |_| PlanProblem::new("safety.rate_limit", format!("{} is negative", safety.rate_limit));
    Ok(Safety {
        limit: limit.map_err(wrong)?,
        window_ms: read_window(&safety.window)?,
    })
}

/// A plan as a brain sends it; the other way of [`receive`].
pub fn action_plan(plan_id: &str, draft: &Draft, created: Wall) -> proto::ActionPlan {
    let model = match &draft.source {
        Source::Brain { model, .. } => model.clone(),
        Source::Person { .. } | Source::Scaler { .. } | Source::Mender { .. } => String::new(),
    };
    let prediction = draft.claim.as_ref().map(|claim| proto::Prediction {
        prediction_id: claim.prediction.clone(),
        class: claim.class.clone(),
        confidence: f64::from(claim.confidence_bp) / 10_000.0,
        horizon_ms: claim.horizon_ms,
        model_version: model,
    });
    proto::ActionPlan {
        plan_id: plan_id.to_owned(),
        decisions: draft.steps.iter().map(decision).collect(),
        source: draft.source.name().to_owned(),
        created_at: created.0,
        correlation_id: draft.correlation.clone(),
        reason: draft.reason.clone(),
        prediction,
        not_after: draft.not_after.map_or(0, |at| at.0),
        idempotency_key: draft.key.clone(),
        tenant: draft.tenant.clone(),
    }
}

fn decision(step: &Step) -> proto::Decision {
    let expected = step.expected.as_ref().map(|effect| proto::ExpectedEffect {
        metric: effect.metric.quantity.name().to_owned(),
        device: effect.metric.device.to_string(),
        delta: effect.delta,
        within_ms: effect.within_ms,
    });
    let safety = step.safety.map(|safety| proto::Safety {
        rate_limit: i32::try_from(safety.limit).unwrap_or(i32::MAX),
        window: format!("{}s", safety.window_ms / 1_000),
    });
    proto::Decision {
        verb: step.verb.name().to_owned(),
        target: step.target.fields(),
        params: step.verb.params(),
        ttl: i32::try_from(step.valid_for_ms / 1_000).unwrap_or(i32::MAX),
        safety,
        expected,
    }
}

/// A batch as it travels.
pub fn telemetry(batch: &Batch, cluster: &str) -> proto::TelemetryBatch {
    proto::TelemetryBatch {
        points: batch.points.iter().filter_map(point).collect(),
        cluster_id: cluster.to_owned(),
        batch_id: batch.id.clone(),
        cursor: batch.cursor.clone(),
        gap_before: batch.gap_before,
    }
}

fn point(point: &Point) -> Option<proto::TelemetryPoint> {
    let exact = point.value?;
    let mut labels = BTreeMap::from([
        ("node".to_owned(), point.node.to_string()),
        ("device".to_owned(), point.series.device.to_string()),
    ]);
    if point.simulated {
        labels.insert("simulated".to_owned(), "true".to_owned());
    }
    Some(proto::TelemetryPoint {
        name: point.series.quantity.name().to_owned(),
        // Exact up to 2^53; `exact` is what counts.
        value: exact as f64,
        labels,
        ts: point.at.0,
        exact,
        unit: point.series.quantity.unit().name().to_owned(),
    })
}

/// Reads a batch; points that are none are left out and counted.
pub fn read_telemetry(batch: proto::TelemetryBatch) -> (Batch, usize) {
    let found = batch.points.len();
    let points: Vec<Point> = batch.points.iter().filter_map(read_point).collect();
    let skipped = found - points.len();
    let batch = Batch {
        id: batch.batch_id,
        points,
        cursor: batch.cursor,
        gap_before: batch.gap_before,
    };
    (batch, skipped)
}

fn read_point(point: &proto::TelemetryPoint) -> Option<Point> {
    let quantity = Quantity::ALL.iter().find(|known| known.name() == point.name)?;
    Some(Point {
        node: AgentId::new(point.labels.get("node")?.as_str()).ok()?,
        series: Series::new(DeviceId::new(point.labels.get("device")?.as_str()).ok()?, *quantity),
        at: Wall(point.ts),
        value: Some(point.exact),
        simulated: point.labels.contains_key("simulated"),
    })
}

/// Whether a plan was taken, as it travels.
pub fn plan_ack(taken: &Taken) -> proto::PlanAck {
    let (message, hub_plan_id) = match &taken.result {
        Ok(id) => (
            "taken; what comes of it is reported by its id".to_owned(),
            id.to_string(),
        ),
        Err(reason) => (reason.clone(), String::new()),
    };
    proto::PlanAck {
        plan_id: taken.plan_id.clone(),
        success: taken.result.is_ok(),
        message,
        executed_at: taken.at.0,
        metrics: BTreeMap::new(),
        hub_plan_id,
    }
}

/// What came of a plan, as it travels. `key` is the brain's own id of it.
pub fn outcome(outcome_id: &str, key: &str, outcome: &PlanOutcome) -> proto::PlanOutcome {
    use proto::plan_outcome::Label;
    let label = match outcome.label() {
        Some(true) => Label::True,
        Some(false) => Label::False,
        None => Label::Censored,
    };
    proto::PlanOutcome {
        outcome_id: outcome_id.to_owned(),
        plan_id: key.to_owned(),
        hub_plan_id: outcome.plan.to_string(),
        prediction_id: outcome.prediction.clone(),
        state: outcome.state.name().to_owned(),
        detail: outcome.detail.clone(),
        at: outcome.at.0,
        label: label.into(),
        steps: outcome.steps.iter().map(step_outcome).collect(),
    }
}

fn step_outcome(step: &wire::plan::StepOutcome) -> proto::StepOutcome {
    proto::StepOutcome {
        state: step.state.name().to_owned(),
        detail: step.detail.clone(),
        observed: step.observed.is_some(),
        before: step.observed.map_or(0, |seen| seen.before),
        after: step.observed.map_or(0, |seen| seen.after),
        met: step.observed.is_some_and(|seen| seen.is_met),
    }
}

/// What this hub can do.
pub fn capabilities(plans_per_second: u32) -> proto::Capabilities {
    let owned = |names: &mut dyn Iterator<Item = &'static str>| names.map(str::to_owned).collect();
    proto::Capabilities {
        contract: crate::CONTRACT,
        verbs: owned(&mut wire::plan::Verb::NAMES.iter().copied()),
        quantities: owned(&mut Quantity::ALL.iter().map(|quantity| quantity.name())),
        plans_per_second,
        // A constant of this crate, far below the limit of the type.
        max_message_bytes: crate::MAX_MESSAGE_BYTES as u32,
    }
}

/// A plan that a hub holds, as the brain would have sent it.
pub fn of_plan(plan: &Plan) -> proto::ActionPlan {
    let draft = Draft {
        source: plan.source.clone(),
        tenant: plan.tenant.clone(),
        reason: plan.reason.clone(),
        key: plan.key.clone(),
        correlation: plan.correlation.clone(),
        claim: plan.claim.clone(),
        steps: plan.steps.clone(),
        not_after: Some(plan.not_after),
    };
    action_plan(&plan.id.to_string(), &draft, plan.created)
}

/// An id that somebody else chose, as much of it as is given back.
fn cut(text: &str) -> String {
    text.chars().take(wire::plan::MAX_NAME).collect()
}

#[cfg(test)]
mod tests;

//! Plans as people and scripts submit and read them.
//!
//! The shape of the original (`decisions` of verb, target, params, ttl, safety) with our additions. Reading a request into a draft is
//! all that is decided here.
//!
//! Read next: `wire/src/plan.rs` (what a plan is), `hub/src/http/plans.rs` (the routes).

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use crate::decision::{Clause, Verdict};
use crate::ids::{CommandId, DecisionId, PlanId};
use crate::plan::{
    Claim, Draft, DraftStep, ExpectedEffect, Observation, Plan, PlanProblem, PlanState, Safety, Source, Step,
    StepState, read_step,
};
use crate::time::Wall;

/// Somebody submits a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PlanRequest {
    /// What is to be done, in this order.
    pub decisions: Vec<PlanStepRequest>,
    /// Why. Not empty.
    pub reason: String,
    /// The sender's own id of it: sent again, it is the same plan.
    #[serde(default)]
    pub key: String,
    /// What it belongs to.
    #[serde(default)]
    pub correlation_id: String,
    /// Whose budget.
    #[serde(default)]
    pub tenant: String,
    /// Ignored: who sends a plan follows from the login. Accepted because the original's clients send it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// When it ends at the latest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Wall>,
    /// What its sender says of the future.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<ClaimView>,
}

impl PlanRequest {
    /// A plan of one step.
    pub fn of_step(step: PlanStepRequest, reason: &str) -> Self {
        Self {
            decisions: vec![step],
            reason: reason.to_owned(),
            key: String::new(),
            correlation_id: String::new(),
            tenant: String::new(),
            source: None,
            not_after: None,
            claim: None,
        }
    }
}

/// One step of a submitted plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PlanStepRequest {
    /// The verb's name.
    pub verb: String,
    /// What it is done to.
    pub target: BTreeMap<String, String>,
    /// The verb's parameters: texts, numbers or truth values.
    #[serde(default)]
    pub params: BTreeMap<String, Param>,
    /// How long after the plan was made it may begin, in seconds; the default if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u64>,
    /// How often at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub safety: Option<SafetyRequest>,
    /// What should come of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<EffectView>,
}

/// How often a step may run at most, in the original's spelling.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SafetyRequest {
    /// At most this many …
    pub rate_limit: u32,
    /// … in this span: `5m`, `1h`.
    pub window: String,
}

/// A parameter, whatever JSON calls it, as its text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct Param(pub String);

impl<'de> Deserialize<'de> for Param {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Scalar;
        impl serde::de::Visitor<'_> for Scalar {
            type Value = Param;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, a number or a truth value")
            }
            fn visit_str<E>(self, value: &str) -> Result<Param, E> {
                Ok(Param(value.to_owned()))
            }
            fn visit_bool<E>(self, value: bool) -> Result<Param, E> {
                Ok(Param(value.to_string()))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Param, E> {
                Ok(Param(value.to_string()))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Param, E> {
                Ok(Param(value.to_string()))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Param, E> {
                Ok(Param(value.to_string()))
            }
        }
        deserializer.deserialize_any(Scalar)
    }
}

/// What a plan's sender says of the future.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ClaimView {
    /// The sender's id of the prediction.
    pub prediction: String,
    /// What kind of statement.
    pub class: String,
    /// The claimed probability.
    #[cfg_attr(feature = "schema", schemars(with = "f64"))]
    #[serde(rename = "confidence", with = "super::unit::ratio")]
    pub confidence_bp: u16,
    /// How far it looks ahead.
    #[cfg_attr(feature = "schema", schemars(with = "f64"))]
    #[serde(rename = "horizon_seconds", with = "super::unit::thousandths")]
    pub horizon_ms: u64,
}

/// An expected effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct EffectView {
    /// Name of the quantity, for example `gpu.temperature`.
    pub metric: String,
    /// Of which device; the target's own if absent.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub device: String,
    /// By how much, in the quantity's unit.
    pub delta: i64,
    /// By when after the step was carried out.
    #[cfg_attr(feature = "schema", schemars(with = "f64"))]
    #[serde(rename = "within_seconds", with = "super::unit::thousandths")]
    pub within_ms: u64,
}

/// A plan and what became of it so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PlanView {
    /// Its id.
    pub id: PlanId,
    /// Where it stands.
    pub state: PlanState,
    /// The nearest of the original's seven words for that.
    pub status: String,
    /// Who sent it, in words.
    pub source: String,
    /// No person sent it.
    pub by_brain: bool,
    /// Whose budget.
    pub tenant: String,
    /// Why.
    pub reason: String,
    /// The sender's own id of it.
    pub key: String,
    /// What it belongs to.
    pub correlation_id: String,
    /// What its sender says of the future.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<ClaimView>,
    /// When it was received.
    pub created: Wall,
    /// When it ends at the latest.
    pub not_after: Wall,
    /// Since when it stands where it stands.
    pub since: Wall,
    /// When that ends at the latest; absent for a plan that is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Wall>,
    /// Why it stands there, for people: a freeze says until when.
    pub detail: String,
    /// For a claim whose plan is over: `true`, `false`, or why it cannot be told.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub came_true: String,
    /// The decision that acted on a target while an effect was looked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interfered: Option<DecisionId>,
    /// The plan that it tries again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_of: Option<PlanId>,
    /// Who approved it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approved_by: Vec<String>,
    /// How many approvals it needs.
    pub approvals_needed: u32,
    /// Its steps.
    pub steps: Vec<PlanStepView>,
}

/// A step and what became of it so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PlanStepView {
    /// In words: `edge-03/gpu0 power_cap to 280 W`.
    pub summary: String,
    /// The verb.
    pub verb: String,
    /// The target, as text.
    pub target: String,
    /// The parameters.
    pub params: BTreeMap<String, String>,
    /// Where it stands.
    pub state: StepState,
    /// What should come of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<EffectView>,
    /// What was seen of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed: Option<ObservationView>,
    /// The command that carried it out last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<CommandId>,
    /// The node's decision on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<DecisionId>,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// What was seen of an expected effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ObservationView {
    /// Before.
    pub before: i64,
    /// After.
    pub after: i64,
    /// It was enough.
    pub is_met: bool,
}

/// What policy would say of each step now. Nothing was changed by asking.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ShadowView {
    /// Which plan.
    pub id: PlanId,
    /// Every step would run now.
    pub runs: bool,
    /// For each step.
    pub steps: Vec<ShadowStepView>,
}

/// What policy would say of one step now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ShadowStepView {
    /// In words.
    pub summary: String,
    /// The answer.
    pub verdict: Verdict,
    /// The rule that gave it, or the tier of the brain that sent the plan.
    pub rule: String,
    /// Why, and what would change it.
    pub because: String,
    /// For a hold, when it is worth asking again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Wall>,
    /// Every comparison.
    pub clauses: Vec<Clause>,
}

impl PlanRequest {
    /// Reads the request into a draft of this source. The error names the field.
    pub fn draft(self, source: Source) -> Result<Draft, PlanProblem> {
        let mut steps = Vec::with_capacity(self.decisions.len().min(crate::plan::MAX_STEPS + 1));
        // One more than may be is enough to be refused for.
        for (index, step) in self.decisions.into_iter().take(crate::plan::MAX_STEPS + 1).enumerate() {
            let step = step.draft().and_then(|step| read_step(&step));
            steps.push(step.map_err(|problem| problem.within(&format!("decisions[{index}]")))?);
        }
        Ok(Draft {
            source,
            tenant: self.tenant,
            reason: self.reason,
            key: self.key,
            correlation: self.correlation_id,
            claim: self.claim.map(|claim| Claim {
                prediction: claim.prediction,
                class: claim.class,
                confidence_bp: claim.confidence_bp,
                horizon_ms: claim.horizon_ms,
            }),
            steps,
            not_after: self.not_after,
        })
    }
}

impl PlanStepRequest {
    fn draft(self) -> Result<DraftStep, PlanProblem> {
        let effect = self.expected.unwrap_or(EffectView {
            metric: String::new(),
            device: String::new(),
            delta: 0,
            within_ms: 0,
        });
        let valid_for_ms = match self.ttl {
            None => 0,
            Some(0) => return Err(PlanProblem::new("ttl", "0 s is over before it begins")),
            Some(seconds) => seconds.saturating_mul(1_000),
        };
        Ok(DraftStep {
            verb: self.verb,
            target: self.target,
            params: self.params.into_iter().map(|(key, Param(text))| (key, text)).collect(),
            valid_for_ms,
            safety: self.safety.map(|safety| safety.read()).transpose()?,
            metric: effect.metric,
            metric_device: effect.device,
            delta: effect.delta,
            within_ms: effect.within_ms,
        })
    }
}

impl SafetyRequest {
    fn read(&self) -> Result<Safety, PlanProblem> {
        Ok(Safety {
            limit: self.rate_limit,
            window_ms: crate::plan::read_window(&self.window)?,
        })
    }
}

impl From<&Claim> for ClaimView {
    fn from(claim: &Claim) -> Self {
        Self {
            prediction: claim.prediction.clone(),
            class: claim.class.clone(),
            confidence_bp: claim.confidence_bp,
            horizon_ms: claim.horizon_ms,
        }
    }
}

impl From<&ExpectedEffect> for EffectView {
    fn from(effect: &ExpectedEffect) -> Self {
        Self {
            metric: effect.metric.quantity.name().to_owned(),
            device: effect.metric.device.to_string(),
            delta: effect.delta,
            within_ms: effect.within_ms,
        }
    }
}

impl From<Observation> for ObservationView {
    fn from(observation: Observation) -> Self {
        Self {
            before: observation.before,
            after: observation.after,
            is_met: observation.is_met,
        }
    }
}

impl PlanStepView {
    /// A step of which nothing has begun.
    pub fn waiting(step: &Step) -> Self {
        Self {
            summary: step.to_string(),
            verb: step.verb.name().to_owned(),
            target: step.target.to_string(),
            params: step.verb.params(),
            state: StepState::Waiting,
            expected: step.expected.as_ref().map(EffectView::from),
            observed: None,
            command: None,
            decision: None,
            detail: String::new(),
        }
    }
}

impl PlanView {
    /// A plan that was just received.
    pub fn received(plan: &Plan) -> Self {
        Self {
            id: plan.id,
            state: PlanState::Received,
            status: PlanState::Received.original_name().to_owned(),
            source: plan.source.to_string(),
            by_brain: plan.source.is_brain(),
            tenant: plan.tenant.clone(),
            reason: plan.reason.clone(),
            key: plan.key.clone(),
            correlation_id: plan.correlation.clone(),
            claim: plan.claim.as_ref().map(ClaimView::from),
            created: plan.created,
            not_after: plan.not_after,
            since: plan.created,
            deadline: None,
            detail: String::new(),
            came_true: String::new(),
            interfered: None,
            retry_of: None,
            approved_by: Vec::new(),
            approvals_needed: 0,
            steps: plan.steps.iter().map(PlanStepView::waiting).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Draft, String> {
        let request: PlanRequest = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let source = Source::Person { name: "ann".to_owned() };
        request.draft(source).map_err(|problem| problem.to_string())
    }

    #[test]
    fn a_plan_of_the_original_is_read() {
        let draft = read(
            r#"{"decisions": [{"verb": "scale", "target": {"workload": "w"}, "params": {"replicas": 3, "estimated_cost_per_hour": 1.5},
                "ttl": 900, "safety": {"rate_limit": 2, "window": "5m"}}], "source": "InfraMind", "reason": "load"}"#,
        )
        .expect("a plan");
        let step = &draft.steps[0];
        assert_eq!(step.to_string(), "default:default/deployment/w scale to 3");
        assert_eq!(step.valid_for_ms, 900_000);
        let safety = Safety {
            limit: 2,
            window_ms: 300_000,
        };
        assert_eq!(step.safety, Some(safety));
        // Who sends it is who is logged in, whatever the text says.
        assert_eq!(draft.source, Source::Person { name: "ann".to_owned() });
    }

    #[test]
    fn a_field_at_fault_is_named_with_its_place() {
        let check = |step: &str, part: &str| {
            let error = read(&format!(r#"{{"reason": "r", "decisions": [{step}]}}"#)).expect_err("it is refused");
            assert!(error.contains(part), "{error}");
        };
        check(
            r#"{"verb": "scale", "target": {"workload": "w"}}"#,
            "decisions[0].params: `scale` needs",
        );
        check(
            r#"{"verb": "fly", "target": {"workload": "w"}}"#,
            "decisions[0].verb: `fly`",
        );
        check(
            r#"{"verb": "drain", "target": {"node": "n"}, "ttl": 0}"#,
            "decisions[0].ttl",
        );
        check(
            r#"{"verb": "drain", "target": {"node": "n"}, "safety": {"rate_limit": 1, "window": "soon"}}"#,
            "decisions[0].safety.window: `soon`",
        );
        check(
            r#"{"verb": "drain", "target": {"node": "n"}, "when": "now"}"#,
            "unknown field `when`",
        );
        check(
            r#"{"verb": "drain", "target": {"node": "n"}, "params": {"a": [1]}}"#,
            "a text, a number",
        );
    }
}

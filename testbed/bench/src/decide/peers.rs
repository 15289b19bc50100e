//! Other policy engines on the same rules: `cedar-policy`, `regorus` and `cel`, as their documentation says they are fastest.
//!
//! Each keeps its rules compiled and its inputs converted beforehand; what is timed is the evaluation with its reasons.

use std::str::FromStr;

use cedar_policy::{Authorizer, Context, Entities, EntityUid, PolicySet, Request};

use super::languages;
use super::rules::{Case, FACTS, Facts, MEMBERS, Rule};

/// Answers the n-th case with the number of broken rules.
pub trait Peer {
    /// Its name and version.
    fn name(&self) -> &'static str;
    /// How many rules are broken; none means that the action may run.
    fn broken(&mut self, case: usize) -> Result<u32, String>;
}

/// All of them, with these rules and cases.
pub fn all(rules: &[Rule], cases: &[Case]) -> Result<Vec<Box<dyn Peer>>, String> {
    Ok(vec![
        Box::new(Cel::new(rules, cases)?),
        Box::new(Rego::new(rules, cases)?),
        Box::new(Cedar::new(rules, cases)?),
    ])
}

fn numbers(case: &Case, facts: &Facts) -> [(&'static str, i64); 9] {
    [
        ("amount", case.amount),
        ("at_ms", case.at_ms),
        ("members", MEMBERS),
        ("unhealthy", facts.unhealthy),
        ("in_flight", facts.in_flight),
        ("p_lo_bp", facts.p_lo_bp),
        ("n", facts.n),
        ("burn_5m", facts.burn_5m),
        ("burn_1h", facts.burn_1h),
    ]
}

fn json(case: &Case, facts: &Facts) -> serde_json::Value {
    let mut object: serde_json::Map<_, _> = numbers(case, facts)
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect();
    object.insert("kind".to_owned(), case.kind.into());
    object.insert("source".to_owned(), case.source.into());
    object.into()
}

struct Cedar {
    authorizer: Authorizer,
    policies: PolicySet,
    entities: Entities,
    requests: Vec<Request>,
}

impl Cedar {
    fn new(rules: &[Rule], cases: &[Case]) -> Result<Self, String> {
        let policies = PolicySet::from_str(&languages::cedar(rules)).map_err(|cause| format!("Cedar: {cause}"))?;
        let id = |kind: &str, name: &str| {
            EntityUid::from_str(&format!("{kind}::\"{name}\"")).map_err(|cause| format!("Cedar: {cause}"))
        };
        let request = |case: &Case| {
            let context = Context::from_json_value(json(case, &FACTS[case.facts]), None)
                .map_err(|cause| format!("Cedar: {cause}"))?;
            let (principal, action) = (id("Source", case.source)?, id("Action", case.kind)?);
            Request::new(principal, action, id("Target", "web")?, context, None)
                .map_err(|cause| format!("Cedar: {cause}"))
        };
        Ok(Self {
            authorizer: Authorizer::new(),
            policies,
            entities: Entities::empty(),
            requests: cases.iter().map(request).collect::<Result<_, _>>()?,
        })
    }
}

impl Peer for Cedar {
    fn name(&self) -> &'static str {
        "cedar-policy 4.14"
    }

    fn broken(&mut self, case: usize) -> Result<u32, String> {
        let response = self
            .authorizer
            .is_authorized(&self.requests[case], &self.policies, &self.entities);
        if let Some(error) = response.diagnostics().errors().next() {
            return Err(format!("Cedar: {error}"));
        }
        let reasons = response.diagnostics().reason().count() as u32;
        Ok(match response.decision() {
            cedar_policy::Decision::Allow => 0,
            cedar_policy::Decision::Deny => reasons,
        })
    }
}

struct Rego {
    policy: regorus::CompiledPolicy,
    inputs: Vec<regorus::Value>,
}

impl Rego {
    fn new(rules: &[Rule], cases: &[Case]) -> Result<Self, String> {
        let said = |cause| format!("regorus: {cause}");
        let mut engine = regorus::Engine::new();
        engine
            .add_policy("bench.rego".to_owned(), languages::rego(rules))
            .map_err(said)?;
        let policy = engine
            .compile_with_entrypoint(&"data.bench.deny".into())
            .map_err(said)?;
        let input = |case: &Case| regorus::Value::from_json_str(&json(case, &FACTS[case.facts]).to_string());
        Ok(Self {
            policy,
            inputs: cases.iter().map(input).collect::<Result<_, _>>().map_err(said)?,
        })
    }
}

impl Peer for Rego {
    fn name(&self) -> &'static str {
        "regorus 0.14"
    }

    fn broken(&mut self, case: usize) -> Result<u32, String> {
        let said = |cause| format!("regorus: {cause}");
        let value = self.policy.eval_with_input(self.inputs[case].clone()).map_err(said)?;
        match value {
            regorus::Value::Set(rules) => Ok(rules.len() as u32),
            other => Err(format!("regorus: `{other}` is no set of rules")),
        }
    }
}

/// The expressions of all rules, evaluated one after the other.
pub struct Cel {
    programs: Vec<cel::Program>,
    contexts: Vec<cel::Context<'static, 'static>>,
}

impl Cel {
    fn new(rules: &[Rule], cases: &[Case]) -> Result<Self, String> {
        Self::of_inputs(rules, cases.iter().map(|case| (*case, FACTS[case.facts])))
    }

    /// With any inputs.
    pub fn of_inputs(rules: &[Rule], inputs: impl Iterator<Item = (Case, Facts)>) -> Result<Self, String> {
        let compile = |text: &String| cel::Program::compile(text).map_err(|cause| format!("cel: {cause}"));
        let context = |(case, facts): (Case, Facts)| {
            let mut context = cel::Context::default();
            for (name, value) in numbers(&case, &facts) {
                context.add_variable_from_value(name, value);
            }
            context.add_variable_from_value("kind", case.kind);
            context.add_variable_from_value("source", case.source);
            context
        };
        Ok(Self {
            programs: languages::cel(rules).iter().map(compile).collect::<Result<_, _>>()?,
            contexts: inputs.map(context).collect(),
        })
    }
}

impl Peer for Cel {
    fn name(&self) -> &'static str {
        "cel 0.15"
    }

    fn broken(&mut self, case: usize) -> Result<u32, String> {
        self.count(case)
    }
}

impl Cel {
    /// How many rules the n-th input breaks.
    pub fn count(&mut self, case: usize) -> Result<u32, String> {
        let mut count = 0;
        for program in &self.programs {
            match program.execute(&self.contexts[case]) {
                Ok(cel::Value::Bool(broken)) => count += u32::from(broken),
                Ok(other) => return Err(format!("cel: {other:?} is neither true nor false")),
                Err(cause) => return Err(format!("cel: {cause}")),
            }
        }
        Ok(count)
    }
}

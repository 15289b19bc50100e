//! Mending drift: a deployment that asks for it, and that stays other than our last change left it, is brought back by a plan.
//!
//! The plan is judged by policy like any other, as the hub's own; what policy refuses stays as it is, and the plan says why. Drift that is over
//! by itself before the next telling is not touched, and the same drift is not mended again and again against somebody who insists.

use std::collections::BTreeMap;
use std::time::Duration;

use wire::ids::PlanId;
use wire::kube::DeploymentRef;
use wire::plan::{Draft, Source, Step, Target, Verb};
use wire::time::Mono;

use super::KubeFacts;

/// How soon the same drift of a deployment may be mended again.
const AGAIN: Duration = Duration::from_secs(600);
/// How long a step may wait for its turn, in milliseconds.
const VALID_MS: u64 = 300_000;

/// What would bring a deployment back to our last change of it; only what may be mended is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mend {
    /// The id of the plan that would do it.
    pub plan: PlanId,
    /// Replicas that are wanted.
    pub replicas: Option<u32>,
    /// The image that is wanted.
    pub image: Option<String>,
}

/// When which drift was mended last, by `namespace/name`.
#[derive(Debug, Default)]
pub(super) struct Mended(BTreeMap<String, (Vec<String>, Mono)>);

impl Mended {
    /// The plans that mend what is as it was at the last telling.
    pub(super) fn plans(
        &mut self,
        cluster: &str,
        before: Option<&KubeFacts>,
        facts: &KubeFacts,
        now: Mono,
    ) -> Vec<(PlanId, Draft)> {
        self.0.retain(|_, (_, at)| now < *at + AGAIN);
        let mut plans = Vec::new();
        for one in &facts.deployments {
            let Some(mend) = one.mend.as_ref().filter(|_| !one.drift.is_empty()) else {
                continue;
            };
            let stays = before.is_some_and(|before| {
                let known = before.deployment(&one.namespace, &one.name);
                known.is_some_and(|known| known.drift == one.drift)
            });
            let key = format!("{}/{}", one.namespace, one.name);
            if !stays || self.0.get(&key).is_some_and(|(drift, _)| *drift == one.drift) {
                continue;
            }
            let target = DeploymentRef {
                cluster: cluster.to_owned(),
                namespace: one.namespace.clone(),
                name: one.name.clone(),
            };
            if let Some(draft) = draft(&target, mend, &one.drift) {
                self.0.insert(key, (one.drift.clone(), now));
                plans.push((mend.plan, draft));
            }
        }
        plans
    }
}

/// The plan; `None` if nothing of the drift may be mended.
fn draft(target: &DeploymentRef, mend: &Mend, drift: &[String]) -> Option<Draft> {
    let image = mend.image.clone().map(|image| Verb::Update { image });
    let replicas = mend.replicas.map(|replicas| Verb::Scale { replicas });
    let steps: Vec<Step> = image
        .into_iter()
        .chain(replicas)
        .map(|verb| Step {
            verb,
            target: Target::Deployment {
                cluster: target.cluster.clone(),
                namespace: target.namespace.clone(),
                name: target.name.clone(),
            },
            expected: None,
            safety: None,
            valid_for_ms: VALID_MS,
        })
        .collect();
    (!steps.is_empty()).then(|| Draft {
        source: Source::Mender {
            name: target.cluster.clone(),
        },
        tenant: String::new(),
        reason: format!("it drifted, and asks to be mended: {}", drift.join("; ")),
        key: String::new(),
        correlation: format!("drift/{target}").chars().take(128).collect(),
        claim: None,
        steps,
        not_after: None,
    })
}

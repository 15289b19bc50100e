//! A plan as a document: codec version 2. Version 1 did not keep how the targets of steps at clusters were, nor what interfered.

use wire::plan::{Plan, PlanState, Source, Target};

use super::machine::PlanRecord;
use crate::documents::Document;

/// Unique key of a target: one live plan for each.
pub(super) fn target_key(target: &Target) -> String {
    short(&format!("target:{target}"))
}

/// Unique key of what the sender calls it; kept when the plan is over, so that a plan sent again is the same one.
pub(super) fn sender_key(plan: &Plan) -> Option<String> {
    key_of(&plan.source, &plan.key)
}

pub(super) fn key_of(source: &Source, key: &str) -> Option<String> {
    (!key.is_empty()).then(|| short(&format!("key:{source}:{key}")))
}

/// Unique key of a brain's prediction: it is joined to the outcome of one plan.
pub(super) fn prediction_key(plan: &Plan) -> Option<String> {
    match (&plan.source, &plan.claim) {
        (Source::Brain { name, .. }, Some(claim)) => Some(short(&format!("prediction:{name}:{}", claim.prediction))),
        _ => None,
    }
}

impl Document for PlanRecord {
    const KIND: &'static str = "plan";
    const VERSION: u8 = 2;
    /// A plan for each device of a thousand servers with four each.
    const MOST_LIVE: usize = 4_096;

    fn id(&self) -> String {
        self.plan.id.to_string()
    }

    fn is_live(&self) -> bool {
        !self.state.is_final()
    }

    fn unique(&self) -> Vec<String> {
        let targets = self.plan.targets().into_iter().filter(|_| self.is_live());
        let targets = targets.map(target_key);
        let kept = sender_key(&self.plan).into_iter().chain(prediction_key(&self.plan));
        targets.chain(kept).collect()
    }

    fn migrate(version: u8, bytes: &[u8]) -> Option<Self> {
        (version == 1).then(|| Self::of_version_1(bytes))?
    }

    fn indexes(&self) -> Vec<(&'static str, String)> {
        let is_over = if self.state == PlanState::Completed || self.is_live() {
            "no"
        } else {
            "yes"
        };
        vec![
            ("state", self.state.name().to_owned()),
            ("unfinished", is_over.to_owned()),
        ]
    }
}

/// A key within the store's bound: a long one ends with its digest.
pub(super) fn short(key: &str) -> String {
    const MOST: usize = 120;
    if key.len() <= MOST {
        return key.to_owned();
    }
    let end = (0..=MOST).rev().find(|at| key.is_char_boundary(*at)).unwrap_or(0);
    format!("{}#{}", &key[..end], wire::Digest::of(key.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_keys_stay_apart_within_the_bound() {
        let long = |end: &str| short(&format!("{}{end}", "x".repeat(300)));
        assert!(long("a").len() <= crate::documents::MAX_KEY_BYTES);
        assert_ne!(long("a"), long("b"));
        assert_eq!(short("target:edge-03/gpu0"), "target:edge-03/gpu0");
    }
}

//! How a deployment is scaled, as a document: codec version 1.

use serde::{Deserialize, Serialize};
use wire::kube::DeploymentRef;
use wire::time::Wall;

use super::scaler::Spec;
use crate::documents::Document;

/// How a deployment is scaled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScalingRule {
    /// Bounds and target.
    pub spec: Spec,
    /// What its Prometheus is asked for the load of all replicas together; `$workload` and `$namespace` are filled in.
    pub query: String,
    /// What is above 0 while something is wrong; empty: nobody says.
    pub trouble: String,
    /// The embedded brain's forecast is a floor.
    pub forecast: bool,
    /// How long a new replica takes to be ready, in milliseconds.
    pub start_ms: u64,
}

/// The same with whom it is from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScalingRecord {
    /// Which deployment.
    pub target: DeploymentRef,
    /// How.
    pub rule: ScalingRule,
    /// Who has set it: they stand behind its plans.
    pub set_by: String,
    /// When.
    pub set_at: Wall,
}

impl ScalingRule {
    /// Holds it against its bounds.
    pub fn check(&self) -> Result<(), String> {
        const MOST_QUERY: usize = 2_000;
        self.spec
            .check()
            .map_err(|(field, problem)| format!("spec.{field}: {problem}"))?;
        for (field, query, least) in [("query", &self.query, 1), ("trouble", &self.trouble, 0)] {
            if !(least..=MOST_QUERY).contains(&query.len()) {
                return Err(format!(
                    "{field}: it has {} bytes, {least} to {MOST_QUERY} are kept",
                    query.len()
                ));
            }
        }
        if !(1_000..=3_600_000).contains(&self.start_ms) {
            return Err(format!(
                "start_ms: {} is not between a second and an hour",
                self.start_ms
            ));
        }
        Ok(())
    }
}

impl Document for ScalingRecord {
    const KIND: &'static str = "scaling";
    const VERSION: u8 = 1;
    /// Each is measured four times a minute.
    const MOST_LIVE: usize = 1_000;

    fn id(&self) -> String {
        self.target.to_string()
    }

    fn is_live(&self) -> bool {
        true
    }
}

//! A rollout as a document: codec version 2. Version 1 knew neither routes nor queries, and kept no analysis.

use serde::{Deserialize, Serialize};
use wire::kube::{AnalysisView, DeploymentRef, RolloutView};
use wire::time::Wall;

use super::facts::Change;
use super::machine::Rollout;
use super::spec::Step;
use super::v1;
use crate::documents::Document;

/// A rollout with whom it belongs to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RolloutRecord {
    /// Its id, a UUIDv7.
    pub id: String,
    /// Of which deployment.
    pub target: DeploymentRef,
    /// How it stands.
    pub rollout: Rollout,
    /// What was asked of the cluster last.
    pub asked: Vec<Change>,
    /// Ready replicas of all its parts, as observed when it was written.
    pub ready: u32,
    /// Who started it.
    pub started_by: String,
    /// When.
    pub started_at: Wall,
    /// What the last comparison of the canary with its baseline said.
    pub analysis: Option<AnalysisView>,
}

impl RolloutRecord {
    /// For people.
    pub fn view(&self) -> RolloutView {
        let steps = self.rollout.spec.steps.len();
        RolloutView {
            id: self.id.clone(),
            target: self.target.clone(),
            image: self.rollout.spec.image.clone(),
            from_image: self.rollout.start.image.clone(),
            phase: self.rollout.phase().word().to_owned(),
            step: (self.rollout.step() + 1).min(steps),
            steps,
            why: self.rollout.why().to_owned(),
            ready: self.ready,
            start_replicas: self.rollout.start.replicas,
            deadline: self.rollout.deadline_ms().map(Wall),
            finished: self.rollout.phase().is_end(),
            started_at: self.started_at,
            started_by: self.started_by.clone(),
            weight: self.rollout.spec.route.is_some().then(|| self.rollout.weight()),
            plan: self.rollout.spec.steps.iter().map(Step::text).collect(),
            analysis: self.analysis.clone(),
        }
    }
}

impl Document for RolloutRecord {
    const KIND: &'static str = "rollout";
    const VERSION: u8 = 2;
    /// Each is looked at every other second.
    const MOST_LIVE: usize = 500;

    fn id(&self) -> String {
        self.id.clone()
    }

    fn is_live(&self) -> bool {
        !self.rollout.phase().is_end()
    }

    fn unique(&self) -> Vec<String> {
        // Finished ones let go of their deployment.
        self.is_live()
            .then(|| format!("target:{}", self.target))
            .into_iter()
            .collect()
    }

    fn migrate(version: u8, bytes: &[u8]) -> Option<Self> {
        (version == 1).then(|| v1::read(bytes))?
    }

    fn indexes(&self) -> Vec<(&'static str, String)> {
        vec![
            ("target", self.target.to_string()),
            ("phase", self.rollout.phase().word().to_owned()),
        ]
    }
}

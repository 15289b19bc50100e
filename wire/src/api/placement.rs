//! Where work would go, and what every cluster and node says to it.

use serde::{Deserialize, Serialize};

use crate::plan::{PlanProblem, WORKLOAD_TYPES};

/// A workload as the original's clients send it, with our additions. It becomes a plan of one step, `deploy`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct NewWorkload {
    /// Its name.
    pub name: String,
    /// `training`, `inference` or `batch`.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// Its image.
    pub image: String,
    /// What each replica takes.
    #[serde(default)]
    pub resources: ResourcesRequest,
    /// How many replicas; 1 without.
    #[serde(default = "one")]
    pub replicas: u32,
    /// The cluster; without, the hub chooses.
    #[serde(default)]
    pub cluster: Option<String>,
    /// The namespace; `default` without.
    #[serde(default)]
    pub namespace: Option<String>,
    /// Labels that its nodes must carry, as NAME=VALUE.
    #[serde(default)]
    pub node_labels: Vec<String>,
    /// All replicas or none, in one topology domain.
    #[serde(default)]
    pub gang: bool,
    /// Why; it is kept with the plan.
    #[serde(default)]
    pub reason: String,
}

/// What one replica takes, in Kubernetes' quantities.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ResourcesRequest {
    /// CPU, such as `2` or `500m`.
    #[serde(default)]
    pub cpu: String,
    /// Memory, such as `4Gi` or `512Mi`.
    #[serde(default)]
    pub memory: String,
    /// GPUs.
    #[serde(default)]
    pub gpu: Option<GpuRequest>,
}

/// GPUs of one replica.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct GpuRequest {
    /// Whole ones.
    #[serde(default)]
    pub count: u32,
    /// Instead, a share of one in thousandths.
    #[serde(default)]
    pub share: u32,
    /// Its model; any without.
    #[serde(default)]
    pub sku: String,
}

const fn one() -> u32 {
    1
}

/// Where something would go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PlacementView {
    /// What each replica takes and demands, in words.
    pub demand: String,
    /// How many replicas.
    pub replicas: u32,
    /// The cluster that it would go to; absent: nowhere.
    pub cluster: Option<String>,
    /// The nodes there.
    pub nodes: Vec<String>,
    /// What it would cost in an hour, in millionths of the currency; absent where nobody has said what things cost there.
    pub price_micros_per_h: Option<u64>,
    /// Why nowhere; empty if somewhere.
    pub why: String,
    /// What every cluster says.
    pub clusters: Vec<ClusterPlacementView>,
}

/// What a cluster says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ClusterPlacementView {
    /// Its name.
    pub name: String,
    /// It goes there.
    pub is_chosen: bool,
    /// Why not; empty if it does.
    pub why_not: String,
    /// How long ago it told its nodes, in milliseconds.
    pub told_ms_ago: Option<u64>,
    /// What every node says: those that it goes to first, then those that could.
    pub nodes: Vec<NodePlacementView>,
}

/// What a node says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct NodePlacementView {
    /// Its name.
    pub name: String,
    /// The name that an agent on it has, whether there is one or not.
    pub agent: String,
    /// It goes there.
    pub is_chosen: bool,
    /// Why it cannot; empty if it can.
    pub why_not: Vec<String>,
    /// Model of its GPUs.
    pub model: String,
    /// What fails together with it.
    pub domain: String,
    /// Free CPU in thousandths of a core.
    pub free_cpu_milli: u64,
    /// Free memory in MiB.
    pub free_memory_mib: u64,
    /// GPUs of which nothing is taken.
    pub free_gpus: u32,
    /// What is free of all GPUs together, in thousandths of one.
    pub free_gpu_milli: u64,
}

/// A quantity of Kubernetes in thousandths: 500 for `500m`, 2,000 for `2`, 1,024,000 for `1Ki`.
///
/// Source: the API's type Quantity, decimal and binary suffixes.
pub fn quantity_milli(text: &str) -> Option<u64> {
    let digits = text
        .find(|letter: char| !letter.is_ascii_digit() && letter != '.')
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let factor: u64 = match suffix {
        "m" => 1,
        "" => 1_000,
        "k" => 1_000_000,
        "M" => 1_000_000_000,
        "G" => 1_000_000_000_000,
        "T" => 1_000_000_000_000_000,
        "Ki" => 1_000 << 10,
        "Mi" => 1_000 << 20,
        "Gi" => 1_000 << 30,
        "Ti" => 1_000 << 40,
        _ => return None,
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let whole = whole.parse::<u64>().ok()?.checked_mul(factor)?;
    let part = if part.is_empty() {
        0.0
    } else {
        format!("0.{part}").parse::<f64>().ok()?
    };
    whole.checked_add((part * factor as f64) as u64)
}

impl NewWorkload {
    /// The parameters of the step that makes it.
    pub fn params(&self) -> Result<std::collections::BTreeMap<String, String>, PlanProblem> {
        if !self.kind.is_empty() && !WORKLOAD_TYPES.contains(&self.kind.as_str()) {
            let problem = format!("`{}` is none of {}", self.kind, WORKLOAD_TYPES.join(", "));
            return Err(PlanProblem::new("type", problem));
        }
        // The original's bound; no registry has a shorter image.
        if self.image.len() < 5 {
            let problem = format!("`{}` has less than 5 characters", self.image);
            return Err(PlanProblem::new("image", problem));
        }
        let quantity = |field: &str, text: &str| match text {
            "" => Ok(0),
            text => quantity_milli(text).ok_or_else(|| {
                let problem = format!("`{text}` is no quantity such as 2, 500m, 512Mi or 4Gi");
                PlanProblem::new(format!("resources.{field}"), problem)
            }),
        };
        let gpu = self.resources.gpu.clone().unwrap_or_default();
        let demand = crate::Demand {
            cpu_milli: quantity("cpu", &self.resources.cpu)?,
            memory_mib: quantity("memory", &self.resources.memory)? / 1_000 / (1 << 20),
            gpus: gpu.count,
            gpu_share: gpu.share,
            models: if gpu.sku.is_empty() { Vec::new() } else { vec![gpu.sku] },
            labels: Vec::new(),
            gang: self.gang,
        };
        let mut params = demand.params();
        params.insert("image".to_owned(), self.image.clone());
        params.insert("replicas".to_owned(), self.replicas.to_string());
        if !self.kind.is_empty() {
            params.insert("type".to_owned(), self.kind.clone());
        }
        if !self.node_labels.is_empty() {
            params.insert("labels".to_owned(), self.node_labels.join(","));
        }
        Ok(params)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: serde_json::Value) -> Result<Vec<(String, String)>, String> {
        let asked: NewWorkload = serde_json::from_value(body).map_err(|error| error.to_string())?;
        let params = asked.params().map_err(|problem| problem.to_string())?;
        Ok(params.into_iter().collect())
    }

    #[test]
    fn a_workload_of_the_original_becomes_a_demand() {
        let body = serde_json::json!({ "name": "emb", "type": "inference", "image": "nginx:latest",
            "resources": { "cpu": "2", "memory": "4Gi", "gpu": { "count": 1, "sku": "L4" } } });
        let expected = [
            ("cpu_milli", "2000"),
            ("gpus", "1"),
            ("image", "nginx:latest"),
            ("memory_mib", "4096"),
            ("models", "L4"),
            ("replicas", "1"),
            ("type", "inference"),
        ];
        let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(read(body), Ok(expected.to_vec()));
    }

    #[test]
    fn what_the_original_refused_is_refused_with_its_field() {
        let body = |image: &str, kind: &str, cpu: &str| serde_json::json!({ "name": "emb", "type": kind, "image": image, "resources": { "cpu": cpu } });
        for (body, said) in [
            (body("a:1", "batch", "1"), "image"),
            (body("nginx:1", "service", "1"), "type"),
            (body("nginx:1", "training", "two"), "resources.cpu"),
        ] {
            let problem = read(body).expect_err("refused");
            assert!(problem.starts_with(said), "{problem}");
        }
    }
}

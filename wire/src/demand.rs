//! What one replica of a workload takes, and what it demands of its node, as plans, people and clusters name it.
//!
//! Plain words with bounds; where it fits is decided in the hub's core (`placement`).
//!
//! Invariant: `Demand::read(&demand.params()) == Ok(demand)`.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::plan::{PlanProblem, check_text};

/// Most bytes of the models, and of the labels, that one demand names.
const MOST_NAMED_BYTES: usize = 500;
/// Most bytes of the nodes that one step names: some hundred.
pub(crate) const MOST_NODE_BYTES: usize = 2_000;
/// A whole device, in thousandths.
const DEVICE: u32 = 1_000;
/// Bounds that no machine reaches: ten thousand cores, a pebibyte, a thousand devices.
const MOST_CPU_MILLI: u64 = 10_000_000;
const MOST_MEMORY_MIB: u64 = 1 << 30;
const MOST_GPUS: u32 = 1_000;

/// What one replica takes and demands of its node.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Demand {
    /// CPU in thousandths of a core.
    pub cpu_milli: u64,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Whole GPUs.
    pub gpus: u32,
    /// Instead of whole ones a share of one GPU, in thousandths: 1 to 999; 0 for none.
    pub gpu_share: u32,
    /// GPU models (SKUs) of which one will do; none: any will do.
    pub models: Vec<String>,
    /// Labels that the node must carry: (name, value).
    pub labels: Vec<(String, String)>,
    /// All replicas or none, and all of them in one topology domain.
    pub gang: bool,
}

impl Demand {
    /// Names of its parameters in a step.
    pub const KEYS: &'static [&'static str] = &[
        "cpu_milli",
        "memory_mib",
        "gpus",
        "gpu_share",
        "models",
        "labels",
        "gang",
    ];

    /// Whether it takes any GPU.
    pub const fn wants_gpus(&self) -> bool {
        self.gpus > 0 || self.gpu_share > 0
    }

    /// Reads it from parameters as texts; what is not among them is not demanded.
    pub fn read(params: &BTreeMap<String, String>) -> Result<Self, PlanProblem> {
        fn number<T: std::str::FromStr + Default>(
            params: &BTreeMap<String, String>,
            key: &str,
        ) -> Result<T, PlanProblem> {
            let Some(text) = params.get(key) else {
                return Ok(T::default());
            };
            let wrong = |_| PlanProblem::new(format!("params.{key}"), format!("`{text}` is not a whole number"));
            text.trim().parse().map_err(wrong)
        }
        let label = |text: &String| match text.split_once('=') {
            Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
            None => Err(PlanProblem::new("params.labels", format!("`{text}` is not NAME=VALUE"))),
        };
        let demand = Self {
            cpu_milli: number(params, "cpu_milli")?,
            memory_mib: number(params, "memory_mib")?,
            gpus: number(params, "gpus")?,
            gpu_share: number(params, "gpu_share")?,
            models: names(params.get("models")),
            labels: names(params.get("labels"))
                .iter()
                .map(label)
                .collect::<Result<_, _>>()?,
            gang: match params.get("gang").map(String::as_str) {
                None | Some("false") => false,
                Some("true") => true,
                Some(other) => {
                    let problem = format!("`{other}` is neither true nor false");
                    return Err(PlanProblem::new("params.gang", problem));
                }
            },
        };
        demand.check()?;
        Ok(demand)
    }

    /// Parameters that [`Demand::read`] reads as this.
    pub fn params(&self) -> BTreeMap<String, String> {
        let mut params = BTreeMap::new();
        let mut put = |key: &str, is_said: bool, value: String| {
            if is_said {
                params.insert(key.to_owned(), value);
            }
        };
        put("cpu_milli", self.cpu_milli > 0, self.cpu_milli.to_string());
        put("memory_mib", self.memory_mib > 0, self.memory_mib.to_string());
        put("gpus", self.gpus > 0, self.gpus.to_string());
        put("gpu_share", self.gpu_share > 0, self.gpu_share.to_string());
        put("models", !self.models.is_empty(), self.models.join(","));
        let labels: Vec<String> = self
            .labels
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        put("labels", !labels.is_empty(), labels.join(","));
        put("gang", self.gang, "true".to_owned());
        params
    }

    /// Holds it against its bounds.
    pub fn check(&self) -> Result<(), PlanProblem> {
        let most = |key: &str, value: u64, most: u64| {
            let problem = || PlanProblem::new(format!("params.{key}"), format!("{value} is more than {most}"));
            (value <= most).then_some(()).ok_or_else(problem)
        };
        most("cpu_milli", self.cpu_milli, MOST_CPU_MILLI)?;
        most("memory_mib", self.memory_mib, MOST_MEMORY_MIB)?;
        most("gpus", self.gpus.into(), MOST_GPUS.into())?;
        most("gpu_share", self.gpu_share.into(), (DEVICE - 1).into())?;
        if self.gpus > 0 && self.gpu_share > 0 {
            let problem = format!(
                "{} whole GPUs and {} thousandths of one: a replica takes one or the other",
                self.gpus, self.gpu_share
            );
            return Err(PlanProblem::new("params.gpu_share", problem));
        }
        if !self.models.is_empty() && !self.wants_gpus() {
            let problem = "a GPU model is named and no GPU is asked for: give `gpus` or `gpu_share`";
            return Err(PlanProblem::new("params.models", problem));
        }
        check_names(
            "params.models",
            &self.models.join(","),
            self.models.len(),
            MOST_NAMED_BYTES,
        )?;
        let labels: Vec<&str> = self
            .labels
            .iter()
            .flat_map(|(name, value)| [name.as_str(), value])
            .collect();
        check_names("params.labels", &labels.join(","), labels.len(), MOST_NAMED_BYTES)
    }
}

impl fmt::Display for Demand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if self.gpus > 0 {
            parts.push(format!("{} GPUs", self.gpus));
        }
        if self.gpu_share > 0 {
            parts.push(format!("{}/1000 of a GPU", self.gpu_share));
        }
        if !self.models.is_empty() {
            parts.push(format!("of {}", self.models.join(" or ")));
        }
        if self.cpu_milli > 0 {
            parts.push(format!("{} m CPU", self.cpu_milli));
        }
        if self.memory_mib > 0 {
            parts.push(format!("{} MiB", self.memory_mib));
        }
        parts.extend(self.labels.iter().map(|(name, value)| format!("{name}={value}")));
        if self.gang {
            parts.push("as a gang".to_owned());
        }
        match parts.is_empty() {
            true => f.write_str("nothing in particular"),
            false => f.write_str(&parts.join(", ")),
        }
    }
}

/// Names separated by commas.
pub(crate) fn names(text: Option<&String>) -> Vec<String> {
    let parts = text.map(String::as_str).unwrap_or_default().split(',').map(str::trim);
    parts.filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// Holds names, joined by commas, against their length in all and their grammar.
pub(crate) fn check_names(field: &str, joined: &str, count: usize, most: usize) -> Result<(), PlanProblem> {
    check_text(field, joined, 0, most)?;
    if joined.contains('=') || joined.split(',').filter(|name| !name.trim().is_empty()).count() != count {
        let problem = format!("`{joined}` holds an empty name, or a comma or an equals sign within one");
        return Err(PlanProblem::new(field, problem));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Demand, String> {
        let params = pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Demand::read(&params.collect()).map_err(|problem| problem.to_string())
    }

    #[test]
    fn what_is_read_is_written_the_same() {
        let demand = read(&[
            ("cpu_milli", "500"),
            ("memory_mib", "1024"),
            ("gpus", "2"),
            ("models", "A100, H100"),
            ("labels", "pool=train,rack=r7"),
            ("gang", "true"),
        ])
        .expect("well formed");
        assert_eq!(Demand::read(&demand.params()), Ok(demand.clone()));
        assert_eq!(
            demand.to_string(),
            "2 GPUs, of A100 or H100, 500 m CPU, 1024 MiB, pool=train, rack=r7, as a gang"
        );
        assert_eq!(read(&[]), Ok(Demand::default()));
    }

    #[test]
    fn what_nobody_can_mean_is_refused_with_its_field() {
        for (pairs, said) in [
            (&[("gpus", "1"), ("gpu_share", "500")][..], "params.gpu_share"),
            (&[("gpu_share", "1000")], "params.gpu_share"),
            (&[("models", "A100")], "params.models"),
            (&[("labels", "rack")], "params.labels"),
            (&[("gpus", "-1")], "params.gpus"),
            (&[("gang", "yes")], "params.gang"),
        ] {
            let problem = read(pairs).expect_err("refused");
            assert!(problem.contains(said), "{problem}");
        }
    }
}

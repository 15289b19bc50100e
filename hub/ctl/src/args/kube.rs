//! The words of `sentinel cluster` and `sentinel rollout`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;
use wire::kube::DeploymentRef;

use super::words::{not_empty, span};

/// What is done with clusters.
#[derive(Debug, Subcommand)]
pub enum ClusterVerb {
    /// Register a cluster, or change how it is reached
    Add {
        /// Our name for it
        name: String,
        /// A kubeconfig file on the hub's machine; without it, the service account of the pod that the hub runs in
        #[arg(long, value_name = "FILE")]
        kubeconfig: Option<String>,
        /// Which context of it
        #[arg(long, default_value = "")]
        kube_context: String,
        /// Namespace of deployments that name none
        #[arg(long, default_value = "")]
        namespace: String,
        /// Address of the Prometheus that knows its workloads: canaries are judged by its numbers
        #[arg(long, value_name = "URL")]
        prometheus: Option<String>,
        /// A label of it, by which placement may choose; may be repeated
        #[arg(long = "label", value_name = "NAME=VALUE", value_parser = pair)]
        labels: Vec<(String, String)>,
        /// What an hour costs there: of a GPU of a model, of a core (`cpu`) or of a GiB (`memory`), such as A100=2.50; may be repeated
        #[arg(long = "price", value_name = "WHAT=MONEY", value_parser = price)]
        prices: Vec<(String, u64)>,
    },
    /// Forget a cluster; what runs there stays
    Remove {
        /// Its name
        name: String,
        /// Why; it is journaled
        #[arg(long, value_parser = not_empty)]
        reason: String,
    },
}

/// What is done with placement.
#[derive(Debug, Subcommand)]
pub enum PlacementVerb {
    /// Where work would go, and what every node says to it; exit status 3 if nowhere
    Explain(ExplainPlacement),
}

/// What is asked of placement.
#[derive(Debug, clap::Args)]
pub struct ExplainPlacement {
    /// A deployment, as it is: CLUSTER/NAMESPACE/NAME; without, what the words below demand
    #[arg(conflicts_with_all = ["cluster", "cpu_milli", "memory_mib", "gpus", "gpu_share", "models", "labels", "gang"])]
    pub deployment: Option<DeploymentRef>,
    /// Only this cluster
    #[arg(long)]
    pub cluster: Option<String>,
    /// A label that the cluster must carry; may be repeated
    #[arg(long = "cluster-label", value_name = "NAME=VALUE")]
    pub cluster_labels: Vec<String>,
    /// How many replicas
    #[arg(long, default_value_t = 1)]
    pub replicas: u32,
    /// What each takes.
    #[command(flatten)]
    pub demand: Demanded,
}

/// What each replica takes and demands of its node.
#[derive(Debug, Default, clap::Args)]
pub struct Demanded {
    /// CPU in thousandths of a core
    #[arg(long = "cpu", value_name = "MILLI")]
    pub cpu_milli: Option<u64>,
    /// Memory in MiB
    #[arg(long = "memory", value_name = "MIB")]
    pub memory_mib: Option<u64>,
    /// Whole GPUs
    #[arg(long)]
    pub gpus: Option<u32>,
    /// Instead of whole GPUs a share of one, in thousandths
    #[arg(long, value_name = "MILLI", conflicts_with = "gpus")]
    pub gpu_share: Option<u32>,
    /// A GPU model that will do; may be repeated
    #[arg(long = "gpu-model", value_name = "MODEL")]
    pub models: Vec<String>,
    /// A label that the node must carry; may be repeated
    #[arg(long = "node-label", value_name = "NAME=VALUE")]
    pub labels: Vec<String>,
    /// All replicas or none, in one topology domain
    #[arg(long)]
    pub gang: bool,
}

impl Demanded {
    /// As parameters of a plan's step.
    pub fn params(&self) -> BTreeMap<String, String> {
        let numbers = [
            ("cpu_milli", self.cpu_milli),
            ("memory_mib", self.memory_mib),
            ("gpus", self.gpus.map(u64::from)),
            ("gpu_share", self.gpu_share.map(u64::from)),
        ];
        let numbers = numbers
            .into_iter()
            .filter_map(|(key, number)| Some((key, number?.to_string())));
        let lists = [("models", &self.models), ("labels", &self.labels)];
        let lists = lists
            .into_iter()
            .filter(|(_, list)| !list.is_empty())
            .map(|(key, list)| (key, list.join(",")));
        let gang = self.gang.then(|| ("gang", "true".to_owned()));
        let all = numbers.chain(lists).chain(gang);
        all.map(|(key, value)| (key.to_owned(), value)).collect()
    }
}

/// `NAME=VALUE`.
fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| format!("`{text}` is not NAME=VALUE"))?;
    Ok((name.to_owned(), value.to_owned()))
}

/// `WHAT=MONEY`, in millionths.
fn price(text: &str) -> Result<(String, u64), String> {
    let wrong = || format!("`{text}` is not WHAT=MONEY, for example A100=2.50");
    let (what, money) = pair(text).map_err(|_| wrong())?;
    let (whole, part) = money.split_once('.').unwrap_or((&money, ""));
    if part.len() > 6 || part.starts_with(['+', '-']) {
        return Err(wrong());
    }
    let whole: u64 = whole.parse().map_err(|_| wrong())?;
    let part: u64 = format!("{part:0<6}").parse().map_err(|_| wrong())?;
    let micros = whole.checked_mul(1_000_000).and_then(|micros| micros.checked_add(part));
    Ok((what, micros.ok_or_else(wrong)?))
}

/// What is done with scaling.
#[derive(Debug, Subcommand)]
pub enum ScalingVerb {
    /// Deployments that the hub scales
    List,
    /// Scale a deployment by its load from now on
    Set(SetScaling),
    /// Do not scale it any more; it keeps its replicas
    Remove {
        /// Which: CLUSTER/NAMESPACE/NAME
        deployment: DeploymentRef,
        /// Why; it is journaled
        #[arg(long, value_parser = not_empty)]
        reason: String,
    },
}

/// How a deployment is scaled.
#[derive(Debug, clap::Args)]
pub struct SetScaling {
    /// Which: CLUSTER/NAMESPACE/NAME
    pub deployment: DeploymentRef,
    /// Fewest replicas; 0 lets it sleep while nothing is asked of it
    #[arg(long, default_value_t = 1)]
    pub min: u32,
    /// Most replicas
    #[arg(long)]
    pub max: u32,
    /// Query of the cluster's Prometheus for the load of all replicas together; `$workload` and `$namespace` are filled in
    #[arg(long, value_parser = not_empty)]
    pub query: String,
    /// Load that one replica should have, in thousandths of what the query gives
    #[arg(long, value_name = "MILLI")]
    pub target_milli: u64,
    /// Query that is above 0 while something is wrong: a load that falls away then is an outage, and what is there is held
    #[arg(long, default_value = "")]
    pub trouble: String,
    /// Follow the measured load only, without a forecast
    #[arg(long)]
    pub no_forecast: bool,
    /// How long a new replica takes to be ready
    #[arg(long, default_value = "1m", value_parser = span, value_name = "SPAN")]
    pub start: Duration,
    /// For how long fewer must do before there are fewer
    #[arg(long, default_value = "5m", value_parser = span, value_name = "SPAN")]
    pub scale_in_after: Duration,
    /// Why; it is journaled
    #[arg(long, value_parser = not_empty)]
    pub reason: String,
}

/// What is done with rollouts.
#[derive(Debug, Subcommand)]
pub enum RolloutVerb {
    /// Begin one
    Start(StartRollout),
    /// How one stands
    Status {
        /// Its id
        id: String,
        /// Go on until it is finished; exit status 0 if the new image runs, 1 if it was taken back
        #[arg(short, long)]
        watch: bool,
    },
    /// Go on with the next step, whatever this one waits for
    Promote(ToldRollout),
    /// Stay where it is
    Pause(ToldRollout),
    /// Go on with the step that was paused
    Resume(ToldRollout),
    /// Take everything back
    Abort(ToldRollout),
    /// Take a completed one back, by the same steps
    Undo(ToldRollout),
    /// Try again to take everything back
    Retry(ToldRollout),
}

/// A new rollout.
#[derive(Debug, clap::Args)]
pub struct StartRollout {
    /// Of which deployment: CLUSTER/NAMESPACE/NAME
    pub deployment: DeploymentRef,
    /// The image to run
    #[arg(long)]
    pub image: String,
    /// All replicas one after the other, without a canary
    #[arg(long, conflicts_with_all = ["first", "step", "analyse"])]
    pub rolling: bool,
    /// Steps, traffic and metrics from a JSON file, instead of the sizes below
    #[arg(long, value_name = "FILE", conflicts_with_all = ["rolling", "first", "step", "analyse"])]
    pub spec: Option<PathBuf>,
    /// First size of the canary, in percent of the replicas
    #[arg(long, default_value_t = 10)]
    pub first: u8,
    /// How much it grows with each step, in points
    #[arg(long, default_value_t = 10)]
    pub step: u8,
    /// How long each size is analysed
    #[arg(long, default_value = "3m", value_parser = span, value_name = "SPAN")]
    pub analyse: Duration,
    /// Why; it is journaled
    #[arg(long, value_parser = not_empty)]
    pub reason: String,
}

/// Something that a rollout is told.
#[derive(Debug, clap::Args)]
pub struct ToldRollout {
    /// Its id
    pub id: String,
    /// Why; it is journaled
    #[arg(long, value_parser = not_empty)]
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_read_to_the_millionth() {
        assert_eq!(price("A100=2.50"), Ok(("A100".to_owned(), 2_500_000)));
        assert_eq!(price("cpu=0.000001"), Ok(("cpu".to_owned(), 1)));
        assert_eq!(price("memory=3"), Ok(("memory".to_owned(), 3_000_000)));
        for wrong in ["A100", "A100=", "A100=two", "A100=-1", "A100=1.1234567", "A100=1.-5"] {
            assert!(price(wrong).is_err(), "{wrong}");
        }
    }
}

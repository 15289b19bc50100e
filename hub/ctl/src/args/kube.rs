//! The words of `sentinel cluster` and `sentinel rollout`.

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

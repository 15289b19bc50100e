//! Kubernetes clusters: what the hub asks them and what it changes there.
//!
//! Everything here is in the hub's own words ([`Workload`], [`NodeView`], [`KubeError`]); Kubernetes types stop at this crate. It decides
//! nothing: it carries out one change at a time and says what came of it. It never guesses: a change whose answer was lost is
//! [`KubeError::may_have_happened`], and the caller reads back before it does anything else.
//!
//! All writes are server-side apply under the field manager [`FIELD_MANAGER`], except evictions and deletions, so that what others own
//! stays theirs and what we own is known. Writes are guarded by the resource version that they were made from.
//!
//! Read next: `cluster.rs` (one cluster), `call.rs` (deadlines and repeats), `owned.rs` (what is ours of an object),
//! `workloads.rs`, `nodes.rs`, `drain.rs`, `watch.rs`.

mod access;
mod asked;
mod call;
mod cluster;
mod drain;
mod drift;
mod error;
mod manifest;
mod nodes;
mod owned;
mod pods;
mod retry_after;
mod revisions;
mod status;
mod traffic;
mod variants;
mod watch;
mod workloads;

pub use access::{NEEDED, Permission};
pub use asked::{Asked, DeploymentAsk};
pub use cluster::{Cluster, ClusterSettings, HealthReport, Kubeconfig};
pub use drain::{DrainReport, Eviction};
pub use drift::Drift;
pub use error::KubeError;
pub use manifest::{Gpus, WorkloadKind, WorkloadRef, WorkloadSpec};
pub use nodes::{NodeCondition, NodeView, Taint, TaintEffect};
pub use pods::{EventView, PodView};
pub use revisions::{Revision, RolledBack};
pub use status::{StatusWord, Workload};
pub use traffic::RouteRef;
pub use variants::TRACK;
pub use watch::{Seen, Watch, WatchLimits, WatchWhat};
pub use workloads::{Autoscaler, Owner};

/// The name under which our fields stand in `metadata.managedFields`.
pub const FIELD_MANAGER: &str = "sentinel-hub";

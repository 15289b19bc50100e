//! Decides where work runs: on which cluster, on which node of it, and on which of its GPUs.
//!
//! Among the nodes that can run the work, it goes where the room that is left stays most useful for the work that usually comes
//! ([`Demand`]): GPUs that nobody will be able to use are counted before and after. A refusal says for each node why not.
//!
//! Pure: it knows what it was told of clusters and nodes, and never asks. It starts nothing: a [`Placement`] becomes a node affinity
//! or a target node elsewhere.
//!
//! Invariant: no device is promised more than 1,000 thousandths, no node more CPU or memory than it has, and what is taken is given
//! back whole.
//!
//! Source: *Beware of Fragmentation*, USENIX ATC 2023 (FGD), with two additions that `score.rs` explains.
//! Read next: `placement/work.rs`, `placement/node.rs`, `placement/score.rs`, `placement/placer.rs`, `placement/clusters.rs`.

mod clusters;
mod demand;
mod node;
mod placer;
mod score;
mod work;

pub use clusters::{ClusterRoom, NoCluster, choose_cluster};
pub use demand::Demand;
pub use node::{DEVICE, Health, NodeRoom, Refusal};
pub use placer::{Explanation, Nowhere, Placement, Placer, Quota};
pub use work::{Gpus, Work, WorkError};

//! Which cluster work goes to: one that matches, is well and has room; of those the cheapest, then the one with most room.

use std::collections::BTreeMap;

use super::placer::{Nowhere, Placer};
use super::work::{Gpus, Work};

/// A cluster as placement sees it.
#[derive(Debug, Clone)]
pub struct ClusterRoom {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Price of one GPU and hour for each model, in millionths of the currency; a model that is not there has no known price.
    pub price_micros: BTreeMap<String, u64>,
    /// It answers, and what is known of it is fresh.
    pub reachable: bool,
    /// Its nodes.
    pub placer: Placer,
}

/// Why no cluster will do: each with its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoCluster(pub Vec<(String, String)>);

impl std::fmt::Display for NoCluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let reasons: Vec<String> = self
            .0
            .iter()
            .map(|(cluster, why)| format!("{cluster}: {why}"))
            .collect();
        match reasons.is_empty() {
            true => write!(f, "no cluster is registered"),
            false => write!(f, "no cluster can run it: {}", reasons.join("; ")),
        }
    }
}

impl std::error::Error for NoCluster {}

/// The index of the cluster that `work` should go to. `labels` are those that the cluster must carry.
///
/// A cluster that cannot be read is left out, never emptied: what runs there stays. A cluster without a known price for the model is
/// taken after all that have one, as the dearest would be.
pub fn choose_cluster(
    clusters: &[ClusterRoom],
    work: &Work,
    labels: &BTreeMap<String, String>,
) -> Result<usize, NoCluster> {
    let mut reasons = Vec::new();
    let mut best: Option<((u64, std::cmp::Reverse<u64>), usize)> = None;
    for (index, cluster) in clusters.iter().enumerate() {
        match price_if_possible(cluster, work, labels) {
            Ok(price) => {
                let idle = cluster.placer.nodes().iter().map(|node| node.idle_milli()).sum::<u64>();
                let key = (price, std::cmp::Reverse(idle));
                if best.is_none_or(|(top, _)| key < top) {
                    best = Some((key, index));
                }
            }
            Err(why) => reasons.push((cluster.name.clone(), why)),
        }
    }
    best.map(|(_, index)| index).ok_or(NoCluster(reasons))
}

/// Price of the GPUs of `work` for an hour on the cheapest node that can run it, or why there is none.
fn price_if_possible(cluster: &ClusterRoom, work: &Work, labels: &BTreeMap<String, String>) -> Result<u64, String> {
    if !cluster.reachable {
        return Err("it cannot be read now".to_owned());
    }
    if let Some((key, value)) = labels
        .iter()
        .find(|(key, value)| cluster.labels.get(*key) != Some(value))
    {
        return Err(format!("label {key}={value} is missing"));
    }
    let mut cheapest = None;
    for node in cluster.placer.nodes().iter().filter(|node| node.fits(work)) {
        let price = match work.gpus {
            Gpus::None => 0,
            Gpus::Share(_) | Gpus::Whole(_) => cluster.price_micros.get(&node.model).copied().unwrap_or(u64::MAX),
        };
        cheapest = Some(cheapest.map_or(price, |least: u64| least.min(price)));
    }
    cheapest.ok_or_else(|| match cluster.placer.clone().place(work) {
        Err(
            nowhere @ (Nowhere::Impossible(_) | Nowhere::Quota { .. } | Nowhere::NoNode { .. } | Nowhere::Gang { .. }),
        ) => nowhere.to_string(),
        Ok(_) => "it has no room".to_owned(),
    })
}

//! Who runs the canary: 1 node, then 5 %, 25 %, 50 % and all of them, spread over failure domains.
//!
//! Picks and counts; never starts anything. The first ones are of median health: the best would flatter the change, and a lemon
//! would slander it. Nodes of unknown health come last.
//!
//! Invariants: each step contains the one before; as many domains as possible have a node before any has two; the order of the
//! candidates changes nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Shares of the fleet after the first node, in percent.
const SHARES: [usize; 4] = [5, 25, 50, 100];
/// Confidence of the bound on the failure rate is 1 less this.
const DOUBT: f64 = 0.05;

/// A node that could run it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// Its name.
    pub node: String,
    /// What fails together with it: its rack, its site.
    pub domain: String,
    /// Its health, in hundredths of a percent; `None` if not known.
    pub health_bp: Option<u16>,
}

/// One step of a rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Nodes that have the change after it.
    pub total: usize,
    /// Those that it adds.
    pub nodes: Vec<String>,
}

/// The steps of a rollout over these nodes; steps that would add nothing are left out.
pub fn plan_steps(candidates: &[Candidate]) -> Vec<Step> {
    let order = order(candidates);
    let sizes = std::iter::once(1).chain(SHARES.iter().map(|share| (order.len() * share).div_ceil(100)));
    let mut done = 0;
    let mut steps = Vec::new();
    for total in sizes.map(|size| size.min(order.len())) {
        if total > done {
            let nodes = order[done..total].iter().map(|name| (*name).to_owned()).collect();
            steps.push(Step { total, nodes });
            done = total;
        }
    }
    steps
}

/// All nodes in the order in which they get the change.
fn order(candidates: &[Candidate]) -> Vec<&str> {
    let mut known: Vec<u16> = candidates.iter().filter_map(|one| one.health_bp).collect();
    known.sort_unstable();
    let median = known.get(known.len().saturating_sub(1) / 2).copied().unwrap_or(0);
    let key = |one: &Candidate| one.health_bp.map_or(u16::MAX, |health| health.abs_diff(median));
    let mut domains: BTreeMap<&str, Vec<(u16, &str)>> = BTreeMap::new();
    for one in candidates {
        domains.entry(&one.domain).or_default().push((key(one), &one.node));
    }
    // In each domain the most usual node first; of each round, the domain whose node is most usual.
    let mut order = Vec::new();
    for (domain, nodes) in &mut domains {
        nodes.sort_unstable();
        let unknown = |key: u16| key == u16::MAX;
        let rounds = nodes.iter().enumerate();
        order.extend(rounds.map(|(round, (key, node))| (unknown(*key), round, *key, *domain, *node)));
    }
    order.sort_unstable();
    order.into_iter().map(|(.., node)| node).collect()
}

/// The bound on the failure rate after `nodes` without a failure, with 95 % confidence: 3 / n, and never above 1.
pub fn rule_of_three(nodes: u32) -> f64 {
    if nodes == 0 {
        1.0
    } else {
        (3.0 / f64::from(nodes)).min(1.0)
    }
}

/// The exact bound that 3 / n stands for: `1 - 0.05^(1/n)`.
pub fn failure_bound(nodes: u32) -> f64 {
    if nodes == 0 {
        1.0
    } else {
        -libm::expm1(libm::log(DOUBT) / f64::from(nodes))
    }
}

/// Fewest nodes that, without a failure, show that at least this share works: 29 for 0.90, 59 for 0.95, 299 for 0.99.
///
/// `None` if no number of nodes shows it, or the share is none.
pub fn clean_nodes_for(share: f64) -> Option<u32> {
    if !(share > 0.0 && share < 1.0) {
        return None;
    }
    let nodes = libm::ceil(libm::log(DOUBT) / libm::log(share));
    (nodes <= f64::from(u32::MAX)).then_some(nodes as u32)
}

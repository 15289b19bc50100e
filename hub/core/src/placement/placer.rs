//! Places work on the nodes of one cluster, one by one or as a gang, and says why not.

use std::collections::BTreeMap;

use super::demand::Demand;
use super::node::{Health, NodeRoom, Refusal};
use super::score::{Score, score};
use super::work::{Gpus, Work, WorkError};

/// Most shapes whose scores are remembered; each takes about 24 bytes a node. When there are more, all are forgotten.
const MAX_REMEMBERED: usize = 512;

/// The nodes of a cluster, with what they have left.
#[derive(Debug, Clone)]
pub struct Placer {
    nodes: Vec<NodeRoom>,
    /// Node indexes in the order in which equal scores are preferred: few devices first, so that large nodes stay whole.
    order: Vec<usize>,
    demand: Demand,
    pressures: BTreeMap<String, u64>,
    quotas: BTreeMap<String, Quota>,
    used: BTreeMap<String, Used>,
    /// Scores of work that was asked for lately, for each node; `None` where the node has changed since.
    remembered: BTreeMap<Work, Vec<Option<Option<Score>>>>,
}

/// The most that one owner may have at a time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Quota {
    /// GPU in thousandths, of all models.
    pub gpu_milli: Option<u64>,
    /// GPU in thousandths, of single models.
    pub gpu_milli_of: BTreeMap<String, u64>,
    /// CPU in thousandths of a core.
    pub cpu_milli: Option<u64>,
    /// Memory in MiB.
    pub memory_mib: Option<u64>,
}

#[derive(Debug, Clone, Default)]
struct Used {
    gpu_milli: u64,
    gpu_milli_of: BTreeMap<String, u64>,
    cpu_milli: u64,
    memory_mib: u64,
}

/// Where work goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// Name of the node.
    pub node: String,
    /// Its devices that are taken, by index.
    pub devices: Vec<usize>,
}

/// Why work goes nowhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Nowhere {
    /// It can never run.
    #[error(transparent)]
    Impossible(#[from] WorkError),
    /// Its owner has all that it may have.
    #[error("quota of {owner}: {what}, {used} of {limit} used and {asked} asked")]
    Quota {
        /// Who.
        owner: String,
        /// Of what.
        what: String,
        /// What is used.
        used: u64,
        /// What may be used.
        limit: u64,
        /// What was asked.
        asked: u64,
    },
    /// No node can run it now; `explain` says for each why not.
    #[error("none of {nodes} nodes can run it now: {most_common}")]
    NoNode {
        /// How many there are.
        nodes: usize,
        /// The reason that most of them give, with an example.
        most_common: String,
    },
    /// A gang does not fit as a whole.
    #[error("only {placed} of a gang of {size} fit {within}")]
    Gang {
        /// How many fit at best.
        placed: usize,
        /// How many there are.
        size: usize,
        /// Where: in one domain, or anywhere.
        within: String,
    },
}

/// What one node says to a piece of work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The node.
    pub node: String,
    /// Why not; empty: it can run here.
    pub refusals: Vec<Refusal>,
    /// Steps by which useless room would fall here; of nodes that can run it, the highest is taken.
    pub fall: Option<i64>,
}

impl Placer {
    /// Nodes with what they have left. Their order is kept: of equal ones the first is taken.
    pub fn new(nodes: Vec<NodeRoom>, demand: Demand) -> Self {
        let mut order: Vec<usize> = (0..nodes.len()).collect();
        order.sort_by_key(|index| nodes[*index].devices.len());
        let mut placer = Self {
            nodes,
            order,
            demand: Demand::default(),
            pressures: BTreeMap::new(),
            quotas: BTreeMap::new(),
            used: BTreeMap::new(),
            remembered: BTreeMap::new(),
        };
        placer.expect(demand);
        placer
    }

    /// Expects other work from here on.
    pub fn expect(&mut self, demand: Demand) {
        let mut supply: BTreeMap<String, u64> = BTreeMap::new();
        for node in self.nodes.iter().filter(|node| !node.devices.is_empty()) {
            *supply.entry(node.model.clone()).or_default() += node.devices.len() as u64;
        }
        self.pressures = demand.pressures(&supply);
        self.demand = demand;
        self.remembered.clear();
    }

    /// Limits what `owner` may have. What it has already stays.
    pub fn limit(&mut self, owner: impl Into<String>, quota: Quota) {
        self.quotas.insert(owner.into(), quota);
    }

    /// Changes what is known of a node's health. False if there is no such node.
    pub fn set_health(&mut self, node: &str, health: Health) -> bool {
        let Some(index) = self.nodes.iter().position(|one| one.name == node) else {
            return false;
        };
        self.nodes[index].health = health;
        self.forget(index);
        true
    }

    /// The nodes, in the order in which they were given.
    pub fn nodes(&self) -> &[NodeRoom] {
        &self.nodes
    }

    /// Takes the best place for `work`.
    pub fn place(&mut self, work: &Work) -> Result<Placement, Nowhere> {
        work.check()?;
        let Some((index, score)) = self.best(work, |_| true) else {
            return Err(self.no_node(work));
        };
        self.within_quota(work, index)?;
        Ok(self.take(work, index, score.device))
    }

    /// Takes places for all of `gang`, or none. With `one_domain` all of them lie in one domain, the one that is left fullest.
    pub fn place_gang(&mut self, gang: &[Work], one_domain: bool) -> Result<Vec<Placement>, Nowhere> {
        let mut domains: Vec<Option<String>> = vec![None];
        if one_domain {
            domains = self.nodes.iter().map(|node| Some(node.domain.clone())).collect();
            domains.sort_unstable_by_key(|domain| {
                let inside = self.nodes.iter().filter(|node| domain.as_ref() == Some(&node.domain));
                (inside.map(NodeRoom::idle_milli).sum::<u64>(), domain.clone())
            });
            domains.dedup();
        }
        let mut most = 0;
        for domain in &domains {
            match self.try_gang(gang, domain.as_deref())? {
                Ok(placed) => return Ok(placed),
                Err(placed) => most = most.max(placed),
            }
        }
        let within = if one_domain {
            "in one domain"
        } else {
            "on the nodes that there are"
        };
        Err(Nowhere::Gang {
            placed: most,
            size: gang.len(),
            within: within.to_owned(),
        })
    }

    /// Gives back a place. False if there is no such node.
    pub fn give_back(&mut self, work: &Work, placement: &Placement) -> bool {
        let Some(index) = self.nodes.iter().position(|node| node.name == placement.node) else {
            return false;
        };
        self.nodes[index].give_back(work, &placement.devices);
        self.forget(index);
        let model = self.nodes[index].model.clone();
        if let Some(used) = self.used.get_mut(&work.owner) {
            used.gpu_milli = used.gpu_milli.saturating_sub(work.gpus.milli());
            let of_model = used.gpu_milli_of.entry(model).or_default();
            *of_model = of_model.saturating_sub(work.gpus.milli());
            used.cpu_milli = used.cpu_milli.saturating_sub(work.cpu_milli);
            used.memory_mib = used.memory_mib.saturating_sub(work.memory_mib);
        }
        true
    }

    /// What each node says to `work`, in the order of the nodes.
    pub fn explain(&self, work: &Work) -> Vec<Explanation> {
        let explain = |node: &NodeRoom| {
            let refusals = node.refusals(work);
            let fall = refusals
                .is_empty()
                .then(|| score(&self.demand, node, work, self.pressure(node, work)).fall);
            Explanation {
                node: node.name.clone(),
                refusals,
                fall,
            }
        };
        self.nodes.iter().map(explain).collect()
    }

    /// `Err` inside is how many of the gang fitted; nothing is taken then.
    fn try_gang(&mut self, gang: &[Work], domain: Option<&str>) -> Result<Result<Vec<Placement>, usize>, Nowhere> {
        let mut placed: Vec<Placement> = Vec::new();
        for work in gang {
            work.check()?;
            let work = Work {
                gang: true,
                ..work.clone()
            };
            let best = self.best(&work, |node| domain.is_none_or(|domain| node.domain == domain));
            let refused = match best {
                Some((index, score)) => match self.within_quota(&work, index) {
                    Ok(()) => {
                        placed.push(self.take(&work, index, score.device));
                        continue;
                    }
                    Err(quota) => Some(quota),
                },
                None => None,
            };
            for (work, placement) in gang.iter().zip(&placed) {
                self.give_back(work, placement);
            }
            return refused.map_or(Ok(Err(placed.len())), Err);
        }
        Ok(Ok(placed))
    }

    /// The best node for `work` of those that `among` names, with its score.
    fn best(&mut self, work: &Work, among: impl Fn(&NodeRoom) -> bool) -> Option<(usize, Score)> {
        // Owners share scores: quota is asked later.
        let key = Work {
            owner: String::new(),
            ..work.clone()
        };
        if self.remembered.len() >= MAX_REMEMBERED && !self.remembered.contains_key(&key) {
            self.remembered.clear();
        }
        let mut scores = self
            .remembered
            .remove(&key)
            .unwrap_or_else(|| vec![None; self.nodes.len()]);
        let mut best: Option<(usize, Score, u8)> = None;
        for index in self.order.iter().copied() {
            let node = &self.nodes[index];
            let pressure = self.pressure(node, work);
            let score = *scores[index]
                .get_or_insert_with(|| node.fits(work).then(|| score(&self.demand, node, work, pressure)));
            let Some(score) = score.filter(|_| among(node)) else {
                continue;
            };
            let class = node.health_class();
            let better =
                best.is_none_or(|(_, top, top_class)| class < top_class || class == top_class && score.fall > top.fall);
            if better {
                best = Some((index, score, class));
            }
        }
        self.remembered.insert(key, scores);
        best.map(|(index, score, _)| (index, score))
    }

    /// How sought after a node's model is, for work that does not need just that model.
    fn pressure(&self, node: &NodeRoom, work: &Work) -> u64 {
        match work.gpus {
            Gpus::None => 0,
            Gpus::Share(_) | Gpus::Whole(_) => self.pressures.get(&node.model).copied().unwrap_or(0),
        }
    }

    fn take(&mut self, work: &Work, index: usize, device: usize) -> Placement {
        let devices = self.nodes[index].take(work, device);
        self.forget(index);
        if !work.owner.is_empty() {
            let used = self.used.entry(work.owner.clone()).or_default();
            used.gpu_milli += work.gpus.milli();
            *used.gpu_milli_of.entry(self.nodes[index].model.clone()).or_default() += work.gpus.milli();
            used.cpu_milli += work.cpu_milli;
            used.memory_mib += work.memory_mib;
        }
        Placement {
            node: self.nodes[index].name.clone(),
            devices,
        }
    }

    fn forget(&mut self, index: usize) {
        for scores in self.remembered.values_mut() {
            scores[index] = None;
        }
    }

    fn within_quota(&self, work: &Work, index: usize) -> Result<(), Nowhere> {
        let Some(quota) = self.quotas.get(&work.owner) else {
            return Ok(());
        };
        let used = self.used.get(&work.owner).cloned().unwrap_or_default();
        let model = &self.nodes[index].model;
        let of_model = used.gpu_milli_of.get(model).copied().unwrap_or(0);
        let gpu = work.gpus.milli();
        for (what, used, limit, asked) in [
            ("GPU thousandths".to_owned(), used.gpu_milli, quota.gpu_milli, gpu),
            (
                format!("GPU thousandths of {model}"),
                of_model,
                quota.gpu_milli_of.get(model).copied(),
                gpu,
            ),
            (
                "CPU thousandths".to_owned(),
                used.cpu_milli,
                quota.cpu_milli,
                work.cpu_milli,
            ),
            (
                "MiB of memory".to_owned(),
                used.memory_mib,
                quota.memory_mib,
                work.memory_mib,
            ),
        ] {
            if let Some(limit) = limit.filter(|limit| used.saturating_add(asked) > *limit) {
                return Err(Nowhere::Quota {
                    owner: work.owner.clone(),
                    what,
                    used,
                    limit,
                    asked,
                });
            }
        }
        Ok(())
    }

    fn no_node(&self, work: &Work) -> Nowhere {
        // Reasons of one kind are counted together, whatever their numbers.
        let mut kinds: BTreeMap<String, (usize, String)> = BTreeMap::new();
        for node in &self.nodes {
            for reason in node.refusals(work) {
                let text = reason.to_string();
                let kind = text.split(':').next().unwrap_or_default().to_owned();
                kinds.entry(kind).or_insert((0, text)).0 += 1;
            }
        }
        let most = kinds.into_values().max_by_key(|(count, _)| *count);
        let most_common = match most {
            Some((count, text)) => format!("{count} of them, {text}"),
            None => "there are no nodes".to_owned(),
        };
        Nowhere::NoNode {
            nodes: self.nodes.len(),
            most_common,
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;

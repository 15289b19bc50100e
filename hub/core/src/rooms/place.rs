//! Where work goes: first to a cluster, then to nodes of it, and why not elsewhere.
//!
//! The room of a cluster is what its nodes have, less what pods have asked for, less what live plans were promised: two plans that are
//! sent at the same moment do not get the same GPU. A replica is placed as `placement` places work; all replicas of one demand go to one
//! cluster.

use std::collections::{BTreeMap, BTreeSet};

use wire::Demand;
use wire::api::{ClusterPlacementView, NodePlacementView, PlacementView};
use wire::kube::DeploymentRef;
use wire::time::Mono;

use super::{Amount, KubeDeployment, KubeNode, Room, Rooms};
use crate::fleet::Fleet;
use crate::placement::{
    ClusterRoom, DEVICE, Demand as Usual, Gpus, Health, NodeRoom, Nowhere, Placer, Work, choose_cluster,
};

/// Health of a node by its kubelet's word alone: as good as any.
const READY_BP: u16 = 8_500;
/// Health of a node whose kubelet says that something runs out: the last that anything new is placed on.
const PRESSED_BP: u16 = 6_000;
/// Health of a node whose agent is here and says nothing bad.
const WELL_BP: u16 = 10_000;
/// Our own taint of a node whose agent is not well.
const FAULT: &str = "sentinel.dev/fault";
/// Labels that say what fails together with a node, the nearest first.
const DOMAINS: [&str; 2] = ["sentinel.dev/domain", "topology.kubernetes.io/zone"];

/// What is to be placed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlacementAsk {
    /// What each replica takes and demands.
    pub demand: Demand,
    /// How many.
    pub replicas: u32,
    /// The only cluster that will do; `None` for any.
    pub cluster: Option<String>,
    /// Labels that the cluster must carry.
    pub cluster_labels: Vec<(String, String)>,
    /// Instead of a demand: that of this deployment, with its replicas.
    pub of: Option<DeploymentRef>,
}

/// What a live plan was promised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Promise {
    pub(crate) cluster: String,
    pub(crate) nodes: Vec<String>,
    pub(crate) replicas: u32,
    pub(crate) demand: Demand,
}

/// Where something goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) cluster: String,
    /// Sorted, each once.
    pub(crate) nodes: Vec<String>,
}

/// What a cluster says.
struct Considered {
    cluster: ClusterRoom,
    /// Why it is not this one.
    why_not: String,
}

impl Rooms {
    /// Where this goes, or why nowhere.
    pub(crate) fn place(
        &self,
        ask: &PlacementAsk,
        promises: &[Promise],
        fleet: &Fleet,
        now: Mono,
    ) -> Result<Placed, String> {
        let ask = self.resolved(ask, now)?;
        self.consider(&ask, promises, fleet, now).map(|(_, placed)| placed)?
    }

    /// The same, with what every cluster and node says to it.
    pub(crate) fn explain(
        &self,
        ask: &PlacementAsk,
        promises: &[Promise],
        fleet: &Fleet,
        now: Mono,
    ) -> Result<PlacementView, String> {
        let ask = self.resolved(ask, now)?;
        let (considered, placed) = self.consider(&ask, promises, fleet, now)?;
        let work = work(&ask.demand);
        let chosen = placed.as_ref().ok();
        let clusters = considered.iter().map(|one| {
            let name = &one.cluster.name;
            let room = self.0.get(name);
            let nodes = chosen
                .filter(|placed| placed.cluster == *name)
                .map(|placed| &placed.nodes);
            ClusterPlacementView {
                name: name.clone(),
                is_chosen: nodes.is_some(),
                why_not: one.why_not.clone(),
                told_ms_ago: room.map(|room| u64::try_from(now.since(room.told_at).as_millis()).unwrap_or(u64::MAX)),
                nodes: node_views(&one.cluster, &self.fitting(name, &work, now), nodes, room),
            }
        });
        let clusters: Vec<ClusterPlacementView> = clusters.collect();
        let (why, nodes) = match &placed {
            Ok(placed) => (String::new(), placed.nodes.clone()),
            Err(why) => (why.clone(), Vec::new()),
        };
        Ok(PlacementView {
            demand: ask.demand.to_string(),
            replicas: ask.replicas,
            cluster: chosen.map(|placed| placed.cluster.clone()),
            price_micros_per_h: chosen.and_then(|placed| self.price_of(&ask, placed)),
            nodes,
            why,
            clusters,
        })
    }

    /// With the demand of the deployment that is named.
    fn resolved(&self, ask: &PlacementAsk, now: Mono) -> Result<PlacementAsk, String> {
        let Some(of) = &ask.of else {
            return Ok(ask.clone());
        };
        let room = self.fresh(&of.cluster, now);
        let room = room.ok_or_else(|| format!("cluster `{}` has not told its nodes lately", of.cluster))?;
        let found = room.deployment(&of.namespace, &of.name);
        let found = found.ok_or_else(|| format!("there is no {of}"))?;
        Ok(PlacementAsk {
            demand: found.demand(room.parts()),
            replicas: u32::try_from(found.replicas).unwrap_or(u32::MAX).max(1),
            cluster: Some(of.cluster.clone()),
            cluster_labels: Vec::new(),
            of: None,
        })
    }

    /// Clusters in the order of their names with what each says, and where it goes in the end.
    fn consider(
        &self,
        ask: &PlacementAsk,
        promises: &[Promise],
        fleet: &Fleet,
        now: Mono,
    ) -> Result<(Vec<Considered>, Result<Placed, String>), String> {
        ask.demand.check().map_err(|problem| problem.to_string())?;
        let labels: BTreeMap<String, String> = ask.cluster_labels.iter().cloned().collect();
        let asked = |name: &&String| ask.cluster.as_ref().is_none_or(|only| only == *name);
        let work = work(&ask.demand);
        let known = self.0.keys().filter(asked);
        let considered = known.map(|name| Considered {
            cluster: self.room_of(name, work.gpus, promises, (fleet, now)),
            why_not: String::new(),
        });
        let mut considered: Vec<Considered> = considered.collect();
        let mut placed = Err(match &ask.cluster {
            Some(only) if considered.is_empty() => format!("cluster `{only}` has not told its nodes yet"),
            _ => "no cluster has told its nodes yet".to_owned(),
        });
        // Those that can take one replica may still have too little room for all.
        let mut open: Vec<usize> = (0..considered.len()).collect();
        while !open.is_empty() {
            let rooms: Vec<ClusterRoom> = open.iter().map(|index| considered[*index].cluster.clone()).collect();
            let first = match choose_cluster(&rooms, &work, &labels) {
                Ok(first) => first,
                Err(nothing) => {
                    for (name, why) in &nothing.0 {
                        note(&mut considered, name, why);
                    }
                    break;
                }
            };
            let index = open[first];
            let fitting = self.fitting(&rooms[first].name, &work, now);
            match place_all(&mut considered[index].cluster.placer.clone(), &fitting, ask) {
                Ok(nodes) => {
                    let cluster = rooms[first].name.clone();
                    placed = Ok(Placed { cluster, nodes });
                    break;
                }
                Err(why) => {
                    let name = rooms[first].name.clone();
                    note(&mut considered, &name, &why.to_string());
                    open.remove(first);
                }
            }
        }
        if let Ok(placed) = &placed {
            for other in considered
                .iter_mut()
                .filter(|other| other.cluster.name != placed.cluster)
            {
                if other.why_not.is_empty() {
                    other.why_not = format!("{} is cheaper, or has more room", placed.cluster);
                }
            }
        } else if !considered.is_empty() {
            let reasons = considered
                .iter()
                .map(|one| format!("{}: {}", one.cluster.name, one.why_not));
            placed = Err(format!(
                "no cluster can run it: {}",
                reasons.collect::<Vec<_>>().join("; ")
            ));
        }
        Ok((considered, placed))
    }

    /// Work with its share as this cluster gives it out: whole parts.
    fn fitting(&self, cluster: &str, work: &Work, now: Mono) -> Work {
        let parts = self.fresh(cluster, now).map_or(0, Room::parts);
        match (work.gpus, u32::try_from(parts)) {
            (Gpus::Share(share), Ok(parts @ 1..)) => Work {
                gpus: Gpus::Share(share.max(DEVICE / parts)),
                ..work.clone()
            },
            _ => work.clone(),
        }
    }

    /// A cluster as placement sees it, for work that takes such GPUs.
    fn room_of(&self, name: &str, gpus: Gpus, promises: &[Promise], (fleet, now): (&Fleet, Mono)) -> ClusterRoom {
        let empty = || ClusterRoom {
            name: name.to_owned(),
            labels: BTreeMap::new(),
            price_micros: BTreeMap::new(),
            reachable: false,
            placer: Placer::new(Vec::new(), Usual::default()),
        };
        let Some(room) = self.0.get(name) else {
            return empty();
        };
        let mut nodes: Vec<NodeRoom> = room
            .facts
            .nodes
            .iter()
            .map(|node| node_room(node, gpus, fleet))
            .collect();
        for promise in promises.iter().filter(|promise| promise.cluster == name) {
            keep(&mut nodes, promise, &self.fitting(name, &work(&promise.demand), now));
        }
        let parts = room.parts();
        let usual: Vec<Work> = room
            .facts
            .deployments
            .iter()
            .map(|one| work(&one.demand(parts)))
            .collect();
        ClusterRoom {
            name: name.to_owned(),
            labels: room.labels.clone(),
            price_micros: room.prices.clone(),
            reachable: room.is_fresh(now),
            placer: Placer::new(nodes, Usual::of(&usual)),
        }
    }

    fn price_of(&self, ask: &PlacementAsk, placed: &Placed) -> Option<u64> {
        let room = self.0.get(&placed.cluster)?;
        let each = amount(&ask.demand, room.parts());
        room.price(
            each.times(ask.replicas.into()),
            room.model_of(&placed.nodes, &BTreeMap::new()),
        )
    }
}

fn note(considered: &mut [Considered], name: &str, why: &str) {
    if let Some(one) = considered.iter_mut().find(|one| one.cluster.name == name) {
        why.clone_into(&mut one.why_not);
    }
}

/// Takes places for all replicas. The nodes, each once.
fn place_all(placer: &mut Placer, work: &Work, ask: &PlacementAsk) -> Result<Vec<String>, Nowhere> {
    let count = ask.replicas.max(1);
    let places = if ask.demand.gang {
        placer.place_gang(&vec![work.clone(); count as usize], true)?
    } else {
        (0..count).map(|_| placer.place(work)).collect::<Result<_, _>>()?
    };
    let nodes: BTreeSet<String> = places.into_iter().map(|place| place.node).collect();
    Ok(nodes.into_iter().collect())
}

/// What was promised to a plan is not there for others.
fn keep(nodes: &mut [NodeRoom], promise: &Promise, work: &Work) {
    for _ in 0..promise.replicas {
        let named = |node: &&mut NodeRoom| promise.nodes.contains(&node.name) && node.fits(work);
        let Some(node) = nodes.iter_mut().find(named) else {
            return;
        };
        let share = match work.gpus {
            Gpus::Share(share) => share,
            Gpus::None | Gpus::Whole(_) => 0,
        };
        let device = node.devices.iter().position(|free| *free >= share).unwrap_or(0);
        node.take(work, device);
    }
}

/// A demand as placement takes it.
fn work(demand: &Demand) -> Work {
    let mut models = demand.models.clone();
    models.sort();
    Work {
        owner: String::new(),
        cpu_milli: demand.cpu_milli,
        memory_mib: demand.memory_mib,
        gpus: match (demand.gpus, demand.gpu_share) {
            (0, 0) => Gpus::None,
            (0, share) => Gpus::Share(share),
            (gpus, _) => Gpus::Whole(gpus),
        },
        models,
        labels: demand.labels.iter().cloned().collect(),
        gang: demand.gang,
    }
}

/// What one replica takes, where shared GPUs are divided in so many parts.
pub(super) fn amount(demand: &Demand, parts: u64) -> Amount {
    let share = u64::from(demand.gpu_share);
    Amount {
        cpu_milli: demand.cpu_milli,
        memory_mib: demand.memory_mib,
        gpus: demand.gpus.into(),
        shared: if share == 0 {
            0
        } else {
            (share * parts.max(1)).div_ceil(1_000)
        },
    }
}

impl KubeDeployment {
    /// What it asks for as a demand.
    fn demand(&self, parts: u64) -> Demand {
        let narrow = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
        let share = if self.each.gpus == 0 {
            self.each.gpu_milli(parts).min(u64::from(DEVICE) - 1)
        } else {
            0
        };
        Demand {
            cpu_milli: self.each.cpu_milli,
            memory_mib: self.each.memory_mib,
            gpus: narrow(self.each.gpus),
            gpu_share: narrow(share),
            models: Vec::new(),
            labels: self.labels.clone().into_iter().collect(),
            gang: false,
        }
    }
}

/// A node as placement sees it.
fn node_room(node: &KubeNode, gpus: Gpus, fleet: &Fleet) -> NodeRoom {
    let agent = fleet.find(&node.agent);
    let health = match agent {
        _ if node.taints.iter().any(|key| key == FAULT) => Health::Quarantined,
        _ if node.is_cordoned => Health::Cordoned,
        _ if !node.is_ready => Health::NotReady,
        _ if node.is_pressed => Health::Known(PRESSED_BP),
        Some(agent) if agent.session.is_some() => Health::Known(WELL_BP),
        Some(_) => Health::Unknown,
        None => Health::Known(READY_BP),
    };
    let domain = DOMAINS.iter().find_map(|key| node.labels.get(*key));
    NodeRoom {
        name: node.name.clone(),
        cpu_milli: node.has.cpu_milli.saturating_sub(node.used.cpu_milli),
        memory_mib: node.has.memory_mib.saturating_sub(node.used.memory_mib),
        devices: devices(node, gpus),
        model: node.model.clone(),
        labels: node.labels.clone(),
        domain: domain.cloned().unwrap_or_default(),
        health,
        taints: node.taints.iter().filter(|key| *key != FAULT).cloned().collect(),
    }
}

/// What is free of each GPU that gives out such work: whole ones, or parts of shared ones.
fn devices(node: &KubeNode, gpus: Gpus) -> Vec<u32> {
    let whole = (0..node.has.gpus).map(|index| if index < node.used.gpus { 0 } else { DEVICE });
    let free = node.has.shared.saturating_sub(node.used.shared);
    let shared = (0..node.has.shared.checked_div(node.parts).unwrap_or(0)).map(|index| {
        let parts = free.saturating_sub(index * node.parts).min(node.parts);
        u32::try_from(parts * u64::from(DEVICE) / node.parts).unwrap_or(0)
    });
    match gpus {
        Gpus::Share(_) => shared.collect(),
        Gpus::Whole(_) => whole.collect(),
        Gpus::None => whole.chain(shared).collect(),
    }
}

/// What every node of a cluster says, those that it goes to first.
fn node_views(
    cluster: &ClusterRoom,
    work: &Work,
    chosen: Option<&Vec<String>>,
    room: Option<&Room>,
) -> Vec<NodePlacementView> {
    let said = cluster.placer.explain(work);
    let views = cluster
        .placer
        .nodes()
        .iter()
        .zip(said)
        .map(|(node, said)| NodePlacementView {
            is_chosen: chosen.is_some_and(|chosen| chosen.contains(&node.name)),
            why_not: said.refusals.iter().map(ToString::to_string).collect(),
            agent: room
                .and_then(|room| room.node(&node.name))
                .map(|known| known.agent.to_string())
                .unwrap_or_default(),
            name: node.name.clone(),
            model: node.model.clone(),
            domain: node.domain.clone(),
            free_cpu_milli: node.cpu_milli,
            free_memory_mib: node.memory_mib,
            free_gpus: node.whole_devices(),
            free_gpu_milli: node.idle_milli(),
        });
    let mut views: Vec<NodePlacementView> = views.collect();
    views.sort_by_key(|view| (!view.is_chosen, !view.why_not.is_empty()));
    views
}

//! Steps whose place the hub chooses when their plan is sent, and what live plans were promised.
//!
//! A deployment that demands something of its nodes, and a reschedule that names no node, are placed once: the result stands in the plan
//! as if its sender had named it, so that policy, people and the journal see where it goes. Whether there is room is asked again by the
//! cluster's own scheduler.
//!
//! Read next: `rooms/place.rs` (how it is chosen).

use std::collections::BTreeSet;

use wire::Demand;
use wire::kube::{DeploymentRef, NodeRef};
use wire::plan::{Draft, PlanState, Step, Target, Verb, node_names};

use super::Plans;
use super::machine::PlanRecord;
use crate::cx::Cx;
use crate::documents::Documents;
use crate::fleet::Fleet;
use crate::rooms::{Placed, PlacementAsk, Promise};

impl Plans {
    /// Places every step that leaves its place to the hub.
    pub(super) fn place_steps(&self, draft: &mut Draft, cx: &Cx<'_>) -> Result<(), String> {
        let mut promises = self.promises();
        for (index, step) in draft.steps.iter_mut().enumerate() {
            let Some(ask) = open_place(step) else {
                continue;
            };
            let placed = cx.fleet().rooms.place(&ask, &promises, cx.fleet(), cx.now.mono);
            let placed = placed.map_err(|why| format!("placement: step {}: {why}", index + 1))?;
            settle(step, &placed);
            // Its text has a bound, and a plan that is too long is not kept.
            step.verb
                .check()
                .map_err(|problem| format!("steps[{index}].{problem}: send it as several smaller ones"))?;
            promises.extend(promise(step));
        }
        Ok(())
    }

    /// What steps of live plans were promised.
    pub(crate) fn promises(&self) -> Vec<Promise> {
        let live = self.documents.iter().filter(|record| !record.state.is_final());
        live.flat_map(|record| record.plan.steps.iter().filter_map(promise))
            .collect()
    }
}

/// Nodes of clusters that steps of other plans touch now.
pub(super) fn busy_nodes(plans: &Documents<PlanRecord>, but: &PlanRecord, fleet: &Fleet) -> BTreeSet<NodeRef> {
    let at_work = |record: &&PlanRecord| {
        matches!(
            record.state,
            PlanState::Leased | PlanState::Executing | PlanState::Verifying | PlanState::RollingBack
        ) && record.plan.id != but.plan.id
    };
    let steps = plans
        .iter()
        .filter(at_work)
        .filter_map(|record| record.plan.steps.get(record.current()));
    let nodes = steps.flat_map(|step| match &step.target {
        Target::ClusterNode { cluster, name } => vec![NodeRef {
            cluster: cluster.clone(),
            name: name.clone(),
        }],
        Target::Device { node, .. } => fleet.in_clusters(node).to_vec(),
        Target::Deployment { .. } => Vec::new(),
    });
    nodes.collect()
}

/// What is to be placed, if the step leaves that to the hub.
fn open_place(step: &Step) -> Option<PlacementAsk> {
    let Target::Deployment {
        cluster,
        namespace,
        name,
    } = &step.target
    else {
        return None;
    };
    match &step.verb {
        Verb::Deploy {
            replicas,
            demand,
            nodes,
            ..
        } => {
            let any = cluster == Target::ANY_CLUSTER;
            let is_open = nodes.is_empty() && (any || *demand != Demand::default());
            is_open.then(|| PlacementAsk {
                demand: demand.clone(),
                replicas: *replicas,
                cluster: (!any).then(|| cluster.clone()),
                cluster_labels: Vec::new(),
                of: None,
            })
        }
        Verb::Reschedule { node } if node.is_empty() => Some(PlacementAsk {
            of: Some(DeploymentRef {
                cluster: cluster.clone(),
                namespace: namespace.clone(),
                name: name.clone(),
            }),
            ..PlacementAsk::default()
        }),
        _ => None,
    }
}

fn settle(step: &mut Step, placed: &Placed) {
    if let Target::Deployment { cluster, .. } = &mut step.target {
        cluster.clone_from(&placed.cluster);
    }
    let names = placed.nodes.join(",");
    match &mut step.verb {
        // Work that demands nothing runs wherever its cluster likes.
        Verb::Deploy { demand, nodes, .. } if *demand != Demand::default() => *nodes = names,
        Verb::Reschedule { node } => *node = names,
        _ => {}
    }
}

fn promise(step: &Step) -> Option<Promise> {
    let cluster = step.target.cluster()?.to_owned();
    match &step.verb {
        Verb::Deploy {
            replicas,
            demand,
            nodes,
            ..
        } if !nodes.is_empty() => Some(Promise {
            cluster,
            nodes: node_names(nodes),
            replicas: *replicas,
            demand: demand.clone(),
        }),
        _ => None,
    }
}

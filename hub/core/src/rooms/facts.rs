//! What policy is told of a step at a cluster: what it changes, what its scope uses, and how many nodes are touched.
//!
//! Scopes are `cluster` and `namespace` (those of the step's target), and by name `CLUSTER` and `CLUSTER:NAMESPACE`. Domains are `fleet`
//! (all nodes of all clusters), `cluster`, a cluster's name, and each label of a node. A number that is not known is left out, and the
//! rule says what that means; it is never 0.

use std::collections::{BTreeMap, BTreeSet};

use wire::kube::NodeRef;
use wire::plan::{Step, Target, Verb, node_names};
use wire::time::Mono;

use super::place::amount;
use super::{Amount, KubeNode, Room, Rooms};
use crate::fleet::Fleet;

/// What policy is told of one step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct StepFacts {
    /// Observed numbers, by full name.
    pub(crate) facts: Vec<(String, i64)>,
    /// What the target is, for selectors.
    pub(crate) labels: Vec<(String, String)>,
    /// By how much the step changes the use of each resource; `None`: nobody knows.
    pub(crate) resources: Vec<(String, Option<i64>)>,
    /// By how much it changes what an hour costs, in millionths; `None`: nobody knows.
    pub(crate) cost_micros_per_h: Option<i64>,
}

/// How a step changes a deployment.
struct Change {
    /// Replicas more, or fewer.
    replicas: i64,
    each: Amount,
    /// GPU model of them, if it is one.
    model: Option<String>,
}

impl Rooms {
    /// What is known of a step now. `busy`: nodes that steps of other plans touch.
    pub(crate) fn step_facts(&self, step: &Step, busy: &BTreeSet<NodeRef>, fleet: &Fleet, now: Mono) -> StepFacts {
        let (cluster, node) = match (&step.target, step.target.cluster()) {
            (Target::Device { node, .. }, _) => match fleet.in_clusters(node).first() {
                Some(found) => (found.cluster.clone(), Some(found.name.clone())),
                None => return StepFacts::of_nothing(),
            },
            (Target::ClusterNode { name, .. }, Some(cluster)) => (cluster.to_owned(), Some(name.clone())),
            (_, cluster) => (cluster.unwrap_or_default().to_owned(), None),
        };
        let mut told = StepFacts::of_nothing();
        told.labels.push(("cluster".to_owned(), cluster.clone()));
        let room = self.fresh(&cluster, now);
        if let Target::Deployment { namespace, name, .. } = &step.target {
            told.labels.push(("namespace".to_owned(), namespace.clone()));
            told.change(step, room, (namespace, name));
        }
        let Some(room) = room else {
            return told;
        };
        told.use_of(&["cluster", &cluster], room, None);
        if let Target::Deployment { namespace, .. } = &step.target {
            let full = format!("{cluster}:{namespace}");
            told.use_of(&["namespace", &full], room, Some(namespace));
        }
        let own = node.map(|name| NodeRef {
            cluster: cluster.clone(),
            name,
        });
        let members = members_of(&cluster, room, busy, own.as_ref());
        told.domain("cluster", &members);
        told.domain(&cluster, &members);
        // A cluster that has not told itself lately may hold anything.
        if self.0.values().all(|room| room.is_fresh(now)) {
            let all = self
                .0
                .iter()
                .flat_map(|(name, room)| members_of(name, room, busy, own.as_ref()));
            told.domain("fleet", &all.collect::<Vec<_>>());
        }
        for (key, value) in own
            .and_then(|own| room.node(&own.name))
            .into_iter()
            .flat_map(|node| &node.labels)
        {
            let alike = members.iter().filter(|one| one.labels.get(key) == Some(value)).copied();
            told.domain(key, &alike.collect::<Vec<_>>());
            told.labels.push((key.clone(), value.clone()));
        }
        told
    }
}

impl StepFacts {
    /// Nothing is known, and nothing is used or bought.
    fn of_nothing() -> Self {
        Self {
            cost_micros_per_h: Some(0),
            ..Self::default()
        }
    }

    /// What the step changes of its deployment.
    fn change(&mut self, step: &Step, room: Option<&Room>, (namespace, name): (&str, &str)) {
        let changes = matches!(step.verb, Verb::Scale { .. } | Verb::Deploy { .. });
        if !changes {
            return;
        }
        let change = room.and_then(|room| Some((room, room.change(step, namespace, name)?)));
        let Some((room, change)) = change else {
            for resource in ["replicas", "gpu", "gpu_milli", "cpu_milli", "memory_bytes"] {
                self.resources.push((resource.to_owned(), None));
            }
            self.cost_micros_per_h = None;
            return;
        };
        let more = |each: u64| Some(signed(each).saturating_mul(change.replicas));
        let gpu_milli = change.each.gpu_milli(room.parts());
        self.resources = vec![
            ("replicas".to_owned(), Some(change.replicas)),
            ("gpu".to_owned(), more(change.each.gpus)),
            ("gpu_milli".to_owned(), more(gpu_milli)),
            ("cpu_milli".to_owned(), more(change.each.cpu_milli)),
            ("memory_bytes".to_owned(), more(change.each.memory_mib << 20)),
        ];
        if gpu_milli > 0 {
            for model in room.models() {
                let is_mine = change.model.as_deref() == Some(model);
                let by = match &change.model {
                    Some(_) if !is_mine => continue,
                    Some(_) => more(change.each.gpus),
                    None => None,
                };
                self.resources.push((format!("gpu_{model}"), by));
            }
        }
        let price = room.price(change.each, change.model.as_deref());
        self.cost_micros_per_h = price.and_then(more);
    }

    /// What is used in a scope.
    fn use_of(&mut self, scopes: &[&str], room: &Room, namespace: Option<&str>) {
        let is_inside = |of: &str| namespace.is_none_or(|namespace| namespace == of);
        let deployments = || room.facts.deployments.iter().filter(|one| is_inside(&one.namespace));
        let wanted = deployments().fold(Amount::default(), |sum, one| sum.and(one.each.times(one.replicas)));
        let pods = room.facts.used.iter().filter(|one| is_inside(&one.namespace));
        let (mut asked, mut of_models, mut price) = (Amount::default(), BTreeMap::new(), Some(0_u64));
        for one in pods {
            asked = asked.and(one.used);
            *of_models.entry(one.model.as_str()).or_insert(0) += one.used.gpus;
            let model = (!one.model.is_empty()).then_some(one.model.as_str());
            price = price
                .zip(room.price(one.used, model))
                .map(|(sum, more)| sum.saturating_add(more));
        }
        // Pods that are wanted and not there yet are as good as used.
        let used = asked.max(wanted);
        let replicas: u64 = deployments().map(|one| one.replicas).sum();
        for scope in scopes {
            let mut put = |name: &str, value: u64| self.facts.push((format!("{scope}.{name}"), signed(value)));
            put("used_replicas", replicas);
            put("used_gpu", used.gpus);
            put("used_gpu_milli", used.gpu_milli(room.parts()));
            put("used_cpu_milli", used.cpu_milli);
            put("used_memory_bytes", used.memory_mib << 20);
            for model in room.models() {
                put(&format!("used_gpu_{model}"), of_models.get(model).copied().unwrap_or(0));
            }
            if let Some(price) = price {
                put("cost_rate_micros_per_h", price);
            }
        }
    }

    /// The numbers of a domain.
    fn domain(&mut self, name: &str, members: &[Member<'_>]) {
        let count = |of: &dyn Fn(&Member<'_>) -> bool| members.iter().filter(|one| of(one)).count();
        for (fact, value) in [
            ("members", members.len()),
            ("unhealthy", count(&|one| !one.is_own && !one.is_well)),
            ("in_flight", count(&|one| !one.is_own && one.is_well && one.is_busy)),
        ] {
            let value = i64::try_from(value).unwrap_or(i64::MAX);
            self.facts.push((format!("{name}.{fact}"), value));
        }
    }
}

/// A node as a member of a domain.
#[derive(Clone, Copy)]
struct Member<'a> {
    labels: &'a BTreeMap<String, String>,
    is_well: bool,
    /// A step of another plan touches it.
    is_busy: bool,
    /// It is what the step is done to.
    is_own: bool,
}

fn members_of<'a>(cluster: &str, room: &'a Room, busy: &BTreeSet<NodeRef>, own: Option<&NodeRef>) -> Vec<Member<'a>> {
    let member = |node: &'a KubeNode| {
        let named = NodeRef {
            cluster: cluster.to_owned(),
            name: node.name.clone(),
        };
        Member {
            labels: &node.labels,
            is_well: node.is_well(),
            is_busy: busy.contains(&named),
            is_own: own == Some(&named),
        }
    };
    room.facts.nodes.iter().map(member).collect()
}

impl Room {
    /// How a step changes its deployment; `None` if it is not known what it is now.
    fn change(&self, step: &Step, namespace: &str, name: &str) -> Option<Change> {
        match &step.verb {
            Verb::Scale { replicas } => {
                let now = self.deployment(namespace, name)?;
                Some(Change {
                    replicas: i64::from(*replicas).saturating_sub(signed(now.replicas)),
                    each: now.each,
                    model: self.model_of(&now.nodes, &now.labels).map(str::to_owned),
                })
            }
            Verb::Deploy {
                replicas,
                demand,
                nodes,
                ..
            } => {
                let labels = demand.labels.iter().cloned().collect();
                let model = match demand.models.as_slice() {
                    [only] => Some(only.clone()),
                    _ => self.model_of(&node_names(nodes), &labels).map(str::to_owned),
                };
                Some(Change {
                    replicas: i64::from(*replicas),
                    each: amount(demand, self.parts()),
                    model,
                })
            }
            _ => None,
        }
    }

    /// GPU models of its nodes, each once.
    fn models(&self) -> Vec<&str> {
        let mut models: Vec<&str> = self.facts.nodes.iter().map(|node| node.model.as_str()).collect();
        models.retain(|model| !model.is_empty());
        models.sort_unstable();
        models.dedup();
        models
    }
}

impl KubeNode {
    fn is_well(&self) -> bool {
        self.is_ready && !self.is_cordoned && !self.taints.iter().any(|key| key == "sentinel.dev/fault")
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

//! How many members each domain has and how they stand, kept up to date node by node: whoever changes costs one look at that node,
//! however large the fleet is.
//!
//! Decides nothing. What changes by time alone has its moment, at which it is looked at again.
//!
//! Invariant: the counts are what counting every node anew would give, as of the last [`Census::settle`]; a debug build compares them in
//! the tests.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use policy::Bundle;
use wire::time::Mono;

use super::{Standing, label, member_of};
use crate::fleet::{Node, Place};

/// The members of one domain as seen by one of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) members: i64,
    pub(super) unhealthy: i64,
    /// Touched, and healthy.
    pub(super) in_flight: i64,
    pub(super) newly_faulty: i64,
}

impl Counts {
    fn of(standing: Standing) -> Self {
        Self {
            members: 1,
            unhealthy: i64::from(standing.unhealthy),
            in_flight: i64::from(standing.touched && !standing.unhealthy),
            newly_faulty: i64::from(standing.newly_faulty),
        }
    }

    fn add(&mut self, other: Self, sign: i64) {
        self.members += sign * other.members;
        self.unhealthy += sign * other.unhealthy;
        self.in_flight += sign * other.in_flight;
        self.newly_faulty += sign * other.newly_faulty;
    }
}

/// What rates have given, by rule and by what those that they count together share, and in how long there is room again.
type Given = BTreeMap<String, BTreeMap<String, (u32, Option<Duration>)>>;

/// Counts by domain and value.
#[derive(Debug, Default)]
pub(super) struct Census {
    /// What it counts by: domains of rules, then scopes of rates over nodes that are no domain.
    domains: Vec<String>,
    scopes: Vec<String>,
    counts: BTreeMap<String, BTreeMap<String, Counts>>,
    nodes: BTreeMap<Place, Counted>,
    /// When nodes stand otherwise by time alone.
    ages: BTreeSet<(Mono, Place)>,
    pub(super) given: Given,
    /// What rates have given changes by time alone in so long.
    pub(super) again: Option<Duration>,
    /// Nodes that were looked at, ever.
    pub(super) looks: u64,
}

/// How a node is counted.
#[derive(Debug)]
struct Counted {
    counts: Counts,
    values: Vec<(String, String)>,
    changes_at: Option<Mono>,
}

impl Census {
    /// Begins anew if the rules count by something else than before. Returns whether it did: then every node is to be counted.
    pub(super) fn settle(&mut self, rules: &Bundle) -> bool {
        let domains = rules.domains();
        let mut scopes: Vec<&str> = rules.mesh_rates().map(|rate| rate.scope).collect();
        scopes.retain(|scope| !domains.contains(scope));
        scopes.sort_unstable();
        scopes.dedup();
        (self.given, self.again) = (Given::default(), None);
        if self.domains == domains && self.scopes == scopes {
            return false;
        }
        let owned = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
        *self = Self {
            domains: owned(domains),
            scopes: owned(scopes),
            looks: self.looks,
            ..Self::default()
        };
        true
    }

    /// Counts a node as it stands now, instead of as it stood. `None`: it is no member of anything.
    pub(super) fn count(&mut self, place: Place, node: Option<(&Node, Standing)>) {
        self.looks += 1;
        if let Some(before) = self.nodes.remove(&place) {
            for (domain, value) in &before.values {
                self.add(domain, value, before.counts, -1);
            }
            if let Some(at) = before.changes_at {
                self.ages.remove(&(at, place));
            }
        }
        let Some((node, standing)) = node else {
            return;
        };
        let of_domains = self.domains.iter();
        let of_domains = of_domains.filter_map(|domain| Some((domain.clone(), member_of(node, domain)?.to_owned())));
        let of_scopes = self.scopes.iter();
        let of_scopes = of_scopes.map(|scope| (scope.clone(), label(node, scope).unwrap_or_default().to_owned()));
        let counted = Counted {
            counts: Counts::of(standing),
            values: of_domains.chain(of_scopes).collect(),
            changes_at: standing.changes_at,
        };
        for (domain, value) in &counted.values {
            self.add(domain, value, counted.counts, 1);
        }
        self.ages.extend(counted.changes_at.map(|at| (at, place)));
        self.nodes.insert(place, counted);
    }

    fn add(&mut self, domain: &str, value: &str, counts: Counts, sign: i64) {
        let values = self.counts.entry(domain.to_owned()).or_default();
        let sum = values.entry(value.to_owned()).or_default();
        sum.add(counts, sign);
        if sum.members == 0 {
            values.remove(value);
        }
    }

    /// Nodes that stand otherwise by now, by time alone.
    pub(super) fn aged(&self, now: Mono) -> Vec<Place> {
        let due = self.ages.iter().take_while(|(at, _)| *at <= now);
        due.map(|(_, place)| *place).collect()
    }

    /// When the next one does.
    pub(super) fn ages_at(&self) -> Option<Mono> {
        self.ages.first().map(|(at, _)| *at)
    }

    pub(super) fn of(&self, domain: &str, value: &str) -> Counts {
        let counts = self.counts.get(domain).and_then(|values| values.get(value));
        counts.copied().unwrap_or_default()
    }

    /// Every domain and value that has members.
    pub(super) fn all(&self) -> impl Iterator<Item = (&str, &str, &Counts)> {
        self.counts.iter().flat_map(|(domain, values)| {
            values
                .iter()
                .map(move |(value, counts)| (domain.as_str(), value.as_str(), counts))
        })
    }

    #[cfg(test)]
    pub(super) fn same_as(&self, other: &Self) -> bool {
        let nonempty = |census: &Self| -> BTreeMap<(String, String), Counts> {
            let all = census.all();
            all.map(|(domain, value, counts)| ((domain.to_owned(), value.to_owned()), *counts))
                .collect()
        };
        nonempty(self) == nonempty(other)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use wire::ids::AgentId;

    use super::*;
    use crate::fleet::Fleet;

    const RULES: &str = "
bundle: test
rules:
  - id: one-of-a-rack
    kind: blast_radius
    domain: rack
    max_concurrent: { n: 1 }
    selector: { kinds: [restart] }
  - id: one-of-a-row
    kind: blast_radius
    domain: row
    max_concurrent: { n: 1 }
    selector: { kinds: [restart] }
";

    /// A node, its rack and its row (0: none), and how it stands.
    type Step = (Place, u8, u8, (bool, bool, bool), bool);

    fn step() -> impl Strategy<Value = Step> {
        (0usize..5, 0u8..3, 0u8..2, any::<(bool, bool, bool)>(), any::<bool>())
    }

    proptest! {
        #[test]
        fn counts_node_by_node_are_those_of_counting_everybody(steps in proptest::collection::vec(step(), 1..60)) {
            let rules = Bundle::parse(RULES.as_bytes()).expect("a bundle");
            let mut fleet = Fleet::default();
            for n in 0..5 {
                fleet.place_or_new(&AgentId::new(format!("edge-{n}")).expect("valid"), "lab");
            }
            let mut standings: BTreeMap<Place, Standing> = BTreeMap::new();
            let mut census = Census::default();
            prop_assert!(census.settle(&rules));
            for (place, rack, row, (unhealthy, touched, newly_faulty), is_member) in steps {
                let names = [("rack", rack), ("row", row)].into_iter().filter(|(_, value)| *value > 0);
                let labels = names.map(|(name, value)| (name.to_owned(), value.to_string()));
                fleet.node_mut(place).record.labels = labels.collect();
                let standing = Standing {
                    unhealthy,
                    touched: touched || unhealthy,
                    newly_faulty: newly_faulty && unhealthy,
                    changes_at: newly_faulty.then_some(Mono(place as u64)),
                };
                match is_member {
                    true => drop(standings.insert(place, standing)),
                    false => drop(standings.remove(&place)),
                }
                census.count(place, standings.get(&place).map(|standing| (fleet.node(place), *standing)));
                prop_assert!(!census.settle(&rules));
                let mut anew = Census::default();
                anew.settle(&rules);
                for (place, standing) in &standings {
                    anew.count(*place, Some((fleet.node(*place), *standing)));
                }
                prop_assert!(census.same_as(&anew), "{census:?} is not {anew:?}");
                prop_assert_eq!(&census.ages, &anew.ages);
            }
        }
    }
}

//! Domains as people see them: counts, whose turn it is, who waits, and what windows have left.
//!
//! Decides nothing. Read next: `wire/src/api/domains.rs` (what is shown).

use policy::Bundle;
use wire::AgentId;
use wire::api::{DomainView, GlassView, TurnView, WindowView};
use wire::domains::NodeFacts;
use wire::time::{Now, Wall};

use super::{Counts, Member, Turn};
use crate::fleet::{Node, Place};
use crate::hub::Hub;

impl Hub {
    /// Why a node that is connected is not healthy by its own word.
    pub(crate) fn unhealthy(&self, node: &Node) -> Option<&str> {
        self.said(node)?.unhealthy.as_deref()
    }

    /// The neighbour that carries a node's session.
    pub(crate) fn via(&self, node: &Node) -> Option<AgentId> {
        node.session?;
        let place = self.fleet.place(node.id())?;
        self.domains.members.get(&place)?.via.clone()
    }

    /// The neighbours that carry its session, from the node to here: each says by whom it is carried itself.
    pub(crate) fn path(&self, node: &Node) -> Vec<AgentId> {
        let next = |via: &AgentId| self.fleet.find(via).and_then(|carrier| self.via(carrier));
        // Two at most; what nodes say while they move may still be a circle.
        std::iter::successors(self.via(node), next).take(2).collect()
    }

    /// What is not as it should be on a node, as it said last.
    pub(crate) fn findings(&self, node: &Node) -> Vec<String> {
        let member = self
            .fleet
            .place(node.id())
            .and_then(|place| self.domains.members.get(&place));
        member.map_or_else(Vec::new, |member| member.findings.clone())
    }

    /// The break-glass token that a connected node has open.
    pub(crate) fn open_glass(&self, node: &Node, now: Now) -> Option<GlassView> {
        let member = self.domains.members.get(&self.fleet.place(node.id())?)?;
        let opened = member.facts.as_ref()?.opened.as_ref()?;
        let passed = now.mono.0.saturating_sub(member.said_at.0);
        let left_ms = opened.left_ms.checked_sub(passed).filter(|left| *left > 0)?;
        Some(GlassView {
            node: node.id().clone(),
            number: opened.number,
            kinds: opened.kinds.clone(),
            targets: opened.targets.clone(),
            until: Wall(now.wall.0.saturating_add_unsigned(left_ms)),
            left_ms,
            approvers: opened.approvers.clone(),
            reason: None,
        })
    }

    /// Whether a node waits for its turn.
    pub(crate) fn waits_for_turn(&self, node: &Node) -> bool {
        let place = self.fleet.place(node.id());
        place.is_some_and(|place| self.domains.queue.contains(place))
    }

    fn said(&self, node: &Node) -> Option<&NodeFacts> {
        let place = self.fleet.place(node.id())?;
        self.domains.members.get(&place)?.facts.as_ref()
    }

    /// Every domain of the newest bundle, with who has its turn and who waits, in the order of waiting.
    pub fn domains(&self, now: Now) -> Vec<DomainView> {
        let Some(rules) = self.bundles.rules() else {
            return Vec::new();
        };
        let census = self.census(rules, now.mono);
        let mut views = Vec::new();
        for (domain, value, counts) in census.all() {
            views.push(self.domain_view(rules, domain, value, counts, now));
        }
        views
    }

    fn domain_view(&self, rules: &Bundle, domain: &str, value: &str, counts: &Counts, now: Now) -> DomainView {
        let counting = rules.counting(domain);
        let is_in = |place: Place| self.value(place, domain).as_deref() == Some(value);
        let is_touched = |place: Place| rules.domains().contains(&domain) && is_in(place);
        let turns = self.domains.members.iter().filter_map(|(place, member)| {
            let turn = member.turn.as_ref().filter(|turn| turn.stored);
            let is_counted = |turn: &Turn| {
                let mut keys = turn.keys.iter();
                keys.any(|(rule, shared)| shared == value && counting.contains(&rule.as_str()))
            };
            let acts = member.facts.as_ref().is_some_and(|facts| facts.acting > 0) && is_touched(*place);
            let since = turn.filter(|turn| turn.touches && is_touched(*place) || !turn.over && is_counted(turn));
            let since = since.map(|turn| turn.since);
            (acts || since.is_some()).then(|| TurnView {
                node: self.fleet.node(*place).id().clone(),
                acts,
                for_ms: since.map(|since| now.mono.0.saturating_sub(since.0)),
            })
        });
        let waits = |place: Place| {
            let member = self.domains.members.get(&place);
            let mut rules_of = member.into_iter().flat_map(Member::asks).flat_map(|ask| &ask.rules);
            rules_of.any(|rule| match (rules.domain_of(rule), rules.mesh_rate(rule)) {
                (Some(of), _) => of == domain && is_in(place),
                (None, Some(rate)) => rate.scope == domain && self.scope_value(place, domain) == value,
                (None, None) => false,
            })
        };
        let waiting = self.domains.queue.in_order().into_iter().filter(|place| waits(*place));
        let windows = counting.iter().filter_map(|rule| {
            let (limit, window_ms) = rules.window_of(rule)?;
            let key = ((*rule).to_owned(), value.to_owned());
            let free_in = self.domains.windows.free_in(&key, limit, window_ms, now.mono);
            Some(WindowView {
                rule: key.0.clone(),
                given: self.domains.windows.count(&key, window_ms, now.mono),
                limit,
                window_ms,
                free_in_ms: free_in.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
            })
        });
        DomainView {
            domain: domain.to_owned(),
            value: value.to_owned(),
            members: counts.members,
            unhealthy: counts.unhealthy,
            in_flight: counts.in_flight,
            newly_faulty: counts.newly_faulty,
            gives_turns: rules.gives_turns(domain) || !counting.is_empty(),
            turns: turns.collect(),
            waiting: waiting.map(|place| self.fleet.node(place).id().clone()).collect(),
            windows: windows.collect(),
        }
    }
}

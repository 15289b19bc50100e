//! What a hub must know of a bundle to let nodes act one after the other: `blast_radius`, and rates whose key spans nodes.
//!
//! The agent judges by what the hub counted; the hub asks here, by the same arithmetic, whether it may give the next turn.
//!
//! Read next: `kind/blast.rs`, `kind/rate.rs`, `hub/core/src/domains.rs`.

use wire::decision::{Clause, Judgement, Verdict};
use wire::reading::Unit;

use crate::bundle::Bundle;
use crate::kind::Kind;
use crate::kind::blast::{Blast, Crowd};
use crate::kind::rate::Rate;
use crate::rule::{Mode, Rule};

/// A rate that is counted over nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MeshRate<'a> {
    /// The rule's id.
    pub rule: &'a str,
    /// What nodes that are counted together have in common: `fleet`, `cluster` or `site`.
    pub scope: &'static str,
    /// At most so many turns,
    pub limit: u32,
    /// in so many milliseconds.
    pub window_ms: u64,
}

/// Under which name a hub tells how many turns a rate has given.
pub fn given_name(rule: &str) -> String {
    format!("rate:{rule}.given")
}

/// Under which name it tells in how many milliseconds there is room for one more, if there is none.
pub fn free_in_name(rule: &str) -> String {
    format!("rate:{rule}.free_in_ms")
}

impl Bundle {
    /// The domains that its `blast_radius` rules count, each once, in the order of their names: `rack`, `site`, or one by name,
    /// `rack:r7`.
    pub fn domains(&self) -> Vec<&str> {
        let mut domains: Vec<_> = self
            .radii(|mode| mode != Mode::Off)
            .map(|(_, blast)| blast.domain())
            .collect();
        domains.sort_unstable();
        domains.dedup();
        domains
    }

    /// Whether a hub must know its nodes because of any rule.
    pub fn counts_nodes(&self) -> bool {
        self.radii(|mode| mode != Mode::Off).next().is_some() || self.mesh_rates().next().is_some()
    }

    /// Whether nodes need a turn to stop work in this domain. Rules that are only tried out give none.
    pub fn gives_turns(&self, domain: &str) -> bool {
        self.radii(|mode| mode == Mode::Enforce)
            .any(|(_, blast)| blast.domain() == domain)
    }

    /// Ids of the rules that give turns.
    pub fn turn_rules(&self) -> impl Iterator<Item = &str> {
        let rules = self.rules.iter().filter(|rule| rule.needs_turn());
        rules.map(|rule| rule.id.as_str())
    }

    /// The domain of a `blast_radius` that gives turns; `None` for any other rule.
    pub fn domain_of(&self, rule: &str) -> Option<&str> {
        self.radius(rule).map(Blast::domain)
    }

    /// Rates that are counted over nodes. Those that are only tried out are not.
    pub fn mesh_rates(&self) -> impl Iterator<Item = MeshRate<'_>> {
        let rules = self.rules.iter().filter(|rule| rule.needs_turn());
        rules.filter_map(|rule| {
            let rate = rate_of(rule)?;
            let (limit, window_ms) = rate.window();
            Some(MeshRate {
                rule: &rule.id,
                scope: rate.scope()?,
                limit,
                window_ms,
            })
        })
    }

    /// One of them.
    pub fn mesh_rate(&self, rule: &str) -> Option<MeshRate<'_>> {
        self.mesh_rates().find(|rate| rate.rule == rule)
    }

    /// How many turns a rule gives in a window of how many milliseconds, if it counts any.
    pub fn window_of(&self, rule: &str) -> Option<(u32, u64)> {
        match self.radius(rule) {
            Some(blast) => blast.window(),
            None => self.mesh_rate(rule).map(|rate| (rate.limit, rate.window_ms)),
        }
    }

    /// Rules of a domain that count the turns that they give.
    pub fn counting(&self, domain: &str) -> Vec<&str> {
        let radii = self.radii(|mode| mode == Mode::Enforce);
        let radii = radii.filter(|(_, blast)| blast.domain() == domain && blast.window().is_some());
        let rates = self.mesh_rates().filter(|rate| rate.scope == domain);
        let radii = radii.map(|(rule, _)| rule.id.as_str());
        radii.chain(rates.map(|rate| rate.rule)).collect()
    }

    /// Whether one more member of its domain may be touched. `false` for a rule that gives no turns.
    pub fn has_room(&self, rule: &str, crowd: &Crowd<'_>) -> bool {
        match self.radius(rule) {
            Some(blast) => blast.has_room(crowd),
            None => self
                .mesh_rate(rule)
                .is_some_and(|rate| (crowd.started)(rate.window_ms) < rate.limit),
        }
    }

    /// The rules by which a judgement asked whether it was this node's turn.
    pub fn turns_in(&self, judgement: &Judgement) -> Vec<String> {
        let mut rules: Vec<String> = Vec::new();
        for clause in judgement.clauses.iter().filter(|clause| self.is_turn(clause)) {
            if rules.last() != Some(&clause.rule) {
                rules.push(clause.rule.clone());
            }
        }
        rules
    }

    /// The rules by which a judgement waits for a turn; none if a turn would not help.
    pub fn waits_for(&self, judgement: &Judgement) -> Vec<String> {
        let rules = self.turns_in(judgement);
        let lacks = |clause: &&Clause| !clause.holds && clause.verdict >= Verdict::Hold && !clause.shadow;
        let objects = || judgement.clauses.iter().filter(lacks);
        let lacks_turn = objects().any(|clause| self.is_turn(clause));
        // A rule that had no room when this was judged may have some when it is this node's turn.
        let others = objects().any(|clause| !rules.contains(&clause.rule));
        match judgement.verdict == Verdict::Hold && lacks_turn && !others {
            true => rules,
            false => Vec::new(),
        }
    }

    fn is_turn(&self, clause: &Clause) -> bool {
        let gives = || self.rule(&clause.rule).is_some_and(Rule::needs_turn);
        clause.unit == Unit::Flag && !clause.shadow && gives()
    }

    fn radius(&self, rule: &str) -> Option<&Blast> {
        let mut radii = self.radii(|mode| mode == Mode::Enforce);
        radii.find(|(found, _)| found.id == rule).map(|(_, blast)| blast)
    }

    fn radii(&self, counts: impl Fn(Mode) -> bool) -> impl Iterator<Item = (&Rule, &Blast)> {
        let rules = self.rules.iter().filter(move |rule| counts(rule.mode));
        rules.filter_map(|rule| match &rule.kind {
            Kind::BlastRadius(blast) => Some((rule, blast.as_ref())),
            _ => None,
        })
    }
}

fn rate_of(rule: &Rule) -> Option<&Rate> {
    match &rule.kind {
        Kind::RateLimit(rate) | Kind::Budget(rate) => Some(rate),
        _ => None,
    }
}

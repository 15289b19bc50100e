//! What a hub must know of a bundle's `blast_radius` rules to let nodes touch a domain one after the other.
//!
//! The agent judges by what the hub counted; the hub asks here, by the same arithmetic, whether it may give the next turn.
//!
//! Read next: `kind/blast.rs`, `hub/core/src/domains.rs`.

use crate::bundle::Bundle;
use crate::kind::Kind;
use crate::kind::blast::{Blast, Crowd};
use crate::rule::{Mode, Rule};

impl Bundle {
    /// The domains that its rules count, each once, in the order of their names: `rack`, `site`, or one by name, `rack:r7`.
    pub fn domains(&self) -> Vec<&str> {
        let mut domains: Vec<_> = self
            .radii(|mode| mode != Mode::Off)
            .map(|(_, blast)| blast.domain())
            .collect();
        domains.sort_unstable();
        domains.dedup();
        domains
    }

    /// Whether nodes need a turn to stop work in this domain. Rules that are only tried out give none.
    pub fn gives_turns(&self, domain: &str) -> bool {
        self.radii(|mode| mode == Mode::Enforce)
            .any(|(_, blast)| blast.domain() == domain)
    }

    /// The domain of a rule that gives turns; `None` for any other rule.
    pub fn domain_of(&self, rule: &str) -> Option<&str> {
        self.radius(rule).map(Blast::domain)
    }

    /// How many turns a rule gives in a window of how many milliseconds, if it counts any.
    pub fn window_of(&self, rule: &str) -> Option<(u32, u64)> {
        self.radius(rule)?.window()
    }

    /// Whether one more member of its domain may be touched. `false` for a rule that gives no turns.
    pub fn has_room(&self, rule: &str, crowd: &Crowd<'_>) -> bool {
        self.radius(rule).is_some_and(|blast| blast.has_room(crowd))
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

//! Two bundles side by side: which rules differ, and which stored decisions would have come out otherwise.

use wire::decision::Verdict;
use wire::{Decision, DecisionId};

use crate::bundle::Bundle;
use crate::judge::judge;

/// How one rule differs between two bundles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// Only the new bundle has it.
    Added {
        /// Its id.
        rule: String,
        /// One line for people.
        text: String,
    },
    /// Only the old bundle has it.
    Removed {
        /// Its id.
        rule: String,
        /// One line for people.
        text: String,
    },
    /// Both have it, and it is not the same.
    Changed {
        /// Its id.
        rule: String,
        /// As it was.
        before: String,
        /// As it is.
        after: String,
    },
    /// Something besides the rules: the authority ladder, the permits.
    Setting {
        /// What.
        name: &'static str,
        /// As it was.
        before: String,
        /// As it is.
        after: String,
    },
}

/// What changes from `old` to `new`, in the order of `new`, then what is gone.
pub fn diff(old: &Bundle, new: &Bundle) -> Vec<Difference> {
    let line = |bundle: &Bundle, index: usize| {
        let rule = &bundle.rules[index];
        format!(
            "{} ({}): {}",
            rule.kind.name(),
            rule.mode.name(),
            rule.kind.text(&rule.selector)
        )
    };
    let mut found = Vec::new();
    for (index, rule) in new.rules.iter().enumerate() {
        match old.rules.iter().position(|other| other.id == rule.id) {
            None => found.push(Difference::Added {
                rule: rule.id.clone(),
                text: line(new, index),
            }),
            Some(other) if old.rules[other] != *rule => found.push(Difference::Changed {
                rule: rule.id.clone(),
                before: line(old, other),
                after: line(new, index),
            }),
            Some(_) => {}
        }
    }
    for (index, rule) in old.rules.iter().enumerate() {
        if new.rule(&rule.id).is_none() {
            found.push(Difference::Removed {
                rule: rule.id.clone(),
                text: line(old, index),
            });
        }
    }
    if old.ladder != new.ladder {
        let show = |b: &Bundle| format!("{:?}", b.ladder);
        found.push(Difference::Setting {
            name: "authority",
            before: show(old),
            after: show(new),
        });
    }
    if old.permits != new.permits {
        let show = |b: &Bundle| b.permits.iter().map(|p| p.text()).collect::<Vec<_>>().join("; ");
        found.push(Difference::Setting {
            name: "permits",
            before: show(old),
            after: show(new),
        });
    }
    found
}

/// A stored decision that a draft would have made otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Would {
    /// Which.
    pub id: DecisionId,
    /// What was wanted, for people.
    pub wanted: String,
    /// As it was decided, and by which rule.
    pub before: (Verdict, String),
    /// As the draft decides it.
    pub after: (Verdict, String),
    /// What would run by the draft, for people; empty if nothing.
    pub runs: String,
}

/// Judges stored decisions again by a draft and returns those that differ.
///
/// The facts of each decision are those of its day, so a rule that the draft adds sees no count where none was taken and is then
/// evaluated without its numbers like on the hub; what it would have counted is not invented.
pub fn simulate<'a>(draft: &Bundle, stored: impl IntoIterator<Item = (&'a DecisionId, &'a Decision)>) -> Vec<Would> {
    let mut found = Vec::new();
    for (id, decision) in stored {
        let old = &decision.judgement;
        let new = crate::judge::judge_without_missing_facts(draft, &decision.inputs);
        if old.verdict != new.verdict || old.granted != new.granted {
            found.push(Would {
                id: id.clone(),
                wanted: decision.inputs.wanted.to_string(),
                before: (old.verdict, old.rule.clone()),
                after: (new.verdict, new.rule.clone()),
                runs: new.granted.as_ref().map_or(String::new(), ToString::to_string),
            });
        }
    }
    found
}

/// Whether `judge` by `bundle` gives what was stored; a quick form of [`crate::replay()`].
pub fn is_reproduced(bundle: &Bundle, decision: &Decision) -> bool {
    judge(bundle, &decision.inputs) == decision.judgement
}

//! Two bundles side by side: which rules differ. What a draft would have decided otherwise is in `rehearse.rs`.

use wire::Decision;

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
    if old.indicators != new.indicators {
        let show = |b: &Bundle| b.indicators.iter().map(|i| i.text()).collect::<Vec<_>>().join("; ");
        found.push(Difference::Setting {
            name: "indicators",
            before: show(old),
            after: show(new),
        });
    }
    if old.meters != new.meters {
        let show = |b: &Bundle| b.meters.iter().map(|m| m.text()).collect::<Vec<_>>().join("; ");
        found.push(Difference::Setting {
            name: "meters",
            before: show(old),
            after: show(new),
        });
    }
    if old.sites != new.sites {
        let show = |b: &Bundle| b.sites.iter().map(|site| site.text()).collect::<Vec<_>>().join("; ");
        found.push(Difference::Setting {
            name: "sites",
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

/// Whether `judge` by `bundle` gives what was stored; a quick form of [`crate::replay()`].
pub fn is_reproduced(bundle: &Bundle, decision: &Decision) -> bool {
    judge(bundle, &decision.inputs) == decision.judgement
}

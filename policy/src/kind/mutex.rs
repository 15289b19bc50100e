//! `mutex`: kinds of action of which never two are under way at once, on one target or on the whole node.

use wire::decision::Verdict;
use wire::reading::Unit;

use crate::ledger::{Numbers, World};
use crate::rule::{Asked, Finding};
use crate::text::fields::Fields;

/// Kinds of action of which never two are under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mutex {
    /// Never two on one target; else never two on the node.
    per_target: bool,
    kinds: u64,
}

impl Mutex {
    pub fn read(fields: &mut Fields<'_>, kinds: u64) -> Self {
        let key = fields.choice(
            "key",
            &["target", "node"],
            "never two on one target, or on the whole node (default)",
        );
        Self {
            per_target: key == Some(0),
            kinds,
        }
    }

    pub fn gather(&self, world: &World<'_>, asked: &Asked<'_>) -> Numbers {
        let target = self.per_target.then_some(asked.target);
        let count = world.flights.count(self.kinds, target, asked.now.mono);
        Numbers::of([i64::try_from(count).ok()])
    }

    pub fn assess(&self, numbers: &Numbers, push: &mut impl FnMut(Finding)) {
        // When another one ends is not known; a second is a turn of every loop here.
        const RETRY_MS: u64 = 1_000;
        let Some(count) = numbers.get(0) else { return };
        let finding = Finding::pass(0, "=", Some(count), Some(0), Unit::Count);
        push(finding.fails_unless(count == 0, Verdict::Hold, Some(RETRY_MS)));
    }
}

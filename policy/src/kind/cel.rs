//! `cel`: a condition of people's own, in CEL, that must hold for the action.
//!
//! What the condition can look at is what every other kind sees: the action as we know it, labels of its target, observed facts, the
//! target's readings with their ages, and the time. Whoever asks for the action gives none of it.
//!
//! Read next: `crate::cel` (the language).

use super::scope::OnUnknown;
use crate::cel::Expression;
use crate::ledger::{Numbers, World};
use crate::rule::{Asked, Finding};
use crate::text::fields::Fields;

/// Names of a condition's numbers, as facts of a decision.
const NUMBERS: [&str; crate::cel::limits::NUMBERS] = ["n0", "n1", "n2", "n3", "n4", "n5", "n6", "n7"];

/// A condition, and what a missing name in it means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cel {
    require: Expression,
    on_missing: OnUnknown,
}

impl Cel {
    pub fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let doc = "CEL that must be true for the action: action.amount < value(\"300 W\") || labels.team == \"ml\"";
        let require = fields.need_program("require", doc, |text| {
            Expression::compile(text).map_err(|error| (error.at, error.message))
        });
        let wrong = require
            .as_ref()
            .and_then(|require| require.facts().find_map(crate::isolation::problem));
        if let Some(wrong) = wrong {
            fields.doubt("require", wrong);
        }
        let on_missing = OnUnknown::read(fields);
        Some(Self {
            require: require?,
            on_missing,
        })
    }

    pub fn numbers(&self) -> &'static [&'static str] {
        NUMBERS.get(..self.require.number_count()).unwrap_or(&NUMBERS)
    }

    pub fn uses_labels(&self) -> bool {
        self.require.uses_labels()
    }

    /// Whether it looks at what the action uses.
    pub fn uses_resources(&self) -> bool {
        self.require.uses_resources()
    }

    /// Whether it looks at what is known only where the action would run.
    pub fn needs_world(&self) -> bool {
        self.require.number_count() > 0 || self.require.uses_labels() || self.require.uses_resources()
    }

    /// The full name of the n-th number, where readings are told by name.
    pub fn name(&self, index: usize) -> Option<&str> {
        self.require.number_name(index)
    }

    pub fn gather(&self, world: &World<'_>) -> Numbers {
        self.require.gather(world)
    }

    pub fn assess(&self, asked: &Asked<'_>, numbers: &Numbers, push: &mut impl FnMut(Finding)) {
        self.require.assess(self.on_missing, asked, numbers, push);
    }

    pub fn what(&self, part: u8) -> String {
        self.require.span(part).split_whitespace().collect::<Vec<_>>().join(" ")
    }

    pub fn text(&self) -> String {
        self.require.text().split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

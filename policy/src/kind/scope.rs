//! Numbers that we observed of a scope (a tenant, a rack, a service), by name: `tenant.cost_spent`.
//!
//! Nobody who asks for an action can give them: agent and hub set them from what they see. What a missing one means depends on
//! how dangerous the action is.

use wire::action::RiskClass;
use wire::decision::Verdict;
use wire::reading::Unit;

use crate::rule::{Asked, Finding};
use crate::text::fields::Fields;

/// What a missing number means, when the rule says so itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct OnUnknown(Option<Verdict>);

impl OnUnknown {
    pub fn read(fields: &mut Fields<'_>) -> Self {
        Self::read_as(
            fields,
            "what a missing number means; by class: safety allow, low and medium hold, above deny",
        )
    }

    /// The same with another description.
    pub fn read_as(fields: &mut Fields<'_>, doc: &'static str) -> Self {
        let words = &["allow", "hold", "require_approval", "deny"];
        let choice = fields.choice("on_missing", words, doc);
        let verdicts = [Verdict::Allow, Verdict::Hold, Verdict::RequireApproval, Verdict::Deny];
        Self(choice.map(|index| verdicts[index]))
    }

    /// The same, with another answer than by class where the rule says nothing.
    pub fn or(self, usual: Verdict) -> Self {
        Self(self.0.or(Some(usual)))
    }

    /// The comparison that could not be made.
    pub fn finding(self, asked: &Asked<'_>, part: u8, op: &'static str, limit: Option<i64>, unit: Unit) -> Finding {
        let usual = match asked.info().class {
            RiskClass::Safety => Verdict::Allow,
            RiskClass::Low | RiskClass::Medium => Verdict::Hold,
            RiskClass::High | RiskClass::Irreversible => Verdict::Deny,
        };
        Finding {
            unknown: true,
            ..Finding::pass(part, op, None, limit, unit).fails(self.0.unwrap_or(usual), None)
        }
    }
}

/// Reads `scope` and makes the full names of a rule's numbers.
pub(crate) fn read_names(
    fields: &mut Fields<'_>,
    field: &'static str,
    doc: &'static str,
    numbers: &[&str],
) -> (String, Vec<String>) {
    let scope = fields.need_text(field, doc);
    let names = numbers.iter().map(|number| format!("{scope}.{number}")).collect();
    (scope, names)
}

/// A number of milliseconds for the trace, from a duration field.
pub(crate) fn as_ms(ms: Option<u64>) -> Option<i64> {
    ms.map(|ms| i64::try_from(ms).unwrap_or(i64::MAX))
}

/// `a * b / c` without overflow, saturated.
pub(crate) fn mul_div(a: i64, b: i64, c: i64) -> i64 {
    if c == 0 {
        return i64::MAX;
    }
    let value = i128::from(a) * i128::from(b) / i128::from(c);
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

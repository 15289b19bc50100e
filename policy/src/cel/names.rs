//! What a condition can name, and what each name is. Documentation and error texts come from these tables.

use super::{CalendarField, Field, Quantifier, Scalar, Search};

/// Fields of `action`: name, type, whether it may be missing, what it is.
pub(super) const ACTION: &[(&str, Field, Scalar, bool)] = &[
    ("kind", Field::Kind, Scalar::Text, false),
    ("source", Field::Source, Scalar::Text, false),
    ("class", Field::Class, Scalar::Text, false),
    ("target", Field::Target, Scalar::Text, false),
    ("amount", Field::Amount, Scalar::Int, true),
    ("lasts", Field::Lasts, Scalar::Duration, true),
    ("rollback", Field::Rollback, Scalar::Duration, false),
    ("cost_delta_micros_per_h", Field::CostDelta, Scalar::Int, true),
    ("earlier_targets", Field::Earlier, Scalar::Int, false),
    ("is_undo", Field::IsUndo, Scalar::Bool, false),
    ("reversible", Field::Reversible, Scalar::Bool, false),
    ("disruptive", Field::Disruptive, Scalar::Bool, false),
    ("protective", Field::Protective, Scalar::Bool, false),
];

/// What can stand alone or before a dot or bracket.
pub(super) const ROOTS: &[&str] = &["action", "labels", "resources", "facts", "readings", "ages", "now"];

/// Functions that take their value in brackets.
pub(super) const FUNCTIONS: &[&str] = &["has", "size", "duration", "timestamp", "value"];

pub(super) const QUANTIFIERS: &[(&str, Quantifier)] = &[
    ("all", Quantifier::All),
    ("exists", Quantifier::Exists),
    ("exists_one", Quantifier::ExistsOne),
];

/// Those that make a list of a list.
pub(super) const LISTS: &[&str] = &[FILTER, MAP];
pub(super) const FILTER: &str = "filter";
pub(super) const MAP: &str = "map";

pub(super) const SEARCHES: &[(&str, Search)] = &[
    ("startsWith", Search::StartsWith),
    ("endsWith", Search::EndsWith),
    ("contains", Search::Contains),
];

/// Looks for a pattern that is written out.
pub(super) const MATCHES: &str = "matches";

pub(super) const CALENDAR: &[(&str, CalendarField)] = &[
    ("getFullYear", CalendarField::FullYear),
    ("getMonth", CalendarField::Month),
    ("getDate", CalendarField::Date),
    ("getDayOfMonth", CalendarField::DayOfMonth),
    ("getDayOfWeek", CalendarField::DayOfWeek),
    ("getHours", CalendarField::Hours),
    ("getMinutes", CalendarField::Minutes),
];

/// Words that CEL keeps for itself.
pub(super) const RESERVED: &[&str] = &[
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
    "null",
    "true",
    "false",
];

/// What a condition can name, for people.
pub(crate) fn help() -> String {
    let mut text = "what a condition can name\n".to_owned();
    for (name, _, kind, optional) in ACTION {
        let kind = match kind {
            Scalar::Bool => "bool",
            Scalar::Int => "int, in the stored unit",
            Scalar::Text => "string",
            Scalar::Duration => "duration",
            Scalar::Time => "timestamp",
        };
        let optional = if *optional { "; may be missing: has(action." } else { "" };
        let close = if optional.is_empty() {
            String::new()
        } else {
            format!("{name})")
        };
        text.push_str(&format!("  action.{name}: {kind}{optional}{close}\n"));
    }
    text.push_str(concat!(
        "  labels: the target's, string to string: labels.team, \"team\" in labels, labels.exists(k, …)\n",
        "  resources: what the request uses, string to int: resources.gpu; on an agent resources.power_mw of a power limit\n",
        "  facts: observed numbers by name: facts[\"rack.members\"], \"rack.members\" in facts\n",
        "  readings: the target's latest, in the stored unit: readings[\"gpu.temperature\"] > value(\"85 °C\")\n",
        "  ages: how old they are: ages[\"gpu.temperature\"] < duration(\"10s\")\n",
        "  .matches: a pattern of RE2, found anywhere unless ^ and $ say where: action.target.matches(\"^gpu[0-9]+$\")\n",
        "  now: timestamp: now.getHours(\"Europe/Berlin\"), now.getDayOfWeek() (0 is Sunday)\n",
    ));
    let functions = QUANTIFIERS.iter().map(|(name, _)| *name).chain(LISTS.iter().copied());
    let functions = functions.chain(SEARCHES.iter().map(|(name, _)| *name)).chain([MATCHES]);
    let functions: Vec<_> = functions.chain(CALENDAR.iter().map(|(name, _)| *name)).collect();
    text.push_str(&format!(
        "functions\n  {}; .{}\n",
        FUNCTIONS.join(", "),
        functions.join(", .")
    ));
    text.push_str(&format!(
        "limits\n  {} bytes, {} nodes, {} levels, {} of all, exists, exists_one, filter and map in each other, {} facts, readings and ages, {} patterns, {} steps\n",
        super::limits::TEXT,
        super::limits::NODES,
        super::limits::DEPTH,
        super::limits::NESTING,
        super::limits::NUMBERS,
        super::limits::PATTERNS,
        super::limits::COST,
    ));
    text
}

//! Conditions in CEL over what a rule can see: compiled when the bundle is checked, evaluated without allocating.
//!
//! Supported is what a yes-or-no question about one action needs: `bool`, `int`, `string`, `duration`, `timestamp`, lists of these;
//! `! - + * / % < <= > >= == != && || ?: in`, indexing, `has`, `size`, `startsWith`, `endsWith`, `contains`, `all`, `exists`,
//! `exists_one`, `filter`, `map`, `matches` of a pattern that is written out, `duration("5m")`, `timestamp("2026-01-01T00:00:00Z")`,
//! the calendar getters with a zone, and one function of ours: `value("85 °C")`, the integer in the stored unit. Left out, and refused
//! when the bundle is checked: `uint`, `double`, `bytes`, `null`, map literals, messages, lists of lists, comparing whole lists or
//! maps, joining strings, and conversions.
//!
//! Semantics are CEL's: `&&` and `||` are commutative and absorb errors (`false && error` is `false`), everything else passes an
//! error on; integers are 64 bit and an overflow is an error. What is missing is an error too, unless asked for with `has` or `in`.
//!
//! Invariants: any text is compiled or refused within bounds ([`limits`]); evaluating makes at most [`limits::COST`] steps, never
//! allocates and never panics. Read next: `parse.rs` (text to nodes), `eval.rs` (nodes to a value), `trace.rs` (why).

mod build;
#[cfg(test)]
mod differential;
mod eval;
mod lex;
mod members;
mod names;
mod parse;
mod pattern;
#[cfg(test)]
mod tests;
mod trace;

use jiff::tz::TimeZone;
use wire::Quantity;
use wire::reading::Unit;

use eval::Fault;
pub(crate) use names::help;
use pattern::Pattern;

use crate::ledger::{Numbers, World};

/// What bounds a condition, whatever its text.
pub(crate) mod limits {
    /// Longest text, in bytes: a page.
    pub const TEXT: usize = 2_048;
    /// Most nodes; a node's number fits a byte.
    pub const NODES: usize = 240;
    /// Deepest nesting of operators and brackets.
    pub const DEPTH: usize = 24;
    /// Deepest nesting of `all`, `exists`, `exists_one`, `filter` and `map`.
    pub const NESTING: usize = 2;
    /// Most steps of one evaluation, known before it: about 50 µs.
    pub const COST: u32 = 10_000;
    /// Most numbers (facts, readings, ages) of one condition: as many as a decision keeps.
    pub const NUMBERS: usize = 8;
    /// Most patterns of one condition: each has a table of some KiB.
    pub const PATTERNS: usize = 4;
    /// Steps of looking for a pattern in a text of usual length; the longest, of 1 KiB, takes 2 µs.
    pub const SEARCH_COST: u32 = 64;
    /// Most labels of a target, and entries of a request's resources.
    pub const ENTRIES: usize = 64;
    /// Longest label or name that is looked at, in bytes.
    pub const STRING: usize = 1_024;
}

/// The number of a node.
type Id = u8;

/// The type of one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scalar {
    Bool,
    Int,
    Text,
    Duration,
    Time,
}

/// The type of an expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    One(Scalar),
    /// A list; `None` if it is written out and empty.
    List(Option<Scalar>),
    /// Labels of the target: text to text.
    Labels,
    /// What the request uses: text to number.
    Resources,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
    NotEqual,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Search {
    StartsWith,
    EndsWith,
    Contains,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quantifier {
    All,
    Exists,
    ExistsOne,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Kind,
    Source,
    Class,
    Target,
    Amount,
    Lasts,
    Rollback,
    CostDelta,
    Earlier,
    IsUndo,
    Reversible,
    Disruptive,
    Protective,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CalendarField {
    FullYear,
    Month,
    Date,
    DayOfMonth,
    DayOfWeek,
    Hours,
    Minutes,
}

/// What a node does with the nodes that it names.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Op {
    Bool(bool),
    Int(i64),
    Text(Box<str>),
    Duration(i64),
    Time(i64),
    Now,
    Action(Field),
    HasAction(Field),
    Number(u8),
    HasNumber(u8),
    Labels,
    Resources,
    Entry(Id, Id),
    HasEntry(Id, Id),
    Variable(u8),
    /// Members `first..first + len` of [`Expression::members`]; `literal` if none of them can fail.
    List {
        first: u16,
        len: u8,
        literal: bool,
    },
    /// The items of a list, or keys of a map, for which `keep` holds, each as what `yields` makes of it. Nothing holds them: they are
    /// computed anew when they are looked at.
    Each {
        over: Id,
        keep: Option<Id>,
        yields: Option<Id>,
        variable: u8,
    },
    Item(Id, Id),
    Not(Id),
    Negate(Id),
    Arithmetic(Arithmetic, Id, Id),
    Compare(Comparison, Id, Id),
    And {
        first: u16,
        len: u8,
    },
    Or {
        first: u16,
        len: u8,
    },
    If(Id, Id, Id),
    In(Id, Id),
    Size(Id),
    Search(Search, Id, Id),
    /// The n-th of [`Expression::patterns`] is in this text.
    Matches(Id, u8),
    Calendar(CalendarField, Id, u8),
    Quantify {
        quantifier: Quantifier,
        over: Id,
        body: Id,
        variable: u8,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Node {
    op: Op,
    kind: Type,
    /// Of an integer whose unit is known.
    unit: Option<Unit>,
    /// Its place in the text, in bytes.
    span: (u16, u16),
}

/// Where a number comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Origin {
    /// Observed of a scope, by full name.
    Fact(String),
    /// The target's latest reading; the name under which a [`crate::Decider`] is told it.
    Reading(Quantity, String),
    /// How old that reading is.
    Age(Quantity, String),
}

/// A compiled condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Expression {
    text: String,
    nodes: Vec<Node>,
    members: Vec<Id>,
    numbers: Vec<Origin>,
    zones: Vec<TimeZone>,
    patterns: Vec<Pattern>,
    root: Id,
    uses_labels: bool,
    uses_resources: bool,
    /// Most steps of an evaluation.
    #[cfg(test)]
    cost: u32,
}

/// What is wrong with a text, and the byte at which it shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CelError {
    pub at: usize,
    pub message: String,
}

/// Checks a condition as the bundle check does, for editors. An error is the byte at which it shows, and what is wrong there.
pub fn check_condition(text: &str) -> Result<(), (usize, String)> {
    match Expression::compile(text) {
        Ok(_) => Ok(()),
        Err(error) => Err((error.at, error.message)),
    }
}

impl Expression {
    /// Compiles a condition, or says what is wrong with it.
    pub fn compile(text: &str) -> Result<Self, CelError> {
        parse::compile(text)
    }

    /// The condition as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// How many numbers it looks at.
    pub fn number_count(&self) -> usize {
        self.numbers.len()
    }

    /// The full name of the n-th of them, where readings are told by name.
    pub fn number_name(&self, index: usize) -> Option<&str> {
        self.numbers.get(index).map(|origin| match origin {
            Origin::Fact(name) | Origin::Reading(_, name) | Origin::Age(_, name) => name.as_str(),
        })
    }

    /// The observed facts that it names.
    pub fn facts(&self) -> impl Iterator<Item = &str> {
        self.numbers.iter().filter_map(|origin| match origin {
            Origin::Fact(name) => Some(name.as_str()),
            Origin::Reading(..) | Origin::Age(..) => None,
        })
    }

    /// Whether it looks at labels.
    pub fn uses_labels(&self) -> bool {
        self.uses_labels
    }

    /// Whether it looks at what the action uses.
    pub fn uses_resources(&self) -> bool {
        self.uses_resources
    }

    /// Takes the numbers that it looks at.
    pub fn gather(&self, world: &World<'_>) -> Numbers {
        let mut numbers = Numbers::default();
        for (index, origin) in self.numbers.iter().enumerate() {
            let value = match origin {
                Origin::Fact(name) => world.known.get(name),
                Origin::Reading(quantity, name) => match &world.readings {
                    Some((readings, target)) => readings.latest(target, *quantity),
                    None => world.known.get(name),
                },
                Origin::Age(quantity, name) => match &world.readings {
                    Some((readings, target)) => readings.age_ms(target, *quantity, world.now),
                    None => world.known.get(name),
                },
            };
            numbers.set(index, value);
        }
        numbers
    }

    fn node(&self, id: Id) -> &Node {
        &self.nodes[usize::from(id)]
    }

    fn list(&self, first: u16, len: u8) -> &[Id] {
        &self.members[usize::from(first)..usize::from(first) + usize::from(len)]
    }

    /// The text of one node.
    pub fn span(&self, id: Id) -> &str {
        let span = self.nodes.get(usize::from(id)).map_or((0, 0), |node| node.span);
        self.text
            .get(usize::from(span.0)..usize::from(span.1))
            .unwrap_or_default()
    }
}

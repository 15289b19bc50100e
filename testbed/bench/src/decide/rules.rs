//! The rules and the decisions: as our bundle, and as a bare table of comparisons. In other languages they are in `languages.rs`.
//!
//! Only kinds that need no memory: the peers have none. Every threshold is reached by one of the [`CASES`].

use std::fmt::Write;

/// What is known when a decision is made.
#[derive(Clone, Copy)]
pub struct Facts {
    pub unhealthy: i64,
    pub in_flight: i64,
    pub p_lo_bp: i64,
    pub n: i64,
    pub burn_5m: i64,
    pub burn_1h: i64,
}

/// Members of the rack, of which the rules allow a number and no share.
pub const MEMBERS: i64 = 1_000;

/// All is well; and nothing is.
pub const FACTS: [Facts; 2] = [
    Facts {
        unhealthy: 3,
        in_flight: 1,
        p_lo_bp: 9_000,
        n: 100,
        burn_5m: 900,
        burn_1h: 700,
    },
    Facts {
        unhealthy: 400,
        in_flight: 2,
        p_lo_bp: 5_000,
        n: 100,
        burn_5m: 20_000,
        burn_1h: 15_000,
    },
];

/// One wanted action.
#[derive(Clone, Copy)]
pub struct Case {
    pub kind: &'static str,
    pub source: &'static str,
    pub amount: i64,
    pub at_ms: i64,
    /// Index into [`FACTS`].
    pub facts: usize,
}

/// 2026-11-18, when nothing is frozen, and noon of 2030-01-01, when something is.
const OPEN_MS: i64 = 1_795_000_000_000;
const FROZEN_MS: i64 = 1_893_499_200_000;

const fn case(kind: &'static str, source: &'static str, amount: i64, at_ms: i64, facts: usize) -> Case {
    Case {
        kind,
        source,
        amount,
        at_ms,
        facts,
    }
}

/// The decisions: the first six are timed, with all well; all are compared.
pub const CASES: [Case; 12] = [
    case("scale", "brain", 5, OPEN_MS, 0),
    case("scale", "human", 20, OPEN_MS, 0),
    case("scale", "brain", 5_000, OPEN_MS, 0),
    case("scale", "brain", 5, FROZEN_MS, 0),
    case("drain", "brain", 1, OPEN_MS, 0),
    case("restart", "brain", 1, OPEN_MS, 0),
    case("scale", "brain", 5, OPEN_MS, 1),
    case("scale", "human", 5, OPEN_MS, 1),
    case("drain", "human", 1, OPEN_MS, 1),
    case("drain", "brain", 1, OPEN_MS, 1),
    case("update", "brain", 1, FROZEN_MS, 1),
    case("restart", "brain", 1, FROZEN_MS, 1),
];
/// How many of them are timed.
pub const TIMED: usize = 6;

/// One rule.
#[derive(Clone, Copy)]
pub enum Rule {
    AtMost { kind: &'static str, max: i64 },
    Blast { kinds: [&'static str; 2], limit: i64 },
    Sure { kind: &'static str },
    Freeze { kinds: [&'static str; 2], year: i64 },
    Burn { kind: &'static str },
}

/// The first `count` of an endless mix, of which four in eight can apply to one kind of action.
pub fn rules(count: usize) -> Vec<Rule> {
    let rule = |index: usize| {
        let n = index as i64;
        match index % 8 {
            0 => Rule::AtMost {
                kind: "scale",
                max: 100 + n,
            },
            1 => Rule::Blast {
                kinds: ["drain", "migrate"],
                limit: 20 + n,
            },
            2 => Rule::Sure { kind: "scale" },
            3 => Rule::Freeze {
                kinds: ["scale", "update"],
                year: 2030 + n / 8,
            },
            4 => Rule::Burn { kind: "scale" },
            5 => Rule::AtMost {
                kind: "power_cap",
                max: 350_000,
            },
            6 => Rule::Sure { kind: "drain" },
            _ => Rule::Freeze {
                kinds: ["update", "migrate"],
                year: 2030 + n / 8,
            },
        }
    };
    (0..count).map(rule).collect()
}

/// Milliseconds since 1970 of this year's beginning.
fn year_ms(year: i64) -> i64 {
    let leap_days = (year - 1969) / 4 - (year - 1901) / 100 + (year - 1601) / 400;
    ((year - 1970) * 365 + leap_days) * 86_400_000
}

pub fn first_day(year: i64) -> (i64, i64) {
    (year_ms(year), year_ms(year) + 86_400_000)
}

/// Our bundle.
pub fn bundle(rules: &[Rule]) -> String {
    let mut text = "bundle: bench\nrules:\n".to_owned();
    for (index, rule) in rules.iter().enumerate() {
        let body = match rule {
            Rule::AtMost { kind: "power_cap", max } => format!(
                "kind: envelope, selector: {{ kinds: [power_cap] }}, max: {} W, on_violation: deny",
                max / 1_000
            ),
            Rule::AtMost { kind, max } => {
                format!("kind: envelope, selector: {{ kinds: [{kind}] }}, max: {max}, on_violation: deny")
            }
            Rule::Blast { kinds: [a, b], limit } => format!(
                "kind: blast_radius, selector: {{ kinds: [{a}, {b}] }}, domain: rack, max_concurrent: {{ n: {limit} }}"
            ),
            Rule::Sure { kind } => {
                format!("kind: confidence, selector: {{ kinds: [{kind}], sources: [brain] }}")
            }
            Rule::Freeze { kinds: [a, b], year } => format!(
                "kind: change_freeze, selector: {{ kinds: [{a}, {b}] }}, \
                 spans: [{{ local_start: {year}-01-01, local_end: {year}-01-02 }}]"
            ),
            Rule::Burn { kind } => format!("kind: slo_burn, selector: {{ kinds: [{kind}] }}, sli: web"),
        };
        let _ = writeln!(text, "  - {{ id: r{index}, {body} }}");
    }
    text
}

/// The kinds and the source that a rule is about.
pub fn scope(rule: &Rule) -> (Vec<&'static str>, Option<&'static str>) {
    match rule {
        Rule::AtMost { kind, .. } => (vec![kind], None),
        // The fastest tier, the only one that a scale can meet, spares people.
        Rule::Sure { kind } | Rule::Burn { kind } => (vec![kind], Some("brain")),
        Rule::Blast { kinds, .. } | Rule::Freeze { kinds, .. } => (kinds.to_vec(), None),
    }
}

/// The least work that gives the same answer: the rules as a bare table, their kinds as bits and their times as numbers.
pub struct Table(Vec<(u32, bool, Test)>);

enum Test {
    AtMost(i64),
    Blast(i64),
    Sure,
    Freeze(i64, i64),
    Burn,
}

/// The kinds of the cases, by which the table knows them.
const KINDS: [&str; 6] = ["scale", "drain", "restart", "update", "migrate", "power_cap"];

/// The bit of a kind.
pub fn bit(kind: &str) -> u32 {
    let place = KINDS.iter().position(|known| *known == kind);
    1 << place.expect("every kind is in the list")
}

impl Table {
    pub fn new(rules: &[Rule]) -> Self {
        let row = |rule: &Rule| {
            let (kinds, source) = scope(rule);
            let test = match rule {
                Rule::AtMost { max, .. } => Test::AtMost(*max),
                Rule::Blast { limit, .. } => Test::Blast(*limit),
                Rule::Sure { .. } => Test::Sure,
                Rule::Freeze { year, .. } => Test::Freeze(first_day(*year).0, first_day(*year).1),
                Rule::Burn { .. } => Test::Burn,
            };
            (kinds.iter().map(|kind| bit(kind)).sum(), source.is_some(), test)
        };
        Self(rules.iter().map(row).collect())
    }

    /// The first broken rule, and how many there are. `kind` is the case's [`bit`], `brain` whether the brain asks.
    pub fn broken(&self, kind: u32, brain: bool, case: &Case, facts: &Facts) -> (Option<u16>, u32) {
        let (mut first, mut count) = (None, 0);
        for (index, (kinds, only_brain, test)) in self.0.iter().enumerate() {
            if kinds & kind == 0 || *only_brain && !brain {
                continue;
            }
            let is_broken = match test {
                Test::AtMost(max) => case.amount > *max,
                Test::Blast(limit) => facts.unhealthy + facts.in_flight >= *limit,
                Test::Sure => facts.p_lo_bp < 7_500 || facts.n < 30,
                Test::Freeze(from, to) => case.at_ms >= *from && case.at_ms < *to,
                Test::Burn => facts.burn_5m > 14_400 && facts.burn_1h > 14_400,
            };
            if is_broken {
                first = first.or(u16::try_from(index).ok());
                count += 1;
            }
        }
        (first, count)
    }
}

#![allow(clippy::unwrap_used)]
//! 10^4 random well-typed conditions, evaluated by us and by the crate `cel` on the same values.
//!
//! Compared are `true`, `false` and "an error"; which error it is, the two need not agree on.

use std::collections::BTreeMap;

use serde::Serialize;
use wire::{Mono, Now, Wall};

use super::*;
use crate::ledger::Known;
use crate::rule::{Asked, Details, Source};

/// A seeded stream of numbers: xorshift.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.roll(of.len() as u64) as usize]
    }
}

fn number(dice: &mut Dice, depth: u32, variable: bool) -> String {
    if depth == 0 || dice.roll(3) == 0 {
        return match dice.roll(if variable { 8 } else { 7 }) {
            0 => "action.amount".to_owned(),
            1 => "facts[\"rack.members\"]".to_owned(),
            2 => "facts.absent".to_owned(),
            3 => "resources.gpu".to_owned(),
            4 => "9223372036854775807".to_owned(),
            7 => "x".to_owned(),
            _ => format!("{}", dice.roll(9) as i64 - 4),
        };
    }
    let sign = dice.pick(&["+", "-", "*", "/", "%"]);
    let (a, b) = (number(dice, depth - 1, variable), number(dice, depth - 1, variable));
    match dice.roll(8) {
        0 => format!("size({})", text(dice)),
        1 => format!("({} ? {a} : {b})", truth(dice, depth - 1, variable)),
        2 => format!("[{a}, {b}][{}]", dice.roll(3)),
        4 if !variable => format!("{}[{}]", list(dice, depth - 1), dice.roll(2)),
        5 if !variable => format!("{}.size()", list(dice, depth - 1)),
        3 => format!("-({a})"),
        _ => format!("({a} {sign} {b})"),
    }
}

/// A list that `filter` and `map` make, in chains, with faults in what they ask.
fn list(dice: &mut Dice, depth: u32) -> String {
    let mut list = match dice.roll(3) {
        0 => "labels.map(k, size(k))".to_owned(),
        1 => format!("[{}, 2, 3, {}]", number(dice, depth, false), dice.roll(4)),
        _ => "[1, 2, 3, 4]".to_owned(),
    };
    for _ in 0..=dice.roll(3) {
        let (asked, made) = (truth(dice, depth.min(1), true), number(dice, depth.min(1), true));
        list = match dice.roll(4) {
            0 => format!("{list}.map(x, {made})"),
            1 => format!("{list}.map(x, {asked}, {made})"),
            2 => format!("{list}.filter(x, x % 2 == 0)"),
            _ => format!("{list}.filter(x, {asked})"),
        };
    }
    list
}

fn text(dice: &mut Dice) -> String {
    let words = [
        "'gpu0'",
        "'ml'",
        "''",
        "\"power_cap\"",
        "action.kind",
        "action.target",
        "labels.team",
        "labels[\"zone\"]",
        "labels.absent",
    ];
    dice.pick(&words).to_owned()
}

fn truth(dice: &mut Dice, depth: u32, variable: bool) -> String {
    if depth == 0 {
        return dice
            .pick(&[
                "true",
                "false",
                "has(labels.team)",
                "has(labels.absent)",
                "'gpu' in resources",
            ])
            .to_owned();
    }
    let deeper = depth - 1;
    match dice.roll(10) {
        0 | 1 => {
            let sign = dice.pick(&["<", "<=", ">", ">=", "==", "!="]);
            format!(
                "{} {sign} {}",
                number(dice, deeper, variable),
                number(dice, deeper, variable)
            )
        }
        2 => format!("{} {} {}", text(dice), dice.pick(&["==", "!=", "<", ">="]), text(dice)),
        3 | 4 => {
            let sign = dice.pick(&["&&", "||"]);
            format!(
                "({} {sign} {})",
                truth(dice, deeper, variable),
                truth(dice, deeper, variable)
            )
        }
        5 => format!("!({})", truth(dice, deeper, variable)),
        6 if dice.roll(2) == 0 => {
            let pattern = dice.pick(&[
                "^gpu[0-9]$",
                "p",
                "",
                "^ml|_cap$",
                "[a-f]{2}",
                r"^\\w+$",
                r"\\bml\\b",
                "(?i)GPU",
            ]);
            format!("{}.matches('{pattern}')", text(dice))
        }
        6 => {
            let verb = dice.pick(&["startsWith", "endsWith", "contains"]);
            format!("{}.{verb}({})", text(dice), text(dice))
        }
        7 if !variable => {
            let macro_name = dice.pick(&["all", "exists", "exists_one"]);
            if dice.roll(2) == 0 {
                let body = truth(dice, deeper, true);
                return format!("{}.{macro_name}(x, {body})", list(dice, deeper));
            }
            let (a, b) = (number(dice, 1, false), number(dice, 1, false));
            format!("[{a}, {b}, 2].{macro_name}(x, {})", truth(dice, deeper, true))
        }
        8 if !variable && dice.roll(2) == 0 => format!("{} in {}", number(dice, deeper, false), list(dice, deeper)),
        8 => format!(
            "{} in [{}, 3]",
            number(dice, deeper, variable),
            number(dice, 1, variable)
        ),
        _ => format!(
            "({} ? {} : {})",
            truth(dice, deeper, variable),
            truth(dice, deeper, variable),
            truth(dice, deeper, variable)
        ),
    }
}

#[derive(Serialize)]
struct Action {
    kind: &'static str,
    target: &'static str,
    amount: i64,
}

fn theirs(text: &str, context: &::cel::Context<'_, '_>) -> Option<bool> {
    let program = ::cel::Program::compile(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    match program.execute(context) {
        Ok(::cel::Value::Bool(flag)) => Some(flag),
        Ok(other) => panic!("{text}: {other:?}"),
        Err(_) => None,
    }
}

#[test]
fn the_crate_cel_agrees() {
    let labels = [("team", "ml"), ("zone", "a")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    let resources = [("gpu".to_owned(), 4)];
    let mut context = ::cel::Context::default();
    let action = Action {
        kind: "power_cap",
        target: "gpu0",
        amount: 250_000,
    };
    context.add_variable("action", action).unwrap();
    context.add_variable("labels", BTreeMap::from(labels.clone())).unwrap();
    context
        .add_variable("resources", BTreeMap::from(resources.clone()))
        .unwrap();
    let facts = BTreeMap::from([("rack.members".to_owned(), 50i64)]);
    context.add_variable("facts", facts).unwrap();

    let details = Details {
        resources: resources.map(|(name, number)| (name, Some(number))).to_vec(),
        ..Details::NONE.clone()
    };
    let asked = Asked {
        kind: 0,
        source: Source::Brain,
        target: "gpu0",
        labels: &labels,
        amount: Some((250_000, wire::Unit::Milliwatt)),
        details: &details,
        earlier: 0,
        is_undo: false,
        clock_wrong: false,
        clock_unknown: false,
        clock_error_ms: 0,
        now: Now {
            mono: Mono(0),
            wall: Wall(0),
        },
    };
    let mut known = Known::default();
    known.set("rack.members", Some(50));
    let world = World {
        known: &known,
        flights: &crate::flights::Flights::default(),
        present: None,
        readings: None,
        indicators: None,
        meters: None,
        power_limits_mw: None,
        turn: crate::ledger::TurnOf::NotNeeded,
        now: Mono(0),
    };
    let (mut refused, mut made) = (0, 0);
    let mut outcomes = BTreeMap::new();
    for seed in 1..=10_000u64 {
        let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let text = truth(&mut dice, 1 + (seed % 4) as u32, false);
        let expression = match Expression::compile(&text) {
            Ok(expression) => expression,
            Err(error) => {
                // The only reason not to compile a well-typed one is a limit.
                let is_limit = text.len() > 200 || error.message.starts_with("could take");
                assert!(is_limit, "{text}: {error:?}");
                refused += 1;
                continue;
            }
        };
        made += u32::from(text.contains(".map(") || text.contains(".filter("));
        let numbers = expression.gather(&world);
        let mut scene = eval::Scene::new(&expression, &asked, &numbers);
        let ours = scene.is_true(expression.root);
        assert!(
            scene.steps <= expression.cost,
            "{text}: {} of {}",
            scene.steps,
            expression.cost
        );
        assert_eq!(ours.ok(), theirs(&text, &context), "seed {seed}: {text}");
        *outcomes.entry(format!("{:?}", ours.ok())).or_insert(0) += 1;
    }
    assert!(refused < 1_000 && made > 1_000, "{refused} refused, {made} with lists");
    assert!(outcomes.values().all(|count| *count > 1_000), "one-sided: {outcomes:?}");
}

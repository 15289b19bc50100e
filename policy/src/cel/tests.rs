#![allow(clippy::unwrap_used)]
//! Conditions, one a line: what they are of a fixed action, or why they are refused and where.

use super::*;
use crate::kind::scope::OnUnknown;
use crate::ledger::Known;
use crate::rule::{Asked, Details, Source};
use crate::text::fields::{Fields, Problems};
use wire::decision::Verdict;
use wire::{Mono, Now, Wall};

fn asked<'a>(labels: &'a [(String, String)], details: &'a Details) -> Asked<'a> {
    Asked {
        kind: 0,
        source: Source::Brain,
        target: "gpu0",
        labels,
        amount: Some((250_000, wire::Unit::Milliwatt)),
        details,
        earlier: 2,
        is_undo: false,
        clock_wrong: false,
        clock_unknown: false,
        clock_error_ms: 0,
        now: Now {
            mono: Mono(1_000),
            // 2026-11-24T12:01:07Z, a Tuesday.
            wall: Wall(1_795_521_667_000),
        },
    }
}

/// What a condition is: `true`, `false`, or `missing`, `arithmetic`, `range` for a fault, else `line message`.
fn outcome(text: &str) -> String {
    let expression = match Expression::compile(text) {
        Ok(expression) => expression,
        Err(error) => return format!("{} {}", error.at, error.message),
    };
    let labels = [("team", "ml"), ("zone", "a")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    let details = Details {
        lasts_ms: Some(300_000),
        resources: vec![("gpu".to_owned(), Some(4)), ("unsaid".to_owned(), None)],
        cost_delta_micros_per_h: None,
        rollback_ms: 0,
    };
    let mut known = Known::default();
    for (name, value) in [
        ("rack.members", 50),
        ("sick", 3),
        ("readings.gpu.temperature", 86_000),
        ("ages.gpu.temperature", 2_500),
    ] {
        known.set(name, Some(value));
    }
    let world = World {
        known: &known,
        flights: &crate::flights::Flights::default(),
        present: None,
        readings: None,
        indicators: None,
        meters: None,
        power_limits_mw: None,
        turn: crate::ledger::TurnOf::NotNeeded,
        now: Mono(1_000),
    };
    let numbers = expression.gather(&world);
    let asked = asked(&labels, &details);
    match eval::Scene::new(&expression, &asked, &numbers).is_true(expression.root) {
        Ok(flag) => flag.to_string(),
        Err((Fault::Missing, _)) => "missing".to_owned(),
        Err((Fault::Arithmetic, _)) => "arithmetic".to_owned(),
        Err((Fault::Range, _)) => "range".to_owned(),
    }
}

fn check(cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        let found = outcome(text);
        assert!(found.contains(expected), "{text}\nexpected {expected}\nfound {found}");
    }
}

#[test]
fn conditions_see_the_action_as_we_know_it() {
    check(&[
        ("action.kind == 'power_cap' && action.class == \"safety\"", "true"),
        ("action.source == 'human'", "false"),
        ("action.amount < value('300 W')", "true"),
        ("action.amount * 2 > value('0.5 kW')", "false"),
        (
            "action.target.startsWith('gpu') && action.target.endsWith(\"0\")",
            "true",
        ),
        ("action.target.matches('^gpu[0-9]+$') && 'x-1'.matches(\"-\")", "true"),
        ("labels.team.matches('^M') || labels.team.matches('^m.$')", "true"),
        ("labels.owner.matches('.')", "missing"),
        ("labels.exists(k, labels[k].matches('^a$'))", "true"),
        (
            "action.lasts <= duration('5m') && action.rollback == duration('0s')",
            "true",
        ),
        ("has(action.cost_delta_micros_per_h)", "false"),
        ("action.cost_delta_micros_per_h < 5", "missing"),
        (
            "action.protective && action.reversible && !action.disruptive && !action.is_undo",
            "true",
        ),
        ("action.earlier_targets in [1, 2, 3]", "true"),
        ("labels.team == 'ml' && labels['zone'] in ['a', 'b']", "true"),
        ("has(labels.owner) || labels.owner == 'x'", "missing"),
        ("'team' in labels && !('owner' in labels)", "true"),
        ("labels.exists(k, k == 'zone' && labels[k] == 'a')", "true"),
        ("labels.all(k, labels[k] != 'a')", "false"),
        (
            "resources.gpu <= 4 && !has(resources.cpu) && !has(resources.unsaid) && size(resources) == 2",
            "true",
        ),
        (
            "facts['rack.members'] > 10 && facts.sick < 5 && 'sick' in facts && !has(facts.other)",
            "true",
        ),
        ("facts.other == 0", "missing"),
        ("readings['gpu.temperature'] > value('85 °C')", "true"),
        ("ages['gpu.temperature'] < duration('2s')", "false"),
        ("!has(readings.x) || true", "unknown quantity `x`"),
    ]);
}

#[test]
fn the_calendar_is_that_of_the_zone() {
    check(&[
        (
            "now.getDayOfWeek() == 2 && now.getHours() == 12 && now.getMinutes() == 1",
            "true",
        ),
        ("now.getHours('Europe/Berlin') == 13", "true"),
        (
            "now.getMonth() == 10 && now.getDate() == 24 && now.getDayOfMonth() == 23 && now.getFullYear() == 2026",
            "true",
        ),
        ("now > timestamp('2026-11-24T12:00:00Z')", "true"),
        ("now - timestamp('2026-11-24T12:00:00Z') == duration('67s')", "true"),
        ("now + duration('1h') < now", "false"),
        ("now.getHours('Europe/Berln') == 1", "13 unknown zone"),
    ]);
}

#[test]
fn the_semantics_are_those_of_cel() {
    check(&[
        (
            "1 + 2 * 3 == 7 && -7 / 2 == -3 && -7 % 2 == -1 && (1 + 2) * 3 == 9",
            "true",
        ),
        ("9223372036854775807 + 1 > 0", "arithmetic"),
        ("-9223372036854775808 / -1 > 0", "arithmetic"),
        ("-(-9223372036854775808) > 0", "arithmetic"),
        ("1 / 0 == 1", "arithmetic"),
        ("1 / 0 == 1 && false", "false"),
        ("false && 1 / 0 == 1", "false"),
        ("1 / 0 == 1 || true", "true"),
        ("1 / 0 == 1 || false", "arithmetic"),
        ("1 / 0 == 1 && facts.other == 1", "arithmetic"),
        ("true ? false : 1 / 0 == 1", "false"),
        ("(1 / 0 == 1 ? true : true)", "arithmetic"),
        (
            "[1, 2, 3].all(x, x > 0) && [1, 2].exists(x, x == 2) && [1, 2, 2].exists_one(x, x == 1)",
            "true",
        ),
        ("[1, 2, 2].exists_one(x, x == 2)", "false"),
        ("[0, 1].exists(x, 1 / x == 1)", "true"),
        ("[0, 1].all(x, 1 / x == 2)", "false"),
        ("[0, 1].all(x, 1 / x == 1)", "arithmetic"),
        ("[0, 1].exists_one(x, 1 / x == 1)", "arithmetic"),
        ("[].all(x, false) && ![].exists(x, true)", "true"),
        ("[1, 2].exists(x, [2, 3].exists(y, x == y))", "true"),
        ("1 in [2, 1 / 0]", "arithmetic"),
        (
            "[1, 2, 3].filter(x, x > 1).size() == 2 && 3 in [1, 2, 3].filter(x, x > 1)",
            "true",
        ),
        (
            "[1, 2, 3].filter(x, x > 1)[0] == 2 && !(1 in [1, 2, 3].filter(x, x > 1))",
            "true",
        ),
        ("[1, 2, 3].filter(x, x > 1)[2] == 3", "range"),
        (
            "[1, 2, 3].map(x, x * x).exists(y, y == 9) && [1, 2, 3].map(x, x > 1, x * 10)[0] == 20",
            "true",
        ),
        (
            "['a', 'bc'].map(t, size(t)).all(n, n < 3) && size([1].map(x, 'a')) == 1",
            "true",
        ),
        (
            "[1, 2, 3, 4].filter(x, x % 2 == 0).map(x, x + 1).filter(x, x > 3)[0] == 5",
            "true",
        ),
        ("labels.filter(k, labels[k] == 'ml').exists_one(k, k == 'team')", "true"),
        (
            "labels.map(k, labels[k]).exists(v, v == 'ml') && resources.filter(r, r == 'gpu').map(r, resources[r])[0] == 4",
            "true",
        ),
        ("[].filter(x, true).size() == 0 && [].map(x, 'a').all(t, false)", "true"),
        ("[1, 2].exists(x, [1, 2, 3].filter(y, y > x).size() == 1)", "true"),
        ("([1, 2].size() == 2 ? [1, 2].filter(x, x > 1) : [7])[0] == 2", "true"),
        // What cannot be asked of one item is no list at all, whatever is done with it.
        ("[1, 0].filter(x, 1 / x == 1).exists(y, y == 1)", "arithmetic"),
        ("[1, 0].map(x, 1 / x).size() == 2", "arithmetic"),
        ("[1, 0].map(x, x > 0, 1 / x).size() == 1", "true"),
        ("[1, 0].filter(x, 1 / x == 1).size() == 1 || true", "true"),
        ("labels.filter(k, labels.absent == k).size() == 0", "missing"),
        ("[10, 20][1] == 20", "true"),
        ("[10][1] == 20", "range"),
        ("size([1, 2]) == 2 && 'añb'.size() == 3 && size('') == 0", "true"),
        (
            "0x10 == 16 && 'a\\n' == \"a\\n\" && r'\\n' != '\\n' && 'a' < 'b' && false < true",
            "true",
        ),
        ("'abc'.contains('bc') // to the end", "true"),
        ("!true == false", "true"),
        ("1 < 2 == true", "true"),
        ("--1 == 1", "true"),
    ]);
}

#[test]
fn what_is_wrong_is_said_with_its_place_and_the_way_out() {
    check(&[
        (
            "action.amuont < 3",
            "7 `action` has no `amuont`; did you mean `amount`?",
        ),
        ("lables.team == 'x'", "0 unknown name `lables`; did you mean `labels`?"),
        (
            "labels.team.startWith('x')",
            "12 unknown method `startWith`; did you mean `startsWith`?",
        ),
        (
            "labels.team.matches(labels.zone)",
            "20 `matches` takes a pattern that is written out",
        ),
        (
            "labels.team.matches('a(b')",
            "20 the pattern `a(b` is not accepted: unclosed group (character 2)",
        ),
        ("(1).matches('a')", "1 what is searched must be a text"),
        (
            "readings['gpu.temprature'] > 1",
            "9 unknown quantity `gpu.temprature`; did you mean `gpu.temperature`?",
        ),
        ("action.amount", "0 a condition is true or false, and this is a number"),
        ("action.kind < 3", "14 `<` compares a text with a number"),
        ("1 + 'a' == 2", "4 `+` cannot join a number and a text"),
        ("1 && true", "0 each side of `&&` must be a yes or no"),
        ("[1, 'a'].exists(x, true)", "4 this list began with a number"),
        (
            "[1].filter(x, x).size() == 0",
            "14 what is asked of each item must be a yes or no",
        ),
        (
            "[1].map(x, x, x).size() == 0",
            "11 what is asked of each item must be a yes or no",
        ),
        ("[1].map(x, [x]).size() == 1", "11 a list holds single values only"),
        ("action.kind.filter(x, true).size() == 1", "0 a text has no items"),
        ("[1].filter(x > 0).size() == 1", "`,` should stand here, not `>`"),
        ("[1].filter(x, true, x).size() == 1", "`)` should stand here, not `,`"),
        ("[1].filter(x, true) == [1]", "compares a list with a list"),
        (
            "[1].filter(x, true)",
            "0 a condition is true or false, and this is a list",
        ),
        (
            "[1].fliter(x, true).size() == 1",
            "4 unknown method `fliter`; did you mean `filter`?",
        ),
        (
            "readings['gpu.temperature'] > value('3 W')",
            "30 one side is written as `85 °C`, this side as `220 W`",
        ),
        ("facts == 3", "`facts` is named with one of its fields"),
        ("facts[action.kind] == 3", "`facts` is named with one of its fields"),
        ("action.amount = 3", "14 `=` compares nothing; write `==`"),
        ("1.5 < 2", "0 decimals are not supported"),
        ("1u == 1", "0 `1u` is unsigned"),
        ("'a", "0 this string has no end"),
        ("true)", "4 `)` does not continue"),
        ("(true", "5 `)` should stand here, not the end"),
        ("", "0 a value should stand here"),
        ("{'a': 1}.a == 1", "0 maps cannot be written out"),
        (
            "99999999999999999999 > 1",
            "0 `99999999999999999999` is no whole number",
        ),
        ("import == 1", "0 `import` is a word that CEL keeps"),
        ("value('3 parsecs') > 1", "6 `3 parsecs` is no value"),
        ("b'x' == b'y'", "0 strings with the prefix `b`"),
        ("ä == 1", "means nothing here"),
    ]);
}

#[test]
fn hostile_texts_are_refused_within_bounds() {
    let nested = |open: &str, close: &str, n: usize| format!("{}true{}", open.repeat(n), close.repeat(n));
    check(&[
        (&nested("(", ")", 500), "nested deeper than 24"),
        (&nested("!", "", 1_000), "nested deeper than 24"),
        (&nested("true ? true : ", "", 140), "nested deeper than 24"),
        (&nested("(", ")", 20), "true"),
        (&"-".repeat(2_000), "nested deeper than 24"),
        (&"[".repeat(2_000), "nested deeper than 24"),
        (&"x".repeat(5_000), "5000 bytes; a condition has at most 2048"),
        (&vec!["1"; 500].join("+"), "nested deeper than 24"),
        (&vec!["true"; 300].join("&&"), "more than 240 names"),
        (
            &format!("[{}].all(x, true)", vec!["1"; 300].join(",")),
            "more than 240 names",
        ),
        ("[1].all(a, [1].all(b, [1].all(c, true)))", "more than 2 of all, exists"),
        (
            "[1].map(a, [1].filter(b, [1].map(c, 1).size() == 1).size()).size() == 1",
            "more than 2 of all, exists, exists_one, filter and map",
        ),
        (
            &format!("labels{}.size() == 0", ".filter(k, labels[k] == 'a')".repeat(3)),
            "could take",
        ),
        (
            "labels.filter(a, labels.filter(b, labels[a] == b).size() == 0).size() == 0",
            "could take",
        ),
        (
            &format!("[{0}].all(a, [{0}].all(b, a == b))", vec!["1"; 100].join(",")),
            "could take",
        ),
        (
            &(0..9)
                .map(|n| format!("facts.f{n} == 1"))
                .collect::<Vec<_>>()
                .join(" && "),
            "more than 8 facts",
        ),
    ]);
}

#[test]
fn no_evaluation_takes_more_steps_than_were_foreseen() {
    let labels: Vec<_> = (0..64).map(|n| (format!("k{n:02}"), "v".to_owned())).collect();
    let details = Details {
        resources: labels.iter().map(|(name, _)| (name.clone(), Some(1))).collect(),
        ..Details::NONE.clone()
    };
    let asked = asked(&labels, &details);
    for text in [
        "labels.all(k, k != 'x')",
        "labels.filter(k, true).filter(k, k != 'x').map(k, size(k)).all(n, n == 3)",
        "labels.map(k, size(k) == 3, size(k)).filter(n, n == 3).size() == 64",
        "resources.map(k, k).filter(k, k.startsWith('k'))[63] == 'k63'",
        "3 in (labels.map(k, k).size() == 64 ? labels.map(k, 2 + 1) : [1, 2, 3].filter(x, x > 1))",
        "[1 + 1, 2 + 2, 3 + 3].filter(x, [x + 1, x + 2].filter(y, y > x).size() == 2).size() == 3",
        "[1, 2, 3, 4].all(x, [5, 6, 7].map(y, y * x).filter(z, z > 0).exists(w, w > 6))",
    ] {
        let expression = Expression::compile(text).unwrap();
        let numbers = Numbers::default();
        let mut scene = eval::Scene::new(&expression, &asked, &numbers);
        assert_eq!(scene.is_true(expression.root), Ok(true), "{text}");
        let (steps, cost) = (scene.steps, expression.cost);
        assert!(steps <= cost && cost <= limits::COST, "{text}: {steps} of {cost} steps");
        assert!(steps * 4 >= cost, "{text}: {steps} steps, and {cost} were foreseen");
    }
}

#[test]
fn an_error_names_its_line_and_column_in_the_bundle() {
    for (text, expected) in [
        ("a: 1\nrequire: tru\n", "2:10"),
        ("require: 'true && tru'\n", "1:19"),
        ("require: |\n  true &&\n  tru\n", "3:3"),
    ] {
        let problems = Problems::default();
        let root = crate::text::tree::yaml(text).unwrap();
        let mut fields = Fields::new(&root, "", &problems);
        crate::kind::cel::Cel::read(&mut fields);
        let list = problems.into_vec();
        assert_eq!(
            format!("{}:{}", list[0].line, list[0].column),
            expected,
            "{text} {list:?}"
        );
        assert!(list[0].message.contains("did you mean `true`") || list[0].message.contains("unknown name"));
    }
}

/// The findings of a condition, as people read them.
fn findings(text: &str, on_safety: bool) -> Vec<String> {
    let expression = Expression::compile(text).unwrap();
    let labels = [("team".to_owned(), "ml".to_owned())];
    let asked = Asked {
        kind: if on_safety { 0 } else { 2 },
        ..asked(&labels, Details::NONE)
    };
    let mut found = Vec::new();
    let on_missing = OnUnknown::default();
    expression.assess(on_missing, &asked, &Numbers::default(), &mut |finding| {
        let what = expression.span(finding.part);
        found.push(format!("{} {}", finding.verdict.name(), finding.counterfactual(what)));
    });
    found
}

#[test]
fn what_would_have_to_be_different_is_found_by_the_evaluation() {
    let cases: &[(&str, &[&str])] = &[
        (
            "action.amount < value('200 W')",
            &["deny would pass if action.amount < 200 W"],
        ),
        (
            "value('200 W') >= action.amount",
            &["deny would pass if action.amount <= 200 W"],
        ),
        (
            "!(action.amount > 200000)",
            &["deny would pass if action.amount <= 200 W"],
        ),
        (
            "action.amount < 1000 || labels.team == 'web'",
            &[
                "deny would pass if action.amount < 1 W",
                "deny would pass if labels.team == 'web' = yes",
            ],
        ),
        (
            "labels.team == 'ml' && (action.kind == 'restart' ? action.amount == 3 : true)",
            &["deny would pass if action.amount = 0 W"],
        ),
        (
            "!(labels.team == 'ml' || false)",
            &["deny would pass if labels.team == 'ml' = no"],
        ),
        ("action.amount > 1000 && true", &["allow ", "allow "]),
        ("facts.sick < 3", &["hold would pass with facts.sick"]),
        ("action.amount / 0 == 3", &["deny would pass with action.amount / 0"]),
    ];
    for (text, expected) in cases {
        assert_eq!(findings(text, false), *expected, "{text}");
    }
    assert_eq!(
        findings("action.amount / 0 == 3", true)[0].split(' ').next(),
        Some("allow")
    );
    assert_eq!(Verdict::Allow.name(), "allow");
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,80}|[a-z.()\\[\\]'\"!<>=&|?:+*/%0-9 -]{0,80}|((action\\.amount|labels|true|1|[!+*?:()\\[\\]]|&&|==| in |'a') ?){0,30}") {
        let _ = outcome(&text);
    }
}

//! A hostile bundle is refused quickly, and a misspelt one with its place.
#![allow(clippy::unwrap_used)]

use policy::Bundle;

fn problems(text: &str) -> String {
    match Bundle::parse(text.as_bytes()) {
        Ok(_) => "ok".to_owned(),
        Err(list) => list
            .iter()
            .map(|p| format!("{}:{} {} {}\n", p.line, p.column, p.field, p.message))
            .collect(),
    }
}

fn check(text: &str, expected: &str) {
    let found = problems(text);
    assert!(found.contains(expected), "{text}\nexpected {expected}\nfound {found}");
}

#[test]
fn problems_name_line_column_field_and_way_out() {
    let rule = |more: &str| {
        format!("bundle: x\nrules:\n  - id: a\n    kind: threshold\n    quantity: gpu.temperature\n{more}")
    };
    check(
        &rule("    abvoe: 85 C\n    then: { action: restart }\n"),
        "6:5 rules[0].abvoe unknown field `abvoe`; did you mean `above`?",
    );
    check(
        &rule("    above: 85\n"),
        "6:12 rules[0].above `85` has no unit; write it as `85 °C`",
    );
    check(
        &rule("    above: 85 C\n    then: { action: restart }\n"),
        "`restart` is done to a workload, and this rule reads a gpu",
    );
    check(
        &rule("    above: 85 C\n    then: { action: power_cap }\n"),
        "`power_cap` needs `to`",
    );
    check(
        &rule("    above: 85 C\n    clear_below: 90 C\n    then: { action: power_cap, to: 1 W }\n"),
        "must not lie above the limit of 85 °C",
    );
    check(&rule("    above: 85 C\n"), "`then` is missing");
    check(
        "bundle: x\nrules:\n  - id: A b\n    kind: budgt\n",
        "did you mean `budget`?",
    );
    check(
        "bundle: x\nrules:\n  - { id: a, kind: mutex }\n  - { id: a, kind: mutex }\n",
        "the rule in line 3 is called `a` too",
    );
    check("bundle: x\nrules:\n  - { id: hold, kind: mutex }\n", "built-in check");
    check(
        "bundle: x\nrules:\n  - { id: e, kind: envelope, min: 1 W }\n",
        "must name one kind of action that has a number",
    );
    check("rules: []\n", "`bundle` is missing");
    check(
        "bundle: x\nauthority: { full_for: 7 d, reversible_for: 1 d }\n",
        "is shorter than `full_for`",
    );
}

#[test]
fn large_and_deep_texts_are_refused_within_bounds() {
    let big = 1024 * 1024 - 64;
    let texts = [
        format!("bundle: x\nrules: [{}]", "{},".repeat(big / 3)),
        format!("bundle: x\nrules:\n{}", "  - id: a\n".repeat(big / 10)),
        "[".repeat(big),
        "{a: ".repeat(big / 4),
        "a".repeat(big),
        format!("bundle: \"{}\"\nx: y", "\\u0041".repeat(big / 6)),
        format!(
            "bundle: x\n{}",
            (0..60_000).map(|n| format!("k{n}: 1\n")).collect::<String>()
        ),
        "- ".repeat(big / 2),
        "? ".repeat(big / 2),
        format!("a: &a [{}]", "*a,".repeat(big / 3)),
        format!("bundle = \"x\"\n{}", "[[rules]]\n".repeat(big / 10)),
        format!(
            "bundle: x\nrules:\n{}",
            (0..400)
                .map(|n| format!(
                    "  - {{ id: r{n}, kind: cel, require: '{}' }}\n",
                    "[1].all(x,".repeat(200)
                ))
                .collect::<String>()
        ),
        format!(
            "bundle: x\nrules:\n{}",
            (0..400)
                .map(|n| format!(
                    "  - {{ id: r{n}, kind: cel, require: '{} now.getHours(\"Europe/Berlan\") == {n}' }}\n",
                    "(true) && ".repeat(100)
                ))
                .collect::<String>()
        ),
        "x".repeat(3 * 1024 * 1024),
    ];
    for text in texts {
        let start: String = text.chars().take(20).collect();
        assert_ne!(problems(&text), "ok", "{start}");
    }
}

#[test]
fn too_many_values_are_counted_before_they_are_built() {
    check(
        &format!("bundle = \"x\"\n{}", "[[rules]]\n".repeat(100_000)),
        "20001:2  more than 20000 values",
    );
    check(
        &format!("bundle: x\nrules: [{}]", "{},".repeat(300_000)),
        "more than 20000 values",
    );
}

#[test]
fn more_rules_than_allowed_are_refused() {
    let rule = |n: usize| format!("  - {{ id: r{n}, kind: mutex }}\n");
    let text = |n: usize| format!("bundle: x\nrules:\n{}", (0..n).map(rule).collect::<String>());
    assert_eq!(problems(&text(256)), "ok");
    check(&text(257), "257 rules; a bundle has at most 256");
}

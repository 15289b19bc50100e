//! Small questions that were once answered wrongly, each with the outcome that the rules promise; and their siblings.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use policy::{Bundle, Decider};
use serde_json::{Value, json};
use wire::Wall;

const PERMITS: &str = "permits: [{}]\n";

fn text(rules: &str) -> String {
    let rules = rules.lines().map(str::trim).filter(|line| !line.is_empty());
    let rules: String = rules.map(|rule| format!("  - {rule}\n")).collect();
    format!("bundle: t\n{PERMITS}rules:\n{rules}")
}

fn decider(rules: &str) -> Decider {
    let text = text(rules);
    let bundle = Bundle::parse(text.as_bytes()).unwrap_or_else(|problems| panic!("{text}\n{problems:#?}"));
    Decider::new(Arc::new(bundle))
}

/// What one answer comes to: `hold 10:00:00 until 10:01:00`.
fn outcome(decider: &mut Decider, line: &Value) -> String {
    let answer = match decider.decide_line(&line.to_string()) {
        Ok(answer) => serde_json::from_str::<Value>(&answer).unwrap(),
        Err(text) => return text,
    };
    let text = |name: &str, before: &str| match answer[name].as_str() {
        Some(value) => format!("{before}{}", value.trim_end_matches(".000Z")),
        None => String::new(),
    };
    let verdict = answer["verdict"].as_str().unwrap_or("ended");
    let clamp = answer["clamp"]["value"].as_i64();
    let clamp = clamp.map_or(String::new(), |value| format!(" to {value}"));
    let shadow = answer["shadow"].as_array().map_or(0, Vec::len);
    let shadow = if shadow > 0 { " (shadow)" } else { "" };
    format!(
        "{verdict}{clamp}{}{}{shadow}",
        text("hold_until", " until "),
        text("valid_until", " valid to ")
    )
}

/// One question: when, which action, what else of it.
fn ask(at: &str, kind: &str, target: &str, more: Value) -> Value {
    let mut line = json!({ "at": at, "action": { "kind": kind, "targets": [target] } });
    let (line_fields, more) = (line.as_object_mut().unwrap(), more.as_object().unwrap().clone());
    for (name, value) in more {
        match name.as_str() {
            "p95_ms" | "rollback_ms" | "labels" | "source" | "params" | "resources" | "target" | "targets" => {
                line_fields["action"][&name] = value;
            }
            _ => drop(line_fields.insert(name, value)),
        }
    }
    line
}

/// A timeline: each question, and how its outcome begins.
fn check(rules: &str, lines: &[(&str, &str, Value, &str)]) {
    let mut decider = decider(rules);
    for (at, kind, more, expected) in lines {
        let line = ask(at, kind, "a", more.clone());
        let found = outcome(&mut decider, &line);
        assert!(
            found.starts_with(expected),
            "{rules}\n{line}\nexpected {expected}\nfound    {found}"
        );
    }
}

fn none() -> Value {
    json!({})
}

/// The instant, so many seconds into 2026.
fn second(seconds: i64) -> String {
    Wall(1_767_225_600_000 + seconds * 1_000).to_string()
}

#[test]
fn a_rate_limit_lets_new_keys_run_however_many_there_were() {
    let mut decider = decider("{ id: r, kind: rate_limit, limit: 1, window: 1 min }");
    for key in 0..3_000 {
        let line = ask(&second(0), "restart", &format!("w{key}"), none());
        assert_eq!(outcome(&mut decider, &line), "allow valid to 2026-01-01T00:01:00");
    }
    let again = ask(&second(1), "restart", "w0", none());
    assert_eq!(outcome(&mut decider, &again), "hold until 2026-01-01T00:01:00");
}

#[test]
fn a_cooldown_forgets_no_target_for_another() {
    let mut decider = decider("{ id: c, kind: cooldown, after_success: 1 h }");
    for key in 0..3_000 {
        let line = ask(&second(0), "restart", &format!("w{key}"), none());
        assert!(outcome(&mut decider, &line).starts_with("allow"));
    }
    for key in [0, 1, 1_500, 2_999] {
        let line = ask(&second(2), "restart", &format!("w{key}"), none());
        assert_eq!(outcome(&mut decider, &line), "hold until 2026-01-01T01:00:00");
    }
}

const MORNING: &str =
    "{ id: a, kind: maintenance_window, spans: { local_start: '2026-01-01T08:00', local_end: '2026-01-01T10:00' } }";

#[test]
fn what_waits_for_maintenance_waits_for_the_soonest_window() {
    let later = "{ id: b, kind: maintenance_window, spans: { local_start: '2026-01-03T10:00', local_end: '2026-01-03T11:00' } }";
    check(
        &format!("{MORNING}\n{later}"),
        &[
            (
                "2026-01-01T06:00:00Z",
                "restart",
                none(),
                "hold until 2026-01-01T08:00:00",
            ),
            (
                "2026-01-02T06:00:00Z",
                "restart",
                none(),
                "hold until 2026-01-03T10:00:00",
            ),
            ("2026-01-04T06:00:00Z", "restart", none(), "hold"),
        ],
    );
}

#[test]
fn a_change_ends_inside_the_maintenance_windows() {
    let ten_minutes = || json!({ "p95_ms": 600_000 });
    let next = "{ id: b, kind: maintenance_window, spans: { local_start: '2026-01-01T10:00', local_end: '2026-01-01T10:09' } }";
    let long = "{ id: c, kind: maintenance_window, spans: { local_start: '2026-01-02T10:00', local_end: '2026-01-02T12:00' } }";
    check(
        MORNING,
        &[
            (
                "2026-01-01T09:50:00Z",
                "restart",
                ten_minutes(),
                "allow valid to 2026-01-01T09:50:00",
            ),
            ("2026-01-01T09:55:00Z", "restart", ten_minutes(), "hold"),
            (
                "2026-01-01T09:55:00Z",
                "restart",
                json!({ "rollback_ms": 600_000 }),
                "hold",
            ),
            (
                "2026-01-01T09:59:50Z",
                "restart",
                none(),
                "allow valid to 2026-01-01T10:00:00",
            ),
        ],
    );
    // Windows that touch are one; one that is too short is passed over.
    check(
        &format!("{MORNING}\n{next}\n{long}"),
        &[
            ("2026-01-01T09:55:00Z", "restart", ten_minutes(), "allow"),
            (
                "2026-01-01T10:00:00Z",
                "restart",
                ten_minutes(),
                "hold until 2026-01-02T10:00:00",
            ),
        ],
    );
}

#[test]
fn a_clock_that_says_nothing_opens_no_maintenance_window_for_risky_changes() {
    check(
        MORNING,
        &[
            ("2026-01-01T09:00:00Z", "reboot", json!({ "clock_wrong": true }), "hold"),
            ("2026-01-01T09:00:00Z", "restart", none(), "allow"),
            (
                "2026-01-01T09:00:00Z",
                "reboot",
                json!({ "clock_wrong": false, "clock_unknown": true }),
                "hold",
            ),
            (
                "2026-01-01T09:00:00Z",
                "reboot",
                json!({ "clock_unknown": false }),
                "allow",
            ),
        ],
    );
    let week = "{ id: a, kind: maintenance_window, spans: { local_start: '2026-01-01', local_end: '2026-01-08' } }";
    check(
        week,
        &[(
            "2026-01-03T09:00:00Z",
            "reboot",
            json!({ "clock_wrong": true }),
            "allow",
        )],
    );
}

const NOON: &str =
    "{ id: f, kind: change_freeze, spans: { local_start: '2026-01-01T12:00', local_end: '2026-01-01T13:00' } }";

#[test]
fn a_freeze_counts_the_same_whatever_was_asked_before() {
    let error = || json!({ "clock_error_ms": 60_000 });
    for before in [&[][..], &[("2026-01-01T11:50:00Z", "restart", error(), "allow")]] {
        let asked = (
            "2026-01-01T11:59:00Z",
            "restart",
            error(),
            "hold until 2026-01-01T13:01:00",
        );
        check(NOON, &[before, &[asked]].concat());
    }
}

#[test]
fn a_window_that_the_clock_skips_neither_freezes_nor_opens() {
    let skipped = |kind: &str| {
        format!("{{ id: f, kind: {kind}, tz: Europe/Berlin, rrule: FREQ=DAILY, from: '02:00', to: '03:00' }}")
    };
    let hour = json!({ "p95_ms": 3_600_000 });
    check(
        &skipped("change_freeze"),
        &[("2026-03-29T00:30:00Z", "restart", hour, "allow")],
    );
    check(
        &skipped("maintenance_window"),
        &[(
            "2026-03-28T23:00:00Z",
            "restart",
            none(),
            "hold until 2026-03-30T00:00:00",
        )],
    );
}

#[test]
fn a_change_does_not_run_into_a_freeze_that_begins_to_count_meanwhile() {
    check(
        "{ id: f, kind: change_freeze, rrule: FREQ=DAILY, not_before: '2026-01-01T12:00:00Z', not_after: '2026-01-02T12:00:00Z' }",
        &[
            ("2026-01-01T11:00:00Z", "restart", none(), "allow"),
            (
                "2026-01-01T11:59:50Z",
                "restart",
                json!({ "p95_ms": 600_000 }),
                "hold until 2026-01-02T12:00:00",
            ),
            (
                "2026-01-01T11:59:50Z",
                "restart",
                none(),
                "allow valid to 2026-01-01T12:00:00",
            ),
            (
                "2026-01-01T12:00:00Z",
                "restart",
                none(),
                "hold until 2026-01-02T12:00:00",
            ),
            ("2026-01-02T12:00:00Z", "restart", json!({ "p95_ms": 600_000 }), "allow"),
        ],
    );
    // Maintenance windows that begin to count are a freeze outside of them.
    check(
        "{ id: m, kind: maintenance_window, rrule: FREQ=DAILY, from: '20:00', to: '21:00', not_before: '2026-01-01T12:00:00Z' }",
        &[
            (
                "2026-01-01T11:55:00Z",
                "restart",
                json!({ "p95_ms": 300_000 }),
                "allow valid to 2026-01-01T11:55:00",
            ),
            (
                "2026-01-01T11:55:00Z",
                "restart",
                json!({ "p95_ms": 300_001 }),
                "hold until 2026-01-01T20:00:00",
            ),
        ],
    );
}

#[test]
fn the_way_back_takes_time_too() {
    check(
        NOON,
        &[
            (
                "2026-01-01T11:00:00Z",
                "restart",
                json!({ "rollback_ms": 3_600_000 }),
                "allow valid to 2026-01-01T11:00:00",
            ),
            (
                "2026-01-01T11:50:00Z",
                "restart",
                json!({ "rollback_ms": 3_600_000 }),
                "hold until 2026-01-01T13:00:00",
            ),
            (
                "2026-01-01T11:50:00Z",
                "restart",
                json!({ "p95_ms": -1 }),
                "`action.p95_ms` is -1",
            ),
            (
                "2026-01-01T11:50:00Z",
                "restart",
                json!({ "rollback_ms": -1 }),
                "`action.rollback_ms` is -1",
            ),
        ],
    );
}

#[test]
fn a_share_of_a_domain_is_rounded_to_the_safe_side_and_nothing_is_nothing() {
    let rack =
        |members: i64, unhealthy: i64| json!({ "facts": { "rack.members": members, "rack.unhealthy": unhealthy } });
    let at = "2026-01-01T00:00:00Z";
    for (limits, members, sick, expected) in [
        ("max_concurrent: { n: 0 }, min_healthy: { n: 1 }", 10, 0, "hold"),
        ("max_concurrent: { bp: 0 }, min_healthy: { n: 1 }", 10, 0, "hold"),
        ("max_concurrent: { bp: 500 }, min_healthy: { n: 1 }", 10, 0, "allow"),
        ("max_concurrent: { bp: 500 }", 10, 0, "hold"),
        ("max_concurrent: { n: 1 }, min_healthy: { bp: 7500 }", 3, 0, "hold"),
        ("max_concurrent: { n: 1 }, min_healthy: { bp: 7500 }", 4, 0, "allow"),
        (
            "max_concurrent: { n: 9 }, min_healthy: { n: 1, bp: 7500 }",
            4,
            1,
            "hold",
        ),
    ] {
        let rule = format!("{{ id: b, kind: blast_radius, domain: rack, {limits} }}");
        check(&rule, &[(at, "restart", rack(members, sick), expected)]);
    }
}

#[test]
fn an_end_counts_for_the_rules_that_selected_its_action() {
    for (selector, more) in [
        ("sources: [human]", json!({ "source": "human", "under_way": true })),
        (
            "labels: { tier: gold }",
            json!({ "labels": { "tier": "gold" }, "under_way": true }),
        ),
    ] {
        let rule = format!("{{ id: c, kind: cooldown, after_success: 1 h, selector: {{ {selector} }} }}");
        let mut decider = decider(&rule);
        let mut asked = |at: &str| outcome(&mut decider, &ask(at, "restart", "a", more.clone()));
        assert!(asked("2026-01-01T00:00:00Z").starts_with("allow"));
        let end = json!({ "at": "2026-01-01T00:01:00Z", "end": { "kind": "restart", "target": "a", "failed": true } });
        decider.decide_line(&end.to_string()).unwrap();
        let mut asked = |at: &str| outcome(&mut decider, &ask(at, "restart", "a", more.clone()));
        assert_eq!(
            asked("2026-01-01T00:02:00Z"),
            "hold until 2026-01-01T01:01:00",
            "{selector}"
        );
    }
    // Of what was begun before the stream, nobody knows who asked: every rule counts it that may have selected it.
    let mut decider = decider("{ id: c, kind: cooldown, after_success: 1 h, selector: { sources: [human] } }");
    let end = json!({ "at": "2026-01-01T00:01:00Z", "end": { "kind": "restart", "target": "a" } });
    decider.decide_line(&end.to_string()).unwrap();
    let line = ask("2026-01-01T00:02:00Z", "restart", "a", json!({ "source": "human" }));
    assert_eq!(outcome(&mut decider, &line), "hold until 2026-01-01T01:01:00");
}

#[test]
fn a_shadow_cooldown_measures_its_own_world() {
    check(
        "{ id: s, kind: cooldown, after_success: 10 s, mode: shadow }",
        &[
            (
                "2026-01-01T00:00:00Z",
                "restart",
                none(),
                "allow valid to 2026-01-01T00:01:00",
            ),
            (
                "2026-01-01T00:00:06Z",
                "restart",
                none(),
                "allow valid to 2026-01-01T00:01:06 (shadow)",
            ),
            (
                "2026-01-01T00:00:12Z",
                "restart",
                none(),
                "allow valid to 2026-01-01T00:01:12",
            ),
        ],
    );
}

#[test]
fn beyond_their_limit_reflexes_are_not_repeated_that_are_in_force() {
    let bundle = Bundle::parse(b"bundle: t\nreflexes_per_hour: 30\nrules: []\n").unwrap();
    let mut decider = Decider::new(Arc::new(bundle));
    let mut asked = |second: i64, kind: &str, target: &str, watts: &str| {
        let line = ask(
            &self::second(second),
            kind,
            target,
            json!({ "source": "reflex", "params": { "to": watts } }),
        );
        outcome(&mut decider, &line)
    };
    for at in 0..30 {
        assert!(asked(at, "power_cap", "gpu0", "220 W").starts_with("allow"), "{at}");
    }
    assert_eq!(
        asked(30, "power_cap", "gpu0", "220 W"),
        "hold until 2026-01-01T01:00:00"
    );
    // What is not in force comes first.
    assert!(asked(31, "power_cap", "gpu0", "200 W").starts_with("allow"));
    assert!(asked(32, "power_cap", "gpu1", "220 W").starts_with("allow"));
    assert!(asked(33, "power_cap", "gpu1", "220 W").starts_with("hold"));
    assert!(asked(3_700, "power_cap", "gpu1", "220 W").starts_with("allow"));
}

#[test]
fn a_number_that_is_missing_passes_no_bound() {
    let at = "2026-01-01T00:00:00Z";
    let scale = |params: Value| json!({ "params": params });
    let step = "{ id: s, kind: step_size, selector: { kinds: [scale] }, max: 2 }";
    check(step, &[(at, "scale", scale(json!({ "replicas": 5_000 })), "hold")]);
    let step = "{ id: s, kind: step_size, selector: { kinds: [scale] }, max: 2, on_missing: allow }";
    check(step, &[(at, "scale", scale(json!({ "replicas": 5_000 })), "allow")]);
    let envelope = "{ id: e, kind: envelope, selector: { kinds: [scale] }, max: 2 }";
    let wrong = "unknown parameter `replica` of scale; did you mean `replicas`?";
    check(envelope, &[(at, "scale", scale(json!({ "replica": 5_000 })), wrong)]);
    check(envelope, &[(at, "scale", none(), "hold")]);
    let envelope = "{ id: e, kind: envelope, selector: { kinds: [scale] }, max: 2, on_missing: deny }";
    check(envelope, &[(at, "scale", none(), "deny")]);
    // Protection is not held back because a reading is missing.
    let step = "{ id: s, kind: step_size, selector: { kinds: [power_cap] }, max: 50 W }";
    check(step, &[(at, "power_cap", scale(json!({ "to": "100 W" })), "allow")]);
}

#[test]
fn a_missing_prediction_means_what_the_rule_says() {
    let at = "2026-01-01T00:00:00Z";
    let known = || json!({ "facts": { "prediction.p_lo_bp": 9_900 } });
    for (rule, more, expected) in [
        ("", none(), "require_approval"),
        (", on_missing: deny", none(), "deny"),
        (", on_missing: hold", known(), "hold"),
        (", on_missing: deny, min_n: 0", known(), "allow"),
    ] {
        let rule = format!("{{ id: c, kind: confidence{rule} }}");
        check(&rule, &[(at, "restart", more, expected)]);
    }
}

#[test]
fn a_field_that_nobody_knows_is_refused() {
    let at = "2026-01-01T00:00:00Z";
    let rule = "{ id: x, kind: cel, require: 'false', selector: { targets: [gpu0] } }";
    check(
        rule,
        &[(at, "restart", json!({ "target": "gpu0" }), "unknown field `target`")],
    );
    // What others say of an action is accepted, and not believed.
    let line =
        json!({ "at": at, "action": { "kind": "restart", "class": "low", "reversible": true, "disruptive": null } });
    assert!(outcome(&mut decider(rule), &line).starts_with("allow"));
}

#[test]
fn several_targets_get_a_number_that_suits_all_of_them() {
    let rules = "
        { id: first, kind: envelope, selector: { kinds: [power_cap], targets: [gpu0] }, max: 300 W }
        { id: second, kind: envelope, selector: { kinds: [power_cap], targets: [gpu1] }, max: 250 W }
        { id: slow, kind: cooldown, selector: { kinds: [restart] }, after_success: 10 s }";
    let mut decider = decider(rules);
    let caps = json!({ "targets": ["gpu0", "gpu1"], "params": { "to": "400 W" } });
    let found = outcome(&mut decider, &ask(&second(0), "power_cap", "", caps));
    assert!(found.starts_with("clamp to 250000"), "{found}");
    // And they wait for the last of them.
    for (at, target) in [(0, "a"), (5, "b")] {
        assert!(outcome(&mut decider, &ask(&second(at), "restart", target, none())).starts_with("allow"));
    }
    let both = json!({ "targets": ["a", "b"] });
    let found = outcome(&mut decider, &ask(&second(6), "restart", "", both));
    assert_eq!(found, "hold until 2026-01-01T00:00:15");
}

#[test]
fn a_refused_request_for_several_targets_counts_nothing() {
    let rules = "
        { id: once, kind: budget, selector: { kinds: [drain] }, limit: 2, window: 1 h, key: node }
        { id: alone, kind: mutex, selector: { kinds: [drain] } }";
    let mut decider = decider(rules);
    let mut asked = |targets: Value, more: Value| {
        let mut line = ask(&second(0), "drain", "", json!({ "targets": targets }));
        line.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        outcome(&mut decider, &line)
    };
    for _ in 0..3 {
        assert!(asked(json!(["a", "b", "c"]), json!({ "under_way": true })).starts_with("deny"));
        assert!(asked(json!(["a", "b"]), json!({ "dry_run": true })).starts_with("allow"));
    }
    assert!(asked(json!(["a", "b"]), none()).starts_with("allow"));
    assert!(asked(json!(["c"]), none()).starts_with("deny"));
}

#[test]
fn lines_are_in_order_of_time() {
    check(
        "{ id: r, kind: cooldown, after_success: 1 h }",
        &[
            ("2026-01-01T12:00:00Z", "restart", none(), "allow"),
            (
                "2025-01-01T00:00:00Z",
                "restart",
                none(),
                "`at` is 2025-01-01T00:00:00.000Z, before 2026-01-01T12:00:00.000Z",
            ),
            ("2026-01-01T12:00:00Z", "restart", none(), "hold"),
        ],
    );
}

#[test]
fn a_mark_of_the_encoding_is_no_part_of_a_line_or_a_bundle() {
    let mut decider = decider("");
    let line = format!("\u{feff}{}", ask(&second(0), "restart", "a", none()));
    assert!(decider.decide_line(&line).is_ok());
    for text in ["\u{feff}bundle: t\n", "\u{feff}bundle = \"t\"\n"] {
        assert!(Bundle::parse(text.as_bytes()).is_ok(), "{text}");
    }
}

/// A rule that can never mean anything is refused while people write it; what they signed before is still read.
#[test]
fn a_rule_that_cannot_mean_anything_is_refused() {
    for (rule, message) in [
        (
            "change_freeze, rrule: FREQ=DAILY;UNTIL=20260101garbage",
            "`garbage` is too much",
        ),
        (
            "change_freeze, rrule: FREQ=MONTHLY;BYMONTHDAY=31;BYMONTH=2",
            "chooses no day",
        ),
        ("maintenance_window, spans: []", "there is no window"),
        (
            "cooldown, after_success: 1 h, cap: 1 min",
            "is shorter than a wait of 1 h",
        ),
        (
            "cooldown, after_success: 1 s, after_failure: 1 h, cap: 1 min",
            "is shorter than a wait of 1 h",
        ),
        (
            "change_freeze, holidays: [2026-12-25], except: [2026-12-25]",
            "`except` goes with `rrule`",
        ),
        (
            "change_freeze, holidays: [2026-12-25], from: '10:00'",
            "`from` goes with `rrule`",
        ),
        (
            "cooldown, after_success: 1 h, selector: { kinds: [] }",
            "leave it out for all",
        ),
        (
            "cooldown, after_success: 1 h, selector: { targets: [] }",
            "leave it out for all",
        ),
        (
            "cooldown, after_success: 1 h, selector: { sources: [] }",
            "leave it out for all",
        ),
        (
            "rate_limit, limit: 5, window: 1 h, key: node, label: team",
            "goes with `key: label`",
        ),
        (
            "rate_limit, limit: 5, window: 1 h, key: cluster, label: team",
            "goes with `key: label`",
        ),
        (
            "change_freeze, selector: { kinds: [power_cap] }, rrule: FREQ=DAILY",
            "never objects to power_cap",
        ),
        (
            "rate_limit, selector: { kinds: [rollback] }, limit: 1, window: 1 h",
            "never objects to rollback",
        ),
        (
            "sla, selector: { kinds: [scale] }, service: web, target: 99 %",
            "never objects to scale",
        ),
        (
            "mutex, selector: { kinds: [restart], classes: [high] }",
            "no kind of action is of these",
        ),
        (
            "maintenance_window, rrule: FREQ=DAILY, in_flight: pause",
            "is for a change_freeze",
        ),
        ("confidence, high: 900 %", "is no probability"),
        (
            "mutex, not_before: '2026-01-02T00:00:00Z', not_after: '2026-01-01T00:00:00Z'",
            "would never count",
        ),
    ] {
        let text = text(&format!("{{ id: a, kind: {rule} }}"));
        let problems = Bundle::parse(text.as_bytes()).expect_err(&text);
        assert!(
            problems.iter().any(|one| one.message.contains(message)),
            "{text}\n{problems:#?}"
        );
        assert!(Bundle::parse_signed(text.as_bytes()).is_ok(), "{text}");
    }
    let permits = Bundle::parse(b"bundle: t\npermits: []\n").expect_err("nothing is permitted");
    assert!(permits[0].message.contains("the list is empty"), "{permits:?}");
}

/// The same bookkeeping on a node, which counts fewer keys than a stream of a whole fleet.
mod on_a_node {
    use std::sync::Arc;

    use policy::{Bundle, Judge, Situation, Want, judge};
    use wire::decision::Judgement;
    use wire::time::ClockState;
    use wire::{
        Action, ActionKind, BundleRef, CommandId, DecisionId, DeviceId, HubEpoch, Mono, Now, Origin, OutcomeState,
        Wall, codec,
    };

    fn origin() -> Origin {
        Origin::Command {
            id: CommandId([1; 16]),
            who: "ana".into(),
            reason: "test".into(),
        }
    }

    fn node(rule: &str) -> Judge {
        let text = format!("bundle: t\nrules:\n  - {rule}\n");
        Judge::new(Arc::new(Bundle::parse(text.as_bytes()).unwrap()), BundleRef::NONE)
    }

    /// Asks for a restart; what runs is over at once.
    fn restart(node: &mut Judge, workload: &str, at: u64) -> Judgement {
        let want = Want {
            origin: origin(),
            action: Action {
                target: DeviceId::workload(workload).unwrap(),
                kind: ActionKind::Restart,
            },
            readings: Vec::new(),
            rejected: Vec::new(),
            verify: None,
        };
        let situation = Situation {
            now: Now {
                mono: Mono(at),
                wall: Wall(0),
            },
            policy_age_ms: 0,
            connected: true,
            clock: ClockState::Steady,
            clock_error_ms: Some(0),
            journal_ok: true,
            held_by: None,
            hub_epoch: HubEpoch(0),
        };
        let inputs = node.inputs(&want, &situation);
        let judgement = judge(node.bundle(), &inputs);
        let id: DecisionId = "n.1.1".parse().unwrap();
        match &judgement.granted {
            Some(action) => {
                node.granted(&inputs, &judgement, &id);
                node.finished(action, &origin(), OutcomeState::Applied, Mono(at));
            }
            None => node.denied(&inputs, &judgement),
        }
        judgement
    }

    /// A hub reads a ledger and counters as they were stored.
    fn restarted(node: &Judge) -> Judge {
        let bytes = codec::encode(&node.ledger());
        let mut again = Judge::new(node.bundle().clone(), node.reference());
        again.restore(codec::decode(&bytes).unwrap());
        again
    }

    #[test]
    fn what_a_rule_has_no_room_to_count_waits_for_room_and_no_longer() {
        for rule in [
            "{ id: r, kind: rate_limit, limit: 1, window: 1 h, key: target }",
            "{ id: r, kind: rate_limit, limit: 2, window: 2 h, key: target, algorithm: gcra }",
            "{ id: r, kind: cooldown, after_success: 1 h }",
        ] {
            let mut node = node(rule);
            for key in 0..1_024u64 {
                assert!(
                    restart(&mut node, &format!("w{key}"), 1_000 + key).verdict.runs(),
                    "{rule}"
                );
            }
            let mut node = restarted(&node);
            let waits = restart(&mut node, "new", 5_000);
            assert!(!waits.verdict.runs(), "{rule}");
            let room_at = 5_000 + waits.retry_after_ms.expect("not for ever");
            assert!(room_at <= 7_201_000, "{rule}: {room_at}");
            assert!(
                waits.clauses.iter().any(|clause| clause.what.contains("one more key")),
                "{waits:#?}"
            );
            assert!(restart(&mut node, "new", room_at).verdict.runs(), "{rule}");
            // None that still waits was forgotten for it.
            assert!(!restart(&mut node, "w1023", room_at).verdict.runs(), "{rule}");
        }
    }

    #[test]
    fn a_shadow_cooldown_measures_its_own_world() {
        let mut node = node("{ id: s, kind: cooldown, after_success: 10 s, mode: shadow }");
        let passes = [0, 6_000, 12_000].map(|at| {
            let judgement = restart(&mut node, "a", at);
            assert!(judgement.verdict.runs());
            judgement.clauses.iter().all(|clause| clause.holds)
        });
        assert_eq!(passes, [true, false, true]);
    }
}

//! Every kind of rule on a stream of questions, as `sentinel policy decide` answers them.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use policy::{Bundle, Decider};
use serde_json::Value;

/// Rules, one a line; then lines `at | action or fields | expected verdict and rule`.
fn check(rules: &str, lines: &str) {
    let mut text = "bundle: t\npermits: [{ classes: [safety, low, medium, high, irreversible] }]\nrules:\n".to_owned();
    for rule in rules.lines().map(str::trim).filter(|line| !line.is_empty()) {
        text.push_str(&format!("  - {rule}\n"));
    }
    let bundle = Bundle::parse(text.as_bytes()).unwrap_or_else(|problems| panic!("{text}\n{problems:#?}"));
    let mut decider = Decider::new(Arc::new(bundle));
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (input, expected) = line.rsplit_once("=>").unwrap();
        let found = match decider.decide_line(input.trim()) {
            Ok(answer) => {
                let answer: Value = serde_json::from_str(&answer).unwrap();
                let verdict = answer["verdict"].as_str().unwrap_or("ended").to_owned();
                let rules: Vec<_> = answer["determining"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .map(|d| d["rule"].as_str().unwrap().to_owned())
                    .collect();
                let hold = answer["hold_until"].as_str().unwrap_or("").to_owned();
                let clamp = answer["clamp"]["value"]
                    .as_i64()
                    .map_or(String::new(), |v| v.to_string());
                format!("{verdict} {} {hold}{clamp}", rules.join(","))
            }
            Err(text) => text,
        };
        assert!(
            found.trim().contains(expected.trim()),
            "{input}\nexpected {expected}\nfound    {found}"
        );
    }
}

#[test]
fn what_is_allowed_is_not_valid_into_a_freeze() {
    let text = "bundle: t\npermits: [{ classes: [safety, low, medium] }]\nrules:\n  - { id: sale, kind: change_freeze, spans: { local_start: '2026-11-27T12:00:30', local_end: '2026-11-30T00:00' } }\n";
    let mut decider = Decider::new(Arc::new(Bundle::parse(text.as_bytes()).unwrap()));
    let mut check = |more: &str, kind: &str, expected: &str| {
        let line = format!(r#"{{"at":"2026-11-27T12:00:00Z"{more},"action":{{"kind":"{kind}","targets":["web"]}}}}"#);
        let answer: Value = serde_json::from_str(&decider.decide_line(&line).unwrap()).unwrap();
        assert_eq!(answer["valid_until"], expected, "{line}\n{answer}");
    };
    check("", "update", "2026-11-27T12:00:30.000Z");
    // By a clock that may be off by 10 s the freeze begins 10 s earlier.
    check(r#","clock_error_ms":10000"#, "update", "2026-11-27T12:00:20.000Z");
    check("", "rollback", "2026-11-27T12:01:00.000Z");
    let glass = r#","break_glass":{"approvers":["ana","ben"],"kinds":["update"],"until":"2026-11-27T12:00:50Z"}"#;
    check(glass, "update", "2026-11-27T12:00:50.000Z");
}

#[test]
fn a_freeze_holds_changes_and_lets_remedies_pass() {
    check(
        r"{ id: sale, kind: change_freeze, tz: Europe/Berlin, reason: peak sale, spans: [{ local_start: 2026-11-27, local_end: 2026-11-30 }] }",
        r#"
        {"at":"2026-11-27T10:00:00Z","action":{"kind":"scale","targets":["web"]}} => hold sale 2026-11-29T23:00:00.000Z
        {"at":"2026-11-27T10:00:00Z","action":{"kind":"rollback","targets":["web"]}} => allow
        {"at":"2026-11-27T10:00:00Z","action":{"kind":"power_cap","targets":["gpu0"]}} => allow
        {"at":"2026-11-29T23:00:00Z","action":{"kind":"scale","targets":["web"]}} => allow
        "#,
    );
    check(
        r"{ id: sale, kind: change_freeze, spans: [{ local_start: 2026-11-27, local_end: 2026-11-30 }] }",
        r#"
        {"at":"2026-11-20T10:00:00Z","clock_wrong":true,"action":{"kind":"update"}} => allow
        {"at":"2026-11-26T10:00:00Z","action":{"kind":"update"}} => hold sale
        {"at":"2026-11-26T10:00:00Z","action":{"kind":"restart"}} => allow
        {"at":"2026-11-26T23:00:00Z","clock_wrong":false,"action":{"kind":"update","p95_ms":1800000,"rollback_ms":1800000}} => allow
        {"at":"2026-11-26T23:00:01Z","action":{"kind":"update","p95_ms":1800000,"rollback_ms":1800000}} => hold sale 2026-11-30T00:00:00.000Z
        "#,
    );
}

#[test]
fn maintenance_is_the_union_of_its_windows_and_a_freeze_beats_it() {
    check(
        r"
        { id: nights, kind: maintenance_window, rrule: FREQ=DAILY, from: '22:00', to: '04:00' }
        { id: sunday, kind: maintenance_window, rrule: FREQ=WEEKLY;BYDAY=SU }
        { id: new-year, kind: change_freeze, spans: [{ local_start: 2027-01-01, local_end: 2027-01-02 }] }
        ",
        r#"
        {"at":"2026-12-02T12:00:00Z","action":{"kind":"reboot"}} => hold nights,sunday
        {"at":"2026-12-02T23:00:00Z","action":{"kind":"reboot"}} => allow
        {"at":"2026-12-06T12:00:00Z","action":{"kind":"reboot"}} => allow
        {"at":"2027-01-01T23:00:00Z","action":{"kind":"reboot"}} => hold sunday,new-year
        "#,
    );
}

#[test]
fn cost_is_projected_over_the_window() {
    check(
        r"{ id: cap, kind: cost_ceiling, scope: shop, currency: EUR, ceiling_micros: 100000000, window: day, soft_bp: 8000 }",
        r#"
        {"at":"2026-12-02T12:00:00Z","action":{"kind":"scale","cost_delta_micros_per_h":1000000}} => hold cap
        {"at":"2026-12-02T12:00:00Z","facts":{"shop.cost_spent_micros":40000000,"shop.cost_rate_micros_per_h":2000000},"action":{"kind":"scale","cost_delta_micros_per_h":1000000}} => allow
        {"at":"2026-12-02T12:00:00Z","action":{"kind":"scale","cost_delta_micros_per_h":2000000}} => hold cap
        {"at":"2026-12-02T12:00:00Z","action":{"kind":"scale","cost_delta_micros_per_h":4000000}} => deny cap
        {"at":"2026-12-02T12:00:00Z","action":{"kind":"scale","cost_delta_micros_per_h":-1}} => allow
        {"at":"2026-12-02T12:00:00Z","action":{"kind":"scale"}} => hold cap
        {"at":"2026-12-02T12:00:00Z","facts":{"shop.cost_spent_micros":9000000000000000000},"action":{"kind":"scale","cost_delta_micros_per_h":9000000000000000000}} => deny cap
        "#,
    );
    check(
        r"{ id: hour, kind: cost_ceiling, scope: s, ceiling_micros: 100000000, window: 1 h, soft_bp: 10000 }",
        r#"
        {"at":"2026-12-02T12:00:00Z","facts":{"s.cost_spent_micros":0,"s.cost_rate_micros_per_h":0},"action":{"kind":"scale","cost_delta_micros_per_h":100000000}} => allow
        {"at":"2026-12-02T12:00:00Z","action":{"kind":"scale","cost_delta_micros_per_h":100000001}} => deny hour
        "#,
    );
}

#[test]
fn a_quota_counts_everything_and_zero_is_a_limit() {
    check(
        r"{ id: q, kind: quota, scope: team, nominal: { replicas: 10, gpu: 0 } }",
        r#"
        {"at":"2026-12-02T12:00:00Z","facts":{"team.used_replicas":8,"team.used_gpu":0},"action":{"kind":"scale","resources":{"replicas":2}}} => allow
        {"at":"2026-12-02T12:00:00Z","action":{"kind":"scale","resources":{"replicas":3}}} => deny q
        {"at":"2026-12-02T12:00:00Z","action":{"kind":"scale","resources":{"replicas":3,"gpu":1}}} => deny q,q
        {"at":"2026-12-02T12:00:00Z","action":{"kind":"scale","resources":{"replicas":-3}}} => allow
        {"at":"2026-12-02T12:00:00Z","facts":{"team.used_replicas":null},"action":{"kind":"scale","resources":{"replicas":1}}} => hold q
        {"at":"2026-12-02T12:00:00Z","action":{"kind":"scale","resources":{"replicas":"three"}}} => is no whole number
        "#,
    );
}

#[test]
fn promises_bound_interruptions_and_never_their_remedies() {
    check(
        r"{ id: sla, kind: sla, service: web, target: 99.9 %, period: 30 d }",
        r#"
        {"at":"2026-12-02T12:00:00Z","facts":{"web.outage_ms":592000},"action":{"kind":"drain","p95_ms":1000000}} => allow
        {"at":"2026-12-02T12:00:00Z","action":{"kind":"drain","p95_ms":1000001}} => require_approval sla
        {"at":"2026-12-02T12:00:00Z","action":{"kind":"drain","p95_ms":2000001}} => deny sla
        {"at":"2026-12-02T12:00:00Z","action":{"kind":"rollback","p95_ms":2000001}} => allow
        {"at":"2026-12-02T12:00:00Z","action":{"kind":"scale"}} => allow
        "#,
    );
    check(
        r"{ id: sla, kind: sla, service: web, target: 99.9 %, period: 30 d, lasts: 1000001 ms }",
        r#"
        {"at":"2026-12-02T12:00:00Z","facts":{"web.outage_ms":592000},"action":{"kind":"drain"}} => require_approval sla
        {"at":"2026-12-02T12:00:00Z","action":{"kind":"drain","p95_ms":1000000}} => allow
        "#,
    );
    check(
        r"
        { id: low, kind: slo_burn, sli: web, from: low, selector: { targets: [low] } }
        { id: high, kind: slo_burn, sli: web, from: high, selector: { targets: [high] } }
        ",
        r#"
        {"at":"2026-12-02T12:00:00Z","facts":{"web.burn_5m":20000,"web.burn_1h":20000,"web.burn_30m":0,"web.burn_6h":0,"web.burn_2h":0,"web.burn_1d":0},"action":{"kind":"restart","targets":["low"]}} => hold low
        {"at":"2026-12-02T12:00:00Z","action":{"kind":"power_cap","targets":["low"]}} => allow
        {"at":"2026-12-02T12:00:00Z","action":{"kind":"restart","targets":["high"]}} => allow
        {"at":"2026-12-02T12:00:00Z","action":{"kind":"drain","targets":["high"]}} => allow
        {"at":"2026-12-02T12:00:00Z","action":{"kind":"reboot","targets":["high"]}} => hold high
        {"at":"2026-12-02T12:00:00Z","facts":{"web.budget_left_bp":-1,"web.burn_5m":0,"web.burn_1h":0},"action":{"kind":"drain","targets":["high"]}} => deny high
        {"at":"2026-12-02T13:00:00Z","action":{"kind":"drain","targets":["low"]}} => deny low
        {"at":"2026-12-02T13:00:00Z","action":{"kind":"restart","targets":["low"]}} => allow
        "#,
    );
    check(
        r"{ id: burn, kind: slo_burn, sli: web }",
        r#"
        {"at":"2026-12-02T12:00:00Z","facts":{"web.burn_5m":20000,"web.burn_1h":14400,"web.burn_30m":0,"web.burn_6h":0,"web.burn_2h":0,"web.burn_1d":0},"action":{"kind":"update"}} => allow
        {"at":"2026-12-02T12:00:00Z","facts":{"web.burn_1h":14401},"action":{"kind":"update"}} => hold burn
        {"at":"2026-12-02T12:00:00Z","facts":{"web.burn_5m":0},"action":{"kind":"update"}} => hold burn
        {"at":"2026-12-02T12:09:59Z","action":{"kind":"update"}} => hold burn
        {"at":"2026-12-02T12:10:00Z","action":{"kind":"update"}} => allow
        {"at":"2026-12-02T12:10:00Z","facts":{"web.burn_30m":6001,"web.burn_6h":6001},"action":{"kind":"reboot"}} => hold burn
        {"at":"2026-12-02T12:10:00Z","action":{"kind":"update"}} => allow
        {"at":"2026-12-02T12:10:00Z","facts":{"web.burn_5m":20000},"action":{"kind":"rollback"}} => allow
        {"at":"2026-12-02T12:10:00Z","facts":{"web.budget_left_bp":-1,"web.burn_5m":0},"action":{"kind":"update"}} => deny burn
        {"at":"2026-12-02T12:10:00Z","facts":{"web.budget_left_bp":1,"web.burn_1h":null},"action":{"kind":"reboot"}} => hold burn
        {"at":"2026-12-02T12:10:00Z","facts":{"web.burn_1h":20000,"web.burn_5m":20000},"action":{"kind":"update","source":"human"}} => allow
        {"at":"2026-12-02T12:10:00Z","action":{"kind":"rollout_step","source":"human"}} => hold burn
        {"at":"2026-12-02T12:10:00Z","facts":{"web.events_short":29,"web.burn_1h":14401,"web.burn_5m":0},"action":{"kind":"update"}} => hold burn
        {"at":"2026-12-02T12:10:00Z","facts":{"web.events_short":30},"action":{"kind":"update"}} => hold burn
        {"at":"2026-12-02T12:20:00Z","action":{"kind":"update"}} => allow
        {"at":"2026-12-02T12:20:00Z","facts":{"web.burn_3d":1001,"web.burn_6h":1001},"action":{"kind":"update"}} => allow burn
        "#,
    );
}

#[test]
fn the_sick_count_against_the_blast_radius() {
    check(
        r"{ id: rack, kind: blast_radius, domain: rack, max_concurrent: { bp: 2000 }, min_healthy: { bp: 7500 } }",
        r#"
        {"at":"2026-12-02T12:00:00Z","facts":{"rack.members":50,"rack.unhealthy":9},"action":{"kind":"reboot"}} => allow
        {"at":"2026-12-02T12:00:00Z","facts":{"rack.in_flight":1},"action":{"kind":"reboot"}} => hold rack
        {"at":"2026-12-02T12:00:00Z","facts":{"rack.in_flight":0},"action":{"kind":"reboot","targets":["a","b"]}} => hold rack
        {"at":"2026-12-02T12:00:00Z","facts":{"rack.members":1,"rack.unhealthy":0},"action":{"kind":"reboot"}} => require_approval rack
        {"at":"2026-12-02T12:00:00Z","facts":{"rack.unhealthy":1},"action":{"kind":"reboot"}} => allow
        {"at":"2026-12-02T12:00:00Z","facts":{"rack.members":4,"rack.unhealthy":0},"action":{"kind":"reboot"}} => allow
        {"at":"2026-12-02T12:00:00Z","facts":{"rack.unhealthy":1},"action":{"kind":"reboot"}} => hold rack
        {"at":"2026-12-02T12:00:00Z","facts":{"rack.members":null},"action":{"kind":"reboot"}} => deny rack
        {"at":"2026-12-02T12:00:00Z","action":{"kind":"power_cap"}} => allow
        {"at":"2026-12-02T12:00:00Z","facts":{"rack.members":50,"rack.newly_faulty":15},"action":{"kind":"scale"}} => hold rack
        "#,
    );
}

#[test]
fn a_prediction_must_be_sure_enough_fresh_and_proven() {
    check(
        r"{ id: sure, kind: confidence, selector: { sources: [brain] } }",
        r#"
        {"at":"2026-12-02T12:00:00Z","action":{"kind":"restart"}} => require_approval sure
        {"at":"2026-12-02T12:00:00Z","action":{"kind":"restart","source":"human"}} => allow
        {"at":"2026-12-02T12:00:00Z","facts":{"prediction.p_lo_bp":7500,"prediction.n":30},"action":{"kind":"drain"}} => allow
        {"at":"2026-12-02T12:00:00Z","action":{"kind":"reboot"}} => require_approval sure
        {"at":"2026-12-02T12:00:00Z","facts":{"prediction.age_ms":251,"prediction.horizon_ms":1000},"action":{"kind":"drain"}} => require_approval sure
        {"at":"2026-12-02T12:00:00Z","facts":{"prediction.age_ms":0,"prediction.p_lo_bp":10000,"prediction.n":1000},"action":{"kind":"wipe"}} => require_approval sure
        "#,
    );
}

#[test]
fn what_must_not_meet_waits_until_the_other_has_ended() {
    check(
        r"{ id: one, kind: mutex, selector: { kinds: [reboot, driver_change] } }",
        r#"
        {"at":"2026-12-02T12:00:00Z","under_way":true,"action":{"kind":"reboot","targets":["a"]}} => allow
        {"at":"2026-12-02T12:00:01Z","action":{"kind":"driver_change","targets":["b"]}} => hold one
        {"at":"2026-12-02T12:00:01Z","action":{"kind":"scale","targets":["b"]}} => allow
        {"at":"2026-12-02T12:00:02Z","end":{"kind":"reboot","target":"a"}} => ended
        {"at":"2026-12-02T12:00:03Z","action":{"kind":"driver_change","targets":["b"]}} => allow
        "#,
    );
}

#[test]
fn all_targets_run_or_none_and_a_dry_run_counts_nothing() {
    check(
        r"{ id: two, kind: rate_limit, limit: 2, window: 1 h, key: node }",
        r#"
        {"at":"2026-12-02T12:00:00Z","dry_run":true,"action":{"kind":"scale","targets":["a","b"]}} => allow
        {"at":"2026-12-02T12:00:00Z","action":{"kind":"scale","targets":["a","b","c"]}} => hold two 2026-12-02T13:00:00.000Z
        {"at":"2026-12-02T12:00:00Z","action":{"kind":"scale","targets":["a"]}} => allow
        {"at":"2026-12-02T12:10:00Z","action":{"kind":"scale","targets":["a","b"]}} => hold two 2026-12-02T13:00:00.000Z
        {"at":"2026-12-02T12:10:00Z","action":{"kind":"scale","targets":["b"]}} => allow
        {"at":"2026-12-02T13:00:00Z","action":{"kind":"scale","targets":["b"]}} => allow
        "#,
    );
}

#[test]
fn steps_and_envelopes_clamp() {
    check(
        r"
        { id: few, kind: envelope, selector: { kinds: [scale] }, min: 1, max: 20 }
        { id: slow, kind: step_size, selector: { kinds: [scale] }, max_change: 50 % }
        ",
        r#"
        {"at":"2026-12-02T12:00:00Z","facts":{"present":10},"action":{"kind":"scale","params":{"replicas":12}}} => allow
        {"at":"2026-12-02T12:00:00Z","action":{"kind":"scale","params":{"replicas":30}}} => clamp few,slow 15
        {"at":"2026-12-02T12:00:00Z","facts":{"present":100},"action":{"kind":"scale","params":{"replicas":30}}} => deny few,slow
        {"at":"2026-12-02T12:00:00Z","action":{"kind":"power_cap","params":{"to":"220 W"}}} => allow
        "#,
    );
}

#[test]
fn what_cannot_be_read_is_told() {
    check(
        "",
        r#"
        {"at":"2026-12-02T12:00:00Z","action":{"kind":"restrat"}} => did you mean `restart`
        {"at":"yesterday","action":{"kind":"restart"}} => RFC 3339
        {"at":"2026-12-02T12:00:00Z"} => either `action` or `end`
        {"at":"2026-12-02T12:00:00Z","policy_age_ms":90000000000,"action":{"kind":"restart"}} => deny authority
        {"at":"2026-12-02T12:00:00Z","atcion":{}} => unknown field
        "#,
    );
    let bundle = Arc::new(Bundle::parse(b"bundle: x").unwrap());
    let answer = Decider::new(bundle)
        .decide_line(r#"{"at":"2026-12-02T12:00:00Z","action":{"kind":"wipe"}}"#)
        .unwrap();
    assert!(answer.contains("\"permits\""), "{answer}");
}

#[test]
fn a_shadow_rule_counts_its_own_world() {
    check(
        r"
        { id: real, kind: rate_limit, limit: 3, window: 1 h, key: node }
        { id: tried, kind: budget, mode: shadow, limit: 1, window: 1 h, key: node }
        ",
        r#"
        {"at":"2026-12-02T12:00:00Z","action":{"kind":"scale"}} => allow
        {"at":"2026-12-02T12:00:00Z","action":{"kind":"scale"}} => allow
        {"at":"2026-12-02T12:00:00Z","action":{"kind":"scale"}} => allow
        {"at":"2026-12-02T12:00:00Z","action":{"kind":"scale"}} => hold real
        "#,
    );
}

#[test]
fn a_token_of_two_people_lifts_what_holds_and_says_who() {
    check(
        r"
        { id: sale, kind: change_freeze, on_violation: deny, spans: [{ local_start: 2026-11-27, local_end: 2026-11-30 }] }
        { id: none, kind: budget, selector: { kinds: [reboot] }, limit: 0, window: 1 h }
        ",
        r#"
        {"at":"2026-11-27T10:00:00Z","action":{"kind":"scale"}} => deny sale
        {"at":"2026-11-27T10:00:01Z","break_glass":{"approvers":["ana"],"kinds":["scale"],"until":"2026-11-27T11:00:00Z"},"action":{"kind":"scale"}} => 1 distinct approver; a break-glass token needs 2
        {"at":"2026-11-27T10:00:01Z","break_glass":{"approvers":["ana","ana"],"kinds":["scale"],"until":"2026-11-27T11:00:00Z"},"action":{"kind":"scale"}} => 1 distinct approver
        {"at":"2026-11-27T10:00:01Z","break_glass":{"approvers":["ana","ben"],"kinds":["scale"],"until":"2026-11-27T15:00:00Z"},"action":{"kind":"scale"}} => a token is open for at most 14400000 ms
        {"at":"2026-11-27T10:00:01Z","break_glass":{"approvers":["ana","ben"],"kinds":["scal"],"until":"2026-11-27T11:00:00Z"},"action":{"kind":"scale"}} => did you mean `scale`?
        {"at":"2026-11-27T10:00:02Z","action":{"kind":"scale"}} => deny sale
        {"at":"2026-11-27T10:00:03Z","break_glass":{"approvers":["ben","ana"],"kinds":["scale","reboot"],"until":"2026-11-27T11:00:00Z"},"action":{"kind":"scale"}} => allow break_glass,sale
        {"at":"2026-11-27T10:00:04Z","action":{"kind":"update"}} => deny sale
        {"at":"2026-11-27T10:00:05Z","action":{"kind":"reboot"}} => deny break_glass,sale,none
        {"at":"2026-11-27T10:30:00Z","break_glass":null,"action":{"kind":"scale"}} => deny sale
        {"at":"2026-11-27T10:30:01Z","break_glass":{"approvers":["ben","ana"],"kinds":["scale"],"until":"2026-11-27T10:40:00Z"},"action":{"kind":"scale"}} => allow
        {"at":"2026-11-27T10:40:00Z","action":{"kind":"scale"}} => deny sale
        "#,
    );
}

#[test]
fn a_rate_is_counted_per_label_and_without_a_log() {
    check(
        r"{ id: ns, kind: rate_limit, limit: 1, window: 1 h, key: namespace }",
        r#"
        {"at":"2026-12-02T12:00:00Z","action":{"kind":"scale","targets":["a"],"labels":{"namespace":"x"}}} => allow
        {"at":"2026-12-02T12:00:01Z","action":{"kind":"drain","targets":["b"],"labels":{"namespace":"x"}}} => hold ns 2026-12-02T13:00:00.000Z
        {"at":"2026-12-02T12:00:02Z","action":{"kind":"drain","targets":["b"],"labels":{"namespace":"y"}}} => allow
        {"at":"2026-12-02T12:00:03Z","action":{"kind":"drain","targets":["c"]}} => allow
        {"at":"2026-12-02T12:00:04Z","action":{"kind":"drain","targets":["d"]}} => hold ns
        "#,
    );
    check(
        r"{ id: t, kind: budget, limit: 1, window: 1 h, key: label_kind, label: team }",
        r#"
        {"at":"2026-12-02T12:00:00Z","action":{"kind":"scale","labels":{"team":"ml"}}} => allow
        {"at":"2026-12-02T12:00:01Z","action":{"kind":"drain","labels":{"team":"ml"}}} => allow
        {"at":"2026-12-02T12:00:02Z","action":{"kind":"scale","labels":{"team":"ml"}}} => deny t
        "#,
    );
    // Two at once and two more spread over 10 s: one free every 5 s.
    check(
        r"{ id: g, kind: rate_limit, limit: 4, window: 10 s, algorithm: gcra, burst: 2, key: node }",
        r#"
        {"at":"2026-12-02T12:00:00Z","action":{"kind":"scale","targets":["a","b"]}} => allow
        {"at":"2026-12-02T12:00:00Z","action":{"kind":"scale"}} => hold g 2026-12-02T12:00:05.000Z
        {"at":"2026-12-02T12:00:04.999Z","action":{"kind":"scale"}} => hold g 2026-12-02T12:00:05.000Z
        {"at":"2026-12-02T12:00:05Z","action":{"kind":"scale"}} => allow
        {"at":"2026-12-02T12:00:06Z","action":{"kind":"scale"}} => hold g 2026-12-02T12:00:10.000Z
        "#,
    );
}

#[test]
fn what_is_granted_is_set_aside_until_it_is_seen_in_use() {
    check(
        r"{ id: q, kind: quota, scope: team, nominal: { gpu: 4, replicas: 10 } }",
        r#"
        {"at":"2026-12-02T12:00:00Z","facts":{"team.used_gpu":0,"team.used_replicas":0},"action":{"kind":"scale","targets":["a","b"],"resources":{"gpu":2,"replicas":1}}} => allow
        {"at":"2026-12-02T12:00:01Z","action":{"kind":"scale","resources":{"gpu":1}}} => deny q
        {"at":"2026-12-02T12:00:01Z","action":{"kind":"scale","resources":{"replicas":8}}} => allow
        {"at":"2026-12-02T12:00:02Z","action":{"kind":"scale","resources":{"replicas":1}}} => deny q
        {"at":"2026-12-02T12:01:00Z","action":{"kind":"scale","targets":["a","b","c"],"resources":{"gpu":2}}} => deny q
        {"at":"2026-12-02T12:01:00Z","action":{"kind":"scale","targets":["a","b"],"resources":{"gpu":2}}} => allow
        "#,
    );
}

#[test]
fn a_breaker_stays_open_until_the_domain_has_been_calm() {
    check(
        r"{ id: rack, kind: blast_radius, domain: rack, max_concurrent: { n: 9 }, breaker_bp: 3000, reopen_after: 15 min }",
        r#"
        {"at":"2026-12-02T12:00:00Z","facts":{"rack.members":10,"rack.unhealthy":0,"rack.newly_faulty":3},"action":{"kind":"scale"}} => hold rack
        {"at":"2026-12-02T12:01:00Z","facts":{"rack.newly_faulty":2},"action":{"kind":"scale"}} => hold rack
        {"at":"2026-12-02T12:10:00Z","facts":{"rack.newly_faulty":1},"action":{"kind":"scale"}} => hold rack
        {"at":"2026-12-02T12:20:00Z","facts":{"rack.newly_faulty":2},"action":{"kind":"scale"}} => hold rack
        {"at":"2026-12-02T12:30:00Z","facts":{"rack.newly_faulty":1},"action":{"kind":"scale"}} => hold rack
        {"at":"2026-12-02T12:44:59Z","action":{"kind":"scale"}} => hold rack
        {"at":"2026-12-02T12:44:59Z","action":{"kind":"restart"}} => allow
        {"at":"2026-12-02T12:45:00Z","action":{"kind":"scale"}} => allow
        {"at":"2026-12-02T12:46:00Z","facts":{"rack.newly_faulty":2},"action":{"kind":"scale"}} => allow
        "#,
    );
    check(
        r"{ id: rack, kind: blast_radius, domain: rack, max_concurrent: { n: 9 }, max_per_window: { n: 2, window: 1 h } }",
        r#"
        {"at":"2026-12-02T12:00:00Z","facts":{"rack.members":10,"rack.unhealthy":0},"action":{"kind":"drain","targets":["a"]}} => allow
        {"at":"2026-12-02T12:10:00Z","action":{"kind":"reboot","targets":["b"]}} => allow
        {"at":"2026-12-02T12:20:00Z","action":{"kind":"drain","targets":["c"]}} => hold rack 2026-12-02T13:00:00.000Z
        {"at":"2026-12-02T12:20:00Z","action":{"kind":"scale","targets":["c"]}} => allow
        {"at":"2026-12-02T13:00:00Z","action":{"kind":"drain","targets":["c"]}} => allow
        "#,
    );
}

#[test]
fn a_clock_of_which_nothing_is_known_makes_a_freeze_within_a_day_count_from_class_medium_on() {
    check(
        r"{ id: sale, kind: change_freeze, spans: [{ local_start: 2026-11-27, local_end: 2026-11-30 }] }",
        r#"
        {"at":"2026-11-25T23:59:59Z","clock_unknown":true,"action":{"kind":"update"}} => allow
        {"at":"2026-11-26T00:00:00Z","action":{"kind":"update"}} => hold sale
        {"at":"2026-11-26T12:00:00Z","clock_unknown":false,"action":{"kind":"update"}} => allow
        {"at":"2026-11-26T23:59:59Z","clock_unknown":true,"action":{"kind":"restart"}} => allow
        {"at":"2026-11-26T23:59:59Z","action":{"kind":"power_cap","targets":["gpu0"]}} => allow
        {"at":"2026-11-27T00:00:00Z","action":{"kind":"restart"}} => hold sale
        {"at":"2026-11-30T23:59:59Z","action":{"kind":"update"}} => hold sale
        {"at":"2026-12-01T00:00:00Z","action":{"kind":"update"}} => allow
        "#,
    );
}

#[test]
fn a_maintenance_window_is_as_much_shorter_as_the_clock_may_be_off() {
    check(
        r"{ id: nights, kind: maintenance_window, rrule: FREQ=DAILY, from: '22:00', to: '04:00' }",
        r#"
        {"at":"2026-12-02T22:00:00Z","clock_error_ms":0,"action":{"kind":"update"}} => allow
        {"at":"2026-12-02T22:00:59Z","clock_error_ms":60000,"action":{"kind":"update"}} => hold nights
        {"at":"2026-12-02T22:01:00Z","action":{"kind":"update"}} => allow
        {"at":"2026-12-03T03:58:59Z","action":{"kind":"update"}} => allow
        {"at":"2026-12-03T03:59:00Z","action":{"kind":"update"}} => hold nights
        "#,
    );
}

#[test]
fn a_freeze_that_begins_and_ends_within_the_error_of_the_clock_counts() {
    check(
        r"
        { id: short, kind: change_freeze, spans: [{ local_start: 2026-11-27T10:00, local_end: 2026-11-27T10:01 }] }
        { id: daily, kind: change_freeze, rrule: FREQ=DAILY, from: '12:00', to: '12:01' }
        ",
        r#"
        {"at":"2026-11-27T09:55:00Z","clock_error_ms":300000,"action":{"kind":"update"}} => hold short
        {"at":"2026-11-27T10:05:59Z","action":{"kind":"update"}} => hold short 2026-11-27T10:06:00.000Z
        {"at":"2026-11-27T10:06:00Z","action":{"kind":"update"}} => allow
        {"at":"2026-11-27T11:54:59Z","action":{"kind":"update"}} => allow
        {"at":"2026-11-27T11:55:00Z","action":{"kind":"update"}} => hold daily
        {"at":"2026-11-27T12:05:59Z","action":{"kind":"update"}} => hold daily 2026-11-27T12:06:00.000Z
        "#,
    );
}

#[test]
fn a_freeze_is_as_much_longer_as_the_clock_may_be_off() {
    check(
        r"{ id: sale, kind: change_freeze, spans: [{ local_start: 2026-11-27, local_end: 2026-11-30 }] }",
        r#"
        {"at":"2026-11-26T23:58:59Z","clock_error_ms":60000,"action":{"kind":"update"}} => allow
        {"at":"2026-11-26T23:59:00Z","action":{"kind":"update"}} => hold sale
        {"at":"2026-11-30T00:00:59Z","action":{"kind":"update"}} => hold sale
        {"at":"2026-11-30T00:01:00Z","action":{"kind":"update"}} => allow
        {"at":"2026-11-30T00:01:00Z","clock_error_ms":60001,"action":{"kind":"update"}} => hold sale
        "#,
    );
}

#[test]
fn calendar_windows_are_those_of_their_zone_and_a_lease_is_all_that_counts_without_the_hub() {
    check(
        r"{ id: cap, kind: cost_ceiling, scope: s, ceiling_micros: 100, soft_bp: 10000, window: day, tz: Asia/Tokyo }",
        r#"
        {"at":"2026-12-02T14:00:00Z","facts":{"s.cost_spent_micros":0,"s.cost_rate_micros_per_h":0},"action":{"kind":"scale","cost_delta_micros_per_h":100}} => allow
        {"at":"2026-12-02T14:00:00Z","action":{"kind":"scale","cost_delta_micros_per_h":101}} => deny cap
        {"at":"2026-12-02T14:00:00Z","facts":{"s.cost_lease_micros":50,"s.cost_spent_micros":null},"action":{"kind":"scale","cost_delta_micros_per_h":50}} => allow
        {"at":"2026-12-02T14:00:00Z","action":{"kind":"scale","cost_delta_micros_per_h":51}} => deny cap
        {"at":"2026-12-02T15:00:00Z","facts":{"s.cost_lease_micros":null,"s.cost_spent_micros":0},"action":{"kind":"scale","cost_delta_micros_per_h":5}} => deny cap
        "#,
    );
    assert_eq!(
        (policy::lease_slice(1_000, 2_500), policy::lease_slice(-5, 2_500)),
        (125, 0)
    );
    check(
        r"{ id: sla, kind: sla, service: web, target: 99 %, period: month, tz: Europe/Berlin }",
        r#"
        {"at":"2026-02-10T12:00:00Z","facts":{"web.outage_ms":0},"action":{"kind":"drain","p95_ms":12096000}} => allow
        {"at":"2026-02-10T12:00:00Z","action":{"kind":"drain","p95_ms":12096001}} => require_approval sla
        {"at":"2026-03-10T12:00:00Z","action":{"kind":"drain","p95_ms":13374000}} => allow
        {"at":"2026-03-10T12:00:00Z","action":{"kind":"drain","p95_ms":13374001}} => require_approval sla
        "#,
    );
}

#[test]
fn a_prediction_must_also_be_worth_it() {
    check(
        r"{ id: sure, kind: confidence, min_n: 1 }",
        r#"
        {"at":"2026-12-02T12:00:00Z","facts":{"prediction.p_lo_bp":8000,"prediction.n":30,"prediction.benefit_micros":100,"prediction.harm_micros":200,"prediction.cost_micros":39},"action":{"kind":"drain"}} => allow
        {"at":"2026-12-02T12:00:00Z","facts":{"prediction.cost_micros":40},"action":{"kind":"drain"}} => require_approval sure
        {"at":"2026-12-02T12:00:00Z","facts":{"prediction.cost_micros":null},"action":{"kind":"drain"}} => allow
        "#,
    );
}

/// `judge` holds it at the agent; a stream of questions must not answer otherwise because the change is a small one.
#[test]
fn a_blast_radius_that_cannot_be_known_holds_small_changes_too() {
    check(
        r"{ id: few, kind: blast_radius, domain: rack, max_concurrent: { n: 1 } }",
        r#"
        {"at":"2026-11-27T10:00:00Z","action":{"kind":"release_power_cap","targets":["gpu0"]}} => few
        {"at":"2026-11-27T10:00:01Z","action":{"kind":"power_cap","targets":["gpu0"]}} => allow
        "#,
    );
}

#[test]
fn a_domain_of_one_asks_people_unless_the_rule_says_otherwise() {
    let verdict = |alone: &str| {
        let text = format!(
            "bundle: x\nrules:\n  - {{ id: r, kind: blast_radius, domain: fleet, max_concurrent: {{ n: 1 }}{alone} }}\n"
        );
        let bundle = policy::Bundle::parse(text.as_bytes()).expect("a bundle");
        let mut decider = policy::Decider::new(std::sync::Arc::new(bundle));
        decider.set_fact("fleet.members", Some(1));
        decider.set_fact("fleet.unhealthy", Some(0));
        let kind = policy::KINDS.iter().position(|kind| kind.name == "restart");
        let answer = decider.ask(&policy::Question {
            kind: kind.expect("a kind"),
            source: 0,
            target: "workload:train",
            amount: None,
            now: wire::Now::default(),
        });
        answer.verdict
    };
    assert_eq!(verdict(""), wire::Verdict::RequireApproval);
    assert_eq!(verdict(", alone: allow"), wire::Verdict::Allow);
}

#[test]
fn a_hub_leaves_to_the_agent_what_an_open_token_could_lift() {
    let verdicts = |rule: &str| {
        let text = format!("bundle: x\npermits: [{{ kinds: [restart] }}]\nrules:\n  - {rule}\n");
        let bundle = policy::Bundle::parse(text.as_bytes()).expect("a bundle");
        let action = wire::Action {
            target: wire::DeviceId::workload("train").expect("a name"),
            kind: wire::ActionKind::Restart,
        };
        let origin = wire::Origin::Local {
            who: "ana".to_owned(),
            reason: "test".to_owned(),
        };
        let now = wire::Now::default();
        let runs = policy::vet(&bundle, &action, &origin, now).verdict.runs();
        (runs, policy::may_be_lifted(&bundle, &action, &origin, now))
    };
    let freeze = "{ id: r, kind: change_freeze, on_violation: deny, spans: [{ local_start: 1960-01-01, local_end: 1990-01-01 }] }";
    assert_eq!(verdicts(freeze), (false, true));
    // What never may be is denied at once, token or not.
    let never = "{ id: r, kind: cel, require: 'action.kind != \"restart\"' }";
    assert_eq!(verdicts(never), (false, false));
}

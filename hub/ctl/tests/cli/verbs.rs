//! Every other verb: what is asked, what is printed, and how it ends.

use crate::rows;
use crate::support::{Fake, items, ok, problem, text};
use serde_json::{Value, json};
use wire::Digest;

const EXPLANATION: &str = "edge-03.1.42: gpu0 power_cap to 220 W\n  ✓ 91 °C > 85 °C\n";

#[test]
fn why_prints_the_same_bytes_from_hub_and_node() {
    let routes = [
        ("GET /decisions/edge-03.1.42/explanation", text(EXPLANATION)),
        ("GET /decisions/edge-03.1.42", ok(rows::detail("edge-03.1.42"))),
        (
            "GET /decisions?limit=1&node=edge-03",
            items([rows::decision("edge-03.1.42")]),
        ),
        ("GET /decisions?limit=1", items([rows::decision("edge-03.1.42")])),
        ("GET /decisions?limit=1&node=edge-04", items(json!([]))),
    ];
    let fake = Fake::hub(&routes).with_node("edge-03", &routes);
    for line in [
        "why edge-03.1.42",
        "why edge-03.1.42 --local",
        "why edge-03.1.42 --local --node edge-03",
        "why --last",
        "why --last --node edge-03",
        "why --last --local",
    ] {
        let said = fake.line(line);
        assert_eq!((said.code, said.out.as_str()), (0, EXPLANATION), "{line}: {}", said.err);
    }
    let json: Value = serde_json::from_str(&fake.line("why --last -o json").out).unwrap();
    assert_eq!(json["decision"]["judgement"]["rule"], "hot-gpu");
    assert_eq!(fake.line("why --last -o name").out, "edge-03.1.42\n");
    assert_eq!(fake.line("why --last --node edge-04").code, 3);
    assert_eq!(fake.line("why edge-03.1.99").code, 3);
    assert_eq!(fake.line("why edge-03.1.42 --node edge-04").code, 2);
}

#[test]
fn replay_says_identical_or_where_it_differs() {
    let view = |identical: bool, differences: &[&str]| {
        json!({
            "id": "edge-03.1.42", "identical": identical,
            "bundle": {"generation": 1, "digest": Digest::of(b"bundle")},
            "recorded": Digest::of(b"a"), "recomputed": Digest::of(b"a"), "differences": differences,
        })
    };
    let fake = Fake::hub(&[("GET /decisions/edge-03.1.42/replay", ok(view(true, &[])))]).with_node(
        "edge-03",
        &[(
            "GET /decisions/edge-03.1.42/replay",
            ok(view(false, &["verdict: allow, recorded deny"])),
        )],
    );
    let said = fake.line("replay edge-03.1.42");
    assert_eq!(said.code, 0);
    assert!(said.out.starts_with("identical: edge-03.1.42"), "{}", said.out);
    let said = fake.line("replay edge-03.1.42 --local");
    assert_eq!(said.code, 8);
    assert!(said.out.contains("\n  verdict: allow, recorded deny\n"), "{}", said.out);
}

/// The hub's and the node's own numbers, and what `verify` makes of them.
fn check_verify(hub: (u64, u64), own: Option<u64>, code: i32, last: &str) {
    let fake = Fake::hub(&[
        ("GET /verify", items([rows::verify("edge-03", hub.0, hub.1)])),
        (
            "GET /verify?node=edge-03",
            items([rows::verify("edge-03", hub.0, hub.1)]),
        ),
        ("GET /nodes", items([rows::alone("edge-03")])),
    ]);
    let fake = match own {
        Some(produced) => fake.with_node(
            "edge-03",
            &[("GET /verify", items([rows::verify("edge-03", produced, produced)]))],
        ),
        None => fake.with_dead_node("edge-03"),
    };
    for line in ["verify", "verify --node edge-03"] {
        let said = fake.line(line);
        assert_eq!(said.code, code, "{said:?}");
        assert_eq!(said.out.lines().last(), Some(last), "{said:?}");
    }
    let said = fake.line("verify -o json");
    assert_eq!(said.code, code);
    let json: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(json["items"][0]["node"], "edge-03");
    assert!(said.err.contains(last), "{}", said.err);
}

#[test]
fn verify_is_zero_only_when_everything_is_equal() {
    let equal = "produced = stored, 0 missing, 0 double";
    check_verify((9, 9), Some(9), 0, equal);
    check_verify((9, 9), None, 0, equal);
    let waits = |count: u64| {
        format!(
            "not whole yet: edge-03 is working alone, and {count} of its entries wait there; wait for it with `sentinel verify --wait`"
        )
    };
    check_verify((9, 9), Some(12), 8, &waits(3));
    check_verify((9, 7), Some(9), 8, &waits(2));
}

#[test]
fn verify_waits_for_entries_of_a_connected_node_that_are_on_their_way() {
    let fake = Fake::hub(&[
        ("GET /verify", items([rows::verify("edge-03", 12, 9)])),
        ("GET /verify", items([rows::verify("edge-03", 12, 12)])),
        ("GET /nodes", items([rows::node("edge-03")])),
    ]);
    assert_eq!(fake.line("verify").code, 0);
}

#[test]
fn verify_waits_for_a_node_that_comes_back_where_it_is_told_to() {
    let away = || {
        Fake::hub(&[
            ("GET /verify", items([rows::verify("edge-03", 12, 9)])),
            ("GET /verify", items([rows::verify("edge-03", 12, 12)])),
            ("GET /nodes", items([rows::alone("edge-03")])),
        ])
    };
    assert_eq!(away().line("verify").code, 8, "nobody knows how long that takes");
    assert_eq!(away().line("verify --wait").code, 0);
}

fn act(view: Value) -> Fake {
    Fake::hub(&[("POST /actions", ok(view))])
}

#[test]
fn act_sends_what_was_typed_and_tells_the_outcome() {
    let fake = act(json!({
        "command": null, "status": "done", "decision": rows::decision("edge-03.1.42"),
        "detail": "350 W before, 220 W read back",
    }));
    let said = fake.sentinel(&[
        "act",
        "edge-03/gpu0",
        "power_cap",
        "to=220 W",
        "--reason",
        "hot day",
        "--timeout",
        "7s",
    ]);
    assert_eq!(
        (said.code, said.out.as_str()),
        (
            0,
            "✓ verified gpu0 power_cap to 220 W, by rule hot-gpu\n  350 W before, 220 W read back\n  why: sentinel why edge-03.1.42\n"
        ),
        "{}",
        said.err
    );
    assert_eq!(
        fake.asked(),
        [
            r#"hub POST /actions {"node":"edge-03","device":"gpu0","action":"power_cap","params":{"to":"220 W"},"reason":"hot day","valid_for_seconds":7.0,"wait_seconds":7.0}"#
        ]
    );
}

#[test]
fn a_denial_names_the_rule_and_what_would_pass() {
    let fake = act(json!({
        "command": null, "status": "denied", "decision": null, "detail": "the hub's own copy of the policy says no",
        "clauses": [
            {"rule": "permits", "kind": "permit", "what": "kind", "op": "in", "observed": null, "limit": null, "unit": "count",
             "age_ms": null, "holds": true, "verdict": "allow", "shadow": false, "counterfactual": ""},
            {"rule": "cap-range", "kind": "envelope", "what": "power_cap of gpu0", "op": ">=", "observed": 20_000,
             "limit": 100_000, "unit": "milliwatt", "age_ms": null, "holds": false, "verdict": "deny", "shadow": false,
             "counterfactual": "would have passed at 100 W or more"},
        ],
    }));
    let said = fake.sentinel(&["act", "edge-03/gpu0", "power_cap", "to=20 W", "--reason", "try"]);
    assert_eq!(
        (said.code, said.out.as_str()),
        (
            4,
            "✕ denied by rule cap-range: power_cap of edge-03/gpu0\n  the hub's own copy of the policy says no\n  \
             cap-range: power_cap of gpu0 is 20 W, must be >= 100 W\n  would have passed at 100 W or more\n"
        ),
        "{}",
        said.err
    );
}

#[test]
fn a_clamp_and_a_wait_are_told_as_such() {
    for (verdict, status, first) in [
        (
            wire::Verdict::Clamp,
            "done",
            "⇥ clamped by rule hot-gpu: gpu0 power_cap to 220 W, verified",
        ),
        (
            wire::Verdict::Hold,
            "denied",
            "✕ denied for now by rule hot-gpu: gpu0 power_cap to 220 W",
        ),
    ] {
        let mut decision = rows::decision("edge-03.1.42");
        decision.verdict = verdict;
        let view = json!({ "command": null, "status": status, "decision": decision, "detail": "" });
        let said = act(view).line("act edge-03/gpu0 power_cap --reason x");
        assert_eq!(said.out.lines().next(), Some(first), "{said:?}");
    }
}

#[test]
fn every_end_of_an_action_has_its_exit_status() {
    let with = |status: &str, outcome: &str| {
        let mut decision = rows::decision("edge-03.1.42");
        decision.outcome = outcome.to_owned();
        json!({ "command": null, "status": status, "decision": decision, "detail": "" })
    };
    for (view, code) in [
        (with("done", "applied"), 0),
        (with("done", "failed"), 1),
        (with("done", "not_verified"), 1),
        (with("done", "dropped"), 5),
        (with("denied", "none"), 4),
        (
            json!({"command": null, "status": "waiting", "decision": null, "detail": ""}),
            7,
        ),
        (
            json!({"command": null, "status": "refused", "decision": null, "detail": "expired"}),
            5,
        ),
    ] {
        let said = act(view.clone()).line("act edge-03/gpu0 release_power_cap --reason x");
        assert_eq!(said.code, code, "{view}: {said:?}");
    }
    let refusing = Fake::hub(&[("POST /actions", problem(403, "denied", "denied by rule permits"))]);
    let said = refusing.line("act edge-03 notify --reason x");
    assert_eq!(said.code, 4);
    assert!(said.err.contains("permits"), "{}", said.err);
}

#[test]
fn what_failed_is_not_ticked_off() {
    for (outcome, sign) in [
        ("verified", "✓"),
        ("failed", "✕"),
        ("not_verified", "✕"),
        ("unknown", "?"),
    ] {
        let mut decision = rows::decision("edge-03.1.42");
        decision.outcome = outcome.to_owned();
        let view = json!({ "command": null, "status": "done", "decision": decision, "detail": "" });
        let said = act(view).line("act edge-03/gpu0 power_cap --reason x");
        assert!(said.out.starts_with(&format!("{sign} {outcome} ")), "{said:?}");
    }
    let unknown = Fake::hub(&[(
        "POST /actions",
        problem(
            404,
            "not_found",
            "edge-03 has no `gpu7`; it has gpu0, gpu1, workload:train",
        ),
    )]);
    let said = unknown.line("act edge-03/gpu7 power_cap --reason x");
    assert_eq!(said.code, 3);
    assert!(said.err.contains("it has gpu0, gpu1, workload:train"), "{}", said.err);
}

#[test]
fn a_hold_of_a_node_that_is_away_is_accepted_and_says_until_when() {
    const ID: &str = "0198f2c07a5b7d1e8f00112233445566";
    let waiting = json!({
        "command": ID, "status": "waiting", "decision": null, "until": "2026-11-24T13:00:00Z",
        "detail": "edge-03 is working alone: it gets this when it is back",
    });
    let fake = Fake::hub(&[
        ("POST /nodes/edge-03/hold", ok(&waiting)),
        (
            &format!("GET /commands/{ID}?wait_seconds=30"),
            ok(json!({"command": ID, "status": "done", "decision": null, "detail": "the node has it"})),
        ),
        (
            &format!("POST /commands/{ID}/cancel"),
            ok(json!({"command": ID, "status": "cancelled", "decision": null, "detail": "it never left for edge-03"})),
        ),
    ]);
    let said = fake.line("hold edge-03 --reason hands");
    assert_eq!(said.code, 7, "{said:?}");
    assert_eq!(
        said.out,
        format!(
            "⏳ accepted: hold of edge-03 waits for its node until 2026-11-24 13:00:00Z\n  \
             edge-03 is working alone: it gets this when it is back\n  \
             wait for it: sentinel wait {ID}\n  call it off: sentinel cancel {ID} --reason TEXT\n"
        )
    );
    let said = fake.line("hold edge-03 --reason hands --no-wait --valid-for 2h -o name");
    assert_eq!((said.code, said.out.as_str()), (0, format!("{ID}\n").as_str()));
    let asked = fake.asked();
    assert!(
        asked[1].ends_with(r#"{"reason":"hands","valid_for_seconds":7200.0,"wait_seconds":0.0}"#),
        "{asked:?}"
    );
    let said = fake.line(&format!("wait {ID}"));
    assert_eq!(
        (said.code, said.out.lines().next()),
        (0, Some(format!("✓ done: command {ID}").as_str()))
    );
    let said = fake.line(&format!("cancel {ID} --reason wrong"));
    assert_eq!(said.code, 0);
    assert!(said.out.starts_with("○ called off: "), "{}", said.out);
}

#[test]
fn a_hold_works_at_the_node_without_the_hub() {
    let held = json!({"command": null, "status": "done", "decision": null, "detail": ""});
    let fake = Fake::nobody().with_node(
        "edge-03",
        &[
            ("POST /nodes/edge-03/hold", ok(&held)),
            ("POST /nodes/edge-03/release", ok(&held)),
        ],
    );
    let said = fake.sentinel(&["hold", "edge-03", "--reason", "hands inside"]);
    assert_eq!(said.code, 6);
    assert!(
        said.err
            .contains("to do: sentinel hold edge-03 --reason 'hands inside' --local"),
        "{}",
        said.err
    );
    let said = fake.sentinel(&["hold", "edge-03", "--reason", "hands inside", "--local"]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.out.starts_with("⏸ edge-03 is held"), "{}", said.out);
    assert_eq!(
        fake.line("release edge-03 --reason done --local").out,
        "✓ edge-03 is released\n"
    );
    assert_eq!(
        fake.asked()[0],
        r#"edge-03 POST /nodes/edge-03/hold {"reason":"hands inside"}"#
    );
}

#[test]
fn a_bundle_that_the_hub_cannot_read_is_not_published() {
    let bad = json!({"ok": false, "rules": [], "errors": [
        {"line": 4, "column": 11, "field": "rules[0].kind", "message": "`treshold` is no kind; did you mean `threshold`?"},
        {"line": 0, "column": 0, "field": "", "message": "no permits"},
    ]});
    let fake = Fake::hub(&[("POST /policies/check", ok(&bad))]);
    let file = fake.file("bad.yaml", "bundle: bad\n");
    let said = fake.sentinel(&["policy", "publish", &file]);
    assert_eq!(said.code, 1, "{}", said.err);
    assert_eq!(
        said.out,
        format!("{file}:4:11: rules[0].kind: `treshold` is no kind; did you mean `threshold`?\n{file}: no permits\n")
    );
    assert_eq!(fake.asked().len(), 1, "nothing was published");
}

fn publishing(nodes: &[crate::support::Reply]) -> (Fake, String) {
    let mut routes = vec![
        (
            "POST /policies/check",
            ok(json!({"ok": true, "errors": [], "rules": []})),
        ),
        (
            "POST /policies",
            ok(json!({"bundle": {"generation": 2, "digest": Digest::of(b"b")}, "nodes_total": 2})),
        ),
    ];
    routes.extend(nodes.iter().map(|reply| ("GET /nodes", reply.clone())));
    let fake = Fake::hub(&routes);
    let file = fake.file("new.yaml", "bundle: new\n");
    (fake, file)
}

#[test]
fn publishing_waits_until_the_nodes_have_it() {
    let mut has = rows::node("edge-01");
    has.policy_generation = wire::Generation(2);
    let mut also = rows::node("edge-03");
    also.policy_generation = wire::Generation(2);
    let (fake, file) = publishing(&[
        items([rows::node("edge-01"), rows::node("edge-03")]),
        items([has.clone(), also]),
    ]);
    let said = fake.sentinel(&["policy", "publish", &file]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(
        said.out.starts_with("published as generation 2, digest "),
        "{}",
        said.out
    );
    assert_eq!(
        said.err,
        "0 of 2 nodes have it\n2 of 2 nodes have it\ngeneration 2 is active on 2 of 2 nodes\n"
    );

    // One is away: waiting for all of them ends by the time, waiting for those that are there does not.
    let away = [items([has, rows::alone("edge-03")])];
    let (fake, file) = publishing(&away);
    let said = fake.sentinel(&["policy", "publish", &file, "--timeout", "300ms"]);
    assert_eq!(said.code, 7);
    assert!(
        said.err
            .contains("1 of 2 nodes have it; not yet: edge-03 (working alone)"),
        "{}",
        said.err
    );
    let (fake, file) = publishing(&away);
    let said = fake.sentinel(&["policy", "publish", &file, "--wait", "connected", "-o", "json"]);
    assert_eq!(said.code, 0, "{}", said.err);
    let json: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(json["bundle"]["generation"], 2);
    assert!(said.err.contains("edge-03 (working alone) will get it"), "{}", said.err);
}

#[test]
fn tokens_and_links_are_alone_on_standard_output() {
    let fake = Fake::hub(&[
        (
            "POST /tokens",
            ok(json!({
                "token": "sjt_1", "ca_pin": "sha256:00", "address": "127.0.0.1:7443", "ends": "2026-11-24T13:00:00.000Z",
                "join_line": "sentinel-agent join 127.0.0.1:7443 --token sjt_1 --ca-pin sha256:00",
            })),
        ),
        (
            "POST /login-links",
            ok(json!({
                "url": "https://127.0.0.1:7443/#login=1", "ends": "2026-11-24T12:10:00.000Z",
            })),
        ),
    ]);
    let said = fake.line("token create --name edge-09 --site site-b --ttl 10m");
    assert_eq!(
        (said.code, said.out.as_str()),
        (
            0,
            "sentinel-agent join 127.0.0.1:7443 --token sjt_1 --ca-pin sha256:00\n"
        )
    );
    assert_eq!(
        fake.asked(),
        [r#"hub POST /tokens {"name":"edge-09","site":"site-b","ttl_seconds":600.0}"#]
    );
    assert_eq!(fake.line("login").out, "https://127.0.0.1:7443/#login=1\n");
}

#[test]
fn demo_verbs_go_to_the_demo_and_nowhere_else() {
    let fake = Fake::nobody().with_demo("{\"ok\":true,\"text\":\"edge-03 is cut off\"}\n");
    let said = fake.line("demo cut edge-03");
    assert_eq!((said.code, said.err.as_str()), (0, "edge-03 is cut off\n"));
    assert_eq!(fake.line("demo heat edge-03/gpu1").code, 0);
    assert_eq!(fake.line("demo cut edge-03 --from hub").code, 0);
    assert_eq!(
        fake.asked(),
        [
            r#"{"do":"cut","gpu":null,"node":"edge-03"}"#,
            r#"{"do":"heat","gpu":1,"node":"edge-03"}"#,
            r#"{"do":"cut","from":"hub","gpu":null,"node":"edge-03"}"#
        ]
    );
    let refusing = Fake::nobody().with_demo("{\"ok\":false,\"text\":\"edge-03 is cut off already\"}\n");
    let said = refusing.line("demo cut edge-03");
    assert_eq!(
        (said.code, said.err.as_str()),
        (1, "error: edge-03 is cut off already\n")
    );
    assert_eq!(Fake::nobody().line("demo cut edge-03").code, 2);
}

#[test]
fn version_and_completion_need_no_hub() {
    let fake = Fake::nobody();
    assert_eq!(
        fake.line("version").out,
        format!("sentinel {}\n", env!("CARGO_PKG_VERSION"))
    );
    assert_eq!(
        fake.line("--version").out,
        format!("sentinel {}\n", env!("CARGO_PKG_VERSION"))
    );
    assert!(fake.line("completion bash").out.contains("_sentinel()"));
    assert_eq!(fake.line("get nonsense").code, 2);
}

//! `sentinel policy break-glass`: two people make a token on plain files, and it is brought to a node.

use serde_json::json;
use wire::BreakGlass;

use crate::policy::Desk;
use crate::rows;
use crate::support::{Fake, items, ok, problem};

const MAKE: &str = "policy break-glass make --node edge-01 --kind restart --for 1h --reason fire";

#[test]
fn two_people_make_a_token_and_everybody_can_see_what_it_opens() {
    let desk = Desk::begun("--signers 3 --threshold 2");
    let make = format!("{MAKE} --target workload:train --number 7 --key keys/policy-1.key --out t.glass");
    desk.check(
        &make,
        0,
        &[
            "t.glass: not signed by enough people",
            "1 of 2 needed",
            "approve FILE --key KEY",
        ],
    );
    desk.check(&make, 5, &["`t.glass` is there already"]);
    desk.check(
        "policy break-glass show t.glass",
        1,
        &["edge-01", "restart", "workload:train", "fire", "1 of 2"],
    );
    desk.check(
        "policy break-glass approve t.glass --key keys/policy-1.key",
        5,
        &["has signed `t.glass` already: a token needs 2 different people"],
    );
    desk.check(
        "policy break-glass approve t.glass --key keys/beacon.key --roles keys/roles.parcel",
        2,
        &["is no policy key; these are: "],
    );
    desk.check(
        "policy break-glass approve t.glass --key keys/policy-3.key --roles keys/roles.parcel",
        0,
        &[
            "t.glass: signed by enough people",
            "2 of 2 needed",
            "break-glass open FILE",
        ],
    );
    desk.check("policy break-glass show t.glass", 0, &["give --roles"]);
    desk.check(
        "policy break-glass show t.glass --roles keys/roles.parcel",
        0,
        &["2 of 2"],
    );
    let look = desk.json("policy break-glass show t.glass --roles keys/roles.parcel -o json");
    assert_eq!((&look["enough"], &look["number"]), (&json!(true), &json!(7)), "{look}");
    assert_eq!(look["nodes"], json!(["edge-01"]));
    assert_eq!(look["problems"], json!([]));

    // What a node reads is what was shown.
    let token = BreakGlass::decode(&std::fs::read(desk.path("t.glass")).unwrap()).unwrap();
    assert_eq!(token.peek().unwrap().open_for_ms, 3_600_000);
}

#[test]
fn a_key_that_does_not_count_is_told_where_the_roles_are_known() {
    let desk = Desk::begun("--signers 2");
    let make = format!("{MAKE} --key keys/policy-1.key");
    desk.check(&format!("{make} --out t.glass"), 0, &["1 of 2"]);
    desk.check(
        "policy break-glass approve t.glass --key keys/root-1.key",
        2,
        &["is no policy key"],
    );
    // Away from the role documents nobody can tell, and the node will.
    std::fs::copy(desk.path("keys/root-1.key"), desk.path("alone.key")).unwrap();
    desk.check("policy break-glass approve t.glass --key alone.key", 0, &["2 of 2"]);
    desk.check(
        "policy break-glass show t.glass --roles keys/roles.parcel",
        1,
        &["1 of 2 needed", "does not count"],
    );
    desk.check(
        &format!("{MAKE} --key keys/root-1.key --roles keys/roles.parcel --out u.glass"),
        2,
        &["is no policy key"],
    );
    desk.check(
        &format!("{make} --trust-domain elsewhere --out e.glass"),
        0,
        &["elsewhere"],
    );
    desk.check(
        "policy break-glass show e.glass --roles keys/roles.parcel",
        1,
        &["it is for trust domain `elsewhere`"],
    );
}

#[test]
fn a_token_is_for_the_trust_domain_of_the_key_that_signs_it() {
    let desk = Desk::begun("--trust-domain edge.example.org");
    desk.check(
        &format!("{MAKE} --key keys/policy-1.key --out t.glass"),
        0,
        &["edge.example.org"],
    );
    std::fs::copy(desk.path("keys/policy-1.key"), desk.path("alone.key")).unwrap();
    desk.check(
        &format!("{MAKE} --key alone.key --out u.glass"),
        2,
        &["the trust domain is not known", "--trust-domain NAME"],
    );
    assert!(!desk.path("u.glass").exists());
}

#[test]
fn what_no_node_would_open_is_not_signed() {
    let desk = Desk::begun("");
    for (words, expected) in [
        ("--node a --kind restart --for 5h", "at most 4 h, and `5h` is longer"),
        ("--node a --kind restart --for 0s", "opens nothing"),
        ("--node a --kind restrat --for 1h", "did you mean `restart`?"),
        ("--kind restart --for 1h", "--node"),
        ("--node a --all-nodes --kind restart --for 1h", "--all-nodes"),
        ("--node a --for 1h", "--kind"),
        ("--node a --kind restart --target Train --for 1h", "workload:train"),
    ] {
        let line = format!("policy break-glass make {words} --reason fire --key keys/policy-1.key --out t.glass");
        desk.check(&line, 2, &[expected]);
    }
    desk.check(
        &format!("{MAKE} --key keys/none.key --out t.glass"),
        2,
        &["cannot read `keys/none.key`"],
    );
    assert!(!desk.path("t.glass").exists());
    desk.check("policy break-glass show policy.yaml", 2, &["not a break-glass token"]);
    desk.check(
        "policy break-glass show keys/roles.parcel",
        2,
        &["not a break-glass token"],
    );
    desk.check(
        &format!("{MAKE} --key keys/policy-1.key --out t.glass"),
        0,
        &["sentinel.internal"],
    );
    let bytes = std::fs::read(desk.path("t.glass")).unwrap();
    std::fs::write(desk.path("t.glass"), &bytes[..bytes.len() - 9]).unwrap();
    for verb in [
        "show t.glass",
        "approve t.glass --key keys/policy-1.key",
        "open t.glass --socket nobody.sock",
    ] {
        desk.check(&format!("policy break-glass {verb}"), 2, &["copy it again"]);
    }
}

#[test]
fn a_token_is_brought_to_a_node_and_closed_there() {
    let desk = Desk::begun("--signers 2");
    desk.check(&format!("{MAKE} --key keys/policy-1.key --out t.glass"), 0, &["1 of 2"]);
    let open = json!({
        "node": "edge-03", "number": 7, "kinds": ["restart"], "targets": ["workload"], "left_seconds": 3_540,
        "until": "2026-11-24T13:00:00.000Z", "approvers": ["key a", "key b"],
    });
    let mut opened = open.clone();
    opened["reason"] = json!("fire");
    let mut row = rows::node("edge-03");
    row.break_glass = Some(serde_json::from_value(open.clone()).unwrap());
    let fake = Fake::nobody().with_node(
        "edge-03",
        &[
            (
                "POST /break-glass",
                problem(409, "conflict", "1 of 2 needed signatures"),
            ),
            ("POST /break-glass", ok(opened)),
            ("GET /nodes/edge-03", ok(row)),
            ("DELETE /break-glass?reason=it%20is%20out", ok(open)),
            (
                "DELETE /break-glass?reason=again",
                problem(409, "conflict", "no break-glass token is open here"),
            ),
        ],
    );
    let file = desk.path("t.glass").display().to_string();
    let check = |words: &[&str], code: i32, part: &str| {
        let said = fake.sentinel(words);
        assert_eq!(said.code, code, "{words:?}: {said:?}");
        assert!(
            format!("{}{}", said.out, said.err).contains(part),
            "{words:?}: {said:?}"
        );
    };
    let bring = ["policy", "break-glass", "open", &file, "--node", "edge-03"];
    check(&bring, 5, "1 of 2 needed signatures");
    check(
        &bring,
        0,
        "edge-03: break-glass token 7 is open until 2026-11-24 13:00:00Z for restart on workload, by key a and key b: fire",
    );
    check(
        &["describe", "node", "edge-03", "--local"],
        0,
        "token 7 open until 2026-11-24 13:00:00Z (59 min left), by key a and key b, for restart on workload",
    );
    let close = ["policy", "break-glass", "close", "--node", "edge-03", "--reason"];
    check(
        &[&close[..], &["it is out"]].concat(),
        0,
        "edge-03: break-glass token 7 is closed, 59 min before its time",
    );
    check(
        &[&close[..], &["again"]].concat(),
        5,
        "no break-glass token is open here",
    );
    check(&[&close[..], &[" "]].concat(), 2, "a reason is needed");
    check(&["policy", "break-glass", "close", "--reason", "out"], 2, "--node");
    desk.check(
        "policy break-glass open t.glass --socket nobody.sock",
        6,
        &["nobody.sock"],
    );
}

#[test]
fn a_token_is_sent_through_the_hub_and_each_node_says_what_became_of_it() {
    let desk = Desk::begun("--signers 2");
    desk.check(&format!("{MAKE} --key keys/policy-1.key --out t.glass"), 0, &["1 of 2"]);
    let file = desk.path("t.glass").display().to_string();
    let row = |node: &str, status: &str| json!({"node": node, "status": status, "detail": "why"});
    for (rows, code, expected) in [
        (json!([row("a", "done"), row("b", "done")]), 0, "✓ a: open\n✓ b: open\n"),
        (
            json!([row("a", "done"), row("b", "refused")]),
            5,
            "✓ a: open\n✕ b: refused: why\n",
        ),
        (json!([row("a", "waiting")]), 7, "✕ a: waiting: why\n"),
        (json!([row("a", "unreached")]), 6, "✕ a: unreached: why\n"),
    ] {
        let fake = Fake::hub(&[("POST /break-glass", items(rows))]);
        let said = fake.sentinel(&["policy", "break-glass", "open", &file]);
        assert_eq!((said.code, said.out.as_str()), (code, expected), "{}", said.err);
    }
    let said = Fake::nobody().sentinel(&["policy", "break-glass", "open", &file]);
    assert_eq!(said.code, 6, "{}", said.err);
}

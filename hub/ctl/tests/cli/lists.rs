//! `get` and `describe`: every format, both kinds of source, paging, watching.

use crate::rows;
use crate::support::{Fake, events, items, ok, problem};
use serde_json::{Value, json};

/// Runs a line and compares the exit status and standard output, byte for byte.
fn check(fake: &Fake, line: &str, code: i32, out: &str) {
    let said = fake.line(line);
    assert_eq!((said.code, said.out.as_str()), (code, out), "{line}: {}", said.err);
}

fn two_nodes() -> Fake {
    Fake::hub(&[
        ("GET /nodes", items([rows::alone("edge-03"), rows::node("edge-01")])),
        ("GET /nodes/edge-03", ok(rows::alone("edge-03"))),
        (
            "GET /nodes/edge-09",
            problem(404, "not_found", "there is no node `edge-09`"),
        ),
    ])
}

#[test]
fn nodes_are_a_table_with_a_sign_before_every_state() {
    check(
        &two_nodes(),
        "get nodes",
        0,
        "NAME     SITE    STATE            SEEN            POLICY  AUTHORITY  BACKLOG  GPUS\n\
         edge-01  site-a  ● connected      now             gen 1   full       0        gpu0 sim 45 °C 80 W\n\
         edge-03  site-a  ◐ working alone  2 min 14 s ago  gen 1   full       3        gpu0 sim 45 °C 80 W\n",
    );
}

#[test]
fn every_format_tells_the_same_nodes() {
    let fake = two_nodes();
    check(&fake, "get nodes -o name", 0, "edge-01\nedge-03\n");
    let json: Value = serde_json::from_str(&fake.line("get nodes -o json").out).unwrap();
    assert_eq!(json["items"][1]["state"], "working_alone");
    assert_eq!(json["items"][1]["backlog_entries"], 3);
    let lines: Vec<Value> = fake
        .line("get nodes -o jsonl")
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(json["items"], Value::Array(lines));
    let yaml = fake.line("get nodes -o yaml").out;
    assert!(yaml.starts_with("items:\n"), "{yaml}");
    assert!(
        yaml.contains("name: edge-03") && yaml.contains("state: working_alone"),
        "{yaml}"
    );
    let wide = fake.line("get nodes -o wide").out;
    assert!(
        wide.contains("PRODUCED") && wide.contains("2026-11-25 12:00:00Z"),
        "{wide}"
    );
}

#[test]
fn one_node_is_an_object_and_an_unknown_one_is_not_found() {
    let fake = two_nodes();
    let json: Value = serde_json::from_str(&fake.line("get nodes edge-03 -o json").out).unwrap();
    assert_eq!(json["name"], "edge-03");
    check(&fake, "get nodes --node edge-03 -o name", 0, "edge-03\n");
    let said = fake.line("get nodes edge-09");
    assert_eq!(
        (said.code, said.err.as_str()),
        (3, "error: there is no node `edge-09`\n")
    );
    assert_eq!(fake.line("get nodes --node edge-08").code, 3);
    assert_eq!(fake.line("get nodes Edge").code, 2);
}

#[test]
fn decisions_come_in_pages_up_to_the_limit() {
    let fake = Fake::hub(&[
        (
            "GET /decisions?limit=3&node=edge-03",
            ok(json!({
                "items": [rows::decision("edge-03.1.42"), rows::decision("edge-03.1.40")], "next_cursor": "a b",
            })),
        ),
        (
            "GET /decisions?limit=1&node=edge-03&before=a%20b",
            ok(json!({ "items": [rows::decision("edge-03.1.7")], "next_cursor": "c" })),
        ),
        ("GET /decisions/edge-03.1.42", ok(rows::detail("edge-03.1.42"))),
    ]);
    check(
        &fake,
        "get decisions --node edge-03 --limit 3",
        0,
        "ID            AT                    VERDICT    RULE     OUTCOME   LINK   ACTION\n\
         edge-03.1.42  2026-11-24 12:01:07Z  ✓ allowed  hot-gpu  verified  alone  gpu0 power_cap to 220 W\n\
         edge-03.1.40  2026-11-24 12:01:07Z  ✓ allowed  hot-gpu  verified  alone  gpu0 power_cap to 220 W\n\
         edge-03.1.7   2026-11-24 12:01:07Z  ✓ allowed  hot-gpu  verified  alone  gpu0 power_cap to 220 W\n",
    );
    assert!(
        fake.line("get decisions --node edge-03 --limit 3")
            .err
            .contains("--limit 0 for all")
    );
    check(&fake, "get decisions edge-03.1.42 -o name", 0, "edge-03.1.42\n");
}

#[test]
fn local_asks_the_sockets_and_says_who_is_silent() {
    let fake = Fake::nobody()
        .with_node(
            "edge-01",
            &[
                ("GET /nodes", items([rows::node("edge-01")])),
                ("GET /decisions?limit=100", items([rows::decision("edge-01.1.5")])),
            ],
        )
        .with_dead_node("edge-02");
    let said = fake.line("get nodes --local -o name");
    assert_eq!((said.code, said.out.as_str()), (8, "edge-01\n"));
    assert!(
        said.err.starts_with("not listed: node edge-02 does not answer"),
        "{}",
        said.err
    );
    check(&fake, "get decisions --local --limit 100 -o name", 8, "edge-01.1.5\n");
    let said = fake.line("get nodes --local --node edge-02");
    assert_eq!((said.code, said.out.as_str()), (6, ""));
    assert!(said.err.contains("see whether its sentinel-agent runs"), "{}", said.err);
    let said = fake.line("get nodes --local --node edge-07");
    assert_eq!(said.code, 3);
    assert!(said.err.contains("it knows edge-01, edge-02"), "{}", said.err);
}

#[test]
fn entries_of_all_nodes_are_put_in_the_order_of_time_newest_first() {
    let fake = Fake::hub(&[
        ("GET /nodes", items([rows::node("edge-01"), rows::node("edge-02")])),
        (
            "GET /entries?limit=100&node=edge-01&order=desc",
            items([rows::entry("edge-01", 3), rows::entry("edge-01", 1)]),
        ),
        (
            "GET /entries?limit=100&node=edge-02&order=desc",
            items([rows::entry("edge-02", 2)]),
        ),
        (
            "GET /entries?limit=2&node=edge-01&order=desc",
            items([rows::entry("edge-01", 3), rows::entry("edge-01", 1)]),
        ),
        (
            "GET /entries?limit=2&node=edge-02&order=desc",
            items([rows::entry("edge-02", 2)]),
        ),
        (
            "GET /entries?limit=500&node=edge-01&order=desc",
            items([rows::entry("edge-01", 3), rows::entry("edge-01", 1)]),
        ),
        (
            "GET /entries?limit=500&node=edge-02&order=desc",
            items([rows::entry("edge-02", 2)]),
        ),
        (
            "GET /entries?limit=1&node=edge-01&after=1.2",
            items([rows::entry("edge-01", 3)]),
        ),
        ("GET /entries?limit=1&node=edge-01&after=1.3", items([] as [(); 0])),
    ]);
    check(
        &fake,
        "get entries",
        0,
        "ID           AT                    KIND   TEXT\n\
         edge-01.1.3  2026-11-24 12:00:03Z  event  started, version 0.1.0\n\
         edge-02.1.2  2026-11-24 12:00:02Z  event  started, version 0.1.0\n\
         edge-01.1.1  2026-11-24 12:00:01Z  event  started, version 0.1.0\n",
    );
    check(&fake, "get entries --tail 2 -o name", 0, "edge-02.1.2\nedge-01.1.3\n");
    check(
        &fake,
        "get entries --since 2026-11-24T12:00:02Z -o name",
        0,
        "edge-01.1.3\nedge-02.1.2\n",
    );
    check(&fake, "get entries edge-01.1.3 -o name", 0, "edge-01.1.3\n");
    assert_eq!(fake.line("get entries edge-01.1.4").code, 3);
}

#[test]
fn every_list_is_chosen_and_sorted_by_the_same_words() {
    let mut elsewhere = rows::node("edge-07");
    elsewhere.site = "site-z".to_owned();
    elsewhere.labels.clear();
    elsewhere.backlog_entries = 12;
    let nodes = || items([rows::alone("edge-03"), rows::node("edge-01"), elsewhere.clone()]);
    let fake = Fake::hub(&[
        ("GET /nodes", nodes()),
        (
            "GET /decisions?limit=100&node=edge-07",
            items([rows::decision("edge-07.1.2")]),
        ),
        ("GET /policies", items([rows::policy(1, false), rows::policy(2, true)])),
    ]);
    check(&fake, "get nodes -l site=site-z -o name", 0, "edge-07\n");
    check(&fake, "get nodes -l rack=r7,state=connected -o name", 0, "edge-01\n");
    check(&fake, "get nodes -l rack!=r7 -o name", 0, "edge-07\n");
    check(
        &fake,
        "get nodes --sort-by -backlog_entries -o name",
        0,
        "edge-07\nedge-03\nedge-01\n",
    );
    check(
        &fake,
        "get nodes --sort-by=.gpus.0.power_watts --tail 1 -o name",
        0,
        "edge-07\n",
    );
    check(&fake, "get decisions -l site=site-z -o name", 0, "edge-07.1.2\n");
    let bare = fake.line("get nodes --no-headers -l site=site-z");
    assert!(bare.out.starts_with("edge-07  site-z"), "{}", bare.out);
    let said = fake.line("get policies --sort-by colour");
    assert_eq!((said.code, said.out.as_str()), (2, ""));
    assert!(
        said.err.contains("no row has the field `colour`") && said.err.contains("generation"),
        "{}",
        said.err
    );
    assert_eq!(fake.line("get nodes --since yesterday").code, 2);
}

#[test]
fn a_shell_is_offered_the_nodes_and_devices_that_there_are() {
    let fake = Fake::hub(&[
        (
            "GET /nodes",
            items([rows::node("edge-03"), rows::node("edge-01"), rows::node("other")]),
        ),
        ("GET /decisions?limit=50", items([rows::decision("edge-03.1.42")])),
    ]);
    let offered = |words: &[&str]| -> Vec<String> {
        let context = fake.context_file(0o600);
        let said = crate::support::run(
            std::process::Command::new(env!("CARGO_BIN_EXE_sentinel"))
                .args(["--", "sentinel"])
                .args(words)
                .env("COMPLETE", "fish")
                .env("SENTINEL_CONTEXT", context),
        );
        assert_eq!(said.code, 0, "{said:?}");
        let first = |line: &str| line.split('\t').next().unwrap_or_default().to_owned();
        said.out.lines().map(first).collect()
    };
    assert_eq!(offered(&["describe", "node", "ed"]), ["edge-01", "edge-03"]);
    assert_eq!(offered(&["act", "edge-03/g"]), ["edge-03/gpu0"]);
    assert_eq!(offered(&["why", "edge-03."]), ["edge-03.1.42"]);
    assert_eq!(offered(&["hold", "o"]), ["other"]);
    let script = fake.line("completion bash");
    assert!(script.out.contains("COMPLETE=\"bash\""), "{}", script.out);
}

#[test]
fn policies_are_listed_newest_first() {
    let fake = Fake::hub(&[("GET /policies", items([rows::policy(1, false), rows::policy(2, true)]))]);
    check(
        &fake,
        "get policies",
        0,
        "GENERATION  NAME  ACTIVE  NODES  RULES  ISSUED\n\
         2           demo  yes     5/6    1      2026-11-24 12:00:00Z\n\
         1           demo  no      5/6    1      2026-11-24 12:00:00Z\n",
    );
    check(&fake, "get policies 1 -o name", 0, "1\n");
    assert_eq!(fake.line("get policies 7").code, 3);
}

#[test]
fn watching_prints_the_list_then_each_change_then_why_it_ended() {
    let hub = [
        (
            "GET /stream",
            events(&[
                json!({"event": "hello", "data": {"from": "hub", "version": "1", "hub_epoch": 1, "now": "2026-11-24T12:00:00.000Z"}}),
                json!({"event": "of a newer hub", "data": {}}),
                json!({"event": "decision", "data": rows::decision("edge-03.1.43")}),
                json!({"event": "decision", "data": rows::decision("edge-03.1.43")}),
                json!({"event": "decision", "data": rows::decision("edge-01.1.1")}),
                json!({"event": "node", "data": rows::node("edge-03")}),
                json!({"event": "node", "data": rows::alone("edge-03")}),
                json!({"event": "node", "data": rows::alone("edge-03")}),
            ]),
        ),
        (
            "GET /decisions?limit=2&node=edge-03",
            items([rows::decision("edge-03.1.42"), rows::decision("edge-03.1.41")]),
        ),
        ("GET /nodes", items([rows::node("edge-03")])),
        (
            "GET /entries?limit=100&node=edge-03&order=desc",
            items([rows::entry("edge-03", 1)]),
        ),
        (
            "GET /entries?limit=500&node=edge-03&after=1.1",
            items([rows::entry("edge-03", 2)]),
        ),
    ];
    let fake = Fake::hub(&hub);
    check(
        &fake,
        "get decisions --node edge-03 --limit 2 --watch -o name",
        6,
        "edge-03.1.41\nedge-03.1.42\nedge-03.1.43\n",
    );
    let said = fake.line("get nodes --watch -o jsonl");
    assert_eq!(said.code, 6);
    let states: Vec<String> = said
        .out
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["state"].to_string())
        .collect();
    assert_eq!(states, [r#""connected""#, r#""working_alone""#]);
    assert!(said.err.contains("the stream of hub"), "{}", said.err);
    check(
        &fake,
        "get entries --node edge-03 --watch -o name",
        6,
        "edge-03.1.1\nedge-03.1.2\n",
    );
}

#[test]
fn a_node_that_is_not_well_says_so_in_the_list_and_why_in_its_description() {
    let mut node = rows::node("edge-03");
    node.findings = vec![
        "hot-gpu: gpu.temperature of gpu0 is above 80 °C".to_owned(),
        "gpu1 is not there".to_owned(),
    ];
    let fake = Fake::hub(&[("GET /nodes/edge-03", ok(&node)), ("GET /nodes", items([node.clone()]))]);
    let listed = fake.line("get nodes");
    assert!(listed.out.contains("● connected ▲ 2 findings"), "{}", listed.out);
    let described = fake.line("describe node edge-03");
    let why = "no: hot-gpu: gpu.temperature of gpu0 is above 80 °C; gpu1 is not there";
    assert!(described.out.contains(why), "{}", described.out);
}

#[test]
fn a_gate_ends_with_8_unless_every_node_that_it_lists_is_connected_and_well() {
    let mut shut = rows::node("edge-05");
    shut.shut_out = Some("denied: stolen".to_owned());
    let fake = Fake::hub(&[
        (
            "GET /nodes",
            items([rows::alone("edge-03"), rows::node("edge-01"), shut.clone()]),
        ),
        ("GET /nodes/edge-01", ok(rows::node("edge-01"))),
        ("GET /nodes/edge-03", ok(rows::alone("edge-03"))),
        ("GET /nodes/edge-05", ok(&shut)),
    ]);
    for (line, code, part) in [
        ("get nodes", 0, "working alone"),
        ("get nodes --exit-code", 8, "▲ shut out"),
        ("get nodes --exit-code -l name=edge-01", 0, "edge-01"),
        ("get nodes --exit-code -l name=edge-03", 8, "edge-03"),
        ("get nodes edge-01 --exit-code", 0, "edge-01"),
        ("describe node edge-01 --exit-code", 0, "edge-01"),
        ("describe node edge-03 --exit-code", 8, "working alone"),
        ("describe node edge-05", 0, "denied: stolen"),
        ("describe node edge-05 --exit-code", 8, "denied: stolen"),
    ] {
        let said = fake.line(line);
        assert_eq!(said.code, code, "{line}: {}", said.err);
        assert!(said.out.contains(part), "{line}: {}", said.out);
    }
    let said = fake.line("get decisions --exit-code");
    assert_eq!(said.code, 2);
    assert!(said.err.contains("about nodes"), "{}", said.err);
}

#[test]
fn describe_tells_everything_about_a_node() {
    let mut node = rows::alone("edge-03");
    node.last_decisions = vec![rows::decision("edge-03.1.42")];
    node.clock_error = Some(wire::time::ClockError::WithinMs(12));
    let fake = Fake::hub(&[("GET /nodes/edge-03", ok(&node))]);
    check(
        &fake,
        "describe node edge-03",
        0,
        "name         edge-03\n\
         site         site-a\n\
         labels       rack=r7\n\
         state        ◐ working alone\n\
         healthy      not reported: it counts as unhealthy while it is away\n\
         since        2026-11-24 12:00:00Z\n\
         as of        2026-11-24 12:01:07Z (2 min 14 s ago), says the hub, by what it heard last\n\
         sync         3 entries wait for the hub; produced 12, stored 9 (epoch 1)\n\
         policy       generation 1, digest DIGEST, last proof of freshness 4 s ago\n\
         authority    full; reversible in 5 h 59 min if nothing fresh arrives\n\
         certificate  ends 2026-11-25 12:00:00Z; never rejoined\n\
         clock        steady, ± 12 ms against the hub\n\
         journal      accepts entries; 1 MiB of 64 MiB\n\
         held         no\n\
         shut out     no\n\
         quarantined  no\n\
         telemetry    one sample each 1 s\n\
         cpu, memory  12.5 %, 34 % used\n\
         version      0.1.0\n\
         \n\
         GPUs\n\
         ID    MODEL           TEMPERATURE  POWER  CAP    USED  MAY BE CAPPED TO  PROFILE\n\
         gpu0  Sim L40S [sim]  45 °C        80 W   350 W  10 %  100 W..=350 W     nvidia-l40s\n\
         \n\
         Workloads\n\
         ID              PID   MEMORY  CPU    RESTARTS\n\
         workload:train  4711  20 MiB  1.5 %  0\n\
         \n\
         Last decisions\n\
         ID            AT                    VERDICT    RULE     OUTCOME   LINK   ACTION\n\
         edge-03.1.42  2026-11-24 12:01:07Z  ✓ allowed  hot-gpu  verified  alone  gpu0 power_cap to 220 W\n"
            .replace("DIGEST", &node.policy_digest.short())
            .as_str(),
    );
}

#[test]
fn a_node_that_is_cut_off_says_itself_whether_it_is_well() {
    let node = rows::alone("edge-03");
    let fake = Fake::hub(&[]).with_node("edge-03", &[("GET /nodes/edge-03", ok(&node))]);
    let said = fake.line("describe node edge-03 --local");
    assert!(said.out.contains("healthy      yes\n"), "{}", said.out);
    assert!(said.out.contains("says the node itself"), "{}", said.out);
}

#[test]
fn domains_tell_who_has_its_turn_and_who_waits() {
    let rack = |value: &str, unhealthy: i64, turns: Value, waiting: Value| {
        json!({
            "domain": "rack", "value": value, "members": 12, "unhealthy": unhealthy, "in_flight": 1, "newly_faulty": 0,
            "gives_turns": true, "turns": turns, "waiting": waiting,
        })
    };
    let window = |given: u32, free_in_seconds: Option<u64>| {
        json!({
            "domain": "fleet", "value": "all", "members": 24, "unhealthy": 1, "in_flight": 0, "newly_faulty": 0, "gives_turns": true,
            "turns": [], "waiting": [],
            "windows": [{ "rule": "three-an-hour", "given": given, "limit": 3, "window_seconds": 3_600, "free_in_seconds": free_in_seconds }],
        })
    };
    let fake = Fake::hub(&[(
        "GET /domains",
        items([
            window(3, Some(720)),
            window(2, None),
            rack("r7", 1, json!([]), json!(["edge-03", "edge-09"])),
            rack(
                "r8",
                0,
                json!([{ "node": "edge-14", "acts": true, "for_seconds": 1.2 }]),
                json!([]),
            ),
        ]),
    )]);
    check(
        &fake,
        "get domains",
        0,
        "DOMAIN   MEMBERS  UNHEALTHY  TOUCHED  NEWLY FAULTY  IN WINDOW                                 TURN                WAITING\n\
         fleet    24       1          0        0             three-an-hour 3/3 in 1 h, next in 12 min  —                   —\n\
         fleet    24       1          0        0             three-an-hour 2/3 in 1 h                  —                   —\n\
         rack:r7  12       1          1        0             —                                         —                   edge-03, edge-09\n\
         rack:r8  12       0          1        0             —                                         edge-14 acts 1.2 s  —\n",
    );
    check(&fake, "get domains rack:r8 -o name", 0, "rack:r8\n");
    let none = fake.line("get domains rack:r9");
    assert_eq!(none.code, 3, "{}", none.err);
    let local = fake.line("get domains --local");
    assert_eq!(local.code, 2, "{}", local.err);
    assert!(local.err.contains("counted by the hub alone"), "{}", local.err);
}

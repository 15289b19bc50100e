//! `sentinel policy` on plain files, with no hub and no context; and what it asks a hub or a node for.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use wire::{Digest, Parcel};

use crate::rows;
use crate::support::{Fake, Said, items, ok, run};

/// A folder and `sentinel` in it, without any context.
pub struct Desk(tempfile::TempDir);

impl Desk {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// A folder in which `init` was carried out.
    pub fn begun(words: &str) -> Self {
        let desk = Self::new();
        assert_eq!(desk.line(&format!("policy init {words}")).code, 0);
        desk
    }

    pub fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    pub fn line(&self, line: &str) -> Said {
        run(Command::new(env!("CARGO_BIN_EXE_sentinel"))
            .args(line.split_whitespace())
            .env_remove("SENTINEL_CONTEXT")
            .current_dir(self.0.path()))
    }

    /// Runs a line and expects its exit status, and parts of what it says.
    pub fn check(&self, line: &str, code: i32, parts: &[&str]) {
        let said = self.line(line);
        let both = format!("{}{}", said.out, said.err);
        assert_eq!(said.code, code, "`{line}`: {both}");
        for part in parts {
            assert!(both.contains(part), "`{line}` does not say `{part}`: {both}");
        }
    }

    pub fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.line(line).out).unwrap()
    }
}

#[test]
fn a_starter_bundle_is_made_checked_and_tested() {
    let desk = Desk::begun("");
    for name in ["root-1.key", "policy-1.key", "beacon.key"] {
        let mode = std::fs::metadata(desk.path("keys").join(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    desk.check(
        "policy check policy.yaml",
        0,
        &["policy.yaml: ok, 6 rules", "calm (shadow)"],
    );
    let text = std::fs::read_to_string(desk.path("policy.yaml")).unwrap();
    let named = [
        "# indicators:",
        "#   - { id: gpu-cool",
        "# meters:",
        "#   - { id: gpu-energy",
    ];
    let lines = text
        .lines()
        .map(|line| match named.iter().any(|name| line.starts_with(name)) {
            true => line.replacen("# ", "", 1),
            false => line.to_owned(),
        });
    desk.write("observed.yaml", &lines.collect::<Vec<_>>().join("\n"));
    desk.check(
        "policy check observed.yaml",
        0,
        &[
            "  indicator gpu-cool: gpu.temperature of gpu < 85 °C in 99.9 % of 30 d\n",
            "  meter gpu-energy: gpu.power of gpu at 0.30 per kWh\n",
        ],
    );
    desk.check(
        "policy test policy.cases.yaml --bundle policy.yaml",
        0,
        &["✓ passed", "3 passed, 0 failed"],
    );
    desk.check("policy init", 5, &["`policy.yaml` is there already"]);
    desk.check("policy init other.yaml --threshold 2", 2, &["at least as many keys"]);
}

#[test]
fn mistakes_in_files_have_a_place_that_editors_jump_to() {
    let desk = Desk::begun("");
    desk.write("bad.yaml", "bundle: bad\nrules:\n  - id: hot\n    kind: treshold\n");
    let place = "bad.yaml:4:11: rules[0].kind: unknown `treshold`; did you mean `threshold`?";
    desk.check("policy check bad.yaml", 1, &[place]);
    desk.check("policy diff policy.yaml bad.yaml", 1, &[place]);
    desk.check("policy sign bad.yaml --key keys/policy-1.key", 1, &[place]);
    desk.check("policy test policy.cases.yaml --bundle bad.yaml", 1, &[place]);
    desk.check("policy check nothing.yaml", 2, &["cannot read `nothing.yaml`"]);
    desk.write("bad.cases.yaml", "cases:\n  - name: x\n    stepps: []\n");
    desk.check(
        "policy test bad.cases.yaml --bundle policy.yaml",
        2,
        &["bad.cases.yaml:3:"],
    );
    desk.write(
        "wrong.cases.yaml",
        "cases:\n  - name: it is denied\n    steps:\n      - { at: 0 s, ask: { action: notify, target: node, message: x }, expect: [deny] }\n",
    );
    desk.check(
        "policy test wrong.cases.yaml --bundle policy.yaml",
        1,
        &["✕ failed", "wrong.cases.yaml:2: it is denied:", "0 passed, 1 failed"],
    );
}

#[test]
fn decisions_are_made_line_by_line_without_a_hub() {
    let desk = Desk::begun("");
    let ask = |at: &str, target: &str| {
        json!({"at": at, "action": {"kind": "restart", "targets": [target]}}).to_string() + "\n"
    };
    let first = ask("2026-11-24T12:00:00Z", "workload:a");
    let second = ask("2026-11-24T12:00:10Z", "workload:a");
    desk.write("q.jsonl", &format!("{first}\n{second}"));
    let said = desk.line("policy decide --bundle policy.yaml --input q.jsonl -o jsonl");
    let lines: Vec<Value> = said
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2, "a blank line asks nothing");
    assert_eq!(lines[0]["verdict"], "allow");
    assert_eq!(lines[1]["verdict"], "hold", "the state is carried on");
    assert_eq!(lines[1]["determining"][0]["rule"], "restart-cooldown");
    assert_eq!(lines[1]["hold_until"], "2026-11-24T12:01:00.000Z");

    let mut child = Command::new(env!("CARGO_BIN_EXE_sentinel"))
        .args(["policy", "decide", "--bundle", "policy.yaml", "-o", "jsonl"])
        .current_dir(desk.0.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(format!("{first}{second}").as_bytes())
        .unwrap();
    let piped = child.wait_with_output().unwrap();
    assert_eq!(
        String::from_utf8(piped.stdout).unwrap(),
        said.out,
        "standard input is the default"
    );

    let json = desk.json("policy decide --bundle policy.yaml --input q.jsonl -o json");
    assert_eq!(json["items"][1], lines[1]);
    desk.check(
        "policy decide --bundle policy.yaml --input q.jsonl",
        0,
        &["⏳ held", "restart-cooldown", "workload:a: 10 s against "],
    );
    desk.write("bad.jsonl", &format!("{first}{{\"at\": 5}}\n"));
    desk.check(
        "policy decide --bundle policy.yaml --input bad.jsonl",
        2,
        &["bad.jsonl:2:8:"],
    );
}

#[test]
fn a_gate_ends_with_its_own_status_if_anything_is_denied() {
    let desk = Desk::new();
    desk.write(
        "b.yaml",
        "bundle: t\npermits: [{ kinds: [restart] }]\nrules:\n  - { id: slow, kind: cooldown, after_success: 1 h }\n",
    );
    let line = |second: u8, kind: &str| {
        format!("{{\"at\":\"2026-01-01T00:00:0{second}Z\",\"action\":{{\"kind\":\"{kind}\",\"targets\":[\"a\"]}}}}\n")
    };
    // With a mark of the encoding at its beginning.
    desk.write(
        "held.jsonl",
        &format!("\u{feff}{}{}", line(0, "restart"), line(1, "restart")),
    );
    desk.write("denied.jsonl", &format!("{}{}", line(0, "reboot"), line(1, "restart")));
    desk.check(
        "policy decide --bundle b.yaml --input held.jsonl --exit-code",
        0,
        &["held"],
    );
    desk.check("policy decide --bundle b.yaml --input denied.jsonl", 0, &["denied"]);
    for (format, word) in [("table", "denied"), ("json", "deny"), ("jsonl", "deny")] {
        let words = format!("policy decide --bundle b.yaml --input denied.jsonl --exit-code -o {format}");
        desk.check(&words, 4, &[word, "allow"]);
    }
    desk.write("back.jsonl", &format!("{}{}", line(5, "restart"), line(1, "restart")));
    desk.check(
        "policy decide --bundle b.yaml --input back.jsonl",
        2,
        &["back.jsonl:2", "lines are in order of time"],
    );
}

#[test]
fn several_bundles_are_checked_at_once_and_standard_input_too() {
    let desk = Desk::begun("");
    desk.write(
        "odd.yaml",
        "bundle: odd\nrules:\n  - { id: p, kind: sla, service: web, target: 99.99 % }\n",
    );
    desk.check("policy check odd.yaml", 0, &["web is up 99.99 % of the time"]);
    desk.write("wrong.yaml", "bundle: wrong\nrules:\n  - { id: t, kind: threshold, quantity: gpu.temperature, above: -300 °C, then: { action: power_cap, to: 220 mW } }\n");
    desk.check(
        "policy check policy.yaml wrong.yaml odd.yaml",
        1,
        &[
            "policy.yaml: ok, 6 rules",
            "odd.yaml: ok, 1 rule",
            "wrong.yaml:3:",
            "within -100 °C..=300 °C",
            "write watts with their unit: `220 W`",
        ],
    );
    let items = desk.json("policy check policy.yaml wrong.yaml -o json");
    assert_eq!(items["items"][0]["file"], "policy.yaml");
    assert_eq!(
        (&items["items"][0]["ok"], &items["items"][1]["ok"]),
        (&json!(true), &json!(false))
    );

    let mut child = Command::new(env!("CARGO_BIN_EXE_sentinel"))
        .args(["policy", "check", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(b"bundle: x\nrules: [{ id: a }]\n")
        .unwrap();
    let said = child.wait_with_output().unwrap();
    let text = String::from_utf8(said.stdout).unwrap();
    assert_eq!(said.status.code(), Some(1));
    assert!(text.starts_with("standard input:2:"), "{text}");
}

#[test]
fn case_files_of_a_folder_are_run_and_those_that_prove_nothing_refused() {
    let desk = Desk::begun("");
    let case = |expect: &str| {
        format!(
            "cases:\n  - name: a move\n    steps:\n      - {{ ask: {{ action: migrate, target: node-1 }}, expect: [{expect}] }}\n"
        )
    };
    std::fs::create_dir_all(desk.path("cases/more")).unwrap();
    desk.write("cases/b.yaml", &case("deny permits"));
    desk.write("cases/more/a.yml", &case("deny"));
    desk.write("cases/notes.txt", "no cases");
    desk.check(
        "policy test cases --bundle policy.yaml",
        0,
        &["cases/b.yaml:2", "cases/more/a.yml:2", "2 passed, 0 failed"],
    );
    std::fs::create_dir(desk.path("none")).unwrap();
    desk.check(
        "policy test none --bundle policy.yaml",
        2,
        &["holds no file *.yaml or *.yml"],
    );
    for (text, part) in [
        ("cases: []\n", "a file without a case proves nothing"),
        (
            "cases: [{ name: x, steps: [] }]\n",
            "a case without a step proves nothing",
        ),
        (
            case("'', deny").as_str(),
            "an empty text would pass whatever is decided",
        ),
        (
            case("deny").replace("migrate,", "migrtae,").as_str(),
            "did you mean `migrate`?",
        ),
    ] {
        desk.write("nothing.yaml", text);
        desk.check("policy test nothing.yaml --bundle policy.yaml", 2, &[part]);
    }
}

#[test]
fn a_draft_is_compared_with_what_it_replaces() {
    let desk = Desk::begun("");
    let text = std::fs::read_to_string(desk.path("policy.yaml")).unwrap();
    desk.write("new.yaml", &text.replace("after_success: 1 min", "after_success: 1 s"));
    desk.check(
        "policy diff policy.yaml new.yaml",
        0,
        &["changed restart-cooldown", "+ cooldown"],
    );
    desk.check(
        "policy diff policy.yaml policy.yaml",
        0,
        &["no rule and no setting differs"],
    );
    let ask = |second: u8| {
        let at = format!("2026-11-24T12:00:{second:02}Z");
        json!({"at": at, "action": {"kind": "restart", "targets": ["workload:a"]}}).to_string()
    };
    desk.write("q.jsonl", &format!("{}\n{}\n", ask(0), ask(10)));
    let view = desk.json("policy simulate --bundle new.yaml --old policy.yaml --input q.jsonl -o json");
    assert_eq!((&view["considered"], &view["differ"]), (&json!(2), &json!(1)));
    assert_eq!(
        (&view["items"][0]["old"], &view["items"][0]["new"]),
        (&json!("hold"), &json!("allow"))
    );
    assert_eq!(
        (&view["items"][0]["id"], &view["items"][0]["rule"]),
        (&json!("2"), &json!("restart-cooldown"))
    );

    let fake = Fake::hub(&[(
        "POST /policies/simulate?since=604800s",
        ok(json!({"items": [view["items"][0]], "considered": 9, "differ": 1, "not_replayable": 2})),
    )]);
    let file = fake.file("new.yaml", "bundle: new\n");
    let said = fake.sentinel(&["policy", "simulate", "--bundle", &file, "--since", "7d"]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.out.contains("restart workload:a"), "{}", said.out);
    assert_eq!(said.err, "1 of 9 decisions would differ; 2 could not be replayed\n");
}

#[test]
fn what_only_a_draft_would_have_wanted_is_a_table_of_its_own() {
    let wish = json!({
        "node": "edge-03", "at": "2026-11-24T12:00:00Z", "until": "2026-11-24T12:20:00Z", "times": 4, "rule": "hot-gpu",
        "undo": false, "action": "power_cap", "wanted": "power_cap to 220 W", "target": "gpu0",
        "reading": {"series": {"device": "gpu0", "quantity": "gpu.temperature"}, "value": 82_000, "age_ms": 0, "held_ms": 3_000},
        "verdict": "allow", "by": "hot-gpu", "text": "gpu.temperature of gpu0 was 82 °C",
    });
    let unknown = json!({"node": "edge-04", "times": 1, "wanted": "restart", "target": "workload:a", "by": "rack"});
    let readings = json!({"nodes": 2, "samples": 7_200, "gaps": 3, "sparse": 5, "compared_with": [3, 4],
        "replaced": "policy 3 is not stored here: the newest, 4, stood for it"});
    let view = json!({"items": [], "considered": 9, "differ": 0, "not_replayable": 0, "only_draft": [wish, unknown],
        "only_draft_total": 2, "readings": readings, "cut": "the readings of edge-04 were read until noon"});
    let fake = Fake::hub(&[("POST /policies/simulate?since=604800s", ok(view.clone()))]);
    let file = fake.file("new.yaml", "bundle: new\n");
    let said = fake.sentinel(&["policy", "simulate", "--bundle", &file, "--since", "7d"]);
    assert_eq!(said.code, 0, "{}", said.err);
    for text in [
        "WOULD WANT",
        "4",
        "hot-gpu",
        "power_cap to 220 W gpu0",
        "was 82 °C",
        "restart workload:a",
        "rack",
    ] {
        assert!(said.out.contains(text), "{text}: {}", said.out);
    }
    let told = [
        "0 of 9 decisions would differ",
        "2 wishes that policy 3, 4 would not have had, in 7200 samples of 2 nodes with 3 gaps; in 5 of them, 10 s or more apart, \
         nothing is seen to hold; policy 3 is not stored here: the newest, 4, stood for it",
        "the readings of edge-04 were read until noon",
    ];
    assert_eq!(said.err.lines().collect::<Vec<_>>(), told);
    let said = fake.sentinel(&["policy", "simulate", "--bundle", &file, "--since", "7d", "-o", "json"]);
    let document: Value = serde_json::from_str(&said.out).unwrap();
    for field in ["considered", "only_draft_total", "readings", "cut"] {
        assert_eq!(document[field], view[field], "{field}");
    }
    assert_eq!(document["only_draft"][0], view["only_draft"][0]);

    let nothing = json!({"items": [], "considered": 0, "differ": 0, "only_draft": [], "readings": {"samples": 0}});
    let fake = Fake::hub(&[("POST /policies/simulate?since=604800s", ok(nothing))]);
    let file = fake.file("new.yaml", "bundle: new\n");
    let said = fake.sentinel(&["policy", "simulate", "--bundle", &file, "--since", "7d"]);
    assert!(said.err.contains("no readings are stored since then"), "{}", said.err);
}

#[test]
fn two_of_three_people_sign_a_bundle() {
    let desk = Desk::begun("--signers 3 --threshold 2");
    let sign = "policy sign policy.yaml --roles keys/roles.parcel --generation 7 --key keys/policy-1.key";
    desk.check(sign, 0, &["signed by     1 of 2 needed", "not enough yet"]);
    desk.check("policy verify policy.parcel", 1, &["1 of 2"]);
    desk.check("policy sign policy.parcel --key keys/policy-1.key", 0, &["1 of 2"]);
    desk.check("policy sign policy.parcel --key keys/root-1.key", 0, &["1 of 2"]);
    desk.check("policy sign policy.parcel --key keys/beacon.key", 2, &["has no role"]);
    desk.check(
        "policy sign policy.parcel --key keys/policy-3.key",
        0,
        &["policy.parcel: ok", "2 of 2"],
    );
    desk.check("policy verify policy.parcel", 0, &["generation    7"]);
    desk.check("policy check policy.parcel", 0, &["6 rules"]);
    let pin = desk.json("policy verify policy.parcel -o json")["root_pin"]
        .as_str()
        .unwrap()
        .to_owned();
    desk.check(
        &format!("policy verify policy.parcel --root-pin {pin}"),
        0,
        &["as given"],
    );
    let other = Digest::of(b"another");
    desk.check(
        &format!("policy verify policy.parcel --root-pin {other}"),
        1,
        &["told to trust"],
    );
    desk.check("policy verify policy.yaml", 2, &["not a parcel"]);

    let bytes = std::fs::read(desk.path("policy.parcel")).unwrap();
    std::fs::write(desk.path("torn.parcel"), &bytes[..bytes.len() - 9]).unwrap();
    desk.check("policy verify torn.parcel", 2, &["copy it again"]);
    let open = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(desk.path("keys/policy-2.key"), open).unwrap();
    desk.check(
        "policy sign policy.parcel --key keys/policy-2.key",
        2,
        &["chmod 600 keys/policy-2.key"],
    );
}

#[test]
fn a_bundle_is_held_against_the_documents_beside_the_key_that_signs_it() {
    let desk = Desk::begun("--signers 2 --threshold 2 --trust-domain edge.example.org");
    desk.check(
        "policy sign policy.yaml --key keys/policy-1.key",
        0,
        &["edge.example.org", "1 of 2 needed"],
    );
    desk.check(
        "policy sign policy.parcel --key keys/policy-2.key",
        0,
        &["policy.parcel: ok", "2 of 2 needed"],
    );
    std::fs::copy(desk.path("keys/policy-1.key"), desk.path("alone.key")).unwrap();
    desk.check(
        "policy sign policy.yaml --key alone.key --out other.parcel",
        2,
        &["the trust domain is not known"],
    );
}

#[test]
fn keys_are_replaced_by_the_root_keys_alone() {
    let desk = Desk::begun("--signers 3 --threshold 2");
    desk.check("policy keys list keys/roles.parcel", 0, &["root    1         2 of 3"]);
    desk.check(
        "policy keys rotate policy --root-key keys/policy-1.key",
        2,
        &["is no root key"],
    );
    desk.check(
        "policy keys rotate policy --root-key keys/root-1.key --until 2031-01-01T00:00:00Z",
        0,
        &["1 more root keys"],
    );
    desk.check("policy verify keys/roles.parcel", 1, &["role document 2", "1 of 2"]);
    desk.check(
        "policy sign keys/roles.parcel --key keys/root-2.key",
        0,
        &["roles.parcel: ok"],
    );
    let rows = desk.json("policy keys list keys/roles.parcel -o json");
    assert_eq!(rows["items"][1]["until"], "2031-01-01T00:00:00.000Z");
    desk.check(
        "policy sign policy.yaml --roles keys/roles.parcel --key keys/policy-1.key",
        2,
        &["has no role"],
    );
    // Who replaces keys does not weaken what they are for: two of three stays two of three.
    assert_eq!(
        (
            &rows["items"][1]["threshold"],
            rows["items"][1]["keys"].as_array().unwrap().len()
        ),
        (&json!(2), 3)
    );
    desk.check(
        "policy sign policy.yaml --roles keys/roles.parcel --key keys/policy-v2-1.key",
        0,
        &["1 of 2", "document 2"],
    );
    desk.check(
        "policy sign policy.parcel --key keys/policy-v2-3.key",
        0,
        &["policy.parcel: ok"],
    );
    desk.check(
        "policy keys rotate beacon --root-key keys/root-1.key --signers 2 --threshold 3",
        2,
        &["at least as many keys"],
    );
    desk.check(
        "policy keys rotate policy --root-key keys/root-1.key --signers 1",
        2,
        &["2 keys must sign today", "--threshold N"],
    );
    let both = "policy keys rotate root --root-key keys/root-1.key --root-key keys/root-3.key";
    desk.check(both, 0, &["next: sentinel policy publish keys/roles.parcel"]);
    desk.check("policy verify keys/roles.parcel", 0, &["document 3"]);
}

#[test]
fn the_bundle_to_begin_with_is_published_without_a_file() {
    let mut has = rows::node("edge-01");
    has.policy_generation = wire::Generation(1);
    let fake = Fake::hub(&[
        (
            "POST /policies/check",
            ok(json!({"ok": true, "errors": [], "rules": []})),
        ),
        (
            "POST /policies",
            ok(json!({"bundle": {"generation": 1, "digest": Digest::of(b"b")}, "nodes_total": 1})),
        ),
        ("GET /nodes", items([has])),
    ]);
    let said = fake.line("policy publish --starter");
    assert_eq!(said.code, 0, "{}", said.err);
    let asked = fake.asked().join("\n");
    assert!(asked.contains("POST /policies # A bundle to begin with."), "{asked}");
    let said = fake.line("policy publish --starter policy.yaml");
    assert_eq!(said.code, 2, "{}", said.err);
    assert_eq!(fake.line("policy publish").code, 2);
}

#[test]
fn an_earlier_generation_comes_back_as_a_newer_one() {
    let mut has = rows::node("edge-01");
    has.policy_generation = wire::Generation(3);
    let mut first = rows::policy(1, false);
    first.text = "bundle: first\n".to_owned();
    let fake = Fake::hub(&[
        ("GET /policies", items([first, rows::policy(2, true)])),
        (
            "POST /policies/check",
            ok(json!({"ok": true, "errors": [], "rules": []})),
        ),
        (
            "POST /policies",
            ok(json!({"bundle": {"generation": 3, "digest": Digest::of(b"b")}, "nodes_total": 1})),
        ),
        ("GET /nodes", items([has])),
    ]);
    let said = fake.line("policy rollback 1");
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.out.starts_with("published as generation 3"), "{}", said.out);
    assert!(fake.asked().join("|").contains("POST /policies bundle: first"));
    assert_eq!(fake.line("policy rollback 2").code, 5);
    let said = fake.line("policy rollback 7");
    assert_eq!(said.code, 3);
    assert!(said.err.contains("the hub has 1, 2"), "{}", said.err);
}

#[test]
fn kinds_of_rule_are_explained_and_there_is_a_schema() {
    let desk = Desk::new();
    desk.check("policy explain", 0, &["cost_ceiling", "change_freeze"]);
    desk.check("policy explain cooldown", 0, &["after_success", "fields of every rule"]);
    desk.check(
        "policy explain confidence",
        0,
        &["where its numbers come from", "earlier predictions"],
    );
    desk.check("policy explain meters", 0, &["price_micros_per_kwh (required)"]);
    desk.check("policy explain cooldonw", 2, &["did you mean `cooldown`"]);
    assert_eq!(desk.json("policy schema")["title"], "Sentinel policy bundle");
}

#[test]
fn a_signed_parcel_is_published_as_it_is_and_carried_to_a_node() {
    let desk = Desk::begun("");
    desk.check(
        "policy sign policy.yaml --roles keys/roles.parcel --key keys/policy-1.key --generation 2",
        0,
        &["ok"],
    );
    let signed = std::fs::read(desk.path("policy.parcel")).unwrap();
    let digest = Parcel::decode(&signed).unwrap().bundle.unwrap().digest();
    let mut has = rows::node("edge-01");
    has.policy_generation = wire::Generation(2);
    let fake = Fake::hub(&[
        (
            "POST /policies/roles",
            ok(json!({"version": 1, "signs_beacons": false, "signs_bundles": false})),
        ),
        (
            "POST /policies/signed",
            ok(json!({"bundle": {"generation": 2, "digest": digest}, "nodes_total": 1})),
        ),
        ("GET /nodes", items([has])),
    ])
    .with_node(
        "edge-03",
        &[(
            "POST /policies/import",
            ok(json!({"node": "edge-03", "bundle": {"generation": 2, "digest": digest}, "roles_version": 1})),
        )],
    );
    let parcel = desk.path("policy.parcel").display().to_string();
    let said = fake.sentinel(&["policy", "publish", &parcel]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.err.starts_with("the hub trusts role document 1\n"), "{}", said.err);
    assert!(said.err.contains("pki folder as beacon*.key"), "{}", said.err);
    assert!(said.err.contains("pki folder as policy*.key"), "{}", said.err);
    let said = fake.sentinel(&["policy", "import", &parcel, "--node", "edge-03"]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.out.starts_with("edge-03: generation 2 is active"), "{}", said.out);
    desk.check("policy import policy.parcel --socket nobody.sock", 6, &["nobody.sock"]);
}

//! Break-glass by hand: two people open what a freeze holds back, over the node's own socket, and close it again.

use std::path::Path;

use testbed_e2e::{Cluster, Said, check};

/// Restarts are frozen, and nothing but the freeze stands in their way.
const FROZEN: &str = "\
bundle: frozen
permits:
  - kinds: [notify]
  - { kinds: [restart], targets: [workload] }
rules:
  - { id: sale, kind: change_freeze, selector: { kinds: [restart] }, on_violation: deny, spans: [{ local_start: 2020-01-01, local_end: 2099-01-01 }] }
";

/// A line of words for `sentinel`, with no context at all.
fn offline(folder: &Path, line: &str) -> Said {
    testbed_e2e::offline(folder, &line.split_whitespace().collect::<Vec<_>>())
}

/// Two policy keys that are nowhere but in `keys/`, and a bundle of theirs in force.
fn freeze(cluster: &Cluster, folder: &Path) {
    let path = |name: &str| folder.join(name).display().to_string();
    cluster.must(&["policy", "export", "--out", &path("roles.parcel")]);
    let root = cluster.state("hub").join("pki/root.key").display().to_string();
    let rotate = format!("policy keys rotate policy --roles roles.parcel --root-key {root} --keys keys --signers 2");
    check(&offline(folder, &rotate), 0, &["policy-v2-1.key", "policy-v2-2.key"]);
    std::fs::write(folder.join("frozen.yaml"), FROZEN).expect("a file");
    check(
        &offline(
            folder,
            "policy sign frozen.yaml --roles roles.parcel --key keys/policy-v2-1.key --generation 9 --out frozen.parcel",
        ),
        0,
        &["frozen.parcel: ok"],
    );
    cluster.must(&["policy", "publish", &path("frozen.parcel"), "--wait", "connected"]);
}

#[test]
fn two_people_open_what_a_freeze_holds_back_and_close_it_again() {
    let mut cluster = Cluster::start(2, &[]);
    let folder = cluster.folder().to_owned();
    freeze(&cluster, &folder);
    let restart = |cluster: &Cluster, node: &str| {
        let target = format!("{node}/workload:train");
        cluster.sentinel(&["act", &target, "restart", "--reason", "it leaks", "--local"])
    };
    check(&restart(&cluster, "edge-01"), 4, &["sale"]);

    // One person opens nothing, and neither does one person twice.
    let make = "policy break-glass make --node edge-01 --kind restart --for 1h --reason fire --key keys/policy-v2-1.key \
                --roles roles.parcel --out t.glass";
    check(&offline(&folder, make), 0, &["1 of 2 needed"]);
    let token = folder.join("t.glass").display().to_string();
    let open =
        |cluster: &Cluster, node: &str| cluster.sentinel(&["policy", "break-glass", "open", &token, "--node", node]);
    check(&open(&cluster, "edge-01"), 5, &["1 of 2 needed signatures"]);
    let again = "policy break-glass approve t.glass --key keys/policy-v2-1.key";
    check(&offline(&folder, again), 5, &["a token needs 2 different people"]);
    check(&restart(&cluster, "edge-01"), 4, &["sale"]);

    // Two people do, on the node that they named.
    let approve = "policy break-glass approve t.glass --key keys/policy-v2-2.key --roles roles.parcel";
    check(&offline(&folder, approve), 0, &["2 of 2 needed"]);
    check(
        &offline(&folder, "policy break-glass show t.glass --roles roles.parcel"),
        0,
        &["t.glass: signed by enough people", "edge-01", "fire"],
    );
    check(
        &open(&cluster, "edge-02"),
        5,
        &["it is for edge-01, and this is `edge-02`"],
    );
    check(
        &open(&cluster, "edge-01"),
        0,
        &["edge-01: break-glass token", "for restart", "fire"],
    );
    check(&open(&cluster, "edge-01"), 5, &["is not newer than"]);
    check(&restart(&cluster, "edge-01"), 0, &[]);
    check(&restart(&cluster, "edge-02"), 4, &["sale"]);
    let done = cluster
        .decisions("edge-01", true)
        .into_iter()
        .find(|row| row["action"] == "restart" && row["verdict"] == "allow")
        .expect("the restart was decided");
    let id = done["id"].as_str().expect("an id").to_owned();
    check(
        &cluster.must(&["why", &id, "--local"]),
        0,
        &["break_glass", "lifted by break-glass", "sale"],
    );

    // A restart of the agent keeps it; closing ends it, and it never opens again.
    cluster.demo("kill", "edge-01");
    let shown = |cluster: &Cluster| cluster.sentinel(&["describe", "node", "edge-01", "--local"]);
    cluster.until("edge-01 is back, and the token is open", |cluster| {
        let said = shown(cluster);
        said.code == 0 && said.out.contains("break-glass")
    });
    cluster.until("a restart runs under it again", |cluster| {
        restart(cluster, "edge-01").code == 0
    });
    let close = [
        "policy",
        "break-glass",
        "close",
        "--node",
        "edge-01",
        "--reason",
        "restarted",
    ];
    check(
        &cluster.sentinel(&close),
        0,
        &["edge-01: break-glass token", "is closed"],
    );
    check(&cluster.sentinel(&close), 5, &["no break-glass token is open here"]);
    check(&restart(&cluster, "edge-01"), 4, &["sale"]);
    check(&open(&cluster, "edge-01"), 5, &["is not newer than"]);
    assert!(!shown(&cluster).out.contains("break-glass"));
    let entries = cluster.must(&["get", "entries", "--node", "edge-01", "--local"]);
    check(&entries, 0, &["opened by key", "closed by", "restarted"]);

    // Through the hub: it carries a token, and cannot make one of one person's signature enough.
    let make = "policy break-glass make --node edge-01 --node edge-02 --kind restart --for 1h --reason flood \
                --key keys/policy-v2-2.key --roles roles.parcel --out hub.glass";
    check(&offline(&folder, make), 0, &["1 of 2 needed"]);
    let token = folder.join("hub.glass").display().to_string();
    let send = ["policy", "break-glass", "open", &token];
    check(
        &cluster.sentinel(&send),
        5,
        &["✕ edge-01: refused", "✕ edge-02: refused", "1 of 2 needed signatures"],
    );
    let approve = "policy break-glass approve hub.glass --key keys/policy-v2-1.key";
    check(&offline(&folder, approve), 0, &["2 of 2 needed"]);
    check(&cluster.sentinel(&send), 0, &["✓ edge-01: open", "✓ edge-02: open"]);
    check(&cluster.sentinel(&send), 5, &["is not newer than"]);
    check(&restart(&cluster, "edge-02"), 0, &[]);
    let through_hub = ["act", "edge-01/workload:train", "restart", "--reason", "it leaks"];
    check(&cluster.sentinel(&through_hub), 0, &[]);
    let close = ["policy", "break-glass", "close", "--node", "edge-01", "--reason", "dry"];
    check(&cluster.sentinel(&close), 0, &["is closed"]);
    check(&cluster.sentinel(&through_hub), 4, &["sale"]);
    cluster.must_be_whole();
}

//! Who a node is, with real processes: denied and allowed, renamed, replaced by a machine with new keys, a folder that ran twice, and
//! a node that leaves.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use testbed_e2e::{Cluster, Said, check, program};

/// Runs `sentinel-agent` with what it reads from standard input.
fn agent(arguments: &[&str], input: &str) -> Said {
    let mut child = Command::new(program("sentinel-agent"))
        .args(arguments)
        .env("NO_COLOR", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut stdin = child.stdin.take().expect("it was asked for a pipe");
    // A program that refuses its arguments reads nothing.
    drop(stdin.write_all(input.as_bytes()));
    drop(stdin);
    child.wait_with_output().expect("it ends").into()
}

fn stands(cluster: &Cluster, node: &str, state: &str) -> bool {
    cluster.node(node).is_some_and(|row| row["state"] == state)
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp")
        .arg("-a")
        .arg(from)
        .arg(to)
        .status()
        .expect("cp starts");
    assert!(copied.success());
}

/// `HOST:PORT` and the pin in a join line.
fn places(made: &Value) -> (String, String) {
    let text = |name: &str| made[name].as_str().expect("a text").to_owned();
    (text("address"), text("ca_pin"))
}

#[test]
fn a_node_is_shut_out_told_why_and_let_in_again() {
    let mut cluster = Cluster::start(2, &[]);
    check(
        &cluster.sentinel(&["node", "deny", "edge-09", "--reason", "x"]),
        3,
        &["edge-09"],
    );
    cluster.must(&["node", "deny", "edge-02", "--reason", "stolen from rack 7"]);
    check(
        &cluster.must(&["describe", "node", "edge-02"]),
        0,
        &["denied: stolen from rack 7"],
    );
    check(&cluster.must(&["get", "nodes"]), 0, &["▲ shut out"]);
    check(&cluster.sentinel(&["get", "nodes", "--exit-code"]), 8, &["▲ shut out"]);
    check(
        &cluster.sentinel(&["describe", "node", "edge-02", "--exit-code"]),
        8,
        &["denied: stolen from rack 7"],
    );
    check(
        &cluster.sentinel(&["get", "nodes", "edge-01", "--exit-code"]),
        0,
        &["edge-01"],
    );
    cluster.until("the node knows why", |cluster| {
        let entries = cluster.must(&[
            "get", "entries", "--node", "edge-02", "--local", "--limit", "0", "-o", "json",
        ]);
        entries.out.contains("stolen from rack 7")
    });
    // The hub dies, and has not forgotten.
    cluster.demo("kill", "hub");
    cluster.until("the hub is back with the other node", |cluster| {
        stands(cluster, "edge-01", "connected")
    });
    check(
        &cluster.must(&["describe", "node", "edge-02"]),
        0,
        &["denied: stolen from rack 7"],
    );
    cluster.must(&["node", "allow", "edge-02", "--reason", "found again"]);
    cluster.until("the node is back", |cluster| stands(cluster, "edge-02", "connected"));
    let audits = cluster.must(&["audit", "list", "-o", "json"]).items();
    let told = |verb: &str| {
        let of_node = |row: &&Value| row["verb"] == verb && row["target"] == "node/edge-02";
        audits.iter().find(of_node).map(|row| row["detail"].to_string())
    };
    assert!(
        told("node.deny").is_some() && told("node.allow").is_some(),
        "{audits:?}"
    );

    // It gets another name, and takes it over by itself.
    cluster.must(&["node", "rename", "edge-02", "rack-7", "--reason", "moved"]);
    cluster.until("it is there under its new name", |cluster| {
        stands(cluster, "rack-7", "connected")
    });
    assert!(cluster.node("edge-02").is_none(), "and not under the old one");
    cluster.until("its journal begins anew under it", |cluster| {
        let said = cluster.sentinel(&["verify", "--node", "rack-7", "-o", "json"]);
        said.code == 0
    });
}

#[test]
fn a_folder_that_ran_elsewhere_is_found_and_new_keys_shut_the_copy_out() {
    let mut cluster = Cluster::start(1, &[]);
    cluster.demo("stop", "edge-01");
    cluster.until("it is down", |cluster| stands(cluster, "edge-01", "down"));
    let (own, copied) = (cluster.state("edge-01"), cluster.folder().join("copied"));
    copy(&own, &copied);
    // While the owner is off, the copy runs and makes entries of its own.
    cluster.demo("start", "edge-01");
    cluster.until("the first is back", |cluster| stands(cluster, "edge-01", "connected"));
    cluster.must(&["act", "edge-01", "notify", "message=here", "--reason", "test"]);
    cluster.must_be_whole();
    cluster.demo("stop", "edge-01");
    cluster.until("it is down again", |cluster| stands(cluster, "edge-01", "down"));
    let aside = cluster.folder().join("aside");
    std::fs::rename(&own, &aside).expect("the same disk");
    copy(&copied, &own);
    cluster.demo("start", "edge-01");
    cluster.until("the fork is found", |cluster| {
        cluster
            .node("edge-01")
            .is_some_and(|row| row["findings"].to_string().contains("two histories"))
    });
    check(
        &cluster.must(&["describe", "node", "edge-01"]),
        0,
        &["two histories", "sentinel node rejoin edge-01"],
    );
    check(&cluster.must(&["get", "nodes"]), 0, &["finding"]);
    cluster.demo("stop", "edge-01");

    // One machine gets new keys; its token goes by a file, and the copy is nobody from then on.
    let made = cluster
        .must(&["node", "rejoin", "edge-01", "--reason", "copied", "-o", "json"])
        .json();
    let (hub, pin) = places(&made);
    let file = cluster.folder().join("token");
    std::fs::write(&file, made["token"].as_str().expect("a token")).expect("room");
    let fresh = cluster.folder().join("fresh").display().to_string();
    let file = file.display().to_string();
    let said = agent(
        &["join", &hub, "--token-file", &file, "--ca-pin", &pin, "--state", &fresh],
        "",
    );
    check(&said, 0, &["as edge-01"]);
    cluster.demo("start", "edge-01");
    cluster.until("the copy is told that it is nobody", |cluster| {
        let said = cluster.sentinel(&["get", "nodes", "edge-01", "--local", "-o", "json"]);
        said.code == 0 && said.json()["state"] == "working_alone"
    });
    assert!(!stands(&cluster, "edge-01", "connected"));
}

#[test]
fn a_machine_joins_by_a_token_from_standard_input_and_leaves_again() {
    let mut cluster = Cluster::start(1, &[]);
    let made = cluster
        .must(&[
            "token", "create", "--name", "edge-09", "--site", "lab", "--label", "rack 7", "-o", "json",
        ])
        .json();
    let token = made["token"].as_str().expect("a token").to_owned();
    let (hub, pin) = places(&made);
    let listed = cluster.must(&["token", "list"]);
    check(&listed, 0, &["rack 7", "edge-09", "open"]);
    assert!(!listed.out.contains(&token[4..]), "never the token itself");
    let state = cluster.folder().join("edge-09");
    let folder = state.display().to_string();
    let said = agent(
        &["join", &hub, "--token-file", "-", "--ca-pin", &pin, "--state", &folder],
        &token,
    );
    check(&said, 0, &["joined", "as edge-09 in lab"]);
    check(&cluster.must(&["token", "list"]), 0, &["used", "edge-09"]);
    assert!(cluster.node("edge-09").is_some());
    // Nobody leaves while an agent runs on the folder.
    let running = cluster.state("edge-01").display().to_string();
    check(
        &agent(&["leave", "--state", &running], ""),
        1,
        &["in use by another agent"],
    );
    check(
        &agent(&["leave", "--purge", "--state", &folder], ""),
        0,
        &["edge-09 has left"],
    );
    assert!(!state.exists(), "--purge leaves nothing");
    cluster.until("the hub has forgotten it", |cluster| cluster.node("edge-09").is_none());
    check(&agent(&["leave", "--state", &folder], ""), 1, &["has not joined"]);
    // A token that was made for nothing is made worthless.
    cluster.must(&["token", "create", "--label", "spare"]);
    let spare = cluster.must(&["token", "list", "-o", "json"]).items();
    let id = spare[0]["id"].as_str().expect("an id").to_owned();
    cluster.must(&["token", "revoke", &id]);
    check(&cluster.sentinel(&["token", "revoke", &id]), 5, &["no join token"]);
}

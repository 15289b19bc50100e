//! What a person reads when they, or something, did it wrong: what happened, what was kept, and what to do.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use testbed_e2e::{Cluster, Said, check, program};

/// A join line's address, token and pin.
fn join_line(cluster: &Cluster, more: &[&str]) -> Vec<String> {
    let mut arguments = vec!["token", "create"];
    arguments.extend_from_slice(more);
    let line = cluster.must(&arguments).out;
    let line = line
        .lines()
        .find(|line| line.contains("sentinel-agent join"))
        .expect("a join line")
        .to_owned();
    line.split_whitespace()
        .skip_while(|word| *word != "join")
        .skip(1)
        .map(str::to_owned)
        .collect()
}

fn join(words: &[String], state: &std::path::Path) -> Said {
    Command::new(program("sentinel-agent"))
        .arg("join")
        .args(words)
        .arg("--state")
        .arg(state)
        .output()
        .expect("it starts")
        .into()
}

#[test]
fn every_mistake_is_told_with_its_way_out() {
    let mut cluster = Cluster::start(2, &[]);
    let folder = cluster.folder().to_owned();

    // Tokens.
    let expired = join_line(&cluster, &["--ttl", "1s"]);
    let over = Instant::now() + Duration::from_millis(1_100);
    let good = join_line(&cluster, &["--name", "edge-77", "--site", "site-z"]);
    let mut wrong = good.clone();
    let token = wrong.iter().position(|word| word == "--token").expect("a token") + 1;
    wrong[token] = format!("sjt_{}", "0".repeat(32));
    check(
        &join(&wrong, &folder.join("wrong")),
        1,
        &["token", "sentinel token create"],
    );
    let mut foreign = good.clone();
    let pin = foreign.iter().position(|word| word == "--ca-pin").expect("a pin") + 1;
    foreign[pin] = format!("sha256:{}", "0".repeat(64));
    check(&join(&foreign, &folder.join("foreign")), 1, &["CA"]);
    check(&join(&good, &folder.join("new")), 0, &["edge-77"]);
    check(&join(&good, &folder.join("again")), 1, &["used"]);
    cluster.until("the short token's time is over", |_| Instant::now() > over);
    check(
        &join(&expired, &folder.join("expired")),
        1,
        &["ended", "sentinel token create"],
    );

    // Bundles.
    let bundle = folder.join("bad.yaml");
    fs::write(&bundle, "bundle: bad\nrules:\n  - id: hot\n    kind: treshold\n").expect("a file");
    let path = bundle.to_str().expect("a plain path");
    check(
        &cluster.sentinel(&["policy", "check", path]),
        1,
        &["bad.yaml:4:", "treshold", "threshold"],
    );
    check(&cluster.sentinel(&["policy", "publish", path]), 1, &["treshold"]);

    // Names.
    check(&cluster.sentinel(&["describe", "node", "edge-99"]), 3, &["edge-99"]);
    check(
        &cluster.sentinel(&["why", "edge-01.1.999999"]),
        3,
        &["edge-01.1.999999"],
    );
    check(&cluster.sentinel(&["get", "nonsense"]), 2, &["nonsense"]);
    let act = |to: &str| cluster.sentinel(&["act", "edge-01/gpu0", "power_cap", to, "--reason", "try"]);
    check(&act("to=20 W"), 0, &["clamped", "100 W", "cap-range"]);
    check(&act("to=20 V"), 2, &["20 V"]);
    let unknown = cluster.sentinel(&["act", "edge-01/gpu0", "explode", "--reason", "try"]);
    check(&unknown, 2, &["explode", "power_cap"]);

    // A second agent on one state folder, and a taken port.
    let second: Said = Command::new(program("sentinel-agent"))
        .args(["run", "--state"])
        .arg(cluster.state("edge-01"))
        .output()
        .expect("it starts")
        .into();
    check(&second, 1, &["another"]);
    let context: serde_json::Value =
        serde_json::from_slice(&fs::read(cluster.context()).expect("the context")).expect("JSON");
    let address = context["hub"]
        .as_str()
        .expect("an address")
        .trim_start_matches("https://")
        .to_owned();
    let taken: Said = Command::new(program("sentinel-hub"))
        .args(["run", "--state"])
        .arg(folder.join("second-hub"))
        .args(["--listen", &address])
        .output()
        .expect("it starts")
        .into();
    check(&taken, 5, &["in use", &address]);

    // No hub.
    cluster.demo("stop", "hub");
    check(&cluster.sentinel(&["get", "nodes"]), 6, &["--local"]);
    check(
        &cluster.sentinel(&["get", "nodes", "--local"]),
        0,
        &["edge-01", "edge-02"],
    );
    cluster.demo("start", "hub");
    cluster.until("the nodes are back", |cluster| cluster.connected() == 2);
}

#[test]
fn a_held_node_protects_and_does_nothing_else() {
    let mut cluster = Cluster::start(1, &[]);
    cluster.must(&["hold", "edge-01", "--reason", "hands inside", "--local"]);
    check(
        &cluster.sentinel(&["act", "edge-01/workload:train", "restart", "--reason", "try"]),
        4,
        &["hold"],
    );
    cluster.demo("heat", "edge-01/gpu0");
    cluster.until("the hot GPU is capped all the same", |cluster| {
        cluster
            .decisions("edge-01", true)
            .iter()
            .any(|row| row["action"] == "power_cap" && row["verdict"] == "allow")
    });
    cluster.must(&["release", "edge-01", "--reason", "done", "--local"]);
    cluster.must(&["act", "edge-01/workload:train", "restart", "--reason", "try again"]);
    cluster.must_be_whole();
}

#[test]
fn a_hold_of_a_node_that_is_cut_off_is_accepted_and_arrives() {
    let mut cluster = Cluster::start(2, &[]);
    for local in [&[][..], &["--local"]] {
        let words = ["act", "edge-01/gpu7", "power_cap", "to=200W", "--reason", "no such GPU"];
        let said = cluster.sentinel(&[&words, local].concat());
        check(&said, 3, &["edge-01 has no `gpu7`; it has gpu0, gpu1"]);
    }
    cluster.demo("cut", "edge-02");
    cluster.until("edge-02 works alone", |cluster| {
        cluster
            .node("edge-02")
            .is_some_and(|row| row["state"] == "working_alone")
    });
    let hold = ["hold", "edge-02", "--reason", "hands inside"];
    check(
        &cluster.sentinel(&hold),
        7,
        &["accepted: hold of edge-02", "working alone", "sentinel wait "],
    );
    let release = [
        "release",
        "edge-02",
        "--reason",
        "never mind",
        "--no-wait",
        "-o",
        "name",
    ];
    let called_off = cluster.must(&release).out.trim().to_owned();
    check(
        &cluster.must(&["cancel", &called_off, "--reason", "changed my mind"]),
        0,
        &["called off"],
    );
    check(&cluster.sentinel(&["wait", &called_off]), 3, &["no command"]);
    cluster.demo("heal", "edge-02");
    cluster.must(&["verify", "--wait"]);
    cluster.until("edge-02 is held, and was not released", |cluster| {
        cluster.node("edge-02").is_some_and(|row| row["held_by"].is_string())
    });
}

//! Turns with real processes: every workload leaks at once, and the nodes restart theirs one after the other.

use serde_json::Value;
use testbed_e2e::{Cluster, Said, check};

const ONE_AT_A_TIME: &str = "\
bundle: turns
permits:
  - kinds: [notify]
  - { kinds: [restart], targets: [workload] }
rules:
  - id: leak
    kind: threshold
    quantity: workload.memory
    above: 100 MiB
    for: 1 s
    then: { action: restart }
    verify: { falls_below: 90 MiB, within: 30 s }
  - { id: one, kind: blast_radius, selector: { kinds: [restart] }, domain: fleet, max_concurrent: { n: 1 } }
";
const NODES: [&str; 3] = ["edge-01", "edge-02", "edge-03"];

/// From when to when a node's restart was under way, by its own journal; `None` until it has ended.
fn restart(cluster: &Cluster, node: &str) -> Option<(String, String)> {
    let mut entries = cluster
        .must(&["get", "entries", "--node", node, "-o", "json", "--limit", "0"])
        .items();
    // Listed newest first; a story is told the other way round.
    entries.reverse();
    let text = |entry: &Value, name: &str| entry[name].as_str().unwrap_or_default().to_owned();
    let decided = entries.iter().position(|entry| {
        entry["kind"] == "decision" && text(entry, "text").contains("restart") && text(entry, "text").contains("llow")
    })?;
    let ended = entries[decided..]
        .iter()
        .find(|entry| entry["kind"] == "outcome" && text(entry, "text").contains("verified"))?;
    Some((text(&entries[decided], "at"), text(ended, "at")))
}

/// A person at the node's own socket wants its workload restarted.
fn act(cluster: &Cluster, node: &str) -> Said {
    let target = format!("{node}/workload:train");
    cluster.sentinel(&["act", &target, "restart", "--reason", "test", "--local"])
}

#[test]
fn nodes_that_leak_together_restart_one_after_the_other() {
    let mut cluster = Cluster::start(NODES.len(), &[]);
    let bundle = cluster.folder().join("turns.yaml");
    std::fs::write(&bundle, ONE_AT_A_TIME).expect("a file");
    cluster.must(&["policy", "publish", &bundle.display().to_string(), "--wait", "all"]);
    let domains = cluster.must(&["get", "domains", "-o", "json"]).items();
    assert_eq!(domains[0]["members"], NODES.len(), "{domains:?}");
    for node in NODES {
        cluster.demo("leak", node);
    }
    let mut spans: Vec<(String, String)> = NODES
        .iter()
        .map(|node| cluster.until_some("its restart to end", |cluster| restart(cluster, node)))
        .collect();
    // RFC 3339 in UTC sorts as text; all nodes have this machine's clock.
    spans.sort();
    for pair in spans.windows(2) {
        assert!(pair[0].1 <= pair[1].0, "{spans:?}");
    }
    // Whoever waited says so, and why it was not its turn.
    let held = NODES.iter().filter(|node| {
        let rows = cluster.decisions(node, false);
        rows.iter().any(|row| row["verdict"] == "hold" && row["rule"] == "one")
    });
    assert!(held.count() >= NODES.len() - 1);

    // A node that no hub reaches is told nothing, and this rule holds what it does not know.
    cluster.demo("cut", "edge-02");
    cluster.until("edge-02 notices", |cluster| {
        let own = cluster
            .must(&["get", "nodes", "edge-02", "--local", "-o", "json"])
            .json();
        own["state"] == "working_alone"
    });
    let said = act(&cluster, "edge-02");
    check(&said, 4, &["by rule one"]);
    // It counts as unhealthy, so it is nobody else's turn.
    cluster.until("edge-02 is missed", |cluster| {
        cluster.must(&["get", "domains", "-o", "json"]).items()[0]["unhealthy"] == 1
    });
    let said = act(&cluster, "edge-01");
    check(&said, 4, &["by rule one"]);
    let waits = cluster.must(&["describe", "node", "edge-01"]);
    check(&waits, 0, &["an action waits for its turn"]);
    // Back, it is healthy again, and the one that waits has its turn.
    cluster.demo("heal", "edge-02");
    cluster.until("edge-01 has its turn", |cluster| act(cluster, "edge-01").code == 0);
    cluster.must_be_whole();
}

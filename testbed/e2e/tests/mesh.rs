//! The agents of a site carry each other: only the path of one to the hub is cut, and the hub still has it.

use testbed_e2e::Cluster;

/// The node as it tells it itself.
fn own(cluster: &Cluster, node: &str) -> serde_json::Value {
    let said = cluster.sentinel(&["get", "nodes", "--local", "--node", node, "-o", "json"]);
    match said.code {
        0 => said.items().remove(0),
        _ => serde_json::Value::Null,
    }
}

fn is_via(cluster: &Cluster, node: &str, via: Option<&str>) -> bool {
    let row = cluster.node(node).unwrap_or_default();
    row["state"] == "connected" && row["via"].as_str() == via
}

#[test]
fn a_node_whose_path_is_cut_is_connected_through_its_neighbour_and_says_so() {
    let mut cluster = Cluster::start(6, &[]);
    cluster.until("the nodes of site-b know of each other", |cluster| {
        ["edge-03", "edge-04"]
            .iter()
            .all(|node| own(cluster, node)["neighbours"][0]["reach"] == "direct")
    });

    cluster.must(&["demo", "cut", "edge-03", "--from", "hub"]);
    cluster.until("edge-03 is connected via edge-04", |cluster| {
        is_via(cluster, "edge-03", Some("edge-04"))
    });
    assert_eq!(own(&cluster, "edge-03")["isolation"], "node");
    assert!(cluster.must(&["get", "nodes"]).out.contains("connected via edge-04"));
}

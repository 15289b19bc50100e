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
    let generation = publish(&cluster, "");
    cluster.until("the carried node has the new policy", |cluster| {
        own(cluster, "edge-03")["policy_generation"] == generation
    });
    cluster.must_be_whole();

    // Policy says who belongs to the site: whoever it does not name is carried no more.
    let alone = "sites: [{ id: site-b, members: { edge-03: \"127.0.0.1:9\" } }]\n";
    publish(&cluster, alone);
    cluster.until("edge-03 has no neighbour any more", |cluster| {
        let alone = own(cluster, "edge-03");
        alone["state"] == "working_alone" && alone["neighbours"][0].is_null()
    });
    cluster.must(&["demo", "heal", "edge-03", "--from", "hub"]);
    publish(&cluster, "");
    cluster.until("the settings count again", |cluster| {
        own(cluster, "edge-03")["neighbours"][0]["reach"] == "direct"
    });
}

#[test]
fn a_site_that_is_cut_off_passes_policy_on_and_comes_back_through_the_first_that_is_healed() {
    let mut cluster = Cluster::start(6, &[]);
    cluster.until("the nodes of site-b know of each other", |cluster| {
        own(cluster, "edge-03")["neighbours"][0]["reach"] == "direct"
    });
    cluster.must(&["demo", "cut", "site-b"]);
    cluster.until("both know that their site is cut off", |cluster| {
        let is_cut = |node| own(cluster, node)["isolation"] == "site";
        is_cut("edge-03") && is_cut("edge-04")
    });

    // A person brings the new policy to one of them.
    let generation = publish(&cluster, "");
    let parcel = cluster.folder().join("new.parcel").display().to_string();
    cluster.must(&["policy", "export", "--out", &parcel]);
    let socket = cluster.state("edge-04").join("agent.sock").display().to_string();
    cluster.must(&["policy", "import", &parcel, "--socket", &socket]);
    cluster.until("the other one got it from its neighbour", |cluster| {
        own(cluster, "edge-03")["policy_generation"] == generation
    });
    assert_eq!(own(&cluster, "edge-03")["isolation"], "site");

    cluster.must(&["demo", "heal", "edge-04", "--from", "hub"]);
    cluster.until("edge-03 comes back through edge-04", |cluster| {
        is_via(cluster, "edge-04", None) && is_via(cluster, "edge-03", Some("edge-04"))
    });
    cluster.must_be_whole();
}

/// Publishes another bundle with these lines; its generation.
fn publish(cluster: &Cluster, lines: &str) -> u64 {
    let path = cluster.folder().join("newer.yaml").display().to_string();
    let text = format!("bundle: newer\npermits: [{{ kinds: [notify, power_cap] }}]\n{lines}");
    std::fs::write(&path, text).expect("a file");
    cluster.must(&["policy", "publish", &path, "--wait", "connected"]);
    let policies = cluster.must(&["get", "policies", "-o", "json"]).items();
    let active = policies
        .iter()
        .find(|row| row["active"] == true)
        .expect("one is active");
    active["generation"].as_u64().expect("a number")
}

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

#[test]
fn two_neighbours_carry_a_node_in_a_row_and_all_of_them_say_so() {
    let mut cluster = Cluster::start(9, &[]);
    let all = ["edge-04", "edge-05", "edge-06"];
    cluster.until("the nodes of site-b know of each other", |cluster| {
        let reach = |node| {
            let neighbours = own(cluster, node)["neighbours"].as_array().cloned().unwrap_or_default();
            neighbours.len() == 2 && neighbours.iter().all(|one| one["reach"] == "direct")
        };
        all.iter().all(|node| reach(node))
    });

    cluster.must(&["demo", "cut", "edge-05", "--from", "hub"]);
    cluster.must(&["demo", "cut", "edge-04", "--from", "edge-06"]);
    cluster.must(&["demo", "cut", "edge-04", "--from", "hub"]);
    cluster.until(
        "edge-04 goes through edge-05, and that one through edge-06",
        |cluster| {
            let path = |node| cluster.node(node).unwrap_or_default()["path"].clone();
            path("edge-05") == serde_json::json!(["edge-06"])
                && path("edge-04") == serde_json::json!(["edge-05", "edge-06"])
        },
    );
    let line = cluster.must(&["describe", "node", "edge-04"]).out;
    assert!(line.contains("edge-05, then edge-06, then the hub"), "{line}");
    // Neighbours tell each other of themselves some seconds apart.
    cluster.until("edge-05 tells of its site as it is", |cluster| {
        let said = cluster.sentinel(&["get", "nodes", "--local", "--node", "edge-05", "-o", "json"]);
        let site = if said.code == 0 { said.items() } else { Vec::new() };
        let told = |name: &str| site.iter().find(|row| row["name"] == name).cloned().unwrap_or_default();
        site.first().is_some_and(|own| own["name"] == "edge-05")
            && told("edge-04")["via"] == "edge-05"
            && told("edge-06")["state"] == "connected"
            && told("edge-06")["told_by"] == "edge-05"
    });
    cluster.must_be_whole();

    for node in ["edge-04", "edge-05"] {
        cluster.must(&["demo", "heal", node, "--from", "hub"]);
    }
    cluster.until("both are on paths of their own again", |cluster| {
        is_via(cluster, "edge-04", None) && is_via(cluster, "edge-05", None)
    });
    cluster.must_be_whole();
}

#[test]
fn a_hub_that_stops_is_away_for_all_and_no_node_takes_it_for_a_cut() {
    let mut cluster = Cluster::start(6, &[]);
    cluster.until("the nodes of site-b know of each other", |cluster| {
        ["edge-03", "edge-04"]
            .iter()
            .all(|node| own(cluster, node)["neighbours"][0]["reach"] == "direct")
    });
    cluster.demo("stop", "hub");
    cluster.until("the nodes of site-b know that the hub is away", |cluster| {
        ["edge-03", "edge-04"]
            .iter()
            .all(|node| own(cluster, node)["isolation"] == "hub")
    });
    let line = cluster.must(&["describe", "node", "edge-03", "--local"]).out;
    assert!(line.contains("the hub is away, for everybody"), "{line}");
    cluster.demo("start", "hub");
    cluster.until("they are back on paths of their own", |cluster| {
        is_via(cluster, "edge-03", None) && is_via(cluster, "edge-04", None)
    });
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

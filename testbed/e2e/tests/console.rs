//! The console in a real Chromium: it opens with a one-time link, shows the fleet, and follows what happens without a reload.

use testbed_e2e::Cluster;
use testbed_e2e::browser::Browser;

#[test]
fn the_console_opens_once_shows_the_fleet_and_follows_a_cut() {
    let mut cluster = Cluster::start(3, &[]);
    let link = cluster.must(&["login"]).out;
    let link = link
        .split_whitespace()
        .find(|word| word.starts_with("https://"))
        .expect("a link")
        .to_owned();
    let browser = Browser::start(1280, 900);
    browser.open(&link);
    browser.until("the fleet", |text| {
        text.contains("All 3 nodes connected") && text.contains("edge-02")
    });
    cluster.demo("cut", "edge-02");
    browser.until("that edge-02 works alone", |text| {
        text.contains("working alone") && text.contains("2 of 3 nodes connected")
    });
    cluster.demo("heat", "edge-02/gpu0");
    cluster.until("edge-02 caps its GPU", |cluster| {
        cluster
            .decisions("edge-02", true)
            .iter()
            .any(|row| row["action"] == "power_cap")
    });
    cluster.demo("heal", "edge-02");
    browser.until("the decision", |text| {
        text.contains("All 3 nodes connected") && text.contains("220 W")
    });

    // The policy's page: what its rules decided, and when changes are frozen.
    let home = browser
        .script("return location.origin")
        .as_str()
        .unwrap_or_default()
        .to_owned();
    browser.open(&format!("{home}/policies"));
    browser.until("counts and the calendar of freezes", |text| {
        text.contains("decision was made by this generation")
            && text.contains("year-end")
            && text.contains("Europe/Berlin")
    });
    assert_eq!(browser.errors(), Vec::<String>::new());

    // The link works once.
    let second = Browser::start(800, 600);
    second.open(&link);
    second.until("how to get a new link", |text| text.contains("sentinel login"));

    // A node serves its own page without the hub.
    let context: serde_json::Value =
        serde_json::from_slice(&std::fs::read(cluster.context()).expect("the context")).expect("JSON");
    let page = context["nodes"]["edge-02"]["page"]
        .as_str()
        .expect("the node's page")
        .to_owned();
    cluster.demo("stop", "hub");
    browser.open(&page);
    browser.until("the node's own page", |text| {
        text.contains("edge-02") && text.contains("220 W")
    });
}

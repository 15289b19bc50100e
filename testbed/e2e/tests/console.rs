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
        text.to_lowercase().contains("all 3 nodes connected") && text.contains("220 W")
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

/// A rule that every GPU breaks all the time, and that only tells of it.
const WARM: &str = "\
bundle: warm
permits: [{ kinds: [notify] }]
rules:
  - { id: warm, kind: threshold, quantity: gpu.temperature, above: 30 °C, for: 1 s, then: [{ action: notify, message: it is warm }] }
";

#[test]
fn what_is_broken_is_said_first_and_the_tabs_of_a_browser_share_one_stream() {
    let mut cluster = Cluster::start(2, &[]);
    let path = cluster.folder().join("warm.yaml");
    std::fs::write(&path, WARM).expect("a file");
    cluster.must(&["policy", "publish", &path.display().to_string()]);
    let link = cluster.must(&["login"]).out;
    let link = link
        .split_whitespace()
        .find(|word| word.starts_with("https://"))
        .expect("a link");
    let browser = Browser::start(1400, 900);
    browser.open(link);
    let page = browser.until("what is broken, first", |text| {
        text.contains("above its limit of 30 °C, and not capped") && text.contains("broken")
    });
    let (broken, site) = (
        page.find("broken").expect("said"),
        page.find("site-").unwrap_or(usize::MAX),
    );
    assert!(broken < site, "the broken ones stand before every site: {page}");
    assert_eq!(browser.script("return document.title"), "(2) Fleet · Sentinel");
    let home = browser.script("return location.origin");
    let home = home.as_str().expect("an origin");

    // A browser opens six connections to a server at most: the eighth tab lives all the same.
    for _ in 0..7 {
        browser.tab(&format!("{home}/nodes/edge-01"));
        browser.until("the node, live", |text| {
            text.contains("live") && text.contains("edge-01 is connected")
        });
    }
    let streams = browser.script(
        "return performance.getEntriesByType('resource').filter((entry) => entry.name.endsWith('/api/v1/stream')).length",
    );
    assert_eq!(streams, 0, "the last tab has no stream of its own");
    browser.close_tabs();
    browser.open(&format!("{home}/"));

    // A hub that starts again signs nobody out.
    cluster.demo("kill", "hub");
    browser.until("that the link is lost", |text| {
        text.contains("no link for") || text.contains("connecting")
    });
    cluster.until("the hub is back", |cluster| cluster.connected() == 2);
    browser.until("the fleet again, without signing in", |text| {
        text.contains("live") && text.contains("all 2 nodes connected")
    });

    // A generation has a page, and a drag on a chart an address.
    browser.open(&format!("{home}/policies/1"));
    browser.until("the first generation", |text| {
        text.contains("Generation") && text.contains("replaced")
    });
    browser.open(&format!("{home}/nodes/edge-01?from=1000&to=61000"));
    browser.until("the marked part of the past", |text| {
        text.contains("times in") && text.contains("✕")
    });
}

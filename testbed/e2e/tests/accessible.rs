//! The console for everybody: axe-core looks at every page, wide and narrow, light and dark, and finds nothing serious.

use serde_json::Value;
use testbed_e2e::Cluster;
use testbed_e2e::browser::Browser;

/// As the console's own packages have it.
const AXE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../hub/console/node_modules/axe-core/axe.min.js"
);

/// Every page that has no thing of its own in its address, and one of each kind that has.
const PAGES: [&str; 22] = [
    "",
    "nodes/edge-01",
    "decisions",
    "policies",
    "policies/1",
    "plans",
    "brains",
    "tasks",
    "clusters",
    "workloads",
    "placement",
    "placement?gpus=1",
    "scaling",
    "rollouts",
    "integrations",
    "domains",
    "calendar",
    "access",
    "audit",
    "login",
    "setup",
    "status",
];

/// What axe found, in one line for each finding.
fn findings(found: &Value) -> Vec<String> {
    let rows = found.as_array().cloned().unwrap_or_default();
    let line = |row: &Value| format!("{} ({}): {}", row["id"], row["impact"], row["where"]);
    rows.iter().map(line).collect()
}

#[test]
fn no_page_has_a_serious_finding_in_any_width_or_theme() {
    let axe = std::fs::read_to_string(AXE).expect("axe-core is there: `cargo xtask test console` installs it");
    let cluster = Cluster::start(2, &[]);
    let mut all = Vec::new();
    for (width, height) in [(1400, 900), (400, 800)] {
        let link = cluster.must(&["login"]).out;
        let link = link
            .split_whitespace()
            .find(|word| word.starts_with("https://"))
            .expect("a link");
        let browser = Browser::start(width, height);
        browser.open(link);
        browser.until("the fleet", |text| text.contains("All 2 nodes connected"));
        let home = browser
            .script("return location.origin")
            .as_str()
            .expect("an origin")
            .to_owned();
        for theme in ["light", "dark"] {
            for page in PAGES {
                browser.open(&format!("{home}/{page}"));
                browser.until("something", |text| text.trim().len() > 20);
                browser.script(&format!("document.documentElement.dataset.theme = '{theme}'"));
                browser.script(&axe);
                let found = browser.eventually(
                    "axe.run(document, { resultTypes: ['violations'] }).then((result) => done(result.violations \
                     .filter((row) => row.impact === 'serious' || row.impact === 'critical') \
                     .map((row) => ({ id: row.id, impact: row.impact, where: row.nodes.slice(0, 3).map((node) => node.html.slice(0, 200)).join(' | ') }))))",
                );
                let told = findings(&found);
                all.extend(told.iter().map(|line| format!("/{page}, {width} px, {theme}: {line}")));
            }
        }
    }
    assert!(all.is_empty(), "{}", all.join("\n"));
}

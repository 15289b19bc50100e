//! What the running hub exposes: every name in a panel or a rule, and every name in the handbook. `SENTINEL_WRITE_REFERENCE=1` writes
//! the handbook's page anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use testbed_e2e::Cluster;

/// Names that belong to others, each with whose they are.
const OTHERS: &[(&str, &str)] = &[
    ("up", "Prometheus"),
    ("ALERTS", "Prometheus"),
    ("pg_up", "postgres_exporter"),
    ("vllm:e2e_request_latency_seconds_bucket", "vLLM"),
    ("vllm:num_requests_running", "vLLM"),
    ("vllm:num_requests_waiting", "vLLM"),
];

/// The hub's pages, and a sentence on each.
const PAGES: [(&str, &str); 2] = [
    (
        "/metrics",
        "The hub and the fleet in counts; anyone who reaches the port may read it.",
    ),
    (
        "/api/v1/metrics",
        "The latest values of every node and GPU; for a bearer token.",
    ),
];

#[test]
fn panels_rules_and_handbook_name_what_a_running_hub_exposes() {
    let mut cluster = Cluster::start(2, &[]);
    cluster.until("a reading of a GPU is at the hub", |cluster| {
        scrape(cluster, "/api/v1/metrics").contains("hw_temperature_celsius{")
    });
    let bundle = cluster.folder().join("strict.yaml");
    fs::write(&bundle, "bundle: strict\npermits:\n  - kinds: [throttle]\nrules: []\n").expect("a file");
    cluster.must(&["policy", "publish", &bundle.display().to_string(), "--wait", "all"]);
    // At the node's own socket: the hub would not even send it.
    let denied = cluster.sentinel(&["act", "edge-01", "notify", "message=hi", "--reason", "test", "--local"]);
    testbed_e2e::check(&denied, 4, &["denied by rule permits"]);
    cluster.until("the denial is counted", |cluster| {
        scrape(cluster, "/metrics").contains("sentinel_policy_violations_total{type=\"notify\"} 1\n")
    });
    let pages = PAGES.map(|(path, about)| (path, about, scrape(&cluster, path)));
    promtool_accepts(&pages[0].2);
    promtool_accepts(&pages[1].2);

    let mut exposed: BTreeSet<String> = pages.iter().flat_map(|(.., text)| samples(text)).collect();
    // What waits for its first series: a hub without a topic has no row of one.
    exposed.extend(pages.iter().flat_map(|(.., text)| declared(text)));
    let mut missing = Vec::new();
    for (place, expression) in expressions() {
        let theirs = |name: &String| OTHERS.iter().any(|(other, _)| other == name);
        for name in names(&expression).into_iter().filter(|name| !theirs(name)) {
            if !exposed.contains(&name) {
                missing.push(format!("{place}: {name}"));
            }
        }
    }
    assert!(missing.is_empty(), "nobody exposes {missing:#?}; exposed: {exposed:#?}");

    let reference = repository().join("hub/handbook/src/reference/metrics.md");
    let expected = page(&pages);
    if std::env::var_os("SENTINEL_WRITE_REFERENCE").is_some() {
        fs::write(&reference, &expected).expect("the page is written");
    }
    let found = fs::read_to_string(&reference).expect("the page is there");
    assert!(
        found == expected,
        "reference/metrics.md is old: run this test with SENTINEL_WRITE_REFERENCE=1"
    );
}

#[test]
fn names_are_what_is_left_of_an_expression() {
    let found = names(
        "sum by (le, job) (rate(a_total{x=\"b_c\",y=~\"d\"}[5m])) / on (z) group_left (w) e or absent(f) > bool 1e3",
    );
    assert_eq!(found, ["a_total", "e", "f"].map(str::to_owned).into());
}

fn scrape(cluster: &Cluster, path: &str) -> String {
    let context: Value =
        serde_json::from_slice(&fs::read(cluster.state("hub").join("admin.json")).expect("a context")).expect("JSON");
    let text = |name: &str| context[name].as_str().unwrap_or_default().to_owned();
    let ca = cluster.folder().join("hub-ca.pem");
    fs::write(&ca, text("ca_pem")).expect("the CA is written");
    let output = Command::new("curl")
        .args(["--silent", "--fail", "--cacert"])
        .arg(&ca)
        .args(["--header", &format!("Authorization: Bearer {}", text("token"))])
        .arg(format!("{}{path}", text("hub")))
        .output()
        .expect("curl starts");
    assert!(output.status.success(), "{path}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

fn promtool_accepts(page: &str) {
    let mut child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .expect("promtool starts");
    let mut stdin = child.stdin.take().expect("it was asked for a pipe");
    std::io::Write::write_all(&mut stdin, page.as_bytes()).expect("it reads");
    drop(stdin);
    // Exit status 3: it parsed the page and has an opinion on style, for example on a name that is the original's.
    let status = child.wait().expect("it ends");
    assert!(matches!(status.code(), Some(0 | 3)), "{status}");
}

/// The names of all gauges that a page declares, whether it has a value of them or not.
fn declared(text: &str) -> Vec<String> {
    let families = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let gauges = families.filter_map(|family| family.strip_suffix(" gauge"));
    gauges.map(str::to_owned).collect()
}

/// The names of all samples of a page.
fn samples(page: &str) -> Vec<String> {
    page.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['{', ' ']).next())
        .map(str::to_owned)
        .collect()
}

/// The handbook's page: every family with its kind and its help, as the pages say.
fn page(pages: &[(&str, &str, String)]) -> String {
    let mut out = String::from(
        "# Metrics\n\nWhat a running hub exposes, in Prometheus' text format or OpenMetrics, whichever the scraper asks for.\n",
    );
    for (path, about, text) in pages {
        let _ = write!(
            out,
            "\n## {path}\n\n{about}\n\n| family | kind | what it is |\n|---|---|---|\n"
        );
        let mut kinds = BTreeMap::new();
        for line in text.lines() {
            if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
                kinds.insert(name, kind);
            } else if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
                let _ = writeln!(out, "| `{name}` | {} | {help} |", kinds[name]);
            }
        }
    }
    out
}

/// Every expression of dashboards and rules, with its place.
fn expressions() -> Vec<(String, String)> {
    let folder = repository().join("charts/observability");
    let mut all = Vec::new();
    for entry in fs::read_dir(folder.join("dashboards")).expect("dashboards") {
        let path = entry.expect("readable").path();
        let dashboard: Value = serde_json::from_slice(&fs::read(&path).expect("a file")).expect("JSON");
        let name = dashboard["uid"].as_str().unwrap_or_default().to_owned();
        for panel in dashboard["panels"].as_array().expect("panels") {
            for target in panel["targets"].as_array().into_iter().flatten() {
                all.push((name.clone(), target["expr"].as_str().expect("text").to_owned()));
            }
        }
        for variable in dashboard["templating"]["list"].as_array().expect("variables") {
            if let Some(query) = variable["definition"].as_str() {
                let series = query
                    .trim_start_matches("label_values(")
                    .rsplit_once(',')
                    .expect("a label")
                    .0;
                all.push((name.clone(), series.to_owned()));
            }
        }
    }
    let rules = fs::read_to_string(folder.join("rules/alerts.yaml")).expect("rules");
    let mut lines = rules.lines().map(str::trim);
    while let Some(line) = lines.next() {
        if let Some(expression) = line.strip_prefix("expr: ") {
            // A block's one line follows.
            let expression = if expression == "|" {
                lines.next().expect("a block")
            } else {
                expression
            };
            all.push(("alerts".to_owned(), expression.to_owned()));
        }
    }
    assert!(all.len() > 60, "only {} expressions were found", all.len());
    all
}

/// The names of series in a PromQL expression: its words without functions, keywords, labels, strings and ranges.
fn names(expression: &str) -> BTreeSet<String> {
    const KEYWORDS: [&str; 9] = [
        "by",
        "without",
        "on",
        "ignoring",
        "group_left",
        "group_right",
        "and",
        "or",
        "unless",
    ];
    let mut found = BTreeSet::new();
    let mut rest = expression;
    let mut labels_follow = false;
    while let Some(c) = rest.chars().next() {
        match c {
            '{' => rest = after(rest, '}'),
            '[' => rest = after(rest, ']'),
            '"' => rest = after(&rest[1..], '"'),
            '(' if labels_follow => {
                labels_follow = false;
                rest = after(rest, ')');
            }
            c if c.is_ascii_alphabetic() || c == '_' => {
                let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
                let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                let (word, behind) = rest.split_at(end);
                let called = behind.trim_start().starts_with('(');
                labels_follow = KEYWORDS[..6].contains(&word);
                if !called && word != "bool" && !KEYWORDS.contains(&word) && !is_aggregation(word, behind) {
                    found.insert(word.to_owned());
                }
                rest = behind;
            }
            c if c.is_ascii_digit() => {
                let end = rest
                    .find(|c: char| !c.is_ascii_alphanumeric() && c != '.')
                    .unwrap_or(rest.len());
                rest = &rest[end..];
            }
            c => rest = &rest[c.len_utf8()..],
        }
    }
    found
}

/// `sum by (x) (…)`: the word before `by` is no series.
fn is_aggregation(word: &str, behind: &str) -> bool {
    let next = behind.split_whitespace().next().unwrap_or_default();
    ["sum", "avg", "max", "min", "count", "topk"].contains(&word) && matches!(next, "by" | "without")
}

fn after(text: &str, end: char) -> &str {
    text.split_once(end).map_or("", |(_, rest)| rest)
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

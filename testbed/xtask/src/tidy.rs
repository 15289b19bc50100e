//! Checks who imports whom, from cargo's own metadata, and where files lie.
//!
//! The levels are the plan of the building: a package may name packages of lower levels only, plus the exceptions listed with it.
//! Nothing outside `testbed` names a testbed package. The pure levels name no package that could reach a clock, a disk or a socket.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::shell::{command, output, root};

/// Package, its level, and the packages of the same level that it may name.
const LEVELS: &[(&str, u8, &[&str])] = &[
    ("wire", 0, &[]),
    ("policy", 1, &[]),
    ("policy-trust", 1, &[]),
    ("policy-execution", 1, &[]),
    ("firmware-profiles", 1, &[]),
    ("edge-agent-core", 2, &[]),
    ("hub-core", 2, &[]),
    ("hub-brain", 2, &[]),
    ("wire-transport", 3, &[]),
    ("wire-inframind", 3, &[]),
    ("wire-files", 3, &[]),
    ("wire-http", 3, &[]),
    ("hub-kafka", 3, &[]),
    ("hub-kube", 3, &[]),
    ("hub-remediation-sdk", 3, &[]),
    ("edge-agent-gpu-probe", 3, &[]),
    ("edge-agent", 4, &[]),
    ("hub", 4, &[]),
    ("hub-ctl", 4, &[]),
    ("hub-patchbot", 4, &[]),
];

/// A shell that may name less than its level allows: the only house packages that it names.
const ONLY: &[(&str, &[&str])] = &[
    ("hub-ctl", &["wire", "wire-files", "policy", "firmware-profiles"]),
    (
        "edge-agent",
        &[
            "wire",
            "policy",
            "firmware-profiles",
            "wire-transport",
            "wire-files",
            "wire-http",
            "edge-agent-core",
        ],
    ),
    (
        "hub",
        &[
            "wire",
            "policy",
            "policy-trust",
            "wire-transport",
            "wire-inframind",
            "wire-files",
            "wire-http",
            "hub-core",
            "hub-brain",
            "hub-kafka",
            "hub-kube",
            "hub-remediation-sdk",
        ],
    ),
    ("hub-patchbot", &["wire", "wire-files", "hub-remediation-sdk"]),
    ("wire-transport", &["wire"]),
    ("wire-inframind", &["wire"]),
    ("wire-files", &[]),
    ("wire-http", &["wire"]),
    ("hub-kafka", &["wire"]),
    ("hub-kube", &["wire"]),
    ("hub-remediation-sdk", &["wire"]),
    ("edge-agent-gpu-probe", &["wire"]),
    (
        "edge-agent-core",
        &["wire", "policy", "policy-execution", "firmware-profiles"],
    ),
    (
        "hub-core",
        &[
            "wire",
            "policy",
            "policy-trust",
            "policy-execution",
            "firmware-profiles",
        ],
    ),
    ("hub-brain", &["wire"]),
    ("policy-trust", &["wire"]),
    ("policy-execution", &["wire"]),
    ("policy", &["wire"]),
    ("firmware-profiles", &[]),
    ("wire", &[]),
];

/// What levels 0 to 2 never name.
const IMPURE: &[&str] = &[
    "tokio",
    "quinn",
    "redb",
    "tokio-postgres",
    "tonic",
    "kube",
    "axum",
    "nvml-wrapper",
    "sysinfo",
    "opentelemetry",
    "rustix",
    "rand",
    "getrandom",
    "reqwest",
    "hyper",
    "mio",
    "libc",
    "nix",
];

/// The feature that compiles planted bugs in, and the one package that may switch it on. It is never built in one cargo call with
/// a program that ships, because cargo joins the features of a call.
const PLANTED: (&str, &str) = ("planted", "testbed-sim");

/// Folders at the top.
const TOP: &[&str] = &[
    "edge-agent",
    "hub",
    "wire",
    "policy",
    "firmware-profiles",
    "charts",
    "testbed",
];

/// `cargo xtask tidy`.
pub fn run() -> Result<(), String> {
    let text = output(command("cargo").args(["metadata", "--format-version", "1", "--no-deps"]))?;
    let metadata: Value =
        serde_json::from_str(&text).map_err(|cause| format!("cannot read cargo's metadata: {cause}"))?;
    let mut problems = imports(&packages(&metadata));
    problems.extend(planted(&metadata));
    problems.extend(top_level());
    if problems.is_empty() {
        return Ok(());
    }
    Err(format!("the building is not as planned:\n  {}", problems.join("\n  ")))
}

/// Each package with the names of its ordinary dependencies.
fn packages(metadata: &Value) -> BTreeMap<String, Vec<String>> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    list(&metadata["packages"])
        .iter()
        .map(|package| {
            let dependencies = list(&package["dependencies"])
                .iter()
                .filter(|dependency| dependency["kind"].is_null())
                .map(|dependency| text(&dependency["name"]))
                .collect();
            (text(&package["name"]), dependencies)
        })
        .collect()
}

fn imports(packages: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    let level = |name: &str| {
        LEVELS
            .iter()
            .find(|(known, ..)| *known == name)
            .map(|(_, level, _)| *level)
    };
    let mut problems = Vec::new();
    for (name, dependencies) in packages {
        if name.starts_with("testbed-") {
            continue;
        }
        let Some(own) = level(name) else {
            problems.push(format!(
                "package `{name}` has no level: give it one in testbed/xtask/src/tidy.rs"
            ));
            continue;
        };
        let only = ONLY.iter().find(|(known, _)| known == name).map(|(_, only)| *only);
        for dependency in dependencies {
            if dependency.starts_with("testbed-") {
                problems.push(format!("`{name}` names `{dependency}`: nothing names the testbed"));
            }
            if own <= 2 && IMPURE.contains(&dependency.as_str()) {
                problems.push(format!("`{name}` is pure and names `{dependency}`"));
            }
            if let Some(theirs) = level(dependency) {
                let allowed = theirs < own && only.is_none_or(|only| only.contains(&dependency.as_str()));
                if !allowed {
                    problems.push(format!("`{name}` (level {own}) names `{dependency}` (level {theirs})"));
                }
            }
        }
    }
    problems
}

fn planted(metadata: &Value) -> Vec<String> {
    let (feature, only) = PLANTED;
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let switches_on = |package: &Value| {
        let asked = list(&package["dependencies"]);
        let defaults = list(&package["features"]["default"]);
        asked
            .iter()
            .any(|dependency| list(&dependency["features"]).iter().any(|name| name == feature))
            || defaults.iter().any(|name| name == feature)
    };
    list(&metadata["packages"])
        .iter()
        .filter(|package| package["name"] != only && switches_on(package))
        .map(|package| format!("{} switches on `{feature}`: only `{only}` may", package["name"]))
        .collect()
}

fn top_level() -> Vec<String> {
    let tracked = match output(command("git").args(["ls-files", "-z"])) {
        Ok(text) => text,
        // Not a checkout (an unpacked archive): there is nothing to hold against.
        Err(_) => return Vec::new(),
    };
    let folders: std::collections::BTreeSet<&str> = tracked
        .split('\0')
        .filter_map(|path| path.split_once('/'))
        .map(|(folder, _)| folder)
        .collect();
    folders
        .into_iter()
        .filter(|folder| !folder.starts_with('.') && !TOP.contains(folder))
        .map(|folder| {
            format!(
                "`{folder}/` stands at the top of {}: the frame has {}",
                root().display(),
                TOP.join(", ")
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, dependencies: &[&str], expected: &str) {
        let packages = BTreeMap::from([(name.to_owned(), dependencies.iter().map(|d| (*d).to_owned()).collect())]);
        let problems = imports(&packages).join("; ");
        assert!(
            if expected.is_empty() {
                problems.is_empty()
            } else {
                problems.contains(expected)
            },
            "{problems}"
        );
    }

    #[test]
    fn only_the_simulation_plants_bugs() {
        let asks = |name: &str| {
            let text = format!(
                r#"{{"packages": [{{"name": "{name}", "features": {{}}, "dependencies": [{{"features": ["planted"]}}]}}]}}"#
            );
            planted(&serde_json::from_str(&text).expect("JSON")).len()
        };
        assert_eq!((asks("testbed-sim"), asks("edge-agent")), (0, 1));
    }

    #[test]
    fn imports_go_down_only() {
        check("policy", &["wire", "serde"], "");
        check("wire", &["policy"], "names `policy`");
        check("hub-core", &["edge-agent-core"], "names `edge-agent-core`");
        check("edge-agent", &["hub-core"], "names `hub-core`");
        check("hub-ctl", &["wire", "policy", "firmware-profiles"], "");
        check("hub-ctl", &["hub-core"], "names `hub-core`");
        check("edge-agent-core", &["tokio"], "is pure and names `tokio`");
        check("hub", &["testbed-fakes"], "nothing names the testbed");
        check("novel", &[], "has no level");
    }
}

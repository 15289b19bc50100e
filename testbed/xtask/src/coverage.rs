//! `cargo xtask coverage [PACKAGE…]`: how much of the code its unit tests, properties and policy cases run.
//!
//! A build of its own with the compiler's counters, in a folder beside the others; with no name it takes every package but the end-to-end
//! tests, whose programs are other processes. Prints lines, functions and regions by package, and the lines of all of them.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::shell::{command, has, output, prepare, root, run as shell_run};

/// How much of something ran.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Share {
    ran: u64,
    all: u64,
}

impl Share {
    fn add(&mut self, other: Self) {
        self.ran += other.ran;
        self.all += other.all;
    }

    /// In percent with one digit; a package without any has nothing that did not run.
    fn text(self) -> String {
        let permille = (self.ran * 1_000).checked_div(self.all).unwrap_or(1_000);
        format!("{}.{} %", permille / 10, permille % 10)
    }
}

/// Lines, functions and regions of one package.
type Row = [Share; 3];

/// Builds, runs and prints.
pub fn run(arguments: &[String]) -> Result<(), String> {
    component()?;
    let path = crate::setup::path_with_cargo_tool("cargo-llvm-cov")?;
    let tool = |rest: &[&str]| {
        let mut tool = command("cargo");
        tool.env("PATH", &path).arg("llvm-cov").args(rest);
        tool
    };
    let mut tests = tool(&["test", "--quiet", "--no-report", "--lib", "--bins", "--tests"]);
    match arguments {
        [] => tests.args(["--workspace", "--exclude", "testbed-e2e"]),
        packages => tests.args(packages.iter().flat_map(|package| ["-p", package])),
    };
    // What an earlier run counted would be added to this one's.
    prepare(&mut tool(&["clean", "--profraw-only"]))?;
    shell_run(tests.stdout(std::io::stderr()))?;
    let report = output(&mut tool(&["report", "--json", "--summary-only"]))?;
    let report: Value = serde_json::from_str(&report).map_err(|cause| format!("the report is no JSON: {cause}"))?;
    print!("{}", table(&by_package(&report, &root())?, arguments));
    Ok(())
}

/// The compiler's own tools that read its counters.
fn component() -> Result<(), String> {
    if !has("rustup") {
        return Err("coverage needs the component llvm-tools, which rustup brings: see https://rustup.rs".to_owned());
    }
    if output(command("rustup").args(["component", "list", "--installed"]))?.contains("llvm-tools") {
        return Ok(());
    }
    prepare(command("rustup").args(["component", "add", "llvm-tools"]))
}

/// Adds up the files of each package: what stands before `src` or `tests` in a file's path.
fn by_package(report: &Value, root: &Path) -> Result<BTreeMap<String, Row>, String> {
    let files = report["data"][0]["files"]
        .as_array()
        .ok_or("the report names no files")?;
    let mut packages: BTreeMap<String, Row> = BTreeMap::new();
    for file in files {
        let name = file["filename"].as_str().unwrap_or_default();
        let Ok(below) = Path::new(name).strip_prefix(root) else {
            continue;
        };
        let folders = below.iter().map(|part| part.to_string_lossy());
        let package: Vec<_> = folders.take_while(|part| part != "src" && part != "tests").collect();
        let row = packages.entry(package.join("/")).or_default();
        for (share, kind) in row.iter_mut().zip(["lines", "functions", "regions"]) {
            let of = &file["summary"][kind];
            share.add(Share {
                ran: of["covered"].as_u64().unwrap_or(0),
                all: of["count"].as_u64().unwrap_or(0),
            });
        }
    }
    Ok(packages)
}

/// The table, and one line for all of it.
fn table(packages: &BTreeMap<String, Row>, wanted: &[String]) -> String {
    let mut text = format!("{:28} {:>9} {:>9} {:>9}\n", "package", "lines", "functions", "regions");
    let mut all = Row::default();
    for (name, row) in packages {
        let [lines, functions, regions] = row.map(Share::text);
        text += &format!("{name:28} {lines:>9} {functions:>9} {regions:>9}\n");
        all.iter_mut().zip(row).for_each(|(sum, share)| sum.add(*share));
    }
    let of = if wanted.is_empty() {
        "everything"
    } else {
        "these, and what they use of the others"
    };
    text + &format!("coverage {} of {} lines ({of})\n", all[0].text(), all[0].all)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn files_are_added_up_by_package() {
        let file = |name: &str, ran: u64, all: u64| {
            let of = json!({ "count": all, "covered": ran });
            json!({ "filename": name, "summary": { "lines": of, "functions": of, "regions": of } })
        };
        let report = json!({ "data": [{ "files": [
            file("/r/hub/src/run.rs", 8, 10),
            file("/r/hub/src/http/login.rs", 1, 10),
            file("/r/hub/core/src/plans.rs", 3, 4),
            file("/home/crates/serde/src/lib.rs", 0, 99),
        ] }] });
        let found = by_package(&report, Path::new("/r")).expect("a report");
        assert_eq!(found["hub"][0], Share { ran: 9, all: 20 });
        assert_eq!((found.len(), found["hub/core"][0].text().as_str()), (2, "75.0 %"));
        let text = table(&found, &[]);
        assert!(text.ends_with("coverage 50.0 % of 24 lines (everything)\n"), "{text}");
        assert!(by_package(&json!({}), Path::new("/r")).is_err());
    }
}

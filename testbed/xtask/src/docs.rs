//! `cargo xtask docs`: writes the parts of the handbook that come from code, or with `--check` says which are old.
//!
//! The command line's reference is what the programs print for `--help`; the settings' reference is the doc comments of the type that reads
//! them. The lists of routes and of metrics are held by tests of their own, beside what they list.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use crate::package::man;
use crate::shell::root;

const PROGRAMS: [&str; 3] = ["sentinel", "sentinel-hub", "sentinel-agent"];

/// Writes or checks both pages, with the programs in a folder.
pub fn run(programs: &Path, check: bool) -> Result<(), String> {
    let pages = [("cli.md", command_line(programs)?), ("settings.md", settings()?)];
    let mut old = Vec::new();
    for (name, text) in pages {
        let path = root().join("hub/handbook/src/reference").join(name);
        if fs::read_to_string(&path).is_ok_and(|found| found == text) {
            continue;
        }
        if check {
            old.push(name);
        } else {
            fs::write(&path, text).map_err(|cause| format!("cannot write `{}`: {cause}", path.display()))?;
        }
    }
    if old.is_empty() {
        Ok(())
    } else {
        Err(format!(
            "{} in the handbook is not what the code says: run `cargo xtask docs`",
            old.join(", ")
        ))
    }
}

/// `cargo xtask docs [--check] [--programs DIR]`; the programs are those of `cargo build --release` unless a folder is named.
pub fn command_line_entry(arguments: &[String]) -> Result<(), String> {
    let check = arguments.iter().any(|word| word == "--check");
    let named = arguments.iter().skip_while(|word| *word != "--programs").nth(1);
    let folder = named.map_or_else(|| root().join("target/release"), |folder| root().join(folder));
    run(&folder, check)
}

fn command_line(programs: &Path) -> Result<String, String> {
    let mut out = String::from("# The command line\n\nWhat each program prints for `--help`.\n");
    for program in PROGRAMS {
        for help in man::walk(&programs.join(program), program)? {
            let _ = write!(out, "\n## {}\n\n```text\n", help.words.join(" "));
            for line in help.text.trim_end().lines() {
                let _ = writeln!(out, "{}", line.trim_end());
            }
            out.push_str("```\n");
        }
    }
    Ok(out)
}

/// The fields of the agent's settings with their doc comments.
fn settings() -> Result<String, String> {
    let path = root().join("edge-agent/src/config.rs");
    let source = fs::read_to_string(&path).map_err(|cause| format!("cannot read `{}`: {cause}", path.display()))?;
    let mut out = String::from(
        "# Settings\n\nThe agent reads `agent.toml`; a name that is not known is refused with its line. The hub has flags instead: `sentinel-hub run --help`\nin [the command line](cli.md).\n",
    );
    for (kind, title) in [
        ("Config", "agent.toml"),
        ("GpuProbe", "[gpu_probe]"),
        ("FaultSettings", "[faults]"),
        ("Hooks", "[hooks]"),
        ("Workload", "[[workload]]"),
    ] {
        let _ = write!(out, "\n## {title}\n\n| name | what it is |\n|---|---|\n");
        for (name, text) in fields(&source, kind) {
            let _ = writeln!(out, "| `{name}` | {} |", text.replace('|', "\\|"));
        }
    }
    Ok(out)
}

/// The public fields of a struct, in order, each with its doc comment as one line.
fn fields(source: &str, kind: &str) -> Vec<(String, String)> {
    let start = format!("pub struct {kind} {{");
    let mut fields = Vec::new();
    let mut comment = Vec::new();
    let inside = source.lines().skip_while(|line| *line != start).skip(1);
    for line in inside.take_while(|line| *line != "}") {
        let line = line.trim();
        if let Some(text) = line.strip_prefix("///") {
            comment.push(text.trim());
        } else if let Some((name, _)) = line.strip_prefix("pub ").and_then(|rest| rest.split_once(':')) {
            fields.push((name.to_owned(), std::mem::take(&mut comment).join(" ")));
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_with_their_comments() {
        let source = "pub struct A {\n    /// One\n    /// line.\n    #[serde(x)]\n    pub b: u8,\n}\npub struct B {\n    /// No.\n    pub c: u8,\n}\n";
        assert_eq!(fields(source, "A"), [("b".to_owned(), "One line.".to_owned())]);
    }
}

//! A demo for tasks that measure one: started, asked by the command line as a person would ask it, and stopped.
//!
//! Builds the shipping programs with the `release` profile first, unless their folder is named with `--programs`.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::shell::{command, output, prepare, root};

/// Packages of the programs that a demo runs.
const PACKAGES: [&str; 5] = ["testbed-demo", "testbed-fakes", "hub", "edge-agent", "hub-ctl"];
/// How long the first start may take on a busy machine.
const READY_WITHIN: Duration = Duration::from_secs(180);
/// How long a demo may take to stop all that it has started.
const STOPPED_WITHIN: Duration = Duration::from_secs(60);

/// What a task was asked for: `[NUMBER] [--json] [--programs DIR] [--nodes N]`.
#[derive(Debug, PartialEq)]
pub struct Asked {
    /// The number without a name: hours or minutes.
    pub span: f64,
    /// One document on standard output instead of lines for people.
    pub json: bool,
    /// Where the programs are; they are built if it is absent.
    pub programs: Option<PathBuf>,
    /// How many nodes.
    pub nodes: u32,
}

impl Asked {
    /// Reads the words behind a task's name; `span` and `nodes` are what counts where nothing is said.
    pub fn read(arguments: &[String], span: f64, nodes: u32) -> Result<Self, String> {
        let mut asked = Self {
            span,
            json: false,
            programs: None,
            nodes,
        };
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("`{word}` needs a value"));
            match word.as_str() {
                "--json" => asked.json = true,
                "--programs" => asked.programs = Some(root().join(value()?)),
                "--nodes" => {
                    let text = value()?;
                    asked.nodes = text
                        .parse()
                        .ok()
                        .filter(|nodes| (1..=50).contains(nodes))
                        .ok_or(format!("`{text}` is not a number of nodes: 1 to 50"))?;
                }
                number => {
                    asked.span = number
                        .parse()
                        .ok()
                        .filter(|span: &f64| span.is_finite() && *span > 0.0)
                        .ok_or(format!("`{number}` is neither an option nor a positive number"))?;
                }
            }
        }
        Ok(asked)
    }
}

/// A demo that runs; it is stopped when this is dropped.
pub struct Demo {
    child: Child,
    programs: PathBuf,
    folder: PathBuf,
}

impl Demo {
    /// Starts it in `target/NAME`, which is emptied first, and waits until all nodes are connected under a policy.
    pub fn start(name: &str, asked: &Asked) -> Result<Self, String> {
        let programs = match &asked.programs {
            Some(folder) => folder.clone(),
            None => build()?,
        };
        let folder = root().join("target").join(name);
        if folder.exists() {
            std::fs::remove_dir_all(&folder).map_err(|cause| format!("cannot empty {}: {cause}", folder.display()))?;
        }
        let program = programs.join("sentinel-demo");
        let child = Command::new(&program)
            .args([
                "--no-tour",
                "--no-build",
                "--nodes",
                &asked.nodes.to_string(),
                "--state",
            ])
            .arg(&folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .map_err(|cause| format!("cannot start `{}`: {cause}", program.display()))?;
        let mut demo = Self {
            child,
            programs,
            folder,
        };
        demo.wait_for_all(asked.nodes as usize)?;
        Ok(demo)
    }

    fn wait_for_all(&mut self, nodes: usize) -> Result<(), String> {
        let begun = Instant::now();
        let works = |row: &Value| row["state"] == "connected" && row["policy_generation"].as_u64() >= Some(1);
        loop {
            let rows = self.list(&["get", "nodes"]).unwrap_or_default();
            if rows.iter().filter(|row| works(row)).count() == nodes {
                return Ok(());
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("the demo ended ({status}) before its nodes were connected"));
            }
            if begun.elapsed() > READY_WITHIN {
                return Err(format!(
                    "{nodes} nodes are not connected within {} s",
                    READY_WITHIN.as_secs()
                ));
            }
            sleep(Duration::from_millis(500));
        }
    }

    /// Its folder: `hub` and one folder for each node.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The rows of a list of `sentinel`. Fails while the hub does not answer.
    pub fn list(&self, words: &[&str]) -> Result<Vec<Value>, String> {
        let said = self.sentinel(words)?;
        let document: Value = serde_json::from_str(&said).map_err(|cause| format!("`{}`: {cause}", words.join(" ")))?;
        let rows = document["items"].as_array().cloned();
        rows.ok_or(format!("`{}` is no list", words.join(" ")))
    }

    /// One of the demo's own verbs, for example `heat edge-01/gpu0`.
    pub fn do_to(&self, verb: &str, whom: &str) -> Result<(), String> {
        self.sentinel(&["demo", verb, whom]).map(drop)
    }

    fn sentinel(&self, words: &[&str]) -> Result<String, String> {
        let mut command = Command::new(self.programs.join("sentinel"));
        command.arg("--context").arg(self.folder.join("context.json"));
        let said = command
            .args(words)
            .args(["-o", "json"])
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .output()
            .map_err(|cause| format!("cannot start `sentinel`: {cause}"))?;
        match said.status.success() {
            true => Ok(String::from_utf8_lossy(&said.stdout).into_owned()),
            false => Err(String::from_utf8_lossy(&said.stderr).trim().to_owned()),
        }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // It stops its children when asked; one that has ended already needs no asking.
        let asked = output(command("kill").args(["-TERM", &self.child.id().to_string()]));
        let begun = Instant::now();
        while asked.is_ok() && begun.elapsed() < STOPPED_WITHIN {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            sleep(Duration::from_millis(100));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn build() -> Result<PathBuf, String> {
    let mut cargo = command("cargo");
    cargo.args(["build", "--quiet", "--release"]);
    for package in PACKAGES {
        cargo.args(["-p", package]);
    }
    prepare(&mut cargo)?;
    Ok(root().join("target/release"))
}

/// A value with so many digits behind the point.
pub fn rounded(value: f64, digits: i32) -> f64 {
    let factor = 10_f64.powi(digits);
    (value * factor).round() / factor
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Result<Asked, String> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        Asked::read(&words, 2.0, 6)
    }

    #[test]
    fn what_is_asked_is_read_in_any_order() {
        let plain = read(&[]).expect("nothing need be said");
        assert_eq!((plain.span, plain.nodes, plain.json), (2.0, 6, false));
        let asked = read(&["--nodes", "3", "0.5", "--json"]).expect("all of it is known");
        assert_eq!((asked.span, asked.nodes, asked.json), (0.5, 3, true));
        for (words, why) in [
            (&["--nodes"][..], "needs a value"),
            (&["--nodes", "0"], "1 to 50"),
            (&["0"], "positive number"),
            (&["NaN"], "positive number"),
            (&["--fast"], "`--fast`"),
        ] {
            let error = read(words).expect_err("refused");
            assert!(error.contains(why), "{words:?}: {error}");
        }
    }
}

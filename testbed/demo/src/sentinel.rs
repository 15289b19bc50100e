//! Asks through the `sentinel` binary, as the person in the second terminal does: what the demo shows, they can type.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

/// The command line, with this demo's context.
#[derive(Debug, Clone)]
pub struct Sentinel {
    /// The program's file.
    pub program: PathBuf,
    /// The context file.
    pub context: PathBuf,
}

/// What it printed, and how it ended.
#[derive(Debug, Clone)]
pub struct Said {
    /// Exit status.
    pub code: i32,
    /// Standard output, byte for byte.
    pub out: Vec<u8>,
    /// Standard error.
    pub err: String,
}

impl Sentinel {
    /// Runs one line, split at spaces.
    pub fn say(&self, line: &str) -> Result<Said, String> {
        self.run(line.split_whitespace())
    }

    /// Runs it with these arguments.
    pub fn run<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Result<Said, String> {
        let output = Command::new(&self.program)
            .arg("--context")
            .arg(&self.context)
            .args(arguments)
            .stdin(Stdio::null())
            .env("NO_COLOR", "1")
            .output()
            .map_err(|cause| format!("cannot start {}: {cause}", self.program.display()))?;
        Ok(Said {
            code: output.status.code().unwrap_or(-1),
            out: output.stdout,
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Its standard output, if it ended with 0.
    pub fn text(&self, line: &str) -> Result<Vec<u8>, String> {
        let said = self.say(line)?;
        match said.code {
            0 => Ok(said.out),
            code => Err(format!("`sentinel {line}` ended with {code}: {}", said.err.trim())),
        }
    }

    /// The JSON that it prints.
    pub fn json(&self, line: &str) -> Result<Value, String> {
        let text = self.text(&format!("{line} -o json"))?;
        serde_json::from_slice(&text).map_err(|cause| format!("`sentinel {line} -o json` prints no JSON: {cause}"))
    }

    /// The rows of the list that it prints.
    pub fn items(&self, line: &str) -> Result<Vec<Value>, String> {
        match self.json(line)?["items"].take() {
            Value::Array(rows) => Ok(rows),
            other => Err(format!("`sentinel {line}` prints no list but {other}")),
        }
    }
}

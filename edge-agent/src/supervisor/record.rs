//! What is remembered of a workload between two lives of the agent.
//!
//! A record that cannot be read is no record: the process is then started anew.
//! Source: proc_pid_stat(5): field 3 is the state, field 22 the start time in ticks since boot.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use wire::DecisionId;

/// One workload's process, and the restarts that were ordered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The process that was started last.
    pub pid: Option<u32>,
    /// When, in ticks since boot: with the id it names one process.
    pub start_ticks: u64,
    /// On which boot.
    pub boot: String,
    /// How often it was started again.
    pub restarts: u64,
    /// A restart that was begun.
    pub restarting: Option<DecisionId>,
    /// The restart that was completed last.
    pub restarted: Option<DecisionId>,
}

impl Record {
    /// Reads a workload's record; an empty one if there is none.
    pub fn read(folder: &Path, name: &str) -> Self {
        fs::read(path(folder, name))
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default()
    }

    /// Makes it durable.
    pub fn write(&self, folder: &Path, name: &str) -> io::Result<()> {
        wire_files::replace(&path(folder, name), &serde_json::to_vec(self)?)
    }
}

fn path(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.json"))
}

/// When a process was started, in ticks since boot; `None` when there is none, or only its remains.
pub fn start_ticks(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat[stat.rfind(')')? + 1..].split_whitespace();
    match fields.next()? {
        "Z" | "X" => None,
        _ => fields.nth(18)?.parse().ok(),
    }
}

/// Names this boot.
pub fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|text| text.trim().to_owned())
        .unwrap_or_default()
}

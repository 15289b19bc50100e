//! `sentinel-agent support-bundle`: one archive with what somebody needs who helps from afar, and with nothing that is secret.
//!
//! Takes what the agent tells over its socket if one runs, and what this machine shows in any case. Keys, certificates and the journal
//! itself are never read; every text passes `support/redact.rs`.
//!
//! Invariant: what the archive holds was redacted as a whole, by one function, right before it was written.
//! Read next: `support/redact.rs` (what counts as a secret), `support/tar.rs` (the format).

mod redact;
mod tar;

use std::fs;
use std::path::{Path, PathBuf};

use crate::agent::RunError;
use crate::config::{Config, Layers};
use crate::{clock, doctor, scan, socket};

/// What the agent tells of itself: file, and path at its socket.
const TOLD: &[(&str, &str)] = &[
    ("node.json", "/api/v1/nodes"),
    ("decisions.json", "/api/v1/decisions?limit=200"),
    ("entries.json", "/api/v1/entries?limit=500"),
    ("verify.json", "/api/v1/verify"),
    ("policies.json", "/api/v1/policies"),
    ("metrics.txt", "/metrics"),
];
/// What the machine tells: all of it without names of people or their data.
const MACHINE: &[&str] = &[
    "/etc/os-release",
    "/proc/version",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/pressure/cpu",
    "/proc/pressure/io",
    "/proc/pressure/memory",
    "/proc/driver/nvidia/version",
    "/proc/modules",
    "/proc/self/cgroup",
];
/// Where a unit lies, the packaged one last.
const UNITS: &[&str] = &[
    "/etc/systemd/system/sentinel-agent.service",
    "/usr/lib/systemd/system/sentinel-agent.service",
];
/// Bytes of one file: more is cut, and said to be.
const MOST: usize = 2 << 20;

/// Collects everything, and writes it to `out`. Returns the names of its files, for people.
pub fn write(layers: &Layers, out: &Path) -> Result<Vec<String>, RunError> {
    let files = collect(layers);
    let archive = tar::archive(&files, clock::wall());
    // Redacted, and still more than everybody on this machine need know.
    wire_files::create(out, &archive, wire_files::PRIVATE).map_err(|cause| RunError::System {
        what: "write the bundle: name a new file with --out",
        cause,
    })?;
    Ok(files.into_iter().map(|(name, _)| name).collect())
}

/// Name and redacted text of each file.
fn collect(layers: &Layers) -> Vec<(String, Vec<u8>)> {
    let config = &layers.config;
    let mut files: Vec<(String, String)> = vec![
        ("about.txt".to_owned(), about(config)),
        ("settings.txt".to_owned(), layers.show(true)),
        ("doctor.txt".to_owned(), doctor::text(&doctor::examine(config))),
        ("scan.txt".to_owned(), scan::look(config).0),
        ("state-folder.txt".to_owned(), listing(&config.state_dir)),
    ];
    let socket = config.socket();
    for (name, path) in TOLD {
        let text = match socket::get(&socket, path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) => format!("not told: {error}\n"),
        };
        files.push((format!("agent/{name}"), text));
    }
    for path in MACHINE.iter().chain(UNITS) {
        if let Ok(bytes) = fs::read(path) {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            files.push((format!("machine{path}"), text));
        }
    }
    files
        .into_iter()
        .map(|(name, text)| (name, cut(redact::redacted(&text)).into_bytes()))
        .collect()
}

fn about(config: &Config) -> String {
    format!(
        "sentinel-agent {}\nmade at {}\nstate folder {}\nboot {}\nSecrets were taken out before this was written; look through it \
         all the same before it leaves your hands.\n",
        env!("CARGO_PKG_VERSION"),
        clock::wall(),
        config.state_dir.display(),
        clock::boot_id(),
    )
}

/// Names, sizes and modes, never contents.
fn listing(folder: &Path) -> String {
    let mut lines = Vec::new();
    let mut folders: Vec<PathBuf> = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) => {
                lines.push(format!("{}: {error}", folder.display()));
                continue;
            }
        };
        for entry in entries.flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions());
            lines.push(format!("{mode:06o} {:>12} {}", metadata.len(), entry.path().display()));
            if metadata.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    lines.sort();
    lines.push(String::new());
    lines.join("\n")
}

fn cut(mut text: String) -> String {
    if text.len() > MOST {
        text.truncate(text.floor_char_boundary(MOST));
        text.push_str("\n… cut here\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_tells_much_and_no_secret() {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = folder.path().join("agent.toml");
        let canaries = ["hunter2-env", "hunter2-flag", "hunter2-url", "hunter2-file"];
        let text = format!(
            "state_dir = \"state\"\nkernel_log = \"kmsg\"\n[gpu_probe]\nenabled = false\n[[workload]]\nname = \"train\"\n\
             command = [\"train\", \"--api-key={}\", \"--data\", \"https://me:{}@host/x\"]\nenv = {{ HF_TOKEN = \"{}\", MODE = \"fast\" }}\n",
            canaries[1], canaries[2], canaries[0]
        );
        fs::write(&settings, text).expect("written");
        fs::write(folder.path().join("kmsg"), "").expect("written");
        fs::create_dir_all(folder.path().join("state/identity")).expect("made");
        fs::write(folder.path().join("state/identity/key"), canaries[3]).expect("written");
        let layers = Layers::read(&settings).expect("valid");
        let out = folder.path().join("bundle.tar");
        let names = write(&layers, &out).expect("written");
        assert!(names.iter().any(|name| name == "agent/node.json"), "{names:?}");
        let bytes = fs::read(&out).expect("there");
        let whole = String::from_utf8_lossy(&bytes);
        for canary in canaries {
            assert!(!whole.contains(canary), "{canary} is in the archive");
        }
        for part in [
            "identity/key",
            "state_dir",
            "MODE",
            "fast",
            "not told: ",
            "hub: this node has not joined",
        ] {
            assert!(whole.contains(part), "{part} is not in the archive");
        }
        assert!(write(&layers, &out).is_err(), "nothing is overwritten");
    }
}

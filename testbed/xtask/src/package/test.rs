//! `cargo xtask package-test`: the packages in real Debian roots, as an administrator handles them.
//!
//! Each root is made by debootstrap once and copied for the test. In it the packages are installed, the hub and the agent are started by
//! the commands of their units as the units' users, an agent joins by the line that the hub prints, everything is upgraded with settings
//! that were changed, removed, and purged; then the root is compared with what it was. What a chroot cannot show is systemd itself: the
//! units' hardening is what `systemd-analyze security` says of them.
//!
//! Needs root, and Debian's mirror the first time.

pub mod chroot;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::shell::{command, output, root, run};
use chroot::Chroot;

/// The Debian releases: 12 and 13.
const RELEASES: [&str; 2] = ["bookworm", "trixie"];
/// The most that `systemd-analyze security` may say of a unit, in tenths.
const EXPOSURE: &str = "35";
/// A second version, so that there is something to upgrade to.
const NEXT: &str = concat!(env!("CARGO_PKG_VERSION"), "+1");

/// `cargo xtask package-test [--programs DIR]`.
pub fn run_all(arguments: &[String]) -> Result<(), String> {
    if output(command("id").arg("-u"))?.trim() != "0" {
        return Err("a Debian root can be made and entered by root only".to_owned());
    }
    let programs = super::programs(arguments)?;
    let first = super::debs(&programs, env!("CARGO_PKG_VERSION"), super::THROWN_AWAY)?;
    let next = super::debs(&programs, NEXT, super::THROWN_AWAY)?;
    let mut passed = 0;
    for unit in ["sentinel-hub.service", "sentinel-agent.service"] {
        run(command("systemd-analyze")
            .args(["security", "--offline=true", "--no-pager", "--threshold", EXPOSURE])
            .arg(super::packaging(unit))
            .stdout(std::process::Stdio::null()))?;
        verify(unit)?;
        passed += 2;
    }
    for release in RELEASES {
        let begun = Instant::now();
        let root = Chroot::of(release)?;
        passed += life(&root, &first, &next).map_err(|reason| format!("{release}: {reason}"))?;
        println!(
            "✓ {release}: installed, run, upgraded, removed, purged in {} s",
            begun.elapsed().as_secs()
        );
    }
    println!("{passed} passed, 0 failed, 0 skipped");
    Ok(())
}

/// systemd's own reading of a unit. A value that it does not understand is a line that it prints, and no failure of its own.
fn verify(unit: &str) -> Result<(), String> {
    let source = super::packaging(unit);
    let text =
        std::fs::read_to_string(&source).map_err(|cause| format!("cannot read `{}`: {cause}", source.display()))?;
    // The programs are not installed on the machine that looks.
    let words = text
        .split_inclusive(char::is_whitespace)
        .map(|word| match word.contains("/usr/bin/sentinel-") {
            true => word.replace(word.trim_end().rsplit('=').next().unwrap_or_default(), "/bin/true"),
            false => word.to_owned(),
        });
    let folder = root().join("target/units");
    let copy = folder.join(unit);
    let write = || {
        std::fs::create_dir_all(&folder)?;
        std::fs::write(&copy, words.collect::<String>())
    };
    write().map_err(|cause| format!("cannot write `{}`: {cause}", copy.display()))?;
    let found = command("systemd-analyze")
        .args(["verify", "--man=no"])
        .arg(&copy)
        .output()
        .map_err(|cause| format!("cannot start systemd-analyze: {cause}"))?;
    match String::from_utf8_lossy(&found.stderr).trim() {
        "" if found.status.success() => Ok(()),
        said => Err(format!("systemd does not take {unit} as it is: {said}")),
    }
}

/// One root's whole story; returns how many steps held.
fn life(root: &Chroot, first: &[PathBuf], next: &[PathBuf]) -> Result<u64, String> {
    let before = files(root.path())?;
    let mut story = Story::default();

    root.dpkg("--install", first)?;
    story.step("installed", root.run(&["sentinel-hub", "--version"]))?;
    story.step(
        "the settings can be read",
        root.run(&["sentinel-agent", "check", "--config", "/etc/sentinel/agent.toml"]),
    )?;
    story.step("PatchBot answers", root.run(&["sentinel-patchbot", "--version"]))?;
    story.step("the man page is found", root.exists("usr/share/man/man1/sentinel.1.gz"))?;
    story.step(
        "the completion is found",
        root.exists("usr/share/bash-completion/completions/sentinel"),
    )?;

    // A free port instead of 7443, which this machine may use already: the change that the upgrade has to keep.
    root.edit("etc/sentinel/hub.env", "127.0.0.1:7443", "127.0.0.1:0")?;
    root.edit("etc/sentinel/agent.toml", "64 MiB", "32 MiB")?;
    let hub = root.service("sentinel-hub", "ready https://")?;
    let sentinel = |rest: &[&str]| {
        let mut words = vec!["sentinel", "--context", "/var/lib/sentinel-hub/admin.json"];
        words.extend_from_slice(rest);
        // The context is the hub's: nobody else may use its token, not even root.
        root.run_as("sentinel-hub", &words)
    };
    story.step("the hub answers", sentinel(&["get", "nodes"]))?;
    let told = sentinel(&["token", "create", "--site", "lab", "-o", "json"])?;
    let told: serde_json::Value = serde_json::from_str(&told).map_err(|cause| format!("{cause}: {told}"))?;
    let line: Vec<&str> = told["join_line"]
        .as_str()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    story.step(
        "the machine joins by the printed line",
        root.run_as("sentinel-agent", &line),
    )?;
    let agent = root.service("sentinel-agent", "")?;
    story.step(
        "the node is connected",
        until(|| connected(&sentinel(&["get", "nodes", "-o", "json"])?)),
    )?;
    story.step("the agent stops when asked", agent.stop())?;
    story.step("the hub stops when asked", hub.stop())?;

    root.dpkg("--install", next)?;
    story.step(
        "the upgrade keeps settings",
        root.contains("etc/sentinel/hub.env", "127.0.0.1:0"),
    )?;
    let hub = root.service("sentinel-hub", "ready https://")?;
    story.step(
        "the upgraded hub knows its node",
        listed(&sentinel(&["get", "nodes", "-o", "json"])?),
    )?;
    story.step("and stops", hub.stop())?;

    let names = ["sentinel-hub", "sentinel-agent", "sentinel-cli", "sentinel-patchbot"];
    root.dpkg_names("--remove", &names)?;
    story.step(
        "removing keeps the state",
        root.exists("var/lib/sentinel-hub/admin.json"),
    )?;
    story.step("removing takes the program", root.lacks("usr/bin/sentinel-hub"))?;
    root.dpkg_names("--purge", &names)?;
    let after = files(root.path())?;
    let left: Vec<&String> = after.difference(&before).collect();
    let gone: Vec<&String> = before.difference(&after).collect();
    story.step(
        "purging leaves nothing behind",
        if left.is_empty() && gone.is_empty() {
            Ok(())
        } else {
            Err(format!("left {left:?}, took {gone:?}"))
        },
    )?;
    Ok(story.held)
}

#[derive(Default)]
struct Story {
    held: u64,
}

impl Story {
    fn step<T>(&mut self, sentence: &str, result: Result<T, String>) -> Result<(), String> {
        result.map_err(|reason| format!("{sentence}: {reason}"))?;
        self.held += 1;
        Ok(())
    }
}

/// Asks until it holds; the last reason counts when it does not in time.
fn until(mut check: impl FnMut() -> Result<(), String>) -> Result<(), String> {
    let begun = Instant::now();
    loop {
        match check() {
            Err(reason) if begun.elapsed() > chroot::PATIENCE => return Err(reason),
            // Each look starts a program, which is pause enough.
            Err(_) => {}
            Ok(()) => return Ok(()),
        }
    }
}

fn connected(nodes: &str) -> Result<(), String> {
    listed(nodes)?;
    if nodes.contains("\"connected\"") {
        Ok(())
    } else {
        Err(nodes.to_owned())
    }
}

fn listed(nodes: &str) -> Result<(), String> {
    let json: serde_json::Value = serde_json::from_str(nodes).map_err(|cause| cause.to_string())?;
    match json["items"].as_array().map(Vec::len) {
        Some(1) => Ok(()),
        _ => Err(nodes.to_owned()),
    }
}

/// Every path of a root, and the users and groups, without what dpkg itself keeps of its past.
fn files(folder: &Path) -> Result<BTreeSet<String>, String> {
    let listed = output(
        command("find")
            .current_dir(folder)
            .args([".", "-xdev", "-printf", "%P\\n"]),
    )?;
    let own = [
        "var/lib/dpkg/",
        "var/log/",
        "var/cache/",
        "tmp/",
        "proc/",
        "etc/passwd-",
        "etc/group-",
        "etc/shadow-",
        "etc/gshadow-",
        "etc/.pwd.lock",
        "etc/subuid-",
        "etc/subgid-",
    ];
    let mut all: BTreeSet<String> = listed
        .lines()
        .filter(|path| !own.iter().any(|own| path.starts_with(own)))
        .map(str::to_owned)
        .collect();
    for file in ["etc/passwd", "etc/group"] {
        let text = super::read(&folder.join(file))?;
        all.extend(text.lines().map(|line| format!("{file}: {line}")));
    }
    Ok(all)
}

/// Where roots are kept.
fn roots() -> PathBuf {
    root().join("target/debian-roots")
}

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

/// The Debian releases, each with its glibc: 12 and 13.
const RELEASES: [(&str, (u32, u32)); 2] = [("bookworm", (2, 36)), ("trixie", (2, 41))];
/// The most that `systemd-analyze security` may say of a unit, in tenths.
const EXPOSURE: &str = "35";
/// A second version, so that there is something to upgrade to.
const NEXT: &str = concat!(env!("CARGO_PKG_VERSION"), "+1");

/// What held, and what this machine cannot show.
#[derive(Debug, Clone, Copy, Default)]
pub struct Held {
    /// Sentences that hold.
    pub passed: u64,
    /// Releases that were left out; the output says why.
    pub skipped: u64,
}

/// `cargo xtask package-test [--programs DIR]`: of what `dist` builds unless a folder is named.
pub fn run_all(arguments: &[String]) -> Result<(), String> {
    if !is_root()? {
        return Err("a Debian root can be made and entered by root only".to_owned());
    }
    let Held { passed, skipped } = of(&super::programs(arguments)?)?;
    println!("{passed} passed, 0 failed, {skipped} skipped");
    Ok(())
}

/// The same with the programs of a folder; without root only what needs none.
pub fn of(programs: &Path) -> Result<Held, String> {
    let mut held = Held::default();
    for unit in ["sentinel-hub.service", "sentinel-agent.service"] {
        run(command("systemd-analyze")
            .args(["security", "--offline=true", "--no-pager", "--threshold", EXPOSURE])
            .arg(super::packaging(unit))
            .stdout(std::process::Stdio::null()))?;
        verify(unit)?;
        held.passed += 2;
    }
    if !is_root()? {
        println!("Debian roots and images are left out: they can be made and entered by root only");
        held.skipped = 1 + RELEASES.len() as u64;
        return Ok(held);
    }
    let begun = Instant::now();
    let first = super::debs(programs, env!("CARGO_PKG_VERSION"), super::THROWN_AWAY)?;
    let archive = super::archive(&super::stage(), &super::out(), env!("CARGO_PKG_VERSION"), "-0")?;
    let next = super::debs(programs, NEXT, super::THROWN_AWAY)?;
    super::say_sizes(&first)?;
    super::say_sizes(std::slice::from_ref(&archive))?;
    println!(
        "✓ packed twice in {} s, quickly; what is shipped is packed tighter",
        begun.elapsed().as_secs()
    );
    let oldest = glibc_of(programs)?;
    for (release, glibc) in RELEASES {
        if oldest > glibc {
            println!(
                "{release} is left out: these programs were linked against the newer glibc {oldest:?}; `dist` builds some for every Linux"
            );
            held.skipped += 1;
            continue;
        }
        let begun = Instant::now();
        let root = Chroot::of(release)?;
        held.passed += life(&root, &first, &next, &archive).map_err(|reason| format!("{release}: {reason}"))?;
        println!(
            "✓ {release}: installed, run, upgraded, removed, purged in {} s",
            begun.elapsed().as_secs()
        );
    }
    held.passed += super::images::check(programs)?;
    Ok(held)
}

fn is_root() -> Result<bool, String> {
    Ok(output(command("id").arg("-u"))?.trim() == "0")
}

/// The oldest glibc with which programs of this folder start: 0.0 if they are static.
pub fn glibc_of(programs: &Path) -> Result<(u32, u32), String> {
    let mut oldest = (0, 0);
    for package in &super::PACKAGES {
        let told = output(
            command("readelf")
                .args(["--wide", "--version-info"])
                .arg(programs.join(package.program.0)),
        )?;
        oldest = told.split_whitespace().filter_map(glibc_version).fold(oldest, Ord::max);
    }
    Ok(oldest)
}

/// `GLIBC_2.34` as two numbers.
fn glibc_version(word: &str) -> Option<(u32, u32)> {
    let (major, minor) = word.strip_prefix("GLIBC_")?.split_once('.')?;
    Some((major.parse().ok()?, minor.split('.').next()?.parse().ok()?))
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
fn life(root: &Chroot, first: &[PathBuf], next: &[PathBuf], archive: &Path) -> Result<u64, String> {
    let before = files(root.path())?;
    let mut story = Story::default();

    timed("installed", || root.dpkg("--install", first))?;
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

    timed("upgraded", || root.dpkg("--install", next))?;
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
    timed("purged", || root.dpkg_names("--purge", &names))?;
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

    timed("unpacked the archive", || {
        run(command("tar")
            .args(["--keep-directory-symlink", "-xJf"])
            .arg(archive)
            .arg("-C")
            .arg(root.path()))
    })?;
    for program in ["sentinel-hub", "sentinel-agent", "sentinel", "sentinel-patchbot"] {
        story.step("a program of the archive starts", root.run(&[program, "--version"]))?;
    }
    story.step(
        "the archive has the units",
        root.exists("usr/lib/systemd/system/sentinel-hub.service"),
    )?;
    Ok(story.held)
}

/// Does it, and says how long it took.
fn timed(what: &str, work: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    let begun = Instant::now();
    work()?;
    println!("  {what} in {:.1} s", begun.elapsed().as_secs_f64());
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_glibc_are_compared_as_numbers() {
        assert_eq!(glibc_version("GLIBC_2.34"), Some((2, 34)));
        assert_eq!(glibc_version("GLIBC_2.2.5"), Some((2, 2)));
        assert_eq!(glibc_version("GLIBC_PRIVATE"), None);
        assert!(glibc_version("GLIBC_2.4") < glibc_version("GLIBC_2.36"));
    }
}

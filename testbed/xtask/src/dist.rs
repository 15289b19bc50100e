//! Builds what ships: static executables that run on any Linux of this architecture.
//!
//! The agent has the GPU probe inside. That one is dynamic, because a static program cannot open a driver's library, and is linked
//! against glibc 2.17, so that it starts wherever a driver of the last ten years does.

use std::path::{Path, PathBuf};

use crate::setup;
use crate::shell::{command, output, root, run as shell_run};

/// The oldest glibc that the GPU probe starts on: that of Red Hat 7, which drivers still support.
const GLIBC: &str = "2.17";

/// Which programs each profile builds: the agent small, the rest fast. Each row is a cargo call of its own, so that no package
/// switches on features of another.
const PROGRAMS: &[(&str, &str, &[&str])] = &[
    ("dist-agent", "edge-agent", &["sentinel-agent"]),
    ("dist", "hub", &["sentinel-hub"]),
    ("dist", "hub-ctl", &["sentinel"]),
    (
        "dist",
        "testbed-fakes",
        &["sentinel-fake-gpu", "sentinel-fake-workload"],
    ),
];

/// Builds agent, hub, command line and the benchmarks' fakes into `target/dist-out`, and returns that folder.
///
/// The target is named explicitly so that build scripts and macros stay dynamic, while the programs are static.
pub fn build() -> Result<PathBuf, String> {
    let host = host()?;
    let out = root().join("target/dist-out");
    std::fs::create_dir_all(&out).map_err(|cause| format!("cannot make `{}`: {cause}", out.display()))?;
    let probe = probe(&host, &out)?;
    for (profile, package, programs) in PROGRAMS {
        shell_run(
            command("cargo")
                .env("RUSTFLAGS", "-C target-feature=+crt-static")
                .env("SENTINEL_GPU_PROBE", &probe)
                .args(["build", "--profile", profile, "--target", &host, "-p", package]),
        )?;
        for program in *programs {
            let from = root().join("target").join(&host).join(profile).join(program);
            std::fs::copy(&from, out.join(program))
                .map_err(|cause| format!("cannot copy `{}`: {cause}", from.display()))?;
        }
    }
    Ok(out)
}

/// Builds the GPU probe with a linker that knows old glibc versions, and returns its path.
fn probe(host: &str, out: &Path) -> Result<PathBuf, String> {
    const PROGRAM: &str = "sentinel-gpu-probe";
    let zig = setup::zig()?;
    let target = format!("{host}.{GLIBC}");
    let zigbuild = zig.join("cargo-zigbuild").display().to_string();
    shell_run(command(&zigbuild).env("PATH", setup::path_with(&zig)).args([
        "zigbuild",
        "--profile",
        "dist-agent",
        "--target",
        &target,
        "-p",
        "edge-agent-gpu-probe",
    ]))?;
    let from = root().join("target").join(host).join("dist-agent").join(PROGRAM);
    let to = out.join(PROGRAM);
    std::fs::copy(&from, &to).map_err(|cause| format!("cannot copy `{}`: {cause}", from.display()))?;
    Ok(to)
}

/// `cargo xtask dist`.
pub fn run() -> Result<(), String> {
    let out = build()?;
    for program in ["sentinel-gpu-probe", "sentinel-agent", "sentinel-hub", "sentinel"] {
        let path = out.join(program);
        let size = std::fs::metadata(&path).map_err(|cause| format!("cannot look at `{}`: {cause}", path.display()))?;
        println!("{} {:.1} MB", path.display(), size.len() as f64 / 1e6);
    }
    Ok(())
}

fn host() -> Result<String, String> {
    let text = output(command("rustc").arg("-vV"))?;
    text.lines()
        .find_map(|line| line.strip_prefix("host: "))
        .map(str::to_owned)
        .ok_or_else(|| "`rustc -vV` names no host".to_owned())
}

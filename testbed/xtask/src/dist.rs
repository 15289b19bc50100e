//! Builds what ships: static executables that run on any Linux of this architecture.

use std::path::PathBuf;

use crate::shell::{command, output, root, run as shell_run};

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
    for (profile, package, programs) in PROGRAMS {
        shell_run(
            command("cargo")
                .env("RUSTFLAGS", "-C target-feature=+crt-static")
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

/// `cargo xtask dist`.
pub fn run() -> Result<(), String> {
    let out = build()?;
    for program in ["sentinel-agent", "sentinel-hub", "sentinel"] {
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

//! Builds what ships: static executables that run on any Linux of this architecture.

use crate::shell::{command, output, root};

/// Builds agent, hub and command line with the `dist` profile into `target/dist-out`.
///
/// The target is named explicitly so that build scripts and macros stay dynamic, while the programs are static.
pub fn build() -> Result<std::path::PathBuf, String> {
    let host = host()?;
    crate::shell::run(
        command("cargo")
            .env("RUSTFLAGS", "-C target-feature=+crt-static")
            .args(["build", "--profile", "dist", "--target", &host])
            .args(["-p", "edge-agent", "-p", "hub", "-p", "hub-ctl", "-p", "testbed-fakes"]),
    )?;
    Ok(root().join("target").join(host).join("dist"))
}

/// `cargo xtask dist`.
pub fn run() -> Result<(), String> {
    let built = build()?;
    let out = root().join("target/dist-out");
    std::fs::create_dir_all(&out).map_err(|cause| format!("cannot make `{}`: {cause}", out.display()))?;
    for program in ["sentinel-agent", "sentinel-hub", "sentinel"] {
        let (from, to) = (built.join(program), out.join(program));
        let bytes = std::fs::copy(&from, &to).map_err(|cause| format!("cannot copy `{}`: {cause}", from.display()))?;
        println!("{} {:.1} MB", to.display(), bytes as f64 / 1e6);
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

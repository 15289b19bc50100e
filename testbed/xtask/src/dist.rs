//! Builds what ships: static executables that run on any Linux of this architecture.
//!
//! The agent has the GPU probe inside. That one is dynamic, because a static program cannot open a driver's library, and is linked
//! against glibc 2.17, so that it starts wherever a driver of the last ten years does.

use std::path::{Path, PathBuf};

use crate::package::test::chroot::pristine;
use crate::setup;
use crate::shell::{command, output, prepare, root};

/// The oldest glibc that the GPU probe starts on: that of Red Hat 7, which drivers still support.
const GLIBC: &str = "2.17";

/// Which programs each profile builds: the agent small, the rest fast. Each row is a cargo call of its own, so that no package
/// switches on features of another.
const PROGRAMS: &[(&str, &str, &[&str])] = &[
    ("dist-agent", "edge-agent", &["sentinel-agent"]),
    ("dist", "hub", &["sentinel-hub"]),
    ("dist", "hub-ctl", &["sentinel"]),
    ("dist", "hub-patchbot", &["sentinel-patchbot"]),
    (
        "dist",
        "testbed-fakes",
        &["sentinel-fake-gpu", "sentinel-fake-workload"],
    ),
];

/// Builds agent, hub, command line, PatchBot and the benchmarks' fakes into `target/dist-out`, and returns that folder.
pub fn build() -> Result<PathBuf, String> {
    build_some(|_| true)
}

/// As [`build`], with the library that plays a GPU driver.
pub fn build_for_benches() -> Result<PathBuf, String> {
    let out = build()?;
    old_glibc(&host()?, "testbed-fakes-nvml", "libnvidia_ml_fake.so", &out)?;
    Ok(out)
}

/// Builds the packages that are wanted, and returns the folder.
///
/// The target is named explicitly so that build scripts and macros stay dynamic, while the programs are static.
fn build_some(wanted: impl Fn(&str) -> bool) -> Result<PathBuf, String> {
    let host = host()?;
    let out = root().join("target/dist-out");
    std::fs::create_dir_all(&out).map_err(|cause| format!("cannot make `{}`: {cause}", out.display()))?;
    let probe = probe(&host, &out)?;
    for (profile, package, programs) in PROGRAMS.iter().filter(|(_, package, _)| wanted(package)) {
        prepare(
            command("cargo")
                .env("RUSTFLAGS", static_flags()?)
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

/// What makes a program static: on a glibc that knows how, with the relocations of its constants packed, which takes half a megabyte
/// less.
fn static_flags() -> Result<String, String> {
    /// The first glibc whose static programs unpack them (`DT_RELR`).
    const PACKED: (u32, u32) = (2, 36);
    let told = output(command("getconf").arg("GNU_LIBC_VERSION"))?;
    let version = told.trim().rsplit(' ').next().and_then(|text| text.split_once('.'));
    let version = version.and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
    let packed = match version {
        Some(found) if found >= PACKED => " -C link-arg=-Wl,-z,pack-relative-relocs",
        Some(_) | None => "",
    };
    Ok(format!("-C target-feature=+crt-static{packed}"))
}

/// Builds the GPU probe, and returns its path.
fn probe(host: &str, out: &Path) -> Result<PathBuf, String> {
    old_glibc(host, "edge-agent-gpu-probe", "sentinel-gpu-probe", out)
}

/// Builds a package with a linker that knows old versions of glibc, and returns where its file was put.
fn old_glibc(host: &str, package: &str, file: &str, out: &Path) -> Result<PathBuf, String> {
    let zig = setup::zig()?;
    let target = format!("{host}.{GLIBC}");
    let zigbuild = zig.join("cargo-zigbuild").display().to_string();
    prepare(command(&zigbuild).env("PATH", setup::path_with(&zig)).args([
        "zigbuild",
        "--profile",
        "dist-agent",
        "--target",
        &target,
        "-p",
        package,
    ]))?;
    let from = root().join("target").join(host).join("dist-agent").join(file);
    let to = out.join(file);
    std::fs::copy(&from, &to).map_err(|cause| format!("cannot copy `{}`: {cause}", from.display()))?;
    Ok(to)
}

/// `cargo xtask dist [--check | PACKAGE…]`.
pub fn command_line(arguments: &[String]) -> Result<(), String> {
    if arguments == ["--check"] {
        return check();
    }
    let known = |name: &String| PROGRAMS.iter().any(|(_, package, _)| package == name);
    if let Some(unknown) = arguments.iter().find(|name| !known(name)) {
        let names: Vec<&str> = PROGRAMS.iter().map(|(_, package, _)| *package).collect();
        return Err(format!(
            "no such package `{unknown}`; what ships is {}",
            names.join(", ")
        ));
    }
    let wanted = |package: &str| arguments.is_empty() || arguments.iter().any(|name| name == package);
    let out = build_some(wanted)?;
    for (_, _, programs) in PROGRAMS.iter().filter(|(_, package, _)| wanted(package)) {
        programs
            .iter()
            .try_for_each(|program| say_size(&out, program).map(drop))?;
    }
    say_size(&out, PROBE).map(drop)
}

/// The GPU probe's program.
const PROBE: &str = "sentinel-gpu-probe";
/// Debian 11, 12 and 13, with glibc 2.31, 2.36 and 2.41.
const RELEASES: [&str; 3] = ["bullseye", "bookworm", "trixie"];
/// The most that the agent may have without its probe: what it has today, and a little room. It grows only on purpose.
const AGENT_BYTES: u64 = 10_500_000;

/// Builds the agent, and runs it as people do: in roots of three Debians with a GPU driver's library, and where there is nothing at all.
fn check() -> Result<(), String> {
    let out = build_some(|package| package == "edge-agent")?;
    old_glibc(&host()?, "testbed-fakes-nvml", "libnvidia_ml_fake.so", &out)?;
    let probe = say_size(&out, PROBE)?;
    let agent = say_size(&out, "sentinel-agent")?;
    if agent - probe > AGENT_BYTES {
        return Err(format!(
            "the agent has {} bytes without its probe; the most is {AGENT_BYTES}",
            agent - probe
        ));
    }
    let roots: Vec<String> = RELEASES
        .iter()
        .map(|release| Ok(pristine(release)?.display().to_string()))
        .collect::<Result<_, String>>()?;
    prepare(
        command("cargo")
            .env("SENTINEL_DIST", &out)
            .env("SENTINEL_ROOTS", roots.join(":"))
            .args(["test", "--release", "-p", "testbed-e2e", "--features", "dist"])
            .args(["--test", "gpu_box", "the_file_that_ships"]),
    )
}

/// Prints a program's size and returns it.
fn say_size(out: &Path, program: &str) -> Result<u64, String> {
    let path = out.join(program);
    let size = std::fs::metadata(&path).map_err(|cause| format!("cannot look at `{}`: {cause}", path.display()))?;
    println!("{} {:.2} MB", path.display(), size.len() as f64 / 1e6);
    Ok(size.len())
}

fn host() -> Result<String, String> {
    let text = output(command("rustc").arg("-vV"))?;
    text.lines()
        .find_map(|line| line.strip_prefix("host: "))
        .map(str::to_owned)
        .ok_or_else(|| "`rustc -vV` names no host".to_owned())
}

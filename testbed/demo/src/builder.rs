//! Has cargo build the programs that ship, beside this one, and shows on one line how far it is.
//!
//! Never builds in another folder or profile than this program's own, so that what runs is exactly what was built.

use std::ffi::OsString;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::options::Options;
use crate::screen::Screen;
use crate::signals::Stop;

const PACKAGES: [&str; 4] = ["hub", "edge-agent", "hub-ctl", "testbed-fakes"];

/// And with `--with-kube` or `--with-forge`.
const SERVICES: &str = "testbed-services";
/// And with `--with-forge`.
const PATCHBOT: &str = "hub-patchbot";

/// Without a terminal, how often to say that it still builds.
const STILL_BUILDING: Duration = Duration::from_secs(10);

/// Files of the programs.
#[derive(Debug, Clone)]
pub struct Programs {
    /// `sentinel-hub`.
    pub hub: PathBuf,
    /// `sentinel-agent`.
    pub agent: PathBuf,
    /// `sentinel`.
    pub sentinel: PathBuf,
    /// `sentinel-fake-gpu`.
    pub gpu: PathBuf,
    /// `sentinel-fake-workload`.
    pub workload: PathBuf,
    /// `sentinel-control-plane`, if it is wanted.
    pub control_plane: Option<PathBuf>,
    /// `sentinel-forge` and `sentinel-patchbot`, if they are wanted.
    pub forge: Option<(PathBuf, PathBuf)>,
}

/// Builds them unless `--no-build` was given, and says where they are.
pub fn programs(options: &Options, screen: &Screen, stop: &Stop) -> Result<Programs, String> {
    let own = std::env::current_exe().map_err(|cause| format!("cannot find this program: {cause}"))?;
    let folder = own.parent().unwrap_or(Path::new(".")).to_owned();
    if options.build {
        screen.note("sentinel demo: building hub, agent, command line and fakes ...");
        build(&folder, options, screen, stop)?;
        screen.happened("built", &format!("by cargo, in {}", short(&folder)));
    } else {
        screen.note(&format!("sentinel demo: using the programs in {}", short(&folder)));
    }
    let program = |name: &str| {
        let path = folder.join(name);
        match path.is_file() {
            true => Ok(path),
            false => Err(format!(
                "{} is not there; build it with `cargo build --release -p {}`",
                path.display(),
                PACKAGES.join(" -p ")
            )),
        }
    };
    Ok(Programs {
        hub: program("sentinel-hub")?,
        agent: program("sentinel-agent")?,
        sentinel: program("sentinel")?,
        gpu: program("sentinel-fake-gpu")?,
        workload: program("sentinel-fake-workload")?,
        control_plane: options.kube.then(|| program("sentinel-control-plane")).transpose()?,
        forge: match options.forge {
            true => Some((program("sentinel-forge")?, program("sentinel-patchbot")?)),
            false => None,
        },
    })
}

/// A path as the person would type it here.
pub fn short(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here).unwrap_or(path).display().to_string()
}

/// How a person types `sentinel` so that it acts on the demo with this context; `None`: it is found without being named.
pub fn typed(sentinel: &str, context: Option<&Path>) -> String {
    match context {
        Some(context) => format!("{sentinel} --context {}", context.display()),
        None => sentinel.to_owned(),
    }
}

fn build(folder: &Path, options: &Options, screen: &Screen, stop: &Stop) -> Result<(), String> {
    let mut child = command(folder, options)?
        .spawn()
        .map_err(|cause| format!("cannot start cargo: {cause}; is Rust installed?"))?;
    let said = follow(&mut child, screen, stop);
    let status = child
        .wait()
        .map_err(|cause| format!("cannot wait for cargo: {cause}"))?;
    match (status.success(), stop.wanted()) {
        (true, false) => Ok(()),
        (_, true) => Err("stopped".to_owned()),
        (false, false) => Err(format!("cargo could not build the programs ({status}):\n{said}")),
    }
}

fn command(folder: &Path, options: &Options) -> Result<Command, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .filter(|root| root.join("Cargo.toml").is_file())
        .ok_or("the sources that this program was built from are gone; use --no-build with programs beside it")?;
    // A target folder has one folder for each profile, named like it, except `debug`.
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    let target = folder.parent().unwrap_or(folder);
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(cargo);
    command
        .current_dir(root)
        .args(["build", "--profile", profile, "--target-dir"])
        .arg(target)
        .env("CARGO_TERM_PROGRESS_WHEN", "always")
        .env("CARGO_TERM_PROGRESS_WIDTH", "100")
        .env("CARGO_TERM_COLOR", "never")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let services = (options.kube || options.forge).then_some(SERVICES);
    let patchbot = options.forge.then_some(PATCHBOT);
    for package in PACKAGES.into_iter().chain(services).chain(patchbot) {
        command.args(["-p", package]);
    }
    Ok(command)
}

/// Shows cargo's progress until it ends; returns everything else that it said.
fn follow(child: &mut Child, screen: &Screen, stop: &Stop) -> String {
    let pid = Pid::from_child(child);
    let Some(mut stderr) = child.stderr.take() else {
        return String::new();
    };
    let (mut said, mut line, mut buffer) = (String::new(), Vec::new(), [0; 4096]);
    let mut told = Instant::now();
    let mut asked = false;
    while let Ok(length @ 1..) = stderr.read(&mut buffer) {
        for byte in &buffer[..length] {
            if !matches!(byte, b'\r' | b'\n') {
                line.push(*byte);
                continue;
            }
            let text = String::from_utf8_lossy(&line).into_owned();
            line.clear();
            match progress(&text) {
                Some(progress) => {
                    let text = format!("  {progress}");
                    if !screen.live(&text) && told.elapsed() >= STILL_BUILDING {
                        told = Instant::now();
                        screen.note(&text);
                    }
                }
                None => keep(&text, &mut said),
            }
        }
        if stop.wanted() && !asked {
            // Ctrl-C reaches cargo by the terminal; other signals do not.
            asked = true;
            let _already_gone = kill_process(pid, Signal::TERM);
        }
    }
    said
}

/// `building 37/212 redb, quinn` of `    Building [====>    ] 37/212: redb, quinn`.
fn progress(line: &str) -> Option<String> {
    let line = line.trim_start();
    if line.starts_with("Blocking ") {
        return Some("waiting for another cargo that builds here".to_owned());
    }
    let (_, rest) = line.strip_prefix("Building [")?.split_once("] ")?;
    let (count, crates) = rest.split_once(':').unwrap_or((rest, ""));
    count
        .contains('/')
        .then(|| format!("building {} {}", count.trim(), crates.trim()))
}

/// Keeps what tells of a failure; the list of what was compiled does not.
fn keep(line: &str, said: &mut String) {
    let noise = [
        "Compiling ",
        "Finished ",
        "Blocking ",
        "Downloaded ",
        "Downloading ",
        "Updating ",
        "Fresh ",
    ];
    let text = line.trim_start();
    if !text.is_empty() && !noise.iter().any(|word| text.starts_with(word)) {
        said.push_str(line);
        said.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printed_commands_act_on_the_demo_that_printed_them() {
        let context = Path::new("/tmp/b/context.json");
        assert_eq!(typed("sentinel", None), "sentinel");
        assert_eq!(
            typed("sentinel", Some(context)),
            "sentinel --context /tmp/b/context.json"
        );
    }

    #[test]
    fn cargos_progress_becomes_one_short_line() {
        for (line, expected) in [
            (
                "    Building [=====>      ] 37/212: redb, quinn",
                Some("building 37/212 redb, quinn"),
            ),
            (
                "    Blocking waiting for file lock on build directory",
                Some("waiting for another cargo that builds here"),
            ),
            ("   Compiling redb v4.6.0", None),
            ("error: could not compile `hub`", None),
        ] {
            assert_eq!(progress(line).as_deref(), expected, "{line}");
        }
        let mut said = String::new();
        keep("   Compiling redb v4.6.0", &mut said);
        keep("error[E0308]: mismatched types", &mut said);
        assert_eq!(said, "error[E0308]: mismatched types\n");
    }
}

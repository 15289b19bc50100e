//! The verbs that a person types: try the sandbox, repair from a log, run a certificate again.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use hub_patchbot::agent::Agent;
use hub_patchbot::certificate::{self, Certificate};
use hub_patchbot::classify;
use hub_patchbot::den::Den;
use hub_patchbot::fixers;
use hub_patchbot::keys;
use hub_patchbot::repair::{Request, repair};
use hub_patchbot::sandbox::{Level, Sandbox, tool_folders};
use hub_remediation_sdk::client::Client;

/// Wall-clock limit of each command.
const LIMIT: Duration = Duration::from_secs(600);

/// The sandbox, with the folders of every fixer's program that this machine has.
fn probe() -> Sandbox {
    let mut programs: Vec<&str> = fixers::all()
        .iter()
        .map(|fixer| fixer.program.as_str())
        .filter(|name| !name.is_empty())
        .collect();
    programs.extend(["go", "node", "rustc"]);
    Sandbox::probe(tool_folders(&programs))
}

/// `run`.
pub fn run(hub: &str, ca: &Path, token_file: &Path, key: &Path, work: Option<&Path>) -> ExitCode {
    let read = |path: &Path| {
        std::fs::read_to_string(path).map_err(|cause| format!("cannot read `{}`: {cause}", path.display()))
    };
    let start = || -> Result<(), String> {
        let client = Client::new(hub, read(token_file)?.trim(), &read(ca)?).map_err(|cause| cause.to_string())?;
        let folder = work.map_or_else(|| beside(key), Path::to_owned);
        let key = keys::load_or_make(key).map_err(|cause| cause.to_string())?;
        let den = Den::open(&folder, hub).map_err(|cause| {
            format!(
                "cannot work in `{}`: {cause}: name another folder with --work",
                folder.display()
            )
        })?;
        // Copies belong where the next start finds and removes them.
        tempfile::env::override_temp_dir(&den.copies())
            .map_err(|other| format!("copies go to `{}` already", other.display()))?;
        let stop = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
            signal_hook::flag::register(signal, Arc::clone(&stop)).map_err(|cause| cause.to_string())?;
        }
        let sandbox = probe();
        let known = |level: Level| {
            println!("ready {level:?}");
            // Nobody reads it: then nobody waits for it either.
            let _ = std::io::stdout().flush();
        };
        Agent::new(client, sandbox, key, den)
            .run(&stop, known)
            .map_err(|cause| cause.to_string())
    };
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => failed(&reason),
    }
}

/// `KEY.work`.
fn beside(key: &Path) -> PathBuf {
    let mut name = key.file_name().unwrap_or_default().to_owned();
    name.push(".work");
    key.with_file_name(name)
}

/// `sandbox`.
pub fn sandbox(json: bool) -> ExitCode {
    let sandbox = probe();
    let report = sandbox.report();
    if json {
        println!("{}", serde_json::to_string(report).expect("plain members"));
    } else {
        for act in &report.acts {
            println!("{} {}", if act.blocked { "blocked" } else { "OPEN   " }, act.name);
        }
        let blocked = report.acts.iter().filter(|act| act.blocked).count();
        println!(
            "level {:?}: {blocked} of {} forbidden acts blocked {}",
            report.level,
            report.acts.len(),
            report.reason
        );
    }
    if report.level == Level::L3 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// `fix`.
pub fn fix(
    log: &Path,
    repository: &Path,
    command: Option<&str>,
    (fork, snapshots): (bool, bool),
    key: &Path,
) -> ExitCode {
    let bytes = match std::fs::read(log) {
        Ok(bytes) => bytes,
        Err(cause) => return failed(&format!("cannot read `{}`: {cause}", log.display())),
    };
    let key = match keys::load_or_make(key) {
        Ok(key) => key,
        Err(cause) => return failed(&cause.to_string()),
    };
    let verdict = classify::classify(&log.display().to_string(), &bytes, command);
    let findings = classify::findings(&bytes, command);
    let agent = format!("patchbot/{}", env!("CARGO_PKG_VERSION"));
    let request = Request {
        task: "",
        repository,
        verdict: &verdict,
        findings: &findings,
        command,
        fork,
        snapshots,
        agent: &agent,
        limit: LIMIT,
    };
    match repair(&request, &probe(), &key) {
        Ok(certificate) => {
            println!("{}", serde_json::to_string_pretty(&certificate).expect("plain members"));
            ExitCode::SUCCESS
        }
        Err(outcome) => {
            eprintln!("sentinel-patchbot: no repair: {outcome}");
            ExitCode::from(2)
        }
    }
}

/// `verify-cert`.
pub fn verify(file: &Path, repository: &Path) -> ExitCode {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(cause) => return failed(&format!("cannot read `{}`: {cause}", file.display())),
    };
    let certificate: Certificate = match serde_json::from_str(&text) {
        Ok(certificate) => certificate,
        Err(cause) => return failed(&format!("`{}` is no certificate: {cause}", file.display())),
    };
    match certificate::again(&certificate, repository, &probe(), LIMIT) {
        Ok(problems) if problems.is_empty() => {
            println!(
                "holds: {} {} repaired {} file(s), signed by {}",
                certificate.fixer,
                certificate.fixer_version,
                certificate.files.len(),
                certificate.public_key
            );
            ExitCode::SUCCESS
        }
        Ok(problems) => {
            for problem in problems {
                println!("does not hold: {problem}");
            }
            ExitCode::from(2)
        }
        Err(outcome) => failed(&format!("cannot run it again: {outcome}")),
    }
}

fn failed(reason: &str) -> ExitCode {
    eprintln!("sentinel-patchbot: {reason}");
    ExitCode::FAILURE
}

//! `sentinel-patchbot`: the remediation agent, and its parts by hand.

mod by_hand;

use std::io::{IsTerminal as _, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use hub_patchbot::classify::classify;
use hub_patchbot::verdict::Verdict;

#[derive(Parser)]
#[command(
    name = "sentinel-patchbot",
    version,
    about = "Says what a failed CI run failed on, repairs what tools can repair, and proves it"
)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Say what each file (log, run archive, SARIF, JUnit, Checkstyle, annotations, Code Quality) says failed.
    ///
    /// One answer a file, in the order given. Exit status 0 when every file could be read, 1 when one could not.
    Classify {
        /// Files to read; `-` is standard input.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Name or command of the failed step, where the log does not show it.
        #[arg(long)]
        step: Option<String>,
        /// Form of the answers.
        #[arg(short, long, value_enum, default_value = "text")]
        output: Output,
    },
    /// Work on tasks of a hub until told to stop (SIGTERM or Ctrl-C).
    Run {
        /// The hub, `https://HOST:PORT`.
        #[arg(long)]
        hub: String,
        /// File with the hub's CA, PEM.
        #[arg(long)]
        ca: PathBuf,
        /// File with the remediation token: `remediation.token` of the hub's state folder.
        #[arg(long)]
        token_file: PathBuf,
        /// File with the agent's key; made if it is not there.
        #[arg(long, default_value = "patchbot.key")]
        key: PathBuf,
        /// Folder for copies of repositories; what a killed agent left there is given back and removed [default: `KEY.work`].
        #[arg(long)]
        work: Option<PathBuf>,
    },
    /// Try every forbidden act in the sandbox of this machine and say what was blocked.
    ///
    /// Exit status 0 at level 3, 1 below it.
    Sandbox {
        /// Form of the answer.
        #[arg(short, long, value_enum, default_value = "text")]
        output: Output,
    },
    /// Repair what one log names in a copy of a repository, prove it, and print the certificate with the patch.
    ///
    /// The repository is only read. Exit status 0 with a certificate, 2 with a code that says why there is none.
    Fix {
        /// The log of the failed step.
        log: PathBuf,
        /// The repository at the failing commit.
        #[arg(long)]
        repo: PathBuf,
        /// Command of the failed step; without it the fixer's own check is used on the files that the log names.
        #[arg(long)]
        command: Option<String>,
        /// The code comes from a fork: only fixers that run none of it.
        #[arg(long)]
        fork: bool,
        /// Write drifted snapshots of tests anew; runs the repository's tests in the sandbox.
        #[arg(long)]
        snapshots: bool,
        /// File with the agent's key, 32 bytes in hexadecimal; made if it is not there.
        #[arg(long, default_value = "patchbot.key")]
        key: PathBuf,
    },
    /// Run a certificate again on the repository that it was made for, and say what differs.
    ///
    /// Exit status 0 when it holds, 2 when it does not, 1 when it could not be tried.
    VerifyCert {
        /// The certificate.
        file: PathBuf,
        /// The repository at the certificate's base.
        #[arg(long)]
        repo: PathBuf,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Output {
    /// One JSON object a line.
    Jsonl,
    /// For people.
    Text,
}

fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_env("SENTINEL_LOG").unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    match Arguments::parse().verb {
        Verb::Classify { files, step, output } => classify_files(&files, step.as_deref(), output),
        Verb::Run {
            hub,
            ca,
            token_file,
            key,
            work,
        } => by_hand::run(&hub, &ca, &token_file, &key, work.as_deref()),
        Verb::Sandbox { output } => by_hand::sandbox(matches!(output, Output::Jsonl)),
        Verb::Fix {
            log,
            repo,
            command,
            fork,
            snapshots,
            key,
        } => by_hand::fix(&log, &repo, command.as_deref(), (fork, snapshots), &key),
        Verb::VerifyCert { file, repo } => by_hand::verify(&file, &repo),
    }
}

fn classify_files(files: &[PathBuf], step: Option<&str>, output: Output) -> ExitCode {
    let mut out = std::io::stdout().lock();
    let mut status = ExitCode::SUCCESS;
    for file in files {
        let name = file.display().to_string();
        let bytes = if name == "-" {
            read_standard_input()
        } else {
            std::fs::read(file)
        };
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(cause) => {
                eprintln!("sentinel-patchbot: cannot read `{name}`: {cause}");
                status = ExitCode::FAILURE;
                continue;
            }
        };
        // A closed pipe ends the work quietly, as people expect of a filter.
        if print(&mut out, &classify(&name, &bytes, step), output).is_err() {
            return status;
        }
    }
    status
}

fn read_standard_input() -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut std::io::stdin().lock(), &mut bytes)?;
    Ok(bytes)
}

fn print(out: &mut impl Write, verdict: &Verdict, output: Output) -> std::io::Result<()> {
    match output {
        Output::Jsonl => {
            serde_json::to_writer(&mut *out, verdict)?;
            writeln!(out)
        }
        Output::Text => {
            let place = match (&verdict.path, verdict.line) {
                (Some(path), Some(line)) => format!(" {path}:{line}"),
                (Some(path), None) => format!(" {path}"),
                _ => String::new(),
            };
            let tool = verdict
                .tool
                .as_deref()
                .map(|tool| format!(" by {tool}"))
                .unwrap_or_default();
            let rule = verdict
                .rule
                .as_deref()
                .map(|rule| format!(" {rule}"))
                .unwrap_or_default();
            let code = verdict.code.map(|code| format!(" [{code}]")).unwrap_or_default();
            writeln!(
                out,
                "{}: {}{tool}{rule}{place}: {} (line {}, {:.0} % sure){code}",
                verdict.file,
                verdict.category.word(),
                verdict.message,
                verdict.evidence.first().copied().unwrap_or(0),
                verdict.confidence * 100.0,
            )
        }
    }
}

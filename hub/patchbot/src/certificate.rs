//! Runs a certificate again.
//!
//! What a certificate is stands in the remediation contract; here is what it takes to believe it: a copy of the repository, the
//! patch, the same commands, and a sandbox of one's own.

use std::path::Path;
use std::time::Duration;

pub use hub_remediation_sdk::certificate::{Certificate, Command, Level, Phase, SCHEMA, hex};

use crate::repair::{Bench, Outcome};
use crate::sandbox::Sandbox;
use crate::workspace;

/// Runs the certificate again on a copy of `repository`, which must be at its base, and says what differs. Empty: it holds.
pub fn again(
    certificate: &Certificate,
    repository: &Path,
    sandbox: &Sandbox,
    limit: Duration,
) -> Result<Vec<String>, Outcome> {
    let mut problems = certificate.problems();
    let bench = Bench::new(repository, sandbox, limit)?;
    if workspace::apply(&certificate.files, bench.after()).is_err() {
        problems.push("the patch does not fit this repository".to_owned());
        return Ok(problems);
    }
    for command in &certificate.commands {
        let ran = match (command.phase, &command.canary) {
            (Phase::Reproduce, _) => bench.check_before(&command.argv, certificate.silent)?,
            (Phase::Check, _) => bench.check_after(&command.argv, certificate.silent)?,
            (Phase::Canary, Some(file)) => bench.check_with_canary(&command.argv, certificate.silent, file)?,
            (Phase::Canary | Phase::Fix | Phase::FixAgain | Phase::Sibling, _) => continue,
        };
        if ran.passed != command.passed {
            let was = if command.passed { "passed" } else { "failed" };
            problems.push(format!(
                "{:?}: `{}` {was} and now does not",
                command.phase,
                command.argv.join(" ")
            ));
        }
    }
    Ok(problems)
}

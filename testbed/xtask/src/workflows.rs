//! The workflows of `.github/`, held against actionlint (are they valid) and zizmor (are they safe), and the image recipes against hadolint.

use crate::setup;
use crate::shell::{command, run};

/// Runs all three; none asks the network.
pub fn check() -> Result<(), String> {
    let files = ["ci", "release"].map(|name| format!(".github/workflows/{name}.yml"));
    // Their scripts are checked by shellcheck where it is installed; actionlint finds it by itself.
    run(command(&setup::actionlint()?.to_string_lossy()).args(&files))?;
    let zizmor = setup::python()?.with_file_name("zizmor");
    run(command(&zizmor.to_string_lossy())
        .args(["--offline", "--quiet"])
        .args(&files))?;
    let recipes =
        ["hub", "agent", "patchbot"].map(|name| format!("testbed/xtask/packaging/sentinel-{name}.Containerfile"));
    let hadolint = setup::python()?.with_file_name("hadolint");
    run(command(&hadolint.to_string_lossy())
        .args(["--failure-threshold", "style"])
        .args(recipes))
}

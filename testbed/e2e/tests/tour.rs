//! The README's first command, played to its end.

use std::process::Command;

use testbed_e2e::program;

#[test]
fn the_tour_plays_to_its_end_and_finds_every_journal_whole() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let output = Command::new(program("sentinel-demo"))
        .args(["--tour-only", "--no-build", "--state"])
        .arg(folder.path())
        .env("NO_COLOR", "1")
        .output()
        .expect("the demo starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    for part in [
        "edge-03",
        "0 missing, 0 double",
        "sim",
        "by rule launch-freeze; next open slot",
        "granted 100 W by rule cap-range",
        "edge-03 is connected via edge-04",
        "edge-03 has taken its own path back",
        // The embedded brain foresaw a limit, its plan ran and its prediction came true; another plan waits for a freeze to end.
        "gpu0 will reach 8",
        "came true true",
        "rule hot-gpu never had to act there",
        "step 1: hold by rule launch-freeze",
    ] {
        assert!(text.contains(part), "the tour does not show `{part}`:\n{text}");
    }
}

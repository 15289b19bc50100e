//! `classify`: how fast a CI log is read, beside the rules of the system that this one replaces, on the same bytes and one core.
//!
//! The log is made of lines that real tools write, wrapped as GitHub wraps them; nearly all say nothing, as in real logs.

use std::time::Instant;

use hub_patchbot::classify::classify;

use crate::report::{Figure, Goal};

/// Size of the log, in bytes.
const BYTES: usize = 64 << 20;

/// Lines of a green part, of several kinds.
const QUIET: &[&str] = &[
    "[INFO] Downloading from central: https://repo.example/maven2/org/example/app/1.2.3/app-1.2.3.pom",
    "[INFO] Downloaded from central: https://repo.example/maven2/org/example/app/1.2.3/app-1.2.3.pom (7.2 kB at 2.4 MB/s)",
    "   Compiling serde v1.0.219",
    "test_nn.py::TestNN::test_linear PASSED [ 12%]",
    "  added 412 packages, and audited 413 packages in 9s",
    "ok  \tex.com/a/b\t0.412s",
    "2026-07-31 06:23:29.210198 INFO worker 12: finished shard 4/10 in 4.70min",
    "remote: Counting objects: 100% (1234/1234), done.",
];

/// What makes the run red.
const RED: &[&str] = &[
    "src/app.py:12:5: F401 [*] `os` imported but unused",
    "src/lib.rs:3:14: warning: length comparison to zero",
    "FAILED tests/test_a.py::test_a - assert 1 == 2",
];

/// The original's classes and the words it looks for, in its order.
const WORDS: &[&[&str]] = &[
    &["eslint", "pylint", "rubocop", "flake8", "golangci-lint", "ruff check"],
    &["prettier", "black", "gofmt", "rustfmt"],
    &["mypy", "typescript", "type error", "tsc"],
    &["pytest", "jest", "mocha", "rspec", "go test", "assertion"],
    &[
        "build failed",
        "compilation error",
        "webpack",
        "cargo build",
        "go build",
    ],
    &[
        "npm install",
        "pip install",
        "cargo install",
        "dependency",
        "modulenotfounderror",
    ],
];

/// Runs it.
pub fn run() -> Result<Vec<Figure>, String> {
    let log = log();
    let megabytes = log.len() as f64 / 1e6;
    let warm = classify("warm.log", &log.as_bytes()[..1 << 20], None);
    let started = Instant::now();
    let found = classify("bench.log", log.as_bytes(), None);
    let ours = megabytes / started.elapsed().as_secs_f64();
    if found.tool.as_deref() != Some("pytest") {
        return Err(format!(
            "the log's failed test was not found, but {found:?} (first {warm:?})"
        ));
    }
    let started = Instant::now();
    let class = original(&log);
    let peer = megabytes / started.elapsed().as_secs_f64();
    std::hint::black_box(class);
    Ok(vec![
        Figure::new("classify", "MB/s", ours, Goal::AtLeast(50.0)).peer("the original's rules", peer),
    ])
}

fn log() -> String {
    let mut log = String::with_capacity(BYTES + 4096);
    let mut at = 0usize;
    while log.len() < BYTES {
        let line = if at % 997 == 996 {
            RED[at / 997 % RED.len()]
        } else {
            QUIET[at % QUIET.len()]
        };
        log.push_str("2026-07-31T01:17:30.9756718Z ");
        log.push_str(line);
        log.push('\n');
        at += 1;
    }
    log.push_str("2026-07-31T01:17:30.9756718Z ##[error]Process completed with exit code 1.\n");
    log
}

/// The original lowers the whole text and takes the first class of which any word stands anywhere in it.
fn original(log: &str) -> Option<usize> {
    let text = log.to_lowercase();
    WORDS
        .iter()
        .position(|words| words.iter().any(|word| text.contains(word)))
}

//! The API's document is its contract: schemathesis reads it, makes requests of it, well-formed and not, and compares every answer.
//!
//! A status, a content type or a body that the document does not name is a failure, and so is every 5xx. The hub is one of its own, which
//! the requests may change as they like.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use testbed_e2e::program;

/// Requests that are made of each operation beside those that its schema calls for. More find more, and take longer.
const EXAMPLES: &str = "8";
/// What is held against the document.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance";
/// Streams do not end, and protobuf is no text that could be made from a schema.
const LEFT_OUT: [&str; 3] = ["/api/v1/stream", "/api/v1/events", "/v1/metrics"];
/// A task that no agent does is answered with 503, as the system before this one did; nothing else may be.
const SETTINGS: &str = "[[operations]]\ninclude-name = \"POST /api/v1/tasks\"\nchecks.not_a_server_error.expected-statuses = [\"2xx\", \"4xx\", 503]\n";

/// A hub without a fleet.
struct Hub {
    process: Child,
    folder: tempfile::TempDir,
}

impl Hub {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut process = Command::new(program("sentinel-hub"))
            .args([
                "run",
                "--listen",
                "127.0.0.1:0",
                "--requests-per-second",
                "0",
                "--state",
            ])
            .arg(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the hub starts");
        let stdout = process.stdout.take().expect("it was asked for a pipe");
        let ready = BufReader::new(stdout)
            .lines()
            .map_while(Result::ok)
            .any(|line| line.starts_with("ready "));
        assert!(ready, "the hub says that it is ready");
        Self { process, folder }
    }

    fn context(&self) -> Value {
        let text = std::fs::read(self.folder.path().join("admin.json")).expect("the administrator's context");
        serde_json::from_slice(&text).expect("JSON")
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        // Ended by now, or ended here.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// The Python that `cargo xtask test` has prepared.
fn schemathesis() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/contract-python/bin/schemathesis");
    assert!(
        folder.is_file(),
        "`{}` is not there: `cargo xtask test setup` installs it",
        folder.display()
    );
    folder
}

#[test]
fn every_answer_is_one_that_the_document_names() {
    let hub = Hub::start();
    let context = hub.context();
    let text = |name: &str| context[name].as_str().expect("a text").to_owned();
    let ca = hub.folder.path().join("ca.pem");
    std::fs::write(&ca, text("ca_pem")).expect("room");
    std::fs::write(hub.folder.path().join("schemathesis.toml"), SETTINGS).expect("room");
    let mut run = Command::new(schemathesis());
    run.arg("run").arg(format!("{}/api/openapi.json", text("hub")));
    run.args([
        "--checks",
        CHECKS,
        "--max-examples",
        EXAMPLES,
        "--phases",
        "coverage,fuzzing",
        "--seed",
        "7",
    ]);
    run.args([
        "--workers",
        "1",
        "--request-timeout",
        "20",
        "--request-retries",
        "3",
        "--continue-on-failure",
        "--no-color",
    ]);
    run.args([
        "--header",
        &format!("Authorization: Bearer {}", text("token")),
        "--header",
        "X-Sentinel-CSRF: 1",
    ]);
    run.args(["--tls-verify", &ca.display().to_string()]);
    for path in LEFT_OUT {
        run.args(["--exclude-path", path]);
    }
    let run = run
        .current_dir(hub.folder.path())
        .output()
        .expect("schemathesis starts");
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&run.stdout),
        String::from_utf8_lossy(&run.stderr)
    );
    let tail: Vec<&str> = said.lines().collect();
    let tail = tail[tail.len().saturating_sub(400)..].join("\n");
    assert!(run.status.success(), "{tail}");
}

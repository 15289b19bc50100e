//! `demo`: one line to the running demo's control socket, one line back.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde::Deserialize;

use crate::args::Demo;
use crate::failure::{Exit, Failure};
use crate::output::say;
use crate::session::Session;

/// How long the demo may take: it stops a process within 5 s, then kills it.
const PATIENCE: Duration = Duration::from_secs(20);
/// Longest answer: a sentence.
const MAX_ANSWER_BYTES: u64 = 64 * 1024;

#[derive(Deserialize)]
struct Answer {
    ok: bool,
    text: String,
}

/// `sentinel demo VERB NODE[/gpuN]|hub`.
pub fn run(session: &Session, demo: &Demo) -> Result<Exit, Failure> {
    let Some(socket) = &session.context().demo_socket else {
        return Err(Failure::new(
            Exit::Usage,
            "this context is not that of a demo: there is nothing to play with",
        )
        .advise("start one with `cargo run --release`"));
    };
    let away = |cause: std::io::Error| {
        Failure::new(Exit::Unreachable, format!("the demo does not answer on `{socket}`"))
            .because(cause)
            .advise("start it with `cargo run --release`")
    };
    let mut request = serde_json::json!({
        "do": demo.verb.word(),
        "node": demo.whom.node,
        "gpu": demo.whom.gpu,
    });
    if let Some(from) = &demo.from {
        request["from"] = serde_json::json!(from.as_str());
    }
    let answer = ask(socket, &request.to_string(), session.timeout.unwrap_or(PATIENCE)).map_err(away)?;
    let answer: Answer = serde_json::from_str(&answer)
        .map_err(|cause| Failure::new(Exit::Failure, "the demo answers something unexpected").because(cause))?;
    match answer.ok {
        true => {
            say(&answer.text);
            Ok(Exit::Ok)
        }
        false => Err(Failure::new(Exit::Failure, answer.text)),
    }
}

fn ask(socket: &str, request: &str, patience: Duration) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    stream.write_all(format!("{request}\n").as_bytes())?;
    let mut line = String::new();
    BufReader::new(stream.take(MAX_ANSWER_BYTES)).read_line(&mut line)?;
    Ok(line)
}

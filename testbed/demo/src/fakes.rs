//! Tells a fake what to play: one JSON line to its control socket, one back.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::signals::Stop;

/// A fake that its agent is just starting again listens within this time.
const STARTING: Duration = Duration::from_secs(5);
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(5);
/// Longest answer: a sentence.
const MAX_ANSWER_BYTES: u64 = 64 * 1024;

/// Gives an order, and returns the fake's own words.
pub fn order(socket: &Path, order: &Value, stop: &Stop) -> Result<String, String> {
    let answer = stop.until(STARTING, || {
        ask(socket, order).map_err(|cause| format!("{}: {cause}", socket.display()))
    })?;
    let answer: Value =
        serde_json::from_str(&answer).map_err(|_| format!("the fake answers something unexpected: {answer}"))?;
    let text = answer["text"].as_str().unwrap_or_default().to_owned();
    match answer["ok"].as_bool() {
        Some(true) => Ok(text),
        _ => Err(text),
    }
}

/// Kills the fake that still answers there. It tells its own number, so no stranger is met; if nobody answers, nobody is left.
pub fn kill(socket: &Path) {
    let Ok(answer) = ask(socket, &json!({ "do": "status" })) else {
        return;
    };
    let number = answer.split_once("process ").and_then(|(_, rest)| {
        let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
        digits.parse().ok().and_then(Pid::from_raw)
    });
    if let Some(pid) = number {
        let _already_gone = kill_process(pid, Signal::KILL);
    }
}

fn ask(socket: &Path, order: &Value) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(ANSWER))?;
    stream.write_all(format!("{order}\n").as_bytes())?;
    let mut line = String::new();
    BufReader::new(stream.take(MAX_ANSWER_BYTES)).read_line(&mut line)?;
    match line.is_empty() {
        true => Err(std::io::ErrorKind::UnexpectedEof.into()),
        false => Ok(line),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::process::Command;

    use super::*;

    /// Answers once with this text.
    fn answering(socket: &Path, text: String) {
        let listener = UnixListener::bind(socket).expect("a socket");
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            // Whoever is answered before the question is asked writes into a closed socket.
            let mut question = String::new();
            drop(BufReader::new(&stream).read_line(&mut question));
            drop(writeln!(stream, "{}", json!({ "ok": true, "text": text })));
        });
    }

    #[test]
    fn a_fake_that_was_left_behind_is_killed_by_its_own_number() {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("s");
        kill(&socket);
        let mut child = Command::new("/bin/sleep").arg("600").spawn().expect("sleep");
        let text = format!("status done; process {} holds 0 MiB", child.id());
        answering(&socket, text);
        kill(&socket);
        assert!(!child.wait().expect("our own").success());
    }

    #[test]
    fn an_order_is_answered_in_the_fakes_words() {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("s");
        answering(&socket, "done".to_owned());
        let said = order(&socket, &json!({ "do": "leak" }), &Stop::default());
        assert_eq!(said, Ok("done".to_owned()));
    }
}

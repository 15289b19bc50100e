//! The control socket of a fake: one JSON line in, one JSON line out, as `{"do":"heat","gpu":0}` and `{"ok":true,"text":"…"}`.
//!
//! The path is taken over from a process that died: whoever started last answers there. A fake ends with its parent.
//! Never part of the product: the agent does not know that these sockets exist.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Longest order: a few short words.
const MAX_LINE_BYTES: u64 = 4096;

/// What the fake is told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// The verb.
    #[serde(rename = "do")]
    pub verb: String,
    /// Which GPU; all of them if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<u32>,
    /// A hang that outlives the process, as a hung driver does, until `unhang`.
    #[serde(default)]
    pub sticky: bool,
}

/// What the fake answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Whether it was done.
    pub ok: bool,
    /// For people.
    pub text: String,
}

/// Listens at `path` and answers orders with `obey`, one after the other, until the process ends.
///
/// Blocks, so it has a thread of its own. Fails only if the socket cannot be made.
pub fn serve(path: &Path, mut obey: impl FnMut(&Order) -> Result<String, String>) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    for stream in listener.incoming() {
        // A client that went away is no reason to stop listening.
        let _ = stream.and_then(|stream| answer(&stream, &mut obey));
    }
    Ok(())
}

fn answer(stream: &UnixStream, obey: &mut impl FnMut(&Order) -> Result<String, String>) -> io::Result<()> {
    // One slow client must not keep the others out for long.
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut line = String::new();
    BufReader::new(stream.take(MAX_LINE_BYTES)).read_line(&mut line)?;
    let told = match serde_json::from_str::<Order>(&line)
        .map_err(|error| error.to_string())
        .and_then(|order| obey(&order))
    {
        Ok(text) => Told { ok: true, text },
        Err(text) => Told { ok: false, text },
    };
    let mut reply = serde_json::to_vec(&told)?;
    reply.push(b'\n');
    (&mut &*stream).write_all(&reply)
}

/// Gives an order to the fake that listens at `path` and returns its answer.
pub fn order(path: &Path, order: &Order) -> io::Result<Told> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut line = serde_json::to_vec(order)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut reply = String::new();
    BufReader::new(stream).read_line(&mut reply)?;
    Ok(serde_json::from_str(&reply)?)
}

/// Ends the process when its parent is gone, even while it plays a hang. Starts a small thread.
pub fn end_with_parent() {
    let parent = std::os::unix::process::parent_id();
    std::thread::spawn(move || {
        while std::os::unix::process::parent_id() == parent {
            std::thread::sleep(Duration::from_millis(250));
        }
        std::process::exit(0);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_is_taken_over_from_a_dead_process() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("control");
        for round in 0..2 {
            let served = path.clone();
            std::thread::spawn(move || serve(&served, move |order| Ok(format!("round {round}: {}", order.verb))));
            let wanted = Order {
                verb: "heat".to_owned(),
                ..Order::default()
            };
            let deadline = std::time::Instant::now() + Duration::from_secs(5);
            loop {
                match order(&path, &wanted) {
                    Ok(told) if told.text == format!("round {round}: heat") => break,
                    _ if std::time::Instant::now() > deadline => panic!("no answer"),
                    _ => std::thread::yield_now(),
                }
            }
        }
    }

    #[test]
    fn nonsense_is_refused_in_words() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("control");
        let served = path.clone();
        std::thread::spawn(move || serve(&served, |_| Ok(String::new())));
        let deadline = std::time::Instant::now() + Duration::from_secs(5);
        let mut stream = loop {
            match UnixStream::connect(&path) {
                Ok(stream) => break stream,
                Err(_) if std::time::Instant::now() < deadline => std::thread::yield_now(),
                Err(error) => panic!("{error}"),
            }
        };
        stream.write_all(b"{\"do\":7}\n").expect("written");
        let mut reply = String::new();
        BufReader::new(stream).read_line(&mut reply).expect("read");
        assert!(reply.contains("\"ok\":false"), "{reply}");
    }
}

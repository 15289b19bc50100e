//! The demo's control socket: one JSON line in, one JSON line out, for `sentinel demo VERB WHOM`.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::folder::Folder;

/// Longest order: a few short words.
const MAX_LINE_BYTES: u64 = 4096;
/// One slow client must not keep the others out for long.
const LINE_PATIENCE: Duration = Duration::from_secs(2);

/// What can be done to the demo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Drop the packets of a node, or of all of them.
    Cut,
    /// Let them pass.
    Heal,
    /// Drive a GPU hot.
    Heat,
    /// Let the load of a GPU grow over minutes.
    Grow,
    /// Let it cool.
    Cool,
    /// Make the workload leak memory.
    Leak,
    /// Make the GPU probe stop answering.
    HangGpu,
    /// Signal 9.
    Kill,
    /// Stop, and do not start again.
    Stop,
    /// Start what was stopped.
    Start,
}

const VERBS: [(&str, Verb); 10] = [
    ("cut", Verb::Cut),
    ("heal", Verb::Heal),
    ("heat", Verb::Heat),
    ("grow", Verb::Grow),
    ("cool", Verb::Cool),
    ("leak", Verb::Leak),
    ("hang-gpu", Verb::HangGpu),
    ("kill", Verb::Kill),
    ("stop", Verb::Stop),
    ("start", Verb::Start),
];

/// One order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// What.
    pub verb: Verb,
    /// To whom: a node's name, or `hub`.
    pub node: String,
    /// To which GPU; all of them if `None`.
    pub gpu: Option<u32>,
    /// Only the path to this one: a node's name, or `hub`.
    pub from: Option<String>,
}

impl Order {
    /// An order to a node.
    pub fn new(verb: Verb, node: &str, gpu: Option<u32>) -> Self {
        Self {
            verb,
            node: node.to_owned(),
            gpu,
            from: None,
        }
    }

    fn parse(line: &str) -> Result<Self, String> {
        let value: Value = serde_json::from_str(line).map_err(|cause| format!("that is no order: {cause}"))?;
        let word = value["do"].as_str().unwrap_or_default();
        let verb = VERBS.iter().find(|(name, _)| *name == word);
        let Some((_, verb)) = verb else {
            let names: Vec<&str> = VERBS.iter().map(|(name, _)| *name).collect();
            return Err(format!("`{word}` is none of {}", names.join(", ")));
        };
        let gpu = match &value["gpu"] {
            Value::Null => None,
            number => Some(
                number
                    .as_u64()
                    .and_then(|number| u32::try_from(number).ok())
                    .ok_or_else(|| format!("gpu {number} is not a number"))?,
            ),
        };
        let from = value["from"].as_str().map(str::to_owned);
        if from.is_some() && !matches!(verb, Verb::Cut | Verb::Heal) {
            return Err(format!("`from` goes with cut and heal, not with {word}"));
        }
        match value["node"].as_str() {
            Some(node) => Ok(Self {
                from,
                ..Self::new(*verb, node, gpu)
            }),
            None => Err("`node` is missing".to_owned()),
        }
    }
}

/// The listening socket.
#[derive(Debug)]
pub struct Control {
    socket: PathBuf,
    ending: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Control {
    /// Takes the socket. Orders wait in it until [`Control::serve`]; a person who sees the first node need not wait for the last.
    pub fn bind(folder: &Folder) -> Result<UnixListener, String> {
        let socket = folder.demo_socket();
        // What a killed demo left behind: a demo that runs was found before.
        drop(std::fs::remove_file(&socket));
        UnixListener::bind(&socket).map_err(|cause| format!("cannot listen on {}: {cause}", socket.display()))
    }

    /// Answers one order after the other.
    pub fn serve(listener: UnixListener, cluster: &Arc<Cluster>) -> Result<Self, String> {
        let ending = Arc::new(AtomicBool::new(false));
        let socket = cluster.folder().demo_socket();
        let (told, cluster) = (Arc::clone(&ending), Arc::clone(cluster));
        let thread = std::thread::Builder::new()
            .name("control".to_owned())
            .spawn(move || {
                for stream in listener.incoming() {
                    if told.load(Ordering::SeqCst) {
                        return;
                    }
                    // A client that went away is no reason to stop listening.
                    drop(stream.and_then(|stream| answer(&stream, &cluster)));
                }
            })
            .map_err(|cause| format!("cannot start a thread for orders: {cause}"))?;
        Ok(Self { socket, ending, thread })
    }

    /// Answers no more.
    pub fn close(self) {
        self.ending.store(true, Ordering::SeqCst);
        // Wakes the thread; if nobody accepts, there is no thread to wake.
        if UnixStream::connect(&self.socket).is_ok() {
            drop(self.thread.join());
        }
    }
}

fn answer(stream: &UnixStream, cluster: &Cluster) -> std::io::Result<()> {
    stream.set_read_timeout(Some(LINE_PATIENCE))?;
    stream.set_write_timeout(Some(LINE_PATIENCE))?;
    let mut line = String::new();
    BufReader::new(stream.take(MAX_LINE_BYTES)).read_line(&mut line)?;
    if line.is_empty() {
        // Somebody only looked whether the demo runs.
        return Ok(());
    }
    let (ok, text) = match Order::parse(&line).and_then(|order| cluster.obey(&order)) {
        Ok(text) => (true, text),
        Err(text) => (false, text),
    };
    (&mut &*stream).write_all(format!("{}\n", json!({ "ok": ok, "text": text })).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: Result<Order, &str>) {
        match (Order::parse(line), expected) {
            (Ok(order), Ok(wanted)) => assert_eq!(order, wanted),
            (Err(reason), Err(part)) => assert!(reason.contains(part), "{reason}"),
            (got, expected) => panic!("{got:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn orders_are_read() {
        check(
            r#"{"do":"cut","node":"edge-03"}"#,
            Ok(Order::new(Verb::Cut, "edge-03", None)),
        );
        check(
            r#"{"do":"hang-gpu","node":"edge-03","gpu":1}"#,
            Ok(Order::new(Verb::HangGpu, "edge-03", Some(1))),
        );
        let from_hub = Order {
            from: Some("hub".to_owned()),
            ..Order::new(Verb::Cut, "edge-03", None)
        };
        check(r#"{"do":"cut","node":"edge-03","from":"hub"}"#, Ok(from_hub));
        check(r#"{"do":"kill","node":"edge-03","from":"hub"}"#, Err("not with kill"));
        check(r#"{"do":"boil","node":"hub"}"#, Err("none of cut, heal"));
        check(r#"{"do":"cut"}"#, Err("missing"));
        check(r#"{"do":"heat","node":"a","gpu":-1}"#, Err("not a number"));
        check("cut edge-03", Err("no order"));
    }
}

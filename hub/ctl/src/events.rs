//! Reads a stream of server-sent events, one [`StreamEvent`] after the other.
//!
//! Events that this version does not know are skipped, so that an older command line can watch a newer hub.

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use wire::api::StreamEvent;

use crate::client::{Answer, Line};
use crate::failure::{Exit, Failure};

/// Longest line that is kept: a policy event carries a whole bundle of at most 1 MiB, escaped.
const MAX_EVENT_BYTES: usize = 8 * 1024 * 1024;

/// An open stream.
#[derive(Debug)]
pub struct Events {
    from: String,
    body: Incoming,
    lines: Lines,
    _line: Line,
}

impl Events {
    /// Reads on where the head of the answer of `from` ended.
    pub fn new(from: String, answer: Answer) -> Self {
        Self {
            from,
            body: answer.response.into_body(),
            lines: Lines::default(),
            _line: answer.line,
        }
    }

    /// Waits for the next event that this version knows. Fails when the stream ends: the caller was promised no end.
    pub async fn next(&mut self) -> Result<StreamEvent, Failure> {
        loop {
            if let Ok(event) = serde_json::from_slice(&self.data().await?) {
                return Ok(event);
            }
        }
    }

    /// Waits for the data of the next event, whatever it is. Fails when the stream ends.
    pub async fn data(&mut self) -> Result<Vec<u8>, Failure> {
        loop {
            if let Some(data) = self.lines.next() {
                return Ok(data);
            }
            let ended = || Failure::new(Exit::Unreachable, format!("the stream of {} ended", self.from));
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Some(bytes) = frame.data_ref() {
                        self.lines.push(bytes);
                    }
                    if self.lines.unfinished.len() > MAX_EVENT_BYTES {
                        return Err(Failure::new(
                            Exit::Failure,
                            format!("{} sends an event longer than {MAX_EVENT_BYTES} bytes", self.from),
                        ));
                    }
                }
                Some(Err(cause)) => return Err(ended().because(cause)),
                None => return Err(ended()),
            }
        }
    }
}

/// Cuts bytes into the data of events (WHATWG HTML, 9.2: lines, `data:` fields joined by line feeds, a blank line ends an event).
#[derive(Debug, Default)]
struct Lines {
    unfinished: Vec<u8>,
    data: Vec<u8>,
    ready: std::collections::VecDeque<Vec<u8>>,
}

impl Lines {
    fn push(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match byte {
                b'\n' => self.line_ends(),
                b'\r' => {}
                other => self.unfinished.push(*other),
            }
        }
    }

    fn line_ends(&mut self) {
        let line = std::mem::take(&mut self.unfinished);
        if line.is_empty() {
            if !self.data.is_empty() {
                self.ready.push_back(std::mem::take(&mut self.data));
            }
        } else if let Some(value) = line.strip_prefix(b"data:") {
            if !self.data.is_empty() {
                self.data.push(b'\n');
            }
            self.data.extend_from_slice(value.strip_prefix(b" ").unwrap_or(value));
        }
    }

    fn next(&mut self) -> Option<Vec<u8>> {
        self.ready.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(chunks: &[&str], expected: &[&str]) {
        let mut lines = Lines::default();
        for chunk in chunks {
            lines.push(chunk.as_bytes());
        }
        let mut got = Vec::new();
        while let Some(data) = lines.next() {
            got.push(String::from_utf8(data).expect("text"));
        }
        assert_eq!(got, expected);
    }

    #[test]
    fn events_are_cut_at_blank_lines_wherever_the_packets_end() {
        check(&["data: 1\n\ndata: 2\n\n"], &["1", "2"]);
        check(&["da", "ta: 1\r", "\n\r\ndata:2\n"], &["1"]);
        check(&["event: node\nid: 7\ndata: a\ndata: b\n\n: comment\n\n"], &["a\nb"]);
    }
}

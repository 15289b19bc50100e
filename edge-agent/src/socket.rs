//! Asks the agent that runs on this machine, over its socket, from a command that is no service itself.
//!
//! Decides nothing. An agent that does not answer within [`PATIENCE`] counts as one that does not.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde::de::DeserializeOwned;

/// A turn takes microseconds and a read of the journal a few milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of one answer: 500 entries with their evidence fit ten times.
const MOST: u64 = 8 << 20;

/// The body of a GET. Blocks for [`PATIENCE`] at most for each read.
pub fn get(socket: &Path, path: &str) -> io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // Version 1.0 has no chunks, and its answer ends with the connection.
    write!(stream, "GET {path} HTTP/1.0\r\nhost: localhost\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(MOST).read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n");
    let end = end.ok_or_else(|| io::Error::other("the answer has no end of its head"))?;
    let head = String::from_utf8_lossy(&answer[..end]);
    let status = head.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("200") {
        return Err(io::Error::other(format!("the agent answers `{status}`")));
    }
    Ok(answer.split_off(end + 4))
}

/// The same as a value.
pub fn get_json<T: DeserializeOwned>(socket: &Path, path: &str) -> io::Result<T> {
    serde_json::from_slice(&get(socket, path)?).map_err(io::Error::other)
}

/// The process that serves the socket, as the kernel says.
pub fn server(socket: &Path) -> io::Result<u32> {
    let stream = UnixStream::connect(socket)?;
    let peer = rustix::net::sockopt::socket_peercred(&stream)?;
    u32::try_from(peer.pid.as_raw_nonzero().get()).map_err(io::Error::other)
}

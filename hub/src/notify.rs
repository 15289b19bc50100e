//! Tells systemd how the hub stands, so that `systemctl start` returns when it serves and not before.
//!
//! Without systemd (no `NOTIFY_SOCKET`) nothing is said. A message that cannot be sent is a warning: the hub serves all the same.
//! Source: `sd_notify(3)`.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Everything is up. `serving` is for `systemctl status`.
pub fn ready(serving: &str) {
    tell(&format!("READY=1\nSTATUS=serving {serving}"));
}

/// The last requests are being answered.
pub fn stopping() {
    tell("STOPPING=1\nSTATUS=stopping");
}

fn tell(state: &str) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    if let Err(error) = send(&socket, state) {
        tracing::warn!(%error, "cannot tell systemd how the hub stands");
    }
}

/// A path, or a name without a file that begins with `@`.
fn send(socket: &OsStr, state: &str) -> io::Result<()> {
    let address = match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    UnixDatagram::unbound()?
        .send_to_addr(state.as_bytes(), &address)
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(socket: &OsStr, listener: &UnixDatagram) {
        send(socket, "READY=1").expect("somebody listens");
        let mut message = [0; 16];
        let length = listener.recv(&mut message).expect("a message");
        assert_eq!(&message[..length], b"READY=1");
    }

    #[test]
    fn systemd_hears_it_by_path_and_by_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notify");
        check(path.as_os_str(), &UnixDatagram::bind(&path).expect("a socket"));
        let name = format!("sentinel-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        let listener = UnixDatagram::bind_addr(&address).expect("a socket");
        check(OsStr::new(&format!("@{name}")), &listener);
        assert!(send(folder.path().join("nobody").as_os_str(), "READY=1").is_err());
    }
}

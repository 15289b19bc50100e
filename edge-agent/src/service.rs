//! Tells systemd how the service stands: ready, alive, stopping. Without systemd it does nothing.
//!
//! The watchdog is fed by the turn loop itself, after a turn, and by nothing else: a loop that hangs is started again.
//!
//! Source: `sd_notify(3)`, whose protocol is one datagram of lines to the socket in `NOTIFY_SOCKET`.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

/// The service manager, if there is one.
#[derive(Debug, Default)]
pub struct Service {
    socket: Option<UnixDatagram>,
    /// How often it wants to hear that we live.
    feed: Option<Duration>,
    fed: Option<Instant>,
    said: String,
}

impl Service {
    /// As the environment says. Read once, at the start.
    pub fn from_env() -> Self {
        let variable = |name: &str| std::env::var(name).ok();
        let ours = variable("WATCHDOG_PID").is_none_or(|pid| pid == std::process::id().to_string());
        let micros = variable("WATCHDOG_USEC")
            .filter(|_| ours)
            .and_then(|text| text.parse().ok());
        Self::at(variable("NOTIFY_SOCKET").as_deref(), micros)
    }

    fn at(address: Option<&str>, watchdog_us: Option<u64>) -> Self {
        let socket = address.and_then(|address| {
            let address = match address.strip_prefix('@') {
                Some(name) => SocketAddr::from_abstract_name(name.as_bytes()),
                None => SocketAddr::from_pathname(address),
            };
            let socket = UnixDatagram::unbound().ok()?;
            socket.connect_addr(&address.ok()?).ok()?;
            // A manager that does not read must not hold the turn loop up.
            socket.set_nonblocking(true).ok()?;
            Some(socket)
        });
        Self {
            // Twice as often as wanted, as the manual advises.
            feed: watchdog_us.map(|micros| Duration::from_micros(micros / 2)),
            socket,
            fed: None,
            said: String::new(),
        }
    }

    /// The agent answers.
    pub fn ready(&self) {
        self.send("READY=1\n");
    }

    /// It takes its settings anew, and says [`Service::ready`] afterwards.
    pub fn reloading(&self) {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let micros = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1_000;
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={micros}\n"));
    }

    /// It stops in an orderly way.
    pub fn stopping(&self) {
        self.send("STOPPING=1\n");
    }

    /// A turn has ended. `status` is what `systemctl status` shows.
    pub fn alive(&mut self, now: Instant, status: impl FnOnce() -> String) {
        if self.socket.is_none() {
            return;
        }
        let due = self.feed.unwrap_or(Duration::from_secs(10));
        if self.fed.is_some_and(|fed| now.duration_since(fed) < due) {
            return;
        }
        self.fed = Some(now);
        let status = status();
        if status != self.said {
            self.send(&format!("STATUS={status}\n"));
            self.said = status;
        }
        if self.feed.is_some() {
            self.send("WATCHDOG=1\n");
        }
    }

    fn send(&self, text: &str) {
        if let Some(socket) = &self.socket {
            // A manager that has gone is no reason to stop.
            drop(socket.send(text.as_bytes()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manager_hears_ready_status_and_each_turn_in_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).expect("bound");
        manager.set_nonblocking(true).expect("set");
        let heard = || {
            let mut buffer = [0; 256];
            let mut lines = String::new();
            while let Ok(length) = manager.recv(&mut buffer) {
                lines.push_str(std::str::from_utf8(&buffer[..length]).expect("text"));
            }
            lines
        };
        let mut service = Service::at(path.to_str(), Some(30_000_000));
        service.ready();
        assert_eq!(heard(), "READY=1\n");
        let start = Instant::now();
        let mut turn =
            |seconds, status: &str| service.alive(start + Duration::from_secs(seconds), || status.to_owned());
        turn(0, "connected");
        assert_eq!(heard(), "STATUS=connected\nWATCHDOG=1\n");
        turn(14, "connected");
        assert_eq!(heard(), "");
        turn(15, "connected");
        assert_eq!(heard(), "WATCHDOG=1\n");
        turn(30, "alone");
        assert_eq!(heard(), "STATUS=alone\nWATCHDOG=1\n");
        service.reloading();
        let said = heard();
        assert!(said.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{said}");
    }

    #[test]
    fn without_a_manager_nothing_is_said() {
        let mut service = Service::at(None, None);
        service.ready();
        service.alive(Instant::now(), || panic!("nobody asks"));
        let gone = Service::at(Some("/nonexistent/socket"), None);
        gone.stopping();
    }
}

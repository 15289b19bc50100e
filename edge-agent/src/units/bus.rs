//! A connection to the system's D-Bus: one call at a time, each with a deadline. Blocks, so it is for threads of their own.
//!
//! Decides nothing. Read next: `message.rs` (the bytes), `manager.rs` (what is called).
//!
//! Source: the D-Bus specification 0.43: "Authentication Protocol" (EXTERNAL), "Server Addresses", "Message Bus".

use std::io::{self, Read as _, Write as _};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::time::{Duration, Instant};

use super::message::{self, FIXED_BYTES, Kind, Message, MessageError, Target, Value};

/// Where the bus is unless `DBUS_SYSTEM_BUS_ADDRESS` says otherwise.
const USUAL: &str = "unix:path=/run/dbus/system_bus_socket";
/// Signals that are kept while a call waits for its answer.
const MOST_SIGNALS: usize = 64;

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// There is no bus at its address.
    #[error("the system's D-Bus cannot be reached at `{address}`")]
    Unreachable {
        /// Where.
        address: String,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// It does not let this user in.
    #[error("D-Bus does not let this user in: {answer}")]
    NotLetIn {
        /// Its words.
        answer: String,
    },
    /// It ended in the middle.
    #[error("the connection to D-Bus broke")]
    Broken(#[source] io::Error),
    /// The bus says something that is no message.
    #[error("D-Bus cannot be understood")]
    Unreadable(#[from] MessageError),
    /// Whoever was called refuses.
    #[error("{name}: {text}")]
    Refused {
        /// As `org.freedesktop.systemd1.NoSuchUnit`.
        name: String,
        /// For people.
        text: String,
    },
    /// Nothing came in time.
    #[error("`{what}` was not answered in time")]
    Late {
        /// What was waited for.
        what: String,
    },
    /// An answer of another shape than the interface promises.
    #[error("`{0}` was answered with something else than it promises")]
    Strange(&'static str),
}

/// One connection.
#[derive(Debug)]
pub struct Bus {
    stream: UnixStream,
    serial: u32,
    signals: std::collections::VecDeque<Message>,
}

impl Bus {
    /// Connects to the system's bus.
    pub fn system(deadline: Instant) -> Result<Self, BusError> {
        let address = std::env::var("DBUS_SYSTEM_BUS_ADDRESS").unwrap_or_else(|_| USUAL.to_owned());
        Self::at(&address, deadline)
    }

    /// Connects to a bus at an address as the specification writes it.
    pub fn at(address: &str, deadline: Instant) -> Result<Self, BusError> {
        let unreachable = |cause| BusError::Unreachable {
            address: address.to_owned(),
            cause,
        };
        let stream = connect(address).map_err(unreachable)?;
        let mut bus = Self {
            stream,
            serial: 0,
            signals: std::collections::VecDeque::new(),
        };
        bus.enter(deadline)?;
        bus.call(&of_bus("Hello"), &[], deadline)?;
        Ok(bus)
    }

    /// Says who this is: the socket proves it.
    fn enter(&mut self, deadline: Instant) -> Result<(), BusError> {
        let user: String = rustix::process::geteuid()
            .as_raw()
            .to_string()
            .bytes()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        self.send(format!("\0AUTH EXTERNAL {user}\r\n").as_bytes())?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n") {
            let mut byte = [0];
            self.receive(&mut byte, "AUTH", deadline)?;
            answer.push(byte[0]);
            if answer.len() > 512 {
                return Err(MessageError::Long.into());
            }
        }
        if !answer.starts_with(b"OK ") {
            let answer = String::from_utf8_lossy(&answer).trim().to_owned();
            return Err(BusError::NotLetIn { answer });
        }
        self.send(b"BEGIN\r\n")
    }

    /// Calls, and waits for the answer.
    pub fn call(&mut self, target: &Target<'_>, body: &[Value], deadline: Instant) -> Result<Vec<Value>, BusError> {
        self.serial = self.serial.wrapping_add(1).max(1);
        let serial = self.serial;
        self.send(&message::call(serial, target, body))?;
        loop {
            let message = self.next(target.member, deadline)?;
            match message.kind {
                Kind::Return if message.reply_to == Some(serial) => return Ok(message.body),
                Kind::Error if message.reply_to == Some(serial) => {
                    let text = message.body.first().and_then(Value::as_text).unwrap_or_default();
                    return Err(BusError::Refused {
                        text: text.to_owned(),
                        name: message.name,
                    });
                }
                Kind::Signal => self.keep(message),
                // An answer to a call that was given up, or a call to us, who offer nothing.
                Kind::Return | Kind::Error | Kind::Call | Kind::Other => {}
            }
        }
    }

    /// Asks the bus to pass signals on that this rule describes.
    pub fn listen(&mut self, rule: &str, deadline: Instant) -> Result<(), BusError> {
        self.call(&of_bus("AddMatch"), &[Value::text(rule)], deadline).map(drop)
    }

    /// Waits for a signal of this name whose body is wanted.
    pub fn signal<T>(
        &mut self,
        name: &'static str,
        wanted: impl Fn(&[Value]) -> Option<T>,
        deadline: Instant,
    ) -> Result<T, BusError> {
        loop {
            let message = match self.signals.pop_front() {
                Some(kept) => kept,
                None => self.next(name, deadline)?,
            };
            if message.kind == Kind::Signal
                && message.name == name
                && let Some(found) = wanted(&message.body)
            {
                return Ok(found);
            }
        }
    }

    fn keep(&mut self, signal: Message) {
        if self.signals.len() == MOST_SIGNALS {
            self.signals.pop_front();
        }
        self.signals.push_back(signal);
    }

    fn next(&mut self, what: &str, deadline: Instant) -> Result<Message, BusError> {
        let mut fixed = [0; FIXED_BYTES];
        self.receive(&mut fixed, what, deadline)?;
        let mut bytes = vec![0; message::length(fixed)?];
        bytes[..FIXED_BYTES].copy_from_slice(&fixed);
        self.receive(&mut bytes[FIXED_BYTES..], what, deadline)?;
        Ok(message::read(&bytes)?)
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), BusError> {
        self.stream.write_all(bytes).map_err(BusError::Broken)
    }

    fn receive(&mut self, into: &mut [u8], what: &str, deadline: Instant) -> Result<(), BusError> {
        let late = || BusError::Late { what: what.to_owned() };
        let mut got = 0;
        while got < into.len() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(late());
            }
            let wait = left.max(Duration::from_millis(1));
            self.stream.set_read_timeout(Some(wait)).map_err(BusError::Broken)?;
            match self.stream.read(&mut into[got..]) {
                Ok(0) => return Err(BusError::Broken(io::ErrorKind::UnexpectedEof.into())),
                Ok(count) => got += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(late()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(BusError::Broken(error)),
            }
        }
        Ok(())
    }
}

/// A method of the bus itself.
const fn of_bus(member: &'static str) -> Target<'static> {
    Target {
        destination: "org.freedesktop.DBus",
        path: "/org/freedesktop/DBus",
        interface: "org.freedesktop.DBus",
        member,
    }
}

/// Tries each address of a list: `unix:path=/a;unix:abstract=b,guid=…`.
fn connect(addresses: &str) -> io::Result<UnixStream> {
    let mut last = io::Error::other("only addresses that begin with unix:path= or unix:abstract= are known");
    for address in addresses.split(';') {
        let Some(keys) = address.strip_prefix("unix:") else {
            continue;
        };
        for pair in keys.split(',') {
            let tried = match pair.split_once('=') {
                Some(("path", path)) => UnixStream::connect(path),
                Some(("abstract", name)) => {
                    SocketAddr::from_abstract_name(name).and_then(|address| UnixStream::connect_addr(&address))
                }
                _ => continue,
            };
            match tried {
                Ok(stream) => {
                    stream.set_write_timeout(Some(Duration::from_secs(5)))?;
                    return Ok(stream);
                }
                Err(error) => last = error,
            }
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// A real message bus of its own.
    struct Daemon {
        child: Child,
        address: String,
    }

    impl Drop for Daemon {
        fn drop(&mut self) {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }

    fn daemon() -> Daemon {
        let mut child = Command::new("dbus-daemon")
            .args(["--session", "--nofork", "--print-address"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("`cargo xtask test setup` installs it");
        let mut address = String::new();
        let stdout = child.stdout.take().expect("a pipe");
        BufReader::new(stdout).read_line(&mut address).expect("its address");
        Daemon {
            child,
            address: address.trim().to_owned(),
        }
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[test]
    fn a_real_bus_lets_us_in_answers_and_passes_signals_on() {
        let daemon = daemon();
        let mut bus = Bus::at(&daemon.address, soon()).expect("it lets us in");
        let name = [Value::text("org.example.Sentinel"), Value::u32(4)];
        let got = bus.call(&of_bus("RequestName"), &name, soon()).expect("it answers");
        assert_eq!(got, [Value::u32(1)], "primary owner");
        let has = [Value::text("org.example.Sentinel")];
        let yes = bus.call(&of_bus("NameHasOwner"), &has, soon()).expect("it answers");
        assert_eq!(yes, [Value::Flag(true)]);
        let names = bus.call(&of_bus("ListNames"), &[], soon()).expect("it answers");
        assert!(matches!(&names[0], Value::Array(items, found) if items == "s" && found.len() >= 2));

        bus.listen("type='signal',member='NameOwnerChanged'", soon())
            .expect("taken");
        let other = Bus::at(&daemon.address, soon()).expect("it lets us in");
        let come = bus.signal(
            "NameOwnerChanged",
            |body| body.get(2)?.as_text().map(str::to_owned),
            soon(),
        );
        assert!(come.expect("told").starts_with(':'));
        drop(other);

        let refused = bus
            .call(&of_bus("NoSuchMethod"), &[], soon())
            .expect_err("there is none");
        assert!(
            refused
                .to_string()
                .starts_with("org.freedesktop.DBus.Error.UnknownMethod: "),
            "{refused}"
        );
    }

    #[test]
    fn a_bus_that_is_not_there_or_says_nothing_is_an_error_in_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("bus");
        let address = format!("unix:path={}", path.display());
        let gone = Bus::at(&address, soon()).expect_err("nobody listens");
        assert!(matches!(gone, BusError::Unreachable { .. }), "{gone}");
        assert!(matches!(
            Bus::at("tcp:host=localhost", soon()),
            Err(BusError::Unreachable { .. })
        ));
        let _listener = std::os::unix::net::UnixListener::bind(&path).expect("bound");
        let late = Bus::at(&address, Instant::now() + Duration::from_millis(50)).expect_err("it says nothing");
        assert!(matches!(late, BusError::Late { .. }), "{late}");
    }
}

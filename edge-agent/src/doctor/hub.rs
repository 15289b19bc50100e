//! Looks at the way to the hub: whether this node has joined one, and whether it answers from here.
//!
//! Whether a hub answers is asked with a packet of a QUIC version that nobody speaks: a server answers it with the versions that it does,
//! and keeps no state for it. Source: RFC 9000, 6.1 and 17.2.1.

use std::net::{SocketAddr, UdpSocket};
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use super::{Found, Verdict};
use crate::clock;
use crate::config::Config;
use crate::identity::{Identity, IdentityError, cached_address};
use crate::status;

/// How long a name may take.
const DNS: Duration = Duration::from_secs(3);
/// Packets that are sent before the hub counts as silent, and how long each waits: one may be lost.
const TRIES: u32 = 3;
const ANSWER: Duration = Duration::from_secs(1);
/// Servers answer packets of this length only, so that they never send more than they got.
const PACKET: usize = 1_200;
/// A version of the pattern that is reserved for asking (RFC 9000, 15).
const NOBODYS: [u8; 4] = [0x1a, 0x2a, 0x3a, 0x4a];
/// The name that the packet gives us.
const OURS: &[u8; 8] = b"sentinel";

/// Whether this node belongs to a hub, and its certificate is good.
pub fn identity(identity: &Result<Option<Identity>, IdentityError>) -> Found {
    const PART: &str = "hub";
    match identity {
        Ok(None) => {
            let next = "on the hub: sentinel token create --site SITE, then run the line that it prints here. Until then it works alone";
            Found::of(PART, Verdict::Reduced, "this node has not joined a hub", next)
        }
        Ok(Some(identity)) => {
            let ends = identity.certificate_ends();
            let name = format!("{} of {}, certificate until {ends}", identity.agent(), identity.hub());
            match ends < clock::wall() {
                true => Found::of(
                    PART,
                    Verdict::Reduced,
                    format!("{name}: it has ended"),
                    "nothing, if the hub is reached: the node key renews it; local rules go on meanwhile",
                ),
                false => Found::good(PART, name),
            }
        }
        Err(error) => Found::of(
            PART,
            Verdict::Wrong,
            error.to_string(),
            "restore the identity folder from a backup, or join again",
        ),
    }
}

/// Whether the hub answers, over the network as it is now.
pub fn path(config: &Config, identity: &Identity) -> Found {
    const PART: &str = "hub path";
    let hub = config.hub.as_deref().unwrap_or(identity.hub());
    let session = match status::ask(&config.socket()).map(|node| node.state) {
        Ok(wire::api::NodeState::Connected) => "; the agent has a session",
        Ok(_) => "; the agent has no session",
        Err(_) => "",
    };
    let (addresses, resolved) = match resolve(hub) {
        Ok(found) => (found, hub.to_owned()),
        Err(reason) => match cached_address(&config.state_dir) {
            Some(address) => (vec![address], format!("{hub} ({reason}; last known as {address})")),
            None => {
                let next = "check the name and this machine's resolver, or set `hub` to an address";
                return Found::of(PART, Verdict::Wrong, format!("{hub}: {reason}{session}"), next);
            }
        },
    };
    for address in &addresses {
        if let Ok(took) = answers(*address) {
            let evidence = format!("{resolved} at {address} answers in {} ms{session}", took.as_millis());
            return Found::good(PART, evidence);
        }
    }
    let evidence = format!("{resolved} does not answer over UDP at {}{session}", words(&addresses));
    let next = "let UDP to that port through firewalls on the way; local rules go on without it, and entries wait in the journal";
    Found::of(PART, Verdict::Wrong, evidence, next)
}

fn words(addresses: &[SocketAddr]) -> String {
    let words: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    words.join(", ")
}

/// The addresses of `HOST:PORT`; a resolver that hangs is left alone.
fn resolve(hub: &str) -> Result<Vec<SocketAddr>, String> {
    use std::net::ToSocketAddrs as _;
    let (tell, told) = sync_channel(1);
    let name = hub.to_owned();
    std::thread::spawn(move || {
        let found = name
            .to_socket_addrs()
            .map(Iterator::collect)
            .map_err(|error| error.to_string());
        // Nobody waits any more.
        drop(tell.send(found));
    });
    told.recv_timeout(DNS)
        .unwrap_or_else(|_| Err(format!("the name is not resolved within {} s", DNS.as_secs())))
}

/// How long a QUIC server at this address takes to answer.
fn answers(address: SocketAddr) -> std::io::Result<Duration> {
    let any: SocketAddr = match address {
        SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
        SocketAddr::V6(_) => ([0_u16; 8], 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(address)?;
    socket.set_read_timeout(Some(ANSWER))?;
    let mut answer = [0; 256];
    let mut last = std::io::Error::from(std::io::ErrorKind::TimedOut);
    for _ in 0..TRIES {
        let begun = Instant::now();
        socket.send(&question())?;
        match socket.recv(&mut answer) {
            Ok(length) if names_versions(&answer[..length]) => return Ok(begun.elapsed()),
            Ok(_) => last = std::io::Error::other("something else than QUIC answers"),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// A long header of a version that nobody speaks, padded.
fn question() -> [u8; PACKET] {
    let mut packet = [0; PACKET];
    packet[0] = 0xc0;
    packet[1..5].copy_from_slice(&NOBODYS);
    packet[5] = 8;
    packet[6..14].copy_from_slice(&getrandom::u64().unwrap_or_default().to_le_bytes());
    packet[14] = 8;
    packet[15..23].copy_from_slice(OURS);
    packet
}

/// A version negotiation for us: a long header of version 0 with our name as its destination.
fn names_versions(packet: &[u8]) -> bool {
    packet.first().is_some_and(|first| first & 0x80 != 0)
        && packet.get(1..5) == Some(&[0; 4])
        && packet.get(5) == Some(&8)
        && packet.get(6..14) == Some(OURS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_garbage_and_an_answer_are_told_apart() {
        let served = |answer: fn(&[u8]) -> Vec<u8>| {
            let server = UdpSocket::bind("127.0.0.1:0").expect("a port");
            let address = server.local_addr().expect("bound");
            std::thread::spawn(move || {
                let mut packet = [0; 2_000];
                while let Ok((length, from)) = server.recv_from(&mut packet) {
                    server.send_to(&answer(&packet[..length]), from).expect("sent");
                }
            });
            answers(address)
        };
        let quic = served(|asked| {
            [
                &[0x80, 0, 0, 0, 0, 8][..],
                &asked[15..23],
                &[8],
                &asked[6..14],
                &[0, 0, 0, 1],
            ]
            .concat()
        });
        assert!(quic.is_ok(), "{quic:?}");
        let garbage = served(|_| b"HTTP/1.1 400 Bad Request".to_vec());
        assert!(garbage.expect_err("not QUIC").to_string().contains("something else"));
        let closed = UdpSocket::bind("127.0.0.1:0")
            .and_then(|socket| socket.local_addr())
            .expect("a port");
        assert!(answers(closed).is_err(), "nobody is there");
    }
}

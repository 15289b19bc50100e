//! Asks whether a QUIC server answers on a path, without making a connection.
//!
//! A first packet of a version that nobody speaks: a server answers it with the versions that it does speak, and keeps no state
//! (RFC 9000, 6.1; the version is one of those that are reserved for this, 15). The packet is as large as a real first packet, so
//! that a path too small for those does not pass for one that works. The answer repeats random numbers of the question; it proves
//! that somebody on the path answers, which is enough to try the real thing.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_lc_rs::rand;
use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::endpoint::any;
use crate::limits::MTU_BYTES;
use crate::tunnel::Tunnel;

const RESERVED_VERSION: [u8; 4] = [0x5a, 0x7a, 0x9a, 0xba];
const ID_BYTES: usize = 8;

/// Asks one server, over one socket or through one neighbour.
#[derive(Debug)]
pub struct Knocker {
    way: Way,
    was_refused: AtomicBool,
}

#[derive(Debug)]
enum Way {
    Direct(UdpSocket),
    Through(Tunnel),
}

impl Way {
    async fn send(&self, packet: &[u8]) {
        // A full buffer or a path that is gone: the next one may pass.
        let _ = match self {
            Self::Direct(socket) => socket.send(packet).await.map(drop),
            Self::Through(tunnel) => tunnel.send(packet),
        };
    }

    async fn recv(&self, room: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Direct(socket) => socket.recv(room).await,
            Self::Through(tunnel) => Ok(tunnel.recv(room).await),
        }
    }
}

impl Knocker {
    /// For the server at that address. Must be called inside a tokio runtime.
    pub fn new(server: SocketAddr) -> io::Result<Self> {
        let socket = std::net::UdpSocket::bind(any(server))?;
        socket.connect(server)?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            way: Way::Direct(UdpSocket::from_std(socket)?),
            was_refused: AtomicBool::new(false),
        })
    }

    /// For the hub at the other end of a tunnel, which no endpoint reads at present.
    pub fn through(tunnel: Tunnel) -> Self {
        tunnel.clear();
        Self {
            way: Way::Through(tunnel),
            was_refused: AtomicBool::new(false),
        }
    }

    /// Whether the server's machine said that nobody listens there: the path works, and the server is away.
    pub fn was_refused(&self) -> bool {
        self.was_refused.load(Ordering::Relaxed)
    }

    /// Whether it answers within `patience`, asked `times` in that time.
    pub async fn knock(&self, times: u32, patience: Duration) -> bool {
        for _ in 0..times {
            let mut ids = [0; 2 * ID_BYTES];
            if rand::fill(&mut ids).is_err() {
                return false;
            }
            self.way.send(&question(&ids)).await;
            if timeout(patience / times.max(1), self.answered(&ids)).await.is_ok() {
                return true;
            }
        }
        false
    }

    async fn answered(&self, ids: &[u8; 2 * ID_BYTES]) {
        let mut packet = [0; MTU_BYTES as usize];
        loop {
            match self.way.recv(&mut packet).await {
                Ok(length) if is_answer(&packet[..length], ids) => return,
                Ok(_) => {}
                // A closed port, told by the kernel. What comes next comes after the next question.
                Err(cause) => {
                    let is_refusal = cause.kind() == io::ErrorKind::ConnectionRefused;
                    self.was_refused.fetch_or(is_refusal, Ordering::Relaxed);
                    std::future::pending().await
                }
            }
        }
    }
}

fn question(ids: &[u8; 2 * ID_BYTES]) -> Vec<u8> {
    let (to, from) = ids.split_at(ID_BYTES);
    let mut packet = vec![0xc0];
    packet.extend_from_slice(&RESERVED_VERSION);
    for id in [to, from] {
        packet.push(ID_BYTES as u8);
        packet.extend_from_slice(id);
    }
    packet.resize(usize::from(MTU_BYTES), 0);
    packet
}

/// Version 0, and the two ids the other way round.
fn is_answer(packet: &[u8], ids: &[u8; 2 * ID_BYTES]) -> bool {
    let (to, from) = ids.split_at(ID_BYTES);
    let mut expected = vec![0, 0, 0, 0];
    for id in [from, to] {
        expected.push(ID_BYTES as u8);
        expected.extend_from_slice(id);
    }
    packet.first().is_some_and(|first| first & 0x80 != 0) && packet[1..].starts_with(&expected)
}

//! Carries a neighbour's packets to the hub, and its answers back: each packet in one packet, with [`OVERHEAD_BYTES`] around it.
//!
//! What travels inside is the neighbour's own QUIC with the hub: sealed end to end, so whoever carries it can drop it and nothing
//! else. The bytes around it are authenticated by keys of the two agents' session (`seal.rs`), so that nobody else's packets are
//! carried. They do not travel inside that session: a full-size first packet of QUIC would not fit into a datagram of it, and loss
//! would be repaired twice.
//!
//! Both ends are at one UDP socket, the one of the agents' session ([`PeerSocket`]): a byte below 0x40 opens a carried packet and
//! never a QUIC one (RFC 9443, with the grease of RFC 9287 turned off).
//!
//! Whoever is carried itself may carry on for its own neighbours, so that two stand between a node and the hub at most: the second
//! one takes such packets only while it has a path of its own.
//!
//! Invariants: a packet is carried to the hub alone, whatever it says; it is carried twice at most, and never in a circle; whoever is
//! carried is bounded in bytes per second, and in bytes and packets per day, in all its sessions together.
//! Read next: `peer.rs` (the session that a tie belongs to), `edge-agent/src/peers.rs` (who may be carried).

mod allowance;
mod seal;
mod socket;
mod tie;

pub(crate) use allowance::Ledger;
pub use allowance::{Allowance, Kept, Limits, Used};
pub use seal::OVERHEAD_BYTES;
pub(crate) use seal::{KEY_BYTES, Keys};
pub(crate) use socket::{Onward, PeerSocket};
pub use tie::Carried;
pub(crate) use tie::Tie;

use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};

use crate::endpoint::any;

/// A way to the hub through one neighbour: the socket of an endpoint whose only correspondent is the hub.
#[derive(Clone)]
pub struct Tunnel {
    socket: Arc<PeerSocket>,
    tie: Arc<Tie>,
    hub: SocketAddr,
}

impl fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tunnel").field("hub", &self.hub).finish_non_exhaustive()
    }
}

impl Tunnel {
    pub(crate) fn new(socket: Arc<PeerSocket>, tie: Arc<Tie>, hub: SocketAddr) -> Self {
        Self { socket, tie, hub }
    }

    /// Sends one packet by this way, as the endpoint does. A path that is full or too small for it loses it.
    pub fn send(&self, packet: &[u8]) -> io::Result<()> {
        self.socket.send_up(&self.tie, packet)
    }

    /// The next packet that came by this way.
    pub(crate) async fn recv(&self, room: &mut [u8]) -> usize {
        std::future::poll_fn(|cx| {
            let mut length = 0;
            let mut bufs = [IoSliceMut::new(room)];
            match self.tie.inbox().take(cx, &mut bufs, |_, bytes| length = bytes) {
                0 => Poll::Pending,
                _ => Poll::Ready(length),
            }
        })
        .await
    }

    /// Forgets what an earlier reader has left.
    pub(crate) fn clear(&self) {
        self.tie.inbox().clear();
    }
}

impl AsyncUdpSocket for Tunnel {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.socket.clone().create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.socket.send_up(&self.tie, transmit.contents)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let count = self.tie.inbox().take(cx, bufs, |index, length| {
            meta[index] = RecvMeta {
                addr: self.hub,
                len: length,
                stride: length,
                ecn: None,
                dst_ip: None,
            };
        });
        match count {
            0 => Poll::Pending,
            count => Poll::Ready(Ok(count)),
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        // Only its family counts: that of the hub, which packets from here go to.
        Ok(any(self.hub))
    }

    fn may_fragment(&self) -> bool {
        self.socket.may_fragment()
    }
}

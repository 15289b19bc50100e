//! QUIC with mutual TLS for both ends: sockets, certificates, framed streams.
//!
//! Knows how bytes travel and who is at the other end; never what they mean for an agent or a hub. Nothing here retries for
//! longer than one connect, and nothing here queues without a bound.
//!
//! Invariant: a [`Session`] exists only between a hub and an agent, or two agents, that both hold a certificate of the same CA, for
//! their role and with exactly their name in it; frames of one class arrive in order, each once, or the session ends.
//!
//! Read next: `certificate.rs` (who is trusted), `limits.rs` (every bound), `endpoint.rs` (both ends), `framed.rs` (a session),
//! `peer.rs` and `tunnel.rs` (agents among themselves).

mod certificate;
mod clock;
mod crowd;
mod door;
mod endpoint;
mod fault;
mod framed;
mod knock;
mod limits;
mod nudge;
mod paced;
mod packed;
mod peer;
mod queue;
mod tls;
mod tunnel;
mod window;

pub use certificate::{CertificateFault, Trust, agent_uri, hub_uri, pin_of};
pub use clock::CertificateClock;
pub use crowd::{Crowd, Inside, place};
pub use door::{Door, DoorError};
pub use endpoint::{Arrival, Client, Guest, Pending, Server, Visit};
pub use fault::{CloseCode, ConnectError, End};
pub use framed::{Event, SendError, Sender, Session};
pub use knock::Knocker;
pub use limits::{Timing, queue_limit_bytes};
pub use paced::Paced;
pub use peer::{Keeper, Met, PeerEnd, PeerError, PeerHandle};
pub use quinn::{AsyncUdpSocket, Runtime, UdpPoller};
pub use tls::{ClientTls, Leaf, PeerTls, ServerTls, TlsError, provider};
pub use tunnel::{Allowance, Carried, Kept, Limits, OVERHEAD_BYTES, Tunnel, Used};

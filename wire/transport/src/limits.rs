//! Every bound of a connection, with its reason.
//!
//! A hub holds ten thousand sessions, so what an idle one may keep is small; what an authenticated peer may pin is bounded by
//! the windows below: 256 KiB received and 256 KiB in flight, plus the queues.

use std::sync::Arc;
use std::time::Duration;

use quinn::{EndpointConfig, IdleTimeout, MtuDiscoveryConfig, TransportConfig, VarInt};
use wire::frame::Class;

use crate::window::Windows;

/// One per [`Class`], each way.
const STREAMS: u32 = Class::ALL.len() as u32;
/// 64 KiB each 100 ms of round trip is 5 Mbit/s for one class, more than an agent ever has; on a LAN it is the wire's speed.
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
/// All streams together never want more than their sum, so that one class cannot fill another's window.
pub(crate) const CONNECTION_WINDOW_BYTES: u32 = STREAMS * STREAM_WINDOW_BYTES;
/// Unacknowledged bytes that this end keeps for sending again: as much as the other end's window lets through.
const SEND_WINDOW_BYTES: u64 = CONNECTION_WINDOW_BYTES as u64;
/// QUIC's least (RFC 9000, 14): passes every tunnel, VPN and PPPoE line without a probe. Probing would add packets and timers
/// to each idle session to save header bytes that small frames do not pay.
pub(crate) const MTU_BYTES: u16 = 1200;
/// What the path between two agents must take in one packet, so that either can carry a full-size packet of the other.
pub(crate) const CARRIED_BYTES: u16 = MTU_BYTES + crate::tunnel::OVERHEAD_BYTES as u16;
/// A path between two agents that is too small for that is tried again as often: three packets each time.
pub(crate) const TRY_AGAIN: Duration = Duration::from_secs(600);
/// Handshake messages held out of order. A client hello with X25519MLKEM768 and a two-certificate flight are below 6 KiB.
const CRYPTO_BUFFER_BYTES: usize = 16 * 1024;
/// Handshakes that a hub works on at once; later ones wait in quinn's queue. 375 us of CPU each makes this half a second of work.
pub(crate) const MAX_HANDSHAKES: usize = 1024;
/// Of these, one address has a quarter at most: wide enough for a site that comes back at once, and never all of them.
pub(crate) const HANDSHAKES_EACH: usize = MAX_HANDSHAKES / 4;
/// Above this many unfinished handshakes an address must first show, by a retry token, that it receives what we send there.
pub(crate) const RETRY_ABOVE: usize = 256;
/// Connects that wait to be accepted: a whole fleet that comes back at once, not quinn's 65,536.
const MAX_INCOMING: usize = 16 * 1024;
/// Bytes that one waiting connect may send before it is accepted: its client hello and a little more.
const INCOMING_BYTES: u64 = 16 * 1024;
/// The same for all of them together.
const INCOMING_TOTAL_BYTES: u64 = 64 * 1024 * 1024;
/// How long the end of a session may take to deliver what was queued before it.
pub(crate) const LINGER: Duration = Duration::from_secs(2);
/// How long a handshake may take at the hub: a few round trips with loss, not a place to camp.
pub(crate) const HANDSHAKE: Duration = Duration::from_secs(15);

/// The times of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// A session in which nothing arrives for this long is over: two lost keep-alives, each repeated by QUIC meanwhile.
    pub idle: Duration,
    /// How often a silent agent pings, so that NAT mappings live (30 s is the shortest that is common); longer than the ten
    /// seconds between telemetry blocks, so that a node that reports never pings. Only agents ping:
    /// the hub hears these pings and answers them, so one side's timer serves both.
    pub keep_alive: Duration,
    /// How long one connect may take in all.
    pub connect: Duration,
    /// A connect that has heard nothing begins anew after this, then after an eighth as long again, and so on: QUIC's own
    /// repetition doubles its pauses, which would sleep through the moment in which a path heals. Within `connect` it grows
    /// beyond a second, so that a path over a satellite is not too slow for it.
    pub first_answer: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(25),
            keep_alive: Duration::from_secs(12),
            connect: Duration::from_secs(10),
            first_answer: Duration::from_millis(400),
        }
    }
}

/// Bytes of frames that may wait in one class of one session. A sender that finds it full ends the session: whoever cannot
/// read this much is not there.
pub const fn queue_limit_bytes(class: Class) -> usize {
    match class {
        // A hundred acks, commands and beacons are 20 KiB.
        Class::Control => 256 * 1024,
        // Five full frames of entries: enough to keep a link busy for the time that the core takes to make the next.
        Class::Journal => 2 * 1024 * 1024,
        // Two of the largest blocks.
        Class::Telemetry => 3 * 1024 * 1024,
        // Two of the largest bundles.
        Class::Bundle => 3 * 1024 * 1024,
    }
}

/// What the hub's end of every connection keeps to.
pub(crate) fn server_transport(timing: Timing) -> Arc<TransportConfig> {
    let mut config = common(timing);
    // Two questions at once: a renewal, and one that was given up a moment ago.
    config.max_concurrent_bidi_streams(VarInt::from_u32(2));
    // Offload keeps a buffer of ten packets for each connection: 12 KB of an idle session, for a hub that mostly sends acks.
    config.enable_segmentation_offload(false);
    Arc::new(config)
}

/// What the agent's end of every connection keeps to.
pub(crate) fn client_transport(timing: Timing) -> Arc<TransportConfig> {
    let mut config = common(timing);
    // The hub opens one: the challenge of a rejoin.
    config.max_concurrent_bidi_streams(VarInt::from_u32(1));
    config
        .keep_alive_interval(Some(timing.keep_alive))
        .congestion_controller_factory(Arc::new(Windows::default()));
    Arc::new(config)
}

/// What the end of a session between agents keeps to that answers.
pub(crate) fn answering_transport(timing: Timing) -> Arc<TransportConfig> {
    let mut config = common(timing);
    config
        .max_concurrent_bidi_streams(VarInt::from_u32(2))
        .enable_segmentation_offload(false)
        .mtu_discovery_config(Some(room_for_carried()));
    Arc::new(config)
}

/// What the end of a session between agents keeps to that dials.
pub(crate) fn dialling_transport(timing: Timing) -> Arc<TransportConfig> {
    let mut config = common(timing);
    config
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .keep_alive_interval(Some(timing.keep_alive))
        .congestion_controller_factory(Arc::new(Windows::default()))
        .mtu_discovery_config(Some(room_for_carried()));
    Arc::new(config)
}

/// One packet after the handshake, of the size that carried ones have. The step is wider than what lies between that and QUIC's least,
/// so that no other size is tried; a path that takes it is not asked again.
fn room_for_carried() -> MtuDiscoveryConfig {
    let mut config = MtuDiscoveryConfig::default();
    config
        .upper_bound(CARRIED_BYTES)
        .minimum_change(20)
        .interval(TRY_AGAIN)
        .black_hole_cooldown(TRY_AGAIN);
    config
}

/// Accepting: every queue before a handshake is bounded.
pub(crate) fn bound_server(config: &mut quinn::ServerConfig) {
    config
        .max_incoming(MAX_INCOMING)
        .incoming_buffer_size(INCOMING_BYTES)
        .incoming_buffer_size_total(INCOMING_TOTAL_BYTES)
        // An agent behind NAT changes its address without asking.
        .migration(true);
}

/// Nothing special: random connection ids of 8 bytes and a random reset key.
pub(crate) fn endpoint_config() -> EndpointConfig {
    EndpointConfig::default()
}

fn common(timing: Timing) -> TransportConfig {
    let idle = IdleTimeout::try_from(timing.idle).unwrap_or_else(|_| IdleTimeout::from(VarInt::MAX));
    let mut config = TransportConfig::default();
    config
        .max_idle_timeout(Some(idle))
        .max_concurrent_uni_streams(VarInt::from_u32(STREAMS))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW_BYTES))
        .send_window(SEND_WINDOW_BYTES)
        .crypto_buffer_size(CRYPTO_BUFFER_BYTES)
        .initial_mtu(MTU_BYTES)
        .min_mtu(MTU_BYTES)
        .mtu_discovery_config(None)
        // Datagrams are not used; a peer that sends one breaks the protocol.
        .datagram_receive_buffer_size(None)
        // The first repetition of an unanswered packet comes after three of these; QUIC's default of 333 ms suits the moon less
        // than the edge: a slower path costs one needless packet.
        .initial_rtt(Duration::from_millis(100))
        .allow_spin(false);
    config
}

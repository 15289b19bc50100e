//! Sessions between two agents: both show the certificates that they show the hub, and each learns who the other is.
//!
//! One endpoint makes and takes them, over the one socket that also bears what they carry for each other (`tunnel.rs`). Who is a
//! neighbour is the caller's decision: it has the name before anything is exchanged.
//!
//! A certificate whose time is over is let in, and nothing is carried for its owner until the caller says that it has shown who it is
//! ([`PeerHandle::prove`]).
//!
//! Invariant: a [`Met`] exists only between two agents of one trust domain; the keys of its tie come from its own TLS session.
//! Read next: `tunnel.rs`, `edge-agent/src/peers.rs` (the caller).

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use quinn::{Connection, Endpoint, Incoming, TokioRuntime};
use tokio::task::JoinSet;
use tokio::time::timeout;
use wire::ids::AgentId;

use crate::certificate::agent_named;
use crate::endpoint::{certificates, client_config, server_config};
use crate::fault::CloseCode;
use crate::framed::Session;
use crate::limits::{CARRIED_BYTES, Timing, answering_transport, dialling_transport, endpoint_config};
use crate::tls::PeerTls;
use crate::tunnel::{Carried, KEY_BYTES, Kept, Keys, Ledger, Limits, Onward, PeerSocket, Tie, Tunnel};

/// QUIC wants some name; none is sent, and none is looked at.
const SERVER_NAME: &str = "sentinel-agent";
const EXPORTER_LABEL: &[u8] = b"EXPORTER-sentinel-relay/1";
/// How many packets of full size are lost in a row before the path counts as too small for them: quinn tries each size so often.
const TRIES: u64 = 3;
/// What an agent signs to show its node key: bound to this session, so that it is worth nothing in another.
const PROOF_LABEL: &[u8] = b"EXPORTER-sentinel-peer-key/1";
/// Handshakes at once: a site that comes back together, and no more of a small node's time.
const MAX_HANDSHAKES: usize = 16;

/// Why there is no session with a neighbour.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// Nobody answers there.
    #[error("nobody answers at {address}")]
    Silent {
        /// Where.
        address: SocketAddr,
    },
    /// Somebody else answers.
    #[error("{address} is {found}, not {expected}")]
    Stranger {
        /// Where.
        address: SocketAddr,
        /// Who it is.
        found: AgentId,
        /// Who should be there.
        expected: AgentId,
    },
    /// Its certificate, or the connection.
    #[error("no session with {address}: {reason}")]
    Failed {
        /// With whom.
        address: SocketAddr,
        /// What went wrong.
        reason: String,
    },
}

/// An agent's end for its neighbours.
#[derive(Debug)]
pub struct PeerEnd {
    endpoint: Endpoint,
    socket: Arc<PeerSocket>,
    tls: PeerTls,
    timing: Timing,
    limits: Limits,
    ledger: Ledger,
    /// At most [`MAX_HANDSHAKES`].
    handshakes: JoinSet<Option<Met>>,
}

/// A session with a neighbour that has just begun.
#[derive(Debug)]
pub struct Met {
    /// Who it is.
    pub agent: AgentId,
    /// Whether this end made the session.
    pub dialled: bool,
    /// Whether its certificate is good now. One whose time is over leaves the question whether its owner still has the node key.
    pub is_fresh: bool,
    /// What both ends of this session know and nobody else: to be signed by who has something to show.
    pub binding: [u8; 32],
    /// Frames to and from it.
    pub session: Session,
    /// What lasts as long as the session.
    pub handle: PeerHandle,
}

impl Met {
    /// Sends it away.
    pub fn refuse(self, reason: &str) {
        self.handle.close(reason);
    }
}

/// A neighbour in touch: its round trip, and the way through it.
#[derive(Clone)]
pub struct PeerHandle {
    connection: Connection,
    socket: Arc<PeerSocket>,
    tie: Arc<Tie>,
}

impl std::fmt::Debug for PeerHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PeerHandle")
            .field("remote", &self.connection.remote_address())
            .finish_non_exhaustive()
    }
}

impl PeerHandle {
    /// The round trip to it.
    pub fn rtt(&self) -> Duration {
        self.connection.rtt()
    }

    /// Of a thousand packets to it, how many were lost so far.
    pub fn lost_per_mille(&self) -> u16 {
        let path = self.connection.stats().path;
        let lost = path.lost_packets.saturating_mul(1_000) / path.sent_packets.max(1);
        u16::try_from(lost).unwrap_or(1_000).min(1_000)
    }

    /// Whether packets of full size that are carried, with what is around them, reach it in one piece; `None`: that is not known yet.
    ///
    /// The session tries it with one packet after the handshake, and every ten minutes again where it does not. While they do not,
    /// nothing is carried for this neighbour.
    pub fn has_room(&self) -> Option<bool> {
        let path = self.connection.stats().path;
        let has_room = if self.tie.was_too_big(Instant::now()) {
            Some(false)
        } else if path.current_mtu >= CARRIED_BYTES {
            Some(true)
        } else {
            (path.lost_plpmtud_probes >= TRIES || path.black_holes_detected > 0).then_some(false)
        };
        self.tie.set_narrow(has_room == Some(false));
        has_room
    }

    /// How many packets have come from it so far.
    pub fn heard_packets(&self) -> u64 {
        self.connection.stats().udp_rx.datagrams
    }

    /// Packets of the session itself, both ways, and their bytes without UDP's headers; what is carried is not among them.
    pub fn crossed(&self) -> (u64, u64) {
        let stats = self.connection.stats();
        let packets = stats.udp_rx.datagrams + stats.udp_tx.datagrams;
        (packets, stats.udp_rx.bytes + stats.udp_tx.bytes)
    }

    /// It has shown who it is: from now on its packets are carried.
    pub fn prove(&self) {
        self.tie.prove();
    }

    /// A way to the hub through it, for one reader at a time.
    pub fn tunnel(&self, hub: SocketAddr) -> Tunnel {
        Tunnel::new(self.socket.clone(), self.tie.clone(), hub)
    }

    /// Ends the session, and says why.
    pub fn close(&self, reason: &str) {
        self.connection.close(CloseCode::Denied.number(), reason.as_bytes());
    }

    /// What was carried for it so far.
    pub fn carried(&self) -> Carried {
        self.tie.counts()
    }
}

/// What its caller stores of how much was carried.
#[derive(Debug, Clone)]
pub struct Keeper(Ledger);

impl Keeper {
    /// Waits until something of [`Keeper::to_store`] has to be stored so that carrying goes on. Safe to drop and call again.
    pub async fn must_store(&self) {
        self.0.is_low().await;
    }

    /// What has to count as used after a crash, of all neighbours.
    pub fn to_store(&self) -> BTreeMap<AgentId, Kept> {
        self.0.to_keep(Instant::now())
    }

    /// That is stored now.
    pub fn stored(&self, kept: &BTreeMap<AgentId, Kept>) {
        self.0.kept(kept);
    }

    /// Carries nothing more, and tells what was used in truth, to be stored at the end.
    pub fn settle(&self) -> BTreeMap<AgentId, Kept> {
        self.0.settle()
    }
}

impl PeerEnd {
    /// Listens on a socket that is bound already. Must be called inside a tokio runtime.
    pub fn new(socket: UdpSocket, tls: PeerTls, timing: Timing, limits: Limits) -> io::Result<Self> {
        let socket = PeerSocket::new(socket)?;
        let mut config = endpoint_config();
        // The bit by which QUIC packets and carried ones are told apart is set in each of ours.
        config.grease_quic_bit(false);
        let server = server_config(&tls.answer, answering_transport(timing));
        let endpoint =
            Endpoint::new_with_abstract_socket(config, Some(server), socket.clone(), Arc::new(TokioRuntime))?;
        Ok(Self {
            endpoint,
            socket,
            tls,
            timing,
            limits,
            ledger: Ledger::default(),
            handshakes: JoinSet::new(),
        })
    }

    /// Goes on with what was used of each neighbour's day, as an earlier process stored it. From here on nothing is carried before the caller
    /// has stored that it will be.
    pub fn keeping(&mut self, kept: BTreeMap<AgentId, Kept>) -> Keeper {
        self.ledger = Ledger::keeping(kept);
        Keeper(self.ledger.clone())
    }

    /// Where it listens.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    /// Uses another certificate or other CAs from the next session on.
    pub fn replace_tls(&mut self, tls: PeerTls) {
        self.endpoint
            .set_server_config(Some(server_config(&tls.answer, answering_transport(self.timing))));
        self.tls = tls;
    }

    /// Carries neighbours' packets to the hub from now on, over this agent's own path; `None`: nowhere. Nothing is carried before the
    /// first call.
    pub fn carry_to(&self, hub: Option<SocketAddr>) {
        self.socket.carry_to(hub.map_or(Onward::Nowhere, Onward::Hub));
    }

    /// Carries neighbours' packets on to the neighbour that carries this agent, which takes them only over a path of its own.
    pub fn carry_through(&self, next: &PeerHandle) {
        self.socket.carry_to(Onward::Through(Arc::downgrade(&next.tie)));
    }

    /// Begins to make a session with the neighbour of that name. The future borrows nothing.
    pub fn dial(
        &self,
        expected: AgentId,
        address: SocketAddr,
    ) -> impl Future<Output = Result<Met, PeerError>> + Send + use<> {
        let config = client_config(&self.tls.dial, dialling_transport(self.timing));
        let verdict = self.tls.dial.verdict.clone();
        let connecting = self.endpoint.connect_with(config, address, SERVER_NAME);
        let end = self.end();
        let patience = self.timing.connect;
        async move {
            let failed = |reason: String| PeerError::Failed { address, reason };
            let connecting = connecting.map_err(|cause| failed(cause.to_string()))?;
            let made = timeout(patience, async {
                let connection = connecting.await.map_err(|cause| {
                    let fault = verdict.lock().unwrap_or_else(PoisonError::into_inner).take();
                    failed(fault.map_or_else(|| cause.to_string(), |fault| fault.to_string()))
                })?;
                let found = end
                    .who(&connection)
                    .ok_or_else(|| failed("no agent's name".to_owned()))?;
                if found != expected {
                    connection.close(CloseCode::Protocol.number(), b"you are somebody else");
                    return Err(PeerError::Stranger {
                        address,
                        found,
                        expected,
                    });
                }
                let mut met = end.meet(connection, found, true);
                let welcome = met.session.wait_for_control().await;
                welcome.map_err(|cause| failed(cause.to_string()))?;
                Ok(met)
            });
            made.await.unwrap_or(Err(PeerError::Silent { address }))
        }
    }

    /// The next session that a neighbour has made; `None` after [`PeerEnd::close`]. Safe to drop and call again.
    pub async fn accept(&mut self) -> Option<Met> {
        loop {
            tokio::select! {
                incoming = self.endpoint.accept(), if self.handshakes.len() < MAX_HANDSHAKES => {
                    let (end, patience) = (self.end(), self.timing.connect);
                    let answering = answer(incoming?, end);
                    self.handshakes.spawn(async move { timeout(patience, answering).await.ok().flatten() });
                }
                Some(done) = self.handshakes.join_next() => {
                    if let Ok(Some(met)) = done {
                        return Some(met);
                    }
                }
            }
        }
    }

    /// Tells every neighbour that the process stops.
    pub fn close(&self, reason: &str) {
        self.endpoint.close(CloseCode::Stopping.number(), reason.as_bytes());
    }

    fn end(&self) -> End {
        End {
            socket: self.socket.clone(),
            tls: self.tls.clone(),
            limits: self.limits,
            ledger: self.ledger.clone(),
        }
    }
}

/// What a handshake under way needs to know.
struct End {
    socket: Arc<PeerSocket>,
    tls: PeerTls,
    limits: Limits,
    ledger: Ledger,
}

impl End {
    fn who(&self, connection: &Connection) -> Option<AgentId> {
        agent_named(certificates(connection).first()?, &self.tls.answer.trust_domain)
    }

    fn meet(&self, connection: Connection, agent: AgentId, dialled: bool) -> Met {
        let mut exported = [0; KEY_BYTES];
        connection
            .export_keying_material(&mut exported, EXPORTER_LABEL, b"")
            .expect("40 bytes are far below TLS 1.3's limit for exported material (255 hashes)");
        let mut binding = [0; 32];
        connection
            .export_keying_material(&mut binding, PROOF_LABEL, b"")
            .expect("32 bytes are, too");
        let keys = Keys::new(&exported, dialled);
        let is_fresh = certificates(&connection)
            .first()
            .is_some_and(|leaf| self.tls.is_fresh(leaf));
        let share = self.ledger.share(&agent, self.limits, Instant::now());
        let tie = Arc::new(Tie::new(keys, connection.remote_address(), share, is_fresh));
        self.socket.add(&tie);
        Met {
            agent,
            dialled,
            is_fresh,
            binding,
            session: Session::new(connection.clone(), false),
            handle: PeerHandle {
                connection,
                socket: self.socket.clone(),
                tie,
            },
        }
    }
}

async fn answer(incoming: Incoming, end: End) -> Option<Met> {
    let address = incoming.remote_address();
    let refused = |cause: &dyn std::fmt::Display| tracing::debug!(%address, %cause, "no session with a neighbour");
    let connecting = incoming.accept().inspect_err(|cause| refused(cause)).ok()?;
    let connection = connecting.await.inspect_err(|cause| refused(cause)).ok()?;
    let Some(agent) = end.who(&connection) else {
        connection.close(CloseCode::CertificateNeeded.number(), b"agents show a certificate here");
        return None;
    };
    let mut met = end.meet(connection, agent, false);
    met.session
        .open_control()
        .await
        .inspect_err(|cause| refused(cause))
        .ok()?;
    Some(met)
}

//! Both ends of a connection: a [`Client`] that makes one, a [`Server`] that takes them.
//!
//! The server decides by the ALPN name which door a connection came to, and that nobody enters the session door without a
//! certificate. Whether a known agent may enter (deny set, load) is its caller's decision: [`Pending::admit`] or
//! [`Pending::refuse`]. A client is connected only when it was admitted.
//!
//! Read next: `tls.rs` (who is trusted), `framed.rs` (what happens on a session).

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, PoisonError};

use quinn::crypto::rustls::{HandshakeData, QuicClientConfig, QuicServerConfig};
use quinn::{
    AsyncUdpSocket, Connection, ConnectionError, Endpoint, Incoming, Runtime, TokioRuntime, TransportConfig, VarInt,
};
use rustls_pki_types::CertificateDer;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};
use wire::enroll::{ALPN_JOIN, ALPN_REJOIN, ALPN_SESSION};
use wire::ids::AgentId;

use crate::certificate::{agent_named, domain_named};
use crate::crowd::Crowd;
use crate::door::{Door, DoorError};
use crate::fault::{CloseCode, ConnectError, End};
use crate::framed::Session;
use crate::limits::{
    HANDSHAKE, HANDSHAKES_EACH, LINGER, MAX_HANDSHAKES, RETRY_ABOVE, Timing, bound_server, client_transport,
    endpoint_config, server_transport,
};
use crate::tls::{ClientTls, ServerTls};
use crate::tunnel::Tunnel;

/// The hub is known by its SPIFFE id, never by a DNS name; QUIC wants some name, and no name is sent.
const SERVER_NAME: &str = "sentinel-hub";

/// An agent's end: one UDP socket.
#[derive(Debug)]
pub struct Client {
    endpoint: Endpoint,
    timing: Timing,
}

impl Client {
    /// Opens a socket of the family that reaches `hub`. Must be called inside a tokio runtime.
    pub fn new(hub: SocketAddr, timing: Timing) -> Result<Self, ConnectError> {
        let socket = UdpSocket::bind(any(hub)).map_err(|cause| no_socket(&cause))?;
        let runtime = Arc::new(TokioRuntime);
        let socket = runtime.wrap_udp_socket(socket).map_err(|cause| no_socket(&cause))?;
        Self::with_socket(socket, runtime, timing).map_err(|cause| no_socket(&cause))
    }

    /// Uses a socket and a runtime of the caller's: an in-memory network and its clock.
    pub fn with_socket(socket: Arc<dyn AsyncUdpSocket>, runtime: Arc<dyn Runtime>, timing: Timing) -> io::Result<Self> {
        let endpoint = Endpoint::new_with_abstract_socket(endpoint_config(), None, socket, runtime)?;
        Ok(Self { endpoint, timing })
    }

    /// Opens no socket: what is sent goes by way of a neighbour. Must be called inside a tokio runtime.
    pub fn through(tunnel: Tunnel, timing: Timing) -> Result<Self, ConnectError> {
        tunnel.clear();
        Self::with_socket(Arc::new(tunnel), Arc::new(TokioRuntime), timing).map_err(|cause| no_socket(&cause))
    }

    /// Goes on with a socket of its own, of the family that reaches `hub`: sessions move to it as they are.
    pub fn go_direct(&self, hub: SocketAddr) -> Result<(), ConnectError> {
        let socket = UdpSocket::bind(any(hub)).map_err(|cause| no_socket(&cause))?;
        self.endpoint.rebind(socket).map_err(|cause| no_socket(&cause))
    }

    /// Goes on by way of a neighbour, or of another one: sessions move to it as they are.
    pub fn go_through(&self, tunnel: Tunnel) -> Result<(), ConnectError> {
        tunnel.clear();
        self.endpoint
            .rebind_abstract(Arc::new(tunnel))
            .map_err(|cause| no_socket(&cause))
    }

    /// Makes a session: returns once the hub has let this agent in. `tls` is one of [`ClientTls::session`].
    pub async fn session(&self, hub: SocketAddr, tls: &ClientTls) -> Result<Session, ConnectError> {
        let deadline = Instant::now() + self.timing.connect;
        let connection = self.connect(hub, tls, deadline).await?;
        let mut session = Session::new(connection, false);
        match timeout_at(deadline, session.wait_for_control()).await {
            Ok(Ok(())) => Ok(session),
            Ok(Err(cause)) => Err(self.sort(&cause, hub, tls)),
            Err(_) => Err(self.unreachable(hub)),
        }
    }

    /// Comes to the join or rejoin door. `tls` is one of [`ClientTls::join`] or [`ClientTls::rejoin`].
    pub async fn visit(&self, hub: SocketAddr, tls: &ClientTls) -> Result<Visit, ConnectError> {
        let deadline = Instant::now() + self.timing.connect;
        let connection = self.connect(hub, tls, deadline).await?;
        Ok(Visit { connection })
    }

    async fn connect(&self, hub: SocketAddr, tls: &ClientTls, deadline: Instant) -> Result<Connection, ConnectError> {
        let config = client_config(tls, client_transport(self.timing));
        let mut patience = self.timing.first_answer;
        loop {
            *tls.verdict.lock().unwrap_or_else(PoisonError::into_inner) = None;
            let mut connecting = self
                .endpoint
                .connect_with(config.clone(), hub, SERVER_NAME)
                .map_err(|cause| ConnectError::Failed {
                    address: hub,
                    reason: cause.to_string(),
                })?;
            let until = deadline.min(Instant::now() + patience);
            let heard = timeout_at(until, connecting.handshake_data())
                .await
                .map(|data| data.map(drop));
            match heard {
                Ok(Ok(())) => {
                    return match timeout_at(deadline, connecting).await {
                        Ok(Ok(connection)) => Ok(connection),
                        Ok(Err(cause)) => Err(self.sort(&cause, hub, tls)),
                        Err(_) => Err(self.unreachable(hub)),
                    };
                }
                Ok(Err(cause)) => return Err(self.sort(&cause, hub, tls)),
                Err(_) if until == deadline => return Err(self.unreachable(hub)),
                Err(_) => patience += patience / 8,
            }
        }
    }

    fn sort(&self, cause: &ConnectionError, hub: SocketAddr, tls: &ClientTls) -> ConnectError {
        let verdict = tls.verdict.lock().unwrap_or_else(PoisonError::into_inner).take();
        ConnectError::of(cause, hub, self.timing.connect, verdict)
    }

    fn unreachable(&self, address: SocketAddr) -> ConnectError {
        ConnectError::Unreachable {
            address,
            waited: self.timing.connect,
        }
    }
}

/// A connection to the join or rejoin door, as the agent sees it.
#[derive(Debug)]
pub struct Visit {
    connection: Connection,
}

impl Visit {
    /// Joining: the agent speaks first.
    pub async fn open(&self) -> Result<Door, DoorError> {
        let streams = self.connection.open_bi().await;
        door(&self.connection, streams)
    }

    /// Rejoining: the hub speaks first.
    pub async fn answer(&self) -> Result<Door, DoorError> {
        wait_for_door(&self.connection).await
    }

    /// The trust domain in the hub's certificate.
    pub fn trust_domain(&self) -> Option<String> {
        domain_named(certificates(&self.connection).first()?)
    }

    /// The certificates that the hub showed.
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        certificates(&self.connection)
    }

    /// Leaves.
    pub fn leave(self) {
        self.connection.close(CloseCode::Done.number(), b"done");
    }
}

/// What came to a server, after its handshake.
#[derive(Debug)]
pub enum Arrival {
    /// An agent with a good certificate wants a session.
    Session(Pending),
    /// Somebody wants to join.
    Join(Guest),
    /// Somebody wants to rejoin.
    Rejoin(Guest),
}

/// An agent before the session door.
#[derive(Debug)]
pub struct Pending {
    connection: Connection,
    agent: AgentId,
}

impl Pending {
    /// Who it is, as its certificate says.
    pub fn agent(&self) -> &AgentId {
        &self.agent
    }

    /// Its certificate, DER, which the handshake has checked.
    pub fn certificate(&self) -> Vec<u8> {
        let chain = certificates(&self.connection);
        chain.first().map(|leaf| leaf.to_vec()).unwrap_or_default()
    }

    /// Where it is.
    pub fn remote_address(&self) -> SocketAddr {
        self.connection.remote_address()
    }

    /// Lets it in.
    pub async fn admit(self) -> Result<Session, End> {
        let mut session = Session::new(self.connection, true);
        session.open_control().await?;
        Ok(session)
    }

    /// Sends it away.
    pub fn refuse(self, code: CloseCode, reason: &str) {
        self.connection.close(code.number(), reason.as_bytes());
    }
}

/// Somebody at the join or rejoin door, as the hub sees them. Nothing is known of them yet.
#[derive(Debug)]
pub struct Guest {
    connection: Connection,
}

impl Guest {
    /// Where they are.
    pub fn remote_address(&self) -> SocketAddr {
        self.connection.remote_address()
    }

    /// Joining: the agent speaks first.
    pub async fn listen(&self) -> Result<Door, DoorError> {
        wait_for_door(&self.connection).await
    }

    /// Rejoining: the hub speaks first.
    pub async fn challenge(&self) -> Result<Door, DoorError> {
        let streams = self.connection.open_bi().await;
        door(&self.connection, streams)
    }

    /// Sends them away: there is no place.
    pub fn refuse(self, reason: &str) {
        close(&self.connection, CloseCode::Busy, reason);
    }

    /// Waits, for two seconds at most, until they have left, then closes.
    pub async fn see_off(self) {
        let _ = timeout(LINGER, self.connection.closed()).await;
        self.connection.close(CloseCode::Done.number(), b"done");
    }
}

/// The hub's end: one UDP socket, three doors.
#[derive(Debug)]
pub struct Server {
    endpoint: Endpoint,
    timing: Timing,
    trust_domain: Arc<str>,
    /// At most [`MAX_HANDSHAKES`].
    handshakes: JoinSet<Option<Arrival>>,
    /// How many of them each place has.
    shaking: Crowd,
}

impl Server {
    /// Listens on a socket that is bound already. Must be called inside a tokio runtime.
    pub fn new(socket: UdpSocket, tls: &ServerTls, timing: Timing) -> io::Result<Self> {
        let runtime = Arc::new(TokioRuntime);
        let socket = runtime.wrap_udp_socket(socket)?;
        Self::with_socket(socket, runtime, tls, timing)
    }

    /// Uses a socket and a runtime of the caller's: an in-memory network and its clock.
    pub fn with_socket(
        socket: Arc<dyn AsyncUdpSocket>,
        runtime: Arc<dyn Runtime>,
        tls: &ServerTls,
        timing: Timing,
    ) -> io::Result<Self> {
        let config = server_config(tls, server_transport(timing));
        let endpoint = Endpoint::new_with_abstract_socket(endpoint_config(), Some(config), socket, runtime)?;
        Ok(Self {
            endpoint,
            timing,
            trust_domain: tls.trust_domain.as_str().into(),
            handshakes: JoinSet::new(),
            shaking: Crowd::default(),
        })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    /// Uses another certificate or other CAs from the next connection on.
    pub fn replace_tls(&mut self, tls: &ServerTls) {
        self.trust_domain = tls.trust_domain.as_str().into();
        self.endpoint
            .set_server_config(Some(server_config(tls, server_transport(self.timing))));
    }

    /// The next arrival; `None` after [`Server::close`]. Safe to drop and call again.
    pub async fn accept(&mut self) -> Option<Arrival> {
        loop {
            tokio::select! {
                incoming = self.endpoint.accept(), if self.handshakes.len() < MAX_HANDSHAKES => {
                    self.begin(incoming?);
                }
                Some(done) = self.handshakes.join_next() => {
                    // A handshake that failed is told to the other end by TLS, and logged where it failed.
                    if let Ok(Some(arrival)) = done {
                        return Some(arrival);
                    }
                }
            }
        }
    }

    /// Tells every connection that the process stops, and waits, for two seconds at most, until they know.
    pub async fn close(self, reason: &str) {
        self.endpoint.close(CloseCode::Stopping.number(), reason.as_bytes());
        let _ = timeout(LINGER, self.endpoint.wait_idle()).await;
    }

    fn begin(&mut self, incoming: Incoming) {
        if self.handshakes.len() > RETRY_ABOVE && !incoming.remote_address_validated() && incoming.may_retry() {
            // A failed retry means that the connect has vanished meanwhile.
            let _ = incoming.retry();
            return;
        }
        let from = incoming.remote_address().ip();
        let Some(inside) = self.shaking.enter(from, HANDSHAKES_EACH) else {
            return incoming.refuse();
        };
        let trust_domain = self.trust_domain.clone();
        self.handshakes.spawn(async move {
            let address = incoming.remote_address();
            let result = timeout(HANDSHAKE, shake_hands(incoming, &trust_domain)).await;
            drop(inside);
            match result {
                Ok(Ok(arrival)) => arrival,
                Ok(Err(cause)) => {
                    tracing::debug!(%address, error = %cause, "handshake failed");
                    None
                }
                Err(_) => {
                    tracing::debug!(%address, "handshake took too long");
                    None
                }
            }
        });
    }
}

async fn shake_hands(incoming: Incoming, trust_domain: &str) -> Result<Option<Arrival>, ConnectionError> {
    let connection = incoming.accept()?.await?;
    let protocol = connection
        .handshake_data()
        .and_then(|data| data.downcast::<HandshakeData>().ok())
        .and_then(|data| data.protocol);
    Ok(match protocol.as_deref() {
        Some(ALPN_SESSION) => before_session(connection, trust_domain).map(Arrival::Session),
        Some(ALPN_JOIN) => Some(Arrival::Join(Guest { connection })),
        Some(ALPN_REJOIN) => Some(Arrival::Rejoin(Guest { connection })),
        // TLS refuses other names; without one there is no door.
        _ => {
            close(&connection, CloseCode::Protocol, "no ALPN name");
            None
        }
    })
}

fn before_session(connection: Connection, trust_domain: &str) -> Option<Pending> {
    let agent = certificates(&connection)
        .first()
        .and_then(|leaf| agent_named(leaf, trust_domain));
    if agent.is_none() {
        let reason = "a session needs a client certificate";
        close(&connection, CloseCode::CertificateNeeded, reason);
    }
    Some(Pending {
        agent: agent?,
        connection,
    })
}

pub(crate) fn client_config(tls: &ClientTls, transport: Arc<TransportConfig>) -> quinn::ClientConfig {
    let crypto =
        QuicClientConfig::try_from(tls.config.clone()).expect("the provider in tls.rs holds TLS13_AES_128_GCM_SHA256");
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    config.transport_config(transport);
    config
}

pub(crate) fn server_config(tls: &ServerTls, transport: Arc<TransportConfig>) -> quinn::ServerConfig {
    let crypto =
        QuicServerConfig::try_from(tls.config.clone()).expect("the provider in tls.rs holds TLS13_AES_128_GCM_SHA256");
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(transport);
    bound_server(&mut config);
    config
}

/// The chain that the other end showed in the handshake, which has checked it.
pub(crate) fn certificates(connection: &Connection) -> Vec<CertificateDer<'static>> {
    connection
        .peer_identity()
        .and_then(|identity| identity.downcast::<Vec<CertificateDer<'static>>>().ok())
        .map(|chain| *chain)
        .unwrap_or_default()
}

async fn wait_for_door(connection: &Connection) -> Result<Door, DoorError> {
    let streams = timeout(HANDSHAKE, connection.accept_bi())
        .await
        .map_err(|_| DoorError::Silent { waited: HANDSHAKE })?;
    door(connection, streams)
}

fn door(
    connection: &Connection,
    streams: Result<(quinn::SendStream, quinn::RecvStream), ConnectionError>,
) -> Result<Door, DoorError> {
    match streams {
        Ok((send, recv)) => Ok(Door::new(connection.clone(), send, recv)),
        Err(cause) => Err(DoorError::Ended { end: End::from(&cause) }),
    }
}

fn close(connection: &Connection, code: CloseCode, reason: &str) {
    let number: VarInt = code.number();
    connection.close(number, reason.as_bytes());
}

/// Any port here, in the family of an address there.
pub(crate) fn any(there: SocketAddr) -> SocketAddr {
    match there {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}

fn no_socket(cause: &io::Error) -> ConnectError {
    ConnectError::Socket {
        reason: cause.to_string(),
    }
}

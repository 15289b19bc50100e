//! One UDP socket for an agent's neighbours: their QUIC, and the packets that they carry for each other.
//!
//! Reading it is the work of the endpoint of the agents' sessions; carried packets are dealt with on the way, without a task or a
//! queue between. Nothing waits: a packet that cannot be sent on at once is lost, as in a full router.
//!
//! Read next: `tie.rs` (what is kept for each neighbour).

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use rustix::net::sockopt;
use tokio::io::ReadBuf;
use tokio::net::UdpSocket;

use super::seal::{OVERHEAD_BYTES, Way, is_carried, tie_of};
use super::tie::{Out, Tie};
use crate::endpoint::any;

/// Longest packet that is carried: QUIC's own here are 1,200 bytes, the rest is room for other ends.
const MAX_PACKET_BYTES: usize = 2048;
/// Carried packets that are dealt with before the endpoint's other work has its turn.
const AT_ONCE: usize = 64;
/// A carried session is silent for a third of half a minute at most; then its socket is given back.
const UNUSED_FOR: Duration = Duration::from_secs(60);

/// Where what neighbours send is carried.
#[derive(Clone, Default)]
pub(crate) enum Onward {
    /// Nowhere: this agent does not reach the hub, or through two neighbours.
    #[default]
    Nowhere,
    /// To the hub, which this agent reaches over a path of its own.
    Hub(SocketAddr),
    /// To the neighbour that carries this agent, and that reaches the hub over a path of its own.
    Through(Weak<Tie>),
}

/// The socket.
pub(crate) struct PeerSocket {
    io: UdpSocket,
    /// The system would not promise to send each packet in one piece.
    may_fragment: bool,
    ours: Weak<Self>,
    /// By the tie number that packets to us bear. An agent has as many as it has neighbours.
    ties: Mutex<BTreeMap<u32, Weak<Tie>>>,
    /// The same ties by their lanes.
    lanes: Mutex<BTreeMap<u8, Weak<Tie>>>,
    onward: Mutex<Onward>,
    scratch: Mutex<Vec<u8>>,
}

impl fmt::Debug for PeerSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerSocket")
            .field("io", &self.io)
            .finish_non_exhaustive()
    }
}

impl PeerSocket {
    /// Takes a bound socket. Must be called inside a tokio runtime.
    pub(crate) fn new(socket: std::net::UdpSocket) -> io::Result<Arc<Self>> {
        socket.set_nonblocking(true)?;
        let may_fragment = !goes_whole(&socket);
        let io = UdpSocket::from_std(socket)?;
        Ok(Arc::new_cyclic(|ours| Self {
            io,
            may_fragment,
            ours: ours.clone(),
            ties: Mutex::default(),
            lanes: Mutex::default(),
            onward: Mutex::default(),
            scratch: Mutex::default(),
        }))
    }

    pub(crate) fn add(&self, tie: &Arc<Tie>) {
        let mut ties = lock(&self.ties);
        ties.retain(|_, tie| tie.strong_count() > 0);
        ties.insert(tie.keys.opener.tie(), Arc::downgrade(tie));
        let mut lanes = lock(&self.lanes);
        lanes.retain(|_, tie| tie.strong_count() > 0);
        if let Some(free) = (1..=u8::MAX).find(|lane| !lanes.contains_key(lane)) {
            tie.set_lane(free);
            lanes.insert(free, Arc::downgrade(tie));
        }
    }

    /// Where to carry packets from now on.
    pub(crate) fn carry_to(&self, onward: Onward) {
        *lock(&self.onward) = onward;
    }

    /// Sends a packet of ours by way of a neighbour.
    pub(crate) fn send_up(&self, tie: &Tie, packet: &[u8]) -> io::Result<()> {
        self.send(tie, Way::Up, packet)
    }

    fn send(&self, tie: &Tie, way: Way, packet: &[u8]) -> io::Result<()> {
        let mut sealed = lock(&self.scratch);
        tie.keys.sealer.seal(way, packet, &mut sealed);
        match self.io.try_send_to(&sealed, tie.address()) {
            // Lost, as in a router that it does not fit into; whoever asks about the neighbour hears why.
            Err(cause) if is_too_big(&cause) => {
                tie.packet_was_too_big(Instant::now());
                Ok(())
            }
            sent => sent.map(drop),
        }
    }

    /// A packet came that is none of QUIC's.
    fn on_carried(&self, packet: &[u8], from: SocketAddr) {
        let Some(tie) = tie_of(packet).and_then(|tie| lock(&self.ties).get(&tie)?.upgrade()) else {
            return;
        };
        let Some((way, inside)) = tie.keys.opener.open(packet) else {
            return tie.refused();
        };
        tie.came_from(from);
        match way {
            Way::Down => tie.inbox().put(inside),
            Way::DownFor(lane) => self.bring(&tie, lane, inside),
            Way::Up => self.carry(&tie, inside),
            Way::UpFor(lane) => self.carry_on(&tie, lane, inside),
        }
    }

    /// What a neighbour itself sends goes to the hub, or to the neighbour that carries us.
    fn carry(&self, tie: &Arc<Tie>, packet: &[u8]) {
        match &*lock(&self.onward) {
            Onward::Nowhere => {}
            Onward::Hub(hub) => self.send_out(tie, 0, *hub, packet),
            Onward::Through(next) => {
                let next = next.upgrade().filter(|next| !Arc::ptr_eq(next, tie) && tie.lane() != 0);
                if let Some(next) = next
                    && tie.may_carry(packet.len(), Instant::now())
                {
                    let _ = self.send(&next, Way::UpFor(tie.lane()), packet);
                }
            }
        }
    }

    /// What a neighbour carries for one of its own goes to the hub and nowhere else: a packet has two carriers at most, and so it
    /// never goes in a circle.
    fn carry_on(&self, tie: &Arc<Tie>, lane: u8, packet: &[u8]) {
        let hub = match &*lock(&self.onward) {
            Onward::Hub(hub) if lane != 0 => *hub,
            _ => return,
        };
        self.send_out(tie, lane, hub, packet);
    }

    /// What comes from the hub for one of our neighbours, by way of the one that carries us.
    fn bring(&self, from: &Arc<Tie>, lane: u8, packet: &[u8]) {
        let is_ours = match &*lock(&self.onward) {
            Onward::Through(next) => std::ptr::eq(next.as_ptr(), Arc::as_ptr(from)),
            Onward::Nowhere | Onward::Hub(_) => false,
        };
        let tie = lock(&self.lanes).get(&lane).and_then(Weak::upgrade);
        if let Some(tie) = tie.filter(|_| is_ours)
            && tie.may_carry(packet.len(), Instant::now())
        {
            let _ = self.send(&tie, Way::Down, packet);
        }
    }

    fn send_out(&self, tie: &Arc<Tie>, lane: u8, hub: SocketAddr, packet: &[u8]) {
        if tie.may_carry(packet.len(), Instant::now()) {
            tie.send_out(lane, hub, packet, || self.open(tie, lane, hub));
        }
    }

    fn open(&self, tie: &Arc<Tie>, lane: u8, hub: SocketAddr) -> io::Result<Out> {
        let socket = std::net::UdpSocket::bind(any(hub))?;
        socket.connect(hub)?;
        socket.set_nonblocking(true)?;
        let socket = Arc::new(UdpSocket::from_std(socket)?);
        let task =
            tokio::spawn(bring_back(socket.clone(), self.ours.clone(), Arc::downgrade(tie), lane)).abort_handle();
        Ok(Out { socket, hub, task })
    }
}

/// Brings the hub's answers to the neighbour, until there are none for [`UNUSED_FOR`] or the tie is gone.
async fn bring_back(out: Arc<UdpSocket>, socket: Weak<PeerSocket>, tie: Weak<Tie>, lane: u8) {
    let way = match lane {
        0 => Way::Down,
        lane => Way::DownFor(lane),
    };
    let mut packet = [0; MAX_PACKET_BYTES];
    while let Ok(received) = tokio::time::timeout(UNUSED_FOR, out.recv(&mut packet)).await {
        let (Some(socket), Some(tie)) = (socket.upgrade(), tie.upgrade()) else {
            return;
        };
        // The hub's port is closed: told once for each packet, and worth nothing to QUIC.
        let Ok(length) = received else { continue };
        if tie.may_carry(length, Instant::now()) {
            let _ = socket.send(&tie, way, &packet[..length]);
        }
    }
}

impl AsyncUdpSocket for PeerSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Writable {
            socket: self,
            waiting: None,
        })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        match self.io.try_send_to(transmit.contents, transmit.destination) {
            // Only a packet that tries the path is so large; that none comes back is its answer.
            Err(cause) if is_too_big(&cause) => Ok(()),
            sent => sent.map(drop),
        }
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut packet = [0; MAX_PACKET_BYTES + OVERHEAD_BYTES];
        for _ in 0..AT_ONCE {
            let mut buffer = ReadBuf::new(&mut packet);
            let from = match ready!(self.io.poll_recv_from(cx, &mut buffer)) {
                Ok(from) => from,
                // A neighbour's port is closed: told once for each packet.
                Err(_) => continue,
            };
            let packet = buffer.filled();
            if is_carried(packet) {
                self.on_carried(packet, from);
                continue;
            }
            let Some(room) = bufs[0].get_mut(..packet.len()) else {
                continue;
            };
            room.copy_from_slice(packet);
            meta[0] = RecvMeta {
                addr: from,
                len: packet.len(),
                stride: packet.len(),
                ecn: None,
                dst_ip: None,
            };
            return Poll::Ready(Ok(1));
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.local_addr()
    }

    fn may_fragment(&self) -> bool {
        self.may_fragment
    }
}

/// Has every packet sent in one piece or not at all: one that is cut up on the way is lost with any of its parts, and would hide that
/// the path is too small. False: the system has no such promise.
fn goes_whole(socket: &std::net::UdpSocket) -> bool {
    let is_ipv4 = socket.local_addr().is_ok_and(|address| address.is_ipv4());
    // A socket of IPv6 may send to IPv4 addresses, too.
    let fourth = sockopt::set_ip_mtu_discover(socket, sockopt::Ipv4PathMtuDiscovery::PROBE);
    let sixth = (!is_ipv4).then(|| sockopt::set_ipv6_mtu_discover(socket, sockopt::Ipv6PathMtuDiscovery::PROBE));
    sixth.unwrap_or(fourth).is_ok()
}

fn is_too_big(cause: &io::Error) -> bool {
    cause.raw_os_error() == Some(rustix::io::Errno::MSGSIZE.raw_os_error())
}

type Waiting = Pin<Box<dyn Future<Output = io::Result<()>> + Send + Sync>>;

/// Waits until the socket takes packets again.
struct Writable {
    socket: Arc<PeerSocket>,
    waiting: Option<Waiting>,
}

impl fmt::Debug for Writable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writable").finish_non_exhaustive()
    }
}

impl UdpPoller for Writable {
    fn poll_writable(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let socket = self.socket.clone();
        let waiting = self
            .waiting
            .get_or_insert_with(|| Box::pin(async move { socket.io.writable().await }));
        let result = ready!(waiting.as_mut().poll(cx));
        self.waiting = None;
        Poll::Ready(result)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! The network between agents and hub, and among the agents of a site: one UDP address for each path, whose packets can be dropped.
//!
//! It stands outside both processes, so that a cut is what a cut is in the field: silence, in both directions, with no error to
//! anybody. Each client keeps one socket towards the hub, so that QUIC sees a stable path.
//!
//! Invariant: while a path is cut, not one packet passes, and every packet that did not pass is counted.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Largest UDP payload over IPv4.
const MAX_PACKET_BYTES: usize = 65_507;
/// Sockets that one node may have at a time: one for its session, a few that it has just given up.
const MAX_CLIENTS: usize = 16;
/// Packets that wait while this thread does not run: a second of a fast link.
const BUFFER_BYTES: usize = 4 * 1024 * 1024;
/// How soon the end of the demo is noticed.
const LOOK_AROUND: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 200_000_000,
};

/// A path to be opened: from a node to whatever listens there.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The node that sends first.
    pub node: String,
    /// Its neighbour at the other end; `None`: the hub.
    pub neighbour: Option<String>,
    /// Where the other end listens.
    pub to: SocketAddr,
}

/// One path.
#[derive(Debug)]
pub struct Lane {
    /// The node that sends first.
    pub node: String,
    /// Its neighbour at the other end; `None`: the hub.
    pub neighbour: Option<String>,
    /// Where the node finds the other end.
    pub address: SocketAddr,
    /// Where the other end listens.
    pub to: SocketAddr,
    cut: AtomicBool,
    passed: AtomicU64,
    dropped: AtomicU64,
}

impl Lane {
    /// Whether it ends at that node.
    pub fn touches(&self, name: &str) -> bool {
        self.node == name || self.neighbour.as_deref() == Some(name)
    }

    /// Drops every packet from now on, both ways; false if it did already.
    pub fn cut(&self) -> bool {
        !self.cut.swap(true, Ordering::SeqCst)
    }

    /// Lets packets through again; false if it did already.
    pub fn heal(&self) -> bool {
        self.cut.swap(false, Ordering::SeqCst)
    }

    /// Packets dropped since the start.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Whether a packet may pass; counts it either way.
    fn admits(&self) -> bool {
        let open = !self.cut.load(Ordering::SeqCst);
        let counter = if open { &self.passed } else { &self.dropped };
        counter.fetch_add(1, Ordering::Relaxed);
        open
    }
}

/// All lanes, served by one thread.
#[derive(Debug)]
pub struct Proxy {
    /// In the order in which they were wanted.
    pub lanes: Vec<Arc<Lane>>,
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Opens an address on loopback for each path.
    pub fn open(wanted: &[Wanted]) -> io::Result<Self> {
        let mut ports = Vec::new();
        let mut lanes = Vec::new();
        for path in wanted {
            let front = socket()?;
            let lane = Arc::new(Lane {
                node: path.node.clone(),
                neighbour: path.neighbour.clone(),
                to: path.to,
                address: front.local_addr()?,
                cut: AtomicBool::new(false),
                passed: AtomicU64::new(0),
                dropped: AtomicU64::new(0),
            });
            lanes.push(Arc::clone(&lane));
            ports.push(Port {
                lane,
                front,
                clients: Vec::new(),
            });
        }
        let ending = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&ending);
        let thread = std::thread::Builder::new()
            .name("proxy".to_owned())
            .spawn(move || serve(&mut ports, &told))?;
        Ok(Self {
            lanes,
            ending,
            thread: Some(thread),
        })
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            // A proxy that panicked passes nothing any more either.
            drop(thread.join());
        }
    }
}

/// One path's sockets.
struct Port {
    lane: Arc<Lane>,
    front: UdpSocket,
    clients: Vec<Client>,
}

/// One socket of an agent, and ours towards the other end for it.
struct Client {
    address: SocketAddr,
    back: UdpSocket,
    used: Instant,
}

fn socket() -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_nonblocking(true)?;
    // The kernel gives what it allows; less is only more loss under load.
    let _as_allowed = rustix::net::sockopt::set_socket_recv_buffer_size(&socket, BUFFER_BYTES);
    Ok(socket)
}

fn serve(ports: &mut [Port], ending: &AtomicBool) {
    let mut packet = vec![0; MAX_PACKET_BYTES];
    while !ending.load(Ordering::SeqCst) {
        if wait(ports) {
            for port in ports.iter_mut() {
                port.pass_up(&mut packet);
                port.pass_down(&mut packet);
            }
        }
    }
}

/// Waits until a socket has something, or a fifth of a second; false if none has.
fn wait(ports: &[Port]) -> bool {
    let mut waiting: Vec<PollFd<'_>> = Vec::new();
    for port in ports {
        waiting.push(PollFd::new(&port.front, PollFlags::IN));
        for client in &port.clients {
            waiting.push(PollFd::new(&client.back, PollFlags::IN));
        }
    }
    matches!(poll(&mut waiting, Some(&LOOK_AROUND)), Ok(1..))
}

impl Port {
    fn pass_up(&mut self, packet: &mut [u8]) {
        while let Ok((length, from)) = self.front.recv_from(packet) {
            if !self.lane.admits() {
                continue;
            }
            if let Ok(client) = self.client(from) {
                client.used = Instant::now();
                // A full buffer or a hub that is away loses the packet, as a network does.
                drop(client.back.send(&packet[..length]));
            }
        }
    }

    fn pass_down(&mut self, packet: &mut [u8]) {
        for client in &mut self.clients {
            loop {
                match client.back.recv(packet) {
                    Ok(length) if self.lane.admits() => {
                        client.used = Instant::now();
                        drop(self.front.send_to(&packet[..length], client.address));
                    }
                    Ok(_) => {}
                    // The hub's port is closed: told by the kernel once for each packet, and worth nothing to QUIC.
                    Err(cause) if cause.kind() == io::ErrorKind::ConnectionRefused => {}
                    Err(_) => break,
                }
            }
        }
    }

    fn client(&mut self, address: SocketAddr) -> io::Result<&mut Client> {
        if let Some(index) = self.clients.iter().position(|client| client.address == address) {
            return Ok(&mut self.clients[index]);
        }
        if self.clients.len() >= MAX_CLIENTS {
            let oldest = (0..self.clients.len()).min_by_key(|index| self.clients[*index].used);
            oldest.map(|index| self.clients.swap_remove(index));
        }
        let back = socket()?;
        back.connect(self.lane.to)?;
        self.clients.push(Client {
            address,
            back,
            used: Instant::now(),
        });
        let last = self.clients.len() - 1;
        Ok(&mut self.clients[last])
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A hub that sends back whatever comes.
    fn echo() -> SocketAddr {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = socket.local_addr().expect("bound");
        std::thread::spawn(move || {
            let mut packet = [0; 2048];
            while let Ok((length, from)) = socket.recv_from(&mut packet) {
                drop(socket.send_to(&packet[..length], from));
            }
        });
        address
    }

    /// Sends until something comes back: UDP may lose any one packet. Panics after 10 s.
    fn must_pass(agent: &UdpSocket, text: &[u8]) {
        agent
            .set_read_timeout(Some(Duration::from_millis(200)))
            .expect("a timeout");
        let mut packet = [0; 2048];
        for _ in 0..50 {
            agent.send(text).expect("sent");
            if let Ok(length) = agent.recv(&mut packet)
                && &packet[..length] == text
            {
                return;
            }
        }
        panic!("nothing came back");
    }

    #[test]
    fn a_cut_drops_both_ways_counts_and_heals_on_the_same_path() {
        let hub = echo();
        let wanted = ["edge-01", "edge-02"].map(|node| Wanted {
            node: node.to_owned(),
            neighbour: None,
            to: hub,
        });
        let proxy = Proxy::open(&wanted).expect("ports");
        let agents: Vec<UdpSocket> = proxy
            .lanes
            .iter()
            .map(|lane| {
                let agent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
                agent.connect(lane.address).expect("an address");
                agent
            })
            .collect();
        must_pass(&agents[0], b"before");
        must_pass(&agents[1], b"before");
        assert!(proxy.lanes[0].cut() && !proxy.lanes[0].cut());
        let dropped = proxy.lanes[0].dropped();
        agents[0].send(b"lost").expect("sent");
        // The other lane still works, and the cut one has counted.
        must_pass(&agents[1], b"during");
        while proxy.lanes[0].dropped() == dropped {
            std::thread::yield_now();
        }
        let mut packet = [0; 64];
        let late = agents[0].recv(&mut packet).map(|length| packet[..length].to_vec());
        assert!(late.is_err() || late.is_ok_and(|bytes| bytes == b"before"));
        assert!(proxy.lanes[0].heal() && !proxy.lanes[0].heal());
        must_pass(&agents[0], b"after");
    }
}

//! A UDP path between agents and a hub that can be cut, and that counts what crosses it with all headers.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// IPv4 and UDP headers of each packet.
const HEADER_BYTES: u64 = 28;

/// One path. It ends with its last handle.
#[derive(Clone)]
pub struct Tap {
    shared: Arc<Shared>,
    _ends: Arc<Ends>,
}

/// Stops the threads, which hold the rest.
struct Ends(Arc<Shared>);

struct Shared {
    front: UdpSocket,
    hub: SocketAddr,
    cut: AtomicBool,
    stopped: AtomicBool,
    bytes: AtomicU64,
    packets: AtomicU64,
    /// One socket towards the hub for each agent that came through.
    backs: Mutex<BTreeMap<SocketAddr, Arc<UdpSocket>>>,
}

impl Tap {
    /// A path to `hub` on a fresh port of loopback.
    pub fn new(hub: SocketAddr) -> io::Result<Self> {
        let front = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        front.set_read_timeout(Some(Duration::from_millis(200)))?;
        let shared = Arc::new(Shared {
            front,
            hub,
            cut: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            bytes: AtomicU64::new(0),
            packets: AtomicU64::new(0),
            backs: Mutex::new(BTreeMap::new()),
        });
        let up = shared.clone();
        std::thread::spawn(move || up.carry_up());
        Ok(Self {
            _ends: Arc::new(Ends(shared.clone())),
            shared,
        })
    }

    /// Where agents find the hub through this path.
    pub fn address(&self) -> SocketAddr {
        self.shared.front.local_addr().expect("a bound socket has an address")
    }

    /// Cuts or heals it, both ways.
    pub fn cut(&self, cut: bool) {
        self.shared.cut.store(cut, Ordering::SeqCst);
    }

    /// Bytes with headers, and packets, both ways together.
    pub fn crossed(&self) -> (u64, u64) {
        (
            self.shared.bytes.load(Ordering::SeqCst),
            self.shared.packets.load(Ordering::SeqCst),
        )
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.stopped.store(true, Ordering::SeqCst);
    }
}

impl Shared {
    fn passes(&self, length: usize) -> bool {
        if self.cut.load(Ordering::SeqCst) {
            return false;
        }
        self.bytes.fetch_add(length as u64 + HEADER_BYTES, Ordering::SeqCst);
        self.packets.fetch_add(1, Ordering::SeqCst);
        true
    }

    fn carry_up(self: Arc<Self>) {
        let mut buffer = vec![0; 65_536];
        while !self.stopped.load(Ordering::SeqCst) {
            let Ok((length, agent)) = self.front.recv_from(&mut buffer) else {
                continue;
            };
            if !self.passes(length) {
                continue;
            }
            if let Ok(back) = self.back(agent) {
                // A lost packet is what UDP promises.
                drop(back.send(&buffer[..length]));
            }
        }
    }

    fn back(self: &Arc<Self>, agent: SocketAddr) -> io::Result<Arc<UdpSocket>> {
        let mut backs = self.backs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(back) = backs.get(&agent) {
            return Ok(back.clone());
        }
        let back = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        back.connect(self.hub)?;
        back.set_read_timeout(Some(Duration::from_millis(200)))?;
        let back = Arc::new(back);
        backs.insert(agent, back.clone());
        let (shared, down) = (self.clone(), back.clone());
        std::thread::spawn(move || shared.carry_down(&down, agent));
        Ok(back)
    }

    fn carry_down(&self, back: &UdpSocket, agent: SocketAddr) {
        let mut buffer = vec![0; 65_536];
        while !self.stopped.load(Ordering::SeqCst) {
            if let Ok(length) = back.recv(&mut buffer)
                && self.passes(length)
            {
                drop(self.front.send_to(&buffer[..length], agent));
            }
        }
    }
}

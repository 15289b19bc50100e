//! A UDP network in memory, on tokio's (paused) clock: loss, delay, duplication and reordering, from a seed.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::fmt;
use std::future::Future;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use tokio::time::{Instant, Sleep, sleep_until};

/// What the network does to datagrams.
#[derive(Clone, Copy)]
pub struct Weather {
    pub loss_percent: u64,
    pub twice_percent: u64,
    pub delay: Duration,
    pub jitter: Duration,
}

/// All sockets and what is on its way.
#[derive(Clone)]
pub struct Fabric(Arc<Mutex<Wires>>);

struct Wires {
    weather: Weather,
    seed: u64,
    order: u64,
    sockets: BTreeMap<SocketAddr, Mailbox>,
    pub lost: u64,
    pub sent: u64,
}

/// Arrival, order of sending, sender, bytes.
type Datagram = (Instant, u64, SocketAddr, Vec<u8>);

#[derive(Default)]
struct Mailbox {
    datagrams: BinaryHeap<Reverse<Datagram>>,
    waker: Option<Waker>,
}

impl Fabric {
    pub fn new(seed: u64, weather: Weather) -> Self {
        Self(Arc::new(Mutex::new(Wires {
            weather,
            seed,
            order: 0,
            sockets: BTreeMap::new(),
            lost: 0,
            sent: 0,
        })))
    }

    pub fn socket(&self, address: SocketAddr) -> Arc<dyn AsyncUdpSocket> {
        let mut wires = self.0.lock().unwrap();
        wires.sockets.insert(address, Mailbox::default());
        Arc::new(Socket {
            address,
            fabric: self.clone(),
            alarm: Mutex::new(None),
        })
    }

    pub fn set_weather(&self, weather: Weather) {
        self.0.lock().unwrap().weather = weather;
    }

    /// Datagrams sent, and of them lost.
    pub fn counts(&self) -> (u64, u64) {
        let wires = self.0.lock().unwrap();
        (wires.sent, wires.lost)
    }
}

impl Wires {
    /// splitmix64 (Steele, Lea, Flood 2014).
    fn random(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn send(&mut self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        self.sent += 1;
        if self.random() % 100 < self.weather.loss_percent {
            self.lost += 1;
            return;
        }
        let twice = self.random() % 100 < self.weather.twice_percent;
        for _ in 0..if twice { 2 } else { 1 } {
            let jitter_us = self.weather.jitter.as_micros() as u64;
            let jitter = Duration::from_micros(self.random() % (jitter_us + 1));
            let at = Instant::now() + self.weather.delay + jitter;
            self.order += 1;
            let order = self.order;
            let Some(mailbox) = self.sockets.get_mut(&to) else {
                return;
            };
            mailbox.datagrams.push(Reverse((at, order, from, bytes.to_vec())));
            if let Some(waker) = mailbox.waker.take() {
                waker.wake();
            }
        }
    }
}

struct Socket {
    address: SocketAddr,
    fabric: Fabric,
    alarm: Mutex<Option<Pin<Box<Sleep>>>>,
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Socket({})", self.address)
    }
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(AlwaysWritable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let mut wires = self.fabric.0.lock().unwrap();
        let size = transmit.segment_size.unwrap_or(transmit.contents.len().max(1));
        for datagram in transmit.contents.chunks(size) {
            wires.send(self.address, transmit.destination, datagram);
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut wires = self.fabric.0.lock().unwrap();
            let mailbox = wires.sockets.get_mut(&self.address).unwrap();
            mailbox.waker = Some(cx.waker().clone());
            let Some(&Reverse((at, ..))) = mailbox.datagrams.peek() else {
                return Poll::Pending;
            };
            if at <= Instant::now() {
                let Reverse((_, _, from, bytes)) = mailbox.datagrams.pop().unwrap();
                bufs[0][..bytes.len()].copy_from_slice(&bytes);
                meta[0] = RecvMeta::default();
                meta[0].addr = from;
                meta[0].len = bytes.len();
                meta[0].stride = bytes.len();
                return Poll::Ready(Ok(1));
            }
            drop(wires);
            let mut alarm = self.alarm.lock().unwrap();
            let alarm = alarm.insert(Box::pin(sleep_until(at)));
            if alarm.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }

    fn may_fragment(&self) -> bool {
        false
    }
}

#[derive(Debug)]
struct AlwaysWritable;

impl UdpPoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

//! What two agents keep for carrying each other, one for each session between them.
//!
//! Invariant: with the last handle of a tie everything that was carried over it ends.

use std::collections::{BTreeMap, VecDeque};
use std::io::IoSliceMut;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::Instant;

use tokio::task::AbortHandle;

use super::allowance::Share;
use super::seal::Keys;
use crate::limits::TRY_AGAIN;

/// Packets from the hub that wait until the endpoint reads them: more than its windows let the hub send at once.
const INBOX_PACKETS: usize = 512;

/// The two ends of one neighbour's packets.
pub(crate) struct Tie {
    pub(crate) keys: Keys,
    /// Where the neighbour's last authentic packet came from.
    address: Mutex<SocketAddr>,
    inbox: Mutex<Inbox>,
    allowance: Share,
    /// Our ends towards the hub for what we carry: 0 for the neighbour itself, else a lane of its own neighbours.
    outs: Mutex<BTreeMap<u8, Out>>,
    /// Under which number a second neighbour knows this one; 0: it has none, and goes through one at most.
    lane: AtomicU8,
    /// Whether the neighbour has shown who it is by more than a certificate whose time is over.
    is_proven: AtomicBool,
    /// Full-size packets of the session itself do not reach the neighbour, so carried ones would not either.
    is_narrow: AtomicBool,
    /// When this machine's own network refused a packet for its size.
    was_too_big: Mutex<Option<Instant>>,
    counts: Counts,
}

/// Most neighbours of one neighbour whose packets are carried on.
const MAX_OUTS: usize = 65;

/// What was done over a tie so far.
#[derive(Debug, Default)]
struct Counts {
    carried: AtomicU64,
    bytes: AtomicU64,
    refused: AtomicU64,
    over: AtomicU64,
}

/// Packets of one neighbour so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Carried {
    /// Carried for it, both ways.
    pub packets: u64,
    /// Bytes of those.
    pub bytes: u64,
    /// Forged, or seen before.
    pub refused: u64,
    /// Dropped, because it had its share, or the path to it is too small.
    pub over: u64,
}

/// A socket towards the hub, and the task that brings its answers back.
pub(crate) struct Out {
    pub(crate) socket: std::sync::Arc<tokio::net::UdpSocket>,
    pub(crate) hub: SocketAddr,
    pub(crate) task: AbortHandle,
}

impl Drop for Out {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Tie {
    pub(crate) fn new(keys: Keys, address: SocketAddr, allowance: Share, is_proven: bool) -> Self {
        Self {
            keys,
            address: Mutex::new(address),
            inbox: Mutex::default(),
            allowance,
            outs: Mutex::default(),
            lane: AtomicU8::new(0),
            is_proven: AtomicBool::new(is_proven),
            is_narrow: AtomicBool::new(false),
            was_too_big: Mutex::new(None),
            counts: Counts::default(),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        *lock(&self.address)
    }

    pub(crate) fn came_from(&self, address: SocketAddr) {
        *lock(&self.address) = address;
    }

    pub(crate) fn inbox(&self) -> MutexGuard<'_, Inbox> {
        lock(&self.inbox)
    }

    pub(crate) fn lane(&self) -> u8 {
        self.lane.load(Ordering::Relaxed)
    }

    pub(crate) fn set_lane(&self, lane: u8) {
        self.lane.store(lane, Ordering::Relaxed);
    }

    /// The neighbour has shown who it is.
    pub(crate) fn prove(&self) {
        self.is_proven.store(true, Ordering::Relaxed);
    }

    /// Whether the neighbour gets packets of full size, as the session has found it.
    pub(crate) fn set_narrow(&self, is_narrow: bool) {
        self.is_narrow.store(is_narrow, Ordering::Relaxed);
    }

    /// A packet did not fit into this machine's own network.
    pub(crate) fn packet_was_too_big(&self, now: Instant) {
        *lock(&self.was_too_big) = Some(now);
    }

    /// Whether that happened lately: the network may be another one by now.
    pub(crate) fn was_too_big(&self, now: Instant) -> bool {
        lock(&self.was_too_big).is_some_and(|at| now.saturating_duration_since(at) < TRY_AGAIN)
    }

    /// Whether one more packet may be carried; counts it either way.
    pub(crate) fn may_carry(&self, bytes: usize, now: Instant) -> bool {
        // Whom full-size packets do not reach is not carried at all: its handshake would hang half-way.
        let is_able = self.is_proven.load(Ordering::Relaxed) && !self.is_narrow.load(Ordering::Relaxed);
        let may = is_able && lock(&self.allowance).take(bytes, now);
        let counter = if may { &self.counts.carried } else { &self.counts.over };
        counter.fetch_add(1, Ordering::Relaxed);
        if may {
            self.counts.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        }
        may
    }

    /// Sends a packet to the hub over the end of that lane; `open` makes one if there is none, or none to that hub.
    pub(crate) fn send_out(
        &self,
        lane: u8,
        hub: SocketAddr,
        packet: &[u8],
        open: impl FnOnce() -> std::io::Result<Out>,
    ) {
        let mut outs = lock(&self.outs);
        let is_good = |out: &Out| out.hub == hub && !out.task.is_finished();
        if !outs.get(&lane).is_some_and(is_good) {
            outs.retain(|_, out| is_good(out));
            if outs.len() >= MAX_OUTS {
                return;
            }
            if let Ok(out) = open() {
                outs.insert(lane, out);
            }
        }
        if let Some(out) = outs.get(&lane) {
            // Lost, as in any network, when the buffer is full or the hub's port is closed.
            let _ = out.socket.try_send(packet);
        }
    }

    pub(crate) fn refused(&self) {
        self.counts.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn counts(&self) -> Carried {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Carried {
            packets: read(&self.counts.carried),
            bytes: read(&self.counts.bytes),
            refused: read(&self.counts.refused),
            over: read(&self.counts.over),
        }
    }
}

/// Packets for our own session with the hub.
#[derive(Default)]
pub(crate) struct Inbox {
    packets: VecDeque<Vec<u8>>,
    reader: Option<Waker>,
}

impl Inbox {
    /// One more; the newest is lost when nobody reads, as in a full socket.
    pub(crate) fn put(&mut self, packet: &[u8]) {
        if self.packets.len() < INBOX_PACKETS {
            self.packets.push_back(packet.to_vec());
        }
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    /// Moves packets into `bufs` and tells the length of each; wakes the task later if there was none.
    pub(crate) fn take(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        mut told: impl FnMut(usize, usize),
    ) -> usize {
        let mut count = 0;
        while count < bufs.len() {
            let Some(packet) = self.packets.pop_front() else { break };
            let Some(room) = bufs[count].get_mut(..packet.len()) else {
                continue;
            };
            room.copy_from_slice(&packet);
            told(count, packet.len());
            count += 1;
        }
        if count == 0 {
            self.reader = Some(cx.waker().clone());
        }
        count
    }

    /// Forgets what an earlier reader has left.
    pub(crate) fn clear(&mut self) {
        self.packets.clear();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

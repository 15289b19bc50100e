//! What two agents keep for carrying each other, one for each session between them.
//!
//! Invariant: with the last handle of a tie everything that was carried over it ends.

use std::collections::VecDeque;
use std::io::IoSliceMut;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::Instant;

use tokio::task::AbortHandle;

use super::allowance::{Allowance, Limits};
use super::seal::Keys;

/// Packets from the hub that wait until the endpoint reads them: more than its windows let the hub send at once.
const INBOX_PACKETS: usize = 512;

/// The two ends of one neighbour's packets.
pub(crate) struct Tie {
    pub(crate) keys: Keys,
    /// Where the neighbour's last authentic packet came from.
    address: Mutex<SocketAddr>,
    inbox: Mutex<Inbox>,
    pub(crate) carrying: Mutex<Carrying>,
    counts: Counts,
}

/// What was done over a tie so far.
#[derive(Debug, Default)]
struct Counts {
    carried: AtomicU64,
    refused: AtomicU64,
    over: AtomicU64,
}

/// Packets of one neighbour so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Carried {
    /// Carried for it, both ways.
    pub packets: u64,
    /// Forged, or seen before.
    pub refused: u64,
    /// Dropped, because it had its share.
    pub over: u64,
}

/// Our end towards the hub for what we carry.
pub(crate) struct Carrying {
    pub(crate) allowance: Allowance,
    pub(crate) out: Option<Out>,
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
    pub(crate) fn new(keys: Keys, address: SocketAddr, limits: Limits, now: Instant) -> Self {
        Self {
            keys,
            address: Mutex::new(address),
            inbox: Mutex::default(),
            carrying: Mutex::new(Carrying {
                allowance: Allowance::new(limits, now),
                out: None,
            }),
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

    pub(crate) fn carrying(&self) -> MutexGuard<'_, Carrying> {
        lock(&self.carrying)
    }

    /// Whether one more packet may be carried; counts it either way.
    pub(crate) fn may_carry(&self, bytes: usize, now: Instant) -> bool {
        let may = self.carrying().allowance.take(bytes, now);
        let counter = if may { &self.counts.carried } else { &self.counts.over };
        counter.fetch_add(1, Ordering::Relaxed);
        may
    }

    pub(crate) fn refused(&self) {
        self.counts.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn counts(&self) -> Carried {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Carried {
            packets: read(&self.counts.carried),
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

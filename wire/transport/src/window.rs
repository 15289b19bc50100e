//! Decides how much an agent may have under way: what quinn's Cubic says, and one packet more for each time that a path which does
//! not answer is asked whether it works again.
//!
//! Without these a full window would keep back the very packet that finds out. They are taken back with the first answer, so
//! on a path that answers this is Cubic.
//!
//! Read next: `nudge.rs` (who asks).

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use quinn::Connection;
use quinn::congestion::{Controller, ControllerFactory, ControllerMetrics, CubicConfig};
use quinn_proto::RttEstimator;

use crate::limits::MTU_BYTES;

/// One whole packet: QUIC looks whether a packet of the largest size still fits, and wants one byte more.
const PACKET_BYTES: u64 = MTU_BYTES as u64 + 1;

/// Makes one [`Window`] for each path.
#[derive(Debug, Default)]
pub(crate) struct Windows(Arc<CubicConfig>);

impl ControllerFactory for Windows {
    fn build(self: Arc<Self>, now: Instant, mtu_bytes: u16) -> Box<dyn Controller> {
        Box::new(Window {
            inner: self.0.clone().build(now, mtu_bytes),
            extra_bytes: Extra::default(),
        })
    }
}

/// Bytes beyond Cubic's window that a connection may have under way. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Extra(Arc<AtomicU64>);

impl Extra {
    /// Those of a connection's present path; of no connection, if its window is not one of [`Windows`].
    pub(crate) fn of(connection: &Connection) -> Self {
        let window = connection.congestion_state().into_any().downcast::<Window>();
        window.map(|window| window.extra_bytes).unwrap_or_default()
    }

    /// One packet more.
    pub(crate) fn grow(&self) {
        self.0.fetch_add(PACKET_BYTES, Ordering::Relaxed);
    }

    /// Cubic's window again.
    pub(crate) fn take_back(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

struct Window {
    inner: Box<dyn Controller>,
    extra_bytes: Extra,
}

impl Controller for Window {
    fn on_sent(&mut self, now: Instant, bytes: u64, last_packet_number: u64) {
        self.inner.on_sent(now, bytes, last_packet_number);
    }

    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, app_limited: bool, rtt: &RttEstimator) {
        self.inner.on_ack(now, sent, bytes, app_limited, rtt);
    }

    fn on_end_acks(&mut self, now: Instant, in_flight: u64, app_limited: bool, largest_acked: Option<u64>) {
        self.inner.on_end_acks(now, in_flight, app_limited, largest_acked);
    }

    fn on_congestion_event(&mut self, now: Instant, sent: Instant, is_persistent: bool, lost_bytes: u64) {
        self.inner.on_congestion_event(now, sent, is_persistent, lost_bytes);
    }

    fn on_mtu_update(&mut self, mtu_bytes: u16) {
        self.inner.on_mtu_update(mtu_bytes);
    }

    fn window(&self) -> u64 {
        self.inner.window() + self.extra_bytes.0.load(Ordering::Relaxed)
    }

    fn metrics(&self) -> ControllerMetrics {
        self.inner.metrics()
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(Self {
            inner: self.inner.clone_box(),
            extra_bytes: self.extra_bytes.clone(),
        })
    }

    fn initial_window(&self) -> u64 {
        self.inner.initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

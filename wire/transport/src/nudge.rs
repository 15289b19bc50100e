//! Decides when an agent's session asks whether its path works again.
//!
//! QUIC repeats what was not answered after pauses that double: at the end of a cut of ten seconds the next attempt may be five seconds
//! away. While something of ours is unanswered for long, this end sends one small packet a few times a second; the first answer
//! lets QUIC repeat everything at once. It never ends a session, and never prolongs one: QUIC counts its idle time from the first
//! unanswered packet.
//!
//! Invariant: on a path that answers within half a second or twice its usual time, nothing is ever sent from here.
//! Read next: `framed.rs` (who polls it), `window.rs` (what lets these packets out), `limits.rs` (the times of a connection).

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use quinn::{Connection, VarInt};
use tokio::time::{Instant, Sleep, sleep};

use crate::limits::CONNECTION_WINDOW_BYTES;
use crate::window::Extra;

/// How often a path that works is looked at: before QUIC's pauses have grown to more than this.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often one that does not answer is asked: a path that heals is found within a quarter of a second and a round trip.
const ASK_EVERY: Duration = Duration::from_millis(250);

/// Watches one connection.
pub(crate) struct Nudge {
    next: Pin<Box<Sleep>>,
    /// Datagrams that had arrived at the last look.
    heard: u64,
    /// Frames to be answered that had been sent when the last datagram was seen to have arrived.
    asked: u64,
    /// Whether such frames were there at the last look already.
    waiting: bool,
}

impl Nudge {
    pub(crate) fn new() -> Self {
        Self {
            next: Box::pin(sleep(LOOK_EVERY)),
            heard: 0,
            asked: 0,
            waiting: false,
        }
    }

    /// Looks when it is time, and sees to it that the task wakes up for the next look.
    pub(crate) fn poll(&mut self, connection: &Connection, cx: &mut Context<'_>) {
        while let Poll::Ready(()) = self.next.as_mut().poll(cx) {
            let pause = self.look(connection);
            self.next.as_mut().reset(Instant::now() + pause);
        }
    }

    fn look(&mut self, connection: &Connection) -> Duration {
        let stats = connection.stats();
        // What carries data, what QUIC itself asks with, and what this asks with. An acknowledgement of ours is not answered.
        let sent = &stats.frame_tx;
        let asked = sent.stream + sent.ping + sent.immediate_ack + sent.max_data;
        if stats.udp_rx.datagrams != self.heard {
            (self.heard, self.asked) = (stats.udp_rx.datagrams, asked);
            if std::mem::take(&mut self.waiting) {
                Extra::of(connection).take_back();
            }
            return LOOK_EVERY;
        }
        if asked == self.asked {
            return LOOK_EVERY;
        }
        if std::mem::replace(&mut self.waiting, true) {
            ask(connection);
        }
        // A slow path is given the time that it needs.
        ASK_EVERY.max(connection.rtt() * 2)
    }
}

/// quinn has no call for a ping. A window that grows is told to the other end at once, and has to be acknowledged; the byte by which
/// it grows here is taken back before, so that the window stays as `limits.rs` says.
fn ask(connection: &Connection) {
    Extra::of(connection).grow();
    connection.set_receive_window(VarInt::from_u32(CONNECTION_WINDOW_BYTES));
    connection.set_receive_window(VarInt::from_u32(CONNECTION_WINDOW_BYTES + 1));
}

//! Frames that wait to be written: bounded in bytes for each class, the newest state in place of an older one.
//!
//! Invariant: frames of one class leave in the order in which they came, and no queue holds more than its bound.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use wire::frame::{Class, Frame};

use crate::fault::CloseCode;
use crate::limits::queue_limit_bytes;

pub(crate) const CLASSES: usize = Class::ALL.len();

/// A frame that was not queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The class's queue is full: the other end does not read. Frames may not be skipped, so end the session.
    #[error("the other end does not read: {queued_bytes} of {limit_bytes} bytes wait")]
    Full {
        /// Bytes in the queue.
        queued_bytes: usize,
        /// Its bound.
        limit_bytes: usize,
    },
    /// The session is over.
    #[error("the session is over")]
    Closed,
}

/// Where a class stands in an array of all of them.
pub(crate) fn place(class: Class) -> usize {
    match class {
        Class::Control => 0,
        Class::Journal => 1,
        Class::Telemetry => 2,
        Class::Bundle => 3,
    }
}

/// What a session and its senders share.
#[derive(Default)]
pub(crate) struct Shared(Mutex<State>);

#[derive(Default)]
pub(crate) struct State {
    queues: [Queue; CLASSES],
    pub(crate) waker: Option<Waker>,
    pub(crate) closing: Option<(CloseCode, String)>,
    pub(crate) over: bool,
}

/// Encoded frames by kind.
#[derive(Default)]
struct Queue {
    frames: VecDeque<(u16, Vec<u8>)>,
    bytes: usize,
}

impl Shared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Nothing leaves any more.
    pub(crate) fn clear(&mut self) {
        self.over = true;
        self.queues = Default::default();
    }

    pub(crate) fn put(&mut self, frame: &Frame) -> Result<(), SendError> {
        let queue = &mut self.queues[place(frame.class())];
        let bytes = frame.encode();
        if latest_only(frame)
            && let Some((_, old)) = queue.frames.iter_mut().find(|(kind, _)| *kind == frame.kind())
        {
            queue.bytes = queue.bytes + bytes.len() - old.len();
            *old = bytes;
            return Ok(());
        }
        let limit_bytes = queue_limit_bytes(frame.class());
        if queue.bytes + bytes.len() > limit_bytes {
            return Err(SendError::Full {
                queued_bytes: queue.bytes,
                limit_bytes,
            });
        }
        queue.bytes += bytes.len();
        queue.frames.push_back((frame.kind(), bytes));
        Ok(())
    }

    pub(crate) fn take(&mut self, class: Class) -> Option<Vec<u8>> {
        let queue = &mut self.queues[place(class)];
        let (_, frame) = queue.frames.pop_front()?;
        queue.bytes -= frame.len();
        if queue.frames.is_empty() {
            // An idle session keeps no queue.
            queue.frames = VecDeque::new();
        }
        Some(frame)
    }
}

/// State, not history: only the newest counts.
fn latest_only(frame: &Frame) -> bool {
    matches!(
        frame,
        Frame::Status(_)
            | Frame::Beacon(_)
            | Frame::AskTime(_)
            | Frame::HubTime(_)
            | Frame::NodePath(_)
            | Frame::PeerState(_)
            | Frame::PeerPath(_)
            | Frame::Checkpoint(_)
    )
}

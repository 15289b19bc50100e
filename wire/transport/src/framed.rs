//! Decides how frames travel in a session: a one-way stream for each class and direction, opened with the class's tag when
//! its first frame goes out.
//!
//! One task owns a [`Session`] and calls [`Session::recv`] in a loop; that call also writes what [`Sender`]s have queued. Queues
//! are bounded in bytes; the newest `Status`, `Beacon` or question of the time takes the place of one that has not left yet. Nobody waits in `send`.
//!
//! Invariant: frames of one class arrive in the order in which they were queued, each once, or the session ends.
//! Read next: `queue.rs` (what waits), `packed.rs` (the bytes of one stream), `limits.rs` (the bounds).

use std::fmt;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use quinn::{Connection, ConnectionError, ReadError, RecvStream, SendStream};
use serde::Serialize;
use serde::de::DeserializeOwned;
use wire::frame::{Class, Frame};

use crate::door::{Door, DoorError};
use crate::fault::{CloseCode, End};
use crate::limits::LINGER;
use crate::nudge::Nudge;
use crate::packed::{Unpacker, pack};
pub use crate::queue::SendError;
use crate::queue::{CLASSES, Shared, place};

/// What comes out of a session.
#[derive(Debug)]
pub enum Event {
    /// A frame.
    Frame(Frame),
    /// The agent opened a stream for a question; its tag has been read. Only at the hub.
    Asked {
        /// The byte that it was opened with.
        tag: u8,
        /// The stream.
        door: Door,
    },
    /// It is over. Nothing follows.
    Ended(End),
}

/// One end of a connection whose other end is authenticated.
pub struct Session {
    connection: Connection,
    shared: Arc<Shared>,
    /// By class.
    outgoing: [Option<Outgoing>; CLASSES],
    incoming: Vec<Incoming>,
    /// Where the next look for frames begins, so that a full stream does not starve the others.
    next: usize,
    accept_uni: Option<Accept<RecvStream>>,
    accept_bi: Option<Accept<(SendStream, RecvStream)>>,
    /// A question stream whose tag has not arrived yet.
    asking: Option<(SendStream, RecvStream)>,
    /// Only at the agent: whoever reports asks whether the path works again.
    nudge: Option<Nudge>,
    end: Option<End>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("remote", &self.connection.remote_address())
            .finish_non_exhaustive()
    }
}

/// Read at most this much of one stream before looking at the others.
const READ_BYTES: usize = 16 * 1024;

type Accept<T> = Pin<Box<dyn Future<Output = Result<T, ConnectionError>> + Send + Sync>>;

struct Outgoing {
    stream: SendStream,
    bytes: Vec<u8>,
    written: usize,
}

struct Incoming {
    stream: RecvStream,
    frames: Option<(Class, Unpacker)>,
    finished: bool,
}

enum Step {
    Event(Event),
    Closing(CloseCode, String),
}

impl Session {
    pub(crate) fn new(connection: Connection, takes_questions: bool) -> Self {
        let uni = connection.clone();
        let bi = connection.clone();
        Self {
            shared: Arc::new(Shared::default()),
            outgoing: [const { None }; CLASSES],
            incoming: Vec::new(),
            next: 0,
            accept_uni: Some(accept_uni(uni)),
            accept_bi: takes_questions.then(|| accept_bi(bi)),
            asking: None,
            nudge: (!takes_questions).then(Nudge::new),
            end: None,
            connection,
        }
    }

    /// The round trip to the other end.
    pub fn rtt(&self) -> std::time::Duration {
        self.connection.rtt()
    }

    /// The hub's first word: an opened control stream tells the agent that it was let in.
    pub(crate) async fn open_control(&mut self) -> Result<(), End> {
        let mut stream = self.open(Class::Control).await?;
        stream
            .write_all(&[Class::Control.tag()])
            .await
            .map_err(|cause| self.failed(&cause.to_string()))?;
        self.outgoing[place(Class::Control)] = Some(Outgoing {
            stream,
            bytes: Vec::new(),
            written: 0,
        });
        Ok(())
    }

    /// Waits for that first word.
    pub(crate) async fn wait_for_control(&mut self) -> Result<(), ConnectionError> {
        let mut stream = self.connection.accept_uni().await?;
        let mut tag = [0];
        let frames = match stream.read_exact(&mut tag).await {
            Ok(()) => Class::from_tag(tag[0]).map(|class| (class, Unpacker::new(class))),
            Err(_) => match self.connection.close_reason() {
                Some(cause) => return Err(cause),
                None => None,
            },
        };
        if frames.is_none() {
            self.broken("a stream without a class".to_owned());
        }
        self.incoming.push(Incoming {
            stream,
            frames,
            finished: false,
        });
        Ok(())
    }

    /// A handle to send with, from anywhere.
    pub fn sender(&self) -> Sender {
        Sender {
            connection: self.connection.clone(),
            shared: self.shared.clone(),
        }
    }

    /// Where the other end is now.
    pub fn remote_address(&self) -> SocketAddr {
        self.connection.remote_address()
    }

    /// Writes what is queued and waits for the next event. After [`Event::Ended`] it returns the same end again.
    ///
    /// Safe to drop and call again.
    pub async fn recv(&mut self) -> Event {
        match poll_fn(|cx| self.poll_step(cx)).await {
            Step::Event(event) => event,
            Step::Closing(code, reason) => {
                self.wind_up(code, &reason).await;
                let end = End::Local { reason };
                self.end = Some(end.clone());
                self.shared.lock().over = true;
                Event::Ended(end)
            }
        }
    }

    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        {
            let mut state = self.shared.lock();
            // It stays in place until the end is known: this call may be dropped while it winds up.
            if let (Some((code, reason)), None) = (&state.closing, &self.end) {
                return Poll::Ready(Step::Closing(*code, reason.clone()));
            }
            if !state.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                state.waker = Some(cx.waker().clone());
            }
        }
        if self.end.is_none() {
            let _ = self.poll_flush(cx);
            if let Some(nudge) = &mut self.nudge {
                nudge.poll(&self.connection, cx);
            }
        }
        loop {
            if let Some(frame) = self.poll_frames(cx) {
                return Poll::Ready(Step::Event(Event::Frame(frame)));
            }
            if let Some(event) = self.poll_questions(cx) {
                return Poll::Ready(Step::Event(event));
            }
            if let Some(end) = &self.end {
                self.shared.lock().over = true;
                return Poll::Ready(Step::Event(Event::Ended(end.clone())));
            }
            if !self.poll_new_stream(cx) {
                return Poll::Pending;
            }
        }
    }

    /// Ready when nothing is queued and everything was handed to QUIC, or when the session is over.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut pending = false;
        for class in Class::ALL {
            match self.poll_flush_class(class, cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(end)) => {
                    self.end.get_or_insert(end);
                    return Poll::Ready(());
                }
                Poll::Pending => pending = true,
            }
        }
        if pending { Poll::Pending } else { Poll::Ready(()) }
    }

    fn poll_flush_class(&mut self, class: Class, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        loop {
            if let Some(out) = &mut self.outgoing[place(class)] {
                while out.written < out.bytes.len() {
                    let rest = &out.bytes[out.written..];
                    match ready!(Pin::new(&mut out.stream).poll_write(cx, rest)) {
                        Ok(count) => out.written += count,
                        Err(cause) => return Poll::Ready(Err(self.failed(&cause.to_string()))),
                    }
                }
                out.bytes = Vec::new();
                out.written = 0;
            }
            let Some(frame) = self.shared.lock().take(class) else {
                return Poll::Ready(Ok(()));
            };
            let bytes = pack(class, frame);
            match &mut self.outgoing[place(class)] {
                Some(out) => out.bytes = bytes,
                slot => {
                    // Never waits: both ends allow one stream for each class from the start.
                    let opened = pin!(self.connection.open_uni()).poll(cx);
                    let Poll::Ready(Ok(stream)) = opened else {
                        return Poll::Ready(Err(self.failed("the other end allows no more streams")));
                    };
                    let _ = stream.set_priority(-(place(class) as i32));
                    let mut opening = vec![class.tag()];
                    opening.extend_from_slice(&bytes);
                    *slot = Some(Outgoing {
                        stream,
                        bytes: opening,
                        written: 0,
                    });
                }
            }
        }
    }

    fn poll_frames(&mut self, cx: &mut Context<'_>) -> Option<Frame> {
        for offset in 0..self.incoming.len() {
            let index = (self.next + offset) % self.incoming.len();
            match self.incoming[index].poll_frame(cx) {
                Poll::Ready(Ok(frame)) => {
                    self.next = index + 1;
                    return Some(frame);
                }
                Poll::Ready(Err(Broken::Protocol(reason))) => self.broken(reason),
                Poll::Ready(Err(Broken::Lost(cause))) => {
                    self.end.get_or_insert(End::from(&cause));
                }
                Poll::Pending => {}
            }
        }
        None
    }

    /// Whether a stream was added that should be looked at.
    fn poll_new_stream(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(accept) = &mut self.accept_uni else {
            return false;
        };
        match accept.as_mut().poll(cx) {
            Poll::Ready(Ok(stream)) => {
                self.incoming.push(Incoming {
                    stream,
                    frames: None,
                    finished: false,
                });
                let more = self.incoming.len() < CLASSES;
                self.accept_uni = more.then(|| accept_uni(self.connection.clone()));
                true
            }
            Poll::Ready(Err(cause)) => {
                self.accept_uni = None;
                self.end.get_or_insert(End::from(&cause));
                true
            }
            Poll::Pending => false,
        }
    }

    fn poll_questions(&mut self, cx: &mut Context<'_>) -> Option<Event> {
        loop {
            if let Some((_, recv)) = &mut self.asking {
                let mut tag = [0];
                return match recv.poll_read(cx, &mut tag) {
                    Poll::Ready(Ok(1)) => {
                        let (send, recv) = self.asking.take()?;
                        let door = Door::new(self.connection.clone(), send, recv);
                        Some(Event::Asked { tag: tag[0], door })
                    }
                    // Finished or reset before the tag: whoever asked has given up.
                    Poll::Ready(_) => {
                        self.asking = None;
                        continue;
                    }
                    Poll::Pending => None,
                };
            }
            let accept = self.accept_bi.as_mut()?;
            match accept.as_mut().poll(cx) {
                Poll::Ready(Ok(streams)) => {
                    self.asking = Some(streams);
                    self.accept_bi = Some(accept_bi(self.connection.clone()));
                }
                Poll::Ready(Err(cause)) => {
                    self.accept_bi = None;
                    self.end.get_or_insert(End::from(&cause));
                    return None;
                }
                Poll::Pending => return None,
            }
        }
    }

    /// Delivers what is queued, within a bound, then closes.
    async fn wind_up(&mut self, code: CloseCode, reason: &str) {
        let _ = tokio::time::timeout(LINGER, async {
            poll_fn(|cx| self.poll_flush(cx)).await;
            for out in self.outgoing.iter_mut().flatten() {
                if out.stream.finish().is_ok() {
                    let _ = out.stream.stopped().await;
                }
            }
        })
        .await;
        self.connection.close(code.number(), reason.as_bytes());
    }

    async fn open(&self, class: Class) -> Result<SendStream, End> {
        let stream = self.connection.open_uni().await.map_err(|cause| End::from(&cause))?;
        let _ = stream.set_priority(-(place(class) as i32));
        Ok(stream)
    }

    fn broken(&mut self, reason: String) {
        self.connection.close(CloseCode::Protocol.number(), reason.as_bytes());
        self.end.get_or_insert(End::Protocol { reason });
    }

    fn failed(&self, otherwise: &str) -> End {
        match self.connection.close_reason() {
            Some(cause) => End::from(&cause),
            None => End::Failed {
                reason: otherwise.to_owned(),
            },
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.clear();
        drop(state);
        // Senders hold the connection too; without this they would keep it alive.
        self.connection.close(CloseCode::Done.number(), b"done");
    }
}

enum Broken {
    Protocol(String),
    Lost(ConnectionError),
}

impl Incoming {
    /// Pending also when the stream is finished.
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame, Broken>> {
        loop {
            if let Some((class, frames)) = &mut self.frames {
                match frames.next_frame() {
                    Ok(Some(frame)) => return Poll::Ready(Ok(frame)),
                    Ok(None) => {}
                    Err(cause) => {
                        let reason = format!("on the {class:?} stream: {cause}");
                        return Poll::Ready(Err(Broken::Protocol(reason)));
                    }
                }
            }
            if self.finished {
                return Poll::Pending;
            }
            let read = ready!(pin!(self.stream.read_chunk(READ_BYTES, true)).poll(cx));
            match read {
                Ok(Some(chunk)) => {
                    if let Err(reason) = self.feed(&chunk.bytes) {
                        return Poll::Ready(Err(Broken::Protocol(reason)));
                    }
                }
                Ok(None) => self.finished = true,
                Err(ReadError::ConnectionLost(cause)) => {
                    self.finished = true;
                    return Poll::Ready(Err(Broken::Lost(cause)));
                }
                Err(cause) => {
                    self.finished = true;
                    return Poll::Ready(Err(Broken::Protocol(cause.to_string())));
                }
            }
        }
    }

    fn feed(&mut self, mut bytes: &[u8]) -> Result<(), String> {
        if self.frames.is_none() {
            let Some((&tag, rest)) = bytes.split_first() else {
                return Ok(());
            };
            let class = Class::from_tag(tag).ok_or_else(|| format!("a stream of class {tag}"))?;
            self.frames = Some((class, Unpacker::new(class)));
            bytes = rest;
        }
        if let Some((_, frames)) = &mut self.frames {
            frames.extend(bytes);
        }
        Ok(())
    }
}

fn accept_uni(connection: Connection) -> Accept<RecvStream> {
    Box::pin(async move { connection.accept_uni().await })
}

fn accept_bi(connection: Connection) -> Accept<(SendStream, RecvStream)> {
    Box::pin(async move { connection.accept_bi().await })
}

/// Sends on a session that another task drives. Cheap to clone; nothing here waits, except [`Sender::ask`].
#[derive(Clone)]
pub struct Sender {
    connection: Connection,
    shared: Arc<Shared>,
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender")
            .field("remote", &self.connection.remote_address())
            .finish_non_exhaustive()
    }
}

impl Sender {
    /// Queues a frame. After [`SendError::Full`] call [`Sender::abort`]: a frame may not be left out.
    pub fn send(&self, frame: &Frame) -> Result<(), SendError> {
        let waker = {
            let mut state = self.shared.lock();
            if state.over || state.closing.is_some() {
                return Err(SendError::Closed);
            }
            state.put(frame)?;
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }

    /// Closes the session after what is queued, or after two seconds.
    pub fn close(&self, code: CloseCode, reason: &str) {
        let waker = {
            let mut state = self.shared.lock();
            if state.over || state.closing.is_some() {
                return;
            }
            state.closing = Some((code, reason.to_owned()));
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Closes the session now; what is queued is lost.
    pub fn abort(&self, code: CloseCode, reason: &str) {
        self.shared.lock().over = true;
        self.connection.close(code.number(), reason.as_bytes());
    }

    /// Asks one question on a stream of its own that opens with `tag`. Waits at most 15 s for each step.
    pub async fn ask<Q: Serialize + Sync, A: DeserializeOwned>(&self, tag: u8, question: &Q) -> Result<A, DoorError> {
        let (send, recv) = self
            .connection
            .open_bi()
            .await
            .map_err(|cause| DoorError::Ended { end: End::from(&cause) })?;
        let mut door = Door::new(self.connection.clone(), send, recv);
        door.write_raw(&[tag]).await?;
        door.write(question).await?;
        let answer = door.read().await?;
        door.finish().await;
        Ok(answer)
    }
}

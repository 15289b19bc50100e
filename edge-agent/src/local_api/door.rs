//! How many may be connected to this node's own API at once, and for how long without a word.
//!
//! Any user of the machine can connect to the page. So that none of them takes the descriptors that sensors, actuators and the GPU
//! probe need, connections are few, surplus is closed at once, and one that says nothing, or half of something, or does not read, is
//! ended.
//!
//! Invariant: at most [`Bounds::most`] connections of one listener are open.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;
use wire_transport::Paced;

/// Time for a reader to take some of what waits for it.
const PATIENCE: Duration = Duration::from_secs(10);

/// What one listener bears.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Connections at once.
    pub(super) most: usize,
    /// Silence in both directions. A stream of events says something every ten seconds.
    pub(super) quiet: Duration,
    /// From the connect to the first byte of an answer, however the request trickles in.
    pub(super) first_answer: Duration,
}

/// The page: four browsers with six connections each, and a few scripts.
pub(super) const PAGE: Bounds = Bounds {
    most: 32,
    quiet: Duration::from_secs(30),
    first_answer: Duration::from_secs(60),
};

/// The socket, which only the node's own user can open: a command may wait ten minutes for its answer.
pub(super) const SOCKET: Bounds = Bounds {
    most: 64,
    quiet: Duration::from_secs(660),
    first_answer: Duration::from_secs(660),
};

/// A listener that keeps to its bounds.
#[derive(Debug)]
pub(super) struct Bounded<L> {
    listener: L,
    bounds: Bounds,
    places: Arc<Semaphore>,
}

impl<L> Bounded<L> {
    pub(super) fn new(listener: L, bounds: Bounds) -> Self {
        Self {
            listener,
            bounds,
            places: Arc::new(Semaphore::new(bounds.most)),
        }
    }
}

impl<L: Listener> Listener for Bounded<L> {
    type Io = Guest<L::Io>;
    type Addr = L::Addr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = self.listener.accept().await;
            // Without a place it is closed here.
            if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
                let guest = Guest {
                    stream: Paced::new(stream, PATIENCE, self.bounds.quiet),
                    unanswered: Some(Box::pin(tokio::time::sleep(self.bounds.first_answer))),
                    _place: place,
                };
                return (guest, address);
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// One connection.
#[derive(Debug)]
pub(super) struct Guest<S> {
    stream: Paced<S>,
    unanswered: Option<Pin<Box<Sleep>>>,
    _place: OwnedSemaphorePermit,
}

impl<S> Guest<S> {
    /// The connection itself.
    pub(super) fn inner(&self) -> &S {
        self.stream.inner()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guest<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some(unanswered) = &mut self.unanswered
            && unanswered.as_mut().poll(cx).is_ready()
        {
            let error = io::Error::new(io::ErrorKind::TimedOut, "no whole request came in time");
            return Poll::Ready(Err(error));
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guest<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.unanswered = None;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// Accepts for ever and reads whatever comes.
    async fn open(bounds: Bounds) -> std::net::SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let mut bounded = Bounded::new(listener, bounds);
        tokio::spawn(async move {
            loop {
                let (mut guest, _) = Listener::accept(&mut bounded).await;
                tokio::spawn(async move {
                    let mut bytes = [0; 64];
                    while guest.read(&mut bytes).await.is_ok_and(|count| count > 0) {}
                });
            }
        });
        address
    }

    #[tokio::test]
    async fn surplus_is_closed_at_once_and_a_place_comes_back() {
        let address = open(Bounds { most: 2, ..PAGE }).await;
        let mut inside = Vec::new();
        for _ in 0..2 {
            let mut stream = TcpStream::connect(address).await.expect("listens");
            stream.write_all(b"GET / HTT").await.expect("half a request");
            inside.push(stream);
        }
        let closed = async |stream: &mut TcpStream| matches!(stream.read(&mut [0; 1]).await, Ok(0) | Err(_));
        let mut surplus = TcpStream::connect(address).await.expect("the kernel takes it");
        assert!(closed(&mut surplus).await);
        drop(inside);
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        loop {
            let mut stream = TcpStream::connect(address).await.expect("listens");
            let ended = tokio::time::timeout(Duration::from_millis(200), closed(&mut stream)).await;
            if ended.is_err() {
                break;
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "the places of those who left come back"
            );
        }
    }

    #[tokio::test]
    async fn half_a_request_that_trickles_is_ended() {
        let first_answer = Duration::from_millis(100);
        let address = open(Bounds { first_answer, ..PAGE }).await;
        let mut stream = TcpStream::connect(address).await.expect("listens");
        stream.write_all(b"GET / HTT").await.expect("half a request");
        let ended = tokio::time::timeout(Duration::from_secs(20), stream.read(&mut [0; 1])).await;
        assert!(matches!(ended, Ok(Ok(0) | Err(_))), "{ended:?}");
    }
}

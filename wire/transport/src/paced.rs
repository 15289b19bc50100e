//! A byte stream whose other end has to keep going: one that neither reads nor speaks is ended, so that it holds its place no longer
//! than its patience.
//!
//! While bytes wait to be written the other end must take [`LEAST_BYTES`] in each span of patience; a trickle is no progress. A stream
//! on which nothing waits is quiet, not slow: it may be so for `quiet`, in both directions together.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// Least that is taken in one span of patience while more waits: half a modem.
const LEAST_BYTES: usize = 16 * 1024;

/// The stream.
#[derive(Debug)]
pub struct Paced<S> {
    stream: S,
    patience: Duration,
    quiet: Duration,
    /// Bytes have to wait: until when enough of them must be taken, and how many were.
    waiting: Option<(Pin<Box<Sleep>>, usize)>,
    idle: Pin<Box<Sleep>>,
}

impl<S> Paced<S> {
    /// Gives a stream so much patience with a reader, and with silence.
    pub fn new(stream: S, patience: Duration, quiet: Duration) -> Self {
        Self {
            stream,
            patience,
            quiet,
            waiting: None,
            idle: Box::pin(tokio::time::sleep(quiet)),
        }
    }

    /// The stream itself.
    pub fn inner(&self) -> &S {
        &self.stream
    }

    fn moved(&mut self) {
        self.idle.as_mut().reset(Instant::now() + self.quiet);
    }

    fn wrote(&mut self, written: &Poll<io::Result<usize>>, cx: &mut Context<'_>) -> Option<io::Error> {
        match written {
            Poll::Ready(Ok(count)) => {
                self.moved();
                if let Some((_, taken)) = &mut self.waiting {
                    *taken += count;
                    self.waiting.take_if(|(_, taken)| *taken >= LEAST_BYTES);
                }
                None
            }
            Poll::Ready(Err(_)) => None,
            Poll::Pending => {
                let patience = self.patience;
                let (sleep, _) = self
                    .waiting
                    .get_or_insert_with(|| (Box::pin(tokio::time::sleep(patience)), 0));
                let is_over = sleep.as_mut().poll(cx).is_ready();
                is_over.then(|| io::Error::new(io::ErrorKind::TimedOut, "the other end does not read"))
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if read.is_ready() {
            self.moved();
            return read;
        }
        match self.idle.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "nothing comes"))),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        match self.wrote(&written, cx) {
            Some(error) => Poll::Ready(Err(error)),
            None => written,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Whoever flushes has nothing more to write: all of it is taken.
        self.waiting = None;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);
    const QUIET: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_trickles_is_ended_and_one_that_reads_is_not() {
        for (at_once, expected) in [(1usize, true), (64 * 1024, false)] {
            let (ours, mut theirs) = duplex(1_024);
            let mut paced = Paced::new(ours, PATIENCE, QUIET);
            let reader = tokio::spawn(async move {
                let mut buffer = vec![0; at_once];
                while let Ok(count) = theirs.read(&mut buffer).await
                    && count > 0
                {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            });
            let ended = paced.write_all(&vec![7; 256 * 1024]).await;
            assert_eq!(ended.is_err(), expected, "{at_once} bytes at once: {ended:?}");
            reader.abort();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_a_stream_and_a_word_in_either_direction_keeps_it() {
        let (ours, mut theirs) = duplex(1_024);
        let mut paced = Paced::new(ours, PATIENCE, QUIET);
        let begun = Instant::now();
        let mut byte = [0];
        theirs.write_all(b"x").await.expect("room");
        paced.read_exact(&mut byte).await.expect("one byte");
        let error = paced.read_exact(&mut byte).await.expect_err("nothing comes");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(begun.elapsed().as_secs(), QUIET.as_secs());
    }
}

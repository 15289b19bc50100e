//! One call over the probe's pipes: a request out, its answer in, within a deadline.
//!
//! Waits in `poll`, so a silent child costs nothing but the time. An answer to an earlier, given-up call is skipped.
//!
//! Invariant: after [`CallError::Late`] the pipe is still in step; after [`CallError::Broken`] it is not, and must not be used again.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use wire::codec;
use wire::probe::{self, Answer, Ask, Reply, Request};

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallError {
    /// Not in time.
    Late,
    /// The pipe is of no more use.
    Broken(String),
}

/// Both ends, and what was read of the next answer.
pub struct Pipe<R, W> {
    output: R,
    input: W,
    number: u64,
    buffer: Vec<u8>,
}

impl<R: AsFd + Read, W: Write> Pipe<R, W> {
    /// A pipe that has carried nothing yet.
    pub fn new(output: R, input: W) -> Self {
        Self {
            output,
            input,
            number: 0,
            buffer: Vec::new(),
        }
    }

    /// Asks, and waits for the answer until `deadline`.
    pub fn call(&mut self, ask: &Ask, deadline: Instant) -> Result<Reply, CallError> {
        self.number += 1;
        let request = Request {
            number: self.number,
            ask: ask.clone(),
        };
        // A few dozen bytes at most, two unanswered requests at most: the kernel's pipe always has room for them.
        self.input
            .write_all(&probe::encode_message(&request))
            .and_then(|()| self.input.flush())
            .map_err(|error| CallError::Broken(format!("it has ended: {error}")))?;
        loop {
            while let Some(answer) = self.take()? {
                match answer.number {
                    number if number == self.number => return Ok(answer.reply),
                    number if number < self.number => {}
                    number => {
                        return Err(CallError::Broken(format!(
                            "it answered request {number}, the last was {}",
                            self.number
                        )));
                    }
                }
            }
            self.wait(deadline)?;
        }
    }

    /// The next whole answer, if it is there.
    fn take(&mut self) -> Result<Option<Answer>, CallError> {
        let broken = |error: codec::DecodeError| CallError::Broken(error.to_string());
        let Some(header) = self.buffer.first_chunk::<4>() else {
            return Ok(None);
        };
        let length = probe::message_length(*header).map_err(broken)?;
        let Some(body) = self.buffer.get(4..4 + length) else {
            return Ok(None);
        };
        let answer = codec::decode(body).map_err(broken)?;
        self.buffer.drain(..4 + length);
        Ok(Some(answer))
    }

    /// Waits for bytes, and takes what is there.
    fn wait(&mut self, deadline: Instant) -> Result<(), CallError> {
        let broken = |error: io::Error| CallError::Broken(format!("it cannot be read: {error}"));
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        let mut wanted = [PollFd::new(&self.output, PollFlags::IN)];
        match poll(&mut wanted, Some(&timeout)) {
            Ok(0) => return Err(CallError::Late),
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(()),
            Err(error) => return Err(broken(error.into())),
        }
        let mut chunk = [0; 4096];
        match self.output.read(&mut chunk) {
            Ok(0) => Err(CallError::Broken("it has ended".to_owned())),
            Ok(length) => {
                self.buffer.extend_from_slice(&chunk[..length]);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(broken(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use super::*;

    fn pair() -> (Pipe<UnixStream, UnixStream>, UnixStream) {
        let (ours, theirs) = UnixStream::pair().expect("two ends");
        let input = ours.try_clone().expect("a copy");
        (Pipe::new(ours, input), theirs)
    }

    fn answer(number: u64) -> Vec<u8> {
        probe::encode_message(&Answer {
            number,
            reply: Reply::Read(Vec::new()),
        })
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(30)
    }

    #[test]
    fn an_answer_in_pieces_is_put_together() {
        let (mut pipe, mut theirs) = pair();
        let bytes = answer(1);
        let writer = std::thread::spawn(move || {
            for byte in bytes {
                theirs.write_all(&[byte]).expect("open");
            }
            theirs
        });
        let reply = pipe.call(&Ask::Read, Instant::now() + Duration::from_secs(5));
        assert_eq!(reply, Ok(Reply::Read(Vec::new())));
        drop(writer.join());
    }

    #[test]
    fn a_late_answer_does_not_pass_for_the_next_one() {
        let (mut pipe, mut theirs) = pair();
        assert_eq!(pipe.call(&Ask::Hello, soon()), Err(CallError::Late));
        theirs.write_all(&answer(1)).expect("open");
        theirs.write_all(&answer(2)).expect("open");
        assert_eq!(pipe.call(&Ask::Read, soon()), Ok(Reply::Read(Vec::new())));
        theirs.write_all(&answer(9)).expect("open");
        assert!(matches!(pipe.call(&Ask::Read, soon()), Err(CallError::Broken(_))));
    }

    #[test]
    fn nonsense_and_an_end_break_the_pipe() {
        let (mut pipe, mut theirs) = pair();
        theirs.write_all(&[0xff; 64]).expect("open");
        assert!(matches!(pipe.call(&Ask::Read, soon()), Err(CallError::Broken(_))));
        let (mut pipe, theirs) = pair();
        drop(theirs);
        assert!(matches!(pipe.call(&Ask::Read, soon()), Err(CallError::Broken(_))));
    }
}

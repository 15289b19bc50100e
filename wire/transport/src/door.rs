//! One question and one answer on a stream of its own: joining, rejoining, renewing.
//!
//! A message is `u32` length (little endian) + postcard, at most [`MAX_MESSAGE_BYTES`]; the length is checked before anything is
//! stored, and left-over bytes are an error. Every step has a deadline, so a silent peer costs one stream for 15 seconds.

use std::future::Future;
use std::time::Duration;

use quinn::{Connection, ReadExactError, RecvStream, SendStream};
use serde::Serialize;
use serde::de::DeserializeOwned;
use wire::codec::{self, DecodeError};
use wire::enroll::{EXPORTER_LABEL, MAX_MESSAGE_BYTES};

use crate::fault::End;
use crate::limits::{HANDSHAKE, LINGER};

/// A stream for one question and one answer.
#[derive(Debug)]
pub struct Door {
    connection: Connection,
    send: SendStream,
    recv: RecvStream,
}

/// Why a question has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DoorError {
    /// The connection or the stream ended first.
    #[error("the connection ended before the answer: {end}")]
    Ended {
        /// How.
        end: End,
    },
    /// The other end's bytes are not a message.
    #[error("the other end sent something else than a message")]
    Malformed {
        /// How they fail.
        #[source]
        cause: DecodeError,
    },
    /// Nothing came in time.
    #[error("the other end did not answer within {} s", waited.as_secs())]
    Silent {
        /// For how long.
        waited: Duration,
    },
}

impl Door {
    pub(crate) fn new(connection: Connection, send: SendStream, recv: RecvStream) -> Self {
        Self { connection, send, recv }
    }

    /// Sends one message.
    pub async fn write<T: Serialize + Sync>(&mut self, message: &T) -> Result<(), DoorError> {
        let body = codec::encode(message);
        let mut bytes = Vec::with_capacity(4 + body.len());
        bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&body);
        self.write_raw(&bytes).await
    }

    /// Sends bytes as they are: a stream's tag, a challenge.
    pub async fn write_raw(&mut self, bytes: &[u8]) -> Result<(), DoorError> {
        let connection = &self.connection;
        within(self.send.write_all(bytes))
            .await?
            .map_err(|cause| ended(connection, &cause.to_string()))
    }

    /// Receives one message.
    pub async fn read<T: DeserializeOwned>(&mut self) -> Result<T, DoorError> {
        let body = self.read_message().await?;
        codec::decode(&body).map_err(|cause| DoorError::Malformed { cause })
    }

    /// Receives the bytes of one message that has more than one version.
    pub async fn read_message(&mut self) -> Result<Vec<u8>, DoorError> {
        let mut length = [0; 4];
        self.read_raw(&mut length).await?;
        let length = u32::from_le_bytes(length) as usize;
        let limit = MAX_MESSAGE_BYTES;
        if length > limit {
            let cause = DecodeError::TooLong { length, limit };
            return Err(DoorError::Malformed { cause });
        }
        let mut body = vec![0; length];
        self.read_raw(&mut body).await?;
        Ok(body)
    }

    /// Fills `bytes` from the stream.
    pub async fn read_raw(&mut self, bytes: &mut [u8]) -> Result<(), DoorError> {
        let connection = &self.connection;
        match within(self.recv.read_exact(bytes)).await? {
            Ok(()) => Ok(()),
            Err(ReadExactError::FinishedEarly(_)) => Err(DoorError::Malformed {
                cause: DecodeError::Short,
            }),
            Err(ReadExactError::ReadError(cause)) => Err(ended(connection, &cause.to_string())),
        }
    }

    /// Says that nothing more follows and waits, for two seconds at most, until the other end has all of it.
    pub async fn finish(mut self) {
        if self.send.finish().is_ok() {
            // Whether it arrived is the other end's concern: it asks again if not.
            let _ = tokio::time::timeout(LINGER, self.send.stopped()).await;
        }
    }

    /// 32 bytes that only the two ends of this very TLS session know: what a rejoin challenge is bound to.
    pub fn exporter(&self) -> [u8; 32] {
        let mut out = [0; 32];
        self.connection
            .export_keying_material(&mut out, EXPORTER_LABEL, b"")
            .expect("32 bytes are far below TLS 1.3's limit for exported material (255 hashes)");
        out
    }
}

async fn within<F: Future>(step: F) -> Result<F::Output, DoorError> {
    tokio::time::timeout(HANDSHAKE, step)
        .await
        .map_err(|_| DoorError::Silent { waited: HANDSHAKE })
}

fn ended(connection: &Connection, otherwise: &str) -> DoorError {
    let end = match connection.close_reason() {
        Some(cause) => End::from(&cause),
        None => End::Failed {
            reason: otherwise.to_owned(),
        },
    };
    DoorError::Ended { end }
}

//! Names every way in which a connection fails to begin, or ends.

use std::net::SocketAddr;
use std::time::Duration;

use quinn::{ConnectionError, VarInt};

use crate::certificate::CertificateFault;

/// What one end tells the other when it closes a connection. The numbers are part of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseCode {
    /// Nothing more to say.
    Done,
    /// The process stops.
    Stopping,
    /// The other end broke the protocol.
    Protocol,
    /// The identity is denied.
    Denied,
    /// The other end did not read what waited for it.
    Slow,
    /// A session needs a client certificate.
    CertificateNeeded,
    /// Too many at once.
    Busy,
    /// A number that this build does not know.
    Other(u64),
}

impl CloseCode {
    pub(crate) fn number(self) -> VarInt {
        match self {
            Self::Done => VarInt::from_u32(0),
            Self::Stopping => VarInt::from_u32(1),
            Self::Protocol => VarInt::from_u32(2),
            Self::Denied => VarInt::from_u32(3),
            Self::Slow => VarInt::from_u32(4),
            Self::CertificateNeeded => VarInt::from_u32(5),
            Self::Busy => VarInt::from_u32(6),
            Self::Other(number) => VarInt::from_u64(number).unwrap_or(VarInt::MAX),
        }
    }

    fn of(number: VarInt) -> Self {
        match number.into_inner() {
            0 => Self::Done,
            1 => Self::Stopping,
            2 => Self::Protocol,
            3 => Self::Denied,
            4 => Self::Slow,
            5 => Self::CertificateNeeded,
            6 => Self::Busy,
            number => Self::Other(number),
        }
    }
}

/// Why no connection could be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// Nobody answered.
    #[error("no answer from {address} (UDP) within {}", seconds(*.waited))]
    Unreachable {
        /// Whom we asked.
        address: SocketAddr,
        /// For how long.
        waited: Duration,
    },
    /// Whoever answered is not our hub.
    #[error("{address} is not the expected hub: {fault}")]
    NotOurHub {
        /// Who answered.
        address: SocketAddr,
        /// What is wrong with its certificate.
        fault: CertificateFault,
    },
    /// The hub's certificate is not of now, by any clock of this machine.
    #[error("the clocks of this machine and of the hub at {address} do not agree: {fault}")]
    Clock {
        /// Who answered.
        address: SocketAddr,
        /// By how much.
        fault: CertificateFault,
    },
    /// The hub says that our certificate's time is over.
    #[error("the hub at {address} says that this certificate has expired")]
    Expired {
        /// The hub.
        address: SocketAddr,
    },
    /// The hub does not accept our certificate for another reason.
    #[error("the hub at {address} refuses this certificate: {reason}")]
    Refused {
        /// The hub.
        address: SocketAddr,
        /// What its TLS alert means.
        reason: &'static str,
    },
    /// No common protocol.
    #[error("{address} speaks no protocol version that this program speaks")]
    Version {
        /// Who answered.
        address: SocketAddr,
    },
    /// The hub answered and ended it.
    #[error("the hub at {address} ended the connection: {reason}")]
    Closed {
        /// The hub.
        address: SocketAddr,
        /// Which kind of end.
        code: CloseCode,
        /// Its words.
        reason: String,
    },
    /// The handshake went wrong in a way that is nobody's certificate.
    #[error("the connection with {address} failed: {reason}")]
    Failed {
        /// Whom we asked.
        address: SocketAddr,
        /// What QUIC says.
        reason: String,
    },
    /// No socket could be made here.
    #[error("cannot open a UDP socket: {reason}")]
    Socket {
        /// What the system says.
        reason: String,
    },
}

impl ConnectError {
    /// Sorts quinn's error. `verdict` is what our own check of the hub's certificate said, if it said no.
    pub(crate) fn of(
        cause: &ConnectionError,
        address: SocketAddr,
        waited: Duration,
        verdict: Option<CertificateFault>,
    ) -> Self {
        match verdict {
            Some(fault) if fault.is_of_time() => return Self::Clock { address, fault },
            Some(fault) => return Self::NotOurHub { address, fault },
            None => {}
        }
        match cause {
            ConnectionError::TimedOut => Self::Unreachable { address, waited },
            ConnectionError::VersionMismatch => Self::Version { address },
            ConnectionError::ConnectionClosed(close) => match alert(close.error_code) {
                Some(CERTIFICATE_EXPIRED) => Self::Expired { address },
                Some(NO_APPLICATION_PROTOCOL) => Self::Version { address },
                Some(number) if certificate_alert(number).is_some() => Self::Refused {
                    address,
                    reason: certificate_alert(number).unwrap_or_default(),
                },
                _ => Self::Failed {
                    address,
                    reason: cause.to_string(),
                },
            },
            ConnectionError::ApplicationClosed(close) => Self::Closed {
                address,
                code: CloseCode::of(close.error_code),
                reason: String::from_utf8_lossy(&close.reason).into_owned(),
            },
            ConnectionError::TransportError(_)
            | ConnectionError::Reset
            | ConnectionError::LocallyClosed
            | ConnectionError::CidsExhausted => Self::Failed {
                address,
                reason: cause.to_string(),
            },
        }
    }
}

/// Why a session is over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum End {
    /// Nothing was heard for the idle time.
    #[error("nothing was heard from the other end any more")]
    Idle,
    /// The other end has forgotten this session, as a restarted process does.
    #[error("the other end has restarted")]
    Reset,
    /// The other end closed it.
    #[error("closed by the other end: {reason}")]
    Closed {
        /// Which kind of end.
        code: CloseCode,
        /// Its words.
        reason: String,
    },
    /// The other end's bytes are not what they should be; this end closed the session.
    #[error("the other end broke the protocol: {reason}")]
    Protocol {
        /// How.
        reason: String,
    },
    /// This end closed it.
    #[error("closed here: {reason}")]
    Local {
        /// Why.
        reason: String,
    },
    /// QUIC or TLS failed.
    #[error("the connection failed: {reason}")]
    Failed {
        /// What it says.
        reason: String,
    },
}

impl From<&ConnectionError> for End {
    fn from(cause: &ConnectionError) -> Self {
        match cause {
            ConnectionError::TimedOut => Self::Idle,
            ConnectionError::Reset => Self::Reset,
            ConnectionError::ApplicationClosed(close) => Self::Closed {
                code: CloseCode::of(close.error_code),
                reason: String::from_utf8_lossy(&close.reason).into_owned(),
            },
            ConnectionError::LocallyClosed => Self::Local {
                reason: "closed".to_owned(),
            },
            ConnectionError::ConnectionClosed(_)
            | ConnectionError::TransportError(_)
            | ConnectionError::VersionMismatch
            | ConnectionError::CidsExhausted => Self::Failed {
                reason: cause.to_string(),
            },
        }
    }
}

const CERTIFICATE_EXPIRED: u8 = 45;
const NO_APPLICATION_PROTOCOL: u8 = 120;

/// The TLS alert inside a QUIC error code: 0x100 and the alert (RFC 9001, 4.8).
fn alert(code: quinn::TransportErrorCode) -> Option<u8> {
    let number = u64::from(code);
    (number & !0xff == 0x100).then_some((number & 0xff) as u8)
}

/// What an alert about our certificate means (RFC 8446, 6.2; the other end chooses it in `certificate.rs`).
fn certificate_alert(number: u8) -> Option<&'static str> {
    Some(match number {
        42 => "it names somebody else",
        43 => "it is not for an agent",
        44 => "it is revoked",
        46 => "it cannot be read",
        48 => "its CA is not the hub's CA",
        51 => "its signature does not fit",
        116 => "a client certificate is needed",
        _ => return None,
    })
}

fn seconds(span: Duration) -> String {
    format!("{:.1} s", span.as_secs_f64())
}

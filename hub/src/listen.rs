//! Binds one port number for agents (UDP) and people (TCP).
//!
//! Never falls back to another port than the one that was asked for.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, UdpSocket};

/// Tries for a number that is free for both; each has a fair chance, so that 32 failures mean that something is wrong.
const ATTEMPTS: u32 = 32;

/// Both sockets, bound to the same number.
#[derive(Debug)]
pub struct Sockets {
    /// For agents.
    pub udp: UdpSocket,
    /// For people; does not block.
    pub tcp: TcpListener,
    /// Where they are.
    pub address: SocketAddr,
}

/// Why a port cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Somebody else has it.
    #[error(
        "{protocol} port {address} is in use by another program: stop it, or give another one with --listen (port 0 picks a free one)"
    )]
    InUse {
        /// Where.
        address: SocketAddr,
        /// Which of the two.
        protocol: &'static str,
    },
    /// The system refuses.
    #[error("cannot listen on {protocol} {address}")]
    Refused {
        /// Where.
        address: SocketAddr,
        /// Which of the two.
        protocol: &'static str,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
}

impl ListenError {
    fn new(address: SocketAddr, protocol: &'static str, cause: std::io::Error) -> Self {
        if cause.kind() == ErrorKind::AddrInUse {
            Self::InUse { address, protocol }
        } else {
            Self::Refused {
                address,
                protocol,
                cause,
            }
        }
    }
}

/// Binds both.
pub fn bind(address: SocketAddr) -> Result<Sockets, ListenError> {
    let mut last = None;
    for _ in 0..ATTEMPTS {
        match bind_once(address) {
            Err(error @ ListenError::InUse { .. }) if address.port() == 0 => last = Some(error),
            result => return result,
        }
    }
    Err(last.unwrap_or(ListenError::InUse {
        address,
        protocol: "TCP",
    }))
}

fn bind_once(wanted: SocketAddr) -> Result<Sockets, ListenError> {
    let udp = UdpSocket::bind(wanted).map_err(|cause| ListenError::new(wanted, "UDP", cause))?;
    let address = udp
        .local_addr()
        .map_err(|cause| ListenError::new(wanted, "UDP", cause))?;
    let tcp = TcpListener::bind(address).map_err(|cause| ListenError::new(address, "TCP", cause))?;
    tcp.set_nonblocking(true)
        .map_err(|cause| ListenError::new(address, "TCP", cause))?;
    Ok(Sockets { udp, tcp, address })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 0))
    }

    #[test]
    fn both_sockets_have_the_same_number() {
        let sockets = bind(any()).expect("a free port");
        assert_eq!(sockets.udp.local_addr().expect("bound"), sockets.address);
        assert_eq!(sockets.tcp.local_addr().expect("bound"), sockets.address);
    }

    #[test]
    fn a_port_in_use_is_named_with_its_protocol() {
        let first = bind(any()).expect("a free port");
        let error = bind(first.address).expect_err("in use");
        assert!(error.to_string().contains("UDP port 127.0.0.1:"), "{error}");
        let port = first.address;
        drop(first.udp);
        let error = bind(port).expect_err("still in use");
        assert!(error.to_string().contains("TCP port 127.0.0.1:"), "{error}");
        assert!(error.to_string().contains("--listen"), "{error}");
    }
}

//! Decides which reasons for having no session people are told of: those that last until somebody does something.
//!
//! Read next: `explain` in `link.rs`, which tells them.

use std::mem::{Discriminant, discriminant};

use wire_transport::{CloseCode, ConnectError};

use super::LinkError;

/// Which kind of reason, whatever its words.
pub(super) type Kind = (Discriminant<LinkError>, Option<Discriminant<ConnectError>>);

impl LinkError {
    /// Whether somebody has to do something about it: a hub that does not answer comes back, one that refuses this node does not.
    pub(super) fn lasts(&self) -> bool {
        match self {
            Self::Connect(cause) => match cause {
                ConnectError::NotOurHub { .. }
                | ConnectError::Clock { .. }
                | ConnectError::Expired { .. }
                | ConnectError::Refused { .. }
                | ConnectError::Version { .. } => true,
                ConnectError::Closed { code, .. } => *code == CloseCode::Denied,
                ConnectError::Unreachable { .. } | ConnectError::Failed { .. } | ConnectError::Socket { .. } => false,
            },
            Self::Refused { .. } | Self::Identity(_) | Self::Tls(_) => true,
            Self::Name { .. } | Self::Door(_) | Self::Unwanted { .. } | Self::Thread => false,
        }
    }

    pub(super) fn kind(&self) -> Kind {
        let connect = match self {
            Self::Connect(cause) => Some(discriminant(cause)),
            _ => None,
        };
        (discriminant(self), connect)
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use wire::time::Wall;
    use wire_transport::CertificateFault;

    use super::*;

    #[test]
    fn what_passes_by_itself_is_nobodys_business_and_each_kind_of_the_rest_is_told_once() {
        let address = SocketAddr::from(([127, 0, 0, 1], 7443));
        let clock = |now| ConnectError::Clock {
            address,
            fault: CertificateFault::Expired {
                until: Wall(0),
                now: Wall(now),
            },
        };
        let closed = |code| ConnectError::Closed {
            address,
            code,
            reason: String::new(),
        };
        let waited = Duration::ZERO;
        let passes = [
            ConnectError::Unreachable { address, waited },
            closed(CloseCode::Stopping),
            closed(CloseCode::Busy),
        ];
        for cause in passes {
            assert!(!LinkError::Connect(cause.clone()).lasts(), "{cause}");
        }
        for cause in [clock(1), ConnectError::Expired { address }, closed(CloseCode::Denied)] {
            assert!(LinkError::Connect(cause.clone()).lasts(), "{cause}");
        }
        let kind = |cause| LinkError::Connect(cause).kind();
        assert_eq!(kind(clock(1)), kind(clock(2)), "only the time is another");
        assert_ne!(kind(clock(1)), kind(ConnectError::Expired { address }));
    }
}

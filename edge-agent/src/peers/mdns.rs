//! Hints from the local network: where members of the site say that they listen (multicast DNS, RFC 6762 and 6763).
//!
//! Anybody on the network can say anything here. A hint is an address to try for a name that the list of members has already; who
//! answers there must show that member's certificate. It never makes anybody a neighbour.
//!
//! Read next: `peers.rs` (who tries it).

use std::net::{IpAddr, SocketAddr};

use mdns_sd::{Receiver, ResolvedService, ServiceDaemon, ServiceEvent, ServiceInfo};
use wire::AgentId;

const SERVICE: &str = "_sentinel-agent._udp.local.";
const SITE: &str = "site";
/// DNS-SD names each text record so; ours has one.
const LONGEST_SITE: usize = 200;

/// This agent's word in the local network, and its ear. Both end with it.
pub struct Mdns {
    daemon: ServiceDaemon,
    found: Receiver<ServiceEvent>,
}

impl std::fmt::Debug for Mdns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mdns").finish_non_exhaustive()
    }
}

/// A member was seen, or thinks that it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint {
    /// Under which name.
    pub agent: AgentId,
    /// Of which site, by its own word.
    pub site: String,
    /// Where to try.
    pub address: SocketAddr,
}

impl Mdns {
    /// Says where this agent listens, and listens for others. The sockets are a thread's of the library's own.
    pub fn start(agent: &AgentId, site: &str, listen: SocketAddr) -> Result<Self, mdns_sd::Error> {
        let daemon = ServiceDaemon::new()?;
        let host = format!("{agent}.local.");
        let site: String = site.chars().take(LONGEST_SITE).collect();
        let address = match listen.ip().is_unspecified() {
            true => String::new(),
            false => listen.ip().to_string(),
        };
        let properties = [(SITE, site.as_str())];
        let info = ServiceInfo::new(
            SERVICE,
            agent.as_str(),
            &host,
            address.as_str(),
            listen.port(),
            &properties[..],
        )?;
        let info = match address.is_empty() {
            true => info.enable_addr_auto(),
            false => info,
        };
        daemon.register(info)?;
        let found = daemon.browse(SERVICE)?;
        Ok(Self { daemon, found })
    }

    /// The next hint; `None`: the library's thread has ended. Safe to drop and call again.
    pub async fn next(&self) -> Option<Hint> {
        loop {
            if let ServiceEvent::ServiceResolved(service) = self.found.recv_async().await.ok()?
                && let Some(hint) = hint(&service)
            {
                return Some(hint);
            }
        }
    }
}

impl Drop for Mdns {
    fn drop(&mut self) {
        // Ends its thread; it may have ended by itself.
        let _ = self.daemon.shutdown();
    }
}

/// What a resolved service says, if it is one of ours.
fn hint(service: &ResolvedService) -> Option<Hint> {
    let name = service.get_fullname().strip_suffix(SERVICE)?.trim_end_matches('.');
    let addresses = service.get_addresses().iter().map(mdns_sd::ScopedIp::to_ip_addr);
    let usable = addresses.filter(|address| !is_link_local(address));
    Some(Hint {
        agent: AgentId::new(name).ok()?,
        site: service.get_property_val_str(SITE).unwrap_or_default().to_owned(),
        // IPv4 first, then the lowest: the same one each time.
        address: SocketAddr::new(usable.min()?, service.get_port()),
    })
}

/// An IPv6 address that is worth nothing without its interface.
fn is_link_local(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

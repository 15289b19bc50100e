//! Finds the hub: by name, by address, or where it was last.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use wire_transport::Knocker;

use super::file::io_error;
use super::{IdentityError, folder_in};

/// How long a name may take to resolve before the cached address is used.
const DNS: Duration = Duration::from_secs(3);
const ADDRESS: &str = "hub-address";
/// How often an address is asked whether a hub is there: a packet may be lost, and three rarely are.
const KNOCKS: u32 = 3;
/// How long that may take in all; far paths have round trips of 300 ms.
const KNOCK_WITHIN: Duration = Duration::from_millis(1_500);

/// The addresses of `HOST:PORT`. A name is given up after three seconds.
pub async fn resolve(hub: &str) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = hub.parse() {
        return Ok(vec![address]);
    }
    let found = tokio::time::timeout(DNS, tokio::net::lookup_host(hub))
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    let addresses: Vec<SocketAddr> = found.collect();
    if addresses.is_empty() {
        return Err(io::Error::from(io::ErrorKind::NotFound));
    }
    Ok(addresses)
}

/// The same addresses, the first that answers in front: a name with a dead IPv6 address and a live IPv4 one costs nothing.
///
/// Takes as long as the fastest answer, and [`KNOCK_WITHIN`] where nobody answers; then the order is as it was.
pub async fn reachable_first(mut addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    if addresses.len() < 2 {
        return addresses;
    }
    let mut knocks = tokio::task::JoinSet::new();
    for address in addresses.clone() {
        knocks.spawn(async move {
            // What a system that gives no socket says is told by the connect.
            let knocker = Knocker::new(address).ok()?;
            knocker.knock(KNOCKS, KNOCK_WITHIN).await.then_some(address)
        });
    }
    while let Some(answer) = knocks.join_next().await {
        if let Ok(Some(alive)) = answer {
            addresses.retain(|address| *address != alive);
            addresses.insert(0, alive);
            return addresses;
        }
    }
    addresses
}

/// Where the hub was reached last, for the day on which DNS is away.
pub fn cached_address(state_dir: &Path) -> Option<SocketAddr> {
    let text = fs::read_to_string(folder_in(state_dir).join(ADDRESS)).ok()?;
    text.trim().parse().ok()
}

/// Keeps where the hub was reached. Blocks on the disk.
pub fn cache_address(state_dir: &Path, address: SocketAddr) -> Result<(), IdentityError> {
    let path = folder_in(state_dir).join(ADDRESS);
    wire_files::replace(&path, address.to_string().as_bytes()).map_err(io_error("write", &path))
}

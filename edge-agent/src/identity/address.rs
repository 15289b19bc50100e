//! Finds the hub: by name, by address, or where it was last.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use super::file::{io_error, replace};
use super::{IdentityError, folder_in};

/// How long a name may take to resolve before the cached address is used.
const DNS: Duration = Duration::from_secs(3);
const ADDRESS: &str = "hub-address";

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

/// Where the hub was reached last, for the day on which DNS is away.
pub fn cached_address(state_dir: &Path) -> Option<SocketAddr> {
    let text = fs::read_to_string(folder_in(state_dir).join(ADDRESS)).ok()?;
    text.trim().parse().ok()
}

/// Keeps where the hub was reached. Blocks on the disk.
pub fn cache_address(state_dir: &Path, address: SocketAddr) -> Result<(), IdentityError> {
    let path = folder_in(state_dir).join(ADDRESS);
    replace(&path, address.to_string().as_bytes()).map_err(io_error("write", &path))
}

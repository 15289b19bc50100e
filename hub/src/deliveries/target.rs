//! Where deliveries may go: https to elsewhere, and to this machine or its own link only where the hub was started so.
//!
//! A name is checked when it is resolved for a delivery, so that a name that points elsewhere later opens nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// What is refused, for people.
const LOCAL: &str = "it is this machine, its own link or a group, which a webhook reaches only on a hub that was started with --webhooks-to-local";

/// Whether an address is one that a stranger's webhook must not reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Address {
    /// Elsewhere.
    Elsewhere,
    /// This machine, its link, or no single machine.
    Local,
}

impl Address {
    /// Which one an address is.
    pub fn of(address: IpAddr) -> Self {
        let is_local = match address {
            IpAddr::V4(address) => is_local_v4(address),
            IpAddr::V6(address) => match address.to_ipv4_mapped() {
                Some(address) => is_local_v4(address),
                None => is_local_v6(address),
            },
        };
        match is_local {
            true => Self::Local,
            false => Self::Elsewhere,
        }
    }
}

fn is_local_v4(address: Ipv4Addr) -> bool {
    // All of 0.0.0.0/8 reaches this machine on Linux.
    address.octets()[0] == 0
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_broadcast()
}

fn is_local_v6(address: Ipv6Addr) -> bool {
    address.is_loopback() || address.is_unspecified() || address.is_unicast_link_local() || address.is_multicast()
}

/// Whether events may be sent there; the error is for people. A name is checked again at each delivery.
pub fn check_url(text: &str, to_local: bool) -> Result<(), String> {
    let rule = "write https://HOST/PATH";
    if text.len() > 2_000 {
        return Err(format!("it is {} bytes long, the most is 2000", text.len()));
    }
    let url = reqwest::Url::parse(text).map_err(|error| format!("`{text}` is no address ({error}): {rule}"))?;
    match url.scheme() {
        "https" => {}
        "http" if to_local => {}
        other => return Err(format!("`{other}` is not allowed: {rule}")),
    }
    let host = url
        .host_str()
        .ok_or_else(|| format!("`{text}` names no host: {rule}"))?;
    // Every way to write an address of IPv4 has become the usual one here.
    let address: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
    match address.map(Address::of) {
        Some(Address::Local) if !to_local => Err(format!("`{text}` is not allowed: {LOCAL}")),
        _ => Ok(()),
    }
}

/// Resolves names as the system does, and refuses those that lead here.
struct Guarded {
    to_local: bool,
}

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let to_local = self.to_local;
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let is_local = found.iter().any(|found| Address::of(found.ip()) == Address::Local);
            if is_local && !to_local {
                return Err(format!("`{}` is not allowed: {LOCAL}", name.as_str()).into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// Who sends. It follows no redirect, because that could lead anywhere.
pub fn client(to_local: bool) -> reqwest::Result<reqwest::Client> {
    crate::https::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .dns_resolver(Arc::new(Guarded { to_local }))
        .build()
}

/// Why nothing was answered, without the address, which may hold a secret.
pub fn failure(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    match error.is_timeout() {
        true => "no answer in time".to_owned(),
        false => cause.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_and_its_link_are_not_reached() {
        for text in [
            "https://127.0.0.1/",
            "https://127.1/",
            "https://2130706433/",
            "https://0.0.0.0/",
            "https://169.254.169.254/latest/meta-data",
            "https://[::1]/",
            "https://[fe80::1]/",
            "https://[::ffff:127.0.0.1]/",
            "https://224.0.0.1/",
            "http://example.org/",
            "ftp://example.org/",
            "file:///etc/passwd",
            "example.org",
        ] {
            assert!(check_url(text, false).is_err(), "{text}");
        }
        for text in [
            "https://example.org/in?token=x",
            "https://10.1.2.3:8443/",
            "https://[2001:db8::1]/",
        ] {
            assert_eq!(check_url(text, false), Ok(()), "{text}");
        }
        assert_eq!(check_url("http://127.0.0.1:9/", true), Ok(()));
    }

    #[tokio::test]
    async fn a_name_that_leads_here_is_refused_when_it_is_resolved() {
        let client = client(false).expect("a client");
        let error = client.post("https://localhost:9/").send().await.expect_err("refused");
        assert!(failure(&error).contains("--webhooks-to-local"), "{}", failure(&error));
    }
}

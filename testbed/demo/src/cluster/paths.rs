//! Which paths there are: from each node to the hub, and one between any two nodes of a site.
//!
//! Of two neighbours the one whose name comes first finds the other through the path; packets go both ways on it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use serde_json::json;

use super::Cluster;
use crate::proxy::Wanted;

const SITES: [&str; 3] = ["site-a", "site-b", "site-c"];
/// Below the ports that the kernel chooses from (`ip_local_port_range`).
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// The site of a node, by its place among all of them.
pub(super) fn site(index: usize, nodes: usize) -> &'static str {
    SITES[index * SITES.len() / nodes]
}

/// Every path, those to the hub first and in the order of the nodes.
pub(super) fn wanted(names: &[String], hub: SocketAddr) -> io::Result<Vec<Wanted>> {
    let mut paths: Vec<Wanted> = Vec::new();
    for node in names {
        paths.push(Wanted {
            node: node.clone(),
            neighbour: None,
            to: hub,
        });
    }
    let mut next = free_ports();
    for (index, neighbour) in names.iter().enumerate() {
        let of_site = |other: &usize| site(*other, names.len()) == site(index, names.len());
        let to = next
            .next()
            .ok_or_else(|| io::Error::other("no free port on loopback"))?;
        for node in (0..index).filter(of_site).map(|other| &names[other]) {
            paths.push(Wanted {
                node: node.clone(),
                neighbour: Some(neighbour.clone()),
                to,
            });
        }
    }
    Ok(paths)
}

/// Ports below those that the kernel gives to whoever asks for any: one that is free now stays so for the agent, which binds it
/// again after each restart.
fn free_ports() -> impl Iterator<Item = SocketAddr> {
    let span = PORTS.end - PORTS.start;
    // Two demos that start together look in different places.
    let first = (std::process::id().wrapping_mul(97) % u32::from(span)) as u16;
    let all = (0..span).map(move |step| PORTS.start + (first + step) % span);
    all.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
        .filter(|address| UdpSocket::bind(address).is_ok())
}

impl Cluster {
    /// The `[mesh]` of a node's settings; nothing for a node that is alone at its site.
    pub(super) fn mesh(&self, name: &str) -> String {
        let between = || {
            self.proxy
                .lanes
                .iter()
                .filter(|lane| lane.neighbour.is_some() && lane.touches(name))
        };
        let peers = between().filter_map(|lane| {
            let neighbour = lane.neighbour.as_deref()?;
            // Whoever comes second is found, and finds nobody; its settings name whom it lets in.
            let other = if lane.node == name {
                neighbour
            } else {
                lane.node.as_str()
            };
            Some(format!("{other} = {}", json!(lane.address.to_string())))
        });
        let peers: Vec<String> = peers.collect();
        if peers.is_empty() {
            return String::new();
        }
        let listen = between().find(|lane| lane.neighbour.as_deref() == Some(name));
        let listen = listen.map_or_else(|| "127.0.0.1:0".to_owned(), |lane| lane.to.to_string());
        format!(
            "\n# The other nodes of its site. They carry each other's sealed packets when one has lost its path to the hub.\n\
             [mesh]\n\
             listen = {}\n\
             peers = {{ {} }}\n",
            json!(listen),
            peers.join(", ")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn six_nodes_are_three_sites_of_two_with_one_path_in_each() {
        let names: Vec<String> = (1..=6).map(|number| format!("edge-0{number}")).collect();
        let paths = wanted(&names, SocketAddr::from((Ipv4Addr::LOCALHOST, 7443))).expect("ports");
        let between: Vec<(&str, &str)> = paths
            .iter()
            .filter_map(|path| Some((path.node.as_str(), path.neighbour.as_deref()?)))
            .collect();
        assert_eq!(paths.len() - between.len(), 6);
        assert_eq!(
            between,
            [("edge-01", "edge-02"), ("edge-03", "edge-04"), ("edge-05", "edge-06")]
        );
    }
}

//! The members of sites: who may carry and be carried by whom, and where each is found.
//!
//! A list in a bundle is signed like its rules, has its generation, and travels by the same ways, also through neighbours. It replaces
//! what the settings of the members say. A bundle that names no site leaves the settings alone. An address is where to try: who answers
//! there must show a certificate with the member's name.
//!
//! Never decides whether an action may run. Read next: `edge-agent/src/peers.rs` (who talks with whom).

use std::collections::BTreeMap;
use std::net::SocketAddr;

use wire::AgentId;

use crate::text::fields::Fields;

/// Most sites of one bundle.
pub(crate) const MAX_SITES: usize = 256;
/// Most members of a site: each keeps a session with every other.
pub(crate) const MAX_MEMBERS: usize = 65;

/// The word in place of an address: ask the local network.
const BY_MDNS: &str = "mdns";

/// Neighbours by name, each with the UDP address at which the others find it; `None`: it is looked for on the local network.
pub type Members = BTreeMap<AgentId, Option<SocketAddr>>;

/// A site and its members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// Its name, as nodes joined with it.
    pub id: String,
    /// Where the members are, by name.
    pub members: Members,
    /// Other sites whose members are neighbours of these, too.
    pub neighbours: Vec<String>,
}

impl Site {
    /// Reads one site; problems go into the fields' list.
    pub(crate) fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let id = fields.need_text("id", "the site's name, as its nodes joined with it");
        let pairs = fields.pairs(
            "members",
            "the nodes that may carry each other's packets and pass policy on, by name, each with the UDP address at which the others \
             find it (`mesh.listen` of its settings), or `mdns`: it is looked for on the local network; at most 65",
        );
        let neighbours = fields.words(
            "neighbours",
            "other sites of this bundle whose members carry and are carried by these, too, and by whom a site that is cut off tells that \
             the hub is away for all; none",
        );
        if fields.is_describing() {
            return None;
        }
        if pairs.len() > MAX_MEMBERS {
            fields.problem(
                "members",
                format!("{} members; a site has at most {MAX_MEMBERS}", pairs.len()),
            );
        }
        let mut members = BTreeMap::new();
        for (name, address) in pairs {
            let place = match address.as_str() {
                BY_MDNS => Ok(None),
                address => address.parse().map(Some),
            };
            match (AgentId::new(&name), place) {
                (Ok(name), Ok(place)) => drop(members.insert(name, place)),
                (Err(error), _) => fields.problem("members", format!("`{name}` is no name of a node: {error}")),
                (_, Err(_)) => fields.problem(
                    "members",
                    format!("`{address}` of {name} is no address with a port, for example 10.0.0.3:7444, and not `{BY_MDNS}`"),
                ),
            }
        }
        Some(Self {
            id,
            members,
            neighbours: neighbours.unwrap_or_default(),
        })
    }

    /// Whether the members of the two sites are neighbours: either says so.
    fn is_beside(&self, other: &Self) -> bool {
        self.neighbours.contains(&other.id) || other.neighbours.contains(&self.id)
    }

    /// Whether members of two sites are neighbours, of what these sites say: they are of one, or either site says so.
    pub fn are_beside(sites: &[Self], one: &str, other: &str) -> bool {
        let find = |id: &str| sites.iter().find(|site| site.id == id);
        one == other
            || find(one)
                .zip(find(other))
                .is_some_and(|(one, other)| one.is_beside(other))
    }

    /// All that may carry and be carried by the members of that site, of what these sites say; `None`: they do not name it.
    pub fn around(sites: &[Self], id: &str) -> Option<Members> {
        let own = sites.iter().find(|site| site.id == id)?;
        let beside = sites.iter().filter(|site| site.id != id && own.is_beside(site));
        let mut members = own.members.clone();
        members.extend(beside.flat_map(|site| site.members.clone()));
        Some(members)
    }

    /// For lists of differences.
    pub(crate) fn text(&self) -> String {
        let members: Vec<String> = self
            .members
            .iter()
            .map(|(name, at)| match at {
                Some(at) => format!("{name} at {at}"),
                None => name.to_string(),
            })
            .collect();
        let beside = match self.neighbours.as_slice() {
            [] => String::new(),
            beside => format!("; beside {}", beside.join(", ")),
        };
        format!("{}: {}{beside}", self.id, members.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Bundle;

    #[test]
    fn members_have_names_and_addresses_and_what_is_wrong_is_named() {
        let text = "bundle: b\nsites:\n  - { id: site-b, members: { edge-03: \"10.0.0.3:7444\", edge-04: \"[fe80::1]:7444\" } }\n  \
                    - { id: site-c, members: { edge-05: mdns }, neighbours: [site-b] }\n  - { id: site-d, members: { edge-06: mdns } }\n";
        let bundle = Bundle::parse(text.as_bytes()).expect("a bundle");
        let around = |site| {
            let members = Site::around(bundle.sites(), site).expect("a site");
            let one = |(name, at): (&AgentId, &Option<SocketAddr>)| {
                format!("{name} {}", at.map_or("-".to_owned(), |at| at.to_string()))
            };
            members.iter().map(one).collect::<Vec<String>>()
        };
        assert_eq!(
            around("site-b"),
            ["edge-03 10.0.0.3:7444", "edge-04 [fe80::1]:7444", "edge-05 -"]
        );
        assert_eq!(
            around("site-c"),
            around("site-b"),
            "it is enough that one of the two says so"
        );
        assert_eq!(around("site-d"), ["edge-06 -"]);
        assert!(Site::around(bundle.sites(), "site-e").is_none());
        for (text, part) in [
            (
                "sites: [{ id: s, members: { edge-03: nowhere } }]",
                "`nowhere` of edge-03 is no address with a port",
            ),
            (
                "sites: [{ id: s, members: { \"Edge 3\": \"10.0.0.3:1\" } }]",
                "`Edge 3` is no name of a node",
            ),
            ("sites: [{ id: s }, { id: s }]", "is called `s` too"),
            (
                "sites: [{ id: s, members: { a: mdns }, neighbours: [t] }]",
                "`t` is no site of this bundle",
            ),
            (
                "sites: [{ id: s, members: { a: mdns } }, { id: t, members: { a: mdns } }]",
                "`a` is a member of `s` already",
            ),
        ] {
            let problems = Bundle::parse(format!("bundle: b\n{text}\n").as_bytes()).expect_err(text);
            assert!(
                problems.iter().any(|problem| problem.message.contains(part)),
                "{text}: {problems:?}"
            );
        }
    }
}

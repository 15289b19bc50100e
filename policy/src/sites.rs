//! The members of sites: who may carry and be carried by whom, and where each is found.
//!
//! A list in a bundle is signed like its rules, has its generation, and travels by the same ways, also through neighbours. It replaces
//! what the settings of the members say. A bundle that names no site leaves the settings alone.
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

/// A site, and the UDP address at which each member is found by the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// Its name, as nodes joined with it.
    pub id: String,
    /// Where the members are, by name.
    pub members: BTreeMap<AgentId, SocketAddr>,
}

impl Site {
    /// Reads one site; problems go into the fields' list.
    pub(crate) fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let id = fields.need_text("id", "the site's name, as its nodes joined with it");
        let pairs = fields.pairs(
            "members",
            "the nodes that may carry each other's packets and pass policy on, by name, each with the UDP address at which the others \
             find it (`mesh.listen` of its settings); at most 65",
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
            match (AgentId::new(&name), address.parse()) {
                (Ok(name), Ok(address)) => drop(members.insert(name, address)),
                (Err(error), _) => fields.problem("members", format!("`{name}` is no name of a node: {error}")),
                (_, Err(_)) => fields.problem(
                    "members",
                    format!("`{address}` of {name} is no address with a port, for example 10.0.0.3:7444"),
                ),
            }
        }
        Some(Self { id, members })
    }

    /// For lists of differences.
    pub(crate) fn text(&self) -> String {
        let members: Vec<String> = self
            .members
            .iter()
            .map(|(name, at)| format!("{name} at {at}"))
            .collect();
        format!("{}: {}", self.id, members.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use crate::Bundle;

    #[test]
    fn members_have_names_and_addresses_and_what_is_wrong_is_named() {
        let text = "bundle: b\nsites:\n  - { id: site-b, members: { edge-03: \"10.0.0.3:7444\", edge-04: \"[fe80::1]:7444\" } }\n";
        let bundle = Bundle::parse(text.as_bytes()).expect("a bundle");
        let members = bundle.members("site-b").expect("a site");
        let named: Vec<String> = members.iter().map(|(name, at)| format!("{name} {at}")).collect();
        assert_eq!(named, ["edge-03 10.0.0.3:7444", "edge-04 [fe80::1]:7444"]);
        assert!(bundle.members("site-c").is_none());
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
        ] {
            let problems = Bundle::parse(format!("bundle: b\n{text}\n").as_bytes()).expect_err(text);
            assert!(
                problems.iter().any(|problem| problem.message.contains(part)),
                "{text}: {problems:?}"
            );
        }
    }
}

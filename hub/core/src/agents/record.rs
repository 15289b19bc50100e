//! Identities of agents and join tokens as documents: codec version 1.
//!
//! Neither holds a secret: of a token its hash, of an agent its public keys.

use serde::{Deserialize, Serialize};
use wire::ids::{AgentId, Digest};
use wire::time::Wall;

use crate::documents::Document;

/// An agent's identity, and whether it may come in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Its name.
    pub agent: AgentId,
    /// Its site.
    pub site: String,
    /// Its permanent public key, Ed25519; `None` for a node that this hub knows only by a certificate which a former self gave out.
    pub node_key: Option<[u8; 32]>,
    /// Number of its newest certificate.
    pub generation: u64,
    /// Names the public key in that certificate.
    pub leaf_key: Digest,
    /// When that certificate ends.
    pub ends: Wall,
    /// When it joined.
    pub joined: Wall,
    /// Hash of the token that it joined with.
    pub token: Digest,
    /// How often it had to rejoin.
    pub rejoins: u32,
    /// When, as far as that counts for the limit; oldest first.
    pub recent_rejoins: Vec<Wall>,
    /// A person has cleared it: the next generation that it shows is taken as it is.
    pub any_generation: bool,
    /// Certificates of a lower generation open nothing: another machine had them.
    pub fence: u64,
    /// Why it may not come in.
    pub shut: Option<Shut>,
    /// Its history was found to go on in two places.
    pub forked: Option<Fork>,
}

/// Why an agent may not come in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shut {
    /// In which way.
    pub how: How,
    /// Why, in the words of whoever decided it.
    pub reason: String,
    /// Who decided it.
    pub by: String,
    /// When.
    pub at: Wall,
}

/// In which way an agent is shut out. The order is part of the stored format: add at the end only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum How {
    /// A person denies it.
    Denied,
    /// Two machines use it, and nobody knows which is the right one.
    Quarantined,
    /// It is not of this fleet any more.
    Removed,
    /// It has another name, which it is given when it asks for its next certificate.
    Renamed {
        /// Which.
        to: AgentId,
    },
}

/// A history that goes on in two places.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fork {
    /// When it was found.
    pub at: Wall,
    /// What was found, for people.
    pub detail: String,
}

/// A join token, named by its hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinToken {
    /// Its hash.
    pub hash: Digest,
    /// What it is for, in the words of whoever made it.
    pub label: Option<String>,
    /// The name that it is for; `None`: the agent's wish, or one made here.
    pub name: Option<AgentId>,
    /// The site that it is for.
    pub site: String,
    /// Who made it.
    pub by: String,
    /// When it was made.
    pub made: Wall,
    /// When it ends.
    pub ends: Wall,
    /// Who used it.
    pub used_by: Option<AgentId>,
    /// Whoever joins with it becomes the node that has this name already, and the machine that was it is shut out.
    pub takes_over: bool,
}

impl Identity {
    /// A node of which nothing is known but its name.
    pub(crate) fn unknown(agent: AgentId, site: &str) -> Self {
        Self {
            agent,
            site: site.to_owned(),
            node_key: None,
            generation: 0,
            leaf_key: Digest::ZERO,
            ends: Wall(0),
            joined: Wall(0),
            token: Digest::ZERO,
            rejoins: 0,
            recent_rejoins: Vec::new(),
            any_generation: false,
            fence: 0,
            shut: None,
            forked: None,
        }
    }

    /// Whether it stands for a node that is not in the fleet any more.
    pub fn is_gone(&self) -> bool {
        let how = self.shut.as_ref().map(|shut| &shut.how);
        matches!(how, Some(How::Removed | How::Renamed { .. }))
    }
}

impl Document for Identity {
    const KIND: &'static str = "agent";
    const VERSION: u8 = 1;
    /// Ten times the largest fleet that one hub is meant for; each takes about 400 bytes of memory.
    const MOST_LIVE: usize = 100_000;

    fn id(&self) -> String {
        self.agent.to_string()
    }

    fn is_live(&self) -> bool {
        true
    }
}

impl Document for JoinToken {
    const KIND: &'static str = "join-token";
    const VERSION: u8 = 1;
    /// A site that is set up at once; used and ended ones leave after some days.
    const MOST_LIVE: usize = 20_000;

    fn id(&self) -> String {
        self.hash.to_string()
    }

    fn is_live(&self) -> bool {
        true
    }
}

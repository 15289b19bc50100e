//! What enrolment keeps, and what it asks of a store.

use serde::{Deserialize, Serialize};
use wire::ids::{AgentId, Digest};
use wire::time::Wall;

/// Where tokens and agents are kept. Every call blocks, and what it did is durable when it returns.
pub trait Registry: Send + Sync + 'static {
    /// Adds a token.
    fn put_token(&self, hash: &Digest, token: &TokenRecord) -> Result<(), RegistryError>;

    /// Finds a token.
    fn token(&self, hash: &Digest) -> Result<Option<TokenRecord>, RegistryError>;

    /// Finds an agent.
    fn agent(&self, agent: &AgentId) -> Result<Option<AgentRecord>, RegistryError>;

    /// All agents.
    fn agents(&self) -> Result<Vec<AgentRecord>, RegistryError>;

    /// One transaction: if the stored token is `before` and the stored agent is `agent_before`, they become `after` and `agent`;
    /// else nothing changes. Returns whether it was done.
    fn take_token(
        &self,
        hash: &Digest,
        before: &TokenRecord,
        after: &TokenRecord,
        agent_before: Option<&AgentRecord>,
        agent: &AgentRecord,
    ) -> Result<bool, RegistryError>;

    /// One transaction: if the stored agent is `before`, it becomes `after`. Returns whether it was done.
    fn replace_agent(&self, before: &AgentRecord, after: &AgentRecord) -> Result<bool, RegistryError>;
}

/// The registry cannot be read or written. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the registry is not available: {0}")]
pub struct RegistryError(pub String);

/// A join token, stored under its hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRecord {
    /// The name that it is for; `None`: the agent's wish, or one made here.
    pub name: Option<AgentId>,
    /// The site that it is for.
    pub site: String,
    /// When it was made.
    pub made: Wall,
    /// When it ends.
    pub ends: Wall,
    /// Who used it.
    pub used_by: Option<AgentId>,
}

/// An agent's identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentRecord {
    /// Its name.
    pub agent: AgentId,
    /// Its site.
    pub site: String,
    /// Its permanent public key, Ed25519.
    pub node_key: [u8; 32],
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
    /// Why it is denied.
    pub denied: Option<String>,
    /// A person has cleared it: the next generation that it shows is taken as it is.
    pub any_generation: bool,
}

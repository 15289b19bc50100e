//! Tokens and identities as stores of format 2 kept them, in tables of their own, and how they become documents.
//!
//! Decides nothing: whoever was denied is denied, whichever token was used is used.

use hub_core::{Document, How, Identity, JoinToken, Put, Shut, encode_document};
use serde::{Deserialize, Serialize};
use wire::ids::{AgentId, Digest};
use wire::time::Wall;

use super::StoreError;
use super::engine::{Sorted, Transaction};
use super::rows::{Table, unseal};
use super::tables::{ApplyError, Tables, decode};

/// Token hash -> [`TokenRecord`].
pub(super) const TOKENS: Table = Table::new("tokens");
/// Agent -> [`AgentRecord`].
pub(super) const IDENTITIES: Table = Table::new("identities");

/// A join token.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct TokenRecord {
    pub(super) name: Option<AgentId>,
    pub(super) site: String,
    pub(super) made: Wall,
    pub(super) ends: Wall,
    pub(super) used_by: Option<AgentId>,
}

/// An agent's identity.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct AgentRecord {
    pub(super) agent: AgentId,
    pub(super) site: String,
    pub(super) node_key: [u8; 32],
    pub(super) generation: u64,
    pub(super) leaf_key: Digest,
    pub(super) ends: Wall,
    pub(super) joined: Wall,
    pub(super) token: Digest,
    pub(super) rejoins: u32,
    pub(super) recent_rejoins: Vec<Wall>,
    pub(super) denied: Option<String>,
    pub(super) any_generation: bool,
}

impl Tables<'_> {
    /// Makes documents of what the two tables hold, and removes the tables.
    pub(super) fn adopt_identities(&mut self, transaction: &Transaction) -> Result<(), ApplyError> {
        let mut puts = Vec::new();
        {
            let tokens = transaction.open_table(TOKENS)?;
            for row in tokens.iter()? {
                let (key, sealed) = row?;
                let record: TokenRecord = decode("tokens", unseal("tokens", key.value(), sealed.value())?)?;
                let hash = <[u8; 32]>::try_from(key.value()).map_err(|_| StoreError::DamagedRow { table: "tokens" })?;
                puts.push(first(&record.into_document(Digest(hash))));
            }
            let identities = transaction.open_table(IDENTITIES)?;
            for row in identities.iter()? {
                let (key, sealed) = row?;
                let record: AgentRecord = decode("identities", unseal("identities", key.value(), sealed.value())?)?;
                puts.push(first(&record.into_document()));
            }
        }
        for put in &puts {
            self.put_document(put)?;
        }
        for table in [TOKENS, IDENTITIES] {
            transaction.delete_table(table)?;
        }
        Ok(())
    }
}

fn first<D: Document>(document: &D) -> Put {
    Put {
        kind: D::KIND,
        id: document.id(),
        revision: 1,
        live: document.is_live(),
        record: Some(encode_document(document)),
        unique: document.unique(),
        indexes: document.indexes(),
    }
}

impl TokenRecord {
    fn into_document(self, hash: Digest) -> JoinToken {
        JoinToken {
            hash,
            label: None,
            name: self.name,
            site: self.site,
            by: "unknown".to_owned(),
            made: self.made,
            ends: self.ends,
            used_by: self.used_by,
            takes_over: false,
        }
    }
}

impl AgentRecord {
    fn into_document(self) -> Identity {
        let joined = self.joined;
        let shut = self.denied.map(|reason| Shut {
            how: How::Denied,
            reason,
            by: "hub".to_owned(),
            at: joined,
        });
        Identity {
            agent: self.agent,
            site: self.site,
            node_key: Some(self.node_key),
            generation: self.generation,
            leaf_key: self.leaf_key,
            ends: self.ends,
            joined,
            token: self.token,
            rejoins: self.rejoins,
            recent_rejoins: self.recent_rejoins,
            any_generation: self.any_generation,
            fence: 0,
            shut,
            forked: None,
        }
    }
}

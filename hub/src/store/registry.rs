//! Enrolment's rows: tokens and identities. Every change is one transaction, and durable when it returns.

use redb::ReadableTable;
use wire::codec;
use wire::ids::{AgentId, Digest};

use super::redb::RedbStore;
use super::rows::{self, unseal};
use super::tables::{ApplyError, Tables, decode, put};
use super::{StoreError, read};
use crate::enroll::{AgentRecord, Registry, RegistryError, TokenRecord};

fn failed(error: StoreError) -> RegistryError {
    RegistryError(error.chain())
}

fn token(tables: &Tables<'_>, hash: &Digest) -> Result<Option<TokenRecord>, ApplyError> {
    match tables.tokens.get(&hash.0[..])? {
        Some(sealed) => Ok(Some(decode("tokens", unseal("tokens", &hash.0, sealed.value())?)?)),
        None => Ok(None),
    }
}

fn identity(tables: &Tables<'_>, agent: &AgentId) -> Result<Option<AgentRecord>, ApplyError> {
    let key = agent.as_str().as_bytes();
    match tables.identities.get(key)? {
        Some(sealed) => Ok(Some(decode("identities", unseal("identities", key, sealed.value())?)?)),
        None => Ok(None),
    }
}

fn put_token(tables: &mut Tables<'_>, hash: &Digest, record: &TokenRecord) -> Result<(), ApplyError> {
    put(&mut tables.tokens, "tokens", &hash.0, &codec::encode(record))
}

fn put_identity(tables: &mut Tables<'_>, record: &AgentRecord) -> Result<(), ApplyError> {
    let key = record.agent.as_str().as_bytes();
    put(&mut tables.identities, "identities", key, &codec::encode(record))
}

impl Registry for RedbStore {
    fn put_token(&self, hash: &Digest, token: &TokenRecord) -> Result<(), RegistryError> {
        let (hash, token) = (*hash, token.clone());
        self.edit(Box::new(move |tables| put_token(tables, &hash, &token).map(|()| true)))
            .map(|_| ())
            .map_err(failed)
    }

    fn token(&self, hash: &Digest) -> Result<Option<TokenRecord>, RegistryError> {
        self.read(|read| match read::value(read, rows::TOKENS, "tokens", &hash.0)? {
            Some(bytes) => Ok(Some(decode("tokens", &bytes)?)),
            None => Ok(None),
        })
        .map_err(failed)
    }

    fn agent(&self, agent: &AgentId) -> Result<Option<AgentRecord>, RegistryError> {
        let key = agent.as_str().as_bytes();
        self.read(|read| match read::value(read, rows::IDENTITIES, "identities", key)? {
            Some(bytes) => Ok(Some(decode("identities", &bytes)?)),
            None => Ok(None),
        })
        .map_err(failed)
    }

    fn agents(&self) -> Result<Vec<AgentRecord>, RegistryError> {
        self.read(|read| {
            let mut found = Vec::new();
            for row in read.open_table(rows::IDENTITIES)?.iter()? {
                let (key, sealed) = row?;
                found.push(decode(
                    "identities",
                    unseal("identities", key.value(), sealed.value())?,
                )?);
            }
            Ok(found)
        })
        .map_err(failed)
    }

    fn take_token(
        &self,
        hash: &Digest,
        before: &TokenRecord,
        after: &TokenRecord,
        agent_before: Option<&AgentRecord>,
        agent: &AgentRecord,
    ) -> Result<bool, RegistryError> {
        let (hash, before, after) = (*hash, before.clone(), after.clone());
        let (agent_before, agent) = (agent_before.cloned(), agent.clone());
        self.edit(Box::new(move |tables| {
            let unchanged =
                token(tables, &hash)?.as_ref() == Some(&before) && identity(tables, &agent.agent)? == agent_before;
            if unchanged {
                put_token(tables, &hash, &after)?;
                put_identity(tables, &agent)?;
            }
            Ok(unchanged)
        }))
        .map_err(failed)
    }

    fn replace_agent(&self, before: &AgentRecord, after: &AgentRecord) -> Result<bool, RegistryError> {
        let (before, after) = (before.clone(), after.clone());
        self.edit(Box::new(move |tables| {
            let unchanged = identity(tables, &after.agent)?.as_ref() == Some(&before);
            if unchanged {
                put_identity(tables, &after)?;
            }
            Ok(unchanged)
        }))
        .map_err(failed)
    }
}

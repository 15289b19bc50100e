//! The model of the hub's store: rows that were committed, and the checks that the real one would do for us.

use std::collections::BTreeMap;

use hub_core::{Put, Quota, Recovered, Row, Spared, StoredAgent, StoredDocument, fair_share};
use wire::entry::{ChainHead, RawEntry};
use wire::ids::{AgentId, CommandId, Epoch, Seq};
use wire::{BundleRef, SignedBundle};

/// One epoch of one agent.
#[derive(Debug, Clone)]
pub(crate) struct Chain {
    pub(crate) entries: BTreeMap<Seq, RawEntry>,
    pub(crate) head: ChainHead,
    /// Places that are missing before a segment began anew.
    pub(crate) holes: u64,
    /// The last entry that was removed to make room, and its digest.
    pub(crate) floor: ChainHead,
}

/// Everything that the hub stored.
#[derive(Debug, Clone, Default)]
pub(crate) struct Store {
    pub(crate) chains: BTreeMap<(AgentId, Epoch), Chain>,
    pub(crate) blocks: BTreeMap<(AgentId, Epoch), BTreeMap<Seq, Vec<u8>>>,
    agents: BTreeMap<AgentId, Vec<u8>>,
    bundle: Option<(BundleRef, SignedBundle)>,
    commands: BTreeMap<CommandId, Vec<u8>>,
    meta: Option<Vec<u8>>,
    turns: BTreeMap<(String, String), Vec<u8>>,
    documents: BTreeMap<(&'static str, String), Put>,
    /// Bytes that the entries of each agent take; the hub's own journal is not cut.
    pub(crate) held: BTreeMap<AgentId, u64>,
}

impl Store {
    /// Commits one row. An error is a broken chain: the hub's core let something through.
    pub(crate) fn commit(&mut self, row: Row) -> Result<(), String> {
        match row {
            Row::Entries { agent, epoch, raw, .. } => return self.append(agent, epoch, raw),
            Row::Telemetry {
                agent,
                epoch,
                seq,
                block,
            } => {
                let blocks = self.blocks.entry((agent.clone(), epoch)).or_default();
                if blocks.insert(seq, block).is_some() {
                    return Err(format!("D1: block {agent}.{epoch}.{seq} stored twice"));
                }
            }
            Row::Agent { agent, record } => {
                self.agents.insert(agent, record);
            }
            Row::Bundle { bundle, signed, .. } => self.bundle = Some((bundle, signed)),
            Row::Command {
                id,
                record: Some(record),
            } => {
                self.commands.insert(id, record);
            }
            Row::Command { id, record: None } => {
                self.commands.remove(&id);
            }
            Row::Meta(meta) => self.meta = Some(meta),
            Row::Put(put) => return self.put(put),
            Row::Turns {
                rule,
                value,
                record: Some(record),
            } => {
                self.turns.insert((rule, value), record);
            }
            Row::Turns {
                rule,
                value,
                record: None,
            } => {
                self.turns.remove(&(rule, value));
            }
        }
        Ok(())
    }

    fn put(&mut self, put: Put) -> Result<(), String> {
        let key = (put.kind, put.id.clone());
        let stored = self.documents.get(&key).map_or(0, |stored| stored.revision);
        if put.revision != stored + 1 {
            return Err(format!(
                "D3: revision {} of {} {} after {stored}",
                put.revision, put.kind, put.id
            ));
        }
        let mut others = self
            .documents
            .values()
            .filter(|other| other.kind == put.kind && other.id != put.id);
        if let Some(other) = others.find(|other| other.unique.iter().any(|unique| put.unique.contains(unique))) {
            return Err(format!("D3: {} {} has a key of {}", put.kind, put.id, other.id));
        }
        match put.record {
            Some(_) => drop(self.documents.insert(key, put)),
            None => drop(self.documents.remove(&key)),
        }
        Ok(())
    }

    fn append(&mut self, agent: AgentId, epoch: Epoch, raw: Vec<RawEntry>) -> Result<(), String> {
        let name = agent.clone();
        let chain = self.chains.entry((agent, epoch)).or_insert_with(|| Chain {
            entries: BTreeMap::new(),
            head: ChainHead::empty(epoch),
            holes: 0,
            floor: ChainHead::empty(epoch),
        });
        if !name.is_hub() {
            let bytes: u64 = raw.iter().map(|raw| raw.bytes.len() as u64).sum();
            *self.held.entry(name.clone()).or_default() += bytes;
        }
        for entry in raw {
            match chain.head.link(&entry) {
                Ok(head) => chain.head = head,
                Err(_) if entry.seq > chain.head.seq.next() => {
                    // A hole: the agent said that what is missing is gone.
                    chain.holes += entry.seq.0 - chain.head.seq.0 - 1;
                    chain.head = ChainHead {
                        epoch,
                        seq: entry.seq,
                        digest: entry.digest,
                    };
                }
                Err(error) => return Err(format!("D1: {name}.{epoch}: {error}")),
            }
            if chain.entries.insert(entry.seq, entry).is_some() {
                return Err(format!("D1: an entry of {name}.{epoch} stored twice"));
            }
        }
        Ok(())
    }

    /// Removes the oldest entries of whoever has more than its share. Returns whose, and how many.
    pub(crate) fn prune(&mut self, quota: Quota, spared: &Spared) -> Result<Vec<(AgentId, u64, bool)>, String> {
        if !quota.is_exceeded(self.held.values().sum()) {
            return Ok(Vec::new());
        }
        let share = fair_share(self.held.values().copied(), quota.goal());
        let mut cut = Vec::new();
        for (owner, mut held) in self.held.clone() {
            let newest = self.newest(&owner);
            let mut entries = 0;
            while held > share
                && let Some((epoch, seq)) = self.oldest(&owner)
                && Some((epoch, seq)) != newest
                && spared.frees(&owner, (epoch, seq))
                && let Some(chain) = self.chains.get_mut(&(owner.clone(), epoch))
                && let Some(raw) = chain.entries.remove(&seq)
            {
                // What went before it, if it is not a hole, is what it continues.
                if seq == chain.floor.seq.next() && raw.prev().ok() != Some(chain.floor.digest) {
                    return Err(format!(
                        "D1: {owner}.{epoch}.{seq} does not continue what was removed before it"
                    ));
                }
                chain.floor = ChainHead {
                    epoch,
                    seq,
                    digest: raw.digest,
                };
                held -= raw.bytes.len() as u64;
                entries += 1;
            }
            if entries > 0 {
                self.held.insert(owner.clone(), held);
                cut.push((owner, entries, true));
            }
        }
        Ok(cut)
    }

    fn oldest(&self, owner: &AgentId) -> Option<(Epoch, Seq)> {
        let mut chains = self
            .chains
            .range((owner.clone(), Epoch(0))..=(owner.clone(), Epoch(u64::MAX)));
        chains.find_map(|((_, epoch), chain)| Some((*epoch, *chain.entries.first_key_value()?.0)))
    }

    fn newest(&self, owner: &AgentId) -> Option<(Epoch, Seq)> {
        let chains = self
            .chains
            .range((owner.clone(), Epoch(0))..=(owner.clone(), Epoch(u64::MAX)));
        let mut chains = chains.rev();
        chains.find_map(|((_, epoch), chain)| Some((*epoch, *chain.entries.last_key_value()?.0)))
    }

    pub(crate) fn head(&self, agent: &AgentId, epoch: Epoch) -> ChainHead {
        self.chains
            .get(&(agent.clone(), epoch))
            .map_or(ChainHead::empty(epoch), |chain| chain.head)
    }

    /// The rows of all plans.
    pub(crate) fn plans(&self) -> impl Iterator<Item = &Put> {
        self.documents.values().filter(|put| crate::plan_rules::is_plan(put))
    }

    pub(crate) fn has_command(&self, id: CommandId) -> bool {
        self.commands.contains_key(&id)
    }

    pub(crate) fn newest_bundle(&self) -> Option<BundleRef> {
        self.bundle.as_ref().map(|(reference, _)| *reference)
    }

    pub(crate) fn last_block(&self, agent: &AgentId, epoch: Epoch) -> Seq {
        let blocks = self.blocks.get(&(agent.clone(), epoch));
        let last = blocks.and_then(|blocks| blocks.last_key_value());
        last.map_or(Seq(0), |(seq, _)| *seq)
    }

    pub(crate) fn recover(&self) -> Recovered {
        let agents = self.agents.iter().map(|(agent, record)| {
            let heads: Vec<ChainHead> = self
                .chains
                .range((agent.clone(), Epoch(0))..=(agent.clone(), Epoch(u64::MAX)))
                .map(|(_, chain)| chain.head)
                .collect();
            let telemetry = self
                .blocks
                .range((agent.clone(), Epoch(0))..=(agent.clone(), Epoch(u64::MAX)))
                .next_back()
                .map(|((_, epoch), _)| (*epoch, self.last_block(agent, *epoch)));
            StoredAgent {
                agent: agent.clone(),
                record: record.clone(),
                heads,
                telemetry: telemetry.unwrap_or_default(),
                last_decision: None,
            }
        });
        Recovered {
            meta: self.meta.clone(),
            agents: agents.collect(),
            bundle: self.bundle.clone(),
            commands: self.commands.values().cloned().collect(),
            journal: self
                .chains
                .range((AgentId::hub(), Epoch(0))..=(AgentId::hub(), Epoch(u64::MAX)))
                .map(|(_, chain)| chain.head)
                .collect(),
            documents: self
                .documents
                .values()
                .filter(|put| put.live)
                .filter_map(stored_document)
                .collect(),
            document_keys: self
                .documents
                .values()
                .flat_map(|put| {
                    put.unique
                        .iter()
                        .map(|key| (put.kind.to_owned(), key.clone(), put.id.clone()))
                })
                .collect(),
            turns: self
                .turns
                .iter()
                .map(|((rule, value), record)| (rule.clone(), value.clone(), record.clone()))
                .collect(),
        }
    }
}

fn stored_document(put: &Put) -> Option<StoredDocument> {
    Some(StoredDocument {
        kind: put.kind.to_owned(),
        id: put.id.clone(),
        revision: put.revision,
        record: put.record.clone()?,
    })
}

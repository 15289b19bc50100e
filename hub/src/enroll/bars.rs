//! Which certificates open nothing, for the door: a copy of what the core holds, brought up to date after each stored change.
//!
//! Decides nothing. Whoever is denied or quarantined comes in, and the core tells them why and when to ask again; whoever has another
//! name, or a certificate of a machine whose place was taken, has to come by another way. Never held while the disk works, because every connection asks here.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use hub_core::{Agents, How, Identity};
use wire::ids::AgentId;

/// Everybody whose certificate may open nothing.
#[derive(Debug, Default)]
pub struct Bars(RwLock<BTreeMap<AgentId, Bar>>);

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Bar {
    /// The name that it has now.
    renamed: Option<AgentId>,
    /// Certificates of a lower generation were another machine's.
    fence: u64,
}

impl Bars {
    /// As the core holds it.
    pub fn of(agents: &Agents) -> Self {
        let bars = agents
            .identities()
            .filter_map(|identity| Some((identity.agent.clone(), bar(identity)?)));
        Self(RwLock::new(bars.collect()))
    }

    /// An identity is stored, or gone.
    pub fn changed(&self, agents: &Agents, agent: &AgentId) {
        let mut bars = self.0.write().unwrap_or_else(PoisonError::into_inner);
        match agents.identity(agent).and_then(bar) {
            Some(bar) => drop(bars.insert(agent.clone(), bar)),
            None => drop(bars.remove(agent)),
        }
    }

    /// Why an agent does not come in with a certificate of this generation; `None` for a certificate that says none.
    pub fn refuses(&self, agent: &AgentId, generation: Option<u64>) -> Option<String> {
        let bars = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let bar = bars.get(agent)?;
        let fenced = bar.fence > generation.unwrap_or_default();
        let fenced =
            fenced.then(|| "another machine has taken the place of this one: join again with a new token".to_owned());
        let renamed = bar.renamed.as_ref();
        renamed.map(|to| format!("its name is `{to}` from here on")).or(fenced)
    }
}

fn bar(identity: &Identity) -> Option<Bar> {
    let renamed = match identity.shut.as_ref().map(|shut| &shut.how) {
        Some(How::Renamed { to }) => Some(to.clone()),
        Some(How::Denied | How::Quarantined | How::Removed) | None => None,
    };
    let fence = identity.fence;
    (renamed.is_some() || fence > 0).then_some(Bar { renamed, fence })
}

//! Remediation agents as the hub knows them: who registered, what each can do, how it is, and with which keys it signs.
//!
//! Decides who gets a task that is made by the original's API (the healthiest that can do it), who is too unwell for more, and whose
//! certificate counts: the first key that a name registers with is pinned, another one needs a person. It never decides what a task
//! is worth (`tasks.rs`).
//!
//! Invariants: a name belongs to one agent, whatever registers again; a paused agent stays paused whatever its health; an agent that
//! leaves takes no task's history with it.

use serde::{Deserialize, Serialize};
use wire::change::{Caller, ChangeRecord};
use wire::time::Wall;

use super::record::{Task, TaskState};
use crate::cx::Cx;
use crate::documents::{Document, DocumentError, Documents};

/// A heartbeat is expected this often; three that are missing make an agent offline.
pub const HEARTBEAT_MS: i64 = 30_000;
/// Below this health an agent has failed, in thousandths.
const FAILED_BELOW: u16 = 300;
/// Above this it has recovered.
const RECOVERED_ABOVE: u16 = 700;
/// Keys of one name: as many instances as one team rolls over at once.
const MOST_KEYS: usize = 8;

/// How an agent stands. The original's four words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentStatus {
    /// It works.
    Active,
    /// A person stopped it.
    Paused,
    /// It says that it is unwell.
    Failed,
    /// It was not heard for three heartbeats.
    Offline,
}

impl AgentStatus {
    /// All, in the order of the original's statistics.
    pub const ALL: [Self; 4] = [Self::Active, Self::Paused, Self::Failed, Self::Offline];

    /// The word in JSON and text.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Paused => "paused",
            Self::Failed => "failed",
            Self::Offline => "offline",
        }
    }
}

/// What an agent can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// Kinds of task.
    pub supported_tasks: Vec<String>,
    /// Tasks at once.
    pub max_concurrent_tasks: u32,
    /// Kinds of failure; `None`: all.
    pub supported_failure_types: Option<Vec<String>>,
    /// Longest time of one task, in seconds.
    pub timeout_seconds: u32,
}

/// An agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemediationAgent {
    /// Its id.
    pub id: String,
    /// Its name, which is unique.
    pub name: String,
    /// Its version.
    pub version: String,
    /// For people.
    pub description: String,
    /// What it can do.
    pub capabilities: Capabilities,
    /// JSON of its own.
    pub configuration: String,
    /// How it stands.
    pub status: AgentStatus,
    /// Its health by its own word, in thousandths.
    pub health: u16,
    /// When it was last heard.
    pub heard_at: Wall,
    /// Tasks that ended with it.
    pub total: u64,
    /// Of those, how many well.
    pub successful: u64,
    /// And how many not.
    pub failed: u64,
    /// Who registered it: only they may work in its name.
    pub owner: String,
    /// Public keys that its certificates count with, hexadecimal.
    pub keys: Vec<String>,
    /// Level of its sandbox, as it was proven; empty if it told none.
    pub sandbox: String,
    /// When it came.
    pub created_at: Wall,
    /// When something of it was changed.
    pub updated_at: Wall,
}

impl Document for RemediationAgent {
    const KIND: &'static str = "remediation_agent";
    const VERSION: u8 = 1;
    /// One team has a handful; a few kilobytes each.
    const MOST_LIVE: usize = 1_000;

    fn id(&self) -> String {
        self.id.clone()
    }

    fn is_live(&self) -> bool {
        true
    }

    fn unique(&self) -> Vec<String> {
        vec![format!("name:{}", self.name)]
    }
}

/// What is registered or changed.
#[derive(Debug, Clone)]
pub struct Registration {
    /// Drawn by the shell, for a name that is new.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// For people.
    pub description: String,
    /// What it can do.
    pub capabilities: Capabilities,
    /// JSON of its own.
    pub configuration: String,
    /// Public key, hexadecimal, of an agent that signs certificates.
    pub key: Option<String>,
    /// Level of its sandbox.
    pub sandbox: String,
}

/// What a person changes of an agent; `None` stays.
#[derive(Debug, Clone, Default)]
pub struct AgentChange {
    /// Its version.
    pub version: Option<String>,
    /// For people.
    pub description: Option<String>,
    /// What it can do.
    pub capabilities: Option<Capabilities>,
    /// JSON of its own.
    pub configuration: Option<String>,
    /// How it stands.
    pub status: Option<AgentStatus>,
    /// A key that its certificates count with, too.
    pub trust_key: Option<String>,
}

/// Why a registration is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AgentRefusal {
    /// The key is not one of the name's.
    #[error(
        "agent `{name}` is known with another key: register under another name, or have a person trust this one with `sentinel agent trust {name} {key}`"
    )]
    OtherKey {
        /// Whose name.
        name: String,
        /// The key that was shown.
        key: String,
    },
    /// The name is somebody else's.
    #[error("agent `{name}` was registered by `{owner}`: only they may register it again")]
    OtherOwner {
        /// The name.
        name: String,
        /// Whose it is.
        owner: String,
    },
    /// There is no such agent.
    #[error("there is no agent `{0}`: `sentinel get agents` lists them")]
    Unknown(String),
    /// It has as many keys as it may have.
    #[error("agent `{0}` has {MOST_KEYS} keys already: remove it and let it register again")]
    Keys(String),
    /// It cannot be stored.
    #[error("{0}")]
    Row(#[from] DocumentError),
}

/// All agents.
#[derive(Debug, Default)]
pub(super) struct Agents {
    rows: Documents<RemediationAgent>,
}

impl Agents {
    pub(super) fn recovered(rows: Documents<RemediationAgent>) -> Self {
        Self { rows }
    }

    pub(super) fn settle(&mut self, id: &str, revision: u64, is_stored: bool) {
        self.rows.settle(id, revision, is_stored);
    }

    /// Every agent as it is stored, by id.
    pub(super) fn all(&self) -> impl Iterator<Item = &RemediationAgent> {
        self.rows.iter_stored()
    }

    /// The newest of an agent.
    pub(super) fn get(&self, id: &str) -> Option<&RemediationAgent> {
        self.rows.get(id)
    }

    /// The newest of the agent with this name.
    pub(super) fn named(&self, name: &str) -> Option<&RemediationAgent> {
        self.rows.get(self.rows.holder(&format!("name:{name}"))?)
    }

    /// Takes an agent in, or takes it in again: a name that is known keeps its id, its counts and its pause.
    pub(super) fn register(
        &mut self,
        caller: &Caller,
        new: Registration,
        cx: &mut Cx<'_>,
    ) -> Result<RemediationAgent, AgentRefusal> {
        let now = cx.now.wall;
        let mut agent = match self.named(&new.name) {
            Some(known) => again(known.clone(), &new, &caller.name)?,
            None => RemediationAgent {
                id: new.id.clone(),
                name: new.name.clone(),
                version: String::new(),
                description: String::new(),
                capabilities: new.capabilities.clone(),
                configuration: String::new(),
                status: AgentStatus::Active,
                health: 1_000,
                heard_at: now,
                total: 0,
                successful: 0,
                failed: 0,
                owner: caller.name.clone(),
                keys: new.key.clone().into_iter().collect(),
                sandbox: String::new(),
                created_at: now,
                updated_at: now,
            },
        };
        agent.version = new.version;
        agent.description = new.description;
        agent.capabilities = new.capabilities;
        agent.configuration = new.configuration;
        agent.sandbox = new.sandbox;
        agent.heard_at = now;
        if matches!(agent.status, AgentStatus::Offline | AgentStatus::Failed) {
            agent.status = AgentStatus::Active;
        }
        let change = ChangeRecord::new(caller.clone(), "agent.register", target(&agent.id))
            .with("name", &agent.name)
            .with("version", &agent.version)
            .with("sandbox", &agent.sandbox);
        self.put(agent, Some(change), cx)
    }

    pub(super) fn change(
        &mut self,
        caller: Caller,
        id: &str,
        change: AgentChange,
        cx: &mut Cx<'_>,
    ) -> Result<RemediationAgent, AgentRefusal> {
        let mut agent = self.known(id)?;
        let mut record = ChangeRecord::new(caller, "agent.change", target(id));
        if let Some(status) = change.status {
            record = record.with("status", status.name());
            agent.status = status;
        }
        if let Some(key) = change.trust_key.filter(|key| !agent.keys.contains(key)) {
            if agent.keys.len() >= MOST_KEYS {
                return Err(AgentRefusal::Keys(agent.name));
            }
            record = record.with("trusted_key", &key);
            agent.keys.push(key);
        }
        agent.version = change.version.unwrap_or(agent.version);
        agent.description = change.description.unwrap_or(agent.description);
        agent.capabilities = change.capabilities.unwrap_or(agent.capabilities);
        agent.configuration = change.configuration.unwrap_or(agent.configuration);
        self.put(agent, Some(record), cx)
    }

    pub(super) fn remove(
        &mut self,
        caller: Caller,
        id: &str,
        cx: &mut Cx<'_>,
    ) -> Result<RemediationAgent, AgentRefusal> {
        let agent = self.known(id)?;
        let put = self
            .rows
            .remove(id)
            .ok_or_else(|| AgentRefusal::Unknown(id.to_owned()))?;
        cx.record(ChangeRecord::new(caller, "agent.remove", target(id)).with("name", &agent.name));
        cx.put(put);
        Ok(agent)
    }

    /// How an agent is by its own word. What does not change how it stands is no entry.
    pub(super) fn heard(&mut self, id: &str, health: u16, cx: &mut Cx<'_>) -> Result<RemediationAgent, AgentRefusal> {
        let mut agent = self.known(id)?;
        let before = agent.status;
        agent.health = health.min(1_000);
        agent.heard_at = cx.now.wall;
        agent.status = stands(before, agent.health);
        let change = (agent.status != before).then(|| {
            ChangeRecord::new(Caller::hub(), "agent.status", target(id))
                .with("status", agent.status.name())
                .with("health", agent.health)
        });
        self.put(agent, change, cx)
    }

    /// Notes that an agent was heard, without a row: what a restart forgets is heard again within seconds.
    pub(super) fn note(&mut self, name: &str, now: Wall) {
        let id = self.rows.holder(&format!("name:{name}")).map(str::to_owned);
        if let Some(agent) = id.and_then(|id| self.rows.newest_mut(&id)) {
            agent.heard_at = now;
        }
    }

    /// Counts a task that ended with it.
    pub(super) fn count(&mut self, id: &str, is_success: bool, cx: &mut Cx<'_>) {
        let Some(mut agent) = self.rows.get(id).cloned() else {
            return;
        };
        agent.total += 1;
        *(if is_success {
            &mut agent.successful
        } else {
            &mut agent.failed
        }) += 1;
        // A refused row means that the store is full of agents, which it was not when this one was written.
        let _ = self.put(agent, None, cx);
    }

    /// Agents that were not heard for three heartbeats are offline; gives their ids.
    pub(super) fn silent(&mut self, cx: &mut Cx<'_>) -> Vec<String> {
        let now = cx.now.wall;
        let is_silent = |agent: &&RemediationAgent| {
            agent.status == AgentStatus::Active && now.0.saturating_sub(agent.heard_at.0) > 3 * HEARTBEAT_MS
        };
        let silent: Vec<RemediationAgent> = self.rows.iter().filter(is_silent).cloned().collect();
        let mut ids = Vec::new();
        for mut agent in silent {
            agent.status = AgentStatus::Offline;
            let change = ChangeRecord::new(Caller::hub(), "agent.status", target(&agent.id))
                .because("it was not heard for three heartbeats")
                .with("status", agent.status.name());
            ids.push(agent.id.clone());
            let _ = self.put(agent, Some(change), cx);
        }
        ids
    }

    /// The healthiest active agent that does tasks of this kind, except one, and whether it has room.
    pub(super) fn choose<'a>(
        &self,
        kind: &str,
        except: Option<&str>,
        tasks: impl Iterator<Item = &'a Task> + Clone,
    ) -> Option<(String, bool)> {
        let can = |agent: &&RemediationAgent| {
            agent.status == AgentStatus::Active && agent.supports(kind) && Some(agent.id.as_str()) != except
        };
        // Healthiest first; among equals the one that has least to do.
        let best = self.rows.iter().filter(can).min_by_key(|agent| {
            (
                std::cmp::Reverse(agent.health),
                load(&agent.id, tasks.clone()),
                &agent.id,
            )
        })?;
        let has_room = load(&best.id, tasks) < best.capabilities.max_concurrent_tasks as usize;
        Some((best.id.clone(), has_room))
    }

    fn known(&self, id: &str) -> Result<RemediationAgent, AgentRefusal> {
        let unknown = || AgentRefusal::Unknown(id.to_owned());
        self.rows.get(id).cloned().ok_or_else(unknown)
    }

    fn put(
        &mut self,
        mut agent: RemediationAgent,
        change: Option<ChangeRecord>,
        cx: &mut Cx<'_>,
    ) -> Result<RemediationAgent, AgentRefusal> {
        agent.updated_at = cx.now.wall;
        let put = self.rows.put(agent.clone(), 0)?;
        if let Some(change) = change {
            cx.record(change);
        }
        cx.put(put);
        Ok(agent)
    }
}

impl RemediationAgent {
    /// Whether it does tasks of this kind.
    pub fn supports(&self, kind: &str) -> bool {
        self.capabilities.supported_tasks.iter().any(|known| known == kind)
    }
}

/// Tasks that an agent works on.
fn load<'a>(id: &str, tasks: impl Iterator<Item = &'a Task>) -> usize {
    let is_its = |task: &&Task| task.state == TaskState::Leased && task.agent.as_deref() == Some(id);
    tasks.filter(is_its).count()
}

/// A known agent registers again: by the same owner, and with a key that is pinned.
fn again(mut known: RemediationAgent, new: &Registration, owner: &str) -> Result<RemediationAgent, AgentRefusal> {
    if known.owner != owner {
        return Err(AgentRefusal::OtherOwner {
            name: known.name,
            owner: known.owner,
        });
    }
    match &new.key {
        Some(key) if known.keys.is_empty() => known.keys.push(key.clone()),
        Some(key) if !known.keys.contains(key) => {
            return Err(AgentRefusal::OtherKey {
                name: known.name,
                key: key.clone(),
            });
        }
        _ => {}
    }
    Ok(known)
}

/// How an agent stands after it told its health.
fn stands(before: AgentStatus, health: u16) -> AgentStatus {
    match before {
        AgentStatus::Paused => AgentStatus::Paused,
        _ if health < FAILED_BELOW => AgentStatus::Failed,
        AgentStatus::Failed if health <= RECOVERED_ABOVE => AgentStatus::Failed,
        _ => AgentStatus::Active,
    }
}

fn target(id: &str) -> String {
    format!("agent/{id}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_moves_an_agent_between_active_and_failed_and_never_out_of_a_pause() {
        let run = |mut status: AgentStatus, health: &[u16]| -> Vec<AgentStatus> {
            let step = |health: &u16| {
                status = stands(status, *health);
                status
            };
            health.iter().map(step).collect()
        };
        use AgentStatus::{Active, Failed, Paused};
        assert_eq!(run(Active, &[200, 500, 800]), [Failed, Failed, Active]);
        assert_eq!(run(Active, &[300, 290, 700, 710]), [Active, Failed, Failed, Active]);
        assert_eq!(run(Paused, &[100, 900]), [Paused, Paused]);
    }
}

//! `get --watch`: the list as it is, then every change as it comes.
//!
//! The stream is opened before the list is read, so that nothing falls between the two.

use std::collections::BTreeMap;

use tokio::sync::mpsc;
use wire::api::{DecisionView, EntryView, NodeView, PolicyView, StreamEvent};
use wire::{AgentId, Epoch, Seq};

use super::get::{DECISIONS, ENTRIES, Page, Path, journals, read};
use crate::args::{Get, Resource};
use crate::client::Client;
use crate::events::Events;
use crate::failure::{Exit, Failure};
use crate::output::{Output, say};
use crate::session::Session;

/// Events that wait to be printed. A terminal takes hundreds a second; beyond that the sender is told to wait by TCP.
const WAITING_EVENTS: usize = 64;

/// One source's stream: which one, and what it said.
type Said = (usize, Result<StreamEvent, Failure>);

/// `sentinel get … --watch`. Ends only when every stream has ended.
pub async fn run(session: &Session, get: &Get, output: &mut Output) -> Result<Exit, Failure> {
    let sources = session.sources(get.local, node_of(get)?.as_ref())?;
    let (sender, mut said) = mpsc::channel::<Said>(WAITING_EVENTS);
    let mut streams = tokio::task::JoinSet::new();
    let mut silent = Vec::new();
    for (index, client) in sources.iter().enumerate() {
        match client.events().await {
            Ok(events) => {
                streams.spawn(forward(index, events, sender.clone()));
            }
            Err(failure) => silent.push(failure),
        }
    }
    drop(sender);
    if silent.len() == sources.len() {
        return Err(silent.remove(0));
    }
    for failure in &silent {
        say(&format!("not watched: {}", failure.short()));
    }
    let mut watch = Watch {
        get,
        node: node_of(get)?,
        sources,
        entries: BTreeMap::new(),
        cursors: BTreeMap::new(),
    };
    watch.begin(output).await?;
    let mut ended = None;
    while let Some((index, event)) = said.recv().await {
        match event {
            Ok(event) => watch.print(index, event, output).await?,
            Err(failure) => {
                say(&format!("no longer watched: {}", failure.short()));
                ended = Some(failure);
            }
        }
    }
    Err(ended.unwrap_or_else(|| Failure::new(Exit::Unreachable, "every stream ended")))
}

/// The node that is watched: `--node`, or the name in `get nodes NAME`.
fn node_of(get: &Get) -> Result<Option<AgentId>, Failure> {
    match (get.what, &get.name) {
        (Resource::Nodes, Some(name)) => super::get::parsed(name).map(Some),
        (Resource::Tasks | Resource::Failures | Resource::Agents, _) => {
            Err(Failure::new(Exit::Usage, "tasks and their agents cannot be watched"))
        }
        (Resource::Users | Resource::Roles | Resource::Tokens | Resource::Audits | Resource::Events, _) => {
            Err(Failure::new(Exit::Usage, "this list cannot be watched")
                .advise("ask again, or watch what leaves the hub: sentinel get entries --watch"))
        }
        (Resource::Domains, _) => Err(Failure::new(Exit::Usage, "domains cannot be watched")
            .advise("ask again when it matters: sentinel get domains")),
        (Resource::Consumers, _) => Err(Failure::new(Exit::Usage, "consumers cannot be watched")),
        (Resource::Clusters | Resource::Workloads | Resource::Rollouts, _) => Err(Failure::new(
            Exit::Usage,
            "what is in clusters cannot be watched as a list",
        )
        .advise("follow one rollout: sentinel rollout status ID -w")),
        (_, None) => Ok(get.node.clone()),
        (_, Some(name)) => Err(Failure::new(Exit::Usage, format!("`{name}` alone cannot be watched"))
            .advise("watch the list, with --node for one node")),
    }
}

async fn forward(index: usize, mut events: Events, to: mpsc::Sender<Said>) {
    loop {
        let event = events.next().await;
        let ended = event.is_err();
        if to.send((index, event)).await.is_err() || ended {
            return;
        }
    }
}

struct Watch<'a> {
    get: &'a Get,
    node: Option<AgentId>,
    sources: Vec<Client>,
    /// The last entry of each node that was printed.
    entries: BTreeMap<AgentId, (Epoch, Seq)>,
    /// Where each node's list of entries goes on.
    cursors: BTreeMap<AgentId, String>,
}

impl Watch<'_> {
    /// The lists as they are, oldest first, because what follows is newer.
    async fn begin(&mut self, output: &mut Output) -> Result<(), Failure> {
        for index in 0..self.sources.len() {
            self.list(index, output).await?;
        }
        Ok(())
    }

    async fn list(&mut self, index: usize, output: &mut Output) -> Result<(), Failure> {
        let client = &self.sources[index];
        match self.get.what {
            Resource::Nodes => {
                let mut rows = self.rows::<NodeView>(client, "/nodes").await?;
                rows.retain(|row| self.wanted(&row.name));
                output.more(&rows)
            }
            Resource::Decisions => {
                let page = read(client, DECISIONS, self.node.as_ref(), None, self.get.limit).await;
                let mut rows = silent_is_empty(page)?;
                rows.reverse();
                output.more::<DecisionView>(&rows)
            }
            Resource::Policies => {
                let rows = self.rows::<PolicyView>(client, "/policies").await?;
                output.more(&rows)
            }
            // Refused before the watch begins.
            Resource::Domains | Resource::Clusters | Resource::Workloads | Resource::Rollouts => Ok(()),
            Resource::Users | Resource::Roles | Resource::Tokens | Resource::Audits | Resource::Events => Ok(()),
            Resource::Tasks | Resource::Failures | Resource::Agents | Resource::Consumers => Ok(()),
            Resource::Entries => {
                for node in silent_is_none(journals(client).await)? {
                    if self.wanted(&node) {
                        self.entries(index, &node, output).await?;
                    }
                }
                Ok(())
            }
        }
    }

    async fn rows<T: serde::de::DeserializeOwned>(
        &self,
        client: &Client,
        path: &'static str,
    ) -> Result<Vec<T>, Failure> {
        silent_is_empty(read(client, Path::plain(path), None, None, 0).await)
    }

    async fn print(&mut self, index: usize, event: StreamEvent, output: &mut Output) -> Result<(), Failure> {
        match (self.get.what, event) {
            (_, StreamEvent::Reset) => self.list(index, output).await,
            (Resource::Nodes, StreamEvent::Node(row)) if self.wanted(&row.name) => {
                output.more(std::slice::from_ref(row.as_ref()))
            }
            (Resource::Decisions, StreamEvent::Decision(row)) if self.wanted(&row.node) => {
                output.more(std::slice::from_ref(row.as_ref()))
            }
            (Resource::Policies, StreamEvent::Policy(row)) => output.more(std::slice::from_ref(row.as_ref())),
            (Resource::Entries, StreamEvent::Node(row)) if self.is_news(&row) => {
                self.entries(index, &row.name, output).await
            }
            (Resource::Entries, StreamEvent::Decision(row)) if self.wanted(&row.node) => {
                self.entries(index, &row.node, output).await
            }
            _ => Ok(()),
        }
    }

    fn wanted(&self, node: &AgentId) -> bool {
        self.node.as_ref().is_none_or(|wanted| wanted == node)
    }

    /// Whether the source holds an entry of this node that was not printed.
    fn is_news(&self, row: &NodeView) -> bool {
        self.wanted(&row.name)
            && self
                .entries
                .get(&row.name)
                .is_none_or(|printed| *printed < (row.epoch, row.produced.max(row.stored)))
    }

    /// Prints a node's entries that came since the last look.
    async fn entries(&mut self, index: usize, node: &AgentId, output: &mut Output) -> Result<(), Failure> {
        let cursor = self.cursors.get(node).cloned();
        let page = read::<EntryView>(&self.sources[index], ENTRIES, Some(node), cursor, 0).await;
        let page = match page {
            Err(failure) if failure.is_unreachable() => return Ok(()),
            other => other?,
        };
        if let Some(cursor) = page.cursor {
            self.cursors.insert(node.clone(), cursor);
        }
        let printed = self.entries.get(node).copied().unwrap_or_default();
        let news: Vec<EntryView> = page
            .rows
            .into_iter()
            .filter(|row| (row.epoch, row.seq) > printed)
            .collect();
        match news.last() {
            Some(last) => {
                self.entries.insert(node.clone(), (last.epoch, last.seq));
                output.more(&news)
            }
            None => Ok(()),
        }
    }
}

/// A source that is away now is told of by its stream; its list is empty.
fn silent_is_empty<T>(page: Result<Page<T>, Failure>) -> Result<Vec<T>, Failure> {
    silent_is_none(page.map(|page| page.rows))
}

fn silent_is_none<T>(rows: Result<Vec<T>, Failure>) -> Result<Vec<T>, Failure> {
    match rows {
        Ok(rows) => Ok(rows),
        Err(failure) if failure.is_unreachable() => Ok(Vec::new()),
        Err(failure) => Err(failure),
    }
}

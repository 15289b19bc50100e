//! `get --watch`: the list as it is, then every change as it comes.
//!
//! The stream is opened before the list is read, so that nothing falls between the two. A row is printed again only when something
//! has changed that a person would act on: a node is told of every few seconds, and its ages and values are not news.

use std::collections::{BTreeMap, BTreeSet};

use tokio::sync::mpsc;
use wire::api::{DecisionView, EntryView, NodeState, NodeView, PolicyView, StreamEvent};
use wire::{AgentId, Epoch, Seq};

use super::get::{DECISIONS, ENTRIES, NEWEST_ENTRIES, Page, Path, chosen, read};
use crate::args::{Get, Resource};
use crate::client::Client;
use crate::events::Events;
use crate::failure::{Exit, Failure};
use crate::output::{Output, Row, say};
use crate::session::Session;

/// Events that wait to be printed. A terminal takes hundreds a second; beyond that the sender is told to wait by TCP.
const WAITING_EVENTS: usize = 64;

/// One source's stream: which one, and what it said.
type Said = (usize, Result<StreamEvent, Failure>);

/// `sentinel get … --watch`. Ends only when every stream has ended.
pub async fn run(session: &Session, get: &Get, output: &mut Output) -> Result<Exit, Failure> {
    if get.sort_by.is_some() {
        return Err(Failure::new(Exit::Usage, "what changes comes in the order of time").advise("leave out --sort-by"));
    }
    let sources = session.sources(node_of(get)?.as_ref())?;
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
    let mut nodes = None;
    if get.selector.is_some() {
        let mut all = BTreeSet::new();
        for client in &sources {
            all.extend(silent_is_none(chosen(client, get.selector.as_ref()).await)?);
        }
        nodes = Some(all);
    }
    let mut watch = Watch {
        get,
        node: node_of(get)?,
        nodes,
        sources,
        printed: BTreeMap::new(),
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
        (Resource::Brains, _) => Err(Failure::new(Exit::Usage, "brains cannot be watched")
            .advise("a change of tier is an entry of the hub: sentinel audit list --verb brain.tier")),
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
    /// The nodes that were chosen by their labels; `None`: all.
    nodes: Option<BTreeSet<AgentId>>,
    sources: Vec<Client>,
    /// What was last told of each thing.
    printed: BTreeMap<String, String>,
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
                self.news(rows, node_news, output)
            }
            Resource::Decisions => {
                let page = read(client, DECISIONS, self.node.as_ref(), None, self.get.most()).await;
                let mut rows: Vec<DecisionView> = silent_is_empty(page)?;
                rows.retain(|row| self.wanted(&row.node) && self.get.since.is_none_or(|since| row.at >= since));
                rows.reverse();
                self.news(rows, decision_news, output)
            }
            Resource::Policies => {
                let rows = self.rows::<PolicyView>(client, "/policies").await?;
                self.news(rows, policy_news, output)
            }
            // Refused before the watch begins.
            Resource::Domains | Resource::Clusters | Resource::Workloads | Resource::Rollouts => Ok(()),
            Resource::Users | Resource::Roles | Resource::Tokens | Resource::Audits | Resource::Events => Ok(()),
            Resource::Tasks | Resource::Failures | Resource::Agents | Resource::Consumers | Resource::Brains => Ok(()),
            Resource::Entries => self.newest_entries(index, output).await,
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
                self.news(vec![*row], node_news, output)
            }
            (Resource::Decisions, StreamEvent::Decision(row)) if self.wanted(&row.node) => {
                self.news(vec![*row], decision_news, output)
            }
            (Resource::Policies, StreamEvent::Policy(row)) => self.news(vec![*row], policy_news, output),
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
            && self.nodes.as_ref().is_none_or(|chosen| chosen.contains(node))
    }

    /// Prints those rows of which something else was told before, or nothing.
    fn news<T: Row>(&mut self, rows: Vec<T>, told: fn(&T) -> String, output: &mut Output) -> Result<(), Failure> {
        let mut fresh = Vec::new();
        for row in rows {
            let news = told(&row);
            if self.printed.get(&row.name()) != Some(&news) {
                self.printed.insert(row.name(), news);
                fresh.push(row);
            }
        }
        match fresh.is_empty() {
            true => Ok(()),
            false => output.more(&fresh),
        }
    }

    /// The newest entries of all journals of a source, oldest first; what follows goes on behind them.
    async fn newest_entries(&mut self, index: usize, output: &mut Output) -> Result<(), Failure> {
        let (client, most) = (self.sources[index].clone(), self.get.most());
        let mut rows: Vec<EntryView> = Vec::new();
        for node in silent_is_none(chosen(&client, None).await)? {
            if !self.wanted(&node) {
                continue;
            }
            if self.entries.contains_key(&node) {
                // The stream was interrupted: what came meanwhile follows what was printed.
                self.entries(index, &node, output).await?;
                continue;
            }
            let mut newest: Vec<EntryView> =
                silent_is_empty(read(&client, NEWEST_ENTRIES, Some(&node), None, most).await)?;
            if let Some(last) = newest.first() {
                self.entries.insert(node.clone(), (last.epoch, last.seq));
                self.cursors.insert(node, format!("{}.{}", last.epoch, last.seq));
            }
            newest.retain(|row| self.get.since.is_none_or(|since| row.at >= since));
            rows.extend(newest);
        }
        rows.sort_by(|a, b| (a.at, &a.node, a.epoch, a.seq).cmp(&(b.at, &b.node, b.epoch, b.seq)));
        if most != 0 {
            rows.drain(..rows.len().saturating_sub(most));
        }
        output.more(&rows)
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

/// What somebody would act on; values and ages change all the time.
fn node_news(row: &NodeView) -> String {
    format!(
        "{:?} {:?} {} {} {:?} {:?} {:?} {:?} {} {:?}",
        row.state,
        row.via,
        row.policy_generation,
        row.backlog_entries > 0 && row.state != NodeState::Connected,
        row.authority,
        row.held_by,
        row.shut_out.as_ref().or(row.quarantined.as_ref()),
        row.findings,
        row.version,
        row.last_decision.as_ref().map(|decision| &decision.id),
    )
}

fn decision_news(row: &DecisionView) -> String {
    format!("{:?} {}", row.verdict, row.outcome)
}

fn policy_news(row: &PolicyView) -> String {
    format!("{} {}/{}", row.active, row.nodes, row.nodes_total)
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

//! `get`: lists, one thing of a list, and what changes in a list.
//!
//! With several sources, what the reachable ones say is printed, the others are named on standard error, and the exit status
//! is `degraded`; nothing is passed off as the whole.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use wire::api::{
    ApiTokenView, BrainView, ConsumerView, DecisionDetail, DecisionView, DomainView, EntryView, List, NodeView,
    PolicyView, RoleView, UserView,
};
use wire::kube::{ClusterView, DeploymentView, RolloutView};
use wire::{AgentId, DecisionId, Wall};

use super::{audit, describe, events, watch};
use crate::args::{AuditList, Get, Resource};
use crate::choice::{Choice, Selector};
use crate::client::{Client, escaped};
use crate::failure::{Exit, Failure};
use crate::output::{Output, Row, say};
use crate::session::Session;

/// Rows that are asked for at once.
const PAGE_ROWS: usize = 500;

/// A list of the API.
#[derive(Debug, Clone, Copy)]
pub struct Path {
    /// Below `/api/v1`.
    pub path: &'static str,
    /// The word that asks for the next page.
    cursor: &'static str,
    /// The words that ask for its order.
    order: &'static str,
    /// It comes in pages, and can be asked for one node alone.
    by_node: bool,
}

impl Path {
    /// A list that is asked for whole.
    pub const fn plain(path: &'static str) -> Self {
        Self {
            path,
            cursor: "after",
            order: "",
            by_node: false,
        }
    }
}

const NODES: Path = Path::plain("/nodes");
/// Newest first.
pub const DECISIONS: Path = Path {
    path: "/decisions",
    cursor: "before",
    order: "",
    by_node: true,
};
/// Oldest first.
pub const ENTRIES: Path = Path {
    path: "/entries",
    cursor: "after",
    order: "",
    by_node: true,
};
/// The same, newest first.
pub const NEWEST_ENTRIES: Path = Path {
    path: "/entries",
    cursor: "before",
    order: "&order=desc",
    by_node: true,
};
const DOMAINS: Path = Path::plain("/domains");
const POLICIES: Path = Path::plain("/policies");
/// What fills lists that are empty.
const NOBODY: &str = "nobody has an account yet: sentinel user create NAME";
const NO_TOKEN: &str = "there is none yet: sentinel api-token create NAME";
const NO_CLUSTER: &str = "there is none yet: sentinel cluster add NAME --kubeconfig FILE";
const NO_CONSUMER: &str = "nobody hears of events: sentinel webhook add NAME https://HOST/PATH, or --kafka at the hub";
const CONSUMERS: Path = Path::plain("/consumers");
const USERS: Path = Path::plain("/users");
const ROLES: Path = Path::plain("/roles");
const TOKENS: Path = Path::plain("/api-tokens");
const CLUSTERS: Path = Path::plain("/clusters");
const DEPLOYMENTS: Path = Path::plain("/deployments");
const BRAINS: Path = Path::plain("/brains");
const NO_BRAIN: &str = "no brain has predicted anything yet: sentinel plan list";
const ROLLOUTS: Path = Path::plain("/rollouts");

/// Rows of a list, and where it goes on.
#[derive(Debug)]
pub struct Page<T> {
    /// The rows.
    pub rows: Vec<T>,
    /// There are more.
    pub more: bool,
    /// The cursor that the last page was asked with.
    pub cursor: Option<String>,
}

/// Reads pages from `cursor` on until the list ends or `limit` rows are there; 0 is no limit.
pub async fn read<T: DeserializeOwned>(
    client: &Client,
    list: Path,
    node: Option<&AgentId>,
    cursor: Option<String>,
    limit: usize,
) -> Result<Page<T>, Failure> {
    read_until(client, list, node, cursor, limit, |_| false).await
}

/// The same; no further page is read after a row that is `enough`.
async fn read_until<T: DeserializeOwned>(
    client: &Client,
    list: Path,
    node: Option<&AgentId>,
    mut cursor: Option<String>,
    limit: usize,
    enough: impl Fn(&T) -> bool,
) -> Result<Page<T>, Failure> {
    let limit = if limit == 0 { usize::MAX } else { limit };
    let mut rows: Vec<T> = Vec::new();
    loop {
        let mut path = list.path.to_owned();
        if list.by_node {
            let most = PAGE_ROWS.min(limit - rows.len());
            path.push_str(&format!("?limit={most}"));
            if let Some(node) = node {
                path.push_str(&format!("&node={node}"));
            }
            path.push_str(list.order);
            if let Some(cursor) = &cursor {
                path.push_str(&format!("&{}={}", list.cursor, escaped(cursor)));
            }
        }
        let page: List<T> = client.get(&path).await?;
        let last = page.items.last().is_none_or(&enough);
        rows.extend(page.items);
        match page.next_cursor {
            Some(next) if rows.len() < limit && !last => cursor = Some(next),
            next => {
                return Ok(Page {
                    more: next.is_some() && !rows.last().is_some_and(&enough) || rows.len() > limit,
                    rows: rows.into_iter().take(limit).collect(),
                    cursor,
                });
            }
        }
    }
}

/// `sentinel get …`.
pub async fn run(session: &Session, get: &Get, output: &mut Output) -> Result<Exit, Failure> {
    if get.exit_code && get.what != Resource::Nodes {
        let failure = Failure::new(
            Exit::Usage,
            "--exit-code is about nodes: sentinel get nodes --exit-code",
        );
        return Err(failure.advise("sentinel verify and sentinel audit verify have exit statuses of their own"));
    }
    let labels = match &get.selector {
        Some(_) if get.what != Resource::Nodes => labels(session).await?,
        _ => BTreeMap::new(),
    };
    let choice = Choice {
        selector: get.selector.clone().unwrap_or_default(),
        since: get.since,
        sort_by: get.sort_by.clone(),
        tail: get.tail,
        limit: get.limit.filter(|limit| *limit != 0),
        labels,
    };
    output.choose(choice, !get.no_headers);
    match (get.what, get.watch) {
        (Resource::Events, follow) => events::run(session, get, follow, output).await,
        (_, true) => watch::run(session, get, output).await,
        (Resource::Nodes, false) => nodes(session, get, output).await,
        (Resource::Decisions, false) => decisions(session, get, output).await,
        (Resource::Entries, false) => entries(session, get, output).await,
        (Resource::Policies, false) => policies(session, get, output).await,
        (Resource::Domains, false) => domains(session, get, output).await,
        (Resource::Users, false) => of_hub::<UserView>(session, get, USERS, NOBODY, output).await,
        (Resource::Roles, false) => of_hub::<RoleView>(session, get, ROLES, NOBODY, output).await,
        (Resource::Tokens, false) => of_hub::<ApiTokenView>(session, get, TOKENS, NO_TOKEN, output).await,
        (Resource::Audits, false) => {
            let asked = AuditList {
                limit: get.most(),
                since: get.since,
                ..AuditList::default()
            };
            audit::list(&session.hub()?, &asked, output).await
        }
        (Resource::Consumers, false) => of_hub::<ConsumerView>(session, get, CONSUMERS, NO_CONSUMER, output).await,
        (Resource::Clusters, false) => of_hub::<ClusterView>(session, get, CLUSTERS, NO_CLUSTER, output).await,
        (Resource::Workloads, false) => of_hub::<DeploymentView>(session, get, DEPLOYMENTS, NO_CLUSTER, output).await,
        (Resource::Rollouts, false) => of_hub::<RolloutView>(session, get, ROLLOUTS, NO_CLUSTER, output).await,
        (Resource::Failures, false) => super::task::failures(session, get.most(), output).await,
        (Resource::Agents, false) => super::agent::list(session, get.name.as_deref(), output).await,
        (Resource::Brains, false) => of_hub::<BrainView>(session, get, BRAINS, NO_BRAIN, output).await,
        (Resource::Tasks, false) => super::task::list(session, get.name.as_deref(), get.most(), output).await,
    }
}

async fn nodes(session: &Session, get: &Get, output: &mut Output) -> Result<Exit, Failure> {
    if let Some(name) = &get.name {
        let name = parsed::<AgentId>(name)?;
        let row: NodeView = session.source(&name)?.get(&format!("/nodes/{name}")).await?;
        output.single(&row)?;
        return Ok(describe::health(get.exit_code, [&row]));
    }
    let mut found = whole::<NodeView>(session, get, NODES).await?;
    // A node's own socket tells of its whole site.
    if let Some(node) = get.node.as_ref().filter(|_| !session.is_local()) {
        found.rows.retain(|row| row.name == *node);
        if found.rows.is_empty() {
            return Err(unknown("node", node.as_str(), "sentinel get nodes -o name"));
        }
    }
    own_first(&mut found.rows);
    // Of those that are shown, as the selector leaves them.
    let health = describe::health(get.exit_code, output.chosen(&found.rows)?);
    match found.print(output, "no node has joined yet: sentinel token create")? {
        Exit::Ok => Ok(health),
        other => Ok(other),
    }
}

/// Each node once, by name: as it tells of itself, and behind those as the neighbour tells of it that heard of it last.
fn own_first(rows: &mut Vec<NodeView>) {
    rows.sort_by(|a, b| {
        let told = |row: &NodeView| row.told_by.is_some();
        let heard = |row: &NodeView| row.age_ms.unwrap_or(u64::MAX);
        (&a.name, told(a), heard(a)).cmp(&(&b.name, told(b), heard(b)))
    });
    rows.dedup_by(|later, first| later.name == first.name);
    rows.sort_by_key(|row| row.told_by.is_some());
}

async fn decisions(session: &Session, get: &Get, output: &mut Output) -> Result<Exit, Failure> {
    if let Some(id) = &get.name {
        let id = parsed::<DecisionId>(id)?;
        let detail: DecisionDetail = session
            .source(get.node.as_ref().unwrap_or(&id.agent))?
            .get(&format!("/decisions/{id}"))
            .await?;
        output.single(&detail.summary)?;
        return Ok(Exit::Ok);
    }
    let mut found = gather::<DecisionView>(session, get, DECISIONS, |row| row.at).await?;
    if found.sources > 1 || get.selector.is_some() {
        found.rows.sort_by(|a, b| (b.at, &b.id).cmp(&(a.at, &a.id)));
    }
    found.limit(get.most());
    found.print(
        output,
        "no decision has been made yet; in the demo: sentinel demo heat edge-01/gpu0",
    )
}

async fn entries(session: &Session, get: &Get, output: &mut Output) -> Result<Exit, Failure> {
    if let Some(id) = &get.name {
        return entry(session, get, &parsed(id)?, output).await;
    }
    let mut found = gather::<EntryView>(session, get, NEWEST_ENTRIES, |row| row.at).await?;
    if get.node.is_none() {
        found
            .rows
            .sort_by(|a, b| (b.at, &b.node, b.epoch, b.seq).cmp(&(a.at, &a.node, a.epoch, a.seq)));
    }
    found.limit(get.most());
    found.print(output, "no entry has been made yet")
}

/// One entry: the API lists them, so the list is read from the one before it.
async fn entry(session: &Session, get: &Get, id: &DecisionId, output: &mut Output) -> Result<Exit, Failure> {
    let client = session.source(get.node.as_ref().unwrap_or(&id.agent))?;
    let before = id.seq.0.checked_sub(1).map(|seq| format!("{}.{seq}", id.epoch));
    let page: Page<EntryView> = read(&client, ENTRIES, Some(&id.agent), before, 1).await?;
    let row = page.rows.iter().find(|row| (row.epoch, row.seq) == (id.epoch, id.seq));
    match row {
        Some(row) => output.single(row).map(|()| Exit::Ok),
        None => Err(unknown(
            "entry",
            &id.to_string(),
            &format!("sentinel get entries --node {}", id.agent),
        )),
    }
}

async fn policies(session: &Session, get: &Get, output: &mut Output) -> Result<Exit, Failure> {
    let mut found = whole::<PolicyView>(session, get, POLICIES).await?;
    if let Some(name) = &get.name {
        let row = found
            .rows
            .iter()
            .find(|row| row.generation.to_string() == *name || row.name == *name);
        return match row {
            Some(row) => output.single(row).map(|()| Exit::Ok),
            None => Err(unknown("policy", name, "sentinel get policies")),
        };
    }
    found.rows.sort_by_key(|row| std::cmp::Reverse(row.generation));
    found.print(output, "no bundle is published yet: sentinel policy publish FILE")
}

async fn domains(session: &Session, get: &Get, output: &mut Output) -> Result<Exit, Failure> {
    if session.is_local() || get.node.is_some() {
        return Err(Failure::new(Exit::Usage, "domains are counted by the hub alone")
            .advise("leave out --local and --node; a node's own labels: sentinel describe node NAME"));
    }
    let mut found = whole::<DomainView>(session, get, DOMAINS).await?;
    if let Some(name) = &get.name {
        found.rows.retain(|row| row.domain == *name || row.name() == *name);
        if found.rows.is_empty() {
            return Err(unknown("domain", name, "sentinel get domains -o name"));
        }
    }
    found.print(output, "no rule of kind blast_radius is published: nothing is counted")
}

/// A list that the hub alone has; `empty` says what fills it.
async fn of_hub<T: Row + DeserializeOwned>(
    session: &Session,
    get: &Get,
    list: Path,
    empty: &str,
    output: &mut Output,
) -> Result<Exit, Failure> {
    if session.is_local() || get.node.is_some() {
        return Err(Failure::new(Exit::Usage, "this list is the hub's alone").advise("leave out --local and --node"));
    }
    let mut found = whole::<T>(session, get, list).await?;
    if let Some(name) = &get.name {
        found.rows.retain(|row| row.name() == *name);
        if found.rows.is_empty() {
            return Err(unknown(
                "such thing called",
                name,
                &format!("sentinel get {}", list.path.trim_start_matches('/')),
            ));
        }
    }
    found.print(output, empty)
}

/// What several sources said.
struct Found<T> {
    rows: Vec<T>,
    sources: usize,
    more: bool,
    silent: Vec<Failure>,
}

/// A list that comes whole.
async fn whole<T: DeserializeOwned>(session: &Session, get: &Get, list: Path) -> Result<Found<T>, Failure> {
    // It has no order in time that reading could end by, and its rows are chosen when all are there.
    gather(session, get, list, |_| Wall(i64::MAX)).await
}

/// The rows of every source, each read until it is long enough, or older than what is asked for.
async fn gather<T: DeserializeOwned>(
    session: &Session,
    get: &Get,
    list: Path,
    at: impl Fn(&T) -> Wall + Copy,
) -> Result<Found<T>, Failure> {
    let sources = session.sources(get.node.as_ref())?;
    let mut found = Found {
        rows: Vec::new(),
        sources: sources.len(),
        more: false,
        silent: Vec::new(),
    };
    for client in &sources {
        match read_source::<T>(client, list, get, at).await {
            Ok(page) => {
                found.more |= page.more;
                found.rows.extend(page.rows);
            }
            Err(failure) => found.silent.push(failure),
        }
    }
    if found.silent.len() == found.sources {
        // Nobody answered: the first says why.
        return Err(found.silent.remove(0));
    }
    Ok(found)
}

/// One source's rows. Entries are read one journal at a time, and what nodes with some labels did as well, so a hub is asked for each
/// of these nodes.
async fn read_source<T: DeserializeOwned>(
    client: &Client,
    list: Path,
    get: &Get,
    at: impl Fn(&T) -> Wall + Copy,
) -> Result<Page<T>, Failure> {
    let old = |row: &T| get.since.is_some_and(|since| at(row) < since);
    let each = list.by_node && (list.path == ENTRIES.path || get.selector.is_some());
    if !list.by_node {
        return read_until(client, list, None, None, 0, old).await;
    }
    if get.node.is_some() || !each {
        return read_until(client, list, get.node.as_ref(), None, get.most(), old).await;
    }
    let mut all = Page {
        rows: Vec::new(),
        more: false,
        cursor: None,
    };
    for node in chosen(client, get.selector.as_ref()).await? {
        let page = read_until(client, list, Some(&node), None, get.most(), old).await?;
        all.more |= page.more;
        all.rows.extend(page.rows);
    }
    Ok(all)
}

/// The nodes of a source that a selector chooses; without one, those whose journals it can tell of.
pub async fn chosen(client: &Client, selector: Option<&Selector>) -> Result<Vec<AgentId>, Failure> {
    let Some(selector) = selector else {
        return journals(client).await;
    };
    let nodes: List<serde_json::Value> = client.get(NODES.path).await?;
    let fits = nodes.items.iter().filter(|node| selector.fits(node, &BTreeMap::new()));
    fits.map(|node| parsed(node["name"].as_str().unwrap_or_default()))
        .collect()
}

/// What nodes have in common, by name; the site counts as a label.
async fn labels(session: &Session) -> Result<BTreeMap<String, BTreeMap<String, String>>, Failure> {
    let mut all = BTreeMap::new();
    for client in session.sources(None)? {
        let nodes: List<NodeView> = match client.get(NODES.path).await {
            // Told of where its rows are missing.
            Err(failure) if failure.is_unreachable() => continue,
            nodes => nodes?,
        };
        for node in nodes.items {
            let mut labels = node.labels;
            labels.entry("site".to_owned()).or_insert(node.site);
            all.insert(node.name.to_string(), labels);
        }
    }
    Ok(all)
}

/// The nodes whose journals a source can tell of.
pub async fn journals(client: &Client) -> Result<Vec<AgentId>, Failure> {
    if let Some(node) = &client.node {
        return Ok(vec![node.clone()]);
    }
    let nodes: List<NodeView> = client.get(NODES.path).await?;
    Ok(nodes.items.into_iter().map(|node| node.name).collect())
}

impl<T: Row> Found<T> {
    fn limit(&mut self, limit: usize) {
        if limit != 0 && self.rows.len() > limit {
            self.rows.truncate(limit);
            self.more = true;
        }
    }

    /// Prints the rows; an empty list says what fills it.
    fn print(self, output: &mut Output, empty: &str) -> Result<Exit, Failure> {
        output.list(&self.rows)?;
        if self.rows.is_empty() && output.for_people() {
            say(empty);
        }
        if self.more && output.for_people() && !output.is_tail() {
            say(&format!(
                "{} rows; there are more: --limit N, or --limit 0 for all",
                self.rows.len()
            ));
        }
        for failure in &self.silent {
            say(&format!("not listed: {}", failure.short()));
        }
        match self.silent.is_empty() {
            true => Ok(Exit::Ok),
            false => Ok(Exit::Degraded),
        }
    }
}

/// A name or id of the command line.
pub fn parsed<T>(text: &str) -> Result<T, Failure>
where
    T: std::str::FromStr<Err = wire::ids::IdError>,
{
    text.parse()
        .map_err(|error: wire::ids::IdError| Failure::new(Exit::Usage, error.to_string()))
}

/// There is no such thing.
pub fn unknown(what: &str, name: &str, list: &str) -> Failure {
    Failure::new(Exit::NotFound, format!("there is no {what} `{name}`")).advise(format!("see what there is: {list}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_listed_once_as_it_tells_of_itself_or_as_it_was_heard_last() {
        let told = |name: &str, by: &str, age_ms: u64| {
            let name = AgentId::new(name).expect("a name");
            let neighbour = wire::api::NeighbourView {
                age_ms: Some(age_ms),
                ..wire::api::NeighbourView::unheard(name)
            };
            NodeView::told(&neighbour, &AgentId::new(by).expect("a name"), "site-b", wire::Wall(0))
        };
        let own = NodeView {
            told_by: None,
            ..told("edge-04", "edge-04", 0)
        };
        let mut rows = vec![
            told("edge-03", "edge-04", 900),
            told("edge-03", "edge-05", 200),
            own,
            told("edge-04", "edge-05", 1),
        ];
        own_first(&mut rows);
        let names: Vec<(&str, Option<&str>)> = rows
            .iter()
            .map(|row| (row.name.as_str(), row.told_by.as_ref().map(AgentId::as_str)))
            .collect();
        assert_eq!(names, [("edge-04", None), ("edge-03", Some("edge-05"))]);
    }
}

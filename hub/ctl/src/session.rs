//! Whom a verb asks: the hub, the sockets of nodes that the context names, or one socket without any context.
//!
//! Invariant: when the hub does not answer and nodes on this machine could, the failure says so, with the line to type.

use std::path::{Path, PathBuf};
use std::time::Duration;

use wire::AgentId;
use wire::api::Context;

use crate::args::Global;
use crate::client::Client;
use crate::context::{self, Found};
use crate::failure::{Exit, Failure};
use crate::renewal;

/// Longest wait for an answer when `--timeout` does not say: a busy hub answers within a second.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// The agent's own default for its state folder.
const AGENT_STATE: &str = "/var/lib/sentinel-agent";

/// The context of this run, and how patient to be.
#[derive(Debug)]
pub struct Session {
    found: Found,
    /// Nodes are asked, not the hub.
    local: bool,
    /// The one node that is asked, where no context names it.
    direct: Option<PathBuf>,
    /// `--timeout`, if given.
    pub timeout: Option<Duration>,
}

impl Session {
    /// Finds the context, and takes a new access token where the person's has nearly ended.
    pub async fn open(global: &Global) -> Result<Self, Failure> {
        let session = Self::as_it_is(global)?;
        match session.found.is_fresh() {
            true => Ok(session),
            false => Ok(Self {
                found: renewal::renewed(session.found, global.timeout.unwrap_or(PATIENCE)).await?,
                ..session
            }),
        }
    }

    /// Finds the context and leaves its token as it is: for somebody who logs in.
    pub fn as_it_is(global: &Global) -> Result<Self, Failure> {
        let direct = |socket: PathBuf, found: Found| Self {
            found,
            local: true,
            direct: Some(socket),
            timeout: global.timeout,
        };
        if let Some(socket) = &global.socket {
            return Ok(direct(socket.clone(), Found::nothing(socket)));
        }
        match (context::find(global.context.as_deref()), global.local) {
            (Ok(found), true) if found.context.nodes.is_empty() => Ok(direct(own_socket(), found)),
            (Err(_), true) if global.context.is_none() => {
                let socket = own_socket();
                Ok(direct(socket.clone(), Found::nothing(&socket)))
            }
            (found, local) => Ok(Self {
                found: found?,
                local,
                direct: None,
                timeout: global.timeout,
            }),
        }
    }

    /// Whether nodes are asked on their own sockets.
    pub fn is_local(&self) -> bool {
        self.local
    }

    /// Where the context was found.
    pub fn path(&self) -> &Path {
        &self.found.path
    }

    /// The context.
    pub fn context(&self) -> &Context {
        &self.found.context
    }

    /// How long an ordinary answer may take.
    pub fn patience(&self) -> Duration {
        self.timeout.unwrap_or(PATIENCE)
    }

    /// The hub. Fails where the person wants a node asked.
    pub fn hub(&self) -> Result<Client, Failure> {
        match self.local {
            false => Client::hub(self.context(), self.patience()),
            true => Err(Failure::new(Exit::Usage, "only a hub answers this").advise("leave out --local and --socket")),
        }
    }

    /// One node's own socket.
    pub fn node(&self, name: &AgentId) -> Result<Client, Failure> {
        if let Some(socket) = &self.direct {
            return Ok(Client::socket(socket, self.patience()));
        }
        match self.context().nodes.get(name) {
            Some(node) => Ok(Client::node(name, node.socket.as_ref(), self.patience())),
            None => Err(Failure::new(
                Exit::NotFound,
                format!(
                    "the context `{}` knows no socket of node {name}; it knows {}",
                    self.found.path.display(),
                    self.known()
                ),
            )
            .advise(
                "run this on the node itself, with --socket PATH where its state folder is another than the usual one",
            )),
        }
    }

    /// The named node's socket, or the only one that there is.
    pub fn one_node(&self, name: Option<&AgentId>) -> Result<Client, Failure> {
        let mut all = match name {
            Some(name) => return self.node(name),
            None => self.nodes(),
        };
        match (all.pop(), all.is_empty()) {
            (Some(one), true) if self.local => Ok(one),
            _ => Err(Failure::new(
                Exit::Usage,
                "which node? give --node, or --socket; --local on the node itself",
            )),
        }
    }

    /// Every node whose socket is known.
    pub fn nodes(&self) -> Vec<Client> {
        if let Some(socket) = &self.direct {
            return vec![Client::socket(socket, self.patience())];
        }
        let nodes = self.context().nodes.iter();
        nodes
            .map(|(name, node)| Client::node(name, node.socket.as_ref(), self.patience()))
            .collect()
    }

    /// The hub, or the sockets: of `node` alone, or of every node that is known.
    pub fn sources(&self, node: Option<&AgentId>) -> Result<Vec<Client>, Failure> {
        match (self.local, node) {
            (false, _) => Ok(vec![self.hub()?]),
            (true, Some(node)) => Ok(vec![self.node(node)?]),
            (true, None) => Ok(self.nodes()),
        }
    }

    /// The hub, or the one node that is concerned.
    pub fn source(&self, node: &AgentId) -> Result<Client, Failure> {
        match self.local {
            true => self.node(node),
            false => self.hub(),
        }
    }

    /// Adds to a failure of the hub that the nodes still answer, and how to ask them. `local`: this verb can.
    pub fn with_way_out(&self, failure: Failure, local: bool) -> Failure {
        let words: Vec<String> = std::env::args().skip(1).map(|word| quoted(&word)).collect();
        if !failure.is_unreachable() || self.local {
            return failure;
        }
        let failure = match (self.context().nodes.is_empty(), local) {
            (true, _) => failure.still("the nodes go on by themselves"),
            (false, true) => failure
                .still("the nodes go on by themselves and answer on their own sockets")
                .advise(format!("sentinel {} --local", words.join(" "))),
            (false, false) => {
                failure.still("the nodes go on by themselves; what they know: sentinel get nodes --local")
            }
        };
        match self.context().demo_socket {
            Some(_) => failure.advise("if the demo's hub was stopped: sentinel demo start hub"),
            None => failure.advise("see whether sentinel-hub runs, and whether this machine reaches it"),
        }
    }

    fn known(&self) -> String {
        let names: Vec<&str> = self.context().nodes.keys().map(AgentId::as_str).collect();
        match names.as_slice() {
            [] => "none".to_owned(),
            names => names.join(", "),
        }
    }
}

/// The socket of the agent of this machine. Whether it is there, the one who asks finds out.
fn own_socket() -> PathBuf {
    let state = std::env::var_os("SENTINEL_STATE").map_or_else(|| AGENT_STATE.into(), PathBuf::from);
    state.join("agent.sock")
}

/// A word as a shell needs it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@,+".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn advice_can_be_pasted() {
        for (word, expected) in [
            ("edge-03/gpu0", "edge-03/gpu0"),
            ("to=220 W", "'to=220 W'"),
            ("it's", r"'it'\''s'"),
            ("", "''"),
        ] {
            assert_eq!(quoted(word), expected);
        }
    }
}

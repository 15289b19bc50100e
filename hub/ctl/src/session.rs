//! Whom a verb asks: the hub, or the sockets of nodes.
//!
//! Invariant: when the hub does not answer and nodes on this machine could, the failure says so, with the line to type.

use std::path::Path;
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

/// The context of this run, and how patient to be.
#[derive(Debug)]
pub struct Session {
    found: Found,
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
                timeout: global.timeout,
            }),
        }
    }

    /// Finds the context and leaves its token as it is: for somebody who logs in.
    pub fn as_it_is(global: &Global) -> Result<Self, Failure> {
        Ok(Self {
            found: context::find(global.context.as_deref())?,
            timeout: global.timeout,
        })
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

    /// The hub.
    pub fn hub(&self) -> Result<Client, Failure> {
        Client::hub(self.context(), self.patience())
    }

    /// One node's own socket.
    pub fn node(&self, name: &AgentId) -> Result<Client, Failure> {
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
            .advise("run this on the node itself, with a context that names its socket")),
        }
    }

    /// Every node whose socket the context knows.
    pub fn nodes(&self) -> Vec<(AgentId, Client)> {
        self.context()
            .nodes
            .iter()
            .map(|(name, node)| {
                let client = Client::node(name, node.socket.as_ref(), self.patience());
                (name.clone(), client)
            })
            .collect()
    }

    /// The hub, or the sockets: of `node` alone, or of every node of the context.
    pub fn sources(&self, local: bool, node: Option<&AgentId>) -> Result<Vec<Client>, Failure> {
        match (local, node) {
            (false, _) => Ok(vec![self.hub()?]),
            (true, Some(node)) => Ok(vec![self.node(node)?]),
            (true, None) if self.context().nodes.is_empty() => Err(Failure::new(
                Exit::Usage,
                format!("the context `{}` knows no node's socket", self.found.path.display()),
            )),
            (true, None) => Ok(self.nodes().into_iter().map(|(_, client)| client).collect()),
        }
    }

    /// The hub, or the one node that is concerned.
    pub fn source(&self, local: bool, node: &AgentId) -> Result<Client, Failure> {
        match local {
            true => self.node(node),
            false => self.hub(),
        }
    }

    /// Adds to a failure of the hub that the nodes still answer, and how to ask them. `local`: this verb can.
    pub fn with_way_out(&self, failure: Failure, local: bool) -> Failure {
        let words: Vec<String> = std::env::args().skip(1).map(|word| quoted(&word)).collect();
        if !failure.is_unreachable() || words.iter().any(|word| word == "--local") {
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

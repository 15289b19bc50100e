//! Who is an agent, who stays one, and who is shut out: identities, join tokens, denials, quarantines.
//!
//! Decides who gets a certificate and of which generation; the shell makes it. Never stops anything at an agent: one that is shut
//! out goes on deciding alone. Never decides anything by an address.
//!
//! Invariants: of each agent and generation at most one public key was ever certified; a certificate is made only from a stored
//! document; whoever is shut out stays so until a person opens, whatever is lost or restored.
//!
//! Read next: `agents/record.rs` (the documents), `agents/certificates.rs` (who gets one), `hub/src/enroll.rs` (the shell's side).

mod certificates;
mod record;

use std::time::Duration;

use wire::change::{Caller, ChangeRecord};
use wire::enroll::Refusal;
use wire::ids::{AgentId, Digest};
use wire::time::Wall;

pub use certificates::{Joining, Rejoining, Renewing};
pub use record::{Fork, How, Identity, JoinToken, Shut};

use crate::cx::{Ask, Cx, Then};
use crate::documents::{Document, Documents, Unreadable};
use crate::effect::Answer;
use crate::hub::recover;
use crate::input::Recovered;
use crate::timers::Timer;

const DAY: Duration = Duration::from_secs(24 * 3_600);
/// Rejoins in one period; each is kept with its time, so the number stays small.
const REJOINS: u32 = 24;
/// A token that was used or has ended is listed for so long, and whoever shows it is told which of the two it is.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3_600);
/// Time between two looks for what can be forgotten: nothing depends on it.
const SWEEP_EVERY: Duration = Duration::from_secs(600);

/// Lifetimes and limits of certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Certificates {
    /// Life of an agent's certificate. Renewed at two thirds, so an agent may miss the hub for 8 hours before it must rejoin.
    pub life: Duration,
    /// Rejoins in one period: a machine that flaps between off and on for a day needs about as many; a stolen node key gets no
    /// more before somebody looks.
    pub rejoins: usize,
    /// The period.
    pub rejoin_period: Duration,
}

impl Certificates {
    /// Limits for certificates of this life. A node that is cut off for longer than that has to rejoin each time, so a rejoin for each
    /// life is always allowed; for lives of an hour and more that is 24 in a day.
    pub fn for_life(life: Duration) -> Self {
        let lives = life.max(Duration::from_secs(1)).saturating_mul(REJOINS);
        Self {
            life,
            rejoins: REJOINS as usize,
            rejoin_period: lives.min(DAY),
        }
    }
}

impl Default for Certificates {
    fn default() -> Self {
        Self::for_life(DAY)
    }
}

/// What is wanted of identities.
#[derive(Debug, Clone)]
pub enum AgentRequest {
    /// A token for one more node, or for another machine that becomes a node which is there.
    CreateToken(NewToken),
    /// A token is worth nothing from here on.
    RevokeToken {
        /// Its hash in hexadecimal, or the beginning of it.
        id: String,
    },
    /// A machine wants to become an agent.
    Join(Joining),
    /// An agent whose session is authenticated wants its next certificate.
    Renew(Renewing),
    /// An agent wants a certificate by its node key.
    Rejoin(Rejoining),
    /// No session, no certificate.
    Deny {
        /// Whom.
        agent: AgentId,
        /// Why.
        reason: String,
    },
    /// Whoever was denied or quarantined may come in again, with whichever of its certificates it shows next.
    Allow {
        /// Whom.
        agent: AgentId,
        /// Why.
        reason: String,
    },
    /// It is not of this fleet any more; its name is free, what it has recorded stays.
    Remove {
        /// Whom.
        agent: AgentId,
        /// Why.
        reason: String,
    },
    /// It gets another name with its next certificate.
    Rename {
        /// Whom.
        agent: AgentId,
        /// The new name.
        to: AgentId,
        /// Why.
        reason: String,
    },
    /// The agent itself leaves.
    Leave {
        /// Who.
        agent: AgentId,
    },
}

/// A join token that is to be kept.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// Hash of the token.
    pub hash: Digest,
    /// What it is for.
    pub label: Option<String>,
    /// The name that it is for.
    pub name: Option<AgentId>,
    /// The site that it is for; `None` for that of the node that is taken over.
    pub site: Option<String>,
    /// How long it can be used.
    pub ttl: Duration,
    /// Whoever joins with it becomes the node of that name, which is there.
    pub takes_over: bool,
}

/// All identities and tokens.
#[derive(Debug)]
pub struct Agents {
    agents: Documents<Identity>,
    tokens: Documents<JoinToken>,
    limits: Certificates,
}

impl Agents {
    pub(crate) fn recovered(recovered: &mut Recovered, limits: Certificates) -> Result<Self, Unreadable> {
        Ok(Self {
            agents: recover::<Identity, _>(recovered, Documents::recovered)?,
            tokens: recover::<JoinToken, _>(recovered, Documents::recovered)?,
            limits,
        })
    }

    /// A stored identity.
    pub fn identity(&self, agent: &AgentId) -> Option<&Identity> {
        self.agents.stored(agent.as_str())
    }

    /// Every stored identity, by name.
    pub fn identities(&self) -> impl Iterator<Item = &Identity> {
        self.agents.iter_stored()
    }

    /// Every stored token.
    pub fn tokens(&self) -> impl Iterator<Item = &JoinToken> {
        self.tokens.iter_stored()
    }

    /// Why an agent may not come in. A denial counts from the moment that it is asked for, not from when it is stored.
    pub(crate) fn shut(&self, agent: &AgentId) -> Option<&Shut> {
        self.agents.get(agent.as_str())?.shut.as_ref()
    }

    /// Whether a person denies it, or it is not of this fleet any more.
    pub(crate) fn is_denied(&self, agent: &AgentId) -> bool {
        self.shut(agent).is_some_and(|shut| shut.how != How::Quarantined)
    }

    /// That its history goes on in two places.
    pub(crate) fn forked(&self, agent: &AgentId) -> Option<&Fork> {
        self.agents.get(agent.as_str())?.forked.as_ref()
    }

    /// A row came back from the store, or did not.
    pub(crate) fn settle(&mut self, kind: &str, id: &str, revision: u64, is_stored: bool) {
        match kind {
            Identity::KIND => self.agents.settle(id, revision, is_stored),
            _ => self.tokens.settle(id, revision, is_stored),
        }
    }

    /// Carries a request out, or says why not.
    pub(crate) fn handle(&mut self, request: u64, caller: Caller, what: AgentRequest, cx: &mut Cx<'_>) {
        match self.carried_out(caller, what, cx) {
            Ok(answer) => cx.reply_when_stored(request, answer),
            Err(answer) => cx.reply(request, answer),
        }
    }

    fn carried_out(&mut self, caller: Caller, what: AgentRequest, cx: &mut Cx<'_>) -> Result<Answer, Answer> {
        match what {
            AgentRequest::CreateToken(new) => self.create_token(caller, new, cx).map_err(rejected),
            AgentRequest::RevokeToken { id } => self.revoke_token(caller, &id, cx).map_err(rejected),
            AgentRequest::Join(asked) => self.join(asked, cx),
            AgentRequest::Renew(asked) => self.renew(&asked, cx),
            AgentRequest::Rejoin(asked) => self.rejoin(&asked, cx),
            AgentRequest::Deny { agent, reason } => self.deny(&caller, &agent, &reason, cx),
            AgentRequest::Allow { agent, reason } => self.allow(caller, &agent, &reason, cx),
            AgentRequest::Remove { agent, reason } => {
                let removed = self.remove(&caller, &agent, &reason, "node.remove", cx)?;
                cx.asks.push_back(Ask::Shut { agent });
                Ok(removed)
            }
            // Its own session hears the answer, and then ends.
            AgentRequest::Leave { agent } => self.remove(&caller, &agent, "it left by itself", "node.leave", cx),
            AgentRequest::Rename { agent, to, reason } => self.rename(&caller, &agent, &to, &reason, cx),
        }
    }

    fn create_token(&mut self, caller: Caller, new: NewToken, cx: &mut Cx<'_>) -> Result<Answer, String> {
        let known = new.name.as_ref().and_then(|name| self.known(name, cx));
        let site = match (new.takes_over, &known) {
            (true, None) => return Err("there is no such node to take over: `sentinel get nodes` lists all".to_owned()),
            (true, Some(known)) if known.is_gone() => {
                return Err(format!(
                    "`{}` was removed: make a token with `sentinel token create`",
                    known.agent
                ));
            }
            (_, known) => {
                let of_node = known.as_ref().map(|known| known.site.clone());
                new.site.or(of_node).unwrap_or_else(|| "default".to_owned())
            }
        };
        let target = match &new.name {
            Some(name) => node(name),
            None => "node".to_owned(),
        };
        let verb = if new.takes_over {
            "node.rejoin"
        } else {
            "join-token.create"
        };
        let token = JoinToken {
            hash: new.hash,
            label: new.label,
            name: new.name,
            site,
            by: caller.name.clone(),
            made: cx.now.wall,
            ends: after(cx.now.wall, new.ttl),
            used_by: None,
            takes_over: new.takes_over,
        };
        let change = ChangeRecord::new(caller, verb, target)
            .with("token", short(&token.hash))
            .with("site", &token.site)
            .with("ends", token.ends);
        let label = token.label.clone();
        let change = label
            .into_iter()
            .fold(change, |change, label| change.with("label", label));
        let put = self.tokens.put(token.clone(), 0).map_err(|error| error.to_string())?;
        cx.record(change);
        cx.put(put);
        Ok(Answer::JoinToken(Box::new(token)))
    }

    fn revoke_token(&mut self, caller: Caller, id: &str, cx: &mut Cx<'_>) -> Result<Answer, String> {
        let begins = |token: &&JoinToken| !id.is_empty() && token.id().starts_with(id);
        let found: Vec<&JoinToken> = self.tokens.iter().filter(begins).take(2).collect();
        let token = match found[..] {
            [token] => token.clone(),
            [] => {
                return Err(format!(
                    "there is no join token `{id}`: `sentinel token list` lists them"
                ));
            }
            _ => return Err(format!("more than one token begins with `{id}`: write more of its id")),
        };
        if let Some(put) = self.tokens.remove(&token.id()) {
            cx.record(ChangeRecord::new(
                caller,
                "join-token.revoke",
                format!("join-token/{}", short(&token.hash)),
            ));
            cx.put(put);
        }
        Ok(Answer::JoinToken(Box::new(token)))
    }

    fn deny(&mut self, caller: &Caller, agent: &AgentId, reason: &str, cx: &mut Cx<'_>) -> Result<Answer, Answer> {
        let identity = self.there(agent, cx)?;
        self.shut_out(identity, caller, How::Denied, reason, "node.deny", cx)
    }

    /// What becomes of its certificates was decided by whoever shut it out; from here on the first machine that comes is it.
    fn allow(&mut self, caller: Caller, agent: &AgentId, reason: &str, cx: &mut Cx<'_>) -> Result<Answer, Answer> {
        let identity = self.there(agent, cx)?;
        let after = Identity {
            any_generation: true,
            shut: None,
            forked: None,
            recent_rejoins: Vec::new(),
            ..identity
        };
        let change = ChangeRecord::new(caller, "node.allow", node(agent)).because(reason);
        cx.asks.push_back(Ask::Opened { agent: agent.clone() });
        self.put(after, change, cx)
    }

    fn remove(
        &mut self,
        caller: &Caller,
        agent: &AgentId,
        reason: &str,
        verb: &str,
        cx: &mut Cx<'_>,
    ) -> Result<Answer, Answer> {
        let identity = self.there(agent, cx)?;
        cx.then(Then::Gone { agent: agent.clone() });
        // Whoever has the node key does not come back by it: a new token makes it a node again.
        let identity = Identity {
            node_key: None,
            forked: None,
            ..identity
        };
        self.shut_out(identity, caller, How::Removed, reason, verb, cx)
    }

    fn rename(
        &mut self,
        caller: &Caller,
        agent: &AgentId,
        to: &AgentId,
        reason: &str,
        cx: &mut Cx<'_>,
    ) -> Result<Answer, Answer> {
        let identity = self.there(agent, cx)?;
        if self.known(to, cx).is_some_and(|known| !known.is_gone()) {
            return Err(rejected(format!(
                "there is a node `{to}` already: remove it first, or take another name"
            )));
        }
        if identity.node_key.is_none() {
            let detail = format!(
                "this hub does not hold the key of `{agent}`: `sentinel node rejoin {agent}` makes it known again"
            );
            return Err(rejected(detail));
        }
        if let Some(shut) = &identity.shut {
            return Err(rejected(format!(
                "`{agent}` is shut out ({}): allow it first",
                shut.reason
            )));
        }
        let renamed = Identity {
            agent: to.clone(),
            forked: None,
            ..identity.clone()
        };
        self.put_quietly(renamed, cx)?;
        let how = How::Renamed { to: to.clone() };
        cx.then(Then::Joined {
            agent: to.clone(),
            site: identity.site.clone(),
        });
        cx.then(Then::Gone { agent: agent.clone() });
        self.shut_out(identity, caller, how, reason, "node.rename", cx)
    }

    fn shut_out(
        &mut self,
        identity: Identity,
        caller: &Caller,
        how: How,
        reason: &str,
        verb: &str,
        cx: &mut Cx<'_>,
    ) -> Result<Answer, Answer> {
        let agent = identity.agent.clone();
        if how != How::Removed {
            cx.asks.push_back(Ask::Shut { agent: agent.clone() });
        }
        let change = ChangeRecord::new(caller.clone(), verb, node(&agent)).because(reason);
        let change = match &how {
            How::Renamed { to } => change.with("to", to),
            How::Denied | How::Quarantined | How::Removed => change,
        };
        let shut = Shut {
            how,
            reason: reason.to_owned(),
            by: caller.name.clone(),
            at: cx.now.wall,
        };
        let after = Identity {
            shut: Some(shut),
            ..identity
        };
        self.put(after, change, cx)
    }

    /// Two machines use it: nobody can tell which is the right one, so neither is let in until a person decides.
    pub(crate) fn quarantine(&mut self, agent: &AgentId, site: &str, reason: &str, cx: &mut Cx<'_>) {
        let known = self.agents.get(agent.as_str()).cloned();
        let identity = known.unwrap_or_else(|| Identity::unknown(agent.clone(), site));
        // A denial says more, and is not replaced.
        if identity.shut.is_none() {
            let caller = Caller::hub();
            // Refused only where there are more identities than the hub keeps: then its session is cut all the same.
            drop(self.shut_out(identity, &caller, How::Quarantined, reason, "node.quarantine", cx));
        }
    }

    /// What the agent says of its journal contradicts what the hub holds of it: its history goes on in two places.
    pub(crate) fn note_fork(&mut self, agent: &AgentId, site: &str, detail: String, cx: &mut Cx<'_>) {
        let known = self.agents.get(agent.as_str()).cloned();
        let identity = known.unwrap_or_else(|| Identity::unknown(agent.clone(), site));
        if identity.forked.is_some() {
            return;
        }
        let change = ChangeRecord::new(Caller::hub(), "node.fork", node(agent)).because(detail.as_str());
        let after = Identity {
            forked: Some(Fork {
                at: cx.now.wall,
                detail,
            }),
            ..identity
        };
        drop(self.put(after, change, cx));
    }

    /// What a hub before this one kept elsewhere.
    pub(crate) fn was_shut(&mut self, agent: &AgentId, site: &str, how: How, reason: String, cx: &mut Cx<'_>) {
        let known = self.agents.get(agent.as_str()).cloned();
        let identity = known.unwrap_or_else(|| Identity::unknown(agent.clone(), site));
        if identity.shut.is_none() {
            let caller = Caller::hub();
            drop(self.shut_out(identity, &caller, how, &reason, "node.deny", cx));
        }
    }

    /// Tokens that were used or have ended go after some days, and so does what is left of nodes that are gone once none of their
    /// certificates can be shown any more.
    pub(crate) fn time(&mut self, cx: &mut Cx<'_>) {
        let now = cx.now.wall;
        let old = |token: &&JoinToken| after(token.ends, KEPT) < now;
        let tokens: Vec<String> = self.tokens.iter().filter(old).map(Document::id).collect();
        let is_over = |identity: &&Identity| {
            let left = match identity.shut.as_ref().map(|shut| &shut.how) {
                Some(How::Removed) => true,
                // It has come under its new name.
                Some(How::Renamed { to }) => {
                    let renamed = self.agents.get(to.as_str());
                    renamed.is_none_or(|renamed| renamed.generation > identity.generation)
                }
                _ => false,
            };
            left && after(identity.ends, DAY) < now
        };
        let agents: Vec<String> = self.agents.iter().filter(is_over).map(Document::id).collect();
        for put in tokens.iter().filter_map(|id| self.tokens.remove(id)) {
            cx.put(put);
        }
        for put in agents.iter().filter_map(|id| self.agents.remove(id)) {
            cx.put(put);
        }
        cx.at(cx.now.mono + SWEEP_EVERY, Timer::Agents);
    }

    /// The newest identity of a node; one that is only in the fleet, because a former self of this hub enrolled it, has one too.
    fn known(&self, agent: &AgentId, cx: &Cx<'_>) -> Option<Identity> {
        let known = self.agents.get(agent.as_str()).cloned();
        known.or_else(|| Some(Identity::unknown(agent.clone(), cx.site(agent)?)))
    }

    fn there(&self, agent: &AgentId, cx: &Cx<'_>) -> Result<Identity, Answer> {
        let known = self.known(agent, cx).filter(|known| !known.is_gone());
        known.ok_or(Answer::UnknownAgent)
    }

    fn put(&mut self, identity: Identity, change: ChangeRecord, cx: &mut Cx<'_>) -> Result<Answer, Answer> {
        cx.record(change);
        self.put_quietly(identity, cx)
    }

    /// Kept, not recorded.
    fn put_quietly(&mut self, identity: Identity, cx: &mut Cx<'_>) -> Result<Answer, Answer> {
        let put = self
            .agents
            .put(identity.clone(), 0)
            .map_err(|error| rejected(error.to_string()))?;
        cx.put(put);
        Ok(Answer::Agent(Box::new(identity)))
    }
}

fn rejected(reason: String) -> Answer {
    Answer::Rejected { reason }
}

fn no(refusal: Refusal, detail: String) -> Answer {
    Answer::NotEnrolled { refusal, detail }
}

fn node(agent: &AgentId) -> String {
    format!("node/{agent}")
}

/// As much of a hash as tells it from all others.
fn short(hash: &Digest) -> String {
    hash.to_string()[..16].to_owned()
}

fn after(time: Wall, span: Duration) -> Wall {
    let milliseconds = i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
    Wall(time.0.saturating_add(milliseconds))
}

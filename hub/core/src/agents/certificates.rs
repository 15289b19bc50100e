//! Who gets a certificate, and of which generation.
//!
//! Three ways: a join token (single use), the certificate that one has (renewal), the permanent node key (rejoin, counted and
//! limited). An answer may be lost on its way: the same machine that asks again with the same keys gets its grant again; anyone else
//! who shows a used certificate generation is a second machine with the same identity, and both are quarantined.
//!
//! Invariant: a token that was used grants only to whoever proves to hold the node key that it was used with.

use ed25519_dalek::{Signature, VerifyingKey};
use wire::change::{Caller, ChangeRecord, Via};
use wire::enroll::Refusal;
use wire::ids::{AgentId, Digest};
use wire::time::Wall;

use super::record::{How, Identity, JoinToken};
use super::{Agents, after, no, node, short};
use crate::cx::{Ask, Cx, Then};
use crate::effect::Answer;

/// A machine wants to become an agent.
#[derive(Debug, Clone)]
pub struct Joining {
    /// Hash of its token.
    pub token: Digest,
    /// The name that it would like.
    pub name: Option<String>,
    /// Its permanent public key.
    pub node_key: [u8; 32],
    /// It has proven to hold the private one.
    pub proven: bool,
    /// Names the public key that is to be certified.
    pub key: Digest,
    /// Version of its program.
    pub program: String,
    /// Where it is.
    pub address: Option<String>,
}

/// An agent wants its next certificate.
#[derive(Debug, Clone)]
pub struct Renewing {
    /// Who, as its session has proven.
    pub agent: AgentId,
    /// The generation that it holds.
    pub generation: u64,
    /// Names the public key that is to be certified.
    pub key: Digest,
}

/// An agent wants a certificate by its node key.
#[derive(Debug, Clone)]
pub struct Rejoining {
    /// Who it says it is.
    pub agent: AgentId,
    /// The generation that it holds.
    pub generation: u64,
    /// Names the public key that is to be certified.
    pub key: Digest,
    /// What it had to sign in this very conversation.
    pub message: Vec<u8>,
    /// Its signature.
    pub signature: Vec<u8>,
    /// Where it is.
    pub address: Option<String>,
}

impl Agents {
    pub(super) fn join(&mut self, asked: Joining, cx: &mut Cx<'_>) -> Result<Answer, Answer> {
        let token = self.tokens.get(&asked.token.to_string()).cloned().ok_or_else(|| {
            no(
                Refusal::TokenUnknown,
                "no such token; copy the whole line that `sentinel token create` printed".to_owned(),
            )
        })?;
        let agent = self.named(&token, &asked, cx.now.wall)?;
        let known = self.known(&agent, cx);
        let before = match known {
            Some(known) if known.is_gone() => {
                let fence = known.generation.saturating_add(1);
                Identity {
                    fence,
                    shut: None,
                    node_key: None,
                    ..known
                }
            }
            Some(known) => self.may_be_joined(known, &token, &asked)?,
            None => Identity::unknown(agent.clone(), &token.site),
        };
        if token.takes_over {
            cx.asks.push_back(Ask::Shut { agent: agent.clone() });
        }
        let is_new = before.node_key != Some(asked.node_key);
        let after = Identity {
            site: token.site.clone(),
            node_key: Some(asked.node_key),
            generation: before.generation.saturating_add(1),
            leaf_key: asked.key,
            ends: self.ends(cx.now.wall),
            joined: if is_new { cx.now.wall } else { before.joined },
            token: asked.token,
            recent_rejoins: Vec::new(),
            any_generation: false,
            ..before
        };
        let caller = Caller {
            address: asked.address,
            ..Caller::new(agent.as_str(), Via::Agent)
        };
        let change = ChangeRecord::new(caller, "node.enrol", node(&agent))
            .with("site", &after.site)
            .with("token", short(&asked.token))
            .with("program", &asked.program);
        let used_by = Some(agent.clone());
        let put = self.tokens.put(JoinToken { used_by, ..token }, 0);
        let put = put.map_err(|error| no(Refusal::Unavailable, error.to_string()))?;
        let site = after.site.clone();
        let answer = self.put(after, change, cx).map_err(unavailable)?;
        cx.put(put);
        cx.then(Then::Joined { agent, site });
        Ok(answer)
    }

    /// The name that the token gives, if it may be used now.
    fn named(&self, token: &JoinToken, asked: &Joining, now: Wall) -> Result<AgentId, Answer> {
        match &token.used_by {
            // The same machine again, whose answer was lost. Its public key is no secret, so it has to prove that it has the other.
            Some(agent) => {
                let known = self.agents.get(agent.as_str());
                let is_same = known.is_some_and(|known| {
                    known.node_key == Some(asked.node_key) && known.token == asked.token && asked.proven
                });
                match is_same && now <= token.ends {
                    true => Ok(agent.clone()),
                    false => Err(token_used(agent)),
                }
            }
            None if now > token.ends => {
                let detail = format!(
                    "this token ended at {}, and by the hub's clock it is {now}; make a new one with `sentinel token create`, and set the \
                     hub's clock if that is wrong",
                    token.ends
                );
                Err(no(Refusal::TokenExpired, detail))
            }
            None => name_for(token, asked),
        }
    }

    /// The node that is there becomes whoever joins: the same machine again, or another one that takes it over.
    fn may_be_joined(&self, known: Identity, token: &JoinToken, asked: &Joining) -> Result<Identity, Answer> {
        if known.node_key == Some(asked.node_key) && !token.takes_over {
            refuse_shut(&known)?;
            return if asked.proven {
                Ok(known)
            } else {
                Err(unproven(&known.agent))
            };
        }
        if token.takes_over {
            if !asked.proven {
                return Err(unproven(&known.agent));
            }
            // Only the certificates from here on are of the machine that this token was made for.
            let fence = known.generation.saturating_add(1);
            return Ok(Identity {
                fence,
                shut: None,
                forked: None,
                ..known
            });
        }
        let agent = &known.agent;
        let detail = format!(
            "another node is named `{agent}`; ask for another name, the token is still good. If this machine is to become `{agent}`, \
             make a token with `sentinel node rejoin {agent}`"
        );
        Err(no(Refusal::NameTaken, detail))
    }

    pub(super) fn renew(&mut self, asked: &Renewing, cx: &mut Cx<'_>) -> Result<Answer, Answer> {
        let before = self.agents.get(asked.agent.as_str()).cloned().ok_or_else(unknown)?;
        let before = self.as_named_now(before)?;
        let generation = self.next_generation(&before, asked.generation, &asked.key, cx)?;
        self.grant(Identity { generation, ..before }, asked.key, cx)
    }

    pub(super) fn rejoin(&mut self, asked: &Rejoining, cx: &mut Cx<'_>) -> Result<Answer, Answer> {
        let before = self.agents.get(asked.agent.as_str()).cloned().ok_or_else(unknown)?;
        let key = before.node_key.ok_or_else(|| gone_or_unknown(&before))?;
        if !is_signed(&key, &asked.message, &asked.signature) {
            return Err(unknown());
        }
        let before = self.as_named_now(before)?;
        let now = cx.now.wall;
        let mut recent = before.recent_rejoins.clone();
        recent.retain(|then| after(*then, self.limits.rejoin_period) > now && *then <= now);
        if recent.len() >= self.limits.rejoins {
            let detail = format!(
                "`{agent}` has rejoined {} times within {} s; look why, then `sentinel node allow {agent}` if it is yours",
                recent.len(),
                self.limits.rejoin_period.as_secs(),
                agent = before.agent,
            );
            return Err(no(Refusal::TooOften, detail));
        }
        recent.push(now);
        let generation = self.next_generation(&before, asked.generation, &asked.key, cx)?;
        let rejoined = Identity {
            generation,
            rejoins: before.rejoins.saturating_add(1),
            recent_rejoins: recent,
            ..before
        };
        let caller = Caller {
            address: asked.address.clone(),
            ..Caller::new(rejoined.agent.as_str(), Via::Agent)
        };
        let change = ChangeRecord::new(caller, "node.renew-by-key", node(&rejoined.agent));
        cx.record(change.with("rejoins", rejoined.rejoins));
        self.grant(rejoined, asked.key, cx)
    }

    /// Who it is now, if it may have a certificate: a renamed one is given its new name.
    fn as_named_now(&self, identity: Identity) -> Result<Identity, Answer> {
        match identity.shut.as_ref().map(|shut| &shut.how) {
            Some(How::Renamed { to }) => {
                let renamed = self.agents.get(to.as_str()).cloned().ok_or_else(unknown)?;
                refuse_shut(&renamed)?;
                Ok(renamed)
            }
            _ => refuse_shut(&identity).map(|()| identity),
        }
    }

    /// The generation to grant to somebody who holds `shown`, or the quarantine.
    fn next_generation(
        &mut self,
        identity: &Identity,
        shown: u64,
        key: &Digest,
        cx: &mut Cx<'_>,
    ) -> Result<u64, Answer> {
        // Above ours: this hub was restored from an older copy, and the agent knows better.
        if identity.any_generation || shown >= identity.generation {
            return Ok(shown.max(identity.generation).saturating_add(1));
        }
        // One below ours, with the key that we certified last: our answer was lost on its way.
        if shown.saturating_add(1) == identity.generation && *key == identity.leaf_key {
            return Ok(identity.generation);
        }
        let reason = format!(
            "cloned: certificate generation {shown} was shown after generation {} was given out",
            identity.generation
        );
        self.quarantine(&identity.agent, &identity.site, &reason, cx);
        let agent = &identity.agent;
        let detail = format!(
            "two machines use the identity `{agent}`: both are quarantined and go on alone. Remove the copy's state folder, then \
             `sentinel node allow {agent}`; if you cannot tell which one is the copy, `sentinel node rejoin {agent}` gives one machine \
             new keys and shuts the other out"
        );
        Err(no(Refusal::Cloned, detail))
    }

    fn grant(&mut self, identity: Identity, key: Digest, cx: &mut Cx<'_>) -> Result<Answer, Answer> {
        let after = Identity {
            leaf_key: key,
            ends: self.ends(cx.now.wall),
            any_generation: false,
            ..identity
        };
        self.put_quietly(after, cx).map_err(unavailable)
    }

    fn ends(&self, now: Wall) -> Wall {
        after(now, self.limits.life)
    }
}

fn name_for(token: &JoinToken, asked: &Joining) -> Result<AgentId, Answer> {
    if let Some(name) = &token.name {
        return Ok(name.clone());
    }
    let wish = match &asked.name {
        Some(wish) => wish.clone(),
        None => format!("node-{}", &Digest::of(&asked.node_key).to_string()[..8]),
    };
    AgentId::new(wish).map_err(|cause| no(Refusal::Malformed, cause.to_string()))
}

fn refuse_shut(identity: &Identity) -> Result<(), Answer> {
    let Some(shut) = &identity.shut else {
        return Ok(());
    };
    let (agent, reason) = (&identity.agent, &shut.reason);
    let detail = match &shut.how {
        How::Denied => format!("`{agent}` is denied at the hub: {reason}"),
        How::Quarantined => format!("`{agent}` is quarantined at the hub: {reason}"),
        How::Removed => return Err(gone_or_unknown(identity)),
        How::Renamed { to } => format!("`{agent}` is named `{to}` now: {reason}"),
    };
    Err(no(Refusal::Denied, detail))
}

fn gone_or_unknown(identity: &Identity) -> Answer {
    match &identity.shut {
        Some(shut) if shut.how == How::Removed => {
            let detail = format!(
                "`{}` was removed from the fleet: {}. Join again with a new token if it is to come back",
                identity.agent, shut.reason
            );
            no(Refusal::Denied, detail)
        }
        _ => unknown(),
    }
}

/// The same words for an unknown name and for a wrong key, so that nobody learns which names exist.
fn unknown() -> Answer {
    no(
        Refusal::AgentUnknown,
        "no agent of this name has this node key; join again with a new token".to_owned(),
    )
}

fn unproven(agent: &AgentId) -> Answer {
    let detail =
        format!("this program does not prove that it holds the key of `{agent}`: use the agent that came with the hub");
    no(Refusal::Malformed, detail)
}

fn token_used(agent: &AgentId) -> Answer {
    no(
        Refusal::TokenUsed,
        format!("this token was used by `{agent}`; make a new one with `sentinel token create`"),
    )
}

fn unavailable(answer: Answer) -> Answer {
    match answer {
        Answer::Rejected { reason } => no(Refusal::Unavailable, reason),
        other => other,
    }
}

fn is_signed(key: &[u8; 32], message: &[u8], signature: &[u8]) -> bool {
    let (Ok(key), Ok(signature)) = (VerifyingKey::from_bytes(key), Signature::from_slice(signature)) else {
        return false;
    };
    key.verify_strict(message, &signature).is_ok()
}

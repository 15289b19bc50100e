//! Decides who becomes an agent, who stays one, and who is shut out.
//!
//! Three ways to a certificate: a join token (single use), the certificate that one has (renewal), the permanent node key (rejoin,
//! counted and limited). Each grant is durable in the [`Registry`] before it is answered. An answer may be lost on its way: the
//! same machine that asks again with the same keys gets its grant again; anyone else who shows a used certificate generation is a
//! second machine with the same identity, and both are quarantined.
//!
//! Never decides anything by address, and never stops anything at an agent: a refused agent goes on deciding alone.
//!
//! Invariant: of each agent and generation at most one public key was ever certified.
//! Read next: `quic.rs` (who calls this), `ca.rs` (what a certificate says).

mod registry;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ed25519_dalek::{Signature, VerifyingKey};
use hub_core::Input;
use wire::bundle::KeyRing;
use wire::enroll::{
    Credentials, EnrollAnswer, JoinRequest, JoinToken, REJOIN_PREFIX, Refusal, RejoinRequest, RenewRequest,
};
use wire::ids::{AgentId, Digest};
use wire::time::Wall;

use crate::ca::{Ca, RequestedKey, random};
pub use registry::{AgentRecord, Registry, RegistryError, TokenRecord};

const DAY: Duration = Duration::from_secs(24 * 3600);
/// Rejoins in one period; each is kept with its time, so the number stays small.
const REJOINS: u32 = 24;

/// Lifetimes and limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Life of an agent's certificate. Renewed at two thirds, so an agent may miss the hub for 8 hours before it must rejoin.
    pub leaf_lifetime: Duration,
    /// Rejoins in one period: a machine that flaps between off and on for a day needs about as many; a stolen node key gets no
    /// more before somebody looks.
    pub rejoins: usize,
    /// The period.
    pub rejoin_period: Duration,
}

impl Limits {
    /// Limits for certificates of this life. A node that is cut off for longer than that has to rejoin each time, so a rejoin for each
    /// life is always allowed; for lives of an hour and more that is 24 in a day.
    pub fn for_life(leaf_lifetime: Duration) -> Self {
        let lives = leaf_lifetime.max(Duration::from_secs(1)).saturating_mul(REJOINS);
        Self {
            leaf_lifetime,
            rejoins: REJOINS as usize,
            rejoin_period: lives.min(DAY),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::for_life(DAY)
    }
}

/// Enrolment failed here, not at the agent.
#[derive(Debug, thiserror::Error)]
pub enum EnrollError {
    /// The registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// There is no such agent.
    #[error("no agent is named `{agent}`")]
    UnknownAgent {
        /// Who was asked for.
        agent: AgentId,
    },
    /// Somebody else changed it at the same time.
    #[error("agent `{agent}` was changed at the same time; try again")]
    Busy {
        /// Who.
        agent: AgentId,
    },
}

/// What to send to the agent, and what to tell the core.
#[derive(Debug)]
pub struct Answered {
    /// For the agent.
    pub answer: EnrollAnswer,
    /// For the core, before the answer leaves.
    pub news: Option<Input>,
}

/// The desk at which all this is decided.
pub struct Enrollment {
    ca: Arc<Ca>,
    registry: Arc<dyn Registry>,
    /// Given to whoever joins or renews: the root keys.
    policy_keys: Mutex<KeyRing>,
    limits: Limits,
    /// Grants are decided one after the other: each reads, judges and writes.
    one_at_a_time: Mutex<()>,
    /// The deny set, by agent. Never held while the disk works, because sessions are checked against it.
    denied: Mutex<BTreeMap<AgentId, String>>,
}

/// A refusal on its way out. Boxed, because it is rare and its news is large.
struct No(Box<Refused>);

struct Refused {
    refusal: Refusal,
    detail: String,
    news: Option<Input>,
}

impl Enrollment {
    /// Reads the deny set. Blocks.
    pub fn new(
        ca: Arc<Ca>,
        registry: Arc<dyn Registry>,
        policy_keys: KeyRing,
        limits: Limits,
    ) -> Result<Self, EnrollError> {
        let denied = registry
            .agents()?
            .into_iter()
            .filter_map(|record| Some((record.agent, record.denied?)))
            .collect();
        Ok(Self {
            ca,
            registry,
            policy_keys: Mutex::new(policy_keys),
            limits,
            one_at_a_time: Mutex::new(()),
            denied: Mutex::new(denied),
        })
    }

    /// The root keys were replaced: from here on these are given.
    pub fn trust(&self, ring: KeyRing) {
        *self.policy_keys.lock().unwrap_or_else(PoisonError::into_inner) = ring;
    }

    /// Makes a join token; only its hash is kept. Blocks.
    pub fn create_token(
        &self,
        name: Option<AgentId>,
        site: &str,
        ttl: Duration,
        now: Wall,
    ) -> Result<JoinToken, EnrollError> {
        let token = JoinToken(random());
        let record = TokenRecord {
            name,
            site: site.to_owned(),
            made: now,
            ends: after(now, ttl),
            used_by: None,
        };
        self.registry.put_token(&token.hash(), &record)?;
        Ok(token)
    }

    /// The whole line to type on the new node.
    pub fn join_line(&self, public: &str, token: &JoinToken) -> String {
        let pin = self.ca.pin();
        format!("sentinel-agent join {public} --token {token} --ca-pin {pin}")
    }

    /// Answers a join. Blocks.
    pub fn join(&self, request: &JoinRequest, now: Wall) -> Answered {
        let _turn = self.turn();
        Answered::of(self.try_join(request, now))
    }

    /// Answers a renewal by an agent whose session is authenticated. Blocks.
    pub fn renew(&self, agent: &AgentId, request: &RenewRequest, now: Wall) -> Answered {
        let _turn = self.turn();
        Answered::of(self.try_renew(agent, request, now))
    }

    /// Answers a rejoin. `challenge` is what was sent, `exporter` is of its TLS session. Blocks.
    pub fn rejoin(&self, request: &RejoinRequest, challenge: &[u8; 32], exporter: &[u8; 32], now: Wall) -> Answered {
        let _turn = self.turn();
        Answered::of(self.try_rejoin(request, challenge, exporter, now))
    }

    /// Denies an agent: no session, no renewal, no rejoin. Tell the core [`Input::Denied`] too. Blocks.
    pub fn deny(&self, agent: &AgentId, reason: &str) -> Result<(), EnrollError> {
        let _turn = self.turn();
        self.set_denied(agent, Some(reason.to_owned()))
    }

    /// Allows an agent again, with whichever of its certificates it shows next. Tell the core [`Input::Denied`] too. Blocks.
    pub fn allow(&self, agent: &AgentId) -> Result<(), EnrollError> {
        let _turn = self.turn();
        self.set_denied(agent, None)
    }

    /// Why an agent is denied, if it is.
    pub fn denied(&self, agent: &AgentId) -> Option<String> {
        self.lock().get(agent).cloned()
    }

    /// All agents. Blocks.
    pub fn agents(&self) -> Result<Vec<AgentRecord>, EnrollError> {
        Ok(self.registry.agents()?)
    }

    fn try_join(&self, request: &JoinRequest, now: Wall) -> Result<(Credentials, Input), No> {
        let hash = request.token.hash();
        let token = self.registry.token(&hash)?.ok_or_else(|| {
            no(
                Refusal::TokenUnknown,
                "no such token; copy the whole line that `sentinel token create` printed".to_owned(),
            )
        })?;
        let key = read_key(&request.csr)?;
        let (agent, known) = match &token.used_by {
            // The same machine again, whose answer was lost.
            Some(agent) => {
                let known = self
                    .registry
                    .agent(agent)?
                    .filter(|known| known.node_key == request.node_key && known.token == hash && now <= token.ends);
                match known {
                    Some(known) => (agent.clone(), Some(known)),
                    None => return Err(token_used(agent)),
                }
            }
            None if now > token.ends => {
                let detail = format!(
                    "this token ended at {}; make a new one with `sentinel token create`",
                    token.ends
                );
                return Err(no(Refusal::TokenExpired, detail));
            }
            None => {
                let agent = self.name_for(&token, request)?;
                let known = self.registry.agent(&agent)?;
                (agent, known)
            }
        };
        if let Some(known) = &known {
            if known.node_key != request.node_key {
                let detail = format!("another node is named `{agent}`; ask for another name, the token is still good");
                return Err(no(Refusal::NameTaken, detail));
            }
            refuse_denied(known)?;
        }
        let record = AgentRecord {
            site: token.site.clone(),
            node_key: request.node_key,
            generation: known.as_ref().map_or(0, |known| known.generation) + 1,
            leaf_key: key.digest(),
            ends: self.ends(now),
            joined: known.as_ref().map_or(now, |known| known.joined),
            token: hash,
            rejoins: known.as_ref().map_or(0, |known| known.rejoins),
            recent_rejoins: Vec::new(),
            denied: None,
            any_generation: false,
            agent,
        };
        let credentials = self.credentials(&record, &key, now)?;
        let used = TokenRecord {
            used_by: Some(record.agent.clone()),
            ..token.clone()
        };
        let done = self
            .registry
            .take_token(&hash, &token, &used, known.as_ref(), &record)?;
        if !done {
            return Err(changed_meanwhile());
        }
        tracing::info!(agent = %record.agent, site = record.site, program = request.program, "joined");
        let news = Input::Enrolled {
            agent: record.agent,
            site: record.site,
        };
        Ok((credentials, news))
    }

    fn try_renew(&self, agent: &AgentId, request: &RenewRequest, now: Wall) -> Result<Credentials, No> {
        let record = self.registry.agent(agent)?.ok_or_else(unknown)?;
        refuse_denied(&record)?;
        let key = read_key(&request.csr)?;
        let after = AgentRecord {
            generation: self.next_generation(&record, request.generation, &key)?,
            ..record.clone()
        };
        self.grant(&record, after, &key, now)
    }

    fn try_rejoin(
        &self,
        request: &RejoinRequest,
        challenge: &[u8; 32],
        exporter: &[u8; 32],
        now: Wall,
    ) -> Result<Credentials, No> {
        let record = self.registry.agent(&request.agent)?.ok_or_else(unknown)?;
        if !signed_by_node(&record.node_key, request, challenge, exporter) {
            return Err(unknown());
        }
        refuse_denied(&record)?;
        let key = read_key(&request.csr)?;
        let mut recent = record.recent_rejoins.clone();
        recent.retain(|then| after(*then, self.limits.rejoin_period) > now && *then <= now);
        if recent.len() >= self.limits.rejoins {
            let detail = format!(
                "`{}` has rejoined {} times within {} s; look why, and join it again with a new token if it is yours",
                record.agent,
                recent.len(),
                self.limits.rejoin_period.as_secs(),
            );
            return Err(no(Refusal::TooOften, detail));
        }
        recent.push(now);
        let after = AgentRecord {
            generation: self.next_generation(&record, request.generation, &key)?,
            rejoins: record.rejoins.saturating_add(1),
            recent_rejoins: recent,
            ..record.clone()
        };
        tracing::info!(agent = %record.agent, rejoins = after.rejoins, "rejoined by its node key");
        self.grant(&record, after, &key, now)
    }

    /// The generation to grant to somebody who holds `shown`, or the quarantine.
    fn next_generation(&self, record: &AgentRecord, shown: u64, key: &RequestedKey) -> Result<u64, No> {
        // Above ours: this hub was restored from an older copy, and the agent knows better.
        if record.any_generation || shown >= record.generation {
            return Ok(shown.max(record.generation).saturating_add(1));
        }
        // One below ours, with the key that we certified last: our answer was lost on its way.
        if shown.saturating_add(1) == record.generation && key.digest() == record.leaf_key {
            return Ok(record.generation);
        }
        let reason = format!(
            "cloned: certificate generation {shown} was shown after generation {} was given out",
            record.generation
        );
        tracing::error!(agent = %record.agent, shown, newest = record.generation, "two machines share one identity");
        let detail = format!(
            "two machines use the identity `{}`: both are quarantined and go on alone. Remove the copy's state folder, \
             then allow the agent again at the hub",
            record.agent
        );
        self.set_denied(&record.agent, Some(reason.clone()))
            .map_err(|cause| no(Refusal::Unavailable, cause.to_string()))?;
        Err(No(Box::new(Refused {
            refusal: Refusal::Cloned,
            detail,
            news: Some(Input::Denied {
                agent: record.agent.clone(),
                reason: Some(reason),
            }),
        })))
    }

    fn grant(
        &self,
        before: &AgentRecord,
        mut record: AgentRecord,
        key: &RequestedKey,
        now: Wall,
    ) -> Result<Credentials, No> {
        record.leaf_key = key.digest();
        record.ends = self.ends(now);
        record.any_generation = false;
        let credentials = self.credentials(&record, key, now)?;
        if self.registry.replace_agent(before, &record)? {
            Ok(credentials)
        } else {
            Err(changed_meanwhile())
        }
    }

    fn credentials(&self, record: &AgentRecord, key: &RequestedKey, now: Wall) -> Result<Credentials, No> {
        let certificate = self
            .ca
            .agent_leaf(key, &record.agent, record.ends)
            .map_err(|cause| no(Refusal::Malformed, cause.to_string()))?;
        Ok(Credentials {
            agent: record.agent.clone(),
            site: record.site.clone(),
            trust_domain: self.ca.trust_domain().to_owned(),
            certificate,
            issued: now,
            ends: record.ends,
            generation: record.generation,
            ca: vec![self.ca.der().to_vec()],
            policy_keys: self.policy_keys.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            rejoins: record.rejoins,
        })
    }

    fn name_for(&self, token: &TokenRecord, request: &JoinRequest) -> Result<AgentId, No> {
        if let Some(name) = &token.name {
            return Ok(name.clone());
        }
        let wish = match &request.name {
            Some(wish) => wish.clone(),
            None => format!("node-{}", &Digest::of(&request.node_key).to_string()[..8]),
        };
        AgentId::new(wish).map_err(|cause| no(Refusal::Malformed, cause.to_string()))
    }

    fn set_denied(&self, agent: &AgentId, reason: Option<String>) -> Result<(), EnrollError> {
        let Some(record) = self.registry.agent(agent)? else {
            return Err(EnrollError::UnknownAgent { agent: agent.clone() });
        };
        let after = AgentRecord {
            any_generation: reason.is_none() && record.denied.is_some() || record.any_generation,
            denied: reason.clone(),
            ..record.clone()
        };
        if !self.registry.replace_agent(&record, &after)? {
            return Err(EnrollError::Busy { agent: agent.clone() });
        }
        let mut denied = self.lock();
        match reason {
            Some(reason) => denied.insert(agent.clone(), reason),
            None => denied.remove(agent),
        };
        Ok(())
    }

    fn ends(&self, now: Wall) -> Wall {
        after(now, self.limits.leaf_lifetime)
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.one_at_a_time.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<AgentId, String>> {
        self.denied.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Enrollment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Enrollment")
            .field("ca", &self.ca)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// What a granted answer brings to the core.
trait Granted {
    fn parts(self) -> (Credentials, Option<Input>);
}

impl Granted for Credentials {
    fn parts(self) -> (Credentials, Option<Input>) {
        (self, None)
    }
}

impl Granted for (Credentials, Input) {
    fn parts(self) -> (Credentials, Option<Input>) {
        (self.0, Some(self.1))
    }
}

impl Answered {
    fn of(result: Result<impl Granted, No>) -> Self {
        match result.map(Granted::parts) {
            Ok((credentials, news)) => Self {
                answer: EnrollAnswer::Granted(Box::new(credentials)),
                news,
            },
            Err(No(no)) => Self {
                answer: EnrollAnswer::Refused {
                    refusal: no.refusal,
                    detail: no.detail,
                },
                news: no.news,
            },
        }
    }
}

impl From<RegistryError> for No {
    fn from(cause: RegistryError) -> Self {
        no(
            Refusal::Unavailable,
            format!("{cause}; nothing was used up, try again later"),
        )
    }
}

fn no(refusal: Refusal, detail: String) -> No {
    No(Box::new(Refused {
        refusal,
        detail,
        news: None,
    }))
}

fn token_used(agent: &AgentId) -> No {
    no(
        Refusal::TokenUsed,
        format!("this token was used by `{agent}`; make a new one with `sentinel token create`"),
    )
}

fn changed_meanwhile() -> No {
    no(
        Refusal::Unavailable,
        "the identity was changed at the same time; nothing was used up, try again".to_owned(),
    )
}

/// The same words for an unknown name and for a wrong key, so that nobody learns which names exist.
fn unknown() -> No {
    no(
        Refusal::AgentUnknown,
        "no agent of this name has this node key; join again with a new token".to_owned(),
    )
}

fn refuse_denied(record: &AgentRecord) -> Result<(), No> {
    match &record.denied {
        None => Ok(()),
        Some(reason) => Err(no(
            Refusal::Denied,
            format!("`{}` is denied at the hub: {reason}", record.agent),
        )),
    }
}

fn read_key(csr: &[u8]) -> Result<RequestedKey, No> {
    RequestedKey::read(csr).map_err(|cause| no(Refusal::Malformed, cause.to_string()))
}

fn signed_by_node(node_key: &[u8; 32], request: &RejoinRequest, challenge: &[u8; 32], exporter: &[u8; 32]) -> bool {
    let message = [REJOIN_PREFIX, challenge, exporter, &request.csr].concat();
    let (Ok(key), Ok(signature)) = (
        VerifyingKey::from_bytes(node_key),
        Signature::from_slice(&request.signature),
    ) else {
        return false;
    };
    key.verify_strict(&message, &signature).is_ok()
}

fn after(time: Wall, span: Duration) -> Wall {
    Wall(
        time.0
            .saturating_add(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)),
    )
}

#[cfg(test)]
pub(crate) mod tests;

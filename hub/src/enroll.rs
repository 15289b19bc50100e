//! Asks the core who becomes an agent and who stays one, and makes the certificates.
//!
//! The core decides, and what it decided is stored before anything is answered (`hub/core/src/agents.rs`). Here are only the things
//! that no pure code has: the CA's key, the TLS session that a proof is bound to, and the copy of who is shut out that every
//! connection is checked against.
//!
//! Invariant: a certificate is made of a stored identity, and says what stands there.
//! Read next: `quic.rs` (who calls this), `ca.rs` (what a certificate says).

mod bars;

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use hub_core::{AgentRequest, Answer, Identity, Joining, Rejoining, Renewing, Request};
use wire::bundle::KeyRing;
use wire::change::{Caller, Via};
use wire::enroll::{
    Credentials, EnrollAnswer, JoinRequest, JoinToken, LeaveAnswer, LeaveRequest, REJOIN_PREFIX, Refusal,
    RejoinRequest, RenewRequest,
};
use wire::ids::AgentId;

pub use self::bars::Bars;
use crate::ca::{Ca, RequestedKey, generation_of};
use crate::clock::wall;
use crate::hub::{Handle, Stopped};
use crate::metrics::Meters;

/// The desk.
pub struct Enrollment {
    ca: Arc<Ca>,
    hub: Handle,
    bars: Arc<Bars>,
    meters: Arc<Meters>,
    /// Given to whoever joins or renews: the root keys.
    policy_keys: Mutex<KeyRing>,
}

impl Enrollment {
    /// A desk that asks this core.
    pub fn new(ca: Arc<Ca>, hub: Handle, bars: Arc<Bars>, meters: Arc<Meters>, policy_keys: KeyRing) -> Self {
        Self {
            ca,
            hub,
            bars,
            meters,
            policy_keys: Mutex::new(policy_keys),
        }
    }

    /// The root keys were replaced: from here on these are given.
    pub fn trust(&self, ring: KeyRing) {
        *self.policy_keys.lock().unwrap_or_else(PoisonError::into_inner) = ring;
    }

    /// The whole line to type on the new node.
    pub fn join_line(&self, public: &str, token: &JoinToken) -> String {
        let pin = self.ca.pin();
        format!("sentinel-agent join {public} --token {token} --ca-pin {pin}")
    }

    /// Why an agent does not come in with this certificate.
    pub fn refuses(&self, agent: &AgentId, certificate: &[u8]) -> Option<String> {
        self.bars.refuses(agent, generation_of(certificate))
    }

    /// Answers a join. `exporter` is of its TLS session.
    pub async fn join(&self, request: JoinRequest, exporter: &[u8; 32], from: SocketAddr) -> EnrollAnswer {
        let key = match RequestedKey::read(&request.csr) {
            Ok(key) => key,
            Err(cause) => return malformed(&cause),
        };
        let joining = Joining {
            token: request.token.hash(),
            proven: request.is_signed(exporter),
            name: request.name,
            node_key: request.node_key,
            key: key.digest(),
            program: request.program,
            address: Some(from.ip().to_string()),
        };
        let answer = self.ask(AgentRequest::Join(joining), &key, from).await;
        if let EnrollAnswer::Granted(credentials) = &answer {
            self.meters.enrolled.fetch_add(1, Ordering::Relaxed);
            tracing::info!(agent = %credentials.agent, site = credentials.site, "joined");
        }
        answer
    }

    /// Answers a renewal by an agent whose session is authenticated.
    pub async fn renew(&self, agent: &AgentId, request: &RenewRequest, from: SocketAddr) -> EnrollAnswer {
        let key = match RequestedKey::read(&request.csr) {
            Ok(key) => key,
            Err(cause) => return malformed(&cause),
        };
        let renewing = Renewing {
            agent: agent.clone(),
            generation: request.generation,
            key: key.digest(),
        };
        self.ask(AgentRequest::Renew(renewing), &key, from).await
    }

    /// Answers a rejoin. `challenge` is what was sent, `exporter` is of its TLS session.
    pub async fn rejoin(
        &self,
        request: RejoinRequest,
        challenge: &[u8; 32],
        exporter: &[u8; 32],
        from: SocketAddr,
    ) -> EnrollAnswer {
        let key = match RequestedKey::read(&request.csr) {
            Ok(key) => key,
            Err(cause) => return malformed(&cause),
        };
        let rejoining = Rejoining {
            message: [REJOIN_PREFIX, challenge, exporter, &request.csr].concat(),
            agent: request.agent,
            generation: request.generation,
            key: key.digest(),
            signature: request.signature,
            address: Some(from.ip().to_string()),
        };
        let answer = self.ask(AgentRequest::Rejoin(rejoining), &key, from).await;
        if let EnrollAnswer::Granted(credentials) = &answer {
            tracing::info!(agent = %credentials.agent, rejoins = credentials.rejoins, "rejoined by its node key");
        }
        answer
    }

    /// Answers an agent that leaves; its session is authenticated.
    pub async fn leave(&self, agent: &AgentId, request: &LeaveRequest, from: SocketAddr) -> LeaveAnswer {
        if request.agent != *agent {
            let detail = format!("this session is that of `{agent}`, not of `{}`", request.agent);
            return LeaveAnswer::Refused { detail };
        }
        let what = AgentRequest::Leave { agent: agent.clone() };
        let detail = match self.request(what, agent.as_str(), from).await {
            Ok(Answer::Agent(_)) => {
                tracing::info!(%agent, "left the fleet");
                return LeaveAnswer::Left;
            }
            Ok(Answer::UnknownAgent) => return LeaveAnswer::Left,
            Ok(Answer::Unavailable { reason } | Answer::Rejected { reason }) => reason,
            Ok(other) => format!("the core answered {other:?}"),
            Err(stopped) => stopped.to_string(),
        };
        LeaveAnswer::Refused { detail }
    }

    async fn ask(&self, what: AgentRequest, key: &RequestedKey, from: SocketAddr) -> EnrollAnswer {
        match self.request(what, "agent", from).await {
            Ok(Answer::Agent(identity)) => self.certify(&identity, key),
            Ok(Answer::NotEnrolled { refusal, detail }) => EnrollAnswer::Refused { refusal, detail },
            Ok(Answer::Unavailable { reason } | Answer::Rejected { reason }) => unavailable(&reason),
            Ok(other) => unavailable(&format!("the core answered {other:?}")),
            Err(stopped) => unavailable(&stopped.to_string()),
        }
    }

    async fn request(&self, what: AgentRequest, who: &str, from: SocketAddr) -> Result<Answer, Stopped> {
        let caller = Caller {
            address: Some(from.ip().to_string()),
            ..Caller::new(who, Via::Agent)
        };
        self.hub.request(Request::Agents { caller, what }).await
    }

    fn certify(&self, identity: &Identity, key: &RequestedKey) -> EnrollAnswer {
        let made = self
            .ca
            .agent_leaf(key, &identity.agent, identity.generation, identity.ends);
        let certificate = match made {
            Ok(certificate) => certificate,
            Err(cause) => return malformed(&cause),
        };
        EnrollAnswer::Granted(Box::new(Credentials {
            agent: identity.agent.clone(),
            site: identity.site.clone(),
            trust_domain: self.ca.trust_domain().to_owned(),
            certificate,
            issued: wall(),
            ends: identity.ends,
            generation: identity.generation,
            ca: vec![self.ca.der().to_vec()],
            policy_keys: self.policy_keys.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            rejoins: identity.rejoins,
        }))
    }
}

impl std::fmt::Debug for Enrollment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Enrollment")
            .field("ca", &self.ca)
            .finish_non_exhaustive()
    }
}

fn malformed(cause: &dyn std::error::Error) -> EnrollAnswer {
    EnrollAnswer::Refused {
        refusal: Refusal::Malformed,
        detail: cause.to_string(),
    }
}

fn unavailable(reason: &str) -> EnrollAnswer {
    EnrollAnswer::Refused {
        refusal: Refusal::Unavailable,
        detail: format!("{reason}; nothing was used up, try again later"),
    }
}

#[cfg(test)]
pub(crate) mod tests;

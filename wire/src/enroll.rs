//! How a machine becomes an agent: the join line, the request, the answer; renewal and rejoining.
//!
//! Three ALPN names, three doors of one UDP port. `sentinel-join/1`: no client certificate, one token. `sentinel-rejoin/1`: no
//! client certificate, a signature by the permanent node key over a challenge bound to this TLS session. `sentinel/1`: client
//! certificate, everything else ([`crate::frame`]), and renewal on a stream opened with [`RENEW_TAG`].
//! On each, one request and one answer: `u32` little-endian length + postcard, at most [`MAX_MESSAGE_BYTES`].

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::{Signature, VerifyingKey};
use serde::{Deserialize, Serialize};

use crate::bundle::KeyRing;
use crate::codec::{self, DecodeError};
use crate::ids::{AgentId, Digest, IdError};
use crate::time::Wall;

/// ALPN of enrolment.
pub const ALPN_JOIN: &[u8] = b"sentinel-join/1";
/// ALPN of rejoining by the node key.
pub const ALPN_REJOIN: &[u8] = b"sentinel-rejoin/1";
/// ALPN of a session.
pub const ALPN_SESSION: &[u8] = b"sentinel/1";
/// ALPN of a session between two agents of a site: both show their certificates.
pub const ALPN_PEER: &[u8] = b"sentinel-peer/1";
/// Opens a renewal stream inside a session.
pub const RENEW_TAG: u8 = 0x20;
/// Longest message on these doors.
pub const MAX_MESSAGE_BYTES: usize = 16 * 1024;
/// Opens a stream inside a session on which an agent says that it leaves the fleet.
pub const LEAVE_TAG: u8 = 0x21;
/// Signed by the node key to join: this, 32 bytes of TLS exporter, the token, and the certificate request.
pub const JOIN_PREFIX: &[u8] = b"sentinel join v2\0";
/// Signed by the node key to rejoin: this, then the challenge.
pub const REJOIN_PREFIX: &[u8] = b"sentinel rejoin v1\0";
/// Label of the TLS exporter whose 32 bytes are part of the rejoin challenge.
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-sentinel-rejoin";

/// A join token: 16 random bytes. Text: `sjt_` and 32 hex digits. The hub keeps only its hash.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinToken(pub [u8; 16]);

impl JoinToken {
    /// What the hub stores of it.
    pub fn hash(&self) -> Digest {
        Digest::of(&self.0)
    }
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sjt_")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinToken(…)")
    }
}

impl FromStr for JoinToken {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        text.strip_prefix("sjt_")
            .and_then(|hex| hex.parse::<crate::ids::CommandId>().ok())
            .map(|id| Self(id.0))
            .ok_or(IdError {
                what: "join token",
                // Never the text itself: it may be a mistyped secret.
                text: "…".to_owned(),
                rule: "sjt_ and 32 digits of 0-9 and a-f, as `sentinel token create` printed it",
            })
    }
}

/// The pin of the hub's CA in a join line: `sha256:` and 64 hex digits of the SHA-256 of the CA certificate's DER.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaPin(pub [u8; 32]);

impl fmt::Display for CaPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", Digest(self.0))
    }
}

impl FromStr for CaPin {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        text.strip_prefix("sha256:")
            .and_then(|hex| hex.parse::<Digest>().ok())
            .map(|digest| Self(digest.0))
            .ok_or_else(|| IdError {
                what: "CA pin",
                text: text.to_owned(),
                rule: "sha256: and 64 digits of 0-9 and a-f",
            })
    }
}

/// On `sentinel-join/1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinRequest {
    /// The token.
    pub token: JoinToken,
    /// The name that the agent would like; the hub decides. `None`: the token's name, or one made by the hub.
    pub name: Option<String>,
    /// Permanent Ed25519 public key of the node.
    pub node_key: [u8; 32],
    /// DER of a PKCS#10 request; the hub takes nothing but the public key from it.
    pub csr: Vec<u8>,
    /// Version of the program, for people.
    pub program: String,
    /// Ed25519 by the node key over [`JoinRequest::message`]: whoever asks holds the key and not only its public half. Empty from
    /// agents of before, which are granted a token that nobody has used.
    pub signature: Vec<u8>,
}

/// [`JoinRequest`] as agents of before sent it.
#[derive(Debug, Serialize, Deserialize)]
struct UnsignedJoin {
    token: JoinToken,
    name: Option<String>,
    node_key: [u8; 32],
    csr: Vec<u8>,
    program: String,
}

impl JoinRequest {
    /// What the node key signs. `exporter` is of the TLS session in which it is asked.
    pub fn message(token: &JoinToken, exporter: &[u8; 32], csr: &[u8]) -> Vec<u8> {
        [JOIN_PREFIX, exporter, &token.0, csr].concat()
    }

    /// Reads a request of this version or the one before.
    pub fn read(bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::decode(bytes).or_else(|cause| {
            let before: UnsignedJoin = codec::decode(bytes).map_err(|_| cause)?;
            Ok(Self {
                token: before.token,
                name: before.name,
                node_key: before.node_key,
                csr: before.csr,
                program: before.program,
                signature: Vec::new(),
            })
        })
    }

    /// Whether whoever asks holds the node key.
    pub fn is_signed(&self, exporter: &[u8; 32]) -> bool {
        let (Ok(key), Ok(signature)) = (
            VerifyingKey::from_bytes(&self.node_key),
            Signature::from_slice(&self.signature),
        ) else {
            return false;
        };
        let message = Self::message(&self.token, exporter, &self.csr);
        key.verify_strict(&message, &signature).is_ok()
    }
}

/// On a stream opened with [`LEAVE_TAG`] in a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaveRequest {
    /// The name that leaves: the session's own, so that nothing is removed by a mistake about whose session it is.
    pub agent: AgentId,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum LeaveAnswer {
    /// The hub has forgotten the identity.
    Left,
    /// It has not.
    Refused {
        /// For people: what happened and what to do.
        detail: String,
    },
}

/// On `sentinel-rejoin/1`: the hub speaks first with 32 random bytes, the agent answers with this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejoinRequest {
    /// Who it is.
    pub agent: AgentId,
    /// Ed25519 by the node key over [`REJOIN_PREFIX`], the 32 random bytes, 32 bytes of TLS exporter, and `csr`.
    pub signature: Vec<u8>,
    /// DER of a PKCS#10 request.
    pub csr: Vec<u8>,
    /// The certificate generation that it holds.
    pub generation: u64,
}

/// On a stream opened with [`RENEW_TAG`] in a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenewRequest {
    /// DER of a PKCS#10 request.
    pub csr: Vec<u8>,
    /// The certificate generation that it holds; a second use of one shows a clone.
    pub generation: u64,
}

/// What a hub gives to an agent that may be one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    /// Its name.
    pub agent: AgentId,
    /// Its site.
    pub site: String,
    /// The trust domain, part of every identity.
    pub trust_domain: String,
    /// Its certificate, DER.
    pub certificate: Vec<u8>,
    /// When the certificate was made, by the hub's clock: tells the agent the time, and when two thirds of it are over.
    pub issued: Wall,
    /// When the certificate ends.
    pub ends: Wall,
    /// Number of this certificate of this agent, one more than the last.
    pub generation: u64,
    /// CA certificates to trust, DER: active, next, previous.
    pub ca: Vec<Vec<u8>>,
    /// The pin: the first role document must be signed by these keys. Of a hub that has no role documents, they sign bundles and
    /// beacons themselves.
    pub policy_keys: KeyRing,
    /// How often this agent has rejoined by its node key.
    pub rejoins: u32,
}

/// The answer to all three requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum EnrollAnswer {
    /// Welcome.
    Granted(Box<Credentials>),
    /// No.
    Refused {
        /// Which kind of no.
        refusal: Refusal,
        /// For people: what happened and what to do.
        detail: String,
    },
}

/// Why enrolment, rejoining or renewal is refused. The order is part of the protocol: add at the end only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// No such token (or it was mistyped).
    TokenUnknown,
    /// The token was used before.
    TokenUsed,
    /// The token's time is over.
    TokenExpired,
    /// Another node has that name.
    NameTaken,
    /// The request cannot be read.
    Malformed,
    /// No such agent, or its node key is another.
    AgentUnknown,
    /// This agent is in the deny set.
    Denied,
    /// A certificate generation was used twice: two machines share this identity. Both are quarantined.
    Cloned,
    /// Too many rejoins in too short a time.
    TooOften,
    /// The hub cannot write; nothing was used up.
    Unavailable,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_join_token_has_one_spelling_and_is_not_logged() {
        let text = "sjt_000102030405060708090a0b0c0d0e0f";
        let token: JoinToken = text.parse().expect("valid");
        assert_eq!(token.to_string(), text);
        assert!(!format!("{token:?}").contains("0a0b"));
        let error = "sjt_secret".parse::<JoinToken>().expect_err("too short");
        assert!(!error.to_string().contains("secret"), "{error}");
    }

    #[test]
    fn a_ca_pin_names_its_hash() {
        let text = format!("sha256:{}", "ab".repeat(32));
        assert_eq!(text.parse::<CaPin>().expect("valid").to_string(), text);
        assert!("ab".repeat(32).parse::<CaPin>().is_err());
    }
}

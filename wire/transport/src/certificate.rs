//! Decides whether a certificate is the one that should be at the other end.
//!
//! Three things are exact: the chain ends in a CA that we trust, the extended key usage is present and is that of the role, and
//! there is one URI name which is the SPIFFE id. DNS names are never looked at: an agent knows its hub by CA and role.
//!
//! Invariant: an agent's certificate never passes as a hub's, nor a hub's as an agent's.
//! Read next: `tls.rs`, which calls this from inside the handshake.

use aws_lc_rs::digest;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::{CertificateError, OtherError};
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use wire::enroll::CaPin;
use wire::ids::AgentId;
use wire::time::Wall;

/// id-kp-serverAuth, 1.3.6.1.5.5.7.3.1 (RFC 5280, 4.2.1.12).
const SERVER_AUTH: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 1];
/// id-kp-clientAuth, 1.3.6.1.5.5.7.3.2.
const CLIENT_AUTH: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 2];

/// Whom to trust: the CAs of one trust domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    /// CA certificates, DER: active, next, previous.
    pub ca: Vec<CertificateDer<'static>>,
    /// The trust domain.
    pub trust_domain: String,
}

/// The SPIFFE id of an agent.
pub fn agent_uri(trust_domain: &str, agent: &AgentId) -> String {
    format!("spiffe://{trust_domain}/agent/{agent}")
}

/// The SPIFFE id of the hub.
pub fn hub_uri(trust_domain: &str) -> String {
    format!("spiffe://{trust_domain}/hub")
}

/// The pin of a CA certificate: SHA-256 of its DER.
pub fn pin_of(ca: &[u8]) -> CaPin {
    let mut pin = [0; 32];
    pin.copy_from_slice(digest::digest(&digest::SHA256, ca).as_ref());
    CaPin(pin)
}

/// What is wrong with a certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateFault {
    /// Its time is over.
    #[error("the certificate ended at {until}, and here it is {now}")]
    Expired {
        /// When it ended.
        until: Wall,
        /// The time that was used for the check.
        now: Wall,
    },
    /// Its time has not come.
    #[error("the certificate begins at {from}, and here it is {now}")]
    NotYetValid {
        /// When it begins.
        from: Wall,
        /// The time that was used for the check.
        now: Wall,
    },
    /// No CA that we trust has issued it.
    #[error("the certificate was not issued by a CA that is trusted here")]
    ForeignCa,
    /// It is for the other role.
    #[error("the certificate is not for this role (extended key usage)")]
    WrongRole,
    /// It names somebody else.
    #[error("the certificate names `{found}`, not `{expected}`")]
    WrongName {
        /// Its URI names.
        found: String,
        /// What should stand there.
        expected: String,
    },
    /// The chain holds no CA with the pinned hash.
    #[error("the CA has the pin {found}, expected {expected}")]
    WrongPin {
        /// The pins of what was presented, or `none`.
        found: String,
        /// The pin in the join line.
        expected: CaPin,
    },
    /// It cannot be read.
    #[error("the certificate cannot be read: {detail}")]
    Unreadable {
        /// What the parser says.
        detail: String,
    },
}

impl CertificateFault {
    /// Whether another clock could see it otherwise.
    pub(crate) fn is_of_time(&self) -> bool {
        matches!(self, Self::Expired { .. } | Self::NotYetValid { .. })
    }
}

impl From<CertificateFault> for rustls::Error {
    /// Chosen so that the alert tells the other end which kind of fault it is; see `fault.rs`.
    fn from(fault: CertificateFault) -> Self {
        Self::InvalidCertificate(match fault {
            CertificateFault::Expired { .. } => CertificateError::Expired,
            CertificateFault::NotYetValid { .. } => CertificateError::NotValidYet,
            CertificateFault::ForeignCa | CertificateFault::WrongPin { .. } => CertificateError::UnknownIssuer,
            CertificateFault::WrongRole => CertificateError::InvalidPurpose,
            CertificateFault::WrongName { .. } => CertificateError::NotValidForName,
            CertificateFault::Unreadable { .. } => CertificateError::Other(OtherError(std::sync::Arc::new(fault))),
        })
    }
}

/// What one end requires of the other's certificate.
#[derive(Debug, Clone)]
pub(crate) enum Expect {
    /// The hub of this domain.
    Hub(Trust),
    /// Any agent of this domain.
    Agent(Trust),
    /// The same, also with a certificate that was good at another time: who shows one has more to show (`peer.rs`).
    Peer(Trust),
    /// A hub of any domain under a CA with this hash: for joining, when nothing else is known yet.
    PinnedHub(CaPin),
}

impl Expect {
    /// Checks chain, role and name.
    pub(crate) fn check(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Result<(), CertificateFault> {
        let parsed = EndEntityCert::try_from(leaf).map_err(|cause| translate(&cause, now))?;
        let (anchors, usage) = match self {
            Self::Hub(trust) => (anchors(&trust.ca)?, SERVER_AUTH),
            Self::Agent(trust) | Self::Peer(trust) => (anchors(&trust.ca)?, CLIENT_AUTH),
            Self::PinnedHub(pin) => (anchors([pinned(chain, *pin)?])?, SERVER_AUTH),
        };
        let verify = |at| {
            let usage = KeyUsage::required(usage);
            let verified = parsed.verify_for_usage(algorithms.all, &anchors, chain, at, usage, None, None);
            verified.map(drop)
        };
        let result = match (self, verify(now)) {
            (Self::Peer(_), Err(webpki::Error::CertExpired { not_after, .. })) => verify(not_after),
            (Self::Peer(_), Err(webpki::Error::CertNotValidYet { not_before, .. })) => verify(not_before),
            (_, result) => result,
        };
        result.map_err(|cause| translate(&cause, now))?;
        self.check_name(&parsed)
    }

    fn check_name(&self, leaf: &EndEntityCert<'_>) -> Result<(), CertificateFault> {
        let names: Vec<&str> = leaf.valid_uri_names().collect();
        let (fits, expected) = match (self, names.as_slice()) {
            (Self::Hub(trust), names) => {
                let expected = hub_uri(&trust.trust_domain);
                (names == [expected.as_str()], expected)
            }
            (Self::Agent(trust) | Self::Peer(trust), [name]) => {
                (agent_in(name, &trust.trust_domain).is_some(), agents_of(trust))
            }
            (Self::Agent(trust) | Self::Peer(trust), _) => (false, agents_of(trust)),
            (Self::PinnedHub(_), [name]) => {
                let domain = name
                    .strip_prefix("spiffe://")
                    .and_then(|rest| rest.strip_suffix("/hub"));
                let fits = domain.is_some_and(|domain| !domain.is_empty() && !domain.contains('/'));
                (fits, "spiffe://DOMAIN/hub".to_owned())
            }
            (Self::PinnedHub(_), _) => (false, "spiffe://DOMAIN/hub".to_owned()),
        };
        if fits {
            Ok(())
        } else {
            Err(CertificateFault::WrongName {
                found: names.join(", "),
                expected,
            })
        }
    }
}

/// The agent that a checked certificate names.
pub(crate) fn agent_named(leaf: &CertificateDer<'_>, trust_domain: &str) -> Option<AgentId> {
    let parsed = EndEntityCert::try_from(leaf).ok()?;
    let mut names = parsed.valid_uri_names();
    let agent = agent_in(names.next()?, trust_domain);
    names.next().is_none().then_some(agent)?
}

/// The trust domain of a checked hub certificate.
pub(crate) fn domain_named(leaf: &CertificateDer<'_>) -> Option<String> {
    let parsed = EndEntityCert::try_from(leaf).ok()?;
    let name = parsed.valid_uri_names().next()?;
    let domain = name.strip_prefix("spiffe://")?.strip_suffix("/hub")?;
    Some(domain.to_owned())
}

fn agents_of(trust: &Trust) -> String {
    format!("spiffe://{}/agent/NAME", trust.trust_domain)
}

fn agent_in(uri: &str, trust_domain: &str) -> Option<AgentId> {
    let name = uri
        .strip_prefix("spiffe://")?
        .strip_prefix(trust_domain)?
        .strip_prefix("/agent/")?;
    AgentId::new(name).ok()
}

fn anchors<'a>(ca: impl IntoIterator<Item = &'a CertificateDer<'a>>) -> Result<Vec<TrustAnchor<'a>>, CertificateFault> {
    ca.into_iter()
        .map(|ca| {
            anchor_from_trusted_cert(ca).map_err(|cause| CertificateFault::Unreadable {
                detail: format!("CA: {cause}"),
            })
        })
        .collect()
}

fn pinned<'a>(chain: &'a [CertificateDer<'a>], pin: CaPin) -> Result<&'a CertificateDer<'a>, CertificateFault> {
    chain
        .iter()
        .find(|ca| pin_of(ca) == pin)
        .ok_or_else(|| CertificateFault::WrongPin {
            found: match chain.last() {
                Some(ca) => pin_of(ca).to_string(),
                None => "none".to_owned(),
            },
            expected: pin,
        })
}

fn translate(cause: &webpki::Error, now: UnixTime) -> CertificateFault {
    use webpki::Error;
    let wall = |time: &UnixTime| Wall(i64::try_from(time.as_secs().saturating_mul(1_000)).unwrap_or(i64::MAX));
    let now = wall(&now);
    match cause {
        Error::CertExpired { not_after, .. } => CertificateFault::Expired {
            until: wall(not_after),
            now,
        },
        Error::CertNotValidYet { not_before, .. } => CertificateFault::NotYetValid {
            from: wall(not_before),
            now,
        },
        Error::UnknownIssuer
        | Error::InvalidSignatureForPublicKey
        | Error::CaUsedAsEndEntity
        | Error::EndEntityUsedAsCa
        | Error::PathLenConstraintViolated => CertificateFault::ForeignCa,
        Error::RequiredEkuNotFoundContext(_) | Error::EmptyEkuExtension => CertificateFault::WrongRole,
        other => CertificateFault::Unreadable {
            detail: other.to_string(),
        },
    }
}

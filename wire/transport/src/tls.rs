//! Builds every TLS setting by hand: TLS 1.3 only, one provider, no early data, no tickets, one ALPN name for each door.
//!
//! quinn's own helpers turn 0-RTT on; none of them is used here. A resumed session would skip the certificate checks for as
//! long as a ticket lives, and a deny set must bite at once, so there is no resumption either: a full handshake is 375 us.
//!
//! Read next: `certificate.rs`, what the two verifiers below require.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, SignatureScheme};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use wire::enroll::{ALPN_JOIN, ALPN_PEER, ALPN_REJOIN, ALPN_SESSION, CaPin};

use crate::certificate::{CertificateFault, Expect, Trust};
use crate::clock::{CertificateClock, machine_time};

/// A certificate with what leads to its CA, and its key.
#[derive(Debug)]
pub struct Leaf {
    /// The certificate, then the CA certificate: a joining agent pins the second.
    pub chain: Vec<CertificateDer<'static>>,
    /// The private key.
    pub key: PrivateKeyDer<'static>,
}

impl Clone for Leaf {
    fn clone(&self) -> Self {
        Self {
            chain: self.chain.clone(),
            key: self.key.clone_key(),
        }
    }
}

/// A certificate and key that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the {whose} certificate and its key cannot be used")]
pub struct TlsError {
    whose: &'static str,
    #[source]
    cause: rustls::Error,
}

/// The one provider of cryptography: aws-lc-rs, with X25519MLKEM768 first.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        kx_groups: vec![
            aws_lc_rs::kx_group::X25519MLKEM768,
            aws_lc_rs::kx_group::X25519,
            aws_lc_rs::kx_group::SECP256R1,
        ],
        cipher_suites: vec![
            aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256,
            aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384,
            aws_lc_rs::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        ..aws_lc_rs::default_provider()
    })
}

/// How an agent's end checks the hub and shows itself, for one door.
#[derive(Debug, Clone)]
pub struct ClientTls {
    pub(crate) config: Arc<rustls::ClientConfig>,
    pub(crate) verdict: Verdict,
}

/// What our verifier said no with, so that the caller gets more than an alert number. One for each connect.
pub(crate) type Verdict = Arc<Mutex<Option<CertificateFault>>>;

impl ClientTls {
    /// For a session: shows `leaf`, requires the hub of `trust`.
    pub fn session(leaf: Leaf, trust: Trust, clock: &CertificateClock) -> Result<Self, TlsError> {
        Self::build(Expect::Hub(trust), ALPN_SESSION, Some(leaf), clock)
    }

    /// For rejoining: shows nothing, requires the hub of `trust`.
    pub fn rejoin(trust: Trust, clock: &CertificateClock) -> Result<Self, TlsError> {
        Self::build(Expect::Hub(trust), ALPN_REJOIN, None, clock)
    }

    /// For joining: shows nothing, requires a hub under the CA with this hash.
    pub fn join(pin: CaPin, clock: &CertificateClock) -> Result<Self, TlsError> {
        Self::build(Expect::PinnedHub(pin), ALPN_JOIN, None, clock)
    }

    fn build(expect: Expect, alpn: &[u8], leaf: Option<Leaf>, clock: &CertificateClock) -> Result<Self, TlsError> {
        let provider = provider();
        let verdict = Verdict::default();
        let verifier = Arc::new(Verifier {
            expect,
            provider: provider.clone(),
            verdict: verdict.clone(),
        });
        let builder = rustls::ClientConfig::builder_with_details(provider, Arc::new(clock.clone()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|cause| TlsError {
                whose: "agent's",
                cause,
            })?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match leaf {
            Some(leaf) => builder
                .with_client_auth_cert(leaf.chain, leaf.key)
                .map_err(|cause| TlsError {
                    whose: "agent's",
                    cause,
                })?,
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![alpn.to_vec()];
        config.enable_early_data = false;
        config.enable_sni = false;
        config.resumption = Resumption::disabled();
        Ok(Self {
            config: Arc::new(config),
            verdict,
        })
    }
}

/// How the hub's end shows itself and checks agents, for all doors.
#[derive(Debug, Clone)]
pub struct ServerTls {
    pub(crate) config: Arc<rustls::ServerConfig>,
    pub(crate) trust_domain: String,
}

impl ServerTls {
    /// Shows `leaf`; an agent that shows a certificate must show one of `trust`, and only the session door insists on one.
    pub fn new(leaf: Leaf, trust: Trust, clock: &CertificateClock) -> Result<Self, TlsError> {
        let doors = [ALPN_SESSION, ALPN_JOIN, ALPN_REJOIN];
        let trust_domain = trust.trust_domain.clone();
        Self::build("hub's", &doors, leaf, (Expect::Agent(trust), trust_domain), clock)
    }

    fn build(
        whose: &'static str,
        doors: &[&[u8]],
        leaf: Leaf,
        (expect, trust_domain): (Expect, String),
        clock: &CertificateClock,
    ) -> Result<Self, TlsError> {
        let broken = |cause| TlsError { whose, cause };
        let provider = provider();
        let verifier = Arc::new(Verifier {
            expect,
            provider: provider.clone(),
            verdict: Verdict::default(),
        });
        let mut config = rustls::ServerConfig::builder_with_details(provider, Arc::new(clock.clone()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(broken)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(leaf.chain, leaf.key)
            .map_err(broken)?;
        config.alpn_protocols = doors.iter().map(|door| door.to_vec()).collect();
        config.max_early_data_size = 0;
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Self {
            config: Arc::new(config),
            trust_domain,
        })
    }
}

/// How an agent shows itself to the agents of its site and checks them: the same certificate, whoever makes the session.
///
/// A certificate whose time is over passes here: an agent that was cut off for longer than its certificate lives is the one that needs
/// its neighbours most. [`crate::Met::is_fresh`] says which kind it was.
#[derive(Debug, Clone)]
pub struct PeerTls {
    pub(crate) dial: ClientTls,
    pub(crate) answer: ServerTls,
    trust: Trust,
    clock: CertificateClock,
}

impl PeerTls {
    /// Shows `leaf`; requires an agent of `trust`.
    pub fn new(leaf: Leaf, trust: Trust, clock: &CertificateClock) -> Result<Self, TlsError> {
        let expect = Expect::Peer(trust.clone());
        let answers = (expect.clone(), trust.trust_domain.clone());
        Ok(Self {
            dial: ClientTls::build(expect, ALPN_PEER, Some(leaf.clone()), clock)?,
            answer: ServerTls::build("agent's", &[ALPN_PEER], leaf, answers, clock)?,
            trust,
            clock: clock.clone(),
        })
    }

    /// Whether a certificate that passed the handshake is good now, too.
    pub(crate) fn is_fresh(&self, leaf: &CertificateDer<'_>) -> bool {
        let now = rustls::time_provider::TimeProvider::current_time(&self.clock);
        let algorithms = provider().signature_verification_algorithms;
        let fresh = |now| {
            Expect::Agent(self.trust.clone())
                .check(leaf, &[], now, &algorithms)
                .is_ok()
        };
        now.is_some_and(fresh)
    }
}

/// Both directions' verifier: the difference is only what it expects.
#[derive(Debug)]
struct Verifier {
    expect: Expect,
    provider: Arc<CryptoProvider>,
    verdict: Verdict,
}

impl Verifier {
    fn check(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        let mut result = self.expect.check(leaf, chain, now, algorithms);
        if let Err(fault) = &result
            && fault.is_of_time()
        {
            let by_machine = self.expect.check(leaf, chain, machine_time(), algorithms);
            if by_machine.is_ok() {
                tracing::warn!(%fault, "a certificate counts by this machine's own clock only");
            }
            // Of two refusals the one by the clock that people see.
            result = by_machine;
        }
        result.map_err(|fault| {
            tracing::debug!(%fault, "certificate refused");
            *self.verdict.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault.clone());
            fault.into()
        })
    }

    fn check_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

const NO_TLS12: &str = "TLS 1.2 is not spoken here";

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.check(end_entity, intermediates, now)
            .map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General(NO_TLS12.to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.check_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}

impl ClientCertVerifier for Verifier {
    fn client_auth_mandatory(&self) -> bool {
        // The join and rejoin doors have none; `endpoint.rs` insists on one at the session door.
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.check(end_entity, intermediates, now)
            .map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General(NO_TLS12.to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.check_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}

#[cfg(test)]
mod tests {
    use rustls::NamedGroup;

    use super::*;

    #[test]
    fn the_post_quantum_group_comes_first() {
        let groups: Vec<NamedGroup> = provider().kx_groups.iter().map(|group| group.name()).collect();
        assert_eq!(groups[0], NamedGroup::X25519MLKEM768);
    }
}

//! Holds the certificate authority of a trust domain and issues every certificate in it.
//!
//! Made once, never made again: a CA that is lost is an error that says so, since a second one would lock out every agent.
//! ECDSA P-256 with SHA-256: what rustls, webpki, aws-lc and every browser verify (browsers do not take Ed25519 certificates,
//! and the console is served under the same CA). The hub chooses every field; of a request only the public key is taken.
//!
//! `pki/ca.pem` (mode 0600) holds key and certificate in one file, so that no crash can leave half of it; `pki/ca.crt` is a copy
//! of the certificate for people and browsers.
//!
//! Invariant: certificates of agents carry clientAuth only, those of the hub serverAuth only.
//! Read next: `enroll.rs`, who gets a certificate.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType, SerialNumber,
    date_time_ymd,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, CertificateSigningRequestDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use wire::enroll::CaPin;
use wire::ids::{AgentId, Digest};
use wire::time::Wall;
pub use wire_transport::Leaf;
use wire_transport::{Trust, agent_uri, hub_uri, pin_of};

/// The hub's own certificates are made anew at each start and at each of these intervals.
pub const HUB_LEAF_RENEWED_EVERY: Duration = Duration::from_secs(30 * 24 * 3600);
/// How often it is looked whether they are still of now: a clock that is set right must not wait for the next renewal.
pub const HUB_LEAF_LOOKED_AT_EVERY: Duration = Duration::from_secs(10);
/// A certificate that was made later than now by more than this was made by a clock that ran ahead; less is what a clock is set by.
const CLOCK_IS_SET_BY: Duration = Duration::from_secs(3600);
/// Long enough for a hub that runs for months, short enough that a stolen key ends.
const HUB_LEAF_LIFETIME: Duration = Duration::from_secs(365 * 24 * 3600);
/// All certificates begin here: a machine whose clock is behind must still accept the hub's, a hub whose clock ran ahead once must
/// accept what it issued then, and nothing is gained by a later date.
const BEGIN_YEAR: i32 = 2024;
/// The CA's end. It is replaced by rotation, not by expiry.
const CA_END_YEAR: i32 = 2124;

/// Where an agent's certificate says of which generation it is: its subject's serialNumber, 2.5.4.5 (RFC 4519, 2.31).
const GENERATION: [u64; 4] = [2, 5, 4, 5];

/// The certificate authority.
pub struct Ca {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pem: String,
    trust_domain: String,
}

impl std::fmt::Debug for Ca {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ca({}, {})", self.trust_domain, self.pin())
    }
}

/// A CA that cannot be opened or made. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// The disk.
    #[error("cannot {doing} `{}`", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system says.
        #[source]
        cause: io::Error,
    },
    /// The key is gone, the certificate is still there.
    #[error(
        "`{}` is there but `{}` is not: the CA's key is lost. No new one was made, because agents trust only the old one; \
         restore the file from a backup, or remove the whole state folder and join every agent again",
        certificate.display(), key.display()
    )]
    KeyLost {
        /// What is there.
        certificate: PathBuf,
        /// What is not.
        key: PathBuf,
    },
    /// The file is not what it should be.
    #[error(
        "`{}` is damaged: {detail}. It was left as it is; restore it from a backup",
        path.display()
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// In which way.
        detail: String,
    },
    /// The file belongs to another trust domain.
    #[error("`{}` is the CA of `{found}`, not of trust domain `{expected}`", path.display())]
    OtherDomain {
        /// Which file.
        path: PathBuf,
        /// Whose it is.
        found: String,
        /// Whose it should be.
        expected: String,
    },
    /// A certificate cannot be made.
    #[error("cannot make a certificate for {whom}")]
    Issue {
        /// For whom.
        whom: String,
        /// What rcgen says.
        #[source]
        cause: rcgen::Error,
    },
}

/// A certificate request that is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the certificate request cannot be used: {detail}")]
pub struct RequestError {
    /// Why not.
    pub detail: String,
}

/// The only thing that is taken from a certificate request.
#[derive(Debug)]
pub struct RequestedKey(rcgen::PublicKey);

impl RequestedKey {
    /// Reads a PKCS#10 request and checks that whoever made it holds the key.
    pub fn read(csr: &[u8]) -> Result<Self, RequestError> {
        let der = CertificateSigningRequestDer::from(csr);
        let request = CertificateSigningRequestParams::from_der(&der).map_err(|cause| RequestError {
            detail: cause.to_string(),
        })?;
        let algorithm = request.public_key.algorithm();
        if *algorithm == rcgen::PKCS_ECDSA_P256_SHA256 || *algorithm == rcgen::PKCS_ED25519 {
            Ok(Self(request.public_key))
        } else {
            Err(RequestError {
                detail: "its key is neither ECDSA P-256 nor Ed25519".to_owned(),
            })
        }
    }

    /// Names the key.
    pub fn digest(&self) -> Digest {
        Digest::of(self.0.der_bytes())
    }
}

impl Ca {
    /// Opens the CA in `pki_dir`, or makes it if there was never one. Blocks on the disk.
    pub fn open_or_create(pki_dir: &Path, trust_domain: &str) -> Result<Self, CaError> {
        wire_files::private_folder(pki_dir).map_err(io_error("create", pki_dir))?;
        let secret = pki_dir.join("ca.pem");
        let public = pki_dir.join("ca.crt");
        let text = match fs::read_to_string(&secret) {
            Ok(text) => text,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
                if public.exists() {
                    return Err(CaError::KeyLost {
                        certificate: public,
                        key: secret,
                    });
                }
                let text = generate(trust_domain)?;
                wire_files::replace(&secret, text.as_bytes()).map_err(io_error("write", &secret))?;
                text
            }
            Err(cause) => return Err(io_error("read", &secret)(cause)),
        };
        let ca = Self::read(&text, &secret, trust_domain)?;
        if fs::read_to_string(&public).ok().as_deref() != Some(ca.pem()) {
            let text = ca.pem().as_bytes();
            wire_files::replace_with(&public, text, wire_files::PUBLIC).map_err(io_error("write", &public))?;
        }
        Ok(ca)
    }

    fn read(text: &str, path: &Path, trust_domain: &str) -> Result<Self, CaError> {
        let damaged = |detail: String| CaError::Damaged {
            path: path.to_owned(),
            detail,
        };
        let certificate = CertificateDer::from_pem_slice(text.as_bytes())
            .map_err(|_| damaged("the certificate is missing".to_owned()))?;
        let key = PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes())
            .map_err(|_| damaged("the private key is missing".to_owned()))?;
        let key = KeyPair::from_pkcs8_der_and_sign_algo(&key, &rcgen::PKCS_ECDSA_P256_SHA256)
            .map_err(|cause| damaged(format!("the private key cannot be read: {cause}")))?;
        let (_, parsed) = x509_parser::parse_x509_certificate(&certificate)
            .map_err(|cause| damaged(format!("the certificate cannot be read: {cause}")))?;
        if *parsed.public_key().subject_public_key.data != *key.public_key_raw() {
            return Err(damaged("key and certificate do not belong together".to_owned()));
        }
        let found = parsed
            .subject()
            .iter_organization()
            .find_map(|name| name.as_str().ok())
            .unwrap_or_default();
        if found != trust_domain {
            return Err(CaError::OtherDomain {
                path: path.to_owned(),
                found: found.to_owned(),
                expected: trust_domain.to_owned(),
            });
        }
        let issuer = Issuer::from_ca_cert_der(&certificate, key).map_err(|cause| damaged(cause.to_string()))?;
        let pem = text
            .find("-----BEGIN CERTIFICATE-----")
            .map_or_else(String::new, |start| text[start..].to_owned());
        Ok(Self {
            issuer,
            certificate: certificate.into_owned(),
            pem,
            trust_domain: trust_domain.to_owned(),
        })
    }

    /// The trust domain.
    pub fn trust_domain(&self) -> &str {
        &self.trust_domain
    }

    /// SHA-256 of the certificate, as join lines carry it.
    pub fn pin(&self) -> CaPin {
        pin_of(&self.certificate)
    }

    /// The certificate, DER.
    pub fn der(&self) -> &[u8] {
        &self.certificate
    }

    /// The certificate, PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// What agents trust.
    pub fn trust(&self) -> Trust {
        Trust {
            ca: vec![self.certificate.clone()],
            trust_domain: self.trust_domain.clone(),
        }
    }

    /// A fresh certificate for the hub's QUIC end: its SPIFFE id and nothing else.
    pub fn hub_leaf(&self, now: Wall) -> Result<Leaf, CaError> {
        let uri = hub_uri(&self.trust_domain);
        let names = vec![uri_name(&uri)?];
        self.server_leaf("the hub", names, now)
    }

    /// A fresh certificate for the hub's HTTPS end. `names` are DNS names and IP addresses.
    pub fn https_leaf(&self, names: &[String], now: Wall) -> Result<Leaf, CaError> {
        let names = names
            .iter()
            .map(|name| match name.parse::<IpAddr>() {
                Ok(address) => Ok(SanType::IpAddress(address)),
                Err(_) => name
                    .as_str()
                    .try_into()
                    .map(SanType::DnsName)
                    .map_err(issue_error(name)),
            })
            .collect::<Result<_, _>>()?;
        self.server_leaf("HTTPS", names, now)
    }

    /// A certificate for an agent: its SPIFFE id, its generation, clientAuth, until `ends`.
    pub fn agent_leaf(
        &self,
        key: &RequestedKey,
        agent: &AgentId,
        generation: u64,
        ends: Wall,
    ) -> Result<Vec<u8>, CaError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = named(&self.trust_domain, agent.as_str());
        params
            .distinguished_name
            .push(DnType::CustomDnType(GENERATION.to_vec()), generation.to_string());
        params.subject_alt_names = vec![uri_name(&agent_uri(&self.trust_domain, agent))?];
        params.not_before = date_time_ymd(BEGIN_YEAR, 1, 1);
        params.not_after = date_time_ymd(1970, 1, 1) + since_1970(ends);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        leaf_fields(&mut params);
        let certificate = params
            .signed_by(&key.0, &self.issuer)
            .map_err(issue_error(agent.as_str()))?;
        Ok(certificate.der().to_vec())
    }

    fn server_leaf(&self, whom: &str, names: Vec<SanType>, now: Wall) -> Result<Leaf, CaError> {
        let key = KeyPair::generate().map_err(issue_error(whom))?;
        let mut params = CertificateParams::default();
        params.distinguished_name = named(&self.trust_domain, "hub");
        params.subject_alt_names = names;
        params.not_before = date_time_ymd(BEGIN_YEAR, 1, 1);
        params.not_after = date_time_ymd(1970, 1, 1) + since_1970(now) + HUB_LEAF_LIFETIME;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        leaf_fields(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).map_err(issue_error(whom))?;
        Ok(Leaf {
            chain: vec![certificate.der().clone(), self.certificate.clone()],
            key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        })
    }
}

/// Whether a certificate of the hub's own that was made then is to be made anew: it is old, or the clock was wrong when it was made.
pub fn is_stale(made: Wall, now: Wall) -> bool {
    let age_ms = now.0.saturating_sub(made.0);
    let (least, most) = (
        CLOCK_IS_SET_BY.as_millis() as i64,
        HUB_LEAF_RENEWED_EVERY.as_millis() as i64,
    );
    !(-least..most).contains(&age_ms)
}

/// The generation of an agent's certificate; `None` for one that hubs of before made.
pub fn generation_of(certificate: &[u8]) -> Option<u64> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let named = parsed
        .subject()
        .iter_by_oid(&x509_parser::oid_registry::OID_X509_SERIALNUMBER);
    named.filter_map(|name| name.as_str().ok()?.parse().ok()).next()
}

/// Key and certificate of a new CA, PEM, the key first.
fn generate(trust_domain: &str) -> Result<String, CaError> {
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(issue_error("a CA"))?;
    let mut params = CertificateParams::default();
    params.distinguished_name = named(trust_domain, "Sentinel CA");
    params.not_before = date_time_ymd(BEGIN_YEAR, 1, 1);
    params.not_after = date_time_ymd(CA_END_YEAR, 1, 1);
    // It signs leaves, never another CA.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.serial_number = Some(serial());
    let certificate = params.self_signed(&key).map_err(issue_error("a CA"))?;
    Ok(format!("{}{}", key.serialize_pem(), certificate.pem()))
}

fn leaf_fields(params: &mut CertificateParams) {
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    params.serial_number = Some(serial());
}

/// 16 random bytes, positive (RFC 5280, 4.1.2.2).
fn serial() -> SerialNumber {
    let mut bytes: [u8; 16] = random();
    bytes[0] = (bytes[0] & 0x7f) | 0x40;
    SerialNumber::from_slice(&bytes)
}

/// Bytes that nobody can guess.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("Linux has getrandom(2) since 3.17, and it cannot fail once the pool is ready");
    bytes
}

fn named(trust_domain: &str, name: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::OrganizationName, trust_domain);
    subject.push(DnType::CommonName, name);
    subject
}

fn uri_name(uri: &str) -> Result<SanType, CaError> {
    uri.try_into().map(SanType::URI).map_err(issue_error(uri))
}

/// Whole seconds, as X.509 has them.
fn since_1970(time: Wall) -> Duration {
    Duration::from_secs(u64::try_from(time.0 / 1000).unwrap_or(0))
}

fn io_error<'a>(doing: &'static str, path: &'a Path) -> impl Fn(io::Error) -> CaError + 'a {
    move |cause| CaError::Io {
        doing,
        path: path.to_owned(),
        cause,
    }
}

fn issue_error(whom: &str) -> impl Fn(rcgen::Error) -> CaError + '_ {
    move |cause| CaError::Issue {
        whom: whom.to_owned(),
        cause,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn check(damage: impl FnOnce(&Path), expected: &str) {
        let dir = tempfile::tempdir().unwrap();
        let pki = dir.path().join("pki");
        Ca::open_or_create(&pki, "test").unwrap();
        damage(&pki);
        let result = Ca::open_or_create(&pki, "test");
        match result {
            Ok(_) => assert_eq!(expected, "fine"),
            Err(error) => assert!(error.to_string().contains(expected), "{error}"),
        }
    }

    #[test]
    fn a_certificate_of_a_wrong_clock_is_made_anew_once_the_clock_is_right() {
        let (day, year) = (86_400_000, 365 * 86_400_000);
        for (made, now, expected) in [
            (year, year, false),
            (year, year + 29 * day, false),
            (year, year + 30 * day, true),
            // Set back by a little, as clocks are; and by what was a year too much.
            (year, year - 60_000, false),
            (2 * year, year, true),
            // The machine had no battery.
            (0, 56 * year, true),
            (i64::MIN, i64::MAX, true),
            (i64::MAX, i64::MIN, true),
        ] {
            assert_eq!(is_stale(Wall(made), Wall(now)), expected, "made at {made}, now {now}");
        }
    }

    #[test]
    fn a_ca_is_made_once() {
        let dir = tempfile::tempdir().unwrap();
        let first = Ca::open_or_create(dir.path(), "test").unwrap();
        let second = Ca::open_or_create(dir.path(), "test").unwrap();
        assert_eq!(first.pin(), second.pin());
        let mode = fs::metadata(dir.path().join("ca.pem")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(!first.pem().contains("PRIVATE"));
    }

    #[test]
    fn a_lost_or_damaged_ca_is_never_replaced() {
        check(|_| {}, "fine");
        check(|pki| fs::remove_file(pki.join("ca.crt")).unwrap(), "fine");
        check(
            |pki| fs::remove_file(pki.join("ca.pem")).unwrap(),
            "the CA's key is lost",
        );
        check(|pki| fs::write(pki.join("ca.pem"), "").unwrap(), "damaged");
        check(
            |pki| fs::copy(pki.join("ca.crt"), pki.join("ca.pem")).map(drop).unwrap(),
            "private key is missing",
        );
        check(
            |pki| {
                fs::write(
                    pki.join("ca.pem"),
                    generate("test").unwrap().replace("-----END", "-----"),
                )
                .unwrap()
            },
            "damaged",
        );
        check(
            |pki| fs::write(pki.join("ca.pem"), generate("other").unwrap()).unwrap(),
            "is the CA of `other`",
        );
    }

    #[test]
    fn only_the_key_is_taken_from_a_request() {
        let dir = tempfile::tempdir().unwrap();
        let ca = Ca::open_or_create(dir.path(), "test").unwrap();
        let key = KeyPair::generate().unwrap();
        let mut greedy = CertificateParams::new(vec!["evil.example".to_owned()]).unwrap();
        greedy.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        greedy.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let csr = greedy.serialize_request(&key).unwrap();
        let requested = RequestedKey::read(csr.der()).unwrap();
        let agent = AgentId::new("edge-1").unwrap();
        let der = ca.agent_leaf(&requested, &agent, 7, Wall(1_800_000_060_000)).unwrap();
        assert_eq!(generation_of(&der), Some(7));
        assert_eq!(generation_of(ca.der()), None);
        let (_, leaf) = x509_parser::parse_x509_certificate(&der).unwrap();
        let names = format!("{:?}", leaf.subject_alternative_name().unwrap().unwrap().value);
        assert!(
            names.contains("spiffe://test/agent/edge-1") && !names.contains("evil"),
            "{names}"
        );
        assert!(!leaf.is_ca());
        let usage = leaf.extended_key_usage().unwrap().unwrap().value;
        assert!(usage.client_auth && !usage.server_auth);
        assert_eq!(leaf.validity().not_after.timestamp(), 1_800_000_060);
        let begins = leaf.validity().not_before.timestamp();
        assert!(
            begins < 1_710_000_000,
            "whatever the hub's clock says later, it has begun: {begins}"
        );
    }

    #[test]
    fn a_request_that_is_none_is_an_error() {
        for bytes in [&b""[..], b"0\x03abc", &[0x30; 200]] {
            assert!(RequestedKey::read(bytes).is_err());
        }
    }
}

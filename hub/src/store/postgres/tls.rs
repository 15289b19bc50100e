//! TLS with a PostgreSQL: who is trusted for which `sslmode`.
//!
//! Invariant: signatures of the handshake are always checked; what `require` and `verify-ca` leave out is who the certificate is for.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::address::{PostgresAddress, Trust};

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is not one of certificates or a key.
    #[error("`{path}` holds no {what} (PEM): {cause}")]
    File {
        /// The file.
        path: PathBuf,
        /// What should be in it.
        what: &'static str,
        /// What is wrong.
        cause: rustls::pki_types::pem::Error,
    },
    /// The system trusts nobody.
    #[error("this system has no certificates of authorities: name those that are trusted with sslrootcert=FILE")]
    NoRoots,
    /// They do not go together.
    #[error("these certificates cannot be used: {0}")]
    Refused(String),
}

/// How connections to this address are made.
pub fn connector(address: &PostgresAddress) -> Result<MakeRustlsConnect, TlsError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let refused = |cause: &dyn std::fmt::Display| TlsError::Refused(cause.to_string());
    let chain = |roots: RootCertStore| {
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .map_err(|cause| refused(&cause))
    };
    let verifier: Arc<dyn ServerCertVerifier> = match (address.trust, &address.root_certificate) {
        (Trust::Full, file) => chain(roots(file.as_deref())?)?,
        (Trust::Authority, file) => lenient(Some(chain(roots(file.as_deref())?)?), &provider),
        // As PostgreSQL's own clients do: an authority that is named is asked.
        (Trust::Require | Trust::Disable, Some(file)) => lenient(Some(chain(roots(Some(file))?)?), &provider),
        (Trust::Require | Trust::Disable, None) => lenient(None, &provider),
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|cause| refused(&cause))?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let config = match &address.client {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let key_bytes = PrivateKeyDer::from_pem_file(key).map_err(wrong(key, "key"))?;
            builder
                .with_client_auth_cert(certificates(certificate)?, key_bytes)
                .map_err(|cause| refused(&cause))?
        }
    };
    Ok(MakeRustlsConnect::new(config))
}

fn wrong(path: &Path, what: &'static str) -> impl FnOnce(rustls::pki_types::pem::Error) -> TlsError {
    let path = path.to_owned();
    move |cause| TlsError::File { path, what, cause }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    let found: Vec<_> = read.map_err(wrong(file, "certificate"))?;
    match found.is_empty() {
        true => Err(wrong(file, "certificate")(rustls::pki_types::pem::Error::NoItemsFound)),
        false => Ok(found),
    }
}

fn roots(file: Option<&Path>) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    match file {
        Some(file) => {
            for certificate in certificates(file)? {
                store
                    .add(certificate)
                    .map_err(|cause| TlsError::Refused(cause.to_string()))?;
            }
        }
        None => drop(store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
    }
    match store.is_empty() {
        true => Err(TlsError::NoRoots),
        false => Ok(store),
    }
}

fn lenient(chain: Option<Arc<WebPkiServerVerifier>>, provider: &Arc<CryptoProvider>) -> Arc<dyn ServerCertVerifier> {
    Arc::new(Lenient {
        chain,
        provider: Arc::clone(provider),
    })
}

/// Does not ask for whom a certificate is; without a chain not whose it is either.
#[derive(Debug)]
struct Lenient {
    chain: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        issuers: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(chain) = &self.chain else {
            return Ok(ServerCertVerified::assertion());
        };
        match chain.verify_server_cert(certificate, issuers, name, ocsp, now) {
            // The chain is looked at before the name.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signed,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signed,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

//! The certificate that people see: of the hub's own CA, or from files that another program keeps fresh.
//!
//! Files are looked at each minute, so a renewal by cert-manager or an ACME client counts without a restart; a pair that does not fit
//! leaves the former one in use and is told in the log. Agents never see it: they pin the hub's own CA.
//!
//! Invariant: there is always a certificate, and it is one that was whole when it was taken.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_util::sync::CancellationToken;

use wire::time::Wall;

use crate::ca::{Ca, CaError, HUB_LEAF_LOOKED_AT_EVERY, Leaf, is_stale};

/// How often files are looked at: whoever renews them does so days before the old ones end.
const LOOKED_AT_EVERY: Duration = Duration::from_secs(60);

/// Where it comes from.
#[derive(Debug, Clone)]
pub enum Source {
    /// The hub's own CA, for these names.
    Own {
        /// The CA.
        ca: Arc<Ca>,
        /// Names and addresses.
        names: Vec<String>,
    },
    /// Files of somebody else.
    Files(CertificateFiles),
}

/// PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate with its issuers, leaf first.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The CA of its issuer, for the administrator's context; a file that is missing or empty says nothing.
    pub ca: Option<PathBuf>,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The own CA cannot make one.
    #[error(transparent)]
    Ca(#[from] CaError),
    /// A file cannot be read.
    #[error("cannot read `{path}` as PEM")]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: rustls_pki_types::pem::Error,
    },
    /// There is no certificate in it.
    #[error("`{path}` holds no certificate")]
    Empty {
        /// Which.
        path: PathBuf,
    },
    /// Certificate and key do not fit.
    #[error("cannot use the certificate for HTTPS: it and its key must be of one pair")]
    Unusable {
        /// Why.
        #[source]
        cause: rustls::Error,
    },
}

/// The certificate in use.
#[derive(Debug)]
pub struct Certificate {
    source: Source,
    provider: Arc<CryptoProvider>,
    current: RwLock<Arc<CertifiedKey>>,
    /// When the current one was taken, in milliseconds since 1970.
    made: AtomicI64,
}

impl Certificate {
    /// Takes the first one. Blocks for as long as the disk does.
    pub fn new(source: Source, provider: Arc<CryptoProvider>) -> Result<Arc<Self>, CertificateError> {
        let now = crate::clock::wall();
        let first = take(&source, &provider, now)?;
        Ok(Arc::new(Self {
            source,
            provider,
            current: RwLock::new(Arc::new(first)),
            made: AtomicI64::new(now.0),
        }))
    }

    /// Keeps it fresh until it is told to stop.
    pub async fn keep(self: Arc<Self>, stop: CancellationToken) {
        let every = match self.source {
            Source::Own { .. } => HUB_LEAF_LOOKED_AT_EVERY,
            Source::Files(_) => LOOKED_AT_EVERY,
        };
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(every) => {}
            }
            if matches!(self.source, Source::Own { .. }) && !self.is_stale(crate::clock::wall()) {
                continue;
            }
            let this = Arc::clone(&self);
            // A thread that died leaves the former certificate, like every other failure here.
            match tokio::task::spawn_blocking(move || this.renew()).await {
                Ok(Ok(true)) => tracing::info!("the certificate for HTTPS was renewed"),
                Ok(Ok(false)) | Err(_) => {}
                Ok(Err(error)) => tracing::error!(%error, "cannot renew the certificate for HTTPS, the old one stays"),
            }
        }
    }

    fn is_stale(&self, now: Wall) -> bool {
        is_stale(Wall(self.made.load(Ordering::Relaxed)), now)
    }

    /// Takes a new one; says whether it differs from the former.
    fn renew(&self) -> Result<bool, CertificateError> {
        let now = crate::clock::wall();
        let next = take(&self.source, &self.provider, now)?;
        self.made.store(now.0, Ordering::Relaxed);
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let differs = current.cert != next.cert;
        if differs {
            *current = Arc::new(next);
        }
        Ok(differs)
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl CertificateFiles {
    /// Who is to be trusted to reach this hub by HTTPS, besides its own CA: the named CA, or else the issuers in the chain.
    pub fn trusted_pem(&self) -> Result<String, CertificateError> {
        let named = self.ca.as_ref().and_then(|path| std::fs::read_to_string(path).ok());
        if let Some(pem) = named.filter(|pem| pem.contains("BEGIN CERTIFICATE")) {
            return Ok(pem);
        }
        let issuers = chain(&self.certificate)?.into_iter().skip(1);
        Ok(issuers.map(|issuer| pem(&issuer)).collect())
    }
}

fn take(source: &Source, provider: &CryptoProvider, now: Wall) -> Result<CertifiedKey, CertificateError> {
    let leaf = match source {
        Source::Own { ca, names } => ca.https_leaf(names, now)?,
        Source::Files(files) => Leaf {
            chain: chain(&files.certificate)?,
            key: PrivateKeyDer::from_pem_file(&files.key).map_err(of_file(&files.key))?,
        },
    };
    CertifiedKey::from_der(leaf.chain, leaf.key, provider).map_err(|cause| CertificateError::Unusable { cause })
}

fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let chain: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(of_file(path))?;
    if chain.is_empty() {
        let path = path.to_owned();
        return Err(CertificateError::Empty { path });
    }
    Ok(chain)
}

fn of_file(path: &Path) -> impl Fn(rustls_pki_types::pem::Error) -> CertificateError {
    let path = path.to_owned();
    move |cause| CertificateError::File {
        path: path.clone(),
        cause,
    }
}

fn pem(certificate: &CertificateDer<'_>) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(certificate);
    let lines: Vec<&str> = (0..text.len())
        .step_by(64)
        .map(|at| &text[at..(at + 64).min(text.len())])
        .collect();
    format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        lines.join("\n")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn provider() -> Arc<CryptoProvider> {
        Arc::new(rustls::crypto::aws_lc_rs::default_provider())
    }

    /// Writes a pair of a CA of its own.
    fn write(files: &CertificateFiles, name: &str) {
        let issued = rcgen::generate_simple_self_signed(vec![name.to_owned()]).expect("a pair");
        std::fs::write(&files.certificate, issued.cert.pem()).expect("written");
        std::fs::write(&files.key, issued.signing_key.serialize_pem()).expect("written");
    }

    fn files(folder: &Path) -> CertificateFiles {
        CertificateFiles {
            certificate: folder.join("tls.crt"),
            key: folder.join("tls.key"),
            ca: Some(folder.join("ca.crt")),
        }
    }

    #[test]
    fn a_renewed_file_counts_and_a_broken_one_does_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let files = files(folder.path());
        write(&files, "one.test");
        let certificate = Certificate::new(Source::Files(files.clone()), provider()).expect("whole");
        assert!(!certificate.renew().expect("unchanged"));
        let first = Arc::clone(&certificate.current.read().expect("unpoisoned"));
        std::fs::write(&files.certificate, "half").expect("written");
        assert!(certificate.renew().is_err());
        assert_eq!(
            certificate.current.read().expect("unpoisoned").cert,
            first.cert,
            "the old one stays"
        );
        write(&files, "two.test");
        assert!(certificate.renew().expect("whole again"));
        assert_ne!(certificate.current.read().expect("unpoisoned").cert, first.cert);
    }

    #[test]
    fn a_key_of_another_pair_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let files = files(folder.path());
        write(&files, "one.test");
        let certificate = std::fs::read(&files.certificate).expect("written");
        write(&files, "two.test");
        std::fs::write(&files.certificate, certificate).expect("written");
        let error = Certificate::new(Source::Files(files), provider()).expect_err("no pair");
        assert!(error.to_string().contains("one pair"), "{error}");
    }

    #[test]
    fn the_issuers_of_a_chain_are_trusted_where_no_ca_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let files = files(folder.path());
        write(&files, "leaf.test");
        let leaf = std::fs::read_to_string(&files.certificate).expect("written");
        write(&files, "issuer.test");
        let issuer = std::fs::read_to_string(&files.certificate).expect("written");
        std::fs::write(&files.certificate, format!("{leaf}{issuer}")).expect("written");
        let same = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).expect("PEM");
        assert_eq!(same(&files.trusted_pem().expect("readable")), same(&issuer));
        std::fs::write(folder.path().join("ca.crt"), &leaf).expect("written");
        assert_eq!(
            same(&files.trusted_pem().expect("readable")),
            same(&leaf),
            "the named CA goes before"
        );
    }
}

//! Keeps who this agent is: the permanent node key, the certificate with its key, whom to trust.
//!
//! One file, replaced whole (write, sync, rename) with its predecessor kept beside it, so that no crash leaves a machine without an
//! identity. A key for a certificate is stored before it is asked for: if the answer is lost, the same question is asked again and
//! the hub knows the same machine by it. An expired certificate is no error here: nothing local depends on it.
//!
//! Invariant: what `load` returns was once whole on the disk; the node key is never made twice.
//! Read next: `identity/join.rs` (how it begins), `link.rs` (renewal and rejoining), `hub/src/enroll.rs` (the other side).

mod address;
mod file;
mod join;
mod leave;
mod neighbours;
mod token;

use std::io;
use std::path::{Path, PathBuf};

use ed25519_dalek::{Signer as _, SigningKey};
use rcgen::{CertificateParams, KeyPair};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Serialize};
use wire::bundle::KeyRing;
use wire::enroll::{Credentials, REJOIN_PREFIX, RejoinRequest, RenewRequest};
use wire::ids::AgentId;
use wire::time::Wall;
use wire_transport::{CertificateClock, ClientTls, Leaf, TlsError, Trust};

pub use address::{cache_address, cached_address, reachable_first, resolve};
use file::{FORMAT, Stored, read, write};
#[cfg(test)]
pub use join::JoinError;
pub use join::{JoinOptions, host_name, join};
pub use leave::{Told, leave};
pub use neighbours::{NeighbourKeys, is_shown};
pub use token::read_token;

/// An agent's identity.
#[derive(Clone)]
pub struct Identity {
    folder: PathBuf,
    node_key: SigningKey,
    joined: Joined,
}

/// What the hub gave, and the keys for it.
#[derive(Clone, Serialize, Deserialize)]
struct Joined {
    hub: String,
    credentials: Credentials,
    /// PKCS#8.
    leaf_key: Vec<u8>,
    /// PKCS#8 of the key that was asked for and is not granted yet.
    pending_key: Option<Vec<u8>>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity")
            .field("agent", &self.joined.credentials.agent)
            .field("generation", &self.joined.credentials.generation)
            .finish_non_exhaustive()
    }
}

/// The identity cannot be read or written. The agent can go on with what it has in memory.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
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
    /// Neither the file nor its predecessor is whole.
    #[error(
        "`{}` and its predecessor are damaged. They were left as they are; restore one from a backup, or move the folder away and \
         join again with a new token",
        path.display()
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
    },
    /// A later version wrote it.
    #[error(
        "`{}` was written by a later version of sentinel-agent (layout {format}, this one knows {} and before): install that \
         version again. It was left as it is",
        path.display(),
        FORMAT
    )]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its layout.
        format: u8,
    },
    /// A key or certificate inside is unusable.
    #[error("the key or certificate in `{}` cannot be used: {detail}", path.display())]
    Unusable {
        /// Which folder.
        path: PathBuf,
        /// Why.
        detail: String,
    },
}

impl Identity {
    /// Reads the identity in a state folder; `None`: this machine has not joined. Blocks on the disk.
    pub fn load(state_dir: &Path) -> Result<Option<Self>, IdentityError> {
        let folder = folder_in(state_dir);
        let Some(stored) = read(&folder)? else {
            return Ok(None);
        };
        Ok(stored.joined.map(|joined| Self {
            folder,
            node_key: SigningKey::from_bytes(&stored.node_key),
            joined,
        }))
    }

    /// One that nobody granted, for tests: a node key, a leaf with its key, and the CA.
    #[cfg(test)]
    pub fn made(
        agent: &str,
        node_key: [u8; 32],
        (certificate, leaf_key): (Vec<u8>, Vec<u8>),
        ca: Vec<u8>,
        state_dir: &Path,
    ) -> Self {
        let credentials = Credentials {
            agent: AgentId::new(agent).expect("a name"),
            site: "site-b".to_owned(),
            trust_domain: "test".to_owned(),
            certificate,
            issued: Wall(0),
            ends: Wall(0),
            generation: 1,
            ca: vec![ca],
            policy_keys: KeyRing::single([1; 32]),
            rejoins: 0,
        };
        Self {
            folder: folder_in(state_dir),
            node_key: SigningKey::from_bytes(&node_key),
            joined: Joined {
                hub: "127.0.0.1:9".to_owned(),
                credentials,
                leaf_key,
                pending_key: None,
            },
        }
    }

    /// Its name.
    pub fn agent(&self) -> &AgentId {
        &self.joined.credentials.agent
    }

    /// Its site.
    pub fn site(&self) -> &str {
        &self.joined.credentials.site
    }

    /// `HOST:PORT` of its hub.
    pub fn hub(&self) -> &str {
        &self.joined.hub
    }

    /// Its trust domain.
    pub fn trust_domain(&self) -> &str {
        &self.joined.credentials.trust_domain
    }

    /// Who may sign bundles and beacons.
    pub fn policy_keys(&self) -> &KeyRing {
        &self.joined.credentials.policy_keys
    }

    /// When its certificate ends.
    pub fn certificate_ends(&self) -> Wall {
        self.joined.credentials.ends
    }

    /// When its certificate was made, by the hub's clock.
    pub fn certificate_issued(&self) -> Wall {
        self.joined.credentials.issued
    }

    /// How often the node key had to be used.
    pub fn rejoins(&self) -> u32 {
        self.joined.credentials.rejoins
    }

    /// Number of its certificate.
    pub fn generation(&self) -> u64 {
        self.joined.credentials.generation
    }

    /// Its certificate and key, for a session.
    pub fn leaf(&self) -> Leaf {
        let credentials = &self.joined.credentials;
        Leaf {
            chain: vec![CertificateDer::from(credentials.certificate.clone())],
            key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.joined.leaf_key.clone())),
        }
    }

    /// Whom it trusts.
    pub fn trust(&self) -> Trust {
        trust_in(&self.joined.credentials)
    }

    /// Makes and stores the next key, or takes the one that was made before and not granted. Blocks on the disk.
    pub fn prepare(mut self) -> Result<Self, IdentityError> {
        if self.joined.pending_key.is_none() {
            self.joined.pending_key = Some(new_leaf_key(&self.folder)?);
            self.store()?;
        }
        Ok(self)
    }

    /// The question for a renewal. Call after [`Identity::prepare`].
    pub fn renew_request(&self) -> Result<RenewRequest, IdentityError> {
        Ok(RenewRequest {
            csr: self.pending_csr()?,
            generation: self.generation(),
        })
    }

    /// The question for a rejoin. Call after [`Identity::prepare`].
    pub fn rejoin_request(&self, challenge: &[u8; 32], exporter: &[u8; 32]) -> Result<RejoinRequest, IdentityError> {
        let csr = self.pending_csr()?;
        let message = [REJOIN_PREFIX, challenge, exporter, &csr].concat();
        Ok(RejoinRequest {
            agent: self.agent().clone(),
            signature: self.node_key.sign(&message).to_bytes().to_vec(),
            csr,
            generation: self.generation(),
        })
    }

    /// Takes over what the hub granted for the prepared key, and stores it. Blocks on the disk.
    pub fn complete(mut self, credentials: Credentials) -> Result<Self, IdentityError> {
        let unusable = |detail: String| IdentityError::Unusable {
            path: self.folder.clone(),
            detail,
        };
        // The hub may give another name, never another trust domain.
        if credentials.trust_domain != self.trust_domain() {
            return Err(unusable(format!(
                "granted to `{}` of `{}`",
                credentials.agent, credentials.trust_domain
            )));
        }
        let key = self
            .joined
            .pending_key
            .take()
            .ok_or_else(|| unusable("nothing was asked for".to_owned()))?;
        self.joined.leaf_key = key;
        self.joined.credentials = credentials;
        self.check()?;
        self.store()?;
        Ok(self)
    }

    fn pending_csr(&self) -> Result<Vec<u8>, IdentityError> {
        let key = self.joined.pending_key.as_deref().unwrap_or_default();
        csr(&self.folder, key)
    }

    /// Certificate and key fit each other and the trusted CAs can be read.
    fn check(&self) -> Result<(), IdentityError> {
        let clock = CertificateClock::new(Wall(0));
        let tls: Result<ClientTls, TlsError> = ClientTls::session(self.leaf(), self.trust(), &clock);
        tls.map(drop).map_err(|error| IdentityError::Unusable {
            path: self.folder.clone(),
            detail: error.to_string(),
        })
    }

    fn store(&self) -> Result<(), IdentityError> {
        let stored = Stored {
            format: FORMAT,
            node_key: self.node_key.to_bytes(),
            asking_key: None,
            joined: Some(self.joined.clone()),
        };
        write(&self.folder, &stored)
    }
}

fn folder_in(state_dir: &Path) -> PathBuf {
    state_dir.join("identity")
}

fn trust_in(credentials: &Credentials) -> Trust {
    Trust {
        ca: credentials
            .ca
            .iter()
            .map(|ca| CertificateDer::from(ca.clone()))
            .collect(),
        trust_domain: credentials.trust_domain.clone(),
    }
}

/// ECDSA P-256, PKCS#8.
fn new_leaf_key(folder: &Path) -> Result<Vec<u8>, IdentityError> {
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256);
    key.map(|key| key.serialize_der()).map_err(unusable(folder))
}

fn csr(folder: &Path, pkcs8: &[u8]) -> Result<Vec<u8>, IdentityError> {
    let key = PrivatePkcs8KeyDer::from(pkcs8);
    let key = KeyPair::from_pkcs8_der_and_sign_algo(&key, &rcgen::PKCS_ECDSA_P256_SHA256).map_err(unusable(folder))?;
    let request = CertificateParams::default()
        .serialize_request(&key)
        .map_err(unusable(folder))?;
    Ok(request.der().to_vec())
}

fn unusable(folder: &Path) -> impl Fn(rcgen::Error) -> IdentityError + '_ {
    move |cause| IdentityError::Unusable {
        path: folder.to_owned(),
        detail: cause.to_string(),
    }
}

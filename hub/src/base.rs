//! What a hub stands on before it opens its doors: state folder, store, keys, CA, enrolment.
//!
//! Makes what is missing at the first start, and never replaces what an agent or a person already trusts.

use std::path::Path;
use std::sync::Arc;

use hub_core::{Certificates, Recovered, Settings};
use tokio::sync::mpsc;
use wire::bundle::KeyRing;
use wire::ids::HubEpoch;

use crate::ca::Ca;
use crate::config::{Public, RunArgs};
use crate::keys::{self, HubKeys, KeyError, RoleFile};
use crate::run::RunError;
use crate::store::{Completion, RedbStore, Retention, Store, StoreSettings};

/// Sessions that may be in their handshake at once; a handshake costs about 1 ms of CPU, so all get through in some seconds.
const HANDSHAKES: usize = 256;

/// Name of the setting that holds the trust domain.
const TRUST_DOMAIN: &str = "trust-domain";
/// The trust domain of a hub that was told none, and of the command line's keys.
const DEFAULT_DOMAIN: &str = "sentinel.internal";

/// What can be had with blocking calls alone.
pub(crate) struct Base {
    pub store: Arc<RedbStore>,
    pub ca: Arc<Ca>,
    /// Given to whoever joins: the root keys.
    pub root_keys: KeyRing,
    pub settings: Settings,
    pub recovered: Recovered,
    pub roles: Arc<RoleFile>,
}

impl Base {
    /// Opens or makes everything. Blocks.
    pub fn open(args: &RunArgs, done: mpsc::Sender<Vec<Completion>>) -> Result<Self, RunError> {
        let make = |path: &Path| {
            use std::os::unix::fs::DirBuilderExt;
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(path)
                .map_err(|cause| RunError::System {
                    action: format!("make folder `{}`", path.display()),
                    cause,
                })
        };
        let pki = args.state.join("pki");
        make(&args.state)?;
        make(&pki)?;
        let store = Arc::new(RedbStore::open(
            StoreSettings {
                retention: Retention {
                    telemetry_bytes: args.telemetry_bytes,
                    ..Retention::default()
                },
                ..StoreSettings::new(args.state.join("store"))
            },
            done,
        )?);
        let recovered = store.recover()?;
        if let Some(given) = &args.keys {
            keys::take_over(given, &pki)?;
        }
        let domain = own_domain(&*store, args.trust_domain.as_deref(), &pki)?;
        let keys = HubKeys::open(&pki, &domain, recovered.bundle.is_none())?;
        let ca = Arc::new(Ca::open_or_create(&pki, &domain)?);
        // Last: a start that fails before this leaves a folder that any trust domain can still have.
        store.put_setting(TRUST_DOMAIN, domain.as_bytes())?;
        // Who joins is given the root keys: they vouch for the documents that name all others.
        let ring = keys.chain.newest().root.ring.clone();
        let settings = Settings {
            trust_domain: domain,
            policy_key: keys.policy,
            beacon_key: keys.beacon,
            roles: Some(keys.chain),
            seed: random_number()?,
            first_hub_epoch: first_epoch(),
            max_handshakes: HANDSHAKES,
            beacon_every: args.beacon_every,
            certificates: Certificates::for_life(args.certificate_life),
        };
        Ok(Self {
            store,
            ca,
            root_keys: ring,
            settings,
            recovered,
            roles: Arc::new(keys.file),
        })
    }
}

/// Seconds since 1970: a hub whose store was lost and made anew stands above its predecessor, which agents follow. If the wall
/// clock is behind, the core raises it as soon as an agent tells of a higher one.
fn first_epoch() -> HubEpoch {
    HubEpoch(u64::try_from(crate::clock::wall().0 / 1_000).unwrap_or(1).max(1))
}

fn random_number() -> Result<u64, RunError> {
    getrandom::u64().map_err(|cause| RunError::Key(KeyError::Random { cause }))
}

/// The folder's own domain; at the first start the one that was asked for, else that of the role documents, else the default.
fn own_domain(store: &dyn Store, asked: Option<&str>, pki: &Path) -> Result<String, RunError> {
    let stored = store.setting(TRUST_DOMAIN)?;
    let stored = stored.map(|stored| String::from_utf8_lossy(&stored).into_owned());
    match (stored, asked) {
        (Some(stored), Some(asked)) if stored != asked => Err(RunError::Domain {
            stored,
            asked: asked.to_owned(),
        }),
        (Some(stored), _) => Ok(stored),
        (None, Some(asked)) => Ok(asked.to_owned()),
        (None, None) => Ok(keys::domain_of(pki)?.unwrap_or_else(|| DEFAULT_DOMAIN.to_owned())),
    }
}

/// How others reach a hub that listens here.
pub(crate) fn public_address(args: &RunArgs, address: std::net::SocketAddr) -> Public {
    match &args.public {
        Some(public) if public.port == 0 => public.with_port(address.port()),
        Some(public) => public.clone(),
        // Everywhere is not an address that others can use; on this machine loopback is one.
        None if address.ip().is_unspecified() => Public {
            host: "127.0.0.1".to_owned(),
            port: address.port(),
        },
        None => Public {
            host: address.ip().to_string(),
            port: address.port(),
        },
    }
}

/// Names that the HTTPS certificate is good for.
pub(crate) fn names(public: &Public, ip: std::net::IpAddr) -> Vec<String> {
    let mut names = vec![
        public.host.clone(),
        "localhost".to_owned(),
        "127.0.0.1".to_owned(),
        "::1".to_owned(),
    ];
    if !ip.is_unspecified() {
        names.push(ip.to_string());
    }
    names.sort();
    names.dedup();
    names
}

//! What a hub stands on before it opens its doors: state folder, store, keys, CA, enrolment.
//!
//! Makes what is missing at the first start, and never replaces what an agent or a person already trusts.

use std::path::Path;
use std::sync::Arc;

use hub_core::{Certificates, Checkpointing, Quota, Recovered, Settings};
use tokio::sync::mpsc;
use wire::bundle::KeyRing;
use wire::ids::HubEpoch;

use crate::ca::Ca;
use crate::config::{Public, RunArgs};
use crate::keys::{self, HubKeys, KeyError, RoleFile};
use crate::run::RunError;
use crate::store::{Completion, DurableStore, Place, Retention, Store, StoreSettings};

/// Sessions that may be in their handshake at once; a handshake costs about 1 ms of CPU, so all get through in some seconds.
const HANDSHAKES: usize = 256;

/// Name of the setting that holds the trust domain.
const TRUST_DOMAIN: &str = "trust-domain";
/// The trust domain of a hub that was told none, and of the command line's keys.
const DEFAULT_DOMAIN: &str = "sentinel.internal";

/// What can be had with blocking calls alone.
pub(crate) struct Base {
    pub store: Arc<DurableStore>,
    pub ca: Arc<Ca>,
    /// Given to whoever joins: the root keys.
    pub root_keys: KeyRing,
    pub settings: Settings,
    pub recovered: Recovered,
    pub roles: Arc<RoleFile>,
}

impl Base {
    /// Opens or makes everything. Blocks.
    pub fn open(args: &RunArgs, place: Place, done: mpsc::Sender<Vec<Completion>>) -> Result<Self, RunError> {
        // Keys lie there, and all that the hub knows: a folder that was made by hand is closed to others before anything is put into it.
        let make = |path: &Path| {
            let closed = wire_files::private_folder(path).map_err(|cause| RunError::System {
                action: format!("make folder `{}`, or close it to others", path.display()),
                cause,
            })?;
            if let Some(mode) = closed {
                tracing::warn!(folder = %path.display(), mode = format!("{mode:o}"), "others could enter the folder; closed");
            }
            Ok::<_, RunError>(())
        };
        let pki = args.state.join("pki");
        make(&args.state)?;
        make(&pki)?;
        let store = Arc::new(DurableStore::open(
            StoreSettings {
                retention: Retention {
                    telemetry_bytes: args.telemetry_bytes,
                    entries: Quota {
                        bytes: args.entry_bytes,
                        age_ms: u64::try_from(args.entry_age.as_millis()).unwrap_or(u64::MAX),
                    },
                    ..Retention::default()
                },
                ..StoreSettings::at(place)
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
            checkpoints: Checkpointing {
                key: Some(keys::checkpoint_key(&args.state.join("checkpoints.key"))?),
                every: args.checkpoint_every,
            },
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use clap::Parser as _;
    use hub_core::Hub;

    use super::*;
    use crate::config::{Cli, Command};

    /// A state folder as the first build of version 0.1.0 left it: it has published the starter, knows `edge-7` of `lab`, and has denied it.
    const OLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/older");

    fn args(state: &Path) -> RunArgs {
        let words = ["sentinel-hub", "run", "--state"].map(std::ffi::OsStr::new);
        let words = words.into_iter().chain([state.as_os_str()]);
        match Cli::try_parse_from(words).expect("valid").command {
            Command::Run(args) => *args,
            Command::Store(_) => unreachable!("it says run"),
        }
    }

    /// The database is compressed: most of it is room.
    fn copy(state: &Path) {
        let older = Path::new(OLDER);
        for part in ["store", "pki"] {
            fs::create_dir_all(state.join(part)).expect("room");
        }
        let packed = fs::File::open(older.join("store/hub.redb.gz")).expect("there");
        let mut database = fs::File::create(state.join("store/hub.redb")).expect("room");
        std::io::copy(&mut flate2::read::GzDecoder::new(packed), &mut database).expect("room");
        for entry in fs::read_dir(older.join("pki")).expect("a folder") {
            let entry = entry.expect("an entry");
            fs::copy(entry.path(), state.join("pki").join(entry.file_name())).expect("room");
        }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("there").permissions().mode() & 0o777
    }

    #[test]
    fn a_state_folder_of_a_former_build_is_carried_on() {
        let folder = tempfile::tempdir().expect("a folder");
        copy(folder.path());
        let (done, _completions) = mpsc::channel(8);
        let base =
            Base::open(&args(folder.path()), Place::Folder(folder.path().join("store")), done).expect("it opens");
        let now = crate::clock::Clock::resume(None).now();
        let hub = Hub::new(base.settings, base.recovered, now).expect("every record is read");
        let nodes = hub.nodes(now);
        let node = nodes.first().expect("its node is there");
        assert_eq!((node.name.as_str(), node.site.as_str()), ("edge-7", "lab"));
        assert_eq!(
            node.shut_out.as_deref(),
            Some("denied: stolen from rack 7"),
            "the denial stands"
        );
        assert!(node.stored.0 > 1, "and so do the heads of its chains");
        assert_eq!(hub.policy(now).map(|policy| policy.generation.0), Some(1));
    }

    #[test]
    fn a_folder_that_was_made_by_hand_is_closed_to_others() {
        let folder = tempfile::tempdir().expect("a folder");
        let state = folder.path().join("hub");
        fs::create_dir_all(state.join("pki")).expect("room");
        copy(&state);
        for path in [state.clone(), state.join("pki")] {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("ours");
        }
        let key = state.join("pki/policy.key");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("ours");
        let (done, _completions) = mpsc::channel(8);
        let _base = Base::open(&args(&state), Place::Folder(state.join("store")), done).expect("it opens");
        assert_eq!((mode(&state), mode(&state.join("pki"))), (0o700, 0o700));
        assert_eq!(mode(&key), 0o600);
    }
}

//! Policy for a machine that has never seen a network: a parcel that lies in the state folder until the agent takes it.
//!
//! `sentinel-agent import` holds the parcel against the root pin and puts both into the state folder; the next start gives it to the
//! core, which alone decides, and puts the file aside. Never activates anything itself.
//!
//! Invariant: a pin is written once; another one for the same folder is refused.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use wire::roles::{Pin, RoleChain};
use wire::{Digest, Parcel, SignedBundle, codec};

use crate::identity::{Identity, IdentityError};

const PIN: &str = "root-pin";
const PARCEL: &str = "policy.parcel";

/// Why a parcel cannot be taken in.
#[derive(Debug, thiserror::Error)]
pub enum CarryError {
    /// The disk.
    #[error("cannot {doing} `{}`", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: io::Error,
    },
    /// Torn, or something else.
    #[error("`{}` cannot be used", path.display())]
    Parcel {
        /// Which file.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: wire::parcel::ParcelError,
    },
    /// Neither a parcel nor a signed bundle.
    #[error("`{}` is neither a parcel nor a signed bundle", path.display())]
    Bundle {
        /// Which file.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: codec::DecodeError,
    },
    /// Nothing says whom to trust.
    #[error(
        "this machine has not joined a hub and knows no root pin: give --root-pin, which `sentinel policy verify` prints for \
         whoever made the parcel"
    )]
    NoPin,
    /// Another pin than before.
    #[error(
        "this state folder trusts root pin {known}, not {given}: a machine that changes hands gets a new state folder"
    )]
    OtherPin {
        /// The present one.
        known: Digest,
        /// What was given.
        given: Digest,
    },
    /// The role documents are not the pinned ones.
    #[error("the role documents in `{}` are not trusted here", path.display())]
    Roles {
        /// Which file.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: wire::roles::RoleError,
    },
    /// The bundle is not signed as they demand.
    #[error("the bundle in `{}` is not trusted here", path.display())]
    Signature {
        /// Which file.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: wire::bundle::SignatureError,
    },
    /// An agent has the folder.
    #[error("an agent runs on this state folder: bring it the parcel with `sentinel policy import {} --socket {}`", file.display(), socket.display())]
    Running {
        /// The parcel.
        file: PathBuf,
        /// Where the agent answers.
        socket: PathBuf,
    },
    /// The identity cannot be read.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CarryError {
    let path = path.to_owned();
    move |cause| CarryError::Io { doing, path, cause }
}

/// Whom a machine trusts that has not joined a hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pinned {
    /// Digest of the first role document.
    pub pin: Digest,
    /// The trust domain that it names.
    pub trust_domain: String,
}

impl Pinned {
    /// Reads it; `None`: nothing was imported here.
    pub fn load(state_dir: &Path) -> Option<Self> {
        let text = fs::read_to_string(state_dir.join(PIN)).ok()?;
        let (pin, trust_domain) = text.trim().split_once(' ')?;
        Some(Self {
            pin: pin.parse().ok()?,
            trust_domain: trust_domain.to_owned(),
        })
    }
}

/// Reads a parcel; a bare signed bundle is one too.
pub fn read(path: &Path) -> Result<Parcel, CarryError> {
    let bytes = fs::read(path).map_err(io("read", path))?;
    let path = path.to_owned();
    if Parcel::is_one(&bytes) {
        return Parcel::decode(&bytes).map_err(|cause| CarryError::Parcel { path, cause });
    }
    let bundle: SignedBundle = codec::decode(&bytes).map_err(|cause| CarryError::Bundle { path, cause })?;
    Ok(Parcel {
        bundle: Some(bundle),
        ..Parcel::default()
    })
}

/// The parcel that waits in a state folder.
pub fn waiting(state_dir: &Path) -> Option<PathBuf> {
    Some(state_dir.join(PARCEL)).filter(|path| path.exists())
}

/// Puts a parcel that the core has judged aside, so that the next start does not ask again.
pub fn judged(path: &Path, refused: Option<&str>) {
    let word = match refused {
        None => "taken",
        Some(_) => "refused",
    };
    match refused {
        None => tracing::info!(path = %path.display(), "the carried parcel is in force"),
        Some(reason) => tracing::warn!(path = %path.display(), reason, "the carried parcel is refused"),
    }
    if let Err(error) = fs::rename(path, path.with_extension(word)) {
        tracing::warn!(%error, path = %path.display(), "the carried parcel cannot be put aside; it is judged again at the next start");
    }
}

/// `sentinel-agent import`: returns what was found, for people.
pub fn import(file: &Path, state_dir: &Path, socket: &Path, pin: Option<Digest>) -> Result<String, CarryError> {
    if std::os::unix::net::UnixStream::connect(socket).is_ok() {
        return Err(CarryError::Running {
            file: file.to_owned(),
            socket: socket.to_owned(),
        });
    }
    let parcel = read(file)?;
    let found = match Identity::load(state_dir)? {
        Some(identity) => {
            let pin = Pin::Ring(identity.policy_keys().clone());
            check(file, &parcel, &pin, identity.trust_domain())?
        }
        None => {
            let pinned = pinned(&parcel, state_dir, pin)?;
            let found = check(file, &parcel, &Pin::Document(pinned.pin), &pinned.trust_domain)?;
            wire_files::private_folder(state_dir).map_err(io("make", state_dir))?;
            put(
                &state_dir.join(PIN),
                format!("{} {}\n", pinned.pin, pinned.trust_domain).as_bytes(),
            )?;
            found
        }
    };
    put(&state_dir.join(PARCEL), &parcel.encode())?;
    Ok(found)
}

fn pinned(parcel: &Parcel, state_dir: &Path, given: Option<Digest>) -> Result<Pinned, CarryError> {
    match (Pinned::load(state_dir), given) {
        (Some(known), Some(given)) if known.pin != given => Err(CarryError::OtherPin {
            known: known.pin,
            given,
        }),
        (Some(known), _) => Ok(known),
        (None, Some(pin)) => {
            // The pin is a digest of the document, so it says for which trust domain this machine is.
            let document = parcel.roles.iter().find(|document| document.pin() == pin);
            let domain = document.and_then(|document| document.read().ok());
            Ok(Pinned {
                pin,
                trust_domain: domain.map_or_else(String::new, |roles| roles.trust_domain),
            })
        }
        (None, None) => Err(CarryError::NoPin),
    }
}

fn check(file: &Path, parcel: &Parcel, pin: &Pin, domain: &str) -> Result<String, CarryError> {
    let path = file.to_owned();
    // A hub without role documents signs bundles with the keys of the enrolment themselves.
    let (version, ring) = match (pin, parcel.roles.is_empty()) {
        (Pin::Ring(ring), true) => (0, ring.clone()),
        _ => {
            let chain = RoleChain::open(pin, &parcel.roles, domain);
            let chain = chain.map_err(|cause| CarryError::Roles {
                path: path.clone(),
                cause,
            })?;
            (chain.newest().version, chain.newest().policy.ring.clone())
        }
    };
    let Some(bundle) = &parcel.bundle else {
        return Ok(format!("role document {version}"));
    };
    match bundle.open(&ring, domain) {
        Ok(payload) => Ok(format!("generation {}, role document {version}", payload.generation)),
        Err(cause) => Err(CarryError::Signature { path, cause }),
    }
}

fn put(path: &Path, bytes: &[u8]) -> Result<(), CarryError> {
    wire_files::replace(path, bytes).map_err(io("write", path))
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use ed25519_dalek::SigningKey;
    use wire::Wall;
    use wire::bundle::BundlePayload;
    use wire::ids::Generation;
    use wire::roles::{Role, Roles, SignedRoles};

    use super::*;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_bytes(&[seed; 32])
    }

    fn parcel(signer: u8) -> Parcel {
        let single = |seed| Role::single(key(seed).verifying_key().to_bytes());
        let roles = Roles {
            version: 1,
            trust_domain: "example".to_owned(),
            issued_at: Wall(0),
            root: single(1),
            policy: single(2),
            beacon: single(3),
        };
        let payload = BundlePayload {
            generation: Generation(7),
            trust_domain: "example".to_owned(),
            issued_at: Wall(0),
            text: b"bundle: empty\n".to_vec(),
        };
        Parcel {
            roles: vec![SignedRoles::unsigned(&roles).signed_by(&key(1))],
            bundle: Some(SignedBundle::sign(&payload, &key(signer))),
            beacon: None,
        }
    }

    fn check(folder: &Path, signer: u8, pin: Option<Digest>, expected: Result<&str, &str>) {
        let file = folder.join("carried.parcel");
        fs::write(&file, parcel(signer).encode()).expect("written");
        let state = folder.join("state");
        match (import(&file, &state, &state.join("agent.sock"), pin), expected) {
            (Ok(found), Ok(part)) => assert!(found.contains(part), "{found}"),
            (Err(error), Err(part)) => {
                let cause = error.source().map(ToString::to_string).unwrap_or_default();
                assert!(format!("{error}: {cause}").contains(part), "{error}: {cause}");
            }
            (found, expected) => panic!("{found:?} is not {expected:?}"),
        }
    }

    #[test]
    fn a_machine_without_a_hub_takes_what_its_pin_vouches_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let pin = parcel(2).roles[0].pin();
        check(folder.path(), 2, None, Err("give --root-pin"));
        check(folder.path(), 2, Some(Digest::of(b"x")), Err("not trusted here"));
        check(folder.path(), 9, Some(pin), Err("0 of 1"));
        assert_eq!(
            waiting(&folder.path().join("state")),
            None,
            "nothing of a refused one stays"
        );
        check(folder.path(), 2, Some(pin), Ok("generation 7, role document 1"));
        let state = folder.path().join("state");
        let pinned = Pinned::load(&state).expect("kept");
        assert_eq!((pinned.pin, pinned.trust_domain.as_str()), (pin, "example"));
        // From here on the pin is known, and no other is taken.
        check(folder.path(), 2, None, Ok("generation 7"));
        check(folder.path(), 2, Some(Digest::of(b"x")), Err("trusts root pin"));
        judged(&waiting(&state).expect("it lies there"), None);
        assert_eq!(waiting(&state), None);
    }
}

//! The role documents of this hub, and which of its keys they still name.
//!
//! At the first start root, policy and beacon keys are made here, one each, so that a hub works at once. Whoever wants the root and
//! policy keys elsewhere starts the hub with `--keys` and the folder of `sentinel policy init`, or rotates the roles later and
//! leaves the new policy key elsewhere: then the hub signs nothing but beacons.
//!
//! Invariants: documents are durable before anyone hears of them; the file only ever grows by what follows.
//! Read next: `wire/src/roles.rs` (what a chain is), `hub/core/src/roles.rs` (what is done with it).

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ed25519_dalek::SigningKey;
use wire::parcel::ParcelError;
use wire::roles::{Pin, Role, RoleChain, RoleError, Roles};
use wire::{Parcel, RoleName, SignedRoles};

use super::{KeyError, io, read_key, write_secret};

/// The file with the role documents, here and in a folder of `sentinel policy init`.
const DOCUMENTS: &str = "roles.parcel";

/// Why role documents cannot be read or taken over.
#[derive(Debug, thiserror::Error)]
pub enum RoleFileError {
    /// The file is damaged, or something else.
    #[error("`{path}` holds no role documents: restore it from a backup. Without them agents accept no change of keys")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// How it fails.
        #[source]
        cause: ParcelError,
    },
    /// They are whole and make no chain.
    #[error("the role documents are not accepted")]
    Chain(#[from] RoleError),
    /// They are for somebody else.
    #[error(
        "the role documents in `{path}` are for trust domain `{found}`, this hub is `{expected}`: make them with --trust-domain {expected}"
    )]
    Domain {
        /// The file.
        path: PathBuf,
        /// Whose they are.
        found: String,
        /// Ours.
        expected: String,
    },
    /// This hub has others already.
    #[error(
        "the role documents in `{given}` are not those of this hub, which agents trust already: leave --keys out, or give another --state folder"
    )]
    Others {
        /// The folder that was given.
        given: PathBuf,
    },
    /// The beacon key and the documents do not belong together.
    #[error(
        "`{path}` is not a beacon key of the role documents beside it: give the folder as `sentinel policy init` made it"
    )]
    Beacon {
        /// The key's file.
        path: PathBuf,
    },
    /// The disk.
    #[error(transparent)]
    Key(#[from] Box<KeyError>),
}

/// Takes over the role documents and the beacon key that people made elsewhere; what is there already stays. Blocks.
///
/// A second start with the same folder changes nothing, whatever was signed since.
pub fn take_over(given: &Path, folder: &Path) -> Result<(), RoleFileError> {
    let documents = documents_in(&given.join(DOCUMENTS))?;
    let first = documents.first().ok_or(RoleError::NotPinned)?;
    if folder.join(DOCUMENTS).exists() {
        let own = documents_in(&folder.join(DOCUMENTS))?;
        return match own.first().is_some_and(|own| own.pin() == first.pin()) {
            true => Ok(()),
            false => Err(RoleFileError::Others {
                given: given.to_owned(),
            }),
        };
    }
    let chain = RoleChain::open(&Pin::Document(first.pin()), &documents, &first.read()?.trust_domain)?;
    let path = given.join("beacon.key");
    let missing = || Box::new(io("read", &path)(std::io::ErrorKind::NotFound.into()));
    let beacon = read_key(&path).map_err(Box::new)?.ok_or_else(missing)?;
    if !names(&chain, RoleName::Beacon, &beacon) {
        return Err(RoleFileError::Beacon { path });
    }
    // The documents last: they are what says that all is there.
    write_secret(&folder.join("beacon.key"), &beacon.to_bytes()).map_err(Box::new)?;
    write_documents(&folder.join(DOCUMENTS), &documents)
}

/// The trust domain of the role documents in a folder; `None`: it has none yet. Blocks.
pub fn domain_of(folder: &Path) -> Result<Option<String>, RoleFileError> {
    let path = folder.join(DOCUMENTS);
    if !path.exists() {
        return Ok(None);
    }
    let documents = documents_in(&path)?;
    let first = documents.first().ok_or(RoleError::NotPinned)?;
    Ok(Some(first.read()?.trust_domain))
}

fn documents_in(path: &Path) -> Result<Vec<SignedRoles>, RoleFileError> {
    let bytes = std::fs::read(path).map_err(|cause| Box::new(io("read", path)(cause)))?;
    let parcel = Parcel::decode(&bytes).map_err(|cause| RoleFileError::Damaged {
        path: path.to_owned(),
        cause,
    })?;
    Ok(parcel.roles)
}

fn write_documents(path: &Path, documents: &[SignedRoles]) -> Result<(), RoleFileError> {
    let parcel = Parcel {
        roles: documents.to_vec(),
        ..Parcel::default()
    };
    Ok(write_secret(path, &parcel.encode()).map_err(Box::new)?)
}

/// What the hub signs with, and what says whether it may.
pub struct HubKeys {
    /// Signs bundles, unless that is done elsewhere.
    pub policy: Option<SigningKey>,
    /// Signs beacons.
    pub beacon: Option<SigningKey>,
    /// The trusted documents.
    pub chain: RoleChain,
    /// Where they are kept.
    pub file: RoleFile,
}

/// The role documents on the disk.
#[derive(Debug)]
pub struct RoleFile {
    path: PathBuf,
    one_at_a_time: Mutex<()>,
}

impl HubKeys {
    /// Reads the keys in a folder, or makes them when the store is new. Blocks.
    pub fn open(folder: &Path, trust_domain: &str, store_is_new: bool) -> Result<Self, RoleFileError> {
        let file = RoleFile {
            path: folder.join(DOCUMENTS),
            one_at_a_time: Mutex::new(()),
        };
        let policy_path = folder.join("policy.key");
        if !file.path.exists() {
            let is_older = policy_path.exists();
            let policy = super::policy_key(&policy_path, store_is_new).map_err(Box::new)?;
            file.begin(folder, trust_domain, &policy, is_older)?;
        }
        let chain = file.read(trust_domain)?;
        let policy = file.key_of(RoleName::Policy, &chain)?;
        let beacon = file.key_of(RoleName::Beacon, &chain)?;
        if beacon.is_none() {
            tracing::warn!(
                folder = %folder.display(),
                "no key here has the beacon role: agents' policy ages until the right one is put there as beacon*.key"
            );
        }
        Ok(Self {
            policy,
            beacon,
            chain,
            file,
        })
    }
}

fn names(chain: &RoleChain, role: RoleName, key: &SigningKey) -> bool {
    chain
        .newest()
        .role(role)
        .ring
        .keys
        .contains(key.verifying_key().as_bytes())
}

impl RoleFile {
    /// A file that nobody has written yet, for tests of what only reads it.
    #[cfg(test)]
    pub fn at(path: PathBuf) -> Self {
        Self {
            path,
            one_at_a_time: Mutex::new(()),
        }
    }

    /// Takes over what follows the present documents; durable when it returns. Blocks.
    pub fn extend(&self, documents: &[SignedRoles], trust_domain: &str) -> Result<RoleChain, RoleFileError> {
        let _guard = self.one_at_a_time.lock().unwrap_or_else(PoisonError::into_inner);
        let present = self.read(trust_domain)?;
        let chain = present.follow(documents)?;
        if chain != present {
            self.write(chain.documents())?;
        }
        Ok(chain)
    }

    /// The key of the folder that the newest document gives this role: of the beacon role `beacon.key`, or another `beacon*.key`, so
    /// that a new one can lie beside the present one before it counts; of the policy role `policy*.key`. Blocks.
    pub fn key_of(&self, role: RoleName, chain: &RoleChain) -> Result<Option<SigningKey>, RoleFileError> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let mut files = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(|cause| Box::new(io("list", folder)(cause)))? {
            let path = entry.map_err(|cause| Box::new(io("list", folder)(cause)))?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.starts_with(role.name()) && name.ends_with(".key") {
                files.push(path);
            }
        }
        files.sort();
        if role == RoleName::Beacon {
            // In a folder that is older than the roles one key does both, so that older agents still hear beacons.
            files.push(folder.join("policy.key"));
        }
        for file in files {
            let key = read_key(&file).map_err(Box::new)?;
            if let Some(key) = key.filter(|key| names(chain, role, key)) {
                return Ok(Some(key));
            }
        }
        Ok(None)
    }

    fn read(&self, trust_domain: &str) -> Result<RoleChain, RoleFileError> {
        let documents = documents_in(&self.path)?;
        // The folder is ours: its first document is the one that agents pin.
        let first = documents.first().ok_or(RoleError::NotPinned)?;
        let found = first.read()?.trust_domain;
        if found != trust_domain {
            return Err(RoleFileError::Domain {
                path: self.path.clone(),
                found,
                expected: trust_domain.to_owned(),
            });
        }
        Ok(RoleChain::open(&Pin::Document(first.pin()), &documents, trust_domain)?)
    }

    fn write(&self, documents: &[SignedRoles]) -> Result<(), RoleFileError> {
        write_documents(&self.path, documents)
    }

    /// Makes what is missing, and the first document. `is_older`: agents out there know the policy key and nothing else.
    fn begin(&self, folder: &Path, domain: &str, policy: &SigningKey, is_older: bool) -> Result<(), RoleFileError> {
        let root = super::key_or_new(&folder.join("root.key")).map_err(Box::new)?;
        let beacon = match is_older {
            true => policy.clone(),
            false => super::key_or_new(&folder.join("beacon.key")).map_err(Box::new)?,
        };
        let single = |key: &SigningKey| Role::single(key.verifying_key().to_bytes());
        let first = Roles {
            version: 1,
            trust_domain: domain.to_owned(),
            issued_at: crate::clock::wall(),
            root: single(&root),
            policy: single(policy),
            beacon: single(&beacon),
        };
        let mut document = SignedRoles::unsigned(&first).signed_by(&root);
        if is_older {
            document = document.signed_by(policy);
        }
        self.write(&[document])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn single(seed: u8) -> Role {
        Role::single(SigningKey::from_bytes(&[seed; 32]).verifying_key().to_bytes())
    }

    #[test]
    fn a_new_hub_has_a_key_for_each_role_and_keeps_them() {
        let folder = tempfile::tempdir().expect("a folder");
        let made = HubKeys::open(folder.path(), "example", true).expect("made");
        let again = HubKeys::open(folder.path(), "example", false).expect("kept");
        assert_eq!(again.chain, made.chain);
        let (policy, beacon) = (again.policy.expect("a key"), again.beacon.expect("a key"));
        assert_ne!(policy.to_bytes(), beacon.to_bytes());
        assert!(HubKeys::open(folder.path(), "elsewhere", false).is_err());
    }

    #[test]
    fn a_folder_from_before_roles_goes_on_with_its_one_key() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("policy.key"), [7; 32]).expect("written");
        let keys = HubKeys::open(folder.path(), "example", false).expect("it starts");
        let old = keys.policy.expect("the same key");
        assert_eq!(old.to_bytes(), [7; 32]);
        assert_eq!(keys.beacon.expect("the same key").to_bytes(), [7; 32]);
        // Agents that were enrolled with that key accept the first document.
        let ring = Pin::Ring(wire::bundle::KeyRing::single(old.verifying_key().to_bytes()));
        assert!(RoleChain::open(&ring, keys.chain.documents(), "example").is_ok());
    }

    /// A folder as `sentinel policy init` makes it, with root key 1, policy key 2 and beacon key 3.
    fn made_elsewhere(domain: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        let first = Roles {
            version: 1,
            trust_domain: domain.to_owned(),
            issued_at: wire::Wall(0),
            root: single(1),
            policy: single(2),
            beacon: single(3),
        };
        let document = SignedRoles::unsigned(&first).signed_by(&SigningKey::from_bytes(&[1; 32]));
        write_documents(&folder.path().join(DOCUMENTS), &[document]).expect("written");
        std::fs::write(folder.path().join("beacon.key"), [3; 32]).expect("written");
        folder
    }

    #[test]
    fn keys_that_people_made_are_taken_over_once_with_their_trust_domain() {
        use std::os::unix::fs::PermissionsExt as _;
        let (given, own) = (made_elsewhere("edge.example"), tempfile::tempdir().expect("a folder"));
        assert_eq!(domain_of(own.path()).expect("none yet"), None);
        take_over(given.path(), own.path()).expect("taken");
        take_over(given.path(), own.path()).expect("again is no change");
        assert_eq!(domain_of(own.path()).expect("there").as_deref(), Some("edge.example"));
        let mode = std::fs::metadata(own.path().join("beacon.key"))
            .expect("there")
            .permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
        let keys = HubKeys::open(own.path(), "edge.example", true).expect("it starts");
        assert!(keys.policy.is_none() && keys.beacon.is_some());
        assert!(
            !own.path().join("root.key").exists(),
            "no key was made that nobody trusts"
        );
        // A hub that has keys of its own does not change its mind.
        let other = tempfile::tempdir().expect("a folder");
        HubKeys::open(other.path(), "edge.example", true).expect("made");
        let refused = take_over(given.path(), other.path()).expect_err("others");
        assert!(refused.to_string().contains("leave --keys out"), "{refused}");
        // And a beacon key of somebody else is found at once.
        std::fs::write(given.path().join("beacon.key"), [9; 32]).expect("written");
        let fresh = tempfile::tempdir().expect("a folder");
        let refused = take_over(given.path(), fresh.path()).expect_err("not named");
        assert!(refused.to_string().contains("not a beacon key"), "{refused}");
        assert!(!fresh.path().join("beacon.key").exists());
    }

    #[test]
    fn documents_made_elsewhere_leave_the_hub_its_beacon() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = SigningKey::from_bytes(&[1; 32]);
        let first = Roles {
            version: 1,
            trust_domain: "example".to_owned(),
            issued_at: wire::Wall(0),
            root: single(1),
            policy: single(2),
            beacon: single(3),
        };
        let document = SignedRoles::unsigned(&first).signed_by(&root);
        RoleFile::at(folder.path().join("roles.parcel"))
            .write(&[document])
            .expect("written");
        std::fs::write(folder.path().join("beacon.key"), [3; 32]).expect("written");
        let keys = HubKeys::open(folder.path(), "example", true).expect("it starts");
        assert!(keys.policy.is_none(), "no key was made that nobody trusts");
        assert_eq!(keys.beacon.expect("given").to_bytes(), [3; 32]);
        // What follows is taken over and stays; what does not is refused.
        let next = Roles {
            version: 2,
            policy: single(4),
            ..first
        };
        let next = SignedRoles::unsigned(&next);
        assert!(keys.file.extend(std::slice::from_ref(&next), "example").is_err());
        let extended = keys.file.extend(&[next.signed_by(&root)], "example").expect("signed");
        let keys = HubKeys::open(folder.path(), "example", false).expect("kept");
        assert_eq!(keys.chain, extended);
        // A new beacon key may lie beside the present one before it counts.
        std::fs::write(folder.path().join("beacon-v3-1.key"), [5; 32]).expect("written");
        let beacon = |chain: &RoleChain| {
            keys.file
                .key_of(RoleName::Beacon, chain)
                .expect("keys")
                .map(|key| key.to_bytes())
        };
        assert_eq!(beacon(&extended), Some([3; 32]));
        let third = Roles {
            version: 3,
            beacon: single(5),
            ..extended.newest().clone()
        };
        let third = SignedRoles::unsigned(&third).signed_by(&root);
        let extended = keys.file.extend(&[third], "example").expect("signed");
        assert_eq!(beacon(&extended), Some([5; 32]));
        std::fs::remove_file(folder.path().join("beacon-v3-1.key")).expect("there");
        assert_eq!(beacon(&extended), None);
        // And a policy key that is brought to the hub is one that it signs with, also after a restart.
        std::fs::write(folder.path().join("policy-v2-1.key"), [4; 32]).expect("written");
        let keys = HubKeys::open(folder.path(), "example", false).expect("it starts");
        assert_eq!(keys.policy.map(|key| key.to_bytes()), Some([4; 32]));
    }
}

//! Who may sign what: the root role names the keys of all three roles, and only it can change them.
//!
//! A role document is signed by a threshold of distinct root keys. The next one has the next version and is signed by the root keys
//! of its predecessor and by its own, so that keys can be replaced without anyone visiting the nodes (TUF 5.3). Decides which
//! chain of documents is trusted; never persists, never reads a clock: floors and expiry are the caller's duty.
//!
//! Invariants: a chain only grows, one version at a time; two signatures of one key count once; a role that ends takes authority
//! away and never a rule. Read next: `bundle.rs` (what is signed), `parcel.rs` (how it travels in a file).

use serde::{Deserialize, Serialize};

use crate::bundle::{KeyRing, KeySignature, MAX_SIGNATURES, SignatureError, sign};
use crate::codec;
use crate::ids::Digest;
use crate::time::Wall;

/// Most documents in a chain: a rotation every quarter for 16 years.
pub const MAX_ROLE_DOCUMENTS: usize = 64;
/// Longest role document: three roles of 16 keys need a quarter of it, and a full chain fits into one frame.
pub const MAX_ROLES_BYTES: usize = 8 * 1024;
/// Most keys of one role, as many as one document can have signatures.
pub const MAX_ROLE_KEYS: usize = MAX_SIGNATURES;

const ROLES_PREFIX: &[u8] = b"sentinel roles v1\0";

/// One of the three roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum RoleName {
    /// Signs role documents. Its keys are needed once a year and kept offline.
    Root,
    /// Signs bundles.
    Policy,
    /// Signs beacons, every few seconds: this key is at the hub.
    Beacon,
}

impl RoleName {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Root, Self::Policy, Self::Beacon];

    /// Its name in texts and files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Policy => "policy",
            Self::Beacon => "beacon",
        }
    }
}

/// The keys of one role, and until when they count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Role {
    /// Its keys and how many distinct ones must sign.
    pub ring: KeyRing,
    /// When it ends; `None`: it lasts until a later document says otherwise.
    pub until: Option<Wall>,
}

impl Role {
    /// One key that lasts.
    pub fn single(key: [u8; 32]) -> Self {
        Self {
            ring: KeyRing::single(key),
            until: None,
        }
    }
}

/// What is signed by the root role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roles {
    /// From 1, without gaps.
    pub version: u64,
    /// The trust domain that it is for.
    pub trust_domain: String,
    /// When it was made, by the maker's clock. For people.
    pub issued_at: Wall,
    /// Who signs the next document.
    pub root: Role,
    /// Who signs bundles.
    pub policy: Role,
    /// Who signs beacons.
    pub beacon: Role,
}

impl Roles {
    /// The keys of a role.
    pub fn role(&self, name: RoleName) -> &Role {
        match name {
            RoleName::Root => &self.root,
            RoleName::Policy => &self.policy,
            RoleName::Beacon => &self.beacon,
        }
    }

    /// When a role ends: with the root role at the latest, because nobody vouches for it any more.
    pub fn until(&self, name: RoleName) -> Option<Wall> {
        let own = self.role(name).until;
        own.into_iter().chain(self.root.until).min()
    }

    /// Whether a role has ended.
    pub fn is_over(&self, name: RoleName, at: Wall) -> bool {
        self.until(name).is_some_and(|until| at >= until)
    }

    /// What is wrong with it, whoever signed it.
    pub fn check(&self) -> Result<(), RoleError> {
        for name in RoleName::ALL {
            let ring = &self.role(name).ring;
            let bad = |problem| {
                Err(RoleError::Keys {
                    role: name.name(),
                    problem,
                })
            };
            let mut distinct = ring.keys.clone();
            distinct.sort_unstable();
            distinct.dedup();
            if ring.keys.is_empty() || ring.keys.len() > MAX_ROLE_KEYS {
                return bad("it needs 1 to 16 keys");
            }
            if distinct.len() != ring.keys.len() {
                return bad("one key stands there twice");
            }
            if ring.threshold == 0 || usize::from(ring.threshold) > distinct.len() {
                return bad("its threshold must be from 1 to the number of its keys");
            }
            if !ring.is_usable() {
                return bad("one of its keys is no Ed25519 public key");
            }
        }
        match self.version {
            0 => Err(RoleError::Skipped { found: 0, expected: 1 }),
            _ => Ok(()),
        }
    }
}

/// A role document with its signatures, as it travels and is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedRoles {
    /// Encoded [`Roles`], kept as the bytes that were signed.
    pub payload: Vec<u8>,
    /// Signatures by distinct root keys.
    pub signatures: Vec<KeySignature>,
}

impl SignedRoles {
    /// A document that nobody has signed yet.
    pub fn unsigned(roles: &Roles) -> Self {
        Self {
            payload: codec::encode(roles),
            signatures: Vec::new(),
        }
    }

    /// Adds a key's signature; a second one of the same key changes nothing.
    #[must_use]
    pub fn signed_by(mut self, key: &ed25519_dalek::SigningKey) -> Self {
        let signature = sign(key, ROLES_PREFIX, &self.payload);
        if self.signatures.iter().all(|known| known.key != signature.key) {
            self.signatures.push(signature);
        }
        self
    }

    /// What a node that has never heard of any role is told to trust: the digest of the payload.
    pub fn pin(&self) -> Digest {
        Digest::of(&self.payload)
    }

    /// Reads it without trusting it: bounds, encoding and sense, no signature.
    pub fn read(&self) -> Result<Roles, RoleError> {
        if self.payload.len() > MAX_ROLES_BYTES {
            let what = "a role document of more than 8 KiB";
            return Err(SignatureError::TooLarge { what }.into());
        }
        let roles: Roles = codec::decode(&self.payload).map_err(|cause| SignatureError::Unreadable { cause })?;
        roles.check()?;
        Ok(roles)
    }

    /// Whether a threshold of these keys signed it.
    pub fn verify(&self, ring: &KeyRing) -> Result<(), SignatureError> {
        ring.check(ROLES_PREFIX, &self.payload, &self.signatures)
    }
}

/// What a node trusts before it knows any role document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pin {
    /// The document with this digest.
    Document(Digest),
    /// A document that a threshold of these keys signed: what an enrolled agent was given.
    Ring(KeyRing),
}

/// Why a role document is not accepted. What was trusted before stays trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RoleError {
    /// A signature is missing, or the bytes cannot be read.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// Too few root keys of the document before it signed.
    #[error("role document {version} is not signed by the root keys {of}")]
    NotByRoot {
        /// Which document.
        version: u64,
        /// Whose keys are missing.
        of: &'static str,
        /// How many are.
        #[source]
        cause: SignatureError,
    },
    /// A version is missing in between.
    #[error("role document {found} does not follow: {expected} is next, and each must be there")]
    Skipped {
        /// Its version.
        found: u64,
        /// The next one.
        expected: u64,
    },
    /// All of it is older than what was accepted before.
    #[error("role document {found} is older than {known}, which was accepted before")]
    Older {
        /// Its version.
        found: u64,
        /// The floor.
        known: u64,
    },
    /// Two different documents have one version.
    #[error("another role document {version} than the one that is trusted")]
    Fork {
        /// Which version.
        version: u64,
    },
    /// A role makes no sense.
    #[error("role `{role}`: {problem}")]
    Keys {
        /// Which role.
        role: &'static str,
        /// What is wrong.
        problem: &'static str,
    },
    /// None of the documents is the pinned one.
    #[error("no role document is one that this node was told to trust: give the documents from the pinned one on")]
    NotPinned,
    /// More than [`MAX_ROLE_DOCUMENTS`].
    #[error("more than {MAX_ROLE_DOCUMENTS} role documents")]
    TooMany,
}

/// Role documents that are trusted, each vouched for by the one before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleChain {
    documents: Vec<SignedRoles>,
    newest: Roles,
    policy_since: u64,
    beacon_since: u64,
}

impl RoleChain {
    /// Begins at the first document that the pin vouches for, and follows from there.
    pub fn open(pin: &Pin, documents: &[SignedRoles], trust_domain: &str) -> Result<Self, RoleError> {
        if documents.len() > MAX_ROLE_DOCUMENTS {
            return Err(RoleError::TooMany);
        }
        let vouched = |document: &SignedRoles| match pin {
            Pin::Document(digest) => document.pin() == *digest,
            Pin::Ring(ring) => document.verify(ring).is_ok(),
        };
        let first = documents.iter().position(vouched).ok_or(RoleError::NotPinned)?;
        let (first, rest) = (&documents[first], &documents[first + 1..]);
        let newest = first.read()?;
        same_domain(&newest, trust_domain)?;
        by_root(first, newest.version, &newest.root.ring, "that it names itself")?;
        let chain = Self {
            documents: vec![first.clone()],
            policy_since: 0,
            beacon_since: 0,
            newest,
        };
        chain.follow(rest)
    }

    /// The chain with what follows in `documents`; those that are known are passed over. `self` stands if any is refused.
    pub fn follow(&self, documents: &[SignedRoles]) -> Result<Self, RoleError> {
        let mut chain = self.clone();
        for document in documents {
            chain.step(document)?;
        }
        Ok(chain)
    }

    fn step(&mut self, document: &SignedRoles) -> Result<(), RoleError> {
        let roles = document.read()?;
        same_domain(&roles, &self.newest.trust_domain)?;
        let known = |held: &&SignedRoles| held.read().is_ok_and(|held| held.version == roles.version);
        if let Some(held) = self.documents.iter().find(known) {
            return match held.payload == document.payload {
                true => Ok(()),
                false => Err(RoleError::Fork { version: roles.version }),
            };
        }
        if roles.version < self.newest.version {
            return Ok(());
        }
        let expected = self.newest.version.saturating_add(1);
        if roles.version != expected {
            return Err(RoleError::Skipped {
                found: roles.version,
                expected,
            });
        }
        if self.documents.len() >= MAX_ROLE_DOCUMENTS {
            return Err(RoleError::TooMany);
        }
        by_root(document, roles.version, &self.newest.root.ring, "of the one before it")?;
        by_root(document, roles.version, &roles.root.ring, "that it names itself")?;
        if is_reset(&self.newest.policy.ring, &roles.policy.ring) {
            self.policy_since = roles.version;
        }
        if is_reset(&self.newest.beacon.ring, &roles.beacon.ring) {
            self.beacon_since = roles.version;
        }
        self.documents.push(document.clone());
        self.newest = roles;
        Ok(())
    }

    /// The newest document, which is the one in force.
    pub fn newest(&self) -> &Roles {
        &self.newest
    }

    /// All of them, oldest first.
    pub fn documents(&self) -> &[SignedRoles] {
        &self.documents
    }

    /// The version since which nothing that former policy keys signed can pass: generations count anew from there, so that keys
    /// which were stolen and used to push the generation to its end can be recovered from (fast-forward, TUF 5.3.11). 0 if the
    /// chain shows no such rotation.
    pub fn policy_since(&self) -> u64 {
        self.policy_since
    }

    /// The same for beacon numbers.
    pub fn beacon_since(&self) -> u64 {
        self.beacon_since
    }
}

/// Whether nothing that the old keys alone signed passes under the new ones. Only then may a floor start anew: with enough old
/// keys kept, an old bundle would come back.
fn is_reset(old: &KeyRing, new: &KeyRing) -> bool {
    let kept = new.keys.iter().filter(|key| old.keys.contains(key)).count();
    kept < usize::from(new.threshold.max(1))
}

fn same_domain(roles: &Roles, expected: &str) -> Result<(), RoleError> {
    match roles.trust_domain == expected {
        true => Ok(()),
        false => Err(SignatureError::OtherDomain {
            found: roles.trust_domain.clone(),
            expected: expected.to_owned(),
        }
        .into()),
    }
}

fn by_root(document: &SignedRoles, version: u64, ring: &KeyRing, of: &'static str) -> Result<(), RoleError> {
    document
        .verify(ring)
        .map_err(|cause| RoleError::NotByRoot { version, of, cause })
}

#[cfg(test)]
mod tests;

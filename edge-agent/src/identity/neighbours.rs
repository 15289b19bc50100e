//! The permanent keys of agents among themselves: what this one shows, and those of neighbours that it remembers.
//!
//! A neighbour shows its key in each session, and one whose certificate is good is believed. When the time of its certificate is over,
//! because it was cut off for longer than the certificate lives, it is known by that key alone.
//!
//! Invariant: a key is remembered only as its owner showed it under a good certificate.
//! Read next: `peers/talk.rs` (when it is asked).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use ed25519_dalek::{Signature, Signer as _, VerifyingKey};
use wire::frame::{PEER_KEY_PREFIX, PeerKey};
use wire::ids::AgentId;
use wire::{Digest, codec};

use super::{Identity, IdentityError, folder_in};
use wire_files::replace;

const FILE: &str = "neighbours";
/// Names in the file: the members of a few sites, and those that left them.
const MAX_KEYS: usize = 1_024;

impl Identity {
    /// What this agent shows of itself in a session between agents.
    pub fn peer_key(&self, binding: &[u8; 32]) -> PeerKey {
        PeerKey {
            key: self.node_key.verifying_key().to_bytes(),
            signature: self.node_key.sign(&message(binding, self.agent())).to_bytes().to_vec(),
        }
    }
}

/// Whether the owner of a key is at the other end of that session, under that name.
pub fn is_shown(shown: &PeerKey, binding: &[u8; 32], agent: &AgentId) -> bool {
    let key = VerifyingKey::from_bytes(&shown.key);
    let signature = Signature::from_slice(&shown.signature);
    match (key, signature) {
        (Ok(key), Ok(signature)) => key.verify_strict(&message(binding, agent), &signature).is_ok(),
        _ => false,
    }
}

fn message(binding: &[u8; 32], agent: &AgentId) -> Vec<u8> {
    [PEER_KEY_PREFIX, binding, agent.as_str().as_bytes()].concat()
}

/// Keys of neighbours, in a file beside the identity.
#[derive(Debug)]
pub struct NeighbourKeys {
    path: PathBuf,
    keys: BTreeMap<AgentId, [u8; 32]>,
}

impl NeighbourKeys {
    /// Those that are remembered. A file that is damaged is none: neighbours show their keys again. Blocks on the disk.
    pub fn load(state_dir: &Path) -> Self {
        let path = folder_in(state_dir).join(FILE);
        let keys = fs::read(&path)
            .ok()
            .and_then(|bytes| unseal(&bytes))
            .unwrap_or_default();
        Self { path, keys }
    }

    /// The key of that neighbour.
    pub fn of(&self, agent: &AgentId) -> Option<&[u8; 32]> {
        self.keys.get(agent)
    }

    /// Remembers a key. A neighbour that joined anew has another one, and counts from now on by that. Blocks on the disk if it is news.
    pub fn learn(&mut self, agent: &AgentId, key: [u8; 32]) -> Result<(), IdentityError> {
        let is_known = self.keys.get(agent) == Some(&key);
        if is_known || (self.keys.len() >= MAX_KEYS && !self.keys.contains_key(agent)) {
            return Ok(());
        }
        self.keys.insert(agent.clone(), key);
        replace(&self.path, &seal(&self.keys)).map_err(super::file::io_error("write", &self.path))
    }
}

/// BLAKE3 of the rest, then the rest.
fn seal(keys: &BTreeMap<AgentId, [u8; 32]>) -> Vec<u8> {
    let body = codec::encode(keys);
    let mut bytes = Digest::of(&body).0.to_vec();
    bytes.extend_from_slice(&body);
    bytes
}

fn unseal(bytes: &[u8]) -> Option<BTreeMap<AgentId, [u8; 32]>> {
    let (digest, body) = bytes.split_first_chunk::<32>()?;
    let is_whole = Digest::of(body).0 == *digest;
    codec::decode(body).ok().filter(|_| is_whole)
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;

    use super::*;

    fn name(text: &str) -> AgentId {
        AgentId::new(text).expect("a name")
    }

    fn shown(key: &SigningKey, binding: &[u8; 32], agent: &AgentId) -> PeerKey {
        PeerKey {
            key: key.verifying_key().to_bytes(),
            signature: key.sign(&message(binding, agent)).to_bytes().to_vec(),
        }
    }

    #[test]
    fn a_key_counts_in_its_own_session_under_its_own_name() {
        let (key, agent, binding) = (SigningKey::from_bytes(&[3; 32]), name("edge-03"), [7; 32]);
        let good = shown(&key, &binding, &agent);
        assert!(is_shown(&good, &binding, &agent));
        assert!(!is_shown(&good, &[8; 32], &agent), "of another session");
        assert!(!is_shown(&good, &binding, &name("edge-04")), "under another name");
        let other = SigningKey::from_bytes(&[4; 32]).verifying_key().to_bytes();
        assert!(!is_shown(
            &PeerKey {
                key: other,
                ..good.clone()
            },
            &binding,
            &agent
        ));
        for length in [0, 63, 65] {
            let signature = vec![0; length];
            assert!(!is_shown(
                &PeerKey {
                    signature,
                    ..good.clone()
                },
                &binding,
                &agent
            ));
        }
    }

    #[test]
    fn keys_outlive_the_process_and_a_damaged_file_is_none() {
        let state = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder_in(state.path())).expect("a folder");
        let mut keys = NeighbourKeys::load(state.path());
        keys.learn(&name("edge-03"), [3; 32]).expect("stored");
        keys.learn(&name("edge-04"), [4; 32]).expect("stored");
        keys.learn(&name("edge-03"), [5; 32]).expect("stored");
        let keys = NeighbourKeys::load(state.path());
        assert_eq!(keys.of(&name("edge-03")), Some(&[5; 32]), "it joined anew");
        assert_eq!(keys.of(&name("edge-04")), Some(&[4; 32]));
        let mut bytes = fs::read(&keys.path).expect("a file");
        bytes[40] ^= 1;
        fs::write(&keys.path, bytes).expect("written");
        assert_eq!(NeighbourKeys::load(state.path()).of(&name("edge-04")), None);
    }
}

//! The certificate of a repair: what was run before and after, where, and what came out, signed by the agent.
//!
//! Anybody with the repository at the same base runs it again (`sentinel-patchbot verify-cert`). A certificate proves nothing about
//! code that its check does not look at, and says which files the check was seen to look at.

use ed25519_dalek::{Signature, Signer, SigningKey, Verifier, VerifyingKey};
use serde::{Deserialize, Serialize};

/// Version of the JSON below.
pub const SCHEMA: u32 = 1;

/// How much the sandbox holds back. Names as published to the hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Level {
    /// Nothing is proven: nothing runs.
    L0,
    /// Namespaces, no network, seccomp and limits, every forbidden act tried and blocked.
    L3,
}

/// One changed file of a patch: path, mode, the digest of what was there, and what is there now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Change {
    /// Path in the repository, with `/`.
    pub path: String,
    /// `100644` or `100755`, as git writes it.
    pub mode: String,
    /// Digest of the file before, hexadecimal.
    pub base: String,
    /// The file afterwards. Patches are text: a file that is not UTF-8 is never changed here.
    pub text: String,
}

/// Why a command was run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The failing check, on the tree as it was: must fail.
    Reproduce,
    /// The repair.
    Fix,
    /// The repair once more: must change nothing.
    FixAgain,
    /// The failing check, on the repaired tree: must pass.
    Check,
    /// The failing check with one file as it was: must fail, or the check does not look at it.
    Canary,
    /// Another check that passed before: must still pass.
    Sibling,
}

/// One command that was run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Command {
    /// Why.
    pub phase: Phase,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Folder in the repository, empty for its root.
    pub folder: String,
    /// Exit status.
    pub status: i32,
    /// True when the check found nothing wrong.
    pub passed: bool,
    /// Wall-clock time in milliseconds.
    pub wall_ms: u64,
    /// Digest of what it wrote.
    pub output: String,
    /// The file put back as it was, for a canary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<String>,
}

/// A repair and its proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Certificate {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The task, or empty for a repair by hand.
    pub task: String,
    /// The failure's fingerprint.
    pub fingerprint: String,
    /// Which fixer.
    pub fixer: String,
    /// What it says its version is.
    pub fixer_version: String,
    /// True when the check's silence is judged by what it printed, not by its status.
    pub silent: bool,
    /// Digest of the tree that was repaired.
    pub base_tree: String,
    /// Digest of the repaired tree.
    pub patched_tree: String,
    /// Digest of the patch.
    pub patch: String,
    /// The patch.
    pub files: Vec<Change>,
    /// What was run.
    pub commands: Vec<Command>,
    /// Files that the check was seen to look at.
    pub examined: Vec<String>,
    /// True when every canary was caught.
    pub canary_caught: bool,
    /// Level of the sandbox.
    pub sandbox: Level,
    /// Names the self-test that proved it.
    pub self_test: String,
    /// Network of the sandbox: always `none`.
    pub network: String,
    /// Who signs.
    pub agent: String,
    /// Public key of the agent, hexadecimal.
    pub public_key: String,
    /// Ed25519 over the JSON of all members above with an empty signature, hexadecimal.
    #[serde(default)]
    pub signature: String,
}

impl Certificate {
    /// Signs it.
    pub fn sign(mut self, key: &SigningKey) -> Self {
        self.public_key = hex(key.verifying_key().as_bytes());
        self.signature = String::new();
        self.signature = hex(&key.sign(&self.signed_bytes()).to_bytes());
        self
    }

    fn signed_bytes(&self) -> Vec<u8> {
        let mut unsigned = self.clone();
        unsigned.signature = String::new();
        serde_json::to_vec(&unsigned).expect("plain members only")
    }

    /// Digest of the whole certificate, which pull requests name.
    pub fn digest(&self) -> String {
        blake3::hash(&serde_json::to_vec(self).expect("plain members only"))
            .to_hex()
            .to_string()
    }

    /// What is wrong with it on paper: signature, digests, and the rules that every certificate keeps. Runs nothing.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.schema != SCHEMA {
            problems.push(format!("schema is {}, known here is {SCHEMA}", self.schema));
        }
        if !self.is_signed() {
            problems.push("signature does not fit the public key".to_owned());
        }
        if patch_digest(&self.files) != self.patch {
            problems.push("patch is not the one that was signed".to_owned());
        }
        let ran = |phase| self.commands.iter().filter(move |command| command.phase == phase);
        if !ran(Phase::Reproduce).any(|command| !command.passed) {
            problems.push("the failure was never reproduced".to_owned());
        }
        if !ran(Phase::Check).any(|command| command.passed) {
            problems.push("the check was never seen to pass".to_owned());
        }
        if !self.canary_caught
            || ran(Phase::Canary).next().is_none()
            || ran(Phase::Canary).any(|command| command.passed)
        {
            problems.push("no canary proves that the check looks at the files".to_owned());
        }
        if self.sandbox < Level::L3 {
            problems.push("it did not run at sandbox level 3".to_owned());
        }
        problems
    }

    fn is_signed(&self) -> bool {
        let read = || {
            let key: [u8; 32] = unhex(&self.public_key)?.try_into().ok()?;
            let signature: [u8; 64] = unhex(&self.signature)?.try_into().ok()?;
            Some((VerifyingKey::from_bytes(&key).ok()?, Signature::from_bytes(&signature)))
        };
        read().is_some_and(|(key, signature)| key.verify(&self.signed_bytes(), &signature).is_ok())
    }
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok())
        .collect()
}

/// Names a patch: its paths, modes and texts.
pub fn patch_digest(changes: &[Change]) -> String {
    let mut hasher = blake3::Hasher::new();
    for change in changes {
        for part in [&change.path, &change.mode, &change.base, &change.text] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
    }
    hasher.finalize().to_hex().to_string()
}

//! The messages, as JSON over HTTP. Every path begins with `/agent/v1`; every request carries the remediation token as a bearer.
//!
//! | call | body | answer |
//! |---|---|---|
//! | `POST /register` | [`Registration`] | [`Registered`] |
//! | `POST /lease` | [`LeaseRequest`] | [`Leased`], or 204 when nothing waits |
//! | `POST /tasks/{id}/extend` | [`Extend`] | [`Extended`] |
//! | `GET /tasks/{id}/log`, `GET /tasks/{id}/source` | | bytes: the log, and the tree as a gzipped tar |
//! | `POST /tasks/{id}/propose` | [`Propose`] | [`Proposed`] |
//! | `POST /tasks/{id}/finish` | [`Finish`] | [`Proposed`] |
//!
//! A lease that is not the task's present one is answered with 409 and code `fenced`.

use serde::{Deserialize, Serialize};

use crate::certificate::{Certificate, Level};

/// An agent says who it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Registration {
    /// Its name; several instances may share one.
    pub name: String,
    /// Its version.
    pub version: String,
    /// One process of it, drawn at its start.
    pub instance: String,
    /// Public key of its certificates, hexadecimal.
    pub public_key: String,
    /// Level of its sandbox, as its self-test proved it.
    pub sandbox: Level,
    /// Fixers that it has.
    pub fixers: Vec<String>,
    /// Versions of this contract that it speaks.
    pub protocol: Vec<u32>,
}

/// The hub takes it in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Registered {
    /// Version of the contract to speak.
    pub protocol: u32,
    /// A lease is lost when it is not extended for so long, in milliseconds.
    pub lease_ms: u64,
    /// A task's longest time, in milliseconds.
    pub deadline_ms: u64,
}

/// An agent wants work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LeaseRequest {
    /// Name and instance.
    pub agent: String,
    /// How long to wait for work, in milliseconds, at most 20000.
    #[serde(default)]
    pub wait_ms: u64,
}

/// A task, and the right to work on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Leased {
    /// Task id.
    pub task: String,
    /// The lease.
    pub lease: String,
    /// Its epoch, for fencing.
    pub epoch: u64,
    /// `owner/name`.
    pub repository: String,
    /// The failing commit.
    pub commit: String,
    /// Name of the failing check.
    pub check: String,
    /// The code comes from a fork.
    pub from_fork: bool,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// The repository's owner wants drifted snapshots of tests written anew.
    #[serde(default)]
    pub snapshots: bool,
}

/// Still at it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Extend {
    /// The lease.
    pub lease: String,
    /// Its epoch.
    pub epoch: u64,
    /// What the agent does.
    pub phase: String,
    /// How far, 0 to 1000.
    pub progress: u16,
}

/// The lease goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Extended {
    /// For how long, in milliseconds.
    pub lease_ms: u64,
}

/// A patch with its proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Propose {
    /// The lease.
    pub lease: String,
    /// Its epoch.
    pub epoch: u64,
    /// Category of the failure.
    pub category: String,
    /// The tool that found it.
    pub tool: String,
    /// What the tool says, for people.
    pub message: String,
    /// Patch and proof.
    pub certificate: Certificate,
    /// The files as they were: (path, text), for the gates. The hub compares them with the certificate's digests.
    pub before: Vec<(String, String)>,
}

/// No patch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Finish {
    /// The lease.
    pub lease: String,
    /// Its epoch.
    pub epoch: u64,
    /// Why, a stable code.
    pub code: String,
    /// For people.
    pub reason: String,
    /// Another attempt may succeed.
    #[serde(default)]
    pub retry: bool,
}

/// Where the task stands now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Proposed {
    /// Its state.
    pub state: String,
    /// Codes of the gates that refused the patch.
    #[serde(default)]
    pub codes: Vec<String>,
}

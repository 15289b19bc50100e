//! The contract a remediation agent speaks with the hub, and a client for it.
//!
//! An agent leases a task, reads its source and log through the hub, and hands back a patch with a certificate, or a code that says
//! why there is none. It holds no credential of any forge: the hub judges and publishes. Every write carries the lease and its epoch;
//! an agent that is told that it is fenced must drop the work, because another one has the task.
//!
//! Unknown members are ignored, so that hub and agents may be of different age. `python/sentinel_remediation.py` speaks the same.
//!
//! Read next: `contract.rs` (the messages), `certificate.rs` (the proof), `client.rs`.

pub mod certificate;
pub mod client;
pub mod contract;

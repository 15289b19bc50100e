//! PatchBot, the remediation agent that ships with Sentinel: reads what a failed CI run left behind, says what failed, repairs
//! what tools can repair, and proves the repair by running the failed check again.
//!
//! It holds no secret of any forge and opens no pull request: it hands a patch and a certificate to the hub, which judges and
//! publishes them.
//!
//! Read next: `classify.rs` (from files to one verdict), `repair.rs` (from a failure to a proven patch), `sandbox.rs`.

pub mod agent;
pub mod archive;
pub mod certificate;
pub mod classify;
pub mod den;
pub mod fingerprint;
pub mod fixers;
pub mod keys;
pub mod logs;
pub mod repair;
pub mod sandbox;
pub mod structured;
pub mod verdict;
pub mod workspace;

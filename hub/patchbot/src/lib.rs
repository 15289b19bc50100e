//! PatchBot, the remediation agent that ships with Sentinel: reads what a failed CI run left behind, says what failed, repairs
//! what tools can repair, and proves the repair by running the failed check again.
//!
//! It holds no secret of any forge and opens no pull request: it hands a patch and a certificate to the hub, which judges and
//! publishes them.
//!
//! Read next: `classify.rs` (from files to one verdict), `logs.rs` (text), `structured.rs` (reports that tools write for machines).

pub mod archive;
pub mod classify;
pub mod fingerprint;
pub mod logs;
pub mod structured;
pub mod verdict;

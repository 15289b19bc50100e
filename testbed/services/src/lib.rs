//! Real neighbours for tests and the demo: built once, started on loopback, stopped by pid.
//!
//! Nothing here ships and nothing here decides. A service is built or installed below `target/services` the first time somebody
//! needs it ([`Cache`]), with a line that says what is built and about how long that takes, and is reused from then on. It runs in a
//! folder of its own below `target/services/run`, on ports of its own, and ends when its [`Process`] is dropped or when the program
//! that started it is gone, however that ended.
//!
//! To add a service: a file here that builds with [`GoBuild`] or [`Cache::once`], starts with [`Process::start`] and waits with
//! [`wait_until`]. Read next: `kubernetes.rs` (an example of all of that), `process.rs`, `cache.rs`.

mod cache;
mod ci;
mod error;
mod gitea;
mod go;
mod kafka;
mod kubernetes;
mod openbao;
mod postgres;
mod process;
mod prometheus;
mod run_folder;
mod shop;

pub use cache::Cache;
pub use ci::{Ci, CiRun, PushedRepository};
pub use error::ServiceError;
pub use gitea::{Account, Gitea, forges_file};
pub use go::{GoBuild, go_module_folder};
pub use kafka::{Kafka, Record};
pub use kubernetes::{API_USERS, ControlPlane, KubeApi};
pub use openbao::{MutualTls, OpenBao};
pub use postgres::Postgres;
pub use process::{Process, free_port, wait_until};
pub use prometheus::{Prometheus, Scraped};
pub use run_folder::RunFolder;
pub use shop::{Gateway, Shop};

/// Hears what is going on while a service is made ready: one line of text each.
pub type Progress<'a> = &'a dyn Fn(&str);

/// Prints progress to the standard error output, as tests want it.
pub fn to_stderr(line: &str) {
    eprintln!("{line}");
}

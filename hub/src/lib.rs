//! The hub: sessions with agents, the store, enrolment, the API and the console around the pure core.
//!
//! This crate is the shell: sockets, disks, clocks and signals. What a hub decides is decided in `hub-core`.
//! Read next: `run.rs` (from start to stop), `base.rs` (what a first start makes), `hub.rs` (the turn), `store.rs`, `http.rs`.

pub mod artifacts;
mod base;
pub mod ca;
mod checkpoints;
pub mod clock;
pub mod config;
pub mod consumers;
pub mod deliveries;
pub mod doubts;
pub mod enroll;
pub mod events;
pub mod feed;
pub mod forges;
pub mod http;
mod https;
pub mod hub;
pub mod inframind;
mod kafka;
pub mod keys;
pub mod kube;
pub mod listen;
pub mod metrics;
mod notify;
pub mod orders;
pub mod people;
pub mod publisher;
pub mod quic;
mod reconciler;
pub mod room;
pub mod run;
pub mod secrets;
pub mod store;
pub mod telemetry;
pub mod webhooks;
pub mod workload_metrics;

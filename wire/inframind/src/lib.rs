//! The gRPC contract with InfraMind: package `sentinel.v1`, the original's messages and field numbers with additions.
//!
//! Protobuf types stop at [`convert`]: everything else speaks in words of `wire`. [`client`] is the hub's half towards an InfraMind that it
//! calls, [`server`] its half for brains that call it. Both are bounded: one message is at most [`MAX_MESSAGE_BYTES`], and whoever is slow is
//! waited for by the flow control of HTTP/2, never by a queue that grows.
//!
//! Read next: `proto/sentinel/v1/decision_service.proto` (the contract itself), [`sizing`] (the InfraMind that exists, which speaks no
//! gRPC and sizes builds).

pub mod client;
pub mod convert;
pub mod server;
pub mod sizing;

pub use convert::{Batch, Point, Prediction, Received, Taken};

/// Generated from the contract.
pub mod proto {
    #![allow(missing_docs, clippy::all, rust_2018_idioms)]
    tonic::include_proto!("sentinel.v1");
}

/// Version of the contract that this build speaks.
pub const CONTRACT: u32 = 2;
/// Largest message in bytes, either way: a batch of 1,000 points takes about 100 KiB, a plan of 16 steps less than 32 KiB.
pub const MAX_MESSAGE_BYTES: usize = 1024 * 1024;
/// Most points of one batch. Source: the original adapter's `max_batch_size`.
pub const MAX_POINTS: usize = 1_000;

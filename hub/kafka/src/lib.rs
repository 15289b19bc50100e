//! Events to a Kafka topic: in order per key, none lost, none twice, over crashes of this program and of the brokers.
//!
//! Kafka itself promises no doubles only within the life of one producer. A [`Publisher`] that begins, or whose producer failed, does
//! not know what became of its last records: it then reads the topic from its last acknowledged place to the end, and leaves out what
//! it finds there by id. So its caller may give it everything again from its own last cursor.
//!
//! Kafka's types stop here. Read next: `publisher.rs`.

mod publisher;
mod settings;
mod tail;

pub use publisher::{KafkaError, Message, Publisher};
pub use settings::{Target, Tls};

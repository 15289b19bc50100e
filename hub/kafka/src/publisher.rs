//! The publisher: keeps a producer, knows the last acknowledged place of each partition, and is in doubt after each beginning.
//!
//! Invariants: a message is acknowledged only when every replica in sync has it; a message whose id is in the topic behind the last
//! acknowledged place is not sent again; messages of one key keep their order. At most the messages of one call are on their way.
//!
//! A call that runs out of patience loses nothing: what is on its way stays there, and the next call with the same messages waits on.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use confluent_kafka::common::header::{Headers as _, RecordHeaders};
use confluent_kafka::common::serialization::ByteArraySerializer;
use confluent_kafka::common::{Error, KafkaFuture};
use confluent_kafka::producer::{KafkaProducer, Producer as _, ProducerConfig, ProducerRecord, RecordMetadata};
use tokio::time::{Instant, timeout_at};
use wire::codec;

use crate::settings::{PATIENCE_MS, Target};
use crate::tail::{Offsets, Tail};

/// Time for a producer that failed to close; what it still holds is found in the topic or sent again.
const CLOSING: Duration = Duration::from_secs(1);
/// Header that holds a message's id, as CloudEvents' binding for Kafka names it.
pub const ID_HEADER: &str = "ce_id";

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The same for the same event, whenever it is sent.
    pub id: String,
    /// Messages of one key keep their order.
    pub key: String,
    /// (name, value).
    pub headers: Vec<(String, String)>,
    /// The event.
    pub value: Vec<u8>,
}

/// Why messages are not there yet. All of them can be given again.
#[derive(Debug, thiserror::Error)]
pub enum KafkaError {
    /// The settings are not right.
    #[error("Kafka's client refuses the settings: {0}")]
    Settings(String),
    /// The brokers do not answer, or not all of what is needed.
    #[error("no answer from the brokers within {PATIENCE_MS} ms; what is on its way stays there")]
    Away,
    /// The brokers, or the client, refuse.
    #[error("{0}")]
    Refused(String),
}

impl KafkaError {
    pub(crate) fn of(error: &Error) -> Self {
        match error.is_timeout_error() {
            true => Self::Away,
            false => Self::Refused(error.to_string()),
        }
    }
}

type OnTheWay = KafkaFuture<RecordMetadata>;

/// Sends messages to one topic.
pub struct Publisher {
    target: Target,
    producer: Option<KafkaProducer<Vec<u8>, Vec<u8>>>,
    on_the_way: HashMap<String, OnTheWay>,
    /// Behind the last acknowledged message of each partition; empty before the first one.
    offsets: Offsets,
    /// What the topic holds of ours behind `offsets`; `None` while that is not known.
    found: Option<HashSet<String>>,
}

impl Publisher {
    /// Checks the settings; nothing is sent yet.
    pub fn new(target: Target) -> Result<Self, KafkaError> {
        let refused = |error: Error| KafkaError::Settings(error.to_string());
        ProducerConfig::new(&target.producer()).map_err(refused)?;
        Ok(Self {
            target,
            producer: None,
            on_the_way: HashMap::new(),
            offsets: BTreeMap::new(),
            found: None,
        })
    }

    /// Where the topic's end was when everything up to the caller's cursor was there.
    pub fn position(&self) -> Vec<u8> {
        codec::encode(&self.offsets)
    }

    /// Takes that back.
    pub fn resume(&mut self, position: &[u8]) {
        match codec::decode(position) {
            Ok(offsets) => self.offsets = offsets,
            Err(_) if position.is_empty() => {}
            Err(error) => tracing::warn!(%error, "the place in the topic cannot be read: it begins at the topic's end"),
        }
    }

    /// Finds out what the topic holds. `true`: it is the first time, and the position must be stored before anything is sent.
    pub async fn prepare(&mut self) -> Result<bool, KafkaError> {
        if self.found.is_some() {
            return Ok(false);
        }
        let mut tail = Tail::open(&self.target)?;
        let read = tail.read(&self.offsets).await;
        tail.close().await;
        let (offsets, found) = read?;
        let is_first = self.offsets.is_empty();
        if is_first {
            self.offsets = offsets;
        }
        if !found.is_empty() {
            tracing::info!(
                count = found.len(),
                "events that were sent before are in the topic already"
            );
        }
        self.found = Some(found);
        Ok(is_first)
    }

    /// Sends messages that are not there yet, and returns when all of them are. On an error give the same ones again.
    pub async fn publish(&mut self, messages: &[Message]) -> Result<(), KafkaError> {
        self.prepare().await?;
        let deadline = Instant::now() + Duration::from_millis(PATIENCE_MS);
        let sent = self.send(messages, deadline).await;
        if let Err(KafkaError::Refused(_) | KafkaError::Settings(_)) = &sent {
            self.give_up().await;
        }
        sent
    }

    async fn send(&mut self, messages: &[Message], deadline: Instant) -> Result<(), KafkaError> {
        for message in messages {
            let is_there = self.found.as_ref().is_some_and(|found| found.contains(&message.id));
            if is_there || self.on_the_way.contains_key(&message.id) {
                continue;
            }
            let on_the_way = self.start(message).await?;
            self.on_the_way.insert(message.id.clone(), on_the_way);
        }
        let mut reached = self.offsets.clone();
        for message in messages {
            let Some(on_the_way) = self.on_the_way.get(&message.id) else {
                continue;
            };
            let answer = timeout_at(deadline, on_the_way.get()).await;
            let placed = answer.map_err(|_| KafkaError::Away)?;
            let placed = placed.map_err(|error| KafkaError::Refused(error.to_string()))?;
            let end = reached.entry(placed.partition()).or_default();
            *end = (*end).max(placed.offset() + 1);
        }
        // Only now: a place that was acknowledged alone would hide from the next look what lies before it in another partition's order.
        self.offsets = reached;
        self.on_the_way.clear();
        let found = self.found.get_or_insert_default();
        for message in messages {
            found.remove(&message.id);
        }
        Ok(())
    }

    async fn start(&mut self, message: &Message) -> Result<OnTheWay, KafkaError> {
        let mut headers = RecordHeaders::new();
        let id = [(ID_HEADER.to_owned(), message.id.clone())];
        for (name, value) in id.iter().chain(&message.headers) {
            headers
                .add_with_key_value(name, Some(value.as_bytes()))
                .map_err(|error| KafkaError::Refused(error.to_string()))?;
        }
        let record = ProducerRecord::with_partition_key_headers(
            self.target.topic.clone(),
            None,
            Some(message.key.as_bytes()),
            Some(&message.value[..]),
            headers,
        );
        let record = record.map_err(|error| KafkaError::Refused(error.to_string()))?;
        let producer = self.producer()?;
        producer
            .send(record, None)
            .await
            .map_err(|error| KafkaError::of(&error))
    }

    fn producer(&mut self) -> Result<&KafkaProducer<Vec<u8>, Vec<u8>>, KafkaError> {
        if self.producer.is_none() {
            let refused = |error: Error| KafkaError::Settings(error.to_string());
            let config = ProducerConfig::new(&self.target.producer()).map_err(refused)?;
            let producer = KafkaProducer::new(config, ByteArraySerializer::default(), ByteArraySerializer::default());
            let producer = producer.map_err(refused)?;
            self.producer = Some(producer);
        }
        self.producer.as_ref().ok_or(KafkaError::Away)
    }

    /// The producer failed for good: what became of its records is in doubt, and the next call looks.
    async fn give_up(&mut self) {
        if let Some(producer) = self.producer.take() {
            // It failed already; what it says now changes nothing.
            let _ = producer.close_with_timeout(CLOSING).await;
        }
        self.on_the_way.clear();
        self.found = None;
    }

    /// Ends in an orderly way.
    pub async fn close(mut self) {
        self.give_up().await;
    }
}

//! Reads a topic behind known places to its end, and collects the ids of what is there.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use confluent_kafka::common::header::{Header as _, Headers as _};
use confluent_kafka::common::serialization::ByteArrayDeserializer;
use confluent_kafka::common::{Error, TopicPartition};
use confluent_kafka::consumer::{Consumer as _, ConsumerConfig, KafkaConsumer};
use tokio::time::Instant;

use crate::publisher::{ID_HEADER, KafkaError};
use crate::settings::{PATIENCE_MS, Target};

/// The next place of each partition.
pub type Offsets = BTreeMap<i32, i64>;

/// A reader of a topic's end.
pub struct Tail<'a> {
    target: &'a Target,
    reader: KafkaConsumer<Vec<u8>, Vec<u8>>,
}

impl<'a> Tail<'a> {
    pub fn open(target: &'a Target) -> Result<Self, KafkaError> {
        let refused = |error: Error| KafkaError::Settings(error.to_string());
        let config = ConsumerConfig::new(&target.reader()).map_err(refused)?;
        let reader = KafkaConsumer::new(
            config,
            ByteArrayDeserializer::default(),
            ByteArrayDeserializer::default(),
        );
        let reader = reader.map_err(refused)?;
        Ok(Self { target, reader })
    }

    /// The ends of all partitions, and the ids of what lies behind `known`; of nothing where nothing is known.
    pub async fn read(&mut self, known: &Offsets) -> Result<(Offsets, HashSet<String>), KafkaError> {
        let failed = |error: Error| KafkaError::of(&error);
        let topic = &self.target.topic;
        let partitions = self.reader.partitions_for(topic).await.map_err(failed)?;
        let partitions: Vec<TopicPartition> = partitions
            .iter()
            .map(|info| TopicPartition::new(topic.as_str(), info.partition()))
            .collect();
        if partitions.is_empty() {
            return Err(KafkaError::Refused(format!(
                "there is no topic `{topic}`: create it, or let the brokers create topics"
            )));
        }
        let ends = self.reader.end_offsets(&partitions).await.map_err(failed)?;
        let ends: Offsets = ends.iter().map(|(of, end)| (of.partition(), *end)).collect();
        if known.is_empty() {
            return Ok((ends, HashSet::new()));
        }
        self.reader.assign(partitions.clone()).await.map_err(failed)?;
        for partition in &partitions {
            // A partition that came later is read from its beginning.
            let from = known.get(&partition.partition()).copied().unwrap_or(0);
            let seek = self.reader.seek_with_offset(partition.clone(), from);
            seek.await.map_err(failed)?;
        }
        let found = self.collect(&partitions, &ends).await?;
        Ok((ends, found))
    }

    async fn collect(&mut self, partitions: &[TopicPartition], ends: &Offsets) -> Result<HashSet<String>, KafkaError> {
        let failed = |error: Error| KafkaError::of(&error);
        let mut found = HashSet::new();
        let mut heard = Instant::now();
        loop {
            let mut is_read = true;
            for partition in partitions {
                let at = self.reader.position(partition).await.map_err(failed)?;
                is_read &= ends.get(&partition.partition()).is_none_or(|end| at >= *end);
            }
            if is_read {
                return Ok(found);
            }
            let records = self.reader.poll(Duration::from_millis(200)).await.map_err(failed)?;
            if !records.is_empty() {
                heard = Instant::now();
            }
            for record in &records {
                let id = record
                    .headers()
                    .last_header(ID_HEADER)
                    .and_then(|header| header.value());
                if let Some(Ok(id)) = id.map(std::str::from_utf8) {
                    found.insert(id.to_owned());
                }
            }
            if heard.elapsed() > Duration::from_millis(PATIENCE_MS) {
                return Err(KafkaError::Away);
            }
        }
    }

    pub async fn close(&mut self) {
        // It belongs to no group and holds nothing: an error changes nothing.
        let _ = self.reader.close().await;
    }
}

//! Events to a Kafka topic: the consumer of the order of arrival that gives them to [`hub_kafka`].
//!
//! CloudEvents' binding for Kafka 1.0.2, structured mode: the value is the whole event, and its attributes stand in `ce_` headers too,
//! so that a reader may choose without parsing. The key is the node, so a node's events keep their order.

use std::future::Future;
use std::sync::Arc;

use hub_kafka::{KafkaError, Message, Publisher, Target};
use tokio_util::sync::CancellationToken;

use crate::consumers::{self, Sink, Source};
use crate::events::{CloudEvent, event};
use crate::http::App;
use crate::store::Arrived;

/// Name of the consumer.
const NAME: &str = "kafka";

/// Follows everything that arrives until it is told to stop. The error is about the settings.
pub fn follow(
    target: Target,
    app: &App,
    stop: CancellationToken,
) -> Result<impl Future<Output = ()> + Send + use<>, KafkaError> {
    let link = app.consumers.follower(NAME, &target.to_string());
    let source = Source {
        store: Arc::clone(&app.store),
        arrivals: app.feed.arrivals(),
    };
    let topic = Topic(Publisher::new(target)?);
    Ok(consumers::follow(source, link, topic, stop))
}

struct Topic(Publisher);

impl Sink for Topic {
    async fn prepare(&mut self) -> Result<bool, String> {
        self.0.prepare().await.map_err(|error| error.to_string())
    }

    async fn deliver(&mut self, page: &[Arrived]) -> Result<(), String> {
        // Bytes that are no entry are a hostile agent's, and are told to nobody.
        let messages: Vec<Message> = page.iter().filter_map(message).collect();
        self.0.publish(&messages).await.map_err(|error| error.to_string())
    }

    fn position(&self) -> Vec<u8> {
        self.0.position()
    }

    fn resume(&mut self, position: &[u8]) {
        self.0.resume(position);
    }
}

fn message(arrived: &Arrived) -> Option<Message> {
    let event = event(arrived)?;
    let value = serde_json::to_vec(&event).ok()?;
    let CloudEvent {
        specversion,
        id,
        source,
        kind,
        subject,
        time,
        ..
    } = event;
    let headers = [
        ("content-type", "application/cloudevents+json; charset=UTF-8".to_owned()),
        ("ce_specversion", specversion.to_owned()),
        ("ce_type", kind),
        ("ce_source", source),
        ("ce_subject", subject),
        ("ce_time", time.to_string()),
    ];
    Some(Message {
        id,
        key: arrived.owner.to_string(),
        headers: headers.map(|(name, value)| (name.to_owned(), value)).into(),
        value,
    })
}

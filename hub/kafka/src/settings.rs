//! Where the topic is, and how the client is set up for it.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

/// Longest wait for anything that the caller asks of the brokers in one go: the caller comes again.
pub const PATIENCE_MS: u64 = 10_000;

/// A topic of some brokers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// `HOST:PORT` of some of them, with commas.
    pub brokers: String,
    /// The topic.
    pub topic: String,
    /// Encryption and identity; plain text if there is none.
    pub tls: Option<Tls>,
}

/// PEM texts for mutual TLS.
#[derive(Clone, PartialEq, Eq)]
pub struct Tls {
    /// CA of the brokers.
    pub ca: String,
    /// This client's certificate with its issuers.
    pub certificate: String,
    /// The certificate's key.
    pub key: String,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.brokers, self.topic)
    }
}

impl FromStr for Target {
    type Err = String;

    /// `HOST:PORT[,HOST:PORT…]/TOPIC`.
    fn from_str(text: &str) -> Result<Self, String> {
        let rule = "expected HOST:PORT[,HOST:PORT…]/TOPIC, for example broker-1:9092,broker-2:9092/sentinel.events";
        let (brokers, topic) = text.split_once('/').ok_or(rule)?;
        let is_broker = |broker: &str| {
            let parts = broker.rsplit_once(':');
            parts.is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0))
        };
        if let Some(wrong) = brokers.split(',').find(|broker| !is_broker(broker)) {
            return Err(format!("`{wrong}` is no broker: {rule}"));
        }
        // Kafka's own rule for names of topics.
        let is_topic = (1..=249).contains(&topic.len())
            && topic
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
            && topic != "."
            && topic != "..";
        if !is_topic {
            return Err(format!("`{topic}` is no topic: {rule}"));
        }
        Ok(Self {
            brokers: brokers.to_owned(),
            topic: topic.to_owned(),
            tls: None,
        })
    }
}

impl Target {
    fn common(&self) -> HashMap<String, String> {
        let mut settings = HashMap::new();
        let mut set = |name: &str, value: &str| drop(settings.insert(name.to_owned(), value.to_owned()));
        set("bootstrap.servers", &self.brokers);
        set("client.id", "sentinel-hub");
        // A broker that was away is looked for at once, and then twice a second.
        set("reconnect.backoff.ms", "50");
        set("reconnect.backoff.max.ms", "500");
        if let Some(tls) = &self.tls {
            set("security.protocol", "SSL");
            set("ssl.truststore.type", "PEM");
            set("ssl.truststore.certificates", &tls.ca);
            set("ssl.keystore.type", "PEM");
            set("ssl.keystore.certificate.chain", &tls.certificate);
            set("ssl.keystore.key", &tls.key);
        }
        settings
    }

    /// A producer whose records every replica in sync has, and which never gives one up by itself.
    pub fn producer(&self) -> HashMap<String, String> {
        let mut settings = self.common();
        let mut set = |name: &str, value: &str| drop(settings.insert(name.to_owned(), value.to_owned()));
        set("acks", "all");
        set("enable.idempotence", "true");
        // Giving up would leave in doubt what became of a record: the caller waits, however long the brokers are away.
        set("delivery.timeout.ms", "2147483647");
        set("request.timeout.ms", "10000");
        set("max.block.ms", &PATIENCE_MS.to_string());
        // A page of events goes at once; what comes beside it goes with it.
        set("linger.ms", "2");
        set("compression.type", "zstd");
        settings
    }

    /// A reader of the topic's end that belongs to no group.
    pub fn reader(&self) -> HashMap<String, String> {
        let mut settings = self.common();
        let mut set = |name: &str, value: &str| drop(settings.insert(name.to_owned(), value.to_owned()));
        set("group.protocol", "consumer");
        set("enable.auto.commit", "false");
        set("auto.offset.reset", "earliest");
        set("default.api.timeout.ms", &PATIENCE_MS.to_string());
        settings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_reads_as_it_is_typed() {
        for text in ["localhost:9092/sentinel.events", "a:1,[::1]:2/t"] {
            assert_eq!(text.parse::<Target>().expect("valid").to_string(), text);
        }
        let check = |text: &str, part: &str| {
            let error = text.parse::<Target>().expect_err(text);
            assert!(error.contains(part), "{error}");
        };
        check("localhost:9092", "expected HOST:PORT");
        check("localhost/t", "`localhost` is no broker");
        check("a:1,b:0/t", "`b:0` is no broker");
        check("a:1/a b", "`a b` is no topic");
    }

    #[test]
    fn a_key_is_never_shown() {
        let mut target: Target = "a:1/t".parse().expect("valid");
        target.tls = Some(Tls {
            ca: "c".to_owned(),
            certificate: "c".to_owned(),
            key: "SECRET".to_owned(),
        });
        assert!(!format!("{target:?}{target}").contains("SECRET"));
    }
}

//! What leaves the hub: consumers with how far they are, outgoing webhooks and their deliveries.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::time::Wall;

/// How one consumer of everything that arrives stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ConsumerView {
    /// Its name: `kafka`, `otlp-logs`, `webhook:NAME`.
    pub name: String,
    /// Where what it is sent goes.
    pub target: String,
    /// Whether what is sent arrives; `None` before the first try.
    pub up: Option<bool>,
    /// Entries that are durable here and not there; `None` for one that follows no journal.
    pub lag_entries: Option<u64>,
    /// How long the oldest of them has been durable here.
    pub lag_seconds: Option<f64>,
    /// Entries delivered since the hub started.
    pub delivered: u64,
    /// Tries that failed since the hub started.
    pub failures: u64,
    /// Why the last try failed; `None` after one that did not.
    pub error: Option<String>,
}

/// An outgoing webhook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct WebhookView {
    /// What people call it.
    pub name: String,
    /// Where events go, without the query, which may hold a secret.
    pub url: String,
    /// Which types of events; empty for every one.
    pub types: Vec<String>,
    /// When it was made; events from then on are sent.
    pub created_at: Wall,
    /// How often its secret was replaced, and 1.
    pub secret_version: u32,
    /// Deliveries that came through.
    pub delivered: u64,
    /// Deliveries that wait for another try.
    pub pending: u64,
    /// Deliveries that were given up and are kept.
    pub dead: u64,
    /// Dead letters that had to give way to newer ones.
    pub dropped: u64,
    /// When the next try is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_try: Option<Wall>,
    /// Its secret, as Standard Webhooks writes it: shown when it is made and when it is replaced, and never else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

/// Body of `POST webhooks`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct NewWebhook {
    /// What people call it: 1 to 63 lower-case letters, digits or `-`.
    pub name: String,
    /// Where events go.
    pub url: String,
    /// Which types of events: `dev.sentinel.hub.*` for all that begin so; empty for every one.
    #[serde(default)]
    pub types: Vec<String>,
}

/// Body of `POST webhooks/NAME/resend`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ResendRequest {
    /// Id of an event; all dead letters if there is none.
    #[serde(default)]
    pub event: Option<String>,
}

/// How a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// It came through.
    Delivered,
    /// It waits for another try.
    Pending,
    /// It was given up.
    Dead,
}

impl DeliveryState {
    /// The word in JSON and text.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Pending => "pending",
            Self::Dead => "dead",
        }
    }
}

/// One event on its way to one webhook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DeliveryView {
    /// Id of the event, which is the delivery's `webhook-id` too.
    pub event: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// How it stands.
    pub state: DeliveryState,
    /// Tries so far.
    pub attempts: u32,
    /// When it was last tried.
    pub at: Wall,
    /// Status of the last answer; `None` if there was none.
    pub status: Option<u16>,
    /// Why it failed; empty if it did not.
    pub error: String,
    /// When it is tried again.
    pub next_try: Option<Wall>,
}

/// The newest that a workload told of one series by OTLP.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct WorkloadMetricView {
    /// Its name.
    pub metric: String,
    /// Its unit, in UCUM; empty where the workload named none.
    pub unit: String,
    /// `gauge`, `counter` or `histogram`.
    pub kind: String,
    /// Its labels, those of its resource with them.
    pub labels: BTreeMap<String, String>,
    /// When it was told.
    pub at: Wall,
    /// The value of a gauge, what was added to a counter, the mean of what was measured.
    pub value: f64,
}

//! The words of `sentinel webhook`.

use clap::Subcommand;

/// What to do with outgoing webhooks.
#[derive(Debug, Subcommand)]
pub enum Webhook {
    /// Where events are sent, and how that stands
    List,
    /// Send events somewhere from now on, and print the secret that signs them once
    Add {
        /// What to call it
        name: String,
        /// Where to: https://HOST/PATH
        url: String,
        /// Only events of these types, for example 'dev.sentinel.hub.*'; every one if absent
        #[arg(long = "type", value_name = "TYPE", value_delimiter = ',')]
        types: Vec<String>,
    },
    /// Send nothing there any more
    Remove {
        /// Its name
        name: String,
    },
    /// Sign with another secret from now on, and print it once; the former one signs beside it until the next time
    Rotate {
        /// Its name
        name: String,
    },
    /// What waits, what was given up, and what came through lately
    Deliveries {
        /// Its name
        name: String,
    },
    /// Send what was given up again
    Resend {
        /// Its name
        name: String,
        /// Only this event; everything that was given up if absent
        event: Option<String>,
    },
}

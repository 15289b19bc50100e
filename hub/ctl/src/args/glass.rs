//! The words of `sentinel policy break-glass`: two people open what rules hold back, for hours.

use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;
use wire::{AgentId, DeviceId};

use super::words::{not_empty, open_span};

/// What is done with a break-glass token.
#[derive(Debug, Subcommand)]
pub enum BreakGlass {
    /// Write a token with the first person's signature; it counts down from here on
    Make(Make),
    /// Add the second person's signature to a token
    Approve {
        /// The token
        file: PathBuf,
        /// The key file of whoever approves: another one than those that have signed
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// Role documents that the key is held against: a parcel; roles.parcel beside the key if absent
        #[arg(long, value_name = "FILE")]
        roles: Option<PathBuf>,
    },
    /// Say what a token opens, who signed it, and whether that is enough; ends with 1 if it is not
    Show {
        /// The token
        file: PathBuf,
        /// Role documents to hold the signatures against: a parcel; without, they are only counted
        #[arg(long, value_name = "FILE")]
        roles: Option<PathBuf>,
    },
    /// Bring a token to a node over its own socket, or have the hub send it to the nodes that it names
    Open {
        /// The token
        file: PathBuf,
        /// A node of the context
        #[arg(long)]
        node: Option<AgentId>,
    },
    /// Close what is open on a node before its time; the token is used up
    Close {
        /// A node of the context; not needed with --socket, or with --local on the node itself
        #[arg(long)]
        node: Option<AgentId>,
        /// Why; it is journaled
        #[arg(long, value_name = "TEXT", value_parser = not_empty)]
        reason: String,
    },
}

impl BreakGlass {
    /// Whether it needs neither hub nor context.
    pub fn is_offline(&self) -> bool {
        match self {
            Self::Make(_) | Self::Approve { .. } | Self::Show { .. } => true,
            Self::Open { .. } | Self::Close { .. } => false,
        }
    }
}

#[derive(Debug, clap::Args)]
pub struct Make {
    /// A node that it is for; several may be given
    #[arg(long, required_unless_present = "all_nodes", conflicts_with = "all_nodes")]
    pub node: Vec<AgentId>,
    /// It is for every node of the trust domain
    #[arg(long)]
    pub all_nodes: bool,
    /// A kind of action that it is for, for example restart; several may be given
    #[arg(long, required = true)]
    pub kind: Vec<String>,
    /// A device or a class of devices that it is for, for example workload:train or gpu; all if absent
    #[arg(long)]
    pub target: Vec<DeviceId>,
    /// How long it is open, for example 1h; at most 4h
    #[arg(long = "for", value_name = "SPAN", value_parser = open_span)]
    pub open_for: Duration,
    /// Why; it is journaled on every node that opens it
    #[arg(long, value_name = "TEXT", value_parser = not_empty)]
    pub reason: String,
    /// The key file of the first person: a policy key
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
    /// The token's number, above every earlier one; the milliseconds since 1970 if absent
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub number: Option<u64>,
    /// Role documents that say the trust domain, and that the key is held against; roles.parcel beside the key if absent
    #[arg(long, value_name = "FILE")]
    pub roles: Option<PathBuf>,
    /// The trust domain, where no role documents say it
    #[arg(long, value_name = "NAME", conflicts_with = "roles")]
    pub trust_domain: Option<String>,
    /// The file to write; it must not be there yet
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

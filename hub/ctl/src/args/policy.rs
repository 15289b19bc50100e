//! The words of `sentinel policy`: what is done with a bundle before, while and after it is signed.
//!
//! All but `publish`, `export`, `import`, `simulate --since` and `break-glass open` and `close` work with no hub and no context.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Subcommand, ValueEnum};
use wire::{AgentId, Digest, RoleName, Wall};

use super::glass::BreakGlass;
use super::words::span;

const DECIDE_HELP: &str = "\
Each input line is a JSON object; every field but `at` and `action.kind` may be left out:
  at                       RFC 3339; lines are in order of time, one that goes back ends the run
  action.kind              a kind of action, for example power_cap or scale
  action.targets           devices or resources, one or several; all run or none
  action.params            {\"to\": \"220 W\"} or {\"replicas\": 3}
  action.source            reflex, brain (default), human, hub, autoscaler or local
  action.labels            {name: value} of the targets
  action.cost_delta_micros_per_h, .p95_ms, .rollback_ms, .resources
                           what the change costs, how long it takes, how long its way back takes, what it uses
  action.reversible, .disruptive, .class
                           accepted and not believed: they follow from the kind
  facts                    observed numbers by name, kept for later lines; null forgets one
  policy_age_ms            age of the policy, for the authority ladder
  clock_wrong              the wall clock is known to be wrong
  clock_unknown            nobody knows how far it is off
  clock_error_ms           by how much it may be off; all three are kept for later lines
  dry_run                  count nothing
  under_way                the action stays under way until an `end` line
  break_glass              a verified token, open from here on: {\"approvers\", \"kinds\", \"until\"}; null closes it
  end                      instead of action: {\"kind\": …, \"target\": …, \"failed\": false}

Each output line (-o jsonl):
  verdict                  allow, clamp, hold, require_approval or deny
  determining, shadow      every comparison that did not pass, of enforcing and of shadow rules, each with
                           rule, kind, verdict, observed, limit, unit, window, what, counterfactual
  hold_until               RFC 3339, or null
  clamp                    {value, unit} that may run instead, or null
  valid_until              RFC 3339, or null if nothing runs
An `end` line yields {\"ended\": kind}. A line that cannot be read ends the run with status 2 and its place.
With --exit-code the run ends with status 4 if anything was denied.";

/// What is done with policy.
#[derive(Debug, Subcommand)]
pub enum Policy {
    /// Write a commented bundle with cases, and make the keys of all three roles
    Init(Init),
    /// Say what is wrong with bundles, with line, column and field
    Check {
        /// The bundles; - is standard input
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Run case files on a bundle: a timeline in, expected decisions out
    Test {
        /// Case files, or folders with files *.yaml and *.yml
        #[arg(required = true)]
        cases: Vec<PathBuf>,
        /// The bundle, for case files that bring none of their own
        #[arg(long, value_name = "FILE")]
        bundle: Option<PathBuf>,
    },
    /// Decide actions of a JSONL stream by a bundle; its state is carried from line to line
    #[command(after_help = DECIDE_HELP)]
    Decide {
        /// The bundle: its text, or a parcel
        #[arg(long, value_name = "FILE")]
        bundle: PathBuf,
        /// The questions; - is standard input
        #[arg(long, value_name = "FILE", default_value = "-")]
        input: PathBuf,
        /// End with status 4 if anything was denied, for gates
        #[arg(long)]
        exit_code: bool,
    },
    /// Say what a kind of rule does, with all its fields; without a name, list the kinds
    Explain {
        /// The kind, for example change_freeze; or quantities, indicators, meters, reflexes, relapses
        kind: Option<String>,
    },
    /// List what changes from one bundle to another
    Diff {
        /// The bundle as it is
        old: PathBuf,
        /// The bundle as it shall be
        new: PathBuf,
    },
    /// Print the JSON Schema of a bundle, for editors
    Schema,
    /// Sign a bundle into a parcel, or add a signature to a parcel
    Sign(Sign),
    /// Say who signed a parcel, and whether that is enough
    Verify {
        /// The parcel
        file: PathBuf,
        /// Role documents to hold it against: a parcel; its own if absent
        #[arg(long, value_name = "FILE")]
        roles: Option<PathBuf>,
        /// The root pin that nodes were given: 64 hex digits
        #[arg(long, value_name = "PIN")]
        root_pin: Option<Digest>,
    },
    /// Send a bundle to every node, and wait until they have it. The hub signs a text; a parcel must be signed already
    Publish {
        /// The bundle: its text, or a parcel
        #[arg(required_unless_present = "starter", conflicts_with = "starter")]
        file: Option<PathBuf>,
        /// The bundle to begin with, which is built in and which `policy init` writes
        #[arg(long)]
        starter: bool,
        /// For which nodes to wait
        #[arg(long, value_enum, default_value = "all")]
        wait: WaitFor,
    },
    /// Publish the text of an earlier generation again, as a new one: nodes never go back to a lower number
    Rollback {
        /// The generation, as `get policies` lists it
        generation: u64,
        /// For which nodes to wait
        #[arg(long, value_enum, default_value = "all")]
        wait: WaitFor,
    },
    /// Write role documents, active bundle and beacon into one file, for nodes that no network reaches
    Export {
        /// The file to write
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// From this node's own socket, not from the hub
        #[arg(long)]
        node: Option<AgentId>,
    },
    /// Bring a parcel to a node over its own socket; the node accepts it as if the hub had sent it
    Import {
        /// The parcel
        file: PathBuf,
        /// A node of the context; not needed with --socket, or with --local on the node itself
        #[arg(long)]
        node: Option<AgentId>,
    },
    /// Open what rules hold back, with a token of two people, for hours
    BreakGlass {
        #[command(subcommand)]
        what: BreakGlass,
    },
    /// List what a draft would have decided otherwise: of the hub's stored decisions, or of a JSONL of questions
    Simulate(Simulate),
    /// Show or change who may sign
    Keys {
        #[command(subcommand)]
        what: Keys,
    },
}

impl Policy {
    /// Whether it needs neither hub nor context.
    pub fn is_offline(&self) -> bool {
        match self {
            Self::Publish { .. } | Self::Rollback { .. } | Self::Export { .. } | Self::Import { .. } => false,
            Self::Simulate(simulate) => simulate.since.is_none(),
            Self::BreakGlass { what } => what.is_offline(),
            _ => true,
        }
    }
}

#[derive(Debug, clap::Args)]
pub struct Init {
    /// The bundle to write; its cases go beside it
    #[arg(default_value = "policy.yaml")]
    pub bundle: PathBuf,
    /// The folder for keys and role documents
    #[arg(long, value_name = "DIR", default_value = "keys")]
    pub keys: PathBuf,
    /// The trust domain that they are for: the hub's --trust-domain
    #[arg(long, value_name = "NAME", default_value = "sentinel.internal")]
    pub trust_domain: String,
    /// How many root keys and how many policy keys to make
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=16))]
    pub signers: u8,
    /// How many of them must sign
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=16))]
    pub threshold: u8,
}

#[derive(Debug, clap::Args)]
pub struct Sign {
    /// A bundle's text, or a parcel that lacks signatures
    pub file: PathBuf,
    /// A key file; several sign one after the other
    #[arg(long, value_name = "FILE", required = true)]
    pub key: Vec<PathBuf>,
    /// Role documents to put into the parcel, and to hold the keys against
    #[arg(long, value_name = "FILE")]
    pub roles: Option<PathBuf>,
    /// The trust domain; that of the role documents, here or in roles.parcel beside the key, if absent
    #[arg(long, value_name = "NAME")]
    pub trust_domain: Option<String>,
    /// The bundle's number, above every earlier one; the seconds since 1970 if absent
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub generation: Option<u64>,
    /// The parcel to write; a text's name with .parcel, or the parcel itself, if absent
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub struct Simulate {
    /// The draft: its text, or a parcel
    #[arg(long, value_name = "FILE")]
    pub bundle: PathBuf,
    /// Replay what the hub stored of this span, for example 7d
    #[arg(long, value_name = "SPAN", value_parser = span, required_unless_present = "input", conflicts_with = "input")]
    pub since: Option<Duration>,
    /// Replay questions as of `decide`; - is standard input
    #[arg(long, value_name = "FILE", requires = "old")]
    pub input: Option<PathBuf>,
    /// The bundle that the draft is compared with
    #[arg(long, value_name = "FILE", conflicts_with = "since")]
    pub old: Option<PathBuf>,
}

/// What is done with keys.
#[derive(Debug, Subcommand)]
pub enum Keys {
    /// List the roles of a parcel: keys, threshold, end
    List {
        /// The parcel, for example keys/roles.parcel
        file: PathBuf,
    },
    /// Make new keys for a role, and the role document that names them
    Rotate(Rotate),
}

#[derive(Debug, clap::Args)]
pub struct Rotate {
    /// Which role
    #[arg(value_enum)]
    pub role: RoleArg,
    /// The parcel with the role documents; the next one is added to it
    #[arg(long, value_name = "FILE", default_value = "keys/roles.parcel")]
    pub roles: PathBuf,
    /// A root key that is in force; others sign later with `policy sign`
    #[arg(long, value_name = "FILE", required = true)]
    pub root_key: Vec<PathBuf>,
    /// The folder for the new keys
    #[arg(long, value_name = "DIR", default_value = "keys")]
    pub keys: PathBuf,
    /// How many keys to make; as many as the role has if absent
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=16))]
    pub signers: Option<u8>,
    /// How many of them must sign; as many as today if absent
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=16))]
    pub threshold: Option<u8>,
    /// When the role ends, RFC 3339; it lasts if absent
    #[arg(long, value_name = "TIME")]
    pub until: Option<Wall>,
}

/// A role, as it is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RoleArg {
    /// Signs role documents
    Root,
    /// Signs bundles
    Policy,
    /// Signs beacons
    Beacon,
}

impl From<RoleArg> for RoleName {
    fn from(role: RoleArg) -> Self {
        match role {
            RoleArg::Root => Self::Root,
            RoleArg::Policy => Self::Policy,
            RoleArg::Beacon => Self::Beacon,
        }
    }
}

/// For which nodes to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum WaitFor {
    /// Every node
    All,
    /// Every node that has a session with the hub
    Connected,
    /// None
    None,
}

//! Words of `plan`: what is submitted, and what is said to a plan that is there.

use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;
use wire::api::BuildSize;
use wire::{DecisionId, PlanId};

use super::Target;
use super::words::{build_size, effect, not_empty, parameter, span, target};

#[derive(Debug, Subcommand)]
pub enum Plan {
    /// Send a plan: one step on the command line, or several from a JSON file
    Submit(Box<Submit>),
    /// List plans, newest first
    List {
        /// Only those in this state, for example held or awaiting_approval
        #[arg(long)]
        state: Option<String>,
        /// Most rows
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
        limit: u32,
    },
    /// Everything about one plan: its steps, what was expected and what was seen
    Show {
        /// Which
        #[arg(value_parser = plan_id)]
        id: PlanId,
    },
    /// Agree to a plan that waits for a person
    Approve {
        /// Which
        #[arg(value_parser = plan_id)]
        id: PlanId,
    },
    /// Do not agree to it
    Deny(Said),
    /// Call it off; what is done and can be taken back is
    Cancel(Said),
    /// Do the same again as a new plan
    Retry {
        /// Which; it must be over
        #[arg(value_parser = plan_id)]
        id: PlanId,
    },
    /// What policy would say of each step now; the plan stays as it is
    Shadow {
        /// Which
        #[arg(value_parser = plan_id)]
        id: PlanId,
    },
}

/// What is said of brains.
#[derive(Debug, Subcommand)]
pub enum BrainVerb {
    /// Set the tier that a brain has for a verb, up or down
    Grant {
        /// Its name, for example embedded
        brain: String,
        /// What it wants done, for example power_cap
        verb: String,
        /// T0 shadow, T1 advise, T2 bounded (up to medium risk without a person, within one site), T3 full
        #[arg(value_parser = ["T0", "T1", "T2", "T3"], ignore_case = true)]
        tier: String,
        /// Why; it is journaled
        #[arg(long, value_parser = not_empty)]
        reason: String,
    },
    /// Ask the InfraMind that sizes builds how large a build should be
    Size(Box<Size>),
    /// Tell it of a build that ran
    Ran {
        /// The run as the API takes it, in JSON
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

#[derive(Debug, clap::Args)]
pub struct Size {
    /// Which pipeline, for example "acme/shop test"
    #[arg(value_parser = not_empty)]
    pub pipeline: String,
    /// What builds it, for example cargo
    #[arg(long, default_value = "")]
    pub tool: String,
    /// The size of its last run that went well: at once, cores, GiB; for example 4,4,8
    #[arg(long, value_name = "N,CPUS,GIB", value_parser = build_size)]
    pub last: Option<BuildSize>,
    /// The most memory that any step of it used, in MiB
    #[arg(long, value_name = "MIB")]
    pub peak_memory: Option<u32>,
    /// How many steps it has
    #[arg(long, value_name = "N")]
    pub steps: Option<u32>,
    /// How long a step of it takes on average
    #[arg(long, value_name = "SPAN", value_parser = span)]
    pub step: Option<Duration>,
    /// No more than this at once
    #[arg(long, value_name = "N")]
    pub most_concurrency: Option<u32>,
    /// No less memory than this, in GiB
    #[arg(long, value_name = "GIB")]
    pub least_memory: Option<u32>,
}

#[derive(Debug, clap::Args)]
pub struct Said {
    /// Which
    #[arg(value_parser = plan_id)]
    pub id: PlanId,
    /// Why; it is journaled
    #[arg(long, value_parser = not_empty)]
    pub reason: String,
}

#[derive(Debug, clap::Args)]
pub struct Submit {
    /// What it is done to: NODE or NODE/DEVICE, for example edge-03/gpu0
    #[arg(value_parser = target, required_unless_present = "file", conflicts_with = "file")]
    pub target: Option<Target>,
    /// What to do: power_cap, release_power_cap, throttle, unthrottle, restart or notify
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    pub verb: Option<String>,
    /// Its parameters, for example "to=280 W"
    #[arg(value_name = "K=V", value_parser = parameter, conflicts_with = "file")]
    pub params: Vec<(String, String)>,
    /// A plan as the API takes it, in JSON
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Why you want it; it is journaled
    #[arg(long, value_parser = not_empty, required_unless_present = "file", conflicts_with = "file")]
    pub reason: Option<String>,
    /// What should come of it, QUANTITY:DELTA:SPAN in the quantity's unit; it is taken back if it does not. Example:
    /// gpu.temperature:-5000:2m
    #[arg(long, value_name = "EFFECT", value_parser = effect, conflicts_with = "file", allow_hyphen_values = true)]
    pub expect: Option<wire::api::EffectView>,
    /// How long it may wait before it begins: 1m to 1h
    #[arg(long, value_name = "SPAN", value_parser = span, conflicts_with = "file")]
    pub ttl: Option<Duration>,
    /// Your own id of it: sent again, it is the same plan
    #[arg(long, conflicts_with = "file")]
    pub key: Option<String>,
}

/// What `why` explains: a decision of a node, or a plan; a task's id looks like a plan's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    Decision(DecisionId),
    Plan(PlanId),
}

/// A decision's id, or a plan's.
pub fn subject(text: &str) -> Result<Subject, String> {
    if let Ok(id) = plan_id(text) {
        return Ok(Subject::Plan(id));
    }
    let id = text.parse().map_err(|error: wire::ids::IdError| {
        format!("{error}; the id of a plan or a task is 32 digits of 0-9 and a-f")
    });
    id.map(Subject::Decision)
}

/// A plan's id, with or without the dashes of a UUID.
pub fn plan_id(text: &str) -> Result<PlanId, String> {
    let digits = text.replace('-', "");
    digits.parse().map_err(|error: wire::ids::IdError| error.to_string())
}

//! Every verb, its words and their help.
//!
//! Invariant: whatever parses here names something that exists in `verbs/`; grammar that can be checked without a hub is
//! checked here, so that a typing error never reaches a fleet.

mod access;
mod glass;
mod kube;
mod plan;
mod policy;
mod profile;
mod webhook;
mod words;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use clap_complete::ArgValueCompleter;
use wire::kube::DeploymentRef;
use wire::reading::DeviceId;
use wire::{AgentId, CommandId, DecisionId, Wall};

pub use self::access::{Access, ApiToken, Audit, AuditList, Login, User};
pub use self::glass::{BreakGlass, Make};
pub use self::kube::{
    ClusterVerb, Demanded, ExplainPlacement, PlacementVerb, RolloutVerb, ScalingVerb, SetScaling, StartRollout,
    ToldRollout,
};
pub use self::plan::{BrainVerb, Plan, Said, Size, Subject, Submit};
pub use self::policy::{Init, Keys, Policy, Rotate, Sign, Simulate, WaitFor};
pub use self::profile::Profile;
pub use self::webhook::Webhook;
use self::words::{not_empty, parameter, since, span, target, victim};
use crate::choice::{Field, Selector};
use crate::complete;

const EXIT_STATUSES: &str = "Exit status: 0 ok, 1 failure, 2 usage, 3 not found, 4 denied by policy, 5 conflict, \
6 hub or node unreachable, 7 wait timed out, 8 degraded.\n\
Context: --context, SENTINEL_CONTEXT, the running demo, ~/.config/sentinel/context.json, the hub of this machine \
(/var/lib/sentinel-hub/admin.json), in this order. A node needs none on its own machine: --local.";

/// The command line of Sentinel, for a hub and for a node's own socket.
#[derive(Debug, Parser)]
#[command(name = "sentinel", version, about, after_help = EXIT_STATUSES, arg_required_else_help = true)]
pub struct Args {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub verb: Verb,
}

/// Options that every verb has.
#[derive(Debug, clap::Args)]
pub struct Global {
    /// Where the hub and the nodes are, and with which token: a JSON file, mode 0600
    #[arg(long, global = true, env = "SENTINEL_CONTEXT", value_name = "FILE")]
    pub context: Option<PathBuf>,
    /// How to print
    #[arg(
        short,
        long,
        global = true,
        value_enum,
        default_value = "table",
        hide_possible_values = false
    )]
    pub output: Format,
    /// Ask nodes on their own sockets, without the hub: those of the context, else the agent of this machine
    #[arg(long, global = true)]
    pub local: bool,
    /// Ask the node at this socket; no context is needed
    #[arg(long, global = true, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Longest wait for an answer or an outcome, for example 500ms, 30s or 5m
    #[arg(long, global = true, value_name = "SPAN", value_parser = span)]
    pub timeout: Option<Duration>,
}

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Aligned columns for people
    Table,
    /// More columns
    Wide,
    /// One JSON document; lists are {"items":[…]}
    Json,
    /// One JSON object on each line, as soon as it is known
    Jsonl,
    /// YAML
    Yaml,
    /// Names only, one on each line
    Name,
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// List nodes, decisions, entries or policies
    Get(Get),
    /// Everything about one node
    Describe {
        #[command(subcommand)]
        what: Describe,
    },
    /// Why a decision, a plan or a task is as it is: every clause with its value and limit
    Why(Why),
    /// Recompute a decision from the journal alone
    Replay(Replay),
    /// Compare each node's journal with the hub's store
    Verify(Verify),
    /// Ask a node for an action; the node has the last word
    Act(Act),
    /// Write, check, test, sign, publish and carry bundles
    Policy {
        #[command(subcommand)]
        what: Policy,
    },
    /// What is known of devices' models: limits, each with its source
    Profile {
        #[command(subcommand)]
        what: Profile,
    },
    /// Send plans, see what becomes of them, approve them or call them off
    Plan {
        #[command(subcommand)]
        what: Plan,
    },
    /// Set how much a brain may do without a person (`get brains` shows what each has earned), or ask one for the size of a build
    Brain {
        #[command(subcommand)]
        what: BrainVerb,
    },
    /// Veto all but protective actions on a node
    Hold(Reasoned),
    /// Take a hold back
    Release(Reasoned),
    /// Wait for what comes of a command that its node has not carried out yet
    Wait {
        /// Its id, as `act`, `hold` and `release` print it
        command: CommandId,
    },
    /// Call a command off that its node has not decided yet
    Cancel {
        /// Its id, as `act`, `hold` and `release` print it
        command: CommandId,
        /// Why; it is journaled
        #[arg(long, value_parser = not_empty)]
        reason: String,
    },
    /// Failed checks that became tasks: show, cancel, try again
    Task {
        #[command(subcommand)]
        what: Task,
    },
    /// What the remediation of failed checks would do
    Patchbot {
        #[command(subcommand)]
        what: Patchbot,
    },
    /// Remediation agents: pause, resume, trust a key, forget
    Agent {
        #[command(subcommand)]
        what: RemediationAgent,
    },
    /// Deny, allow, remove and rename nodes, and give their names to other machines
    Node {
        #[command(subcommand)]
        what: NodeVerb,
    },
    /// Make, list and revoke join tokens
    Token {
        #[command(subcommand)]
        what: Token,
    },
    /// Register clusters, and forget them
    Cluster {
        #[command(subcommand)]
        what: ClusterVerb,
    },
    /// Where work goes
    Placement {
        #[command(subcommand)]
        what: PlacementVerb,
    },
    /// Create a deployment; one that demands something, or of the cluster `any`, is placed by a plan
    Deploy {
        /// Which: CLUSTER/NAMESPACE/NAME
        deployment: DeploymentRef,
        /// The image to run
        #[arg(long)]
        image: String,
        /// How many replicas; 0 is a number
        #[arg(long, default_value_t = 1)]
        replicas: u32,
        /// What each takes.
        #[command(flatten)]
        demand: Demanded,
        /// Why you want it; it is journaled
        #[arg(long, value_parser = not_empty)]
        reason: String,
    },
    /// Set the number of replicas of a deployment; 0 is a number
    Scale {
        /// Which: CLUSTER/NAMESPACE/NAME
        deployment: DeploymentRef,
        /// How many
        replicas: u32,
        /// Why you want it; it is journaled
        #[arg(long, value_parser = not_empty)]
        reason: String,
    },
    /// Have the hub scale deployments by their load
    Scaling {
        #[command(subcommand)]
        what: ScalingVerb,
    },
    /// Take a new image to a deployment in steps, and stop it
    Rollout {
        #[command(subcommand)]
        what: RolloutVerb,
    },
    /// Log in as a person; without --user, print a link that opens the console once
    Login(Login),
    /// End the session of the context
    Logout,
    /// Who you are at the hub, and what you may do
    Whoami,
    /// Add, change and remove people
    User {
        #[command(subcommand)]
        what: User,
    },
    /// Make and revoke tokens of programs
    ApiToken {
        #[command(subcommand)]
        what: ApiToken,
    },
    /// Send events to other systems as they happen
    Webhook {
        #[command(subcommand)]
        what: Webhook,
    },
    /// Who may do what
    Access {
        #[command(subcommand)]
        what: Access,
    },
    /// Who did what: the hub's own journal
    Audit {
        #[command(subcommand)]
        what: Audit,
    },
    /// Do something to the running demo, for real
    Demo(Demo),
    /// Print the version
    Version,
    /// Print a completion script
    Completion {
        /// For which shell
        shell: clap_complete::Shell,
    },
}

/// What can be listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Resource {
    /// Nodes, each as of when it was last heard
    #[value(alias = "node")]
    Nodes,
    /// Decisions, newest first
    #[value(alias = "decision")]
    Decisions,
    /// Entries of the journals, newest first
    #[value(alias = "entry")]
    Entries,
    /// Published bundles, newest first
    #[value(alias = "policy")]
    Policies,
    /// What nodes have in common and rules count: racks, sites; who has its turn, and who waits
    #[value(alias = "domain")]
    Domains,
    /// People
    #[value(alias = "user")]
    Users,
    /// Roles with what they may do
    #[value(alias = "role")]
    Roles,
    /// Tokens of programs, newest first
    #[value(alias = "token")]
    Tokens,
    /// What people and programs caused, newest first
    #[value(alias = "audit")]
    Audits,
    /// Everything that arrives in any journal, as CloudEvents, oldest first
    #[value(alias = "event")]
    Events,
    /// Who hears of everything that arrives, and how far each is behind
    #[value(alias = "consumer")]
    Consumers,
    /// Clusters that the hub knows, each asked how it is
    #[value(alias = "cluster")]
    Clusters,
    /// Deployments of all clusters, as they are now
    #[value(alias = "workload", alias = "deployments")]
    Workloads,
    /// Rollouts under way and the last finished ones, newest first
    #[value(alias = "rollout")]
    Rollouts,
    /// Brains with every verb that they are graded for: how far each is trusted, and what that rests on
    #[value(alias = "brain")]
    Brains,
    /// Failed checks that became tasks, newest first
    #[value(alias = "task")]
    Tasks,
    /// Failed checks with what each says is wrong and why it is not repaired, newest first
    #[value(alias = "failure")]
    Failures,
    /// Remediation agents: what each can do, and how it is
    #[value(alias = "agent")]
    Agents,
}

#[derive(Debug, Subcommand)]
pub enum Task {
    /// What happened to one
    Show {
        /// Its id
        id: String,
    },
    /// Print the proof of its patch: `sentinel-patchbot verify-cert` runs it again
    Certificate {
        /// Its id
        id: String,
    },
    /// Stop one that waits or is being worked on
    Cancel {
        /// Its id
        id: String,
        /// Why, for the journal
        #[arg(long)]
        reason: String,
    },
    /// Try one again that ended without a pull request
    Retry {
        /// Its id
        id: String,
        /// Why, for the journal
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Agree to what policy wants a person for: a held patch is published
    Approve {
        /// Its id
        id: String,
        /// Why, for the journal
        #[arg(long, value_parser = not_empty)]
        reason: String,
    },
}

#[derive(Debug, Subcommand)]
pub enum Patchbot {
    /// What policy says of repairs in a repository now, by which rule, and how likely they are to be merged
    Explain {
        /// Which, for example owner/name
        repository: String,
    },
}

#[derive(Debug, Subcommand)]
pub enum RemediationAgent {
    /// Give it no more tasks
    Pause {
        /// Its name
        name: String,
    },
    /// Give it tasks again
    Resume {
        /// Its name
        name: String,
    },
    /// Count certificates that it signs with another key
    Trust {
        /// Its name
        name: String,
        /// The public key, 64 hexadecimal digits, as its refusal names it
        key: String,
    },
    /// Forget it with its keys; its tasks stay
    Remove {
        /// Its name
        name: String,
    },
}

#[derive(Debug, clap::Args)]
pub struct Get {
    /// What to list
    #[arg(value_enum)]
    pub what: Resource,
    /// Only this one: a node's name, a decision's or entry's id, a policy's generation or name
    pub name: Option<String>,
    /// Only of this node
    #[arg(long, add = ArgValueCompleter::new(complete::nodes))]
    pub node: Option<AgentId>,
    /// Only rows with these labels or fields, for example rack=r7,site!=berlin; of decisions and entries, those of such nodes
    #[arg(short = 'l', long, value_name = "LABELS")]
    pub selector: Option<Selector>,
    /// Only rows since then: a span before now, for example 30m or 7d, or a time (RFC 3339)
    #[arg(long, value_name = "WHEN", value_parser = since)]
    pub since: Option<Wall>,
    /// Only the newest, oldest first, as in a log
    #[arg(long, value_name = "N", conflicts_with = "limit")]
    pub tail: Option<usize>,
    /// By a field as -o json names it, for example backlog_entries or gpus.0.temperature_celsius; - before it puts the greatest first
    #[arg(long, value_name = "FIELD", allow_hyphen_values = true)]
    pub sort_by: Option<Field>,
    /// Leave out the line of titles
    #[arg(long)]
    pub no_headers: bool,
    /// Go on and print what changes, until interrupted
    #[arg(short, long, visible_short_alias = 'f', visible_alias = "follow")]
    pub watch: bool,
    /// Of nodes: end with status 8 unless each that is listed is connected and well, for scripts
    #[arg(long, conflicts_with = "watch")]
    pub exit_code: bool,
    /// Only events after this one's `sentinelcursor`
    #[arg(long, value_name = "CURSOR")]
    pub after: Option<String>,
    /// Most rows; 0 is all of them; 100 if absent, and with --since all since then
    #[arg(long)]
    pub limit: Option<usize>,
}

impl Get {
    /// Most rows that are read; 0 is no limit.
    pub fn most(&self) -> usize {
        match (self.tail.or(self.limit), self.since) {
            (Some(most), _) => most,
            (None, Some(_)) => 0,
            (None, None) => 100,
        }
    }
}

#[derive(Debug, Subcommand)]
pub enum Describe {
    /// A node: how it stands with the hub, its policy, authority, devices and last decisions
    #[command(alias = "nodes")]
    Node {
        /// Its name
        #[arg(add = ArgValueCompleter::new(complete::nodes))]
        name: AgentId,
        /// End with status 8 unless it is connected and well, for scripts
        #[arg(long)]
        exit_code: bool,
    },
}

#[derive(Debug, clap::Args)]
pub struct Why {
    /// The decision, for example edge-03.1.42, or the plan, or the task
    #[arg(required_unless_present = "last", conflicts_with = "last", value_parser = plan::subject, add = ArgValueCompleter::new(complete::decisions))]
    pub id: Option<Subject>,
    /// The newest one
    #[arg(long)]
    pub last: bool,
    /// Of this node
    #[arg(long, add = ArgValueCompleter::new(complete::nodes))]
    pub node: Option<AgentId>,
}

#[derive(Debug, clap::Args)]
pub struct Replay {
    /// The decision, for example edge-03.1.42
    #[arg(add = ArgValueCompleter::new(complete::decisions))]
    pub id: DecisionId,
    /// On this node; the decision's own if absent
    #[arg(long, add = ArgValueCompleter::new(complete::nodes))]
    pub node: Option<AgentId>,
}

#[derive(Debug, clap::Args)]
pub struct Verify {
    /// Only this node
    #[arg(long, add = ArgValueCompleter::new(complete::nodes))]
    pub node: Option<AgentId>,
    /// Wait until nodes that are away or catching up have sent everything, for --timeout or two minutes
    #[arg(long)]
    pub wait: bool,
}

#[derive(Debug, clap::Args)]
pub struct Act {
    /// Where: NODE or NODE/DEVICE, for example edge-03/gpu0
    #[arg(value_parser = target, add = ArgValueCompleter::new(complete::targets))]
    pub target: Target,
    /// What: power_cap, release_power_cap, restart, throttle, unthrottle or notify
    pub action: String,
    /// Its parameters, for example "to=220 W"
    #[arg(value_name = "K=V", value_parser = parameter)]
    pub params: Vec<(String, String)>,
    /// Why you want it; it is journaled
    #[arg(long, value_parser = not_empty)]
    pub reason: String,
    #[command(flatten)]
    pub patience: Patience,
}

/// How long a command may wait for its node, and whether its outcome is waited for.
#[derive(Debug, Clone, clap::Args)]
pub struct Patience {
    /// Do not wait for the outcome: exit status 0 once the hub has the command durable; `sentinel wait ID` waits for it later
    #[arg(long)]
    pub no_wait: bool,
    /// How long it may wait for a node that is away; an action as long as its outcome is waited for, a hold an hour if absent
    #[arg(long, value_name = "SPAN", value_parser = span)]
    pub valid_for: Option<Duration>,
}

/// A node, and perhaps a part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub node: AgentId,
    pub device: Option<DeviceId>,
}

#[derive(Debug, clap::Args)]
pub struct Reasoned {
    /// Which node
    #[arg(add = ArgValueCompleter::new(complete::nodes))]
    pub node: AgentId,
    /// Why; it is journaled
    #[arg(long, value_parser = not_empty)]
    pub reason: String,
    #[command(flatten)]
    pub patience: Patience,
}

#[derive(Debug, Subcommand)]
pub enum Token {
    /// Make a single-use token and print the line that enrols a node with it
    Create {
        /// The node's name; made by the hub if absent
        #[arg(long)]
        name: Option<AgentId>,
        /// The node's site
        #[arg(long, default_value = "default")]
        site: String,
        /// How long it can be used
        #[arg(long, default_value = "1h", value_parser = span, value_name = "SPAN")]
        ttl: Duration,
        /// What it is for, in a few words
        #[arg(long, value_parser = not_empty)]
        label: Option<String>,
    },
    /// Tokens that were made, with who used them; never the tokens themselves
    List,
    /// Make a token worthless
    Revoke {
        /// The beginning of its id, as `sentinel token list` shows it
        #[arg(value_parser = not_empty)]
        id: String,
    },
}

/// Who a node is.
#[derive(Debug, Subcommand)]
pub enum NodeVerb {
    /// Shut a node out: no session and no certificate until it is allowed; it goes on deciding alone
    Deny(Decided),
    /// Let a node in again that was denied or quarantined, and end the finding that its history has forked
    Allow(Decided),
    /// Take a node out of the fleet; what it has recorded stays, its name is free
    Remove(Decided),
    /// Give a node another name; it takes it over by itself
    Rename {
        /// Which node
        node: AgentId,
        /// The new name
        to: AgentId,
        /// Why; it is journaled
        #[arg(long, value_parser = not_empty)]
        reason: String,
    },
    /// Print the line with which a machine with new keys becomes this node, and every other machine stops being it
    Rejoin {
        /// Which node
        node: AgentId,
        /// Why; it is journaled
        #[arg(long, value_parser = not_empty)]
        reason: String,
        /// How long the line can be used
        #[arg(long, default_value = "1h", value_parser = span, value_name = "SPAN")]
        ttl: Duration,
    },
}

/// A node, and why something is decided about it.
#[derive(Debug, clap::Args)]
pub struct Decided {
    /// Which node
    pub node: AgentId,
    /// Why; it is journaled
    #[arg(long, value_parser = not_empty)]
    pub reason: String,
}

/// What can be done to the running demo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DemoVerb {
    /// Drop every packet of a node, both ways; of a site or the hub, every packet between nodes and hub
    Cut,
    /// Let the packets through again
    Heal,
    /// Drive a GPU hot
    Heat,
    /// Let the load of a GPU grow over minutes, so that a brain can foresee the heat
    Grow,
    /// Let it cool
    Cool,
    /// Make a node's workload leak memory
    Leak,
    /// Make a node's GPU probe stop answering
    HangGpu,
    /// Kill a process with signal 9; it is started again after 1 s
    Kill,
    /// Stop a process, and do not start it again
    Stop,
    /// Start a stopped process
    Start,
}

impl DemoVerb {
    /// The word on the demo's control socket.
    pub fn word(self) -> &'static str {
        match self {
            Self::Cut => "cut",
            Self::Heal => "heal",
            Self::Heat => "heat",
            Self::Grow => "grow",
            Self::Cool => "cool",
            Self::Leak => "leak",
            Self::HangGpu => "hang-gpu",
            Self::Kill => "kill",
            Self::Stop => "stop",
            Self::Start => "start",
        }
    }
}

#[derive(Debug, clap::Args)]
pub struct Demo {
    /// What to do
    #[arg(value_enum)]
    pub verb: DemoVerb,
    /// To whom: NODE, NODE/gpuN, SITE or hub
    #[arg(value_parser = victim, add = ArgValueCompleter::new(complete::targets))]
    pub whom: Victim,
    /// With cut and heal: only the path between the two; hub or a node
    #[arg(long, value_name = "NAME")]
    pub from: Option<AgentId>,
}

/// A process of the demo, and perhaps one of its GPUs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Victim {
    pub node: String,
    pub gpu: Option<u32>,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn check(line: &str, expected: Result<(), &str>) {
        let words = std::iter::once("sentinel").chain(line.split_whitespace());
        match (Args::try_parse_from(words), expected) {
            (Ok(_), Ok(())) => {}
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
            (Ok(_), Err(part)) => panic!("`{line}` parsed, expected an error with `{part}`"),
            (Err(error), Ok(())) => panic!("`{line}`: {error}"),
        }
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Args::command().debug_assert();
    }

    #[test]
    fn the_documented_lines_parse() {
        for line in [
            "get nodes",
            "get nodes edge-03 -o wide",
            "get decisions --node edge-03 --local --watch -o jsonl",
            "get entries --limit 0",
            "get policies -o yaml",
            "get entries --since 1h --tail 20 -f -l rack=r7,site!=b --no-headers",
            "get nodes --sort-by -backlog_entries --socket a.sock",
            "hold edge-03 --reason hands --no-wait --valid-for 2h",
            "wait 0198f2c07a5b7d1e8f00112233445566 --timeout 5m",
            "cancel 0198f2c07a5b7d1e8f00112233445566 --reason wrong",
            "policy rollback 7",
            "policy import a.parcel --local",
            "describe node edge-03",
            "why edge-03.1.42 --local",
            "why --last --node edge-03",
            "replay edge-03.1.42",
            "verify --node edge-03",
            "act edge-03/gpu0 power_cap to=220_W --reason hot",
            "act edge-03/workload:train restart --reason leak --timeout 5s",
            "plan submit edge-03/gpu0 power_cap to=280_W --reason hot --expect gpu.temperature:-5000:2m --ttl 10m",
            "plan submit --file plan.json",
            "plan list --state held",
            "plan show 0198f2c07a5b7d1e8f00112233445566",
            "plan approve 0198f2c0-7a5b-7d1e-8f00-112233445566",
            "plan deny 0198f2c07a5b7d1e8f00112233445566 --reason no",
            "plan cancel 0198f2c07a5b7d1e8f00112233445566 --reason wrong",
            "plan retry 0198f2c07a5b7d1e8f00112233445566",
            "plan shadow 0198f2c07a5b7d1e8f00112233445566",
            "why 0198f2c07a5b7d1e8f00112233445566",
            "policy init --keys k --signers 3 --threshold 2",
            "policy check a.yaml",
            "policy test cases.yaml --bundle a.yaml",
            "policy decide --bundle a.yaml --input a.jsonl -o jsonl",
            "policy explain change_freeze",
            "policy diff a.yaml b.yaml",
            "policy schema",
            "policy sign a.yaml --key k/policy-1.key --roles k/roles.parcel --generation 7",
            "policy verify a.parcel",
            "policy export --out a.parcel --node edge-03",
            "policy import a.parcel --socket agent.sock",
            "policy simulate --bundle b.yaml --since 7d",
            "policy simulate --bundle b.yaml --old a.yaml --input a.jsonl",
            "policy keys list k/roles.parcel",
            "policy keys rotate policy --root-key k/root-1.key",
            "policy publish a.yaml --timeout 1m --wait connected",
            "hold edge-03 --reason hands",
            "release edge-03 --reason done --local",
            "token create --name edge-09 --site site-b --ttl 10m --label rack-7",
            "token list -o json",
            "token revoke 0198f2c0",
            "node deny edge-03 --reason stolen",
            "node allow edge-03 --reason found",
            "node remove edge-03 --reason scrapped",
            "node rename edge-03 rack-7 --reason moved",
            "node rejoin edge-03 --reason new-disk --ttl 10m",
            "get clusters",
            "get workloads -o json",
            "cluster add edge --kubeconfig /etc/kube/edge.yaml",
            "cluster remove edge --reason moved",
            "deploy edge/default/web --image web:1 --replicas 4 --reason first",
            "scale edge/default/web 0 --reason night",
            "rollout start edge/default/web --image web:2 --first 20 --step 40 --analyse 1m --reason newer",
            "rollout start edge/default/web --image web:2 --rolling --reason newer",
            "rollout status 0198f -w",
            "rollout promote 0198f --reason ready",
            "rollout abort 0198f --reason errors",
            "login",
            "login --user ann --save ann.json",
            "logout",
            "whoami -o json",
            "user create bob --role viewer",
            "user link bob",
            "user change bob --role operator",
            "user change bob --disable",
            "user remove bob",
            "api-token create ci --role operator --scope nodes:read,nodes:act --days 30",
            "api-token revoke 0198",
            "webhook add siem https://siem.example/in --type dev.sentinel.hub.*,dev.sentinel.decision.made.v1",
            "webhook list -o json",
            "webhook rotate siem",
            "webhook deliveries siem",
            "webhook resend siem 0198f3c0-0000-7000-8000-000000000001",
            "webhook remove siem",
            "get consumers -o wide",
            "access matrix -o json",
            "audit list --who ann --result refused --limit 0",
            "audit verify -o json",
            "audit export --since 2026-11-24T12:00:00Z",
            "get users",
            "get roles",
            "get tokens",
            "get audits",
            "get events -o jsonl -f --after 7.2",
            "demo cut edge-03",
            "demo hang-gpu edge-03/gpu1",
            "demo kill hub",
            "completion bash",
            "version",
        ] {
            check(line, Ok(()));
        }
    }

    #[test]
    fn mistakes_are_told_before_anything_is_asked() {
        for (line, part) in [
            ("get nonsense", "nonsense"),
            ("scale web 3 --reason x", "CLUSTER/NAMESPACE/NAME"),
            ("scale edge/default/web -1 --reason x", "-1"),
            ("rollout start edge/default/web --reason x", "--image"),
            ("rollout abort 0198f", "--reason"),
            ("get nodes --node Edge", "node name"),
            ("why", "required"),
            ("why --last edge-03.1.4", "cannot be used"),
            ("why edge-03", "NODE.EPOCH.SEQ"),
            ("plan submit edge-03/gpu0 power_cap to=280_W", "--reason"),
            ("plan submit --file a.json edge-03", "cannot be used"),
            (
                "plan submit edge-03 notify --reason x --expect hot",
                "QUANTITY:DELTA:SPAN",
            ),
            ("plan show 12", "plan id"),
            ("plan deny 0198f2c07a5b7d1e8f00112233445566", "--reason"),
            ("act edge-03 restart", "--reason"),
            ("act edge-03/GPU0 restart --reason x", "device"),
            ("act edge-03 notify message --reason x", "KEY=VALUE"),
            ("demo boil hub", "boil"),
            ("user create bob --role root", "viewer, operator"),
            ("user change bob", "--role"),
            ("api-token create ci --days 366", "365"),
            ("api-token create ci --scope all", "SUBJECT:VERB"),
            ("webhook add siem", "URL"),
            ("audit list --result maybe", "refused"),
            ("demo heat edge-03/fan0", "gpu0"),
            ("token create --ttl soon", "30s"),
            ("node deny edge-03", "--reason"),
            ("node rename edge-03 Rack --reason x", "node name"),
            ("policy simulate --bundle b.yaml", "--since"),
            ("policy simulate --bundle b.yaml --input a.jsonl", "--old"),
            ("policy init --threshold 0", "1..=16"),
        ] {
            check(line, Err(part));
        }
    }
}

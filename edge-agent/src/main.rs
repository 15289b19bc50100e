//! `sentinel-agent`: sensors, actuators, journal, link and local API around the pure core.
//!
//! Read next: `agent.rs` (the turn loop), `edge-agent/core` (what it decides), `journal.rs` (what it remembers).

mod actuators;
mod agent;
mod carried;
mod ceilings;
mod check;
mod clock;
mod config;
mod doctor;
mod faults;
mod identity;
mod journal;
mod link;
mod local_api;
mod peers;
mod probe;
mod sampler;
mod scan;
mod sensors;
mod service;
mod socket;
mod status;
mod supervisor;
mod support;
mod telemetry;
mod units;
mod watch;

use std::error::Error;
use std::io::IsTerminal;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Parser, Subcommand};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use wire::enroll::CaPin;
use wire::{AgentId, Digest};

use config::{Config, DEFAULT_STATE, Layers, SYSTEM_FILE};

/// Reads this machine, decides by signed policy, acts alone when it must, and tells a hub.
#[derive(Debug, Parser)]
#[command(name = "sentinel-agent", version)]
struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run until stopped
    Run(Place),
    /// Join a hub: the line that `sentinel token create` printed
    Join {
        /// Address of the hub
        #[arg(value_name = "HOST:PORT")]
        hub: String,
        /// Single-use token; `-` reads it from standard input
        #[arg(
            long,
            value_name = "TOKEN",
            required_unless_present = "token_file",
            conflicts_with = "token_file"
        )]
        token: Option<String>,
        /// File that holds the token, so that it stands in no process list; `-` is standard input
        #[arg(long, value_name = "FILE")]
        token_file: Option<PathBuf>,
        /// Pin of the hub's CA
        #[arg(long)]
        ca_pin: CaPin,
        /// State folder
        #[arg(long, value_name = "DIR", env = "SENTINEL_STATE", default_value = DEFAULT_STATE)]
        state: PathBuf,
        /// Name that this node would like; the host's name if absent
        #[arg(long)]
        name: Option<AgentId>,
    },
    /// Leave the hub: it forgets this machine, and this machine its identity
    Leave {
        /// State folder
        #[arg(long, value_name = "DIR", env = "SENTINEL_STATE", default_value = DEFAULT_STATE)]
        state: PathBuf,
        /// Remove the whole state folder too: journal, policy and telemetry
        #[arg(long)]
        purge: bool,
        /// Do not tell the hub, for one that is gone; `sentinel node remove` tells one that is not
        #[arg(long)]
        offline: bool,
    },
    /// Take policy from a file on a machine that no network reaches; it counts from the next start
    Import {
        /// The parcel, as `sentinel policy export` or `sign` wrote it
        file: PathBuf,
        /// State folder
        #[arg(long, value_name = "DIR", env = "SENTINEL_STATE", default_value = DEFAULT_STATE)]
        state: PathBuf,
        /// Whom to trust, for a machine that has not joined a hub: the root pin that `sentinel policy verify` prints
        #[arg(long, value_name = "PIN")]
        root_pin: Option<Digest>,
    },
    /// Check settings, state folder, sensors and GPU probe, and change nothing
    Check(Place),
    /// Look once at GPUs and kernel log: what is well, what is not, and what to do; exit code 8 when something grave is found
    Scan(Place),
    /// How the agent on this machine stands; exit code 8 when the node is not well
    Status {
        #[command(flatten)]
        place: Place,
        /// The node's row as JSON
        #[arg(long)]
        json: bool,
    },
    /// What the agent needs here: driver, permissions, clock, disk, unit and hub, each with what was found and what to do; exit code 8
    /// when something is wrong
    Doctor {
        #[command(flatten)]
        place: Place,
        /// A JSON array
        #[arg(long)]
        json: bool,
    },
    /// Write one archive for whoever helps from afar; keys and other secrets are left out
    SupportBundle {
        #[command(flatten)]
        place: Place,
        /// The archive, which must not be there yet
        #[arg(long, value_name = "FILE", default_value = "sentinel-support.tar")]
        out: PathBuf,
    },
    /// Settings: whether they are valid, and what counts
    #[command(subcommand)]
    Config(Settings),
}

#[derive(Debug, Subcommand)]
enum Settings {
    /// Say whether the settings are valid; an error names its file, line and field
    Check(Place),
    /// Print what counts, one setting on each line
    Show {
        #[command(flatten)]
        place: Place,
        /// With the file that each value comes from
        #[arg(long)]
        origin: bool,
    },
}

#[derive(Debug, Clone, Args)]
struct Place {
    /// Settings file, with the files of `conf.d` beside it; without it `agent.toml` in the state folder, then in /etc/sentinel
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// State folder, instead of the one in the settings
    #[arg(long, value_name = "DIR", env = "SENTINEL_STATE")]
    state: Option<PathBuf>,
}

impl Place {
    fn settings(self) -> Result<Config, config::ConfigError> {
        self.layers().map(|layers| layers.config)
    }

    fn layers(self) -> Result<Layers, config::ConfigError> {
        let folder = self.state.as_deref().unwrap_or(Path::new(DEFAULT_STATE));
        let there = |path: PathBuf| Some(path).filter(|path| path.exists());
        let file = self
            .config
            .or_else(|| there(folder.join("agent.toml")))
            .or_else(|| there(SYSTEM_FILE.into()));
        let mut layers = match file {
            Some(path) => Layers::read(&path)?,
            None => Layers::defaults(),
        };
        if let Some(state) = self.state {
            layers.set_state(state);
        }
        Ok(layers)
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    log();
    match run(options.command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("sentinel-agent: {error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                eprintln!("  because: {error}");
                cause = error.source();
            }
            ExitCode::FAILURE
        }
    }
}

/// Logs to standard error. `SENTINEL_LOG` takes a level, or targets with levels: `info,sentinel_agent::journal=debug`.
fn log() {
    // Plain targets instead of `EnvFilter`: its regular expressions would be a tenth of the agent's memory.
    let wanted = std::env::var("SENTINEL_LOG").unwrap_or_else(|_| "info".to_owned());
    let wanted = wanted.parse::<Targets>().unwrap_or_else(|error| {
        eprintln!("sentinel-agent: SENTINEL_LOG is `{wanted}`: {error}; logging at `info`");
        Targets::new().with_default(LevelFilter::INFO)
    });
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    tracing_subscriber::registry().with(lines).with(wanted).init();
}

/// Starts this program anew in its own place, under its new name. Returns only if the system does not let it.
fn again(name: &AgentId) -> std::io::Error {
    tracing::info!(%name, "starting again under the new name");
    std::process::Command::new("/proc/self/exe")
        .args(std::env::args_os().skip(1))
        .exec()
}

/// What `scan`, `status` and `doctor` end with when the machine is not well: the command line's code for `degraded`.
const DEGRADED: u8 = 8;

fn run(command: Command) -> Result<ExitCode, Box<dyn Error>> {
    // One thread turns; blocking work (devices, journal reads) has a few more, which end when they have been idle for a while.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(8)
        .build()?;
    match command {
        Command::Run(place) => {
            let config = place.clone().settings()?;
            let reread: agent::Reread = Arc::new(move || place.clone().settings());
            match runtime.block_on(agent::boxed(config, reread))? {
                agent::Ended::Stopped => {}
                agent::Ended::Renamed { to } => {
                    drop(runtime);
                    return Err(Box::new(again(&to)));
                }
            }
        }
        Command::Join {
            hub,
            token,
            token_file,
            ca_pin,
            state,
            name,
        } => {
            let token = identity::read_token(token.as_deref(), token_file.as_deref())?;
            let identity = runtime.block_on(identity::join(identity::JoinOptions {
                state_dir: state.clone(),
                hub,
                token,
                ca_pin,
                host: identity::host_name(),
                name,
                wall_floor: wire::time::BUILD_FLOOR,
                program: env!("CARGO_PKG_VERSION").to_owned(),
            }))?;
            println!(
                "joined {} as {} in {}",
                identity.hub(),
                identity.agent(),
                identity.site()
            );
            println!("run it with: sentinel-agent run --state {}", state.display());
        }
        Command::Leave { state, purge, offline } => {
            let told = match offline {
                true => identity::Told::Nobody,
                false => identity::Told::Hub,
            };
            let agent = runtime.block_on(identity::leave(&state, told, purge))?;
            println!("{agent} has left; join again with a new token if it is to come back");
            if offline {
                println!("the hub was not told: `sentinel node remove {agent}` there");
            }
        }
        Command::Import { file, state, root_pin } => {
            let found = carried::import(&file, &state, &state.join("agent.sock"), root_pin)?;
            println!("{}: {found}", file.display());
            println!(
                "it counts from the next start: sentinel-agent run --state {}",
                state.display()
            );
        }
        Command::Check(place) => check::check(&place.settings()?)?,
        Command::Scan(place) => {
            if !scan::scan(&place.settings()?)? {
                return Ok(ExitCode::from(DEGRADED));
            }
        }
        Command::Status { place, json } => {
            let socket = place.settings()?.socket();
            let node = status::ask(&socket).map_err(|cause| status::NoAnswer { socket, cause })?;
            let (text, is_well) = status::text(&node);
            match json {
                true => println!("{}", serde_json::to_string_pretty(&node)?),
                false => print!("{text}"),
            }
            if !is_well {
                return Ok(ExitCode::from(DEGRADED));
            }
        }
        Command::Doctor { place, json } => {
            let found = doctor::examine(&place.settings()?);
            match json {
                true => println!("{}", serde_json::to_string_pretty(&found)?),
                false => print!("{}", doctor::text(&found)),
            }
            if !doctor::is_well(&found) {
                return Ok(ExitCode::from(DEGRADED));
            }
        }
        Command::SupportBundle { place, out } => {
            let names = support::write(&place.layers()?, &out)?;
            names.iter().for_each(|name| println!("{name}"));
            println!("written to {}; look through it before you send it", out.display());
        }
        Command::Config(Settings::Check(place)) => {
            let layers = place.layers()?;
            layers.config.catalogue()?;
            for file in &layers.files {
                println!("{}: ok", file.display());
            }
            if layers.files.is_empty() {
                println!("no settings file: the defaults count");
            }
        }
        Command::Config(Settings::Show { place, origin }) => print!("{}", place.layers()?.show(origin)),
    }
    Ok(ExitCode::SUCCESS)
}

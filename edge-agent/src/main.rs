//! `sentinel-agent`: sensors, actuators, journal, link and local API around the pure core.
//!
//! Read next: `agent.rs` (the turn loop), `edge-agent/core` (what it decides), `journal.rs` (what it remembers).

mod actuators;
mod agent;
mod carried;
mod check;
mod clock;
mod config;
mod identity;
mod journal;
mod link;
mod local_api;
mod peers;
mod probe;
mod sampler;
mod sensors;
mod supervisor;
mod watch;

use std::error::Error;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use wire::enroll::{CaPin, JoinToken};
use wire::{AgentId, Digest};

use config::{Config, DEFAULT_STATE};

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
        /// Single-use token
        #[arg(long)]
        token: JoinToken,
        /// Pin of the hub's CA
        #[arg(long)]
        ca_pin: CaPin,
        /// State folder
        #[arg(long, value_name = "DIR", env = "SENTINEL_STATE", default_value = DEFAULT_STATE)]
        state: PathBuf,
        /// Name that this node would like
        #[arg(long)]
        name: Option<AgentId>,
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
}

#[derive(Debug, Args)]
struct Place {
    /// Settings file; without it `agent.toml` in the state folder, if it is there
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// State folder, instead of the one in the settings
    #[arg(long, value_name = "DIR", env = "SENTINEL_STATE")]
    state: Option<PathBuf>,
}

impl Place {
    fn settings(self) -> Result<Config, config::ConfigError> {
        let folder = self.state.as_deref().unwrap_or(Path::new(DEFAULT_STATE));
        let beside = Some(folder.join("agent.toml")).filter(|path| path.exists());
        let mut config = match self.config.or(beside) {
            Some(path) => Config::read(&path)?,
            None => Config::default(),
        };
        if let Some(state) = self.state {
            config.state_dir = state;
        }
        Ok(config)
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    log();
    match run(options.command) {
        Ok(()) => ExitCode::SUCCESS,
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

fn run(command: Command) -> Result<(), Box<dyn Error>> {
    // One thread turns; blocking work (devices, journal reads) has a few more, which end when they have been idle for a while.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(8)
        .build()?;
    match command {
        Command::Run(place) => runtime.block_on(agent::boxed(place.settings()?))?,
        Command::Join {
            hub,
            token,
            ca_pin,
            state,
            name,
        } => {
            let identity = runtime.block_on(identity::join(identity::JoinOptions {
                state_dir: state.clone(),
                hub,
                token,
                ca_pin,
                name,
                wall_floor: clock::BUILD_FLOOR,
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
        Command::Import { file, state, root_pin } => {
            let found = carried::import(&file, &state, &state.join("agent.sock"), root_pin)?;
            println!("{}: {found}", file.display());
            println!(
                "it counts from the next start: sentinel-agent run --state {}",
                state.display()
            );
        }
        Command::Check(place) => check::check(&place.settings()?)?,
    }
    Ok(())
}

//! `sentinel-hub`: reads the command line, runs the hub, and says in one line why it could not.

use std::process::ExitCode;

use clap::Parser;
use hub::config::{Cli, Command, StoreCommand};
use rustix::fs::Mode;

fn main() -> ExitCode {
    let command = Cli::parse().command;
    hub::run::log_to_stderr();
    // Whatever it makes is for its own account alone, the files of libraries too.
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    let done = match command {
        Command::Run(args) => hub::run::run(*args),
        Command::Store(StoreCommand::Check(args)) => hub::run::check_store(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sentinel-hub: {}", error.line());
            ExitCode::from(error.exit_code())
        }
    }
}

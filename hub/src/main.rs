//! `sentinel-hub`: reads the command line, runs the hub, and says in one line why it could not.

use std::process::ExitCode;

use clap::Parser;
use hub::config::{Cli, Command};

fn main() -> ExitCode {
    let Command::Run(args) = Cli::parse().command;
    hub::run::log_to_stderr();
    match hub::run::run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sentinel-hub: {}", error.line());
            ExitCode::from(error.exit_code())
        }
    }
}

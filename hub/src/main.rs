//! `sentinel-hub`: reads the command line, runs the hub, and says in one line why it could not.

use std::process::ExitCode;

use clap::Parser;
use hub::config::{Cli, Command};
use rustix::fs::Mode;

fn main() -> ExitCode {
    let Command::Run(args) = Cli::parse().command;
    hub::run::log_to_stderr();
    // Whatever it makes is for its own account alone, the files of libraries too.
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    match hub::run::run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sentinel-hub: {}", error.line());
            ExitCode::from(error.exit_code())
        }
    }
}

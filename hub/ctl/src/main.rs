//! `sentinel`: the one command line, for a hub and for an agent's own socket.
//!
//! Decides how a person's words become requests, and how answers become tables, JSON or an exit status. It never judges an
//! action and never reads a store: whatever it prints was said by a hub or by a node.
//!
//! Invariant: data goes to standard output, words go to standard error, and the exit status is one of [`failure::Exit`].
//! Read next: `args.rs` (every verb), `verbs/` (what each does), `client.rs` (how it asks).

mod args;
mod choice;
mod client;
mod complete;
mod context;
mod events;
mod failure;
mod output;
mod renewal;
mod rows;
mod session;
mod table;
mod verbs;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser};

use crate::args::Args;
use crate::failure::{Exit, Failure};

fn main() -> ExitCode {
    // A shell that completes a line asks this program, and is answered instead of anything being done.
    clap_complete::CompleteEnv::with_factory(Args::command).complete();
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(told) => return parsed_otherwise(&told),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(cause) => {
            return end(Err(Failure::new(Exit::Failure, "cannot start").because(cause)));
        }
    };
    end(runtime.block_on(verbs::run(&args)))
}

/// Help and version are answers; anything else is a usage error, which clap has worded.
fn parsed_otherwise(told: &clap::Error) -> ExitCode {
    // Nobody is left to tell when the terminal itself is gone.
    drop(told.print());
    match told.use_stderr() {
        true => Exit::Usage.into(),
        false => Exit::Ok.into(),
    }
}

fn end(result: Result<Exit, Failure>) -> ExitCode {
    match result {
        Ok(exit) => exit.into(),
        // `sentinel get entries | head` is no failure.
        Err(failure) if failure.is_closed_pipe() => Exit::Ok.into(),
        Err(failure) => {
            drop(anstream::stderr().write_all(failure.told().as_bytes()));
            failure.exit.into()
        }
    }
}

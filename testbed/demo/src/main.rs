//! `sentinel-demo`, which `cargo run --release` starts: a real hub, real agents, and a tour of what they do.
//!
//! Builds the shipping programs through cargo, runs exactly those as processes of their own, each with its own state folder, and
//! stands between them only as the network does ([`proxy`]) and as systemd would ([`keeper`]). It never judges, never fakes an
//! outcome, and says nothing that it has not read back from a node or the hub.
//!
//! Read next: `cluster.rs` (what runs), `tour.rs` (what is shown), `control.rs` (what `sentinel demo` can do to it).

mod builder;
mod clock;
mod cluster;
mod control;
mod fakes;
mod folder;
mod keeper;
mod options;
mod proxy;
mod screen;
mod sentinel;
mod signals;
mod tied;
mod tour;

use std::os::unix::net::UnixListener;
use std::process::ExitCode;
use std::sync::Arc;

use crate::cluster::Cluster;
use crate::control::Control;
use crate::folder::Folder;
use crate::options::{Asked, Options};
use crate::screen::Screen;
use crate::signals::Stop;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().map(String::as_str) == Some(tied::WORD) {
        let reason = tied::become_program(&words[1..]);
        eprintln!("sentinel-demo: {reason}");
        return ExitCode::FAILURE;
    }
    let options = match options::parse(&words) {
        Ok(Asked::Run(options)) => options,
        Ok(Asked::Text(text)) => {
            print!("{text}");
            return ExitCode::SUCCESS;
        }
        Err(reason) => {
            eprintln!("sentinel-demo: {reason}\n\n{}", options::HELP);
            return ExitCode::from(2);
        }
    };
    let screen = Screen::new();
    let stop = match Stop::on_signals() {
        Ok(stop) => stop,
        Err(cause) => {
            eprintln!("sentinel-demo: cannot listen for signals: {cause}");
            return ExitCode::FAILURE;
        }
    };
    match run(&options, &screen, &stop) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) if stop.wanted() && !options.tour_only => ExitCode::SUCCESS,
        Err(reason) => {
            screen.problem(&reason);
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options, screen: &Screen, stop: &Arc<Stop>) -> Result<(), String> {
    folder::refuse_second(options)?;
    let programs = builder::programs(options, screen, stop)?;
    let folder = Folder::open(options)?;
    let orders = Control::bind(&folder)?;
    let cluster = Cluster::start(options, programs, folder, screen, stop);
    let result = cluster.and_then(|cluster| {
        let result = play(options, &cluster, orders, screen, stop);
        cluster.end(screen, stop);
        result
    });
    if stop.hurry() {
        screen.note("stopped at once");
    }
    result
}

/// The tour, and then whatever the person does, until they stop it.
fn play(
    options: &Options,
    cluster: &Arc<Cluster>,
    orders: UnixListener,
    screen: &Screen,
    stop: &Stop,
) -> Result<(), String> {
    let control = Control::serve(orders, cluster)?;
    let toured = match options.tour {
        true => tour::play(cluster, screen, stop),
        false => Ok(()),
    };
    let result = match (toured, options.tour_only) {
        (toured, true) => toured,
        (toured, false) => {
            if let Err(reason) = &toured
                && !stop.wanted()
            {
                screen.problem(reason);
            }
            if !stop.wanted() {
                cluster.say_how_to_go_on(screen);
                stop.wait();
            }
            Ok(())
        }
    };
    control.close();
    result
}

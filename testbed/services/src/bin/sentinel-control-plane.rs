//! `sentinel-control-plane NAME NODE…`: a real Kubernetes control plane for the demo, with kwok as every kubelet.
//!
//! Builds what is not built yet and says so on standard error, prints `ready KUBECONFIG`, and runs until it is stopped or one of its
//! parts ends. Its parts end with it, however it ends.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;
use testbed_services::{API_USERS, ControlPlane, ServiceError, to_stderr};

/// How often its parts are looked at.
const LOOK: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [name, nodes @ ..] = &words[..] else {
        eprintln!("usage: sentinel-control-plane NAME NODE…");
        return ExitCode::from(2);
    };
    let Err(error) = run(name, nodes);
    eprintln!("sentinel-control-plane: {}", error.with_causes());
    ExitCode::FAILURE
}

fn run(name: &str, nodes: &[String]) -> Result<std::convert::Infallible, ServiceError> {
    let mut plane = ControlPlane::start(name, &to_stderr)?;
    plane.add_named_nodes(nodes, &json!({}))?;
    println!("ready {}", plane.kubeconfig(API_USERS[0]).display());
    // Nobody reads it: then nobody waits for it either.
    let _ = std::io::stdout().flush();
    loop {
        plane.alive()?;
        std::thread::sleep(LOOK);
    }
}

//! One file for each verb: asks, prints, and says how it ended.
//!
//! Read next: `get.rs` (lists and watching), `why.rs`, `act.rs`.

mod act;
mod agent;
mod audit;
mod demo;
mod describe;
mod events;
mod get;
mod hold;
mod kube;
mod login;
mod node;
mod people;
mod placement;
mod plan;
mod policy;
mod profile;
mod replay;
mod scaling;
mod sizing;
mod task;
mod token;
mod verify;
mod watch;
mod webhook;
mod why;

use serde::Serialize;
use wire::kube::DeploymentChange;
use wire::plan::Target;

use crate::args::{Args, Describe, Verb};
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::session::Session;

/// Carries out one command line.
pub async fn run(args: &Args) -> Result<Exit, Failure> {
    let mut output = Output::new(args.global.output);
    match &args.verb {
        Verb::Version => return version(&mut output),
        Verb::Completion { shell } => return completion(*shell, &output),
        Verb::Profile { what } => return profile::run(what, &mut output),
        Verb::Policy { what } if what.is_offline() => {
            return policy::offline(what, &mut output);
        }
        _ => {}
    }
    let session = match &args.verb {
        Verb::Login(asked) if asked.user.is_some() => Session::as_it_is(&args.global)?,
        _ => Session::open(&args.global).await?,
    };
    asked(&args.verb, &session, &mut output).await
}

async fn asked(verb: &Verb, session: &Session, output: &mut Output) -> Result<Exit, Failure> {
    let result = match verb {
        Verb::Get(get) => get::run(session, get, output).await,
        Verb::Describe {
            what: Describe::Node { name, exit_code },
        } => describe::run(session, name, *exit_code, output).await,
        Verb::Why(why) => why::run(session, why, output).await,
        Verb::Replay(replay) => replay::run(session, replay, output).await,
        Verb::Act(act) => act::run(session, act, output).await,
        Verb::Hold(reasoned) => hold::run(session, reasoned, "hold", output).await,
        Verb::Release(reasoned) => hold::run(session, reasoned, "release", output).await,
        Verb::Wait { command } => hold::wait(session, command, output).await,
        Verb::Cancel { command, reason } => hold::cancel(session, command, reason, output).await,
        Verb::Plan { what } => plan::run(session, what, output).await,
        Verb::Brain { what } => plan::brain(session, what, output).await,
        Verb::Policy { what } => policy::asked(session, what, output).await,
        Verb::Verify(verify) => verify::run(session, verify, output).await,
        Verb::Task { what } => task::run(session, what, output).await,
        Verb::Agent { what } => agent::run(session, what, output).await,
        Verb::Patchbot { what } => task::explain(session, what, output).await,
        Verb::Node { what } => node::run(session, what, output).await,
        Verb::Token { what } => token::run(session, what, output).await,
        Verb::Cluster { what } => kube::cluster(session, what, output).await,
        Verb::Placement { what } => placement::run(session, what, output).await,
        Verb::Deploy {
            deployment,
            image,
            replicas,
            demand,
            reason,
        } => {
            let is_placed = deployment.cluster == Target::ANY_CLUSTER || !demand.params().is_empty();
            match (is_placed, image.clone(), *replicas) {
                (true, image, replicas) => {
                    placement::deploy(session, deployment, (&image, replicas), demand, reason, output).await
                }
                (false, image, replicas) => {
                    let create = DeploymentChange::Create { image, replicas };
                    kube::change(session, deployment, create, reason, output).await
                }
            }
        }
        Verb::Scale {
            deployment,
            replicas,
            reason,
        } => {
            let replicas = *replicas;
            kube::change(
                session,
                deployment,
                DeploymentChange::Scale { replicas },
                reason,
                output,
            )
            .await
        }
        Verb::Scaling { what } => scaling::run(session, what, output).await,
        Verb::Rollout { what } => kube::rollout(session, what, output).await,
        Verb::Login(asked) => login::run(session, asked, output).await,
        Verb::Logout => login::logout(session, output).await,
        Verb::Whoami => people::whoami(session, output).await,
        Verb::User { what } => people::user(session, what, output).await,
        Verb::ApiToken { what } => people::api_token(session, what, output).await,
        Verb::Webhook { what } => webhook::run(session, what, output).await,
        Verb::Access { what } => people::access(session, what, output).await,
        Verb::Audit { what } => audit::run(session, what, output).await,
        // The demo answers for itself, whether its hub runs or not.
        Verb::Demo(demo) => return demo::run(session, demo),
        Verb::Profile { what } => return profile::run(what, output),
        Verb::Version | Verb::Completion { .. } => Ok(Exit::Ok),
    };
    result.map_err(|failure| session.with_way_out(failure, has_local(verb)))
}

/// Whether a node's own socket can answer too.
fn has_local(verb: &Verb) -> bool {
    match verb {
        Verb::Get(_) | Verb::Describe { .. } | Verb::Why(_) | Verb::Replay(_) | Verb::Act(_) => true,
        Verb::Hold(_) | Verb::Release(_) => true,
        Verb::Wait { .. } | Verb::Cancel { .. } => false,
        Verb::Policy { .. } | Verb::Verify(_) | Verb::Token { .. } | Verb::Node { .. } | Verb::Demo(_) => false,
        Verb::Login(_) | Verb::Logout | Verb::Whoami | Verb::User { .. } | Verb::ApiToken { .. } => false,
        Verb::Access { .. } | Verb::Audit { .. } | Verb::Webhook { .. } => false,
        Verb::Placement { .. } | Verb::Scaling { .. } => false,
        Verb::Cluster { .. } | Verb::Deploy { .. } | Verb::Scale { .. } | Verb::Rollout { .. } => false,
        Verb::Plan { .. } | Verb::Brain { .. } | Verb::Task { .. } | Verb::Agent { .. } | Verb::Patchbot { .. } => {
            false
        }
        Verb::Profile { .. } | Verb::Version | Verb::Completion { .. } => false,
    }
}

#[derive(Serialize)]
struct Version {
    version: &'static str,
}

fn version(output: &mut Output) -> Result<Exit, Failure> {
    let version = env!("CARGO_PKG_VERSION");
    output.one(&Version { version }, version, || format!("sentinel {version}\n"))?;
    Ok(Exit::Ok)
}

fn completion(shell: clap_complete::Shell, output: &Output) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    let shells = clap_complete::env::Shells::builtins();
    let known = shells.completer(&shell.to_string());
    let known =
        known.ok_or_else(|| Failure::new(Exit::Usage, format!("`{shell}` is not a shell that is completed")))?;
    known.write_registration("COMPLETE", "sentinel", "sentinel", "sentinel", &mut script)?;
    output.bytes(&script)?;
    Ok(Exit::Ok)
}

//! `hold` and `release`, a person's veto over everything but protection; and `wait` and `cancel`, for any command that is under way.
//!
//! A node that is away gets a command when it is back. That is no error: the hub has it, and says until when.

use std::time::Duration;

use wire::CommandId;
use wire::api::{ActView, HandRequest, ReasonRequest};

use super::act::{self, MARGIN, OUTCOME, wait_ms};
use crate::args::Reasoned;
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::session::Session;

/// `sentinel hold NODE --reason TEXT`, and `release`.
pub async fn run(session: &Session, reasoned: &Reasoned, verb: &str, output: &mut Output) -> Result<Exit, Failure> {
    let (node, patience) = (&reasoned.node, &reasoned.patience);
    let wait = match (patience.no_wait, session.timeout) {
        (true, _) => Some(0),
        (false, Some(timeout)) => Some(wait_ms(timeout)),
        // The hub knows whether the node is there to be waited for.
        (false, None) => None,
    };
    let request = HandRequest {
        reason: reasoned.reason.clone(),
        valid_for_ms: patience.valid_for.map(act::milliseconds),
        wait_ms: wait,
    };
    let longest = wait.map_or(OUTCOME, Duration::from_millis);
    let view: ActView = session
        .source(node)?
        .post(&format!("/nodes/{node}/{verb}"), &request, longest + MARGIN)
        .await?;
    if view.status == "done" && view.decision.is_none() {
        let done = match verb {
            "hold" => format!(
                "⏸ {node} is held: it protects, and does nothing else until `sentinel release {node} --reason TEXT`\n"
            ),
            _ => format!("✓ {node} is released\n"),
        };
        output.one(&view, node.as_str(), || done)?;
        return Ok(Exit::Ok);
    }
    act::print(&view, &format!("{verb} of {node}"), patience.no_wait, output)
}

/// `sentinel wait COMMAND`.
pub async fn wait(session: &Session, command: &CommandId, output: &mut Output) -> Result<Exit, Failure> {
    let wait = session.timeout.unwrap_or(OUTCOME);
    let path = format!("/commands/{command}?wait_seconds={}", wait_ms(wait) as f64 / 1e3);
    let view: ActView = session.hub()?.patient(wait + MARGIN).get(&path).await?;
    act::print(&view, &format!("command {command}"), false, output)
}

/// `sentinel cancel COMMAND --reason TEXT`.
pub async fn cancel(
    session: &Session,
    command: &CommandId,
    reason: &str,
    output: &mut Output,
) -> Result<Exit, Failure> {
    let request = ReasonRequest {
        reason: reason.to_owned(),
    };
    let path = format!("/commands/{command}/cancel");
    let view: ActView = session.hub()?.post(&path, &request, session.patience()).await?;
    act::print(&view, &format!("command {command}"), false, output)
}

//! `hold` and `release`: a person's veto over everything but protection.

use wire::api::{ActView, ReasonRequest};

use super::act;
use crate::args::Reasoned;
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::session::Session;

/// `sentinel hold NODE --reason TEXT`, and `release`.
pub async fn run(session: &Session, reasoned: &Reasoned, verb: &str, output: &mut Output) -> Result<Exit, Failure> {
    let request = ReasonRequest {
        reason: reasoned.reason.clone(),
    };
    let node = &reasoned.node;
    let view: ActView = session
        .source(reasoned.local, node)?
        .post(
            &format!("/nodes/{node}/{verb}"),
            &request,
            // The hub waits for the node's answer.
            session.patience() * 3,
        )
        .await?;
    if view.status == "done" && view.decision.is_none() {
        let done = match verb {
            "hold" => format!("⏸ {node} is held: it protects, and does nothing else until `sentinel release {node}`\n"),
            _ => format!("✓ {node} is released\n"),
        };
        output.one(&view, node.as_str(), || done)?;
        return Ok(Exit::Ok);
    }
    act::print(&view, &format!("{verb} of {node}"), output)
}

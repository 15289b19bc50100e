//! `node`: what people decide about who a node is. Each is a change of its identity, in the hub's journal with its reason.

use wire::AgentId;
use wire::api::{IdentityView, ReasonRequest, RejoinNodeRequest, RenameRequest, TokenView};

use super::token;
use crate::args::{Decided, NodeVerb};
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::session::Session;

/// `sentinel node …`.
pub async fn run(session: &Session, what: &NodeVerb, output: &mut Output) -> Result<Exit, Failure> {
    match what {
        NodeVerb::Deny(decided) => {
            let said = format!(
                "✕ {} is shut out until `sentinel node allow {0}`; it goes on alone\n",
                decided.node
            );
            decide(session, decided, "deny", said, output).await
        }
        NodeVerb::Allow(decided) => {
            let said = format!("✓ {} may come in again\n", decided.node);
            decide(session, decided, "allow", said, output).await
        }
        NodeVerb::Remove(decided) => {
            let said = format!(
                "✓ {} is not of this fleet any more; what it has recorded stays\n",
                decided.node
            );
            decide(session, decided, "remove", said, output).await
        }
        NodeVerb::Rename { node, to, reason } => {
            let request = RenameRequest {
                to: to.clone(),
                reason: reason.clone(),
            };
            let said = format!("✓ {node} is {to} from its next certificate on, for which it comes at once\n");
            ask(session, node, "rename", &request, said, output).await
        }
        NodeVerb::Rejoin { node, reason, ttl } => {
            let request = RejoinNodeRequest {
                reason: reason.clone(),
                ttl_ms: u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX),
            };
            let path = format!("/nodes/{node}/rejoin");
            let view: TokenView = session.hub()?.post(&path, &request, session.patience()).await?;
            let what_to_do =
                format!("run this line on the machine that is to be {node}; every other one is shut out from then on");
            token::line(&view, &what_to_do, output)?;
            Ok(Exit::Ok)
        }
    }
}

async fn decide(
    session: &Session,
    decided: &Decided,
    verb: &str,
    said: String,
    output: &mut Output,
) -> Result<Exit, Failure> {
    let request = ReasonRequest {
        reason: decided.reason.clone(),
    };
    ask(session, &decided.node, verb, &request, said, output).await
}

async fn ask(
    session: &Session,
    node: &AgentId,
    verb: &str,
    request: &(impl serde::Serialize + Sync),
    said: String,
    output: &mut Output,
) -> Result<Exit, Failure> {
    let path = format!("/nodes/{node}/{verb}");
    let view: IdentityView = session.hub()?.post(&path, request, session.patience()).await?;
    output.one(&view, node.as_str(), || said)?;
    Ok(Exit::Ok)
}

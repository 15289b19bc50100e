//! How a node becomes one of a hub's agents where no machine is there: a token for it, and the join with that token.

use std::time::Duration;

use hub_core::{AgentRequest, Joining, NewToken, Request};
use wire::change::Caller;
use wire::{AgentId, Digest};

/// What is asked of the hub, in this order. A hub that knows the agent refuses both.
pub fn enrolment(agent: &AgentId, site: &str) -> [Request; 2] {
    let hash = Digest::of(agent.as_str().as_bytes());
    let token = AgentRequest::CreateToken(NewToken {
        hash,
        label: None,
        name: Some(agent.clone()),
        site: Some(site.to_owned()),
        ttl: Duration::from_secs(30 * 24 * 3_600),
        takes_over: false,
    });
    let joining = AgentRequest::Join(Joining {
        token: hash,
        name: None,
        node_key: hash.0,
        proven: true,
        key: hash,
        program: "testbed".to_owned(),
        address: None,
    });
    [token, joining].map(|what| Request::Agents {
        caller: Caller::hub(),
        what,
    })
}

//! `get events`: CloudEvents of everything that arrives, a page of them or all that come.
//!
//! Whoever follows misses nothing: when the hub was away, the stream is asked for again from the last event that was printed.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use wire::api::List;

use crate::args::Get;
use crate::client::{Client, escaped};
use crate::failure::{Exit, Failure};
use crate::output::{Output, Row, say};
use crate::session::Session;
use crate::table::Cell;

/// Events that are asked for at once.
const PAGE: usize = 500;
/// Between two tries to reach a hub that is away.
const AGAIN: Duration = Duration::from_secs(1);

/// An event as the hub told it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
struct Told(Value);

impl Told {
    fn part(&self, name: &str) -> String {
        self.0[name].as_str().unwrap_or_default().to_owned()
    }
}

impl Row for Told {
    fn header(_wide: bool) -> Vec<&'static str> {
        vec!["TIME", "TYPE", "SOURCE", "SUBJECT", "CURSOR"]
    }

    fn cells(&self, _wide: bool) -> Vec<Cell> {
        ["time", "type", "source", "subject", "sentinelcursor"]
            .map(|name| self.part(name).into())
            .into()
    }

    fn name(&self) -> String {
        self.part("id")
    }
}

/// `sentinel get events`.
pub async fn run(session: &Session, get: &Get, follow: bool, output: &mut Output) -> Result<Exit, Failure> {
    if session.is_local() || get.node.is_some() || get.name.is_some() {
        return Err(
            Failure::new(Exit::Usage, "events are the hub's, of all journals together")
                .advise("leave out --local, --node and the name; one node's entries: sentinel get entries --node NAME"),
        );
    }
    let hub = session.hub()?;
    match follow {
        true => all(&hub, get.after.clone(), output).await,
        false => page(&hub, get, output).await,
    }
}

async fn page(hub: &Client, get: &Get, output: &mut Output) -> Result<Exit, Failure> {
    let limit = if get.most() == 0 { usize::MAX } else { get.most() };
    let (mut rows, mut after) = (Vec::new(), get.after.clone());
    loop {
        let after_text = after.as_deref().map(|after| format!("&after={}", escaped(after)));
        let most = PAGE.min(limit - rows.len());
        let path = format!("/events?limit={most}{}", after_text.unwrap_or_default());
        let list: List<Told> = hub.get(&path).await?;
        rows.extend(list.items);
        after = list.next_cursor;
        if after.is_none() || rows.len() >= limit {
            break;
        }
    }
    output.list(&rows)?;
    Ok(Exit::Ok)
}

async fn all(hub: &Client, mut after: Option<String>, output: &mut Output) -> Result<Exit, Failure> {
    let mut is_away = false;
    loop {
        match followed(hub, &mut after, output).await {
            Err(failure) if failure.is_unreachable() => {
                if !is_away {
                    say(&format!("{}; it is tried again", failure.short()));
                }
                is_away = true;
            }
            Err(failure) => return Err(failure),
            Ok(()) => is_away = false,
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Prints what comes until the stream ends; ends well if it began, so that the next try is told anew.
async fn followed(hub: &Client, after: &mut Option<String>, output: &mut Output) -> Result<(), Failure> {
    let after_text = after.as_deref().map(|after| format!("&after={}", escaped(after)));
    let mut events = hub
        .follow(&format!("/events?watch=true{}", after_text.unwrap_or_default()))
        .await?;
    loop {
        let data = match events.data().await {
            Ok(data) => data,
            Err(failure) => {
                say(&failure.short());
                return Ok(());
            }
        };
        let told: Told = serde_json::from_slice(&data)
            .map_err(|cause| Failure::new(Exit::Failure, "the hub tells an event that is no JSON").because(cause))?;
        output.more(std::slice::from_ref(&told))?;
        *after = Some(told.part("sentinelcursor"));
    }
}

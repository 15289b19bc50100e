//! `why`: the explanation of a decision, exactly as the hub or the node tells it.
//!
//! Invariant: the bytes of the explanation are printed unchanged, so that hub and node can be compared with `cmp`.

use wire::api::{DecisionDetail, DecisionView, PlanView};
use wire::{DecisionId, PlanId};

use super::get::{DECISIONS, Page, read};
use crate::args::{Subject, Why};
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::session::Session;

/// `sentinel why ID` and `sentinel why --last`.
pub async fn run(session: &Session, why: &Why, output: &mut Output) -> Result<Exit, Failure> {
    let (client, id) = match &why.id {
        Some(Subject::Plan(id)) => return plan(session, id, output).await,
        Some(Subject::Decision(id)) => {
            let node = why.node.as_ref().unwrap_or(&id.agent);
            if *node != id.agent {
                return Err(Failure::new(
                    Exit::Usage,
                    format!("{id} is a decision of {}, not of {node}", id.agent),
                ));
            }
            (session.source(node)?, id.clone())
        }
        None => newest(session, why).await?,
    };
    let path = format!("/decisions/{id}");
    if output.for_people() {
        output.bytes(&client.bytes(&format!("{path}/explanation")).await?)?;
    } else {
        let detail: DecisionDetail = client.get(&path).await?;
        output.one(&detail, &id.to_string(), String::new)?;
    }
    Ok(Exit::Ok)
}

/// A plan's or a task's life, as the hub tells it from its journal. Their ids look alike, so a plan that is not there may be a task.
async fn plan(session: &Session, id: &PlanId, output: &mut Output) -> Result<Exit, Failure> {
    let client = session.hub()?;
    let found = if output.for_people() {
        told(&client, &format!("/action-plans/{id}/explanation"), output).await
    } else {
        let view: Result<PlanView, Failure> = client.get(&format!("/action-plans/{id}")).await;
        match view {
            Ok(view) => return output.one(&view, &id.to_string(), String::new).map(|()| Exit::Ok),
            Err(failure) => Err(failure),
        }
    };
    match found {
        Err(failure) if failure.exit == Exit::NotFound => task(&client, session, id, output).await,
        other => other,
    }
}

async fn told(client: &Client, path: &str, output: &mut Output) -> Result<Exit, Failure> {
    output.bytes(&client.bytes(path).await?)?;
    Ok(Exit::Ok)
}

async fn task(client: &Client, session: &Session, id: &PlanId, output: &mut Output) -> Result<Exit, Failure> {
    let uuid = super::task::uuid(id);
    let found = if output.for_people() {
        told(client, &format!("/tasks/{uuid}/explanation"), output).await
    } else {
        super::task::show(session, &uuid, output).await
    };
    found.map_err(|failure| match failure.exit {
        Exit::NotFound => Failure::new(Exit::NotFound, format!("there is no plan and no task {id}"))
            .advise("sentinel plan list, sentinel get tasks"),
        _ => failure,
    })
}

/// The newest decision of all that are asked, and who knows it. Nodes that do not answer have none.
async fn newest(session: &Session, why: &Why) -> Result<(Client, DecisionId), Failure> {
    let sources = session.sources(why.node.as_ref())?;
    let mut newest: Option<(DecisionView, Client)> = None;
    let mut silent = Vec::new();
    let asked = sources.len();
    for client in sources {
        match read(&client, DECISIONS, why.node.as_ref(), None, 1).await {
            Ok(Page { rows, .. }) => {
                let row: Option<DecisionView> = rows.into_iter().next();
                let newer = |row: &DecisionView| newest.as_ref().is_none_or(|(known, _)| known.at < row.at);
                if let Some(row) = row.filter(newer) {
                    newest = Some((row, client));
                }
            }
            Err(failure) => silent.push(failure),
        }
    }
    match newest {
        Some((row, client)) => Ok((client, row.id)),
        None if silent.len() == asked && asked > 0 => Err(silent.remove(0)),
        None => Err(Failure::new(
            Exit::NotFound,
            match &why.node {
                Some(node) => format!("{node} has made no decision yet"),
                None => "no decision has been made yet".to_owned(),
            },
        )
        .advise("in the demo: sentinel demo heat edge-01/gpu0")),
    }
}

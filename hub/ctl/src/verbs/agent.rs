//! `agent` and `get agents`: remediation agents.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::args::RemediationAgent;
use crate::client::escaped;
use crate::failure::{Exit, Failure};
use crate::output::{Output, Row, say};
use crate::rows::{BAD, FAINT, GOOD, REDUCED};
use crate::session::Session;
use crate::table::Cell;

/// An agent as the list shows it; the rest of its members is kept for JSON.
#[derive(Debug, Serialize, Deserialize)]
pub struct AgentRow {
    id: String,
    name: String,
    version: String,
    status: String,
    health_score: f64,
    last_heartbeat: String,
    total_tasks: u64,
    successful_tasks: u64,
    #[serde(default)]
    sandbox: String,
    #[serde(flatten)]
    rest: serde_json::Map<String, Value>,
}

impl Row for AgentRow {
    fn header(_: bool) -> Vec<&'static str> {
        vec!["NAME", "STATUS", "VERSION", "SANDBOX", "HEALTH", "TASKS", "HEARD"]
    }

    fn cells(&self, _: bool) -> Vec<Cell> {
        let (sign, style) = match self.status.as_str() {
            "active" => ("●", GOOD),
            "paused" => ("⏸", REDUCED),
            "offline" => ("○", FAINT),
            _ => ("✕", BAD),
        };
        vec![
            Cell::from(self.name.clone()),
            Cell::styled(format!("{sign} {}", self.status), style),
            Cell::from(self.version.clone()),
            Cell::from(self.sandbox.clone()),
            Cell::from(format!("{:.0} %", self.health_score * 100.0)),
            Cell::from(format!("{} of {}", self.successful_tasks, self.total_tasks)),
            Cell::from(self.last_heartbeat.clone()),
        ]
    }

    fn name(&self) -> String {
        self.name.clone()
    }
}

/// `sentinel get agents`.
pub async fn list(session: &Session, name: Option<&str>, output: &mut Output) -> Result<Exit, Failure> {
    if let Some(name) = name {
        let row = named(session, name).await?;
        output.single(&row)?;
        return Ok(Exit::Ok);
    }
    let rows: Vec<AgentRow> = session.hub()?.get("/agents?limit=1000").await?;
    output.list(&rows)?;
    Ok(Exit::Ok)
}

async fn named(session: &Session, name: &str) -> Result<AgentRow, Failure> {
    session.hub()?.get(&format!("/agents/name/{}", escaped(name))).await
}

/// `sentinel agent …`.
pub async fn run(session: &Session, what: &RemediationAgent, output: &mut Output) -> Result<Exit, Failure> {
    let (name, change) = match what {
        RemediationAgent::Pause { name } => (name, json!({"status": "paused"})),
        RemediationAgent::Resume { name } => (name, json!({"status": "active"})),
        RemediationAgent::Trust { name, key } => (name, json!({ "trust_key": key })),
        RemediationAgent::Remove { name } => {
            let id = named(session, name).await?.id;
            session.hub()?.delete_bare(&format!("/agents/{}", escaped(&id))).await?;
            say(&format!("✓ agent {name} is forgotten"));
            return Ok(Exit::Ok);
        }
    };
    let id = named(session, name).await?.id;
    let row: AgentRow = session
        .hub()?
        .patch(&format!("/agents/{}", escaped(&id)), &change)
        .await?;
    output.single(&row)?;
    Ok(Exit::Ok)
}

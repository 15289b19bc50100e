//! `simulate --since`: what a draft would have decided otherwise, of what the hub stored. The hub replays; this prints.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::files;
use crate::args::Simulate;
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::output::{Output, Row, say};
use crate::rows::UNKNOWN;
use crate::session::Session;
use crate::table::Cell;

/// How long the hub may replay when `--timeout` does not say: days of a fleet take some seconds.
const REPLAYED_WITHIN: Duration = Duration::from_secs(30);

/// One decision that a draft would have made otherwise.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Differs {
    /// The decision, or the line of the question.
    pub id: String,
    /// Whose it was.
    pub node: String,
    /// When, RFC 3339.
    pub at: String,
    /// What was wanted.
    pub action: String,
    /// On what.
    pub target: String,
    /// The verdict as it was.
    pub old: String,
    /// The verdict of the draft.
    pub new: String,
    /// The rule that makes the difference.
    pub rule: String,
    /// Why, for people.
    pub text: String,
}

/// The whole answer.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct SimulateView {
    /// From when on decisions were compared; absent for a file of questions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// What would differ.
    pub items: Vec<Differs>,
    /// Decisions that were judged again.
    pub considered: u64,
    /// How many of them differ; `items` may be fewer.
    pub differ: u64,
    /// Decisions whose facts are not stored any more.
    #[serde(default)]
    pub not_replayable: u64,
    /// Why not all since then was looked at; absent if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut: Option<String>,
}

impl Row for Differs {
    fn header(_wide: bool) -> Vec<&'static str> {
        vec!["ID", "NODE", "AT", "ACTION", "WAS", "WOULD BE", "RULE", "WHY"]
    }

    fn cells(&self, _wide: bool) -> Vec<Cell> {
        let wanted = format!("{} {}", self.action, self.target);
        let all = [
            &self.id,
            &self.node,
            &self.at,
            &wanted.trim_end().to_owned(),
            &self.old,
            &self.new,
            &self.rule,
            &self.text,
        ];
        let cell = |text: &String| match text.as_str() {
            "" => UNKNOWN.into(),
            text => text.into(),
        };
        all.into_iter().map(cell).collect()
    }

    fn name(&self) -> String {
        self.id.clone()
    }
}

/// Asks the hub.
pub async fn hub(session: &Session, simulate: &Simulate, output: &mut Output) -> Result<Exit, Failure> {
    let text = files::text(&simulate.bundle)?;
    let seconds = simulate.since.unwrap_or_default().as_secs();
    let path = format!("/policies/simulate?since={seconds}s");
    let hub = Client::hub(session.context(), session.timeout.unwrap_or(REPLAYED_WITHIN))?;
    let view: SimulateView = hub.post_text(&path, text).await?;
    told(&view, output)
}

/// Prints it.
pub fn told(view: &SimulateView, output: &mut Output) -> Result<Exit, Failure> {
    match output.is_document() {
        true => output.one(view, "simulation", String::new)?,
        false => output.list(&view.items)?,
    }
    let lost = match view.not_replayable {
        0 => String::new(),
        lost => format!("; {lost} could not be replayed"),
    };
    say(&format!(
        "{} of {} decisions would differ{lost}",
        view.differ, view.considered
    ));
    if let Some(cut) = &view.cut {
        say(cut);
    }
    Ok(Exit::Ok)
}

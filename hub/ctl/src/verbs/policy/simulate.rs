//! `simulate --since`: what a draft would have decided otherwise, and what only it would have wanted, of what the hub stored.
//!
//! The hub replays; this prints.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::files;
use crate::args::{Format, Simulate};
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

/// Something that only the draft would have wanted of the stored readings.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct OnlyDraft {
    /// Where.
    pub node: String,
    /// When for the first time, RFC 3339.
    pub at: String,
    /// When for the last time.
    pub until: String,
    /// How often.
    pub times: u64,
    /// The draft's rule that would have wanted it.
    pub rule: String,
    /// The rule would have taken back what it had done.
    pub undo: bool,
    /// Name of the action.
    pub action: String,
    /// The action in full.
    pub wanted: String,
    /// On what.
    pub target: String,
    /// The reading that it came from.
    pub reading: Value,
    /// The verdict of the draft; absent where a number is not known.
    pub verdict: Option<String>,
    /// The rule that determines the verdict, or whose number is not known.
    pub by: String,
    /// Why, for people.
    pub text: String,
}

/// Which readings were shown to the draft.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Readings {
    /// Nodes that have any.
    pub nodes: u64,
    /// Samples.
    pub samples: u64,
    /// Gaps between them.
    pub gaps: u64,
    /// Samples so far apart that no rule could see whether anything held between them.
    pub sparse: u64,
    /// Generations of the policies that the draft was compared with.
    pub compared_with: Vec<u64>,
    /// Which of them the hub does not have, and what stood for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replaced: Option<String>,
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
    /// What only the draft would have wanted; absent for a file of questions, and from older hubs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only_draft: Option<Vec<OnlyDraft>>,
    /// How many of them there are; `only_draft` may be fewer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only_draft_total: Option<u64>,
    /// Which readings that is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readings: Option<Readings>,
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
        all.map(|text| cell(text)).into()
    }

    fn name(&self) -> String {
        self.id.clone()
    }
}

impl Row for OnlyDraft {
    fn header(_wide: bool) -> Vec<&'static str> {
        vec!["NODE", "AT", "TIMES", "RULE", "WOULD WANT", "WOULD BE", "BY", "WHY"]
    }

    fn cells(&self, _wide: bool) -> Vec<Cell> {
        let times = self.times.to_string();
        let wanted = format!("{} {}", self.wanted, self.target);
        let all = [
            self.node.as_str(),
            self.at.as_str(),
            times.as_str(),
            self.rule.as_str(),
            wanted.as_str(),
            self.verdict.as_deref().unwrap_or_default(),
            self.by.as_str(),
            self.text.as_str(),
        ];
        all.map(cell).into()
    }

    fn name(&self) -> String {
        self.node.clone()
    }
}

fn cell(text: &str) -> Cell {
    match text {
        "" => UNKNOWN.into(),
        text => text.into(),
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

/// Prints it: what would differ, then what only the draft would have wanted.
pub fn told(view: &SimulateView, output: &mut Output) -> Result<Exit, Failure> {
    let only_draft = view.only_draft.as_deref().unwrap_or_default();
    match output.is_document() {
        true => output.one(view, "simulation", String::new)?,
        false => output.list(&view.items)?,
    }
    if !only_draft.is_empty() && !output.is_document() && output.format() != Format::Name {
        output.another();
        output.list(only_draft)?;
    }
    let lost = match view.not_replayable {
        0 => String::new(),
        lost => format!("; {lost} could not be replayed"),
    };
    say(&format!(
        "{} of {} decisions would differ{lost}",
        view.differ, view.considered
    ));
    if let Some(readings) = &view.readings {
        say(&seen(
            readings,
            view.only_draft_total.unwrap_or(only_draft.len() as u64),
        ));
    }
    if let Some(cut) = &view.cut {
        say(cut);
    }
    Ok(Exit::Ok)
}

/// What was looked at for wishes of the draft alone, and what that cannot tell.
fn seen(readings: &Readings, total: u64) -> String {
    if readings.samples == 0 {
        return "no readings are stored since then: what only the draft would have wanted is not known".to_owned();
    }
    let policies: Vec<_> = readings.compared_with.iter().map(u64::to_string).collect();
    let mut text = format!(
        "{total} {} that policy {} would not have had, in {} samples of {} nodes with {} gaps",
        if total == 1 { "wish" } else { "wishes" },
        policies.join(", "),
        readings.samples,
        readings.nodes,
        readings.gaps
    );
    if readings.sparse > 0 {
        text.push_str(&format!(
            "; in {} of them, 10 s or more apart, nothing is seen to hold",
            readings.sparse
        ));
    }
    if let Some(replaced) = &readings.replaced {
        text.push_str("; ");
        text.push_str(replaced);
    }
    text
}

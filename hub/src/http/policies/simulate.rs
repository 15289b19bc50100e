//! The time machine: stored decisions of every node, judged again by a draft, and its stored readings, seen by the draft.
//!
//! Reads and publishes nothing. What a draft would have done is `policy::Rehearsal`'s to say, and what it would have wanted
//! `policy::Readings`'; here is how much of the past is read, and what is said when it is not all.
//!
//! Invariant: every decision since the asked time is counted once, as considered or as not replayable, or `cut` says why not.
//! Read next: `simulate/readings.rs` (blocks in, merged with the decisions).

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Query, State};
use policy::{Bundle, Rehearsal, Rehearsed};
use serde::Deserialize;
use wire::api::{NodeView, SimulateView, SimulatedReadingsView, SimulatedView};
use wire::ids::AgentId;
use wire::time::Wall;
use wire::view::Story;

use super::super::answer::{self, query};
use super::super::{App, Failure};
use crate::store::{Store, StoreError, StoredDecision};

mod in_force;
mod readings;

use self::in_force::Bundles;

/// How far back is looked when nobody says.
const USUAL_SPAN: &str = "7d";
/// Differences that are listed; more are counted.
const MOST_LISTED: usize = 500;
/// Decisions that are read for one answer: some seconds of one core.
const MOST_DECISIONS: usize = 50_000;
/// How long one answer may take; a request has 30 s.
const MOST_TIME: Duration = Duration::from_secs(15);
/// Decisions before the asked time that are judged too, and not reported, so that what rules count is not zero at its beginning.
const BEFORE_MS: i64 = 24 * 3_600_000;
/// Decisions of one read.
const PAGE: usize = 500;

/// Query of `simulate`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SimulateQuery {
    since: Option<String>,
}

/// What the draft in the body would have decided otherwise.
pub async fn simulate(
    State(app): State<App>,
    asked: Result<Query<SimulateQuery>, QueryRejection>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<SimulateView>, Failure> {
    let since = query(asked)?.since;
    let since = since_when(since.as_deref().unwrap_or(USUAL_SPAN), app.now())?;
    let text = answer::body(body)?;
    let nodes = app.hub.nodes().await?;
    app.blocking(move |app| {
        let draft = Bundle::parse(&text).map_err(|problems| Failure::bundle(&problems))?;
        let replay = Replay::new(&*app.store, Arc::new(draft), since);
        Ok(Json(replay.run(&nodes)?))
    })
    .await
}

/// `7d`, `12h`, `30m`, `90s`, or a time in RFC 3339.
fn since_when(text: &str, now: Wall) -> Result<Wall, Failure> {
    let wrong = || {
        Failure::field(
            "/since",
            format!("`{text}` is neither a span (7d, 12h, 30m) nor a time (RFC 3339)"),
        )
    };
    if let Ok(at) = text.parse::<Wall>() {
        return Ok(at);
    }
    let (number, unit) = text
        .trim()
        .split_at_checked(text.trim().len().saturating_sub(1))
        .ok_or_else(wrong)?;
    let unit_ms: i64 = match unit {
        "d" => 86_400_000,
        "h" => 3_600_000,
        "m" => 60_000,
        "s" => 1_000,
        _ => return Err(wrong()),
    };
    let number: i64 = number
        .trim()
        .parse()
        .ok()
        .filter(|number| *number > 0)
        .ok_or_else(wrong)?;
    Ok(Wall(now.0.saturating_sub(number.saturating_mul(unit_ms))))
}

/// One answer in the making.
struct Replay<'a> {
    store: &'a dyn Store,
    draft: Arc<Bundle>,
    until: Instant,
    read: usize,
    blocks: usize,
    bundles: Bundles,
    view: SimulateView,
}

impl<'a> Replay<'a> {
    fn new(store: &'a dyn Store, draft: Arc<Bundle>, since: Wall) -> Self {
        Self {
            store,
            draft,
            until: Instant::now() + MOST_TIME,
            read: 0,
            blocks: 0,
            bundles: Bundles::default(),
            view: SimulateView {
                since,
                items: Vec::new(),
                considered: 0,
                differ: 0,
                not_replayable: 0,
                only_draft: Vec::new(),
                only_draft_total: 0,
                readings: SimulatedReadingsView::default(),
                cut: None,
            },
        }
    }

    fn run(mut self, nodes: &[NodeView]) -> Result<SimulateView, StoreError> {
        for (done, node) in nodes.iter().enumerate() {
            let left = nodes.len() - done;
            let share = MOST_DECISIONS.saturating_sub(self.read) / left;
            let rows = self.past(&node.name, share)?;
            self.node(&rows);
            self.readings(node, &rows, left)?;
            if Instant::now() >= self.until && done + 1 < nodes.len() {
                self.cut(format!(
                    "after {} s {} of {} nodes were done",
                    MOST_TIME.as_secs(),
                    done + 1,
                    nodes.len()
                ));
                break;
            }
        }
        self.view.items.sort_by(|a, b| (a.at, &a.id).cmp(&(b.at, &b.id)));
        self.view
            .only_draft
            .sort_by(|a, b| (a.at, &a.node).cmp(&(b.at, &b.node)));
        self.bundles.tell(&mut self.view.readings);
        Ok(self.view)
    }

    fn cut(&mut self, reason: String) {
        let cut = &mut self.view.cut;
        cut.get_or_insert_with(|| format!("{reason}; a later `since` covers less and all of it"));
    }

    /// A node's decisions since a day before the asked time, newest first, at most `share` of them.
    fn past(&mut self, node: &AgentId, share: usize) -> Result<Vec<StoredDecision>, StoreError> {
        let from = self.view.since.0.saturating_sub(BEFORE_MS);
        let (mut rows, mut cursor) = (Vec::new(), None::<String>);
        loop {
            let room = share.saturating_sub(rows.len()).min(PAGE);
            let page = self.store.decisions(Some(node), cursor.as_deref(), room.max(1))?;
            self.read += page.rows.len();
            let oldest = page
                .rows
                .last()
                .and_then(|row| row.story().ok())
                .map(|story| story.at.wall);
            rows.extend(page.rows);
            cursor = page.next;
            if cursor.is_none() || oldest.is_some_and(|at| at.0 < from) {
                return Ok(rows);
            }
            if rows.len() >= share || Instant::now() >= self.until {
                if oldest.is_none_or(|at| at >= self.view.since) {
                    self.cut(format!("only the newest {} decisions of {node} were read", rows.len()));
                }
                return Ok(rows);
            }
        }
    }

    fn node(&mut self, newest_first: &[StoredDecision]) {
        let mut rehearsal = Rehearsal::new(Arc::clone(&self.draft));
        for row in newest_first.iter().rev() {
            let Ok(story) = row.story() else {
                self.view.not_replayable += 1;
                continue;
            };
            let rehearsed = rehearsal.next(&story);
            if story.at.wall < self.view.since {
                continue;
            }
            match rehearsed {
                Rehearsed::Same => self.view.considered += 1,
                Rehearsed::Unknown { .. } => self.view.not_replayable += 1,
                Rehearsed::Differs { judgement, text } => {
                    self.view.considered += 1;
                    self.view.differ += 1;
                    if self.view.items.len() < MOST_LISTED {
                        self.view.items.push(item(&story, &judgement, text));
                    }
                }
            }
        }
    }
}

fn item(story: &Story, new: &wire::decision::Judgement, text: String) -> SimulatedView {
    let wanted = &story.decision.inputs.wanted;
    SimulatedView {
        id: story.id.clone(),
        node: story.id.agent.clone(),
        at: story.at.wall,
        action: wanted.kind.name().to_owned(),
        target: wanted.target.clone(),
        old: story.decision.judgement.verdict,
        new: new.verdict,
        rule: new.rule.clone(),
        text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_times_are_read_and_nothing_else() {
        let now: Wall = "2026-11-24T12:00:00Z".parse().expect("a time");
        for (text, expected) in [
            ("7d", Some("2026-11-17T12:00:00Z")),
            ("90m", Some("2026-11-24T10:30:00Z")),
            ("2026-11-20T00:00:00Z", Some("2026-11-20T00:00:00Z")),
            ("", None),
            ("d", None),
            ("-1d", None),
            ("7 weeks", None),
            ("7µ", None),
            ("9999999999999999999d", None),
        ] {
            let expected = expected.map(|text| text.parse::<Wall>().expect("a time"));
            assert_eq!(since_when(text, now).ok(), expected, "{text}");
        }
    }
}

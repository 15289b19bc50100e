//! The fleet and one node, from the core's live state.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use wire::api::{Faults, List, NodeView};

use super::answer::{json, node_name, tagged};
use super::{App, Failure};

/// How old a written-out fleet table may be: no age in it is shown finer, and a hundred consoles cost one.
const FRESH: Duration = Duration::from_millis(50);
/// Decisions in the answer for a single node.
const LAST_DECISIONS: usize = 5;

/// The fleet table as it was last written out.
#[derive(Debug, Default)]
pub struct FleetPage(Mutex<Option<(Instant, Bytes)>>);

impl FleetPage {
    fn fresh(&self) -> Option<Bytes> {
        let page = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, bytes) = page.as_ref()?;
        (at.elapsed() < FRESH).then(|| bytes.clone())
    }

    fn keep(&self, bytes: &Bytes) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), bytes.clone()));
    }
}

/// All nodes, by name.
pub async fn list(State(app): State<App>, headers: HeaderMap) -> Result<Response, Failure> {
    if let Some(page) = app.fleet.fresh() {
        return Ok(tagged(&headers, "application/json", page));
    }
    let items = app.hub.nodes().await?;
    let page = serde_json::to_vec(&List {
        items,
        next_cursor: None,
    })
    .map(Bytes::from)
    .map_err(|error| Failure::internal(error.to_string()))?;
    app.fleet.keep(&page);
    Ok(tagged(&headers, "application/json", page))
}

/// One node, with its last decisions and its devices' faults.
pub async fn one(State(app): State<App>, Path(name): Path<String>, headers: HeaderMap) -> Result<Response, Failure> {
    let name = node_name(&name)?;
    let mut node = app
        .hub
        .node(name.clone())
        .await?
        .ok_or_else(|| Failure::unknown_node(&name))?;
    let (page, entries) = app
        .read(move |store| {
            let page = store.decisions(Some(&name), None, LAST_DECISIONS)?;
            Ok((page, store.newest_entries(&name, None, Faults::LOOK_BACK)?))
        })
        .await?;
    let mut faults = Faults::default();
    // Both end at the same bound.
    let _ = entries.iter().try_for_each(|(epoch, raw)| faults.look(*epoch, raw));
    node.faults = faults.list();
    node.last_decisions = page
        .rows
        .iter()
        .filter_map(|row| row.story().ok())
        .map(|story| story.view())
        .collect();
    node.last_decision = node.last_decisions.first().cloned();
    Ok(json(&headers, &node))
}

/// The domains that rules of kind `blast_radius` count, with who has its turn and who waits.
pub async fn domains(State(app): State<App>, headers: HeaderMap) -> Result<Response, Failure> {
    let items = app.hub.domains().await?;
    Ok(json(
        &headers,
        &List {
            items,
            next_cursor: None,
        },
    ))
}

/// Fails if there is no such node.
pub async fn known(app: &App, name: &wire::ids::AgentId) -> Result<NodeView, Failure> {
    app.hub
        .node(name.clone())
        .await?
        .ok_or_else(|| Failure::unknown_node(name))
}

/// A page that has never been written out.
pub fn empty() -> Arc<FleetPage> {
    Arc::default()
}

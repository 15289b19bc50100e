//! What happened to one thing, from the hub's own journal: one line, or one change, for each entry about it, oldest first.

use wire::api::AuditView;
use wire::entry::EntryBody;
use wire::ids::{AgentId, DecisionId};

use crate::store::{Store, StoreError, Walk};

/// Entries of the hub that are looked through for one thing: a day of a busy hub.
const MOST_ENTRIES: usize = 50_000;

/// The changes of `target` (`plan/ID`, `task/ID`) from the newest `begin` on, the verb before which there is nothing about it. Blocks.
pub fn changes(store: &dyn Store, target: &str, begin: &str) -> Result<Vec<AuditView>, StoreError> {
    let (hub, mut found, mut seen) = (AgentId::hub(), Vec::new(), 0);
    store.walk_back(&hub, &mut |epoch, raw| {
        seen += 1;
        let entry = match raw.decode() {
            Ok(entry) if matches!(&entry.body, EntryBody::Changed(change) if change.target == target) => entry,
            _ if seen < MOST_ENTRIES => return Walk::Continue(()),
            _ => return Walk::Break(()),
        };
        let id = DecisionId {
            agent: hub.clone(),
            epoch,
            seq: entry.seq,
        };
        let mut is_first = false;
        if let EntryBody::Changed(change) = entry.body {
            is_first = change.verb == begin;
            found.push(AuditView::new(id, entry.at.wall, *change));
        }
        if is_first { Walk::Break(()) } else { Walk::Continue(()) }
    })?;
    found.reverse();
    Ok(found)
}

/// The same as text, one line each.
pub fn lines(store: &dyn Store, target: &str, begin: &str) -> Result<Vec<String>, StoreError> {
    let line = |change: AuditView| {
        let mut text = format!(
            "{}  {}  {} ({}) {} {}",
            change.at,
            change.id,
            change.who,
            change.via.name(),
            change.verb,
            change.target
        );
        if let Some(code) = &change.code {
            text.push_str(&format!(
                " refused, {code}: {}",
                change.detail.as_deref().unwrap_or_default()
            ));
        }
        if !change.reason.is_empty() {
            text.push_str(&format!(": {}", change.reason));
        }
        for (name, value) in &change.details {
            text.push_str(&format!("; {name} {value}"));
        }
        text
    };
    Ok(changes(store, target, begin)?.into_iter().map(line).collect())
}

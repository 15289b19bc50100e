//! What happened to one thing, from the hub's own journal: one line for each entry about it, oldest first.

use wire::entry::EntryBody;
use wire::ids::AgentId;
use wire::view::entry_view;

use crate::store::{Store, StoreError, Walk};

/// Entries of the hub that are looked through for one thing: a day of a busy hub.
const MOST_ENTRIES: usize = 50_000;

/// The entries about `target` (`plan/ID`, `task/ID`) from the newest `begin` on, the verb before which there is nothing about it. Blocks.
pub fn lines(store: &dyn Store, target: &str, begin: &str) -> Result<Vec<String>, StoreError> {
    let (hub, mut lines, mut seen) = (AgentId::hub(), Vec::new(), 0);
    store.walk_back(&hub, &mut |epoch, raw| {
        seen += 1;
        let change = match raw.decode().map(|entry| entry.body) {
            Ok(EntryBody::Changed(change)) if change.target == target => change,
            _ if seen < MOST_ENTRIES => return Walk::Continue(()),
            _ => return Walk::Break(()),
        };
        if let Ok(view) = entry_view(&hub, epoch, raw) {
            lines.push(format!("{}  {hub}.{epoch}.{}  {}", view.at, view.seq, view.text));
        }
        if change.verb == begin {
            Walk::Break(())
        } else {
            Walk::Continue(())
        }
    })?;
    lines.reverse();
    Ok(lines)
}

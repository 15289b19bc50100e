//! Compares checkpoints that agents give back with what the store holds, away from the turn loop.
//!
//! Never decides what a difference means: that is `hub/core/src/checkpoints.rs`.

use std::ops::ControlFlow;
use std::sync::Arc;

use hub_core::{Held, Input};
use tokio::sync::mpsc;
use wire::entry::ChainHead;
use wire::ids::{AgentId, Epoch, Seq};

use crate::hub::Handle;
use crate::store::{Store, StoreError};

/// Places that wait to be looked at: more than the core ever asks for at once.
pub const WAITING: usize = 128;

/// Looks at one place after the other, until nobody asks any more.
pub async fn compare(store: Arc<dyn Store>, hub: Handle, mut asked: mpsc::Receiver<ChainHead>) {
    while let Some(head) = asked.recv().await {
        let store = Arc::clone(&store);
        let looked = tokio::task::spawn_blocking(move || held(&*store, head)).await;
        let held = match looked {
            Ok(Ok(held)) => held,
            Ok(Err(error)) => {
                tracing::warn!(
                    epoch = head.epoch.0,
                    seq = head.seq.0,
                    error = error.chain(),
                    "a checkpoint cannot be compared"
                );
                Held::Unread
            }
            Err(_) => Held::Unread,
        };
        if matches!(held, Held::Other | Held::Ends(_)) {
            tracing::error!(
                epoch = head.epoch.0,
                seq = head.seq.0,
                "this journal is not the one that this hub signed: it was restored from an older copy, or rewritten; `sentinel audit \
                 verify` says more"
            );
        }
        if hub.tell(Input::Compared { head, held }).await.is_err() {
            return;
        }
    }
}

/// What the store holds at a place of the hub's own journal. Blocks.
fn held(store: &dyn Store, head: ChainHead) -> Result<Held, StoreError> {
    let before = Seq(head.seq.0.saturating_sub(1));
    let found = store.entries(&AgentId::hub(), (head.epoch, before), 1)?;
    match found.first() {
        Some((epoch, raw)) if (*epoch, raw.seq) == (head.epoch, head.seq) => {
            let is_same = raw.digest == head.digest;
            Ok(if is_same { Held::Same } else { Held::Other })
        }
        _ => gone(store, head),
    }
}

/// Why a place holds no entry: what made room in the store removes the oldest, and says up to where.
fn gone(store: &dyn Store, head: ChainHead) -> Result<Held, StoreError> {
    let floors = store.floors(&AgentId::hub())?;
    let floor = floors
        .iter()
        .find(|(epoch, _)| *epoch == head.epoch)
        .map(|(_, floor)| floor);
    match floor {
        Some(floor) if floor.through == head.seq && floor.digest != head.digest => Ok(Held::Other),
        Some(floor) if floor.through >= head.seq => Ok(Held::Unread),
        _ => Ok(Held::Ends(last_of(store, head.epoch)?)),
    }
}

/// The last entry of an epoch; 0 where there is none.
fn last_of(store: &dyn Store, wanted: Epoch) -> Result<Seq, StoreError> {
    let mut last = Seq(0);
    store.walk_back(&AgentId::hub(), &mut |epoch, raw| {
        if epoch == wanted {
            last = raw.seq;
        }
        match epoch > wanted {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        }
    })?;
    Ok(last)
}

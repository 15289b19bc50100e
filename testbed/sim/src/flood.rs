//! An agent that fills the hub's disk: a good chain of its own, as fast as it can, whatever is answered.
//!
//! What must hold is that the others do not notice: none of them loses an entry for it, and all come together as ever. Its chance is
//! none: what else a seed plays does not depend on it.
//!
//! Read next: `hub/core/src/retention.rs` (whose entries go), `store.rs` (the model that removes them).

use hub_core::{Input, SessionId};
use wire::BundleRef;
use wire::entry::{ChainHead, Entry, EntryBody, Event as Happened};
use wire::frame::{Entries, Frame, Hello};
use wire::ids::{AgentId, Epoch, Generation, HubEpoch, Seq};
use wire::time::{Mono, Now, Wall};

use crate::world::{Event, World};

/// No other agent's sessions have such a number.
const FIRST_SESSION: u64 = 1 << 61;
/// Entries in one go.
const AT_ONCE: usize = 200;
/// Time between two of them.
const EVERY_MS: u64 = 500;
/// How many goes one session has.
const GOES: u64 = 16;

/// Its name.
pub(crate) fn flooder() -> AgentId {
    AgentId::new("flooder").expect("letters")
}

/// Where it is.
#[derive(Debug, Default)]
pub(crate) struct Flood {
    goes: u64,
    head: Option<ChainHead>,
}

impl Flood {
    fn session(&self) -> SessionId {
        SessionId(FIRST_SESSION + self.goes / GOES)
    }

    fn hello(&self, head: ChainHead, near: HubEpoch) -> Frame {
        Frame::Hello(Hello {
            version: wire::frame::VERSION,
            oldest_version: wire::frame::OLDEST_VERSION,
            program: "flooder".to_owned(),
            head,
            oldest_entry: Seq(1),
            acked: Seq(0),
            older: Vec::new(),
            telemetry: Seq(0),
            bundle: BundleRef::NONE,
            generation_floor: Generation(0),
            hub_epoch: near,
            process: 1,
            last_session: 0,
            now: Now::default(),
        })
    }
}

/// The next entries after a head.
fn made(head: &mut ChainHead) -> Vec<Vec<u8>> {
    let entries = (0..AT_ONCE).map(|_| {
        let entry = Entry {
            seq: head.seq.next(),
            at: Now {
                mono: Mono(head.seq.0),
                wall: Wall(0),
            },
            prev: head.digest,
            body: EntryBody::Event(Happened::Notified {
                message: "the same again and again, and nobody needs to know".repeat(4),
            }),
        };
        let raw = entry.encode();
        *head = ChainHead {
            epoch: head.epoch,
            seq: raw.seq,
            digest: raw.digest,
        };
        raw.bytes
    });
    entries.collect()
}

impl World {
    /// It sends some more, or comes anew and goes on where the hub is.
    pub(crate) fn flood(&mut self) {
        if self.healed_at.is_some() {
            return;
        }
        self.after(EVERY_MS, Event::Flood);
        let Some(near) = self.hub.as_ref().map(hub_core::Hub::hub_epoch) else {
            self.flooding.head = None;
            return;
        };
        let agent = flooder();
        let session = self.flooding.session();
        if self.flooding.goes.is_multiple_of(GOES) || self.flooding.head.is_none() {
            let head = self.store.head(&agent, Epoch(1));
            self.flooding.head = Some(head);
            let hello = self.flooding.hello(head, near);
            self.tell_hub(Input::SessionOpened { session, agent });
            self.tell_hub(Input::Frame { session, frame: hello });
        } else if let Some(mut head) = self.flooding.head {
            let first = head.seq.next();
            let raw = made(&mut head);
            self.flooding.head = Some(head);
            let frame = Frame::Entries(Entries {
                epoch: Epoch(1),
                first,
                raw,
            });
            self.tell_hub(Input::Frame { session, frame });
        }
        self.flooding.goes += 1;
        let now = self.hub_clock.at(self.now_ms);
        let nodes = self.hub.as_ref().map_or(0, |hub| hub.nodes(now).len());
        let honest = self.nodes.len();
        self.invariants.require(nodes > honest, || {
            format!("V2: {nodes} nodes are shown of {honest} and the one that floods")
        });
    }
}

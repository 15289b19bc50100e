//! An agent in the wrong hands: a valid identity that says whatever could harm the hub or the others.
//!
//! It takes no part in what must hold for honest nodes; what must hold is that they do not notice. Its chance is its own, so that
//! what else a seed plays does not depend on it. It is denied when the world heals, as a person would do.
//!
//! Read next: `hub/core/tests/extremes.rs` (the same, frame by frame).

use hub_core::{AgentRequest, Input, Request, SessionId};
use wire::BundleRef;
use wire::change::Caller;
use wire::domains::NodeFacts;
use wire::entry::{ChainHead, Entry, EntryBody, Event as Happened};
use wire::frame::{AskTime, Entries, Frame, Hello, TelemetryBlock};
use wire::ids::{AgentId, Digest, Epoch, Generation, HubEpoch, Seq};
use wire::time::{Mono, Now, Wall};

use crate::random::Random;
use crate::world::{Event, World};

/// Ends of numbers, and numbers next to what a hub has.
const ENDS: [u64; 11] = [
    0,
    1,
    2,
    64,
    1_025,
    1 << 32,
    (1 << 48) - 1,
    1 << 48,
    1 << 62,
    u64::MAX - 1,
    u64::MAX,
];
/// No honest session has such a number.
const FIRST_SESSION: u64 = 1 << 62;

/// What it remembers.
#[derive(Debug)]
pub(crate) struct Hostile {
    random: Random,
    sessions: u64,
}

impl Hostile {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed ^ 0xBAD),
            sessions: 0,
        }
    }

    fn session(&self) -> SessionId {
        SessionId(FIRST_SESSION + self.sessions)
    }

    fn end(&mut self) -> u64 {
        self.random.pick(&ENDS).copied().unwrap_or(0)
    }

    fn hello(&mut self, near: HubEpoch) -> Frame {
        let is_let_in = self.random.chance(700);
        let far = self.end();
        let seq = Seq(self.end());
        let digest = Digest([u8::try_from(self.random.below(256)).unwrap_or(0); 32]);
        Frame::Hello(Hello {
            version: wire::frame::VERSION,
            oldest_version: wire::frame::OLDEST_VERSION,
            program: "hostile".to_owned(),
            head: ChainHead {
                epoch: Epoch(self.end()),
                seq,
                digest,
            },
            oldest_entry: seq,
            acked: seq,
            older: Vec::new(),
            telemetry: Seq(self.end()),
            bundle: BundleRef {
                generation: Generation(self.random.below(4)),
                digest,
            },
            generation_floor: Generation(self.end()),
            hub_epoch: HubEpoch(if is_let_in { near.0 + self.random.below(64) } else { far }),
            process: 1,
            last_session: self.end(),
            now: Now::default(),
        })
    }

    fn frame(&mut self) -> Frame {
        let epoch = Epoch(self.end());
        match self.random.below(4) {
            0 => {
                let seq = Seq(self.end());
                let entry = Entry {
                    seq,
                    at: Now {
                        mono: Mono(self.end()),
                        wall: Wall(i64::MIN),
                    },
                    prev: Digest::ZERO,
                    body: EntryBody::Event(Happened::ClockStepped { by_ms: i64::MAX }),
                };
                let raw = vec![entry.encode().bytes; 2];
                Frame::Entries(Entries { epoch, first: seq, raw })
            }
            // One epoch and growing places: a block that comes twice is no matter of this world.
            1 => Frame::Telemetry(TelemetryBlock {
                epoch: Epoch(u64::MAX),
                seq: Seq(self.sessions + 1),
                block: vec![3; 40],
            }),
            2 => Frame::NodeFacts(NodeFacts {
                labels: vec![("rack".to_owned(), self.random.next().to_string())],
                acting: u32::MAX,
                ..NodeFacts::default()
            }),
            _ => Frame::AskTime(AskTime {
                asked: Mono(self.end()),
                error_ms: self.end(),
            }),
        }
    }
}

impl World {
    /// It says a few things, or comes anew.
    pub(crate) fn harm(&mut self) {
        let agent = AgentId::new("mallory").expect("letters");
        if self.healed_at.is_some() {
            let (caller, reason) = (Caller::hub(), "hostile".to_owned());
            let what = Request::Agents {
                caller,
                what: AgentRequest::Deny { agent, reason },
            };
            return self.tell_hub(Input::Request { request: 0, what });
        }
        let next = self.hostile.random.between(50, 4_000);
        self.after(next, Event::Harm);
        let Some(near) = self.hub.as_ref().map(hub_core::Hub::hub_epoch) else {
            return;
        };
        if self.hostile.random.chance(500) {
            for _ in 0..3 {
                let (session, frame) = (self.hostile.session(), self.hostile.frame());
                self.tell_hub(Input::Frame { session, frame });
            }
            return;
        }
        self.hostile.sessions += 1;
        let (session, frame) = (self.hostile.session(), self.hostile.hello(near));
        self.tell_hub(Input::SessionOpened { session, agent });
        self.tell_hub(Input::Frame { session, frame });
        let now = self.hub_clock.at(self.now_ms);
        let nodes = self.hub.as_ref().map_or(0, |hub| hub.nodes(now).len());
        let honest = self.nodes.len();
        self.invariants.require(nodes > honest, || {
            format!("V2: {nodes} nodes are shown of {honest} and the hostile one")
        });
    }
}

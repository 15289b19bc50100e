//! One certificate in the wrong hands: every number of every frame at its extremes, from every state of a session, then every view,
//! then a restart. Nothing panics, the hub's own numbers stay near where they were, and another agent is served as before.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::time::Duration;

use hub_core::{Effect, Hub, Input, Recovered, Request, Row, SessionId, Settings, StoredAgent};
use proptest::collection::vec;
use proptest::prelude::*;
use wire::action::RiskClass;
use wire::decision::Authority;
use wire::domains::{Ask, NodeFacts, Opened};
use wire::entry::{ChainHead, Entry, EntryBody, Event};
use wire::frame::{AskTime, DeviceInfo, Entries, Frame, Hello, Status, TelemetryBlock};
use wire::reading::{DeviceId, Quantity, Reading, Series};
use wire::telemetry::Encoder;
use wire::time::ClockState;
use wire::{AgentId, BundleRef, Digest, Epoch, Generation, HubEpoch, Mono, Now, Seq, Wall};

const POLICY: &str = "
bundle: test
rules:
  - id: one
    kind: blast_radius
    domain: rack
    max_concurrent: { n: 1 }
    selector: { kinds: [restart] }
";
const FIRST_EPOCH: HubEpoch = HubEpoch(1_795_000_000);
const WALL: Wall = Wall(1_795_521_667_250);

/// Any number, and mostly one at an end of something.
fn number() -> impl Strategy<Value = u64> {
    let ends = [
        0,
        1,
        2,
        3,
        1 << 32,
        1 << 47,
        (1 << 48) - 1,
        1 << 48,
        1 << 62,
        1 << 63,
        u64::MAX - 1,
        u64::MAX,
    ];
    prop_oneof![4 => proptest::sample::select(ends.to_vec()), 1 => any::<u64>(), 2 => 0u64..40, 1 => 0u64..2_000_000_000]
}

fn wall() -> impl Strategy<Value = i64> {
    prop_oneof![Just(i64::MIN), Just(i64::MAX), Just(0), Just(WALL.0), any::<i64>()]
}

#[derive(Debug, Clone)]
enum Step {
    Open,
    Say(Box<Frame>),
    Commit,
    Fail,
    Advance(u64),
    Restart,
}

fn say(frame: Frame) -> Step {
    Step::Say(Box::new(frame))
}

fn hello() -> impl Strategy<Value = Frame> {
    let older = vec((number(), number(), number()), 0..4);
    let head = (number(), number());
    let numbers = [(); 6].map(|()| number());
    (head, older, numbers, any::<[u8; 32]>(), wall(), any::<bool>()).prop_map(
        |((epoch, seq), mut older, [oldest, acked, generation, floor, hub_epoch, mono], digest, wall, sorts)| {
            if sorts {
                older.sort_unstable();
            }
            Frame::Hello(Hello {
                version: 1,
                oldest_version: 1,
                program: "0.1.0".to_owned(),
                head: ChainHead {
                    epoch: Epoch(epoch),
                    seq: Seq(seq),
                    digest: Digest(digest),
                },
                oldest_entry: Seq(oldest),
                acked: Seq(acked),
                older: older
                    .into_iter()
                    .map(|(epoch, first, last)| (Epoch(epoch), Seq(first), Seq(last)))
                    .collect(),
                telemetry: Seq(mono),
                bundle: BundleRef {
                    generation: Generation(generation),
                    digest: Digest(digest),
                },
                generation_floor: Generation(floor),
                hub_epoch: HubEpoch(hub_epoch),
                process: 1,
                last_session: mono,
                now: Now {
                    mono: Mono(mono),
                    wall: Wall(wall),
                },
            })
        },
    )
}

/// A hello that is taken whatever else it says.
fn taken_hello() -> impl Strategy<Value = Frame> {
    (number(), number(), any::<[u8; 32]>(), 0u64..70).prop_map(|(epoch, seq, digest, ahead)| {
        let seq = Seq(seq.min(1 << 48));
        Frame::Hello(Hello {
            version: 1,
            oldest_version: 1,
            program: String::new(),
            head: ChainHead {
                epoch: Epoch(epoch),
                seq,
                digest: Digest(digest),
            },
            oldest_entry: seq,
            acked: seq,
            older: Vec::new(),
            telemetry: Seq(0),
            bundle: BundleRef {
                generation: Generation(ahead % 3),
                digest: Digest(digest),
            },
            generation_floor: Generation(ahead * 20),
            hub_epoch: HubEpoch(FIRST_EPOCH.0 + ahead),
            process: 1,
            last_session: 0,
            now: Now::default(),
        })
    })
}

fn status() -> impl Strategy<Value = Frame> {
    let numbers = [(); 7].map(|()| number());
    (numbers, wall(), any::<[u8; 32]>()).prop_map(|([epoch, seq, age, step, bytes, limit, mono], wall, digest)| {
        Frame::Status(Status {
            at: Now {
                mono: Mono(mono),
                wall: Wall(wall),
            },
            head: ChainHead {
                epoch: Epoch(epoch),
                seq: Seq(seq),
                digest: Digest(digest),
            },
            bundle: BundleRef {
                generation: Generation(seq),
                digest: Digest(digest),
            },
            policy_age_ms: age,
            authority: Authority::Full,
            next_step_ms: Some(step),
            held_by: None,
            clock: ClockState::Steady,
            journal_ok: true,
            journal_bytes: (bytes, limit),
            unrecorded_actions: age,
            telemetry_interval_ms: u32::MAX,
            devices: vec![DeviceInfo {
                id: DeviceId::gpu(0),
                model: "NVIDIA L4".to_owned(),
                simulated: false,
                power_cap_range_mw: Some((u32::MAX, 0)),
            }],
            certificate_ends: Wall(wall),
            rejoins: u32::MAX,
        })
    })
}

fn entries() -> impl Strategy<Value = Frame> {
    (number(), number(), number(), number(), wall(), 1usize..4).prop_map(|(epoch, first, seq, mono, wall, count)| {
        let entry = Entry {
            seq: Seq(seq),
            at: Now {
                mono: Mono(mono),
                wall: Wall(wall),
            },
            prev: Digest::ZERO,
            body: EntryBody::Event(Event::ClockStepped { by_ms: wall }),
        };
        // The right place, or any.
        let first = if mono % 2 == 0 { seq } else { first };
        let raw = vec![entry.encode().bytes; count];
        Frame::Entries(Entries {
            epoch: Epoch(epoch),
            first: Seq(first),
            raw,
        })
    })
}

fn telemetry() -> impl Strategy<Value = Frame> {
    (number(), number(), number(), wall(), any::<i64>()).prop_map(|(epoch, seq, mono, wall, value)| {
        let mut encoder = Encoder::new();
        for quantity in [Quantity::GpuTemperature, Quantity::GpuPower, Quantity::CpuUsed] {
            encoder.observe(&[Reading {
                series: Series::new(DeviceId::gpu(0), quantity),
                value: Some(value),
            }]);
        }
        encoder.sample(Now {
            mono: Mono(mono),
            wall: Wall(wall),
        });
        let block = encoder.take_block().unwrap_or_default();
        Frame::Telemetry(TelemetryBlock {
            epoch: Epoch(epoch),
            seq: Seq(seq),
            block,
        })
    })
}

fn facts() -> impl Strategy<Value = Frame> {
    (number(), number(), any::<u32>(), any::<u8>()).prop_map(|(epoch, seq, acting, label)| {
        Frame::NodeFacts(NodeFacts {
            labels: vec![("rack".to_owned(), format!("r{label}"))],
            unhealthy: (label % 2 == 0).then(|| "sick".to_owned()),
            acting,
            asks: Some(Ask {
                decision: (Epoch(epoch), Seq(seq)),
                rules: vec!["one".to_owned()],
                class: RiskClass::Low,
            }),
            opened: Some(Opened {
                number: seq,
                kinds: Vec::new(),
                targets: Vec::new(),
                left_ms: epoch,
                approvers: Vec::new(),
            }),
            more: Vec::new(),
        })
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Open),
        2 => hello().prop_map(say),
        4 => taken_hello().prop_map(say),
        3 => status().prop_map(say),
        4 => entries().prop_map(say),
        3 => telemetry().prop_map(say),
        2 => facts().prop_map(say),
        1 => number().prop_map(|error_ms| say(Frame::AskTime(AskTime { asked: Mono(error_ms), error_ms }))),
        6 => Just(Step::Commit),
        1 => Just(Step::Fail),
        1 => (0u64..100_000).prop_map(Step::Advance),
        1 => Just(Step::Restart),
    ]
}

/// A hub, what its store holds, and one session of somebody who says anything.
struct Rig {
    hub: Hub,
    settings: Settings,
    now: Now,
    meta: Option<Vec<u8>>,
    records: BTreeMap<AgentId, Vec<u8>>,
    heads: BTreeMap<(AgentId, Epoch), ChainHead>,
    bundle: Option<(BundleRef, wire::SignedBundle)>,
    bundles: usize,
    waiting: Vec<hub_core::Batch>,
    sent: Vec<(SessionId, Frame)>,
    sessions: u64,
}

fn agent(name: &str) -> AgentId {
    AgentId::new(name).unwrap()
}

impl Rig {
    fn new() -> Self {
        let settings = Settings {
            trust_domain: "example".to_owned(),
            policy_key: Some(ed25519_dalek::SigningKey::from_bytes(&[7; 32])),
            beacon_key: Some(ed25519_dalek::SigningKey::from_bytes(&[7; 32])),
            roles: None,
            seed: 1,
            first_hub_epoch: FIRST_EPOCH,
            max_handshakes: 64,
            beacon_every: Duration::from_secs(15),
            checkpoints: hub_core::Checkpointing::default(),
            certificates: hub_core::Certificates::default(),
        };
        let now = Now {
            mono: Mono(1_000_000),
            wall: WALL,
        };
        let mut rig = Self {
            hub: Hub::new(settings.clone(), Recovered::default(), now).unwrap(),
            settings,
            now,
            meta: None,
            records: BTreeMap::new(),
            heads: BTreeMap::new(),
            bundle: None,
            bundles: 0,
            waiting: Vec::new(),
            sent: Vec::new(),
            sessions: 0,
        };
        rig.publish();
        rig
    }

    fn publish(&mut self) {
        let what = Request::Publish {
            caller: wire::change::Caller::new("ann", wire::change::Via::Api),
            text: POLICY.as_bytes().to_vec(),
        };
        self.tell(Input::Request { request: 1, what });
        self.settle();
    }

    fn tell(&mut self, input: Input) {
        self.hub.handle(input, self.now);
        while let Some(effect) = self.hub.poll_effect() {
            match effect {
                Effect::Store(batch) => self.waiting.push(batch),
                Effect::Send { session, frame } => self.sent.push((session, frame)),
                Effect::Close { .. }
                | Effect::Reply { .. }
                | Effect::Kube(_)
                | Effect::Compare { .. }
                | Effect::Publish(_)
                | Effect::Changed(_) => {}
            }
        }
        self.look();
    }

    /// Everything that anybody can ask for.
    fn look(&self) {
        for node in self.hub.nodes(self.now) {
            serde_json::to_string(&node).unwrap();
            let _ = self.hub.reported(&node.name);
            let _ = self.hub.latest_telemetry(&node.name);
            assert!(self.hub.node(&node.name, self.now).is_some());
        }
        let _ = (
            self.hub.policy(self.now),
            self.hub.domains(self.now),
            self.hub.next_generation(),
        );
        let _ = (
            self.hub.connected(),
            self.hub.poll_timeout(self.now),
            self.hub.is_settled(),
        );
    }

    fn commit(&mut self) {
        for batch in std::mem::take(&mut self.waiting) {
            for row in batch.rows {
                match row {
                    Row::Agent { agent, record } => drop(self.records.insert(agent, record)),
                    Row::Meta(meta) => self.meta = Some(meta),
                    Row::Bundle { bundle, signed, .. } => {
                        self.bundles += 1;
                        self.bundle = Some((bundle, signed));
                    }
                    Row::Entries { agent, epoch, raw, .. } => {
                        let last = raw.last().unwrap();
                        let head = ChainHead {
                            epoch,
                            seq: last.seq,
                            digest: last.digest,
                        };
                        self.heads.insert((agent, epoch), head);
                    }
                    Row::Telemetry { .. } | Row::Command { .. } | Row::Turns { .. } | Row::Put(_) => {}
                }
            }
            self.tell(Input::Stored { token: batch.token });
        }
    }

    fn settle(&mut self) {
        while !self.waiting.is_empty() {
            self.commit();
        }
    }

    fn fail(&mut self) {
        for batch in std::mem::take(&mut self.waiting) {
            self.tell(Input::StoreFailed {
                token: batch.token,
                reason: "disk full".to_owned(),
            });
        }
    }

    fn restart(&mut self) {
        self.waiting.clear();
        let agents = self.records.iter().map(|(agent, record)| StoredAgent {
            agent: agent.clone(),
            record: record.clone(),
            heads: self
                .heads
                .iter()
                .filter(|((of, _), _)| of == agent)
                .map(|(_, head)| *head)
                .collect(),
            telemetry: (Epoch(0), Seq(0)),
            last_decision: None,
        });
        let recovered = Recovered {
            meta: self.meta.clone(),
            agents: agents.collect(),
            bundle: self.bundle.clone(),
            journal: self
                .heads
                .iter()
                .filter(|((of, _), _)| of.is_hub())
                .map(|(_, head)| *head)
                .collect(),
            ..Recovered::default()
        };
        self.hub = Hub::new(self.settings.clone(), recovered, self.now).unwrap();
        self.tell(Input::Tick);
    }

    fn open(&mut self, name: &str) -> SessionId {
        self.sessions += 1;
        let session = SessionId(self.sessions);
        self.tell(Input::SessionOpened {
            session,
            agent: agent(name),
        });
        session
    }

    fn run(&mut self, steps: Vec<Step>) {
        let mut session = self.open("mallory");
        for step in steps {
            match step {
                Step::Open => session = self.open("mallory"),
                Step::Say(frame) => self.tell(Input::Frame { session, frame: *frame }),
                Step::Commit => self.commit(),
                Step::Fail => self.fail(),
                Step::Advance(span) => {
                    self.now.mono.0 += span;
                    self.now.wall.0 += i64::try_from(span).unwrap();
                    self.tell(Input::Tick);
                }
                Step::Restart => self.restart(),
            }
        }
        // A store that failed is left alone for a while.
        self.settle();
        self.now.mono.0 += 60_000;
        self.now.wall.0 += 60_000;
        self.tell(Input::Tick);
        self.settle();
    }

    /// What an agent that was always honest hears of this hub now, and after a restart.
    fn serves_the_others(&mut self) {
        for _ in 0..2 {
            self.restart();
            self.settle();
            let session = self.open("alice");
            self.settle();
            let hello = Hello {
                version: 1,
                oldest_version: 1,
                program: "0.1.0".to_owned(),
                head: ChainHead::empty(Epoch(1)),
                oldest_entry: Seq(1),
                acked: Seq(0),
                older: Vec::new(),
                telemetry: Seq(0),
                bundle: BundleRef::NONE,
                generation_floor: Generation(0),
                hub_epoch: FIRST_EPOCH,
                process: 5,
                last_session: 0,
                now: self.now,
            };
            self.sent.clear();
            self.tell(Input::Frame {
                session,
                frame: Frame::Hello(hello),
            });
            self.settle();
            let heard =
                |wanted: fn(&Frame) -> bool| self.sent.iter().any(|(to, frame)| *to == session && wanted(frame));
            assert!(
                heard(|frame| matches!(frame, Frame::Welcome(_))),
                "alice is let in: {:?}",
                self.sent
            );
            assert!(heard(|frame| matches!(frame, Frame::Bundle(_))), "and gets the rules");
        }
    }
}

#[test]
fn a_generation_floor_at_its_end_is_not_believed() {
    let mut rig = Rig::new();
    let before = rig.hub.next_generation();
    let steps = (0..30).map(|round| {
        let Frame::Hello(mut hello) = worst() else {
            unreachable!()
        };
        hello.generation_floor = Generation((1 << 48) - 1 - round);
        hello.bundle = BundleRef {
            generation: Generation(1 << 40),
            digest: Digest([round as u8; 32]),
        };
        [Step::Open, say(Frame::Hello(hello)), Step::Commit, Step::Commit]
    });
    rig.run(steps.flatten().collect());
    assert_eq!(rig.hub.next_generation(), before);
    rig.serves_the_others();
}

#[test]
fn a_forged_digest_in_each_hello_publishes_nothing() {
    let mut rig = Rig::new();
    let before = (rig.bundles, rig.hub.next_generation());
    let steps = (0..30u8).map(|round| {
        let Frame::Hello(mut hello) = worst() else {
            unreachable!()
        };
        hello.bundle = BundleRef {
            generation: Generation(1),
            digest: Digest([round; 32]),
        };
        [Step::Open, say(Frame::Hello(hello)), Step::Commit, Step::Commit]
    });
    rig.run(steps.flatten().collect());
    assert_eq!((rig.bundles, rig.hub.next_generation()), before);
}

#[test]
fn a_hub_epoch_beyond_all_is_told_back_and_not_followed() {
    let mut rig = Rig::new();
    let Frame::Hello(mut hello) = worst() else {
        unreachable!()
    };
    hello.hub_epoch = HubEpoch(1 << 62);
    rig.run(vec![say(Frame::Hello(hello)), Step::Commit]);
    assert_eq!(rig.hub.hub_epoch(), FIRST_EPOCH);
    let told = rig.sent.iter().find_map(|(_, frame)| match frame {
        Frame::Goodbye(goodbye) => Some(goodbye.detail.as_str()),
        _ => None,
    });
    assert!(
        told.unwrap().contains("hub epoch 4611686018427387904 lies beyond"),
        "{told:?}"
    );
}

#[test]
fn epochs_that_jump_take_few_of_the_numbers() {
    let mut rig = Rig::new();
    let mut said = FIRST_EPOCH.0;
    for _ in 0..500 {
        let Frame::Hello(mut hello) = worst() else {
            unreachable!()
        };
        said = rig.hub.hub_epoch().0 + 64;
        hello.hub_epoch = HubEpoch(said);
        let session = rig.open("mallory");
        rig.tell(Input::Frame {
            session,
            frame: Frame::Hello(hello),
        });
        rig.settle();
        rig.now.mono.0 += 1_000;
    }
    assert!(
        said - FIRST_EPOCH.0 < 1_024,
        "one identity is believed a few times a day, not {}",
        said - FIRST_EPOCH.0
    );
    rig.serves_the_others();
}

fn worst() -> Frame {
    Frame::Hello(Hello {
        version: 1,
        oldest_version: 1,
        program: String::new(),
        head: ChainHead::empty(Epoch(1)),
        oldest_entry: Seq(1),
        acked: Seq(0),
        older: Vec::new(),
        telemetry: Seq(0),
        bundle: BundleRef::NONE,
        generation_floor: Generation(0),
        hub_epoch: FIRST_EPOCH,
        process: 1,
        last_session: 0,
        now: Now::default(),
    })
}

proptest! {
    #[test]
    fn one_identity_that_says_anything_harms_nobody_else(steps in vec(step(), 1..60)) {
        let mut rig = Rig::new();
        rig.run(steps);
        prop_assert!(rig.hub.hub_epoch().0 <= WALL.0 as u64 / 1_000 + 1_024);
        prop_assert!(rig.hub.next_generation().0 < 8_192);
        prop_assert!(rig.bundles < 16);
        rig.serves_the_others();
    }
}

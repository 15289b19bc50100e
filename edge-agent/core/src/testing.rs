//! A shell for tests: one agent, a disk, two devices and a clock that moves when told.
//!
//! A script is a list of steps, and [`check`] compares what became visible: durable entries, started actions, frames.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use ed25519_dalek::SigningKey;
use wire::bundle::{BundlePayload, KeyRing};
use wire::entry::{EntryBody, Event, Gap, RawEntry};
use wire::ids::{AgentId, Epoch, Generation, Seq};
use wire::reading::{DeviceId, Quantity, Reading, Series};
use wire::time::{Mono, Now, Wall};
use wire::{Parcel, SignedBundle, SignedRoles};

use crate::{
    ActionResult, Agent, AppendError, Batch, Effect, Floor, Input, Loaded, LocalRequest, Log, ProbeResult, Recovered,
    Run, Settings,
};

pub(crate) const BUNDLE: &str = "
bundle: test
authority: { full_for: 6 h, reversible_for: 72 h, protective_for: 30 d }
permits:
  - kinds: [power_cap, release_power_cap, restart, notify]
rules:
  - id: hot
    kind: threshold
    quantity: gpu.temperature
    above: 85 °C
    for: 2 s
    clear_below: 78 °C
    then: { action: power_cap, to: 220 W }
    verify: { falls_below: 80 °C, within: 30 s }
    never_expires: true
  - id: leak
    kind: threshold
    quantity: workload.memory
    above: 200 MiB
    for: 1 s
    then: { action: restart }
";

/// How the disk behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Disk {
    Works,
    Hangs,
    Fails,
    Full,
}

/// What survives a crash.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    pub(crate) entries: BTreeMap<(Epoch, Seq), RawEntry>,
    pub(crate) blocks: BTreeMap<(Epoch, Seq), Vec<u8>>,
    pub(crate) marks: Option<Vec<u8>>,
    pub(crate) floor: Option<Floor>,
    pub(crate) bundle: Option<SignedBundle>,
    pub(crate) roles: Vec<SignedRoles>,
}

pub(crate) struct Rig {
    pub(crate) agent: Agent,
    pub(crate) journal: Journal,
    pub(crate) disk: Disk,
    pub(crate) auto_act: bool,
    pub(crate) probe: ProbeResult,
    pub(crate) hanging: VecDeque<Batch>,
    pub(crate) running: VecDeque<Run>,
    pub(crate) frames: Vec<wire::Frame>,
    pub(crate) acts: Vec<Run>,
    pub(crate) now: Now,
    pub(crate) log: Vec<String>,
    pub(crate) replies: Vec<crate::LocalAnswer>,
    pub(crate) shared: Option<crate::Shared>,
}

pub(crate) fn settings() -> Settings {
    Settings {
        agent: AgentId::new("edge-01").expect("a name"),
        site: "ours".to_owned(),
        trust_domain: "test".to_owned(),
        labels: vec![("rack".to_owned(), "r7".to_owned())],
        policy_keys: KeyRing::single(key().verifying_key().to_bytes()),
        root_pin: None,
        version: "test".to_owned(),
        process: 1,
        seed: 7,
        journal_limit_bytes: 1 << 20,
        block_every: Duration::from_secs(10),
        append_deadline: Duration::from_secs(2),
        climbs: false,
        profiles: firmware_profiles::Catalogue::default(),
        certificate_ends: Wall(0),
        rejoins: 0,
        wall_floor: Wall(0),
    }
}

pub(crate) fn key() -> SigningKey {
    SigningKey::from_bytes(&[9; 32])
}

pub(crate) fn signed(generation: u64, text: &str) -> SignedBundle {
    let payload = BundlePayload {
        generation: Generation(generation),
        trust_domain: "test".to_owned(),
        issued_at: Wall(0),
        text: text.as_bytes().to_vec(),
    };
    SignedBundle::sign(&payload, &key())
}

/// A bundle in a file of its own.
pub(crate) fn carried(bundle: SignedBundle) -> Parcel {
    Parcel {
        bundle: Some(bundle),
        ..Parcel::default()
    }
}

impl Rig {
    pub(crate) fn new() -> Self {
        let now = Now {
            mono: Mono(1_000_000),
            wall: Wall(1_700_000_000_000),
        };
        let mut rig = Self {
            agent: Agent::new(settings(), Recovered::default(), now),
            journal: Journal::default(),
            disk: Disk::Works,
            auto_act: true,
            probe: ProbeResult::Done { value: None },
            hanging: VecDeque::new(),
            running: VecDeque::new(),
            frames: Vec::new(),
            acts: Vec::new(),
            now,
            log: Vec::new(),
            replies: Vec::new(),
            shared: None,
        };
        rig.settle();
        rig.import(1, BUNDLE);
        rig
    }

    /// An agent that judges by this bundle.
    pub(crate) fn under(text: &str) -> Self {
        let mut rig = Self::new();
        rig.import(2, text);
        rig
    }

    fn import(&mut self, generation: u64, text: &str) {
        self.handle(Input::Local {
            request: 1,
            what: LocalRequest::Import {
                who: "test".to_owned(),
                parcel: carried(signed(generation, text)),
            },
        });
        let active = self.agent.bundle().map(|(_, reference)| reference.generation.0);
        assert_eq!(active, Some(generation), "{:?}", self.log);
        self.log.clear();
    }

    /// A session with a hub comes up.
    pub(crate) fn connect(&mut self) {
        self.pass(400_000);
        self.handle(Input::Tick);
        self.handle(Input::LinkUp);
        self.handle(Input::Frame(wire::Frame::Welcome(wire::frame::Welcome {
            version: 1,
            hub_epoch: wire::HubEpoch(3),
            holds: Vec::new(),
            telemetry: Seq(0),
            bundle: wire::BundleRef::NONE,
            session: 5,
            now: Now::default(),
        })));
    }

    pub(crate) fn handle(&mut self, input: Input) {
        self.agent.handle(input, self.now);
        self.settle();
    }

    /// Carries out all effects, as far as disk and devices do.
    pub(crate) fn settle(&mut self) {
        while let Some(effect) = self.agent.poll_effect() {
            match effect {
                Effect::Append(batch) => self.append(batch),
                Effect::Act(run) => {
                    self.log.push(format!("act {}", run.action.kind.name()));
                    self.acts.push(run.clone());
                    self.running.push_back(run);
                    if self.auto_act {
                        self.finish_action(true);
                    }
                }
                Effect::ProbeAction(run) => {
                    self.log.push(format!("probe {}", run.action.kind.name()));
                    let result = self.probe.clone();
                    let decision = run.decision;
                    self.agent.handle(Input::Probed { decision, result }, self.now);
                }
                Effect::Load {
                    token,
                    log,
                    epoch,
                    from,
                    ..
                } => {
                    let found = self.load(log, epoch, from);
                    self.agent.handle(Input::Loaded { token, found }, self.now);
                }
                Effect::Shed { epoch, through } => {
                    self.log.push(format!("shed through {through}"));
                    self.journal.blocks.retain(|at, _| at.0 != epoch || at.1 > through);
                }
                Effect::Send(frame) => self.frames.push(frame),
                Effect::Disconnect { reason } => {
                    self.log.push("disconnect".to_owned());
                    self.agent.handle(Input::LinkDown { reason }, self.now);
                }
                Effect::Stopped => self.log.push("stopped".to_owned()),
                Effect::Reply { answer, .. } => {
                    self.log.push(match answer {
                        crate::LocalAnswer::Refused { .. } => "refused".to_owned(),
                        crate::LocalAnswer::Decided { .. } => "answered".to_owned(),
                        crate::LocalAnswer::Done => "done".to_owned(),
                        crate::LocalAnswer::Glass { .. } => "glass done".to_owned(),
                    });
                    self.replies.push(answer);
                }
                Effect::Share(shared) => self.shared = Some(*shared),
                Effect::Release { .. } | Effect::Connect => {}
            }
        }
    }

    fn append(&mut self, batch: Batch) {
        let token = batch.token;
        let failed = |reason| Input::AppendFailed { token, reason };
        let input = match self.disk {
            Disk::Hangs => return self.hanging.push_back(batch),
            Disk::Fails => failed(AppendError::Io("test".to_owned())),
            Disk::Full => failed(AppendError::Full),
            Disk::Works => {
                self.commit(batch);
                Input::Appended { token, used_bytes: 0 }
            }
        };
        self.agent.handle(input, self.now);
    }

    /// Makes a batch durable.
    pub(crate) fn commit(&mut self, batch: Batch) {
        self.journal.floor = batch.floor.or(self.journal.floor);
        self.journal.marks = Some(batch.marks);
        if let Some((_, bundle)) = batch.bundle {
            self.journal.bundle = Some(bundle);
        }
        if let Some(roles) = batch.roles {
            self.journal.roles = roles;
        }
        if let Some((seq, block)) = batch.telemetry {
            self.journal.blocks.insert((batch.epoch, seq), block);
        }
        for raw in batch.entries {
            let body = raw.decode().expect("our own bytes").body;
            self.log.extend(word(&body));
            let former = self.journal.entries.insert((batch.epoch, raw.seq), raw);
            assert!(former.is_none(), "an entry's place is used once");
        }
    }

    fn load(&self, log: Log, epoch: Epoch, from: Seq) -> Loaded {
        let range = (epoch, from)..=(epoch, Seq(u64::MAX));
        match log {
            Log::Entries => {
                let found = self.journal.entries.range(range);
                Loaded::Entries(found.map(|(_, raw)| raw.clone()).collect())
            }
            Log::Telemetry => {
                let found = self.journal.blocks.range(range).take(1);
                Loaded::Telemetry(found.map(|(at, block)| (at.1, block.clone())).collect())
            }
        }
    }

    pub(crate) fn finish_action(&mut self, works: bool) {
        let Some(run) = self.running.pop_front() else {
            return;
        };
        let result = if works {
            ActionResult::Applied {
                before: None,
                after: None,
                detail: String::new(),
            }
        } else {
            ActionResult::Failed {
                reason: "test".to_owned(),
            }
        };
        let decision = run.decision;
        self.agent.handle(Input::ActionDone { decision, result }, self.now);
    }

    pub(crate) fn pass(&mut self, milliseconds: u64) {
        self.now.mono.0 += milliseconds;
        self.now.wall.0 += milliseconds as i64;
    }

    /// Seconds of readings: temperature of gpu0, memory of a workload.
    pub(crate) fn live(&mut self, seconds: u64, celsius: i64, mebibytes: i64) {
        for _ in 0..seconds {
            self.pass(1_000);
            let workload = DeviceId::workload("job").expect("a name");
            let reading = |device, quantity, value| Reading {
                series: Series::new(device, quantity),
                value: Some(value),
            };
            self.handle(Input::Readings(vec![
                reading(DeviceId::gpu(0), Quantity::GpuTemperature, celsius * 1_000),
                reading(workload, Quantity::WorkloadMemory, mebibytes << 20),
            ]));
        }
    }

    /// The process dies; the next one finds what was durable.
    pub(crate) fn crash(&mut self) {
        self.hanging.clear();
        self.running.clear();
        self.pass(1_000);
        let recovered = self.recovered(None);
        self.agent = Agent::new(settings(), recovered, self.now);
        self.settle();
    }

    pub(crate) fn recovered(&self, damage: Option<&str>) -> Recovered {
        let mut epochs: Vec<(Epoch, Seq, Seq)> = Vec::new();
        for (epoch, seq) in self.journal.entries.keys() {
            match epochs.last_mut() {
                Some(last) if last.0 == *epoch => last.2 = *seq,
                _ => epochs.push((*epoch, *seq, *seq)),
            }
        }
        Recovered {
            marks: self.journal.marks.clone(),
            floor: self.journal.floor,
            bundle: self.journal.bundle.clone(),
            roles: self.journal.roles.clone(),
            epochs,
            damage: damage.map(str::to_owned),
            used_bytes: 0,
        }
    }

    /// Everything that failed or hung is answered, and the disk works again.
    fn disk_works(&mut self) {
        self.disk = Disk::Works;
        while let Some(batch) = self.hanging.pop_front() {
            let token = batch.token;
            self.commit(batch);
            self.handle(Input::Appended { token, used_bytes: 0 });
        }
    }

    pub(crate) fn step(&mut self, step: &str) {
        let (verb, rest) = step.split_once(' ').unwrap_or((step, ""));
        let number = || rest.parse().expect("a number of seconds");
        let order = |what| Input::Local {
            request: 9,
            what: LocalRequest::Order {
                who: "ana".to_owned(),
                reason: "test".to_owned(),
                what,
            },
        };
        match (verb, rest) {
            ("hot", _) => self.live(number(), 90, 100),
            ("cool", _) => self.live(number(), 60, 100),
            ("leak", _) => self.live(number(), 60, 300),
            ("disk", "works") => self.disk_works(),
            ("disk", "hangs") => self.disk = Disk::Hangs,
            ("disk", "fails") => self.disk = Disk::Fails,
            ("disk", "is full") => self.disk = Disk::Full,
            ("actuators", "wait") => self.auto_act = false,
            ("action", "done") => {
                self.finish_action(true);
                self.settle();
            }
            ("action", "fails") => {
                self.finish_action(false);
                self.settle();
            }
            ("hold", "") => self.handle(order(wire::frame::Order::Hold)),
            ("release", "") => self.handle(order(wire::frame::Order::Release)),
            ("stop", "") => self.handle(Input::Stop),
            ("crash", "") => self.crash(),
            ("wait", _) => {
                self.pass(number() * 1_000);
                self.handle(Input::Tick);
            }
            ("probe", "says done") => self.probe = ProbeResult::Done { value: Some(1) },
            ("probe", "says not done") => self.probe = ProbeResult::NotDone { value: None },
            ("probe", "cannot tell") => {
                self.probe = ProbeResult::Unknown {
                    reason: "test".to_owned(),
                };
            }
            _ => panic!("no such step: {step}"),
        }
    }
}

/// The word for an entry that a story tells of.
fn word(body: &EntryBody) -> Option<String> {
    Some(match body {
        EntryBody::Decided(decision) => format!(
            "decided {} {}",
            decision.judgement.verdict.name(),
            decision.inputs.wanted.kind.name()
        ),
        EntryBody::Acted(outcome) => outcome.state.name().to_owned(),
        EntryBody::Event(Event::Unrecorded { actions, .. }) => format!("unrecorded {actions}"),
        EntryBody::Event(Event::Held { .. }) => "held".to_owned(),
        EntryBody::Event(Event::Released { .. }) => "released".to_owned(),
        EntryBody::Event(Event::BundleActivated { bundle, .. }) => {
            format!("bundle {}", bundle.generation)
        }
        EntryBody::Event(Event::BundleRefused { generation, .. }) => {
            format!("refused bundle {generation}")
        }
        EntryBody::Event(Event::CommandRefused { reason, .. }) => format!("command {reason}"),
        EntryBody::Event(Event::HubRestored { .. }) => "hub restored".to_owned(),
        EntryBody::Event(Event::AuthorityChanged { to, .. }) => format!("authority {}", to.name()),
        EntryBody::Event(Event::BreakGlassOpened { .. }) => "glass opened".to_owned(),
        EntryBody::Event(Event::BreakGlassClosed { .. }) => "glass closed".to_owned(),
        EntryBody::Event(Event::Fault { device, code, .. }) => format!("fault {device} {code}"),
        EntryBody::Event(Event::FaultOver { device }) => format!("fault over {device}"),
        EntryBody::Event(Event::ClockStepped { .. }) => "clock stepped".to_owned(),
        EntryBody::Gap(Gap::Epoch { epoch, .. }) => format!("gap: epoch {epoch}"),
        EntryBody::Gap(Gap::Telemetry { from, to, .. }) => format!("gap: blocks {from}-{to}"),
        EntryBody::Gap(Gap::Coarsened { interval_ms }) => format!("coarsened {interval_ms}"),
        EntryBody::Changed(change) => change.text(),
        EntryBody::Event(_) => return None,
    })
}

/// Plays a script (`step | step`) and expects a story (`word | word`).
pub(crate) fn check(script: &str, story: &str) {
    let mut rig = Rig::new();
    for step in script.split(" | ") {
        rig.step(step);
    }
    assert_eq!(rig.log.join(" | "), story, "after `{script}`");
}

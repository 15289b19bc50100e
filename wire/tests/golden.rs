//! The bytes of every word, as they were first spoken. A build that cannot read them, or writes others, does not understand
//! agents and journals that are out there: a change here is a new protocol version, never a new golden file.
//!
//! Each file in `golden/` is what the value beside its name encodes to, in hex; `#` begins a comment.

use std::collections::BTreeMap;

use ed25519_dalek::SigningKey;
use proptest::collection::vec;
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use wire::action::{Action, ActionKind, Origin, Outcome, OutcomeState, RiskClass};
use wire::bundle::{BeaconPayload, BundlePayload, KeyRing, KeySignature};
use wire::codec::{self, DecodeError};
use wire::decision::{Alternative, Authority, Clause, Decision, Fact, Inputs, Judgement, Observed};
use wire::domains::{self, FleetFacts, NodeFacts};
use wire::enroll::{Credentials, EnrollAnswer, JoinRequest, JoinToken, Refusal, RejoinRequest, RenewRequest};
use wire::entry::{ChainHead, Entry, EntryBody, Event, Gap, RawEntry};
use wire::fault::{NextStep, Severity};
use wire::frame::{
    Ack, AskBundle, AskTime, Class, Command, DeviceInfo, Entries, Findings, FrameReader, Goodbye, GoodbyeReason,
    HEADER_BYTES, Held, Hello, HubTime, NodePath, Order, PeerKey, PeerPath, PeerState, PlanCommand, Reach,
    RoleDocuments, Status, TelemetryBlock, Uplink, Welcome,
};
use wire::ids::KeyId;
use wire::parcel::Parcel;
use wire::probe::{
    self, Answer, Ask, GpuClients, GpuDetails, GpuEvent, GpuEventKind, GpuInfo, GpuReport, GpuState, GpuValues, Reply,
    Request, Write,
};
use wire::roles::{Role, RoleName, Roles, SignedRoles};
use wire::telemetry::{Decoder, Encoder};
use wire::time::ClockState;
use wire::{
    AgentId, Beacon, BreakGlass, BreakGlassPayload, BundleRef, Checkpoint, CommandId, DecisionId, DeviceId, Digest,
    Epoch, Frame, Generation, HubEpoch, Mono, Now, PlanId, Quantity, Reading, Seq, Series, SignedBundle,
    SignedCheckpoint, Unit, Verdict, Wall,
};

macro_rules! golden {
    ($name:literal) => {
        ($name, include_str!(concat!("golden/", $name, ".hex")))
    };
}

type File = (&'static str, &'static str);

fn bytes_of((name, text): File) -> Vec<u8> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let digits: Vec<u8> = lines.flat_map(|line| line.trim().bytes()).collect();
    let pairs = digits
        .chunks(2)
        .map(|pair| std::str::from_utf8(pair).expect("hex digits"));
    pairs
        .map(|pair| u8::from_str_radix(pair, 16).unwrap_or_else(|_| panic!("{name}: `{pair}`")))
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    let lines = bytes.chunks(48).map(|line| {
        let digits: String = line.iter().map(|byte| format!("{byte:02x}")).collect();
        digits + "\n"
    });
    lines.collect()
}

fn same(file: File, bytes: &[u8]) {
    let (name, golden) = (file.0, bytes_of(file));
    assert!(golden == bytes, "golden/{name}.hex is not\n{}", hex(bytes));
}

/// A frame reads from its golden bytes, and writes them again.
fn check_frame(file: File, frame: &Frame) {
    same(file, &frame.encode());
    let mut reader = FrameReader::new(frame.class());
    // One byte at a time: a frame is whole when its last byte is there, and not before.
    let golden = bytes_of(file);
    let (last, before) = golden.split_last().expect("not empty");
    for byte in before {
        reader.extend(&[*byte]);
        assert_eq!(reader.next_frame(), Ok(None), "{}", file.0);
    }
    reader.extend(&[*last]);
    assert_eq!(reader.next_frame().as_ref(), Ok(&Some(frame.clone())), "{}", file.0);
    assert_eq!(reader.next_frame(), Ok(None));
    refuses_more(file, |bytes| {
        let kind = u16::from_le_bytes([bytes[4], bytes[5]]);
        Frame::decode(kind, &bytes[HEADER_BYTES..]).map(|_| ())
    });
}

/// A value reads from its golden bytes, and writes them again.
fn check<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(file: File, value: &T) {
    same(file, &codec::encode(value));
    assert_eq!(codec::decode::<T>(&bytes_of(file)).as_ref(), Ok(value), "{}", file.0);
    refuses_more(file, |bytes| codec::decode::<T>(bytes).map(|_| ()));
}

/// Neither a byte more nor a byte less is the same word.
fn refuses_more(file: File, read: impl Fn(&[u8]) -> Result<(), DecodeError>) {
    let mut bytes = bytes_of(file);
    bytes.push(0);
    assert_eq!(read(&bytes), Err(DecodeError::Trailing { count: 1 }), "{}", file.0);
    bytes.truncate(bytes.len() - 2);
    assert!(read(&bytes).is_err(), "{} is whole without its last byte", file.0);
}

#[test]
fn frames_of_the_control_stream() {
    check_frame(
        golden!("hello"),
        &Frame::Hello(Hello {
            version: 1,
            oldest_version: 1,
            program: "0.1.0".to_owned(),
            head: head(3, 41),
            oldest_entry: Seq(17),
            acked: Seq(40),
            older: vec![(Epoch(1), Seq(1), Seq(900)), (Epoch(2), Seq(7), Seq(8))],
            telemetry: Seq(300),
            bundle: bundle(7),
            generation_floor: Generation(8),
            hub_epoch: HubEpoch(2),
            process: u64::MAX,
            last_session: 12,
            now: now(),
        }),
    );
    check_frame(
        golden!("welcome"),
        &Frame::Welcome(Welcome {
            version: 1,
            hub_epoch: HubEpoch(2),
            holds: vec![head(2, 8), head(3, 40)],
            telemetry: Seq(299),
            bundle: bundle(7),
            session: 13,
            now: now(),
        }),
    );
    check_frame(golden!("status"), &Frame::Status(status()));
    check_frame(
        golden!("ack"),
        &Frame::Ack(Ack {
            epoch: Epoch(3),
            entries: Some(Seq(41)),
            telemetry: None,
        }),
    );
    for (file, reason) in [
        (golden!("goodbye-stopping"), GoodbyeReason::Stopping),
        (golden!("goodbye-busy"), GoodbyeReason::Busy),
        (golden!("goodbye-replaced"), GoodbyeReason::Replaced),
        (golden!("goodbye-cloned"), GoodbyeReason::Cloned),
        (golden!("goodbye-denied"), GoodbyeReason::Denied),
        (golden!("goodbye-version"), GoodbyeReason::Version),
        (golden!("goodbye-protocol"), GoodbyeReason::Protocol),
        (golden!("goodbye-diverged"), GoodbyeReason::Diverged),
    ] {
        let detail = "see you".to_owned();
        let retry_after_ms = 1_500;
        check_frame(
            file,
            &Frame::Goodbye(Goodbye {
                reason,
                retry_after_ms,
                detail,
            }),
        );
    }
    check_frame(
        golden!("ask-bundle"),
        &Frame::AskBundle(AskBundle { bundle: bundle(9) }),
    );
    check_frame(golden!("beacon"), &Frame::Beacon(beacon()));
    check_frame(golden!("checkpoint"), &Frame::Checkpoint(checkpoint()));
}

#[test]
fn frames_about_paths() {
    check_frame(
        golden!("node-path"),
        &Frame::NodePath(NodePath {
            via: Some(AgentId::new("edge-04").expect("a name")),
        }),
    );
    check_frame(
        golden!("peer-state"),
        &Frame::PeerState(PeerState {
            site: "site-b".to_owned(),
            reach: Reach::Direct,
            held: Held {
                roles: 2,
                bundle: bundle(9),
                beacon: 77,
            },
        }),
    );
    check_frame(
        golden!("peer-path"),
        &Frame::PeerPath(PeerPath {
            via: Some(AgentId::new("edge-04").expect("a name")),
            hops: 1,
            uplink: Uplink::Metered,
            hub_rtt_us: 1_500,
            hub_away: false,
            policy_age_ms: 60_000,
            authority: Authority::Reversible,
        }),
    );
    check_frame(
        golden!("peer-key"),
        &Frame::PeerKey(PeerKey {
            key: [7; 32],
            signature: vec![8; 64],
        }),
    );
}

#[test]
fn frames_about_domains() {
    check_frame(
        golden!("findings"),
        &Frame::Findings(Findings {
            list: vec!["because".to_owned()],
        }),
    );
    check_frame(
        golden!("node-facts"),
        &Frame::NodeFacts(NodeFacts {
            labels: vec![("rack".to_owned(), "r7".to_owned())],
            unhealthy: Some("the GPU probe does not answer".to_owned()),
            asks: Some(domains::Ask {
                decision: (Epoch(3), Seq(41)),
                rules: vec!["one-of-a-rack".to_owned()],
                class: RiskClass::Low,
            }),
            acting: 1,
            opened: Some(domains::Opened {
                number: 7,
                kinds: vec!["restart".to_owned()],
                targets: vec!["workload:train".to_owned()],
                left_ms: 60_000,
                approvers: vec!["key 0a0b".to_owned(), "key 0c0d".to_owned()],
            }),
            more: vec![domains::Ask {
                decision: (Epoch(3), Seq(42)),
                rules: vec!["one-an-hour".to_owned()],
                class: RiskClass::Low,
            }],
        }),
    );
    check_frame(
        golden!("fleet-facts"),
        &Frame::FleetFacts(FleetFacts {
            hub_epoch: HubEpoch(2),
            values: vec![("rack.members".to_owned(), 12), ("rack.unhealthy".to_owned(), 1)],
            turn: Some((Epoch(3), Seq(41))),
        }),
    );
}

#[test]
fn frames_about_clocks() {
    let asked = Mono(1_000_000);
    check_frame(golden!("ask-time"), &Frame::AskTime(AskTime { asked, error_ms: 300 }));
    check_frame(golden!("hub-time"), &Frame::HubTime(HubTime { asked, now: now() }));
}

#[test]
fn commands_of_every_order() {
    let act = Order::Act(action(ActionKind::PowerCap { milliwatts: 220_000 }));
    for (file, what) in [
        (golden!("command-act"), act),
        (golden!("command-hold"), Order::Hold),
        (golden!("command-release"), Order::Release),
        (golden!("command-break-glass"), Order::BreakGlass(token())),
    ] {
        check_frame(
            file,
            &Frame::Command(Command {
                id: CommandId([0xa5; 16]),
                hub_epoch: HubEpoch(2),
                valid_for_ms: 60_000,
                who: "ann".to_owned(),
                reason: "maintenance".to_owned(),
                what,
            }),
        );
    }
}

#[test]
fn a_command_of_a_plan() {
    check_frame(
        golden!("plan-command"),
        &Frame::PlanCommand(PlanCommand {
            plan: PlanId([9; 16]),
            step: 2,
            undo: true,
            brain: true,
            command: Command {
                id: CommandId([0xa5; 16]),
                hub_epoch: HubEpoch(2),
                valid_for_ms: 60_000,
                who: "embedded".to_owned(),
                reason: "gpu0 will be too hot in 6 min".to_owned(),
                what: Order::Act(action(ActionKind::PowerCap { milliwatts: 280_000 })),
            },
        }),
    );
}

#[test]
fn frames_of_the_other_streams() {
    check_frame(
        golden!("entries"),
        &Frame::Entries(Entries {
            epoch: Epoch(3),
            first: Seq(40),
            raw: vec![vec![1, 2, 3], vec![4]],
        }),
    );
    check_frame(
        golden!("telemetry"),
        &Frame::Telemetry(TelemetryBlock {
            epoch: Epoch(3),
            seq: Seq(300),
            block: vec![9; 5],
        }),
    );
    check_frame(golden!("bundle"), &Frame::Bundle(signed()));
    let documents = vec![signed_roles()];
    check_frame(golden!("roles"), &Frame::Roles(RoleDocuments { documents }));
}

#[test]
fn signed_payloads() {
    check(golden!("bundle-payload"), &bundle_payload());
    check(golden!("beacon-payload"), &beacon_payload());
    // Ed25519 is deterministic: the same key signs the same payload with the same bytes, for ever.
    let key = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
    let ring = KeyRing::single(key.verifying_key().to_bytes());
    assert_eq!(signed().open(&ring, "example"), Ok(bundle_payload()));
    assert_eq!(beacon().open(&ring, "example"), Ok(beacon_payload()));
    check(golden!("roles-payload"), &roles());
    assert_eq!(signed_roles().verify(&ring), Ok(()));
}

#[test]
fn a_parcel() {
    let parcel = Parcel {
        roles: vec![signed_roles()],
        bundle: Some(signed()),
        beacon: Some(beacon()),
    };
    same(golden!("parcel"), &parcel.encode());
    assert_eq!(Parcel::decode(&bytes_of(golden!("parcel"))), Ok(parcel));
}

#[test]
fn a_break_glass_token() {
    let token = token();
    same(golden!("break-glass"), &token.encode());
    assert_eq!(
        BreakGlass::decode(&bytes_of(golden!("break-glass"))).as_ref(),
        Ok(&token)
    );
    assert_eq!(token.peek(), Ok(token_payload()));
}

fn token() -> BreakGlass {
    let mut token = BreakGlass::sign(&token_payload(), &SigningKey::from_bytes(&[1; 32]));
    token.countersign(&SigningKey::from_bytes(&[2; 32]));
    token
}

fn token_payload() -> BreakGlassPayload {
    BreakGlassPayload {
        number: 1_764_115_200_000,
        trust_domain: "example".to_owned(),
        nodes: vec!["edge-01".to_owned()],
        targets: vec!["workload:train".to_owned()],
        kinds: vec!["restart".to_owned(), "scale".to_owned()],
        open_for_ms: 3_600_000,
        issued_at: Wall(1_764_115_200_000),
        reason: "fire".to_owned(),
    }
}

fn roles() -> Roles {
    let key = ed25519_dalek::SigningKey::from_bytes(&[7; 32])
        .verifying_key()
        .to_bytes();
    Roles {
        version: 1,
        trust_domain: "example".to_owned(),
        issued_at: Wall(1_795_521_667_250),
        root: Role::single(key),
        policy: Role {
            until: Some(Wall(1_895_521_667_250)),
            ..Role::single(key)
        },
        beacon: Role::single(key),
    }
}

fn signed_roles() -> SignedRoles {
    SignedRoles::unsigned(&roles()).signed_by(&ed25519_dalek::SigningKey::from_bytes(&[7; 32]))
}

#[test]
fn entries_of_every_kind() {
    let event = EntryBody::Event;
    let gap = EntryBody::Gap;
    let text = || "because".to_owned();
    let id = CommandId([3; 16]);
    for (file, body) in [
        (golden!("entry-decided"), EntryBody::Decided(Box::new(decision()))),
        (
            golden!("entry-acted"),
            EntryBody::Acted(outcome(OutcomeState::Verified)),
        ),
        (
            golden!("entry-started"),
            event(Event::Started {
                version: "0.1.0".to_owned(),
                clean: true,
            }),
        ),
        (
            golden!("entry-connected"),
            event(Event::Connected {
                hub_epoch: HubEpoch(2),
                away_ms: Some(95_000),
            }),
        ),
        (
            golden!("entry-disconnected"),
            event(Event::Disconnected { reason: text() }),
        ),
        (
            golden!("entry-bundle-activated"),
            event(Event::BundleActivated {
                bundle: bundle(7),
                before: Some(bundle(6)),
            }),
        ),
        (
            golden!("entry-bundle-refused"),
            event(Event::BundleRefused {
                generation: Generation(5),
                reason: text(),
            }),
        ),
        (
            golden!("entry-held"),
            event(Event::Held {
                who: "ann".to_owned(),
                reason: text(),
            }),
        ),
        (
            golden!("entry-released"),
            event(Event::Released {
                who: "ann".to_owned(),
                reason: text(),
            }),
        ),
        (
            golden!("entry-command-refused"),
            event(Event::CommandRefused {
                id,
                reason: "expired".to_owned(),
            }),
        ),
        (
            golden!("entry-roles-trusted"),
            event(Event::RolesTrusted { version: 2 }),
        ),
        (
            golden!("entry-roles-refused"),
            event(Event::RolesRefused { reason: text() }),
        ),
        (
            golden!("entry-role-ended"),
            event(Event::RoleEnded { role: RoleName::Policy }),
        ),
        (
            golden!("entry-break-glass-opened"),
            event(Event::BreakGlassOpened {
                number: 7,
                approvers: vec!["key a".to_owned(), "key b".to_owned()],
                kinds: vec!["restart".to_owned()],
                targets: vec!["workload".to_owned()],
                left_ms: 3_600_000,
                reason: text(),
            }),
        ),
        (
            golden!("entry-break-glass-closed"),
            event(Event::BreakGlassClosed {
                number: 7,
                who: text(),
                reason: text(),
            }),
        ),
        (
            golden!("entry-finding"),
            event(Event::Finding {
                part: "gpu0".to_owned(),
                why: Some(text()),
            }),
        ),
        (
            golden!("entry-fault"),
            event(Event::Fault {
                device: DeviceId::gpu(1),
                code: "xid 48".to_owned(),
                severity: Severity::High,
                meaning: text(),
                next: NextStep::DrainAndReset,
                evidence: text(),
                count: 300,
            }),
        ),
        (
            golden!("entry-fault-over"),
            event(Event::FaultOver {
                device: DeviceId::gpu(1),
            }),
        ),
        (
            golden!("entry-probe"),
            event(Event::Probe {
                answering: false,
                detail: text(),
            }),
        ),
        (
            golden!("entry-clock-stepped"),
            event(Event::ClockStepped { by_ms: -3_600_000 }),
        ),
        (
            golden!("entry-authority-changed"),
            event(Event::AuthorityChanged {
                to: Authority::Protective,
                policy_age_ms: 259_200_000,
            }),
        ),
        (
            golden!("entry-hub-restored"),
            event(Event::HubRestored {
                hub_epoch: HubEpoch(3),
                acked: Seq(40),
                holds: Seq(12),
            }),
        ),
        (
            golden!("entry-unrecorded"),
            event(Event::Unrecorded {
                actions: 2,
                detail: text(),
            }),
        ),
        (
            golden!("entry-workload"),
            event(Event::Workload {
                name: "train".to_owned(),
                pid: Some(4_711),
                detail: text(),
            }),
        ),
        (
            golden!("entry-notified"),
            event(Event::Notified {
                message: "hot".to_owned(),
            }),
        ),
        (
            golden!("entry-gap-telemetry"),
            gap(Gap::Telemetry {
                from: Seq(3),
                to: Seq(9),
                reason: "disk full".to_owned(),
            }),
        ),
        (
            golden!("entry-gap-coarsened"),
            gap(Gap::Coarsened { interval_ms: 10_000 }),
        ),
        (
            golden!("entry-gap-epoch"),
            gap(Gap::Epoch {
                epoch: Epoch(2),
                last_known: Seq(80),
                acked: Seq(79),
                reason: "corrupt".to_owned(),
            }),
        ),
    ] {
        let entry = Entry {
            seq: Seq(42),
            at: now(),
            prev: Digest([0x5a; 32]),
            body,
        };
        check(file, &entry);
        let raw = RawEntry::from_bytes(bytes_of(file)).expect("an entry");
        assert_eq!((raw.seq, raw.prev()), (Seq(42), Ok(Digest([0x5a; 32]))));
        assert_eq!(raw, entry.encode());
    }
}

#[test]
fn actions_origins_and_outcomes_of_every_kind() {
    let kinds = vec![
        ActionKind::PowerCap { milliwatts: 220_000 },
        ActionKind::ReleasePowerCap,
        ActionKind::Restart,
        ActionKind::Throttle { share_bp: 2_500 },
        ActionKind::Unthrottle,
        ActionKind::Notify {
            message: "hot".to_owned(),
        },
    ];
    check(
        golden!("actions"),
        &kinds.into_iter().map(action).collect::<Vec<Action>>(),
    );
    let more = vec![
        ActionKind::LockClocks { max_mhz: 1_200 },
        ActionKind::UnlockClocks,
        ActionKind::Cordon,
        ActionKind::Uncordon,
        ActionKind::Drain,
        ActionKind::ResetGpu,
        ActionKind::Reboot,
    ];
    check(
        golden!("actions-2"),
        &more.into_iter().map(action).collect::<Vec<Action>>(),
    );
    let code = "xid 95".to_owned();
    check(golden!("origin-fault"), &Origin::Fault { code });
    let rule = || "hot-gpu".to_owned();
    let who = || "ann".to_owned();
    let reason = || "maintenance".to_owned();
    check(
        golden!("origins"),
        &vec![
            Origin::Rule { rule: rule() },
            Origin::Cleared { rule: rule() },
            Origin::Command {
                id: CommandId([3; 16]),
                who: who(),
                reason: reason(),
            },
            Origin::Local {
                who: who(),
                reason: reason(),
            },
        ],
    );
    check(
        golden!("origin-plan"),
        &Origin::Plan {
            id: CommandId([3; 16]),
            plan: PlanId([9; 16]),
            step: 2,
            undo: false,
            brain: true,
            who: "embedded".to_owned(),
            reason: "gpu0 will be too hot in 6 min".to_owned(),
        },
    );
    use OutcomeState::{Applied, Dropped, Failed, NotVerified, Unknown, Verified};
    let states = [Applied, Verified, NotVerified, Failed, Unknown, Dropped];
    check(golden!("outcomes"), &states.map(outcome).to_vec());
}

#[test]
fn messages_of_the_probe() {
    let request = |ask| Request { number: 5, ask };
    let answer = |reply| Answer { number: 5, reply };
    check(
        golden!("probe-requests"),
        &vec![
            request(Ask::Hello),
            request(Ask::Read),
            request(Ask::SetPowerCap {
                gpu: 1,
                milliwatts: 220_000,
            }),
            request(Ask::ResetPowerCap { gpu: 1 }),
        ],
    );
    let write = |write| {
        request(Ask::Write {
            uuid: "GPU-0".to_owned(),
            write,
        })
    };
    check(
        golden!("probe-requests-2"),
        &vec![
            request(Ask::Describe),
            request(Ask::Measure { patience_ms: 250 }),
            write(Write::PowerCap { milliwatts: 220_000 }),
            write(Write::ResetPowerCap),
            write(Write::ClockLock {
                min_mhz: 210,
                max_mhz: 1_200,
            }),
            write(Write::ResetClockLock),
            write(Write::Persistence { on: true }),
        ],
    );
    check(
        golden!("probe-requests-3"),
        &vec![request(Ask::Clients { patience_ms: 500 })],
    );
    let gpu = GpuInfo {
        uuid: "GPU-0".to_owned(),
        model: "Sim L40S".to_owned(),
        min_power_cap_mw: 100_000,
        max_power_cap_mw: 350_000,
        default_power_cap_mw: 350_000,
    };
    let values = GpuValues {
        temperature_mc: Some(91_000),
        power_mw: Some(219_500),
        ..GpuValues::default()
    };
    check(
        golden!("probe-answers"),
        &vec![
            answer(Reply::Hello {
                version: 1,
                driver: "simulated GPUs".to_owned(),
                simulated: true,
                gpus: vec![gpu],
            }),
            answer(Reply::Read(vec![Ok(values), Err("fell off the bus".to_owned())])),
            answer(Reply::PowerCap {
                before: 350_000,
                after: 220_000,
            }),
            answer(Reply::Failed {
                reason: "not permitted".to_owned(),
            }),
        ],
    );
    let report = |state, values| GpuReport {
        uuid: "GPU-0".to_owned(),
        state,
        values,
    };
    let event = |what| GpuEvent {
        uuid: "GPU-0".to_owned(),
        what,
    };
    check(
        golden!("probe-answers-2"),
        &vec![
            answer(Reply::Described(vec![GpuDetails {
                uuid: "GPU-0".to_owned(),
                pci: "0000:17:00".to_owned(),
                serial: Some("1650".to_owned()),
                vbios: None,
                max_clock_mhz: Some(2_520),
            }])),
            answer(Reply::Measured {
                gpus: vec![
                    report(GpuState::Answers, vec![(50, Some(41_000)), (51, None)]),
                    report(GpuState::Lost, Vec::new()),
                    report(GpuState::ResetRequired, Vec::new()),
                    report(GpuState::Hung { for_ms: 900 }, Vec::new()),
                    report(
                        GpuState::Unreadable {
                            reason: "no data".to_owned(),
                        },
                        Vec::new(),
                    ),
                ],
                events: vec![event(GpuEventKind::Xid(79)), event(GpuEventKind::RecoveryAction)],
            }),
            answer(Reply::Written {
                before: Some(350_000),
                after: None,
            }),
        ],
    );
    check(
        golden!("probe-answers-3"),
        &vec![answer(Reply::Clients(vec![GpuClients {
            uuid: "GPU-0".to_owned(),
            pids: vec![7, 4_000_000],
        }]))],
    );
    let message = probe::encode_message(&request(Ask::Read));
    assert_eq!(
        probe::message_length([message[0], message[1], message[2], message[3]]),
        Ok(message.len() - 4)
    );
    assert!(probe::message_length((probe::MAX_MESSAGE_BYTES as u32 + 1).to_le_bytes()).is_err());
}

#[test]
fn messages_of_enrolment() {
    let join_request = |signature| JoinRequest {
        token: JoinToken([0x11; 16]),
        name: Some("edge-03".to_owned()),
        node_key: [0x22; 32],
        csr: vec![0x30, 0x82],
        program: "0.1.0".to_owned(),
        signature,
    };
    check(golden!("join-request-2"), &join_request(vec![0x44; 64]));
    // As agents of before sent it: without the proof.
    let before = bytes_of(golden!("join-request"));
    assert_eq!(JoinRequest::read(&before), Ok(join_request(Vec::new())));
    let now = bytes_of(golden!("join-request-2"));
    assert_eq!(JoinRequest::read(&now), Ok(join_request(vec![0x44; 64])));
    assert!(JoinRequest::read(&now[..now.len() - 1]).is_err());
    check(
        golden!("rejoin-request"),
        &RejoinRequest {
            agent: agent(),
            signature: vec![0x33; 64],
            csr: vec![0x30, 0x82],
            generation: 4,
        },
    );
    check(
        golden!("renew-request"),
        &RenewRequest {
            csr: vec![0x30, 0x82],
            generation: 4,
        },
    );
    check(
        golden!("enroll-granted"),
        &EnrollAnswer::Granted(Box::new(Credentials {
            agent: agent(),
            site: "paris".to_owned(),
            trust_domain: "example".to_owned(),
            certificate: vec![0x30, 0x83],
            issued: Wall(1_795_521_667_250),
            ends: Wall(1_795_608_067_250),
            generation: 5,
            ca: vec![vec![0x30], vec![0x31]],
            policy_keys: KeyRing {
                keys: vec![[0x44; 32]],
                threshold: 1,
            },
            rejoins: 2,
        })),
    );
    use Refusal as R;
    let refusals = [
        R::TokenUnknown,
        R::TokenUsed,
        R::TokenExpired,
        R::NameTaken,
        R::Malformed,
        R::AgentUnknown,
        R::Denied,
        R::Cloned,
        R::TooOften,
        R::Unavailable,
    ];
    let refused = refusals.map(|refusal| EnrollAnswer::Refused {
        refusal,
        detail: "ask again".to_owned(),
    });
    check(golden!("enroll-refused"), &refused.to_vec());
}

#[test]
fn telemetry_blocks() {
    let mut encoder = Encoder::new();
    let mut blocks = Vec::new();
    for (second, value) in [(1u64, Some(50_000)), (2, Some(50_300)), (3, None)] {
        let series = Series::new(DeviceId::gpu(0), Quantity::GpuTemperature);
        encoder.observe(&[Reading { series, value }]);
        encoder.sample(Now {
            mono: Mono(second * 1_000),
            wall: Wall(1_000),
        });
        if second != 2 {
            blocks.push(encoder.take_block().expect("a sample"));
        }
    }
    let mut decoder = Decoder::new();
    let mut seen = Vec::new();
    for (file, block) in [golden!("block-key"), golden!("block-difference")]
        .into_iter()
        .zip(&blocks)
    {
        same(file, block);
        let read = decoder.read(&bytes_of(file), |state, at| {
            seen.push((at.mono.0, state.latest().to_vec()))
        });
        assert_eq!(read, Ok(()));
    }
    assert_eq!(
        seen,
        [
            (1_000, vec![Some(50_000)]),
            (2_000, vec![Some(50_300)]),
            (3_000, vec![None])
        ]
    );
}

/// The wire numbers of quantities and units, by name: they may grow at the end only.
#[test]
fn quantities_keep_their_numbers() {
    let text = include_str!("golden/quantities.txt");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let golden: BTreeMap<u16, &str> = lines
        .map(|line| line.split_once(' ').expect("number and name"))
        .map(|(number, name)| (number.parse().expect("a number"), name))
        .collect();
    for (number, name) in &golden {
        let quantity = Quantity::from_number(*number).expect("quantities are never removed");
        assert_eq!(quantity.name(), *name);
    }
    let known = Quantity::ALL.len();
    let listed = golden.len();
    let missing = Quantity::ALL
        .iter()
        .enumerate()
        .skip(listed)
        .map(|(number, quantity)| format!("{number} {quantity}\n"));
    assert_eq!(
        known,
        listed,
        "add to golden/quantities.txt:\n{}",
        missing.collect::<String>()
    );
}

#[test]
fn unknown_kinds_are_counted_and_skipped() {
    let ack = Frame::Ack(Ack {
        epoch: Epoch(1),
        entries: None,
        telemetry: Some(Seq(2)),
    });
    let mut bytes = Vec::new();
    for kind in [17u16, 63, 64, u16::MAX] {
        bytes.extend_from_slice(&5u32.to_le_bytes());
        bytes.extend_from_slice(&kind.to_le_bytes());
        bytes.extend_from_slice(b"new");
    }
    bytes.extend(ack.encode());
    let mut reader = FrameReader::new(Class::Control);
    reader.extend(&bytes);
    assert_eq!(reader.next_frame(), Ok(Some(ack)));
    assert_eq!(reader.skipped, 4);
}

#[test]
fn lengths_beyond_the_bound_are_refused_before_anything_is_kept() {
    for class in Class::ALL {
        let limit = class.max_frame_bytes() + 2;
        for (length, refused) in [
            (limit, false),
            (limit + 1, true),
            (u32::MAX as usize, true),
            (1, true),
            (0, true),
        ] {
            let mut reader = FrameReader::new(class);
            reader.extend(&(length as u32).to_le_bytes());
            assert_eq!(reader.next_frame().is_err(), refused, "{class:?} {length}");
        }
    }
}

#[test]
fn a_frame_on_the_wrong_stream_is_refused() {
    let frame = Frame::Telemetry(TelemetryBlock {
        epoch: Epoch(1),
        seq: Seq(1),
        block: Vec::new(),
    });
    let mut reader = FrameReader::new(Class::Control);
    reader.extend(&frame.encode());
    let error = reader.next_frame().expect_err("the wrong stream");
    assert!(error.to_string().contains("wrong stream"), "{error}");
}

#[test]
fn trailing_bytes_in_a_frame_are_refused() {
    let mut bytes = Frame::Ack(Ack {
        epoch: Epoch(1),
        entries: None,
        telemetry: None,
    })
    .encode();
    bytes.push(0);
    bytes[0] += 1;
    let mut reader = FrameReader::new(Class::Control);
    reader.extend(&bytes);
    assert_eq!(reader.next_frame(), Err(DecodeError::Trailing { count: 1 }));
}

proptest! {
    #[test]
    fn no_bytes_panic_the_reader(
        which in 0usize..4, pieces in vec(vec(any::<u8>(), 0..200), 0..12), kind: u16, payload in vec(any::<u8>(), 0..300)
    ) {
        let class = Class::ALL[which];
        let mut reader = FrameReader::new(class);
        for piece in &pieces {
            reader.extend(piece);
            while let Ok(Some(_)) = reader.next_frame() {}
        }
        // A whole frame of any kind, known ones more often than chance would have it.
        for kind in [kind, kind % 40] {
            let mut reader = FrameReader::new(class);
            reader.extend(&(payload.len() as u32 + 2).to_le_bytes());
            reader.extend(&kind.to_le_bytes());
            reader.extend(&payload);
            if let Ok(Some(frame)) = reader.next_frame() {
                prop_assert_eq!(frame.class(), class);
                let mut again = FrameReader::new(class);
                again.extend(&frame.encode());
                prop_assert_eq!(again.next_frame(), Ok(Some(frame)));
            }
        }
    }

    #[test]
    fn changed_golden_bytes_never_panic(place: prop::sample::Index, value: u8) {
        for file in [golden!("hello"), golden!("status"), golden!("command-act"), golden!("entry-decided")] {
            let mut bytes = bytes_of(file);
            let index = place.index(bytes.len());
            bytes[index] = value;
            let mut reader = FrameReader::new(Class::Control);
            reader.extend(&bytes);
            let _ = reader.next_frame();
            let _ = RawEntry::from_bytes(bytes).map(|raw| raw.decode());
        }
    }
}

fn agent() -> AgentId {
    AgentId::new("edge-03").expect("valid")
}

fn now() -> Now {
    Now {
        mono: Mono(86_400_123),
        wall: Wall(1_795_521_667_250),
    }
}

fn head(epoch: u64, seq: u64) -> ChainHead {
    ChainHead {
        epoch: Epoch(epoch),
        seq: Seq(seq),
        digest: Digest([seq as u8; 32]),
    }
}

fn bundle(generation: u64) -> BundleRef {
    BundleRef {
        generation: Generation(generation),
        digest: Digest([generation as u8; 32]),
    }
}

fn action(kind: ActionKind) -> Action {
    Action {
        target: DeviceId::gpu(0),
        kind,
    }
}

fn outcome(state: OutcomeState) -> Outcome {
    Outcome {
        decision: DecisionId {
            agent: agent(),
            epoch: Epoch(3),
            seq: Seq(41),
        },
        state,
        before: Some(350_000),
        after: Some(220_000),
        probed: false,
        detail: "read back 220 W".to_owned(),
    }
}

fn decision() -> Decision {
    let series = || Series::new(DeviceId::gpu(0), Quantity::GpuTemperature);
    let cap = |milliwatts| action(ActionKind::PowerCap { milliwatts });
    Decision {
        inputs: Inputs {
            at: now(),
            origin: Origin::Rule {
                rule: "hot-gpu".to_owned(),
            },
            wanted: cap(90_000),
            bundle: bundle(7),
            policy_age_ms: 95_000,
            connected: false,
            clock: ClockState::BehindFloor,
            journal_ok: true,
            held_by: Some("ann".to_owned()),
            hub_epoch: HubEpoch(2),
            readings: vec![Observed {
                series: series(),
                value: Some(91_000),
                age_ms: Some(800),
                held_ms: 3_100,
            }],
            facts: vec![Fact {
                rule: "device".to_owned(),
                name: "min_power_cap_mw".to_owned(),
                value: -1,
            }],
        },
        judgement: Judgement {
            verdict: Verdict::Clamp,
            rule: "cap-range".to_owned(),
            granted: Some(cap(100_000)),
            retry_after_ms: None,
            valid_for_ms: 10_000,
            authority: Authority::Full,
            clauses: vec![Clause {
                rule: "hot-gpu".to_owned(),
                kind: "threshold".to_owned(),
                what: "gpu.temperature of gpu0".to_owned(),
                op: ">".to_owned(),
                observed: Some(91_000),
                limit: Some(85_000),
                unit: Unit::MilliCelsius,
                age_ms: Some(800),
                holds: true,
                verdict: Verdict::Allow,
                shadow: false,
                counterfactual: String::new(),
            }],
            rejected: vec![Alternative {
                action: action(ActionKind::Restart),
                because: "not reversible".to_owned(),
            }],
        },
    }
}

fn status() -> Status {
    Status {
        at: now(),
        head: head(3, 41),
        bundle: bundle(7),
        policy_age_ms: 95_000,
        authority: Authority::Reversible,
        next_step_ms: Some(21_505_000),
        held_by: Some("ann".to_owned()),
        clock: ClockState::Stepped,
        journal_ok: false,
        journal_bytes: (1_048_576, 67_108_864),
        unrecorded_actions: 2,
        telemetry_interval_ms: 1_000,
        devices: vec![DeviceInfo {
            id: DeviceId::gpu(0),
            model: "Sim L40S".to_owned(),
            simulated: true,
            power_cap_range_mw: Some((100_000, 350_000)),
        }],
        certificate_ends: Wall(1_795_608_067_250),
        rejoins: 1,
    }
}

fn bundle_payload() -> BundlePayload {
    BundlePayload {
        generation: Generation(7),
        trust_domain: "example".to_owned(),
        issued_at: Wall(1_795_521_667_250),
        text: b"bundle: demo\n".to_vec(),
    }
}

fn beacon_payload() -> BeaconPayload {
    BeaconPayload {
        number: 1_795_521_667_250,
        bundle: bundle(7),
        trust_domain: "example".to_owned(),
        issued_at: Wall(1_795_521_667_250),
    }
}

fn signed() -> SignedBundle {
    let key = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
    let mut signed = SignedBundle::sign(&bundle_payload(), &key);
    signed.signatures.push(KeySignature {
        key: KeyId([9; 8]),
        signature: vec![1; 64],
    });
    signed
}

fn checkpoint() -> SignedCheckpoint {
    let checkpoint = Checkpoint {
        head: ChainHead {
            epoch: Epoch(7),
            seq: Seq(42),
            digest: Digest::of(b"entry"),
        },
        at: Wall(1_800_000_000_000),
        trust_domain: "sentinel.internal".to_owned(),
    };
    SignedCheckpoint::sign(&checkpoint, &ed25519_dalek::SigningKey::from_bytes(&[7; 32]))
}

fn beacon() -> Beacon {
    Beacon::sign(&beacon_payload(), &ed25519_dalek::SigningKey::from_bytes(&[7; 32]))
}

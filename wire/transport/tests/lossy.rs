//! Real quinn and real TLS over a network in memory that loses, doubles and reorders, on a paused clock.

#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use common::fabric::{Fabric, Weather};
use common::{Ca, ack, entries, number, telemetry, timing};
use quinn::TokioRuntime;
use tokio::task::JoinSet;
use tokio::time::Instant;
use wire::frame::{Class, Frame};
use wire_transport::{Arrival, Client, CloseCode, ConnectError, End, Event, Server, Session};

const AGENTS: u16 = 40;
const FRAMES: u64 = 30;

const STORM: Weather = Weather {
    loss_percent: 30,
    twice_percent: 10,
    delay: Duration::from_millis(20),
    jitter: Duration::from_millis(20),
};
const CALM: Weather = Weather {
    loss_percent: 0,
    twice_percent: 0,
    ..STORM
};
const CUT: Weather = Weather {
    loss_percent: 100,
    ..STORM
};

fn hub_address() -> SocketAddr {
    "10.0.0.1:7443".parse().unwrap()
}

fn agent_address(index: u16) -> SocketAddr {
    format!("10.0.{}.{}:5000", 1 + index / 250, index % 250)
        .parse()
        .unwrap()
}

fn client(fabric: &Fabric, index: u16) -> Client {
    let socket = fabric.socket(agent_address(index));
    Client::with_socket(socket, Arc::new(TokioRuntime), timing()).unwrap()
}

fn server(fabric: &Fabric, ca: &Ca) -> Server {
    let socket = fabric.socket(hub_address());
    Server::with_socket(socket, Arc::new(TokioRuntime), &ca.server_tls(), timing()).unwrap()
}

/// Lets everybody in and answers each `Entries` with an `Ack`; returns the number of sessions.
async fn acknowledge_all(mut server: Server) {
    let mut sessions = JoinSet::new();
    while let Some(arrival) = server.accept().await {
        let Arrival::Session(pending) = arrival else {
            panic!("only sessions come here");
        };
        sessions.spawn(async move {
            if let Ok(session) = pending.admit().await {
                acknowledge(session).await;
            }
        });
    }
}

async fn acknowledge(mut session: Session) {
    let sender = session.sender();
    let mut last: BTreeMap<Class, u64> = BTreeMap::new();
    loop {
        match session.recv().await {
            Event::Frame(frame) => {
                let before = last.insert(frame.class(), number(&frame)).unwrap_or(0);
                assert_eq!(number(&frame), before + 1, "in order, each once");
                if matches!(frame, Frame::Entries(_)) {
                    sender.send(&ack(number(&frame))).unwrap();
                }
            }
            Event::Asked { .. } => panic!("nobody asks here"),
            Event::Ended(_) => return,
        }
    }
}

/// Tries until the hub lets it in, as a core would; returns how many tries it took.
async fn connect(client: &Client, tls: &wire_transport::ClientTls) -> (Session, u32) {
    for tries in 1.. {
        match client.session(hub_address(), tls).await {
            Ok(session) => return (session, tries),
            Err(ConnectError::Unreachable { .. }) => assert!(tries < 10, "the hub is there"),
            Err(other) => panic!("{other}"),
        }
    }
    unreachable!("the loop returns")
}

async fn converse(client: Client, tls: wire_transport::ClientTls) -> u32 {
    let (mut session, tries) = connect(&client, &tls).await;
    let sender = session.sender();
    for count in 1..=FRAMES {
        sender.send(&entries(count)).unwrap();
        sender.send(&telemetry(count, 2000)).unwrap();
    }
    for expected in 1..=FRAMES {
        match session.recv().await {
            Event::Frame(frame) => assert_eq!(number(&frame), expected),
            other => panic!("{other:?}"),
        }
    }
    sender.close(CloseCode::Done, "enough");
    assert!(matches!(session.recv().await, Event::Ended(End::Local { .. })));
    tries
}

#[tokio::test(start_paused = true)]
async fn with_three_of_ten_packets_lost_all_sessions_come_up_and_frames_keep_their_order() {
    let ca = Ca::new();
    let fabric = Fabric::new(7, STORM);
    let hub = tokio::spawn(acknowledge_all(server(&fabric, &ca)));
    let started = Instant::now();
    let mut agents = JoinSet::new();
    for index in 0..AGENTS {
        let client = client(&fabric, index);
        let tls = ca.client_tls(&format!("edge-{index}"));
        agents.spawn(converse(client, tls));
    }
    let mut tries = 0;
    while let Some(done) = agents.join_next().await {
        tries += done.unwrap();
    }
    hub.abort();
    let (sent, lost) = fabric.counts();
    assert!(lost * 100 > sent * 25, "{lost} of {sent} lost: it did storm");
    assert!(tries < 2 * u32::from(AGENTS), "{tries} tries");
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_connect_that_began_while_the_path_was_cut_comes_up_soon_after_it_heals() {
    let ca = Ca::new();
    let fabric = Fabric::new(8, CUT);
    let hub = tokio::spawn(acknowledge_all(server(&fabric, &ca)));
    let client = client(&fabric, 0);
    let tls = ca.client_tls("edge-0");
    let connecting = tokio::spawn(async move { connect(&client, &tls).await.0 });
    tokio::time::advance(Duration::from_millis(4200)).await;
    fabric.set_weather(CALM);
    let healed = Instant::now();
    connecting.await.unwrap();
    assert!(healed.elapsed() < Duration::from_secs(2), "{:?}", healed.elapsed());
    hub.abort();
}

#[tokio::test(start_paused = true)]
async fn a_session_outlives_a_cut_of_ten_seconds_and_dies_of_one_of_a_minute() {
    let ca = Ca::new();
    let fabric = Fabric::new(9, CALM);
    let hub = tokio::spawn(acknowledge_all(server(&fabric, &ca)));
    let client = client(&fabric, 0);
    let (mut session, _) = connect(&client, &ca.client_tls("edge-0")).await;
    let sender = session.sender();
    let driven = tokio::spawn(async move {
        let mut acks = Vec::new();
        loop {
            match session.recv().await {
                Event::Frame(frame) => acks.push(number(&frame)),
                Event::Ended(end) => return (acks, end, Instant::now()),
                Event::Asked { .. } => panic!("nobody asks here"),
            }
        }
    });
    sender.send(&entries(1)).unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    fabric.set_weather(CUT);
    sender.send(&entries(2)).unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    fabric.set_weather(CALM);
    sender.send(&entries(3)).unwrap();
    tokio::time::sleep(Duration::from_secs(20)).await;
    fabric.set_weather(CUT);
    let cut = Instant::now();
    let (acks, end, ended) = driven.await.unwrap();
    assert_eq!((acks, end), (vec![1, 2, 3], End::Idle));
    let lived = ended - cut;
    assert!(
        lived > Duration::from_secs(25) && lived < Duration::from_secs(65),
        "{lived:?}"
    );
    hub.abort();
}

/// How long after the end of a cut does a frame arrive that left `before_ms` before it, with a block of `bytes` before it?
async fn arrives_after_heal(before_ms: u64, bytes: usize) -> Duration {
    let ca = Ca::new();
    let fabric = Fabric::new(before_ms, CALM);
    let hub = tokio::spawn(acknowledge_all(server(&fabric, &ca)));
    let client = client(&fabric, 0);
    let (mut session, _) = connect(&client, &ca.client_tls("edge-0")).await;
    let sender = session.sender();
    sender.send(&entries(1)).unwrap();
    assert!(matches!(session.recv().await, Event::Frame(_)));
    fabric.set_weather(CUT);
    sender.send(&telemetry(1, bytes)).unwrap();
    sender.send(&entries(2)).unwrap();
    let heal = Duration::from_millis(before_ms);
    assert!(tokio::time::timeout(heal, session.recv()).await.is_err(), "it is cut");
    fabric.set_weather(CALM);
    let healed = Instant::now();
    assert!(matches!(session.recv().await, Event::Frame(_)));
    hub.abort();
    healed.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_waits_for_a_cut_path_arrives_soon_after_it_heals() {
    let check = async |before_ms: u64, bytes: usize, within_ms: u64| {
        let late = arrives_after_heal(before_ms, bytes).await;
        assert!(
            late < Duration::from_millis(within_ms),
            "{late:?}, {bytes} bytes {before_ms} ms before"
        );
    };
    for before_ms in [300, 1_000, 2_100, 2_900, 3_700, 5_900, 8_600, 9_950] {
        check(before_ms, 500, 600).await;
    }
    // More than the first window lets out: it must not keep back the packet that finds the path again.
    for before_ms in [3_700, 5_900, 8_600, 9_950] {
        check(before_ms, 60_000, 600).await;
    }
}

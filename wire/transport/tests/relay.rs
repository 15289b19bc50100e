//! Real sockets on loopback: a node whose packets a neighbour carries to the hub, past somebody between them who forges and repeats.

#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use common::{CLIENT, Ca, DOMAIN, PAST, Wanted, ack, clock, entries, number, timing};
use tokio::task::JoinSet;
use tokio::time::timeout;
use wire::frame::Frame;
use wire::ids::AgentId;
use wire_transport::{Arrival, Client, Event, Knocker, Limits, Met, PeerEnd, PeerHandle, PeerTls, Server, Session};

const PATIENCE: Duration = Duration::from_secs(20);

fn port() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").unwrap()
}

fn end(ca: &Ca, name: &str, socket: UdpSocket, limits: Limits) -> PeerEnd {
    let tls = PeerTls::new(ca.agent(name), ca.trust(), &clock()).unwrap();
    PeerEnd::new(socket, tls, timing(), limits).unwrap()
}

/// A hub that acknowledges every `Entries`, and where it is.
fn hub(ca: &Ca, tasks: &mut JoinSet<()>) -> SocketAddr {
    let socket = port();
    let address = socket.local_addr().unwrap();
    let mut server = Server::new(socket, &ca.server_tls(), timing()).unwrap();
    tasks.spawn(async move {
        let mut sessions = JoinSet::new();
        while let Some(arrival) = server.accept().await {
            let Arrival::Session(pending) = arrival else { continue };
            sessions.spawn(async move {
                let mut session = pending.admit().await.unwrap();
                while let Event::Frame(frame) = session.recv().await {
                    if matches!(frame, Frame::Entries(_)) {
                        session.sender().send(&ack(number(&frame))).unwrap();
                    }
                }
            });
        }
    });
    address
}

/// Passes packets between whoever sends first and `to`: in place of each, those that `passes` makes of it.
fn between(
    to: SocketAddr,
    passes: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static,
    tasks: &mut JoinSet<()>,
) -> SocketAddr {
    let front = tokio::net::UdpSocket::from_std(quiet(port())).unwrap();
    let back = tokio::net::UdpSocket::from_std(quiet(port())).unwrap();
    let address = front.local_addr().unwrap();
    tasks.spawn(async move {
        let (mut up, mut down) = ([0; 4096], [0; 4096]);
        let mut who = None;
        loop {
            tokio::select! {
                got = front.recv_from(&mut up) => {
                    let (length, from) = got.unwrap();
                    who = Some(from);
                    for packet in passes(&up[..length]) {
                        back.send_to(&packet, to).await.unwrap();
                    }
                }
                got = back.recv_from(&mut down) => {
                    let (length, _) = got.unwrap();
                    for packet in passes(&down[..length]) {
                        front.send_to(&packet, who.unwrap()).await.unwrap();
                    }
                }
            }
        }
    });
    address
}

fn quiet(socket: UdpSocket) -> UdpSocket {
    socket.set_nonblocking(true).unwrap();
    socket
}

/// Everything twice, and once more with a bit turned if it is a carried packet.
fn meddled(packet: &[u8]) -> Vec<Vec<u8>> {
    let mut all = vec![packet.to_vec(), packet.to_vec()];
    if packet[0] < 0x40 {
        let mut forged = packet.to_vec();
        *forged.last_mut().unwrap() ^= 1;
        all.insert(0, forged);
    }
    all
}

/// Two agents in touch: the first one dialled.
async fn meet(dialler: &PeerEnd, answerer: &mut PeerEnd, name: &str, address: SocketAddr) -> (Met, Met) {
    let dialling = dialler.dial(AgentId::new(name).unwrap(), address);
    let (met, visited) = tokio::join!(dialling, answerer.accept());
    (met.unwrap(), visited.unwrap())
}

/// Keeps an end's socket and a session with a neighbour going.
fn attend(mut end: PeerEnd, mut session: Session, tasks: &mut JoinSet<()>) {
    tasks.spawn(async move {
        loop {
            tokio::select! {
                _ = end.accept() => {}
                event = session.recv() => if matches!(event, Event::Ended(_)) { return },
            }
        }
    });
}

/// Sends entries and waits for the acknowledgement of each.
async fn exchange(session: &mut Session, numbers: std::ops::Range<u64>) {
    for number in numbers {
        session.sender().send(&entries(number)).unwrap();
        let event = timeout(PATIENCE, session.recv()).await.unwrap();
        assert!(matches!(event, Event::Frame(frame) if frame == ack(number)), "{number}");
    }
}

#[tokio::test]
async fn a_session_goes_through_a_neighbour_and_moves_back_without_a_loss() {
    let (ca, mut tasks) = (Ca::new(), JoinSet::new());
    let hub = hub(&ca, &mut tasks);
    let socket = port();
    let between = between(socket.local_addr().unwrap(), meddled, &mut tasks);
    let mut carrier = end(&ca, "edge-04", socket, Limits::default());
    let carried = end(&ca, "edge-03", port(), Limits::default());
    let (met, visited) = meet(&carried, &mut carrier, "edge-04", between).await;
    assert_eq!(visited.agent.as_str(), "edge-03");
    carrier.carry_to(Some(hub));
    let (through, counts) = (met.handle.tunnel(hub), visited.handle.clone());
    attend(carrier, visited.session, &mut tasks);
    attend(carried, met.session, &mut tasks);

    let client = Client::through(through, timing()).unwrap();
    let mut session = client.session(hub, &ca.client_tls("edge-03")).await.unwrap();
    exchange(&mut session, 1..40).await;
    let count = counts.carried();
    assert!(count.packets >= 40, "{count:?}");
    // One forged and one repeated beside each; the first packets of the handshake too, which are as large as any.
    assert!(count.refused >= 40 && count.over == 0, "{count:?}");

    client.go_direct(hub).unwrap();
    exchange(&mut session, 40..80).await;
    let settled = counts.carried().packets;
    exchange(&mut session, 80..120).await;
    assert_eq!(
        counts.carried().packets,
        settled,
        "nothing goes through the neighbour any more"
    );
}

/// edge-03 is at edge-04, and edge-04 at edge-05, which alone may have a path to the hub.
struct Row {
    ends: [PeerEnd; 3],
    /// From each to the next one.
    up: [Met; 2],
    /// From each to the one before.
    down: [Met; 2],
}

impl Row {
    async fn new(ca: &Ca) -> Self {
        let (fourth, fifth) = (port(), port());
        let (to_fourth, to_fifth) = (fourth.local_addr().unwrap(), fifth.local_addr().unwrap());
        let mut ends = [
            end(ca, "edge-03", port(), Limits::default()),
            end(ca, "edge-04", fourth, Limits::default()),
            end(ca, "edge-05", fifth, Limits::default()),
        ];
        let [first, second, third] = &mut ends;
        let (up, down) = meet(first, second, "edge-04", to_fourth).await;
        let (up_next, down_next) = meet(second, third, "edge-05", to_fifth).await;
        Self {
            ends,
            up: [up, up_next],
            down: [down, down_next],
        }
    }

    /// Keeps all of them going; the way from the first one to the hub.
    fn attend(self, hub: SocketAddr, tasks: &mut JoinSet<()>) -> wire_transport::Tunnel {
        let [up, up_next] = self.up;
        let [down, down_next] = self.down;
        let way = up.handle.tunnel(hub);
        // What is carried ends with the last handle of a session.
        let handles = [up_next.handle, down.handle, down_next.handle];
        for (end, session) in self
            .ends
            .into_iter()
            .zip([up.session, up_next.session, down_next.session])
        {
            attend(end, session, tasks);
        }
        tasks.spawn(async move {
            let (mut session, _handles) = (down.session, handles);
            while !matches!(session.recv().await, Event::Ended(_)) {}
        });
        way
    }
}

#[tokio::test]
async fn two_neighbours_in_a_row_carry_and_each_counts_what_it_carries() {
    let (ca, mut tasks) = (Ca::new(), JoinSet::new());
    let hub = hub(&ca, &mut tasks);
    let row = Row::new(&ca).await;
    row.ends[1].carry_through(&row.up[1].handle);
    row.ends[2].carry_to(Some(hub));
    let (first, second) = (row.down[0].handle.clone(), row.down[1].handle.clone());
    let way = row.attend(hub, &mut tasks);

    assert!(Knocker::through(way.clone()).knock(3, PATIENCE).await);
    let client = Client::through(way, timing()).unwrap();
    let mut session = client.session(hub, &ca.client_tls("edge-03")).await.unwrap();
    exchange(&mut session, 1..40).await;
    for carried in [first.carried(), second.carried()] {
        assert!(
            carried.packets >= 40 && carried.refused == 0 && carried.over == 0,
            "{carried:?}"
        );
    }
}

#[tokio::test]
async fn a_third_neighbour_in_a_row_or_a_circle_carries_nothing() {
    for circle in [true, false] {
        let (ca, mut tasks) = (Ca::new(), JoinSet::new());
        let hub = hub(&ca, &mut tasks);
        let row = Row::new(&ca).await;
        row.ends[1].carry_through(&row.up[1].handle);
        match circle {
            // Each of the two believes that the other one has a path.
            true => row.ends[2].carry_through(&row.down[1].handle),
            // It is carried itself: the one before it would be the third.
            false => row.ends[2].carry_to(None),
        }
        let (first, second) = (row.down[0].handle.clone(), row.down[1].handle.clone());
        let way = row.attend(hub, &mut tasks);
        assert!(!Knocker::through(way).knock(3, Duration::from_millis(300)).await);
        let (once, twice) = (first.carried().packets, second.carried().packets);
        assert!(once >= 1, "the first one passes it on: {once}");
        assert_eq!(twice, 0, "and the second one lets it fall");
    }
}

#[tokio::test]
async fn a_certificate_whose_time_is_over_is_let_in_and_carried_once_its_owner_is_known() {
    let (ca, mut tasks) = (Ca::new(), JoinSet::new());
    let hub = hub(&ca, &mut tasks);
    let socket = port();
    let address = socket.local_addr().unwrap();
    let mut carrier = end(&ca, "edge-04", socket, Limits::default());
    let old = ca.issue(Wanted {
        uris: &[&format!("spiffe://{DOMAIN}/agent/edge-03")],
        usage: CLIENT,
        years: PAST,
    });
    let tls = PeerTls::new(old, ca.trust(), &clock()).unwrap();
    let carried = PeerEnd::new(port(), tls, timing(), Limits::default()).unwrap();
    let (met, visited) = meet(&carried, &mut carrier, "edge-04", address).await;
    assert!(met.is_fresh && !visited.is_fresh);
    assert_eq!(met.binding, visited.binding, "both know what is to be signed");
    carrier.carry_to(Some(hub));
    let (way, handle) = (met.handle.tunnel(hub), visited.handle.clone());
    attend(carrier, visited.session, &mut tasks);
    attend(carried, met.session, &mut tasks);

    let knocker = Knocker::through(way);
    assert!(!knocker.knock(2, Duration::from_millis(200)).await);
    handle.prove();
    assert!(knocker.knock(3, PATIENCE).await);
}

#[tokio::test]
async fn nothing_is_carried_without_a_path_and_no_more_than_the_share() {
    let (ca, mut tasks) = (Ca::new(), JoinSet::new());
    let hub = hub(&ca, &mut tasks);
    let little = Limits {
        bytes_per_second: 2_000,
        bytes_per_day: 2_000,
        ..Limits::default()
    };
    for has_path in [false, true] {
        let socket = port();
        let address = socket.local_addr().unwrap();
        let mut carrier = end(&ca, "edge-04", socket, little);
        let carried = end(&ca, "edge-03", port(), Limits::default());
        let (met, visited) = meet(&carried, &mut carrier, "edge-04", address).await;
        carrier.carry_to(has_path.then_some(hub));
        let (through, counts) = (met.handle.tunnel(hub), visited.handle.clone());
        let hurried = wire_transport::Timing {
            connect: Duration::from_millis(300),
            ..timing()
        };
        let client = Client::through(through, hurried).unwrap();
        attend(carrier, visited.session, &mut tasks);
        attend(carried, met.session, &mut tasks);
        assert!(client.session(hub, &ca.client_tls("edge-03")).await.is_err());
        let count = counts.carried();
        assert_eq!((count.packets >= 1, count.refused), (has_path, 0), "{count:?}");
        assert_eq!(
            count.over >= 1,
            has_path,
            "the second full-size packet is beyond the share: {count:?}"
        );
    }
}

/// What a session finds out about its path.
async fn room(handle: &PeerHandle) -> bool {
    let found = timeout(PATIENCE, async {
        loop {
            match handle.has_room() {
                Some(found) => return found,
                None => tokio::task::yield_now().await,
            }
        }
    });
    found.await.unwrap()
}

#[tokio::test]
async fn a_path_that_carried_packets_do_not_fit_into_is_found_and_nobody_is_carried_over_it() {
    // QUIC's least with what is around a carried packet, and a byte less: the session itself works over both.
    for (most, fits) in [(1_230, true), (1_229, false)] {
        let (ca, mut tasks) = (Ca::new(), JoinSet::new());
        let hub = hub(&ca, &mut tasks);
        let socket = port();
        let narrow = move |packet: &[u8]| {
            [packet.to_vec()]
                .into_iter()
                .filter(|whole| whole.len() <= most)
                .collect()
        };
        let address = between(socket.local_addr().unwrap(), narrow, &mut tasks);
        let mut carrier = end(&ca, "edge-04", socket, Limits::default());
        let carried = end(&ca, "edge-03", port(), Limits::default());
        let (met, visited) = meet(&carried, &mut carrier, "edge-04", address).await;
        carrier.carry_to(Some(hub));
        let (ours, theirs) = (met.handle.clone(), visited.handle.clone());
        attend(carrier, visited.session, &mut tasks);
        attend(carried, met.session, &mut tasks);
        assert_eq!((room(&ours).await, room(&theirs).await), (fits, fits), "{most} bytes");
        let knocked = Knocker::through(ours.tunnel(hub))
            .knock(3, Duration::from_millis(300))
            .await;
        assert_eq!(knocked, fits, "{most} bytes");
    }
}

#[tokio::test]
async fn a_packet_that_this_machines_network_refuses_for_its_size_is_lost_and_told() {
    let (ca, mut tasks) = (Ca::new(), JoinSet::new());
    let socket = port();
    let address = socket.local_addr().unwrap();
    let mut carrier = end(&ca, "edge-04", socket, Limits::default());
    let carried = end(&ca, "edge-03", port(), Limits::default());
    let (met, visited) = meet(&carried, &mut carrier, "edge-04", address).await;
    let (ours, way) = (met.handle.clone(), met.handle.tunnel(address));
    attend(carrier, visited.session, &mut tasks);
    attend(carried, met.session, &mut tasks);
    assert!(room(&ours).await);
    // More than IPv4 has room for, whatever the network.
    way.send(&[0; 65_500]).unwrap();
    assert_eq!(ours.has_room(), Some(false));
}

#[tokio::test]
async fn a_neighbour_of_another_name_or_another_trust_is_no_neighbour() {
    let (ca, other) = (Ca::new(), Ca::new());
    let socket = port();
    let address = socket.local_addr().unwrap();
    let mut answerer = end(&ca, "edge-04", socket, Limits::default());
    let waiting = tokio::spawn(async move { while answerer.accept().await.is_some() {} });
    for (ca, expected, part) in [(&ca, "edge-05", "edge-04, not edge-05"), (&other, "edge-04", "CA")] {
        let dialler = end(ca, "edge-03", port(), Limits::default());
        let error = dialler
            .dial(AgentId::new(expected).unwrap(), address)
            .await
            .unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
    }
    waiting.abort();
}

#[tokio::test]
async fn a_hub_answers_a_knock_and_a_silent_port_does_not() {
    let (ca, mut tasks) = (Ca::new(), JoinSet::new());
    let hub = hub(&ca, &mut tasks);
    let knocker = Knocker::new(hub).unwrap();
    assert!(knocker.knock(3, PATIENCE).await);
    assert!(knocker.knock(3, PATIENCE).await, "each knock is answered by itself");
    let silent = port();
    let address = silent.local_addr().unwrap();
    let knocker = Knocker::new(address).unwrap();
    assert!(!knocker.knock(2, Duration::from_millis(20)).await && !knocker.was_refused());
    drop(silent);
    let knocker = Knocker::new(address).unwrap();
    assert!(!knocker.knock(2, Duration::from_millis(200)).await);
    assert!(knocker.was_refused(), "the machine says that nobody is there any more");
}

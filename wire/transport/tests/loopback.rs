//! Real quinn on loopback: who gets in, who does not and what they are told; frames that are not frames.

#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use common::{ALWAYS, CLIENT, Ca, DOMAIN, PAST, SERVER, Wanted, ack, clock, entries, number, telemetry, timing};
use quinn::crypto::rustls::QuicClientConfig;
use tokio::sync::mpsc;
use tokio::time::timeout;
use wire::bundle::SignedBundle;
use wire::enroll::RENEW_TAG;
use wire::frame::Frame;
use wire::time::Wall;
use wire_transport::{
    Arrival, CertificateClock, Client, ClientTls, CloseCode, ConnectError, End, Event, Leaf, SendError, Server,
    ServerTls, Session, Timing, pin_of,
};

/// Generous: only a hang reaches it.
const DEADLINE: Duration = Duration::from_secs(20);

struct Hub {
    address: SocketAddr,
    sessions: mpsc::Receiver<Session>,
}

/// A hub that lets in whoever comes with a good certificate.
fn hub(tls: &ServerTls) -> Hub {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = socket.local_addr().unwrap();
    let mut server = Server::new(socket, tls, timing()).unwrap();
    let (send, sessions) = mpsc::channel(8);
    tokio::spawn(async move {
        while let Some(arrival) = server.accept().await {
            match arrival {
                Arrival::Session(pending) if pending.agent().as_str() == "denied" => {
                    pending.refuse(CloseCode::Denied, "denied by root: stolen");
                }
                Arrival::Session(pending) => {
                    if let Ok(session) = pending.admit().await {
                        let _ = send.send(session).await;
                    }
                }
                Arrival::Join(guest) => {
                    tokio::spawn(async move {
                        let Ok(mut door) = guest.listen().await else {
                            return;
                        };
                        if let Ok(question) = door.read::<String>().await {
                            door.write(&format!("{question}, welcome")).await.unwrap();
                        }
                        door.finish().await;
                        guest.see_off().await;
                    });
                }
                Arrival::Rejoin(guest) => {
                    tokio::spawn(async move {
                        let mut door = guest.challenge().await.unwrap();
                        door.write_raw(&[7; 32]).await.unwrap();
                        let exporter: [u8; 32] = door.read().await.unwrap();
                        door.write(&(exporter == door.exporter())).await.unwrap();
                        door.finish().await;
                        guest.see_off().await;
                    });
                }
            }
        }
    });
    Hub { address, sessions }
}

async fn session(address: SocketAddr, tls: &ClientTls) -> Result<Session, ConnectError> {
    let client = Client::new(address, timing())?;
    timeout(DEADLINE, client.session(address, tls))
        .await
        .expect("ends in time")
}

/// An agent with `leaf` meets a hub with `hub_leaf`, both trusting `ca`. `expected`: `in`, or a part of the error.
async fn check(ca: &Ca, leaf: Leaf, hub_leaf: Leaf, expected: &str) {
    let hub = hub(&ServerTls::new(hub_leaf, ca.trust(), &clock()).unwrap());
    let tls = ClientTls::session(leaf, ca.trust(), &clock()).unwrap();
    match session(hub.address, &tls).await {
        Ok(_) => assert_eq!(expected, "in"),
        Err(error) => assert!(error.to_string().contains(expected), "{error}, expected `{expected}`"),
    }
}

#[tokio::test]
async fn only_an_agent_of_this_domain_and_ca_gets_in() {
    let (ca, foreign) = (Ca::new(), Ca::new());
    let agent = format!("spiffe://{DOMAIN}/agent/edge-1");
    let leaf = |uris: &[&str], usage, years| ca.issue(Wanted { uris, usage, years });
    check(&ca, leaf(&[&agent], CLIENT, ALWAYS), ca.hub(), "in").await;
    check(&ca, foreign.agent("edge-1"), ca.hub(), "its CA is not the hub's CA").await;
    check(&ca, leaf(&[&agent], CLIENT, PAST), ca.hub(), "has expired").await;
    check(&ca, leaf(&[&agent], SERVER, ALWAYS), ca.hub(), "it is not for an agent").await;
    check(&ca, leaf(&[&agent], None, ALWAYS), ca.hub(), "it is not for an agent").await;
    check(&ca, ca.hub(), ca.hub(), "it is not for an agent").await;
    let strangers: [&[&str]; 7] = [
        &[],
        &["spiffe://test.sentinel/agent/"],
        &["spiffe://test.sentinel/agent/Edge"],
        &["spiffe://test.sentinel/agent/a/b"],
        &["spiffe://other/agent/edge-1"],
        &["spiffe://test.sentinel/hub"],
        &[&agent, "spiffe://test.sentinel/agent/edge-2"],
    ];
    for uris in strangers {
        check(&ca, leaf(uris, CLIENT, ALWAYS), ca.hub(), "it names somebody else").await;
    }
    check(&ca, ca.agent("denied"), ca.hub(), "denied by root: stolen").await;
}

#[tokio::test]
async fn only_the_hub_of_this_domain_and_ca_is_talked_to() {
    let (ca, foreign) = (Ca::new(), Ca::new());
    let uri = format!("spiffe://{DOMAIN}/hub");
    let leaf = |uris: &[&str], usage, years| ca.issue(Wanted { uris, usage, years });
    check(&ca, ca.agent("a"), leaf(&[&uri], SERVER, ALWAYS), "in").await;
    check(&ca, ca.agent("a"), foreign.hub(), "not issued by a CA that is trusted").await;
    check(
        &ca,
        ca.agent("a"),
        leaf(&[&uri], SERVER, PAST),
        "do not agree: the certificate ended at 20",
    )
    .await;
    check(
        &ca,
        ca.agent("a"),
        leaf(&[&uri], SERVER, (2110, 2120)),
        "do not agree: the certificate begins at 2110-01-01",
    )
    .await;
    check(&ca, ca.agent("a"), leaf(&[&uri], CLIENT, ALWAYS), "not for this role").await;
    check(&ca, ca.agent("a"), ca.agent("b"), "not for this role").await;
    check(
        &ca,
        ca.agent("a"),
        leaf(&["spiffe://other/hub"], SERVER, ALWAYS),
        "names `spiffe://other/hub`",
    )
    .await;
    check(
        &ca,
        ca.agent("a"),
        leaf(&["spiffe://test.sentinel/agent/b"], SERVER, ALWAYS),
        "names `spiffe",
    )
    .await;
}

#[tokio::test]
async fn a_joining_agent_talks_only_to_a_hub_under_the_pinned_ca() {
    let (ca, foreign) = (Ca::new(), Ca::new());
    let hub = hub(&ca.server_tls());
    let client = Client::new(hub.address, timing()).unwrap();
    let tls = ClientTls::join(pin_of(&ca.der), &clock()).unwrap();
    let visit = client.visit(hub.address, &tls).await.unwrap();
    assert_eq!(visit.trust_domain().as_deref(), Some(DOMAIN));
    let mut door = visit.open().await.unwrap();
    door.write(&"edge-1").await.unwrap();
    assert_eq!(door.read::<String>().await.unwrap(), "edge-1, welcome");
    visit.leave();

    let tls = ClientTls::join(pin_of(&foreign.der), &clock()).unwrap();
    let error = client.visit(hub.address, &tls).await.unwrap_err().to_string();
    let pins = [pin_of(&ca.der), pin_of(&foreign.der)].map(|pin| pin.to_string());
    assert!(pins.iter().all(|pin| error.contains(pin)), "{error}");
}

#[tokio::test]
async fn a_rejoin_is_bound_to_its_tls_session() {
    let ca = Ca::new();
    let hub = hub(&ca.server_tls());
    let client = Client::new(hub.address, timing()).unwrap();
    let tls = ClientTls::rejoin(ca.trust(), &clock()).unwrap();
    let visit = client.visit(hub.address, &tls).await.unwrap();
    let mut door = visit.answer().await.unwrap();
    let mut challenge = [0; 32];
    door.read_raw(&mut challenge).await.unwrap();
    assert_eq!(challenge, [7; 32]);
    door.write(&door.exporter()).await.unwrap();
    assert!(door.read::<bool>().await.unwrap(), "both ends export the same");
}

#[tokio::test]
async fn the_session_door_needs_a_certificate() {
    let ca = Ca::new();
    let hub = hub(&ca.server_tls());
    let raw = raw_connection(hub.address, None, b"sentinel/1").await.unwrap();
    let cause = timeout(DEADLINE, raw.closed()).await.expect("closed by the hub");
    assert!(cause.to_string().contains("needs a client certificate"), "{cause}");
}

#[tokio::test]
async fn an_unknown_protocol_is_refused_in_the_handshake() {
    let ca = Ca::new();
    let hub = hub(&ca.server_tls());
    let error = raw_connection(hub.address, Some(ca.agent("a")), b"sentinel/99")
        .await
        .unwrap_err();
    assert!(error.to_string().contains("120"), "{error}: no_application_protocol");
}

#[tokio::test]
async fn nobody_there_is_said_within_the_connect_time() {
    let ca = Ca::new();
    // Bound and never read: a black hole.
    let hole = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = hole.local_addr().unwrap();
    let timing = Timing {
        connect: Duration::from_millis(300),
        ..timing()
    };
    let client = Client::new(address, timing).unwrap();
    let error = client.session(address, &ca.client_tls("a")).await.unwrap_err();
    assert_eq!(
        error,
        ConnectError::Unreachable {
            address,
            waited: timing.connect
        }
    );
}

#[tokio::test]
async fn frames_of_all_classes_go_both_ways_and_a_close_follows_them() {
    let ca = Ca::new();
    let mut hub = hub(&ca.server_tls());
    let mut agent = session(hub.address, &ca.client_tls("edge-1")).await.unwrap();
    let mut served = hub.sessions.recv().await.unwrap();
    let bundle = Frame::Bundle(SignedBundle {
        // Larger than every window, and not packable.
        payload: (0..900_000u32)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
            .collect(),
        signatures: vec![],
    });
    let up = [ack(1), entries(2), telemetry(3, 500_000), bundle.clone()];
    for frame in &up {
        agent.sender().send(frame).unwrap();
        served.sender().send(frame).unwrap();
    }
    served.sender().close(CloseCode::Stopping, "restart");
    let at_agent = tokio::spawn(async move { until_end(&mut agent).await });
    let (at_hub, end) = timeout(DEADLINE, until_end(&mut served)).await.expect("ends");
    assert_eq!(
        end,
        End::Local {
            reason: "restart".to_owned()
        }
    );
    drop(at_hub);
    let (got, end) = timeout(DEADLINE, at_agent).await.expect("ends").unwrap();
    assert_eq!(got.len(), 4, "a close loses nothing that was queued before it");
    assert!(up.iter().all(|frame| got.contains(frame)));
    let reason = "restart".to_owned();
    assert_eq!(
        end,
        End::Closed {
            code: CloseCode::Stopping,
            reason
        }
    );
}

#[tokio::test]
async fn a_question_gets_its_answer_beside_the_frames() {
    let ca = Ca::new();
    let mut hub = hub(&ca.server_tls());
    let mut agent = session(hub.address, &ca.client_tls("edge-1")).await.unwrap();
    let sender = agent.sender();
    tokio::spawn(async move { until_end(&mut agent).await });
    let mut served = hub.sessions.recv().await.unwrap();
    let serving = tokio::spawn(async move {
        loop {
            match served.recv().await {
                Event::Asked { tag, mut door } => {
                    assert_eq!(tag, RENEW_TAG);
                    let question: u64 = door.read().await.unwrap();
                    door.write(&(question + 1)).await.unwrap();
                    door.finish().await;
                }
                Event::Frame(_) => {}
                Event::Ended(end) => return end,
            }
        }
    });
    for question in 0..5u64 {
        let answer: u64 = timeout(DEADLINE, sender.ask(RENEW_TAG, &question))
            .await
            .expect("answers")
            .unwrap();
        assert_eq!(answer, question + 1);
    }
    sender.close(CloseCode::Done, "done");
    timeout(DEADLINE, serving).await.expect("ends").unwrap();
}

#[tokio::test]
async fn a_status_that_has_not_left_is_replaced_and_a_full_queue_is_an_error() {
    let ca = Ca::new();
    let mut hub = hub(&ca.server_tls());
    let agent = session(hub.address, &ca.client_tls("edge-1")).await.unwrap();
    let mut served = hub.sessions.recv().await.unwrap();
    // Nobody drives the agent's end, so everything stays queued.
    let sender = agent.sender();
    let mut sent = 0u64;
    let error = loop {
        match sender.send(&telemetry(sent + 1, 100_000)) {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
    };
    assert!(
        matches!(
            error,
            SendError::Full {
                limit_bytes: 3_145_728,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(sent, 31);
    let beacon = beacon();
    for _ in 0..100_000 {
        sender.send(&beacon).unwrap();
    }
    let mut agent = agent;
    sender.close(CloseCode::Done, "done");
    tokio::spawn(async move { until_end(&mut agent).await });
    let (got, _) = timeout(DEADLINE, until_end(&mut served)).await.expect("ends");
    assert_eq!(got.iter().filter(|frame| matches!(frame, Frame::Beacon(_))).count(), 1);
    assert_eq!(got.len(), 32);
}

/// What a hub makes of raw bytes on a stream.
async fn check_raw(bytes: &[u8], expected: &str) {
    let ca = Ca::new();
    let mut hub = hub(&ca.server_tls());
    let raw = raw_connection(hub.address, Some(ca.agent("a")), b"sentinel/1")
        .await
        .unwrap();
    let mut served = timeout(DEADLINE, hub.sessions.recv()).await.expect("admitted").unwrap();
    let mut stream = raw.open_uni().await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let (_, end) = timeout(DEADLINE, until_end(&mut served)).await.expect("ends");
    let End::Protocol { reason } = end else {
        panic!("{end:?}")
    };
    assert!(reason.contains(expected), "{reason}");
    let cause = timeout(DEADLINE, raw.closed()).await.expect("closed");
    assert!(cause.to_string().contains(expected), "the sender is told: {cause}");
}

#[tokio::test]
async fn bytes_that_are_no_frames_end_the_session() {
    let mut trailing = vec![1];
    let mut frame = ack(5).encode();
    frame.extend_from_slice(b"more");
    let length = (frame.len() - 4) as u32;
    frame[..4].copy_from_slice(&length.to_le_bytes());
    trailing.extend_from_slice(&frame);
    check_raw(&trailing, "4 bytes follow the end").await;
    check_raw(&[1, 0xff, 0xff, 0xff, 0x7f, 3, 0], "at most 65538 are allowed").await;
    check_raw(&[9], "a stream of class 9").await;
    check_raw(&[1, 1, 0, 0, 0, 9], "a frame without a kind").await;
    check_raw(&[3, 0, 0xff, 0xff, 0xff, 0xff], "are allowed").await;
    check_raw(&[3, 7, 1, 0, 0, 0, 0], "unknown form 7").await;
    let mut wrong = vec![2];
    wrong.extend(ack(5).encode());
    check_raw(&wrong, "on the wrong stream").await;
}

fn beacon() -> Frame {
    let key = ed25519_dalek::SigningKey::from_bytes(&[1; 32]);
    let payload = wire::bundle::BeaconPayload {
        trust_domain: DOMAIN.to_owned(),
        bundle: wire::BundleRef::NONE,
        number: 1,
        issued_at: wire::Wall(0),
    };
    Frame::Beacon(wire::bundle::Beacon::sign(&payload, &key))
}

async fn until_end(session: &mut Session) -> (Vec<Frame>, End) {
    let mut frames = Vec::new();
    loop {
        match session.recv().await {
            Event::Frame(frame) => {
                if let Frame::Ack(_) | Frame::Entries(_) | Frame::Telemetry(_) = frame {
                    assert!(number(&frame) > 0);
                }
                frames.push(frame);
            }
            Event::Ended(end) => return (frames, end),
            Event::Asked { .. } => panic!("nobody asks here"),
        }
    }
}

/// A connection that is made without our client, to say what it never would.
async fn raw_connection(
    address: SocketAddr,
    leaf: Option<Leaf>,
    alpn: &[u8],
) -> Result<quinn::Connection, quinn::ConnectionError> {
    let verifier = Arc::new(Anyone(wire_transport::provider()));
    let builder = rustls::ClientConfig::builder_with_provider(wire_transport::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match leaf {
        Some(leaf) => builder.with_client_auth_cert(leaf.chain, leaf.key).unwrap(),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![alpn.to_vec()];
    let config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(config).unwrap()));
    let endpoint = quinn::Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let connecting = endpoint.connect_with(config, address, "hub").unwrap();
    timeout(DEADLINE, connecting).await.expect("ends")
}

/// Trusts every server: these tests are about what the server does.
#[derive(Debug)]
struct Anyone(Arc<rustls::crypto::CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &rustls_pki_types::CertificateDer<'_>,
        _: &[rustls_pki_types::CertificateDer<'_>],
        _: &rustls_pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls_pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &rustls_pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        unreachable!("TLS 1.3 only")
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &rustls_pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[tokio::test]
async fn a_time_that_ran_ahead_once_locks_nobody_out() {
    let ca = Ca::new();
    let hub_uri = format!("spiffe://{DOMAIN}/hub");
    let hub_leaf = ca.issue(Wanted {
        uris: &[&hub_uri],
        usage: SERVER,
        years: (2020, 2090),
    });
    let hub = hub(&ServerTls::new(hub_leaf, ca.trust(), &clock()).unwrap());
    // The year 2110: from a clock that was wrong once, as a floor and as what a hub said.
    let ahead = Wall(4_418_000_000_000);
    let floor = CertificateClock::new(ahead);
    let learned = clock();
    learned.learn(ahead);
    for wrong in [floor, learned] {
        let tls = ClientTls::session(ca.agent("a"), ca.trust(), &wrong).unwrap();
        let client = Client::new(hub.address, timing()).unwrap();
        client
            .session(hub.address, &tls)
            .await
            .expect("the machine's own clock is right");
    }
}
